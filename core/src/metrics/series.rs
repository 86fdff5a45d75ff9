//! The histograms of one kind of message at one kind of actor, and how many of these there may be.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use metrics::{Histogram, SharedString, histogram};

use super::asks::Ended;
use crate::actor::Actor;
use crate::cell::Cell;
use crate::message::Message;

/// How many different labels of actors a system reports apart; the rest are `other`.
pub const MEASURED_LABELS: usize = 256;

/// What stands for labels past the bound.
pub(super) const OTHER: &str = "other";

/// A label that was given, or the type of actors that have none; and the type of the message.
pub(super) type Key = (Option<Arc<str>>, TypeId, TypeId);

/// Whose histograms these are; looked up for each message, so that no text is made for it.
pub(super) fn key<A: Actor, M: Message>(cell: &Cell<A>) -> Key {
    let label = cell.given_label().cloned();
    (label, TypeId::of::<A>(), TypeId::of::<M>())
}

/// The same for all actors whose labels are past the bound.
pub(super) fn key_of_others<M: Message>() -> Key {
    (Some(OTHER.into()), TypeId::of::<()>(), TypeId::of::<M>())
}

pub(super) struct Series {
    pub(super) wait: Histogram,
    pub(super) handler: Histogram,
    asks: [Histogram; Ended::ALL.len()],
}

impl Series {
    pub(super) fn of<M: Message>(label: &Arc<str>) -> Self {
        let actor = || SharedString::from(Arc::clone(label));
        let message = std::any::type_name::<M>();
        Series {
            wait: histogram!("callboard_mailbox_wait_seconds", "actor" => actor()),
            handler: histogram!(
                "callboard_handler_seconds", "actor" => actor(), "message" => message
            ),
            asks: Ended::ALL.map(|ended| {
                histogram!(
                    "callboard_ask_seconds",
                    "actor" => actor(), "message" => message, "outcome" => ended.name()
                )
            }),
        }
    }

    pub(super) fn ask(&self, ended: Ended) -> &Histogram {
        &self.asks[ended as usize]
    }
}

/// The series of one system.
#[derive(Default)]
pub(super) struct Table {
    series: BTreeMap<Key, Arc<Series>>,
    labels: BTreeSet<Arc<str>>,
}

impl Table {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Series>> {
        self.series.get(key).cloned()
    }

    /// The label, or what stands for those past the bound.
    pub(super) fn bounded(&mut self, label: &Arc<str>) -> Arc<str> {
        if self.labels.contains(label) {
            return Arc::clone(label);
        }
        if self.labels.len() >= MEASURED_LABELS {
            return OTHER.into();
        }
        self.labels.insert(Arc::clone(label));
        Arc::clone(label)
    }

    /// The series go; which labels are apart stays.
    pub(super) fn take_series(&mut self) -> BTreeMap<Key, Arc<Series>> {
        std::mem::take(&mut self.series)
    }

    /// Keeps a series, and answers the one that is kept: another thread may have been first.
    pub(super) fn insert(&mut self, key: Key, series: Arc<Series>) -> Arc<Series> {
        Arc::clone(self.series.entry(key).or_insert(series))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_past_the_bound_are_one() {
        let mut table = Table::default();
        for n in 0..2 * MEASURED_LABELS {
            let label: Arc<str> = format!("user {n}").into();
            let shown = table.bounded(&label);
            assert_eq!(&*shown == OTHER, n >= MEASURED_LABELS, "{shown}");
            assert_eq!(table.bounded(&label), shown);
        }
        assert_eq!(table.labels.len(), MEASURED_LABELS);
        // What was known stays.
        assert_eq!(&*table.bounded(&"user 0".into()), "user 0");
    }
}
