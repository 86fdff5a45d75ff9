use std::sync::Barrier;
use std::time::Duration;

use callboard_core::clock::Instant;
use proptest::prelude::*;

use super::{COUNT, COUNT_BITS, Ledger, Ring};
use crate::policy::settings::BudgetSettings;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn over(seconds: u64) -> BudgetSettings {
    BudgetSettings {
        window: Duration::from_secs(seconds),
        ..BudgetSettings::default()
    }
}

fn granted_of(tries: u32, ledger: &Ledger, now: Instant, settings: &BudgetSettings) -> usize {
    (0..tries).filter(|_| ledger.take(now, settings)).count()
}

#[test]
fn g17_the_default_is_a_fifth_of_the_requests_plus_ten_a_second() {
    let (ledger, settings) = (Ledger::new(), BudgetSettings::default());
    assert_eq!(granted_of(1_000, &ledger, at(15_000), &settings), 100);
    for _ in 0..1_000 {
        ledger.request(at(15_000));
    }
    assert_eq!(ledger.left(at(15_000), &settings), 200.0);
    assert_eq!(granted_of(1_000, &ledger, at(15_000), &settings), 200);
    assert_eq!((ledger.granted(), ledger.refused()), (300, 1_700));
    // A moment less than the window later all of it counts; a slice more, and it is forgotten.
    assert_eq!(granted_of(1_000, &ledger, at(24_999), &settings), 0);
    assert_eq!(granted_of(1_000, &ledger, at(25_101), &settings), 100);
}

#[test]
fn g17_a_budget_of_nothing_allows_nothing() {
    let nothing = BudgetSettings {
        share: 0.0,
        per_second: 0.0,
        ..BudgetSettings::default()
    };
    let ledger = Ledger::new();
    ledger.request(at(0));
    assert!(!ledger.take(at(0), &nothing));
    assert_eq!(ledger.left(at(0), &nothing), 0.0);
}

#[test]
fn g17_policies_with_other_windows_share_the_count() {
    let ledger = Ledger::new();
    let tight = BudgetSettings {
        share: 0.1,
        per_second: 0.0,
        window: Duration::from_secs(1),
    };
    let wide = BudgetSettings {
        share: 0.1,
        per_second: 0.0,
        window: Duration::from_secs(60),
    };
    for ms in 0..1_000 {
        ledger.request(at(60_000 + ms));
    }
    // Both see the same requests, and what one takes the other has no more.
    assert_eq!(granted_of(60, &ledger, at(60_999), &tight), 60);
    assert_eq!(granted_of(60, &ledger, at(60_999), &wide), 40);
    // The long window remembers what the short one has forgotten.
    for ms in 0..100 {
        ledger.request(at(70_000 + ms));
    }
    assert_eq!(granted_of(20, &ledger, at(70_100), &wide), 10);
    assert_eq!(granted_of(20, &ledger, at(70_100), &tight), 0);
    // A minute after the first requests only the later ones count.
    assert_eq!(ledger.left(at(121_000), &wide), 0.0);
    for _ in 0..1_000 {
        ledger.request(at(121_500));
    }
    assert_eq!(ledger.left(at(121_500), &wide), 100.0 + 10.0 - 10.0);
}

#[test]
fn g17_who_is_late_is_counted_in_its_own_time() {
    let ledger = Ledger::new();
    let settings = BudgetSettings {
        share: 1.0,
        per_second: 0.0,
        window: Duration::from_secs(1),
    };
    ledger.request(at(10_500));
    // Read the clock before the other one, and was held up; it still counts, but for no longer than it should.
    ledger.request(at(10_000));
    assert_eq!(ledger.left(at(10_500), &settings), 2.0);
    assert_eq!(ledger.left(at(11_000), &settings), 1.0);
    // So late that its place belongs to a later slice: it is left out, and doesn't count there.
    ledger.request(at(10_500 - 10_100));
    assert_eq!(ledger.left(at(10_500), &settings), 2.0);
}

#[test]
fn g17_a_retry_with_an_old_reading_is_granted_only_what_the_newest_is() {
    let ledger = Ledger::new();
    let settings = BudgetSettings {
        share: 1.0,
        per_second: 0.0,
        window: Duration::from_secs(1),
    };
    ledger.request(at(9_500));
    ledger.request(at(10_100));
    assert!(ledger.take(at(11_000), &settings), "of the second request");
    assert!(!ledger.take(at(10_300), &settings), "the first is too old");
    assert_eq!(ledger.left(at(10_300), &settings), 0.0);
}

#[test]
fn a_slice_that_is_full_counts_no_further_and_every_instant_has_one() {
    let ring = Ring::new(7);
    ring.slots[3].store((3 << COUNT_BITS) | COUNT, super::Ordering::Relaxed);
    ring.count(3);
    assert_eq!(ring.of(3), COUNT);
    ring.count(10);
    assert_eq!((ring.of(3), ring.of(10)), (0, 1));
    let (ledger, settings) = (Ledger::new(), over(60));
    ledger.request(Instant::FAR);
    assert_eq!(ledger.left(Instant::FAR, &settings), 600.2);
    assert!(ledger.take(Instant::FAR, &settings));
}

