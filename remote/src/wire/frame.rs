//! Frames: a header of 16 bytes and a body.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | length of the body, `u32` |
//! | 4 | kind, see [`Kind`] |
//! | 5 | flags, their meaning depends on the kind; unknown ones are zero |
//! | 6..8 | reserved, zero: room for lanes and credit |
//! | 8..16 | correlation, `u64`: which ask or subscription the frame is about; 0 if none |
//!
//! All integers are big-endian.

use super::WireError;

#[cfg(test)]
mod tests;

/// The length of a header.
pub(crate) const HEADER: usize = 16;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// What a frame is. Numbers are never given a second meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            #[cfg(test)]
            pub(crate) const ALL: &'static [Kind] = &[$(Kind::$name),*];

            pub(crate) fn number(self) -> u8 {
                match self { $(Kind::$name => $number,)* }
            }

            pub(crate) fn of(number: u8) -> Option<Kind> {
                match number { $($number => Some(Kind::$name),)* _ => None }
            }

            /// Its name in errors.
            pub(crate) fn text(self) -> &'static str {
                match self { $(Kind::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// The first frame of each side.
    Hello = 1, "hello";
    /// In place of, or after, a `Hello`: why there will be no connection.
    Refuse = 2, "refuse";
    /// Is anybody there?
    Ping = 3, "ping";
    /// Yes.
    Pong = 4, "pong";
    /// A message without an answer.
    Tell = 16, "tell";
    /// A message to be answered.
    Ask = 17, "ask";
    /// The answer to an ask.
    Reply = 18, "reply";
    /// The end of an ask or a subscription without an answer: kind and verdict.
    Failed = 19, "failed";
    /// The asker gave up waiting.
    Cancel = 20, "cancel";
    /// Wants what is published to a topic.
    Subscribe = 32, "subscribe";
    /// From now on it comes.
    Subscribed = 33, "subscribed";
    /// Wants no more.
    Unsubscribe = 34, "unsubscribe";
    /// A published message.
    Event = 35, "event";
    /// Published messages that were missed.
    Gap = 36, "gap";
    /// The topic has ended, or the subscription by its policy.
    Ended = 37, "ended";
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) len: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) correlation: u64,
}

impl Header {
    pub(crate) fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&self.len.to_be_bytes());
        bytes[4] = self.kind.number();
        bytes[5] = self.flags;
        bytes[8..16].copy_from_slice(&self.correlation.to_be_bytes());
        bytes
    }

    /// Reads a header. A body longer than `max` is refused here, before any memory is taken for it.
    pub(crate) fn decode(bytes: &[u8; HEADER], max: u32) -> Result<Self, WireError> {
        let [l0, l1, l2, l3, kind, flags, r0, r1, correlation @ ..] = *bytes;
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        let kind = Kind::of(kind).ok_or(WireError::UnknownKind(kind))?;
        if [r0, r1] != [0, 0] {
            return Err(WireError::ReservedBits);
        }
        if len > max {
            let len = u64::from(len);
            return Err(WireError::FrameTooLarge { len, max });
        }
        Ok(Header {
            len,
            kind,
            flags,
            correlation: u64::from_be_bytes(correlation),
        })
    }
}

/// Appends a frame whose body `write` appends.
///
/// # Errors
/// If the body is longer than `max`; `out` is then as before.
pub(crate) fn put_frame(
    out: &mut Vec<u8>,
    kind: Kind,
    flags: u8,
    correlation: u64,
    max: u32,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<(), WireError> {
    let start = out.len();
    out.extend([0; HEADER]);
    write(out);
    let body = out.len() - start - HEADER;
    match u32::try_from(body) {
        Ok(len) if len <= max => {
            let header = Header {
                len,
                kind,
                flags,
                correlation,
            };
            out[start..start + HEADER].copy_from_slice(&header.encode());
            Ok(())
        }
        _ => {
            out.truncate(start);
            let len = body as u64;
            Err(WireError::FrameTooLarge { len, max })
        }
    }
}

/// A frame without a body.
pub(crate) fn bare(kind: Kind, correlation: u64) -> Vec<u8> {
    let header = Header {
        len: 0,
        kind,
        flags: 0,
        correlation,
    };
    header.encode().to_vec()
}

/// A frame as it lies in the buffer of a [`Decoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) correlation: u64,
    pub(crate) body: &'a [u8],
}

/// Cuts a stream of bytes into frames, wherever the stream was cut.
#[derive(Debug)]
pub(crate) struct Decoder {
    max: u32,
    buffer: Vec<u8>,
    /// Where the first frame not yet taken begins.
    start: usize,
}

/// A buffer that grew past this for one large frame is given back when it is empty.
const KEEP: usize = 256 * 1024;

impl Decoder {
    /// A decoder that refuses bodies longer than `max`.
    pub(crate) fn new(max: u32) -> Self {
        Decoder {
            max,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Takes what was read. Memory grows with what has arrived, never with what was announced.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is here.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        let waiting = &self.buffer[self.start..];
        let Some((header, rest)) = waiting.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let header = Header::decode(header, self.max)?;
        // A `u32` fits on every platform that has sockets.
        let len = header.len as usize;
        if rest.len() < len {
            return Ok(None);
        }
        let begin = self.start + HEADER;
        self.start = begin + len;
        Ok(Some(Frame {
            kind: header.kind,
            flags: header.flags,
            correlation: header.correlation,
            body: &self.buffer[begin..begin + len],
        }))
    }

    /// Bytes of a frame that has begun and not ended.
    pub(crate) fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }
}
