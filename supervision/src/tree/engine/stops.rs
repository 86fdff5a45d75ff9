//! Ending children: asked first, killed when they are late, in reverse order where the order counts (G11, G15).

use std::sync::Arc;

use callboard_core::clock::Instant;
use callboard_core::{ExitReason, Fault};

use super::orders::ChildErrorKind;
use super::slot::{Stage, Then};
use super::{Action, ChildId, Engine, KILL_GRACE};
use crate::tree::child::OnFrozen;
use crate::tree::event::{Happened, TreeEventKind};
use crate::tree::strategy::Strategy;

impl Engine {
    /// Asks the next of those that end in order, once the one after it has ended.
    pub(super) fn go_on_stopping(&mut self, now: Instant) {
        if self.rules.strategy == Strategy::Dynamic {
            // All alike: no order, and all at the same time.
            while let Some(id) = self.to_stop.pop_last() {
                self.ask_to_end(id, now);
            }
            return;
        }
        loop {
            if let Some(current) = self.stopping {
                let slot = self.slots.get(&current);
                if slot.is_some_and(|slot| slot.live && slot.stage != Stage::Stuck) {
                    return;
                }
                self.stopping = None;
            }
            let Some(id) = self.to_stop.pop_last() else {
                return;
            };
            self.stopping = Some(id);
            self.ask_to_end(id, now);
        }
    }

    /// Asks a child to end, if that was not done; or kills it, if it is one that isn't asked.
    pub(super) fn ask_to_end(&mut self, id: ChildId, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        if !slot.is_at_work() {
            return;
        }
        if slot.spec.is_killed_unasked() {
            return self.kill(id, now);
        }
        slot.stage = Stage::Stopping;
        let spec = Arc::clone(&slot.spec);
        let due = spec.shutdown().map(|span| now + span);
        self.actions.push(Action::Stop(spec));
        self.set_due(id, due);
    }

    pub(super) fn kill(&mut self, id: ChildId, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.live) else {
            return;
        };
        let asked = slot.stage == Stage::Stopping;
        slot.stage = Stage::Killed;
        let spec = Arc::clone(&slot.spec);
        self.actions.push(Action::Kill(spec));
        self.set_due(id, Some(now + KILL_GRACE));
        if asked {
            self.tell(id, |slot| Happened::of(slot, TreeEventKind::KilledLate));
        }
    }

    /// It can't be ended.
    pub(super) fn stuck(&mut self, id: ChildId) {
        let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.live) else {
            return;
        };
        if std::mem::replace(&mut slot.stage, Stage::Stuck) != Stage::Stuck {
            self.stuck += 1;
            self.set_due(id, None);
            self.tell(id, |slot| Happened::of(slot, TreeEventKind::Stuck));
        }
    }

    /// Kills a child at work; its end counts as a failure.
    pub(super) fn kill_as_failed(&mut self, id: ChildId, why: Fault, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        if slot.then == Then::Decide {
            slot.then = Then::Fail(why);
        }
        self.kill(id, now);
    }

    /// It lives and doesn't move.
    pub(super) fn frozen(&mut self, id: ChildId, what: String, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let at_work = slot.is_at_work();
        let on_frozen = slot.spec.care.on_frozen;
        let why = Fault::from(format!("no progress: {what}"));
        self.tell(id, |slot| {
            Happened::of(slot, TreeEventKind::NoProgress { what })
        });
        if at_work && on_frozen == OnFrozen::Restart {
            self.kill_as_failed(id, why, now);
        }
    }

    /// The supervisor ends, and all its children before it.
    pub(super) fn stop_all(&mut self) {
        self.sequence.clear();
        self.lingering.clear();
        let ids: Vec<_> = self.slots.keys().copied().collect();
        for id in ids {
            let Some(slot) = self.slots.get_mut(&id) else {
                continue;
            };
            if slot.live {
                if !matches!(slot.then, Then::Hold | Then::Remove) {
                    slot.then = Then::End;
                    self.refuse_waiters_of(id);
                }
                self.to_stop.insert(id);
            } else if matches!(slot.stage, Stage::Waiting | Stage::BackingOff { .. }) {
                slot.stage = Stage::Down { failed: false };
                self.set_due(id, None);
                self.refuse_waiters_of(id);
            }
        }
    }

    /// Who waits for a child to come up is told that it won't, since its supervisor ends. Who added it must not
    /// take it for one that never was there: it may even live.
    fn refuse_waiters_of(&mut self, id: ChildId) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let added = slot.first;
        let waiters = std::mem::take(&mut slot.waiters);
        self.answer_all(waiters, || match added {
            true => Err(ChildErrorKind::Failed(ExitReason::Stopped)),
            false => Err(ChildErrorKind::NotRunning),
        });
    }
}
