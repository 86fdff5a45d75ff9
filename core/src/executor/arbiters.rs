//! actix-rt arbiters, started by a bootstrap of ours.
//!
//! `actix_rt::Arbiter::new` panics on a thread without an actix `System`, and `System::new` panics inside
//! a tokio runtime. So the arbiters are started either by a bootstrap thread, which is neither, or by
//! [`run`], which checks.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::ArbiterHandle;
use futures::channel::oneshot;
use parking_lot::Mutex;

use super::{Here, enter, thread};
use crate::clock::Clock;
use crate::driver::{Arbiter, Driver};
use crate::system::{StartError, System};

/// How long [`run`] waits in the end for threads of actors' own.
const THREAD_GRACE: Duration = Duration::from_secs(1);

pub(crate) struct Arbiters {
    handles: Vec<ArbiterHandle>,
    arbiters: Vec<Arc<Arbiter>>,
    /// Ends the bootstrap thread, which ends and joins the arbiters.
    end: Mutex<Option<oneshot::Sender<()>>>,
}

impl Arbiters {
    /// Starts `count` arbiters on threads of their own. Works on any thread, inside any runtime.
    pub(crate) fn start(count: usize) -> Result<Self, StartError> {
        let (ready_tx, ready_rx) = std::sync::mpsc::sync_channel(1);
        let (end_tx, end_rx) = oneshot::channel::<()>();
        let started = thread("callboard-bootstrap", move || {
            actix_rt::System::new().block_on(async move {
                let threads: Vec<_> = (0..count).map(|_| actix_rt::Arbiter::new()).collect();
                let handles = threads
                    .iter()
                    .map(actix_rt::Arbiter::handle)
                    .collect::<Vec<_>>();
                if ready_tx.send(handles).is_ok() {
                    // An error means that the system was dropped: the same thing.
                    let _ = end_rx.await;
                }
                end_all(threads);
            });
        });
        if !started {
            return Err(StartError::NoThread);
        }
        let handles = ready_rx.recv().map_err(|_| StartError::NoThread)?;
        Ok(Arbiters::over(handles, Some(end_tx)))
    }

    fn over(handles: Vec<ArbiterHandle>, end: Option<oneshot::Sender<()>>) -> Self {
        let arbiters = (0..handles.len())
            .map(|index| Arbiter::new(index, Clock::machine()))
            .collect();
        Arbiters {
            handles,
            arbiters,
            end: Mutex::new(end),
        }
    }

    pub(crate) fn all(&self) -> &[Arc<Arbiter>] {
        &self.arbiters
    }

    /// Tells every arbiter which system it belongs to, and starts its driver.
    pub(crate) fn introduce(&self, system: &System) {
        for (arbiter, handle) in self.arbiters.iter().zip(&self.handles) {
            let mut arriving = Arriving(Some(Here {
                system: system.clone(),
                arbiter: Arc::clone(arbiter),
            }));
            handle.spawn_fn(move || {
                if let Some(here) = arriving.0.take() {
                    let arbiter = Arc::clone(&here.arbiter);
                    enter(Some(here));
                    drop(actix_rt::spawn(Driver::new(arbiter, None)));
                }
            });
        }
    }

    pub(crate) fn stop(&self) {
        if let Some(end) = self.end.lock().take() {
            let _ = end.send(());
        }
    }
}

/// An arbiter on its way to its thread. A system that ends at once may end the thread first: then there never
/// is a driver whose drop would say that nothing is taken any more.
struct Arriving(Option<Here>);

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(here) = self.0.take() {
            here.arbiter.refuse_parcels();
            for cell in here.arbiter.cells() {
                cell.abandon();
            }
        }
    }
}

impl std::fmt::Debug for Arbiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arbiters")
            .field("count", &self.handles.len())
            .finish_non_exhaustive()
    }
}

/// Runs `main` with the calling thread as arbiter 0 and `count - 1` more.
///
/// `make` gets the arbiters and makes the system; `main` gets the system.
pub(crate) fn run<F, Fut>(
    count: usize,
    make: impl FnOnce(Arbiters) -> System,
    main: F,
) -> Result<Fut::Output, StartError>
where
    F: FnOnce(System) -> Fut,
    Fut: Future,
{
    if tokio::runtime::Handle::try_current().is_ok() {
        return Err(StartError::InsideRuntime);
    }
    let runner = actix_rt::System::new();
    Ok(runner.block_on(async move {
        let others: Vec<_> = (1..count.max(1))
            .map(|_| actix_rt::Arbiter::new())
            .collect();
        let mut handles = vec![actix_rt::System::current().arbiter().clone()];
        handles.extend(others.iter().map(actix_rt::Arbiter::handle));
        let arbiters = Arbiters::over(handles, None);
        let first = Arc::clone(&arbiters.arbiters[0]);
        let system = make(arbiters);
        let before = enter(Some(Here {
            system: system.clone(),
            arbiter: Arc::clone(&first),
        }));
        let output = watched(&first, main(system.clone())).await;
        system.shutdown().await;
        enter(before);
        end_all(others);
        let late = system.own_threads().wait_until_gone(THREAD_GRACE);
        if !late.is_empty() {
            tracing::warn!(
                target: "callboard::actor", arbiters = ?late,
                "threads of actors that never yield are left behind"
            );
        }
        output
    }))
}

/// Says of each poll of `main` that it is a turn, so that the watchdog sees one that blocks the thread.
async fn watched<F: Future>(arbiter: &Arbiter, main: F) -> F::Output {
    // Numbers that the driver of this arbiter doesn't come to.
    let mut turn = 1 << 63;
    let mut main = std::pin::pin!(main);
    std::future::poll_fn(|cx| {
        turn += 1;
        arbiter.in_hand().set_turn(turn);
        let polled = main.as_mut().poll(cx);
        arbiter.in_hand().set_turn(0);
        polled
    })
    .await
}

fn end_all(arbiters: Vec<actix_rt::Arbiter>) {
    for arbiter in &arbiters {
        arbiter.stop();
    }
    for arbiter in arbiters {
        // An error means that its thread panicked; it has ended, which is all that is wanted here.
        let _ = arbiter.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Simulation;

    #[test]
    fn an_arbiter_that_never_came_to_its_thread_takes_nothing() {
        let arbiter = Arbiter::new(0, Clock::machine());
        let here = Here {
            system: Simulation::new(1).system().clone(),
            arbiter: Arc::clone(&arbiter),
        };
        let arriving = Arriving(Some(here));
        let (tx, mut rx) = oneshot::channel::<()>();
        let task = move || Box::pin(async move { drop(tx) }) as _;
        assert!(arbiter.spawn(Box::new(task)));
        drop(arriving);
        assert!(rx.try_recv().is_err(), "who waits for it is told");
        assert!(!arbiter.spawn(Box::new(|| Box::pin(async {}))));
    }
}
