//! What a client does: calls, subscriptions, counts, ends. Each over plain and over encrypted bytes, as Venice's
//! suites come in pairs, and over the simulated network.

use std::time::Duration;

use callboard::queue::Queue;
use callboard::topic::Topic;
use callboard::{
    Actor, ActorRef, Blob, Context, FailureKind, Handler, Message, Placement, Recipient, System,
    Verdict,
};
use callboard_remote::{LinkConfig, Node, Peer, Phase, RemoteEvent};
use futures::StreamExt;
use futures::channel::oneshot;
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::actors::{Add, Echo, Hold, Viewed, tester};
use crate::queues::Job;
use crate::wires::{Wire, connect};

twins! {
    text_bytes_nothing_and_errors_come_back_as_they_went
    a_hundred_calls_in_hand_hold_up_no_other
    many_clients_and_many_tasks_of_one_get_their_own_answers
    who_listens_calls_and_publishes_in_between
    two_subscriptions_to_the_same_subjects_both_get_them
    both_sides_count_the_same
    an_ended_session_is_told_and_gives_the_next_message_back
    a_clone_is_the_same_link_and_another_peer_a_session_of_its_own
}

const MS: Duration = Duration::from_millis(1);

/// Answers with what it got.
struct Mirror;

impl Actor for Mirror {}

#[derive(Message, Serialize, Deserialize)]
#[message(reply = Text, name = "test.text")]
pub(super) struct Text(pub(super) String);

#[derive(Message, Serialize, Deserialize)]
#[message(reply = Blob, name = "test.bytes", raw)]
pub(super) struct Bytes(pub(super) Blob);

#[derive(Message, Serialize, Deserialize)]
#[message(reply = (), name = "test.nothing")]
struct Nothing;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Refused {
    TooSmall(u64),
}

#[derive(Message, Serialize, Deserialize)]
#[message(reply = Result<u64, Refused>, name = "test.halve")]
struct Halve(u64);

impl Handler<Text> for Mirror {
    async fn handle(&mut self, text: Text, _: &mut Context<Self>) -> Text {
        text
    }
}

impl Handler<Bytes> for Mirror {
    async fn handle(&mut self, Bytes(blob): Bytes, _: &mut Context<Self>) -> Blob {
        blob
    }
}

impl Handler<Nothing> for Mirror {
    async fn handle(&mut self, _: Nothing, _: &mut Context<Self>) {}
}

impl Handler<Halve> for Mirror {
    async fn handle(&mut self, Halve(n): Halve, _: &mut Context<Self>) -> Result<u64, Refused> {
        if n < 2 {
            return Err(Refused::TooSmall(n));
        }
        Ok(n / 2)
    }
}

/// A node that exposes a mirror as `mirror`.
pub(super) fn mirror(system: &System, config: LinkConfig) -> (Node, impl Sized + use<>) {
    let node = Node::with(system, "mirrors", callboard::Incarnation(1), config).unwrap();
    let mirror: ActorRef<Mirror> = system.start(Mirror);
    let name = "mirror";
    node.expose::<Text>(name, &mirror.recipient()).unwrap();
    node.expose::<Bytes>(name, &mirror.recipient()).unwrap();
    node.expose::<Nothing>(name, &mirror.recipient()).unwrap();
    node.expose::<Halve>(name, &mirror.recipient()).unwrap();
    (node, mirror)
}

async fn text_bytes_nothing_and_errors_come_back_as_they_went<W: Wire>(system: System) {
    let (node, _mirror) = mirror(&system, LinkConfig::default());
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let text: Recipient<Text> = peer.recipient("mirror").unwrap();
    for word in [
        "Hello!",
        "",
        "Gr\u{FC}ezi, \u{4E16}\u{754C} \u{1F3AD}",
        "\0\r\n\t",
    ] {
        assert_eq!(text.ask(Text(word.into())).await.unwrap().0, word);
    }
    let bytes: Recipient<Bytes> = peer.recipient("mirror").unwrap();
    for len in [0, 1, 256, 70_000] {
        let sent: Vec<u8> = (0..=255).cycle().take(len).collect();
        let back = bytes.ask(Bytes(sent.clone().into())).await.unwrap();
        assert!(back[..] == sent[..], "{len} bytes");
    }
    let nothing: Recipient<Nothing> = peer.recipient("mirror").unwrap();
    nothing.ask(Nothing).await.unwrap();
    // What a handler answers when it fails is a value of its own, and no text.
    let halve: Recipient<Halve> = peer.recipient("mirror").unwrap();
    assert_eq!(halve.ask(Halve(8)).await.unwrap(), Ok(4));
    let refused = halve.ask(Halve(1)).await.unwrap();
    assert_eq!(refused, Err(Refused::TooSmall(1)));
}

