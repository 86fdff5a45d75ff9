//! Reading ahead of TLS.
//!
//! The library reads 4 KiB at a time, so that a record of 16 KiB would cost five calls of the system. Here each call
//! takes all there is, into a buffer that is small where little comes, and the library reads from that.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(test)]
mod tests;

/// What an idle connection keeps, in bytes.
const SMALL: usize = 4 * 1024;
/// What a busy one grows to.
const LARGE: usize = 256 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Ahead<S> {
    stream: S,
    buffer: Vec<u8>,
    /// What was read and not taken lies between these.
    start: usize,
    end: usize,
}

impl<S> Ahead<S> {
    pub(super) fn new(stream: S) -> Self {
        Ahead {
            stream,
            buffer: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    /// Whether all that was read has been taken.
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Makes the buffer fit what comes, by what came last.
    fn fit(&mut self) {
        let (came, len) = (self.end, self.buffer.len());
        (self.start, self.end) = (0, 0);
        if came == 0 && len > 0 {
            // Nothing came since: that says nothing about what will.
            return;
        }
        if came == len && len < LARGE {
            // All that there was room for, or nothing was read yet.
            self.buffer = vec![0; (len * 4).clamp(SMALL, LARGE)];
        } else if came <= SMALL && len > SMALL {
            self.buffer = vec![0; SMALL];
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_empty() {
            this.fit();
            let mut space = ReadBuf::new(&mut this.buffer);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut space))?;
            this.end = space.filled().len();
        }
        let waiting = &this.buffer[this.start..this.end];
        let count = waiting.len().min(buf.remaining());
        buf.put_slice(&waiting[..count]);
        this.start += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
