//! Names: who has one, until when, and that racing callers start one actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Duration;

use callboard::{
    Actor, ActorRef, BadName, ChildEvent, Context, ExitReason, Handler, Incarnation, MAX_NAME,
    Message, NamedStartError, Names, Placement, RegisterError, StartFailure, System, Terminated,
    Watch,
};
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use futures::future::join_all;

use crate::common::{Boom, Log, Note, Worker, held_worker, worker};

#[callboard::test(both)]
async fn a_name_is_given_found_listed_and_taken_away(system: System) {
    let names = system.names();
    let (first, _) = worker(&system);
    assert_eq!(names.lookup::<Worker>("clerk"), Ok(None));
    names.register("clerk", &first).unwrap();
    names.register("bursar", &first).unwrap();
    assert_eq!(names.lookup("clerk"), Ok(Some(first.clone())));
    let all: Vec<_> = names.all();
    let listed: Vec<_> = all.iter().map(|name| (&*name.name, name.id)).collect();
    assert_eq!(listed, [("bursar", first.id()), ("clerk", first.id())]);
    assert_eq!(all[0].label, "worker");
    assert_eq!(all[0].type_name, std::any::type_name::<Worker>());
    assert!(names.unregister("clerk"));
    assert!(!names.unregister("clerk"));
    assert_eq!(names.lookup::<Worker>("clerk"), Ok(None));
    // It goes on, and somebody else can have the name.
    assert_eq!(first.ask(Note(1)).await.unwrap(), 1);
    let (second, _) = worker(&system);
    names.register("clerk", &second).unwrap();
    assert_eq!(names.lookup("clerk"), Ok(Some(second)));
}

#[callboard::test(both)]
async fn a_taken_name_says_who_has_it(system: System) {
    let (first, _) = worker(&system);
    let (second, _) = worker(&system);
    system.names().register("clerk", &first).unwrap();
    let error = system.names().register("clerk", &second).unwrap_err();
    assert!(matches!(&error, RegisterError::Taken(taken) if taken.id == first.id()));
    let expected = format!("the name \"clerk\" is taken by worker{}", first.id());
    assert_eq!(error.to_string(), expected);
    assert_eq!(system.names().lookup("clerk"), Ok(Some(first)));
}

#[callboard::test(both)]
async fn bad_names_are_refused_everywhere(system: System) {
    let (worker, _) = worker(&system);
    let refused = |name: &str| {
        let by_hand = system.names().register(name, &worker).unwrap_err();
        let spawn = system.actor(|| -> Worker { panic!("bug: nothing is to be started") });
        assert_eq!(spawn.start_named(name).unwrap_err(), by_hand);
        match by_hand {
            RegisterError::BadName(bad) => bad,
            other => panic!("{other}"),
        }
    };
    assert_eq!(refused(""), BadName::Empty);
    let long = refused(&"n".repeat(MAX_NAME + 1));
    assert!(matches!(&long, BadName::TooLong { bytes: 256, .. }));
    assert!(long.to_string().contains("255 bytes, and this has 256"));
    assert!(matches!(refused("a\nb"), BadName::ControlCharacter { .. }));
    let error = system
        .names()
        .lookup_or_start("", || system.actor(|| -> Worker { panic!("bug: started") }))
        .await
        .unwrap_err();
    assert_eq!(error, NamedStartError::BadName(BadName::Empty));
    // The longest there may be.
    let longest = "n".repeat(MAX_NAME);
    system.names().register(longest.as_str(), &worker).unwrap();
    assert_eq!(system.names().lookup(&longest), Ok(Some(worker)));
}

/// Another type than `Worker`.
struct Other;
impl Actor for Other {}

#[callboard::test(both)]
async fn the_wrong_type_is_told_apart_from_nobody(system: System) {
    let (worker, _) = worker(&system);
    let names = system.names();
    names.register("clerk", &worker).unwrap();
    let error = names.lookup::<Other>("clerk").unwrap_err();
    assert_eq!(error.registered, std::any::type_name::<Worker>());
    assert_eq!(error.wanted, std::any::type_name::<Other>());
    assert!(names.lookup_recipient::<Note>("clerk").is_err());
    let error = names
        .lookup_or_start("clerk", || system.actor(|| Other))
        .await
        .unwrap_err();
    assert!(matches!(error, NamedStartError::WrongType(_)));
}

