//! Durable queues as they are used from other processes: what a peer was told is on disk is there after a loss of
//! power, and a queue goes on where it was when its process was started again (G25).
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use callboard::queue::{Keeps, Queue};
use callboard::remote::testing::{Ending, SimNet};
use callboard::remote::{LinkConfig, Node, Peer, Verbs};
use callboard::store::{Options, SimDisk, Store};
use callboard::{Entropy, Incarnation, Message, RequestKey, Simulation, System};
use serde::{Deserialize, Serialize};

use crate::dir::Dir;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "elsewhere.job")]
struct Job(u64);

async fn open(system: &System, store: &Store) -> Queue<Job> {
    let queue = system.queue("jobs").capacity(100_000);
    let queue = queue.retry(Duration::ZERO, Duration::ZERO).lease(SECOND);
    let queue = queue.durable(Arc::new(store.clone())).open();
    queue.await.unwrap()
}

/// Only a queue that keeps what it says it has stored.
async fn elsewhere(peer: &Peer) -> Queue<Job> {
    let needs = Keeps {
        synced_offers: true,
        ..Keeps::default()
    };
    loop {
        peer.connected().await.unwrap();
        if let Ok(queue) = peer.queue("jobs").needs(needs).await {
            return queue;
        }
    }
}

/// What a peer was told.
#[derive(Debug, Default)]
struct Told {
    stored: Vec<u64>,
    /// Acknowledgements that were begun, polls included.
    begun: Vec<u64>,
    acked: Vec<u64>,
    /// Polls that failed: each may have taken an item that nobody knows.
    lost: usize,
}

/// A home on that disk, a peer behind a network that cuts connections, until the power fails.
fn until_the_power_fails(seed: u64, disk: &SimDisk) -> Told {
    let mut simulation = Simulation::new(seed);
    let system = simulation.system().clone();
    simulation.block_on(async {
        let choice = Entropy::seeded(seed);
        let store = Options::new().on(Arc::new(disk.clone()));
        let store = store.open(&system, "/store").await.unwrap();
        let home = open(&system, &store).await;
        let node = Node::new(&system, "home").unwrap();
        node.rights().grant("anonymous", Verbs::USE, ">").unwrap();
        node.expose_queue("jobs", &home).unwrap();
        let net = SimNet::new(&system);
        net.listen("home", &node);
        net.change_all(|way| {
            way.delay = Duration::ZERO..=2 * MS;
            way.ends_after = Some((500..=5_000, Ending::Reset));
        });
        let connector = net.connector("desk", "home");
        let peer = Peer::dialled(&system, connector, LinkConfig::default());
        let jobs = elsewhere(&peer).await;
        disk.cut_at(disk.changes() + choice.below(60));
        let mut told = Told::default();
        for number in 1.. {
            if disk.is_off() {
                break;
            }
            match choice.below(6) {
                0..=2 => {
                    let mut offer = jobs.offer(Job(number)).deadline(SECOND);
                    if choice.below(3) == 0 {
                        offer = offer.group("g").key(RequestKey::new());
                    }
                    if offer.await.is_ok() {
                        told.stored.push(number);
                    }
                }
                3 => {
                    let numbers = number * 1_000_000..number * 1_000_000 + choice.below(20);
                    let many = jobs.offer_many(numbers.clone().map(Job));
                    if many.deadline(SECOND).await.is_ok() {
                        told.stored.extend(numbers);
                    }
                }
                4 => match jobs.poll().deadline(Duration::ZERO).await {
                    Ok(Some(Job(number))) => {
                        told.begun.push(number);
                        told.acked.push(number);
                    }
                    Ok(None) => {}
                    Err(_) => told.lost += 1,
                },
                _ => {
                    let lease = jobs.lease_many(4).deadline(Duration::ZERO).await;
                    for job in lease.unwrap_or_default() {
                        told.begun.push(job.0);
                        let number = job.0;
                        if job.ack().await.is_ok() {
                            told.acked.push(number);
                        }
                    }
                }
            }
        }
        told
    })
}

