//! What opening a log changes on disk. Each step can be cut short at any point and is taken again by the next
//! opening.

use std::io;
use std::path::PathBuf;

use callboard_core::journal::JournalError;

use super::segments::Found;
use super::{Recover, Scan};
use crate::disk::{write_all, write_zeros};
use crate::error::{io_error, sync_error};
use crate::format::{Format, RECORD_HEADER, gap, segment_header};
use crate::scan::Hole;

/// Where bytes are kept that were found damaged.
pub(crate) const DAMAGED: &str = "damaged";

impl Recover<'_> {
    #[expect(clippy::too_many_arguments, reason = "what is known of one segment")]
    pub(super) fn mend(
        &mut self,
        found: &Found,
        format: Format,
        bytes: &[u8],
        scan: &Scan,
        holes: &[Hole],
        end: u64,
        is_last: bool,
        identity: u64,
    ) -> Result<(), JournalError> {
        let path = found.path(self.dir);
        let failed = |error: io::Error| io_error("mending", &path, &error);
        let mut changed = false;
        if let (Some(first), Some(last)) = (holes.first(), holes.last()) {
            let aside = self.set_aside(
                found.number,
                first.start,
                part(bytes, first.start, last.end),
            )?;
            for damage in &mut self.out.report.damaged {
                if damage.segment == found.number && damage.offset > 0 {
                    damage.set_aside = Some(aside.clone());
                }
            }
            // Version 0 has no gaps: there the damage is reported until its segment goes.
            for hole in holes.iter().filter(|_| format == Format::V1) {
                let len = usize::try_from(hole.end - hole.start).unwrap_or(0);
                if len >= RECORD_HEADER {
                    if hole.end > found.size {
                        // The file lost its end; a gap must lie within.
                        write_all(&*found.file, &[0], hole.end - 1).map_err(failed)?;
                    }
                    let header = gap(found.number, 0, len);
                    write_all(&*found.file, &header, hole.start).map_err(failed)?;
                    changed = true;
                }
            }
        }
        if found.header_is_bad && format == Format::V1 {
            let identity = *self.out.identity.get_or_insert(identity);
            let header = segment_header(found.number, identity);
            write_all(&*found.file, &header, 0).map_err(failed)?;
            changed = true;
        }
        if is_last {
            if self
                .out
                .report
                .torn
                .as_ref()
                .is_some_and(|torn| torn.records > 0)
            {
                self.set_aside(found.number, end, part(bytes, end, scan.dirty))?;
            }
            write_zeros(&*found.file, end, scan.dirty).map_err(failed)?;
            // What was read may be in memory only: written by a process that was killed, or before a sync that
            // failed, after which the operating system takes it for written (Rebello et al., 2020). So it is
            // written again before anybody relies on it.
            let first = format.first_record() as u64;
            let synced = match format {
                Format::V0 => first,
                Format::V1 => scan.synced(found.number).max(first),
            };
            write_all(&*found.file, part(bytes, synced, end), synced).map_err(failed)?;
            changed = true;
        }
        if changed {
            found
                .file
                .sync()
                .map_err(|error| sync_error(&path, &error))?;
        }
        Ok(())
    }

    /// A file in the middle that holds no record at all.
    pub(super) fn take_ruin(&mut self, found: &Found, bytes: &[u8]) -> Result<(), JournalError> {
        let size = found.size.max(bytes.len() as u64);
        self.damage(found.number, 0, size, None, None);
        if self.mode.writes() {
            self.move_aside(found)?;
        }
        Ok(())
    }

    /// Moves a whole file to the damaged ones. Its damage is the last that was noted.
    pub(super) fn move_aside(&mut self, found: &Found) -> Result<(), JournalError> {
        let from = found.path(self.dir);
        let aside = self.dir.join(DAMAGED);
        let to = aside.join(format!("{:016x}.seg", found.number));
        let moved = self
            .disk
            .create_dir(&aside)
            .and_then(|()| self.disk.rename(&from, &to))
            .and_then(|()| self.disk.sync_dir(&aside))
            .and_then(|()| self.disk.sync_dir(self.dir));
        moved.map_err(|error| io_error("setting aside", &from, &error))?;
        if let Some(damage) = self.out.report.damaged.last_mut() {
            damage.set_aside = Some(to);
        }
        Ok(())
    }

    /// Keeps bytes in a file of their own, synced.
    pub(super) fn set_aside(
        &self,
        segment: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Result<PathBuf, JournalError> {
        set_aside(self.disk, self.dir, segment, offset, bytes)
    }
}

/// Keeps damaged bytes of a segment in a file of their own, synced, and answers which.
pub(crate) fn set_aside(
    disk: &dyn crate::disk::Disk,
    dir: &std::path::Path,
    segment: u64,
    offset: u64,
    bytes: &[u8],
) -> Result<PathBuf, JournalError> {
    let aside = dir.join(DAMAGED);
    // The same place may be damaged twice; the first that was kept stays.
    let mut turn = 0;
    loop {
        let name = match turn {
            0 => format!("{segment:016x}-{offset:08x}.bin"),
            _ => format!("{segment:016x}-{offset:08x}.{turn}.bin"),
        };
        let path = aside.join(name);
        let kept = disk
            .create_dir(&aside)
            .and_then(|()| disk.create(&path))
            .and_then(|file| {
                write_all(&*file, bytes, 0)?;
                file.sync()
            })
            .and_then(|()| disk.sync_dir(&aside))
            .and_then(|()| disk.sync_dir(dir));
        match kept {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && turn < 1000 => turn += 1,
            Err(error) => return Err(io_error("setting aside damage in", &path, &error)),
        }
    }
}

/// A part of a segment's bytes, as far as there are any.
fn part(bytes: &[u8], start: u64, end: u64) -> &[u8] {
    let at = |place: u64| {
        usize::try_from(place)
            .unwrap_or(usize::MAX)
            .min(bytes.len())
    };
    let (start, end) = (at(start), at(end));
    bytes.get(start..end.max(start)).unwrap_or(&[])
}
