//! Topics for subscribers in other processes: one pump for each subscription, polled by the session's
//! task.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use callboard::topic::{SubscriberOptions, Topic, TopicError, TopicEvent, TopicMessage};
use callboard::{Failure, FailureKind, Verdict, WireMessage, codec};
use futures::future::{AbortHandle, Abortable, Either, LocalBoxFuture, select};
use futures::stream::{FuturesUnordered, LocalBoxStream, StreamExt};
use parking_lot::Mutex;

use super::Core;
use crate::rights::{PlaceKind, Verb};
use crate::session::Session;
use crate::wire::body::{Event, OwnedSubscribe, put_gap};
use crate::wire::frame::{Kind, put_frame};

/// A topic whose type only it knows.
pub(crate) trait ServeTopic: Send + Sync {
    fn subscribe(
        &self,
        pattern: String,
        options: SubscriberOptions,
    ) -> LocalBoxFuture<'static, Result<Encoded, Failure>>;

    /// The topic itself, whose type who asks knows.
    fn topic(&self) -> Box<dyn Any>;
}

/// A subscription whose messages are encoded.
pub(crate) struct Encoded {
    since: u64,
    events: LocalBoxStream<'static, Outgoing>,
}

/// What goes to the peer.
enum Outgoing {
    Event(Arc<Body>),
    Gap { from: u64, to: u64 },
}

pub(crate) struct ToTopic<T: WireMessage + Sync> {
    topic: Topic<T>,
    once: Arc<Once>,
}

impl<T: WireMessage + Sync> ToTopic<T> {
    pub(crate) fn new(topic: &Topic<T>) -> Self {
        ToTopic {
            topic: topic.clone(),
            once: Arc::default(),
        }
    }
}

/// A message as it lies in frames.
struct Body {
    sequence: u64,
    subject: Box<str>,
    payload: Vec<u8>,
}

/// How many encoded messages a topic keeps at the most, and up to how many bytes of them (G3). Who is further behind
/// than this has its messages encoded for itself.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 1024 * 1024;

/// The last messages of a topic, encoded once for the subscribers of all sessions.
#[derive(Default)]
struct Once {
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    /// In the order of their numbers.
    slots: VecDeque<Arc<Slot>>,
    bytes: usize,
}

/// A message that is encoded by whoever comes first; the others wait for that long.
struct Slot {
    sequence: u64,
    body: OnceLock<Option<Arc<Body>>>,
}

impl Slot {
    fn bytes(&self) -> usize {
        let body = self.body.get().and_then(Option::as_ref);
        body.map_or(0, |body| body.payload.len())
    }
}

impl Ring {
    /// The place of a message. `None` for one that is too old to be kept.
    fn slot(&mut self, sequence: u64) -> Option<Arc<Slot>> {
        if self
            .slots
            .back()
            .is_none_or(|last| last.sequence < sequence)
        {
            let body = OnceLock::new();
            self.slots.push_back(Arc::new(Slot { sequence, body }));
            self.trim();
            return self.slots.back().cloned();
        }
        let found = self
            .slots
            .binary_search_by_key(&sequence, |slot| slot.sequence);
        found.ok().and_then(|at| self.slots.get(at).cloned())
    }

