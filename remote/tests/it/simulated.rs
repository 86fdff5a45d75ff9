//! Peers and nodes over the simulated network, where all that goes wrong comes from the seed.

use std::time::Duration;

use callboard::{Boundary, Recipient, Simulation, System, Verdict};
use callboard_remote::testing::{NetStats, SimNet, Stall};
use callboard_remote::{LinkConfig, Node, Peer, Phase};

use crate::actors::{Add, expose_tester, tester};

const MS: Duration = Duration::from_millis(1);

fn bad(net: &SimNet) {
    net.change("desk", "vault", |way| {
        way.delay = MS..=20 * MS;
        way.bandwidth = Some(100_000);
        way.capacity = 300;
        way.piece = Some(40);
        way.straggle = MS..=50 * MS;
        way.lifetime = Some(200 * MS..=2_000 * MS);
        way.stall = Some(Stall {
            one_in: 20,
            span: 10 * MS..=300 * MS,
        });
    });
}

/// What a client saw, in order and with the time of each, and what the network did.
type Run = (Vec<(u64, Result<u64, Verdict>)>, Vec<u64>, NetStats);

fn run(seed: u64) -> Run {
    let mut simulation = Simulation::new(seed);
    let system = simulation.system().clone();
    simulation.block_on(async {
        let net = SimNet::new(&system);
        bad(&net);
        let (node, _actor, probe) = tester(&system, "vault");
        net.listen("vault", &node);
        let peer = Peer::dialled(
            &system,
            net.connector("desk", "vault"),
            LinkConfig::default(),
        );
        let add: Recipient<Add> = peer.recipient("tester").unwrap();
        let mut seen = Vec::new();
        for n in 0..60 {
            peer.connected().await.unwrap();
            let answer = add.ask(Add(n)).await.map_err(|error| error.verdict());
            seen.push((system.clock().now().as_nanos(), answer));
        }
        (seen, probe.added_now(), net.stats())
    })
}

#[test]
fn g38_the_same_seed_is_the_same_run_over_a_bad_network() {
    let runs: Vec<Run> = (0..8).map(run).collect();
    for (seed, first) in runs.iter().enumerate() {
        assert_eq!(*first, run(seed as u64), "seed {seed}");
        let (seen, executed, stats) = first;
        assert!(stats.cuts > 0 && stats.stalls > 0, "{stats:?}");
        // Each ran once at most, in order; who was answered ran, who wasn't sent didn't.
        assert!(executed.is_sorted_by(|a, b| a < b), "{executed:?}");
        for (n, (_, answer)) in seen.iter().enumerate() {
            let ran = executed.contains(&(n as u64));
            match answer {
                Ok(_) => assert!(ran, "{n}"),
                Err(verdict) if verdict.is_safe_to_resend() => assert!(!ran, "{n}"),
                Err(_) => {}
            }
        }
    }
    assert!(runs.iter().any(|run| *run != runs[0]));
}

#[callboard::test(both)]
async fn a_simulated_network_serves_like_any_other(system: System) {
    let net = SimNet::new(&system);
    let (node, _actor, probe) = tester(&system, "vault");
    net.listen("vault", &node);
    let config = LinkConfig::default();
    let peer = Peer::dialled(&system, net.connector("desk", "vault"), config);
    peer.connected().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.boundary(), Boundary::Network);
    assert_eq!(add.ask(Add(7)).await.unwrap(), 7);
    assert_eq!(probe.added_now(), [7]);
    assert_eq!(peer.state().address, "vault");
    assert_eq!(node.state().connections[0].through, "vault (simulated)");
    net.cut("desk", "vault");
    while peer.state().stats.connects < 2 {
        system.clock().sleep(MS).await;
    }
    peer.connected().await.unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 8);
    peer.close();
    while net.connections() > 0 {
        system.clock().sleep(MS).await;
    }
    let stats = net.stats();
    assert_eq!((stats.connects, stats.cuts), (2, 1));
    assert_eq!(
        stats.bytes_written,
        stats.bytes_delivered + stats.bytes_lost
    );
}

#[callboard::test]
async fn a_half_open_connection_is_found_by_its_silence_and_made_anew(system: System) {
    let net = SimNet::new(&system);
    let (node, _actor, _probe) = tester(&system, "vault");
    net.listen("vault", &node);
    let config = LinkConfig::default();
    let limit = config.ping_after + config.dead_after;
    let peer = Peer::dialled(&system, net.connector("desk", "vault"), config);
    peer.connected().await.unwrap();
    net.half_open("vault", "desk");
    let begin = system.clock().now();
    while peer.state().stats.connects < 2 {
        system.clock().sleep(MS).await;
    }
    let took = system.clock().now().since(begin);
    assert!(took >= limit && took < limit + 2_000 * MS, "{took:?}");
    assert_eq!(net.stats().half_opens, 1);
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    assert_eq!(add.ask(Add(1)).await.unwrap(), 1);
}

#[callboard::test]
async fn what_is_held_by_a_short_partition_arrives_when_it_heals(system: System) {
    let net = SimNet::new(&system);
    let (node, _actor, probe) = tester(&system, "vault");
    net.listen("vault", &node);
    let config = LinkConfig::default();
    let peer = Peer::dialled(&system, net.connector("desk", "vault"), config);
    peer.connected().await.unwrap();
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    net.partition_one_way("vault", "desk");
    let (answer, ()) = futures::join!(add.ask(Add(3)).into_future(), async {
        // The ask arrives and runs; its answer is held.
        while probe.added_now() != [3] {
            system.clock().sleep(MS).await;
        }
        system.clock().sleep(1_000 * MS).await;
        net.heal_all();
    });
    assert_eq!(answer.unwrap(), 3);
    assert_eq!(peer.state().stats.connects, 1);
}

#[callboard::test]
async fn who_cannot_be_dialled_over_a_partition_is_reached_after_it(system: System) {
    let net = SimNet::new(&system);
    let node = Node::new(&system, "vault").unwrap();
    let (_actor, _probe) = expose_tester(&node);
    net.listen("vault", &node);
    net.partition("desk", "vault");
    let config = LinkConfig::default();
    let peer = Peer::dialled(&system, net.connector("desk", "vault"), config);
    let error = peer.attempted().await.unwrap_err();
    assert!(error.to_string().contains("within 2s"), "{error}");
    net.heal("desk", "vault");
    peer.connected().await.unwrap();
    assert_eq!(peer.state().phase, Phase::Connected);
}
