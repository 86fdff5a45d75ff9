//! TLS: who is let in, who is believed, and what those are told who aren't.

mod faults;
mod files;
mod handshakes;
mod rotation;

use std::net::SocketAddr;
use std::time::Duration;

use callboard::{Boundary, Recipient, System};
use callboard_remote::testing::Tap;
use callboard_remote::{
    Authority, Expect, Identity, LinkConfig, LinkErrorKind, Listener, Node, Peer, Tls,
    TlsConnector, TlsFault, Trust, Verbs,
};

use crate::actors::{Echo, Look, tester};
use crate::wires::{Wire, retry_in_use};

/// An authority, and who trusts it.
pub(crate) struct House {
    pub(crate) authority: Authority,
}

impl House {
    pub(crate) fn new() -> Self {
        House {
            authority: Authority::new("our system").unwrap(),
        }
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        self.authority
            .issue(name, &["localhost", "127.0.0.1"])
            .unwrap()
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::nobody().authority(&self.authority)
    }

    pub(crate) fn tls(&self, name: &str) -> Tls {
        Tls::new(self.identity(name), self.trust())
    }
}

pub(crate) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Rights are another matter: whoever is let in may do everything here.
pub(crate) async fn listen(node: &Node, tls: &Tls) -> Listener {
    grant_all(node);
    node.listen_tls(loopback(), tls).await.unwrap()
}

fn grant_all(node: &Node) {
    for who in ["*", "anonymous"] {
        node.rights().grant(who, Verbs::ALL, ">").unwrap();
    }
}

/// A peer that expects `node`.
pub(crate) fn dial(system: &System, listener: &Listener, tls: &Tls) -> Peer {
    Peer::tls(system, listener.address(), tls, Expect::name("node")).unwrap()
}

/// The same, for listeners that answer only once: the next attempt is far away.
pub(crate) fn dial_once(system: &System, address: &str, tls: &Tls) -> Peer {
    let mut config = LinkConfig::default();
    config.backoff = Duration::from_secs(3_600);
    config.backoff_cap = config.backoff;
    Peer::tls_with(system, address, tls, Expect::name("node"), config).unwrap()
}

/// What the first attempt to connect came to.
pub(crate) async fn fault(peer: &Peer) -> TlsFault {
    let error = peer.attempted().await.unwrap_err();
    match error.kind() {
        LinkErrorKind::Tls(fault) => fault.clone(),
        other => panic!("{other:?}"),
    }
}

/// The conformance suite's way over TLS.
pub(crate) struct TlsWire {
    house: House,
    address: SocketAddr,
    tap: Tap,
}

impl Wire for TlsWire {
    const BOUNDARY: Boundary = Boundary::Network;

    async fn new(_system: &System) -> Self {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        TlsWire {
            house: House::new(),
            address: probe.local_addr().unwrap(),
            tap: Tap::new(),
        }
    }

    async fn serve(&mut self, node: &Node) {
        let tls = self.house.tls("node");
        grant_all(node);
        retry_in_use(async || node.listen_tls(self.address, &tls).await).await;
    }

    async fn peer(&mut self, system: &System, config: LinkConfig) -> Peer {
        let (address, tls) = (self.address.to_string(), self.house.tls("peer"));
        let connector = TlsConnector::new(system, &address, &tls, Expect::name("node")).unwrap();
        Peer::dialled(system, self.tap.connector(connector), config)
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }
}

#[callboard::test(arbiters)]
async fn g35_messages_carry_the_principal_of_the_certificate(system: System) {
    let house = House::new();
    let (node, _actor, _probe) = tester(&system, "node");
    let listener = listen(&node, &house.tls("node")).await;
    for name in ["shop", "billing"] {
        let peer = dial(&system, &listener, &house.tls(name));
        peer.connected().await.unwrap();
        let look: Recipient<Look> = peer.recipient("tester").unwrap();
        let seen = look.ask(Look).await.unwrap();
        assert_eq!(seen.principal, Some(format!("cert:{name}")));
        assert_eq!(look.boundary(), Boundary::Network);
        let connections = node.state().connections;
        let shown = connections
            .iter()
            .find(|one| one.principal == seen.principal);
        assert_eq!(shown.map(|one| &*one.through), Some(listener.address()));
    }
    assert_eq!(node.state().stats.handshake_failures, 0);
}

#[callboard::test(arbiters)]
async fn g35_a_listener_is_known_by_name_by_host_or_by_principal(system: System) {
    let house = House::new();
    let (node, _actor, _probe) = tester(&system, "node");
    let listener = listen(&node, &house.tls("node")).await;
    let tls = house.tls("shop");
    let by_name = format!("localhost:{}", listener.socket_addr().unwrap().port());
    let principal = callboard::Principal::new("cert:node");
    for (address, expect) in [
        (listener.address(), Expect::name("node")),
        (listener.address(), Expect::principal(principal)),
        (listener.address(), Expect::host("127.0.0.1")),
        (listener.address(), Expect::host("localhost")),
        (&*by_name, Expect::host("LOCALHOST")),
    ] {
        let peer = Peer::tls(&system, address, &tls, expect).unwrap();
        peer.attempted().await.unwrap();
        assert_eq!(peer.state().address, address);
    }
}

