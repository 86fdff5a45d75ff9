//! Trying again: when it can't do harm, when it can help, and no more than the callee can bear.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use callboard_core::clock::Instant;
use callboard_core::{
    Ask, AskParts, Entropy, Failure, FailureKind, Message, Route, SendError, System, Verdict,
};
use futures::future::BoxFuture;
use serde::Serialize;

use crate::budget::RetryBudget;
use crate::fallback::Fallback;
use crate::tree::backoff;

#[cfg(test)]
mod tests;

/// A message that may run more than once: running it again changes nothing more (reading, setting a value).
///
/// `retry_idempotent` needs it. It is a promise about the handler, which the compiler can't check.
pub trait Idempotent: Message {}

/// How calls to one callee are tried again. A value with a name; clones share its counters and its budget.
///
/// # Guarantees
/// - At most [`attempts`](RetryPolicy::attempts) attempts; between them a wait drawn evenly from zero to
///   `min(cap, base * 2^n)`: full jitter (Brooker 2015; gRPC A6). No attempt starts at or after the caller's deadline (G17).
/// - Tried again is only what certainly did not run (`NotSent`, `NotExecuted`), or what has a request key, or an
///   [`Idempotent`] type. A key protects only where the receiver deduplicates by it ([`Dedup`](crate::Dedup)); against one
///   that doesn't, don't set it.
/// - Some failures are final whatever the verdict, because the next attempt would meet the same: an unknown name,
///   type or version, a bad or too large payload, a missing right, `KeyReused`, `Indeterminate`.
/// - All retries stay inside the [`RetryBudget`].
/// - One layer retries: each attempt says that its caller retries; if the request that is being handled says so,
///   there is one attempt here (G18).
/// - The error at the end has the worst verdict of all attempts: if one may have run, so may the request.
#[derive(Clone)]
pub struct RetryPolicy {
    name: Arc<str>,
    attempts: u32,
    base: Duration,
    cap: Duration,
    attempt_timeout: Option<Duration>,
    budget: RetryBudget,
    counters: Arc<RetryCounters>,
}

#[derive(Default)]
struct RetryCounters {
    requests: AtomicU64,
    attempts: AtomicU64,
    recovered: AtomicU64,
    failed: AtomicU64,
    over_budget: AtomicU64,
    out_of_time: AtomicU64,
    caller_retries: AtomicU64,
}

/// What a [`RetryPolicy`] did so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct RetryStats {
    /// The policy's name.
    pub name: String,
    /// Requests that went through it.
    pub requests: u64,
    /// Attempts, the first ones included.
    pub attempts: u64,
    /// Attempts that were not the first.
    pub retries: u64,
    /// Requests that were answered by an attempt that was not the first.
    pub recovered: u64,
    /// Requests that failed for good.
    pub failed: u64,
    /// Retries that the budget refused.
    pub over_budget: u64,
    /// Retries that would have started after the deadline.
    pub out_of_time: u64,
    /// Retries left to the caller, because it retries (G18).
    pub caller_retries: u64,
}

