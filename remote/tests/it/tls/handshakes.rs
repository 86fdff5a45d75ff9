//! Handshakes that stall, are cut, or come in numbers.

use std::time::Duration;

use callboard::{Incarnation, Recipient, System};
use callboard_remote::{Expect, LinkConfig, LinkErrorKind, Node, Peer, TlsFault};
use futures::future::join;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{House, dial, dial_once, fault, listen, loopback};
use crate::actors::{Add, expose_tester};

/// A node with limits of its own.
fn node_with(system: &System, config: LinkConfig) -> Node {
    let node = Node::with(system, "node", Incarnation(1), config).unwrap();
    expose_tester(&node);
    node
}

#[callboard::test(arbiters)]
async fn g36_a_stalled_handshake_holds_nobody_up_and_is_cut(system: System) {
    let house = House::new();
    let mut config = LinkConfig::default();
    config.handshake_timeout = Duration::from_millis(300);
    let node = node_with(&system, config);
    let listener = listen(&node, &house.tls("node")).await;
    let mut stalled = Vec::new();
    for number in 0..8 {
        let mut stream = TcpStream::connect(listener.socket_addr().unwrap())
            .await
            .unwrap();
        // Nothing, or the beginning of a record.
        stream
            .write_all(&[22, 3, 1, 1, 0, 1, 0, 0][..number])
            .await
            .unwrap();
        stalled.push(stream);
    }
    let peer = dial(&system, &listener, &house.tls("shop"));
    peer.attempted().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
    for mut stream in stalled {
        // It ends, by a reset or without one.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    while node.state().stats.handshake_failures < 8 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(add.ask(Add(1)).await.unwrap(), 2);
}

#[callboard::test(arbiters)]
async fn g36_handshakes_have_a_bound_and_a_place_is_free_at_once(system: System) {
    let house = House::new();
    let mut config = LinkConfig::default();
    config.connections = 2;
    config.handshake_timeout = Duration::from_secs(3_600);
    let node = node_with(&system, config);
    let listener = listen(&node, &house.tls("node")).await;
    let address = listener.socket_addr().unwrap();
    let first = TcpStream::connect(address).await.unwrap();
    let second = TcpStream::connect(address).await.unwrap();
    let peer = dial(&system, &listener, &house.tls("shop"));
    assert_eq!(
        peer.attempted().await.unwrap_err().kind(),
        &LinkErrorKind::Tls(TlsFault::Closed)
    );
    drop((first, second));
    peer.connected().await.unwrap();
}

#[callboard::test(arbiters)]
async fn closing_the_node_ends_handshakes_in_hand(system: System) {
    let house = House::new();
    let mut config = LinkConfig::default();
    config.handshake_timeout = Duration::from_secs(3_600);
    let node = node_with(&system, config);
    let listener = listen(&node, &house.tls("node")).await;
    let mut stream = TcpStream::connect(listener.socket_addr().unwrap())
        .await
        .unwrap();
    stream.write_all(&[22, 3, 1]).await.unwrap();
    // It has begun: a later one is through.
    dial(&system, &listener, &house.tls("shop"))
        .attempted()
        .await
        .unwrap();
    node.close();
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[callboard::test(arbiters)]
async fn g36_a_listener_that_never_answers_is_given_up(system: System) {
    let house = House::new();
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut config = LinkConfig::default();
    config.connect_timeout = Duration::from_millis(100);
    let tls = house.tls("shop");
    let peer = Peer::tls_with(&system, &address, &tls, Expect::name("node"), config).unwrap();
    let error = peer.attempted().await.unwrap_err();
    let limit = Duration::from_millis(100);
    assert_eq!(error.kind(), &LinkErrorKind::ConnectTimeout(limit));
}

/// What went over a connection, in each direction.
struct Recorded {
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

/// Lets one peer connect through here, and writes down what it and the node say until it is connected.
async fn record(system: &System, node: &Node, house: &House) -> Recorded {
    let real = listen(node, &house.tls("node")).await;
    let proxy = TcpListener::bind(loopback()).await.unwrap();
    let address = proxy.local_addr().unwrap().to_string();
    let tls = house.tls("shop");
    let peer = Peer::tls(system, &address, &tls, Expect::name("node")).unwrap();
    let (mut client, _) = proxy.accept().await.unwrap();
    let mut server = TcpStream::connect(real.socket_addr().unwrap())
        .await
        .unwrap();
    let (mut client_reads, mut client_writes) = client.split();
    let (mut server_reads, mut server_writes) = server.split();
    let mut recorded = Recorded {
        to_server: Vec::new(),
        to_client: Vec::new(),
    };
    let (up, down) = (&mut recorded.to_server, &mut recorded.to_client);
    let connected = async {
        peer.connected().await.unwrap();
        peer.close();
    };
    let upward = pass(&mut client_reads, &mut server_writes, up);
    let downward = pass(&mut server_reads, &mut client_writes, down);
    join(connected, join(upward, downward)).await;
    real.close();
    recorded
}

async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    copy: &mut Vec<u8>,
) {
    let mut chunk = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        copy.extend(&chunk[..count]);
        if to.write_all(&chunk[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

#[callboard::test(arbiters)]
async fn g36_a_handshake_cut_at_any_byte_harms_nobody(system: System) {
    let house = House::new();
    let node = node_with(&system, LinkConfig::default());
    let recorded = record(&system, &node, &house).await;
    let listener = listen(&node, &house.tls("node")).await;
    let before = node.state().stats.handshake_failures;
    let conversation = &recorded.to_server;
    for cut in 0..conversation.len() {
        let mut stream = TcpStream::connect(listener.socket_addr().unwrap())
            .await
            .unwrap();
        // The whole hello, and then what was encrypted for another connection: also a replay.
        stream.write_all(&conversation[..cut]).await.unwrap();
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let count = conversation.len() as u64;
    while node.state().stats.handshake_failures < before + count {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(node.state().connections, []);
    let peer = dial(&system, &listener, &house.tls("shop"));
    peer.attempted().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
}

#[callboard::test(arbiters)]
async fn g36_an_answer_cut_at_any_byte_is_a_typed_fault(system: System) {
    let house = House::new();
    let node = node_with(&system, LinkConfig::default());
    let recorded = record(&system, &node, &house).await;
    let proxy = TcpListener::bind(loopback()).await.unwrap();
    let address = proxy.local_addr().unwrap().to_string();
    let tls = house.tls("shop");
    for cut in 0..recorded.to_client.len() {
        let peer = dial_once(&system, &address, &tls);
        let answering = async {
            let (mut stream, _) = proxy.accept().await.unwrap();
            // Its hello has come, so that nothing unread turns the end into a reset.
            let _ = stream.read(&mut [0; 4_096]).await;
            let _ = stream.write_all(&recorded.to_client[..cut]).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let (told, ()) = join(fault(&peer), answering).await;
        // The end, or keys that don't fit.
        let is_told = matches!(told, TlsFault::Closed | TlsFault::Other(_));
        assert!(is_told, "{cut}: {told:?}");
        peer.close();
    }
}
