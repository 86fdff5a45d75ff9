//! What was handed to the connection and not yet acknowledged, and how far of it is written (G32).
//!
//! Frames lie here as they stand on the wire. A connection writes from here; when it breaks, the next one goes on
//! behind the last frame that the other side has, in the same bytes.

use std::collections::VecDeque;

use callboard::clock::Instant;

use crate::wire::body::encode_remaining;
use crate::wire::frame::{Frame, HEADER, split_frame};

#[cfg(test)]
mod tests;

/// Batches are gathered in one segment up to this many bytes, so that small ones cost no buffer each.
const GATHER: usize = 32 * 1024;
/// Buffers that are kept for reuse, and the longest that is.
const POOL: usize = 4;
const KEEP: usize = 512 * 1024;

/// A field of remaining time, written anew whenever its bytes leave (G9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Where in its buffer the field begins.
    pub(crate) at: usize,
    pub(crate) deadline: Instant,
}

/// Some frames in a row.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) stamps: Vec<Stamp>,
    /// The number of the last frame.
    pub(crate) last: u64,
}

#[derive(Debug)]
struct Segment {
    batch: Batch,
    /// The number of the first frame.
    first: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Log {
    segments: VecDeque<Segment>,
    bytes: usize,
    /// Which segment is being written, and how far.
    at: (usize, usize),
    /// The number of the last frame that was pushed.
    last: u64,
    acked: u64,
    /// The connection that writes from it; no other may.
    generation: u64,
    /// A connection has taken frames that it has not pushed yet: none behind them may come before them.
    awaits_push: bool,
    pool: Vec<Vec<u8>>,
}

/// The other side acknowledged what was never sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NeverSent;

impl Log {
    /// An empty buffer, used before if possible.
    pub(crate) fn spare(&mut self) -> Vec<u8> {
        self.pool.pop().unwrap_or_default()
    }

    /// Takes frames over, stamped with the time that is left. Leaves an empty buffer.
    pub(crate) fn push(&mut self, batch: &mut Batch, now: Instant) {
        self.awaits_push = false;
        if batch.bytes.is_empty() {
            return;
        }
        stamp(&mut batch.bytes, &batch.stamps, now);
        self.bytes += batch.bytes.len();
        let first = self.last + 1;
        self.last = batch.last;
        let end = self.segments.len();
        if let Some(tail) = self.segments.back_mut()
            && tail.batch.bytes.len() + batch.bytes.len() <= GATHER
        {
            let old = tail.batch.bytes.len();
            if self.at == (end, 0) {
                self.at = (end - 1, old);
            }
            tail.batch.bytes.append(&mut batch.bytes);
            let moved = batch.stamps.drain(..).map(|stamp| Stamp {
                at: stamp.at + old,
                ..stamp
            });
            tail.batch.stamps.extend(moved);
            tail.batch.last = batch.last;
            return;
        }
        let mut bytes = self.spare();
        std::mem::swap(&mut bytes, &mut batch.bytes);
        let stamps = std::mem::take(&mut batch.stamps);
        self.segments.push_back(Segment {
            batch: Batch {
                bytes,
                stamps,
                last: batch.last,
            },
            first,
        });
    }

    /// What is to be written next; empty if everything is.
    pub(crate) fn unwritten(&self) -> &[u8] {
        let (segment, offset) = self.at;
        self.segments
            .get(segment)
            .and_then(|segment| segment.batch.bytes.get(offset..))
            .unwrap_or_default()
    }

    /// Whether what was written ends with a whole segment: other frames may come in between here.
    pub(crate) fn is_between(&self) -> bool {
        self.at.1 == 0
            || self
                .segments
                .get(self.at.0)
                .is_none_or(|segment| segment.batch.bytes.len() == self.at.1)
    }

    /// So many bytes of [`unwritten`](Log::unwritten) were written.
    pub(crate) fn wrote(&mut self, count: usize) {
        self.at.1 += count;
        let done = self.segments.get(self.at.0);
        if done.is_some_and(|segment| segment.batch.bytes.len() <= self.at.1) {
            self.at = (self.at.0 + 1, 0);
        }
    }

