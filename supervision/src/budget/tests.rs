use std::time::Duration;

use callboard_core::clock::Instant;
use proptest::prelude::*;

use super::RetryBudget;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

#[test]
fn g17_the_default_is_a_fifth_of_the_requests_plus_ten_a_second() {
    let budget = RetryBudget::default();
    let quiet = (0..1_000).filter(|_| budget.take(at(5_000))).count();
    assert_eq!(quiet, 100);
    for _ in 0..1_000 {
        budget.request(at(5_000));
    }
    let busy = (0..1_000).filter(|_| budget.take(at(5_000))).count();
    assert_eq!(busy, 200);
    assert_eq!(budget.stats().granted, 300);
    assert_eq!(budget.stats().refused, 1_700);
    // Ten seconds and a slice later all of it is forgotten.
    let later = (0..1_000).filter(|_| budget.take(at(15_101))).count();
    assert_eq!(later, 100);
}

#[test]
fn g17_a_budget_of_none_allows_none() {
    let budget = RetryBudget::none();
    budget.request(at(0));
    assert!(!budget.take(at(0)));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Requests(u64),
    Retry,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1u64..40).prop_map(Step::Requests),
        6 => Just(Step::Retry),
        2 => (0u64..400).prop_map(Step::Wait),
        1 => (0u64..3_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    /// The rule, recomputed from every single event, holds at every retry; and nothing is refused that a window
    /// two slices tighter would allow.
    #[test]
    fn g17_the_budget_is_never_exceeded_over_any_window(
        steps in steps(), share in 0u32..60, per_second in 0u32..8, window in 500u64..2_000,
    ) {
        let share = f64::from(share) / 100.0;
        let budget = RetryBudget::new(share, f64::from(per_second), Duration::from_millis(window));
        let reserve = f64::from(per_second) * Duration::from_millis(window).as_secs_f64();
        let (mut requests, mut retries): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        let mut now = 0u64;
        #[allow(clippy::cast_precision_loss)]
        let within = |events: &[u64], now: u64, span: u64| {
            events.iter().filter(|event| **event + span > now).count() as f64
        };
        for step in steps {
            match step {
                Step::Wait(ms) => now += ms,
                Step::Requests(count) => {
                    for _ in 0..count {
                        budget.request(at(now));
                        requests.push(now);
                    }
                }
                Step::Retry => {
                    let slack = window / 50 + 1;
                    let surely = within(&retries, now, window + slack) + 1.0
                        <= share * within(&requests, now, window - slack) + reserve;
                    if budget.take(at(now)) {
                        retries.push(now);
                        prop_assert!(
                            within(&retries, now, window)
                                <= share * within(&requests, now, window) + reserve + 1e-9
                        );
                    } else {
                        prop_assert!(!surely, "refused without need");
                    }
                }
            }
        }
    }
}
