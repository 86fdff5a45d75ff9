//! The state of a link: which session it has now, who waits for what.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use callboard::{
    ActorId, Boundary, DropReason, ExitReason, Incarnation, OnEnd, Placement, System, Terminated,
    Unwatch, WatchHandle,
};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::buffer::Kept;
use super::callers::Callers;
use super::subscription::Feed;
use super::watches::{OnNews, Target, Told, Watches, lost};
use super::{PeerState, Phase, RemoteNode};
use crate::config::LinkConfig;
use crate::error::{LinkError, LinkErrorKind};
use crate::node;
use crate::session::Session;
use crate::stats::PeerCounters;
use crate::transport::{Channel, Proof};
use crate::wire::frame::Kind;

/// What a link is, whatever it is connected to at the moment.
pub(crate) struct Core {
    pub(crate) system: System,
    pub(crate) config: LinkConfig,
    /// Where it leads, for people.
    pub(crate) address: String,
    pub(crate) boundary: Boundary,
    pub(crate) counters: PeerCounters,
    /// Whether a session goes on over another stream; a child's pipes never lead to the same process again.
    pub(crate) resumes: bool,
    /// How this side introduces itself.
    pub(crate) own_name: String,
    pub(crate) own_incarnation: Incarnation,
    /// The id of the link itself, for watchers.
    pub(super) id: ActorId,
    pub(super) phase: watch::Sender<Phase>,
    session: ArcSwapOption<Session>,
    offer: RwLock<Offer>,
    inner: Mutex<Inner>,
    pub(super) watches: Arc<Watches>,
    pub(super) callers: Arc<Callers>,
    next_number: AtomicU64,
}

/// What the other side may address here. A session keeps the offer that it began with.
#[derive(Clone, Default)]
pub(crate) struct Offer {
    /// Grows with each change.
    number: u64,
    pub(crate) node: Option<Arc<node::Core>>,
}

/// Who is told when the link is closed for good, by the number of the watch.
type Watchers = BTreeMap<u64, (ActorId, String, OnEnd)>;

#[derive(Default)]
struct Inner {
    /// Grows with each byte stream, so that a late handshake doesn't replace a newer one.
    attempt: u64,
    remote: Option<RemoteNode>,
    last_error: Option<LinkError>,
    subscriptions: BTreeMap<u64, Arc<dyn Feed>>,
    watchers: Watchers,
    /// The number of the last watch.
    last_watch: u64,
}

impl Core {
    pub(crate) fn new(
        system: &System,
        address: String,
        boundary: Boundary,
        config: LinkConfig,
        resumes: bool,
    ) -> Arc<Self> {
        Arc::new(Core {
            resumes,
            system: system.clone(),
            config: config.within_range(),
            address,
            boundary,
            counters: PeerCounters::default(),
            own_name: format!("pid-{}", std::process::id()),
            own_incarnation: crate::node::fresh_incarnation(system),
            id: ActorId::fresh(),
            phase: watch::Sender::new(Phase::Disconnected),
            session: ArcSwapOption::empty(),
            offer: RwLock::default(),
            inner: Mutex::default(),
            watches: Arc::default(),
            callers: Arc::default(),
            // Never the same as a ticket of an ask: the slot of none is that large.
            next_number: AtomicU64::new(1 << 63),
        })
    }

    /// The way back to who has connected to a node: what it offers can be asked from here.
    pub(crate) fn accepted(node: &Arc<node::Core>, address: String, proof: &Proof) -> Arc<Self> {
        // As who dials says it: what has an address of the network came over the network, also on loopback.
        let boundary = match (proof.channel, proof.address) {
            (Channel::Local, None) => Boundary::SameHost,
            _ => Boundary::Network,
        };
        let config = node.config.clone();
        let core = Core::new(&node.system, address, boundary, config, true);
        core.offer.write().node = Some(Arc::clone(node));
        core
    }

    /// Its first connection is up.
    pub(crate) fn serve(&self, session: &Arc<Session>) {
        self.inner.lock().remote = Some(RemoteNode {
            name: session.theirs.node.clone(),
            incarnation: session.theirs.incarnation,
        });
        self.session.store(Some(Arc::clone(session)));
        if self.is_closed() {
            // Before it had one that could be ended.
            session.end(&LinkErrorKind::ClosedHere);
        }
        if session.ended().is_some() {
            // In between.
            self.session.store(None);
        }
        let told = self.watches.began(session);
        self.enter(Phase::Connected);
        told.tell();
    }

    /// It has a connection again.
    pub(crate) fn back(&self, session: &Session) {
        self.counters.resumes();
        let told = self.watches.refresh(session);
        self.enter(Phase::Connected);
        told.tell();
    }

