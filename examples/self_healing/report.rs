//! What the events come to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use callboard::ChildKind;
use callboard::clock::Instant;
use callboard::supervision::{TreeEvent, TreeEventKind, WorstCase};

use super::bakery::ROUND;
use super::ledger::Books;
use super::worker::BURNT;

/// Why somebody was started again.
const CAUSES: [&str; 7] = [
    "killed", "panicked", "failed", "frozen", "no start", "gave up", "by group",
];
const KILLED: usize = 0;
const PANICKED: usize = 1;
const FAILED: usize = 2;
const FROZEN: usize = 3;
const NO_START: usize = 4;
const GAVE_UP: usize = 5;
const WITH_OTHERS: usize = 6;

/// All that has happened to one of them.
#[derive(Debug, Default)]
struct Row {
    /// By cause. A start that failed is one that was tried again.
    causes: [u64; CAUSES.len()],
    restarts: u64,
    resumed: u64,
    down_since: Option<Instant>,
    /// From its own failure until it was up again.
    longest: Option<Duration>,
}

/// The run in figures.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: BTreeMap<String, Row>,
    /// Events that came too fast to be shown.
    missed: u64,
}

impl Report {
    pub(super) fn missed(&mut self, count: u64) {
        self.missed += count;
    }

    // ANCHOR: note
    pub(super) fn note(&mut self, event: &TreeEvent) {
        let is_driver = event.supervisors.last().is_some_and(|last| last == ROUND);
        let name = if is_driver { "drivers" } else { &event.child };
        let row = self.rows.entry(name.to_owned()).or_default();
        let was_down = row.down_since.is_some();
        match &event.what {
            // Given up: started again by its supervisor's supervisor.
            TreeEventKind::Failed { cause, .. } | TreeEventKind::GaveUp { cause } => {
                row.down_since.get_or_insert(event.at);
                row.causes[cause_of(event.kind, cause, was_down)] += 1;
            }
            TreeEventKind::Restarted => {
                row.restarts += 1;
                match row.down_since.take() {
                    Some(since) => row.longest = row.longest.max(Some(event.at.since(since))),
                    None => row.causes[WITH_OTHERS] += 1,
                }
            }
            TreeEventKind::Resumed { .. } => row.resumed += 1,
            _ => {}
        }
    }
    // ANCHOR_END: note

    /// The table, and what has become of the jobs.
    pub(super) fn write(
        &self,
        books: &Books,
        worst: &WorstCase,
        with_times: bool,
        out: &mut impl std::io::Write,
    ) -> std::io::Result<()> {
        let table = Table {
            report: self,
            with_times,
        };
        write!(out, "\n{table}\n{books}")?;
        writeln!(out, "the tree: {worst}")?;
        if self.missed > 0 {
            writeln!(out, "{} events came too fast to be counted", self.missed)?;
        }
        writeln!(
            out,
            "{}",
            match books.lost {
                0 => "nothing that was queued was lost",
                _ => "this is not what was promised",
            }
        )
    }
}

fn cause_of(kind: ChildKind, cause: &str, was_down: bool) -> usize {
    match kind {
        ChildKind::Supervisor => GAVE_UP,
        _ if was_down => NO_START,
        _ if cause == "killed" || cause.contains("SIGKILL") => KILLED,
        _ if cause.contains(BURNT) => PANICKED,
        _ if cause.contains("no progress") => FROZEN,
        _ => FAILED,
    }
}

struct Table<'a> {
    report: &'a Report,
    with_times: bool,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = format!("{:<10} {:>8}", "", "restarts");
        for cause in CAUSES {
            head.push_str(&format!(" {cause:>8}"));
        }
        let outage = if self.with_times {
            "  longest outage"
        } else {
            ""
        };
        writeln!(f, "{head}{outage}")?;
        for (name, row) in &self.report.rows {
            if row.restarts == 0 && row.resumed == 0 {
                continue;
            }
            let mut line = format!("{name:<10} {:>8}", row.restarts);
            for count in row.causes {
                let count = if count == 0 {
                    String::new()
                } else {
                    count.to_string()
                };
                line.push_str(&format!(" {count:>8}"));
            }
            match row.longest {
                Some(longest) if self.with_times => {
                    line.push_str(&format!("  {:>11} ms", longest.as_millis()));
                }
                _ => {}
            }
            if row.resumed > 0 {
                line.push_str(&format!("  went on: {}", row.resumed));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |what: &str, count: u32, note: &str| {
            writeln!(f, "{}", format!("{what:<14}{count:>7}  {note}").trim_end())
        };
        row("jobs", self.jobs, "")?;
        row("  answered", self.answered, "")?;
        row(
            "  told at once",
            self.told,
            "in hand when their worker failed",
        )?;
        if self.came_back > 0 {
            row(
                "  came back",
                self.came_back,
                "accidents that found nobody there",
            )?;
        }
        row("  lost", self.lost, "")
    }
}
