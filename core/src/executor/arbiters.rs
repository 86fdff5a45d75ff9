//! actix-rt arbiters, started by a bootstrap of ours.
//!
//! `actix_rt::Arbiter::new` panics on a thread without an actix `System`, and `System::new` panics inside
//! a tokio runtime. So the arbiters are started either by a bootstrap thread, which is neither, or by
//! [`run`], which checks.

use std::future::Future;

use actix_rt::{Arbiter, ArbiterHandle};
use futures::channel::oneshot;
use parking_lot::Mutex;

use super::{Here, MakeTask, enter, thread};
use crate::system::{StartError, System};

pub(crate) struct Arbiters {
    handles: Vec<ArbiterHandle>,
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
                let arbiters: Vec<Arbiter> = (0..count).map(|_| Arbiter::new()).collect();
                let handles = arbiters.iter().map(Arbiter::handle).collect::<Vec<_>>();
                if ready_tx.send(handles).is_ok() {
                    // An error means that the system was dropped: the same thing.
                    let _ = end_rx.await;
                }
                end_all(arbiters);
            });
        });
        if !started {
            return Err(StartError::NoThread);
        }
        let handles = ready_rx.recv().map_err(|_| StartError::NoThread)?;
        Ok(Arbiters {
            handles,
            end: Mutex::new(Some(end_tx)),
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.handles.len()
    }

    pub(crate) fn spawn_on(&self, arbiter: usize, make: MakeTask) -> bool {
        self.handles.get(arbiter).is_some_and(|handle| {
            handle.spawn_fn(move || {
                drop(actix_rt::spawn(make()));
            })
        })
    }

    /// Tells every arbiter which system it belongs to.
    pub(crate) fn introduce(&self, system: &System) {
        for (arbiter, handle) in self.handles.iter().enumerate() {
            let here = Here {
                system: system.clone(),
                arbiter,
            };
            handle.spawn_fn(move || {
                enter(Some(here));
            });
        }
    }

    pub(crate) fn stop(&self) {
        if let Some(end) = self.end.lock().take() {
            let _ = end.send(());
        }
    }
}

impl std::fmt::Debug for Arbiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arbiters")
            .field("count", &self.count())
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
        let others: Vec<Arbiter> = (1..count.max(1)).map(|_| Arbiter::new()).collect();
        let mut handles = vec![actix_rt::System::current().arbiter().clone()];
        handles.extend(others.iter().map(Arbiter::handle));
        let arbiters = Arbiters {
            handles,
            end: Mutex::new(None),
        };
        let system = make(arbiters);
        let before = enter(Some(Here {
            system: system.clone(),
            arbiter: 0,
        }));
        let output = main(system.clone()).await;
        system.shutdown().await;
        enter(before);
        end_all(others);
        output
    }))
}

fn end_all(arbiters: Vec<Arbiter>) {
    for arbiter in &arbiters {
        arbiter.stop();
    }
    for arbiter in arbiters {
        // An error means that its thread panicked; it has ended, which is all that is wanted here.
        let _ = arbiter.join();
    }
}
