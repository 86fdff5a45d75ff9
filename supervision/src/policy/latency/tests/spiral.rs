//! A caller whose calls are cut at the limit that is taken from them, in virtual time.

use std::time::Duration;

use callboard_core::clock::Instant;
use proptest::prelude::*;

use crate::policy::latency::Latency;
use crate::policy::settings::AdaptiveSettings;

struct Caller {
    latency: Latency,
    settings: AdaptiveSettings,
    now: Instant,
    /// Of the calls' own unevenness.
    random: u64,
}

impl Caller {
    fn new(settings: AdaptiveSettings, seed: u64) -> Self {
        Caller {
            latency: Latency::new(),
            settings,
            now: Instant::from_nanos(7),
            random: seed,
        }
    }

    fn limit(&self) -> Duration {
        let limit = self.latency.limit(&self.settings);
        let limit = limit.unwrap_or(self.settings.ceiling);
        assert!(limit >= self.settings.floor && limit <= self.settings.ceiling);
        limit
    }

    /// From 0.75 to 1.25.
    fn uneven(&mut self) -> f64 {
        0.75 + self.draw() / 2.0
    }

    /// From 0 to 1 (SplitMix64).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Calls a callee that usually takes `usual`, one call every `pause`; how many of the calls were answered.
    fn call(&mut self, calls: u32, usual: Duration, pause: Duration) -> u32 {
        let mut answered = 0;
        for _ in 0..calls {
            let (limit, took) = (self.limit(), usual.mul_f64(self.uneven()));
            if took <= limit {
                answered += 1;
                self.latency.record(self.now, took, self.settings.half_life);
            } else {
                self.latency.cut(self.now, limit, self.settings.half_life);
            }
            self.now = self.now + pause;
        }
        answered
    }
}

impl Caller {
    /// Calls a callee whose times are exponential, and joins each call that takes longer than most by a second one, of
    /// which the first answer counts; how many were.
    fn hedge(&mut self, calls: u32, mean: Duration) -> u32 {
        let half_life = self.settings.half_life;
        let mut hedges = 0;
        for _ in 0..calls {
            let first = mean.mul_f64(-(1.0 - self.draw()).ln());
            let second = mean.mul_f64(-(1.0 - self.draw()).ln());
            let after = self.latency.percentile(self.settings.percentile, 200);
            let after = after.unwrap_or(Duration::MAX);
            if first <= after {
                self.latency.record(self.now, first, half_life);
            } else {
                hedges += 1;
                if first <= after + second {
                    self.latency.record(self.now, first, half_life);
                    self.latency.cut(self.now, first - after, half_life);
                } else {
                    self.latency.record(self.now, second, half_life);
                    self.latency.cut(self.now, after + second, half_life);
                }
            }
            self.now = self.now + PAUSE;
        }
        hedges
    }
}

fn adaptive(percentile: f64, factor: f64) -> AdaptiveSettings {
    AdaptiveSettings {
        percentile,
        factor,
        floor: Duration::from_micros(50),
        ceiling: Duration::from_secs(60),
        ..AdaptiveSettings::default()
    }
}

const PAUSE: Duration = Duration::from_millis(10);

#[test]
fn hedges_stay_as_rare_as_they_were_set() {
    // Forgetting the losers, one in eleven calls would have a hedge instead of one in twenty.
    let mut caller = Caller::new(adaptive(95.0, 2.0), 7);
    caller.hedge(10_000, Duration::from_millis(10));
    let hedges = caller.hedge(10_000, Duration::from_millis(10));
    assert!((400..=600).contains(&hedges), "{hedges} of 10000");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever it was like before, the limit grows until answers come again, and soon: for every factor the bound
    /// below holds with the calls that the percentile needs to move at all.
    #[test]
    fn a_callee_that_slows_tenfold_is_answered_again(
        seed: u64, micros in 10u64..200_000, percentile in 50.0f64..99.9, factor in 1.2f64..4.0,
        before in 0u32..3_000, cut_before in 0u32..500,
    ) {
        let mut caller = Caller::new(adaptive(percentile, factor), seed);
        let usual = Duration::from_micros(micros);
        // A start that knows only limits that were too short.
        for _ in 0..cut_before {
            caller.latency.cut(caller.now, usual / 2, caller.settings.half_life);
        }
        caller.call(before, usual, PAUSE);
        // Enough of them cut that the percentile lies among them, then a factor each time it is reckoned anew.
        let to_move = 10_000.0 * (1.0 - percentile / 100.0);
        let steps = (10.0f64 / 0.75 * 1.25 * 2.0).ln() / factor.ln() + 2.0;
        let learning = (to_move + steps * 257.0) as u32 + 600;
        caller.call(learning, usual * 10, PAUSE);
        let answered = caller.call(500, usual * 10, PAUSE);
        let least = 500.0 * (percentile / 100.0) * 0.9;
        prop_assert!(f64::from(answered) >= least, "{answered} of 500 after {learning}");
    }

    /// After the callee has recovered the limit comes down: not at once, and in the end to where it was.
    #[test]
    fn it_comes_down_slowly_after_the_callee_recovered(
        seed: u64, micros in 1_000u64..100_000, percentile in 90.0f64..99.5,
    ) {
        let settings = AdaptiveSettings {
            half_life: Duration::from_secs(10),
            ..adaptive(percentile, 2.0)
        };
        let mut caller = Caller::new(settings, seed);
        let usual = Duration::from_micros(micros);
        caller.call(2_000, usual, PAUSE);
        let before = caller.limit();
        caller.call(4_000, usual * 10, PAUSE);
        let slow = caller.limit();
        prop_assert!(slow >= before.mul_f64(5.0), "{before:?}, then {slow:?}");
        // A tenth of a half-life.
        caller.call(100, usual, PAUSE);
        prop_assert!(caller.limit() >= slow.mul_f64(0.7), "{:?} of {slow:?}", caller.limit());
        // And twelve of them.
        caller.call(12_000, usual, PAUSE);
        let after = caller.limit();
        prop_assert!(after <= before.mul_f64(1.1), "{before:?} before, {after:?} after");
        prop_assert!(after >= before.mul_f64(0.9), "{before:?} before, {after:?} after");
    }

    /// Whatever happens, in whatever order: never under the floor or above the ceiling (checked at each call), and a
    /// limit that no answer keeps to grows up to its ceiling.
    #[test]
    fn a_callee_that_never_answers_is_waited_for_up_to_the_ceiling(
        seed: u64, before in 0u32..2_000, micros in 1u64..1_000_000, factor in 1.2f64..10.0,
    ) {
        let settings = AdaptiveSettings {
            floor: Duration::from_millis(1),
            ceiling: Duration::from_millis(800),
            ..adaptive(99.0, factor)
        };
        let mut caller = Caller::new(settings, seed);
        caller.call(before, Duration::from_micros(micros), PAUSE);
        let steps = 800.0f64.ln() / factor.ln() + 2.0;
        let answered = caller.call((steps * 257.0) as u32 + 600, Duration::from_secs(3_600), PAUSE);
        prop_assert_eq!(answered, 0);
        prop_assert_eq!(caller.limit(), Duration::from_millis(800));
    }
}
