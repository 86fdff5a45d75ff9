//! Who waits for a queue or a lock of another process: without room, in a handler, and for what can't be read.

use std::future::IntoFuture;
use std::time::Duration;

use callboard::locks::Mutex;
use callboard::queue::Queue;
use callboard::{
    Actor, Context, FailureKind, Handler, Message, Placement, Recipient, System, Verdict,
    WireMessage,
};
use callboard_remote::testing::SimNet;
use callboard_remote::{LinkConfig, Node, Peer};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::queues::Job;

const MS: Duration = Duration::from_millis(1);
/// Longer than any of this takes, also on a machine that is busy.
const LONG: Duration = Duration::from_secs(20);

/// A node with a queue and a mutex, on a network of its own.
pub(crate) struct Depot {
    pub(crate) net: SimNet,
    pub(crate) node: Node,
    pub(crate) jobs: Queue<Job>,
    pub(crate) ledger: Mutex,
}

impl Depot {
    pub(crate) fn new(system: &System) -> Self {
        let net = SimNet::new(system);
        let node = Node::new(system, "depot").unwrap();
        let jobs = system.queue("jobs").retry(Duration::ZERO, Duration::ZERO);
        let jobs = jobs.open().unwrap();
        let ledger = Mutex::new(system, "ledger");
        node.expose_queue("jobs", &jobs).unwrap();
        node.expose_mutex("ledger", &ledger).unwrap();
        node.rights().replace(
            callboard_remote::Rules::new()
                .allow("*", callboard_remote::Verbs::ALL, ">")
                .and_then(|rules| rules.allow("anonymous", callboard_remote::Verbs::ALL, ">"))
                .unwrap(),
        );
        net.listen("depot", &node);
        Depot {
            net,
            node,
            jobs,
            ledger,
        }
    }

    pub(crate) async fn peer(&self, system: &System, config: LinkConfig) -> Peer {
        let peer = Peer::dialled(system, self.net.connector("shop", "depot"), config);
        peer.connected().await.unwrap();
        peer
    }
}

/// By looking, because nobody tells.
pub(crate) async fn until(system: &System, mut reached: impl AsyncFnMut() -> bool) {
    while !reached().await {
        system.clock().sleep(MS).await;
    }
}

#[callboard::test(both)]
async fn g21_a_lease_that_is_given_up_without_room_holds_nobody_up(system: System) {
    let depot = Depot::new(&system);
    let mut config = LinkConfig::default();
    // That the handle is here, and one lease.
    config.in_flight = 2;
    let peer = depot.peer(&system, config).await;
    let jobs = peer.queue::<Job>("jobs").await.unwrap();
    let mut first = Box::pin(jobs.lease().into_future());
    assert!(futures::poll!(&mut first).is_pending());
    let waits = async || depot.jobs.state().await.unwrap().waiting_pollers == 1;
    until(&system, waits).await;
    let mut second = Box::pin(jobs.lease().into_future());
    assert!(futures::poll!(&mut second).is_pending());
    drop(second);
    depot.jobs.offer(Job(1)).await.unwrap();
    let first = first.await.unwrap().unwrap();
    assert_eq!(*first, Job(1));
    depot.jobs.offer(Job(2)).await.unwrap();
    let next = jobs.lease().deadline(LONG).await.unwrap().unwrap();
    assert_eq!((next.item(), next.failed()), (&Job(2), 0));
    first.ack().await.unwrap();
    next.ack().await.unwrap();
}

#[callboard::test(both)]
async fn g31_a_wish_that_is_given_up_without_room_holds_nobody_up(system: System) {
    let depot = Depot::new(&system);
    let mut config = LinkConfig::default();
    config.in_flight = 1;
    let peer = depot.peer(&system, config).await;
    let ledger = peer.mutex("ledger").await.unwrap();
    let held = depot.ledger.acquire().await.unwrap();
    let mut first = Box::pin(ledger.acquire().into_future());
    assert!(futures::poll!(&mut first).is_pending());
    let waits = async || depot.ledger.state().await.unwrap().waiting == 1;
    until(&system, waits).await;
    let mut second = Box::pin(ledger.acquire().into_future());
    assert!(futures::poll!(&mut second).is_pending());
    drop(second);
    drop(held);
    let first = first.await.unwrap();
    drop(first);
    let next = ledger.acquire().deadline(LONG).await.unwrap();
    next.release().await.unwrap();
}

/// Does what it is asked with a queue and a lock of another process.
struct Keeper {
    ledger: Mutex,
    jobs: Queue<Job>,
}

#[derive(Message, Serialize, Deserialize)]
#[message(reply = Result<u64, String>, name = "test.book")]
struct Book;

#[derive(Message, Serialize, Deserialize)]
#[message(reply = Result<Option<u64>, String>, name = "test.work")]
struct Work;

impl Actor for Keeper {}

