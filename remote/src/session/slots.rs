//! A slot: one name and message type that the other side addresses by a number.

use std::sync::Arc;

use callboard::codec::Schema;
use callboard::{DeadLetter, DropReason, Failure, FailureKind, Meta, TraceParent, Verdict};
use parking_lot::Mutex;

use super::Session;
use super::in_flight::{Answer, Answers, Standing};
use super::inbox::{Arrival, Behind};
use super::scratch::UNCOPIED;
use crate::node::{self, Dispatch, Held, Payload};
use crate::rights::{Decision, is_reserved};
use crate::wire::body::{Open, Request};
use crate::wire::frame::Kind;

/// See the module.
pub(super) struct Slot {
    name: Arc<str>,
    type_name: String,
    version: u32,
    schemas: (u64, u64),
    /// Payloads may be arrays.
    positional: bool,
    found: Option<Found>,
    answers: Option<Arc<Answers>>,
    /// What the other side may do with that name.
    decision: Decision,
    /// What the other side calls it.
    pub(super) number: usize,
    /// Which line its messages stand in.
    pub(super) line: usize,
    /// How many of them do.
    pub(super) waiting: usize,
    /// Its number stands for it.
    pub(super) is_open: bool,
}

/// Messages of all types to one name: in order, whatever their slot (G2).
pub(super) struct Line {
    pub(super) name: Arc<str>,
    /// How many slots lead here.
    pub(super) slots: usize,
    /// Slot and length of the message that waits for room, if one does.
    pub(super) held: Option<(usize, usize)>,
    /// Those behind it.
    pub(super) behind: Behind,
}

impl Line {
    pub(super) fn of(name: Arc<str>) -> Self {
        Line {
            name,
            slots: 0,
            held: None,
            behind: Behind::new(),
        }
    }
}

/// What it leads to, as long as nothing else is exposed.
struct Found {
    generation: u64,
    dispatch: Arc<dyn Dispatch>,
}

impl Slot {
    pub(super) fn new(open: &Open<'_>, number: usize, line: usize) -> Self {
        Slot {
            name: Arc::from(open.name),
            type_name: open.type_name.to_owned(),
            version: open.version,
            schemas: open.schemas,
            positional: false,
            found: None,
            answers: None,
            decision: Decision::default(),
            number,
            line,
            waiting: 0,
            is_open: true,
        }
    }

    #[cfg(test)]
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether payloads may be positional: both sides know the shape of both types, and it is the same.
    ///
    /// Who has no right hears what it would hear if there were no such name.
    pub(super) fn agree(&mut self, session: &Session) -> bool {
        let may = |node: &node::Core| {
            let gate = &node.gate;
            gate.may(&session.subject, &self.type_name, &self.name)
        };
        if !session.node().is_some_and(|node| may(node)) {
            return false;
        }
        let ours = self.find(session).map(|found| found.dispatch.schemas());
        self.positional = ours.is_ok_and(|ours| ours == self.schemas && ours.0 != 0 && ours.1 != 0);
        self.positional
    }

    fn find(&mut self, session: &Session) -> Result<&Found, Failure> {
        let Some(node) = session.node() else {
            let failure = Failure::new(FailureKind::UnknownName, Verdict::NotExecuted);
            return Err(failure.with_detail(&*self.name));
        };
        // First: whether there is such a name is nobody's business who may not use it (G34).
        let decision = &mut self.decision;
        node.gate
            .check(decision, &session.subject, &self.type_name, &self.name)?;
        let generation = node.exposed.generation();
        let is_known = |found: &Found| found.generation == generation;
        if !self.found.as_ref().is_some_and(is_known) {
            self.found = None;
            self.look_up(node, generation)?;
        }
        let gone = || Failure::new(FailureKind::UnknownName, Verdict::NotExecuted);
        self.found.as_ref().ok_or_else(gone)
    }

    #[cold]
    fn look_up(&mut self, node: &node::Core, generation: u64) -> Result<(), Failure> {
        let (name, dispatch) =
            node.exposed
                .actors
                .find(&self.name, &self.type_name, self.version)?;
        self.name = name;
        let raw = Schema::RAW.as_u64();
        if (self.schemas.0 == raw) != (dispatch.schemas().0 == raw) {
            let failure = Failure::new(FailureKind::WrongVersion, Verdict::NotExecuted);
            let detail = format!("{} is bytes as they are on one side only", self.type_name);
            return Err(failure.with_detail(detail));
        }
        if self.positional && dispatch.schemas() != self.schemas {
            // It is another type now, of the same name and version.
            let failure = Failure::new(FailureKind::WrongVersion, Verdict::NotExecuted);
            return Err(failure.with_detail(format!("{} is of another build now", self.name)));
        }
        self.found = Some(Found {
            generation,
            dispatch,
        });
        Ok(())
    }

