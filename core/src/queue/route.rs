//! The seam to queues that live elsewhere: in another process, or in an engine such as JetStream.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::Sequence;
use super::browse::Browsed;
use super::delivery::{SettleError, Settlement};
use super::offer::{OfferError, OfferManyError, OfferTerms, Offered};
use super::reply_to::ReplyTo;
use super::state::QueueState;
use crate::boundary::{Boundary, Verdict};
use crate::error::{Failure, FailureKind};
use crate::id::{ActorId, RequestKey};
use crate::system::System;

/// What somebody wants who leases.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// How many items at most; it answers as soon as there is one.
    pub max: usize,
    /// How long to wait for it; zero not at all, `None` as long as the caller lives.
    pub deadline: Option<Duration>,
    /// For how long, if not as long as the queue says.
    pub span: Option<Duration>,
    /// The name of the consumer.
    pub consumer: Option<Arc<str>>,
}

/// An item that was leased over a route.
#[derive(Debug, Clone)]
pub struct Leased<T> {
    /// The item.
    pub item: T,
    /// The fencing token of the lease.
    pub token: u64,
    /// Who granted it: see [`LeaseId::grantor`].
    pub grantor: u64,
    /// Where it stands in its queue.
    pub sequence: Sequence,
    /// How often it was handed out, this time included.
    pub attempt: u32,
    /// How many of these failed.
    pub failed: u32,
    /// When it was offered: the time of day.
    pub offered: Duration,
    /// When it was first handed out: the time of day.
    pub first_seen: Duration,
    /// The request it belongs to.
    pub key: Option<RequestKey>,
    /// Its group.
    pub group: Option<Arc<str>>,
    /// Where the answer is wanted.
    pub reply_to: Option<ReplyTo>,
}

/// Which lease is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId {
    /// Its fencing token.
    pub token: u64,
    /// Where its item stands.
    pub sequence: Sequence,
    /// Who granted it, as the route said with the item. A queue that was started again may count its tokens from 1
    /// again: then its route gives another number here, so that an old lease never ends a new one.
    pub grantor: u64,
}

/// What a queue keeps, and what who opens it needs. A back end that can't keep a need must refuse to open; it
/// never keeps it in half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keeps {
    /// An acknowledgement with an old token is refused (G22).
    pub fenced_acks: bool,
    /// FIFO in groups, with groups in parallel (G24).
    pub groups: bool,
    /// Offers are answered when they are on disk (G25).
    pub synced_offers: bool,
    /// The same key with another item is refused (G26).
    pub compared_keys: bool,
}

impl Keeps {
    /// The needs that these don't meet, by name.
    #[must_use]
    pub fn lacks(self, needs: Keeps) -> Vec<&'static str> {
        [
            ("fenced_acks", self.fenced_acks, needs.fenced_acks),
            ("groups", self.groups, needs.groups),
            ("synced_offers", self.synced_offers, needs.synced_offers),
            ("compared_keys", self.compared_keys, needs.compared_keys),
        ]
        .into_iter()
        .filter_map(|(name, kept, needed)| (needed && !kept).then_some(name))
        .collect()
    }
}

/// A way to a queue that lives elsewhere. [`Queue::over`](super::Queue::over) makes a handle of it.
///
/// It answers with the verdicts of its boundary: what may have arrived is `MaybeExecuted`. Items whose caller
/// gave up while they were on their way come back by their leases.
pub trait QueueRoute<T>: Send + Sync + 'static {
    /// Which queue it leads to: equal for all routes of this process to one queue. Made once for each, by
    /// [`ActorId::fresh`].
    fn id(&self) -> ActorId;

    /// The system that this route belongs to: its clock, its counters, its randomness.
    fn system(&self) -> &System;

    /// The name of the queue.
    fn name(&self) -> Arc<str>;

    /// What a message crosses on this way.
    fn boundary(&self) -> Boundary;

    /// What the queue at its end keeps.
    fn keeps(&self) -> Keeps;

    /// Offers an item.
    fn offer(
        &self,
        item: T,
        terms: OfferTerms,
        deadline: Option<Duration>,
    ) -> BoxFuture<'static, Result<Offered, OfferError<T>>>;

    /// Offers several, in order, of one group if one is named. The default offers one after the other; who can send
    /// them together should.
    fn offer_many(
        self: Arc<Self>,
        items: Vec<T>,
        group: Option<Arc<str>>,
        deadline: Option<Duration>,
    ) -> BoxFuture<'static, Result<Vec<Offered>, OfferManyError<T>>>
    where
        T: Send + 'static,
    {
        Box::pin(one_by_one(self, items, group, deadline))
    }

    /// Leases items; none if the deadline passes.
    fn lease(&self, request: LeaseRequest) -> BoxFuture<'static, Result<Vec<Leased<T>>, Failure>>;

    /// Ends leases, each as said, and answers for each.
    fn settle(
        &self,
        settlements: Vec<(LeaseId, Settlement)>,
    ) -> BoxFuture<'static, Vec<Result<(), SettleError>>>;

    /// Ends a lease without waiting for the answer: its holder was dropped.
    fn settle_soon(&self, lease: LeaseId, settlement: Settlement);

    /// A consumer of that name is here no more: in a queue with a single active one it is the next one's turn. The
    /// default does nothing.
    fn consumer_left(&self, name: &str) {
        let _ = name;
    }

    /// Looks at up to `max` items from that number on without taking them. The default can't.
    fn browse(
        &self,
        from: Sequence,
        max: usize,
    ) -> BoxFuture<'static, Result<Vec<Browsed<T>>, Failure>> {
        let _ = (from, max);
        let failure = not_from_here(&self.name(), "browsed");
        Box::pin(async move { Err(failure) })
    }

    /// Removes all that wait to be handed out, for good. The default can't.
    fn purge(&self) -> BoxFuture<'static, Result<usize, Failure>> {
        let failure = not_from_here(&self.name(), "purged");
        Box::pin(async move { Err(failure) })
    }

    /// What the queue holds and has seen.
    fn state(&self) -> BoxFuture<'static, Result<QueueState, Failure>>;

    /// Ends the queue, if that may be done from here.
    fn stop(&self);
}

fn not_from_here(name: &str, done: &str) -> Failure {
    Failure::new(FailureKind::NotAuthorised, Verdict::NotSent)
        .with_detail(format!("queue {name} can't be {done} from here"))
}

async fn one_by_one<T: Send + 'static, R: QueueRoute<T> + ?Sized>(
    route: Arc<R>,
    items: Vec<T>,
    group: Option<Arc<str>>,
    deadline: Option<Duration>,
) -> Result<Vec<Offered>, OfferManyError<T>> {
    let mut offered = Vec::with_capacity(items.len());
    let mut items = items.into_iter();
    while let Some(item) = items.next() {
        let terms = OfferTerms {
            group: group.clone(),
            ..OfferTerms::default()
        };
        match route.offer(item, terms, deadline).await {
            Ok(done) => offered.push(done),
            Err(OfferError { failure, item }) => {
                return Err(OfferManyError {
                    failure,
                    offered,
                    rest: item.into_iter().chain(items).collect(),
                });
            }
        }
    }
    Ok(offered)
}
