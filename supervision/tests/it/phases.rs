//! The end of a program, phase by phase: G11, G15.

use std::sync::Arc;
use std::time::Duration;

use callboard::queue::Queue;
use callboard::{
    Actor, ActorRef, Context, DropReason, ExitReason, Handler, Message, Placement, System, testing,
};
use callboard_supervision::{
    Child, Phase, PhaseReport, Shutdown, ShutdownCause, ShutdownReport, SignalsError, Supervisor,
    SupervisorRef, WorkEnd,
};
use futures::channel::oneshot;
use parking_lot::Mutex;

use crate::common::{Bench, Hold, Log, Note, ms, secs};

/// Writes a line when it is its turn.
fn note(shutdown: &Shutdown, log: &Log, phase: Phase, name: &'static str) {
    let log = log.clone();
    shutdown.on(phase, name, move || async move { log.push(name) });
}

/// A task that never ends by itself; the log tells of its drop.
fn hang(shutdown: &Shutdown, log: &Log, phase: Phase, name: &'static str) {
    let log = log.clone();
    shutdown.on(phase, name, move || async move {
        let _dropped = Dropped(log, name);
        std::future::pending::<()>().await;
    });
}

struct Dropped(Log, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.push(format!("{} dropped", self.1));
    }
}

/// An actor in the middle of a message, until the gate is dropped.
async fn held<A: Handler<Hold>>(worker: &ActorRef<A>) -> oneshot::Sender<()> {
    let (begun_tx, begun) = oneshot::channel();
    let (gate, gate_rx) = oneshot::channel();
    let hold = Hold {
        begun: begun_tx,
        gate: gate_rx,
    };
    worker.tell(hold).await.expect("it has room");
    begun.await.expect("it begins");
    gate
}

fn ends(report: &ShutdownReport) -> Vec<(&str, WorkEnd)> {
    let parts = report.parts();
    parts
        .map(|(_, part)| (part.name.as_str(), part.end.clone()))
        .collect()
}

fn phase(report: &ShutdownReport, phase: Phase) -> &PhaseReport {
    report
        .phases
        .iter()
        .find(|at| at.phase == phase)
        .expect("all are there")
}

fn tree(bench: &Bench, label: &'static str, child: &'static str) -> SupervisorRef {
    Supervisor::builder(label)
        .child(bench.worker(child).1)
        .start(&bench.system)
        .unwrap()
}

#[callboard::test(both)]
async fn g15_phases_run_in_order_and_the_last_one_in_reverse(system: System) {
    let bench = Bench::new(&system);
    let first = tree(&bench, "first", "a");
    let second = tree(&bench, "second", "b");
    first.up().await.unwrap();
    second.up().await.unwrap();
    let shutdown = Shutdown::new(&system);
    // As it comes: the order of phases is not that of registration.
    note(&shutdown, &bench.log, Phase::Stop, "close the files");
    shutdown.tree(&first);
    note(&shutdown, &bench.log, Phase::FinishWork, "answer");
    shutdown.tree(&second);
    note(
        &shutdown,
        &bench.log,
        Phase::StopTakingWork,
        "close the door",
    );
    assert!(!shutdown.has_begun());
    let report = shutdown.run().await;
    assert!(report.is_clean(), "{report}");
    let expected = [
        "close the door",
        "answer",
        "b stopped",
        "b dropped",
        "a stopped",
        "a dropped",
        "close the files",
    ];
    assert_eq!(bench.log.lines()[2..], expected);
    let names: Vec<_> = report.parts().map(|(at, part)| (at, &*part.name)).collect();
    let expected = [
        (Phase::StopTakingWork, "close the door"),
        (Phase::FinishWork, "answer"),
        (Phase::Stop, "second"),
        (Phase::Stop, "first"),
        (Phase::Stop, "close the files"),
    ];
    assert_eq!(names, expected);
    assert_eq!(report.cause, ShutdownCause::Call);
    assert_eq!(report.exit_code(), 0);
    assert!(system.is_closed());
    assert_eq!(shutdown.phase(), None);
}

