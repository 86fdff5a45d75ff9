//! Queues in other processes, behind the handle of local ones.
//!
//! A node [exposes](Node::expose_queue) a queue by name; a peer [opens](Peer::queue) it and has a [`Queue`] that
//! is used as one of its own process is: offers with all their terms, polls, leases, streams, consumers. What the
//! boundary adds is in the errors: after a lost session an offer may have been stored, and says so.
//!
//! # What is kept, and how
//! - An offer waits for room in the queue over there, in line with everybody else's, and is answered when it is
//!   stored; by a durable queue when it is on disk (G25). The item comes back unless nobody knows where it is.
//! - A lease is one of the queue itself: same token, same time, same limits (G21 to G23). Who gives up waiting
//!   takes nothing: the request goes on without it, and what comes goes back at once.
//! - Who loses the right to poll gets nothing any more, also if it stood in line already; what it holds it can't end
//!   any more, and that lapses.
//! - A poll leases, acknowledges, and hands out the item when that is certain. So it is at-most-once (G21),
//!   for two ways instead of one; `poll_many` shares them. Unlike a poll in the queue's own process it waits while as
//!   many items are leased as [may be](callboard::queue::QueueBuilder::max_in_flight).
//! - The other side knows who holds leases. When a holder's process or session ends, its items come back then, as
//!   failed deliveries (an item that kills its consumers is to reach its limit, G23). Leases run on while a
//!   connection is broken, and a lease that is shorter than that lapses, as one of a consumer that is slow.
//! - Many at a time: `offer_many`, `lease_many`, [`ack_all`](callboard::queue::ack_all) and
//!   [`deliveries`](Queue::deliveries) need one message for a batch.
//!
//! Items are encoded, so they are [`WireMessage`]s: their name and version are checked when the queue is opened, and
//! with every request that depends on them.

mod administered;
mod dead;
mod door;
mod holders;
mod page;
mod route;
mod wire;

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use callboard::queue::{Keeps, OpenError, Queue};
use callboard::{Failure, FailureKind, Recipient, Verdict, WireMessage};
use futures::future::BoxFuture;

use crate::entrance::{Entrance, REACH};
use crate::error::NameError;
use crate::node::{self, Node, check_type};
use crate::peer::Peer;

use door::Door;
use route::{RemoteQueue, Ways};
use wire::{Administer, Contract, Look, OfferOp, PollOp, Seen, WireKeeps, contract};

pub use dead::RemoteDeadLetters;

/// What a frame has besides items.
const MARGIN: u32 = 1_024;

/// How many items go in one message at the most.
const BATCH_ITEMS: usize = 4_096;

/// After how many bytes of items a message has enough of them.
const BATCH_BYTES: usize = 192 * 1024;

/// How many bytes an item of many takes in an offer besides itself.
const ITEM_HEAD: usize = 5;

/// How many bytes the end of one lease takes in a message.
const END_BYTES: usize = 16;

impl Node {
    /// Lets peers use a queue under a name; see [`Peer::queue`]. Queues share their names with actors.
    ///
    /// ```
    /// # extern crate callboard_core as callboard;
    /// use callboard::{Message, System, queue::Queue};
    /// use callboard_remote::{Node, Peer};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
    /// #[message(name = "shop.parcel")]
    /// struct Parcel(u64);
    ///
    /// async fn both(system: System) -> Result<(), Box<dyn std::error::Error>> {
    ///     let parcels: Queue<Parcel> = system.queue("parcels").capacity(16).open()?;
    ///     let node = Node::new(&system, "depot")?;
    ///     node.expose_queue("parcels", &parcels)?;
    ///     let listener = node.listen_tcp("127.0.0.1:0".parse()?).await?;
    ///
    ///     let peer = Peer::tcp(&system, listener.socket_addr().ok_or("no address")?)?;
    ///     peer.connected().await?;
    ///     let far = peer.queue::<Parcel>("parcels").await?;
    ///     far.offer(Parcel(7)).await?;
    ///     let delivery = far.lease().await?.ok_or("nothing there")?;
    ///     assert_eq!(*delivery, Parcel(7));
    ///     delivery.ack().await?;
    ///     assert_eq!(parcels.state().await?.settled, 1);
    ///     Ok(())
    /// }
    ///
    /// callboard::run(both).unwrap().unwrap();
    /// ```
    ///
    /// What offers take up that wait for room is bounded by [`LinkConfig::session_window`](crate::LinkConfig), for all
    /// peers together: one above that is refused as `Overloaded`, and its item comes back. Names of groups, consumers
    /// and queues for replies have 1,024 bytes at the most (else `TooLarge`).
    ///
    /// # Errors
    /// [`NameError`]: the name, or that of the items' type, is malformed or reserved; or the name has a queue already.
    pub fn expose_queue<T: WireMessage + Clone>(
        &self,
        name: &str,
        queue: &Queue<T>,
    ) -> Result<(), NameError> {
        self.core().expose_queue(name, queue)
    }
}

