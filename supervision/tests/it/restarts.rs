//! What a restart keeps, and what it costs: G13, G15, G16.

use std::time::Duration;

use callboard::{ExitReason, FailureKind, Incarnation, System, Verdict};
use callboard_supervision::{Backoff, Child, ChildState, Observe, Supervisor};
use futures::channel::oneshot;

use crate::common::{Bench, Crash, Hold, Leave, Note, brisk, ms, secs};

#[callboard::test(both)]
async fn g13_references_stay_valid_and_what_is_queued_is_kept(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let pages = Supervisor::builder("pages")
        .backoff(brisk())
        .child(place)
        .start(&system)
        .unwrap();
    let (begun_tx, begun) = oneshot::channel();
    let (gate, gate_rx) = oneshot::channel::<()>();
    let hold = Hold {
        begun: begun_tx,
        gate: gate_rx,
    };
    let in_hand = worker.ask(hold);
    let queued = async {
        begun.await.unwrap();
        let first = worker.ask(Note(1));
        let second = worker.ask(Note(2));
        drop(gate);
        futures::future::join(first.into_future(), second.into_future()).await
    };
    let (in_hand, (first, second)) = futures::future::join(in_hand.into_future(), queued).await;
    // The asker of the message in hand is told, at once and with what is known.
    let failure = in_hand.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Panicked);
    assert_eq!(failure.verdict(), Verdict::Executed);
    // What was queued is handled by the next incarnation, in order, over the same reference.
    assert_eq!(first.unwrap(), (1, 2));
    assert_eq!(second.unwrap(), (2, 2));
    assert_eq!(worker.incarnation(), Incarnation(2));
    assert_eq!(pages.restarts(), 1);
    pages.stop();
    pages.wait().await;
}

#[callboard::test(both)]
async fn g13_the_old_incarnation_has_ended_before_the_new_one_starts(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let pages = Supervisor::builder("pages")
        .backoff(Backoff::none())
        .child(place)
        .start(&system)
        .unwrap();
    for _ in 0..3 {
        worker.ask(Crash).await.unwrap_err();
    }
    assert_eq!(worker.ask(Note(0)).await.unwrap(), (0, 4));
    pages.stop();
    pages.wait().await;
    let mut expected = Vec::new();
    for n in 1..=3 {
        expected.push(format!("worker starts {n}"));
        expected.push("worker dropped".to_owned());
    }
    expected.extend(["worker starts 4", "worker stopped", "worker dropped"].map(str::to_owned));
    assert_eq!(bench.log.lines(), expected);
}

#[callboard::test(both)]
async fn g15_only_the_child_that_failed_is_restarted(system: System) {
    let bench = Bench::new(&system);
    let (left, left_place, _) = bench.worker("left");
    let (right, right_place, _) = bench.worker("right");
    let pages = Supervisor::builder("pages")
        .backoff(brisk())
        .child(left_place)
        .child(right_place)
        .start(&system)
        .unwrap();
    pages.up().await.unwrap();
    left.ask(Crash).await.unwrap_err();
    assert_eq!(left.ask(Note(1)).await.unwrap(), (1, 2));
    assert_eq!(right.ask(Note(1)).await.unwrap(), (1, 1));
    let tree = pages.ask(Observe).await.unwrap();
    assert_eq!(tree.state, ChildState::Running);
    let failed = tree.find("left").unwrap();
    assert_eq!((failed.restarts, failed.incarnation), (1, Incarnation(2)));
    assert_eq!(failed.last_cause.as_deref(), Some("failed: told to crash"));
    let other = tree.find("right").unwrap();
    assert_eq!((other.restarts, other.incarnation), (0, Incarnation(1)));
    assert_eq!(other.mailbox.unwrap().len, 0);
    pages.stop();
    pages.wait().await;
}

