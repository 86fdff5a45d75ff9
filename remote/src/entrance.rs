//! What is exposed besides actors, as routes that a node can expose: what they have in common.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use callboard::{
    ActorId, Boundary, Envelope, Failure, FailureKind, Message, Meta, OnEnd, Placement, Refused,
    Responder, Route, System, Verdict, Watch, WatchHandle,
};
use futures::FutureExt;
use futures::future::{AbortHandle, AbortRegistration};
use serde::{Deserialize, Serialize};

/// What an answer may take for its way, beyond what was to be waited for over there: the deadline of asks across a
/// process (G9).
pub(crate) const REACH: Duration = Duration::from_secs(5);

/// Does what a message says, and answers.
pub(crate) trait Serve<M: Message>: Send + Sync + 'static {
    fn serve(self: &Arc<Self>, message: M, meta: Meta, responder: Responder<M::Reply>);

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
        if meta.is_expired(self.system().clock()) {
            let failure = Failure::new(FailureKind::DeadlineExceeded, Verdict::NotExecuted);
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

pub(crate) fn refuse(kind: FailureKind) -> WireFailure {
    WireFailure::new(kind, Verdict::NotExecuted)
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

/// A failure without its text, which may name what belongs to the queue's process alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireFailure {
    #[serde(rename = "k")]
    kind: FailureKind,
    #[serde(rename = "v")]
    verdict: Verdict,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl From<&Failure> for WireFailure {
    fn from(failure: &Failure) -> Self {
        WireFailure {
            kind: failure.kind(),
            verdict: failure.verdict(),
            retry_after: failure.retry_after().map(micros),
        }
    }
}

impl WireFailure {
    pub(crate) fn new(kind: FailureKind, verdict: Verdict) -> Self {
        WireFailure {
            kind,
            verdict,
            retry_after: None,
        }
    }

    /// The failure, about what is called `what` here.
    pub(crate) fn about(&self, what: &str) -> Failure {
        let failure = Failure::new(self.kind, self.verdict).with_detail(what);
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

/// Lets others of this thread have a turn.
pub(crate) async fn yield_now() {
    let mut was_here = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut was_here, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
