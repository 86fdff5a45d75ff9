//! How calls are made that may fail.

pub(crate) mod settings;

pub use settings::{
    AdaptiveMode, AdaptiveSettings, AttemptSettings, BadSetting, BreakerMode, BreakerSettings,
    BudgetSettings, BulkheadSettings, CallSettings, HedgeSettings, Jitter, LONGEST_BUDGET_WINDOW,
    MAX_ATTEMPTS, RateSettings, RetrySettings, SHORTEST_BUDGET_WINDOW, ShedSettings,
};
