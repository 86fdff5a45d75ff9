//! How a session gets its connections, and how it ends.

use std::sync::Arc;

use callboard::Placement;
use callboard::clock::Instant;

use super::connection::EndSignal;
use super::inbox::Inbox;
use super::log::{Log, NeverSent};
use super::{Attached, Session};
use crate::error::LinkErrorKind;
use crate::peer::Phase;

/// The right of one connection to feed a session, until the next one takes it.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    pub(crate) generation: u64,
    pub(crate) end: Arc<EndSignal>,
}

/// A session while a connection feeds it. When it is dropped, the connection has ended.
pub(crate) struct Attachment {
    pub(crate) session: Arc<Session>,
    pub(crate) pass: Pass,
    /// Why the connection ended; that its task was dropped, unless somebody says more.
    pub(crate) why: LinkErrorKind,
    is_kept: bool,
}

impl Attachment {
    pub(crate) fn new(session: &Arc<Session>, pass: Pass) -> Self {
        Attachment {
            session: Arc::clone(session),
            pass,
            why: LinkErrorKind::Io("the task of the connection has ended".to_owned()),
            is_kept: false,
        }
    }

    /// Hands both on.
    pub(crate) fn keep(mut self) -> (Arc<Session>, Pass) {
        self.is_kept = true;
        (Arc::clone(&self.session), self.pass.clone())
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if !self.is_kept {
            self.session.detach(&self.pass, &self.why);
        }
    }
}

impl Session {
    /// Takes the session over for a new connection. How many frames have arrived so far: no more will by the
    /// connection before. `None` if the session has ended.
    pub(crate) fn attach(&self) -> Option<(Pass, u64)> {
        self.attach_if(|_| true)
    }

    /// The same for who says that so many frames have arrived there. `None` also if that can't be: then it is no
    /// claim of the present, but one that was on its way for long, or is played again, and changes nothing.
    pub(crate) fn attach_from(&self, theirs: u64) -> Option<(Pass, u64)> {
        self.attach_if(|log| log.can_rewind(theirs))
    }

    fn attach_if(&self, may: impl FnOnce(&Log) -> bool) -> Option<(Pass, u64)> {
        self.with_inbox(|inbox| self.feed_if(inbox, may))
    }

    fn feed_if(&self, inbox: &mut Inbox, may: impl FnOnce(&Log) -> bool) -> Option<(Pass, u64)> {
        let end = Arc::new(EndSignal::default());
        // All three at once: until it is decided, the connection before acknowledges nothing more.
        let mut log = self.log.lock();
        let mut attached = self.attached.lock();
        if self.ended.get().is_some() || !may(&log) {
            return None;
        }
        attached.generation += 1;
        let generation = attached.generation;
        let old = attached.end.replace(Arc::clone(&end));
        drop(attached);
        self.outbox.set_flowing(false);
        log.feed(generation);
        let received = inbox.feed_from(generation);
        drop(log);
        if let Some(old) = old {
            old.set(LinkErrorKind::Replaced);
        }
        Some((Pass { generation, end }, received))
    }

    /// A connection begins to carry what is said.
    pub(super) fn carried_by(&self, pass: &Pass) {
        let mut attached = self.attached.lock();
        if attached.generation == pass.generation {
            attached.alone_since = None;
        }
    }

    /// Whether a connection feeds it, or is about to.
    pub(crate) fn is_attached(&self) -> bool {
        self.attached.lock().end.is_some()
    }

    /// The other side said how much it has: what it lacks is sent again.
    pub(crate) fn resume(&self, theirs: u64) -> Result<(), NeverSent> {
        let now = self.system.clock().now();
        self.log.lock().rewind(theirs, now)
    }

    /// A connection has ended. The session waits for the next one, if it can go on.
    fn detach(self: &Arc<Self>, pass: &Pass, why: &LinkErrorKind) {
        let mut attached = self.attached.lock();
        if attached.generation != pass.generation {
            return;
        }
        attached.end = None;
        // An attempt that came to nothing doesn't begin the time anew.
        let now = self.system.clock().now();
        let since = *attached.alone_since.get_or_insert(now);
        // One task is enough, however often connections come and go.
        let lingers = !std::mem::replace(&mut attached.lingers, true);
        if !self.is_dialler && self.ended.get().is_none() {
            // Under the lock: the next connection comes after it, and says so after it.
            self.peer.enter(Phase::Resuming);
        }
        drop(attached);
        if self.ended.get().is_some() {
            // Nobody writes from it any more.
            self.bury_unacknowledged();
            self.log.lock().clear();
        }
        self.outbox.set_flowing(false);
        let is_over = matches!(
            why,
            LinkErrorKind::Protocol(_)
                | LinkErrorKind::Unread(_)
                | LinkErrorKind::ClosedHere
                | LinkErrorKind::OffersAnother
                | LinkErrorKind::Panicked
        );
        if is_over || self.outlives.is_zero() {
            self.end(why);
        } else if self.ended.get().is_none() {
            self.peer.connection_lost(self);
            if lingers {
                self.linger(since);
            }
        }
    }

