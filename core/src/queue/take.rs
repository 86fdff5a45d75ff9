//! Polling and leasing: builders until they are awaited.

mod hands;
mod local;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context};
use std::time::Duration;

use futures::future::BoxFuture;

use super::config::clamp_lease;
use super::delivery::{Delivery, Receipt, SettleError, Settlement};
use super::local::{Mode, Want};
use super::route::{LeaseRequest, QueueRoute};
use super::{Inner, Queue};
use crate::error::Failure;

use local::LocalFetch;

/// What is common to all that take items out.
struct Wish<T: Send + 'static> {
    queue: Queue<T>,
    max: usize,
    deadline: Option<Duration>,
    mode: Mode,
    consumer: Option<(u32, Arc<str>)>,
    copy: Option<fn(&T) -> T>,
}

macro_rules! builder {
    ($(#[$doc:meta])* $name:ident -> $output:ty, $quick:expr, $finish:expr) => {
        $(#[$doc])*
        #[must_use = "nothing is taken until it is awaited"]
        pub struct $name<T: Send + 'static>(Wish<T>);

        impl<T: Send + 'static> $name<T> {
            /// Gives up after `span` if nothing comes; zero does not wait. Without it it waits as long as the
            /// caller lives.
            pub fn deadline(mut self, span: Duration) -> Self {
                self.0.deadline = Some(span);
                self
            }
        }

        impl<T: Send + 'static> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("queue", &self.0.queue.name())
                    .field("deadline", &self.0.deadline)
                    .finish_non_exhaustive()
            }
        }

        impl<T: Send + 'static> IntoFuture for $name<T> {
            type Output = Result<$output, Failure>;
            type IntoFuture = Taking<T, $output>;

            fn into_future(self) -> Self::IntoFuture {
                Taking {
                    fetch: self.0.begin(),
                    quick: $quick,
                    finish: $finish,
                }
            }
        }
    };
}

builder! {
    /// A wish for the oldest item, which is acknowledged when it is received: at-most-once (G21). Awaited, it
    /// answers the item, or `None` if the deadline passed first.
    ///
    /// # Errors
    /// `Stopped` if the queue has ended, `Overloaded` if too many wait, `NotAuthorised` in a queue with a single
    /// active consumer, which has to have a name; `StorageFailed` if the item can't be read.
    ///
    /// # Cancel safety
    /// Dropping it takes no item: one that was on its way goes back to its place. Of a queue elsewhere the item is
    /// leased and then acknowledged, and handed out when that is certain: dropped between the two, it goes back
    /// unless the acknowledgement had been carried out.
    Poll -> Option<T>, Some(LocalFetch::take_one), |catch| Ok(catch.single().map(Fetched::keep))
}
builder! {
    /// As [`Poll`] for several items: as many as there are when there is one, in order. Empty if the deadline
    /// passed first.
    PollMany -> Vec<T>, Some(LocalFetch::take_many), |catch| Ok(catch.many(Fetched::keep))
}
builder! {
    /// A wish to have the oldest item in hand until it is acknowledged, given back, or its lease lapses:
    /// at-least-once (G21, G22). Awaited, it answers a [`Delivery`], or `None` if the deadline passed first.
    ///
    /// The lease begins when there is an item for it, whether its future is polled then or not: one that is left
    /// alone for longer than the lease has lost the item, and waits for the next.
    ///
    /// # Errors
    /// As [`Poll`].
    ///
    /// # Cancel safety
    /// Dropping it takes no item: one that was on its way goes back to its place.
    Lease -> Option<Delivery<T>>, Some(LocalFetch::lease_one), |catch| Ok(catch.single().and_then(Fetched::deliver))
}
builder! {
    /// As [`Lease`] for several items: as many as there are when there is one, in order. Empty if the deadline
    /// passed first. Items of one group come one at a time.
    LeaseMany -> Vec<Delivery<T>>, Some(LocalFetch::lease_many), |catch| Ok(catch.many(Fetched::deliver).into_iter().flatten().collect())
}

