//! A message with everything that travels beside it.

use std::fmt;
use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::id::{Principal, RequestKey};
use crate::message::Message;
use crate::responder::Responder;

/// What travels beside a message: present when set, and only then.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// When the work is worth nothing any more, on the system's clock (G9).
    pub deadline: Option<Instant>,
    /// The same over all attempts of one request (G19).
    pub key: Option<RequestKey>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The caller retries; layers below then don't (G18).
    pub caller_retries: bool,
    /// On whose behalf, where the boundary proved it.
    pub principal: Option<Principal>,
}

impl Meta {
    /// The time left until the deadline; `None` without one, zero if it has passed.
    #[must_use]
    pub fn remaining(&self, clock: &Clock) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(clock.now()))
    }

    /// Whether the deadline has passed.
    #[must_use]
    pub fn is_expired(&self, clock: &Clock) -> bool {
        self.deadline
            .is_some_and(|deadline| clock.now() >= deadline)
    }
}

impl Default for Meta {
    fn default() -> Self {
        Meta {
            deadline: None,
            key: None,
            attempt: 1,
            caller_retries: false,
            principal: None,
        }
    }
}

/// A message on its way: itself, what travels beside it, and the way back.
pub struct Envelope<M: Message> {
    /// The message.
    pub message: M,
    /// What travels beside it.
    pub meta: Meta,
    /// The way back.
    pub responder: Responder<M::Reply>,
}

impl<M: Message> Envelope<M> {
    /// A message nobody waits for.
    #[must_use]
    pub fn tell(message: M) -> Self {
        Envelope {
            message,
            meta: Meta::default(),
            responder: Responder::nowhere(),
        }
    }
}

impl<M: Message> fmt::Debug for Envelope<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("message", &std::any::type_name::<M>())
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}
