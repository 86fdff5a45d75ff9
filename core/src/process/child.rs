//! One incarnation of a process, from its start until it was reaped.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{self, Either, FusedFuture};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

use super::confine::confine;
use super::launch::{Launched, launch, wait_for_end};
use super::output::{self, Source};
use super::place::{Asked, Process, Report, Shared};
use super::pulse::{Pulse, Stdout, StdoutReader};
use super::signal::signal_text;
use super::spec::ProcessSpec;
use super::stream::{Lifeline, ProcessStream};
use crate::executor;
use crate::fault::Fault;
use crate::id::Incarnation;
use crate::panics::panic_text;
use crate::place::{ChildEvent, Terms};
use crate::watch::ExitReason;

/// How long what a child wrote before its end is still waited for. Its group is dead by then;
/// only a process that left the group can hold the pipe open.
const OUTPUT_GRACE: Duration = Duration::from_millis(100);

/// One incarnation. Dropping it unfinished kills the process group, has the process reaped, and reports the end.
pub(super) struct Run {
    shared: Arc<Shared>,
    incarnation: Incarnation,
    report: Report,
}

/// What there is of a process that has come up.
#[derive(Default)]
struct Begun {
    /// Where its signs of life are heard.
    heard: Option<Heard>,
    /// Its stdout, if it goes to `tracing`.
    stdout: Option<StdoutReader>,
    /// Its stderr, if it goes to `tracing`.
    stderr: Option<ChildStderr>,
}

