//! An arbiter that is there for those who stay on it: it is over when the last of them has left.
//!
//! Actors stay from when they are made until they have ended; tasks and starts in preparation hold a
//! [`Stay`]. Arbiters that all share have nothing of this, and live as long as their system.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Arbiter;
use crate::clock::Clock;

/// Called once, when the arbiter is over; must not block.
pub(crate) type OnOver = Box<dyn FnOnce() + Send>;

/// Who stays on an arbiter of its own, and whether it has a thread yet.
#[derive(Default)]
pub(super) struct Own {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stays: usize,
    /// Nobody comes any more.
    over: bool,
    has_thread: bool,
    on_over: Option<OnOver>,
}

impl Own {
    /// One more stays. `false` if it is over already.
    pub(super) fn come(&self) -> bool {
        let mut state = self.state.lock();
        state.stays += 1;
        !state.over
    }

    /// One less. The last one ends it.
    pub(super) fn leave(&self) {
        let mut state = self.state.lock();
        state.stays = state.stays.saturating_sub(1);
        if state.stays > 0 {
            return;
        }
        state.over = true;
        let on_over = state.on_over.take();
        drop(state);
        on_over.into_iter().for_each(|on_over| on_over());
    }
}

impl Arbiter {
    /// An arbiter that is over when nobody stays any more, and the first stay on it.
    pub(crate) fn own(index: usize, clock: Clock) -> Stay {
        let arbiter = Arbiter::make(index, clock, Some(Own::default()));
        if let Some(own) = &arbiter.own {
            own.come();
        }
        Stay { arbiter }
    }

    /// Whether it is there for those who stay on it, and not for all.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Keeps it from being over. `None` if it is.
    pub(crate) fn stay(self: &Arc<Self>) -> Option<Stay> {
        let comes = self.own.as_ref().is_none_or(Own::come);
        let stay = Stay {
            arbiter: Arc::clone(self),
        };
        comes.then_some(stay)
    }

    /// Says what to do when it is over, in place of what was said before; at once, if it is.
    pub(crate) fn on_over(&self, on_over: OnOver) {
        let Some(own) = &self.own else { return };
        let mut state = own.state.lock();
        if state.over {
            drop(state);
            return on_over();
        }
        let before = state.on_over.replace(on_over);
        drop(state);
        drop(before);
    }

    /// Whether the caller is the one who must give it a thread: it needs one, and has none.
    pub(crate) fn take_thread(&self) -> bool {
        let Some(own) = &self.own else { return false };
        let mut state = own.state.lock();
        !state.over && !std::mem::replace(&mut state.has_thread, true)
    }

    /// There was no thread to be had; the next one may try again.
    pub(crate) fn give_thread_back(&self) {
        if let Some(own) = &self.own {
            own.state.lock().has_thread = false;
        }
    }

    /// It is over, whoever stays.
    pub(crate) fn finish(&self) {
        let Some(own) = &self.own else { return };
        let mut state = own.state.lock();
        state.over = true;
        let on_over = state.on_over.take();
        drop(state);
        on_over.into_iter().for_each(|on_over| on_over());
    }

    /// Takes no parcels from now on, and drops those that are here: who waits for one is told.
    pub(crate) fn refuse_parcels(&self) {
        drop(self.injector.end());
    }
}

/// Keeps an arbiter of its own from being over. Says nothing to one that all share.
pub(crate) struct Stay {
    arbiter: Arc<Arbiter>,
}

impl Deref for Stay {
    type Target = Arc<Arbiter>;

    fn deref(&self) -> &Arc<Arbiter> {
        &self.arbiter
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Some(own) = &self.arbiter.own {
            own.leave();
        }
    }
}

impl fmt::Debug for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stay").field(&self.arbiter).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn an_arbiter_of_its_own_is_over_once_when_the_last_has_left() {
        let stay = Arbiter::own(7, Clock::manual());
        let arbiter = Arc::clone(&stay);
        let overs = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&overs);
        arbiter.on_over(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        let second = arbiter.stay().unwrap();
        drop(stay);
        assert_eq!(overs.load(Ordering::SeqCst), 0);
        drop(second);
        assert_eq!(overs.load(Ordering::SeqCst), 1);
        assert!(arbiter.stay().is_none(), "nobody comes any more");
        assert!(!arbiter.take_thread());
        arbiter.finish();
        assert_eq!(overs.load(Ordering::SeqCst), 1);
        let count = Arc::clone(&overs);
        arbiter.on_over(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        assert_eq!(overs.load(Ordering::SeqCst), 2, "said too late, so at once");
    }

    #[test]
    fn one_that_all_share_is_never_over() {
        let arbiter = Arbiter::new(0, Clock::manual());
        drop(arbiter.stay());
        assert!(!arbiter.take_thread());
        assert!(arbiter.stay().is_some());
    }
}
