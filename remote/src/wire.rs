//! The bytes between two processes: pure encoding and decoding, no IO.
//!
//! A connection carries frames in both directions. A frame is a fixed header of 16 bytes and a body
//! whose shape its kind gives; all integers are big-endian. The first frame of each side is its
//! [`Hello`](handshake::Hello), whose shape never changes, so that any two versions can tell each other
//! that they don't match. Payloads of messages, and nothing else, are MessagePack.
//!
//! Everything here is bounded before memory is taken, and every input has an answer: a value or a
//! [`WireError`] (G36).

pub(crate) mod body;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod limits;
mod reader;
pub(crate) mod watching;

pub use limits::{MAX_HELLO, MAX_NAME, MAX_SUBJECT, PROTOCOL_MAX, PROTOCOL_MIN};

/// Bytes that are no frame of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The header names a kind that the agreed version doesn't have.
    #[error("frame kind {0} is unknown")]
    UnknownKind(u8),
    /// The reserved bits of a header are set.
    #[error("reserved bits are set in a frame header")]
    ReservedBits,
    /// The header announces more than this side takes.
    #[error("a frame of {len} bytes is announced, {max} are allowed")]
    FrameTooLarge {
        /// What was announced.
        len: u64,
        /// The limit.
        max: u32,
    },
    /// A body ends too early.
    #[error("the {0} frame ends too early")]
    Truncated(&'static str),
    /// A body goes on past its end.
    #[error("the {0} frame has bytes left over")]
    LeftOver(&'static str),
    /// A field has a value it may not have.
    #[error("the {frame} frame has a bad {field}")]
    BadField {
        /// The kind of frame.
        frame: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A frame has a number that can't be its own: frames before it are missing.
    #[error("a frame is out of sequence")]
    OutOfSequence,
    /// More was sent than was allowed.
    #[error("more was sent than there was credit for")]
    NoCredit,
    /// A frame came that this side doesn't take at this point.
    #[error("the {0} frame came where none may come")]
    Unexpected(&'static str),
}
