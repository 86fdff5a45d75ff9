//! A policy as its calls see it: one value that is swapped whole when a setting changes or a callee is new.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use callboard_core::clock::Instant;
use callboard_core::{ActorId, System};
use parking_lot::Mutex;

use super::budget::Ledger;
use super::bulkhead::Entry;
use super::callee::Callee;
use super::settings::{BulkheadSettings, CallSettings, RateSettings};
use super::stats::{Counters, PolicyStats};

/// How many callees a policy remembers at most; the one that was called longest ago goes first, and its latencies and
/// the state of its breaker with it. What it counted stays in the sums.
pub const MAX_CALLEES: usize = 1_024;

/// A callee that was not called for so long doesn't count as something else that could be asked.
const IDLE: Duration = Duration::from_secs(600);

/// What the clones of a policy share.
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    live: ArcSwap<Live>,
    changes: AtomicU64,
    /// What callees that are forgotten had counted. Its lock is also that of who makes a new `Live`.
    gone: Mutex<Counters>,
}

/// The settings and the callees.
pub(super) struct Live {
    pub(super) name: Arc<str>,
    pub(super) settings: CallSettings,
    /// How often the settings were changed before.
    version: u64,
    /// Sorted by id.
    pub(super) callees: Vec<(ActorId, Arc<Callee>)>,
}

impl Live {
    fn find(&self, id: ActorId) -> Result<usize, usize> {
        self.callees
            .binary_search_by_key(&id.as_u64(), |(id, _)| id.as_u64())
    }

    /// Whether these settings are the policy's still. A call goes on with what it began with, but what callers share is
    /// set by the newest only.
    fn is_newest_for(&self, callee: &Callee) -> bool {
        self.version == callee.version()
    }

    /// A place in the callee's bulkhead.
    #[inline]
    pub(super) fn enter_bulkhead(&self, callee: &Callee, settings: &BulkheadSettings) -> Entry {
        if self.is_newest_for(callee) {
            callee.bulkhead.try_enter(settings)
        } else {
            callee.bulkhead.enter_as_it_is(settings)
        }
    }

    /// A turn under the callee's rate limit.
    #[inline]
    pub(super) fn reserve_turn(
        &self,
        callee: &Callee,
        now: Instant,
        settings: &RateSettings,
        longest: Duration,
    ) -> Result<Duration, Duration> {
        if self.is_newest_for(callee) {
            callee.rate.reserve_within(now, settings, longest)
        } else {
            callee.rate.reserve_as_it_is(now, settings, longest)
        }
    }

    /// Whether something else than that callee was asked lately.
    pub(super) fn has_others(&self, callee: &Callee, now: Instant) -> bool {
        let recent = |other: &Callee| now.since(other.last_used()) < IDLE;
        let mut callees = self.callees.iter();
        callees.any(|(id, other)| *id != callee.id && recent(other))
    }
}

impl Shared {
    pub(super) fn new(name: Arc<str>, settings: CallSettings) -> Self {
        let live = Live {
            name: Arc::clone(&name),
            settings,
            version: 0,
            callees: Vec::new(),
        };
        Shared {
            name,
            live: ArcSwap::from_pointee(live),
            changes: AtomicU64::new(0),
            gone: Mutex::default(),
        }
    }

    pub(super) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(super) fn change(&self, settings: CallSettings) {
        let _making = self.gone.lock();
        let live = self.live.load();
        let version = live.version + 1;
        for (_, callee) in &live.callees {
            callee.changed(&settings, version);
        }
        let next = Live {
            name: Arc::clone(&self.name),
            settings,
            version,
            callees: live.callees.clone(),
        };
        self.live.store(Arc::new(next));
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> PolicyStats {
        let gone = self.gone.lock();
        let live = self.live.load();
        let mut stats = PolicyStats::named(&self.name);
        stats.add(&gone);
        for (_, callee) in &live.callees {
            stats.add(&callee.counters);
        }
        stats
    }

    /// What a call to that callee works with, and where the callee is in it.
    #[inline]
    pub(super) fn live_for(
        &self,
        id: ActorId,
        system: &System,
        label: impl FnOnce() -> String,
    ) -> (Arc<Live>, usize) {
        let live = self.live.load_full();
        match live.find(id) {
            Ok(at) => (live, at),
            Err(_) => self.meet(id, system, label()),
        }
    }

    /// A callee that is new.
    #[cold]
    fn meet(&self, id: ActorId, system: &System, label: String) -> (Arc<Live>, usize) {
        let ledger = system.extension::<Ledgers>().of(id);
        let gone = self.gone.lock();
        let live = self.live.load_full();
        if let Ok(at) = live.find(id) {
            return (live, at);
        }
        let mut callees = live.callees.clone();
        if callees.len() >= MAX_CALLEES {
            let oldest = callees.iter().enumerate();
            let oldest = oldest.min_by_key(|(_, (_, callee))| callee.last_used());
            if let Some((at, _)) = oldest {
                gone.absorb(&callees.remove(at).1.counters);
            }
        }
        let callee = Callee::new(id, label, ledger, system.clock());
        callee.changed(&live.settings, live.version);
        let callee = Arc::new(callee);
        let at = callees.partition_point(|(other, _)| other.as_u64() < id.as_u64());
        callees.insert(at, (id, callee));
        let next = Arc::new(Live {
            name: Arc::clone(&self.name),
            settings: live.settings.clone(),
            version: live.version,
            callees,
        });
        self.live.store(Arc::clone(&next));
        (next, at)
    }
}

/// The retry budgets of a system's callees, which all policies share (G17).
#[derive(Default)]
pub(super) struct Ledgers {
    by_callee: Mutex<HashMap<u64, Weak<Ledger>>>,
}

impl Ledgers {
    fn of(&self, callee: ActorId) -> Arc<Ledger> {
        let mut ledgers = self.by_callee.lock();
        if let Some(ledger) = ledgers.get(&callee.as_u64()).and_then(Weak::upgrade) {
            return ledger;
        }
        // Those that no policy has any more make room where the map would grow.
        if ledgers.len() == ledgers.capacity() {
            ledgers.retain(|_, ledger| ledger.strong_count() > 0);
        }
        let ledger = Arc::new(Ledger::new());
        ledgers.insert(callee.as_u64(), Arc::downgrade(&ledger));
        ledger
    }
}
