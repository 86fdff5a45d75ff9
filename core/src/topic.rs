//! Topics: publish and subscribe. Each subscriber gets each message that its pattern matches, in the publisher's
//! order, or is told exactly which it missed (G27, G28).
//!
//! Subjects have levels, `lesson.viewed.intro`; a pattern has `*` for one level and a last `>` for the rest. What a
//! publish costs grows with the levels of its subject and with those who get the message, not with the number of
//! subscriptions.
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
//!     let published = topic.publish("lesson.viewed.intro", 1).await?;
//!     assert_eq!((published.sequence, published.matched, published.dropped), (1, 1, 0));
//!     let Some(TopicEvent::Message(message)) = views.next().await else {
//!         return Err("no message".into());
//!     };
//!     assert_eq!((message.subject(), *message), ("lesson.viewed.intro", 1));
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })
//! # .unwrap();
//! ```
//!
//! # Who is slow
//!
//! Each subscriber has a buffer and a [policy](SlowSubscriber) of its own, so that a slow one delays nobody beyond what
//! its policy says. What it misses it is told as a [gap](TopicEvent::Gap), in its place between the messages; what its
//! publisher is told is that [somebody](Published::dropped) missed something.
//!
//! # Who comes late
//!
//! - A message published with [`retain`](Publish::retain) is kept as the last value of its subject, for those who
//!   subscribe [with retained values](Subscribe::with_retained).
//! - A topic with a [history](TopicOptions::history) lets subscriptions begin [in the past](Subscribe::from), by
//!   number or by time.
//! - A [durable](Subscribe::durable) subscription has a name, under which the topic keeps how far it was
//!   [acknowledged](Subscription::acknowledge).
//! - A topic that is [opened](Topic::open) over a journal keeps all of that over the end of the process.
//!
//! # Who shares
//!
//! Of a [group](Subscribe::shared) each message goes to one live member (G30). Whoever wants leases, acknowledgement and
//! another try after a failure wants a [queue](crate::queue).
//!
//! # How it is made
//!
//! A topic's subscriptions lie behind a lock that each caller takes on its own thread: a publish is no hop and wakes
//! nobody but subscribers that wait. A message is stored once, and all its subscribers share it. The actor that belongs
//! to each topic is for its life: it is stopped, watched and observed like any other.

mod actor;
mod buffer;
mod error;
mod handling;
mod history;
mod hub;
mod message;
mod open;
mod options;
mod pattern;
mod place;
mod publish;
mod sink;
mod state;
mod store;
mod subject;
mod subscribe;
mod subscription;
#[cfg(test)]
mod tests;
mod trie;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::actor_ref::{ActorRef, Recipient};
use crate::clock::Clock;
use crate::id::ActorId;
use crate::journal::Journals;
use crate::message::WireMessage;
use crate::system::System;
use crate::watch::{ExitReason, OnEnd, OnLife, Watch, WatchHandle};

pub use error::{PublishError, TopicError};
pub use handling::Handling;
pub use message::{Origin, TopicEvent, TopicMessage};
pub use options::{
    DEFAULT_DURABLES, DEFAULT_RETAINED, DEFAULT_SUBSCRIBER_CAPACITY, Replay, SlowSubscriber,
    SubscriberOptions, TopicOptions,
};
pub use pattern::Pattern;
pub use publish::{Publish, Publishing};
pub use sink::TopicSink;
pub use state::{SubscriptionState, TopicState};
pub use subject::{MAX_SUBJECT, SubjectError};
pub use subscribe::Subscribe;
pub use subscription::Subscription;

pub(crate) use hub::Hub;
pub(crate) use subject::{as_level, check_pattern};

use actor::{Life, TopicActor};

