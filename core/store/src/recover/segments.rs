//! The files of a log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use callboard_core::journal::{JournalError, JournalErrorKind};

use super::{Mode, Recover, scan_as};
use crate::disk::{DiskFile, read_full};
use crate::error::io_error;
use crate::format::{
    Format, Kind, Look, MARK, MAX_SEGMENT, Mark, SEGMENT_HEADER, SegmentHeader, look,
    parse_segment_header,
};
use crate::scan::Scan;

/// What the names of segments end with.
const SUFFIX: &str = ".seg";

/// The file of a segment.
pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}{SUFFIX}"))
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    // Exactly as they are written, so that no two names are one number.
    let number = u64::from_str_radix(digits, 16).ok()?;
    (format!("{number:016x}") == digits && number > 0).then_some(number)
}

/// A segment's file.
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) size: u64,
    /// As its header says, if it says anything.
    pub(super) format: Option<Format>,
    pub(super) identity: Option<u64>,
    pub(super) header_is_bad: bool,
}

impl Recover<'_> {
    /// Opens the segments, in the order of their numbers.
    pub(super) fn find_segments(&mut self) -> Result<Vec<Found>, JournalError> {
        let names = self.disk.list(self.dir);
        let names = names.map_err(|error| io_error("reading the directory", self.dir, &error))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        let mut found: Vec<Found> = Vec::new();
        let mut identity = None;
        for number in numbers {
            let (segment, header) = self.open_segment(number)?;
            let complaint = match header {
                SegmentHeader::Later(version) => Some(format!(
                    "is in version {version} of the format, which is later than this program's"
                )),
                SegmentHeader::V1 { identity: own, .. } if *identity.get_or_insert(own) != own => {
                    Some("belongs to another journal".to_owned())
                }
                _ if segment.size > MAX_SEGMENT => Some("is larger than a segment can be".into()),
                _ => None,
            };
            match complaint {
                None => found.push(segment),
                Some(_) if self.mode == Mode::Repair => {
                    self.damage(number, 0, segment.size, None, None);
                    self.move_aside(&segment)?;
                }
                Some(complaint) => {
                    let path = segment.path(self.dir);
                    let text = format!("{} {complaint}", path.display());
                    return Err(JournalError::new(JournalErrorKind::Format, text));
                }
            }
        }
        Ok(found)
    }

    fn open_segment(&self, number: u64) -> Result<(Found, SegmentHeader), JournalError> {
        let path = segment_path(self.dir, number);
        let opened = self.disk.open(&path, self.mode.writes());
        let file = opened.map_err(|error| io_error("opening", &path, &error))?;
        let mut header = [0; SEGMENT_HEADER];
        let read = file.size().and_then(|size| {
            let read = read_full(&*file, &mut header, 0)?;
            Ok((size, read))
        });
        let (size, read) = read.map_err(|error| io_error("reading", &path, &error))?;
        let mut header = parse_segment_header(&header[..read]);
        let (mut format, mut identity) = (None, None);
        match header {
            SegmentHeader::V1 {
                number: own,
                identity: journal,
            } if own == number => (format, identity) = (Some(Format::V1), Some(journal)),
            SegmentHeader::V0 { number: own } if own == number => format = Some(Format::V0),
            SegmentHeader::Later(_) => {}
            // The header of another segment is none.
            _ => header = SegmentHeader::Bad,
        }
        let found = Found {
            number,
            file,
            size,
            format,
            identity,
            header_is_bad: header == SegmentHeader::Bad,
        };
        Ok((found, header))
    }
}

impl Found {
    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        segment_path(dir, self.number)
    }

    /// Its bytes, up to a place where it is known to end.
    pub(super) fn load(&self, dir: &Path, end: Option<u64>) -> Result<Vec<u8>, JournalError> {
        let len = end.map_or(self.size, |end| end.min(self.size));
        // Checked before: no more than a segment may have.
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let read = read_full(&*self.file, &mut bytes, 0);
        let read = read.map_err(|error| io_error("reading", &self.path(dir), &error))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    pub(super) fn scan(&self, bytes: &[u8], known_end: Option<u64>) -> (Format, Scan) {
        scan_as(bytes, self.format, self.number, known_end)
    }

    /// What its first record says, which is a mark.
    pub(super) fn first_mark(&self, dir: &Path) -> Result<Mark, JournalError> {
        let mut bytes = [0; MARK];
        let read = read_full(&*self.file, &mut bytes, SEGMENT_HEADER as u64);
        let read = read.map_err(|error| io_error("reading", &self.path(dir), &error))?;
        Ok(
            match look(Format::V1, self.number, bytes.get(..read).unwrap_or(&[])) {
                Look::Whole(record) if record.kind == Kind::Mark => Mark::parse(record.body),
                _ => Mark::default(),
            },
        )
    }

    /// Where the segment before this one ends, if this one begins with that.
    pub(super) fn end_of_previous(
        &self,
        dir: &Path,
        previous: u64,
    ) -> Result<Option<u64>, JournalError> {
        let (segment, end) = self.first_mark(dir)?.synced;
        Ok((segment == previous && (1..=MAX_SEGMENT).contains(&end)).then_some(end))
    }
}
