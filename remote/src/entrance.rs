//! What is exposed besides actors, as routes that a node can expose: what they have in common.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use callboard::clock::{Clock, Instant};
use callboard::{
    ActorId, Boundary, Envelope, Failure, FailureKind, Message, Meta, OnEnd, Placement, Principal,
    Refused, Responder, Route, System, Verdict, Watch, WatchHandle, inherited_deadline,
};
use futures::FutureExt;
use futures::future::{AbortHandle, AbortRegistration, Either, select};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::wire::body::{kind_number, kind_of, verdict_number, verdict_of};

/// What an answer may take for its way, beyond what was to be waited for over there: the deadline of asks across a
/// process (G9).
pub(crate) const REACH: Duration = Duration::from_secs(5);

/// Does what a message says, and answers.
pub(crate) trait Serve<M: Message>: Send + Sync + 'static {
    fn serve(self: &Arc<Self>, message: M, meta: Meta, responder: Responder<M::Reply>);

    /// Whether what it holds, or waits for, ends with its ask. Then nobody can just say it: that would never end.
    fn must_be_asked(_message: &M) -> bool {
        false
    }

    fn leads_to(&self) -> (ActorId, Arc<str>, &System);
}

/// The way to a door for messages of one type, as nodes expose it.
pub(crate) struct Entrance<D, M> {
    door: Arc<D>,
    message: PhantomData<fn(M)>,
}

impl<D, M> Entrance<D, M> {
    pub(crate) fn new(door: &Arc<D>) -> Arc<Self> {
        Arc::new(Entrance {
            door: Arc::clone(door),
            message: PhantomData,
        })
    }
}

impl<D: Send + Sync, M> Watch for Entrance<D, M> {
    /// Nobody but the node has this reference, and it doesn't watch.
    fn watch(&self, _on_end: OnEnd) -> WatchHandle {
        WatchHandle::over()
    }
}

impl<M: Message, D: Serve<M>> Route<M> for Entrance<D, M> {
    fn id(&self) -> ActorId {
        self.door.leads_to().0
    }

    fn label(&self) -> String {
        self.door.leads_to().1.to_string()
    }

    fn boundary(&self) -> Boundary {
        Boundary::SameProcess
    }

    fn system(&self) -> &System {
        self.door.leads_to().2
    }

    fn send(&self, envelope: Envelope<M>) -> Result<(), Refused<M>> {
        let Envelope {
            message,
            meta,
            mut responder,
        } = envelope;
        let refused = if meta.is_expired(self.system().clock()) {
            Some(Failure::new(
                FailureKind::DeadlineExceeded,
                Verdict::NotExecuted,
            ))
        } else if !responder.expects_answer() && D::must_be_asked(&message) {
            let failure = Failure::new(FailureKind::BadPayload, Verdict::NotExecuted);
            Some(failure.with_detail("it has to be asked for"))
        } else {
            None
        };
        if let Some(failure) = refused {
            let envelope = Envelope {
                message,
                meta,
                responder,
            };
            return Err(Refused::for_good(envelope, failure));
        }
        if responder.progress(Verdict::MaybeExecuted) {
            self.door.serve(message, meta, responder);
        }
        Ok(())
    }
}

/// Runs it as far as it comes at once, on the thread of the connection, and the rest as a task.
pub(crate) fn run(system: &System, work: impl Future<Output = ()> + Send + 'static) {
    // Items are cloned and decoded by code of theirs (G10); what it drops on the way answers the ask.
    let mut work = Box::pin(AssertUnwindSafe(work).catch_unwind());
    let mut cx = Context::from_waker(Waker::noop());
    if work.as_mut().poll(&mut cx).is_pending() {
        // False: the system has ended, and with it who waits here.
        system.spawn(Placement::Spread, move || work.map(drop));
    }
}

