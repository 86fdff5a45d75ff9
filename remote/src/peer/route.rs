//! The route to an exposed name in another process.

use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use callboard::clock::Instant;
use callboard::{
    ActorId, AskTerms, Asked, Boundary, Envelope, Failure, FailureKind, Meta, OnEnd, OnLife,
    Refused, Responder, Route, System, TraceParent, Verdict, Watch, WatchHandle, WeakRoute,
    WireMessage,
};
use futures::future::BoxFuture;

use super::caller::{Caller, NoPlace, Slot, Stored};
use super::callers::Handle;
use super::watches::{OnNews, Target};
use super::{Core, Owner};
use crate::session::Session;
use crate::session::outbox::{Letter, NoRoom, Ticket};
use crate::session::scratch::{self, Raw, finish_frame, put_large, shape};
use crate::wire::WireError;
use crate::wire::body::{PACKED, Request};
use crate::wire::frame::{HEADER, Kind};

pub(crate) struct RemoteRoute<M: WireMessage> {
    owner: Arc<Owner>,
    id: ActorId,
    pub(super) caller: Handle<M>,
}

/// Finds the way to an exposed name again without keeping the link open.
struct WeakRemoteRoute<M: WireMessage> {
    owner: Weak<Owner>,
    id: ActorId,
    caller: Handle<M>,
}

impl<M: WireMessage> WeakRoute<M> for WeakRemoteRoute<M> {
    /// Nothing once the link is closed for good, or nobody holds it any more, which closes it.
    fn upgrade(&self) -> Option<Arc<dyn Route<M>>> {
        let owner = self.owner.upgrade()?;
        if owner.core.is_closed() {
            return None;
        }
        Some(Arc::new(RemoteRoute {
            owner,
            id: self.id,
            caller: self.caller.clone(),
        }))
    }
}

/// A message ready to be queued, and what is needed to give it back.
struct Prepared<M: WireMessage> {
    session: Arc<Session>,
    letter: Letter,
    message: M,
    meta: Meta,
    ask: Option<Reserved<M>>,
}

/// An ask that is prepared, until it is put into the outbox. Dropped before, it never was.
struct Reserved<M: WireMessage> {
    caller: Arc<Caller<M>>,
    session: Arc<Session>,
    ticket: Ticket,
    is_pushed: bool,
}

impl<M: WireMessage> Reserved<M> {
    /// It won't be put in: its responder, if the asker is still there.
    fn give_back(&mut self) -> Option<Responder<M::Reply>> {
        if std::mem::replace(&mut self.is_pushed, true) {
            return None;
        }
        let responder = self.caller.take_back(self.ticket);
        if responder.is_none() {
            // Its withdrawal counted it as ended.
            self.session.outbox.never_asked();
        }
        responder
    }
}

impl<M: WireMessage> Drop for Reserved<M> {
    fn drop(&mut self) {
        drop(self.give_back());
    }
}

/// What came of preparing a message.
enum Preparation<M: WireMessage> {
    Ready(Prepared<M>),
    /// Its asker has gone already.
    Unwanted,
}

impl<M: WireMessage> Prepared<M> {
    /// The message as it was, and why it comes back.
    fn refused(self, failure: Failure, may_wait: bool) -> Refused<M> {
        let responder = self.ask.and_then(|mut ask| ask.give_back());
        Refused {
            envelope: Envelope {
                message: self.message,
                meta: self.meta,
                responder: responder.unwrap_or_else(Responder::nowhere),
            },
            failure,
            may_wait,
        }
    }
}

impl<M: WireMessage> RemoteRoute<M> {
    pub(crate) fn new(owner: Arc<Owner>, name: &str) -> Self {
        let (caller, id) = owner.core.callers.hold(&Arc::downgrade(&owner.core), name);
        RemoteRoute { owner, id, caller }
    }

    /// What is watched.
    fn target(&self) -> Target {
        Target {
            name: Arc::clone(self.caller.name()),
            type_name: M::NAME,
            version: M::VERSION,
            id: self.id,
            label: Arc::from(self.label()),
        }
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.owner.core
    }

    fn no_connection(&self) -> Failure {
        let why = self.core().last_error().to_string();
        Failure::new(FailureKind::NoConnection, Verdict::NotSent).with_detail(why)
    }

    fn refuse(&self, envelope: Envelope<M>, failure: Failure) -> Refused<M> {
        self.core().counters.failed(failure.kind());
        Refused::for_good(envelope, failure)
    }

