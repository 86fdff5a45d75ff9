//! One incarnation of a process, from its start until it was reaped.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{self, Either, FusedFuture};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Child;

use super::place::{Asked, Process, Report, Shared};
use super::stderr;
use super::stream::ProcessStream;
use crate::id::Incarnation;
use crate::panics::panic_text;
use crate::place::{ChildEvent, Terms};
use crate::watch::ExitReason;

/// How long what a child wrote to stderr before its end is still waited for. Its group is dead by then;
/// only a process that left the group can hold the pipe open.
const STDERR_GRACE: Duration = Duration::from_millis(100);

/// One incarnation. Dropping it unfinished kills the process group and reports the end.
pub(super) struct Run {
    shared: Arc<Shared>,
    incarnation: Incarnation,
    report: Report,
}

impl Run {
    pub(super) fn new(shared: Arc<Shared>, incarnation: Incarnation, terms: Terms) -> Self {
        Run {
            shared,
            incarnation,
            report: Report::new(terms, incarnation),
        }
    }

    pub(super) async fn run(mut self) {
        let event = self.live().await;
        self.report.end(event);
    }

    async fn live(&mut self) -> ChildEvent {
        let mut child = match self.spawn() {
            Ok(child) => child,
            Err(event) => return event,
        };
        let Some(pid) = child.id().and_then(to_pid) else {
            return ChildEvent::StartFailed("the process had no id".into());
        };
        let refused = self.introduce(&mut child, pid);
        let stderr = child.stderr.take();
        let number = pid.as_raw_nonzero().get().unsigned_abs();
        let pump = async {
            if let Some(stderr) = stderr {
                stderr::pump(stderr, &self.shared.label, number).await;
            }
        };
        let mut stderr = pin!(pump.fuse());
        if refused.is_none() {
            self.report.started();
        }
        let status = {
            let ending = pin!(self.reap(&mut child, pid));
            match future::select(ending, stderr.as_mut()).await {
                Either::Left((status, _)) => status,
                Either::Right(((), ending)) => ending.await,
            }
        };
        if !stderr.is_terminated() {
            let grace = self.shared.system.clock().sleep(STDERR_GRACE);
            future::select(stderr, grace).await;
        }
        match refused {
            Some(why) => ChildEvent::StartFailed(why.into()),
            None => ChildEvent::Ended(self.reason(status)),
        }
    }

    /// Starts the process.
    fn spawn(&self) -> Result<Child, ChildEvent> {
        let shared = &self.shared;
        let spec = match &shared.each_start {
            None => shared.spec.clone(),
            Some(change) => {
                let changed = AssertUnwindSafe(|| change(shared.spec.clone(), self.incarnation));
                catch_unwind(changed).map_err(|payload| {
                    let text = panic_text(payload.as_ref());
                    ChildEvent::StartFailed(format!("`each_start` panicked: {text}").into())
                })?
            }
        };
        let program = spec.program().to_string_lossy();
        if tokio::runtime::Handle::try_current().is_err() {
            let why = format!(
                "could not start `{program}`: processes need arbiters, and the simulating executor has none"
            );
            return Err(ChildEvent::StartFailed(why.into()));
        }
        spec.command().spawn().map_err(|error| {
            ChildEvent::StartFailed(format!("could not start `{program}`: {error}").into())
        })
    }

