//! The proof under fire: keyed asks through a proxy that cuts and stalls at random run exactly as often as their
//! askers are told, in order, in bounded memory, over one session (G7, G32, G33).

use std::time::Duration;

use callboard::testing::{On, Test};
use callboard::{Incarnation, System};
use callboard_remote::testing::SimNet;
use callboard_remote::{LinkConfig, Node, Peer};
use futures::future::{Either, join_all, select};

use crate::ledger::{End, Ledger, Outcomes, Work, expose_ledger, seed_of, work};
use crate::proxy::{Dice, Proxy, Weather};

/// Back at once, so that the time goes into asks.
fn config() -> LinkConfig {
    let mut config = LinkConfig::default();
    config.backoff = Duration::from_millis(1);
    config.backoff_cap = Duration::from_millis(20);
    config.outbox = 128 * 1024;
    config.unacknowledged = 256 * 1024;
    config
}

fn node(system: &System, ledger: &Ledger) -> Node {
    let node = Node::with(system, "proof", Incarnation(1), config()).unwrap();
    expose_ledger(&node, ledger);
    node
}

fn asks(default: u32) -> u32 {
    let text = std::env::var("CALLBOARD_ASKS");
    text.map_or(default, |text| text.parse().unwrap())
}

const CLIENTS: u32 = 4;

/// Several clients at once, to their ends.
async fn all(peers: &[Peer], seed: u64, jobs: u32, large: u64, dropped: u64) -> Vec<Outcomes> {
    let clients = (0..).zip(peers).map(|(client, peer)| {
        let plan = Work {
            client,
            jobs,
            in_flight: 256,
            large,
            dropped,
        };
        work(peer, seed, plan)
    });
    join_all(clients).await
}

/// No session was lost, so every ask was answered.
fn check_all_done(ledger: &Ledger, node: &Node, peers: &[Peer], outcomes: &[Outcomes]) {
    for (peer, outcome) in peers.iter().zip(outcomes) {
        ledger.check(outcome);
        let state = peer.state();
        assert_eq!(state.stats.sessions_ended, 0, "{state:?}");
        assert_eq!(
            outcome.count(End::Done),
            outcome.ends.len(),
            "{:?}",
            outcome.failures
        );
        assert_eq!(state.in_flight, 0);
        // The two bounds, and what may overshoot each: a message, and a batch.
        let most = 2 * config().outbox + config().unacknowledged + 1_000_000;
        assert!(outcome.most_bytes <= most, "{} bytes", outcome.most_bytes);
    }
    let state = node.state();
    assert_eq!(state.sessions.len(), peers.len(), "{state:?}");
    for session in state.sessions {
        assert_eq!((session.in_flight, session.waiting_bytes), (0, 0));
    }
}

fn report(proxy: &Proxy, peers: &[Peer], outcomes: &[Outcomes]) {
    let states = peers.iter().map(|peer| peer.state().stats);
    let (resumes, repeated) = states.fold((0, 0), |(resumes, repeated), stats| {
        (resumes + stats.resumes, repeated + stats.repeated_frames)
    });
    let asks: usize = outcomes.iter().map(|outcome| outcome.ends.len()).sum();
    let most = outcomes.iter().map(|outcome| outcome.most_bytes).max();
    println!(
        "{asks} asks, {} connections, {resumes} resumed, {} faults, {repeated} frames repeated, {most:?} bytes held at most",
        proxy.connections(),
        proxy.faults(),
    );
}

