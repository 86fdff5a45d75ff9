//! Plain futures as children (G10, G11, G13).

use std::future::{pending, poll_fn};
use std::panic::panic_any;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use callboard::{
    ChildEvent, ChildKind, ExitReason, FailureClass, Fault, Incarnation, Place, Placement,
    StartError, StopSignal, System, TaskPlace, Terms,
};
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::{FutureExt, select};

use crate::common::Log;
use crate::owner::Owned;

/// What a future of these tests does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Return,
    Fail,
    Panic,
    PanicInFactory,
    /// Ends when it is told to stop.
    Obey,
    /// Waits for what never comes.
    Ignore,
    /// Is always ready for another poll.
    Spin,
    /// Waits, and panics when it is dropped.
    Bomb,
}

/// Logs that it is gone, and may panic with it.
struct Tail(Log, bool);

impl Drop for Tail {
    fn drop(&mut self) {
        self.0.push("dropped");
        assert!(!self.1, "a drop that panics");
    }
}

/// The tail is the future's from its making on.
async fn go(way: Way, stop: StopSignal, _tail: Tail) -> Result<(), Fault> {
    match way {
        Way::Return | Way::PanicInFactory => {}
        Way::Fail => return Err(Fault::fatal("no such folder")),
        Way::Panic => panic_any(Fault::benign("a bad line")),
        Way::Obey => stop.await,
        Way::Ignore | Way::Bomb => pending().await,
        Way::Spin => {
            let spin = poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            });
            spin.await;
        }
    }
    Ok(())
}

/// A place whose futures go these ways, one after the other.
fn task(system: &System, ways: &[Way]) -> (Owned<TaskPlace>, Log) {
    let log = Log::default();
    let (inner, ways) = (log.clone(), ways.to_vec());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let place = TaskPlace::new(system, "task", move |stop| {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let way = ways[number.min(ways.len() - 1)];
        assert!(way != Way::PanicInFactory, "no future");
        go(way, stop, Tail(inner.clone(), way == Way::Bomb))
    });
    (Owned::new(place), log)
}

#[callboard::test(both)]
async fn g13_a_task_is_made_anew_and_ends_by_what_it_returns(system: System) {
    let ways = [Way::Return, Way::Fail, Way::Panic, Way::PanicInFactory];
    let (mut task, log) = task(&system, &ways);
    assert_eq!(task.place.kind(), ChildKind::Task);
    assert_eq!(task.place.label(), "task");
    task.start().await;
    assert_eq!(task.ended().await, ExitReason::Stopped);
    task.start().await;
    let fault = Fault::fatal("no such folder");
    assert_eq!(task.ended().await, ExitReason::Failed(fault));
    task.start().await;
    let fault = Fault::benign("a bad line");
    assert_eq!(task.ended().await, ExitReason::Failed(fault));
    assert_eq!(log.lines().len(), 3);
    assert_eq!(system.counters().panics(), 1);
    task.begin();
    let why = task.refused().await;
    assert_eq!(
        (why.text(), why.class()),
        ("no future", FailureClass::Recoverable)
    );
    assert_eq!(system.counters().panics(), 2);
    assert_eq!(task.place.status().incarnation, Incarnation(4));
    assert!(task.is_silent());
}

#[callboard::test(both)]
async fn g11_stop_asks_a_task_and_kill_drops_it(system: System) {
    let ways = [
        Way::Obey,
        Way::Ignore,
        Way::Spin,
        Way::Obey,
        Way::Bomb,
        Way::Obey,
    ];
    let (mut task, log) = task(&system, &ways);
    task.start().await;
    task.place.stop();
    assert_eq!(task.ended().await, ExitReason::Stopped);
    for ended in 2..=3 {
        task.start().await;
        task.place.stop();
        task.place.kill();
        assert_eq!(task.ended().await, ExitReason::Killed);
        // The future is gone when its end is told.
        assert_eq!(log.lines().len(), ended);
    }
    // What was asked of one isn't asked of the next; a kill asks to stop, too.
    task.start().await;
    assert!(task.is_silent());
    task.place.kill();
    task.place.kill();
    assert_eq!(task.ended().await, ExitReason::Killed);
    // A panic on the way out changes nothing in the reason.
    task.start().await;
    task.place.kill();
    assert_eq!(task.ended().await, ExitReason::Killed);
    assert_eq!(system.counters().panics(), 1);
    // Asked before it had a turn.
    task.begin();
    task.place.stop();
    assert_eq!(task.event().await, ChildEvent::Started);
    assert_eq!(task.ended().await, ExitReason::Stopped);
    task.begin();
    task.place.kill();
    while !task.event().await.is_last() {}
    assert!(task.is_silent(), "one last event");
}

