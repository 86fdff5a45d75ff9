//! Limits: of messages, names and sessions.

use std::time::Duration;

use callboard::topic::Topic;
use callboard::{Blob, FailureKind, Incarnation, Recipient, System, Verdict};
use callboard_remote::{
    LinkConfig, MAX_NAME, MAX_SUBJECT, NameError, Node, Peer, Phase, Proof, RemoteEvent,
};
use futures::StreamExt;

use super::clients::{Bytes, Text, mirror};
use crate::actors::{Add, Hold, Viewed};
use crate::rights::Way;
use crate::tls::TlsWire;
use crate::wires::{Simulated, Tcp, Wire, connect, connect_with};

twins! {
    the_least_limit_is_enough_for_small_messages
    the_longest_names_and_subjects_pass_and_longer_ones_are_refused
}

const SECOND: Duration = Duration::from_secs(1);

async fn a_large_message<W: Wire>(system: System) {
    const LARGE: usize = 24 * 1024 * 1024;
    let mut config = LinkConfig::default();
    config.max_message = 32 * 1024 * 1024;
    let (node, _mirror) = mirror(&system, config.clone());
    // There is a limit of each principal, too.
    let mut limits = node.places().limits();
    limits.message_bytes = config.max_message;
    node.places().set_limits(limits);
    let (_wire, peer) = connect_with::<W>(&system, &node, config).await;
    let bytes: Recipient<Bytes> = peer.recipient("mirror").unwrap();
    let sent = Blob::from((0..=250).cycle().take(LARGE).collect::<Vec<u8>>());
    let ask = bytes.ask(Bytes(sent.clone())).deadline(120 * SECOND);
    assert!(ask.await.unwrap() == sent);
    let error = bytes.ask(Bytes(vec![0; 33 * 1024 * 1024].into())).await;
    let error = error.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::TooLarge, Verdict::NotSent)
    );
    assert_eq!(error.into_message().unwrap().0.len(), 33 * 1024 * 1024);
    assert_eq!(peer.state().stats.connects, 1);
}

#[callboard::test(arbiters)]
async fn a_message_as_large_as_both_sides_allow_passes(system: System) {
    a_large_message::<Tcp>(system).await;
}

#[callboard::test(arbiters)]
async fn a_message_as_large_as_both_sides_allow_passes_encrypted(system: System) {
    a_large_message::<TlsWire>(system).await;
}

/// Who allows less than the protocol needs allows that.
async fn the_least_limit_is_enough_for_small_messages<W: Wire>(system: System) {
    let mut config = LinkConfig::default();
    config.max_message = 0;
    let (node, _mirror) = mirror(&system, config.clone());
    let topic: Topic<Viewed> = Topic::start(&system, "views");
    node.expose_topic("views", &topic).unwrap();
    let (_wire, peer) = connect_with::<W>(&system, &node, config).await;
    let bytes: Recipient<Bytes> = peer.recipient("mirror").unwrap();
    let sent = Blob::from(vec![1; 4_000]);
    assert!(bytes.ask(Bytes(sent.clone())).await.unwrap() == sent);
    let error = bytes.ask(Bytes(vec![1; 4_097].into())).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::TooLarge);
    let mut events = peer.subscribe::<Viewed>("views", ">").unwrap();
    events.ready().await.unwrap();
    topic.publish("a", Viewed(1)).await.unwrap();
    assert!(events.next().await.is_some());
}

/// Names are any text; Venice took 100 letters, digits and signs, and looked at no request id.
async fn the_longest_names_and_subjects_pass_and_longer_ones_are_refused<W: Wire>(system: System) {
    let name = format!("{}x", "\u{F6}".repeat(MAX_NAME / 2));
    assert_eq!(name.len(), MAX_NAME);
    let node = Node::new(&system, &name).unwrap();
    let (actor, probe) = crate::actors::expose_tester(&node);
    node.expose::<Add>(&name, &actor.recipient()).unwrap();
    let topic: Topic<Viewed> = Topic::start(&system, "views");
    node.expose_topic(&name, &topic).unwrap();
    node.expose_publishing("views", &topic).unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    assert_eq!(peer.state().remote.unwrap().name, name);
    let add: Recipient<Add> = peer.recipient(&name).unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
    assert_eq!(probe.added_now(), [1]);

    let subject = "s".repeat(MAX_SUBJECT);
    let mut events = peer.subscribe::<Viewed>(&name, &subject).unwrap();
    events.ready().await.unwrap();
    let views = peer.publisher::<Viewed>("views").unwrap();
    let told = views.publish(&subject, Viewed(1)).await.unwrap();
    assert_eq!(told.matched, 1);
    match events.next().await {
        Some(RemoteEvent::Message { subject: of, .. }) => assert_eq!(*of, *subject),
        other => panic!("{other:?}"),
    }
    let longer = "s".repeat(MAX_SUBJECT + 1);
    let error = views.publish(&longer, Viewed(2)).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert_eq!(error.value, Some(Viewed(2)));
    let refused = peer.subscribe::<Viewed>(&name, &longer);
    assert!(matches!(refused, Err(NameError::Malformed(_))));

    for bad in [format!("{name}x"), String::new(), "a\nb".into()] {
        assert!(matches!(
            peer.recipient::<Add>(&bad),
            Err(NameError::Malformed(_))
        ));
        assert!(node.expose::<Add>(&bad, &actor.recipient()).is_err());
        assert!(node.expose_topic(&bad, &topic).is_err());
        assert!(Node::new(&system, &bad).is_err());
    }
}

