//! Dedup that outlives the process: what is on disk before what, and what a restart finds (G19).

use std::sync::Arc;

use callboard::journal::{Journal, JournalError, JournalErrorKind, Journals, OpenedJournal};
use callboard::{
    Actor, ActorRef, Context, DeferredHandler, DropReason, Failure, FailureKind, Message, Overflow,
    RequestKey, Responder, Simulation, Spawn, System, Verdict,
};
use callboard_store::{Op, Options, SimDisk, Store};
use callboard_supervision::{Dedup, DedupBuilder, ReplaySafe, Resolution};
use futures::channel::mpsc;
use futures::future::{BoxFuture, join, join_all};
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::common::{ms, secs};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Then {
    Answer,
    /// Answers some milliseconds later.
    Slow,
    /// Keeps the responder for the test.
    Keep,
    /// Stays in the handler for ever.
    Stay,
    Panic,
    Fail,
}

#[derive(Message, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[message(reply = Receipt, name = "till.pay")]
pub(crate) struct Pay {
    pub(crate) number: u64,
    pub(crate) then: Then,
}
impl ReplaySafe for Pay {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) number: u64,
    pub(crate) attempt: u32,
    pub(crate) paper: Vec<u8>,
}

/// A payment whose answer is kept back.
pub(crate) type KeptAnswer = (u64, Responder<Receipt>);

/// What the till did, apart from any store: survives what the test calls a restart.
#[derive(Clone)]
pub(crate) struct Ledger {
    pub(crate) lines: Arc<Mutex<Vec<(u64, u32)>>>,
    pub(crate) kept: Arc<Mutex<Vec<KeptAnswer>>>,
    begun: mpsc::Sender<()>,
}

impl Ledger {
    pub(crate) fn new() -> (Self, mpsc::Receiver<()>) {
        let (begun, begun_rx) = mpsc::channel(10_000);
        let ledger = Ledger {
            lines: Arc::default(),
            kept: Arc::default(),
            begun,
        };
        (ledger, begun_rx)
    }

    pub(crate) fn count(&self) -> usize {
        self.lines.lock().len()
    }

    fn answer(&self) {
        let (number, responder) = self.kept.lock().pop().expect("one was kept");
        responder.send(receipt(number, 1));
    }
}

pub(crate) fn receipt(number: u64, attempt: u32) -> Receipt {
    Receipt {
        number,
        attempt,
        paper: vec![7; usize::try_from(number % 50).unwrap()],
    }
}

pub(crate) struct Till(pub(crate) Ledger);
impl Actor for Till {}
impl DeferredHandler<Pay> for Till {
    async fn handle_deferred(
        &mut self,
        Pay { number, then }: Pay,
        responder: Responder<Receipt>,
        ctx: &mut Context<Self>,
    ) {
        let attempt = ctx.meta().attempt();
        self.0.lines.lock().push((number, attempt));
        // Nobody may look.
        let _ = self.0.begun.try_send(());
        match then {
            Then::Answer => responder.send(receipt(number, attempt)),
            Then::Slow => {
                ctx.sleep(ms(number % 5)).await;
                responder.send(receipt(number, attempt));
            }
            Then::Keep => self.0.kept.lock().push((number, responder)),
            Then::Stay => std::future::pending().await,
            Then::Panic => panic!("the drawer is stuck"),
            Then::Fail => {
                let failure = Failure::new(FailureKind::Overloaded, Verdict::Executed);
                responder.fail(failure.with_detail("no paper"));
            }
        }
    }
}

pub(crate) fn pay(number: u64) -> Pay {
    then(number, Then::Answer)
}

pub(crate) fn then(number: u64, then: Then) -> Pay {
    Pay { number, then }
}

/// A key of version 7, made now by the system's clock: those of the machine are from another time.
pub(crate) fn key_now(system: &System, number: u64) -> RequestKey {
    let millis = system.clock().unix().as_millis();
    let key = (millis << 80) | (7 << 76) | (2 << 62) | u128::from(number);
    format!("{key:032x}").parse().unwrap()
}

/// A key that doesn't say when it was made.
pub(crate) fn key_without_time(number: u64) -> RequestKey {
    let key = (4_u128 << 76) | (2 << 62) | u128::from(number);
    format!("{key:032x}").parse().unwrap()
}

