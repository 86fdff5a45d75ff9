//! When leases lapse.
//!
//! Most leases are as long as each other, so that the first one given is the first to lapse: they stand in a
//! plain queue. The others stand in an ordered set. Leases that have ended are skipped, and swept when they are
//! the greater part.

use std::collections::{BTreeSet, VecDeque};

use super::super::slab::Place;
use crate::clock::Instant;

type Entry = (Instant, u64, Place);

#[derive(Default)]
pub(super) struct Leases {
    line: VecDeque<Entry>,
    out_of_line: BTreeSet<Entry>,
}

impl Leases {
    pub(super) fn begin(&mut self, due: Instant, token: u64, place: Place) {
        match self.line.back() {
            Some((last, _, _)) if *last > due => {
                self.out_of_line.insert((due, token, place));
            }
            _ => self.line.push_back((due, token, place)),
        }
    }

    pub(super) fn end(&mut self, due: Instant, token: u64, place: Place) {
        if !self.out_of_line.is_empty() && self.out_of_line.remove(&(due, token, place)) {
            return;
        }
        if self.line.front() == Some(&(due, token, place)) {
            self.line.pop_front();
        }
    }

    /// The first to lapse; it may have ended.
    pub(super) fn first(&self) -> Option<Entry> {
        let early = self.out_of_line.first().copied();
        let line = self.line.front().copied();
        early.into_iter().chain(line).min()
    }

    pub(super) fn pop_first(&mut self) {
        match self.out_of_line.first() {
            Some(early) if self.line.front().is_none_or(|first| early < first) => {
                self.out_of_line.pop_first();
            }
            _ => {
                self.line.pop_front();
            }
        }
    }

    /// Forgets those that have ended, if they are many beside the `live` ones.
    pub(super) fn sweep(
        &mut self,
        live: usize,
        mut holds: impl FnMut(Instant, u64, Place) -> bool,
    ) {
        if self.line.len() > 2 * live + 64 {
            self.line
                .retain(|(due, token, place)| holds(*due, *token, *place));
        }
    }
}
