//! Why there is no answer, and what is known.

use std::fmt;

use callboard_core::codec::CodecError;
use callboard_core::{Failure, FailureKind, RequestKey, Verdict};

/// Why [`once`](crate::OutcomeStore::once) brought no answer. `E` is the effect's error, `S` the database's.
///
/// It turns into a [`Failure`] for the asker, with the [`verdict`](OnceError::verdict): give it to
/// [`Responder::fail`](callboard_core::Responder::fail).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnceError<E, S> {
    /// The key was used before with another payload.
    #[error("request key {0} was used with another payload")]
    KeyReused(RequestKey),
    /// Somebody has [settled](crate::OutcomeStore::resolve) that the request of that key never runs.
    #[error("request key {0} was settled as one that never runs")]
    Sealed(RequestKey),
    /// The payload has no encoded form, so it can't be compared. Nothing was done.
    #[error("the payload can't be encoded: {0}")]
    Payload(CodecError),
    /// The effect failed, and was rolled back.
    #[error("the effect failed and was rolled back: {0}")]
    Effect(E),
    /// The answer can't be encoded, or is larger than the store allows; the effect was rolled back.
    #[error("the answer can't be kept, so the effect was rolled back: {0}")]
    Answer(CodecError),
    /// The database failed before the commit, so the effect was rolled back, if it had run.
    #[error("the database failed before the commit: {0}")]
    Store(S),
    /// The commit failed. It may have happened all the same; ask again with the same key, and know.
    #[error("the commit failed, and may have happened: {0}")]
    InDoubt(S),
    /// The request has run, and its answer is kept, but can't be read: the type has changed, or the bytes have.
    #[error("the kept answer can't be read: {0}")]
    Unreadable(String),
}

impl<E, S> OnceError<E, S> {
    /// What is known. An effect that was rolled back has not run, as far as its database goes.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            OnceError::KeyReused(_)
            | OnceError::Sealed(_)
            | OnceError::Payload(_)
            | OnceError::Effect(_)
            | OnceError::Answer(_)
            | OnceError::Store(_) => Verdict::NotExecuted,
            OnceError::InDoubt(_) => Verdict::MaybeExecuted,
            OnceError::Unreadable(_) => Verdict::Executed,
        }
    }

    fn kind(&self) -> FailureKind {
        match self {
            OnceError::KeyReused(_) => FailureKind::KeyReused,
            OnceError::Sealed(_) => FailureKind::Withdrawn,
            OnceError::Payload(_) | OnceError::Answer(_) | OnceError::Unreadable(_) => {
                FailureKind::BadPayload
            }
            OnceError::Effect(_) | OnceError::Store(_) | OnceError::InDoubt(_) => {
                FailureKind::StorageFailed
            }
        }
    }
}

impl<E: fmt::Display, S: fmt::Display> From<OnceError<E, S>> for Failure {
    fn from(error: OnceError<E, S>) -> Failure {
        Failure::new(error.kind(), error.verdict()).with_detail(error.to_string())
    }
}