impl Handler<Book> for Keeper {
    async fn handle(&mut self, _: Book, _ctx: &mut Context<Self>) -> Result<u64, String> {
        let guard = self.ledger.acquire().deadline(2_000 * MS).await;
        let guard = guard.map_err(|failure| failure.to_string())?;
        Ok(guard.token().0)
    }
}

impl Handler<Work> for Keeper {
    async fn handle(&mut self, _: Work, _ctx: &mut Context<Self>) -> Result<Option<u64>, String> {
        let got = self.jobs.lease().deadline(2_000 * MS).await;
        let got = got.map_err(|failure| failure.to_string())?;
        let Some(got) = got else { return Ok(None) };
        let number = got.0;
        got.ack().await.map_err(|error| error.to_string())?;
        Ok(Some(number))
    }
}

/// Who was asked from elsewhere has less than five seconds, and waits for most of what there is.
#[callboard::test(both)]
async fn g09_a_handler_asked_from_elsewhere_waits_for_what_it_asks_for(system: System) {
    let depot = Depot::new(&system);
    let peer = depot.peer(&system, LinkConfig::default()).await;
    let keeper = system.start(Keeper {
        ledger: peer.mutex("ledger").await.unwrap(),
        jobs: peer.queue::<Job>("jobs").await.unwrap(),
    });
    let books: Recipient<Book> = keeper.recipient();
    let works: Recipient<Work> = keeper.recipient();
    depot.node.expose("keeper", &books).unwrap();
    depot.node.expose("keeper", &works).unwrap();
    let caller = depot.peer(&system, LinkConfig::default()).await;

    let held = depot.ledger.acquire().await.unwrap();
    let (ledger, clock) = (depot.ledger.clone(), system.clone());
    system.spawn(Placement::Spread, move || async move {
        until(&clock, async || ledger.state().await.unwrap().waiting == 1).await;
        drop(held);
    });
    let book = caller.recipient::<Book>("keeper").unwrap();
    assert_eq!(book.ask(Book).await.unwrap(), Ok(2));

    let (jobs, clock) = (depot.jobs.clone(), system.clone());
    system.spawn(Placement::Spread, move || async move {
        let waits = async || jobs.state().await.unwrap().waiting_pollers == 1;
        until(&clock, waits).await;
        jobs.offer(Job(7)).await.unwrap();
    });
    let work = caller.recipient::<Work>("keeper").unwrap();
    assert_eq!(work.ask(Work).await.unwrap(), Ok(Some(7)));
}

/// Reads a [`Job`], but not each.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Picky(u64);

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Job(number) = Job::deserialize(deserializer)?;
        if number >= 100 {
            return Err(serde::de::Error::custom("too large"));
        }
        Ok(Picky(number))
    }
}

impl Message for Picky {
    type Reply = ();
}

impl WireMessage for Picky {
    const NAME: &'static str = "test.job";
    const VERSION: u32 = 1;
}

#[callboard::test(both)]
async fn g34_an_item_that_cannot_be_read_ends_no_consumer(system: System) {
    let depot = Depot::new(&system);
    let peer = depot.peer(&system, LinkConfig::default()).await;
    let picky = peer.queue::<Picky>("jobs").await.unwrap();
    let dead = || depot.jobs.dead_letters().unwrap().state().len;
    depot.jobs.offer_many([Job(100), Job(1)]).await.unwrap();
    let mut stream = picky.deliveries(1);
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(*first, Picky(1));
    first.ack().await.unwrap();
    until(&system, async || dead() == 1).await;
    depot.jobs.offer_many([Job(101), Job(2)]).await.unwrap();
    let second = stream.next().await.unwrap().unwrap();
    assert_eq!(*second, Picky(2));
    second.ack().await.unwrap();
    drop(stream);
    until(&system, async || dead() == 2).await;

    // Nor is it a deadline that has passed: who says none waits until something comes.
    let mut poll = Box::pin(picky.poll().into_future());
    assert!(futures::poll!(&mut poll).is_pending());
    depot.jobs.offer_many([Job(102), Job(3)]).await.unwrap();
    assert_eq!(poll.await.unwrap(), Some(Picky(3)));
    depot.jobs.offer(Job(103)).await.unwrap();
    let none = picky.poll().deadline(5 * MS).await.unwrap();
    assert_eq!(none, None);
}

/// A queue that hands out the same item again and again, for ever: with a deadline that ends.
#[callboard::test(both)]
async fn g34_an_item_that_is_never_dead_ends_a_wait_that_is_over(system: System) {
    let depot = Depot::new(&system);
    let endless: Queue<Job> = system
        .queue("endless")
        .retry(Duration::ZERO, Duration::ZERO)
        .delivery_limit(None)
        .open()
        .unwrap();
    depot.node.expose_queue("endless", &endless).unwrap();
    let peer = depot.peer(&system, LinkConfig::default()).await;
    let picky = peer.queue::<Picky>("endless").await.unwrap();
    endless.offer(Job(100)).await.unwrap();
    let none = picky.poll().deadline(Duration::ZERO).await.unwrap();
    assert_eq!(none, None);
}

