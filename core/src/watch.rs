//! How an end is noticed (G12).

use std::fmt;
use std::sync::{Arc, Weak};

use crate::error::Failure;
use crate::fault::Fault;
use crate::id::{ActorId, Incarnation};
use crate::message::Message;

/// Why an actor ended, modelled on how a process exits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// It was asked to stop, or stopped itself: exit status 0.
    Stopped,
    /// A handler panicked, its start failed, or it [said so](crate::Context::fail): a non-zero exit status,
    /// with the text and its class.
    Failed(Fault),
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

/// For who waits for somebody's end and passes it on by `?`.
impl std::error::Error for ExitReason {}

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

#[diagnostic::do_not_recommend]
impl Message for Terminated {
    type Reply = ();
}

/// What happens to somebody who is watched closely, by [`Watch::watch_life`]. As a message it goes to actors
/// that [asked to see it](crate::Context::watch_life).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LifeEvent {
    /// The incarnation before ended for this reason, and this one has started: no termination (G12).
    Restarted {
        /// Who was restarted.
        id: ActorId,
        /// Its name for people.
        label: String,
        /// The incarnation that runs now. Where it is more than one ahead of what was seen last, there
        /// were several restarts in between.
        incarnation: Incarnation,
        /// Why the one before ended.
        reason: ExitReason,
    },
    /// The connection to its process was lost: nobody knows how it is. Ends nothing (G12).
    NoConnection {
        /// Who can't be reached.
        id: ActorId,
        /// Its name for people.
        label: String,
    },
    /// It can be reached again, and is the same.
    Reconnected {
        /// Who can be reached.
        id: ActorId,
        /// Its name for people.
        label: String,
    },
    /// It ended. The last event, and there is exactly one.
    Terminated(Terminated),
}

#[diagnostic::do_not_recommend]
impl Message for LifeEvent {
    type Reply = ();
}

/// What is called when the watched ends: once, on the thread where it ended.
pub type OnEnd = Box<dyn FnOnce(Terminated) + Send>;

/// What is called with each event in the life of the watched, one after the other.
pub type OnLife = Arc<dyn Fn(LifeEvent) + Send + Sync>;

/// What can be watched.
pub trait Watch {
    /// Calls `on_end` once: when it ends, or at once if it has ended already.
    fn watch(&self, on_end: OnEnd) -> WatchHandle;

    /// Calls `on_event` with restarts and lost connections too, and last with the one
    /// [`Terminated`](LifeEvent::Terminated). Who has no such events only sends the last.
    fn watch_life(&self, on_event: OnLife) -> WatchHandle {
        self.watch(Box::new(move |notice| {
            on_event(LifeEvent::Terminated(notice));
        }))
    }
}

/// Ends a watch before the watched has ended. Dropping it changes nothing: the watch goes on.
#[derive(Clone, Default)]
pub struct WatchHandle {
    /// `None` if there is nothing to end.
    subject: Option<Weak<dyn Unwatch>>,
    number: u64,
}

/// The other side of a [`WatchHandle`]: for those who implement [`Watch`].
pub trait Unwatch: Send + Sync {
    /// Forgets the watch with that number, if it is still there.
    fn unwatch(&self, number: u64);
}

impl WatchHandle {
    /// A handle to the watch with that number.
    #[must_use]
    pub fn new(subject: Weak<dyn Unwatch>, number: u64) -> Self {
        WatchHandle {
            subject: Some(subject),
            number,
        }
    }

    /// A handle to a watch that is over already, or can't be ended.
    #[must_use]
    pub fn over() -> Self {
        WatchHandle::default()
    }

    /// Ends the watch: what it would have called isn't called any more, unless that is happening just now
    /// on another thread.
    pub fn cancel(&self) {
        if let Some(subject) = self.subject.as_ref().and_then(Weak::upgrade) {
            subject.unwatch(self.number);
        }
    }
}

impl fmt::Debug for WatchHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchHandle")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

macro_rules! watch_through_pointer {
    ($($pointer:ty),*) => {$(
        impl<T: Watch + ?Sized> Watch for $pointer {
            fn watch(&self, on_end: OnEnd) -> WatchHandle {
                (**self).watch(on_end)
            }

            fn watch_life(&self, on_event: OnLife) -> WatchHandle {
                (**self).watch_life(on_event)
            }
        }
    )*};
}

watch_through_pointer!(&T, Arc<T>);

impl From<ExitReason> for Failure {
    fn from(reason: ExitReason) -> Failure {
        use crate::boundary::Verdict;
        use crate::error::FailureKind;
        Failure::new(FailureKind::Stopped, Verdict::NotExecuted).with_detail(reason.to_string())
    }
}
