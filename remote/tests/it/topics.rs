//! Subscriptions, over any transport.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::topic::{
    PublishError, SlowSubscriber, SubscriberOptions, Topic, TopicError, TopicEvent,
};
use callboard::{
    Actor, Context, FailureKind, Handler, Incarnation, Message, Recipient, System, Verdict,
    WireMessage,
};
use callboard_remote::{LinkConfig, Node, RemoteEvent};
use futures::StreamExt;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::actors::{Add, NewerViewed, Viewed};
use crate::wires::{Memory, Wire, connect};

pub(crate) async fn g27_a_subscriber_gets_each_message_that_matches_in_order<W: Wire>(
    system: System,
) {
    let node = Node::new(&system, "topics").unwrap();
    let topic = Topic::start(&system, "views");
    node.expose_topic("views", &topic).unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    topic.publish("seen.before", Viewed(0)).await.unwrap();
    let mut all = peer.subscribe::<Viewed>("views", ">").unwrap();
    let mut some = peer.subscribe::<Viewed>("views", "lesson.*").unwrap();
    all.ready().await.unwrap();
    some.ready().await.unwrap();
    for n in 1..=20 {
        let subject = if n % 2 == 0 { "lesson.even" } else { "other" };
        topic.publish(subject, Viewed(n)).await.unwrap();
    }
    for n in 1..=20 {
        let subject = if n % 2 == 0 { "lesson.even" } else { "other" };
        let event = message(subject, n + 1, n);
        assert_eq!(all.next().await, Some(event.clone()));
        if n % 2 == 0 {
            assert_eq!(some.next().await, Some(event));
        }
    }
    let stats = peer.state().stats;
    assert_eq!((stats.events, stats.gaps), (30, 0));
    drop(some);
    while topic.state().subscribers > 1 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    topic.stop();
    assert_eq!(all.next().await, None);
}

pub(crate) async fn g28_a_subscription_survives_a_lost_connection_and_names_the_gap<W: Wire>(
    system: System,
) {
    let topic = Topic::start(&system, "views");
    let serve = |incarnation| {
        let config = LinkConfig::default();
        let node = Node::with(&system, "topics", Incarnation(incarnation), config).unwrap();
        node.expose_topic("views", &topic).unwrap();
        node
    };
    let node = serve(1);
    let (mut wire, peer) = connect::<W>(&system, &node).await;
    let mut views = peer.subscribe::<Viewed>("views", ">").unwrap();
    views.ready().await.unwrap();
    topic.publish("a", Viewed(1)).await.unwrap();
    assert_eq!(views.next().await, Some(message("a", 1, 1)));
    node.close();
    while topic.state().subscribers > 0 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    topic.publish("a", Viewed(2)).await.unwrap();
    topic.publish("a", Viewed(3)).await.unwrap();
    // The same start of the node, reached again: the numbers are comparable.
    let again = serve(1);
    wire.serve(&again).await;
    while topic.state().subscribers == 0 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    topic.publish("a", Viewed(4)).await.unwrap();
    assert_eq!(
        views.next().await,
        Some(RemoteEvent::Gap { from: 2, to: 3 })
    );
    assert_eq!(views.next().await, Some(message("a", 4, 4)));
    // Another start: they are not.
    again.close();
    let restarted = serve(2);
    wire.serve(&restarted).await;
    assert_eq!(
        views.next().await,
        Some(RemoteEvent::Restarted { missed: 4 })
    );
    peer.close();
    assert_eq!(views.next().await, None);
}

