//! Which slots the other side has opened, and the lines that their messages stand in.
//!
//! The number of a slot may be given anew: what came for it before keeps the meaning that it had, and its credit
//! goes on. So what a number stands for is kept apart from the number itself, for as long as messages for it wait.

use std::collections::HashMap;
use std::sync::Arc;

use super::inbox::{Tally, Waiting};
use super::slots::{Line, Slot};
use crate::wire::body::Open;

#[cfg(test)]
mod tests;

/// How many names and types one session may address at once.
pub(crate) const MOST_SLOTS: usize = 65_536;

/// See the module.
#[derive(Default)]
pub(super) struct Table {
    numbers: Vec<Number>,
    slots: Slab<Slot>,
    lines: Slab<Line>,
    /// The line of a name.
    names: HashMap<Arc<str>, usize>,
}

struct Number {
    slot: usize,
    tally: Tally,
}

/// A number that can't be opened: it leaves a gap, or there are too many.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadNumber;

impl Table {
    /// Gives a number a meaning, the first or another. Where the slot is.
    pub(super) fn open(
        &mut self,
        number: u64,
        open: &Open<'_>,
        window: u64,
    ) -> Result<&mut Slot, BadNumber> {
        let number = usize::try_from(number).map_err(|_| BadNumber)?;
        if number > self.numbers.len() || number >= MOST_SLOTS {
            return Err(BadNumber);
        }
        let line = match self.names.get(open.name) {
            Some(line) => *line,
            None => {
                let name: Arc<str> = Arc::from(open.name);
                let line = self.lines.insert(Line::of(Arc::clone(&name)));
                self.names.insert(name, line);
                line
            }
        };
        if let Some(line) = self.lines.get_mut(line) {
            line.slots += 1;
        }
        let slot = self.slots.insert(Slot::new(open, number, line));
        match self.numbers.get_mut(number) {
            // The new one first: its line may be that of the old one.
            Some(known) => {
                let old = std::mem::replace(&mut known.slot, slot);
                self.close(old);
            }
            None => self.numbers.push(Number {
                slot,
                tally: Tally::new(window),
            }),
        }
        self.slots.get_mut(slot).ok_or(BadNumber)
    }

    /// What a number stands for now: where its slot is, and what may be sent there.
    pub(super) fn find(&mut self, number: u32) -> Option<(usize, &mut Tally)> {
        let number = self.numbers.get_mut(number as usize)?;
        Some((number.slot, &mut number.tally))
    }

    pub(super) fn slot(&mut self, slot: usize) -> Option<&mut Slot> {
        self.slots.get_mut(slot)
    }

    /// The line of a slot.
    pub(super) fn line(&mut self, slot: usize) -> Option<&mut Line> {
        let line = self.slots.get_mut(slot)?.line;
        self.lines.get_mut(line)
    }

    /// A message for that slot waits in its line.
    pub(super) fn waits(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.waiting += 1;
        }
    }

    /// One that waited has moved on, or is about to be handed on.
    pub(super) fn waits_no_more(&mut self, slot: usize) {
        let Some(known) = self.slots.get_mut(slot) else {
            return;
        };
        known.waiting = known.waiting.saturating_sub(1);
        self.tidy(slot);
    }

    /// Its number stands for another one now.
    fn close(&mut self, slot: usize) {
        if let Some(known) = self.slots.get_mut(slot) {
            known.is_open = false;
        }
        self.tidy(slot);
    }

    /// Forgets a slot that nothing leads to any more, and with the last one their line.
    fn tidy(&mut self, slot: usize) {
        let is_used = |slot: &mut Slot| slot.is_open || slot.waiting > 0;
        if self.slots.get_mut(slot).is_none_or(is_used) {
            return;
        }
        let Some(gone) = self.slots.remove(slot) else {
            return;
        };
        let Some(line) = self.lines.get_mut(gone.line) else {
            return;
        };
        line.slots -= 1;
        if line.slots == 0
            && let Some(line) = self.lines.remove(gone.line)
        {
            self.names.remove(&line.name);
        }
    }

    /// Takes out all that wait behind others, and where their slots are.
    pub(super) fn take_behind(&mut self) -> Vec<Waiting> {
        let lines = self.lines.entries.iter_mut().flatten();
        lines.flat_map(|line| line.behind.drain(..)).collect()
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.entries.iter().flatten()
    }
}

/// Things that keep their place.
struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    fn insert(&mut self, entry: T) -> usize {
        if let Some(place) = self.free.pop()
            && let Some(free) = self.entries.get_mut(place)
        {
            *free = Some(entry);
            return place;
        }
        self.entries.push(Some(entry));
        self.entries.len() - 1
    }

    fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.entries.get_mut(place)?.as_mut()
    }

    fn remove(&mut self, place: usize) -> Option<T> {
        let entry = self.entries.get_mut(place)?.take()?;
        self.free.push(place);
        Some(entry)
    }
}
