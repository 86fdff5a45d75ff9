//! Markdown to HTML that is safe to show: raw HTML in a lesson is shown as text, links lead to the web or
//! within the page, and pictures come from the lesson's own `images` folder or not at all.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// `CommonMark`, and tables as GitHub writes them.
fn parse(markdown: &str) -> impl Iterator<Item = Event<'_>> {
    Parser::new_ext(markdown, Options::ENABLE_TABLES)
}

/// The body of a lesson: all but its title, which the page shows by itself.
///
/// `image_url` gives the address of a picture by its plain name, or `None` if it can't be shown; its
/// description is shown then.
pub(crate) fn to_html(markdown: &str, image_url: impl Fn(&str) -> Option<String>) -> String {
    let mut in_title = false;
    let mut seen_title = false;
    let mut hidden_images = 0_u32;
    let events = parse(markdown).filter_map(|event| match event {
        Event::Start(Tag::Heading {
            level: HeadingLevel::H1,
            ..
        }) if !seen_title => {
            (in_title, seen_title) = (true, true);
            None
        }
        Event::End(TagEnd::Heading(HeadingLevel::H1)) if in_title => {
            in_title = false;
            None
        }
        _ if in_title => None,
        Event::Html(raw) | Event::InlineHtml(raw) => Some(Event::Text(raw)),
        Event::Start(Tag::Image {
            link_type,
            dest_url,
            title,
            id,
        }) => match image_name(&dest_url).and_then(&image_url) {
            Some(url) => Some(Event::Start(Tag::Image {
                link_type,
                dest_url: url.into(),
                title,
                id,
            })),
            None => {
                hidden_images += 1;
                Some(Event::Start(Tag::Emphasis))
            }
        },
        Event::End(TagEnd::Image) if hidden_images > 0 => {
            hidden_images -= 1;
            Some(Event::End(TagEnd::Emphasis))
        }
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => Some(Event::Start(Tag::Link {
            link_type,
            dest_url: safe_link(dest_url),
            title,
            id,
        })),
        other => Some(other),
    });
    let mut page = String::with_capacity(markdown.len() * 3 / 2);
    html::push_html(&mut page, events);
    page
}

/// The pictures of a lesson that lie in its own `images` folder, each once, in the order of the text.
pub(crate) fn images(markdown: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for event in parse(markdown) {
        if let Event::Start(Tag::Image { dest_url, .. }) = event
            && let Some(name) = image_name(&dest_url)
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

/// The words people read, code included, without any mark-up.
pub(crate) fn plain_text(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    for event in parse(markdown) {
        match event {
            Event::Text(part) | Event::Code(part) => text.push_str(&part),
            Event::SoftBreak | Event::HardBreak => text.push(' '),
            Event::End(
                TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::Item | TagEnd::CodeBlock,
            )
            | Event::End(TagEnd::TableCell | TagEnd::Image) => text.push('\n'),
            _ => {}
        }
    }
    text
}

/// `images/name.png` and nothing else: no other folder, no way upwards, no other host.
fn image_name(url: &str) -> Option<&str> {
    let name = url.strip_prefix("images/")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (!name.is_empty() && !name.starts_with('.') && name.chars().all(plain)).then_some(name)
}

/// A link that runs code when it is clicked becomes a link to nowhere.
fn safe_link(url: CowStr<'_>) -> CowStr<'_> {
    let scheme = url.split(['/', '?', '#']).next().unwrap_or_default();
    match scheme.split_once(':') {
        None => url,
        Some((scheme, _)) if ["http", "https", "mailto"].contains(&&*scheme.to_lowercase()) => url,
        Some(_) => "#".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(markdown: &str) -> String {
        to_html(markdown, |name| {
            (name != "gone.png").then(|| format!("/images/{name}"))
        })
    }

    #[test]
    fn the_title_is_left_to_the_page_and_only_the_first_one() {
        assert_eq!(html("# Title\n\nText"), "<p>Text</p>\n");
        assert_eq!(html("# One\n\n# Two"), "<h1>Two</h1>\n");
    }

    #[test]
    fn raw_html_is_shown_as_text() {
        let page = html("Hi <script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n");
        assert!(
            !page.contains("<script") && !page.contains("<img"),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;"), "{page}");
    }

    #[test]
    fn pictures_come_from_the_lessons_folder_or_not_at_all() {
        let page = html("![a \"quoted\" cat](images/cat.png)");
        assert!(page.contains("src=\"/images/cat.png\""), "{page}");
        assert!(page.contains("alt=\"a &quot;quoted&quot; cat\""), "{page}");
        for bad in [
            "images/../secret.png",
            "images/.hidden",
            "../images/a.png",
            "http://evil.example/a.png",
            "images/gone.png",
        ] {
            let page = html(&format!("![the text]({bad})"));
            assert_eq!(page, "<p><em>the text</em></p>\n", "{bad}");
        }
    }

    #[test]
    fn links_that_run_code_lead_nowhere() {
        for (url, shown) in [
            ("javascript:alert(1)", "#"),
            ("JavaScript:alert(1)", "#"),
            ("data:text/html,x", "#"),
            ("https://example.org/a:b", "https://example.org/a:b"),
            ("#part:1", "#part:1"),
            ("other-lesson", "other-lesson"),
        ] {
            let page = html(&format!("[x](<{url}>)"));
            assert_eq!(page, format!("<p><a href=\"{shown}\">x</a></p>\n"));
        }
    }

    #[test]
    fn tables_are_tables() {
        let page = html("| a | b |\n|---|---|\n| 1 | 2 |");
        assert!(
            page.contains("<table>") && page.contains("<td>2</td>"),
            "{page}"
        );
    }

    #[test]
    fn images_are_listed_once_and_in_order() {
        let text = "![x](images/b.png) ![y](images/a.png) ![z](images/b.png) ![w](http://h/c.png)";
        assert_eq!(images(text), ["b.png", "a.png"]);
    }

    #[test]
    fn plain_text_keeps_words_apart() {
        let text =
            plain_text("# A title\n\nSome *text*\nand `code`.\n\n| a | b |\n|---|---|\n| c | d |");
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "A", "title", "Some", "text", "and", "code.", "a", "b", "c", "d"
            ]
        );
    }
}
