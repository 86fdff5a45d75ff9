//! Callboard: all that is on by default stays on.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use callboard::{Actor, ActorRef, Context, Handler, Message, Overflow, Placement, Terminated};
use tokio::sync::oneshot;

use common::tally::Tally;
use common::threads::{HUNG_AFTER, Layout, on_fresh_thread};

use super::{CAPACITY, Family, System};
use crate::workloads::Work;

pub(crate) struct Callboard {
    name: &'static str,
    hand_off: bool,
    looks_on: LooksOn,
}

/// Who looks on at its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LooksOn {
    Nobody,
    /// A subscriber that wants the spans of handlers, and does nothing with them.
    Spans,
    /// Measuring, with no recorder behind it.
    #[cfg(feature = "metrics")]
    Metrics,
}

impl Callboard {
    pub(crate) const PLAIN: Callboard = Callboard {
        name: "callboard",
        hand_off: true,
        looks_on: LooksOn::Nobody,
    };
    pub(crate) const NO_HAND_OFF: Callboard = Callboard {
        name: "callboard (no hand-off)",
        hand_off: false,
        looks_on: LooksOn::Nobody,
    };
    pub(crate) const SPANS: Callboard = Callboard {
        name: "callboard (spans)",
        hand_off: true,
        looks_on: LooksOn::Spans,
    };
    #[cfg(feature = "metrics")]
    pub(crate) const MEASURED: Callboard = Callboard {
        name: "callboard (measured)",
        hand_off: true,
        looks_on: LooksOn::Metrics,
    };
}

/// Gives spans numbers.
struct Numbers(AtomicU64);

impl tracing::Subscriber for Numbers {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "callboard::handle"
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::DEBUG)
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::Id) {}
    fn exit(&self, _: &tracing::Id) {}
}

/// Has somebody look on. A subscriber stays for the rest of the process, which is this run's own.
fn look_on(system: &callboard::System, who: LooksOn) {
    match who {
        LooksOn::Nobody => {}
        LooksOn::Spans => {
            // The first run of the process has set it, if this one can't.
            let _ = tracing::subscriber::set_global_default(Numbers(AtomicU64::new(1)));
        }
        #[cfg(feature = "metrics")]
        LooksOn::Metrics => system.measure(true),
    }
    let _ = system;
}

/// Switches hand-off: whether an ask to an idle actor of the same thread runs its handler in place of a
/// hop. The only place that knows how.
fn hand_off(system: &callboard::System, on: bool) {
    system.hand_off(on);
}

struct Add(u64);
impl Message for Add {
    type Reply = u64;
}

struct Token(u64);
impl Message for Token {
    type Reply = ();
}

struct Link(ActorRef<Counter>);
impl Message for Link {
    type Reply = ();
}

/// Watches many, and says when all have ended.
struct Watcher {
    left: usize,
    done: Option<oneshot::Sender<()>>,
}

struct WatchAll(Vec<ActorRef<Counter>>, oneshot::Sender<()>);
impl Message for WatchAll {
    type Reply = ();
}

impl Actor for Watcher {}

impl Handler<WatchAll> for Watcher {
    async fn handle(&mut self, WatchAll(all, done): WatchAll, ctx: &mut Context<Self>) {
        self.left = all.len();
        self.done = Some(done);
        for counter in &all {
            ctx.watch(counter);
        }
    }
}

impl Handler<Terminated> for Watcher {
    async fn handle(&mut self, _: Terminated, _ctx: &mut Context<Self>) {
        self.left -= 1;
        if self.left == 0
            && let Some(done) = self.done.take()
        {
            done.send(()).expect("the run waits");
        }
    }
}

pub(crate) struct Counter {
    tally: Tally,
    next: Option<ActorRef<Counter>>,
}

impl Actor for Counter {}

impl Handler<Add> for Counter {
    async fn handle(&mut self, Add(value): Add, _ctx: &mut Context<Self>) -> u64 {
        self.tally.add(value)
    }
}

