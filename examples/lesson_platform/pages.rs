//! The pages as HTML. Whatever comes from a file or a visitor goes through [`escape`].

mod observed;
mod policies;
mod spans;
mod system;

use std::fmt::{self, Write};

pub(crate) use system::{
    DropRow, Figure, Link, MOST_RENDERERS, MailboxRow, ObservedRow, SystemReport, system,
};

use crate::calls::Part;
use crate::index::{Hit, terms};
use crate::lessons::{Lesson, Problem};
use crate::metadata::Metadata;
use crate::words::words;

/// The style sheet, in one file with the program.
pub(crate) const STYLE: &str = include_str!("web/style.css");
/// The only script: it keeps the number of views of a lesson up to date. Pages work without.
pub(crate) const SCRIPT: &str = include_str!("web/live.js");
const SCRIPT_TAG: &str = "<script src=\"/live.js\" defer></script>\n";

/// Text as HTML shows it, between tags and inside double quotes.
pub(crate) fn escape(text: &str) -> impl fmt::Display + '_ {
    Escaped(text)
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c => f.write_char(c),
        })
    }
}

/// A part that a page has to do without, and why.
#[derive(Debug, Clone)]
pub(crate) struct Missing {
    pub(crate) part: Part,
    pub(crate) why: String,
}

/// A thumbnail as a page needs it; its bytes come separately.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// A lesson on the list.
pub(crate) struct Card<'a> {
    pub(crate) lesson: &'a Lesson,
    pub(crate) cover: Option<&'a Picture>,
    pub(crate) metadata: Option<&'a Metadata>,
    pub(crate) views: Option<u64>,
}

/// All lessons.
pub(crate) fn list(cards: &[Card<'_>], missing: &[Missing], problems: &[Problem]) -> String {
    let mut body = String::new();
    put(
        &mut body,
        format_args!("<h1>Lessons</h1>\n{}", notices(missing)),
    );
    for problem in problems {
        put(
            &mut body,
            format_args!(
                "<p class=\"notice failed\">Not available: <code>{}</code> {}</p>\n",
                escape(&problem.file),
                escape(&problem.why)
            ),
        );
    }
    body.push_str("<div class=\"cards\">\n");
    for card in cards {
        card.write(&mut body);
    }
    body.push_str("</div>\n");
    page("Lessons", Tab::Lessons, &body)
}

impl Card<'_> {
    fn write(&self, out: &mut String) {
        out.push_str("<div class=\"card\">\n");
        match (self.cover, self.lesson.images.first()) {
            (Some(picture), _) => put(out, format_args!("{}\n", thumbnail(picture, ""))),
            // Without the sidecar the full picture serves, only slower.
            (None, Some(image)) => put(
                out,
                format_args!(
                    "<img src=\"/images/{}\" alt=\"\" loading=\"lazy\">\n",
                    escape(image)
                ),
            ),
            (None, None) => {}
        }
        put(
            out,
            format_args!(
                "<h2><a href=\"/lessons/{}\">{}</a></h2>\n<p class=\"teaser\">{}</p>\n",
                escape(&self.lesson.slug),
                escape(&self.lesson.title),
                escape(&self.lesson.teaser)
            ),
        );
        put(
            out,
            format_args!(
                "<p class=\"meta\">{}</p>\n</div>\n",
                facts(self.metadata, self.views, None)
            ),
        );
    }
}

/// Everything a lesson page shows besides the lesson itself.
pub(crate) struct Extras<'a> {
    pub(crate) pictures: &'a [Picture],
    pub(crate) metadata: Option<&'a Metadata>,
    pub(crate) views: Option<u64>,
    pub(crate) missing: &'a [Missing],
    /// The key of one intention to enrol: made with the form, kept over all clicks of its button.
    pub(crate) key: String,
}

