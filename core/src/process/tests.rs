//! Real processes on real arbiters: `sh`, as on every Unix.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Output, ProcessPlace, ProcessSpec, ProcessStream, Signal};
use crate::clock::Clock;
use crate::executor::block_on;
use crate::fault::Fault;
use crate::id::Incarnation;
use crate::place::{ChildEvent, ChildKind, Place, Terms};
use crate::spawn::Placement;
use crate::system::System;
use crate::watch::ExitReason;

mod handle;
mod heartbeat;
mod limits;
mod plain;
mod random;
mod starts;

type Events = mpsc::Receiver<(Incarnation, ChildEvent)>;

struct Bench {
    system: System,
    place: ProcessPlace,
    streams: Arc<Mutex<Vec<ProcessStream>>>,
}

impl Bench {
    fn new(spec: ProcessSpec) -> Self {
        let system = System::with_arbiters(1).unwrap();
        let streams = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&streams);
        let place = ProcessPlace::new(&system, spec, move |stream, _| kept.lock().push(stream));
        Bench {
            system,
            place,
            streams,
        }
    }

    /// One that speaks no protocol.
    fn plain(spec: ProcessSpec) -> Self {
        let system = System::with_arbiters(1).unwrap();
        let place = ProcessPlace::plain(&system, spec);
        Bench {
            system,
            place,
            streams: Arc::default(),
        }
    }

    fn shell(script: &str) -> Self {
        Bench::new(ProcessSpec::new("sh").arg("-c").arg(script))
    }

    fn start(&self) -> Events {
        let (tx, rx) = mpsc::channel(64);
        let tx = Mutex::new(tx);
        self.place
            .start(Terms::new(Arc::new(move |incarnation, event| {
                tx.lock().try_send((incarnation, event)).unwrap();
            })));
        rx
    }

    fn pid(&self) -> u32 {
        self.place.status().pid.unwrap()
    }

    /// Does something with the newest stream, on an arbiter.
    fn with_stream<T, Fut>(&self, io: impl FnOnce(ProcessStream) -> Fut + Send + 'static) -> T
    where
        T: Send + 'static,
        Fut: Future<Output = (ProcessStream, T)> + 'static,
    {
        let stream = self.streams.lock().pop().unwrap();
        let (tx, rx) = futures::channel::oneshot::channel();
        let streams = Arc::clone(&self.streams);
        self.system.spawn(Placement::Pinned(0), move || async move {
            let (stream, result) = io(stream).await;
            streams.lock().push(stream);
            assert!(tx.send(result).is_ok());
        });
        block_on(rx).unwrap()
    }

    /// Writes to the child's stdin.
    fn write(&self, text: &'static str) {
        self.with_stream(move |mut stream| async move {
            stream.write_all(text.as_bytes()).await.unwrap();
            (stream, ())
        });
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.place.kill();
        block_on(self.system.shutdown());
    }
}

#[track_caller]
fn next(events: &mut Events) -> ChildEvent {
    let due = Clock::machine().sleep(Duration::from_secs(30));
    let next = futures::future::select(events.next(), due);
    match block_on(next) {
        futures::future::Either::Left((Some((_, event)), _)) => event,
        _ => panic!("no event"),
    }
}

fn failed(why: &str) -> ChildEvent {
    ChildEvent::Ended(ExitReason::Failed(why.into()))
}

/// Reads one line of the newest stream.
fn read_line(bench: &Bench) -> String {
    bench.with_stream(|mut stream| async move {
        let mut line = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            if byte == b'\n' {
                break;
            }
            line.push(byte);
        }
        (stream, String::from_utf8(line).unwrap())
    })
}

#[track_caller]
fn start_failure(event: &ChildEvent) -> &Fault {
    match event {
        ChildEvent::StartFailed(why) => why,
        event => panic!("{event:?}"),
    }
}

/// Whether a process with that number exists, dead but not reaped ones included.
fn exists(pid: u32) -> bool {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::test_kill_process(pid).is_ok()
}

