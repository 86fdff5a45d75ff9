//! How deep a payload nests, seen before it is decoded (G36).
//!
//! A decoder calls itself for each level of a type that contains itself, and what is deep enough overflows
//! the stack, which ends the process. rmp-serde counts levels of lists and maps, but not those of enums. So
//! what is long enough to be that deep is walked through once, without a call per level.

use super::{CodecError, MAX_DEPTH};

/// What is no longer can't be too deep: a level of an enum takes two bytes at least, the other levels are counted
/// when they are decoded.
const SHALLOW: usize = 2 * MAX_DEPTH;

/// Refuses what nests too deep.
#[inline]
pub(super) fn check(bytes: &[u8]) -> Result<(), CodecError> {
    if bytes.len() <= SHALLOW || is_flat(bytes) {
        return Ok(());
    }
    walk(bytes)
}

/// A single value without parts: a large text, or bytes.
fn is_flat(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(0xC4..=0xC6 | 0xD9..=0xDB))
}

/// Ends at the first value that isn't whole: the decoder comes no further.
#[cold]
fn walk(mut rest: &[u8]) -> Result<(), CodecError> {
    // Per open level, how many values are still to come.
    let mut open = [0_u64; MAX_DEPTH];
    let mut depth = 0;
    while let Some((&marker, behind)) = rest.split_first() {
        let Some((skip, parts)) = value(marker, behind) else {
            return Ok(());
        };
        let Some(behind) = usize::try_from(skip)
            .ok()
            .and_then(|skip| behind.get(skip..))
        else {
            return Ok(());
        };
        rest = behind;
        if parts > 0 {
            let Some(level) = open.get_mut(depth) else {
                return Err(CodecError::new(format!(
                    "more than {MAX_DEPTH} values inside each other"
                )));
            };
            *level = parts;
            depth += 1;
            continue;
        }
        while let Some(left) = depth.checked_sub(1).and_then(|at| open.get_mut(at)) {
            *left -= 1;
            if *left > 0 {
                break;
            }
            depth -= 1;
        }
        if depth == 0 {
            return Ok(());
        }
    }
    Ok(())
}

/// How many bytes follow the marker that belong to the value itself, and how many values inside it come next.
fn value(marker: u8, behind: &[u8]) -> Option<(u64, u64)> {
    let number = |bytes: usize| {
        let read = behind.get(..bytes)?.iter();
        Some(read.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    Some(match marker {
        0x80..=0x8F => (0, u64::from(marker & 0x0F) * 2),
        0x90..=0x9F => (0, u64::from(marker & 0x0F)),
        0xA0..=0xBF => (u64::from(marker & 0x1F), 0),
        0xC4 | 0xD9 => (1 + number(1)?, 0),
        0xC5 | 0xDA => (2 + number(2)?, 0),
        0xC6 | 0xDB => (4 + number(4)?, 0),
        0xC7 => (2 + number(1)?, 0),
        0xC8 => (3 + number(2)?, 0),
        0xC9 => (5 + number(4)?, 0),
        0xCA | 0xCE | 0xD2 => (4, 0),
        0xCB | 0xCF | 0xD3 => (8, 0),
        0xCC | 0xD0 => (1, 0),
        0xCD | 0xD1 => (2, 0),
        0xD4..=0xD8 => (1 + (1 << (marker - 0xD4)), 0),
        0xDC => (2, number(2)?),
        0xDD => (4, number(4)?),
        0xDE => (2, number(2)? * 2),
        0xDF => (4, number(4)? * 2),
        _ => (0, 0),
    })
}
