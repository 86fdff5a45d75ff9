//! One offers, one leases and acknowledges, at the same time.

use std::time::Duration;

use callboard::Message;
use callboard::queue::{Queue, ack_all};
use common::run::Result;
use common::stopwatch::Stopwatch;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::ask::thousands;
use super::{Batch, Rounds, Run};
use crate::messages::{Block, block};

/// What is in the queue.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(name = "bench.item")]
pub(crate) struct Item(pub(crate) Block);

/// How many items wait in it.
pub(crate) const CAPACITY: usize = 1_024;
/// How many go into a call, where several do.
const BATCH: u64 = 64;

/// Both ends of a queue, and where the producer runs.
pub(crate) struct Ends<S> {
    pub(crate) producer: Queue<Item>,
    pub(crate) consumer: Queue<Item>,
    /// Starts a task.
    pub(crate) spawn: S,
    pub(crate) batch: Batch,
}

/// Thousands of items a second.
pub(crate) async fn measure<S>(mut ends: Ends<S>, run: Run) -> Result<Vec<f64>>
where
    S: Fn(futures::future::BoxFuture<'static, ()>) + Send + Sync,
{
    let (count, took) = run.rounds(CAPACITY as u64, &mut ends).await?;
    let left = ends.consumer.state().await?.len;
    if left != 0 {
        return Err(format!("{left} items are left").into());
    }
    Ok(vec![thousands(count, took)])
}

impl<S> Rounds for Ends<S>
where
    S: Fn(futures::future::BoxFuture<'static, ()>) + Send + Sync,
{
    async fn round(&mut self, count: u64) -> Result<Duration> {
        let begin = Stopwatch::start();
        let (done, offered) = oneshot::channel();
        let (producer, batch) = (self.producer.clone(), self.batch);
        (self.spawn)(Box::pin(async move {
            // Nobody waits only if the consumer has failed.
            let _ = done.send(offer(&producer, count, batch).await);
        }));
        let mut next = 0;
        while next < count {
            next = self.take(next).await?;
        }
        offered.await??;
        Ok(begin.elapsed())
    }
}

async fn offer(queue: &Queue<Item>, count: u64, batch: Batch) -> Result<()> {
    match batch {
        Batch::Single => {
            for number in 0..count {
                let offered = queue.offer(Item(block(number))).await;
                offered.map_err(|error| error.to_string())?;
            }
        }
        Batch::Of64 => {
            for first in (0..count).step_by(64) {
                let items = (first..count.min(first + BATCH)).map(|number| Item(block(number)));
                let offered = queue.offer_many(items).await;
                offered.map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(())
}

impl<S> Ends<S> {
    /// Takes the next item or batch, of which the first has that number. Answers the number of the one behind.
    async fn take(&self, first: u64) -> Result<u64> {
        let mut number = first;
        let mut check = |item: &Item| {
            if item.0 != block(number) {
                return Err("an item is missing, twice there or out of order");
            }
            number += 1;
            Ok(())
        };
        match self.batch {
            Batch::Single => {
                let delivery = self.consumer.lease().await?.ok_or("a deadline passed")?;
                check(&delivery)?;
                delivery.ack().await?;
            }
            Batch::Of64 => {
                let deliveries = self.consumer.lease_many(64).await?;
                for delivery in &deliveries {
                    check(delivery)?;
                }
                for acknowledged in ack_all(deliveries).await {
                    acknowledged?;
                }
            }
        }
        Ok(number)
    }
}
