//! What a policy keeps of one callee.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard_core::ActorId;
use callboard_core::clock::{Clock, Instant};

use super::breaker::Breaker;
use super::budget::Ledger;
use super::bulkhead::Bulkhead;
use super::latency::Latency;
use super::rate::Rate;
use super::settings::{BulkheadSettings, CallSettings};
use super::stats::Counters;

/// How long all calls may be shed before one is let through, to see.
const UNMEASURED: Duration = Duration::from_secs(1);

pub(super) struct Callee {
    pub(super) id: ActorId,
    pub(super) label: String,
    /// Shared by all policies of the system.
    pub(super) ledger: Arc<Ledger>,
    pub(super) breaker: Breaker,
    pub(super) bulkhead: Arc<Bulkhead>,
    pub(super) rate: Rate,
    pub(super) latency: Latency,
    pub(super) counters: Counters,
    clock: Clock,
    last_used: AtomicU64,
    /// When a call was last measured, or let through to be.
    last_measured: AtomicU64,
    /// Which settings of the policy its gates have taken in.
    version: AtomicU64,
}

impl Callee {
    pub(super) fn new(id: ActorId, label: String, ledger: Arc<Ledger>, clock: &Clock) -> Self {
        Callee {
            id,
            label,
            ledger,
            breaker: Breaker::new(),
            bulkhead: Bulkhead::new(&BulkheadSettings::default()),
            rate: Rate::new(),
            latency: Latency::new(),
            counters: Counters::default(),
            clock: clock.clone(),
            last_used: AtomicU64::new(clock.coarse_now().as_nanos()),
            last_measured: AtomicU64::new(0),
            version: AtomicU64::new(0),
        }
    }

    pub(super) fn used(&self, now: Instant) {
        self.last_used.store(now.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> Instant {
        Instant::from_nanos(self.last_used.load(Ordering::Relaxed))
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// How long a call took.
    pub(super) fn measured(&self, now: Instant, took: Duration, half_life: Duration) {
        self.last_measured.store(now.as_nanos(), Ordering::Relaxed);
        self.latency.record(now, took, half_life);
    }

    /// A call took longer than that: nobody waited for its end.
    pub(super) fn cut(&self, now: Instant, after: Duration, half_life: Duration) {
        self.last_measured.store(now.as_nanos(), Ordering::Relaxed);
        self.latency.cut(now, after, half_life);
    }

    /// Whether a call is let through although it looks hopeless, because none was measured for [`UNMEASURED`]: calls
    /// that are all shed would never learn that the callee is well again.
    #[cold]
    pub(super) fn is_measured_again(&self, now: Instant) -> bool {
        let last = self.last_measured.load(Ordering::Relaxed);
        let due = now.since(Instant::from_nanos(last)) >= UNMEASURED;
        let now = now.as_nanos();
        due && self
            .last_measured
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Which settings of the policy its gates have taken in.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// The policy has other settings: those who wait for room may have it now.
    pub(super) fn changed(&self, settings: &CallSettings, version: u64) {
        self.version.store(version, Ordering::Relaxed);
        if let Some(bulkhead) = &settings.bulkhead {
            self.bulkhead.changed(bulkhead);
        }
    }
}
