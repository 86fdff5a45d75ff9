//! The route to an exposed name in another process.

use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::Poll;

use callboard::clock::Instant;
use callboard::{
    ActorId, Boundary, Envelope, Failure, FailureKind, Meta, OnEnd, Refused, Responder, Route,
    System, Verdict, Watch, WatchHandle, WeakRoute, WireMessage, codec,
};
use futures::future::BoxFuture;

use super::ask::WaitingAsk;
use super::link::Link;
use super::{Core, Owner};
use crate::connection::outbox::{Cargo, NoRoom, Queued};
use crate::wire::body::Request;
use crate::wire::frame::{Kind, put_frame};

pub(crate) struct RemoteRoute<M> {
    owner: Arc<Owner>,
    name: Arc<str>,
    id: ActorId,
    message: PhantomData<fn(M)>,
}

/// Finds the way to an exposed name again without keeping the link open.
struct WeakRemoteRoute<M> {
    owner: Weak<Owner>,
    name: Arc<str>,
    id: ActorId,
    message: PhantomData<fn(M)>,
}

impl<M: WireMessage> WeakRoute<M> for WeakRemoteRoute<M> {
    /// Nothing once the link is closed for good, or nobody holds it any more, which closes it.
    fn upgrade(&self) -> Option<Arc<dyn Route<M>>> {
        let owner = self.owner.upgrade()?;
        if owner.core.is_closed() {
            return None;
        }
        let name = Arc::clone(&self.name);
        Some(Arc::new(RemoteRoute::new(owner, name, self.id)))
    }
}

/// A message ready to be queued, and what is needed to give it back.
struct Prepared<M: WireMessage> {
    link: Arc<Link>,
    queued: Option<Queued>,
    message: M,
    meta: Meta,
    ask: Option<Arc<WaitingAsk<M>>>,
}

impl<M: WireMessage> Prepared<M> {
    /// The message as it was, and why it comes back.
    fn refused(self, failure: Failure, may_wait: bool) -> Refused<M> {
        let responder = self.ask.and_then(|ask| ask.take());
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
    pub(crate) fn new(owner: Arc<Owner>, name: Arc<str>, id: ActorId) -> Self {
        let message = PhantomData;
        RemoteRoute {
            owner,
            name,
            id,
            message,
        }
    }

    fn core(&self) -> &Arc<Core> {
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

    /// Encodes a message for the connection there is now.
    fn prepare(&self, envelope: Envelope<M>) -> Result<Prepared<M>, Refused<M>> {
        let Some(link) = self.core().link() else {
            return Err(self.refuse(envelope, self.no_connection()));
        };
        let payload = match codec::encode(&envelope.message) {
            Ok(payload) => payload,
            Err(error) => {
                let failure = Failure::new(FailureKind::BadPayload, Verdict::NotSent)
                    .with_detail(format!("{} can't be encoded: {error}", M::NAME));
                return Err(self.refuse(envelope, failure));
            }
        };
        let Envelope {
            message,
            meta,
            responder,
        } = envelope;
        let number = self.core().next_number();
        let request = Request {
            remaining: meta.remaining(self.core().system.clock()),
            attempt: meta.attempt().max(1),
            key: meta.key(),
            caller_retries: meta.caller_retries(),
            name: &self.name,
            type_name: M::NAME,
            version: M::VERSION,
            payload: &payload,
        };
        let expects_answer = responder.expects_answer();
        let kind = if expects_answer {
            Kind::Ask
        } else {
            Kind::Tell
        };
        let mut frame = Vec::new();
        let put = put_frame(
            &mut frame,
            kind,
            request.flags(),
            number,
            link.max_frame,
            |out| {
                request.put(out);
            },
        );
        if let Err(error) = put {
            let failure = Failure::new(FailureKind::TooLarge, Verdict::NotSent)
                .with_detail(error.to_string());
            let envelope = Envelope {
                message,
                meta,
                responder,
            };
            return Err(self.refuse(envelope, failure));
        }
        let (ask, cargo) = if expects_answer {
            let ask = Arc::new(self.waiting(&link, number, responder));
            let cargo = Cargo::Ask(number, Arc::clone(&ask) as _);
            (Some(ask), cargo)
        } else {
            let cargo = Cargo::Tell {
                target: Arc::clone(&self.name),
                message_type: std::any::type_name::<M>(),
                key: meta.key(),
            };
            (None, cargo)
        };
        let queued = Some(Queued {
            frame,
            deadline: meta.deadline,
            cargo,
        });
        Ok(Prepared {
            link,
            queued,
            message,
            meta,
            ask,
        })
    }

    fn waiting(
        &self,
        link: &Arc<Link>,
        number: u64,
        mut responder: Responder<M::Reply>,
    ) -> WaitingAsk<M> {
        // Until its frame leaves, who gives up may be sure.
        responder.progress(Verdict::NotSent);
        let (core, at) = (Arc::downgrade(self.core()), Arc::downgrade(link));
        responder.on_withdraw(move || {
            if let Some(core) = core.upgrade() {
                core.counters.withdrawn();
            }
            if let Some(link) = at.upgrade() {
                link.outbox.withdraw(number);
            }
        });
        WaitingAsk::new(Arc::clone(self.core()), responder)
    }

    fn accepted(&self, prepared: &Prepared<M>) {
        if prepared.ask.is_some() {
            self.core().counters.asks();
        } else {
            self.core().counters.tells();
        }
    }
}

impl<M> Watch for RemoteRoute<M> {
    /// Fires when the link is closed for good. That the actor over there ended is not noticed yet.
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        self.owner
            .core
            .watch(self.id, self.name.to_string(), on_end)
    }
}

impl<M: WireMessage> Route<M> for RemoteRoute<M> {
    fn id(&self) -> ActorId {
        self.id
    }