/// Venice had one call in flight on a connection, and refused the tenth that wanted to wait for it.
async fn a_hundred_calls_in_hand_hold_up_no_other<W: Wire>(system: System) {
    let (node, _actor, probe) = tester(&system, "node");
    let queue: Queue<Job> = system.queue("jobs").open().unwrap();
    node.expose_queue("jobs", &queue).unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let hold: Recipient<Hold> = peer.recipient("tester").unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let jobs = peer.queue::<Job>("jobs").await.unwrap();
    // The mailbox over there has 64 places, so they come in two halves.
    let mut calls = Vec::new();
    let mut held = Vec::new();
    for half in [0..50, 50..100] {
        for n in half {
            let hold = hold.clone();
            let (told, answer) = oneshot::channel();
            system.spawn(Placement::Spread, move || async move {
                let answered = hold.ask(Hold(n)).no_deadline().await;
                told.send(answered.unwrap()).unwrap();
            });
            calls.push(answer);
        }
        while held.len() < calls.len() {
            held.push(probe.held().await);
        }
    }
    assert!(peer.state().in_flight >= 100);
    let poll = jobs.poll();
    let waiting = async { poll.await.unwrap() };
    let others = async {
        for n in 1..=10 {
            assert_eq!(add.ask(Add(1)).await.unwrap(), n);
        }
        jobs.offer(Job(7)).await.unwrap();
    };
    let (polled, ()) = futures::join!(waiting, others);
    assert_eq!(polled, Some(Job(7)));
    // The last is answered first.
    for (n, responder) in held.into_iter().rev() {
        responder.send(1_000 + n);
    }
    for (n, answer) in (0..).zip(calls) {
        assert_eq!(answer.await, Ok(1_000 + n));
    }
}

async fn many_clients_and_many_tasks_of_one_get_their_own_answers<W: Wire>(system: System) {
    let (node, _actor, probe) = tester(&system, "node");
    let (mut wire, first) = connect::<W>(&system, &node).await;
    let mut ends = Vec::new();
    let mut peers = Vec::new();
    for task in 0..20_u8 {
        // Ten of one client, and ten clients.
        let peer = if task < 10 {
            first.clone()
        } else {
            let own = wire.peer(&system, LinkConfig::default()).await;
            own.connected().await.unwrap();
            own
        };
        let echo: Recipient<Echo> = peer.recipient("tester").unwrap();
        let add: Recipient<Add> = peer.recipient("tester").unwrap();
        peers.push(peer);
        let (done, end) = oneshot::channel();
        system.spawn(Placement::Spread, move || async move {
            for n in 0..25_u8 {
                // A one-way message among them, as Venice's clients mix them.
                add.tell(Add(1)).await.unwrap();
                let sent = vec![task, n, task ^ n];
                assert_eq!(echo.ask(Echo(sent.clone())).await.unwrap(), sent);
            }
            done.send(()).unwrap();
        });
        ends.push(end);
    }
    assert!(join_all(ends).await.iter().all(Result::is_ok));
    // Each ask came after a tell of the same sender, and was answered: so all have been handled.
    assert_eq!(probe.added_now().len(), 20 * 25);
    let asks: u64 = node.state().stats.asks;
    assert_eq!(asks, 20 * 25);
}

/// In Venice a call from within a subscription's handler waited for itself until its 10 s were over, and the manual
/// says that who subscribes can't send.
async fn who_listens_calls_and_publishes_in_between<W: Wire>(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let topic: Topic<Viewed> = Topic::start(&system, "views");
    node.expose_topic("views", &topic).unwrap();
    node.expose_publishing("views", &topic).unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let views = peer.publisher::<Viewed>("views").unwrap();
    let mut events = peer.subscribe::<Viewed>("views", ">").unwrap();
    events.ready().await.unwrap();
    views.publish("begin", Viewed(0)).await.unwrap();
    let mut sum = 0;
    for n in 0..20 {
        match events.next().await {
            Some(RemoteEvent::Message { value, .. }) => assert_eq!(value, Viewed(n)),
            other => panic!("{other:?}"),
        }
        sum += n;
        assert_eq!(add.ask(Add(n)).await.unwrap(), sum);
        views.publish("next", Viewed(n + 1)).await.unwrap();
    }
}

