use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callboard_core::clock::Instant;

use super::{Breaker, BreakerState, Ended, Pass, Refusal};
use crate::policy::settings::BreakerSettings;

mod model;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Opens after three in a row, for 1 s, 4 s at most.
fn settings() -> BreakerSettings {
    BreakerSettings {
        consecutive: 3,
        max_open: ms(4_000),
        window: ms(2_000),
        ..BreakerSettings::default()
    }
}

fn call(breaker: &Breaker, now: Instant, settings: &BreakerSettings, how: Ended) {
    let pass = breaker.enter(now, settings).unwrap();
    breaker.ended(pass, now, settings, how);
}

fn fail(breaker: &Breaker, now: Instant, settings: &BreakerSettings, times: u32) {
    for _ in 0..times {
        call(breaker, now, settings, Ended::Failed);
    }
}

#[track_caller]
fn assert_refused<T>(result: Result<T, Refusal>, retry_after: u64) {
    assert_eq!(
        result.err().map(|refusal| refusal.retry_after),
        Some(ms(retry_after))
    );
}

fn is_closed(breaker: &Breaker, now: Instant) -> bool {
    matches!(breaker.state(now), BreakerState::Closed { .. })
}

#[test]
fn failures_in_a_row_open_it_and_a_success_between_does_not_let_them() {
    let (breaker, settings) = (Breaker::new(), settings());
    for _ in 0..4 {
        fail(&breaker, at(0), &settings, 2);
        call(&breaker, at(0), &settings, Ended::Good);
    }
    fail(&breaker, at(0), &settings, 2);
    call(&breaker, at(0), &settings, Ended::Nothing);
    let state = BreakerState::Closed {
        failures_in_a_row: 2,
        calls: 14,
        failures: 10,
    };
    assert_eq!(breaker.state(at(0)), state);
    fail(&breaker, at(10), &settings, 1);
    let state = BreakerState::Open {
        until: at(1_010),
        times: 1,
    };
    assert_eq!(breaker.state(at(10)), state);
    assert_eq!(breaker.opened(), 1);
    assert_refused(breaker.look(at(11), &settings), 999);
    assert_refused(breaker.enter(at(1_009), &settings), 1);
    assert_eq!(breaker.look(at(1_010), &settings), Ok(()));
}

#[test]
fn too_large_a_share_opens_it_once_there_are_calls_enough() {
    let settings = BreakerSettings {
        consecutive: 1_000,
        rate: 0.3,
        min_calls: 10,
        ..settings()
    };
    let breaker = Breaker::new();
    // Two of nine, then three of ten: exactly the share.
    for now in 0..7 {
        call(&breaker, at(now), &settings, Ended::Good);
    }
    fail(&breaker, at(7), &settings, 2);
    assert!(is_closed(&breaker, at(7)));
    fail(&breaker, at(8), &settings, 1);
    assert!(!is_closed(&breaker, at(8)));

    // What has left the window counts no longer.
    let breaker = Breaker::new();
    fail(&breaker, at(0), &settings, 2);
    for _ in 0..9 {
        call(&breaker, at(2_000), &settings, Ended::Good);
    }
    fail(&breaker, at(2_000), &settings, 1);
    let state = BreakerState::Closed {
        failures_in_a_row: 1,
        calls: 10,
        failures: 1,
    };
    assert_eq!(breaker.state(at(2_000)), state);
}

#[test]
fn only_so_many_probes_may_try_and_all_must_succeed() {
    let settings = BreakerSettings {
        probes: 2,
        ..settings()
    };
    let breaker = Breaker::new();
    fail(&breaker, at(0), &settings, 3);
    let first = breaker.enter(at(1_000), &settings).unwrap();
    let second = breaker.enter(at(1_000), &settings).unwrap();
    assert_refused(breaker.enter(at(1_000), &settings), 1_000);
    assert_refused(breaker.look(at(1_000), &settings), 1_000);
    breaker.ended(first, at(1_001), &settings, Ended::Good);
    // A probe that succeeded keeps its place: the second decides.
    assert_refused(breaker.look(at(1_001), &settings), 1_000);
    let state = BreakerState::HalfOpen {
        under_way: 1,
        succeeded: 1,
        times: 1,
    };
    assert_eq!(breaker.state(at(1_001)), state);
    breaker.ended(second, at(1_002), &settings, Ended::Good);
    let state = BreakerState::Closed {
        failures_in_a_row: 0,
        calls: 0,
        failures: 0,
    };
    assert_eq!(breaker.state(at(1_002)), state, "it begins anew");
}

#[test]
fn a_probe_that_says_nothing_gives_its_place_back() {
    let (breaker, settings) = (Breaker::new(), settings());
    fail(&breaker, at(0), &settings, 3);
    for _ in 0..5 {
        call(&breaker, at(1_000), &settings, Ended::Nothing);
    }
    call(&breaker, at(1_000), &settings, Ended::Good);
    assert!(is_closed(&breaker, at(1_000)));
}

