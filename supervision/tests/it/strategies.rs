//! Groups, children at run time, decisions by class, events: G15.

use callboard::topic::{SubscriberOptions, TopicEvent};
use callboard::{ExitReason, FailureClass, Fault, System};
use callboard_supervision::{
    ALL_EVENTS, Child, ChildErrorKind, ChildState, Decision, Strategy, Supervisor, TreeEventKind,
};
use futures::StreamExt;

use crate::common::{Bench, Crash, Fail, Note, brisk, secs};

async fn after_a_crash_of_b(system: &System, strategy: Strategy) -> Vec<String> {
    let bench = Bench::new(system);
    let mut refs = Vec::new();
    let mut builder = Supervisor::builder("pages")
        .strategy(strategy)
        .backoff(brisk());
    for name in ["a", "b", "c"] {
        let (worker, place, _) = bench.worker(name);
        refs.push(worker);
        builder = builder.child(place);
    }
    let pages = builder.start(system).unwrap();
    pages.up().await.unwrap();
    let before = bench.log.lines().len();
    refs[1].ask(Crash).await.unwrap_err();
    for worker in &refs {
        worker.ask(Note(1)).await.unwrap();
    }
    pages
        .until(|tree| {
            tree.children
                .iter()
                .all(|child| child.state == ChildState::Running)
        })
        .await;
    let lines = bench.log.lines()[before..].to_vec();
    assert_eq!(pages.restarts(), 1, "a group's restart counts once");
    pages.stop();
    assert!(pages.wait().await.is_normal());
    lines
}

#[callboard::test(both)]
async fn g15_one_for_all_ends_all_in_reverse_and_starts_all_in_order(system: System) {
    let lines = after_a_crash_of_b(&system, Strategy::OneForAll).await;
    let expected = [
        "b dropped",
        "c stopped",
        "c dropped",
        "a stopped",
        "a dropped",
        "a starts 2",
        "b starts 2",
        "c starts 2",
    ];
    assert_eq!(lines, expected);
}

#[callboard::test(both)]
async fn g15_rest_for_one_leaves_those_before_alone(system: System) {
    let lines = after_a_crash_of_b(&system, Strategy::RestForOne).await;
    let expected = [
        "b dropped",
        "c stopped",
        "c dropped",
        "b starts 2",
        "c starts 2",
    ];
    assert_eq!(lines, expected);
}

#[callboard::test(both)]
async fn g15_children_are_added_held_started_again_and_removed(system: System) {
    let bench = Bench::new(&system);
    let pages = Supervisor::builder("pages")
        .dynamic()
        .backoff(brisk())
        .max_children(2)
        .start(&system)
        .unwrap();
    let (worker, place, _) = bench.worker("worker");
    let id = pages.add(place).await.unwrap();
    assert_eq!(pages.child("worker"), Some(id));
    assert_eq!(worker.ask(Note(1)).await.unwrap(), (1, 1));
    pages.hold(id).await.unwrap();
    assert_eq!(
        pages.observe().find("worker").unwrap().state,
        ChildState::Held
    );
    // Its reference is valid, and what is sent waits.
    let waits = worker.ask(Note(2)).into_future();
    pages.start_again(id).await.unwrap();
    assert_eq!(waits.await.unwrap(), (2, 2));
    pages.start_again(id).await.unwrap();
    assert_eq!(worker.ask(Note(3)).await.unwrap(), (3, 3));
    assert_eq!(pages.restarts(), 0, "what was ordered is no restart");
    let (_, second, failing) = bench.worker("second");
    failing.next(1);
    let refused = pages.add(second).await.unwrap_err();
    assert!(
        matches!(
            refused.kind(),
            ChildErrorKind::Failed(ExitReason::Failed(_))
        ),
        "{refused}"
    );
    assert!(refused.into_child().is_none());
    pages.add(bench.worker("third").1).await.unwrap();
    let refused = pages.add(bench.worker("fourth").1).await.unwrap_err();
    assert_eq!(refused.kind(), &ChildErrorKind::TooMany(2));
    let fourth = refused.into_child().unwrap();
    pages.remove(id).await.unwrap();
    assert!(!worker.is_alive());
    assert!(worker.exit_reason().is_some());
    pages.add(fourth).await.unwrap();
    assert_eq!(
        pages.hold(id).await.unwrap_err().kind(),
        &ChildErrorKind::Unknown(id)
    );
    pages.stop();
    assert!(pages.wait().await.is_normal());
    let gone = pages.add(bench.worker("late").1).await.unwrap_err();
    assert_eq!(gone.kind(), &ChildErrorKind::NotRunning);
    assert!(gone.into_child().is_some());
}

