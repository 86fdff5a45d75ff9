//! The spans of one page, in the order in which they began.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Record};

use crate::calls::readable;

/// Longer fields are cut, in characters: a path may be as long as a visitor likes.
const LONGEST: usize = 80;

/// The fields of a span, as text.
#[derive(Debug, Default)]
pub(super) struct Fields(BTreeMap<&'static str, String>);

impl Fields {
    pub(super) fn of(attributes: &Attributes<'_>) -> Self {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        fields
    }

    pub(super) fn of_record(record: &Record<'_>) -> Self {
        let mut fields = Fields::default();
        record.record(&mut fields);
        fields
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn put(&mut self, field: &Field, text: String) {
        let text = match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        };
        self.0.insert(field.name(), text);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }
}

/// A page, and what was done for it.
#[derive(Debug, Clone)]
pub(crate) struct PageTrace {
    spans: Vec<Span>,
    /// How many more there were.
    left_out: u64,
}

#[derive(Debug, Clone)]
struct Span {
    /// Its place in the list. The first, which is the page, is below itself.
    below: usize,
    name: String,
    place: String,
    failed: Option<String>,
    /// Since the page began.
    from: Duration,
    /// Not known of what went on for longer than its page.
    took: Option<Duration>,
}

/// One span, as a line of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SpanRow {
    /// How far below the page: 0 is the page itself.
    pub(crate) depth: usize,
    /// What was done: a page, a part of it, a message that was handled.
    pub(crate) name: String,
    /// Over which boundary, or by which actor.
    pub(crate) place: String,
    /// The verdict, if it failed.
    pub(crate) failed: Option<String>,
    /// When it began, since the page did.
    pub(crate) from_micros: u64,
    /// How long it took; `None` if it went on for longer than the page.
    pub(crate) took_micros: Option<u64>,
}

impl PageTrace {
    pub(super) fn new(fields: Fields) -> Self {
        let mut trace = PageTrace {
            spans: Vec::new(),
            left_out: 0,
        };
        trace.push(0, fields, Duration::ZERO);
        trace
    }

    /// Answers its place in the list, or nothing if there are `most` already.
    pub(super) fn add(
        &mut self,
        below: usize,
        fields: Fields,
        from: Duration,
        most: usize,
    ) -> Option<usize> {
        if self.spans.len() >= most {
            self.left_out += 1;
            return None;
        }
        Some(self.push(below, fields, from))
    }

    fn push(&mut self, below: usize, mut fields: Fields, from: Duration) -> usize {
        let (name, place) = match (fields.take("message"), fields.take("part")) {
            (Some(message), _) => (short(&message), fields.take("actor")),
            (None, Some(part)) => (part, fields.take("boundary")),
            (None, None) => match (fields.take("method"), fields.take("path")) {
                (Some(method), Some(path)) => (format!("{method} {path}"), None),
                _ => (fields.take("step").unwrap_or_default(), None),
            },
        };
        self.spans.push(Span {
            below,
            name,
            place: place.unwrap_or_default(),
            failed: None,
            from,
            took: None,
        });
        self.spans.len() - 1
    }

    pub(super) fn note(&mut self, at: usize, mut fields: Fields) {
        if let (Some(span), Some(failed)) = (self.spans.get_mut(at), fields.take("failed")) {
            span.failed = Some(failed);
        }
    }

    pub(super) fn end(&mut self, at: usize, now: Duration) {
        if let Some(span) = self.spans.get_mut(at) {
            span.took = Some(now.saturating_sub(span.from));
        }
    }

    /// How long the page took; zero until it has ended.
    pub(crate) fn took(&self) -> Duration {
        let page = self.spans.first();
        page.and_then(|page| page.took).unwrap_or_default()
    }

    /// Spans that found no room.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Each span with what is below it, the page first.
    pub(crate) fn rows(&self) -> Vec<SpanRow> {
        let mut rows = Vec::with_capacity(self.spans.len());
        self.walk(0, 0, &mut rows);
        rows
    }

    fn walk(&self, at: usize, depth: usize, rows: &mut Vec<SpanRow>) {
        let Some(span) = self.spans.get(at) else {
            return;
        };
        rows.push(SpanRow {
            depth,
            name: span.name.clone(),
            place: span.place.clone(),
            failed: span.failed.clone(),
            from_micros: micros(span.from),
            took_micros: span.took.map(micros),
        });
        // What is below another began later, and stands behind it.
        for (below, span) in self.spans.iter().enumerate().skip(at + 1) {
            if span.below == at {
                self.walk(below, depth + 1, rows);
            }
        }
    }
}

/// One line a span, for the terminal.
impl fmt::Display for PageTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.rows() {
            let mut line = format!("{}{}", "   ".repeat(row.depth), row.name);
            if !row.place.is_empty() {
                write!(line, " ({})", row.place)?;
            }
            let took = row.took_micros.map_or("goes on".to_owned(), readable);
            write!(f, "  {line:<50} {took:>8}")?;
            match row.failed {
                Some(failed) => writeln!(f, "  {failed}")?,
                None => writeln!(f)?,
            }
        }
        if self.left_out > 0 {
            writeln!(f, "  and {} more", self.left_out)?;
        }
        Ok(())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A type without the paths to it: `Offer<IndexJob>`.
fn short(name: &str) -> String {
    let mut out = String::new();
    for word in name.split_inclusive(['<', '>', ',', ' ', '(', ')', '&', '[', ']', ';']) {
        out.push_str(word.rsplit("::").next().unwrap_or(word));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_short() {
        for (long, is) in [
            ("lesson_platform::messages::Render", "Render"),
            ("a::b::Offer<c::IndexJob>", "Offer<IndexJob>"),
            ("Map<a::K, [b::V]>", "Map<K, [V]>"),
            ("u8", "u8"),
        ] {
            assert_eq!(short(long), is);
        }
    }
}
