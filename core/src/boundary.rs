//! What a message crosses, and what is known about one that failed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What lies between a sender and a receiver.
///
/// The order is the order of distance: each step adds delay, loss and doubt. Code that may not leave
/// the process can refuse a reference by comparing: `recipient.boundary() <= Boundary::SameProcess`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Boundary {
    /// The receiver runs on the thread that asks.
    SameThread,
    /// Another thread of this process: a pointer moves.
    SameProcess,
    /// Another process of this host: a pipe, a Unix socket, shared memory.
    SameHost,
    /// Another host: TCP, with everything that can happen to it.
    Network,
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Boundary::SameThread => "same thread",
            Boundary::SameProcess => "same process",
            Boundary::SameHost => "same host",
            Boundary::Network => "network",
        })
    }
}

/// What is known about a message that failed.
///
/// Every error of the public API maps to one. Retry policies and deduplication look at nothing else:
/// the verdict says whether sending again can do harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It never left the caller.
    NotSent,
    /// It arrived and certainly did not run: mailbox full, name unknown, expired, actor stopped before
    /// its turn. Safe to send again.
    NotExecuted,
    /// Nobody can tell: the connection or the receiver's process was lost after it was written. Sending
    /// again is safe only for a keyed or an idempotent message.
    MaybeExecuted,
    /// The handler began.
    Executed,
}

impl Verdict {
    /// Whether the message certainly did not run, so that sending it again can't run it twice.
    #[must_use]
    pub fn is_safe_to_resend(self) -> bool {
        matches!(self, Verdict::NotSent | Verdict::NotExecuted)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::NotSent => "not sent",
            Verdict::NotExecuted => "not executed",
            Verdict::MaybeExecuted => "maybe executed",
            Verdict::Executed => "executed",
        })
    }
}
