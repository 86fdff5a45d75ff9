//! What the end of a session, of a way back or of a node leaves behind: nothing.

use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use callboard::topic::Topic;
use callboard::{Incarnation, Message, Principal, Recipient, System, Verdict, Watch};
use callboard_remote::testing::SimNet;
use callboard_remote::{LinkConfig, Node, Peer, Proof, Rules, Verbs};
use futures::StreamExt;
use futures::channel::oneshot;
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize};

use crate::actors::{Add, Hold, Viewed, expose_tester, tester};
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

/// Stops the reader in the midst of its frames.
static DECODING: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>> = Mutex::new(None);

#[derive(Message, Serialize)]
#[message(reply = u64, name = "test.add")]
struct Slow(u64);

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        if let Some((begun, go_on)) = DECODING.lock().take() {
            let _ = begun.send(());
            let _ = go_on.recv();
        }
        Ok(Slow(number))
    }
}

struct Sleeper;
impl callboard::Actor for Sleeper {}
impl callboard::Handler<Slow> for Sleeper {
    async fn handle(&mut self, Slow(n): Slow, _ctx: &mut callboard::Context<Self>) -> u64 {
        n
    }
}

/// An ask that was read while its session ended is withdrawn as all others are.
// One thread, so that both asks are written before either is read.
#[callboard::test(arbiters, arbiters = 1)]
async fn g09_an_ask_that_is_read_while_its_session_ends_is_withdrawn(system: System) {
    let node = Node::new(&system, "node").unwrap();
    open(&node);
    let (_actor, probe) = expose_tester(&node);
    let sleeper = system.start(Sleeper);
    node.expose::<Slow>("sleeper", &sleeper.recipient())
        .unwrap();
    let street = Node::new(&system, "street").unwrap();
    open(&street);
    let (_theirs, their_probe) = expose_tester(&street);
    let mut wire = Memory::new(&system).await;
    wire.serve(&node).await;
    let peer = wire.peer(&system, LinkConfig::default()).await;
    peer.offer(&street);
    peer.connected().await.unwrap();
    until(&system, async || {
        let sessions = node.state().sessions;
        sessions.iter().any(|session| session.peer == "street")
    })
    .await;
    let back = node.peers().remove(0);
    // It ends when the session does, before anything else of it.
    let asked_back: Recipient<Hold> = back.recipient("tester").unwrap();
    let mut asked_back = Box::pin(async move { asked_back.ask(Hold(9)).no_deadline().await });
    assert!(futures::poll!(&mut asked_back).is_pending());
    let owed = their_probe.held().await;

    let (begun, has_begun) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel();
    *DECODING.lock() = Some((begun, goes_on));
    let closing = std::thread::spawn(move || {
        has_begun.recv().unwrap();
        let closes = std::thread::spawn(move || back.close());
        let ended = futures::executor::block_on(asked_back);
        assert!(ended.is_err());
        go_on.send(()).unwrap();
        closes.join().unwrap();
    });
    let slow: Recipient<Slow> = peer.recipient("sleeper").unwrap();
    let hold: Recipient<Hold> = peer.recipient("tester").unwrap();
    let (slow, held) = (slow.ask(Slow(1)), hold.ask(Hold(1)));
    let both = futures::future::join(slow.into_future(), held.into_future());
    let (_, answer) = both.await;
    assert_eq!(answer.unwrap_err().verdict(), Verdict::MaybeExecuted);
    closing.join().unwrap();
    // Behind it in the mailbox, over another session.
    peer.connected().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    add.ask(Add(1)).await.unwrap();
    // Either it never reached its handler, or that knows that nobody waits.
    if let Poll::Ready((_, mut responder)) = futures::poll!(pin!(probe.held())) {
        assert!(!responder.progress(Verdict::Executed));
    }
    drop(owed);
}

/// Who shakes hands while the node is closed isn't served by a closed node.
#[callboard::test(simulated)]
async fn a_connection_that_comes_while_the_node_closes_ends(system: System) {
    for turns in 0..40 {
        let (node, _actor, _probe) = tester(&system, "node");
        let mut wire = Memory::new(&system).await;
        wire.serve(&node).await;
        let peer = wire.peer(&system, LinkConfig::default()).await;
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        node.close();
        let over = async || {
            let state = node.state();
            state.sessions.is_empty() && state.connections.is_empty()
        };
        let due = system.clock().now() + 2_000 * MS;
        until(&system, async || over().await || system.clock().now() > due).await;
        assert!(over().await, "after {turns} turns: {:?}", node.state());
        peer.close();
    }
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
