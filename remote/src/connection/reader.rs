//! The reading part of a connection.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use crate::error::LinkErrorKind;
use crate::stats::Traffic;
use crate::transport::ByteStream;
use crate::wire::WireError;
use crate::wire::frame::{Decoder, Frame};

/// How much is read at once.
const CHUNK: usize = 16 * 1024;
/// How many chunks are read before the other parts of the connection get a turn.
const TURN: usize = 16;

pub(crate) struct Reader {
    chunk: Box<[u8]>,
    decoder: Decoder,
}

impl Reader {
    pub(crate) fn new(max_frame: u32) -> Self {
        Reader {
            chunk: vec![0; CHUNK].into(),
            decoder: Decoder::new(max_frame),
        }
    }

    /// Reads what is there and hands the whole frames on. Ready when the connection is over. `heard` is
    /// set if anything arrived.
    pub(crate) fn poll<S: ByteStream>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        traffic: &Traffic,
        heard: &mut bool,
        mut take: impl FnMut(&Frame<'_>) -> Result<(), WireError>,
    ) -> Poll<LinkErrorKind> {
        for _ in 0..TURN {
            let mut buffer = ReadBuf::new(&mut self.chunk);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(LinkErrorKind::lost(&error));
                }
                Poll::Ready(Ok(())) => {}
            }
            let read = buffer.filled();
            if read.is_empty() {
                return Poll::Ready(if self.decoder.pending() > 0 {
                    WireError::Truncated("half-sent").into()
                } else {
                    LinkErrorKind::ClosedByPeer
                });
            }
            *heard = true;
            traffic.count_in(read.len());
            self.decoder.push(read);
            loop {
                match self.decoder.next() {
                    Ok(None) => break,
                    Ok(Some(frame)) => {
                        if let Err(error) = take(&frame) {
                            return Poll::Ready(error.into());
                        }
                    }
                    Err(error) => return Poll::Ready(error.into()),
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
