//! Looking into a log from outside, for people: nothing here needs a system. All of it blocks.

use std::io::Write;
use std::path::Path;

use callboard_core::journal::{JournalError, JournalErrorKind};

use crate::disk::Disk;
use crate::error::io_error;
use crate::format::{Kind, Look, Mark, Record, look};
use crate::recover::{Mode, recover, walk};
use crate::report::Report;
use crate::store::LOCK;

/// Looks at a journal's directory and changes nothing.
///
/// A log that is in use may end in the midst of a write, which is shown as torn.
///
/// # Errors
/// That the directory can't be read; [`Format`](JournalErrorKind::Format) if a segment was written by a later
/// version or belongs to another journal.
pub fn check(disk: &dyn Disk, dir: &Path) -> Result<Report, JournalError> {
    Ok(recover(disk, dir, Mode::Look, 0)?.report)
}

/// Does to a journal's directory what opening it does (cuts a torn end, sets damaged bytes aside), and sets whole
/// files aside for which opening is refused: those of a later version or of another journal. Nothing is thrown
/// away: what is set aside is in the directory `damaged`.
///
/// # Errors
/// [`InUse`](JournalErrorKind::InUse) if the store is open; that the directory can't be read or written to.
pub fn repair(disk: &dyn Disk, dir: &Path) -> Result<Report, JournalError> {
    // A directory that was copied out of its store has no lock beside it.
    let beside = dir.parent().map(|store| store.join(LOCK));
    let names = dir.parent().and_then(|store| disk.list(store).ok());
    let locked = names.is_some_and(|names| names.iter().any(|name| name == LOCK));
    let _lock = match beside.filter(|_| locked) {
        None => None,
        Some(path) => {
            let lock = disk.lock(&path);
            let lock = lock.map_err(|error| io_error("locking", &path, &error))?;
            if lock.is_none() {
                let text = format!("the store of {} is open", dir.display());
                return Err(JournalError::new(JournalErrorKind::InUse, text));
            }
            lock
        }
    };
    // Any identity will do where none is left: what was read is all of one journal.
    recover(disk, dir, Mode::Repair, 1).map(|recovery| recovery.report)
}

/// Writes what is in a journal's directory, a line for each segment, record and damaged place, in the order of
/// the log; with `bodies`, also the bytes of heads, bodies and notes.
///
/// # Errors
/// As for [`check`], and those of `out`.
pub fn dump(
    disk: &dyn Disk,
    dir: &Path,
    bodies: bool,
    out: &mut dyn Write,
) -> Result<(), JournalError> {
    walk(disk, dir, |segment, format, bytes, scan| {
        let version = format as u8;
        let size = bytes.len();
        let mut lines = vec![format!(
            "segment {segment}: version {version}, {} of {size} bytes",
            scan.end
        )];
        let mut holes = scan.holes.iter().peekable();
        for at in &scan.records {
            while let Some(hole) = holes.next_if(|hole| hole.start < u64::from(*at)) {
                lines.push(format!("{:>10}  damaged up to {}", hole.start, hole.end));
            }
            if let Some(rest) = bytes.get(*at as usize..)
                && let Look::Whole(record) = look(format, segment, rest)
            {
                lines.push(format!("{at:>10}  {}", line_of(&record, bodies)));
            }
        }
        for hole in holes {
            lines.push(format!("{:>10}  damaged up to {}", hole.start, hole.end));
        }
        if scan.dirty > scan.end {
            lines.push(format!("{:>10}  not whole up to {}", scan.end, scan.dirty));
        }
        for line in lines {
            let written = writeln!(out, "{line}");
            written.map_err(|error| io_error("writing what is in", dir, &error))?;
        }
        Ok(())
    })
}

fn line_of(record: &Record<'_>, bodies: bool) -> String {
    let Record {
        kind,
        id,
        head,
        body,
        note,
        ..
    } = record;
    let mut line = match kind {
        Kind::Put => format!("put {id}, head {}, body {}", head.len(), body.len()),
        Kind::PutWithNote => format!(
            "put {id}, head {}, body {}, note {}",
            head.len(),
            body.len(),
            note.len()
        ),
        Kind::Note => format!("note {id}, {}", note.len()),
        Kind::Drop => format!("drop {id}"),
        Kind::Mark => {
            let mark = Mark::parse(body);
            let (segment, at) = mark.synced;
            format!(
                "mark: synced up to {at} of {segment}, oldest {}",
                mark.oldest
            )
        }
        Kind::Gap => format!("gap of {}", record.len),
    };
    if bodies && !matches!(kind, Kind::Mark | Kind::Gap) {
        for (name, bytes) in [("head", head), ("body", body), ("note", note)] {
            if !bytes.is_empty() {
                line.push_str(&format!(" {name}=\"{}\"", bytes.escape_ascii()));
            }
        }
    }
    line
}
