//! The turns of an actor: start, take what is next, end (G1, G4, G5, G10, G11).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Wake};

use futures::future::{AbortHandle, Abortable};
use parking_lot::Mutex;

use super::body::{Body, Ended, Stage};
use super::letter::{ActorKind, Use};
use super::{AnyCell, Cell, Owner};
use crate::actor::{Actor, LeftBehind, StartFailure};
use crate::context::{Context, Rest};
use crate::counters::DropReason;
use crate::current::{self, Inherited};
use crate::driver::{Parcel, Run, Tools};
use crate::fault::Fault;
use crate::id::Incarnation;
use crate::mailbox::records::Records;
use crate::mailbox::{Control, Took};
use crate::panics::panic_fault;
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
        current::begin_turn(self.id);
        let mut handled = 0;
        // One fence for the whole turn: which message was in hand is known.
        let step = catch_unwind(AssertUnwindSafe(|| self.run(&body, tools, &mut handled)));
        current::set_request(Inherited::NOTHING);
        home.count_handled(handled);
        home.in_hand().begin_turn(0);
        current::end_turn();
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
                let ended = self.fail(&body, panic_fault(payload.as_ref()));
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
                let ended = Ended::StartFailed(panic_fault(payload.as_ref()));
                return self.report(owner, ended);
            }
        };
        match self.body.enter() {
            Some(body) => body.move_in(&self, actor, owner),
            None => {
                return self.report(owner, Ended::StartFailed("not at home".into()));
            }
        }
        if self.mailbox.wake() {
            self.schedule();
        }
    }

    /// Tells the owner of an end; an actor without one ends for good.
    pub(crate) fn report(&self, owner: Option<Box<dyn Owner>>, ended: Ended) {
        self.incarnation_ended(&ended, owner.is_some());
        match owner {
            Some(owner) => self.fenced(|| owner.ended(ended)),
            None => self.end(ended.into_reason()),
        }
    }

    #[inline]
    fn run(self: &Arc<Self>, body: &Body<A>, tools: &mut Tools, handled: &mut u32) -> Step {
        match body.stage.get() {
            Stage::Serving => self.serve(body, tools, handled),
            Stage::New => self.begin_starting(body, tools, handled),
            Stage::Starting => self.go_on_starting(body, tools, handled),
            Stage::Up => match self.go_on(body) {
                Some(step) => step,
                None => self.open(body, tools, handled),
            },
            Stage::Limited => {
                current::set_request(body.request.get());
                match self.go_on(body) {
                    Some(step) => step,
                    None => {
                        *handled += 1;
                        self.open(body, tools, handled)
                    }
                }
            }
            Stage::Stopping => self.go_on_stopping(body),
            Stage::Failed => {
                let fault = body.take_failed().unwrap_or_else(|| "failed".into());
                Step::End(Ended::Ran(ExitReason::Failed(fault)))
            }
            Stage::Vacant => {
                self.mailbox.vacate();
                Step::Rest
            }
        }
    }

    fn begin_starting(
        self: &Arc<Self>,
        body: &Body<A>,
        tools: &mut Tools,
        handled: &mut u32,
    ) -> Step {
        if self.mailbox.signal() == Some(Control::Kill) {
            return Step::End(Ended::Ran(ExitReason::Killed));
        }
        let again = self.incarnation() > Incarnation::FIRST;
        let left = again.then(|| LeftBehind::new(self.take_left()));
        match body.begin_starting(&self.home, tools, left) {
            Poll::Ready(result) => self.started(body, tools, handled, result),
            Poll::Pending => {
                self.limit_start(body);
                match self.come_to_rest() {
                    Some(step) => step,
                    None => self.go_on_starting(body, tools, handled),
                }
            }
        }
    }

    fn go_on_starting(&self, body: &Body<A>, tools: &mut Tools, handled: &mut u32) -> Step {
        if let Some(limit) = body.take_overdue() {
            let why = format!("`starting` took longer than {limit:?}");
            return Step::End(Ended::StartFailed(why.into()));
        }
        match self.go_on(body) {
            Some(step) => step,
            None => self.started(body, tools, handled, body.take_started()),
        }
    }

    /// `starting` has to wait: from now on somebody watches over the time it takes.
    #[cold]
    fn limit_start(self: &Arc<Self>, body: &Body<A>) {
        let Some(limit) = self.start_limit() else {
            return;
        };
        let due = self.system.clock().sleep(limit);
        let cell = Arc::downgrade(self);
        let (handle, registration) = AbortHandle::new_pair();
        body.limit_start(handle);
        let watch = Abortable::new(due, registration);
        self.home.spawn_here(Box::pin(async move {
            if watch.await.is_ok()
                && let Some(cell) = cell.upgrade()
            {
                if let Some(body) = cell.body.enter() {
                    body.note_overdue(limit);
                }
                cell.wake_by_ref();
            }
        }));
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
            Ok(()) => {
                if self.mailbox.signal() == Some(Control::Fail)
                    && let Some(fault) = self.failure(body)
                {
                    return Step::End(Ended::StartFailed(fault));
                }
                self.incarnation_started();
                body.report_started(|owner| self.fenced(|| owner.started()));
                self.started_begins();
                if body.begin_up(&self.home, tools).is_pending()
                    && let Some(step) = self.come_to_rest().or_else(|| self.go_on(body))
                {
                    return step;
                }
                self.open(body, tools, handled)
            }
            Err(failure) => Step::End(match failure.into_fault() {
                Some(fault) => Ended::StartFailed(fault),
                None => Ended::Ignored,
            }),
        }
    }

    /// From now on it handles messages; nothing is in hand.
    fn open(&self, body: &Body<A>, tools: &mut Tools, handled: &mut u32) -> Step {
        self.progress_ends();
        body.stage.set(Stage::Serving);
        self.serve(body, tools, handled)
    }

    fn begin_stopping(&self, body: &Body<A>, tools: &mut Tools, reason: ExitReason) -> Step {
        if body.begin_stopping(&self.home, tools, reason).is_pending()
            && let Some(step) = self.come_to_rest()
        {
            return step;
        }
        self.go_on_stopping(body)
    }

    fn go_on_stopping(&self, body: &Body<A>) -> Step {
        self.go_on(body)
            .unwrap_or_else(|| Step::End(Ended::Ran(body.take_ending())))
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
            if let Some(signal) = self.mailbox.signal()
                && let Some(step) = self.act_on(signal, body, tools)
            {
                return step;
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
                // What was stashed is queued as well.
                Next::Drained if self.unstash(body, Context::stash_to_drain) => {}
                Next::Drained => return self.begin_stopping(body, tools, ExitReason::Stopped),
                Next::Signal => {}
            }
        }
    }

    /// Acts on a signal. `None` if the actor goes on.
    #[cold]
    fn act_on(&self, signal: Control, body: &Body<A>, tools: &mut Tools) -> Option<Step> {
        match signal {
            Control::Kill => Some(Step::End(Ended::Ran(ExitReason::Killed))),
            Control::Fail => {
                let fault = self.failure(body)?;
                Some(self.begin_stopping(body, tools, ExitReason::Failed(fault)))
            }
            Control::Stop => Some(self.begin_stopping(body, tools, ExitReason::Stopped)),
            Control::Unstash => {
                self.mailbox.clear_unstash();
                self.unstash(body, Context::take_stash);
                None
            }
        }
    }

    /// Why it is to fail: what the actor said, or what somebody else did. `None` if its owner has it go on.
    #[cold]
    fn failure(&self, body: &Body<A>) -> Option<Fault> {
        // First the signal: what comes from outside from now on sends another.
        self.mailbox.clear_fail();
        let own = body.take_failure();
        let outer = self.take_outer_failure().map(Fault::from);
        let mut faults = own.into_iter().chain(outer);
        faults.find(|fault| {
            let mut resumes = false;
            self.fenced(|| resumes = body.resumes(fault));
            !resumes
        })
    }

    /// Puts what was stashed in front of what is left of the batch. Answers whether there was anything.
    #[cold]
    fn unstash(&self, body: &Body<A>, take: TakeStash<A>) -> bool {
        let stashed = body.with_ctx(take).flatten();
        let Some(mut stashed) = stashed.filter(|stashed| !stashed.is_empty()) else {
            return false;
        };
        let mut batch = body.batch.borrow_mut();
        while batch.move_first_to(&mut stashed) {}
        std::mem::swap(&mut *batch, &mut stashed);
        true
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
    pub(super) fn fail(&self, body: &Body<A>, fault: Fault) -> Ended {
        body.crash_in_hand();
        self.system.counters().count_panic();
        tracing::warn!(
            target: "callboard::actor",
            actor = %self.label(), message = self.home.in_hand().message(), panic = %fault,
            "handler panicked"
        );
        match body.stage.get() {
            Stage::New | Stage::Starting | Stage::Vacant => Ended::StartFailed(fault),
            Stage::Up | Stage::Serving | Stage::Limited | Stage::Failed => {
                Ended::Ran(ExitReason::Failed(fault))
            }
            // The end was in order but for the farewell.
            Stage::Stopping => Ended::Ran(body.take_ending()),
        }
    }

    /// Ends the incarnation: handler, tasks, children and actor are gone when its end is reported (G13). The
    /// message in hand, if it is replayed (G14), what was stashed and what is left of the batch go back to the
    /// front of the mailbox.
    fn finish(self: &Arc<Self>, body: HomeGuard<'_, Body<A>>, ended: Ended) {
        self.progress_ends();
        self.set_progress_owner(|| None);
        let mut front = Records::new();
        if let Some(in_hand) = body.take_in_hand() {
            self.fenced(|| in_hand.offer_again(self, &ended, &mut front));
        }
        if matches!(ended, Ended::Ran(ExitReason::Killed)) {
            current::killing(|| self.fenced(|| body.drop_handler()));
        } else {
            self.fenced(|| body.drop_handler());
        }
        let (actor, ctx) = body.move_out();
        let mut rest = Rest::default();
        if let Some(mut ctx) = ctx {
            rest = ctx.end_incarnation();
            for watching in rest.watches {
                self.fenced(|| watching.cancel());
            }
            self.fenced(|| drop(ctx));
        }
        self.fenced(|| drop(actor));
        let mut batch = body.batch.take();
        if let Some(mut stashed) = rest.stashed {
            while batch.move_first_to(&mut stashed) {}
            batch = stashed;
        }
        if !front.is_empty() {
            while batch.move_first_to(&mut front) {}
            batch = front;
        }
        self.mailbox.put_back(&mut batch);
        self.discard_all(&mut batch, DropReason::Stopped);
        self.mailbox.vacate();
        let owner = body.take_owner();
        drop(body);
        if owner.is_some() && matches!(ended, Ended::Ran(ExitReason::Stopped)) {
            self.mailbox.drained();
        }
        if let Some(left) = rest.left {
            self.keep_left(left, owner.is_some());
        }
        if rest.children.is_empty() {
            self.report(owner, ended);
        } else {
            self.report_after(&rest.children, owner, ended);
        }
    }

    /// Kills the children, and reports the end when the last of them has ended.
    #[cold]
    fn report_after(
        self: &Arc<Self>,
        children: &[Arc<dyn AnyCell>],
        owner: Option<Box<dyn Owner>>,
        ended: Ended,
    ) {
        let last = Arc::new(LateReport {
            cell: Arc::clone(self),
            report: Mutex::new(Some((owner, ended))),
        });
        for child in children.iter().rev() {
            let last = Arc::clone(&last);
            Arc::clone(child).on_end(Box::new(move |_| drop(last)));
            Arc::clone(child).send_signal(Control::Kill);
        }
    }

    /// At home: ends the incarnation there is, without ceremony.
    pub(super) fn vacate(self: &Arc<Self>) {
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
            tracing::warn!(target: "callboard::actor", actor = %self.label(), "code of others panicked");
        }
    }
}

