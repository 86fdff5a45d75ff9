//! Which messages of an actor are offered again after a crash, and what is kept of the attempts that failed (G14).
//!
//! How it is done is in `cell::replaying`.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::clock::Instant;
use crate::id::{ActorId, Incarnation};
use crate::message::Message;
use crate::watch::ExitReason;

/// The most times that a message is offered again: so many attempts are kept with it.
pub const MAX_REPLAYS: u32 = 1_000;

/// One attempt at a message during which its actor crashed (G14).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// Which attempt, as its handler saw it: 1 for the first, unless its caller had tried before.
    pub attempt: u32,
    /// The incarnation that crashed.
    pub incarnation: Incarnation,
    /// When, on the system's clock.
    pub at: Instant,
    /// Why that incarnation ended. Serialised as its text.
    #[serde(serialize_with = "as_text")]
    pub reason: ExitReason,
}

fn as_text<S: Serializer>(reason: &ExitReason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reason)
}

/// The failed attempts at a message, oldest first, at the actor that had it in hand.
#[derive(Debug, Clone)]
pub(crate) struct History {
    actor: ActorId,
    attempts: Vec<FailedAttempt>,
}

impl History {
    /// Puts one more behind those at the same actor; those at another, from which the message was passed on, don't
    /// count here.
    pub(crate) fn add(history: &mut Option<Arc<Self>>, actor: ActorId, attempt: FailedAttempt) {
        let mut attempts = match history.take() {
            Some(before) if before.actor == actor => Arc::unwrap_or_clone(before).attempts,
            _ => Vec::new(),
        };
        attempts.push(attempt);
        *history = Some(Arc::new(History { actor, attempts }));
    }

    pub(crate) fn attempts(&self) -> &[FailedAttempt] {
        &self.attempts
    }
}

/// How a message is copied before its handler gets it.
pub(crate) type CopyFn<M> = fn(&M) -> M;

/// The message types of one actor that are offered again.
#[derive(Clone, Default)]
pub(crate) struct Replays(BTreeMap<TypeId, Replay>);

#[derive(Clone)]
struct Replay {
    times: u32,
    /// A [`CopyFn`] of the type.
    copy: Arc<dyn Any + Send + Sync>,
}

impl Replays {
    pub(crate) fn add<M: Message + Clone>(&mut self, times: u32) {
        let copy: CopyFn<M> = M::clone;
        let replay = Replay {
            times: times.min(MAX_REPLAYS),
            copy: Arc::new(copy),
        };
        self.0.insert(TypeId::of::<M>(), replay);
    }

    /// How often messages of that type are offered again at most, and how they are copied.
    pub(crate) fn of<M: Message>(&self) -> Option<(u32, CopyFn<M>)> {
        let replay = self.0.get(&TypeId::of::<M>())?;
        let copy = replay.copy.downcast_ref::<CopyFn<M>>()?;
        Some((replay.times, *copy))
    }
}

impl fmt::Debug for Replays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replays({})", self.0.len())
    }
}
