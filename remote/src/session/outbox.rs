//! What waits to be handed to the connection, in lanes, and who may put more in (G33).
//!
//! Senders copy whole frames in, from any thread; the connection takes out all that is there at once. The order in
//! which frames are put in is the order on the wire, but for large ones: those go out piece by piece, one piece
//! after each batch of others, each receiver's messages in order, and each subscription's.
//!
//! Requests need credit: what the other side said that it takes for their slot, and for all slots. Answers, credit and
//! whatever ends something need none: the side that reads them would have to wait for the side that writes. What
//! bounds answers is that a peer which leaves too many unread loses its session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::task::{Context, Waker};

use bytes::Bytes;
use callboard::Failure;
use callboard::clock::Instant;
use parking_lot::Mutex;

use super::Session;
use super::log::{Batch, Stamp};
use crate::config::LinkConfig;
use crate::wire::body::{EVERYTHING, REMAINING};
use crate::wire::frame::{HEADER, PIECE, SEQUENCE};

mod large;
mod small;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use large::Lane;
use large::{Large, Whole};
pub(crate) use small::Small;
use waiting::Line;
pub(crate) use waiting::{PushEvent, PushWaiting};

/// Which ask of whom, as its correlation has it.
pub(crate) type Ticket = u64;

/// An ask, and who waits for it.
pub(crate) type Asked = (Arc<dyn Waits>, Ticket);

/// Whose asks wait for answers.
pub(crate) trait Waits: Send + Sync {
    /// The frame of this ask leaves now, if somebody wants the answer.
    fn left(&self, ticket: Ticket) -> Leaves;
    /// The answer. `false` if nobody waits for it any more.
    fn reply(&self, session: &Session, ticket: Ticket, flags: u8, payload: &[u8]) -> bool;
    /// The end without an answer. `false` if nobody waits for it any more.
    fn fail(&self, session: &Session, ticket: Ticket, failure: Failure) -> bool;
    /// The session is over.
    fn end(&self, session: u64, detail: &str);
    /// The other side takes payloads as arrays.
    fn positional(&self, session: u64);
    /// The name and the message type.
    fn target(&self) -> (&str, &'static str);
}

/// Whether an ask whose turn has come leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    Yes,
    /// It has ended before, and was counted then.
    Ended,
    /// It ends here: nobody wants it.
    EndsHere,
}

/// A request ready to be queued.
pub(crate) struct Letter {
    pub(crate) slot: u32,
    /// Header and body.
    pub(crate) frame: Vec<u8>,
    /// The end of the body, where that is not in `frame`: it is not copied.
    pub(crate) rest: Bytes,
    pub(crate) deadline: Option<Instant>,
    /// Of an ask.
    pub(crate) asked: Option<Asked>,
    /// The asker was told already that it leaves.
    pub(crate) is_told: bool,
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// It may wait: the reason, for people.
    Full(&'static str),
    /// The session is over.
    Closed,
}

/// An ask that is told when its frame leaves.
struct Undecided {
    asked: Asked,
    slot: u32,
    /// What it took of the credit.
    bytes: usize,
    /// Where in the batch its frame begins, or the first piece of it.
    at: usize,
    /// Which large frame it is.
    large: Option<u64>,
}

/// See the module.
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    /// The connection has nothing left to write and waits for more: what is put in now leaves at once.
    flowing: AtomicBool,
    /// The connection is at work, and will look for what is put in before it waits.
    attended: AtomicBool,
    /// Asks without an answer. One that is withdrawn before it was put in counts as -1 until it is.
    asks: AtomicIsize,
    /// Somebody waits for an ask to end.
    is_crowded: AtomicBool,
    most_bytes: usize,
    most_unread: usize,
    most_asks: isize,
}

#[derive(Default)]
struct Inner {
    tail: Batch,
    undecided: Vec<Undecided>,
    flows: Vec<Flow>,
    /// Of all flows together.
    all: Credit,
    large: VecDeque<Large>,
    large_bytes: usize,
    next_large: u64,
    /// Senders without a flow that wait for room: events.
    line: Line,
    next_place: u64,
    waiting: usize,
    writer: Option<Waker>,
    closed: bool,
}

