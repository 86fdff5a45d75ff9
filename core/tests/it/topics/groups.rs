//! G30: of a group each message goes to one live member.

use std::collections::BTreeSet;

use callboard::System;
use callboard::topic::{Replay, SlowSubscriber, Subscription, Topic, TopicError, TopicOptions};
use futures::{FutureExt, StreamExt};
use proptest::prelude::*;

use super::common::{drain, options, publish_all, ranges, roomy, values};

async fn member(topic: &Topic<u64>) -> Subscription<u64> {
    topic.subscribe("a.*", roomy()).shared("g").await.unwrap()
}

#[callboard::test(both)]
async fn g30_each_message_goes_to_one_member_in_turn(system: System) {
    let topic = Topic::start(&system, "t");
    let (mut one, mut two) = (member(&topic).await, member(&topic).await);
    let mut own = topic.subscribe("a.*", roomy()).await.unwrap();
    let mut got = Vec::new();
    for n in 1..=10_u64 {
        let published = topic.publish("a.b", n).await.unwrap();
        assert_eq!(published.matched, 2, "a group is one");
        let members = [&mut one, &mut two];
        let next = members[usize::try_from(n % 2).unwrap()].next().await;
        got.push(*next.unwrap().message().unwrap());
    }
    assert_eq!(got, (1..=10).collect::<Vec<_>>());
    assert_eq!((drain(&mut one).len(), drain(&mut two).len()), (0, 0));
    assert_eq!(values(drain(&mut own)).len(), 10);
}

#[callboard::test(both)]
async fn g30_members_on_all_arbiters_share_the_messages(system: System) {
    let topic = Topic::start(&system, "t");
    let (seen_tx, mut seen) = futures::channel::mpsc::channel(64);
    for number in 0..4 {
        let mut member = member(&topic).await;
        let mut seen = seen_tx.clone();
        system.spawn(callboard::Placement::Spread, move || async move {
            while let Some(event) = member.next().await {
                let value = *event.message().unwrap();
                futures::SinkExt::send(&mut seen, (number, value))
                    .await
                    .unwrap();
            }
        });
    }
    drop(seen_tx);
    publish_all(&topic, "a.b", 1..=200).await;
    let mut got = BTreeSet::new();
    for _ in 1..=200 {
        let (_, value) = seen.next().await.unwrap();
        assert!(got.insert(value), "{value} came twice");
    }
    assert_eq!(got.len(), 200);
    topic.stop();
    assert_eq!(seen.next().await, None);
}

#[callboard::test(both)]
async fn g30_what_a_member_has_not_taken_when_it_goes_another_gets(system: System) {
    let topic = Topic::start(&system, "t");
    let (mut one, mut two) = (member(&topic).await, member(&topic).await);
    // Both wait; the first to be woken goes without having looked.
    assert!(one.next().now_or_never().is_none() && two.next().now_or_never().is_none());
    publish_all(&topic, "a.b", 1..=3).await;
    assert_eq!(values(vec![one.next().await.unwrap()]), [1]);
    drop(one);
    assert_eq!(values(drain(&mut two)), [2, 3]);
    // One that holds a message up and doesn't look holds up no other.
    let idle = member(&topic).await;
    let waits = async { two.next().await.unwrap().range() };
    let publishes = publish_all(&topic, "a.b", 4..=4);
    let (range, ()) = futures::join!(waits, publishes);
    assert_eq!(range, (4, 4));
    drop((idle, two));
    assert_eq!(
        topic.publish("a.b", 5).await.unwrap().matched,
        0,
        "it ends with its last"
    );
}

#[callboard::test(both)]
async fn g30_members_share_what_was_there_when_the_topic_ended(system: System) {
    let topic = Topic::start(&system, "t");
    let (mut one, mut two) = (member(&topic).await, member(&topic).await);
    publish_all(&topic, "a.b", 1..=3).await;
    topic.stop();
    assert_eq!(values(vec![one.next().await.unwrap()]), [1]);
    drop(one);
    assert_eq!(values(drain(&mut two)), [2, 3]);
    assert_eq!(two.next().await, None);
}

