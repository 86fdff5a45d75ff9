//! The bytes of version 1, and what is common to the versions. The guide's page "The log's format" says the same
//! in words, and is what the golden files of the tests were written by.

mod old;

use callboard_core::journal::Change;
use crc32fast::Hasher;

/// The first bytes of a segment. Like those of a PNG they show when a file was taken for text on its way.
pub(crate) const MAGIC: [u8; 8] = *b"CBLOG\r\n\x1a";
/// The version that is written.
pub(crate) const VERSION: u16 = 1;
/// The length of a segment's header.
pub(crate) const SEGMENT_HEADER: usize = 64;
/// The length of a record's header.
pub(crate) const RECORD_HEADER: usize = 32;
/// Records begin at multiples of this.
pub(crate) const ALIGN: usize = 8;
/// The whole length of a mark.
pub(crate) const MARK: usize = RECORD_HEADER + 24;
/// The longest head or note.
pub(crate) const MAX_SMALL: usize = u16::MAX as usize;
/// The largest segment. Offsets are kept in 32 bits.
pub(crate) const MAX_SEGMENT: u64 = 1 << 30;

/// Which version a segment is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    V0,
    V1,
}

impl Format {
    /// Where the first record of a segment begins.
    pub(crate) fn first_record(self) -> usize {
        match self {
            Format::V0 => old::SEGMENT_HEADER,
            Format::V1 => SEGMENT_HEADER,
        }
    }
}

/// The first bytes of a segment, as far as they say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentHeader {
    V1 {
        number: u64,
        identity: u64,
    },
    V0 {
        number: u64,
    },
    /// Of a version that this program doesn't know. It is left alone.
    Later(u16),
    /// No header.
    Bad,
}

pub(crate) fn segment_header(number: u64, identity: u64) -> [u8; SEGMENT_HEADER] {
    let mut bytes = [0; SEGMENT_HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[10..12].copy_from_slice(&(SEGMENT_HEADER as u16).to_le_bytes());
    bytes[16..24].copy_from_slice(&number.to_le_bytes());
    bytes[24..32].copy_from_slice(&identity.to_le_bytes());
    let check = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&check.to_le_bytes());
    bytes
}

pub(crate) fn parse_segment_header(bytes: &[u8]) -> SegmentHeader {
    if !bytes.starts_with(&MAGIC) {
        return SegmentHeader::Bad;
    }
    let length = usize::from(u16_at(bytes, 10));
    // Every version ends its header with the check of what stands before.
    if !(old::SEGMENT_HEADER..=4096).contains(&length) || bytes.len() < length {
        return SegmentHeader::Bad;
    }
    if crc32fast::hash(&bytes[..length - 4]) != u32_at(bytes, length - 4) {
        return SegmentHeader::Bad;
    }
    let number = u64_at(bytes, 16);
    match (u16_at(bytes, 8), length) {
        (0, old::SEGMENT_HEADER) => SegmentHeader::V0 { number },
        (1, SEGMENT_HEADER) => SegmentHeader::V1 {
            number,
            identity: u64_at(bytes, 24),
        },
        (version, _) if version > VERSION => SegmentHeader::Later(version),
        _ => SegmentHeader::Bad,
    }
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Put = 1,
    /// A put that has its note with it: this is how compaction copies.
    PutWithNote = 2,
    Note = 3,
    Drop = 4,
    /// How far the log was synced, and which its oldest segment is.
    Mark = 5,
    /// In place of damaged bytes that were set aside.
    Gap = 6,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Put,
            2 => Kind::PutWithNote,
            3 => Kind::Note,
            4 => Kind::Drop,
            5 => Kind::Mark,
            6 => Kind::Gap,
            _ => return None,
        })
    }
}

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    /// The log was synced up to this place of this segment.
    pub(crate) synced: (u64, u64),
    /// Segments before this one don't count any more, whether their files are still there or not.
    pub(crate) oldest: u64,
}

impl Mark {
    pub(crate) fn parse(body: &[u8]) -> Mark {
        if body.len() < MARK - RECORD_HEADER {
            return Mark::default();
        }
        Mark {
            synced: (u64_at(body, 0), u64_at(body, 8)),
            oldest: u64_at(body, 16),
        }
    }
}

/// What stands at a place of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look<'a> {
    /// A record.
    Whole(Record<'a>),
    /// The header of a record whose payload is damaged.
    Broken { kind: Kind, id: u64, len: usize },
    /// No header of a record.
    Nothing,
}

/// A record, whose checks hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    /// Grows by one with each record of a log; unknown in version 0.
    pub(crate) sequence: Option<u64>,
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
    pub(crate) note: &'a [u8],
    /// Its length on disk, with header and padding.
    pub(crate) len: usize,
}

impl<'a> Record<'a> {
    /// Its note, if it has one.
    pub(crate) fn note(&self) -> Option<&'a [u8]> {
        matches!(self.kind, Kind::PutWithNote | Kind::Note).then_some(self.note)
    }
}

/// The lengths that a record's header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) len: usize,
    head: usize,
    body: usize,
    note: usize,
}

/// The shape of a record of version 1, checked for nothing but its kind.
pub(crate) fn shape(bytes: &[u8]) -> Option<Shape> {
    if bytes.len() < RECORD_HEADER {
        return None;
    }
    let kind = Kind::of(bytes[8])?;
    let body = u32_at(bytes, 24) as usize;
    let head = usize::from(u16_at(bytes, 28));
    let note = usize::from(u16_at(bytes, 30));
    Some(Shape {
        kind,
        id: u64_at(bytes, 16),
        len: padded(RECORD_HEADER + head + body + note),
        head,
        body,
        note,
    })
}

