//! One publishes, all get all: the same over everything that has subscribers.
//!
//! Not everything has back-pressure (a broadcast channel drops what a slow one hasn't read), so the publisher
//! publishes what fits into everybody's buffer, gives the others their turns until all have it, and goes on.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use common::run::Result;
use common::size::millions;
use common::stopwatch::Stopwatch;
use common::threads::yield_now;

use super::Run;
use crate::item::Item;

/// Something with subscribers, all on one thread.
pub(crate) trait Topic: Sync + 'static {
    type Publisher: Send + 'static;

    /// Runs `body` on a fresh thread with what the system needs there.
    fn run<F, Fut>(&self, body: F) -> Fut::Output
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static;

    /// Starts that many subscribers, each of which counts what it gets. Their buffers hold [`super::CAPACITY`].
    fn start(subscribers: Vec<Count>) -> impl Future<Output = Self::Publisher> + Send;

    /// Publishes to all of them.
    fn publish(publisher: &mut Self::Publisher, item: Item) -> impl Future<Output = ()> + Send;

    /// Ends them.
    fn stop(publisher: Self::Publisher) -> impl Future<Output = ()> + Send;
}

/// What one subscriber got in the burst that runs.
pub(crate) struct Count {
    left: u64,
    burst: u64,
    sum: u64,
    all: Arc<All>,
}

/// What all got.
#[derive(Debug, Default)]
pub(crate) struct All {
    /// Those who haven't got all of the burst yet.
    unfinished: AtomicUsize,
    sum: AtomicU64,
}

impl Count {
    #[inline]
    pub(crate) fn add(&mut self, item: &Item) {
        self.sum += item.number();
        self.left -= 1;
        if self.left == 0 {
            self.left = self.burst;
            self.all.sum.fetch_add(self.sum, Ordering::Relaxed);
            self.sum = 0;
            self.all.unfinished.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// What a burst comes to over all subscribers, as far as each burst of one stays within these bounds.
const BURST_OF_ALL: u64 = 16_384;
const SMALLEST_BURST: u64 = 16;
const LARGEST_BURST: u64 = 512;

pub(crate) fn measure<T: Topic>(system: &T, subscribers: usize, run: &Run) -> Result<Vec<f64>> {
    let many = subscribers as u64;
    let burst = (BURST_OF_ALL / many).clamp(SMALLEST_BURST, LARGEST_BURST);
    let bursts = run.size.pick(6_400_000, 320_000) / (burst * many.max(8));
    let elapsed = system.run(move || async move {
        let all = Arc::new(All::default());
        let counts = (0..subscribers).map(|_| Count {
            left: burst,
            burst,
            sum: 0,
            all: Arc::clone(&all),
        });
        let mut publisher = T::start(counts.collect()).await;

        // One more burst before, in which buffers get their size.
        let mut begin = Stopwatch::start();
        for round in 0..=bursts {
            if round == 1 {
                begin = Stopwatch::start();
            }
            all.unfinished.store(subscribers, Ordering::Release);
            for number in 0..burst {
                T::publish(&mut publisher, Item::new(number)).await;
            }
            while all.unfinished.load(Ordering::Acquire) > 0 {
                yield_now().await;
            }
        }
        let elapsed = begin.elapsed();

        let expected = burst * (burst - 1) / 2 * many * (bursts + 1);
        assert_eq!(all.sum.load(Ordering::Relaxed), expected, "lost or doubled");
        T::stop(publisher).await;
        elapsed
    });
    Ok(vec![millions(bursts * burst * many, elapsed)])
}
