//! The test kit: faults that are injected.

use std::sync::Arc;
use std::time::Duration;

use callboard::testing::{self, Fault, FaultKind, Faults, INJECTED_CAPACITY, LATE_CAPACITY, Probe};
use callboard::{
    Actor, ActorRef, ChildEvent, Context, DropReason, ExitReason, Failure, FailureKind, Handler,
    Incarnation, Message, Overflow, Recipient, System, Verdict,
};
use futures::StreamExt;
use futures::channel::mpsc;
use proptest::prelude::*;

use crate::common::{Do, Hold, Log, Note, Player, Worker, worker};
use crate::kit::{MS, Price};

fn faulty(system: &System, faults: &Faults) -> (ActorRef<Worker>, Log) {
    let log = Log::default();
    let inner = log.clone();
    let make = move || Worker { log: inner };
    (
        system.actor(make).label("worker").faults(faults).start(),
        log,
    )
}

#[callboard::test(both)]
async fn g10_an_injected_panic_is_a_panic_of_the_handler(system: System) {
    let faults = Faults::new().with(Fault::panic().of::<Note>().nth(3));
    let (worker, log) = faulty(&system, &faults);
    let (hold, began, gate) = Hold::new();
    worker.tell(Note(1)).await.unwrap();
    worker.tell(hold).await.unwrap();
    began.await.unwrap();
    gate.send(()).unwrap();
    worker.ask(Note(2)).await.unwrap();
    let error = worker.ask(Note(3)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Panicked, Verdict::Executed)
    );
    assert_eq!(
        worker.wait().await,
        ExitReason::Failed("injected fault at a Note".into())
    );
    assert_eq!(system.counters().panics(), 1);
    // No line of the handler ran, and there was no farewell.
    assert_eq!(
        log.lines(),
        ["note 1", "hold begins", "hold ends", "note 2", "dropped"]
    );
    let injected = faults.injected();
    assert_eq!(injected.len(), 1);
    let found = (
        injected[0].kind,
        injected[0].message_type.as_str(),
        injected[0].number,
    );
    assert_eq!(found, (FaultKind::Panic, "Note", 3));
}

#[callboard::test(both)]
async fn an_injected_panic_strikes_at_a_behaviour_as_well(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let faults = Faults::new().with(Fault::panic().of::<Note>().nth(2));
    let make = move || Player { log: inner };
    let player = system.actor(make).faults(&faults).start();
    player
        .ask(Do::this(|_, ctx| {
            ctx.becomes(async |_: &mut Player, Note(n), _: &mut Context<Player>| n + 1);
        }))
        .await
        .unwrap();
    assert_eq!(player.ask(Note(1)).await.unwrap(), 2);
    let error = player.ask(Note(1)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Panicked, Verdict::Executed)
    );
    assert!(!player.wait().await.is_normal());
}

#[callboard::test(both)]
async fn g13_faults_count_on_over_a_restart(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let faults = Faults::new()
        .with(Fault::panic().nth(2))
        .with(Fault::panic().nth(4));
    let (worker, place) = system
        .actor(move || Worker { log: inner.clone() })
        .faults(&faults)
        .place();
    let (tx, mut events) = mpsc::channel(16);
    let on_event = Arc::new(move |incarnation: Incarnation, event: ChildEvent| {
        tx.clone().try_send((incarnation.0, event)).unwrap();
    });
    let failed = ChildEvent::Ended(ExitReason::Failed("injected fault at a Note".into()));
    for incarnation in 1..=2 {
        place.start(callboard::Terms::new(on_event.clone()));
        assert_eq!(
            events.next().await.unwrap(),
            (incarnation, ChildEvent::Started)
        );
        worker.ask(Note(2 * incarnation - 1)).await.unwrap();
        worker.ask(Note(2 * incarnation)).await.unwrap_err();
        assert_eq!(events.next().await.unwrap(), (incarnation, failed.clone()));
    }
    assert_eq!(log.lines(), ["note 1", "dropped", "note 3", "dropped"]);
    assert_eq!(faults.count(), 2);
    place.close(ExitReason::Stopped);
}

#[callboard::test(both)]
async fn g03_an_injected_loss_is_counted_and_its_asker_told(system: System) {
    let faults = Faults::new()
        .with(Fault::drop().nth(2))
        .with(Fault::drop().nth(4));
    let (worker, log) = faulty(&system, &faults);
    worker.tell(Note(1)).await.unwrap();
    worker.tell(Note(2)).await.unwrap();
    worker.tell(Note(3)).await.unwrap();
    let error = worker.ask(Note(4)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Overloaded, Verdict::NotExecuted)
    );
    assert_eq!(
        error.failure().detail(),
        Some("worker: an injected fault dropped it")
    );
    assert_eq!(worker.ask(Note(5)).await.unwrap(), 5);
    assert_eq!(log.lines(), ["note 1", "note 3", "note 5"]);
    assert_eq!(system.counters().drops(DropReason::Injected), 2);
    let letters = system.dead_letters().take();
    let lost: Vec<_> = letters
        .iter()
        .map(|letter| {
            (
                letter.reason,
                letter.message.downcast_ref::<Note>().cloned(),
            )
        })
        .collect();
    let injected = DropReason::Injected;
    assert_eq!(lost, [(injected, Some(Note(2))), (injected, Some(Note(4)))]);
}

