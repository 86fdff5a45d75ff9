//! Peers that break the rules, stall, or are silent: each costs its own connection only (G36).

use std::time::Duration;

use callboard::topic::Topic;
use callboard::{
    Actor, Admission, Admitted, Context, DropReason, Envelope, FailureKind, Handler, Incarnation,
    Recipient, System, Threshold, Verdict, codec,
};
use callboard_remote::{LinkConfig, LinkErrorKind, Node, Peer, Phase, Proof};
use futures::future::join_all;
use tokio::io::AsyncWriteExt;

use crate::actors::{Add, Echo, Look, Viewed, expose_tester, tester};
use crate::raw::{
    ACK, ASK, CANCEL, FAILED, OPEN, PING, PONG, REPLY, Raw, UNSUBSCRIBE, ask, frame, hello,
    numbered, opens, subscribe,
};
use crate::wires::{Memory, connect};

#[callboard::test(both)]
async fn g36_garbage_costs_its_own_connection_only(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let (_wire, peer) = connect::<Memory>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let (mut raw, ended) = Raw::served(&node, 4_096);
    raw.send_bytes(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let error = ended.await.unwrap();
    assert_eq!(
        error.to_string(),
        "peer at raw is no Callboard peer: its first bytes are \
         47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a \"GET / HTTP/1.1..\""
    );
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
    assert_eq!(node.state().stats.handshake_failures, 1);
}

#[callboard::test(both)]
async fn g36_malformed_frames_cost_their_own_connection_only(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let (_wire, peer) = connect::<Memory>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let mut reserved = frame(PING, 0, 0, &[]);
    reserved[6] = 1;
    let mut giant = frame(ASK, 0, 1, &[]);
    giant[0] = 0xFF;
    let mut skipped = ask(1, "test.add", &[1]);
    skipped[7] = 99;
    let twice = [ask(1, "test.hold", &[1]), ask(1, "test.hold", &[1])].concat();
    let cases = [
        (frame(99, 0, 0, &[]), "frame kind 99 is unknown"),
        (reserved, "reserved bits are set in a frame header"),
        (
            giant,
            "a frame of 4278190080 bytes is announced, 263168 are allowed",
        ),
        (frame(ASK, 0, 1, &[0; 3]), "the ask frame ends too early"),
        (
            frame(ASK, 0x80, 1, &[0; 50]),
            "the ask frame has a bad flag",
        ),
        (
            frame(PING, 0, 0, &[0]),
            "the ping frame has bytes left over",
        ),
        (
            frame(REPLY, 0, 1, &[]),
            "the reply frame has a bad correlation",
        ),
        (
            frame(ASK, 0, 1, &[0, 0, 0, 99]),
            "the ask frame has a bad slot",
        ),
        (skipped, "a frame is out of sequence"),
        (frame(ACK, 0, 1_000, &[]), "the ack frame has a bad number"),
        (hello(1, 1), "the hello frame came where none may come"),
        (twice, "the ask frame has a bad correlation"),
    ];
    let count = cases.len() as u64;
    for (bytes, why) in cases {
        let (mut raw, ended) = Raw::served(&node, 4_096);
        raw.shake().await;
        raw.send(&bytes).await;
        let error = ended.await.unwrap();
        assert_eq!(
            error.to_string(),
            format!("peer at raw broke the protocol: {why}")
        );
        assert!(matches!(error.kind(), LinkErrorKind::Protocol(_)));
    }
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
    assert_eq!(node.state().stats.disconnects, count);
    assert_eq!(peer.state().stats.connects, 1);
}

#[callboard::test]
async fn g36_a_stream_cut_at_any_byte_harms_nobody(system: System) {
    let (node, _actor, probe) = tester(&system, "node");
    let add = codec::encode(&Add(1)).unwrap();
    let conversation = || {
        let frames = [hello(2, 2), opens(), ask(1, "test.add", &add)].concat();
        numbered(&mut 0, &frames)
    };
    for cut in 0..conversation().len() {
        let (mut raw, ended) = Raw::served(&node, 4_096);
        raw.send_bytes(&conversation()[..cut]).await;
        raw.0.shutdown().await.unwrap();
        ended.await.unwrap();
    }
    assert_eq!(probe.added_now(), [0_u64; 0]);
    assert_eq!(node.state().connections, []);
    // Whole, but a byte at a time.
    let (mut raw, _ended) = Raw::served(&node, 1);
    let bytes = conversation();
    for byte in &bytes[..hello(2, 2).len()] {
        raw.send_bytes(&[*byte]).await;
    }
    assert_eq!(raw.read().await.unwrap().kind, 1);
    for byte in &bytes[hello(2, 2).len()..] {
        raw.send_bytes(&[*byte]).await;
    }
    let reply = raw.read_kind(REPLY).await;
    assert_eq!(
        (reply.correlation, reply.body),
        (1, codec::encode(&1_u64).unwrap())
    );
}

#[callboard::test]
async fn g36_a_stalled_handshake_is_cut(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let begin = system.clock().now();
    let (mut raw, ended) = Raw::served(&node, 4_096);
    raw.send_bytes(&hello(2, 2)[..20]).await;
    let error = ended.await.unwrap();
    assert_eq!(
        error.to_string(),
        "peer at raw did not finish the handshake within 5s"
    );
    assert_eq!(system.clock().now().since(begin), Duration::from_secs(5));
    // The same at the other end.
    let peer = Peer::attached(&system, "child");
    let (_raw, far) = Raw::pair(4_096);
    peer.attach(far);
    let error = peer.attempted().await.unwrap_err();
    assert_eq!(
        error.kind(),
        &LinkErrorKind::HandshakeStalled(Duration::from_secs(5))
    );
}

#[callboard::test(both)]
async fn g37_another_version_is_a_clear_error_at_both_ends(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let (mut raw, ended) = Raw::served(&node, 4_096);
    raw.send(&hello(7, 9)).await;
    // The node introduces itself all the same, so that the other side can say the same.
    assert_eq!(raw.read().await.unwrap().kind, 1);
    let text = "speaks protocol versions 7 to 9, this side 2 to 2";
    assert_eq!(
        ended.await.unwrap().to_string(),
        format!("peer at raw {text}")
    );
    let peer = Peer::attached(&system, "child");
    let (mut raw, far) = Raw::pair(4_096);
    peer.attach(far);
    raw.send(&hello(7, 9)).await;
    let error = peer.attempted().await.unwrap_err();
    assert_eq!(error.to_string(), format!("peer at child {text}"));
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let error = add.ask(Add(1)).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotSent);
    assert!(error.to_string().contains(text), "{error}");
}

