//! What a session does when connections break, freeze, hear only one way, are claimed by others, or come back too
//! late (G7, G32).

use std::time::Duration;

use callboard::{FailureKind, Incarnation, Recipient, System, Verdict, codec};
use callboard_remote::{LinkConfig, LinkErrorKind, Node, Peer, Phase};
use tokio::io::AsyncReadExt;

use crate::actors::{Add, Hold, Probe, Tester, expose_tester, tester};
use crate::ledger::{End, Ledger, Work, expose_ledger, work};
use crate::proxy::{Memory, Proxy, Way, Weather};
use crate::raw::{PING, PONG, Raw, ask, frame, hello_of, opens};

/// A node, and a peer that is connected to it through a proxy.
struct Scene {
    node: Node,
    probe: Probe,
    ledger: Ledger,
    proxy: Proxy,
    memory: Memory,
    peer: Peer,
    add: Recipient<Add>,
    hold: Recipient<Hold>,
    _actor: callboard::ActorRef<Tester>,
}

impl Scene {
    async fn new(system: &System) -> Scene {
        let (node, actor, probe) = tester(system, "node");
        let ledger = Ledger::default();
        expose_ledger(&node, &ledger);
        let proxy = Proxy::new(system, 0, Weather::Fair);
        let memory = proxy.memory(&node);
        let peer = Peer::dialled(system, memory.clone(), LinkConfig::default());
        peer.connected().await.unwrap();
        Scene {
            node,
            probe,
            ledger,
            proxy,
            memory,
            add: peer.recipient("tester").unwrap(),
            hold: peer.recipient("tester").unwrap(),
            peer,
            _actor: actor,
        }
    }

    /// Some work of a client of its own; all of it is answered, once and in order.
    async fn all_is_well(&self, client: u32) {
        let plan = Work {
            client,
            jobs: 20,
            in_flight: 5,
            large: 0,
            dropped: 0,
        };
        let outcomes = work(&self.peer, 0, plan).await;
        self.ledger.check(&outcomes);
        assert_eq!(outcomes.count(End::Done), 20, "{:?}", outcomes.failures);
    }
}

#[callboard::test]
async fn g32_a_cut_at_any_byte_either_way_loses_and_doubles_nothing(system: System) {
    // One seed cuts at some bytes, the next at others.
    let seed = callboard::testing::seed(&system).unwrap();
    let ledger = Ledger::default();
    let node = Node::new(&system, "node").unwrap();
    expose_ledger(&node, &ledger);
    let mut client = 0;
    for way in [Way::ToNode, Way::ToPeer] {
        for at in (1..900).filter(|at| at % 16 == seed % 16) {
            let proxy = Proxy::new(&system, 0, Weather::Fair);
            // The first, and the one that goes on with its session.
            let at = usize::try_from(at).unwrap();
            proxy.cut_next(way, at);
            proxy.cut_next(way, at / 2 + 120);
            let peer = Peer::dialled(&system, proxy.memory(&node), LinkConfig::default());
            peer.connected().await.unwrap();
            let plan = Work {
                client,
                jobs: 12,
                in_flight: 4,
                large: 0,
                dropped: 0,
            };
            let outcomes = work(&peer, 0, plan).await;
            ledger.check(&outcomes);
            assert_eq!(
                outcomes.count(End::Done),
                12,
                "{at}: {:?}",
                outcomes.failures
            );
            assert_eq!(peer.state().stats.sessions_ended, 0);
            peer.close();
            client += 1;
        }
    }
}

