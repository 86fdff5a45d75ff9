//! OTP's documented edge cases, one by one (supervisor.erl; "Supervisor Behaviour" in OTP's design principles).

use std::sync::Arc;

use callboard::testing::{advance, settle};
use callboard::{ChildEvent, ExitReason, FailureClass, Fault, System};
use callboard_supervision::{
    AutoShutdown, Backoff, Child, ChildErrorKind, ChildState, Decision, Restart, Strategy,
    Supervisor, SupervisorBuilder, SupervisorRef, TreeProblem,
};

use crate::common::{ms, secs};
use crate::places::{FakePlace, World};

/// Children named a, b, c ... without any delay, of a supervisor without back-off.
fn builder(strategy: Strategy) -> SupervisorBuilder {
    Supervisor::builder("otp")
        .strategy(strategy)
        .intensity(3, secs(60))
        .backoff(Backoff::none())
}

fn places<const N: usize>(world: &World) -> [Arc<FakePlace>; N] {
    let names = ["a", "b", "c", "d"];
    std::array::from_fn(|n| world.place(names[n]))
}

async fn up(system: &System, builder: SupervisorBuilder) -> SupervisorRef {
    let supervisor = builder.start(system).unwrap();
    supervisor.up().await.unwrap();
    supervisor
}

fn failed(reason: &ExitReason) -> &Fault {
    match reason {
        ExitReason::Failed(fault) => fault,
        other => panic!("expected a failure, not {other}"),
    }
}

/// OTP gives the whole start up at the first failure; here each is one restart more, and the last one too many.
#[callboard::test(both)]
async fn g16_otp_a_child_that_fails_at_every_start(system: System) {
    let world = World::new(&system);
    let [a, b] = places(&world);
    b.ways(|ways| ways.failing = u32::MAX);
    let otp = builder(Strategy::OneForOne).child(a.of()).child(b.of());
    let otp = otp.start(&system).unwrap();
    let reason = otp.up().await.unwrap_err();
    assert!(
        failed(&reason).text().contains("`b` (task) did not start"),
        "{reason}"
    );
    otp.wait().await;
    let expected = [
        "start a", "start b", "start b", "start b", "start b", "stop a", "close b", "close a",
    ];
    assert_eq!(world.lines(), expected);
    world.check_over();
}

#[callboard::test(both)]
async fn g15_otp_a_temporary_child_is_not_started_again_as_collateral_either(system: System) {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let world = World::new(&system);
        let [a, b, c] = places(&world);
        // Killed by a sibling's failure, it doesn't count for an auto-shutdown.
        let otp = builder(strategy)
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(a.of())
            .child(Child::temporary(b.of()).significant())
            .child(c.of());
        let otp = up(&system, otp).await;
        a.crash();
        otp.until(|tree| tree.find("b").unwrap().state == ChildState::Stopped && c.starts() == 2)
            .await;
        otp.up().await.unwrap();
        assert_eq!((a.starts(), b.starts(), c.starts()), (2, 1, 2));
        assert_eq!(b.closed(), Some(ExitReason::Stopped));
        assert!(otp.actor().is_alive());
        otp.stop();
        otp.wait().await;
        world.check_over();
    }
}

