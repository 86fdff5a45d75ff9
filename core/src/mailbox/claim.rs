//! Room that is claimed before anything is put there: for a sender that waits at several mailboxes at once
//! and puts its message where room comes first.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::Mailbox;
use super::line::{GRANTED, REFUSED, Waiter, Wakes};
use super::records::{Kind, Record};

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
        let mut inner = mailbox.inner.lock();
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::task::Waker;

    use super::super::records::Records;
    use super::super::{Overflow, Took};
    use super::*;

    /// Records that are plain numbers.
    struct Numbers;

    impl Kind for Numbers {
        type Use<'a> = &'a RefCell<Vec<u32>>;
        type Done = ();
    }

    impl Record<Numbers> for u32 {
        fn consume(self, seen: &RefCell<Vec<u32>>) {
            seen.borrow_mut().push(self);
        }
    }

    fn full(capacity: u32) -> Mailbox<Numbers> {
        let mailbox = Mailbox::new(0, capacity as usize, Overflow::Wait);
        for number in 0..capacity {
            assert!(mailbox.push(number).is_ok());
        }
        mailbox
    }

    fn poll(claim: &mut Claim<'_, Numbers>) -> Poll<Claimed> {
        claim.poll_room(&Context::from_waker(Waker::noop()))
    }

    /// Handles all there is, and comes to rest.
    fn handle_all(mailbox: &Mailbox<Numbers>) -> Vec<u32> {
        let seen = RefCell::default();
        let mut batch = Records::new();
        while matches!(
            mailbox.take_or_rest(&mut batch),
            Took::Batch | Took::LastBatch
        ) {
            while batch.consume_first(&seen).is_some() {
                mailbox.handled(&batch);
            }
        }
        seen.into_inner()
    }

    #[test]
    fn claims_are_granted_in_the_order_in_which_they_were_made() {
        let mailbox = full(2);
        let mut claims: Vec<_> = (0..4).map(|_| mailbox.claim()).collect();
        assert!(claims.iter_mut().all(|claim| poll(claim).is_pending()));
        assert_eq!(mailbox.state().waiting_senders, 4);
        assert_eq!(handle_all(&mailbox), [0, 1]);
        let granted: Vec<_> = claims
            .iter_mut()
            .map(|claim| poll(claim).is_ready())
            .collect();
        assert_eq!(granted, [true, true, false, false]);
        // The room is kept: nobody overtakes.
        assert!(mailbox.push(99).is_err());
        let mut claims = claims.into_iter();
        assert!(claims.next().unwrap().put(10).is_ok());
        // Who gives it up lets the next one in.
        drop(claims.next());
        let mut third = claims.next().unwrap();
        assert_eq!(poll(&mut third), Poll::Ready(Claimed::Room));
        assert!(third.put(12).is_ok());
        assert_eq!(handle_all(&mailbox), [10, 12]);
        drop(claims);
        assert_eq!(mailbox.state().waiting_senders, 0);
        assert!(mailbox.push(13).is_ok() && mailbox.push(14).is_ok());
        assert!(mailbox.push(15).is_err());
    }

    #[test]
    fn claimed_room_counts_until_it_is_used_or_given_up() {
        let mailbox = Mailbox::<Numbers>::new(0, 1, Overflow::Wait);
        let mut first = mailbox.claim();
        assert_eq!(poll(&mut first), Poll::Ready(Claimed::Room));
        assert!(mailbox.push(1).is_err() && mailbox.open().is_none());
        let mut second = mailbox.claim();
        assert!(poll(&mut second).is_pending());
        drop(first);
        assert_eq!(poll(&mut second), Poll::Ready(Claimed::Room));
        assert!(second.put(2).is_ok());
        assert_eq!(mailbox.state().len, 1);
        // A claim that was never polled has no room to put anything in.
        assert_eq!(mailbox.claim().put(3), Err(3));
    }

    #[test]
    fn a_mailbox_that_takes_nothing_more_refuses_claims_and_gives_records_back() {
        for drains in [true, false] {
            let mailbox = full(1);
            let mut waits = mailbox.claim();
            assert!(poll(&mut waits).is_pending());
            let empty = Mailbox::<Numbers>::new(0, 1, Overflow::Wait);
            let mut granted = empty.claim();
            assert!(poll(&mut granted).is_ready());
            for mailbox in [&mailbox, &empty] {
                if drains {
                    mailbox.drain();
                } else {
                    drop(mailbox.close());
                }
            }
            assert_eq!(poll(&mut waits), Poll::Ready(Claimed::Closed));
            assert_eq!(granted.put(7), Err(7));
            assert_eq!(poll(&mut mailbox.claim()), Poll::Ready(Claimed::Closed));
            assert_eq!(mailbox.state().waiting_senders, 0);
        }
    }
}
