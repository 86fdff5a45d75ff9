//! The seams: places (G13), admission, boundaries, placement.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard::{
    Actor, Admission, Admitted, Boundary, ChildEvent, Context, Envelope, ExitReason, Failure,
    FailureKind, Handler, Incarnation, Message, Placement, System, Verdict,
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
    place.start(on_event.clone());
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
    place.start(on_event);
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

struct Doorman(AtomicU64);

impl Admission<Note> for Arc<Doorman> {
    fn admit(&self, envelope: Envelope<Note>) -> Admitted<Note> {
        self.0.fetch_add(1, Ordering::SeqCst);
        match envelope.message.0 {
            7 => {
                envelope.responder.send(777);
                Admitted::Taken
            }
            13 => Admitted::Refused(
                envelope,
                Failure::new(FailureKind::NotAuthorised, Verdict::NotExecuted),
            ),
            _ => Admitted::Pass(envelope),
        }
    }
}

#[callboard::test(both)]
async fn an_admission_passes_answers_or_refuses_before_the_handler(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let doorman = Arc::new(Doorman(AtomicU64::new(0)));
    let worker = system
        .actor(move || Worker { log: inner })
        .admission::<Note>(Arc::clone(&doorman))
        .start();
    assert_eq!(worker.ask(Note(1)).await.unwrap(), 1);
    assert_eq!(worker.ask(Note(7)).await.unwrap(), 777);
    let error = worker.ask(Note(13)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NotAuthorised);
    assert_eq!(error.into_message(), Some(Note(13)));
    assert_eq!(log.lines(), ["note 1"]);
    assert_eq!(doorman.0.load(Ordering::SeqCst), 3);
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