    /// Encodes a message for the session there is now. One that may have to wait is told later that it leaves, when it
    /// does.
    fn prepare(&self, envelope: Envelope<M>, may_wait: bool) -> Result<Preparation<M>, Refused<M>> {
        let Some(session) = self.core().session() else {
            return Err(self.refuse(envelope, self.no_connection()));
        };
        let Some(slot) = self.caller.slot(&session) else {
            let failure = Failure::new(FailureKind::Full, Verdict::NotSent)
                .with_detail("the session addresses as many names and types as it can");
            return Err(self.refuse(envelope, failure));
        };
        let is_ask = envelope.responder.expects_answer();
        let mut frame = scratch::take();
        let encoded = encode(&session, slot, &envelope, &mut frame);
        let (flags, rest) = match encoded {
            Ok(encoded) => encoded,
            Err(failure) => return Err(self.refuse(envelope, failure)),
        };
        let Envelope {
            message,
            meta,
            mut responder,
        } = envelope;
        let mut letter = Letter {
            slot: slot.number,
            frame,
            rest,
            deadline: meta.deadline,
            asked: None,
            is_told: false,
        };
        if !is_ask {
            finish_frame(&mut letter.frame, letter.rest.len(), Kind::Tell, flags, 0);
            return Ok(Preparation::Ready(Prepared {
                session,
                letter,
                message,
                meta,
                ask: None,
            }));
        }
        let ticket = match self.caller.reserve(session.number) {
            Ok(ticket) => ticket,
            Err(why) => {
                let failure = match why {
                    NoPlace::Ended => self.no_connection(),
                    NoPlace::Full => Failure::new(FailureKind::Full, Verdict::NotSent).with_detail(
                        format!("too many unanswered asks of {}", self.caller.name()),
                    ),
                };
                let envelope = Envelope {
                    message,
                    meta,
                    responder,
                };
                return Err(self.refuse(envelope, failure));
            }
        };
        finish_frame(
            &mut letter.frame,
            letter.rest.len(),
            Kind::Ask,
            flags,
            ticket,
        );
        // Until its frame leaves, who gives up may be sure; if it leaves at once, that is now.
        let left = !may_wait && session.outbox.is_flowing();
        let reached = if left {
            Verdict::MaybeExecuted
        } else {
            Verdict::NotSent
        };
        responder.progress(reached);
        responder.on_withdraw_shared(Arc::clone(&self.caller) as _, ticket);
        match self.caller.store(ticket, responder, left) {
            Stored::Kept => {}
            Stored::Withdrawn(gone) => {
                drop(gone);
                // Its withdrawal counted it as ended.
                session.outbox.never_asked();
                return Ok(Preparation::Unwanted);
            }
            // No byte of it has left.
            Stored::Ended(responder, failure) => {
                let envelope = Envelope {
                    message,
                    meta,
                    responder,
                };
                return Err(self.refuse(envelope, failure));
            }
        }
        letter.asked = Some((Arc::clone(&self.caller) as _, ticket));
        letter.is_told = left;
        Ok(Preparation::Ready(Prepared {
            letter,
            message,
            meta,
            ask: Some(Reserved {
                caller: Arc::clone(&self.caller),
                session: Arc::clone(&session),
                ticket,
                is_pushed: false,
            }),
            session,
        }))
    }

    fn accepted(&self, prepared: &mut Prepared<M>) {
        scratch::give(std::mem::take(&mut prepared.letter.frame));
        if let Some(ask) = &mut prepared.ask {
            ask.is_pushed = true;
            self.core().counters.asks();
        } else {
            self.core().counters.tells();
        }
    }
}

/// Encodes all of a request but its header: the flags for that, and the end of the body, where that is not copied.
fn encode<M: WireMessage>(
    session: &Session,
    slot: Slot,
    envelope: &Envelope<M>,
    frame: &mut Vec<u8>,
) -> Result<(u8, Bytes), Failure> {
    let meta = &envelope.meta;
    let request = Request {
        slot: slot.number,
        // What it says is written when it leaves.
        remaining: meta.deadline.map(|_| Duration::ZERO),
        attempt: meta.attempt().max(1),
        key: meta.key(),
        caller_retries: meta.caller_retries(),
        trace: meta.trace_parent().map(TraceParent::to_bytes),
    };
    frame.resize(HEADER, 0);
    request.put(frame);
    let payload = frame.len();
    let max = session.theirs.max_message;
    let room = max.saturating_sub(u32::try_from(payload - HEADER).unwrap_or(0));
    match put_large(envelope.message.as_raw(), session, room, frame) {
        Some(Raw::Uncopied(rest)) => return Ok((request.flags(), rest)),
        Some(Raw::Packed) => return Ok((request.flags() | PACKED, Bytes::new())),
        None => {}
    }
    let put = envelope.message.put(frame, shape(slot.positional));
    put.map_err(|error| {
        Failure::new(FailureKind::BadPayload, Verdict::NotSent)
            .with_detail(format!("{} can't be encoded: {error}", M::NAME))
    })?;
    let len = frame.len() - HEADER;
    if len > max as usize {
        let len = len as u64;
        let error = WireError::FrameTooLarge { len, max };
        let failure = Failure::new(FailureKind::TooLarge, Verdict::NotSent);
        return Err(failure.with_detail(error.to_string()));
    }
    let flags = request.flags() | session.pack_from(frame, payload);
    Ok((flags, Bytes::new()))
}