#[callboard::test(both)]
async fn g15_otp_auto_shutdown_by_any_and_by_all(system: System) {
    let normal = || ExitReason::Stopped;
    let crash = || ExitReason::Failed("crash".into());
    // How the children end by themselves, and whether the supervisor then ends.
    let table = [
        (
            AutoShutdown::AnySignificant,
            Restart::Transient,
            normal(),
            true,
        ),
        (
            AutoShutdown::AnySignificant,
            Restart::Temporary,
            normal(),
            true,
        ),
        (
            AutoShutdown::AnySignificant,
            Restart::Temporary,
            crash(),
            true,
        ),
        (
            AutoShutdown::AnySignificant,
            Restart::Transient,
            crash(),
            false,
        ),
        (
            AutoShutdown::AllSignificant,
            Restart::Transient,
            normal(),
            false,
        ),
        (
            AutoShutdown::AllSignificant,
            Restart::Temporary,
            crash(),
            false,
        ),
    ];
    for (auto, restart, reason, ends) in table {
        let world = World::new(&system);
        let [a, b, c] = places(&world);
        let otp = builder(Strategy::OneForOne)
            .auto_shutdown(auto)
            .child(a.of())
            .child(Child::from(b.of()).restart(restart).significant())
            .child(Child::from(c.of()).restart(restart).significant());
        let otp = up(&system, otp).await;
        b.end(reason.clone());
        if !ends {
            let over = |state| matches!(state, ChildState::Stopped | ChildState::Failed);
            otp.until(|tree| b.starts() == 2 && b.is_up() || over(tree.find("b").unwrap().state))
                .await;
            assert!(otp.actor().is_alive());
            if auto == AutoShutdown::AllSignificant {
                c.end(reason);
            } else {
                otp.stop();
            }
        }
        assert_eq!(otp.wait().await, ExitReason::Stopped, "{auto:?} {restart}");
        assert!(!a.is_alive());
        world.check_over();
    }
}

/// "...but not if it is terminated by the supervisor": by an order.
#[callboard::test(both)]
async fn g15_otp_an_ordered_end_is_no_auto_shutdown(system: System) {
    let world = World::new(&system);
    let [a, b] = places(&world);
    let otp = builder(Strategy::OneForOne)
        .auto_shutdown(AutoShutdown::AnySignificant)
        .child(Child::transient(a.of()).significant())
        .child(Child::transient(b.of()).significant());
    let otp = up(&system, otp).await;
    otp.hold(otp.child("a").unwrap()).await.unwrap();
    otp.remove(otp.child("b").unwrap()).await.unwrap();
    assert!(otp.actor().is_alive());
    otp.stop();
    otp.wait().await;
    world.check_over();
}

#[callboard::test]
async fn g15_otp_trees_that_make_no_sense_are_refused(system: System) {
    let world = World::new(&system);
    let problem = |builder: SupervisorBuilder| builder.start(&system).unwrap_err().problem;
    let any = || builder(Strategy::OneForOne).auto_shutdown(AutoShutdown::AnySignificant);
    let significant = any().child(Child::permanent(world.place("a").of()).significant());
    assert_eq!(problem(significant), TreeProblem::SignificantPermanent);
    let nothing = builder(Strategy::OneForOne);
    let nothing = nothing.child(Child::transient(world.place("a").of()).significant());
    assert_eq!(problem(nothing), TreeProblem::SignificantForNothing);
    let above = builder(Strategy::OneForOne).child(Child::permanent(any()));
    assert_eq!(problem(above), TreeProblem::PermanentEndsByItself);
    // Not said to be permanent, it is transient.
    let above = builder(Strategy::OneForOne)
        .child(any())
        .start(&system)
        .unwrap();
    above.up().await.unwrap();
    assert_eq!(
        above.observe().children[0].restart,
        Some(Restart::Transient)
    );
}

/// A request to stop is served while a child is started again, and again.
#[callboard::test]
async fn g16_otp_terminate_while_restarting(system: System) {
    let world = World::new(&system);
    let [a, b] = places(&world);
    let otp = builder(Strategy::OneForAll).intensity(1_000, ms(1));
    let otp = up(&system, otp.child(a.of()).child(b.of())).await;
    a.ways(|ways| (ways.failing, ways.start) = (u32::MAX, ms(10)));
    b.crash();
    advance(&system, ms(25)).await.unwrap();
    otp.stop();
    let before = system.clock().now();
    assert!(otp.wait().await.is_normal());
    assert_eq!(system.clock().now(), before);
    assert_eq!(a.starts(), 4);
    world.check_over();
}

