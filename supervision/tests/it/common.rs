//! A worker that does what it is told, and a log of what happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callboard::{
    Actor, ActorRef, Context, ExitReason, Fault, Handler, Message, Place, StartFailure, System,
};
use callboard_supervision::Backoff;
use parking_lot::Mutex;

/// What happened, in order, over all workers that share it.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn push(&self, line: impl Into<String>) {
        self.0.lock().push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

/// How many of the next starts fail.
#[derive(Clone, Default)]
pub(crate) struct Failing(Arc<AtomicU32>);

impl Failing {
    pub(crate) fn next(&self, starts: u32) {
        self.0.store(starts, Ordering::SeqCst);
    }

    fn take(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    }
}

pub(crate) struct Worker {
    name: &'static str,
    log: Log,
    failing: Failing,
    /// How long `starting` and `stopped` take.
    slow: Duration,
    system: System,
}

impl Actor for Worker {
    async fn starting(&mut self, ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        ctx.sleep(self.slow).await;
        if self.failing.take() {
            self.log.push(format!("{} fails to start", self.name));
            return Err(StartFailure::new("no luck"));
        }
        let line = format!("{} starts {}", self.name, ctx.incarnation());
        self.log.push(line);
        Ok(())
    }

    async fn stopped(&mut self, _: &ExitReason) {
        self.system.clock().sleep(self.slow).await;
        self.log.push(format!("{} stopped", self.name));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.log.push(format!("{} dropped", self.name));
    }
}

/// Answers with its number and the incarnation that handled it.
#[derive(Message, Clone)]
#[message(reply = (u32, u64))]
pub(crate) struct Note(pub(crate) u32);

impl Handler<Note> for Worker {
    async fn handle(&mut self, Note(n): Note, ctx: &mut Context<Self>) -> (u32, u64) {
        (n, ctx.incarnation().0)
    }
}

/// Panics.
#[derive(Message)]
pub(crate) struct Crash;

impl Handler<Crash> for Worker {
    async fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("told to crash");
    }
}

/// Fails in order, for that reason.
#[derive(Message)]
pub(crate) struct Fail(pub(crate) Fault);

impl Handler<Fail> for Worker {
    async fn handle(&mut self, Fail(fault): Fail, ctx: &mut Context<Self>) {
        ctx.fail(fault);
    }
}

/// Ends in order.
#[derive(Message)]
pub(crate) struct Leave;

impl Handler<Leave> for Worker {
    async fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// Tells that it has begun, then waits for the gate, then panics if the gate was dropped.
#[derive(Message)]
pub(crate) struct Hold {
    pub(crate) begun: futures::channel::oneshot::Sender<()>,
    pub(crate) gate: futures::channel::oneshot::Receiver<()>,
}

impl Handler<Hold> for Worker {
    async fn handle(&mut self, hold: Hold, _: &mut Context<Self>) {
        hold.begun.send(()).expect("the test waits");
        hold.gate.await.expect("told to crash in the middle");
    }
}

/// Workers of one test.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) system: System,
    pub(crate) log: Log,
    pub(crate) slow: Duration,
}

impl Bench {
    pub(crate) fn new(system: &System) -> Self {
        Bench {
            system: system.clone(),
            log: Log::default(),
            slow: Duration::ZERO,
        }
    }

    pub(crate) fn slow(mut self, slow: Duration) -> Self {
        self.slow = slow;
        self
    }

    pub(crate) fn worker(&self, name: &'static str) -> (ActorRef<Worker>, Arc<dyn Place>, Failing) {
        let failing = Failing::default();
        let (log, system, slow) = (self.log.clone(), self.system.clone(), self.slow);
        let fails = failing.clone();
        let make = move || Worker {
            name,
            log: log.clone(),
            failing: fails.clone(),
            slow,
            system: system.clone(),
        };
        let (worker, place) = self.system.actor(make).label(name).place();
        (worker, place, failing)
    }
}

/// A back-off short enough for real time.
pub(crate) fn brisk() -> Backoff {
    Backoff {
        base: Duration::from_millis(1),
        cap: Duration::from_millis(5),
        ..Backoff::default()
    }
}

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
