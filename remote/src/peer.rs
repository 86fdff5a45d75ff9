//! The asking side: a link to one other process that outlives its connections.

mod ask;
mod buffer;
mod dial;
mod link;
mod route;
mod subscription;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard::topic::SubscriberOptions;
use callboard::{
    ActorId, Boundary, ExitReason, Incarnation, OnEnd, Recipient, System, Terminated, WireMessage,
};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use crate::config::LinkConfig;
use crate::error::{LinkError, LinkErrorKind, ListenError, NameError, check_name};
use crate::stats::{PeerCounters, PeerStats};
use crate::transport::tcp::{TcpConnector, check_loopback};
use crate::transport::unix::UnixConnector;
use crate::transport::{ByteStream, Connector};
use crate::wire::frame::{Kind, bare};
use crate::wire::limits::{MAX_SUBJECT, cut};

use buffer::Kept;
use link::Link;
use route::RemoteRoute;
use subscription::Feed;

pub use subscription::{RemoteEvent, RemoteSubscription};

/// A link to one other process. Clones are handles to the same one.
///
/// The link outlives its connections: a dialled peer ([`tcp`](Peer::tcp), [`unix`](Peer::unix)) connects
/// again by itself, after a back-off with full jitter; an [`attached`](Peer::attached) one, a child process,
/// gets a new byte stream each time the child is started. References stay valid all the while.
///
/// # What a message can meet
/// - No connection: `NoConnection`, `NotSent`, at once, with the message. Nothing waits for a connection
///   unless [`connected`](Peer::connected) is awaited first.
/// - The connection is lost before its frame was handed to the writer: `NoConnection`, `NotSent`. After: `ConnectionLost`,
///   `MaybeExecuted`. (There are no sessions yet that would resume, G32.)
/// - The outbox is full: it waits, or for `try_tell` `Full`, `NotSent`, with the message (G3).
/// - The other side's answer for what it can't do: unknown name, unknown type, wrong version, bad payload,
///   full mailbox, expired: each at once, with its verdict (G34).
///
/// A tell that was accepted and certainly never left is counted and goes to dead letters (encoded, as `Vec<u8>`). One that
/// was handed to the operating system when the connection was lost can't be told from one that arrived: without
/// acknowledgements, which come with sessions, it is not counted. Who must know asks (G6).
///
/// # Ends
/// It is closed by [`close`](Peer::close), or when the last handle, reference and subscription is dropped.
///
/// # Example
/// ```no_run
/// # use callboard_core as callboard;
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
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.core.close();
    }
}

/// What a link is, whatever it is connected to at the moment.
pub(crate) struct Core {
    pub(crate) system: System,
    pub(crate) config: LinkConfig,
    /// Where it leads, for people.
    pub(crate) address: String,
    pub(crate) boundary: Boundary,
    pub(crate) counters: PeerCounters,
    /// How this side introduces itself.
    pub(crate) own_name: String,
    pub(crate) own_incarnation: Incarnation,
    /// The id of the link itself, for watchers.
    id: ActorId,
    phase: watch::Sender<Phase>,
    inner: Mutex<Inner>,
    next_number: AtomicU64,
}

#[derive(Default)]
struct Inner {
    link: Option<Arc<Link>>,
    /// Grows with each byte stream, so that a late handshake doesn't replace a newer one.
    attempt: u64,
    remote: Option<RemoteNode>,
    last_error: Option<LinkError>,
    ids: BTreeMap<Arc<str>, ActorId>,
    subscriptions: BTreeMap<u64, Arc<dyn Feed>>,
    watchers: Vec<(ActorId, String, OnEnd)>,
}

/// Whether a peer is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum Phase {
    /// Not yet, or not any more; it will be tried again, or a byte stream attached.
    Disconnected,
    /// A connection is being made.
    Connecting,
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
#[derive(Debug, Clone)]
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
    /// Asks without an answer.
    pub in_flight: usize,
    /// What it has done.
    pub stats: PeerStats,
}

impl Peer {
    /// A peer reached by TCP, with the default limits. Connects in the background.
    ///
    /// # Errors
    /// [`ListenError::NotLoopback`] for any address off this host: there is no TLS yet (G35).
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

    /// A peer reached by a Unix socket, with the default limits. Connects in the background; a socket of
    /// another user is refused (G35).
    #[must_use]
    pub fn unix(system: &System, path: impl Into<PathBuf>) -> Self {
        Peer::unix_with(system, path, LinkConfig::default())
    }

    /// A peer reached by a Unix socket.
    #[must_use]
    pub fn unix_with(system: &System, path: impl Into<PathBuf>, config: LinkConfig) -> Self {
        Peer::dialled(system, UnixConnector(path.into()), config)
    }