/// A store on a disk, and the journals that were opened at it.
#[derive(Clone)]
pub(crate) struct Spy {
    pub(crate) store: Store,
    journal: Arc<Mutex<Option<Arc<dyn Journal>>>>,
}

impl Journals for Spy {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<OpenedJournal, JournalError>> {
        async move {
            let opened = self.store.open(name).await?;
            *self.journal.lock() = Some(Arc::clone(&opened.journal));
            Ok(opened)
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>, JournalError>> {
        self.store.list()
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), JournalError>> {
        self.store.remove(name)
    }
}

pub(crate) struct Shop {
    pub(crate) till: ActorRef<Till>,
    pub(crate) dedup: Dedup<Pay>,
    pub(crate) spy: Spy,
}

pub(crate) type Build = fn(DedupBuilder<Pay>) -> DedupBuilder<Pay>;
type Make = Box<dyn Fn() -> Till + Send + Sync>;

pub(crate) fn plain(builder: DedupBuilder<Pay>) -> DedupBuilder<Pay> {
    builder
}

pub(crate) fn replay_safe(builder: DedupBuilder<Pay>) -> DedupBuilder<Pay> {
    builder.replay_safe()
}

impl Shop {
    pub(crate) async fn try_open(
        system: &System,
        disk: &SimDisk,
        ledger: &Ledger,
        build: Build,
        actor: impl FnOnce(Spawn<Make>) -> Spawn<Make>,
    ) -> Result<Shop, JournalError> {
        let options = Options::new().on(Arc::new(disk.clone()));
        let store = options.segment_bytes(16 << 10).open(system, "/store");
        let spy = Spy {
            store: store.await?,
            journal: Arc::default(),
        };
        let builder = build(Dedup::builder_encoded(system));
        let dedup = builder
            .durable("pays", Arc::new(spy.clone()))
            .open()
            .await?;
        let own = ledger.clone();
        let make: Make = Box::new(move || Till(own.clone()));
        let spawn = system.actor(make).label("till").admission(dedup.clone());
        Ok(Shop {
            till: actor(spawn).start(),
            dedup,
            spy,
        })
    }

    pub(crate) async fn open(
        system: &System,
        disk: &SimDisk,
        ledger: &Ledger,
        build: Build,
    ) -> Shop {
        let opened = Shop::try_open(system, disk, ledger, build, |spawn| spawn);
        opened.await.unwrap()
    }

    pub(crate) async fn pay(&self, pay: Pay, key: RequestKey) -> Result<Receipt, Failure> {
        let asked = self.till.ask(pay).key(key).await;
        asked.map_err(|error| error.failure().clone())
    }

    /// In order.
    pub(crate) async fn close(self) {
        self.till.stop();
        self.till.wait().await;
        self.dedup.close().await.unwrap();
        *self.spy.journal.lock() = None;
        self.spy.store.close().await.unwrap();
    }

    fn records(&self) -> u64 {
        self.spy.journal.lock().as_ref().unwrap().state().records
    }

