//! Supervisors under supervisors: escalation, and no place started twice.

use callboard::{ExitReason, Incarnation, System};
use callboard_supervision::{AskExt, Backoff, CallPolicy, Child, ChildState, Supervisor};

use crate::common::{Bench, Crash, Note, brisk, ms, secs};

#[callboard::test(both)]
async fn g15_a_nested_supervisor_is_up_when_its_children_are(system: System) {
    let bench = Bench::new(&system).slow(ms(2));
    let (_, inner) = Supervisor::builder("inner")
        .child(bench.worker("a").1)
        .child(bench.worker("b").1)
        .place(&system)
        .unwrap();
    let outer = Supervisor::builder("outer")
        .child(inner)
        .child(bench.worker("c").1)
        .start(&system)
        .unwrap();
    outer.up().await.unwrap();
    outer.stop();
    assert!(outer.wait().await.is_normal());
    let expected = [
        "a starts 1",
        "b starts 1",
        "c starts 1",
        "c stopped",
        "c dropped",
        "b stopped",
        "b dropped",
        "a stopped",
        "a dropped",
    ];
    assert_eq!(bench.log.lines(), expected);
}

#[callboard::test(both)]
async fn g15_escalation_restarts_the_subtree_and_keeps_references(system: System) {
    let bench = Bench::new(&system);
    let (wild, wild_place, _) = bench.worker("wild");
    let (calm, calm_place, _) = bench.worker("calm");
    let (inner, inner_child) = Supervisor::builder("inner")
        .intensity(1, secs(60))
        .backoff(brisk())
        .child(calm_place)
        .child(wild_place)
        .place(&system)
        .unwrap();
    let outer = Supervisor::builder("outer")
        .backoff(brisk())
        .child(inner_child)
        .start(&system)
        .unwrap();
    wild.ask(Crash).await.unwrap_err();
    wild.ask(Crash).await.unwrap_err();
    // The second crash is one too many for `inner`, which fails, and is itself started again.
    assert_eq!(wild.ask(Note(1)).await.unwrap(), (1, 3));
    assert_eq!(calm.ask(Note(1)).await.unwrap(), (1, 2));
    let tree = outer
        .until(|tree| tree.find("inner").unwrap().state == ChildState::Running)
        .await;
    let node = tree.find("inner").unwrap();
    assert_eq!((node.restarts, node.incarnation), (1, Incarnation(2)));
    let cause = node.last_cause.clone().unwrap();
    assert!(
        cause.contains("`wild`") && cause.contains("told to crash"),
        "{cause}"
    );
    assert_eq!(outer.restarts(), 2, "one of `wild`, one of `inner`");
    assert_eq!(inner.restarts(), 1);
    outer.stop();
    outer.wait().await;
    inner.wait().await;
    assert!(!wild.is_alive() && !calm.is_alive());
}

#[callboard::test(both)]
async fn g15_causes_are_chained_up_to_the_top(system: System) {
    let bench = Bench::new(&system);
    let (wild, wild_place, _) = bench.worker("wild");
    let (_, inner) = Supervisor::builder("inner")
        .intensity(0, secs(1))
        .child(wild_place)
        .place(&system)
        .unwrap();
    let (_, middle) = Supervisor::builder("middle")
        .intensity(0, secs(1))
        .child(inner)
        .place(&system)
        .unwrap();
    let top = Supervisor::builder("top")
        .intensity(0, secs(1))
        .child(middle)
        .start(&system)
        .unwrap();
    top.up().await.unwrap();
    wild.ask(Crash).await.unwrap_err();
    let ExitReason::Failed(cause) = top.wait().await else {
        panic!("expected a failure");
    };
    let places: Vec<_> = ["`middle`", "`inner`", "`wild`", "told to crash"]
        .iter()
        .map(|part| cause.text().find(part))
        .collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{cause}"
    );
}

