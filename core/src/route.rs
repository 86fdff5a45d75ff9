//! Where a message goes: the seam between references and what carries them.
//!
//! An actor of this process is one route, an exposed name in another process another, a pool or an
//! adopted actor a third. The reference that a program holds is the same for all; what differs shows in
//! [`boundary`](Route::boundary) and in the verdicts of errors.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::boundary::Boundary;
use crate::clock::{Clock, Instant};
use crate::current;
use crate::envelope::Envelope;
use crate::error::{Failure, SendError};
use crate::id::ActorId;
use crate::message::Message;
use crate::responder::{Outcome, ReplySlot};
use crate::system::System;
use crate::watch::Watch;

/// A message that was not accepted, with the reason (G6).
#[derive(Debug)]
pub struct Refused<M: Message> {
    /// The message, and the responder of its asker, unanswered.
    pub envelope: Envelope<M>,
    /// Why.
    pub failure: Failure,
    /// Whether room may come, so that waiting makes sense.
    pub may_wait: bool,
}

impl<M: Message> Refused<M> {
    /// A refusal that waiting won't change.
    #[must_use]
    pub fn for_good(envelope: Envelope<M>, failure: Failure) -> Self {
        Refused {
            envelope,
            failure,
            may_wait: false,
        }
    }

    /// The error that gives the message back. The asker's slot is told as well, though it no longer looks.
    pub(crate) fn into_error(self) -> SendError<M> {
        self.envelope.responder.fail(self.failure.clone());
        SendError::new(self.failure, Some(self.envelope.message))
    }
}

/// What came of [`Route::ask_lean`].
#[derive(Debug)]
pub enum Asked<M: Message> {
    /// It has ended already.
    Ended(Outcome<M::Reply>),
    /// It was handed over and waits for its end, until that time at most.
    Waits(ReplySlot<M::Reply>, Instant),
    /// It takes waiting or thinking; the message comes back.
    NotYet(M),
}

/// What an ask says besides its message, where that is so little that it takes no [`Meta`](crate::Meta): when it is
/// over, and that its caller retries. Made by [`Ask`](crate::Ask); a route that leads over another passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskTerms {
    /// [`Instant::FAR`] stands for the default.
    deadline: Instant,
    caller_retries: bool,
}

impl AskTerms {
    /// Those of an ask with the default deadline, bounded by what it inherits.
    #[inline]
    pub(crate) fn by_default(caller_retries: bool) -> Self {
        AskTerms {
            deadline: Instant::FAR,
            caller_retries,
        }
    }

    /// Those of an ask with that deadline, which stands whatever it inherits.
    #[inline]
    pub(crate) fn until(deadline: Instant, caller_retries: bool) -> Self {
        AskTerms {
            deadline,
            caller_retries,
        }
    }

    /// When the ask is over (G9): a point that was resolved before. `None` is the default of the boundary, or what
    /// it inherits if that is due sooner.
    #[must_use]
    #[inline]
    pub fn deadline(self) -> Option<Instant> {
        (self.deadline != Instant::FAR).then_some(self.deadline)
    }

    /// Whether the ask itself says that its caller retries (G18); it says so also if it inherits that.
    #[must_use]
    #[inline]
    pub fn caller_retries(self) -> bool {
        self.caller_retries
    }

    /// What they come to with what the request in hand hands down: when the ask is over, `default` from now at the
    /// latest if it doesn't say so itself (G9), and whether its caller retries (G18). For routes that don't hand the
    /// terms on.
    #[must_use]
    #[inline]
    pub fn resolve(self, clock: &Clock, default: Duration) -> (Instant, bool) {
        let retries = self.caller_retries || current::caller_retries();
        let deadline = self.deadline().unwrap_or_else(|| {
            let default = clock.coarse_now() + default;
            current::inherited_deadline(clock).map_or(default, |inherited| inherited.min(default))
        });
        (deadline, retries)
    }
}

/// Where messages of one type go.
pub trait Route<M: Message>: Watch + Send + Sync {
    /// Who receives. Equal for all routes to one receiver.
    fn id(&self) -> ActorId;

