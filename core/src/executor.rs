//! Where actors run.
//!
//! Two executors stand behind one seam. [`arbiters`]: actix-rt arbiters, one thread and one
//! current-thread runtime each. [`simulated`]: several logical arbiters on one thread, under one seeded
//! clock, where every choice of order comes from the seed and time jumps when nothing can run (G38).
//!
//! The rest of the crate spawns only through here.

pub(crate) mod arbiters;
pub(crate) mod own_threads;
pub(crate) mod simulated;
pub(crate) mod worker;

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, ThreadId};

use crate::clock::Clock;
use crate::driver::{self, Arbiter};
use crate::system::System;

pub(crate) use arbiters::Arbiters;
pub use own_threads::OWN_THREADS;
pub(crate) use own_threads::OwnThreads;
#[cfg(feature = "test")]
pub(crate) use simulated::Settler;
pub(crate) use simulated::SimulatedArbiters;
pub use simulated::Simulation;
pub use worker::{Rest, Worker};

/// The executor of one system.
#[derive(Debug)]
pub(crate) enum Executor {
    Arbiters(Arbiters),
    Simulated(SimulatedArbiters),
}

impl Executor {
    /// The arbiters that all share; at least one.
    pub(crate) fn arbiters(&self) -> &[Arc<Arbiter>] {
        match self {
            Executor::Arbiters(arbiters) => arbiters.all(),
            Executor::Simulated(arbiters) => arbiters.all(),
        }
    }

    /// Makes what holds the arbiters that are there for one actor each.
    pub(crate) fn own_threads(&self, clock: &Clock) -> OwnThreads {
        let simulation = match self {
            Executor::Arbiters(_) => None,
            Executor::Simulated(arbiters) => Some(arbiters.simulation()),
        };
        OwnThreads::new(self.arbiters().len(), clock.clone(), simulation)
    }

    /// The thread of all its arbiters, if they share one: who blocks it waits for what never runs, also
    /// outside their turns.
    pub(crate) fn only_thread(&self) -> Option<ThreadId> {
        match self {
            Executor::Arbiters(_) => None,
            Executor::Simulated(arbiters) => Some(arbiters.thread()),
        }
    }

    /// What every choice is drawn from, if it is simulated.
    #[cfg(feature = "test")]
    pub(crate) fn seed(&self) -> Option<u64> {
        match self {
            Executor::Arbiters(_) => None,
            Executor::Simulated(arbiters) => Some(arbiters.seed()),
        }
    }

    /// Ends the arbiters; their threads finish the poll at hand and drop what is left.
    pub(crate) fn stop(&self) {
        if let Executor::Arbiters(arbiters) = self {
            arbiters.stop();
        }
    }
}

/// The arbiter that the current code runs on.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    pub(crate) system: System,
    pub(crate) arbiter: Arc<Arbiter>,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// The arbiter this code runs on, if it runs on one.
pub(crate) fn here() -> Option<Here> {
    HERE.with(|here| here.borrow().clone())
}

/// Sets the arbiter of this thread and returns what it was before.
pub(crate) fn enter(here: Option<Here>) -> Option<Here> {
    crate::current::reset_streak();
    driver::enter(here.as_ref().map(|here| Arc::clone(&here.arbiter)));
    HERE.with(|cell| cell.replace(here))
}

/// Starts a named operating-system thread. The only place that does, besides the arbiters.
///
/// If the system is out of threads the closure is dropped, and whoever waits for it sees that. Names are
/// for people; Linux shows the first 15 bytes.
pub(crate) fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> bool {
    std::thread::Builder::new()
        // A name that can't be one is no reason to panic.
        .name(name.replace('\0', " "))
        .spawn(body)
        .is_ok()
}

/// Gives other tasks of this thread a turn.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// Wakes a thread that blocks.
struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

/// Blocks the current thread, which must not be an arbiter, until the future ends. Also inside somebody
/// else's executor: the one of `futures` panics there.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    // One for each call, so that a call inside a call doesn't take the wake-ups of the outer one.
    let unpark = Arc::new(Unpark {
        thread: std::thread::current(),
        woken: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&unpark));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !unpark.woken.swap(false, Ordering::AcqRel) {
            std::thread::park();
        }
    }
}
