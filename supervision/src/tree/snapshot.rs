//! A tree as data, and drawn.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::clock::Instant;
use callboard_core::{ChildKind, ExitReason, Incarnation, MailboxState};
use serde::Serialize;

use super::child::{Restart, Spec};
use super::engine::{ChildId, Slot};
use super::reference::SupervisorRef;
use super::shared::Tree;
use super::strategy::Strategy;
use super::worst_case::WorstCase;

#[cfg(test)]
mod tests;

/// What a child is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChildState {
    /// Its turn to be started has not come.
    Waiting,
    /// It was started and is not up yet.
    Starting,
    /// It is up.
    Running,
    /// It failed and will be started again.
    BackingOff {
        /// In how many milliseconds.
        retry_in_ms: u64,
        /// Which wait in a row this is, counted from 1.
        attempt: u32,
    },
    /// It was asked to end and has not yet.
    Stopping,
    /// It doesn't run because somebody [had it stopped](crate::SupervisorRef::hold), or it had nothing to do. Its
    /// reference is valid, and it can be started again.
    Held,
    /// It ended in order and is not started again.
    Stopped,
    /// It failed and is not started again.
    Failed,
    /// It was killed and has not ended: code that never yields can't be (G11). Nothing is started in its
    /// place (G13).
    Stuck,
    /// The connection to it was lost: nobody knows how it is. Nothing is started in its place before it is sure to
    /// have ended (G12, G20).
    Unreachable,
}

impl fmt::Display for ChildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChildState::Waiting => f.write_str("waiting"),
            ChildState::Starting => f.write_str("starting"),
            ChildState::Running => f.write_str("running"),
            ChildState::BackingOff {
                retry_in_ms,
                attempt,
            } => write!(f, "backing off, try {attempt} in {retry_in_ms} ms"),
            ChildState::Stopping => f.write_str("stopping"),
            ChildState::Held => f.write_str("held"),
            ChildState::Stopped => f.write_str("stopped"),
            ChildState::Failed => f.write_str("failed"),
            ChildState::Stuck => f.write_str("stuck"),
            ChildState::Unreachable => f.write_str("unreachable"),
        }
    }
}

/// By which rules a supervisor treats its children, and how near it is to giving up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Supervises {
    /// Whom it starts again.
    pub strategy: Strategy,
    /// How many restarts within the period it allows.
    pub max_restarts: usize,
    /// The period, in milliseconds.
    pub period_ms: u64,
    /// How many restarts count now.
    pub counted: usize,
    /// What it and all below can do at the worst.
    pub worst_case: WorstCase,
}

/// A supervisor or one of its children at one moment, with all that is below.
///
/// `Display` draws the tree as text, one line a node, without a newline at the end. `{:#}` adds how near each supervisor is
/// to giving up, and under the tree what it can do at the worst.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TreeSnapshot {
    /// Its name for people.
    pub label: String,
    /// What it is.
    pub kind: ChildKind,
    /// Its number at its supervisor; `None` at the top.
    pub id: Option<ChildId>,
    /// What it is doing.
    pub state: ChildState,
    /// When it is started again; `None` at the top.
    pub restart: Option<Restart>,
    /// The name of the policy by which it is to be asked, if its supervisor hands one out.
    pub policy: Option<String>,
    /// By which rules it treats its children, if it is a supervisor.
    pub supervises: Option<Supervises>,
    /// How often it has been started.
    pub incarnation: Incarnation,
    /// How often its supervisor decided to start it again.
    pub restarts: u64,
    /// Failures after which it went on.
    pub resumed: u64,
    /// Why it last ended or did not start, if it ever did.
    pub last_cause: Option<String>,
    /// Its mailbox, if it has one in this process.
    pub mailbox: Option<MailboxState>,
    /// Its process id, if it is a process that runs.
    pub pid: Option<u32>,
    /// Its children, in the order they are started.
    pub children: Vec<TreeSnapshot>,
}

impl TreeSnapshot {
    /// The node with that label, this one included; the first from the top if there are several.
    #[must_use]
    pub fn find(&self, label: &str) -> Option<&TreeSnapshot> {
        if self.label == label {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(label))
    }

    /// Restarts of all children, of their children, and so on.
    #[must_use]
    pub fn restarts_below(&self) -> u64 {
        let below = |child: &TreeSnapshot| child.restarts + child.restarts_below();
        self.children.iter().map(below).sum()
    }

