//! Subscribers that are called, and the sink: several handlers, actors, and how they end.

use std::sync::Arc;

use callboard::testing::Probe;
use callboard::topic::{SlowSubscriber, Topic, TopicEvent, TopicOptions};
use callboard::{Actor, Context, Handler, System};
use futures::channel::{mpsc, oneshot};
use futures::{SinkExt, StreamExt};

use super::common::{drain, options, publish_all, roomy, values};

/// A handler that says what it got.
fn saying(
    name: &'static str,
    to: &mpsc::Sender<(&'static str, u64)>,
) -> impl AsyncFnMut(TopicEvent<u64>) + Send + 'static {
    let to = to.clone();
    async move |event: TopicEvent<u64>| {
        let mut to = to.clone();
        // An error: the test has seen enough.
        let _ = to.send((name, event.range().1)).await;
    }
}

/// In Venice a second handler of a topic replaces the first.
#[callboard::test(both)]
async fn g27_a_pattern_can_have_several_handlers(system: System) {
    let topic = Topic::start(&system, "t");
    let (tx, mut heard) = mpsc::channel(16);
    let one = topic.on("a.*", roomy(), saying("one", &tx)).await.unwrap();
    let two = topic.on("a.*", roomy(), saying("two", &tx)).await.unwrap();
    assert_eq!(topic.publish("a.b", 1).await.unwrap().matched, 2);
    let mut got = [heard.next().await.unwrap(), heard.next().await.unwrap()];
    got.sort_unstable();
    assert_eq!(got, [("one", 1), ("two", 1)]);
    drop(one);
    two.cancel();
    two.ended().await;
    assert!(two.is_over());
    while topic.state().subscribers > 0 {
        // The first ends on another arbiter.
        callboard::testing::settle(&system).await.unwrap();
    }
    assert_eq!(topic.publish("a.b", 2).await.unwrap().matched, 0);
}

#[callboard::test(arbiters)]
async fn g10_a_handler_that_panics_ends_alone_and_is_counted(system: System) {
    let topic = Topic::start(&system, "t");
    let (tx, mut heard) = mpsc::channel(16);
    let boom = async |_: TopicEvent<u64>| panic!("boom");
    let bad = topic.on(">", roomy(), boom).await.unwrap();
    let _good = topic.on(">", roomy(), saying("good", &tx)).await.unwrap();
    publish_all(&topic, "a", 1..=1).await;
    bad.ended().await;
    assert_eq!(system.counters().panics(), 1);
    publish_all(&topic, "a", 2..=2).await;
    assert_eq!(heard.next().await, Some(("good", 1)));
    assert_eq!(heard.next().await, Some(("good", 2)));
    assert_eq!(topic.state().subscribers, 1);
}

#[callboard::test(both)]
async fn g28_a_slow_handler_misses_what_its_buffer_has_no_room_for(system: System) {
    let topic = Topic::start(&system, "t");
    let (tx, mut heard) = mpsc::channel(16);
    let (gate_tx, gate) = oneshot::channel::<()>();
    let (began_tx, began) = oneshot::channel::<()>();
    let (mut gate, mut began_tx) = (Some(gate), Some(began_tx));
    let mut say = saying("slow", &tx);
    let slow = options(1, SlowSubscriber::DropOldest);
    let _slow = topic
        .on(">", slow, async move |event| {
            if let Some(began) = began_tx.take() {
                let _ = began.send(());
                let _ = gate.take().unwrap().await;
            }
            say(event).await;
        })
        .await
        .unwrap();
    publish_all(&topic, "a", 1..=1).await;
    began.await.unwrap();
    publish_all(&topic, "a", 2..=5).await;
    drop(gate_tx);
    // The first, the gap up to the fourth, the fifth.
    for expected in [1, 4, 5] {
        assert_eq!(heard.next().await, Some(("slow", expected)));
    }
}

#[callboard::test(both)]
async fn g27_an_actor_subscribes_and_unsubscribes_by_its_end(system: System) {
    let topic = Topic::start(&system, "t");
    let mut probe = Probe::new(&system);
    let forwarding = topic
        .forward("a.*", roomy(), &probe.recipient())
        .await
        .unwrap();
    for n in 1..=3_u64 {
        topic.publish("a.b", n).await.unwrap();
        topic.publish("other", n).await.unwrap();
        let event: TopicEvent<u64> = probe.expect().await;
        assert_eq!(*event.message().unwrap(), n);
    }
    drop(probe);
    // Nothing needs to be published for that.
    forwarding.ended().await;
    assert_eq!(topic.state().subscribers, 0);
}