    fn trim(&mut self) {
        while self.slots.len() > KEPT || (self.bytes > KEPT_BYTES && self.slots.len() > 1) {
            let oldest = self.slots.pop_front();
            // What is being encoded just now has not been counted.
            let bytes = oldest.map_or(0, |slot| slot.bytes());
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

impl Once {
    /// The message encoded, now or before. `None` if it refuses.
    fn encode<T: WireMessage>(&self, message: &TopicMessage<T>) -> Option<Arc<Body>> {
        let slot = self.ring.lock().slot(message.sequence());
        // Outside the lock of the ring: it runs code of the message.
        let Some(slot) = slot else {
            return body_of(message);
        };
        let mut first = false;
        let body = slot.body.get_or_init(|| {
            first = true;
            body_of(message)
        });
        if first {
            let mut ring = self.ring.lock();
            // It may have been pushed out meanwhile.
            if ring.slots.iter().rev().any(|kept| Arc::ptr_eq(kept, &slot)) {
                ring.bytes += slot.bytes();
                ring.trim();
            }
        }
        body.clone()
    }
}

/// `None` if it can't be encoded: a hand-written `Serialize` may refuse, and may panic, in the task of a session that
/// has other things to do as well (G10).
fn body_of<T: WireMessage>(message: &TopicMessage<T>) -> Option<Arc<Body>> {
    let encode = || codec::encode(message.value());
    let payload = match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(Ok(payload)) => payload,
        refused => {
            let why = match refused {
                Ok(Err(error)) => error.to_string(),
                _ => "encoding it panicked".to_owned(),
            };
            let number = message.sequence();
            tracing::warn!(target: "callboard::remote", message = T::NAME, number, %why, "a gap");
            return None;
        }
    };
    Some(Arc::new(Body {
        sequence: message.sequence(),
        subject: message.subject().into(),
        payload,
    }))
}

impl<T: WireMessage + Sync> ServeTopic for ToTopic<T> {
    fn topic(&self) -> Box<dyn Any> {
        Box::new(self.topic.clone())
    }

    fn subscribe(
        &self,
        pattern: String,
        options: SubscriberOptions,
    ) -> LocalBoxFuture<'static, Result<Encoded, Failure>> {
        let (topic, once) = (self.topic.clone(), Arc::clone(&self.once));
        Box::pin(async move {
            let subscription = topic.subscribe(&pattern, options).await;
            let subscription = subscription.map_err(|error| match error {
                TopicError::Subject(error) => {
                    Failure::new(FailureKind::BadPayload, Verdict::NotExecuted)
                        .with_detail(error.to_string())
                }
                TopicError::Failed(failure) => Failure::new(failure.kind(), failure.verdict()),
                other => Failure::new(FailureKind::NoAnswer, Verdict::NotExecuted)
                    .with_detail(other.to_string()),
            })?;
            Ok(Encoded {
                since: subscription.since(),
                events: subscription
                    .map(move |event| encode(&once, event))
                    .boxed_local(),
            })
        })
    }
}

fn encode<T: WireMessage>(once: &Once, event: TopicEvent<T>) -> Outgoing {
    match event {
        TopicEvent::Message(message) => {
            let sequence = message.sequence();
            match once.encode(&message) {
                Some(body) => Outgoing::Event(body),
                // The peer misses it.
                None => Outgoing::Gap {
                    from: sequence,
                    to: sequence,
                },
            }
        }
        TopicEvent::Gap { from, to, .. } => Outgoing::Gap { from, to },
    }
}

/// The subscriptions of one session.
#[derive(Default)]
pub(crate) struct Pumps {
    running: FuturesUnordered<LocalBoxFuture<'static, PumpId>>,
    /// By the peer's number.
    handles: HashMap<u64, (PumpId, AbortHandle)>,
    next: PumpId,
}

/// Never given twice in a session, unlike the peer's numbers: an aborted pump is still to be polled
/// when the peer may use its number again.
type PumpId = u64;

impl Pumps {
    /// Begins a subscription, or answers why not.
    pub(crate) fn subscribe(
        &mut self,
        session: &Arc<Session>,
        number: u64,
        wanted: OwnedSubscribe,
    ) {
        let refuse = |kind, detail: &str| {
            let failure = Failure::new(kind, Verdict::NotExecuted).with_detail(detail.to_owned());
            if let Some(node) = session.node() {
                node.counters.failed(kind);
            }
            session.fail(number, &failure);
        };
        if self.handles.contains_key(&number) {
            return refuse(FailureKind::NoAnswer, "a subscription has that number");
        }
        if self.handles.len() >= session.config.subscriptions {
            return refuse(FailureKind::Full, "too many subscriptions on this session");
        }
        let Some(core) = session.node() else {
            return refuse(FailureKind::UnknownName, &wanted.name);
        };
        let rights = core.gate.rights().clone();
        let subject = session.subject.clone();
        let allowed = rights.check(&subject, Verb::Subscribe, &wanted.name);
        let place = allowed.map_err(Failure::from).and_then(|()| {
            let account = session.account.lock();
            let place = account.as_ref();
            let place = place.map(|account| account.take(PlaceKind::Subscription));
            place.transpose().map_err(Failure::from)
        });
        let place = match place {
            Ok(place) => place,
            Err(failure) => {
                core.counters.failed(failure.kind());
                return session.fail(number, &failure);
            }
        };
        let topics = &core.exposed.topics;
        let topic = match topics.find(&wanted.name, &wanted.type_name, wanted.version) {
            Ok((_, topic)) => topic,
            Err(failure) => {
                core.counters.failed(failure.kind());
                return session.fail(number, &failure);
            }
        };
        let pump = Pump {
            core: Arc::clone(core),
            session: Arc::clone(session),
            number,
        };
        let subscribing = topic.subscribe(wanted.pattern, wanted.options);
        let (handle, registration) = AbortHandle::new_pair();
        let name = wanted.name;
        let run = async move {
            let _place = place;
            let ended = {
                let lost = pin!(rights.lost(&subject, Verb::Subscribe, &name));
                match select(pin!(pump.run(subscribing)), lost).await {
                    Either::Left(_) => None,
                    Either::Right((denied, _)) => Some(denied),
                }
            };
            if let Some(denied) = ended {
                pump.fail(&denied.into());
            }
        };
        let run = Abortable::new(run, registration);
        let id = self.next;
        self.next += 1;
        self.handles.insert(number, (id, handle));
        self.running.push(Box::pin(async move {
            // Whether it ended by itself or was aborted is the same here.
            let _ = run.await;
            id
        }));
    }

