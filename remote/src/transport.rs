//! Byte streams and where they come from.
//!
//! The protocol needs nothing but a byte stream in both directions; what differs between a pipe, a Unix
//! socket and TCP is how one is made, what it proves about the other side, and what it costs.

pub(crate) mod fifo;
pub(crate) mod pipe;
pub(crate) mod tcp;
pub(crate) mod unix;

use std::fmt;

use callboard::{Boundary, Principal, System};
use futures::channel::oneshot;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::ListenError;

pub use fifo::FifoConnector;
pub use pipe::{Stdio, stdin_closed};
pub use tcp::TcpConnector;
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
}

impl Proof {
    /// Of a channel that never leaves this host, to a process that the kernel or this process itself vouches for.
    #[must_use]
    pub fn local(principal: Option<Principal>) -> Self {
        Proof {
            principal,
            channel: Channel::Local,
        }
    }

    /// Of a channel that is encrypted, and to whom.
    #[must_use]
    pub fn encrypted(principal: Option<Principal>) -> Self {
        Proof {
            principal,
            channel: Channel::Encrypted,
        }
    }

    /// Of a channel that anybody on the way can read and change.
    #[must_use]
    pub fn plain() -> Self {
        Proof {
            principal: None,
            channel: Channel::Plain,
        }
    }
}

/// Who can read along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
