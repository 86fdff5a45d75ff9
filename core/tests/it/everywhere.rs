//! References from everywhere: other people's runtimes, plain threads, another system's arbiters. An ask is
//! answered right in each, and one that is given up is withdrawn (G7, G9).

use std::sync::Arc;
use std::time::Duration;

use callboard::{
    Actor, ActorRef, Boundary, Context, DropReason, Handler, Message, System, Verdict,
};
use futures::future::join_all;
use tokio::runtime::{Builder, Runtime};

use crate::common::{Note, Worker, held_worker, worker};

fn on_threads() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap()
}

fn on_this_thread() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// Asks from `tasks` tasks at once, each of which gets its own answers back, in order.
async fn ask_from_tasks(worker: &ActorRef<Worker>, tasks: u64) {
    let asking = (0..tasks).map(|task| {
        let worker = worker.clone();
        tokio::spawn(async move {
            for n in 0..50 {
                let number = task * 1_000 + n;
                assert_eq!(worker.ask(Note(number)).await.unwrap(), number);
                tokio::task::yield_now().await;
            }
        })
    });
    for task in join_all(asking).await {
        task.unwrap();
    }
}

#[test]
fn g07_asks_from_a_runtime_of_many_threads_are_answered() {
    let system = System::with_arbiters(2).unwrap();
    let (worker, log) = worker(&system);
    on_threads().block_on(async {
        assert_eq!(worker.boundary(), Boundary::SameProcess);
        ask_from_tasks(&worker, 8).await;
    });
    assert_eq!(log.lines().len(), 8 * 50);
    system.shutdown_blocking().unwrap();
}

#[test]
fn g07_asks_from_a_runtime_of_one_thread_are_answered() {
    let system = System::with_arbiters(2).unwrap();
    let (worker, log) = worker(&system);
    let runtime = on_this_thread();
    runtime.block_on(ask_from_tasks(&worker, 8));
    // Tasks that can't be sent ask as well.
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let not_send = std::rc::Rc::new(worker.clone());
        let asking = tokio::task::spawn_local(async move { not_send.ask(Note(7)).await });
        assert_eq!(asking.await.unwrap().unwrap(), 7);
    });
    assert_eq!(log.lines().len(), 8 * 50 + 1);
    system.shutdown_blocking().unwrap();
}

#[test]
fn g07_asks_from_plain_threads_are_answered() {
    let system = System::with_arbiters(2).unwrap();
    let (worker, log) = worker(&system);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let worker = &worker;
            scope.spawn(move || {
                for n in 0..50 {
                    let number = thread * 1_000 + n;
                    assert_eq!(worker.ask(Note(number)).blocking().unwrap(), number);
                    worker.tell(Note(number)).blocking().unwrap();
                }
            });
        }
    });
    assert_eq!(worker.ask(Note(9)).blocking().unwrap(), 9);
    assert_eq!(log.lines().len(), 4 * 50 * 2 + 1);
    system.shutdown_blocking().unwrap();
}

/// Hands on what it is asked.
struct Relay(ActorRef<Worker>);

impl Actor for Relay {}

impl Handler<Note> for Relay {
    async fn handle(&mut self, note: Note, _: &mut Context<Self>) -> u64 {
        assert_eq!(self.0.boundary(), Boundary::SameProcess);
        self.0.ask(note).await.unwrap()
    }
}

/// How much time is left there.
#[derive(Message)]
#[message(reply = Option<Duration>)]
struct Left;

impl Handler<Left> for Worker {
    async fn handle(&mut self, _: Left, ctx: &mut Context<Self>) -> Option<Duration> {
        ctx.remaining()
    }
}

impl Handler<Left> for Relay {
    async fn handle(&mut self, left: Left, _: &mut Context<Self>) -> Option<Duration> {
        self.0.ask(left).await.unwrap()
    }
}

#[test]
fn g07_asks_from_an_arbiter_of_another_system_are_answered() {
    let (mine, other) = (
        System::with_arbiters(1).unwrap(),
        System::with_arbiters(1).unwrap(),
    );
    let (worker, log) = worker(&other);
    let relay = mine.start(Relay(worker.clone()));
    for n in 0..100 {
        assert_eq!(relay.ask(Note(n)).blocking().unwrap(), n);
    }
    assert_eq!(log.lines().len(), 100);
    // All systems on arbiters have one clock, so deadlines are handed down between them (G9).
    let limit = Duration::from_secs(7);
    let left = relay.ask(Left).deadline(limit).blocking().unwrap();
    assert!(left.is_some_and(|left| left <= limit), "{left:?}");
    // The other system ends while its neighbour goes on.
    other.shutdown_blocking().unwrap();
    let error = worker.ask(Note(1)).blocking().unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert!(relay.is_alive());
    mine.shutdown_blocking().unwrap();
}

/// What a web server's handlers share, and one of them: a task that a runtime started, which may be dropped
/// at any await when the client goes away.
struct Shop {
    worker: ActorRef<Worker>,
}

async fn order(shop: Arc<Shop>, number: u64) -> (u16, u64) {
    let ask = shop.worker.ask(Note(number));
    match ask.deadline(Duration::from_secs(5)).await {
        Ok(number) => (200, number),
        Err(error) => match error.verdict() {
            Verdict::NotSent | Verdict::NotExecuted => (503, number),
            Verdict::MaybeExecuted | Verdict::Executed => (500, number),
        },
    }
}

#[test]
fn g07_a_web_handler_asks_and_maps_verdicts() {
    let system = System::with_arbiters(2).unwrap();
    let (worker, _) = worker(&system);
    let shop = Arc::new(Shop {
        worker: worker.clone(),
    });
    on_threads().block_on(async {
        let requests = (0..200).map(|n| tokio::spawn(order(Arc::clone(&shop), n)));
        for (n, answer) in (0..).zip(join_all(requests).await) {
            assert_eq!(answer.unwrap(), (200, n));
        }
        worker.stop();
        worker.wait().await;
        let answer = tokio::spawn(order(Arc::clone(&shop), 7)).await.unwrap();
        assert_eq!(answer, (503, 7));
    });
    system.shutdown_blocking().unwrap();
}

#[test]
fn g09_a_request_whose_client_went_away_never_runs() {
    let system = System::with_arbiters(1).unwrap();
    on_threads().block_on(async {
        let (worker, log, gate) = held_worker(&system, 10).await;
        let shop = Arc::new(Shop {
            worker: worker.clone(),
        });
        let request = tokio::spawn(order(Arc::clone(&shop), 1));
        while worker.mailbox().len == 0 {
            tokio::task::yield_now().await;
        }
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        gate.send(()).unwrap();
        assert_eq!(worker.ask(Note(2)).await.unwrap(), 2);
        assert_eq!(log.lines(), ["hold begins", "hold ends", "note 2"]);
        assert_eq!(system.counters().drops(DropReason::Withdrawn), 1);
    });
    system.shutdown_blocking().unwrap();
}
