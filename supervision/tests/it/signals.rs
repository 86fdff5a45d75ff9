//! Signals, sent to real processes: this program, run again as what [`PROGRAM`] says.
//!
//! Nothing here waits for some time: a test sends a signal when the program has said a line, and reads to its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use callboard::process::{ProcessPlace, ProcessSpec};
use callboard::{Actor, Context, Handler, Message, Placement, System};
use callboard_supervision::{Phase, SecondSignal, Shutdown, Supervisor};

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
        "lingers" => lingers(),
        other => panic!("no program {other}"),
    }
}

/// Says that a phase has come to it.
fn announce(shutdown: &Shutdown, phase: Phase, line: &'static str) {
    shutdown.on(phase, line, move || async move { say(line) });
}

fn graceful() {
    let system = System::with_arbiters(2).unwrap();
    let shutdown = Shutdown::new(&system);
    announce(&shutdown, Phase::Stop, "files closed");
    announce(&shutdown, Phase::StopTakingWork, "door closed");
    let over = shutdown.on_signals().unwrap();
    // Once more is the same listening, not more of it.
    let again = shutdown.on_signals().unwrap();
    say("up");
    let report = futures::executor::block_on(over);
    assert_eq!(futures::executor::block_on(again), report);
    say(&report.to_string());
    report.exit();
}

fn impatient(second: SecondSignal) {
    let system = System::with_arbiters(2).unwrap();
    let spec = ProcessSpec::new("sh").args(["-c", "sleep 1000 & wait"]);
    let place = ProcessPlace::new(&system, spec.label("sleeper"), |_, _| {});
    let tree = Supervisor::builder("tree").child(place).start(&system);
    let shutdown = Shutdown::new(&system).second_signal(second);
    shutdown.tree(&tree);
    announce(&shutdown, Phase::StopTakingWork, "door closed");
    shutdown.on(Phase::FinishWork, "a long request", || async {
        say("finishing");
        std::future::pending::<()>().await;
    });
    let over = shutdown.on_signals().unwrap();
    futures::executor::block_on(tree.up()).unwrap();
    let pid = tree.observe().find("sleeper").unwrap().pid.unwrap();
    say(&format!("pid {pid}"));
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
    let system = System::with_arbiters(1).unwrap();
    let blocks = system.actor(|| Blocks).label("blocks").start();
    let shutdown = Shutdown::new(&system).deadline(Phase::Stop, ms(10));
    announce(&shutdown, Phase::FinishWork, "finished");
    let over = shutdown.on_signals().unwrap();
    blocks.try_tell(Block).unwrap();
    let report = futures::executor::block_on(over);
    say(&report.to_string());
    report.exit();
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
        let over = shutdown.on_signals().unwrap();
        blocks.tell(Block).await.unwrap();
        over.await.exit();
    })
    .unwrap();
}

/// Does not end when it should.
fn lingers() {
    let system = System::with_arbiters(1).unwrap();
    let shutdown = Shutdown::new(&system);
    let over = shutdown.on_signals().unwrap();
    say("up");
    futures::executor::block_on(over);
    drop((shutdown, system));
    say("over");
    loop {
        std::thread::park();
    }
}

/// A program that runs. Killed if the test fails.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    said: String,
}

impl Running {
    fn start(program: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
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
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
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
            let read = self.out.read_line(&mut line).unwrap();
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
        assert!(kill.unwrap().success());
    }

    /// Waits for its end: its exit code, the rest of what it said, and what it said to stderr.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut rest, mut errors) = (String::new(), String::new());
        self.out.read_to_string(&mut rest).unwrap();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), rest, errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error: it has ended.
        let _ = self.child.kill();
    }
}

/// Whether a process runs. One that waits to be reaped by somebody else doesn't.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let state = stat.ok().and_then(|stat| {
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.chars().next()
    });
    state.is_some_and(|state| !"ZX".contains(state))
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
        let (_, pid) = program.said.split_once("pid ").unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        assert!(runs(&pid));
        program.signal("-TERM");
        program.until("finishing");
        program.signal(signal);
        let (found, rest, errors) = program.end();
        assert_eq!(found, Some(code), "{rest}{errors}");
        assert_eq!(rest, "", "no report");
        let line = format!("{name} again: ended at once; cut off: a long request, tree");
        assert!(errors.lines().any(|found| found == line), "{errors}");
        assert!(!runs(&pid), "the child process is still there");
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
fn when_the_plan_has_run_a_signal_ends_the_process() {
    let mut program = Running::start("lingers");
    program.until("up");
    program.signal("-TERM");
    program.until("over");
    program.signal("-INT");
    let (code, rest, errors) = program.end();
    assert_eq!(code, Some(130), "{rest}{errors}");
}
