//! A process as a child of a supervisor.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::child::{self, Run};
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
    pub(super) spec: ProcessSpec,
    pub(super) on_stream: Box<OnStream>,
    pub(super) each_start: Option<Box<EachStart>>,
    placement: Placement,
    pub(super) state: Mutex<State>,
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
    pub(super) lifeline: Arc<Lifeline>,
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
    /// block. A panic in it is a failed start.
    ///
    /// # Example
    /// See the [module](crate::process).
    pub fn new(
        system: &System,
        spec: ProcessSpec,
        on_stream: impl Fn(ProcessStream, Incarnation) + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            system: system.clone(),
            label: spec.label_text(),
            spec,
            on_stream: Box::new(on_stream),
            each_start: None,
            placement: Placement::Control,
            state: Mutex::default(),
        };
        ProcessPlace {
            shared: Arc::new(shared),
        }
    }

    /// Changes the description at each start: a port, a path, the incarnation in an argument. A panic in
    /// it is a failed start.
    #[must_use]
    pub fn each_start(
        self,
        change: impl Fn(ProcessSpec, Incarnation) -> ProcessSpec + Send + Sync + 'static,
    ) -> Self {
        self.map(|shared| shared.each_start = Some(Box::new(change)))
    }

    /// On which arbiter the process is started and waited for, and its stream lent; unless said otherwise on
    /// [`Placement::Control`], where no actor that blocks its thread can delay what its end leads to.
    #[must_use]
    pub fn placement(self, placement: Placement) -> Self {
        self.map(|shared| shared.placement = placement)
    }

    /// While it is being built nobody else has the shared part.
    fn map(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            change(shared);
        }
        self
    }
}

impl Shared {
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
                _ => child::terminate(process.pid),
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
        let (system, placement) = (&self.shared.system, self.shared.placement);
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
        let pid = state.process.as_ref().map(|process| process.pid);
        let mut status = ChildStatus::new(state.incarnation);
        status.pid = pid.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
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

    pub(super) fn started(&self) {
        self.terms.tell(self.incarnation, ChildEvent::Started);
    }

    pub(super) fn end(&mut self, event: ChildEvent) {
        if !std::mem::replace(&mut self.done, true) {
            self.terms.tell(self.incarnation, event);
        }
    }
}
