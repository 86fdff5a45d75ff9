//! The way back of an ask: a responder for who answers, a slot for who waits (G7, G8).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::boundary::Verdict;
use crate::counters::{Counters, DropReason};
use crate::error::{Failure, FailureKind};

#[cfg(test)]
mod tests;

/// How an ask ended: the reply, or what went wrong.
pub type Outcome<R> = Result<R, Failure>;

/// Where an answer goes, as the admission of an actor or the remote layer sees it.
///
/// Ends with exactly one call of [`finish`](ReplySink::finish) (G7).
pub trait ReplySink<R>: Send {
    /// How far the request has come, as the verdict a timeout would have now: `NotExecuted` while it
    /// waits, `MaybeExecuted` once written to a connection, `Executed` once the handler begins.
    ///
    /// Answers whether anybody still wants the answer; a request that nobody wants is not begun (G9).
    fn progress(&mut self, verdict: Verdict) -> bool;

    /// The one end.
    fn finish(self: Box<Self>, outcome: Outcome<R>);

    /// Calls `withdraw` once when the asker gives up before the end.
    fn on_withdraw(&mut self, withdraw: Box<dyn FnOnce() + Send>) {
        drop(withdraw);
    }
}

/// The right and the duty to answer one ask.
///
/// Dropping it answers with an error: `NoAnswer`, or `Panicked` while a panic unwinds, and
/// `NotExecuted` if the handler never began.
pub struct Responder<R> {
    sink: Option<Box<dyn ReplySink<R>>>,
    reached: Verdict,
}

impl<R: Send + 'static> Responder<R> {
    /// A responder that ends in the given sink.
    #[must_use]
    pub fn new(sink: Box<dyn ReplySink<R>>) -> Self {
        Responder {
            sink: Some(sink),
            reached: Verdict::NotExecuted,
        }
    }

    /// A responder whose answer goes nowhere: for a tell.
    #[must_use]
    pub fn nowhere() -> Self {
        Responder {
            sink: None,
            reached: Verdict::NotExecuted,
        }
    }

    /// A responder and the slot where its one outcome appears.
    pub(crate) fn slot(counters: Arc<Counters>) -> (Self, ReplySlot<R>) {
        let state = State {
            reached: Verdict::NotExecuted,
            outcome: None,
            asker: None,
            on_withdraw: None,
            ended: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            counters,
        });
        let sink = Box::new(SlotSink(Arc::clone(&shared)));
        (
            Responder::new(sink),
            ReplySlot {
                shared,
                taken: false,
            },
        )
    }

    /// Whether somebody waits for an answer (a tell has nobody).
    #[must_use]
    pub fn expects_answer(&self) -> bool {
        self.sink.is_some()
    }

    /// Marks how far the request has come; see [`ReplySink::progress`]. Always `true` for a tell.
    pub fn progress(&mut self, verdict: Verdict) -> bool {
        self.reached = verdict;
        self.sink.as_mut().is_none_or(|sink| sink.progress(verdict))
    }

    /// Calls `withdraw` once when the asker gives up before the end.
    pub fn on_withdraw(&mut self, withdraw: impl FnOnce() + Send + 'static) {
        if let Some(sink) = &mut self.sink {
            sink.on_withdraw(Box::new(withdraw));
        }
    }

    /// Answers.
    pub fn send(mut self, reply: R) {
        self.end(Ok(reply));
    }

    /// Answers with a failure.
    pub fn fail(mut self, failure: Failure) {
        self.end(Err(failure));
    }

    /// Takes the sink out, for code that puts another in its place (admission). Nobody is answered by
    /// this responder any more.
    #[must_use]
    pub fn into_sink(mut self) -> Option<Box<dyn ReplySink<R>>> {
        self.sink.take()
    }
}

impl<R> Responder<R> {
    fn end(&mut self, outcome: Outcome<R>) {
        if let Some(sink) = self.sink.take() {
            sink.finish(outcome);
        }
    }
}

impl<R> Drop for Responder<R> {
    fn drop(&mut self) {
        if self.sink.is_none() {
            return;
        }
        let failure = if self.reached != Verdict::Executed {
            Failure::new(FailureKind::Stopped, self.reached)
        } else if crate::current::is_killing() {
            Failure::new(FailureKind::Killed, Verdict::Executed)
        } else if std::thread::panicking() {
            Failure::new(FailureKind::Panicked, Verdict::Executed)
        } else {
            Failure::new(FailureKind::NoAnswer, Verdict::Executed)
        };
        self.end(Err(failure));
    }
}

impl<R> fmt::Debug for Responder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("reached", &self.reached)
            .finish_non_exhaustive()
    }
}

struct Shared<R> {
    state: Mutex<State<R>>,
    counters: Arc<Counters>,
}

struct State<R> {
    reached: Verdict,
    outcome: Option<Outcome<R>>,
    asker: Option<Waker>,
    on_withdraw: Option<Box<dyn FnOnce() + Send>>,
    /// The asker is gone, or the outcome is here.
    ended: bool,
}

struct SlotSink<R>(Arc<Shared<R>>);

impl<R: Send + 'static> ReplySink<R> for SlotSink<R> {
    fn progress(&mut self, verdict: Verdict) -> bool {
        let mut state = self.0.state.lock();
        state.reached = verdict;
        !state.ended
    }

    fn finish(self: Box<Self>, outcome: Outcome<R>) {
        let mut state = self.0.state.lock();
        if state.ended {
            drop(state);
            // G8: it reaches nobody; an unanswered withdrawal is no reply.
            if outcome.is_ok() {
                self.0.counters.count_drop(DropReason::LateReply);
            }
            return;
        }
        state.ended = true;
        state.outcome = Some(outcome);
        let asker = state.asker.take();
        let hook = state.on_withdraw.take();
        drop(state);
        drop(hook);
        asker.into_iter().for_each(Waker::wake);
    }

    fn on_withdraw(&mut self, withdraw: Box<dyn FnOnce() + Send>) {
        let mut state = self.0.state.lock();
        if !state.ended {
            state.on_withdraw = Some(withdraw);
        }
    }
}

/// Where the outcome of an ask appears. Dropping it withdraws the ask.
pub(crate) struct ReplySlot<R> {
    shared: Arc<Shared<R>>,
    taken: bool,
}

impl<R> ReplySlot<R> {
    /// Gives up waiting. The outcome if it is already here, else what is known about the request now:
    /// inside a process a request that was withdrawn before its handler began will never run (G9).
    pub(crate) fn withdraw(mut self) -> Result<Outcome<R>, Verdict> {
        self.taken = true;
        self.end()
    }

    fn end(&mut self) -> Result<Outcome<R>, Verdict> {
        let mut state = self.shared.state.lock();
        if let Some(outcome) = state.outcome.take() {
            return Ok(outcome);
        }
        state.ended = true;
        state.asker = None;
        let reached = state.reached;
        let hook = state.on_withdraw.take();
        drop(state);
        if let Some(hook) = hook {
            hook();
        }
        Err(reached)
    }
}

impl<R> Future for ReplySlot<R> {
    type Output = Outcome<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.state.lock();
        if let Some(outcome) = state.outcome.take() {
            drop(state);
            self.taken = true;
            return Poll::Ready(outcome);
        }
        state.asker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<R> Drop for ReplySlot<R> {
    fn drop(&mut self) {
        if !self.taken {
            drop(self.end());
        }
    }
}

impl<R> fmt::Debug for ReplySlot<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplySlot").finish_non_exhaustive()
    }
}
