//! The bounded mailbox of an actor: a control lane and a user lane under one lock (G3, G4).
//!
//! The inside is deliberately plain: deques and a mutex. What senders and the loop see of it stays when
//! the inside is replaced by a faster one.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

#[cfg(test)]
mod tests;

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
    /// End at the next `.await`.
    Kill,
}

/// What the loop does next.
pub(crate) enum Next<T> {
    Control(Control),
    Message(T),
    /// Draining, and nothing is left.
    Drained,
}

/// Why a push did not put the record in. The record comes back.
pub(crate) enum Rejected<T> {
    /// No room under [`Overflow::Wait`]: the sender may wait.
    MustWait(T),
    /// No room under [`Overflow::Fail`], or for a sender that doesn't wait.
    Full(T),
    /// The mailbox takes nothing any more.
    Closed(T),
}

/// A record that a drop policy put out.
pub(crate) enum Dropped<T> {
    None,
    Newest(T),
    Oldest(T),
}

/// How full a mailbox is and has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct MailboxState {
    /// Messages waiting now.
    pub len: usize,
    /// The bound.
    pub capacity: usize,
    /// The most that ever waited at once.
    pub high_water: usize,
    /// Senders waiting for room now.
    pub waiting_senders: usize,
}

pub(crate) struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    user: VecDeque<Entry<T>>,
    control: VecDeque<Control>,
    capacity: usize,
    overflow: Overflow,
    /// How many entries of `user` count against the bound.
    counted: usize,
    /// Room handed to waiters that have not used it yet.
    granted: usize,
    waiters: VecDeque<Arc<Waiter>>,
    receiver: Option<Waker>,
    draining: bool,
    closed: bool,
    high_water: usize,
}

struct Entry<T> {
    record: T,
    /// `false` for a record in room of its own (a watch notice): it doesn't count against the bound.
    counted: bool,
}

impl<T> Inner<T> {
    fn room(&self) -> bool {
        self.counted + self.granted < self.capacity
    }

    fn put(&mut self, record: T, counted: bool) -> Option<Waker> {
        self.counted += usize::from(counted);
        self.user.push_back(Entry { record, counted });
        self.high_water = self.high_water.max(self.user.len());
        self.receiver.take()
    }

    fn take_oldest_counted(&mut self) -> Option<T> {
        let oldest = self.user.iter().position(|entry| entry.counted)?;
        self.counted -= 1;
        self.user.remove(oldest).map(|entry| entry.record)
    }

    /// Hands free room to the senders that waited longest.
    fn grant(&mut self) -> Vec<Waker> {
        let mut wake = Vec::new();
        while self.room() {
            let Some(waiter) = self.waiters.pop_front() else {
                break;
            };
            self.granted += 1;
            wake.extend(waiter.settle(GRANTED));
        }
        wake
    }
}

impl<T> Mailbox<T> {
    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Self {
        Mailbox {
            inner: Mutex::new(Inner {
                user: VecDeque::new(),
                control: VecDeque::new(),
                capacity: capacity.max(1),
                overflow,
                counted: 0,
                granted: 0,
                waiters: VecDeque::new(),
                receiver: None,
                draining: false,
                closed: false,
                high_water: 0,
            }),
        }
    }

    /// Puts a record in, or says why not. Never waits.
    pub(crate) fn push(&self, record: T) -> Result<Dropped<T>, Rejected<T>> {
        let mut inner = self.inner.lock();
        if inner.closed || inner.draining {
            return Err(Rejected::Closed(record));
        }
        let mut dropped = Dropped::None;
        // Nobody overtakes those who wait for room.
        if !inner.room() || !inner.waiters.is_empty() {
            match inner.overflow {
                Overflow::Wait => return Err(Rejected::MustWait(record)),
                Overflow::Fail => return Err(Rejected::Full(record)),
                Overflow::DropNewest => return Ok(Dropped::Newest(record)),
                Overflow::DropOldest => {
                    if let Some(oldest) = inner.take_oldest_counted() {
                        dropped = Dropped::Oldest(oldest);
                    }
                }
            }
        }
        let wake = inner.put(record, true);
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        Ok(dropped)
    }

