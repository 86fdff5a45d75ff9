//! Messages that arrive late: a line before the mailbox, in which order is kept (G2).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use parking_lot::Mutex;

use crate::clock::{Clock, Instant};
use crate::driver::{Arbiter, Stay};

/// How many messages to one actor may be late at a time.
pub const LATE_CAPACITY: usize = 1_024;

/// A message on its way. Dropping it gives it up.
pub(crate) trait Late: Send {
    /// Takes it to the mailbox, and waits for room there.
    fn arrive(self: Box<Self>) -> LocalBoxFuture<'static, ()>;
}

/// The messages to one actor that are late.
#[derive(Default)]
pub(crate) struct Line {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Instant, Box<dyn Late>)>,
    /// A task takes them to the mailbox.
    busy: bool,
    /// When the last in line arrives.
    last: Instant,
}

impl Line {
    /// Whether who comes now has somebody before it.
    pub(super) fn is_busy(&self) -> bool {
        self.state.lock().busy
    }

    /// Whether one more may come. Who asks then comes at once; several at a time may be too many by their number.
    pub(crate) fn has_room(&self) -> bool {
        self.state.lock().waiting.len() < LATE_CAPACITY
    }

    /// Puts a message in line, to arrive in `span`, or when those before it have.
    pub(crate) fn put(
        self: &Arc<Self>,
        home: &Arc<Arbiter>,
        clock: &Clock,
        span: Duration,
        late: Box<dyn Late>,
    ) {
        let mut state = self.state.lock();
        state.last = state.last.max(clock.now() + span);
        let due = state.last;
        state.waiting.push_back((due, late));
        if std::mem::replace(&mut state.busy, true) {
            return;
        }
        drop(state);
        let serve = Serve {
            line: Arc::clone(self),
            _stay: home.stay(),
            is_over: false,
        };
        let clock = clock.clone();
        // Dropped if the arbiter has ended, and gives up what is in line.
        home.spawn(Box::new(move || Box::pin(serve.run(clock))));
    }
}

/// Serves the line for as long as somebody is in it. Dropped before that, it gives all up.
struct Serve {
    line: Arc<Line>,
    /// An arbiter of its own stays until all have arrived.
    _stay: Option<Stay>,
    /// Nobody is in line, or somebody else serves it.
    is_over: bool,
}

impl Serve {
    async fn run(mut self, clock: Clock) {
        while let Some((due, late)) = self.next() {
            clock.sleep_until(due).await;
            late.arrive().await;
        }
    }

    fn next(&mut self) -> Option<(Instant, Box<dyn Late>)> {
        let mut state = self.line.state.lock();
        let next = state.waiting.pop_front();
        // Under the lock: who comes now starts another task.
        state.busy = next.is_some();
        self.is_over = next.is_none();
        next
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.line.state.lock();
        let waiting = std::mem::take(&mut state.waiting);
        state.busy = false;
        drop(state);
        // Outside the lock: each tells its asker.
        drop(waiting);
    }
}
