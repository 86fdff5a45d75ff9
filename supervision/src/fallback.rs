//! Going on without: an answer that says it is not the whole one.

mod elsewhere;
mod last;

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use callboard_core::{Failure, FailureKind, Message, SendError, Verdict};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use elsewhere::{AskingElsewhere, Elsewhere};
pub use last::{DEFAULT_LAST_ANSWERS, FromLast, LastAnswers, RecallingLast};

#[cfg(test)]
mod tests;

/// An answer, or what stands in for it. The caller can't take one for the other by accident, and what shows it to
/// people can say what is missing.
///
/// ```
/// # use callboard_core::{Message, Recipient};
/// # use callboard_supervision::{Answer, AskExt};
/// # struct Metadata(&'static str);
/// # impl Message for Metadata { type Reply = Vec<String>; }
/// # async fn example(metadata: Recipient<Metadata>) {
/// match metadata.ask(Metadata("index")).or_degraded("related pages", Vec::new()).await {
///     Answer::Full(related) => println!("{related:?}"),
///     Answer::Degraded(instead, why) => println!("{instead:?}; {why}"),
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer<T> {
    /// The answer.
    Full(T),
    /// What stands in for it, and why.
    Degraded(T, Why),
}

impl<T> Answer<T> {
    /// Whether something stands in for the answer.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        matches!(self, Answer::Degraded(..))
    }

    /// Why something stands in for the answer, if so.
    #[must_use]
    pub fn why(&self) -> Option<&Why> {
        match self {
            Answer::Full(_) => None,
            Answer::Degraded(_, why) => Some(why),
        }
    }

    /// The value, whichever it is.
    #[must_use]
    pub fn value(&self) -> &T {
        match self {
            Answer::Full(value) | Answer::Degraded(value, _) => value,
        }
    }

    /// Takes the value out, whichever it is. What is lost here is that it may not be the whole answer.
    #[must_use]
    pub fn into_value(self) -> T {
        match self {
            Answer::Full(value) | Answer::Degraded(value, _) => value,
        }
    }

    /// The same with the value turned into another.
    #[must_use]
    pub fn map<U>(self, turn: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Answer::Full(value) => Answer::Full(turn(value)),
            Answer::Degraded(value, why) => Answer::Degraded(turn(value), why),
        }
    }
}

/// Why an answer is degraded: which part is missing, and what failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Which part, in words for people.
    pub part: String,
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// What is known about the request that failed.
    pub verdict: Verdict,
    /// The failure's sentence for people, if it has one.
    pub detail: Option<String>,
    /// How old what stands in is, if it is an answer from before.
    #[serde(default)]
    pub age: Option<Duration>,
}

impl Why {
    /// Why that part is missing.
    #[must_use]
    pub fn new(part: impl Into<String>, failure: &Failure) -> Self {
        Why {
            age: None,
            part: part.into(),
            kind: failure.kind(),
            verdict: failure.verdict(),
            detail: failure.detail().map(str::to_owned),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "without {}: {}", self.part, self.kind)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

pub(crate) type Asking<'r, M> = BoxFuture<'r, Result<<M as Message>::Reply, SendError<M>>>;

/// An ask that always has an answer, perhaps a degraded one. Await it. Made by
/// [`AskExt::fallback`](crate::AskExt::fallback) and [`AskExt::or_degraded`](crate::AskExt::or_degraded).
///
/// # Cancel safety
/// Dropping it withdraws the ask.
#[must_use = "nothing is sent until it is awaited"]
pub struct Fallback<'r, M: Message, F> {
    asking: Asking<'r, M>,
    part: String,
    instead: F,
}

impl<'r, M: Message, F> Fallback<'r, M, F> {
    pub(crate) fn new(asking: Asking<'r, M>, part: String, instead: F) -> Self {
        Fallback {
            asking,
            part,
            instead,
        }
    }
}

impl<'r, M, F> IntoFuture for Fallback<'r, M, F>
where
    M: Message,
    F: FnOnce(&Failure) -> M::Reply + Send + 'static,
{
    type Output = Answer<M::Reply>;
    type IntoFuture = Answering<'r, M::Reply>;

    fn into_future(self) -> Self::IntoFuture {
        let Fallback {
            asking,
            part,
            instead,
        } = self;
        Answering(Box::pin(async move {
            match asking.await {
                Ok(reply) => Answer::Full(reply),
                Err(error) => {
                    // Not the message: it need not be `Sync`, nor outlive its failure.
                    let failure = Failure::from(error);
                    let why = Why::new(part, &failure);
                    Answer::Degraded(instead(&failure), why)
                }
            }
        }))
    }
}

impl<M: Message, F> fmt::Debug for Fallback<'_, M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("part", &self.part)
            .finish_non_exhaustive()
    }
}

/// The future of a [`Fallback`].
#[must_use = "futures do nothing unless polled"]
pub struct Answering<'r, T>(BoxFuture<'r, Answer<T>>);

impl<T> Future for Answering<'_, T> {
    type Output = Answer<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<T>> {
        self.0.as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Answering<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").finish_non_exhaustive()
    }
}
