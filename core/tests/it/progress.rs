//! Handlers that take too long: found, told to the owner, and what can be done then (G13, G11).

use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

use callboard::{
    Actor, ActorRef, ChildEvent, Context, ExitReason, FailureKind, Handler, Incarnation, Message,
    OnChildEvent, Place, Placement, SendError, Simulation, System, Terminated, Terms,
};
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use proptest::prelude::*;

use crate::common::{Hold, Log, Note, worker};

/// What a handler may take in these tests.
///
/// Long enough that a busy machine, which may take a thread away for a while, is no freeze.
const LIMIT: Duration = Duration::from_millis(100);

/// Waits for gates, as it is told.
struct Waiter {
    log: Log,
    /// Awaited by `started` of the first incarnation.
    at_start: Option<oneshot::Receiver<()>>,
}

impl Actor for Waiter {
    async fn started(&mut self, _: &mut Context<Self>) {
        if let Some(gate) = self.at_start.take() {
            let _ = gate.await;
        }
    }
}

impl Handler<Note> for Waiter {
    async fn handle(&mut self, Note(n): Note, _: &mut Context<Self>) -> u64 {
        self.log.push(format!("note {n}"));
        n
    }
}

impl Handler<Hold> for Waiter {
    async fn handle(&mut self, mut hold: Hold, _: &mut Context<Self>) {
        let _ = hold.began.take().map(|began| began.send(()));
        let _ = hold.gate.await;
    }
}

/// Gets on whenever a gate opens.
#[derive(Message)]
struct Pages(Vec<oneshot::Receiver<()>>);

impl Handler<Pages> for Waiter {
    async fn handle(&mut self, Pages(gates): Pages, ctx: &mut Context<Self>) {
        for gate in gates {
            let _ = gate.await;
            ctx.progress();
        }
    }
}

/// Works for so many milliseconds, and says that it got on after each.
#[derive(Message)]
struct Work(Vec<u64>);

impl Handler<Work> for Waiter {
    async fn handle(&mut self, Work(spans): Work, ctx: &mut Context<Self>) {
        for span in spans {
            ctx.sleep(Duration::from_millis(span)).await;
            ctx.progress();
        }
    }
}

/// Panics after half a limit.
#[derive(Message)]
struct Fall;

impl Handler<Fall> for Waiter {
    async fn handle(&mut self, _: Fall, ctx: &mut Context<Self>) {
        ctx.sleep(LIMIT / 2).await;
        panic!("fell");
    }
}

/// Holds notes back, has a behaviour, and gives both up again.
#[derive(Message)]
struct Change;

impl Handler<Change> for Waiter {
    async fn handle(&mut self, _: Change, ctx: &mut Context<Self>) {
        ctx.hold::<Note>();
        ctx.becomes(async |_: &mut Waiter, _: Fall, _: &mut Context<Waiter>| ());
        ctx.unstash();
        ctx.unbecome::<Fall>();
    }
}

/// From now on its behaviour for holds is another that waits.
#[derive(Message)]
struct Become;

impl Handler<Become> for Waiter {
    async fn handle(&mut self, _: Become, ctx: &mut Context<Self>) {
        ctx.becomes(
            async |_: &mut Waiter, hold: Hold, _: &mut Context<Waiter>| {
                let _ = hold.gate.await;
            },
        );
    }
}

/// Blocks the thread until the gate opens.
#[derive(Message)]
struct Block(std_mpsc::Receiver<()>);

impl Handler<Block> for Waiter {
    async fn handle(&mut self, Block(gate): Block, _: &mut Context<Self>) {
        let _ = gate.recv();
    }
}

/// Watches that actor, and waits for a gate when it ends.
#[derive(Message)]
struct Mourn(ActorRef<crate::common::Worker>, oneshot::Receiver<()>);

impl Handler<Mourn> for Waiter {
    async fn handle(&mut self, Mourn(other, gate): Mourn, ctx: &mut Context<Self>) {
        self.at_start = Some(gate);
        ctx.watch(&other);
    }
}

impl Handler<Terminated> for Waiter {
    async fn handle(&mut self, _: Terminated, _: &mut Context<Self>) {
        if let Some(gate) = self.at_start.take() {
            let _ = gate.await;
        }
    }
}

/// Asks a waiter to hold, from its own arbiter.
struct Asker(ActorRef<Waiter>);

impl Actor for Asker {}

impl Handler<Hold> for Asker {
    async fn handle(&mut self, hold: Hold, _: &mut Context<Self>) {
        let _ = self.0.ask(hold).await;
    }
}