/// In Venice the second took the place of the first.
async fn two_subscriptions_to_the_same_subjects_both_get_them<W: Wire>(system: System) {
    let node = Node::new(&system, "node").unwrap();
    let topic: Topic<Viewed> = Topic::start(&system, "views");
    node.expose_topic("views", &topic).unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let first = peer.subscribe::<Viewed>("views", "lesson.*").unwrap();
    let second = peer.subscribe::<Viewed>("views", "lesson.*").unwrap();
    let mut other = peer.subscribe::<Viewed>("views", "exam.*").unwrap();
    for events in [&first, &second, &other] {
        events.ready().await.unwrap();
    }
    for n in 1..=10 {
        let told = topic.publish("lesson.one", Viewed(n)).await.unwrap();
        assert_eq!((told.matched, told.dropped), (2, 0));
    }
    let seen = async |events: callboard_remote::RemoteSubscription<Viewed>| {
        let values = events.take(10).map(|event| match event {
            RemoteEvent::Message { value, .. } => value.0,
            other => panic!("{other:?}"),
        });
        values.collect::<Vec<_>>().await
    };
    let all: Vec<u64> = (1..=10).collect();
    assert_eq!(seen(first).await, all);
    // The first is gone by now, and the second isn't.
    while topic.state().subscribers > 2 {
        system.clock().sleep(MS).await;
    }
    let told = topic.publish("lesson.one", Viewed(11)).await.unwrap();
    assert_eq!(told.matched, 1, "who unsubscribed gets nothing more");
    assert_eq!(seen(second).await, all);
    topic.publish("exam.one", Viewed(12)).await.unwrap();
    match other.next().await {
        Some(RemoteEvent::Message { value, .. }) => assert_eq!(value, Viewed(12)),
        event => panic!("{event:?}"),
    }
}

/// In Venice connections were counted down twice, and lost answers never counted.
async fn both_sides_count_the_same<W: Wire>(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let topic: Topic<Viewed> = Topic::start(&system, "views");
    node.expose_topic("views", &topic).unwrap();
    let (mut wire, first) = connect::<W>(&system, &node).await;
    let second = wire.peer(&system, LinkConfig::default()).await;
    second.connected().await.unwrap();
    let peers = [first, second];
    let mut events = peers[0].subscribe::<Viewed>("views", ">").unwrap();
    events.ready().await.unwrap();
    for n in 0..40 {
        topic.publish("a", Viewed(n)).await.unwrap();
        for peer in &peers {
            let add: Recipient<Add> = peer.recipient("tester").unwrap();
            add.tell(Add(1)).await.unwrap();
            add.tell(Add(1)).await.unwrap();
            add.ask(Add(1)).await.unwrap();
            let nobody: Recipient<Add> = peer.recipient("nobody").unwrap();
            assert!(nobody.ask(Add(1)).await.is_err());
        }
        assert!(events.next().await.is_some());
    }
    let seen = node.state().stats;
    let sum = |count: fn(&callboard_remote::PeerStats) -> u64| -> u64 {
        peers.iter().map(|peer| count(&peer.state().stats)).sum()
    };
    assert_eq!((seen.connects, seen.disconnects), (2, 0));
    assert_eq!((seen.asks, sum(|stats| stats.asks)), (160, 160));
    assert_eq!((seen.tells, sum(|stats| stats.tells)), (160, 160));
    assert_eq!((seen.replies, sum(|stats| stats.replies)), (80, 80));
    assert_eq!((seen.subscriptions, seen.events), (1, 40));
    assert_eq!(sum(|stats| stats.events), 40);
    let unknown = [(FailureKind::UnknownName, 80)];
    assert_eq!(seen.failures, unknown);
    let failures = |peer: &Peer| peer.state().stats.failures;
    for peer in &peers {
        assert_eq!(failures(peer), [(FailureKind::UnknownName, 40)]);
    }
    for peer in &peers {
        peer.close();
    }
    while !node.state().connections.is_empty() {
        system.clock().sleep(MS).await;
    }
    let stats = node.state().stats;
    assert_eq!((stats.connects, stats.disconnects), (2, 2));
}

/// In Venice a client of a server that had ended went on to say that it was running.
async fn an_ended_session_is_told_and_gives_the_next_message_back<W: Wire>(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
    assert_eq!(peer.state().phase, Phase::Connected);
    node.close();
    while peer.state().stats.sessions_ended == 0 {
        system.clock().sleep(MS).await;
    }
    let state = peer.state();
    assert_ne!(state.phase, Phase::Connected);
    assert!(state.last_error.is_some());
    let error = add.ask(Add(2)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::NoConnection, Verdict::NotSent)
    );
    assert_eq!(error.into_message(), Some(Add(2)));
    peer.close();
    assert_eq!(peer.state().phase, Phase::Closed);
}

async fn a_clone_is_the_same_link_and_another_peer_a_session_of_its_own<W: Wire>(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let (mut wire, peer) = connect::<W>(&system, &node).await;
    let same = peer.clone();
    let own = wire.peer(&system, same.config().clone()).await;
    own.connected().await.unwrap();
    assert_eq!(node.state().sessions.len(), 2);
    same.close();
    assert_eq!(peer.state().phase, Phase::Closed);
    let add: Recipient<Add> = own.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
}
