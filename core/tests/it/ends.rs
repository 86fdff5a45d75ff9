//! G11 stop and kill, and the end of a whole system.

use std::time::Duration;

use callboard::{
    Actor, Context, DropReason, ExitReason, Handler, Message, StartError, System, Verdict,
};

use crate::common::{Log, Note, Worker, held_worker, worker};

#[callboard::test(both)]
async fn g11_stop_hands_what_is_left_to_dead_letters(system: System) {
    let (worker, log, gate) = held_worker(&system, 10).await;
    for n in 0..3 {
        worker.try_tell(Note(n)).unwrap();
    }
    worker.stop();
    gate.send(()).unwrap();
    worker.wait().await;
    assert_eq!(
        log.lines(),
        ["hold begins", "hold ends", "stopped: stopped", "dropped"]
    );
    let letters = system.dead_letters().take();
    assert_eq!(letters.len(), 3);
    assert!(
        letters
            .iter()
            .all(|letter| letter.reason == DropReason::Stopped && letter.target == "worker")
    );
}

#[callboard::test(both)]
async fn g11_wait_resolves_after_the_true_end(system: System) {
    let (worker, log) = worker(&system);
    worker.tell(Note(1)).await.unwrap();
    worker.drain();
    worker.wait().await;
    assert_eq!(log.lines(), ["note 1", "stopped: stopped", "dropped"]);
    assert!(!worker.is_alive());
    assert_eq!(worker.exit_reason(), Some(ExitReason::Stopped));
    assert!(system.actors().iter().all(|actor| actor.id != worker.id()));
}

#[callboard::test(both)]
async fn g11_an_actor_can_stop_itself_and_its_timers_end_with_it(system: System) {
    struct Suicidal(Log);
    #[derive(Message)]
    struct Bye;
    #[derive(Message)]
    struct Late;
    impl Actor for Suicidal {}
    impl Handler<Bye> for Suicidal {
        async fn handle(&mut self, _: Bye, ctx: &mut Context<Self>) {
            ctx.tell_after(Duration::from_millis(5), Late);
            ctx.stop();
        }
    }
    impl Handler<Late> for Suicidal {
        async fn handle(&mut self, _: Late, _: &mut Context<Self>) {
            self.0.push("late");
        }
    }
    let log = Log::default();
    let actor = system.start(Suicidal(log.clone()));
    actor.tell(Bye).await.unwrap();
    assert!(actor.wait().await.is_normal());
    system.clock().sleep(Duration::from_millis(20)).await;
    assert!(log.lines().is_empty());
    assert!(system.dead_letters().is_empty());
}

#[test]
fn g11_shutdown_stops_all_and_kills_who_does_not_stop() {
    let mut simulation = callboard::Simulation::new(3);
    let system = simulation.system().clone();
    simulation.block_on(async move {
        let (easy, easy_log) = worker(&system);
        let (stubborn, _, _gate) = held_worker(&system, 10).await;
        let killed = system.shutdown().await;
        assert_eq!(killed, ["worker"]);
        assert_eq!(stubborn.wait().await, ExitReason::Killed);
        assert!(easy.wait().await.is_normal());
        assert_eq!(easy_log.lines(), ["stopped: stopped", "dropped"]);
        let late = system.start(Worker {
            log: Log::default(),
        });
        assert_eq!(
            late.tell(Note(1)).await.unwrap_err().verdict(),
            Verdict::NotExecuted
        );
    });
}

#[callboard::test]
async fn g11_a_shutdown_gives_as_much_time_as_it_is_told(system: System) {
    for grace in [Duration::ZERO, Duration::from_secs(3)] {
        let mut simulation = callboard::Simulation::new(3);
        let inner = simulation.system().clone();
        simulation.block_on(async move {
            let (stubborn, _, _gate) = held_worker(&inner, 10).await;
            assert!(!stubborn.is_owned());
            let before = inner.clock().now();
            assert_eq!(inner.shutdown_within(grace).await, ["worker"]);
            assert_eq!(inner.clock().now().since(before), grace);
            assert_eq!(stubborn.wait().await, ExitReason::Killed);
        });
    }
    let make = || Worker {
        log: Log::default(),
    };
    let (supervised, place) = system.actor(make).place();
    assert!(supervised.is_owned());
    place.close(ExitReason::Stopped);
}

#[test]
fn start_outside_an_arbiter_is_an_error_that_names_the_way_out() {
    let error = Worker {
        log: Log::default(),
    }
    .start()
    .unwrap_err();
    assert_eq!(error, StartError::NotOnArbiter);
    assert!(error.to_string().contains("system.start(actor)"));
}

#[test]
fn references_work_from_any_thread_with_or_without_a_runtime() {
    let system = System::with_arbiters(2).unwrap();
    let (worker, _) = worker(&system);
    assert_eq!(worker.ask(Note(1)).blocking().unwrap(), 1);
    worker.tell(Note(2)).blocking().unwrap();
    let inside = worker.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async move {
        assert_eq!(inside.ask(Note(3)).await.unwrap(), 3);
        assert_eq!(
            callboard::run(|_| async {}).unwrap_err(),
            StartError::InsideRuntime
        );
        // A whole system can be started from inside a runtime, too.
        let other = System::with_arbiters(1).unwrap();
        let (worker, _) = super::common::worker(&other);
        assert_eq!(worker.ask(Note(4)).await.unwrap(), 4);
        other.shutdown().await;
    });
    runtime.block_on(system.shutdown());
}

#[callboard::test(both)]
async fn g11_an_actor_can_end_itself_as_failed(system: System) {
    struct Honest(Log);
    #[derive(Message)]
    #[message(reply = u32)]
    struct GiveUp;
    impl Actor for Honest {
        async fn stopped(&mut self, reason: &ExitReason) {
            self.0.push(reason.to_string());
        }
    }
    impl Handler<GiveUp> for Honest {
        async fn handle(&mut self, _: GiveUp, ctx: &mut Context<Self>) -> u32 {
            ctx.fail("the disk is gone");
            ctx.fail("a second reason doesn't count");
            7
        }
    }
    let log = Log::default();
    let actor = system.start(Honest(log.clone()));
    assert_eq!(actor.ask(GiveUp).await.unwrap(), 7);
    let reason = actor.wait().await;
    assert_eq!(reason, ExitReason::Failed("the disk is gone".into()));
    // Other than after a panic its state is sound.
    assert_eq!(log.lines(), ["failed: the disk is gone"]);
    assert_eq!(system.counters().panics(), 0);
}