/// A reference to a topic. Clones refer to the same one. It can be used from any thread and any runtime, or none.
///
/// Dropping the last reference ends nothing: a topic ends when it is [stopped](Topic::stop), or with its system.
pub struct Topic<T: Send + Sync + 'static> {
    hub: Arc<Hub<T>>,
    actor: ActorRef<TopicActor<T>>,
}

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its number in the topic.
    pub sequence: u64,
    /// How many subscriptions it matched, a group being one.
    pub matched: usize,
    /// How many of these had no room and lost a message, this one or an older one.
    pub dropped: usize,
}

impl<T: Send + Sync + 'static> Topic<T> {
    /// Starts a topic that keeps nothing but what waits for its subscribers, and up to [`DEFAULT_RETAINED`] retained
    /// values.
    pub fn start(system: &System, name: impl Into<Arc<str>>) -> Self {
        Topic::start_with(system, name, TopicOptions::default())
    }

    /// Starts a topic that keeps its last messages too, for replay and durable subscriptions: in memory, so until it
    /// ends.
    pub fn start_with(system: &System, name: impl Into<Arc<str>>, options: TopicOptions) -> Self {
        let clock = system.clock().clone();
        Topic::run(
            system,
            Arc::new(Hub::new(name.into(), options, Some(clock))),
        )
    }

    fn run(system: &System, hub: Arc<Hub<T>>) -> Self {
        let life = Life::new(&hub);
        let actor = system
            .actor(move || TopicActor::new(life))
            .label(format!("topic {}", hub.name))
            .observable()
            .start();
        Topic { hub, actor }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.hub.name
    }

    /// Which topic it is: another one of that name has another id.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.actor.id()
    }

    /// What it was started with.
    #[must_use]
    pub fn options(&self) -> TopicOptions {
        self.hub.options()
    }

    /// Publishes to all whose pattern matches. Awaited, it answers how many that were, how many of them lost a message
    /// because they are slow, and the number of the message (G27, G28).
    ///
    /// It is done on the calling thread, without a wait, unless there are subscribers that
    /// [make it wait](SlowSubscriber::Wait), or the topic is [stored](Topic::open): then it answers after the sync.
    pub fn publish<'a>(&'a self, subject: &'a str, value: T) -> Publish<'a, T> {
        Publish::new(self, subject, value)
    }

    /// Publishes without waiting for anything. Subscribers that make their publisher wait, and have no room, miss the
    /// message. `None` if the topic is stored: it is on its way to the journal, and nobody has it as yet.
    ///
    /// # Errors
    /// [`PublishError`] with the message, if the subject is malformed or the topic has ended; of a topic that is stored
    /// also if its journal has no room or has failed.
    pub fn try_publish(
        &self,
        subject: &str,
        value: T,
    ) -> Result<Option<Published>, PublishError<T>> {
        Publish::new(self, subject, value).without_waiting()
    }

    /// Subscribes to what the pattern matches, from now on unless told otherwise. The subscription ends when it is
    /// dropped.
    pub fn subscribe<'a>(
        &'a self,
        pattern: &'a str,
        options: SubscriberOptions,
    ) -> Subscribe<'a, T> {
        Subscribe::new(self, pattern, options)
    }

    /// Subscribes, and runs a closure for each event: see [`Subscription::on`]. A pattern can have any number of
    /// handlers.
    ///
    /// # Errors
    /// As [`subscribe`](Topic::subscribe).
    ///
    /// # Cancel safety
    /// Dropping it leaves no subscription behind.
    pub async fn on(
        &self,
        pattern: &str,
        options: SubscriberOptions,
        handler: impl AsyncFnMut(TopicEvent<T>) + Send + 'static,
    ) -> Result<Handling, TopicError> {
        let subscription = self.subscribe(pattern, options).await?;
        Ok(subscription.on(self.system(), handler))
    }

    /// Subscribes an actor, until it ends or what is returned is dropped: see [`Subscription::forward`].
    ///
    /// # Errors
    /// As [`subscribe`](Topic::subscribe).
    ///
    /// # Cancel safety
    /// Dropping it leaves no subscription behind.
    pub async fn forward(
        &self,
        pattern: &str,
        options: SubscriberOptions,
        recipient: &Recipient<TopicEvent<T>>,
    ) -> Result<Handling, TopicError> {
        Ok(self.subscribe(pattern, options).await?.forward(recipient))
    }

    /// A sink that publishes what is sent into it under this subject.
    ///
    /// # Errors
    /// If the subject is malformed.
    pub fn sink(&self, subject: &str) -> Result<TopicSink<T>, SubjectError> {
        subject::check_subject(subject)?;
        Ok(TopicSink::new(self.clone(), subject.into()))
    }

    /// Forgets the retained value of a subject. Answers whether there was one.
    ///
    /// # Errors
    /// If the topic is stored and its journal refuses; the value is forgotten until the next start.
    pub fn forget_retained(&self, subject: &str) -> Result<bool, TopicError> {
        self.hub.forget_retained(subject)
    }

    /// Forgets a durable subscription with its position. Answers whether there was one.
    ///
    /// # Errors
    /// [`TopicError::DurableInUse`] if somebody holds it; what the journal says, if the topic is stored.
    pub fn forget_durable(&self, name: &str) -> Result<bool, TopicError> {
        self.hub.forget_durable(name)
    }

    /// What it holds and has seen. An ended topic shows what it had seen. The same is what it shows to
    /// [`System::observe`].
    #[must_use]
    pub fn state(&self) -> TopicState {
        self.hub.state()
    }

    /// Its subscriptions, sorted by pattern.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<SubscriptionState> {
        self.hub.subscriptions()
    }

    /// Ends the topic: nothing is published from now on, and subscriptions end after what they have buffered. Who still
    /// reads from the history gets a gap for the rest of it. What a topic that is stored has not synced by now may or
    /// may not be in its journal.
    pub fn stop(&self) {
        self.hub.end();
        self.actor.stop();
    }

    /// Waits until it has ended.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn wait(&self) -> ExitReason {
        self.actor.wait().await
    }

    fn hub(&self) -> &Hub<T> {
        &self.hub
    }

    fn hub_arc(&self) -> &Arc<Hub<T>> {
        &self.hub
    }

    fn clock(&self) -> &Clock {
        self.system().clock()
    }

    fn system(&self) -> &System {
        self.actor.cell().system()
    }
}

