//! G29: who comes late gets the last value, or what the history has, or goes on where it was.

use std::time::Duration;

use callboard::System;
use callboard::topic::{
    Origin, Replay, SlowSubscriber, Subscription, Topic, TopicError, TopicEvent, TopicOptions,
};
use futures::StreamExt;

use super::common::{drain, options, publish_all, ranges, roomy, values};

fn with_history(system: &System, count: usize) -> Topic<u64> {
    Topic::start_with(system, "t", TopicOptions::new().history(count))
}

#[callboard::test(both)]
async fn g29_the_last_value_of_each_subject_comes_first_to_those_who_ask(system: System) {
    let topic = Topic::start(&system, "t");
    for (subject, n) in [
        ("lesson.a", 1),
        ("lesson.b", 2),
        ("lesson.a", 3),
        ("other", 4),
    ] {
        topic.publish(subject, n).retain().await.unwrap();
    }
    publish_all(&topic, "lesson.a", 5..=5).await;
    let mut late = topic
        .subscribe("lesson.*", roomy())
        .with_retained()
        .await
        .unwrap();
    let mut plain = topic.subscribe("lesson.*", roomy()).await.unwrap();
    publish_all(&topic, "lesson.a", 6..=6).await;
    let got = drain(&mut late);
    assert_eq!(ranges(&got), [(2, 2), (3, 3), (6, 6)]);
    let origins = got
        .into_iter()
        .map(|event| event.message().unwrap().origin());
    let origins: Vec<_> = origins.collect();
    assert_eq!(origins, [Origin::Retained, Origin::Retained, Origin::Live]);
    assert_eq!(values(drain(&mut plain)), [6]);
    assert_eq!(topic.forget_retained("lesson.a"), Ok(true));
    assert_eq!(topic.forget_retained("lesson.a"), Ok(false));
    let mut later = topic.subscribe(">", roomy()).with_retained().await.unwrap();
    assert_eq!(values(drain(&mut later)), [2, 4]);
}

#[callboard::test(both)]
async fn g03_one_retained_subject_too_many_is_refused_and_nothing_is_published(system: System) {
    let topic = Topic::start_with(&system, "t", TopicOptions::new().retained(2));
    let all = topic.subscribe(">", roomy()).await.unwrap();
    for subject in ["a", "b", "a"] {
        topic.publish(subject, 1).retain().await.unwrap();
    }
    let error = topic.publish("c", 4).retain().await.unwrap_err();
    assert!(error.to_string().contains("`c`"), "{error}");
    assert!(matches!(
        error.error,
        TopicError::RetainedFull { limit: 2, .. }
    ));
    assert_eq!((error.value, all.waiting()), (Some(4), 3));
    topic.forget_retained("b").unwrap();
    topic.publish("c", 4).retain().await.unwrap();
}

#[callboard::test(both)]
async fn g29_a_replay_is_followed_by_what_is_published_without_hole_or_double(system: System) {
    let topic = with_history(&system, 100);
    publish_all(&topic, "a", 1..=10).await;
    let from = topic.subscribe("a", roomy()).capacity(2);
    let mut from = from.from(Replay::Sequence(4)).await.unwrap();
    let mut all = topic.subscribe(">", options(1, SlowSubscriber::DropOldest));
    all = all.from(Replay::All);
    let mut all = all.await.unwrap();
    assert_eq!(from.since(), 10);
    let mut events = vec![from.next().await.unwrap()];
    publish_all(&topic, "a", 11..=12).await;
    events.extend(drain(&mut from));
    publish_all(&topic, "a", 13..=13).await;
    events.extend(drain(&mut from));
    assert_eq!(values(events.clone()), (4..=13).collect::<Vec<_>>());
    let origins = events
        .into_iter()
        .map(|event| event.message().unwrap().origin());
    let live = origins.filter(|origin| *origin == Origin::Live).count();
    assert_eq!(
        live, 1,
        "what was published while it read on is read, not pushed"
    );
    // The history is the buffer of who reads it: a capacity of one loses nothing.
    assert_eq!(values(drain(&mut all)), (1..=13).collect::<Vec<_>>());
}