/// The starts of all levels together, computed and run through.
#[callboard::test]
async fn g15_otp_intensities_multiply_through_the_levels(system: System) {
    for (inner_strategy, top_strategy) in [
        (Strategy::OneForOne, Strategy::OneForOne),
        (Strategy::OneForAll, Strategy::OneForOne),
        (Strategy::OneForAll, Strategy::OneForAll),
        (Strategy::RestForOne, Strategy::RestForOne),
    ] {
        let world = World::new(&system);
        let [a, b] = places(&world);
        let inner = Supervisor::builder("inner")
            .strategy(inner_strategy)
            .intensity(2, secs(60))
            .backoff(Backoff::none())
            .child(a.of())
            .child(b.of());
        let otp = builder(top_strategy).intensity(3, secs(60)).child(inner);
        let otp = up(&system, otp).await;
        let worst = otp.worst_case().starts;
        while otp.actor().is_alive() {
            // Once all are up, the first one fails: the dearest.
            a.crash();
            settle(&system).await.unwrap();
        }
        otp.wait().await;
        let inner = otp.observe().find("inner").unwrap().incarnation.0;
        let starts = u64::from(a.starts() + b.starts()) + inner;
        assert_eq!(starts, worst, "{inner_strategy} under {top_strategy}");
        world.check_over();
    }
}

#[callboard::test(both)]
async fn g15_otp_the_restart_of_a_group_counts_once(system: System) {
    let world = World::new(&system);
    let [a, b, c] = places(&world);
    let otp = builder(Strategy::OneForAll).intensity(1, secs(60));
    let otp = up(&system, otp.child(a.of()).child(b.of()).child(c.of())).await;
    b.crash();
    otp.until(|_| {
        [&a, &b, &c]
            .iter()
            .all(|place| place.starts() == 2 && place.is_up())
    })
    .await;
    let tree = otp.observe();
    assert_eq!(tree.supervises.unwrap().counted, 1);
    assert_eq!(tree.restarts_below(), 1);
    otp.stop();
    otp.wait().await;
    world.check_over();
}

#[callboard::test]
async fn g15_otp_order_of_starts_and_stops_in_each_strategy(system: System) {
    let all = [
        "stop d", "stop c", "stop a", "start a", "start b", "start c", "start d",
    ];
    let rest = ["stop d", "stop c", "start b", "start c", "start d"];
    for (strategy, expected) in [
        (Strategy::OneForOne, &["start b"][..]),
        (Strategy::RestForOne, &rest[..]),
        (Strategy::OneForAll, &all[..]),
    ] {
        let world = World::new(&system);
        let [a, b, c, d] = places(&world);
        for place in [&a, &b, &c, &d] {
            place.ways(|ways| (ways.start, ways.stop) = (ms(2), ms(3)));
        }
        let places = [&a, &b, &c, &d].map(FakePlace::of);
        let otp = up(&system, builder(strategy).children(places)).await;
        assert_eq!(
            world.take_lines(),
            ["start a", "start b", "start c", "start d"]
        );
        b.crash();
        advance(&system, secs(1)).await.unwrap();
        assert_eq!(world.take_lines(), expected, "{strategy}");
        otp.stop();
        otp.wait().await;
        let down = ["stop d", "stop c", "stop b", "stop a"];
        assert_eq!(world.take_lines()[..4], down, "{strategy}");
        world.check_over();
    }
}

#[callboard::test]
async fn g15_otp_shutdown_times(system: System) {
    let world = World::new(&system);
    let [a, b, c, d] = places(&world);
    a.ways(|ways| ways.stop = secs(3_600));
    b.ways(|ways| ways.deaf = true);
    c.ways(|ways| ways.stop = secs(4));
    d.ways(|ways| ways.deaf = true);
    let otp = builder(Strategy::OneForOne)
        .child(Child::permanent(a.of()).shutdown_unlimited())
        .child(b.of())
        .child(c.of())
        .child(Child::permanent(d.of()).brutal_kill());
    let otp = up(&system, otp).await;
    otp.stop();
    otp.wait().await;
    let times: Vec<_> = world.log()[4..].to_vec();
    let expected = [
        (0, "kill d"),
        (0, "stop c"),
        (4, "stop b"),
        (9, "kill b"),
        (9, "stop a"),
        (3_609, "close d"),
        (3_609, "close c"),
        (3_609, "close b"),
        (3_609, "close a"),
    ];
    assert_eq!(
        times,
        expected.map(|(at, line)| (secs(at), line.to_owned()))
    );
    world.check_over();
}