/// Where signs of life are heard, and how long there may be none.
struct Heard {
    pulse: Arc<Pulse>,
    limit: Duration,
    stdout: Arc<Stdout>,
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
        match self.describe() {
            Ok(spec) => self.live_as(&spec).await,
            Err(fault) => ChildEvent::StartFailed(fault),
        }
    }

    /// What to start. A description that makes no sense will make none the next time either.
    fn describe(&self) -> Result<ProcessSpec, Fault> {
        let describe = AssertUnwindSafe(|| self.shared.describe(self.incarnation));
        let spec = catch_unwind(describe).map_err(|payload| {
            self.shared.system.counters().count_panic();
            let text = panic_text(payload.as_ref());
            let label = &self.shared.label;
            Fault::from(format!("`each_start` of `{label}` panicked: {text}"))
        })?;
        let lent = self.shared.on_stream.is_some();
        spec.check(lent).map_err(Fault::fatal)?;
        Ok(spec)
    }

    async fn live_as(&mut self, spec: &ProcessSpec) -> ChildEvent {
        let launched = launch(spec, self.shared.on_stream.is_some()).await;
        let mut process = match launched {
            Ok(process) => process,
            Err(why) => return ChildEvent::StartFailed(why.into()),
        };
        let pid = process.pid;
        // Declared after it, so that it is dropped before the process is reaped.
        let known = Known(&self.shared);
        let begun = confine(spec, pid).and_then(|()| self.introduce(&mut process, spec));
        let (begun, refused) = match begun {
            Ok(begun) => (begun, None),
            Err(why) => {
                kill_group(pid);
                (Begun::default(), Some(why))
            }
        };
        let Begun {
            heard,
            stdout,
            stderr,
        } = begun;
        let source = |stream| Source {
            label: &self.shared.label,
            pid: pid.as_raw_nonzero().get().unsigned_abs(),
            stream,
        };
        let pumps = future::join(
            async {
                if let Some(stdout) = stdout {
                    output::pump(stdout, source("stdout")).await;
                }
            },
            async {
                if let Some(stderr) = stderr {
                    output::pump(stderr, source("stderr")).await;
                }
            },
        );
        let mut pumps = pin!(pumps.fuse());
        if refused.is_none() {
            self.report.tell(ChildEvent::Started);
        }
        {
            let ending = pin!(self.end(spec, pid, heard));
            match future::select(ending, pumps.as_mut()).await {
                Either::Left(((), _)) => {}
                Either::Right((_, ending)) => ending.await,
            }
        }
        drop(known);
        let status = process.reap();
        if !pumps.is_terminated() {
            let grace = self.shared.system.clock().sleep(OUTPUT_GRACE);
            future::select(pumps, grace).await;
        }
        match refused {
            Some(why) => ChildEvent::StartFailed(why.into()),
            None => ChildEvent::Ended(self.reason(status, spec)),
        }
    }

    /// Makes the process known to the place, and its stream to the callback. Why the start failed, if so.
    fn introduce(&self, launched: &mut Launched, spec: &ProcessSpec) -> Result<Begun, String> {
        let shared = &self.shared;
        let label = &shared.label;
        let pid = launched.pid;
        let (stdin, stdout, stderr) = launched.pipes();
        let lost = |error| format!("could not take on the pipes of `{label}`: {error}");
        let stdin = stdin.map(ChildStdin::from_std).transpose().map_err(lost)?;
        let stdout = stdout
            .map(ChildStdout::from_std)
            .transpose()
            .map_err(lost)?;
        let stderr = stderr
            .map(ChildStderr::from_std)
            .transpose()
            .map_err(lost)?;
        let Some(stdin) = stdin else {
            return Err(format!("`{label}` had no pipe for its stdin"));
        };
        let lifeline = Lifeline::new(label, stdin);
        let process = Process {
            pid,
            #[cfg(target_os = "linux")]
            pidfd: open_pidfd(pid),
            lifeline: Arc::clone(&lifeline),
        };
        let mut state = shared.state.lock();
        // Asked before the process was there.
        let asked = state.asked;
        match asked {
            Asked::Nothing => {}
            Asked::Stop => process.terminate(),
            Asked::Kill => kill_group(pid),
        }
        state.process = Some(process);
        drop(state);
        if asked != Asked::Nothing {
            lifeline.close();
        }
        let pulse = spec.silence_limit().map(|limit| {
            let pulse = Pulse::new(shared.system.clock());
            (Arc::new(pulse), limit)
        });
        let stdout = stdout.map(|pipe| {
            let pulse = pulse.as_ref().map(|(pulse, _)| Arc::clone(pulse));
            Stdout::new(pipe, pulse)
        });
        let (listened, reader) = stdout.unzip();
        let heard = pulse.zip(listened).map(|((pulse, limit), stdout)| Heard {
            pulse,
            limit,
            stdout,
        });
        let mut begun = Begun {
            heard,
            stdout: reader,
            stderr,
        };
        let Some(on_stream) = &shared.on_stream else {
            return Ok(begun);
        };
        let Some(reader) = begun.stdout.take() else {
            return Err(format!("`{label}` had no pipe for its stdout"));
        };
        let stream = ProcessStream::new(&lifeline, reader);
        let lent = AssertUnwindSafe(|| on_stream(stream, self.incarnation));
        if let Err(payload) = catch_unwind(lent) {
            shared.system.counters().count_panic();
            let text = panic_text(payload.as_ref());
            return Err(format!("`on_stream` of `{label}` panicked: {text}"));
        }
        Ok(begun)
    }

    /// Waits for the end, and kills what is late.
    async fn end(&self, spec: &ProcessSpec, pid: Pid, heard: Option<Heard>) {
        let pidfd = self.pidfd();
        let mut ended = pin!(ended(pid, pidfd));
        let asked = pin!(self.listen_until_asked(heard));
        if let Either::Left(_) = future::select(ended.as_mut(), asked).await {
            return;
        }
        let late = self.shared.system.clock().sleep(spec.shutdown());
        if let Either::Right(_) = future::select(ended.as_mut(), late).await {
            self.shared.state.lock().asked = Asked::Kill;
            kill_group(pid);
            ended.await;
        }
    }

    /// Completes when the owner asked for the end. Until then it is told of silence.
    async fn listen_until_asked(&self, heard: Option<Heard>) {
        let listen = async {
            if let Some(Heard {
                pulse,
                limit,
                stdout,
            }) = heard
            {
                let silent = || {
                    let what = format!("no sign of life for {limit:?}");
                    self.report.tell(ChildEvent::NoProgress(what));
                };
                let unread = || stdout.has_unread();
                pulse.watch(limit, unread, silent).await;
            }
            future::pending::<()>().await;
        };
        future::select(pin!(self.asked()), pin!(listen)).await;
    }

    #[cfg(target_os = "linux")]
    fn pidfd(&self) -> Option<Arc<OwnedFd>> {
        let state = self.shared.state.lock();
        state
            .process
            .as_ref()
            .and_then(|process| process.pidfd.clone())
    }

    #[cfg(not(target_os = "linux"))]
    fn pidfd(&self) -> Option<Arc<OwnedFd>> {
        None
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

    fn reason(&self, status: io::Result<ExitStatus>, spec: &ProcessSpec) -> ExitReason {
        use std::os::unix::process::ExitStatusExt;
        let asked = self.shared.state.lock().asked;
        let status = match status {
            Ok(status) => status,
            Err(error) => {
                let label = &self.shared.label;
                return ExitReason::Failed(format!("lost the process `{label}`: {error}").into());
            }
        };
        match (status.code(), status.signal(), asked) {
            (Some(0), _, _) => ExitReason::Stopped,
            (Some(code), _, _) if spec.is_fatal(code) => {
                ExitReason::Failed(Fault::fatal(format!("exit status {code}")))
            }
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
        // Without effect after a proper end.
        self.report.end(ChildEvent::Ended(ExitReason::Killed));
    }
}

/// That the place knows of a process. Ends before the process is reaped: until then its number, and its group's,
/// can't have been given to another.
struct Known<'a>(&'a Shared);

