//! One end of a simulated connection, and what makes them.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use callboard::{Boundary, clock::Sleep};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use super::state::{Host, Read, Write};
use super::way::Fin;
use crate::transport::{Connected, Connector, Proof};

/// One end of a connection.
pub(super) struct End {
    shared: Arc<Shared>,
    id: u64,
    side: usize,
    /// Wakes the reader when what is under way is due.
    timer: Option<Sleep>,
}

impl End {
    pub(super) fn pair(shared: &Arc<Shared>, id: u64) -> (End, End) {
        let end = |side| End {
            shared: Arc::clone(shared),
            id,
            side,
            timer: None,
        };
        (end(0), end(1))
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let end = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let now = end.shared.clock().now();
            let most = buf.remaining();
            let found = end.shared.with(|state| {
                let take = |bytes: &[u8]| buf.put_slice(bytes);
                state.read(end.id, end.side, most, take, now, cx.waker())
            });
            let due = match found {
                Read::Bytes | Read::Over(Fin::Closed) => return Poll::Ready(Ok(())),
                Read::Over(Fin::Reset) => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                Read::Until(due) => due,
            };
            if end.timer.as_ref().is_none_or(|timer| timer.due() != due) {
                end.timer = Some(end.shared.clock().sleep_until(due));
            }
            let Some(timer) = &mut end.timer else {
                return Poll::Pending;
            };
            match Pin::new(timer).poll(cx) {
                Poll::Pending => return Poll::Pending,
                // It came due meanwhile.
                Poll::Ready(()) => end.timer = None,
            }
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let now = self.shared.clock().now();
        let found = self
            .shared
            .with(|state| state.write(self.id, self.side, buf, now, cx.waker()));
        match found {
            Write::Took(count) => Poll::Ready(Ok(count)),
            Write::Broken(kind) => Poll::Ready(Err(kind.into())),
            Write::Full => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = self.shared.clock().now();
        self.shared
            .with(|state| state.shut(self.id, self.side, now));
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let now = self.shared.clock().now();
        self.shared
            .with(|state| state.leave(self.id, self.side, now));
    }
}

/// Dials from one host of a [`SimNet`](super::SimNet) to another. Made by
/// [`SimNet::connector`](super::SimNet::connector).
#[derive(Clone)]
pub struct SimConnector {
    pub(super) shared: Arc<Shared>,
    pub(super) from: Host,
    pub(super) to: Host,
    pub(super) boundary: Boundary,
    pub(super) finds: Proof,
    pub(super) shows: Proof,
}

impl fmt::Debug for SimConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimConnector({} -> {})", self.from, self.to)
    }
}

impl SimConnector {
    /// Says what lies between, for [`Recipient::boundary`](callboard::Recipient::boundary). `Network`, unless said
    /// otherwise.
    #[must_use]
    pub fn boundary(mut self, boundary: Boundary) -> Self {
        self.boundary = boundary;
        self
    }

    /// What the transport proves to the dialling side about the node. [`Proof::local`] of nobody, unless said
    /// otherwise.
    #[must_use]
    pub fn finds(mut self, proof: Proof) -> Self {
        self.finds = proof;
        self
    }

    /// What the transport proves to the node about the dialling side. [`Proof::local`] of nobody, unless said
    /// otherwise.
    #[must_use]
    pub fn shows(mut self, proof: Proof) -> Self {
        self.shows = proof;
        self
    }

    async fn dial(&self) -> io::Result<Connected> {
        let mut changes = self.shared.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let (held, wait) = self.shared.with(|state| {
                let held = state.is_held(&self.from, &self.to);
                (held, state.round_trip(&self.from, &self.to))
            });
            if !held {
                self.shared.clock().sleep(wait).await;
                if !self
                    .shared
                    .with(|state| state.is_held(&self.from, &self.to))
                {
                    return self.open();
                }
            }
            // The sender lives in `shared`.
            let _ = changes.changed().await;
        }
    }

    fn open(&self) -> io::Result<Connected> {
        let now = self.shared.clock().now();
        let opened = self.shared.with(|state| {
            let node = state
                .listeners
                .get(&self.to)
                .and_then(crate::node::WeakNode::open);
            let refused = state.conditions(&self.from, &self.to).refuse;
            let Some(node) = node.filter(|_| !refused) else {
                state.stats.refusals += 1;
                return Err(refused);
            };
            Ok((node, state.connect(&self.from, &self.to, now)))
        });
        let (node, id) = opened.map_err(|refused| {
            let why = if refused {
                "refuses connections"
            } else {
                "has no listener"
            };
            let text = format!("{} {why}", self.to);
            io::Error::new(io::ErrorKind::ConnectionRefused, text)
        })?;
        let (near, far) = End::pair(&self.shared, id);
        let through = format!("{} (simulated)", self.to);
        // It goes on by itself. If the system has ended its side is dropped, which closes the connection.
        drop(node.serving(far, &through, self.shows.clone()));
        Ok(Connected::new(near, self.finds.clone()))
    }
}

impl Connector for SimConnector {
    fn address(&self) -> String {
        self.to.to_string()
    }

    fn boundary(&self) -> Boundary {
        self.boundary
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Connected>> {
        Box::pin(self.dial())
    }
}
