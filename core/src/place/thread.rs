//! A thread as a child.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::life::{Life, Lives};
use super::{ChildEvent, ChildKind, ChildStatus, Place, StopSignal, Terms};
use crate::executor;
use crate::fault::Fault;
use crate::system::{StartError, System};
use crate::watch::ExitReason;

/// How many abandoned threads of one [`ThreadPlace`] may still run, unless told otherwise by
/// [`abandon_limit`](ThreadPlace::abandon_limit).
pub const ABANDONED_THREADS: usize = 4;

/// A blocking closure on an operating-system thread of its own, as a child of a supervisor.
///
/// For a library that brings its own loop, a device that is read by blocking calls, a computation of hours. What
/// takes messages is better an actor with a [thread of its own](crate::Placement::OwnThread).
///
/// ```
/// # extern crate callboard_core as callboard;
/// use callboard::{Fault, System, ThreadPlace};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let system = System::with_arbiters(1)?;
/// let meter = ThreadPlace::new(&system, "meter", |stop| {
///     while !stop.wait_timeout(Duration::from_secs(1))? {
///         // Read the device; what fails is for the supervisor: `read()?`
///     }
///     Ok::<(), Fault>(())
/// });
/// # system.shutdown_blocking()?;
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
/// - It has started when the closure begins; it ends as [`Stopped`](ExitReason::Stopped) when that returns `Ok`, and
///   as [`Failed`](ExitReason::Failed) when it returns an error or panics, with the
///   [class](crate::FailureClass) that the error or the panic's payload says (G10).
/// - [`stop`](Place::stop) raises the [signal](StopSignal), and that is all.
/// - **A thread can't be killed** (G11). [`kill`](Place::kill) raises the signal, too, and says
///   [`NoProgress`](ChildEvent::NoProgress) if the thread still runs: its end is told when the closure returns, as
///   [`Killed`](ExitReason::Killed) if that was in order, and no other is started before (G13).
/// - By choice, [`abandon_when_stuck`](ThreadPlace::abandon_when_stuck), a kill gives the thread up: its end is told at once
///   although it runs on, so that another may be started.
/// - Dropping the place raises the signal. No thread of it is waited for when the process ends.
///
/// # When it fails
/// Where the operating system has no thread the start fails with [`StartError::NoThread`]. A blocking thread is outside
/// the simulation (G38): there a start fails and says so, as [`Fatal`](crate::FailureClass::Fatal).
pub struct ThreadPlace {
    system: System,
    label: Arc<str>,
    work: Arc<Work>,
    abandons: bool,
    limit: usize,
    /// How many that were abandoned still run.
    abandoned: Arc<AtomicUsize>,
    lives: Lives,
}

type Work = dyn Fn(StopSignal) -> Result<(), Fault> + Send + Sync;

impl ThreadPlace {
    /// A place for `work`, called `label` in logs, in the tree, and as a thread (Linux shows 15 bytes). Nothing runs
    /// before [`start`](Place::start).
    pub fn new<F, E>(system: &System, label: impl Into<Arc<str>>, work: F) -> Self
    where
        F: Fn(StopSignal) -> Result<(), E> + Send + Sync + 'static,
        E: Into<Fault>,
    {
        ThreadPlace {
            system: system.clone(),
            label: label.into(),
            work: Arc::new(move |stop| work(stop).map_err(Into::into)),
            abandons: false,
            limit: ABANDONED_THREADS,
            abandoned: Arc::default(),
            lives: Lives::default(),
        }
    }

    /// A kill gives a thread up that still runs, and another may be started beside it: the choice that G13 leaves.
    ///
    /// What an abandoned thread does it goes on doing, beside its successor: choose this only where two at a time do no
    /// harm. It sees its [signal](StopSignal) raised. Each is logged, counted in
    /// [`Counters::abandoned_threads`](crate::Counters::abandoned_threads), and shown in
    /// [`ChildStatus::abandoned`] for as long as it runs; how it ends is only logged.
    #[must_use]
    pub fn abandon_when_stuck(mut self) -> Self {
        self.abandons = true;
        self
    }

