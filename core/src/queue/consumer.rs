//! Consumers that have a name, and which of them is the active one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::slab::Place;
use crate::clock::Instant;

/// A consumer of a queue that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsumerState {
    /// Its name.
    pub name: Arc<str>,
    /// How long it has been there.
    pub age: Duration,
    /// Items that it has in hand.
    pub in_flight: usize,
    /// Items that it got, the same one again included.
    pub delivered: u64,
    /// Whether it gets items: in a queue with a single active consumer the first one alone does.
    pub is_active: bool,
}

pub(super) struct Consumer {
    pub(super) name: Arc<str>,
    pub(super) since: Instant,
    pub(super) delivered: u64,
}

/// By number, which grows: so the first is the one that has been there longest.
#[derive(Default)]
pub(super) struct Consumers {
    all: BTreeMap<Place, Consumer>,
    next: Place,
}

impl Consumers {
    pub(super) fn join(&mut self, name: Arc<str>, now: Instant) -> Place {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let consumer = Consumer {
            name,
            since: now,
            delivered: 0,
        };
        self.all.insert(number, consumer);
        number
    }

    pub(super) fn leave(&mut self, number: Place) {
        self.all.remove(&number);
    }

    pub(super) fn is_there(&self, number: Place) -> bool {
        self.all.contains_key(&number)
    }

    pub(super) fn active(&self) -> Option<Place> {
        self.all.keys().next().copied()
    }

    pub(super) fn count_delivery(&mut self, number: Option<Place>) {
        if let Some(consumer) = number.and_then(|number| self.all.get_mut(&number)) {
            consumer.delivered += 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Consumer)> {
        self.all
            .iter()
            .map(|(number, consumer)| (*number, consumer))
    }
}
