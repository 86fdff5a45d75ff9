//! The writing part of a connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use callboard::clock::Clock;

use super::outbox::Outbox;
use crate::error::LinkErrorKind;
use crate::stats::Traffic;
use crate::transport::ByteStream;

/// A buffer that grew past this for one large message is given back after it.
const KEEP: usize = 256 * 1024;

/// Drains the outbox: what is there goes into one buffer and out with one write.
pub(crate) struct Writer {
    clock: Clock,
    buffer: Vec<u8>,
    written: usize,
    flushed: bool,
}

impl Writer {
    pub(crate) fn new(clock: Clock) -> Self {
        Writer {
            clock,
            buffer: Vec::new(),
            written: 0,
            flushed: true,
        }
    }

    /// Writes what can be written. Ready when the connection is over.
    pub(crate) fn poll<S: ByteStream>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        outbox: &Outbox,
        traffic: &Traffic,
    ) -> Poll<LinkErrorKind> {
        loop {
            while self.written < self.buffer.len() {
                let rest = &self.buffer[self.written..];
                match Pin::new(&mut *stream).poll_write(cx, rest) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0)) => return Poll::Ready(LinkErrorKind::ClosedByPeer),
                    Poll::Ready(Ok(count)) => {
                        self.written += count;
                        traffic.count_out(count);
                    }
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(LinkErrorKind::lost(&error));
                    }
                }
            }
            self.written = 0;
            self.buffer.clear();
            if self.buffer.capacity() > KEEP {
                self.buffer = Vec::new();
            }
            match outbox.poll_take(cx, &self.clock, &mut self.buffer) {
                Poll::Ready(()) => self.flushed = false,
                Poll::Pending if self.flushed => return Poll::Pending,
                Poll::Pending => match Pin::new(&mut *stream).poll_flush(cx) {
                    Poll::Ready(Ok(())) => {
                        self.flushed = true;
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(LinkErrorKind::lost(&error));
                    }
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}
