//! Faults on the byte streams of any transport, at the side that dials or attaches.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use callboard::Boundary;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Ending;
use crate::transport::{ByteStream, Connected, Connector};

/// Sits on byte streams of a real transport and breaks them. Clones are handles to the same one.
///
/// What it breaks is broken for the other side, too: a cut drops the stream beneath, so that the other side sees
/// whatever its transport shows of that. (For a network that is simulated from the start, see
/// [`SimNet`](super::SimNet).)
///
/// ```
/// # extern crate callboard_core as callboard;
/// use callboard::System;
/// use callboard_remote::testing::{Direction, Ending, Tap};
/// use callboard_remote::{LinkConfig, Peer, UnixConnector};
///
/// # fn example(system: &System) {
/// let tap = Tap::new();
/// let dialled = tap.connector(UnixConnector::new("/run/depot/orders.sock"));
/// let peer = Peer::dialled(system, dialled, LinkConfig::default());
/// // The next connection loses the node after 40 bytes of what it says.
/// tap.end_next(Direction::Received, 40, Ending::Reset);
/// tap.cut();
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Tap {
    shared: Arc<Mutex<Shared>>,
}

/// A direction, as the tapped side sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// What the tapped side writes.
    Sent,
    /// What it reads.
    Received,
}

#[derive(Default)]
struct Shared {
    refusing: bool,
    stalled: bool,
    piece: Option<usize>,
    next: [Option<(u64, Ending)>; 2],
    /// The open streams. Those that are closed are taken out when the next one comes.
    lines: Vec<Weak<Mutex<Line>>>,
    latest: [u64; 2],
}

/// One stream.
struct Line {
    stream: Option<Box<dyn ByteStream>>,
    /// How many bytes of each direction still pass, and what happens then.
    left: [Option<(u64, Ending)>; 2],
    /// What each direction has come to.
    over: [Option<Over>; 2],
    wakers: [Option<Waker>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Reset,
    Closed,
    Silent,
}

const SENT: usize = 0;
const RECEIVED: usize = 1;

impl Direction {
    fn index(self) -> usize {
        match self {
            Direction::Sent => SENT,
            Direction::Received => RECEIVED,
        }
    }
}

impl Tap {
    /// A tap that lets everything pass.
    #[must_use]
    pub fn new() -> Self {
        Tap::default()
    }

    /// Makes the streams of `inner`, and sits on each.
    #[must_use]
    pub fn connector(&self, inner: impl Connector) -> impl Connector {
        Tapped {
            tap: self.clone(),
            inner,
        }
    }

    /// Sits on a stream.
    #[must_use]
    pub fn stream(&self, inner: impl ByteStream) -> impl ByteStream {
        let mut shared = self.shared.lock();
        let line = Line {
            stream: Some(Box::new(inner)),
            left: std::mem::take(&mut shared.next),
            over: [None, None],
            wakers: [None, None],
        };
        let line = Arc::new(Mutex::new(line));
        shared.lines.retain(|line| line.strong_count() > 0);
        shared.lines.push(Arc::downgrade(&line));
        shared.latest = [0, 0];
        let tap = self.clone();
        TappedStream { tap, line }
    }

    /// Cuts all streams: the one beneath is dropped now, and the tapped side gets an error.
    pub fn cut(&self) {
        for line in self.lines() {
            let mut line = line.lock();
            let dropped = line.end(Over::Reset);
            let wakers = std::mem::take(&mut line.wakers);
            drop(line);
            drop(dropped);
            wakers.into_iter().flatten().for_each(Waker::wake);
        }
    }

    /// Makes no more streams: whoever dials is refused, until [`accept`](Tap::accept).
    pub fn refuse(&self) {
        self.shared.lock().refusing = true;
    }

    /// Makes streams again.
    pub fn accept(&self) {
        self.shared.lock().refusing = false;
    }

    /// Lets nothing pass in either direction, and tells nobody, until [`resume`](Tap::resume).
    pub fn stall(&self) {
        self.shared.lock().stalled = true;
    }

    /// Ends a stall.
    pub fn resume(&self) {
        self.shared.lock().stalled = false;
        for line in self.lines() {
            let wakers = std::mem::take(&mut line.lock().wakers);
            wakers.into_iter().flatten().for_each(Waker::wake);
        }
    }

    /// Moves at most so many bytes at a time, at least 1; `None` for as many as there are.
    pub fn piece(&self, most: Option<usize>) {
        self.shared.lock().piece = most;
    }

    /// Lets the next stream that is made end after so many bytes of a direction. [`Ending::Silent`] on what is received
    /// leaves the rest unread.
    pub fn end_next(&self, direction: Direction, bytes: u64, ending: Ending) {
        self.shared.lock().next[direction.index()] = Some((bytes, ending));
    }

    /// How many bytes of a direction have passed on the stream that was made last.
    #[must_use]
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.lock().latest[direction.index()]
    }