impl node::Core {
    pub(crate) fn expose_queue<T: WireMessage + Clone>(
        &self,
        name: &str,
        queue: &Queue<T>,
    ) -> Result<(), NameError> {
        check_type::<T>()?;
        let door = Arc::new(Door::new(queue, self.config.session_window));
        let _changing = self.exposed.changing();
        self.expose(name, &Recipient::<Look>::new(Entrance::new(&door)))?;
        self.expose(name, &Recipient::<OfferOp>::new(Entrance::new(&door)))?;
        self.expose(name, &Recipient::<PollOp>::new(Entrance::new(&door)))?;
        self.expose(name, &Recipient::<Administer>::new(Entrance::new(&door)))?;
        self.exposed.things.add(name, door);
        Ok(())
    }
}

impl Peer {
    /// Opens the queue that is exposed under that name. Awaited, it answers a [`Queue`] that stays valid over
    /// reconnects and restarts of the other process.
    pub fn queue<T: WireMessage>(&self, name: &str) -> OpenQueue<T> {
        OpenQueue {
            peer: self.clone(),
            name: name.into(),
            needs: Keeps::default(),
            deadline: REACH,
            item: PhantomData,
        }
    }
}

/// A wish for a queue in another process. Made by [`Peer::queue`].
///
/// # Errors
/// [`OpenQueueError`]: the name is malformed; nothing of that name is there (`UnknownName`), or it is no queue, or one
/// of other items (`UnknownType`), or of these in another version (`WrongVersion`); it can't be reached; or it
/// doesn't keep what is needed.
///
/// # Cancel safety
/// Dropping it changes nothing.
#[must_use = "nothing is opened until it is awaited"]
pub struct OpenQueue<T> {
    peer: Peer,
    name: Arc<str>,
    needs: Keeps,
    deadline: Duration,
    item: PhantomData<fn(T)>,
}

impl<T: WireMessage> OpenQueue<T> {
    /// What the queue has to keep; one that doesn't isn't opened. Nothing unless said.
    pub fn needs(mut self, needs: Keeps) -> Self {
        self.needs = needs;
        self
    }

    /// Gives up after `span`: 5 s unless said otherwise.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = span;
        self
    }

    async fn open(self) -> Result<Queue<T>, OpenQueueError> {
        let needs = self.needs;
        let (ways, keeps, contract) = self.found().await?;
        let route = RemoteQueue::new(ways, keeps.into(), contract);
        Ok(Queue::over(Arc::new(route), needs)?)
    }

    /// The ways to it, if it holds such items.
    async fn found(self) -> Result<(Ways, WireKeeps, Contract), OpenQueueError> {
        let peer = &self.peer;
        let ways = Ways {
            look: peer.recipient(&self.name)?,
            offer: peer.recipient(&self.name)?,
            poll: peer.recipient(&self.name)?,
            admin: peer.recipient(&self.name)?,
            peer: peer.clone(),
            name: Arc::clone(&self.name),
        };
        let open = Look::Open {
            item: T::NAME.to_owned(),
            version: T::VERSION,
        };
        let seen = ways.look.ask(open).deadline(self.deadline).await;
        let keeps = match seen.map_err(Failure::from)? {
            Ok(Seen::Opened(keeps)) => keeps,
            Ok(Seen::Holds { item, version }) => {
                let kind = if item == T::NAME {
                    FailureKind::WrongVersion
                } else {
                    FailureKind::UnknownType
                };
                let failure = Failure::new(kind, Verdict::NotExecuted).with_detail(format!(
                    "queue {} holds {item} version {version}, not {} version {}",
                    self.name,
                    T::NAME,
                    T::VERSION
                ));
                return Err(failure.into());
            }
            Ok(Seen::State(_)) => {
                let failure = Failure::new(FailureKind::BadPayload, Verdict::Executed);
                return Err(failure.with_detail(&*self.name).into());
            }
            Err(failure) => return Err(failure.about(&self.name).into()),
        };
        let contract = contract(T::NAME, T::VERSION, keeps);
        Ok((ways, keeps, contract))
    }
}

impl<T: WireMessage> IntoFuture for OpenQueue<T> {
    type Output = Result<Queue<T>, OpenQueueError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl<T> fmt::Debug for OpenQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenQueue")
            .field("name", &self.name)
            .field("peer", &self.peer)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

/// Why a queue in another process can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenQueueError {
    /// Nothing can have that name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It can't be reached, isn't there, or is a queue of something else.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// It doesn't keep what is needed.
    #[error(transparent)]
    Lacks(#[from] OpenError),
}
