//! Callboard: all that is on by default stays on.

use std::future::Future;
use std::sync::mpsc;

use callboard::{Actor, ActorRef, Context, Handler, Message, Overflow, Placement};

use super::{CAPACITY, Family, System};
use crate::tally::Tally;
use crate::threads::{HUNG_AFTER, Layout, on_fresh_thread};
use crate::workloads::Work;

pub(crate) struct Callboard {
    pub(crate) hand_off: bool,
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
        if self.hand_off {
            "callboard"
        } else {
            "callboard (no hand-off)"
        }
    }

    fn family(&self) -> Family {
        Family::Callboard
    }

    fn takes(&self, work: Work) -> bool {
        self.hand_off || work.asks()
    }

    fn run<F, Fut>(&self, layout: Layout, body: F) -> Fut::Output
    where
        F: FnOnce(Stage) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        let hand_off_on = self.hand_off;
        on_fresh_thread(move || {
            let arbiters = match layout {
                Layout::OneThread => 1,
                Layout::TwoThreads => 2,
            };
            let system = callboard::System::with_arbiters(arbiters).expect("arbiters");
            hand_off(&system, hand_off_on);
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
