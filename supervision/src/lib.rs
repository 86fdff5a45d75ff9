//! Supervision trees and call policies of Callboard.
//!
//! Supervisors own failure: they start children in order, restart those that fail, wait longer between
//! restarts while it doesn't help, and give up upward when it doesn't stop: [`Supervisor`]. Callers own their
//! patience: how long a call may take, how often it is tried again, and at whose cost: [`CallPolicy`]. Receivers own
//! their effects: what must not run twice doesn't: [`Dedup`]. And what can't be had in time is replaced, and says
//! so: [`Answer`]. A program ends in order, and says what it cut off: [`Shutdown`].
//!
//! Programs use the facade crate `callboard`. This crate takes part through the seams of the core: children live in
//! a [`Place`](callboard_core::Place), dedup is an [`Admission`](callboard_core::Admission), and policies take
//! an [`Ask`](callboard_core::Ask) apart.

// The macros name the core by its facade's name.
extern crate callboard_core as callboard;

mod dedup;
mod fallback;
mod outcome;
mod policy;
mod shutdown;
#[cfg(any(test, feature = "test"))]
pub mod testing;
mod tree;

pub use dedup::{
    DEFAULT_CLOCK_MARGIN, DEFAULT_DEDUP_BYTES, DEFAULT_DEDUP_ENTRIES, DEFAULT_DEDUP_WAITERS,
    DEFAULT_DEDUP_WINDOW, Dedup, DedupBuilder, DedupStats, DurableDedupBuilder, FINGERPRINT_WINDOW,
    FingerprintStats, ReplaySafe, Resolution, Resolve, Resolver,
};
pub use fallback::{
    Answer, Answering, AskingElsewhere, DEFAULT_LAST_ANSWERS, Elsewhere, Fallback, FromLast,
    LastAnswers, RecallingLast, Why,
};
pub use outcome::{DEFAULT_OUTCOME_BYTES, Once, OnceError, OutcomeStore, OutcomeTx, RequestId};
pub use policy::{
    AdaptiveMode, AdaptiveSettings, AskExt, AttemptSettings, BadSetting, BreakerMode,
    BreakerSettings, BreakerState, BudgetSettings, BulkheadSettings, Call, CallPolicy,
    CallSettings, CalleeExplanation, Calling, Explanation, HedgeSettings, Idempotent, Jitter,
    LONGEST_BUDGET_WINDOW, LatencySummary, MAX_ATTEMPTS, MAX_CALLEES, OfferCall, OfferCalling,
    OfferExt, PolicyStats, RateSettings, RetrySettings, SHORTEST_BUDGET_WINDOW, ShedSettings,
};
pub use policy::{
    DEFAULT_POLICY_LOOK, FilePosition, MAX_POLICIES, MAX_POLICY_FILE, NoSuchPolicy, PolicyFile,
    PolicyFileBuilder, PolicyFileChange, PolicyFileError, PolicyFileEvent, PolicyFileStatus,
    PolicyProblem, PolicyProblemKind, SHORTEST_POLICY_LOOK, SettingChange,
};
pub use shutdown::{
    LateChild, PartKind, PartReport, Phase, PhaseReport, SecondSignal, Shutdown, ShutdownCause,
    ShutdownOutcome, ShutdownReport, ShutdownTask, Signal, SignalsError, SystemEnd, WorkEnd,
};
pub use tree::{
    ALL_EVENTS, AutoShutdown, Backoff, Child, ChildError, ChildErrorKind, ChildId, ChildState,
    DEFAULT_INTENSITY, DEFAULT_MAX_CHILDREN, DEFAULT_PERIOD, DEFAULT_SHUTDOWN_TIME,
    DEFAULT_START_LIMIT, Decision, Intensity, Observe, OnFrozen, Restart, Strategy, Supervises,
    Supervisor, SupervisorBuilder, SupervisorRef, TreeError, TreeEvent, TreeEventKind, TreeProblem,
    TreeSnapshot, WorstCase,
};
