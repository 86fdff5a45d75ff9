//! What two sides tell each other first.
//!
//! Who connects sends a `Hello`; the other side answers with its own. A `Hello` is a frame whose correlation is
//! [`MAGIC`] and whose body is:
//!
//! | bytes | field |
//! |---|---|
//! | 0..2 | the oldest protocol version it speaks, `u16` |
//! | 2..4 | the newest protocol version it speaks, `u16` |
//! | 4..12 | features it has, a bit each, `u64`; what both have is in force |
//! | 12..20 | the incarnation of the node, `u64` |
//! | 20..24 | the largest body of a message it takes, `u32` |
//! | 24 | length of the node's name, `u8` |
//! | 25.. | the node's name, UTF-8 |
//!
//! That much, and the shape of `Refuse`, stays the same in all versions; whatever a later version adds comes behind it
//! and is ignored by earlier ones. Version 2 adds:
//!
//! | bytes | field |
//! |---|---|
//! | 16 | the session's id, drawn at random by who connects; the other side repeats it |
//! | 1 | 0: a new session; 1: one that goes on; 2 (in an answer): there is no such session any more |
//! | 8 | how many numbered frames of this session have arrived here, `u64` |
//! | 8 | how many bytes may be on their way to one slot, `u64` |
//! | 8 | how many bytes may be on their way to all slots, `u64` |
//! | 4 | how many asks may be unanswered, `u32` |
//! | 4 | how long the session outlives a broken connection, in milliseconds, `u32` |
//! | | `u8` length and login name; 0 for none |
//! | | `u16` length and secret; 0 for none |
//!
//! A `Refuse` has the magic too, and a body of a `u16` length and a text that says why.

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

/// Feature: compressed payloads are understood.
pub(crate) const LZ4: u64 = 1;
/// Features this side has.
pub(crate) const FEATURES: u64 = LZ4;
/// The longest secret, in bytes.
pub(crate) const MAX_SECRET: usize = 256;

/// What a side says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) versions: (u16, u16),
    pub(crate) features: u64,
    pub(crate) incarnation: Incarnation,
    pub(crate) max_message: u32,
    pub(crate) node: String,
    /// What version 2 added; `None` of a peer that doesn't speak it.
    pub(crate) session: Option<SessionHello>,
}

/// What a side says of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionHello {
    pub(crate) id: [u8; 16],
    pub(crate) state: SessionState,
    /// How many numbered frames have arrived.
    pub(crate) received: u64,
    /// How many bytes may be on their way to one slot, and to all.
    pub(crate) window: u64,
    pub(crate) session_window: u64,
    pub(crate) in_flight: u32,
    pub(crate) session_millis: u32,
    pub(crate) login: Option<(String, Secret)>,
}

/// A secret that shows nowhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Whether a session is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionState {
    New,
    GoesOn,
    Gone,
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
    pub(crate) fn ours(
        node: &str,
        incarnation: Incarnation,
        max_message: u32,
        session: SessionHello,
    ) -> Self {
        Hello {
            versions: (PROTOCOL_MIN, PROTOCOL_MAX),
            features: FEATURES,
            incarnation,
            max_message,
            node: node.to_owned(),
            session: Some(session),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // A `Hello` is at most 860 bytes: within the limit.
        let _ = put_frame(&mut out, Kind::Hello, 0, MAGIC, MAX_HELLO, |out| {
            out.extend(self.versions.0.to_be_bytes());
            out.extend(self.versions.1.to_be_bytes());
            out.extend(self.features.to_be_bytes());
            out.extend(self.incarnation.0.to_be_bytes());
            out.extend(self.max_message.to_be_bytes());
            put_name(out, &self.node);
            if let Some(session) = &self.session {
                session.put(out);
            }
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
        let max_message = fields.u32()?;
        if max_message < MIN_MAX_FRAME {
            return Err(fields.bad("message limit"));
        }
        let node = fields.name("node name")?.to_owned();
        let session = if versions.1 >= 2 {
            Some(SessionHello::take(&mut fields)?)
        } else {
            None
        };
        // What is left was added by a later version.
        Ok(Hello {
            versions,
            features,
            incarnation,
            max_message,
            node,
            session,
        })
    }

    /// The newest version that both speak.
    pub(crate) fn agree(&self, other: (u16, u16)) -> Option<u16> {
        let oldest = self.versions.0.max(other.0);
        let newest = self.versions.1.min(other.1);
        (oldest <= newest).then_some(newest)
    }
}

impl SessionHello {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.id);
        out.push(match self.state {
            SessionState::New => 0,
            SessionState::GoesOn => 1,
            SessionState::Gone => 2,
        });
        out.extend(self.received.to_be_bytes());
        out.extend(self.window.to_be_bytes());
        out.extend(self.session_window.to_be_bytes());
        out.extend(self.in_flight.to_be_bytes());
        out.extend(self.session_millis.to_be_bytes());
        match &self.login {
            None => out.extend([0; 3]),
            Some((name, Secret(secret))) => {
                put_name(out, name);
                let secret = &secret[..secret.len().min(MAX_SECRET)];
                // Bounded by the line above.
                out.extend(u16::try_from(secret.len()).unwrap_or(0).to_be_bytes());
                out.extend(secret);
            }
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, WireError> {
        let id = fields.array()?;
        let state = match fields.u8()? {
            0 => SessionState::New,
            1 => SessionState::GoesOn,
            2 => SessionState::Gone,
            _ => return Err(fields.bad("session state")),
        };
        let received = fields.u64()?;
        let (window, session_window) = (fields.u64()?, fields.u64()?);
        let (in_flight, session_millis) = (fields.u32()?, fields.u32()?);
        if window == 0 || session_window == 0 || in_flight == 0 {
            return Err(fields.bad("limit"));
        }
        let name = fields.short_text("login name")?.to_owned();
        let len = usize::from(fields.u16()?);
        if len > MAX_SECRET {
            return Err(fields.bad("secret"));
        }
        let secret = Secret(fields.take(len)?.to_vec());
        let login = (!name.is_empty()).then_some((name, secret));
        Ok(SessionHello {
            id,
            state,
            received,
            window,
            session_window,
            in_flight,
            session_millis,
            login,
        })
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
