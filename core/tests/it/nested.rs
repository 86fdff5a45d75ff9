//! Asks within asks on one stack, and asks that can't be answered because who would is asking.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use callboard::{Actor, ActorRef, Context, FailureKind, Handler, Message, System, Verdict};
use futures::FutureExt;

use crate::common::{Note, Worker, worker, worker_near};

/// The first of a chain, each of which asks the next.
struct Link {
    next: Option<ActorRef<Link>>,
}

#[derive(Message)]
#[message(reply = (u64, u32))]
struct Down(u64);

thread_local! {
    /// How many links are on this thread's stack.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Polls with much of the stack taken.
fn polled_deep<F: Future + Unpin>(future: &mut F, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
    let ballast = std::hint::black_box([1_u8; 4_096]);
    DEPTH.set(DEPTH.get() + 1);
    let polled = Pin::new(future).poll(cx);
    DEPTH.set(DEPTH.get() - 1);
    assert!(std::hint::black_box(&ballast).iter().all(|byte| *byte == 1));
    polled
}

impl Actor for Link {}

impl Handler<Down> for Link {
    async fn handle(&mut self, Down(sum): Down, _: &mut Context<Self>) -> (u64, u32) {
        let depth = DEPTH.get();
        let Some(next) = &self.next else {
            return (sum, depth);
        };
        let mut asked = next.ask(Down(sum + 1)).into_future();
        let asked = std::future::poll_fn(|cx| polled_deep(&mut asked, cx));
        let (sum, deepest) = asked.await.unwrap();
        (sum, deepest.max(depth))
    }
}

#[callboard::test(both)]
async fn g01_asks_within_asks_go_as_deep_as_the_stack_allows_and_on(system: System) {
    const LINKS: u64 = 200;
    for hand_off in [true, false] {
        system.hand_off(hand_off);
        let mut chain = system.actor(|| Link { next: None }).start();
        for _ in 0..LINKS {
            let next = Some(chain.clone());
            chain = system.actor(move || Link { next }).near(&chain).start();
        }
        for _ in 0..3 {
            let (sum, deepest) = chain.ask(Down(0)).await.unwrap();
            assert_eq!(sum, LINKS);
            if hand_off {
                // 128 KiB, of which each takes more than 4. AddressSanitizer puts locals elsewhere, so that only
                // the number of asks in a row bounds them.
                let most = if cfg!(callboard_plain_alloc) { 64 } else { 33 };
                assert!((2..=most).contains(&deepest), "{deepest}");
            } else {
                assert!(deepest <= 1, "{deepest}");
            }
        }
    }
}

/// Asks itself, or by way of another.
#[derive(Message)]
struct Mirror(Option<ActorRef<Worker>>);

impl Handler<Mirror> for Worker {
    async fn handle(&mut self, Mirror(by): Mirror, ctx: &mut Context<Self>) {
        let limit = Duration::from_millis(10);
        let me = ctx.me();
        if let Some(other) = by {
            // Both have the same deadline: the other's end may be in time, or not.
            if let Err(error) = other.ask(Relay(me)).deadline(limit).allow_cycle().await {
                assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
                assert_eq!(error.verdict(), Verdict::Executed);
            }
            return;
        }
        let error = me
            .ask(Note(1))
            .deadline(limit)
            .allow_cycle()
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.verdict()),
            (FailureKind::DeadlineExceeded, Verdict::NotExecuted)
        );
        // What it asked itself in its handler may be waited for after it.
        let mut asked = Box::pin(async move { me.ask(Note(2)).allow_cycle().await.unwrap() });
        assert!(asked.as_mut().now_or_never().is_none());
        let log = self.log.clone();
        ctx.spawn(async move { log.push(format!("answered {}", asked.await)) });
    }
}

#[derive(Message)]
struct Relay(ActorRef<Worker>);

impl Handler<Relay> for Worker {
    async fn handle(&mut self, Relay(to): Relay, _: &mut Context<Self>) {
        let error = to.ask(Note(3)).allow_cycle().await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
        self.log.push("relayed");
    }
}

#[callboard::test(both)]
async fn g09_an_actor_that_may_ask_itself_waits_for_its_deadline_and_nothing_runs_twice(
    system: System,
) {
    let (worker, log) = worker(&system);
    worker.ask(Mirror(None)).await.unwrap();
    while !log.lines().contains(&"answered 2".to_owned()) {
        worker.ask(Note(4)).await.unwrap();
    }
    let lines = log.lines();
    assert_eq!(lines.iter().filter(|line| *line == "note 2").count(), 1);
    // What was withdrawn before it began never runs.
    assert!(!lines.contains(&"note 1".to_owned()));
}

#[callboard::test(both)]
async fn g09_actors_that_may_ask_in_a_circle_wait_for_their_deadline(system: System) {
    let (worker, log) = worker(&system);
    let other = worker_near(&system, &worker);
    worker.ask(Mirror(Some(other.clone()))).await.unwrap();
    assert_eq!(other.ask(Note(5)).await.unwrap(), 5);
    assert_eq!(worker.ask(Note(6)).await.unwrap(), 6);
    assert_eq!(log.lines(), ["note 6"]);
    assert_eq!(system.counters().panics(), 0);
}