    /// Hands a request on: `None` if it has gone its way, else what to wait for.
    pub(super) fn deliver(
        &mut self,
        session: &Arc<Session>,
        arrival: &Arrival,
        request: &Request,
        payload: &Payload<'_>,
    ) -> Option<Held> {
        let node = session.node();
        let is_ask = arrival.kind == Kind::Ask;
        if let Some(node) = &node {
            if is_ask {
                node.counters.asks();
            } else {
                node.counters.tells();
            }
        }
        let answer = is_ask.then(|| self.answer(session, arrival));
        let is_raw = self.schemas.0 == Schema::RAW.as_u64();
        let delivered = self.find(session).and_then(|found| {
            let payload = if arrival.is_packed {
                Payload::Kept(session.unpack(payload)?.into())
            } else {
                match payload {
                    Payload::Passing(bytes) if is_raw && bytes.len() >= UNCOPIED => {
                        Payload::Kept(session.buffers.copy_of(bytes))
                    }
                    _ => payload.clone(),
                }
            };
            let meta = meta(session, arrival, request);
            match answer {
                Some(answer) => found.dispatch.ask(payload, meta, answer),
                None => found.dispatch.tell(payload, meta, session.number),
            }
        });
        match delivered {
            Ok(held) => held,
            Err(failure) => {
                if is_ask {
                    self.answer(session, arrival).fail(&failure);
                } else {
                    let node = node.map(|node| &**node);
                    self.bury(session, node, request, payload, &failure);
                }
                None
            }
        }
    }

    fn answer(&mut self, session: &Arc<Session>, arrival: &Arrival) -> Answer {
        let answers = self.answers.get_or_insert_with(|| {
            Arc::new(Answers {
                session: Arc::clone(session),
                name: Arc::clone(&self.name),
                positional: self.positional,
                // All others are in a mailbox at once.
                standing: is_reserved(&self.type_name).then(|| Standing {
                    type_name: self.type_name.clone(),
                    decision: Mutex::new(self.decision),
                }),
            })
        });
        Answer {
            answers: Arc::clone(answers),
            number: arrival.number,
        }
    }

    /// A tell that nobody here understands (G34).
    fn bury(
        &self,
        session: &Session,
        node: Option<&node::Core>,
        request: &Request,
        payload: &[u8],
        failure: &Failure,
    ) {
        if let Some(node) = node {
            node.counters.failed(failure.kind());
        }
        let letter = self.letter(session, request, payload, failure);
        session.system.dead_letters().push(letter);
    }

    /// A tell that reaches nobody.
    pub(super) fn letter(
        &self,
        session: &Session,
        request: &Request,
        payload: &[u8],
        failure: &Failure,
    ) -> DeadLetter {
        let reason = match failure.kind() {
            FailureKind::UnknownName => DropReason::UnknownName,
            FailureKind::UnknownType => DropReason::UnknownType,
            FailureKind::WrongVersion => DropReason::WrongVersion,
            FailureKind::BadPayload => DropReason::BadPayload,
            FailureKind::NotAuthorised => DropReason::NotAuthorised,
            _ => DropReason::Undelivered,
        };
        DeadLetter {
            at: session.system.clock().now(),
            target: format!("{} ({} v{})", self.name, self.type_name, self.version),
            message_type: "an encoded message",
            reason,
            key: request.key,
            attempts: Vec::new(),
            message: Box::new(payload.to_vec()),
        }
    }
}

fn meta(session: &Session, arrival: &Arrival, request: &Request) -> Meta {
    let mut meta = session.origin.clone();
    meta.deadline = request.remaining.map(|span| arrival.at + span);
    if let Some(key) = request.key {
        meta.set_key(key);
    }
    meta.set_attempt(request.attempt);
    if request.caller_retries {
        meta.set_caller_retries();
    }
    if let Some(trace) = request.trace.and_then(TraceParent::from_bytes) {
        meta.set_trace_parent(trace);
    }
    meta
}
