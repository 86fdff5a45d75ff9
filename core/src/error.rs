//! Errors of sends: what happened, what is known, and the message back where it can be given.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::boundary::Verdict;

/// Why a `tell` or an `ask` failed.
///
/// A kind crosses the wire as its number, so numbers are never given a second meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FailureKind {
    /// There is no connection to the process of the receiver.
    NoConnection,
    /// The connection was lost after the message was written to it.
    ConnectionLost,
    /// The mailbox, or another bounded buffer on the way, has no room.
    Full,
    /// The actor had stopped, or stopped before the message's turn.
    Stopped,
    /// The deadline passed.
    DeadlineExceeded,
    /// The asker gave up waiting.
    Withdrawn,
    /// Nothing is exposed under that name.
    UnknownName,
    /// The receiver doesn't take messages of that type.
    UnknownType,
    /// The receiver takes that type, but not in that version.
    WrongVersion,
    /// The payload could not be decoded, or the reply could not be encoded.
    BadPayload,
    /// The message is larger than the peer allows.
    TooLarge,
    /// The peer has no right to do that.
    NotAuthorised,
    /// The request key was used before with another payload.
    KeyReused,
    /// A keyed request ran when its actor ended; whether it took effect is unknown to the runtime.
    Indeterminate,
    /// Refused to protect the receiver: a full dedup store, a spent budget, shed load.
    Overloaded,
    /// The handler panicked.
    Panicked,
    /// The actor was killed while its handler ran.
    Killed,
    /// The handler dropped its responder without answering.
    NoAnswer,
    /// A blocking form was called on the thread of an arbiter, which must not block.
    OnArbiter,
    /// Handlers would have waited for each other for ever: the asked one waits, over others perhaps, for the one
    /// that asks. The detail has the path.
    Cycle,
    /// What keeps it on disk refused, or failed. The detail says why.
    StorageFailed,
}

impl FailureKind {
    /// All kinds, in the order of their numbers on the wire, which start at 1.
    pub const ALL: [FailureKind; 21] = [
        FailureKind::NoConnection,
        FailureKind::ConnectionLost,
        FailureKind::Full,
        FailureKind::Stopped,
        FailureKind::DeadlineExceeded,
        FailureKind::Withdrawn,
        FailureKind::UnknownName,
        FailureKind::UnknownType,
        FailureKind::WrongVersion,
        FailureKind::BadPayload,
        FailureKind::TooLarge,
        FailureKind::NotAuthorised,
        FailureKind::KeyReused,
        FailureKind::Indeterminate,
        FailureKind::Overloaded,
        FailureKind::Panicked,
        FailureKind::Killed,
        FailureKind::NoAnswer,
        FailureKind::OnArbiter,
        FailureKind::Cycle,
        FailureKind::StorageFailed,
    ];

    fn text(self) -> &'static str {
        match self {
            FailureKind::NoConnection => "no connection",
            FailureKind::ConnectionLost => "connection lost",
            FailureKind::Full => "no room",
            FailureKind::Stopped => "actor stopped",
            FailureKind::DeadlineExceeded => "deadline exceeded",
            FailureKind::Withdrawn => "withdrawn by the asker",
            FailureKind::UnknownName => "unknown name",
            FailureKind::UnknownType => "unknown message type",
            FailureKind::WrongVersion => "wrong message version",
            FailureKind::BadPayload => "bad payload",
            FailureKind::TooLarge => "message too large",
            FailureKind::NotAuthorised => "not authorised",
            FailureKind::KeyReused => "request key reused with another payload",
            FailureKind::Indeterminate => "outcome indeterminate",
            FailureKind::Overloaded => "overloaded",
            FailureKind::Panicked => "handler panicked",
            FailureKind::Killed => "actor killed",
            FailureKind::NoAnswer => "no answer",
            FailureKind::OnArbiter => "blocking call on an arbiter",
            FailureKind::Cycle => "cycle of asks",
            FailureKind::StorageFailed => "storage failed",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What went wrong with a message, and what is known about it. Can be cloned, stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    kind: FailureKind,
    verdict: Verdict,
    /// What few failures say, in one word: outcomes lie in reply slots.
    more: Option<Box<More>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct More {
    detail: Option<Box<str>>,
    retry_after: Option<Duration>,
}

impl Failure {
    /// A failure with what is known about the message.
    #[must_use]
    pub fn new(kind: FailureKind, verdict: Verdict) -> Self {
        Failure {
            kind,
            verdict,
            more: None,
        }
    }

    /// The same with a sentence for people: which name, which limit, what the panic said.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.more.get_or_insert_default().detail = Some(detail.into().into_boxed_str());
        self
    }

    /// The same with a hint of who refused: an attempt before that time has passed meets the same again. Whoever
    /// retries waits for at least so long (gRPC's pushback, HTTP's `Retry-After`).
    #[must_use]
    pub fn with_retry_after(mut self, span: Duration) -> Self {
        self.more.get_or_insert_default().retry_after = Some(span);
        self
    }

    /// The same with another verdict: what the sender's side knows better than the receiver's.
    #[must_use]
    pub fn with_verdict(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    /// Why it failed.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// What is known about the message.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// A sentence for people, if there is one.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.more.as_ref()?.detail.as_deref()
    }

    /// How long whoever refused asks to be left alone, if it said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.more.as_ref()?.retry_after
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind, self.verdict)?;
        match self.detail() {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// The error of `tell`, `try_tell` and `ask` (G6, G7).
///
/// It holds the message whenever the message is still the sender's: it was never sent, or it was refused
/// inside the process, or the caller kept a copy with `.keep()`.
///
/// One pointer, so that sends that succeed carry no room for the error about.
pub struct SendError<M>(Box<Returned<M>>);

struct Returned<M> {
    failure: Failure,
    message: Option<M>,
}

impl<M> SendError<M> {
    /// An error, with the message if it comes back.
    #[must_use]
    #[cold]
    pub fn new(failure: Failure, message: Option<M>) -> Self {
        SendError(Box::new(Returned { failure, message }))
    }

    /// Why it failed.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.0.failure.kind
    }

    /// What is known about the message.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.0.failure.verdict
    }

    /// The failure without the message.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.0.failure
    }

    /// The message, if it came back.
    #[must_use]
    pub fn message(&self) -> Option<&M> {
        self.0.message.as_ref()
    }

    /// Takes the message out, if it came back.
    #[must_use]
    pub fn into_message(self) -> Option<M> {
        self.0.message
    }

    /// Takes the error apart.
    #[must_use]
    pub fn into_parts(self) -> (Failure, Option<M>) {
        (self.0.failure, self.0.message)
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError")
            .field("failure", &self.0.failure)
            .field("message_returned", &self.0.message.is_some())
            .finish()
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.failure.fmt(f)
    }
}

impl<M> std::error::Error for SendError<M> {}

impl<M> From<SendError<M>> for Failure {
    fn from(error: SendError<M>) -> Failure {
        error.0.failure
    }
}