#[callboard::test(both)]
async fn recipients_have_names_whatever_their_actor(system: System) {
    let (worker, _) = worker(&system);
    let names = system.names();
    let notes = worker.recipient::<Note, _>();
    names.register_recipient("notes", &notes).unwrap();
    let found = names.lookup_recipient::<Note>("notes").unwrap().unwrap();
    assert_eq!(found.ask(Note(3)).await.unwrap(), 3);
    assert!(names.lookup_recipient::<Boom>("notes").is_err());
    assert!(names.lookup::<Worker>("notes").is_err());
    // Over and over: the receiver is watched once, and its end frees what it has by then.
    for _ in 0..100 {
        assert!(names.unregister("notes"));
        names.register_recipient("notes", &notes).unwrap();
    }
    worker.stop();
    worker.wait().await;
    assert_eq!(names.lookup_recipient::<Note>("notes"), Ok(None));
    assert_eq!(names.all(), []);
    let error = names.register_recipient("notes", &notes).unwrap_err();
    assert!(matches!(error, RegisterError::Ended { .. }));
}

#[callboard::test(both)]
async fn g12_a_name_is_free_before_the_watchers_are_told(system: System) {
    for by_recipient in [false, true] {
        let (first, _) = worker(&system);
        let names = system.names().clone();
        let (tx, rx) = oneshot::channel();
        let (second, _) = worker(&system);
        // The watch is older than the name.
        first.watch(Box::new({
            let names = names.clone();
            let second = second.clone();
            move |_| {
                let found = names.lookup::<Worker>("clerk");
                let listed = names.all().len();
                let _ = tx.send((found, listed, names.register("clerk", &second)));
            }
        }));
        if by_recipient {
            let notes = first.recipient::<Note, _>();
            names.register_recipient("clerk", &notes).unwrap();
        } else {
            names.register("clerk", &first).unwrap();
        }
        first.kill();
        assert_eq!(rx.await.unwrap(), (Ok(None), 0, Ok(())));
        // What the old holder leaves behind doesn't take the name from the new one.
        first.wait().await;
        assert_eq!(names.lookup("clerk"), Ok(Some(second.clone())));
        second.stop();
        second.wait().await;
        // Taken out by its end, not by the look at it.
        assert!(format!("{names:?}").contains("len: 0"), "{names:?}");
        assert_eq!(names.lookup::<Worker>("clerk"), Ok(None));
    }
}

#[callboard::test(both)]
async fn who_has_ended_gets_no_name(system: System) {
    let (worker, _) = worker(&system);
    worker.stop();
    worker.wait().await;
    let error = system.names().register("clerk", &worker).unwrap_err();
    assert!(matches!(error, RegisterError::Ended { .. }));
    assert_eq!(system.names().all(), []);
}

#[callboard::test(both)]
async fn a_name_comes_with_the_start_and_goes_with_the_end(system: System) {
    let names = system.names();
    let clerk = system.actor(|| Other).start_named("clerk").unwrap();
    assert_eq!(names.lookup("clerk"), Ok(Some(clerk.clone())));
    assert_eq!(&*clerk.label(), "clerk");
    let error = system
        .actor(|| -> Other { panic!("bug: nothing is to be started") })
        .start_named("clerk")
        .unwrap_err();
    assert!(matches!(error, RegisterError::Taken(_)));
    assert_eq!(system.counters().panics(), 0);
    clerk.kill();
    clerk.wait().await;
    let labelled = system.actor(|| Other).label("second clerk");
    let labelled = labelled.start_named("clerk").unwrap();
    assert_eq!(&*labelled.label(), "second clerk");
    // A factory that fails ends the actor, and frees the name.
    let fails = system.actor(|| -> Other { panic!("no desk") });
    let fails = fails.start_named("late").unwrap();
    assert_eq!(fails.wait().await, ExitReason::Failed("no desk".into()));
    assert_eq!(names.lookup::<Other>("late"), Ok(None));
}

#[callboard::test(both)]
async fn g13_a_supervised_actor_keeps_its_name_over_restarts(system: System) {
    let log = Log::default();
    let make = move || Worker { log: log.clone() };
    let (worker, place) = system.actor(make).place_named("child").unwrap();
    let names = system.names().clone();
    let (tx, mut events) = mpsc::channel(16);
    let on_event = Arc::new(move |_: Incarnation, event: ChildEvent| {
        tx.clone().try_send(event).unwrap();
    });
    assert_eq!(names.lookup("child"), Ok(Some(worker.clone())));
    for _ in 0..2 {
        place.start(callboard::Terms::new(on_event.clone()));
        assert_eq!(events.next().await.unwrap(), ChildEvent::Started);
        worker.ask(Boom).await.unwrap_err();
        events.next().await.unwrap();
        // Between two incarnations, too.
        assert_eq!(names.lookup("child"), Ok(Some(worker.clone())));
    }
    place.close(ExitReason::Stopped);
    assert_eq!(names.lookup::<Worker>("child"), Ok(None));
}

