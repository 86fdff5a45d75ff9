//! What a policy keeps of one callee.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard_core::ActorId;
use callboard_core::clock::{Clock, Instant};

use super::breaker::Breaker;
use super::budget::Ledger;
use super::bulkhead::Bulkhead;
use super::latency::Latency;
use super::rate::Rate;
use super::settings::{BulkheadSettings, CallSettings};
use super::stats::Counters;

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

    /// The policy has other settings: those who wait for room may have it now.
    pub(super) fn changed(&self, settings: &CallSettings) {
        if let Some(bulkhead) = &settings.bulkhead {
            self.bulkhead.changed(bulkhead);
        }
    }
}