/// A handle in another process: the number that it says, and whose it is. The same number of somebody else is
/// somebody else, so that knowing it is worth nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HolderId {
    number: u64,
    principal: Option<Principal>,
}

impl HolderId {
    /// Who says that number in a message that came with `meta`.
    pub(crate) fn new(number: u64, meta: &Meta) -> Self {
        HolderId {
            number,
            principal: meta.principal().cloned(),
        }
    }
}

/// Drawn at random: nobody can guess it, unlike what [entropy](System::entropy) gives.
pub(crate) fn unguessable(system: &System) -> Uuid {
    if system.clock().is_manual() {
        // The same again with the same seed (G38).
        let entropy = system.entropy();
        return Uuid::from_u64_pair(entropy.next_u64(), entropy.next_u64());
    }
    Uuid::new_v4()
}

/// The same, as a number: 122 bits folded into 64.
pub(crate) fn unguessable_number(system: &System) -> u64 {
    let (high, low) = unguessable(system).as_u64_pair();
    // The fixed bits of a UUID stand in different places of the two.
    high ^ low.rotate_left(32)
}

/// How many bytes may wait behind one door, of all peers together (G33). What a message that waits here takes up is
/// no part of any session's credit: it has been taken over.
pub(crate) struct Budget {
    most: u64,
    taken: AtomicU64,
}

impl Budget {
    pub(crate) fn new(most: u64) -> Arc<Self> {
        Arc::new(Budget {
            most,
            taken: AtomicU64::new(0),
        })
    }

    /// Takes that many, unless it has none left; the last may overshoot it. Given back when dropped.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Option<Taken> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let taken = self.taken.fetch_add(bytes, Ordering::AcqRel);
        let taken_now = Taken {
            from: Arc::clone(self),
            bytes,
        };
        // Else it goes back at once.
        (taken < self.most).then_some(taken_now)
    }
}

/// Bytes that wait.
pub(crate) struct Taken {
    from: Arc<Budget>,
    bytes: u64,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.from.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// How long a text may be that travels beside items and wishes, such as the name of a group, in bytes.
pub(crate) const MAX_TEXT: usize = 1_024;

/// Whether none of these texts is too long to be kept.
pub(crate) fn are_short<'a>(texts: impl IntoIterator<Item = Option<&'a String>>) -> bool {
    let mut texts = texts.into_iter().flatten();
    texts.all(|text| text.len() <= MAX_TEXT)
}

pub(crate) fn refuse(kind: FailureKind) -> WireFailure {
    WireFailure::new(kind, Verdict::NotExecuted)
}

/// How long an ask may be kept waiting over here: as long as its asker waits, less what the way back takes.
///
/// That was added to what is left, unless the asker has less time itself, as in a handler that was asked from another
/// process: then most of what there is.
pub(crate) fn patience(wait: Duration, meta: &Meta, clock: &Clock) -> Duration {
    within(wait, meta.remaining(clock))
}

fn within(wait: Duration, left: Option<Duration>) -> Duration {
    match left {
        Some(left) => wait.min(left.saturating_sub(REACH.min(left / 4))),
        None => wait,
    }
}

/// A wait of that long for something elsewhere, which begins now. The request in hand may be due sooner (G9).
///
/// It bounds the wait and not the ask: an ask that is over lets go of what comes after it, and what was granted too
/// late would be held by nobody. Who waits drops the ask, whose drop gives back what comes.
pub(crate) struct Patience {
    /// How long the other side may take.
    pub(crate) wait: Duration,
    /// When to give up waiting for its answer.
    pub(crate) until: Instant,
}

impl Patience {
    pub(crate) fn new(wait: Duration, clock: &Clock) -> Self {
        let now = clock.now();
        let until = now + wait.saturating_add(REACH);
        match inherited_deadline(clock) {
            Some(due) if due < until => Patience {
                wait: within(wait, Some(due.since(now))),
                until: due,
            },
            _ => Patience { wait, until },
        }
    }
}