#[callboard::test(both)]
async fn g29_what_the_history_has_no_more_is_an_exact_gap_first(system: System) {
    let topic = with_history(&system, 3);
    publish_all(&topic, "a", 1..=10).await;
    let gap = |from, to| TopicEvent::Gap {
        from,
        to,
        missed: None,
    };
    let mut from = topic
        .subscribe("a", roomy())
        .from(Replay::Sequence(2))
        .await
        .unwrap();
    let events = drain(&mut from);
    assert_eq!(events[0], gap(2, 7));
    assert_eq!(ranges(&events), [(2, 7), (8, 8), (9, 9), (10, 10)]);
    let mut all = topic
        .subscribe("a", roomy())
        .from(Replay::All)
        .await
        .unwrap();
    assert_eq!(values(drain(&mut all)), [8, 9, 10]);
    // Also what falls out of it while somebody reads.
    let mut slow = topic
        .subscribe("a", roomy())
        .capacity(1)
        .from(Replay::All)
        .await
        .unwrap();
    assert_eq!(slow.next().await.unwrap().range(), (8, 8));
    publish_all(&topic, "a", 11..=15).await;
    let events = drain(&mut slow);
    assert_eq!(events[0], gap(9, 12));
    assert_eq!(ranges(&events), [(9, 12), (13, 13), (14, 14), (15, 15)]);
    assert!(topic.state().dropped >= 4);
    // Behind the last there is nothing to replay.
    let ahead = Replay::Sequence(1_000);
    let mut ahead = topic.subscribe("a", roomy()).from(ahead).await.unwrap();
    publish_all(&topic, "a", 16..=16).await;
    assert_eq!(values(drain(&mut ahead)), [16]);
}

#[callboard::test(simulated)]
async fn g29_a_replay_begins_at_a_time(system: System) {
    let minute = Duration::from_secs(60);
    let kept = TopicOptions::new().history(100).history_age(10 * minute);
    let topic = Topic::start_with(&system, "t", kept);
    let begin = system.clock().unix();
    for n in 1..=5 {
        publish_all(&topic, "a", n..=n).await;
        system.clock().sleep(minute).await;
    }
    let replay = async |replay| {
        let mut subscription = topic.subscribe("a", roomy()).from(replay).await.unwrap();
        values(drain(&mut subscription))
    };
    assert_eq!(replay(Replay::Time(begin + 2 * minute)).await, [3, 4, 5]);
    let between = begin + minute + Duration::from_nanos(1);
    assert_eq!(replay(Replay::Time(between)).await, [3, 4, 5]);
    assert_eq!(replay(Replay::Last(2 * minute)).await, [4, 5]);
    assert_eq!(
        replay(Replay::Time(begin + 9 * minute)).await,
        [] as [u64; 0]
    );
    assert_eq!(replay(Replay::All).await, [1, 2, 3, 4, 5]);
    // What is too old is gone.
    system.clock().sleep(7 * minute).await;
    assert_eq!(replay(Replay::All).await, [3, 4, 5]);
    assert_eq!(topic.state().kept, 3);
    let mut from = topic
        .subscribe("a", roomy())
        .from(Replay::Sequence(1))
        .await
        .unwrap();
    assert_eq!(ranges(&drain(&mut from))[0], (1, 2));
}

#[callboard::test(both)]
async fn g29_retained_values_that_the_replay_brings_come_once(system: System) {
    let topic = with_history(&system, 2);
    for (subject, n) in [("a", 1_u64), ("b", 2), ("c", 3)] {
        topic.publish(subject, n).retain().await.unwrap();
    }
    let both = topic
        .subscribe(">", roomy())
        .with_retained()
        .from(Replay::All);
    let events = drain(&mut both.await.unwrap());
    let seen: Vec<_> = events
        .into_iter()
        .map(|event| event.message().unwrap())
        .collect();
    let seen: Vec<_> = seen
        .iter()
        .map(|message| (**message, message.origin()))
        .collect();
    let expected = [
        (1, Origin::Retained),
        (2, Origin::Replayed),
        (3, Origin::Replayed),
    ];
    assert_eq!(seen, expected);
}

#[callboard::test(both)]
async fn g29_a_replay_needs_a_history_and_says_so(system: System) {
    let topic: Topic<u64> = Topic::start(&system, "lessons");
    let error = topic
        .subscribe("a", roomy())
        .from(Replay::All)
        .await
        .unwrap_err();
    assert_eq!(error, TopicError::NoHistory("lessons".into()));
    let error = topic
        .subscribe("a", roomy())
        .durable("d")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`lessons`"), "{error}");
}

#[callboard::test(both)]
async fn g29_an_ended_topic_tells_who_still_reads_what_is_lost(system: System) {
    let topic = with_history(&system, 10);
    publish_all(&topic, "a", 1..=10).await;
    let mut slow = topic
        .subscribe("a", roomy())
        .capacity(1)
        .from(Replay::All)
        .await
        .unwrap();
    assert_eq!(slow.next().await.unwrap().range(), (1, 1));
    topic.stop();
    assert_eq!(ranges(&drain(&mut slow)), [(2, 10)]);
    assert_eq!(slow.next().await, None);
}

async fn durable(topic: &Topic<u64>, name: &str) -> Subscription<u64> {
    topic.subscribe("a.*", roomy()).durable(name).await.unwrap()
}

