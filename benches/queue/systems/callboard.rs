//! Callboard: queues and topics as a program opens them, all that is on by default left on.

use std::future::Future;
use std::sync::mpsc;

use callboard::queue::Queue;
use callboard::topic::{SubscriberOptions, Subscription, Topic, TopicEvent};
use callboard::{Placement, System};
use common::run::Result;
use common::size::{each, millions};
use common::stopwatch::Stopwatch;
use common::threads::{HUNG_AFTER, Layout, on_fresh_thread};
use futures::StreamExt;
use tokio::sync::oneshot;

use super::Candidate;
use crate::item::Item;
use crate::workloads::fan_out::{self, Count};
use crate::workloads::{Batch, CAPACITY, Run, Work, channel};

pub(crate) struct Callboard;

impl Candidate for Callboard {
    fn name(&self) -> &'static str {
        "callboard"
    }

    fn takes(&self, work: Work) -> bool {
        matches!(
            work,
            Work::OfferPoll {
                batch: Batch::Single,
                ..
            } | Work::Publish { .. }
                | Work::Match
        )
    }

    fn measure(&self, work: Work, run: &Run) -> Result<Vec<f64>> {
        match work {
            Work::OfferPoll { batch, layout } => offer_poll(batch, layout, run),
            Work::Publish { subscribers } => fan_out::measure(self, subscribers, run),
            Work::Match => Ok(matching(run)),
            _ => Err("not yet".into()),
        }
    }
}

/// Where producers and publishers run.
const FIRST: Placement = Placement::Pinned(0);

/// Runs `body` as a task of the first arbiter of a fresh system, and tears all down.
fn on_system<F, Fut>(layout: Layout, body: F) -> Fut::Output
where
    F: FnOnce(System) -> Fut + Send + 'static,
    Fut: Future<Output: Send> + 'static,
{
    on_fresh_thread(move || {
        let system = System::with_arbiters(arbiters(layout)).expect("arbiters");
        let (done, wait) = mpsc::sync_channel(1);
        let task = {
            let system = system.clone();
            move || async move {
                // Nobody waits only if the run was given up.
                let _ = done.send(body(system).await);
            }
        };
        assert!(system.spawn(FIRST, task), "the system runs");
        let output = wait.recv_timeout(HUNG_AFTER).expect("the run ended");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let killed = runtime.block_on(system.shutdown());
        assert!(killed.is_empty(), "actors that would not stop: {killed:?}");
        output
    })
}

fn arbiters(layout: Layout) -> usize {
    match layout {
        Layout::OneThread => 1,
        Layout::TwoThreads => 2,
    }
}

fn offer_poll(batch: Batch, layout: Layout, run: &Run) -> Result<Vec<f64>> {
    let count = channel::items(batch, run);
    let elapsed = on_system(layout, move |system| async move {
        let queue = Queue::bounded(&system, "items", CAPACITY);
        let (done, received) = oneshot::channel();
        let begin = Stopwatch::start();
        let consumers = Placement::Pinned(arbiters(layout) - 1);
        let (producer, consumer) = (queue.clone(), queue);
        let consuming = system.spawn(consumers, move || async move {
            done.send(poll(consumer, count).await)
                .expect("the run waits");
        });
        let producing = system.spawn(FIRST, move || offer(producer, count));
        assert!(consuming && producing, "the system runs");
        received.await.expect("the consumer ends");
        begin.elapsed()
    });
    Ok(vec![millions(count, elapsed)])
}

async fn offer(queue: Queue<Item>, count: u64) {
    for number in 0..count {
        queue.offer(Item::new(number)).await.expect("it is stored");
    }
}

async fn poll(queue: Queue<Item>, count: u64) {
    for number in 0..count {
        let item = queue.poll().await.expect("the queue lives");
        let item = item.expect("no deadline has passed");
        assert_eq!(item.number(), number, "out of order");
    }
}

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
                    count.add(&value_of(&event));
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

fn value_of(event: &TopicEvent<Item>) -> Item {
    match event {
        TopicEvent::Message { value, .. } => *value,
        TopicEvent::Gap { from, to } => panic!("messages {from} to {to} are missing"),
    }
}

/// How many of the subscriptions get something, the same ones in turn: what is measured is how they are found,
/// not how much memory the others' buffers take.
const FOUND: usize = 100;
const MANY: usize = 100_000;

fn matching(run: &Run) -> Vec<f64> {
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
            assert_eq!(value_of(&event).number(), number);
        }
    }
}
