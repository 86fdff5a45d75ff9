//! Identities: actors, incarnations, request keys, principals.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An actor of this process. Numbers are given in the order of creation and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActorId(NonZeroU64);

impl ActorId {
    /// A fresh id: for routes that lead to something that isn't an actor of this process.
    #[must_use]
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        ActorId::from_u64(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap_or(ActorId(NonZeroU64::MAX))
    }

    /// The number.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0.get()
    }

    /// The id with that number; there is none with 0.
    #[inline]
    pub(crate) fn from_u64(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(ActorId)
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// How often something has been started: 1 for the first start, one more with each restart.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// The first: before any restart.
    pub const FIRST: Incarnation = Incarnation(1);

    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Incarnation(self.0 + 1)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A caller-chosen id that stays the same over all attempts of one request (G19).
///
/// Version 7 by default, so that keys sort by the time they were made. Two requests with one key are
/// one request: choose the key where the intent is formed (the click, the order), not where the call
/// is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestKey(Uuid);

impl RequestKey {
    /// A new key, from the time and the system's randomness.
    #[must_use]
    pub fn new() -> Self {
        RequestKey(Uuid::now_v7())
    }

    /// A key that the caller already has (an `Idempotency-Key` header, say).
    #[must_use]
    pub fn from_uuid(id: Uuid) -> Self {
        RequestKey(id)
    }

    /// The key as a UUID.
    #[must_use]
    pub fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl Default for RequestKey {
    fn default() -> Self {
        RequestKey::new()
    }
}

impl std::str::FromStr for RequestKey {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(RequestKey)
    }
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// On whose behalf a request comes: set by the remote layer from what the transport proved (a user id,
/// a certificate), never by the payload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// A principal by its name (`uid:1000`, `cert:billing`).
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Principal(name.into())
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
