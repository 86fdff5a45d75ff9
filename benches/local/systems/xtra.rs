//! xtra: actors are tokio tasks. Its mailbox is a heap without sequence numbers and not first in, first
//! out, which the counts here don't depend on.

use std::future::Future;

use xtra::{Actor, Address, Context, Handler, Mailbox};

use common::tally::Tally;
use common::threads::{Layout, TokioStage, run_on_tokio};

use super::{CAPACITY, Family, System};

pub(crate) struct Xtra;

struct Add(u64);
struct Token(u64);
struct Link(Address<Counter>);

#[derive(xtra::Actor)]
pub(crate) struct Counter {
    tally: Tally,
    next: Option<Address<Counter>>,
}

impl Handler<Add> for Counter {
    type Return = u64;

    async fn handle(&mut self, Add(value): Add, _ctx: &mut Context<Self>) -> u64 {
        self.tally.add(value)
    }
}

impl Handler<Token> for Counter {
    type Return = ();

    async fn handle(&mut self, Token(hops): Token, _ctx: &mut Context<Self>) {
        match &self.next {
            Some(next) if hops > 0 => tell(next, Token(hops - 1)).await,
            _ => self.tally.finish_now(),
        }
    }
}

impl Handler<Link> for Counter {
    type Return = ();

    async fn handle(&mut self, Link(next): Link, _ctx: &mut Context<Self>) {
        self.next = Some(next);
    }
}

/// Waits until the message is in the mailbox, not until it was handled.
async fn tell<M: Send + 'static>(counter: &Address<Counter>, message: M)
where
    Counter: Actor + Handler<M>,
    <Counter as Handler<M>>::Return: Send,
{
    let queued = counter.send(message).detach().await;
    drop(queued.expect("the counter lives"));
}

impl System for Xtra {
    type Stage = TokioStage;
    type Counter = Address<Counter>;

    fn name(&self) -> &'static str {
        "xtra"
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

    async fn start(stage: &TokioStage, tally: Tally) -> Address<Counter> {
        let _there = stage.receivers.enter();
        xtra::spawn_tokio(Counter { tally, next: None }, Mailbox::bounded(CAPACITY))
    }

    /// An actor without addresses ends.
    fn stop(counter: Address<Counter>) {
        drop(counter);
    }

    async fn tell(counter: &Address<Counter>, value: u64) {
        tell(counter, Add(value)).await;
    }

    async fn ask(counter: &Address<Counter>, value: u64) -> u64 {
        counter.send(Add(value)).await.expect("the counter answers")
    }

    async fn link(counter: &Address<Counter>, next: Address<Counter>) {
        tell(counter, Link(next)).await;
    }

    async fn pass(counter: &Address<Counter>, hops: u64) {
        tell(counter, Token(hops)).await;
    }
}
