//! The bounded buffer between a topic and one subscriber.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::{SlowSubscriber, SubscriberOptions, TopicEvent};

pub(super) struct Buffer<T> {
    capacity: usize,
    policy: SlowSubscriber,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    events: VecDeque<TopicEvent<T>>,
    /// How many of `events` are messages; gap notices have room of their own, at most one between two
    /// messages.
    messages: usize,
    subscriber: Option<Waker>,
    /// No more will come.
    ended: bool,
    /// Nobody listens.
    abandoned: bool,
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Stored,
    /// Stored, and an older one was lost.
    DroppedOldest,
    /// Lost.
    DroppedNewest,
    /// Lost, and the policy ended the subscription.
    Disconnected,
    /// Nobody listens any more.
    Gone,
}

impl<T> Buffer<T> {
    pub(super) fn new(options: SubscriberOptions) -> Self {
        Buffer {
            capacity: options.capacity.max(1),
            policy: options.policy,
            inner: Mutex::new(Inner {
                events: VecDeque::new(),
                messages: 0,
                subscriber: None,
                ended: false,
                abandoned: false,
            }),
        }
    }

    /// Puts a message in, or drops one. Answers whom to wake for it.
    pub(super) fn push(
        &self,
        subject: &Arc<str>,
        sequence: u64,
        value: T,
    ) -> (Pushed, Option<Waker>) {
        let message = TopicEvent::Message {
            subject: Arc::clone(subject),
            sequence,
            value,
        };
        let mut inner = self.inner.lock();
        if inner.abandoned || inner.ended {
            return (Pushed::Gone, None);
        }
        let mut lost = None;
        let pushed = if inner.messages < self.capacity {
            inner.store(message);
            Pushed::Stored
        } else {
            match self.policy {
                SlowSubscriber::DropOldest => {
                    lost = inner.drop_oldest();
                    inner.store(message);
                    Pushed::DroppedOldest
                }
                SlowSubscriber::DropNewest => {
                    lost = Some(message);
                    inner.miss_newest(sequence);
                    Pushed::DroppedNewest
                }
                SlowSubscriber::Disconnect => {
                    lost = Some(message);
                    inner.miss_newest(sequence);
                    inner.ended = true;
                    Pushed::Disconnected
                }
            }
        };
        let wake = inner.subscriber.take();
        drop(inner);
        // A user's `Drop` runs outside the lock.
        drop(lost);
        (pushed, wake)
    }

    /// No more will come; what is buffered is still delivered.
    pub(super) fn end(&self) {
        let mut inner = self.inner.lock();
        inner.ended = true;
        let wake = inner.subscriber.take();
        drop(inner);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Nobody listens any more.
    pub(super) fn abandon(&self) {
        let mut inner = self.inner.lock();
        inner.abandoned = true;
        let events = std::mem::take(&mut inner.events);
        drop(inner);
        drop(events);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.inner.lock().abandoned
    }

    pub(super) fn len(&self) -> usize {
        self.inner.lock().messages
    }

    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<TopicEvent<T>>> {
        let mut inner = self.inner.lock();
        match inner.events.pop_front() {
            Some(event) => {
                inner.messages -= usize::from(matches!(event, TopicEvent::Message { .. }));
                Poll::Ready(Some(event))
            }
            None if inner.ended => Poll::Ready(None),
            None => {
                inner.subscriber = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Inner<T> {
    fn store(&mut self, message: TopicEvent<T>) {
        self.messages += 1;
        self.events.push_back(message);
    }

    /// Turns the oldest message into part of the gap before it.
    fn drop_oldest(&mut self) -> Option<TopicEvent<T>> {
        let gap = match self.events.front() {
            Some(TopicEvent::Gap { from, .. }) => Some(*from),
            _ => None,
        };
        if gap.is_some() {
            self.events.pop_front();
        }
        let oldest = self.events.pop_front()?;
        let TopicEvent::Message { sequence, .. } = &oldest else {
            return Some(oldest);
        };
        self.messages -= 1;
        let mut to = *sequence;
        // A gap behind the dropped message joins the one before it.
        if let Some(TopicEvent::Gap { to: end, .. }) = self.events.front() {
            to = *end;
            self.events.pop_front();
        }
        let from = gap.unwrap_or(*sequence);
        self.events.push_front(TopicEvent::Gap { from, to });
        Some(oldest)
    }

    fn miss_newest(&mut self, sequence: u64) {
        match self.events.back_mut() {
            Some(TopicEvent::Gap { to, .. }) => *to = sequence,
            _ => self.events.push_back(TopicEvent::Gap {
                from: sequence,
                to: sequence,
            }),
        }
    }
}
