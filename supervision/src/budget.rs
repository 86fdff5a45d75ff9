//! How much retrying the callee can bear.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::clock::Instant;
use parking_lot::Mutex;
use serde::Serialize;

#[cfg(test)]
mod tests;

/// In how many slices the window is counted.
const SLICES: u32 = 100;

/// Bounds all retries together, so that a failing callee sees at most that much more load (G17). Clones share it: give
/// one to all policies that call the same callee.
///
/// The rule, Finagle's and tower's: at every retry, the retries of the last `window`, this one included, are at most
/// `share` of the requests of the same window plus `per_second` for each of its seconds. By default 20 % plus 10 a
/// second, over 10 s. Without requests that is 100 retries at once, then 10 a second on average: enough for a quiet
/// caller to retry at all.
///
/// The window is counted in slices of a hundredth; a retry counts until its slice has left the window entirely, a
/// request until it begins to leave. So the rule holds exactly, and the budget is at most a hundredth tighter.
#[derive(Clone)]
pub struct RetryBudget {
    inner: Arc<Inner>,
}

struct Inner {
    share: f64,
    reserve: f64,
    slice: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The slices of the window in which something happened, oldest first; at most `SLICES + 1`.
    slices: VecDeque<Slice>,
    granted: u64,
    refused: u64,
}

#[derive(Default)]
struct Slice {
    number: u64,
    requests: u64,
    retries: u64,
}

/// What a [`RetryBudget`] did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct BudgetStats {
    /// Retries that were allowed.
    pub granted: u64,
    /// Retries that were not.
    pub refused: u64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget::new(0.2, 10.0, Duration::from_secs(10))
    }
}

impl RetryBudget {
    /// A budget of `share` retries per request (0.2 is 20 %) plus `per_second`, over `window` (at least 100 ns;
    /// 1 to 60 s make sense). Negative numbers count as 0.
    #[must_use]
    pub fn new(share: f64, per_second: f64, window: Duration) -> Self {
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        let inner = Inner {
            share: share.max(0.0),
            reserve: per_second.max(0.0) * window.as_secs_f64(),
            slice: (nanos / u64::from(SLICES)).max(1),
            state: Mutex::default(),
        };
        RetryBudget {
            inner: Arc::new(inner),
        }
    }

    /// A budget that allows none: retries are off.
    #[must_use]
    pub fn none() -> Self {
        RetryBudget::new(0.0, 0.0, Duration::from_secs(10))
    }

    /// Counts a request (its first attempt) at `now`.
    pub fn request(&self, now: Instant) {
        let mut state = self.inner.state.lock();
        state.slice(self.inner.number(now)).requests += 1;
    }

    /// Takes one retry at `now`, if there is one.
    #[must_use]
    pub fn take(&self, now: Instant) -> bool {
        let mut state = self.inner.state.lock();
        let number = self.inner.number(now);
        state.slice(number);
        // A request in the oldest slice may be older than the window.
        let oldest = number.saturating_sub(u64::from(SLICES));
        let counted = |slice: &&Slice| slice.number > oldest || number < u64::from(SLICES);
        let requests: u64 = state
            .slices
            .iter()
            .filter(counted)
            .map(|slice| slice.requests)
            .sum();
        let retries: u64 = state.slices.iter().map(|slice| slice.retries).sum();
        // Counts of one window are far below 2^52, where f64 is exact.
        #[allow(clippy::cast_precision_loss)]
        let allowed =
            (retries + 1) as f64 <= self.inner.share * requests as f64 + self.inner.reserve;
        if allowed {
            state.slice(number).retries += 1;
            state.granted += 1;
        } else {
            state.refused += 1;
        }
        allowed
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> BudgetStats {
        let state = self.inner.state.lock();
        BudgetStats {
            granted: state.granted,
            refused: state.refused,
        }
    }
}

impl Inner {
    fn number(&self, now: Instant) -> u64 {
        now.as_nanos() / self.slice
    }
}

impl State {
    /// The slice with that number, which becomes the newest; what has left the window goes. A caller whose
    /// clock reading is a little late counts into the newest.
    fn slice(&mut self, number: u64) -> &mut Slice {
        let newest = self.slices.back().map_or(number, |slice| slice.number);
        let number = number.max(newest);
        while let Some(first) = self.slices.front()
            && first.number + u64::from(SLICES) < number
        {
            self.slices.pop_front();
        }
        if self.slices.back().is_none_or(|slice| slice.number < number) {
            self.slices.push_back(Slice {
                number,
                ..Slice::default()
            });
        }
        let last = self.slices.len() - 1;
        &mut self.slices[last]
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget")
            .field("share", &self.inner.share)
            .field("reserve", &self.inner.reserve)
            .field("stats", &self.stats())
            .finish()
    }
}
