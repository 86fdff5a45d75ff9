//! The send builder: `tell` and `ask` with deadline, key and a kept copy.
//!
//! Both are values until awaited, so that what a message needs is said where it is sent:
//!
//! ```no_run
//! # use callboard_core::{ActorRef, Actor, Handler, Message, Context, RequestKey};
//! # use std::time::Duration;
//! # #[derive(Clone)] struct Pay(u64);
//! # impl Message for Pay { type Reply = u64; }
//! # async fn example(bank: callboard_core::Recipient<Pay>) -> Result<(), Box<dyn std::error::Error>> {
//! let key = RequestKey::new();
//! let balance = bank.ask(Pay(100)).deadline(Duration::from_millis(50)).key(key).await?;
//! # Ok(()) }
//! ```

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::blocking;
use crate::boundary::Boundary;
use crate::clock::{Clock, Instant};
use crate::current;
use crate::deadlines::Due;
use crate::envelope::{Envelope, Meta};
use crate::error::{Failure, FailureKind, SendError};
use crate::executor;
use crate::id::RequestKey;
use crate::message::Message;
use crate::responder::{Outcome, ReplySlot, Responder};
use crate::route::{Asked, Refused, Route};

/// How long an ask inside a process waits unless told otherwise (G9).
pub const DEFAULT_LOCAL_DEADLINE: Duration = Duration::from_secs(30);
/// How long an ask across a process boundary waits unless told otherwise (G9).
pub const DEFAULT_REMOTE_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// The default of the boundary for an ask; none for a tell.
    Default,
    Within(Duration),
    /// A point that was resolved before.
    At(Instant),
    Never,
}

impl Limit {
    /// About how long from now.
    fn span(self, clock: &Clock) -> Duration {
        match self {
            Limit::Default => DEFAULT_LOCAL_DEADLINE,
            Limit::Within(span) => span,
            Limit::At(at) => at.since(clock.coarse_now()),
            Limit::Never => Duration::MAX,
        }
    }

    /// The point in time, also bounded by the request that is being handled (G9).
    #[inline]
    fn resolve(self, clock: &Clock, default: Option<Duration>) -> Option<Instant> {
        let own = match self {
            // A default is a round number: a tick more or less doesn't matter.
            Limit::Default => default.map(|span| clock.coarse_now() + span),
            Limit::Within(span) => Some(clock.now() + span),
            Limit::At(at) => return Some(at),
            Limit::Never => return None,
        };
        match (own, current::inherited_deadline(clock)) {
            (Some(own), Some(inherited)) => Some(own.min(inherited)),
            (own, _) => own,
        }
    }
}

/// A message to be sent without an answer. Await it.
///
/// Ok means, inside the process: it is in the mailbox. Across: it is in the bounded buffer of the
/// connection, and a later loss is counted and dead-lettered (G6). Who must know asks.
///
/// # Errors
/// [`SendError`] with the message: the receiver has stopped, or the deadline passed while there was no
/// room.
///
/// # Cancel safety
/// Dropping it before it ends drops the message, unsent.
#[must_use = "nothing is sent until it is awaited"]
pub struct Tell<'r, M: Message, R: Route<M> + 'r> {
    route: R,
    lives: PhantomData<&'r ()>,
    message: M,
    meta: Meta,
    limit: Limit,
}