#[callboard::test(both)]
async fn a_lost_message_can_leave_its_asker_in_doubt(system: System) {
    let doubt = Failure::new(FailureKind::ConnectionLost, Verdict::MaybeExecuted);
    let faults = Faults::new().with(Fault::drop().told(doubt));
    let (worker, _) = faulty(&system, &faults);
    let error = worker.ask(Note(1)).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::MaybeExecuted);
    faults.clear();
    assert_eq!(worker.ask(Note(1)).await.unwrap(), 1);
    assert_eq!(faults.count(), 1);
}

#[callboard::test]
async fn g02_late_messages_keep_their_order(system: System) {
    let late = Fault::delay(MS * 100).nth(2);
    let faults = Faults::new().with(late);
    let mut probe = Probe::new(&system);
    let relay = system
        .actor({
            let to = probe.recipient();
            move || Relay(to)
        })
        .faults(&faults)
        .start();
    for what in ["a", "b", "c"] {
        relay.tell(Forward(what)).await.unwrap();
    }
    probe.expect_eq(Price("a")).await;
    probe.expect_none(MS * 99).await;
    testing::advance(&system, MS).await.unwrap();
    // What came behind the late one was late as well.
    assert_eq!(probe.take(), [Price("b"), Price("c")]);
    // And what comes now isn't.
    relay.tell(Forward("d")).await.unwrap();
    testing::settle(&system).await.unwrap();
    assert_eq!(probe.take(), [Price("d")]);
    assert_eq!(faults.injected()[0].kind, FaultKind::Delay(MS * 100));
}

/// Passes on what it gets.
struct Relay(Recipient<Price>);

#[derive(Message)]
struct Forward(&'static str);

impl Actor for Relay {}

impl Handler<Forward> for Relay {
    async fn handle(&mut self, Forward(what): Forward, _: &mut Context<Self>) {
        self.0.tell(Price(what)).await.unwrap();
    }
}

#[callboard::test]
async fn g09_the_deadline_of_a_late_message_runs_on(system: System) {
    let faults = Faults::new().with(Fault::delay(MS * 100).nth(1));
    let (worker, log) = faulty(&system, &faults);
    let error = worker.ask(Note(1)).deadline(MS * 60).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::DeadlineExceeded, Verdict::NotExecuted)
    );
    testing::advance(&system, MS * 100).await.unwrap();
    assert_eq!(log.lines(), [""; 0]);
    // With more patience it arrives.
    let faults = Faults::new().with(Fault::delay(MS * 100));
    let (worker, _) = faulty(&system, &faults);
    let start = system.clock().now();
    assert_eq!(worker.ask(Note(2)).await.unwrap(), 2);
    assert_eq!(system.clock().now().since(start), MS * 100);
}

#[callboard::test(both)]
async fn g03_too_many_late_messages_are_refused_and_none_is_lost(system: System) {
    // The first is so late that nothing arrives while we look.
    let faults = Faults::new().with(Fault::delay(Duration::from_secs(3_600)));
    let (worker, log) = faulty(&system, &faults);
    let mut accepted = 0;
    let refused = loop {
        match worker.try_tell(Note(accepted)) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        // Lets the first one be taken in hand, which makes room for one more.
        testing::settle(&system).await.unwrap();
    };
    assert_eq!(accepted, u64::try_from(LATE_CAPACITY).unwrap() + 1);
    assert_eq!(
        (refused.kind(), refused.verdict()),
        (FailureKind::Full, Verdict::NotExecuted)
    );
    assert_eq!(refused.into_message(), Some(Note(accepted)));
    // Signals are not late; and who has ended says so at once.
    worker.stop();
    worker.wait().await;
    assert_eq!(log.lines(), ["stopped: stopped", "dropped"]);
    assert_eq!(
        worker.try_tell(Note(0)).unwrap_err().kind(),
        FailureKind::Stopped
    );
    if system.clock().is_manual() {
        testing::advance(&system, Duration::from_secs(3_600))
            .await
            .unwrap();
        assert_eq!(system.counters().drops(DropReason::Stopped), accepted);
    }
}

#[callboard::test]
async fn a_late_message_waits_for_room_like_any_other(system: System) {
    let faults = Faults::new().with(Fault::delay(MS * 10).of::<Note>());
    let log = Log::default();
    let inner = log.clone();
    let worker = system
        .actor(move || Worker { log: inner })
        .mailbox(1, Overflow::Wait)
        .faults(&faults)
        .start();
    let (hold, began, gate) = Hold::new();
    worker.tell(hold).await.unwrap();
    began.await.unwrap();
    for n in 0..4 {
        worker.tell(Note(n)).await.unwrap();
    }
    testing::advance(&system, MS * 50).await.unwrap();
    assert_eq!(worker.mailbox().len, 1);
    gate.send(()).unwrap();
    testing::settle(&system).await.unwrap();
    assert_eq!(log.lines()[2..], ["note 0", "note 1", "note 2", "note 3"]);
}

