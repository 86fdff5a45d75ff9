//! Weak references: what they find, until when, and that they keep nothing.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use callboard::{
    ActorId, Admission, Admitted, Boundary, ChildEvent, Envelope, ExitReason, Incarnation, Message,
    OnEnd, Recipient, Refused, Route, System, Threshold, Watch, WatchHandle, WeakRecipient,
    WeakRef,
};
use futures::StreamExt;
use futures::channel::mpsc;

use crate::common::{Boom, Log, Note, Worker, held_worker, worker};

#[callboard::test(both)]
async fn a_weak_reference_finds_its_actor_until_it_has_ended(system: System) {
    let (worker, log, gate) = held_worker(&system, 10).await;
    let (weak, weak_notes) = (
        worker.downgrade(),
        worker.recipient::<Note, _>().downgrade(),
    );
    assert_eq!((weak.id(), weak_notes.id()), (worker.id(), worker.id()));
    // The recipient it was made from is gone; the actor isn't.
    weak_notes.upgrade().unwrap().tell(Note(1)).await.unwrap();
    weak.upgrade().unwrap().tell(Note(2)).await.unwrap();
    // What drains takes no more, and has not ended.
    worker.drain();
    assert_eq!(weak.upgrade(), Some(worker.clone()));
    assert!(weak_notes.upgrade().is_some());
    gate.send(()).unwrap();
    assert!(worker.wait().await.is_normal());
    // Though `worker` is held.
    assert_eq!((weak.upgrade(), weak_notes.upgrade()), (None, None));
    assert_eq!(log.lines()[2..4], ["note 1", "note 2"]);
    drop(worker);
    assert_eq!((weak.upgrade(), weak_notes.upgrade()), (None, None));
}

#[callboard::test(both)]
async fn g12_who_is_told_of_an_end_upgrades_in_vain(system: System) {
    let (worker, _) = worker(&system);
    let weak = worker.downgrade();
    let (tx, rx) = futures::channel::oneshot::channel();
    worker.watch(Box::new(move |notice| {
        tx.send((notice.id, weak.upgrade().is_some())).unwrap();
    }));
    worker.kill();
    assert_eq!(rx.await.unwrap(), (worker.id(), false));
}

#[callboard::test(both)]
async fn dropping_the_last_strong_reference_ends_nothing(system: System) {
    let (worker, log) = worker(&system);
    let weak = worker.downgrade();
    drop(worker);
    let again = weak.upgrade().unwrap();
    assert_eq!(again.ask(Note(1)).await.unwrap(), 1);
    assert_eq!(log.lines(), ["note 1"]);
}

#[callboard::test(both)]
async fn g13_a_weak_reference_stays_valid_over_a_restart(system: System) {
    let log = Log::default();
    let (worker, place) = system
        .actor(move || Worker { log: log.clone() })
        .label("child")
        .place();
    let (weak, notes) = (
        worker.downgrade(),
        worker.recipient::<Note, _>().downgrade(),
    );
    // Before the first incarnation, and between two.
    assert!(weak.upgrade().is_some() && notes.upgrade().is_some());
    let (tx, mut events) = mpsc::channel(16);
    let on_event = Arc::new(move |incarnation: Incarnation, event: ChildEvent| {
        tx.clone().try_send((incarnation.0, event)).unwrap();
    });
    place.start(callboard::Terms::new(on_event.clone()));
    assert_eq!(events.next().await.unwrap(), (1, ChildEvent::Started));
    worker.ask(Boom).await.unwrap_err();
    events.next().await.unwrap();
    let between = weak.upgrade().unwrap();
    place.start(callboard::Terms::new(on_event));
    assert_eq!(events.next().await.unwrap(), (2, ChildEvent::Started));
    assert_eq!(between.ask(Note(1)).await.unwrap(), 1);
    assert_eq!(notes.upgrade().unwrap().ask(Note(2)).await.unwrap(), 2);
    place.stop();
    events.next().await.unwrap();
    place.close(ExitReason::Stopped);
    worker.wait().await;
    assert!(weak.upgrade().is_none() && notes.upgrade().is_none());
}

/// Lets everything pass; lives as long as the cell does.
struct Seal {
    _held: Arc<()>,
}

impl Admission<Note> for Seal {
    fn admit(&self, envelope: Envelope<Note>, _: &Threshold<'_, Note>) -> Admitted<Note> {
        Admitted::Pass(envelope)
    }
}

