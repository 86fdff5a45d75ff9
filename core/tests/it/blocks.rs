//! The watchdog: code that blocks a thread is reported from another (G7).

use std::fmt::Debug;
use std::sync::{Once, mpsc};
use std::time::Duration;

use callboard::{Actor, ActorRef, Context, Handler, Message, Placement, System};
use futures::channel::oneshot;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::common::{Note, worker};

/// What turns may take in these tests.
///
/// Long enough that a busy machine, which may take a thread away for a while, is no block.
const LIMIT: Duration = Duration::from_millis(100);
/// How long a test waits for a report that doesn't come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The fields of a report, as `name=value`.
type Report = Vec<String>;

static LISTENERS: Mutex<Vec<mpsc::Sender<Report>>> = Mutex::new(Vec::new());

/// Hands every report of a watchdog to every listener: tests of one process share the log.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "callboard::watchdog"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        LISTENERS
            .lock()
            .retain(|listener| listener.send(fields.0.clone()).is_ok());
    }
}

struct Fields(Report);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push(format!("{field}={value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push(format!("{field}={value}"));
    }
}

/// The reports from now on.
fn listen() -> mpsc::Receiver<Report> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Listener).unwrap());
    let (tx, rx) = mpsc::channel();
    LISTENERS.lock().push(tx);
    rx
}

/// Waits for the report about that actor. Answers what else was reported until then, too.
fn wait_for(reports: &mpsc::Receiver<Report>, actor: &str) -> Vec<Report> {
    let mut seen = Vec::new();
    loop {
        let report = reports.recv_timeout(PATIENCE).unwrap();
        let is_it = about(&report, actor);
        seen.push(report);
        if is_it {
            return seen;
        }
    }
}

fn about(report: &Report, actor: &str) -> bool {
    report.contains(&format!("actor={actor}"))
}

struct Blocker;

impl Actor for Blocker {}

/// Blocks the thread until the gate opens.
#[derive(Message)]
struct Block(mpsc::Receiver<()>);

impl Handler<Block> for Blocker {
    async fn handle(&mut self, Block(gate): Block, _: &mut Context<Self>) {
        let _ = gate.recv();
    }
}

/// Waits for the first as it should, then blocks the thread until the second.
#[derive(Message)]
struct BlockLater(oneshot::Receiver<()>, mpsc::Receiver<()>);

impl Handler<BlockLater> for Blocker {
    async fn handle(&mut self, BlockLater(first, gate): BlockLater, _: &mut Context<Self>) {
        let _ = first.await;
        let _ = gate.recv();
    }
}

/// Asks another, who may run on this stack.
#[derive(Message)]
struct AskThat(ActorRef<Blocker>, mpsc::Receiver<()>);

impl Handler<AskThat> for Blocker {
    async fn handle(&mut self, AskThat(other, gate): AskThat, _: &mut Context<Self>) {
        other.ask(Block(gate)).await.unwrap();
    }
}

/// A gate that is open.
fn open() -> mpsc::Receiver<()> {
    let (_, gate) = mpsc::channel();
    gate
}

fn system(arbiters: usize) -> System {
    let system = System::with_arbiters(arbiters).unwrap();
    system.block_limit(Some(LIMIT));
    system
}

fn blocker(system: &System, label: &str, placement: Placement) -> ActorRef<Blocker> {
    let spawn = system.actor(|| Blocker).label(label).placement(placement);
    spawn.start()
}

/// Blocks an actor until what is answered is dropped.
fn block(actor: &ActorRef<Blocker>) -> mpsc::Sender<()> {
    let (gate_tx, gate_rx) = mpsc::channel();
    actor.tell(Block(gate_rx)).blocking().unwrap();
    gate_tx
}

