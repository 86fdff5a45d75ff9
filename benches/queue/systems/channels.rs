//! Bare channels: no names, no leases, no deadlines; what is possible on these threads for those who need
//! none of it. What is sent and taken in batches goes by the calls that each has for that, if any: tokio
//! reserves room for many and receives many, the others try until the channel is full or empty.

use std::marker::PhantomData;

use common::run::Result;

use super::Candidate;
use crate::item::Item;
use crate::workloads::channel::{self, Channel};
use crate::workloads::{BATCH, Run, Work};

pub(crate) struct Raw<C>(PhantomData<fn() -> C>);

impl<C> Raw<C> {
    pub(crate) fn new() -> Self {
        Raw(PhantomData)
    }
}

impl<C: Channel> Candidate for Raw<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn takes(&self, work: Work) -> bool {
        matches!(work, Work::OfferPoll { .. })
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        match work {
            Work::OfferPoll { batch, layout } => channel::measure::<C>(batch, layout, run),
            _ => Err("a channel doesn't do that".into()),
        }
    }
}

pub(crate) struct AsyncChannel;

impl Channel for AsyncChannel {
    const NAME: &'static str = "async-channel";
    type Sender = async_channel::Sender<Item>;
    type Receiver = async_channel::Receiver<Item>;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver) {
        async_channel::bounded(capacity)
    }

    async fn send(sender: &mut Self::Sender, item: Item) {
        sender.send(item).await.expect("the receiver lives");
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<Item> {
        receiver.recv().await.ok()
    }

    async fn send_all(sender: &mut Self::Sender, items: &mut Vec<Item>) {
        for item in items.drain(..) {
            if let Err(async_channel::TrySendError::Full(item)) = sender.try_send(item) {
                sender.send(item).await.expect("the receiver lives");
            }
        }
    }

    async fn receive_some(receiver: &mut Self::Receiver, items: &mut Vec<Item>) {
        items.extend(receiver.recv().await.ok());
        while items.len() < BATCH
            && let Ok(item) = receiver.try_recv()
        {
            items.push(item);
        }
    }
}

pub(crate) struct Kanal;

impl Channel for Kanal {
    const NAME: &'static str = "kanal";
    type Sender = kanal::AsyncSender<Item>;
    type Receiver = kanal::AsyncReceiver<Item>;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver) {
        kanal::bounded_async(capacity)
    }

    async fn send(sender: &mut Self::Sender, item: Item) {
        sender.send(item).await.expect("the receiver lives");
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<Item> {
        receiver.recv().await.ok()
    }

    async fn send_all(sender: &mut Self::Sender, items: &mut Vec<Item>) {
        for item in items.drain(..) {
            let sent = sender.try_send(item).expect("the receiver lives");
            if !sent {
                sender.send(item).await.expect("the receiver lives");
            }
        }
    }

    async fn receive_some(receiver: &mut Self::Receiver, items: &mut Vec<Item>) {
        items.extend(receiver.recv().await.ok());
        while items.len() < BATCH
            && let Ok(Some(item)) = receiver.try_recv()
        {
            items.push(item);
        }
    }
}

pub(crate) struct Flume;

impl Channel for Flume {
    const NAME: &'static str = "flume";
    type Sender = flume::Sender<Item>;
    type Receiver = flume::Receiver<Item>;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver) {
        flume::bounded(capacity)
    }

    async fn send(sender: &mut Self::Sender, item: Item) {
        sender.send_async(item).await.expect("the receiver lives");
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<Item> {
        receiver.recv_async().await.ok()
    }

    async fn send_all(sender: &mut Self::Sender, items: &mut Vec<Item>) {
        for item in items.drain(..) {
            if let Err(flume::TrySendError::Full(item)) = sender.try_send(item) {
                sender.send_async(item).await.expect("the receiver lives");
            }
        }
    }

    async fn receive_some(receiver: &mut Self::Receiver, items: &mut Vec<Item>) {
        items.extend(receiver.recv_async().await.ok());
        items.extend(receiver.try_iter().take(BATCH - 1));
    }
}

pub(crate) struct Tokio;

impl Channel for Tokio {
    const NAME: &'static str = "tokio::mpsc";
    type Sender = tokio::sync::mpsc::Sender<Item>;
    type Receiver = tokio::sync::mpsc::Receiver<Item>;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver) {
        tokio::sync::mpsc::channel(capacity)
    }

    async fn send(sender: &mut Self::Sender, item: Item) {
        sender.send(item).await.expect("the receiver lives");
    }

    async fn receive(receiver: &mut Self::Receiver) -> Option<Item> {
        receiver.recv().await
    }

    async fn send_all(sender: &mut Self::Sender, items: &mut Vec<Item>) {
        let room = sender.reserve_many(items.len());
        let room = room.await.expect("the receiver lives");
        for (place, item) in room.zip(items.drain(..)) {
            place.send(item);
        }
    }

    async fn receive_some(receiver: &mut Self::Receiver, items: &mut Vec<Item>) {
        receiver.recv_many(items, BATCH).await;
    }
}
