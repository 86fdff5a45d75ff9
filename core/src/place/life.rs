//! One incarnation of a task or a thread, as its place, its owner and its own code share it.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use super::{ChildEvent, StopSignal, Terms};
use crate::counters::Counters;
use crate::fault::Fault;
use crate::id::Incarnation;
use crate::panics::panic_fault;
use crate::watch::ExitReason;

/// The incarnations of a place: how many there were, and the one that runs.
#[derive(Default)]
pub(super) struct Lives {
    current: Mutex<(Incarnation, Option<Arc<Life>>)>,
}

impl Lives {
    /// The next one.
    pub(super) fn begin(&self, terms: Terms, counters: Arc<Counters>) -> Arc<Life> {
        let mut current = self.current.lock();
        current.0 = current.0.next();
        let life = Arc::new(Life {
            incarnation: current.0,
            stop: StopSignal::new(),
            killed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            counters,
            events: Mutex::new(Events {
                terms: Some(terms),
                queue: VecDeque::new(),
                is_telling: false,
            }),
        });
        let before = current.1.replace(Arc::clone(&life));
        drop(current);
        drop(before);
        life
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.current.lock().0
    }

    /// The last one begun; it may have ended.
    pub(super) fn current(&self) -> Option<Arc<Life>> {
        self.current.lock().1.clone()
    }
}

pub(super) struct Life {
    incarnation: Incarnation,
    stop: StopSignal,
    killed: AtomicBool,
    /// Wakes the task for a kill.
    waker: AtomicWaker,
    counters: Arc<Counters>,
    events: Mutex<Events>,
}

/// What the owner is told, in order and from one thread at a time, without a lock: it may call the place.
struct Events {
    /// Until the last event.
    terms: Option<Terms>,
    queue: VecDeque<ChildEvent>,
    /// Somebody is at it, and tells what comes meanwhile.
    is_telling: bool,
}

impl Life {
    pub(super) fn stop_signal(&self) -> StopSignal {
        self.stop.clone()
    }

    pub(super) fn stop(&self) {
        self.stop.raise();
    }

    /// Notes a kill, which asks to stop, too. `false` if there was one before.
    pub(super) fn kill(&self) -> bool {
        let first = !self.killed.swap(true, Ordering::AcqRel);
        self.stop.raise();
        self.waker.wake();
        first
    }

    /// Whether it is to be killed; if not, the waker is called when it is.
    pub(super) fn poll_killed(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.is_killed()
    }

    /// Forgets whom to wake: the task has ended.
    pub(super) fn forget_waker(&self) {
        drop(self.waker.take());
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Tells the owner. Says nothing after the last event; whether this is said is answered.
    pub(super) fn tell(&self, event: ChildEvent) -> bool {
        let mut events = self.events.lock();
        let Some(terms) = events.terms.clone() else {
            return false;
        };
        if event.is_last() {
            events.terms = None;
        }
        events.queue.push_back(event);
        if std::mem::replace(&mut events.is_telling, true) {
            return true;
        }
        while let Some(event) = events.queue.pop_front() {
            drop(events);
            let tell = AssertUnwindSafe(|| terms.tell(self.incarnation, event));
            if catch_unwind(tell).is_err() {
                self.counters.count_panic();
            }
            events = self.events.lock();
        }
        events.is_telling = false;
        // Before the terms, which may be the last to hold what the owner has put in.
        drop(events);
        true
    }

    /// How it ended. Who was killed and ended in order ended because of that.
    pub(super) fn reason(&self, result: Result<(), Fault>) -> ExitReason {
        match result {
            Ok(()) if self.is_killed() => ExitReason::Killed,
            Ok(()) => ExitReason::Stopped,
            Err(fault) => ExitReason::Failed(fault),
        }
    }

    /// Code of the child panicked: counted and logged.
    #[cold]
    pub(super) fn panicked(&self, label: &str, payload: &(dyn Any + Send)) -> Fault {
        let fault = panic_fault(payload);
        self.counters.count_panic();
        tracing::warn!(target: "callboard::place", child = label, panic = %fault, "a child panicked");
        fault
    }
}
