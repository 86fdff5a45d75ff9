//! The figures of all runs.

use serde::Serialize;

use crate::plan::{Block, Cell, Column};

/// One row of the JSON: all runs of one system in one workload.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: &'static str,
    pub(crate) system: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) runs: usize,
    #[serde(skip)]
    values: Vec<f64>,
}

#[derive(Debug, Default)]
pub(crate) struct Results {
    rows: Vec<Row>,
}

impl Results {
    /// Takes the figures of one run.
    pub(crate) fn add(&mut self, cell: &Cell, system: &'static str, figures: &[f64]) {
        assert_eq!(figures.len(), cell.columns.len(), "{}", cell.workload);
        for (column, figure) in cell.columns.iter().zip(figures) {
            let found = self
                .rows
                .iter()
                .position(|row| is(row, cell, column, system));
            let place = found.unwrap_or_else(|| {
                self.rows.push(Row {
                    workload: cell.workload,
                    system,
                    unit: column.unit,
                    median: 0.0,
                    min: 0.0,
                    max: 0.0,
                    runs: 0,
                    values: Vec::new(),
                });
                self.rows.len() - 1
            });
            self.rows[place].add(*figure);
        }
    }

    pub(crate) fn get(&self, cell: &Cell, column: &Column, system: &str) -> Option<&Row> {
        self.rows.iter().find(|row| is(row, cell, column, system))
    }

    /// All rows, in the order of the plan and of the systems.
    pub(crate) fn rows(&self, blocks: &[Block], systems: &[&'static str]) -> Vec<&Row> {
        let cells = blocks.iter().flat_map(|block| &block.cells);
        let columns = cells.flat_map(|cell| cell.columns.iter().map(move |column| (cell, column)));
        columns
            .flat_map(|(cell, column)| systems.iter().map(move |system| (cell, column, system)))
            .filter_map(|(cell, column, system)| self.get(cell, column, system))
            .collect()
    }
}

fn is(row: &Row, cell: &Cell, column: &Column, system: &str) -> bool {
    row.workload == cell.workload && row.unit == column.unit && row.system == system
}

impl Row {
    fn add(&mut self, figure: f64) {
        self.values.push(figure);
        self.values.sort_by(f64::total_cmp);
        self.runs = self.values.len();
        self.median = median(&self.values);
        self.min = self.values[0];
        self.max = self.values[self.runs - 1];
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
