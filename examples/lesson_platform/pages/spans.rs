//! The spans of the last pages, on the system page.

use serde::Serialize;

use super::{escape, put};
use crate::calls::readable;
use crate::spans::{Kept, PageTrace, SpanRow};

/// What is below another is set off by that.
const INDENT: &str = "&nbsp;&nbsp;&nbsp;";

/// The last pages, and where their time went.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PagesReport {
    /// The last one, with all that was done for it.
    last: Option<PageReport>,
    /// The slowest since the start.
    slowest: Option<PageReport>,
    /// The ones before, the latest first.
    before: Vec<SpanRow>,
    /// Pages that were not followed, because too many were already.
    left_out: u64,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct PageReport {
    /// Each with what is below it.
    spans: Vec<SpanRow>,
    /// Spans that found no room.
    left_out: u64,
}

impl From<PageTrace> for PageReport {
    fn from(trace: PageTrace) -> Self {
        PageReport {
            spans: trace.rows(),
            left_out: trace.left_out(),
        }
    }
}

impl From<Kept> for PagesReport {
    fn from(kept: Kept) -> Self {
        let mut latest = kept.latest.into_iter();
        PagesReport {
            last: latest.next().map(PageReport::from),
            slowest: kept.slowest.map(PageReport::from),
            before: latest
                .filter_map(|page| page.rows().into_iter().next())
                .collect(),
            left_out: kept.left_out,
        }
    }
}

impl PagesReport {
    pub(super) fn write(&self, body: &mut String) {
        let Some(last) = &self.last else {
            body.push_str("<p class=\"meta\">No page has been asked for yet.</p>\n");
            return;
        };
        last.write(body, "The last page, span by span");
        if let Some(slowest) = self.slowest.as_ref().filter(|slowest| *slowest != last) {
            slowest.write(body, "The slowest page since the start");
        }
        body.push_str(
            "<p class=\"meta\">Below a part are the handlers of this process that worked for it. What other \
             processes did for it has no spans here yet.",
        );
        if !self.before.is_empty() {
            body.push_str(" Pages before: ");
        }
        for (number, page) in self.before.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            let took = page.took_micros.map(readable).unwrap_or_default();
            put(body, format_args!("{comma}{} {took}", escape(&page.name)));
        }
        body.push_str("</p>\n");
        if self.left_out > 0 {
            put(
                body,
                format_args!(
                    "<p class=\"meta\">Not followed, because too many were at once: {} pages.</p>\n",
                    self.left_out
                ),
            );
        }
    }
}

impl PageReport {
    /// A line for each span, with a bar for when it was.
    fn write(&self, body: &mut String, caption: &str) {
        let whole = self.spans.first().and_then(|page| page.took_micros);
        put(
            body,
            format_args!(
                "<table class=\"data spans\"><caption>{caption}</caption><thead><tr><th>What</th>\
                 <th>Where</th><th class=\"num\">Took</th><th>When</th></tr></thead><tbody>\n"
            ),
        );
        for span in &self.spans {
            let class = if span.failed.is_some() {
                " class=\"warn\""
            } else {
                ""
            };
            let failed = span.failed.as_ref().map(|verdict| format!(" ({verdict})"));
            put(
                body,
                format_args!(
                    "<tr{class}><td class=\"tree\">{}{}{}</td><td>{}</td><td class=\"num\">{}</td><td>{}</td></tr>\n",
                    INDENT.repeat(span.depth),
                    escape(&span.name),
                    escape(&failed.unwrap_or_default()),
                    escape(&span.place),
                    span.took_micros.map_or("goes on".to_owned(), readable),
                    bar(span, whole.unwrap_or_default())
                ),
            );
        }
        body.push_str("</tbody></table>\n");
        if self.left_out > 0 {
            put(
                body,
                format_args!("<p class=\"meta\">And {} spans more.</p>\n", self.left_out),
            );
        }
    }
}

/// When a span was, as a part of the page. Attributes of SVG are no inline styles, which the pages forbid.
fn bar(span: &SpanRow, whole: u64) -> String {
    let whole = whole.max(1) as f64;
    let percent = |micros: u64| (micros as f64 * 100.0 / whole).clamp(0.0, 100.0);
    let from = percent(span.from_micros);
    let took = span.took_micros.map_or(100.0 - from, percent);
    // What took no time is seen all the same.
    let (from, wide) = (from.min(99.4), took.clamp(0.6, 100.0));
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect x=\"{from:.1}\" y=\"1\" width=\"{:.1}\" height=\"6\"/></svg>",
        wide.min(100.0 - from)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(depth: usize, name: &str, from_micros: u64, took_micros: Option<u64>) -> SpanRow {
        SpanRow {
            depth,
            name: name.to_owned(),
            place: "TCP".to_owned(),
            failed: None,
            from_micros,
            took_micros,
        }
    }

    #[test]
    fn a_page_is_shown_with_its_parts_and_nothing_of_it_is_mark_up() {
        let mut part = span(1, "metadata", 1_000, Some(250));
        part.failed = Some("maybe executed".to_owned());
        let page = PageReport {
            spans: vec![
                span(0, "GET /<script>", 0, Some(2_000)),
                part,
                span(2, "Get", 1_500, None),
            ],
            left_out: 3,
        };
        let report = PagesReport {
            last: Some(page),
            slowest: Some(PageReport {
                spans: vec![span(0, "GET /slow", 0, Some(9_000_000))],
                left_out: 0,
            }),
            before: vec![span(0, "GET /a", 0, Some(87))],
            left_out: 2,
        };
        let mut body = String::new();
        report.write(&mut body);
        assert!(!body.contains("<script"), "{body}");
        for shown in [
            "GET /&lt;script&gt;",
            "<tr class=\"warn\"><td class=\"tree\">&nbsp;&nbsp;&nbsp;metadata (maybe executed)</td>",
            "&nbsp;&nbsp;&nbsp;&nbsp;&nbsp;&nbsp;Get</td><td>TCP</td><td class=\"num\">goes on",
            "x=\"50.0\" y=\"1\" width=\"12.5\"",
            "x=\"75.0\" y=\"1\" width=\"25.0\"",
            "GET /slow",
            "9.0 s",
            "GET /a 87 us",
            "And 3 spans more",
            "at once: 2 pages",
        ] {
            assert!(body.contains(shown), "{shown}: {body}");
        }
    }
}