    fn syncs(&self) -> u64 {
        self.spy.journal.lock().as_ref().unwrap().state().syncs
    }
}

fn letters(system: &System) -> u64 {
    system.dead_letters().counts().total()
}

fn known(failure: &Failure) -> (FailureKind, Verdict) {
    (failure.kind(), failure.verdict())
}

#[callboard::test]
async fn g19_a_finished_request_is_answered_from_disk_over_restarts(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, _begun) = Ledger::new();
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    let keys: Vec<_> = (0..4).map(|number| key_now(&system, number)).collect();
    for (number, key) in (0..3).zip(&keys) {
        let paid = shop.pay(pay(number), *key).await;
        assert_eq!(paid, Ok(receipt(number, 1)));
    }
    let failed = shop.pay(then(3, Then::Fail), keys[3]).await.unwrap_err();
    for _ in 0..2 {
        // Still in the same process, the answer comes from disk, too.
        assert_eq!(shop.pay(pay(2), keys[2]).await, Ok(receipt(2, 1)));
    }
    shop.close().await;
    for _ in 0..2 {
        let shop = Shop::open(&system, &disk, &ledger, plain).await;
        for (number, key) in (0..3).zip(&keys) {
            assert_eq!(shop.pay(pay(number), *key).await, Ok(receipt(number, 1)));
        }
        let again = shop.pay(then(3, Then::Fail), keys[3]).await;
        assert_eq!(again, Err(failed.clone()), "the handler's own failure");
        let reused = shop.pay(pay(9), keys[0]).await.unwrap_err();
        assert_eq!(
            known(&reused),
            (FailureKind::KeyReused, Verdict::NotExecuted)
        );
        assert_eq!(shop.dedup.stats().stored, 4);
        shop.close().await;
    }
    assert_eq!(ledger.count(), 4);
}

#[callboard::test]
async fn g19_a_request_runs_only_when_it_is_reserved_on_disk(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, mut begun) = Ledger::new();
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    let running = key_now(&system, 1);
    let asked = shop.pay(then(1, Then::Keep), running);
    let failing = async {
        begun.next().await.unwrap();
        disk.fail_always(Op::Sync, std::io::ErrorKind::Other);
        // Appended, and never synced.
        let held = shop.pay(pay(2), key_now(&system, 2)).await.unwrap_err();
        assert_eq!(
            known(&held),
            (FailureKind::StorageFailed, Verdict::NotExecuted)
        );
        // Refused at once from then on; the message comes back.
        let asked = shop.till.ask(pay(3)).key(key_now(&system, 3)).await;
        let error = asked.unwrap_err();
        assert_eq!(
            known(error.failure()),
            (FailureKind::StorageFailed, Verdict::NotExecuted)
        );
        assert_eq!(error.into_message(), Some(pay(3)));
        ledger.answer();
    };
    let (answered, ()) = join(asked, failing).await;
    let expected = (FailureKind::StorageFailed, Verdict::Executed);
    assert_eq!(known(&answered.unwrap_err()), expected);
    let again = shop.pay(then(1, Then::Keep), running).await.unwrap_err();
    assert_eq!(known(&again), expected, "nor is it told by a duplicate");
    assert_eq!(ledger.count(), 1);
    assert!(shop.pay(pay(4), key_now(&system, 4)).await.is_err());
    // What has no key is none of its business.
    shop.till.ask(pay(5)).await.unwrap();
    let stats = shop.dedup.stats();
    assert_eq!((stats.running, stats.storage_failed), (0, 1));
    assert_eq!(letters(&system), 1, "the one that was held");
}

#[test]
fn g19_what_ran_when_the_process_died_is_in_doubt_or_runs_again() {
    let (ledger, _) = Ledger::new();
    let mut disk = SimDisk::new(1);
    let at = |seed: u64, disk: SimDisk, build: Build, then: Then| {
        let ledger = ledger.clone();
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(async move {
            let shop = Shop::open(&system, &disk, &ledger, build).await;
            let paid = shop
                .till
                .ask(Pay { number: 1, then })
                .key(key_without_time(1))
                .deadline(secs(1))
                .await;
            (
                paid.map_err(|error| known(error.failure())),
                shop.dedup.stats(),
            )
        })
    };
    let deadline = (FailureKind::DeadlineExceeded, Verdict::Executed);
    let (paid, _) = at(1, disk.clone(), plain, Then::Stay);
    assert_eq!(paid, Err(deadline));
    disk = disk.kill();
    let in_doubt = (FailureKind::Indeterminate, Verdict::Executed);
    for seed in 2..4 {
        let (paid, stats) = at(seed, disk.clone(), plain, Then::Stay);
        assert_eq!((paid, stats.stored), (Err(in_doubt), 1));
        disk = if seed % 2 == 0 {
            disk.kill()
        } else {
            disk.power_loss()
        };
    }
    // The same journal, by a program that knows that the handler may begin again.
    for attempt in 2..5_u32 {
        let (paid, stats) = at(attempt.into(), disk.clone(), replay_safe, Then::Stay);
        assert_eq!((paid, stats.run_again), (Err(deadline), 1));
        assert_eq!(ledger.lines.lock().last(), Some(&(1, attempt)));
        disk = disk.kill();
    }
    assert_eq!(ledger.count(), 4);
}

