//! What follows the end of a child (G13, G15, G16).

use std::sync::Arc;
use std::time::Duration;

use callboard_core::clock::Instant;
use callboard_core::{ExitReason, Fault};

use super::orders::ChildErrorKind;
use super::slot::{Stage, Then};
use super::{Action, ChildId, End, Engine, KILL_GRACE, Mode};
use crate::tree::child::{Decision, Restart};
use crate::tree::event::{Happened, TreeEventKind};
use crate::tree::strategy::{AutoShutdown, Strategy};

impl Engine {
    /// Its incarnation has ended, or never came up.
    pub(super) fn gone(&mut self, id: ChildId, reason: ExitReason, now: Instant) {
        let Some(then) = self.lay_down(id, &reason) else {
            return;
        };
        match then {
            Then::Decide => self.decide(id, reason, now),
            Then::Fail(fault) => self.decide(id, ExitReason::Failed(fault), now),
            Then::Group => self.rejoin(id, reason),
            Then::Again => self.start_in_turn(id, now),
            Then::Hold => self.hold(id),
            Then::Remove => self.remove(id, reason),
            Then::End => self.set_down(id, &reason),
        }
    }

    /// It had nothing to do. It stays as it is, until somebody starts it again.
    pub(super) fn ignored(&mut self, id: ChildId, now: Instant) {
        let asked = self.slots.get(&id).map(|slot| slot.then.clone());
        if asked != Some(Then::Decide) {
            return self.gone(id, ExitReason::Stopped, now);
        }
        self.lay_down(id, &ExitReason::Stopped);
        let Some(slot) = self.slots.get(&id) else {
            return;
        };
        if slot.spec.care.restart == Restart::Temporary {
            // It never was there: no end by itself, so no auto-shutdown follows.
            self.end_for_good(id, ExitReason::Stopped);
            return;
        }
        self.hold(id);
    }

    /// The supervisor is gone, and this is what is left of its children.
    pub(crate) fn note_end(&mut self, id: ChildId, life: u64, reason: ExitReason) {
        let slot = self.slots.get(&id);
        if !slot.is_some_and(|slot| slot.lives(life)) || self.lay_down(id, &reason).is_none() {
            return;
        }
        self.set_down(id, &reason);
        if self.slots.get(&id).is_some_and(|slot| slot.dynamic) {
            self.drop_slot(id, reason);
        }
    }

    /// The supervisor was killed: nothing is decided any more, and its children are killed.
    pub(crate) fn abandon(&mut self, now: Instant) {
        self.mode = Mode::Gone;
        self.stop_all();
        self.to_stop.clear();
        self.stopping = None;
        self.dues.clear();
        for (&id, slot) in self.slots.iter_mut().rev() {
            slot.due = None;
            if !slot.live {
                continue;
            }
            slot.then = Then::End;
            if slot.stage != Stage::Stuck {
                slot.stage = Stage::Killed;
                slot.due = Some(now + KILL_GRACE);
                self.dues.insert((now + KILL_GRACE, id));
            }
            self.actions.push(Action::Kill(Arc::clone(&slot.spec)));
        }
        self.refuse_waiters();
        self.drop_dynamic();
    }