    /// Makes the process known to the place and its stream to the callback. Why the start failed, if so.
    fn introduce(&self, child: &mut Child, pid: Pid) -> Option<String> {
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            kill_group(pid);
            return Some("the process had no pipes".to_owned());
        };
        let (stream, lifeline) = ProcessStream::new(stdin, stdout);
        let process = Process {
            pid,
            lifeline: Arc::clone(&lifeline),
        };
        let mut state = self.shared.state.lock();
        state.process = Some(process);
        // Asked before the process was there.
        match state.asked {
            Asked::Nothing => {}
            Asked::Stop => terminate(pid),
            Asked::Kill => kill_group(pid),
        }
        let asked = state.asked;
        drop(state);
        if asked != Asked::Nothing {
            lifeline.close();
        }
        let lent = AssertUnwindSafe(|| (self.shared.on_stream)(stream, self.incarnation));
        let payload = catch_unwind(lent).err()?;
        self.shared.system.counters().count_panic();
        kill_group(pid);
        Some(format!(
            "`on_stream` panicked: {}",
            panic_text(payload.as_ref())
        ))
    }

    /// Waits for the end, kills what is late or left over, and reaps.
    async fn reap(&self, child: &mut Child, pid: Pid) -> io::Result<ExitStatus> {
        let ended = {
            let mut ended = pin!(exited(child, pid));
            let asked = {
                let asked = pin!(self.asked());
                match future::select(ended.as_mut(), asked).await {
                    Either::Left((status, _)) => Either::Left(status),
                    Either::Right(((), _)) => Either::Right(()),
                }
            };
            match asked {
                Either::Left(status) => status,
                Either::Right(()) => {
                    let late = self
                        .shared
                        .system
                        .clock()
                        .sleep(self.shared.spec.shutdown());
                    match future::select(ended.as_mut(), late).await {
                        Either::Left((status, _)) => status,
                        Either::Right(((), _)) => {
                            self.shared.state.lock().asked = Asked::Kill;
                            kill_group(pid);
                            ended.await
                        }
                    }
                }
            }
        };
        // The child is a zombie now: its number, and its group's, can't have been given to another.
        let process = {
            let mut state = self.shared.state.lock();
            kill_group(pid);
            state.process.take()
        };
        if let Some(process) = process {
            process.lifeline.close();
        }
        match ended {
            Some(status) => status,
            None => child.wait().await,
        }
    }

    /// Completes when the owner asked for the end.
    fn asked(&self) -> impl Future<Output = ()> + '_ {
        future::poll_fn(|cx| {
            let mut state = self.shared.state.lock();
            if state.asked != Asked::Nothing {
                return Poll::Ready(());
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
    }

    fn reason(&self, status: io::Result<ExitStatus>) -> ExitReason {
        use std::os::unix::process::ExitStatusExt;
        let asked = self.shared.state.lock().asked;
        let status = match status {
            Ok(status) => status,
            Err(error) => return ExitReason::Failed(format!("lost the process: {error}").into()),
        };
        match (status.code(), status.signal(), asked) {
            (Some(0), _, _) => ExitReason::Stopped,
            (Some(code), _, _) => ExitReason::Failed(format!("exit status {code}").into()),
            (_, Some(signal), Asked::Stop) if signal == Signal::TERM.as_raw() => {
                ExitReason::Stopped
            }
            (_, Some(signal), Asked::Kill) if signal == Signal::KILL.as_raw() => ExitReason::Killed,
            (_, Some(signal), _) => ExitReason::Failed(signal_text(signal).into()),
            (None, None, _) => ExitReason::Failed(status.to_string().into()),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let process = {
            let mut state = self.shared.state.lock();
            let process = state.process.take();
            if let Some(process) = &process {
                kill_group(process.pid);
            }
            process
        };
        if let Some(process) = process {
            process.lifeline.close();
        }
        // Without effect after a proper end. `kill_on_drop` has the runtime reap the process.
        self.report.end(ChildEvent::Ended(ExitReason::Killed));
    }
}

/// Completes when the process has ended, without reaping it where the kernel can tell (a pidfd); else
/// with its status.
async fn exited(child: &mut Child, pid: Pid) -> Option<io::Result<ExitStatus>> {
    #[cfg(target_os = "linux")]
    if watch_pidfd(pid).await.is_ok() {
        return None;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = pid;
    Some(child.wait().await)
}

#[cfg(target_os = "linux")]
async fn watch_pidfd(pid: Pid) -> io::Result<()> {
    use rustix::process::{PidfdFlags, pidfd_open};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // Deprecated because it trusts any type to keep its descriptor open; an `OwnedFd` does. Its
    // successor is an unsafe function, which this crate does without.
    #[allow(deprecated)]
    let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
    pidfd.readable().map(|ready| ready.map(drop)).await
}

fn to_pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// Asks the process to end. Those that it started itself are its own business.
pub(super) fn terminate(pid: Pid) {
    // An error means that it has ended.
    let _ = kill_process(pid, Signal::TERM);
    // One that was stopped (SIGSTOP) hears of it only when it goes on.
    let _ = kill_process(pid, Signal::CONT);
}

/// Ends the process and all of its group.
pub(super) fn kill_group(pid: Pid) {
    let _ = kill_process_group(pid, Signal::KILL);
}

/// A signal as `signal 9 (SIGKILL)`.
fn signal_text(number: i32) -> String {
    const NAMES: [(Signal, &str); 12] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
    ];
    let name = NAMES.iter().find(|(signal, _)| signal.as_raw() == number);
    match name {
        Some((_, name)) => format!("signal {number} ({name})"),
        None => format!("signal {number}"),
    }
}
