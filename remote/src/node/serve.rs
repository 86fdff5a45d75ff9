//! One connection of a node: handshake, then requests in and answers out.

use std::sync::Arc;
use std::task::Context;

use callboard::{DeadLetter, DropReason, Failure, FailureKind, Meta, Principal, Verdict};

use super::Core;
use super::in_flight::{Answer, InFlight, NotTaken, send_failure};
use super::topics::Pumps;
use crate::connection::outbox::Outbox;
use crate::connection::shake::{shake, turn_away};
use crate::connection::{Connection, Side};
use crate::error::{LinkError, LinkErrorKind};
use crate::transport::ByteStream;
use crate::wire::WireError;
use crate::wire::body::{Request, Subscribe, decode_nothing};
use crate::wire::frame::{Frame, Kind};
use crate::wire::handshake::Hello;

/// Serves a stream to its end, and says what that was.
pub(crate) async fn serve<S: ByteStream>(
    core: &Arc<Core>,
    stream: S,
    through: &str,
    principal: Option<Principal>,
) -> LinkError {
    let ended = attempt(core, stream, through, principal).await;
    let error = LinkError::new(through, ended);
    tracing::debug!(target: "callboard::remote", node = %core.name, %error, "a connection ended");
    error
}

/// Tells a peer why it isn't let in.
pub(crate) async fn refuse<S: ByteStream>(
    core: &Core,
    mut stream: S,
    why: String,
) -> LinkErrorKind {
    core.counters.handshake_failures();
    turn_away(&mut stream, &why, core.system.clock(), &core.config).await;
    LinkErrorKind::RefusedHere(why)
}

async fn attempt<S: ByteStream>(
    core: &Arc<Core>,
    mut stream: S,
    through: &str,
    principal: Option<Principal>,
) -> LinkErrorKind {
    let slot = match core.admit(through, principal.as_ref()) {
        Ok(slot) => slot,
        Err(why) => return refuse(core, stream, why).await,
    };
    let ours = Hello::ours(&core.name, core.incarnation, core.config.frame_limit());
    let theirs = match shake(&mut stream, &ours, core.system.clock(), &core.config).await {
        Ok(theirs) => theirs,
        Err(why) => {
            core.counters.handshake_failures();
            return why;
        }
    };
    slot.introduce(&theirs.node);
    core.counters.connects();
    let outbox = Arc::new(Outbox::new(&core.config, Arc::clone(&slot.end), |_| ()));
    let mut side = AnsweringSide {
        core,
        outbox: Arc::clone(&outbox),
        in_flight: Arc::default(),
        principal,
        max_frame: theirs.max_frame,
        pumps: Pumps::new(theirs.max_frame),
    };
    let connection = Connection {
        system: &core.system,
        config: &core.config,
        outbox: &outbox,
        end: &slot.end,
        traffic: &core.counters.traffic,
    };
    let why = connection.run(stream, &mut side).await;
    core.counters.disconnects();
    why
}

struct AnsweringSide<'a> {
    core: &'a Arc<Core>,
    outbox: Arc<Outbox>,
    in_flight: Arc<InFlight>,
    principal: Option<Principal>,
    /// The largest body that the peer takes.
    max_frame: u32,
    pumps: Pumps,
}

impl Drop for AnsweringSide<'_> {
    /// Also when the task is dropped with its arbiter: nobody waits for these answers any more.
    fn drop(&mut self) {
        drop(self.outbox.close());
        self.in_flight.withdraw_all();
    }
}

