//! A thread for what is neither committing nor the caller's: opening, reading bodies, making and removing files.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use callboard_core::journal::{JournalError, JournalErrorKind};
use callboard_core::{Rest, System, Worker};
use futures::channel::oneshot;
use parking_lot::Mutex;

type Job = Box<dyn FnOnce() + Send>;

/// Jobs are done in the order they came. Their number is bounded by who gives them: a segment in the making for
/// each log, and as many reads and openings as somebody waits for.
pub(crate) struct Jobs {
    queue: Arc<Mutex<VecDeque<Job>>>,
    worker: Worker,
}

impl Jobs {
    pub(crate) fn start(system: &System, name: &str) -> Result<Jobs, JournalError> {
        let queue: Arc<Mutex<VecDeque<Job>>> = Arc::default();
        let todo = Arc::clone(&queue);
        let worker = Worker::start(system, name, Duration::ZERO, move || {
            let next = todo.lock().pop_front();
            let Some(job) = next else {
                return Rest::UntilWoken;
            };
            // It may call code of others, whose panic must not end the jobs of everybody (G10).
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a panic in a callback of the store");
            }
            Rest::Not
        });
        match worker {
            Ok(worker) => Ok(Jobs { queue, worker }),
            Err(error) => Err(JournalError::new(
                JournalErrorKind::Io,
                format!("starting the thread {name}: {error}"),
            )),
        }
    }

    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.queue.lock().push_back(Box::new(job));
        self.worker.wake();
    }

    /// Does something there and waits for what comes of it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (tx, rx) = oneshot::channel();
        self.submit(move || {
            // An error: nobody waits any more, and what was opened is dropped.
            let _ = tx.send(job());
        });
        match rx.await {
            Ok(result) => result,
            Err(_) => Err(JournalError::new(
                JournalErrorKind::Closed,
                "the system was shut down",
            )),
        }
    }
}
