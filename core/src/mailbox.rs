//! The bounded mailbox of an actor: a control lane and a user lane under one lock (G3, G4).
//!
//! Senders write records into the inbox; the loop swaps the whole inbox against its empty batch, so that
//! a batch costs one lock and one wake-up. The bound counts the inbox and what is left of the batch.
//! Senders that wait are served in the order they came and each wakes alone; they are let in when half of
//! the room is free, or when the actor comes to rest, so that a fast sender isn't woken for every message.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::sync::{SpinGuard, SpinLock, current_arbiter};

// Loom's models do without; it stands on the same lock and the same line.
#[cfg(not(loom))]
mod claim;
// The models of `core/loom` take this file from elsewhere.
#[cfg_attr(loom, path = "mailbox/line.rs")]
mod line;
#[cfg_attr(loom, path = "mailbox/records.rs")]
pub(crate) mod records;
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(not(loom))]
pub(crate) use claim::{Claim, Claimed};
pub(crate) use line::PushWaiting;
use line::{GRANTED, Waiter, Wakes, refuse};
use records::{Kind, Record, Records};

/// How many messages a mailbox holds unless told otherwise.
pub const DEFAULT_MAILBOX_CAPACITY: usize = 1_024;

/// What happens to a message that finds the mailbox full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Overflow {
    /// `tell` and `ask` wait for room, in the order they came; `try_tell` gives the message back.
    #[default]
    Wait,
    /// The message is given back at once.
    Fail,
    /// The arriving message goes to dead letters, and its sender is told nothing but by an ask.
    DropNewest,
    /// The oldest waiting message goes to dead letters to make room.
    DropOldest,
}

/// What the loop is told ahead of every user message (G4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// End after the message in hand; the rest goes to dead letters.
    Stop,
    /// End after the message in hand, as failed: the actor said so.
    Fail,
    /// End at the next `.await`.
    Kill,
    /// Go on with what was stashed.
    Unstash,
}

/// Bits of the control lane.
const STOP: u8 = 1;
const KILL: u8 = 2;
const DRAIN: u8 = 4;
const CLOSED: u8 = 8;
const FAIL: u8 = 16;
/// Not signals, but what a hand-off must not overtake either: messages in the inbox, senders in line.
const QUEUED: u8 = 32;
const LINED_UP: u8 = 64;
/// What was stashed comes next.
const UNSTASH: u8 = 128;
/// The most messages of a batch with which the loop comes to rest in advance: far below the budget of a turn
/// and, in mailboxes where it does so, below what makes a sender wait.
const LAST: u32 = 16;
/// What makes the loop do something else than take the next message.
const ACT: u8 = STOP | KILL | FAIL | UNSTASH;

/// What the loop finds when it looks for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Took {
    Batch,
    /// A few messages, after which the turn is over without another look: the mailbox schedules the actor
    /// anew for whatever comes from now on.
    LastBatch,
    /// Nothing: the loop is at rest.
    Nothing,
    /// Nothing, and draining: this is the end.
    Drained,
    /// A signal first.
    Signal,
}

/// Why a push did not put the record in. The record comes back.
pub(crate) enum Rejected<T> {
    /// No room under [`Overflow::Wait`]: the sender may wait.
    MustWait(T),
    /// No room under [`Overflow::Fail`].
    Full(T),
    /// The mailbox takes nothing any more.
    Closed(T),
}

/// What a push that was accepted leaves to be done, outside the lock.
pub(crate) struct Pushed<K: Kind, R> {
    /// The actor was idle: put it into its run queue.
    pub(crate) schedule: bool,
    /// A record that the policy put out.
    pub(crate) dropped: Dropped<K, R>,
}

/// A record that a drop policy put out.
pub(crate) enum Dropped<K: Kind, R> {
    None,
    Newest(R),
    Oldest(Records<K>),
}