impl<'r, M: Message, R: Route<M> + 'r> Tell<'r, M, R> {
    #[inline]
    pub(crate) fn new(route: R, message: M) -> Self {
        Tell {
            route,
            lives: PhantomData,
            message,
            meta: Meta::default(),
            limit: Limit::Default,
        }
    }

    /// Gives up waiting for room after `span`, and lets the message expire if its turn comes later.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.limit = Limit::Within(span);
        self
    }

    /// Marks it as one attempt of the request with that key (G19).
    pub fn key(mut self, key: RequestKey) -> Self {
        self.meta.set_key(key);
        self
    }

    /// Sends from a thread that is no arbiter, blocking it while there is no room. Needs no runtime; inside
    /// somebody else's it blocks one of its threads.
    ///
    /// # Errors
    /// As when awaited. On the thread of an arbiter, of any system:
    /// [`OnArbiter`](crate::FailureKind::OnArbiter), `NotSent`, at once, with the message.
    pub fn blocking(self) -> Result<(), SendError<M>>
    where
        R: Clone,
    {
        match blocking::check(self.route.system()) {
            Ok(()) => executor::block_on(self.into_future()),
            Err(refusal) => Err(SendError::new(refusal.into(), Some(self.message))),
        }
    }
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> IntoFuture for Tell<'r, M, R> {
    type Output = Result<(), SendError<M>>;
    type IntoFuture = Telling<'r, M, R>;

    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        let Tell {
            route,
            message,
            mut meta,
            limit,
            ..
        } = self;
        if limit != Limit::Default {
            meta.deadline = limit.resolve(route.system().clock(), None);
        }
        Telling {
            route,
            message: Some(message),
            meta,
            waiting: None,
        }
    }
}

/// The future of a [`Tell`].
#[must_use = "futures do nothing unless polled"]
pub struct Telling<'r, M: Message, R: Route<M>> {
    route: R,
    /// Until it is sent.
    message: Option<M>,
    meta: Meta,
    /// There was no room at once.
    waiting: Option<BoxFuture<'r, Result<(), Refused<M>>>>,
}

// Nothing in it is pinned: what must not move is in a box.
impl<M: Message, R: Route<M>> Unpin for Telling<'_, M, R> {}

impl<'r, M: Message, R: Route<M> + Clone + 'r> Telling<'r, M, R> {
    #[cold]
    fn send_with_care(&mut self, message: M) -> Result<(), SendError<M>> {
        let meta = std::mem::take(&mut self.meta);
        let envelope = Envelope {
            message,
            meta,
            responder: Responder::nowhere(),
        };
        match self.route.send(envelope) {
            Ok(()) => Ok(()),
            Err(refused) if refused.may_wait => {
                self.waiting = Some(wait_for_room(self.route.clone(), refused.envelope));
                Ok(())
            }
            Err(refused) => Err(refused.into_error()),
        }
    }
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> Future for Telling<'r, M, R> {
    type Output = Result<(), SendError<M>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(mut message) = this.message.take() {
            if !current::may_tell() {
                // Whoever only sends would keep its receivers, and all others of its thread, waiting.
                this.message = Some(message);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if this.meta.is_plain() {
                message = match this.route.send_lean(message) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(message) => message,
                };
            }
            if let Err(error) = this.send_with_care(message) {
                return Poll::Ready(Err(error));
            }
        }
        match &mut this.waiting {
            None => Poll::Ready(Ok(())),
            Some(waiting) => waiting.as_mut().poll(cx).map_err(Refused::into_error),
        }
    }
}

#[cold]
fn wait_for_room<'r, M: Message, R: Route<M> + 'r>(
    route: R,
    envelope: Envelope<M>,
) -> BoxFuture<'r, Result<(), Refused<M>>> {
    Box::pin(async move { route.wait_for_room(envelope).await })
}

/// A message to be answered. Await it.
///
/// It ends in exactly one of: the reply, or one error with a verdict (G7). It always has a deadline:
/// 30 s inside the process, 5 s across, never more than the request that is being handled has left (G9).
///
/// # Errors
/// [`SendError`]; the message is in it if it was refused, or if [`keep`](Ask::keep) was called.
///
/// # Cancel safety
/// Dropping it withdraws the request: if its handler has not begun, it never will (inside the process).
#[must_use = "nothing is sent until it is awaited"]
pub struct Ask<'r, M: Message, R: Route<M> + 'r> {
    route: R,
    lives: PhantomData<&'r ()>,
    message: M,
    meta: Meta,
    limit: Limit,
    kept: Option<M>,
}

