//! What happens in a tree, as it happens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::clock::Instant;
use callboard_core::{ChildKind, ExitReason, Fault};
use serde::Serialize;

use super::child::Spec;
use super::engine::Slot;

/// The pattern that all events match.
pub const ALL_EVENTS: &str = "tree.>";

/// Something that happened to a child of a supervisor. Published to the [topic](crate::SupervisorRef::events) of its
/// supervisor and of all above it, under `tree.<what>` with the [name](TreeEventKind::name) of what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TreeEvent {
    /// When, on the system's clock.
    pub at: Instant,
    /// The supervisors above it by their labels, from the top.
    pub supervisors: Vec<String>,
    /// The child's label.
    pub child: String,
    /// What it is.
    pub kind: ChildKind,
    /// Its incarnation, counted from 1.
    pub incarnation: u64,
    /// What happened.
    pub what: TreeEventKind,
}

impl TreeEvent {
    /// `app/pages/renderer`: the labels from the top, for people.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = self.supervisors.join("/");
        path.push('/');
        path.push_str(&self.child);
        path
    }
}

impl fmt::Display for TreeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path(), self.what)
    }
}

/// What happened to a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TreeEventKind {
    /// It is up, for the first time.
    Started,
    /// It is up again.
    Restarted,
    /// It ended or did not start, and will be started again.
    Failed {
        /// Why.
        cause: String,
        /// After how many milliseconds.
        retry_in_ms: u64,
        /// Which wait in a row this is, counted from 1.
        attempt: u32,
    },
    /// It ended, and is not started again.
    Ended {
        /// Why.
        cause: String,
    },
    /// It was stopped because somebody wanted it so, or had nothing to do. It can be started again.
    Held,
    /// It failed in a way after which it goes on.
    Resumed {
        /// What it said.
        cause: String,
    },
    /// It lives and doesn't move.
    NoProgress {
        /// What was waited for.
        what: String,
    },
    /// It was too late in ending, and killed.
    KilledLate,
    /// It was killed and does not end; nothing is started in its place.
    Stuck,
    /// The connection to it was lost.
    NoConnection,
    /// It can be reached again.
    Reconnected,
    /// It failed once too often, or in a way that is passed on: its supervisor fails.
    GaveUp {
        /// The chain of causes.
        cause: String,
    },
}

impl TreeEventKind {
    /// Its name: the last level of the subject.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            TreeEventKind::Started => "started",
            TreeEventKind::Restarted => "restarted",
            TreeEventKind::Failed { .. } => "failed",
            TreeEventKind::Ended { .. } => "ended",
            TreeEventKind::Held => "held",
            TreeEventKind::Resumed { .. } => "resumed",
            TreeEventKind::NoProgress { .. } => "no_progress",
            TreeEventKind::KilledLate => "killed_late",
            TreeEventKind::Stuck => "stuck",
            TreeEventKind::NoConnection => "no_connection",
            TreeEventKind::Reconnected => "reconnected",
            TreeEventKind::GaveUp { .. } => "gave_up",
        }
    }

    /// Whether somebody should look: it isn't what a tree does every day.
    pub(crate) fn is_trouble(&self) -> bool {
        !matches!(
            self,
            TreeEventKind::Started
                | TreeEventKind::Restarted
                | TreeEventKind::Ended { .. }
                | TreeEventKind::Held
                | TreeEventKind::Reconnected
        )
    }

    /// `tree.<name>`.
    pub(crate) fn subject(&self) -> String {
        format!("tree.{}", self.name())
    }
}

impl fmt::Display for TreeEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeEventKind::Started => f.write_str("started"),
            TreeEventKind::Restarted => f.write_str("restarted"),
            TreeEventKind::Failed {
                cause,
                retry_in_ms,
                attempt,
            } => write!(f, "failed, try {attempt} in {retry_in_ms} ms: {cause}"),
            TreeEventKind::Ended { cause } => write!(f, "ended: {cause}"),
            TreeEventKind::Held => f.write_str("held"),
            TreeEventKind::Resumed { cause } => write!(f, "goes on: {cause}"),
            TreeEventKind::NoProgress { what } => write!(f, "makes no progress: {what}"),
            TreeEventKind::KilledLate => f.write_str("killed: too late"),
            TreeEventKind::Stuck => f.write_str("can't be ended"),
            TreeEventKind::NoConnection => f.write_str("can't be reached"),
            TreeEventKind::Reconnected => f.write_str("can be reached again"),
            TreeEventKind::GaveUp { cause } => write!(f, "given up: {cause}"),
        }
    }
}

/// An event of a child, on its way to those who listen.
pub(crate) struct Happened {
    pub(crate) spec: Arc<Spec>,
    pub(crate) incarnation: u64,
    pub(crate) what: TreeEventKind,
}

impl Happened {
    pub(crate) fn of(slot: &Slot, what: TreeEventKind) -> Self {
        Happened {
            spec: Arc::clone(&slot.spec),
            incarnation: slot.incarnation,
            what,
        }
    }

    pub(crate) fn started(slot: &Slot) -> Self {
        let what = if slot.incarnation > 1 {
            TreeEventKind::Restarted
        } else {
            TreeEventKind::Started
        };
        Happened::of(slot, what)
    }

    pub(crate) fn failed(slot: &Slot, reason: &ExitReason, delay: Duration) -> Self {
        let what = TreeEventKind::Failed {
            cause: reason.to_string(),
            retry_in_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            attempt: slot.attempt,
        };
        Happened::of(slot, what)
    }

    pub(crate) fn ended(slot: &Slot, reason: &ExitReason) -> Self {
        let cause = reason.to_string();
        Happened::of(slot, TreeEventKind::Ended { cause })
    }

    pub(crate) fn gave_up(slot: &Slot, why: &Fault) -> Self {
        let cause = why.to_string();
        Happened::of(slot, TreeEventKind::GaveUp { cause })
    }
}
