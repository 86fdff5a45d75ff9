//! Room that is claimed before anything is put there: for a sender that waits at several mailboxes at once
//! and puts its message where room comes first.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::line::{GRANTED, REFUSED, Waiter, Wakes};
use super::records::{Kind, Record};
use super::{Inner, Mailbox};

/// A place in the line of one mailbox, then room in it. Made by [`Mailbox::claim`].
///
/// Dropping it gives the place, or the room, to the next.
pub(crate) struct Claim<'a, K: Kind> {
    mailbox: &'a Mailbox<K>,
    waiter: Option<Arc<Waiter>>,
    /// There is room kept for it.
    granted: bool,
}

/// What came of waiting for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    Room,
    /// There won't be any.
    Closed,
}

impl<K: Kind> Mailbox<K> {
    /// Claims room for a record that is put in later.
    pub(crate) fn claim(&self) -> Claim<'_, K> {
        Claim {
            mailbox: self,
            waiter: None,
            granted: false,
        }
    }
}

impl<K: Kind> Claim<'_, K> {
    /// Waits in line, behind those who wait already.
    pub(crate) fn poll_room(&mut self, cx: &Context<'_>) -> Poll<Claimed> {
        if self.granted {
            return Poll::Ready(Claimed::Room);
        }
        let mailbox = self.mailbox;
        let mut inner = mailbox.inner.lock();
        if let Some(waiter) = &self.waiter {
            let state = waiter.state();
            if state != GRANTED && state != REFUSED {
                let before = waiter.replace_waker(cx.waker());
                // Dropping a waker can drop the task behind it, and what that holds.
                drop(inner);
                drop(before);
                return Poll::Pending;
            }
            self.waiter = None;
            self.granted = state == GRANTED;
        } else if mailbox.is_shut() {
            return Poll::Ready(Claimed::Closed);
        } else if mailbox.room(&inner) == 0 || inner.anybody_waits() {
            self.waiter = Some(mailbox.line_up(&mut inner, cx.waker()));
            return Poll::Pending;
        } else {
            inner.granted += 1;
            mailbox.recount(&mut inner);
            self.granted = true;
        }
        Poll::Ready(if self.granted {
            Claimed::Room
        } else {
            Claimed::Closed
        })
    }

    /// Puts the record into the room. Answers whether the actor must be scheduled.
    ///
    /// # Errors
    /// Gives the record back if the mailbox takes nothing any more, or there was no room claimed.
    pub(crate) fn put<R: Record<K>>(mut self, record: R) -> Result<bool, R> {
        if !std::mem::take(&mut self.granted) {
            return Err(record);
        }
        let mailbox = self.mailbox;
        let mut inner = mailbox.inner.lock();
        inner.granted -= 1;
        if mailbox.is_shut() {
            return Err(record);
        }
        Ok(mailbox.put(&mut inner, record, true))
    }
}

impl<K: Kind> Drop for Claim<'_, K> {
    fn drop(&mut self) {
        let waiter = self.waiter.take();
        if waiter.is_none() && !self.granted {
            return;
        }
        let mailbox = self.mailbox;
        let mut inner: crate::sync::SpinGuard<'_, Inner<K>> = mailbox.inner.lock();
        let mut wake = Wakes::default();
        match waiter {
            Some(waiter) if waiter.state() != GRANTED => mailbox.leave_line(&mut inner, &waiter),
            _ => {
                inner.granted -= 1;
                wake = mailbox.grant(&mut inner, false);
            }
        }
        drop(inner);
        wake.wake();
    }
}

impl<K: Kind> fmt::Debug for Claim<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("granted", &self.granted)
            .finish_non_exhaustive()
    }
}

impl Waiter {
    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }
}
