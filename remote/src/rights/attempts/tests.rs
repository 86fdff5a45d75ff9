use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Instant {
    Instant::default() + Duration::from_secs(seconds)
}

fn origin(number: u32) -> Origin {
    Origin::named(&format!("host-{number}"))
}

/// An attempt that fails at once, or how long it has to wait.
fn fail(
    attempts: &mut Attempts,
    name: &str,
    origin: &Origin,
    now: Instant,
) -> Result<(), Duration> {
    attempts.begin(name, origin, now)?;
    attempts.end(name, origin, now, false);
    Ok(())
}

#[test]
fn g35_failures_from_one_origin_wait_twice_as_long_each_time() {
    let mut attempts = Attempts::new(AttemptLimits::default());
    let here = origin(1);
    // Other names make no difference.
    for number in 0..5 {
        assert_eq!(
            fail(&mut attempts, &format!("n{number}"), &here, at(0)),
            Ok(())
        );
    }
    let mut now = at(0);
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900] {
        let wait = Duration::from_secs(wait);
        assert_eq!(fail(&mut attempts, "alice", &here, now), Err(wait));
        // Waiting is told exactly, and attempts meanwhile make it no longer.
        let almost = now + (wait - Duration::from_nanos(1));
        assert_eq!(
            fail(&mut attempts, "alice", &here, almost),
            Err(Duration::from_nanos(1))
        );
        now = now + wait;
        assert_eq!(fail(&mut attempts, "bob", &here, now), Ok(()));
    }
    // Others aren't concerned.
    assert_eq!(fail(&mut attempts, "carol", &origin(2), now), Ok(()));
}

#[test]
fn g35_a_name_is_locked_from_everywhere_but_where_it_was_known() {
    let mut attempts = Attempts::new(AttemptLimits::default());
    let home = origin(0);
    attempts.begin("alice", &home, at(0)).unwrap();
    attempts.end("alice", &home, at(0), true);
    for number in 1..=20 {
        assert_eq!(fail(&mut attempts, "alice", &origin(number), at(0)), Ok(()));
    }
    assert_eq!(
        fail(&mut attempts, "alice", &origin(21), at(0)),
        Err(SECOND)
    );
    // Its owner is let in where it always was, and other names from everywhere.
    assert_eq!(attempts.begin("alice", &home, at(0)), Ok(()));
    attempts.end("alice", &home, at(0), true);
    assert_eq!(fail(&mut attempts, "bob", &origin(21), at(0)), Ok(()));
}

#[test]
fn g35_a_success_forgives_nothing_and_time_all() {
    let mut attempts = Attempts::new(AttemptLimits::default());
    let here = origin(1);
    for _ in 0..5 {
        // Who knows one secret guesses at another.
        assert_eq!(fail(&mut attempts, "alice", &here, at(0)), Ok(()));
        if attempts.begin("mallory", &here, at(0)).is_ok() {
            attempts.end("mallory", &here, at(0), true);
        }
    }
    assert_eq!(fail(&mut attempts, "alice", &here, at(0)), Err(SECOND));
    let hour = 60 * 60;
    assert_eq!(fail(&mut attempts, "alice", &here, at(hour - 1)), Ok(()));
    assert_eq!(
        fail(&mut attempts, "alice", &here, at(hour - 1)),
        Err(2 * SECOND)
    );
    for _ in 0..5 {
        let now = at(2 * hour);
        assert_eq!(fail(&mut attempts, "alice", &here, now), Ok(()));
    }
    assert!(fail(&mut attempts, "alice", &here, at(2 * hour)).is_err());
}

#[test]
fn g35_attempts_that_begin_together_are_no_way_round_the_limit() {
    let mut attempts = Attempts::new(AttemptLimits::default());
    let here = origin(1);
    let begun = (0..1_000)
        .filter(|_| attempts.begin("alice", &here, at(0)).is_ok())
        .count();
    assert_eq!(begun, 5);
    for _ in 0..begun {
        attempts.end("alice", &here, at(0), false);
    }
    let now = at(10);
    let begun = (0..1_000)
        .filter(|_| attempts.begin("alice", &here, now).is_ok())
        .count();
    assert_eq!(begun, 1, "past the free ones they come one at a time");
}

#[test]
fn g03_the_tables_are_bounded_and_who_waits_longest_stays() {
    let limits = AttemptLimits {
        table: 8,
        free_per_origin: 1,
        ..AttemptLimits::default()
    };
    let mut attempts = Attempts::new(limits);
    let bad = origin(0);
    let mut now = at(0);
    for _ in 0..8 {
        if let Err(wait) = fail(&mut attempts, "alice", &bad, now) {
            now = now + wait;
            fail(&mut attempts, "alice", &bad, now).unwrap();
        }
    }
    for number in 1..100 {
        // From its own origin each, with a name of its own.
        let name = format!("n{number}");
        assert_eq!(fail(&mut attempts, &name, &origin(number), now), Ok(()));
        assert!(attempts.origins.tries.len() <= 8);
        assert!(attempts.names.tries.len() <= 8);
    }
    assert!(fail(&mut attempts, "alice", &bad, now).is_err());
    assert!(attempts.evicted() > 0);
    // Who has to wait gets no entry for each name it makes up.
    let before = attempts.evicted();
    for number in 0..100 {
        let name = format!("made-up-{number}");
        assert!(fail(&mut attempts, &name, &bad, now).is_err());
    }
    assert_eq!(attempts.evicted(), before);
}

proptest! {
    /// However attempts are timed and spread over names, one origin has no more of them looked at than the free ones
    /// and one for each wait.
    #[test]
    fn g35_an_origin_guesses_no_faster_than_the_waits_allow(
        gaps in proptest::collection::vec((0..3_000u64, 0..5u32), 1..300),
    ) {
        let limits = AttemptLimits::default();
        let mut attempts = Attempts::new(limits.clone());
        let here = origin(1);
        let (mut now, mut looked_at) = (Instant::default(), 0u32);
        for (gap, name) in gaps {
            now = now + Duration::from_millis(gap);
            if fail(&mut attempts, &format!("n{name}"), &here, now).is_ok() {
                looked_at += 1;
            }
            // The model: after the free ones the k-th costs 1, 2, 4 ... seconds, capped.
            let mut most = limits.free_per_origin;
            let mut left = now.since(Instant::default());
            let mut wait = limits.first_wait;
            while left >= wait {
                left -= wait;
                wait = (wait * 2).min(limits.longest_wait);
                most += 1;
            }
            prop_assert!(looked_at <= most, "{looked_at} of at most {most} at {now:?}");
        }
    }
}
