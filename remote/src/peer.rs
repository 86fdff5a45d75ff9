//! The asking side: a link to one other process that outlives its connections.

mod arrivals;
mod buffer;
mod caller;
mod callers;
mod core;
mod dial;
mod lean;
mod route;
mod subscription;
mod watches;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use callboard::topic::SubscriberOptions;
use callboard::{Boundary, Incarnation, OnEnd, Recipient, System, WatchHandle, WireMessage};
use serde::Serialize;

use crate::config::LinkConfig;
use crate::error::{LinkError, LinkErrorKind, ListenError, NameError, check_name};
use crate::node::Node;
use crate::stats::PeerStats;
use crate::transport::tcp::{TcpConnector, check_loopback};
use crate::transport::tls::TlsConnector;
use crate::transport::{
    ByteStream, Connector, Expect, FifoConnector, Tls, TlsError, UnixConnector, UnixSocket,
};
use crate::wire::limits::{MAX_SUBJECT, cut};

use route::RemoteRoute;

pub(crate) use self::caller::schemas;
pub(crate) use self::core::{Core, Offer};

pub use subscription::{RemoteEvent, RemoteSubscription};

/// A link to one other process. Clones are handles to the same one.
///
/// The link outlives its connections: a dialled peer ([`tcp`](Peer::tcp), [`unix`](Peer::unix)) connects
/// again by itself, after a back-off with full jitter; an [`attached`](Peer::attached) one, a child process,
/// gets a new byte stream each time the child is started. References stay valid all the while.
///
/// Between a dialled peer and a node runs a session (G32): what was sent and not acknowledged when a connection broke
/// is sent again over the next, and arrives once and in order. The session ends when the other side is no longer the
/// same, or when no connection came for [`session_time`](LinkConfig::session_time).
///
/// # What a message can meet
/// - No session: `NoConnection`, `NotSent`, at once, with the message. Nothing waits for a first connection
///   unless [`connected`](Peer::connected) is awaited first.
/// - A session whose connection is broken: it waits in the outbox, up to its deadline.
/// - The session ends: `NoConnection`, `NotSent`, if certainly no byte of it has left; else `ConnectionLost`,
///   `MaybeExecuted`.
/// - Its receiver takes no more for now, or the outbox is full: it waits, or for `try_tell` `Full`, `NotSent`, with
///   the message (G3, G33).
/// - The other side's answer for what it can't do: unknown name, unknown type, wrong version, bad payload,
///   expired: each at once, with its verdict (G34).
///
/// A tell that was accepted, and whose arrival was not acknowledged when its session ended, is counted and goes to
/// dead letters (encoded, as `Vec<u8>`): it may have arrived. Who must know asks (G6).
///
/// # Ends
/// It is closed by [`close`](Peer::close), or when the last handle, reference and subscription is dropped.
///
/// # Example
/// ```no_run
/// # extern crate callboard_core as callboard;
/// # use callboard_remote::Peer;
/// # use serde::{Deserialize, Serialize};
/// #[derive(callboard::Message, Serialize, Deserialize)]
/// #[message(reply = u64, name = "counter.add")]
/// struct Add(u64);
///
/// # async fn example(system: callboard::System) -> Result<(), Box<dyn std::error::Error>> {
/// let peer = Peer::tcp(&system, "127.0.0.1:4000".parse()?)?;
/// peer.connected().await?;
/// let counter = peer.recipient::<Add>("counter")?;
/// assert_eq!(counter.ask(Add(2)).await?, 2);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Peer {
    owner: Arc<Owner>,
}

/// Closes the link when the last handle is gone. Background tasks hold the core only.
pub(crate) struct Owner {
    pub(crate) core: Arc<Core>,
    /// The other side has made the link, and ends it.
    is_guest: bool,
}

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.is_guest {
            self.core.close();
        }
    }
}

/// Whether a peer is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum Phase {
    /// Not yet, or not any more; it will be tried again, or a byte stream attached.
    Disconnected,
    /// A connection is being made.
    Connecting,
    /// The connection is broken, and the session goes on: messages wait for the next connection.
    Resuming,
    /// Messages can be sent.
    Connected,
    /// Closed for good.
    Closed,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RemoteNode {
    /// The name the node gave.
    pub name: String,
    /// Which start of it that is.
    pub incarnation: Incarnation,
}

