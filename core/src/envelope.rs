//! A message with everything that travels beside it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::id::{ActorId, Principal, RequestKey};
use crate::message::Message;
use crate::replay::{FailedAttempt, History};
use crate::responder::Responder;
use crate::stamp::Stamp;
use crate::trace_parent::TraceParent;

/// What travels beside a message: present when set, and only then.
///
/// Two are equal if they say the same of the message. Who looks on at it, in which trace, and what became of earlier attempts, is
/// not part of that.
#[derive(Debug, Clone)]
pub struct Meta {
    /// When the work is worth nothing any more, on the system's clock (G9).
    pub deadline: Option<Instant>,
    attempt: u32,
    caller_retries: bool,
    /// What few messages have. Shared, so that what all messages of one origin have costs them no memory.
    rest: Option<Arc<Rest>>,
}

#[derive(Debug, Clone, Default)]
struct Rest {
    key: Option<RequestKey>,
    principal: Option<Principal>,
    trace: Option<TraceParent>,
    /// The attempts that crashed the actor that has it.
    history: Option<Arc<History>>,
    /// For those who look on. Shared, so that dropping it is a few instructions where sends that succeed
    /// drop what they don't have.
    stamp: Option<Arc<Stamp>>,
}

impl Default for Meta {
    #[inline]
    fn default() -> Self {
        Meta {
            deadline: None,
            attempt: 1,
            caller_retries: false,
            rest: None,
        }
    }
}

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        let says = |meta: &Meta| {
            (
                meta.deadline,
                meta.key(),
                meta.attempt(),
                meta.caller_retries(),
            )
        };
        says(self) == says(other) && self.principal() == other.principal()
    }
}

impl Eq for Meta {}

impl Meta {
    /// The key that stays the same over all attempts of one request (G19).
    #[must_use]
    pub fn key(&self) -> Option<RequestKey> {
        self.rest.as_ref().and_then(|rest| rest.key)
    }

    /// Which attempt of its request this is: 1 for the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The attempts before this one during which the actor that [replays](crate::Spawn::replay) the message
    /// crashed, oldest first (G14).
    #[must_use]
    pub fn failed_attempts(&self) -> &[FailedAttempt] {
        let history = self.rest.as_ref().and_then(|rest| rest.history.as_ref());
        history.map_or(&[], |history| history.attempts())
    }

    /// Whether the caller retries; layers below then don't (G18).
    #[must_use]
    pub fn caller_retries(&self) -> bool {
        self.caller_retries
    }

    /// On whose behalf it comes, where the boundary proved it.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.rest.as_ref().and_then(|rest| rest.principal.as_ref())
    }

    /// The trace of the outside world that it belongs to.
    #[must_use]
    pub fn trace_parent(&self) -> Option<TraceParent> {
        self.rest.as_ref().and_then(|rest| rest.trace)
    }

    #[inline]
    fn rest_mut(&mut self) -> &mut Rest {
        Arc::make_mut(self.rest.get_or_insert_default())
    }

    /// Sets the request key.
    pub fn set_key(&mut self, key: RequestKey) {
        self.rest_mut().key = Some(key);
    }

    /// Sets the attempt.
    pub fn set_attempt(&mut self, attempt: u32) {
        self.attempt = attempt;
    }

    /// Puts down that an attempt has crashed its actor.
    pub(crate) fn add_failed_attempt(&mut self, actor: ActorId, attempt: FailedAttempt) {
        let rest = self.rest_mut();
        History::add(&mut rest.history, actor, attempt);
    }

    /// Says that the caller retries.
    pub fn set_caller_retries(&mut self) {
        self.caller_retries = true;
    }

    /// Sets the principal. For the layer that proved it.
    pub fn set_principal(&mut self, principal: Principal) {
        self.rest_mut().principal = Some(principal);
    }

    /// Sets the trace that it belongs to, and with it all that is sent because of it.
    pub fn set_trace_parent(&mut self, parent: TraceParent) {
        self.rest_mut().trace = Some(parent);
    }

    /// The time left until the deadline; `None` without one, zero if it has passed.
    #[must_use]
    pub fn remaining(&self, clock: &Clock) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(clock.now()))
    }

    /// Whether the deadline has passed.
    #[must_use]
    #[inline]
    pub fn is_expired(&self, clock: &Clock) -> bool {
        self.deadline
            .is_some_and(|deadline| clock.has_passed(deadline))
    }

    /// Puts down what was noted of a message when it was sent.
    pub(crate) fn set_stamp(&mut self, stamp: Stamp) {
        self.rest_mut().stamp = Some(Arc::new(stamp));
    }

    /// Whether something was noted.
    pub(crate) fn has_stamp(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.stamp.is_some())
    }

    /// Takes out what was noted, or is to be known of it all the same. What its handler sends, with this beside it or not, is its own.
    #[inline]
    pub(crate) fn take_stamp(&mut self) -> Option<Arc<Stamp>> {
        let rest = self.rest.as_ref()?;
        if rest.stamp.is_some() {
            return self.rest_mut().stamp.take();
        }
        Some(Arc::new(Stamp::in_trace(rest.trace?)))
    }

    /// Whether it says nothing: a tell of which that is so may go by [`Route::send_lean`](crate::Route::send_lean).
    #[must_use]
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.deadline.is_none() && !self.caller_retries && self.is_light()
    }

    /// Whether it says at most what a handler's own requests inherit: a deadline, and that the caller retries.
    #[inline]
    pub(crate) fn is_light(&self) -> bool {
        self.rest.is_none() && self.attempt == 1
    }

    /// With nothing but what is handed down.
    #[inline]
    pub(crate) fn light(deadline: Option<Instant>, caller_retries: bool) -> Self {
        Meta {
            deadline,
            caller_retries,
            ..Meta::default()
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

    /// Whether there is nothing but the message.
    #[inline]
    pub(crate) fn is_lean(&self) -> bool {
        self.meta.is_plain() && !self.responder.expects_answer()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g18_what_attempts_say_takes_no_room_of_its_own() {
        let mut meta = Meta::default();
        meta.set_attempt(1);
        assert!(meta.is_plain() && meta.is_light());
        meta.set_caller_retries();
        assert!(!meta.is_plain() && meta.is_light());
        meta.deadline = Some(Instant::default());
        assert!(meta.is_light());
        assert_eq!(meta, Meta::light(Some(Instant::default()), true));
        meta.set_attempt(2);
        assert!(meta.rest.is_none() && !meta.is_light());
        let mut keyed = Meta::default();
        keyed.set_key(RequestKey::new());
        assert!(!keyed.is_plain() && !keyed.is_light());
        assert!(size_of::<Meta>() <= 24, "{}", size_of::<Meta>());
    }

    #[test]
    fn what_is_shared_is_not_changed_for_others() {
        let mut origin = Meta::default();
        origin.set_principal(Principal::new("uid:7"));
        let mut one = origin.clone();
        one.set_key(RequestKey::new());
        assert!(one.key().is_some() && one.principal() == origin.principal());
        assert_eq!(origin.key(), None);
        // Nothing was noted of it, and nothing is taken out.
        assert!(origin.clone().take_stamp().is_none());
    }
}
