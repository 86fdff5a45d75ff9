//! The test kit: the runner of tests, seeds, and systems that see nothing of each other.

use std::process::Command;
use std::sync::Mutex;

use callboard::testing::{self, On, Test};
use callboard::{DropReason, ExitReason, Simulation, System};

use crate::common::{Boom, Note, worker};
use crate::kit::{MS, failure_of};

/// Whether the environment chooses the seeds, in place of the tests.
fn seeds_are_chosen() -> bool {
    let names = ["CALLBOARD_SEED", "CALLBOARD_SEEDS"];
    names.iter().any(|name| std::env::var_os(name).is_some())
}

/// What one of several systems does that run at the same time, all under the same names.
async fn alone(system: System, share: u64) {
    let (first, log) = worker(&system);
    for n in 0..share {
        first.tell(Note(n)).await.unwrap();
    }
    first.ask(Boom).await.unwrap_err();
    assert_eq!(first.wait().await, ExitReason::Failed("boom".into()));
    let (second, _) = worker(&system);
    for _ in 0..share {
        drop(
            second
                .ask(Note(0))
                .deadline(std::time::Duration::ZERO)
                .await,
        );
    }
    testing::settle(&system).await.unwrap();
    let labels: Vec<_> = system
        .actors()
        .iter()
        .map(|actor| actor.label.clone())
        .collect();
    assert_eq!(labels, ["worker"], "only its own actors");
    assert_eq!(system.counters().panics(), 1, "only its own panics");
    let notes = log
        .lines()
        .iter()
        .filter(|line| line.starts_with("note"))
        .count();
    assert_eq!(u64::try_from(notes).unwrap(), share);
    second.stop();
    second.wait().await;
    // A refused send gives the message back and isn't lost; each lost one is its own.
    let lost = system.counters().drops(DropReason::Stopped);
    assert_eq!(
        system.dead_letters().len() as u64,
        lost + dropped_late(&system)
    );
}

/// Those that came too late for their deadline.
fn dropped_late(system: &System) -> u64 {
    let counters = system.counters();
    counters.drops(DropReason::Expired) + counters.drops(DropReason::Withdrawn)
}

#[test]
fn systems_at_the_same_time_see_nothing_of_each_other() {
    std::thread::scope(|scope| {
        for share in 1..=4 {
            for on in [On::Simulated, On::Arbiters] {
                scope.spawn(move || {
                    Test::new(on)
                        .seeds(8)
                        .run(move |system| alone(system, share));
                });
            }
        }
    });
}

#[callboard::test(arbiters)]
async fn a_system_inside_a_test_of_another_is_its_own(system: System) {
    let (outer, _) = worker(&system);
    let other = System::with_arbiters(1).unwrap();
    let (inner, _) = worker(&other);
    inner.ask(Boom).await.unwrap_err();
    assert_eq!(outer.ask(Note(3)).await.unwrap(), 3);
    let panics = (system.counters().panics(), other.counters().panics());
    assert_eq!(panics, (0, 1));
    assert_eq!(system.actors().len(), 1);
    other.shutdown().await;
    assert_eq!(outer.ask(Note(4)).await.unwrap(), 4);
}

#[callboard::test]
async fn g38_a_simulation_inside_another_has_time_and_seed_of_its_own(system: System) {
    let (outer, _) = worker(&system);
    outer.tell(Note(1)).await.unwrap();
    let mut simulation = Simulation::new(99);
    let other = simulation.system().clone();
    assert_eq!(testing::seed(&other), Some(99));
    simulation.block_on(async move {
        let (inner, _) = worker(&other);
        inner.ask(Boom).await.unwrap_err();
        testing::advance(&other, MS * 1_000).await.unwrap();
        assert_eq!((other.actors().len(), other.counters().panics()), (0, 1));
    });
    assert_eq!(
        system.clock().now().as_nanos(),
        0,
        "only the other's time passed"
    );
    assert_eq!(outer.ask(Note(2)).await.unwrap(), 2);
    assert_eq!((system.actors().len(), system.counters().panics()), (1, 0));
}

static SEEN: Mutex<Vec<(usize, Option<u64>)>> = Mutex::new(Vec::new());

#[callboard::test(both, seeds = 3, arbiters = 3)]
async fn noted(system: System) {
    let seed = testing::seed(&system);
    SEEN.lock().unwrap().push((system.arbiter_count(), seed));
}

