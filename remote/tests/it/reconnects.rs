//! What a sender is promised besides its answers, over connections that break: order, and that nothing vanishes.

use std::time::Duration;

use callboard::{
    DropReason, Envelope, FailureKind, Meta, Outcome, Recipient, ReplySink, Responder, System,
    Verdict,
};
use callboard_remote::testing::SimNet;
use callboard_remote::{LinkConfig, Peer, Phase};

use crate::actors::{Add, Hold, tester};
use crate::wires::{Memory, connect_with};

const MS: Duration = Duration::from_millis(1);

#[callboard::test(both)]
async fn g02_tells_and_asks_keep_their_order_through_reconnects(system: System) {
    let net = SimNet::new(&system);
    net.change("desk", "vault", |way| {
        way.delay = Duration::ZERO..=MS;
        way.piece = Some(100);
    });
    let (node, _actor, probe) = tester(&system, "vault");
    net.listen("vault", &node);
    let mut config = LinkConfig::default();
    config.backoff = MS;
    config.backoff_cap = MS;
    let peer = Peer::dialled(&system, net.connector("desk", "vault"), config);
    peer.connected().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    for n in 0..300 {
        if n % 30 == 29 {
            net.cut("desk", "vault");
        }
        if n % 7 == 6 {
            add.ask(Add(n)).await.unwrap();
        } else {
            add.tell(Add(n)).await.unwrap();
        }
    }
    add.ask(Add(300)).await.unwrap();
    assert_eq!(probe.added_now(), (0..=300).collect::<Vec<_>>());
    let stats = peer.state().stats;
    assert!(stats.resumes > 0, "{stats:?}");
    assert_eq!(stats.sessions_ended, 0);
}

#[callboard::test(both)]
async fn g06_tells_that_their_session_could_not_bring_are_counted_and_kept(system: System) {
    let net = SimNet::new(&system);
    let (node, _actor, probe) = tester(&system, "vault");
    net.listen("vault", &node);
    let mut config = LinkConfig::default();
    config.session_time = 50 * MS;
    let peer = Peer::dialled(&system, net.connector("desk", "vault"), config);
    peer.connected().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
    net.unlisten("vault");
    net.cut("desk", "vault");
    while peer.state().phase == Phase::Connected {
        system.clock().sleep(MS).await;
    }
    for n in 2..7 {
        add.tell(Add(n)).await.unwrap();
    }
    while peer.state().stats.sessions_ended == 0 {
        system.clock().sleep(MS).await;
    }
    let letters = system.dead_letters().counts();
    assert_eq!(letters.by_reason.get(&DropReason::Undelivered), Some(&5));
    let failures = peer.state().stats.failures;
    assert!(
        failures.contains(&(FailureKind::ConnectionLost, 5)),
        "{failures:?}"
    );
    assert_eq!(probe.added_now(), [1]);
}

#[callboard::test(both)]
async fn g03_asks_that_ended_here_take_no_place_any_more(system: System) {
    let net = SimNet::new(&system);
    let (node, _actor, probe) = tester(&system, "vault");
    net.listen("vault", &node);
    let config = LinkConfig::default();
    let peer = Peer::dialled(&system, net.connector("desk", "vault"), config);
    peer.connected().await.unwrap();
    let hold: Recipient<Hold> = peer.recipient("tester").unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    // Its time is over while it is held at the other end.
    let late = hold.ask(Hold(1)).deadline(5 * MS).await.unwrap_err();
    assert_eq!(late.kind(), FailureKind::DeadlineExceeded);
    // Nobody is heard: over while it is on its way.
    net.partition("desk", "vault");
    let late = add.ask(Add(1)).deadline(5 * MS).await.unwrap_err();
    assert_eq!(late.kind(), FailureKind::DeadlineExceeded);
    net.heal_all();
    // There is no connection: over while it waits for one.
    net.unlisten("vault");
    net.cut("desk", "vault");
    while peer.state().phase == Phase::Connected {
        system.clock().sleep(MS).await;
    }
    let late = add.ask(Add(1)).deadline(5 * MS).await.unwrap_err();
    assert_eq!(late.kind(), FailureKind::DeadlineExceeded);
    net.listen("vault", &node);
    peer.connected().await.unwrap();
    add.ask(Add(2)).await.unwrap();
    drop(probe);
    assert_eq!(peer.state().in_flight, 0);
}

#[callboard::test]
async fn g33_a_writer_that_waits_for_an_acknowledgement_asks_for_it(system: System) {
    for unacknowledged in [0, 1_000] {
        let (node, actor, probe) = tester(&system, "node");
        let mut config = LinkConfig::default();
        config.unacknowledged = unacknowledged;
        let (_wire, peer) = connect_with::<Memory>(&system, &node, config).await;
        let add: Recipient<Add> = peer.recipient("tester").unwrap();
        let begin = system.clock().now();
        for n in 0..200 {
            add.tell(Add(n)).await.unwrap();
        }
        assert_eq!(add.ask(Add(200)).await.unwrap(), 201 * 200 / 2);
        assert_eq!(probe.added_now(), (0..=200).collect::<Vec<_>>());
        // In virtual time: it would be a second for each time that it waits.
        assert!(system.clock().now().since(begin) < 500 * MS);
        drop(actor);
    }
}

/// Whoever asks, its answer is wanted until its frame leaves.
struct Panics;

impl ReplySink<u64> for Panics {
    fn progress(&mut self, verdict: Verdict) -> bool {
        assert_ne!(verdict, Verdict::MaybeExecuted, "as it was told to");
        true
    }

    fn finish(self: Box<Self>, _outcome: Outcome<u64>) {}
}

#[callboard::test(both)]
async fn g10_code_that_panics_in_the_task_of_a_connection_costs_the_session_and_no_more(
    system: System,
) {
    let net = SimNet::new(&system);
    let (node, _actor, probe) = tester(&system, "vault");
    net.listen("vault", &node);
    let mut config = LinkConfig::default();
    config.backoff = MS;
    config.backoff_cap = MS;
    let peer = Peer::dialled(&system, net.connector("desk", "vault"), config);
    peer.connected().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
    net.unlisten("vault");
    net.cut("desk", "vault");
    while peer.state().phase == Phase::Connected {
        system.clock().sleep(MS).await;
    }
    let envelope = Envelope {
        message: Add(2),
        meta: Meta::default(),
        responder: Responder::new(Box::new(Panics)),
    };
    assert!(add.route().send(envelope).is_ok());
    net.listen("vault", &node);
    while peer.state().stats.sessions_ended == 0 {
        system.clock().sleep(MS).await;
    }
    peer.connected().await.unwrap();
    assert_eq!(add.ask(Add(3)).await.unwrap(), 4);
    assert_eq!(probe.added_now(), [1, 3]);
    // The node was told that the session of before is over.
    while node.state().sessions.len() > 1 {
        system.clock().sleep(MS).await;
    }
}
