//! An adopted actor is an actor: mailbox, deadlines, verdicts, stop and kill, watch, restart.

use std::sync::Arc;
use std::time::Duration;

use actix::AsyncContext;
use callboard::actix::{FromActix, NativeAddr, OWED_ANSWERS, adopt, adopt_with};
use callboard::{
    ChildEvent, DropReason, ExitReason, FailureKind, Incarnation, Overflow, Recipient, Simulation,
    System, Terminated, Verdict, Watch,
};
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};

use super::{Alone, Apart, Beside, Boom, Clerk, Gate, Note, Quit, asking, clerk, ended, settle};
use crate::common::Log;

#[callboard::test(arbiters)]
async fn g02_an_adopted_actor_handles_in_order_and_answers(system: System) {
    for _ in 0..2 {
        // Once on this thread and once on another.
        let (clerk, log) = clerk(&system);
        for n in 1..=100 {
            clerk.tell(Note(n)).await.unwrap();
        }
        let recipient: Recipient<Note> = clerk.recipient();
        assert_eq!(recipient.ask(Note(101)).await.unwrap(), 101);
        let notes: Vec<String> = (1..=101).map(|n| format!("note {n}")).collect();
        assert_eq!(log.lines()[1..], notes);
        assert_eq!(log.lines()[0], "started");
    }
}

#[callboard::test(arbiters)]
async fn g01_an_atomic_response_holds_the_mailbox_and_other_futures_do_not(system: System) {
    let (clerk, log) = clerk(&system);
    let (gate, began, open) = Gate::new();
    let beside = asking(&clerk, Beside(gate));
    began.await.unwrap();
    // Handled while that future waits.
    settle(&clerk).await;
    let (gate, began, open_alone) = Gate::new();
    let alone = asking(&clerk, Alone(gate));
    began.await.unwrap();
    let note = asking(&clerk, Note(7));
    // In the mailbox, or about to be; held back in any case.
    clerk.tell(Note(8)).await.unwrap();
    open_alone.send(()).unwrap();
    assert_eq!(alone.await.unwrap(), Ok(1));
    assert_eq!(note.await.unwrap(), Ok(7));
    settle(&clerk).await;
    let lines = log.lines();
    assert_eq!(lines[..3], ["started", "note 0", "alone ends"]);
    assert_eq!(lines.len(), 6);
    open.send(()).unwrap();
    assert_eq!(beside.await.unwrap(), Ok(2));
}

#[callboard::test(arbiters)]
async fn g03_the_mailbox_of_an_adopted_actor_has_a_bound_that_holds(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let make = move || Clerk {
        log: inner.clone(),
        stays: false,
    };
    let clerk = system.actor(adopt(make)).mailbox(2, Overflow::Fail).start();
    let (gate, began, open) = Gate::new();
    clerk.try_tell(Alone(gate)).unwrap();
    began.await.unwrap();
    clerk.try_tell(Note(1)).unwrap();
    clerk.try_tell(Note(2)).unwrap();
    // Also through a clone, which is where actix's own bound gives way.
    let error = clerk.clone().try_tell(Note(3)).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Full);
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert_eq!(error.into_message(), Some(Note(3)));
    open.send(()).unwrap();
    clerk.drain();
    clerk.wait().await;
    assert_eq!(log.lines()[1..4], ["alone ends", "note 1", "note 2"]);
}

#[callboard::test(arbiters)]
async fn g09_what_expires_before_its_turn_is_not_executed(system: System) {
    let (clerk, log) = clerk(&system);
    let (gate, began, open) = Gate::new();
    let alone = asking(&clerk, Alone(gate));
    began.await.unwrap();
    let deadline = Duration::from_millis(5);
    let error = clerk.ask(Note(1)).deadline(deadline).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    // A tell with a deadline has nobody to tell it to but the dead letters.
    clerk.tell(Note(2)).deadline(deadline).await.unwrap();
    system.clock().sleep(2 * deadline).await;
    open.send(()).unwrap();
    alone.await.unwrap().unwrap();
    settle(&clerk).await;
    assert_eq!(log.lines(), ["started", "alone ends", "note 0"]);
    assert_eq!(system.counters().drops(DropReason::Expired), 2);
}

#[callboard::test(arbiters)]
async fn g09_an_ask_that_ran_out_of_time_in_its_handler_is_executed(system: System) {
    let (clerk, _) = clerk(&system);
    let (gate, began, open) = Gate::new();
    let asking = clerk.ask(Beside(gate)).deadline(Duration::from_millis(5));
    assert_eq!(
        ended(asking.await),
        Err((FailureKind::DeadlineExceeded, Verdict::Executed))
    );
    began.await.unwrap();
    open.send(()).unwrap();
    // G8: its answer reaches nobody and is counted.
    while system.counters().drops(DropReason::LateReply) == 0 {
        settle(&clerk).await;
    }
}

