//! What a holder knows of its lease: until when, or why no longer.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::Token;
use crate::clock::{Instant, Sleep};
use crate::lease::{Grant, Leases, Lost, OnLost};
use crate::responder::Responder;
use crate::watch::WatchHandle;

/// The holder's side of a wish and of the lease that it becomes.
pub(super) struct Hold {
    pub(super) leases: Arc<dyn Leases>,
    state: Mutex<HoldState>,
}

struct HoldState {
    /// Until it is granted.
    token: Option<Token>,
    ends: Instant,
    /// Why it is over, if somebody said so: the clock may know before.
    lost: Option<Lost>,
    /// The watches of the actors that hold it.
    watches: Vec<WatchHandle>,
    wakers: BTreeMap<u64, Waker>,
    next_waker: u64,
}

impl Hold {
    pub(super) fn new(leases: &Arc<dyn Leases>) -> Arc<Self> {
        Arc::new(Hold {
            leases: Arc::clone(leases),
            state: Mutex::new(HoldState {
                token: None,
                ends: Instant::FAR,
                lost: None,
                watches: Vec::new(),
                wakers: BTreeMap::new(),
                next_waker: 0,
            }),
        })
    }

    pub(super) fn now(&self) -> Instant {
        self.leases.system().clock().now()
    }

    /// Notes the watch of an actor that is to hold it.
    pub(super) fn add_watch(&self, watch: WatchHandle) {
        self.state.lock().watches.push(watch);
    }

    /// The wish was granted. An error if there is nobody to hold it, or no lock, by now. If its time is over the
    /// holder will see: a stall just before this is no other than one just after.
    pub(super) fn granted(&self, grant: Grant) -> Result<(), Lost> {
        let mut state = self.state.lock();
        state.token = Some(grant.token);
        state.ends = grant.ends;
        let lost = state.lost;
        drop(state);
        match lost {
            None | Some(Lost::Expired) => Ok(()),
            Some(why) => {
                // Who said so knows, unless it was the actor that ended.
                if why == Lost::HolderEnded {
                    self.leases.release(grant.token, Responder::nowhere());
                }
                Err(why)
            }
        }
    }

    /// It lasts longer.
    pub(super) fn renewed(&self, ends: Instant) {
        let mut state = self.state.lock();
        state.ends = state.ends.max(ends);
    }

    pub(super) fn ends(&self) -> Instant {
        self.state.lock().ends
    }

    /// Why it is held no more.
    pub(super) fn why_lost(&self) -> Option<Lost> {
        let now = self.now();
        let state = self.state.lock();
        state.lost.or((now >= state.ends).then_some(Lost::Expired))
    }

    /// It is over from now on. Answers the token if nobody had said so before and it was granted.
    pub(super) fn lose(&self, why: Lost) -> Option<Token> {
        let mut state = self.state.lock();
        if state.lost.is_some() {
            return None;
        }
        state.lost = Some(why);
        let token = state.token;
        let wakers = std::mem::take(&mut state.wakers);
        let watches = std::mem::take(&mut state.watches);
        drop(state);
        watches.iter().for_each(WatchHandle::cancel);
        wakers.into_values().for_each(Waker::wake);
        token
    }

    /// The same, and tells the lock.
    pub(super) fn give_up(&self, why: Lost) {
        if let Some(token) = self.lose(why) {
            self.leases.release(token, Responder::nowhere());
        }
    }

    /// Completes when the lease is lost.
    pub(super) fn loss(self: &Arc<Self>) -> Loss {
        Loss {
            hold: Arc::clone(self),
            number: None,
            sleep: None,
        }
    }

    /// Keeps the waker, under a number of its own, until the lease is lost. Answers until when it is held.
    fn listen(&self, number: &mut Option<u64>, cx: &Context<'_>) -> Result<Instant, Lost> {
        let mut state = self.state.lock();
        if let Some(why) = state.lost {
            return Err(why);
        }
        let number = *number.get_or_insert_with(|| {
            state.next_waker += 1;
            state.next_waker
        });
        let before = state.wakers.insert(number, cx.waker().clone());
        let ends = state.ends;
        drop(state);
        // Its task may go with it.
        drop(before);
        Ok(ends)
    }

    /// By the clock of the lease.
    pub(super) fn sleep_until(&self, due: Instant) -> Sleep {
        self.leases.system().clock().sleep_until(due)
    }

    /// When to renew: when a third of `lease` is over, so that two renewals may fail.
    pub(super) fn renew_at(&self, lease: Duration) -> Instant {
        let ends = self.ends().as_nanos();
        let left = u64::try_from(lease.as_nanos() * 2 / 3).unwrap_or(u64::MAX);
        Instant::from_nanos(ends.saturating_sub(left))
    }
}

impl OnLost for Hold {
    fn lost(&self, why: Lost) {
        self.lose(why);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A wish that was dropped leaves no watch behind.
        let watches = &self.state.get_mut().watches;
        watches.iter().for_each(WatchHandle::cancel);
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Hold")
            .field("of", self.leases.name())
            .field("token", &state.token)
            .field("ends", &state.ends)
            .field("lost", &state.lost)
            .finish_non_exhaustive()
    }
}

/// Completes when a lease is lost, with the reason. Made by [`Guard::lost`](super::Guard::lost). It keeps
/// nothing: the guard does.
///
/// # Cancel safety
/// Dropping it changes nothing.
#[must_use = "futures do nothing unless polled"]
pub struct Loss {
    hold: Arc<Hold>,
    /// Under which its waker is kept.
    number: Option<u64>,
    /// Until the end of the lease as it was known when this was set.
    sleep: Option<Sleep>,
}

impl Future for Loss {
    type Output = Lost;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Lost> {
        let Loss {
            hold,
            number,
            sleep,
        } = &mut *self;
        loop {
            let ends = match hold.listen(number, cx) {
                Ok(ends) => ends,
                Err(why) => return Poll::Ready(why),
            };
            if sleep.as_ref().is_none_or(|sleep| sleep.due() != ends) {
                *sleep = Some(hold.sleep_until(ends));
            }
            let over = sleep
                .as_mut()
                .is_some_and(|sleep| Pin::new(sleep).poll(cx).is_ready());
            if !over {
                return Poll::Pending;
            }
            // Else it was renewed meanwhile.
            if hold.ends() == ends {
                return Poll::Ready(Lost::Expired);
            }
        }
    }
}

impl Drop for Loss {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.hold.state.lock().wakers.remove(&number);
            drop(waker);
        }
    }
}

impl fmt::Debug for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Loss").field(&self.hold).finish()
    }
}
