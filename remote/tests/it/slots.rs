//! Recipients that come and go: what they take in a session goes with them (G3).

use std::collections::BTreeMap;
use std::time::Duration;

use callboard::{FailureKind, Recipient, System, Verdict};
use callboard_remote::{LinkConfig, Peer};

use crate::actors::{Add, Echo, tester};
use crate::proxy::{Proxy, Weather};
use crate::raw::OPEN;

/// The kind, the sequence, the correlation and the body of each whole frame.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u16, u64, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<16>() {
        let len = u32::from_be_bytes(*header.first_chunk().unwrap()) as usize;
        let Some(body) = rest.get(..len) else { break };
        let sequence = u16::from_be_bytes([header[6], header[7]]);
        let correlation = u64::from_be_bytes(*header.last_chunk().unwrap());
        frames.push((header[4], sequence, correlation, body.to_vec()));
        bytes = &rest[len..];
    }
    frames
}

/// A peer of a [`Tester`](crate::actors::Tester), and what it says.
struct Scene {
    _node: callboard_remote::Node,
    actor: callboard::ActorRef<crate::actors::Tester>,
    probe: crate::actors::Probe,
    proxy: Proxy,
    peer: Peer,
}

impl Scene {
    async fn new(system: &System) -> Scene {
        let (node, actor, probe) = tester(system, "node");
        let proxy = Proxy::new(system, 0, Weather::Fair);
        let peer = Peer::dialled(system, proxy.memory(&node), LinkConfig::default());
        peer.connected().await.unwrap();
        Scene {
            _node: node,
            actor,
            probe,
            proxy,
            peer,
        }
    }

    /// How many slots were opened, and how many different ones.
    fn opened(&self) -> (usize, usize) {
        let tapes = self.proxy.tapes();
        let frames = tapes.iter().flat_map(|tape| frames(&tape.to_node));
        let opens = frames.filter(|frame| frame.0 == OPEN);
        let mut slots = BTreeMap::new();
        for (_, _, slot, _) in opens {
            *slots.entry(slot).or_insert(0) += 1;
        }
        (slots.values().sum(), slots.len())
    }
}

#[callboard::test(both)]
async fn g03_a_recipient_for_each_message_takes_one_slot(system: System) {
    let scene = Scene::new(&system).await;
    let mut held = Vec::new();
    for n in 1..=200 {
        let add: Recipient<Add> = scene.peer.recipient("tester").unwrap();
        assert_eq!(add.ask(Add(1)).await.unwrap(), n);
        if n % 50 == 0 {
            held.push(add);
        }
    }
    assert_eq!(scene.opened(), (1, 1));
    // Another type of the same name.
    let echo: Recipient<Echo> = scene.peer.recipient("tester").unwrap();
    assert_eq!(echo.id(), held[0].id());
    echo.ask(Echo(vec![1])).await.unwrap();
    assert_eq!(scene.opened(), (2, 2));
    assert_eq!(scene.peer.state().stats.sessions_ended, 0);
    drop(scene.actor);
}

#[callboard::test]
async fn g03_slots_of_names_that_nobody_holds_are_given_anew(system: System) {
    // A few seeds are enough.
    if callboard::testing::seed(&system).unwrap() > 2 {
        return;
    }
    let scene = Scene::new(&system).await;
    let add: Recipient<Add> = scene.peer.recipient("tester").unwrap();
    add.ask(Add(1)).await.unwrap();
    for n in 0..3_000_u64 {
        let name = format!("lent.{n}");
        let lent: Recipient<Add> = scene.peer.recipient(&name).unwrap();
        let error = lent.ask(Add(1)).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::UnknownName);
        assert!(error.to_string().contains(&name), "{error}");
        if n % 500 == 0 {
            // Of a new connection, the same.
            scene.proxy.cut();
        }
    }
    let (opens, slots) = scene.opened();
    assert!(opens >= 3_000 && slots < 1_200, "{opens} {slots}");
    assert_eq!(add.ask(Add(1)).await.unwrap(), 2);
    let stats = scene.peer.state().stats;
    assert_eq!((stats.sessions_ended, stats.late_replies), (0, 0));
    assert_eq!(scene.probe.added_now(), [1, 1]);
}

/// As many names as a session has, and one more.
#[callboard::test]
async fn g34_names_beyond_the_last_slot_are_refused_and_harm_nobody(system: System) {
    if callboard::testing::seed(&system).unwrap() > 0 {
        return;
    }
    let scene = Scene::new(&system).await;
    let add: Recipient<Add> = scene.peer.recipient("tester").unwrap();
    add.ask(Add(1)).await.unwrap();
    let mut held = Vec::new();
    for n in 0..65_535 {
        let other: Recipient<Add> = scene.peer.recipient(&format!("other.{n}")).unwrap();
        other.tell(Add(1)).await.unwrap();
        held.push(other);
    }
    let more: Recipient<Add> = scene.peer.recipient("more").unwrap();
    let error = more.tell(Add(7)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Full, Verdict::NotSent)
    );
    assert_eq!(error.into_message(), Some(Add(7)));
    assert_eq!(add.ask(Add(1)).await.unwrap(), 2);
    // Those that are given back are free again, once the others are too many to be kept.
    drop(held);
    while let Err(error) = more.ask(Add(1)).await {
        if error.kind() == FailureKind::UnknownName {
            break;
        }
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    let stats = scene.peer.state().stats;
    assert_eq!((stats.connects, stats.sessions_ended), (1, 0));
}
