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

mod asking;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;

pub use asking::Asking;

use crate::blocking;
use crate::boundary::Boundary;
use crate::clock::{Clock, Instant};
use crate::current;
use crate::envelope::{Envelope, Meta};
use crate::error::SendError;
use crate::executor;
use crate::id::RequestKey;
use crate::message::Message;
use crate::responder::Responder;
use crate::route::{Refused, Route};
use crate::stamp;
use crate::trace_parent::TraceParent;

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
    fn span<'a>(self, clock: impl FnOnce() -> &'a Clock) -> Duration {
        match self {
            Limit::Default => DEFAULT_LOCAL_DEADLINE,
            Limit::Within(span) => span,
            Limit::At(at) => at.since(clock().coarse_now()),
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

    /// Has it belong to that trace, and not to the one of the message in hand.
    pub fn trace_parent(mut self, parent: TraceParent) -> Self {
        self.meta.set_trace_parent(parent);
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
        let mut meta = std::mem::take(&mut self.meta);
        stamp::hand_down(&mut meta);
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
    may_close_cycle: bool,
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
            may_close_cycle: false,
        }
    }

    /// Where it goes.
    pub fn route(&self) -> &R {
        &self.route
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

    /// Has it belong to that trace, and not to the one of the message in hand.
    pub fn trace_parent(mut self, parent: TraceParent) -> Self {
        self.meta.set_trace_parent(parent);
        self
    }

    /// Asks although the answer may never come, because who is asked waits for this handler, over others
    /// perhaps. Without this such an ask ends at once, as [`Cycle`](crate::FailureKind::Cycle), `NotSent`, with
    /// the path of actors. With it the ask waits until one of the handlers stops waiting (it races with another
    /// future, say), or until its deadline.
    ///
    /// A cycle is found among actors of one system whose handlers wait for each other. One that goes through a
    /// deferred answer, another process or a wait for room isn't, and ends by its deadline. A handler that polls
    /// an ask, keeps its future and ends counts as waiting until the ask has ended.
    pub fn allow_cycle(mut self) -> Self {
        self.may_close_cycle = true;
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
    /// inherited from the request that is being handled is resolved here: its deadline (G9), that its
    /// caller retries (G18), and its trace. So call it where the ask would be awaited.
    #[must_use]
    #[inline]
    pub fn into_parts(self) -> AskParts<M, R> {
        let Ask {
            route,
            message,
            mut meta,
            limit,
            kept,
            may_close_cycle,
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
        stamp::hand_down(&mut meta);
        AskParts {
            route,
            message,
            meta,
            kept,
            may_close_cycle,
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
    /// Whether [`Ask::allow_cycle`] was said.
    pub may_close_cycle: bool,
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
            may_close_cycle: false,
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
            may_close_cycle: self.may_close_cycle,
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
        Asking::of(self)
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