/// One lesson; `text` is its body as HTML.
pub(crate) fn lesson(lesson: &Lesson, text: &str, extras: &Extras<'_>) -> String {
    let mut body = notices(extras.missing);
    put(
        &mut body,
        format_args!(
            "<article class=\"lesson\">\n<h1>{}</h1>\n<p class=\"meta\">{}</p>\n{text}</article>\n",
            escape(&lesson.title),
            facts(extras.metadata, extras.views, Some(&lesson.slug))
        ),
    );
    if !extras.pictures.is_empty() {
        body.push_str("<figure class=\"thumbs\">\n");
        for picture in extras.pictures {
            put(
                &mut body,
                format_args!(
                    "<a href=\"/images/{0}\">{1}</a>\n",
                    escape(&picture.name),
                    thumbnail(picture, &picture.name)
                ),
            );
        }
        body.push_str("<figcaption>The pictures of this lesson, made small by a process of their own.</figcaption>\n</figure>\n");
    }
    if let Some(metadata) = extras.metadata
        && !metadata.related.is_empty()
    {
        body.push_str("<aside class=\"related\">\n<h2>Related lessons</h2>\n<ul>\n");
        for related in &metadata.related {
            put(
                &mut body,
                format_args!(
                    "<li><a href=\"/lessons/{}\">{}</a> ({})</li>\n",
                    escape(&related.slug),
                    escape(&related.title),
                    escape(&related.shared.join(", "))
                ),
            );
        }
        body.push_str("</ul>\n</aside>\n");
    }
    put(
        &mut body,
        format_args!(
            "<form class=\"enrol\" method=\"post\" action=\"/enrol\">
<h2>Enrol in this lesson</h2>
<input type=\"hidden\" name=\"key\" value=\"{}\">
<input type=\"hidden\" name=\"lesson\" value=\"{}\">
<label for=\"learner\">Your name</label>
<input id=\"learner\" name=\"learner\" required maxlength=\"80\" autocomplete=\"name\">
<button>Enrol for 49.00</button>
<p>Press it as often as you like: the key in this form is charged once.</p>
</form>\n",
            escape(&extras.key),
            escape(&lesson.slug)
        ),
    );
    body.push_str(SCRIPT_TAG);
    page(&lesson.title, Tab::Lessons, &body)
}

/// The search form, and what was found.
pub(crate) fn search(query: &str, hits: &[Hit], known: usize, of: usize) -> String {
    let mut body = String::new();
    put(
        &mut body,
        format_args!(
            "<h1>Search</h1>
<form class=\"search\" action=\"/search\">
<label for=\"q\">Lessons that hold all of these words</label>
<input id=\"q\" name=\"q\" type=\"search\" value=\"{}\" maxlength=\"200\" autofocus>
<button>Search</button>
</form>\n",
            escape(query)
        ),
    );
    let sought = terms(query);
    if !query.trim().is_empty() {
        let found = match (sought.is_empty(), hits.len()) {
            (true, _) => "These words are in every lesson; try a rarer one.".to_owned(),
            (_, 0) => "No lesson that has been viewed holds all of these words.".to_owned(),
            (_, 1) => "One lesson.".to_owned(),
            (_, many) => format!("{many} lessons."),
        };
        put(&mut body, format_args!("<p>{found}</p>\n"));
    }
    body.push_str("<ol class=\"results\">\n");
    for hit in hits {
        put(
            &mut body,
            format_args!(
                "<li><h2><a href=\"/lessons/{}\">{}</a></h2>\n<p>{}</p>\n<p class=\"meta\">{} in this lesson</p></li>\n",
                escape(&hit.slug),
                escape(&hit.title),
                marked(&hit.snippet, &sought),
                times(hit.count)
            ),
        );
    }
    put(
        &mut body,
        format_args!(
            "</ol>\n<p class=\"meta\">The index knows {known} of {of} lessons; one is indexed when it is viewed.</p>\n"
        ),
    );
    page("Search", Tab::Search, &body)
}

