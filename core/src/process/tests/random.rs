//! Random lives of a process, against a small model of what its owner must hear.

use proptest::prelude::*;

use super::*;
use crate::process::SignalError;

/// What is done to the process, or by it.
#[derive(Debug, Clone, Copy)]
enum Step {
    Stop,
    Kill,
    Send(Signal),
    /// It is told to exit with that status.
    Exit(u8),
}

const FATAL: u8 = 78;

/// What ends a process that doesn't ignore it.
const DEADLY: &[Signal] = &[Signal::HUP, Signal::USR1, Signal::TERM];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
        3 => Just(Step::Send(Signal::STOP)),
        3 => Just(Step::Send(Signal::CONT)),
        3 => prop::sample::select(DEADLY).prop_map(Step::Send),
        1 => Just(Step::Send(Signal::KILL)),
        2 => prop::sample::select(vec![0, 1, 3, FATAL, 255]).prop_map(Step::Exit),
    ]
}

/// What is known of a process that runs.
#[derive(Default)]
struct Model {
    /// What it takes no notice of.
    ignored: Vec<Signal>,
    frozen: bool,
    /// Sent while it was frozen: what it dies of when it goes on. The lowest number comes first.
    pending: Option<Signal>,
    /// What it was told while it was frozen: it reads that when it goes on.
    told: Option<u8>,
}

impl Model {
    /// What its owner must hear of that step, if it ends the process.
    fn step(&mut self, step: Step) -> Option<ExitReason> {
        match step {
            // A frozen one goes on, and finds SIGTERM; a signal of lower number that waits ends it before. One that
            // ignores SIGTERM finds what it was told, or the end of its stdin, which its `read` makes a 1.
            Step::Stop => Some(match self.pending.filter(|first| *first != Signal::TERM) {
                Some(first) => by_signal(first),
                None if self.ignored.contains(&Signal::TERM) => by_status(self.told.unwrap_or(1)),
                None => ExitReason::Stopped,
            }),
            Step::Kill => Some(ExitReason::Killed),
            Step::Send(Signal::KILL) => Some(by_signal(Signal::KILL)),
            Step::Send(Signal::STOP) => {
                self.frozen = true;
                None
            }
            Step::Send(Signal::CONT) => {
                self.frozen = false;
                let signal = self.pending.map(by_signal);
                signal.or_else(|| self.told.map(by_status))
            }
            Step::Send(signal) if self.ignored.contains(&signal) => None,
            Step::Send(signal) if self.frozen => {
                let lower = self
                    .pending
                    .filter(|first| first.number() < signal.number());
                self.pending = lower.or(Some(signal));
                None
            }
            Step::Send(signal) => Some(by_signal(signal)),
            Step::Exit(status) if self.frozen => {
                self.told = self.told.or(Some(status));
                None
            }
            Step::Exit(status) => Some(by_status(status)),
        }
    }
}

fn by_signal(signal: Signal) -> ExitReason {
    ExitReason::Failed(format!("signal {} ({signal})", signal.number()).into())
}

fn by_status(status: u8) -> ExitReason {
    match status {
        0 => ExitReason::Stopped,
        FATAL => ExitReason::Failed(Fault::fatal("exit status 78")),
        status => ExitReason::Failed(format!("exit status {status}").into()),
    }
}

fn check(ignored: &[Signal], steps: &[Step]) {
    let traps = ignored.iter();
    let traps = traps.map(|signal| format!("trap '' {};", signal.number()));
    let traps: String = traps.collect();
    let script = format!("{traps} sleep 1000 & echo $!; read status; exit $status");
    let spec = ProcessSpec::new("sh").arg("-c").arg(script);
    let bench = Bench::new(spec.fatal_status(FATAL));
    let process = bench.place.reference();
    let inherited = ignored_here();
    let mut steps = steps.iter().copied().peekable();
    let mut incarnation = Incarnation::default();
    while steps.peek().is_some() {
        incarnation = incarnation.next();
        let error = process.signal(Signal::KILL).unwrap_err();
        assert!(matches!(error, SignalError::NotRunning { .. }), "{error}");
        let mut events = bench.start();
        assert_eq!(next(&mut events), ChildEvent::Started);
        assert_eq!(process.incarnation(), incarnation);
        let pid = process.pid().unwrap();
        let grandchild: u32 = read_line(&bench).parse().unwrap();
        let mut model = Model {
            ignored: inherited.iter().chain(ignored).copied().collect(),
            ..Model::default()
        };
        let expected = loop {
            // What is left at the end is ended as a supervisor does it.
            let step = steps.next().unwrap_or(Step::Kill);
            match step {
                Step::Stop => bench.place.stop(),
                Step::Kill => bench.place.kill(),
                // Else a signal of a lower number, sent after it, would come before it.
                Step::Send(Signal::STOP) => freeze(&bench),
                Step::Send(signal) => process.signal_incarnation(incarnation, signal).unwrap(),
                Step::Exit(status) => bench.with_stream(move |mut stream| async move {
                    let line = format!("{status}\n");
                    stream.write_all(line.as_bytes()).await.unwrap();
                    (stream, ())
                }),
            }
            if let Some(reason) = model.step(step) {
                break reason;
            }
        };
        assert_eq!(next(&mut events), ChildEvent::Ended(expected));
        assert_eq!(
            block_on(events.next()),
            None,
            "something came after the last"
        );
        assert!(!exists(pid));
        assert!(is_gone_or_zombie(grandchild));
        bench.streams.lock().clear();
    }
}

/// Which of them these tests were started to ignore: SIGHUP under `nohup`, say. What they start ignores it too.
fn ignored_here() -> Vec<Signal> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    let is_ignored = |signal: &Signal| mask >> (signal.number() - 1) & 1 == 1;
    DEADLY.iter().copied().filter(is_ignored).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn g12_every_life_of_a_process_ends_with_the_one_reason_it_ended_for(
        ignored in prop::sample::subsequence(DEADLY, 0..=1),
        steps in prop::collection::vec(step(), 1..12),
    ) {
        check(&ignored, &steps);
    }
}
