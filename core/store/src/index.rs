//! Where the live records are, and what that means for each segment.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use callboard_core::journal::RecordId;

use crate::disk::DiskFile;
use crate::format::{Format, Kind};

/// A record's place on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    /// With header and padding.
    pub(crate) len: u32,
}

/// A live record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) put: Place,
    /// Its note, unless that stands in the record itself.
    pub(crate) note: Option<Place>,
}

/// A segment.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) format: Format,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Bytes of the file.
    pub(crate) size: u64,
    /// Where its records end.
    pub(crate) used: u64,
    /// Bytes of live records and notes in it.
    pub(crate) live: u64,
}

/// The live records of a log, and its segments from the oldest to the one that is written to.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: HashMap<RecordId, Entry, BuildHasherDefault<IdHasher>>,
    pub(crate) segments: VecDeque<Segment>,
    live: u64,
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of live records and notes.
    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    /// Bytes of the segments' files.
    pub(crate) fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    pub(crate) fn get(&self, id: RecordId) -> Option<Entry> {
        self.entries.get(&id).copied()
    }

    pub(crate) fn segment(&self, number: u64) -> Option<&Segment> {
        let at = self
            .segments
            .partition_point(|segment| segment.number < number);
        self.segments
            .get(at)
            .filter(|segment| segment.number == number)
    }

    /// A record was appended at this place. This is the one rule of what a log means; recovery goes by it, too.
    pub(crate) fn apply(&mut self, kind: Kind, id: RecordId, place: Place) {
        match kind {
            Kind::Put | Kind::PutWithNote => {
                let entry = Entry {
                    put: place,
                    note: None,
                };
                self.add(place);
                if let Some(before) = self.entries.insert(id, entry) {
                    self.forget(before);
                }
            }
            Kind::Note => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    let before = entry.note.replace(place);
                    self.add(place);
                    before.into_iter().for_each(|before| self.subtract(before));
                }
            }
            Kind::Drop => self.remove(id),
            Kind::Mark | Kind::Gap => {}
        }
    }

    pub(crate) fn remove(&mut self, id: RecordId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.forget(entry);
        }
    }

    /// The records that lie in a segment, in no order.
    pub(crate) fn ids_in(&self, segment: u64) -> Vec<RecordId> {
        let inside = self.entries.iter();
        inside
            .filter(|(_, entry)| entry.put.segment == segment)
            .map(|(id, _)| *id)
            .collect()
    }

    fn forget(&mut self, entry: Entry) {
        self.subtract(entry.put);
        entry.note.into_iter().for_each(|note| self.subtract(note));
    }

    fn add(&mut self, place: Place) {
        self.live += u64::from(place.len);
        if let Some(segment) = self.segment_mut(place.segment) {
            segment.live += u64::from(place.len);
        }
    }

    fn subtract(&mut self, place: Place) {
        self.live -= u64::from(place.len);
        if let Some(segment) = self.segment_mut(place.segment) {
            segment.live -= u64::from(place.len);
        }
    }

    pub(crate) fn segment_mut(&mut self, number: u64) -> Option<&mut Segment> {
        // Nearly all are appended to the last.
        let last = self.segments.len().checked_sub(1)?;
        let at = if self.segments[last].number == number {
            last
        } else {
            self.segments
                .partition_point(|segment| segment.number < number)
        };
        self.segments
            .get_mut(at)
            .filter(|segment| segment.number == number)
    }
}

/// Spreads record numbers over a table: they are mostly consecutive, and come from the program itself. Fibonacci
/// hashing (Knuth, "The Art of Computer Programming" 3, 6.4), with the high bits folded in.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        let spread = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = spread ^ (spread >> 32);
    }
}