/// The next incarnation of a killed supervisor finds every place free.
#[callboard::test(both)]
async fn g13_a_killed_supervisors_children_have_ended_before_it_starts_again(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let (inner, inner_child) = Supervisor::builder("inner")
        .child(place)
        .place(&system)
        .unwrap();
    let outer = Supervisor::builder("outer")
        .backoff(Backoff::none())
        .child(inner_child)
        .start(&system)
        .unwrap();
    outer.up().await.unwrap();
    for round in 1..4u64 {
        inner.actor().kill();
        outer
            .until(|tree| {
                let inner = tree.find("inner").unwrap();
                inner.incarnation == Incarnation(round + 1) && inner.state == ChildState::Running
            })
            .await;
        let note = worker.ask(Note(1)).await.unwrap();
        assert_eq!(note, (1, round + 1));
    }
    outer.stop();
    outer.wait().await;
    let lines = bench.log.lines();
    let mut alive = 0;
    for line in &lines {
        match line.as_str() {
            "worker dropped" => alive -= 1,
            line if line.starts_with("worker starts") => alive += 1,
            _ => {}
        }
        assert!((0..=1).contains(&alive), "{lines:?}");
    }
}

#[callboard::test]
async fn g16_a_nested_supervisor_that_never_comes_up_is_a_failed_start(system: System) {
    let bench = Bench::new(&system);
    let (_, place, failing) = bench.worker("worker");
    failing.next(u32::MAX);
    let (_, inner) = Supervisor::builder("inner")
        .intensity(1, secs(10))
        .child(place)
        .place(&system)
        .unwrap();
    let outer = Supervisor::builder("outer")
        .intensity(1, secs(60))
        .child(inner)
        .start(&system)
        .unwrap();
    let ExitReason::Failed(cause) = outer.wait().await else {
        panic!("expected a failure");
    };
    assert!(
        cause.text().contains("`inner` (supervisor) did not start"),
        "{cause}"
    );
    assert!(
        cause.text().contains("`worker`") && cause.text().contains("no luck"),
        "{cause}"
    );
}

#[callboard::test(both)]
async fn g15_a_temporary_supervisor_that_fails_stays_down_alone(system: System) {
    let bench = Bench::new(&system);
    let (wild, wild_place, _) = bench.worker("wild");
    let (calm, calm_place, _) = bench.worker("calm");
    let (inner, inner_child) = Supervisor::builder("inner")
        .intensity(0, secs(1))
        .child(wild_place)
        .place(&system)
        .unwrap();
    let outer = Supervisor::builder("outer")
        .child(Child::temporary(inner_child))
        .child(calm_place)
        .start(&system)
        .unwrap();
    outer.up().await.unwrap();
    wild.ask(Crash).await.unwrap_err();
    assert!(matches!(inner.wait().await, ExitReason::Failed(_)));
    assert!(!wild.is_alive());
    assert_eq!(calm.ask(Note(1)).await.unwrap(), (1, 1));
    let state = outer.observe().find("inner").unwrap().state;
    assert_eq!(state, ChildState::Failed);
}

#[callboard::test(both)]
async fn a_supervisor_hands_out_the_policies_of_its_children(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let (_, other, _) = bench.worker("other");
    let policy = CallPolicy::with_defaults("patient");
    let inner = Supervisor::builder("inner").child(Child::permanent(place).policy(&policy));
    let outer = Supervisor::builder("outer")
        .child(inner)
        .child(other)
        .start(&system)
        .unwrap();
    outer.up().await.unwrap();
    let handed_out = outer.policy("worker").unwrap();
    assert_eq!(
        worker.ask(Note(1)).policy(&handed_out).await.unwrap(),
        (1, 1)
    );
    assert_eq!(policy.stats().requests, 1, "it is the same one");
    assert!(outer.policy("other").is_none() && outer.policy("nobody").is_none());
    let shown = outer.observe().find("worker").unwrap().policy.clone();
    assert_eq!(shown.as_deref(), Some("patient"));
}
