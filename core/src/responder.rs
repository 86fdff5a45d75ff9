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
use crate::sync::{Half, Pooled};
use crate::waits::Wait;

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

/// Where the answers to many asks go: a [`ReplySink`] that is made once and not for each ask, so that an ask that
/// came over a connection costs no memory of its own. Which ask is meant says its ticket, a number that the
/// sink's owner chose when it made the responder with [`Responder::shared`].
///
/// Each responder made ends with exactly one call of [`finish`](SharedSink::finish) with its ticket (G7), also if it
/// is dropped. Tickets that were finished may be used again. Calls come from any thread, several at a time, and
/// also from within [`Route::send`](crate::Route::send): hold no lock there that these methods take.
pub trait SharedSink<R>: Send + Sync {
    /// As [`ReplySink::progress`], of that ask.
    fn progress(&self, ticket: u64, verdict: Verdict) -> bool;

    /// The one end of that ask.
    fn finish(&self, ticket: u64, outcome: Outcome<R>);

    /// Calls `withdraw` once when the asker of that ask gives up before the end; at once, if it has already.
    fn on_withdraw(&self, ticket: u64, withdraw: Box<dyn FnOnce() + Send>) {
        let _ = ticket;
        drop(withdraw);
    }
}

/// Who is told that askers have given up, of many asks under a ticket each. For those who write routes: see
/// [`Responder::on_withdraw_shared`].
pub trait Withdrawals: Send + Sync {
    /// The asker of that ask gave up before its end. Called once, on the asker's thread.
    fn withdrawn(&self, ticket: u64);
}

/// What is called when an asker gives up.
enum Hook {
    Own(Box<dyn FnOnce() + Send>),
    Shared(Arc<dyn Withdrawals>, u64),
}

impl Hook {
    fn call(self) {
        match self {
            Hook::Own(hook) => hook(),
            Hook::Shared(told, ticket) => told.withdrawn(ticket),
        }
    }
}

/// The right and the duty to answer one ask.
///
/// Dropping it answers with an error: `NoAnswer`, or `Panicked` while a panic unwinds, and
/// `NotExecuted` if the handler never began.
pub struct Responder<R> {
    way: Way<R>,
    /// How far the request has come, for a sink; an asker of this process looks into the slot.
    reached: Verdict,
}

/// Where the answer goes.
enum Way<R> {
    Nowhere,
    /// To an asker in this process.
    Slot(Answerer<R>),
    Sink(Box<dyn ReplySink<R>>),
    /// To one of many asks that share a sink.
    Shared(Arc<dyn SharedSink<R>>, u64),
    /// A stand-in, for a message that may be offered again.
    StandIn(Arc<dyn WayBack<R>>),
}

/// The real way back of a message that may be offered again, behind the responder of its handler (G14).
pub(crate) trait WayBack<R>: Send + Sync {
    fn expects_answer(&self) -> bool;
    fn progress(&self, verdict: Verdict) -> bool;
    fn on_withdraw(&self, withdraw: Box<dyn FnOnce() + Send>);
    fn finish(&self, outcome: Outcome<R>);
    /// The stand-in was dropped without an answer.
    fn give_up(&self, failure: Failure);
    /// The message waits elsewhere with the stand-in, and isn't in hand any more.
    fn put_off(&self);
    /// The real way, if the message isn't in hand any more.
    fn take_back(&self) -> Option<Responder<R>>;
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

