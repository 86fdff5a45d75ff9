//! Policies on asks.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use callboard_core::{Ask, AskParts, Asking, Failure, Message, Recipient, Route, SendError};

use super::CallPolicy;
use super::aim::{AskAim, AskOver};
use super::engine::{Engine, Request};
use super::live::Live;
use crate::fallback::{Elsewhere, Fallback, FromLast, LastAnswers};

/// A message that may run more than once: running it again changes nothing more (reading, setting a value).
///
/// `policy_idempotent` needs it. It is a promise about the handler, which the compiler can't check.
#[diagnostic::on_unimplemented(
    message = "`{Self}` may not run twice",
    label = "nobody said that running it again changes nothing more",
    note = "give the ask a request key (`.key(key)`) and use `.policy(..)`, before a receiver that deduplicates",
    note = "or, if running it again changes nothing more: `impl Idempotent for {Self} {{}}`"
)]
pub trait Idempotent: Message {}

/// Policies and fallbacks on asks: `reference.ask(message).key(key).deadline(span).policy(&policy).await`.
///
/// The same on an `ActorRef`, a `Recipient`, a pool and a name of another process. For queues see
/// [`OfferExt`](crate::OfferExt).
pub trait AskExt<'r, M: Message>: Sized {
    /// Where the ask goes.
    type Route: Route<M> + Clone + 'r;

    /// Makes the call by the policy. Tried again is what certainly did not run; anything, if the ask has a request
    /// key (set it before).
    ///
    /// All attempts happen inside the ask's one deadline.
    fn policy(self, policy: &CallPolicy) -> Call<'r, M, Self::Route>
    where
        M: Clone;

    /// Makes the call by the policy, and tries again whatever the verdict: the message is [`Idempotent`].
    fn policy_idempotent(self, policy: &CallPolicy) -> Call<'r, M, Self::Route>
    where
        M: Clone + Idempotent;

    /// Answers with what `instead` makes if the ask fails, marked as degraded. `part` names what is missing, for
    /// people.
    fn fallback<F>(self, part: impl Into<String>, instead: F) -> Fallback<'r, M, F>
    where
        F: FnOnce(&Failure) -> M::Reply + Send + 'static;

    /// Answers with `value` if the ask fails, marked as degraded.
    fn or_degraded(
        self,
        part: impl Into<String>,
        value: M::Reply,
    ) -> Fallback<'r, M, impl FnOnce(&Failure) -> M::Reply + Send + 'static> {
        self.fallback(part, move |_| value)
    }
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> AskExt<'r, M> for Ask<'r, M, R> {
    type Route = R;

    #[inline]
    fn policy(self, policy: &CallPolicy) -> Call<'r, M, R>
    where
        M: Clone,
    {
        Call::new(self, policy, false)
    }

    #[inline]
    fn policy_idempotent(self, policy: &CallPolicy) -> Call<'r, M, R>
    where
        M: Clone + Idempotent,
    {
        Call::new(self, policy, true)
    }

    fn fallback<F>(self, part: impl Into<String>, instead: F) -> Fallback<'r, M, F>
    where
        F: FnOnce(&Failure) -> M::Reply + Send + 'static,
    {
        Fallback::new(Box::pin(self.into_future()), part.into(), instead)
    }
}