#[callboard::test(arbiters)]
async fn g11_stop_runs_the_hooks_and_hands_the_rest_to_dead_letters(system: System) {
    for stays in [false, true] {
        let log = Log::default();
        let inner = log.clone();
        let make = move || Clerk {
            log: inner.clone(),
            stays,
        };
        let clerk = system.actor(adopt(make)).start();
        let (gate, began, open) = Gate::new();
        let alone = asking(&clerk, Alone(gate));
        began.await.unwrap();
        clerk.tell(Note(1)).await.unwrap();
        clerk.stop();
        open.send(()).unwrap();
        // The message in hand finishes.
        assert_eq!(alone.await.unwrap(), Ok(1));
        assert_eq!(clerk.wait().await, ExitReason::Stopped);
        let lines = log.lines();
        assert_eq!(lines[..3], ["started", "alone ends", "stopping"]);
        assert_eq!(lines[lines.len() - 2..], ["stopped", "dropped"]);
        assert!(!lines.contains(&"note 1".to_owned()));
        let letters = system.dead_letters().take();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].reason, DropReason::Stopped);
        assert_eq!(letters[0].message.downcast_ref(), Some(&Note(1)));
        let error = clerk.tell(Note(2)).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Stopped);
        assert_eq!(error.into_message(), Some(Note(2)));
    }
}

#[callboard::test(arbiters)]
async fn g11_drain_handles_what_is_queued_and_kill_drops_what_runs(system: System) {
    let (drained, log) = clerk(&system);
    for n in 1..=20 {
        drained.tell(Note(n)).await.unwrap();
    }
    drained.drain();
    assert_eq!(drained.wait().await, ExitReason::Stopped);
    assert_eq!(log.lines().len(), 1 + 20 + 3);

    let (killed, log) = clerk(&system);
    let (gate, began, _open) = Gate::new();
    let alone = asking(&killed, Alone(gate));
    began.await.unwrap();
    killed.kill();
    assert_eq!(
        alone.await.unwrap(),
        Err((FailureKind::Killed, Verdict::Executed))
    );
    assert_eq!(killed.wait().await, ExitReason::Killed);
    // None of its hooks.
    assert_eq!(log.lines(), ["started", "dropped"]);
}

#[callboard::test(arbiters)]
async fn g12_an_actor_that_stops_itself_has_stopped_and_its_watcher_is_told(system: System) {
    let (clerk, log) = clerk(&system);
    let (tx, told) = oneshot::channel::<Terminated>();
    clerk.watch(Box::new(move |notice| drop(tx.send(notice))));
    // Its own answer comes all the same.
    clerk.ask(Quit).await.unwrap();
    let notice = told.await.unwrap();
    assert_eq!((notice.id, &*notice.label), (clerk.id(), "clerk"));
    assert_eq!(notice.reason, ExitReason::Stopped);
    assert_eq!(log.lines(), ["started", "stopping", "stopped", "dropped"]);
}

#[callboard::test(arbiters)]
async fn g13_references_and_queued_messages_outlive_an_adopted_actor(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let make = move || Clerk {
        log: inner.clone(),
        stays: false,
    };
    let (clerk, place) = system.actor(adopt(make)).label("child").place();
    let (tx, mut events) = mpsc::channel(16);
    let on_event = Arc::new(move |incarnation: Incarnation, event: ChildEvent| {
        tx.clone().try_send((incarnation.0, event)).unwrap();
    });
    clerk.tell(Note(1)).await.unwrap();
    place.start(callboard::Terms::new(on_event.clone()));
    assert_eq!(events.next().await.unwrap(), (1, ChildEvent::Started));
    clerk.tell(Boom).await.unwrap();
    clerk.tell(Note(2)).await.unwrap();
    let failed = ChildEvent::Ended(ExitReason::Failed("boom".into()));
    assert_eq!(events.next().await.unwrap(), (1, failed));
    // The value is gone by now, without a hook; the mailbox is not.
    assert_eq!(log.lines(), ["started", "note 1", "boom", "dropped"]);
    place.start(callboard::Terms::new(on_event));
    assert_eq!(events.next().await.unwrap(), (2, ChildEvent::Started));
    assert_eq!(clerk.ask(Note(3)).await.unwrap(), 3);
    assert_eq!(log.lines()[4..], ["started", "note 2", "note 3"]);
    place.stop();
    let stopped = ChildEvent::Ended(ExitReason::Stopped);
    assert_eq!(events.next().await.unwrap(), (2, stopped));
    place.close(ExitReason::Stopped);
    assert!(clerk.wait().await.is_normal());
}

