//! The test kit: settling, and moving virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::testing::{self, On, Test, UnsettledKind};
use callboard::{Actor, ActorRef, Context, Handler, Message, Placement, System};
use futures::channel::oneshot;
use proptest::prelude::*;

use crate::common::{Note, held_worker, worker};
use crate::kit::{MS, failure_of};

/// Passes a token to the next of a ring until it has made its hops, and counts them.
struct Link {
    next: Option<ActorRef<Link>>,
    hops: Arc<AtomicU64>,
}

#[derive(Message)]
struct Join(ActorRef<Link>);

/// Tokens that split: each makes so many more of itself for so many hops.
#[derive(Message, Clone, Copy)]
struct Token {
    hops: u64,
    twins: u64,
}

impl Actor for Link {}

impl Handler<Join> for Link {
    async fn handle(&mut self, Join(next): Join, _: &mut Context<Self>) {
        self.next = Some(next);
    }
}

impl Handler<Token> for Link {
    async fn handle(&mut self, token: Token, ctx: &mut Context<Self>) {
        self.hops.fetch_add(1, Ordering::SeqCst);
        let Some(next) = &self.next else { return };
        if token.hops == 0 {
            return;
        }
        for twin in 0..=token.twins {
            let token = Token {
                hops: token.hops - 1,
                twins: 0,
            };
            // Some by way of a task, which nobody but the driver knows of.
            if twin % 2 == 1 {
                let next = next.clone();
                ctx.spawn(async move { next.tell(token).await.unwrap() });
            } else {
                next.tell(token).await.unwrap();
            }
        }
    }
}

async fn ring(system: &System, size: usize) -> (Vec<ActorRef<Link>>, Arc<AtomicU64>) {
    let hops = Arc::new(AtomicU64::new(0));
    let links: Vec<_> = (0..size)
        .map(|n| {
            let hops = Arc::clone(&hops);
            system
                .actor(move || Link { next: None, hops })
                .placement(Placement::Pinned(n))
                .unbounded()
                .start()
        })
        .collect();
    for (n, link) in links.iter().enumerate() {
        let next = links[(n + 1) % size].clone();
        link.ask(Join(next)).await.unwrap();
    }
    (links, hops)
}

#[callboard::test(both, arbiters = 3)]
async fn settled_means_that_all_that_was_sent_has_run_its_course(system: System) {
    let (links, hops) = ring(&system, 5).await;
    let mut expected = 0;
    for round in 0..40 {
        let token = Token {
            hops: 50,
            twins: round % 4,
        };
        links[0].tell(token).await.unwrap();
        testing::settle(&system).await.unwrap();
        // The first hop, then each twin its fifty.
        expected += 1 + 50 * (round % 4 + 1);
        assert_eq!(hops.load(Ordering::SeqCst), expected, "in round {round}");
    }
}

#[callboard::test(both)]
async fn what_waits_for_time_or_for_the_test_is_settled(system: System) {
    let (worker, log, gate) = held_worker(&system, 8).await;
    worker.tell(Note(1)).await.unwrap();
    testing::settle(&system).await.unwrap();
    assert_eq!(
        log.lines(),
        ["hold begins"],
        "its handler waits for the gate"
    );
    assert_eq!(worker.mailbox().len, 1);
    gate.send(()).unwrap();
    testing::settle(&system).await.unwrap();
    assert_eq!(log.lines(), ["hold begins", "hold ends", "note 1"]);
}

#[callboard::test(both)]
async fn an_empty_system_and_one_that_is_shut_down_are_settled(system: System) {
    testing::settle(&system).await.unwrap();
    let (worker, _) = worker(&system);
    worker.tell(Note(1)).await.unwrap();
    worker.stop();
    testing::settle(&system).await.unwrap();
    assert!(!worker.is_alive());
}

#[test]
fn a_system_on_threads_of_its_own_settles_from_outside_and_after_its_end() {
    let system = System::with_arbiters(2).unwrap();
    let (worker, log) = worker(&system);
    worker.tell(Note(1)).blocking().unwrap();
    futures::executor::block_on(testing::settle(&system).into_future()).unwrap();
    assert_eq!(log.lines(), ["note 1"]);
    system.shutdown_blocking().unwrap();
    futures::executor::block_on(testing::settle(&system).into_future()).unwrap();
}

#[callboard::test(both)]
async fn an_actor_on_a_thread_of_its_own_is_waited_for(system: System) {
    let hops = Arc::new(AtomicU64::new(0));
    let inner = Arc::clone(&hops);
    let own = move || Link {
        next: None,
        hops: inner,
    };
    let link = system.actor(own).on_own_thread().start();
    for n in 1..=20 {
        link.tell(Token { hops: 0, twins: 0 }).await.unwrap();
        testing::settle(&system).await.unwrap();
        assert_eq!(hops.load(Ordering::SeqCst), n);
    }
    link.stop();
    link.wait().await;
    testing::settle(&system).await.unwrap();
}

/// Tells itself a message for every message.
struct Restless;

#[derive(Message)]
struct Again;

impl Actor for Restless {}

impl Handler<Again> for Restless {
    async fn handle(&mut self, _: Again, ctx: &mut Context<Self>) {
        // Fails only when it is told to end.
        let _ = ctx.me().try_tell(Again);
    }
}

