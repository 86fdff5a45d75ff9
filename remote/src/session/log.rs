//! What was handed to the connection and not yet acknowledged, and how far of it is written (G32).
//!
//! Frames lie here as they stand on the wire. A connection writes from here; when it breaks, the next one goes on
//! behind the last frame that the other side has, in the same bytes.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;
use callboard::RequestKey;
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
    /// The end of the last frame, where that is not in `bytes`.
    pub(crate) rest: Bytes,
    pub(crate) stamps: Vec<Stamp>,
    /// The number of the last frame.
    pub(crate) last: u64,
    /// The last frame is the last piece of that one.
    pub(crate) tell: Option<LargeTell>,
}

/// A tell that travels in pieces, as it is counted when its beginning has arrived and its end hasn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LargeTell {
    pub(crate) slot: u32,
    pub(crate) key: Option<RequestKey>,
}

impl Batch {
    fn len(&self) -> usize {
        self.bytes.len() + self.rest.len()
    }
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
    /// Large tells, by the number of their last piece.
    tells: VecDeque<(u64, LargeTell)>,
    /// Up to which frame they were handed out as not acknowledged.
    handed_out: u64,
    /// The connection that writes from it; no other may.
    generation: u64,
    /// A connection has taken frames that it has not pushed yet: none behind them may come before them.
    awaits_push: bool,
    pool: Vec<Batch>,
}

/// The other side acknowledged what was never sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NeverSent;

impl Log {
    /// An empty batch, with memory that was used before if possible.
    pub(crate) fn spare(&mut self) -> Batch {
        self.pool.pop().unwrap_or_default()
    }

    /// Takes frames over, stamped with the time that is left.
    pub(crate) fn push(&mut self, mut batch: Batch, now: Instant) {
        self.awaits_push = false;
        if batch.bytes.is_empty() {
            return self.keep(batch);
        }
        stamp(&mut batch.bytes, &batch.stamps, now);
        self.bytes += batch.len();
        let first = self.last + 1;
        self.last = batch.last;
        let tell = batch.tell.take();
        self.tells.extend(tell.map(|tell| (batch.last, tell)));
        let end = self.segments.len();
        if let Some(tail) = self.segments.back_mut()
            && batch.rest.is_empty()
            && tail.batch.rest.is_empty()
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
            return self.keep(batch);
        }
        self.segments.push_back(Segment { batch, first });
    }

    /// Keeps the memory of a batch that has gone its way.
    fn keep(&mut self, mut batch: Batch) {
        if self.pool.len() < POOL && batch.bytes.capacity() <= KEEP {
            batch.bytes.clear();
            batch.stamps.clear();
            batch.rest = Bytes::new();
            self.pool.push(batch);
        }
    }

    /// What is to be written next, in two parts; both empty if everything is written.
    pub(crate) fn unwritten(&self) -> (&[u8], &[u8]) {
        let (segment, offset) = self.at;
        let Some(Segment { batch, .. }) = self.segments.get(segment) else {
            return (&[], &[]);
        };
        match batch.bytes.get(offset..) {
            Some(bytes) => (bytes, &batch.rest),
            None => {
                let offset = offset - batch.bytes.len();
                (batch.rest.get(offset..).unwrap_or_default(), &[])
            }
        }
    }

    /// Whether everything here is written.
    pub(crate) fn is_written(&self) -> bool {
        self.at.0 >= self.segments.len()
    }

    /// Whether what was written ends with a whole segment: other frames may come in between here.
    pub(crate) fn is_between(&self) -> bool {
        self.at.1 == 0
            || self
                .segments
                .get(self.at.0)
                .is_none_or(|segment| segment.batch.len() == self.at.1)
    }

    /// So many bytes of [`unwritten`](Log::unwritten) were written.
    pub(crate) fn wrote(&mut self, count: usize) {
        self.at.1 += count;
        let done = self.segments.get(self.at.0);
        if done.is_some_and(|segment| segment.batch.len() <= self.at.1) {
            self.at = (self.at.0 + 1, 0);
        }
    }

    /// Everything up to this number has arrived.
    pub(crate) fn ack(&mut self, to: u64) -> Result<(), NeverSent> {
        if to > self.last {
            return Err(NeverSent);
        }
        self.acked = self.acked.max(to);
        self.forget_tells();
        while self.at.0 > 0
            && let Some(front) = self.segments.front()
            && front.batch.last <= self.acked
        {
            self.drop_front();
        }
        Ok(())
    }

    fn forget_tells(&mut self) {
        while self
            .tells
            .front()
            .is_some_and(|(last, _)| *last <= self.acked)
        {
            self.tells.pop_front();
        }
    }

    fn drop_front(&mut self) {
        let Some(Segment { batch, .. }) = self.segments.pop_front() else {
            return;
        };
        self.bytes -= batch.len();
        self.at.0 = self.at.0.saturating_sub(1);
        self.keep(batch);
    }

    /// Nobody writes from it any more: drops what it keeps.
    pub(crate) fn clear(&mut self) {
        self.segments.clear();
        self.pool.clear();
        self.bytes = 0;
        self.at = (0, 0);
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
        self.forget_tells();
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
                at += frame_len(&batch.bytes, at);
            }
            self.at = (0, at);
        }
        Ok(())
    }

    /// Hands out every frame that was not acknowledged, in order, and each once; with the large tell that it ends.
    pub(crate) fn take_unacked(&mut self, mut show: impl FnMut(&Frame<'_>, Option<&LargeTell>)) {
        let after = self.acked.max(self.handed_out);
        self.handed_out = self.last;
        let mut tells = self.tells.iter().peekable();
        for Segment { batch, first } in &self.segments {
            let mut at = 0;
            for number in *first..=batch.last {
                let len = frame_len(&batch.bytes, at);
                let end = at + len;
                // Those whose frames were forgotten already are passed over.
                while tells.next_if(|(last, _)| *last < number).is_some() {}
                let ends = tells.next_if(|(last, _)| *last == number);
                if number > after {
                    // The last one may lie in two places.
                    let whole = match batch.bytes.get(at..end) {
                        Some(bytes) => Cow::Borrowed(bytes),
                        None => Cow::Owned([&batch.bytes[at..], &batch.rest[..]].concat()),
                    };
                    if let Ok(Some((frame, _))) = split_frame(&whole, u32::MAX) {
                        show(&frame, ends.map(|(_, tell)| tell));
                    }
                }
                at = end;
            }
        }
    }

    /// Up to which frame all have arrived, as far as is known.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// Nothing will be sent again: the session is over. Keeps what is still to be written, if by a connection; and all
    /// of it until [`take_unacked`](Log::take_unacked) has shown it.
    pub(crate) fn forget(&mut self, is_written: bool) {
        if self.handed_out < self.last {
            return;
        }
        let kept = if is_written {
            self.at.0
        } else {
            self.segments.len()
        };
        for _ in 0..kept {
            self.drop_front();
        }
        self.pool = Vec::new();
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

/// How long the frame is that begins there: one of ours.
fn frame_len(bytes: &[u8], at: usize) -> usize {
    let len = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
    // A `u32` fits on every platform that has sockets.
    len.map_or(0, |len| HEADER + u32::from_be_bytes(*len) as usize)
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
