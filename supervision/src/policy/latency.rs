//! How long calls of a callee take: what adaptive time limits, hedges and shedding are taken from.
//!
//! A histogram (Tene's `HdrHistogram`), from 1 us to 1 h, precise to two digits, and not an average, behind which the slow
//! calls hide.
//!
//! **What was cut is right-censored**: of a call that timed out, was withdrawn, or lost against its hedge, all that is
//! known is that it would have taken longer. Left out, or counted as the limit it ran into, it would draw the percentiles
//! down, the limit after them, and more calls would be cut: a spiral; and hedges would come ever earlier. So percentiles are those of Kaplan and Meier ("Nonparametric Estimation from Incomplete Observations", 1958):
//! each call that was cut counts, from then on, as the calls do that took longer. A percentile that lies among calls
//! that were all cut is at least the longest limit of them, and is answered as that; a factor above 1 then lets the next
//! limit be longer, so it grows until answers come again. And callers with short deadlines don't make a callee look fast.
//!
//! **Calls fade**: after a half-life a call counts half (forward decay, Cormode and others 2009: later calls are
//! entered with more weight, and nothing is touched meanwhile). Between half-lives weights grow along a straight line, in
//! sixteenths; what has shrunk below a sixteenth of a call is dropped. So at an even rate of calls the number that counts
//! is even too, 1.44 times what a half-life brings, and `min_samples` is reached once and not again and again. Fading needs
//! calls: of a callee that nobody calls the last that is known stays.
//!
//! **Reading costs a load**: percentiles that were asked for are kept, and reckoned anew after every so many calls, a
//! sixteenth of those that count, 256 at most.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard_core::clock::Instant;
use parking_lot::Mutex;
use serde::Serialize;

use super::explain::rounded;
use super::settings::AdaptiveSettings;
use known::Known;
use sample::Sample;

mod known;
mod sample;
#[cfg(test)]
mod tests;

/// How long the calls of one callee took.
pub(crate) struct Latency {
    sample: Mutex<Sample>,
    /// How many calls count, as of the last one.
    samples: AtomicU64,
    known: Known,
}

/// How long the calls of a callee took, as of the last one that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LatencySummary {
    /// How many calls count; those that faded count less.
    pub samples: u64,
    /// How many of them were cut: timed out, withdrawn, or slower than their hedge.
    pub cut: u64,
    /// Half of them took at most that long.
    pub p50: Duration,
    /// 90 of 100.
    pub p90: Duration,
    /// 99 of 100.
    pub p99: Duration,
    /// 999 of 1000.
    pub p999: Duration,
    /// All of them; or at least that long, if the longest was cut.
    pub max: Duration,
}

impl Latency {
    /// Nothing was measured yet, and nothing is allocated.
    pub(crate) fn new() -> Self {
        Latency {
            sample: Mutex::default(),
            samples: AtomicU64::new(0),
            known: Known::new(),
        }
    }

    /// Takes in a call that ended at `now` and took so long.
    #[inline]
    pub(crate) fn record(&self, now: Instant, took: Duration, half_life: Duration) {
        self.enter(now, took, half_life, false);
    }

    /// Takes in a call that was cut at `now`, after that time: it would have taken longer.
    #[inline]
    pub(crate) fn cut(&self, now: Instant, after: Duration, half_life: Duration) {
        self.enter(now, after, half_life, true);
    }

    /// Within which time that percentile of calls is answered, precise to two digits and rounded up; `None` while fewer
    /// than `min_samples` count.
    #[inline]
    pub(crate) fn percentile(&self, percentile: f64, min_samples: u64) -> Option<Duration> {
        if self.samples() < min_samples.max(1) {
            return None;
        }
        let micros = match self.known.get(percentile) {
            Some(micros) => micros,
            None => self.learn(percentile),
        };
        Some(Duration::from_micros(micros))
    }

    /// The time limit that those settings take from it; `None` while too few calls count.
    #[inline]
    pub(crate) fn limit(&self, settings: &AdaptiveSettings) -> Option<Duration> {
        let usual = self.percentile(settings.percentile, settings.min_samples)?;
        // An hour times a hundred is far from the end of either.
        let nanos = usual.as_secs_f64() * settings.factor * 1e9;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let limit = Duration::from_nanos(nanos.ceil() as u64);
        Some(limit.max(settings.floor).min(settings.ceiling))
    }

    /// How many calls count, as of the last one.
    #[inline]
    pub(crate) fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// What there is to show; `None` while nothing counts.
    pub(crate) fn summary(&self) -> Option<LatencySummary> {
        let sample = self.sample.lock();
        let counts = sample.counts()?;
        let mut spans = [50.0, 90.0, 99.0, 99.9, 100.0].map(|of| (of, 0));
        sample.percentiles(&mut spans);
        let [p50, p90, p99, p999, max] = spans.map(|(_, micros)| Duration::from_micros(micros));
        Some(LatencySummary {
            samples: counts.calls,
            cut: counts.cut,
            p50,
            p90,
            p99,
            p999,
            max,
        })
    }

    #[inline]
    fn enter(&self, now: Instant, span: Duration, half_life: Duration, cut: bool) {
        let mut sample = self.sample.lock();
        let due = sample.enter(now, span, half_life, cut);
        self.samples.store(sample.calls(), Ordering::Relaxed);
        if due {
            self.known.reckon(&sample);
        }
    }

    #[cold]
    fn learn(&self, percentile: f64) -> u64 {
        let sample = self.sample.lock();
        self.known.add(percentile, &sample)
    }
}

impl fmt::Display for LatencySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spans = [self.p50, self.p90, self.p99, self.p999, self.max].map(rounded);
        let [p50, p90, p99, p999, max] = spans;
        write!(
            f,
            "p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, all {max}; of {} calls, {} of them cut",
            self.samples, self.cut
        )
    }
}