/// A waiter with a limit, and what its owner is told.
struct Limited {
    waiter: ActorRef<Waiter>,
    log: Log,
    place: Arc<dyn Place>,
    on_event: OnChildEvent,
    events: mpsc::Receiver<(Incarnation, ChildEvent)>,
}

impl Limited {
    fn with_gate(system: &System, at_start: Option<oneshot::Receiver<()>>) -> Self {
        let log = Log::default();
        let (inner, at_start) = (log.clone(), parking_lot::Mutex::new(at_start));
        let make = move || Waiter {
            log: inner.clone(),
            at_start: at_start.lock().take(),
        };
        let (waiter, place) = system
            .actor(make)
            .label("waiter")
            .handler_limit(LIMIT)
            .place();
        let (tx, events) = mpsc::channel(64);
        Limited {
            waiter,
            log,
            place,
            on_event: Arc::new(move |incarnation, event| {
                let _ = tx.clone().try_send((incarnation, event));
            }),
            events,
        }
    }

    async fn new(system: &System) -> Self {
        let mut limited = Limited::with_gate(system, None);
        limited.start().await;
        limited
    }

    async fn start(&mut self) {
        self.place.start(Terms::new(Arc::clone(&self.on_event)));
        assert_eq!(self.event().await, ChildEvent::Started);
    }

    async fn event(&mut self) -> ChildEvent {
        self.events.next().await.unwrap().1
    }

    /// Ends it for good, so that its system needn't wait for it.
    async fn close(mut self) {
        self.place.kill();
        while !self.event().await.is_last() {}
        self.place.close(ExitReason::Killed);
    }

    /// Waits until it is told of no progress. Answers what is said.
    async fn frozen(&mut self) -> String {
        match self.event().await {
            ChildEvent::NoProgress(why) => why,
            other => panic!("{other:?}"),
        }
    }
}

/// Asks from a task, while the test goes on.
fn ask_beside<M>(
    system: &System,
    waiter: &ActorRef<Waiter>,
    message: M,
) -> oneshot::Receiver<Result<(), SendError<M>>>
where
    M: Message<Reply = ()>,
    Waiter: Handler<M>,
{
    let (tx, rx) = oneshot::channel();
    let waiter = waiter.clone();
    system.spawn(Placement::Spread, || async move {
        let _ = tx.send(waiter.ask(message).no_deadline().await);
    });
    rx
}

#[callboard::test(both)]
async fn g13_a_handler_that_waits_too_long_is_told_once_and_a_kill_helps(system: System) {
    let mut limited = Limited::new(&system).await;
    let (hold, began, _gate) = Hold::new();
    let asked = ask_beside(&system, &limited.waiter, hold);
    limited.waiter.tell(Note(7)).await.unwrap();
    began.await.unwrap();
    let why = limited.frozen().await;
    assert!(why.starts_with("handler of `Hold` has run for"), "{why}");
    assert!(why.ends_with("(limit 100ms)"), "{why}");
    let frozen = system.frozen();
    assert_eq!(frozen.len(), 1);
    assert_eq!(frozen[0].actor, limited.waiter.id());
    assert_eq!(
        (frozen[0].label.as_str(), frozen[0].limit),
        ("waiter", LIMIT)
    );
    assert_eq!(frozen[0].message, std::any::type_name::<Hold>());
    assert_eq!(frozen[0].incarnation, Incarnation(1));
    assert_eq!(system.counters().freezes(), 1);
    // Until another is told, time enough goes by for the first to be told again.
    let mut other = Limited::new(&system).await;
    let (hold, _, _other_gate) = Hold::new();
    other.waiter.tell(hold).await.unwrap();
    other.frozen().await;
    assert_eq!(system.frozen().len(), 2);
    limited.place.kill();
    let failure = asked.await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Killed, "{failure:?}");
    assert_eq!(
        limited.event().await,
        ChildEvent::Ended(ExitReason::Killed),
        "told once"
    );
    assert_eq!(system.frozen().len(), 1);
    // What was queued is there for the next.
    limited.start().await;
    assert_eq!(limited.waiter.ask(Note(8)).await.unwrap(), 8);
    assert_eq!(limited.log.lines(), ["note 7", "note 8"]);
    assert_eq!(system.counters().freezes(), 2);
    limited.close().await;
    other.close().await;
}

