//! Starts that fail, and how they say why.

use super::limits::Scratch;
use super::*;

/// Why the start of such a process failed.
#[track_caller]
fn why_not(spec: ProcessSpec) -> String {
    let bench = Bench::new(spec);
    let mut events = bench.start();
    let event = next(&mut events);
    assert_eq!(bench.place.status().pid, None);
    assert_eq!(block_on(events.next()), None, "it was told twice");
    start_failure(&event).text().to_owned()
}

/// Makes a file by a shell, so that no process of another test has it open for writing just now.
fn make_file(path: &std::path::Path, text: &str, mode: &str) {
    let script = "printf '%s\\n' \"$TEXT\" > \"$FILE\" && chmod \"$MODE\" \"$FILE\"";
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(script);
    let shell = shell.env("TEXT", text).env("FILE", path).env("MODE", mode);
    assert!(shell.status().unwrap().success());
}

#[test]
fn g16_a_missing_directory_is_named_and_not_taken_for_a_missing_program() {
    let why = why_not(ProcessSpec::new("sh").directory("/nowhere/at/all"));
    assert!(
        why.starts_with("could not start `sh`: its directory `/nowhere/at/all` is not there"),
        "{why}"
    );
    // With the directory there, the program is what is missing.
    let why = why_not(ProcessSpec::new("/nowhere/thumbnailer").directory("/"));
    assert!(
        why.starts_with("could not start `/nowhere/thumbnailer` in `/`: No such file"),
        "{why}"
    );
}

#[test]
fn g16_what_is_no_program_is_named() {
    let file = Scratch::new("no-program");
    make_file(&file.0, "some text", "644");
    let path = file.0.display();
    let why = why_not(ProcessSpec::new(&file.0));
    assert!(
        why.starts_with(&format!("could not start `{path}`: Permission denied")),
        "{why}"
    );
    // A directory isn't one either.
    let why = why_not(ProcessSpec::new("/"));
    assert!(
        why.starts_with("could not start `/`: Permission denied"),
        "{why}"
    );
}

#[test]
fn g16_a_script_without_its_interpreter_is_not_taken_for_a_missing_one() {
    let file = Scratch::new("no-interpreter");
    make_file(&file.0, "#!/nowhere/python", "755");
    let path = file.0.display();
    let why = why_not(ProcessSpec::new(&file.0));
    let expected = format!("could not start `{path}`: the interpreter or loader");
    assert!(why.starts_with(&expected), "{why}");
}

#[test]
fn g16_an_argument_that_no_system_can_pass_is_a_failed_start() {
    let why = why_not(ProcessSpec::new("sh").arg("a\0b"));
    assert!(why.starts_with("could not start `sh`: "), "{why}");
}

#[test]
fn g10_a_panic_in_each_start_is_a_failed_start() {
    let mut bench = Bench::shell("read line");
    let place = ProcessPlace::plain(&bench.system, ProcessSpec::new("sh").label("shell"));
    bench.place = place.each_start(|spec, incarnation| {
        assert!(incarnation > Incarnation(1), "no port is free");
        spec.arg("-c").arg("exit 3")
    });
    let event = next(&mut bench.start());
    assert_eq!(
        start_failure(&event).text(),
        "`each_start` of `shell` panicked: no port is free"
    );
    // The next one may do better.
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    assert_eq!(next(&mut events), failed("exit status 3"));
}

#[test]
fn each_start_may_change_all_of_the_description() {
    let mut bench = Bench::shell("");
    let script = "trap '' TERM; echo up; while :; do sleep 1000 & wait; done";
    let kept = Arc::clone(&bench.streams);
    let spec = ProcessSpec::new("sh").shutdown_time(Duration::from_secs(1000));
    let place = ProcessPlace::new(&bench.system, spec, move |stream, _| {
        kept.lock().push(stream);
    });
    // Also after a reference was handed out.
    let process = place.reference();
    bench.place = place.each_start(move |spec, _| {
        let spec = spec.arg("-c").arg(script);
        spec.shutdown_time(Duration::from_millis(10))
    });
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    assert_eq!(process.pid(), Some(bench.pid()));
    assert_eq!(read_line(&bench), "up");
    bench.place.stop();
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Killed));
}

