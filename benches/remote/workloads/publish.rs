//! One publishes in the server, subscribers in this process get all of it.

use std::future::Future;
use std::time::Duration;

use common::run::Result;
use common::size::millions;
use common::stopwatch::Stopwatch;

use super::{Rounds, Run};

/// How many subscribe.
pub(crate) const SUBSCRIBERS: usize = 16;

/// How many messages are published before all have to have arrived: no more than wait for a subscriber that has not
/// yet read any, since a publisher isn't held back by a process far away.
const BURST: u64 = 4_096;

/// Subscribers of a topic in another process, and a way to have something published there.
pub(crate) trait Subscribers: Send {
    /// Has so many messages published.
    fn publish(&mut self, count: u64) -> impl Future<Output = Result<()>> + Send;

    /// Reads so many messages at one of them; an error if one is missing.
    fn read(&mut self, subscriber: usize, count: u64) -> impl Future<Output = Result<()>> + Send;
}

/// Millions of deliveries a second.
pub(crate) async fn measure(subscribers: impl Subscribers, run: Run) -> Result<Vec<f64>> {
    let mut publishing = Publishing(subscribers);
    let (count, took) = run.rounds(BURST, &mut publishing).await?;
    Ok(vec![millions(count * SUBSCRIBERS as u64, took)])
}

struct Publishing<S>(S);

impl<S: Subscribers> Rounds for Publishing<S> {
    async fn round(&mut self, count: u64) -> Result<Duration> {
        let begin = Stopwatch::start();
        for _ in 0..count / BURST {
            self.0.publish(BURST).await?;
            for subscriber in 0..SUBSCRIBERS {
                self.0.read(subscriber, BURST).await?;
            }
        }
        Ok(begin.elapsed())
    }
}
