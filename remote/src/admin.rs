//! Administration of a node by its peers: list, create, remove, inspect; by the right to
//! [administer](crate::Verb::Admin).
//!
//! It is off until a node [exposes](Node::expose_admin) it, under the reserved name [`ADMIN_NAME`], and ends when the
//! node conceals that name. A peer with the right then has an [`Admin`].
//!
//! # Who may
//! - What is about a name (list, inspect, create, remove, purge, redrive) needs the right `admin` on that name. A list
//!   leaves out what who asks may not administer.
//! - What is about the node (its state, its sessions, its rules) needs it on [`ADMIN_NAME`].
//! - Who may administer nothing at all isn't told whether there is such a thing here (G34).
//! - Each refusal is counted and told as all are: see [`Rights::refusals`](crate::Rights::refusals).
//!
//! # What peers may have made
//! Queues, of the types of items that the node [allows](Node::creatable), and [topics](Node::creatable_topics), within its
//! bounds: a node makes nothing for types that it can't read. Creating one again with the same settings is fine, with others it is refused, with the
//! differences. A queue is one of the node's system by the same name, so that the program finds it with
//! [`System::queues`](callboard::System::queues); and one that the program has for itself is never exposed by a peer's
//! wish. A topic is found by [`Node::exposed_topic`]. Either outlives who had it made, and the session: it ends when it
//! is removed or stopped, or with the system. A durable queue has its items back when it is created again after a
//! restart; a topic that is made from elsewhere keeps nothing on disk.
//!
//! # What isn't changed from here
//! Actors and locks are the program's: they are shown, and never ended. (A lock that ends while it is held, and is made
//! again, would have two holders, G31.)
//!
//! Answers are bounded: lists come in pages.

mod create;
mod create_topic;
mod door;
mod error;
mod handle;
mod thing;
mod views;
mod wire;

use std::sync::Arc;

use callboard::WireMessage;

use crate::error::NameError;
use crate::node::Node;
use crate::peer::Peer;

pub use create::Creatable;
pub use create_topic::CreatableTopics;
pub use error::AdminError;
pub use handle::{Admin, List, Remove};
pub use views::{
    ActorDetails, ConsumerDetails, Details, ExposedKind, Glance, Listed, Listing, MailboxDetails,
    MessageType, NodeDetails, QueueDetails, Removed, RulesInForce, SessionDetails, SessionsPage,
    SubscriptionDetails, TopicDetails,
};

pub(crate) use create::Making;
pub(crate) use thing::{MOST_SHOWN, Named, Thing, Things, TopicThing, number};
pub(crate) use wire::{Refused, WireDetails, WireQueue};

use door::Door;
use wire::AdminOp;

/// The name under which a node can be administered. Names that begin with `callboard.` are the house's own: nothing
/// else can be exposed under them.
pub const ADMIN_NAME: &str = "callboard.admin";

/// Whether a name belongs to the house.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with("callboard.")
}

impl Node {
    /// Lets peers administer this node, as far as their rights go; see [`Peer::admin`]. It ends with
    /// [`conceal`](Node::conceal)`(`[`ADMIN_NAME`]`)`, or with the node.
    ///
    /// # Errors
    /// [`NameError::Taken`] if they can already.
    pub fn expose_admin(&self) -> Result<(), NameError> {
        let core = self.core();
        let door = Arc::new(Door::new(&core));
        core.exposed
            .add(|exposed| exposed.actors.add::<AdminOp>(ADMIN_NAME, door))
    }

    /// Lets peers with the right have queues of items `T` made here. The last call for a type is the one that counts;
    /// queues that are there stay.
    ///
    /// ```
    /// # extern crate callboard_core as callboard;
    /// use callboard::{Message, System, queue::QueueConfig};
    /// use callboard_remote::{Creatable, Node, Peer, Verbs};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
    /// #[message(name = "shop.parcel")]
    /// struct Parcel(u64);
    ///
    /// async fn both(system: System) -> Result<(), Box<dyn std::error::Error>> {
    ///     let node = Node::new(&system, "depot")?;
    ///     node.creatable::<Parcel>(Creatable::new());
    ///     node.expose_admin()?;
    ///     node.rights().grant("anonymous", Verbs::ADMIN, ">")?; // TCP on loopback proves nothing
    ///     let listener = node.listen_tcp("127.0.0.1:0".parse()?).await?;
    ///
    ///     let peer = Peer::tcp(&system, listener.socket_addr().ok_or("no address")?)?;
    ///     peer.connected().await?;
    ///     let admin = peer.admin();
    ///     let mut config = QueueConfig::default();
    ///     config.capacity = 50;
    ///     assert!(admin.create_queue::<Parcel>("parcels", &config).await?);
    ///     peer.queue::<Parcel>("parcels").await?.offer(Parcel(7)).await?;
    ///     assert_eq!(admin.list(">").await?.entries[0].to_string(), "queue parcels");
    ///
    ///     let error = admin.remove("parcels").if_empty().await.unwrap_err();
    ///     assert_eq!(error.to_string(), "parcels: it holds 1 items");
    ///     assert_eq!(admin.remove("parcels").await?.items, 1);
    ///     Ok(())
    /// }
    ///
    /// callboard::run(both).unwrap().unwrap();
    /// ```
    pub fn creatable<T: WireMessage + Clone>(&self, creatable: Creatable) {
        self.core().making.allow::<T>(creatable);
    }

    /// Lets peers with the right have topics of messages `T` made here, to which one can publish and subscribe as far as
    /// rights go. The last call for a type is the one that counts; topics that are there stay. The program finds one by
    /// [`exposed_topic`](Node::exposed_topic).
    ///
    /// ```
    /// # extern crate callboard_core as callboard;
    /// use callboard::topic::TopicOptions;
    /// use callboard::{Message, System};
    /// use callboard_remote::{CreatableTopics, Node, Peer, Verbs};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
    /// #[message(name = "shop.news")]
    /// struct News(String);
    ///
    /// async fn both(system: System) -> Result<(), Box<dyn std::error::Error>> {
    ///     let node = Node::new(&system, "depot")?;
    ///     node.creatable_topics::<News>(CreatableTopics::new().history(1_000));
    ///     node.expose_admin()?;
    ///     node.rights().grant("anonymous", Verbs::ADMIN, ">")?; // TCP on loopback proves nothing
    ///     let listener = node.listen_tcp("127.0.0.1:0".parse()?).await?;
    ///
    ///     let peer = Peer::tcp(&system, listener.socket_addr().ok_or("no address")?)?;
    ///     peer.connected().await?;
    ///     let admin = peer.admin();
    ///     let options = TopicOptions::new().history(100);
    ///     assert!(admin.create_topic::<News>("news", &options).await?);
    ///     let news = News("a parcel has arrived".into());
    ///     peer.publisher::<News>("news")?.publish("parcels.eu", news).await?;
    ///     assert_eq!(admin.list(">").await?.entries[0].to_string(), "topic news");
    ///
    ///     let topic = node.exposed_topic::<News>("news").ok_or("no topic")?;
    ///     assert_eq!(topic.state().published, 1);
    ///     Ok(())
    /// }
    ///
    /// callboard::run(both).unwrap().unwrap();
    /// ```
    pub fn creatable_topics<T: WireMessage + Sync>(&self, creatable: CreatableTopics) {
        self.core().making.allow_topics::<T>(creatable);
    }
}

impl Peer {
    /// A handle to administer the node at the other end. Whether it lets itself be, and what may be done, shows when
    /// something is asked. It stays valid over reconnects.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.way(ADMIN_NAME), self.config())
    }
}