/// Each of two tasks waits for the other: one after the other they would never end.
#[callboard::test(both)]
async fn what_takes_work_in_and_what_is_in_hand_ends_at_the_same_time(system: System) {
    let shutdown = Shutdown::new(&system);
    for phase in [Phase::StopTakingWork, Phase::FinishWork] {
        let (a_tx, a) = oneshot::channel::<()>();
        let (b_tx, b) = oneshot::channel::<()>();
        shutdown.on(phase, "a", move || async move {
            a_tx.send(()).map_err(|()| "b is gone")?;
            b.await.map_err(|_| "b said nothing")
        });
        shutdown.on(phase, "b", move || async move {
            b_tx.send(()).map_err(|()| "a is gone")?;
            a.await.map_err(|_| "a said nothing")
        });
    }
    let report = shutdown.run().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.parts().count(), 4);
}

#[callboard::test]
async fn g11_each_deadline_cuts_off_exactly_what_is_late(system: System) {
    let bench = Bench::new(&system);
    let shutdown = Shutdown::new(&system)
        .deadline(Phase::StopTakingWork, secs(2))
        .deadline(Phase::FinishWork, secs(3))
        .deadline(Phase::Stop, secs(4));
    hang(&shutdown, &bench.log, Phase::StopTakingWork, "listener");
    let clock = system.clock().clone();
    shutdown.on(Phase::StopTakingWork, "in time", move || async move {
        clock.sleep(secs(1)).await;
    });
    // An actor with one message in hand and two queued.
    let jobs = plain(&bench, "jobs");
    let _gate = held(&jobs).await;
    for n in 0..2 {
        jobs.tell(Note(n)).await.unwrap();
    }
    shutdown.drain(&jobs);
    // A tree with a child that has no end, above one that stops.
    let (late, late_place, _) = bench.worker("late");
    let academy = Supervisor::builder("academy")
        .child(bench.worker("early").1)
        .child(Child::permanent(late_place).shutdown_unlimited())
        .start(&system)
        .unwrap();
    academy.up().await.unwrap();
    let below = tree(&bench, "below", "under");
    below.up().await.unwrap();
    shutdown.tree(&below);
    shutdown.tree(&academy);
    let _late_gate = held(&late).await;

    let report = shutdown.run().await;

    let expected = [
        ("listener", WorkEnd::CutOff),
        ("in time", WorkEnd::Done),
        ("jobs", WorkEnd::CutOff),
        ("academy", WorkEnd::CutOff),
        ("below", WorkEnd::NotBegun),
    ];
    assert_eq!(ends(&report), expected);
    let took: Vec<_> = report.phases.iter().map(|phase| phase.took).collect();
    assert_eq!(took, [secs(2), secs(3), secs(4)]);
    assert_eq!(report.part("listener").unwrap().took, secs(2));
    assert_eq!(report.part("in time").unwrap().took, secs(1));
    assert_eq!(report.part("jobs").unwrap().messages_left, 2);
    let killed = |name: &str| {
        let late = report.part(name).unwrap().late.iter();
        late.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        killed("academy"),
        ["academy/early: killed", "academy/late: killed"]
    );
    assert_eq!(killed("below"), ["below/under: killed"]);
    assert_eq!(late.exit_reason(), Some(ExitReason::Killed));
    assert_eq!(jobs.exit_reason(), Some(ExitReason::Killed));
    assert!(bench.log.lines().contains(&"listener dropped".to_owned()));
    assert_eq!(report.given_up.get(&DropReason::Stopped), Some(&2));
    assert!(report.system.late.is_empty(), "{report}");
    assert_eq!(report.exit_code(), 1);
    assert!(report.took <= shutdown.limit());
}

#[callboard::test(both)]
async fn g10_a_task_that_fails_or_panics_stops_nobody_else(system: System) {
    let bench = Bench::new(&system);
    let shutdown = Shutdown::new(&system);
    shutdown.on(Phase::StopTakingWork, "error", || async {
        Err::<(), _>("the port is gone")
    });
    shutdown.on(Phase::StopTakingWork, "panic", || async {
        if system_is_unlucky() {
            panic!("no luck");
        }
    });
    shutdown.on(Phase::StopTakingWork, "made", || {
        assert!(Log::default().lines().len() > 1, "not even made");
        std::future::ready(())
    });
    note(&shutdown, &bench.log, Phase::StopTakingWork, "good");
    note(&shutdown, &bench.log, Phase::Stop, "last");
    let report = shutdown.run().await;
    let failed = |why: &str| WorkEnd::Failed(why.into());
    let expected = [
        ("error", failed("the port is gone")),
        ("panic", failed("panicked: no luck")),
        ("made", failed("panicked: not even made")),
        ("good", WorkEnd::Done),
        ("last", WorkEnd::Done),
    ];
    assert_eq!(ends(&report), expected);
    assert_eq!(bench.log.lines(), ["good", "last"]);
    assert!(!report.is_clean());
}

