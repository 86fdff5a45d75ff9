//! What two sides tell each other first.
//!
//! Each side sends a `Hello` at once and reads the other's. A `Hello` is a frame whose correlation is
//! [`MAGIC`] and whose body is:
//!
//! | bytes | field |
//! |---|---|
//! | 0..2 | the oldest protocol version it speaks, `u16` |
//! | 2..4 | the newest protocol version it speaks, `u16` |
//! | 4..12 | features it has, a bit each, `u64`; what both have is in force |
//! | 12..20 | the incarnation of the node, `u64` |
//! | 20..24 | the largest body of a frame it takes, `u32` |
//! | 24 | length of the node's name, `u8` |
//! | 25.. | the node's name, UTF-8 |
//! | ... | whatever later versions add; ignored |
//!
//! This shape, and that of `Refuse`, stays the same in all versions. A `Refuse` has the magic too, and a
//! body of a `u16` length and a text that says why.

use callboard::Incarnation;

use super::WireError;
use super::frame::{HEADER, Header, Kind, put_frame};
use super::limits::{MAX_DETAIL, MAX_HELLO, MIN_MAX_FRAME, PROTOCOL_MAX, PROTOCOL_MIN};
use super::reader::{Fields, put_long_text, put_name};

#[cfg(test)]
mod tests;

/// The correlation of a `Hello` and a `Refuse`: tells a Callboard peer from anything else at once. The
/// line feed shows a stream that was "corrected" as text.
pub(crate) const MAGIC: u64 = u64::from_be_bytes(*b"CALLBRD\n");

/// Features this side has. None yet: sessions, compression, credit and positional payloads will be.
pub(crate) const FEATURES: u64 = 0;

/// What a side says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) versions: (u16, u16),
    pub(crate) features: u64,
    pub(crate) incarnation: Incarnation,
    pub(crate) max_frame: u32,
    pub(crate) node: String,
}

/// The first frame of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum First {
    Hello(Hello),
    /// The peer won't have this connection, and says why.
    Refuse(String),
}

/// Why the first bytes of a peer are no handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotHello {
    /// They are of another protocol.
    Foreign,
    Malformed(WireError),
}

impl From<WireError> for NotHello {
    fn from(error: WireError) -> Self {
        NotHello::Malformed(error)
    }
}

impl Hello {
    pub(crate) fn ours(node: &str, incarnation: Incarnation, max_frame: u32) -> Self {
        Hello {
            versions: (PROTOCOL_MIN, PROTOCOL_MAX),
            features: FEATURES,
            incarnation,
            max_frame,
            node: node.to_owned(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // A `Hello` is at most 280 bytes: within the limit.
        let _ = put_frame(&mut out, Kind::Hello, 0, MAGIC, MAX_HELLO, |out| {
            out.extend(self.versions.0.to_be_bytes());
            out.extend(self.versions.1.to_be_bytes());
            out.extend(self.features.to_be_bytes());
            out.extend(self.incarnation.0.to_be_bytes());
            out.extend(self.max_frame.to_be_bytes());
            put_name(out, &self.node);
        });
        out
    }

    fn decode(body: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(Kind::Hello.text(), body);
        let versions = (fields.u16()?, fields.u16()?);
        if versions.0 > versions.1 {
            return Err(fields.bad("version range"));
        }
        let features = fields.u64()?;
        let incarnation = Incarnation(fields.u64()?);
        let max_frame = fields.u32()?;
        if max_frame < MIN_MAX_FRAME {
            return Err(fields.bad("frame limit"));
        }
        let node = fields.name("node name")?.to_owned();
        // What is left was added by a later version.
        Ok(Hello {
            versions,
            features,
            incarnation,
            max_frame,
            node,
        })
    }

    /// The newest version that both speak.
    pub(crate) fn agree(&self, other: &Hello) -> Option<u16> {
        let oldest = self.versions.0.max(other.versions.0);
        let newest = self.versions.1.min(other.versions.1);
        (oldest <= newest).then_some(newest)
    }
}

/// A `Refuse` frame.
pub(crate) fn refuse(why: &str) -> Vec<u8> {
    let mut out = Vec::new();
    // The text is cut to fit.
    let _ = put_frame(&mut out, Kind::Refuse, 0, MAGIC, MAX_HELLO, |out| {
        put_long_text(out, why, MAX_DETAIL);
    });
    out
}

/// Reads the header of a peer's first frame: what kind it is, and how long its body.
pub(crate) fn first_header(bytes: &[u8; HEADER]) -> Result<Header, NotHello> {
    if bytes[8..] != MAGIC.to_be_bytes() {
        return Err(NotHello::Foreign);
    }
    let header = Header::decode(bytes, MAX_HELLO)?;
    match header.kind {
        Kind::Hello | Kind::Refuse => Ok(header),
        other => Err(WireError::Unexpected(other.text()).into()),
    }
}

/// Reads the body of a peer's first frame.
pub(crate) fn first_body(kind: Kind, body: &[u8]) -> Result<First, WireError> {
    match kind {
        Kind::Hello => Hello::decode(body).map(First::Hello),
        Kind::Refuse => {
            let mut fields = Fields::new(kind.text(), body);
            let why = fields.long_text(MAX_DETAIL, "reason")?;
            Ok(First::Refuse(printable(why)))
        }
        other => Err(WireError::Unexpected(other.text())),
    }
}

/// A text of a peer as it may stand in logs and errors.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