/// How full a mailbox is and has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct MailboxState {
    /// Messages waiting now.
    pub len: usize,
    /// The bound; `usize::MAX` if there is none.
    pub capacity: usize,
    /// The most that ever waited at once.
    pub high_water: usize,
    /// Senders waiting for room now.
    pub waiting_senders: usize,
    /// The time that senders spent waiting for room, all of them together; of those that wait no longer.
    pub blocked: Duration,
}

impl MailboxState {
    /// Whether there is no bound.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        self.capacity == usize::MAX
    }
}

pub(crate) struct Mailbox<K: Kind> {
    inner: SpinLock<Inner<K>>,
    /// The control lane, readable without the lock; changed under it.
    signals: AtomicU8,
    /// The arbiter whose loop empties it.
    home: u32,
    /// What the loop has not yet handled of its batch: all of it in the upper half, what counts against
    /// the bound in the lower. Written by the loop alone.
    batch_left: AtomicU64,
    /// 0 if no sender waits; else one more than what may be left of the batch for waiting senders to be let
    /// in. Changed under the lock.
    waiting: AtomicU32,
    /// Nanoseconds that senders spent in line.
    blocked: AtomicU64,
}

struct Inner<K: Kind> {
    inbox: Records<K>,
    capacity: u32,
    /// What is left of the batch at most: what it held when it was taken, or when somebody looked since.
    batch: u32,
    /// So many records can be put in without further thought: never more than there is room, and 0 while
    /// senders wait or the mailbox is shut.
    free: u32,
    /// Room handed to waiters that have not used it yet.
    granted: u32,
    high_water: u32,
    /// The first message since the inbox was taken came from another thread: the loop leaves it memory,
    /// which that thread would else have to allocate again and again.
    fed_from_afar: bool,
    overflow: Overflow,
    /// The actor is in its run queue, or running.
    scheduled: bool,
    /// A message alone is no reason to run: a handler waits for something, or there is no incarnation.
    awaiting: bool,
    /// Made with the first that waits.
    #[expect(
        clippy::box_collection,
        reason = "one word in each mailbox instead of four"
    )]
    line: Option<Box<VecDeque<Arc<Waiter>>>>,
}

impl<K: Kind> Inner<K> {
    #[inline]
    fn anybody_waits(&self) -> bool {
        self.line.as_ref().is_some_and(|line| !line.is_empty())
    }
}

impl<K: Kind> Mailbox<K> {
    /// A mailbox of that many messages (`usize::MAX`: without bound), for the loop of an arbiter.
    pub(crate) fn new(home: u32, capacity: usize, overflow: Overflow) -> Self {
        Mailbox {
            inner: SpinLock::new(Inner {
                inbox: Records::new(),
                capacity: u32::try_from(capacity.max(1)).unwrap_or(u32::MAX),
                batch: 0,
                free: 0,
                granted: 0,
                high_water: 0,
                fed_from_afar: false,
                overflow,
                scheduled: false,
                awaiting: true,
                line: None,
            }),
            signals: AtomicU8::new(0),
            home,
            batch_left: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            blocked: AtomicU64::new(0),
        }
    }

    /// Sets and takes away bits of the control lane. Under the lock, so that no other change is lost.
    #[inline]
    fn mark(&self, set: u8, clear: u8) {
        let before = self.signals.load(Ordering::Relaxed);
        self.signals
            .store((before & !clear) | set, Ordering::Release);
    }

    fn is_shut(&self) -> bool {
        self.signals.load(Ordering::Relaxed) & (DRAIN | CLOSED) != 0
    }

    /// How much room is free. Under the lock.
    fn room(&self, inner: &Inner<K>) -> u32 {
        let inbox = inner.inbox.counted().saturating_add(inner.granted);
        let capacity = inner.capacity;
        // The batch as it was taken is an upper bound; what is left of it is looked at only when that
        // matters, so that a sender doesn't touch the line that the loop writes for each message.
        match capacity.checked_sub(inbox.saturating_add(inner.batch)) {
            Some(room) if room > 0 => room,
            _ => {
                let left = counted(self.batch_left.load(Ordering::Acquire));
                capacity.saturating_sub(inbox.saturating_add(left))
            }
        }
    }

