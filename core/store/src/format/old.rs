//! Version 0, which is read and no longer written: bodies without heads, no sequence, no marks, and checks that
//! don't know their segment.

use super::{Kind, Look, Record, padded, u32_at, u64_at};

/// The length of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 32;
/// The length of a record's header.
const RECORD_HEADER: usize = 24;

pub(super) fn look(bytes: &[u8]) -> Look<'_> {
    if bytes.len() < RECORD_HEADER {
        return Look::Nothing;
    }
    let kind = match bytes[8] {
        1 => Kind::Put,
        3 => Kind::Note,
        4 => Kind::Drop,
        _ => return Look::Nothing,
    };
    let length = u32_at(bytes, 12) as usize;
    let len = padded(RECORD_HEADER.saturating_add(length));
    if len > bytes.len() || crc32fast::hash(&bytes[4..RECORD_HEADER]) != u32_at(bytes, 0) {
        return Look::Nothing;
    }
    let id = u64_at(bytes, 16);
    let payload = &bytes[RECORD_HEADER..RECORD_HEADER + length];
    if crc32fast::hash(payload) != u32_at(bytes, 4) {
        return Look::Broken { kind, id, len };
    }
    let (body, note): (&[u8], &[u8]) = match kind {
        Kind::Note => (&[], payload),
        _ => (payload, &[]),
    };
    Look::Whole(Record {
        kind,
        id,
        sequence: None,
        head: &[],
        body,
        note,
        len,
    })
}
