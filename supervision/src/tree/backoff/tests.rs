use std::time::Duration;

use callboard_core::Entropy;
use proptest::prelude::*;

use super::Backoff;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn g16_the_ceiling_doubles_up_to_the_cap() {
    let backoff = Backoff::default();
    let ceilings: Vec<u128> = (0..8).map(|n| backoff.ceiling(n).as_millis()).collect();
    assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    assert_eq!(Backoff::none().ceiling(9), Duration::ZERO);
}

proptest! {
    #[test]
    fn g16_waits_stay_under_their_ceiling_and_never_overflow(
        base in 0u64..10_000, cap in 0u64..100_000, attempt in any::<u32>(), seed in any::<u64>(),
    ) {
        let backoff = Backoff { base: ms(base), cap: ms(cap), ..Backoff::default() };
        let ceiling = backoff.ceiling(attempt);
        prop_assert!(ceiling <= ms(cap));
        prop_assert!(attempt > 0 || ceiling <= ms(base));
        prop_assert!(ceiling >= backoff.ceiling(attempt.saturating_sub(1)));
        let entropy = Entropy::seeded(seed);
        prop_assert!(backoff.delay(attempt, &entropy) <= ceiling);
    }
}

#[test]
fn g16_jitter_is_full_from_zero_to_the_ceiling() {
    let entropy = Entropy::seeded(16);
    let backoff = Backoff::default();
    let draws: Vec<Duration> = (0..2_000).map(|_| backoff.delay(3, &entropy)).collect();
    let under = |share: Duration| draws.iter().filter(|draw| **draw < share).count();
    assert!((400..600).contains(&under(ms(200))));
    assert!((900..1_100).contains(&under(ms(400))));
    assert!((1_400..1_600).contains(&under(ms(600))));
}