impl RetryPolicy {
    /// A policy with the defaults: 3 attempts, waits of up to 50 ms, then 100 ms and so on up to 1 s, no time limit
    /// for a single attempt, a budget of its own.
    ///
    /// Three attempts are the field's usual cap (SRE book; AWS SDKs): more seldom helps, and layers multiply.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        RetryPolicy {
            name: name.into(),
            attempts: 3,
            base: Duration::from_millis(50),
            cap: Duration::from_secs(1),
            attempt_timeout: None,
            budget: RetryBudget::default(),
            counters: Arc::default(),
        }
    }

    /// How many attempts a request has, the first included; at least 1.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The longest the first wait can be; it doubles with each attempt.
    #[must_use]
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// The longest any wait can be.
    #[must_use]
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Gives up on an attempt after that time, to try again while the request's own deadline has not passed. Without
    /// it an answer that was lost is waited for until that deadline.
    #[must_use]
    pub fn attempt_timeout(mut self, span: Duration) -> Self {
        self.attempt_timeout = Some(span);
        self
    }

    /// Another budget: one that all callers of the same callee share.
    #[must_use]
    pub fn budget(mut self, budget: &RetryBudget) -> Self {
        self.budget = budget.clone();
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> RetryStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        // Attempts first: a request counted in between doesn't make the retries negative.
        let (attempts, requests) = (read(&counters.attempts), read(&counters.requests));
        RetryStats {
            name: self.name.to_string(),
            requests,
            attempts,
            retries: attempts.saturating_sub(requests),
            recovered: read(&counters.recovered),
            failed: read(&counters.failed),
            over_budget: read(&counters.over_budget),
            out_of_time: read(&counters.out_of_time),
            caller_retries: read(&counters.caller_retries),
        }
    }

    fn delay(&self, retry: u32, entropy: &Entropy) -> Duration {
        entropy.jitter(backoff::ceiling(self.base, self.cap, retry))
    }

    /// When the attempt that begins now is given up.
    fn limit(&self, request: &Request<'_>) -> Option<Instant> {
        let now = request.system.clock().now();
        let own = self.attempt_timeout.map(|span| now + span);
        own.into_iter().chain(request.deadline).min()
    }

    /// How long to wait before the next attempt; `None` if there is none.
    fn next(&self, request: &Request<'_>, failure: &Failure) -> Option<Duration> {
        if request.attempt >= self.attempts || !may_retry(failure, request.repeatable) {
            return None;
        }
        if request.caller_retries {
            count(&self.counters.caller_retries);
            return None;
        }
        let now = request.system.clock().now();
        let delay = self.delay(request.attempt - 1, request.system.entropy());
        if request
            .deadline
            .is_some_and(|deadline| now + delay >= deadline)
        {
            count(&self.counters.out_of_time);
            return None;
        }
        if !self.budget.take(now) {
            count(&self.counters.over_budget);
            return None;
        }
        tracing::debug!(
            target: "callboard::retry",
            policy = %self.name, attempt = request.attempt, %failure, ?delay, "trying again"
        );
        Some(delay)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What decides about one more attempt, besides the failure.
struct Request<'a> {
    system: &'a System,
    attempt: u32,
    deadline: Option<Instant>,
    repeatable: bool,
    caller_retries: bool,
}

/// The verdict table (G17): whether another attempt can do no harm, and may help.
fn may_retry(failure: &Failure, repeatable: bool) -> bool {
    let may_help = !matches!(
        failure.kind(),
        FailureKind::Withdrawn
            | FailureKind::UnknownName
            | FailureKind::UnknownType
            | FailureKind::WrongVersion
            | FailureKind::BadPayload
            | FailureKind::TooLarge
            | FailureKind::NotAuthorised
            | FailureKind::KeyReused
            | FailureKind::Indeterminate
    );
    may_help && (failure.verdict().is_safe_to_resend() || repeatable)
}

/// Policies on asks: `reference.ask(message).key(key).deadline(span).retry(&policy).await`.
pub trait AskExt<'r, M: Message>: Sized {
    /// Where the ask goes.
    type Route: Route<M> + Clone + 'r;

    /// Tries again by the policy: what certainly did not run, or anything if the ask has a request key.
    ///
    /// All attempts happen inside the ask's one deadline.
    fn retry(self, policy: &RetryPolicy) -> Retry<'r, M, Self::Route>
    where
        M: Clone;

    /// Tries again by the policy, whatever the verdict: the message is [`Idempotent`].
    fn retry_idempotent(self, policy: &RetryPolicy) -> Retry<'r, M, Self::Route>
    where
        M: Clone + Idempotent;

    /// Answers with what `instead` makes if the ask fails, marked as degraded. `part` names what is missing, for
    /// people.
    fn fallback<F>(self, part: impl Into<String>, instead: F) -> Fallback<'r, M, F>
    where
        F: FnOnce(&Failure) -> M::Reply + Send + 'static;

    /// Answers with `value` if the ask fails, marked as degraded.
    fn or_degraded(
        self,
        part: impl Into<String>,
        value: M::Reply,
    ) -> Fallback<'r, M, impl FnOnce(&Failure) -> M::Reply + Send + 'static> {
        self.fallback(part, move |_| value)
    }
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> AskExt<'r, M> for Ask<'r, M, R> {
    type Route = R;

    fn retry(self, policy: &RetryPolicy) -> Retry<'r, M, Self::Route>
    where
        M: Clone,
    {
        Retry::new(self, policy, false)
    }

    fn retry_idempotent(self, policy: &RetryPolicy) -> Retry<'r, M, Self::Route>
    where
        M: Clone + Idempotent,
    {
        Retry::new(self, policy, true)
    }

    fn fallback<F>(self, part: impl Into<String>, instead: F) -> Fallback<'r, M, F>
    where
        F: FnOnce(&Failure) -> M::Reply + Send + 'static,
    {
        Fallback::new(Box::pin(self.into_future()), part.into(), instead)
    }
}

