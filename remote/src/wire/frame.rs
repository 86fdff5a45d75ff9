//! Frames: a header of 16 bytes and a body.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | length of the body, `u32` |
//! | 4 | kind, see [`Kind`] |
//! | 5 | flags, their meaning depends on the kind; unknown ones are zero |
//! | 6..8 | sequence, `u16`: the low bits of the frame's number in its session; 0 for what has none |
//! | 8..16 | correlation, `u64`: which ask, slot or subscription the frame is about; 0 if none |
//!
//! All integers are big-endian.
//!
//! Frames that carry something are numbered, from 1 on, in the order in which they are written, and kept until the
//! other side has acknowledged them; after a broken connection they are sent again from where it says. `Ping`,
//! `Pong`, `Ack` and the handshake are about the connection, not about what it carries: they have no number, and are
//! never sent again.

use super::WireError;

#[cfg(test)]
mod tests;

/// The length of a header.
pub(crate) const HEADER: usize = 16;
/// Where in a header its kind stands.
pub(crate) const KIND: usize = 4;
/// Where in a header its sequence stands.
pub(crate) const SEQUENCE: std::ops::Range<usize> = 6..8;
/// The longest body that travels in one piece, in bytes; longer ones travel in [`Part`](Kind::Part)s of at most that
/// length, with others between them.
pub(crate) const PIECE: usize = 256 * 1024;
/// The longest body that is taken: a piece, and what stands beside it.
pub(crate) const MAX_BODY: u32 = 256 * 1024 + 1_024;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// What a frame is. Numbers are never given a second meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            #[cfg(test)]
            pub(crate) const ALL: &'static [Kind] = &[$(Kind::$name),*];

            #[inline]
            pub(crate) fn number(self) -> u8 {
                match self { $(Kind::$name => $number,)* }
            }

            #[inline]
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
    /// Everything up to this number has arrived: the number is the correlation.
    Ack = 5, "ack";
    /// The session ends here, by intent.
    Bye = 6, "bye";
    /// More may be sent: to a slot, or in all.
    Credit = 7, "credit";
    /// A piece of a frame that is too large for one.
    Part = 8, "part";
    /// What was here is not wanted any more: skip it.
    Void = 9, "void";
    /// Gives a number to a name and a message type.
    Open = 10, "open";
    /// How a slot takes its payloads.
    Opened = 11, "opened";
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
    /// Wants to know what becomes of what has a name.
    Watch = 48, "watch";
    /// Something became of it.
    Life = 49, "life";
    /// Doesn't want to know any more.
    Unwatch = 50, "unwatch";
}

impl Kind {
    /// Whether frames of this kind have a number in their session.
    #[inline]
    pub(crate) fn is_numbered(self) -> bool {
        !matches!(
            self,
            Kind::Hello | Kind::Refuse | Kind::Ping | Kind::Pong | Kind::Ack | Kind::Bye
        )
    }
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) len: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) sequence: u16,
    pub(crate) correlation: u64,
}

impl Header {
    #[inline]
    pub(crate) fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&self.len.to_be_bytes());
        bytes[4] = self.kind.number();
        bytes[5] = self.flags;
        bytes[SEQUENCE].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.correlation.to_be_bytes());
        bytes
    }

    /// Reads a header. A body longer than `max` is refused here, before any memory is taken for it.
    #[inline(always)]
    pub(crate) fn decode(bytes: &[u8; HEADER], max: u32) -> Result<Self, WireError> {
        let [l0, l1, l2, l3, kind, flags, s0, s1, correlation @ ..] = *bytes;
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        let kind = Kind::of(kind).ok_or(WireError::UnknownKind(kind))?;
        let sequence = u16::from_be_bytes([s0, s1]);
        if sequence != 0 && !kind.is_numbered() {
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
            sequence,
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
                sequence: 0,
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
        sequence: 0,
        correlation,
    };
    header.encode().to_vec()
}

/// A frame as it lies in the buffer of a [`Decoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) sequence: u16,
    pub(crate) correlation: u64,
    pub(crate) body: &'a [u8],
}

/// Reads the frame that begins a stretch of bytes, if it is there whole: itself, and how many bytes it takes.
// In line, here and in what it calls: each value that is written to memory in parts and read again as a whole costs
// more than reading a header does.
#[inline(always)]
pub(crate) fn split_frame(bytes: &[u8], max: u32) -> Result<Option<(Frame<'_>, usize)>, WireError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let header = Header::decode(header, max)?;
    // A `u32` fits on every platform that has sockets.
    let len = header.len as usize;
    let Some(body) = rest.get(..len) else {
        return Ok(None);
    };
    let frame = Frame {
        kind: header.kind,
        flags: header.flags,
        sequence: header.sequence,
        correlation: header.correlation,
        body,
    };
    Ok(Some((frame, HEADER + len)))
}

/// Cuts a stream of bytes into frames, wherever the stream was cut. Bytes are read into its buffer and stay where
/// they are.
#[derive(Debug)]
pub(crate) struct Decoder {
    max: u32,
    /// All of it may be read into; it grows with what has arrived, never with what was announced.
    buffer: Vec<u8>,
    /// Where the first frame not yet taken begins.
    start: usize,
    /// Where what has arrived ends.
    end: usize,
}

/// What an idle connection keeps, in bytes.
const SMALL: usize = 4 * 1024;
/// What a busy one grows to, unless one frame needs more.
const LARGE: usize = 256 * 1024;

impl Decoder {
    /// A decoder that refuses bodies longer than `max`.
    pub(crate) fn new(max: u32) -> Self {
        Decoder {
            max,
            buffer: vec![0; SMALL],
            start: 0,
            end: 0,
        }
    }

    /// Where to read into next. Never empty.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            let longer = self.buffer.len() * 2;
            self.buffer.resize(longer, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// So many bytes were read into [`space`](Decoder::space).
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
        // All that there was room for: there is more where it came from.
        if self.end == self.buffer.len() && self.buffer.len() < LARGE {
            let longer = self.buffer.len() * 4;
            self.buffer.resize(longer.min(LARGE), 0);
        }
    }

    /// Gives back what only a busy connection needs.
    pub(crate) fn rest(&mut self) {
        if self.start == self.end && self.buffer.len() > SMALL {
            self.buffer = vec![0; SMALL];
            (self.start, self.end) = (0, 0);
        }
    }

    /// The next whole frame, if it is here.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        let waiting = &self.buffer[self.start..self.end];
        Ok(match split_frame(waiting, self.max)? {
            None => None,
            Some((frame, taken)) => {
                self.start += taken;
                Some(frame)
            }
        })
    }
}