    /// A peer reached by a connector of your own. Connects in the background, again and again.
    #[must_use]
    pub fn dialled(system: &System, connector: impl Connector, config: LinkConfig) -> Self {
        let core = Core::new(system, connector.address(), connector.boundary(), config);
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
    pub fn attached_with(system: &System, name: &str, config: LinkConfig) -> Self {
        let core = Core::new(system, name.to_owned(), Boundary::SameHost, config);
        core.inner.lock().last_error = Some(core.error(LinkErrorKind::NotAttached));
        Peer::over(core)
    }

    fn over(core: Arc<Core>) -> Self {
        let owner = Arc::new(Owner { core });
        Peer { owner }
    }

    /// Gives the peer a new byte stream: the stdin and stdout of a child that was started again. It takes
    /// the place of the one before, whose asks end as lost.
    pub fn attach(&self, stream: impl ByteStream) {
        dial::attach(&self.owner.core, stream);
    }

    /// What is exposed under `name` over there, for messages of type `M`. A stable reference: valid over
    /// reconnects, restarts of the other process, and before there is a connection. Whether the other
    /// side has that name and type shows when it is asked (G34).
    ///
    /// Watching it fires once, when this link is closed for good: the end of an actor in another
    /// process is not noticed yet.
    ///
    /// # Errors
    /// [`NameError::Malformed`].
    pub fn recipient<M: WireMessage>(&self, name: &str) -> Result<Recipient<M>, NameError> {
        check_name(name)?;
        check_name(M::NAME)?;
        let (name, id) = self.owner.core.named(name);
        let route = RemoteRoute::new(Arc::clone(&self.owner), name, id);
        Ok(Recipient::new(Arc::new(route)))
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

    /// Completes when the peer's next attempt to connect has ended, with its error if it failed; at once if
    /// it is connected.
    ///
    /// # Errors
    /// The [`LinkError`] of the attempt, naming the peer.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub fn attempted(&self) -> impl Future<Output = Result<(), LinkError>> + Send + 'static {
        let core = Arc::clone(&self.owner.core);
        async move {
            let tried = |core: &Core| {
                let stats = core.counters.snapshot();
                stats.connect_failures + stats.connects + stats.disconnects
            };
            let before = tried(&core);
            let mut phases = core.phase.subscribe();
            loop {
                match *phases.borrow_and_update() {
                    Phase::Connected => return Ok(()),
                    Phase::Closed => return Err(core.last_error()),
                    _ if tried(&core) > before => return Err(core.last_error()),
                    _ => {}
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

impl Core {
    fn new(system: &System, address: String, boundary: Boundary, config: LinkConfig) -> Arc<Self> {
        Arc::new(Core {
            system: system.clone(),
            config,
            address,
            boundary,
            counters: PeerCounters::default(),
            own_name: format!("pid-{}", std::process::id()),
            own_incarnation: crate::node::fresh_incarnation(system),
            id: ActorId::fresh(),
            phase: watch::Sender::new(Phase::Disconnected),
            inner: Mutex::default(),
            next_number: AtomicU64::new(1),
        })
    }

    pub(crate) fn error(&self, kind: impl Into<LinkErrorKind>) -> LinkError {
        LinkError::new(&self.address, kind)
    }

    pub(crate) fn last_error(&self) -> LinkError {
        let last = self.inner.lock().last_error.clone();
        last.unwrap_or_else(|| self.error(LinkErrorKind::ClosedHere))
    }

    /// A number for an ask or a subscription, never given twice by this link.
    pub(crate) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn current_phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.current_phase() == Phase::Closed
    }

    pub(crate) async fn wait_for(&self, reached: impl FnMut(&Phase) -> bool) {
        // The sender lives in `self`, so this ends only when reached.
        let _ = self.phase.subscribe().wait_for(reached).await;
    }

    /// Moves on, unless it is closed for good.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let changes = *now != Phase::Closed && *now != phase;
            if changes {
                *now = phase;
            }
            changes
        });
    }

    /// Wakes who waits for an attempt to end, also if the phase is the same as before.
    fn announce(&self) {
        self.phase.send_modify(|_| {});
    }

    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.inner.lock().link.clone()
    }

    fn named(&self, name: &str) -> (Arc<str>, ActorId) {
        let mut inner = self.inner.lock();
        if let Some((name, id)) = inner.ids.get_key_value(name) {
            return (Arc::clone(name), *id);
        }
        let (name, id) = (Arc::from(name), ActorId::fresh());
        inner.ids.insert(Arc::clone(&name), id);
        (name, id)
    }

    /// Begins an attempt, and makes all before it obsolete.
    pub(crate) fn begin(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.attempt += 1;
        let attempt = inner.attempt;
        let old = inner.link.take();
        self.enter(Phase::Connecting);
        drop(inner);
        if let Some(old) = old {
            old.end.set(LinkErrorKind::Replaced);
        }
        attempt
    }

    /// A connection is up. `false` if it isn't wanted any more.
    pub(crate) fn up(&self, attempt: u64, link: &Arc<Link>, remote: RemoteNode) -> bool {
        let mut inner = self.inner.lock();
        if self.is_closed() || inner.attempt != attempt {
            return false;
        }
        inner.link = Some(Arc::clone(link));
        inner.remote = Some(remote);
        inner.last_error = None;
        for (number, feed) in &inner.subscriptions {
            link.outbox.push_answer(feed.frame(*number));
        }
        self.counters.connects();
        self.enter(Phase::Connected);
        true
    }

    /// An attempt has ended: its connection could not be made, or was lost.
    pub(crate) fn down(&self, attempt: u64, was_up: bool, kind: LinkErrorKind) {
        let error = self.error(kind);
        tracing::debug!(target: "callboard::remote", %error);
        if was_up {
            self.counters.disconnects();
        } else {
            self.counters.connect_failures();
        }
        let mut inner = self.inner.lock();
        if inner.attempt != attempt {
            return;
        }
        inner.link = None;
        inner.last_error = Some(error);
        self.enter(Phase::Disconnected);
        drop(inner);
        self.announce();
    }

    fn close(&self) {
        let closed = self.phase.send_if_modified(|phase| {
            let changes = *phase != Phase::Closed;
            *phase = Phase::Closed;
            changes
        });
        if !closed {
            return;
        }
        let mut inner = self.inner.lock();
        inner.attempt += 1;
        inner.last_error = Some(self.error(LinkErrorKind::ClosedHere));
        let link = inner.link.take();
        let watchers = std::mem::take(&mut inner.watchers);
        let feeds = std::mem::take(&mut inner.subscriptions);
        drop(inner);
        feeds.values().for_each(|feed| feed.ended());
        if let Some(link) = link {
            link.end.set(LinkErrorKind::ClosedHere);
            link.give_up(self, &LinkErrorKind::ClosedHere);
        }
        for (id, label, on_end) in watchers {
            on_end(terminated(id, label));
        }
    }

    fn subscribe(&self, number: u64, feed: Arc<dyn Feed>) {
        let mut inner = self.inner.lock();
        if self.is_closed() {
            drop(inner);
            return feed.ended();
        }
        if let Some(link) = &inner.link {
            link.outbox.push_answer(feed.frame(number));
        }
        inner.subscriptions.insert(number, feed);
    }

    /// Ends a subscription from this side.
    pub(crate) fn unsubscribe(&self, number: u64) {
        let mut inner = self.inner.lock();
        let feed = inner.subscriptions.remove(&number);
        if let (Some(_), Some(link)) = (&feed, &inner.link) {
            link.outbox.push_answer(bare(Kind::Unsubscribe, number));
        }
        drop(inner);
        drop(feed);
    }

    /// Ends a subscription because the other side ended it.
    pub(crate) fn take_feed(&self, number: u64) -> Option<Arc<dyn Feed>> {
        self.inner.lock().subscriptions.remove(&number)
    }

    pub(crate) fn feed(&self, number: u64) -> Option<Arc<dyn Feed>> {
        self.inner.lock().subscriptions.get(&number).cloned()
    }

    /// Counts what a subscription missed, and ends it if its policy says so.
    pub(crate) fn fed(&self, number: u64, kept: Kept) {
        match kept {
            Kept::All => {}
            Kept::Missed => self.counters.gaps(),
            Kept::Ended => {
                self.counters.gaps();
                self.unsubscribe(number);
            }
        }
    }

    /// Calls `on_end` when the link is closed for good.
    pub(crate) fn watch(&self, id: ActorId, label: String, on_end: OnEnd) {
        let mut inner = self.inner.lock();
        if self.is_closed() {
            drop(inner);
            on_end(terminated(id, label));
        } else {
            inner.watchers.push((id, label, on_end));
        }
    }

    fn state(&self) -> PeerState {
        let inner = self.inner.lock();
        let (outbox_bytes, in_flight) = inner
            .link
            .as_ref()
            .map_or((0, 0), |link| link.outbox.load());
        PeerState {
            address: self.address.clone(),
            boundary: self.boundary,
            phase: self.current_phase(),
            remote: inner.remote.clone(),
            last_error: inner.last_error.clone(),
            outbox_bytes,
            in_flight,
            stats: self.counters.snapshot(),
        }
    }
}

fn terminated(id: ActorId, label: String) -> Terminated {
    Terminated {
        id,
        label,
        reason: ExitReason::Stopped,
        incarnation: Incarnation::default(),
    }
}

impl callboard::Watch for Peer {
    /// Fires when the link is closed for good, not when a connection is lost.
    fn watch(&self, on_end: OnEnd) {
        let core = &self.owner.core;
        core.watch(core.id, core.address.clone(), on_end);
    }
}
