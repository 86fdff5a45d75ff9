//! Queues in other processes whose connection ends at any byte of an offer, a lease, an acknowledgement or a poll.
//!
//! What a client was told is true: what was stored is there or was taken, what wasn't isn't, what is in doubt is said
//! to be, and nothing is there twice.

use std::collections::BTreeSet;
use std::time::Duration;

use callboard::queue::{Queue, SettleError};
use callboard::{Failure, Placement, System, Verdict};
use callboard_remote::testing::{Direction, Ending};
use callboard_remote::{LinkConfig, Node, Peer};

use crate::queues::Job;
use crate::wires::{Memory, Wire};

const MS: Duration = Duration::from_millis(1);

/// How many items one client offers.
const ITEMS: u64 = 4;

/// What one client was told of its items.
#[derive(Debug, Default)]
struct Told {
    stored: BTreeSet<u64>,
    maybe_stored: BTreeSet<u64>,
    taken: BTreeSet<u64>,
    /// How many acknowledgements and polls are in doubt.
    doubts: usize,
}

impl Told {
    fn doubt(&mut self, failure: &Failure) {
        match failure.verdict() {
            Verdict::NotSent | Verdict::NotExecuted => {}
            Verdict::MaybeExecuted => self.doubts += 1,
            verdict => panic!("{verdict:?}: {failure}"),
        }
    }

    /// Offers one alone and the others together, leases the first and acknowledges it, polls the second.
    async fn uses(&mut self, peer: &Peer, first: u64) {
        let jobs = open(peer).await;
        peer.connected().await.unwrap();
        match jobs.offer(Job(first)).await {
            Ok(_) => drop(self.stored.insert(first)),
            Err(error) => {
                let is_safe = error.verdict().is_safe_to_resend();
                assert_eq!(error.item.is_some(), is_safe, "G6");
                if !is_safe {
                    self.maybe_stored.insert(first);
                }
            }
        }
        peer.connected().await.unwrap();
        let others: Vec<u64> = (first + 1..first + ITEMS).collect();
        match jobs.offer_many(others.iter().copied().map(Job)).await {
            Ok(_) => self.stored.extend(others),
            Err(error) => {
                let (stored, others) = others.split_at(error.offered.len());
                let (doubtful, back) = others.split_at(others.len() - error.rest.len());
                assert!(error.rest.iter().map(|job| &job.0).eq(back), "G6");
                let is_safe = error.failure.verdict().is_safe_to_resend();
                assert!(doubtful.is_empty() == is_safe, "{error:?}");
                self.stored.extend(stored);
                self.maybe_stored.extend(doubtful);
            }
        }
        peer.connected().await.unwrap();
        match jobs.lease().deadline(10 * MS).await {
            Ok(None) => {}
            Ok(Some(job)) => {
                let number = job.0;
                match job.ack().await {
                    Ok(()) => assert!(self.taken.insert(number), "twice"),
                    Err(SettleError::Failed(failure)) => self.doubt(&failure),
                    // It went back when the session ended.
                    Err(_) => {}
                }
            }
            // A lease that didn't come took nothing, whatever happened.
            Err(_) => {}
        }
        peer.connected().await.unwrap();
        match jobs.poll().deadline(10 * MS).await {
            Ok(None) => {}
            Ok(Some(job)) => assert!(self.taken.insert(job.0), "twice"),
            Err(failure) => self.doubt(&failure),
        }
    }

    /// Looks whether what it was told is so.
    async fn check(&self, system: &System, near: &Queue<Job>) {
        while near.state().await.unwrap().in_flight > 0 {
            system.clock().sleep(MS).await;
        }
        let rest = near.poll_many(100).deadline(Duration::ZERO).await.unwrap();
        let order: Vec<u64> = rest.iter().map(|job| job.0).collect();
        assert!(order.is_sorted_by(|a, b| a < b), "G24: {order:?} {self:?}");
        let rest: BTreeSet<u64> = order.into_iter().collect();
        assert!(rest.is_disjoint(&self.taken), "{rest:?} {self:?}");
        for number in rest.union(&self.taken) {
            let known = self.stored.contains(number) || self.maybe_stored.contains(number);
            assert!(known, "{number}: {self:?}");
        }
        let missing = self.stored.difference(&self.taken);
        let missing = missing.filter(|number| !rest.contains(number));
        assert!(missing.count() <= self.doubts, "{rest:?} {self:?}");
        let dead = near.dead_letters().unwrap().state().len;
        assert_eq!(dead, 0);
    }
}