#[callboard::test(both)]
async fn g15_a_tree_that_fails_while_it_stops_is_named(system: System) {
    let bench = Bench::new(&system);
    let pages = tree(&bench, "pages", "a");
    pages.up().await.unwrap();
    pages.actor().kill();
    let shutdown = Shutdown::new(&system);
    shutdown.tree(&pages);
    let report = shutdown.run().await;
    assert_eq!(ends(&report), [("pages", WorkEnd::Failed("killed".into()))]);
}

/// Past its own shutdown time, while the phase has time: a loss all the same.
#[callboard::test]
async fn g15_a_child_that_is_late_for_its_tree_is_named(system: System) {
    let bench = Bench::new(&system);
    let (late, place, _) = bench.worker("late");
    let pages = Supervisor::builder("pages")
        .child(bench.worker("early").1)
        .child(Child::permanent(place).shutdown_time(secs(2)))
        .start(&system)
        .unwrap();
    let top = {
        let (pages, child) = Supervisor::builder("inner")
            .child(bench.worker("deep").1)
            .place(&system)
            .unwrap();
        drop(pages);
        Supervisor::builder("top")
            .child(child)
            .start(&system)
            .unwrap()
    };
    pages.up().await.unwrap();
    top.up().await.unwrap();
    let shutdown = Shutdown::new(&system);
    shutdown.tree(&pages);
    shutdown.tree(&top);
    let _gate = held(&late).await;
    let report = shutdown.run().await;
    let part = report.part("pages").unwrap();
    assert_eq!((&part.end, part.took), (&WorkEnd::Done, secs(2)));
    assert_eq!(part.late.len(), 1);
    assert_eq!(part.late[0].to_string(), "pages/late: killed");
    assert!(report.part("top").unwrap().is_clean());
    assert!(!report.is_clean());
}

#[callboard::test(both)]
async fn g11_a_drained_actor_handles_all_that_is_queued(system: System) {
    let bench = Bench::new(&system);
    let jobs = plain(&bench, "jobs");
    let gate = held(&jobs).await;
    for n in 0..5 {
        jobs.tell(Note(n)).await.unwrap();
    }
    let shutdown = Shutdown::new(&system);
    shutdown.drain(&jobs);
    // Let go when the door is closed.
    shutdown.on(Phase::StopTakingWork, "door", move || async move {
        drop(gate);
    });
    let report = shutdown.run().await;
    assert!(report.is_clean(), "{report}");
    let expected: Vec<_> = (0..5).map(|n| format!("jobs notes {n}")).collect();
    assert_eq!(bench.log.lines(), expected);
    assert!(report.given_up.is_empty(), "{report}");
    assert_eq!(jobs.exit_reason(), Some(ExitReason::Stopped));
}

/// Drained it would end, and be started again by its supervisor.
#[callboard::test(both)]
async fn g13_a_supervised_actor_runs_dry_and_is_not_started_again(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let pages = Supervisor::builder("pages")
        .child(place)
        .start(&system)
        .unwrap();
    pages.up().await.unwrap();
    let gate = held(&worker).await;
    for n in 0..5 {
        worker.tell(Note(n)).await.unwrap();
    }
    let shutdown = Shutdown::new(&system);
    shutdown.drain(&worker);
    shutdown.tree(&pages);
    // The message in hand goes on well.
    shutdown.on(Phase::StopTakingWork, "door", move || async move {
        gate.send(()).map_err(|()| "nobody waits")
    });
    let report = shutdown.run().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.given_up.is_empty(), "{report}");
    assert_eq!(pages.restarts(), 0);
    assert_eq!(worker.incarnation().0, 1);
}