#[callboard::test]
async fn g19_attempts_count_on_when_one_broke_off(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, _begun) = Ledger::new();
    let in_memory = {
        let own = ledger.clone();
        let dedup = Dedup::<Pay>::builder_encoded(&system).replay_safe().build();
        let make = move || Till(own.clone());
        let spawn = system.actor(make).admission(dedup);
        spawn.placed(&system)
    };
    let shop = Shop::try_open(&system, &disk, &ledger, replay_safe, |spawn| spawn);
    let shop = shop.await.unwrap();
    let key = key_now(&system, 1);
    for attempt in 1..4 {
        let broke = in_memory.ask(then(1, Then::Panic)).key(key).await;
        assert_eq!(broke.unwrap_err().kind(), FailureKind::Panicked);
        assert_eq!(ledger.lines.lock().pop(), Some((1, attempt)));
    }
    drop(shop);
}

/// Starts again what panics.
pub(crate) trait Placed {
    fn placed(self, system: &System) -> ActorRef<Till>;
}

impl<F: Fn() -> Till + Send + Sync + 'static> Placed for Spawn<F> {
    fn placed(self, system: &System) -> ActorRef<Till> {
        let (till, place) = self.place();
        let tree = callboard_supervision::Supervisor::builder("shop")
            .intensity(1_000, secs(10))
            .backoff(crate::common::brisk())
            .child(place);
        tree.start(system).unwrap();
        till
    }
}

#[callboard::test]
async fn g19_a_store_that_outlives_the_process_needs_a_target_that_does(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, _begun) = Ledger::new();
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    let own = ledger.clone();
    let spawn = system.actor(move || Till(own.clone()));
    let nameless = spawn.admission(shop.dedup.clone()).start();
    let key = key_now(&system, 1);
    let error = nameless.ask(pay(1)).key(key).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    let detail = error.failure().detail().unwrap();
    assert!(
        detail.contains("pays") && detail.contains("label"),
        "{detail}"
    );
    assert_eq!(error.into_message(), Some(pay(1)));
    // Two names are two targets.
    shop.pay(pay(1), key).await.unwrap();
    let own = ledger.clone();
    let spawn = system.actor(move || Till(own.clone())).label("other till");
    let other = spawn.admission(shop.dedup.clone()).start();
    other.ask(pay(1)).key(key).await.unwrap();
    assert_eq!(ledger.count(), 2);
}

#[callboard::test]
async fn g19_many_calls_share_a_sync(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, _begun) = Ledger::new();
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    let before = shop.syncs();
    let calls = (0..64).map(|number| shop.pay(pay(number), key_now(&system, number)));
    for paid in join_all(calls).await {
        paid.unwrap();
    }
    let syncs = shop.syncs() - before;
    assert!(syncs <= 8, "{syncs} syncs for 64 calls");
    assert_eq!(ledger.count(), 64);
}

#[callboard::test]
async fn g19_records_go_with_their_window_and_those_that_run_stay(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, mut begun) = Ledger::new();
    let build: Build = |builder| builder.window(secs(60)).max_entries(3);
    let shop = Shop::open(&system, &disk, &ledger, build).await;
    let keys: Vec<_> = (0..4).map(|number| key_now(&system, number)).collect();
    shop.pay(pay(0), keys[0]).await.unwrap();
    shop.pay(pay(1), keys[1]).await.unwrap();
    let running = shop.till.ask(then(2, Then::Keep)).key(keys[2]);
    let rest = async {
        begun.by_ref().skip(2).next().await.unwrap();
        let full = shop.pay(pay(3), keys[3]).await.unwrap_err();
        assert_eq!(
            known(&full),
            (FailureKind::Overloaded, Verdict::NotExecuted)
        );
        let hint = full.retry_after().expect("then the oldest goes");
        assert!(secs(59) < hint && hint <= secs(60), "{hint:?}");
        assert_eq!(shop.records(), 1 + 3);
        system.clock().sleep(secs(60)).await;
        let stats = shop.dedup.stats();
        assert_eq!((stats.running, stats.stored, stats.expired), (1, 0, 2));
        shop.pay(pay(3), keys[3]).await.unwrap();
        ledger.answer();
    };
    let (running, ()) = join(running.deadline(secs(600)).into_future(), rest).await;
    running.unwrap();
    assert_eq!(shop.records(), 1 + 2);
    system.clock().sleep(secs(59)).await;
    shop.close().await;
    // Time passes while it is closed, too.
    system.clock().sleep(secs(1)).await;
    let shop = Shop::open(&system, &disk, &ledger, build).await;
    assert_eq!(shop.dedup.stats().stored, 0);
    assert_eq!(shop.dedup.stats().expired, 2);
    shop.close().await;
}

