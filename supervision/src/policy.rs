//! How calls are made that may fail: with how much patience, how often again, and at whose cost.
//!
//! A [`CallPolicy`] is a value with a name. It is put on an ask or an offer, and makes of it a call that ends in one
//! of two ways, as before: with the answer, or with one error that has a verdict and gives the message back.
//!
//! ```
//! use std::time::Duration;
//! use callboard_core::{Message, Recipient, RequestKey};
//! use callboard_supervision::{AskExt, CallPolicy, CallSettings};
//!
//! #[derive(Clone)]
//! struct Pay { to: &'static str, cents: u64 }
//! impl Message for Pay { type Reply = u64; }
//!
//! async fn pay(bank: Recipient<Pay>, policy: &CallPolicy) -> Result<u64, Box<dyn std::error::Error>> {
//!     let key = RequestKey::new();
//!     let balance = bank.ask(Pay { to: "John", cents: 100 })
//!         .deadline(Duration::from_millis(500))
//!         .key(key)
//!         .policy(policy)
//!         .await?;
//!     Ok(balance)
//! }
//! ```

mod aim;
mod breaker;
mod budget;
mod bulkhead;
mod call;
mod callee;
mod engine;
mod explain;
mod file;
mod latency;
mod live;
mod offer;
mod rate;
mod refusal;
pub(crate) mod settings;
mod stats;

use std::fmt;
use std::sync::Arc;

use callboard_core::{ActorId, System};

pub use breaker::BreakerState;
pub use call::{AskExt, Call, Calling, Idempotent};
pub use explain::{CalleeExplanation, Explanation};
pub use file::{
    DEFAULT_POLICY_LOOK, FilePosition, MAX_POLICIES, MAX_POLICY_FILE, NoSuchPolicy, PolicyFile,
    PolicyFileBuilder, PolicyFileChange, PolicyFileError, PolicyFileEvent, PolicyFileStatus,
    PolicyProblem, PolicyProblemKind, SHORTEST_POLICY_LOOK, SettingChange,
};
pub use latency::LatencySummary;
pub use live::MAX_CALLEES;
pub use offer::{OfferCall, OfferCalling, OfferExt};
pub use settings::{
    AdaptiveMode, AdaptiveSettings, AttemptSettings, BadSetting, BreakerMode, BreakerSettings,
    BudgetSettings, BulkheadSettings, CallSettings, HedgeSettings, Jitter, LONGEST_BUDGET_WINDOW,
    MAX_ATTEMPTS, RateSettings, RetrySettings, SHORTEST_BUDGET_WINDOW, ShedSettings,
};
pub use stats::PolicyStats;

use live::{Live, Shared};

