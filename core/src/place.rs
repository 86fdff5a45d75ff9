//! Where a child of a supervisor lives: start, stop and status, whatever the child is.
//!
//! An actor of this process is one place ([`Spawn::place`](crate::Spawn::place)), a child process another
//! ([`ProcessPlace`](crate::process::ProcessPlace)). A supervisor knows no more of its children than
//! this, so that another node can be the place later.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::actor::Actor;
use crate::cell::{Cell, Ended, Owner};
use crate::fault::{FailureClass, Fault};
use crate::id::Incarnation;
use crate::mailbox::{Control, MailboxState};
use crate::watch::ExitReason;

/// What a child tells its owner. Each incarnation sends `Started` at most once, and exactly one [last](Self::is_last)
/// event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildEvent {
    /// It is up: `starting` has returned, the process runs.
    Started,
    /// It never came up. The last of its incarnation.
    StartFailed(Fault),
    /// It never came up, because there is nothing for it to do: OTP's `ignore`. The last of its incarnation.
    Ignored,
    /// It was up, and has fully ended. The last of its incarnation.
    Ended(ExitReason),
    /// It said that something failed, of a class after which it [goes on](Terms::resumes).
    Resumed(Fault),
    /// It lives, but nothing moves: the sentence says what was waited for. It may move again.
    NoProgress(String),
    /// The connection to where it lives was lost: nobody knows how it is. No end, and nothing may be started in
    /// its place; if it does not come back, the place sends the last event when its lease is over (G12, G20).
    NoConnection,
    /// It can be reached again, and is the same incarnation.
    Reconnected,
    /// It has ended but for something of it that can't be ended: a supervisor, one of whose children is code that never
    /// yields (G11). No end, and nothing may be started in its place (G13); but nobody need wait for it.
    Stuck,
}

impl ChildEvent {
    /// Whether no other event of its incarnation follows.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(
            self,
            ChildEvent::StartFailed(_) | ChildEvent::Ignored | ChildEvent::Ended(_)
        )
    }
}

/// Called with every event of a child; must not block.
pub type OnChildEvent = Arc<dyn Fn(Incarnation, ChildEvent) + Send + Sync>;

/// On which terms one incarnation of a child runs: who is told, and what it may decide by itself.
#[derive(Clone)]
pub struct Terms {
    on_event: OnChildEvent,
    resume: [bool; 3],
}

impl Terms {
    /// Terms by which `on_event` is told of everything, and no failure is passed over.
    #[must_use]
    pub fn new(on_event: OnChildEvent) -> Self {
        Terms {
            on_event,
            resume: [false; 3],
        }
    }

    /// After a failure of that class which left its state sound the child goes on, and says
    /// [`Resumed`](ChildEvent::Resumed).
    #[must_use]
    pub fn resume_after(mut self, class: FailureClass) -> Self {
        self.resume[class as usize] = true;
        self
    }

    /// Whether it goes on after a failure of that class. For a place that can tell a failure from an end.
    #[must_use]
    pub fn resumes(&self, class: FailureClass) -> bool {
        self.resume[class as usize]
    }

    /// Tells of an event. Doesn't block.
    pub fn tell(&self, incarnation: Incarnation, event: ChildEvent) {
        (self.on_event)(incarnation, event);
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("resume", &self.resume)
            .finish_non_exhaustive()
    }
}

/// What kind of thing a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum ChildKind {
    /// An actor of this process.
    Actor,
    /// An actor that supervises others.
    Supervisor,
    /// An operating-system process.
    Process,
    /// A future of this process.
    Task,
    /// A thread of this process.
    Thread,
}

impl fmt::Display for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChildKind::Actor => "actor",
            ChildKind::Supervisor => "supervisor",
            ChildKind::Process => "process",
            ChildKind::Task => "task",
            ChildKind::Thread => "thread",
        })
    }
}

/// How a child is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ChildStatus {
    /// How often it has been started.
    pub incarnation: Incarnation,
    /// Its mailbox, if it has one here.
    pub mailbox: Option<MailboxState>,
    /// Its process id, if it is a process that runs.
    pub pid: Option<u32>,
}