/// How a peer is doing.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PeerState {
    /// Its address, or the name it was given here.
    pub address: String,
    /// What lies between.
    pub boundary: Boundary,
    /// Whether it is connected.
    pub phase: Phase,
    /// Who is, or was last, at the other end.
    pub remote: Option<RemoteNode>,
    /// Why the last connection ended or could not be made; `None` once connected again.
    pub last_error: Option<LinkError>,
    /// Bytes that wait to be written.
    pub outbox_bytes: usize,
    /// Bytes that were written, or are about to be, and that the other side hasn't acknowledged.
    pub unacknowledged: usize,
    /// Bytes that have arrived and wait here for their receivers, or for the rest of them.
    pub waiting_bytes: usize,
    /// Asks without an answer.
    pub in_flight: usize,
    /// What it has done.
    pub stats: PeerStats,
}

impl Peer {
    /// A peer reached by TCP, with the default limits. Connects in the background.
    ///
    /// # Errors
    /// [`ListenError::NotLoopback`] for any address off this host (G35): [`tls`](Peer::tls) is for those.
    pub fn tcp(system: &System, address: SocketAddr) -> Result<Self, ListenError> {
        Peer::tcp_with(system, address, LinkConfig::default())
    }

    /// A peer reached by TCP.
    ///
    /// # Errors
    /// As [`tcp`](Peer::tcp).
    pub fn tcp_with(
        system: &System,
        address: SocketAddr,
        config: LinkConfig,
    ) -> Result<Self, ListenError> {
        check_loopback(address)?;
        Ok(Peer::dialled(system, TcpConnector(address), config))
    }

    /// A peer reached by TCP, also off this host, **without encryption**: whoever is on the way can read and change
    /// everything, and what answers can be anybody. For networks that something else protects, by a name that a search
    /// finds (G35). Else: [`tls`](Peer::tls).
    #[must_use]
    pub fn tcp_insecure(system: &System, address: SocketAddr, config: LinkConfig) -> Self {
        Peer::dialled(system, TcpConnector(address), config)
    }

    /// A peer reached by TCP with TLS 1.3, with the default limits. Connects in the background, and only to who is
    /// expected; shows the identity of `tls`. `address` is a host and a port, `"billing.internal:4000"`; the host is
    /// looked up at each attempt.
    ///
    /// # Errors
    /// [`TlsError::BadAddress`], [`TlsError::BadHost`], [`TlsError::BadName`]. What goes wrong between the two sides is
    /// [`LinkErrorKind::Tls`] in [`attempted`](Peer::attempted) and [`state`](Peer::state), and tried again.
    pub fn tls(
        system: &System,
        address: &str,
        tls: &Tls,
        expect: Expect,
    ) -> Result<Self, TlsError> {
        Peer::tls_with(system, address, tls, expect, LinkConfig::default())
    }

    /// The same with other limits. The handshake of TLS is part of
    /// [`connect_timeout`](LinkConfig::connect_timeout).
    ///
    /// # Errors
    /// As [`tls`](Peer::tls).
    pub fn tls_with(
        system: &System,
        address: &str,
        tls: &Tls,
        expect: Expect,
        config: LinkConfig,
    ) -> Result<Self, TlsError> {
        let connector = TlsConnector::new(system, address, tls, expect)?;
        Ok(Peer::dialled(system, connector, config))
    }

    /// A peer reached by a Unix socket, a path or a [`UnixSocket`], with the default limits. Connects in the
    /// background; a socket of another user is refused (G35), unless it is [allowed](UnixSocket::allow_user).
    #[must_use]
    pub fn unix(system: &System, socket: impl Into<UnixSocket>) -> Self {
        Peer::unix_with(system, socket, LinkConfig::default())
    }

    /// A peer reached by a Unix socket.
    #[must_use]
    pub fn unix_with(system: &System, socket: impl Into<UnixSocket>, config: LinkConfig) -> Self {
        Peer::dialled(system, UnixConnector::new(socket), config)
    }

    /// A peer reached over named pipes in a directory where a node [listens](crate::Node::listen_fifo), with the
    /// default limits. Connects in the background; a directory that others may enter is refused (G35).
    #[must_use]
    pub fn fifo(system: &System, directory: impl Into<PathBuf>) -> Self {
        Peer::fifo_with(system, directory, LinkConfig::default())
    }

    /// A peer reached over named pipes.
    #[must_use]
    pub fn fifo_with(system: &System, directory: impl Into<PathBuf>, config: LinkConfig) -> Self {
        Peer::dialled(system, FifoConnector::new(directory), config)
    }

