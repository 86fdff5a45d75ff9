use std::sync::Barrier;
use std::time::Duration;

use callboard_core::clock::Instant;
use proptest::prelude::*;

use super::Rate;
use crate::policy::settings::RateSettings;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn settings(per_second: f64, burst: u32, wait: u64) -> RateSettings {
    RateSettings {
        per_second,
        burst,
        wait: ms(wait),
    }
}

fn reserve(rate: &Rate, now: Instant, settings: &RateSettings) -> Result<Duration, Duration> {
    rate.reserve_within(now, settings, Duration::MAX)
}

fn taken_of(tries: u32, rate: &Rate, now: Instant, settings: &RateSettings) -> usize {
    let tries = (0..tries).filter(|_| rate.take(now, settings).is_ok());
    tries.count()
}

#[test]
fn a_burst_then_one_an_interval() {
    let (rate, ten) = (Rate::new(), settings(10.0, 3, 0));
    assert_eq!(taken_of(10, &rate, at(0), &ten), 3);
    assert_eq!(rate.take(at(0), &ten), Err(ms(100)));
    assert_eq!(rate.take(at(99), &ten), Err(ms(1)));
    assert_eq!(rate.take(at(100), &ten), Ok(()));
    assert_eq!(rate.take(at(100), &ten), Err(ms(100)));
    // Two of three came back; and after a quiet time never more than the burst.
    assert_eq!(taken_of(10, &rate, at(300), &ten), 2);
    assert_eq!(taken_of(10, &rate, at(60_000), &ten), 3);
}

#[test]
fn turns_that_wait_are_evenly_spaced_and_the_line_is_bounded() {
    let (rate, ten) = (Rate::new(), settings(10.0, 2, 250));
    let turns: Vec<_> = (0..6).map(|_| reserve(&rate, at(1_000), &ten)).collect();
    let (spaced, late) = ([ms(0), ms(0), ms(100), ms(200)], ms(300));
    assert_eq!(turns[..4], spaced.map(Ok));
    assert_eq!(turns[4..], [Err(late), Err(late)]);
    // Who may wait for less takes none that it won't use.
    assert_eq!(rate.reserve_within(at(1_060), &ten, ms(230)), Err(ms(240)));
    assert_eq!(rate.reserve_within(at(1_060), &ten, ms(240)), Ok(ms(240)));
    assert_eq!(
        rate.reserve_within(at(1_100), &ten, ms(9_999)),
        Err(ms(300))
    );
    assert_eq!(rate.take(at(1_100), &ten), Err(ms(300)), "behind the line");
}

#[test]
fn a_change_forgets_what_only_the_old_settings_could_lend() {
    let (rate, slow) = (Rate::new(), settings(0.001, 10, 0));
    assert_eq!(taken_of(20, &rate, at(0), &slow), 10);
    assert_eq!(rate.take(at(0), &slow), Err(Duration::from_secs(1_000)));
    let fast = settings(1_000.0, 10, 0);
    assert_eq!(rate.take(at(1), &fast), Err(ms(1)), "no new burst");
    assert_eq!(taken_of(20, &rate, at(2), &fast), 1);
    assert_eq!(taken_of(20, &rate, at(12), &fast), 10);
    // A smaller burst: what was taken of the larger one isn't waited for.
    let one = settings(1_000.0, 1, 0);
    assert_eq!(rate.take(at(12), &one), Err(ms(1)));
    // A reading that is late cuts nothing: what is owed stays owed.
    assert_eq!(rate.take(at(13), &one), Ok(()));
    assert_eq!(rate.take(at(2), &one), Err(ms(12)));
    assert_eq!(rate.take(at(13), &one), Err(ms(1)));
}

#[test]
fn the_ends_of_what_can_be_set_do_no_harm() {
    let rate = Rate::new();
    let fastest = settings(1e9, u32::MAX, u64::MAX / 1_000_000);
    assert_eq!(reserve(&rate, at(0), &fastest), Ok(ms(0)));
    let slowest = settings(1e-300, 2, 0);
    assert_eq!(taken_of(5, &rate, at(1), &slowest), 2);
    let long = settings(1e-9, u32::MAX, 0);
    assert!(rate.take(Instant::FAR, &long).is_ok());
}