#[callboard::test(both)]
async fn g21_a_queues_consumers_finish_what_was_offered(system: System) {
    let jobs: Queue<u32> = system.queue("jobs").open().unwrap();
    let done = Arc::new(Mutex::new(Vec::new()));
    let (kept, clock) = (Arc::clone(&done), system.clock().clone());
    let workers = jobs.consume(&system, 3, async move |job| {
        clock.sleep(ms(1)).await;
        kept.lock().push(*job.item());
        Ok::<(), std::convert::Infallible>(())
    });
    jobs.offer_many(0..20).await.unwrap();
    let shutdown = Shutdown::new(&system);
    let (queue, clock) = (jobs.clone(), system.clock().clone());
    shutdown.on(Phase::FinishWork, "jobs", move || async move {
        while queue.state().await.is_ok_and(|state| state.settled < 20) {
            clock.sleep(ms(1)).await;
        }
        workers.stop().await;
    });
    let report = shutdown.run().await;
    assert!(report.is_clean(), "{report}");
    let mut done = std::mem::take(&mut *done.lock());
    done.sort_unstable();
    assert_eq!(done, (0..20).collect::<Vec<_>>(), "each once, none lost");
}

#[callboard::test(both)]
async fn what_is_registered_while_it_runs_is_done_in_its_phase_or_at_once(system: System) {
    let bench = Bench::new(&system);
    let shutdown = Shutdown::new(&system);
    let (later, log) = (shutdown.clone(), bench.log.clone());
    shutdown.on(Phase::FinishWork, "first", move || async move {
        log.push(format!("in {}", later.phase().unwrap()));
        // Of a phase that is over, of this one, and of one to come.
        for (phase, name) in [
            (Phase::StopTakingWork, "listener of a late part"),
            (Phase::FinishWork, "its work"),
            (Phase::Stop, "its files"),
        ] {
            note(&later, &log, phase, name);
        }
    });
    let report = shutdown.run().await;
    assert!(report.is_clean(), "{report}");
    let mut lines = bench.log.lines();
    assert_eq!(lines.remove(0), "in finish work");
    // These two at the same time.
    lines[..2].sort();
    assert_eq!(lines, ["its work", "listener of a late part", "its files"]);
    assert!(phase(&report, Phase::StopTakingWork).parts.is_empty());
    assert_eq!(phase(&report, Phase::FinishWork).parts.len(), 3);

    let late = shutdown.on(Phase::Stop, "too late", || async {});
    assert!(late.is_too_late());
    assert!(!late.remove());
    assert_eq!(shutdown.run().await, report, "and it runs only once");
}

#[callboard::test(both)]
async fn what_is_removed_is_not_done(system: System) {
    let bench = Bench::new(&system);
    let shutdown = Shutdown::new(&system);
    let held = Arc::new(());
    let holds = Arc::clone(&held);
    let task = shutdown.on(Phase::Stop, "removed", move || async move { drop(holds) });
    let kept = bench.log.clone();
    let begun = shutdown.on(
        Phase::Stop,
        "kept",
        move || async move { kept.push("kept") },
    );
    let gone = tree(&bench, "gone", "a");
    let removed = shutdown.tree(&gone);
    assert!(task.remove());
    assert!(!task.remove(), "it is gone");
    assert_eq!(Arc::strong_count(&held), 1, "and so is what it held");
    assert!(removed.remove());
    let report = shutdown.run().await;
    assert_eq!(ends(&report), [("kept", WorkEnd::Done)]);
    assert!(!begun.remove(), "it has been done");
}

#[callboard::test(both)]
async fn it_runs_once_for_all_who_ask_and_goes_on_without_them(system: System) {
    let bench = Bench::new(&system);
    let shutdown = Shutdown::new(&system);
    note(&shutdown, &bench.log, Phase::FinishWork, "once");
    let (begun_tx, begun) = oneshot::channel();
    let (gate, gate_rx) = oneshot::channel::<()>();
    shutdown.on(Phase::StopTakingWork, "gate", move || async move {
        begun_tx.send(()).map_err(|()| "nobody waits")?;
        gate_rx.await.map_err(|_| "dropped")
    });
    // Who asks first does not wait.
    let mut first = Box::pin(shutdown.run());
    assert!(futures::poll!(first.as_mut()).is_pending());
    drop(first);
    begun.await.unwrap();
    shutdown.begins().await;
    assert!(shutdown.has_begun());
    assert_eq!(shutdown.phase(), Some(Phase::StopTakingWork));
    let others = async { futures::join!(shutdown.run(), shutdown.run()) };
    let open = async { gate.send(()).unwrap() };
    let ((a, b), ()) = futures::join!(others, open);
    assert_eq!(a, b);
    assert!(a.is_clean(), "{a}");
    assert_eq!(bench.log.lines(), ["once"]);
}

