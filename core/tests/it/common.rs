//! One actor that does what it is told, for all tests.

use std::sync::Arc;
use std::time::Duration;

use callboard::{
    Actor, ActorRef, ChildEvent, Context, ExitReason, Handler, Incarnation, LeftBehind, LifeEvent,
    Message, OnChildEvent, Place, StartFailure, System, Terminated,
};
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use futures::future::{Either, select};
use parking_lot::Mutex;

/// What was seen, in order, shared between an actor and its test.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn push(&self, line: impl Into<String>) {
        self.0.lock().push(line.into());
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

/// Logs what it handles.
pub struct Worker {
    pub log: Log,
}

impl Actor for Worker {
    async fn stopped(&mut self, reason: &callboard::ExitReason) {
        self.log.push(format!("stopped: {reason}"));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.log.push("dropped");
    }
}

/// Logged; answered with its number.
#[derive(Message, Debug, Clone, PartialEq)]
#[message(reply = u64)]
pub struct Note(pub u64);

impl Handler<Note> for Worker {
    async fn handle(&mut self, Note(n): Note, _ctx: &mut Context<Self>) -> u64 {
        self.log.push(format!("note {n}"));
        n
    }
}

/// Says that it began, then waits for the gate.
#[derive(Message)]
pub struct Hold {
    pub began: Option<oneshot::Sender<()>>,
    pub gate: oneshot::Receiver<()>,
}

impl Hold {
    /// The message, when it began, and what lets it go on.
    pub fn new() -> (Hold, oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (began_tx, began_rx) = oneshot::channel();
        let (gate_tx, gate_rx) = oneshot::channel();
        (
            Hold {
                began: Some(began_tx),
                gate: gate_rx,
            },
            began_rx,
            gate_tx,
        )
    }
}

impl Handler<Hold> for Worker {
    async fn handle(&mut self, mut hold: Hold, _ctx: &mut Context<Self>) {
        self.log.push("hold begins");
        let _ = hold.began.take().map(|began| began.send(()));
        let _ = hold.gate.await;
        self.log.push("hold ends");
    }
}

/// Panics.
#[derive(Message)]
#[message(reply = u64)]
pub struct Boom;

impl Handler<Boom> for Worker {
    async fn handle(&mut self, _: Boom, ctx: &mut Context<Self>) -> u64 {
        // Past an await, so that the panic is in a poll, not in the call.
        ctx.sleep(Duration::from_millis(1)).await;
        panic!("boom");
    }
}

pub fn worker(system: &System) -> (ActorRef<Worker>, Log) {
    let log = Log::default();
    let inner = log.clone();
    (
        system
            .actor(move || Worker { log: inner })
            .label("worker")
            .start(),
        log,
    )
}

/// A worker near another.
pub fn worker_near(system: &System, other: &ActorRef<Worker>) -> ActorRef<Worker> {
    let make = || Worker {
        log: Log::default(),
    };
    system.actor(make).near(other).start()
}

/// A worker whose first message holds it: everything sent now stays queued until the gate opens.
pub async fn held_worker(
    system: &System,
    capacity: usize,
) -> (ActorRef<Worker>, Log, oneshot::Sender<()>) {
    held_worker_with(system, capacity, callboard::Overflow::Wait).await
}

pub async fn held_worker_with(
    system: &System,
    capacity: usize,
    overflow: callboard::Overflow,
) -> (ActorRef<Worker>, Log, oneshot::Sender<()>) {
    let log = Log::default();
    let inner = log.clone();
    let worker = system
        .actor(move || Worker { log: inner })
        .label("worker")
        .mailbox(capacity, overflow)
        .start();
    let (hold, began, gate) = Hold::new();
    worker.tell(hold).await.unwrap();
    began.await.unwrap();
    (worker, log, gate)
}

/// Does what its messages say, and logs what happens to it.
pub struct Player {
    pub log: Log,
}

impl Actor for Player {
    async fn starting(&mut self, ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        self.log.push(format!("starting {}", ctx.incarnation()));
        Ok(())
    }

    async fn restarting(
        &mut self,
        mut left: LeftBehind,
        ctx: &mut Context<Self>,
    ) -> Result<(), StartFailure> {
        let left = left.take::<String>();
        self.log
            .push(format!("restarting {} with {left:?}", ctx.incarnation()));
        Ok(())
    }

    async fn started(&mut self, _: &mut Context<Self>) {
        self.log.push("started");
    }

    async fn stopping(&mut self, _: &mut Context<Self>) {
        self.log.push("stopping");
    }

    async fn stopped(&mut self, reason: &ExitReason) {
        self.log.push(format!("stopped: {reason}"));
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.log.push("dropped");
    }
}

