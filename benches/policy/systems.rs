//! Who is measured: each is one row of the tables it takes part in.

pub(crate) mod dedups;
pub(crate) mod peers;
pub(crate) mod policies;

use common::run::Result;
use common::size::Size;

use crate::workloads::{Work, durable, keyed, local, plain, two};
use dedups::Dedups;
use peers::Peer;
use policies::Policy;

/// A row of the tables.
pub(crate) trait Candidate {
    fn name(&self) -> &'static str;

    /// Whether this workload says something about it.
    fn takes(&self, work: Work) -> bool;

    /// Runs a workload once; one value per column of its cell.
    fn measure(&self, work: Work, size: Size) -> Result<Vec<f64>>;
}

/// All, in the order of the tables.
pub(crate) fn all() -> Vec<Box<dyn Candidate>> {
    let mut all: Vec<Box<dyn Candidate>> = Vec::new();
    all.extend(Bare::ALL.map(|it| Box::new(it) as _));
    all.extend(Policy::ALL.map(|it| Box::new(it) as _));
    all.extend(Peer::ALL.map(|it| Box::new(it) as _));
    all.extend(Dedups::ALL.map(|it| Box::new(it) as _));
    all
}

/// Calls under no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bare {
    /// Nothing but the call, measured against itself: what it adds to itself is how exact the other figures are.
    Call,
    /// With a deadline of its own.
    Deadline,
    /// And it says that its caller retries: what an attempt under a policy carries.
    Marked,
}

impl Bare {
    const ALL: [Bare; 3] = [Bare::Call, Bare::Deadline, Bare::Marked];
}

impl Candidate for Bare {
    fn name(&self) -> &'static str {
        match self {
            Bare::Call => "bare",
            Bare::Deadline => "bare, with a deadline",
            Bare::Marked => "bare, with a deadline, its caller retries",
        }
    }

    fn takes(&self, work: Work) -> bool {
        match work {
            Work::LocalAsk { .. } => true,
            Work::PlainFn | Work::Keyed | Work::Unkeyed => *self == Bare::Call,
            Work::TwoCallers { .. } | Work::Durable { .. } => false,
        }
    }

    fn measure(&self, work: Work, size: Size) -> Result<Vec<f64>> {
        match work {
            Work::LocalAsk { hand_off } => local::bare(*self, hand_off, size),
            Work::PlainFn => plain::bare(size),
            Work::Keyed => keyed::bare(size),
            Work::Unkeyed => keyed::bare_without(size),
            Work::TwoCallers { .. } | Work::Durable { .. } => Err("nothing to compare".into()),
        }
    }
}

impl Candidate for Policy {
    fn name(&self) -> &'static str {
        Policy::name(*self)
    }

    fn takes(&self, work: Work) -> bool {
        match work {
            Work::LocalAsk { .. } => true,
            Work::TwoCallers { .. } => {
                matches!(self, Policy::Nothing | Policy::Usual | Policy::Hedged)
            }
            _ => false,
        }
    }

    fn measure(&self, work: Work, size: Size) -> Result<Vec<f64>> {
        match work {
            Work::LocalAsk { hand_off } => local::by_policy(*self, hand_off, size),
            Work::TwoCallers { callees } => two::measure(*self, callees, size),
            _ => Err("a policy makes asks, and has no store".into()),
        }
    }
}

impl Candidate for Peer {
    fn name(&self) -> &'static str {
        Peer::name(*self)
    }

    fn takes(&self, work: Work) -> bool {
        matches!(work, Work::LocalAsk { .. } | Work::PlainFn)
    }

    fn measure(&self, work: Work, size: Size) -> Result<Vec<f64>> {
        match work {
            Work::LocalAsk { hand_off } => local::by_peer(*self, hand_off, size),
            Work::PlainFn => plain::by_peer(*self, size),
            _ => Err("it makes calls only".into()),
        }
    }
}

impl Candidate for Dedups {
    fn name(&self) -> &'static str {
        Dedups::name(*self)
    }

    fn takes(&self, work: Work) -> bool {
        match work {
            Work::Keyed => matches!(
                self,
                Dedups::First | Dedups::FirstWhenFull | Dedups::Duplicate
            ),
            Work::Unkeyed => matches!(self, Dedups::Unlike | Dedups::Alike),
            Work::Durable { .. } => *self == Dedups::Durable,
            _ => false,
        }
    }

    fn measure(&self, work: Work, size: Size) -> Result<Vec<f64>> {
        match work {
            Work::Durable { callers } => durable::measure(callers, size),
            Work::Unkeyed => keyed::by_fingerprint(*self, size),
            _ => keyed::deduplicated(*self, size),
        }
    }
}
