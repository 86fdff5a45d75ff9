//! Asks of one connection between their arrival and their answer.

use std::collections::HashMap;
use std::sync::Arc;

use callboard::{DropReason, Failure, FailureKind, Outcome, ReplySink, Verdict, codec};
use parking_lot::Mutex;
use serde::Serialize;

use super::Core;
use crate::connection::outbox::Outbox;
use crate::wire::body::put_failure;
use crate::wire::frame::{Kind, put_frame};

/// What is called when the asker of a request gives up.
type OnWithdraw = Box<dyn FnOnce() + Send>;

/// The asks in flight on one connection.
#[derive(Default)]
pub(crate) struct InFlight {
    running: Mutex<HashMap<u64, Option<OnWithdraw>>>,
}

/// Why an ask can't be taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// An unanswered ask has that number.
    Repeated,
    Full,
}

impl InFlight {
    pub(crate) fn begin(&self, ask: u64, most: usize) -> Result<(), NotTaken> {
        let mut running = self.running.lock();
        if running.contains_key(&ask) {
            return Err(NotTaken::Repeated);
        }
        if running.len() >= most {
            return Err(NotTaken::Full);
        }
        running.insert(ask, None);
        Ok(())
    }

    /// The asker gave up. Answers whether there was such an ask.
    pub(crate) fn withdraw(&self, ask: u64) -> bool {
        let removed = self.running.lock().remove(&ask);
        match removed {
            Some(hook) => {
                hook.into_iter().for_each(|hook| hook());
                true
            }
            None => false,
        }
    }

    /// The connection is over: all askers are gone.
    pub(crate) fn withdraw_all(&self) {
        let running = std::mem::take(&mut *self.running.lock());
        running.into_values().flatten().for_each(|hook| hook());
    }

    fn is_wanted(&self, ask: u64) -> bool {
        self.running.lock().contains_key(&ask)
    }

    fn end(&self, ask: u64) -> bool {
        let removed = self.running.lock().remove(&ask);
        removed.is_some()
    }

    fn hook(&self, ask: u64, hook: OnWithdraw) {
        let mut running = self.running.lock();
        let old = match running.get_mut(&ask) {
            Some(place) => place.replace(hook),
            None => Some(hook),
        };
        drop(running);
        drop(old);
    }
}

/// The way back of one ask over its connection.
pub(crate) struct Answer {
    pub(crate) core: Arc<Core>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) in_flight: Arc<InFlight>,
    /// The exposed name: what a peer may know of the receiver.
    pub(crate) name: Arc<str>,
    pub(crate) number: u64,
    /// The largest body that the peer takes.
    pub(crate) max_frame: u32,
}

impl Answer {
    /// Ends the ask without an answer.
    pub(crate) fn fail(self, failure: &Failure) {
        if self.in_flight.end(self.number) {
            self.send_failure(failure);
        }
    }

    fn send_failure(&self, failure: &Failure) {
        self.core.counters.failed(failure.kind());
        send_failure(&self.outbox, self.number, self.max_frame, failure);
    }

    fn send_reply<R: Serialize>(&self, reply: &R) {
        let refuse = |kind, why: String| {
            Failure::new(kind, Verdict::Executed)
                .with_detail(format!("the reply of {}: {why}", self.name))
        };
        let payload = match codec::encode(reply) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::warn!(target: "callboard::remote", name = %self.name, %error, "bad reply");
                let why = "it can't be encoded".to_owned();
                return self.send_failure(&refuse(FailureKind::BadPayload, why));
            }
        };
        let mut frame = Vec::new();
        let put = put_frame(
            &mut frame,
            Kind::Reply,
            0,
            self.number,
            self.max_frame,
            |out| {
                out.extend(&payload);
            },
        );
        match put {
            Ok(()) => {
                self.core.counters.replies();
                self.outbox.push_answer(frame);
            }
            Err(error) => self.send_failure(&refuse(FailureKind::TooLarge, error.to_string())),
        }
    }
}

/// Sends a `Failed` frame about an ask or a subscription.
pub(crate) fn send_failure(outbox: &Outbox, number: u64, max_frame: u32, failure: &Failure) {
    let mut frame = Vec::new();
    let put = put_frame(&mut frame, Kind::Failed, 0, number, max_frame, |out| {
        put_failure(out, failure);
    });
    // It fits: its texts are cut, and the handshake refuses smaller limits.
    if put.is_ok() {
        outbox.push_answer(frame);
    }
}

impl<R: Serialize> ReplySink<R> for Answer {
    fn progress(&mut self, _verdict: Verdict) -> bool {
        self.in_flight.is_wanted(self.number)
    }

    fn finish(self: Box<Self>, outcome: Outcome<R>) {
        if !self.in_flight.end(self.number) {
            // The asker gave up, or its connection is gone (G8).
            if outcome.is_ok() {
                self.core
                    .system
                    .counters()
                    .count_drop(DropReason::LateReply);
            }
            return;
        }
        match outcome {
            Ok(reply) => self.send_reply(&reply),
            Err(failure) => self.send_failure(&self.for_peers(failure)),
        }
    }

    fn on_withdraw(&mut self, withdraw: OnWithdraw) {
        self.in_flight.hook(self.number, withdraw);
    }
}

impl Answer {
    /// A failure as a peer may see it. The runtime's own details name actors and types of this process;
    /// those of admissions and handlers are meant for the asker.
    fn for_peers(&self, failure: Failure) -> Failure {
        match failure.kind() {
            FailureKind::KeyReused
            | FailureKind::Indeterminate
            | FailureKind::Overloaded
            | FailureKind::NotAuthorised => failure,
            _ => failure.with_detail(&*self.name),
        }
    }
}
