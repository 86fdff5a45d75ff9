//! G27: each matching subscriber gets each message in order, and the publisher is told what became of it.

use callboard::topic::{Publish, PublishError, Published, SlowSubscriber, Topic, TopicError};
use callboard::{RequestKey, System, Verdict};
use futures::StreamExt;

use super::common::{drain, options, publish_all, ranges, roomy, values};

#[callboard::test(both)]
async fn g27_every_matching_subscriber_gets_every_message_in_order(system: System) {
    let topic = Topic::start(&system, "t");
    let mut all = topic.subscribe(">", roomy()).await.unwrap();
    let mut some = topic.subscribe("a.*", roomy()).await.unwrap();
    for n in 0..10_u64 {
        let subject = if n % 2 == 0 { "a.b" } else { "c" };
        let published = topic.publish(subject, n).await.unwrap();
        assert_eq!(published.sequence, n + 1);
        assert_eq!(published.matched, if n % 2 == 0 { 2 } else { 1 });
    }
    assert_eq!(values(drain(&mut all)), (0..10).collect::<Vec<_>>());
    assert_eq!(values(drain(&mut some)), [0, 2, 4, 6, 8]);
}

#[callboard::test(both)]
async fn g27_publishers_on_all_arbiters_are_each_in_order(system: System) {
    let topic = Topic::start(&system, "t");
    let mut all = topic.subscribe("from.*", roomy()).await.unwrap();
    for publisher in 0..4_u64 {
        let topic = topic.clone();
        system.spawn(callboard::Placement::Spread, move || async move {
            let subject = format!("from.{publisher}");
            for n in 0..50 {
                topic.publish(&subject, publisher * 100 + n).await.unwrap();
            }
        });
    }
    let mut next = [0; 4];
    for sequence in 1..=200 {
        let event = all.next().await.unwrap();
        assert_eq!(event.range(), (sequence, sequence));
        let value = event.message().unwrap().into_value();
        let publisher = usize::try_from(value / 100).unwrap();
        assert_eq!(value % 100, next[publisher]);
        next[publisher] += 1;
    }
    assert_eq!(next, [50; 4]);
}

/// Venice answers OK for messages that it dropped (306 of 400 in one run).
#[callboard::test(both)]
async fn g28_a_publisher_is_told_of_every_message_that_somebody_lost(system: System) {
    let topic = Topic::start(&system, "t");
    let mut slow = topic
        .subscribe(">", options(10, SlowSubscriber::DropNewest))
        .await
        .unwrap();
    let mut other = topic
        .subscribe(">", options(30, SlowSubscriber::DropOldest))
        .await
        .unwrap();
    let mut dropped = 0;
    for n in 1..=100_u64 {
        let published = topic.publish("a", n).await.unwrap();
        let expected = usize::from(n > 10) + usize::from(n > 30);
        assert_eq!(
            published,
            Published {
                sequence: n,
                matched: 2,
                dropped: expected
            }
        );
        dropped += published.dropped as u64;
    }
    assert_eq!(topic.state().dropped, dropped);
    assert_eq!(ranges(&drain(&mut slow)).last(), Some(&(11, 100)));
    assert_eq!(ranges(&drain(&mut other))[0], (1, 70));
}

/// Counts its clones, of which a topic needs none.
#[derive(Debug)]
struct Unique(std::sync::Arc<()>);

#[callboard::test(both)]
async fn a_message_is_stored_once_for_all_its_subscribers(system: System) {
    let topic = Topic::start(&system, "t");
    let mut subscriptions = Vec::new();
    for _ in 0..10 {
        subscriptions.push(topic.subscribe("a.>", roomy()).await.unwrap());
    }
    let held = std::sync::Arc::new(());
    topic
        .publish("a.b", Unique(std::sync::Arc::clone(&held)))
        .await
        .unwrap();
    assert_eq!(
        std::sync::Arc::strong_count(&held),
        2,
        "the test and the topic"
    );
    for subscription in &mut subscriptions {
        let message = subscription.next().await.unwrap().message().unwrap();
        assert!(std::sync::Arc::ptr_eq(&message.0, &held));
    }
    assert_eq!(std::sync::Arc::strong_count(&held), 1, "nobody keeps it");
}