#[callboard::test(both)]
async fn g13_progress_ends_a_freeze_and_the_next_is_told_anew(system: System) {
    let mut limited = Limited::new(&system).await;
    let (first_tx, first) = oneshot::channel();
    let (second_tx, second) = oneshot::channel();
    let asked = ask_beside(&system, &limited.waiter, Pages(vec![first, second]));
    limited.frozen().await;
    let before = system.frozen();
    drop(first_tx);
    limited.frozen().await;
    let frozen = system.frozen();
    assert_eq!(frozen.len(), 1);
    assert!(frozen[0].since > before[0].since, "its time began anew");
    drop(second_tx);
    asked.await.unwrap().unwrap();
    // With the next message it is certain that the handler before has ended.
    limited.waiter.ask(Note(1)).await.unwrap();
    assert_eq!(system.frozen(), []);
    assert_eq!(system.counters().freezes(), 2);
    limited.place.stop();
    assert_eq!(
        limited.event().await,
        ChildEvent::Ended(ExitReason::Stopped)
    );
    limited.place.close(ExitReason::Stopped);
}

#[callboard::test(both)]
async fn an_actor_that_nobody_supervises_is_listed_and_counted_and_goes_on(system: System) {
    let log = Log::default();
    let make = || Waiter {
        log: log.clone(),
        at_start: None,
    };
    let waiter = system.start_limited(make());
    let (hold, began, gate) = Hold::new();
    waiter.tell(hold).await.unwrap();
    began.await.unwrap();
    // When another has been told twice, the first was found long before.
    let mut other = Limited::new(&system).await;
    let (first_tx, first) = oneshot::channel();
    let (_second_tx, second) = oneshot::channel();
    other.waiter.tell(Pages(vec![first, second])).await.unwrap();
    other.frozen().await;
    drop(first_tx);
    other.frozen().await;
    assert!(
        system
            .frozen()
            .iter()
            .any(|frozen| frozen.actor == waiter.id())
    );
    assert_eq!(system.counters().freezes(), 3);
    drop(gate);
    assert_eq!(waiter.ask(Note(1)).await.unwrap(), 1);
    other.close().await;
}

/// Starts it with the limit of these tests.
trait StartLimited {
    fn start_limited(&self, waiter: Waiter) -> ActorRef<Waiter>;
}

impl StartLimited for System {
    fn start_limited(&self, waiter: Waiter) -> ActorRef<Waiter> {
        self.actor(move || waiter).handler_limit(LIMIT).start()
    }
}

#[callboard::test(both)]
async fn g13_behaviours_notices_hooks_and_asks_of_the_same_thread_have_the_limit(system: System) {
    // A handler, after the actor has held messages and had a behaviour for a while.
    let mut limited = Limited::new(&system).await;
    limited.waiter.ask(Change).await.unwrap();
    let asker = system
        .actor({
            let waiter = limited.waiter.clone();
            move || Asker(waiter)
        })
        .near(&limited.waiter)
        .start();
    let (hold, _, gate) = Hold::new();
    asker.tell(hold).await.unwrap();
    limited.frozen().await;
    drop(gate);
    // A behaviour.
    limited.waiter.ask(Become).await.unwrap();
    let (hold, _, gate) = Hold::new();
    limited.waiter.tell(hold).await.unwrap();
    limited.frozen().await;
    drop(gate);
    // A notice.
    let (worker, _) = worker(&system);
    let (gate, at_end) = oneshot::channel();
    let mourn = Mourn(worker.clone(), at_end);
    limited.waiter.ask(mourn).await.unwrap();
    worker.stop();
    let why = limited.frozen().await;
    assert!(why.starts_with("handler of `Terminated`"), "{why}");
    drop(gate);
    // A hook.
    let (gate, at_start) = oneshot::channel();
    let mut other = Limited::with_gate(&system, Some(at_start));
    other.start().await;
    let why = other.frozen().await;
    assert!(why.starts_with("`started` has run for"), "{why}");
    drop(gate);
    other.waiter.ask(Note(1)).await.unwrap();
    limited.waiter.ask(Note(1)).await.unwrap();
    assert_eq!(system.frozen(), []);
    limited.close().await;
    other.close().await;
}

#[callboard::test]
async fn what_ends_in_time_or_panics_or_rests_is_never_told(system: System) {
    let mut limited = Limited::new(&system).await;
    let clock = system.clock().clone();
    limited.waiter.ask(Work(vec![99; 20])).await.unwrap();
    clock.sleep(10 * LIMIT).await;
    limited.waiter.ask(Fall).await.unwrap_err();
    let fell = ExitReason::Failed("fell".into());
    assert_eq!(limited.event().await, ChildEvent::Ended(fell));
    clock.sleep(10 * LIMIT).await;
    limited.start().await;
    clock.sleep(10 * LIMIT).await;
    limited.place.stop();
    assert_eq!(
        limited.event().await,
        ChildEvent::Ended(ExitReason::Stopped)
    );
    assert_eq!(system.counters().freezes(), 0);
}

