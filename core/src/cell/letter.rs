//! A message in a mailbox: it knows how to begin its handler, and how to be given up.

use std::marker::PhantomData;
use std::task::Poll;

use super::body::Body;
use super::{Cell, Opens};
use crate::actor::{Actor, Receives};
use crate::boundary::Verdict;
use crate::context::Context;
use crate::counters::DropReason;
use crate::current::{self, Inherited};
use crate::driver::Tools;
use crate::envelope::{Envelope, Meta};
use crate::future_buffer::Then;
use crate::mailbox::records::{Kind, Record};
use crate::message::Message;
use crate::responder::{Answerer, Responder};

/// The records of an actor's mailbox.
pub(crate) struct ActorKind<A>(PhantomData<fn(A)>);

impl<A: Actor> Kind for ActorKind<A> {
    type Use<'a> = Use<'a, A>;
    /// Whether it is done, or its handler waits for something.
    type Done = Poll<()>;
}

/// What happens to a record whose turn has come.
pub(crate) enum Use<'a, A: Actor> {
    /// Its handler begins, unless it is too late for that.
    Begin(&'a Cell<A>, &'a Body<A>, &'a mut Tools),
    /// It is given up.
    Discard(&'a Cell<A>, DropReason),
}

/// Answers when a handler that had to wait has ended.
pub(crate) struct Answer<A, M: Message, How> {
    to: Option<Responder<M::Reply>>,
    how: PhantomData<fn() -> (A, How)>,
}

impl<A, M: Message, How> Answer<A, M, How> {
    /// To that responder; to nobody, if the handler has a responder of its own, or nobody waits.
    #[inline]
    pub(crate) fn to(to: Option<Responder<M::Reply>>) -> Self {
        Answer {
            to,
            how: PhantomData,
        }
    }
}

impl<A, M, How> Then<A::Output> for Answer<A, M, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    fn end(self, output: A::Output) {
        if let (Some(responder), Some(reply)) = (self.to, A::reply(output)) {
            responder.send(reply);
        }
    }
}

/// A tell with nothing beside it.
pub(crate) struct Lean<M, How> {
    message: M,
    how: PhantomData<fn() -> How>,
}

impl<M: Message, How> Lean<M, How> {
    #[inline]
    pub(crate) fn of(message: M) -> Self {
        Lean {
            message,
            how: PhantomData,
        }
    }
}

impl<A, M, How> Record<ActorKind<A>> for Lean<M, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    #[inline]
    fn consume(self, with: Use<'_, A>) -> Poll<()> {
        match with {
            Use::Begin(cell, body, tools) if body.is_special() => {
                cell.begin_full::<M, How>(body, tools, Envelope::tell(self.message))
            }
            Use::Begin(cell, body, tools) => {
                current::set_request(Inherited::NOTHING);
                cell.begin::<M, How>(body, tools, self.message, None, || Answer::to(None))
                    .map(drop)
            }
            Use::Discard(cell, reason) => {
                cell.bury(Envelope::tell(self.message), reason);
                Poll::Ready(())
            }
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

/// An ask by somebody in this process, with nothing beside it but what it hands down.
pub(crate) struct Asked<M: Message, How> {
    message: M,
    answerer: Answerer<M::Reply>,
    /// With a deadline that is fixed.
    request: Inherited,
    how: PhantomData<fn() -> How>,
}

impl<M: Message, How> Asked<M, How> {
    #[inline]
    pub(crate) fn new(message: M, answerer: Answerer<M::Reply>, request: Inherited) -> Self {
        Asked {
            message,
            answerer,
            request,
            how: PhantomData,
        }
    }

    fn into_envelope(self) -> Envelope<M> {
        Envelope {
            message: self.message,
            meta: Meta::light(Some(self.request.due()), self.request.caller_retries()),
            responder: Responder::over(self.answerer),
        }
    }
}

impl<A, M, How> Record<ActorKind<A>> for Asked<M, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    #[inline]
    fn consume(self, with: Use<'_, A>) -> Poll<()> {
        let (cell, body, tools) = match with {
            Use::Begin(cell, body, tools) if body.is_special() => {
                return cell.begin_full::<M, How>(body, tools, self.into_envelope());
            }
            Use::Begin(cell, body, tools) => (cell, body, tools),
            Use::Discard(cell, reason) => {
                cell.bury(self.into_envelope(), reason);
                return Poll::Ready(());
            }
        };
        let clock = cell.system().clock();
        if tools.has_passed(clock, self.request.due()) {
            cell.bury(self.into_envelope(), DropReason::Expired);
            return Poll::Ready(());
        }
        if !self.answerer.progress(Verdict::Executed) {
            cell.bury(self.into_envelope(), DropReason::Withdrawn);
            return Poll::Ready(());
        }
        current::set_request(self.request);
        if A::NEEDS_RESPONDER {
            let responder = Some(Responder::begun(self.answerer));
            let waits = || Answer::to(None);
            return cell
                .begin::<M, How>(body, tools, self.message, responder, waits)
                .map(drop);
        }
        let mut answerer = Some(self.answerer);
        let waits = || Answer::to(answerer.take().map(Responder::begun));
        match cell.begin::<M, How>(body, tools, self.message, None, waits) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(reply) => {
                if let (Some(reply), Some(answerer)) = (reply, answerer) {
                    answerer.reply(reply);
                }
                Poll::Ready(())
            }
        }
    }
}

