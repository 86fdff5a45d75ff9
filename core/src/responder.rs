//! The way back of an ask: a responder for who answers, a slot for who waits (G7, G8).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::boundary::Verdict;
use crate::counters::{Counters, DropReason};
use crate::driver::{self, Arbiter, Parcel};
use crate::error::{Failure, FailureKind};
use crate::sync::{Half, SpinLock};

#[cfg(all(test, not(loom)))]
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
    way: Way<R>,
    reached: Verdict,
}

/// Where the answer goes.
enum Way<R> {
    Nowhere,
    /// To an asker in this process.
    Slot(Half<SpinLock<State<R>>>),
    Sink(Box<dyn ReplySink<R>>),
}

impl<R: Send + 'static> Responder<R> {
    /// A responder that ends in the given sink.
    #[must_use]
    pub fn new(sink: Box<dyn ReplySink<R>>) -> Self {
        Responder {
            way: Way::Sink(sink),
            reached: Verdict::NotExecuted,
        }
    }

    /// A responder whose answer goes nowhere: for a tell.
    #[must_use]
    #[inline]
    pub fn nowhere() -> Self {
        Responder {
            way: Way::Nowhere,
            reached: Verdict::NotExecuted,
        }
    }

    /// A responder and the slot where its one outcome appears.
    #[inline]
    pub(crate) fn slot() -> (Self, ReplySlot<R>) {
        let (answerer, asker) = Half::pair(SpinLock::new(State {
            reached: Verdict::NotExecuted,
            outcome: None,
            asker: None,
            on_withdraw: None,
            late: None,
            ended: false,
        }));
        let responder = Responder {
            way: Way::Slot(answerer),
            reached: Verdict::NotExecuted,
        };
        (
            responder,
            ReplySlot {
                shared: asker,
                taken: false,
            },
        )
    }

    /// Whether somebody waits for an answer (a tell has nobody).
    #[must_use]
    #[inline]
    pub fn expects_answer(&self) -> bool {
        !matches!(self.way, Way::Nowhere)
    }

    /// Marks how far the request has come; see [`ReplySink::progress`]. Always `true` for a tell.
    #[inline]
    pub fn progress(&mut self, verdict: Verdict) -> bool {
        self.reached = verdict;
        match &mut self.way {
            Way::Nowhere => true,
            Way::Slot(slot) => {
                let mut state = slot.lock();
                state.reached = verdict;
                !state.ended
            }
            Way::Sink(sink) => sink.progress(verdict),
        }
    }

    /// Calls `withdraw` once when the asker gives up before the end; at once, if it has already.
    pub fn on_withdraw(&mut self, withdraw: impl FnOnce() + Send + 'static) {
        match &mut self.way {
            Way::Nowhere => {}
            Way::Slot(slot) => {
                let mut hook: Option<Box<dyn FnOnce() + Send>> = Some(Box::new(withdraw));
                let mut state = slot.lock();
                let gone = state.ended;
                if !gone {
                    std::mem::swap(&mut state.on_withdraw, &mut hook);
                }
                drop(state);
                // Code of others runs outside the lock: the hook, if the asker has gone already, or the
                // drop of one that was replaced.
                if let (true, Some(hook)) = (gone, hook) {
                    hook();
                }
            }
            Way::Sink(sink) => sink.on_withdraw(Box::new(withdraw)),
        }
    }

    /// Answers.
    #[inline]
    pub fn send(mut self, reply: R) {
        self.end(Ok(reply));
    }

    /// Answers with a failure.
    pub fn fail(mut self, failure: Failure) {
        self.end(Err(failure));
    }

    /// Takes the way back out, for code that puts another in its place (admission). Nobody is answered by
    /// this responder any more. `None` for a tell.
    #[must_use]
    pub fn into_sink(mut self) -> Option<Box<dyn ReplySink<R>>> {
        match std::mem::replace(&mut self.way, Way::Nowhere) {
            Way::Nowhere => None,
            Way::Slot(slot) => {
                let way = Way::Slot(slot);
                Some(Box::new(Responder {
                    way,
                    reached: self.reached,
                }))
            }
            Way::Sink(sink) => Some(sink),
        }
    }
}

impl<R: Send + 'static> ReplySink<R> for Responder<R> {
    fn progress(&mut self, verdict: Verdict) -> bool {
        Responder::progress(self, verdict)
    }

    fn finish(mut self: Box<Self>, outcome: Outcome<R>) {
        self.end(outcome);
    }

    fn on_withdraw(&mut self, withdraw: Box<dyn FnOnce() + Send>) {
        Responder::on_withdraw(self, withdraw);
    }
}

impl<R> Responder<R> {
    #[inline]
    fn end(&mut self, outcome: Outcome<R>) {
        match std::mem::replace(&mut self.way, Way::Nowhere) {
            Way::Nowhere => {}
            Way::Slot(slot) => finish(&slot, outcome),
            Way::Sink(sink) => sink.finish(outcome),
        }
    }