#[callboard::test(both)]
async fn g03_a_node_refuses_more_connections_than_it_has_room_for(system: System) {
    let mut config = LinkConfig::default();
    config.connections = 1;
    let node = Node::with(&system, "small", Incarnation(1), config).unwrap();
    let (_actor, _probe) = expose_tester(&node);
    let (_wire, first) = connect::<Memory>(&system, &node).await;
    let second = Peer::attached(&system, "second");
    let (near, far) = tokio::io::duplex(4_096);
    let serving = node.clone();
    system.spawn(callboard::Placement::Spread, move || async move {
        serving.serve(far, "pipe", Proof::local(None)).await;
    });
    second.attach(near);
    let error = second.attempted().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "peer at second refused the connection: the node has its 1 connections"
    );
    let add: Recipient<Add> = first.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
}

#[callboard::test]
async fn an_idle_connection_lasts_and_costs_a_ping_a_second(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let (_wire, peer) = connect::<Memory>(&system, &node).await;
    let before = peer.state().stats.bytes_out;
    system.clock().sleep(Duration::from_secs(600)).await;
    let stats = peer.state().stats;
    assert_eq!((stats.connects, stats.disconnects), (1, 0));
    // Its own pings and answers to the other's, 16 bytes each.
    assert!(stats.bytes_out - before <= 2 * 16 * 600, "{stats:?}");
}

#[callboard::test]
async fn a_peer_that_falls_silent_is_given_up(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let begin = system.clock().now();
    let (mut raw, ended) = Raw::served(&node, 4_096);
    raw.shake().await;
    let error = ended.await.unwrap();
    assert_eq!(error.kind(), &LinkErrorKind::Silent(Duration::from_secs(4)));
    assert_eq!(system.clock().now().since(begin), Duration::from_secs(5));
}