/// Takes one event at a time, when it is let.
struct Learner {
    got: mpsc::Sender<u64>,
    gate: Arc<tokio::sync::Semaphore>,
}

impl Actor for Learner {}
impl Handler<TopicEvent<u64>> for Learner {
    async fn handle(&mut self, event: TopicEvent<u64>, _: &mut Context<Self>) {
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        let _ = self.got.send(event.range().1).await;
    }
}

#[callboard::test(both)]
async fn g30_an_actor_of_a_group_that_dies_leaves_what_it_has_not_taken_to_another(system: System) {
    let topic = Topic::start(&system, "t");
    let (got_tx, mut got) = mpsc::channel(64);
    let learner = |gate: &Arc<tokio::sync::Semaphore>| {
        let (got, gate) = (got_tx.clone(), Arc::clone(gate));
        let actor = system.actor(move || Learner { got, gate });
        actor.mailbox(1, callboard::Overflow::Wait).start()
    };
    let shut = Arc::new(tokio::sync::Semaphore::new(0));
    let open = Arc::new(tokio::sync::Semaphore::new(1_000));
    let (stuck, works) = (learner(&shut), learner(&open));
    let join = async || topic.subscribe(">", roomy()).shared("g").await.unwrap();
    let of_stuck = join().await.forward(&stuck.recipient());
    // It takes one, has one in its mailbox, and a third waits for room there.
    publish_all(&topic, "a", 1..=3).await;
    callboard::testing::settle(&system).await.unwrap();
    let of_works = join().await.forward(&works.recipient());
    publish_all(&topic, "a", 4..=5).await;
    let mut rest: Vec<u64> = Vec::new();
    for _ in 0..2 {
        rest.push(got.next().await.unwrap());
    }
    assert_eq!(rest, [4, 5]);
    stuck.kill();
    of_stuck.ended().await;
    // The one that was in nobody's hands comes to the other; those in its mailbox are dead letters.
    assert_eq!(got.next().await, Some(3));
    let dead = system.dead_letters().counts().total();
    assert!(dead >= 1, "{dead}");
    drop(of_works);
}

#[callboard::test(both)]
async fn g29_a_durable_handler_acknowledges_what_it_has_handled(system: System) {
    let topic = Topic::start_with(&system, "t", TopicOptions::new().history(50));
    let (tx, mut heard) = mpsc::channel(1);
    let durable = async || topic.subscribe(">", roomy()).durable("d").await.unwrap();
    let handling = durable().await.on(&system, saying("d", &tx));
    publish_all(&topic, "a", 1..=10).await;
    for n in 1..=4 {
        assert_eq!(heard.next().await, Some(("d", n)));
    }
    handling.cancel();
    handling.ended().await;
    let acknowledged = topic.subscriptions()[0].acknowledged.unwrap();
    // What was said was handled, but for the last, whose handler may not have returned.
    assert!((3..10).contains(&acknowledged), "{acknowledged}");
    let rest = values(drain(&mut durable().await));
    assert_eq!(rest, (acknowledged + 1..=10).collect::<Vec<_>>());
}

#[callboard::test(both)]
async fn a_sink_publishes_what_is_sent_into_it_and_is_held_back_by_who_waits(system: System) {
    let topic = Topic::start(&system, "t");
    let hour = std::time::Duration::from_secs(3_600);
    let mut slow = topic
        .subscribe("a.b", roomy())
        .capacity(1)
        .waited_for(hour)
        .await
        .unwrap();
    let mut sink = topic.sink("a.b").unwrap();
    let sends = async {
        let mut numbers = futures::stream::iter((1..=20).map(Ok));
        sink.send_all(&mut numbers).await.unwrap();
        sink.close().await.unwrap();
    };
    let reads = async {
        for n in 1..=20 {
            assert_eq!(slow.next().await.unwrap().range(), (n, n));
        }
    };
    futures::join!(sends, reads);
    assert!(topic.sink("a.*").is_err());
    topic.stop();
    let error = sink.send(21).await.unwrap_err();
    assert_eq!(error.value, Some(21));
}
