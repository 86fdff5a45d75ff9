//! Where records outlive the process: the seam between what must be kept (queues, topics, request keys) and
//! what keeps it (the log on disk of `callboard-store`). Core itself opens no file.
//!
//! A journal holds records by number. Its owner puts a record in, may pin a note to it (how often its delivery
//! failed, say), and drops it. Changes are appended: [`Journal::append`] copies them into memory and answers a
//! [`Ticket`]; they are *written* when the operating system has them, so that they survive the end of the
//! process, and *synced* when they survive the end of power (G25). Which of both has come how far is told to the
//! journal's observer, once per step for all tickets together: many changes share one sync.

use std::fmt;
use std::sync::{Arc, Weak};

use futures::future::BoxFuture;

/// The number of a record in its journal. The owner chooses it.
pub type RecordId = u64;

/// One change of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// The record is this from now on. One of that number that was there is replaced, and its note is gone.
    Put {
        /// Its number.
        id: RecordId,
        /// What its owner needs to know of it after a restart before anybody reads the body: kept small.
        head: &'a [u8],
        /// The rest, which is read when it is asked for.
        body: &'a [u8],
    },
    /// Pins a note to a record, in place of the note it had. Without effect on a record that isn't there.
    Note {
        /// The record.
        id: RecordId,
        /// The note.
        note: &'a [u8],
    },
    /// The record and its note are gone.
    Drop {
        /// The record.
        id: RecordId,
    },
}

/// What an append asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Durability {
    /// To be written soon: it survives the end of the process. It is synced with what is synced next.
    Written,
    /// To be synced soon: it survives the end of power.
    Synced,
}

/// The number of an append: it grows with each append of its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);

/// How far a journal is. All appends up to and with the tickets named are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Written.
    pub written: Ticket,
    /// Synced.
    pub synced: Ticket,
    /// Why there will be no more: since then the journal refuses appends, and what isn't written or synced by
    /// now may or may not be on disk.
    pub failed: Option<JournalError>,
}

/// Who is told how far a journal is.
pub trait OnProgress: Send + Sync {
    /// Called after each step, under no lock of the journal, mostly on a thread of the journal.
    fn progressed(&self, progress: &Progress);
}

/// What [`Journal::read`] calls with the bodies, in the order they were asked for.
pub type OnRead = Box<dyn FnOnce(Vec<Result<Vec<u8>, JournalError>>) + Send>;

/// Records that outlive the process.
pub trait Journal: Send + Sync + 'static {
    /// Appends changes behind all that was appended before, all under one ticket. It copies them and returns at
    /// once: nothing is on disk yet. May be called under a lock of the caller. No changes at all are fine: their
    /// ticket is written or synced when all before it is.
    ///
    /// A loss of power leaves a beginning of what was appended and not synced, cut anywhere: also between changes
    /// of one append, but never a later one without an earlier one.
    ///
    /// # Errors
    /// Then none of the changes is appended: [`JournalErrorKind::Busy`] while too much waits to be written (the
    /// next step makes room; only for changes with a `Put` among them: notes and drops are small, and must not
    /// be turned away), [`JournalErrorKind::TooLarge`], or the reason for which the journal has failed.
    fn append(
        &self,
        changes: &[Change<'_>],
        durability: Durability,
    ) -> Result<Ticket, JournalError>;

    /// Reads the bodies of records, never on the caller's thread, and calls `done` with them, under no lock.
    fn read(&self, ids: &[RecordId], done: OnRead);

    /// How far it is.
    fn progress(&self) -> Progress;

    /// Whom to tell of it from now on; there is one.
    fn observe(&self, observer: Weak<dyn OnProgress>);

    /// What it holds and has done.
    fn state(&self) -> JournalState;
}

/// What a journal holds and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct JournalState {
    /// Records there are.
    pub records: u64,
    /// Bytes of them, with their headers and notes.
    pub live_bytes: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Appends since it was opened.
    pub appends: u64,
    /// Syncs since it was opened.
    pub syncs: u64,
    /// Bytes that were cut from a torn tail when it was opened.
    pub torn_bytes: u64,
    /// Damaged records that were set aside since it was opened, while opening included.
    pub damaged: u64,
}

/// A record that was found when a journal was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Its number.
    pub id: RecordId,
    /// Its head.
    pub head: Vec<u8>,
    /// Its note, if it has one.
    pub note: Option<Vec<u8>>,
    /// The length of its body in bytes.
    pub body_len: u32,
}

/// A journal that was opened, with what it holds, in the order of their numbers.
pub struct OpenedJournal {
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// Its records.
    pub records: Vec<Recovered>,
}

impl fmt::Debug for OpenedJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedJournal")
            .field("records", &self.records.len())
            .finish_non_exhaustive()
    }
}

/// Where journals are, by name.
pub trait Journals: Send + Sync {
    /// Opens the journal of that name, and makes it if there is none.
    ///
    /// # Errors
    /// If it is open already, here or in another process, or can't be read or made.
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<OpenedJournal, JournalError>>;

    /// The names of those there are, in order.
    ///
    /// # Errors
    /// If that can't be read.
    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, JournalError>>;

    /// Removes the journal of that name with all it holds. Without effect if there is none.
    ///
    /// # Errors
    /// If it is open, or can't be removed.
    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), JournalError>>;
}

/// What went wrong with a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JournalErrorKind {
    /// Too much waits to be written; it can be tried again after the next step.
    Busy,
    /// The change is larger than the journal takes.
    TooLarge,
    /// The disk, or what the journal may take of it, is full.
    Full,
    /// The file system is read-only.
    ReadOnly,
    /// The process has no right to do that.
    Denied,
    /// A sync failed. What was not synced by then may be lost, and the journal takes nothing more: after a failed
    /// sync nobody knows what the operating system still has (Rebello et al., "Can Applications Recover from
    /// fsync Failures?", USENIX ATC 2020).
    SyncFailed,
    /// What is on disk is not what was written there.
    Damaged,
    /// There is no such record.
    NotFound,
    /// A name or a setting that can't be.
    Invalid,
    /// It is open already, here or in another process.
    InUse,
    /// It was written by a later version, or is of another kind.
    Format,
    /// The journal is closed.
    Closed,
    /// Another error of the operating system.
    Io,
}

/// Why a journal refused: what went wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct JournalError {
    kind: JournalErrorKind,
    text: Arc<str>,
}

impl JournalError {
    /// An error with a sentence that names what and where.
    #[must_use]
    pub fn new(kind: JournalErrorKind, text: impl Into<Arc<str>>) -> Self {
        JournalError {
            kind,
            text: text.into(),
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> JournalErrorKind {
        self.kind
    }
}
