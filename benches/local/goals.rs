//! The goals: how far ahead of the best actor framework of the same run Callboard has to be.

use common::results::{Results, Row};

use crate::plan::{Block, Cell};
use crate::systems::{Candidate, Family};
use common::plan::{Better, Column};

const CALLBOARD: &str = "callboard";
const NO_HAND_OFF: &str = "callboard (no hand-off)";

/// Which actor frameworks count as peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peers {
    /// Those with a bounded mailbox: the workload is about the bound.
    Bounded,
    /// All of them.
    All,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    /// That many times as good as the best peer.
    Times(f64, Peers),
    /// No more than that.
    AtMost(f64),
}

use Target::{AtMost, Times};

struct Goal {
    workload: &'static str,
    system: &'static str,
    target: Target,
}

const fn goal(workload: &'static str, system: &'static str, target: Target) -> Goal {
    Goal {
        workload,
        system,
        target,
    }
}

/// A workload's goal is about its first column.
const GOALS: [Goal; 18] = [
    goal(
        "tell 1 to 1, one thread",
        CALLBOARD,
        Times(3.5, Peers::Bounded),
    ),
    goal(
        "tell 1 to 1, two threads",
        CALLBOARD,
        Times(8.0, Peers::Bounded),
    ),
    goal(
        "tell 8 to 1, one thread",
        CALLBOARD,
        Times(3.5, Peers::Bounded),
    ),
    goal(
        "tell 8 to 1, two threads",
        CALLBOARD,
        Times(6.0, Peers::Bounded),
    ),
    goal(
        "ask in sequence, one thread",
        CALLBOARD,
        Times(4.0, Peers::All),
    ),
    goal(
        "ask in sequence, one thread",
        NO_HAND_OFF,
        Times(1.6, Peers::All),
    ),
    goal(
        "ask in sequence, two threads",
        CALLBOARD,
        Times(1.0, Peers::All),
    ),
    goal(
        "ask, 64 in flight, one thread",
        NO_HAND_OFF,
        Times(2.2, Peers::All),
    ),
    goal(
        "ask, 1,024 in flight, one thread",
        NO_HAND_OFF,
        Times(2.2, Peers::All),
    ),
    goal(
        "ask, 64 in flight, two threads",
        NO_HAND_OFF,
        Times(2.5, Peers::All),
    ),
    goal(
        "ask, 1,024 in flight, two threads",
        NO_HAND_OFF,
        Times(2.5, Peers::All),
    ),
    goal("ring of 1,000", CALLBOARD, Times(3.5, Peers::All)),
    goal(
        "fan-out 1 to 100, one thread",
        CALLBOARD,
        Times(10.0, Peers::Bounded),
    ),
    goal(
        "fan-out 1 to 100, two threads",
        CALLBOARD,
        Times(8.0, Peers::All),
    ),
    goal("spawn and stop 100,000", CALLBOARD, Times(4.0, Peers::All)),
    goal("idle actor", CALLBOARD, AtMost(400.0)),
    goal("allocations per tell", CALLBOARD, AtMost(0.0)),
    goal("allocations per ask", CALLBOARD, AtMost(0.0)),
];

/// A goal beside what was measured.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    pub(crate) workload: String,
    /// The best peer and its median.
    pub(crate) best: Option<(&'static str, f64)>,
    pub(crate) ours: f64,
    pub(crate) ratio: Option<f64>,
    pub(crate) goal: String,
    pub(crate) met: bool,
    /// The lead over a peer without bound that is better than the best bounded one.
    pub(crate) unbounded: Option<(&'static str, f64)>,
}

/// Every goal whose workload was measured, on Callboard and, if it is a ratio, on at least one peer.
pub(crate) fn verdicts(
    blocks: &[Block],
    systems: &[Box<dyn Candidate>],
    results: &Results,
) -> Vec<Verdict> {
    let judge = |goal: &Goal| {
        let mut cells = blocks.iter().flat_map(|block| &block.cells);
        let cell = cells.find(|cell| cell.workload == goal.workload)?;
        let column = cell.columns.first()?;
        let ours = results.get(cell, column, goal.system)?;
        verdict(goal, cell, column, ours, systems, results)
    };
    GOALS.iter().filter_map(judge).collect()
}

fn verdict(
    goal: &Goal,
    cell: &Cell,
    column: &Column,
    ours: &Row,
    systems: &[Box<dyn Candidate>],
    results: &Results,
) -> Option<Verdict> {
    let best_of = |families: &[Family]| {
        let peers = systems
            .iter()
            .filter(|peer| families.contains(&peer.family()));
        let rows = peers.filter_map(|peer| results.get(cell, column, peer.name()));
        rows.max_by(|one, other| match column.better {
            Better::More => one.median.total_cmp(&other.median),
            Better::Less => other.median.total_cmp(&one.median),
        })
    };
    let lead = |peer: &Row| match column.better {
        Better::More => ours.median / peer.median,
        Better::Less => peer.median / ours.median,
    };
    let all = best_of(&[Family::Actors, Family::UnboundedActors]);
    let (best, target, met) = match goal.target {
        Times(times, peers) => {
            let best = match peers {
                Peers::All => all,
                Peers::Bounded => best_of(&[Family::Actors]),
            }?;
            (Some(best), format!("{times} x"), lead(best) >= times)
        }
        // A count in a long run is never quite zero: buffers that grow once, the asks that end it.
        AtMost(limit) => (all, format!("<= {limit}"), ours.median <= limit + 0.005),
    };
    let is_ratio = matches!(goal.target, Times(..));
    let unbounded = all.filter(|all| best.is_some_and(|best| best.system != all.system));
    let suffix = match goal.system {
        NO_HAND_OFF => ", no hand-off",
        _ => "",
    };
    Some(Verdict {
        workload: format!("{}{suffix}", goal.workload),
        best: best.map(|row| (row.system, row.median)),
        ours: ours.median,
        ratio: best.filter(|_| is_ratio).map(lead),
        goal: target,
        met,
        unbounded: unbounded.map(|row| (row.system, lead(row))),
    })
}
