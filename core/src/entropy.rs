//! The only source of randomness: jitter, sampling, choices of order.
//!
//! Each system has one, seeded. On the simulating executor every draw is a function of the seed (G38).

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// A seeded source of random numbers, shared by its clones.
///
/// It is `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014):
/// fast, and good enough for jitter and scheduling. Not for secrets.
#[derive(Clone)]
pub struct Entropy {
    seed: u64,
    state: Arc<Mutex<u64>>,
}

impl Entropy {
    /// A source whose draws are a function of `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Entropy {
            seed,
            state: Arc::new(Mutex::new(seed)),
        }
    }

    /// A source seeded by the operating system.
    #[must_use]
    pub fn from_os() -> Self {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        Entropy::seeded(high ^ low.rotate_left(32))
    }

    /// What it was seeded with. Tests print it.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The next 64 random bits.
    #[must_use]
    pub fn next_u64(&self) -> u64 {
        let mut state = self.state.lock();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, not including, `bound`; 0 when `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Multiply-shift (Lemire 2019) without the rejection step: the bias is below 2^-32 for any bound used here.
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A duration from zero up to `cap`, both included, evenly spread: "full jitter".
    ///
    /// The rule is from AWS's "Exponential Backoff And Jitter" (Brooker, 2015): spreading over the whole
    /// interval breaks up waves of retries best.
    #[must_use]
    pub fn jitter(&self, cap: std::time::Duration) -> std::time::Duration {
        let nanos = u64::try_from(cap.as_nanos()).unwrap_or(u64::MAX - 1);
        std::time::Duration::from_nanos(self.below(nanos.saturating_add(1)))
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entropy")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn g38_same_seed_same_draws() {
        let (a, b) = (Entropy::seeded(7), Entropy::seeded(7));
        let left: Vec<u64> = (0..100).map(|_| a.next_u64()).collect();
        let right: Vec<u64> = (0..100).map(|_| b.next_u64()).collect();
        assert_eq!(left, right);
        assert_ne!(left[0], Entropy::seeded(8).next_u64());
    }

    #[test]
    fn jitter_stays_inside_and_spreads_over_the_whole_interval() {
        let entropy = Entropy::seeded(1);
        let cap = Duration::from_millis(100);
        let draws: Vec<Duration> = (0..10_000).map(|_| entropy.jitter(cap)).collect();
        assert!(draws.iter().all(|d| *d <= cap));
        for tenth in 0..10u32 {
            let low = cap / 10 * tenth;
            let share = draws
                .iter()
                .filter(|d| **d >= low && **d < low + cap / 10)
                .count();
            assert!(
                (800..1_200).contains(&share),
                "tenth {tenth} got {share} of 10000"
            );
        }
    }

    #[test]
    fn below_zero_is_zero() {
        assert_eq!(Entropy::seeded(3).below(0), 0);
    }
}
