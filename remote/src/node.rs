//! The answering side: what a process exposes by name, and where it listens.

mod exposed;
mod leftovers;
mod listen;
mod serve;
mod sessions;
mod topics;
mod watched;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use callboard::topic::Topic;
use callboard::{Incarnation, Recipient, RequestKey, System, WireMessage};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use crate::admin::{Making, TopicThing, is_reserved};
use crate::config::LinkConfig;
use crate::error::{LinkError, LinkErrorKind, ListenError, NameError, check_name};
use crate::rights::{Gate, Places, Rights, Secrets};
use crate::session::connection::EndSignal;
use crate::stats::{NodeCounters, NodeStats};
use crate::transport::{ByteStream, Channel, Proof, Stdio, Tls, UnixSocket, on_arbiter};

pub(crate) use exposed::{Dispatch, Held, Payload, decode};
use exposed::{Exposed, ToRecipient};
pub(crate) use leftovers::Leftover;
use leftovers::Leftovers;
use sessions::Sessions;
pub(crate) use topics::Pumps;
use topics::ToTopic;
pub(crate) use watched::Watched;

pub use listen::Listener;
use listen::ListenerState;

/// What this process offers to others: actors and topics by name. Clones are handles to the same one.
///
/// Only what is exposed can be addressed (G35). Names that begin with `callboard.` are the house's own. Every message
/// that can't be delivered is answered at once and typed; a tell goes to this side's dead letters with its reason
/// (G34):
///
/// | what is wrong | kind | verdict |
/// |---|---|---|
/// | nothing has that name | `UnknownName` | `NotExecuted` |
/// | it doesn't take that type | `UnknownType` | `NotExecuted` |
/// | it takes that type in other versions | `WrongVersion` | `NotExecuted` |
/// | the payload can't be decoded | `BadPayload` | `NotExecuted` |
/// | its mailbox is full | `Full` | `NotExecuted` |
/// | it has stopped | `Stopped` | `NotExecuted` |
/// | the deadline passed on the way | `DeadlineExceeded` | `NotExecuted` |
///
/// A malformed frame ends the connection it came on, and no other (G36).
///
/// # Ends
/// By [`close`](Node::close), or when the last handle is dropped: its listeners and connections end.
///
/// # Example
/// ```no_run
/// # extern crate callboard_core as callboard;
/// # use callboard::{Actor, Context, Handler, Message, System};
/// # use callboard_remote::Node;
/// # use serde::{Deserialize, Serialize};
/// #[derive(Message, Serialize, Deserialize)]
/// #[message(reply = u64, name = "counter.add")]
/// struct Add(u64);
///
/// struct Counter(u64);
/// impl Actor for Counter {}
/// impl Handler<Add> for Counter {
///     async fn handle(&mut self, Add(n): Add, _ctx: &mut Context<Self>) -> u64 {
///         self.0 += n;
///         self.0
///     }
/// }
///
/// # async fn example(system: System) -> Result<(), Box<dyn std::error::Error>> {
/// let counter = system.start(Counter(0));
/// let node = Node::new(&system, "counting")?;
/// node.expose("counter", &counter.recipient::<Add, _>())?;
/// let listener = node.listen_tcp("127.0.0.1:0".parse()?).await?;
/// println!("listening at {}", listener.address());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Node {
    owner: Arc<Owner>,
}

/// Closes the node when the last handle is gone. Background tasks hold the core only.
struct Owner {
    core: Arc<Core>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.core.close();
    }
}

pub(crate) struct Core {
    pub(crate) system: System,
    pub(crate) config: LinkConfig,
    pub(crate) name: String,
    pub(crate) incarnation: Incarnation,
    pub(crate) counters: NodeCounters,
    pub(crate) exposed: Exposed,
    pub(crate) sessions: Sessions,
    pub(crate) gate: Gate,
    pub(crate) making: Making,
    pub(crate) leftovers: Leftovers,
    closed: watch::Sender<bool>,
    /// How many are being told that they aren't let in.
    pub(crate) turning_away: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    connections: BTreeMap<u64, Open>,
    listeners: BTreeMap<u64, Arc<ListenerState>>,
}

struct Open {
    end: Arc<EndSignal>,
    snapshot: ConnectionSnapshot,
}