/// An ask that is made by a [`CallPolicy`]. Await it.
///
/// # Errors
/// [`SendError`] of the last attempt, with the worst verdict of all; or of the policy, which refused to send
/// (`Overloaded`, `NotSent`, perhaps with a `retry_after`). The message is in it if it is still here: always under a
/// policy that retries, unless the caller does.
///
/// # Cancel safety
/// Dropping it withdraws what is under way, as with an [`Ask`]; no other attempt follows.
#[must_use = "nothing is sent until it is awaited"]
pub struct Call<'r, M: Message, R: Route<M> + 'r> {
    ask: Ask<'r, M, R>,
    policy: CallPolicy,
    idempotent: bool,
    has_fallback: bool,
    /// How to copy the message: kept from where it was known to be `Clone`.
    copy: fn(&M) -> M,
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> Call<'r, M, R> {
    #[inline]
    fn new(ask: Ask<'r, M, R>, policy: &CallPolicy, idempotent: bool) -> Self
    where
        M: Clone,
    {
        Call {
            ask,
            policy: policy.clone(),
            idempotent,
            has_fallback: false,
            copy: M::clone,
        }
    }

    /// See [`AskExt::fallback`]: the fallback comes after the last attempt.
    pub fn fallback<F>(mut self, part: impl Into<String>, instead: F) -> Fallback<'r, M, F>
    where
        F: FnOnce(&Failure) -> M::Reply + Send + 'static,
    {
        self.has_fallback = true;
        Fallback::new(Box::pin(self.into_future()), part.into(), instead)
    }

    /// See [`AskExt::or_degraded`]: the value stands in after the last attempt.
    pub fn or_degraded(
        self,
        part: impl Into<String>,
        value: M::Reply,
    ) -> Fallback<'r, M, impl FnOnce(&Failure) -> M::Reply + Send + 'static> {
        self.fallback(part, move |_| value)
    }

    /// Answers with the last answer that was given for `about` if the call fails, marked as degraded; and remembers
    /// each that isn't. Fails like the call where there is none.
    pub fn or_last<K>(
        mut self,
        part: impl Into<String>,
        last: &LastAnswers<K, M::Reply>,
        about: K,
    ) -> FromLast<'r, M, K>
    where
        K: Ord + Clone + Send + 'static,
        M::Reply: Clone,
    {
        self.has_fallback = true;
        let clock = self.ask_system_clock();
        FromLast::new(
            Box::pin(self.into_future()),
            part.into(),
            last.clone(),
            about,
            clock,
        )
    }

    /// Asks somebody else if the call fails, within what is left of the deadline, and marks the answer as degraded.
    /// Only if the request certainly did not run, or is [`Idempotent`]: a key means nothing to somebody else.
    pub fn or_ask(mut self, part: impl Into<String>, other: &Recipient<M>) -> Elsewhere<'r, M> {
        self.has_fallback = true;
        let idempotent = self.idempotent;
        // Whoever falls back may still need it.
        let engine = self.into_engine(true);
        let deadline = engine.deadline();
        let asking = Calling { engine };
        Elsewhere::new(
            Box::pin(asking),
            part.into(),
            other.clone(),
            idempotent,
            deadline,
        )
    }

    fn ask_system_clock(&self) -> callboard_core::clock::Clock {
        self.ask.route().system().clock().clone()
    }

    #[inline]
    fn into_engine(self, keep: bool) -> Engine<AskOver<'r, M, R>, M, Asking<'r, M, R>> {
        let Call {
            ask,
            policy,
            idempotent,
            has_fallback,
            copy,
        } = self;
        let AskParts {
            route,
            message,
            meta,
            kept,
            may_close_cycle,
            ..
        } = ask.into_parts();
        let (live, at): (Arc<Live>, usize) =
            policy.live_for(route.id(), route.system(), || route.label());
        let request = Request {
            live,
            at,
            deadline: meta.deadline,
            repeatable: idempotent || meta.key().is_some(),
            caller_retries: meta.caller_retries(),
            has_fallback,
        };
        let aim = AskOver {
            aim: AskAim {
                route,
                meta,
                may_close_cycle,
            },
            lives: PhantomData,
        };
        Engine::new(aim, request, message, copy, keep || kept.is_some())
    }
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> IntoFuture for Call<'r, M, R> {
    type Output = Result<M::Reply, SendError<M>>;
    type IntoFuture = Calling<'r, M, R>;

    #[inline]
    fn into_future(self) -> Calling<'r, M, R> {
        Calling {
            engine: self.into_engine(false),
        }
    }
}

impl<M: Message, R: Route<M>> fmt::Debug for Call<'_, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("ask", &self.ask)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// The future of a [`Call`].
#[must_use = "futures do nothing unless polled"]
pub struct Calling<'r, M: Message, R: Route<M> + Clone + 'r> {
    engine: Engine<AskOver<'r, M, R>, M, Asking<'r, M, R>>,
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> Future for Calling<'r, M, R> {
    type Output = Result<M::Reply, SendError<M>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.engine.poll(cx)
    }
}

// What is in it is moved in and out; see the engine.
impl<M: Message, R: Route<M> + Clone> Unpin for Calling<'_, M, R> {}

impl<M: Message, R: Route<M> + Clone> fmt::Debug for Calling<'_, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calling").finish_non_exhaustive()
    }
}