/// An ask that is tried again. Await it.
///
/// # Errors
/// [`SendError`] of the last attempt, with the worst verdict of all and with the message.
///
/// # Cancel safety
/// Dropping it withdraws the attempt at hand, as with an [`Ask`]; no other follows.
#[must_use = "nothing is sent until it is awaited"]
pub struct Retry<'r, M: Message, R: Route<M> + 'r> {
    ask: Ask<'r, M, R>,
    policy: RetryPolicy,
    idempotent: bool,
    /// How to copy the message: kept from where it was known to be `Clone`.
    copy: fn(&M) -> M,
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> Retry<'r, M, R> {
    fn new(ask: Ask<'r, M, R>, policy: &RetryPolicy, idempotent: bool) -> Self
    where
        M: Clone,
    {
        Retry {
            ask,
            policy: policy.clone(),
            idempotent,
            copy: M::clone,
        }
    }

    /// See [`AskExt::fallback`]: the fallback comes after the last attempt.
    pub fn fallback<F>(self, part: impl Into<String>, instead: F) -> Fallback<'r, M, F>
    where
        F: FnOnce(&Failure) -> M::Reply + Send + 'static,
    {
        Fallback::new(Box::pin(self.into_future()), part.into(), instead)
    }

    /// See [`AskExt::or_degraded`]: the value stands in after the last attempt.
    pub fn or_degraded(
        self,
        part: impl Into<String>,
        value: M::Reply,
    ) -> Fallback<'r, M, impl FnOnce(&Failure) -> M::Reply + Send + 'static> {
        self.fallback(part, move |_| value)
    }

    async fn run(self) -> Result<M::Reply, SendError<M>> {
        let Retry {
            ask,
            policy,
            idempotent,
            copy,
        } = self;
        let AskParts {
            route,
            message,
            mut meta,
            ..
        } = ask.into_parts();
        let system = route.system().clone();
        let mut request = Request {
            system: &system,
            attempt: 1,
            deadline: meta.deadline,
            repeatable: idempotent || meta.key().is_some(),
            caller_retries: meta.caller_retries(),
        };
        if policy.attempts > 1 {
            meta.set_caller_retries();
        }
        count(&policy.counters.requests);
        policy.budget.request(system.clock().now());
        let mut worst = Verdict::NotSent;
        loop {
            count(&policy.counters.attempts);
            meta.set_attempt(request.attempt);
            meta.deadline = policy.limit(&request);
            let attempt = AskParts::new(route.clone(), copy(&message), meta.clone());
            let failure = match attempt.into_ask().await {
                Ok(reply) => {
                    if request.attempt > 1 {
                        count(&policy.counters.recovered);
                    }
                    return Ok(reply);
                }
                Err(error) => Failure::from(error),
            };
            worst = worst.max(failure.verdict());
            let Some(delay) = policy.next(&request, &failure) else {
                count(&policy.counters.failed);
                let failure = summed_up(failure, worst, request.attempt);
                return Err(SendError::new(failure, Some(message)));
            };
            system.clock().sleep(delay).await;
            // A thread that was held up may wake past the deadline: then no attempt follows (G17).
            if request
                .deadline
                .is_some_and(|deadline| system.clock().has_passed(deadline))
            {
                count(&policy.counters.failed);
                let failure = summed_up(failure, worst, request.attempt);
                return Err(SendError::new(failure, Some(message)));
            }
            request.attempt += 1;
        }
    }
}

/// The failure of a request of several attempts.
fn summed_up(failure: Failure, worst: Verdict, attempts: u32) -> Failure {
    if attempts == 1 {
        return failure;
    }
    let detail = match failure.detail() {
        Some(detail) => format!("{detail}, after {attempts} attempts"),
        None => format!("after {attempts} attempts"),
    };
    failure.with_verdict(worst).with_detail(detail)
}

impl<'r, M: Message, R: Route<M> + Clone + 'r> IntoFuture for Retry<'r, M, R> {
    type Output = Result<M::Reply, SendError<M>>;
    type IntoFuture = Retrying<'r, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Retrying(Box::pin(self.run()))
    }
}

/// The future of a [`Retry`].
#[must_use = "futures do nothing unless polled"]
pub struct Retrying<'r, T>(BoxFuture<'r, T>);

impl<T> Future for Retrying<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.0.as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Retrying<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying").finish_non_exhaustive()
    }
}

impl<M: Message, R: Route<M>> fmt::Debug for Retry<'_, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("ask", &self.ask)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("name", &self.name)
            .field("attempts", &self.attempts)
            .field("base", &self.base)
            .field("cap", &self.cap)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
