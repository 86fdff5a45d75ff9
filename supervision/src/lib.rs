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

mod backoff;
mod budget;
mod child;
mod dedup;
mod fallback;
mod intensity;
mod place;
mod retry;
mod shutdown;
mod snapshot;
mod supervise;
mod supervisor;
mod tree;

pub use backoff::Backoff;
pub use budget::{BudgetStats, RetryBudget};
pub use child::{Child, DEFAULT_SHUTDOWN_TIME, Restart};
pub use dedup::{
    DEFAULT_DEDUP_BYTES, DEFAULT_DEDUP_ENTRIES, DEFAULT_DEDUP_WAITERS, DEFAULT_DEDUP_WINDOW, Dedup,
    DedupBuilder, DedupStats, ReplaySafe,
};
pub use fallback::{Answer, Answering, Fallback, Why};
pub use intensity::{DEFAULT_INTENSITY, DEFAULT_PERIOD, Intensity};
pub use retry::{AskExt, Idempotent, Retry, RetryPolicy, RetryStats, Retrying};
pub use shutdown::{
    LateChild, PartKind, PartReport, Phase, PhaseReport, SecondSignal, Shutdown, ShutdownCause,
    ShutdownOutcome, ShutdownReport, ShutdownTask, Signal, SignalsError, SystemEnd, WorkEnd,
};
pub use snapshot::{ChildState, TreeSnapshot};
pub use supervisor::{Observe, Supervisor, SupervisorBuilder, SupervisorRef};
