//! What a lock shows of itself.

use std::sync::Arc;

use serde::Serialize;

use super::Token;
use crate::clock::Instant;

/// Who holds a lock, who waits, and what it has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LockState {
    /// Its name.
    pub name: Arc<str>,
    /// How many units there are: 1 of a mutex, the permits of a semaphore,
    /// [`MAX_READERS`](super::MAX_READERS) of a read-write lock, whose writer has all of them.
    pub units: u32,
    /// Those that nobody holds. They may be fewer than the first in line wants.
    pub free: u32,
    /// The newest token.
    pub newest: Token,
    /// The leases, the oldest first.
    pub held: Vec<HeldState>,
    /// How many wait.
    pub waiting: usize,
    /// Since when the first in line waits.
    pub waiting_since: Option<Instant>,
    /// What has happened since it started.
    pub counts: LockCounts,
}

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldState {
    /// Its token.
    pub token: Token,
    /// How many units.
    pub units: u32,
    /// Since when it is held.
    pub since: Instant,
    /// When it ends unless it is renewed.
    pub ends: Instant,
    /// Who holds it, if that was [said](super::Acquire::label).
    pub holder: Option<Arc<str>>,
}

/// What has happened at a lock since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct LockCounts {
    /// Leases that were granted.
    pub grants: u64,
    /// Leases that were released: by hand, by dropping the guard, or because their holder ended.
    pub releases: u64,
    /// Leases whose time was over.
    pub expiries: u64,
    /// Renewals.
    pub renewals: u64,
    /// Those whose deadline passed first, or who didn't want to wait.
    pub timeouts: u64,
    /// Those who gave up waiting before their deadline.
    pub withdrawn: u64,
    /// Those who were refused because too many waited.
    pub refused: u64,
    /// Renewals and releases of leases that had ended.
    pub stale: u64,
}
