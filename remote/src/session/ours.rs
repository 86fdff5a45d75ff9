//! The slots that this side has opened: whose each is, and which can be given anew.
//!
//! A slot that was given back stands for another name as soon as certainly nothing of before can be mistaken: all that
//! was sent for it has left the outbox and was acknowledged, and its `Opened` has come. Answers of before can still
//! come: their tickets have turns that the next one doesn't use.

use std::collections::VecDeque;
use std::sync::Arc;

use super::outbox::{Outbox, Waits};
use super::table::MOST_SLOTS;

#[cfg(test)]
mod tests;

/// How many that were given back are looked at to find one that is free.
const LOOK_AT: usize = 8;

/// See the module.
#[derive(Default)]
pub(super) struct Ours {
    slots: Vec<Opened>,
    /// In the order in which they were given back.
    given_back: VecDeque<GivenBack>,
}

struct Opened {
    caller: Arc<dyn Waits>,
    /// The other side has answered.
    is_confirmed: bool,
}

struct GivenBack {
    slot: u32,
    /// The first turn that no ticket had.
    turn: u32,
    /// The last frame that can be for it, once all of them are numbered.
    after: Option<u64>,
}

/// A slot as its next owner gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) slot: u32,
    /// The first turn that its tickets may have.
    pub(crate) turn: u32,
}

impl Ours {
    /// A slot for a caller whose messages are in that lane. `None` if the session has no more.
    pub(super) fn open(
        &mut self,
        caller: Arc<dyn Waits>,
        lane: u64,
        window: u64,
        outbox: &Outbox,
        acked: u64,
    ) -> Option<Given> {
        if let Some(given) = self.take_free(outbox, acked)
            && let Some(opened) = self.slots.get_mut(given.slot as usize)
        {
            opened.caller = caller;
            opened.is_confirmed = false;
            outbox.give_flow(given.slot, lane);
            return Some(given);
        }
        if self.slots.len() >= MOST_SLOTS {
            return None;
        }
        self.slots.push(Opened {
            caller,
            is_confirmed: false,
        });
        let slot = outbox.add_flow(window, lane);
        Some(Given { slot, turn: 0 })
    }

    fn take_free(&mut self, outbox: &Outbox, acked: u64) -> Option<Given> {
        let most = if self.slots.len() < MOST_SLOTS {
            LOOK_AT
        } else {
            usize::MAX
        };
        let most = self.given_back.len().min(most);
        for at in 0..most {
            let given = self.given_back.get_mut(at)?;
            let opened = self.slots.get(given.slot as usize)?;
            given.after = given.after.or_else(|| outbox.last_of(given.slot));
            if opened.is_confirmed && given.after.is_some_and(|after| after <= acked) {
                let GivenBack { slot, turn, .. } = self.given_back.remove(at)?;
                return Some(Given { slot, turn });
            }
        }
        // Those that take longer don't hide the others.
        self.given_back.rotate_left(most);
        None
    }

    /// Nobody sends to that slot any more, and nobody waits for answers.
    pub(super) fn give_back(&mut self, slot: u32, turn: u32, outbox: &Outbox) {
        let after = outbox.last_of(slot);
        self.given_back.push_back(GivenBack { slot, turn, after });
    }

    /// The other side has answered how it takes payloads for it: whose it is.
    pub(super) fn confirmed(&mut self, slot: u32) -> Option<Arc<dyn Waits>> {
        let opened = self.slots.get_mut(slot as usize)?;
        opened.is_confirmed = true;
        Some(Arc::clone(&opened.caller))
    }

    pub(super) fn caller(&self, slot: u32) -> Option<&Arc<dyn Waits>> {
        self.slots.get(slot as usize).map(|opened| &opened.caller)
    }

    pub(super) fn callers(&self) -> impl Iterator<Item = &Arc<dyn Waits>> {
        self.slots.iter().map(|opened| &opened.caller)
    }
}
