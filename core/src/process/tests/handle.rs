//! Signals from others than the supervisor, and what a group does when its first process is gone.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::process::{ProcessRef, SignalError};

#[test]
fn a_signal_reaches_the_process_that_runs_and_nobody_else() {
    // Not SIGHUP: a shell that was started under `nohup` can't heed that one.
    let bench = Bench::shell("trap 'echo again' USR1; echo up; while :; do sleep 0.01; done");
    let process = bench.place.reference();
    assert_eq!((process.label(), process.pid()), ("sh", None));
    let error = process.signal(Signal::USR1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`sh` is not running, so SIGUSR1 was not sent"
    );
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    assert_eq!(process.pid(), bench.place.status().pid);
    assert_eq!(process.incarnation(), Incarnation(1));
    assert_eq!(read_line(&bench), "up");
    process.signal(Signal::USR1).unwrap();
    assert_eq!(read_line(&bench), "again");
    process
        .signal_incarnation(Incarnation(1), Signal::TERM)
        .unwrap();
    // By somebody else's SIGTERM: nobody asked it to stop, so that is a failure.
    assert_eq!(next(&mut events), failed("signal 15 (SIGTERM)"));
    assert_eq!(process.pid(), None);
    let error = process.signal(Signal::KILL).unwrap_err();
    assert!(matches!(error, SignalError::NotRunning { .. }), "{error}");
}

#[test]
fn g13_a_signal_meant_for_one_incarnation_spares_the_next() {
    let bench = Bench::shell("read line");
    let process = bench.place.reference();
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    process.clone().signal(Signal::KILL).unwrap();
    assert_eq!(next(&mut events), failed("signal 9 (SIGKILL)"));
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    let error = process.signal_incarnation(Incarnation(1), Signal::KILL);
    assert_eq!(
        error.unwrap_err().to_string(),
        "incarnation 1 of `sh` has ended, and 2 runs: SIGKILL was not sent"
    );
    bench.write("\n");
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
}

/// Sends signals that change nothing until told to stop. Only "it doesn't run" may be said.
fn hammer(process: &ProcessRef, done: &Arc<AtomicBool>) -> std::thread::JoinHandle<u32> {
    let (process, done) = (process.clone(), Arc::clone(done));
    std::thread::Builder::new()
        .spawn(move || {
            let mut sent = 0;
            while !done.load(Ordering::SeqCst) {
                match process.signal(Signal::CONT) {
                    Ok(()) => sent += 1,
                    Err(SignalError::NotRunning { .. }) => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            }
            sent
        })
        .unwrap()
}

#[test]
fn signals_beside_starts_and_ends_find_a_process_or_none() {
    let bench = Bench::shell("read line");
    let done = Arc::default();
    let thread = hammer(&bench.place.reference(), &done);
    for _ in 0..20 {
        let mut events = bench.start();
        assert_eq!(next(&mut events), ChildEvent::Started);
        bench.write("\n");
        assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
    }
    done.store(true, Ordering::SeqCst);
    assert!(thread.join().unwrap() > 0);
}

#[test]
fn what_a_child_started_ends_with_its_crash() {
    let script = "sleep 1000 & echo $!; read how; kill -$how $$";
    for (how, expected) in [
        ("9\n", "signal 9 (SIGKILL)"),
        ("11\n", "signal 11 (SIGSEGV)"),
    ] {
        let bench = Bench::shell(script);
        let mut events = bench.start();
        assert_eq!(next(&mut events), ChildEvent::Started);
        let grandchild: u32 = read_line(&bench).parse().unwrap();
        assert!(!is_dead(grandchild));
        bench.write(how);
        assert_eq!(next(&mut events), failed(expected));
        assert!(is_gone_or_zombie(grandchild), "after {expected}");
    }
}

#[test]
fn what_a_child_started_ends_with_it_by_a_signal_from_outside() {
    let bench = Bench::shell("sleep 1000 & echo $!; wait");
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    let grandchild: u32 = read_line(&bench).parse().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(bench.pid()).unwrap()).unwrap();
    // As an operator would, past the place.
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(next(&mut events), failed("signal 9 (SIGKILL)"));
    assert!(is_gone_or_zombie(grandchild));
}
