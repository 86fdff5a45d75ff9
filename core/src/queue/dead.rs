//! What is known of items that were given up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Sequence;
use crate::id::RequestKey;

/// Why an item was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DeadReason {
    /// Its deliveries failed as often as the queue's limit allows.
    DeliveryLimit,
    /// A consumer said that it can never be handled.
    Rejected,
    /// It was older than its time to live.
    Expired,
    /// It was the oldest of a full circular queue. Such items go to the system's dead letters, not to the
    /// dead-letter queue.
    Evicted,
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeadReason::DeliveryLimit => "delivery limit",
            DeadReason::Rejected => "rejected",
            DeadReason::Expired => "expired",
            DeadReason::Evicted => "evicted",
        })
    }
}

/// An item of a dead-letter queue (G23).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead<T> {
    /// The item.
    pub item: T,
    /// What is known of it.
    pub info: DeadInfo,
}

/// How an item came to be dead. Times of day are spans since 1970 began (UTC).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadInfo {
    /// Why it was given up.
    pub reason: DeadReason,
    /// What its last consumer said; empty if none did.
    pub detail: Arc<str>,
    /// Where it stood in its queue.
    pub sequence: Sequence,
    /// How often it was handed out.
    pub attempts: u32,
    /// How many of these failed.
    pub failed: u32,
    /// When it was offered.
    pub offered: Duration,
    /// When a delivery first failed.
    pub first_failure: Option<Duration>,
    /// When one failed last.
    pub last_failure: Option<Duration>,
    /// When it was given up.
    pub died: Duration,
    /// Its request key.
    pub key: Option<RequestKey>,
    /// Its group.
    pub group: Option<Arc<str>>,
}
