//! The seams: places (G13), boundaries, placement.

use std::future::IntoFuture;
use std::sync::Arc;

use callboard::{
    Actor, Boundary, ChildEvent, Context, ExitReason, Handler, Incarnation, Message, Placement,
    System, Terms,
};
use futures::StreamExt;
use futures::channel::mpsc;

use crate::common::{Boom, Log, Note, Worker};

#[callboard::test(both)]
async fn g13_references_and_queued_messages_outlive_an_incarnation(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let (worker, place) = system
        .actor(move || Worker { log: inner.clone() })
        .label("child")
        .place();
    let (tx, mut events) = mpsc::channel(16);
    let on_event = Arc::new(move |incarnation: Incarnation, event: ChildEvent| {
        tx.clone().try_send((incarnation.0, event)).unwrap();
    });
    // Before any incarnation the mailbox takes messages already.
    worker.tell(Note(1)).await.unwrap();
    place.start(callboard::Terms::new(on_event.clone()));
    assert_eq!(events.next().await.unwrap(), (1, ChildEvent::Started));
    worker.ask(Boom).await.unwrap_err();
    let ended = events.next().await.unwrap();
    assert_eq!(
        ended,
        (1, ChildEvent::Ended(ExitReason::Failed("boom".into())))
    );
    // The value is gone by now, the mailbox is not.
    assert_eq!(log.lines(), ["note 1", "dropped"]);
    worker.tell(Note(2)).await.unwrap();
    place.start(callboard::Terms::new(on_event));
    assert_eq!(events.next().await.unwrap(), (2, ChildEvent::Started));
    assert_eq!(worker.ask(Note(3)).await.unwrap(), 3);
    assert_eq!(log.lines()[2..], ["note 2", "note 3"]);
    assert_eq!(worker.incarnation(), Incarnation(2));
    place.stop();
    assert_eq!(
        events.next().await.unwrap(),
        (2, ChildEvent::Ended(ExitReason::Stopped))
    );
    place.close(ExitReason::Stopped);
    assert!(worker.wait().await.is_normal());
}

/// Says what lies between it and another.
struct Looker;

#[derive(Message)]
#[message(reply = Boundary)]
struct Look(callboard::ActorRef<Worker>);

impl Actor for Looker {}

impl Handler<Look> for Looker {
    async fn handle(&mut self, Look(other): Look, _: &mut Context<Self>) -> Boundary {
        other.boundary()
    }
}

#[callboard::test(both)]
async fn the_boundary_is_known_to_every_reference(system: System) {
    let looker = system
        .actor(|| Looker)
        .placement(Placement::Pinned(0))
        .start();
    let near = system
        .actor(|| Worker {
            log: Log::default(),
        })
        .near(&looker)
        .start();
    let far = system
        .actor(|| Worker {
            log: Log::default(),
        })
        .placement(Placement::Pinned(1))
        .start();
    assert_eq!(looker.ask(Look(near)).await.unwrap(), Boundary::SameThread);
    let expected = if system.arbiter_count() > 1 {
        Boundary::SameProcess
    } else {
        Boundary::SameThread
    };
    assert_eq!(looker.ask(Look(far)).await.unwrap(), expected);
}

/// Nobody can start it any more: who waits for it isn't left waiting.
#[callboard::test(both)]
async fn g12_an_actor_whose_place_is_dropped_unused_has_stopped(system: System) {
    let log = Log::default();
    let make = move || Worker { log: log.clone() };
    let (worker, place) = system.actor(make).place();
    let asked = worker.ask(Note(1)).no_deadline().into_future();
    let stopped = async {
        drop(place);
        worker.wait().await
    };
    let (asked, reason) = futures::future::join(asked, stopped).await;
    assert_eq!(reason, ExitReason::Stopped);
    let failure = asked.unwrap_err();
    assert_eq!(failure.verdict(), callboard::Verdict::NotExecuted);
}

/// The same when its start was refused: it has no incarnation.
#[callboard::test(both)]
async fn g12_an_actor_that_had_no_thread_ends_with_its_place(system: System) {
    let log = Log::default();
    let make = move || Worker { log: log.clone() };
    let made = system.actor(make).placement(Placement::OwnThread);
    let (worker, place) = made.place();
    system.own_thread_limit(0);
    let (tx, refused) = futures::channel::oneshot::channel();
    let tx = std::sync::Mutex::new(Some(tx));
    place.start(Terms::new(Arc::new(move |_, event| {
        let tx = tx.lock().unwrap().take();
        assert!(tx.unwrap().send(event).is_ok());
    })));
    assert!(matches!(refused.await.unwrap(), ChildEvent::StartFailed(_)));
    drop(place);
    assert_eq!(worker.wait().await, ExitReason::Stopped);
}