/// How much may be sent, counted from the session's beginning.
#[derive(Debug, Default, Clone, Copy)]
struct Credit {
    sent: u64,
    limit: u64,
}

impl Credit {
    fn is_open(self) -> bool {
        // One message may overshoot it, so that none is too large for ever.
        self.sent < self.limit
    }
}

#[derive(Default)]
struct Flow {
    credit: Credit,
    line: Line,
    /// That of all flows to the same receiver: messages of all types stay in order together (G2).
    lane: u64,
}

/// What the connection takes.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) batch: Batch,
    undecided: Vec<Undecided>,
}

impl Taken {
    /// Whether an ask waits to be told that it leaves.
    pub(crate) fn is_undecided(&self) -> bool {
        !self.undecided.is_empty()
    }

    /// Tells every ask that it leaves, and skips those that nobody wants any more.
    pub(crate) fn decide(&mut self, outbox: &Outbox) {
        // Where those begin that don't leave, in order.
        let mut voided: Vec<usize> = Vec::new();
        for undecided in self.undecided.drain(..) {
            let Undecided { asked, at, .. } = &undecided;
            let leaves = asked.0.left(asked.1);
            if leaves == Leaves::Yes {
                continue;
            }
            super::log::void(&mut self.batch.bytes, *at);
            voided.push(*at);
            outbox.give_up(&undecided);
            if leaves == Leaves::EndsHere {
                outbox.ask_ended();
            }
        }
        if voided.is_empty() {
            return;
        }
        // Of a whole frame, or of one that is in a piece.
        let is_of = |at: usize, header: usize| {
            let begin = at.checked_sub(header + REMAINING.start);
            begin.is_some_and(|begin| voided.binary_search(&begin).is_ok())
        };
        let stays = |stamp: &Stamp| !is_of(stamp.at, HEADER) && !is_of(stamp.at, 2 * HEADER);
        self.batch.stamps.retain(stays);
        // The credit that they gave back is somebody's, and nobody else will tell.
        outbox.wake_heads();
    }
}

impl Outbox {
    /// An empty one. `most_asks` is what both sides allow.
    pub(crate) fn new(config: &LinkConfig, session_window: u64, most_asks: usize) -> Self {
        let inner = Inner {
            all: Credit {
                sent: 0,
                limit: session_window,
            },
            ..Inner::default()
        };
        Outbox {
            inner: Mutex::new(inner),
            flowing: AtomicBool::new(false),
            attended: AtomicBool::new(false),
            asks: AtomicIsize::new(0),
            is_crowded: AtomicBool::new(false),
            most_bytes: config.outbox.max(1),
            most_unread: config.unread_answers,
            most_asks: isize::try_from(most_asks.max(1)).unwrap_or(isize::MAX),
        }
    }

    /// Whether what is put in now leaves at once.
    pub(crate) fn is_flowing(&self) -> bool {
        self.flowing.load(Ordering::Acquire)
    }

    pub(crate) fn set_flowing(&self, flowing: bool) {
        self.flowing.store(flowing, Ordering::Release);
    }

    /// From now until it waits for more, the connection needs not be woken.
    pub(crate) fn attend(&self) {
        self.attended.store(true, Ordering::Release);
    }