    /// A peer reached by a connector of your own. Connects in the background, again and again.
    #[must_use]
    pub fn dialled(system: &System, connector: impl Connector, config: LinkConfig) -> Self {
        let (address, boundary) = (connector.address(), connector.boundary());
        let core = Core::new(system, address, boundary, config, true);
        dial::start(Arc::clone(&core), connector);
        Peer::over(core)
    }

    /// A peer whose byte streams are [`attach`](Peer::attach)ed: a child process. `name` is for people.
    #[must_use]
    pub fn attached(system: &System, name: &str) -> Self {
        Peer::attached_with(system, name, LinkConfig::default())
    }

    /// The same with other limits.
    #[must_use]
    pub fn attached_with(system: &System, name: &str, mut config: LinkConfig) -> Self {
        config.session_time = Duration::ZERO;
        let core = Core::new(system, name.to_owned(), Boundary::SameHost, config, false);
        core.not_attached();
        Peer::over(core)
    }

    fn over(core: Arc<Core>) -> Self {
        let owner = Arc::new(Owner {
            core,
            is_guest: false,
        });
        Peer { owner }
    }

    /// The way back to who has connected to a node of this process.
    pub(crate) fn guest(core: &Arc<Core>) -> Self {
        let owner = Arc::new(Owner {
            core: Arc::clone(core),
            is_guest: true,
        });
        Peer { owner }
    }

    /// Lets the other side address what a node of this process exposes, over this link: the way back of references
    /// that are sent along with messages.
    ///
    /// A session begins with an introduction, which holds as long as it does. So a session that has begun as
    /// somebody else ends here, what is in flight over it with its verdict (G34), and the next one begins at once:
    /// offer before you ask. Where streams are [attached](Peer::attach), the next one that is attached begins it.
    ///
    /// Nothing happens to one of [`Node::peers`]: whoever has connected to a node may address that one.
    pub fn offer(&self, node: &Node) {
        if !self.owner.is_guest {
            self.owner.core.offer(&node.core());
        }
    }

    /// Gives the peer a new byte stream: the stdin and stdout of a child that was started again. It takes
    /// the place of the one before, whose asks end as lost.
    ///
    /// One of [`Node::peers`] takes none: only who has made its link can renew it.
    pub fn attach(&self, stream: impl ByteStream) {
        if !self.owner.is_guest {
            dial::attach(&self.owner.core, stream);
        }
    }

    /// What is exposed under `name` over there, for messages of type `M`. A stable reference: valid over
    /// reconnects, restarts of the other process, and before there is a connection. Whether the other
    /// side has that name and type shows when it is asked (G34).
    ///
    /// # Watching it
    /// What the name leads to when the watch arrives over there is watched (G12), over any number of connections and
    /// sessions. Who [watches its life](callboard::Watch::watch_life) is told of
    /// - `Restarted`: its restarts (those of a time without a session are not told);
    /// - `NoConnection`: at once, when the connection is lost, or if there is none when the watch begins;
    /// - `Reconnected`: when it can be reached again, and is the same;
    /// - `Terminated`, once and last, as is who watches its end only.
    ///
    /// `Terminated` comes with the reason of its end (of a failure the class only: the text stays in its process);
    /// with `NeverExisted` if nothing has that name, or doesn't take `M`; with `Failed` and the words `its process was
    /// lost` when the node came back as another incarnation, when somebody else has the name after a time without a
    /// session, and, for an [`attached`](Peer::attached) peer, when its stream ends; with `Failed` if the node refuses
    /// the watch, by rights or by [`LinkConfig::watches`]; and with `Stopped` when this peer is closed. That a session's
    /// time is over ends nothing: nobody knows how it is until its node is there again. (Erlang fires a monitor as
    /// `noconnection` there, and the process may live on; Pekko declares the node dead, and must quarantine it when it
    /// isn't.) Who won't wait that long acts on `NoConnection`.
    ///
    /// A watch keeps no peer open.
    ///
    /// # What it takes
    /// All recipients of one name and type share a slot of the session, and one that nobody holds any more is given
    /// to another name, but for the last 1,024. So a recipient may be made for each message; to keep one is cheaper.
    /// A session has 65,536 slots: what is sent to a name beyond them is refused with `Full`, `NotSent` (G3).
    ///
    /// # Errors
    /// [`NameError::Malformed`].
    pub fn recipient<M: WireMessage>(&self, name: &str) -> Result<Recipient<M>, NameError> {
        check_name(name)?;
        check_name(M::NAME)?;
        Ok(self.way(name))
    }