    /// Puts a record into room that was reserved for it earlier. Fails only when closed.
    pub(crate) fn push_reserved(&self, record: T) -> Result<(), T> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(record);
        }
        let wake = inner.put(record, false);
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Waits for room, behind those who wait already, and puts the record in.
    ///
    /// Dropping the future gives the place in the line, or the room it was handed, to the next.
    pub(crate) fn push_waiting(&self, record: T) -> PushWaiting<'_, T> {
        PushWaiting {
            mailbox: self,
            record: Some(record),
            waiter: None,
        }
    }

    pub(crate) fn control(&self, control: Control) {
        let mut inner = self.inner.lock();
        if inner.closed {
            return;
        }
        match control {
            Control::Kill => inner.control.push_front(control),
            Control::Stop => inner.control.push_back(control),
        }
        let wake = inner.receiver.take();
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Refuses new messages from now on; what is queued stays.
    pub(crate) fn drain(&self) {
        let mut inner = self.inner.lock();
        inner.draining = true;
        let waiters = std::mem::take(&mut inner.waiters);
        let wake = inner.receiver.take();
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        refuse(waiters);
    }

    /// What to do next: control before messages.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Next<T>> {
        let mut inner = self.inner.lock();
        if let Some(control) = inner.control.pop_front() {
            return Poll::Ready(Next::Control(control));
        }
        if let Some(entry) = inner.user.pop_front() {
            inner.counted -= usize::from(entry.counted);
            let wake = inner.grant();
            drop(inner);
            wake.into_iter().for_each(Waker::wake);
            return Poll::Ready(Next::Message(entry.record));
        }
        if inner.draining {
            return Poll::Ready(Next::Drained);
        }
        inner.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether a kill waits in the control lane. Leaves a waker to be told of one.
    pub(crate) fn poll_kill(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.inner.lock();
        if inner.control.front() == Some(&Control::Kill) {
            inner.control.pop_front();
            return Poll::Ready(());
        }
        inner.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes control signals that came while there was no incarnation.
    pub(crate) fn take_control(&self) -> Option<Control> {
        self.inner.lock().control.pop_front()
    }

    /// Takes nothing any more, and hands over what was waiting.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.control.clear();
        inner.receiver = None;
        let rest = std::mem::take(&mut inner.user);
        inner.counted = 0;
        let waiters = std::mem::take(&mut inner.waiters);
        drop(inner);
        refuse(waiters);
        rest.into_iter().map(|entry| entry.record).collect()
    }

    pub(crate) fn is_closed(&self) -> bool {
        let inner = self.inner.lock();
        inner.closed || inner.draining
    }

    pub(crate) fn state(&self) -> MailboxState {
        let inner = self.inner.lock();
        MailboxState {
            len: inner.user.len(),
            capacity: inner.capacity,
            high_water: inner.high_water,
            waiting_senders: inner.waiters.len() + inner.granted,
        }
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

fn refuse(waiters: VecDeque<Arc<Waiter>>) {
    for waiter in waiters {
        waiter.settle(REFUSED).into_iter().for_each(Waker::wake);
    }
}

const WAITING: u8 = 0;
const GRANTED: u8 = 1;
const REFUSED: u8 = 2;

/// A sender in line for room. Its state changes only under the mailbox's lock, or after it was taken out
/// of the line.
struct Waiter {
    state: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Waiter {
    fn settle(&self, state: u8) -> Option<Waker> {
        self.state.store(state, Ordering::Release);
        self.waker.lock().take()
    }
}

/// The future of [`Mailbox::push_waiting`].
pub(crate) struct PushWaiting<'a, T> {
    mailbox: &'a Mailbox<T>,
    record: Option<T>,
    waiter: Option<Arc<Waiter>>,
}

impl<T> PushWaiting<'_, T> {
    /// Takes the record back and gives up the place in the line. `None` once it is in the mailbox.
    pub(crate) fn take_record(&mut self) -> Option<T> {
        self.leave();
        self.record.take()
    }

    fn leave(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        let mut inner = self.mailbox.inner.lock();
        let mut wake = Vec::new();
        match waiter.state.load(Ordering::Acquire) {
            GRANTED => {
                inner.granted -= 1;
                wake = inner.grant();
            }
            _ => inner.waiters.retain(|other| !Arc::ptr_eq(other, &waiter)),
        }
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
    }
}

impl<T: Unpin> Future for PushWaiting<'_, T> {
    type Output = Result<(), Rejected<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut inner = this.mailbox.inner.lock();
        if let Some(waiter) = &this.waiter {
            match waiter.state.load(Ordering::Acquire) {
                GRANTED => {
                    inner.granted -= 1;
                    this.waiter = None;
                }
                REFUSED => this.waiter = None,
                _ => {
                    *waiter.waker.lock() = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        } else if !inner.closed && !inner.draining && (!inner.room() || !inner.waiters.is_empty()) {
            let waiter = Arc::new(Waiter {
                state: AtomicU8::new(WAITING),
                waker: Mutex::new(Some(cx.waker().clone())),
            });
            inner.waiters.push_back(Arc::clone(&waiter));
            this.waiter = Some(waiter);
            return Poll::Pending;
        }
        let Some(record) = this.record.take() else {
            // Polled again after it ended; there is nothing left to say.
            return Poll::Pending;
        };
        if inner.closed || inner.draining {
            return Poll::Ready(Err(Rejected::Closed(record)));
        }
        let wake = inner.put(record, true);
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl<T> Drop for PushWaiting<'_, T> {
    fn drop(&mut self) {
        self.leave();
    }
}
