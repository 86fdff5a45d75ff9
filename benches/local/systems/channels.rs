//! Bare channels: a task that loops over an enum. No type erasure, no supervision, no deadlines; what is
//! possible on these threads for those who need nothing of an actor.

use std::future::Future;
use std::marker::PhantomData;

use tokio::sync::oneshot;

use common::tally::Tally;
use common::threads::{Layout, TokioStage, run_on_tokio};

use super::{CAPACITY, Family, System};
use crate::workloads::Work;

/// A bounded channel whose senders can wait.
pub(crate) trait Channel: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    type Sender: Clone + Send + Sync + 'static;
    type Receiver: Send + 'static;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver);
    fn send(sender: &Self::Sender, order: Order<Self>) -> impl Future<Output = ()> + Send;
    /// `None` once all senders are gone.
    fn receive(receiver: &mut Self::Receiver) -> impl Future<Output = Option<Order<Self>>> + Send;
}

pub(crate) enum Order<C: Channel> {
    Add(u64),
    Ask(u64, oneshot::Sender<u64>),
    Token(u64),
    Link(C::Sender),
}

pub(crate) struct Raw<C>(PhantomData<fn() -> C>);

impl<C> Raw<C> {
    pub(crate) fn new() -> Self {
        Raw(PhantomData)
    }
}

async fn counter<C: Channel>(mut receiver: C::Receiver, mut tally: Tally) {
    let mut next: Option<C::Sender> = None;
    while let Some(order) = C::receive(&mut receiver).await {
        match order {
            Order::Add(value) => {
                tally.add(value);
            }
            Order::Ask(value, answer) => {
                // The asker always waits.
                let _ = answer.send(tally.add(value));
            }
            Order::Token(hops) => match &next {
                Some(next) if hops > 0 => C::send(next, Order::Token(hops - 1)).await,
                _ => tally.finish_now(),
            },
            Order::Link(sender) => next = Some(sender),
        }
    }
}

impl<C: Channel> System for Raw<C> {
    type Stage = TokioStage;
    type Counter = C::Sender;

    fn name(&self) -> &'static str {
        C::NAME
    }

    fn family(&self) -> Family {
        Family::Channel
    }

    /// A channel is no actor: what it costs to have one is another question (some allocate their whole
    /// capacity at once).
    fn takes(&self, work: Work) -> bool {
        !work.is_about_having_actors()
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

    async fn start(stage: &TokioStage, tally: Tally) -> C::Sender {
        let (sender, receiver) = C::bounded(CAPACITY);
        drop(stage.receivers.spawn(counter::<C>(receiver, tally)));
        sender
    }

    fn stop(counter: C::Sender) {
        drop(counter);
    }

    async fn tell(counter: &C::Sender, value: u64) {
        C::send(counter, Order::Add(value)).await;
    }

    async fn ask(counter: &C::Sender, value: u64) -> u64 {
        let (answer, answered) = oneshot::channel();
        C::send(counter, Order::Ask(value, answer)).await;
        answered.await.expect("the counter answers")
    }

    async fn link(counter: &C::Sender, next: C::Sender) {
        C::send(counter, Order::Link(next)).await;
    }

    async fn pass(counter: &C::Sender, hops: u64) {
        C::send(counter, Order::Token(hops)).await;
    }
}

pub(crate) struct Kanal;

impl Channel for Kanal {
    const NAME: &'static str = "raw kanal";
    type Sender = kanal::AsyncSender<Order<Self>>;
    type Receiver = kanal::AsyncReceiver<Order<Self>>;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver) {
        kanal::bounded_async(capacity)
    }

    async fn send(sender: &Self::Sender, order: Order<Self>) {
        assert!(sender.send(order).await.is_ok(), "the counter lives");
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<Order<Self>> {
        receiver.recv().await.ok()
    }
}

pub(crate) struct Flume;

impl Channel for Flume {
    const NAME: &'static str = "raw flume";
    type Sender = flume::Sender<Order<Self>>;
    type Receiver = flume::Receiver<Order<Self>>;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver) {
        flume::bounded(capacity)
    }

    async fn send(sender: &Self::Sender, order: Order<Self>) {
        assert!(sender.send_async(order).await.is_ok(), "the counter lives");
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<Order<Self>> {
        receiver.recv_async().await.ok()
    }
}

pub(crate) struct Tokio;

impl Channel for Tokio {
    const NAME: &'static str = "raw tokio::mpsc";
    type Sender = tokio::sync::mpsc::Sender<Order<Self>>;
    type Receiver = tokio::sync::mpsc::Receiver<Order<Self>>;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver) {
        tokio::sync::mpsc::channel(capacity)
    }

    async fn send(sender: &Self::Sender, order: Order<Self>) {
        assert!(sender.send(order).await.is_ok(), "the counter lives");
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<Order<Self>> {
        receiver.recv().await
    }
}
