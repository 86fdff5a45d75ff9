//! The turns of an actor: start, take what is next, end (G1, G4, G5, G10, G11); and the hand-off, which
//! runs one message on its asker's stack.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::body::{Body, Ended, Stage};
use super::letter::Use;
use super::{Cell, Owner};
use crate::actor::{Actor, Receives};
use crate::counters::DropReason;
use crate::current::{self, Inherited};
use crate::driver::{Run, Turned};
use crate::envelope::Envelope;
use crate::mailbox::{Control, Took};
use crate::message::Message;
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
    fn turn(self: Arc<Self>) -> Turned {
        let Some(body) = self.body.enter() else {
            return Turned::Again;
        };
        let before = current::set_request(Inherited::default());
        let mut handled = 0;
        // One fence for the whole turn: which message was in hand is known.
        let step = catch_unwind(AssertUnwindSafe(|| self.run(&body, &mut handled)));
        current::set_request(before);
        self.home.count_handled(u64::from(handled));
        match step {
            Ok(Step::Rest) => Turned::Rests,
            Ok(Step::Again) => Turned::Again,
            Ok(Step::End(ended)) => {
                self.finish(body, ended);
                Turned::Rests
            }
            Err(payload) => {
                let text = panic_text(payload.as_ref());
                let ended = self.fail(&body, text);
                self.finish(body, ended);
                Turned::Rests
            }
        }
    }
}

