//! What a server does: where it listens, whom it lets in, what it takes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::{
    Actor, Blob, Context, FailureKind, Handler, Incarnation, Message, Overflow, Placement,
    Recipient, System,
};
use callboard_remote::{LinkConfig, Node, Peer};
use futures::channel::oneshot;
use futures::future::{FutureExt, Shared};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::actors::{Add, expose_tester, tester};
use crate::tls::House;
use crate::wires::{Wire, connect, connect_with, socket_path};

twins! {
    g33_a_slow_actor_holds_back_its_own_senders_only
    a_place_of_a_connection_is_free_at_once
    what_is_taken_away_is_unknown_and_can_come_again
}

const MS: Duration = Duration::from_millis(1);

/// Venice listened on every address of the host, whatever it was told.
#[callboard::test(arbiters)]
async fn a_listener_is_at_its_own_address_and_at_no_other(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let here = "127.0.0.1:0".parse().unwrap();
    let tls = House::new().tls("node");
    // Both are addresses of this host.
    for listener in [
        node.listen_tcp(here).await.unwrap(),
        node.listen_tls(here, &tls).await.unwrap(),
    ] {
        let address = listener.socket_addr().unwrap();
        assert_eq!(address.ip(), here.ip());
        TcpStream::connect(address).await.unwrap();
        let error = TcpStream::connect(("127.0.0.2", address.port())).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    // It is there for who writes what that means.
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let listener = node.listen_tcp_insecure(everywhere).await.unwrap();
    let port = listener.socket_addr().unwrap().port();
    TcpStream::connect(("127.0.0.2", port)).await.unwrap();
}

/// A node that nobody holds any more is a closed one.
#[callboard::test(arbiters)]
async fn a_node_that_is_dropped_ends_its_listeners_and_connections(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let path = socket_path();
    let tcp = node.listen_tcp("127.0.0.1:0".parse().unwrap()).await;
    let address = tcp.unwrap().socket_addr().unwrap();
    node.listen_unix(&path).await.unwrap();
    let peers = [
        Peer::tcp(&system, address).unwrap(),
        Peer::unix(&system, &path),
    ];
    for peer in &peers {
        peer.connected().await.unwrap();
    }
    let other = node.clone();
    drop(node);
    let add: Recipient<Add> = peers[0].recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1, "somebody holds it");
    drop(other);
    for peer in &peers {
        while peer.state().stats.sessions_ended == 0 {
            system.clock().sleep(MS).await;
        }
    }
    while path.exists() {
        system.clock().sleep(MS).await;
    }
    // The port can be had again.
    let node = Node::new(&system, "next").unwrap();
    crate::wires::retry_in_use(async || node.listen_tcp(address).await).await;
}

/// In Venice the place of a connection that had ended was taken for another 10 s.
async fn a_place_of_a_connection_is_free_at_once<W: Wire>(system: System) {
    let mut config = LinkConfig::default();
    config.connections = 1;
    let node = Node::with(&system, "small", Incarnation(1), config).unwrap();
    let (_actor, _probe) = expose_tester(&node);
    let (mut wire, mut peer) = connect::<W>(&system, &node).await;
    for n in 1..=10 {
        let add: Recipient<Add> = peer.recipient("tester").unwrap();
        assert_eq!(add.ask(Add(1)).await.unwrap(), n);
        peer.close();
        while !node.state().connections.is_empty() {
            system.clock().sleep(MS).await;
        }
        peer = wire.peer(&system, LinkConfig::default()).await;
        // The first attempt.
        peer.attempted().await.unwrap();
    }
    assert_eq!(node.state().stats.handshake_failures, 0);
}

#[derive(Message, Serialize, Deserialize)]
#[message(name = "test.load", raw)]
struct Load(Blob);

/// Handles nothing until its gate is open.
struct Slow {
    gate: Shared<oneshot::Receiver<()>>,
    handled: Arc<AtomicU64>,
}

impl Actor for Slow {}

impl Handler<Load> for Slow {
    async fn handle(&mut self, _: Load, _: &mut Context<Self>) {
        // An error means that the test has ended.
        let _ = self.gate.clone().await;
        self.handled.fetch_add(1, Ordering::Relaxed);
    }
}

/// In Venice a call waited for the one before it on its connection, however long that took.
async fn g33_a_slow_actor_holds_back_its_own_senders_only<W: Wire>(system: System) {
    const LOADS: u64 = 100;
    let mut config = LinkConfig::default();
    config.window = 64 * 1024;
    let node = Node::with(&system, "node", Incarnation(1), config.clone()).unwrap();
    let (_actor, _probe) = expose_tester(&node);
    let (open, gate) = oneshot::channel();
    let (gate, handled) = (gate.shared(), Arc::<AtomicU64>::default());
    let inside = Arc::clone(&handled);
    let make = move || Slow {
        gate,
        handled: inside,
    };
    let slow = system.actor(make).mailbox(1, Overflow::Wait).start();
    node.expose::<Load>("slow", &slow.recipient()).unwrap();
    config.outbox = 64 * 1024;
    config.compress_above = None;
    let (_wire, peer) = connect_with::<W>(&system, &node, config).await;
    let load: Recipient<Load> = peer.recipient("slow").unwrap();
    let told = Arc::<AtomicU64>::default();
    let (done, end) = oneshot::channel();
    let counted = Arc::clone(&told);
    system.spawn(Placement::Spread, move || async move {
        for _ in 0..LOADS {
            let bytes = Blob::from(vec![7; 16 * 1024]);
            load.tell(Load(bytes)).await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
        }
        done.send(()).unwrap();
    });
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    for n in 1..=50 {
        assert_eq!(add.ask(Add(1)).await.unwrap(), n);
    }
    // Its sender waits: neither side takes more than its windows say.
    assert!(told.load(Ordering::Relaxed) < LOADS / 2);
    assert_eq!(handled.load(Ordering::Relaxed), 0);
    let held = node.state().sessions[0].waiting_bytes;
    assert!(held <= 2 * 64 * 1024, "{held}");
    open.send(()).unwrap();
    end.await.unwrap();
    while handled.load(Ordering::Relaxed) < LOADS {
        system.clock().sleep(MS).await;
    }
}

/// A name is free when it was taken away, and references go on with what has it next.
async fn what_is_taken_away_is_unknown_and_can_come_again<W: Wire>(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(5)).await.unwrap(), 5);
    assert!(node.conceal("tester"));
    assert!(!node.conceal("tester"));
    let error = add.ask(Add(5)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::UnknownName);
    assert!(node.state().exposed.is_empty());
    let (_next, probe) = expose_tester(&node);
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1, "another actor");
    assert_eq!(probe.added_now(), [1]);
}
