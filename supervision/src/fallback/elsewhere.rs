//! Asking somebody else.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};

use callboard_core::clock::Instant;
use callboard_core::{Message, Recipient, SendError};
use futures::future::BoxFuture;

use super::{Answer, Asking, Why};

/// A call that asks somebody else when it fails. Await it. Made by [`Call::or_ask`](crate::Call::or_ask).
///
/// # Errors
/// That of the other one; that of the first, if its request may have run and isn't idempotent, or the deadline has
/// passed.
///
/// # Cancel safety
/// Dropping it withdraws what is under way.
#[must_use = "nothing is sent until it is awaited"]
pub struct Elsewhere<'r, M: Message> {
    asking: Asking<'r, M>,
    part: String,
    other: Recipient<M>,
    idempotent: bool,
    deadline: Option<Instant>,
}

impl<'r, M: Message> Elsewhere<'r, M> {
    pub(crate) fn new(
        asking: Asking<'r, M>,
        part: String,
        other: Recipient<M>,
        idempotent: bool,
        deadline: Option<Instant>,
    ) -> Self {
        Elsewhere {
            asking,
            part,
            other,
            idempotent,
            deadline,
        }
    }
}

impl<'r, M: Message> IntoFuture for Elsewhere<'r, M> {
    type Output = Result<Answer<M::Reply>, SendError<M>>;
    type IntoFuture = AskingElsewhere<'r, M>;

    fn into_future(self) -> Self::IntoFuture {
        AskingElsewhere(Box::pin(self.run()))
    }
}

impl<M: Message> Elsewhere<'_, M> {
    async fn run(self) -> Result<Answer<M::Reply>, SendError<M>> {
        let Elsewhere {
            asking,
            part,
            other,
            idempotent,
            deadline,
        } = self;
        let error = match asking.await {
            Ok(reply) => return Ok(Answer::Full(reply)),
            Err(error) => error,
        };
        let may = error.verdict().is_safe_to_resend() || idempotent;
        let (failure, message) = error.into_parts();
        match message {
            Some(message) if may => {
                let why = Why::new(part, &failure);
                // Without the key: it is of the first one's memory. The deadline stays.
                let mut parts = other.ask(message).into_parts();
                let clock = parts.route.system().clock();
                if deadline.is_some_and(|deadline| clock.has_passed(deadline)) {
                    return Err(SendError::new(failure, Some(parts.message)));
                }
                let earlier = |own: Instant| deadline.map_or(own, |first| first.min(own));
                parts.meta.deadline = parts
                    .meta
                    .deadline
                    .map_or(deadline, |own| Some(earlier(own)));
                match parts.into_ask().await {
                    Ok(reply) => Ok(Answer::Degraded(reply, why)),
                    Err(error) => {
                        // Of both, what is worse: one of them may have run.
                        let (second, message) = error.into_parts();
                        let worst = second.verdict().max(failure.verdict());
                        Err(SendError::new(second.with_verdict(worst), message))
                    }
                }
            }
            message => Err(SendError::new(failure, message)),
        }
    }
}

impl<M: Message> fmt::Debug for Elsewhere<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere")
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

type Answered<M> = Result<Answer<<M as Message>::Reply>, SendError<M>>;

/// The future of an [`Elsewhere`].
#[must_use = "futures do nothing unless polled"]
pub struct AskingElsewhere<'r, M: Message>(BoxFuture<'r, Answered<M>>);

impl<M: Message> Future for AskingElsewhere<'_, M> {
    type Output = Answered<M>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered<M>> {
        self.0.as_mut().poll(cx)
    }
}

impl<M: Message> fmt::Debug for AskingElsewhere<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskingElsewhere").finish_non_exhaustive()
    }
}
