//! The blocking forms: where they wait, and where they are refused instead of waiting for themselves.

use std::time::Duration;

use callboard::{
    Actor, ActorRef, BlockingError, Context, ExitReason, FailureKind, Handler, Message, SendError,
    Simulation, System, Verdict,
};

use crate::common::{Hold, Log, Note, Worker, held_worker, worker};

fn assert_refused(error: SendError<Note>, note: u64) {
    assert_eq!(error.kind(), FailureKind::OnArbiter);
    assert_eq!(error.verdict(), Verdict::NotSent);
    let text = error.to_string();
    assert!(text.contains("must not block"), "{text}");
    assert_eq!(error.into_message(), Some(Note(note)));
}

/// Every blocking form there is, on a thread where each must be refused.
fn assert_all_refused(system: &System, worker: &ActorRef<Worker>) {
    assert_refused(worker.ask(Note(1)).blocking().unwrap_err(), 1);
    assert_refused(worker.tell(Note(2)).blocking().unwrap_err(), 2);
    let recipient = worker.recipient::<Note, _>();
    assert_refused(recipient.ask(Note(3)).blocking().unwrap_err(), 3);
    assert_refused(recipient.tell(Note(4)).blocking().unwrap_err(), 4);
    assert_eq!(worker.wait_blocking(), Err(BlockingError::OnArbiter));
    assert_eq!(system.shutdown_blocking(), Err(BlockingError::OnArbiter));
}

#[callboard::test(both)]
async fn g06_a_blocking_form_on_an_arbiter_gives_the_message_back_unsent(system: System) {
    let start = system.clock().now();
    let (worker, log) = worker(&system);
    assert_all_refused(&system, &worker);
    // Nothing was sent, nothing was shut down, no time went by.
    assert_eq!(worker.ask(Note(5)).await.unwrap(), 5);
    assert_eq!(log.lines(), ["note 5"]);
    assert!(!system.is_closed() && worker.is_alive());
    if system.clock().is_manual() {
        assert_eq!(system.clock().now(), start);
    }
}

/// Tries to block in its handler.
struct Blocker(ActorRef<Worker>);

#[derive(Message)]
struct Try;

impl Actor for Blocker {}

impl Handler<Try> for Blocker {
    async fn handle(&mut self, _: Try, ctx: &mut Context<Self>) {
        assert_all_refused(ctx.system(), &self.0);
        assert_eq!(ctx.me().wait_blocking(), Err(BlockingError::OnArbiter));
    }
}

#[callboard::test(both)]
async fn g06_a_handler_that_blocks_is_refused_at_once(system: System) {
    let (worker, log) = worker(&system);
    let inner = worker.clone();
    let blocker = system.actor(move || Blocker(inner)).near(&worker).start();
    blocker.ask(Try).await.unwrap();
    assert!(log.lines().is_empty());
}

#[test]
fn g06_also_what_would_wait_for_another_system_is_refused_on_an_arbiter() {
    let (mine, other) = (System::new().unwrap(), System::with_arbiters(1).unwrap());
    let (worker, log) = worker(&other);
    let blocker = mine.start(Blocker(worker.clone()));
    blocker.ask(Try).blocking().unwrap();
    assert!(log.lines().is_empty());
    assert!(!other.is_closed() && !mine.is_closed());
    assert_eq!(worker.ask(Note(1)).blocking().unwrap(), 1);
    other.shutdown_blocking().unwrap();
    mine.shutdown_blocking().unwrap();
}

#[test]
fn g06_the_thread_of_a_simulation_is_an_arbiter_also_between_its_runs() {
    let mut simulation = Simulation::new(1);
    let system = simulation.system().clone();
    let (worker, log) = worker(&system);
    assert_all_refused(&system, &worker);
    let asked = worker.clone();
    let answer = simulation.block_on(async move { asked.ask(Note(1)).await });
    assert_eq!(answer.unwrap(), 1);
    assert_all_refused(&system, &worker);
    assert_eq!(log.lines(), ["note 1"]);
}

#[test]
fn g12_a_plain_thread_waits_for_an_end() {
    let system = System::with_arbiters(2).unwrap();
    let (worker, log) = worker(&system);
    let (hold, began, gate) = Hold::new();
    worker.tell(hold).blocking().unwrap();
    futures::executor::block_on(began).unwrap();
    worker.stop();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| worker.wait_blocking());
        gate.send(()).unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(ExitReason::Stopped));
    });
    assert_eq!(worker.exit_reason(), Some(ExitReason::Stopped));
    assert_eq!(
        log.lines(),
        ["hold begins", "hold ends", "stopped: stopped", "dropped"]
    );
    // Of what has ended already, at once.
    assert_eq!(worker.wait_blocking(), Ok(ExitReason::Stopped));
    assert_eq!(system.shutdown_blocking(), Ok(vec![]));
    assert!(system.is_closed());
    assert_eq!(system.shutdown_blocking(), Ok(vec![]));
}

#[test]
fn g03_a_blocking_tell_waits_in_line_for_room() {
    let system = System::with_arbiters(1).unwrap();
    let (worker, log, gate) = futures::executor::block_on(held_worker(&system, 1));
    worker.tell(Note(0)).blocking().unwrap();
    let late = worker.tell(Note(1)).deadline(Duration::from_millis(5));
    let error = late.blocking().unwrap_err();
    assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(error.verdict(), Verdict::NotSent);
    assert_eq!(error.into_message(), Some(Note(1)));
    std::thread::scope(|scope| {
        let telling = scope.spawn(|| worker.tell(Note(2)).blocking());
        while worker.mailbox().waiting_senders == 0 {
            std::thread::yield_now();
        }
        gate.send(()).unwrap();
        telling.join().unwrap().unwrap();
    });
    assert_eq!(worker.ask(Note(3)).blocking().unwrap(), 3);
    assert_eq!(log.lines()[2..], ["note 0", "note 2", "note 3"]);
    system.shutdown_blocking().unwrap();
}

#[test]
fn blocking_forms_work_inside_somebody_elses_runtime() {
    let system = System::with_arbiters(1).unwrap();
    let (worker, _) = worker(&system);
    let all = |n| {
        assert_eq!(worker.ask(Note(n)).blocking().unwrap(), n);
        worker.tell(Note(n)).blocking().unwrap();
        let (short, _) = super::common::worker(&system);
        short.stop();
        assert_eq!(short.wait_blocking(), Ok(ExitReason::Stopped));
    };
    let here = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    here.block_on(async { all(1) });
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    threads.block_on(async { all(2) });
    // The executor of `futures` refuses to be entered twice; ours doesn't enter it.
    futures::executor::block_on(async { all(3) });
    // A call inside a call: the outer one misses no wake-up.
    let log = Log::default();
    let inner = (worker.clone(), log.clone());
    let task = threads.spawn_blocking(move || {
        let (worker, log) = inner;
        log.push(worker.ask(Note(4)).blocking().unwrap().to_string());
    });
    threads.block_on(task).unwrap();
    assert_eq!(log.lines(), ["4"]);
    threads
        .block_on(async { system.shutdown_blocking() })
        .unwrap();
}