    /// The supervisor is gone: calls those stuck that were killed with it and have not ended in time. When to look again,
    /// if there are others.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Instant> {
        if self.mode != Mode::Gone {
            return None;
        }
        self.pass_dues(now);
        self.dues.first().map(|(due, _)| *due)
    }

    /// The incarnation has ended in order: what was added to it goes.
    pub(crate) fn leave(&mut self) {
        self.mode = Mode::Gone;
        self.refuse_waiters();
        self.drop_dynamic();
    }

    /// No incarnation of the supervisor follows: its children's references end, the last one's first.
    pub(crate) fn close(&mut self, reason: &ExitReason) {
        let ids: Vec<_> = self.slots.keys().rev().copied().collect();
        for id in ids {
            let Some(slot) = self.slots.get_mut(&id) else {
                continue;
            };
            let closed = matches!(slot.stage, Stage::Ended { .. });
            if slot.live || closed {
                continue;
            }
            let last = slot.last.clone().unwrap_or_else(|| reason.clone());
            slot.stage = Stage::Ended {
                failed: matches!(slot.stage, Stage::Down { failed: true }),
            };
            let spec = Arc::clone(&slot.spec);
            self.actions.push(Action::Close(spec, last));
        }
        self.actions.push(Action::Closed);
    }

    /// Notes that it doesn't live any more. What is to follow; `None` if it didn't live.
    fn lay_down(&mut self, id: ChildId, reason: &ExitReason) -> Option<Then> {
        let slot = self.slots.get_mut(&id).filter(|slot| slot.live)?;
        slot.live = false;
        slot.unreachable = false;
        slot.last = Some(reason.clone());
        let then = std::mem::take(&mut slot.then);
        self.live -= 1;
        if slot.stage == Stage::Stuck {
            self.stuck -= 1;
        }
        self.set_due(id, None);
        self.to_stop.remove(&id);
        self.lingering.remove(&id);
        if self.stopping == Some(id) {
            // Its next life, if one begins at once, is nobody's turn.
            self.stopping = None;
        }
        Some(then)
    }

    /// It ended by itself.
    fn decide(&mut self, id: ChildId, reason: ExitReason, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        slot.last = Some(reason.clone());
        if slot.first {
            return self.refuse_first(id, reason);
        }
        let care = slot.spec.care;
        let wanted = match care.restart {
            Restart::Permanent => true,
            Restart::Transient => !reason.is_normal(),
            Restart::Temporary => false,
        };
        let decision = match &reason {
            ExitReason::Failed(fault) => care.decisions.of(fault.class()),
            _ => Decision::Restart,
        };
        match decision {
            _ if !wanted => self.retire(id, reason),
            Decision::Stop => self.retire(id, reason),
            Decision::Escalate => self.escalate(id, &reason),
            Decision::Resume | Decision::Restart => self.restart(id, &reason, now),
        }
    }

    /// A child that was added at run time and never came up: whoever added it is told, and that is all.
    fn refuse_first(&mut self, id: ChildId, reason: ExitReason) {
        self.tell(id, |slot| Happened::ended(slot, &reason));
        self.drop_slot(id, reason);
    }

    /// It ended by itself, and is not started again.
    fn retire(&mut self, id: ChildId, reason: ExitReason) {
        if self.end_for_good(id, reason) {
            self.significant_ended();
        }
    }

    /// Its reference ends. Whether it is significant.
    fn end_for_good(&mut self, id: ChildId, reason: ExitReason) -> bool {
        let Some(slot) = self.slots.get_mut(&id) else {
            return false;
        };
        slot.stage = Stage::Ended {
            failed: !reason.is_normal(),
        };
        let (significant, dynamic) = (slot.spec.care.significant, slot.dynamic);
        let spec = Arc::clone(&slot.spec);
        let waiters = std::mem::take(&mut slot.waiters);
        self.sequence.remove(&id);
        self.tell(id, |slot| Happened::ended(slot, &reason));
        self.answer_all(waiters, || Err(ChildErrorKind::Failed(reason.clone())));
        self.actions.push(Action::Close(spec, reason));
        if dynamic {
            self.slots.remove(&id);
        }
        significant
    }

    fn significant_ended(&mut self) {
        let mut significant = self.slots.values();
        let ends = match self.rules.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => {
                !significant.any(|slot| slot.spec.care.significant && slot.is_active())
            }
        };
        if ends {
            self.finish(End::AutoShutdown);
        }
    }

    /// It failed, and what follows is for the one above to decide.
    fn escalate(&mut self, id: ChildId, reason: &ExitReason) {
        let what = self.ended_or_not(id);
        // The class is said by whoever shows the chain, once.
        let why = match reason {
            ExitReason::Failed(fault) => {
                Fault::new(fault.class(), format!("{what}: failed: {}", fault.text()))
            }
            reason => format!("{what}: {reason}").into(),
        };
        self.give_up(id, why);
    }

    /// "child `x` (actor) ended", or that it did not start.
    fn ended_or_not(&self, id: ChildId) -> String {
        let Some(slot) = self.slots.get(&id) else {
            return String::new();
        };
        let (label, kind) = (&slot.spec.label, slot.spec.kind);
        let what = match slot.up_since {
            Some(_) => "ended",
            None => "did not start",
        };
        format!("child `{label}` ({kind}) {what}")
    }

    fn give_up(&mut self, id: ChildId, why: Fault) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.stage = Stage::Down { failed: true };
            let waiters = std::mem::take(&mut slot.waiters);
            let last = slot.last.clone().unwrap_or(ExitReason::Stopped);
            // The others may take long to end: who waits for this one needn't.
            self.answer_all(waiters, || Err(ChildErrorKind::Failed(last.clone())));
        }
        self.tell(id, |slot| Happened::gave_up(slot, &why));
        self.finish(End::GaveUp(why));
    }

    /// It is started again, after a while, with those that belong to it.
    fn restart(&mut self, id: ChildId, reason: &ExitReason, now: Instant) {
        if !self.window.restart(now) {
            let (max, period) = self.rules.intensity;
            let what = self.ended_or_not(id);
            let why = format!(
                "{what}, and more than {max} restarts within {period:?} are too many: {reason}"
            );
            return self.give_up(id, why.into());
        }
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let backoff = slot.spec.care.backoff.unwrap_or(self.rules.backoff);
        let ran = slot.up_since.map(|since| now.since(since));
        if ran.is_some_and(|ran| ran >= backoff.stable) {
            slot.attempt = 0;
        }
        let delay = backoff.delay(slot.attempt, &self.entropy);
        slot.attempt = slot.attempt.saturating_add(1);
        slot.restarts += 1;
        slot.stage = Stage::BackingOff { until: now + delay };
        self.tell(id, |slot| Happened::failed(slot, reason, delay));
        match self.rules.strategy {
            Strategy::OneForOne | Strategy::Dynamic => self.set_due(id, Some(now + delay)),
            Strategy::OneForAll => self.restart_group(id, ChildId(0), now, delay),
            Strategy::RestForOne => self.restart_group(id, id, now, delay),
        }
    }

    /// All from `first` on are ended, in reverse, and started again, in order.
    fn restart_group(&mut self, failed: ChildId, first: ChildId, now: Instant, delay: Duration) {
        self.group_until = self.group_until.max(now + delay);
        self.sequence.insert(failed);
        let Engine {
            slots,
            sequence,
            to_stop,
            lingering,
            ..
        } = self;
        for (&id, slot) in slots.range_mut(first..) {
            if id == failed {
                continue;
            }
            if slot.is_at_work() {
                slot.then = Then::Group;
                to_stop.insert(id);
            } else if slot.is_ending() {
                if matches!(slot.then, Then::Hold | Then::Remove) {
                    continue;
                }
                slot.then = Then::Group;
            } else if matches!(slot.stage, Stage::Waiting | Stage::BackingOff { .. }) {
                sequence.insert(id);
                continue;
            } else {
                continue;
            }
            sequence.insert(id);
            lingering.insert(id);
        }
    }

    /// It ended because its group is started again.
    fn rejoin(&mut self, id: ChildId, reason: ExitReason) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        if slot.spec.care.restart != Restart::Temporary {
            slot.stage = Stage::Waiting;
            return;
        }
        // Never started again, not even so. That is no end by itself: no auto-shutdown follows.
        self.end_for_good(id, reason);
    }

    pub(super) fn hold(&mut self, id: ChildId) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        slot.stage = Stage::Held;
        slot.first = false;
        let waiters = std::mem::take(&mut slot.waiters);
        self.sequence.remove(&id);
        self.tell(id, |slot| Happened::of(slot, TreeEventKind::Held));
        self.answer_all(waiters, || Ok(id));
    }

    pub(super) fn remove(&mut self, id: ChildId, reason: ExitReason) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let waiters = std::mem::take(&mut slot.waiters);
        self.tell(id, |slot| Happened::ended(slot, &reason));
        self.answer_all(waiters, || Ok(id));
        self.drop_slot(id, reason);
    }

    /// It has ended, and so does its supervisor.
    fn set_down(&mut self, id: ChildId, reason: &ExitReason) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.stage = Stage::Down {
                failed: !reason.is_normal(),
            };
        }
    }

    /// Forgets a child that doesn't live.
    fn drop_slot(&mut self, id: ChildId, reason: ExitReason) {
        self.sequence.remove(&id);
        self.set_due(id, None);
        let Some(slot) = self.slots.remove(&id) else {
            return;
        };
        self.answer_all(slot.waiters, || Err(ChildErrorKind::Failed(reason.clone())));
        self.actions.push(match slot.stage {
            Stage::Ended { .. } => Action::Forget(slot.spec),
            _ => Action::Close(slot.spec, reason),
        });
    }

    /// Forgets those that were added at run time.
    fn drop_dynamic(&mut self) {
        let gone = |slot: &super::Slot| slot.dynamic && !slot.live;
        let slots = self.slots.iter().rev().filter(|(_, slot)| gone(slot));
        let ids: Vec<_> = slots.map(|(id, _)| *id).collect();
        for id in ids {
            let last = self.slots.get(&id).and_then(|slot| slot.last.clone());
            self.drop_slot(id, last.unwrap_or(ExitReason::Stopped));
        }
    }
}