#[test]
fn g07_a_handler_that_blocks_its_thread_is_reported_once_by_name() {
    let reports = listen();
    let system = system(2);
    let first = blocker(&system, "g07 first", Placement::Pinned(0));
    let gate = block(&first);
    let report = wait_for(&reports, "g07 first").pop().unwrap();
    assert!(report.contains(&"arbiter=0".to_owned()), "{report:?}");
    let message = format!("message={}", std::any::type_name::<Block>());
    assert!(report.contains(&message), "{report:?}");
    let blocked = &system.blocked()[0];
    assert_eq!((blocked.arbiter, blocked.actor), (0, Some(first.id())));
    assert_eq!(blocked.label, "g07 first");
    assert_eq!(blocked.message, std::any::type_name::<Block>());
    assert!(blocked.lasted >= LIMIT, "{blocked:?}");
    assert!(blocked.since + blocked.lasted <= system.clock().now());
    assert!(system.counters().blocks() >= 1);
    // While another is found, which takes some looks, the first isn't reported again.
    let second = blocker(&system, "g07 second", Placement::Pinned(1));
    let other_gate = block(&second);
    let until = wait_for(&reports, "g07 second");
    assert!(!until.iter().any(|report| about(report, "g07 first")));
    assert!(system.counters().blocks() >= 2);
    // It goes on, and is on the list no longer. Blocking anew is another block.
    drop((gate, other_gate));
    first.ask(Block(open())).blocking().unwrap();
    second.ask(Block(open())).blocking().unwrap();
    assert!(system.blocked().iter().all(|other| other != blocked));
    let gate = block(&first);
    wait_for(&reports, "g07 first");
    drop(gate);
    futures::executor::block_on(system.shutdown());
}

#[test]
fn g07_a_handler_that_blocks_after_it_waited_is_reported_by_name() {
    let reports = listen();
    let system = system(1);
    let actor = blocker(&system, "g07 later", Placement::Spread);
    let (first_tx, first_rx) = oneshot::channel();
    let (gate_tx, gate_rx) = mpsc::channel();
    actor
        .tell(BlockLater(first_rx, gate_rx))
        .blocking()
        .unwrap();
    // Meanwhile its arbiter has had other messages in hand.
    let (worker, _) = worker(&system);
    worker.ask(Note(1)).blocking().unwrap();
    first_tx.send(()).unwrap();
    let report = wait_for(&reports, "g07 later").pop().unwrap();
    let message = format!("message={}", std::any::type_name::<BlockLater>());
    assert!(report.contains(&message), "{report:?}");
    drop(gate_tx);
    futures::executor::block_on(system.shutdown());
}

#[test]
fn g07_who_blocks_on_its_askers_stack_is_the_one_that_is_named() {
    let reports = listen();
    let system = system(1);
    let callee = blocker(&system, "g07 callee", Placement::Spread);
    let caller = blocker(&system, "g07 caller", Placement::Spread);
    callee.ask(Block(open())).blocking().unwrap();
    let (gate_tx, gate_rx) = mpsc::channel();
    caller.tell(AskThat(callee, gate_rx)).blocking().unwrap();
    let seen = wait_for(&reports, "g07 callee");
    assert!(!seen.iter().any(|report| about(report, "g07 caller")));
    drop(gate_tx);
    futures::executor::block_on(system.shutdown());
}

#[test]
fn g07_a_thread_of_its_own_may_be_blocked_unless_said_otherwise() {
    let reports = listen();
    let system = system(1);
    let own = blocker(&system, "g07 own", Placement::OwnThread);
    let own_gate = block(&own);
    let shared = blocker(&system, "g07 shared", Placement::Spread);
    let gate = block(&shared);
    let until = wait_for(&reports, "g07 shared");
    assert!(!until.iter().any(|report| about(report, "g07 own")));
    system.own_thread_block_limit(Some(LIMIT));
    wait_for(&reports, "g07 own");
    drop((own_gate, gate));
    futures::executor::block_on(system.shutdown());
}

#[test]
fn g07_a_program_that_blocks_its_first_thread_is_reported() {
    let reports = listen();
    let main = |system: System| async move {
        system.block_limit(Some(LIMIT));
        // Other programs of this process may block meanwhile, too.
        let mut blocked = system.blocked();
        while blocked.is_empty() {
            wait_for(&reports, "-");
            blocked = system.blocked();
        }
        blocked.swap_remove(0)
    };
    let blocked = callboard::run(main).unwrap();
    assert_eq!((blocked.arbiter, blocked.actor), (0, None));
    assert_eq!((blocked.label.as_str(), blocked.message), ("", ""));
}

#[callboard::test]
async fn g07_in_virtual_time_nothing_is_blocked(system: System) {
    system.block_limit(Some(Duration::ZERO));
    let (worker, _) = worker(&system);
    worker.ask(Note(1)).await.unwrap();
    system.clock().sleep(Duration::from_secs(3600)).await;
    assert!(system.blocked().is_empty());
    assert_eq!(system.counters().blocks(), 0);
}
