//! How an end is noticed (G12).

use std::fmt;

use crate::error::Failure;
use crate::id::{ActorId, Incarnation};
use crate::message::Message;

/// Why an actor ended, modelled on how a process exits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// It was asked to stop, or stopped itself: exit status 0.
    Stopped,
    /// A handler panicked, or its start failed: a non-zero exit status, with the text.
    Failed(String),
    /// It was killed: a signal.
    Killed,
    /// There was never such an actor.
    NeverExisted,
}

impl ExitReason {
    /// Whether it ended as it should.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        matches!(self, ExitReason::Stopped)
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::Stopped => f.write_str("stopped"),
            ExitReason::Failed(why) => write!(f, "failed: {why}"),
            ExitReason::Killed => f.write_str("killed"),
            ExitReason::NeverExisted => f.write_str("never existed"),
        }
    }
}

/// The notice that an actor ended. A watcher gets exactly one per watch, as a message: it implements
/// `Handler<Terminated>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminated {
    /// Who ended.
    pub id: ActorId,
    /// Its name for people.
    pub label: String,
    /// Why.
    pub reason: ExitReason,
    /// Its last incarnation.
    pub incarnation: Incarnation,
}

impl Message for Terminated {
    type Reply = ();
}

/// What is called when the watched ends: once, on the thread where it ended.
pub type OnEnd = Box<dyn FnOnce(Terminated) + Send>;

/// What can be watched.
pub trait Watch {
    /// Calls `on_end` once: when it ends, or at once if it has ended already.
    fn watch(&self, on_end: OnEnd);
}

impl<T: Watch + ?Sized> Watch for &T {
    fn watch(&self, on_end: OnEnd) {
        (**self).watch(on_end);
    }
}

impl<T: Watch + ?Sized> Watch for std::sync::Arc<T> {
    fn watch(&self, on_end: OnEnd) {
        (**self).watch(on_end);
    }
}

impl From<ExitReason> for Failure {
    fn from(reason: ExitReason) -> Failure {
        use crate::boundary::Verdict;
        use crate::error::FailureKind;
        Failure::new(FailureKind::Stopped, Verdict::NotExecuted).with_detail(reason.to_string())
    }
}
