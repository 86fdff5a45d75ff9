//! What a policy counts.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! counted {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one callee.
        #[derive(Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Counters {
            /// Takes over what another had counted.
            pub(super) fn absorb(&self, other: &Counters) {
                $(self.$name.fetch_add(other.$name.load(Ordering::Relaxed), Ordering::Relaxed);)*
            }
        }

        /// What a [`CallPolicy`](crate::CallPolicy) did so far.
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
        #[non_exhaustive]
        pub struct PolicyStats {
            /// The policy's name.
            pub name: String,
            $($(#[$doc])* pub $name: u64,)*
        }

        impl PolicyStats {
            pub(super) fn add(&mut self, counters: &Counters) {
                $(self.$name += counters.$name.load(Ordering::Relaxed);)*
            }
        }
    };
}

counted! {
    /// Requests that went through it.
    requests,
    /// Attempts that followed a failed one.
    retries,
    /// Second attempts beside a slow one.
    hedges,
    /// Requests that were answered by the second attempt beside the first.
    hedges_won,
    /// Requests that were answered after an attempt of theirs had failed.
    recovered,
    /// Requests that failed for good.
    failed,
    /// Attempts that ended at their time limit.
    timed_out,
    /// Retries and hedges that the budget refused.
    over_budget,
    /// Retries that would have started after the deadline.
    out_of_time,
    /// Retries left to the caller, because it retries (G18).
    caller_retries,
    /// Attempts that an open breaker refused.
    broken,
    /// Attempts that the rate limit refused.
    over_rate,
    /// Attempts for which there was no room in the bulkhead.
    crowded,
    /// Attempts that were shed: they would have come too late.
    shed,
}

impl PolicyStats {
    pub(super) fn named(name: &str) -> Self {
        PolicyStats {
            name: name.to_owned(),
            ..PolicyStats::default()
        }
    }

    /// Attempts that were made or refused: the first of each request, the retries and the hedges.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.requests + self.retries + self.hedges
    }
}

/// Adds one.
#[inline]
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
