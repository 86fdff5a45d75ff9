//! Who asks and tells at one name with one message type: its slot in the session, and the asks that wait (G7).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use callboard::codec::Schema;
use callboard::{Failure, FailureKind, Responder, Verdict, WireMessage, Withdrawals, codec};
use parking_lot::Mutex;

use super::Core;
use super::callers::Rests;
use crate::reference::arriving;
use crate::session::outbox::{Leaves, Ticket, Waits};
use crate::session::{Given, Session};
use crate::wire::body::{Open, PACKED};
use crate::wire::frame::Kind;

#[cfg(test)]
mod tests;

/// A ticket is the slot (20 bits), how often the place was used before (28), and the place (16).
const PLACE_BITS: u32 = 16;
const TURN_BITS: u32 = 28;
const SLOT_BITS: u32 = 64 - TURN_BITS - PLACE_BITS;

/// See the module.
pub(crate) struct Caller<M: WireMessage> {
    core: Weak<Core>,
    name: Arc<str>,
    /// The shapes of the message and of its reply; 0 where it is unknown.
    schemas: (u64, u64),
    /// What it is called in its session, for those who need no more; 0 for nothing. Changed under the lock.
    at: AtomicU64,
    state: Mutex<State<M::Reply>>,
}

struct State<R> {
    /// Which session the rest is about; 0 for none yet.
    session: u64,
    /// The same, for those who withdraw.
    at: Weak<Session>,
    slot: u32,
    /// The first turn that tickets of this slot may have: who had it before has used those below.
    first_turn: u32,
    positional: bool,
    places: Vec<Place<R>>,
    free: Vec<u16>,
}

struct Place<R> {
    turn: u32,
    ask: Ask<R>,
}

/// An ask between being accepted and its one end. The responder is taken out for each call, so that none of its
/// code runs under the lock.
enum Ask<R> {
    None,
    /// Being prepared, or out to be told something.
    Out {
        left: bool,
    },
    Waits {
        responder: Responder<R>,
        left: bool,
    },
    /// It ended while its responder was out.
    Ended(Option<Failure>),
}

/// Why there is no place for an ask.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// There are too many for one name.
    Full,
    /// The session is over.
    Ended,
}

/// What became of an ask while it was prepared.
pub(crate) enum Stored<R> {
    Kept,
    /// Its asker has gone, and was counted as such.
    Withdrawn(Responder<R>),
    /// Its session has ended.
    Ended(Responder<R>, Failure),
}

/// Where to send to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) number: u32,
    pub(crate) positional: bool,
}