    /// A connection of the session has ended, and the session waits for another.
    pub(crate) fn connection_lost(&self, session: &Session) {
        self.watches.refresh(session).tell();
    }

    pub(super) fn not_attached(&self) {
        self.inner.lock().last_error = Some(self.error(LinkErrorKind::NotAttached));
    }

    pub(crate) fn error(&self, kind: impl Into<LinkErrorKind>) -> LinkError {
        LinkError::new(&self.address, kind)
    }

    /// Why there is no connection, if anything was tried.
    pub(super) fn failure(&self) -> Option<LinkError> {
        self.inner.lock().last_error.clone()
    }

    pub(crate) fn last_error(&self) -> LinkError {
        self.failure()
            .unwrap_or_else(|| self.error(LinkErrorKind::ClosedHere))
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

    /// The session there is now, with a connection or without.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.session.load_full()
    }

    /// The same for who is done with it soon: it isn't counted.
    #[inline]
    pub(crate) fn session_now(&self) -> arc_swap::Guard<Option<Arc<Session>>> {
        self.session.load()
    }

    pub(crate) fn offered(&self) -> Offer {
        self.offer.read().clone()
    }

    /// Introduces itself as that node from now on. A session that began otherwise ends, where another can follow.
    pub(super) fn offer(&self, node: &Arc<node::Core>) {
        // So that no session comes up in between.
        let inner = self.inner.lock();
        let mut offer = self.offer.write();
        if offer
            .node
            .as_ref()
            .is_some_and(|now| Arc::ptr_eq(now, node))
        {
            return;
        }
        offer.number += 1;
        offer.node = Some(Arc::clone(node));
        drop(offer);
        drop(inner);
        if let Some(session) = self.session().filter(|_| self.resumes) {
            session.end(&LinkErrorKind::OffersAnother);
        }
    }

    /// Whether a session began with what is offered now, or can't begin again.
    fn is_as_offered(&self, session: &Session) -> bool {
        !self.resumes || session.offer.number == self.offer.read().number
    }

    /// Begins an attempt, and makes all before it obsolete.
    pub(crate) fn begin(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.attempt += 1;
        let attempt = inner.attempt;
        self.enter(Phase::Connecting);
        drop(inner);
        if let Some(session) = self.session() {
            session.cut(LinkErrorKind::Replaced);
        }
        attempt
    }

    /// A connection is up, unless it isn't wanted any more.
    pub(crate) fn up(&self, attempt: u64, session: &Arc<Session>) -> Result<(), LinkErrorKind> {
        let mut inner = self.inner.lock();
        if self.is_closed() || inner.attempt != attempt {
            return Err(LinkErrorKind::Replaced);
        }
        if !self.is_as_offered(session) {
            return Err(LinkErrorKind::OffersAnother);
        }
        let is_new = !self.is_current(session);
        if is_new {
            self.session.store(Some(Arc::clone(session)));
            if let Some(why) = session.ended() {
                // In between: its end looked for it here before.
                self.session.store(None);
                return Err(why.clone());
            }
            for (number, feed) in &inner.subscriptions {
                session.answer(feed.frame(*number));
            }
        }
        inner.remote = Some(RemoteNode {
            name: session.theirs.node.clone(),
            incarnation: session.theirs.incarnation,
        });
        inner.last_error = None;
        self.counters.connects();
        if !is_new {
            self.counters.resumes();
        }
        // Before anybody is told that it is connected: who begins to watch then finds a connection.
        let told = if is_new {
            self.watches.began(session)
        } else {
            self.watches.refresh(session)
        };
        self.enter(Phase::Connected);
        drop(inner);
        told.tell();
        Ok(())
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
        inner.last_error = Some(error);
        self.enter(self.without_connection());
    }

    /// Whether that is the session there is now.
    pub(crate) fn is_current(&self, session: &Session) -> bool {
        let current = self.session.load();
        current
            .as_ref()
            .is_some_and(|current| current.number == session.number)
    }

    /// What it is while there is no connection.
    fn without_connection(&self) -> Phase {
        if self.session.load().is_some() {
            Phase::Resuming
        } else {
            Phase::Disconnected
        }
    }

    /// A session has ended.
    pub(crate) fn session_ended(&self, session: &Session, why: &LinkErrorKind) {
        self.forget_session(session, why);
        if !session.is_dialler {
            if let Some(node) = session.node() {
                node.sessions.remove(session);
            }
            // Nobody dials here: it won't have another.
            self.offer.write().node = None;
            self.enter(Phase::Closed);
            let told = self.watches.close(&lost(why));
            let watchers = self.let_go();
            told.tell();
            tell_all(watchers);
        } else {
            // A child's pipes lead to that child only.
            let and_all = (!self.resumes).then(|| why.to_string());
            let told = self.watches.session_ended(session, and_all.as_deref());
            told.tell();
        }
    }