#[callboard::test(both)]
async fn g15_the_class_of_a_failure_decides(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let (spare, spare_place, _) = bench.worker("spare");
    let spare_child = Child::permanent(spare_place).on_failure(FailureClass::Fatal, Decision::Stop);
    let inner = Supervisor::builder("inner").child(place).child(spare_child);
    let outer = Supervisor::builder("outer")
        .child(inner)
        .backoff(brisk())
        .start(&system)
        .unwrap();
    outer.up().await.unwrap();
    worker.ask(Fail(Fault::benign("a bad line"))).await.unwrap();
    assert_eq!(worker.ask(Note(1)).await.unwrap(), (1, 1), "it goes on");
    let tree = outer.observe();
    assert_eq!(tree.find("worker").unwrap().resumed, 1);
    assert_eq!(tree.restarts_below(), 0);
    spare.ask(Fail(Fault::fatal("no licence"))).await.unwrap();
    assert_eq!(
        spare.wait().await,
        ExitReason::Failed(Fault::fatal("no licence"))
    );
    assert_eq!(worker.ask(Note(1)).await.unwrap(), (1, 1));
    worker
        .ask(Fail(Fault::fatal("no such folder")))
        .await
        .unwrap();
    let ExitReason::Failed(cause) = outer.wait().await else {
        panic!("expected a failure");
    };
    assert_eq!(cause.class(), FailureClass::Fatal, "through both levels");
    assert!(
        cause.text().contains("`inner`") && cause.text().contains("no such folder"),
        "{cause}"
    );
}

#[callboard::test(both)]
async fn g15_what_happens_is_published(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let inner = Supervisor::builder("inner").backoff(brisk()).child(place);
    let outer = Supervisor::builder("outer")
        .child(inner)
        .start(&system)
        .unwrap();
    outer.up().await.unwrap();
    let events = outer.events();
    let mut events = events
        .subscribe(ALL_EVENTS, SubscriberOptions::default())
        .await
        .unwrap();
    worker.ask(Crash).await.unwrap_err();
    let mut names = Vec::new();
    while names.len() < 2 {
        let Some(TopicEvent::Message(event)) = events.next().await else {
            panic!("no event");
        };
        assert_eq!(event.path(), "outer/inner/worker");
        if let TreeEventKind::Failed { cause, attempt, .. } = &event.what {
            assert_eq!((cause.as_str(), *attempt), ("failed: told to crash", 1));
        }
        names.push(event.what.name());
    }
    assert_eq!(names, ["failed", "restarted"]);
    outer.stop();
    outer.wait().await;
    while let Some(event) = events.next().await {
        assert!(matches!(event, TopicEvent::Message(_)), "{event:?}");
    }
}

#[callboard::test]
async fn g15_the_worst_case_of_a_tree_multiplies(system: System) {
    let bench = Bench::new(&system);
    let inner = Supervisor::builder("inner")
        .intensity(5, secs(10))
        .child(bench.worker("leaf").1);
    let outer = Supervisor::builder("outer")
        .intensity(5, secs(10))
        .child(inner)
        .start(&system)
        .unwrap();
    let worst = outer.worst_case();
    // Six incarnations of `inner`, with six starts of the leaf each.
    assert_eq!(worst.starts, 6 + 36);
    // Half a restart a second of `inner`, each worth six starts below, and the leaf's own half.
    assert!(
        (worst.starts_per_second - (0.5 + 0.5 * 6.0 + 0.5)).abs() < 1e-9,
        "{worst}"
    );
    outer.up().await.unwrap();
    let drawn = format!("{:#}", outer.observe());
    let expected = "\
outer (supervisor): running, 0 of 5 restarts in 10s, mailbox 0/1024
`-- inner (supervisor): running, 0 of 5 restarts in 10s, mailbox 0/1024
    `-- leaf (actor): running, mailbox 0/1024
at the worst 42 starts before it gives up, 4.0 a second for ever";
    assert_eq!(drawn, expected);
    outer.stop();
    outer.wait().await;
}
