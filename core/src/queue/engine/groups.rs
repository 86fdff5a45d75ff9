//! Groups: the items of one are handed out one after the other, in the order of their numbers (G24).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::super::Sequence;
use super::super::slab::Place;

#[derive(Default)]
pub(super) struct Groups {
    groups: HashMap<Arc<str>, Group>,
}

struct Group {
    /// The one whose turn it is: ready, delayed or in somebody's hands.
    head: Place,
    /// The others, in order.
    behind: VecDeque<(Sequence, Place)>,
}

impl Groups {
    pub(super) fn head(&self, group: &str) -> Option<Place> {
        self.groups.get(group).map(|group| group.head)
    }

    /// The number of the first behind the head.
    pub(super) fn behind(&self, group: &str) -> Option<Sequence> {
        let first = self.groups.get(group)?.behind.front();
        first.map(|(sequence, _)| *sequence)
    }

    /// A group of one.
    pub(super) fn begin(&mut self, group: Arc<str>, head: Place) {
        let behind = VecDeque::new();
        self.groups.insert(group, Group { head, behind });
    }

    pub(super) fn replace_head(&mut self, group: &str, head: Place) {
        if let Some(group) = self.groups.get_mut(group) {
            group.head = head;
        }
    }

    pub(super) fn stand_behind(&mut self, group: &str, sequence: Sequence, place: Place) {
        if let Some(group) = self.groups.get_mut(group) {
            let at = group.behind.partition_point(|(other, _)| *other < sequence);
            group.behind.insert(at, (sequence, place));
        }
    }

    /// An item leaves. Answers whose turn it is now, if it was the leaver's.
    pub(super) fn leave(&mut self, name: &str, sequence: Sequence, place: Place) -> Option<Place> {
        let group = self.groups.get_mut(name)?;
        if group.head != place {
            let at = group.behind.partition_point(|(other, _)| *other < sequence);
            if group.behind.get(at) == Some(&(sequence, place)) {
                group.behind.remove(at);
            }
            return None;
        }
        if let Some((_, next)) = group.behind.pop_front() {
            group.head = next;
            Some(next)
        } else {
            self.groups.remove(name);
            None
        }
    }
}