/// Looks at the beginning of `bytes`, which go on to the end of what may be looked at.
pub(crate) fn look(format: Format, number: u64, bytes: &[u8]) -> Look<'_> {
    match format {
        Format::V0 => old::look(bytes),
        Format::V1 => look_now(number, bytes),
    }
}

fn look_now(number: u64, bytes: &[u8]) -> Look<'_> {
    let Some(shape) = shape(bytes) else {
        return Look::Nothing;
    };
    let Shape { kind, id, len, .. } = shape;
    if len > bytes.len() || header_check(number, bytes) != u32_at(bytes, 0) {
        return Look::Nothing;
    }
    let payload = &bytes[RECORD_HEADER..RECORD_HEADER + shape.head + shape.body + shape.note];
    if kind != Kind::Gap && crc32fast::hash(payload) != u32_at(bytes, 4) {
        return Look::Broken { kind, id, len };
    }
    let (head, rest) = payload.split_at(shape.head);
    let (body, note) = rest.split_at(shape.body);
    Look::Whole(Record {
        kind,
        id,
        sequence: Some(u64_at(bytes, 8) >> 8),
        head,
        body,
        note,
        len,
    })
}

/// Of the header from its payload's check on, and of the segment's number: so a record counts in its own segment
/// only.
fn header_check(number: u64, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&bytes[4..RECORD_HEADER]);
    hasher.finalize()
}

/// The length on disk of a change, and `None` if it is too large for any segment.
pub(crate) fn encoded_len(change: &Change<'_>) -> Option<usize> {
    let (head, body, note) = match *change {
        Change::Put { head, body, .. } => (head.len(), body.len(), 0),
        Change::Note { note, .. } => (0, 0, note.len()),
        Change::Drop { .. } => (0, 0, 0),
    };
    let fits = head <= MAX_SMALL && note <= MAX_SMALL && (body as u64) < MAX_SEGMENT;
    fits.then(|| padded(RECORD_HEADER + head + body + note))
}

/// Appends a change that [`encoded_len`] measured. It has to be sealed before it is written.
pub(crate) fn encode(change: &Change<'_>, out: &mut Vec<u8>) {
    match *change {
        Change::Put { id, head, body } => parts(Kind::Put, id, head, body, &[], out),
        Change::Note { id, note } => parts(Kind::Note, id, &[], &[], note, out),
        Change::Drop { id } => parts(Kind::Drop, id, &[], &[], &[], out),
    }
}

/// Appends a record as compaction copies it.
pub(crate) fn encode_copy(
    id: u64,
    head: &[u8],
    body: &[u8],
    note: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    match note {
        None => parts(Kind::Put, id, head, body, &[], out),
        Some(note) => parts(Kind::PutWithNote, id, head, body, note, out),
    }
}

fn parts(kind: Kind, id: u64, head: &[u8], body: &[u8], note: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut header = [0; RECORD_HEADER];
    fill(&mut header, kind, id, body.len());
    header[28..30].copy_from_slice(&small(head.len()).to_le_bytes());
    header[30..32].copy_from_slice(&small(note.len()).to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(head);
    out.extend_from_slice(body);
    out.extend_from_slice(note);
    out.resize(start + padded(out.len() - start), 0);
}

fn fill(header: &mut [u8], kind: Kind, id: u64, body: usize) {
    header[8] = kind as u8;
    header[16..24].copy_from_slice(&id.to_le_bytes());
    let body = u32::try_from(body).unwrap_or(u32::MAX);
    header[24..28].copy_from_slice(&body.to_le_bytes());
}

/// Writes a mark into its place, which is [`MARK`] bytes long. It has to be sealed.
pub(crate) fn encode_mark(mark: Mark, out: &mut [u8]) {
    out[..MARK].fill(0);
    fill(out, Kind::Mark, 0, MARK - RECORD_HEADER);
    out[32..40].copy_from_slice(&mark.synced.0.to_le_bytes());
    out[40..48].copy_from_slice(&mark.synced.1.to_le_bytes());
    out[48..56].copy_from_slice(&mark.oldest.to_le_bytes());
}

/// The header that makes `len` bytes, this header included, a gap.
pub(crate) fn gap(number: u64, sequence: u64, len: usize) -> [u8; RECORD_HEADER] {
    let mut header = [0; RECORD_HEADER];
    fill(&mut header, Kind::Gap, 0, len.saturating_sub(RECORD_HEADER));
    finish(&mut header, number, sequence, 0);
    header
}

/// Gives a record its sequence and its checks: it is to be written to this segment.
pub(crate) fn seal(record: &mut [u8], shape: &Shape, number: u64, sequence: u64) {
    let end = RECORD_HEADER + shape.head + shape.body + shape.note;
    let check = crc32fast::hash(&record[RECORD_HEADER..end]);
    finish(record, number, sequence, check);
}

fn finish(header: &mut [u8], number: u64, sequence: u64, payload_check: u32) {
    header[4..8].copy_from_slice(&payload_check.to_le_bytes());
    header[9..16].copy_from_slice(&sequence.to_le_bytes()[..7]);
    let check = header_check(number, header);
    header[..4].copy_from_slice(&check.to_le_bytes());
}

pub(crate) fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

fn small(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

// Reading past the end gives zeros; the callers have looked at the length.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let part = bytes.get(at..at + N).and_then(|part| part.try_into().ok());
    part.unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