    /// Everything up to this number has arrived.
    pub(crate) fn ack(&mut self, to: u64) -> Result<(), NeverSent> {
        if to > self.last {
            return Err(NeverSent);
        }
        self.acked = self.acked.max(to);
        while self.at.0 > 0
            && let Some(front) = self.segments.front()
            && front.batch.last <= self.acked
        {
            self.drop_front();
        }
        Ok(())
    }

    fn drop_front(&mut self) {
        let Some(Segment { mut batch, .. }) = self.segments.pop_front() else {
            return;
        };
        self.bytes -= batch.bytes.len();
        self.at.0 = self.at.0.saturating_sub(1);
        if self.pool.len() < POOL && batch.bytes.capacity() <= KEEP {
            batch.bytes.clear();
            self.pool.push(batch.bytes);
        }
    }

    /// Frames were taken, to be pushed later.
    pub(crate) fn await_push(&mut self) {
        self.awaits_push = true;
    }

    /// Whether some were that are not here yet.
    pub(crate) fn awaits_push(&self) -> bool {
        self.awaits_push
    }

    /// From now on that connection writes from it.
    pub(crate) fn feed(&mut self, generation: u64) {
        self.generation = generation;
    }

    pub(crate) fn is_fed_by(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// The number of the last frame that was pushed.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Whether the other side may have that many frames, and no more: it can't lack what it acknowledged.
    pub(crate) fn can_rewind(&self, received: u64) -> bool {
        (self.acked..=self.last).contains(&received)
    }

    /// A new connection: goes on behind frame `received`, which is what the other side has.
    pub(crate) fn rewind(&mut self, received: u64, now: Instant) -> Result<(), NeverSent> {
        if !self.can_rewind(received) {
            return Err(NeverSent);
        }
        self.acked = received;
        self.at = (0, 0);
        while let Some(front) = self.segments.front()
            && front.batch.last <= received
        {
            self.drop_front();
        }
        self.at = (0, 0);
        for Segment { batch, .. } in &mut self.segments {
            let Batch { bytes, stamps, .. } = batch;
            stamp(bytes, stamps, now);
        }
        if let Some(Segment { batch, first }) = self.segments.front() {
            let skipped = (received + 1).saturating_sub(*first);
            let mut at = 0;
            for _ in 0..skipped {
                at += frame_at(&batch.bytes[at..]).map_or(0, |(_, len)| len);
            }
            self.at = (0, at);
        }
        Ok(())
    }

    /// Shows every frame that was not acknowledged, in order.
    pub(crate) fn each_unacked(&self, mut show: impl FnMut(&Frame<'_>)) {
        for Segment { batch, first } in &self.segments {
            let mut rest = &batch.bytes[..];
            let mut number = *first;
            while let Some((frame, len)) = frame_at(rest) {
                if number > self.acked {
                    show(&frame);
                }
                number += 1;
                rest = &rest[len..];
            }
        }
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether frames wait for their acknowledgement.
    pub(crate) fn is_acked(&self) -> bool {
        self.acked == self.last
    }
}

fn frame_at(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    // Our own frames: whole, and of any length.
    split_frame(bytes, u32::MAX).ok().flatten()
}

fn stamp(bytes: &mut [u8], stamps: &[Stamp], now: Instant) {
    for Stamp { at, deadline } in stamps {
        if let Some(field) = bytes.get_mut(*at..*at + 8) {
            field.copy_from_slice(&encode_remaining(deadline.since(now)));
        }
    }
}

/// Makes a frame one that is skipped. Its number and length stay.
pub(crate) fn void(bytes: &mut [u8], at: usize) {
    use crate::wire::frame::{KIND, Kind};
    if bytes.len() >= at + HEADER {
        bytes[at + KIND] = Kind::Void.number();
        bytes[at + KIND + 1] = 0;
    }
}
