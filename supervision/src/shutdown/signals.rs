//! SIGTERM and SIGINT, on a thread that carries no actors.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use callboard_core::clock::Clock;
use callboard_core::{Rest, Worker};
use futures::future::{Either, join_all, select};
use futures::pin_mut;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal as Number, kill_process_group};
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::SupervisorRef;
use super::plan::Plan;
use super::report::ShutdownCause;
use crate::tree::TreeSnapshot;

/// How long killed trees have to end before the process does.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// A signal that begins a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum Signal {
    /// SIGTERM, 15: `kill`, systemd, Kubernetes, a supervisor of processes.
    #[serde(rename = "SIGTERM")]
    Terminate,
    /// SIGINT, 2: Ctrl-C.
    #[serde(rename = "SIGINT")]
    Interrupt,
}

impl Signal {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Signal::Terminate => 15,
            Signal::Interrupt => 2,
        }
    }

    /// 128 + its number: what a shell says of a program that it ended.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        128 + self.number()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
        })
    }
}

/// What a second signal does, while the plan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SecondSignal {
    /// Ends the process at once: kills the registered trees, so that child processes end with all of their groups,
    /// writes a line to stderr that names what was cut off, and exits with 128 + the signal's number. Nothing is
    /// waited for but the killed, for at most a second.
    #[default]
    Exit,
    /// [Cuts the run short](crate::Shutdown::cut_short), so that the report comes soon, and says so. The program ends
    /// itself. (If it can't, because its own thread is blocked, a signal after the report ends it.)
    Report,
}

/// Why a plan can't listen to signals.
#[derive(Debug)]
#[non_exhaustive]
pub enum SignalsError {
    /// The system is simulated, and signals are outside the simulation (G38).
    Simulated,
    /// The operating system gave no thread.
    NoThread,
    /// The operating system did not take the handlers.
    Handlers(io::Error),
}

impl fmt::Display for SignalsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignalsError::Simulated => f.write_str(
                "the simulating executor has no signals: call `Shutdown::run`, or use real arbiters",
            ),
            SignalsError::NoThread => {
                f.write_str("the operating system has no thread left to listen to signals")
            }
            SignalsError::Handlers(error) => {
                write!(f, "the operating system takes no handlers of signals: {error}")
            }
        }
    }
}

impl std::error::Error for SignalsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SignalsError::Handlers(error) => Some(error),
            SignalsError::Simulated | SignalsError::NoThread => None,
        }
    }
}

/// Signals are the process's, so this is, too: one thread that hears them, started with the first plan that listens,
/// and the plans that have not come to their end.
static LISTENING: Mutex<Listening> = Mutex::new(Listening {
    ears: None,
    plans: Vec::new(),
});

struct Listening {
    /// Keeps the thread.
    ears: Option<Worker>,
    /// With how many signals each has heard.
    plans: Vec<(Arc<Plan>, u32)>,
}

/// Listens from now on, unless the plan does already.
pub(super) fn listen(plan: &Arc<Plan>) -> Result<(), SignalsError> {
    if plan.system.clock().is_manual() {
        return Err(SignalsError::Simulated);
    }
    let mut listening = LISTENING.lock();
    if plan.is_over() || listening.has(plan) {
        return Ok(());
    }
    if listening.ears.is_none() {
        let mut ears = Some(Ears::new().map_err(SignalsError::Handlers)?);
        let work = move || {
            if let Some(ears) = ears.take() {
                ears.listen();
            }
            Rest::Ended
        };
        let worker = Worker::start(&plan.system, "callboard-signals", Duration::ZERO, work);
        listening.ears = Some(worker.map_err(|_| SignalsError::NoThread)?);
    }
    listening.plans.push((Arc::clone(plan), 0));
    Ok(())
}

/// The plan has come to its end: signals are none of its business any more.
pub(super) fn forget(plan: &Arc<Plan>) {
    let mut listening = LISTENING.lock();
    listening
        .plans
        .retain(|(listens, _)| !Arc::ptr_eq(listens, plan));
}

