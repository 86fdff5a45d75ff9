//! Requests, and what came of them.

use std::io::{self, Write};
use std::time::Duration;

use callboard::prelude::*;
use callboard::supervision::{Answer, AskExt, CallPolicy, PolicyStats};
use futures::future::join_all;

use super::callee::{Librarian, Related, Shelf};

/// Requests a second.
pub(super) const RATE: u64 = 100;
/// How long one row of the table asks.
pub(super) const ROW: Duration = Duration::from_secs(3);

/// One row of the table.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// How long each request took, the shortest first.
    took: Vec<Duration>,
    pub(super) full: u64,
    pub(super) degraded: u64,
    /// Attempts that the time limit ended, and that the breaker refused.
    pub(super) timed_out: u64,
    pub(super) refused: u64,
    /// How many came to the callee.
    pub(super) reached: u64,
}

// ANCHOR: load
/// Asks for that long, evenly, and waits for the last answer.
pub(super) async fn row(
    system: &System,
    callee: &ActorRef<Librarian>,
    policy: &CallPolicy,
    shelf: &Shelf,
) -> Row {
    let clock = system.clock();
    let (begin, reached, stats) = (clock.now(), shelf.reached(), policy.stats());
    let requests = (0..ROW.as_secs() * RATE).map(|number| async move {
        let at = begin + Duration::from_secs(number) / RATE as u32;
        clock.sleep_until(at).await;
        let related = callee.ask(Related).policy_idempotent(policy);
        // A page without its related pages is a page still.
        let answer = related.or_degraded("related pages", Vec::new()).await;
        (clock.now().since(at), answer)
    });
    let answers = join_all(requests).await;
    let mut row = Row {
        reached: shelf.reached() - reached,
        ..Row::default()
    };
    for (took, answer) in answers {
        row.took.push(took);
        match answer {
            Answer::Full(_) => row.full += 1,
            Answer::Degraded(..) => row.degraded += 1,
        }
    }
    row.took.sort();
    row.since(&stats, &policy.stats());
    row
}
// ANCHOR_END: load

impl Row {
    fn since(&mut self, before: &PolicyStats, after: &PolicyStats) {
        self.timed_out = after.timed_out - before.timed_out;
        self.refused = after.broken - before.broken;
    }

    pub(super) fn requests(&self) -> u64 {
        self.full + self.degraded
    }

    /// Within which time that many of a hundred were answered.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let last = self.took.len().saturating_sub(1);
        let at = (self.took.len() * percent).div_ceil(100).saturating_sub(1);
        self.took.get(at.min(last)).copied().unwrap_or_default()
    }

    pub(super) fn head(out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{:38} {:>8} {:>5} {:>14} {:>9} {:>8} {:>8}",
            "", "", "", "degraded by", "", "", "reached"
        )?;
        writeln!(
            out,
            "{:38} {:>8} {:>5} {:>6} {:>7} {:>9} {:>8} {:>8}",
            "", "requests", "full", "limit", "breaker", "p50", "p99", "callee"
        )
    }

    pub(super) fn write(&self, title: &str, out: &mut impl Write) -> io::Result<()> {
        let millis = |percent| format!("{} ms", self.percentile(percent).as_millis());
        writeln!(
            out,
            "{title:38} {:>8} {:>5} {:>6} {:>7} {:>9} {:>8} {:>8}",
            self.requests(),
            self.full,
            self.timed_out,
            self.refused,
            millis(50),
            millis(99),
            self.reached
        )
    }
}
