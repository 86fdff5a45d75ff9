//! Compression of payloads: an lz4 block behind its plain length.

use callboard::{Failure, FailureKind, Verdict};

#[cfg(test)]
mod tests;

/// What lz4 can at best make of a byte: a length that claims more is a lie.
const MOST_PLAIN: usize = 255;

/// Compresses what stands in `frame` from `at` on, if that saves a tenth of it. Answers whether it did.
pub(crate) fn pack(frame: &mut Vec<u8>, at: usize) -> bool {
    let plain = &frame[at..];
    let Ok(len) = u32::try_from(plain.len()) else {
        return false;
    };
    let packed = lz4_flex::block::compress(plain);
    if (packed.len() + 4) * 10 > plain.len() * 9 {
        return false;
    }
    frame.truncate(at);
    frame.extend(len.to_be_bytes());
    frame.extend(packed);
    true
}

/// The plain bytes, at most `max` of them: checked before any memory is taken (G36).
pub(crate) fn unpack(payload: &[u8], max: u32) -> Result<Vec<u8>, Failure> {
    let bad = |why: &str| {
        Failure::new(FailureKind::BadPayload, Verdict::NotExecuted).with_detail(why.to_owned())
    };
    let (len, packed) = payload
        .split_first_chunk::<4>()
        .ok_or_else(|| bad("a compressed payload without its length"))?;
    let len = u32::from_be_bytes(*len);
    if len > max || len as usize > packed.len().saturating_mul(MOST_PLAIN) {
        return Err(bad("a compressed payload that is too large"));
    }
    match lz4_flex::block::decompress(packed, len as usize) {
        Ok(plain) if plain.len() == len as usize => Ok(plain),
        _ => Err(bad("a compressed payload that can't be decompressed")),
    }
}