impl Listening {
    fn has(&self, plan: &Arc<Plan>) -> bool {
        let mut plans = self.plans.iter();
        plans.any(|(listens, _)| Arc::ptr_eq(listens, plan))
    }
}

/// Handlers, and the runtime that hears them.
struct Ears {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Ears {
    /// Made where the error is heard of, not on the thread.
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate());
        let handlers = terminate.and_then(|terminate| {
            let interrupt = signal(SignalKind::interrupt())?;
            Ok((terminate, interrupt))
        });
        drop(entered);
        match handlers {
            Ok((terminate, interrupt)) => Ok(Ears {
                runtime: Some(runtime),
                terminate,
                interrupt,
            }),
            Err(error) => {
                // This may be inside another runtime, where dropping one must not block.
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Blocks the thread until the process ends: the handlers stay for as long, so somebody must listen.
    fn listen(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(async {
                loop {
                    let signal = self.next().await;
                    heard(signal).await;
                }
            });
        }
    }

    async fn next(&mut self) -> Signal {
        let (terminate, interrupt) = (self.terminate.recv(), self.interrupt.recv());
        pin_mut!(terminate, interrupt);
        match select(terminate, interrupt).await {
            Either::Left((Some(()), _)) => Signal::Terminate,
            Either::Right((Some(()), _)) => Signal::Interrupt,
            // Only if the runtime were gone, which this runs on.
            Either::Left((None, _)) | Either::Right((None, _)) => std::future::pending().await,
        }
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Does what a signal means to each plan that listens.
async fn heard(signal: Signal) {
    let plans: Vec<_> = {
        let mut listening = LISTENING.lock();
        let plans = listening.plans.iter_mut().map(|(plan, signals)| {
            *signals += 1;
            (Arc::clone(plan), *signals)
        });
        plans.collect()
    };
    if plans.is_empty() {
        // As if nobody listened.
        std::process::exit(i32::from(signal.exit_code()));
    }
    let again = |(plan, signals): &(Arc<Plan>, u32)| {
        *signals > 1 && plan.second_signal() == SecondSignal::Exit
    };
    if plans.iter().any(again) {
        exit_at_once(&plans, signal).await;
    }
    for (plan, signals) in plans {
        if signals == 1 {
            tracing::info!(target: "callboard::shutdown", %signal, "heard");
            // Polled by others. Without effect if it runs already.
            drop(plan.begin(ShutdownCause::Signal(signal)));
        } else {
            plan.cut_short(Some(signal));
        }
    }
}

/// Ends the process, and the trees of all plans.
async fn exit_at_once(plans: &[(Arc<Plan>, u32)], signal: Signal) {
    let (mut names, mut trees) = (Vec::new(), Vec::new());
    for (plan, _) in plans {
        let unfinished = plan.unfinished();
        names.extend(unfinished.0);
        trees.extend(unfinished.1);
    }
    for tree in trees.iter().rev() {
        tree.actor().kill();
    }
    let gone = join_all(trees.iter().map(SupervisorRef::wait));
    let grace = Clock::machine().sleep(LAST_GRACE);
    drop(select(gone, grace).await);
    // What a blocked arbiter kept from hearing of it.
    for tree in &trees {
        kill_processes(&tree.observe());
    }
    let cut = if names.is_empty() {
        "nothing but the system's actors".to_owned()
    } else {
        names.join(", ")
    };
    // Nobody is left to tell, if stderr is closed.
    let _ = writeln!(
        io::stderr(),
        "{signal} again: ended at once; cut off: {cut}"
    );
    std::process::exit(i32::from(signal.exit_code()));
}

/// Ends the groups of all processes in a tree that still run.
fn kill_processes(tree: &TreeSnapshot) {
    let pid = tree.pid.and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // An error: it has ended meanwhile.
        let _ = kill_process_group(pid, Number::KILL);
    }
    tree.children.iter().for_each(kill_processes);
}