#[callboard::test(both)]
async fn a_task_ends_with_its_place(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let place = TaskPlace::new(&system, "task", move |stop| {
        go(Way::Ignore, stop, Tail(inner.clone(), false))
    });
    let (tx, mut events) = mpsc::channel(64);
    place.start(Terms::new(Arc::new(move |_, event| {
        let _ = tx.clone().try_send(event);
    })));
    assert_eq!(events.next().await, Some(ChildEvent::Started));
    drop(place);
    let ended = ChildEvent::Ended(ExitReason::Killed);
    assert_eq!(events.next().await, Some(ended));
    assert_eq!(log.lines(), ["dropped"]);
    assert_eq!(events.next().await, None, "nothing keeps the owner");
}

#[callboard::test(both)]
async fn a_task_without_a_thread_doesnt_start_and_says_why(system: System) {
    let place = TaskPlace::new(&system, "task", |stop| stop.map(Ok::<(), Fault>));
    let mut task = Owned::new(place.placement(Placement::OwnThread));
    system.own_thread_limit(0);
    task.begin();
    let why = task.refused().await;
    assert_eq!(why.text(), StartError::TooManyThreads.to_string());
    system.own_thread_limit(1);
    task.start().await;
    task.place.stop();
    assert_eq!(task.ended().await, ExitReason::Stopped);
}

/// The owner may call the place from where it is told.
#[callboard::test(both)]
async fn an_owner_may_call_the_place_while_it_is_told(system: System) {
    let place = Arc::new(TaskPlace::new(&system, "task", |stop| {
        stop.map(Ok::<(), Fault>)
    }));
    let (tx, mut events) = mpsc::channel(64);
    let slot = Arc::new(OnceLock::<Arc<TaskPlace>>::new());
    assert!(slot.set(Arc::clone(&place)).is_ok());
    place.start(Terms::new(Arc::new(move |_, event| {
        if event == ChildEvent::Started
            && let Some(place) = slot.get()
        {
            place.kill();
        }
        let _ = tx.clone().try_send(event);
    })));
    assert_eq!(events.next().await, Some(ChildEvent::Started));
    let ended = ChildEvent::Ended(ExitReason::Killed);
    assert_eq!(events.next().await, Some(ended));
}

#[callboard::test(both)]
async fn an_owner_that_panics_is_told_of_the_end_all_the_same(system: System) {
    let place = TaskPlace::new(&system, "task", |stop| stop.map(Ok::<(), Fault>));
    let (tx, mut events) = mpsc::channel(64);
    place.start(Terms::new(Arc::new(move |_, event: ChildEvent| {
        let is_last = event.is_last();
        let _ = tx.clone().try_send(event);
        assert!(is_last, "the owner panics");
    })));
    assert_eq!(events.next().await, Some(ChildEvent::Started));
    place.stop();
    let ended = ChildEvent::Ended(ExitReason::Stopped);
    assert_eq!(events.next().await, Some(ended));
    assert_eq!(system.counters().panics(), 1);
}

#[callboard::test(both)]
async fn every_clone_of_a_signal_completes_and_one_that_is_dropped_is_forgotten(system: System) {
    let clock = system.clock().clone();
    let place = TaskPlace::new(&system, "task", move |stop: StopSignal| {
        let clock = clock.clone();
        async move {
            // Waited for and given up, over and over, beside the work.
            for _ in 0..3 {
                let pause = clock.sleep(Duration::from_millis(1));
                select(stop.clone(), pause).await;
            }
            let (one, two) = (stop.clone(), stop.clone());
            futures::join!(one, two);
            assert!(stop.is_raised());
            stop.await;
            Ok::<(), Fault>(())
        }
    });
    let mut task = Owned::new(place);
    task.start().await;
    task.place.stop();
    assert_eq!(task.ended().await, ExitReason::Stopped);
}

#[callboard::test(both)]
async fn a_signal_blocks_no_arbiter(system: System) {
    let place = TaskPlace::new(&system, "task", |stop: StopSignal| async move {
        stop.wait_timeout(Duration::MAX)?;
        Ok::<(), Fault>(())
    });
    let mut task = Owned::new(place);
    task.start().await;
    let ExitReason::Failed(why) = task.ended().await else {
        panic!("it blocked");
    };
    assert_eq!(why.class(), FailureClass::Fatal);
    assert!(why.text().contains("arbiter"), "{why}");
}

#[test]
fn a_task_ends_with_its_system_and_none_starts_after() {
    let system = System::with_arbiters(1).unwrap();
    let (mut task, log) = task(&system, &[Way::Ignore]);
    futures::executor::block_on(async {
        task.start().await;
        system.shutdown().await;
        assert_eq!(task.ended().await, ExitReason::Killed);
        assert_eq!(log.lines(), ["dropped"]);
        task.begin();
        let why = task.refused().await;
        assert_eq!(why.text(), StartError::ShutDown.to_string());
    });
}
