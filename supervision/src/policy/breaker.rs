//! Leaves a callee that fails alone for a time: the state behind [`BreakerSettings`].
//!
//! Closed, open, half open (Nygard, "Release It!", 2007). It opens after failures in a row (Finagle's failure accrual,
//! Pekko's breaker), or when too large a share of the attempts within a window failed (Envoy's outlier detection).
//! While it is closed nothing is locked: whether an attempt may pass is one load, its end a few words that are added to.
//!
//! **An attempt decides only about the time it belongs to.** A [`Pass`] carries the generation that it was let in by,
//! which grows with every change of state; an end that comes back to another generation is dropped. So an attempt that
//! began before the breaker opened neither closes it nor counts as a probe.
//!
//! **The share is looked at when an attempt fails**: a success never opens it. It is counted in tenths of the window,
//! each for as long as its beginning lies within: so over nine tenths of it at least.
//!
//! **How long it stays open**: `open`, twice as long each time it opens again, `max_open` at most. It begins anew with
//! `open` after a good spell: when it has been closed for as long as it was open last, and for `window` at least.
//! (Envoy lets its multiplier sink by one for each quiet interval; here a callee proves itself once, for as long as it
//! was away.)
//!
//! A change of settings acts at once: an open time beyond a new `max_open` is cut, a half-open breaker with probes
//! enough under a new `probes` closes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use callboard_core::clock::Instant;
use parking_lot::Mutex;
use serde::Serialize;

use super::settings::BreakerSettings;
use tally::Tally;

mod tally;
#[cfg(test)]
mod tests;

/// The breaker between one policy and one callee.
pub(crate) struct Breaker {
    /// The generation, and below it the state: [`CLOSED`], [`OPEN`] or [`HALF_OPEN`].
    word: AtomicU64,
    /// Until when it is open, in nanoseconds; written before the word says so.
    until: AtomicU64,
    /// Failures in a row.
    row: AtomicU32,
    tally: Tally,
    inner: Mutex<Inner>,
}

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const STATE: u64 = 3;
const GENERATION: u64 = 4;

/// What changes with the state, under the lock.
#[derive(Default)]
struct Inner {
    /// How often it opened without a good spell between.
    times: u32,
    /// How long it was open last.
    open_for: Duration,
    /// Since when it is closed again.
    closed_at: Instant,
    /// Probes under way, and those that succeeded.
    under_way: u32,
    succeeded: u32,
    opened: u64,
}

/// That an attempt was let in, and by what.
///
/// Plain, so that it costs nothing: who holds it calls [`Breaker::ended`] exactly once, also when the attempt is dropped
/// ([`Ended::Nothing`]), or the place of a probe is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the breaker must be told how the attempt ended"]
pub(crate) struct Pass {
    generation: u64,
    probe: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The callee did its work: an answer, also one that says no.
    Good,
    /// It didn't.
    Failed,
    /// That says nothing about the callee: withdrawn, or refused before it got there.
    Nothing,
}

/// That an attempt may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// After which time it may: exactly, while the breaker is open; while all probes are under way, how long it would
    /// be open for the first time.
    pub(crate) retry_after: Duration,
}

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// Attempts pass.
    Closed {
        /// Failures since the last success.
        failures_in_a_row: u32,
        /// Attempts that ended within the window.
        calls: u64,
        /// How many of them failed.
        failures: u64,
    },
    /// Attempts are refused.
    Open {
        /// Until then. When that has passed, the next attempt is a probe.
        until: Instant,
        /// How often it has opened without a good spell between.
        times: u32,
    },
    /// Some attempts may try the callee.
    HalfOpen {
        /// Probes that are under way.
        under_way: u32,
        /// Probes that succeeded.
        succeeded: u32,
        /// How often it has opened without a good spell between.
        times: u32,
    },
}

impl Breaker {
    /// Closed.
    pub(crate) fn new() -> Self {
        Breaker {
            word: AtomicU64::new(CLOSED),
            until: AtomicU64::new(0),
            row: AtomicU32::new(0),
            tally: Tally::new(),
            inner: Mutex::default(),
        }
    }

    /// Whether an attempt would pass at `now`; takes no probe's place.
    ///
    /// # Errors
    /// [`Refusal`], while it is open and while all probes are under way.
    #[inline]
    pub(crate) fn look(&self, now: Instant, settings: &BreakerSettings) -> Result<(), Refusal> {
        match self.word.load(Ordering::Acquire) & STATE {
            CLOSED => Ok(()),
            OPEN => self.still_open(now, settings),
            _ => self.inner.lock().probe_fits(settings),
        }
    }

    /// Lets an attempt in at `now`, as a probe where it is one.
    ///
    /// # Errors
    /// As [`look`](Breaker::look).
    #[inline]
    pub(crate) fn enter(&self, now: Instant, settings: &BreakerSettings) -> Result<Pass, Refusal> {
        let word = self.word.load(Ordering::Acquire);
        match word & STATE {
            CLOSED => Ok(Pass::through(word)),
            _ => self.enter_slowly(now, settings),
        }
    }

    /// Takes in how the attempt of that pass ended.
    #[inline]
    pub(crate) fn ended(&self, pass: Pass, now: Instant, settings: &BreakerSettings, how: Ended) {
        if pass.generation != generation_of(self.word.load(Ordering::Acquire)) {
            return;
        }
        if pass.probe {
            self.probe_ended(pass, now, settings, how);
            return;
        }
        match how {
            Ended::Nothing => {}
            Ended::Good => {
                self.tally.count(now, settings.window, false);
                // Written only where it changes something: callers on several cores read it.
                if self.row.load(Ordering::Relaxed) != 0 {
                    self.row.store(0, Ordering::Relaxed);
                }
            }
            Ended::Failed => self.failed(pass, now, settings),
        }
    }

