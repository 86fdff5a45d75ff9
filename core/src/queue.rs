//! Queue actors: offer and poll. Each item goes to one of those who poll (competing consumers, G21).
//!
//! A [`Queue`] is a reference to a queue; clones refer to the same one, from any thread and any runtime.
//!
//! **Offering** waits while the queue is full, in the order the offerers came, no longer than the deadline says.
//! The answer says where the item stands. With a request key an item is stored once, however often it is offered
//! within a window (G26). Items may belong to a group, in which they are handed out strictly one after the other
//! (G24), have a priority, a delay, a time to live, and name the queue that an answer is wanted in.
//!
//! **Polling** takes an item and acknowledges it on receipt: it is gone, also if who polled fails (at-most-once).
//! **Leasing** hands out a [`Delivery`]: the queue keeps the item until it is acknowledged, and hands it out again
//! when it is given back, when its delivery failed, or when the lease lapses (at-least-once, G21, G22). Each lease
//! has a fencing token; who acknowledges after the lease was over is refused. An item whose deliveries failed too
//! often goes to the queue's [dead-letter queue](Queue::dead_letters) (G23).
//!
//! Nothing is lost to a caller that gives up: what was on its way to it goes back to its place.
//!
//! Queues are in memory, or **durable**: then an offer is answered when the item is on disk
//! ([`QueueBuilder::durable`], G25).
//!
//! ```
//! use callboard_core::queue::Queue;
//! use callboard_core::Simulation;
//!
//! Simulation::new(1).block_on(async {
//!     let system = callboard_core::System::current().ok_or("no system")?;
//!     let parcels: Queue<&str> = system.queue("parcels").capacity(16).open()?;
//!     parcels.offer("a").await?;
//!     parcels.offer("b").await?;
//!     assert_eq!(parcels.poll().await?, Some("a"));
//!
//!     let delivery = parcels.lease().await?.ok_or("nothing there")?;
//!     assert_eq!((*delivery, delivery.attempt()), ("b", 1));
//!     drop(delivery); // never handled: it goes back
//!     let again = parcels.lease().await?.ok_or("nothing there")?;
//!     assert_eq!((*again, again.attempt()), ("b", 2));
//!     again.ack().await?;
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })
//! # .unwrap();
//! ```
//!
//! # How it works
//! A queue's state is behind one lock, and whoever calls runs the operation on its own thread: an offer to a queue
//! in memory is a few tens of nanoseconds from every arbiter, and needs no hop. The queue's actor keeps the time
//! (leases that lapse, delays that are over), and with it the queue ends.

mod browse;
mod builder;
mod config;
mod consume;
mod consumer;
mod dead;
mod dead_letters;
mod delivery;
mod durable;
mod ending;
mod engine;
mod flow;
mod keeper;
mod line;
mod local;
mod offer;
mod rates;
mod registry;
mod reply_to;
mod route;
mod settle;
mod slab;
mod state;
mod take;
mod temporary;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::boundary::Boundary;
use crate::error::Failure;
use crate::id::ActorId;
use crate::system::System;

pub use browse::{Browsed, ItemPlace};
pub use builder::{DurableQueueBuilder, OpenError, QueueBuilder};
pub use config::{Difference, LEASE_RANGE, MAX_PRIORITIES, QueueConfig, QueueKind};
pub use consume::{Consumer, Consuming};
pub use consumer::ConsumerState;
pub use dead::{Dead, DeadInfo, DeadReason};
pub use dead_letters::DeadLetterQueue;
pub use delivery::{Delivery, Receipt, SettleError, Settlement, Settling, ack_all};
pub use ending::{NotEnded, OnlyIf};
pub use flow::{Deliveries, OfferSink};
pub use offer::{
    Offer, OfferError, OfferMany, OfferManyError, OfferParts, OfferTerms, Offered, Offering,
};
pub use rates::QueueRates;
pub use registry::{QueueInfo, Queues};
pub use reply_to::ReplyTo;
pub use route::{Keeps, LeaseId, LeaseRequest, Leased, QueueRoute};
pub use state::{QueueState, SetAside};
pub use take::{Lease, LeaseMany, Poll, PollMany, Taking};
pub use temporary::TemporaryQueue;

use flow::Source;
use keeper::Owner;
use local::Local;

/// Where in its queue an item stands: 1 for the first that was ever stored.
pub type Sequence = u64;

/// A reference to a queue. Clones refer to the same queue.
pub struct Queue<T: Send + 'static> {
    inner: Inner<T>,
}

enum Inner<T: Send + 'static> {
    /// A queue of this process.
    Local {
        local: Arc<Local<T>>,
        /// Ends it, and with it the queue of the dead, whose owner it is, too.
        owner: Arc<dyn Owner>,
        dead: Option<Arc<Local<Dead<T>>>>,
    },
    /// A queue elsewhere.
    Routed(Arc<dyn QueueRoute<T>>),
}

