//! What a peer says by hand to queues and locks: without waiting for an answer, as somebody else, or too late.

use std::time::Duration;

use callboard::locks::{LeaseError, Lost, Mutex};
use callboard::queue::Queue;
use callboard::{
    FailureKind, Incarnation, Message, Placement, Principal, Recipient, System, Verdict,
};
use callboard_remote::testing::SimNet;
use callboard_remote::{LinkConfig, Node, Peer, Proof, Rules, Verbs};
use futures::channel::oneshot;
use serde::{Deserialize, Serialize};

use crate::queues::Job;
use crate::waits::{Depot, until};

const MS: Duration = Duration::from_millis(1);

/// What goes to a queue, in its own words.
#[derive(Debug, Message, Serialize, Deserialize)]
#[message(reply = Polled, name = "callboard.queue.poll")]
enum Poll {
    #[serde(rename = "h")]
    Hold { holder: u64 },
    #[serde(rename = "w")]
    Withdraw { holder: u64, ticket: u64 },
    #[serde(rename = "s")]
    Settle(Settle),
}

#[derive(Debug, Serialize, Deserialize)]
struct Settle {
    #[serde(rename = "h")]
    holder: u64,
    #[serde(rename = "a")]
    acks: Vec<u64>,
}

/// The answers that come here.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Polled {
    #[serde(rename = "g")]
    Gone,
    #[serde(rename = "s")]
    Settled(Vec<(u32, Option<()>)>),
}