#[test]
fn what_began_before_it_opened_decides_nothing_after() {
    let (breaker, settings) = (Breaker::new(), settings());
    let old: Vec<Pass> = (0..6)
        .map(|_| breaker.enter(at(0), &settings).unwrap())
        .collect();
    fail(&breaker, at(0), &settings, 3);
    breaker.ended(old[0], at(10), &settings, Ended::Good);
    assert!(breaker.look(at(10), &settings).is_err(), "still open");
    let probe = breaker.enter(at(1_000), &settings).unwrap();
    breaker.ended(old[1], at(1_000), &settings, Ended::Good);
    breaker.ended(old[2], at(1_000), &settings, Ended::Failed);
    breaker.ended(old[3], at(1_000), &settings, Ended::Nothing);
    assert!(breaker.look(at(1_000), &settings).is_err(), "one probe");
    breaker.ended(probe, at(1_000), &settings, Ended::Good);
    breaker.ended(old[4], at(1_000), &settings, Ended::Failed);
    let state = BreakerState::Closed {
        failures_in_a_row: 0,
        calls: 0,
        failures: 0,
    };
    assert_eq!(breaker.state(at(1_000)), state);
    // A probe of an earlier try decides nothing either.
    fail(&breaker, at(2_000), &settings, 3);
    breaker.ended(probe, at(9_000), &settings, Ended::Good);
    assert!(!is_closed(&breaker, at(9_000)));
}

#[test]
fn the_open_time_doubles_to_its_longest_and_is_forgiven_after_a_good_spell() {
    let (breaker, settings) = (Breaker::new(), settings());
    fail(&breaker, at(0), &settings, 3);
    let mut now = 1_000;
    for open in [2_000, 4_000, 4_000] {
        call(&breaker, at(now), &settings, Ended::Failed);
        assert_refused(breaker.look(at(now), &settings), open);
        now += open;
    }
    // It was open for 4 s last; being closed for less than that forgives nothing.
    call(&breaker, at(now), &settings, Ended::Good);
    fail(&breaker, at(now + 3_999), &settings, 3);
    assert_refused(breaker.look(at(now + 3_999), &settings), 4_000);
    now += 7_999;
    call(&breaker, at(now), &settings, Ended::Good);
    fail(&breaker, at(now + 4_000), &settings, 3);
    assert_refused(breaker.look(at(now + 4_000), &settings), 1_000);
    assert_eq!(breaker.opened(), 6);
}

#[test]
fn settings_changed_while_it_is_not_closed_act_at_once() {
    let breaker = Breaker::new();
    let long = BreakerSettings {
        open: ms(60_000),
        max_open: ms(60_000),
        probes: 3,
        ..settings()
    };
    fail(&breaker, at(0), &long, 3);
    let short = BreakerSettings {
        open: ms(100),
        max_open: ms(100),
        ..long.clone()
    };
    assert_refused(breaker.look(at(10), &short), 100);
    assert_refused(breaker.look(at(60), &short), 50);
    // Half open; one of three probes succeeded, and one is all that is asked for now.
    call(&breaker, at(110), &short, Ended::Good);
    let one = BreakerSettings { probes: 1, ..short };
    assert_eq!(breaker.look(at(111), &one), Ok(()));
    call(&breaker, at(111), &one, Ended::Good);
    assert!(is_closed(&breaker, at(111)));
}

#[test]
fn the_window_may_change_while_it_is_counted_in() {
    let narrow = BreakerSettings {
        consecutive: 1_000,
        min_calls: 1_000,
        ..settings()
    };
    let wide = BreakerSettings {
        window: ms(60_000),
        ..narrow.clone()
    };
    let breaker = Breaker::new();
    fail(&breaker, at(100_000), &narrow, 4);
    fail(&breaker, at(100_500), &wide, 3);
    // Seven of them in a minute; the slices that were taken over are among them.
    let BreakerState::Closed { failures, .. } = breaker.state(at(101_999)) else {
        panic!("it opened");
    };
    assert!((3..=7).contains(&failures), "{failures}");
    fail(&breaker, at(103_000), &narrow, 1);
    let state = breaker.state(at(103_000));
    assert!(
        matches!(state, BreakerState::Closed { failures: 1, .. }),
        "the older ones have left the narrow window: {state:?}"
    );
}

#[test]
fn exactly_the_probes_pass_under_threads() {
    const ROUNDS: u64 = 200;
    let settings = BreakerSettings {
        probes: 3,
        open: ms(1),
        max_open: ms(1),
        ..settings()
    };
    let breaker = Breaker::new();
    fail(&breaker, at(0), &settings, 3);
    let begin = Barrier::new(4);
    let passed: Vec<AtomicU32> = (0..ROUNDS).map(|_| AtomicU32::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let now = at(10 * (round + 1));
                    begin.wait();
                    let passes: Vec<Pass> = (0..5)
                        .filter_map(|_| breaker.enter(now, &settings).ok())
                        .collect();
                    let mine = u32::try_from(passes.len()).unwrap();
                    passed[usize::try_from(round).unwrap()].fetch_add(mine, Ordering::SeqCst);
                    begin.wait();
                    // One failure opens it again; whoever ends later belongs to an older generation.
                    for pass in passes {
                        breaker.ended(pass, now, &settings, Ended::Failed);
                    }
                    begin.wait();
                }
            });
        }
    });
    assert!(passed.iter().all(|count| count.load(Ordering::SeqCst) == 3));
    assert_eq!(breaker.opened(), ROUNDS + 1);
}

#[test]
fn ends_of_many_threads_are_all_counted() {
    let settings = BreakerSettings {
        consecutive: u32::MAX,
        min_calls: u32::MAX,
        ..settings()
    };
    let breaker = Breaker::new();
    call(&breaker, at(5_000), &settings, Ended::Good);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..10_000 {
                    let how = if i % 4 == 0 {
                        Ended::Failed
                    } else {
                        Ended::Good
                    };
                    call(&breaker, at(5_000), &settings, how);
                }
            });
        }
    });
    let state = breaker.state(at(5_000));
    assert!(
        matches!(
            state,
            BreakerState::Closed {
                calls: 40_001,
                failures: 10_000,
                ..
            }
        ),
        "{state:?}"
    );
}
