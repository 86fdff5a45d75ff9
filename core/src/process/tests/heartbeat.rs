//! Silence, as a supervisor hears of it. The rule itself is tested at `pulse`, on a clock that stands still.

use super::*;
const LIMIT: Duration = Duration::from_millis(50);

/// Says something by itself, and at each SIGUSR1.
const ASKED: &str = "trap 'echo beat' USR1; echo up; while :; do sleep 1000 & wait $!; done";

fn silence() -> ChildEvent {
    ChildEvent::NoProgress("no sign of life for 50ms".to_owned())
}

fn beating(script: &str) -> ProcessSpec {
    let shell = ProcessSpec::new("sh").arg("-c").arg(script);
    shell.heartbeat(LIMIT)
}

/// Reads from the newest stream, until its end, beside the test.
fn keep_reading(bench: &Bench) {
    let mut stream = bench.streams.lock().pop().unwrap();
    let place = bench
        .system
        .spawn(Placement::Pinned(0), move || async move {
            while let Ok(1..) = stream.read(&mut [0; 64]).await {}
        });
    assert!(place);
}

#[test]
fn a_plain_process_that_says_nothing_is_told_once_for_each_silence() {
    let bench = Bench::plain(beating(ASKED));
    let process = bench.place.reference();
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    assert_eq!(next(&mut events), silence());
    for _ in 0..3 {
        process.signal(Signal::USR1).unwrap();
        assert_eq!(next(&mut events), silence());
    }
    bench.place.stop();
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
    assert_eq!(block_on(events.next()), None);
}

#[test]
fn g11_a_frozen_process_is_noticed_and_can_be_killed() {
    let bench = Bench::new(beating(
        "sleep 1000 & while :; do echo beat; sleep 0.01; done",
    ));
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    keep_reading(&bench);
    bench.place.reference().signal(Signal::STOP).unwrap();
    // On a machine that is busy enough it may have been silent before, too.
    assert_eq!(next(&mut events), silence());
    let pid = bench.pid();
    bench.place.kill();
    loop {
        match next(&mut events) {
            event if event == silence() => {}
            event => break assert_eq!(event, ChildEvent::Ended(ExitReason::Killed)),
        }
    }
    assert!(!exists(pid));
}

#[test]
fn what_lies_unread_is_the_readers_silence() {
    let unread = Bench::new(beating("echo up; exec sleep 1000"));
    let mut waiting = unread.start();
    assert_eq!(next(&mut waiting), ChildEvent::Started);
    let name = format!("/proc/{}/comm", unread.pid());
    while std::fs::read_to_string(&name).unwrap().trim() != "sleep" {
        std::thread::yield_now();
    }
    // It has written. The same limit now passes six times for another.
    let other = Bench::plain(beating(ASKED));
    let process = other.place.reference();
    let mut events = other.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    assert_eq!(next(&mut events), silence());
    // It may have been slow to start, and that was a silence.
    let _ = waiting.try_recv();
    for _ in 0..5 {
        process.signal(Signal::USR1).unwrap();
        assert_eq!(next(&mut events), silence());
    }
    assert!(waiting.try_recv().is_err(), "blamed for its reader");
    assert_eq!(read_line(&unread), "up");
    assert_eq!(next(&mut waiting), silence());
}

#[test]
fn who_was_asked_to_stop_has_its_shutdown_time_and_no_heartbeat() {
    // What it says when its stdin ends is a sign, and what follows is a new silence.
    let script = "trap '' TERM; read line; echo ending; sleep 0.3; exit 0";
    let bench = Bench::plain(beating(script));
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    assert_eq!(next(&mut events), silence());
    bench.place.stop();
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
    assert_eq!(block_on(events.next()), None);
}
