//! Actors of Callboard in other processes.
//!
//! A [`Node`] exposes actors by name; a [`Peer`] leads to one other process and gives
//! [`Recipient`](callboard_core::Recipient)s of what is exposed there, which are used as local ones are: the same
//! `tell` and `ask`, with `boundary()` to tell the difference and a verdict in every error. Between them runs
//! one protocol over any byte stream: a child's stdin and stdout, a Unix socket, TCP on loopback, TLS.
//!
//! # Guarantees
//! - Every ask ends in exactly one answer or one failure with a verdict (G7).
//! - What was sent when a connection broke is sent again over the next, and arrives once and in order (G32). When the
//!   session ends, what was written is `ConnectionLost` / `MaybeExecuted`, what wasn't `NoConnection` / `NotSent`.
//! - A receiver that has no room holds back its own senders, and memory is bounded at both ends (G33).
//! - Deadlines travel as remaining time, measured when the frame leaves, and are checked there before the
//!   handler runs; an ask that is given up is withdrawn over there too (G9).
//! - Unknown name, unknown type, wrong version and bad payload are answered at once, and typed (G34).
//! - Off this host nothing speaks without mutual [`Tls`] unless `insecure` is written; on a Unix socket the user id is
//!   checked (G35).
//! - A node is [administered](Admin) by who has the right to, name by name, once it lets itself be (G35).
//! - Sizes are checked before memory is taken; malformed bytes end their own connection only (G36).
//!
//! # Example
//! Both sides in one process, for once:
//!
//! ```
//! # extern crate callboard_core as callboard;
//! use callboard::{Actor, Context, Handler, Message, System};
//! use callboard_remote::{Node, Peer};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Message, Serialize, Deserialize)]
//! #[message(reply = u64, name = "counter.add", version = 1)]
//! struct Add(u64);
//!
//! struct Counter(u64);
//! impl Actor for Counter {}
//! impl Handler<Add> for Counter {
//!     async fn handle(&mut self, Add(n): Add, _ctx: &mut Context<Self>) -> u64 {
//!         self.0 += n;
//!         self.0
//!     }
//! }
//!
//! async fn both(system: System) -> Result<(), Box<dyn std::error::Error>> {
//!     let counter = system.start(Counter(0));
//!     let node = Node::new(&system, "counting")?;
//!     node.expose("counter", &counter.recipient::<Add, _>())?;
//!     let listener = node.listen_tcp("127.0.0.1:0".parse()?).await?;
//!
//!     let address = listener.socket_addr().ok_or("no address")?;
//!     let peer = Peer::tcp(&system, address)?;
//!     peer.connected().await?;
//!     let counter = peer.recipient::<Add>("counter")?;
//!     assert_eq!(counter.ask(Add(2)).await?, 2);
//!
//!     let nobody = peer.recipient::<Add>("abacus")?;
//!     let error = nobody.ask(Add(2)).await.unwrap_err();
//!     assert_eq!(error.to_string(), "unknown name (not executed): abacus");
//!     assert!(error.verdict().is_safe_to_resend());
//!     Ok(())
//! }
//!
//! callboard::run(both).unwrap().unwrap();
//! ```
//!
//! # What isn't here yet
//! Shared memory, and trees of supervisors across nodes.

extern crate callboard_core as callboard;

mod admin;
mod config;
mod entrance;
mod error;
mod locks;
mod node;
mod peer;
mod publishing;
mod queues;
mod reference;
mod rights;
mod session;
mod stats;
#[cfg(feature = "test")]
pub mod testing;
mod transport;
mod wire;

pub use admin::{
    ADMIN_NAME, ActorDetails, Admin, AdminError, ConsumerDetails, Creatable, CreatableTopics,
    Details, ExposedKind, Glance, List, Listed, Listing, MailboxDetails, MessageType, NodeDetails,
    QueueDetails, Remove, Removed, RulesInForce, SessionDetails, SessionsPage, SubscriptionDetails,
    TopicDetails,
};
pub use config::LinkConfig;
pub use error::{LinkError, LinkErrorKind, ListenError, NameError};
pub use locks::OpenLockError;
pub use node::{ConnectionSnapshot, Listener, Node, NodeState, SessionSnapshot};
pub use peer::{Peer, PeerState, Phase, RemoteEvent, RemoteNode, RemoteSubscription};
pub use publishing::Publisher;
pub use queues::{OpenQueue, OpenQueueError, RemoteDeadLetters};
pub use reference::{Lent, Reference, ReferenceError};
pub use rights::{
    Account, AccountSnapshot, AttemptLimits, Decision, Denied, Effect, Login, LoginRefusal,
    LoginRefused, MAX_LOGIN_NAME, MAX_RULES, MAX_SECRET, MAX_WHO, MIN_SECRET, NoPlace, Origin,
    PeerLimits, Place, PlaceKind, Places, REFUSALS, REFUSED_LOGINS, Reason, Refusal, Rights,
    RightsState, Rule, RuleError, Rules, Secret, SecretError, Secrets, SecretsConfig, SecretsStats,
    Standing, Subject, Verb, Verbs, Who, WhoError,
};
pub use stats::{NodeStats, PeerStats};
pub use transport::{
    Authority, ByteStream, Channel, Connected, Connector, Expect, FifoConnector, Fingerprint,
    Identity, Proof, Stdio, TcpConnector, Tls, TlsConnector, TlsError, TlsFault, TlsFiles, Trust,
    UnixConnector, UnixSocket, stdin_closed,
};
pub use wire::{MAX_HELLO, MAX_NAME, MAX_SUBJECT, PROTOCOL_MAX, PROTOCOL_MIN, WireError};