/// The report of an end that waits for children: whoever drops it last sends it home.
struct LateReport<A: Actor> {
    cell: Arc<Cell<A>>,
    report: Mutex<Option<Report>>,
}

/// Who is told of an end, if anybody, and of which.
type Report = (Option<Box<dyn Owner>>, Ended);

impl<A: Actor> Drop for LateReport<A> {
    fn drop(&mut self) {
        if let Some(report) = self.report.get_mut().take() {
            // From its own turn, and not from the end of the child: else a long line of children would end on
            // one stack.
            let made = MadeReport {
                cell: Arc::clone(&self.cell),
                report: Some(report),
            };
            let call = move || drop(made);
            self.cell.home.send(Parcel::Call(Box::new(call)));
        }
    }
}

/// The same, on its way home; should the arbiter have ended, being dropped is all that happens.
struct MadeReport<A: Actor> {
    cell: Arc<Cell<A>>,
    report: Option<Report>,
}

impl<A: Actor> Drop for MadeReport<A> {
    fn drop(&mut self) {
        if let Some((owner, ended)) = self.report.take() {
            self.cell.report(owner, ended);
        }
    }
}

/// Which of what was stashed is to be handled now.
type TakeStash<A> = fn(&mut Context<A>) -> Option<Records<ActorKind<A>>>;

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