#[callboard::test]
async fn g02_keyed_messages_keep_their_order_over_the_disk(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, _begun) = Ledger::new();
    let narrow = |spawn: Spawn<Make>| spawn.mailbox(1, Overflow::Wait);
    let shop = Shop::try_open(&system, &disk, &ledger, plain, narrow);
    let shop = shop.await.unwrap();
    let last = 50;
    for number in 0..last {
        let tell = shop.till.tell(pay(number));
        tell.key(key_now(&system, number)).await.unwrap();
    }
    shop.pay(pay(last), key_now(&system, last)).await.unwrap();
    let numbers: Vec<u64> = ledger.lines.lock().iter().map(|line| line.0).collect();
    assert_eq!(numbers, (0..=last).collect::<Vec<_>>());
    assert_eq!(letters(&system), 0);
}

#[callboard::test]
async fn g09_what_waits_for_room_behind_the_disk_waits_for_its_own_deadline(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, mut begun) = Ledger::new();
    let narrow = |spawn: Spawn<Make>| spawn.mailbox(1, Overflow::Wait);
    let shop = Shop::try_open(&system, &disk, &ledger, plain, narrow);
    let shop = shop.await.unwrap();
    shop.till.tell(then(0, Then::Stay)).await.unwrap();
    begun.next().await.unwrap();
    let ask = |number, span| {
        let key = key_now(&system, number);
        shop.till
            .ask(pay(number))
            .key(key)
            .deadline(span)
            .into_future()
    };
    // The first has the room, the second waits for it, the third behind the second.
    let (first, (second, third)) =
        join(ask(1, secs(3)), join(ask(2, secs(1)), ask(3, secs(2)))).await;
    for late in [first, second, third] {
        let error = late.unwrap_err();
        assert_eq!(
            known(error.failure()),
            (FailureKind::DeadlineExceeded, Verdict::NotExecuted)
        );
    }
    assert_eq!(letters(&system), 2);
    assert_eq!(shop.dedup.stats().running, 1, "the first is in the mailbox");
    shop.till.kill();
    shop.till.wait().await;
    assert_eq!(shop.dedup.stats().running, 0);
    assert_eq!(ledger.count(), 1);
    // What is held when the actor has ended isn't lost in silence.
    let error = shop.pay(pay(4), key_now(&system, 4)).await.unwrap_err();
    assert_eq!(known(&error), (FailureKind::Stopped, Verdict::NotExecuted));
    assert_eq!(system.counters().drops(DropReason::Stopped), 2);
}

#[callboard::test]
async fn g19_a_journal_of_something_else_is_refused(system: System) {
    let disk = SimDisk::new(1);
    let options = Options::new().on(Arc::new(disk.clone()));
    let store = options.segment_bytes(16 << 10).open(&system, "/store");
    let store = store.await.unwrap();
    let journals: Arc<dyn Journals> = Arc::new(store.clone());
    let queue = system.queue::<Pay>("pays").durable(Arc::clone(&journals));
    let queue = queue.open().await.unwrap();
    queue.offer(pay(1)).await.unwrap();
    let open = || Dedup::<Pay>::builder_encoded(&system).durable("pays", Arc::clone(&journals));
    assert_eq!(
        open().open().await.unwrap_err().kind(),
        JournalErrorKind::InUse
    );
    queue.stop();
    queue.wait().await;
    drop(queue);
    let error = open().open().await.unwrap_err();
    assert_eq!(error.kind(), JournalErrorKind::Format);
    assert!(error.to_string().contains("pays"), "{error}");
}