impl<'r, M: Message, R: Route<M> + 'r> Ask<'r, M, R> {
    #[inline]
    pub(crate) fn new(route: R, message: M) -> Self {
        Ask {
            route,
            lives: PhantomData,
            message,
            meta: Meta::default(),
            limit: Limit::Default,
            kept: None,
        }
    }

    /// Ends with an error after `span`, waiting for room included.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.limit = Limit::Within(span);
        self
    }

    /// Waits as long as it takes; also past the deadline of the request that is being handled.
    pub fn no_deadline(mut self) -> Self {
        self.limit = Limit::Never;
        self
    }

    /// Marks it as one attempt of the request with that key (G19).
    pub fn key(mut self, key: RequestKey) -> Self {
        self.meta.set_key(key);
        self
    }

    /// Says which attempt of its request this is, 1 for the first. Retry policies set it.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.meta.set_attempt(attempt);
        self
    }

    /// Says that the caller retries, so that layers below don't (G18). Retry policies set it.
    pub fn caller_retries(mut self) -> Self {
        self.meta.set_caller_retries();
        self
    }

    /// Keeps a copy, so that the error holds the message whatever happened to the one that was sent.
    pub fn keep(mut self) -> Self
    where
        M: Clone,
    {
        self.kept = Some(self.message.clone());
        self
    }

    /// Takes the ask apart, for a policy that sends it more than once or to somebody else. What is
    /// inherited from the request that is being handled is resolved here: its deadline (G9), and that its
    /// caller retries (G18). So call it where the ask would be awaited.
    #[must_use]
    #[inline]
    pub fn into_parts(self) -> AskParts<M, R> {
        let Ask {
            route,
            message,
            mut meta,
            limit,
            kept,
            ..
        } = self;
        let default = match route.boundary() {
            Boundary::SameThread | Boundary::SameProcess => DEFAULT_LOCAL_DEADLINE,
            Boundary::SameHost | Boundary::Network => DEFAULT_REMOTE_DEADLINE,
        };
        meta.deadline = limit.resolve(route.system().clock(), Some(default));
        if current::caller_retries() {
            meta.set_caller_retries();
        }
        AskParts {
            route,
            message,
            meta,
            kept,
        }
    }

    /// Asks from a thread that is no arbiter, blocking it until the end. Needs no runtime; inside somebody
    /// else's it blocks one of its threads.
    ///
    /// # Errors
    /// As when awaited. On the thread of an arbiter, of any system:
    /// [`OnArbiter`](crate::FailureKind::OnArbiter), `NotSent`, at once, with the message.
    pub fn blocking(self) -> Result<M::Reply, SendError<M>>
    where
        R: Clone,
    {
        match blocking::check(self.route.system()) {
            Ok(()) => executor::block_on(self.into_future()),
            Err(refusal) => Err(SendError::new(refusal.into(), Some(self.message))),
        }
    }
}

/// An [`Ask`] taken apart. Made by [`Ask::into_parts`]; [`into_ask`](AskParts::into_ask) puts it together.
#[non_exhaustive]
pub struct AskParts<M: Message, R: Route<M>> {
    /// Where it goes.
    pub route: R,
    /// The message.
    pub message: M,
    /// What travels beside it. The deadline is a point in time by now; `None` is no deadline at all.
    pub meta: Meta,
    /// The copy that [`Ask::keep`] made.
    pub kept: Option<M>,
}

impl<M: Message, R: Route<M>> AskParts<M, R> {
    /// Parts of a new ask, without a kept copy.
    #[must_use]
    pub fn new(route: R, message: M, meta: Meta) -> Self {
        AskParts {
            route,
            message,
            meta,
            kept: None,
        }
    }

    /// The ask again.
    pub fn into_ask<'r>(self) -> Ask<'r, M, R>
    where
        R: 'r,
    {
        Ask {
            limit: self.meta.deadline.map_or(Limit::Never, Limit::At),
            route: self.route,
            lives: PhantomData,
            message: self.message,
            meta: self.meta,
            kept: self.kept,
        }
    }
}

impl<M: Message, R: Route<M>> fmt::Debug for AskParts<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskParts")
            .field("to", &self.route.label())
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> IntoFuture for Ask<'r, M, R> {
    type Output = Result<M::Reply, SendError<M>>;
    type IntoFuture = Asking<'r, M, R>;

    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        Asking {
            route: self.route,
            message: Some(self.message),
            meta: self.meta,
            limit: self.limit,
            kept: self.kept,
            room: None,
            reply: None,
        }
    }
}