#[callboard::test]
async fn g11_actors_of_nobody_are_stopped_in_what_time_is_left(system: System) {
    let bench = Bench::new(&system);
    let late = plain(&bench, "late");
    let _gate = held(&late).await;
    let shutdown = Shutdown::new(&system).deadline(Phase::Stop, secs(7));
    let clock = system.clock().clone();
    shutdown.on(Phase::Stop, "files", move || async move {
        clock.sleep(secs(3)).await;
    });
    let report = shutdown.run().await;
    assert_eq!(report.system.late, ["late"]);
    assert_eq!(phase(&report, Phase::Stop).took, secs(3));
    assert_eq!(report.system.took, secs(4), "of 7 s");
    assert!(!report.is_clean());
}

#[callboard::test]
async fn g11_cut_short_it_ends_at_once_and_names_what_was_lost(system: System) {
    let bench = Bench::new(&system);
    let shutdown = Shutdown::new(&system);
    shutdown.cut_short();
    assert!(
        !shutdown.has_begun(),
        "nothing runs that it could cut short"
    );
    let pages = tree(&bench, "pages", "a");
    pages.up().await.unwrap();
    shutdown.tree(&pages);
    hang(&shutdown, &bench.log, Phase::FinishWork, "work");
    note(&shutdown, &bench.log, Phase::Stop, "files");
    let bomb = Bomb;
    shutdown.on(Phase::Stop, "bomb", move || async move { drop(bomb) });
    let left = plain(&bench, "left");
    let _gate = held(&left).await;
    let hurry = shutdown.clone();
    shutdown.on(Phase::FinishWork, "impatient", move || async move {
        hurry.cut_short();
    });
    let before = system.clock().now();
    let report = shutdown.run().await;
    assert_eq!(system.clock().now(), before, "no time has passed");
    let expected = [
        ("work", WorkEnd::CutOff),
        ("impatient", WorkEnd::Done),
        // Its drop panics, which harms nobody.
        ("bomb", WorkEnd::NotBegun),
        ("files", WorkEnd::NotBegun),
        ("pages", WorkEnd::NotBegun),
    ];
    assert_eq!(ends(&report), expected);
    assert!(report.cut_short);
    assert_eq!(report.second_signal, None);
    assert_eq!(report.system.late, ["left"]);
    assert_eq!(pages.wait().await, ExitReason::Killed);
    let dropped = "work dropped".to_owned();
    assert!(bench.log.lines().contains(&dropped));
    assert!(!bench.log.lines().contains(&"files".to_owned()));
}

#[callboard::test(both)]
async fn after_the_systems_own_shutdown_it_says_what_it_could_not_do(system: System) {
    let bench = Bench::new(&system);
    let shutdown = Shutdown::new(&system);
    let pages = tree(&bench, "pages", "a");
    pages.up().await.unwrap();
    shutdown.tree(&pages);
    note(&shutdown, &bench.log, Phase::StopTakingWork, "door");
    system.shutdown().await;
    let report = shutdown.run().await;
    let expected = [("door", WorkEnd::NotBegun), ("pages", WorkEnd::Done)];
    assert_eq!(ends(&report), expected);
}

/// There is no global plan: one system's end is not the other's.
#[callboard::test(arbiters)]
async fn two_systems_have_two_plans(system: System) {
    let other = System::with_arbiters(1).unwrap();
    let (here, there) = (Shutdown::new(&system), Shutdown::new(&other));
    let log = Log::default();
    note(&here, &log, Phase::Stop, "here");
    note(&there, &log, Phase::Stop, "there");
    assert!(there.run().await.is_clean());
    assert!(!here.has_begun());
    assert!(other.is_closed() && !system.is_closed());
    assert_eq!(log.lines(), ["there"]);
    assert!(here.run().await.is_clean());
}