#[test]
fn the_options_of_a_test_say_how_many_seeds_and_arbiters() {
    // It is a test of its own as well, which may run at the same time.
    noted();
    let seen = SEEN.lock().unwrap();
    let seeds = if seeds_are_chosen() { 0..0 } else { 0..3 };
    for expected in seeds.map(Some).chain([None]) {
        assert!(
            seen.contains(&(3, expected)),
            "{expected:?} is not among {seen:?}"
        );
    }
    assert!(seen.iter().all(|(arbiters, _)| *arbiters == 3), "{seen:?}");
}

#[test]
fn g38_each_seed_is_a_run_of_its_own_and_the_same_again() {
    let draws = || {
        let draws = Mutex::new(Vec::new());
        testing::seeds(5..9, |system| {
            let draw = (testing::seed(&system).unwrap(), system.entropy().next_u64());
            draws.lock().unwrap().push(draw);
            async {}
        });
        draws.into_inner().unwrap()
    };
    let first = draws();
    let seeds: Vec<_> = first.iter().map(|(seed, _)| *seed).collect();
    if !seeds_are_chosen() {
        assert_eq!(seeds, [5, 6, 7, 8]);
    }
    assert_eq!(draws(), first);
}

#[test]
fn a_test_that_would_never_end_fails() {
    let text = failure_of(On::Simulated, |_| std::future::pending());
    assert!(
        text.contains("every task waits and no timer is armed (seed "),
        "{text}"
    );
    let run = || {
        Test::new(On::Arbiters)
            .limit(MS * 20)
            .run(|system: System| async move {
                let (held, _, gate) = crate::common::held_worker(&system, 8).await;
                held.tell(Note(1)).await.unwrap();
                std::future::pending::<()>().await;
                drop(gate);
            });
    };
    let payload = std::panic::catch_unwind(run).unwrap_err();
    let text = payload.downcast::<String>().unwrap();
    assert!(
        text.contains("on arbiters (hand-off true) the test has not ended within 20ms"),
        "{text}"
    );
    assert!(text.contains("worker#"), "{text}");
}

#[test]
fn a_test_that_returns_an_error_fails_with_it() {
    let run = || {
        Test::new(On::Both).run(|_| async { Err::<(), _>("no tea left") });
    };
    let payload = std::panic::catch_unwind(run).unwrap_err();
    assert_eq!(
        *payload.downcast::<String>().unwrap(),
        "the test returned an error: \"no tea left\""
    );
}

/// Says to the test below that it runs as a program of its own.
const FIXTURE: &str = "CALLBOARD_TEST_FIXTURE";

/// Fails under seeds 3 and 77, if it is asked to.
#[callboard::test(seeds = 5)]
async fn fails_when_asked_to(system: System) {
    if std::env::var_os(FIXTURE).is_some() {
        let seed = testing::seed(&system).unwrap();
        println!("ran under {seed}");
        assert!(seed != 3 && seed != 77, "as asked");
    }
}

/// Runs that test as a program of its own.
fn run_fixture(variables: &[(&str, &str)]) -> (bool, String) {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program
        .args(["--exact", "kit_runner::fails_when_asked_to", "--nocapture"])
        .env_remove("CALLBOARD_SEED")
        .env_remove("CALLBOARD_SEEDS")
        .env(FIXTURE, "1");
    for (name, value) in variables {
        program.env(name, value);
    }
    let output = program.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

#[test]
fn g38_a_failure_names_the_seed_and_what_repeats_it() {
    let (passed, text) = run_fixture(&[]);
    assert!(!passed, "{text}");
    let line = "failed under seed 3; to repeat this run: CALLBOARD_SEED=3 cargo test \
                kit_runner::fails_when_asked_to";
    assert!(text.contains(line), "{text}");
    assert!(
        !text.contains("ran under 4"),
        "it ends at the first failure: {text}"
    );

    let (passed, text) = run_fixture(&[("CALLBOARD_SEED", "77")]);
    assert!(!passed && text.contains("failed under seed 77"), "{text}");
    assert!(!text.contains("ran under 0"), "only that one: {text}");

    let (passed, text) = run_fixture(&[("CALLBOARD_SEEDS", "2")]);
    assert!(
        passed && text.contains("ran under 1") && !text.contains("ran under 2"),
        "{text}"
    );

    let (passed, text) = run_fixture(&[("CALLBOARD_SEED", "seven")]);
    assert!(
        !passed && text.contains("CALLBOARD_SEED=seven is no number"),
        "{text}"
    );
}
