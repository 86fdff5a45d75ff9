//! How calls are made that may fail.

// The engine takes the gates into use.
#[allow(dead_code)]
pub(crate) mod breaker;
#[allow(dead_code)]
pub(crate) mod budget;
#[allow(dead_code)]
pub(crate) mod bulkhead;
#[allow(dead_code)]
pub(crate) mod latency;
#[allow(dead_code)]
pub(crate) mod rate;
pub(crate) mod settings;

pub use breaker::BreakerState;
pub use latency::LatencySummary;
pub use settings::{
    AdaptiveMode, AdaptiveSettings, AttemptSettings, BadSetting, BreakerMode, BreakerSettings,
    BudgetSettings, BulkheadSettings, CallSettings, HedgeSettings, Jitter, LONGEST_BUDGET_WINDOW,
    MAX_ATTEMPTS, RateSettings, RetrySettings, SHORTEST_BUDGET_WINDOW, ShedSettings,
};
