//! One offers, one polls: the same over every channel.

use std::future::Future;

use common::run::Result;
use common::size::millions;
use common::stopwatch::Stopwatch;
use common::threads::{Layout, run_on_tokio};

use super::{BATCH, Batch, CAPACITY, Run};
use crate::item::Item;

/// A bounded channel whose senders wait for room.
pub(crate) trait Channel: Sync + 'static {
    const NAME: &'static str;
    type Sender: Send + 'static;
    type Receiver: Send + 'static;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver);

    fn send(sender: &mut Self::Sender, item: Item) -> impl Future<Output = ()> + Send;

    /// `None` once the sender is gone.
    fn receive(receiver: &mut Self::Receiver) -> impl Future<Output = Option<Item>> + Send;

    /// Sends all of them, in the way that is cheapest for many.
    fn send_all(
        sender: &mut Self::Sender,
        items: &mut Vec<Item>,
    ) -> impl Future<Output = ()> + Send;

    /// Waits for one, then takes what is there besides, up to a batch. Leaves `items` empty once the sender is
    /// gone.
    fn receive_some(
        receiver: &mut Self::Receiver,
        items: &mut Vec<Item>,
    ) -> impl Future<Output = ()> + Send;
}

/// How many items one run moves.
pub(crate) fn items(batch: Batch, run: &Run) -> u64 {
    match batch {
        Batch::Single => run.size.pick(1_000_000, 64_000),
        Batch::Of64 => run.size.pick(4_096_000, 128_000),
    }
}

pub(crate) fn measure<C: Channel>(batch: Batch, layout: Layout, run: &Run) -> Result<Vec<f64>> {
    let count = items(batch, run);
    let elapsed = run_on_tokio(layout, move |stage| async move {
        let (sender, receiver) = C::bounded(CAPACITY);
        let begin = Stopwatch::start();
        let received = match batch {
            Batch::Single => {
                let receiving = stage.receivers.spawn(receive::<C>(receiver));
                tokio::spawn(send::<C>(sender, count));
                receiving
            }
            Batch::Of64 => {
                let receiving = stage.receivers.spawn(receive_batches::<C>(receiver));
                tokio::spawn(send_batches::<C>(sender, count));
                receiving
            }
        };
        let received = received.await.expect("the receiver ends");
        let elapsed = begin.elapsed();
        assert_eq!(received, count, "items lost, doubled or out of order");
        elapsed
    });
    Ok(vec![millions(count, elapsed)])
}

async fn send<C: Channel>(mut sender: C::Sender, count: u64) {
    for number in 0..count {
        C::send(&mut sender, Item::new(number)).await;
    }
}

async fn receive<C: Channel>(mut receiver: C::Receiver) -> u64 {
    let mut next = 0;
    while let Some(item) = C::receive(&mut receiver).await {
        assert_eq!(item.number(), next, "out of order");
        next += 1;
    }
    next
}

async fn send_batches<C: Channel>(mut sender: C::Sender, count: u64) {
    let mut items = Vec::with_capacity(BATCH);
    let mut number = 0;
    while number < count {
        let end = count.min(number + BATCH as u64);
        items.extend((number..end).map(Item::new));
        C::send_all(&mut sender, &mut items).await;
        assert!(items.is_empty(), "all are sent");
        number = end;
    }
}

async fn receive_batches<C: Channel>(mut receiver: C::Receiver) -> u64 {
    let mut items = Vec::with_capacity(BATCH);
    let mut next = 0;
    loop {
        C::receive_some(&mut receiver, &mut items).await;
        if items.is_empty() {
            return next;
        }
        for item in items.drain(..) {
            assert_eq!(item.number(), next, "out of order");
            next += 1;
        }
    }
}
