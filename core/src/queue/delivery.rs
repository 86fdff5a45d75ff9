//! An item in somebody's hands, and the ways out of them (G22).

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;

use super::Sequence;
use super::config::clamp_lease;
use super::engine::Extra;
use super::engine::leasing::Plain;
use super::flow::Credit;
use super::local::{Local, Taken};
use super::reply_to::ReplyTo;
use super::route::{LeaseId, Leased, QueueRoute};
use super::slab::Place;
use crate::error::Failure;
use crate::id::RequestKey;
use crate::journal::Ticket;

/// An item under a lease. It is the consumer's until it is acknowledged, given back, or the lease lapses; the
/// queue keeps it until it is acknowledged. Dropping it gives it back.
///
/// How a delivery ends decides what it counts as. [`release`](Delivery::release) and dropping are no failure:
/// the item was merely handed out. [`reject`](Delivery::reject), a lease that lapses and a drop by a panic are
/// failures: the item comes back after a pause, and after as many failures as the queue's limit allows it goes to
/// the dead-letter queue (G23). [`bury`](Delivery::bury) sends it there at once. (`RabbitMQ` 4.3 counts apart in
/// the same way; in SQS and `JetStream` each hand-out counts.)
#[must_use = "dropped, it goes back to its queue"]
pub struct Delivery<T: Send + 'static> {
    item: T,
    receipt: Receipt<T>,
}

/// What ends a lease, apart from the item. Dropping it gives the item back.
#[must_use = "dropped, the item goes back to its queue"]
pub struct Receipt<T: Send + 'static> {
    /// `None` once the lease has been ended.
    held: Option<Held<T>>,
    sequence: Sequence,
    attempt: u32,
    failed: u32,
    offered: Duration,
    first_seen: Duration,
    extra: Option<Box<Extra>>,
    credit: Option<Credit>,
}

enum Held<T: Send + 'static> {
    Local(Arc<Local<T>>, Place, u64),
    Routed(Arc<dyn QueueRoute<T>>, LeaseId),
}

/// How a lease is ended, or made longer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settlement {
    /// The item has been handled: it leaves the queue.
    Ack,
    /// The item goes back to its place, after a delay if that isn't zero. No failure.
    Release(Duration),
    /// The delivery failed, for that reason.
    Reject(Arc<str>),
    /// The item can never be handled, for that reason.
    Bury(Arc<str>),
    /// The lease lasts that long from now.
    Extend(Duration),
}

/// What a handler answers: an error is a failed delivery.
impl<E: fmt::Display> From<Result<(), E>> for Settlement {
    fn from(handled: Result<(), E>) -> Self {
        match handled {
            Ok(()) => Settlement::Ack,
            Err(error) => Settlement::Reject(error.to_string().into()),
        }
    }
}

/// A lease could not be ended as wished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The lease is over: it has lapsed, or the item was removed. Somebody else may have the item by now (G22).
    #[error("the lease {token} of item {sequence} of queue {queue} is over")]
    Stale {
        /// The queue.
        queue: Arc<str>,
        /// The item.
        sequence: Sequence,
        /// The fencing token of the lease.
        token: u64,
    },
    /// It could not be noted; with the verdict `MaybeExecuted`, it may have been.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl<T: Send + 'static> Delivery<T> {
    pub(super) fn new(item: T, receipt: Receipt<T>) -> Self {
        Delivery { item, receipt }
    }

    /// The item. (It also derefs to it.)
    #[must_use]
    pub fn item(&self) -> &T {
        &self.item
    }

    /// The item and what ends its lease, apart: for handlers that want to have the item.
    pub fn into_parts(self) -> (T, Receipt<T>) {
        (self.item, self.receipt)
    }

    /// See [`Receipt::sequence`].
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.receipt.sequence
    }

    /// See [`Receipt::token`].
    #[must_use]
    pub fn token(&self) -> u64 {
        self.receipt.token()
    }

    /// See [`Receipt::attempt`].
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.receipt.attempt
    }

    /// See [`Receipt::failed`].
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.receipt.failed
    }

    /// See [`Receipt::offered`].
    #[must_use]
    pub fn offered(&self) -> Duration {
        self.receipt.offered
    }

    /// See [`Receipt::first_seen`].
    #[must_use]
    pub fn first_seen(&self) -> Duration {
        self.receipt.first_seen
    }

    /// See [`Receipt::key`].
    #[must_use]
    pub fn key(&self) -> Option<RequestKey> {
        self.receipt.key()
    }

    /// See [`Receipt::group`].
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.receipt.group()
    }

    /// See [`Receipt::reply_to`].
    #[must_use]
    pub fn reply_to<R: Send + 'static>(&self) -> Option<super::Queue<R>> {
        self.receipt.reply_to()
    }

    /// See [`Receipt::reply_to_name`].
    #[must_use]
    pub fn reply_to_name(&self) -> Option<&str> {
        self.receipt.reply_to_name()
    }

    /// See [`Receipt::ack`].
    ///
    /// # Errors
    /// [`SettleError`].
    pub fn ack(self) -> Settling<T> {
        self.receipt.ack()
    }

    /// See [`Receipt::release`].
    ///
    /// # Errors
    /// [`SettleError`].
    pub fn release(self, delay: Duration) -> Settling<T> {
        self.receipt.release(delay)
    }

    /// See [`Receipt::reject`].
    ///
    /// # Errors
    /// [`SettleError`].
    pub fn reject(self, reason: impl Into<Arc<str>>) -> Settling<T> {
        self.receipt.reject(reason)
    }

    /// See [`Receipt::bury`].
    ///
    /// # Errors
    /// [`SettleError`].
    pub fn bury(self, reason: impl Into<Arc<str>>) -> Settling<T> {
        self.receipt.bury(reason)
    }

    /// Ends the lease as said: what the others do, by name. (`Extend` lets go of an item that is still leased: it
    /// comes back when the lease lapses.)
    ///
    /// # Errors
    /// [`SettleError`].
    pub fn settle(self, settlement: Settlement) -> Settling<T> {
        Settling::new(self.receipt, settlement)
    }

    /// See [`Receipt::extend`].
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn extend(&self, span: Duration) -> Result<(), SettleError> {
        self.receipt.extend(span).await
    }

    pub(super) fn with_credit(mut self, credit: Credit) -> Self {
        self.receipt.credit = Some(credit);
        self
    }
}

