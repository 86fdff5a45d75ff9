//! How much a run does, and what a count of things in a time comes to.

/// How much of a workload one run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Enough to measure.
    Full,
    /// Enough to see that it works.
    Quick,
}

impl Size {
    #[must_use]
    pub fn pick(self, full: u64, quick: u64) -> u64 {
        match self {
            Size::Full => full,
            Size::Quick => quick,
        }
    }
}

/// Millions a second.
#[allow(clippy::cast_precision_loss)]
#[must_use]
pub fn millions(count: u64, elapsed: std::time::Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64() / 1e6
}

/// What one of `count` comes to.
#[allow(clippy::cast_precision_loss)]
#[must_use]
pub fn each(total: f64, count: u64) -> f64 {
    total / count as f64
}

/// The value that this share of the sorted values does not exceed; 0 if there are none.
#[allow(clippy::cast_precision_loss)]
#[must_use]
pub fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last * percent / 100)
        .map_or(0.0, |value| *value as f64)
}