/// Each side says how long it keeps a session; the shorter time is that of both.
#[callboard::test]
async fn the_shorter_time_of_both_sides_ends_a_session(system: System) {
    for (here, there) in [(SECOND, 30 * SECOND), (30 * SECOND, SECOND)] {
        let mut config = LinkConfig::default();
        config.session_time = there;
        let node = Node::with(&system, "node", Incarnation(1), config).unwrap();
        let (_actor, probe) = crate::actors::expose_tester(&node);
        let mut config = LinkConfig::default();
        config.session_time = here;
        let (mut wire, peer) = connect_with::<Simulated>(&system, &node, config).await;
        let hold: Recipient<Hold> = peer.recipient("tester").unwrap();
        let call = hold.ask(Hold(1)).no_deadline().into_future();
        let cut = async {
            let held = probe.held().await;
            wire.cut();
            let begin = system.clock().now();
            // The other side gives it up as well, and withdraws what it has in hand.
            probe.withdrawn(1).await;
            let took = system.clock().now().since(begin);
            assert!(took >= SECOND && took < 8 * SECOND, "{took:?}");
            held
        };
        let (answer, _held) = futures::join!(call, cut);
        let error = answer.unwrap_err();
        assert_eq!(
            (error.kind(), error.verdict()),
            (FailureKind::ConnectionLost, Verdict::MaybeExecuted)
        );
        assert_eq!(peer.state().phase, Phase::Disconnected);
        assert_eq!(node.state().sessions.len(), 0);
    }
}

/// Above the size that is set, where the way leaves the host, and only if it gains something.
#[callboard::test(both)]
async fn what_is_compressed_takes_less_and_arrives_as_it_was(system: System) {
    let (node, _mirror) = mirror(&system, LinkConfig::default());
    let encrypted = Proof::encrypted(None);
    node.rights()
        .grant("anonymous", callboard_remote::Verbs::ALL, ">")
        .unwrap();
    let sent_by = async |proof: Proof, above: Option<usize>, payload: &[u8]| {
        let mut config = LinkConfig::default();
        config.compress_above = above;
        let peer: Peer = Way::with(&node, proof).peer_with(config);
        peer.connected().await.unwrap();
        let bytes: Recipient<Bytes> = peer.recipient("mirror").unwrap();
        let sent = Blob::from(payload.to_vec());
        assert!(bytes.ask(Bytes(sent.clone())).await.unwrap() == sent);
        peer.state().stats.bytes_out
    };
    let plain = vec![b'a'; 20_000];
    let noise: Vec<u8> = (0..2_500)
        .flat_map(|_| system.entropy().next_u64().to_be_bytes())
        .collect();
    assert!(sent_by(encrypted.clone(), Some(4_096), &plain).await < 2_000);
    assert!(sent_by(encrypted.clone(), Some(19_999), &plain).await < 2_000);
    for (proof, above, payload) in [
        (encrypted.clone(), Some(20_000), &plain),
        (encrypted.clone(), None, &plain),
        (encrypted, Some(4_096), &noise),
        (Proof::local(None), Some(4_096), &plain),
    ] {
        let sent = sent_by(proof.clone(), above, payload).await;
        assert!(sent > 20_000, "{proof:?} {above:?}: {sent}");
    }
}

/// The same for what is encoded; the first ask of a peer and those that follow take different ways to the wire.
#[callboard::test(both)]
async fn what_is_encoded_is_compressed_by_the_first_ask_and_by_the_next(system: System) {
    let (node, _mirror) = mirror(&system, LinkConfig::default());
    node.rights()
        .grant("anonymous", callboard_remote::Verbs::ALL, ">")
        .unwrap();
    let way = Way::with(&node, Proof::encrypted(None));
    let peer: Peer = way.peer_with(LinkConfig::default());
    peer.connected().await.unwrap();
    let texts: Recipient<Text> = peer.recipient("mirror").unwrap();
    let text = "a".repeat(20_000);
    for _ in 0..5 {
        let before = peer.state().stats;
        let answer = texts.ask(Text(text.clone())).await.unwrap();
        assert!(answer.0 == text);
        let after = peer.state().stats;
        assert!(after.bytes_out - before.bytes_out < 2_000, "{after:?}");
        assert!(after.bytes_in - before.bytes_in < 2_000, "{after:?}");
    }
}
