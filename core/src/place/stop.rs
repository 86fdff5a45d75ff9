//! How a task or a thread is asked to end.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::blocking::{self, BlockingError};
use crate::clock::Clock;

/// Says to a [task](super::TaskPlace) or a [thread](super::ThreadPlace) that it is to end. Raised once, by
/// [`Place::stop`](super::Place::stop), by [`kill`](super::Place::kill), or when the place is dropped; each incarnation has its own.
///
/// It is a future that completes when it is raised, for a task to wait for beside its work; a thread looks at it
/// ([`is_raised`](StopSignal::is_raised)) or rests on it ([`wait_timeout`](StopSignal::wait_timeout)). Clones are of the
/// same signal.
///
/// # Cancel safety
/// Dropping the future loses nothing: a signal that is raised stays so.
pub struct StopSignal {
    shared: Arc<Shared>,
    /// Set while a waker waits.
    id: Option<u64>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// It was raised.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    raised: bool,
    next_id: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl StopSignal {
    pub(super) fn new() -> Self {
        StopSignal {
            shared: Arc::default(),
            id: None,
        }
    }

    pub(super) fn raise(&self) {
        let mut state = self.shared.state.lock();
        state.raised = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.shared.changed.notify_all();
        waiting.into_values().for_each(Waker::wake);
    }

    /// Whether it has been raised. Costs a lock that nobody holds for long.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.shared.state.lock().raised
    }

    /// Blocks the thread until it is raised, for `limit` at most, and answers whether it is: the pause between two
    /// rounds of a thread's work, `while !stop.wait_timeout(pause)? { .. }`. The time is the machine's.
    ///
    /// # Errors
    /// [`BlockingError::OnArbiter`] on the thread of an arbiter: there it is awaited.
    pub fn wait_timeout(&self, limit: Duration) -> Result<bool, BlockingError> {
        blocking::check_thread()?;
        let clock = Clock::machine();
        let due = clock.now() + limit;
        let mut state = self.shared.state.lock();
        while !state.raised {
            let left = due.since(clock.now());
            if left.is_zero() {
                break;
            }
            self.shared.changed.wait_for(&mut state, left);
        }
        Ok(state.raised)
    }

    fn forget(&mut self) {
        if let Some(id) = self.id.take() {
            let waker = self.shared.state.lock().waiting.remove(&id);
            drop(waker);
        }
    }
}

impl Future for StopSignal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let StopSignal { shared, id } = &mut *self;
        let mut state = shared.state.lock();
        if state.raised {
            return Poll::Ready(());
        }
        let number = *id.get_or_insert_with(|| {
            state.next_id += 1;
            state.next_id
        });
        let before = state.waiting.insert(number, cx.waker().clone());
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Clone for StopSignal {
    fn clone(&self) -> Self {
        StopSignal {
            shared: Arc::clone(&self.shared),
            id: None,
        }
    }
}

impl Drop for StopSignal {
    fn drop(&mut self) {
        self.forget();
    }
}

impl fmt::Debug for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopSignal")
            .field("raised", &self.is_raised())
            .finish_non_exhaustive()
    }
}
