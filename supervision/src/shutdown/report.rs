//! What a shutdown did, and what it cut off: as data, and for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use callboard_core::DropReason;
use serde::{Serialize, Serializer};

use super::Phase;
use super::signals::Signal;

#[cfg(test)]
mod tests;

/// Why a shutdown ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ShutdownCause {
    /// The program asked for it: [`Shutdown::run`](crate::Shutdown::run).
    Call,
    /// A signal came.
    Signal(Signal),
}

impl fmt::Display for ShutdownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShutdownCause::Call => f.write_str("a call"),
            ShutdownCause::Signal(signal) => signal.fmt(f),
        }
    }
}

/// What is done in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartKind {
    /// A task of [`Shutdown::on`](crate::Shutdown::on).
    Task,
    /// An actor that finishes what is queued: [`Shutdown::drain`](crate::Shutdown::drain).
    Drain,
    /// A tree that is stopped: [`Shutdown::tree`](crate::Shutdown::tree).
    Tree,
}

impl fmt::Display for PartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PartKind::Task => "task",
            PartKind::Drain => "drain",
            PartKind::Tree => "tree",
        })
    }
}

/// How something that was to be done at the end has ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkEnd {
    /// As it should.
    Done,
    /// By an error or a panic of its own; an actor or a tree, for another reason than the stop.
    Failed(String),
    /// It was not done at the phase's deadline. A task was dropped, an actor or a tree killed.
    CutOff,
    /// Its turn had not come at the deadline, or the system was shut down before. A task was dropped, an actor or a
    /// tree killed.
    NotBegun,
}

impl fmt::Display for WorkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkEnd::Done => f.write_str("done"),
            // A panic's text may have lines; a part has one.
            WorkEnd::Failed(why) => write!(f, "failed: {}", why.replace('\n', " / ")),
            WorkEnd::CutOff => f.write_str("cut off"),
            WorkEnd::NotBegun => f.write_str("not begun"),
        }
    }
}

/// A child of a tree, or one of its children's, that did not end in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct LateChild {
    /// The labels from the top of the tree down to it: `academy/pages/thumbnails`.
    pub path: String,
    /// Whether it has ended: it was killed. `false`: it was killed too, and runs still, since it never yields (G11).
    pub ended: bool,
}

impl fmt::Display for LateChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fate = if self.ended {
            "killed"
        } else {
            "still running"
        };
        write!(f, "{}: {fate}", self.path)
    }
}

/// One thing that was done in a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PartReport {
    /// Its name: the one it was registered with, the actor's label, the tree's.
    pub name: String,
    /// What it is.
    pub kind: PartKind,
    /// How it ended.
    pub end: WorkEnd,
    /// How long it took, or had until it was cut off.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
    /// How many messages an actor that was cut off had left; they are dead letters, and counted there, too.
    pub messages_left: usize,
    /// The children of a tree that were late, top down: past their own shutdown time, or when the tree was cut off.
    pub late: Vec<LateChild>,
}

impl PartReport {
    pub(super) fn new(name: String, kind: PartKind) -> Self {
        PartReport {
            name,
            kind,
            end: WorkEnd::Done,
            took: Duration::ZERO,
            messages_left: 0,
            late: Vec::new(),
        }
    }

    /// Whether it was done, and nobody was killed over it.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.end == WorkEnd::Done && self.late.is_empty()
    }
}

/// What happened in one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PhaseReport {
    /// Which.
    pub phase: Phase,
    /// How long it had.
    #[serde(rename = "deadline_ms", serialize_with = "millis")]
    pub deadline: Duration,
    /// How long it took.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
    /// What was done in it, in the order it was begun; last, what was not.
    pub parts: Vec<PartReport>,
}

/// How the system itself ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SystemEnd {
    /// How long that took.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
    /// The labels of actors that had to be killed.
    pub late: Vec<String>,
}

