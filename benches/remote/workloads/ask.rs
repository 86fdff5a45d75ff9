//! Asks, each with its answer checked.

use std::future::Future;
use std::time::Duration;

use common::alloc;
use common::run::Result;
use common::size::{each, percentile};
use common::stopwatch::Stopwatch;
use tokio::sync::oneshot;

use super::Run;
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
    let mut times = Vec::new();
    let asked = run.rounds(64, async |count| {
        times.clear();
        times.reserve(usize::try_from(count)?);
        let begin = Stopwatch::start();
        for number in 0..count {
            let begin = Stopwatch::start();
            ask(&client, number).await?;
            times.push(u64::try_from(begin.elapsed().as_nanos())?);
        }
        Ok(begin.elapsed())
    });
    asked.await?;
    times.sort_unstable();
    Ok(vec![
        percentile(&times, 50) / 1e3,
        percentile(&times, 99) / 1e3,
    ])
}

/// Thousands of asks a second by that many tasks, each its next one after the answer.
pub(crate) async fn in_flight(client: impl Asks, tasks: u64, run: Run) -> Result<Vec<f64>> {
    let asked = run.rounds(tasks * 4, async |count| {
        let begin = Stopwatch::start();
        let ends: Vec<_> = (0..tasks)
            .map(|_| task(&client, count / tasks))
            .collect::<Vec<_>>();
        for end in ends {
            end.await??;
        }
        Ok(begin.elapsed())
    });
    let (count, took) = asked.await?;
    Ok(vec![thousands(count, took)])
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