/// Says how often it was made, and waits for the gate before it is up.
struct Gated {
    gate: Option<oneshot::Receiver<Result<(), StartFailure>>>,
}

impl Actor for Gated {
    async fn starting(&mut self, _: &mut Context<Self>) -> Result<(), StartFailure> {
        match self.gate.take() {
            Some(gate) => gate.await?,
            None => Ok(()),
        }
    }
}

#[callboard::test(both)]
async fn racing_callers_start_one_actor(system: System) {
    const CALLERS: usize = 16;
    let made = Arc::new(AtomicUsize::new(0));
    let (gate_tx, gate_rx) = oneshot::channel();
    let gate = Arc::new(parking_lot::Mutex::new(Some(gate_rx)));
    let answers: Vec<_> = (0..CALLERS)
        .map(|number| {
            let (tx, rx) = oneshot::channel();
            let (system, made, gate) = (system.clone(), Arc::clone(&made), Arc::clone(&gate));
            // From all arbiters.
            system
                .clone()
                .spawn(Placement::Pinned(number), move || async move {
                    let names = system.names().clone();
                    let found = names.lookup_or_start("gated", || {
                        system.actor(move || {
                            made.fetch_add(1, Ordering::SeqCst);
                            let gate = gate.lock().take();
                            Gated { gate }
                        })
                    });
                    let _ = tx.send(found.await);
                });
            rx
        })
        .collect();
    let opens = async { gate_tx.send(Ok(())).unwrap() };
    let (answers, ()) = futures::join!(join_all(answers), opens);
    let found: Vec<ActorRef<Gated>> = answers.into_iter().map(|a| a.unwrap().unwrap()).collect();
    assert_eq!(made.load(Ordering::SeqCst), 1);
    assert!(found.iter().all(|actor| *actor == found[0]));
    assert_eq!(&*found[0].label(), "gated");
    // Who comes later finds it.
    let later = system.names().lookup_or_start("gated", || {
        system.actor(|| -> Gated { panic!("bug: there is one") })
    });
    assert_eq!(later.await.unwrap(), found[0]);
    found[0].stop();
    found[0].wait().await;
    assert_eq!(system.names().lookup::<Gated>("gated"), Ok(None));
}

#[callboard::test(both)]
async fn a_failed_start_frees_the_name_and_tells_all_who_wait(system: System) {
    let names = system.names().clone();
    let (gate_tx, gate_rx) = oneshot::channel();
    let fails = names.lookup_or_start("gated", || {
        system.actor(move || Gated {
            gate: Some(gate_rx),
        })
    });
    let mut fails = Box::pin(fails);
    // The start has begun; those who come now wait for it.
    assert!(futures::poll!(&mut fails).is_pending());
    let begun: ActorRef<Gated> = names.lookup("gated").unwrap().unwrap();
    let wait = || {
        let (names, system) = (names.clone(), system.clone());
        async move {
            let waits = names.lookup_or_start("gated", || {
                system.actor(|| -> Gated { panic!("bug: one start at a time") })
            });
            let failed = waits.await.map(|_| ());
            // Told after the name was freed.
            (failed, names.lookup::<Gated>("gated"))
        }
    };
    let waiting = join_all([wait(), wait(), wait()]);
    let refuse = async {
        let no = StartFailure::new("the desk is locked");
        gate_tx.send(Err(no)).unwrap();
    };
    let (first, others, ()) = futures::join!(fails, waiting, refuse);
    let failed = NamedStartError::Failed {
        name: "gated".into(),
        why: "the desk is locked".into(),
    };
    assert_eq!(first.unwrap_err(), failed);
    for other in others {
        assert_eq!(other, (Err(failed.clone()), Ok(None)));
    }
    assert!(matches!(begun.wait().await, ExitReason::Failed(_)));
    // The next one tries anew, also after a factory that panics.
    let panics = names.lookup_or_start("gated", || {
        system.actor(|| -> Gated { panic!("no desk at all") })
    });
    assert!(
        panics
            .await
            .unwrap_err()
            .to_string()
            .ends_with("no desk at all")
    );
    let works = names.lookup_or_start("gated", || system.actor(|| Gated { gate: None }));
    assert!(works.await.unwrap().is_alive());
}

