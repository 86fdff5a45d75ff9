//! An ask between being queued and its one end (G7).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use callboard::{Failure, FailureKind, Responder, Verdict, WireMessage, codec};
use parking_lot::Mutex;

use super::Core;
use crate::connection::outbox::Pending;

#[cfg(test)]
mod tests;

/// The responder is taken out for each call, so that none of its code runs under the lock.
pub(crate) struct WaitingAsk<M: WireMessage> {
    pub(crate) core: Arc<Core>,
    state: Mutex<State<M::Reply>>,
    handed_over: AtomicBool,
}

struct State<R> {
    responder: Option<Responder<R>>,
    /// It failed while its responder was out to be told that the frame leaves.
    failed: Option<Failure>,
}

impl<M: WireMessage> WaitingAsk<M> {
    pub(crate) fn new(core: Arc<Core>, responder: Responder<M::Reply>) -> Self {
        WaitingAsk {
            core,
            state: Mutex::new(State {
                responder: Some(responder),
                failed: None,
            }),
            handed_over: AtomicBool::new(false),
        }
    }

    /// Takes the responder back, because the ask was not queued.
    pub(crate) fn take(&self) -> Option<Responder<M::Reply>> {
        self.state.lock().responder.take()
    }
}

impl<M: WireMessage> Pending for WaitingAsk<M> {
    fn hand_over(&self) -> bool {
        let Some(mut responder) = self.take() else {
            return false;
        };
        // Before the verdict changes: who withdraws from now on must tell the peer.
        self.handed_over.store(true, Ordering::Release);
        let wanted = responder.progress(Verdict::MaybeExecuted);
        let mut state = self.state.lock();
        // The connection was given up meanwhile, on another thread: then the frame stays here.
        let failed = state.failed.take();
        if wanted && failed.is_none() {
            state.responder = Some(responder);
            return true;
        }
        drop(state);
        if let Some(failure) = failed {
            responder.fail(failure);
        }
        false
    }

    fn reply(&self, payload: &[u8]) {
        let Some(responder) = self.take() else {
            return;
        };
        // A hand-written `Deserialize` may panic.
        match catch_unwind(AssertUnwindSafe(|| codec::decode::<M::Reply>(payload))) {
            Ok(Ok(reply)) => {
                self.core.counters.replies();
                responder.send(reply);
            }
            undecodable => {
                self.core.counters.failed(FailureKind::BadPayload);
                let why = match undecodable {
                    Ok(Err(error)) => error.to_string(),
                    _ => "decoding it panicked".to_owned(),
                };
                let failure = Failure::new(FailureKind::BadPayload, Verdict::Executed);
                responder.fail(failure.with_detail(format!("the reply to {}: {why}", M::NAME)));
            }
        }
    }

    fn fail(&self, failure: Failure) {
        let mut state = self.state.lock();
        match state.responder.take() {
            Some(responder) => {
                drop(state);
                responder.fail(failure);
            }
            None => state.failed = Some(failure),
        }
    }

    fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }
}
