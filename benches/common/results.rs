//! The figures of all runs.

use serde::Serialize;

use crate::plan::{Block, Cell, Column};

/// The middle of several figures, with their spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one figure.
    #[must_use]
    pub fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let median = median(&sorted);
        Some(Spread { median, min, max })
    }
}

/// One row of the JSON: all runs of one system in one workload.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub workload: &'static str,
    pub system: &'static str,
    pub unit: &'static str,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub runs: usize,
    /// To the limit that was measured right before and after each run, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Spread>,
    #[serde(skip)]
    values: Vec<f64>,
    #[serde(skip)]
    ratios: Vec<f64>,
}

#[derive(Debug, Default)]
pub struct Results {
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Results {
    /// Takes the figures of one run, with what the limit's were then, if there is one.
    ///
    /// # Panics
    /// If there isn't one figure per column.
    pub fn add<W>(
        &mut self,
        cell: &Cell<W>,
        system: &'static str,
        figures: &[f64],
        limit: Option<&[f64]>,
    ) {
        assert_eq!(figures.len(), cell.columns.len(), "{}", cell.workload);
        for (at, (column, figure)) in cell.columns.iter().zip(figures).enumerate() {
            let found = self
                .rows
                .iter()
                .position(|row| is(row, cell, column, system));
            let place = found.unwrap_or_else(|| {
                self.rows.push(Row::new(cell.workload, column, system));
                self.rows.len() - 1
            });
            let ratio = limit.map(|limit| figure / limit[at]);
            self.rows[place].add(*figure, ratio);
        }
    }

    /// Notes a run that failed, for a benchmark that goes on with the others.
    pub fn fail(&mut self, why: String) {
        eprintln!("failed: {why}");
        if !self.failures.contains(&why) {
            self.failures.push(why);
        }
    }

    /// What failed, each kind once.
    #[must_use]
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    #[must_use]
    pub fn get<W>(&self, cell: &Cell<W>, column: &Column, system: &str) -> Option<&Row> {
        self.rows.iter().find(|row| is(row, cell, column, system))
    }

    /// All rows, in the order of the plan and of the systems.
    #[must_use]
    pub fn rows<W>(&self, blocks: &[Block<W>], systems: &[&'static str]) -> Vec<&Row> {
        let cells = blocks.iter().flat_map(|block| &block.cells);
        let columns = cells.flat_map(|cell| cell.columns.iter().map(move |column| (cell, column)));
        columns
            .flat_map(|(cell, column)| systems.iter().map(move |system| (cell, column, system)))
            .filter_map(|(cell, column, system)| self.get(cell, column, system))
            .collect()
    }
}

fn is<W>(row: &Row, cell: &Cell<W>, column: &Column, system: &str) -> bool {
    row.workload == cell.workload && row.unit == column.unit && row.system == system
}

impl Row {
    fn new(workload: &'static str, column: &Column, system: &'static str) -> Self {
        Row {
            workload,
            system,
            unit: column.unit,
            median: 0.0,
            min: 0.0,
            max: 0.0,
            runs: 0,
            ratio: None,
            values: Vec::new(),
            ratios: Vec::new(),
        }
    }

    fn add(&mut self, figure: f64, ratio: Option<f64>) {
        self.values.push(figure);
        self.ratios.extend(ratio);
        self.runs = self.values.len();
        if let Some(spread) = Spread::of(&self.values) {
            (self.median, self.min, self.max) = (spread.median, spread.min, spread.max);
        }
        self.ratio = Spread::of(&self.ratios);
    }

    /// The figure of each run, in their order.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

/// Of sorted values; the mean of the middle two if there is no middle one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}