/// What was handed out to who had given up by then is back as soon as that is known, and is no failure.
#[callboard::test(simulated)]
async fn g21_what_comes_after_a_deadline_goes_back(system: System) {
    let depot = Depot::new(&system);
    let peer = depot.peer(&system, LinkConfig::default()).await;
    let jobs = peer.queue::<Job>("jobs").await.unwrap();
    let ledger = peer.mutex("ledger").await.unwrap();
    let held = depot.ledger.acquire().await.unwrap();
    let mut lease = Box::pin(jobs.lease().deadline(1_000 * MS).into_future());
    let mut wish = Box::pin(ledger.acquire().deadline(1_000 * MS).into_future());
    assert!(futures::poll!(&mut lease).is_pending());
    assert!(futures::poll!(&mut wish).is_pending());
    until(&system, async || {
        let jobs = depot.jobs.state().await.unwrap().waiting_pollers;
        let ledger = depot.ledger.state().await.unwrap().waiting;
        (jobs, ledger) == (1, 1)
    })
    .await;
    depot.net.partition_one_way("depot", "shop");
    depot.jobs.offer(Job(1)).await.unwrap();
    drop(held);
    let taken = async || {
        let jobs = depot.jobs.state().await.unwrap().in_flight;
        let ledger = depot.ledger.state().await.unwrap().held.len();
        (jobs, ledger) == (1, 1)
    };
    until(&system, taken).await;
    for failure in [lease.await.unwrap_err(), wish.await.unwrap_err()] {
        assert_eq!(
            (failure.kind(), failure.verdict()),
            (FailureKind::DeadlineExceeded, Verdict::NotExecuted)
        );
    }
    assert!(taken().await, "over there nobody knows yet");
    depot.net.heal_all();
    until(&system, async || {
        let jobs = depot.jobs.state().await.unwrap().in_flight;
        let ledger = depot.ledger.state().await.unwrap().held.len();
        (jobs, ledger) == (0, 0)
    })
    .await;
    let state = depot.jobs.state().await.unwrap();
    assert_eq!((state.len, state.failed, state.lapsed), (1, 0, 0));
    let counts = depot.ledger.state().await.unwrap().counts;
    assert_eq!(counts.expiries, 0, "{counts:?}");
}

/// A request in hand that is due sooner than the wait bounds the wait (G9).
#[callboard::test(both)]
async fn g09_a_wait_for_what_is_elsewhere_ends_with_the_request_in_hand(system: System) {
    let depot = Depot::new(&system);
    let peer = depot.peer(&system, LinkConfig::default()).await;
    let keeper = system.start(Keeper {
        ledger: peer.mutex("ledger").await.unwrap(),
        jobs: peer.queue::<Job>("jobs").await.unwrap(),
    });
    let held = depot.ledger.acquire().await.unwrap();
    let span = 200 * MS;
    let answers = futures::join!(
        keeper.ask(Book).deadline(span).into_future(),
        keeper.ask(Work).deadline(span).into_future(),
    );
    // What the handler is told comes before its own asker gives up, or just not.
    if let Ok(booked) = answers.0 {
        assert!(booked.is_err(), "{booked:?}");
    }
    if let Ok(worked) = answers.1 {
        assert_eq!(worked, Ok(None));
    }
    until(&system, async || {
        let jobs = depot.jobs.state().await.unwrap().waiting_pollers;
        let ledger = depot.ledger.state().await.unwrap().waiting;
        (jobs, ledger) == (0, 0)
    })
    .await;
    // Not only when the two seconds are over that the handler had said.
    let counts = depot.ledger.state().await.unwrap().counts;
    assert_eq!(counts.timeouts + counts.withdrawn, 1, "{counts:?}");
    drop(held);
}

/// A renewal waits for its answer as long as its caller does, also over a broken connection.
#[callboard::test(simulated)]
async fn g31_a_renewal_outlives_a_broken_connection(system: System) {
    let depot = Depot::new(&system);
    let peer = depot.peer(&system, LinkConfig::default()).await;
    let ledger = peer.mutex("ledger").await.unwrap();
    let held = ledger.acquire().lease(60_000 * MS).await.unwrap();
    depot.net.partition("shop", "depot");
    let mut renewal = Box::pin(held.renew(60_000 * MS));
    assert!(futures::poll!(&mut renewal).is_pending());
    // Longer than an ask waits.
    system.clock().sleep(8_000 * MS).await;
    assert!(futures::poll!(&mut renewal).is_pending());
    depot.net.heal_all();
    let ends = renewal.await.unwrap();
    assert!(held.is_held() && held.ends() == ends);
    let there = depot.ledger.state().await.unwrap().held[0].ends;
    assert!(there >= ends, "it takes itself to hold it no longer");
}
