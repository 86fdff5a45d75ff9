//! Pipes: the standard input and output of a child process, and pairs of them.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use callboard::System;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

use crate::error::ListenError;

/// This process's standard input and output as one byte stream. Both must be pipes.
///
/// Nothing else may use them while it lives: a `println!` would land in the middle of a frame, and finds a
/// descriptor that doesn't block. Logs go to standard error.
#[derive(Debug)]
pub struct Stdio {
    input: pipe::Receiver,
    output: pipe::Sender,
}

impl Stdio {
    /// Takes both. Must run on an arbiter.
    pub(crate) fn open() -> Result<Self, ListenError> {
        let input = open_stdin()?;
        let failed = |error: io::Error| ListenError::NoPipe {
            stream: "output",
            reason: error.to_string(),
        };
        let output = io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
        let output = pipe::Sender::from_owned_fd(output).map_err(failed)?;
        Ok(Stdio { input, output })
    }
}

/// A pipe in each direction as one byte stream. Unlike a socket it has no half that could be shut: closing its
/// writing end is dropping it.
#[derive(Debug)]
pub(crate) struct TwoPipes {
    input: pipe::Receiver,
    output: Option<pipe::Sender>,
}

impl TwoPipes {
    pub(crate) fn new(input: pipe::Receiver, output: pipe::Sender) -> Self {
        TwoPipes {
            input,
            output: Some(output),
        }
    }

    fn output(&mut self) -> io::Result<Pin<&mut pipe::Sender>> {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.output.as_mut().map(Pin::new).ok_or_else(closed)
    }
}

fn open_stdin() -> Result<pipe::Receiver, ListenError> {
    let failed = |error: io::Error| ListenError::NoPipe {
        stream: "input",
        reason: error.to_string(),
    };
    let input = io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    pipe::Receiver::from_owned_fd(input).map_err(failed)
}

/// Completes when standard input closes: the lifeline of a child process that doesn't speak over it. The
/// kernel closes the other end however the parent ends, also by SIGKILL.
///
/// What arrives on it is thrown away.
///
/// # Errors
/// [`ListenError::NoPipe`] if standard input is no pipe, [`ListenError::NoArbiter`] without one.
///
/// # Cancel safety
/// Dropping it changes nothing: what arrives is thrown away until the system ends.
pub async fn stdin_closed(system: &System) -> Result<(), ListenError> {
    super::on_arbiter(system, "standard input", || async {
        let mut input = open_stdin()?;
        let mut chunk = [0; 1_024];
        loop {
            match input.read(&mut chunk).await {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => {}
            }
        }
    })
    .await
}

impl AsyncRead for Stdio {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stdio {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.output).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_shutdown(cx)
    }
}

impl AsyncRead for TwoPipes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_read(cx, buf)
    }
}

impl AsyncWrite for TwoPipes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.output()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output = None;
        Poll::Ready(Ok(()))
    }
}
