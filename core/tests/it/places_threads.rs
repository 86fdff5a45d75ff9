//! Blocking threads as children (G10, G11, G13, G38).

use std::panic::panic_any;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use callboard::{
    ABANDONED_THREADS, ChildEvent, ChildKind, ExitReason, FailureClass, Fault, Place, StopSignal,
    System, ThreadPlace,
};
use futures::executor::block_on;
use parking_lot::Mutex;

use crate::owner::Owned;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3_600);

type Work = Box<dyn FnOnce(StopSignal) -> Result<(), Fault> + Send>;

/// A place whose threads do what is sent, one piece each.
fn works(system: &System) -> (ThreadPlace, Sender<Work>) {
    let (tx, rx) = channel::<Work>();
    let rx = Mutex::new(rx);
    let place = ThreadPlace::new(system, "thread", move |stop| {
        let work = rx.lock().recv().unwrap();
        work(stop)
    });
    (place, tx)
}

fn give(works: &Sender<Work>, work: impl FnOnce(StopSignal) -> Result<(), Fault> + Send + 'static) {
    works.send(Box::new(work)).unwrap();
}

/// Blocks for as long as the gate lasts, whatever the signal says; then tells whether it was raised.
fn give_stuck(works: &Sender<Work>) -> (Sender<()>, Receiver<bool>) {
    let (gate_tx, gate) = channel();
    let (raised_tx, raised) = channel();
    give(works, move |stop| {
        let _ = gate.recv();
        let _ = raised_tx.send(stop.is_raised());
        Ok(())
    });
    (gate_tx, raised)
}

fn with_system(test: impl AsyncFnOnce(&System)) {
    let system = System::with_arbiters(1).unwrap();
    block_on(async {
        test(&system).await;
        system.shutdown().await;
    });
}

#[test]
fn g13_a_thread_is_started_anew_and_ends_by_what_it_returns() {
    with_system(async |system| {
        let (place, works) = works(system);
        let mut thread = Owned::new(place);
        assert_eq!(thread.place.kind(), ChildKind::Thread);
        assert_eq!(thread.place.label(), "thread");
        give(&works, |_| {
            assert_eq!(std::thread::current().name(), Some("thread"));
            Ok(())
        });
        thread.start().await;
        assert_eq!(thread.ended().await, ExitReason::Stopped);
        give(&works, |_| Err(Fault::fatal("no device")));
        thread.start().await;
        let fault = Fault::fatal("no device");
        assert_eq!(thread.ended().await, ExitReason::Failed(fault));
        give(&works, |_| panic_any(Fault::benign("a bad line")));
        thread.start().await;
        let fault = Fault::benign("a bad line");
        assert_eq!(thread.ended().await, ExitReason::Failed(fault));
        assert_eq!(system.counters().panics(), 1);
        assert!(thread.is_silent());
    });
}

#[test]
fn g11_stop_asks_a_thread_that_rests_on_its_signal() {
    with_system(async |system| {
        let (place, works) = works(system);
        let mut thread = Owned::new(place);
        for _ in 0..2 {
            let (looked_tx, looked) = channel();
            give(&works, move |stop| {
                assert!(!stop.wait_timeout(Duration::ZERO)?, "not yet");
                let _ = looked_tx.send(());
                assert!(stop.wait_timeout(LONG)?);
                assert!(stop.wait_timeout(LONG)?, "it stays raised");
                Ok(())
            });
            thread.start().await;
            looked.recv().unwrap();
            thread.place.stop();
            assert_eq!(thread.ended().await, ExitReason::Stopped);
        }
        assert!(thread.is_silent());
    });
}

#[test]
fn g11_a_thread_cant_be_killed_and_that_is_told() {
    with_system(async |system| {
        let (place, works) = works(system);
        let mut thread = Owned::new(place);
        let (gate, raised) = give_stuck(&works);
        thread.start().await;
        thread.place.kill();
        let told = thread.event().await;
        let ChildEvent::NoProgress(why) = told else {
            panic!("{told:?}");
        };
        assert_eq!(
            why,
            "thread `thread` was killed and still runs: a thread ends only by itself"
        );
        thread.place.kill();
        assert!(thread.is_silent(), "told once, and no end");
        drop(gate);
        assert!(raised.recv().unwrap(), "a kill asks to stop, too");
        assert_eq!(thread.ended().await, ExitReason::Killed);
        // A failure stays one.
        give(&works, |stop| {
            stop.wait_timeout(LONG)?;
            Err("on the way out".into())
        });
        thread.start().await;
        thread.place.kill();
        let mut told = thread.event().await;
        // Unless it was quicker than the kill.
        if matches!(told, ChildEvent::NoProgress(_)) {
            told = thread.event().await;
        }
        let fault = Fault::from("on the way out");
        assert_eq!(told, ChildEvent::Ended(ExitReason::Failed(fault)));
        assert_eq!(system.counters().abandoned_threads(), 0);
        thread.place.kill();
        assert!(thread.is_silent(), "there is none to kill");
    });
}