    /// Ends the session if no connection has come when its time is over.
    fn linger(self: &Arc<Self>, since: Instant) {
        let mut due = since + self.outlives;
        let (waiting, clock) = (Arc::downgrade(self), self.system.clock().clone());
        let spawned = self.system.spawn(Placement::Spread, move || async move {
            loop {
                clock.sleep_until(due).await;
                // Nobody keeps it who only waits.
                let Some(session) = waiting.upgrade() else {
                    return;
                };
                match session.still_alone(clock.now()) {
                    Some(later) => due = later,
                    None => return,
                }
            }
        });
        if !spawned {
            self.end(&LinkErrorKind::NoArbiter);
        }
    }

    /// Until when to wait for a connection; `None` if there is one, or the session is over, if only by now.
    fn still_alone(&self, now: Instant) -> Option<Instant> {
        let mut attached = self.attached.lock();
        let due = attached.alone_since.map(|since| since + self.outlives);
        let due = due.filter(|_| attached.end.is_none() && self.ended.get().is_none());
        if let Some(due) = due
            && due > now
        {
            return Some(due);
        }
        attached.lingers = false;
        drop(attached);
        if due.is_some() {
            self.end(&LinkErrorKind::SessionExpired(self.outlives));
        }
        None
    }

    /// Ends only the connection there is now; the session goes on over the next.
    pub(crate) fn cut(&self, why: LinkErrorKind) {
        let end = self.attached.lock().end.clone();
        if let Some(end) = end {
            end.set(why);
        }
    }

    /// Ends it for good. Only the first call does anything.
    pub(crate) fn end(&self, why: &LinkErrorKind) {
        let mut attached: parking_lot::MutexGuard<'_, Attached> = self.attached.lock();
        if self.ended.set(why.clone()).is_err() {
            return;
        }
        let end = attached.end.take();
        drop(attached);
        // Not with the session: who still has to answer an ask of it keeps that for as long as it likes.
        let account = self.account.lock().take();
        let is_carried = end.is_some();
        if let Some(end) = end {
            end.set(why.clone());
        }
        self.give_up(why, is_carried);
        // Once nobody can find it any more.
        drop(account);
    }

    fn give_up(&self, why: &LinkErrorKind, is_carried: bool) {
        let detail = self.peer.error(why.clone()).to_string();
        let left = self.outbox.close();
        // Asks first: whoever looks at the counters afterwards finds all of it.
        let callers: Vec<_> = self.ours.read().callers().cloned().collect();
        for caller in callers {
            caller.end(self.number, &detail);
        }
        self.bury_unacknowledged();
        self.log.lock().forget(is_carried);
        self.bury_frames(&left.bytes);
        self.leave_inbox();
        self.in_flight.withdraw_all();
        self.peer.session_ended(self, why);
    }

    /// The session has ended. What has arrived was acknowledged: it is handed on as its receivers make room, also after
    /// the end, as far as the node has room for what ended sessions left; else its tells are buried.
    ///
    /// Whoever has the inbox does this afterwards: that may be the caller.
    pub(super) fn leave_inbox(&self) {
        let Some(mut inbox) = self.inbox.try_lock() else {
            return;
        };
        let Some(bytes) = inbox.end() else {
            return;
        };
        let node = self.node().filter(|_| bytes > 0);
        let leftover = node.and_then(|node| node.leftovers.take(bytes, node.config.session_window));
        let letters = if leftover.is_none() && bytes > 0 {
            inbox.letters(self)
        } else {
            Vec::new()
        };
        let table = leftover.is_none().then(|| inbox.take_table());
        drop(inbox);
        drop(table);
        // Not under the lock: which letter makes room for another is anybody's.
        for letter in letters {
            self.system.dead_letters().push(letter);
        }
        // A reader that had the inbox may have begun some after all others were withdrawn.
        self.in_flight.withdraw_all();
        self.work.end(leftover);
    }
}
