//! Supervision trees: who starts whom, what follows a failure, and how all of it is seen (G13, G15, G16).
//!
//! [`Supervisor::builder`](supervisor::Supervisor::builder) describes a tree, [`SupervisorRef`] is what one holds in hand
//! when it runs. The rules are in [`engine`], a machine that calls nobody; [`shared`] keeps it, feeds it and does what
//! it says; [`runner`] is the loop that does so in time.

pub(crate) mod backoff;
mod builder;
mod child;
mod engine;
mod event;
mod intensity;
mod place;
mod reference;
mod runner;
mod shared;
mod snapshot;
mod strategy;
mod supervisor;
mod worst_case;

pub use backoff::Backoff;
pub use builder::{DEFAULT_MAX_CHILDREN, SupervisorBuilder, TreeError, TreeProblem};
pub use child::{Child, DEFAULT_SHUTDOWN_TIME, DEFAULT_START_LIMIT, Decision, OnFrozen, Restart};
pub use engine::{ChildErrorKind, ChildId};
pub use event::{ALL_EVENTS, TreeEvent, TreeEventKind};
pub use intensity::{DEFAULT_INTENSITY, DEFAULT_PERIOD, Intensity};
pub use reference::{ChildError, SupervisorRef};
pub use snapshot::{ChildState, Supervises, TreeSnapshot};
pub use strategy::{AutoShutdown, Strategy};
pub use supervisor::{Observe, Supervisor};
pub use worst_case::WorstCase;