#[test]
fn g13_a_stuck_thread_is_abandoned_by_choice_and_another_starts() {
    with_system(async |system| {
        let (place, works) = works(system);
        let mut thread = Owned::new(place.abandon_when_stuck().abandon_limit(2));
        let (first_gate, first) = give_stuck(&works);
        thread.start().await;
        thread.place.kill();
        assert_eq!(thread.ended().await, ExitReason::Killed);
        assert_eq!(thread.place.status().abandoned, 1);
        assert_eq!(system.counters().abandoned_threads(), 1);
        // Another beside it.
        let (second_gate, second) = give_stuck(&works);
        thread.start().await;
        thread.place.kill();
        assert_eq!(thread.ended().await, ExitReason::Killed);
        assert_eq!(thread.place.status().abandoned, 2);
        // And no more.
        thread.begin();
        let why = thread.refused().await;
        assert!(
            why.text()
                .starts_with("2 abandoned threads of `thread` still run, and 2 may"),
            "{why}"
        );
        // They end, which nobody is told, and there is room again.
        drop((first_gate, second_gate));
        assert!(first.recv().unwrap() && second.recv().unwrap());
        give(&works, |stop| {
            stop.wait_timeout(LONG)?;
            Ok(())
        });
        loop {
            thread.begin();
            match thread.event().await {
                ChildEvent::Started => break,
                ChildEvent::StartFailed(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(thread.place.status().abandoned < 2);
        thread.place.stop();
        assert_eq!(thread.ended().await, ExitReason::Stopped);
        thread.place.kill();
        assert_eq!(system.counters().abandoned_threads(), 2, "it had ended");
        assert!(thread.is_silent());
    });
}

#[test]
fn abandoned_threads_have_a_limit_unless_told_otherwise() {
    with_system(async |system| {
        let (place, works) = works(system);
        let mut thread = Owned::new(place.abandon_when_stuck());
        let mut gates = Vec::new();
        for _ in 0..ABANDONED_THREADS {
            gates.push(give_stuck(&works));
            thread.start().await;
            thread.place.kill();
            assert_eq!(thread.ended().await, ExitReason::Killed);
        }
        thread.begin();
        thread.refused().await;
        assert_eq!(thread.place.status().abandoned, ABANDONED_THREADS);
    });
}

/// Kills that come while a thread ends: one last event each time, and none is counted that isn't there.
#[test]
fn g13_a_kill_beside_an_end_is_one_end() {
    with_system(async |system| {
        let (place, works) = works(system);
        let mut thread = Owned::new(place.abandon_when_stuck().abandon_limit(1_000));
        for _ in 0..200 {
            give(&works, |_| Ok(()));
            thread.start().await;
            thread.place.kill();
            let reason = thread.ended().await;
            let ends = [ExitReason::Stopped, ExitReason::Killed];
            assert!(ends.contains(&reason), "{reason}");
        }
        assert!(thread.is_silent());
        // When the place is closed to more, those that were abandoned have come to their ends.
        drop(works);
        while thread.place.status().abandoned > 0 {
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_thread_is_asked_to_stop_when_its_place_is_dropped() {
    with_system(async |system| {
        let (place, works) = works(system);
        let (tx, rx) = channel();
        give(&works, move |stop| {
            let _ = tx.send(stop.wait_timeout(LONG)?);
            Ok(())
        });
        let mut thread = Owned::new(place);
        thread.start().await;
        drop(thread);
        assert!(rx.recv().unwrap());
    });
}

#[callboard::test]
async fn g38_a_thread_is_outside_the_simulation_and_says_so(system: System) {
    let place = ThreadPlace::new(&system, "thread", |_| Ok::<(), Fault>(()));
    let mut thread = Owned::new(place);
    thread.begin();
    let why = thread.refused().await;
    assert_eq!(why.class(), FailureClass::Fatal);
    assert!(why.text().contains("can't be simulated"), "{why}");
    thread.place.kill();
    assert!(thread.is_silent());
}
