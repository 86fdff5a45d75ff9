//! The percentiles that were asked for, readable without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use super::sample::Sample;

/// How many percentiles are kept: a limit's, a hedge's and a shedder's of two policies, and two more.
const KEPT: usize = 8;

pub(super) struct Known {
    kept: [Kept; KEPT],
    /// How many were added; who comes when all places are taken takes that of the oldest.
    added: AtomicU64,
}

#[derive(Default)]
struct Kept {
    /// Which percentile: the bits of the float, of which none above zero has none set; zero: none.
    which: AtomicU64,
    micros: AtomicU64,
}

impl Known {
    pub(super) fn new() -> Self {
        Known {
            kept: std::array::from_fn(|_| Kept::default()),
            added: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(super) fn get(&self, percentile: f64) -> Option<u64> {
        let which = percentile.to_bits();
        let kept = self
            .kept
            .iter()
            .find(|kept| kept.which.load(Ordering::Acquire) == which)?;
        let micros = kept.micros.load(Ordering::Acquire);
        // If another one has taken the place meanwhile, it took the name away before it wrote the value.
        (kept.which.load(Ordering::Relaxed) == which).then_some(micros)
    }

    /// Keeps that percentile too. Called under the sample's lock, as everything that writes.
    pub(super) fn add(&self, percentile: f64, sample: &Sample) -> u64 {
        let mut wanted = [(percentile, 0)];
        sample.percentiles(&mut wanted);
        let micros = wanted[0].1;
        if self.get(percentile).is_none() {
            let added = self.added.fetch_add(1, Ordering::Relaxed);
            // The remainder is less than the length.
            #[allow(clippy::cast_possible_truncation)]
            let kept = &self.kept[(added % KEPT as u64) as usize];
            kept.which.store(0, Ordering::Relaxed);
            kept.micros.store(micros, Ordering::Release);
            kept.which.store(percentile.to_bits(), Ordering::Release);
        }
        micros
    }

    pub(super) fn reckon(&self, sample: &Sample) {
        let mut wanted = [(0.0, 0); KEPT];
        let taken = self.added.load(Ordering::Relaxed).min(KEPT as u64);
        // At most the length.
        #[allow(clippy::cast_possible_truncation)]
        let wanted = &mut wanted[..taken as usize];
        for (wanted, kept) in wanted.iter_mut().zip(&self.kept) {
            wanted.0 = f64::from_bits(kept.which.load(Ordering::Relaxed));
        }
        sample.percentiles(wanted);
        for (wanted, kept) in wanted.iter().zip(&self.kept) {
            kept.micros.store(wanted.1, Ordering::Release);
        }
    }
}