impl<A, M, How> Opens<A> for Asked<M, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    type Message = M;

    fn open(self) -> Envelope<M> {
        self.into_envelope()
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
    fn consume(self, with: Use<'_, A>) -> Poll<()> {
        match with {
            Use::Begin(cell, body, tools) => cell.begin_full::<M, How>(body, tools, self.envelope),
            Use::Discard(cell, reason) => {
                cell.bury(self.envelope, reason);
                Poll::Ready(())
            }
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

impl<A: Actor> Cell<A> {
    /// Begins the handler of a message that brings nothing but what the request in hand says.
    #[inline]
    pub(super) fn begin<M, How>(
        &self,
        body: &Body<A>,
        tools: &mut Tools,
        message: M,
        responder: Option<Responder<M::Reply>>,
        waits: impl FnOnce() -> Answer<A, M, How>,
    ) -> Poll<Option<M::Reply>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        body.with_ctx(Context::clear_meta);
        self.run_handler::<M, How>(body, tools, message, responder, waits)
    }

    #[inline]
    fn run_handler<M, How>(
        &self,
        body: &Body<A>,
        tools: &mut Tools,
        message: M,
        responder: Option<Responder<M::Reply>>,
        waits: impl FnOnce() -> Answer<A, M, How>,
    ) -> Poll<Option<M::Reply>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let home = self.home();
        home.in_hand().set::<M>();
        self.strike::<M>();
        let receive = |actor: &'static mut A, ctx| actor.receive(message, responder, ctx);
        match body.run(home, tools, receive, waits) {
            Some(polled) => polled.map(A::reply),
            None => Poll::Ready(None),
        }
    }

    /// Begins the handler of a message, unless its deadline has passed or its asker has gone (G8, G9), or it is
    /// held back.
    pub(super) fn begin_full<M, How>(
        &self,
        body: &Body<A>,
        tools: &mut Tools,
        mut envelope: Envelope<M>,
    ) -> Poll<()>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        if envelope.meta.is_expired(self.system().clock()) {
            self.bury(envelope, DropReason::Expired);
            return Poll::Ready(());
        }
        let special = body.is_special();
        if special && body.with_ctx(|ctx| ctx.is_held::<M>()) == Some(true) {
            self.put_off::<M, How>(body, envelope);
            return Poll::Ready(());
        }
        if !envelope.responder.progress(Verdict::Executed) {
            self.bury(envelope, DropReason::Withdrawn);
            return Poll::Ready(());
        }
        let _timed = special.then(|| self.progress_begins::<M>(body));
        let mut hand = None;
        if special {
            let behaviour = body.with_ctx(|ctx| ctx.behaviour::<M>()).flatten();
            let by_return = behaviour.is_some() || !A::NEEDS_RESPONDER;
            (envelope, hand) = self.take_in_hand::<M, How>(body, envelope, by_return);
            if let Some(behaviour) = behaviour {
                let stamp = envelope.meta.take_stamp();
                return self.begin_behaviour(body, tools, envelope, &behaviour, stamp.as_deref());
            }
        }
        let stamp = envelope.meta.take_stamp();
        let Envelope {
            message,
            meta,
            responder,
        } = envelope;
        current::set_request(Inherited::of(&meta));
        body.with_ctx(|ctx| ctx.set_meta(meta));
        let mut responder = Some(responder);
        let given = if A::NEEDS_RESPONDER {
            std::mem::replace(&mut responder, hand.map(Self::at_end))
        } else {
            None
        };
        let polled = match stamp {
            Some(stamp) => {
                self.run_observed::<M, How>(body, tools, message, given, &mut responder, &stamp)
            }
            None => {
                let waits = || Answer::to(responder.take());
                self.run_handler::<M, How>(body, tools, message, given, waits)
            }
        };
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(reply) => {
                if let (Some(reply), Some(responder)) = (reply, responder) {
                    responder.send(reply);
                }
                Poll::Ready(())
            }
        }
    }

    /// Panics in place of a handler, if a test has put such a fault on the actor.
    #[cfg(feature = "test")]
    #[inline]
    pub(super) fn strike<M: Message>(&self) {
        if let Some(faults) = self.faults() {
            faults.begins::<M>(self.system());
        }
    }

    #[cfg(not(feature = "test"))]
    #[inline]
    pub(super) fn strike<M>(&self) {}
}