/// A connection that a node serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConnectionSnapshot {
    /// Where it came in: the listener's address, or `standard input`.
    pub through: String,
    /// The name the peer gave; `None` during the handshake.
    pub peer: Option<String>,
    /// What the transport proved about it: `uid:1000`.
    pub principal: Option<String>,
    /// Who can read along: whether it is encrypted, or never leaves this host.
    pub channel: Channel,
}

/// A session of a node, with a connection or waiting for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionSnapshot {
    /// The name the peer gave.
    pub peer: String,
    /// What was proved about it: `uid:1000`.
    pub principal: Option<String>,
    /// Whether it has a connection now.
    pub is_connected: bool,
    /// Bytes that have arrived and wait here for their receivers, or for the rest of them.
    pub waiting_bytes: usize,
    /// Bytes that wait to be written.
    pub outbox_bytes: usize,
    /// Bytes that were written, or are about to be, and that the peer hasn't acknowledged.
    pub unacknowledged: usize,
    /// Asks of the peer without an answer.
    pub in_flight: usize,
}

/// How a node is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Which start of it this is.
    pub incarnation: Incarnation,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Who is connected.
    pub connections: Vec<ConnectionSnapshot>,
    /// What is between it and its peers.
    pub sessions: Vec<SessionSnapshot>,
    /// What is exposed: name and type with version, in order.
    pub exposed: Vec<String>,
    /// What it has done.
    pub stats: NodeStats,
}

impl Node {
    /// A node with the default limits. Its incarnation comes from the time of this start.
    ///
    /// # Errors
    /// [`NameError::Malformed`].
    pub fn new(system: &System, name: &str) -> Result<Self, NameError> {
        Node::with(
            system,
            name,
            fresh_incarnation(system),
            LinkConfig::default(),
        )
    }

    /// A node with an incarnation that somebody else counts, and limits.
    ///
    /// # Errors
    /// [`NameError::Malformed`].
    pub fn with(
        system: &System,
        name: &str,
        incarnation: Incarnation,
        config: LinkConfig,
    ) -> Result<Self, NameError> {
        check_name(name)?;
        let core = Arc::new(Core {
            system: system.clone(),
            config: config.within_range(),
            name: name.to_owned(),
            incarnation,
            counters: NodeCounters::default(),
            exposed: Exposed::default(),
            sessions: Sessions::default(),
            gate: Gate::new(system),
            making: Making::default(),
            leftovers: Leftovers::default(),
            closed: watch::Sender::new(false),
            inner: Mutex::default(),
            turning_away: AtomicUsize::new(0),
        });
        let owner = Arc::new(Owner { core });
        Ok(Node { owner })
    }

    /// Lets peers send `M` to `recipient` under a name. A name can take several types, and a type in
    /// several versions: one call for each.
    ///
    /// # Errors
    /// [`NameError`]: the name, or that of the type, is malformed or reserved; or the name takes that type in that
    /// version already.
    pub fn expose<M: WireMessage>(
        &self,
        name: &str,
        recipient: &Recipient<M>,
    ) -> Result<(), NameError> {
        check_type::<M>()?;
        self.owner.core.expose(name, recipient)
    }

    /// Lets peers subscribe to a topic under a name. Topics have names of their own, apart from those of
    /// actors.
    ///
    /// # Errors
    /// [`NameError`]: the name, or that of the type, is malformed or reserved; or the name has a topic of that type in
    /// that version already.
    pub fn expose_topic<T: WireMessage + Sync>(
        &self,
        name: &str,
        topic: &Topic<T>,
    ) -> Result<(), NameError> {
        let core = &self.owner.core;
        let _changing = core.exposed.changing();
        core.add_topic(name, topic)
    }

    /// The topic of those messages that is exposed under a name for subscribers: also one that a peer
    /// [had made](Node::creatable_topics).
    #[must_use]
    pub fn exposed_topic<T: WireMessage + Sync>(&self, name: &str) -> Option<Topic<T>> {
        let topics = &self.owner.core.exposed.topics;
        let (_, found) = topics.find(name, T::NAME, T::VERSION).ok()?;
        let topic: Box<Topic<T>> = found.topic().downcast().ok()?;
        Some(*topic)
    }

    /// Takes away what is exposed under a name: nothing new reaches it. Requests that have arrived are still answered.
    /// Answers whether there was anything.
    ///
    /// What goes on ends by itself: subscriptions and watches with their session or with what they are of, leases of a
    /// queue with their session or by time. Leases of a lock can't be renewed or released any more, and run out.
    /// To end all of it at once end the [session](Node::peers), or what is exposed.
    pub fn conceal(&self, name: &str) -> bool {
        self.owner.core.exposed.remove(name)
    }