#[test]
fn g06_a_write_to_a_child_that_was_asked_to_stop_says_whose_stdin_is_closed() {
    let bench = Bench::new(ProcessSpec::new("sleep").arg("1000").label("sleeper"));
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    bench.place.stop();
    let error = bench.with_stream(|mut stream| async move {
        let error = stream.write_all(b"too late").await.unwrap_err();
        (stream, error)
    });
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(
        error.to_string(),
        "the stdin of `sleeper` is closed: it has ended or was asked to"
    );
}

#[test]
fn g11_what_is_asked_before_the_process_is_there_holds_for_it() {
    let bench = Bench::new(ProcessSpec::new("sleep").arg("1000"));
    for _ in 0..20 {
        for (kill, expected) in [(false, ExitReason::Stopped), (true, ExitReason::Killed)] {
            let mut events = bench.start();
            match kill {
                true => bench.place.kill(),
                false => bench.place.stop(),
            }
            assert_eq!(next(&mut events), ChildEvent::Started);
            assert_eq!(next(&mut events), ChildEvent::Ended(expected));
            assert_eq!(block_on(events.next()), None);
        }
    }
}

/// Whether a process with that argument runs.
fn runs_with(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes.filter_map(Result::ok).any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next() == Some(b"sleep") && words.any(|word| word == argument.as_bytes())
    })
}

#[test]
fn g13_a_system_that_ends_during_a_start_leaves_no_process() {
    // Found by what nobody else sleeps for.
    let argument = format!("1000.{}", std::process::id());
    let mut ends = Vec::new();
    for round in 0..60 {
        let spec = ProcessSpec::new("sleep").arg(&argument);
        let bench = Bench::new(spec.stderr(Output::Null));
        let mut events = bench.start();
        for _ in 0..round * 20 {
            std::thread::yield_now();
        }
        block_on(bench.system.shutdown());
        // Whether it had come up by then is a matter of luck; what it leads to isn't.
        let mut event = next(&mut events);
        if event == ChildEvent::Started {
            event = next(&mut events);
        }
        assert!(event.is_last(), "{event:?}");
        ends.push(event);
        assert_eq!(block_on(events.next()), None);
    }
    let due = Clock::machine().now() + Duration::from_secs(30);
    while runs_with(&argument) {
        assert!(Clock::machine().now() < due, "still there, after {ends:?}");
        std::thread::yield_now();
    }
}

/// Set in the process that runs the drill below: it takes away what other tests need.
const DRILL: &str = "CALLBOARD_DESCRIPTOR_DRILL";

#[test]
fn g16_without_a_file_descriptor_left_a_start_fails_and_a_later_one_succeeds() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if std::env::var_os(DRILL).is_none() {
        let name = "g16_without_a_file_descriptor_left_a_start_fails_and_a_later_one_succeeds";
        let mut drill = std::process::Command::new(std::env::current_exe().unwrap());
        let drill = drill
            .args(["--exact", &format!("process::tests::starts::{name}")])
            .arg("--nocapture")
            .env(DRILL, "1");
        let done = drill.output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout);
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{text}\n{errors}");
        assert!(text.contains("1 passed"), "{text}\n{errors}");
        return;
    }
    let bench = Bench::shell("exit 3");
    // All that a first start opens is there after one.
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    assert_eq!(next(&mut events), failed("exit status 3"));
    bench.streams.lock().clear();
    let usual = getrlimit(Resource::Nofile);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    // From no descriptor at all up to enough, so that each of those it needs is once the one that lacks.
    let mut failures = 0;
    for spare in 0..40 {
        let few = Rlimit {
            current: Some(open.saturating_sub(4) + spare),
            maximum: usual.maximum,
        };
        setrlimit(Resource::Nofile, few).unwrap();
        let mut events = bench.start();
        let event = next(&mut events);
        setrlimit(Resource::Nofile, usual).unwrap();
        if event == ChildEvent::Started {
            assert_eq!(next(&mut events), failed("exit status 3"));
            bench.streams.lock().clear();
        } else {
            failures += 1;
            let why = start_failure(&event).text();
            assert!(why.starts_with("could not start `sh`: "), "{why}");
            assert!(why.contains("Too many open files"), "{why}");
        }
        assert_eq!(bench.place.status().pid, None);
    }
    assert!((1..40).contains(&failures), "{failures} of 40 failed");
    // No child is left behind, dead or alive.
    let error = rustix::process::waitid(
        rustix::process::WaitId::All,
        rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG,
    );
    assert_eq!(error.unwrap_err(), rustix::io::Errno::CHILD);
}