    /// A responder that ends in a sink which many asks share, under that ticket. Takes no memory of its own.
    #[must_use]
    #[inline]
    pub fn shared(sink: Arc<dyn SharedSink<R>>, ticket: u64) -> Self {
        Responder {
            way: Way::Shared(sink, ticket),
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
        let (answerer, slot) = Answerer::slot();
        (Responder::over(answerer), slot)
    }

    /// The same for a request that has come that far, and `told` hears of its withdrawal by that ticket. For those who
    /// write routes and take asks without an [`Envelope`](crate::Envelope), in
    /// [`Route::ask_lean`](crate::Route::ask_lean). The responder goes on as it is: [`progress`](Responder::progress) and
    /// [`on_withdraw_shared`](Responder::on_withdraw_shared) were called, so to speak.
    #[must_use]
    #[inline]
    pub fn slot_of(
        reached: Verdict,
        told: Arc<dyn Withdrawals>,
        ticket: u64,
    ) -> (Self, ReplySlot<R>) {
        let hook = Hook::Shared(told, ticket);
        let (answerer, slot) = Answerer::slot_with(reached, Some(Rare::with(hook)));
        let mut responder = Responder::over(answerer);
        responder.reached = reached;
        (responder, slot)
    }

    /// A responder that answers an asker of this process.
    #[inline]
    pub(crate) fn over(answerer: Answerer<R>) -> Self {
        Responder {
            way: Way::Slot(answerer),
            reached: Verdict::NotExecuted,
        }
    }

    /// The same for one whose handler has begun.
    #[inline]
    pub(crate) fn begun(answerer: Answerer<R>) -> Self {
        Responder {
            way: Way::Slot(answerer),
            reached: Verdict::Executed,
        }
    }

    /// A responder for the handler of a message that may be offered again.
    pub(crate) fn standing_in(way: Arc<dyn WayBack<R>>) -> Self {
        Responder {
            way: Way::StandIn(way),
            reached: Verdict::Executed,
        }
    }

    /// Whether somebody waits for an answer (a tell has nobody).
    #[must_use]
    #[inline]
    pub fn expects_answer(&self) -> bool {
        match &self.way {
            Way::Nowhere => false,
            Way::Slot(_) | Way::Sink(_) | Way::Shared(..) => true,
            Way::StandIn(way) => way.expects_answer(),
        }
    }

    /// The message that it came with waits elsewhere, and isn't in hand any more.
    pub(crate) fn put_off(&self) {
        if let Way::StandIn(way) = &self.way {
            way.put_off();
        }
    }

    /// What it stands for, if it is a stand-in that has done its work.
    pub(crate) fn without_stand_in(mut self) -> Self {
        let Way::StandIn(way) = &self.way else {
            return self;
        };
        let Some(real) = way.take_back() else {
            return self;
        };
        self.way = Way::Nowhere;
        real
    }

    /// How far the request has come.
    pub(crate) fn reached(&self) -> Verdict {
        self.reached
    }

    /// Marks how far the request has come; see [`ReplySink::progress`]. Always `true` for a tell.
    #[inline]
    pub fn progress(&mut self, verdict: Verdict) -> bool {
        self.reached = verdict;
        match &mut self.way {
            Way::Nowhere => true,
            Way::Slot(answerer) => answerer.progress(verdict),
            Way::Sink(sink) => sink.progress(verdict),
            Way::Shared(sink, ticket) => sink.progress(*ticket, verdict),
            Way::StandIn(way) => way.progress(verdict),
        }
    }

    /// Calls `withdraw` once when the asker gives up before the end; at once, if it has already.
    pub fn on_withdraw(&mut self, withdraw: impl FnOnce() + Send + 'static) {
        match &mut self.way {
            Way::Nowhere => {}
            Way::Slot(answerer) => answerer.on_withdraw(Hook::Own(Box::new(withdraw))),
            Way::Sink(sink) => sink.on_withdraw(Box::new(withdraw)),
            Way::Shared(sink, ticket) => sink.on_withdraw(*ticket, Box::new(withdraw)),
            Way::StandIn(way) => way.on_withdraw(Box::new(withdraw)),
        }
    }

    /// The same for one who is told of many asks, of each by its ticket: takes no memory of its own.
    pub fn on_withdraw_shared(&mut self, told: Arc<dyn Withdrawals>, ticket: u64) {
        match &mut self.way {
            Way::Slot(answerer) => answerer.on_withdraw(Hook::Shared(told, ticket)),
            _ => self.on_withdraw(move || told.withdrawn(ticket)),
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
            Way::StandIn(way) if !way.expects_answer() => None,
            way @ (Way::Slot(_) | Way::Shared(..) | Way::StandIn(_)) => Some(Box::new(Responder {
                way,
                reached: self.reached,
            })),
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
            Way::Slot(answerer) => answerer.finish(outcome),
            Way::Sink(sink) => sink.finish(outcome),
            Way::Shared(sink, ticket) => sink.finish(ticket, outcome),
            Way::StandIn(way) => way.finish(outcome),
        }
    }
}

impl<R> Drop for Responder<R> {
    #[inline]
    fn drop(&mut self) {
        // An asker of this process is told by the drop of its answerer.
        match &self.way {
            Way::Nowhere | Way::Slot(_) => {}
            Way::Sink(_) | Way::Shared(..) => self.end(Err(unanswered(self.reached))),
            Way::StandIn(way) => way.give_up(unanswered(self.reached)),
        }
    }
}

/// What the asker of a request is told that nobody answered.
#[cold]
fn unanswered(reached: Verdict) -> Failure {
    let kind = if reached != Verdict::Executed {
        FailureKind::Stopped
    } else if crate::current::is_killing() {
        FailureKind::Killed
    } else if std::thread::panicking() {
        FailureKind::Panicked
    } else {
        FailureKind::NoAnswer
    };
    Failure::new(kind, reached)
}

impl<R> fmt::Debug for Responder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("reached", &self.reached)
            .finish_non_exhaustive()
    }
}

