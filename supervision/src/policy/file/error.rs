//! What can be wrong with a policy file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A place in a file, as editors count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FilePosition {
    /// The line, from 1. Lines end with LF or CR LF.
    pub line: usize,
    /// The column, from 1, in characters (Unicode scalar values). A tab is one, and a byte order mark none. At an end
    /// that came too early it is one more than the line is long.
    pub column: usize,
}

impl FilePosition {
    /// Of that byte in a text. Beyond its end is its end.
    pub(super) fn of(text: &str, byte: usize) -> Self {
        let before = match text.get(..byte) {
            Some(before) => before,
            None => &text[..text.floor_char_boundary(byte)],
        };
        let (lines, last) = match before.rsplit_once('\n') {
            Some((lines, last)) => (lines.matches('\n').count() + 1, last),
            None => (0, before),
        };
        FilePosition {
            line: lines + 1,
            column: last.chars().count() + 1,
        }
    }
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Of which kind a problem with a policy file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PolicyProblemKind {
    /// There is no such file.
    Missing,
    /// It can't be read: no permission, a directory, a disk that fails.
    Unreadable,
    /// It has more than [`MAX_POLICY_FILE`](crate::MAX_POLICY_FILE) bytes, or more than
    /// [`MAX_POLICIES`](crate::MAX_POLICIES) policies.
    TooLarge,
    /// It is no UTF-8.
    NotText,
    /// It is no TOML.
    Syntax,
    /// A key or a table that there is not.
    Unknown,
    /// A value of another type than it must have, or that can't be read.
    Value,
    /// A value that makes no sense: see [`BadSetting`](crate::BadSetting).
    Setting,
    /// It can't be watched: the system was shut down, or has no thread; the options make no sense.
    NotWatched,
}

/// One problem with a policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PolicyProblem {
    /// Of which kind it is.
    pub kind: PolicyProblemKind,
    /// Where; `None` if it is about the file as a whole.
    pub at: Option<FilePosition>,
    /// Which policy it is about, or `defaults`.
    pub policy: Option<String>,
    /// Which of its settings: `retry.attempts`.
    pub setting: Option<String>,
    /// What is wrong, as a sentence.
    pub message: String,
}

impl PolicyProblem {
    pub(super) fn whole(kind: PolicyProblemKind, message: impl Into<String>) -> Self {
        PolicyProblem {
            kind,
            at: None,
            policy: None,
            setting: None,
            message: message.into(),
        }
    }
}

/// How many problems a text of an error lists.
const SHOWN: usize = 10;

/// A policy file that was refused. Its text has a line for each problem, in the manner of compilers, so that editors
/// and terminals find the place:
///
/// ```text
/// policies.toml:7:12: `retry.attempts` of policy `ledger` must be 1 to 10
/// policies.toml:12:1: unknown field `dedline` in policy `mail`, expected one of `deadline`, ...
/// ```
///
/// If the file is no TOML, or its defaults make no sense, that is all it says; else it has the first problem of each
/// policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PolicyFileError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it, in the order of the file. Never empty.
    pub problems: Vec<PolicyProblem>,
}

impl PolicyFileError {
    pub(super) fn new(path: &Path, problems: Vec<PolicyProblem>) -> Self {
        PolicyFileError {
            path: path.to_path_buf(),
            problems,
        }
    }

    /// With one problem that is about the file as a whole.
    pub(super) fn whole(path: &Path, kind: PolicyProblemKind, message: impl Into<String>) -> Self {
        PolicyFileError::new(path, vec![PolicyProblem::whole(kind, message)])
    }

    /// Of which kind the first problem is.
    #[must_use]
    pub fn kind(&self) -> PolicyProblemKind {
        let first = self.problems.first();
        first.map_or(PolicyProblemKind::Unreadable, |problem| problem.kind)
    }

    /// Where the first problem is, if that is a place in the file.
    #[must_use]
    pub fn at(&self) -> Option<FilePosition> {
        self.problems.first()?.at
    }
}

impl fmt::Display for PolicyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().take(SHOWN).enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.path.display())?;
            if let Some(at) = problem.at {
                write!(f, ":{at}")?;
            }
            write!(f, ": {}", problem.message)?;
        }
        match self.problems.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\n{}: and {more} more", self.path.display()),
        }
    }
}

impl std::error::Error for PolicyFileError {}

/// There is no policy of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoSuchPolicy {
    /// The name that was asked for.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The names that there are, sorted.
    pub there_are: Vec<String>,
}

impl fmt::Display for NoSuchPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no policy `{}` in {}", self.name, self.path.display())?;
        if self.there_are.is_empty() {
            return f.write_str(", which has none");
        }
        let names: Vec<String> = self
            .there_are
            .iter()
            .take(SHOWN)
            .map(|name| format!("`{name}`"))
            .collect();
        write!(f, ", which has {}", names.join(", "))?;
        match self.there_are.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    }
}

impl std::error::Error for NoSuchPolicy {}
