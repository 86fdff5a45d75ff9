//! Compression of payloads: an lz4 block behind its plain length.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

use callboard::{Failure, FailureKind, Verdict};
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

#[cfg(test)]
mod tests;

/// What lz4 can at best make of a byte: a length that claims more is a lie.
const MOST_PLAIN: usize = 255;

/// A buffer that grew past this is given back.
const KEEP: usize = 512 * 1024;
/// Twice as many, and one, as payloads go as they are in a row, after some that didn't shrink.
const MOST_MISSES: u32 = 15;

thread_local! {
    static WORK: RefCell<Option<Work>> = const { RefCell::new(None) };
}

/// What compressing takes, used again.
#[derive(Default)]
struct Work {
    table: CompressTable,
    packed: Vec<u8>,
}

impl Work {
    /// Compresses `plain`. Nothing if that saves less than a tenth of it.
    fn pack(&mut self, plain: &[u8]) -> Option<([u8; 4], &[u8])> {
        let len = u32::try_from(plain.len()).ok()?;
        let most = get_maximum_output_size(plain.len());
        if self.packed.len() < most {
            self.packed.resize(most, 0);
        }
        let packed = compress_into_with_table(plain, &mut self.packed, &mut self.table).ok()?;
        let gains = (packed + 4) * 10 <= plain.len() * 9;
        gains.then(|| (len.to_be_bytes(), &self.packed[..packed]))
    }
}

/// Nothing where the thread is ending.
fn with_work<R>(work: impl FnOnce(&mut Work) -> Option<R>) -> Option<R> {
    let worked = WORK.try_with(|mine| {
        let mut mine = mine.try_borrow_mut().ok()?;
        let mine = mine.get_or_insert_default();
        let result = work(mine);
        if mine.packed.len() > KEEP {
            mine.packed = Vec::new();
        }
        result
    });
    worked.ok().flatten()
}

/// Compresses what stands in `frame` from `at` on, if that saves a tenth of it. Answers whether it did.
pub(crate) fn pack(frame: &mut Vec<u8>, at: usize) -> bool {
    let packed = with_work(|work| {
        let (len, packed) = work.pack(&frame[at..])?;
        frame.truncate(at);
        frame.extend_from_slice(&len);
        frame.extend_from_slice(packed);
        Some(())
    });
    packed.is_some()
}

/// The same for what stands elsewhere: it is appended if that helps, and only then.
pub(crate) fn append(frame: &mut Vec<u8>, plain: &[u8]) -> bool {
    let packed = with_work(|work| {
        let (len, packed) = work.pack(plain)?;
        frame.extend_from_slice(&len);
        frame.extend_from_slice(packed);
        Some(())
    });
    packed.is_some()
}

/// Whether it is worth trying: where payloads don't shrink, fewer and fewer are tried, one of 8 at least.
#[derive(Debug, Default)]
pub(crate) struct Worth {
    misses: AtomicU32,
    skips: AtomicU32,
}

impl Worth {
    /// Tries to compress a payload, if that may help.
    pub(crate) fn attempt(&self, pack: impl FnOnce() -> bool) -> bool {
        // Others may count at the same time: an attempt more or less doesn't matter.
        let skips = self.skips.load(Ordering::Relaxed);
        if skips > 0 {
            self.skips.store(skips - 1, Ordering::Relaxed);
            return false;
        }
        let packed = pack();
        let misses = match packed {
            true => 0,
            false => self.misses.load(Ordering::Relaxed) * 2 + 1,
        };
        let misses = misses.min(MOST_MISSES);
        self.misses.store(misses, Ordering::Relaxed);
        // None after the first, then one, three, and so on.
        self.skips.store(misses / 2, Ordering::Relaxed);
        packed
    }
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
