//! What the tests of topics share.

use std::collections::VecDeque;

use callboard::topic::{SlowSubscriber, SubscriberOptions, Subscription, Topic, TopicEvent};
use futures::{FutureExt, StreamExt};

pub(crate) fn options(capacity: usize, policy: SlowSubscriber) -> SubscriberOptions {
    SubscriberOptions { capacity, policy }
}

/// Room for all.
pub(crate) fn roomy() -> SubscriberOptions {
    SubscriberOptions::default()
}

/// What is there without waiting.
pub(crate) fn drain<T>(subscription: &mut Subscription<T>) -> Vec<TopicEvent<T>> {
    std::iter::from_fn(|| subscription.next().now_or_never().flatten()).collect()
}

/// The values among them, of which none may be missing.
pub(crate) fn values<T: Clone>(events: Vec<TopicEvent<T>>) -> Vec<T> {
    let value = |event: TopicEvent<T>| match event.message() {
        Some(message) => message.into_value(),
        None => panic!("no gap is due"),
    };
    events.into_iter().map(value).collect()
}

/// The numbers that they account for.
pub(crate) fn ranges<T>(events: &[TopicEvent<T>]) -> Vec<(u64, u64)> {
    events.iter().map(TopicEvent::range).collect()
}

/// Publishes numbers from 1 on, each its own sequence if nothing else was published.
pub(crate) async fn publish_all(
    topic: &Topic<u64>,
    subject: &str,
    values: std::ops::RangeInclusive<u64>,
) {
    for n in values {
        topic.publish(subject, n).await.unwrap();
    }
}

/// The numbers that a subscriber is owed, in order.
#[derive(Debug, Default)]
pub(crate) struct Owed(VecDeque<u64>);

impl Owed {
    pub(crate) fn add(&mut self, sequence: u64) {
        self.0.push_back(sequence);
    }

    /// Takes off what an event accounts for: the next number, exactly, and in a gap all up to its end.
    pub(crate) fn take<T>(&mut self, event: &TopicEvent<T>) {
        let (from, to) = event.range();
        if let TopicEvent::Gap { missed, .. } = event {
            let inside = self.0.iter().take_while(|number| **number <= to).count();
            if let Some(missed) = missed {
                assert_eq!(
                    self.0.front(),
                    Some(&from),
                    "a gap begins where something is missing"
                );
                assert_eq!(*missed, inside as u64);
            }
            assert!(
                inside > 0 || missed.is_none(),
                "a gap for nothing: {from} to {to}"
            );
            assert!(self.0.front().is_none_or(|first| *first >= from));
            self.0.drain(..inside);
        } else {
            assert_eq!(self.0.pop_front(), Some(from), "the next number, once");
        }
    }

    pub(crate) fn assert_none(&self) {
        assert!(self.0.is_empty(), "never told of {:?}", self.0);
    }
}