#[callboard::test(both)]
async fn g15_restart_policies(system: System) {
    for (make, after_leave, after_crash) in [
        (Child::permanent as fn(_) -> _, true, true),
        (Child::transient as fn(_) -> _, false, true),
        (Child::temporary as fn(_) -> _, false, false),
    ] {
        let bench = Bench::new(&system);
        let (leaver, leaver_place, _) = bench.worker("leaver");
        let (crasher, crasher_place, _) = bench.worker("crasher");
        let pages = Supervisor::builder("pages")
            .backoff(brisk())
            .child(make(Child::from(leaver_place)))
            .child(make(Child::from(crasher_place)))
            .start(&system)
            .unwrap();
        pages.up().await.unwrap();
        leaver.ask(Leave).await.unwrap();
        crasher.ask(Crash).await.unwrap_err();
        for (worker, again, reason) in [
            (leaver, after_leave, ExitReason::Stopped),
            (
                crasher,
                after_crash,
                ExitReason::Failed("told to crash".into()),
            ),
        ] {
            if again {
                assert_eq!(worker.ask(Note(1)).await.unwrap(), (1, 2));
            } else {
                // Not to be started again is the end: its watchers are told, its queue is given up.
                assert_eq!(worker.wait().await, reason);
                assert_eq!(
                    worker.ask(Note(1)).await.unwrap_err().verdict(),
                    Verdict::NotExecuted
                );
            }
        }
        pages.stop();
        assert!(pages.wait().await.is_normal());
    }
}

#[callboard::test(both)]
async fn g15_past_the_intensity_it_stops_its_children_and_fails_upward(system: System) {
    let bench = Bench::new(&system);
    let (calm, calm_place, _) = bench.worker("calm");
    let (wild, wild_place, _) = bench.worker("wild");
    let pages = Supervisor::builder("pages")
        .intensity(2, secs(60))
        .backoff(brisk())
        .child(calm_place)
        .child(wild_place)
        .start(&system)
        .unwrap();
    for _ in 0..3 {
        wild.ask(Crash).await.unwrap_err();
    }
    let ExitReason::Failed(cause) = pages.wait().await else {
        panic!("expected a failure");
    };
    assert!(
        cause.text().contains("`wild`")
            && cause.text().contains("told to crash")
            && cause.text().contains("more than 2"),
        "{cause}"
    );
    assert_eq!(calm.wait().await, ExitReason::Stopped);
    assert_eq!(
        wild.wait().await,
        ExitReason::Failed("told to crash".into())
    );
    let lines = bench.log.lines();
    assert_eq!(lines[lines.len() - 2..], ["calm stopped", "calm dropped"]);
    let tree = pages.observe();
    assert_eq!(tree.state, ChildState::Failed);
    assert_eq!(tree.find("wild").unwrap().state, ChildState::Failed);
    assert_eq!(tree.find("calm").unwrap().state, ChildState::Stopped);
}

#[callboard::test]
async fn g15_restarts_that_are_spread_out_never_add_up(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let pages = Supervisor::builder("pages")
        .intensity(1, secs(5))
        .child(place)
        .start(&system)
        .unwrap();
    for _ in 0..50 {
        worker.ask(Crash).await.unwrap_err();
        system.clock().sleep(ms(5_500)).await;
    }
    assert_eq!(worker.ask(Note(1)).await.unwrap(), (1, 51));
    assert_eq!(pages.restarts(), 50);
    assert!(pages.actor().is_alive());
}

#[callboard::test]
async fn g16_a_failed_start_counts_as_a_restart(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, failing) = bench.worker("worker");
    failing.next(3);
    let pages = Supervisor::builder("pages")
        .child(place)
        .start(&system)
        .unwrap();
    // The queue is kept over starts that fail, too.
    assert_eq!(worker.ask(Note(1)).await.unwrap(), (1, 4));
    assert_eq!(pages.restarts(), 3);
    let tree = pages.observe();
    let cause = tree.find("worker").unwrap().last_cause.clone();
    assert_eq!(cause.as_deref(), Some("failed: no luck"));
}

#[callboard::test]
async fn g16_a_child_that_never_comes_up_leads_to_giving_up_with_the_defaults(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, failing) = bench.worker("worker");
    failing.next(u32::MAX);
    let (_, other, _) = bench.worker("never reached");
    let before = system.clock().now();
    let pages = Supervisor::builder("pages")
        .child(place)
        .child(other)
        .start(&system)
        .unwrap();
    let ExitReason::Failed(cause) = pages.up().await.unwrap_err() else {
        panic!("expected a failure");
    };
    assert!(
        cause.text().contains("did not start") && cause.text().contains("no luck"),
        "{cause}"
    );
    // Five waits of at most 100, 200, 400, 800 and 1,600 ms.
    assert!(system.clock().now().since(before) <= ms(3_100));
    assert_eq!(bench.log.lines().len(), 12, "six starts, each dropped");
    assert_eq!(worker.wait().await, ExitReason::Failed("no luck".into()));
}

