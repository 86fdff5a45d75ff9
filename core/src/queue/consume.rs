//! Consumers: those that have a name, and handlers that are run for each item.

use std::fmt;
use std::future::IntoFuture;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Either, Shared, select};

use super::delivery::{Delivery, Settlement};
use super::flow::{Deliveries, Source};
use super::local::Local;
use super::take::{self, Lease, LeaseMany, Poll, PollMany};
use super::{Inner, Queue};
use crate::executor::yield_now;
use crate::panics;
use crate::spawn::Placement;
use crate::system::System;

/// A consumer with a name. In a queue with a single active consumer only the one that came first gets items;
/// when it is dropped it is the next one's turn, and what of its wishes still waits there ends with `Stopped`.
pub struct Consumer<T: Send + 'static> {
    queue: Queue<T>,
    name: Arc<str>,
    number: u32,
}

impl<T: Send + 'static> Consumer<T> {
    pub(super) fn new(queue: Queue<T>, name: Arc<str>) -> Self {
        let number = match &queue.inner {
            Inner::Local { local, .. } => {
                let name = Arc::clone(&name);
                local.with(|inside, _, now| inside.consumers.join(name, now))
            }
            Inner::Routed(_) => 0,
        };
        Consumer {
            queue,
            name,
            number,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// See [`Queue::poll`].
    pub fn poll(&self) -> Poll<T> {
        take::poll(self.queue.clone(), self.me())
    }

    /// See [`Queue::poll_many`].
    pub fn poll_many(&self, max: usize) -> PollMany<T> {
        take::poll_many(self.queue.clone(), max, self.me())
    }

    fn me(&self) -> Option<(u32, Arc<str>)> {
        Some((self.number, Arc::clone(&self.name)))
    }
}

impl<T: Clone + Send + 'static> Consumer<T> {
    /// See [`Queue::lease`].
    pub fn lease(&self) -> Lease<T> {
        take::lease(self.queue.clone(), self.me())
    }

    /// See [`Queue::lease_many`].
    pub fn lease_many(&self, max: usize) -> LeaseMany<T> {
        take::lease_many(self.queue.clone(), max, self.me())
    }

    /// See [`Queue::deliveries`].
    pub fn deliveries(self, prefetch: usize) -> Deliveries<T> {
        let source = match &self.queue.inner {
            Inner::Local { .. } => Source::Each(Box::new(move || self.lease())),
            Inner::Routed(_) => Source::Batches(Box::new(move |max| self.lease_many(max))),
        };
        Deliveries::new(prefetch, source)
    }
}

impl<T: Send + 'static> Drop for Consumer<T> {
    fn drop(&mut self) {
        let local = match &self.queue.inner {
            Inner::Local { local, .. } => local,
            Inner::Routed(route) => return route.consumer_left(&self.name),
        };
        local.with(|inside, afterwards, now| {
            inside.consumers.leave(self.number);
            inside.end_takers_of(self.number, local, afterwards);
            inside.settle(local, afterwards, now);
        });
    }
}

impl<T: Send + 'static> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumer({} of {})", self.name, self.queue.name())
    }
}

/// Workers that run a handler for each item of a queue. Dropped, they take no more, and what they have in hand is
/// given back at its next `.await`; [`stop`](Consuming::stop) lets them finish.
#[must_use = "dropped, nothing is consumed"]
pub struct Consuming {
    /// Dropped to end them at once.
    _alive: oneshot::Sender<()>,
    /// Dropped to have them take no more.
    open: Option<oneshot::Sender<()>>,
    counts: Arc<Counts>,
    ended: Vec<oneshot::Receiver<()>>,
}

#[derive(Default)]
struct Counts {
    handled: AtomicU64,
    failed: AtomicU64,
    running: AtomicUsize,
}

impl Consuming {
    /// Items that were handled and acknowledged.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.counts.handled.load(Ordering::Relaxed)
    }

    /// Items whose handler failed or gave them up, or panicked.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }

    /// Workers that are there.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.counts.running.load(Ordering::Relaxed)
    }

    /// Takes no more, and waits until what is in hand has been handled.
    ///
    /// # Cancel safety
    /// Dropping it gives back what is in hand.
    pub async fn stop(mut self) {
        drop(self.open.take());
        for worker in &mut self.ended {
            // An error: dropped when the worker ends.
            let _ = worker.await;
        }
    }
}

impl fmt::Debug for Consuming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consuming")
            .field("workers", &self.workers())
            .field("handled", &self.handled())
            .field("failed", &self.failed())
            .finish_non_exhaustive()
    }
}

