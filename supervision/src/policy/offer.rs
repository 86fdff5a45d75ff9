//! Policies on offers to queues.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};

use callboard_core::queue::{Offer, OfferError, OfferParts, Offered, Offering};

use super::CallPolicy;
use super::aim::OfferTo;
use super::engine::{Engine, Request};

/// Policies on offers: `queue.offer(item).key(key).deadline(span).policy(&policy).await`.
pub trait OfferExt<T: Send + 'static>: Sized {
    /// Makes the offer by the policy. Tried again is what certainly was not stored; anything, if the offer has a
    /// request key (set it before): the queue stores it once (G26). Unlike an offer by itself it ends with the deadline
    /// of the request that is being handled, if that comes first (G9).
    fn policy(self, policy: &CallPolicy) -> OfferCall<T>
    where
        T: Clone;
}

impl<T: Send + 'static> OfferExt<T> for Offer<T> {
    fn policy(self, policy: &CallPolicy) -> OfferCall<T>
    where
        T: Clone,
    {
        OfferCall {
            offer: self,
            policy: policy.clone(),
            copy: T::clone,
        }
    }
}

/// An offer that is made by a [`CallPolicy`]. Await it.
///
/// # Errors
/// [`OfferError`] of the last attempt, with the worst verdict of all; or of the policy, which refused to send
/// (`Overloaded`, `NotSent`). The item is in it if it is still here: always under a policy that retries.
///
/// # Cancel safety
/// As of an [`Offer`]; no other attempt follows.
#[must_use = "nothing is offered until it is awaited"]
pub struct OfferCall<T: Send + 'static> {
    offer: Offer<T>,
    policy: CallPolicy,
    copy: fn(&T) -> T,
}

impl<T: Send + 'static> IntoFuture for OfferCall<T> {
    type Output = Result<Offered, OfferError<T>>;
    type IntoFuture = OfferCalling<T>;

    fn into_future(self) -> OfferCalling<T> {
        let OfferCall {
            offer,
            policy,
            copy,
        } = self;
        let OfferParts {
            queue,
            item,
            deadline,
            terms,
            caller_retries,
            inherited,
            ..
        } = offer.into_parts();
        let system = queue.system();
        let name = || queue.name().to_string();
        let (live, at) = policy.live_for(queue.id(), system, name);
        let request = Request {
            live,
            at,
            deadline: deadline
                .map(|span| system.clock().now() + span)
                .into_iter()
                .chain(inherited)
                .min(),
            repeatable: terms.key.is_some(),
            caller_retries,
            has_fallback: false,
        };
        OfferCalling {
            engine: Engine::new(OfferTo { queue, terms }, request, item, copy, false),
        }
    }
}

impl<T: Send + 'static> fmt::Debug for OfferCall<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferCall")
            .field("offer", &self.offer)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// The future of an [`OfferCall`].
#[must_use = "futures do nothing unless polled"]
pub struct OfferCalling<T: Send + 'static> {
    engine: Engine<OfferTo<T>, T, Offering<T>>,
}

impl<T: Send + 'static> Future for OfferCalling<T> {
    type Output = Result<Offered, OfferError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.engine.poll(cx)
    }
}

// What is in it is moved in and out; see the engine.
impl<T: Send + 'static> Unpin for OfferCalling<T> {}

impl<T: Send + 'static> fmt::Debug for OfferCalling<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferCalling").finish_non_exhaustive()
    }
}