async fn open(peer: &Peer) -> Queue<Job> {
    loop {
        peer.connected().await.unwrap();
        if let Ok(jobs) = peer.queue::<Job>("jobs").await {
            return jobs;
        }
    }
}

/// One client after the other, the connection of each ended at another byte. Answers what the last one was told.
async fn cut_everywhere(
    system: &System,
    config: &LinkConfig,
    ending: Ending,
    check: fn(&Told, &Peer),
) {
    let seed = callboard::testing::seed(system).unwrap();
    let jobs = system.queue("jobs").retry(Duration::ZERO, Duration::ZERO);
    let near: Queue<Job> = jobs.open().unwrap();
    let node = Node::new(system, "queues").unwrap();
    node.expose_queue("jobs", &near).unwrap();
    let mut wire = Memory::new(system).await;
    wire.serve(&node).await;
    let whole = {
        let peer = wire.peer(system, config.clone()).await;
        let mut told = Told::default();
        told.uses(&peer, 0).await;
        assert_eq!((told.stored.len(), told.taken.len()), (4, 2));
        peer.close();
        told.check(system, &near).await;
        [Direction::Sent, Direction::Received].map(|way| (way, wire.tap().passed(way)))
    };
    let mut first = 0;
    for (way, bytes) in whole {
        assert!(bytes > 300, "{way:?}: {bytes}");
        // One seed cuts at some bytes, the next at others.
        for at in (1..bytes + 40).filter(|at| at % 16 == seed % 16) {
            first += ITEMS;
            wire.tap().end_next(way, at, ending);
            let peer = wire.peer(system, config.clone()).await;
            let mut told = Told::default();
            told.uses(&peer, first).await;
            check(&told, &peer);
            peer.close();
            told.check(system, &near).await;
        }
    }
}

/// The session outlives the connection, so nobody notices.
#[callboard::test]
async fn g32_a_cut_at_any_byte_of_a_queues_use_is_not_noticed(system: System) {
    let config = LinkConfig::default();
    let unnoticed = |told: &Told, peer: &Peer| {
        let seen = (told.stored.len(), told.taken.len(), told.doubts);
        assert_eq!(seen, (4, 2, 0), "{told:?}");
        assert_eq!(peer.state().stats.sessions_ended, 0);
    };
    cut_everywhere(&system, &config, Ending::Reset, unnoticed).await;
}

/// The session ends with its connection: what was stored and what was taken is what the client was told.
#[callboard::test]
async fn g21_a_session_that_ends_at_any_byte_of_a_queues_use_tells_what_is_known(system: System) {
    let mut config = LinkConfig::default();
    config.session_time = Duration::ZERO;
    for ending in [Ending::Reset, Ending::Truncated] {
        cut_everywhere(&system, &config, ending, |_, _| {}).await;
    }
}

/// The same while another client waits at the queue, which gets what comes back.
#[callboard::test]
async fn g22_what_a_lost_session_held_goes_to_who_waits(system: System) {
    let mut config = LinkConfig::default();
    config.session_time = Duration::ZERO;
    let jobs = system.queue("jobs").retry(Duration::ZERO, Duration::ZERO);
    let near: Queue<Job> = jobs.open().unwrap();
    let node = Node::new(&system, "queues").unwrap();
    node.expose_queue("jobs", &near).unwrap();
    let mut wire = Memory::new(&system).await;
    wire.serve(&node).await;
    let waiting = {
        let mut other = Memory::new(&system).await;
        other.serve(&node).await;
        other.peer(&system, LinkConfig::default()).await
    };
    let waits = open(&waiting).await;
    let losing = wire.peer(&system, config).await;
    let held = open(&losing).await;
    for n in 0..20 {
        held.offer(Job(n)).await.unwrap();
        let job = held.lease().await.unwrap().unwrap();
        let (got, gets) = futures::channel::oneshot::channel();
        let waits = waits.clone();
        system.spawn(Placement::Spread, move || async move {
            let job = waits.lease().await.unwrap().unwrap();
            let seen = (job.0, job.failed());
            job.ack().await.unwrap();
            got.send(seen).unwrap();
        });
        while near.state().await.unwrap().waiting_pollers == 0 {
            system.clock().sleep(MS).await;
        }
        wire.tap().cut();
        assert_eq!(gets.await, Ok((n, 1)));
        losing.connected().await.unwrap();
        assert!(job.ack().await.is_err(), "it isn't its any more");
    }
    assert_eq!(near.state().await.unwrap().settled, 20);
}