type Play = Box<dyn FnOnce(&mut Player, &mut Context<Player>) + Send>;

/// What a [`Player`] is to do.
#[derive(Message)]
pub struct Do(Play);

impl Do {
    pub fn this(play: impl FnOnce(&mut Player, &mut Context<Player>) + Send + 'static) -> Self {
        Do(Box::new(play))
    }
}

impl Handler<Do> for Player {
    async fn handle(&mut self, Do(play): Do, ctx: &mut Context<Self>) {
        play(self, ctx);
    }
}

impl Handler<Note> for Player {
    async fn handle(&mut self, Note(n): Note, _: &mut Context<Self>) -> u64 {
        self.log.push(format!("note {n}"));
        n
    }
}

impl Handler<Hold> for Player {
    async fn handle(&mut self, mut hold: Hold, _: &mut Context<Self>) {
        let _ = hold.began.take().map(|began| began.send(()));
        let _ = hold.gate.await;
    }
}

impl Handler<Terminated> for Player {
    async fn handle(&mut self, notice: Terminated, _: &mut Context<Self>) {
        self.log.push(format!("{} {}", notice.label, notice.reason));
    }
}

impl Handler<LifeEvent> for Player {
    async fn handle(&mut self, event: LifeEvent, _: &mut Context<Self>) {
        self.log.push(match event {
            LifeEvent::Restarted {
                label,
                incarnation,
                reason,
                ..
            } => format!("{label} is {incarnation} after it {reason}"),
            LifeEvent::Terminated(notice) => format!("{} {}", notice.label, notice.reason),
            other => format!("{other:?}"),
        });
    }
}

pub fn player(system: &System, label: &'static str) -> (ActorRef<Player>, Log) {
    let log = Log::default();
    let inner = log.clone();
    let make = move || Player { log: inner };
    (system.actor(make).label(label).start(), log)
}

/// An actor, a player unless said otherwise, that is started, and started again, by the test.
pub struct Placed<A: Actor = Player> {
    pub player: ActorRef<A>,
    pub log: Log,
    pub place: Arc<dyn Place>,
    events: mpsc::Receiver<(Incarnation, ChildEvent)>,
    on_event: OnChildEvent,
    /// An incarnation was begun, and its end was not seen.
    up: std::cell::Cell<bool>,
}

impl Placed {
    pub fn new(system: &System, label: &'static str) -> Self {
        let log = Log::default();
        let inner = log.clone();
        let make = move || Player { log: inner.clone() };
        Placed::of(system.actor(make).label(label).place(), log)
    }
}

impl<A: Actor> Placed<A> {
    pub fn of((player, place): (ActorRef<A>, Arc<dyn Place>), log: Log) -> Self {
        let (tx, events) = mpsc::channel(16);
        let on_event: OnChildEvent = Arc::new(move |incarnation, event| {
            let _ = tx.clone().try_send((incarnation, event));
        });
        Placed {
            player,
            log,
            place,
            events,
            on_event,
            up: std::cell::Cell::new(false),
        }
    }

    /// Starts the next incarnation.
    pub fn begin(&self) {
        let terms = callboard::Terms::new(Arc::clone(&self.on_event));
        self.up.set(true);
        self.place.start(terms);
    }

    /// Starts the next incarnation, and waits until it is up.
    pub async fn start(&mut self) {
        self.begin();
        assert_eq!(self.event().await, ChildEvent::Started);
    }

    pub async fn event(&mut self) -> ChildEvent {
        let event = self.events.next().await.unwrap().1;
        self.note(&event);
        event
    }

    fn note(&self, event: &ChildEvent) {
        if event.is_last() {
            self.up.set(false);
        }
    }

    /// Ends the actor for good.
    pub async fn close(mut self) {
        self.place.kill();
        while self.up.get() {
            self.event().await;
        }
        self.place.close(ExitReason::Stopped);
    }

    /// Waits until the incarnation has ended.
    pub async fn ended(&mut self) -> ExitReason {
        match self.event().await {
            ChildEvent::Ended(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Does that work, and starts the next incarnation whenever one ends meanwhile.
    pub async fn through_crashes<T>(&mut self, work: impl IntoFuture<Output = T>) -> T {
        let mut work = std::pin::pin!(work.into_future());
        loop {
            match select(work, self.events.next()).await {
                Either::Left((done, _)) => return done,
                Either::Right((event, rest)) => {
                    let event = event.unwrap().1;
                    self.note(&event);
                    if event.is_last() {
                        self.begin();
                    }
                    work = rest;
                }
            }
        }
    }
}