impl Drop for Known<'_> {
    /// Also ends what is left of the group.
    fn drop(&mut self) {
        let process = {
            let mut state = self.0.state.lock();
            let process = state.process.take();
            if let Some(process) = &process {
                kill_group(process.pid);
            }
            process
        };
        if let Some(process) = process {
            process.lifeline.close();
        }
    }
}

/// Completes when the process has ended. Doesn't reap it.
async fn ended(pid: Pid, pidfd: Option<Arc<OwnedFd>>) {
    if let Some(pidfd) = pidfd
        && watch_pidfd(pidfd).await.is_ok()
    {
        return;
    }
    // No pidfd, for want of a kernel that has it or of a file descriptor.
    let (tx, rx) = oneshot::channel();
    let waits = executor::thread("callboard-wait", move || {
        wait_for_end(pid);
        // Who asked may have gone.
        let _ = tx.send(());
    });
    if !waits {
        // Nobody would see its end: better now than never. This takes no longer than SIGKILL does.
        kill_group(pid);
        return wait_for_end(pid);
    }
    let _ = rx.await;
}

/// Completes when the pidfd can be read, which is when its process has ended.
async fn watch_pidfd(pidfd: Arc<OwnedFd>) -> io::Result<()> {
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    // Deprecated because it trusts any type to keep its descriptor open; an `OwnedFd` does. Its
    // successor is an unsafe function, which this crate does without.
    #[allow(deprecated)]
    let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
    pidfd.readable().map(|ready| ready.map(drop)).await
}

/// `None` where the kernel has no such thing, or there is no descriptor left.
#[cfg(target_os = "linux")]
fn open_pidfd(pid: Pid) -> Option<Arc<OwnedFd>> {
    use rustix::process::{PidfdFlags, pidfd_open};
    pidfd_open(pid, PidfdFlags::NONBLOCK).ok().map(Arc::new)
}

/// Ends the process and all of its group.
pub(super) fn kill_group(pid: Pid) {
    let _ = kill_process_group(pid, Signal::KILL);
}
