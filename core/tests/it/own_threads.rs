//! Actors that block have a thread of their own: [`Placement::OwnThread`].

use std::cell::RefCell;
use std::sync::{Arc, mpsc};
use std::thread::ThreadId;
use std::time::Duration;

use callboard::{
    Actor, ActorRef, Boundary, ChildEvent, Context, ExitReason, Handler, Incarnation, Message,
    OnChildEvent, Placement, Simulation, StartError, System, Verdict,
};
use futures::StreamExt;
use futures::channel::{mpsc as events, oneshot};

use crate::common::{Boom, Log, Note, Worker, held_worker, worker};

/// Completes when no arbiter but the shared ones is left: the last thread of an actor's own has ended.
async fn only_shared_are_left(system: &System) {
    while system.load().iter().any(|load| load.own_thread) {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
}

fn own_worker(system: &System) -> (ActorRef<Worker>, Log) {
    let log = Log::default();
    let inner = log.clone();
    let worker = system
        .actor(move || Worker { log: inner })
        .label("worker")
        .on_own_thread()
        .start();
    (worker, log)
}

#[callboard::test(both)]
async fn g01_an_actor_with_a_thread_of_its_own_is_like_any_other(system: System) {
    let (worker, log) = own_worker(&system);
    assert_eq!(worker.ask(Note(1)).await.unwrap(), 1);
    worker.tell(Note(2)).await.unwrap();
    assert_eq!(worker.ask(Note(3)).await.unwrap(), 3);
    assert_eq!(worker.boundary(), Boundary::SameProcess);
    // Every list has it, after the arbiters that all share.
    assert_eq!(worker.arbiter(), system.arbiter_count());
    let actors = system.actors();
    assert_eq!(actors.len(), 1);
    assert_eq!(actors[0].arbiter, worker.arbiter());
    let load = system.load();
    assert_eq!(load.len(), system.arbiter_count() + 1);
    let last = load.last().unwrap();
    assert_eq!(
        (last.arbiter, last.own_thread, last.actors),
        (worker.arbiter(), true, 1)
    );
    assert!(load.iter().rev().skip(1).all(|load| !load.own_thread));
    worker.stop();
    assert!(worker.wait().await.is_normal());
    only_shared_are_left(&system).await;
    assert_eq!(
        log.lines(),
        ["note 1", "note 2", "note 3", "stopped: stopped", "dropped"]
    );
    let error = worker.tell(Note(4)).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    // Numbers are not used again.
    let (next, _) = own_worker(&system);
    assert_eq!(next.arbiter(), worker.arbiter() + 1);
    next.ask(Note(5)).await.unwrap();
}

/// Blocks its thread, and knows it.
struct Blocker;

impl Actor for Blocker {}

/// Blocks until the gate opens. Answered with the name of its thread.
#[derive(Message)]
#[message(reply = String)]
struct Block(mpsc::Receiver<()>);

impl Handler<Block> for Blocker {
    async fn handle(&mut self, Block(gate): Block, _: &mut Context<Self>) -> String {
        let _ = gate.recv();
        std::thread::current().name().unwrap_or("").to_owned()
    }
}

/// Tells when its thread has ended. Answered with the thread's id.
#[derive(Message)]
#[message(reply = ThreadId)]
struct Tell(Option<oneshot::Sender<()>>);

thread_local! {
    /// The sender's end is the signal.
    static PROBE: RefCell<Option<oneshot::Sender<()>>> = const { RefCell::new(None) };
}

impl Handler<Tell> for Blocker {
    async fn handle(&mut self, Tell(probe): Tell, _: &mut Context<Self>) -> ThreadId {
        PROBE.set(probe);
        std::thread::current().id()
    }
}

#[callboard::test(arbiters)]
async fn g05_an_actor_that_blocks_a_thread_of_its_own_delays_nobody(system: System) {
    let blocker = system
        .actor(|| Blocker)
        .label("block\0er")
        .on_own_thread()
        .start();
    let (gate_tx, gate_rx) = mpsc::channel();
    let blocked = blocker.ask(Block(gate_rx)).into_future();
    let blocked = futures::future::join(blocked, async {
        for number in 0..system.arbiter_count() {
            let worker = system
                .actor(|| Worker {
                    log: Log::default(),
                })
                .placement(Placement::Pinned(number))
                .start();
            worker.ask(Note(1)).await.unwrap();
        }
        gate_tx.send(()).unwrap();
    });
    // Named for the actor, as far as a name can be one.
    assert_eq!(blocked.await.0.unwrap(), "block er");
}

#[test]
fn g11_the_thread_ends_with_its_actor_or_with_the_system() {
    let system = System::with_arbiters(1).unwrap();
    for how in ["stop", "kill", "shutdown"] {
        let blocker = system.actor(|| Blocker).on_own_thread().start();
        let (probe_tx, probe_rx) = oneshot::channel();
        let thread = blocker.ask(Tell(Some(probe_tx))).blocking().unwrap();
        assert_ne!(thread, std::thread::current().id());
        match how {
            "stop" => blocker.stop(),
            "kill" => blocker.kill(),
            _ => drop(futures::executor::block_on(system.shutdown())),
        }
        futures::executor::block_on(probe_rx).unwrap_err();
        assert!(!blocker.is_alive());
    }
    let late = system.actor(|| Blocker).on_own_thread().start();
    assert_eq!(late.exit_reason(), Some(ExitReason::Killed));
    assert!(!system.spawn(Placement::OwnThread, || async {}));
}

#[callboard::test(both)]
async fn g10_a_panic_on_a_thread_of_its_own_ends_its_actor_and_nothing_else(system: System) {
    let (other, _) = own_worker(&system);
    let (broken, log) = own_worker(&system);
    broken.ask(Boom).await.unwrap_err();
    assert_eq!(broken.wait().await, ExitReason::Failed("boom".into()));
    assert_eq!(log.lines(), ["dropped"]);
    assert_eq!(other.ask(Note(1)).await.unwrap(), 1);
    assert_eq!(system.counters().panics(), 1);
    let unborn = system
        .actor(|| -> Worker { panic!("in the factory") })
        .on_own_thread()
        .start();
    let reason = unborn.wait().await;
    assert_eq!(reason, ExitReason::Failed("in the factory".into()));
    other.stop();
    only_shared_are_left(&system).await;
}

/// What a place says, and where to say it.
fn child_events() -> (OnChildEvent, events::Receiver<(u64, ChildEvent)>) {
    let (tx, rx) = events::channel(16);
    let on_event = move |incarnation: Incarnation, event| {
        tx.clone().try_send((incarnation.0, event)).unwrap();
    };
    (Arc::new(on_event), rx)
}

#[callboard::test(both)]
async fn g13_a_supervised_actor_keeps_its_thread_until_its_place_is_closed(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let (worker, place) = system
        .actor(move || Worker { log: inner.clone() })
        .on_own_thread()
        .place();
    let (on_event, mut events) = child_events();
    // Before any incarnation, and before there is a thread, the mailbox takes messages already.
    worker.tell(Note(1)).await.unwrap();
    place.start(callboard::Terms::new(on_event.clone()));
    assert_eq!(events.next().await.unwrap(), (1, ChildEvent::Started));
    worker.ask(Boom).await.unwrap_err();
    let failed = ChildEvent::Ended(ExitReason::Failed("boom".into()));
    assert_eq!(events.next().await.unwrap(), (1, failed));
    worker.tell(Note(2)).await.unwrap();
    assert!(system.load().last().unwrap().own_thread);
    place.start(callboard::Terms::new(on_event));
    assert_eq!(events.next().await.unwrap(), (2, ChildEvent::Started));
    assert_eq!(worker.ask(Note(3)).await.unwrap(), 3);
    assert_eq!(log.lines(), ["note 1", "dropped", "note 2", "note 3"]);
    place.stop();
    let stopped = ChildEvent::Ended(ExitReason::Stopped);
    assert_eq!(events.next().await.unwrap(), (2, stopped));
    assert!(system.load().last().unwrap().own_thread);
    place.close(ExitReason::Stopped);
    assert!(worker.wait().await.is_normal());
    only_shared_are_left(&system).await;
    // A place that was never started has no thread to end.
    let (never, place) = system.actor(|| Blocker).on_own_thread().place();
    place.close(ExitReason::Stopped);
    assert!(never.wait().await.is_normal());
    only_shared_are_left(&system).await;
}

#[callboard::test(both)]
async fn g03_threads_are_bounded_and_one_too_many_is_an_actor_that_has_ended(system: System) {
    system.own_thread_limit(1);
    let (first, _) = own_worker(&system);
    first.ask(Note(1)).await.unwrap();
    let (second, log) = own_worker(&system);
    let why = ExitReason::Failed(StartError::TooManyThreads.to_string().into());
    assert_eq!(second.exit_reason(), Some(why.clone()));
    assert_eq!(second.wait().await, why);
    let error = second.tell(Note(2)).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert_eq!(error.into_message(), Some(Note(2)));
    assert!(log.lines().is_empty());
    assert!(!system.spawn(Placement::OwnThread, || async {}));
    // A supervised one has failed to start, and can be tried again.
    let (third, place) = system
        .actor(|| Worker {
            log: Log::default(),
        })
        .on_own_thread()
        .place();
    let (on_event, mut events) = child_events();
    third.tell(Note(3)).await.unwrap();
    place.start(callboard::Terms::new(on_event.clone()));
    let refused = ChildEvent::StartFailed(StartError::TooManyThreads.to_string().into());
    assert_eq!(events.next().await.unwrap(), (1, refused));
    first.stop();
    while system.load().len() > system.arbiter_count() + 1 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    place.start(callboard::Terms::new(on_event));
    assert_eq!(events.next().await.unwrap(), (2, ChildEvent::Started));
    assert_eq!(third.ask(Note(4)).await.unwrap(), 4);
    place.stop();
    let ended = ChildEvent::Ended(ExitReason::Stopped);
    assert_eq!(events.next().await.unwrap(), (2, ended));
    place.close(ExitReason::Stopped);
}

#[callboard::test(both)]
async fn what_lives_near_an_actor_keeps_its_thread(system: System) {
    let (first, _) = own_worker(&system);
    let second = system
        .actor(|| Worker {
            log: Log::default(),
        })
        .near(&first)
        .start();
    assert_eq!(second.arbiter(), first.arbiter());
    first.stop();
    first.wait().await;
    assert_eq!(second.ask(Note(1)).await.unwrap(), 1);
    second.stop();
    second.wait().await;
    only_shared_are_left(&system).await;
    let third = system
        .actor(|| Worker {
            log: Log::default(),
        })
        .near(&first)
        .start();
    assert!(third.arbiter() < system.arbiter_count());
    assert_eq!(third.ask(Note(2)).await.unwrap(), 2);
}

#[callboard::test(both)]
async fn a_task_can_have_a_thread_of_its_own_until_it_ends(system: System) {
    let (worker, _) = worker(&system);
    let (tx, rx) = oneshot::channel();
    let accepted = system.spawn(Placement::OwnThread, move || async move {
        let own = System::current().map_or(0, |system| system.load().len());
        let answer = worker.ask(Note(7)).await;
        tx.send((own, answer.unwrap())).unwrap();
    });
    assert!(accepted);
    assert_eq!(rx.await.unwrap(), (system.arbiter_count() + 1, 7));
    only_shared_are_left(&system).await;
}

#[test]
fn g11_shutdown_kills_who_does_not_stop_on_a_thread_of_its_own() {
    let mut simulation = Simulation::new(3);
    let system = simulation.system().clone();
    simulation.block_on(async move {
        let (easy, log) = own_worker(&system);
        let (_shared, _, _gate) = held_worker(&system, 10).await;
        let stubborn = system.actor(|| Stubborn).on_own_thread().start();
        stubborn.ask(Pass).await.unwrap();
        let killed = system.shutdown().await;
        assert_eq!(killed, ["worker", "Stubborn"]);
        assert_eq!(stubborn.wait().await, ExitReason::Killed);
        assert!(easy.wait().await.is_normal());
        assert_eq!(log.lines(), ["stopped: stopped", "dropped"]);
        only_shared_are_left(&system).await;
    });
}

/// Never stops by itself.
struct Stubborn;

#[derive(Message)]
struct Pass;

impl Actor for Stubborn {
    async fn stopped(&mut self, _: &ExitReason) {
        std::future::pending::<()>().await;
    }
}

impl Handler<Pass> for Stubborn {
    async fn handle(&mut self, _: Pass, _: &mut Context<Self>) {}
}

/// What three actors that talk to each other do under a seed, and how many steps that takes.
fn run(seed: u64) -> (u64, Vec<String>) {
    let log = Log::default();
    let inner = log.clone();
    let mut simulation = Simulation::new(seed);
    let system = simulation.system().clone();
    simulation.block_on(async move {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let log = inner.clone();
                system.actor(move || Worker { log }).on_own_thread().start()
            })
            .collect();
        for note in 0..9 {
            workers[note % 3].tell(Note(note as u64)).await.unwrap();
        }
        for worker in &workers {
            worker.drain();
        }
        for worker in &workers {
            worker.wait().await;
        }
        only_shared_are_left(&system).await;
    });
    (simulation.steps(), log.lines())
}

#[test]
fn g38_runs_with_further_arbiters_are_a_function_of_the_seed() {
    assert_eq!(run(1), run(1));
    assert!((2..20).any(|seed| run(seed) != run(1)));
}
