//! The future of an ask: sent, waited for, withdrawn.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;

use super::{Ask, AskParts, Limit, wait_for_room};
use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::current;
use crate::deadlines::Due;
use crate::envelope::{Envelope, Meta};
use crate::error::{Failure, FailureKind, SendError};
use crate::id::ActorId;
use crate::message::Message;
use crate::responder::{Outcome, ReplySlot, Responder};
use crate::route::{AskTerms, Asked, Refused, Route};

/// The future of an [`Ask`].
#[must_use = "futures do nothing unless polled"]
pub struct Asking<'r, M: Message, R: Route<M> + 'r> {
    route: R,
    /// Until it is sent.
    message: Option<M>,
    meta: Meta,
    limit: Limit,
    kept: Option<M>,
    may_close_cycle: bool,
    /// The actor whose handler waits here for another's.
    waiter: Option<ActorId>,
    /// There was no room at once.
    room: Option<BoxFuture<'r, Result<(), Refused<M>>>>,
    /// From its sending on: where the reply will be, and when it is too late for it.
    reply: Option<(ReplySlot<M::Reply>, Due)>,
}

// Nothing in it is pinned: what must not move is in a box.
impl<M: Message, R: Route<M>> Unpin for Asking<'_, M, R> {}

impl<'r, M: Message, R: Route<M> + Clone + 'r> Asking<'r, M, R> {
    #[inline]
    pub(super) fn of(ask: Ask<'r, M, R>) -> Self {
        Asking {
            route: ask.route,
            message: Some(ask.message),
            meta: ask.meta,
            limit: ask.limit,
            kept: ask.kept,
            may_close_cycle: ask.may_close_cycle,
            waiter: None,
            room: None,
            reply: None,
        }
    }

    /// Sends, and takes the reply if it is there at once.
    #[inline]
    fn begin(&mut self, message: M) -> Poll<Result<M::Reply, SendError<M>>> {
        let Some(terms) = self.terms() else {
            return self.begin_with_care(message);
        };
        match self.route.ask_lean(message, terms) {
            Asked::Ended(Ok(reply)) => Poll::Ready(Ok(reply)),
            Asked::Ended(Err(failure)) => {
                Poll::Ready(Err(SendError::new(failure, self.kept.take())))
            }
            Asked::Waits(slot, deadline) => {
                let span = self.limit.span(|| self.route.system().clock());
                self.reply = Some((slot, Due::at(deadline, span)));
                Poll::Pending
            }
            Asked::NotYet(message) => self.begin_with_care(message),
        }
    }

    /// All that it says besides its message, if that is little. A span becomes a point in time: it begins here.
    #[inline]
    fn terms(&mut self) -> Option<AskTerms> {
        if !self.meta.is_light() {
            return None;
        }
        let retries = self.meta.caller_retries();
        if self.limit == Limit::Default {
            return Some(AskTerms::by_default(retries));
        }
        if let Limit::Within(_) = self.limit {
            let deadline = self.limit.resolve(self.route.system().clock(), None)?;
            self.limit = Limit::At(deadline);
        }
        match self.limit {
            Limit::At(deadline) if deadline < Instant::FAR => {
                Some(AskTerms::until(deadline, retries))
            }
            _ => None,
        }
    }

    #[cold]
    fn begin_with_care(&mut self, message: M) -> Poll<Result<M::Reply, SendError<M>>> {
        if let Some(callee) = self.route.waits_for()
            && !self.may_close_cycle
            && self.route.system().waits().would_close_cycle(callee)
        {
            let failure = self.cycle(callee).with_verdict(Verdict::NotSent);
            return Poll::Ready(Err(SendError::new(failure, Some(message))));
        }
        let ask = Ask {
            route: self.route.clone(),
            lives: PhantomData,
            message,
            meta: std::mem::take(&mut self.meta),
            limit: self.limit,
            kept: None,
            may_close_cycle: self.may_close_cycle,
        };
        let AskParts {
            route,
            message,
            meta,
            ..
        } = ask.into_parts();
        let due = match meta.deadline {
            Some(deadline) => Due::at(deadline, self.limit.span(|| route.system().clock())),
            None => Due::at(Instant::FAR, Duration::ZERO),
        };
        let (responder, mut slot) = Responder::slot();
        let envelope = Envelope {
            message,
            meta,
            responder,
        };
        match current::asking(|| route.send(envelope)) {
            Ok(()) => {
                if let Some(outcome) = slot.take() {
                    return Poll::Ready(end(outcome, &mut self.kept));
                }
            }
            Err(refused) if refused.may_wait => {
                self.room = Some(wait_for_room(route, refused.envelope));
            }
            Err(refused) => return Poll::Ready(Err(refused.into_error())),
        }
        self.reply = Some((slot, due));
        Poll::Pending
    }

    /// Notes that a handler waits here, and looks whether that closes a cycle which others began meanwhile.
    fn note_wait(&mut self, waiter: ActorId) -> Poll<Result<M::Reply, SendError<M>>> {
        let Some(callee) = self.route.waits_for() else {
            return Poll::Pending;
        };
        let system = self.route.system();
        let wait = system.waits().add(waiter, callee);
        if let Some((slot, _)) = &self.reply {
            slot.note_wait(Some(wait));
        }
        self.waiter = Some(waiter);
        // While it waits for room the message isn't over there, and couldn't be given back.
        if self.may_close_cycle || self.room.is_some() || !system.waits().would_close_cycle(callee)
        {
            return Poll::Pending;
        }
        let failure = self.cycle(callee);
        self.forget_wait();
        let Some((mut slot, _)) = self.reply.take() else {
            return Poll::Pending;
        };
        let outcome = slot
            .withdraw(self.route.system().counters_arc())
            .unwrap_or_else(|reached| Err(failure.with_verdict(reached)));
        Poll::Ready(end(outcome, &mut self.kept))
    }

    #[cold]
    fn cycle(&self, callee: ActorId) -> Failure {
        let system = self.route.system();
        let mut path: Vec<_> = current::actor().into_iter().collect();
        path.extend(system.waits().cycle(callee).unwrap_or_default());
        Failure::new(FailureKind::Cycle, Verdict::NotExecuted).with_detail(system.path_of(&path))
    }

    /// Whether it was handed over: what waits now waits for the answer.
    #[cfg(feature = "actix")]
    pub(crate) fn is_sent(&self) -> bool {
        self.message.is_none() && self.room.is_none()
    }

    /// Waits for room, if it has to. Answers with the error, if there is none for it.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError<M>>> {
        let Some(room) = &mut self.room else {
            return Poll::Ready(Ok(()));
        };
        let Poll::Ready(sent) = room.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        self.room = None;
        if sent.is_err() {
            // The responder comes back with the message, unanswered.
            self.reply = None;
        }
        Poll::Ready(sent.map_err(Refused::into_error))
    }
}

