//! What a policy can call more than once: an ask, or an offer to a queue.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;

use callboard_core::clock::Instant;
use callboard_core::queue::{Offer, OfferError, OfferTerms, Offered, Offering, Queue};
use callboard_core::{AskParts, Asking, Failure, Message, Meta, Route, SendError, System};

/// Where a call goes, without its message.
pub(super) trait Aim {
    type Message;
    type Reply;
    type Error;
    type Attempt: Future<Output = Result<Self::Reply, Self::Error>> + Unpin;

    fn system(&self) -> &System;

    /// One attempt, not yet begun.
    fn attempt(&self, message: Self::Message, terms: Terms) -> Self::Attempt;

    /// Takes an error apart.
    fn parts(error: Self::Error) -> (Failure, Option<Self::Message>);

    fn error(failure: Failure, message: Option<Self::Message>) -> Self::Error;
}

/// What an attempt says of itself.
pub(super) struct Terms {
    pub(super) number: u32,
    pub(super) deadline: Option<Instant>,
    /// Whether those below should leave retrying to this policy (G18).
    pub(super) retried: bool,
}

/// An ask.
pub(super) struct AskAim<R> {
    pub(super) route: R,
    pub(super) meta: Meta,
    pub(super) may_close_cycle: bool,
}

impl<R> AskAim<R> {
    fn meta(&self, terms: &Terms) -> Meta {
        let mut meta = self.meta.clone();
        meta.deadline = terms.deadline;
        if terms.number > 1 {
            meta.set_attempt(terms.number);
        }
        if terms.retried {
            meta.set_caller_retries();
        }
        meta
    }
}

/// That an aim borrows for that long, and is for that message.
pub(super) type Borrowed<'r, M> = PhantomData<(&'r (), fn(M))>;

/// An ask over that route: the lifetime is that of what the route borrows.
pub(super) struct AskOver<'r, M: Message, R: Route<M> + 'r> {
    pub(super) aim: AskAim<R>,
    pub(super) lives: Borrowed<'r, M>,
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> Aim for AskOver<'r, M, R> {
    type Message = M;
    type Reply = M::Reply;
    type Error = SendError<M>;
    type Attempt = Asking<'r, M, R>;

    #[inline]
    fn system(&self) -> &System {
        self.aim.route.system()
    }

    #[inline]
    fn attempt(&self, message: M, terms: Terms) -> Asking<'r, M, R> {
        let meta = self.aim.meta(&terms);
        let mut parts = AskParts::new(self.aim.route.clone(), message, meta);
        parts.may_close_cycle = self.aim.may_close_cycle;
        parts.into_ask().into_future()
    }

    fn parts(error: SendError<M>) -> (Failure, Option<M>) {
        error.into_parts()
    }

    fn error(failure: Failure, message: Option<M>) -> SendError<M> {
        SendError::new(failure, message)
    }
}

/// An offer to a queue.
pub(super) struct OfferTo<T: Send + 'static> {
    pub(super) queue: Queue<T>,
    pub(super) terms: OfferTerms,
}

impl<T: Send + 'static> Aim for OfferTo<T> {
    type Message = T;
    type Reply = Offered;
    type Error = OfferError<T>;
    type Attempt = Offering<T>;

    fn system(&self) -> &System {
        self.queue.system()
    }

    fn attempt(&self, item: T, terms: Terms) -> Offering<T> {
        let offer: Offer<T> = self.queue.offer(item).with_terms(self.terms.clone());
        let left = terms
            .deadline
            .map(|deadline| deadline.since(self.system().clock().now()));
        match left {
            Some(left) => offer.deadline(left),
            None => offer,
        }
        .into_future()
    }

    fn parts(error: OfferError<T>) -> (Failure, Option<T>) {
        (error.failure, error.item)
    }

    fn error(failure: Failure, item: Option<T>) -> OfferError<T> {
        OfferError { failure, item }
    }
}
