//! What who administers a node is shown of it.

use std::fmt;
use std::time::Duration;

use callboard::locks::LockState;
use callboard::queue::{QueueConfig, QueueState};
use callboard::{FailureKind, Incarnation};
use serde::{Deserialize, Serialize};

use crate::rights::{AccountSnapshot, Rules, Verb};

/// What kind of thing a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExposedKind {
    /// Takes messages: an actor, or whatever else stands behind a recipient.
    Actor,
    /// A queue.
    Queue,
    /// A topic.
    Topic,
    /// A mutex.
    Mutex,
    /// A semaphore.
    Semaphore,
    /// A read-write lock.
    RwLock,
}

impl ExposedKind {
    /// Its name in lower case: `read-write lock`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ExposedKind::Actor => "actor",
            ExposedKind::Queue => "queue",
            ExposedKind::Topic => "topic",
            ExposedKind::Mutex => "mutex",
            ExposedKind::Semaphore => "semaphore",
            ExposedKind::RwLock => "read-write lock",
        }
    }
}

impl fmt::Display for ExposedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A type of messages, as it is called between processes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MessageType {
    /// Its name: [`WireMessage::NAME`](callboard::WireMessage::NAME).
    pub name: String,
    /// Its version.
    pub version: u32,
}

impl MessageType {
    pub(crate) fn new(name: &str, version: u32) -> Self {
        MessageType {
            name: name.to_owned(),
            version,
        }
    }

    pub(crate) fn of<T: callboard::WireMessage>() -> Self {
        MessageType::new(T::NAME, T::VERSION)
    }
}

/// `shop.parcel v1`.
impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.name, self.version)
    }
}

/// What can be told of a thing at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Glance {
    /// Of a queue.
    Queue {
        /// Items that wait to be handed out.
        waiting: u64,
        /// Items in somebody's hands.
        in_hand: u64,
        /// Items that it gave up.
        dead: u64,
    },
    /// Of a topic.
    Topic {
        /// Messages published since it began.
        published: u64,
        /// Who subscribes now, of this process and others.
        subscribers: u64,
    },
}

/// `3 waiting, 1 in hand, 0 dead`.
impl fmt::Display for Glance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Glance::Queue {
                waiting,
                in_hand,
                dead,
            } => write!(f, "{waiting} waiting, {in_hand} in hand, {dead} dead"),
            Glance::Topic {
                published,
                subscribers,
            } => write!(f, "{published} published, {subscribers} subscribers"),
        }
    }
}

/// One thing that a node exposes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What it is. A name can stand for things of several kinds.
    pub kind: ExposedKind,
    /// What it takes or holds; nothing for locks.
    pub messages: Vec<MessageType>,
    /// What can be told without asking anybody; nothing of actors, locks, and queues of a third process.
    #[serde(default)]
    pub glance: Option<Glance>,
    /// The principal that had it made, if a peer did; empty if that peer proved nothing.
    #[serde(default)]
    pub made_by: Option<String>,
}

/// `queue parcels`.
impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A page of what a node exposes: see [`Admin::list`](super::Admin::list).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Listing {
    /// By name.
    pub entries: Vec<Listed>,
    /// Where the next page [begins](super::List::after), if there may be more.
    #[serde(default)]
    pub next: Option<String>,
}

/// All that is known of one thing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Details {
    /// Of what takes messages.
    Actor(ActorDetails),
    /// Of a queue.
    Queue(Box<QueueDetails>),
    /// Of a topic.
    Topic(TopicDetails),
    /// Of a lock: who holds it, who waits, and what it has done. Points of time are by the clock of this side.
    Lock(ExposedKind, LockState),
}

impl Details {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> ExposedKind {
        match self {
            Details::Actor(_) => ExposedKind::Actor,
            Details::Queue(_) => ExposedKind::Queue,
            Details::Topic(_) => ExposedKind::Topic,
            Details::Lock(kind, _) => *kind,
        }
    }
}

/// What is known of an actor.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct ActorDetails {
    /// What it takes under that name.
    pub messages: Vec<MessageType>,
    /// Its mailbox; `None` if it is no actor of the node's process, or has ended.
    pub mailbox: Option<MailboxDetails>,
}

/// How full the mailbox of an actor is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct MailboxDetails {
    /// Messages that wait.
    pub waiting: u64,
    /// The bound; `None` if there is none.
    pub capacity: Option<u64>,
    /// Senders that wait for room.
    pub waiting_senders: u64,
    /// How often the actor has been started.
    pub incarnation: Incarnation,
}