impl<T: Send + 'static> Queue<T> {
    /// A queue for `capacity` items (at least 1) that is found by nobody who isn't handed the reference; offering to
    /// a full one waits. The name is a label. [`System::queue`] opens queues by name.
    pub fn bounded(system: &System, name: impl Into<Arc<str>>, capacity: usize) -> Self {
        Queue::without_name(system, name.into(), capacity, QueueKind::Bounded)
    }

    /// The same; when full, the oldest item is dropped and counted, and goes to dead letters (G3).
    pub fn circular(system: &System, name: impl Into<Arc<str>>, capacity: usize) -> Self {
        Queue::without_name(system, name.into(), capacity, QueueKind::Circular)
    }

    /// A queue that lives elsewhere, if it keeps what is needed.
    ///
    /// # Errors
    /// [`OpenError::Lacks`] names the needs that it doesn't keep.
    pub fn over(route: Arc<dyn QueueRoute<T>>, needs: Keeps) -> Result<Self, OpenError> {
        let lacks = route.keeps().lacks(needs);
        if lacks.is_empty() {
            let inner = Inner::Routed(route);
            return Ok(Queue { inner });
        }
        let name = route.name();
        Err(OpenError::Lacks { name, lacks })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        match &self.inner {
            Inner::Local { local, .. } => Arc::clone(&local.name),
            Inner::Routed(route) => route.name(),
        }
    }

    /// Which queue it is: equal for all references to one queue, another for one that is opened again after it has
    /// ended. For a queue of this process it is the id of the actor that keeps its time.
    #[must_use]
    pub fn id(&self) -> ActorId {
        match &self.inner {
            Inner::Local { owner, .. } => owner.id(),
            Inner::Routed(route) => route.id(),
        }
    }

    /// The system that it belongs to: its clock, its counters, its randomness. Of a queue elsewhere, the one of the
    /// route to it.
    #[must_use]
    pub fn system(&self) -> &System {
        match &self.inner {
            Inner::Local { owner, .. } => owner.system(),
            Inner::Routed(route) => route.system(),
        }
    }

    /// What an item crosses on its way there.
    #[must_use]
    pub fn boundary(&self) -> Boundary {
        match &self.inner {
            Inner::Local { .. } => Boundary::SameProcess,
            Inner::Routed(route) => route.boundary(),
        }
    }

    /// What it keeps: see [`Keeps`].
    #[must_use]
    pub fn keeps(&self) -> Keeps {
        match &self.inner {
            Inner::Local { local, .. } => Keeps {
                fenced_acks: true,
                groups: true,
                synced_offers: local.settings.durable,
                compared_keys: local.settings.compare_keys,
            },
            Inner::Routed(route) => route.keeps(),
        }
    }

    /// How it behaves. `None` if the queue lives elsewhere.
    #[must_use]
    pub fn config(&self) -> Option<QueueConfig> {
        match &self.inner {
            Inner::Local { local, .. } => Some(local.settings.clone()),
            Inner::Routed(_) => None,
        }
    }

    /// Stores an item behind the others. Await it; see [`Offer`].
    pub fn offer(&self, item: T) -> Offer<T> {
        Offer::new(self.clone(), item)
    }

    /// Stores several items behind the others. Await it; see [`OfferMany`].
    pub fn offer_many(&self, items: impl IntoIterator<Item = T>) -> OfferMany<T> {
        OfferMany::new(self.clone(), items.into_iter().collect())
    }

    /// A sink that offers what is sent to it. At most `window` offers (at least 1) wait for their answers.
    pub fn sink(&self, window: usize) -> OfferSink<T> {
        OfferSink::new(self.clone(), window)
    }

    /// Takes the oldest item. Await it; see [`Poll`].
    pub fn poll(&self) -> Poll<T> {
        take::poll(self.clone(), None)
    }

    /// Takes up to `max` items. Await it; see [`PollMany`].
    pub fn poll_many(&self, max: usize) -> PollMany<T> {
        take::poll_many(self.clone(), max, None)
    }

    /// A consumer with a name, which the queue shows, and which a queue with a single active consumer asks for.
    pub fn consumer(&self, name: impl Into<Arc<str>>) -> Consumer<T> {
        Consumer::new(self.clone(), name.into())
    }

    /// Its dead-letter queue (G23). `None` if the queue lives elsewhere.
    #[must_use]
    pub fn dead_letters(&self) -> Option<DeadLetterQueue<T>> {
        match &self.inner {
            Inner::Local {
                local,
                owner,
                dead: Some(dead),
            } => Some(DeadLetterQueue::new(
                Arc::clone(dead),
                Arc::clone(local),
                Arc::clone(owner),
            )),
            _ => None,
        }
    }

    /// What it holds and has seen.
    ///
    /// # Errors
    /// If the queue lives elsewhere, and can't be reached. One of this process answers also when it has ended.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn state(&self) -> Result<QueueState, Failure> {
        match &self.inner {
            Inner::Local { local, .. } => Ok(local.state()),
            Inner::Routed(route) => route.state().await,
        }
    }

    /// Its consumers that have names, the one that has been there longest first. Empty if the queue lives elsewhere.
    #[must_use]
    pub fn consumers(&self) -> Vec<ConsumerState> {
        match &self.inner {
            Inner::Local { local, .. } => local.consumers(),
            Inner::Routed(_) => Vec::new(),
        }
    }

    /// Its items that can't be read: of a type or version that this program doesn't know, or damaged. They stay
    /// where they are, and are tried again when the queue is next opened. Empty if the queue lives elsewhere.
    #[must_use]
    pub fn set_aside(&self) -> Vec<SetAside> {
        match &self.inner {
            Inner::Local { local, .. } => local.set_aside_items(),
            Inner::Routed(_) => Vec::new(),
        }
    }

    /// Removes all that wait to be handed out, for good; what is in hand stays. Answers how many.
    ///
    /// # Errors
    /// If the queue lives elsewhere, and can't be reached or purged from here.
    ///
    /// # Cancel safety
    /// Dropped, it may have been done.
    pub async fn purge(&self) -> Result<usize, Failure> {
        match &self.inner {
            Inner::Local { local, .. } => Ok(local.purge()),
            Inner::Routed(route) => route.purge().await,
        }
    }

    /// Ends the queue: what it holds in memory goes to dead letters, what it has on disk stays there; whoever waits
    /// gets an error.
    pub fn stop(&self) {
        match &self.inner {
            Inner::Local { owner, .. } => owner.stop(),
            Inner::Routed(route) => route.stop(),
        }
    }

    /// Completes when the queue has ended. At once if it lives elsewhere.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn wait(&self) {
        if let Inner::Local { owner, .. } = &self.inner {
            owner.wait().await;
        }
    }

    fn as_reply_to(&self) -> ReplyTo {
        ReplyTo::to(self.name(), self.clone())
    }
}

