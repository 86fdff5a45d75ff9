//! What a process may use, and statuses that mean more than others.

use std::path::PathBuf;

use super::*;
use crate::fault::FailureClass;
use crate::process::Limit;

fn shell(script: &str) -> ProcessSpec {
    ProcessSpec::new("sh").arg("-c").arg(script)
}

/// A path for a file of one test, which is removed with it.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        let number = std::process::id();
        Scratch(std::env::temp_dir().join(format!("callboard-{number}-{name}")))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_limit_holds_before_the_stream_is_lent() {
    let spec = shell("read go; ulimit -n; ulimit -Hn; ulimit -v; ulimit -t; ulimit -c; read go")
        .limit(Limit::OpenFiles, 99)
        .limit(Limit::OpenFiles, 33)
        .limit(Limit::AddressSpace, 1 << 30)
        .limit(Limit::CpuTime, 7)
        .limit(Limit::CoreSize, 0);
    let bench = Bench::new(spec);
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    bench.write("go\n");
    for expected in ["33", "33", "1048576", "7", "0"] {
        assert_eq!(read_line(&bench), expected);
    }
    bench.write("go\n");
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
}

#[test]
fn who_writes_too_large_a_file_is_told_by_a_signal() {
    let file = Scratch::new("too-large");
    let spec = shell("read go; exec head -c 100000 /dev/zero > \"$FILE\"")
        .env("FILE", &file.0)
        .limit(Limit::FileSize, 4096);
    let bench = Bench::new(spec);
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    bench.write("go\n");
    assert_eq!(next(&mut events), failed("signal 25 (SIGXFSZ)"));
    assert_eq!(std::fs::metadata(&file.0).unwrap().len(), 4096);
}

#[test]
fn who_opens_too_many_files_is_refused_the_next() {
    // Many more than it has anyway: what these tests were started with open, it has too.
    let open = |files| format!("tee {} </dev/null", "/dev/null ".repeat(files));
    let (few, many) = (open(20), open(64));
    let spec = shell(&format!(
        "read go; {few} && echo few; {many} || echo refused"
    ))
    .stderr(Output::Null)
    .limit(Limit::OpenFiles, 64);
    let bench = Bench::new(spec);
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    bench.write("go\n");
    assert_eq!(read_line(&bench), "few");
    assert_eq!(read_line(&bench), "refused");
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
}

#[test]
fn who_uses_up_its_time_on_the_processor_is_told_by_a_signal() {
    let spec = shell("read go; while :; do :; done").limit(Limit::CpuTime, 1);
    let bench = Bench::new(spec);
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    bench.write("go\n");
    assert_eq!(next(&mut events), failed("signal 24 (SIGXCPU)"));
}

#[test]
fn niceness_is_of_the_process() {
    let bench = Bench::new(shell("read go").nice(11));
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    let pid = i32::try_from(bench.pid()).unwrap();
    let nice = rustix::process::getpriority_process(rustix::process::Pid::from_raw(pid));
    // One that is nicer than that runs the tests.
    let ours = rustix::process::getpriority_process(None).unwrap();
    assert_eq!(nice.unwrap(), 11, "and ours is {ours}");
}

#[test]
fn g16_a_limit_that_the_system_refuses_is_a_failed_start_that_names_it() {
    // More than the system has for anybody.
    let place = Bench::new(shell("read go").limit(Limit::OpenFiles, u64::MAX - 1));
    let mut events = place.start();
    let event = next(&mut events);
    let why = start_failure(&event);
    assert_eq!(why.class(), FailureClass::Recoverable);
    for part in [
        "`sh`",
        "open files",
        "18446744073709551614",
        "not permitted",
    ] {
        assert!(why.text().contains(part), "{why}");
    }
    assert!(place.streams.lock().is_empty(), "its stream was lent");
    assert_eq!(place.place.status().pid, None);
    assert_eq!(block_on(events.next()), None, "the start was told twice");
}

#[test]
fn g16_a_description_that_makes_no_sense_is_a_fatal_failure_to_start() {
    let beating = shell("read go").heartbeat(Duration::from_secs(5));
    let cases = [
        (shell("read go").nice(20), "niceness is 20"),
        (shell("read go").nice(-21), "niceness is -21"),
        (shell("read go").fatal_status(0), "exit status 0"),
        (shell("read go").heartbeat(Duration::ZERO), "limit of zero"),
        (beating.clone().stdout(Output::Null), "`Null`"),
        (beating.stdout(Output::Inherit), "`Inherit`"),
    ];
    for (spec, part) in cases {
        let event = next(&mut Bench::plain(spec).start());
        let why = start_failure(&event);
        assert_eq!(why.class(), FailureClass::Fatal, "{why}");
        assert!(why.text().contains("`sh`"), "{why}");
        assert!(why.text().contains(part), "{why}");
    }
}

#[test]
fn g12_a_fatal_status_is_a_failure_of_class_fatal() {
    for (status, class) in [
        (78, FailureClass::Fatal),
        (64, FailureClass::Fatal),
        (77, FailureClass::Recoverable),
        (1, FailureClass::Recoverable),
    ] {
        let spec = shell(&format!("exit {status}"))
            .fatal_status(78)
            .fatal_status(64);
        let bench = Bench::plain(spec);
        let mut events = bench.start();
        assert_eq!(next(&mut events), ChildEvent::Started);
        let fault = Fault::new(class, format!("exit status {status}"));
        let expected = ChildEvent::Ended(ExitReason::Failed(fault));
        assert_eq!(next(&mut events), expected);
    }
    // An orderly end stays one.
    let bench = Bench::plain(shell("exit 0").fatal_status(78));
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
}