/// What is known of a queue.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QueueDetails {
    /// What it holds.
    pub item: MessageType,
    /// How it behaves; `None` of a queue of a third process.
    pub config: Option<QueueConfig>,
    /// What it holds and has seen.
    pub state: QueueState,
    /// What its dead-letter queue holds and has seen; `None` of a queue of a third process.
    pub dead: Option<QueueState>,
    /// Handles in other processes that have leased from it, and are still there.
    pub holders: u64,
    /// Its consumers with a name, the one that has been there longest first; at most 1,000 of them.
    pub consumers: Vec<ConsumerDetails>,
    /// The principal that had it made, if a peer did; empty if that peer proved nothing.
    pub made_by: Option<String>,
}

/// A consumer with a name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct ConsumerDetails {
    /// Its name.
    pub name: String,
    /// How long it has been there.
    pub age: Duration,
    /// Items that it has in hand.
    pub in_hand: u64,
    /// Items that it got, the same one again included.
    pub delivered: u64,
    /// Whether it gets items.
    pub is_active: bool,
}

/// What is known of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct TopicDetails {
    /// What is published to it.
    pub messages: Vec<MessageType>,
    /// Messages published since it began.
    pub published: u64,
    /// Messages put into buffers since it started.
    pub delivered: u64,
    /// Messages dropped because a buffer was full.
    pub dropped: u64,
    /// Subscribers now.
    pub subscribers: u64,
    /// Subjects with a retained value.
    pub retained: u64,
    /// Messages that its history has.
    pub kept: u64,
    /// Durable subscriptions.
    pub durables: u64,
    /// Its subscriptions, by pattern; at most 1,000 of them.
    pub subscriptions: Vec<SubscriptionDetails>,
}

/// One subscription, or a group that shares one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct SubscriptionDetails {
    /// What it subscribes to.
    pub pattern: String,
    /// The name of the group, if it is shared.
    pub group: Option<String>,
    /// Its name, if it is durable.
    pub name: Option<String>,
    /// How many read from it.
    pub readers: u64,
    /// How many messages can wait for it.
    pub capacity: u64,
    /// How many do.
    pub waiting: u64,
    /// Messages put into its buffer.
    pub delivered: u64,
    /// Messages it has missed.
    pub dropped: u64,
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct NodeDetails {
    /// Its name.
    pub name: String,
    /// Which start of it this is.
    pub incarnation: Incarnation,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Connections now.
    pub connections: u64,
    /// Sessions now, with a connection or waiting for one.
    pub sessions: u64,
    /// Queues that peers have had made, and that are still there.
    pub made_queues: u64,
    /// Topics that peers have had made, and that are still there.
    #[serde(default)]
    pub made_topics: u64,
    /// Bytes read since it was made, and bytes written.
    pub bytes: (u64, u64),
    /// Asks and tells received since it was made.
    pub received: (u64, u64),
    /// Messages that ended without an answer, by reason.
    pub failures: Vec<(FailureKind, u64)>,
    /// Requests that were refused for want of a right, by verb.
    pub refused: Vec<(Verb, u64)>,
    /// What proved principals take up, by name; at most 1,000 of them.
    pub accounts: Vec<AccountSnapshot>,
}

/// A session between the node and one of its peers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct SessionDetails {
    /// Its number, for [`Admin::disconnect`](super::Admin::disconnect). Never given twice by one process.
    pub session: u64,
    /// The name the peer gave: its own word.
    pub peer: String,
    /// What was proved about it.
    pub principal: Option<String>,
    /// Whether it has a connection now.
    pub is_connected: bool,
    /// Whether it is the one that this answer comes by.
    pub is_ours: bool,
    /// Bytes that have arrived and wait for their receivers.
    pub waiting_bytes: u64,
    /// Bytes that wait to be written.
    pub outbox_bytes: u64,
    /// Bytes that were written and aren't acknowledged.
    pub unacknowledged: u64,
    /// Asks of the peer without an answer.
    pub in_flight: u64,
}

/// A page of the sessions of a node, the oldest first: see [`Admin::sessions`](super::Admin::sessions).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionsPage {
    /// By number.
    pub sessions: Vec<SessionDetails>,
    /// The number after which the next page begins, if there may be more.
    #[serde(default)]
    pub next: Option<u64>,
}

/// The rules of a node, as they were when they were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RulesInForce {
    /// Grows with each change: see [`Admin::replace_rules`](super::Admin::replace_rules).
    pub generation: u64,
    /// The rules.
    pub rules: Rules,
}

/// What became of a queue or topic that was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Removed {
    /// Items that it held, in hand included, just before it ended. Those in memory are in the dead letters of the
    /// node's process; those on disk are gone.
    pub items: u64,
    /// What its dead-letter queue held.
    pub dead: u64,
}
