//! How much retrying one callee can bear: the count behind [`BudgetSettings`].
//!
//! The rule is Finagle's and tower's: at every retry, the retries of the last `window`, this one included, are at
//! most `share` of the requests of the same window plus `per_second` for each of its seconds (G17). What they count
//! in a ring of buckets that a slow thread may hit a turn too late is counted here in slices of 100 ms, each packed
//! into one word with its own number: who comes late finds its slice gone, and can't count into another one.
//!
//! Requests and retries are counted once, whoever asks; window and share belong to the question. So policies with
//! different budgets share one ledger, and a change of settings forgets nothing.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard_core::clock::Instant;
use parking_lot::Mutex;

use super::settings::{BudgetSettings, LONGEST_BUDGET_WINDOW};

#[cfg(test)]
mod tests;

/// A slice of time in nanoseconds: 100 ms.
const SLICE: u64 = 100_000_000;
/// How many slices are kept for windows up to [`SHORT_WINDOW`] (the default among them), and for longer ones. One more
/// than the window has, so that a request of the slice that begins doesn't overwrite one that still counts.
const SHORT: usize = 101;
const LONG: usize = 601;
/// The longest window that the short ring holds.
const SHORT_WINDOW: Duration = Duration::from_secs(10);

/// The requests and retries of one callee in this process.
///
/// A retry counts until its slice has left the window entirely, a request until its slice begins to leave. So the rule
/// holds exactly, and the budget is tighter by a slice at most.
pub(crate) struct Ledger {
    short: Ring,
    /// Made when a window first needs it; all requests are counted there from then on. What it can't know of the time
    /// before the short ring makes the budget tighter for that once.
    long: OnceLock<Ring>,
    retries: Mutex<Retries>,
}

#[derive(Default)]
struct Retries {
    /// The slices with retries in them, oldest first, each with how many; at most [`LONG`].
    slices: VecDeque<(u64, u64)>,
    /// When the last one was granted, in nanoseconds.
    last: u64,
    granted: u64,
    refused: u64,
}

impl Ledger {
    /// Nothing happened yet.
    pub(crate) fn new() -> Self {
        Ledger {
            short: Ring::new(SHORT),
            long: OnceLock::new(),
            retries: Mutex::default(),
        }
    }

    /// Counts a request (its first attempt) at `now`. Never waits.
    #[inline]
    pub(crate) fn request(&self, now: Instant) {
        let number = now.as_nanos() / SLICE;
        match self.long.get() {
            None => self.short.count(number),
            Some(ring) => ring.count(number),
        }
    }

    /// Takes one retry at `now`, if there is one.
    ///
    /// A reading of the clock that is behind that of an earlier retry counts as that one: otherwise the earlier one
    /// would have been granted without knowing of this one.
    #[must_use]
    pub(crate) fn take(&self, now: Instant, settings: &BudgetSettings) -> bool {
        let mut retries = self.retries.lock();
        let now = retries.not_before_the_last(now);
        let fits = self.free(&retries, now, settings) >= 1.0;
        if fits {
            retries.grant(now);
        } else {
            retries.refused += 1;
        }
        fits
    }

    /// How many retries [`take`](Ledger::take) would grant at `now`; the fraction is what the next one has already.
    pub(crate) fn left(&self, now: Instant, settings: &BudgetSettings) -> f64 {
        let retries = self.retries.lock();
        let now = retries.not_before_the_last(now);
        self.free(&retries, now, settings).max(0.0)
    }

    /// Retries that were granted.
    pub(crate) fn granted(&self) -> u64 {
        self.retries.lock().granted
    }

    /// Retries that were not.
    pub(crate) fn refused(&self) -> u64 {
        self.retries.lock().refused
    }

