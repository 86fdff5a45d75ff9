//! Errors of the operating system as errors of a journal: what was tried, and where.

use std::fmt::Display;
use std::io;
use std::path::Path;

use callboard_core::journal::{JournalError, JournalErrorKind};

/// What went wrong while doing something with a file or a directory.
pub(crate) fn io_error(doing: impl Display, path: &Path, error: &io::Error) -> JournalError {
    JournalError::new(
        kind_of(error),
        format!("{doing} {}: {error}", path.display()),
    )
}

/// A failed sync, which ends the journal whatever the operating system calls it.
pub(crate) fn sync_error(path: &Path, error: &io::Error) -> JournalError {
    JournalError::new(
        JournalErrorKind::SyncFailed,
        format!(
            "syncing {}: {error}; the log takes nothing more until it is opened again",
            path.display()
        ),
    )
}

fn kind_of(error: &io::Error) -> JournalErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JournalErrorKind::Full,
        io::ErrorKind::ReadOnlyFilesystem => JournalErrorKind::ReadOnly,
        io::ErrorKind::PermissionDenied => JournalErrorKind::Denied,
        io::ErrorKind::NotFound => JournalErrorKind::NotFound,
        _ => JournalErrorKind::Io,
    }
}
