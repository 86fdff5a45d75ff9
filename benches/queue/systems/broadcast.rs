//! tokio's broadcast channel: one buffer that all receivers read.

use std::future::Future;

use common::run::Result;
use common::threads::{Layout, run_on_tokio};
use tokio::sync::broadcast::{self, Sender};

use super::Candidate;
use crate::item::Item;
use crate::workloads::fan_out::{self, Count, Topic};
use crate::workloads::{CAPACITY, Run, Work};

pub(crate) struct Broadcast;

impl Candidate for Broadcast {
    fn name(&self) -> &'static str {
        "tokio broadcast"
    }

    fn takes(&self, work: Work) -> bool {
        matches!(work, Work::Publish { .. })
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        match work {
            Work::Publish { subscribers } => fan_out::measure(self, subscribers, run),
            _ => Err("a broadcast channel doesn't do that".into()),
        }
    }
}

impl Topic for Broadcast {
    type Publisher = Sender<Item>;

    fn run<F, Fut>(&self, body: F) -> Fut::Output
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        run_on_tokio(Layout::OneThread, move |_| body())
    }

    async fn start(subscribers: Vec<Count>) -> Sender<Item> {
        let (sender, _) = broadcast::channel(CAPACITY);
        for mut count in subscribers {
            let mut receiver = sender.subscribe();
            tokio::spawn(async move {
                // Lagging would end the run: its burst would never be whole.
                while let Ok(item) = receiver.recv().await {
                    count.add(&item);
                }
            });
        }
        sender
    }

    async fn publish(sender: &mut Sender<Item>, item: Item) {
        sender.send(item).expect("there are receivers");
    }

    async fn stop(sender: Sender<Item>) {
        drop(sender);
    }
}