pub(crate) async fn g28_a_slow_subscriber_is_told_what_it_missed_and_delays_nobody<W: Wire>(
    system: System,
) {
    let node = Node::new(&system, "topics").unwrap();
    let topic = Topic::start(&system, "views");
    node.expose_topic("views", &topic).unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let options = SubscriberOptions {
        capacity: 4,
        policy: SlowSubscriber::DropOldest,
    };
    let mut slow = peer
        .subscribe_with::<Viewed>("views", ">", options)
        .unwrap();
    let mut quick = peer.subscribe::<Viewed>("views", ">").unwrap();
    slow.ready().await.unwrap();
    quick.ready().await.unwrap();
    for n in 1..=100 {
        topic.publish("a", Viewed(n)).await.unwrap();
        assert_eq!(quick.next().await, Some(message("a", n, n)));
    }
    // Its events and those of the other take the same way; the last may still be on it.
    let mut seen = 0;
    while seen < 100 {
        assert!(slow.waiting() <= 4);
        match slow.next().await {
            Some(RemoteEvent::Message { sequence, .. }) => {
                assert_eq!(sequence, seen + 1);
                seen = sequence;
            }
            Some(RemoteEvent::Gap { from, to }) => {
                assert_eq!(from, seen + 1);
                seen = to;
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn g34_a_subscription_that_cannot_be_is_answered_at_once<W: Wire>(system: System) {
    let node = Node::new(&system, "topics").unwrap();
    let topic = Topic::<Viewed>::start(&system, "views");
    node.expose_topic("views", &topic).unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let unknown = peer.subscribe::<Viewed>("nothing", ">").unwrap();
    let failure = unknown.ready().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::UnknownName);
    let other = peer.subscribe::<Add>("views", ">").unwrap();
    assert_eq!(
        other.ready().await.unwrap_err().kind(),
        FailureKind::UnknownType
    );
    let newer = peer.subscribe::<NewerViewed>("views", ">").unwrap();
    assert_eq!(
        newer.ready().await.unwrap_err().kind(),
        FailureKind::WrongVersion
    );
    let mut malformed = peer.subscribe::<Viewed>("views", "a.>.b").unwrap();
    let failure = malformed.ready().await.unwrap_err();
    assert_eq!(
        (failure.kind(), failure.verdict()),
        (FailureKind::BadPayload, Verdict::NotExecuted)
    );
    assert_eq!(malformed.next().await, Some(RemoteEvent::Failed(failure)));
    assert_eq!(malformed.next().await, None);
    assert!(
        peer.subscribe::<Viewed>("views", &"a".repeat(1_000))
            .is_err()
    );
    // A publisher in another process can't be made to wait, and half of that promise isn't given.
    let options = SubscriberOptions {
        policy: SlowSubscriber::Wait(Duration::from_secs(1)),
        ..SubscriberOptions::default()
    };
    let waits = peer.subscribe_with::<Viewed>("views", ">", options);
    let failure = waits.unwrap().ready().await.unwrap_err();
    assert_eq!(failure.verdict(), Verdict::NotSent);
    assert!(failure.to_string().contains("wait"), "{failure}");
    let good = peer.subscribe::<Viewed>("views", ">").unwrap();
    good.ready().await.unwrap();
}

fn message(subject: &str, sequence: u64, value: u64) -> RemoteEvent<Viewed> {
    RemoteEvent::Message {
        subject: subject.into(),
        sequence,
        value: Viewed(value),
    }
}

/// Counts how often it is encoded.
#[derive(Debug, Clone)]
struct Counted(u64, Arc<AtomicU64>);

impl Message for Counted {
    type Reply = ();
}

impl WireMessage for Counted {
    const NAME: &'static str = "test.counted";
    const VERSION: u32 = 1;
}

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.1.fetch_add(1, Ordering::Relaxed);
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Counted(u64::deserialize(deserializer)?, Arc::default()))
    }
}

pub(crate) async fn g27_a_message_is_encoded_once_for_all_subscribers<W: Wire>(system: System) {
    let node = Node::new(&system, "topics").unwrap();
    let topic = Topic::start(&system, "counts");
    node.expose_topic("counts", &topic).unwrap();
    let (_wire, first) = connect::<W>(&system, &node).await;
    let mut subscriptions = Vec::new();
    for _ in 0..4 {
        subscriptions.push(first.subscribe::<Counted>("counts", ">").unwrap());
    }
    for subscription in &subscriptions {
        subscription.ready().await.unwrap();
    }
    let encoded = Arc::new(AtomicU64::new(0));
    for n in 0..600 {
        let counted = Counted(n, Arc::clone(&encoded));
        topic.publish("count", counted).await.unwrap();
        for subscription in &mut subscriptions {
            match subscription.next().await {
                Some(RemoteEvent::Message { value, .. }) => assert_eq!(value.0, n),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(encoded.load(Ordering::Relaxed), 600);
}

/// Can't be encoded if it is 13.
#[derive(Debug, Clone, PartialEq, Message, Deserialize)]
#[message(name = "test.unlucky")]
struct Unlucky(u64);

impl Serialize for Unlucky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, 13, "as it was told to");
        serializer.serialize_u64(self.0)
    }
}

#[callboard::test(both)]
async fn g10_a_message_whose_encoding_panics_is_a_gap_and_nothing_else(system: System) {
    let node = Node::new(&system, "topics").unwrap();
    let topic = Topic::start(&system, "unlucky");
    node.expose_topic("unlucky", &topic).unwrap();
    let (_wire, peer) = connect::<Memory>(&system, &node).await;
    let mut seen = peer.subscribe::<Unlucky>("unlucky", ">").unwrap();
    seen.ready().await.unwrap();
    for n in [12, 13, 14] {
        topic.publish("a", Unlucky(n)).await.unwrap();
    }
    let message = |sequence, n| RemoteEvent::Message {
        subject: "a".into(),
        sequence,
        value: Unlucky(n),
    };
    assert_eq!(seen.next().await, Some(message(1, 12)));
    assert_eq!(seen.next().await, Some(RemoteEvent::Gap { from: 2, to: 2 }));
    assert_eq!(seen.next().await, Some(message(3, 14)));
    // The session's task does all else as well.
    let mut more = peer.subscribe::<Unlucky>("unlucky", ">").unwrap();
    more.ready().await.unwrap();
    topic.publish("a", Unlucky(15)).await.unwrap();
    assert_eq!(more.next().await, Some(message(4, 15)));
    assert_eq!(peer.state().stats.sessions_ended, 0);
}