    pub(crate) fn unsubscribe(&mut self, number: u64) {
        if let Some((_, handle)) = self.handles.remove(&number) {
            handle.abort();
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.running.poll_next_unpin(cx) {
            self.handles.retain(|_, (id, _)| *id != ended);
        }
    }
}

/// Moves the events of one subscription into the outbox, waiting for room there: what the peer doesn't
/// take waits in the subscription's own buffer, under its policy (G28).
struct Pump {
    core: Arc<Core>,
    session: Arc<Session>,
    number: u64,
}

impl Pump {
    async fn run(&self, subscribing: LocalBoxFuture<'static, Result<Encoded, Failure>>) {
        let mut subscription = match subscribing.await {
            Ok(subscription) => subscription,
            Err(failure) => {
                return self.fail(&failure);
            }
        };
        self.core.counters.subscriptions();
        let since = subscription.since;
        self.send(Kind::Subscribed, |out| out.extend(since.to_be_bytes()))
            .await;
        while let Some(event) = subscription.events.next().await {
            let sent = match event {
                Outgoing::Event(body) => {
                    let sequence = body.sequence;
                    let event = Event {
                        sequence,
                        subject: &body.subject,
                        payload: &body.payload,
                    };
                    match self.send(Kind::Event, |out| event.put(out)).await {
                        Sent::TooLarge => {
                            self.send(Kind::Gap, |out| put_gap(out, sequence, sequence))
                                .await
                        }
                        sent => sent,
                    }
                }
                Outgoing::Gap { from, to } => {
                    self.send(Kind::Gap, |out| put_gap(out, from, to)).await
                }
            };
            match sent {
                Sent::Yes => self.core.counters.events(),
                Sent::TooLarge => {}
                Sent::Closed => return,
            }
        }
        self.session.end_subscription(self.number, None);
    }

    fn fail(&self, failure: &Failure) {
        self.core.counters.failed(failure.kind());
        self.session.end_subscription(self.number, Some(failure));
    }

    async fn send(&self, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) -> Sent {
        let mut frame = Vec::new();
        let max = self.session.theirs.max_message;
        if put_frame(&mut frame, kind, 0, self.number, max, write).is_err() {
            return Sent::TooLarge;
        }
        if self.session.outbox.push_event(self.number, &frame).await {
            Sent::Yes
        } else {
            Sent::Closed
        }
    }
}

enum Sent {
    Yes,
    TooLarge,
    Closed,
}
