//! How often a tree can start its children at the worst: the intensities of its levels multiply.

use std::fmt;

use serde::Serialize;

use super::reference::SupervisorRef;
use super::shared::Tree;

/// What a supervisor and all below it can do at the worst, computed from the intensities and strategies, without the
/// back-off (which only makes it less).
///
/// A leaf under 5 restarts that is under 5 restarts is started 36 times before the top gives up; OTP's design principles
/// warn of this, and leave the arithmetic to the reader. Children that are there now count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WorstCase {
    /// How many starts there can be, of children on all levels and the first ones included, before it gives up: when
    /// everything fails as fast as it can, each time.
    pub starts: u64,
    /// How many starts a second it can go on with for ever without giving up, nor anybody below for good.
    pub starts_per_second: f64,
}

impl WorstCase {
    /// Over the tree as it is now, under a top that isn't restarted itself.
    pub(crate) fn of(tree: &Tree) -> Self {
        let sums = Sums::of(tree);
        WorstCase {
            starts: sums.starts,
            starts_per_second: sums.own,
        }
    }
}

impl fmt::Display for WorstCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WorstCase {
            starts,
            starts_per_second,
        } = self;
        write!(
            f,
            "at the worst {starts} starts before it gives up, {starts_per_second:.1} a second for ever"
        )
    }
}

/// What is summed up over a tree from below.
struct Sums {
    /// Starts in one incarnation that ends by giving up.
    starts: u64,
    /// Starts a second that can go on for ever if it isn't itself restarted ...
    own: f64,
    /// ... and how many more for each time it is.
    more: f64,
}

impl Sums {
    fn of(tree: &Tree) -> Self {
        let (below, leaves) = children(tree);
        let below: Vec<_> = below.iter().map(|below| Sums::of(below.tree())).collect();
        let max = u64::try_from(tree.rules.intensity.0).unwrap_or(u64::MAX);
        let group = tree.rules.strategy.is_group();
        let costs = || below.iter().map(|below| below.starts.saturating_add(1));
        let all = costs().fold(leaves, u64::saturating_add);
        let one = costs().max().unwrap_or(u64::from(leaves > 0));
        let each = if group { all } else { one };

        // Numbers of children and restarts are far below 2^52, where f64 is exact.
        #[allow(clippy::cast_precision_loss)]
        let (count, restarts) = ((leaves + below.len() as u64) as f64, max as f64);
        let period = tree.rules.intensity.1.as_secs_f64();
        let decided = if period > 0.0 {
            restarts / period
        } else {
            f64::INFINITY
        };
        let own = below.iter().map(|below| below.own).sum::<f64>();
        let more = below.iter().map(|below| below.more).sum::<f64>();
        // At the worst all restarts are of the child that costs most; of a group they are of all.
        let (started, hit) = if group {
            (count, more)
        } else {
            let most = below.iter().map(|below| below.more).fold(0.0, f64::max);
            (1.0, most)
        };
        Sums {
            starts: all.saturating_add(max.saturating_mul(each)),
            own: if count > 0.0 {
                decided * (started + hit) + own
            } else {
                0.0
            },
            // In each of its incarnations the window starts empty.
            more: restarts * (started + hit) + count + more,
        }
    }
}

/// The supervisors among the children, and how many children are none.
fn children(tree: &Tree) -> (Vec<SupervisorRef>, u64) {
    tree.look(|state| {
        let mut supervisors = Vec::new();
        let mut leaves = 0;
        for (_, slot) in state.engine.slots() {
            match &slot.spec.supervisor {
                Some(below) => supervisors.push(below.clone()),
                None => leaves += 1,
            }
        }
        (supervisors, leaves)
    })
}
