//! Reads a segment from front to back: what is whole, what is damaged, where it ends.

use crate::format::{ALIGN, Format, Kind, Look, Mark, Record, look};

/// A part of a segment that holds no whole record although one begins behind it, or was known to end there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The record it was, where the header tells.
    pub(crate) id: Option<u64>,
    /// How many records it was, where the sequence tells.
    pub(crate) records: Option<u64>,
}

/// What a segment holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Where the whole records begin, gaps and marks included.
    pub(crate) records: Vec<u32>,
    /// In order, each between or before whole records.
    pub(crate) holes: Vec<Hole>,
    /// Where the last whole record ends.
    pub(crate) end: u64,
    /// Where the last byte behind that ends that isn't zero; the same as `end` if there is none.
    pub(crate) dirty: u64,
    /// The mark that came the furthest.
    pub(crate) mark: Option<Mark>,
    /// The sequence of the last record.
    pub(crate) sequence: Option<u64>,
}

impl Scan {
    /// How far its own marks say that this segment was synced.
    pub(crate) fn synced(&self, number: u64) -> u64 {
        let own = self.mark.filter(|mark| mark.synced.0 == number);
        own.map_or(0, |mark| mark.synced.1)
    }
}

/// Scans a segment. `known_end` is where it was synced up to when the next one was begun, if that is known: what
/// is missing before that is a hole, too.
pub(crate) fn scan(bytes: &[u8], format: Format, number: u64, known_end: Option<u64>) -> Scan {
    let limit = known_end
        .and_then(|end| usize::try_from(end).ok())
        .map_or(bytes.len(), |end| end.min(bytes.len()));
    let bytes = &bytes[..limit];
    let first = format.first_record();
    let mut scan = Scan {
        end: first as u64,
        ..Scan::default()
    };
    // Holes behind the last whole record. They are holes only if another whole one follows.
    let mut behind: Vec<Hole> = Vec::new();
    let mut at = first;
    while at < bytes.len() {
        match look(format, number, &bytes[at..]) {
            Look::Whole(record) => {
                number_holes(&mut behind, scan.sequence, record.sequence);
                scan.holes.append(&mut behind);
                scan.note_record(at, &record);
                at += record.len;
            }
            Look::Broken { id, len, kind } => {
                let id = matches!(kind, Kind::Put | Kind::PutWithNote).then_some(id);
                behind.push(hole(at, at + len, id));
                at += len;
            }
            Look::Nothing => {
                let Some(next) = next_header(bytes, format, number, at) else {
                    break;
                };
                behind.push(hole(at, next, None));
                at = next;
            }
        }
    }
    let end = usize::try_from(scan.end).unwrap_or(limit).min(limit);
    let dirty = bytes[end..].iter().rposition(|byte| *byte != 0);
    scan.dirty = dirty.map_or(scan.end, |last| (end + last + 1) as u64);
    if let Some(known) = known_end {
        // Holes lie side by side, so the last of them says how far is known.
        let start = behind.last().map_or(scan.end, |hole| hole.end);
        scan.holes.append(&mut behind);
        if start < known {
            scan.holes.push(Hole {
                start,
                end: known,
                id: None,
                records: None,
            });
        }
    }
    scan
}

impl Scan {
    fn note_record(&mut self, at: usize, record: &Record<'_>) {
        // Segments are no larger than 1 GiB.
        self.records.push(u32::try_from(at).unwrap_or(u32::MAX));
        self.end = (at + record.len) as u64;
        if record.kind != Kind::Gap {
            self.sequence = record.sequence.or(self.sequence);
        }
        if record.kind == Kind::Mark {
            let mark = Mark::parse(record.body);
            if self.mark.is_none_or(|best| best.synced <= mark.synced) {
                self.mark = Some(mark);
            }
        }
    }
}

fn hole(start: usize, end: usize, id: Option<u64>) -> Hole {
    Hole {
        start: start as u64,
        end: end as u64,
        id,
        records: None,
    }
}

/// One hole between two known sequences held what is missing between them.
fn number_holes(holes: &mut [Hole], before: Option<u64>, after: Option<u64>) {
    if let ([hole], Some(before), Some(after)) = (holes, before, after) {
        hole.records = after.checked_sub(before + 1);
    }
}

/// Where the next header of a record begins. Only headers are looked at, which costs the same for any bytes: the
/// payload of what is found is looked at once.
pub(crate) fn next_header(bytes: &[u8], format: Format, number: u64, from: usize) -> Option<usize> {
    let mut at = from + ALIGN;
    while at < bytes.len() {
        // Zeros are no header of any version, and most of what is behind the end.
        let zeros = bytes[at..].iter().take_while(|byte| **byte == 0).count();
        if at + zeros >= bytes.len() {
            return None;
        }
        // A header has its check in front, which may be zero by chance: so no more is skipped than leaves the
        // eight bytes before its kind.
        at += zeros.saturating_sub(2 * ALIGN) / ALIGN * ALIGN;
        if !matches!(look(format, number, &bytes[at..]), Look::Nothing) {
            return Some(at);
        }
        at += ALIGN;
    }
    None
}