impl<T: Clone + Send + 'static> Queue<T> {
    /// Takes the oldest item in hand. Await it; see [`Lease`].
    pub fn lease(&self) -> Lease<T> {
        take::lease(self.clone(), None)
    }

    /// Takes up to `max` items in hand. Await it; see [`LeaseMany`].
    pub fn lease_many(&self, max: usize) -> LeaseMany<T> {
        take::lease_many(self.clone(), max, None)
    }

    /// The items as a stream, at most `prefetch` (at least 1) of them in hand at a time.
    pub fn deliveries(&self, prefetch: usize) -> Deliveries<T> {
        let queue = self.clone();
        let source = match &self.inner {
            Inner::Local { .. } => Source::Each(Box::new(move || queue.lease())),
            Inner::Routed(_) => Source::Batches(Box::new(move |max| queue.lease_many(max))),
        };
        Deliveries::new(prefetch, source)
    }

    /// Runs `handler` for each item, on `workers` (at least 1) tasks spread over the arbiters of `system`. An item is
    /// acknowledged when its handler has answered `Ok(())`; an error or a panic rejects it. A handler that wants
    /// more of a say answers a [`Settlement`]: `Bury` for what can never be handled, `Release` for later.
    ///
    /// A handler that takes longer than the lease [extends](Delivery::extend) it; else the item is handed out
    /// again meanwhile.
    pub fn consume<R, F>(&self, system: &System, workers: usize, handler: F) -> Consuming
    where
        R: Into<Settlement>,
        F: AsyncFn(&Delivery<T>) -> R + Clone + Send + 'static,
    {
        consume::consume(self, system, workers, handler)
    }

    /// Looks at up to `max` items from that number on, in order, without taking them: also those that are in hand. In
    /// a queue elsewhere fewer, if an answer hasn't room for them all.
    ///
    /// Copies are made under the queue's lock: their `clone` must not use the queue.
    ///
    /// # Errors
    /// If the queue has stopped, can't be read, or lives elsewhere and can't be reached or browsed from here. Of one
    /// elsewhere also `TooLarge` if the first item doesn't fit in an answer by itself, and `BadPayload` if it can't be
    /// read here; the text says its number, and looking from the next one on shows what is behind it.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn browse(&self, from: Sequence, max: usize) -> Result<Vec<Browsed<T>>, Failure> {
        match &self.inner {
            Inner::Local { local, .. } => local.browse(from, max).await,
            Inner::Routed(route) => route.browse(from, max).await,
        }
    }
}

impl<T: Send + 'static> Clone for Queue<T> {
    fn clone(&self) -> Self {
        let inner = match &self.inner {
            Inner::Local { local, owner, dead } => Inner::Local {
                local: Arc::clone(local),
                owner: Arc::clone(owner),
                dead: dead.clone(),
            },
            Inner::Routed(route) => Inner::Routed(Arc::clone(route)),
        };
        Queue { inner }
    }
}

impl<T: Send + 'static> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({})", self.name())
    }
}