#[callboard::test(both)]
async fn a_weak_reference_keeps_nothing_of_an_actor_that_has_ended(system: System) {
    let seal = Arc::new(());
    let log = Log::default();
    let inner = log.clone();
    let worker = system
        .actor(move || Worker { log: inner })
        .admission::<Note>(Seal {
            _held: Arc::clone(&seal),
        })
        .start();
    assert_eq!(worker.ask(Note(1)).await.unwrap(), 1);
    let (weak, notes) = (
        worker.downgrade(),
        worker.recipient::<Note, _>().downgrade(),
    );
    worker.stop();
    worker.wait().await;
    // A strong reference keeps what a cell has; then only weak ones are left.
    assert_eq!(Arc::strong_count(&seal), 2);
    drop(worker);
    if system.clock().is_manual() {
        // On arbiters the turn that ended it may still be on its way out.
        assert_eq!(Arc::strong_count(&seal), 1);
    }
    assert_eq!(
        format!("{weak:?}"),
        format!("WeakRef({}, ended)", weak.id())
    );
    assert_eq!(
        format!("{notes:?}"),
        format!("WeakRecipient({}, ended)", notes.id())
    );
}

#[callboard::test(both)]
async fn weak_references_are_equal_ordered_and_hashed_by_id(system: System) {
    let (first, _) = worker(&system);
    let (second, _) = worker(&system);
    let (a, b): (WeakRef<Worker>, WeakRef<Worker>) = (first.downgrade(), second.downgrade());
    assert_eq!(a, first.clone().downgrade());
    assert_eq!(a.clone(), a);
    assert!(a != b && a < b);
    assert_eq!(HashSet::from([a.clone(), a.clone(), b.clone()]).len(), 2);
    assert_eq!(format!("{a:?}"), format!("WeakRef(worker{})", first.id()));
    let weak = |worker: &callboard::ActorRef<Worker>| worker.recipient::<Note, _>().downgrade();
    let (a, b): (WeakRecipient<Note>, _) = (weak(&first), weak(&second));
    assert_eq!(a, weak(&first));
    assert!(a != b && a < b);
    let all = BTreeSet::from([b.clone(), a.clone(), b, a.clone()]);
    assert_eq!(all.first(), Some(&a));
    assert_eq!(all.len(), 2);
    assert_eq!(
        format!("{a:?}"),
        format!("WeakRecipient(worker{})", first.id())
    );
    // By id also when it has ended: an entry can still be found, to be taken out.
    first.stop();
    first.wait().await;
    assert_eq!(a, weak(&first));
}

/// A route of somebody's own, which knows nothing of weak references.
struct Detour(Recipient<Note>);

impl Watch for Detour {
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        self.0.watch(on_end)
    }
}

impl Route<Note> for Detour {
    fn id(&self) -> ActorId {
        self.0.id()
    }

    fn label(&self) -> String {
        self.0.label()
    }

    fn boundary(&self) -> Boundary {
        self.0.boundary()
    }

    fn system(&self) -> &System {
        self.0.route().system()
    }

    fn send(&self, envelope: Envelope<Note>) -> Result<(), Refused<Note>> {
        self.0.route().send(envelope)
    }
}

#[callboard::test(both)]
async fn a_route_of_ones_own_is_found_as_long_as_somebody_holds_it(system: System) {
    let (worker, _) = worker(&system);
    let strong = Recipient::new(Arc::new(Detour(worker.recipient())));
    let weak = strong.downgrade();
    let found = weak.upgrade().unwrap();
    assert_eq!(found, strong);
    drop(strong);
    assert_eq!(found.ask(Note(1)).await.unwrap(), 1);
    drop(found);
    assert_eq!(weak.upgrade(), None);
    assert!(worker.is_alive());
}

/// Two that hold each other weakly, as caches do.
#[derive(Message)]
struct Meet(WeakRef<Worker>);

impl callboard::Handler<Meet> for Worker {
    async fn handle(&mut self, Meet(other): Meet, _: &mut callboard::Context<Self>) {
        let found = match other.upgrade() {
            Some(other) => other.ask(Note(7)).await.is_ok(),
            None => false,
        };
        self.log.push(format!("found {found}"));
    }
}

#[callboard::test(both)]
async fn a_dead_letter_that_holds_a_weak_reference_is_no_cycle(system: System) {
    let (first, log) = worker(&system);
    let (second, _) = worker(&system);
    first.ask(Meet(second.downgrade())).await.unwrap();
    second.stop();
    second.wait().await;
    first.ask(Meet(second.downgrade())).await.unwrap();
    assert_eq!(log.lines(), ["found true", "found false"]);
}
