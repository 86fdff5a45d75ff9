//! The side of a topic that a subscriber holds.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;

use super::buffer::{After, Buffer, Item, Took};
use super::error::TopicError;
use super::hub::Hub;
use super::message::{TopicEvent, TopicMessage};
use super::trie::Key;

/// How often one poll reads on in the history before others have their turn.
const ROUNDS: usize = 16;

/// The messages of a topic that one subscriber gets, as a stream of [`TopicEvent`]s. It ends when the topic ends, or
/// as its policy says. Dropping it unsubscribes; a member of a group thereby leaves to the others what it has not
/// taken (G30).
#[must_use = "a subscription that is dropped gets nothing"]
pub struct Subscription<T> {
    hub: Arc<Hub<T>>,
    buffer: Arc<Buffer<T>>,
    key: Key,
    /// Its number among all of the topic.
    reader: u64,
    since: u64,
    /// Taken out of the buffer, not yet handed on; retained values first.
    in_hand: VecDeque<Item<T>>,
    /// The last number that was handed on.
    handed: u64,
}

/// Nothing in it is pinned.
impl<T> Unpin for Subscription<T> {}

impl<T> Subscription<T> {
    pub(super) fn new(
        hub: Arc<Hub<T>>,
        buffer: Arc<Buffer<T>>,
        key: Key,
        reader: u64,
        since: u64,
        in_hand: VecDeque<Item<T>>,
    ) -> Self {
        buffer.join();
        Subscription {
            hub,
            buffer,
            key,
            reader,
            since,
            in_hand,
            handed: 0,
        }
    }

    /// The number of the last message that was published before it began: 0 if none was. Who subscribes
    /// again can tell from it what was missed in between.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.since
    }

    /// How many messages wait in its buffer; in a group, for all members together.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.buffer.len()
    }

    /// Says that this message, and all before it, need not be delivered again to this durable subscription, also
    /// after its holder has gone (G29). The position never goes back.
    ///
    /// With a topic that is [stored](super::Topic::open) the position is written soon after; until then a crash may
    /// bring messages back. So it is at-least-once.
    ///
    /// # Errors
    /// [`TopicError::NoDurable`] if this subscription isn't durable, or has been taken from it by the end of the
    /// topic; what the journal says, and then the position is as it was.
    pub fn acknowledge(&self, message: &TopicMessage<T>) -> Result<(), TopicError> {
        self.acknowledge_to(message.sequence())
    }

    /// The same by number, for who stores its position elsewhere. A number that was not published yet counts as the
    /// last that was.
    ///
    /// # Errors
    /// As [`acknowledge`](Subscription::acknowledge).
    pub fn acknowledge_to(&self, sequence: u64) -> Result<(), TopicError> {
        self.hub.acknowledge(self.key, &self.buffer, sequence)
    }

    pub(super) fn topic(&self) -> Arc<str> {
        Arc::clone(&self.hub.name)
    }

    /// What was handed on last is done with, if that matters to anybody.
    pub(super) fn handled(&self) {
        if self.buffer.is_durable() {
            // Refused, it comes again: at-least-once.
            let _ = self.acknowledge_to(self.handed);
        }
    }

    /// Whether others read from the same buffer.
    pub(super) fn waits_with_others(&self) -> bool {
        self.buffer.has_others()
    }

    /// Gives a message back that could not be handed on: another member of the group takes it, or this one again.
    pub(super) fn put_back(&mut self, event: TopicEvent<T>) {
        let mut after = After::default();
        self.buffer.put_back(Item::of(event), &mut after);
    }
}

impl<T> Stream for Subscription<T> {
    type Item = TopicEvent<T>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TopicEvent<T>>> {
        let this = &mut *self;
        let mut rounds = 0;
        loop {
            if let Some(item) = this.in_hand.pop_front() {
                if item.is_message() {
                    this.buffer.handed_on();
                }
                if !item.is_retained() {
                    this.handed = item.end();
                }
                return Poll::Ready(Some(item.into_event()));
            }
            let mut after = After::default();
            match this.buffer.take(&mut this.in_hand, &mut after) {
                Took::Items => {}
                Took::Ended => return Poll::Ready(None),
                Took::CatchUp if rounds < ROUNDS => {
                    this.hub.read_on(this.key, &this.buffer);
                    rounds += 1;
                }
                Took::CatchUp => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Took::Nothing => {
                    if this.buffer.register(this.reader, cx) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        let (hub, buffer) = (&self.hub, &self.buffer);
        hub.leave(self.key, buffer, self.reader, self.handed);
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("topic", &self.hub.name)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}
