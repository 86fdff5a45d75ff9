//! Where an admission stands, and the way on for what it holds back.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::boundary::Verdict;
use crate::envelope::Envelope;
use crate::error::{Failure, FailureKind};
use crate::id::ActorId;
use crate::message::Message;
use crate::route::Refused;

/// The place of an admission: before which actor it stands, and what lies behind it.
pub struct Threshold<'a, M: Message> {
    before: Before<'a, M>,
    /// How many admissions of the type the message has passed when it has passed this one.
    passed: usize,
}

enum Before<'a, M: Message> {
    Actor(&'a dyn Door<M>),
    Nobody(ActorId, Option<&'a str>),
}

/// An actor as its admissions see it.
pub(crate) trait Door<M: Message> {
    fn actor(&self) -> ActorId;
    fn label(&self) -> Arc<str>;
    fn name(&self) -> Option<Arc<str>>;
    fn behind(&self, passed: usize) -> Box<dyn Behind<M>>;
}

/// What lies behind an admission: those that come after it, then the mailbox. Keeps no actor.
pub(crate) trait Behind<M: Message>: Send + Sync {
    fn send(&self, envelope: Envelope<M>) -> Result<(), Refused<M>>;
    /// Called with what `send` gave back with `may_wait`.
    fn wait_for_room(&self, envelope: Envelope<M>) -> BoxFuture<'static, Result<(), Refused<M>>>;
}

impl<'a, M: Message> Threshold<'a, M> {
    pub(crate) fn new(door: &'a dyn Door<M>, passed: usize) -> Self {
        Threshold {
            before: Before::Actor(door),
            passed,
        }
    }

    /// A place before nobody, for tests of admissions: it looks as if it were before an actor of that id and name,
    /// and what goes on [later](Threshold::later) is refused as `Stopped`.
    #[must_use]
    pub fn before_nobody(actor: ActorId, name: Option<&'a str>) -> Self {
        Threshold {
            before: Before::Nobody(actor, name),
            passed: 0,
        }
    }

    /// The actor that the message is for. It stays the same over restarts (G13), and not over the end of the
    /// process.
    #[must_use]
    pub fn actor(&self) -> ActorId {
        match &self.before {
            Before::Actor(door) => door.actor(),
            Before::Nobody(actor, _) => *actor,
        }
    }

    /// The name or label that the actor was given. It is the same when the program runs again, as far as the
    /// program gives the same. `None` for one that was given none.
    #[must_use]
    pub fn name(&self) -> Option<Arc<str>> {
        match &self.before {
            Before::Actor(door) => door.name(),
            Before::Nobody(_, name) => name.map(Arc::from),
        }
    }

    /// The way on from here, for an envelope that is held back.
    #[must_use]
    pub fn later(&self) -> Onward<M> {
        let behind = match &self.before {
            Before::Actor(door) => Some(door.behind(self.passed)),
            Before::Nobody(..) => None,
        };
        Onward { behind }
    }
}

impl<M: Message> fmt::Debug for Threshold<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threshold")
            .field("actor", &self.actor())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// The way on for an envelope that an admission has held back: the admissions behind it, then the mailbox. Got from
/// [`Threshold::later`].
///
/// It doesn't keep the actor: what comes when that has ended is refused as `Stopped`, `NotExecuted`. Neither is a
/// held envelope in the mailbox, nor does it count there: whoever holds envelopes bounds them (G3), and answers
/// for their order. Messages that weren't held overtake those that are.
///
/// The sender of a held message was told that it was accepted, or waits for the answer. So what is refused on the
/// way on doesn't go back to a sender: its holder fails the responder, and gives the message to
/// [dead letters](crate::DeadLetters) (G6).
pub struct Onward<M: Message> {
    behind: Option<Box<dyn Behind<M>>>,
}

impl<M: Message> Onward<M> {
    /// Lets the envelope go on, without waiting.
    ///
    /// # Errors
    /// Gives it back with the reason, as [`Route::send`](crate::Route::send) does: with
    /// [`may_wait`](Refused::may_wait) if room may come.
    pub fn send(&self, envelope: Envelope<M>) -> Result<(), Refused<M>> {
        match &self.behind {
            Some(behind) => behind.send(envelope),
            None => Err(Refused::for_good(envelope, gone())),
        }
    }

    /// Waits for room, but no longer than the message's own deadline, and lets it go on. For an envelope that
    /// [`send`](Onward::send) gave back with [`may_wait`](Refused::may_wait).
    ///
    /// # Errors
    /// Gives the envelope back with the reason, also when its deadline passed.
    ///
    /// # Cancel safety
    /// Dropping the future before it ends drops the envelope, whose asker is told.
    pub fn wait_for_room(
        &self,
        envelope: Envelope<M>,
    ) -> BoxFuture<'static, Result<(), Refused<M>>> {
        match &self.behind {
            Some(behind) => behind.wait_for_room(envelope),
            None => Box::pin(async move { Err(Refused::for_good(envelope, gone())) }),
        }
    }
}

impl<M: Message> fmt::Debug for Onward<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Onward").finish_non_exhaustive()
    }
}

fn gone() -> Failure {
    Failure::new(FailureKind::Stopped, Verdict::NotExecuted)
}
