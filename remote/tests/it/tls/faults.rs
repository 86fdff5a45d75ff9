//! Each way in which two sides don't come together: what the one that dials is told, and that the one that listens
//! counts it and goes on.

use std::time::Duration;

use callboard::System;
use callboard::clock::Clock;
use callboard_remote::{Authority, Expect, Identity, Node, Peer, Tls, TlsFault, Trust};
use futures::future::join;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{House, dial, dial_once, fault, listen, loopback};
use crate::actors::tester;

const DAY: Duration = Duration::from_secs(86_400);

/// What who dials as `there` is told by who listens as `here`, whatever it expects.
async fn between(system: &System, here: &Tls, there: &Tls) -> TlsFault {
    let (node, _actor, _probe) = tester(system, "node");
    let listener = listen(&node, here).await;
    let told = fault(&dial(system, &listener, there)).await;
    // Its end is counted after the peer has been told.
    while node.state().stats.handshake_failures == 0 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(node.state().connections, []);
    told
}

/// An identity that is valid by another clock than the machine's.
fn identity_by(clock: &Clock, name: &str) -> (Identity, Trust) {
    let authority = Authority::by_clock("our system", clock).unwrap();
    let identity = authority.issue_valid_for(name, &[], DAY).unwrap();
    (identity, Trust::nobody().authority(&authority))
}

#[callboard::test(arbiters)]
async fn g35_an_authority_that_nobody_trusts_vouches_for_nobody(system: System) {
    // The two have the same name.
    let (ours, theirs) = (House::new(), House::new());
    let told = between(&system, &theirs.tls("node"), &ours.tls("shop")).await;
    assert_eq!(told, TlsFault::Untrusted);
    let stranger = Tls::new(theirs.identity("shop"), ours.trust());
    let told = between(&system, &ours.tls("node"), &stranger).await;
    assert_eq!(told, TlsFault::UntrustedThere);
    let self_signed = Tls::new(Identity::self_signed("shop").unwrap(), ours.trust());
    let told = between(&system, &ours.tls("node"), &self_signed).await;
    assert_eq!(told, TlsFault::UntrustedThere);
    // Who trusts nobody lets nobody in.
    let alone = Tls::new(ours.identity("node"), Trust::nobody());
    let told = between(&system, &alone, &ours.tls("shop")).await;
    assert_eq!(told, TlsFault::UntrustedThere);
}

#[callboard::test(arbiters)]
async fn g35_what_has_expired_or_is_not_valid_yet_is_refused(system: System) {
    let house = House::new();
    let past = Clock::manual();
    let future = Clock::manual();
    let far = Duration::from_secs(20 * 365 * 86_400).as_nanos();
    future.advance_to(callboard::clock::Instant::from_nanos(
        u64::try_from(far).unwrap(),
    ));
    for (clock, here) in [(past, TlsFault::Expired), (future, TlsFault::NotYetValid)] {
        let (identity, trust) = identity_by(&clock, "node");
        let told = between(
            &system,
            &Tls::new(identity.clone(), house.trust()),
            &Tls::new(house.identity("shop"), trust.clone()),
        )
        .await;
        assert_eq!(told, here);
        let told = between(
            &system,
            &Tls::new(house.identity("node"), trust),
            &Tls::new(identity, house.trust()),
        )
        .await;
        assert_eq!(told, TlsFault::ExpiredThere);
    }
}

#[callboard::test(arbiters)]
async fn g35_somebody_else_at_that_address_is_refused(system: System) {
    let house = House::new();
    let told = between(&system, &house.tls("impostor"), &house.tls("shop")).await;
    assert_eq!(
        told.to_string(),
        "is cert:impostor, not cert:node",
        "{told:?}"
    );
    let node = Node::new(&system, "node").unwrap();
    let listener = listen(&node, &house.tls("node")).await;
    let expect = Expect::host("billing.internal");
    let peer = Peer::tls(&system, listener.address(), &house.tls("shop"), expect).unwrap();
    let error = peer.attempted().await.unwrap_err();
    let text = error.to_string();
    let begin = format!(
        "peer at {} has no certificate for \"billing.internal\"",
        listener.address()
    );
    assert!(text.starts_with(&begin), "{text}");
    assert!(text.contains("localhost"), "{text}");
}

#[callboard::test(arbiters)]
async fn g35_who_shows_no_certificate_is_told_that_one_is_wanted(system: System) {
    let house = House::new();
    let bare = Tls::without_identity(house.trust());
    let told = between(&system, &house.tls("node"), &bare).await;
    assert_eq!(told, TlsFault::CertificateRequired);
}

