//! Topics for subscribers in other processes: one pump for each subscription, polled by the session's
//! task.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use callboard::topic::{SubscriberOptions, Topic, TopicError, TopicEvent};
use callboard::{Failure, FailureKind, Verdict, WireMessage, codec};
use futures::future::{AbortHandle, Abortable, LocalBoxFuture};
use futures::stream::{FuturesUnordered, LocalBoxStream, StreamExt};

use super::Core;
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
}

/// A subscription whose messages are encoded.
pub(crate) struct Encoded {
    since: u64,
    events: LocalBoxStream<'static, Outgoing>,
}

/// What goes to the peer.
enum Outgoing {
    Event {
        subject: String,
        sequence: u64,
        payload: Vec<u8>,
    },
    Gap {
        from: u64,
        to: u64,
    },
}

pub(crate) struct ToTopic<T: WireMessage + Sync>(pub(crate) Topic<T>);

impl<T: WireMessage + Sync> ServeTopic for ToTopic<T> {
    fn subscribe(
        &self,
        pattern: String,
        options: SubscriberOptions,
    ) -> LocalBoxFuture<'static, Result<Encoded, Failure>> {
        let topic = self.0.clone();
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
                events: subscription.map(encode).boxed_local(),
            })
        })
    }
}

fn encode<T: WireMessage>(event: TopicEvent<T>) -> Outgoing {
    match event {
        TopicEvent::Message(message) => {
            let sequence = message.sequence();
            match codec::encode(message.value()) {
                Ok(payload) => Outgoing::Event {
                    subject: message.subject().to_owned(),
                    sequence,
                    payload,
                },
                // It refuses to be encoded: the peer misses it.
                Err(_) => Outgoing::Gap {
                    from: sequence,
                    to: sequence,
                },
            }
        }
        TopicEvent::Gap { from, to, .. } => Outgoing::Gap { from, to },
    }
}

/// The subscriptions of one session.
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
    pub(crate) fn new() -> Self {
        Pumps {
            running: FuturesUnordered::new(),
            handles: HashMap::new(),
            next: 0,
        }
    }

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
        let topics = &core.exposed.topics;
        let topic = match topics.find(&wanted.name, &wanted.type_name, wanted.version) {
            Ok((_, topic)) => topic,
            Err(failure) => {
                core.counters.failed(failure.kind());
                return session.fail(number, &failure);
            }
        };
        let pump = Pump {
            core,
            session: Arc::clone(session),
            number,
        };
        let subscribing = topic.subscribe(wanted.pattern, wanted.options);
        let (handle, registration) = AbortHandle::new_pair();
        let run = Abortable::new(pump.run(subscribing), registration);
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
    async fn run(self, subscribing: LocalBoxFuture<'static, Result<Encoded, Failure>>) {
        let mut subscription = match subscribing.await {
            Ok(subscription) => subscription,
            Err(failure) => {
                self.core.counters.failed(failure.kind());
                return self.session.fail(self.number, &failure);
            }
        };
        self.core.counters.subscriptions();
        let since = subscription.since;
        self.send(Kind::Subscribed, |out| out.extend(since.to_be_bytes()))
            .await;
        while let Some(event) = subscription.events.next().await {
            let sent = match event {
                Outgoing::Event {
                    subject,
                    sequence,
                    payload,
                } => {
                    let event = Event {
                        sequence,
                        subject: &subject,
                        payload: &payload,
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
        self.session.say(Kind::Ended, self.number);
    }

    async fn send(&self, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) -> Sent {
        let mut frame = Vec::new();
        let max = self.session.theirs.max_message;
        if put_frame(&mut frame, kind, 0, self.number, max, write).is_err() {
            return Sent::TooLarge;
        }
        if self.session.outbox.push_event(&frame).await {
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
