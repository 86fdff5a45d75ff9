//! Counters and gauges of a system, told to the recorder from time to time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::{
    SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
};

use super::Meter;
use crate::counters::DropReason;
use crate::spawn::Placement;
use crate::system::System;

/// The shortest time between two publications.
const SHORTEST: Duration = Duration::from_millis(10);

/// What the recorder has been told.
#[derive(Default)]
pub(super) struct Published {
    drops: [u64; DropReason::ALL.len()],
    panics: u64,
    blocks: u64,
    freezes: u64,
    abandoned_threads: u64,
    /// The gauges, so that those whose actors are gone go to zero.
    labels: BTreeMap<Arc<str>, Depth>,
}

#[derive(Default, Clone, Copy)]
struct Depth {
    actors: usize,
    messages: usize,
}

/// What is added to a counter that the recorder knows.
struct Growth {
    drops: [u64; DropReason::ALL.len()],
    panics: u64,
    blocks: u64,
    freezes: u64,
    abandoned_threads: u64,
}

impl System {
    /// Tells the recorder of the facade `metrics` the counters of this system and how full its mailboxes are:
    /// now, every `period` (at least 10 ms) from now on, and a last time when the system is shut down. Called
    /// again, the new period takes the place of the old one. See the [metrics](crate::metrics).
    ///
    /// Answers `false` if the system has been shut down. With the feature `metrics` only.
    pub fn publish_metrics(&self, period: Duration) -> bool {
        if self.is_closed() {
            return false;
        }
        let period = period.max(SHORTEST);
        describe();
        let number = self.meter().publisher.fetch_add(1, Ordering::AcqRel) + 1;
        // Owned by the system, which it must not keep.
        let (weak, clock) = (self.downgrade(), self.clock().clone());
        self.spawn(Placement::Pinned(0), move || async move {
            loop {
                let Some(system) = weak.upgrade() else { return };
                if system.meter().publisher.load(Ordering::Acquire) != number {
                    return;
                }
                system.publish();
                drop(system);
                clock.sleep(period).await;
            }
        })
    }

    pub(super) fn publish(&self) {
        let growth = self.growth();
        for (reason, count) in DropReason::ALL.into_iter().zip(growth.drops) {
            counter!("callboard_drops_total", "reason" => reason.name()).increment(count);
        }
        let late = growth.drops[DropReason::LateReply as usize];
        counter!("callboard_late_replies_total").increment(late);
        counter!("callboard_panics_total").increment(growth.panics);
        counter!("callboard_blocks_total").increment(growth.blocks);
        counter!("callboard_freezes_total").increment(growth.freezes);
        counter!("callboard_abandoned_threads_total").increment(growth.abandoned_threads);
        for (label, depth) in self.depths() {
            let actor = || SharedString::from(Arc::clone(&label));
            gauge!("callboard_actors", "actor" => actor()).set(count(depth.actors));
            gauge!("callboard_mailbox_depth", "actor" => actor()).set(count(depth.messages));
        }
    }

    /// What the counters have grown by since the last time.
    fn growth(&self) -> Growth {
        let counters = self.counters();
        // Read under the lock, so that no growth is told twice.
        let mut last = self.meter().published.lock();
        let grow = |last: &mut u64, now: u64| now - std::mem::replace(last, now);
        Growth {
            drops: DropReason::ALL
                .map(|reason| grow(&mut last.drops[reason as usize], counters.drops(reason))),
            panics: grow(&mut last.panics, counters.panics()),
            blocks: grow(&mut last.blocks, counters.blocks()),
            freezes: grow(&mut last.freezes, counters.freezes()),
            abandoned_threads: grow(&mut last.abandoned_threads, counters.abandoned_threads()),
        }
    }

    /// How many actors there are of each label and how full their mailboxes are; those that are gone are
    /// there once more, with nothing.
    fn depths(&self) -> BTreeMap<Arc<str>, Depth> {
        let mut depths: BTreeMap<Arc<str>, Depth> = BTreeMap::new();
        for actor in self.actors() {
            let label = self.meter().bounded(&actor.label.into());
            let depth = depths.entry(label).or_default();
            depth.actors += 1;
            depth.messages += actor.mailbox.len;
        }
        let mut last = self.meter().published.lock();
        let before = std::mem::replace(&mut last.labels, depths.clone());
        drop(last);
        for gone in before.into_keys() {
            depths.entry(gone).or_default();
        }
        depths
    }
}

impl Meter {
    /// No task publishes from now on. Answers whether one did.
    pub(super) fn end_publishing(&self) -> bool {
        self.publisher.swap(0, Ordering::AcqRel) != 0
    }
}

#[allow(clippy::cast_precision_loss)]
fn count(number: usize) -> f64 {
    number as f64
}

/// Says what the metrics are. Whoever says it again says the same.
pub(super) fn describe() {
    describe_counter!(
        "callboard_drops_total",
        Unit::Count,
        "Messages that reached no handler, and replies that reached no asker, by reason"
    );
    describe_counter!(
        "callboard_late_replies_total",
        Unit::Count,
        "Replies that came after their ask had ended"
    );
    describe_counter!(
        "callboard_panics_total",
        Unit::Count,
        "Panics caught at the fence of an actor or a task"
    );
    describe_counter!(
        "callboard_blocks_total",
        Unit::Count,
        "How often a thread of actors was found blocked"
    );
    describe_counter!(
        "callboard_freezes_total",
        Unit::Count,
        "How often a handler took longer than its limit"
    );
    describe_counter!(
        "callboard_abandoned_threads_total",
        Unit::Count,
        "Threads of children that were given up while they ran"
    );
    describe_gauge!("callboard_actors", Unit::Count, "Actors that live");
    describe_gauge!(
        "callboard_mailbox_depth",
        Unit::Count,
        "Messages in the mailboxes of all actors of a label"
    );
    describe_histogram!(
        "callboard_mailbox_wait_seconds",
        Unit::Seconds,
        "From the sending of a message to the begin of its handler"
    );
    describe_histogram!(
        "callboard_handler_seconds",
        Unit::Seconds,
        "From the begin of a handler to its end"
    );
    describe_histogram!(
        "callboard_ask_seconds",
        Unit::Seconds,
        "From the sending of an ask to its answer, or until it was given up"
    );
}
