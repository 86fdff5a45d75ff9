//! What a queue holds and has seen.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Sequence;
use super::consumer::ConsumerState;
use super::engine::Stage;
use super::local::Local;
use super::rates::QueueRates;
use super::slab::Place;

/// What a queue holds and has seen.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct QueueState {
    /// Items waiting to be handed out: now, later, or behind others of their groups.
    pub len: usize,
    /// Of these, items whose delay isn't over.
    pub delayed: usize,
    /// Items in somebody's hands.
    pub in_flight: usize,
    /// The bound.
    pub capacity: usize,
    /// How long the oldest item that waits has been waiting.
    pub oldest: Option<Duration>,
    /// Items stored since it started.
    pub offered: u64,
    /// How often items were handed out since it started: each poll and each lease.
    pub handed: u64,
    /// Items acknowledged or taken away since it started.
    pub settled: u64,
    /// Deliveries that failed since it started, lapsed leases included.
    pub failed: u64,
    /// Leases that lapsed since it started.
    pub lapsed: u64,
    /// Items that were older than their time to live.
    pub expired: u64,
    /// Items dropped because a circular queue was full.
    pub dropped: u64,
    /// Items removed by a purge.
    pub purged: u64,
    /// Items that can't be read: kept, and never handed out.
    pub set_aside: usize,
    /// Request keys remembered.
    pub keys: usize,
    /// Pollers waiting now.
    pub waiting_pollers: usize,
    /// Offerers waiting for room now.
    pub waiting_offerers: usize,
    /// How many a second.
    pub rates: QueueRates,
}

/// An item that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// Where it stands in its queue.
    pub sequence: Sequence,
    /// Why it can't be read.
    pub why: String,
}

impl<T: Send + 'static> Local<T> {
    pub(super) fn state(&self) -> QueueState {
        let time = self.time_of_day(self.clock.now());
        self.with(|inside, _, now| {
            let engine = &inside.engine;
            let (totals, stages) = (engine.totals, engine.stages);
            QueueState {
                len: engine.waiting(),
                delayed: stages.later,
                in_flight: stages.leased,
                capacity: engine.config.capacity,
                oldest: engine.oldest().map(|offered| time.saturating_sub(offered)),
                offered: totals.offered,
                handed: totals.handed,
                settled: totals.settled,
                failed: totals.failed,
                lapsed: totals.lapsed,
                expired: totals.expired,
                dropped: totals.evicted,
                purged: totals.purged,
                set_aside: stages.set_aside,
                keys: inside.keys.len(),
                waiting_pollers: inside.takers.len(),
                waiting_offerers: inside.offerers.len(),
                rates: inside.rates.rates(now),
            }
        })
    }

    pub(super) fn consumers(&self) -> Vec<ConsumerState> {
        self.with(|inside, _, now| {
            let single = self.settings.single_active;
            let active = inside.consumers.active();
            // One look at each item, under the lock, however many consumers there are.
            let mut held: HashMap<Place, usize> = HashMap::new();
            for (_, item) in inside.engine.items.iter() {
                if let Stage::Leased(lease) = item.stage
                    && let Some(consumer) = lease.consumer
                {
                    *held.entry(consumer).or_default() += 1;
                }
            }
            let consumers = inside
                .consumers
                .iter()
                .map(|(number, consumer)| ConsumerState {
                    name: consumer.name.clone(),
                    age: now.since(consumer.since),
                    in_flight: held.get(&number).copied().unwrap_or_default(),
                    delivered: consumer.delivered,
                    is_active: !single || active == Some(number),
                });
            consumers.collect()
        })
    }

    pub(super) fn set_aside_items(&self) -> Vec<SetAside> {
        self.with(|inside, _, _| {
            let items = inside.engine.items.iter();
            let aside = items.filter(|(_, item)| item.stage == Stage::SetAside);
            let mut aside: Vec<SetAside> = aside
                .map(|(_, item)| SetAside {
                    sequence: item.sequence,
                    why: item
                        .extra
                        .as_ref()
                        .and_then(|extra| extra.aside.as_deref())
                        .unwrap_or_default()
                        .to_owned(),
                })
                .collect();
            aside.sort_by_key(|item| item.sequence);
            aside
        })
    }

    /// Removes all that wait to be handed out. Answers how many.
    pub(super) fn purge(&self) -> usize {
        self.with(|inside, afterwards, now| {
            let removed = inside.engine.purge(now);
            let count = removed.len();
            for item in removed {
                // An error is one that everybody is told of anyway.
                let _ = inside.removed(self, item, afterwards);
            }
            inside.settle(self, afterwards, now);
            count
        })
    }
}
