//! What is changed while connections are open.

use callboard::{Recipient, System};
use callboard_remote::{Identity, Tls, TlsFault, Trust};

use super::{House, dial, fault, listen};
use crate::actors::{Add, Look, tester};

#[callboard::test(arbiters)]
async fn g35_a_rotated_identity_is_shown_from_the_next_connection_on(system: System) {
    let house = House::new();
    let (node, _actor, _probe) = tester(&system, "node");
    let here = house.tls("node");
    let listener = listen(&node, &here).await;
    let before = dial(&system, &listener, &house.tls("shop"));
    before.attempted().await.unwrap();
    let add: Recipient<Add> = before.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);

    // Of another authority: who trusts only the old one shows which is in use.
    let next = House::new();
    here.rotate(next.identity("node"));
    assert_eq!(add.ask(Add(1)).await.unwrap(), 2);
    let peer = dial(&system, &listener, &house.tls("shop"));
    assert_eq!(fault(&peer).await, TlsFault::Untrusted);

    let both = house.trust().authority(&next.authority);
    let there = Tls::new(house.identity("shop"), both);
    let peer = dial(&system, &listener, &there);
    peer.attempted().await.unwrap();
    // The one that dials rotates too; who listens must trust what it shows.
    there.rotate(next.identity("market"));
    let peer = dial(&system, &listener, &there);
    assert_eq!(fault(&peer).await, TlsFault::UntrustedThere);
    here.trust(here.trusted().authority(&next.authority));
    let peer = dial(&system, &listener, &there);
    peer.attempted().await.unwrap();
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    let seen = look.ask(Look).await.unwrap();
    assert_eq!(seen.principal.as_deref(), Some("cert:market"));
    assert_eq!(add.ask(Add(1)).await.unwrap(), 3);
    assert_eq!(before.state().stats.connects, 1);
}

#[callboard::test(arbiters)]
async fn g35_a_pin_that_is_taken_away_is_refused_at_the_next_connection(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let here = Identity::self_signed("node").unwrap();
    let shop = Identity::self_signed("shop").unwrap();
    let pinned = Trust::nobody().pin("shop", shop.fingerprint()).unwrap();
    let tls = Tls::new(here.clone(), pinned);
    let listener = listen(&node, &tls).await;
    let trust = Trust::nobody().pin("node", here.fingerprint()).unwrap();
    let there = Tls::new(shop.clone(), trust);
    let peer = dial(&system, &listener, &there);
    peer.attempted().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();

    tls.trust(tls.trusted().unpin(shop.fingerprint()));
    // Nothing of the first connection is remembered that could open a second one.
    let next = dial(&system, &listener, &there);
    assert_eq!(fault(&next).await, TlsFault::UntrustedThere);
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
}

#[callboard::test(arbiters)]
async fn a_peer_that_was_refused_is_let_in_once_it_is_trusted(system: System) {
    let house = House::new();
    let (node, _actor, _probe) = tester(&system, "node");
    let here = Tls::new(house.identity("node"), Trust::nobody());
    let listener = listen(&node, &here).await;
    let peer = dial(&system, &listener, &house.tls("shop"));
    assert_eq!(fault(&peer).await, TlsFault::UntrustedThere);
    here.trust(house.trust());
    peer.connected().await.unwrap();
    assert_eq!(peer.state().last_error, None);
}

#[callboard::test(arbiters)]
async fn a_derived_handle_goes_its_own_way(system: System) {
    let house = House::new();
    let strict = house.tls("node");
    let open = strict.without_client_certificates();
    let next = house.identity("node");
    open.rotate(next.clone());
    assert_eq!(open.identity().unwrap().fingerprint(), next.fingerprint());
    assert_ne!(strict.identity().unwrap().fingerprint(), next.fingerprint());
    // And the strict one stays strict.
    let (node, _actor, _probe) = tester(&system, "node");
    let listener = listen(&node, &strict).await;
    let peer = dial(&system, &listener, &Tls::without_identity(house.trust()));
    assert_eq!(fault(&peer).await, TlsFault::CertificateRequired);
}