/// What a shutdown did, and what it cut off.
///
/// `Display` writes it for people, a line for each part, without a newline at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Why it ran.
    pub cause: ShutdownCause,
    /// The signal that cut it short, if one did.
    pub second_signal: Option<Signal>,
    /// Whether it was cut short, by that signal or by [a call](crate::Shutdown::cut_short).
    pub cut_short: bool,
    /// How long all of it took.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
    /// The phases, in order.
    pub phases: Vec<PhaseReport>,
    /// The end of the system, after the phases.
    pub system: SystemEnd,
    /// The dead letters that came during the shutdown, by reason: messages that were given up.
    pub given_up: BTreeMap<DropReason, u64>,
}

impl ShutdownReport {
    /// Whether everything ended as it should: nothing failed, was cut off, or had to be killed.
    ///
    /// Messages that were [given up](ShutdownReport::given_up) don't count: among them are those to actors that had
    /// rightly ended before their senders.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.cut_short
            && self.system.late.is_empty()
            && self.parts().all(|(_, part)| part.is_clean())
    }

    /// Everything that was done, with its phase.
    pub fn parts(&self) -> impl Iterator<Item = (Phase, &PartReport)> {
        let phases = self.phases.iter();
        phases.flat_map(|phase| phase.parts.iter().map(|part| (phase.phase, part)))
    }

    /// The part with that name, the first if there are several.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&PartReport> {
        let mut parts = self.parts();
        parts.find_map(|(_, part)| (part.name == name).then_some(part))
    }

    /// What the process should exit with. 0 if all is clean, also after a signal: it was asked to end, and did; so see
    /// it systemd and Kubernetes. Else 128 + the number of the signal, the last one if there were two, as shells write
    /// it for a program that a signal ended: 143 for SIGTERM, 130 for SIGINT. Without a signal 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.is_clean() {
            return 0;
        }
        match (self.second_signal, self.cause) {
            (Some(signal), _) | (None, ShutdownCause::Signal(signal)) => signal.exit_code(),
            (None, ShutdownCause::Call) => 1,
        }
    }

    /// Ends the process with the [exit code](ShutdownReport::exit_code), now. To return from `main` is gentler, but
    /// that joins the arbiters' threads, and waits for ever for one that a handler blocks for ever.
    pub fn exit(&self) -> ! {
        std::process::exit(i32::from(self.exit_code()))
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match (self.is_clean(), self.second_signal) {
            (true, _) => "clean".to_owned(),
            (false, Some(signal)) => format!("cut short by {signal}"),
            (false, None) if self.cut_short => "cut short".to_owned(),
            (false, None) => "with losses".to_owned(),
        };
        write!(
            f,
            "shut down in {:.1?} after {}: {how}",
            self.took, self.cause
        )?;
        let width = self.parts().map(|(_, part)| part.name.chars().count());
        let width = width.max().unwrap_or(0);
        for phase in &self.phases {
            let (took, deadline) = (phase.took, phase.deadline);
            write!(f, "\n  {}: {took:.1?} of {deadline:.1?}", phase.phase)?;
            for part in &phase.parts {
                write!(
                    f,
                    "\n    {:<5} {:<width$}  {}, {:.1?}",
                    part.kind.to_string(),
                    part.name,
                    part.end,
                    part.took
                )?;
                if part.messages_left > 0 {
                    write!(f, ", {} messages left", part.messages_left)?;
                }
                for late in &part.late {
                    write!(f, "\n          {late}")?;
                }
            }
        }
        write!(f, "\n  system: {:.1?}", self.system.took)?;
        for label in &self.system.late {
            write!(f, "\n    {label}: killed")?;
        }
        if !self.given_up.is_empty() {
            let given_up = self.given_up.iter();
            let given_up = given_up.map(|(reason, count)| format!("{count} {}", reason.name()));
            let given_up = given_up.collect::<Vec<_>>().join(", ");
            write!(f, "\n  messages given up: {given_up}")?;
        }
        Ok(())
    }
}

fn millis<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
