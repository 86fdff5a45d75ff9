//! A message in a mailbox: it knows how to begin its handler, and how to be given up.

use std::marker::PhantomData;

use super::body::Body;
use super::{Cell, Opens};
use crate::actor::{Actor, Receives};
use crate::boundary::Verdict;
use crate::counters::DropReason;
use crate::envelope::Envelope;
use crate::mailbox::records::{Kind, Record};
use crate::message::Message;

/// The records of an actor's mailbox.
pub(crate) struct ActorKind<A>(PhantomData<fn(A)>);

impl<A: Actor> Kind for ActorKind<A> {
    type Use<'a> = Use<'a, A>;
}

/// What happens to a record whose turn has come.
pub(crate) enum Use<'a, A: Actor> {
    /// Its handler begins, unless it is too late for that.
    Begin(&'a Cell<A>, &'a Body<A>),
    /// It is given up.
    Discard(&'a Cell<A>, DropReason),
}

/// A tell with nothing beside it.
pub(crate) struct Lean<M, How> {
    message: M,
    how: PhantomData<fn() -> How>,
}

impl<M: Message, How> Lean<M, How> {
    /// Of an envelope that [is lean](Envelope::is_lean).
    #[inline]
    pub(crate) fn new(envelope: Envelope<M>) -> Self {
        Lean::of(envelope.message)
    }

    #[inline]
    pub(crate) fn of(message: M) -> Self {
        Lean {
            message,
            how: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn into_message(self) -> M {
        self.message
    }
}

impl<A, M, How> Record<ActorKind<A>> for Lean<M, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    #[inline]
    fn consume(self, with: Use<'_, A>) {
        match with {
            Use::Begin(_, body) => {
                let message = self.message;
                body.begin_lean::<M, _>(|actor, ctx| actor.receive_tell(message, ctx));
            }
            Use::Discard(cell, reason) => cell.bury(Envelope::tell(self.message), reason),
        }
    }
}

impl<A, M, How> Opens<A> for Lean<M, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    type Message = M;

    fn open(self) -> Envelope<M> {
        Envelope::tell(self.message)
    }
}

/// A message with everything that travels beside it.
pub(crate) struct Full<M: Message, How> {
    envelope: Envelope<M>,
    how: PhantomData<fn() -> How>,
}

impl<M: Message, How> Full<M, How> {
    #[inline]
    pub(crate) fn new(envelope: Envelope<M>) -> Self {
        Full {
            envelope,
            how: PhantomData,
        }
    }
}

impl<A, M, How> Record<ActorKind<A>> for Full<M, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    #[inline]
    fn consume(self, with: Use<'_, A>) {
        match with {
            Use::Begin(cell, body) => body.begin_full::<M, How>(cell, self.envelope),
            Use::Discard(cell, reason) => cell.bury(self.envelope, reason),
        }
    }
}

impl<A, M, How> Opens<A> for Full<M, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    type Message = M;

    fn open(self) -> Envelope<M> {
        self.envelope
    }
}

impl<A: Actor> Body<A> {
    /// Begins the handler of a message, unless its deadline has passed or its asker has gone (G8, G9).
    #[inline]
    pub(crate) fn begin_full<M, How>(&self, cell: &Cell<A>, mut envelope: Envelope<M>)
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        if envelope.meta.is_expired(cell.system().clock()) {
            cell.bury(envelope, DropReason::Expired);
        } else if !envelope.responder.progress(Verdict::Executed) {
            cell.bury(envelope, DropReason::Withdrawn);
        } else {
            let Envelope {
                message,
                meta,
                responder,
            } = envelope;
            self.begin::<M, _>(meta, |actor, ctx| actor.receive(message, responder, ctx));
        }
    }
}
