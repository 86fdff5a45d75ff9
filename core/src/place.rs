//! Where a child of a supervisor lives: start, stop and status, whatever the child is.
//!
//! An actor of this process is one place ([`Spawn::place`](crate::Spawn::place)), a child process another
//! ([`ProcessPlace`](crate::process::ProcessPlace)), and so are a plain future ([`TaskPlace`]) and a blocking thread
//! ([`ThreadPlace`]). A supervisor knows no more of its children than this, so that another node can be the place later.
//!
//! # Frozen children
//! What lives and doesn't move is neither up nor down. What that means, who sees it and what can be done about it
//! depends on the kind (G13, G11):
//!
//! | child | "no progress" is | seen by | what can be done |
//! |---|---|---|---|
//! | actor | one handler longer than its [limit](crate::Spawn::handler_limit), what it awaits included | the watchdog's thread; a timer in the simulation | at an `.await` a kill drops the handler, and the actor is started again; code that never yields can't be ended: it is told, and nothing new starts before it yields |
//! | adopted actix actor | the same; a handler that returned a `ResponseFuture` is over when it returned, one with an `AtomicResponse` when that is | the same | the same |
//! | task | nothing, while it waits: it may wait for ever; a poll that blocks is a block of its arbiter ([`System::blocked`](crate::System::blocked)) | the watchdog's thread | a kill drops it at its next `.await` |
//! | thread | that it runs on after a kill; before that it may block for as long as it likes | its place, when it is killed | nothing: it is told, and nothing new starts before it ends; by choice it is [abandoned](ThreadPlace::abandon_when_stuck), and another starts beside it |
//! | process | a heartbeat over its stream that isn't answered | who speaks over the [stream](crate::process::ProcessStream): the remote layer | a kill ends it and its process group, also one that is stopped or spins |
//!
//! What is seen of an actor and of a thread is told to the owner as [`ChildEvent::NoProgress`]; the owner decides.

mod life;
mod stop;
mod task;
mod thread;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::actor::Actor;
use crate::cell::{Cell, Ended, Owner};
use crate::fault::{FailureClass, Fault};
use crate::id::Incarnation;
use crate::mailbox::{Control, MailboxState};
use crate::progress::Teller;
use crate::watch::ExitReason;

pub use stop::StopSignal;
pub use task::TaskPlace;
pub use thread::{ABANDONED_THREADS, ThreadPlace};

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
    /// It is over but for a part that can't be ended: code that never yields (G11). No end, and nothing may be started in
    /// its place (G13); if that part ends after all, the last event follows.
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
    /// How many threads of it were [abandoned](ThreadPlace::abandon_when_stuck) and still run.
    pub abandoned: usize,
}

impl ChildStatus {
    /// The status of a child without mailbox and process.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        ChildStatus {
            incarnation,
            mailbox: None,
            pid: None,
            abandoned: 0,
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
    /// (G13). Must not block, nor run the child's code on the caller's stack: who calls may be any thread on which
    /// something happened.
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
        // If the arbiter is gone, dropping the report says so.
        let report = Report {
            terms,
            incarnation,
            done: false,
        };
        // If it is to have a thread of its own, from the first start on.
        if let Err(error) = self.cell.give_thread() {
            let ended = Ended::StartFailed(Fault::from(error.to_string()));
            return self.cell.report(Some(Box::new(report)), ended);
        }
        let factory = Arc::clone(&self.factory);
        self.cell
            .start_in_turn(move || factory(), Some(Box::new(report)));
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
        let mut status = ChildStatus::new(self.cell.incarnation());
        status.mailbox = Some(self.cell.mailbox.state());
        status
    }
}

impl<A: Actor, F> Drop for ActorPlace<A, F> {
    /// Nobody can start it any more. One that is still running has an owner who forgot to close it.
    fn drop(&mut self) {
        if !self.cell.has_incarnation() {
            self.cell.end(ExitReason::Stopped);
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

    fn teller(&self) -> Option<Teller> {
        let (terms, incarnation) = (self.terms.clone(), self.incarnation);
        Some(Arc::new(move |event| terms.tell(incarnation, event)))
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