impl<M: WireMessage> Caller<M> {
    pub(crate) fn new(core: &Weak<Core>, name: Arc<str>) -> Arc<Self> {
        Arc::new(Caller {
            core: Weak::clone(core),
            name,
            schemas: schemas::<M>(),
            at: AtomicU64::new(0),
            state: Mutex::new(State {
                session: 0,
                at: Weak::new(),
                slot: 0,
                first_turn: 0,
                positional: false,
                places: Vec::new(),
                free: Vec::new(),
            }),
        })
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its slot in that session, if it has one.
    #[inline]
    pub(crate) fn slot_now(&self, session: &Session) -> Option<Slot> {
        let at = self.at.load(Ordering::Acquire);
        let slot = at >> 1 & ((1 << SLOT_BITS) - 1);
        (at >> (1 + SLOT_BITS) == session.number && at != 0).then_some(Slot {
            number: u32::try_from(slot).unwrap_or(u32::MAX),
            positional: at & 1 != 0,
        })
    }

    /// What [`slot_now`](Caller::slot_now) says from now on.
    fn note(&self, state: &State<M::Reply>) {
        let session = state.session << (1 + SLOT_BITS);
        let fits = session >> (1 + SLOT_BITS) == state.session && state.session > 0;
        let at = session | u64::from(state.slot) << 1 | u64::from(state.positional);
        self.at.store(if fits { at } else { 0 }, Ordering::Release);
    }

    /// Its slot in that session, which it opens if it has none yet. `None` if the session has no more.
    pub(crate) fn slot(self: &Arc<Self>, session: &Arc<Session>) -> Option<Slot> {
        loop {
            let mut state = self.state.lock();
            let before = state.session;
            if before > session.number {
                // It ended since the caller looked, and the next is in use: nothing can be put into it.
                return Some(Slot {
                    number: u32::MAX,
                    positional: false,
                });
            }
            if before > 0 && before < session.number {
                // Its end is on the way here, on another thread: it must not find the asks of this one.
                drop(state);
                self.end(before, "its session has ended");
                continue;
            }
            if before == 0 {
                let caller: Arc<dyn Waits> = Arc::clone(self) as _;
                let given = session.open(caller, |out| {
                    Open {
                        version: M::VERSION,
                        schemas: self.schemas,
                        name: &self.name,
                        type_name: M::NAME,
                    }
                    .put(out);
                })?;
                state.begin(session, given);
                self.note(&state);
            }
            return Some(Slot {
                number: state.slot,
                positional: state.positional,
            });
        }
    }

    /// A place for an ask in that session.
    pub(crate) fn reserve(&self, session: u64) -> Result<Ticket, NoPlace> {
        self.reserve_with(session, |_| Ask::Out { left: false })
    }

    /// The same for one that leaves at once: where its answer goes is known when it has its number.
    pub(crate) fn reserve_told(
        &self,
        session: u64,
        responder: impl FnOnce(Ticket) -> Responder<M::Reply>,
    ) -> Result<Ticket, NoPlace> {
        self.reserve_with(session, |ticket| Ask::Waits {
            responder: responder(ticket),
            left: true,
        })
    }

    #[inline]
    fn reserve_with(
        &self,
        session: u64,
        ask: impl FnOnce(Ticket) -> Ask<M::Reply>,
    ) -> Result<Ticket, NoPlace> {
        let mut state = self.state.lock();
        if state.session != session {
            // It ended since its slot was looked up: nobody would end this ask.
            return Err(NoPlace::Ended);
        }
        let place = match state.free.pop() {
            Some(place) => place,
            None => {
                let place = u16::try_from(state.places.len()).map_err(|_| NoPlace::Full)?;
                let turn = state.first_turn;
                state.places.push(Place {
                    turn,
                    ask: Ask::None,
                });
                place
            }
        };
        let slot = state.slot;
        let entry = state.places.get_mut(usize::from(place));
        let entry = entry.ok_or(NoPlace::Full)?;
        let ticket = ticket(slot, entry.turn, place);
        entry.ask = ask(ticket);
        Ok(ticket)
    }

    /// Puts the responder where the answer will look for it. `left` if it counts as sent already.
    pub(crate) fn store(
        &self,
        ticket: Ticket,
        responder: Responder<M::Reply>,
        left: bool,
    ) -> Stored<M::Reply> {
        let mut state = self.state.lock();
        let Some(place) = state.place(ticket) else {
            return Stored::Withdrawn(responder);
        };
        match std::mem::replace(&mut place.ask, Ask::None) {
            Ask::Out { .. } => {
                place.ask = Ask::Waits { responder, left };
                Stored::Kept
            }
            Ask::Ended(Some(failure)) => {
                state.vacate(ticket);
                Stored::Ended(responder, failure)
            }
            _ => {
                state.vacate(ticket);
                Stored::Withdrawn(responder)
            }
        }
    }

    /// Takes the responder of an ask that waits, which is over then.
    pub(crate) fn take_back(&self, ticket: Ticket) -> Option<Responder<M::Reply>> {
        self.state.lock().finish(ticket)
    }

    /// The asker gave up. Answers whether the other side must be told.
    fn withdraw(&self, ticket: Ticket) -> Option<bool> {
        let mut state = self.state.lock();
        let place = state.place(ticket)?;
        match std::mem::replace(&mut place.ask, Ask::Ended(None)) {
            Ask::Waits { responder, left } => {
                state.vacate(ticket);
                drop(state);
                // Its asker has gone: nobody is told.
                drop(responder);
                Some(left)
            }
            Ask::Out { left } => Some(left),
            other => {
                place.ask = other;
                None
            }
        }
    }
}

impl<M: WireMessage> Rests for Caller<M> {
    fn give_back(&self) -> bool {
        let mut state = self.state.lock();
        if state.free.len() < state.places.len() {
            return false;
        }
        let session = std::mem::take(&mut state.session);
        self.note(&state);
        if session > 0
            && let Some(session) = state.at.upgrade()
        {
            let turns = state.places.iter().map(|place| place.turn);
            let turn = turns.fold(state.first_turn, u32::max);
            session.give_back(state.slot, turn);
        }
        true
    }
}

impl<R> State<R> {
    fn begin(&mut self, session: &Arc<Session>, given: Given) {
        self.session = session.number;
        self.at = Arc::downgrade(session);
        self.positional = false;
        self.slot = given.slot;
        self.first_turn = given.turn;
        let free = |place: &&mut Place<R>| matches!(place.ask, Ask::None);
        for place in self.places.iter_mut().filter(free) {
            place.turn = place.turn.max(given.turn);
        }
    }