    /// What it does at `now`.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        let inner = self.inner.lock();
        match self.word.load(Ordering::Acquire) & STATE {
            CLOSED => {
                let (calls, failures) = self.tally.within_last_window(now);
                BreakerState::Closed {
                    failures_in_a_row: self.row.load(Ordering::Relaxed),
                    calls,
                    failures,
                }
            }
            OPEN => BreakerState::Open {
                until: Instant::from_nanos(self.until.load(Ordering::Relaxed)),
                times: inner.times,
            },
            _ => BreakerState::HalfOpen {
                under_way: inner.under_way,
                succeeded: inner.succeeded,
                times: inner.times,
            },
        }
    }

    /// How often it opened.
    pub(crate) fn opened(&self) -> u64 {
        self.inner.lock().opened
    }

    fn still_open(&self, now: Instant, settings: &BreakerSettings) -> Result<(), Refusal> {
        let until = Instant::from_nanos(self.until.load(Ordering::Relaxed));
        if now >= until {
            return Ok(());
        }
        let longest = now + settings.max_open;
        if until > longest {
            // It was opened under other settings.
            self.until.fetch_min(longest.as_nanos(), Ordering::Relaxed);
        }
        Err(Refusal {
            retry_after: until.min(longest).since(now),
        })
    }

    #[cold]
    fn enter_slowly(&self, now: Instant, settings: &BreakerSettings) -> Result<Pass, Refusal> {
        if self.word.load(Ordering::Acquire) & STATE == OPEN {
            self.still_open(now, settings)?;
        }
        let mut inner = self.inner.lock();
        let word = self.word.load(Ordering::Relaxed);
        if word & STATE == CLOSED {
            return Ok(Pass::through(word));
        }
        if word & STATE == OPEN {
            // Again: it may have tried and opened again since.
            self.still_open(now, settings)?;
            inner.under_way = 0;
            inner.succeeded = 0;
            self.enter_state(HALF_OPEN);
        }
        if inner.succeeded >= settings.probes {
            self.close(&mut inner, now);
            return Ok(Pass::through(self.word.load(Ordering::Relaxed)));
        }
        inner.probe_fits(settings)?;
        inner.under_way += 1;
        Ok(Pass {
            generation: generation_of(self.word.load(Ordering::Relaxed)),
            probe: true,
        })
    }

    #[cold]
    fn failed(&self, pass: Pass, now: Instant, settings: &BreakerSettings) {
        self.tally.count(now, settings.window, true);
        let row = self.row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let too_many = row >= settings.consecutive || {
            let (calls, failures) = self.tally.within(now, settings.window);
            // Far below 2^52, where f64 is exact; and a quotient is rounded as the literal of the setting is.
            #[allow(clippy::cast_precision_loss)]
            let share = failures as f64 / calls as f64;
            calls >= u64::from(settings.min_calls) && share >= settings.rate
        };
        if too_many {
            let mut inner = self.inner.lock();
            if self.is_now(pass) {
                self.open(&mut inner, now, settings);
            }
        }
    }

    #[cold]
    fn probe_ended(&self, pass: Pass, now: Instant, settings: &BreakerSettings, how: Ended) {
        let mut inner = self.inner.lock();
        if !self.is_now(pass) {
            return;
        }
        inner.under_way = inner.under_way.saturating_sub(1);
        match how {
            Ended::Nothing => {}
            Ended::Failed => self.open(&mut inner, now, settings),
            Ended::Good => {
                inner.succeeded += 1;
                if inner.succeeded >= settings.probes {
                    self.close(&mut inner, now);
                }
            }
        }
    }

    /// Whether the pass belongs to this generation; asked again under the lock, which changes of state are made under.
    fn is_now(&self, pass: Pass) -> bool {
        pass.generation == generation_of(self.word.load(Ordering::Relaxed))
    }

    fn open(&self, inner: &mut Inner, now: Instant, settings: &BreakerSettings) {
        let was_closed = self.word.load(Ordering::Relaxed) & STATE == CLOSED;
        let spell = inner.open_for.min(settings.max_open).max(settings.window);
        if was_closed && now.since(inner.closed_at) >= spell {
            inner.times = 0;
        }
        let doubled = 1 << inner.times.min(31);
        inner.open_for = settings.open.saturating_mul(doubled).min(settings.max_open);
        inner.times = inner.times.saturating_add(1);
        inner.opened += 1;
        let until = now + inner.open_for;
        self.until.store(until.as_nanos(), Ordering::Relaxed);
        self.enter_state(OPEN);
    }

    fn close(&self, inner: &mut Inner, now: Instant) {
        inner.closed_at = now;
        self.row.store(0, Ordering::Relaxed);
        self.tally.forget();
        self.enter_state(CLOSED);
    }

    /// Begins the next generation, under the lock.
    fn enter_state(&self, state: u64) {
        let word = self.word.load(Ordering::Relaxed);
        let next = (word & !STATE).wrapping_add(GENERATION) | state;
        self.word.store(next, Ordering::Release);
    }
}

impl Inner {
    fn probe_fits(&self, settings: &BreakerSettings) -> Result<(), Refusal> {
        let enough = self.succeeded >= settings.probes;
        if enough || self.under_way + self.succeeded < settings.probes {
            Ok(())
        } else {
            Err(Refusal {
                retry_after: settings.open,
            })
        }
    }
}

impl Pass {
    fn through(word: u64) -> Self {
        Pass {
            generation: generation_of(word),
            probe: false,
        }
    }
}

fn generation_of(word: u64) -> u64 {
    word / GENERATION
}
