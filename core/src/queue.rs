//! Queue actors: offer and poll. Each item goes to one of the pollers (competing consumers, G21).
//!
//! A [`Queue`] is a reference to an actor that holds the items. Offering waits while the queue is full
//! and polling while it is empty, each in the order they came, no longer than the deadline says. Nothing
//! is lost to a caller that gives up: an item that was on its way to it goes back to its place.
//!
//! Queues are in memory and acknowledge on receipt (at-most-once).
//!
//! ```
//! use callboard_core::queue::Queue;
//! use callboard_core::Simulation;
//!
//! Simulation::new(1).block_on(async {
//!     let system = callboard_core::System::current().ok_or("no system")?;
//!     let queue = Queue::bounded(&system, "parcels", 16);
//!     queue.offer("a").await?;
//!     assert_eq!(queue.poll().await?, Some("a"));
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })
//! # .unwrap();
//! ```

mod actor;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::actor_ref::ActorRef;
use crate::error::{Failure, FailureKind};
use crate::system::System;

use actor::{Permit, PollItem, Put, QueueActor, Reserve, State};

/// Where in its queue an item stands: 1 for the first that was ever stored.
pub type Sequence = u64;

/// A reference to a queue actor. Clones refer to the same queue.
pub struct Queue<T: Send + 'static> {
    actor: ActorRef<QueueActor<T>>,
    name: Arc<str>,
}

/// What a queue holds and has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct QueueState {
    /// Items waiting now.
    pub len: usize,
    /// The bound.
    pub capacity: usize,
    /// Items stored since it started.
    pub offered: u64,
    /// Items handed to pollers since it started.
    pub polled: u64,
    /// Items dropped because a circular queue was full.
    pub dropped: u64,
    /// Pollers waiting now.
    pub waiting_pollers: usize,
    /// Offerers waiting now.
    pub waiting_offerers: usize,
}

impl<T: Send + 'static> Queue<T> {
    /// A queue that holds `capacity` items (at least 1); offering to a full one waits.
    pub fn bounded(system: &System, name: impl Into<Arc<str>>, capacity: usize) -> Self {
        Queue::open(system, name.into(), capacity, false)
    }

    /// A queue that holds `capacity` items (at least 1); when full, the oldest item is dropped and
    /// counted, and goes to dead letters (G3).
    pub fn circular(system: &System, name: impl Into<Arc<str>>, capacity: usize) -> Self {
        Queue::open(system, name.into(), capacity, true)
    }

    fn open(system: &System, name: Arc<str>, capacity: usize, circular: bool) -> Self {
        let label = Arc::clone(&name);
        let actor = system
            .actor(move || QueueActor::new(label, capacity.max(1), circular))
            .label(format!("queue {name}"))
            .start();
        Queue { actor, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stores an item behind the others. Await it; see [`Offer`].
    pub fn offer(&self, item: T) -> Offer<T> {
        Offer {
            queue: self.clone(),
            item,
            deadline: None,
        }
    }

    /// Takes the oldest item. Await it; see [`Poll`].
    pub fn poll(&self) -> Poll<T> {
        Poll {
            queue: self.clone(),
            deadline: None,
        }
    }

    /// What it holds and has seen.
    ///
    /// # Errors
    /// If the queue has stopped.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn state(&self) -> Result<QueueState, Failure> {
        Ok(self.actor.ask(State).await?)
    }

    /// Ends the queue: what it holds goes to dead letters, whoever waits gets an error.
    pub fn stop(&self) {
        self.actor.stop();
    }
}

impl<T: Send + 'static> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue {
            actor: self.actor.clone(),
            name: Arc::clone(&self.name),
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({})", self.name)
    }
}

/// An item that could not be offered. It comes back unless it reached the queue and the answer was lost.
pub struct OfferError<T> {
    /// Why, and what is known about the item.
    pub failure: Failure,
    /// The item.
    pub item: Option<T>,
}

impl<T> fmt::Debug for OfferError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferError")
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for OfferError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl<T> std::error::Error for OfferError<T> {}