/// What asker and answerer share. The outcome is in it if, and only if, the answerer has gone.
struct State<R> {
    reached: Verdict,
    outcome: Option<Outcome<R>>,
    asker: Option<Asker>,
    rare: Option<Pooled<Rare>>,
}

/// What few asks have.
#[derive(Default)]
struct Rare {
    on_withdraw: Option<Hook>,
    /// Where a reply that comes after the withdrawal is counted.
    late: Option<Arc<Counters>>,
    /// Dropped as soon as one of the two has ended the ask.
    wait: Option<Wait>,
}

impl Rare {
    #[cold]
    fn pooled() -> Pooled<Self> {
        Pooled::new(Rare::default)
    }

    fn with(hook: Hook) -> Pooled<Self> {
        Pooled::new(|| Rare {
            on_withdraw: Some(hook),
            ..Rare::default()
        })
    }

    /// The answerer has come to its end; with an outcome that nobody took, if the asker had gone before.
    #[cold]
    fn end<R>(&mut self, unwanted: Option<Outcome<R>>) {
        if let (Some(late), Some(Ok(_))) = (self.late.take(), unwanted) {
            // G8: it reaches nobody and is counted; an unanswered withdrawal is no reply.
            late.count_drop(DropReason::LateReply);
        }
    }
}

/// Who waits, and on which arbiter: a reply from another arbiter reaches it together with all others of
/// the same turn.
struct Asker {
    waker: Waker,
    home: Option<Arc<Arbiter>>,
}

impl Asker {
    #[inline]
    fn wake(self) {
        match self.home {
            Some(home) if !home.is_here() => {
                home.send(Parcel::Wake(self.waker));
            }
            _ => self.waker.wake(),
        }
    }
}

/// The answerer's end of a slot: one pointer, as it lies in a mailbox. Dropping it answers with an error.
pub(crate) struct Answerer<R> {
    /// Until it has answered.
    shared: Option<Half<State<R>>>,
}

impl<R> Answerer<R> {
    /// An answerer and the slot where its one outcome appears.
    #[inline]
    pub(crate) fn slot() -> (Self, ReplySlot<R>) {
        Answerer::slot_of(Verdict::NotExecuted)
    }

    /// The same for a request that has come that far.
    #[inline]
    pub(crate) fn slot_of(reached: Verdict) -> (Self, ReplySlot<R>) {
        Answerer::slot_with(reached, None)
    }

    #[inline]
    fn slot_with(reached: Verdict, rare: Option<Pooled<Rare>>) -> (Self, ReplySlot<R>) {
        let (answerer, asker) = Half::pair(|| State {
            reached,
            outcome: None,
            asker: None,
            rare,
        });
        (
            Answerer {
                shared: Some(answerer),
            },
            ReplySlot {
                shared: Some(asker),
            },
        )
    }

    /// Marks how far the request has come. Answers whether the asker still waits.
    #[inline]
    pub(crate) fn progress(&self, verdict: Verdict) -> bool {
        self.shared.as_ref().is_some_and(|shared| {
            shared.with(|state, gone| {
                state.reached = verdict;
                !gone
            })
        })
    }

    fn on_withdraw(&self, withdraw: Hook) {
        let Some(shared) = &self.shared else { return };
        let mut hook = Some(withdraw);
        let gone = shared.with(|state, gone| {
            if !gone {
                let rare = state.rare.get_or_insert_with(Rare::pooled);
                std::mem::swap(&mut rare.on_withdraw, &mut hook);
            }
            gone
        });
        // Code of others runs outside the lock: the hook, if the asker has gone already, or the drop of
        // one that was replaced.
        if let (true, Some(hook)) = (gone, hook) {
            hook.call();
        }
    }

    /// The one end.
    #[inline]
    pub(crate) fn finish(mut self, outcome: Outcome<R>) {
        if let Some(shared) = self.shared.take() {
            finish(shared, || outcome);
        }
    }

    /// The same, for a reply: it is put where it belongs and nowhere before.
    #[inline]
    pub(crate) fn reply(mut self, reply: R) {
        if let Some(shared) = self.shared.take() {
            finish(shared, || Ok(reply));
        }
    }

    #[cold]
    fn give_up(&mut self) {
        if let Some(shared) = self.shared.take() {
            let reached = shared.with(|state, _| state.reached);
            finish(shared, || Err(unanswered(reached)));
        }
    }
}

impl<R> Drop for Answerer<R> {
    #[inline]
    fn drop(&mut self) {
        if self.shared.is_some() {
            self.give_up();
        }
    }
}

