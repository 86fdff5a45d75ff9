//! Callboard's policies: part by part, and one on top of the other.

use std::time::Duration;

use callboard_supervision::{
    AdaptiveMode, AdaptiveSettings, BreakerSettings, BulkheadSettings, CallPolicy, CallSettings,
    HedgeSettings, RateSettings, RetrySettings, ShedSettings,
};

use common::run::Result;

/// So long that no call of a run comes near it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// What a policy consists of. From [`Usual`](Policy::Usual) on each has what the one before it has, and something more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Policy {
    /// All off: the call is counted, and its callee looked up.
    Nothing,
    Deadline,
    /// With its budget.
    Retry,
    Breaker,
    /// What the goal is for.
    Usual,
    /// And a time limit that follows a percentile, and a place in a bulkhead.
    Held,
    /// And a rate limit.
    Rated,
    /// And what comes too late is shed.
    Shedding,
    /// And a hedge that is due only after a time that no call takes.
    Hedged,
}

impl Policy {
    pub(crate) const ALL: [Policy; 9] = [
        Policy::Nothing,
        Policy::Deadline,
        Policy::Retry,
        Policy::Breaker,
        Policy::Usual,
        Policy::Held,
        Policy::Rated,
        Policy::Shedding,
        Policy::Hedged,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Policy::Nothing => "policy: nothing",
            Policy::Deadline => "policy: deadline",
            Policy::Retry => "policy: retry + budget",
            Policy::Breaker => "policy: breaker",
            Policy::Usual => USUAL,
            Policy::Held => "policy: + adaptive timeout, bulkhead",
            Policy::Rated => "policy: + rate limit",
            Policy::Shedding => "policy: + shedding",
            Policy::Hedged => "policy: + hedge, armed",
        }
    }

    /// A policy of its own.
    pub(crate) fn make(self) -> Result<CallPolicy> {
        Ok(CallPolicy::new(self.name(), self.settings())?)
    }

    fn settings(self) -> CallSettings {
        let usual = self >= Policy::Usual;
        let mut settings = CallSettings {
            deadline: (usual || self == Policy::Deadline).then_some(DEADLINE),
            retry: (usual || self == Policy::Retry).then(RetrySettings::default),
            breaker: (usual || self == Policy::Breaker).then(BreakerSettings::default),
            bulkhead: (self >= Policy::Held).then(BulkheadSettings::default),
            rate: (self >= Policy::Rated).then_some(RateSettings {
                per_second: 1e9,
                burst: u32::MAX,
                ..RateSettings::default()
            }),
            shed: (self >= Policy::Shedding).then(ShedSettings::default),
            hedge: (self >= Policy::Hedged).then_some(HedgeSettings {
                at_least: DEADLINE / 2,
                ..HedgeSettings::default()
            }),
            ..CallSettings::nothing()
        };
        if self >= Policy::Held {
            settings.attempt.adaptive = Some(AdaptiveSettings {
                mode: AdaptiveMode::Follow,
                // A thread that is held up for a moment must not end a call.
                floor: DEADLINE / 2,
                ..AdaptiveSettings::default()
            });
        }
        settings
    }
}

pub(crate) const USUAL: &str = "policy: deadline, retry + budget, breaker";

/// Fails unless every call went well at its first attempt.
pub(crate) fn check(policy: &CallPolicy, calls: u64) -> Result<()> {
    let stats = policy.stats();
    if (stats.requests, stats.attempts(), stats.failed) != (calls, calls, 0) {
        return Err(format!("of {calls} calls not all went well at once: {stats:?}").into());
    }
    Ok(())
}
