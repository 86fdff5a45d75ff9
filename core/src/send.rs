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
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::boundary::{Boundary, Verdict};
use crate::clock::{Clock, Instant};
use crate::current;
use crate::envelope::{Envelope, Meta};
use crate::error::{Failure, FailureKind, SendError};
use crate::executor;
use crate::id::RequestKey;
use crate::message::Message;
use crate::responder::Responder;
use crate::route::{Refused, Route};

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
    /// The point in time, also bounded by the request that is being handled (G9).
    fn resolve(self, clock: &Clock, default: Option<Duration>) -> Option<Instant> {
        let own = match self {
            Limit::Default => default.map(|span| clock.now() + span),
            Limit::Within(span) => Some(clock.now() + span),
            Limit::At(at) => return Some(at),
            Limit::Never => return None,
        };
        match (own, current::inherited_deadline()) {
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
pub struct Tell<M: Message> {
    route: Arc<dyn Route<M>>,
    message: M,
    meta: Meta,
    limit: Limit,
}

impl<M: Message> Tell<M> {
    pub(crate) fn new(route: Arc<dyn Route<M>>, message: M) -> Self {
        Tell {
            route,
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
        self.meta.key = Some(key);
        self
    }

    async fn send(self) -> Result<(), SendError<M>> {
        let Tell {
            route,
            message,
            mut meta,
            limit,
        } = self;
        meta.deadline = limit.resolve(route.system().clock(), None);
        let envelope = Envelope {
            message,
            meta,
            responder: Responder::nowhere(),
        };
        route
            .send_waiting(envelope)
            .await
            .map_err(Refused::into_error)
    }

    /// Sends from a thread without a runtime, blocking it.
    ///
    /// # Errors
    /// As when awaited.
    pub fn blocking(self) -> Result<(), SendError<M>> {
        executor::block_on(self.into_future())
    }
}

impl<M: Message> IntoFuture for Tell<M> {
    type Output = Result<(), SendError<M>>;
    type IntoFuture = Sending<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Sending::new(self.send())
    }
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
pub struct Ask<M: Message> {
    route: Arc<dyn Route<M>>,
    message: M,
    meta: Meta,
    limit: Limit,
    kept: Option<M>,
}

impl<M: Message> Ask<M> {
    pub(crate) fn new(route: Arc<dyn Route<M>>, message: M) -> Self {
        Ask {
            route,
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
        self.meta.key = Some(key);
        self
    }

    /// Says which attempt of its request this is, 1 for the first. Retry policies set it.
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.meta.attempt = attempt;
        self
    }

    /// Says that the caller retries, so that layers below don't (G18). Retry policies set it.
    pub fn caller_retries(mut self) -> Self {
        self.meta.caller_retries = true;
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
    pub fn into_parts(self) -> AskParts<M> {
        let Ask {
            route,
            message,
            mut meta,
            limit,
            kept,
        } = self;
        let default = match route.boundary() {
            Boundary::SameThread | Boundary::SameProcess => DEFAULT_LOCAL_DEADLINE,
            Boundary::SameHost | Boundary::Network => DEFAULT_REMOTE_DEADLINE,
        };
        meta.deadline = limit.resolve(route.system().clock(), Some(default));
        meta.caller_retries |= current::caller_retries();
        AskParts {
            route,
            message,
            meta,
            kept,
        }
    }

    async fn send(self) -> Result<M::Reply, SendError<M>> {
        let AskParts {
            route,
            message,
            meta,
            kept,
        } = self.into_parts();
        let clock = route.system().clock().clone();
        let deadline = meta.deadline;
        let (responder, mut slot) = Responder::slot(route.system().counters_arc());
        let envelope = Envelope {
            message,
            meta,
            responder,
        };
        if let Err(refused) = route.send_waiting(envelope).await {
            return Err(refused.into_error());
        }
        let mut due = clock.sleep_until(deadline.unwrap_or(Instant::FAR));
        let answered = std::future::poll_fn(|cx| match Pin::new(&mut slot).poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => Pin::new(&mut due).poll(cx).map(|()| None),
        })
        .await;
        let outcome = answered.unwrap_or_else(|| match slot.withdraw() {
            Ok(outcome) => outcome,
            Err(reached) => Err(timed_out(reached, &route.label())),
        });
        outcome.map_err(|failure| SendError::new(failure, kept))
    }

    /// Asks from a thread without a runtime, blocking it.
    ///
    /// # Errors
    /// As when awaited.
    pub fn blocking(self) -> Result<M::Reply, SendError<M>> {
        executor::block_on(self.into_future())
    }
}

/// An [`Ask`] taken apart. Made by [`Ask::into_parts`]; [`into_ask`](AskParts::into_ask) puts it together.
#[non_exhaustive]
pub struct AskParts<M: Message> {
    /// Where it goes.
    pub route: Arc<dyn Route<M>>,
    /// The message.
    pub message: M,
    /// What travels beside it. The deadline is a point in time by now; `None` is no deadline at all.
    pub meta: Meta,
    /// The copy that [`Ask::keep`] made.
    pub kept: Option<M>,
}

impl<M: Message> AskParts<M> {
    /// Parts of a new ask, without a kept copy.
    #[must_use]
    pub fn new(route: Arc<dyn Route<M>>, message: M, meta: Meta) -> Self {
        AskParts {
            route,
            message,
            meta,
            kept: None,
        }
    }

    /// The ask again.
    pub fn into_ask(self) -> Ask<M> {
        Ask {
            limit: self.meta.deadline.map_or(Limit::Never, Limit::At),
            route: self.route,
            message: self.message,
            meta: self.meta,
            kept: self.kept,
        }
    }
}

impl<M: Message> fmt::Debug for AskParts<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskParts")
            .field("to", &self.route.label())
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

fn timed_out(reached: Verdict, label: &str) -> Failure {
    Failure::new(FailureKind::DeadlineExceeded, reached).with_detail(label)
}

impl<M: Message> IntoFuture for Ask<M> {
    type Output = Result<M::Reply, SendError<M>>;
    type IntoFuture = Sending<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Sending::new(self.send())
    }
}

/// The future of a [`Tell`] or an [`Ask`].
#[must_use = "futures do nothing unless polled"]
pub struct Sending<T>(BoxFuture<'static, T>);

impl<T> Sending<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Sending(Box::pin(future))
    }
}

impl<T> Future for Sending<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.0.as_mut().poll(cx)
    }
}

macro_rules! debug_by_label {
    ($($name:ident),*) => {$(
        impl<M: Message> fmt::Debug for $name<M> {
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

impl<T> fmt::Debug for Sending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}