/// Gives back what it is given.
struct Mirror;

impl Actor for Mirror {}

impl Handler<Lucky> for Mirror {
    async fn handle(&mut self, Lucky(n): Lucky, _ctx: &mut Context<Self>) -> Unlucky {
        Unlucky(n)
    }
}

#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "test.lucky", reply = Unlucky)]
struct Lucky(u64);

#[callboard::test(both)]
async fn g10_a_reply_whose_encoding_panics_is_told_to_its_asker_at_once(system: System) {
    let node = Node::new(&system, "mirrors").unwrap();
    let mirror = system.start(Mirror);
    node.expose::<Lucky>("mirror", &mirror.recipient()).unwrap();
    let (_wire, peer) = connect::<Memory>(&system, &node).await;
    let far: Recipient<Lucky> = peer.recipient("mirror").unwrap();
    let error = far.ask(Lucky(13)).no_deadline().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::BadPayload, Verdict::Executed)
    );
    assert_eq!(far.ask(Lucky(14)).await.unwrap(), Unlucky(14));
    assert!(mirror.is_alive());
}

#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "test.page")]
struct Page(String);

pub(crate) async fn g27_a_large_message_is_overtaken_by_none<W: Wire>(system: System) {
    let node = Node::new(&system, "topics").unwrap();
    let topic = Topic::start(&system, "pages");
    node.expose_topic("pages", &topic).unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let mut pages = peer.subscribe::<Page>("pages", ">").unwrap();
    pages.ready().await.unwrap();
    // The first and the third travel in pieces; the end of the topic comes right behind another.
    let sizes = [300_000, 10, 600_000, 300_000, 20, 300_000];
    for size in sizes {
        topic.publish("a", Page("x".repeat(size))).await.unwrap();
    }
    topic.stop();
    for (number, size) in (1..).zip(sizes) {
        match pages.next().await {
            Some(RemoteEvent::Message {
                sequence, value, ..
            }) => assert_eq!((sequence, value.0.len()), (number, size)),
            other => panic!("{number}: {other:?}"),
        }
    }
    assert_eq!(pages.next().await, None);
    let stats = peer.state().stats;
    assert_eq!((stats.sessions_ended, stats.gaps), (0, 0));
}

pub(crate) async fn g27_what_is_published_from_elsewhere_reaches_every_subscriber<W: Wire>(
    system: System,
) {
    let node = Node::new(&system, "topics").unwrap();
    let topic: Topic<Viewed> = Topic::start(&system, "views");
    node.expose_topic("views", &topic).unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let views = peer.publisher::<Viewed>("views").unwrap();
    let kind = |error: PublishError<Viewed>| match error.error {
        TopicError::Failed(failure) => (failure.kind(), error.value),
        other => panic!("{other}"),
    };
    // Who may subscribe may not publish.
    let denied = views.publish("lesson.one", Viewed(0)).await.unwrap_err();
    let (denied, back) = kind(denied);
    assert!(matches!(
        denied,
        FailureKind::UnknownName | FailureKind::UnknownType
    ));
    assert_eq!(back, Some(Viewed(0)), "G6: it comes back");

    node.expose_publishing("views", &topic).unwrap();
    let mut far = peer.subscribe::<Viewed>("views", ">").unwrap();
    far.ready().await.unwrap();
    let mut near = topic
        .subscribe("lesson.*", SubscriberOptions::default())
        .await
        .unwrap();
    for n in 1..=10 {
        let published = views.publish("lesson.one", Viewed(n)).await.unwrap();
        assert_eq!((published.sequence, published.matched), (n, 2));
        assert_eq!(far.next().await, Some(message("lesson.one", n, n)));
        match near.next().await {
            Some(TopicEvent::Message(seen)) => assert_eq!(seen.value(), &Viewed(n)),
            other => panic!("{other:?}"),
        }
    }
    let malformed = views.publish("lesson.*", Viewed(1)).await.unwrap_err();
    assert_eq!(kind(malformed).0, FailureKind::BadPayload);
    let other = peer.publisher::<NewerViewed>("views").unwrap();
    let error = other
        .publish("lesson.one", NewerViewed(1))
        .await
        .unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    topic.stop();
    topic.wait().await;
    let ended = views.publish("lesson.one", Viewed(2)).await.unwrap_err();
    assert_eq!(kind(ended), (FailureKind::Stopped, Some(Viewed(2))));
}
