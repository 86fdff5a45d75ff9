//! The turns of an actor: start, take what is next, end (G1, G4, G5, G10, G11).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::body::{Body, Ended, Stage};
use super::letter::Use;
use super::{Cell, Owner};
use crate::actor::{Actor, StartFailure};
use crate::counters::DropReason;
use crate::current::{self, Inherited};
use crate::driver::{Run, Tools};
use crate::mailbox::{Control, Took};
use crate::panics::panic_text;
use crate::sync::HomeGuard;
use crate::watch::ExitReason;

/// How many messages an actor handles before others of its thread get a turn (G5).
const BUDGET: u32 = 256;

/// What a turn came to.
enum Step {
    Rest,
    Again,
    End(Ended),
}

impl<A: Actor> Run for Cell<A> {
    #[inline]
    fn note_queued(&self) -> bool {
        let was = self.queued.load(Ordering::Relaxed);
        self.queued.store(true, Ordering::Relaxed);
        !was
    }

    fn turn(self: Arc<Self>, tools: &mut Tools) -> Option<Arc<dyn Run>> {
        self.queued.store(false, Ordering::Relaxed);
        let Some(body) = self.body.enter() else {
            // Its turn is running further down the stack.
            return Some(self);
        };
        let home = &*self.home;
        home.in_hand().begin_turn(self.id.as_u64());
        let mut handled = 0;
        // One fence for the whole turn: which message was in hand is known.
        let step = catch_unwind(AssertUnwindSafe(|| self.run(&body, tools, &mut handled)));
        current::set_request(Inherited::NOTHING);
        home.count_handled(handled);
        home.in_hand().begin_turn(0);
        match step {
            Ok(Step::Rest) => None,
            Ok(Step::Again) => {
                drop(body);
                Some(self)
            }
            Ok(Step::End(ended)) => {
                self.finish(body, ended);
                None
            }
            Err(payload) => {
                let ended = self.fail(&body, panic_text(payload.as_ref()));
                // A handler whose first poll it was is still there.
                self.fenced(|| tools.buffer.clear());
                self.finish(body, ended);
                None
            }
        }
    }
}

impl<A: Actor> Cell<A> {
    /// Begins an incarnation. At home, with the body vacant.
    pub(crate) fn move_in(
        self: Arc<Self>,
        make: impl FnOnce() -> A,
        owner: Option<Box<dyn Owner>>,
    ) {
        let actor = match catch_unwind(AssertUnwindSafe(make)) {
            Ok(actor) => actor,
            Err(payload) => {
                self.system.counters().count_panic();
                let ended = Ended::StartFailed(panic_text(payload.as_ref()));
                return self.report(owner, ended);
            }
        };
        match self.body.enter() {
            Some(body) => body.move_in(&self, actor, owner),
            None => {
                return self.report(owner, Ended::StartFailed("not at home".to_owned()));
            }
        }
        if self.mailbox.wake() {
            self.schedule();
        }
    }

    /// Tells the owner of an end; an actor without one ends for good.
    fn report(&self, owner: Option<Box<dyn Owner>>, ended: Ended) {
        match owner {
            Some(owner) => owner.ended(ended),
            None => self.end(ended.into_reason()),
        }
    }

    #[inline]
    fn run(&self, body: &Body<A>, tools: &mut Tools, handled: &mut u32) -> Step {
        match body.stage.get() {
            Stage::Serving => self.serve(body, tools, handled),
            Stage::New => self.begin_starting(body, tools, handled),
            Stage::Starting => match self.go_on(body) {
                Some(step) => step,
                None => self.started(body, tools, handled, body.take_started()),
            },
            Stage::Stopping => self.go_on_stopping(body),
            Stage::Failed => {
                let text = body.take_failed().unwrap_or_default();
                Step::End(Ended::Ran(ExitReason::Failed(text)))
            }
            Stage::Vacant => {
                self.mailbox.vacate();
                Step::Rest
            }
        }
    }

    fn begin_starting(&self, body: &Body<A>, tools: &mut Tools, handled: &mut u32) -> Step {
        if self.mailbox.signal() == Some(Control::Kill) {
            return Step::End(Ended::Ran(ExitReason::Killed));
        }
        match body.begin_starting(&self.home, tools) {
            Poll::Ready(result) => self.started(body, tools, handled, result),
            Poll::Pending => match self.come_to_rest().or_else(|| self.go_on(body)) {
                Some(step) => step,
                None => self.started(body, tools, handled, body.take_started()),
            },
        }
    }

    /// `starting` has ended.
    fn started(
        &self,
        body: &Body<A>,
        tools: &mut Tools,
        handled: &mut u32,
        result: Result<(), StartFailure>,
    ) -> Step {
        match result {
            Ok(()) if self.mailbox.signal() == Some(Control::Fail) => {
                Step::End(Ended::StartFailed(body.take_failure().unwrap_or_default()))
            }
            Ok(()) => {
                body.stage.set(Stage::Serving);
                body.report_started();
                self.serve(body, tools, handled)
            }
            Err(failure) => Step::End(Ended::StartFailed(failure.to_string())),
        }
    }

    fn begin_stopping(&self, body: &Body<A>, tools: &mut Tools) -> Step {
        if body.begin_stopping(&self.home, tools).is_pending()
            && let Some(step) = self.come_to_rest()
        {
            return step;
        }
        self.go_on_stopping(body)
    }

    fn go_on_stopping(&self, body: &Body<A>) -> Step {
        self.go_on(body)
            .unwrap_or(Step::End(Ended::Ran(ExitReason::Stopped)))
    }

