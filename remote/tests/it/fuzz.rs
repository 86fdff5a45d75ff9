//! Hostile bytes, made of what peers and nodes really say: none harms more than its own connection, all memory is
//! bounded, and no answer tells what is inside (G36).
//!
//! `tests/fuzz/corpus` keeps the streams that mutants are made of, `*.peer` as a peer sent them and `*.node` as a node
//! did. `CALLBOARD_RECORD=1` records them anew, which is needed when the bytes change and never otherwise: they are
//! also what an old build says. `CALLBOARD_FUZZ=<count>` makes so many mutants of each kind under each seed.

use std::time::Duration;

use callboard::topic::Topic;
use callboard::{Incarnation, Placement, Recipient, RequestKey, System, codec};
use callboard_remote::{LinkConfig, LinkErrorKind, Node, Peer};
use futures::StreamExt;
use futures::future::{Either, join, select};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::actors::{Add, Echo, Hold, Look, Probe, Unheard, Viewed, expose_tester};
use crate::mutants::{
    Part, bytes, corpus, directory, extremes, fresh_id, join as joined, mutate, rename, split,
};
use crate::proxy::{Dice, Proxy, Weather};
use crate::raw::{ACK, FAILED, REPLY, Raw, ask};

const BYE: u8 = 6;
const REFUSE: u8 = 2;

fn rounds(default: u64) -> u64 {
    let text = std::env::var("CALLBOARD_FUZZ");
    text.map_or(default, |text| text.parse().unwrap())
}

/// Sessions that end soon after their connection, so that thousands of them fit.
fn config() -> LinkConfig {
    let mut config = LinkConfig::default();
    config.session_time = Duration::from_millis(200);
    config.max_message = 100_000;
    config.unread_answers = 1_000_000;
    config
}

struct Target {
    node: Node,
    _topic: Topic<Viewed>,
    _actor: callboard::ActorRef<crate::actors::Tester>,
    probe: Probe,
}

fn target(system: &System) -> Target {
    let node = Node::with(system, "target", Incarnation(1), config()).unwrap();
    let (actor, probe) = expose_tester(&node);
    let topic = Topic::start(system, "views");
    node.expose_topic("views", &topic).unwrap();
    Target {
        node,
        _topic: topic,
        _actor: actor,
        probe,
    }
}

/// A peer of the same node whose asks must go on being answered.
async fn bystander(system: &System, node: &Node) -> (Peer, Recipient<Add>) {
    let proxy = Proxy::new(system, 0, Weather::Fair);
    let peer = Peer::dialled(system, proxy.memory(node), LinkConfig::default());
    peer.connected().await.unwrap();
    let add = peer.recipient("tester").unwrap();
    (peer, add)
}

/// Sends bytes in pieces, while it reads what comes back; then closes.
async fn say(stream: DuplexStream, bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut heard = Vec::new();
    let saying = async {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at((1 + dice.index(600)).min(rest.len()));
            if to.write_all(now).await.is_err() {
                break;
            }
            rest = later;
        }
        // The other side may have closed already.
        let _ = to.shutdown().await;
    };
    let hearing = async { while from.read_buf(&mut heard).await.is_ok_and(|count| count > 0) {} };
    join(saying, hearing).await;
    heard
}

/// What a node says about what went wrong names nothing of its inside.
fn check_texts(heard: &[u8]) {
    let told = split(heard)
        .into_iter()
        .filter(|part| [FAILED, BYE, REFUSE].contains(&part.kind));
    for part in told {
        let text = String::from_utf8_lossy(&part.body).into_owned();
        for inside in [
            "::",
            ".rs",
            "panicked",
            "backtrace",
            "Tester",
            "Viewed",
            "src/",
        ] {
            assert!(!text.contains(inside), "{text}");
        }
    }
}

/// Lets a node hear that, to the end.
async fn attack(node: &Node, bytes: &[u8], dice: &mut Dice) {
    let (raw, ended) = Raw::served(node, 2_048);
    let (heard, ended) = join(say(raw.0, bytes, dice), ended).await;
    check_texts(&heard);
    let ended = ended.unwrap();
    // That is what is said when a connection's task is gone: it panicked.
    assert_ne!(ended.kind(), &LinkErrorKind::NoArbiter, "{bytes:02x?}");
    let kept: usize = node
        .state()
        .sessions
        .iter()
        .map(|session| session.waiting_bytes + session.outbox_bytes + session.unacknowledged)
        .sum();
    assert!(kept < 8_000_000, "{kept} bytes are kept");
}

