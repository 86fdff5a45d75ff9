//! Byte streams and where they come from.
//!
//! The protocol needs nothing but a byte stream in both directions; what differs between a pipe, a Unix
//! socket and TCP is how one is made, what it proves about the other side, and what it costs.

pub(crate) mod pipe;
pub(crate) mod tcp;
pub(crate) mod unix;

use std::fmt;

use callboard::{Boundary, System};
use futures::channel::oneshot;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::ListenError;

pub use pipe::{Stdio, stdin_closed};

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
    fn connect(&self) -> BoxFuture<'_, std::io::Result<Box<dyn ByteStream>>>;
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
