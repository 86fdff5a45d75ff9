//! The ledger: an append-only file with one line per charge.
//!
//! It is kept apart from the store that suppresses duplicates, and knows nothing of it: whether a charge
//! was made twice is counted here, by reading the file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use callboard::{Classified, FailureClass, RequestKey};

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) key: RequestKey,
    pub(crate) lesson: String,
    pub(crate) learner: String,
    pub(crate) cents: u32,
}

/// A ledger file that is open for appending.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    file: File,
    lines: u64,
}

/// What is wrong with a ledger file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error("the ledger {}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    #[error("the ledger {}: line {line} is no charge", .path.display())]
    Line { path: PathBuf, line: usize },
    #[error("the ledger is closed")]
    Closed,
}

// ANCHOR: class
impl Classified for LedgerError {
    fn class(&self) -> FailureClass {
        match self {
            // The disk may have room again.
            LedgerError::File(..) | LedgerError::Closed => FailureClass::Recoverable,
            // The same line is read at each start.
            LedgerError::Line { .. } => FailureClass::Fatal,
        }
    }
}
// ANCHOR_END: class

impl Ledger {
    /// Opens a ledger, which is made if it isn't there. One that can't be read to its end is refused.
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let fail = |error| LedgerError::File(path.to_owned(), error);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(fail)?;
        Ok(Ledger {
            path: path.to_owned(),
            file,
            lines: read(path)?.len() as u64,
        })
    }

    /// Writes one charge, and answers its number once it is on disk.
    pub(crate) fn append(&mut self, charge: &Charge) -> Result<u64, LedgerError> {
        let write = |file: &mut File| {
            file.write_all(format!("{charge}\n").as_bytes())?;
            file.sync_data()
        };
        write(&mut self.file).map_err(|error| LedgerError::File(self.path.clone(), error))?;
        self.lines += 1;
        Ok(self.lines)
    }
}

/// All charges of a ledger, in order.
pub(crate) fn read(path: &Path) -> Result<Vec<Charge>, LedgerError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| LedgerError::File(path.to_owned(), error))?;
    let bad = |line| LedgerError::Line {
        path: path.to_owned(),
        line,
    };
    let mut charges = Vec::new();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        // A line without its end was being written when the power went.
        let charge = line.strip_suffix('\n').and_then(Charge::parse);
        charges.push(charge.ok_or_else(|| bad(number + 1))?);
    }
    Ok(charges)
}

impl Charge {
    fn parse(line: &str) -> Option<Charge> {
        let mut fields = line.split('\t');
        let charge = Charge {
            key: fields.next()?.parse().ok()?,
            cents: fields.next()?.parse().ok()?,
            lesson: fields.next()?.to_owned(),
            learner: fields.next()?.to_owned(),
        };
        fields.next().is_none().then_some(charge)
    }
}

impl fmt::Display for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one_field = |text: &str| text.replace(char::is_control, " ");
        let (lesson, learner) = (one_field(&self.lesson), one_field(&self.learner));
        write!(f, "{}\t{}\t{lesson}\t{learner}", self.key, self.cents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lessons::tests::Folder;

    fn charge(learner: &str) -> Charge {
        Charge {
            key: RequestKey::new(),
            lesson: "paying-john-once".to_owned(),
            learner: learner.to_owned(),
            cents: 4_900,
        }
    }

    #[test]
    fn what_was_appended_is_read_back_also_after_opening_again() {
        let folder = Folder::new("ledger");
        let path = folder.0.join("ledger.tsv");
        let (mira, john) = (charge("Mira"), charge("John"));
        assert_eq!(Ledger::open(&path).unwrap().append(&mira).unwrap(), 1);
        assert_eq!(Ledger::open(&path).unwrap().append(&john).unwrap(), 2);
        assert_eq!(read(&path).unwrap(), [mira, john]);
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let folder = Folder::new("forge");
        let path = folder.0.join("ledger.tsv");
        let evil = charge("Mira\n0\t0\tx\ty");
        Ledger::open(&path).unwrap().append(&evil).unwrap();
        let charges = read(&path).unwrap();
        assert_eq!(charges.len(), 1);
        assert_eq!(charges[0].learner, "Mira 0 0 x y");
    }

    #[test]
    fn a_torn_line_is_named_not_skipped() {
        let folder = Folder::new("torn");
        let path = folder.0.join("ledger.tsv");
        let text = format!("{}\n{}", charge("Mira"), "0190-torn");
        std::fs::write(&path, text).unwrap();
        let error = Ledger::open(&path).unwrap_err();
        assert_eq!(error.class(), FailureClass::Fatal);
        let error = error.to_string();
        assert!(
            error.ends_with("ledger.tsv: line 2 is no charge"),
            "{error}"
        );
    }
}