    fn label(&self) -> String {
        format!("{} at {}", self.name, self.core().address)
    }

    fn boundary(&self) -> Boundary {
        self.core().boundary
    }

    fn system(&self) -> &System {
        &self.core().system
    }

    fn send(&self, envelope: Envelope<M>) -> Result<(), Refused<M>> {
        let mut prepared = self.prepare(envelope)?;
        match prepared.link.outbox.push(&mut prepared.queued) {
            Ok(()) => {
                self.accepted(&prepared);
                Ok(())
            }
            Err(NoRoom::Closed) => {
                self.core().counters.failed(FailureKind::NoConnection);
                Err(prepared.refused(self.no_connection(), false))
            }
            Err(NoRoom::Full) => {
                self.core().counters.failed(FailureKind::Full);
                let failure = Failure::new(FailureKind::Full, Verdict::NotSent)
                    .with_detail(format!("the outbox to {}", self.core().address));
                Err(prepared.refused(failure, true))
            }
        }
    }

    fn wait_for_room(&self, envelope: Envelope<M>) -> BoxFuture<'_, Result<(), Refused<M>>> {
        Box::pin(async move {
            let mut prepared = self.prepare(envelope)?;
            let link = Arc::clone(&prepared.link);
            let deadline = prepared.meta.deadline.unwrap_or(Instant::FAR);
            let mut due = self.core().system.clock().sleep_until(deadline);
            let pushed = {
                let mut push = pin!(link.outbox.push_waiting(&mut prepared.queued));
                std::future::poll_fn(|cx| match push.as_mut().poll(cx) {
                    Poll::Ready(pushed) => Poll::Ready(Some(pushed)),
                    Poll::Pending => Pin::new(&mut due).poll(cx).map(|()| None),
                })
                .await
            };
            match pushed {
                Some(true) => {
                    self.accepted(&prepared);
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
            name: Arc::clone(&self.name),
            id: self.id,
            message: PhantomData,
        }))
    }
}
