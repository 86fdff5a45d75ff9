//! The lane of large frames: they leave piece by piece, and what lies in memory of others is not copied.

use std::collections::VecDeque;

use bytes::Bytes;
use callboard::clock::Instant;

use super::{Asked, Inner, Taken, Undecided, number};
use crate::session::log::{LargeTell, Stamp};
use crate::wire::body::{FIRST, LAST, REMAINING, Request};
use crate::wire::frame::{HEADER, Header, Kind, PIECE};

/// Which large frames stay in order, and what comes behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Requests to one receiver.
    Receiver(u64),
    /// What is told of one subscription.
    Subscription(u64),
    /// An answer: none waits for another.
    Answer,
}

/// Large frames of one lane, or one large answer.
pub(super) struct Large {
    pub(super) lane: Lane,
    pub(super) frames: VecDeque<Whole>,
    /// How far the first is gone.
    pub(super) at: usize,
    /// Of the first; given when its first piece leaves.
    pub(super) number: u64,
}

/// A frame that waits.
pub(super) struct Whole {
    /// Header and body.
    pub(super) frame: Vec<u8>,
    /// The end of the body, where that is not in `frame`.
    pub(super) rest: Bytes,
    pub(super) deadline: Option<Instant>,
    pub(super) asked: Option<Asked>,
    /// Whose credit it took.
    pub(super) slot: u32,
}

impl Whole {
    pub(super) fn len(&self) -> usize {
        self.frame.len() + self.rest.len()
    }

    fn as_tell(&self) -> Option<LargeTell> {
        let (header, body) = self.frame.split_first_chunk::<HEADER>()?;
        let header = Header::decode(header, u32::MAX).ok()?;
        let read = Request::decode(header.kind, header.flags, body).ok();
        let key = read.and_then(|(request, _)| request.key);
        let slot = self.slot;
        (header.kind == Kind::Tell).then_some(LargeTell { slot, key })
    }
}

impl Inner {
    /// Whether a large frame of that lane is on its way: what belongs behind it queues up there.
    pub(super) fn is_large(&self, lane: Lane) -> bool {
        // Nearly always there is none at all.
        lane != Lane::Answer && self.large.iter().any(|large| large.lane == lane)
    }

    pub(super) fn put_large(&mut self, lane: Lane, whole: Whole) {
        self.large_bytes += whole.len();
        if lane != Lane::Answer {
            let same = self.large.iter_mut().find(|large| large.lane == lane);
            if let Some(same) = same {
                same.frames.push_back(whole);
                return;
            }
        }
        self.large.push_back(Large {
            lane,
            frames: VecDeque::from([whole]),
            at: 0,
            number: 0,
        });
    }

    /// Appends one piece of a large frame, or a frame that waited behind one, to what was taken.
    pub(super) fn take_piece(&mut self, taken: &mut Taken) {
        // One whose frame was given up has none left.
        let Some(mut large) = self.large.pop_front() else {
            return;
        };
        if let Some(whole) = large.frames.front_mut() {
            if large.at == 0 {
                self.next_large += 1;
                large.number = self.next_large;
            }
            let piece = append(taken, whole, large.at, large.number);
            self.large_bytes -= piece;
            large.at += piece;
            if large.at == whole.len() {
                large.frames.pop_front();
                large.at = 0;
            }
        }
        if !large.frames.is_empty() {
            self.large.push_back(large);
        }
    }
}

/// Appends the piece that begins at `at`, or all of a frame that is short enough; how many bytes of it that are.
fn append(taken: &mut Taken, whole: &mut Whole, at: usize, large: u64) -> usize {
    let out = &mut taken.batch;
    let begin = out.bytes.len();
    out.last += 1;
    let len = whole.len();
    let is_whole = at == 0 && len <= HEADER + PIECE;
    let end = if is_whole { len } else { len.min(at + PIECE) };
    let mut field = begin + HEADER + REMAINING.start;
    if !is_whole {
        field += HEADER;
        let first = if at == 0 { FIRST } else { 0 };
        let last = if end == len { LAST } else { 0 };
        let header = Header {
            // At most `PIECE`.
            len: u32::try_from(end - at).unwrap_or(u32::MAX),
            kind: Kind::Part,
            flags: first | last,
            sequence: 0,
            correlation: large,
        };
        out.bytes.extend(header.encode());
    }
    let split = whole.frame.len();
    let copied = at.min(split)..end.min(split);
    out.bytes.extend_from_slice(&whole.frame[copied]);
    // The last of the batch, so that it may stay where it is.
    out.rest = whole
        .rest
        .slice(at.max(split) - split..end.max(split) - split);
    number(&mut out.bytes, begin, out.last);
    if !is_whole && end == len {
        out.tell = whole.as_tell();
    }
    if at == 0 {
        if let Some(deadline) = whole.deadline {
            let at = field;
            out.stamps.push(Stamp { at, deadline });
        }
        if let Some(asked) = whole.asked.take() {
            taken.undecided.push(Undecided {
                asked,
                slot: whole.slot,
                bytes: len,
                at: begin,
                large: (!is_whole).then_some(large),
            });
        }
    }
    end - at
}
