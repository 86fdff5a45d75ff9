//! A thread for work that blocks: files above all. Nothing blocks an arbiter, so it happens here.
//!
//! A [`Worker`] is woken when there is something to do, does it, and rests again. In the simulation it is a
//! task under the simulated clock, which comes to its work a moment later, so that what came meanwhile is
//! done in one go there too (G38).

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::thread::Thread;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, Shared as SharedFuture, select};
use futures::task::AtomicWaker;
use futures::{FutureExt, pin_mut};

use super::thread;
use crate::clock::Clock;
use crate::spawn::Placement;
use crate::system::{StartError, System};

/// What a worker does after a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Goes on at once.
    Not,
    /// Rests until it is woken.
    UntilWoken,
    /// Rests until it is woken, but no longer than this.
    For(Duration),
    /// Ends: it is never called again.
    Ended,
}

/// How long a simulated worker may take to come to its work.
const SIMULATED_DELAY: Duration = Duration::from_micros(200);

/// Something to do has come, or it has been told to end.
const WOKEN: u32 = 1;
/// To end after what it does now.
const ENDING: u32 = 2;
/// Its thread sleeps.
const PARKED: u32 = 4;

/// A thread of its own that does blocking work when it is woken; a task in the simulation.
///
/// Its owner keeps it: when it is dropped the work is called no more, and the thread ends after what it does
/// at the moment.
pub struct Worker {
    shared: Arc<Shared>,
    ended: SharedFuture<oneshot::Receiver<()>>,
}

struct Shared {
    state: AtomicU32,
    thread: OnceLock<Thread>,
    /// The task, in the simulation.
    task: AtomicWaker,
}

impl Worker {
    /// Starts a worker called `name`. It calls `work` once at once, and then whenever it is woken; wake-ups that
    /// come while it works are one.
    ///
    /// Before its thread sleeps it looks for more for `spin`: worth it only for who waits for the answer of each
    /// piece of work, where waking a thread costs as much as the work. Zero sleeps at once.
    ///
    /// # Errors
    /// [`StartError::NoThread`] if the operating system has no more threads.
    pub fn start(
        system: &System,
        name: &str,
        spin: Duration,
        work: impl FnMut() -> Rest + Send + 'static,
    ) -> Result<Worker, StartError> {
        let shared = Arc::new(Shared {
            state: AtomicU32::new(WOKEN),
            thread: OnceLock::new(),
            task: AtomicWaker::new(),
        });
        let (ended_tx, ended_rx) = oneshot::channel::<()>();
        let body = Arc::clone(&shared);
        let started = if system.clock().is_manual() {
            let inner = system.clone();
            system.spawn(Placement::Spread, move || async move {
                let _ended = ended_tx;
                body.run_simulated(&inner, work).await;
            })
        } else {
            let clock = system.clock().clone();
            thread(name, move || {
                let _ended = ended_tx;
                body.run_thread(&clock, spin, work);
            })
        };
        if !started {
            return Err(StartError::NoThread);
        }
        Ok(Worker {
            shared,
            ended: ended_rx.shared(),
        })
    }

    /// There is something to do. Costs a few nanoseconds if the worker is at work.
    pub fn wake(&self) {
        self.shared.raise(WOKEN);
    }

    /// Asks it to end, and waits until it has: what it does now is done first.
    ///
    /// # Cancel safety
    /// It ends also if this is dropped.
    pub async fn end(&self) {
        self.shared.raise(ENDING | WOKEN);
        // An error: the sender is dropped, never used.
        let _ = self.ended.clone().await;
    }
}

impl Shared {
    fn raise(&self, flags: u32) {
        // Release: what was handed over before is seen by the worker. Acquire: pairs with its going to sleep.
        let before = self.state.fetch_or(flags, Ordering::AcqRel);
        if before & WOKEN == 0 {
            self.task.wake();
            if before & PARKED != 0
                && let Some(thread) = self.thread.get()
            {
                thread.unpark();
            }
        }
    }

