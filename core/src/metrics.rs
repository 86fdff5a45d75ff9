//! Metrics, through the facade `metrics`: with the feature of that name, for whatever recorder the program
//! installs.
//!
//! # What there is
//!
//! By [`System::publish_metrics`], from counters that are kept anyway:
//!
//! | metric                          | kind      | labels                       |
//! | ------------------------------- | --------- | ---------------------------- |
//! | `callboard_drops_total`         | counter   | `reason`                     |
//! | `callboard_late_replies_total`  | counter   |                              |
//! | `callboard_panics_total`        | counter   |                              |
//! | `callboard_blocks_total`        | counter   |                              |
//! | `callboard_freezes_total`       | counter   |                              |
//! | `callboard_abandoned_threads_total` | counter |                            |
//! | `callboard_actors`              | gauge     | `actor`                      |
//! | `callboard_mailbox_depth`       | gauge     | `actor`                      |
//!
//! While [`System::measure`] is on, of each message:
//!
//! | metric                          | kind      | labels                       |
//! | ------------------------------- | --------- | ---------------------------- |
//! | `callboard_mailbox_wait_seconds`| histogram | `actor`                      |
//! | `callboard_handler_seconds`     | histogram | `actor`, `message`           |
//! | `callboard_ask_seconds`         | histogram | `actor`, `message`, `outcome`|
//!
//! The wait is from the sending to the begin of the handler, waiting for room included. The time of a handler
//! is from its begin to its end, or to its drop, and includes what it waits for. The time of an ask is that from
//! its sending until it was answered (`outcome` is `reply`), failed (`failure`) or given up by its asker
//! (`withdrawn`); so one that timed out counts with the time it took to be given up. All of actors of this
//! process, whoever sends. Notices of ends aren't measured.
//!
//! # Labels
//!
//! `actor` is the label that the program gave, or the actor's type. A label is a kind of actor, not one of a
//! thousand: whoever puts a user's number into it makes a time series for each. The first
//! [`MEASURED_LABELS`] that a system reports stay apart; all further ones are `other`. `message` is the Rust type;
//! `reason` is [`DropReason::name`](crate::DropReason::name).
//!
//! Systems of one process add to the same counters and histograms. Gauges are each system's own: two that publish
//! want different labels for their actors.
//!
//! # What it costs
//!
//! Off, one load and one comparison for each send. Measuring, each message carries a time, and takes the way
//! of those that have something beside them: it allocates, and reads the clock twice.

mod asks;
mod publish;
mod series;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::actor::Actor;
use crate::cell::Cell;
use crate::clock::Instant;
use crate::future_buffer::Then;
use crate::message::Message;
use crate::responder::Responder;
use crate::system::System;

pub use series::MEASURED_LABELS;

use publish::Published;
use series::{Series, Table};

/// How many systems of the process measure.
static MEASURING: AtomicUsize = AtomicUsize::new(0);

/// Whether any system of the process measures.
#[inline]
pub(crate) fn is_on() -> bool {
    MEASURING.load(Ordering::Relaxed) != 0
}

/// What one system has for its metrics.
#[derive(Default)]
pub(crate) struct Meter {
    on: AtomicBool,
    table: RwLock<Table>,
    published: Mutex<Published>,
    /// The number of the task that publishes; one with an older number ends.
    publisher: AtomicU64,
}

impl Meter {
    fn set(&self, on: bool) {
        if self.on.swap(on, Ordering::AcqRel) == on {
            return;
        }
        if on {
            // Handles of a recorder that was there before would go nowhere.
            let old = self.table.write().take_series();
            drop(old);
            MEASURING.fetch_add(1, Ordering::Relaxed);
        } else {
            MEASURING.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The label, or what stands for those past the bound.
    fn bounded(&self, label: &Arc<str>) -> Arc<str> {
        self.table.write().bounded(label)
    }

    fn series<A: Actor, M: Message>(&self, cell: &Cell<A>) -> Arc<Series> {
        let mut key = series::key::<A, M>(cell);
        if let Some(series) = self.table.read().get(&key) {
            return series;
        }
        let label = cell.label();
        let label = self.bounded(&label);
        if &*label == series::OTHER {
            key = series::key_of_others::<M>();
            if let Some(series) = self.table.read().get(&key) {
                return series;
            }
        }
        // The recorder is the program's: it is called outside the lock.
        let series = Arc::new(Series::of::<M>(&label));
        self.table.write().insert(key, series)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl System {
    /// Switches measuring: from now on each message's wait, its handler's time and the time of asks go to the
    /// recorder of the facade `metrics`. Off by default. Install the recorder first: what is measured goes to
    /// the one that was there when measuring was last switched on.
    ///
    /// Costs what the [feature's documentation](crate::metrics) says. With the feature `metrics` only.
    pub fn measure(&self, on: bool) {
        if on {
            publish::describe();
        }
        self.meter().set(on && !self.is_closed());
    }

    /// Whether it [measures](System::measure).
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.meter().on.load(Ordering::Relaxed)
    }

    /// It has been shut down: what there is to say is said, and nothing is measured any more.
    pub(crate) fn end_metrics(&self) {
        if self.meter().end_publishing() {
            self.publish();
        }
        self.meter().set(false);
    }
}

/// When a message was sent, in a system that measures.
#[derive(Clone)]
pub(crate) struct Sent {
    at: Instant,
    series: Arc<Series>,
}

impl Sent {
    /// Now; and the ask that it is, if it is one, is measured until its end. `None` if its system doesn't
    /// measure.
    pub(crate) fn now<A: Actor, M: Message>(
        cell: &Cell<A>,
        responder: &mut Responder<M::Reply>,
    ) -> Option<Self> {
        let system = cell.system();
        if !system.is_measured() {
            return None;
        }
        let sent = Sent {
            at: system.clock().now(),
            series: system.meter().series::<A, M>(cell),
        };
        asks::measure(system, responder, &sent);
        Some(sent)
    }

    /// Its handler begins.
    pub(crate) fn begin(&self, system: &System) -> Handling {
        let now = system.clock().now();
        self.series.wait.record(now.since(self.at));
        Handling {
            system: system.clone(),
            since: now,
            series: Arc::clone(&self.series),
        }
    }
}

/// A handler that is measured, until this is dropped.
pub(crate) struct Handling {
    system: System,
    since: Instant,
    series: Arc<Series>,
}

impl Drop for Handling {
    fn drop(&mut self) {
        let took = self.system.clock().now().since(self.since);
        self.series.handler.record(took);
    }
}

/// What comes after a handler, and that it has ended.
pub(crate) struct Measured<W> {
    pub(crate) handling: Option<Handling>,
    pub(crate) then: W,
}

impl<T, W: Then<T>> Then<T> for Measured<W> {
    fn end(self, output: T) {
        drop(self.handling);
        self.then.end(output);
    }
}