/// Nothing is left of all that.
async fn quiet(system: &System, target: &Target, peer: &Peer) {
    system.clock().sleep(Duration::from_secs(2)).await;
    let state = target.node.state();
    assert_eq!(state.connections.len(), 1, "{state:?}");
    assert_eq!(state.sessions.len(), 1, "{state:?}");
    assert_eq!(state.sessions[0].in_flight, 0);
    assert_eq!(peer.state().stats.connects, 1);
}

#[callboard::test]
async fn g36_mutants_of_a_peers_stream_harm_nobody_else(system: System) {
    let seed = callboard::testing::seed(&system).unwrap();
    let target = target(&system);
    let (peer, add) = bystander(&system, &target.node).await;
    let kept = corpus("peer");
    let streams: Vec<Vec<Part>> = kept.into_iter().map(|(_, parts)| parts).collect();
    let timeless: Vec<Vec<Part>> = streams.iter().cloned().map(without_times).collect();
    let mut dice = Dice::new(seed);
    let rounds = rounds(120);
    for round in 0..rounds {
        let streams = if dice.one_in(8) { &streams } else { &timeless };
        let mut stream = streams[dice.index(streams.len())].clone();
        rename(&mut stream, &fresh_id());
        let bytes = mutate(&mut dice, &stream, streams);
        attack(&target.node, &bytes, &mut dice).await;
        assert!(add.ask(Add(0)).await.is_ok(), "in round {round}");
        if round % 100 == 99 {
            system.clock().sleep(Duration::from_secs(1)).await;
        }
    }
    quiet(&system, &target, &peer).await;
    // Many are let in, and are answered before they are found out; the bystander's asks are the others.
    let stats = target.node.state().stats;
    assert!(stats.connects > rounds / 3, "{stats:?}");
    assert!(stats.replies > rounds + rounds / 16, "{stats:?}");
}

#[callboard::test]
async fn g36_every_field_at_its_extremes_harms_nobody_else(system: System) {
    let seed = callboard::testing::seed(&system).unwrap();
    let target = target(&system);
    let (peer, add) = bystander(&system, &target.node).await;
    let mut dice = Dice::new(seed);
    for (_, stream) in corpus("peer") {
        let all = extremes(&stream);
        // One seed takes some, the next others.
        let mine = all
            .into_iter()
            .skip(usize::try_from(seed % 16).unwrap())
            .step_by(16);
        for (round, mut stream) in mine.enumerate() {
            let renamed = stream[0].body.len() > 60;
            if renamed {
                rename_if_whole(&mut stream);
            }
            attack(&target.node, &joined(&stream), &mut dice).await;
            if round % 16 == 0 {
                assert!(add.ask(Add(0)).await.is_ok());
                system.clock().sleep(Duration::from_secs(1)).await;
            }
        }
    }
    quiet(&system, &target, &peer).await;
}

/// Without acknowledgements of what was said in between, which isn't when all is said at once, and without its end.
fn without_times(mut stream: Vec<Part>) -> Vec<Part> {
    stream.retain(|part| ![ACK, BYE].contains(&part.kind));
    stream
}

/// Unless its name's length is what was changed.
fn rename_if_whole(stream: &mut [Part]) {
    let name = usize::from(stream[0].body[24]);
    if stream[0].body.len() >= 25 + name + 16 {
        rename(stream, &fresh_id());
    }
}

#[callboard::test]
async fn g36_mutants_of_a_nodes_stream_harm_no_peer(system: System) {
    let seed = callboard::testing::seed(&system).unwrap();
    let target = target(&system);
    let kept = corpus("node");
    let streams: Vec<Vec<Part>> = kept.into_iter().map(|(_, parts)| parts).collect();
    let mut dice = Dice::new(seed);
    for round in 0..rounds(60) {
        let peer = Peer::attached(&system, "child");
        let (raw, far) = Raw::pair(4_096);
        peer.attach(far);
        let (add, views) = talk(&peer);
        let stream = streams[dice.index(streams.len())].clone();
        let liar = lie(raw.0, &mut dice, stream, &streams);
        let asked = async {
            let mut asks = Vec::new();
            if peer.attempted().await.is_ok() {
                for n in 0..6 {
                    asks.push(
                        add.ask(Add(n))
                            .deadline(Duration::from_secs(1))
                            .into_future(),
                    );
                }
            }
            // Each ends, however the other side answers.
            futures::future::join_all(asks).await
        };
        join(liar, asked).await;
        drop(views);
        // The same peer with an honest other side.
        let (near, far) = tokio::io::duplex(4_096);
        let node = target.node.clone();
        system.spawn(Placement::Spread, move || async move {
            node.serve(far, "memory", callboard_remote::Proof::local(None))
                .await;
        });
        peer.attach(near);
        peer.connected().await.unwrap();
        assert!(add.ask(Add(0)).await.is_ok(), "in round {round}");
        let state = peer.state();
        assert_eq!((state.in_flight, state.waiting_bytes), (0, 0), "{state:?}");
    }
}