impl<T: Send + 'static> Lease<T> {
    /// For how long, within [`LEASE_RANGE`](super::LEASE_RANGE), instead of as long as the queue says.
    pub fn span(mut self, span: Duration) -> Self {
        self.0.mode = Mode::Lease(Some(clamp_lease(span)));
        self
    }
}

impl<T: Send + 'static> LeaseMany<T> {
    /// For how long, within [`LEASE_RANGE`](super::LEASE_RANGE), instead of as long as the queue says.
    pub fn span(mut self, span: Duration) -> Self {
        self.0.mode = Mode::Lease(Some(clamp_lease(span)));
        self
    }
}

pub(super) fn poll<T: Send + 'static>(
    queue: Queue<T>,
    consumer: Option<(u32, Arc<str>)>,
) -> Poll<T> {
    Poll(Wish::new(queue, 1, Mode::Take, consumer, None))
}

pub(super) fn poll_many<T: Send + 'static>(
    queue: Queue<T>,
    max: usize,
    consumer: Option<(u32, Arc<str>)>,
) -> PollMany<T> {
    PollMany(Wish::new(queue, max, Mode::Take, consumer, None))
}

pub(super) fn lease<T: Clone + Send + 'static>(
    queue: Queue<T>,
    consumer: Option<(u32, Arc<str>)>,
) -> Lease<T> {
    Lease(Wish::new(
        queue,
        1,
        Mode::Lease(None),
        consumer,
        Some(T::clone),
    ))
}

pub(super) fn lease_many<T: Clone + Send + 'static>(
    queue: Queue<T>,
    max: usize,
    consumer: Option<(u32, Arc<str>)>,
) -> LeaseMany<T> {
    LeaseMany(Wish::new(
        queue,
        max,
        Mode::Lease(None),
        consumer,
        Some(T::clone),
    ))
}

impl<T: Send + 'static> Wish<T> {
    fn new(
        queue: Queue<T>,
        max: usize,
        mode: Mode,
        consumer: Option<(u32, Arc<str>)>,
        copy: Option<fn(&T) -> T>,
    ) -> Self {
        Wish {
            queue,
            max: max.max(1),
            deadline: None,
            mode,
            consumer,
            copy,
        }
    }

    fn begin(self) -> Fetch<T> {
        let Wish {
            queue,
            max,
            deadline,
            mode,
            consumer,
            copy,
        } = self;
        match queue.inner {
            Inner::Local { local, .. } => {
                let consumer = consumer.map(|(number, _)| number);
                let want = Want {
                    max,
                    mode,
                    consumer,
                };
                Fetch::Local(LocalFetch::new(local, want, copy, deadline))
            }
            Inner::Routed(route) => {
                let span = match mode {
                    Mode::Take | Mode::Promise => None,
                    Mode::Lease(span) => span,
                };
                let request = LeaseRequest {
                    max,
                    deadline,
                    span,
                    consumer: consumer.map(|(_, name)| name),
                };
                let take = matches!(mode, Mode::Take);
                Fetch::Routed(Box::pin(fetch_routed(route, request, take)))
            }
        }
    }
}

type Quick<T, O> = fn(&LocalFetch<T>) -> Option<O>;

/// The future of whatever takes items out.
#[must_use = "futures do nothing unless they are polled"]
pub struct Taking<T: Send + 'static, O> {
    fetch: Fetch<T>,
    /// The short way, for what is there and only has to be taken.
    quick: Option<Quick<T, O>>,
    finish: fn(Catch<T>) -> Result<O, Failure>,
}

impl<T: Send + 'static, O> Future for Taking<T, O> {
    type Output = Result<O, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> task::Poll<Self::Output> {
        if let Some(quick) = self.quick.take()
            && let Fetch::Local(fetch) = &mut self.fetch
            && let Some(taken) = quick(fetch)
        {
            fetch.is_done();
            return task::Poll::Ready(Ok(taken));
        }
        let catch = match &mut self.fetch {
            Fetch::Local(fetch) => fetch.poll(cx),
            Fetch::Routed(fetch) => fetch.as_mut().poll(cx),
        };
        catch.map(|catch| (self.finish)(catch?))
    }
}

// Nothing in it is pinned.
impl<T: Send + 'static, O> Unpin for Taking<T, O> {}