#[test]
fn g25_what_a_peer_was_told_is_stored_outlives_a_loss_of_power() {
    let (mut stored, mut acked) = (0, 0);
    for seed in 0..24 {
        let disk = SimDisk::new(seed);
        let told = until_the_power_fails(seed, &disk);
        let is_kill = seed % 2 == 1;
        let after = if is_kill {
            disk.kill()
        } else {
            disk.power_loss()
        };
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        let found = simulation.block_on(async {
            let store = Options::new().on(Arc::new(after));
            let store = store.open(&system, "/store").await.unwrap();
            let home = open(&system, &store).await;
            assert!(home.set_aside().is_empty(), "seed {seed}");
            let items = home.browse(0, usize::MAX).await.unwrap();
            items.iter().map(|item| item.item.0).collect::<Vec<_>>()
        });
        let mut once = found.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), found.len(), "seed {seed}: twice in {found:?}");
        let missing = told.stored.iter().filter(|number| !found.contains(number));
        let missing: Vec<_> = missing.filter(|it| !told.begun.contains(it)).collect();
        assert!(
            missing.len() <= told.lost,
            "seed {seed}: {missing:?} {told:?}"
        );
        // An acknowledgement that was answered outlives the process, not the power.
        if is_kill {
            for number in &told.acked {
                assert!(!found.contains(number), "seed {seed}: {number} is back");
            }
        }
        stored += told.stored.len();
        acked += told.acked.len();
    }
    assert!(stored > 100 && acked > 10, "{stored} {acked}");
}

/// The load demo of Venice, over a socket: many offers, half of them polled, a restart, the rest in order. The handles
/// of the client go on.
#[callboard::test(arbiters)]
async fn g25_a_queue_elsewhere_goes_on_where_it_was_after_a_restart(system: System) {
    const OFFERS: u64 = 4_000;
    let dir = Dir::new();
    let (store, socket) = (dir.0.join("store"), dir.0.join("socket"));
    let serve = async |incarnation| {
        let store = Store::open(&system, &store).await.unwrap();
        let queue = open(&system, &store).await;
        let config = LinkConfig::default();
        let node = Node::with(&system, "home", Incarnation(incarnation), config).unwrap();
        node.expose_queue("jobs", &queue).unwrap();
        while node.listen_unix(&socket).await.is_err() {
            system.clock().sleep(MS).await;
        }
        (store, queue, node)
    };
    let (home, queue, node) = serve(1).await;
    let peer = Peer::unix(&system, &socket);
    let jobs = elsewhere(&peer).await;
    for first in (0..OFFERS).step_by(500) {
        let many = jobs.offer_many((first..first + 500).map(Job)).await;
        assert_eq!(many.unwrap().len(), 500);
    }
    let mut next = 0;
    while next < OFFERS / 2 {
        let most = usize::try_from(OFFERS / 2 - next).unwrap();
        for Job(number) in jobs.poll_many(most).await.unwrap() {
            assert_eq!(number, next);
            next += 1;
        }
    }
    // Leased, and its process ends.
    let held = jobs.lease().await.unwrap().unwrap();
    assert_eq!(*held, Job(next));
    node.close();
    drop(node);
    queue.stop();
    queue.wait().await;
    home.close().await.unwrap();

    let (home, queue, node) = serve(2).await;
    peer.connected().await.unwrap();
    assert!(held.ack().await.is_err(), "it is of another life");
    while next < OFFERS {
        match jobs.poll_many(500).await {
            Ok(polled) => {
                for Job(number) in polled {
                    assert_eq!(number, next);
                    next += 1;
                }
            }
            // The first may find the old session still ending.
            Err(error) => assert!(next == OFFERS / 2, "{error}"),
        }
    }
    let none = jobs.poll().deadline(Duration::ZERO).await.unwrap();
    assert_eq!(none, None);
    let state = jobs.state().await.unwrap();
    assert_eq!((state.len, state.in_flight), (0, 0));
    peer.close();
    node.close();
    queue.stop();
    queue.wait().await;
    home.close().await.unwrap();
}
