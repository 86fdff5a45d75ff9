//! Processes that speak no protocol.

use tracing::field::{Field, Visit};
use tracing::{Dispatch, span};

use super::*;

/// What was traced for processes, as `stream child: text`.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

struct Line {
    child: String,
    pid: u64,
    stream: String,
    text: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.text = format!("{value:?}");
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "pid" {
            self.pid = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "child" => self.child = value.to_owned(),
            "stream" => self.stream = value.to_owned(),
            _ => {}
        }
    }
}

impl tracing::Subscriber for Recorder {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "callboard::process"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line {
            child: String::new(),
            pid: 0,
            stream: String::new(),
            text: String::new(),
        };
        event.record(&mut line);
        assert_ne!(line.pid, 0);
        let Line {
            child,
            stream,
            text,
            ..
        } = line;
        self.0.lock().push(format!("{stream} {child}: {text}"));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Has what the first arbiter traces recorded, for as long as its system lives.
fn record(bench: &Bench) -> Recorder {
    let recorder = Recorder::default();
    let dispatch = Dispatch::new(recorder.clone());
    let (tx, rx) = futures::channel::oneshot::channel();
    bench
        .system
        .spawn(Placement::Pinned(0), move || async move {
            let _guard = tracing::dispatcher::set_default(&dispatch);
            tx.send(()).unwrap();
            futures::future::pending::<()>().await;
        });
    block_on(rx).unwrap();
    recorder
}

fn traced(spec: ProcessSpec) -> (Bench, Recorder) {
    let mut bench = Bench::plain(spec);
    let place = ProcessPlace::plain(&bench.system, ProcessSpec::new("nothing"));
    let place = std::mem::replace(&mut bench.place, place);
    bench.place = place.placement(Placement::Pinned(0));
    let recorder = record(&bench);
    (bench, recorder)
}

#[test]
fn a_plain_process_is_heard_line_by_line_and_ends_with_its_lifeline() {
    let script = "trap '' TERM; echo hello; echo two words; echo oops >&2; cat; printf bye";
    let spec = ProcessSpec::new("sh").arg("-c").arg(script);
    let (bench, recorder) = traced(spec.label("plain").stderr(Output::Trace));
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    while recorder.0.lock().len() < 3 {
        std::thread::yield_now();
    }
    // It reads its stdin, where nothing comes, until that ends.
    assert!(exists(bench.pid()));
    bench.place.stop();
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
    let lines = recorder.0.lock().clone();
    let (stdout, stderr): (Vec<_>, Vec<_>) = lines
        .iter()
        .map(String::as_str)
        .partition(|line| line.starts_with("stdout"));
    assert_eq!(
        stdout,
        [
            "stdout plain: hello",
            "stdout plain: two words",
            "stdout plain: bye"
        ]
    );
    assert_eq!(stderr, ["stderr plain: oops"]);
}

/// The recipe of the module's documentation.
#[test]
fn a_program_that_never_reads_its_stdin_can_end_with_it_all_the_same() {
    let prog = "exec sleep 1000 </dev/null 3<&-";
    let bench = Bench::shell(&format!(
        "exec 3<&0; (cat <&3 >/dev/null; kill $$) & {prog}"
    ));
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    // As when this process is killed: the pipe is closed, and no signal comes.
    bench.streams.lock().clear();
    assert_eq!(next(&mut events), failed("signal 15 (SIGTERM)"));
}

#[test]
fn what_goes_nowhere_is_not_heard() {
    let spec = ProcessSpec::new("sh")
        .arg("-c")
        .arg("echo hello; echo oops >&2");
    let (bench, recorder) = traced(spec.stdout(Output::Null).stderr(Output::Null));
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
    assert_eq!(*recorder.0.lock(), [""; 0]);
}

#[test]
fn g05_a_process_that_never_stops_talking_leaves_turns_to_others() {
    let script = "while :; do echo 0123456789012345678901234567890123456789; done";
    let (bench, recorder) = traced(ProcessSpec::new("sh").arg("-c").arg(script));
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    for _ in 0..50 {
        let (tx, rx) = futures::channel::oneshot::channel();
        bench
            .system
            .spawn(Placement::Pinned(0), move || async move {
                tx.send(()).unwrap();
            });
        block_on(rx).unwrap();
    }
    while recorder.0.lock().len() < 1000 {
        std::thread::yield_now();
    }
    bench.place.kill();
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Killed));
}
