//! One direction of a connection: the bytes under way, and how it ends. Knows no time and draws nothing.

use std::collections::VecDeque;
use std::io;
use std::task::Waker;

use callboard::clock::Instant;

use super::Ending;

/// What stands where the bytes go in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mouth {
    Open,
    /// The writer is told that it is over.
    Broken(io::ErrorKind),
    /// What is written is thrown away, up to this time; from then on the writer is told.
    Void(Instant),
}

/// What the reader gets after the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fin {
    Closed,
    Reset,
}

pub(super) struct Way {
    chunks: VecDeque<Chunk>,
    under_way: usize,
    last_due: Instant,
    pub(super) mouth: Mouth,
    fin: Option<(Instant, Fin)>,
    /// How many bytes it still takes, and what happens then.
    pub(super) left: Option<(u64, Ending)>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
    /// How many of them have been read.
    read: usize,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Bytes(usize),
    Over(Fin),
    /// Nothing before that time, if anything is under way.
    Later(Option<Instant>),
}

impl Way {
    pub(super) fn new(left: Option<(u64, Ending)>) -> Self {
        Way {
            chunks: VecDeque::new(),
            under_way: 0,
            last_due: Instant::default(),
            mouth: Mouth::Open,
            fin: None,
            left,
            reader: None,
            writer: None,
        }
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Takes bytes that arrive at `due`, and not before those that were taken earlier.
    pub(super) fn push(&mut self, bytes: &[u8], due: Instant) {
        self.last_due = self.last_due.max(due);
        self.under_way += bytes.len();
        match self.chunks.back_mut() {
            Some(last) if last.due == self.last_due => last.bytes.extend_from_slice(bytes),
            _ => self.chunks.push_back(Chunk {
                due: self.last_due,
                bytes: bytes.to_vec(),
                read: 0,
            }),
        }
    }

    /// Hands what has arrived by `now` to `take`, as long as that takes all it is given.
    pub(super) fn read(&mut self, now: Instant, most: usize, mut take: impl FnMut(&[u8])) -> Found {
        let mut moved = 0;
        while moved < most
            && let Some(head) = self.chunks.front_mut()
            && head.due <= now
        {
            let rest = &head.bytes[head.read..];
            let count = rest.len().min(most - moved);
            take(&rest[..count]);
            head.read += count;
            moved += count;
            if head.read == head.bytes.len() {
                self.chunks.pop_front();
            }
        }
        self.under_way -= moved;
        if moved > 0 {
            return Found::Bytes(moved);
        }
        if let Some(head) = self.chunks.front() {
            return Found::Later(Some(head.due));
        }
        match self.fin {
            Some((due, fin)) if due <= now => Found::Over(fin),
            fin => Found::Later(fin.map(|(due, _)| due)),
        }
    }

    /// Ends it behind what is under way: at `due`, and not before the last byte. An end that was there stays.
    pub(super) fn end(&mut self, fin: Fin, due: Instant, told: io::ErrorKind) {
        if self.fin.is_none() || fin == Fin::Reset {
            self.fin = Some((self.last_due.max(due), fin));
        }
        self.mouth = Mouth::Broken(told);
    }

    /// Tells the reader that it was cut. Who writes is told nothing.
    pub(super) fn end_for_reader(&mut self, now: Instant) {
        self.fin = Some((now, Fin::Reset));
    }

    /// Keeps the first `keep` bytes of those under way, each `later` than it was due, and answers how many are lost.
    pub(super) fn keep(&mut self, keep: usize, later: impl Fn(Instant) -> Instant) -> usize {
        let lost = self.under_way.saturating_sub(keep);
        let mut room = keep;
        for chunk in &mut self.chunks {
            let count = (chunk.bytes.len() - chunk.read).min(room);
            chunk.bytes.truncate(chunk.read + count);
            chunk.due = later(chunk.due);
            self.last_due = self.last_due.max(chunk.due);
            room -= count;
        }
        self.chunks.retain(|chunk| chunk.read < chunk.bytes.len());
        self.under_way -= lost;
        lost
    }

    /// Whether it was cut, which is told also where nothing else arrives.
    pub(super) fn is_reset(&self) -> bool {
        matches!(self.fin, Some((_, Fin::Reset)))
    }
}
