//! Offering: builders until they are awaited.

mod local;
mod many;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;

use super::reply_to::ReplyTo;
use super::{Inner, Queue, Sequence};
use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::current;
use crate::error::{Failure, FailureKind};
use crate::id::RequestKey;

pub use many::{OfferMany, OfferManyError};

pub(super) use local::{About, Encoded, LocalOffer, Prepared};

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offered {
    /// It was stored, under that number.
    Stored(Sequence),
    /// An offer with the same key had been stored under that number: this one was not (G26).
    Duplicate(Sequence),
}

impl Offered {
    /// The number of the item, stored now or before.
    #[must_use]
    pub fn sequence(self) -> Sequence {
        match self {
            Offered::Stored(sequence) | Offered::Duplicate(sequence) => sequence,
        }
    }
}

/// An item that could not be offered. It comes back unless nobody knows where it is.
pub struct OfferError<T> {
    /// Why, and what is known about the item.
    pub failure: Failure,
    /// The item. With the verdict `MaybeExecuted` it may be stored all the same: offer it again with its key.
    pub item: Option<T>,
}

impl<T> OfferError<T> {
    /// Why it failed.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.failure.kind()
    }

    /// What is known about the item.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.failure.verdict()
    }
}

/// So that `?` passes on why, where nobody wants the item back.
impl<T> From<OfferError<T>> for Failure {
    fn from(error: OfferError<T>) -> Failure {
        error.failure
    }
}

impl<T> fmt::Debug for OfferError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferError")
            .field("failure", &self.failure)
            .field("item_returned", &self.item.is_some())
            .finish()
    }
}

impl<T> fmt::Display for OfferError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl<T> std::error::Error for OfferError<T> {}

/// What an offer says besides its item and its deadline; [`Offer`] has a method for each.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OfferTerms {
    /// The request it belongs to.
    pub key: Option<RequestKey>,
    /// Its group.
    pub group: Option<Arc<str>>,
    /// How urgent it is.
    pub priority: u8,
    /// Not to be handed out before.
    pub delay: Duration,
    /// Not to be handed out after.
    pub time_to_live: Option<Duration>,
    /// Where the answer is wanted.
    pub reply_to: Option<ReplyTo>,
}

impl OfferTerms {
    /// Whether they are those of an offer that says nothing.
    fn are_default(&self) -> bool {
        let OfferTerms {
            key,
            group,
            priority,
            delay,
            time_to_live,
            reply_to,
        } = self;
        key.is_none()
            && group.is_none()
            && *priority == 0
            && delay.is_zero()
            && time_to_live.is_none()
            && reply_to.is_none()
    }
}

/// An item to be stored. Awaited, it answers where it stands: [`Offered`].
///
/// # Errors
/// [`OfferError`] with the item: the deadline passed while the queue was full (`DeadlineExceeded`, or `Full` if
/// it was not to wait), the queue has stopped (`Stopped`), its key was used for another item (`KeyReused`), too
/// many keys are remembered or too many wait (`Overloaded`), the disk refused (`StorageFailed`).
///
/// # Cancel safety
/// Dropping it while it waits for room leaves nothing behind; the item is dropped. Dropped while a durable queue
/// stores it, it is stored all the same.
#[must_use = "nothing is offered until it is awaited"]
pub struct Offer<T: Send + 'static> {
    queue: Queue<T>,
    item: T,
    deadline: Option<Duration>,
    /// What most offers don't say.
    terms: Option<Box<OfferTerms>>,
}

