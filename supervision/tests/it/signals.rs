//! Signals, sent to real processes: this program, run again as what [`PROGRAM`] says.
//!
//! Nothing here waits for some time: a test sends a signal when the program has said a line, and reads to its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use callboard::process::{ProcessPlace, ProcessSpec};
use callboard::{Actor, Context, Handler, Message, Placement, System};
use callboard_supervision::{Phase, SecondSignal, Shutdown, Supervisor, SupervisorRef};
use futures::channel::oneshot;

use crate::common::ms;

/// Names what the program does.
const PROGRAM: &str = "CALLBOARD_SIGNALS_PROGRAM";

fn say(line: &str) {
    let mut out = std::io::stdout();
    // An error: the test has ended.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// The programs. As a test of its own it does nothing.
#[test]
fn program() {
    let Ok(name) = std::env::var(PROGRAM) else {
        return;
    };
    match name.as_str() {
        "graceful" => graceful(),
        "impatient" => impatient(SecondSignal::Exit),
        "reports" => impatient(SecondSignal::Report),
        "blocked" => blocked(),
        "blocked_main" => blocked_main(),
        "blocked_tree" => blocked_tree(),
        "lingers" => lingers(),
        "two" => two(),
        other => panic!("no program {other}"),
    }
}

/// Says that a phase has come to it.
fn announce(shutdown: &Shutdown, phase: Phase, line: &'static str) {
    shutdown.on(phase, line, move || async move { say(line) });
}

fn graceful() {
    let system = System::with_arbiters(2).expect("it works");
    let shutdown = Shutdown::new(&system);
    announce(&shutdown, Phase::Stop, "files closed");
    announce(&shutdown, Phase::StopTakingWork, "door closed");
    let over = shutdown.on_signals().expect("it works");
    // Once more is the same listening, not more of it.
    let again = shutdown.on_signals().expect("it works");
    say("up");
    let report = futures::executor::block_on(over);
    assert_eq!(futures::executor::block_on(again), report);
    say(&report.to_string());
    report.exit();
}

/// A tree with a child process that has one itself. Both hold this program's stdout open, so that who reads it to its
/// end has waited for theirs, and the inner one says a line if it is let live.
fn tree_of_processes(system: &System, placement: Placement) -> SupervisorRef {
    let out = format!("/proc/{}/fd/1", std::process::id());
    let script = format!("exec 3>{out}; (sleep 20; echo survived >&3) & wait");
    let spec = ProcessSpec::new("sh").args(["-c", &script]);
    let place = ProcessPlace::new(system, spec.label("sleeper"), |_, _| {}).placement(placement);
    let tree = Supervisor::builder("tree")
        .child(place)
        .start(system)
        .unwrap();
    futures::executor::block_on(tree.up()).expect("it works");
    tree
}

fn impatient(second: SecondSignal) {
    let system = System::with_arbiters(2).expect("it works");
    let tree = tree_of_processes(&system, Placement::Control);
    let shutdown = Shutdown::new(&system).second_signal(second);
    shutdown.tree(&tree);
    announce(&shutdown, Phase::StopTakingWork, "door closed");
    shutdown.on(Phase::FinishWork, "a long request", || async {
        say("finishing");
        std::future::pending::<()>().await;
    });
    let over = shutdown.on_signals().expect("it works");
    say("up");
    let report = futures::executor::block_on(over);
    say(&report.to_string());
    report.exit();
}

/// Blocks its thread for ever.
#[derive(Message)]
struct Block;

struct Blocks;

impl Actor for Blocks {}

impl Handler<Block> for Blocks {
    async fn handle(&mut self, _: Block, _: &mut Context<Self>) {
        say("blocked");
        loop {
            std::thread::park();
        }
    }
}

fn blocked() {
    let system = System::with_arbiters(1).expect("it works");
    let blocks = system.actor(|| Blocks).label("blocks").start();
    let shutdown = Shutdown::new(&system).deadline(Phase::Stop, ms(10));
    announce(&shutdown, Phase::FinishWork, "finished");
    let over = shutdown.on_signals().expect("it works");
    blocks.try_tell(Block).expect("it works");
    let report = futures::executor::block_on(over);
    say(&report.to_string());
    report.exit();
}

/// Nobody who lives on the only arbiter hears anything any more.
fn blocked_tree() {
    let system = System::with_arbiters(1).expect("it works");
    let blocks = system.actor(|| Blocks).label("blocks").start();
    let tree = tree_of_processes(&system, Placement::Pinned(0));
    let shutdown = Shutdown::new(&system);
    shutdown.tree(&tree);
    announce(&shutdown, Phase::FinishWork, "finished");
    let over = shutdown.on_signals().expect("it works");
    blocks.try_tell(Block).expect("it works");
    futures::executor::block_on(over).exit();
}

/// The thread of `main` is the one that is blocked.
fn blocked_main() {
    callboard::run(|system| async move {
        let blocks = system
            .actor(|| Blocks)
            .label("blocks")
            .placement(Placement::Pinned(0))
            .start();
        let shutdown = Shutdown::new(&system);
        shutdown.on(Phase::FinishWork, "a long request", || async {
            say("finishing");
            std::future::pending::<()>().await;
        });
        let over = shutdown.on_signals().expect("it works");
        blocks.tell(Block).await.expect("it works");
        over.await.exit();
    })
    .expect("it works");
}

/// Does not end when it should.
fn lingers() {
    let system = System::with_arbiters(1).expect("it works");
    let shutdown = Shutdown::new(&system);
    let over = shutdown.on_signals().expect("it works");
    say("up");
    futures::executor::block_on(over);
    drop((shutdown, system));
    say("over");
    loop {
        std::thread::park();
    }
}

/// Two systems with a plan each. The first runs by a call already when the signal comes; the second hears it after the
/// first, and lets it go on.
fn two() {
    let (first, second) = (System::with_arbiters(1), System::with_arbiters(1));
    let (first, second) = (first.expect("it works"), second.expect("it works"));
    let (first, second) = (Shutdown::new(&first), Shutdown::new(&second));
    let (gate, open) = oneshot::channel();
    first.on(Phase::FinishWork, "gate", || async {
        say("up");
        open.await.map_err(|_| "nobody opened it")
    });
    second.on(Phase::StopTakingWork, "door", move || async move {
        gate.send(()).map_err(|()| "nobody waits")
    });
    let heard_first = first.on_signals().expect("it works");
    let heard_second = second.on_signals().expect("it works");
    let (called, first, second) = futures::executor::block_on(async {
        futures::join!(first.run(), heard_first, heard_second)
    });
    assert_eq!(called, first);
    say(&first.to_string());
    say(&second.to_string());

    // A third is heard although two have run.
    let third = System::with_arbiters(1).expect("it works");
    let third = Shutdown::new(&third);
    announce(&third, Phase::StopTakingWork, "third");
    let heard = third.on_signals().expect("it works");
    say("again");
    let report = futures::executor::block_on(heard);
    report.exit();
}

/// A program that runs. Killed if the test fails.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    said: String,
}

