//! Errors of connections, listeners and names. (Errors of messages are core's
//! [`SendError`](callboard::SendError) and [`Failure`](callboard::Failure).)

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::transport::tls::TlsFault;
use crate::wire::{MAX_NAME, WireError};

/// Why there is no connection to a peer, or no longer one. Names the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkError {
    peer: String,
    kind: LinkErrorKind,
}

/// What ended a connection, or kept it from being made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkErrorKind {
    /// The operating system could not connect.
    #[error("can't be reached: {0}")]
    Unreachable(String),
    /// Connecting took longer than allowed.
    #[error("did not accept a connection within {0:?}")]
    ConnectTimeout(Duration),
    /// Reading or writing failed.
    #[error("lost: {0}")]
    Io(String),
    /// What answers there speaks another protocol.
    #[error("is no Callboard peer: its first bytes are {first_bytes}")]
    NotCallboard {
        /// The first bytes, as hexadecimal and as text.
        first_bytes: String,
    },
    /// No protocol version is spoken by both.
    #[error(
        "speaks protocol versions {} to {}, this side {} to {}",
        theirs.0, theirs.1, ours.0, ours.1
    )]
    Version {
        /// The oldest and the newest version of the peer.
        theirs: (u16, u16),
        /// The oldest and the newest version of this side.
        ours: (u16, u16),
    },
    /// The peer will not have this connection, and says why.
    #[error("refused the connection: {0}")]
    Refused(String),
    /// This side will not have the connection.
    #[error("was refused: {0}")]
    RefusedHere(String),
    /// The handshake took longer than allowed.
    #[error("did not finish the handshake within {0:?}")]
    HandshakeStalled(Duration),
    /// The peer sent bytes that are no frame.
    #[error("broke the protocol: {0}")]
    Protocol(#[from] WireError),
    /// The two sides can't speak TLS with each other, or one won't have the other's certificate.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The peer was silent for too long.
    #[error("was silent for {0:?}")]
    Silent(Duration),
    /// The peer doesn't read what it asked for.
    #[error("left {0} bytes of answers unread")]
    Unread(usize),
    /// The peer closed the connection.
    #[error("closed the connection")]
    ClosedByPeer,
    /// The peer ended the session by intent, and perhaps says why.
    #[error("ended the session{}{}", if .0.is_empty() { "" } else { ": " }, .0)]
    SaidBye(String),
    /// The peer doesn't know the session any more: it was started again, or the session's time was over there.
    #[error("does not know the session any more")]
    SessionGone,
    /// No connection came for as long as the session outlives one.
    #[error("was not reached for {0:?}: the session is over")]
    SessionExpired(Duration),
    /// This side closed the connection.
    #[error("was closed here")]
    ClosedHere,
    /// A newer byte stream took its place.
    #[error("was replaced by a newer connection")]
    Replaced,
    /// This side [offers](crate::Peer::offer) another node than the one that it had introduced itself as.
    #[error("hears anew who is here: another node is offered")]
    OffersAnother,
    /// Code of this process that it ran into panicked, where nothing else fences it: the session is over (G10).
    #[error("was given up: code of this process panicked in the middle of its work")]
    Panicked,
    /// No byte stream has been attached yet.
    #[error("has not been attached yet")]
    NotAttached,
    /// The system has been shut down, or has no sockets (the simulating executor has none).
    #[error("has no arbiter with sockets to run on")]
    NoArbiter,
}

impl LinkErrorKind {
    /// Why a stream failed that was there.
    pub(crate) fn lost(error: &std::io::Error) -> Self {
        TlsFault::of(error).map_or_else(|| LinkErrorKind::Io(error.to_string()), Self::Tls)
    }

    /// Why no stream could be made.
    pub(crate) fn unreachable(error: &std::io::Error) -> Self {
        TlsFault::of(error).map_or_else(|| LinkErrorKind::Unreachable(error.to_string()), Self::Tls)
    }
}

impl LinkError {
    pub(crate) fn new(peer: &str, kind: impl Into<LinkErrorKind>) -> Self {
        LinkError {
            peer: peer.to_owned(),
            kind: kind.into(),
        }
    }

    /// The peer: its address or the name it was given here.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &LinkErrorKind {
        &self.kind
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer at {} {}", self.peer, self.kind)
    }
}

impl std::error::Error for LinkError {}

impl serde::Serialize for LinkError {
    /// As its text.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a node can't listen, or a peer not be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Off this host nothing speaks without TLS, unless `insecure` is written (G35).
    #[error("{0} is no loopback address: off this host nothing speaks without TLS")]
    NotLoopback(SocketAddr),
    /// A listener with TLS shows a certificate; there is none to show.
    #[error("{0}: to listen with TLS needs an identity")]
    NoIdentity(SocketAddr),
    /// Something listens there already.
    #[error("{0} is in use by another listener")]
    InUse(String),
    /// There is a file with that name which is no socket; it is left alone.
    #[error("{} exists and is no socket", .0.display())]
    NoSocket(PathBuf),
    /// The directory for named pipes isn't for this user alone.
    #[error("{} is no directory for this user alone: {reason}", .directory.display())]
    NotPrivate {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is a file where a named pipe should be; it is left alone.
    #[error("{} exists and is no named pipe", .0.display())]
    NoFifo(PathBuf),
    /// Standard input or output is no pipe: the process was not started by a parent that speaks over it.
    #[error("standard {stream} is no pipe: {reason}")]
    NoPipe {
        /// `input` or `output`.
        stream: &'static str,
        /// What the operating system said.
        reason: String,
    },
    /// The operating system refused.
    #[error("{address}: {reason}")]
    Io {
        /// Where.
        address: String,
        /// What it said.
        reason: String,
    },
    /// The system has been shut down, or has no sockets (the simulating executor has none).
    #[error("{0}: no arbiter with sockets to run on")]
    NoArbiter(String),
    /// The node has been closed.
    #[error("the node has been closed")]
    Closed,
}

/// Why something can't be exposed, or a node or peer not be named so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// A name has 1 to 255 bytes and no control characters.
    #[error("{0:?} is no name: 1 to {MAX_NAME} bytes without control characters")]
    Malformed(String),
    /// Names that begin with `callboard.` are the house's own.
    #[error("{0:?} is reserved: names that begin with `callboard.` are the house's own")]
    Reserved(String),
    /// So are the names of message types: what a message of the house needs a right for is read off its name.
    #[error(
        "the message type {0:?} is reserved: names that begin with `callboard.` are the house's own"
    )]
    ReservedType(&'static str),
    /// Under that name that type in that version is exposed already.
    #[error("{type_name} version {version} is already exposed as {name:?}")]
    Taken {
        /// The exposed name.
        name: String,
        /// The wire name of the message type.
        type_name: &'static str,
        /// Its version.
        version: u32,
    },
}

/// Checks a name.
pub(crate) fn check_name(name: &str) -> Result<(), NameError> {
    if crate::wire::limits::is_name(name) {
        Ok(())
    } else {
        let shown = crate::wire::limits::cut(name, MAX_NAME);
        Err(NameError::Malformed(shown.to_owned()))
    }
}
