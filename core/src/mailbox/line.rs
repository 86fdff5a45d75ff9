//! The line of senders that wait for room: served in the order in which they came, each woken alone.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, Ordering};
use parking_lot::Mutex;

use super::records::{Kind, Record};
use super::{Inner, Mailbox, Rejected};

/// Tells all in line that there will be no room.
pub(super) fn refuse(line: VecDeque<Arc<Waiter>>) {
    for waiter in line {
        if let Some(waker) = waiter.settle(REFUSED) {
            waker.wake();
        }
    }
}

/// Whom to wake once the lock is free: mostly one, who then costs no list.
#[derive(Default)]
pub(super) struct Wakes {
    first: Option<Waker>,
    others: Vec<Waker>,
}

impl Wakes {
    pub(super) fn add(&mut self, waker: Option<Waker>) {
        match waker {
            Some(waker) if self.first.is_none() => self.first = Some(waker),
            waker => self.others.extend(waker),
        }
    }

    #[inline]
    pub(super) fn wake(self) {
        if let Some(first) = self.first {
            first.wake();
            self.others.into_iter().for_each(Waker::wake);
        }
    }
}

const WAITING: u8 = 0;
pub(super) const GRANTED: u8 = 1;
pub(super) const REFUSED: u8 = 2;

/// A sender in line for room. Its state changes only under the mailbox's lock, or after it was taken out
/// of the line.
pub(super) struct Waiter {
    pub(super) state: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Waiter {
    pub(super) fn settle(&self, state: u8) -> Option<Waker> {
        self.state.store(state, Ordering::Release);
        self.waker.lock().take()
    }

    /// Whom to wake from now on. Under the mailbox's lock; the one before is dropped outside it.
    pub(super) fn replace_waker(&self, waker: &Waker) -> Option<Waker> {
        self.waker.lock().replace(waker.clone())
    }
}

impl<K: Kind> Mailbox<K> {
    /// Puts a sender at the end of the line. Under the lock.
    pub(super) fn line_up(&self, inner: &mut Inner<K>, waker: &Waker) -> Arc<Waiter> {
        let waiter = Arc::new(Waiter {
            state: AtomicU8::new(WAITING),
            waker: Mutex::new(Some(waker.clone())),
        });
        let line = inner.line.get_or_insert_default();
        line.push_back(Arc::clone(&waiter));
        self.note_line(inner);
        inner.free = 0;
        waiter
    }

    /// Takes a sender that waits still out of the line. Under the lock.
    pub(super) fn leave_line(&self, inner: &mut Inner<K>, waiter: &Arc<Waiter>) {
        if let Some(line) = &mut inner.line {
            line.retain(|other| !Arc::ptr_eq(other, waiter));
        }
        self.note_line(inner);
        self.recount(inner);
    }
}

/// The future of [`Mailbox::push_waiting`]. Answers whether the actor must be scheduled.
pub(crate) struct PushWaiting<'a, K: Kind, R: Record<K>> {
    mailbox: &'a Mailbox<K>,
    record: Option<R>,
    waiter: Option<Arc<Waiter>>,
}

impl<'a, K: Kind, R: Record<K>> PushWaiting<'a, K, R> {
    pub(super) fn new(mailbox: &'a Mailbox<K>, record: R) -> Self {
        PushWaiting {
            mailbox,
            record: Some(record),
            waiter: None,
        }
    }

    /// Takes the record back and gives up the place in the line. `None` once it is in the mailbox.
    pub(crate) fn take_record(&mut self) -> Option<R> {
        self.leave();
        self.record.take()
    }

    fn leave(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        let mut inner = self.mailbox.inner.lock();
        let mut wake = Wakes::default();
        match waiter.state.load(Ordering::Acquire) {
            GRANTED => {
                inner.granted -= 1;
                wake = self.mailbox.grant(&mut inner, false);
            }
            _ => self.mailbox.leave_line(&mut inner, &waiter),
        }
        drop(inner);
        wake.wake();
    }
}

// Nothing in it is pinned: the record is moved out whole.
impl<K: Kind, R: Record<K>> Unpin for PushWaiting<'_, K, R> {}

impl<K: Kind, R: Record<K>> Future for PushWaiting<'_, K, R> {
    type Output = Result<bool, Rejected<R>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mailbox = this.mailbox;
        let mut inner = mailbox.inner.lock();
        if let Some(waiter) = &this.waiter {
            match waiter.state.load(Ordering::Acquire) {
                GRANTED => {
                    inner.granted -= 1;
                    this.waiter = None;
                }
                REFUSED => this.waiter = None,
                _ => {
                    let before = waiter.replace_waker(cx.waker());
                    // Dropping a waker can drop the task behind it, and what that holds.
                    drop(inner);
                    drop(before);
                    return Poll::Pending;
                }
            }
        } else if !mailbox.is_shut() && (mailbox.room(&inner) == 0 || inner.anybody_waits()) {
            this.waiter = Some(mailbox.line_up(&mut inner, cx.waker()));
            return Poll::Pending;
        }
        let Some(record) = this.record.take() else {
            // Polled again after it ended; there is nothing left to say.
            return Poll::Pending;
        };
        if mailbox.is_shut() {
            return Poll::Ready(Err(Rejected::Closed(record)));
        }
        Poll::Ready(Ok(mailbox.put(&mut inner, record, true)))
    }
}

impl<K: Kind, R: Record<K>> Drop for PushWaiting<'_, K, R> {
    fn drop(&mut self) {
        self.leave();
    }
}
