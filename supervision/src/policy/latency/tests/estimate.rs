//! Percentiles beside exact ones.

use std::time::Duration;

use callboard_core::clock::Instant;
use proptest::prelude::*;

use super::{MINUTE, assert_about, at, ms};
use crate::policy::latency::Latency;

#[test]
fn what_timed_out_counts_as_those_that_took_longer() {
    // Half of the callers give up after 20 ms on a callee that takes 100 ms: half of its calls don't take 20 ms.
    let latency = Latency::new();
    for _ in 0..500 {
        latency.record(at(0), ms(100), MINUTE);
        latency.cut(at(0), ms(20), MINUTE);
    }
    assert_about(latency.percentile(1.0, 1), ms(100));
    assert_about(latency.percentile(50.0, 1), ms(100));
    assert_eq!(latency.summary().unwrap().cut, 500);
}

#[test]
fn a_percentile_among_calls_that_were_all_cut_is_the_longest_limit() {
    let latency = Latency::new();
    for _ in 0..98 {
        latency.record(at(0), ms(10), MINUTE);
    }
    latency.cut(at(0), ms(20), MINUTE);
    latency.cut(at(0), ms(40), MINUTE);
    assert_about(latency.percentile(98.0, 1), ms(10));
    assert_about(latency.percentile(99.0, 1), ms(40));
    let only_cut = Latency::new();
    only_cut.cut(at(0), ms(30), MINUTE);
    assert_about(only_cut.percentile(1.0, 1), ms(30));
}

#[test]
fn the_textbooks_example() {
    // Remission in weeks under 6-mercaptopurine (Freireich and others 1963), on which Kaplan and Meier's estimate is
    // taught: median 23, and 0.6275 still in remission after 16.
    let latency = Latency::new();
    for weeks in [6, 6, 6, 7, 10, 13, 16, 22, 23] {
        latency.record(at(0), ms(weeks), MINUTE);
    }
    for weeks in [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35] {
        latency.cut(at(0), ms(weeks), MINUTE);
    }
    let percentile = |of| latency.percentile(of, 1);
    assert_about(percentile(100.0 - 85.7), ms(7));
    assert_about(percentile(100.0 - 85.8), ms(6));
    assert_about(percentile(100.0 - 62.8), ms(16));
    assert_about(percentile(100.0 - 62.7), ms(22));
    assert_about(percentile(50.0), ms(23));
    assert_about(percentile(100.0 - 44.9), ms(23));
    assert_about(percentile(100.0 - 44.7), ms(35));
}

/// By the definition, over single calls.
fn exactly(calls: &[(Duration, bool)], percentile: f64) -> Duration {
    let mut spans: Vec<Duration> = calls.iter().map(|(span, _)| *span).collect();
    spans.sort();
    spans.dedup();
    let mut unanswered = 1.0;
    for span in &spans {
        let at_risk = calls.iter().filter(|(other, _)| other >= span).count();
        let ended = calls.iter().filter(|call| **call == (*span, false)).count();
        unanswered *= 1.0 - ended as f64 / at_risk as f64;
        if unanswered <= 1.0 - percentile / 100.0 + 1e-9 {
            return *span;
        }
    }
    spans[spans.len() - 1]
}

/// Spans that the histogram tells apart, so that its slots hold no mixture: 1 to 127 us times a power of ten or so.
fn span() -> impl Strategy<Value = Duration> {
    (1u64..128, 0u32..5).prop_map(|(digits, power)| {
        let micros = if digits > 64 {
            digits << (5 * power)
        } else {
            digits
        };
        Duration::from_micros(micros)
    })
}

proptest! {
    #[test]
    fn percentiles_are_within_the_histograms_precision(
        spans in prop::collection::vec(1u64..4_000_000_000, 1..300), percentile in 0.1f64..99.99,
    ) {
        let latency = Latency::new();
        for micros in &spans {
            latency.record(at(0), Duration::from_micros(*micros), MINUTE);
        }
        let mut sorted: Vec<u64> = spans.iter().map(|micros| (*micros).min(3_600_000_000)).collect();
        sorted.sort_unstable();
        let rank = (percentile / 100.0 * sorted.len() as f64 - 1e-6).ceil() as usize;
        let exact = Duration::from_micros(sorted[rank.max(1) - 1]);
        assert_about(latency.percentile(percentile, 1), exact);
    }

    #[test]
    fn with_calls_that_were_cut_they_are_kaplan_and_meiers(
        calls in prop::collection::vec((span(), prop::bool::weighted(0.3)), 1..200),
        percentile in 1.0f64..99.9,
    ) {
        let latency = Latency::new();
        for (span, cut) in &calls {
            if *cut {
                latency.cut(Instant::default(), *span, MINUTE);
            } else {
                latency.record(Instant::default(), *span, MINUTE);
            }
        }
        assert_about(latency.percentile(percentile, 1), exactly(&calls, percentile));
    }
}