/// A handler that blocks its arbiter for ever delays nobody but those who live there.
#[callboard::test(arbiters, arbiters = 2)]
async fn g11_a_blocked_arbiter_is_named_and_left_behind(system: System) {
    let bench = Bench::new(&system);
    let jobs = plain(&bench, "jobs");
    let blocked = system
        .actor({
            let log = bench.log.clone();
            move || Plain(log, "blocked")
        })
        .label("blocked")
        .placement(Placement::OwnThread)
        .start();
    let (begun_tx, begun) = oneshot::channel();
    let (release, until) = std::sync::mpsc::channel();
    blocked.tell(Block(begun_tx, until)).await.unwrap();
    begun.await.unwrap();
    let shutdown = Shutdown::new(&system)
        .deadline(Phase::FinishWork, ms(100))
        .deadline(Phase::Stop, ms(100));
    shutdown.drain(&blocked);
    shutdown.drain(&jobs);
    note(&shutdown, &bench.log, Phase::Stop, "files");
    let report = shutdown.run().await;
    let expected = [
        ("blocked", WorkEnd::CutOff),
        ("jobs", WorkEnd::Done),
        ("files", WorkEnd::Done),
    ];
    assert_eq!(ends(&report), expected);
    assert_eq!(report.system.late, ["blocked"]);
    drop(release);
}

/// It must not, and then it costs no more than its phase's deadline, and the tasks that need its thread.
#[callboard::test(arbiters)]
async fn g11_a_task_that_blocks_does_not_hold_the_plan_up(system: System) {
    let bench = Bench::new(&system);
    let jobs = plain(&bench, "jobs");
    let shutdown = Shutdown::new(&system)
        .deadline(Phase::StopTakingWork, ms(100))
        .deadline(Phase::Stop, ms(100));
    let (release, until) = std::sync::mpsc::channel::<()>();
    shutdown.on(Phase::StopTakingWork, "blocks", move || async move {
        // An error: released.
        let _ = until.recv();
    });
    shutdown.drain(&jobs);
    note(&shutdown, &bench.log, Phase::Stop, "files");
    let report = shutdown.run().await;
    let expected = [
        ("blocks", WorkEnd::CutOff),
        ("jobs", WorkEnd::Done),
        ("files", WorkEnd::CutOff),
    ];
    assert_eq!(ends(&report), expected);
    assert!(bench.log.lines().is_empty());
    drop(release);
}

#[callboard::test]
async fn g38_signals_are_outside_the_simulation(system: System) {
    let shutdown = Shutdown::new(&system);
    let error = shutdown.on_signals().err().unwrap();
    assert!(matches!(error, SignalsError::Simulated), "{error}");
    assert!(error.to_string().contains("simulating"), "{error}");
    testing::settle(&system).await.unwrap();
    assert!(!shutdown.has_begun());
}

#[test]
fn plans_go_to_any_thread_and_so_do_those_who_wait() {
    fn any_thread<T: Send + 'static>(_: &T) {}
    let simulation = callboard::Simulation::new(1);
    let shutdown = Shutdown::new(simulation.system());
    any_thread(&shutdown);
    any_thread(&shutdown.begins());
    any_thread(&async move { shutdown.run().await });
}

#[test]
fn the_limit_is_what_an_orchestrator_must_grant() {
    let simulation = callboard::Simulation::new(1);
    let shutdown = Shutdown::new(simulation.system());
    assert_eq!(shutdown.limit(), secs(28));
    let shutdown = shutdown.deadline(Phase::FinishWork, Duration::MAX);
    assert_eq!(shutdown.limit(), Duration::MAX);
}

/// Not `true`, so that a task has an end that the compiler sees.
fn system_is_unlucky() -> bool {
    std::hint::black_box(true)
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("told to");
    }
}

/// An actor of nobody.
struct Plain(Log, &'static str);

fn plain(bench: &Bench, name: &'static str) -> ActorRef<Plain> {
    let log = bench.log.clone();
    let actor = bench.system.actor(move || Plain(log, name));
    actor.label(name).start()
}

impl Actor for Plain {}

impl Handler<Hold> for Plain {
    async fn handle(&mut self, hold: Hold, _: &mut Context<Self>) {
        hold.begun.send(()).expect("the test waits");
        // An error: told to go on.
        let _ = hold.gate.await;
    }
}

impl Handler<Note> for Plain {
    async fn handle(&mut self, Note(n): Note, ctx: &mut Context<Self>) -> (u32, u64) {
        self.0.push(format!("{} notes {n}", self.1));
        (n, ctx.incarnation().0)
    }
}

/// Says that it has begun, and blocks its thread until the other is dropped.
#[derive(Message)]
struct Block(oneshot::Sender<()>, std::sync::mpsc::Receiver<()>);

impl Handler<Block> for Plain {
    async fn handle(&mut self, Block(begun, until): Block, _: &mut Context<Self>) {
        begun.send(()).expect("the test waits");
        // An error: released.
        let _ = until.recv();
    }
}
