//! How many restarts are too many.

use std::collections::VecDeque;
use std::time::Duration;

use callboard_core::clock::Instant;

#[cfg(test)]
mod tests;

/// How many restarts within [`DEFAULT_PERIOD`] a supervisor allows unless told otherwise.
///
/// OTP's default is 1 in 5 s. It can't be more generous: without back-off a child that fails at each start uses
/// up any allowance at once. Here restarts are spaced, so five of them in ten seconds bridge a dependency that is
/// away for a moment, and a child that never comes up still leads to giving up in about three seconds. Allowances
/// multiply through the levels of a tree: 5 under 5 are 25 restarts of a leaf before the top gives up; keep the
/// upper levels small.
pub const DEFAULT_INTENSITY: usize = 5;
/// The period of [`DEFAULT_INTENSITY`].
pub const DEFAULT_PERIOD: Duration = Duration::from_secs(10);

/// A sliding window over restarts, with OTP's rule: *more than* `max` restarts within `period` are too many. A
/// restart exactly `period` old still counts (supervisor.erl, `add_restart/3`).
///
/// It holds at most `max + 1` points in time.
#[derive(Debug, Clone)]
pub struct Intensity {
    max: usize,
    period: Duration,
    restarts: VecDeque<Instant>,
}

impl Intensity {
    /// An empty window. With a `max` of 0 the first restart is one too many.
    #[must_use]
    pub fn new(max: usize, period: Duration) -> Self {
        Intensity {
            max,
            period,
            restarts: VecDeque::new(),
        }
    }

    /// Counts a restart at `now`, which is not before the last one counted. `false` if it is one too many.
    #[must_use]
    pub fn restart(&mut self, now: Instant) -> bool {
        while let Some(first) = self.restarts.front()
            && now.since(*first) > self.period
        {
            self.restarts.pop_front();
        }
        if self.restarts.len() <= self.max {
            self.restarts.push_back(now);
        }
        self.restarts.len() <= self.max
    }

    /// How many restarts count at `now`, which is not before the last one counted.
    #[must_use]
    pub fn counted_at(&self, now: Instant) -> usize {
        let young = |restart: &&Instant| now.since(**restart) <= self.period;
        self.restarts.iter().filter(young).count()
    }

    /// How many restarts the window holds now, those that have become too old since the last one included.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.restarts.len()
    }
}