/// What goes to a lock.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(reply = Result<Locked, ()>, name = "callboard.lock")]
enum Lock {
    #[serde(rename = "g")]
    Grant {
        #[serde(rename = "h")]
        holder: u64,
        #[serde(rename = "t")]
        ticket: u64,
        #[serde(rename = "u")]
        units: u32,
        #[serde(rename = "l")]
        lease: u64,
    },
    #[serde(rename = "n")]
    Renew {
        #[serde(rename = "h")]
        holder: u64,
        #[serde(rename = "t")]
        token: u64,
        #[serde(rename = "l")]
        lease: u64,
        #[serde(rename = "d")]
        door: u64,
    },
    #[serde(rename = "r")]
    Release {
        #[serde(rename = "h")]
        holder: u64,
        #[serde(rename = "t")]
        token: u64,
        #[serde(rename = "d")]
        door: u64,
    },
    #[serde(rename = "w")]
    Withdraw {
        #[serde(rename = "h")]
        holder: u64,
        #[serde(rename = "t")]
        ticket: u64,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Locked {
    #[serde(rename = "g")]
    Granted { token: u64, waited: u64, door: u64 },
    #[serde(rename = "d")]
    Done,
    #[serde(rename = "x")]
    Stale { current: u64 },
}

const MINUTE: u64 = 60_000_000;

/// A peer that the transport proves to be that one.
async fn peer_of(system: &System, depot: &Depot, principal: &str) -> Peer {
    let proof = Proof::encrypted(Some(Principal::new(principal)));
    let connector = depot.net.connector("shop", "depot").shows(proof);
    let peer = Peer::dialled(system, connector, LinkConfig::default());
    peer.connected().await.unwrap();
    peer
}

/// What is only told has nobody whose end would end it.
#[callboard::test(both)]
async fn g34_what_has_to_be_asked_for_cannot_be_told(system: System) {
    let depot = Depot::new(&system);
    let peer = depot.peer(&system, LinkConfig::default()).await;
    let held = depot.ledger.acquire().await.unwrap();
    drop(system.dead_letters().take());
    let poll: Recipient<Poll> = peer.recipient("jobs").unwrap();
    let lock: Recipient<Lock> = peer.recipient("ledger").unwrap();
    // As many as a queue takes in.
    for holder in 0..4_096 {
        poll.tell(Poll::Hold { holder }).await.unwrap();
    }
    let grant = Lock::Grant {
        holder: 1,
        ticket: 1,
        units: 1,
        lease: MINUTE,
    };
    lock.tell(grant).await.unwrap();
    // All that was said before has arrived (G2).
    let (holder, ticket) = (1, 1);
    let gone = poll.ask(Poll::Withdraw { holder, ticket }).await.unwrap();
    assert_eq!(gone, Polled::Gone);
    let done = lock
        .ask(Lock::Withdraw { holder, ticket: 2 })
        .await
        .unwrap();
    assert_eq!(done, Ok(Locked::Done));
    assert_eq!(depot.ledger.state().await.unwrap().waiting, 0);
    let lost = system.dead_letters().take().len();
    assert!(lost >= 1_000, "each is a dead letter: {lost}");

    // Others find the place that they took.
    depot.jobs.offer(Job(1)).await.unwrap();
    let other = depot.peer(&system, LinkConfig::default()).await;
    let jobs = other.queue::<Job>("jobs").await.unwrap();
    assert_eq!(jobs.poll().await.unwrap(), Some(Job(1)));
    drop(held);
    let ledger = other.mutex("ledger").await.unwrap();
    ledger.acquire().await.unwrap().release().await.unwrap();
}

/// The number of a holder is no secret that would make somebody else the holder.
#[callboard::test(both)]
async fn g31_a_lease_is_of_the_principal_that_got_it(system: System) {
    let depot = Depot::new(&system);
    let ours = peer_of(&system, &depot, "cert:a").await;
    let theirs = peer_of(&system, &depot, "cert:b").await;
    let mine: Recipient<Lock> = ours.recipient("ledger").unwrap();
    let other: Recipient<Lock> = theirs.recipient("ledger").unwrap();
    let grant = Lock::Grant {
        holder: 7,
        ticket: 1,
        units: 1,
        lease: MINUTE,
    };
    let Ok(Locked::Granted { token, door, .. }) = mine.ask(grant.clone()).await.unwrap() else {
        panic!("it is free");
    };
    let (holder, lease) = (7, 2 * MINUTE);
    let release = Lock::Release {
        holder,
        token,
        door,
    };
    let renew = Lock::Renew {
        holder,
        token,
        lease,
        door,
    };
    for claim in [release.clone(), renew.clone()] {
        let refused = other.ask(claim).await.unwrap().unwrap();
        assert!(matches!(refused, Locked::Stale { .. }), "{refused:?}");
    }
    assert_eq!(depot.ledger.state().await.unwrap().held.len(), 1);
    // Nor can it end somebody's wait.
    let mut waits = Box::pin(
        mine.ask(Lock::Grant {
            holder,
            ticket: 2,
            units: 1,
            lease,
        })
        .into_future(),
    );
    assert!(futures::poll!(&mut waits).is_pending());
    until(&system, async || {
        depot.ledger.state().await.unwrap().waiting == 1
    })
    .await;
    let withdraw = Lock::Withdraw { holder, ticket: 2 };
    assert_eq!(other.ask(withdraw).await.unwrap(), Ok(Locked::Done));
    assert_eq!(mine.ask(renew).await.unwrap(), Ok(Locked::Done));
    assert_eq!(mine.ask(release).await.unwrap(), Ok(Locked::Done));
    let granted = waits.await.unwrap().unwrap();
    assert!(matches!(granted, Locked::Granted { .. }), "{granted:?}");
}

#[callboard::test(both)]
async fn g22_a_holder_of_leases_is_of_one_principal(system: System) {
    let depot = Depot::new(&system);
    let ours = peer_of(&system, &depot, "cert:a").await;
    let theirs = peer_of(&system, &depot, "cert:b").await;
    // Two that say the same number are two.
    let (mine, other): (Recipient<Poll>, Recipient<Poll>) = (
        ours.recipient("jobs").unwrap(),
        theirs.recipient("jobs").unwrap(),
    );
    let hold = || Poll::Hold { holder: 7 };
    let mut held = Box::pin(mine.ask(hold()).no_deadline().into_future());
    let mut also = Box::pin(other.ask(hold()).no_deadline().into_future());
    assert!(futures::poll!(&mut held).is_pending());
    assert!(futures::poll!(&mut also).is_pending());
    let settle = Poll::Settle(Settle {
        holder: 7,
        acks: vec![1],
    });
    let stale = other.ask(settle).await.unwrap();
    assert_eq!(stale, Polled::Settled(vec![(0, None)]));
    assert!(futures::poll!(&mut held).is_pending());
    assert!(futures::poll!(&mut also).is_pending());
}

/// A lock that was started again counts from 1 again: what the handle had of the one before is nothing now.
#[callboard::test(both)]
async fn g31_a_guard_of_before_a_restart_ends_no_lease_of_after_it(system: System) {
    let depot = Depot::new(&system);
    let peer = depot.peer(&system, LinkConfig::default()).await;
    let ledger = peer.mutex("ledger").await.unwrap();
    let dropped = ledger.acquire().lease(600 * 1_000 * MS).await.unwrap();
    let config = LinkConfig::default();
    let again = Node::with(&system, "depot", Incarnation(u64::MAX), config).unwrap();
    let fresh = Mutex::new(&system, "ledger again");
    again.expose_mutex("ledger", &fresh).unwrap();
    again.rights().replace(open_to_all());
    depot.node.close();
    depot.net.listen("depot", &again);
    let new = loop {
        match ledger.acquire().lease(60 * 1_000 * MS).await {
            Ok(new) => break new,
            Err(_) => system.clock().sleep(MS).await,
        }
    };
    assert_eq!(
        (dropped.token(), new.token()),
        (new.token(), dropped.token())
    );
    assert_eq!(dropped.why_lost(), Some(Lost::Stopped));
    let ends = fresh.state().await.unwrap().held[0].ends;
    let renewed = dropped.renew(3_600 * 1_000 * MS).await.unwrap_err();
    let LeaseError::Failed(failure) = renewed else {
        panic!("{renewed}");
    };
    assert_eq!(
        (failure.kind(), failure.verdict()),
        (FailureKind::Stopped, Verdict::NotExecuted)
    );
    drop(dropped);
    // After whatever that may have said (G2).
    let state = ledger.state().await.unwrap();
    assert_eq!((state.held.len(), state.free), (1, 0));
    assert_eq!(fresh.state().await.unwrap().held[0].ends, ends);
    assert!(new.is_held());
    new.release().await.unwrap();
    assert_eq!(fresh.state().await.unwrap().free, 1);
}

/// The end of a handle leaves no wish of it in line.
#[callboard::test(both)]
async fn g31_a_handle_that_was_stopped_wishes_for_nothing(system: System) {
    let depot = Depot::new(&system);
    let peer = depot.peer(&system, LinkConfig::default()).await;
    let ledger = peer.mutex("ledger").await.unwrap();
    ledger.acquire().await.unwrap().release().await.unwrap();
    let counts = depot.ledger.state().await.unwrap().counts;
    ledger.stop();
    let failure = ledger.acquire().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Stopped);
    // After whatever that may have said (G2).
    let other = peer.mutex("ledger").await.unwrap();
    for _ in 0..20 {
        drop(other.state().await.unwrap());
    }
    let state = depot.ledger.state().await.unwrap();
    assert_eq!(state.counts.grants, counts.grants);
    assert_eq!(state.counts.withdrawn, counts.withdrawn);
}

/// A right that is taken away while somebody waits in line is gone when its turn comes.
#[callboard::test(both)]
async fn g35_who_waits_in_line_needs_its_right_when_its_turn_comes(system: System) {
    let depot = Depot::new(&system);
    let only = |verbs| Rules::closed().allow("cert:a", verbs, ">").unwrap();
    depot.node.rights().replace(only(Verbs::ALL));
    let peer = peer_of(&system, &depot, "cert:a").await;
    let jobs = peer.queue::<Job>("jobs").await.unwrap();
    let ledger = peer.mutex("ledger").await.unwrap();
    let held = depot.ledger.acquire().await.unwrap();
    let mut lease = Box::pin(jobs.lease().into_future());
    let mut wish = Box::pin(ledger.acquire().into_future());
    assert!(futures::poll!(&mut lease).is_pending());
    assert!(futures::poll!(&mut wish).is_pending());
    until(&system, async || {
        let jobs = depot.jobs.state().await.unwrap().waiting_pollers;
        let ledger = depot.ledger.state().await.unwrap().waiting;
        (jobs, ledger) == (1, 1)
    })
    .await;
    depot.node.rights().replace(only(Verbs::OFFER));
    depot.jobs.offer(Job(1)).await.unwrap();
    drop(held);
    let failure = lease.await.unwrap_err();
    let kind = FailureKind::NotAuthorised;
    assert_eq!(
        (failure.kind(), failure.verdict()),
        (kind, Verdict::NotExecuted)
    );
    let failure = wish.await.unwrap_err();
    assert_eq!(failure.kind(), kind);
    // Both are there for others, and nothing has failed.
    let item = depot.jobs.lease().await.unwrap().unwrap();
    assert_eq!((item.item(), item.failed()), (&Job(1), 0));
    let free = depot.ledger.try_acquire().await.unwrap();
    assert!(free.is_some());
}

/// What waits for room is bounded by what it weighs, not only by how many wait.
#[callboard::test(both)]
async fn g33_offers_that_wait_have_a_budget(system: System) {
    let net = SimNet::new(&system);
    let mut config = LinkConfig::default();
    config.session_window = 2 * 1024 * 1024;
    let node = Node::with(&system, "depot", Incarnation(1), config).unwrap();
    node.rights().replace(open_to_all());
    let near: Queue<Text> = system.queue("texts").capacity(1).open().unwrap();
    node.expose_queue("texts", &near).unwrap();
    net.listen("depot", &node);
    let connector = net.connector("shop", "depot");
    let peer = Peer::dialled(&system, connector, LinkConfig::default());
    peer.connected().await.unwrap();
    let far = peer.queue::<Text>("texts").await.unwrap();
    let text = || Text("x".repeat(1024 * 1024));
    far.offer(Text("first".to_owned())).await.unwrap();
    let mut waiting = Vec::new();
    for n in 1..=3 {
        let (tx, told) = oneshot::channel();
        let offer = far.offer(text()).into_future();
        system.spawn(Placement::Spread, move || async move {
            let _ = tx.send(offer.await);
        });
        waiting.push(told);
        // The third is refused before it could wait.
        let there = n.min(2);
        until(&system, async || {
            near.state().await.unwrap().waiting_offerers == there
        })
        .await;
    }
    let refused = waiting.pop().unwrap().await.unwrap().unwrap_err();
    assert_eq!(
        (refused.kind(), refused.verdict()),
        (FailureKind::Overloaded, Verdict::NotExecuted)
    );
    assert_eq!(refused.item, Some(text()), "G6: it comes back");
    // Those that wait are stored, and there is a budget again.
    for offered in waiting {
        near.poll().await.unwrap().unwrap();
        offered.await.unwrap().unwrap();
    }
    near.poll().await.unwrap().unwrap();
    far.offer(text()).await.unwrap();

    // Texts beside the items are bounded, too.
    let long = "g".repeat(1_025);
    let refused = far.offer(text()).group(&*long).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::TooLarge);
    let consumer = far.consumer(&*long);
    let failure = consumer.lease().deadline(Duration::ZERO).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::TooLarge);
    let held = far.lease().await.unwrap().unwrap();
    held.reject("r".repeat(100_000)).await.unwrap();
}

#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "test.text")]
struct Text(String);

pub(crate) fn open_to_all() -> Rules {
    let rules = Rules::new().allow("*", Verbs::ALL, ">");
    rules
        .and_then(|rules| rules.allow("anonymous", Verbs::ALL, ">"))
        .unwrap()
}