#[callboard::test(arbiters)]
async fn g35_a_denied_certificate_is_refused_though_an_authority_has_signed_it(system: System) {
    let house = House::new();
    let (node, shop) = (house.identity("node"), house.identity("shop"));
    let denying = Tls::new(node.clone(), house.trust().deny(shop.fingerprint()));
    let told = between(&system, &denying, &Tls::new(shop.clone(), house.trust())).await;
    assert_eq!(told, TlsFault::RefusedThere("CertificateRevoked".into()));
    let denying = Tls::new(shop, house.trust().deny(node.fingerprint()));
    let told = between(&system, &Tls::new(node, house.trust()), &denying).await;
    assert_eq!(told, TlsFault::Denied);
}

#[callboard::test(arbiters)]
async fn g35_a_plain_peer_at_a_port_with_tls_is_not_served_and_told_so(system: System) {
    let house = House::new();
    let (node, _actor, _probe) = tester(&system, "node");
    let listener = listen(&node, &house.tls("node")).await;
    let peer = Peer::tcp(&system, listener.socket_addr().unwrap()).unwrap();
    let error = peer.attempted().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "peer at {} speaks TLS, and this side doesn't",
            listener.address()
        )
    );
    assert_eq!(node.state().stats.connects, 0);
}

#[callboard::test(arbiters)]
async fn a_tls_peer_at_a_plain_port_is_told_so(system: System) {
    let house = House::new();
    let (node, _actor, _probe) = tester(&system, "node");
    let listener = node.listen_tcp(loopback()).await.unwrap();
    let peer = dial(&system, &listener, &house.tls("shop"));
    assert_eq!(fault(&peer).await, TlsFault::NotTls);
    let peer = dial(&system, &listener, &house.tls("shop"));
    let error = peer.attempted().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("peer at {} doesn't speak TLS", listener.address())
    );
}

/// A record of TLS.
fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap();
    [&[kind, 3, 3], &len.to_be_bytes()[..], body].concat()
}

/// A handshake message.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &len[1..], body].concat()
}

#[callboard::test(arbiters)]
async fn g35_nothing_older_than_tls_1_3_is_spoken(system: System) {
    let house = House::new();
    let (node, _actor, _probe) = tester(&system, "node");
    let listener = listen(&node, &house.tls("node")).await;
    // The hello of a client of 2008: version, random, no session, one cipher, no compression, and as extensions the
    // curves and signatures it knows.
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xC0, 0x2F, 1, 0]);
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    hello.extend([0, 16]);
    hello.extend(extensions);
    let mut old = TcpStream::connect(listener.socket_addr().unwrap())
        .await
        .unwrap();
    old.write_all(&record(22, &message(1, &hello)))
        .await
        .unwrap();
    let mut answer = Vec::new();
    old.read_to_end(&mut answer).await.unwrap();
    // A fatal alert: protocol version. And nothing else.
    assert_eq!(answer, record(21, &[2, 70]));

    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0xC0, 0x2F, 0]);
    let old = record(22, &message(2, &hello));
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&old).await.unwrap();
        // Until the other side has read it and hung up.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let peer = dial_once(&system, &address, &house.tls("shop"));
    let (told, ()) = join(fault(&peer), serving).await;
    assert_eq!(told, TlsFault::NoTls13);
}

#[callboard::test(arbiters)]
async fn g36_strangers_learn_nothing_but_an_alert(system: System) {
    let house = House::new();
    let (node, _actor, _probe) = tester(&system, "node");
    let listener = listen(&node, &house.tls("node")).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &record(22, &message(1, &[0; 300])),
        &record(22, &[1, 0xFF, 0xFF, 0xFF]),
        &record(23, &[0; 64]),
        &[22, 3, 3, 0xFF, 0xFF, 0, 0, 0, 0],
        &[0; 4_096],
    ] {
        let mut stream = TcpStream::connect(listener.socket_addr().unwrap())
            .await
            .unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let is_alert = matches!(answer[..], [] | [21, 3, _, 0, 2, 2, _]);
        assert!(is_alert, "{bytes:?}: {answer:?}");
    }
    let peer = dial(&system, &listener, &house.tls("shop"));
    peer.attempted().await.unwrap();
    assert_eq!(node.state().stats.handshake_failures, 6);
}
