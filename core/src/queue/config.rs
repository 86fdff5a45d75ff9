//! How a queue behaves, and how two openings of one name are compared.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The most levels of priority.
pub const MAX_PRIORITIES: u8 = 32;

/// The shortest and the longest lease.
pub const LEASE_RANGE: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_secs(12 * 3_600));

/// What happens to an offer when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum QueueKind {
    /// It waits for room.
    #[default]
    Bounded,
    /// The oldest item that nobody has in hand is dropped for it, counted, and goes to dead letters (G3).
    Circular,
}

/// How a queue behaves. Made by [`QueueBuilder`](super::QueueBuilder); everybody who opens a name must want
/// the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueueConfig {
    /// What happens at the bound.
    pub kind: QueueKind,
    /// How many items it holds, at least 1. Items in hand count in a bounded queue; a circular one bounds them
    /// by `max_in_flight` alone.
    pub capacity: usize,
    /// How many items may be leased at a time, at least 1; the next lease waits.
    pub max_in_flight: usize,
    /// How many levels of priority there are, 1 to [`MAX_PRIORITIES`].
    pub priorities: u8,
    /// How long a lease lasts unless the one who takes it says otherwise, within [`LEASE_RANGE`].
    pub lease: Duration,
    /// After how many failed deliveries an item goes to the dead-letter queue, at least 1; `None` never.
    pub delivery_limit: Option<u32>,
    /// The longest wait after the first failed delivery; doubled with each further one.
    pub retry_first: Duration,
    /// The longest wait after any.
    pub retry_cap: Duration,
    /// How long an item may wait unless its sender says otherwise; `None` for ever.
    pub time_to_live: Option<Duration>,
    /// How long the key of an offer is remembered.
    pub key_window: Duration,
    /// How many keys are remembered, at least 1. When full, offers with a new key are refused.
    pub key_capacity: usize,
    /// How many items the dead-letter queue holds, at least 1; then its oldest goes to dead letters.
    pub dead_capacity: usize,
    /// Only one consumer at a time gets items: the one that registered first of those there are.
    pub single_active: bool,
    /// A released item that waits out a delay lets the others of its group pass (G24).
    pub reordering: bool,
    /// The same key with another item is refused.
    pub compare_keys: bool,
    /// Items outlive the process.
    pub durable: bool,
    /// Of how many bytes of a durable queue's items copies are kept in memory; the others are read when they
    /// are handed out.
    pub cache_bytes: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            kind: QueueKind::Bounded,
            capacity: 1_024,
            max_in_flight: usize::MAX,
            priorities: 1,
            lease: Duration::from_secs(30),
            delivery_limit: Some(20),
            retry_first: Duration::from_millis(100),
            retry_cap: Duration::from_secs(60),
            time_to_live: None,
            key_window: Duration::from_secs(120),
            key_capacity: 100_000,
            dead_capacity: 10_000,
            single_active: false,
            reordering: false,
            compare_keys: false,
            durable: false,
            cache_bytes: 64 << 20,
        }
    }
}

/// One setting in which two openings of a queue differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field of [`QueueConfig`].
    pub setting: &'static str,
    /// What the queue has.
    pub is: String,
    /// What was wanted.
    pub wanted: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference {
            setting,
            is,
            wanted,
        } = self;
        write!(f, "{setting} is {is}, wanted {wanted}")
    }
}

impl QueueConfig {
    /// Brings what is out of range to its nearest bound.
    pub(super) fn within_range(mut self) -> Self {
        self.capacity = self.capacity.clamp(1, u32::MAX as usize / 4);
        self.max_in_flight = self.max_in_flight.max(1);
        if self.kind == QueueKind::Circular {
            self.max_in_flight = self.max_in_flight.min(self.capacity);
        }
        self.priorities = self.priorities.clamp(1, MAX_PRIORITIES);
        self.lease = clamp_lease(self.lease);
        self.delivery_limit = self.delivery_limit.map(|limit| limit.max(1));
        self.retry_cap = self.retry_cap.max(self.retry_first);
        self.key_capacity = self.key_capacity.max(1);
        self.dead_capacity = self.dead_capacity.clamp(1, u32::MAX as usize / 4);
        self
    }

    /// Where this, which a queue has, is not what somebody wants.
    #[must_use]
    pub fn differences(&self, wanted: &QueueConfig) -> Vec<Difference> {
        let mut differences = Vec::new();
        macro_rules! compare {
            ($($field:ident)*) => {$(
                if self.$field != wanted.$field {
                    differences.push(Difference {
                        setting: stringify!($field),
                        is: format!("{:?}", self.$field),
                        wanted: format!("{:?}", wanted.$field),
                    });
                }
            )*};
        }
        compare!(
            kind capacity max_in_flight priorities lease delivery_limit retry_first retry_cap time_to_live
            key_window key_capacity dead_capacity single_active reordering compare_keys durable cache_bytes
        );
        differences
    }
}

pub(super) fn clamp_lease(span: Duration) -> Duration {
    span.clamp(LEASE_RANGE.0, LEASE_RANGE.1)
}
