//! References that keep nothing: neither the memory of what they point to nor, across processes, the
//! connection to it.
//!
//! An actor lives until it ends, whoever holds a reference: dropping the last [`ActorRef`] stops nothing. So
//! a weak reference is not about the life of an actor here. It is for what outlives actors:
//!
//! - **caches and registries**: a strong reference to an actor that has ended keeps its mailbox and its
//!   system in memory until somebody cleans up; a weak one keeps no more than the bytes of an empty cell, and
//!   says by itself that the entry is stale;
//! - **messages and states that refer to each other**: what an actor holds is dropped when it ends, so two
//!   actors that hold each other are no leak; but a dead letter that holds a reference to an actor of its own
//!   system is a cycle, for as long as the ring keeps it;
//! - **connections**: a [`Recipient`] over a peer keeps its link open, a [`WeakRecipient`] doesn't.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::{Arc, Weak};

use crate::actor::{Actor, Receives};
use crate::actor_ref::{ActorRef, Recipient, by_id};
use crate::cell::Cell;
use crate::id::ActorId;
use crate::message::Message;
use crate::route::{Route, WeakRoute};

/// An [`ActorRef`] that doesn't keep the actor's memory. It stays valid over restarts, like that one (G13).
///
/// ```
/// # extern crate callboard_core as callboard;
/// # use callboard::{Actor, Simulation};
/// # struct Clerk; impl Actor for Clerk {}
/// # Simulation::new(1).block_on(async {
/// # let system = callboard::System::current().unwrap();
/// let clerk = system.start(Clerk);
/// let card = clerk.downgrade();
/// assert_eq!(card.upgrade(), Some(clerk.clone()));
/// clerk.stop();
/// clerk.wait().await;
/// assert_eq!(card.upgrade(), None); // though `clerk` is still held
/// # });
/// ```
pub struct WeakRef<A: Actor> {
    cell: Weak<Cell<A>>,
    id: ActorId,
}

impl<A: Actor> ActorRef<A> {
    /// The same actor, by a reference that doesn't keep its memory.
    #[must_use]
    pub fn downgrade(&self) -> WeakRef<A> {
        WeakRef {
            cell: Arc::downgrade(self.cell()),
            id: self.id(),
        }
    }
}

impl<A: Actor> WeakRef<A> {
    /// The actor's id.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.id
    }

    /// A strong reference. `None` once the actor has ended, from the moment on at which
    /// [`exit_reason`](ActorRef::exit_reason) has an answer, also if somebody holds a strong reference still.
    /// Between two incarnations, and while it drains, it has not ended.
    ///
    /// That there is one says no more than [`is_alive`](ActorRef::is_alive): the actor may end a moment later.
    #[must_use]
    pub fn upgrade(&self) -> Option<ActorRef<A>> {
        let cell = self.cell.upgrade()?;
        (!cell.has_ended()).then(|| ActorRef::new(cell))
    }
}

impl<A: Actor> Clone for WeakRef<A> {
    fn clone(&self) -> Self {
        WeakRef {
            cell: Weak::clone(&self.cell),
            id: self.id,
        }
    }
}

impl<A: Actor> fmt::Debug for WeakRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.upgrade() {
            Some(actor) => write!(f, "WeakRef({}{})", actor.label(), self.id),
            None => write!(f, "WeakRef({}, ended)", self.id),
        }
    }
}

/// A [`Recipient`] that keeps neither the receiver's memory nor the connection to it.
pub struct WeakRecipient<M: Message> {
    route: Arc<dyn WeakRoute<M>>,
    id: ActorId,
}

impl<M: Message> Recipient<M> {
    /// The same receiver, by a reference that keeps neither its memory nor the connection to it.
    #[must_use]
    pub fn downgrade(&self) -> WeakRecipient<M> {
        let route = self.route();
        WeakRecipient {
            route: route
                .downgrade()
                .unwrap_or_else(|| Arc::new(Held(Arc::downgrade(route)))),
            id: self.id(),
        }
    }
}

impl<M: Message> WeakRecipient<M> {
    /// Who receives.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.id
    }

    /// A strong reference. `None`, for good:
    /// - to an actor of this process: once it has ended, as [`WeakRef::upgrade`] says, whoever holds it;
    /// - to an exposed name of another process: once the link is closed, also because its last handle and
    ///   strong reference were dropped. A connection that is lost, or an actor that ends over there, changes
    ///   nothing: the link outlives both;
    /// - over a route of your own: what its [`downgrade`](Route::downgrade) says, else once nobody holds the
    ///   route.
    #[must_use]
    pub fn upgrade(&self) -> Option<Recipient<M>> {
        self.route.upgrade().map(Recipient::new)
    }
}

impl<M: Message> Clone for WeakRecipient<M> {
    fn clone(&self) -> Self {
        WeakRecipient {
            route: Arc::clone(&self.route),
            id: self.id,
        }
    }
}

impl<M: Message> fmt::Debug for WeakRecipient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.upgrade() {
            Some(recipient) => write!(f, "WeakRecipient({}{})", recipient.label(), self.id),
            None => write!(f, "WeakRecipient({}, ended)", self.id),
        }
    }
}

by_id!(WeakRef, A: Actor);
by_id!(WeakRecipient, M: Message);

/// To a route that can't say more than whether somebody holds it.
struct Held<M: Message>(Weak<dyn Route<M>>);

impl<M: Message> WeakRoute<M> for Held<M> {
    fn upgrade(&self) -> Option<Arc<dyn Route<M>>> {
        self.0.upgrade()
    }
}

/// To an actor of this process.
pub(crate) struct WeakDirect<A: Actor, How> {
    cell: Weak<Cell<A>>,
    how: PhantomData<fn() -> How>,
}

impl<A: Actor, How> WeakDirect<A, How> {
    pub(crate) fn new(cell: &Arc<Cell<A>>) -> Arc<Self> {
        Arc::new(WeakDirect {
            cell: Arc::downgrade(cell),
            how: PhantomData,
        })
    }
}

impl<A, M, How> WeakRoute<M> for WeakDirect<A, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    fn upgrade(&self) -> Option<Arc<dyn Route<M>>> {
        let cell = self.cell.upgrade().filter(|cell| !cell.has_ended())?;
        Some(ActorRef::new(cell).recipient::<M, How>().into_route())
    }
}