    fn line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.supervises {
            Some(Supervises { strategy, .. }) if *strategy != Strategy::OneForOne => {
                write!(
                    f,
                    "{} ({}, {strategy}): {}",
                    self.label, self.kind, self.state
                )?;
            }
            _ => write!(f, "{} ({}): {}", self.label, self.kind, self.state)?,
        }
        if let Some(supervises) = self.supervises.filter(|_| f.alternate()) {
            let Supervises {
                max_restarts,
                period_ms,
                counted,
                ..
            } = supervises;
            let period = Duration::from_millis(period_ms);
            write!(f, ", {counted} of {max_restarts} restarts in {period:?}")?;
        }
        if self.incarnation.0 > 1 {
            write!(f, ", incarnation {}", self.incarnation)?;
        }
        if self.restarts > 0 {
            write!(f, ", restarts {}", self.restarts)?;
        }
        if self.resumed > 0 {
            write!(f, ", went on {} times", self.resumed)?;
        }
        if let Some(mailbox) = &self.mailbox {
            write!(f, ", mailbox {}/{}", mailbox.len, mailbox.capacity)?;
        }
        if let Some(pid) = self.pid {
            write!(f, ", pid {pid}")?;
        }
        match &self.last_cause {
            // A panic's text may have lines; a node has one.
            Some(cause) => write!(f, ", last: {}", cause.replace('\n', " / ")),
            None => Ok(()),
        }
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>, indent: &str) -> fmt::Result {
        for (index, child) in self.children.iter().enumerate() {
            let last = index + 1 == self.children.len();
            let (branch, below) = if last {
                ("`-- ", "    ")
            } else {
                ("|-- ", "|   ")
            };
            write!(f, "\n{indent}{branch}")?;
            child.line(f)?;
            child.draw(f, &format!("{indent}{below}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for TreeSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line(f)?;
        self.draw(f, "")?;
        match &self.supervises {
            Some(supervises) if f.alternate() => write!(f, "\n{}", supervises.worst_case),
            _ => Ok(()),
        }
    }
}

impl Tree {
    /// The supervisor itself, as the root of what it sees.
    pub(crate) fn root(
        &self,
        incarnation: Incarnation,
        mailbox: MailboxState,
        exit: Option<ExitReason>,
    ) -> TreeSnapshot {
        let stopping = self.look(|state| state.stop || state.engine.is_ending());
        let shown = match &exit {
            Some(ExitReason::Stopped) => ChildState::Stopped,
            Some(_) => ChildState::Failed,
            None if stopping => ChildState::Stopping,
            None if self.is_up() => ChildState::Running,
            None => ChildState::Starting,
        };
        TreeSnapshot {
            label: self.label.to_string(),
            kind: ChildKind::Supervisor,
            id: None,
            state: shown,
            restart: None,
            policy: None,
            supervises: Some(self.supervises()),
            incarnation,
            restarts: incarnation.0.saturating_sub(1),
            resumed: 0,
            last_cause: exit.map(|exit| exit.to_string()),
            mailbox: Some(mailbox),
            pid: None,
            children: self.children(),
        }
    }

    fn supervises(&self) -> Supervises {
        let now = self.clock.now();
        let (max_restarts, period) = self.rules.intensity;
        Supervises {
            strategy: self.rules.strategy,
            max_restarts,
            period_ms: u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
            counted: self.look(|state| state.engine.restarts_counted(now)),
            worst_case: WorstCase::of(self),
        }
    }

    /// The children as they are now.
    fn children(&self) -> Vec<TreeSnapshot> {
        let now = self.clock.now();
        let seen: Vec<_> = self.look(|state| {
            let slots = state.engine.slots();
            slots.map(|(id, slot)| Seen::of(id, slot, now)).collect()
        });
        seen.into_iter().map(Seen::into_snapshot).collect()
    }
}

/// What is seen of a child under the lock; its place is asked outside.
struct Seen {
    id: ChildId,
    spec: Arc<Spec>,
    state: ChildState,
    restarts: u64,
    resumed: u64,
    last: Option<ExitReason>,
}

impl Seen {
    fn of(id: ChildId, slot: &Slot, now: Instant) -> Self {
        Seen {
            id,
            spec: Arc::clone(&slot.spec),
            state: slot.shown(now),
            restarts: slot.restarts,
            resumed: slot.resumed,
            last: slot.last.clone(),
        }
    }

    fn into_snapshot(self) -> TreeSnapshot {
        let status = self.spec.place.status();
        let below = self.spec.supervisor.as_ref().map(SupervisorRef::tree);
        TreeSnapshot {
            label: self.spec.label.to_string(),
            kind: self.spec.kind,
            id: Some(self.id),
            state: self.state,
            restart: Some(self.spec.care.restart),
            policy: self
                .spec
                .policy
                .as_ref()
                .map(|policy| policy.name().to_owned()),
            supervises: below.map(|tree| tree.supervises()),
            incarnation: status.incarnation,
            restarts: self.restarts,
            resumed: self.resumed,
            last_cause: self.last.map(|reason| reason.to_string()),
            mailbox: status.mailbox,
            pid: status.pid,
            children: below.map_or(Vec::new(), |tree| tree.children()),
        }
    }
}