impl<T: Send + 'static> Offer<T> {
    pub(super) fn new(queue: Queue<T>, item: T) -> Self {
        Offer {
            queue,
            item,
            deadline: None,
            terms: None,
        }
    }

    /// Gives up after `span` if there is no room; zero does not wait. Without it the offer waits as long
    /// as the caller lives.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = Some(span);
        self
    }

    /// The request that this offer belongs to: within the queue's window it is stored once, however often it is
    /// offered (G26).
    pub fn key(mut self, key: RequestKey) -> Self {
        self.terms().key = Some(key);
        self
    }

    /// The items of one group are handed out one after the other, in the order they were offered: the next when
    /// the one before is acknowledged (G24).
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.terms().group = Some(group.into());
        self
    }

    /// More urgent than those with a lower one: 0 (the default) up to the queue's highest, which greater
    /// numbers count as.
    pub fn priority(mut self, priority: u8) -> Self {
        self.terms().priority = priority;
        self
    }

    /// Not to be handed out before that time has passed, from now. In a group it holds back those behind it,
    /// unless the queue allows reordering.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.terms().delay = delay;
        self
    }

    /// Not to be handed out any more after that time, from now, delay included: it goes to the dead-letter queue
    /// then. Instead of the queue's own.
    pub fn time_to_live(mut self, span: Duration) -> Self {
        self.terms().time_to_live = Some(span);
        self
    }

    /// All that an offer may say at once, in place of what was said so far: for who passes offers on, as the far end
    /// of a [`QueueRoute`](super::QueueRoute) does.
    pub fn with_terms(mut self, terms: OfferTerms) -> Self {
        self.terms = Some(Box::new(terms));
        self
    }

    /// Where the answer is wanted: its consumer gets that queue with the item.
    pub fn reply_to<R: Send + 'static>(mut self, queue: &Queue<R>) -> Self {
        self.terms().reply_to = Some(queue.as_reply_to());
        self
    }

    /// Takes the offer apart, for a policy that makes it more than once or at another queue.
    #[must_use]
    pub fn into_parts(self) -> OfferParts<T> {
        OfferParts {
            inherited: current::inherited_deadline(self.queue.system().clock()),
            caller_retries: current::caller_retries(),
            queue: self.queue,
            item: self.item,
            deadline: self.deadline,
            terms: self.terms.map_or_else(OfferTerms::default, |terms| *terms),
        }
    }
}

/// An [`Offer`] taken apart. Made by [`Offer::into_parts`]; [`into_offer`](OfferParts::into_offer) puts it together.
#[non_exhaustive]
pub struct OfferParts<T: Send + 'static> {
    /// Where it is made.
    pub queue: Queue<T>,
    /// The item.
    pub item: T,
    /// How long it waits for room, from when it is awaited: zero not at all, `None` as long as the caller lives.
    pub deadline: Option<Duration>,
    /// What else it says.
    pub terms: OfferTerms,
    /// Whether whoever asked for the request in hand retries (G18); looked up when the offer is taken apart, so do
    /// that where it would be awaited.
    pub caller_retries: bool,
    /// When the request in hand is worth nothing any more (G9), looked up at the same time. An offer is not bound by
    /// it; what offers again and again should be.
    pub inherited: Option<Instant>,
}

impl<T: Send + 'static> OfferParts<T> {
    /// Parts of a new offer, without a deadline.
    #[must_use]
    pub fn new(queue: Queue<T>, item: T, terms: OfferTerms) -> Self {
        OfferParts {
            queue,
            item,
            deadline: None,
            terms,
            caller_retries: false,
            inherited: None,
        }
    }

    /// The offer again.
    pub fn into_offer(self) -> Offer<T> {
        let OfferParts {
            queue,
            item,
            deadline,
            terms,
            caller_retries: _,
            inherited: _,
        } = self;
        Offer {
            queue,
            item,
            deadline,
            terms: (!terms.are_default()).then(|| Box::new(terms)),
        }
    }
}

impl<T: Send + 'static> fmt::Debug for OfferParts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferParts")
            .field("queue", &self.queue.name())
            .field("deadline", &self.deadline)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Offer<T> {
    fn terms(&mut self) -> &mut OfferTerms {
        self.terms.get_or_insert_default()
    }
}

impl<T: Send + 'static> fmt::Debug for Offer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("queue", &self.queue.name())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> IntoFuture for Offer<T> {
    type Output = Result<Offered, OfferError<T>>;
    type IntoFuture = Offering<T>;

    fn into_future(self) -> Offering<T> {
        let Offer {
            queue,
            item,
            deadline,
            terms,
        } = self;
        Offering(match queue.inner {
            Inner::Local { local, .. } => Way::Local(LocalOffer::new(local, item, terms, deadline)),
            Inner::Routed(route) => {
                let terms = terms.map_or_else(OfferTerms::default, |terms| *terms);
                Way::Routed(route.offer(item, terms, deadline))
            }
        })
    }
}

/// The future of an [`Offer`].
#[must_use = "futures do nothing unless they are polled"]
pub struct Offering<T: Send + 'static>(Way<T>);

enum Way<T: Send + 'static> {
    Local(LocalOffer<T>),
    Routed(BoxFuture<'static, Result<Offered, OfferError<T>>>),
}

impl<T: Send + 'static> Future for Offering<T> {
    type Output = Result<Offered, OfferError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Way::Local(offer) => offer.poll(cx),
            Way::Routed(offer) => offer.as_mut().poll(cx),
        }
    }
}

// Nothing in it is pinned: an item is moved in and out.
impl<T: Send + 'static> Unpin for Offering<T> {}

impl<T: Send + 'static> fmt::Debug for Offering<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offering").finish_non_exhaustive()
    }
}