    /// Takes the wake-up, if there is one. Answers whether the worker is to end.
    fn take(&self) -> bool {
        self.state.fetch_and(!WOKEN, Ordering::AcqRel) & ENDING != 0
    }

    fn is_woken(&self) -> bool {
        self.state.load(Ordering::Acquire) & WOKEN != 0
    }

    fn run_thread(&self, clock: &Clock, spin: Duration, mut work: impl FnMut() -> Rest) {
        // Set before the first sleep, which is the only time that it is needed.
        let _ = self.thread.set(std::thread::current());
        loop {
            if self.take() {
                return;
            }
            match work() {
                Rest::Not => {}
                Rest::UntilWoken => self.sleep(clock, spin, None),
                Rest::For(span) => self.sleep(clock, spin, Some(span)),
                Rest::Ended => return,
            }
        }
    }

    fn sleep(&self, clock: &Clock, spin: Duration, limit: Option<Duration>) {
        if !spin.is_zero() {
            let due = clock.now() + spin;
            while clock.now() < due {
                if self.is_woken() {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        let due = limit.map(|limit| clock.now() + limit);
        if self.state.fetch_or(PARKED, Ordering::AcqRel) & WOKEN == 0 {
            while !self.is_woken() {
                match due {
                    None => std::thread::park(),
                    Some(due) => {
                        let left = due.since(clock.now());
                        if left.is_zero() {
                            break;
                        }
                        std::thread::park_timeout(left);
                    }
                }
            }
        }
        self.state.fetch_and(!PARKED, Ordering::AcqRel);
    }

    async fn run_simulated(&self, system: &System, mut work: impl FnMut() -> Rest) {
        loop {
            let delay = system.entropy().jitter(SIMULATED_DELAY);
            system.clock().sleep(delay).await;
            if self.take() {
                return;
            }
            let limit = match work() {
                Rest::Not => continue,
                Rest::UntilWoken => None,
                Rest::For(span) => Some(span),
                Rest::Ended => return,
            };
            let woken = poll_fn(|cx| {
                self.task.register(cx.waker());
                if self.is_woken() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            match limit {
                None => woken.await,
                Some(span) => {
                    let sleep = system.clock().sleep(span);
                    pin_mut!(woken, sleep);
                    match select(woken, sleep).await {
                        Either::Left(_) | Either::Right(_) => {}
                    }
                }
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.raise(ENDING | WOKEN);
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("woken", &self.shared.is_woken())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[callboard::test(both)]
    async fn a_worker_does_what_it_is_woken_for_and_ends_with_its_owner(system: System) {
        let (mut tx, mut rx) = futures::channel::mpsc::channel(32);
        let todo = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&todo);
        let worker = Worker::start(&system, "w", Duration::ZERO, move || {
            let taken = seen.swap(0, Ordering::AcqRel);
            if taken > 0 {
                // An error: the test has ended.
                let _ = tx.try_send(taken);
            }
            Rest::UntilWoken
        })
        .unwrap();
        let mut sum = 0;
        for round in 1..=20 {
            todo.fetch_add(1, Ordering::AcqRel);
            worker.wake();
            while sum < round {
                sum += futures::StreamExt::next(&mut rx).await.unwrap();
            }
        }
        worker.end().await;
        assert_eq!(futures::StreamExt::next(&mut rx).await, None);
    }

    #[callboard::test(both)]
    async fn a_worker_rests_no_longer_than_it_said(system: System) {
        let (tx, rx) = oneshot::channel();
        let mut tx = Some(tx);
        let mut calls = 0;
        let _worker = Worker::start(&system, "w", Duration::ZERO, move || {
            calls += 1;
            if calls == 3 {
                let _ = tx.take().map(|tx| tx.send(()));
                return Rest::Ended;
            }
            Rest::For(Duration::from_millis(1))
        })
        .unwrap();
        rx.await.unwrap();
    }
}