    /// Puts a record in. Under the lock. Answers whether the actor must be scheduled.
    #[inline]
    fn put<R: Record<K>>(&self, inner: &mut Inner<K>, record: R, counted: bool) -> bool {
        if inner.inbox.is_empty() {
            inner.fed_from_afar = current_arbiter() != self.home;
            self.mark(QUEUED, 0);
        }
        inner.inbox.push(record, counted);
        if counted {
            inner.free = inner.free.saturating_sub(1);
        }
        let len = inner.inbox.len().saturating_add(inner.batch);
        if len > inner.high_water {
            self.note_high_water(inner);
        }
        !inner.awaiting && !std::mem::replace(&mut inner.scheduled, true)
    }

    /// Notes how many wait, if never before so many did. Under the lock.
    #[cold]
    fn note_high_water(&self, inner: &mut Inner<K>) {
        let left = self.batch_left.load(Ordering::Acquire);
        // The batch as it was taken said more than there is. From now on this is the upper bound, so that the
        // next look here is as many messages away as are missing to the mark.
        inner.batch = inner.batch.min(counted(left));
        let waiting = (inner.inbox.len() as usize).saturating_add(all(left));
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        inner.high_water = inner.high_water.max(waiting);
    }

    /// Opens the mailbox for one record, if there certainly is room for it. So that a record is made only
    /// where it is going to lie.
    #[inline]
    pub(crate) fn open(&self) -> Option<Open<'_, K>> {
        let inner = self.inner.lock();
        if inner.free == 0 {
            return None;
        }
        Some(Open {
            mailbox: self,
            inner,
        })
    }

    /// Counts anew how many records can be put in without further thought.
    fn recount(&self, inner: &mut Inner<K>) {
        let shut = self.is_shut() || inner.anybody_waits();
        inner.free = if shut { 0 } else { self.room(inner) };
    }

    /// Puts a record in, or says why not. Never waits.
    pub(crate) fn push<R: Record<K>>(&self, record: R) -> Result<Pushed<K, R>, Rejected<R>> {
        let mut inner = self.inner.lock();
        if self.is_shut() {
            return Err(Rejected::Closed(record));
        }
        let mut dropped = Dropped::None;
        // Nobody overtakes those who wait for room.
        if self.room(&inner) == 0 || inner.anybody_waits() {
            match inner.overflow {
                Overflow::Wait => return Err(Rejected::MustWait(record)),
                Overflow::Fail => return Err(Rejected::Full(record)),
                Overflow::DropNewest => {
                    let dropped = Dropped::Newest(record);
                    return Ok(Pushed {
                        schedule: false,
                        dropped,
                    });
                }
                Overflow::DropOldest => {
                    dropped = Dropped::Oldest(inner.inbox.evict());
                }
            }
        }
        let schedule = self.put(&mut inner, record, true);
        self.recount(&mut inner);
        Ok(Pushed { schedule, dropped })
    }

    /// Puts a record into room that was reserved for it earlier. Fails only when closed. Answers whether
    /// the actor must be scheduled.
    pub(crate) fn push_reserved<R: Record<K>>(&self, record: R) -> Result<bool, R> {
        let mut inner = self.inner.lock();
        if self.signals.load(Ordering::Relaxed) & CLOSED != 0 {
            return Err(record);
        }
        Ok(self.put(&mut inner, record, false))
    }

    /// Waits for room, behind those who wait already, and puts the record in.
    ///
    /// Dropping the future gives the place in the line, or the room it was handed, to the next.
    pub(crate) fn push_waiting<R: Record<K>>(&self, record: R) -> PushWaiting<'_, K, R> {
        PushWaiting::new(self, record)
    }

    /// Puts a signal into the control lane. Answers whether the actor must be scheduled.
    pub(crate) fn control(&self, control: Control) -> bool {
        let bit = match control {
            Control::Stop => STOP,
            Control::Kill => KILL,
            Control::Fail => FAIL,
            Control::Unstash => UNSTASH,
        };
        let mut inner = self.inner.lock();
        if self.signals.load(Ordering::Relaxed) & CLOSED != 0 {
            return false;
        }
        self.mark(bit, 0);
        !std::mem::replace(&mut inner.scheduled, true)
    }

    /// Refuses new messages from now on; what is queued stays. Answers whether the actor must be
    /// scheduled.
    pub(crate) fn drain(&self) -> bool {
        let mut inner = self.inner.lock();
        self.mark(DRAIN, 0);
        inner.free = 0;
        let line = self.take_line(&mut inner);
        let schedule = !inner.awaiting && !std::mem::replace(&mut inner.scheduled, true);
        drop(inner);
        refuse(line);
        schedule
    }

    /// The handler's waker fired, or an incarnation begins. Answers whether the actor must be scheduled.
    pub(crate) fn wake(&self) -> bool {
        let mut inner = self.inner.lock();
        if self.signals.load(Ordering::Relaxed) & CLOSED != 0 {
            return false;
        }
        inner.awaiting = false;
        !std::mem::replace(&mut inner.scheduled, true)
    }

    /// The signal to act on now: a kill before all, a stop after all that ends it.
    #[inline]
    pub(crate) fn signal(&self) -> Option<Control> {
        let signals = self.signals.load(Ordering::Acquire);
        if signals & ACT == 0 {
            None
        } else if signals & KILL != 0 {
            Some(Control::Kill)
        } else if signals & FAIL != 0 {
            Some(Control::Fail)
        } else if signals & STOP != 0 {
            Some(Control::Stop)
        } else {
            Some(Control::Unstash)
        }
    }

    /// What was stashed is the loop's again.
    pub(crate) fn clear_unstash(&self) {
        let _inner = self.inner.lock();
        self.mark(0, UNSTASH);
    }

    /// What failed is being seen to.
    pub(crate) fn clear_fail(&self) {
        let _inner = self.inner.lock();
        self.mark(0, FAIL);
    }

    /// Takes back the signals that were meant for the incarnation before. An order to drain stays, until one has
    /// [carried it out](Mailbox::drained).
    pub(crate) fn clear_signals(&self) {
        let _inner = self.inner.lock();
        self.mark(0, ACT);
    }

    /// An incarnation has ended in order, and another may follow: if nothing is left, an order to drain has been carried
    /// out.
    pub(crate) fn drained(&self) {
        let mut inner = self.inner.lock();
        let signals = self.signals.load(Ordering::Relaxed);
        if signals & DRAIN != 0 && signals & CLOSED == 0 && inner.inbox.is_empty() {
            self.mark(0, DRAIN);
            self.recount(&mut inner);
        }
    }

    /// Whether nothing waits and nothing is signalled: the actor, if it is idle, could handle a message of
    /// this thread at once without overtaking any.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.signals.load(Ordering::Acquire) == 0
    }

    /// Swaps the inbox against the loop's batch, which must be empty; or, if nothing has come, lets the
    /// loop come to rest.
    #[inline]
    pub(crate) fn take_or_rest(&self, batch: &mut Records<K>) -> Took {
        batch.shrink();
        let mut inner = self.inner.lock();
        let plain = !inner.inbox.is_empty()
            && !inner.anybody_waits()
            && inner.overflow != Overflow::DropOldest;
        if !plain {
            return self.take_with_care(inner, batch);
        }
        let local = !inner.fed_from_afar;
        if local {
            batch.give_block();
        }
        std::mem::swap(&mut inner.inbox, batch);
        inner.batch = batch.counted();
        self.batch_left.store(left(batch), Ordering::Release);
        self.mark(0, QUEUED);
        if self.is_shut() {
            inner.free = 0;
            return Took::Batch;
        }
        let taken = inner.batch.saturating_add(inner.granted);
        inner.free = inner.capacity.saturating_sub(taken);
        if local && batch.len() <= LAST && inner.capacity > 2 * LAST {
            // The loop needn't look again: what comes from now on schedules the actor anew. Nor will a sender
            // be left waiting: before one has to, there is something in the inbox.
            inner.scheduled = false;
            return Took::LastBatch;
        }
        Took::Batch
    }

    #[cold]
    fn take_with_care(&self, mut inner: SpinGuard<'_, Inner<K>>, batch: &mut Records<K>) -> Took {
        let took = if inner.inbox.is_empty() {
            let signals = self.signals.load(Ordering::Relaxed);
            if signals & ACT != 0 {
                return Took::Signal;
            }
            if signals & DRAIN != 0 {
                return Took::Drained;
            }
            inner.scheduled = false;
            inner.awaiting = false;
            if !inner.fed_from_afar {
                batch.give_block();
            }
            Took::Nothing
        } else if inner.overflow == Overflow::DropOldest {
            // One at a time: what is in the batch can't be evicted any more.
            inner.inbox.move_first_to(batch);
            Took::Batch
        } else {
            std::mem::swap(&mut inner.inbox, batch);
            Took::Batch
        };
        inner.batch = batch.counted();
        self.batch_left.store(left(batch), Ordering::Release);
        if inner.inbox.is_empty() {
            self.mark(0, QUEUED);
        }
        let wake = self.grant(&mut inner, took == Took::Batch);
        drop(inner);
        wake.wake();
        took
    }

    /// Notes what is left of the batch, and lets senders in when half of the room is free.
    #[inline]
    pub(crate) fn handled(&self, batch: &Records<K>) {
        self.batch_left.store(left(batch), Ordering::Release);
        let waiting = self.waiting.load(Ordering::Relaxed);
        if waiting != 0 && batch.counted() < waiting {
            self.let_in(true);
        }
    }

    /// Lets waiting senders in: all that fit, or only when half of the room is free.
    #[cold]
    fn let_in(&self, half: bool) {
        let mut inner = self.inner.lock();
        let wake = self.grant(&mut inner, half);
        drop(inner);
        wake.wake();
    }

    /// A handler waits: the loop comes to rest until its waker fires, unless it has fired meanwhile, or
    /// there is a kill. A message alone is no reason to run until then.
    pub(crate) fn rest(&self, woken: impl FnOnce() -> bool) -> bool {
        let mut inner = self.inner.lock();
        let wake = self.grant(&mut inner, false);
        let busy = self.signals.load(Ordering::Relaxed) & KILL != 0 || woken();
        inner.scheduled = busy;
        if !busy {
            inner.awaiting = true;
        }
        drop(inner);
        wake.wake();
        !busy
    }

    /// A handler that ran on its asker's stack has to wait: a message alone is no reason to run until it
    /// has ended. Answers whether the actor must be scheduled, because its waker has fired already.
    pub(crate) fn await_handler(&self, woken: impl FnOnce() -> bool) -> bool {
        let mut inner = self.inner.lock();
        if inner.scheduled {
            return false;
        }
        let signals = self.signals.load(Ordering::Relaxed);
        inner.scheduled = signals & KILL != 0 || woken();
        inner.awaiting = !inner.scheduled;
        inner.scheduled
    }

    /// Puts what is left of a batch in front of the inbox. If the mailbox is closed, it stays in the batch.
    pub(crate) fn put_back(&self, batch: &mut Records<K>) {
        let mut inner = self.inner.lock();
        if self.signals.load(Ordering::Relaxed) & CLOSED != 0 {
            return;
        }
        while inner.inbox.move_first_to(batch) {}
        std::mem::swap(&mut inner.inbox, batch);
        inner.batch = 0;
        self.batch_left.store(0, Ordering::Release);
        if !inner.inbox.is_empty() {
            self.mark(QUEUED, 0);
        }
        self.recount(&mut inner);
    }

    /// There is no incarnation now: messages queue up until one begins.
    pub(crate) fn vacate(&self) {
        let mut inner = self.inner.lock();
        inner.scheduled = false;
        inner.awaiting = true;
    }

    /// Takes nothing any more, and hands over what was waiting.
    pub(crate) fn close(&self) -> Records<K> {
        let mut inner = self.inner.lock();
        self.signals.store(CLOSED, Ordering::Release);
        inner.free = 0;
        let rest = std::mem::take(&mut inner.inbox);
        let line = self.take_line(&mut inner);
        drop(inner);
        refuse(line);
        rest
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_shut()
    }

    /// How many wait, and whether none of them can begin now, because a handler waits for something or there
    /// is no incarnation. For those who compare mailboxes: nothing but the lock and what lies under it.
    pub(crate) fn load(&self) -> (usize, bool) {
        let inner = self.inner.lock();
        let left = all(self.batch_left.load(Ordering::Acquire));
        (inner.inbox.len() as usize + left, inner.awaiting)
    }

    pub(crate) fn state(&self) -> MailboxState {
        let inner = self.inner.lock();
        MailboxState {
            len: (inner.inbox.len() as usize) + all(self.batch_left.load(Ordering::Acquire)),
            capacity: match inner.capacity {
                u32::MAX => usize::MAX,
                capacity => capacity as usize,
            },
            high_water: inner.high_water as usize,
            waiting_senders: inner.line.as_ref().map_or(0, |line| line.len())
                + inner.granted as usize,
            blocked: Duration::from_nanos(self.blocked.load(Ordering::Relaxed)),
        }
    }

    /// Adds to the time that senders spent waiting for room.
    pub(crate) fn count_blocked(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.blocked.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Hands free room to the senders that waited longest. Under the lock; wake them outside it.
    fn grant(&self, inner: &mut Inner<K>, half: bool) -> Wakes {
        let mut wake = Wakes::default();
        if inner.anybody_waits() {
            let mut room = self.room(inner);
            if half && room < inner.capacity.div_ceil(2) {
                room = 0;
            }
            while room > 0 {
                let Some(waiter) = inner.line.as_mut().and_then(|line| line.pop_front()) else {
                    break;
                };
                inner.granted += 1;
                room -= 1;
                wake.add(waiter.settle(GRANTED));
            }
        }
        self.note_line(inner);
        self.recount(inner);
        wake
    }

    /// Tells the loop from when on senders can be let in.
    fn note_line(&self, inner: &Inner<K>) {
        if inner.anybody_waits() {
            let taken = inner.inbox.counted() + inner.granted;
            let at = 1 + (inner.capacity / 2).saturating_sub(taken);
            self.waiting.store(at, Ordering::Release);
            self.mark(LINED_UP, 0);
        } else {
            self.waiting.store(0, Ordering::Release);
            self.mark(0, LINED_UP);
        }
    }

    fn take_line(&self, inner: &mut Inner<K>) -> VecDeque<Arc<Waiter>> {
        let line = inner.line.take();
        self.note_line(inner);
        line.map(|line| *line).unwrap_or_default()
    }
}

/// A mailbox with room for one record, under its lock.
pub(crate) struct Open<'a, K: Kind> {
    mailbox: &'a Mailbox<K>,
    inner: SpinGuard<'a, Inner<K>>,
}

impl<K: Kind> Open<'_, K> {
    /// Puts the record in. Answers whether the actor must be scheduled.
    #[inline]
    pub(crate) fn put<R: Record<K>>(mut self, record: R) -> bool {
        self.mailbox.put(&mut self.inner, record, true)
    }
}

impl<K: Kind> fmt::Debug for Mailbox<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// What is left of a batch, as one number.
#[inline]
fn left<K: Kind>(batch: &Records<K>) -> u64 {
    u64::from(batch.len()) << 32 | u64::from(batch.counted())
}

#[inline]
fn counted(left: u64) -> u32 {
    u32::try_from(left & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[inline]
fn all(left: u64) -> usize {
    usize::try_from(left >> 32).unwrap_or(usize::MAX)
}
