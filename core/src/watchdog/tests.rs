use super::*;

const LIMIT: Duration = Duration::from_millis(100);

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

/// Looks at one arbiter at these times (ms), in these turns. Answers when something was reported.
fn reports(looks: &[(u64, u64)]) -> Vec<(u64, Instant, Duration)> {
    let mut eyes = Eyes::default();
    let mut reports = Vec::new();
    for (millis, turn) in looks {
        eyes.open(at(*millis));
        if let Some((since, lasted)) = eyes.see(1, *turn, LIMIT) {
            reports.push((*millis, since, lasted));
        }
    }
    reports
}

#[test]
fn g07_a_turn_is_reported_once_when_it_has_lasted_for_the_limit() {
    let found = reports(&[(50, 7), (100, 7), (150, 7), (200, 7), (900, 7)]);
    assert_eq!(found, [(150, at(50), LIMIT)]);
}

#[test]
fn g07_another_turn_counts_anew_and_is_another_block() {
    assert_eq!(reports(&[(50, 7), (100, 7), (150, 8), (200, 8)]), []);
    let found = reports(&[(0, 7), (50, 7), (100, 7), (150, 8), (200, 8), (250, 8)]);
    let when: Vec<_> = found.iter().map(|(millis, ..)| *millis).collect();
    assert_eq!(when, [100, 250]);
}

#[test]
fn an_idle_arbiter_is_not_blocked() {
    assert_eq!(reports(&[(0, 0), (50, 0), (100, 0), (150, 0)]), []);
    assert_eq!(reports(&[(0, 7), (50, 0), (100, 7), (150, 7)]), []);
}

#[test]
fn a_process_that_was_frozen_is_not_blocked() {
    assert_eq!(reports(&[(0, 7), (10_000, 7), (10_010, 8)]), []);
    let found = reports(&[(0, 7), (10_000, 7), (10_050, 7)]);
    assert_eq!(found.len(), 1, "unless it goes on after that");
}

#[test]
fn an_arbiter_that_was_not_looked_at_for_a_time_counts_anew() {
    let mut eyes = Eyes::default();
    for millis in [50, 100, 150, 200] {
        eyes.open(at(millis));
        if millis != 100 {
            assert_eq!(eyes.see(1, 7, LIMIT), None, "{millis}");
        }
    }
}

#[test]
fn limits_bound_how_often_the_watchdog_looks() {
    let period = |shared, own| {
        Limits {
            shared,
            own,
            handlers: None,
        }
        .period()
    };
    assert_eq!(period(None, None), None);
    assert_eq!(period(Some(BLOCK_LIMIT), None), Some(BLOCK_LIMIT / 2));
    assert_eq!(period(Some(BLOCK_LIMIT), Some(LIMIT)), Some(LIMIT / 2));
    assert_eq!(period(Some(Duration::ZERO), None), Some(LEAST_LIMIT / 2));
}
