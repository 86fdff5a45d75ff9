//! The calls that count, and what share of them was answered by when.

use std::time::Duration;

use callboard_core::clock::Instant;
use hdrhistogram::Histogram;

/// The longest span told apart, in microseconds: 1 h.
const LONGEST: u64 = 3_600_000_000;
/// How precise spans are: two digits, which takes 13 KB for each of the two histograms that is in use.
const DIGITS: u8 = 2;
/// The weight of a call at the beginning of a half-life; at its end it is twice that.
const WEIGHT: u64 = 16;
/// All weights together, at most: no count of 32 bits can run over.
const HEAVIEST: u64 = 1 << 31;
/// Percentiles are reckoned anew after a sixteenth of the calls that count, and after that many.
const STALE: u64 = 256;
/// What a share can be off by for having been multiplied many times; far less than one call.
const ROUNDING: f64 = 1e-9;

#[derive(Default)]
pub(super) struct Sample {
    /// By how long they took.
    answered: Option<Histogram<u32>>,
    /// By how long they were waited for; made when the first call is cut.
    cut: Option<Histogram<u32>>,
    /// When the half-life began.
    since: u64,
    /// The weight of the last call.
    weight: u64,
    /// So many more calls until percentiles are reckoned anew.
    until_due: u64,
}

/// How many calls count.
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) cut: u64,
}

impl Sample {
    /// Takes a call in, and says whether what is known of the percentiles is too old.
    pub(super) fn enter(
        &mut self,
        now: Instant,
        span: Duration,
        half_life: Duration,
        cut: bool,
    ) -> bool {
        self.fade(now.as_nanos(), half_life);
        let histogram = if cut {
            &mut self.cut
        } else {
            &mut self.answered
        };
        if histogram.is_none() {
            *histogram = empty();
        }
        if let Some(histogram) = histogram {
            // Rounded up, so that what was cut is never reckoned as shorter than the limit.
            let micros = span.as_nanos().div_ceil(1_000);
            let micros = u64::try_from(micros).unwrap_or(LONGEST).clamp(1, LONGEST);
            // At most twice the weight of the beginning.
            #[allow(clippy::cast_possible_truncation)]
            histogram.saturating_record_n(micros, self.weight as u32);
        }
        self.until_due = self.until_due.saturating_sub(1);
        let due = self.until_due == 0;
        if due {
            self.until_due = (self.calls() / 16).clamp(1, STALE);
        }
        due
    }

    pub(super) fn calls(&self) -> u64 {
        self.count_of(len(&self.answered) + len(&self.cut))
    }

    /// `None` while nothing counts.
    pub(super) fn counts(&self) -> Option<Counts> {
        let calls = self.calls();
        (calls > 0).then(|| Counts {
            calls,
            cut: self.count_of(len(&self.cut)),
        })
    }

    /// Writes beside each percentile the time, in microseconds, within which that many of a hundred calls are answered;
    /// the longest that is known of, if it isn't known of so many.
    pub(super) fn percentiles(&self, wanted: &mut [(f64, u64)]) {
        let mut missing = wanted.len();
        for (_, micros) in wanted.iter_mut() {
            *micros = 0;
        }
        let mut answered = spans(&self.answered).peekable();
        let mut cut = spans(&self.cut).peekable();
        let mut at_risk = len(&self.answered) + len(&self.cut);
        let mut unanswered = 1.0;
        let mut longest = 0;
        while missing > 0 {
            let next = [answered.peek(), cut.peek()];
            let Some(span) = next.into_iter().flatten().map(|(span, _)| *span).min() else {
                break;
            };
            longest = span;
            let ended = answered.next_if(|(other, _)| *other == span);
            let lost = cut.next_if(|(other, _)| *other == span);
            let count = |of: Option<(u64, u64)>| of.map_or(0, |(_, count)| count);
            if count(ended) > 0 {
                // Of those that took at least as long, so many took no longer. Counts are below 2^32, exact in f64.
                #[allow(clippy::cast_precision_loss)]
                let share = count(ended) as f64 / at_risk as f64;
                unanswered *= 1.0 - share;
                let found = wanted.iter_mut().filter(|(percentile, micros)| {
                    *micros == 0 && unanswered <= 1.0 - percentile / 100.0 + ROUNDING
                });
                missing -= found.map(|(_, micros)| *micros = span).count();
            }
            at_risk = at_risk.saturating_sub(count(ended) + count(lost)).max(1);
        }
        for (_, micros) in wanted.iter_mut().filter(|(_, micros)| *micros == 0) {
            *micros = longest;
        }
    }

    /// Moves on to `now`, and halves what counts for each half-life that is over.
    fn fade(&mut self, now: u64, half_life: Duration) {
        let half_life = u64::try_from(half_life.as_nanos())
            .unwrap_or(u64::MAX)
            .max(WEIGHT);
        let mut elapsed = now.saturating_sub(self.since);
        if elapsed >= half_life {
            let over = elapsed / half_life;
            self.halve(over);
            elapsed -= over * half_life;
            self.since = now - elapsed;
        }
        if len(&self.answered) + len(&self.cut) >= HEAVIEST {
            self.halve(1);
            self.since = now;
            elapsed = 0;
        }
        // One of them isn't an exact sixteenth, and may be over before its time.
        self.weight = WEIGHT + (elapsed / (half_life / WEIGHT)).min(WEIGHT - 1);
    }

    fn halve(&mut self, times: u64) {
        for histogram in [&mut self.answered, &mut self.cut] {
            if histogram.is_some() {
                let mut faded = empty();
                for (span, count) in spans(histogram) {
                    let left = u32::try_from(count >> times.min(32)).unwrap_or(u32::MAX);
                    if let Some(faded) = faded.as_mut().filter(|_| left > 0) {
                        faded.saturating_record_n(span, left);
                    }
                }
                *histogram = faded;
            }
        }
    }

    fn count_of(&self, weights: u64) -> u64 {
        let weight = self.weight.max(1);
        (weights + weight / 2) / weight
    }
}

/// The bounds are good, so it never fails.
fn empty() -> Option<Histogram<u32>> {
    Histogram::new_with_bounds(1, LONGEST, DIGITS).ok()
}

fn len(histogram: &Option<Histogram<u32>>) -> u64 {
    histogram.as_ref().map_or(0, Histogram::len)
}

/// The spans that occur, the shortest first, each as the longest that isn't told apart from it, with its weight.
fn spans(histogram: &Option<Histogram<u32>>) -> impl Iterator<Item = (u64, u64)> + '_ {
    let recorded = histogram.iter().flat_map(Histogram::iter_recorded);
    recorded.map(|of| {
        let span = of.value_iterated_to().min(LONGEST);
        (span, u64::from(of.count_at_value()))
    })
}
