//! The end of a whole program, in order: what takes work in stops first, what is in hand is finished, and then
//! everything is stopped in reverse.
//!
//! A [`Shutdown`] is a plan: parts of a program put into it what they need done at the end, and when. It runs once,
//! by [`run`](Shutdown::run) or at the first SIGTERM or SIGINT ([`on_signals`](Shutdown::on_signals)), and answers
//! with a [`ShutdownReport`] that says what was cut off.
//!
//! # Phases
//! | phase | what belongs there | how | by default |
//! |---|---|---|---|
//! | [`Phase::StopTakingWork`] | listeners, subscriptions, timers that make work | all at the same time | 5 s |
//! | [`Phase::FinishWork`] | requests in hand, consumers of queues, mailboxes | all at the same time | 10 s |
//! | [`Phase::Stop`] | trees, and what they stand on: pools, files, connections | one after the other, in reverse | 10 s |
//!
//! In the first two nobody waits for anybody: all doors close at once, and a phase takes as long as its slowest part.
//! In the last one, what was registered later may stand on what was registered earlier, so the order is the reverse
//! one, as among the children of a supervisor (G15). Then the system itself is shut down.
//!
//! A phase ends as soon as nothing is left in it. At its deadline the rest is cut off: futures are dropped, actors and
//! trees killed (G11), and the report names them. With the defaults all of it takes at most 28 s
//! ([`limit`](Shutdown::limit)), which is less than the 30 s that Kubernetes gives a pod before it sends SIGKILL.
//! (Pekko's coordinated shutdown has twelve phases of 5 or 10 s, most of them for its cluster and for servers. Here a
//! part that needs finer order registers one task that has it.)
//!
//! # Where it runs
//! The plan runs on a thread of its own, and its tasks on the thread of supervisors
//! ([`Placement::Control`](callboard_core::Placement::Control)), so that a handler that blocks an arbiter for ever
//! delays nothing but itself. On the simulating executor all of it runs in virtual time, but for signals, which are
//! outside, by name (G38).

mod drive;
mod plan;
mod report;
mod signals;
mod work;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::{Actor, ActorRef, System};
use serde::Serialize;

use crate::tree::SupervisorRef;

use plan::Plan;
use work::Work;

pub use plan::ShutdownTask;
pub use report::{
    LateChild, PartKind, PartReport, PhaseReport, ShutdownCause, ShutdownReport, SystemEnd, WorkEnd,
};
pub use signals::{SecondSignal, Signal, SignalsError};
pub use work::ShutdownOutcome;

/// When something is done. In this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing new comes in from here on: listeners close, subscriptions end.
    StopTakingWork,
    /// What came in before is finished: requests are answered, queues and mailboxes drained.
    FinishWork,
    /// Everything is stopped, in the reverse order of registration.
    Stop,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Phase; 3] = [Phase::StopTakingWork, Phase::FinishWork, Phase::Stop];

    /// How long it has unless told otherwise.
    ///
    /// 5 s for closing doors, as Pekko gives a phase. 10 s for what is in hand, twice the deadline that an ask has
    /// across processes. 10 s for stopping, so that a tree with one child that is late by its whole
    /// [shutdown time](crate::DEFAULT_SHUTDOWN_TIME) still stops in order.
    #[must_use]
    pub const fn default_deadline(self) -> Duration {
        match self {
            Phase::StopTakingWork => Duration::from_secs(5),
            Phase::FinishWork | Phase::Stop => Duration::from_secs(10),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::StopTakingWork => "stop taking work",
            Phase::FinishWork => "finish work",
            Phase::Stop => "stop",
        })
    }
}

/// How a system is to be shut down, and its shutdown. Clones are handles to the same plan.
///
/// There is no global plan: each system has its own, or several, or none. [`System::shutdown`] doesn't know of it.
///
/// Keeps G11 (a stop lets what is in hand finish, a kill doesn't) and G15 (what was started last is stopped first)
/// for a whole program.
///
/// # Example
/// ```
/// use callboard_core::{Actor, Context, Handler, Message, Simulation};
/// use callboard_supervision::{Phase, Shutdown, Supervisor};
///
/// struct Print(&'static str);
/// impl Message for Print {
///     type Reply = ();
/// }
/// struct Printer;
/// impl Actor for Printer {}
/// impl Handler<Print> for Printer {
///     async fn handle(&mut self, _: Print, _: &mut Context<Self>) {}
/// }
///
/// let mut simulation = Simulation::new(1);
/// let system = simulation.system().clone();
/// simulation.block_on(async move {
///     let shutdown = Shutdown::new(&system);
///     let (printer, place) = system.actor(|| Printer).label("printer").place();
///     # let _ = printer;
///     let office = Supervisor::builder("office").child(place).start(&system)?;
///     let queue = system.actor(|| Printer).label("queue").start();
///     shutdown.tree(&office);
///     shutdown.drain(&queue);
///     shutdown.on(Phase::StopTakingWork, "front door", || async { /* close it */ });
///     queue.tell(Print("the last page")).await.unwrap();
///
///     let report = shutdown.run().await; // or: `shutdown.on_signals()?.await`
///     assert!(report.is_clean(), "{report}");
///     Ok::<(), callboard_supervision::TreeError>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct Shutdown {
    plan: Arc<Plan>,
}

impl Shutdown {
    /// An empty plan for that system. Nothing runs as yet.
    #[must_use]
    pub fn new(system: &System) -> Self {
        Shutdown {
            plan: Plan::new(system),
        }
    }

