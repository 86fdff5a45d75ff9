//! Queues and topics as clients use them, and what Venice lost there.

use std::time::Duration;

use callboard::queue::Queue;
use callboard::topic::{SlowSubscriber, SubscriberOptions, Topic};
use callboard::{Recipient, System};
use callboard_remote::{LinkConfig, Node, RemoteEvent};
use futures::StreamExt;

use crate::actors::{Add, Viewed, tester};
use crate::queues::Job;
use crate::wires::{Simulated, Wire, connect, connect_with};

twins! {
    a_worker_answers_in_the_queue_that_the_offer_named
    a_circular_queue_elsewhere_drops_its_oldest_and_its_polls_wait
    who_publishes_is_told_how_many_lost_a_message_and_that_nobody_listens
    three_topics_reach_their_own_subscribers_only
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A queue of that name, and what it is behind.
fn exposed(node: &Node, name: &str) -> Queue<Job> {
    let queue = node.system().queue(name).capacity(8).open().unwrap();
    node.expose_queue(name, &queue).unwrap();
    queue
}

async fn a_worker_answers_in_the_queue_that_the_offer_named<W: Wire>(system: System) {
    let node = Node::new(&system, "queues").unwrap();
    let (jobs, replies) = (exposed(&node, "jobs"), exposed(&node, "replies.of.ann"));
    let (mut wire, ann) = connect::<W>(&system, &node).await;
    let worker = wire.peer(&system, LinkConfig::default()).await;
    worker.connected().await.unwrap();
    // Who wants something.
    let wishes = ann.queue::<Job>("jobs").await.unwrap();
    let back = ann.queue::<Job>("replies.of.ann").await.unwrap();
    let key = callboard::RequestKey::new();
    let wish = wishes.offer(Job(20)).key(key).reply_to(&back);
    wish.await.unwrap();
    // A worker in another process goes by the name.
    let work = worker.queue::<Job>("jobs").await.unwrap();
    let wish = work.lease().await.unwrap().unwrap();
    assert!(
        wish.reply_to::<Job>().is_none(),
        "it is no queue of its process"
    );
    let name = wish.reply_to_name().unwrap();
    let answers = worker.queue::<Job>(name).await.unwrap();
    let answer = answers.offer(Job(wish.0 + 1)).key(wish.key().unwrap());
    answer.await.unwrap();
    wish.ack().await.unwrap();
    let answer = back.lease().await.unwrap().unwrap();
    assert_eq!((answer.item(), answer.key()), (&Job(21), Some(key)));
    answer.ack().await.unwrap();
    // One in the process of the queues finds the queue itself.
    wishes.offer(Job(1)).reply_to(&back).await.unwrap();
    let wish = jobs.lease().await.unwrap().unwrap();
    let answers: Queue<Job> = wish.reply_to().unwrap();
    assert_eq!(answers.id(), replies.id());
    answers.offer(Job(2)).await.unwrap();
    wish.ack().await.unwrap();
    assert_eq!(back.poll().await.unwrap(), Some(Job(2)));
}

/// In Venice a poll of a circular queue didn't wait.
async fn a_circular_queue_elsewhere_drops_its_oldest_and_its_polls_wait<W: Wire>(system: System) {
    let node = Node::new(&system, "queues").unwrap();
    let ring: Queue<Job> = system.queue("ring").capacity(3).circular().open().unwrap();
    node.expose_queue("ring", &ring).unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let far = peer.queue::<Job>("ring").await.unwrap();
    for n in 1..=5 {
        far.offer(Job(n)).deadline(Duration::ZERO).await.unwrap();
    }
    let state = far.state().await.unwrap();
    assert_eq!((state.len, state.dropped), (3, 2));
    for n in 3..=5 {
        assert_eq!(far.poll().await.unwrap(), Some(Job(n)));
    }
    let poll = async { far.poll().await.unwrap() };
    let offer = async {
        while ring.state().await.unwrap().waiting_pollers == 0 {
            system.clock().sleep(MS).await;
        }
        ring.offer(Job(6)).await.unwrap();
    };
    let (polled, ()) = futures::join!(poll, offer);
    assert_eq!(polled, Some(Job(6)));
}

/// Venice said OK though 306 of 400 messages were dropped, and when nobody listened.
async fn who_publishes_is_told_how_many_lost_a_message_and_that_nobody_listens<W: Wire>(
    system: System,
) {
    let node = Node::new(&system, "topics").unwrap();
    let topic: Topic<Viewed> = Topic::start(&system, "views");
    node.expose_publishing("views", &topic).unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let views = peer.publisher::<Viewed>("views").unwrap();
    let told = views.publish("a", Viewed(0)).await.unwrap();
    assert_eq!((told.matched, told.dropped), (0, 0));
    let options = SubscriberOptions {
        capacity: 2,
        policy: SlowSubscriber::DropOldest,
    };
    // Reads nothing, and has two places.
    let _slow = topic.subscribe(">", options).await.unwrap();
    let mut quick = topic
        .subscribe(">", SubscriberOptions::default())
        .await
        .unwrap();
    let mut dropped = 0;
    for n in 1..=100 {
        let told = views.publish("a", Viewed(n)).await.unwrap();
        assert_eq!(told.matched, 2);
        dropped += told.dropped;
        assert!(quick.next().await.is_some());
    }
    assert_eq!(dropped, 98);
}

async fn three_topics_reach_their_own_subscribers_only<W: Wire>(system: System) {
    let node = Node::new(&system, "topics").unwrap();
    let topics = ["a", "b", "c"].map(|name| {
        let topic: Topic<Viewed> = Topic::start(&system, name);
        node.expose_topic(name, &topic).unwrap();
        node.expose_publishing(name, &topic).unwrap();
        topic
    });
    let (mut wire, publishing) = connect::<W>(&system, &node).await;
    let mut listeners = Vec::new();
    for topic in &topics {
        let peer = wire.peer(&system, LinkConfig::default()).await;
        peer.connected().await.unwrap();
        let events = peer.subscribe::<Viewed>(topic.name(), ">").unwrap();
        events.ready().await.unwrap();
        listeners.push((peer, events));
    }
    for (name, count) in [("a", 10), ("b", 15)] {
        let publisher = publishing.publisher::<Viewed>(name).unwrap();
        for n in 0..count {
            publisher.publish("s", Viewed(n)).await.unwrap();
        }
    }
    for ((peer, events), count) in listeners.iter_mut().zip([10, 15, 0]) {
        for n in 0..count {
            match events.next().await {
                Some(RemoteEvent::Message { value, .. }) => assert_eq!(value, Viewed(n)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(events.waiting(), 0);
        assert_eq!(peer.state().stats.events, count);
    }
    assert_eq!(node.state().stats.events, 25);
}

/// Venice gave up after 10 s whatever it was told, the server went on to wait, and the next item was lost to nobody.
/// With heartbeats a wait longer than two and a half of them even ended the connection.
#[callboard::test]
async fn a_wait_without_a_deadline_lasts_and_its_item_is_not_lost(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let jobs = exposed(&node, "jobs");
    let mut config = LinkConfig::default();
    config.ping_after = SECOND;
    config.dead_after = SECOND;
    let (_wire, peer) = connect_with::<Simulated>(&system, &node, config).await;
    let far = peer.queue::<Job>("jobs").await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    for (n, wait) in [(1, 13), (2, 60), (3, 900)] {
        let poll = async { far.poll().await.unwrap() };
        let later = async {
            system.clock().sleep(wait * SECOND).await;
            // The connection is the same, and carries other calls meanwhile.
            assert_eq!(add.ask(Add(1)).await.unwrap(), n);
            jobs.offer(Job(n)).await.unwrap();
        };
        let (polled, ()) = futures::join!(poll, later);
        assert_eq!(polled, Some(Job(n)));
    }
    // And who said how long it waits, waits as long, and takes nothing afterwards.
    let begin = system.clock().now();
    let none = far.poll().deadline(13 * SECOND).await.unwrap();
    let waited = system.clock().now().since(begin);
    assert_eq!(none, None);
    assert!(waited >= 13 * SECOND && waited < 14 * SECOND, "{waited:?}");
    jobs.offer(Job(9)).await.unwrap();
    assert_eq!(far.poll().await.unwrap(), Some(Job(9)));
    let stats = peer.state().stats;
    assert_eq!((stats.connects, stats.disconnects), (1, 0));
}

/// Venice forgot the time of expiry that a client had set.
#[callboard::test]
async fn an_item_that_got_too_old_is_handed_out_to_nobody(system: System) {
    let node = Node::new(&system, "queues").unwrap();
    let jobs = exposed(&node, "jobs");
    let (_wire, peer) = connect::<Simulated>(&system, &node).await;
    let far = peer.queue::<Job>("jobs").await.unwrap();
    far.offer(Job(1)).time_to_live(SECOND).await.unwrap();
    far.offer(Job(2)).time_to_live(10 * SECOND).await.unwrap();
    far.offer(Job(3))
        .time_to_live(Duration::ZERO)
        .await
        .unwrap();
    system.clock().sleep(2 * SECOND).await;
    assert_eq!(far.poll().await.unwrap(), Some(Job(2)));
    assert_eq!(far.poll().deadline(Duration::ZERO).await.unwrap(), None);
    let state = far.state().await.unwrap();
    assert_eq!((state.len, state.expired), (0, 2));
    // They are where undeliverable items are, and say why.
    let dead = jobs.dead_letters().unwrap().browse(0, 9).await.unwrap();
    let mut items: Vec<u64> = dead.iter().map(|dead| dead.item.item.0).collect();
    items.sort_unstable();
    assert_eq!(items, [1, 3]);
}