    /// Listens on a TCP address of this host; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ListenError::NotLoopback`] for an address off this host (G35: [`listen_tls`](Node::listen_tls)), [`ListenError::InUse`] if the port is taken.
    ///
    /// # Cancel safety
    /// Dropping it may leave the listener open until the node is closed.
    pub async fn listen_tcp(&self, address: SocketAddr) -> Result<Listener, ListenError> {
        listen::tcp(&self.owner.core, address).await
    }

    /// Listens on a TCP address, also off this host, **without encryption**: whoever is on the way can read and change
    /// everything, and anybody can be anybody. For networks that something else protects, by a name that a search finds
    /// (G35). Else: [`listen_tls`](Node::listen_tls).
    ///
    /// # Errors
    /// [`ListenError::InUse`] if the port is taken, [`ListenError::Io`].
    ///
    /// # Cancel safety
    /// Dropping it may leave the listener open until the node is closed.
    pub async fn listen_tcp_insecure(&self, address: SocketAddr) -> Result<Listener, ListenError> {
        listen::tcp_insecure(&self.owner.core, address).await
    }

    /// Listens on a TCP address, of this host or for others, with TLS 1.3. Who dials must show a certificate that
    /// `tls` trusts, whose principal ([`Tls`], "Who somebody is") messages then carry (G35).
    ///
    /// The handshake runs in a task of the connection, for at most
    /// [`handshake_timeout`](LinkConfig::handshake_timeout), and at most [`connections`](LinkConfig::connections) of them
    /// at once, so that those who stall hold nobody up (G36). One that fails counts among `handshake_failures`.
    ///
    /// # Errors
    /// [`ListenError::NoIdentity`] if `tls` has nothing to show, [`ListenError::InUse`] if the port is taken,
    /// [`ListenError::Io`].
    ///
    /// # Cancel safety
    /// Dropping it may leave the listener open until the node is closed.
    pub async fn listen_tls(
        &self,
        address: SocketAddr,
        tls: &Tls,
    ) -> Result<Listener, ListenError> {
        listen::tls(&self.owner.core, address, tls).await
    }

    /// Listens on a Unix socket: a path, or a [`UnixSocket`]. Only processes of the same user are let in, and of
    /// those that it [allows](UnixSocket::allow_user); their principal is `uid:<n>` (G35). A socket file that nobody
    /// listens on any more is replaced.
    ///
    /// # Errors
    /// [`ListenError::InUse`] if somebody listens there, [`ListenError::NoSocket`] if another kind of file
    /// has that name.
    ///
    /// # Cancel safety
    /// Dropping it may leave the listener open until the node is closed.
    pub async fn listen_unix(
        &self,
        socket: impl Into<UnixSocket>,
    ) -> Result<Listener, ListenError> {
        listen::unix(&self.owner.core, socket.into()).await
    }

    /// Listens for peers that come over named pipes (FIFOs) in a directory, which is made if it isn't there. For what
    /// has a common file system and no common network namespace, and nothing but pipes. The principal is our own
    /// `uid:<n>`: no other user may enter the directory, which is checked (G35).
    ///
    /// Each connection has a pair of pipes of its own, so that what one peer left unread never reaches the next.
    ///
    /// # Errors
    /// [`ListenError::NotPrivate`] if the directory isn't ours, or others may enter it; [`ListenError::InUse`] if
    /// another node listens there; [`ListenError::NoFifo`] if another kind of file has the name `door`.
    ///
    /// # Cancel safety
    /// Dropping it may leave the listener open until the node is closed.
    pub async fn listen_fifo(
        &self,
        directory: impl Into<PathBuf>,
    ) -> Result<Listener, ListenError> {
        listen::fifo(&self.owner.core, directory.into()).await
    }