impl<T: Send + 'static> Deref for Delivery<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T: fmt::Debug + Send + 'static> fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("item", &self.item)
            .field("receipt", &self.receipt)
            .finish()
    }
}

impl<T: Send + 'static> Receipt<T> {
    pub(super) fn local(local: &Arc<Local<T>>, taken: &mut Taken<()>) -> Self {
        Receipt {
            held: Some(Held::Local(Arc::clone(local), taken.place, taken.token)),
            sequence: taken.sequence,
            attempt: taken.attempt,
            failed: taken.failed,
            offered: taken.offered,
            first_seen: taken.first_seen,
            extra: taken.extra.take(),
            credit: None,
        }
    }

    pub(super) fn plain(local: &Arc<Local<T>>, plain: Plain) -> Self {
        Receipt {
            held: Some(Held::Local(Arc::clone(local), plain.place, plain.token)),
            sequence: plain.sequence,
            attempt: plain.attempt,
            failed: plain.failed,
            offered: plain.offered,
            first_seen: plain.first_seen,
            extra: None,
            credit: None,
        }
    }

    pub(super) fn routed(route: &Arc<dyn QueueRoute<T>>, leased: Leased<T>) -> (T, Self) {
        let extra = Extra {
            key: leased.key,
            group: leased.group,
            reply_to: leased.reply_to,
            ..Extra::default()
        };
        let receipt = Receipt {
            held: Some(Held::Routed(
                Arc::clone(route),
                LeaseId {
                    token: leased.token,
                    sequence: leased.sequence,
                    grantor: leased.grantor,
                },
            )),
            sequence: leased.sequence,
            attempt: leased.attempt,
            failed: leased.failed,
            offered: leased.offered,
            first_seen: leased.first_seen,
            extra: Some(Box::new(extra)),
            credit: None,
        };
        (leased.item, receipt)
    }

    /// Where the item stands in its queue.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The fencing token of the lease: it grows with each lease of the queue. 0 once the lease was ended.
    #[must_use]
    pub fn token(&self) -> u64 {
        match &self.held {
            Some(Held::Local(_, _, token)) => *token,
            Some(Held::Routed(_, lease)) => lease.token,
            None => 0,
        }
    }

    /// How often the item was handed out, this time included: 1 for the first time.
    ///
    /// A durable queue notes it with each failure, not with each hand-out: after a restart it goes on from the last
    /// delivery that failed.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How many of the deliveries before failed.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// When the item was offered: the time of day, as the span since 1970 began (UTC).
    #[must_use]
    pub fn offered(&self) -> Duration {
        self.offered
    }

    /// When the item was handed out for the first time: the time of day, as the span since 1970 began (UTC).
    #[must_use]
    pub fn first_seen(&self) -> Duration {
        self.first_seen
    }

    /// The request that the item belongs to, if its sender named it.
    #[must_use]
    pub fn key(&self) -> Option<RequestKey> {
        self.extra.as_ref()?.key
    }

    /// Its group, if it has one.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.extra.as_ref()?.group.as_deref()
    }

    /// The queue that the answer is wanted in: `None` if none was named, or it isn't one of this process for
    /// answers of that type. Then [`reply_to_name`](Receipt::reply_to_name) still says what was named.
    #[must_use]
    pub fn reply_to<R: Send + 'static>(&self) -> Option<super::Queue<R>> {
        let reply_to = self.extra.as_ref()?.reply_to.as_ref()?;
        if let Some(queue) = reply_to.queue() {
            return Some(queue);
        }
        match self.held.as_ref()? {
            Held::Local(local, ..) => local.find(reply_to.name()),
            Held::Routed(..) => None,
        }
    }

    /// The name of the queue that the answer is wanted in.
    #[must_use]
    pub fn reply_to_name(&self) -> Option<&str> {
        let reply_to = self.extra.as_ref()?.reply_to.as_ref();
        reply_to.map(ReplyTo::name)
    }

    /// The item has been handled: it leaves the queue. For a durable queue it answers when that survives the end
    /// of the process (G25).
    ///
    /// # Errors
    /// [`SettleError::Stale`] if the lease is over.
    ///
    /// # Cancel safety
    /// Dropped before it was first polled, the item goes back; after that it is acknowledged.
    pub fn ack(self) -> Settling<T> {
        Settling::new(self, Settlement::Ack)
    }

    /// Gives the item back, to be handed out again after `delay`. It keeps its place, and holds back those of its
    /// group, unless the queue allows reordering (G24). That is no failure.
    ///
    /// # Errors
    /// [`SettleError::Stale`] if the lease is over.
    ///
    /// # Cancel safety
    /// Dropped before it was first polled, the item goes back at once.
    pub fn release(self, delay: Duration) -> Settling<T> {
        Settling::new(self, Settlement::Release(delay))
    }

    /// The delivery failed. The item comes back after a pause, which is drawn from zero up to a length that
    /// doubles with each failure; or it goes to the dead-letter queue with this reason, if that was the last
    /// failure that the queue allows.
    ///
    /// # Errors
    /// [`SettleError::Stale`] if the lease is over.
    ///
    /// # Cancel safety
    /// Dropped before it was first polled, the item goes back, and that is no failure.
    pub fn reject(self, reason: impl Into<Arc<str>>) -> Settling<T> {
        Settling::new(self, Settlement::Reject(reason.into()))
    }

    /// The item can never be handled: it goes to the dead-letter queue at once, with this reason.
    ///
    /// # Errors
    /// [`SettleError::Stale`] if the lease is over.
    ///
    /// # Cancel safety
    /// Dropped before it was first polled, the item goes back.
    pub fn bury(self, reason: impl Into<Arc<str>>) -> Settling<T> {
        Settling::new(self, Settlement::Bury(reason.into()))
    }

    /// The lease lasts from now for `span`, within [`LEASE_RANGE`](super::LEASE_RANGE).
    ///
    /// # Errors
    /// [`SettleError::Stale`] if the lease is over.
    ///
    /// # Cancel safety
    /// Dropping it before it was first polled changes nothing.
    pub async fn extend(&self, span: Duration) -> Result<(), SettleError> {
        let settlement = Settlement::Extend(clamp_lease(span));
        match &self.held {
            None => Ok(()),
            Some(Held::Local(local, place, token)) => {
                local
                    .settle_one(*place, *token, self.sequence, settlement)
                    .1
            }
            Some(Held::Routed(route, lease)) => {
                let answers = route.settle(vec![(*lease, settlement)]).await;
                answers.into_iter().collect()
            }
        }
    }

    /// The lease, if the queue is elsewhere.
    pub(super) fn routed_lease(&self) -> Option<LeaseId> {
        match &self.held {
            Some(Held::Routed(_, lease)) => Some(*lease),
            _ => None,
        }
    }

    /// The lease has been ended by other means.
    pub(super) fn has_ended(mut self) {
        self.held = None;
    }

    /// Acknowledges without waiting for anything.
    pub(super) fn ack_soon(mut self) {
        self.end_soon(Settlement::Ack);
    }

    /// Gives the item back without waiting for anything, also while a panic goes by that isn't its fault.
    pub(super) fn release_soon(mut self) {
        self.end_soon(Settlement::Release(Duration::ZERO));
    }

    fn end_soon(&mut self, settlement: Settlement) {
        match self.held.take() {
            None => {}
            Some(Held::Local(local, place, token)) => {
                // An error: a lease that is over needs no end.
                let _ = local.settle_one(place, token, self.sequence, settlement);
            }
            Some(Held::Routed(route, lease)) => route.settle_soon(lease, settlement),
        }
    }
}