async fn over_tcp(system: System) {
    let ledger = Ledger::default();
    let node = node(&system, &ledger);
    let listener = node
        .listen_tcp("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let seed = seed_of(&system);
    let proxy = Proxy::new(&system, seed, Weather::Storm);
    let address = proxy.tcp(listener.socket_addr().unwrap()).await;
    let peers: Vec<Peer> = (0..CLIENTS)
        .map(|_| Peer::tcp_with(&system, address, config()).unwrap())
        .collect();
    under_fire(&ledger, &node, &proxy, &peers, seed, asks(100_000)).await;
}

async fn over_unix(system: System) {
    let ledger = Ledger::default();
    let node = node(&system, &ledger);
    let path = crate::wires::socket_path();
    let _listener = node.listen_unix(&path).await.unwrap();
    let seed = seed_of(&system);
    let proxy = Proxy::new(&system, seed, Weather::Storm);
    let path = proxy.unix(&path).await;
    let peers: Vec<Peer> = (0..CLIENTS)
        .map(|_| Peer::unix_with(&system, &path, config()))
        .collect();
    under_fire(&ledger, &node, &proxy, &peers, seed, asks(20_000)).await;
}

async fn under_fire(
    ledger: &Ledger,
    node: &Node,
    proxy: &Proxy,
    peers: &[Peer],
    seed: u64,
    asks: u32,
) {
    for peer in peers {
        peer.connected().await.unwrap();
    }
    let outcomes = all(peers, seed, asks / CLIENTS, 2_000, 0).await;
    report(proxy, peers, &outcomes);
    // Fire there was.
    assert!(proxy.connections() > u64::from(CLIENTS));
    check_all_done(ledger, node, peers, &outcomes);
}

#[test]
fn g32_keyed_asks_over_tcp_under_fire_run_exactly_once_and_in_order() {
    Test::new(On::Arbiters)
        .arbiters(2)
        .limit(LONG)
        .run(over_tcp);
}

#[test]
fn g32_keyed_asks_over_a_unix_socket_under_fire_run_exactly_once_and_in_order() {
    Test::new(On::Arbiters)
        .arbiters(2)
        .limit(LONG)
        .run(over_unix);
}

const LONG: Duration = Duration::from_secs(1_200);

/// In virtual time, under many seeds: stalls are long, asks are given up, the node is gone for a while.
async fn simulated(system: System) {
    let ledger = Ledger::default();
    let node = node(&system, &ledger);
    let seed = seed_of(&system);
    let proxy = Proxy::with(
        &system,
        seed,
        Weather::Storm,
        crate::proxy::Storm {
            stall: Duration::from_secs(8),
            stalls: 4,
        },
    );
    let memory = proxy.memory(&node);
    let peers: Vec<Peer> = (0..2)
        .map(|_| Peer::dialled(&system, memory.clone(), config()))
        .collect();
    for peer in &peers {
        peer.connected().await.unwrap();
    }
    let outcomes = all(&peers, seed, 300, 60, 20).await;
    for (peer, outcome) in peers.iter().zip(&outcomes) {
        ledger.check(outcome);
        let stats = peer.state().stats;
        assert_eq!(stats.sessions_ended, 0, "{stats:?}");
        assert_eq!(outcome.count(End::Never), 0, "{:?}", outcome.failures);
    }
}

/// Over a network that is slow, and every now and then cuts, divides, or loses one end of a connection.
async fn divided(system: System) {
    const HOSTS: [&str; 2] = ["desk", "shed"];
    let ledger = Ledger::default();
    let node = node(&system, &ledger);
    let seed = seed_of(&system);
    let net = SimNet::new(&system);
    net.listen("vault", &node);
    net.change_all(|way| {
        way.delay = MS..=15 * MS;
        way.capacity = 3_000;
        way.piece = Some(700);
        way.straggle = Duration::ZERO..=20 * MS;
        way.lifetime = Some(500 * MS..=20_000 * MS);
    });
    let peers = HOSTS.map(|host| {
        let connector = net.connector(host, "vault");
        Peer::dialled(&system, connector, config())
    });
    for peer in &peers {
        peer.connected().await.unwrap();
    }
    let mut dice = Dice::new(seed);
    let trouble = async {
        loop {
            let span = |dice: &mut Dice, most| Duration::from_millis(dice.below(most));
            system.clock().sleep(span(&mut dice, 400)).await;
            let host = HOSTS[dice.index(HOSTS.len())];
            match dice.below(5) {
                0 => net.cut(host, "vault"),
                1 => net.partition(host, "vault"),
                2 => net.partition_one_way(host, "vault"),
                3 => net.partition_one_way("vault", host),
                _ => net.half_open(host, "vault"),
            }
            // Far less than a session lasts, more and less than silence is borne.
            system.clock().sleep(span(&mut dice, 9_000)).await;
            net.heal_all();
        }
    };
    let working = Box::pin(all(&peers, seed, 2_000, 0, 40));
    let Either::Left((outcomes, _)) = select(working, Box::pin(trouble)).await;
    for (peer, outcome) in peers.iter().zip(&outcomes) {
        ledger.check(outcome);
        let stats = peer.state().stats;
        assert_eq!(stats.sessions_ended, 0, "{stats:?}");
        assert_eq!(outcome.count(End::Never), 0, "{:?}", outcome.failures);
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn g32_keyed_asks_over_a_divided_network_run_as_often_as_is_told_under_many_seeds() {
    callboard::testing::seeds(0..50, divided);
}

#[test]
fn g32_keyed_asks_under_fire_run_as_often_as_is_told_under_many_seeds() {
    callboard::testing::seeds(0..200, simulated);
}
