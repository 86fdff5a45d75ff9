//! The table: Markdown that is aligned, so that it reads well in a terminal too.

use std::fmt::Write;

use crate::goals::Verdict;
use crate::plan::Block;
use crate::results::{Results, Row};

/// A Markdown table with padded columns, the first one to the left, the others to the right.
fn table(head: &[String], body: &[Vec<String>]) -> String {
    let width_of = |column: usize| {
        let cells = body.iter().map(|row| row[column].chars().count());
        cells
            .chain([head[column].chars().count(), 3])
            .max()
            .unwrap_or(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width_of).collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| match column {
            0 => "-".repeat(*width),
            _ => format!("{}:", "-".repeat(width - 1)),
        })
        .collect();
    let mut text = line(head) + &line(&rule);
    body.iter().for_each(|row| text += &line(row));
    text
}

/// A block with a row per system that has a figure in it. Empty if none has.
pub(crate) fn block(block: &Block, systems: &[&'static str], results: &Results) -> String {
    let columns: Vec<_> = block
        .cells
        .iter()
        .flat_map(|cell| cell.columns.iter().map(move |column| (cell, column)))
        .filter(|(cell, column)| {
            systems
                .iter()
                .any(|system| results.get(cell, column, system).is_some())
        })
        .collect();
    let mut body = Vec::new();
    for system in systems {
        let figures: Vec<Option<&Row>> = columns
            .iter()
            .map(|(cell, column)| results.get(cell, column, system))
            .collect();
        if figures.iter().any(Option::is_some) {
            let cells = figures.iter().map(|row| row.map_or("-".to_owned(), figure));
            body.push(std::iter::once((*system).to_owned()).chain(cells).collect());
        }
    }
    if body.is_empty() {
        return String::new();
    }
    let heads = columns.iter().map(|(_, column)| column.head.to_owned());
    let head: Vec<String> = std::iter::once("system".to_owned()).chain(heads).collect();
    format!("## {}\n\n{}\n", block.title, table(&head, &body))
}

/// The median, with the spread if there is one.
fn figure(row: &Row) -> String {
    let median = number(row.median);
    let (min, max) = (number(row.min), number(row.max));
    if min == max {
        return median;
    }
    format!("{median} [{min}..{max}]")
}

/// Three figures, or all before the point.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        size if size < 0.005 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

/// The goals. Empty if nothing was measured that has one.
pub(crate) fn goals(verdicts: &[Verdict]) -> String {
    if verdicts.is_empty() {
        return String::new();
    }
    let head = [
        "workload",
        "best actor peer",
        "callboard",
        "ratio",
        "goal",
        "met",
    ];
    let body: Vec<Vec<String>> = verdicts.iter().map(goal).collect();
    let mut text = format!(
        "## Goals: medians against the best actor framework of the same run\n\n{}\n",
        table(&head.map(str::to_owned), &body)
    );
    for verdict in verdicts {
        if let Some((system, ratio)) = verdict.unbounded {
            let ratio = number(ratio);
            let workload = &verdict.workload;
            // Writing to a string can't fail.
            let _ = writeln!(
                text,
                "- {workload}: against {system}, which has no bound there, {ratio} x."
            );
        }
    }
    text
}

fn goal(verdict: &Verdict) -> Vec<String> {
    vec![
        verdict.workload.clone(),
        verdict.best.map_or("-".to_owned(), |(system, median)| {
            format!("{system} {}", number(median))
        }),
        number(verdict.ours),
        verdict
            .ratio
            .map_or("-".to_owned(), |ratio| format!("{} x", number(ratio))),
        verdict.goal.clone(),
        if verdict.met { "yes" } else { "no" }.to_owned(),
    ]
}