#[test]
fn threads_together_take_no_more_than_there_is() {
    let (rate, settings) = (Rate::new(), settings(1_000.0, 500, 100));
    let begin = Barrier::new(4);
    let mut turns: Vec<Duration> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    begin.wait();
                    let turns = (0..1_000).filter_map(|_| reserve(&rate, at(5), &settings).ok());
                    turns.collect::<Vec<_>>()
                })
            })
            .collect();
        callers
            .into_iter()
            .flat_map(|caller| caller.join().unwrap())
            .collect()
    });
    turns.sort();
    // Every turn was given once: 500 at once, then one a millisecond for as long as one may wait.
    let expected = std::iter::repeat_n(0, 500).chain(1..=100);
    assert_eq!(turns, expected.map(ms).collect::<Vec<_>>());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u64),
    /// So many, each of which may wait so long.
    Calls(u32, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let span = || prop_oneof![0u64..100, 0u64..5_000_000, 0u64..3_000_000_000];
    let step = prop_oneof![
        2 => span().prop_map(Step::Wait),
        3 => (1u32..30, span()).prop_map(|(count, wait)| Step::Calls(count, wait)),
    ];
    prop::collection::vec(step, 0..60)
}

fn paces() -> impl Strategy<Value = RateSettings> {
    let per_second = prop_oneof![0.1f64..10.0, 10.0f64..1e5, 1e5f64..1e9];
    let wait = prop_oneof![Just(0u64), 0u64..2_000_000_000];
    (per_second, 1u32..50, wait).prop_map(|(per_second, burst, wait)| RateSettings {
        per_second,
        burst,
        wait: Duration::from_nanos(wait),
    })
}

proptest! {
    /// Over the span between any two turns; and a turn that had to wait comes an interval after the one before.
    #[test]
    fn never_more_than_the_burst_and_the_rate_over_any_span(steps in steps(), pace in paces()) {
        let rate = Rate::new();
        let interval = (1e9 / pace.per_second).ceil();
        let mut now = 0u64;
        let mut turns: Vec<u64> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(span) => now += span,
                Step::Calls(count, longest) => for _ in 0..count {
                    let longest = Duration::from_nanos(longest);
                    let at = Instant::from_nanos(now);
                    match rate.reserve_within(at, &pace, longest) {
                        Ok(wait) => {
                            prop_assert!(wait <= longest.min(pace.wait));
                            let turn = now + u64::try_from(wait.as_nanos()).unwrap();
                            if !wait.is_zero() {
                                let before = *turns.last().unwrap();
                                prop_assert!((turn - before) as f64 <= interval);
                            }
                            turns.push(turn);
                        }
                        Err(wait) => {
                            prop_assert!(wait > longest.min(pace.wait));
                            // It says the truth: that much later there is one.
                            let probe = Rate::new();
                            for word in [(&probe.next, &rate.next), (&probe.mark, &rate.mark)] {
                                word.0.store(word.1.load(super::Ordering::SeqCst), super::Ordering::SeqCst);
                            }
                            let almost = at + (wait - Duration::from_nanos(1));
                            prop_assert!(probe.take(almost, &pace).is_err());
                            prop_assert!(probe.take(at + wait, &pace).is_ok());
                        }
                    }
                }
            }
        }
        prop_assert!(turns.is_sorted());
        for (i, first) in turns.iter().enumerate() {
            for (count, last) in (1u32..).zip(&turns[i..]) {
                let span = (last - first) as f64 / 1e9;
                let limit = f64::from(pace.burst) + pace.per_second * span;
                prop_assert!(f64::from(count) <= limit + 1e-6, "{count} within {span} s");
            }
        }
    }

    /// Beside a bucket that is refilled: what it has a token for passes.
    #[test]
    fn nothing_is_refused_that_a_bucket_has_a_token_for(
        steps in steps(), per_second in 1u32..1_000, burst in 1u32..50,
    ) {
        // An interval of whole nanoseconds, so that both are exact.
        let interval = u64::from(1_000_000_000 / per_second);
        let pace = RateSettings {
            per_second: 1e9 / interval as f64,
            burst,
            wait: Duration::ZERO,
        };
        let rate = Rate::new();
        // In parts of a token, of which one is refilled in each nanosecond.
        let full = u64::from(burst) * interval;
        let (mut tokens, mut now) = (full, 0u64);
        for step in steps {
            match step {
                Step::Wait(span) => {
                    now += span;
                    tokens = tokens.saturating_add(span).min(full);
                }
                Step::Calls(count, _) => for _ in 0..count {
                    let taken = rate.take(Instant::from_nanos(now), &pace).is_ok();
                    prop_assert_eq!(taken, tokens >= interval);
                    tokens -= if taken { interval } else { 0 };
                }
            }
        }
    }
}