#[test]
fn g13_ended_is_reported_after_the_process_was_reaped() {
    let bench = Bench::shell("read line");
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    let pid = bench.pid();
    assert!(exists(pid));
    bench.streams.lock().clear();
    assert_eq!(next(&mut events), failed("exit status 1"));
    assert!(!exists(pid));
    assert_eq!(bench.place.status().pid, None);
    assert_eq!(bench.place.kind(), ChildKind::Process);
    assert_eq!(bench.place.label(), "sh");
}

#[test]
fn g12_the_exit_status_is_the_reason() {
    for (script, expected) in [
        ("exit 0", ChildEvent::Ended(ExitReason::Stopped)),
        ("exit 3", failed("exit status 3")),
        ("kill -9 $$", failed("signal 9 (SIGKILL)")),
        ("kill -15 $$", failed("signal 15 (SIGTERM)")),
    ] {
        let bench = Bench::shell(script);
        let mut events = bench.start();
        assert_eq!(next(&mut events), ChildEvent::Started);
        assert_eq!(next(&mut events), expected, "{script}");
    }
}

#[test]
fn g16_a_missing_program_is_a_failed_start_that_names_it() {
    let bench = Bench::new(ProcessSpec::new("/nowhere/thumbnailer"));
    let event = next(&mut bench.start());
    let why = start_failure(&event).text();
    assert!(why.contains("/nowhere/thumbnailer"), "{why}");
}

#[test]
fn g16_on_the_simulating_executor_a_start_fails_and_says_why() {
    let mut simulation = crate::Simulation::new(1);
    let place = ProcessPlace::new(simulation.system(), ProcessSpec::new("sh"), |_, _| {});
    let (tx, rx) = futures::channel::oneshot::channel();
    let tx = Mutex::new(Some(tx));
    place.start(Terms::new(Arc::new(move |_, event| {
        tx.lock().take().unwrap().send(event).unwrap();
    })));
    let event = simulation.block_on(rx).unwrap();
    let why = start_failure(&event).text();
    assert!(why.contains("simulating"), "{why}");
}

#[test]
fn g10_a_panic_in_on_stream_is_a_failed_start_and_leaves_no_process() {
    let system = System::with_arbiters(1).unwrap();
    let spec = ProcessSpec::new("sleep").arg("1000");
    let place = ProcessPlace::new(&system, spec, |_, _| panic!("no room for a stream"));
    let (tx, mut events) = mpsc::channel(8);
    let tx = Mutex::new(tx);
    place.start(Terms::new(Arc::new(move |incarnation, event| {
        tx.lock().try_send((incarnation, event)).unwrap();
    })));
    let event = next(&mut events);
    assert!(
        matches!(&event, ChildEvent::StartFailed(why) if why.text().contains("no room")),
        "{event:?}"
    );
    assert_eq!(place.status().pid, None);
    block_on(system.shutdown());
}

#[test]
fn a_byte_stream_in_both_directions() {
    let bench = Bench::shell("read line; echo \"got $line\"; exec cat > /dev/null");
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    bench.write("hello\n");
    assert_eq!(read_line(&bench), "got hello");
    bench.place.stop();
    assert!(matches!(next(&mut events), ChildEvent::Ended(_)));
}

#[test]
fn g11_a_stop_reaches_a_process_that_was_frozen() {
    let bench = Bench::shell("echo up; exec sleep 60");
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    assert_eq!(read_line(&bench), "up");
    freeze(&bench);
    bench.place.stop();
    // Not `Killed`, which would come after its shutdown time.
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
}

#[test]
fn g11_stop_closes_stdin_and_terminates() {
    // A child that heeds its lifeline ends by itself, whatever it does about SIGTERM.
    let bench = Bench::shell("trap '' TERM; echo up; cat > /dev/null; exit 0");
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    assert_eq!(read_line(&bench), "up");
    bench.place.stop();
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
    // One that doesn't read stdin ends by SIGTERM, and that is an orderly end too.
    let bench = Bench::new(ProcessSpec::new("sleep").arg("1000"));
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    bench.place.stop();
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
}