impl Handler<Token> for Counter {
    async fn handle(&mut self, Token(hops): Token, _ctx: &mut Context<Self>) {
        match &self.next {
            Some(next) if hops > 0 => next.tell(Token(hops - 1)).await.expect("the next lives"),
            _ => self.tally.finish_now(),
        }
    }
}

impl Handler<Link> for Counter {
    async fn handle(&mut self, Link(next): Link, _ctx: &mut Context<Self>) {
        self.next = Some(next);
    }
}

/// Senders run on arbiter 0.
const SENDERS: usize = 0;

#[derive(Clone)]
pub(crate) struct Stage {
    system: callboard::System,
    /// The receivers' arbiter.
    receivers: usize,
}

impl System for Callboard {
    type Stage = Stage;
    type Counter = ActorRef<Counter>;

    fn name(&self) -> &'static str {
        self.name
    }

    fn family(&self) -> Family {
        Family::Callboard
    }

    fn takes(&self, work: Work) -> bool {
        match self.looks_on {
            LooksOn::Nobody => self.hand_off || work.asks(),
            _ => work.is_observed(),
        }
    }

    fn run<F, Fut>(&self, layout: Layout, body: F) -> Fut::Output
    where
        F: FnOnce(Stage) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        let (hand_off_on, looks_on) = (self.hand_off, self.looks_on);
        on_fresh_thread(move || {
            let arbiters = match layout {
                Layout::OneThread => 1,
                Layout::TwoThreads => 2,
            };
            let system = callboard::System::with_arbiters(arbiters).expect("arbiters");
            hand_off(&system, hand_off_on);
            look_on(&system, looks_on);
            let stage = Stage {
                system: system.clone(),
                receivers: arbiters - 1,
            };
            let (done, wait) = mpsc::sync_channel(1);
            system.spawn(Placement::Pinned(SENDERS), move || async move {
                // Nobody waits only if the run was given up.
                let _ = done.send(body(stage).await);
            });
            let output = wait.recv_timeout(HUNG_AFTER).expect("the run ended");
            shut_down(&system);
            output
        })
    }

    fn spawn(stage: &Stage, task: impl Future<Output = ()> + Send + 'static) {
        let accepted = stage.system.spawn(Placement::Pinned(SENDERS), move || task);
        assert!(accepted, "the system runs");
    }

    async fn start(stage: &Stage, tally: Tally) -> ActorRef<Counter> {
        let counter = move || Counter { tally, next: None };
        if stage.receivers == SENDERS {
            // The default mailbox is bounded, with the same capacity.
            const { assert!(callboard::DEFAULT_MAILBOX_CAPACITY == CAPACITY) };
            return counter().start().expect("on an arbiter");
        }
        stage
            .system
            .actor(counter)
            .mailbox(CAPACITY, Overflow::Wait)
            .placement(Placement::Pinned(stage.receivers))
            .start()
    }

    fn stop(counter: ActorRef<Counter>) {
        counter.stop();
    }

    async fn tell(counter: &ActorRef<Counter>, value: u64) {
        counter.tell(Add(value)).await.expect("the counter lives");
    }

    async fn ask(counter: &ActorRef<Counter>, value: u64) -> u64 {
        counter.ask(Add(value)).await.expect("the counter answers")
    }

    async fn watch(_: &Stage, counters: Vec<ActorRef<Counter>>) -> Option<oneshot::Receiver<()>> {
        let watcher = Watcher {
            left: 0,
            done: None,
        };
        let watcher = watcher.start().expect("on an arbiter");
        let (done, told) = oneshot::channel();
        let watched = watcher.ask(WatchAll(counters, done)).await;
        watched.expect("the watcher answers");
        Some(told)
    }

    async fn link(counter: &ActorRef<Counter>, next: ActorRef<Counter>) {
        counter.tell(Link(next)).await.expect("the counter lives");
    }

    async fn pass(counter: &ActorRef<Counter>, hops: u64) {
        counter.tell(Token(hops)).await.expect("the counter lives");
    }
}

/// Waits until every actor has ended, outside any arbiter.
fn shut_down(system: &callboard::System) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let killed = runtime.block_on(system.shutdown());
    assert!(killed.is_empty(), "actors that would not stop: {killed:?}");
}
