//! Topic actors: publish and subscribe. Each subscriber gets each message that its pattern matches, in
//! the publisher's order, or is told exactly which it missed (G27, G28).
//!
//! A [`Topic`] is a reference to an actor. Each subscriber has a buffer and a policy of its own, so that a
//! slow one delays nobody. Subjects have levels, `lesson.viewed.intro`; a pattern has `*` for one level
//! and a last `>` for the rest.
//!
//! ```
//! use callboard_core::topic::{SubscriberOptions, Topic, TopicEvent};
//! use callboard_core::Simulation;
//! use futures::StreamExt;
//!
//! Simulation::new(1).block_on(async {
//!     let system = callboard_core::System::current().ok_or("no system")?;
//!     let topic = Topic::start(&system, "lessons");
//!     let mut views = topic.subscribe("lesson.viewed.*", SubscriberOptions::default()).await?;
//!     topic.publish("lesson.viewed.intro", 1).await?;
//!     let Some(TopicEvent::Message { subject, value, .. }) = views.next().await else {
//!         return Err("no message".into());
//!     };
//!     assert_eq!((&*subject, value), ("lesson.viewed.intro", 1));
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })
//! # .unwrap();
//! ```

mod actor;
mod buffer;
mod hub;
mod subject;
#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use serde::{Deserialize, Serialize};

use crate::actor_ref::ActorRef;
use crate::error::Failure;
use crate::system::System;

pub use subject::{MAX_SUBJECT, SubjectError};

pub(crate) use hub::{Hub, Wakes};
pub(crate) use subject::{as_level, check_pattern};

use actor::{Publish, State, Subscribe, TopicActor};
use buffer::Buffer;

/// How many messages wait for a subscriber unless told otherwise.
pub const DEFAULT_SUBSCRIBER_CAPACITY: usize = 1_024;

/// A reference to a topic actor. Clones refer to the same topic.
pub struct Topic<T: Clone + Send + 'static> {
    actor: ActorRef<TopicActor<T>>,
    name: Arc<str>,
}

/// What happens to a message that finds a subscriber's buffer full. Either way the subscriber is told
/// what it missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SlowSubscriber {
    /// The oldest waiting message goes.
    #[default]
    DropOldest,
    /// The arriving message goes.
    DropNewest,
    /// The subscription ends after what is buffered and the notice of the gap.
    Disconnect,
}

/// How a subscriber wants to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriberOptions {
    /// How many messages wait for it (at least 1).
    pub capacity: usize,
    /// What happens to the next one.
    pub policy: SlowSubscriber,
}

impl Default for SubscriberOptions {
    fn default() -> Self {
        SubscriberOptions {
            capacity: DEFAULT_SUBSCRIBER_CAPACITY,
            policy: SlowSubscriber::default(),
        }
    }
}

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicEvent<T> {
    /// A message.
    Message {
        /// What it was published to.
        subject: Arc<str>,
        /// Its number in the topic: 1 for the first ever published.
        sequence: u64,
        /// The message.
        value: T,
    },
    /// Messages for this subscriber were dropped here: those with numbers in this range, ends included.
    /// (Numbers in it may also be of messages that its pattern doesn't match.)
    Gap {
        /// The number of the first that was missed.
        from: u64,
        /// The number of the last that was missed.
        to: u64,
    },
}

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its number in the topic.
    pub sequence: u64,
    /// How many subscriptions it matched.
    pub matched: usize,
    /// How many of these had no room and lost a message, this one or an older one.
    pub dropped: usize,
}

/// What a topic has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TopicState {
    /// Messages published since it started.
    pub published: u64,
    /// Messages put into buffers since it started.
    pub delivered: u64,
    /// Messages dropped because a buffer was full.
    pub dropped: u64,
    /// Subscriptions now.
    pub subscribers: usize,
}

/// Why a publish or a subscribe failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// The subject or the pattern is malformed.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The topic did not answer.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl<T: Clone + Send + 'static> Topic<T> {
    /// Starts a topic.
    pub fn start(system: &System, name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        let actor = system
            .actor(TopicActor::new)
            .label(format!("topic {name}"))
            .start();
        Topic { actor, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Publishes to all whose pattern matches, and answers how many that were.
    ///
    /// # Errors
    /// If the subject is malformed, or the topic has stopped.
    ///
    /// # Cancel safety
    /// Dropping it may or may not have published.
    pub async fn publish(&self, subject: &str, value: T) -> Result<Published, TopicError> {
        subject::check_subject(subject)?;
        let publish = Publish {
            subject: subject.into(),
            value,
        };
        Ok(self.actor.ask(publish).await.map_err(Failure::from)?)
    }

    /// Publishes without waiting for anything.
    ///
    /// # Errors
    /// If the subject is malformed, the topic has stopped, or its mailbox is full.
    pub fn try_publish(&self, subject: &str, value: T) -> Result<(), TopicError> {
        subject::check_subject(subject)?;
        let publish = Publish {
            subject: subject.into(),
            value,
        };
        Ok(self.actor.try_tell(publish).map_err(Failure::from)?)
    }

    /// Subscribes to what the pattern matches, from now on. The subscription ends when it is dropped.
    ///
    /// # Errors
    /// If the pattern is malformed, or the topic has stopped.
    ///
    /// # Cancel safety
    /// Dropping it leaves no subscription behind.
    pub async fn subscribe(
        &self,
        pattern: &str,
        options: SubscriberOptions,
    ) -> Result<Subscription<T>, TopicError> {
        subject::check_pattern(pattern)?;
        let subscribe = Subscribe::new(pattern, options);
        Ok(self.actor.ask(subscribe).await.map_err(Failure::from)?)
    }

    /// What it has seen.
    ///
    /// # Errors
    /// If the topic has stopped.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn state(&self) -> Result<TopicState, Failure> {
        Ok(self.actor.ask(State).await?)
    }

    /// Ends the topic; subscriptions end after what they have buffered.
    pub fn stop(&self) {
        self.actor.stop();
    }
}

impl<T: Clone + Send + 'static> Clone for Topic<T> {
    fn clone(&self) -> Self {
        Topic {
            actor: self.actor.clone(),
            name: Arc::clone(&self.name),
        }
    }
}

impl<T: Clone + Send + 'static> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({})", self.name)
    }
}

/// The messages of a topic that one subscriber gets, as a stream. It ends when the topic ends, or as its
/// policy says. Dropping it unsubscribes.
#[must_use = "a subscription that is dropped gets nothing"]
pub struct Subscription<T> {
    buffer: Arc<Buffer<T>>,
    since: u64,
}

impl<T> Subscription<T> {
    fn new(buffer: Arc<Buffer<T>>, since: u64) -> Self {
        Subscription { buffer, since }
    }

    /// The number of the last message that was published before it began: 0 if none was. Who subscribes
    /// again can tell from it what was missed in between.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.since
    }

    /// How many messages wait in its buffer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }
}

impl<T> Stream for Subscription<T> {
    type Item = TopicEvent<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TopicEvent<T>>> {
        self.buffer.poll_next(cx)
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.buffer.abandon();
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}