    /// How many abandoned threads may still run, at least 1; [`ABANDONED_THREADS`] unless said otherwise. With so many a
    /// start fails and says so, until one of them has ended.
    #[must_use]
    pub fn abandon_limit(mut self, limit: usize) -> Self {
        self.limit = limit.max(1);
        self
    }

    /// Why none can be started now.
    fn refusal(&self) -> Option<Fault> {
        if self.system.clock().is_manual() {
            let why = "a thread can't be simulated: children that are threads need real arbiters";
            return Some(Fault::fatal(why));
        }
        if self.system.is_closed() {
            return Some(StartError::ShutDown.to_string().into());
        }
        let abandoned = self.abandoned.load(Ordering::Acquire);
        (abandoned >= self.limit).then(|| {
            let (label, limit) = (&self.label, self.limit);
            Fault::from(format!(
                "{abandoned} abandoned threads of `{label}` still run, and {limit} may: \
                 see `ThreadPlace::abandon_limit`"
            ))
        })
    }

    /// Gives up the thread of that incarnation, unless it has ended.
    fn abandon(&self, life: &Life) {
        // Before its end is told: who starts another then finds it counted.
        self.abandoned.fetch_add(1, Ordering::AcqRel);
        if life.tell(ChildEvent::Ended(ExitReason::Killed)) {
            self.system.counters().count_abandoned_thread();
            tracing::warn!(target: "callboard::place", child = %self.label, "a thread that still runs was abandoned");
        } else {
            self.abandoned.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Place for ThreadPlace {
    fn label(&self) -> String {
        self.label.to_string()
    }

    fn kind(&self) -> ChildKind {
        ChildKind::Thread
    }

    fn start(&self, terms: Terms) {
        let life = self.lives.begin(terms, self.system.counters_arc());
        if let Some(why) = self.refusal() {
            life.tell(ChildEvent::StartFailed(why));
            return;
        }
        let run = Run {
            life: Arc::clone(&life),
            label: Arc::clone(&self.label),
            work: Arc::clone(&self.work),
            abandoned: Arc::clone(&self.abandoned),
        };
        if !executor::thread(&self.label, move || run.run()) {
            let why = Fault::from(StartError::NoThread.to_string());
            life.tell(ChildEvent::StartFailed(why));
        }
    }

    fn stop(&self) {
        if let Some(life) = self.lives.current() {
            life.stop();
        }
    }

    fn kill(&self) {
        let Some(life) = self.lives.current() else {
            return;
        };
        if !life.kill() {
            return;
        }
        if self.abandons {
            self.abandon(&life);
        } else {
            let why = format!(
                "thread `{}` was killed and still runs: a thread ends only by itself",
                self.label
            );
            life.tell(ChildEvent::NoProgress(why));
        }
    }

    fn close(&self, _: ExitReason) {
        // Nothing is queued for a thread, and who watches one watches its supervisor.
    }

    fn status(&self) -> ChildStatus {
        let mut status = ChildStatus::new(self.lives.incarnation());
        status.abandoned = self.abandoned.load(Ordering::Acquire);
        status
    }
}

impl Drop for ThreadPlace {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for ThreadPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPlace")
            .field("label", &self.label)
            .field("abandons", &self.abandons)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// One incarnation, on its thread.
struct Run {
    life: Arc<Life>,
    label: Arc<str>,
    work: Arc<Work>,
    abandoned: Arc<AtomicUsize>,
}

impl Run {
    fn run(self) {
        let Run {
            life,
            label,
            work,
            abandoned,
        } = self;
        life.tell(ChildEvent::Started);
        let stop = life.stop_signal();
        let result = catch_unwind(AssertUnwindSafe(|| work(stop)))
            .unwrap_or_else(|payload| Err(life.panicked(&label, payload.as_ref())));
        let reason = life.reason(result);
        // What the closure holds belongs to the place, or is gone when the end is told.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(work))) {
            life.panicked(&label, payload.as_ref());
        }
        if !life.tell(ChildEvent::Ended(reason.clone())) {
            abandoned.fetch_sub(1, Ordering::AcqRel);
            tracing::info!(target: "callboard::place", child = %label, %reason, "an abandoned thread has ended");
        }
    }
}
