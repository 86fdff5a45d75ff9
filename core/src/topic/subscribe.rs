//! A subscription in preparation.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::error::TopicError;
use super::hub::{Kind, Wanted};
use super::options::{Replay, SlowSubscriber, SubscriberOptions};
use super::subscription::Subscription;
use super::{Topic, subject};

/// A subscription to be made. Await it; see [`Topic::subscribe`].
///
/// # Errors
/// [`TopicError`]: the pattern is malformed, the topic has ended, or it can't do what is asked for, which each error
/// names.
///
/// # Cancel safety
/// Dropping it leaves no subscription behind. A durable one that was to be made may have been made: its position is
/// there when it is asked for again.
#[must_use = "nobody has subscribed until it is awaited"]
pub struct Subscribe<'a, T: Send + Sync + 'static> {
    topic: &'a Topic<T>,
    pattern: &'a str,
    options: SubscriberOptions,
    replay: Option<Replay>,
    retained: bool,
    group: Option<Arc<str>>,
    durable: Option<Arc<str>>,
}

impl<'a, T: Send + Sync + 'static> Subscribe<'a, T> {
    pub(super) fn new(topic: &'a Topic<T>, pattern: &'a str, options: SubscriberOptions) -> Self {
        Subscribe {
            topic,
            pattern,
            options,
            replay: None,
            retained: false,
            group: None,
            durable: None,
        }
    }

    /// Begins in the topic's history: with what it has from there on, then what is published, without a hole and
    /// nothing twice (G29). What the history has no more is a gap, which comes first.
    ///
    /// While it reads from the history, its buffer's policy has nothing to do; what falls out of the history before
    /// it is read is a gap. A durable subscription or a group begins there when it is made.
    pub fn from(mut self, replay: Replay) -> Self {
        self.replay = Some(replay);
        self
    }

    /// Begins with the [retained](super::Publish::retain) values of the subjects that the pattern matches, oldest
    /// first, marked as [`Retained`](super::Origin::Retained); those that a replay brings as well come there only.
    /// They don't count against the buffer.
    pub fn with_retained(mut self) -> Self {
        self.retained = true;
        self
    }

    /// Shares the subscription with all who say the same name and pattern: each message goes to one of them, the next
    /// that has time for it (G30). What a member has not taken when it goes, another gets. The group has one buffer,
    /// with the options of whoever came first; it begins with its first member and ends with its last.
    pub fn shared(mut self, group: impl Into<Arc<str>>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Has the topic keep its position under a name while nobody holds it: who subscribes under the name again goes
    /// on behind what was [acknowledged](Subscription::acknowledge), and gets again what was not (at-least-once,
    /// G29). It begins now, or where [`from`](Subscribe::from) says, when the name is new.
    ///
    /// One holder at a time; a second is refused. What doesn't fit into the buffer is read from the history later on,
    /// so its policy has nothing to do, and only what is gone from the history is a gap.
    pub fn durable(mut self, name: impl Into<Arc<str>>) -> Self {
        self.durable = Some(name.into());
        self
    }

    async fn make(self) -> Result<Subscription<T>, TopicError> {
        subject::check_pattern(self.pattern)?;
        let kind = match (self.group, self.durable) {
            (Some(_), Some(_)) => {
                return Err(TopicError::NotBoth("durable and shared: that is a queue"));
            }
            (Some(_), None) if self.retained => {
                return Err(TopicError::NotBoth("shared and begin with retained values"));
            }
            (Some(group), None) => Kind::Group(group),
            (None, Some(name)) => Kind::Durable(name),
            (None, None) => Kind::Own,
        };
        let wanted = Wanted {
            pattern: self.pattern.into(),
            options: SubscriberOptions {
                capacity: self.options.capacity.max(1),
                ..self.options
            },
            replay: self.replay,
            retained: self.retained,
            kind,
        };
        let (subscription, receipt) = self.topic.hub_arc().subscribe(&wanted)?;
        if let Some(receipt) = receipt {
            let lost = || TopicError::in_doubt("the journal failed or the topic ended meanwhile");
            receipt.await.unwrap_or_else(|_| Err(lost()))?;
        }
        Ok(subscription)
    }
}

/// In place of [`SubscriberOptions`], for one of them.
impl<T: Send + Sync + 'static> Subscribe<'_, T> {
    /// How many messages wait for it (at least 1).
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.options.capacity = capacity;
        self
    }

    /// What happens to a message for which there is no room.
    pub fn policy(mut self, policy: SlowSubscriber) -> Self {
        self.options.policy = policy;
        self
    }

    /// Has publishers wait for room, at most `limit` for each message: [`SlowSubscriber::Wait`].
    pub fn waited_for(self, limit: Duration) -> Self {
        self.policy(SlowSubscriber::Wait(limit))
    }
}

impl<'a, T: Send + Sync + 'static> IntoFuture for Subscribe<'a, T> {
    type Output = Result<Subscription<T>, TopicError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.make())
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Subscribe<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe")
            .field("topic", &self.topic)
            .field("pattern", &self.pattern)
            .field("options", &self.options)
            .field("replay", &self.replay)
            .field("retained", &self.retained)
            .field("group", &self.group)
            .field("durable", &self.durable)
            .finish()
    }
}