#[callboard::test]
async fn g09_asks_to_a_stopped_peer_time_out_and_the_connection_survives(system: System) {
    let peer = Peer::attached(&system, "child");
    let (mut raw, far) = Raw::pair(4_096);
    peer.attach(far);
    raw.welcome().await;
    peer.connected().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    // Stopped: it reads and writes nothing for 2 s, while asks come.
    for _ in 0..4 {
        let error = add
            .ask(Add(1))
            .deadline(Duration::from_millis(500))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
        assert_eq!(error.verdict(), Verdict::MaybeExecuted);
    }
    // Awake: it finds asks, their cancels, and a question whether it is there.
    let mut kinds = Vec::new();
    while kinds.len() < 10 {
        kinds.push(raw.read().await.unwrap().kind);
    }
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            PING, OPEN, ASK, ASK, ASK, ASK, CANCEL, CANCEL, CANCEL, CANCEL
        ]
    );
    raw.send(&frame(PONG, 0, 0, &[])).await;
    let asking = add.ask(Add(2)).into_future();
    let answering = async {
        let asked = raw.read_kind(ASK).await;
        let late = codec::encode(&0_u64).unwrap();
        raw.send(&frame(REPLY, 0, asked.correlation - 1, &late))
            .await;
        let reply = codec::encode(&7_u64).unwrap();
        raw.send(&frame(REPLY, 0, asked.correlation, &reply)).await;
    };
    let (answer, ()) = futures::join!(asking, answering);
    assert_eq!(answer.unwrap(), 7);
    let stats = peer.state().stats;
    assert_eq!(
        (stats.connects, stats.disconnects, stats.withdrawn),
        (1, 0, 4)
    );
    // G8: the answer to the ask that had timed out reached nobody.
    assert_eq!(stats.late_replies, 1);
    assert_eq!(system.counters().drops(DropReason::LateReply), 1);
}

#[callboard::test(both)]
async fn g07_what_was_never_handed_to_the_writer_is_not_sent(system: System) {
    let mut config = LinkConfig::default();
    config.outbox = 10_000_000;
    let peer = Peer::attached_with(&system, "child", config);
    let (mut raw, far) = Raw::pair(64);
    peer.attach(far);
    raw.welcome().await;
    peer.connected().await.unwrap();
    let echo: Recipient<Echo> = peer.recipient("tester").unwrap();
    // The first fills the pipe and stays in the writer's hands.
    let begun = async {
        let first = echo.ask(Echo(vec![0; 100_000])).into_future();
        let begun = async {
            // Its first byte has arrived, so all of it was handed over.
            tokio::io::AsyncReadExt::read_u8(&mut raw.0).await.unwrap();
            let rest = (0..3).map(|_| echo.ask(Echo(vec![0; 10])).into_future());
            let telling = async {
                echo.tell(Echo(vec![0; 10])).await.unwrap();
                // All are queued: this one was after them.
                drop(raw);
            };
            futures::join!(join_all(rest), telling).0
        };
        futures::join!(first, begun)
    };
    let (first, rest) = begun.await;
    let first = first.unwrap_err();
    assert_eq!(first.kind(), FailureKind::ConnectionLost);
    assert_eq!(first.verdict(), Verdict::MaybeExecuted);
    for error in rest {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), FailureKind::NoConnection, "{error}");
        assert_eq!(error.verdict(), Verdict::NotSent);
    }
    let letters = system.dead_letters().take();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, DropReason::Undelivered);
    assert_eq!(peer.state().phase, Phase::Disconnected);
}

