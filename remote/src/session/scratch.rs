//! Where frames are encoded before they are copied into an outbox: code of others runs outside its lock.

use std::cell::Cell;

use bytes::Bytes;
use callboard::codec::Shape;

use super::{Session, pack};
use crate::wire::frame::{HEADER, Header, Kind};

/// A buffer that grew past this is given back.
const KEEP: usize = 512 * 1024;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An empty buffer, used before if possible. One that is taken while another is out is its own.
pub(crate) fn take() -> Vec<u8> {
    let mut buffer = SCRATCH.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    buffer
}

/// Gives it back.
pub(crate) fn give(buffer: Vec<u8>) {
    if buffer.capacity() <= KEEP {
        // Nobody is left to use it if the thread is ending.
        let _ = SCRATCH.try_with(|scratch| scratch.set(buffer));
    }
}

/// Runs `work` with an empty buffer of this thread.
pub(crate) fn with<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = take();
    let result = work(&mut buffer);
    give(buffer);
    result
}

/// From how many bytes on a raw payload stays where it is, and isn't copied into the frame.
pub(crate) const UNCOPIED: usize = 16 * 1024;

/// Writes the header of the frame whose body is complete behind it, but for `more` bytes that follow elsewhere.
pub(crate) fn finish_frame(frame: &mut [u8], more: usize, kind: Kind, flags: u8, correlation: u64) {
    let header = Header {
        // Bounded by who encodes.
        len: u32::try_from(frame.len() - HEADER + more).unwrap_or(u32::MAX),
        kind,
        flags,
        sequence: 0,
        correlation,
    };
    if let Some(place) = frame.first_chunk_mut::<HEADER>() {
        *place = header.encode();
    }
}

pub(crate) fn shape(positional: bool) -> Shape {
    if positional {
        Shape::Positional
    } else {
        Shape::Named
    }
}

/// How a large raw payload travels.
pub(crate) enum Raw {
    /// From where it is.
    Uncopied(Bytes),
    /// Compressed, in the frame.
    Packed,
}

/// The bytes of a large raw payload, or what they shrink to behind what stands in `frame`. Nothing if there is none,
/// it is small, or it is more than `most` bytes.
pub(crate) fn put_large(
    raw: Option<&Bytes>,
    session: &Session,
    most: u32,
    frame: &mut Vec<u8>,
) -> Option<Raw> {
    let bytes = raw.filter(|it| it.len() >= UNCOPIED && it.len() <= most as usize)?;
    if session.packs(bytes.len()) && session.worth.attempt(|| pack::append(frame, bytes)) {
        return Some(Raw::Packed);
    }
    Some(Raw::Uncopied(bytes.clone()))
}