#[callboard::test(both)]
async fn a_message_says_what_its_publisher_said_of_it(system: System) {
    let topic = Topic::start(&system, "t");
    let mut all = topic.subscribe(">", roomy()).await.unwrap();
    let key = RequestKey::new();
    topic.publish("a.b", 7_u64).key(key).await.unwrap();
    let message = all.next().await.unwrap().message().unwrap();
    assert_eq!((message.subject(), message.sequence()), ("a.b", 1));
    assert_eq!((message.key(), *message), (Some(key), 7));
    assert_eq!(
        message.published_at(),
        None,
        "nobody reads the time for nothing"
    );
    let kept = message.clone();
    assert_eq!(kept, message);
    assert_eq!(message.into_value(), 7);
}

#[callboard::test(both)]
async fn g06_what_is_not_published_comes_back(system: System) {
    let topic = Topic::start(&system, "t");
    let error = topic.publish("a..b", 1_u64).await.unwrap_err();
    assert!(error.to_string().contains("a..b"), "{error}");
    assert_eq!(
        (error.verdict(), error.value),
        (Verdict::NotExecuted, Some(1))
    );
    let error = topic.try_publish("a.*", 2).unwrap_err();
    assert_eq!(error.value, Some(2));
    let error = topic.subscribe("a.>.b", roomy()).await.unwrap_err();
    assert!(error.to_string().contains("a.>.b"), "{error}");
    topic.stop();
    let error: PublishError<u64> = topic.publish("a", 3).await.unwrap_err();
    assert!(matches!(&error.error, TopicError::Failed(_)), "{error}");
    assert_eq!(
        (error.verdict(), error.value),
        (Verdict::NotExecuted, Some(3))
    );
    assert_eq!(topic.state().published, 0);
}

#[callboard::test(both)]
async fn g27_a_publish_that_is_not_awaited_does_nothing(system: System) {
    let topic = Topic::start(&system, "t");
    let all = topic.subscribe(">", roomy()).await.unwrap();
    let publish: Publish<'_, u64> = topic.publish("a", 1);
    drop(publish);
    drop(topic.publish("a", 2).into_future());
    assert_eq!((topic.state().published, all.waiting()), (0, 0));
    assert_eq!(all.since(), 0);
    publish_all(&topic, "a", 3..=5).await;
    assert_eq!(topic.subscribe(">", roomy()).await.unwrap().since(), 3);
}

/// A topic needs no runtime, and no thread of its own.
#[test]
fn g27_a_plain_thread_publishes_and_subscribes() {
    let system = System::with_arbiters(1).unwrap();
    let topic = Topic::start(&system, "t");
    futures::executor::block_on(async {
        let mut all = topic.subscribe(">", roomy()).await.unwrap();
        publish_all(&topic, "a", 1..=100).await;
        assert_eq!(values(drain(&mut all)), (1..=100).collect::<Vec<_>>());
    });
    system.shutdown_blocking().unwrap();
}

/// G5: who only publishes lets others of its thread run.
#[test]
fn g05_a_publisher_that_never_waits_gives_others_their_turns() {
    let mut simulation = callboard::Simulation::new(1);
    let system = simulation.system().clone();
    simulation.block_on(async move {
        let topic = Topic::start(&system, "t");
        let mut all = topic
            .subscribe(">", options(1, SlowSubscriber::DropOldest))
            .await
            .unwrap();
        let (seen_tx, mut seen) = futures::channel::oneshot::channel();
        system.spawn(callboard::Placement::Spread, move || async move {
            all.next().await;
            let _ = seen_tx.send(());
        });
        for n in 0..1_000_000_u64 {
            topic.publish("a", n).await.unwrap();
            if seen.try_recv() == Ok(Some(())) {
                return;
            }
        }
        panic!("a million messages, and its subscriber had no turn");
    });
}