    fn place(&mut self, ticket: Ticket) -> Option<&mut Place<R>> {
        // Not by the slot: that is another one after the session has ended, and turns are never the same.
        let (_, turn, place) = parts(ticket);
        let place = self.places.get_mut(usize::from(place))?;
        (place.turn == turn && !matches!(place.ask, Ask::None)).then_some(place)
    }

    fn vacate(&mut self, ticket: Ticket) {
        let (_, _, number) = parts(ticket);
        if let Some(place) = self.places.get_mut(usize::from(number)) {
            place.ask = Ask::None;
            let next = (place.turn + 1) & ((1 << TURN_BITS) - 1);
            place.turn = next.max(self.first_turn);
            self.free.push(number);
        }
    }

    /// Ends an ask that waits.
    fn finish(&mut self, ticket: Ticket) -> Option<Responder<R>> {
        let place = self.place(ticket)?;
        match std::mem::replace(&mut place.ask, Ask::None) {
            Ask::Waits { responder, .. } => {
                self.vacate(ticket);
                Some(responder)
            }
            other => {
                place.ask = other;
                None
            }
        }
    }
}

fn ticket(slot: u32, turn: u32, place: u16) -> Ticket {
    (u64::from(slot) << (TURN_BITS + PLACE_BITS))
        | (u64::from(turn) << PLACE_BITS)
        | u64::from(place)
}

fn parts(ticket: Ticket) -> (u32, u32, u16) {
    let low = |bits: u64, width: u32| u32::try_from(bits & ((1 << width) - 1)).unwrap_or(0);
    (
        slot_of(ticket),
        low(ticket >> PLACE_BITS, TURN_BITS),
        u16::try_from(ticket & 0xFFFF).unwrap_or(0),
    )
}

/// Whose ticket it is.
pub(crate) fn slot_of(ticket: Ticket) -> u32 {
    u32::try_from(ticket >> (TURN_BITS + PLACE_BITS)).unwrap_or(u32::MAX)
}

impl<M: WireMessage> Withdrawals for Caller<M> {
    fn withdrawn(&self, ticket: Ticket) {
        let session = self.state.lock().at.upgrade();
        let Some(left) = self.withdraw(ticket) else {
            return;
        };
        // Of an earlier one it would have ended with that.
        let Some(session) = session else { return };
        session.peer.counters.withdrawn();
        // Before somebody gets its place: the other side counts by what it hears.
        if left {
            session.say(Kind::Cancel, ticket);
        }
        session.outbox.ask_ended();
    }
}

impl<M: WireMessage> Waits for Caller<M> {
    fn left(&self, ticket: Ticket) -> Leaves {
        let mut state = self.state.lock();
        let Some(place) = state.place(ticket) else {
            return Leaves::Ended;
        };
        let ask = std::mem::replace(&mut place.ask, Ask::Out { left: true });
        let Ask::Waits { mut responder, .. } = ask else {
            // Its asker has gone.
            place.ask = ask;
            return Leaves::Ended;
        };
        drop(state);
        let wanted = responder.progress(Verdict::MaybeExecuted);
        let mut state = self.state.lock();
        let Some(place) = state.place(ticket) else {
            return Leaves::Ended;
        };
        match std::mem::replace(&mut place.ask, Ask::None) {
            Ask::Out { .. } if wanted => {
                let left = true;
                place.ask = Ask::Waits { responder, left };
                Leaves::Yes
            }
            // The session ended, or the asker went, while the responder was out.
            Ask::Ended(failure) => {
                state.vacate(ticket);
                drop(state);
                if let Some(failure) = failure {
                    responder.fail(failure);
                }
                Leaves::Ended
            }
            // Its hook is about to be called, and will find nothing.
            _ => {
                state.vacate(ticket);
                Leaves::EndsHere
            }
        }
    }

