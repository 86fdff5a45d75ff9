//! The goals, and whether they were met.

use common::plan::Better;
use common::render::{number, table};
use common::results::Results;

use crate::plan::{self, Block};
use crate::systems::{dedups, policies};

/// Of which row in which workload, which column, and how much it should be: at most that where less is better, else at
/// least.
const GOALS: [(&str, &str, usize, f64); 5] = [
    (plan::HANDED_OFF, policies::USUAL, 2, 150.0),
    (plan::HANDED_OFF, policies::USUAL, 3, 0.0),
    (plan::KEYED, dedups::FIRST, 2, 300.0),
    (plan::DURABLE, dedups::DURABLE, 1, 20.0),
    (plan::DURABLE, dedups::DURABLE, 3, 0.6),
];

/// The table of goals. Empty if nothing was measured that has one.
pub(crate) fn report(blocks: &[Block], results: &Results) -> String {
    let lines = GOALS.iter().filter_map(|goal| judge(goal, blocks, results));
    let body: Vec<Vec<String>> = lines.collect();
    if body.is_empty() {
        return String::new();
    }
    let head = ["workload", "row", "figure", "goal", "measured", "met"];
    let head = head.map(str::to_owned);
    format!("## Goals: medians of this run\n\n{}\n", table(&head, &body))
}

fn judge(
    (workload, system, column, goal): &(&str, &str, usize, f64),
    blocks: &[Block],
    results: &Results,
) -> Option<Vec<String>> {
    let mut cells = blocks.iter().flat_map(|block| &block.cells);
    let cell = cells.find(|cell| cell.workload == *workload)?;
    let column = cell.columns.get(*column)?;
    let measured = results.get(cell, column, system)?.median;
    let (bound, met) = match column.better {
        Better::Less => ("at most", measured <= *goal),
        Better::More => ("at least", measured >= *goal),
    };
    Some(vec![
        cell.workload.to_owned(),
        (*system).to_owned(),
        column.unit.to_owned(),
        format!("{bound} {}", number(*goal)),
        number(measured),
        if met { "yes" } else { "no" }.to_owned(),
    ])
}
