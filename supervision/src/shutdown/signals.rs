//! SIGTERM and SIGINT, on a thread that carries no actors.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use callboard_core::{Rest, Worker};
use futures::future::{Either, join_all, select};
use futures::pin_mut;
use rustix::process::{Pid, Signal as Number, kill_process_group};
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::SupervisorRef;
use super::plan::Plan;
use super::report::ShutdownCause;
use crate::snapshot::TreeSnapshot;

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

/// Listens from now on, unless the plan does already.
pub(super) fn listen(plan: &Arc<Plan>) -> Result<(), SignalsError> {
    if plan.system.clock().is_manual() {
        return Err(SignalsError::Simulated);
    }
    if !plan.take_listening() {
        return Ok(());
    }
    let started = start(plan);
    if started.is_err() {
        plan.give_listening_back();
    }
    started
}

fn start(plan: &Arc<Plan>) -> Result<(), SignalsError> {
    let mut ears = Some(Ears::new().map_err(SignalsError::Handlers)?);
    let mut listened = Some(Arc::clone(plan));
    let work = move || {
        if let (Some(ears), Some(plan)) = (ears.take(), listened.take()) {
            ears.listen(plan);
        }
        Rest::Ended
    };
    let thread = Worker::start(&plan.system, "callboard-signals", Duration::ZERO, work)
        .map_err(|_| SignalsError::NoThread)?;
    plan.keep(thread);
    Ok(())
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
        let handlers = signal(SignalKind::terminate()).and_then(|terminate| {
            signal(SignalKind::interrupt()).map(|interrupt| (terminate, interrupt))
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

    /// Blocks the thread until the process ends: the handlers are the process's and stay, so somebody must listen for
    /// as long as it lives.
    fn listen(mut self, plan: Arc<Plan>) {
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(async {
                self.until_over(plan).await;
                // As if nobody listened.
                let signal = self.next().await;
                std::process::exit(i32::from(signal.exit_code()));
            });
        }
    }

    /// Does what signals are for, until the plan has run. Then this keeps nothing of it, so that its system can go.
    async fn until_over(&mut self, plan: Arc<Plan>) {
        let over = plan.over();
        pin_mut!(over);
        let mut first = true;
        loop {
            let signal = {
                let next = self.next();
                pin_mut!(next);
                match select(next, over.as_mut()).await {
                    Either::Left((signal, _)) => signal,
                    Either::Right(_) => return,
                }
            };
            if std::mem::take(&mut first) {
                tracing::info!(target: "callboard::shutdown", %signal, "heard");
                // Polled by others, and by this thread. Without effect if it runs already.
                drop(plan.begin(ShutdownCause::Signal(signal)));
            } else {
                match plan.second_signal() {
                    SecondSignal::Exit => exit_at_once(&plan, signal).await,
                    SecondSignal::Report => plan.cut_short(Some(signal)),
                }
            }
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

async fn exit_at_once(plan: &Plan, signal: Signal) {
    let (names, trees) = plan.unfinished();
    for tree in trees.iter().rev() {
        tree.actor().kill();
    }
    let gone = join_all(trees.iter().map(SupervisorRef::wait));
    let grace = plan.system.clock().sleep(LAST_GRACE);
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