#[callboard::test]
async fn g32_while_it_is_down_messages_wait_and_go_on_with_the_next_connection(system: System) {
    let scene = Scene::new(&system).await;
    let held = scene.hold.ask(Hold(7)).no_deadline().into_future();
    let waiting = async {
        let (number, responder) = scene.probe.held().await;
        scene.proxy.set(Weather::Down);
        while scene.peer.state().phase != Phase::Resuming {
            system.clock().sleep(Duration::from_millis(1)).await;
        }
        // Answered while nobody can hear it.
        responder.send(number);
        let later = scene.add.ask(Add(2)).no_deadline().into_future();
        let back = async {
            system.clock().sleep(Duration::from_secs(25)).await;
            scene.proxy.set(Weather::Fair);
        };
        futures::join!(later, back).0
    };
    let (first, later) = futures::join!(held, waiting);
    assert_eq!((first.unwrap(), later.unwrap()), (7, 2));
    let stats = scene.peer.state().stats;
    assert_eq!((stats.resumes, stats.sessions_ended), (1, 0));
    assert_eq!(scene.probe.added_now(), [2]);
}

#[callboard::test]
async fn g32_when_its_time_is_over_what_left_may_have_run_and_what_did_not_leave_did_not(
    system: System,
) {
    let scene = Scene::new(&system).await;
    let held = scene.hold.ask(Hold(7)).no_deadline().into_future();
    let waiting = async {
        let _held = scene.probe.held().await;
        let begin = system.clock().now();
        scene.proxy.set(Weather::Down);
        while scene.peer.state().phase != Phase::Resuming {
            system.clock().sleep(Duration::from_millis(1)).await;
        }
        let later = scene.add.ask(Add(2)).no_deadline().await;
        let lasted = system.clock().now().since(begin);
        assert_eq!(lasted.as_secs(), 30, "{lasted:?}");
        // The node has given it up as well.
        scene.probe.withdrawn(7).await;
        later
    };
    let (first, later) = futures::join!(held, waiting);
    let (first, later) = (first.unwrap_err(), later.unwrap_err());
    assert_eq!(first.kind(), FailureKind::ConnectionLost);
    assert_eq!(first.verdict(), Verdict::MaybeExecuted);
    assert_eq!(later.kind(), FailureKind::NoConnection);
    assert_eq!(later.verdict(), Verdict::NotSent);
    let text = later.to_string();
    assert!(text.contains("was not reached for 30s"), "{text}");
    assert!(scene.node.state().sessions.is_empty());
    scene.proxy.set(Weather::Fair);
    scene.peer.connected().await.unwrap();
    scene.all_is_well(1).await;
    assert_eq!(scene.probe.added_now(), [0_u64; 0]);
}

/// As a process that was stopped: the kernel takes connections for it, and nobody ever answers.
#[callboard::test]
async fn g32_attempts_that_come_to_nothing_do_not_prolong_a_session(system: System) {
    let scene = Scene::new(&system).await;
    let held = scene.hold.ask(Hold(7)).no_deadline().into_future();
    let begin = system.clock().now();
    let waiting = async {
        scene.probe.held().await;
        scene.proxy.set(Weather::Frozen);
    };
    let (first, ()) = futures::join!(held, waiting);
    let first = first.unwrap_err();
    assert_eq!(first.kind(), FailureKind::ConnectionLost);
    assert_eq!(first.verdict(), Verdict::MaybeExecuted);
    // Found to be silent after 5 s, given up 30 s later; an attempt that was being made then takes up to 5 s more.
    let lasted = system.clock().now().since(begin);
    assert!((35..=41).contains(&lasted.as_secs()), "{lasted:?}");
    scene.proxy.set(Weather::Fair);
    scene.peer.connected().await.unwrap();
    scene.all_is_well(1).await;
}

#[callboard::test]
async fn g32_a_connection_that_hears_only_one_way_is_found_and_replaced(system: System) {
    for (client, way) in [(1, Way::ToNode), (2, Way::ToPeer)] {
        let scene = Scene::new(&system).await;
        scene.all_is_well(0).await;
        let begin = system.clock().now();
        scene.proxy.set(Weather::Lost(way));
        let (answer, ()) =
            futures::join!(scene.add.ask(Add(1)).no_deadline().into_future(), async {
                while scene.peer.state().stats.disconnects == 0 {
                    system.clock().sleep(Duration::from_millis(10)).await;
                }
                let found = system.clock().now().since(begin);
                assert!(found <= Duration::from_millis(6_100), "{found:?}");
                scene.proxy.set(Weather::Fair);
            });
        assert_eq!(answer.unwrap(), 1);
        assert_eq!(scene.probe.added_now(), [1]);
        scene.all_is_well(client).await;
        assert_eq!(scene.peer.state().stats.sessions_ended, 0);
    }
}