impl Running {
    fn start(program: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("it works"))
            .args([
                "--exact",
                "signals::program",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(PROGRAM, program)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it works");
        let out = BufReader::new(child.stdout.take().expect("it works"));
        Running {
            child,
            out,
            said: String::new(),
        }
    }

    /// Waits until it says a line that ends with this, and answers all of the line.
    #[track_caller]
    fn until(&mut self, wanted: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.out.read_line(&mut line).expect("it works");
            self.said.push_str(&line);
            assert!(read > 0, "it ended before {wanted:?}: {}", self.said);
            // The first line comes after what the test runner says.
            if line.trim_end().ends_with(wanted) {
                return line.trim_end().to_owned();
            }
        }
    }

    fn signal(&self, signal: &str) {
        let kill = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(kill.expect("it works").success());
    }

    /// Waits for its end: its exit code, the rest of what it said, and what it said to stderr.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut rest, mut errors) = (String::new(), String::new());
        self.out.read_to_string(&mut rest).expect("it works");
        let mut stderr = self.child.stderr.take().expect("it works");
        stderr.read_to_string(&mut errors).expect("it works");
        (self.child.wait().expect("it works").code(), rest, errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error: it has ended.
        let _ = self.child.kill();
    }
}

#[test]
fn g11_a_signal_runs_the_plan() {
    for (signal, name) in [("-TERM", "SIGTERM"), ("-INT", "SIGINT")] {
        let mut program = Running::start("graceful");
        program.until("up");
        program.signal(signal);
        program.until("door closed");
        program.until("files closed");
        let (code, report, errors) = program.end();
        assert_eq!(code, Some(0), "{report}{errors}");
        assert!(
            report.contains(&format!("after {name}: clean")),
            "{report}{errors}"
        );
    }
}

