//! Messages without an answer, counted by the server.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use common::run::Result;
use common::size::millions;
use common::stopwatch::Stopwatch;

use super::{Rounds, Run, Shape};
use crate::messages::{self, Order, SMALL, Told};

/// A client of a server that counts what it is told.
pub(crate) trait Tells: Send {
    /// Sends bytes; waits where there is no room.
    fn tell(&mut self, bytes: &Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Sends a struct, encoded.
    fn tell_order(&mut self, order: Order) -> impl Future<Output = Result<()>> + Send {
        let _ = order;
        async { Err("it knows no structs".into()) }
    }

    /// What has arrived since it was called last, which is so many messages if none was lost.
    fn told(&mut self, sent: u64) -> impl Future<Output = Result<Told>> + Send;

    /// After how many messages of that size it has to wait until they have arrived, since nothing else keeps it
    /// from sending more than memory holds.
    fn burst(&self, length: usize) -> Option<u64> {
        let _ = length;
        None
    }
}

/// Millions of messages a second if they are small, millions of bytes if they are large.
pub(crate) async fn measure(client: impl Tells, shape: Shape, run: Run) -> Result<Vec<f64>> {
    let length = match shape {
        Shape::Bytes(length) => length,
        Shape::Order => SMALL,
    };
    let step = if length > SMALL { 16 } else { 1_024 };
    let mut telling = Telling {
        burst: client.burst(length).unwrap_or(u64::MAX),
        bytes: messages::bytes(length),
        client,
        shape,
    };
    let (count, took) = run.rounds(step, &mut telling).await?;
    Ok(vec![match length {
        SMALL => millions(count, took),
        _ => millions(count * length as u64, took),
    }])
}

struct Telling<T> {
    client: T,
    shape: Shape,
    bytes: Bytes,
    burst: u64,
}

impl<T: Tells> Rounds for Telling<T> {
    async fn round(&mut self, count: u64) -> Result<Duration> {
        let begin = Stopwatch::start();
        let (mut next, mut arrived) = (0, Told::default());
        while next < count {
            let end = count.min(next.saturating_add(self.burst));
            for id in next..end {
                match self.shape {
                    Shape::Bytes(_) => self.client.tell(&self.bytes).await?,
                    Shape::Order => self.client.tell_order(Order::new(id)).await?,
                }
            }
            let told = self.client.told(end - next).await?;
            next = end;
            arrived.messages += told.messages;
            arrived.sum += told.sum;
        }
        let took = begin.elapsed();
        check(arrived, self.shape, count)?;
        Ok(took)
    }
}

fn check(arrived: Told, shape: Shape, messages: u64) -> Result<()> {
    let sum = match shape {
        Shape::Bytes(length) => messages * length as u64,
        Shape::Order => messages * (messages - 1) / 2,
    };
    if arrived == (Told { messages, sum }) {
        return Ok(());
    }
    Err(format!("{messages} messages were sent, {arrived:?} arrived").into())
}