    /// Polls the handler that waits until it has ended (then `None`), or rests.
    fn go_on(&self, body: &Body<A>) -> Option<Step> {
        loop {
            if self.mailbox.signal() == Some(Control::Kill) {
                return Some(Step::End(Ended::Ran(ExitReason::Killed)));
            }
            if body.poll(&self.home).is_ready() {
                return None;
            }
            if let Some(step) = self.come_to_rest() {
                return Some(step);
            }
        }
    }

    /// A handler waits: the actor comes to rest until its waker fires, unless it has fired meanwhile.
    /// `None` if it is to be killed.
    fn come_to_rest(&self) -> Option<Step> {
        let rests = self
            .mailbox
            .rest(|| self.woken.swap(false, Ordering::AcqRel));
        if rests {
            return Some(Step::Rest);
        }
        // It woke itself: others first.
        (self.mailbox.signal() != Some(Control::Kill)).then_some(Step::Again)
    }

    #[inline]
    fn serve(&self, body: &Body<A>, tools: &mut Tools, handled: &mut u32) -> Step {
        if body.is_handling() {
            current::set_request(body.request.get());
            if let Some(step) = self.go_on(body) {
                return step;
            }
            *handled += 1;
        }
        // In the last batch of the turn: the mailbox schedules the actor anew for what comes behind it.
        let mut last = false;
        loop {
            if let Some(signal) = self.mailbox.signal() {
                return self.act_on(signal, body, tools);
            }
            if *handled >= BUDGET {
                return Step::Again;
            }
            match self.take_next(body, tools, &mut last) {
                Next::Done => *handled += 1,
                Next::Waits => {
                    if let Some(step) = self.come_to_rest().or_else(|| self.go_on(body)) {
                        return step;
                    }
                    *handled += 1;
                }
                Next::Rest => return Step::Rest,
                Next::Drained => return self.begin_stopping(body, tools),
                Next::Signal => {}
            }
        }
    }

    #[cold]
    fn act_on(&self, signal: Control, body: &Body<A>, tools: &mut Tools) -> Step {
        match signal {
            Control::Kill => Step::End(Ended::Ran(ExitReason::Killed)),
            Control::Fail => {
                let why = body.take_failure().unwrap_or_default();
                Step::End(Ended::Ran(ExitReason::Failed(why)))
            }
            Control::Stop => self.begin_stopping(body, tools),
        }
    }

    /// Handles the next message, if there is one, or begins to.
    #[inline]
    fn take_next(&self, body: &Body<A>, tools: &mut Tools, last: &mut bool) -> Next {
        let mut batch = body.batch.borrow_mut();
        if batch.is_empty() {
            if *last {
                batch.give_block();
                return Next::Rest;
            }
            match self.mailbox.take_or_rest(&mut batch) {
                Took::Batch => {}
                Took::LastBatch => *last = true,
                Took::Nothing => return Next::Rest,
                Took::Drained => return Next::Drained,
                Took::Signal => return Next::Signal,
            }
        }
        let with = Use::Begin(self, body, tools);
        // Its room is free before its handler runs.
        match batch.consume_first_after(with, |rest| self.mailbox.handled(rest)) {
            Some(Poll::Pending) => Next::Waits,
            _ => Next::Done,
        }
    }

    /// A panic came through the fence.
    #[cold]
    pub(super) fn fail(&self, body: &Body<A>, text: String) -> Ended {
        self.system.counters().count_panic();
        tracing::warn!(
            target: "callboard::actor",
            actor = %self.label(), message = self.home.in_hand().message(), panic = %text,
            "handler panicked"
        );
        match body.stage.get() {
            Stage::New | Stage::Starting | Stage::Vacant => Ended::StartFailed(text),
            Stage::Serving | Stage::Failed => Ended::Ran(ExitReason::Failed(text)),
            // The end was in order but for the farewell.
            Stage::Stopping => Ended::Ran(ExitReason::Stopped),
        }
    }

    /// Ends the incarnation: handler, tasks and actor are gone when its end is reported (G13). What is
    /// left of the batch goes back to the front of the mailbox.
    fn finish(&self, body: HomeGuard<'_, Body<A>>, ended: Ended) {
        if matches!(ended, Ended::Ran(ExitReason::Killed)) {
            current::killing(|| self.fenced(|| body.drop_handler()));
        } else {
            self.fenced(|| body.drop_handler());
        }
        let (actor, ctx) = body.move_out();
        if let Some(mut ctx) = ctx {
            ctx.cancel_tasks();
        }
        self.fenced(|| drop(actor));
        let mut batch = body.batch.take();
        self.mailbox.put_back(&mut batch);
        self.discard_all(&mut batch, DropReason::Stopped);
        self.mailbox.vacate();
        let owner = body.take_owner();
        drop(body);
        self.report(owner, ended);
    }

    /// At home: ends the incarnation there is, without ceremony.
    pub(super) fn vacate(&self) {
        if let Some(body) = self.body.enter()
            && body.stage.get() != Stage::Vacant
        {
            self.finish(body, Ended::Ran(ExitReason::Killed));
        }
    }

    /// Runs user code that may panic where nothing more can be made of it.
    pub(super) fn fenced(&self, code: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(code)).is_err() {
            self.system.counters().count_panic();
            tracing::warn!(target: "callboard::actor", actor = %self.label(), "a drop panicked");
        }
    }
}

/// What came of looking for the next message.
enum Next {
    /// It was handled.
    Done,
    /// Its handler waits for something.
    Waits,
    Rest,
    Drained,
    /// A signal came first.
    Signal,
}
