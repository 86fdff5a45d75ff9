//! Where a run's code runs: a fresh thread for the senders and, with two threads, one for the receivers.

use std::future::Future;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// A run that takes longer hangs: a message was lost, or nobody was woken.
pub const HUNG_AFTER: Duration = Duration::from_secs(300);

/// How many threads a workload uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Senders and receivers share one thread.
    OneThread,
    /// Receivers have a thread of their own, with a runtime of its own.
    TwoThreads,
}

/// Runs `body` on a fresh thread and waits for it.
///
/// # Panics
/// If it panics, or has not ended after [`HUNG_AFTER`].
pub fn on_fresh_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::sync_channel(1);
    let thread = thread::spawn(move || {
        let output = body();
        // The other side is gone only if it gave up on this run.
        let _ = done.send(output);
    });
    match wait.recv_timeout(HUNG_AFTER) {
        Ok(output) => {
            thread.join().expect("the run's thread ended in order");
            output
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the run's thread panicked"),
        Err(mpsc::RecvTimeoutError::Timeout) => {
            panic!("the run hung: no result after {} s", HUNG_AFTER.as_secs())
        }
    }
}

/// The runtimes of a run on plain tokio: one per thread, both single-threaded.
///
/// One thread means one runtime for both sides.
#[derive(Clone)]
pub struct TokioStage {
    /// Where the receivers live.
    pub receivers: Handle,
    /// Whether the senders live there too.
    pub shared: bool,
}

/// Runs `body` as a task (not as the root future, whose wake-ups cost a system call each) on the senders'
/// runtime.
pub fn run_on_tokio<F, Fut>(layout: Layout, body: F) -> Fut::Output
where
    F: FnOnce(TokioStage) -> Fut + Send + 'static,
    Fut: Future<Output: Send> + Send + 'static,
{
    on_fresh_thread(move || {
        let senders = single_threaded_runtime();
        let receivers = match layout {
            Layout::OneThread => None,
            Layout::TwoThreads => Some(ReceiverThread::start()),
        };
        let stage = TokioStage {
            receivers: receivers
                .as_ref()
                .map_or_else(|| senders.handle().clone(), |thread| thread.handle.clone()),
            shared: receivers.is_none(),
        };
        let output = senders.block_on(async { tokio::spawn(body(stage)).await });
        drop(receivers);
        output.expect("the run did not panic")
    })
}

fn single_threaded_runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A thread that drives a runtime until it is dropped.
struct ReceiverThread {
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl ReceiverThread {
    fn start() -> Self {
        let runtime = single_threaded_runtime();
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || {
            // An error means that the owner is gone: the same thing.
            let _ = runtime.block_on(ended);
        });
        ReceiverThread {
            handle,
            end: Some(end),
            thread: Some(thread),
        }
    }
}

impl Drop for ReceiverThread {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has already failed the run: its sender waits in vain.
            let _ = thread.join();
        }
    }
}

/// Gives other tasks of this thread a turn, on any executor.
pub async fn yield_now() {
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
