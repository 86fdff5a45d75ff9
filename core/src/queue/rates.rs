//! How many a second, over the last ten.

use serde::{Deserialize, Serialize};

use crate::clock::Instant;

/// The span that rates are taken over, in seconds.
const SPAN: u64 = 10;

/// How many items a second, over the last ten seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct QueueRates {
    /// Offered and stored.
    pub offered: f64,
    /// Handed out, again included.
    pub handed: f64,
    /// Acknowledged, or taken away by `poll`.
    pub settled: f64,
}

#[derive(Default)]
pub(super) struct Rates {
    second: u64,
    /// When the next one begins, in nanoseconds: saves a division per count.
    until: u64,
    at: usize,
    buckets: [[u64; 3]; SPAN as usize],
}

impl Rates {
    pub(super) fn count_offered(&mut self, now: Instant) {
        self.bucket(now)[0] += 1;
    }

    pub(super) fn count_handed(&mut self, now: Instant) {
        self.bucket(now)[1] += 1;
    }

    pub(super) fn count_settled(&mut self, now: Instant) {
        self.bucket(now)[2] += 1;
    }

    /// Over the last ten whole seconds and the one that runs.
    pub(super) fn rates(&mut self, now: Instant) -> QueueRates {
        self.bucket(now);
        let mut sums = [0; 3];
        for bucket in &self.buckets {
            for (sum, count) in sums.iter_mut().zip(bucket) {
                *sum += count;
            }
        }
        let nanos = now.as_nanos() % 1_000_000_000;
        let begun = u32::try_from(nanos).unwrap_or(0);
        let span = (SPAN - 1) as f64 + f64::from(begun) / 1e9;
        let [offered, handed, settled] = sums.map(|sum| sum as f64 / span);
        QueueRates {
            offered,
            handed,
            settled,
        }
    }

    #[inline]
    fn bucket(&mut self, now: Instant) -> &mut [u64; 3] {
        if now.as_nanos() >= self.until {
            self.begin_second(now);
        }
        &mut self.buckets[self.at]
    }

    #[cold]
    fn begin_second(&mut self, now: Instant) {
        let second = now.as_nanos() / 1_000_000_000;
        if second > self.second {
            let past = (second - self.second).min(SPAN);
            for step in 1..=past {
                self.buckets[((self.second + step) % SPAN) as usize] = [0; 3];
            }
            if past == SPAN {
                self.buckets = Default::default();
            }
            self.second = second;
        }
        self.at = (self.second % SPAN) as usize;
        self.until = (self.second + 1) * 1_000_000_000;
    }
}