/// Leaves the outcome, and wakes who waits for it. What others wrote is dropped outside the lock.
#[inline(always)]
fn finish<R>(shared: Half<State<R>>, outcome: impl FnOnce() -> Outcome<R>) {
    let mut outcome = Some(outcome);
    let (asker, wait, rare) = shared.leave(|state, gone| {
        if !gone && let Some(outcome) = outcome.take() {
            state.outcome = Some(outcome());
        }
        let (wait, rare) = match &mut state.rare {
            None => (None, None),
            Some(rare) => {
                let wait = rare.wait.take();
                // Memory stays with who took it from its thread's pool: an asker that noted its wait.
                let taken_here = gone || rare.on_withdraw.is_some();
                (wait, taken_here.then(|| state.rare.take()).flatten())
            }
        };
        (state.asker.take(), wait, rare)
    });
    drop(wait);
    if let Some(asker) = asker {
        asker.wake();
    }
    if let Some(mut rare) = rare {
        rare.end(outcome.map(|outcome| outcome()));
    }
}

/// Where the one outcome of an ask appears: a future of it (G7). For those who write routes.
///
/// # Cancel safety
/// Dropping it withdraws the ask: if its handler has not begun, it never will.
pub struct ReplySlot<R> {
    /// Until the outcome was taken, or the ask withdrawn.
    shared: Option<Half<State<R>>>,
}

impl<R> ReplySlot<R> {
    /// The outcome, if it is here already.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Outcome<R>> {
        let outcome = self.shared.as_mut()?.alone(|state| state.outcome.take());
        if outcome.is_some() {
            self.shared = None;
        }
        outcome.flatten()
    }

    /// Notes that a handler waits here, until the ask has ended on either side; or that it doesn't any more.
    pub(crate) fn note_wait(&self, kept: Option<Wait>) {
        let Some(shared) = &self.shared else { return };
        let mut kept = kept;
        shared.with(|state, gone| {
            // Who has gone has taken it along.
            if !gone && (kept.is_some() || state.rare.is_some()) {
                let rare = state.rare.get_or_insert_with(Rare::pooled);
                std::mem::swap(&mut rare.wait, &mut kept);
            }
        });
        // Outside the lock.
        drop(kept);
    }

    /// Whether the outcome was taken, or the ask withdrawn.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.is_none()
    }

    /// Gives up waiting. The outcome if it is already here, else what is known about the request now:
    /// inside a process a request that was withdrawn before its handler began will never run (G9).
    /// A reply that comes later is counted there.
    pub(crate) fn withdraw(&mut self, late: Arc<Counters>) -> Result<Outcome<R>, Verdict> {
        self.end(Some(late))
    }

    fn end(&mut self, late: Option<Arc<Counters>>) -> Result<Outcome<R>, Verdict> {
        let Some(shared) = self.shared.take() else {
            return Err(Verdict::NotSent);
        };
        // Made outside the lock, and only where it may be needed.
        let noted = late.map(|late| {
            let mut rare = Rare::pooled();
            rare.late = Some(late);
            rare
        });
        let (end, asker, rare) = shared.leave(|state, _| match state.outcome.take() {
            Some(outcome) => (Ok(outcome), None, None),
            None => {
                let rare = std::mem::replace(&mut state.rare, noted);
                (Err(state.reached), state.asker.take(), rare)
            }
        });
        drop(asker);
        if let Some(hook) = rare.and_then(|mut rare| rare.on_withdraw.take()) {
            hook.call();
        }
        end
    }

    /// Leaves word with the answerer whom to wake. Answers the outcome if it came meanwhile.
    fn wait(&mut self, cx: &Context<'_>) -> Option<Outcome<R>> {
        let shared = self.shared.as_ref()?;
        let (outcome, before) = shared.with(|state, _| {
            if let Some(outcome) = state.outcome.take() {
                return (Some(outcome), None);
            }
            let same = state
                .asker
                .as_ref()
                .is_some_and(|asker| asker.waker.will_wake(cx.waker()));
            if same {
                return (None, None);
            }
            let asker = Asker {
                waker: cx.waker().clone(),
                home: driver::batches_wakes(),
            };
            if state.asker.is_none() {
                state.asker = Some(asker);
                return (None, None);
            }
            (None, state.asker.replace(asker))
        });
        // Dropping a waker can drop the task behind it, and what that holds; not under the lock.
        drop(before);
        if outcome.is_some() {
            self.shared = None;
        }
        outcome
    }
}

// The outcome in it is moved out whole.
impl<R> Unpin for ReplySlot<R> {}

impl<R> Future for ReplySlot<R> {
    type Output = Outcome<R>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.take() {
            return Poll::Ready(outcome);
        }
        match self.wait(cx) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl<R> Drop for ReplySlot<R> {
    #[inline]
    fn drop(&mut self) {
        if self.shared.is_some() {
            drop(self.end(None));
        }
    }
}

impl<R> fmt::Debug for ReplySlot<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplySlot").finish_non_exhaustive()
    }
}
