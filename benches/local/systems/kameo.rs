//! kameo: actors are tokio tasks; no tracing, which is its best case.

use std::future::Future;

use kameo::actor::{Actor, ActorRef, Spawn};
use kameo::error::Infallible;
use kameo::mailbox;
use kameo::message::{Context, Message};

use common::tally::Tally;
use common::threads::{Layout, TokioStage, run_on_tokio};

use super::{CAPACITY, Family, System};

pub(crate) struct Kameo;

struct Add(u64);
struct Token(u64);
struct Link(ActorRef<Counter>);

pub(crate) struct Counter {
    tally: Tally,
    next: Option<ActorRef<Counter>>,
}

impl Actor for Counter {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(counter: Self, _me: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(counter)
    }
}

impl Message<Add> for Counter {
    type Reply = u64;

    async fn handle(&mut self, Add(value): Add, _ctx: &mut Context<Self, u64>) -> u64 {
        self.tally.add(value)
    }
}

impl Message<Token> for Counter {
    type Reply = ();

    async fn handle(&mut self, Token(hops): Token, _ctx: &mut Context<Self, ()>) {
        match &self.next {
            Some(next) if hops > 0 => next
                .tell(Token(hops - 1))
                .send()
                .await
                .expect("the next lives"),
            _ => self.tally.finish_now(),
        }
    }
}

impl Message<Link> for Counter {
    type Reply = ();

    async fn handle(&mut self, Link(next): Link, _ctx: &mut Context<Self, ()>) {
        self.next = Some(next);
    }
}

impl System for Kameo {
    type Stage = TokioStage;
    type Counter = ActorRef<Counter>;

    fn name(&self) -> &'static str {
        "kameo"
    }

    fn family(&self) -> Family {
        Family::Actors
    }

    fn run<F, Fut>(&self, layout: Layout, body: F) -> Fut::Output
    where
        F: FnOnce(TokioStage) -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        run_on_tokio(layout, body)
    }

    fn spawn(_stage: &TokioStage, task: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(task));
    }

    async fn start(stage: &TokioStage, tally: Tally) -> ActorRef<Counter> {
        let _there = stage.receivers.enter();
        Counter::spawn_with_mailbox(Counter { tally, next: None }, mailbox::bounded(CAPACITY))
    }

    /// An actor without references ends.
    fn stop(counter: ActorRef<Counter>) {
        drop(counter);
    }

    async fn tell(counter: &ActorRef<Counter>, value: u64) {
        let sent = counter.tell(Add(value)).send().await;
        sent.expect("the counter lives");
    }

    async fn ask(counter: &ActorRef<Counter>, value: u64) -> u64 {
        let answered = counter.ask(Add(value)).send().await;
        answered.expect("the counter answers")
    }

    async fn link(counter: &ActorRef<Counter>, next: ActorRef<Counter>) {
        let sent = counter.tell(Link(next)).send().await;
        sent.expect("the counter lives");
    }

    async fn pass(counter: &ActorRef<Counter>, hops: u64) {
        let sent = counter.tell(Token(hops)).send().await;
        sent.expect("the counter lives");
    }
}
