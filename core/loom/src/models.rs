//! The models, by what they are about.
//!
//! Each has two threads: with a third, two that wait for the lock could give way to each other for ever,
//! which the scheduler allows and loom doesn't bound.

mod handover;
mod lock;
mod mailbox;
mod owners;
mod reply;
mod room;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

/// Runs a model under every interleaving that switches threads at most that often where it needn't.
fn with_preemptions(bound: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

/// Counts how often it was woken. Loom doesn't watch the count.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Woken {
    fn new() -> (Arc<Self>, Waker) {
        let woken = Arc::new(Woken::default());
        (Arc::clone(&woken), Waker::from(woken))
    }

    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