#[inline]
fn end<M: Message>(
    outcome: Outcome<M::Reply>,
    kept: &mut Option<M>,
) -> Result<M::Reply, SendError<M>> {
    outcome.map_err(|failure| SendError::new(failure, kept.take()))
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> Future for Asking<'r, M, R> {
    type Output = Result<M::Reply, SendError<M>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(message) = this.message.take() {
            if let Poll::Ready(done) = this.begin(message) {
                return Poll::Ready(done);
            }
            if let Some(waiter) = current::actor()
                && let Poll::Ready(done) = this.note_wait(waiter)
            {
                return Poll::Ready(done);
            }
        }
        let polled = this.go_on(cx);
        // Also if the handler that began to wait has handed it to somebody else.
        if this.waiter.is_some() && polled.is_pending() && this.waiter != current::actor() {
            this.forget_wait();
        }
        polled
    }
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> Asking<'r, M, R> {
    /// Waits, once it is sent.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Poll<Result<M::Reply, SendError<M>>> {
        if self.room.is_some() {
            match self.poll_room(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
        }
        let Some((slot, due)) = &mut self.reply else {
            // Polled again after it ended.
            return Poll::Pending;
        };
        if let Poll::Ready(outcome) = Pin::new(&mut *slot).poll(cx) {
            return Poll::Ready(end(outcome, &mut self.kept));
        }
        if due.poll(self.route.system().clock(), cx).is_pending() {
            return Poll::Pending;
        }
        let outcome = slot
            .withdraw(self.route.system().counters_arc())
            .unwrap_or_else(|reached| {
                let failure = Failure::new(FailureKind::DeadlineExceeded, reached);
                Err(failure.with_detail(self.route.label()))
            });
        Poll::Ready(end(outcome, &mut self.kept))
    }
}

impl<M: Message, R: Route<M>> Drop for Asking<'_, M, R> {
    #[inline]
    fn drop(&mut self) {
        // An ask that is given up: a reply that comes all the same is counted (G8).
        if let Some((slot, _)) = &mut self.reply
            && !slot.is_over()
        {
            drop(slot.withdraw(self.route.system().counters_arc()));
        }
    }
}

impl<M: Message, R: Route<M>> Asking<'_, M, R> {
    /// The handler waits no longer.
    #[inline]
    fn forget_wait(&mut self) {
        self.waiter = None;
        if let Some((slot, _)) = &self.reply {
            slot.note_wait(None);
        }
    }
}
