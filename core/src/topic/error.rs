//! Why a topic refused.

use std::fmt;
use std::sync::Arc;

use super::subject::SubjectError;
use crate::boundary::Verdict;
use crate::codec::CodecError;
use crate::error::{Failure, FailureKind};
use crate::journal::JournalError;

/// Why a publish or a subscribe failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// The subject or the pattern is malformed.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The topic has ended, or did not answer.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// Replay and durable subscriptions need a history, and this topic keeps none.
    #[error("topic `{0}` keeps no history to replay; start it with `TopicOptions::history`")]
    NoHistory(Arc<str>),
    /// As many subjects as allowed have a retained value. Nothing was published.
    #[error("no more than {limit} subjects have a retained value, and `{subject}` has none")]
    RetainedFull {
        /// The subject that was to get one.
        subject: Arc<str>,
        /// The bound of the topic.
        limit: usize,
    },
    /// There are as many durable subscriptions as allowed.
    #[error("there are {limit} durable subscriptions, and `{name}` is none of them")]
    DurablesFull {
        /// The one that was to be made.
        name: Arc<str>,
        /// The bound of the topic.
        limit: usize,
    },
    /// The durable subscription has a holder: there is one at a time, and the first stays (as in JMS, and with the
    /// consumers of JetStream).
    #[error("the durable subscription `{0}` is in use")]
    DurableInUse(Arc<str>),
    /// The durable subscription is one of another pattern. [Forget](super::Topic::forget_durable) it to begin anew.
    #[error("the durable subscription `{name}` is of `{has}`, not of `{wanted}`")]
    DurableDiffers {
        /// Its name.
        name: Arc<str>,
        /// Its pattern.
        has: Arc<str>,
        /// The pattern that was asked for.
        wanted: Arc<str>,
    },
    /// There is no durable subscription of that name, or the one that asks isn't durable.
    #[error("there is no durable subscription `{0}`")]
    NoDurable(Arc<str>),
    /// The group has another capacity or policy: all its members share one buffer.
    #[error("the group `{name}` has {has}, not {wanted}")]
    GroupDiffers {
        /// Its name.
        name: Arc<str>,
        /// Its options.
        has: String,
        /// The options that were asked for.
        wanted: String,
    },
    /// A subscription can't be both.
    #[error("a subscription can't be both {0}")]
    NotBoth(&'static str),
    /// What is stored under the topic's name is of another type.
    #[error("topic `{topic}` holds messages of type `{has}`, not `{wanted}`")]
    WrongType {
        /// The topic.
        topic: Arc<str>,
        /// The wire name of what is stored.
        has: Arc<str>,
        /// That of the type it was opened with.
        wanted: &'static str,
    },
    /// The value could not be encoded for the journal. Nothing was published.
    #[error("the message can't be stored: {0}")]
    Codec(#[from] CodecError),
    /// The journal of the topic refused, or failed.
    #[error("the journal of the topic: {0}")]
    Journal(#[from] JournalError),
}

impl TopicError {
    /// What is known about the message, or the subscription, that failed.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            TopicError::Failed(failure) => failure.verdict(),
            _ => Verdict::NotExecuted,
        }
    }

    /// The topic has ended.
    pub(super) fn stopped(name: &str) -> Self {
        let failure = Failure::new(FailureKind::Stopped, Verdict::NotExecuted);
        TopicError::Failed(failure.with_detail(format!("topic {name}")))
    }

    /// The message was to be stored, and nobody knows whether it is.
    pub(super) fn in_doubt(why: &str) -> Self {
        let failure = Failure::new(FailureKind::NoAnswer, Verdict::MaybeExecuted);
        TopicError::Failed(failure.with_detail(why))
    }
}

/// A message that was not published, or of which nobody knows. It comes back unless it may have been stored (G6).
pub struct PublishError<T> {
    /// Why, and what is known about the message.
    pub error: TopicError,
    /// The message.
    pub value: Option<T>,
}

impl<T> PublishError<T> {
    /// What is known about the message.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.error.verdict()
    }
}

impl<T> From<PublishError<T>> for TopicError {
    fn from(error: PublishError<T>) -> Self {
        error.error
    }
}

impl<T> fmt::Debug for PublishError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PublishError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> std::error::Error for PublishError<T> {}