#[test]
fn g11_a_second_signal_ends_the_process_and_its_children_at_once() {
    for (signal, name, code) in [("-TERM", "SIGTERM", 143), ("-INT", "SIGINT", 130)] {
        let mut program = Running::start("impatient");
        program.until("up");
        program.signal("-TERM");
        program.until("finishing");
        program.signal(signal);
        let (found, rest, errors) = program.end();
        assert_eq!(found, Some(code), "{rest}{errors}");
        assert_eq!(rest, "", "no report, and no child that lives on");
        let line = format!("{name} again: ended at once; cut off: a long request, tree");
        assert!(errors.lines().any(|found| found == line), "{errors}");
    }
}

#[test]
fn g11_a_second_signal_can_be_left_to_the_report() {
    let mut program = Running::start("reports");
    program.until("up");
    program.signal("-INT");
    program.until("finishing");
    program.signal("-TERM");
    let (code, report, errors) = program.end();
    assert_eq!(code, Some(143), "{report}{errors}");
    assert!(
        report.contains("after SIGINT: cut short by SIGTERM"),
        "{report}"
    );
    assert!(report.contains("a long request  cut off"), "{report}");
    assert!(report.contains("tree/sleeper: killed"), "{report}");
}

#[test]
fn g11_a_handler_that_blocks_its_arbiter_for_ever_keeps_no_signal_away() {
    let mut program = Running::start("blocked");
    program.until("blocked");
    program.signal("-TERM");
    program.until("finished");
    let (code, report, errors) = program.end();
    assert_eq!(code, Some(143), "{report}{errors}");
    assert!(report.contains("    blocks: killed"), "{report}");
}

#[test]
fn g11_a_second_signal_ends_child_processes_that_a_blocked_arbiter_looks_after() {
    let mut program = Running::start("blocked_tree");
    program.until("blocked");
    program.signal("-TERM");
    program.until("finished");
    program.signal("-TERM");
    let (code, rest, errors) = program.end();
    assert_eq!(code, Some(143), "{rest}{errors}");
    assert_eq!(rest, "", "no child lives on");
    // The task that has said its line may not have ended by then.
    let named = |line: &str| line.starts_with("SIGTERM again:") && line.ends_with("tree");
    assert!(errors.lines().any(named), "{errors}");
}

#[test]
fn g11_a_blocked_main_is_ended_by_the_second_signal() {
    let mut program = Running::start("blocked_main");
    program.until("blocked");
    program.signal("-TERM");
    // Nobody on the blocked thread is needed for that.
    program.until("finishing");
    program.signal("-TERM");
    let (code, rest, errors) = program.end();
    assert_eq!(code, Some(143), "{rest}{errors}");
    assert!(errors.contains("cut off: a long request"), "{errors}");
}

#[test]
fn a_signal_is_for_each_plan_that_has_not_run_and_cuts_off_none() {
    let mut program = Running::start("two");
    program.until("up");
    program.signal("-TERM");
    program.until("again");
    assert!(
        program.said.contains("after a call: clean"),
        "{}",
        program.said
    );
    assert!(
        program.said.contains("after SIGTERM: clean"),
        "{}",
        program.said
    );
    program.signal("-INT");
    program.until("third");
    let (code, rest, errors) = program.end();
    assert_eq!(code, Some(0), "{rest}{errors}");
}

#[test]
fn when_the_plan_has_run_a_signal_ends_the_process() {
    let mut program = Running::start("lingers");
    program.until("up");
    program.signal("-TERM");
    program.until("over");
    program.signal("-INT");
    let (code, rest, errors) = program.end();
    assert_eq!(code, Some(130), "{rest}{errors}");
}
