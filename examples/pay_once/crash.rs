//! Where a bank is killed, and when: drawn before it is started, so that the same seed kills at the same points.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callboard::{Entropy, Incarnation};
use rustix::process::{Signal, getpid, kill_process};

#[cfg(test)]
mod tests;

/// What the bank has done of a payment when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Point {
    /// Nothing but receive it.
    Received,
    /// Moved the money, inside the transaction.
    Effect,
    /// Kept all that the transaction is to keep.
    Stored,
    /// Committed, and not answered.
    Committed,
}

impl Point {
    pub(crate) const ALL: [Point; 4] = [
        Point::Received,
        Point::Effect,
        Point::Stored,
        Point::Committed,
    ];

    fn word(self) -> &'static str {
        match self {
            Point::Received => "received",
            Point::Effect => "effect",
            Point::Stored => "stored",
            Point::Committed => "committed",
        }
    }

    /// Where that is, for people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Point::Received => "on receipt",
            Point::Effect => "in the transaction, the money moved",
            Point::Stored => "right before the commit",
            Point::Committed => "after the commit, before the answer",
        }
    }
}

/// How an incarnation of the bank ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// By its own hand, when it comes to that point for the n-th time.
    At(Point, u32),
    /// By somebody else's, so long after it could be reached.
    Outside(Duration),
    /// When it is asked to.
    Lives,
}

/// The longest that a bank lives whose end comes from outside.
const LONGEST: Duration = Duration::from_millis(15);

impl Plan {
    /// The plan for one incarnation of those that are to be killed, and for any after them. The points take turns; each
    /// incarnation has a share of half the payments, so that there are some left for the last one, also where all that
    /// were under way at a kill are not made again.
    pub(crate) fn draw(seed: u64, incarnation: Incarnation, kills: u32, payments: u32) -> Plan {
        if incarnation.0 > u64::from(kills) {
            return Plan::Lives;
        }
        let entropy = Entropy::seeded(seed ^ incarnation.0.rotate_left(32));
        let turn = usize::try_from(incarnation.0).unwrap_or(0) % (Point::ALL.len() + 1);
        match Point::ALL.get(turn) {
            Some(point) => {
                let share = u64::from(payments / 2 / (kills + 1)).max(1);
                let visit = 1 + entropy.below(share);
                Plan::At(*point, u32::try_from(visit).unwrap_or(1))
            }
            None => Plan::Outside(entropy.jitter(LONGEST)),
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Plan::At(point, _) => point.text(),
            Plan::Outside(_) => "from outside, at any time",
            Plan::Lives => "although it was to live",
        }
    }
}

/// As an argument of the bank's process: `effect:17`. What comes from outside is nothing that it has to know.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Plan::At(point, visit) => write!(f, "{}:{visit}", point.word()),
            Plan::Outside(_) | Plan::Lives => f.write_str("lives"),
        }
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no plan");
        if text == "lives" {
            return Ok(Plan::Lives);
        }
        let (word, visit) = text.split_once(':').ok_or_else(wrong)?;
        let point = Point::ALL.into_iter().find(|point| point.word() == word);
        let visit = visit.parse().map_err(|_| wrong())?;
        Ok(Plan::At(point.ok_or_else(wrong)?, visit))
    }
}

/// The bank's side of it.
pub(crate) struct Crash {
    plan: Plan,
    visits: AtomicU32,
}

impl Crash {
    pub(crate) fn new(plan: Plan) -> Self {
        Crash {
            plan,
            visits: AtomicU32::new(0),
        }
    }

    // ANCHOR: crash
    /// The process may end here, as if somebody had pulled its plug: nothing is flushed, nothing is said. `last` is
    /// called before.
    pub(crate) fn at(&self, here: Point, last: impl FnOnce()) {
        let Plan::At(point, visit) = self.plan else {
            return;
        };
        if here == point && self.visits.fetch_add(1, Ordering::Relaxed) + 1 == visit {
            last();
            // An error is none of a process that may signal itself.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
    // ANCHOR_END: crash
}
