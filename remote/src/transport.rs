//! Byte streams and where they come from.
//!
//! The protocol needs nothing but a byte stream in both directions; what differs between a pipe, a Unix
//! socket and TCP is how one is made, what it proves about the other side, and what it costs.

pub(crate) mod fifo;
pub(crate) mod pipe;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod unix;

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use callboard::clock::Clock;
use callboard::{Boundary, Principal, System};
use futures::channel::oneshot;
use futures::future::{BoxFuture, select};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::ListenError;

pub use fifo::FifoConnector;
pub use pipe::{Stdio, stdin_closed};
pub use tcp::TcpConnector;
pub use tls::{
    Authority, Expect, Fingerprint, Identity, Tls, TlsConnector, TlsError, TlsFault, TlsFiles,
    Trust,
};
pub use unix::{UnixConnector, UnixSocket};

/// A byte stream in both directions. Anything that can be read and written asynchronously is one: a
/// socket, a child's stdin and stdout, an in-memory pipe.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for S {}

/// What makes byte streams to one peer, as often as asked.
///
/// For transports of your own; [`Peer::tcp`](crate::Peer::tcp) and [`Peer::unix`](crate::Peer::unix) bring
/// theirs.
pub trait Connector: Send + Sync + 'static {
    /// Where it leads, for people: `127.0.0.1:4000`.
    fn address(&self) -> String;

    /// What lies between.
    fn boundary(&self) -> Boundary;

    /// Makes one byte stream. Runs on an arbiter; dropped if it takes longer than
    /// [`connect_timeout`](crate::LinkConfig::connect_timeout).
    fn connect(&self) -> BoxFuture<'_, std::io::Result<Connected>>;
}

/// A byte stream, and what it proves about the other side.
pub struct Connected {
    /// The stream.
    pub stream: Box<dyn ByteStream>,
    /// Who is at its other end, and who can look on.
    pub proof: Proof,
}

impl Connected {
    /// A stream of which is known what `proof` says.
    #[must_use]
    pub fn new(stream: impl ByteStream, proof: Proof) -> Self {
        Connected {
            stream: Box::new(stream),
            proof,
        }
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("proof", &self.proof)
            .finish_non_exhaustive()
    }
}

/// What a transport vouches for (G35).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// Who the other side is: `uid:1000` by a Unix socket, `cert:billing` by a certificate. `None` where the
    /// transport can't tell.
    pub principal: Option<Principal>,
    /// Who can read along.
    pub channel: Channel,
    /// Where the other side is, if it has an address: failed logins are counted by it. Who it is it doesn't prove.
    pub address: Option<SocketAddr>,
}

impl Proof {
    /// Of a channel that never leaves this host, to a process that the kernel or this process itself vouches for.
    #[must_use]
    pub fn local(principal: Option<Principal>) -> Self {
        Proof {
            principal,
            channel: Channel::Local,
            address: None,
        }
    }

    /// Of a channel that is encrypted, and to whom.
    #[must_use]
    pub fn encrypted(principal: Option<Principal>) -> Self {
        Proof {
            principal,
            channel: Channel::Encrypted,
            address: None,
        }
    }

    /// Of a channel that anybody on the way can read and change.
    #[must_use]
    pub fn plain() -> Self {
        Proof {
            principal: None,
            channel: Channel::Plain,
            address: None,
        }
    }

    /// The same of a peer at that address.
    #[must_use]
    pub fn from_address(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Whether both prove the same peer, wherever it is.
    pub(crate) fn is_same_peer(&self, other: &Proof) -> bool {
        self.principal == other.principal && self.channel == other.channel
    }
}

/// Who can read along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Channel {
    /// The kernel of this host only: a pipe, a Unix socket, TCP on loopback, memory.
    Local,
    /// Both ends only: TLS.
    Encrypted,
    /// Anybody on the way.
    Plain,
}

impl fmt::Debug for dyn Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({})", self.address())
    }
}

/// How long a peer that is turned away may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// How many bytes of it are read meanwhile.
const LEFT_OVER: usize = 64 * 1024;

/// Ends a stream so that the other side still reads what was sent last. Closing a socket with unread bytes would
/// destroy that, so they are read first: a little of them, and not for long.
pub(crate) async fn hang_up(stream: &mut impl ByteStream, clock: &Clock) {
    let reading = pin!(async {
        // It hangs up whether or not the other side hears it.
        let _ = stream.shutdown().await;
        let mut chunk = [0; 1_024];
        let mut left = LEFT_OVER;
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            left = left.saturating_sub(count);
            if left == 0 {
                break;
            }
        }
    });
    select(reading, clock.sleep(LINGER)).await;
}

/// Runs `open` on an arbiter that has sockets, and hands back what it made.
pub(crate) async fn on_arbiter<T, F, Fut>(
    system: &System,
    address: &str,
    open: F,
) -> Result<T, ListenError>
where
    T: Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, ListenError>> + 'static,
{
    let none = || ListenError::NoArbiter(address.to_owned());
    let (tx, rx) = oneshot::channel();
    system.spawn(callboard::Placement::Spread, move || async move {
        if has_sockets() {
            // An error means that the caller gave up.
            let _ = tx.send(open().await);
        }
    });
    rx.await.map_err(|_| none())?
}

/// Whether the current thread can do IO. The simulating executor can't.
pub(crate) fn has_sockets() -> bool {
    tokio::runtime::Handle::try_current().is_ok()
}
