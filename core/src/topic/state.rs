//! What a topic shows of itself.

use std::sync::Arc;

use serde::Serialize;

/// What a topic holds and has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct TopicState {
    /// Messages published since it began; the number of the last.
    pub published: u64,
    /// Messages put into buffers since it started, one for each subscription or group.
    pub delivered: u64,
    /// Messages dropped because a buffer was full, one for each subscription or group; and those that were gone
    /// from the history before they could be read.
    pub dropped: u64,
    /// Subscribers now.
    pub subscribers: usize,
    /// Subjects with a retained value now.
    pub retained: usize,
    /// The numbers of the first and the last message that its history has.
    pub history: Option<(u64, u64)>,
    /// How many its history has.
    pub kept: usize,
    /// Durable subscriptions, whether somebody holds them or not.
    pub durables: usize,
    /// Stored messages and positions that could not be read when the topic was opened: damaged, or of another
    /// version. Replays have gaps for them.
    pub unreadable: u64,
}

/// One subscription, or a group that shares one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SubscriptionState {
    /// What it subscribes to.
    pub pattern: Arc<str>,
    /// The name of the group, if it is shared.
    pub group: Option<Arc<str>>,
    /// Its name, if it is durable.
    pub name: Option<Arc<str>>,
    /// How many read from it: more than one only in a group, none if it is durable and nobody holds it.
    pub readers: usize,
    /// How many messages can wait for it.
    pub capacity: usize,
    /// How many do.
    pub waiting: usize,
    /// How many numbers of the topic lie between the first that waits for it and the last published; 0 if nothing
    /// waits. Not all of them need match its pattern.
    pub lag: u64,
    /// It reads from the history, and is not at its end.
    pub is_replaying: bool,
    /// Messages put into its buffer.
    pub delivered: u64,
    /// Messages it has missed.
    pub dropped: u64,
    /// The last number that was acknowledged, if it is durable.
    pub acknowledged: Option<u64>,
}
