//! A TLS stream that ends as a plain one does, and whose errors say what they are.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::CommonState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::TlsFault;
use super::ahead::Ahead;

/// How many bytes are encrypted before they are written.
const AT_ONCE: usize = 256 * 1024;

/// Either side's.
#[derive(Debug)]
pub(crate) struct TlsStream(tokio_rustls::TlsStream<Ahead<TcpStream>>);

impl TlsStream {
    /// Of who has dialled.
    pub(super) fn client(mut stream: tokio_rustls::client::TlsStream<Ahead<TcpStream>>) -> Self {
        stream.get_mut().1.set_buffer_limit(Some(AT_ONCE));
        TlsStream(stream.into())
    }

    /// Of who was dialled.
    pub(super) fn server(mut stream: tokio_rustls::server::TlsStream<Ahead<TcpStream>>) -> Self {
        stream.get_mut().1.set_buffer_limit(Some(AT_ONCE));
        TlsStream(stream.into())
    }

    pub(super) fn state(&self) -> &CommonState {
        self.0.get_ref().1
    }
}

fn named(error: io::Error) -> io::Error {
    match TlsFault::of(&error) {
        Some(fault) => fault.into_io(),
        None => error,
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state().wants_write() {
            // Such as the answer to new keys, which comes from reading, and which nobody else would write. An error shows
            // at the next write.
            let _ = Pin::new(&mut self.0).poll_flush(cx);
        }
        match ready!(Pin::new(&mut self.0).poll_read(cx, buf)) {
            // The peer's process ended without saying so, or somebody on the way cut the stream. As with TCP that is the
            // end of the connection: the layer above knows what has arrived by what was acknowledged, never by how a
            // stream ends.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            result => Poll::Ready(result.map_err(named)),
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf).map_err(named)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0)
            .poll_write_vectored(cx, bufs)
            .map_err(named)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(named)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx).map_err(named)
    }
}
