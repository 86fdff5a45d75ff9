//! Queues as streams and sinks.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use futures::{Sink, Stream};

use super::Queue;
use super::delivery::Delivery;
use super::offer::{OfferError, Offering};
use super::take::{Lease, LeaseMany, Taking};
use crate::error::Failure;

/// The deliveries of a queue as a stream, of which so many at most are in the consumer's hands at a time: the
/// next comes when one of them has ended (`RabbitMQ`'s prefetch, `JetStream`'s `MaxAckPending`).
///
/// Of a queue elsewhere as many come at once as may be out, so that not each of them waits for its way; those count
/// as in hand, and their leases run. Dropping the stream gives back what it had fetched ahead.
///
/// It ends after the first error, such as the end of the queue.
#[must_use = "streams do nothing unless they are polled"]
pub struct Deliveries<T: Clone + Send + 'static> {
    source: Source<T>,
    next: Option<Next<T>>,
    /// Fetched together with the one before it.
    ahead: VecDeque<Delivery<T>>,
    credit: Arc<Credits>,
    limit: usize,
    over: bool,
}

/// Where they come from.
pub(super) enum Source<T: Clone + Send + 'static> {
    /// One at a time: a queue of this process.
    Each(Box<dyn Fn() -> Lease<T> + Send>),
    /// As many as may be out: a queue elsewhere, to which each way takes time.
    Batches(Box<dyn Fn(usize) -> LeaseMany<T> + Send>),
}

enum Next<T: Clone + Send + 'static> {
    Each(Taking<T, Option<Delivery<T>>>),
    Batch(Taking<T, Vec<Delivery<T>>>),
}

struct Credits {
    /// Deliveries in the consumer's hands.
    out: AtomicUsize,
    waiter: AtomicWaker,
}

/// One of the deliveries that a stream may have out. Dropped with its receipt.
pub(super) struct Credit(Arc<Credits>);

impl Drop for Credit {
    fn drop(&mut self) {
        self.0.out.fetch_sub(1, Ordering::AcqRel);
        self.0.waiter.wake();
    }
}

impl<T: Clone + Send + 'static> Deliveries<T> {
    pub(super) fn new(limit: usize, source: Source<T>) -> Self {
        Deliveries {
            source,
            next: None,
            ahead: VecDeque::new(),
            credit: Arc::new(Credits {
                out: AtomicUsize::new(0),
                waiter: AtomicWaker::new(),
            }),
            limit: limit.max(1),
            over: false,
        }
    }

    /// Deliveries in the consumer's hands now.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.credit.out.load(Ordering::Acquire)
    }

    /// Counts it among those that are out, for as long as its lease lasts.
    fn in_hand(&self, delivery: Delivery<T>) -> Delivery<T> {
        self.credit.out.fetch_add(1, Ordering::AcqRel);
        delivery.with_credit(Credit(Arc::clone(&self.credit)))
    }
}

impl<T: Clone + Send + 'static> Stream for Deliveries<T> {
    type Item = Result<Delivery<T>, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        if let Some(delivery) = this.ahead.pop_front() {
            return Poll::Ready(Some(Ok(delivery)));
        }
        if this.next.is_none() {
            this.credit.waiter.register(cx.waker());
            if this.outstanding() >= this.limit {
                return Poll::Pending;
            }
        }
        let room = this.limit.saturating_sub(this.outstanding()).max(1);
        let source = &this.source;
        let next = this.next.get_or_insert_with(|| match source {
            Source::Each(lease) => Next::Each(lease().into_future()),
            Source::Batches(lease) => Next::Batch(lease(room).into_future()),
        });
        let done = match next {
            Next::Each(next) => {
                let done = std::task::ready!(Pin::new(next).poll(cx));
                done.map(|delivery| delivery.into_iter().collect())
            }
            Next::Batch(next) => {
                let done = std::task::ready!(Pin::new(next).poll(cx));
                done.map(VecDeque::from)
            }
        };
        this.next = None;
        match done {
            Ok(mut deliveries) => {
                let Some(first) = deliveries.pop_front() else {
                    this.over = true;
                    return Poll::Ready(None);
                };
                let first = this.in_hand(first);
                for delivery in deliveries {
                    let delivery = this.in_hand(delivery);
                    this.ahead.push_back(delivery);
                }
                Poll::Ready(Some(Ok(first)))
            }
            Err(failure) => {
                this.over = true;
                Poll::Ready(Some(Err(failure)))
            }
        }
    }
}

// Nothing in it is pinned.
impl<T: Clone + Send + 'static> Unpin for Deliveries<T> {}

impl<T: Clone + Send + 'static> fmt::Debug for Deliveries<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries")
            .field("outstanding", &self.outstanding())
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A queue as a sink. Items are offered in the order they are sent; so many offers at most wait for their
/// answers, and each answer is waited for when the sink is flushed.
///
/// # Errors
/// The first offer that fails, with its item. Offers that are still on their way go on.
#[must_use = "sinks do nothing unless they are polled"]
pub struct OfferSink<T: Send + 'static> {
    queue: Queue<T>,
    /// In order; the first `begun` have been polled.
    offers: VecDeque<Offering<T>>,
    window: usize,
}

impl<T: Send + 'static> OfferSink<T> {
    pub(super) fn new(queue: Queue<T>, window: usize) -> Self {
        OfferSink {
            queue,
            offers: VecDeque::new(),
            window: window.max(1),
        }
    }

    /// Polls all, so that each stands in line behind the one before it. Answers the first error.
    fn advance(&mut self, cx: &mut Context<'_>) -> Result<(), OfferError<T>> {
        let mut at = 0;
        while at < self.offers.len() {
            match Pin::new(&mut self.offers[at]).poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(done) => {
                    self.offers.remove(at);
                    done?;
                }
            }
        }
        Ok(())
    }
}

impl<T: Send + 'static> Sink<T> for OfferSink<T> {
    type Error = OfferError<T>;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), OfferError<T>>> {
        self.advance(cx)?;
        if self.offers.len() < self.window {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn start_send(mut self: Pin<&mut Self>, item: T) -> Result<(), OfferError<T>> {
        let offer = self.queue.offer(item).into_future();
        self.offers.push_back(offer);
        Ok(())
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), OfferError<T>>> {
        self.advance(cx)?;
        if self.offers.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), OfferError<T>>> {
        self.poll_flush(cx)
    }
}

impl<T: Send + 'static> fmt::Debug for OfferSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferSink")
            .field("queue", &self.queue.name())
            .field("waiting", &self.offers.len())
            .finish_non_exhaustive()
    }
}