/// How long a worker waits after an error of the queue that isn't its end, a disk that refuses say.
const PAUSE: Duration = Duration::from_secs(1);

/// After so many items in a row a worker lets others have their turn (G5).
const TURNS: u32 = 32;

struct Worker<T: Send + 'static, F> {
    queue: Queue<T>,
    system: System,
    handler: F,
    counts: Arc<Counts>,
    open: Shared<oneshot::Receiver<()>>,
    alive: Shared<oneshot::Receiver<()>>,
    _ended: oneshot::Sender<()>,
}

pub(super) fn consume<T, R, F>(
    queue: &Queue<T>,
    system: &System,
    workers: usize,
    handler: F,
) -> Consuming
where
    T: Clone + Send + 'static,
    R: Into<Settlement>,
    F: AsyncFn(&Delivery<T>) -> R + Clone + Send + 'static,
{
    let (alive_tx, alive_rx) = oneshot::channel();
    let (open_tx, open_rx) = oneshot::channel();
    let (alive, open) = (alive_rx.shared(), open_rx.shared());
    let counts = Arc::new(Counts::default());
    let mut ended = Vec::with_capacity(workers);
    for handler in std::iter::repeat_n(handler, workers.max(1)) {
        let (ended_tx, ended_rx) = oneshot::channel();
        ended.push(ended_rx);
        let worker = Worker {
            queue: queue.clone(),
            system: system.clone(),
            handler,
            counts: Arc::clone(&counts),
            open: open.clone(),
            alive: alive.clone(),
            _ended: ended_tx,
        };
        counts.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(Arc::clone(&counts));
        // False: the system has ended, and the worker with it.
        system.spawn(Placement::Spread, move || async move {
            let _running = running;
            let alive = worker.alive.clone();
            let work = Box::pin(worker.run());
            select(work, alive).await;
        });
    }
    Consuming {
        _alive: alive_tx,
        open: Some(open_tx),
        counts,
        ended,
    }
}

struct Running(Arc<Counts>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T, R, F> Worker<T, F>
where
    T: Clone + Send + 'static,
    R: Into<Settlement>,
    F: AsyncFn(&Delivery<T>) -> R + Clone + Send + 'static,
{
    async fn run(self) {
        let mut turns = 0_u32;
        loop {
            // Asked first: a queue that never runs dry would hide it.
            let lease = self.queue.lease().into_future();
            let next = AssertUnwindSafe(select(self.open.clone(), lease)).catch_unwind();
            let next = match next.await {
                Ok(Either::Right((next, _))) => next,
                Ok(Either::Left(_)) => return,
                Err(panic) => {
                    // The queue has counted it as a failure of the item.
                    let text = panics::panic_text(&*panic);
                    tracing::warn!(queue = %self.queue.name(), %text, "an item could not be copied");
                    self.counts.failed.fetch_add(1, Ordering::Relaxed);
                    Ok(None)
                }
            };
            match next {
                Ok(Some(delivery)) => self.handle(delivery).await,
                Ok(None) => {}
                Err(failure) if failure.kind() == crate::error::FailureKind::Stopped => return,
                Err(failure) => {
                    tracing::warn!(queue = %self.queue.name(), %failure, "a worker can't lease");
                    self.system.clock().sleep(PAUSE).await;
                }
            }
            turns += 1;
            if turns.is_multiple_of(TURNS) {
                yield_now().await;
            }
        }
    }

    async fn handle(&self, delivery: Delivery<T>) {
        // The call as well: a closure may panic before it has made its future.
        let handled = AssertUnwindSafe(async { (self.handler)(&delivery).await.into() })
            .catch_unwind()
            .await;
        let settlement = handled.unwrap_or_else(|panic| {
            let reason = format!("panicked: {}", panics::panic_text(&*panic));
            Settlement::Reject(reason.into())
        });
        let is_ack = settlement == Settlement::Ack;
        if matches!(settlement, Settlement::Reject(_) | Settlement::Bury(_)) {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        match delivery.settle(settlement).await {
            Ok(()) if is_ack => {
                self.counts.handled.fetch_add(1, Ordering::Relaxed);
            }
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(queue = %self.queue.name(), %error, "an item could not be settled");
            }
        }
    }
}

impl<T: Send + 'static> Local<T> {
    /// A queue of this process by its name.
    pub(super) fn find<R: Send + 'static>(&self, name: &str) -> Option<Queue<R>> {
        let system = self.inside.lock().system.clone()?;
        system.queues().get(name).ok().flatten()
    }
}