#[callboard::test(both, seeds = 4)]
async fn what_never_settles_ends_with_an_error_that_names_it(system: System) {
    let restless = system.actor(|| Restless).label("restless").start();
    restless.tell(Again).await.unwrap();
    let unsettled = testing::settle(&system).limit(10_000).await.unwrap_err();
    assert_eq!(unsettled.kind(), UnsettledKind::Busy);
    let text = unsettled.to_string();
    assert!(
        text.starts_with("not settled after 10000 handled messages and turns: "),
        "{text}"
    );
    assert_eq!(
        text.contains("(seed "),
        testing::seed(&system).is_some(),
        "{text}"
    );
    if system.clock().is_manual() {
        assert!(text.contains("restless"), "{text}");
    }
    // And once it has ended, so has that.
    restless.kill();
    restless.wait().await;
    testing::settle(&system).await.unwrap();
}

#[test]
fn a_probe_in_a_system_that_never_settles_says_so() {
    let text = failure_of(On::Simulated, |system| async move {
        let restless = system.actor(|| Restless).label("restless").start();
        restless.tell(Again).await.unwrap();
        let mut probe = testing::Probe::<Note>::new(&system);
        probe.expect_none(MS).await;
    });
    // Time doesn't pass while it is busy, so nothing but the limit ends this.
    assert!(text.contains("not settled after 1000000"), "{text}");
}

/// Blocks its thread until the other end says something.
#[derive(Message)]
struct Block(std::sync::mpsc::Receiver<()>);

impl Handler<Block> for Restless {
    async fn handle(&mut self, Block(gate): Block, _: &mut Context<Self>) {
        let _ = gate.recv();
    }
}

#[callboard::test(arbiters, arbiters = 2)]
async fn a_turn_that_does_not_end_is_no_rest(system: System) {
    // Not on the thread of the test.
    let restless = system
        .actor(|| Restless)
        .label("restless")
        .placement(Placement::Pinned(1))
        .start();
    let (gate, end) = std::sync::mpsc::channel();
    restless.tell(Block(end)).await.unwrap();
    restless
        .tell(Block(std::sync::mpsc::channel().1))
        .await
        .unwrap();
    let unsettled = testing::settle(&system)
        .patience(MS * 20)
        .await
        .unwrap_err();
    let text = unsettled.to_string();
    assert!(
        text.starts_with("not settled: a turn hasn't ended within 20ms: "),
        "{text}"
    );
    gate.send(()).unwrap();
    testing::settle(&system).await.unwrap();
}

#[derive(Message)]
#[message(reply = Option<UnsettledKind>)]
struct SettleInside;

impl Handler<SettleInside> for Restless {
    async fn handle(&mut self, _: SettleInside, ctx: &mut Context<Self>) -> Option<UnsettledKind> {
        let system = ctx.system().clone();
        let settled = testing::settle(&system).await;
        settled.err().map(|unsettled| unsettled.kind())
    }
}

#[callboard::test(both)]
async fn an_actor_that_waits_for_its_own_rest_is_told_at_once(system: System) {
    let restless = system.start(Restless);
    let kind = restless.ask(SettleInside).await.unwrap();
    assert_eq!(kind, Some(UnsettledKind::InTurn));
}

// On arbiters only: a simulation doesn't wait for threads that are not its own.
#[callboard::test(arbiters)]
async fn a_task_may_wait_until_another_system_rests(system: System) {
    let (done, answer) = oneshot::channel();
    let other = System::with_arbiters(1).unwrap();
    let settled = testing::settle(&other);
    assert!(system.spawn(Placement::Pinned(0), move || async move {
        done.send(settled.await).unwrap();
    }));
    answer.await.unwrap().unwrap();
}

#[callboard::test]
async fn g38_advancing_runs_what_comes_due_at_its_time(system: System) {
    let clock = system.clock().clone();
    let start = clock.now();
    let log = crate::common::Log::default();
    for span in [30, 10, 20, 40] {
        let (log, clock) = (log.clone(), clock.clone());
        assert!(system.spawn(Placement::Spread, move || async move {
            clock.sleep(MS * span).await;
            log.push(format!("{:?}", clock.now().since(start)));
        }));
    }
    testing::advance(&system, MS * 30).await.unwrap();
    assert_eq!(log.lines(), ["10ms", "20ms", "30ms"]);
    assert_eq!(clock.now().since(start), MS * 30);
    testing::advance(&system, MS * 9).await.unwrap();
    assert_eq!(log.lines().len(), 3);
    testing::advance(&system, Duration::from_secs(3_600))
        .await
        .unwrap();
    assert_eq!(log.lines().len(), 4);
}

#[callboard::test(arbiters)]
async fn time_on_arbiters_is_not_moved(system: System) {
    let unmoved = testing::advance(&system, MS).await.unwrap_err();
    assert_eq!(unmoved.kind(), UnsettledKind::RealTime);
    assert!(
        format!("{unmoved:?}").contains("use the simulating executor"),
        "{unmoved:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever was sent, and from wherever, has been handled when the system has settled: on threads, where
    /// nothing but the look at all of them at once can know.
    #[test]
    fn settling_waits_for_every_token(
        tokens in proptest::collection::vec((0_u64..30, 0_u64..4), 1..12),
        size in 1_usize..6,
        arbiters in 1_usize..4,
    ) {
        let on = [On::Simulated, On::Arbiters];
        for on in on {
            let tokens = tokens.clone();
            let body = move |system: System| {
                let tokens = tokens.clone();
                async move {
                    let (links, hops) = ring(&system, size).await;
                    let mut expected = 0;
                    for (n, (more, twins)) in tokens.into_iter().enumerate() {
                        links[n % size].try_tell(Token { hops: more, twins }).unwrap();
                        expected += 1 + more * (twins + 1);
                    }
                    testing::settle(&system).await.unwrap();
                    assert_eq!(hops.load(Ordering::SeqCst), expected);
                }
            };
            Test::new(on).seeds(2).arbiters(arbiters).run(body);
        }
    }
}
