//! What only real sockets have: addresses, files, user ids.

use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use callboard::{Boundary, FailureKind, Recipient, System};
use callboard_remote::{ListenError, Node, Peer, UnixSocket};

use crate::actors::{Add, Look, tester};
use crate::wires::{own_name, socket_path};

#[callboard::test(arbiters)]
async fn g35_tcp_is_for_loopback_only(system: System) {
    let node = Node::new(&system, "node").unwrap();
    for address in ["0.0.0.0:0", "192.0.2.1:4000", "[::]:0"] {
        let address = address.parse().unwrap();
        let error = node.listen_tcp(address).await.unwrap_err();
        assert_eq!(error, ListenError::NotLoopback(address));
        let error = Peer::tcp(&system, address).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{address} is no loopback address: off this host nothing speaks without TLS")
        );
    }
    let mapped = "[::ffff:127.0.0.1]:1".parse().unwrap();
    assert!(Peer::tcp(&system, mapped).is_ok());
}

#[callboard::test(arbiters)]
async fn a_port_in_use_is_a_clear_error(system: System) {
    let node = Node::new(&system, "node").unwrap();
    let listener = node
        .listen_tcp("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.socket_addr().unwrap();
    let error = node.listen_tcp(address).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{address} is in use by another listener")
    );
    assert_eq!(node.state().listeners, [address.to_string()]);
    listener.close();
    while !node.state().listeners.is_empty() {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    node.listen_tcp(address).await.unwrap();
}

#[callboard::test(arbiters)]
async fn a_stale_socket_file_is_replaced_and_a_live_one_is_not(system: System) {
    let path = socket_path();
    // What a killed process leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (node, _actor, _probe) = tester(&system, "node");
    let listener = node.listen_unix(&path).await.unwrap();
    let error = node.listen_unix(&path).await.unwrap_err();
    assert_eq!(error, ListenError::InUse(path.display().to_string()));
    let peer = Peer::unix(&system, &path);
    peer.connected().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
    listener.close();
    while path.exists() {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    // What is open stays.
    assert_eq!(add.ask(Add(1)).await.unwrap(), 2);
}

#[callboard::test(arbiters)]
async fn a_file_that_is_no_socket_is_left_alone(system: System) {
    let path = socket_path();
    std::fs::write(&path, "precious").unwrap();
    let node = Node::new(&system, "node").unwrap();
    let error = node.listen_unix(&path).await.unwrap_err();
    assert_eq!(error, ListenError::NoSocket(path.clone()));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
}

#[callboard::test(arbiters)]
async fn a_listener_does_not_remove_its_successors_file(system: System) {
    let path = socket_path();
    let first = Node::new(&system, "first").unwrap();
    first.listen_unix(&path).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = Node::new(&system, "second").unwrap();
    second.listen_unix(&path).await.unwrap();
    first.close();
    while !first.state().listeners.is_empty() {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    let peer = Peer::unix(&system, &path);
    peer.connected().await.unwrap();
    assert_eq!(peer.state().remote.unwrap().name, "second");
}

#[callboard::test(arbiters)]
async fn g35_a_unix_socket_proves_the_principal_and_tcp_does_not(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let path = socket_path();
    node.listen_unix(&path).await.unwrap();
    let tcp = node
        .listen_tcp("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let unix = Peer::unix(&system, &path);
    let tcp = Peer::tcp(&system, tcp.socket_addr().unwrap()).unwrap();
    unix.connected().await.unwrap();
    tcp.connected().await.unwrap();
    let look: Recipient<Look> = unix.recipient("tester").unwrap();
    let principal = look.ask(Look).await.unwrap().principal.unwrap();
    assert!(principal.starts_with("uid:"), "{principal}");
    assert_eq!(look.boundary(), Boundary::SameHost);
    let look: Recipient<Look> = tcp.recipient("tester").unwrap();
    assert_eq!(look.ask(Look).await.unwrap().principal, None);
    assert_eq!(look.boundary(), Boundary::Network);
    let principals: Vec<_> = node
        .state()
        .connections
        .into_iter()
        .filter_map(|connection| connection.principal)
        .collect();
    assert_eq!(principals, [principal]);
}

#[callboard::test(arbiters)]
async fn what_cannot_be_reached_is_named_in_the_error(system: System) {
    let path = socket_path();
    let peer = Peer::unix(&system, &path);
    let error = peer.attempted().await.unwrap_err();
    assert_eq!(error.peer(), path.display().to_string());
    assert!(error.to_string().contains("can't be reached"), "{error}");
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let error = add.ask(Add(1)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NoConnection);
    assert!(
        error.to_string().contains(&*path.display().to_string()),
        "{error}"
    );
}

#[callboard::test(arbiters)]
async fn g16_a_peer_that_comes_late_is_found(system: System) {
    let path = socket_path();
    let peer = Peer::unix(&system, &path);
    while peer.state().stats.connect_failures < 3 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    let (node, _actor, _probe) = tester(&system, "late");
    node.listen_unix(&path).await.unwrap();
    peer.connected().await.unwrap();
    assert_eq!(peer.state().last_error, None);
}

#[callboard::test]
async fn the_simulating_executor_has_no_sockets_and_says_so(system: System) {
    let node = Node::new(&system, "node").unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let error = node.listen_tcp(address).await.unwrap_err();
    assert_eq!(error, ListenError::NoArbiter("127.0.0.1:0".into()));
    assert!(node.listen_unix(socket_path()).await.is_err());
    assert!(node.serve_stdio().await.is_err());
    let peer = Peer::tcp(&system, "127.0.0.1:1".parse().unwrap()).unwrap();
    let error = peer.attempted().await.unwrap_err();
    assert!(
        error.to_string().contains("no arbiter with sockets"),
        "{error}"
    );
}

#[callboard::test(arbiters)]
async fn an_abstract_socket_has_a_name_and_no_file(system: System) {
    let socket = UnixSocket::abstract_name(own_name());
    let (node, _actor, _probe) = tester(&system, "node");
    let listener = node.listen_unix(socket.clone()).await.unwrap();
    assert_eq!(listener.address(), socket.to_string());
    assert!(listener.address().starts_with('@'));
    let error = node.listen_unix(socket.clone()).await.unwrap_err();
    assert_eq!(error, ListenError::InUse(socket.to_string()));
    let peer = Peer::unix(&system, socket.clone());
    peer.connected().await.unwrap();
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    let principal = look.ask(Look).await.unwrap().principal.unwrap();
    assert!(principal.starts_with("uid:"), "{principal}");
    assert_eq!(look.boundary(), Boundary::SameHost);
    // The name is free when the listener has gone; what is open stays.
    listener.close();
    while node.listen_unix(socket.clone()).await.is_err() {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(look.ask(Look).await.unwrap().principal.unwrap(), principal);
}

#[callboard::test(arbiters)]
async fn names_and_paths_that_cannot_be_are_named_in_the_error(system: System) {
    let node = Node::new(&system, "node").unwrap();
    for socket in [
        UnixSocket::abstract_name(""),
        UnixSocket::abstract_name("x".repeat(108)),
        UnixSocket::path("/tmp/\0hidden"),
        UnixSocket::path("\0hidden"),
        UnixSocket::path("/tmp/".to_owned() + &"x".repeat(108)),
    ] {
        let address = socket.to_string();
        let error = node.listen_unix(socket.clone()).await.unwrap_err();
        assert!(
            matches!(&error, ListenError::Io { address: at, .. } if *at == address),
            "{error}"
        );
        let peer = Peer::unix(&system, socket);
        let error = peer.attempted().await.unwrap_err();
        assert_eq!(error.peer(), address);
    }
}

#[callboard::test(arbiters)]
async fn g35_a_socket_for_others_can_be_opened_by_them_and_one_for_us_cannot(system: System) {
    use std::os::unix::fs::PermissionsExt;
    let node = Node::new(&system, "node").unwrap();
    for (shared, expected) in [(false, 0o600), (true, 0o666)] {
        let path = socket_path();
        let mut socket = UnixSocket::path(&path);
        if shared {
            socket = socket.allow_user(33);
        }
        node.listen_unix(socket).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, expected);
    }
}
