//! What is measured. Workloads that several systems take are written once, generic, in the files below; each
//! checks what arrived or what is on disk before it reports a figure.

pub(crate) mod channel;
pub(crate) mod durable;
pub(crate) mod fan_out;
pub(crate) mod remote;

use std::path::PathBuf;
use std::time::Duration;

use common::size::Size;
use common::threads::Layout;

/// A workload. What a run of it answers stands at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// One offers, one polls, at the same time. Answers millions of items a second.
    OfferPoll { batch: Batch, layout: Layout },
    /// Takes what was offered before, by polls and then by leases and acknowledgements. Answers millions of
    /// items a second for both.
    Take { batch: Batch },
    /// That many offer one item at a time, each synced before its answer. Answers thousands of items a second.
    DurableOffer { producers: usize },
    /// Leases and acknowledges batches of 64. Answers thousands of items a second.
    DurableTake,
    /// One publishes, all get all. Answers millions of deliveries a second.
    Publish { subscribers: usize },
    /// Publishes what one of 100, and of 100,000, subscriptions matches. Answers nanoseconds a publish for
    /// both, and how many times as long the second takes.
    Match,
    /// Opens what holds 1,000 items, and held 1,000,000. Answers milliseconds until the first lease and
    /// millions of bytes on disk.
    Restart,
}

/// How many items go into a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batch {
    Single,
    Of64,
}

/// How many items a batch has.
pub(crate) const BATCH: usize = 64;

/// How many items wait in a bounded queue.
pub(crate) const CAPACITY: usize = 1_024;

/// The circumstances of a run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) size: Size,
    /// For what is timed by the clock, not by count: the disk's speed differs by a factor of a hundred
    /// between its good times and its bad ones.
    pub(crate) span: Duration,
    /// Where files go: empty folders are made in it.
    pub(crate) folder: PathBuf,
}

impl Run {
    pub(crate) fn new(size: Size, folder: PathBuf) -> Self {
        let span = Duration::from_millis(size.pick(400, 80));
        Run { size, span, folder }
    }

    /// The same, half as long.
    pub(crate) fn half(&self) -> Self {
        Run {
            span: self.span / 2,
            ..self.clone()
        }
    }

    /// How many items a consumer finds, in whole batches. It takes as many of them as the span allows.
    pub(crate) fn stored(&self) -> u64 {
        self.size.pick(65_536, 4_096)
    }
}

/// Thousands a second.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn thousands(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64() / 1e3
}
