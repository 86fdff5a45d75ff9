//! How calls are made that may fail.

mod file;
pub(crate) mod settings;

pub use file::{
    DEFAULT_POLICY_LOOK, FilePosition, MAX_POLICIES, MAX_POLICY_FILE, NoSuchPolicy, PolicyFile,
    PolicyFileBuilder, PolicyFileChange, PolicyFileError, PolicyFileEvent, PolicyFileStatus,
    PolicyProblem, PolicyProblemKind, SHORTEST_POLICY_LOOK, SettingChange,
};
pub use settings::{
    AdaptiveMode, AdaptiveSettings, AttemptSettings, BadSetting, BreakerMode, BreakerSettings,
    BudgetSettings, BulkheadSettings, CallSettings, HedgeSettings, Jitter, LONGEST_BUDGET_WINDOW,
    MAX_ATTEMPTS, RateSettings, RetrySettings, SHORTEST_BUDGET_WINDOW, ShedSettings,
};