    fn forget_session(&self, session: &Session, why: &LinkErrorKind) {
        let error = self.error(why.clone());
        let mut inner = self.inner.lock();
        if !self.is_current(session) {
            return;
        }
        self.session.store(None);
        inner.last_error = Some(error);
        self.counters.sessions_ended();
        if matches!(self.current_phase(), Phase::Resuming | Phase::Connected) {
            self.enter(Phase::Disconnected);
        }
    }

    pub(crate) fn close(&self) {
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
        drop(inner);
        let watchers = self.let_go();
        let told = self.watches.close(&ExitReason::Stopped);
        if let Some(session) = self.session() {
            session.end(&LinkErrorKind::ClosedHere);
        }
        told.tell();
        tell_all(watchers);
    }

    /// It is closed for good: ends the subscriptions. Who watches it, to be told.
    fn let_go(&self) -> Watchers {
        let mut inner = self.inner.lock();
        let watchers = std::mem::take(&mut inner.watchers);
        let feeds = std::mem::take(&mut inner.subscriptions);
        drop(inner);
        feeds.values().for_each(|feed| feed.ended());
        watchers
    }

    /// An answer came for an ask that has ended.
    pub(crate) fn late_reply(&self) {
        self.counters.late_replies();
        self.system.counters().count_drop(DropReason::LateReply);
    }

    pub(super) fn subscribe(&self, number: u64, feed: Arc<dyn Feed>) {
        let mut inner = self.inner.lock();
        if self.is_closed() {
            drop(inner);
            return feed.ended();
        }
        if let Some(session) = self.session() {
            session.answer(feed.frame(number));
        }
        inner.subscriptions.insert(number, feed);
    }

    /// Ends a subscription from this side.
    pub(crate) fn unsubscribe(&self, number: u64) {
        let mut inner = self.inner.lock();
        let feed = inner.subscriptions.remove(&number);
        if let (Some(_), Some(session)) = (&feed, self.session()) {
            session.say(Kind::Unsubscribe, number);
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

    /// Watches what is exposed over there.
    pub(super) fn watch_there(&self, target: Target, to: OnNews) -> WatchHandle {
        let (number, told) = self.watches.add(target, to, || self.next_number());
        told.tell();
        match number {
            Some(number) => {
                let watches: Weak<Watches> = Arc::downgrade(&self.watches);
                WatchHandle::new(watches, number)
            }
            None => WatchHandle::over(),
        }
    }

    /// Tells watchers as soon as no lock is held.
    pub(super) fn tell_later(&self, told: Told) {
        if self.watches.queue(told) {
            let watches = Arc::clone(&self.watches);
            // Without arbiters there is nobody left who could be told.
            self.system.spawn(
                Placement::Spread,
                move || async move { watches.tell_queued() },
            );
        }
    }

    /// Calls `on_end` when the link is closed for good.
    pub(crate) fn watch(
        self: &Arc<Self>,
        id: ActorId,
        label: String,
        on_end: OnEnd,
    ) -> WatchHandle {
        let mut inner = self.inner.lock();
        if self.is_closed() {
            drop(inner);
            on_end(terminated(id, label));
            return WatchHandle::over();
        }
        inner.last_watch += 1;
        let number = inner.last_watch;
        inner.watchers.insert(number, (id, label, on_end));
        let core: Weak<Self> = Arc::downgrade(self);
        WatchHandle::new(core, number)
    }

    pub(super) fn state(&self) -> PeerState {
        // The session's own first: a reader that holds its inbox looks for subscriptions here.
        let session = self.session();
        let load = |session: &Arc<Session>| session.outbox.load();
        let (outbox_bytes, in_flight) = session.as_ref().map_or((0, 0), load);
        let unacknowledged = session
            .as_ref()
            .map_or(0, |session| session.unacknowledged());
        let waiting_bytes = session.as_ref().map_or(0, |session| session.waiting());
        let inner = self.inner.lock();
        PeerState {
            address: self.address.clone(),
            boundary: self.boundary,
            phase: self.current_phase(),
            remote: inner.remote.clone(),
            last_error: inner.last_error.clone(),
            outbox_bytes,
            unacknowledged,
            waiting_bytes,
            in_flight,
            stats: self.counters.snapshot(),
        }
    }
}

impl Unwatch for Core {
    fn unwatch(&self, number: u64) {
        let watcher = self.inner.lock().watchers.remove(&number);
        drop(watcher);
    }
}

fn tell_all(watchers: Watchers) {
    for (id, label, on_end) in watchers.into_values() {
        on_end(terminated(id, label));
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
