//! How a subscriber wants to be served, and what a topic keeps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many messages wait for a subscriber unless told otherwise.
pub const DEFAULT_SUBSCRIBER_CAPACITY: usize = 1_024;

/// How many subjects have a retained value unless told otherwise.
pub const DEFAULT_RETAINED: usize = 1_024;

/// How many durable subscriptions a topic has unless told otherwise.
pub const DEFAULT_DURABLES: usize = 256;

/// What happens to a message that finds a subscriber's buffer full. Whatever it is, the subscriber is told what
/// it missed, and the publisher that somebody did.
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
    /// The publisher waits for room, at most that long for each message; then the arriving message goes. All
    /// other subscribers have it by then, and those that make their publisher wait are waited for together.
    /// [`try_publish`](super::Topic::try_publish) doesn't wait, and neither does what has no publisher that could
    /// (dead letters).
    Wait(Duration),
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

/// From where on a subscription begins, if not with what is published next. What the topic's history no longer
/// has comes as a gap first (G29).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Replay {
    /// With the message of that number; 0 and 1 are both the first ever.
    Sequence(u64),
    /// With the first message that was published at that time or later, as the span since 1970.
    Time(Duration),
    /// With the first message that was published within that span before now.
    Last(Duration),
    /// With the oldest message that the history has: no gap for what is gone by then.
    All,
}

/// What a topic keeps beside what waits for its subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicOptions {
    /// How many of the last messages it keeps for replay and for durable subscriptions; none, unless told
    /// otherwise.
    pub history: usize,
    /// For how long it keeps them, if that is less.
    pub history_age: Option<Duration>,
    /// How many subjects can have a [retained](super::Publish::retain) value; [`DEFAULT_RETAINED`] unless told
    /// otherwise.
    pub retained: usize,
    /// How many durable subscriptions there can be; [`DEFAULT_DURABLES`] unless told otherwise.
    pub durables: usize,
}

impl Default for TopicOptions {
    fn default() -> Self {
        TopicOptions {
            history: 0,
            history_age: None,
            retained: DEFAULT_RETAINED,
            durables: DEFAULT_DURABLES,
        }
    }
}

impl TopicOptions {
    /// Nothing but the defaults.
    #[must_use]
    pub fn new() -> Self {
        TopicOptions::default()
    }

    /// Keeps the last `count` messages.
    #[must_use]
    pub fn history(mut self, count: usize) -> Self {
        self.history = count;
        self
    }

    /// Keeps them no longer than `age`, by the system's time of day. Whether one is too old is looked at when
    /// something is published, subscribed or replayed.
    #[must_use]
    pub fn history_age(mut self, age: Duration) -> Self {
        self.history_age = Some(age);
        self
    }

    /// Keeps the last values of that many subjects at most.
    #[must_use]
    pub fn retained(mut self, subjects: usize) -> Self {
        self.retained = subjects;
        self
    }

    /// Keeps the positions of that many durable subscriptions at most.
    #[must_use]
    pub fn durables(mut self, names: usize) -> Self {
        self.durables = names;
        self
    }
}