impl<T: Send + 'static, O> fmt::Debug for Taking<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taking").finish_non_exhaustive()
    }
}

/// An item that has arrived; with a receipt if it is only leased.
struct Fetched<T: Send + 'static> {
    item: T,
    receipt: Option<Receipt<T>>,
}

impl<T: Send + 'static> Fetched<T> {
    fn keep(self) -> T {
        self.item
    }

    fn deliver(self) -> Option<Delivery<T>> {
        let Fetched { item, receipt } = self;
        receipt.map(|receipt| Delivery::new(item, receipt))
    }
}

/// What has arrived. One item, the most frequent case, needs no memory of its own.
enum Catch<T: Send + 'static> {
    Nothing,
    One(Fetched<T>),
    Many(Vec<Fetched<T>>),
}

impl<T: Send + 'static> Catch<T> {
    fn single(self) -> Option<Fetched<T>> {
        match self {
            Catch::Nothing => None,
            Catch::One(one) => Some(one),
            Catch::Many(mut all) => all.pop(),
        }
    }

    fn many<R>(self, each: impl FnMut(Fetched<T>) -> R) -> Vec<R> {
        match self {
            Catch::Nothing => Vec::new(),
            Catch::One(one) => [one].into_iter().map(each).collect(),
            Catch::Many(all) => all.into_iter().map(each).collect(),
        }
    }
}

enum Fetch<T: Send + 'static> {
    Local(LocalFetch<T>),
    Routed(BoxFuture<'static, Result<Catch<T>, Failure>>),
}

async fn fetch_routed<T: Send + 'static>(
    route: Arc<dyn QueueRoute<T>>,
    mut request: LeaseRequest,
    take: bool,
) -> Result<Catch<T>, Failure> {
    let clock = route.system().clock().clone();
    let due = request.deadline.map(|span| clock.now() + span);
    loop {
        let max = request.max;
        let mut leased = route.lease(request.clone()).await?;
        // More than was asked for is nobody's here: it goes back, from the last on, so that the first is first again.
        for more in leased.drain(max.min(leased.len())..).rev() {
            let (_, receipt) = Receipt::routed(&route, more);
            receipt.release_soon();
        }
        if leased.is_empty() {
            return Ok(Catch::Nothing);
        }
        let held: Vec<(T, Receipt<T>)> = leased
            .into_iter()
            .map(|leased| Receipt::routed(&route, leased))
            .collect();
        if !take {
            let fetched = held.into_iter().map(|(item, receipt)| Fetched {
                item,
                receipt: Some(receipt),
            });
            return Ok(Catch::Many(fetched.collect()));
        }
        let taken = acknowledged(&route, held).await?;
        if !taken.is_empty() {
            return Ok(Catch::Many(taken));
        }
        // All leases were over before they were acknowledged: their items are somebody else's.
        request.deadline = due.map(|due| due.since(clock.now()));
    }
}

/// Those of which it is certain that nobody else gets them: at-most-once also means that an item isn't handed out
/// here before it is gone there (G21).
async fn acknowledged<T: Send + 'static>(
    route: &Arc<dyn QueueRoute<T>>,
    held: Vec<(T, Receipt<T>)>,
) -> Result<Vec<Fetched<T>>, Failure> {
    let leases = held.iter().filter_map(|(_, receipt)| {
        let lease = receipt.routed_lease()?;
        Some((lease, Settlement::Ack))
    });
    let answers = route.settle(leases.collect()).await;
    let mut failed = None;
    let mut taken = Vec::with_capacity(held.len());
    for ((item, receipt), answer) in held.into_iter().zip(answers) {
        match answer {
            Ok(()) => {
                receipt.has_ended();
                let receipt = None;
                taken.push(Fetched { item, receipt });
            }
            Err(SettleError::Stale { .. }) => receipt.has_ended(),
            // Dropped, it is given back, if it is still there.
            Err(SettleError::Failed(failure)) => failed = Some(failure),
        }
    }
    match failed {
        Some(failure) if taken.is_empty() => Err(failure),
        _ => Ok(taken),
    }
}
