//! Starting children: in order, one at a time, each once the one before is up (G15).

use callboard_core::clock::Instant;

use super::slot::{Stage, Then};
use super::{Action, ChildId, Engine, Mode};
use crate::tree::event::Happened;

impl Engine {
    /// Starts the next of the sequence, if its time has come.
    pub(super) fn go_on_starting(&mut self, now: Instant) {
        if self.mode == Mode::Ending || self.mode == Mode::Gone {
            return;
        }
        while self.lingering.is_empty()
            && let Some(&id) = self.sequence.first()
        {
            match self.slots.get(&id).map(|slot| slot.stage) {
                Some(Stage::Waiting) if now >= self.group_until => self.start(id, now),
                Some(Stage::BackingOff { until }) if now >= until.max(self.group_until) => {
                    self.start(id, now);
                }
                Some(Stage::Running | Stage::Held | Stage::Ended { .. }) | None => {
                    self.sequence.remove(&id);
                    continue;
                }
                _ => {}
            }
            return;
        }
        if self.mode == Mode::Starting && self.sequence.is_empty() {
            self.mode = Mode::Up;
            self.was_up = true;
            self.actions.push(Action::Up);
        }
    }

    /// Starts the next incarnation of a child. None of it lives.
    pub(super) fn start(&mut self, id: ChildId, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        slot.stage = Stage::Starting;
        slot.live = true;
        slot.life += 1;
        slot.up_since = None;
        slot.then = Then::Decide;
        self.live += 1;
        let (life, spec) = (slot.life, std::sync::Arc::clone(&slot.spec));
        let limit = spec.start_limit().map(|limit| now + limit);
        self.actions.push(Action::Start(id, life, spec));
        self.set_due(id, limit);
    }

    /// Starts a child now, or when the sequence has come to it.
    pub(super) fn start_in_turn(&mut self, id: ChildId, now: Instant) {
        if self.sequence.is_empty() {
            self.start(id, now);
        } else if let Some(slot) = self.slots.get_mut(&id) {
            slot.stage = Stage::Waiting;
            self.sequence.insert(id);
        }
    }

    /// It is up.
    pub(super) fn came_up(&mut self, id: ChildId, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        slot.up_since.get_or_insert(now);
        if slot.stage != Stage::Starting {
            // It was asked to end meanwhile.
            return;
        }
        slot.stage = Stage::Running;
        slot.first = false;
        let waiters = std::mem::take(&mut slot.waiters);
        // Its group may be to start again, and it has not been asked to end yet: its turn comes once more.
        let again = slot.then == Then::Group;
        self.set_due(id, None);
        if !again {
            self.sequence.remove(&id);
        }
        self.tell(id, Happened::started);
        self.answer_all(waiters, || Ok(id));
    }
}
