//! Publishing to topics in other processes.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use callboard::topic::{PublishError, Published, Topic, TopicError};
use callboard::{
    ActorId, Failure, FailureKind, Message, Meta, Recipient, Responder, System, Verdict,
    WireMessage, codec,
};
use serde::{Deserialize, Serialize};

use crate::admin::TopicThing;
use crate::entrance::{Budget, Entrance, REACH, Serve, WireFailure, refuse, run};
use crate::error::NameError;
use crate::node::{self, Node, check_type};
use crate::peer::Peer;
use crate::reference::{arriving, came_by};

/// A message to be published. Its name on the wire stands for the right to publish.
#[derive(Debug, Message, Serialize, Deserialize)]
#[message(reply = Result<Published, WireFailure>, name = "callboard.topic.publish")]
struct Publish {
    #[serde(rename = "t")]
    type_name: String,
    #[serde(rename = "v")]
    version: u32,
    #[serde(rename = "s")]
    subject: String,
    #[serde(rename = "b", with = "serde_bytes")]
    payload: Vec<u8>,
    #[serde(rename = "r", default, skip_serializing_if = "std::ops::Not::not")]
    retain: bool,
}

impl Node {
    /// Lets peers publish to a topic under a name; see [`Peer::publisher`]. Who may only
    /// [subscribe](Node::expose_topic) can't.
    ///
    /// # Errors
    /// [`NameError`]: the name, or that of the type, is malformed or reserved; or one can publish under it already.
    pub fn expose_publishing<T: WireMessage + Sync>(
        &self,
        name: &str,
        topic: &Topic<T>,
    ) -> Result<(), NameError> {
        let core = self.core();
        let _changing = core.exposed.changing();
        core.add_publishing(name, topic)
    }
}

impl node::Core {
    /// Called by who changes what is exposed.
    pub(crate) fn add_publishing<T: WireMessage + Sync>(
        &self,
        name: &str,
        topic: &Topic<T>,
    ) -> Result<(), NameError> {
        check_type::<T>()?;
        let door = Arc::new(Door {
            topic: topic.clone(),
            system: self.system.clone(),
            id: ActorId::fresh(),
            waiting: Budget::new(self.config.session_window),
        });
        self.expose(name, &Recipient::<Publish>::new(Entrance::new(&door)))?;
        let thing = Arc::new(TopicThing(topic.clone()));
        self.exposed.things.add(name, thing);
        Ok(())
    }
}

struct Door<T: Send + Sync + 'static> {
    topic: Topic<T>,
    system: System,
    id: ActorId,
    /// What messages take up that wait for slow subscribers.
    waiting: Arc<Budget>,
}

impl<T: WireMessage + Sync> Door<T> {
    async fn publish(
        &self,
        message: Publish,
        patience: Duration,
        session: u64,
    ) -> Result<Published, WireFailure> {
        if message.type_name != T::NAME {
            return Err(refuse(FailureKind::UnknownType));
        }
        if message.version != T::VERSION {
            return Err(refuse(FailureKind::WrongVersion));
        }
        let Some(_waits) = self.waiting.take(message.payload.len()) else {
            return Err(refuse(FailureKind::Overloaded));
        };
        // A hand-written `Deserialize` may panic.
        let decode = || arriving(session, || codec::decode::<T>(&message.payload));
        let value = catch_unwind(AssertUnwindSafe(decode));
        let Ok(Ok(value)) = value else {
            return Err(refuse(FailureKind::BadPayload));
        };
        let mut publish = self
            .topic
            .publish(&message.subject, value)
            .deadline(patience);
        if message.retain {
            publish = publish.retain();
        }
        publish.await.map_err(|error| match error.error {
            TopicError::Failed(failure) => WireFailure::from(&failure),
            TopicError::Subject(_) => refuse(FailureKind::BadPayload),
            TopicError::RetainedFull { .. } => refuse(FailureKind::Overloaded),
            other => WireFailure::new(FailureKind::StorageFailed, other.verdict()),
        })
    }
}