#[callboard::test]
async fn g03_a_peer_that_does_not_read_its_answers_is_cut_off(system: System) {
    let mut config = LinkConfig::default();
    config.unread_answers = 100_000;
    let node = Node::with(&system, "node", Incarnation(1), config).unwrap();
    let (_actor, _probe) = expose_tester(&node);
    let (_wire, other) = connect::<Memory>(&system, &node).await;
    let (mut raw, ended) = Raw::served(&node, 1_000);
    raw.shake().await;
    let payload = codec::encode(&Echo(vec![1; 1_000])).unwrap();
    // After the slots that were opened.
    let mut last = 3;
    let flooding = async {
        for number in 0.. {
            let asked = numbered(&mut last, &ask(number, "test.echo", &payload));
            let sent = raw.0.write_all(&asked).await;
            if sent.is_err() {
                break;
            }
        }
    };
    let (error, ()) = futures::join!(ended, flooding);
    assert!(matches!(error.unwrap().kind(), LinkErrorKind::Unread(_)));
    let look: Recipient<Look> = other.recipient("tester").unwrap();
    assert_eq!(look.ask(Look).await.unwrap().attempt, 1);
}

#[callboard::test(both)]
async fn g03_asks_in_flight_on_one_connection_are_bounded(system: System) {
    let mut config = LinkConfig::default();
    config.in_flight = 2;
    let node = Node::with(&system, "node", Incarnation(1), config).unwrap();
    let (_actor, _probe) = expose_tester(&node);
    let (mut raw, _ended) = Raw::served(&node, 4_096);
    raw.shake().await;
    for number in 1..=3 {
        raw.send(&ask(number, "test.hold", &codec::encode(&number).unwrap()))
            .await;
    }
    let refused = raw.read_kind(FAILED).await;
    assert_eq!(refused.correlation, 3);
    // Full (number 3), not executed (number 2).
    assert_eq!(refused.body[..2], [3, 2]);
    // A place that becomes free is free at once.
    raw.send(&frame(CANCEL, 0, 1, &[])).await;
    raw.send(&ask(
        4,
        "test.echo",
        &codec::encode(&Echo(vec![1])).unwrap(),
    ))
    .await;
    assert_eq!(raw.read_kind(REPLY).await.correlation, 4);
}

#[callboard::test(both)]
async fn g03_a_subscription_number_used_again_at_once_does_not_get_around_the_bound(
    system: System,
) {
    let mut config = LinkConfig::default();
    config.subscriptions = 2;
    let node = Node::with(&system, "node", Incarnation(1), config).unwrap();
    let topic = Topic::<Viewed>::start(&system, "views");
    node.expose_topic("views", &topic).unwrap();
    let (mut raw, _ended) = Raw::served(&node, 100_000);
    raw.shake().await;
    let again = |number| {
        [
            subscribe(number),
            frame(UNSUBSCRIBE, 0, number, &[]),
            subscribe(number),
        ]
        .concat()
    };
    for number in 1..=8 {
        // In one write, so that they are read in one turn.
        raw.send(&[again(number), frame(PING, 0, 0, &[])].concat())
            .await;
        raw.read_kind(PONG).await;
    }
    callboard::testing::settle(&system).await.unwrap();
    assert_eq!(topic.state().subscribers, 2);
    let begin = system.clock().now();
    for number in 1..=8 {
        raw.send(&frame(UNSUBSCRIBE, 0, number, &[])).await;
    }
    while topic.state().subscribers > 0 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    // Not only because the connection fell silent in the end.
    assert!(system.clock().now().since(begin) < Duration::from_secs(1));
}

struct Faulty;

impl Admission<Add> for Faulty {
    fn admit(&self, envelope: Envelope<Add>, _: &Threshold<'_, Add>) -> Admitted<Add> {
        match envelope.message {
            Add(0) => panic!("as it was told to"),
            _ => Admitted::Pass(envelope),
        }
    }
}

struct Adder;

impl Actor for Adder {}

impl Handler<Add> for Adder {
    async fn handle(&mut self, Add(n): Add, _ctx: &mut Context<Self>) -> u64 {
        n
    }
}

#[callboard::test(both)]
async fn g10_an_admission_that_panics_costs_its_own_request_only(system: System) {
    let node = Node::new(&system, "node").unwrap();
    let actor = system.actor(|| Adder).admission(Faulty).start();
    node.expose::<Add>("adder", &actor.recipient()).unwrap();
    let (_wire, peer) = connect::<Memory>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("adder").unwrap();
    let error = add.ask(Add(0)).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    add.tell(Add(0)).await.unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
    assert_eq!(peer.state().stats.connects, 1);
}