    /// Serves the parent over this process's standard input and output, until standard input closes: the
    /// lifeline of a child process. The kernel closes it however the parent ends, also by SIGKILL.
    ///
    /// Ok means that the parent closed it, or has ended. Either way the process has nobody to serve any
    /// more, and should end.
    ///
    /// # Errors
    /// [`ListenError`] if they are no pipes; [`ListenError::Io`] with the [`LinkError`]'s text if the parent broke
    /// the protocol.
    ///
    /// # Cancel safety
    /// Dropping it doesn't end the connection.
    pub async fn serve_stdio(&self) -> Result<(), ListenError> {
        let core = Arc::clone(&self.owner.core);
        let through = "standard input";
        let ended = on_arbiter(&self.owner.core.system, through, move || async move {
            let stream = Stdio::open()?;
            Ok(serve::serve(&core, stream, through, Proof::local(None)).await)
        })
        .await?;
        match ended.kind() {
            LinkErrorKind::ClosedByPeer
            | LinkErrorKind::SaidBye(_)
            | LinkErrorKind::ClosedHere
            | LinkErrorKind::Io(_) => Ok(()),
            _ => Err(ListenError::Io {
                address: through.to_owned(),
                reason: ended.to_string(),
            }),
        }
    }

    /// Serves one byte stream, until it ends; answers why it did. `through` is for people. For transports
    /// of your own, which vouch for what the proof says.
    ///
    /// # Cancel safety
    /// Dropping it doesn't end the connection.
    pub async fn serve(&self, stream: impl ByteStream, through: &str, proof: Proof) -> LinkError {
        self.serving(stream, through, proof).await
    }

    /// Serves from now on; what it returns says why it ended, and keeps no node open.
    pub(crate) fn serving<S: ByteStream>(
        &self,
        stream: S,
        through: &str,
        proof: Proof,
    ) -> impl Future<Output = LinkError> + Send + 'static + use<S> {
        let core = Arc::clone(&self.owner.core);
        let (tx, rx) = futures::channel::oneshot::channel();
        let (label, through) = (through.to_owned(), through.to_owned());
        let placement = callboard::Placement::Spread;
        self.owner.core.system.spawn(placement, move || async move {
            let ended = serve::serve(&core, stream, &label, proof).await;
            // An error means that nobody waits for it.
            let _ = tx.send(ended);
        });
        async move {
            rx.await
                .unwrap_or_else(|_| LinkError::new(&through, LinkErrorKind::NoArbiter))
        }
    }

    /// Who may do what here (G35). At first nobody off this host may do anything; see [`Rules::new`](crate::Rules::new).
    #[must_use]
    pub fn rights(&self) -> &Rights {
        self.owner.core.gate.rights()
    }

    /// How much each principal may take up here.
    #[must_use]
    pub fn places(&self) -> &Places {
        self.owner.core.gate.places()
    }

    /// Takes logins by these secrets from now on, over TLS; `None` for no logins, as at first. Sessions that stand
    /// stay.
    pub fn take_logins(&self, secrets: Option<&Secrets>) {
        self.owner.core.gate.set_secrets(secrets.cloned());
    }

    /// How it is doing.
    #[must_use]
    pub fn state(&self) -> NodeState {
        self.owner.core.state()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.owner.core.name
    }

    /// The system it belongs to.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.owner.core.system
    }

    /// Ends its listeners and connections, and takes no new ones. Requests in hand are not answered any
    /// more: stop asking first.
    pub fn close(&self) {
        self.owner.core.close();
    }

    pub(crate) fn core(&self) -> Arc<Core> {
        Arc::clone(&self.owner.core)
    }
}

/// A node that may be gone: what leads to a node must not keep it open.
#[cfg(feature = "test")]
pub(crate) struct WeakNode(std::sync::Weak<Owner>);

#[cfg(feature = "test")]
impl Node {
    pub(crate) fn weak(&self) -> WeakNode {
        WeakNode(Arc::downgrade(&self.owner))
    }
}

#[cfg(feature = "test")]
impl WeakNode {
    /// The node, if it is open.
    pub(crate) fn open(&self) -> Option<Node> {
        let owner = self.0.upgrade()?;
        (!owner.core.is_closed()).then_some(Node { owner })
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.owner.core.name)
            .field("incarnation", &self.owner.core.incarnation)
            .finish_non_exhaustive()
    }
}

/// A place among the connections of a node; given back when dropped.
pub(crate) struct Slot<'a> {
    core: &'a Core,
    number: u64,
    pub(crate) end: Arc<EndSignal>,
}

impl Slot<'_> {
    /// The peer has introduced itself.
    pub(crate) fn introduce(&self, peer: &str) {
        let mut inner = self.core.inner.lock();
        if let Some(open) = inner.connections.get_mut(&self.number) {
            open.snapshot.peer = Some(peer.to_owned());
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.core.inner.lock().connections.remove(&self.number);
    }
}

