//! How subscriptions and topics end, and what they leave behind.

use std::sync::Arc;

use callboard::topic::{Topic, TopicOptions};
use callboard::{ExitReason, System, Watch};
use futures::StreamExt;

use super::common::{drain, publish_all, roomy, values};

#[callboard::test(both)]
async fn a_dropped_subscription_is_gone_at_once_and_an_ended_topic_ends_its_streams(
    system: System,
) {
    let topic = Topic::start(&system, "t");
    let gone = topic.subscribe("a", roomy()).await.unwrap();
    let mut stays = topic.subscribe("b", roomy()).await.unwrap();
    drop(gone);
    assert_eq!(topic.state().subscribers, 1);
    assert_eq!(topic.publish("a", 0).await.unwrap().matched, 0);
    publish_all(&topic, "b", 1..=1).await;
    topic.stop();
    assert_eq!(values(drain(&mut stays)), [1]);
    assert_eq!(stays.next().await, None);
    assert!(topic.publish("b", 2).await.is_err());
    assert!(topic.subscribe("b", roomy()).await.is_err());
    assert_eq!(topic.wait().await, ExitReason::Stopped);
}

#[callboard::test(both)]
async fn a_topic_can_be_watched_and_ends_with_its_system(system: System) {
    let topic = Topic::<u64>::start(&system, "lessons");
    let (ended_tx, ended) = futures::channel::oneshot::channel();
    topic.watch(Box::new(move |notice| {
        let _ = ended_tx.send(notice.label);
    }));
    let mut all = topic.subscribe(">", roomy()).await.unwrap();
    let actors = system.actors();
    let listed = actors.iter().any(|actor| actor.label == "topic lessons");
    assert!(listed, "{actors:?}");
    system.shutdown().await;
    assert_eq!(ended.await.unwrap(), "topic lessons");
    assert_eq!(all.next().await, None);
    assert!(topic.publish("a", 1).await.is_err());
    // One that is started after that has ended from the beginning.
    let late = Topic::<u64>::start(&system, "late");
    assert!(late.publish("a", 1).await.is_err());
}

#[callboard::test(both)]
async fn a_topic_shows_its_state(system: System) {
    let options = TopicOptions::new().history(3);
    let topic = Topic::start_with(&system, "t", options);
    let slow = topic.subscribe("a.*", roomy()).capacity(2).await.unwrap();
    let shared = topic.subscribe("a.>", roomy()).shared("g").await.unwrap();
    let _other = topic.subscribe("a.>", roomy()).shared("g").await.unwrap();
    for n in 1..=5_u64 {
        topic.publish("a.b", n).retain().await.unwrap();
    }
    let state = topic.state();
    assert_eq!(
        (state.published, state.delivered, state.dropped),
        (5, 10, 3)
    );
    assert_eq!((state.subscribers, state.retained, state.kept), (3, 1, 3));
    assert_eq!(state.history, Some((3, 5)));
    let all = topic.subscriptions();
    assert_eq!(all.len(), 2);
    assert_eq!(
        (&*all[0].pattern, all[0].capacity, all[0].waiting),
        ("a.*", 2, 2)
    );
    // A gap from 1 on is the first that waits for it.
    assert_eq!((all[0].lag, all[0].dropped, all[0].readers), (5, 3, 1));
    assert_eq!((all[1].group.as_deref(), all[1].readers), (Some("g"), 2));
    assert_eq!((all[1].waiting, all[1].lag), (5, 5));
    drop((slow, shared));
    assert_eq!(topic.state().subscribers, 1);
    assert_eq!(topic.state().dropped, 3, "what was counted stays counted");
    let seen = system.observe(std::time::Duration::from_secs(1)).await;
    let seen = seen
        .iter()
        .find(|seen| seen.actor.label == "topic t")
        .unwrap();
    assert!(seen.state.as_ref().unwrap().text.contains("published: 5"));
}

/// A value that subscribes to its own topic, so that its drop takes the topic's lock.
struct Loop(#[allow(dead_code)] Option<callboard::topic::Subscription<Loop>>);

#[callboard::test(both)]
async fn values_are_dropped_and_wakers_woken_under_no_lock(system: System) {
    let options = TopicOptions::new().history(1);
    let topic: Topic<Loop> = Topic::start_with(&system, "t", options);
    for _ in 0..3 {
        // Falls out of the history, out of a buffer, and out of the retained values.
        let held = topic.subscribe("a", roomy()).capacity(1).await.unwrap();
        topic.publish("a", Loop(Some(held))).retain().await.unwrap();
    }
    topic.publish("a", Loop(None)).retain().await.unwrap();
    assert_eq!(topic.state().subscribers, 0);
    let last = topic.subscribe("b", roomy()).await.unwrap();
    topic.publish("c", Loop(Some(last))).await.unwrap();
    assert_eq!(topic.state().subscribers, 1);
    topic.stop();
    assert_eq!(topic.state().subscribers, 0);
}

#[callboard::test(both)]
async fn g03_an_ended_topic_lets_go_of_what_it_kept(system: System) {
    let options = TopicOptions::new().history(8);
    let topic = Topic::start_with(&system, "t", options);
    let held = Arc::new(());
    let unread = topic.subscribe(">", roomy()).await.unwrap();
    topic
        .publish("a", Arc::clone(&held))
        .retain()
        .await
        .unwrap();
    drop(unread);
    assert_eq!(Arc::strong_count(&held), 2);
    topic.stop();
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(topic.wait().await, ExitReason::Stopped);
}