/// Which of a hundred messages a probability strikes, under a seed.
fn struck(seed: u64, probability: f64) -> Vec<u64> {
    let mut simulation = callboard::Simulation::new(seed);
    let system = simulation.system().clone();
    simulation.block_on(async move {
        let fault = Fault::drop().with_probability(probability);
        let faults = Faults::new().with(fault);
        let (worker, _) = faulty(&system, &faults);
        for n in 0..100 {
            worker.tell(Note(n)).await.unwrap();
        }
        let numbers = faults
            .injected()
            .into_iter()
            .map(|injected| injected.number);
        numbers.collect()
    })
}

#[test]
fn g38_drawn_faults_are_a_function_of_the_seed() {
    assert_eq!(struck(1, 0.3), struck(1, 0.3));
    assert_ne!(struck(1, 0.3), struck(2, 0.3));
    assert!(
        (15..=45).contains(&struck(1, 0.3).len()),
        "{:?}",
        struck(1, 0.3)
    );
    assert_eq!(struck(1, 0.0), [0; 0]);
    assert_eq!(struck(1, 1.0), (1..=100).collect::<Vec<_>>());
}

#[callboard::test]
async fn g03_the_record_is_bounded_and_the_count_is_not(system: System) {
    let faults = Faults::new().with(Fault::drop());
    let (worker, _) = faulty(&system, &faults);
    let sent = u64::try_from(INJECTED_CAPACITY).unwrap() + 10;
    for n in 0..sent {
        worker.tell(Note(n)).await.unwrap();
    }
    assert_eq!(
        (faults.count(), faults.injected().len()),
        (sent, INJECTED_CAPACITY)
    );
    assert_eq!(faults.injected()[0].number, 11, "the oldest went");
}

#[callboard::test(both)]
async fn an_actor_without_faults_has_nothing_of_its_neighbours(system: System) {
    let faults = Faults::new().with(Fault::panic());
    let (struck, _) = faulty(&system, &faults);
    let (worker, _) = worker(&system);
    assert_eq!(worker.ask(Note(1)).await.unwrap(), 1);
    struck.ask(Note(1)).await.unwrap_err();
    assert_eq!(worker.ask(Note(2)).await.unwrap(), 2);
}

#[test]
fn faults_that_make_no_sense_are_refused() {
    let check = |make: fn() -> Fault, wrong: &str| {
        let payload = std::panic::catch_unwind(make).unwrap_err();
        let text = match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
        };
        assert!(text.contains(wrong), "{text}");
    };
    check(|| Fault::drop().nth(0), "counted from 1");
    check(
        || Fault::drop().with_probability(1.5),
        "1.5 is no probability",
    );
    check(
        || Fault::drop().with_probability(f64::NAN),
        "NaN is no probability",
    );
    check(
        || Fault::panic().told(Failure::new(FailureKind::Full, Verdict::NotExecuted)),
        "only a fault that drops",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a model: which messages are lost, which panic, and when each is handled.
    #[test]
    fn faults_by_number_do_what_a_list_says(
        sent in 1_u64..40,
        lost in proptest::option::of(1_u64..40),
        late in proptest::option::of((1_u64..40, 1_u32..50)),
        panics in proptest::option::of(1_u64..40),
        seed in 0_u64..1_000,
    ) {
        let mut expected = Vec::new();
        let mut begun = 0;
        let mut failed = false;
        for n in 1..=sent {
            // The fault that was added first wins, and each counts what arrives.
            if lost == Some(n) || failed {
                continue;
            }
            begun += 1;
            if panics == Some(begun) {
                failed = true;
                continue;
            }
            expected.push(format!("note {n}"));
        }
        let mut faults = Faults::new();
        if let Some(n) = lost {
            faults = faults.with(Fault::drop().nth(n));
        }
        if let Some((n, span)) = late {
            faults = faults.with(Fault::delay(MS * span).nth(n));
        }
        if let Some(n) = panics {
            faults = faults.with(Fault::panic().nth(n));
        }
        testing::seeds(seed..seed + 1, |system| {
            let (faults, expected) = (faults.clone(), expected.clone());
            async move {
                let (worker, log) = faulty(&system, &faults);
                for n in 1..=sent {
                    worker.tell(Note(n)).await.unwrap();
                }
                testing::advance(&system, MS * 100).await.unwrap();
                let mut lines = log.lines();
                lines.retain(|line| line.starts_with("note"));
                assert_eq!(lines, expected);
                assert_eq!(worker.is_alive(), !failed);
            }
        });
    }
}