#[callboard::test]
async fn g16_waits_grow_and_start_over_after_a_stable_time(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let backoff = Backoff {
        base: secs(1),
        cap: secs(8),
        stable: secs(60),
    };
    let pages = Supervisor::builder("pages")
        .intensity(1_000, secs(1))
        .backoff(backoff)
        .child(place)
        .start(&system)
        .unwrap();
    let mut longest = Duration::ZERO;
    for round in 0..40u32 {
        let before = system.clock().now();
        worker.ask(Crash).await.unwrap_err();
        let tree = pages
            .until(|tree| {
                matches!(
                    tree.find("worker").unwrap().state,
                    ChildState::BackingOff { .. }
                )
            })
            .await;
        let ChildState::BackingOff {
            attempt,
            retry_in_ms,
        } = tree.find("worker").unwrap().state
        else {
            panic!("not backing off");
        };
        assert_eq!(attempt, round + 1);
        assert!(u128::from(retry_in_ms) <= backoff.ceiling(round).as_millis());
        worker.ask(Note(1)).no_deadline().await.unwrap();
        let waited = system.clock().now().since(before);
        assert!(
            waited <= backoff.ceiling(round),
            "round {round}: {waited:?}"
        );
        longest = longest.max(waited);
    }
    assert!(longest > secs(4), "the cap is 8 s: {longest:?}");
    system.clock().sleep(secs(60)).await;
    let before = system.clock().now();
    worker.ask(Crash).await.unwrap_err();
    worker.ask(Note(1)).await.unwrap();
    assert!(system.clock().now().since(before) <= secs(1));
}

#[callboard::test]
async fn g16_a_stop_request_is_served_during_back_off(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let backoff = Backoff {
        base: secs(3_600),
        cap: secs(3_600),
        stable: secs(10),
    };
    let pages = Supervisor::builder("pages")
        .backoff(backoff)
        .child(place)
        .start(&system)
        .unwrap();
    worker.ask(Crash).await.unwrap_err();
    pages
        .until(|tree| {
            matches!(
                tree.find("worker").unwrap().state,
                ChildState::BackingOff { .. }
            )
        })
        .await;
    let before = system.clock().now();
    pages.stop();
    assert!(pages.wait().await.is_normal());
    assert_eq!(system.clock().now(), before);
    assert_eq!(bench.log.lines(), ["worker starts 1", "worker dropped"]);
    assert!(!worker.is_alive());
}

#[callboard::test]
async fn g03_a_full_mailbox_of_its_own_delays_no_restart(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let pages = Supervisor::builder("pages")
        .backoff(brisk())
        .child(place)
        .start(&system)
        .unwrap();
    pages.up().await.unwrap();
    let mut asks = Vec::new();
    for _ in 0..2_000 {
        asks.push(pages.ask(Observe).into_future());
    }
    let flood = futures::future::join_all(asks);
    let restart = async {
        worker.ask(Crash).await.unwrap_err();
        worker.ask(Note(1)).await.unwrap()
    };
    let (answers, note) = futures::future::join(flood, restart).await;
    assert_eq!(note, (1, 2));
    assert!(answers.iter().all(Result::is_ok));
}

/// An order to drain is carried out by one incarnation, and not by all that follow.
#[callboard::test(both)]
async fn g13_a_drained_child_that_is_permanent_serves_again(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let pages = Supervisor::builder("pages")
        .backoff(brisk())
        .child(place)
        .start(&system)
        .unwrap();
    pages.up().await.unwrap();
    worker.drain();
    pages
        .until(|tree| {
            let worker = tree.find("worker").unwrap();
            worker.restarts == 1 && worker.state == ChildState::Running
        })
        .await;
    assert_eq!(worker.ask(Note(1)).await.unwrap(), (1, 2));
    pages.stop();
    assert!(pages.wait().await.is_normal());
}

/// One that comes while there is no incarnation is for the next.
#[callboard::test]
async fn g13_an_order_to_drain_is_not_forgotten_during_back_off(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let pages = Supervisor::builder("pages").child(Child::transient(place));
    let pages = pages.start(&system).unwrap();
    worker.ask(Crash).await.unwrap_err();
    let queued = worker.ask(Note(1)).into_future();
    pages
        .until(|tree| {
            let state = tree.find("worker").unwrap().state;
            matches!(state, ChildState::BackingOff { .. })
        })
        .await;
    let (noted, reason) = futures::future::join(queued, async {
        worker.drain();
        worker.wait().await
    })
    .await;
    assert_eq!(noted.unwrap(), (1, 2));
    assert_eq!(reason, ExitReason::Stopped);
}