#[callboard::test]
async fn g32_another_incarnation_ends_the_session_at_once_with_verdicts(system: System) {
    let scene = Scene::new(&system).await;
    let held = scene.hold.ask(Hold(7)).no_deadline().into_future();
    let begin = system.clock().now();
    let ((first, later), next) = futures::join!(
        async {
            let (held, later) = futures::join!(held, async {
                let _held = scene.probe.held().await;
                scene.proxy.set(Weather::Down);
                while scene.peer.state().phase != Phase::Resuming {
                    system.clock().sleep(Duration::from_millis(1)).await;
                }
                scene.add.ask(Add(2)).no_deadline().await
            });
            (held.unwrap_err(), later.unwrap_err())
        },
        async {
            system.clock().sleep(Duration::from_secs(2)).await;
            let config = LinkConfig::default();
            let next = Node::with(&system, "node", Incarnation(u64::MAX), config).unwrap();
            let exposed = expose_tester(&next);
            scene.memory.serve(&next);
            scene.proxy.set(Weather::Fair);
            (next, exposed)
        }
    );
    assert_eq!(
        (first.kind(), first.verdict()),
        (FailureKind::ConnectionLost, Verdict::MaybeExecuted)
    );
    assert_eq!(
        (later.kind(), later.verdict()),
        (FailureKind::NoConnection, Verdict::NotSent)
    );
    assert!(system.clock().now().since(begin) < Duration::from_secs(5));
    scene.peer.connected().await.unwrap();
    assert_eq!(scene.add.ask(Add(3)).await.unwrap(), 3);
    let (next, (_actor, probe)) = next;
    assert_eq!(probe.added_now(), [3]);
    assert_eq!(
        scene.peer.state().remote.unwrap().incarnation,
        next.state().incarnation
    );
}

/// Plays recorded bytes to a node, and hears how that ends.
async fn play(node: &Node, bytes: &[u8]) -> String {
    let (mut raw, ended) = Raw::served(node, 1_000_000);
    raw.send_bytes(bytes).await;
    // What the node has to say, until it ends the connection or goes quiet.
    let mut heard = Vec::new();
    let reading = async {
        while raw
            .0
            .read_buf(&mut heard)
            .await
            .is_ok_and(|count| count > 0)
        {}
    };
    let (ended, ()) = futures::join!(ended, reading);
    ended.unwrap().to_string()
}

#[callboard::test(both)]
async fn g32_who_goes_on_with_a_session_that_is_not_there_is_told_so(system: System) {
    let (node, _actor, probe) = tester(&system, "node");
    let (mut raw, ended) = Raw::served(&node, 4_096);
    raw.send(&hello_of(2, 2, *b"nobody knows it!", 1, 5)).await;
    // Whatever comes behind it.
    raw.send(&opens()).await;
    raw.send(&ask(1, "test.add", &codec::encode(&Add(1)).unwrap()))
        .await;
    let theirs = raw.read().await.unwrap();
    let name = usize::from(theirs.body[24]);
    assert_eq!(theirs.body[25 + name..][..17], *b"nobody knows it!\x02");
    assert_eq!(raw.read().await, None);
    assert_eq!(ended.await.unwrap().kind(), &LinkErrorKind::SessionGone);
    assert!(node.state().sessions.is_empty());
    assert_eq!(probe.added_now(), [0_u64; 0]);
}

