//! What a table is made of, and what its parts are called there and in the JSON.

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

/// One figure of a run.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// In the table.
    pub head: &'static str,
    /// In the JSON, with the cell's workload.
    pub unit: &'static str,
    pub better: Better,
}

/// One workload in one setting.
#[derive(Debug, Clone)]
pub struct Cell<W> {
    /// In the JSON, in goals, and what `--only` looks at.
    pub workload: &'static str,
    pub work: W,
    /// In the order of the figures that a run answers.
    pub columns: Vec<Column>,
    /// The system that is measured between every two others, as the limit that they are compared with.
    pub limit: Option<&'static str>,
}

/// A table of its own: a row per system.
#[derive(Debug, Clone)]
pub struct Block<W> {
    pub title: &'static str,
    pub cells: Vec<Cell<W>>,
}

impl<W> Cell<W> {
    /// With a system that is the limit.
    #[must_use]
    pub fn limited_by(mut self, system: &'static str) -> Self {
        self.limit = Some(system);
        self
    }
}

pub fn cell<W>(workload: &'static str, work: W, columns: &[Column]) -> Cell<W> {
    Cell {
        workload,
        work,
        columns: columns.to_vec(),
        limit: None,
    }
}

#[must_use]
pub fn more(head: &'static str, unit: &'static str) -> Column {
    Column {
        head,
        unit,
        better: Better::More,
    }
}

#[must_use]
pub fn less(head: &'static str, unit: &'static str) -> Column {
    Column {
        head,
        unit,
        better: Better::Less,
    }
}

/// The blocks with those cells whose workload contains one of the texts; all if there is none.
#[must_use]
pub fn chosen<W>(mut blocks: Vec<Block<W>>, only: &[String]) -> Vec<Block<W>> {
    for block in &mut blocks {
        block.cells.retain(|cell| contains_one(cell.workload, only));
    }
    blocks.retain(|block| !block.cells.is_empty());
    blocks
}

/// Whether a name contains one of the texts; all do if there is none.
#[must_use]
pub fn contains_one(name: &str, texts: &[String]) -> bool {
    texts.is_empty() || texts.iter().any(|text| name.contains(text.as_str()))
}
