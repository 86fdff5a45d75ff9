//! A plain future as a child.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use futures::future::LocalBoxFuture;

use super::life::{Life, Lives};
use super::{ChildEvent, ChildKind, ChildStatus, Place, StopSignal, Terms};
use crate::fault::Fault;
use crate::spawn::Placement;
use crate::system::{StartError, System};
use crate::watch::ExitReason;

type Make = dyn Fn(StopSignal) -> LocalBoxFuture<'static, Result<(), Fault>> + Send + Sync;

/// A plain future as a child of a supervisor: what has no mailbox, like a listener or a clean-up that runs for ever,
/// is started, watched over and started again like an actor.
///
/// ```
/// # extern crate callboard_core as callboard;
/// use callboard::{Fault, Simulation, TaskPlace};
/// use std::time::Duration;
///
/// # let simulation = Simulation::new(1);
/// # let system = simulation.system().clone();
/// let clock = system.clock().clone();
/// let sweeper = TaskPlace::new(&system, "sweeper", move |stop| {
///     let clock = clock.clone();
///     async move {
///         while !stop.is_raised() {
///             clock.sleep(Duration::from_secs(60)).await;
///             // Sweep; what fails is for the supervisor: `sweep().await?`
///         }
///         Ok::<(), Fault>(())
///     }
/// });
/// ```
///
/// # Guarantees
/// - The factory is called for each incarnation, on the arbiter where its future then lives, so that the future
///   needn't be `Send`. The incarnation has started when the factory has returned; a panic in it is a failed start.
/// - It ends as [`Stopped`](ExitReason::Stopped) when the future returns `Ok`, as [`Failed`](ExitReason::Failed) when it
///   returns an error or panics, with the [class](crate::FailureClass) that the error or the panic's payload says (G10).
/// - [`stop`](Place::stop) raises the [signal](StopSignal); a future that doesn't look at it goes on.
///   [`kill`](Place::kill) drops the future at its next `.await` (G11): [`Killed`](ExitReason::Killed), also if it
///   returned `Ok` because the signal is raised by a kill, too.
/// - The future has been dropped before its end is told (G13).
/// - Dropping the place kills what runs in it. It runs on both executors (G38).
pub struct TaskPlace {
    system: System,
    label: Arc<str>,
    make: Arc<Make>,
    placement: Placement,
    lives: Lives,
}

impl TaskPlace {
    /// A place for the futures that `make` makes, called `label` in logs and in the tree. Nothing runs before
    /// [`start`](Place::start).
    pub fn new<F, Fut, E>(system: &System, label: impl Into<Arc<str>>, make: F) -> Self
    where
        F: Fn(StopSignal) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + 'static,
        E: Into<Fault>,
    {
        TaskPlace {
            system: system.clone(),
            label: label.into(),
            make: Arc::new(move |stop| {
                let future = make(stop);
                Box::pin(async move { future.await.map_err(Into::into) })
            }),
            placement: Placement::default(),
            lives: Lives::default(),
        }
    }

    /// On which arbiter it runs; [`Placement::Spread`] unless said otherwise, chosen anew at each start.
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }
}

impl Place for TaskPlace {
    fn label(&self) -> String {
        self.label.to_string()
    }

    fn kind(&self) -> ChildKind {
        ChildKind::Task
    }

    fn start(&self, terms: Terms) {
        let life = self.lives.begin(terms, self.system.counters_arc());
        let run = Run {
            life: Arc::clone(&life),
            label: Arc::clone(&self.label),
            started: false,
        };
        if self.system.is_closed() {
            return run.refuse(StartError::ShutDown);
        }
        let stay = self.system.stay_at(self.placement);
        let own = self.system.own_threads();
        if let Err(error) = own.run(&stay, &self.label, &self.system) {
            return run.refuse(error);
        }
        let make = Arc::clone(&self.make);
        let arbiter = Arc::clone(&stay);
        // If the arbiter has ended, dropping `run` says so.
        arbiter.spawn(Box::new(move || {
            Box::pin(async move {
                // Dropped with the future, so that an arbiter of its own is over only then.
                let _stay = stay;
                run.run(&*make).await;
            })
        }));
    }

    fn stop(&self) {
        if let Some(life) = self.lives.current() {
            life.stop();
        }
    }

    fn kill(&self) {
        if let Some(life) = self.lives.current() {
            life.kill();
        }
    }

    fn close(&self, _: ExitReason) {
        // Nothing is queued for a task, and who watches one watches its supervisor.
    }

    fn status(&self) -> ChildStatus {
        ChildStatus::new(self.lives.incarnation())
    }
}

impl Drop for TaskPlace {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for TaskPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPlace")
            .field("label", &self.label)
            .field("placement", &self.placement)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// One incarnation. Dropping it is an end, too: its arbiter has ended.
struct Run {
    life: Arc<Life>,
    label: Arc<str>,
    started: bool,
}

impl Run {
    fn refuse(self, error: StartError) {
        let why = Fault::from(error.to_string());
        self.life.tell(ChildEvent::StartFailed(why));
    }

    async fn run(mut self, make: &Make) {
        if self.life.is_killed() {
            self.life.tell(ChildEvent::Ended(ExitReason::Killed));
            return;
        }
        let stop = self.life.stop_signal();
        let mut future = match catch_unwind(AssertUnwindSafe(|| make(stop))) {
            Ok(future) => future,
            Err(payload) => {
                let fault = self.life.panicked(&self.label, payload.as_ref());
                self.life.tell(ChildEvent::StartFailed(fault));
                return;
            }
        };
        self.started = true;
        self.life.tell(ChildEvent::Started);
        let life = &self.life;
        let reason = poll_fn(|cx| {
            if life.poll_killed(cx.waker()) {
                return Poll::Ready(ExitReason::Killed);
            }
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                Ok(polled) => polled.map(|result| life.reason(result)),
                Err(payload) => {
                    let fault = life.panicked(&self.label, payload.as_ref());
                    Poll::Ready(ExitReason::Failed(fault))
                }
            }
        })
        .await;
        // What it holds is gone when its end is told, and a panic in a drop changes nothing in the reason.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
            life.panicked(&self.label, payload.as_ref());
        }
        life.tell(ChildEvent::Ended(reason));
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.life.forget_waker();
        // Without effect after a proper end.
        self.life.tell(if self.started {
            ChildEvent::Ended(ExitReason::Killed)
        } else {
            ChildEvent::StartFailed("its arbiter had ended".into())
        });
    }
}
