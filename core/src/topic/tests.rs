//! Topic actors: order, gaps, isolation.

use futures::{FutureExt, StreamExt};
use proptest::prelude::*;

use super::*;

fn options(capacity: usize, policy: SlowSubscriber) -> SubscriberOptions {
    SubscriberOptions { capacity, policy }
}

fn drain<T>(subscription: &mut Subscription<T>) -> Vec<TopicEvent<T>> {
    std::iter::from_fn(|| subscription.next().now_or_never().flatten()).collect()
}

fn message(sequence: u64, value: u32) -> TopicEvent<u32> {
    TopicEvent::Message {
        subject: "a.b".into(),
        sequence,
        value,
    }
}

#[callboard::test(both)]
async fn g27_every_matching_subscriber_gets_every_message_in_order(system: System) {
    let topic = Topic::start(&system, "t");
    let mut all = topic
        .subscribe(">", SubscriberOptions::default())
        .await
        .unwrap();
    let mut some = topic
        .subscribe("a.*", SubscriberOptions::default())
        .await
        .unwrap();
    for n in 0..10_u32 {
        let subject = if n % 2 == 0 { "a.b" } else { "c" };
        let published = topic.publish(subject, n).await.unwrap();
        assert_eq!(published.sequence, u64::from(n) + 1);
        assert_eq!(published.matched, if n % 2 == 0 { 2 } else { 1 });
    }
    let values = |events: Vec<TopicEvent<u32>>| -> Vec<u32> {
        events
            .into_iter()
            .map(|event| match event {
                TopicEvent::Message { value, .. } => value,
                TopicEvent::Gap { .. } => panic!("no gap is due"),
            })
            .collect()
    };
    assert_eq!(values(drain(&mut all)), (0..10).collect::<Vec<_>>());
    assert_eq!(values(drain(&mut some)), [0, 2, 4, 6, 8]);
}

#[callboard::test(both)]
async fn g28_a_subscription_knows_what_was_published_before_it(system: System) {
    let topic = Topic::start(&system, "t");
    let options = SubscriberOptions::default();
    assert_eq!(topic.subscribe(">", options).await.unwrap().since(), 0);
    for n in 1..=3_u32 {
        topic.publish("a.b", n).await.unwrap();
    }
    assert_eq!(topic.subscribe(">", options).await.unwrap().since(), 3);
}

#[callboard::test(both)]
async fn g28_a_slow_subscriber_delays_nobody_and_is_told_what_it_missed(system: System) {
    let topic = Topic::start(&system, "t");
    let mut oldest = topic
        .subscribe(">", options(2, SlowSubscriber::DropOldest))
        .await
        .unwrap();
    let mut newest = topic
        .subscribe(">", options(2, SlowSubscriber::DropNewest))
        .await
        .unwrap();
    let mut ended = topic
        .subscribe(">", options(2, SlowSubscriber::Disconnect))
        .await
        .unwrap();
    let mut fast = topic
        .subscribe(">", SubscriberOptions::default())
        .await
        .unwrap();
    for n in 1..=5_u32 {
        topic.publish("a.b", n).await.unwrap();
    }
    assert_eq!(drain(&mut fast).len(), 5);
    let gap = |from, to| TopicEvent::Gap { from, to };
    assert_eq!(
        drain(&mut oldest),
        [gap(1, 3), message(4, 4), message(5, 5)]
    );
    assert_eq!(
        drain(&mut newest),
        [message(1, 1), message(2, 2), gap(3, 5)]
    );
    assert_eq!(drain(&mut ended), [message(1, 1), message(2, 2), gap(3, 3)]);
    assert_eq!(ended.next().await, None);
    topic.publish("a.b", 6).await.unwrap();
    assert_eq!(drain(&mut newest), [message(6, 6)]);
    let state = topic.state().await.unwrap();
    assert_eq!((state.published, state.subscribers), (6, 3));
}

#[callboard::test(both)]
async fn a_dropped_subscription_is_forgotten_and_an_ended_topic_ends_its_streams(system: System) {
    let topic = Topic::start(&system, "t");
    let gone = topic
        .subscribe("a", SubscriberOptions::default())
        .await
        .unwrap();
    let mut stays = topic
        .subscribe("b", SubscriberOptions::default())
        .await
        .unwrap();
    drop(gone);
    assert_eq!(topic.state().await.unwrap().subscribers, 1);
    topic.publish("b", 1).await.unwrap();
    topic.stop();
    assert!(matches!(
        stays.next().await,
        Some(TopicEvent::Message { value: 1, .. })
    ));
    assert_eq!(stays.next().await, None);
    assert!(matches!(
        topic.publish("b", 2).await,
        Err(TopicError::Failed(_))
    ));
}

#[callboard::test(both)]
async fn bad_subjects_are_refused_by_name(system: System) {
    let topic = Topic::start(&system, "t");
    let error = topic.publish("a..b", 1).await.unwrap_err();
    assert!(error.to_string().contains("a..b"), "{error}");
    let error = topic
        .subscribe("a.>.b", SubscriberOptions::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("a.>.b"), "{error}");
    assert!(topic.try_publish("a.*", 1).is_err());
}

proptest! {
    /// G27 and G28: whatever is read when, what a subscriber gets is every number once, in order, as a
    /// message or inside a gap.
    #[test]
    fn g28_messages_and_gaps_cover_every_number_once(
        capacity in 1..4_usize,
        newest in any::<bool>(),
        steps in proptest::collection::vec(any::<bool>(), 0..60),
    ) {
        let policy = if newest { SlowSubscriber::DropNewest } else { SlowSubscriber::DropOldest };
        let buffer = Arc::new(Buffer::new(options(capacity, policy)));
        let mut subscription = Subscription::new(Arc::clone(&buffer), 0);
        let subject: Arc<str> = "a".into();
        let (mut published, mut seen) = (0, 0);
        let mut check = |event: TopicEvent<u64>| {
            let (from, to) = match event {
                TopicEvent::Message { sequence, .. } => (sequence, sequence),
                TopicEvent::Gap { from, to } => (from, to),
            };
            assert_eq!(from, seen + 1);
            assert!(to >= from);
            seen = to;
        };
        for publish in steps {
            if publish {
                published += 1;
                buffer.push(&subject, published, published);
                prop_assert!(buffer.len() <= capacity);
            } else if let Some(event) = subscription.next().now_or_never().flatten() {
                check(event);
            }
        }
        drain(&mut subscription).into_iter().for_each(&mut check);
        prop_assert_eq!(seen, published);
    }
}