/// Notes, when it is woken, who has a name at that very moment.
struct Look(Names, Log);

impl Wake for Look {
    fn wake(self: Arc<Self>) {
        let found = self.0.lookup::<Gated>("gated");
        self.1.push(format!("free: {}", found == Ok(None)));
    }
}

#[callboard::test(both)]
async fn a_name_is_free_when_those_who_waited_for_its_start_are_woken(system: System) {
    let names = system.names().clone();
    let (gate_tx, gate_rx) = oneshot::channel();
    let log = Log::default();
    let waker = Arc::new(Look(names.clone(), log.clone())).into();
    let mut fails = Box::pin(names.lookup_or_start("gated", || {
        system.actor(move || Gated {
            gate: Some(gate_rx),
        })
    }));
    let polled = fails
        .as_mut()
        .poll(&mut std::task::Context::from_waker(&waker));
    assert!(polled.is_pending());
    gate_tx.send(Err(StartFailure::new("no"))).unwrap();
    while log.lines().is_empty() {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(log.lines()[0], "free: true");
    fails.await.unwrap_err();
}

#[callboard::test(both)]
async fn dropping_a_start_by_name_does_not_end_it(system: System) {
    let names = system.names().clone();
    let (gate_tx, gate_rx) = oneshot::channel();
    let first = names.lookup_or_start("gated", || {
        system.actor(move || Gated {
            gate: Some(gate_rx),
        })
    });
    let mut first = Box::pin(first);
    assert!(futures::poll!(&mut first).is_pending());
    drop(first);
    gate_tx.send(Ok(())).unwrap();
    let second = names.lookup_or_start("gated", || {
        system.actor(|| -> Gated { panic!("bug: there is one") })
    });
    assert!(second.await.unwrap().is_alive());
}

/// Holds on to a name until it hears that its holder has ended, then takes it.
struct Heir(Log);
impl Actor for Heir {}
impl Handler<Terminated> for Heir {
    async fn handle(&mut self, notice: Terminated, ctx: &mut Context<Self>) {
        let named = ctx.system().names().register("throne", &ctx.me());
        self.0.push(format!("{} {named:?}", notice.reason));
    }
}

#[derive(Message)]
struct Await(ActorRef<Worker>);
impl Handler<Await> for Heir {
    async fn handle(&mut self, Await(holder): Await, ctx: &mut Context<Self>) {
        ctx.watch(&holder);
    }
}

#[callboard::test(both)]
async fn g12_a_watcher_that_succeeds_to_a_name_always_gets_it(system: System) {
    let (king, _, _gate) = held_worker(&system, 4).await;
    system.names().register("throne", &king).unwrap();
    let log = Log::default();
    let heir = system.start(Heir(log.clone()));
    heir.ask(Await(king.clone())).await.unwrap();
    king.kill();
    king.wait().await;
    heir.drain();
    heir.wait().await;
    assert_eq!(log.lines(), ["killed Ok(())"]);
}

#[test]
fn names_of_two_systems_are_not_the_same_and_die_with_them() {
    let one = System::with_arbiters(2).unwrap();
    let other = System::with_arbiters(1).unwrap();
    let clerk = one.actor(|| Other).start_named("clerk").unwrap();
    assert_eq!(other.names().lookup::<Other>("clerk"), Ok(None));
    other.actor(|| Other).start_named("clerk").unwrap();
    one.shutdown_blocking().unwrap();
    assert_eq!(one.names().all(), []);
    assert_eq!(other.names().all().len(), 1);
    assert!(!clerk.is_alive());
    // A system that was shut down starts nothing.
    let start = one.names().lookup_or_start("clerk", || one.actor(|| Other));
    let error = futures::executor::block_on(start).unwrap_err();
    assert!(error.to_string().ends_with("the system was shut down"));
    // Its end may come before its name, or behind it.
    match one.actor(|| Other).start_named("clerk") {
        Ok(ended) => assert!(!ended.is_alive()),
        Err(error) => assert!(matches!(error, RegisterError::Ended { .. }), "{error}"),
    }
    assert_eq!(one.names().all(), []);
    other.shutdown_blocking().unwrap();
}

#[test]
fn the_futures_of_names_go_to_any_runtime() {
    fn sent<T: Send>(_: &T) {}
    let system = System::with_arbiters(1).unwrap();
    let names: Names = system.names().clone();
    sent(&names.lookup_or_start("clerk", || system.actor(|| Other)));
    system.shutdown_blocking().unwrap();
}
