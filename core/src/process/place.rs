//! A process as a child of a supervisor.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::child::{self, Run};
use super::handle::ProcessRef;
use super::spec::ProcessSpec;
use super::stream::{Lifeline, ProcessStream};
use crate::id::Incarnation;
use crate::place::{ChildEvent, ChildKind, ChildStatus, Place, Terms};
use crate::spawn::Placement;
use crate::system::System;
use crate::watch::ExitReason;

type OnStream = dyn Fn(ProcessStream, Incarnation) + Send + Sync;
type EachStart = dyn Fn(ProcessSpec, Incarnation) -> ProcessSpec + Send + Sync;

/// Where a child process lives. See the [module](crate::process).
pub struct ProcessPlace {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) system: System,
    pub(super) label: String,
    spec: ProcessSpec,
    /// Gets the byte stream of one that speaks; none for a plain process.
    pub(super) on_stream: Option<Box<OnStream>>,
    manner: Mutex<Manner>,
    pub(super) state: Mutex<State>,
}

/// How it is started, which can be changed between starts.
struct Manner {
    each_start: Option<Arc<EachStart>>,
    placement: Placement,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) incarnation: Incarnation,
    pub(super) asked: Asked,
    /// Set from the start of the process until just before it is reaped, so that a signal can't reach
    /// another that got its number since.
    pub(super) process: Option<Process>,
    /// Wakes the task that waits for the end when something was asked.
    pub(super) waker: Option<std::task::Waker>,
}

pub(super) struct Process {
    pub(super) pid: rustix::process::Pid,
    /// Readable when the process has ended, where the system has such a thing.
    #[cfg(target_os = "linux")]
    pub(super) pidfd: Option<Arc<std::os::fd::OwnedFd>>,
    pub(super) lifeline: Arc<Lifeline>,
}

impl Process {
    /// Its number.
    pub(super) fn number(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal to the process, and not to its group.
    pub(super) fn send(&self, signal: rustix::process::Signal) -> rustix::io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(pidfd) = &self.pidfd {
            return rustix::process::pidfd_send_signal(pidfd, signal);
        }
        rustix::process::kill_process(self.pid, signal)
    }

    /// Asks the process to end. Those that it started itself are its own business.
    pub(super) fn terminate(&self) {
        // An error means that it has ended.
        let _ = self.send(rustix::process::Signal::TERM);
        // One that was stopped (SIGSTOP) hears of it only when it goes on.
        let _ = self.send(rustix::process::Signal::CONT);
    }
}

/// What the owner asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Asked {
    #[default]
    Nothing,
    Stop,
    Kill,
}

impl ProcessPlace {
    /// A place for the process that `spec` describes. At each start `on_stream` gets its byte stream, on
    /// the arbiter where the process is waited for, before the child counts as started; it must not
    /// block, and hands the stream to a task elsewhere if there is more to do than to look at a line now and then. A
    /// panic in it is a failed start.
    ///
    /// # Example
    /// See the [module](crate::process).
    pub fn new(
        system: &System,
        spec: ProcessSpec,
        on_stream: impl Fn(ProcessStream, Incarnation) + Send + Sync + 'static,
    ) -> Self {
        ProcessPlace::make(system, spec, Some(Box::new(on_stream)))
    }

    /// A place for a process that speaks no protocol. What it writes to its stdout goes where
    /// [`ProcessSpec::stdout`] says, line by line to `tracing` by default. Its stdin is a pipe into which
    /// nothing is written, and which ends when it should: its lifeline.
    ///
    /// ```no_run
    /// # use callboard_core::{System, process::{Limit, Output, ProcessPlace, ProcessSpec}};
    /// # fn example(system: &System) {
    /// let spec = ProcessSpec::new("converter")
    ///     .arg("--watch")
    ///     .stderr(Output::Trace)
    ///     .limit(Limit::AddressSpace, 512 << 20)
    ///     .fatal_status(78);
    /// let place = ProcessPlace::plain(system, spec);
    /// # }
    /// ```
    #[must_use]
    pub fn plain(system: &System, spec: ProcessSpec) -> Self {
        ProcessPlace::make(system, spec, None)
    }