    #[cold]
    fn end_unanswered(&mut self) {
        let kind = if self.reached != Verdict::Executed {
            FailureKind::Stopped
        } else if crate::current::is_killing() {
            FailureKind::Killed
        } else if std::thread::panicking() {
            FailureKind::Panicked
        } else {
            FailureKind::NoAnswer
        };
        self.end(Err(Failure::new(kind, self.reached)));
    }
}

impl<R> Drop for Responder<R> {
    #[inline]
    fn drop(&mut self) {
        if !matches!(self.way, Way::Nowhere) {
            self.end_unanswered();
        }
    }
}

impl<R> fmt::Debug for Responder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("reached", &self.reached)
            .finish_non_exhaustive()
    }
}

struct State<R> {
    reached: Verdict,
    outcome: Option<Outcome<R>>,
    asker: Option<Asker>,
    on_withdraw: Option<Box<dyn FnOnce() + Send>>,
    /// Where a reply that comes after the withdrawal is counted.
    late: Option<Arc<Counters>>,
    /// The asker is gone, or the outcome is here.
    ended: bool,
}

/// Who waits, and on which arbiter: a reply from another arbiter reaches it together with all others of
/// the same turn.
struct Asker {
    waker: Waker,
    home: Option<Arc<Arbiter>>,
}

impl Asker {
    fn wake(self) {
        match self.home {
            Some(home) if !home.is_here() => {
                home.send(Parcel::Wake(self.waker));
            }
            _ => self.waker.wake(),
        }
    }
}

#[inline]
fn finish<R>(slot: &SpinLock<State<R>>, outcome: Outcome<R>) {
    let mut state = slot.lock();
    if state.ended {
        // G8: it reaches nobody and is counted; an unanswered withdrawal is no reply.
        let counters = state.late.take();
        drop(state);
        if let (Some(counters), Ok(_)) = (counters, &outcome) {
            counters.count_drop(DropReason::LateReply);
        }
        return;
    }
    state.ended = true;
    state.outcome = Some(outcome);
    let asker = state.asker.take();
    let hook = state.on_withdraw.take();
    drop(state);
    drop(hook);
    if let Some(asker) = asker {
        asker.wake();
    }
}

/// Where the outcome of an ask appears. Dropping it withdraws the ask.
pub(crate) struct ReplySlot<R> {
    shared: Half<SpinLock<State<R>>>,
    taken: bool,
}

impl<R> ReplySlot<R> {
    /// The outcome, if it is here already.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Outcome<R>> {
        let outcome = self.shared.lock().outcome.take();
        self.taken |= outcome.is_some();
        outcome
    }

    /// Whether the outcome was taken, or the ask withdrawn.
    pub(crate) fn is_over(&self) -> bool {
        self.taken
    }

    /// Gives up waiting. The outcome if it is already here, else what is known about the request now:
    /// inside a process a request that was withdrawn before its handler began will never run (G9).
    /// A reply that comes later is counted there.
    pub(crate) fn withdraw(&mut self, late: Arc<Counters>) -> Result<Outcome<R>, Verdict> {
        self.end(Some(late))
    }

    fn end(&mut self, late: Option<Arc<Counters>>) -> Result<Outcome<R>, Verdict> {
        self.taken = true;
        let mut state = self.shared.lock();
        if let Some(outcome) = state.outcome.take() {
            return Ok(outcome);
        }
        state.ended = true;
        state.late = late;
        let asker = state.asker.take();
        let reached = state.reached;
        let hook = state.on_withdraw.take();
        drop(state);
        drop(asker);
        if let Some(hook) = hook {
            hook();
        }
        Err(reached)
    }
}

// The outcome in it is moved out whole.
impl<R> Unpin for ReplySlot<R> {}

impl<R> Future for ReplySlot<R> {
    type Output = Outcome<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        if let Some(outcome) = state.outcome.take() {
            drop(state);
            self.taken = true;
            return Poll::Ready(outcome);
        }
        let same = state
            .asker
            .as_ref()
            .is_some_and(|asker| asker.waker.will_wake(cx.waker()));
        if !same {
            let before = state.asker.replace(Asker {
                waker: cx.waker().clone(),
                home: driver::here(),
            });
            // Dropping a waker can drop the task behind it, and what that holds; not under the lock.
            drop(state);
            drop(before);
        }
        Poll::Pending
    }
}

impl<R> Drop for ReplySlot<R> {
    #[inline]
    fn drop(&mut self) {
        if !self.taken {
            drop(self.end(None));
        }
    }
}

impl<R> fmt::Debug for ReplySlot<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplySlot").finish_non_exhaustive()
    }
}
