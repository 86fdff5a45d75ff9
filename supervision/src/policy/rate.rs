//! Bounds how many attempts a second there are: the state behind [`RateSettings`].
//!
//! The leaky bucket as a meter: the generic cell rate algorithm of ITU-T I.371, in its virtual scheduling form. All there
//! is to remember is when the next attempt would come if they came evenly; one that comes before that by no more than the
//! burst allows passes, and moves it on by one interval. So it is one word, and no thread refills anything.
//!
//! Over any span of time `t` at most `burst + per_second * t` attempts begin, those that waited counted when their turn
//! came. The interval is a whole number of nanoseconds, rounded up: the rate is never above what is set, and up to one
//! nanosecond an interval below it (1 in 1,000 at a million a second). A burst that would take longer than 146 years to
//! come back counts as one that takes as long.
//!
//! A change of settings forgets what was borrowed under the old ones beyond what the new ones can: whoever raises the rate
//! doesn't wait for a debt at the old one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard_core::clock::Instant;

use super::settings::RateSettings;

#[cfg(test)]
mod tests;

/// The attempts of one policy at one callee.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// The theoretical arrival time: when the next attempt would come if they came evenly, in nanoseconds.
    next: AtomicU64,
    /// By which settings that was reckoned; see [`Pace::mark`].
    mark: AtomicU64,
}

/// What the settings come to, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Pace {
    interval: u64,
    /// How much before its theoretical arrival an attempt may come.
    tolerance: u64,
    /// How long a turn may lie ahead.
    wait: u64,
}

/// How long a used-up burst can take to come back: a quarter of what an [`Instant`] can tell.
const LONGEST_REFILL: u64 = u64::MAX / 4;

impl Rate {
    /// A full burst.
    pub(crate) fn new() -> Self {
        Rate::default()
    }

    /// Takes a turn at `now`, if there is one.
    ///
    /// # Errors
    /// After which time there will be one, if nobody else takes it.
    #[cfg(test)]
    pub(crate) fn take(&self, now: Instant, settings: &RateSettings) -> Result<(), Duration> {
        self.reserve_within(now, settings, Duration::ZERO)
            .map(|_| ())
    }

    /// Takes a turn that may lie ahead by `settings.wait`, but by no more than `longest`, what the caller itself has left;
    /// and answers by how much it does. The turn is taken: who doesn't wait for it has made the rate lower by one attempt.
    ///
    /// # Errors
    /// By how much the next turn lies ahead; none was taken.
    #[inline]
    pub(crate) fn reserve_within(
        &self,
        now: Instant,
        settings: &RateSettings,
        longest: Duration,
    ) -> Result<Duration, Duration> {
        let pace = Pace::of(settings);
        if self.mark.load(Ordering::Relaxed) != pace.mark() {
            self.change_pace(now.as_nanos(), pace);
        }
        self.reserve_as_it_is(now, settings, longest)
    }

    /// The same without taking new settings in: what is owed stays owed.
    ///
    /// # Errors
    /// As [`reserve_within`](Rate::reserve_within).
    #[inline]
    pub(crate) fn reserve_as_it_is(
        &self,
        now: Instant,
        settings: &RateSettings,
        longest: Duration,
    ) -> Result<Duration, Duration> {
        let pace = Pace::of(settings);
        let longest = nanos_of(longest).min(pace.wait);
        let now = now.as_nanos();
        let mut next = self.next.load(Ordering::Relaxed);
        loop {
            let ahead = next.saturating_sub(now).saturating_sub(pace.tolerance);
            let span = Duration::from_nanos(ahead);
            if ahead > longest {
                return Err(span);
            }
            let moved = next.max(now).saturating_add(pace.interval);
            match self
                .next
                .compare_exchange_weak(next, moved, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Ok(span),
                Err(seen) => next = seen,
            }
        }
    }

    /// Nothing lies further ahead than a used-up burst and a full line of these settings. Done once a change and not on
    /// each call: a caller whose reading of the clock is late would cut what is owed.
    #[cold]
    fn change_pace(&self, now: u64, pace: Pace) {
        let mark = self.mark.swap(pace.mark(), Ordering::Relaxed);
        if mark != pace.mark() {
            let furthest = pace.tolerance.saturating_add(pace.wait);
            let furthest = now.saturating_add(furthest).saturating_add(pace.interval);
            self.next.fetch_min(furthest, Ordering::Relaxed);
        }
    }
}

impl Pace {
    #[inline]
    fn of(settings: &RateSettings) -> Self {
        // A float that is too large becomes the largest integer; a rate is above zero.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let interval = (1e9 / settings.per_second).ceil() as u64;
        // So that sums don't run over; the ceiling is never zero.
        let burst = u64::from(settings.burst.max(1));
        let interval = interval.clamp(1, LONGEST_REFILL / burst);
        Pace {
            interval,
            tolerance: interval * (burst - 1),
            wait: nanos_of(settings.wait),
        }
    }

    /// Another number for other settings, nearly always; never zero. Two that share one only keep what was borrowed.
    #[inline]
    fn mark(self) -> u64 {
        let mixed = self
            .interval
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(self.tolerance)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
            .wrapping_add(self.wait);
        mixed | 1 << 63
    }
}

#[inline]
fn nanos_of(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