/// How calls are made: a value with a name, which can be changed while it is in use. Clones are the same policy.
///
/// Its [settings](CallSettings) say what each part is.
///
/// # The order
/// What a policy consists of is always put together in the same order, from the outside in, each part only if it is
/// set:
///
/// | | part | what it does when it says no |
/// |---|---|---|
/// | 1 | [fallback](AskExt::fallback), at the call | answers in place of the callee, marked as degraded |
/// | 2 | deadline of the request | `DeadlineExceeded` |
/// | 3 | [retry](RetrySettings) with its [budget](BudgetSettings), one layer only (G18) | hands on the failure |
/// | | *for each attempt* | |
/// | 4 | [breaker](BreakerSettings), looked at | `Overloaded`, `NotSent`, with `retry_after` |
/// | 5 | [rate limit](RateSettings) | waits, or `Overloaded`, `NotSent`, with `retry_after` |
/// | 6 | [bulkhead](BulkheadSettings) | waits, or `Overloaded`, `NotSent` |
/// | 7 | [shedding](ShedSettings) | `Overloaded`, `NotSent` |
/// | 8 | breaker, entered: an attempt that tries a callee again is counted here | as 4 |
/// | 9 | [hedge](HedgeSettings): after a while a second attempt beside the first, through 4 to 8 without waiting | goes on with one |
/// | 10 | [time of the attempt](AttemptSettings) | `DeadlineExceeded`, with the callee's verdict |
///
/// So an open breaker costs no token and no place; a place is held by attempts, not by who waits between them; and
/// what waited in line is looked at again before it goes. What a policy itself refuses is not tried again by it:
/// refusing is meant to make less work.
///
/// # What is kept for whom
/// The retries of all policies to one callee in the process are counted together, and each policy has its own limit
/// on the sum (G17). Breaker, bulkhead, rate, latencies and counters are those of one policy and one callee. A callee
/// is whatever has an id of its own: an actor over its restarts, a pool, a name of another process, a queue.
///
/// # Changing it
/// [`change`](CallPolicy::change) sets it anew while it is in use; [`PolicyFile`](crate::PolicyFile) does so from a
/// file. A call goes on with what it began with; the next one has the new settings. Counts, latencies and the state
/// of the breaker stay.
///
/// # Guarantees
/// - All attempts happen inside the request's one deadline, which is inherited and only shrinks (G9, G17).
/// - Tried again is only what certainly did not run (`NotSent`, `NotExecuted`), or what has a request key, or an
///   [`Idempotent`] type. A key protects only where the receiver deduplicates by it ([`Dedup`](crate::Dedup)); against
///   one that doesn't, don't set it.
/// - Some failures are final whatever the verdict, because the next attempt would meet the same: an unknown name,
///   type or version, a bad or too large payload, a missing right, `KeyReused`, `Indeterminate`, a cycle.
/// - Waits between attempts are jittered and capped, and at least as long as the callee asked for with
///   [`retry_after`](callboard_core::Failure::retry_after).
/// - All retries and hedges stay inside the budget (G17).
/// - One layer retries: each attempt says that its caller retries; if the request that is being handled says so,
///   there is one attempt here, and no hedge (G18).
/// - The error at the end has the worst verdict of all attempts: if one may have run, so may the request.
#[derive(Clone)]
pub struct CallPolicy {
    shared: Arc<Shared>,
}

impl CallPolicy {
    /// A policy with a name for people and files.
    ///
    /// # Errors
    /// [`BadSetting`] names a setting that makes no sense.
    pub fn new(name: impl Into<Arc<str>>, settings: CallSettings) -> Result<Self, BadSetting> {
        settings.check()?;
        Ok(CallPolicy {
            shared: Arc::new(Shared::new(name.into(), settings)),
        })
    }

    /// A policy with the [default settings](CallSettings::default).
    #[must_use]
    pub fn with_defaults(name: impl Into<Arc<str>>) -> Self {
        CallPolicy {
            shared: Arc::new(Shared::new(name.into(), CallSettings::default())),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it is set to now.
    #[must_use]
    pub fn settings(&self) -> CallSettings {
        self.shared.live().settings.clone()
    }

    /// Sets it anew, from the next call on. Counts and states stay.
    ///
    /// # Errors
    /// [`BadSetting`] names a setting that makes no sense; then nothing has changed.
    pub fn change(&self, settings: CallSettings) -> Result<(), BadSetting> {
        settings.check()?;
        self.shared.change(settings);
        Ok(())
    }

    /// How often it was changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.shared.changes()
    }

    /// What it did so far, for all callees together.
    #[must_use]
    pub fn stats(&self) -> PolicyStats {
        self.shared.stats()
    }

    /// What it is set to, what it did, and how each of its callees looks from here: latencies, the current time
    /// limit, what is left of the budget, the breaker. Printed, it is a page for people.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        Explanation::of(&self.shared)
    }

    /// What a call to that callee works with.
    #[inline]
    fn live_for(
        &self,
        id: ActorId,
        system: &System,
        label: impl FnOnce() -> String,
    ) -> (Arc<Live>, usize) {
        self.shared.live_for(id, system, label)
    }
}

impl fmt::Debug for CallPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallPolicy")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}
