//! What the end of a session, of a way back or of a node leaves behind: nothing.

use std::time::Duration;

use callboard::topic::Topic;
use callboard::{Incarnation, Principal, Recipient, System, Verdict, Watch};
use callboard_remote::testing::SimNet;
use callboard_remote::{LinkConfig, Node, Peer, Proof, Rules, Verbs};
use futures::StreamExt;
use futures::channel::oneshot;

use crate::actors::{Hold, Viewed, tester};
use crate::raw::Raw;
use crate::waits::until;
use crate::wires::{Memory, Wire};

const MS: Duration = Duration::from_millis(1);

/// Whoever comes may do anything.
fn open(node: &Node) {
    let rules = Rules::new().allow("*", Verbs::ALL, ">");
    let rules = rules.and_then(|rules| rules.allow("anonymous", Verbs::ALL, ">"));
    node.rights().replace(rules.unwrap());
}

/// A way back ends with its session, and tells who watches it and who subscribed over it.
#[callboard::test(both)]
async fn g12_a_way_back_that_ends_tells_who_uses_it(system: System) {
    let (office, _actor, _probe) = tester(&system, "office");
    let street = Node::new(&system, "street").unwrap();
    open(&street);
    let topic: Topic<Viewed> = Topic::start(&system, "views");
    street.expose_topic("views", &topic).unwrap();
    let mut wire = Memory::new(&system).await;
    wire.serve(&office).await;
    let peer = wire.peer(&system, LinkConfig::default()).await;
    peer.offer(&street);
    peer.connected().await.unwrap();
    let back = loop {
        let mut ways = office.peers().into_iter();
        let is_street = |way: &Peer| way.state().remote.is_some_and(|it| it.name == "street");
        match ways.find(is_street) {
            Some(back) => break back,
            None => system.clock().sleep(MS).await,
        }
    };
    let mut heard = back.subscribe::<Viewed>("views", ">").unwrap();
    heard.ready().await.unwrap();
    let (tx, told) = oneshot::channel();
    let watch = back.watch(Box::new(move |notice| tx.send(notice.label).unwrap()));
    peer.close();
    assert_eq!(told.await, Ok(back.state().address));
    assert_eq!(heard.next().await, None);
    drop(watch);
    // And who comes later is told at once.
    let (tx, told) = oneshot::channel();
    let _watch = back.watch(Box::new(move |notice| tx.send(notice.label).unwrap()));
    assert_eq!(told.await, Ok(back.state().address));
    let mut late = back.subscribe::<Viewed>("views", ">").unwrap();
    assert_eq!(late.next().await, None);
}

/// An actor that keeps a way of answering keeps no place of the one who asked.
#[callboard::test(both)]
async fn g35_a_place_is_free_though_an_answer_is_still_owed(system: System) {
    let net = SimNet::new(&system);
    let (node, _actor, probe) = tester(&system, "node");
    open(&node);
    net.listen("node", &node);
    let mut limits = node.places().limits();
    limits.sessions = 1;
    node.places().set_limits(limits);
    let proof = Proof::encrypted(Some(Principal::new("cert:a")));
    let connector = net.connector("shop", "node").shows(proof);
    let mut owed = Vec::new();
    for n in 0..3 {
        let peer = Peer::dialled(&system, connector.clone(), LinkConfig::default());
        peer.connected().await.unwrap();
        let hold: Recipient<Hold> = peer.recipient("tester").unwrap();
        let mut ask = Box::pin(hold.ask(Hold(n)).into_future());
        assert!(futures::poll!(&mut ask).is_pending());
        owed.push(probe.held().await);
        // The connection before has ended, and its session waited for another.
        net.cut_all();
        until(&system, async || peer.state().stats.connects == 2).await;
        peer.close();
        assert_eq!(ask.await.unwrap_err().verdict(), Verdict::MaybeExecuted);
        until(&system, async || node.state().sessions.is_empty()).await;
        assert!(node.places().accounts().is_empty());
    }
    assert_eq!(owed.len(), 3);
}

/// Who is refused takes no more than who is let in: above as many they aren't even told.
#[callboard::test(simulated)]
async fn g36_more_refused_peers_than_places_are_dropped_without_a_word(system: System) {
    let mut config = LinkConfig::default();
    config.connections = 1;
    let node = Node::with(&system, "node", Incarnation(1), config).unwrap();
    // They say nothing, and none of them goes: so long as they may, each takes what it takes.
    let mut all: Vec<Raw> = (0..5).map(|_| Raw::served(&node, 4_096).0).collect();
    let heard = futures::future::join_all(all.iter_mut().map(Raw::read)).await;
    // One is listened to, another is told why it isn't.
    let told = heard.iter().filter(|frame| frame.is_some()).count();
    assert_eq!(told, 1, "{heard:?}");
    // Then there is a place again.
    let (mut raw, _ended) = Raw::served(&node, 4_096);
    raw.shake().await;
}