/// The next event, for a thread that may block.
fn next(limited: &mut Limited) -> ChildEvent {
    futures::executor::block_on(limited.event())
}

#[test]
fn g13_a_blocked_thread_is_told_from_another_and_nothing_new_starts() {
    let system = System::with_arbiters(1).unwrap();
    let mut limited = futures::executor::block_on(Limited::new(&system));
    let (gate, blocked) = std_mpsc::channel();
    limited.waiter.tell(Block(blocked)).blocking().unwrap();
    let told = next(&mut limited);
    let ChildEvent::NoProgress(why) = told else {
        panic!("{told:?}");
    };
    assert!(why.starts_with("handler of `Block` has run for"), "{why}");
    assert_eq!(system.frozen().len(), 1);
    // Code that never yields can't be killed: it ends when it yields.
    limited.place.kill();
    assert!(limited.events.try_recv().is_err(), "nothing was told");
    assert_eq!(system.frozen().len(), 1);
    drop(gate);
    assert_eq!(next(&mut limited), ChildEvent::Ended(ExitReason::Killed));
    assert_eq!(system.frozen(), []);
    limited.place.close(ExitReason::Killed);
    futures::executor::block_on(system.shutdown());
}

#[test]
fn g13_a_thread_of_its_own_may_be_blocked_but_not_for_longer_than_the_limit() {
    let system = System::with_arbiters(1).unwrap();
    let log = Log::default();
    let make = move || Waiter {
        log: log.clone(),
        at_start: None,
    };
    let (waiter, place) = system
        .actor(make)
        .placement(Placement::OwnThread)
        .handler_limit(LIMIT)
        .place();
    let (tx, events) = std_mpsc::channel();
    place.start(Terms::new(Arc::new(move |_, event| {
        let _ = tx.send(event);
    })));
    assert_eq!(events.recv().unwrap(), ChildEvent::Started);
    let (gate, blocked) = std_mpsc::channel();
    waiter.tell(Block(blocked)).blocking().unwrap();
    assert!(matches!(events.recv().unwrap(), ChildEvent::NoProgress(_)));
    assert_eq!(system.blocked(), [], "as an arbiter it may");
    drop(gate);
    place.stop();
    assert_eq!(
        events.recv().unwrap(),
        ChildEvent::Ended(ExitReason::Stopped)
    );
    place.close(ExitReason::Stopped);
    futures::executor::block_on(system.shutdown());
}

#[test]
fn an_owner_that_panics_harms_nobody() {
    let system = System::with_arbiters(1).unwrap();
    let (waiter, place) = system
        .actor(|| Waiter {
            log: Log::default(),
            at_start: None,
        })
        .handler_limit(LIMIT)
        .place();
    let (tx, told) = std_mpsc::channel();
    place.start(Terms::new(Arc::new(move |_, event| {
        let is_frozen = matches!(event, ChildEvent::NoProgress(_));
        let _ = tx.send(event);
        assert!(!is_frozen, "the owner panics");
    })));
    assert_eq!(told.recv().unwrap(), ChildEvent::Started);
    for _ in 0..2 {
        let (hold, _, gate) = Hold::new();
        waiter.tell(hold).blocking().unwrap();
        assert!(matches!(told.recv().unwrap(), ChildEvent::NoProgress(_)));
        drop(gate);
    }
    place.stop();
    assert_eq!(told.recv().unwrap(), ChildEvent::Ended(ExitReason::Stopped));
    place.close(ExitReason::Stopped);
    futures::executor::block_on(system.shutdown());
    assert!(system.counters().panics() >= 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The model: each stretch without progress that is longer than the limit is told, and no other.
    #[test]
    fn g13_exactly_the_stretches_over_the_limit_are_told(
        // Odd, so that none is the limit itself.
        works in prop::collection::vec(prop::collection::vec((0_u64..150).prop_map(|n| 2 * n + 1), 0..5), 0..8),
        seed in any::<u64>(),
    ) {
        let limit = u64::try_from(LIMIT.as_millis()).unwrap();
        let expected = works.iter().flatten().filter(|span| **span > limit).count();
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        let told = simulation.block_on(async move {
            let mut limited = Limited::new(&system).await;
            for work in works {
                limited.waiter.ask(Work(work)).no_deadline().await.unwrap();
            }
            limited.place.stop();
            let mut told = 0;
            loop {
                match limited.event().await {
                    ChildEvent::NoProgress(_) => told += 1,
                    other => {
                        assert_eq!(other, ChildEvent::Ended(ExitReason::Stopped));
                        return told;
                    }
                }
            }
        });
        prop_assert_eq!(told, expected);
    }
}
