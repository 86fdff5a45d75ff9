//! What calls across each boundary cost, and how they ended.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use callboard::Verdict;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

/// A part of a page, and with it the boundary that has to be crossed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    Renderer,
    Search,
    Enrolment,
    Thumbnails,
    Views,
    Metadata,
}

impl Part {
    pub(crate) const ALL: [Part; 6] = [
        Part::Renderer,
        Part::Search,
        Part::Enrolment,
        Part::Thumbnails,
        Part::Views,
        Part::Metadata,
    ];

    /// What a call of it crosses.
    pub(crate) fn boundary(self) -> &'static str {
        match self {
            Part::Renderer | Part::Search | Part::Enrolment => "same process",
            Part::Thumbnails => "pipe",
            Part::Views => "Unix socket",
            Part::Metadata => "TCP",
        }
    }

    /// What a visitor calls it.
    pub(crate) fn for_people(self) -> &'static str {
        match self {
            Part::Renderer => "the text",
            Part::Search => "the search",
            Part::Enrolment => "the enrolment",
            Part::Thumbnails => "the thumbnails",
            Part::Views => "the number of views",
            Part::Metadata => "reading time and related lessons",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Renderer => "renderer",
            Part::Search => "search",
            Part::Enrolment => "enrolment",
            Part::Thumbnails => "thumbnails",
            Part::Views => "views",
            Part::Metadata => "metadata",
        })
    }
}

/// All calls since the start, by part. A failed call counts with the time it took to fail, so that
/// timeouts aren't left out of the percentiles.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    parts: Mutex<BTreeMap<Part, Tally>>,
}

#[derive(Debug)]
struct Tally {
    micros: Histogram<u32>,
    answered: u64,
    not_sent: u64,
    not_executed: u64,
    maybe_executed: u64,
    executed: u64,
}

impl Default for Tally {
    fn default() -> Self {
        // Up to a minute with two digits; a bound that is fixed here can't fail.
        let micros = Histogram::new_with_bounds(1, 60_000_000, 2);
        Tally {
            micros: micros.expect("bug: the bounds of a histogram"),
            answered: 0,
            not_sent: 0,
            not_executed: 0,
            maybe_executed: 0,
            executed: 0,
        }
    }
}

/// The calls of one part, for a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct CallsOfPart {
    pub(crate) part: Part,
    pub(crate) boundary: &'static str,
    pub(crate) calls: u64,
    pub(crate) answered: u64,
    pub(crate) not_sent: u64,
    pub(crate) not_executed: u64,
    pub(crate) maybe_executed: u64,
    pub(crate) executed: u64,
    pub(crate) p50_micros: u64,
    pub(crate) p99_micros: u64,
}

impl Calls {
    /// Counts one call: how long it took, and the verdict if it failed.
    pub(crate) fn record(&self, part: Part, took: Duration, failed: Option<Verdict>) {
        let mut parts = self.parts.lock();
        let tally = parts.entry(part).or_default();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tally.micros.saturating_record(micros.max(1));
        *match failed {
            None => &mut tally.answered,
            Some(Verdict::NotSent) => &mut tally.not_sent,
            Some(Verdict::NotExecuted) => &mut tally.not_executed,
            Some(Verdict::MaybeExecuted) => &mut tally.maybe_executed,
            Some(Verdict::Executed) => &mut tally.executed,
        } += 1;
    }

    /// One row per part, the nearest boundary first.
    pub(crate) fn rows(&self) -> Vec<CallsOfPart> {
        let parts = self.parts.lock();
        let row = |part: Part| {
            let tally = parts.get(&part)?;
            Some(CallsOfPart {
                part,
                boundary: part.boundary(),
                calls: tally.micros.len(),
                answered: tally.answered,
                not_sent: tally.not_sent,
                not_executed: tally.not_executed,
                maybe_executed: tally.maybe_executed,
                executed: tally.executed,
                p50_micros: tally.micros.value_at_quantile(0.50),
                p99_micros: tally.micros.value_at_quantile(0.99),
            })
        };
        Part::ALL.into_iter().filter_map(row).collect()
    }
}

/// Microseconds as people read them: `87 us`, `1.4 ms`, `230 ms`, `2.1 s`.
pub(crate) fn readable(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..10_000 => format!("{:.1} ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_how_they_ended() {
        let calls = Calls::default();
        for ms in 1..=98 {
            calls.record(Part::Metadata, Duration::from_millis(ms), None);
        }
        let late = Duration::from_millis(250);
        calls.record(Part::Metadata, late, Some(Verdict::MaybeExecuted));
        calls.record(Part::Metadata, late, Some(Verdict::NotSent));
        let row = calls.rows().remove(0);
        assert_eq!((row.calls, row.answered), (100, 98));
        assert_eq!((row.maybe_executed, row.not_sent), (1, 1));
        assert!((49_000..=51_000).contains(&row.p50_micros), "{row:?}");
        assert!(row.p99_micros >= 248_000, "timeouts count: {row:?}");
    }

    #[test]
    fn times_are_readable() {
        let shown = [87, 1_449, 230_400, 2_100_000].map(readable);
        assert_eq!(shown, ["87 us", "1.4 ms", "230 ms", "2.1 s"]);
    }
}
