//! The hand-off: an ask runs an idle actor of the same thread on the asker's stack, in place of a hop
//! through the run queue.
//!
//! It happens only where nothing but time tells the difference: the actor is idle, nothing waits or is
//! signalled, it isn't on the stack already, and the stack has room. The handler lies in a buffer of the
//! actor's arbiter and is woken by the actor's own waker, so that dropping the ask never tears it; what the
//! request hands down is swapped in and out, and each level has a panic fence of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::Cell;
use super::body::{Body, Stage};
use super::letter::Answer;
use crate::actor::{Actor, Receives};
use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::current::{self, HandOff, Inherited};
use crate::driver::Tools;
use crate::envelope::Envelope;
use crate::error::{Failure, FailureKind};
use crate::message::Message;
use crate::panics::panic_fault;
use crate::responder::{Answerer, Responder};
use crate::route::Asked;
use crate::sync::HomeGuard;

/// An actor of this thread that waits for a message, entered to run one.
pub(crate) struct Idle<'a, A: Actor> {
    body: HomeGuard<'a, Body<A>>,
    level: HandOff,
}

impl<A: Actor> Cell<A> {
    /// Runs a message that has nothing beside it but what it hands down, if it can be handed off.
    #[inline]
    pub(crate) fn hand_off<M, How>(self: &Arc<Self>, message: M, request: Inherited) -> Asked<M>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let Some((body, level)) = self.idle_here(!A::NEEDS_RESPONDER) else {
            return Asked::NotYet(message);
        };
        let mut waits = None;
        let ran = self.run_on_this_stack(body, level, request, |body, tools| {
            if A::NEEDS_RESPONDER {
                let (answerer, slot) = Answerer::slot_of(Verdict::Executed);
                waits = Some(slot);
                let responder = Some(Responder::begun(answerer));
                let nobody = || Answer::to(None);
                return self.begin::<M, How>(body, tools, message, responder, nobody);
            }
            let asker = || {
                let (answerer, slot) = Answerer::slot_of(Verdict::Executed);
                waits = Some(slot);
                Answer::to(Some(Responder::begun(answerer)))
            };
            self.begin::<M, How>(body, tools, message, None, asker)
        });
        match (ran, waits) {
            (Ok((Poll::Ready(Some(reply)), _)), _) => Asked::Ended(Ok(reply)),
            (Ok((_, mut request)), Some(mut slot)) => match slot.take() {
                Some(outcome) => Asked::Ended(outcome),
                None => {
                    let deadline = request.deadline(self.system.clock());
                    Asked::Waits(slot, deadline.unwrap_or(Instant::FAR))
                }
            },
            (Err(text), _) => Asked::Ended(Err(panicked(text))),
            // A handler that answers by return has answered, or waits.
            (Ok(_), None) => {
                Asked::Ended(Err(Failure::new(FailureKind::NoAnswer, Verdict::Executed)))
            }
        }
    }

    /// Whether a message with everything that travels beside it can be handed off now.
    #[inline]
    pub(crate) fn idle_for_full<M, How>(&self) -> Option<Idle<'_, A>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        // Who hands on what it was asked doesn't wait.
        let awaited = current::take_asking() && !A::NEEDS_RESPONDER;
        let (body, level) = self.idle_here(awaited)?;
        Some(Idle { body, level })
    }

    /// Runs a message with everything that travels beside it.
    #[inline]
    pub(crate) fn hand_off_full<M, How>(
        self: &Arc<Self>,
        Idle { body, level }: Idle<'_, A>,
        envelope: Envelope<M>,
    ) where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let request = Inherited::of(&envelope.meta);
        // A panic has told the asker: its responder was dropped.
        let _ = self.run_on_this_stack(body, level, request, |body, tools| {
            self.begin_full::<M, How>(body, tools, envelope)
        });
    }

    /// Whether a message of this thread may run on its stack. Told is whether its sender waits for the handler.
    #[inline]
    fn idle_here(&self, awaited: bool) -> Option<(HomeGuard<'_, Body<A>>, HandOff)> {
        if !self.mailbox.is_quiet() || !self.home.hands_off() {
            return None;
        }
        // At home only.
        let body = self.body.enter()?;
        let idle = body.stage.get() == Stage::Serving
            && !body.is_handling()
            && !body.is_special()
            && body.batch.borrow().is_empty();
        if !idle {
            return None;
        }
        Some((body, HandOff::enter(self.id, awaited)?))
    }

    /// Runs a handler here and now, and sees to what it leaves. Answers with what it inherited, or with what
    /// its panic said.
    #[inline]
    fn run_on_this_stack<T>(
        self: &Arc<Self>,
        body: HomeGuard<'_, Body<A>>,
        level: HandOff,
        request: Inherited,
        handle: impl FnOnce(&Body<A>, &mut Tools) -> Poll<T>,
    ) -> Result<(Poll<T>, Inherited), String> {
        let home = &*self.home;
        let in_hand = home.in_hand().save();
        home.in_hand().begin_turn(self.id.as_u64());
        let before = current::set_request(request);
        let mut tools = Tools::new(home.take_buffer());
        let ran = catch_unwind(AssertUnwindSafe(|| handle(&body, &mut tools)));
        if ran.is_err() {
            // A handler whose first poll it was is still there.
            self.fenced(|| tools.buffer.clear());
        }
        home.give_buffer(tools.buffer);
        let mut request = current::set_request(before);
        drop(level);
        match ran {
            Ok(polled) => {
                home.in_hand().restore(in_hand);
                if polled.is_pending() {
                    request.deadline(self.system.clock());
                    body.request.set(request);
                    drop(body);
                    self.await_handler();
                } else {
                    home.count_handled(1);
                }
                Ok((polled, request))
            }
            Err(payload) => {
                let fault = panic_fault(payload.as_ref());
                let text = fault.to_string();
                self.fail(&body, fault.clone());
                home.in_hand().restore(in_hand);
                body.note_failed(fault);
                drop(body);
                if self.mailbox.wake() {
                    self.schedule();
                }
                Err(text)
            }
        }
    }

    /// From now on the handler runs at its own pace; its ask waits for the reply like any other.
    #[cold]
    fn await_handler(self: &Arc<Self>) {
        let woken = || self.woken.swap(false, Ordering::AcqRel);
        if self.mailbox.await_handler(woken) {
            self.schedule();
        }
    }
}

/// What the asker of a handler that panicked is told.
#[cold]
fn panicked(text: String) -> Failure {
    Failure::new(FailureKind::Panicked, Verdict::Executed).with_detail(text)
}
