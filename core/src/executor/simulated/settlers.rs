//! Those who wait until nothing in a simulation can run before time passes.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Who waits, as the simulation knows them: not at all, once they wait no longer.
#[derive(Default)]
pub(crate) struct Settlers(Mutex<Vec<Weak<Settler>>>);

/// One who waits.
pub(crate) struct Settler {
    /// How much work may be done meanwhile; or between two moves of time, if it waits for time itself.
    limit: u64,
    waits_for_time: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The work that had been done when the simulation first came to it.
    since: Option<u64>,
    /// Whether nothing can run any more, or too much did.
    settled: Option<bool>,
    waker: Option<Waker>,
}

impl Settlers {
    /// One who waits until nothing can run, while no more than so much is done.
    pub(crate) fn add(&self, limit: u64) -> Arc<Settler> {
        self.enter(limit, false)
    }

    /// One who waits for time, and is told only if that doesn't move while so much is done.
    pub(crate) fn guard(&self, limit: u64) -> Arc<Settler> {
        self.enter(limit, true)
    }

    fn enter(&self, limit: u64, waits_for_time: bool) -> Arc<Settler> {
        let settler = Arc::new(Settler {
            limit,
            waits_for_time,
            state: Mutex::default(),
        });
        self.0.lock().push(Arc::downgrade(&settler));
        settler
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Nothing can run: wakes all who waited for that. Answers whether anybody did.
    pub(super) fn all_at_rest(&self) -> bool {
        let mut at_rest = Vec::new();
        self.0.lock().retain(|settler| match settler.upgrade() {
            Some(settler) if settler.waits_for_time => {
                settler.state.lock().since = None;
                true
            }
            Some(settler) => {
                at_rest.push(settler);
                false
            }
            None => false,
        });
        at_rest.iter().for_each(|settler| settler.end(true));
        !at_rest.is_empty()
    }

    /// So much work has been done since the simulation began: who wouldn't wait for so much is told.
    pub(super) fn note_work(&self, work: u64) {
        let mut over = Vec::new();
        self.0.lock().retain(|settler| {
            let Some(settler) = settler.upgrade() else {
                return false;
            };
            let mut state = settler.state.lock();
            let since = *state.since.get_or_insert(work);
            drop(state);
            let goes_on = work - since <= settler.limit;
            if !goes_on {
                over.push(settler);
            }
            goes_on
        });
        over.iter().for_each(|settler| settler.end(false));
    }
}

impl Settler {
    fn end(&self, settled: bool) {
        let mut state = self.state.lock();
        state.settled = Some(settled);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether it has settled, once that is known.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.state.lock();
        match state.settled {
            Some(settled) => Poll::Ready(settled),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