impl<T: Send + 'static> Drop for Receipt<T> {
    fn drop(&mut self) {
        if self.held.is_some() {
            self.end_soon(if std::thread::panicking() {
                Settlement::Reject(Arc::from("the consumer panicked"))
            } else {
                Settlement::Release(Duration::ZERO)
            });
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Receipt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("sequence", &self.sequence)
            .field("attempt", &self.attempt)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// The end of a lease: nothing happens until it is polled.
#[must_use = "dropped before it is awaited, the item goes back to its queue"]
pub struct Settling<T: Send + 'static> {
    receipt: Receipt<T>,
    settlement: Option<Settlement>,
    /// For the disk, or for an answer from elsewhere.
    wait: Option<BoxFuture<'static, Result<(), SettleError>>>,
}

impl<T: Send + 'static> Settling<T> {
    fn new(receipt: Receipt<T>, settlement: Settlement) -> Self {
        Settling {
            receipt,
            settlement: Some(settlement),
            wait: None,
        }
    }

    /// `None` if there is something to wait for.
    fn begin(&mut self, settlement: Settlement) -> Option<Result<(), SettleError>> {
        match self.receipt.held.take() {
            None => return Some(Ok(())),
            Some(Held::Local(local, place, token)) => {
                let sequence = self.receipt.sequence;
                let (ticket, result) = local.settle_one(place, token, sequence, settlement);
                if ticket == Ticket::default() {
                    return Some(result);
                }
                self.wait = Some(Box::pin(async move {
                    local.written(ticket).await?;
                    result
                }));
            }
            Some(Held::Routed(route, lease)) => {
                self.wait = Some(Box::pin(async move {
                    let answers = route.settle(vec![(lease, settlement)]).await;
                    answers.into_iter().collect()
                }));
            }
        }
        None
    }
}