    fn reply(&self, session: &Session, ticket: Ticket, flags: u8, payload: &[u8]) -> bool {
        let Some(responder) = self.take_back(ticket) else {
            return false;
        };
        let counters = &session.peer.counters;
        let unpacked;
        let mut payload = payload;
        if flags & PACKED != 0 {
            match session.unpack(payload) {
                Ok(plain) => {
                    unpacked = plain;
                    payload = &unpacked;
                }
                Err(failure) => {
                    counters.failed(FailureKind::BadPayload);
                    responder.fail(failure.with_verdict(Verdict::Executed));
                    return true;
                }
            }
        }
        // A hand-written `Deserialize` may panic.
        let take = || arriving(session.number, || codec::take::<M::Reply>(payload));
        match catch_unwind(AssertUnwindSafe(take)) {
            Ok(Ok(reply)) => {
                counters.replies();
                responder.send(reply);
            }
            undecodable => {
                counters.failed(FailureKind::BadPayload);
                let why = match undecodable {
                    Ok(Err(error)) => error.to_string(),
                    _ => "decoding it panicked".to_owned(),
                };
                let failure = Failure::new(FailureKind::BadPayload, Verdict::Executed);
                responder.fail(failure.with_detail(format!("the reply to {}: {why}", M::NAME)));
            }
        }
        true
    }

    fn fail(&self, session: &Session, ticket: Ticket, failure: Failure) -> bool {
        let Some(responder) = self.take_back(ticket) else {
            return false;
        };
        session.peer.counters.failed(failure.kind());
        responder.fail(failure);
        true
    }

    fn end(&self, session: u64, detail: &str) {
        let mut state = self.state.lock();
        if state.session != session {
            return;
        }
        state.session = 0;
        self.note(&state);
        let failure = |left: bool| {
            let failure = if left {
                Failure::new(FailureKind::ConnectionLost, Verdict::MaybeExecuted)
            } else {
                Failure::new(FailureKind::NoConnection, Verdict::NotSent)
            };
            failure.with_detail(detail.to_owned())
        };
        let mut ended = Vec::new();
        let slot = state.slot;
        for number in 0..state.places.len() {
            let Ok(number) = u16::try_from(number) else {
                break;
            };
            let place = &mut state.places[usize::from(number)];
            match std::mem::replace(&mut place.ask, Ask::None) {
                Ask::None => {}
                Ask::Waits { responder, left } => {
                    ended.push((responder, failure(left)));
                    let ticket = ticket(slot, place.turn, number);
                    state.vacate(ticket);
                }
                Ask::Out { left } => place.ask = Ask::Ended(Some(failure(left))),
                already => place.ask = already,
            }
        }
        drop(state);
        let core = self.core.upgrade();
        for (responder, failure) in ended {
            if let Some(core) = &core {
                core.counters.failed(failure.kind());
            }
            responder.fail(failure);
        }
    }

    fn positional(&self, session: u64) {
        let mut state = self.state.lock();
        if state.session == session {
            state.positional = true;
            self.note(&state);
        }
    }

    fn target(&self) -> (&str, &'static str) {
        (&self.name, std::any::type_name::<M>())
    }
}

/// Of a message and of its reply; 0 where it is unknown.
pub(crate) fn schemas<M: WireMessage>() -> (u64, u64) {
    let number = |schema: Option<Schema>| schema.map_or(0, Schema::as_u64);
    (number(M::schema()), number(codec::schema::<M::Reply>()))
}