#[callboard::test(arbiters)]
async fn g35_pinned_certificates_need_no_authority_and_are_who_the_pin_says(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    // Each says that it is somebody else.
    let (here, there) = (
        Identity::self_signed("admin").unwrap(),
        Identity::self_signed("admin").unwrap(),
    );
    let trust = Trust::nobody().pin("shop", there.fingerprint()).unwrap();
    let listener = listen(&node, &Tls::new(here.clone(), trust)).await;
    let trust = Trust::nobody().pin("node", here.fingerprint()).unwrap();
    let peer = dial(&system, &listener, &Tls::new(there.clone(), trust.clone()));
    peer.attempted().await.unwrap();
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    let seen = look.ask(Look).await.unwrap();
    assert_eq!(seen.principal.as_deref(), Some("cert:shop"));
    // Another with the same name in it is not that one.
    let other = Identity::self_signed("admin").unwrap();
    let peer = dial(&system, &listener, &Tls::new(other, trust.clone()));
    assert_eq!(fault(&peer).await, TlsFault::UntrustedThere);
    // Nor is a pin good for a host, or for another name.
    let tls = Tls::new(there, trust);
    let peer = Peer::tls(&system, listener.address(), &tls, Expect::host("localhost")).unwrap();
    let wrong = |expected: &str| TlsFault::WrongPrincipal {
        expected: expected.into(),
        found: "cert:node".into(),
    };
    assert_eq!(fault(&peer).await, wrong("localhost"));
    let peer = Peer::tls(&system, listener.address(), &tls, Expect::name("admin")).unwrap();
    assert_eq!(fault(&peer).await, wrong("cert:admin"));
}

#[callboard::test(arbiters)]
async fn g35_without_client_certificates_nobody_is_anybody(system: System) {
    let house = House::new();
    let (node, _actor, _probe) = tester(&system, "node");
    let tls = house.tls("node").without_client_certificates();
    let listener = listen(&node, &tls).await;
    let peer = dial(&system, &listener, &Tls::without_identity(house.trust()));
    peer.attempted().await.unwrap();
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    assert_eq!(look.ask(Look).await.unwrap().principal, None);
    // Who shows one is known by it, and must be trusted.
    let peer = dial(&system, &listener, &house.tls("shop"));
    peer.attempted().await.unwrap();
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    let seen = look.ask(Look).await.unwrap();
    assert_eq!(seen.principal.as_deref(), Some("cert:shop"));
    let stranger = Tls::new(House::new().identity("shop"), house.trust());
    let peer = dial(&system, &listener, &stranger);
    assert_eq!(fault(&peer).await, TlsFault::UntrustedThere);
}

#[callboard::test(arbiters)]
async fn large_messages_go_both_ways(system: System) {
    let house = House::new();
    let (node, _actor, _probe) = tester(&system, "node");
    let listener = listen(&node, &house.tls("node")).await;
    let peer = dial(&system, &listener, &house.tls("shop"));
    peer.attempted().await.unwrap();
    let echo: Recipient<Echo> = peer.recipient("tester").unwrap();
    let large: Vec<u8> = (0..3 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    // Encoding takes its time in a build without optimisation.
    let ask = echo
        .ask(Echo(large.clone()))
        .deadline(Duration::from_secs(60));
    assert!(ask.await.unwrap() == large);
}

#[callboard::test(arbiters)]
async fn g35_plain_tcp_off_loopback_needs_the_word(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let everywhere = "0.0.0.0:0".parse().unwrap();
    assert!(node.listen_tcp(everywhere).await.is_err());
    let listener = node.listen_tcp_insecure(everywhere).await.unwrap();
    let mut address = listener.socket_addr().unwrap();
    address.set_ip("127.0.0.1".parse().unwrap());
    let peer = Peer::tcp_insecure(&system, address, LinkConfig::default());
    peer.attempted().await.unwrap();
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    assert_eq!(look.ask(Look).await.unwrap().principal, None);
}

#[callboard::test(arbiters)]
async fn what_cannot_be_dialled_is_told_at_once(system: System) {
    let tls = House::new().tls("shop");
    let refused = |address: &str, expect: Expect| {
        let error = Peer::tls(&system, address, &tls, expect).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        refused("localhost", Expect::name("node")),
        "\"localhost\" is no address: it should be a host and a port, as in \"billing.internal:4000\""
    );
    assert_eq!(
        refused("localhost:1", Expect::host("a b")),
        "\"a b\" is no host name and no IP address"
    );
    assert_eq!(
        refused("localhost:1", Expect::name("a b")),
        "\"a b\" is no name: 1 to 64 letters, digits, '.', '_' or '-' (in an authority's name also spaces)"
    );
}

#[callboard::test(arbiters)]
async fn a_listener_needs_an_identity(system: System) {
    let node = Node::new(&system, "node").unwrap();
    let tls = Tls::without_identity(House::new().trust());
    let error = node.listen_tls(loopback(), &tls).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "127.0.0.1:0: to listen with TLS needs an identity"
    );
}

#[callboard::test]
async fn the_simulating_executor_has_no_tls_and_says_so(system: System) {
    let house = House::new();
    let node = Node::new(&system, "node").unwrap();
    assert!(
        node.listen_tls(loopback(), &house.tls("node"))
            .await
            .is_err()
    );
    let tls = house.tls("shop");
    let peer = Peer::tls(&system, "localhost:1", &tls, Expect::name("node")).unwrap();
    let error = peer.attempted().await.unwrap_err();
    assert!(
        error.to_string().contains("no arbiter with sockets"),
        "{error}"
    );
}
