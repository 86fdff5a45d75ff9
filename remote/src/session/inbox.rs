//! What has arrived: counted, put together, handed on, and never more than was allowed (G32, G33, G36).
//!
//! The reader of a connection hands every frame in here and never waits. A request whose receiver has no room stays
//! here, with all that come behind it for the same receiver; their sender gets no more credit until they have moved
//! on. Nobody else is held up.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use callboard::clock::Instant;
use callboard::{DeadLetter, Failure, FailureKind, Verdict};

use super::Session;
use super::in_flight::NotTaken;
use super::outbox::low;
use super::table::{MOST_SLOTS, Table};
use crate::config::LinkConfig;
use crate::node::{Held, Payload};
use crate::wire::WireError;
use crate::wire::body::{
    EVERYTHING, FIRST, LAST, Open, PACKED, POSITIONAL, Request, decode_nothing,
};
use crate::wire::frame::{Frame, HEADER, Header, Kind, MAX_BODY, put_frame, split_frame};

/// After how many frames or bytes an acknowledgement is due.
const ACK_FRAMES: u64 = 32;
const ACK_BYTES: usize = 64 * 1024;

/// See the module.
pub(crate) struct Inbox {
    /// The connection that feeds it; what any other brings is not taken.
    generation: u64,
    /// How many numbered frames have arrived.
    received: u64,
    /// How many of them the other side has been told of.
    acked: u64,
    bytes_since_ack: usize,
    table: Table,
    parts: HashMap<u64, Vec<u8>>,
    part_bytes: usize,
    /// Bytes of requests that wait here, and of frames that aren't whole.
    waiting: Arc<AtomicUsize>,
    /// A receiver had no room just now.
    is_stuffed: bool,
    /// To which slot the last message came that found no room.
    stuffed: usize,
    all: Tally,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    window: u64,
    message: usize,
    part_bytes: usize,
    asks: usize,
}

/// Bytes of requests, each with its header, counted from the beginning of the session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    window: u64,
    arrived: u64,
    moved_on: u64,
    /// What the other side was told.
    limit: u64,
}

impl Tally {
    pub(super) fn new(window: u64) -> Self {
        Tally {
            window,
            arrived: 0,
            moved_on: 0,
            limit: window,
        }
    }

    /// Whether it might have been sent. Up to `early` bytes may come before others that were sent with less: large
    /// messages let those to other receivers pass.
    pub(super) fn arrive(&mut self, bytes: usize, early: u64) -> bool {
        let allowed = self.arrived < self.limit.saturating_add(early);
        self.arrived += bytes as u64;
        allowed
    }

    /// The new limit, when it is time to tell.
    pub(super) fn move_on(&mut self, bytes: usize) -> Option<u64> {
        self.moved_on += bytes as u64;
        let limit = self.moved_on.saturating_add(self.window);
        // What is stuck takes of the window: half of the rest is all that the others may have.
        let stuck = self.arrived - self.moved_on;
        let step = (self.window.saturating_sub(stuck) / 2).max(1);
        (limit.saturating_sub(self.limit) >= step).then(|| {
            self.limit = limit;
            limit
        })
    }
}

/// A request that waits for those before it.
pub(super) struct Waiting {
    /// Where its slot is.
    slot: usize,
    kind: Kind,
    flags: u8,
    correlation: u64,
    body: Vec<u8>,
    arrived: Instant,
}

/// What one call of [`Inbox::take`] needs besides the frame.
pub(crate) struct Reading<'a> {
    pub(crate) session: &'a Arc<Session>,
    /// When the bytes were read.
    pub(crate) now: Instant,
    /// Where they are, if they may be kept without a copy.
    pub(crate) kept: Option<&'a Bytes>,
}

impl Inbox {
    /// An empty one, which says by `waiting` how many bytes wait in it.
    pub(crate) fn new(config: &LinkConfig, waiting: Arc<AtomicUsize>) -> Self {
        let message = config.message_limit() as usize;
        Inbox {
            generation: 0,
            received: 0,
            acked: 0,
            bytes_since_ack: 0,
            table: Table::default(),
            parts: HashMap::new(),
            part_bytes: 0,
            waiting,
            is_stuffed: false,
            stuffed: 0,
            all: Tally::new(config.session_window.max(1)),
            limits: Limits {
                window: config.window.max(1),
                message,
                part_bytes: usize::try_from(config.session_window)
                    .unwrap_or(usize::MAX)
                    .saturating_add(config.unread_answers)
                    .saturating_add(2 * message),
                asks: config.in_flight.max(1),
            },
        }
    }