impl ChildStatus {
    /// The status of a child without mailbox and process.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        ChildStatus {
            incarnation,
            mailbox: None,
            pid: None,
        }
    }
}

/// Where one child lives.
pub trait Place: Send + Sync {
    /// Its name for people.
    fn label(&self) -> String;

    /// What it is.
    fn kind(&self) -> ChildKind;

    /// Starts the next incarnation on these terms. Called only when the one before has sent its last event
    /// (G13).
    fn start(&self, terms: Terms);

    /// Asks the running incarnation to end in order.
    fn stop(&self);

    /// Ends the running incarnation at once.
    fn kill(&self);

    /// No incarnation will be started any more: what is queued is given up, watchers are told. Called, like
    /// [`start`](Place::start), only when none is running.
    fn close(&self, reason: ExitReason);

    /// How it is doing.
    fn status(&self) -> ChildStatus;
}

/// An actor of this process as a child.
pub(crate) struct ActorPlace<A: Actor, F> {
    cell: Arc<Cell<A>>,
    factory: Arc<F>,
}

impl<A: Actor, F> ActorPlace<A, F> {
    pub(crate) fn new(cell: Arc<Cell<A>>, factory: F) -> Self {
        ActorPlace {
            cell,
            factory: Arc::new(factory),
        }
    }
}

impl<A, F> Place for ActorPlace<A, F>
where
    A: Actor,
    F: Fn() -> A + Send + Sync + 'static,
{
    fn label(&self) -> String {
        self.cell.label().to_string()
    }

    fn kind(&self) -> ChildKind {
        ChildKind::Actor
    }

    fn start(&self, terms: Terms) {
        // Signals that are still there were meant for the incarnation before.
        self.cell.mailbox.clear_signals();
        let incarnation = self.cell.begin_incarnation();
        // If it is to have a thread of its own, from the first start on.
        if let Err(error) = self.cell.give_thread() {
            let why = Fault::from(error.to_string());
            return terms.tell(incarnation, ChildEvent::StartFailed(why));
        }
        // If the arbiter is gone, dropping the report says so.
        let report = Report {
            terms,
            incarnation,
            done: false,
        };
        let factory = Arc::clone(&self.factory);
        self.cell.start(move || factory(), Some(Box::new(report)));
    }

    fn stop(&self) {
        self.cell.signal(Control::Stop);
    }

    fn kill(&self) {
        self.cell.signal(Control::Kill);
    }

    fn close(&self, reason: ExitReason) {
        self.cell.end(reason);
    }

    fn status(&self) -> ChildStatus {
        ChildStatus {
            incarnation: self.cell.incarnation(),
            mailbox: Some(self.cell.mailbox.state()),
            pid: None,
        }
    }
}

/// Sends the last event of an incarnation, also if its task is dropped with its arbiter.
struct Report {
    terms: Terms,
    incarnation: Incarnation,
    done: bool,
}

impl Report {
    fn end(&mut self, event: ChildEvent) {
        if !std::mem::replace(&mut self.done, true) {
            self.terms.tell(self.incarnation, event);
        }
    }
}

impl Owner for Report {
    fn started(&self) {
        self.terms.tell(self.incarnation, ChildEvent::Started);
    }

    fn resumes(&self, fault: &Fault) -> bool {
        let resumes = self.terms.resumes(fault.class());
        if resumes {
            let event = ChildEvent::Resumed(fault.clone());
            self.terms.tell(self.incarnation, event);
        }
        resumes
    }

    fn ended(mut self: Box<Self>, ended: Ended) {
        self.end(match ended {
            Ended::StartFailed(why) => ChildEvent::StartFailed(why),
            Ended::Ignored => ChildEvent::Ignored,
            Ended::Ran(reason) => ChildEvent::Ended(reason),
        });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.end(ChildEvent::Ended(ExitReason::Killed));
    }
}
