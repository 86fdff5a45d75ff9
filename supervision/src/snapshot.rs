//! A tree as data, and drawn.

use std::fmt;

use callboard_core::{ChildKind, Incarnation, MailboxState};
use serde::Serialize;

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
    /// It ended in order and is not started again.
    Stopped,
    /// It failed and is not started again.
    Failed,
    /// It was killed and has not ended: code that never yields can't be (G11). Nothing is started in its
    /// place (G13).
    Stuck,
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
            ChildState::Stopped => f.write_str("stopped"),
            ChildState::Failed => f.write_str("failed"),
            ChildState::Stuck => f.write_str("stuck"),
        }
    }
}

/// A supervisor or one of its children at one moment, with all that is below.
///
/// `Display` draws the tree as text, one line a node, without a newline at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TreeSnapshot {
    /// Its name for people.
    pub label: String,
    /// What it is.
    pub kind: ChildKind,
    /// What it is doing.
    pub state: ChildState,
    /// How often it has been started.
    pub incarnation: Incarnation,
    /// How often its supervisor decided to start it again.
    pub restarts: u64,
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
        write!(f, "{} ({}): {}", self.label, self.kind, self.state)?;
        if self.incarnation.0 > 1 {
            write!(f, ", incarnation {}", self.incarnation)?;
        }
        if self.restarts > 0 {
            write!(f, ", restarts {}", self.restarts)?;
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
        self.draw(f, "")
    }
}
