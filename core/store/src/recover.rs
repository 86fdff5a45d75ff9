//! Opening a log: what is on disk becomes an index, and what isn't whole is dealt with.
//!
//! A segment is synced before the next one is begun, and the first record of that says where the one before
//! ends. So only the last used segment can have an end that is torn; and within it the marks say how far it is
//! known to be synced. Damage before that place is damage. Behind it, the first place that isn't whole ends the
//! log: what follows was never synced, and must not count without what came before it (a record moved by a put
//! and a drop would be gone).

mod mend;
mod segments;

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::path::Path;

use callboard_core::journal::{JournalError, RecordId, Recovered};

use crate::disk::Disk;
use crate::error::io_error;
use crate::format::{Format, Kind, Look, Mark, Record, look};
use crate::index::{IdHasher, Index, Place, Segment};
use crate::report::{Damage, Report, Torn};
use crate::scan::{Hole, Scan, scan};
pub(crate) use mend::{DAMAGED, set_aside};
use segments::Found;
pub(crate) use segments::segment_path;

/// What recovery may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing but read.
    Look,
    /// Cut a torn end, set damaged bytes aside and put gaps in their place, finish removals.
    Mend,
    /// Also set aside whole files that can't belong here.
    Repair,
}

impl Mode {
    fn writes(self) -> bool {
        self != Mode::Look
    }
}

/// A log as it was found.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    pub(crate) index: Index,
    pub(crate) records: Vec<Recovered>,
    pub(crate) report: Report,
    /// The journal that its segments belong to; `None` if there are none in the present format.
    pub(crate) identity: Option<u64>,
    /// Of the last record.
    pub(crate) sequence: u64,
    /// Segments before this one don't count.
    pub(crate) oldest: u64,
    /// The highest number that a file had.
    pub(crate) highest: u64,
}

/// What is kept of a live record until all has been read.
struct Live {
    head: Vec<u8>,
    note: Option<Vec<u8>>,
    body_len: u32,
}

struct Recover<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    mode: Mode,
    live: HashMap<RecordId, Live, BuildHasherDefault<IdHasher>>,
    out: Recovery,
}

/// Reads the log in a directory. `identity` is for a header that has to be written anew where no other has one.
pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    mode: Mode,
    identity: u64,
) -> Result<Recovery, JournalError> {
    let mut recover = Recover {
        disk,
        dir,
        mode,
        live: HashMap::default(),
        out: Recovery::default(),
    };
    let mut found = recover.find_segments()?;
    recover.out.highest = found.last().map_or(0, |last| last.number);
    recover.out.identity = found.iter().find_map(|segment| segment.identity);
    recover.out.oldest = recover.drop_unused(&mut found)?;
    let kept = found.partition_point(|segment| segment.number < recover.out.oldest);
    let removed: Vec<Found> = found.drain(..kept).collect();
    recover.note_missing(&found);
    let last = found.len().saturating_sub(1);
    for at in 0..found.len() {
        let known_end = match found.get(at + 1) {
            Some(next) => next.end_of_previous(dir, found[at].number)?,
            None => None,
        };
        recover.take(&found[at], known_end, at == last, identity)?;
    }
    // Only now: what was copied out of them is synced.
    if mode.writes() {
        for segment in &removed {
            recover.remove_file(segment)?;
        }
        let synced = disk.sync_dir(dir);
        synced.map_err(|error| io_error("syncing the directory", dir, &error))?;
    }
    Ok(recover.finish())
}

/// Calls `visit` with each segment's number, format, bytes and scan, in their order. Changes nothing.
pub(crate) fn walk(
    disk: &dyn Disk,
    dir: &Path,
    mut visit: impl FnMut(u64, Format, &[u8], &Scan) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let mut recover = Recover {
        disk,
        dir,
        mode: Mode::Look,
        live: HashMap::default(),
        out: Recovery::default(),
    };
    for found in recover.find_segments()? {
        let bytes = found.load(dir, None)?;
        let (format, scan) = found.scan(&bytes, None);
        visit(found.number, format, &bytes, &scan)?;
    }
    Ok(())
}

