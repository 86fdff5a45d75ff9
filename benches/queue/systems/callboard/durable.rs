//! Queues on disk. An offer is answered after its sync. An acknowledgement is answered when it is written: it
//! survives the end of the process, and is synced with what is synced next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callboard::System;
use callboard::queue::Queue;
use callboard_store::Store;
use common::run::Result;
use common::size::Size;
use common::stopwatch::Stopwatch;
use common::threads::Layout;
use tokio::sync::oneshot;

use super::memory::lease_batch;
use super::{FIRST, on_system};
use crate::item::Item;
use crate::workloads::durable::check;
use crate::workloads::{Run, thousands};
use common::folder::Folder;

/// The most items that a queue here holds.
const ROOM: usize = 2_000_000;
/// How many go into an offer while a queue is filled.
const FILLING: u64 = 1_024;

/// A queue on disk, with the store that it is in.
struct Opened {
    store: Arc<Store>,
    queue: Queue<Item>,
}

impl Opened {
    async fn open(system: &System, folder: PathBuf) -> Result<Self> {
        let store = Arc::new(Store::open(system, folder).await?);
        let queue = system
            .queue("items")
            .capacity(ROOM)
            .durable(Arc::clone(&store) as _);
        let queue = queue.open().await?;
        Ok(Opened { store, queue })
    }

    async fn len(&self) -> Result<u64> {
        Ok(self.queue.state().await?.len as u64)
    }

    async fn close(self) -> Result<()> {
        self.queue.stop();
        self.queue.wait().await;
        drop(self.queue);
        Ok(self.store.close().await?)
    }
}

/// Producers are tasks of one arbiter. What is there afterwards is counted after the store was opened again.
pub(super) fn offer(producers: usize, run: &Run) -> Result<Vec<f64>> {
    let folder = Folder::new(&run.folder)?;
    let span = run.span;
    let path = folder.path().to_owned();
    let offered: Result<(u64, Duration)> = on_system(Layout::OneThread, move |system| async move {
        let opened = Opened::open(&system, path).await?;
        opened.queue.offer(Item::new(0)).await?;
        let begin = Stopwatch::start();
        let mut ends = Vec::new();
        for _ in 0..producers {
            let queue = opened.queue.clone();
            let (done, end) = oneshot::channel();
            let task = move || async move {
                // Nobody waits only if the run was given up.
                let _ = done.send(produce(&queue, begin, span).await);
            };
            assert!(system.spawn(FIRST, task), "the system runs");
            ends.push(end);
        }
        let mut count = 0;
        for end in ends {
            count += end.await??;
        }
        let elapsed = begin.elapsed();
        opened.close().await?;
        Ok((count, elapsed))
    });
    let (count, elapsed) = offered?;
    let path = folder.path().to_owned();
    let stored: Result<u64> = on_system(Layout::OneThread, move |system| async move {
        Opened::open(&system, path).await?.len().await
    });
    check(stored?, count + 1)?;
    Ok(vec![thousands(count, elapsed)])
}

async fn produce(queue: &Queue<Item>, begin: Stopwatch, span: Duration) -> Result<u64> {
    let mut count = 0;
    while begin.elapsed() < span {
        queue.offer(Item::new(count)).await?;
        count += 1;
    }
    Ok(count)
}

pub(super) fn take(run: &Run) -> Result<Vec<f64>> {
    let folder = Folder::new(&run.folder)?;
    let (span, count) = (run.span, run.stored());
    let path = folder.path().to_owned();
    let taken: Result<_> = on_system(Layout::OneThread, move |system| async move {
        let opened = Opened::open(&system, path).await?;
        fill(&opened.queue, count).await?;
        let begin = Stopwatch::start();
        let mut taken = 0;
        while taken < count && begin.elapsed() < span {
            taken += lease_batch(&opened.queue, taken).await;
        }
        let elapsed = begin.elapsed();
        check(opened.len().await?, count - taken)?;
        Ok((taken, elapsed))
    });
    let (taken, elapsed) = taken?;
    Ok(vec![thousands(taken, elapsed)])
}

async fn fill(queue: &Queue<Item>, count: u64) -> Result<()> {
    let mut number = 0;
    while number < count {
        let end = count.min(number + FILLING);
        queue.offer_many((number..end).map(Item::new)).await?;
        number = end;
    }
    Ok(())
}

/// Of as many as that, so many are left. A quick run has a tenth.
const STORED: u64 = 1_000_000;
const LIVE: u64 = 1_000;

pub(super) fn restart(run: &Run) -> Result<Vec<f64>> {
    let folder = Folder::new(&run.folder)?;
    let stored = match run.size {
        Size::Full => STORED,
        Size::Quick => STORED / 10,
    };
    let path = folder.path().to_owned();
    let filled: Result<()> = on_system(Layout::OneThread, move |system| async move {
        let opened = Opened::open(&system, path).await?;
        fill(&opened.queue, stored).await?;
        let mut taken = 0;
        while taken < stored - LIVE {
            taken += lease_some(&opened.queue, stored - LIVE - taken).await?;
        }
        opened.close().await
    });
    filled?;
    let bytes = folder.bytes()?;
    let path = folder.path().to_owned();
    let elapsed: Result<Duration> = on_system(Layout::OneThread, move |system| async move {
        let begin = Stopwatch::start();
        let opened = Opened::open(&system, path).await?;
        let first = opened.queue.lease().await?.ok_or("nothing is there")?;
        let elapsed = begin.elapsed();
        assert_eq!(first.number(), stored - LIVE, "out of order");
        first.ack().await?;
        check(opened.len().await?, LIVE - 1)?;
        Ok(elapsed)
    });
    #[allow(clippy::cast_precision_loss)]
    let megabytes = bytes as f64 / 1e6;
    Ok(vec![elapsed?.as_secs_f64() * 1e3, megabytes])
}

/// Leases and acknowledges, no more than `most`. Answers how many those were.
async fn lease_some(queue: &Queue<Item>, most: u64) -> Result<u64> {
    let deliveries = queue
        .lease_many(usize::try_from(most.min(FILLING))?)
        .await?;
    let count = deliveries.len() as u64;
    for acknowledged in callboard::queue::ack_all(deliveries).await {
        acknowledged?;
    }
    Ok(count)
}