impl<T: Send + 'static> Future for Settling<T> {
    type Output = Result<(), SettleError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(settlement) = self.settlement.take()
            && let Some(done) = self.begin(settlement)
        {
            return Poll::Ready(done);
        }
        match &mut self.wait {
            Some(wait) => wait.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

// Nothing in it is pinned.
impl<T: Send + 'static> Unpin for Settling<T> {}

impl<T: Send + 'static> fmt::Debug for Settling<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settling")
            .field("receipt", &self.receipt)
            .finish_non_exhaustive()
    }
}

/// Acknowledges deliveries together: for a durable queue with one write, for one elsewhere with one message. Answers
/// for each, in their order.
///
/// # Cancel safety
/// As for [`Receipt::ack`].
pub async fn ack_all<T: Send + 'static>(
    deliveries: impl IntoIterator<Item = Delivery<T>>,
) -> Vec<Result<(), SettleError>> {
    let mut receipts: Vec<Receipt<T>> = deliveries
        .into_iter()
        .map(|delivery| delivery.receipt)
        .collect();
    let first = receipts.iter().find_map(|receipt| match &receipt.held {
        Some(Held::Local(local, ..)) => Some(Arc::clone(local)),
        _ => None,
    });
    let one_queue = first.filter(|first| {
        let mut all = receipts.iter();
        all.all(|receipt| matches!(&receipt.held, Some(Held::Local(local, ..)) if Arc::ptr_eq(local, first)))
    });
    let Some(local) = one_queue else {
        if let Some((route, leases)) = take_one_route(&mut receipts) {
            return route.settle(leases).await;
        }
        let mut results = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            results.push(receipt.ack().await);
        }
        return results;
    };
    let settlements = receipts
        .iter_mut()
        .filter_map(|receipt| match receipt.held.take() {
            Some(Held::Local(_, place, token)) => {
                Some((place, token, receipt.sequence, Settlement::Ack))
            }
            _ => None,
        });
    let (ticket, results) = local.settle_all(settlements);
    match local.written(ticket).await {
        Ok(()) => results,
        Err(failure) => {
            let failed =
                |result: Result<(), SettleError>| result.and_then(|()| Err(failure.clone().into()));
            results.into_iter().map(failed).collect()
        }
    }
}

/// The leases, if all are of one queue elsewhere.
type OfOneRoute<T> = (Arc<dyn QueueRoute<T>>, Vec<(LeaseId, Settlement)>);

fn take_one_route<T: Send + 'static>(receipts: &mut [Receipt<T>]) -> Option<OfOneRoute<T>> {
    let route = match &receipts.first()?.held {
        Some(Held::Routed(route, _)) => Arc::clone(route),
        _ => return None,
    };
    let is_same = |receipt: &Receipt<T>| matches!(&receipt.held, Some(Held::Routed(other, _)) if Arc::ptr_eq(other, &route));
    if !receipts.iter().all(is_same) {
        return None;
    }
    let taken = receipts
        .iter_mut()
        .filter_map(|receipt| match receipt.held.take() {
            Some(Held::Routed(_, lease)) => Some((lease, Settlement::Ack)),
            _ => None,
        });
    let leases = taken.collect();
    Some((route, leases))
}