#[callboard::test]
async fn g15_otp_dynamic_children_stop_at_the_same_time(system: System) {
    let world = World::new(&system);
    let otp = builder(Strategy::Dynamic)
        .max_children(3)
        .start(&system)
        .unwrap();
    // Right after the start, which it waits for.
    for place in places::<3>(&world) {
        place.ways(|ways| ways.stop = secs(3));
        otp.add(place.of()).await.unwrap();
    }
    let late = world.place("late");
    let refused = otp.add(late.of()).await.unwrap_err();
    assert_eq!(refused.kind(), &ChildErrorKind::TooMany(3));
    assert!(refused.into_child().is_some());
    otp.stop();
    otp.wait().await;
    assert_eq!(world.now(), secs(3));
    callboard::Place::close(&*late.of(), ExitReason::Stopped);
    world.check_over();
}

#[callboard::test(both)]
async fn g15_otp_an_added_child_that_does_not_start_is_no_restart(system: System) {
    let world = World::new(&system);
    let [a, b] = places(&world);
    b.ways(|ways| (ways.failing, ways.fault) = (1, Fault::fatal("never")));
    let otp = up(&system, builder(Strategy::OneForAll).child(a.of())).await;
    let refused = otp.add(b.of()).await.unwrap_err();
    assert!(
        matches!(refused.kind(), ChildErrorKind::Failed(_)),
        "{refused}"
    );
    assert!(refused.into_child().is_none(), "it was there");
    let tree = otp.observe();
    assert_eq!(tree.supervises.unwrap().counted, 0);
    assert_eq!((tree.children.len(), a.starts()), (1, 1));
    otp.stop();
    otp.wait().await;
    world.check_over();
}

/// OTP's `ignore`: the child is kept and doesn't run; a temporary one is forgotten.
#[callboard::test(both)]
async fn g15_otp_a_child_may_have_nothing_to_do(system: System) {
    let world = World::new(&system);
    let [a, b, c] = places(&world);
    a.ways(|ways| ways.ignores = true);
    b.ways(|ways| ways.ignores = true);
    let otp = builder(Strategy::OneForOne).child(a.of());
    let otp = otp.child(Child::temporary(b.of())).child(c.of());
    let otp = up(&system, otp).await;
    assert!(!a.is_alive() && c.is_up());
    assert_eq!((a.closed(), b.closed()), (None, Some(ExitReason::Stopped)));
    a.ways(|ways| ways.ignores = false);
    otp.start_again(otp.child("a").unwrap()).await.unwrap();
    assert!(a.is_up());
    assert_eq!(otp.restarts(), 0);
    otp.stop();
    otp.wait().await;
    world.check_over();
}

#[callboard::test(both)]
async fn g15_otp_decisions_by_class(system: System) {
    // A fatal failure goes up through the levels with its class.
    let world = World::new(&system);
    let [a, b] = places(&world);
    let inner = Supervisor::builder("inner").child(a.of());
    let middle = Supervisor::builder("middle").child(inner);
    let otp = up(
        &system,
        builder(Strategy::OneForOne).child(b.of()).child(middle),
    )
    .await;
    a.end(ExitReason::Failed(Fault::fatal("no licence")));
    let reason = otp.wait().await;
    let fault = failed(&reason);
    assert_eq!(fault.class(), FailureClass::Fatal);
    assert!(
        fault.text().contains("`middle`") && fault.text().contains("no licence"),
        "{fault}"
    );
    assert_eq!(a.starts(), 1);
    world.check_over();

    // Unless somebody on the way decides otherwise.
    let world = World::new(&system);
    let [a, b, c] = places(&world);
    let inner = Supervisor::builder("inner").child(a.of());
    let inner = Child::from(inner).on_failure(FailureClass::Fatal, Decision::Stop);
    let otp = builder(Strategy::OneForOne).child(inner).child(b.of());
    let otp =
        otp.child(Child::from(c.of()).on_failure(FailureClass::Recoverable, Decision::Escalate));
    let otp = up(&system, otp).await;
    a.end(ExitReason::Failed(Fault::fatal("no licence")));
    otp.until(|tree| tree.find("inner").unwrap().state == ChildState::Failed)
        .await;
    assert!(a.closed().is_some() && b.is_up());
    // What ended with a benign failure has nothing to go on with.
    b.end(ExitReason::Failed(Fault::benign("a typo")));
    otp.until(|_| b.starts() == 2 && b.is_up()).await;
    c.crash();
    assert_eq!(failed(&otp.wait().await).class(), FailureClass::Recoverable);
    world.check_over();
}

