//! Asks of one session between their arrival and their answer.

use std::collections::HashMap;
use std::sync::Arc;

use callboard::{DropReason, Failure, FailureKind, Outcome, ReplySink, Verdict, codec};
use parking_lot::Mutex;
use serde::Serialize;

use super::Session;
use super::scratch::{self, finish_frame, shape};
use crate::wire::WireError;
use crate::wire::frame::{HEADER, Kind};

/// What is called when the asker of a request gives up.
type OnWithdraw = Box<dyn FnOnce() + Send>;

/// The asks in flight on one session.
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

    /// The session is over: all askers are gone.
    pub(crate) fn withdraw_all(&self) {
        let running = std::mem::take(&mut *self.running.lock());
        running.into_values().flatten().for_each(|hook| hook());
    }

    pub(crate) fn len(&self) -> usize {
        self.running.lock().len()
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

/// The way back of one ask over its session.
pub(crate) struct Answer {
    pub(crate) session: Arc<Session>,
    /// The exposed name: what a peer may know of the receiver.
    pub(crate) name: Arc<str>,
    pub(crate) number: u64,
    /// The asker takes structs as arrays.
    pub(crate) positional: bool,
}

impl Answer {
    /// Ends the ask without an answer.
    pub(crate) fn fail(self, failure: &Failure) {
        if self.session.in_flight.end(self.number) {
            self.send_failure(failure);
        }
    }

    fn send_failure(&self, failure: &Failure) {
        if let Some(node) = self.session.node() {
            node.counters.failed(failure.kind());
        }
        self.session.fail(self.number, failure);
    }

    fn send_reply<R: Serialize + 'static>(&self, reply: &R) {
        let refuse = |kind, why: String| {
            Failure::new(kind, Verdict::Executed)
                .with_detail(format!("the reply of {}: {why}", self.name))
        };
        let session = &self.session;
        let most = session.theirs.max_message;
        let sent = scratch::with(|frame| {
            frame.resize(HEADER, 0);
            let put = codec::put(reply, frame, shape(self.positional));
            // A hand-written `Serialize` may refuse.
            put.map_err(|error| {
                tracing::warn!(target: "callboard::remote", name = %self.name, %error, "bad reply");
                refuse(FailureKind::BadPayload, "it can't be encoded".to_owned())
            })?;
            let len = u32::try_from(frame.len() - HEADER).unwrap_or(u32::MAX);
            if len > most {
                let error = WireError::FrameTooLarge {
                    len: len.into(),
                    max: most,
                };
                return Err(refuse(FailureKind::TooLarge, error.to_string()));
            }
            let flags = session.pack(frame);
            finish_frame(frame, Kind::Reply, flags, self.number);
            session.answer_from(frame);
            Ok(())
        });
        match sent {
            Ok(()) => {
                if let Some(node) = session.node() {
                    node.counters.replies();
                }
            }
            Err(failure) => self.send_failure(&failure),
        }
    }
}

impl<R: Serialize + 'static> ReplySink<R> for Answer {
    fn progress(&mut self, _verdict: Verdict) -> bool {
        self.session.in_flight.is_wanted(self.number)
    }

    fn finish(self: Box<Self>, outcome: Outcome<R>) {
        if !self.session.in_flight.end(self.number) {
            // The asker gave up, or its session is over (G8).
            if outcome.is_ok() {
                self.session
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
        self.session.in_flight.hook(self.number, withdraw);
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
