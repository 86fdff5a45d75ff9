//! Supervision trees and call policies of Callboard.
//!
//! Supervisors own failure: they start children in order, restart those that fail, wait longer between
//! restarts while it doesn't help, and give up upward when it doesn't stop: [`Supervisor`]. Callers own their
//! patience: how often a call is tried again, and at whose cost: [`RetryPolicy`], [`RetryBudget`]. Receivers own
//! their effects: what must not run twice doesn't: [`Dedup`]. And what can't be had in time is replaced, and says
//! so: [`Answer`]. A program ends in order, and says what it cut off: [`Shutdown`].
//!
//! Programs use the facade crate `callboard`. This crate takes part through the seams of the core: children live in
//! a [`Place`](callboard_core::Place), dedup is an [`Admission`](callboard_core::Admission), and policies take
//! an [`Ask`](callboard_core::Ask) apart.

// The macros name the core by its facade's name.
extern crate callboard_core as callboard;

mod budget;
mod dedup;
mod fallback;
mod outcome;
mod retry;
mod shutdown;
#[cfg(any(test, feature = "test"))]
pub mod testing;
mod tree;

pub use budget::{BudgetStats, RetryBudget};
pub use dedup::{
    DEFAULT_DEDUP_BYTES, DEFAULT_DEDUP_ENTRIES, DEFAULT_DEDUP_WAITERS, DEFAULT_DEDUP_WINDOW, Dedup,
    DedupBuilder, DedupStats, ReplaySafe,
};
pub use fallback::{Answer, Answering, Fallback, Why};
pub use outcome::{DEFAULT_OUTCOME_BYTES, Once, OnceError, OutcomeStore, OutcomeTx, RequestId};
pub use retry::{AskExt, Idempotent, Retry, RetryPolicy, RetryStats, Retrying};
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
