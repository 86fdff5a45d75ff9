//! Limits at their ends, and what is said to a peer that takes little.

use std::time::Duration;

use callboard::queue::{Queue, ack_all};
use callboard::{Message, Recipient, System};
use callboard_remote::testing::SimNet;
use callboard_remote::{LinkConfig, Node, Peer};
use serde::{Deserialize, Serialize};

use crate::actors::{Add, Echo, expose_tester};
use crate::claims::open_to_all;
use crate::queues::Job;
use crate::waits::{Depot, until};

/// With each of these nothing was ever sent, a thread span for ever, or a sum overflowed.
#[callboard::test(both)]
async fn g33_limits_of_nothing_and_of_everything_let_messages_through(system: System) {
    let changes: [fn(&mut LinkConfig); 8] = [
        |config| config.unacknowledged = 0,
        |config| config.ping_after = Duration::ZERO,
        |config| config.dead_after = Duration::from_secs(60),
        |config| (config.window, config.session_window) = (u64::MAX, u64::MAX),
        |config| (config.window, config.session_window) = (0, 0),
        |config| config.outbox = 0,
        |config| config.in_flight = 0,
        |config| config.max_message = 0,
    ];
    for change in changes {
        let mut config = LinkConfig::default();
        change(&mut config);
        let net = SimNet::new(&system);
        let incarnation = callboard::Incarnation(1);
        let node = Node::with(&system, "node", incarnation, config.clone()).unwrap();
        node.rights().replace(open_to_all());
        let (_actor, _probe) = expose_tester(&node);
        net.listen("node", &node);
        let peer = Peer::dialled(&system, net.connector("peer", "node"), config);
        peer.connected().await.unwrap();
        let add: Recipient<Add> = peer.recipient("tester").unwrap();
        let echo: Recipient<Echo> = peer.recipient("tester").unwrap();
        for n in 1..=3 {
            assert_eq!(add.ask(Add(1)).await.unwrap(), n);
            assert_eq!(echo.ask(Echo(vec![7; 2_000])).await.unwrap().len(), 2_000);
        }
        peer.close();
        node.close();
    }
}

#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "test.text")]
struct Text(String);

/// As many in a message as the other side takes.
#[callboard::test(both)]
async fn g36_many_items_go_to_a_node_that_takes_small_messages(system: System) {
    let net = SimNet::new(&system);
    let mut small = LinkConfig::default();
    small.max_message = 4_096;
    let incarnation = callboard::Incarnation(1);
    let node = Node::with(&system, "depot", incarnation, small).unwrap();
    node.rights().replace(open_to_all());
    let near: Queue<Text> = system.queue("texts").open().unwrap();
    let jobs: Queue<Job> = system.queue("jobs").capacity(10_000).open().unwrap();
    node.expose_queue("texts", &near).unwrap();
    node.expose_queue("jobs", &jobs).unwrap();
    net.listen("depot", &node);
    let connector = net.connector("shop", "depot");
    let peer = Peer::dialled(&system, connector, LinkConfig::default());
    peer.connected().await.unwrap();
    let far = peer.queue::<Text>("texts").await.unwrap();
    let texts = (0..100).map(|_| Text("x".repeat(1_000)));
    assert_eq!(far.offer_many(texts).await.unwrap().len(), 100);
    assert_eq!(near.state().await.unwrap().len, 100);
    // Small ones, of which the heads count.
    let far = peer.queue::<Job>("jobs").await.unwrap();
    let offered = far.offer_many((0..2_000).map(Job)).await.unwrap();
    assert_eq!(offered.len(), 2_000);
    let mut held = Vec::new();
    while held.len() < 2_000 {
        held.extend(far.lease_many(2_000).await.unwrap());
    }
    let acked = ack_all(held).await;
    assert!(acked.iter().all(Result::is_ok), "{acked:?}");
    assert_eq!(jobs.state().await.unwrap().settled, 2_000);
}

/// A queue behind a node that is itself elsewhere: its leases are as long as they are there.
#[callboard::test(simulated)]
async fn g22_a_lease_through_a_gateway_lasts_as_long_as_it_does(system: System) {
    let depot = Depot::new(&system);
    let long: Queue<Job> = system
        .queue("long")
        .lease(Duration::from_secs(600))
        .open()
        .unwrap();
    depot.node.expose_queue("long", &long).unwrap();
    let behind = depot.peer(&system, LinkConfig::default()).await;
    let gateway = Node::new(&system, "gateway").unwrap();
    gateway.rights().replace(open_to_all());
    let through = behind.queue::<Job>("long").await.unwrap();
    gateway.expose_queue("long", &through).unwrap();
    depot.net.listen("gateway", &gateway);
    let connector = depot.net.connector("shop", "gateway");
    let peer = Peer::dialled(&system, connector, LinkConfig::default());
    peer.connected().await.unwrap();
    let far = peer.queue::<Job>("long").await.unwrap();
    far.offer_many((0..200).map(Job)).await.unwrap();
    let mut held = far.lease_many(64).await.unwrap();
    assert_eq!(held.len(), 64);
    // Longer than a lease is where nobody says how long.
    system.clock().sleep(Duration::from_secs(60)).await;
    while held.len() < 200 {
        held.extend(far.lease_many(64).await.unwrap());
    }
    assert_eq!(long.state().await.unwrap().in_flight, 200);
    let acked = ack_all(held).await;
    assert!(acked.iter().all(Result::is_ok), "{acked:?}");
    assert_eq!(long.state().await.unwrap().settled, 200);
}

/// What was said of a lease stands, also if its handle is dropped before there is room to say it.
#[callboard::test(both)]
async fn g22_the_end_of_a_lease_is_said_before_the_end_of_its_handle(system: System) {
    let depot = Depot::new(&system);
    let mut config = LinkConfig::default();
    config.outbox = 1;
    let peer = depot.peer(&system, config).await;
    let jobs = peer.queue::<Job>("jobs").await.unwrap();
    depot.jobs.offer_many((0..3).map(Job)).await.unwrap();
    let held = jobs.lease_many(3).await.unwrap();
    assert_eq!(held.len(), 3);
    depot.net.partition("shop", "depot");
    // The first takes all the room there is.
    drop((held, jobs));
    depot.net.heal_all();
    until(&system, async || {
        depot.jobs.state().await.unwrap().in_flight == 0
    })
    .await;
    let back = depot.jobs.lease_many(3).await.unwrap();
    let failed: Vec<u32> = back
        .iter()
        .map(callboard::queue::Delivery::failed)
        .collect();
    assert_eq!(failed, [0, 0, 0]);
}
