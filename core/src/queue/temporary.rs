//! Queues that end with their owner: for replies.

use std::fmt;
use std::ops::Deref;

use uuid::Uuid;

use super::Queue;
use super::config::QueueKind;
use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::spawn::Placement;
use crate::system::System;

/// A queue that ends when this is dropped. It stands in no table: only who is handed the queue, by
/// [`Offer::reply_to`](super::Offer::reply_to) say, can reach it.
///
/// What it holds at its end goes to dead letters, like what any queue holds.
#[must_use = "dropped, the queue ends"]
pub struct TemporaryQueue<T: Send + 'static> {
    queue: Queue<T>,
}

impl<T: Send + 'static> TemporaryQueue<T> {
    /// A queue for `capacity` items (at least 1).
    pub fn start(system: &System, capacity: usize) -> Self {
        let id = Uuid::from_u64_pair(system.entropy().next_u64(), system.entropy().next_u64());
        let name = format!("temporary/{id}");
        let queue = Queue::without_name(system, name.into(), capacity, QueueKind::Bounded);
        TemporaryQueue { queue }
    }

    /// The same, which ends with an actor instead of with this value.
    pub fn start_for<A: Actor>(system: &System, capacity: usize, owner: &ActorRef<A>) -> Queue<T> {
        let temporary = TemporaryQueue::start(system, capacity);
        let queue = temporary.queue.clone();
        let owner = owner.clone();
        // False: the system has ended, and the queue with it.
        system.spawn(Placement::Spread, move || async move {
            owner.wait().await;
            drop(temporary);
        });
        queue
    }
}

impl<T: Send + 'static> Deref for TemporaryQueue<T> {
    type Target = Queue<T>;

    fn deref(&self) -> &Queue<T> {
        &self.queue
    }
}

impl<T: Send + 'static> Drop for TemporaryQueue<T> {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

impl<T: Send + 'static> fmt::Debug for TemporaryQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TemporaryQueue({})", self.queue.name())
    }
}
