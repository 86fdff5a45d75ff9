//! What a subscriber gets: messages that are shared, and notices of what it missed.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::id::RequestKey;
use crate::message::Message;

/// A message as the topic stores it: once, for all subscribers.
pub(super) struct Entry<T> {
    pub(super) subject: Arc<str>,
    pub(super) sequence: u64,
    /// When it was published, since 1970; zero if the topic keeps nothing and so reads no clock.
    pub(super) at: Duration,
    pub(super) key: Option<RequestKey>,
    pub(super) value: T,
}

/// How a message came to its subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// It was published while the subscription stood.
    Live,
    /// It was published before, and comes from the topic's history.
    Replayed,
    /// It is the last value of its subject, handed to a subscription that asked for it.
    Retained,
    /// It was handed to this durable subscription before, and not acknowledged.
    Redelivered,
}

/// A message of a topic. It derefs to the value, which all subscribers share: a clone of this costs a count.
pub struct TopicMessage<T> {
    entry: Arc<Entry<T>>,
    origin: Origin,
}

impl<T> TopicMessage<T> {
    pub(super) fn new(entry: Arc<Entry<T>>, origin: Origin) -> Self {
        TopicMessage { entry, origin }
    }

    /// What it was published to.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.entry.subject
    }

    /// Its number in the topic: 1 for the first ever published.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.entry.sequence
    }

    /// How it came to this subscriber.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// When it was published, as the span since 1970 by the publishing system's clock. `None` if the topic keeps
    /// neither history nor retained values: then nobody reads the time.
    #[must_use]
    pub fn published_at(&self) -> Option<Duration> {
        (!self.entry.at.is_zero()).then_some(self.entry.at)
    }

    /// The key that its publisher gave it.
    #[must_use]
    pub fn key(&self) -> Option<RequestKey> {
        self.entry.key
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &T {
        &self.entry.value
    }

    /// The value itself: moved out if nobody else holds this message, else cloned.
    #[must_use]
    pub fn into_value(self) -> T
    where
        T: Clone,
    {
        Arc::try_unwrap(self.entry).map_or_else(|entry| entry.value.clone(), |entry| entry.value)
    }

    pub(super) fn into_parts(self) -> (Arc<Entry<T>>, Origin) {
        (self.entry, self.origin)
    }
}

impl<T> Clone for TopicMessage<T> {
    fn clone(&self) -> Self {
        TopicMessage {
            entry: Arc::clone(&self.entry),
            origin: self.origin,
        }
    }
}

impl<T> Deref for TopicMessage<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.entry.value
    }
}

/// By subject, number and value: who compares what two subscribers got doesn't ask how it came to them.
impl<T: PartialEq> PartialEq for TopicMessage<T> {
    fn eq(&self, other: &Self) -> bool {
        self.sequence() == other.sequence()
            && self.subject() == other.subject()
            && self.value() == other.value()
    }
}

impl<T: Eq> Eq for TopicMessage<T> {}

impl<T: fmt::Debug> fmt::Debug for TopicMessage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicMessage")
            .field("subject", &self.subject())
            .field("sequence", &self.sequence())
            .field("origin", &self.origin)
            .field("value", self.value())
            .finish_non_exhaustive()
    }
}

/// What a subscriber gets.
pub enum TopicEvent<T> {
    /// A message.
    Message(TopicMessage<T>),
    /// Messages for this subscriber are missing here: those with numbers in this range, ends included (G28).
    /// Numbers in between may also be of messages that its pattern doesn't match.
    Gap {
        /// The number of the first that was missed.
        from: u64,
        /// The number of the last that was missed.
        to: u64,
        /// How many of them the pattern matches; `None` where the topic no longer knows, because they are gone
        /// from its history.
        missed: Option<u64>,
    },
}

impl<T> TopicEvent<T> {
    /// The message, if it is one.
    #[must_use]
    pub fn message(self) -> Option<TopicMessage<T>> {
        match self {
            TopicEvent::Message(message) => Some(message),
            TopicEvent::Gap { .. } => None,
        }
    }

    /// The numbers that it accounts for: the first and the last.
    #[must_use]
    pub fn range(&self) -> (u64, u64) {
        match self {
            TopicEvent::Message(message) => (message.sequence(), message.sequence()),
            TopicEvent::Gap { from, to, .. } => (*from, *to),
        }
    }
}

/// So that an actor can subscribe: see [`Topic::forward`](super::Topic::forward).
#[diagnostic::do_not_recommend]
impl<T: Send + Sync + 'static> Message for TopicEvent<T> {
    type Reply = ();
}

impl<T> Clone for TopicEvent<T> {
    fn clone(&self) -> Self {
        match self {
            TopicEvent::Message(message) => TopicEvent::Message(message.clone()),
            TopicEvent::Gap { from, to, missed } => TopicEvent::Gap {
                from: *from,
                to: *to,
                missed: *missed,
            },
        }
    }
}

impl<T: PartialEq> PartialEq for TopicEvent<T> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (TopicEvent::Message(one), TopicEvent::Message(other)) => one == other,
            (
                TopicEvent::Gap { from, to, missed },
                TopicEvent::Gap {
                    from: other_from,
                    to: other_to,
                    missed: other_missed,
                },
            ) => (from, to, missed) == (other_from, other_to, other_missed),
            _ => false,
        }
    }
}

impl<T: Eq> Eq for TopicEvent<T> {}

impl<T: fmt::Debug> fmt::Debug for TopicEvent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicEvent::Message(message) => message.fmt(f),
            TopicEvent::Gap { from, to, missed } => f
                .debug_struct("Gap")
                .field("from", from)
                .field("to", to)
                .field("missed", missed)
                .finish(),
        }
    }
}