impl<M: WireMessage> Watch for RemoteRoute<M> {
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        self.core().watch_there(self.target(), OnNews::End(on_end))
    }

    fn watch_life(&self, on_event: OnLife) -> WatchHandle {
        self.core()
            .watch_there(self.target(), OnNews::Life(on_event))
    }
}

impl<M: WireMessage> Route<M> for RemoteRoute<M> {
    fn id(&self) -> ActorId {
        self.id
    }

    fn label(&self) -> String {
        format!("{} at {}", self.caller.name(), self.core().address)
    }

    fn boundary(&self) -> Boundary {
        self.core().boundary
    }

    fn system(&self) -> &System {
        &self.core().system
    }

    fn send_lean(&self, message: M) -> Result<(), M> {
        self.tell_now(message)
    }

    fn ask_lean(&self, message: M, terms: AskTerms) -> Asked<M> {
        self.ask_now(message, terms)
    }

    fn send(&self, envelope: Envelope<M>) -> Result<(), Refused<M>> {
        let mut prepared = match self.prepare(envelope, false)? {
            Preparation::Ready(prepared) => prepared,
            Preparation::Unwanted => return Ok(()),
        };
        match prepared.session.outbox.push(&mut prepared.letter) {
            Ok(()) => {
                self.accepted(&mut prepared);
                Ok(())
            }
            Err(NoRoom::Closed) => {
                self.core().counters.failed(FailureKind::NoConnection);
                Err(prepared.refused(self.no_connection(), false))
            }
            Err(NoRoom::Full(why)) => {
                self.core().counters.failed(FailureKind::Full);
                let failure = Failure::new(FailureKind::Full, Verdict::NotSent).with_detail(
                    format!("{} at {}: {why}", self.caller.name(), self.core().address),
                );
                Err(prepared.refused(failure, true))
            }
        }
    }

    fn wait_for_room(&self, envelope: Envelope<M>) -> BoxFuture<'_, Result<(), Refused<M>>> {
        Box::pin(async move {
            let mut prepared = match self.prepare(envelope, true)? {
                Preparation::Ready(prepared) => prepared,
                Preparation::Unwanted => return Ok(()),
            };
            let session = Arc::clone(&prepared.session);
            let deadline = prepared.meta.deadline.unwrap_or(Instant::FAR);
            let mut due = self.core().system.clock().sleep_until(deadline);
            let pushed = {
                let mut push = pin!(session.outbox.push_waiting(&mut prepared.letter));
                std::future::poll_fn(|cx| match push.as_mut().poll(cx) {
                    Poll::Ready(pushed) => Poll::Ready(Some(pushed)),
                    Poll::Pending => Pin::new(&mut due).poll(cx).map(|()| None),
                })
                .await
            };
            match pushed {
                Some(true) => {
                    self.accepted(&mut prepared);
                    Ok(())
                }
                Some(false) => {
                    self.core().counters.failed(FailureKind::NoConnection);
                    Err(prepared.refused(self.no_connection(), false))
                }
                None => {
                    self.core().counters.failed(FailureKind::DeadlineExceeded);
                    let failure = Failure::new(FailureKind::DeadlineExceeded, Verdict::NotSent)
                        .with_detail(format!("waiting for room to {}", self.core().address));
                    Err(prepared.refused(failure, false))
                }
            }
        })
    }

    fn downgrade(&self) -> Option<Arc<dyn WeakRoute<M>>> {
        Some(Arc::new(WeakRemoteRoute {
            owner: Arc::downgrade(&self.owner),
            id: self.id,
            caller: self.caller.clone(),
        }))
    }
}
