//! Tasks of an arbiter: futures that have turns in the same queue as its actors.
//!
//! They need not be `Send`: they are made, polled and dropped on their arbiter. Between a task and an actor
//! of one thread a wake-up is a push to a list, and never a system call.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::LocalBoxFuture;

use super::arbiter::{Arbiter, Run, Tools};
use super::injector::Flag;
use crate::panics::panic_text;
use crate::sync::Home;

/// Makes a future on the arbiter where it will run, so that the future needn't be `Send`.
pub(crate) type MakeTask = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

pub(super) struct Task {
    home: Arc<Arbiter>,
    /// Raised while it is in the run queue.
    queued: Flag,
    /// Its place in the list of its arbiter.
    place: AtomicU32,
    body: Home<RefCell<Option<Body>>>,
}

/// What only the arbiter's thread touches; gone when the task has ended.
struct Body {
    future: LocalBoxFuture<'static, ()>,
    waker: Waker,
}

/// The tasks of an arbiter, so that they end with it.
#[derive(Default)]
pub(super) struct Tasks {
    tasks: Vec<Option<Arc<Task>>>,
    free: Vec<u32>,
}

impl Tasks {
    fn add(&mut self, task: &Arc<Task>) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(None);
            u32::try_from(self.tasks.len() - 1).unwrap_or(u32::MAX)
        });
        self.tasks[place as usize] = Some(Arc::clone(task));
        task.place.store(place, Ordering::Relaxed);
    }

    fn remove(&mut self, place: u32) -> Option<Arc<Task>> {
        let task = self.tasks.get_mut(place as usize)?.take();
        if task.is_some() {
            self.free.push(place);
        }
        task
    }

    /// All that have not ended.
    pub(super) fn take(&mut self) -> Vec<Arc<Task>> {
        self.free.clear();
        std::mem::take(&mut self.tasks)
            .into_iter()
            .flatten()
            .collect()
    }
}

impl Arbiter {
    /// Starts a task. On this arbiter's thread; else, or if the arbiter has ended, the future is dropped.
    pub(crate) fn spawn_here(self: &Arc<Self>, future: LocalBoxFuture<'static, ()>) {
        let task = Arc::new(Task {
            home: Arc::clone(self),
            queued: Flag::new(true),
            place: AtomicU32::new(u32::MAX),
            body: Home::new(self.number(), RefCell::new(None)),
        });
        let waker = Waker::from(Arc::clone(&task));
        let Some(body) = task.body.enter() else {
            return;
        };
        *body.borrow_mut() = Some(Body { future, waker });
        drop(body);
        if self.injector.has_ended() {
            return task.end();
        }
        if let Some(local) = self.local.enter() {
            local.tasks.borrow_mut().add(&task);
        }
        self.schedule(task);
    }
}

impl Task {
    fn poll(&self) -> Poll<()> {
        let Some(body) = self.body.enter() else {
            return Poll::Pending;
        };
        let mut body = body.borrow_mut();
        let Some(Body { future, waker }) = body.as_mut() else {
            return Poll::Pending;
        };
        future.as_mut().poll(&mut Context::from_waker(waker))
    }

    /// Drops the future, and takes the task off the list of its arbiter.
    pub(super) fn end(&self) {
        let body = self.body.enter().and_then(|body| body.take());
        // What the future holds may look at the arbiter when it is dropped.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(body)));
        if let Some(local) = self.home.local.enter() {
            let place = self.place.load(Ordering::Relaxed);
            let listed = local.tasks.borrow_mut().remove(place);
            drop(local);
            drop(listed);
        }
        if let Err(payload) = dropped {
            report(payload.as_ref());
        }
    }
}

impl Run for Task {
    fn note_queued(&self) -> bool {
        // Who wakes it sees to that.
        true
    }

    fn turn(self: Arc<Self>, _: &mut Tools) -> Option<Arc<dyn Run>> {
        // Before the poll: who wakes it from now on wants another.
        self.queued.lower();
        match catch_unwind(AssertUnwindSafe(|| self.poll())) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(())) => self.end(),
            Err(payload) => {
                self.end();
                report(payload.as_ref());
                if self.home.clock.is_manual() {
                    // A simulation is a test: it fails.
                    std::panic::resume_unwind(payload);
                }
            }
        }
        None
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if self.queued.raise() {
            let home = Arc::clone(&self.home);
            home.schedule(self);
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.raise() {
            self.home.schedule(Arc::clone(self) as Arc<dyn Run>);
        }
    }
}

/// A panic ends the task alone (G10).
#[cold]
fn report(payload: &(dyn Any + Send)) {
    if let Some(here) = crate::executor::here() {
        here.system.counters().count_panic();
    }
    tracing::warn!(
        target: "callboard::task",
        panic = %panic_text(payload),
        "a task panicked"
    );
}
