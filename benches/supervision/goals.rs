//! The goals, and whether they were met.

use common::plan::Better;
use common::render::{number, table};
use common::results::{Results, Row};

use crate::plan::{self, Block, Cell};
use crate::systems::{Candidate, Family};

const CALLBOARD: &str = "callboard";

#[derive(Debug, Clone, Copy)]
enum Target {
    /// So many times as good as the best actor framework.
    Times(f64),
    /// At least that much.
    AtLeast(f64),
}

use Target::{AtLeast, Times};

/// Which column of a workload, and what it should be.
const GOALS: [(&str, usize, Target); 10] = [
    (plan::CRASH_ONE, 0, Times(1.0)),
    (plan::CRASH_ONE, 1, Times(1.0)),
    (plan::CRASH_TWO, 0, Times(1.0)),
    (plan::CRASH_TWO, 1, Times(1.0)),
    (plan::MANY, 0, Times(1.0)),
    (plan::MANY, 2, Times(1.0)),
    (plan::MANY, 4, Times(1.0)),
    (plan::BYTES, 0, Times(1.0)),
    (plan::TELL_ONE, 2, AtLeast(0.97)),
    (plan::TELL_TWO, 2, AtLeast(0.97)),
];

/// The table of goals. Empty if nothing was measured that has one.
pub(crate) fn report(
    blocks: &[Block],
    systems: &[Box<dyn Candidate>],
    results: &Results,
) -> String {
    let lines = GOALS.iter().filter_map(|(workload, column, target)| {
        let mut cells = blocks.iter().flat_map(|block| &block.cells);
        let cell = cells.find(|cell| cell.workload == *workload)?;
        judge(cell, *column, *target, systems, results)
    });
    let body: Vec<Vec<String>> = lines.collect();
    if body.is_empty() {
        return String::new();
    }
    let head = [
        "workload",
        "figure",
        "best actor peer",
        "callboard",
        "ratio",
        "goal",
        "met",
    ];
    let head = head.map(str::to_owned);
    format!(
        "## Goals: medians against the best actor framework of the same run\n\n{}\n",
        table(&head, &body)
    )
}

fn judge(
    cell: &Cell,
    column: usize,
    target: Target,
    systems: &[Box<dyn Candidate>],
    results: &Results,
) -> Option<Vec<String>> {
    let column = cell.columns.get(column)?;
    let ours = results.get(cell, column, CALLBOARD)?;
    let peers = systems
        .iter()
        .filter(|peer| peer.family() == Family::Actors);
    let rows = peers.filter_map(|peer| results.get(cell, column, peer.name()));
    let (best, lead, goal, met) = match target {
        Times(times) => {
            let best = rows.max_by(|one, other| match column.better {
                Better::More => one.median.total_cmp(&other.median),
                Better::Less => other.median.total_cmp(&one.median),
            })?;
            let lead = lead(ours, best, column.better);
            let goal = format!("{times} x");
            (Some(best), Some(lead), goal, lead >= times)
        }
        AtLeast(least) => {
            let goal = format!("at least {least}");
            (None, None, goal, ours.median >= least)
        }
    };
    Some(vec![
        cell.workload.to_owned(),
        column.unit.to_owned(),
        best.map_or("-".to_owned(), |row| {
            format!("{} {}", row.system, number(row.median))
        }),
        number(ours.median),
        lead.map_or("-".to_owned(), |lead| format!("{} x", number(lead))),
        goal,
        if met { "yes" } else { "no" }.to_owned(),
    ])
}

fn lead(ours: &Row, peer: &Row, better: Better) -> f64 {
    match better {
        Better::More => ours.median / peer.median,
        Better::Less => peer.median / ours.median,
    }
}