#[test]
fn g17_requests_of_many_threads_are_all_counted() {
    const THREADS: u64 = 4;
    const EACH: u64 = 20_000;
    let (ledger, settings) = (Ledger::new(), over(1));
    let begin = Barrier::new(4);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (ledger, begin) = (&ledger, &begin);
            scope.spawn(move || {
                begin.wait();
                for i in 0..EACH {
                    // Over nine slices, each thread in another order, while slots pass from an older turn.
                    ledger.request(at(10_100 + (i * (thread + 1)) % 900));
                }
            });
        }
    });
    let left = ledger.left(at(11_000), &settings);
    assert_eq!(left, 0.2 * (THREADS * EACH) as f64 + 10.0);
}

#[test]
fn g17_threads_together_take_no_more_than_there_is() {
    let (ledger, settings) = (Ledger::new(), BudgetSettings::default());
    for _ in 0..500 {
        ledger.request(at(1_000));
    }
    let begin = Barrier::new(4);
    let granted: usize = std::thread::scope(|scope| {
        let takers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    begin.wait();
                    granted_of(200, &ledger, at(1_000), &settings)
                })
            })
            .collect();
        takers.into_iter().map(|taker| taker.join().unwrap()).sum()
    });
    assert_eq!(granted, 200);
    assert_eq!((ledger.granted(), ledger.refused()), (200, 600));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many, by a caller whose clock reading is that many ms behind.
    Requests(u64, u64),
    /// By which policy, and how far behind its reading is.
    Retry(usize, u64),
    Wait(u64),
}

fn steps(late: u64) -> impl Strategy<Value = Vec<Step>> {
    let late = move || prop_oneof![3 => Just(0), 1 => 0..=late];
    let step = prop_oneof![
        3 => (1u64..40, late()).prop_map(|(count, late)| Step::Requests(count, late)),
        6 => (0usize..2, late()).prop_map(|(who, late)| Step::Retry(who, late)),
        2 => (0u64..400).prop_map(Step::Wait),
        1 => (0u64..30_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..400)
}

fn budgets() -> impl Strategy<Value = BudgetSettings> {
    let window = prop_oneof![1_000u64..3_000, 1_000u64..60_001];
    (0u32..60, 0u32..8, window).prop_map(|(share, per_second, window)| BudgetSettings {
        share: f64::from(share) / 100.0,
        per_second: f64::from(per_second),
        window: Duration::from_millis(window),
    })
}

/// How many of the events lie within `span` ms before `now`.
#[allow(clippy::cast_precision_loss)]
fn within(events: &[u64], now: u64, span: u64) -> f64 {
    events.iter().filter(|event| **event + span > now).count() as f64
}

proptest! {
    /// The rule, recomputed from every single event, holds at every retry, for the policy that asks; readings of the
    /// clock may be late.
    #[test]
    fn g17_the_budget_is_never_exceeded_over_any_window(
        steps in steps(500), budgets in [budgets(), budgets()],
    ) {
        let ledger = Ledger::new();
        let (mut requests, mut retries): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        let mut now = 100_000u64;
        let mut last = 0;
        for step in steps {
            match step {
                Step::Wait(ms) => now += ms,
                Step::Requests(count, late) => for _ in 0..count {
                    ledger.request(at(now - late));
                    requests.push(now - late);
                }
                Step::Retry(who, late) => {
                    let settings = &budgets[who];
                    let window = u64::try_from(settings.window.as_millis()).unwrap();
                    if ledger.take(at(now - late), settings) {
                        // At the latest retry so far, which this one may only seem to precede.
                        last = last.max(now - late);
                        retries.push(now - late);
                        let limit = settings.share * within(&requests, last, window)
                            + settings.per_second * settings.window.as_secs_f64();
                        prop_assert!(within(&retries, last, window) <= limit + 1e-9);
                    }
                }
            }
        }
        prop_assert_eq!(ledger.granted(), retries.len() as u64);
    }

    /// What a window that is two slices tighter would allow isn't refused.
    #[test]
    fn g17_nothing_is_refused_without_need(steps in steps(0), settings in budgets()) {
        // Requests of before the long window was asked for are not known to it.
        let ledger = Ledger::new();
        let _ = ledger.left(at(0), &settings);
        let window = u64::try_from(settings.window.as_millis()).unwrap();
        let (mut requests, mut retries): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        let mut now = 0u64;
        for step in steps {
            match step {
                Step::Wait(ms) => now += ms,
                Step::Requests(count, _) => for _ in 0..count {
                    ledger.request(at(now));
                    requests.push(now);
                }
                Step::Retry(..) => {
                    let limit = settings.share * within(&requests, now, window - 200)
                        + settings.per_second * settings.window.as_secs_f64();
                    let surely = within(&retries, now, window + 200) + 1.0 <= limit - 1e-9;
                    let left = ledger.left(at(now), &settings);
                    let granted = ledger.take(at(now), &settings);
                    prop_assert_eq!(granted, left >= 1.0, "what is shown is what is granted");
                    if granted {
                        retries.push(now);
                    } else {
                        prop_assert!(!surely, "refused without need");
                    }
                }
            }
        }
    }
}