type Views = callboard_remote::RemoteSubscription<Viewed>;

fn talk(peer: &Peer) -> (Recipient<Add>, Views) {
    let add = peer.recipient("tester").unwrap();
    (add, peer.subscribe("views", ">").unwrap())
}

/// Answers a peer with a mutant of what a node once said, in the session that the peer begins.
async fn lie(mut stream: DuplexStream, dice: &mut Dice, kept: Vec<Part>, others: &[Vec<Part>]) {
    let mut hello = vec![0; 16];
    if stream.read_exact(&mut hello).await.is_err() {
        return;
    }
    let len = u32::from_be_bytes(*hello.first_chunk().unwrap());
    hello.resize(16 + usize::try_from(len).unwrap(), 0);
    stream.read_exact(&mut hello[16..]).await.unwrap();
    let theirs = split(&hello);
    let name = usize::from(theirs[0].body[24]);
    let mut kept = kept;
    rename(&mut kept, &theirs[0].body[25 + name..][..16]);
    let bytes = mutate(dice, &kept, others);
    say(stream, &bytes, dice).await;
}

#[callboard::test]
async fn g36_mutated_payloads_are_answered_each_and_cost_nothing_else(system: System) {
    let seed = callboard::testing::seed(&system).unwrap();
    let target = target(&system);
    let mut dice = Dice::new(seed);
    let (mut raw, _ended) = Raw::served(&target.node, 100_000);
    raw.shake().await;
    let add = codec::encode(&Add(77)).unwrap();
    let echo = codec::encode(&Echo((0..60).collect())).unwrap();
    for round in 0..rounds(200) {
        let (type_name, payload) = [("test.add", &add), ("test.echo", &echo)][dice.index(2)];
        let mut payload = payload.clone();
        for _ in 0..=dice.below(3) {
            bytes(&mut dice, &mut payload);
        }
        if dice.one_in(10) {
            // Deeper than any stack.
            payload = vec![0x91; 50_000];
        }
        raw.send(&ask(round, type_name, &payload)).await;
        let answer = loop {
            let frame = raw.read().await.unwrap();
            if [REPLY, FAILED].contains(&frame.kind) {
                break frame;
            }
        };
        assert_eq!(answer.correlation, round, "{payload:02x?}");
        if answer.kind == FAILED {
            let text = String::from_utf8_lossy(&answer.body);
            assert!(!text.contains("::") && !text.contains("struct"), "{text}");
        }
    }
    let state = target.node.state();
    assert_eq!(
        (state.connections.len(), state.sessions[0].in_flight),
        (1, 0)
    );
}

#[callboard::test]
async fn g36_wherever_a_stream_is_torn_the_same_answers_come(system: System) {
    let seed = callboard::testing::seed(&system).unwrap();
    let target = target(&system);
    let (_, whole) = corpus("peer")
        .into_iter()
        .find(|(name, _)| name == "asks")
        .unwrap();
    let mut whole = without_times(whole);
    let mut answers = async |at: Option<usize>| {
        rename(&mut whole, &fresh_id());
        let bytes = joined(&whole);
        let (now, later) = bytes.split_at(at.unwrap_or(0).min(bytes.len()));
        let (raw, _ended) = Raw::served(&target.node, 100_000);
        let mut stream = raw.0;
        stream.write_all(now).await.unwrap();
        // Until the node has nothing to do but wait for more.
        system.clock().sleep(Duration::from_millis(1)).await;
        stream.write_all(later).await.unwrap();
        let mut heard = Vec::new();
        let due = system.clock().sleep(Duration::from_millis(500));
        let hearing = async {
            while stream
                .read_buf(&mut heard)
                .await
                .is_ok_and(|count| count > 0)
            {}
        };
        let Either::Right(_) = select(std::pin::pin!(hearing), due).await else {
            panic!("the stream ended, torn at {at:?}");
        };
        let answers = split(&heard)
            .into_iter()
            .filter(|part| [REPLY, FAILED].contains(&part.kind));
        // What the actor has added by then differs.
        let sorts = answers.map(|part| (part.correlation, part.kind, part.flags));
        let mut sorts: Vec<_> = sorts.collect();
        sorts.sort_unstable();
        (bytes.len(), sorts)
    };
    let (len, expected) = answers(None).await;
    assert!(expected.len() >= 4, "{expected:?}");
    let first = usize::try_from(seed % 16).unwrap();
    for at in (first..len).step_by(16) {
        assert_eq!(answers(Some(at)).await.1, expected, "torn at {at}");
    }
}