    /// A connection looks no more. The next one may wait already for what it was not woken for.
    pub(crate) fn leave(&self) {
        let mut inner = self.inner.lock();
        self.attended.store(false, Ordering::Release);
        let waits = !inner.tail.bytes.is_empty() || !inner.large.is_empty();
        let wake = if waits { inner.writer.take() } else { None };
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Whom to wake when something was put in.
    fn writer(&self, inner: &mut Inner) -> Option<Waker> {
        // Changes from `true` only under this lock, by who finds nothing here.
        if self.attended.load(Ordering::Acquire) {
            return None;
        }
        inner.writer.take()
    }

    /// A new flow with that much credit: its number is that of its slot. All that lead to one receiver have the same
    /// `lane`.
    pub(crate) fn add_flow(&self, window: u64, lane: u64) -> u32 {
        let mut inner = self.inner.lock();
        let own = u32::try_from(inner.flows.len()).unwrap_or(u32::MAX);
        inner.flows.push(Flow {
            credit: Credit {
                sent: 0,
                limit: window,
            },
            lane,
            ..Flow::default()
        });
        own
    }

    /// Gives a flow that nobody uses to another receiver. Its credit goes on.
    pub(crate) fn give_flow(&self, slot: u32, lane: u64) {
        if let Some(flow) = self.inner.lock().flows.get_mut(slot as usize) {
            flow.lane = lane;
        }
    }

    /// A number behind that of all frames for a slot which have been put in. `None` while one of them has none yet.
    pub(crate) fn last_of(&self, slot: u32) -> Option<u64> {
        let inner = self.inner.lock();
        let waits = |large: &Large| large.frames.iter().any(|whole| whole.slot == slot);
        (!inner.large.iter().any(waits)).then_some(inner.tail.last)
    }

    #[inline]
    fn has_room(&self, inner: &Inner, slot: u32, is_ask: bool) -> Result<(), NoRoom> {
        if inner.closed {
            return Err(NoRoom::Closed);
        }
        let flow = inner.flows.get(slot as usize);
        if !flow.is_some_and(|flow| flow.credit.is_open()) {
            return Err(NoRoom::Full("its receiver takes no more for now"));
        }
        if !inner.all.is_open() {
            return Err(NoRoom::Full("the session takes no more for now"));
        }
        if inner.waiting_bytes() >= self.most_bytes {
            return Err(NoRoom::Full("the outbox is full"));
        }
        if is_ask && self.asks.load(Ordering::Acquire) >= self.most_asks {
            self.is_crowded.store(true, Ordering::SeqCst);
            // One may have ended before it could see that.
            if self.asks.load(Ordering::SeqCst) >= self.most_asks {
                return Err(NoRoom::Full("too many unanswered asks"));
            }
        }
        Ok(())
    }

    /// Puts a request in if there is room; its frame is taken out of it then.
    pub(crate) fn push(&self, letter: &mut Letter) -> Result<(), NoRoom> {
        let mut inner = self.inner.lock();
        self.has_room(&inner, letter.slot, letter.asked.is_some())?;
        // Nobody overtakes those who wait.
        if inner.has_line(letter.slot) {
            return Err(NoRoom::Full("others wait already"));
        }
        let wake = self.put_letter(&mut inner, letter);
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Waits for room, behind those who wait already. Answers whether the session is still there.
    ///
    /// Dropping the future gives up the place in the line.
    pub(crate) fn push_waiting<'a>(&'a self, letter: &'a mut Letter) -> PushWaiting<'a> {
        PushWaiting::new(self, letter)
    }

    #[inline]
    fn count_ask(&self) {
        self.asks.fetch_add(1, Ordering::AcqRel);
    }

    fn put_letter(&self, inner: &mut Inner, letter: &mut Letter) -> Option<Waker> {
        let asked = letter.asked.take();
        if asked.is_some() {
            self.count_ask();
        }
        // With its header: small ones cost more than their bodies.
        let bytes = letter.frame.len() + letter.rest.len();
        let cost = bytes as u64;
        inner.all.sent += cost;
        let mut lane = Lane::Answer;
        if let Some(flow) = inner.flows.get_mut(letter.slot as usize) {
            flow.credit.sent += cost;
            lane = Lane::Receiver(flow.lane);
        }
        let behind = inner.is_large(lane);
        // By what was told, not by whether it leaves at once now: that may have changed since.
        let asked = asked.filter(|_| !letter.is_told || behind);
        if behind || !letter.rest.is_empty() || letter.frame.len() > HEADER + PIECE {
            let whole = Whole {
                frame: std::mem::take(&mut letter.frame),
                rest: std::mem::take(&mut letter.rest),
                deadline: letter.deadline,
                asked,
                slot: letter.slot,
            };
            inner.put_large(lane, whole);
        } else {
            let at = inner.put(&letter.frame);
            if let Some(deadline) = letter.deadline {
                let at = at + HEADER + REMAINING.start;
                inner.tail.stamps.push(Stamp { at, deadline });
            }
            if let Some(asked) = asked {
                inner.undecided.push(Undecided {
                    asked,
                    slot: letter.slot,
                    bytes,
                    at,
                    large: None,
                });
            }
        }
        self.writer(inner)
    }

    /// Puts in what needs no room: an answer, credit, the end of something. Answers how many bytes wait, if those
    /// are more than a peer may leave unread.
    pub(crate) fn push_answer(&self, frame: Vec<u8>) -> Result<(), usize> {
        self.push_answer_with(frame, Bytes::new())
    }

    /// The same for one whose body ends with `rest`, which is not copied.
    pub(crate) fn push_answer_with(&self, frame: Vec<u8>, rest: Bytes) -> Result<(), usize> {
        let large = !rest.is_empty() || frame.len() > HEADER + PIECE;
        let mut inner = self.inner.lock();
        if inner.closed {
            return Ok(());
        }
        if large {
            inner.put_large(Lane::Answer, unasked(frame, rest));
        } else {
            inner.put(&frame);
        }
        let bytes = inner.waiting_bytes();
        let wake = self.writer(&mut inner);
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        if bytes > self.most_unread.saturating_add(self.most_bytes) {
            return Err(bytes);
        }
        Ok(())
    }

    /// The same for one that lies in a buffer of the caller's.
    pub(crate) fn push_answer_from(&self, frame: &[u8]) -> Result<(), usize> {
        if frame.len() > HEADER + PIECE {
            return self.push_answer(frame.to_vec());
        }
        let mut inner = self.inner.lock();
        if inner.closed {
            return Ok(());
        }
        inner.put(frame);
        let bytes = inner.waiting_bytes();
        let wake = self.writer(&mut inner);
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        if bytes > self.most_unread.saturating_add(self.most_bytes) {
            return Err(bytes);
        }
        Ok(())
    }

    /// Puts in an event of that subscription: waits for room, but needs no credit. Answers whether the session is
    /// still there.
    pub(crate) fn push_event<'a>(&'a self, subscription: u64, frame: &'a [u8]) -> PushEvent<'a> {
        PushEvent::new(self, Lane::Subscription(subscription), frame)
    }

    /// Puts in the end of a subscription, behind its events. Answers as [`push_answer`](Outbox::push_answer).
    pub(crate) fn push_last(&self, subscription: u64, frame: Vec<u8>) -> Result<(), usize> {
        let lane = Lane::Subscription(subscription);
        let mut inner = self.inner.lock();
        if inner.closed {
            return Ok(());
        }
        if !inner.is_large(lane) {
            drop(inner);
            // Nobody else puts in what belongs to it.
            return self.push_answer(frame);
        }
        inner.put_large(lane, unasked(frame, Bytes::new()));
        Ok(())
    }

    /// One that was withdrawn will never be put in.
    pub(crate) fn never_asked(&self) {
        self.asks.fetch_add(1, Ordering::SeqCst);
    }

    /// An ask has ended.
    pub(crate) fn ask_ended(&self) {
        self.asks.fetch_sub(1, Ordering::SeqCst);
        if self.is_crowded.load(Ordering::SeqCst) {
            self.is_crowded.store(false, Ordering::SeqCst);
            let wake = self.inner.lock().heads();
            wake.into_iter().for_each(Waker::wake);
        }
    }

    /// More may be sent to that slot, or in all. Numbers only grow; a smaller one changes nothing.
    pub(crate) fn credit(&self, slot: u64, limit: u64) {
        let mut inner = self.inner.lock();
        let credit = if slot == EVERYTHING {
            Some(&mut inner.all)
        } else {
            let flow = usize::try_from(slot)
                .ok()
                .and_then(|slot| inner.flows.get_mut(slot));
            flow.map(|flow| &mut flow.credit)
        };
        if let Some(credit) = credit {
            credit.limit = credit.limit.max(limit);
        }
        let wake = inner.heads();
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
    }

    fn wake_heads(&self) {
        let wake = self.inner.lock().heads();
        wake.into_iter().for_each(Waker::wake);
    }

    /// Takes all that is there, and a piece of what is large. Nothing if there is nothing: the waker is called when
    /// there is.
    pub(crate) fn take(&self, cx: &Context<'_>, spare: impl FnOnce() -> Batch) -> Option<Taken> {
        let mut inner = self.inner.lock();
        if inner.tail.bytes.is_empty() && inner.large.is_empty() {
            match &mut inner.writer {
                Some(writer) => writer.clone_from(cx.waker()),
                writer => *writer = Some(cx.waker().clone()),
            }
            self.attended.store(false, Ordering::Release);
            return None;
        }
        let mut taken = Taken::default();
        let last = inner.tail.last;
        let next = Batch { last, ..spare() };
        taken.batch = std::mem::replace(&mut inner.tail, next);
        taken.undecided = std::mem::take(&mut inner.undecided);
        inner.take_piece(&mut taken);
        inner.tail.last = taken.batch.last;
        let wake = inner.heads();
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
        Some(taken)
    }

    /// A request was taken and won't leave: what it cost is given back, and the rest of it dropped.
    fn give_up(&self, undecided: &Undecided) {
        let mut inner = self.inner.lock();
        let cost = undecided.bytes as u64;
        inner.all.sent -= cost;
        if let Some(flow) = inner.flows.get_mut(undecided.slot as usize) {
            flow.credit.sent -= cost;
        }
        let begun = |large: &&mut Large| Some(large.number) == undecided.large && large.at > 0;
        if let Some(large) = inner.large.iter_mut().find(begun) {
            let rest = large.frames.pop_front();
            let rest = rest.map_or(0, |whole| whole.len() - large.at);
            large.at = 0;
            inner.large_bytes -= rest;
        }
    }

    /// Whether nothing waits to be taken.
    pub(crate) fn is_empty(&self) -> bool {
        let inner = self.inner.lock();
        inner.tail.bytes.is_empty() && inner.large.is_empty()
    }

    /// Takes nothing any more, and turns away who waits. Hands out what was never taken.
    pub(crate) fn close(&self) -> Batch {
        let mut inner = self.inner.lock();
        if inner.closed {
            return Batch::default();
        }
        inner.closed = true;
        let mut left = std::mem::take(&mut inner.tail);
        let large = std::mem::take(&mut inner.large);
        let undecided = std::mem::take(&mut inner.undecided);
        for large in large {
            for whole in large.frames {
                left.bytes.extend(whole.frame);
                left.bytes.extend(whole.rest);
            }
        }
        inner.large_bytes = 0;
        let wake = inner.everybody();
        drop(inner);
        drop(undecided);
        wake.into_iter().for_each(Waker::wake);
        left
    }

    /// Bytes that wait, and asks that are unanswered.
    pub(crate) fn load(&self) -> (usize, usize) {
        let bytes = self.inner.lock().waiting_bytes();
        let asks = self.asks.load(Ordering::Acquire);
        (bytes, usize::try_from(asks).unwrap_or(0))
    }
}

impl Inner {
    fn waiting_bytes(&self) -> usize {
        self.tail.bytes.len() + self.large_bytes
    }

    /// Appends a frame with the next number; where it begins.
    fn put(&mut self, frame: &[u8]) -> usize {
        let at = self.tail.bytes.len();
        self.tail.last += 1;
        self.tail.bytes.extend_from_slice(frame);
        number(&mut self.tail.bytes, at, self.tail.last);
        at
    }

    fn has_line(&self, slot: u32) -> bool {
        let flow = self.flows.get(slot as usize);
        flow.is_some_and(|flow| !flow.line.is_empty())
    }
}

/// An answer, as it waits in the lane of large ones.
fn unasked(frame: Vec<u8>, rest: Bytes) -> Whole {
    Whole {
        frame,
        rest,
        deadline: None,
        asked: None,
        slot: u32::MAX,
    }
}

/// Writes its number into the header of the frame that begins there.
fn number(bytes: &mut [u8], at: usize, number: u64) {
    let field = at + SEQUENCE.start..at + SEQUENCE.end;
    if let Some(field) = bytes.get_mut(field) {
        field.copy_from_slice(&low(number).to_be_bytes());
    }
}

/// The part of a number that stands in a header. Never 0.
pub(crate) fn low(number: u64) -> u16 {
    // 1 to 65,535, and again.
    u16::try_from((number - 1) % 65_535 + 1).unwrap_or(u16::MAX)
}
