//! Who is to be handed out next: by priority, then by number.
//!
//! Most items come in the order of their numbers and go the same way; they stand in a plain queue. What comes
//! back, or becomes due, is older than that queue's end and stands in an ordered set beside it. Neither is
//! searched when an item moves on by another way: such entries are skipped, and swept when they are many.

use std::collections::{BTreeSet, VecDeque};

use super::super::Sequence;
use super::super::slab::Place;

type Entry = (Sequence, Place);

pub(super) struct Ready {
    /// The most urgent last.
    levels: Box<[Level]>,
    len: usize,
}

#[derive(Default)]
struct Level {
    line: VecDeque<Entry>,
    out_of_line: BTreeSet<Entry>,
}

impl Ready {
    pub(super) fn new(levels: u8) -> Self {
        Ready {
            levels: (0..levels.max(1)).map(|_| Level::default()).collect(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Priorities above the highest level count as that.
    pub(super) fn push(&mut self, priority: u8, sequence: Sequence, place: Place) {
        self.len += 1;
        let highest = self.levels.len() - 1;
        let level = &mut self.levels[usize::from(priority).min(highest)];
        match level.line.back() {
            Some((last, _)) if *last > sequence => {
                level.out_of_line.insert((sequence, place));
            }
            _ => level.line.push_back((sequence, place)),
        }
    }

    /// The oldest of the most urgent level.
    pub(super) fn first(&self) -> Option<Entry> {
        self.levels.iter().rev().find_map(Level::first)
    }

    /// Takes that one out.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let popped = self.levels.iter_mut().rev().find_map(Level::pop);
        self.len -= usize::from(popped.is_some());
        popped
    }

    /// Takes out the oldest of all.
    pub(super) fn pop_oldest(&mut self) -> Option<Entry> {
        let levels = self.levels.iter_mut().filter(|level| level.len() > 0);
        let oldest = levels.min_by_key(|level| level.first());
        let popped = oldest.and_then(Level::pop);
        self.len -= usize::from(popped.is_some());
        popped
    }

    pub(super) fn sweep(&mut self, mut holds: impl FnMut(Sequence, Place) -> bool) {
        for level in &mut self.levels {
            level
                .line
                .retain(|(sequence, place)| holds(*sequence, *place));
            level
                .out_of_line
                .retain(|(sequence, place)| holds(*sequence, *place));
        }
        self.len = self.levels.iter().map(Level::len).sum();
    }
}

impl Level {
    fn len(&self) -> usize {
        self.line.len() + self.out_of_line.len()
    }

    fn first(&self) -> Option<Entry> {
        if self.out_of_line.is_empty() {
            return self.line.front().copied();
        }
        let early = self.out_of_line.first().copied();
        let line = self.line.front().copied();
        early.into_iter().chain(line).min()
    }

    fn pop(&mut self) -> Option<Entry> {
        if self.out_of_line.is_empty() {
            return self.line.pop_front();
        }
        let early = self.out_of_line.first().copied();
        match self.line.front() {
            Some(first) if early.is_none_or(|early| *first < early) => self.line.pop_front(),
            _ => self.out_of_line.pop_first(),
        }
    }
}