#[callboard::test(both)]
async fn g29_a_durable_subscription_goes_on_behind_what_it_acknowledged(system: System) {
    let topic = with_history(&system, 100);
    publish_all(&topic, "a.b", 1..=2).await;
    let mut first = durable(&topic, "d").await;
    publish_all(&topic, "a.b", 3..=6).await;
    let mut got = Vec::new();
    for _ in 0..3 {
        got.push(first.next().await.unwrap().message().unwrap());
    }
    assert_eq!(
        *got[0], 3,
        "it begins with what is published after it was made"
    );
    first.acknowledge(&got[1]).unwrap();
    first.acknowledge(&got[0]).unwrap();
    drop(first);
    publish_all(&topic, "a.b", 7..=7).await;
    assert_eq!(topic.subscriptions()[0].acknowledged, Some(4));
    let mut second = durable(&topic, "d").await;
    publish_all(&topic, "a.b", 8..=8).await;
    let events = drain(&mut second);
    let seen = events.into_iter().map(|event| event.message().unwrap());
    let seen: Vec<_> = seen.map(|message| (*message, message.origin())).collect();
    // The fifth was handed out before, the sixth not.
    assert_eq!(seen[0], (5, Origin::Redelivered));
    assert_eq!(seen[1], (6, Origin::Replayed));
    let values: Vec<_> = seen.iter().map(|(value, _)| *value).collect();
    assert_eq!(values, [5, 6, 7, 8]);
    second.acknowledge_to(1_000).unwrap();
    drop(second);
    assert_eq!(topic.subscriptions()[0].acknowledged, Some(8));
    assert_eq!(drain(&mut durable(&topic, "d").await), []);
}

#[callboard::test(both)]
async fn g29_a_slow_durable_subscription_misses_nothing_that_the_history_has(system: System) {
    let topic = with_history(&system, 20);
    let options = options(2, SlowSubscriber::Disconnect);
    let mut slow = topic.subscribe("a.*", options).durable("d").await.unwrap();
    let published = {
        publish_all(&topic, "a.b", 1..=9).await;
        topic.publish("a.b", 10).await.unwrap()
    };
    assert_eq!((published.matched, published.dropped), (1, 0));
    assert_eq!(values(drain(&mut slow)), (1..=10).collect::<Vec<_>>());
    publish_all(&topic, "a.b", 11..=50).await;
    let events = drain(&mut slow);
    assert_eq!(ranges(&events[..3]), [(11, 11), (12, 12), (13, 30)]);
    assert_eq!(events.len(), 3 + 20);
    // Nobody holds it, and the history goes on without it.
    slow.acknowledge_to(50).unwrap();
    drop(slow);
    publish_all(&topic, "a.b", 51..=100).await;
    let events = drain(&mut durable(&topic, "d").await);
    assert_eq!(ranges(&events)[..2], [(51, 80), (81, 81)]);
}

#[callboard::test(both)]
async fn g29_a_durable_subscription_has_one_holder_and_one_pattern(system: System) {
    let kept = TopicOptions::new().history(8).durables(2);
    let topic: Topic<u64> = Topic::start_with(&system, "t", kept);
    let holder = durable(&topic, "d").await;
    let error = topic
        .subscribe("a.*", roomy())
        .durable("d")
        .await
        .unwrap_err();
    assert_eq!(error, TopicError::DurableInUse("d".into()));
    assert_eq!(
        topic.forget_durable("d"),
        Err(TopicError::DurableInUse("d".into()))
    );
    drop(holder);
    let error = topic
        .subscribe("b", roomy())
        .durable("d")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`a.*`, not of `b`"), "{error}");
    let _other = durable(&topic, "e").await;
    let error = topic
        .subscribe("a", roomy())
        .durable("f")
        .await
        .unwrap_err();
    assert!(
        matches!(error, TopicError::DurablesFull { limit: 2, .. }),
        "{error}"
    );
    assert_eq!(topic.forget_durable("d"), Ok(true));
    assert_eq!(topic.forget_durable("d"), Ok(false));
    let anew = topic.subscribe("b", roomy()).durable("d").await.unwrap();
    let plain = topic.subscribe("b", roomy()).await.unwrap();
    assert!(matches!(
        plain.acknowledge_to(1),
        Err(TopicError::NoDurable(_))
    ));
    let both = topic.subscribe("b", roomy()).durable("x").shared("y");
    assert!(matches!(both.await, Err(TopicError::NotBoth(_))));
    assert_eq!(topic.state().durables, 2);
    drop(anew);
}

#[callboard::test(both)]
async fn g29_a_durable_subscription_may_begin_in_the_past(system: System) {
    let topic = with_history(&system, 8);
    publish_all(&topic, "a", 1..=5).await;
    let begin = async || {
        let durable = topic.subscribe("a", roomy()).durable("d");
        durable.from(Replay::Sequence(3)).await.unwrap()
    };
    let mut first = begin().await;
    assert_eq!(values(drain(&mut first)), [3, 4, 5]);
    first.acknowledge_to(4).unwrap();
    drop(first);
    assert_eq!(
        values(drain(&mut begin().await)),
        [5],
        "where it was goes before"
    );
}
