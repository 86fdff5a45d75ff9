//! One actor that does what it is told, for all tests.

use std::sync::Arc;
use std::time::Duration;

use callboard::{Actor, ActorRef, Context, Handler, Message, System};
use futures::channel::oneshot;
use parking_lot::Mutex;

/// What was seen, in order, shared between an actor and its test.
#[derive(Clone, Default)]
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