#[callboard::test]
async fn g32_recorded_bytes_played_again_execute_nothing_and_harm_no_session(system: System) {
    let scene = Scene::new(&system).await;
    assert_eq!(scene.add.ask(Add(1)).await.unwrap(), 1);
    scene.proxy.cut();
    assert_eq!(scene.add.ask(Add(2)).await.unwrap(), 3);
    // More than one acknowledgement, both ways: what was recorded is of the past.
    for client in 1..6 {
        scene.all_is_well(client).await;
    }
    let tapes = scene.proxy.tapes();
    assert_eq!(tapes.len(), 2);
    for tape in &tapes {
        play(&scene.node, &tape.to_node).await;
        // Also another side's bytes are no reason to do anything.
        play(&scene.node, &tape.to_peer).await;
    }
    scene.all_is_well(6).await;
    assert_eq!(scene.peer.state().stats.sessions_ended, 0);
    scene.peer.close();
    for tape in &tapes {
        play(&scene.node, &tape.to_node).await;
    }
    assert_eq!(scene.probe.added_now(), [1, 2]);
    for client in 1..=6 {
        assert!((0..20).all(|number| scene.ledger.runs(client, number) == 1));
    }
}

#[callboard::test]
async fn g32_two_connections_that_claim_one_session_take_turns_and_double_nothing(system: System) {
    let scene = Scene::new(&system).await;
    scene.proxy.cut();
    assert_eq!(scene.add.ask(Add(1)).await.unwrap(), 1);
    let tape = scene.proxy.tapes().pop().unwrap();
    // Only what introduces it: exactly the claim that the peer made.
    let len = u32::from_be_bytes(*tape.to_node.first_chunk().unwrap());
    let hello = &tape.to_node[..16 + usize::try_from(len).unwrap()];
    for client in 1..4 {
        let (mut raw, ended) = Raw::served(&scene.node, 1_000_000);
        raw.send_bytes(hello).await;
        scene.all_is_well(client).await;
        drop(raw);
        ended.await.unwrap();
    }
    assert_eq!(scene.probe.added_now(), [1]);
    assert_eq!(scene.peer.state().stats.sessions_ended, 0);
}

#[callboard::test]
async fn g36_questions_whose_answers_nobody_reads_take_no_memory(system: System) {
    let scene = Scene::new(&system).await;
    let (mut raw, _ended) = Raw::served(&scene.node, 4_096);
    raw.shake().await;
    let many = frame(PING, 0, 0, &[]).repeat(1_000);
    for _ in 0..200 {
        raw.send_bytes(&many).await;
    }
    let (mut pongs, mut quiet) = (0, false);
    while !quiet {
        let next = raw.read();
        let due = system.clock().sleep(Duration::from_millis(500));
        match futures::future::select(std::pin::pin!(next), due).await {
            futures::future::Either::Left((Some(frame), _)) => {
                pongs += u32::from(frame.kind == PONG);
            }
            _ => quiet = true,
        }
    }
    // Some answer there is; one for each was kept nowhere.
    assert!((1..10_000).contains(&pongs), "{pongs}");
    scene.all_is_well(1).await;
}

#[callboard::test(both)]
async fn g36_refusals_that_nobody_reads_end_their_session_and_block_nobody(system: System) {
    let mut config = LinkConfig::default();
    config.unread_answers = 20_000;
    config.outbox = 20_000;
    let node = Node::with(&system, "node", Incarnation(1), config).unwrap();
    let (_actor, _probe) = expose_tester(&node);
    let proxy = Proxy::new(&system, 0, Weather::Fair);
    let peer = Peer::dialled(&system, proxy.memory(&node), LinkConfig::default());
    peer.connected().await.unwrap();
    let (mut raw, ended) = Raw::served(&node, 1_000);
    raw.shake().await;
    // A payload that nobody can read: the reader itself refuses each.
    let flooding = async {
        for number in 0..5_000 {
            raw.send(&ask(number, "test.add", &[0xC1])).await;
        }
    };
    let (error, ()) = futures::join!(ended, flooding);
    let text = error.unwrap().to_string();
    assert!(text.contains("bytes of answers unread"), "{text}");
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
}