    /// The same for names that are known to be some.
    pub(crate) fn way<M: WireMessage>(&self, name: &str) -> Recipient<M> {
        let route = RemoteRoute::new(Arc::clone(&self.owner), name);
        Recipient::new(Arc::new(route))
    }

    /// Subscribes to what is published to the exposed topic `topic` and matches the pattern, with the
    /// default options. See [`RemoteSubscription`]; [`ready`](RemoteSubscription::ready) tells when it
    /// holds.
    ///
    /// # Errors
    /// [`NameError::Malformed`], also for a pattern longer than [`MAX_SUBJECT`](crate::MAX_SUBJECT). Whether the
    /// other side has that topic shows in the stream.
    pub fn subscribe<T: WireMessage>(
        &self,
        topic: &str,
        pattern: &str,
    ) -> Result<RemoteSubscription<T>, NameError> {
        self.subscribe_with(topic, pattern, SubscriberOptions::default())
    }

    /// The same with options: they hold at both ends, for the buffer of the node and for that of the stream.
    ///
    /// # Errors
    /// As [`subscribe`](Peer::subscribe).
    pub fn subscribe_with<T: WireMessage>(
        &self,
        topic: &str,
        pattern: &str,
        options: SubscriberOptions,
    ) -> Result<RemoteSubscription<T>, NameError> {
        check_name(topic)?;
        check_name(T::NAME)?;
        if pattern.is_empty() || pattern.len() > MAX_SUBJECT {
            let shown = cut(pattern, MAX_SUBJECT).to_owned();
            return Err(NameError::Malformed(shown));
        }
        let owner = &self.owner;
        Ok(subscription::subscribe(owner, topic, pattern, options))
    }

    /// Completes when the peer is connected, at once if it is.
    ///
    /// # Errors
    /// With the last [`LinkError`] if the peer is closed for good. Failed attempts are no error: they are
    /// in [`state`](Peer::state), and the next may succeed. Bound the wait with a deadline.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub fn connected(&self) -> impl Future<Output = Result<(), LinkError>> + Send + 'static {
        let core = Arc::clone(&self.owner.core);
        async move {
            let reached = |phase: &Phase| matches!(phase, Phase::Connected | Phase::Closed);
            core.wait_for(reached).await;
            match core.current_phase() {
                Phase::Closed => Err(core.last_error()),
                _ => Ok(()),
            }
        }
    }

    /// Completes when the latest attempt to connect has ended: at once if it has, else when the first or
    /// current one does. Tells a program at its start whether the other side is there.
    ///
    /// # Errors
    /// The [`LinkError`] of the attempt, naming the peer. A dialled peer goes on trying.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub fn attempted(&self) -> impl Future<Output = Result<(), LinkError>> + Send + 'static {
        let core = Arc::clone(&self.owner.core);
        async move {
            let mut phases = core.phase.subscribe();
            loop {
                let phase = *phases.borrow_and_update();
                match phase {
                    Phase::Connected => return Ok(()),
                    Phase::Closed => return Err(core.last_error()),
                    Phase::Disconnected | Phase::Resuming => {
                        let error = core.failure();
                        if let Some(error) = error
                            && error.kind() != &LinkErrorKind::NotAttached
                        {
                            return Err(error);
                        }
                    }
                    Phase::Connecting => {}
                }
                // The sender lives in `core`.
                let _ = phases.changed().await;
            }
        }
    }

    /// How it is doing.
    #[must_use]
    pub fn state(&self) -> PeerState {
        self.owner.core.state()
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.owner.core
    }

    /// The limits it was made with.
    #[must_use]
    pub fn config(&self) -> &LinkConfig {
        &self.owner.core.config
    }

    /// Ends the link for good: what waits ends with its verdict, and what is sent from now on comes back.
    pub fn close(&self) {
        self.owner.core.close();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("address", &self.owner.core.address)
            .field("phase", &self.owner.core.current_phase())
            .finish_non_exhaustive()
    }
}

impl callboard::Watch for Peer {
    /// Fires when the link is closed for good, not when a connection is lost.
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        let core = &self.owner.core;
        core.watch(core.id, core.address.clone(), on_end)
    }
}