impl Recover<'_> {
    /// Files behind the last one that holds a record were made in advance, or hold only what was never whole.
    /// Answers which segment is the oldest that counts, which the last one says in its marks: those before its
    /// end, because a mark counts only with all that came before it.
    fn drop_unused(&mut self, found: &mut Vec<Found>) -> Result<u64, JournalError> {
        while let Some(last) = found.last() {
            let bytes = last.load(self.dir, None)?;
            let (format, scan) = last.scan(&bytes, None);
            if !scan.records.is_empty() {
                let cut = cut_of(format, last.number, &scan);
                let marks = scan.records.iter().filter_map(|at| {
                    let before = u64::from(*at) < cut;
                    match look(format, last.number, bytes.get(*at as usize..)?) {
                        Look::Whole(record) if before && record.kind == Kind::Mark => {
                            Some(Mark::parse(record.body).oldest)
                        }
                        _ => None,
                    }
                });
                return Ok(marks.max().unwrap_or(0));
            }
            let first = format.first_record() as u64;
            if scan.dirty > first {
                let bytes_cut = scan.dirty - first;
                self.note_torn(last.number, first, bytes_cut, 0);
                if self.mode.writes() {
                    self.set_aside(last.number, first, &bytes[format.first_record()..])?;
                }
            }
            if self.mode.writes() {
                self.remove_file(last)?;
            }
            found.pop();
        }
        Ok(0)
    }

    fn note_missing(&mut self, found: &[Found]) {
        let mut expected = match self.out.oldest {
            0 => found.first().map_or(0, |first| first.number),
            oldest => oldest,
        };
        for segment in found {
            // Names are made up as easily as they are lost; a few tell as much as many.
            let gap = expected..segment.number;
            self.out.report.missing.extend(gap.take(1000));
            expected = segment.number + 1;
        }
    }

    fn take(
        &mut self,
        found: &Found,
        known_end: Option<u64>,
        is_last: bool,
        identity: u64,
    ) -> Result<(), JournalError> {
        let bytes = found.load(self.dir, known_end)?;
        let (format, scan) = found.scan(&bytes, known_end);
        if scan.records.is_empty() && !is_last {
            return self.take_ruin(found, &bytes);
        }
        let end = if is_last {
            cut_of(format, found.number, &scan)
        } else {
            scan.end.max(known_end.unwrap_or(0))
        };
        self.out.index.segments.push_back(Segment {
            number: found.number,
            format,
            file: found.file.clone(),
            size: found.size.max(end),
            used: end,
            live: 0,
        });
        let mut cut = 0;
        for at in &scan.records {
            if u64::from(*at) >= end {
                cut += 1;
            } else if let Some(rest) = bytes.get(*at as usize..)
                && let Look::Whole(record) = look(format, found.number, rest)
            {
                self.apply(&record, found.number, *at);
            }
        }
        self.out.report.segments += 1;
        self.out.report.older_segments += u64::from(format == Format::V0);
        let holes: Vec<Hole> = scan
            .holes
            .iter()
            .filter(|hole| hole.start < end)
            .map(|hole| Hole {
                end: hole.end.min(end),
                ..*hole
            })
            .collect();
        self.note_damage(found, format, &holes);
        if is_last && scan.dirty > end {
            self.note_torn(found.number, end, scan.dirty - end, cut);
        }
        if self.mode.writes() {
            self.mend(found, format, &bytes, &scan, &holes, end, is_last, identity)?;
        }
        Ok(())
    }

    fn apply(&mut self, record: &Record<'_>, segment: u64, offset: u32) {
        let place = Place {
            segment,
            offset,
            len: u32::try_from(record.len).unwrap_or(u32::MAX),
        };
        self.out.index.apply(record.kind, record.id, place);
        if record.kind != Kind::Gap {
            self.out.sequence = self.out.sequence.max(record.sequence.unwrap_or(0));
        }
        match record.kind {
            Kind::Put | Kind::PutWithNote => {
                let live = Live {
                    head: record.head.to_vec(),
                    note: record.note().map(<[u8]>::to_vec),
                    body_len: u32::try_from(record.body.len()).unwrap_or(u32::MAX),
                };
                self.live.insert(record.id, live);
            }
            Kind::Note => {
                if let Some(live) = self.live.get_mut(&record.id) {
                    live.note = record.note().map(<[u8]>::to_vec);
                }
            }
            Kind::Drop => {
                self.live.remove(&record.id);
            }
            Kind::Mark | Kind::Gap => {}
        }
    }

    fn note_damage(&mut self, found: &Found, format: Format, holes: &[Hole]) {
        if found.header_is_bad {
            self.damage(found.number, 0, format.first_record() as u64, None, Some(0));
        }
        for hole in holes {
            let bytes = hole.end - hole.start;
            self.damage(found.number, hole.start, bytes, hole.id, hole.records);
        }
    }

    fn damage(
        &mut self,
        segment: u64,
        offset: u64,
        bytes: u64,
        id: Option<u64>,
        records: Option<u64>,
    ) {
        self.out.report.damaged.push(Damage {
            segment,
            offset,
            bytes,
            id,
            records,
            set_aside: None,
        });
    }

    fn note_torn(&mut self, segment: u64, offset: u64, bytes: u64, records: u64) {
        let before = self.out.report.torn.take();
        self.out.report.torn = Some(Torn {
            segment,
            offset,
            bytes: bytes + before.as_ref().map_or(0, |torn| torn.bytes),
            records: records + before.as_ref().map_or(0, |torn| torn.records),
        });
    }

    fn remove_file(&self, found: &Found) -> Result<(), JournalError> {
        let path = found.path(self.dir);
        let removed = self.disk.remove(&path);
        removed.map_err(|error| io_error("removing", &path, &error))
    }

    fn finish(mut self) -> Recovery {
        let live = self.live.into_iter();
        self.out.records = live
            .map(|(id, live)| Recovered {
                id,
                head: live.head,
                note: live.note,
                body_len: live.body_len,
            })
            .collect();
        self.out.records.sort_unstable_by_key(|record| record.id);
        self.out.report.records = self.out.records.len() as u64;
        self.out
    }
}

/// Where the log ends in its last segment: at the first place that isn't whole, of those that aren't known to be
/// synced.
fn cut_of(format: Format, number: u64, scan: &Scan) -> u64 {
    let synced = match format {
        // It has no marks, so whatever is followed by a whole record is taken for synced.
        Format::V0 => scan.end,
        Format::V1 => scan.synced(number),
    };
    let torn = scan.holes.iter().find(|hole| hole.end > synced);
    torn.map_or(scan.end, |hole| hole.start.max(synced.min(hole.end)))
}

/// Scans by the header's format, or by the one that finds more where there is no header.
pub(crate) fn scan_as(
    bytes: &[u8],
    format: Option<Format>,
    number: u64,
    known_end: Option<u64>,
) -> (Format, Scan) {
    if let Some(format) = format {
        return (format, scan(bytes, format, number, known_end));
    }
    let now = scan(bytes, Format::V1, number, known_end);
    if now.records.is_empty() {
        let old = scan(bytes, Format::V0, number, known_end);
        if !old.records.is_empty() {
            return (Format::V0, old);
        }
    }
    (Format::V1, now)
}
