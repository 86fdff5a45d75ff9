//! Asks, each with its answer checked.

use std::future::Future;
use std::time::Duration;

use common::alloc;
use common::run::Result;
use common::size::{each, percentile};
use common::stopwatch::Stopwatch;
use tokio::sync::oneshot;

use super::{Rounds, Run};
use crate::messages::{Block, block};

/// A client of a server that answers an ask with what it carries. Clones share the connection.
pub(crate) trait Asks: Clone + Send + Sync + 'static {
    fn ask(&self, block: Block) -> impl Future<Output = Result<Block>> + Send;

    /// Starts a task on the thread of the connection.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}

/// Microseconds from an ask to its answer: p50 and p99.
pub(crate) async fn sequence(client: impl Asks, run: Run) -> Result<Vec<f64>> {
    let times = Vec::new();
    let mut sequence = Sequence { client, times };
    run.rounds(64, &mut sequence).await?;
    let mut times = sequence.times;
    times.sort_unstable();
    Ok(vec![
        percentile(&times, 50) / 1e3,
        percentile(&times, 99) / 1e3,
    ])
}

struct Sequence<C> {
    client: C,
    /// Nanoseconds of each ask of the last round.
    times: Vec<u64>,
}

impl<C: Asks> Rounds for Sequence<C> {
    async fn round(&mut self, count: u64) -> Result<Duration> {
        self.times.clear();
        self.times.reserve(usize::try_from(count)?);
        let begin = Stopwatch::start();
        for number in 0..count {
            let begin = Stopwatch::start();
            ask(&self.client, number).await?;
            let took = begin.elapsed();
            self.times.push(u64::try_from(took.as_nanos())?);
        }
        Ok(begin.elapsed())
    }
}

/// Thousands of asks a second by that many tasks, each its next one after the answer.
pub(crate) async fn in_flight(client: impl Asks, tasks: u64, run: Run) -> Result<Vec<f64>> {
    let mut asking = InFlight { client, tasks };
    let (count, took) = run.rounds(tasks * 4, &mut asking).await?;
    Ok(vec![thousands(count, took)])
}

struct InFlight<C> {
    client: C,
    tasks: u64,
}

impl<C: Asks> Rounds for InFlight<C> {
    async fn round(&mut self, count: u64) -> Result<Duration> {
        let begin = Stopwatch::start();
        let mut ends = Vec::new();
        for _ in 0..self.tasks {
            ends.push(task(&self.client, count / self.tasks));
        }
        for end in ends {
            end.await??;
        }
        Ok(begin.elapsed())
    }
}

fn task(client: &impl Asks, count: u64) -> oneshot::Receiver<Result<()>> {
    let (done, end) = oneshot::channel();
    let asking = client.clone();
    client.spawn(async move {
        let asked = async {
            for number in 0..count {
                ask(&asking, number).await?;
            }
            Ok(())
        };
        // Nobody waits only if another task has failed.
        let _ = done.send(asked.await);
    });
    end
}

/// Allocations of this process for each ask, once all buffers have their size.
#[allow(clippy::cast_precision_loss)]
pub(crate) async fn allocations(client: impl Asks) -> Result<Vec<f64>> {
    const WARM_UP: u64 = 2_000;
    const COUNTED: u64 = 10_000;
    for number in 0..WARM_UP {
        ask(&client, number).await?;
    }
    alloc::start();
    for number in 0..COUNTED {
        ask(&client, number).await?;
    }
    let counted = alloc::stop();
    Ok(vec![each(counted.allocations as f64, COUNTED)])
}

async fn ask(client: &impl Asks, number: u64) -> Result<()> {
    let asked = block(number);
    let answer = client.ask(asked).await?;
    if answer != asked {
        return Err("the answer is another's".into());
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn thousands(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64() / 1e3
}
