use super::*;

fn micros(micros: u64) -> Instant {
    Instant::default() + Duration::from_micros(micros)
}

/// One that looks out for 50 us.
fn busy_poll() -> BusyPoll {
    BusyPoll {
        span: Duration::from_micros(50),
        last: micros(0),
        is_on: false,
        misses: 0,
        skips: 0,
    }
}

#[test]
fn it_looks_out_after_what_was_carried_and_only_for_its_time() {
    let mut poll = busy_poll();
    assert!(!poll.looks_out(micros(0)), "nothing was carried yet");
    poll.went_on(micros(10));
    assert!(poll.looks_out(micros(11)));
    assert!(poll.looks_out(micros(59)));
    assert!(!poll.looks_out(micros(60)));
    assert!(!poll.looks_out(micros(61)));
}

#[test]
fn where_it_pays_every_pause_has_one() {
    let mut poll = busy_poll();
    for turn in 0..1_000 {
        poll.went_on(micros(turn * 40));
        assert!(poll.looks_out(micros(turn * 40 + 1)));
    }
}

#[test]
fn where_it_never_pays_few_pauses_have_one() {
    let mut poll = busy_poll();
    let mut some = 0;
    for turn in 0..6_400 {
        poll.went_on(micros(turn * 1_000));
        some += u32::from(poll.looks_out(micros(turn * 1_000 + 1)));
        assert!(!poll.looks_out(micros(turn * 1_000 + 50)));
    }
    assert!((100..=110).contains(&some), "{some}");
    // One that pays is enough to begin again.
    let mut turn = 6_400_000;
    while !poll.looks_out(micros(turn)) {
        turn += 1_000;
        poll.went_on(micros(turn));
    }
    poll.went_on(micros(turn + 20));
    assert_eq!(poll.misses, 0);
}

#[test]
fn it_is_off_in_virtual_time_and_where_its_time_is_zero() {
    for mut poll in [
        BusyPoll::new(&Clock::manual(), Duration::from_secs(1)),
        BusyPoll {
            span: Duration::ZERO,
            ..busy_poll()
        },
    ] {
        poll.went_on(poll.last);
        assert!(!poll.looks_out(poll.last));
    }
}