/// Says everything that a peer can say, through a proxy that listens.
async fn conversation(system: &System, target: &Target) -> Vec<(&'static str, crate::proxy::Tape)> {
    let mut tapes = Vec::new();
    for name in ["asks", "tells", "topics", "resumed"] {
        let proxy = Proxy::new(system, 0, Weather::Fair);
        let peer = Peer::dialled(system, proxy.memory(&target.node), LinkConfig::default());
        peer.connected().await.unwrap();
        let add: Recipient<Add> = peer.recipient("tester").unwrap();
        match name {
            "asks" => {
                let key = RequestKey::from_uuid(uuid::Uuid::from_u128(7));
                let keyed = add.ask(Add(1)).key(key).attempt(3).caller_retries();
                keyed.deadline(Duration::from_secs(9)).await.unwrap();
                let echo: Recipient<Echo> = peer.recipient("tester").unwrap();
                echo.ask(Echo(vec![7; 300])).no_deadline().await.unwrap();
                let look: Recipient<Look> = peer.recipient("tester").unwrap();
                look.ask(Look).await.unwrap();
                let unheard: Recipient<Unheard> = peer.recipient("nobody").unwrap();
                unheard.ask(Unheard).await.unwrap_err();
                let hold: Recipient<Hold> = peer.recipient("tester").unwrap();
                let held = hold.ask(Hold(1)).into_future();
                match select(held, std::pin::pin!(target.probe.held())).await {
                    Either::Left(_) => panic!("nobody answered it"),
                    // It is given up, which says a cancel.
                    Either::Right((_, held)) => drop(held),
                }
            }
            "tells" => {
                for n in 0..5 {
                    add.tell(Add(n)).await.unwrap();
                }
                // Silence, and what is said in it.
                system.clock().sleep(Duration::from_secs(3)).await;
            }
            "topics" => {
                let mut views: Views = peer.subscribe("views", "lesson.*").unwrap();
                views.ready().await.unwrap();
                target
                    ._topic
                    .publish("lesson.one", Viewed(1))
                    .await
                    .unwrap();
                views.next().await.unwrap();
                let other: Views = peer.subscribe("nothing", ">").unwrap();
                drop((views, other));
            }
            _ => {
                proxy.cut();
                add.ask(Add(2)).await.unwrap();
            }
        }
        add.ask(Add(0)).await.unwrap();
        peer.close();
        system.clock().sleep(Duration::from_secs(1)).await;
        tapes.push((name, proxy.tapes().pop().unwrap()));
    }
    tapes
}

/// What is kept is what is said: each kind of frame that a session can say is in it, and a node still takes it.
#[test]
fn g37_the_kept_streams_are_understood() {
    callboard::testing::seeds(0..1, async |system: System| {
        let target = target(&system);
        if std::env::var("CALLBOARD_RECORD").is_ok() {
            for (name, tape) in conversation(&system, &target).await {
                for (way, bytes) in [("peer", tape.to_node), ("node", tape.to_peer)] {
                    let path = directory().join(format!("{name}.{way}"));
                    std::fs::write(path, bytes).unwrap();
                }
            }
        }
        let mut kinds = std::collections::BTreeSet::new();
        for (name, stream) in corpus("peer") {
            kinds.extend(stream.iter().map(|part| part.kind));
            let mut stream = without_times(stream);
            // What goes on with a session is refused, and that is another test's.
            if name == "resumed" {
                continue;
            }
            rename(&mut stream, &fresh_id());
            let (raw, ended) = Raw::served(&target.node, 2_048);
            let mut dice = Dice::new(0);
            let (_, ended) = join(say(raw.0, &joined(&stream), &mut dice), ended).await;
            let kind = ended.unwrap().kind().clone();
            assert!(
                matches!(kind, LinkErrorKind::ClosedByPeer),
                "{name}: {kind:?}"
            );
        }
        for (_, stream) in corpus("node") {
            kinds.extend(stream.iter().map(|part| part.kind));
        }
        // From hello to unsubscribe; no refusal, credit or piece is worth so many bytes.
        let expected = [1, 3, 4, 5, 6, 10, 11, 16, 17, 18, 19, 20, 32, 33, 34, 35];
        assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    });
}