/// A page that says one thing: a receipt, an error.
pub(crate) fn notice(title: &str, text: &str, failed: bool) -> String {
    let class = if failed { "notice failed" } else { "notice" };
    let body = format!(
        "<h1>{}</h1>\n<p class=\"{class}\">{}</p>\n<p><a href=\"/\">All lessons</a></p>\n",
        escape(title),
        escape(text)
    );
    page(title, Tab::Lessons, &body)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tab {
    Lessons,
    Search,
    System,
}

fn page(title: &str, tab: Tab, body: &str) -> String {
    let mut nav = String::new();
    for (this, address, name) in [
        (Tab::Lessons, "/", "Lessons"),
        (Tab::Search, "/search", "Search"),
        (Tab::System, "/system", "System"),
    ] {
        let current = if this == tab {
            " aria-current=\"page\""
        } else {
            ""
        };
        put(
            &mut nav,
            format_args!("<a href=\"{address}\"{current}>{name}</a>"),
        );
    }
    format!(
        "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>{} - Callboard Academy</title>
<link rel=\"icon\" href=\"data:,\">
<link rel=\"stylesheet\" href=\"/style.css\">
</head>
<body>
<header class=\"site\"><a href=\"/\">Callboard Academy</a><nav>{nav}</nav></header>
<main>
{body}</main>
<footer><p>One page, four boundaries. An example of Callboard.</p></footer>
</body>
</html>\n",
        escape(title)
    )
}

/// One notice for each part that is missing: which, and why.
fn notices(missing: &[Missing]) -> String {
    let mut out = String::new();
    for Missing { part, why } in missing {
        put(
            &mut out,
            format_args!(
                "<p class=\"notice degraded\">This page comes without {}: the {part} service \
                 did not answer in time. <code>{}</code></p>\n",
                part.for_people(),
                escape(why)
            ),
        );
    }
    out
}

/// The line of facts about a lesson; `live` is the lesson whose views are kept up to date.
fn facts(metadata: Option<&Metadata>, views: Option<u64>, live: Option<&str>) -> String {
    let mut facts = Vec::new();
    if let Some(metadata) = metadata {
        facts.push(format!("{} min", metadata.minutes));
        facts.push(format!("{} words", metadata.words));
    }
    if let Some(views) = views {
        let shown = if views == 1 { "view" } else { "views" };
        let live = live.map_or(String::new(), |slug| {
            format!(" data-views=\"/lessons/{}/views\"", escape(slug))
        });
        facts.push(format!(
            "<span title=\"since the view counter was started\"{live}>{views} {shown}</span>"
        ));
    }
    facts.join(" &middot; ")
}

fn thumbnail(picture: &Picture, alt: &str) -> String {
    format!(
        "<img src=\"/thumbs/{}\" width=\"{}\" height=\"{}\" alt=\"{}\" loading=\"lazy\">",
        escape(&picture.name),
        picture.width,
        picture.height,
        escape(alt)
    )
}

/// A text with the sought words marked.
fn marked(text: &str, sought: &[String]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(char::is_alphanumeric) {
        let end = rest[start..]
            .find(|c: char| !c.is_alphanumeric() && c != '\'' && c != '\u{2019}')
            .map_or(rest.len(), |end| start + end);
        let (before, word) = (&rest[..start], &rest[start..end]);
        let hit = words(word).any(|word| sought.contains(&word));
        let (open, close) = if hit { ("<mark>", "</mark>") } else { ("", "") };
        put(
            &mut out,
            format_args!("{}{open}{}{close}", escape(before), escape(word)),
        );
        rest = &rest[end..];
    }
    put(&mut out, format_args!("{}", escape(rest)));
    out
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}

/// Writing to a string can't fail.
fn put(out: &mut String, what: fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evil() -> Lesson {
        let evil = "<script>alert('\"&\"')</script>".to_owned();
        Lesson {
            slug: "evil".to_owned(),
            title: evil.clone(),
            teaser: evil.clone(),
            markdown: evil,
            images: Vec::new(),
        }
    }

    #[test]
    fn nothing_from_a_file_or_a_visitor_is_mark_up() {
        let lesson = evil();
        let missing = [Missing {
            part: Part::Metadata,
            why: lesson.title.clone(),
        }];
        let problems = [Problem {
            file: lesson.title.clone(),
            why: lesson.title.clone(),
        }];
        let card = Card {
            lesson: &lesson,
            cover: None,
            metadata: None,
            views: None,
        };
        let hit = Hit {
            slug: "evil".into(),
            title: lesson.title.clone(),
            count: 1,
            snippet: lesson.title.clone(),
        };
        let extras = Extras {
            pictures: &[],
            metadata: None,
            views: None,
            missing: &missing,
            key: lesson.title.clone(),
        };
        for page in [
            list(&[card], &missing, &problems),
            super::lesson(&lesson, "", &extras),
            search(&lesson.title, &[hit], 1, 1),
            notice(&lesson.title, &lesson.title, true),
        ] {
            let own = page.matches(SCRIPT_TAG).count();
            assert_eq!(page.matches("<script").count(), own, "{page}");
            assert!(
                page.contains("&lt;script&gt;") || page.contains("&lt;<mark>script"),
                "{page}"
            );
        }
    }

    #[test]
    fn a_degraded_page_says_which_part_and_why() {
        let missing = [Missing {
            part: Part::Metadata,
            why: "deadline exceeded".to_owned(),
        }];
        let page = list(&[], &missing, &[]);
        assert!(page.contains("notice degraded"));
        assert!(page.contains("without reading time and related lessons"));
        assert!(page.contains("deadline exceeded"));
    }

    #[test]
    fn sought_words_are_marked() {
        let sought = ["mailbox".to_owned()];
        assert_eq!(
            marked("A <Mailbox>, full.", &sought),
            "A &lt;<mark>Mailbox</mark>&gt;, full."
        );
    }
}
