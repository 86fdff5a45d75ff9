//! How long to wait before the next try: capped exponential with full jitter.

use std::time::Duration;

use callboard_core::Entropy;

#[cfg(test)]
mod tests;

/// How long a supervisor waits before it starts a failed child again (G16).
///
/// The n-th wait, counted from 0, is drawn evenly from zero to `min(cap, base * 2^n)`: "full jitter", from AWS's
/// "Exponential Backoff And Jitter" (Brooker, 2015); gRPC's retry design (A6) uses the same rule. A child that ran
/// for `stable` starts again from the first wait.
///
/// OTP's supervisors have no back-off: a child whose dependency is down for a second uses up its restarts in
/// microseconds and takes its supervisor with it.
///
/// ```
/// # use callboard_supervision::Backoff;
/// # use std::time::Duration;
/// let patient = Backoff { cap: Duration::from_secs(30), ..Backoff::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest the first wait can be. Zero restarts at once, always.
    pub base: Duration,
    /// The longest any wait can be.
    pub cap: Duration,
    /// How long a child has to run, from its start to its end, to count as well again.
    pub stable: Duration,
}

impl Default for Backoff {
    /// 100 ms, doubled up to 5 s; well again after 10 s.
    ///
    /// With the default [intensity](crate::DEFAULT_INTENSITY) the five waits allowed add up to 3.1 s at most, so that
    /// a child that fails at each start always leads to giving up, within the period.
    fn default() -> Self {
        Backoff {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(5),
            stable: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// No waiting: OTP's behaviour.
    #[must_use]
    pub fn none() -> Self {
        Backoff {
            base: Duration::ZERO,
            cap: Duration::ZERO,
            ..Backoff::default()
        }
    }

    /// The longest the wait number `attempt` can be, counted from 0.
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        ceiling(self.base, self.cap, attempt)
    }

    /// Draws the wait number `attempt`, counted from 0.
    #[must_use]
    pub fn delay(&self, attempt: u32, entropy: &Entropy) -> Duration {
        entropy.jitter(self.ceiling(attempt))
    }
}

/// `min(cap, base * 2^n)`, without overflow.
pub(crate) fn ceiling(base: Duration, cap: Duration, n: u32) -> Duration {
    2u32.checked_pow(n)
        .and_then(|factor| base.checked_mul(factor))
        .map_or(cap, |span| span.min(cap))
        .min(if base.is_zero() { base } else { cap })
}