#[test]
fn g11_what_heeds_neither_is_killed_after_its_shutdown_time() {
    let script = "trap '' TERM; echo up; while :; do sleep 1000 & wait; done";
    let spec = ProcessSpec::new("sh").arg("-c").arg(script);
    let bench = Bench::new(spec.shutdown_time(Duration::from_millis(50)));
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    assert_eq!(read_line(&bench), "up");
    bench.place.stop();
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Killed));
}

#[test]
fn g11_kill_ends_the_whole_process_group() {
    let bench = Bench::shell("sleep 1000 & echo $!; wait");
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    let grandchild: u32 = read_line(&bench).parse().unwrap();
    assert!(exists(grandchild));
    bench.place.kill();
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Killed));
    assert!(is_gone_or_zombie(grandchild));
}

#[test]
fn what_a_child_started_does_not_outlive_it() {
    let bench = Bench::shell("sleep 1000 & echo $!; exit 3");
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    let grandchild: u32 = read_line(&bench).parse().unwrap();
    assert_eq!(next(&mut events), failed("exit status 3"));
    assert!(is_gone_or_zombie(grandchild));
}

/// Sends SIGSTOP, and waits until it has taken effect.
fn freeze(bench: &Bench) {
    bench.place.reference().signal(Signal::STOP).unwrap();
    let state = format!("/proc/{}/stat", bench.pid());
    while !std::fs::read_to_string(&state).unwrap().contains(") T ") {
        std::thread::yield_now();
    }
}

/// Whether a process with that number is dead: gone, or a zombie, which is an orphan until init gets to it.
fn is_dead(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    let state = stat.rsplit(')').next().unwrap_or_default();
    state.trim_start().starts_with(['Z', 'X'])
}

/// Waits until it is: SIGKILL takes effect when the process is next scheduled.
fn is_gone_or_zombie(pid: u32) -> bool {
    let due = Clock::machine().now() + Duration::from_secs(30);
    while Clock::machine().now() < due {
        if is_dead(pid) {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn g13_each_start_is_a_new_incarnation_with_a_stream_of_its_own() {
    let system = System::with_arbiters(1).unwrap();
    let streams = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&streams);
    let spec = ProcessSpec::new("sh").arg("-c").arg("echo $N");
    let place = ProcessPlace::new(&system, spec, move |stream, _| kept.lock().push(stream));
    let bench = Bench {
        system,
        place: place.each_start(|spec, n| spec.env("N", n.to_string())),
        streams,
    };
    for n in 1..=3 {
        let mut events = bench.start();
        assert_eq!(next(&mut events), ChildEvent::Started);
        assert_eq!(read_line(&bench), n.to_string());
        assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
        assert_eq!(bench.place.status().incarnation, Incarnation(n));
    }
}

#[test]
fn writing_to_a_stopped_child_fails_and_reading_sees_the_end() {
    let spec = ProcessSpec::new("sleep").arg("1000").stderr(Output::Trace);
    let bench = Bench::new(spec);
    let mut events = bench.start();
    assert_eq!(next(&mut events), ChildEvent::Started);
    let mut stream = bench.streams.lock().pop().unwrap();
    let (full_tx, full_rx) = futures::channel::oneshot::channel();
    let (tx, rx) = futures::channel::oneshot::channel();
    let placement = Placement::Pinned(0);
    bench.system.spawn(placement, move || async move {
        // Nobody reads: the pipe fills up, and the writer waits until it is told of the end.
        let megabyte = vec![0; 1 << 20];
        let mut full_tx = Some(full_tx);
        let mut write = Box::pin(stream.write_all(&megabyte));
        let written = futures::future::poll_fn(|cx| {
            let polled = write.as_mut().poll(cx);
            if polled.is_pending()
                && let Some(full) = full_tx.take()
            {
                full.send(()).unwrap();
            }
            polled
        })
        .await;
        drop(write);
        let end = stream.read(&mut [0; 8]).await;
        tx.send((written.unwrap_err().kind(), end.unwrap()))
            .unwrap();
    });
    block_on(full_rx).unwrap();
    bench.place.stop();
    let (error, end) = block_on(rx).unwrap();
    assert_eq!((error, end), (std::io::ErrorKind::BrokenPipe, 0));
    assert_eq!(next(&mut events), ChildEvent::Ended(ExitReason::Stopped));
}