    fn lines(&self) -> Vec<Arc<Mutex<Line>>> {
        let shared = self.shared.lock();
        shared.lines.iter().filter_map(Weak::upgrade).collect()
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.lines().len();
        f.debug_struct("Tap")
            .field("open", &open)
            .finish_non_exhaustive()
    }
}

impl Line {
    /// Ends both directions; the stream beneath is for the caller to drop.
    fn end(&mut self, over: Over) -> Option<Box<dyn ByteStream>> {
        self.over = [Some(over); 2];
        self.stream.take()
    }

    /// Does what comes after so many bytes of a direction.
    fn end_if_used_up(&mut self, at: usize, cx: &mut Context<'_>) {
        let Some((0, ending)) = self.left[at] else {
            return;
        };
        self.left[at] = None;
        match ending {
            Ending::Reset => drop(self.end(Over::Reset)),
            Ending::Truncated => drop(self.end(Over::Closed)),
            Ending::Silent => self.over[at] = Some(Over::Silent),
            Ending::HalfClosed => {
                self.over[at] = Some(Over::Closed);
                if at == SENT
                    && let Some(stream) = &mut self.stream
                {
                    // Sockets and pipes shut at once.
                    let _ = Pin::new(stream).poll_shutdown(cx);
                }
            }
        }
        if let Some(waker) = self.wakers[1 - at].take() {
            waker.wake();
        }
    }
}

struct TappedStream {
    tap: Tap,
    line: Arc<Mutex<Line>>,
}

impl TappedStream {
    /// The most that may be moved now; nothing while it is stalled.
    fn most(&self, line: &Line, at: usize, wanted: usize) -> Option<usize> {
        let shared = self.tap.shared.lock();
        if shared.stalled {
            return None;
        }
        let piece = shared.piece.map_or(usize::MAX, |piece| piece.max(1));
        let left = line.left[at].map_or(u64::MAX, |(left, _)| left);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        Some(wanted.min(piece).min(left))
    }

    fn count(&self, line: &mut Line, at: usize, count: usize) {
        if let Some((left, _)) = &mut line.left[at] {
            *left = left.saturating_sub(count as u64);
        }
        self.tap.shared.lock().latest[at] += count as u64;
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for TappedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut line = self.line.lock();
        line.end_if_used_up(RECEIVED, cx);
        line.wakers[RECEIVED] = Some(cx.waker().clone());
        match line.over[RECEIVED] {
            Some(Over::Reset) => return Poll::Ready(Err(reset())),
            Some(Over::Closed) => return Poll::Ready(Ok(())),
            Some(Over::Silent) => return Poll::Pending,
            None => {}
        }
        let Some(most) = self.most(&line, RECEIVED, buf.remaining()) else {
            return Poll::Pending;
        };
        let Some(stream) = &mut line.stream else {
            return Poll::Ready(Err(reset()));
        };
        let mut bytes = vec![0; most];
        let mut part = ReadBuf::new(&mut bytes);
        match Pin::new(stream).poll_read(cx, &mut part) {
            Poll::Ready(Ok(())) => {
                let read = part.filled();
                buf.put_slice(read);
                let count = read.len();
                self.count(&mut line, RECEIVED, count);
                line.end_if_used_up(RECEIVED, cx);
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for TappedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut line = self.line.lock();
        line.end_if_used_up(SENT, cx);
        line.wakers[SENT] = Some(cx.waker().clone());
        match line.over[SENT] {
            Some(Over::Reset) => return Poll::Ready(Err(reset())),
            Some(Over::Closed) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(Over::Silent) => return Poll::Ready(Ok(buf.len())),
            None => {}
        }
        let Some(most) = self.most(&line, SENT, buf.len()) else {
            return Poll::Pending;
        };
        let Some(stream) = &mut line.stream else {
            return Poll::Ready(Err(reset()));
        };
        let written = Pin::new(stream).poll_write(cx, &buf[..most]);
        if let Poll::Ready(Ok(count)) = written {
            self.count(&mut line, SENT, count);
            line.end_if_used_up(SENT, cx);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.line.lock().stream {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut line = self.line.lock();
        match (line.over[SENT], &mut line.stream) {
            (None, Some(stream)) => Pin::new(stream).poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

struct Tapped<C> {
    tap: Tap,
    inner: C,
}

impl<C: Connector> Connector for Tapped<C> {
    fn address(&self) -> String {
        self.inner.address()
    }

    fn boundary(&self) -> Boundary {
        self.inner.boundary()
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Connected>> {
        Box::pin(async move {
            if self.tap.shared.lock().refusing {
                let text = "the tap refuses connections";
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, text));
            }
            let connected = self.inner.connect().await?;
            let stream = self.tap.stream(connected.stream);
            Ok(Connected::new(stream, connected.proof))
        })
    }
}
