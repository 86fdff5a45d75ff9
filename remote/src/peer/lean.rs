//! The short way of a message that has nothing beside it: where there is a session with room, and nothing to think
//! about. All else goes the long way, by [`RemoteRoute::send`](callboard::Route::send).

use std::sync::Arc;

use bytes::Bytes;
use callboard::{
    AskTerms, Asked, DEFAULT_REMOTE_DEADLINE, Responder, TraceParent, Verdict, WireMessage,
};

use super::caller::Slot;
use super::route::RemoteRoute;
use crate::session::Session;
use crate::session::outbox::Small;
use crate::session::scratch::{self, UNCOPIED, shape};
use crate::wire::body::{CALLER_RETRIES, REMAINING, TIMED};
use crate::wire::frame::Kind;

impl<M: WireMessage> RemoteRoute<M> {
    /// Puts a tell into the outbox, or gives it back.
    pub(super) fn tell_now(&self, message: M) -> Result<(), M> {
        if TraceParent::current().is_some() {
            return Err(message);
        }
        let session = self.core().session_now();
        let Some(session) = &*session else {
            return Err(message);
        };
        let Some(slot) = self.caller.slot_now(session) else {
            return Err(message);
        };
        let number = slot.number.to_be_bytes();
        let push = |payload: &[u8], flags| {
            let tell = Small {
                slot: slot.number,
                body: [&number, payload],
                kind: Kind::Tell,
                flags,
                number: 0,
                deadline: None,
            };
            session.outbox.push_small(&tell).is_ok()
        };
        let is_in = match message.as_raw() {
            Some(bytes) => fits(bytes, session) && push(bytes, 0),
            None => scratch::with(|payload| {
                let flags = put(&message, slot, session, payload);
                flags.is_some_and(|flags| push(payload, flags))
            }),
        };
        if !is_in {
            return Err(message);
        }
        self.core().counters.tells();
        Ok(())
    }

    /// Puts an ask into the outbox, if it leaves at once; or gives it back.
    pub(super) fn ask_now(&self, message: M, terms: AskTerms) -> Asked<M> {
        if TraceParent::current().is_some() {
            return Asked::NotYet(message);
        }
        let session = self.core().session_now();
        let Some(session) = &*session else {
            return Asked::NotYet(message);
        };
        let Some(slot) = self.caller.slot_now(session) else {
            return Asked::NotYet(message);
        };
        // Who gives up before it leaves is sure of that: a matter for the long way.
        if !session.outbox.is_flowing() {
            return Asked::NotYet(message);
        }
        let clock = session.system.clock();
        let (deadline, retries) = terms.resolve(clock, DEFAULT_REMOTE_DEADLINE);
        if clock.has_passed(deadline) {
            return Asked::NotYet(message);
        }
        // What is left of its time is written when it leaves.
        let mut beside = [0; REMAINING.end];
        beside[..REMAINING.start].copy_from_slice(&slot.number.to_be_bytes());
        let push = |payload: &[u8], flags| {
            let mut waits = None;
            let reserved = self.caller.reserve_told(session.number, |ticket| {
                let told = Arc::clone(&self.caller) as _;
                let (responder, slot) = Responder::slot_of(Verdict::MaybeExecuted, told, ticket);
                waits = Some(slot);
                responder
            });
            let ticket = reserved.ok()?;
            let small = Small {
                slot: slot.number,
                body: [&beside, payload],
                kind: Kind::Ask,
                flags: flags | TIMED | if retries { CALLER_RETRIES } else { 0 },
                number: ticket,
                deadline: Some(deadline),
            };
            if session.outbox.push_small(&small).is_err() {
                // Nothing of it has left: it begins again.
                if self.caller.take_back(ticket).is_none() {
                    // Somebody ended it, who counted it as ended.
                    session.outbox.never_asked();
                }
                return None;
            }
            waits
        };
        let waits = match message.as_raw() {
            Some(bytes) => fits(bytes, session).then(|| push(bytes, 0)).flatten(),
            None => scratch::with(|payload| {
                let flags = put(&message, slot, session, payload);
                flags.and_then(|flags| push(payload, flags))
            }),
        };
        let Some(slot_of_reply) = waits else {
            return Asked::NotYet(message);
        };
        self.core().counters.asks();
        Asked::Waits(slot_of_reply, deadline)
    }
}

/// Whether bytes travel as they are, and in one piece with what stands before them.
fn fits(bytes: &Bytes, session: &Session) -> bool {
    bytes.len() < UNCOPIED && !session.packs(bytes.len()) && has_room(bytes.len(), session)
}

/// Appends what travels of a message, compressed if that helps: the flags that say so. Nothing if it is one for the
/// long way.
fn put<M: WireMessage>(
    message: &M,
    slot: Slot,
    session: &Session,
    payload: &mut Vec<u8>,
) -> Option<u8> {
    message.put(payload, shape(slot.positional)).ok()?;
    has_room(payload.len(), session).then(|| session.pack_from(payload, 0))
}

fn has_room(len: usize, session: &Session) -> bool {
    REMAINING.end + len <= session.theirs.max_message as usize
}