    /// The receiver's name for people.
    fn label(&self) -> String;

    /// What lies between here and there.
    fn boundary(&self) -> Boundary;

    /// The system that this route belongs to: its clock, its counters, its dead letters.
    fn system(&self) -> &System;

    /// Hands a message over without waiting.
    ///
    /// # Errors
    /// Gives the envelope back with the reason.
    fn send(&self, envelope: Envelope<M>) -> Result<(), Refused<M>>;

    /// Hands over a message that has nothing beside it, if that takes no waiting and no thinking; else gives
    /// it back for [`send`](Route::send) to deal with. A shortcut: who doesn't have one keeps the default.
    ///
    /// # Errors
    /// Gives the message back.
    #[inline]
    fn send_lean(&self, message: M) -> Result<(), M> {
        Err(message)
    }

    /// Asks with a message that has nothing beside it but these terms and what the request in hand hands down, if
    /// that takes no waiting and no thinking. A shortcut like [`send_lean`](Route::send_lean).
    #[inline]
    fn ask_lean(&self, message: M, terms: AskTerms) -> Asked<M> {
        let _ = terms;
        Asked::NotYet(message)
    }

    /// Waits for room, but no longer than the message's own deadline, and hands it over. Called with an
    /// envelope that [`send`](Route::send) gave back with [`may_wait`](Refused::may_wait).
    ///
    /// # Errors
    /// Gives the envelope back with the reason, also when the deadline passed.
    ///
    /// # Cancel safety
    /// Dropping the future before it ends drops the message; it was not handed over.
    fn wait_for_room(&self, envelope: Envelope<M>) -> BoxFuture<'_, Result<(), Refused<M>>> {
        Box::pin(async move { self.send(envelope) })
    }

    /// The actor whose handler answers what is asked over this route, if that is known, and nobody else can: who
    /// asks then waits for that actor, and a cycle of such waits is found. `None`, the default, where the answer
    /// may come from elsewhere.
    fn waits_for(&self) -> Option<ActorId> {
        None
    }

    /// The way to find this route again without holding it, for [`WeakRecipient`](crate::WeakRecipient).
    /// `None`, the default: a weak recipient then finds it as long as somebody holds this very route.
    fn downgrade(&self) -> Option<Arc<dyn WeakRoute<M>>> {
        None
    }
}

/// What finds a [`Route`] again without keeping alive what it leads to. Made by [`Route::downgrade`].
pub trait WeakRoute<M: Message>: Send + Sync {
    /// The route; `None` once nothing can arrive over it any more, and from then on always.
    fn upgrade(&self) -> Option<Arc<dyn Route<M>>>;
}

macro_rules! route_through_pointer {
    ($($pointer:ty),*) => {$(
        impl<M: Message, T: Route<M> + ?Sized> Route<M> for $pointer {
            fn id(&self) -> ActorId {
                (**self).id()
            }

            fn label(&self) -> String {
                (**self).label()
            }

            fn boundary(&self) -> Boundary {
                (**self).boundary()
            }

            fn system(&self) -> &System {
                (**self).system()
            }

            fn send(&self, envelope: Envelope<M>) -> Result<(), Refused<M>> {
                (**self).send(envelope)
            }

            #[inline]
            fn send_lean(&self, message: M) -> Result<(), M> {
                (**self).send_lean(message)
            }

            #[inline]
            fn ask_lean(&self, message: M, terms: AskTerms) -> Asked<M> {
                (**self).ask_lean(message, terms)
            }

            fn wait_for_room(
                &self,
                envelope: Envelope<M>,
            ) -> BoxFuture<'_, Result<(), Refused<M>>> {
                (**self).wait_for_room(envelope)
            }

            fn waits_for(&self) -> Option<ActorId> {
                (**self).waits_for()
            }

            fn downgrade(&self) -> Option<Arc<dyn WeakRoute<M>>> {
                (**self).downgrade()
            }
        }
    )*};
}

route_through_pointer!(&T, Arc<T>);
