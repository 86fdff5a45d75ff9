//! G1 one at a time, G2 order, G4 control lane, G5 fairness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use callboard::{Actor, Context, Handler, Message, System};
use futures::future::join_all;

use crate::common::{Log, Note, held_worker, worker};

struct Exclusive {
    inside: Arc<AtomicBool>,
    overlaps: Arc<AtomicUsize>,
}

impl Actor for Exclusive {}

#[derive(Message)]
struct Enter;

impl Handler<Enter> for Exclusive {
    async fn handle(&mut self, _: Enter, ctx: &mut Context<Self>) {
        if self.inside.swap(true, Ordering::SeqCst) {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        ctx.sleep(Duration::from_micros(200)).await;
        self.inside.store(false, Ordering::SeqCst);
    }
}

#[callboard::test(both)]
async fn g01_one_message_at_a_time_also_across_await(system: System) {
    let (inside, overlaps) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let actor = system.start(Exclusive {
        inside,
        overlaps: Arc::clone(&overlaps),
    });
    join_all((0..50).map(|_| actor.ask(Enter).into_future()))
        .await
        .into_iter()
        .for_each(|r| r.unwrap());
    assert_eq!(overlaps.load(Ordering::SeqCst), 0);
}

#[callboard::test(both)]
async fn g02_one_senders_messages_keep_their_order(system: System) {
    let (worker, log) = worker(&system);
    for n in 0..200 {
        worker.tell(Note(n)).await.unwrap();
    }
    worker.ask(Note(200)).await.unwrap();
    let expected: Vec<String> = (0..=200).map(|n| format!("note {n}")).collect();
    assert_eq!(log.lines(), expected);
}

#[callboard::test(both)]
async fn g02_order_holds_while_the_sender_waits_for_room(system: System) {
    let (worker, log, gate) = held_worker(&system, 2).await;
    let sender = worker.clone();
    let sending = async move {
        for n in 0..20 {
            sender.tell(Note(n)).await.unwrap();
        }
        sender.ask(Note(20)).await.unwrap();
    };
    let opening = async move { gate.send(()).unwrap() };
    futures::join!(sending, opening);
    let notes: Vec<String> = log
        .lines()
        .into_iter()
        .filter(|line| line.starts_with("note"))
        .collect();
    assert_eq!(
        notes,
        (0..=20).map(|n| format!("note {n}")).collect::<Vec<_>>()
    );
}

#[callboard::test(both)]
async fn g04_a_stop_does_not_wait_behind_a_full_mailbox(system: System) {
    let (worker, log, gate) = held_worker(&system, 100).await;
    for n in 0..100 {
        worker.try_tell(Note(n)).unwrap();
    }
    worker.stop();
    gate.send(()).unwrap();
    assert!(worker.wait().await.is_normal());
    assert_eq!(
        log.lines(),
        ["hold begins", "hold ends", "stopped: stopped", "dropped"]
    );
}

#[callboard::test(both)]
async fn g04_a_kill_ends_a_handler_that_waits_behind_a_full_mailbox(system: System) {
    let (worker, log, _gate) = held_worker(&system, 100).await;
    for n in 0..100 {
        worker.try_tell(Note(n)).unwrap();
    }
    worker.kill();
    assert_eq!(worker.wait().await, callboard::ExitReason::Killed);
    assert_eq!(log.lines(), ["hold begins", "dropped"]);
}

/// Tells itself the next message while it handles one: its mailbox never runs dry.
struct Flood {
    log: Log,
    handled: u64,
}

#[derive(Message)]
struct Again;

#[derive(Message)]
struct Tick;

impl Actor for Flood {
    async fn starting(&mut self, ctx: &mut Context<Self>) -> Result<(), callboard::StartFailure> {
        ctx.tell_every(Duration::from_millis(10), || Tick);
        Ok(())
    }
}

impl Handler<Again> for Flood {
    async fn handle(&mut self, _: Again, ctx: &mut Context<Self>) {
        self.handled += 1;
        // A flood in virtual time needs time to pass at all.
        if self.handled.is_multiple_of(64) {
            ctx.sleep(Duration::from_millis(1)).await;
        }
        let _ = ctx.me().try_tell(Again);
    }
}

impl Handler<Tick> for Flood {
    async fn handle(&mut self, _: Tick, ctx: &mut Context<Self>) {
        self.log.push("tick");
        if self.log.lines().len() == 20 {
            ctx.stop();
        }
    }
}

#[callboard::test(both)]
async fn g05_timers_are_served_under_a_mailbox_that_never_runs_dry(system: System) {
    let log = Log::default();
    let flood = system.start(Flood {
        log: log.clone(),
        handled: 0,
    });
    let start = system.clock().now();
    for _ in 0..100 {
        flood.tell(Again).await.unwrap();
    }
    flood.wait().await;
    assert_eq!(log.lines().len(), 20);
    if system.clock().is_manual() {
        // 20 ticks of 10 ms, each at most a batch late.
        let took = system.clock().now().since(start);
        assert!(took <= Duration::from_millis(260), "{took:?}");
    }
}

/// Tells itself the next message without ever waiting; far more of them than a turn may handle.
struct Endless {
    left: u32,
}

impl Actor for Endless {}

impl Handler<Again> for Endless {
    async fn handle(&mut self, _: Again, ctx: &mut Context<Self>) {
        self.left -= 1;
        if self.left == 0 {
            ctx.stop();
        } else {
            let _ = ctx.me().try_tell(Again);
        }
    }
}

#[callboard::test]
async fn g05_a_flooded_actor_lets_others_of_its_thread_run(system: System) {
    let busy = system.actor(|| Endless { left: 2_000_000 }).start();
    let quiet = system
        .actor(|| crate::common::Worker {
            log: Log::default(),
        })
        .near(&busy)
        .start();
    busy.tell(Again).await.unwrap();
    quiet.ask(Note(0)).await.unwrap();
    // Most of the flood is still to come: a driver gives up its thread after 256 turns of 256 messages, and
    // without these budgets it would be over by now.
    assert!(busy.is_alive());
    busy.kill();
    busy.wait().await;
}

#[callboard::test]
async fn g11_drain_handles_what_is_queued_and_refuses_the_rest(system: System) {
    let (worker, log, gate) = held_worker(&system, 10).await;
    worker.try_tell(Note(1)).unwrap();
    worker.drain();
    let refused = worker.try_tell(Note(2)).unwrap_err();
    assert_eq!(refused.into_message(), Some(Note(2)));
    gate.send(()).unwrap();
    assert!(worker.wait().await.is_normal());
    assert_eq!(
        log.lines(),
        [
            "hold begins",
            "hold ends",
            "note 1",
            "stopped: stopped",
            "dropped"
        ]
    );
}
