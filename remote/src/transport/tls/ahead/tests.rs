use std::cell::Cell;

use futures::FutureExt;
use tokio::io::AsyncReadExt;

use super::*;

/// Says how often it was read, and brings at most so much at once.
struct Chunks<'a> {
    left: &'a [u8],
    most: usize,
    reads: &'a Cell<usize>,
}

impl AsyncRead for Chunks<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads.set(self.reads.get() + 1);
        let count = self.most.min(buf.remaining()).min(self.left.len());
        let (taken, left) = self.left.split_at(count);
        buf.put_slice(taken);
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

/// Reads all of it, a few bytes at a time. How often the stream was read, and what the buffer was at last.
fn read(bytes: &[u8], most: usize, at_once: usize) -> (usize, usize) {
    let reads = Cell::new(0);
    let mut ahead = Ahead::new(Chunks {
        left: bytes,
        most,
        reads: &reads,
    });
    let mut all = Vec::new();
    let mut some = vec![0; at_once];
    loop {
        let count = ahead.read(&mut some).now_or_never().unwrap().unwrap();
        if count == 0 {
            break;
        }
        all.extend_from_slice(&some[..count]);
    }
    assert!(all == bytes, "{most} at most, {at_once} at once");
    (reads.get(), ahead.buffer.len())
}

#[test]
fn what_is_read_is_what_came_whatever_the_steps() {
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    for most in [1_000, SMALL - 1, SMALL, SMALL + 1, 20_000, usize::MAX] {
        for at_once in [1_000, 4_096, 16_401, 200_000] {
            read(&bytes, most, at_once);
        }
    }
    assert_eq!(read(&[], 1, 1), (1, SMALL));
}

#[test]
fn much_is_read_in_few_steps() {
    let bytes = vec![7; 4 * 1024 * 1024];
    let (reads, _) = read(&bytes, usize::MAX, 4_096);
    // 4, 16 and 64 KiB, then the most at once, and the end.
    assert!(reads <= 3 + 16 + 1, "{reads}");
}

#[test]
fn g33_where_little_comes_little_is_kept() {
    let bytes = vec![7; 100_000];
    let (_, kept) = read(&bytes, 1_000, 4_096);
    assert_eq!(kept, SMALL);
    // Also where much came before: the last that came was little.
    let (_, kept) = read(&bytes[..4_096 * 21 + 100], usize::MAX, 4_096);
    assert_eq!(kept, SMALL);
}

/// Has nothing at every other look.
struct Bursts(bool, usize);

impl AsyncRead for Bursts {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0 = !self.0;
        if self.0 {
            return Poll::Pending;
        }
        let count = self.1.min(buf.remaining());
        buf.put_slice(&vec![7; count]);
        Poll::Ready(Ok(()))
    }
}

#[test]
fn what_has_grown_stays_between_bursts() {
    let mut ahead = Ahead::new(Bursts(false, usize::MAX));
    let mut some = vec![0; LARGE];
    let mut read = |ahead: &mut Ahead<Bursts>| ahead.read(&mut some).now_or_never();
    while ahead.buffer.len() < LARGE {
        let _ = read(&mut ahead);
    }
    let at = ahead.buffer.as_ptr();
    for _ in 0..10 {
        let _ = read(&mut ahead);
        assert_eq!((ahead.buffer.len(), ahead.buffer.as_ptr()), (LARGE, at));
    }
    // Until what comes is little, such as a heartbeat.
    ahead.stream.1 = 20;
    for _ in 0..4 {
        let _ = read(&mut ahead);
    }
    assert_eq!(ahead.buffer.len(), SMALL);
}