/// The orders in every stage of a child.
#[callboard::test]
async fn g15_otp_orders_in_every_stage(system: System) {
    let stages = [
        "starting",
        "running",
        "backing off",
        "stopping",
        "stuck",
        "held",
        "ended",
    ];
    for stage in stages {
        for order in ["hold", "start again", "remove"] {
            let world = World::new(&system);
            let [a] = places(&world);
            let backoff = Backoff {
                base: secs(60),
                cap: secs(60),
                stable: secs(1),
            };
            let child = Child::transient(a.of()).shutdown_time(secs(1));
            let otp = builder(Strategy::OneForOne).backoff(backoff).child(child);
            a.ways(|ways| ways.start = ms(10));
            let otp = otp.start(&system).unwrap();
            let id = otp.child("a").unwrap();
            if stage != "starting" {
                otp.up().await.unwrap();
            }
            let is = |wanted: ChildState| otp.until(move |tree| tree.children[0].state == wanted);
            match stage {
                "starting" => drop(is(ChildState::Starting).await),
                "backing off" => a.crash(),
                "stopping" => a.ways(|ways| ways.stop = ms(500)),
                "stuck" => a.ways(|ways| (ways.deaf, ways.immortal) = (true, true)),
                "held" => otp.hold(id).await.unwrap(),
                "ended" => a.end(ExitReason::Stopped),
                _ => {}
            }
            settle(&system).await.unwrap();
            let otp_too = otp.clone();
            let first = async {
                if matches!(stage, "stopping" | "stuck") {
                    drop(otp_too.start_again(id).await);
                }
            };
            let ordered = async {
                if stage == "stopping" {
                    is(ChildState::Stopping).await;
                } else if stage == "stuck" {
                    is(ChildState::Stuck).await;
                    // It moves again, after a while.
                    system.clock().sleep(secs(5)).await;
                }
                let done = async {
                    match order {
                        "hold" => otp.hold(id).await,
                        "remove" => otp.remove(id).await,
                        _ => otp.start_again(id).await,
                    }
                };
                let moves = async {
                    if stage == "stuck" {
                        system.clock().sleep(secs(5)).await;
                        a.end(ExitReason::Killed);
                    }
                };
                futures::future::join(done, moves).await.0
            };
            let (_, done) = futures::future::join(first, ordered).await;
            let what = format!("{order}, {stage}: {done:?}");
            let tree = otp.observe();
            match (order, stage) {
                ("start again", "ended") => {
                    let kind = done.unwrap_err();
                    assert_eq!(kind.kind(), &ChildErrorKind::Ended(id), "{what}");
                }
                ("start again", _) => {
                    assert!(done.is_ok() && a.is_up(), "{what}\n{tree}");
                    assert_eq!(tree.children[0].state, ChildState::Running, "{what}");
                }
                ("hold", _) => {
                    assert!(done.is_ok() && !a.is_alive(), "{what}");
                    let ended = stage == "ended";
                    let wanted = if ended {
                        ChildState::Stopped
                    } else {
                        ChildState::Held
                    };
                    assert_eq!(tree.children[0].state, wanted, "{what}");
                    assert_eq!(a.closed().is_some(), ended, "{what}");
                }
                _ => {
                    assert!(done.is_ok() && a.closed().is_some(), "{what}");
                    assert!(tree.children.is_empty(), "{what}\n{tree}");
                }
            }
            a.ways(|ways| (ways.deaf, ways.immortal) = (false, false));
            // Nothing starts it later.
            let starts = a.starts();
            advance(&system, secs(120)).await.unwrap();
            assert_eq!(a.starts(), starts, "{what}");
            otp.stop();
            otp.wait().await;
            world.check_over();
        }
    }
}