    fn make(system: &System, spec: ProcessSpec, on_stream: Option<Box<OnStream>>) -> Self {
        let shared = Shared {
            system: system.clone(),
            label: spec.label_text(),
            spec,
            on_stream,
            manner: Mutex::new(Manner {
                each_start: None,
                placement: Placement::Control,
            }),
            state: Mutex::default(),
        };
        ProcessPlace {
            shared: Arc::new(shared),
        }
    }

    /// Changes the description at each start: a port, a path, the incarnation in an argument. A panic in
    /// it is a failed start. The label stays what it was.
    #[must_use]
    pub fn each_start(
        self,
        change: impl Fn(ProcessSpec, Incarnation) -> ProcessSpec + Send + Sync + 'static,
    ) -> Self {
        self.shared.manner.lock().each_start = Some(Arc::new(change));
        self
    }

    /// On which arbiter the process is waited for, its output traced, its heartbeat heard and its stream lent; unless
    /// said otherwise on [`Placement::Control`], where no actor that blocks its thread can delay what its end
    /// leads to. For one whose traced output is more than a few thousand lines a second, choose another, or
    /// another [`Output`](super::Output).
    #[must_use]
    pub fn placement(self, placement: Placement) -> Self {
        self.shared.manner.lock().placement = placement;
        self
    }

    /// A handle to whichever process runs here, for others than its supervisor.
    #[must_use]
    pub fn reference(&self) -> ProcessRef {
        ProcessRef::new(Arc::clone(&self.shared))
    }
}

impl Shared {
    /// The description for that incarnation.
    pub(super) fn describe(&self, incarnation: Incarnation) -> ProcessSpec {
        let change = self.manner.lock().each_start.clone();
        let spec = self.spec.clone();
        match change {
            Some(change) => change(spec, incarnation),
            None => spec,
        }
    }

    /// Marks what was asked and acts on a running process at once, on the caller's thread: a busy arbiter
    /// doesn't delay it (G4).
    fn ask(&self, asked: Asked) {
        let mut state = self.state.lock();
        if state.asked >= asked {
            return;
        }
        state.asked = asked;
        let mut close = None;
        if let Some(process) = &state.process {
            match asked {
                Asked::Kill => child::kill_group(process.pid),
                _ => process.terminate(),
            }
            close = Some(Arc::clone(&process.lifeline));
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(lifeline) = close {
            lifeline.close();
        }
        waker.into_iter().for_each(std::task::Waker::wake);
    }
}

impl Place for ProcessPlace {
    fn label(&self) -> String {
        self.shared.label.clone()
    }

    fn kind(&self) -> ChildKind {
        ChildKind::Process
    }

    fn start(&self, terms: Terms) {
        let mut state = self.shared.state.lock();
        state.incarnation = state.incarnation.next();
        // What was asked was meant for the incarnation before.
        state.asked = Asked::Nothing;
        let incarnation = state.incarnation;
        drop(state);
        let run = Run::new(Arc::clone(&self.shared), incarnation, terms);
        let system = &self.shared.system;
        let placement = self.shared.manner.lock().placement;
        // If the system is gone, dropping `run` reports the end.
        if !system.is_closed() {
            system.spawn(placement, move || run.run());
        }
    }

    fn stop(&self) {
        self.shared.ask(Asked::Stop);
    }

    fn kill(&self) {
        self.shared.ask(Asked::Kill);
    }

    fn close(&self, _reason: ExitReason) {
        // Nothing is queued for a process, and who watches one watches its supervisor.
    }

    fn status(&self) -> ChildStatus {
        let state = self.shared.state.lock();
        let mut status = ChildStatus::new(state.incarnation);
        status.pid = state.process.as_ref().map(Process::number);
        status
    }
}

impl fmt::Debug for ProcessPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPlace")
            .field("label", &self.shared.label)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Sends the events of one incarnation: exactly one last event, also if its task is dropped.
pub(super) struct Report {
    terms: Terms,
    incarnation: Incarnation,
    done: bool,
}

impl Report {
    pub(super) fn new(terms: Terms, incarnation: Incarnation) -> Self {
        Report {
            terms,
            incarnation,
            done: false,
        }
    }

    /// Tells of something that isn't the last.
    pub(super) fn tell(&self, event: ChildEvent) {
        self.terms.tell(self.incarnation, event);
    }

    pub(super) fn end(&mut self, event: ChildEvent) {
        if !std::mem::replace(&mut self.done, true) {
            self.terms.tell(self.incarnation, event);
        }
    }
}
