//! What is asked of a supervisor while it runs: children added, held, started again, removed.

use std::fmt;
use std::sync::Arc;

use callboard_core::ExitReason;
use callboard_core::clock::Instant;
use futures::channel::oneshot;

use super::slot::{Slot, Stage, Then};
use super::{Action, ChildId, Engine};
use crate::tree::child::Spec;

/// Who waits for what becomes of an order.
pub(crate) type Waiter = oneshot::Sender<Result<ChildId, ChildErrorKind>>;

/// An answer on its way.
pub(crate) struct Answer {
    to: Waiter,
    says: Result<ChildId, ChildErrorKind>,
}

impl Answer {
    pub(crate) fn send(self) {
        // Who asked may have gone.
        let _ = self.to.send(self.says);
    }
}

/// What is asked.
pub(crate) enum Order {
    Add(Arc<Spec>),
    Stop(ChildId),
    Restart(ChildId),
    Remove(ChildId),
}

/// Why a supervisor could not do what was asked about a child.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildErrorKind {
    /// The supervisor does not run, or is about to end.
    NotRunning,
    /// It has as many children as it [may have](crate::SupervisorBuilder::max_children).
    TooMany(usize),
    /// It has no such child, or has it no more.
    Unknown(ChildId),
    /// The child has ended for good, and its reference with it: add it anew.
    Ended(ChildId),
    /// The child did not come up, or has ended meanwhile, for this reason.
    Failed(ExitReason),
    /// Somebody else had it stopped or removed meanwhile.
    Overtaken(ChildId),
    /// The child is a supervisor that can't be made.
    Invalid(crate::TreeError),
}

impl fmt::Display for ChildErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChildErrorKind::NotRunning => f.write_str("it does not run"),
            ChildErrorKind::TooMany(max) => write!(f, "it has {max} children, as many as it may"),
            ChildErrorKind::Unknown(id) => write!(f, "it has no child {id}"),
            ChildErrorKind::Ended(id) => write!(f, "child {id} has ended for good"),
            ChildErrorKind::Failed(reason) => write!(f, "the child {reason}"),
            ChildErrorKind::Overtaken(id) => write!(f, "child {id} was stopped meanwhile"),
            ChildErrorKind::Invalid(error) => error.fmt(f),
        }
    }
}

impl Engine {
    pub(crate) fn order(&mut self, order: Order, waiter: Waiter, now: Instant) {
        if self.end.is_some() {
            return self.refuse(order, waiter);
        }
        match order {
            Order::Add(spec) => self.add_now(spec, waiter, now),
            Order::Stop(id) => self.end_child(id, Then::Hold, waiter, now),
            Order::Remove(id) => self.end_child(id, Then::Remove, waiter, now),
            Order::Restart(id) => self.start_again(id, waiter, now),
        }
    }

    /// Refuses what was asked and not yet heard.
    pub(crate) fn refuse(&mut self, order: Order, waiter: Waiter) {
        self.refuse_for(order, waiter, ChildErrorKind::NotRunning);
    }

    pub(crate) fn refuse_for(&mut self, order: Order, waiter: Waiter, why: ChildErrorKind) {
        self.forget(order);
        self.answer(waiter, Err(why));
    }

    /// Who asked may have gone, and with it all others who know the child.
    fn forget(&mut self, order: Order) {
        if let Order::Add(spec) = order {
            self.actions.push(Action::Forget(spec));
        }
    }

    fn add_now(&mut self, spec: Arc<Spec>, waiter: Waiter, now: Instant) {
        let max = self.rules.max_children;
        if self.slots.len() >= max {
            self.actions.push(Action::Forget(spec));
            return self.answer(waiter, Err(ChildErrorKind::TooMany(max)));
        }
        let id = self.add(spec);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.dynamic = true;
            slot.first = true;
            slot.waiters.push(waiter);
        }
        self.start_in_turn(id, now);
    }

    /// Ends a child that is to be held, or removed.
    fn end_child(&mut self, id: ChildId, then: Then, waiter: Waiter, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return self.answer(waiter, Err(ChildErrorKind::Unknown(id)));
        };
        // Who waited for it to come up waits for nothing.
        let earlier = std::mem::take(&mut slot.waiters);
        let stays = slot.then == Then::Remove;
        let earlier = if slot.is_ending() && matches!(slot.then, Then::Hold | Then::Remove) {
            slot.waiters = earlier;
            Vec::new()
        } else {
            earlier
        };
        let (live, ended) = (slot.live, matches!(slot.stage, Stage::Ended { .. }));
        let last = slot.last.clone();
        if live {
            slot.waiters.push(waiter);
            if !stays {
                slot.then = then;
            }
            self.to_stop.remove(&id);
            self.sequence.remove(&id);
            self.ask_to_end(id, now);
        } else {
            self.set_due(id, None);
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.waiters.push(waiter);
            }
            match then {
                Then::Remove => self.remove(id, last.unwrap_or(ExitReason::Stopped)),
                _ if ended => self.answer_ended(id),
                _ => self.hold(id),
            }
        }
        self.answer_all(earlier, || Err(ChildErrorKind::Overtaken(id)));
    }

    /// It is held already, in a way.
    fn answer_ended(&mut self, id: ChildId) {
        if let Some(slot) = self.slots.get_mut(&id) {
            let waiters = std::mem::take(&mut slot.waiters);
            self.answer_all(waiters, || Ok(id));
        }
    }

    fn start_again(&mut self, id: ChildId, waiter: Waiter, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return self.answer(waiter, Err(ChildErrorKind::Unknown(id)));
        };
        match (&slot.stage, &slot.then) {
            (Stage::Ended { .. } | Stage::Down { .. }, _) => {
                return self.answer(waiter, Err(ChildErrorKind::Ended(id)));
            }
            (_, Then::Remove) if slot.live => {
                return self.answer(waiter, Err(ChildErrorKind::Overtaken(id)));
            }
            _ => {}
        }
        let (live, in_group) = (slot.live, slot.then == Then::Group);
        if live && slot.then == Then::Hold {
            let earlier = std::mem::take(&mut slot.waiters);
            slot.waiters.push(waiter);
            slot.then = Then::Again;
            return self.answer_all(earlier, || Err(ChildErrorKind::Overtaken(id)));
        }
        slot.waiters.push(waiter);
        if live {
            // With its group it is started again anyway.
            if !in_group {
                slot.then = Then::Again;
                self.ask_to_end(id, now);
            }
        } else if self.sequence.contains(&id) {
            // No back-off of its own any more.
            slot.stage = Stage::Waiting;
        } else {
            self.set_due(id, None);
            self.start_in_turn(id, now);
        }
    }

    pub(super) fn answer(&mut self, to: Waiter, says: Result<ChildId, ChildErrorKind>) {
        self.actions.push(Action::Answer(Answer { to, says }));
    }

    pub(super) fn answer_all(
        &mut self,
        waiters: Vec<Waiter>,
        says: impl Fn() -> Result<ChildId, ChildErrorKind>,
    ) {
        for waiter in waiters {
            self.answer(waiter, says());
        }
    }

    /// Whoever waits still is told that nothing more comes.
    pub(super) fn refuse_waiters(&mut self) {
        let waiting = |slot: &mut Box<Slot>| std::mem::take(&mut slot.waiters);
        let waiters: Vec<_> = self.slots.values_mut().flat_map(waiting).collect();
        self.answer_all(waiters, || Err(ChildErrorKind::NotRunning));
    }
}
