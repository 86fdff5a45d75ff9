//! One child as it is now.

use std::sync::Arc;

use callboard_core::clock::Instant;
use callboard_core::{ExitReason, Fault};

use super::orders::Waiter;
use crate::tree::child::Spec;
use crate::tree::snapshot::ChildState;

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) spec: Arc<Spec>,
    pub(crate) stage: Stage,
    /// What follows the end that was asked for.
    pub(super) then: Then,
    /// An incarnation was started and has not sent its last event.
    pub(crate) live: bool,
    /// How often it was started: which life this is, whatever its place calls it.
    pub(super) life: u64,
    /// It was added at run time, and goes with this incarnation of the supervisor.
    pub(super) dynamic: bool,
    /// It was added at run time and has never been up.
    pub(super) first: bool,
    /// Nobody knows how it is.
    pub(crate) unreachable: bool,
    /// As its last event said.
    pub(crate) incarnation: u64,
    /// Since when this incarnation is up.
    pub(super) up_since: Option<Instant>,
    pub(super) due: Option<Instant>,
    /// Waits in a row.
    pub(crate) attempt: u32,
    pub(crate) restarts: u64,
    /// Failures after which it went on.
    pub(crate) resumed: u64,
    pub(crate) last: Option<ExitReason>,
    /// Who waits for its start or its end.
    pub(super) waiters: Vec<Waiter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its turn to be started has not come.
    Waiting,
    Starting,
    Running,
    BackingOff {
        until: Instant,
    },
    /// It was asked to end.
    Stopping,
    /// It was killed and has a while to end.
    Killed,
    /// It was killed and doesn't end.
    Stuck,
    /// Its supervisor ends; it has.
    Down {
        failed: bool,
    },
    /// It doesn't run because somebody wants it so, or it had nothing to do. Its reference is valid.
    Held,
    /// It is never started again.
    Ended {
        failed: bool,
    },
}

/// What follows an end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Then {
    /// It wasn't asked for: what its supervisor decides.
    #[default]
    Decide,
    /// It was killed because of that: as if it had failed.
    Fail(Fault),
    /// It is started again with its group.
    Group,
    /// It is started again at once.
    Again,
    /// It is held.
    Hold,
    /// It is removed.
    Remove,
    /// Nothing: its supervisor ends.
    End,
}

impl Slot {
    pub(super) fn new(spec: Arc<Spec>) -> Self {
        Slot {
            spec,
            stage: Stage::Waiting,
            then: Then::default(),
            live: false,
            life: 0,
            dynamic: false,
            first: false,
            unreachable: false,
            incarnation: 0,
            up_since: None,
            due: None,
            attempt: 0,
            restarts: 0,
            resumed: 0,
            last: None,
            waiters: Vec::new(),
        }
    }

    /// Whether that life of it goes on.
    pub(super) fn lives(&self, life: u64) -> bool {
        self.live && self.life == life
    }

    /// Whether it lives and nobody has asked it to end.
    pub(super) fn is_at_work(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Running)
    }

    /// Whether it lives and has been asked to end.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Stopping | Stage::Killed | Stage::Stuck)
    }

    /// Whether it counts as active for an auto-shutdown.
    pub(super) fn is_active(&self) -> bool {
        !matches!(
            self.stage,
            Stage::Ended { .. } | Stage::Held | Stage::Down { .. }
        )
    }

    pub(crate) fn shown(&self, now: Instant) -> ChildState {
        match self.stage {
            Stage::Waiting => ChildState::Waiting,
            _ if self.unreachable => ChildState::Unreachable,
            Stage::Starting => ChildState::Starting,
            Stage::Running => ChildState::Running,
            Stage::BackingOff { until } => ChildState::BackingOff {
                retry_in_ms: u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX),
                attempt: self.attempt,
            },
            Stage::Stopping | Stage::Killed => ChildState::Stopping,
            Stage::Stuck => ChildState::Stuck,
            Stage::Held => ChildState::Held,
            Stage::Down { failed: false } | Stage::Ended { failed: false } => ChildState::Stopped,
            Stage::Down { failed: true } | Stage::Ended { failed: true } => ChildState::Failed,
        }
    }
}