/// The future of an [`Ask`].
#[must_use = "futures do nothing unless polled"]
pub struct Asking<'r, M: Message, R: Route<M> + 'r> {
    route: R,
    /// Until it is sent.
    message: Option<M>,
    meta: Meta,
    limit: Limit,
    kept: Option<M>,
    /// There was no room at once.
    room: Option<BoxFuture<'r, Result<(), Refused<M>>>>,
    /// From its sending on: where the reply will be, and when it is too late for it.
    reply: Option<(ReplySlot<M::Reply>, Due)>,
}

// Nothing in it is pinned: what must not move is in a box.
impl<M: Message, R: Route<M>> Unpin for Asking<'_, M, R> {}

impl<'r, M: Message, R: Route<M> + Clone + 'r> Asking<'r, M, R> {
    /// Sends, and takes the reply if it is there at once.
    #[inline]
    fn begin(&mut self, message: M) -> Poll<Result<M::Reply, SendError<M>>> {
        if self.limit != Limit::Default || !self.meta.is_plain() {
            return self.begin_with_care(message);
        }
        match self.route.ask_lean(message) {
            Asked::Ended(Ok(reply)) => Poll::Ready(Ok(reply)),
            Asked::Ended(Err(failure)) => {
                Poll::Ready(Err(SendError::new(failure, self.kept.take())))
            }
            Asked::Waits(slot, deadline) => {
                self.reply = Some((slot, Due::at(deadline, DEFAULT_LOCAL_DEADLINE)));
                Poll::Pending
            }
            Asked::NotYet(message) => self.begin_with_care(message),
        }
    }

    #[cold]
    fn begin_with_care(&mut self, message: M) -> Poll<Result<M::Reply, SendError<M>>> {
        let ask = Ask {
            route: self.route.clone(),
            lives: PhantomData,
            message,
            meta: std::mem::take(&mut self.meta),
            limit: self.limit,
            kept: None,
        };
        let AskParts {
            route,
            message,
            meta,
            ..
        } = ask.into_parts();
        let due = match meta.deadline {
            Some(deadline) => Due::at(deadline, self.limit.span(route.system().clock())),
            None => Due::at(Instant::FAR, Duration::ZERO),
        };
        let (responder, mut slot) = Responder::slot();
        match route.send(Envelope {
            message,
            meta,
            responder,
        }) {
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
        if let Some(message) = this.message.take()
            && let Poll::Ready(done) = this.begin(message)
        {
            return Poll::Ready(done);
        }
        if this.room.is_some() {
            match this.poll_room(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
        }
        let Some((slot, due)) = &mut this.reply else {
            // Polled again after it ended.
            return Poll::Pending;
        };
        if let Poll::Ready(outcome) = Pin::new(&mut *slot).poll(cx) {
            return Poll::Ready(end(outcome, &mut this.kept));
        }
        if due.poll(this.route.system().clock(), cx).is_pending() {
            return Poll::Pending;
        }
        let outcome = slot
            .withdraw(this.route.system().counters_arc())
            .unwrap_or_else(|reached| {
                let failure = Failure::new(FailureKind::DeadlineExceeded, reached);
                Err(failure.with_detail(this.route.label()))
            });
        Poll::Ready(end(outcome, &mut this.kept))
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

macro_rules! debug_by_label {
    ($($name:ident),*) => {$(
        impl<M: Message, R: Route<M>> fmt::Debug for $name<'_, M, R> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("to", &self.route.label())
                    .field("meta", &self.meta)
                    .field("limit", &self.limit)
                    .finish_non_exhaustive()
            }
        }
    )*};
}

debug_by_label!(Tell, Ask);

macro_rules! debug_by_name {
    ($($name:ident),*) => {$(
        impl<M: Message, R: Route<M>> fmt::Debug for $name<'_, M, R> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}

debug_by_name!(Telling, Asking);
