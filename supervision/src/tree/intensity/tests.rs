use std::time::Duration;

use callboard_core::clock::Instant;
use proptest::prelude::*;

use super::Intensity;

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

#[test]
fn g15_more_than_max_within_the_period_are_too_many() {
    let mut window = Intensity::new(2, Duration::from_secs(1));
    assert!(window.restart(at(0)));
    assert!(window.restart(at(500)));
    assert!(!window.restart(at(1_000)), "exactly a period old counts");
    let mut window = Intensity::new(2, Duration::from_secs(1));
    assert!(window.restart(at(0)));
    assert!(window.restart(at(500)));
    assert!(window.restart(at(1_001)), "the window slides");
    assert!(!window.restart(at(1_002)));
}

#[test]
fn g15_no_restart_allowed_is_none() {
    let mut window = Intensity::new(0, Duration::from_secs(1));
    assert!(!window.restart(at(0)));
    assert!(!window.restart(at(0)));
}

proptest! {
    /// Against OTP's rule, written down as it is in supervisor.erl.
    #[test]
    fn g15_the_window_is_otps(
        max in 0usize..6, period in 0u64..50, steps in prop::collection::vec(0u64..30, 0..60),
    ) {
        let mut window = Intensity::new(max, Duration::from_millis(period));
        let mut otp: Vec<u64> = Vec::new();
        let mut now = 0;
        for step in steps {
            now += step;
            otp.retain(|restart| restart + period >= now);
            otp.push(now);
            let allowed = otp.len() <= max;
            prop_assert_eq!(window.restart(at(now)), allowed);
            prop_assert!(window.counted() <= max + 1);
            if !allowed {
                break; // The supervisor has given up.
            }
        }
    }
}