/// What `waiting` answers, or nothing if its time is over before: then it is dropped.
pub(crate) async fn patient<T>(
    waiting: impl Future<Output = T>,
    until: Option<Instant>,
    clock: &Clock,
) -> Option<T> {
    let Some(until) = until else {
        return Some(waiting.await);
    };
    // The wait first: an answer that is there counts, however late.
    match select(pin!(waiting), clock.sleep_until(until)).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}

/// What is given up when the asker gives up.
pub(crate) fn abortable<R: Send + 'static>(
    responder: &mut Responder<R>,
) -> (AbortHandle, AbortRegistration) {
    let (handle, registration) = AbortHandle::new_pair();
    let withdrawn = handle.clone();
    responder.on_withdraw(move || withdrawn.abort());
    (handle, registration)
}

/// A failure without its text, which may name what belongs to the queue's process alone. In numbers, so that one of a
/// kind that a later version added can be read (G37): what became of the request counts more than why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireFailure {
    #[serde(rename = "k")]
    kind: u8,
    #[serde(rename = "v")]
    verdict: u8,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl From<&Failure> for WireFailure {
    fn from(failure: &Failure) -> Self {
        WireFailure {
            kind: kind_number(failure.kind()),
            verdict: verdict_number(failure.verdict()),
            retry_after: failure.retry_after().map(micros),
        }
    }
}

impl WireFailure {
    pub(crate) fn new(kind: FailureKind, verdict: Verdict) -> Self {
        WireFailure {
            kind: kind_number(kind),
            verdict: verdict_number(verdict),
            retry_after: None,
        }
    }

    /// The failure, about what is called `what` here.
    pub(crate) fn about(&self, what: &str) -> Failure {
        let verdict = verdict_of(self.verdict);
        let failure = match kind_of(self.kind) {
            Some(kind) => Failure::new(kind, verdict).with_detail(what),
            None => Failure::new(FailureKind::NoAnswer, verdict).with_detail(format!(
                "failure kind {} of a newer peer: {what}",
                self.kind
            )),
        };
        match self.retry_after {
            Some(span) => failure.with_retry_after(Duration::from_micros(span)),
            None => failure,
        }
    }
}

/// A span as it travels, rounded up, so that what is left is never called over.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use callboard::codec;

    use super::*;

    #[test]
    fn g37_a_failure_of_a_kind_that_is_not_known_yet_says_what_became_of_it() {
        for kind in FailureKind::ALL {
            let sent = WireFailure::new(kind, Verdict::NotExecuted);
            let bytes = codec::encode(&sent).unwrap();
            let read: WireFailure = codec::decode(&bytes).unwrap();
            let failure = read.about("jobs");
            assert_eq!(
                (failure.kind(), failure.verdict()),
                (kind, Verdict::NotExecuted)
            );
        }
        let newer = WireFailure {
            kind: 200,
            verdict: verdict_number(Verdict::NotExecuted),
            retry_after: None,
        };
        let failure = newer.about("jobs");
        assert_eq!(failure.kind(), FailureKind::NoAnswer);
        assert_eq!(failure.verdict(), Verdict::NotExecuted);
        let text = failure.to_string();
        assert!(
            text.contains("failure kind 200 of a newer peer: jobs"),
            "{text}"
        );
        let odd = WireFailure {
            verdict: 9,
            ..newer
        };
        assert_eq!(odd.about("jobs").verdict(), Verdict::MaybeExecuted);
    }

    #[test]
    fn g33_a_budget_is_given_back_and_the_last_may_overshoot_it() {
        let budget = Budget::new(10);
        let (one, two) = (budget.take(9).unwrap(), budget.take(100).unwrap());
        assert!(budget.take(0).is_none() && budget.take(1).is_none());
        drop(two);
        let again = budget.take(1).unwrap();
        drop((one, again));
        assert_eq!(budget.taken.load(Ordering::Relaxed), 0);
    }
}