impl Core {
    /// Takes a place for a connection, or says why there is none.
    pub(crate) fn admit(&self, through: &str, proof: &Proof) -> Result<Slot<'_>, String> {
        let mut inner = self.inner.lock();
        if self.is_closed() {
            return Err("the node has been closed".to_owned());
        }
        let most = self.config.connections;
        if inner.connections.len() >= most {
            return Err(format!("the node has its {most} connections"));
        }
        inner.next += 1;
        let number = inner.next;
        let end = Arc::new(EndSignal::default());
        let snapshot = ConnectionSnapshot {
            through: through.to_owned(),
            peer: None,
            principal: proof.principal.as_ref().map(ToString::to_string),
            channel: proof.channel,
        };
        let open = Open {
            end: Arc::clone(&end),
            snapshot,
        };
        inner.connections.insert(number, open);
        drop(inner);
        let core = self;
        Ok(Slot { core, number, end })
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Lets peers send `M` to `recipient` under a name. `M` may be one of the house's own.
    pub(crate) fn expose<M: WireMessage>(
        &self,
        name: &str,
        recipient: &Recipient<M>,
    ) -> Result<(), NameError> {
        check_free(name)?;
        let entry = Arc::new(ToRecipient(recipient.clone()));
        self.exposed
            .add(|exposed| exposed.actors.add::<M>(name, entry))
    }

    /// Lets peers subscribe to a topic. Called by who [changes](Exposed::changing) what is exposed.
    pub(crate) fn add_topic<T: WireMessage + Sync>(
        &self,
        name: &str,
        topic: &Topic<T>,
    ) -> Result<(), NameError> {
        check_free(name)?;
        check_type::<T>()?;
        let entry = Arc::new(ToTopic::new(topic));
        self.exposed
            .add(|exposed| exposed.topics.add::<T>(name, entry))?;
        let thing = Arc::new(TopicThing(topic.clone()));
        self.exposed.things.add(name, thing);
        Ok(())
    }

    pub(crate) fn state(&self) -> NodeState {
        let exposed = self.exposed.list();
        let sessions = self.sessions.list();
        let sessions = sessions.iter().map(|session| session.snapshot()).collect();
        let inner = self.inner.lock();
        NodeState {
            name: self.name.clone(),
            incarnation: self.incarnation,
            listeners: inner
                .listeners
                .values()
                .map(|listener| listener.address.clone())
                .collect(),
            connections: inner
                .connections
                .values()
                .map(|open| open.snapshot.clone())
                .collect(),
            sessions,
            exposed,
            stats: self.counters.snapshot(),
        }
    }

    fn close(&self) {
        self.closed.send_replace(true);
        let mut inner = self.inner.lock();
        let ends: Vec<_> = inner
            .connections
            .values()
            .map(|open| Arc::clone(&open.end))
            .collect();
        let listeners = std::mem::take(&mut inner.listeners);
        drop(inner);
        // Sessions first: who is connected is told by a last word.
        self.sessions.end_all(&LinkErrorKind::ClosedHere);
        ends.iter()
            .for_each(|end| end.set(LinkErrorKind::ClosedHere));
        listeners.values().for_each(|listener| listener.close());
    }
}

/// The house's own names are for nobody else.
fn check_free(name: &str) -> Result<(), NameError> {
    check_name(name)?;
    if is_reserved(name) {
        return Err(NameError::Reserved(name.to_owned()));
    }
    Ok(())
}

/// So are the names of its message types: rights, and what a session keeps for them, go by those.
pub(crate) fn check_type<M: WireMessage>() -> Result<(), NameError> {
    check_name(M::NAME)?;
    if is_reserved(M::NAME) {
        return Err(NameError::ReservedType(M::NAME));
    }
    Ok(())
}

/// An incarnation that is larger for a later start: the milliseconds of its time, which is the one thing
/// that grows without being stored. On the simulating executor, where no start is later, 1.
pub(crate) fn fresh_incarnation(system: &System) -> Incarnation {
    if system.clock().is_manual() {
        return Incarnation(1);
    }
    // A version 7 UUID begins with 48 bits of milliseconds.
    let (high, _) = RequestKey::new().as_uuid().as_u64_pair();
    Incarnation(high >> 16)
}