#[callboard::test]
async fn g19_what_was_damaged_is_in_doubt_and_not_forgotten(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, _begun) = Ledger::new();
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    let keys: Vec<_> = (0..4).map(|number| key_now(&system, number)).collect();
    // Of one length each, long enough to hit.
    for (number, key) in (40..44).zip(&keys) {
        shop.pay(pay(number), *key).await.unwrap();
    }
    shop.close().await;
    let segment = disk.paths().into_iter().find(|path| {
        let is_segment = path.extension().is_some_and(|ext| ext == "seg");
        is_segment && disk.bytes(path).is_some_and(|bytes| bytes.len() > 1_000)
    });
    let segment = segment.unwrap();
    let bytes = disk.bytes(&segment).unwrap();
    // In the paper of the third receipt.
    let paper = bytes
        .windows(42)
        .position(|window| window == [7; 42])
        .unwrap();
    disk.flip_bit(&segment, u64::try_from(paper).unwrap() * 8);
    // A minute and more, so that what is made from now on is certainly younger.
    system.clock().sleep(secs(100)).await;
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    assert!(shop.dedup.stats().damaged > 0);
    let mut in_doubt = 0;
    for (number, key) in (40..44).zip(&keys) {
        match shop.pay(pay(number), *key).await {
            Ok(paid) => assert_eq!(paid, receipt(number, 1)),
            Err(failure) => {
                assert_eq!(failure.kind(), FailureKind::Indeterminate);
                in_doubt += 1;
            }
        }
    }
    assert_eq!(in_doubt, 1);
    // One that isn't there and may have been.
    let unknown = shop.pay(pay(50), key_without_time(50)).await.unwrap_err();
    assert_eq!(
        known(&unknown),
        (FailureKind::Indeterminate, Verdict::MaybeExecuted)
    );
    // Nor does it matter which attempt its caller says it is.
    let asked = shop.till.ask(pay(50)).key(key_without_time(50)).attempt(2);
    let unknown = asked.await.unwrap_err();
    assert_eq!(unknown.kind(), FailureKind::Indeterminate);
    let target = shop.till.recipient();
    let resolved = shop.dedup.resolve(&target, key_without_time(50)).await;
    assert_eq!(resolved, Resolution::Unknown);
    system.clock().sleep(secs(100)).await;
    shop.pay(pay(51), key_now(&system, 51)).await.unwrap();
    assert_eq!(ledger.count(), 5);
    // Also when it is opened once more; not when all that could be lost would have been forgotten.
    shop.close().await;
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    assert!(shop.pay(pay(50), key_without_time(50)).await.is_err());
    system.clock().sleep(secs(600)).await;
    shop.pay(pay(50), key_without_time(50)).await.unwrap();
    shop.close().await;
}

#[callboard::test]
async fn g11_when_the_system_ends_nobody_waits_for_the_disk(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, _begun) = Ledger::new();
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    let before = shop.records();
    let asked = shop.till.ask(then(1, Then::Keep)).key(key_now(&system, 1));
    let closed = async {
        system.clock().sleep(ms(10)).await;
        shop.dedup.close().await.unwrap();
        // Nothing is taken any more, and nothing can be stored.
        let refused = shop.pay(pay(2), key_now(&system, 2)).await.unwrap_err();
        assert_eq!(
            known(&refused),
            (FailureKind::Stopped, Verdict::NotExecuted)
        );
        system.clock().sleep(ms(10)).await;
        ledger.answer();
    };
    let (asked, ()) = join(asked.into_future(), closed).await;
    assert_eq!(
        known(asked.unwrap_err().failure()),
        (FailureKind::StorageFailed, Verdict::Executed)
    );
    assert_eq!(before, 1);
}

