//! The goals, and whether they were met.

use common::plan::Better;
use common::render::{number, table};
use common::results::{Results, Row};

use crate::plan::{self, Block, Cell};
use crate::systems::Candidate;

const CALLBOARD: &str = "callboard";

#[derive(Debug, Clone, Copy)]
enum Target {
    /// So much of the column with that number, in its own unit.
    AtLeast(usize, f64),
    /// No more than that of it.
    AtMost(usize, f64),
    /// So many times the first column, in the second.
    OfFirst(f64),
    /// So many times the limit that was measured beside it.
    OfLimit(f64),
    /// More than every peer that syncs before it answers.
    AheadOfThoseThatSync,
}

use Target::{AheadOfThoseThatSync, AtLeast, AtMost, OfFirst, OfLimit};

const GOALS: [(&str, Target); 14] = [
    (plan::OFFER_POLL_ONE, AtLeast(0, 4.0)),
    (plan::OFFER_POLL_TWO, AtLeast(0, 2.5)),
    (plan::BATCHES_ONE, AtLeast(0, 15.0)),
    (plan::BATCHES_TWO, AtLeast(0, 15.0)),
    (plan::TAKE, OfFirst(0.5)),
    (plan::TAKE_BATCHES, OfFirst(0.5)),
    (plan::DURABLE_1, OfLimit(0.85)),
    (plan::DURABLE_64, OfLimit(0.7)),
    (plan::DURABLE_64, AheadOfThoseThatSync),
    (plan::DURABLE_TAKE, AtLeast(0, 350.0)),
    (plan::PUBLISH_16, AtLeast(0, 20.0)),
    (plan::PUBLISH_1000, AtLeast(0, 20.0)),
    (plan::MATCH, AtMost(2, 3.0)),
    (plan::RESTART, AtMost(0, 1_000.0)),
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
        judge(cell, *target, systems, results)
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
    cell: &Cell,
    target: Target,
    systems: &[Box<dyn Candidate>],
    results: &Results,
) -> Option<Vec<String>> {
    let row = |column: usize| results.get(cell, cell.columns.get(column)?, CALLBOARD);
    let (goal, with, ours, met) = match target {
        AtLeast(column, least) => {
            let ours = row(column)?.median;
            let unit = cell.columns[column].unit;
            let goal = format!("at least {} {unit}", number(least));
            (goal, "-".to_owned(), number(ours), ours >= least)
        }
        AtMost(column, most) => {
            let ours = row(column)?.median;
            let unit = cell.columns[column].unit;
            let goal = format!("at most {} {unit}", number(most));
            (goal, "-".to_owned(), number(ours), ours <= most)
        }
        OfFirst(times) => {
            let (first, second) = (row(0)?, row(1)?);
            let ratio = second.median / first.median;
            let with = format!("{} {}", cell.columns[0].head, number(first.median));
            (format!("{times} x"), with, times_of(ratio), ratio >= times)
        }
        OfLimit(times) => {
            let ratio = row(0)?.ratio?.median;
            let limit = results.get(cell, &cell.columns[0], cell.limit?)?;
            let with = format!("{} {}", limit.system, number(limit.median));
            (format!("{times} x"), with, times_of(ratio), ratio >= times)
        }
        AheadOfThoseThatSync => {
            let ours = row(0)?.ratio?.median;
            let best = best_that_syncs(cell, systems, results)?;
            let theirs = best.ratio?.median;
            let with = format!("{} {} x", best.system, number(theirs));
            let goal = "ahead of those that sync".to_owned();
            (goal, with, times_of(ours), ours > theirs)
        }
    };
    let met = if met { "yes" } else { "no" };
    Some(vec![
        cell.workload.to_owned(),
        goal,
        with,
        ours,
        met.to_owned(),
    ])
}

fn times_of(ratio: f64) -> String {
    format!("{} x", number(ratio))
}

/// Of the peers, so neither Callboard nor what is a limit.
fn best_that_syncs<'a>(
    cell: &Cell,
    systems: &[Box<dyn Candidate>],
    results: &'a Results,
) -> Option<&'a Row> {
    let column = cell.columns.first()?;
    debug_assert_eq!(column.better, Better::More, "{}", cell.workload);
    let limit = cell.limit?;
    let peers = systems.iter().filter(|system| {
        system.syncs() && system.name() != CALLBOARD && !system.name().starts_with(limit)
    });
    peers
        .filter_map(|peer| results.get(cell, column, peer.name()))
        .filter(|row| row.ratio.is_some())
        .max_by(|one, other| {
            let ratio = |row: &Row| row.ratio.map_or(0.0, |ratio| ratio.median);
            ratio(one).total_cmp(&ratio(other))
        })
}