impl<T: WireMessage + Sync> Serve<Publish> for Door<T> {
    fn must_be_asked(_: &Publish) -> bool {
        true
    }

    fn serve(
        self: &Arc<Self>,
        message: Publish,
        meta: Meta,
        responder: Responder<Result<Published, WireFailure>>,
    ) {
        let door = Arc::clone(self);
        let left = meta.remaining(self.system.clock()).unwrap_or(REACH);
        let session = came_by();
        run(&self.system, async move {
            let published = door.publish(message, left / 2, session).await;
            responder.send(published);
        });
    }

    fn leads_to(&self) -> (ActorId, Arc<str>, &System) {
        (self.id, self.topic.name().into(), &self.system)
    }
}

impl Peer {
    /// Publishes to the topic that is [exposed for it](Node::expose_publishing) under that name. Whether the other
    /// side has it, and for messages of this type, shows when something is published (G34).
    ///
    /// # Errors
    /// [`NameError::Malformed`].
    pub fn publisher<T: WireMessage>(&self, topic: &str) -> Result<Publisher<T>, NameError> {
        Ok(Publisher {
            name: topic.into(),
            way: self.recipient(topic)?,
            message: std::marker::PhantomData,
        })
    }
}

/// Publishes to a topic in another process. Clones publish to the same one. Made by [`Peer::publisher`].
pub struct Publisher<T> {
    name: Arc<str>,
    way: Recipient<Publish>,
    message: std::marker::PhantomData<fn(T)>,
}

impl<T: WireMessage> Publisher<T> {
    /// Publishes a message. Its publisher is told what became of it over there, within 5 s; one that makes it wait
    /// for slow subscribers may take half of that.
    ///
    /// # Errors
    /// [`PublishError`]: nothing can be published under that name (`UnknownName`), or other messages
    /// (`UnknownType`, `WrongVersion`); the subject is malformed (`BadPayload`); the topic has ended, or can't be
    /// reached. The message comes back unless it may have been published.
    ///
    /// # Cancel safety
    /// Dropped, it may have been published.
    pub fn publish(
        &self,
        subject: &str,
        value: T,
    ) -> impl Future<Output = Result<Published, PublishError<T>>> + Send + use<T> {
        self.send(subject, value, false)
    }

    /// The same, and keeps it as the last value of its subject.
    ///
    /// # Errors
    /// As [`publish`](Publisher::publish), and `Overloaded` if too many subjects have one.
    ///
    /// # Cancel safety
    /// As [`publish`](Publisher::publish).
    pub fn publish_retained(
        &self,
        subject: &str,
        value: T,
    ) -> impl Future<Output = Result<Published, PublishError<T>>> + Send + use<T> {
        self.send(subject, value, true)
    }

    fn send(
        &self,
        subject: &str,
        value: T,
        retain: bool,
    ) -> impl Future<Output = Result<Published, PublishError<T>>> + Send + use<T> {
        let (way, name, subject) = (self.way.clone(), Arc::clone(&self.name), subject.to_owned());
        async move {
            let payload = codec::encode(&value).map_err(|error| {
                let failure = Failure::new(FailureKind::BadPayload, Verdict::NotSent);
                failure.with_detail(format!("{} can't be encoded: {error}", T::NAME))
            });
            let asked = match payload {
                Err(failure) => Err(failure),
                Ok(payload) => {
                    let message = Publish {
                        type_name: T::NAME.to_owned(),
                        version: T::VERSION,
                        subject,
                        payload,
                        retain,
                    };
                    let asked = way.ask(message).deadline(REACH).await;
                    let refused = |failure: WireFailure| failure.about(&name);
                    asked
                        .map_err(Failure::from)
                        .and_then(|answer| answer.map_err(refused))
                }
            };
            asked.map_err(|failure| PublishError {
                value: failure.verdict().is_safe_to_resend().then_some(value),
                error: failure.into(),
            })
        }
    }
}

impl<T> Clone for Publisher<T> {
    fn clone(&self) -> Self {
        Publisher {
            name: Arc::clone(&self.name),
            way: self.way.clone(),
            message: self.message,
        }
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publisher({})", self.name)
    }
}