#[callboard::test]
async fn g19_resolve_settles_what_became_of_a_lost_answer(system: System) {
    let (ledger, mut begun) = Ledger::new();
    let dedup = Dedup::<Pay>::builder_encoded(&system)
        .clock_margin(ms(0))
        .window(secs(3_600))
        .build();
    let own = ledger.clone();
    let spawn = system.actor(move || Till(own.clone()));
    let till = spawn.admission(dedup.clone()).start();
    let target = till.recipient::<Pay, _>();
    system.clock().sleep(ms(5)).await;
    let keys: Vec<_> = (0..4).map(|number| key_now(&system, number)).collect();
    system.clock().sleep(ms(5)).await;
    // Done.
    till.ask(pay(0)).key(keys[0]).await.unwrap();
    begun.next().await.unwrap();
    let done = Resolution::Executed(Ok(receipt(0, 1)));
    assert_eq!(dedup.resolve(&target, keys[0]).await, done);
    assert_eq!(dedup.peek(&target, keys[0]).await, done);
    // Running.
    let running = till.ask(then(1, Then::Keep)).key(keys[1]).into_future();
    let resolved = async {
        begun.next().await.unwrap();
        let resolved = dedup.resolve(&target, keys[1]).await;
        ledger.answer();
        resolved
    };
    let (running, resolved) = join(running, resolved).await;
    running.unwrap();
    assert_eq!(resolved, Resolution::Running);
    // Never there: from then on for good.
    assert_eq!(dedup.peek(&target, keys[2]).await, Resolution::Unknown);
    for _ in 0..2 {
        let resolved = dedup.resolve(&target, keys[2]).await;
        assert_eq!(resolved, Resolution::NotExecuted);
    }
    assert_eq!(dedup.peek(&target, keys[2]).await, Resolution::NotExecuted);
    let error = till.ask(pay(2)).key(keys[2]).await.unwrap_err();
    assert_eq!(
        known(error.failure()),
        (FailureKind::Withdrawn, Verdict::NotExecuted)
    );
    assert_eq!(error.into_message(), Some(pay(2)));
    // Older than the store, and of no time at all.
    let before = dedup.resolve(&target, ancient()).await;
    assert_eq!(before, Resolution::Unknown);
    let timeless = dedup.resolve(&target, key_without_time(1)).await;
    assert_eq!(timeless, Resolution::Unknown);
    till.ask(pay(9)).key(ancient()).await.unwrap();
    // Another target, which it must have seen.
    let own = ledger.clone();
    let spawn = system.actor(move || Till(own.clone()));
    let other = spawn.admission(dedup.clone()).start();
    let resolved = dedup.resolve(&other.recipient(), keys[0]).await;
    assert_eq!(resolved, Resolution::Unknown);
    other.ask(pay(3)).key(keys[3]).await.unwrap();
    let resolved = dedup.resolve(&other.recipient(), keys[0]).await;
    assert_eq!(resolved, Resolution::NotExecuted);
    let stats = dedup.stats();
    assert_eq!((stats.sealed, stats.refused_sealed), (2, 1));
    assert_eq!(ledger.count(), 4);
}

/// Of 1970.
fn ancient() -> RequestKey {
    let key = (1_u128 << 80) | (7 << 76) | (2 << 62) | 5;
    format!("{key:032x}").parse().unwrap()
}

#[callboard::test]
async fn g19_a_seal_and_its_answer_outlive_the_process(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, _begun) = Ledger::new();
    let build: Build = |builder| builder.clock_margin(secs(1)).window(secs(60));
    let shop = Shop::open(&system, &disk, &ledger, build).await;
    let target = shop.till.recipient::<Pay, _>();
    // Nothing was ever forgotten: also of a key that says nothing it is known.
    let done = key_without_time(2);
    shop.pay(pay(2), done).await.unwrap();
    let sealed = key_without_time(1);
    let resolved = shop.dedup.resolve(&target, sealed).await;
    assert_eq!(resolved, Resolution::NotExecuted);
    let of_that_time = key_now(&system, 3);
    shop.close().await;

    let shop = Shop::open(&system, &disk.kill(), &ledger, build).await;
    let target = shop.till.recipient::<Pay, _>();
    let refused = shop.pay(pay(1), sealed).await.unwrap_err();
    assert_eq!(
        known(&refused),
        (FailureKind::Withdrawn, Verdict::NotExecuted)
    );
    let resolved = shop.dedup.resolve(&target, done).await;
    assert_eq!(resolved, Resolution::Executed(Ok(receipt(2, 1))));
    // When its window is over, the store can't tell any more.
    system.clock().sleep(secs(60)).await;
    for key in [sealed, done, of_that_time] {
        let resolved = shop.dedup.resolve(&target, key).await;
        assert_eq!(resolved, Resolution::Unknown, "{key}");
    }
    let young = key_now(&system, 4);
    assert_eq!(
        shop.dedup.resolve(&target, young).await,
        Resolution::NotExecuted
    );
    let ahead = {
        let millis = (system.clock().unix() + secs(5)).as_millis();
        let key = (millis << 80) | (7 << 76) | (2 << 62) | 6;
        format!("{key:032x}").parse().unwrap()
    };
    let resolved = shop.dedup.resolve(&target, ahead).await;
    assert_eq!(resolved, Resolution::Unknown, "its clock can't be trusted");
    assert_eq!(ledger.count(), 1);
}