impl<T: WireMessage + Sync> Topic<T> {
    /// Opens a topic whose messages outlive the process (G29): its history, its retained values and the positions of
    /// its durable subscriptions are in the journal of its name. A message is published when it is synced; before that
    /// no subscriber has it, and its publisher no answer.
    ///
    /// The history is in memory too, and bounded by the options: what is more than that is let go of here.
    ///
    /// # Errors
    /// [`TopicError::Journal`] if the journal can't be opened, because another process has it, say;
    /// [`TopicError::WrongType`] if it holds messages of another type. A message that can't be read, because it is damaged
    /// or of another version, is counted as [`unreadable`](TopicState::unreadable), and is a gap in replays.
    ///
    /// # Cancel safety
    /// Dropping it leaves the journal as it was.
    pub async fn open(
        system: &System,
        name: impl Into<Arc<str>>,
        options: TopicOptions,
        journals: &dyn Journals,
    ) -> Result<Self, TopicError> {
        let clock = system.clock().clone();
        let hub = open::open(name.into(), options, clock, journals).await?;
        Ok(Topic::run(system, hub))
    }
}

impl<T: Send + Sync + 'static> Watch for Topic<T> {
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        self.actor.watch(on_end)
    }

    fn watch_life(&self, on_event: OnLife) -> WatchHandle {
        self.actor.watch_life(on_event)
    }
}

impl<T: Send + Sync + 'static> Clone for Topic<T> {
    fn clone(&self) -> Self {
        Topic {
            hub: Arc::clone(&self.hub),
            actor: self.actor.clone(),
        }
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({})", self.hub.name)
    }
}