    /// What the rule allows in the window that ends at `now`, less what was taken.
    fn free(&self, retries: &Retries, now: u64, settings: &BudgetSettings) -> f64 {
        let window = settings.window.min(LONGEST_BUDGET_WINDOW);
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        // The window is what lies after `now - nanos`; a clock that is younger than it has no slice to leave out.
        let (surely, maybe) = match now.checked_sub(nanos) {
            Some(before) => (before / SLICE + 1, before.saturating_add(1) / SLICE),
            None => (0, 0),
        };
        let requests = self.ring_for(window).sum(surely, now / SLICE);
        let taken = retries.since(maybe);
        // Counts of one window are far below 2^52, where f64 is exact.
        #[allow(clippy::cast_precision_loss)]
        let free = settings.share * requests as f64 + settings.per_second * window.as_secs_f64()
            - taken as f64;
        free
    }

    /// Called under the lock only, so that one caller makes the long ring.
    fn ring_for(&self, window: Duration) -> &Ring {
        match self.long.get() {
            Some(ring) => ring,
            None if window <= SHORT_WINDOW => &self.short,
            None => self.long.get_or_init(|| self.short.copied_to(LONG)),
        }
    }
}

impl Retries {
    fn not_before_the_last(&self, now: Instant) -> u64 {
        now.as_nanos().max(self.last)
    }

    fn grant(&mut self, now: u64) {
        self.granted += 1;
        self.last = now;
        let number = now / SLICE;
        match self.slices.back_mut() {
            Some((last, count)) if *last == number => *count += 1,
            _ => {
                if self.slices.len() == LONG {
                    self.slices.pop_front();
                }
                self.slices.push_back((number, 1));
            }
        }
    }

    fn since(&self, number: u64) -> u64 {
        let newest_first = self.slices.iter().rev();
        newest_first
            .take_while(|(slice, _)| *slice >= number)
            .map(|(_, count)| count)
            .sum()
    }
}

/// Counts by slice, the newest of them.
struct Ring {
    /// The number of a slice in the upper bits, its count below; zero: nothing was counted.
    slots: Box<[AtomicU64]>,
}

/// 67 million requests in 100 ms; what is beyond isn't counted, which only makes the budget tighter. The number of a
/// slice needs 38 bits for all the time an [`Instant`] can tell.
const COUNT_BITS: u32 = 26;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

impl Ring {
    fn new(slots: usize) -> Self {
        Ring {
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Relaxed: a count is all in its own word, and a retry that doesn't see the newest one is judged as if it had
    /// come a moment before it.
    #[inline]
    fn count(&self, number: u64) {
        let slot = self.slot(number);
        let mut seen = slot.load(Ordering::Relaxed);
        loop {
            let next = match (seen >> COUNT_BITS).cmp(&number) {
                // Of a turn ago, or never used.
                std::cmp::Ordering::Less => (number << COUNT_BITS) | 1,
                std::cmp::Ordering::Equal if seen & COUNT < COUNT => seen + 1,
                // It is full, or this caller is so late that its slice has left every window.
                _ => return,
            };
            match slot.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    fn sum(&self, first: u64, last: u64) -> u64 {
        (first..=last).map(|number| self.of(number)).sum()
    }

    fn of(&self, number: u64) -> u64 {
        let seen = self.slot(number).load(Ordering::Relaxed);
        if seen >> COUNT_BITS == number {
            seen & COUNT
        } else {
            0
        }
    }

    fn copied_to(&self, slots: usize) -> Ring {
        let ring = Ring::new(slots);
        for slot in &self.slots {
            let seen = slot.load(Ordering::Relaxed);
            if seen != 0 {
                ring.slot(seen >> COUNT_BITS).store(seen, Ordering::Relaxed);
            }
        }
        ring
    }

    #[inline]
    fn slot(&self, number: u64) -> &AtomicU64 {
        // The remainder is less than the length, whatever its type.
        #[allow(clippy::cast_possible_truncation)]
        let index = (number % self.slots.len() as u64) as usize;
        &self.slots[index]
    }
}
