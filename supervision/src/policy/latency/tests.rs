use std::time::Duration;

use callboard_core::clock::Instant;

use super::Latency;
use crate::policy::settings::AdaptiveSettings;

mod estimate;
mod spiral;

const MINUTE: Duration = Duration::from_secs(60);

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// At most so much above, which is what two digits leave open.
#[track_caller]
fn assert_about(found: Option<Duration>, exact: Duration) {
    let found = found.expect("enough samples");
    assert!(
        found >= exact && found <= exact.mul_f64(1.01) + Duration::from_micros(1),
        "{found:?} instead of {exact:?}"
    );
}

#[test]
fn percentiles_wait_for_samples_enough() {
    let latency = Latency::new();
    assert_eq!(latency.percentile(50.0, 0), None, "nothing is known");
    assert_eq!(latency.summary(), None);
    for n in 1..=99 {
        latency.record(at(0), ms(n), MINUTE);
        assert_eq!(latency.percentile(50.0, 100), None);
    }
    latency.record(at(0), ms(100), MINUTE);
    assert_eq!(latency.samples(), 100);
    assert_about(latency.percentile(50.0, 100), ms(50));
    assert_about(latency.percentile(99.0, 100), ms(99));
    assert_about(latency.percentile(99.9, 100), ms(100));
    let summary = latency.summary().unwrap();
    assert_eq!((summary.samples, summary.cut), (100, 0));
    assert_about(Some(summary.p90), ms(90));
    assert_about(Some(summary.max), ms(100));
}

#[test]
fn spans_beyond_both_ends_count_as_the_ends() {
    let latency = Latency::new();
    latency.record(at(0), Duration::ZERO, MINUTE);
    latency.record(at(0), Duration::from_nanos(1), MINUTE);
    latency.cut(at(0), Duration::MAX, MINUTE);
    latency.record(at(0), Duration::MAX, Duration::MAX);
    let hour = Duration::from_secs(3_600);
    let summary = latency.summary().unwrap();
    assert_eq!(summary.p50, Duration::from_micros(1));
    assert_eq!(summary.max, hour);
    let settings = AdaptiveSettings {
        percentile: 99.0,
        factor: 100.0,
        ceiling: Duration::MAX,
        min_samples: 1,
        ..AdaptiveSettings::default()
    };
    assert_eq!(latency.limit(&settings), Some(hour * 100));
    latency.record(Instant::FAR, ms(1), MINUTE);
    assert_eq!(latency.samples(), 1, "all the others have faded");
}

#[test]
fn the_limit_lies_between_its_floor_and_its_ceiling() {
    let latency = Latency::new();
    let settings = AdaptiveSettings {
        floor: ms(15),
        ceiling: ms(100),
        min_samples: 10,
        ..AdaptiveSettings::default()
    };
    assert_eq!(latency.limit(&settings), None, "not enough samples");
    let limit_at = |span| {
        for _ in 0..5_000 {
            latency.record(at(0), span, MINUTE);
        }
        latency.limit(&settings)
    };
    assert_eq!(limit_at(ms(2)), Some(ms(15)));
    assert_about(limit_at(ms(20)), ms(40));
    assert_eq!(limit_at(ms(400)), Some(ms(100)));
}

#[test]
fn a_call_counts_half_after_a_half_life_and_nothing_after_many() {
    let latency = Latency::new();
    for _ in 0..1_000 {
        latency.record(at(0), ms(10), MINUTE);
    }
    latency.record(at(60_000), ms(10), MINUTE);
    assert_eq!(latency.samples(), 501);
    latency.record(at(90_000), ms(10), MINUTE);
    assert!((320..=360).contains(&latency.samples()), "along a line");
    // Ten half-lives later a thousand calls are one, and after twenty they are none.
    latency.record(at(600_000), ms(80), MINUTE);
    assert_eq!(latency.samples(), 2);
    assert_about(latency.percentile(60.0, 1), ms(80));
    latency.record(at(1_200_000), ms(80), MINUTE);
    assert_eq!(latency.samples(), 1);
    assert_about(latency.percentile(0.1, 1), ms(80));
}

#[test]
fn few_calls_at_an_even_rate_are_always_as_many() {
    // 150 in a half-life make 1.44 times as many in all, and not 150 now and 300 a moment later.
    let latency = Latency::new();
    for n in 0..3_000 {
        latency.record(at(n * 400), ms(10), MINUTE);
        if n > 1_500 {
            assert!((200..=235).contains(&latency.samples()), "{n}");
        }
    }
}

#[test]
fn what_is_known_follows_what_is_measured() {
    let latency = Latency::new();
    for _ in 0..1_000 {
        latency.record(at(0), ms(10), MINUTE);
    }
    assert_about(latency.percentile(90.0, 1), ms(10));
    // One of nine is enough to move it; known at most 256 calls later.
    for _ in 0..112 + 256 {
        latency.record(at(1), ms(70), MINUTE);
    }
    assert_about(latency.percentile(90.0, 1), ms(70));
    // More percentiles than are kept at once: each is right whenever it is asked for.
    for round in 0..3 {
        for of in 1..20 {
            let exact = if of < 15 { ms(10) } else { ms(70) };
            let found = latency.percentile(f64::from(of * 5), 1);
            assert_about(found, exact);
        }
        latency.record(at(round), ms(70), MINUTE);
    }
}

#[test]
fn threads_that_read_see_values_of_the_percentile_they_asked_for() {
    let latency = Latency::new();
    for n in 1..=1_000 {
        latency.record(at(0), ms(n), MINUTE);
    }
    std::thread::scope(|scope| {
        let latency = &latency;
        scope.spawn(move || {
            for n in 0..2_000 {
                latency.record(at(0), ms(n % 1_000 + 1), MINUTE);
            }
        });
        for thread in 0..3 {
            scope.spawn(move || {
                for n in 0..2_000u32 {
                    // Now one of twelve, of which eight are kept.
                    let of = f64::from((n + thread) % 12 + 1) * 8.0;
                    let found = latency.percentile(of, 1).unwrap();
                    // Uneven while the other one adds, by one round of a thousand at most.
                    let (low, high) = (of * 4.9, of * 10.2 + 1.0);
                    let millis = found.as_secs_f64() * 1e3;
                    assert!((low..=high).contains(&millis), "{millis} for {of}");
                }
            });
        }
    });
}
