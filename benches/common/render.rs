//! The table: Markdown that is aligned, so that it reads well in a terminal too.

use crate::plan::{Block, Cell, Column};
use crate::results::{Results, Row, Spread};

/// A Markdown table with padded columns, the first one to the left, the others to the right.
#[must_use]
pub fn table(head: &[String], body: &[Vec<String>]) -> String {
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

/// A block with a row per system that has a figure in it; where there is a limit, with how near to it each
/// came. Empty if none has.
#[must_use]
pub fn block<W>(block: &Block<W>, systems: &[&'static str], results: &Results) -> String {
    let columns: Vec<(&Cell<W>, &Column)> = block
        .cells
        .iter()
        .flat_map(|cell| cell.columns.iter().map(move |column| (cell, column)))
        .filter(|(cell, column)| {
            systems
                .iter()
                .any(|system| results.get(cell, column, system).is_some())
        })
        .collect();
    let mut head = vec!["system".to_owned()];
    for (cell, column) in &columns {
        head.push(column.head.to_owned());
        head.extend(cell.limit.map(|limit| format!("to {limit}")));
    }
    let mut body = Vec::new();
    for system in systems {
        let mut line = vec![(*system).to_owned()];
        let mut any = false;
        for (cell, column) in &columns {
            let row = results.get(cell, column, system);
            any |= row.is_some();
            line.push(row.map_or("-".to_owned(), figure));
            if cell.limit.is_some() {
                let ratio = row.and_then(|row| row.ratio);
                line.push(ratio.map_or("-".to_owned(), |ratio| spread(&ratio)));
            }
        }
        if any {
            body.push(line);
        }
    }
    if body.is_empty() {
        return String::new();
    }
    format!("## {}\n\n{}\n", block.title, table(&head, &body))
}

fn figure(row: &Row) -> String {
    spread(&Spread {
        median: row.median,
        min: row.min,
        max: row.max,
    })
}

/// The median, with the spread if there is one.
#[must_use]
pub fn spread(figures: &Spread) -> String {
    let median = number(figures.median);
    let (min, max) = (number(figures.min), number(figures.max));
    if figures.min.to_bits() == figures.max.to_bits() {
        return median;
    }
    format!("{median} [{min}..{max}]")
}

/// Three figures, or all before the point.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.9995 => format!("{value:.2}"),
        size if size < 0.005 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}