    /// From now on that connection feeds it. How much had arrived before.
    pub(super) fn feed_from(&mut self, generation: u64) -> u64 {
        self.generation = generation;
        self.acked = self.received;
        self.bytes_since_ack = 0;
        self.received
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.received == 0
    }

    pub(crate) fn is_fed_by(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// Whether a receiver had no room since this was asked last: it may have some after a turn of its own, and what
    /// follows need not be kept here.
    pub(crate) fn was_stuffed(&mut self) -> bool {
        std::mem::take(&mut self.is_stuffed)
    }

    /// Whether the last message that found no room still waits for it.
    pub(crate) fn is_stuck(&mut self) -> bool {
        let line = self.table.line(self.stuffed);
        line.is_some_and(|line| line.held.is_some())
    }

    /// How many frames to acknowledge, if that is due; if `gladly`, because something is written anyway, then also
    /// for fewer.
    pub(crate) fn ack_due(&mut self, gladly: bool) -> Option<u64> {
        let frames = self.received - self.acked;
        let due = frames >= ACK_FRAMES || self.bytes_since_ack >= ACK_BYTES;
        (due || (gladly && frames > 0)).then(|| {
            self.acked = self.received;
            self.bytes_since_ack = 0;
            self.received
        })
    }

    /// Takes one numbered frame.
    pub(crate) fn take(
        &mut self,
        reading: &Reading<'_>,
        frame: &Frame<'_>,
    ) -> Result<(), WireError> {
        let expected = low(self.received + 1);
        if frame.sequence != expected {
            // A little behind: it has arrived before. Numbers go round at 65,535.
            let behind = (u32::from(expected) + 65_535 - u32::from(frame.sequence)) % 65_535;
            if frame.sequence != 0 && behind < 32_768 {
                reading.session.peer.counters.repeated_frames();
                return Ok(());
            }
            return Err(WireError::OutOfSequence);
        }
        self.received += 1;
        self.bytes_since_ack += HEADER + frame.body.len();
        match frame.kind {
            Kind::Void => Ok(()),
            Kind::Part => self.part(reading, frame),
            _ => self.whole(reading, frame),
        }
    }

    fn part(&mut self, reading: &Reading<'_>, frame: &Frame<'_>) -> Result<(), WireError> {
        let number = frame.correlation;
        let bad = |field| WireError::BadField {
            frame: Kind::Part.text(),
            field,
        };
        if frame.flags & !(FIRST | LAST) != 0 {
            return Err(bad("flag"));
        }
        if frame.flags & FIRST != 0 {
            let header = frame.body.first_chunk::<HEADER>().ok_or(bad("header"))?;
            let most = u32::try_from(self.limits.message).unwrap_or(u32::MAX);
            let header = Header::decode(header, most.saturating_add(MAX_BESIDE))?;
            if matches!(header.kind, Kind::Part | Kind::Void) || !header.kind.is_numbered() {
                return Err(WireError::Unexpected(header.kind.text()));
            }
            // One for each slot and each answer is all that ever can be begun at once.
            if self.parts.len() >= MOST_SLOTS + self.limits.asks {
                return Err(WireError::NoCredit);
            }
            if self.parts.insert(number, Vec::new()).is_some() {
                return Err(bad("number"));
            }
        }
        let whole = self.parts.get_mut(&number).ok_or(bad("number"))?;
        if whole.len() + frame.body.len() > HEADER + self.limits.message + MAX_BESIDE as usize {
            return Err(bad("length"));
        }
        self.part_bytes += frame.body.len();
        if self.part_bytes > self.limits.part_bytes {
            return Err(bad("number"));
        }
        self.waiting.fetch_add(frame.body.len(), Ordering::Relaxed);
        whole.extend_from_slice(frame.body);
        if frame.flags & LAST == 0 {
            return Ok(());
        }
        let Some(whole) = self.parts.remove(&number) else {
            return Ok(());
        };
        self.part_bytes -= whole.len();
        self.waiting.fetch_sub(whole.len(), Ordering::Relaxed);
        let whole = Bytes::from(whole);
        match split_frame(&whole, u32::MAX)? {
            Some((frame, len)) if len == whole.len() => {
                let kept = Some(&whole);
                self.whole(&Reading { kept, ..*reading }, &frame)
            }
            _ => Err(WireError::Truncated(Kind::Part.text())),
        }
    }

    fn whole(&mut self, reading: &Reading<'_>, frame: &Frame<'_>) -> Result<(), WireError> {
        let session = reading.session;
        match frame.kind {
            Kind::Ask | Kind::Tell => self.request(reading, frame),
            Kind::Cancel => {
                decode_nothing(frame.kind, frame.body)?;
                if session.in_flight.withdraw(frame.correlation)
                    && let Some(node) = session.node()
                {
                    node.counters.withdrawn();
                }
                Ok(())
            }
            Kind::Open => self.open(session, frame),
            Kind::Subscribe | Kind::Unsubscribe | Kind::Watch | Kind::Unwatch => {
                session.work.take(frame)
            }
            Kind::Reply
            | Kind::Failed
            | Kind::Credit
            | Kind::Opened
            | Kind::Subscribed
            | Kind::Event
            | Kind::Gap
            | Kind::Ended
            | Kind::Life => session.peer.take(session, frame),
            other => Err(WireError::Unexpected(other.text())),
        }
    }

    fn open(&mut self, session: &Arc<Session>, frame: &Frame<'_>) -> Result<(), WireError> {
        let open = Open::decode(frame.body)?;
        let opened = self
            .table
            .open(frame.correlation, &open, self.limits.window);
        let slot = opened.map_err(|_| WireError::BadField {
            frame: Kind::Open.text(),
            field: "slot",
        })?;
        let flags = if slot.agree(session) { POSITIONAL } else { 0 };
        let mut out = Vec::new();
        let put = put_frame(&mut out, Kind::Opened, flags, frame.correlation, 0, |_| ());
        if put.is_ok() {
            session.answer(out);
        }
        Ok(())
    }

    fn request(&mut self, reading: &Reading<'_>, frame: &Frame<'_>) -> Result<(), WireError> {
        let session = reading.session;
        let (request, payload) = Request::decode(frame.kind, frame.flags, frame.body)?;
        let bad = |field| WireError::BadField {
            frame: frame.kind.text(),
            field,
        };
        let (index, tally) = self.table.find(request.slot).ok_or(bad("slot"))?;
        let bytes = HEADER + frame.body.len();
        let early = (self.limits.message as u64).saturating_add(MAX_BESIDE.into());
        if !tally.arrive(bytes, 0) | !self.all.arrive(bytes, early) {
            return Err(WireError::NoCredit);
        }
        if frame.kind == Kind::Ask {
            match session.in_flight.begin(frame.correlation, self.limits.asks) {
                Ok(()) => {}
                Err(NotTaken::Repeated) => return Err(bad("correlation")),
                Err(NotTaken::Full) => {
                    let failure = Failure::new(FailureKind::Full, Verdict::NotExecuted)
                        .with_detail("too many unanswered asks on this session");
                    session.fail(frame.correlation, &failure);
                    self.moved_on(session, index, bytes);
                    return Ok(());
                }
            }
        }
        let line = self.table.line(index).ok_or(bad("slot"))?;
        if line.held.is_some() {
            self.waiting.fetch_add(bytes, Ordering::Relaxed);
            line.behind.push_back(Waiting {
                slot: index,
                kind: frame.kind,
                flags: frame.flags,
                correlation: frame.correlation,
                body: frame.body.to_vec(),
                arrived: reading.now,
            });
            self.table.waits(index);
            return Ok(());
        }
        let arrival = Arrival {
            kind: frame.kind,
            is_packed: frame.flags & PACKED != 0,
            number: frame.correlation,
            at: reading.now,
        };
        let payload = match reading.kept {
            Some(kept) => Payload::Kept(kept.slice_ref(payload)),
            None => Payload::Passing(payload),
        };
        let slot = self.table.slot(index).ok_or(bad("slot"))?;
        match slot.deliver(session, &arrival, &request, &payload) {
            None => self.moved_on(session, index, bytes),
            Some(room) => {
                let is_tell = frame.kind == Kind::Tell;
                self.hold(session, index, bytes, (room, is_tell));
            }
        }
        Ok(())
    }

    /// A receiver has no room: what comes for it waits behind this one.
    fn hold(
        &mut self,
        session: &Session,
        index: usize,
        bytes: usize,
        (room, is_tell): (Held, bool),
    ) {
        if let Some(line) = self.table.line(index) {
            line.held = Some((index, bytes));
        }
        self.table.waits(index);
        self.is_stuffed = true;
        self.stuffed = index;
        session.work.wait(index, room, is_tell);
    }

    /// What was held has moved on, and so may those behind it.
    pub(super) fn go_on(&mut self, session: &Arc<Session>, index: usize) {
        let Some(line) = self.table.line(index) else {
            return;
        };
        let held = line.held.take();
        let mut next = line.behind.pop_front();
        if let Some((index, bytes)) = held {
            self.moved_on(session, index, bytes);
            self.table.waits_no_more(index);
        }
        while let Some(waiting) = next {
            let index = waiting.slot;
            let bytes = HEADER + waiting.body.len();
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            let Some(slot) = self.table.slot(index) else {
                return;
            };
            let read = Request::decode(waiting.kind, waiting.flags, &waiting.body);
            // It was read once already.
            let Ok((request, payload)) = read else {
                return;
            };
            let arrival = Arrival {
                kind: waiting.kind,
                is_packed: waiting.flags & PACKED != 0,
                number: waiting.correlation,
                at: waiting.arrived,
            };
            let payload = Payload::Passing(payload);
            if waiting.kind == Kind::Ask && session.ended().is_some() {
                // Its asker knows the end already.
                let line = self.table.line(index);
                next = line.and_then(|line| line.behind.pop_front());
                self.table.waits_no_more(index);
                continue;
            }
            if let Some(room) = slot.deliver(session, &arrival, &request, &payload) {
                let is_tell = waiting.kind == Kind::Tell;
                self.hold(session, index, bytes, (room, is_tell));
                return self.table.waits_no_more(index);
            }
            self.moved_on(session, index, bytes);
            let line = self.table.line(index);
            next = line.and_then(|line| line.behind.pop_front());
            self.table.waits_no_more(index);
        }
    }

    fn moved_on(&mut self, session: &Session, index: usize, bytes: usize) {
        let number = self
            .table
            .slot(index)
            .map_or(usize::MAX, |slot| slot.number);
        let tally = u32::try_from(number)
            .ok()
            .and_then(|it| self.table.find(it));
        let slot = tally.and_then(|(_, tally)| tally.move_on(bytes));
        let all = self.all.move_on(bytes);
        let more = [(number as u64, slot), (EVERYTHING, all)];
        for (number, limit) in more {
            let Some(limit) = limit else { continue };
            let mut frame = Vec::new();
            let put = put_frame(&mut frame, Kind::Credit, 0, number, 8, |out| {
                out.extend(limit.to_be_bytes());
            });
            if put.is_ok() {
                session.answer(frame);
            }
        }
    }

    /// The session is over: nothing more comes, and what isn't whole never will be. How many bytes of requests wait
    /// for their receivers: they were acknowledged, so nobody else will count them if they are lost. Answers once.
    pub(super) fn end(&mut self) -> Option<usize> {
        if std::mem::replace(&mut self.generation, u64::MAX) == u64::MAX {
            return None;
        }
        self.parts.clear();
        let parts = std::mem::take(&mut self.part_bytes);
        let waiting = self.waiting.fetch_sub(parts, Ordering::Relaxed) - parts;
        let held = self.table.lines().filter_map(|line| line.held);
        Some(held.map(|(_, bytes)| bytes).sum::<usize>() + waiting)
    }

    /// Hands out all slots, to be dropped where no lock is held: each knows its way back to the session.
    pub(super) fn take_table(&mut self) -> Table {
        std::mem::take(&mut self.table)
    }

    /// Takes out what waits behind others. The askers among them have been told by the other side's end of the
    /// session; tells are handed out, to be buried (G6).
    pub(super) fn letters(&mut self, session: &Session) -> Vec<DeadLetter> {
        let failure = Failure::new(FailureKind::ConnectionLost, Verdict::NotExecuted);
        let mut letters = Vec::new();
        self.waiting.store(0, Ordering::Relaxed);
        for waiting in self.table.take_behind() {
            let read = Request::decode(waiting.kind, waiting.flags, &waiting.body);
            if waiting.kind == Kind::Tell
                && let Ok((request, payload)) = read
                && let Some(slot) = self.table.slot(waiting.slot)
            {
                letters.push(slot.letter(session, &request, payload, &failure));
            }
        }
        letters
    }
}

/// What may stand beside the payload in the body of a large frame, in bytes.
const MAX_BESIDE: u32 = MAX_BODY - 256 * 1024;

/// A request as it came.
pub(super) struct Arrival {
    pub(super) kind: Kind,
    pub(super) is_packed: bool,
    pub(super) number: u64,
    pub(super) at: Instant,
}

pub(super) type Behind = VecDeque<Waiting>;