impl<A: Actor> Cell<A> {
    /// Begins an incarnation. At home, with the body vacant.
    pub(crate) fn begin(self: Arc<Self>, make: impl FnOnce() -> A, owner: Option<Box<dyn Owner>>) {
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
        self.woken.store(true, Ordering::Relaxed);
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
    fn run(&self, body: &Body<A>, handled: &mut u32) -> Step {
        match body.stage.get() {
            Stage::Vacant => {
                self.mailbox.vacate();
                Step::Rest
            }
            Stage::Starting => self.go_on_starting(body, handled),
            Stage::Serving => self.serve(body, handled),
            Stage::Stopping => self.go_on_stopping(body),
        }
    }

    fn go_on_starting(&self, body: &Body<A>, handled: &mut u32) -> Step {
        if let Some(step) = self.wait_for_handler(body) {
            return step;
        }
        match body.take_started() {
            Ok(()) if self.mailbox.signal() == Some(Control::Fail) => {
                Step::End(Ended::StartFailed(body.take_failure().unwrap_or_default()))
            }
            Ok(()) => {
                body.stage.set(Stage::Serving);
                body.report_started();
                self.serve(body, handled)
            }
            Err(failure) => Step::End(Ended::StartFailed(failure.to_string())),
        }
    }

    fn go_on_stopping(&self, body: &Body<A>) -> Step {
        self.wait_for_handler(body)
            .unwrap_or(Step::End(Ended::Ran(ExitReason::Stopped)))
    }

    fn begin_stopping(&self, body: &Body<A>) -> Step {
        body.begin_stopping(ExitReason::Stopped);
        self.go_on_stopping(body)
    }

    /// Polls the handler that runs. `None` when it has ended, or there is none.
    #[inline]
    fn wait_for_handler(&self, body: &Body<A>) -> Option<Step> {
        loop {
            if self.mailbox.signal() == Some(Control::Kill) {
                return Some(Step::End(Ended::Ran(ExitReason::Killed)));
            }
            if body.poll().is_ready() {
                return None;
            }
            // Come to rest until its waker fires, unless it has fired meanwhile.
            if self
                .mailbox
                .rest(|| self.woken.swap(false, Ordering::AcqRel))
            {
                return Some(Step::Rest);
            }
            if self.mailbox.signal() != Some(Control::Kill) {
                // It woke itself: others first.
                return Some(Step::Again);
            }
        }
    }

    #[inline]
    fn serve(&self, body: &Body<A>, handled: &mut u32) -> Step {
        if let Some(text) = body.failed.take() {
            return Step::End(Ended::Ran(ExitReason::Failed(text)));
        }
        if body.is_handling() {
            current::set_request(body.request.get());
            if let Some(step) = self.wait_for_handler(body) {
                return step;
            }
            *handled += 1;
        }
        loop {
            match self.mailbox.signal() {
                None => {}
                Some(Control::Kill) => return Step::End(Ended::Ran(ExitReason::Killed)),
                Some(Control::Fail) => {
                    let why = body.take_failure().unwrap_or_default();
                    return Step::End(Ended::Ran(ExitReason::Failed(why)));
                }
                Some(Control::Stop) => return self.begin_stopping(body),
            }
            if *handled >= BUDGET {
                return Step::Again;
            }
            match self.take_next(body) {
                Took::Batch => {}
                Took::Nothing => return Step::Rest,
                Took::Drained => return self.begin_stopping(body),
                Took::Signal => continue,
            }
            if body.is_handling() {
                current::set_request(body.request.get());
                if body.poll().is_pending()
                    && let Some(step) = self.wait_for_handler(body)
                {
                    return step;
                }
            }
            *handled += 1;
        }
    }

    /// Begins the next message, if there is one.
    #[inline]
    fn take_next(&self, body: &Body<A>) -> Took {
        let mut batch = body.batch.borrow_mut();
        if batch.is_empty() {
            let took = self.mailbox.take_or_rest(&mut batch);
            if took != Took::Batch {
                return took;
            }
        }
        batch.consume_first(Use::Begin(self, body));
        self.mailbox.handled(&batch);
        Took::Batch
    }

    /// A panic came through the fence.
    #[cold]
    fn fail(&self, body: &Body<A>, text: String) -> Ended {
        self.system.counters().count_panic();
        tracing::warn!(
            target: "callboard::actor",
            actor = %self.label(), message = body.message_type.get(), panic = %text,
            "handler panicked"
        );
        match body.stage.get() {
            Stage::Starting | Stage::Vacant => Ended::StartFailed(text),
            Stage::Serving => Ended::Ran(ExitReason::Failed(text)),
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
    fn fenced(&self, code: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(code)).is_err() {
            self.system.counters().count_panic();
            tracing::warn!(target: "callboard::actor", actor = %self.label(), "a drop panicked");
        }
    }

    /// Runs a message on its asker's stack, in place of a hop through the run queue: only if the actor is
    /// idle, nothing waits or is signalled, it isn't on the stack already, and the stack has room. Gives
    /// the envelope back if not.
    #[inline]
    pub(crate) fn hand_off<M, How>(
        self: &Arc<Self>,
        envelope: Envelope<M>,
    ) -> Result<(), Envelope<M>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        if !self.home.is_here() || !self.mailbox.is_quiet() || !self.system.hands_off() {
            return Err(envelope);
        }
        let Some(body) = self.body.enter() else {
            return Err(envelope);
        };
        let idle = body.stage.get() == Stage::Serving
            && !body.is_handling()
            && body.batch.borrow().is_empty();
        if !idle {
            return Err(envelope);
        }
        let Some(_level) = current::HandOff::enter() else {
            return Err(envelope);
        };
        let before = current::set_request(Inherited::of(&envelope.meta));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            body.begin_full::<M, How>(self, envelope);
            body.poll()
        }));
        current::set_request(before);
        match polled {
            Ok(Poll::Ready(())) => self.home.count_handled(1),
            Ok(Poll::Pending) => {
                // From now on it runs at its own pace; this ask waits for the reply like any other.
                drop(body);
                if self
                    .mailbox
                    .await_handler(|| self.woken.swap(false, Ordering::AcqRel))
                {
                    self.schedule();
                }
            }
            Err(payload) => {
                let text = panic_text(payload.as_ref());
                self.fail(&body, text.clone());
                body.failed.set(Some(text));
                drop(body);
                if self.mailbox.wake() {
                    self.schedule();
                }
            }
        }
        Ok(())
    }
}
