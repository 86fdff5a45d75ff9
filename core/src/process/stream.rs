//! A child's stdin and stdout as one byte stream.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::ChildStdin;

use super::pulse::StdoutReader;

/// A child's stdin and stdout as one byte stream: what is written goes to its stdin, what is read came
/// from its stdout.
///
/// After the child was asked to stop, writing fails with [`io::ErrorKind::BrokenPipe`], named for the child; reading
/// goes on until the child closes its stdout. A child that doesn't read lets its pipe fill up (64 KiB on Linux), and the
/// writer waits until there is room or the child has ended. Dropping the stream, or shutting its write half down, closes the
/// child's lifeline: it should end.
pub struct ProcessStream {
    stdin: Arc<Lifeline>,
    stdout: StdoutReader,
}

impl ProcessStream {
    pub(super) fn new(stdin: &Arc<Lifeline>, stdout: StdoutReader) -> Self {
        ProcessStream {
            stdin: Arc::clone(stdin),
            stdout,
        }
    }
}

/// The child's stdin, which the place can close under the writer's hands.
pub(super) struct Lifeline {
    label: String,
    inner: Mutex<Inner>,
}

struct Inner {
    stdin: Option<ChildStdin>,
    /// Who waits for room in the pipe, to be told when it is closed instead.
    writer: Option<Waker>,
}

impl Lifeline {
    pub(super) fn new(label: &str, stdin: ChildStdin) -> Arc<Self> {
        Arc::new(Lifeline {
            label: label.to_owned(),
            inner: Mutex::new(Inner {
                stdin: Some(stdin),
                writer: None,
            }),
        })
    }

    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        let stdin = inner.stdin.take();
        let writer = inner.writer.take();
        drop(inner);
        drop(stdin);
        writer.into_iter().for_each(Waker::wake);
    }

    fn with<T>(
        &self,
        cx: &mut Context<'_>,
        io: impl FnOnce(Pin<&mut ChildStdin>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut inner = self.inner.lock();
        let Some(stdin) = &mut inner.stdin else {
            let label = &self.label;
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                format!("the stdin of `{label}` is closed: it has ended or was asked to"),
            )));
        };
        let polled = io(Pin::new(stdin), cx);
        inner.writer = polled.is_pending().then(|| cx.waker().clone());
        polled
    }
}

impl AsyncRead for ProcessStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdout).poll_read(cx, buf)
    }
}

impl AsyncWrite for ProcessStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stdin.with(cx, |stdin, cx| stdin.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stdin
            .with(cx, |stdin, cx| stdin.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin.with(cx, ChildStdin::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stdin.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for ProcessStream {
    fn drop(&mut self) {
        self.stdin.close();
    }
}

impl fmt::Debug for ProcessStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessStream").finish_non_exhaustive()
    }
}
