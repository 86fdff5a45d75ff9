//! Topics.

use std::future::Future;

use callboard::System;
use callboard::topic::{SubscriberOptions, Subscription, Topic, TopicEvent};
use common::size::each;
use common::stopwatch::Stopwatch;
use common::threads::Layout;
use futures::StreamExt;

use super::{Callboard, FIRST, on_system};
use crate::item::Item;
use crate::workloads::fan_out::{self, Count};
use crate::workloads::{CAPACITY, Run};

impl fan_out::Topic for Callboard {
    type Publisher = Topic<Item>;

    fn run<F, Fut>(&self, body: F) -> Fut::Output
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: Send> + Send + 'static,
    {
        on_system(Layout::OneThread, |_| body())
    }

    async fn start(subscribers: Vec<Count>) -> Topic<Item> {
        let system = System::current().expect("on an arbiter");
        let topic = Topic::start(&system, "items");
        for mut count in subscribers {
            let options = SubscriberOptions {
                capacity: CAPACITY,
                ..SubscriberOptions::default()
            };
            let subscription = topic.subscribe("plant.line", options).await;
            let mut subscription = subscription.expect("the topic lives");
            let task = move || async move {
                while let Some(event) = subscription.next().await {
                    count.add(item_of(&event));
                }
            };
            assert!(system.spawn(FIRST, task), "the system runs");
        }
        topic
    }

    async fn publish(topic: &mut Topic<Item>, item: Item) {
        let published = topic.publish("plant.line", item).await;
        let dropped = published.expect("the topic lives").dropped;
        assert_eq!(dropped, 0, "a buffer was full");
    }

    async fn stop(topic: Topic<Item>) {
        topic.stop();
    }
}

fn item_of(event: &TopicEvent<Item>) -> &Item {
    match event {
        TopicEvent::Message(message) => message.value(),
        TopicEvent::Gap { from, to, .. } => panic!("messages {from} to {to} are missing"),
    }
}

/// How many of the subscriptions get something, the same ones in turn: what is measured is how they are found,
/// not how much memory the others' buffers take.
const FOUND: usize = 100;
const MANY: usize = 100_000;

pub(super) fn matching(run: &Run) -> Vec<f64> {
    let publishes = run.size.pick(200_000, 2_000);
    let few = match_among(FOUND, publishes);
    let many = match_among(MANY, publishes);
    vec![few, many, many / few]
}

/// Nanoseconds a publish.
fn match_among(subscriptions: usize, publishes: u64) -> f64 {
    on_system(Layout::OneThread, move |system| async move {
        let topic = Topic::start(&system, "items");
        let mut others = Vec::new();
        let mut found = Vec::new();
        for number in 0..subscriptions {
            // Half name one subject; half match all that is below a level, or beside it.
            let pattern = match number % 4 {
                0 => format!("plant.line{number}.*"),
                1 => format!("plant.line{number}.>"),
                _ => format!("plant.line{number}.heat"),
            };
            let options = SubscriberOptions {
                capacity: 1,
                ..SubscriberOptions::default()
            };
            let subscription = topic.subscribe(&pattern, options).await;
            let subscription = subscription.expect("the topic lives");
            if number % (subscriptions / FOUND) == 0 {
                found.push((format!("plant.line{number}.heat"), subscription));
            } else {
                others.push(subscription);
            }
        }

        // One round before, in which buffers get their room.
        publish_to(&topic, &mut found, FOUND as u64).await;
        let begin = Stopwatch::start();
        publish_to(&topic, &mut found, publishes).await;
        #[allow(clippy::cast_precision_loss)]
        let nanoseconds = begin.elapsed().as_nanos() as f64;
        topic.stop();
        each(nanoseconds, publishes)
    })
}

/// Publishes to each in turn, and reads it there.
async fn publish_to(topic: &Topic<Item>, found: &mut [(String, Subscription<Item>)], count: u64) {
    let mut numbers = 0..count;
    loop {
        for (subject, subscription) in &mut *found {
            let Some(number) = numbers.next() else {
                return;
            };
            let published = topic.publish(subject, Item::new(number)).await;
            let published = published.expect("the topic lives");
            assert_eq!((published.matched, published.dropped), (1, 0));
            let event = subscription.next().await.expect("the topic lives");
            assert_eq!(item_of(&event).number(), number);
        }
    }
}