#[callboard::test(both)]
async fn g30_groups_are_apart_by_name_and_by_pattern_and_have_one_set_of_options(system: System) {
    let topic = Topic::start(&system, "t");
    let mut g = member(&topic).await;
    let mut h = topic.subscribe("a.*", roomy()).shared("h").await.unwrap();
    let mut wide = topic.subscribe(">", roomy()).shared("g").await.unwrap();
    assert_eq!(topic.publish("a.b", 1).await.unwrap().matched, 3);
    for subscription in [&mut g, &mut h, &mut wide] {
        assert_eq!(values(drain(subscription)), [1]);
    }
    let other = options(7, SlowSubscriber::DropNewest);
    let error = topic.subscribe("a.*", other).shared("g").await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, TopicError::GroupDiffers { .. }), "{text}");
    assert!(
        text.contains("capacity: 7") && text.contains("1024"),
        "{text}"
    );
    let retained = topic.subscribe("a.*", roomy()).shared("g").with_retained();
    assert!(matches!(retained.await, Err(TopicError::NotBoth(_))));
}

#[callboard::test(both)]
async fn g30_a_group_may_begin_in_the_past_and_reads_it_together(system: System) {
    let topic = Topic::start_with(&system, "t", TopicOptions::new().history(50));
    publish_all(&topic, "a.b", 1..=60).await;
    let join = async || {
        let shared = topic.subscribe("a.*", options(3, SlowSubscriber::DropOldest));
        shared.shared("g").from(Replay::Sequence(8)).await.unwrap()
    };
    let (mut one, mut two) = (join().await, join().await);
    let mut got = Vec::new();
    loop {
        let events = [&mut one, &mut two].map(|member| member.next().now_or_never().flatten());
        let before = got.len();
        got.extend(events.into_iter().flatten());
        if got.len() == before {
            break;
        }
    }
    let expected: Vec<_> = std::iter::once((8, 10))
        .chain((11..=60).map(|n| (n, n)))
        .collect();
    assert_eq!(ranges(&got), expected);
}

proptest! {
    /// G30 and G28 against a model: members come, read and go; each number reaches one of them, or lies in a gap
    /// that one of them is told of, in the order of the group.
    #[test]
    fn g30_each_number_reaches_one_member_or_is_in_a_gap(
        capacity in 1..5_usize,
        newest in any::<bool>(),
        steps in proptest::collection::vec((0..8_u8, any::<prop::sample::Index>()), 1..120),
    ) {
        let policy = if newest { SlowSubscriber::DropNewest } else { SlowSubscriber::DropOldest };
        callboard::Simulation::new(1).block_on(async move {
            let system = System::current().unwrap();
            let topic = Topic::start(&system, "t");
            let join = async || {
                let shared = topic.subscribe("a.*", options(capacity, policy)).shared("g");
                shared.await.unwrap()
            };
            // One that never goes, so that the group doesn't end.
            let mut members = vec![join().await];
            let (mut published, mut seen) = (0, 0);
            let mut check = |(from, to): (u64, u64)| {
                assert_eq!(from, seen + 1);
                seen = to;
            };
            for (step, index) in steps {
                match step {
                    0..=3 => {
                        published += 1;
                        topic.publish("a.b", published).await.unwrap();
                    }
                    4 => members.push(join().await),
                    5 if members.len() > 1 => {
                        drop(members.remove(1 + index.index(members.len() - 1)));
                    }
                    _ => {
                        let reader = index.index(members.len());
                        if let Some(Some(event)) = members[reader].next().now_or_never() {
                            check(event.range());
                        }
                    }
                }
                assert!(members[0].waiting() <= capacity);
            }
            drain(&mut members[0]).iter().for_each(|event| check(event.range()));
            assert_eq!(seen, published);
        });
    }
}