    /// How long a phase may take, from its beginning; [`Phase::default_deadline`] unless said otherwise. Zero gives
    /// it no time: what it begins is cut off. No effect on a phase that has begun.
    #[must_use = "the same plan, for further words"]
    pub fn deadline(self, phase: Phase, span: Duration) -> Self {
        self.plan.set_deadline(phase, span);
        self
    }

    /// What a second signal does; [`SecondSignal::Exit`] unless said otherwise.
    #[must_use = "the same plan, for further words"]
    pub fn second_signal(self, what: SecondSignal) -> Self {
        self.plan.set_second_signal(what);
        self
    }

    /// Has something done in a phase. The task is made and runs on the thread of supervisors, so it must not block;
    /// it needn't be `Send`. It ends well, or by an error or a panic, which the report tells and which stop nobody
    /// else; at the phase's deadline it is dropped.
    ///
    /// It can be registered at any time. If its phase is over it is done in the present one; if all is over it is
    /// dropped, and the handle [says so](ShutdownTask::is_too_late).
    ///
    /// A plan isn't a buffer, and has no bound: a part that comes and goes [removes](ShutdownTask::remove) what it
    /// has registered.
    pub fn on<F, Fut>(&self, phase: Phase, name: impl Into<String>, task: F) -> ShutdownTask
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future + 'static,
        Fut::Output: ShutdownOutcome,
    {
        self.plan.add(phase, name.into(), Work::task(task))
    }

    /// Has an actor finish what is queued for it, in [`Phase::FinishWork`]: it is [drained](ActorRef::drain), and
    /// ends. At the deadline it is killed, and the report tells how many messages it had left; they are dead letters.
    ///
    /// One that [somebody owns](ActorRef::is_owned), a supervisor say, would be started again: it isn't ended, and
    /// the phase waits until its mailbox is empty. Its tree stops it in the next one, after the message in hand.
    pub fn drain<A: Actor>(&self, actor: &ActorRef<A>) -> ShutdownTask {
        let name = actor.label().to_string();
        self.plan
            .add(Phase::FinishWork, name, Work::drain(actor.clone()))
    }

    /// Has a tree stopped in [`Phase::Stop`], once what was registered later for that phase has ended. At the deadline
    /// it is killed, and with it its children.
    ///
    /// It is for the top of a tree: one that is the child of another would be started again. Trees that nobody
    /// registers, and actors, are stopped with the system, the newest first.
    pub fn tree(&self, tree: &SupervisorRef) -> ShutdownTask {
        let name = tree.label().to_owned();
        self.plan.add(Phase::Stop, name, Work::Tree(tree.clone()))
    }

    /// Runs the plan, and shuts the system down. If it runs already, or has run, answers what that run answers: it
    /// runs once.
    ///
    /// Must not be awaited by an actor of the same system: it would wait for itself, and be killed.
    ///
    /// # Cancel safety
    /// It goes on if this is dropped.
    pub async fn run(&self) -> ShutdownReport {
        let run = self.plan.begin(ShutdownCause::Call);
        let report = run.await;
        ShutdownReport::clone(&report)
    }

    /// Runs the plan at the first SIGTERM or SIGINT; from now on, also if what it returns is never awaited or dropped.
    /// That completes when the plan has run, whatever began it.
    ///
    /// Signals come to a thread that carries no actors, so no handler can keep them away. What they mean:
    /// - The first one runs the plan. If it runs already, because of a [call](Shutdown::run), it goes on: who
    ///   restarts a program that is about to end must not cut it off.
    /// - The second one is for somebody who doesn't want to wait: see [`SecondSignal`].
    /// - One that comes when all plans that listened have run ends the process at once, with exit code 128 + its
    ///   number, as it would without a handler.
    ///
    /// SIGHUP is left alone: it ends a program by default, and daemons use it for other things. A program that wants
    /// it listens itself and calls [`run`](Shutdown::run).
    ///
    /// Signal handlers belong to the process, so two plans that listen both run at the same signal, and the thread is
    /// one for both. It stays for the rest of the process, as the handlers do, which are tokio's. Called again it
    /// listens once.
    ///
    /// # Errors
    /// [`SignalsError`]: nothing has changed then.
    pub fn on_signals(
        &self,
    ) -> Result<impl Future<Output = ShutdownReport> + Send + use<>, SignalsError> {
        signals::listen(&self.plan)?;
        let plan = Arc::clone(&self.plan);
        Ok(async move { ShutdownReport::clone(&*plan.over().await) })
    }

    /// Completes when the plan begins to run; at once if it has. For servers that take a future as the sign to close:
    /// `axum::serve(listener, app).with_graceful_shutdown(shutdown.begins())`.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub fn begins(&self) -> impl Future<Output = ()> + Send + use<> {
        let plan = Arc::clone(&self.plan);
        async move { plan.begins().await }
    }

    /// Whether it has begun to run. A readiness probe says no from here on.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.plan.has_begun()
    }

    /// The phase that it is in; `None` before, and once the system itself is shut down.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.plan.phase()
    }

    /// Gives what runs, and what is still to come, no more time: all of it is cut off, and the report comes soon. What
    /// a second signal does with [`SecondSignal::Report`], from code. Without effect unless it runs.
    pub fn cut_short(&self) {
        self.plan.cut_short(None);
    }

    /// The longest that it can take: the deadlines of the phases, and what the killed have to end. Whoever starts the
    /// program should give it longer than that: `terminationGracePeriodSeconds`, `TimeoutStopSec`.
    ///
    /// Code that never yields can't be ended (G11); it is left behind, and doesn't lengthen this.
    #[must_use]
    pub fn limit(&self) -> Duration {
        Phase::ALL
            .iter()
            .map(|phase| self.plan.deadline(*phase))
            .fold(drive::GRACES, Duration::saturating_add)
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt(f)
    }
}
