//! The goals, and whether they were met.

use common::plan::{Better, Column};
use common::render::{number, table};
use common::results::{Results, Row};

use crate::plan::{self, Block, Cell};
use crate::systems::{Candidate, Family};

const CALLBOARD: &str = "callboard";
const FLOOR: &str = "raw tokio";

#[derive(Debug, Clone, Copy)]
enum Target {
    /// So much of the first column, or more, in its own unit.
    AtLeast(f64),
    /// No more than that of it.
    AtMost(f64),
    /// No more than so many times the floor of the same run.
    OfFloor(f64),
    /// So many times what that peer does.
    OfPeer(&'static str, f64),
    /// Better than every peer.
    AheadOfPeers,
    /// So many times what another workload comes to: no more if less is better, no less if more is.
    OfCell(&'static str, f64),
    /// So many times the limit of the same repetition, or more.
    OfLimit(f64),
}

use Target::{AheadOfPeers, AtLeast, AtMost, OfCell, OfFloor, OfLimit, OfPeer};

const GOALS: [(&str, Target); 26] = [
    (plan::ASK_TCP, AtMost(22.0)),
    (plan::ASK_TCP, OfFloor(1.2)),
    (plan::ASK_TCP, AheadOfPeers),
    (plan::ASK_UNIX, AtMost(13.0)),
    (plan::ASK_UNIX, OfFloor(1.2)),
    (plan::ASK_UNIX, AheadOfPeers),
    (plan::ASK_PIPE, OfFloor(1.2)),
    (plan::ASKS_64_TCP, AtLeast(900.0)),
    (plan::ASKS_64_TCP, OfPeer("tarpc", 3.5)),
    (plan::ASKS_64_TCP, AheadOfPeers),
    (plan::ASKS_1024_TCP, AtLeast(1_800.0)),
    (plan::ASKS_1024_TCP, OfPeer("tarpc", 4.5)),
    (plan::ASKS_1024_TCP, AheadOfPeers),
    (plan::BYTES_TCP, AtLeast(8.0)),
    (plan::BYTES_TCP, AheadOfPeers),
    (plan::ORDER_TCP, AtLeast(4.0)),
    (plan::KIB_64_TCP, AtLeast(4_000.0)),
    (plan::MIB_TCP, AtLeast(3_500.0)),
    (plan::ASK_TLS, OfCell(plan::ASK_TCP, 2.0)),
    (plan::ASKS_64_TLS, OfCell(plan::ASKS_64_TCP, 0.5)),
    (plan::KIB_64_TLS, OfCell(plan::KIB_64_TCP, 0.5)),
    (plan::MIB_TLS, OfCell(plan::MIB_TCP, 0.5)),
    (plan::QUEUE_BATCHES, AtLeast(300.0)),
    (plan::QUEUE_DURABLE, OfLimit(0.8)),
    (plan::PUBLISH_EACH, AtLeast(1.0)),
    (plan::ALLOCATIONS, AtMost(0.1)),
];

/// The table of goals. Empty if nothing was measured that has one.
pub(crate) fn report(
    blocks: &[Block],
    systems: &[Box<dyn Candidate>],
    results: &Results,
) -> String {
    let lines = GOALS.iter().filter_map(|(workload, target)| {
        let mut cells = blocks.iter().flat_map(|block| &block.cells);
        let cell = cells.find(|cell| cell.workload == *workload)?;
        judge(blocks, cell, *target, systems, results)
    });
    let body: Vec<Vec<String>> = lines.collect();
    if body.is_empty() {
        return String::new();
    }
    let head = ["workload", "goal", "compared with", "callboard", "met"];
    let head = head.map(str::to_owned);
    format!("## Goals: medians of this run\n\n{}\n", table(&head, &body))
}

fn judge(
    blocks: &[Block],
    cell: &Cell,
    target: Target,
    systems: &[Box<dyn Candidate>],
    results: &Results,
) -> Option<Vec<String>> {
    let column = cell.columns.first()?;
    let ours = results.get(cell, column, CALLBOARD)?.median;
    let (goal, with, met) = match target {
        AtLeast(least) => {
            let goal = format!("at least {} {}", number(least), column.unit);
            (goal, "-".to_owned(), ours >= least)
        }
        AtMost(most) => {
            let goal = format!("at most {} {}", number(most), column.unit);
            (goal, "-".to_owned(), ours <= most)
        }
        OfFloor(times) => {
            let floor = results.get(cell, column, FLOOR)?;
            let goal = format!("at most {times} x");
            (goal, named(floor), ours <= floor.median * times)
        }
        OfPeer(peer, times) => {
            let peer = results.get(cell, column, peer)?;
            let goal = format!("at least {times} x");
            (goal, named(peer), ours >= peer.median * times)
        }
        AheadOfPeers => {
            let best = best_peer(cell, column, systems, results)?;
            let ahead = match column.better {
                Better::More => ours > best.median,
                Better::Less => ours < best.median,
            };
            ("ahead of every peer".to_owned(), named(best), ahead)
        }
        OfCell(workload, times) => {
            let mut cells = blocks.iter().flat_map(|block| &block.cells);
            let other = cells.find(|cell| cell.workload == workload)?;
            let other = results.get(other, other.columns.first()?, CALLBOARD)?;
            let with = format!("{workload} {}", number(other.median));
            match column.better {
                Better::Less => {
                    let goal = format!("at most {times} x");
                    (goal, with, ours <= other.median * times)
                }
                Better::More => {
                    let goal = format!("at least {times} x");
                    (goal, with, ours >= other.median * times)
                }
            }
        }
        OfLimit(times) => {
            let ratio = results.get(cell, column, CALLBOARD)?.ratio?.median;
            let limit = results.get(cell, column, cell.limit?)?;
            let goal = format!("at least {times} x");
            let with = format!("{}, {} x", named(limit), number(ratio));
            (goal, with, ratio >= times)
        }
    };
    let met = if met { "yes" } else { "no" };
    Some(vec![
        cell.workload.to_owned(),
        goal,
        with,
        number(ours),
        met.to_owned(),
    ])
}

fn named(row: &Row) -> String {
    format!("{} {}", row.system, number(row.median))
}

fn best_peer<'a>(
    cell: &Cell,
    column: &Column,
    systems: &[Box<dyn Candidate>],
    results: &'a Results,
) -> Option<&'a Row> {
    let peers = systems.iter().filter(|it| it.family() == Family::Peer);
    let rows = peers.filter_map(|peer| results.get(cell, column, peer.name()));
    rows.min_by(|one, other| {
        let order = one.median.total_cmp(&other.median);
        match column.better {
            Better::Less => order,
            Better::More => order.reverse(),
        }
    })
}