impl Side for AnsweringSide<'_> {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), WireError> {
        match frame.kind {
            Kind::Ask => self.ask(frame),
            Kind::Tell => {
                let request = Request::decode(frame.kind, frame.flags, frame.body)?;
                self.tell(&request);
                Ok(())
            }
            Kind::Cancel => {
                decode_nothing(frame.kind, frame.body)?;
                if self.in_flight.withdraw(frame.correlation) {
                    self.core.counters.withdrawn();
                }
                Ok(())
            }
            Kind::Subscribe => {
                let most = self.core.config.subscriber_buffer;
                let subscribe = Subscribe::decode(frame.flags, frame.body, most)?;
                self.pumps
                    .subscribe(self.core, &self.outbox, frame.correlation, &subscribe)
            }
            Kind::Unsubscribe => {
                decode_nothing(frame.kind, frame.body)?;
                self.pumps.unsubscribe(frame.correlation);
                Ok(())
            }
            other => Err(WireError::Unexpected(other.text())),
        }
    }

    fn poll_work(&mut self, cx: &mut Context<'_>) {
        self.pumps.poll(cx);
    }
}

impl AnsweringSide<'_> {
    fn ask(&self, frame: &Frame<'_>) -> Result<(), WireError> {
        let request = Request::decode(frame.kind, frame.flags, frame.body)?;
        self.core.counters.asks();
        let number = frame.correlation;
        match self.in_flight.begin(number, self.core.config.in_flight) {
            Ok(()) => {}
            Err(NotTaken::Repeated) => {
                return Err(WireError::BadField {
                    frame: frame.kind.text(),
                    field: "correlation",
                });
            }
            Err(NotTaken::Full) => {
                let failure = Failure::new(FailureKind::Full, Verdict::NotExecuted)
                    .with_detail("too many unanswered asks on this connection");
                self.core.counters.failed(failure.kind());
                send_failure(&self.outbox, number, self.max_frame, &failure);
                return Ok(());
            }
        }
        let mut answer = Answer {
            core: Arc::clone(self.core),
            outbox: Arc::clone(&self.outbox),
            in_flight: Arc::clone(&self.in_flight),
            name: Arc::from(""),
            number,
            max_frame: self.max_frame,
        };
        let found = self
            .core
            .exposed
            .actors
            .find(request.name, request.type_name, request.version);
        match found {
            Err(failure) => answer.fail(&failure),
            Ok((name, dispatch)) => {
                answer.name = name;
                let meta = self.meta(&request);
                if let Err((answer, failure)) = dispatch.ask(request.payload, meta, answer) {
                    answer.fail(&failure);
                }
            }
        }
        Ok(())
    }

    fn tell(&self, request: &Request<'_>) {
        self.core.counters.tells();
        let found = self
            .core
            .exposed
            .actors
            .find(request.name, request.type_name, request.version);
        let told =
            found.and_then(|(_, dispatch)| dispatch.tell(request.payload, self.meta(request)));
        if let Err(failure) = told {
            self.bury(request, &failure);
        }
    }

    /// A tell that nobody here understands (G34).
    fn bury(&self, request: &Request<'_>, failure: &Failure) {
        self.core.counters.failed(failure.kind());
        let system = &self.core.system;
        let reason = match failure.kind() {
            FailureKind::UnknownName => DropReason::UnknownName,
            FailureKind::UnknownType => DropReason::UnknownType,
            FailureKind::WrongVersion => DropReason::WrongVersion,
            FailureKind::BadPayload => DropReason::BadPayload,
            _ => DropReason::Undelivered,
        };
        system.dead_letters().push(DeadLetter {
            at: system.clock().now(),
            target: format!(
                "{} ({} v{})",
                request.name, request.type_name, request.version
            ),
            message_type: "an encoded message",
            reason,
            key: request.key,
            attempts: Vec::new(),
            message: Box::new(request.payload.to_vec()),
        });
    }

    fn meta(&self, request: &Request<'_>) -> Meta {
        let now = self.core.system.clock().now();
        let mut meta = Meta::default();
        meta.deadline = request.remaining.map(|span| now + span);
        if let Some(key) = request.key {
            meta.set_key(key);
        }
        meta.set_attempt(request.attempt);
        if request.caller_retries {
            meta.set_caller_retries();
        }
        if let Some(principal) = &self.principal {
            meta.set_principal(principal.clone());
        }
        meta
    }
}