/// A nested supervisor has no limit by default, whatever its children take.
#[callboard::test]
async fn g15_otp_supervisors_have_as_long_as_their_children_need(system: System) {
    let world = World::new(&system);
    let [a] = places(&world);
    a.ways(|ways| ways.stop = secs(86_400));
    let inner = Supervisor::builder("inner").child(Child::from(a.of()).shutdown_unlimited());
    let otp = up(&system, builder(Strategy::OneForOne).child(inner)).await;
    otp.stop();
    otp.wait().await;
    assert_eq!(world.now(), secs(86_400));
    assert!(!world.lines().contains(&"kill a".to_owned()));
    world.check_over();
}

/// Below a supervisor below a supervisor: who waits for the top doesn't wait for what can't be ended, and hears of it.
#[callboard::test]
async fn g13_what_is_stuck_below_holds_no_shutdown_up(system: System) {
    for kill in [false, true] {
        let world = World::new(&system);
        let [a, b] = places(&world);
        a.ways(|ways| (ways.deaf, ways.immortal) = (true, true));
        let inner = Supervisor::builder("inner").child(a.of());
        let middle = Supervisor::builder("middle").child(inner);
        let otp = up(
            &system,
            builder(Strategy::OneForOne).child(b.of()).child(middle),
        )
        .await;
        if kill {
            otp.actor().kill();
        } else {
            otp.stop();
        }
        otp.wait().await;
        // Five seconds to end, unless it is killed, and five to be killed.
        assert_eq!(world.now(), secs(if kill { 5 } else { 10 }));
        assert_eq!(otp.observe().find("a").unwrap().state, ChildState::Stuck);
        assert_eq!(
            otp.observe().find("middle").unwrap().state,
            ChildState::Stuck
        );
        assert!(!b.is_alive());
        a.end(ExitReason::Killed);
        settle(&system).await.unwrap();
        world.check_over();
        let middle = otp.observe().find("middle").unwrap().state;
        let reason = if kill {
            ChildState::Failed
        } else {
            ChildState::Stopped
        };
        assert_eq!(middle, reason);
    }
}

/// Frozen: killed and started again, or only told of.
#[callboard::test(both)]
async fn g13_no_progress_is_a_failure_unless_only_reported(system: System) {
    let world = World::new(&system);
    let [a, b] = places(&world);
    let report = Child::from(b.of()).on_frozen(callboard_supervision::OnFrozen::Report);
    let otp = up(
        &system,
        builder(Strategy::OneForOne).child(a.of()).child(report),
    )
    .await;
    a.say(ChildEvent::NoProgress("its stream".to_owned()));
    b.say(ChildEvent::NoProgress("its stream".to_owned()));
    otp.until(|_| a.starts() == 2 && a.is_up()).await;
    let tree = otp.observe();
    let cause = tree.find("a").unwrap().last_cause.clone().unwrap();
    assert!(cause.contains("no progress: its stream"), "{cause}");
    assert_eq!(b.starts(), 1);
    otp.stop();
    otp.wait().await;
    world.check_over();
}

/// Whoever added it must not take it for a child that never was there.
#[callboard::test(both)]
async fn g13_a_child_that_was_being_added_when_its_supervisor_ends_is_not_given_back(
    system: System,
) {
    let world = World::new(&system);
    let [a, b] = places(&world);
    b.ways(|ways| ways.mute = true);
    let otp = up(&system, builder(Strategy::OneForOne).child(a.of())).await;
    let added = otp.add(b.of());
    let stops = async {
        otp.until(|_| b.is_alive()).await;
        otp.stop();
    };
    let (added, ()) = futures::future::join(added, stops).await;
    let refused = added.unwrap_err();
    assert_eq!(refused.kind(), &ChildErrorKind::Failed(ExitReason::Stopped));
    assert!(refused.into_child().is_none());
    otp.wait().await;
    world.check_over();
    // One that comes too late is.
    let late = world.place("late");
    let refused = otp.add(late.of()).await.unwrap_err();
    assert_eq!(refused.kind(), &ChildErrorKind::NotRunning);
    assert!(refused.into_child().is_some());
}