#[callboard::test(arbiters)]
async fn native_senders_reach_the_same_actor_and_their_last_address_does_not_stop_it(
    system: System,
) {
    let (clerk, log) = clerk(&system);
    let native = clerk.ask(NativeAddr::new()).await.unwrap();
    assert_eq!(native.send(Note(5)).await.unwrap(), 5);
    drop(native);
    assert_eq!(clerk.ask(Note(6)).await.unwrap(), 6);
    assert_eq!(log.lines(), ["started", "note 5", "note 6"]);
}

/// A message of somebody who knows no Callboard.
struct Foreign(u64);

impl actix::Message for Foreign {
    type Result = Option<u64>;
}

impl actix::Handler<Foreign> for Clerk {
    type Result = Option<u64>;

    fn handle(&mut self, Foreign(n): Foreign, _: &mut Self::Context) -> Option<u64> {
        Some(n)
    }
}

#[callboard::test(arbiters)]
async fn messages_of_other_crates_come_in_a_wrapper(system: System) {
    let (clerk, _) = clerk(&system);
    assert_eq!(clerk.ask(FromActix(Foreign(4))).await.unwrap(), Some(4));
}

#[callboard::test(arbiters)]
async fn a_factory_can_use_the_context_and_know_the_actor(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let (tx, mut me) = mpsc::channel(1);
    let make = adopt_with(move |ctx: &mut actix::Context<Clerk>, me| {
        // Handled before any other: it is in actix's mailbox when the actor starts.
        ctx.address().do_send(Note(1));
        tx.clone().try_send(me).unwrap();
        Clerk {
            log: inner.clone(),
            stays: false,
        }
    });
    let clerk = system.actor(make).start();
    settle(&clerk).await;
    assert_eq!(log.lines(), ["started", "note 1", "note 0"]);
    assert_eq!(me.next().await.unwrap(), clerk);
}

#[callboard::test(arbiters)]
async fn g03_no_more_answers_are_owed_than_the_bound(system: System) {
    let (clerk, log) = clerk(&system);
    let mut open = Vec::new();
    let mut asked = Vec::new();
    for _ in 0..OWED_ANSWERS {
        let (gate, began, gate_open) = Gate::new();
        asked.push(asking(&clerk, Apart(gate)));
        began.await.unwrap();
        open.push(gate_open);
    }
    let one_more = asking(&clerk, Note(1));
    let deadline = Duration::from_millis(5);
    let error = clerk.ask(Note(2)).deadline(deadline).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert_eq!(log.lines(), ["started"]);
    open.pop().unwrap().send(()).unwrap();
    assert_eq!(one_more.await.unwrap(), Ok(1));
    open.into_iter().for_each(|open| open.send(()).unwrap());
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(3));
    }
}

#[callboard::test(arbiters)]
async fn an_actor_that_fails_to_start_has_failed(system: System) {
    struct Stillborn;
    impl actix::Actor for Stillborn {
        type Context = actix::Context<Self>;
        fn started(&mut self, _: &mut Self::Context) {
            panic!("stillborn");
        }
    }
    let (actor, place) = system.actor(adopt(|| Stillborn)).place();
    let (tx, mut events) = mpsc::channel(1);
    place.start(callboard::Terms::new(Arc::new(move |_, event| {
        tx.clone().try_send(event).unwrap();
    })));
    let failed = ChildEvent::StartFailed("stillborn".into());
    assert_eq!(events.next().await.unwrap(), failed);
    place.close(ExitReason::Failed("never came up".into()));
    assert!(!actor.wait().await.is_normal());
}

#[test]
fn g38_on_the_simulating_executor_an_adopted_actor_does_not_start() {
    let mut simulation = Simulation::new(1);
    let system = simulation.system().clone();
    let reason = simulation.block_on(async {
        let (clerk, _) = clerk(&system);
        clerk.tell(Note(1)).await.unwrap();
        clerk.wait().await
    });
    let no_actix = callboard::StartError::NoActix.to_string();
    assert_eq!(reason, ExitReason::Failed(no_actix.into()));
    // The message wasn't lost.
    assert_eq!(system.counters().drops(DropReason::Stopped), 1);
}

#[callboard::test(arbiters)]
async fn g09_an_ask_that_was_withdrawn_before_its_handler_is_never_begun(system: System) {
    let (clerk, log) = clerk(&system);
    let (gate, began, open) = Gate::new();
    let alone = asking(&clerk, Alone(gate));
    began.await.unwrap();
    let boom = asking(&clerk, Boom);
    while clerk.mailbox().len == 0 {
        tokio::task::yield_now().await;
    }
    boom.abort();
    assert!(boom.await.unwrap_err().is_cancelled());
    open.send(()).unwrap();
    alone.await.unwrap().unwrap();
    settle(&clerk).await;
    assert_eq!(log.lines(), ["started", "alone ends", "note 0"]);
    assert_eq!(system.counters().drops(DropReason::Withdrawn), 1);
}