/// An item to be stored. Awaited, it answers where the item stands.
///
/// # Errors
/// [`OfferError`] with the item: the deadline passed while the queue was full, or the queue has stopped.
///
/// # Cancel safety
/// Dropping it before it ends gives up the place in line; the item is dropped unless it was stored.
#[must_use = "nothing is offered until it is awaited"]
#[derive(Debug)]
pub struct Offer<T: Send + 'static> {
    queue: Queue<T>,
    item: T,
    deadline: Option<Duration>,
}

impl<T: Send + 'static> Offer<T> {
    /// Gives up after `span` if there is no room; zero does not wait. Without it the offer waits as long
    /// as the caller lives.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = Some(span);
        self
    }

    async fn send(self) -> Result<Sequence, OfferError<T>> {
        let Offer {
            queue,
            item,
            deadline,
        } = self;
        let (item, permit) = match put(&queue, item, None).await? {
            Ok(sequence) => return Ok(sequence),
            Err(item) if deadline == Some(Duration::ZERO) => {
                let failure = Failure::new(FailureKind::Full, crate::Verdict::NotExecuted)
                    .with_detail(queue.name.to_string());
                return Err(OfferError {
                    failure,
                    item: Some(item),
                });
            }
            Err(item) => match reserve(&queue, deadline).await {
                Ok(permit) => (item, permit),
                Err(failure) => {
                    return Err(OfferError {
                        failure,
                        item: Some(item),
                    });
                }
            },
        };
        match put(&queue, item, Some(permit.number())).await? {
            Ok(sequence) => {
                permit.used();
                Ok(sequence)
            }
            // A permit always finds its room; kept as an error so that no item is ever lost to a bug.
            Err(item) => {
                let failure = Failure::new(FailureKind::Full, crate::Verdict::NotExecuted);
                Err(OfferError {
                    failure,
                    item: Some(item),
                })
            }
        }
    }
}

/// One try: stored, or the item back because there is no room.
async fn put<T: Send + 'static>(
    queue: &Queue<T>,
    item: T,
    permit: Option<u64>,
) -> Result<Result<Sequence, T>, OfferError<T>> {
    let asked = queue.actor.ask(Put { item, permit }).no_deadline().await;
    asked.map_err(|error| {
        let (failure, message) = error.into_parts();
        OfferError {
            failure,
            item: message.map(|put| put.item),
        }
    })
}

async fn reserve<T: Send + 'static>(
    queue: &Queue<T>,
    deadline: Option<Duration>,
) -> Result<Permit<T>, Failure> {
    let ask = queue.actor.ask(Reserve::new());
    let asked = match deadline {
        Some(span) => ask.deadline(span).await,
        None => ask.no_deadline().await,
    };
    // While it waits for room the item is still the caller's.
    asked.map_err(|error| Failure::from(error).with_verdict(crate::Verdict::NotExecuted))
}

impl<T: Send + 'static> IntoFuture for Offer<T> {
    type Output = Result<Sequence, OfferError<T>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A wish for the oldest item. Awaited, it answers the item, or `None` if the deadline passed first.
///
/// # Errors
/// [`Failure`] if the queue has stopped.
///
/// # Cancel safety
/// Dropping it takes no item: one that was on its way goes back to its place.
#[must_use = "nothing is polled until it is awaited"]
#[derive(Debug)]
pub struct Poll<T: Send + 'static> {
    queue: Queue<T>,
    deadline: Option<Duration>,
}

impl<T: Send + 'static> Poll<T> {
    /// Gives up after `span` if nothing comes; zero does not wait. Without it the poll waits as long as
    /// the caller lives.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = Some(span);
        self
    }

    async fn send(self) -> Result<Option<T>, Failure> {
        let wait = self.deadline != Some(Duration::ZERO);
        let ask = self.queue.actor.ask(PollItem::new(wait));
        let asked = match self.deadline {
            Some(span) if wait => ask.deadline(span).await,
            _ => ask.no_deadline().await,
        };
        match asked {
            Ok(handed) => Ok(handed.take()),
            Err(error) if error.kind() == FailureKind::DeadlineExceeded => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl<T: Send + 'static> IntoFuture for Poll<T> {
    type Output = Result<Option<T>, Failure>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
