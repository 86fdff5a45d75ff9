//! ractor: actors are tokio tasks, one message type each, mailboxes without a bound.

use std::future::Future;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use common::tally::Tally;
use common::threads::{Layout, TokioStage, run_on_tokio};

use super::{Family, System};

pub(crate) struct Ractor;

pub(crate) enum Order {
    Add(u64),
    Ask(u64, RpcReplyPort<u64>),
    Token(u64),
    Link(ActorRef<Order>),
}

/// With the feature that the benchmark `remote` needs, ractor no longer takes everything for a message.
#[cfg(feature = "remote")]
impl ractor::Message for Order {}

struct Counter;

struct State {
    tally: Tally,
    next: Option<ActorRef<Order>>,
}

impl Actor for Counter {
    type Msg = Order;
    type State = State;
    type Arguments = Tally;

    async fn pre_start(
        &self,
        _me: ActorRef<Order>,
        tally: Tally,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { tally, next: None })
    }

    async fn handle(
        &self,
        _me: ActorRef<Order>,
        order: Order,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Add(value) => {
                state.tally.add(value);
            }
            Order::Ask(value, port) => port.send(state.tally.add(value))?,
            Order::Token(hops) => match &state.next {
                Some(next) if hops > 0 => next.cast(Order::Token(hops - 1))?,
                _ => state.tally.finish_now(),
            },
            Order::Link(next) => state.next = Some(next),
        }
        Ok(())
    }
}

async fn start_here(tally: Tally) -> ActorRef<Order> {
    let (counter, _handle) = Actor::spawn(None, Counter, tally)
        .await
        .expect("the counter starts");
    counter
}

impl System for Ractor {
    type Stage = TokioStage;
    type Counter = ActorRef<Order>;

    fn name(&self) -> &'static str {
        "ractor (unbounded)"
    }

    fn family(&self) -> Family {
        Family::UnboundedActors
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

    async fn start(stage: &TokioStage, tally: Tally) -> ActorRef<Order> {
        if stage.shared {
            return start_here(tally).await;
        }
        // Its start is a future that spawns from within.
        let started = stage.receivers.spawn(start_here(tally)).await;
        started.expect("the start did not panic")
    }

    fn stop(counter: ActorRef<Order>) {
        counter.stop(None);
    }

    async fn tell(counter: &ActorRef<Order>, value: u64) {
        counter.cast(Order::Add(value)).expect("the counter lives");
    }

    async fn ask(counter: &ActorRef<Order>, value: u64) -> u64 {
        let answered = counter.call(|port| Order::Ask(value, port), None).await;
        answered.expect("the counter lives").expect("it answers")
    }

    async fn link(counter: &ActorRef<Order>, next: ActorRef<Order>) {
        counter.cast(Order::Link(next)).expect("the counter lives");
    }

    async fn pass(counter: &ActorRef<Order>, hops: u64) {
        counter.cast(Order::Token(hops)).expect("the counter lives");
    }
}
