//! A durable dedup store over a journal that refuses, and behind actors that get in each other's way (G19).

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use callboard::journal::{
    Change, Durability, Journal, JournalError, JournalErrorKind, JournalState, Journals,
    OnProgress, OnRead, OpenedJournal, Progress, RecordId, Ticket,
};
use callboard::{
    ActorId, ActorRef, Admission, Admitted, DropReason, Envelope, Failure, FailureKind, Meta,
    Overflow, ReplySink, RequestKey, Responder, Simulation, System, Threshold, Verdict,
};
use callboard_store::{Options, SimDisk, Store};
use callboard_supervision::{Dedup, Resolution};
use futures::channel::mpsc;
use futures::future::{BoxFuture, join};
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;

use crate::common::{ms, secs};
use crate::dedups_durable::{
    Build, Ledger, Pay, Receipt, Then, Till, key_now, key_without_time, pay, plain, receipt, then,
};

/// Journals that refuse to put what the test says.
#[derive(Clone)]
struct Moody {
    store: Store,
    refuses: Arc<Mutex<Option<Refuses>>>,
}

#[derive(Clone, Copy)]
struct Refuses {
    kind: JournalErrorKind,
    /// Bodies longer than that.
    longer: Option<usize>,
}

struct MoodyJournal {
    journal: Arc<dyn Journal>,
    refuses: Arc<Mutex<Option<Refuses>>>,
}

impl Moody {
    fn refuse(&self, kind: JournalErrorKind) {
        *self.refuses.lock() = Some(Refuses { kind, longer: None });
    }

    fn take_all(&self) {
        *self.refuses.lock() = None;
    }
}

impl Journals for Moody {
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<OpenedJournal, JournalError>> {
        async move {
            let opened = self.store.open(name).await?;
            Ok(OpenedJournal {
                journal: Arc::new(MoodyJournal {
                    journal: opened.journal,
                    refuses: Arc::clone(&self.refuses),
                }),
                ..opened
            })
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

impl Journal for MoodyJournal {
    fn append(
        &self,
        changes: &[Change<'_>],
        durability: Durability,
    ) -> Result<Ticket, JournalError> {
        let refuses = *self.refuses.lock();
        if let Some(Refuses { kind, longer }) = refuses {
            let refused = changes.iter().any(|change| match change {
                Change::Put { body, .. } => longer.is_none_or(|longest| body.len() > longest),
                _ => false,
            });
            if refused {
                return Err(JournalError::new(kind, "not today"));
            }
        }
        self.journal.append(changes, durability)
    }

    fn read(&self, ids: &[RecordId], done: OnRead) {
        self.journal.read(ids, done);
    }

    fn progress(&self) -> Progress {
        self.journal.progress()
    }

    fn observe(&self, observer: std::sync::Weak<dyn OnProgress>) {
        self.journal.observe(observer);
    }

    fn state(&self) -> JournalState {
        self.journal.state()
    }
}

struct Shop {
    till: ActorRef<Till>,
    dedup: Dedup<Pay>,
    moody: Moody,
}

impl Shop {
    async fn open(system: &System, disk: &SimDisk, ledger: &Ledger, build: Build) -> Shop {
        let options = Options::new().on(Arc::new(disk.clone()));
        let store = options.segment_bytes(16 << 10).open(system, "/store");
        let moody = Moody {
            store: store.await.unwrap(),
            refuses: Arc::default(),
        };
        let dedup = build(Dedup::builder_encoded(system))
            .durable("pays", Arc::new(moody.clone()))
            .open()
            .await
            .unwrap();
        let own = ledger.clone();
        let spawn = system.actor(move || Till(own.clone())).label("till");
        Shop {
            till: spawn.admission(dedup.clone()).start(),
            dedup,
            moody,
        }
    }

    async fn close(self) {
        self.till.stop();
        self.till.wait().await;
        self.dedup.close().await.unwrap();
        self.moody.store.close().await.unwrap();
    }
}

#[callboard::test]
async fn g19_a_seal_that_the_journal_refused_settles_nothing(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, _begun) = Ledger::new();
    for kind in [JournalErrorKind::Busy, JournalErrorKind::Full] {
        let shop = Shop::open(&system, &disk, &ledger, plain).await;
        let target = shop.till.recipient::<Pay, _>();
        shop.till
            .ask(pay(0))
            .key(key_now(&system, 99))
            .await
            .unwrap();
        let key = key_now(&system, kind as u64);
        shop.moody.refuse(kind);
        for _ in 0..2 {
            let resolved = shop.dedup.resolve(&target, key).await;
            assert_eq!(resolved, Resolution::Unknown, "{kind:?}");
        }
        shop.moody.take_all();
        assert_eq!(shop.dedup.stats().sealed, 0);
        let resolved = shop.dedup.resolve(&target, key).await;
        assert_eq!(resolved, Resolution::NotExecuted, "{kind:?}");
        assert_eq!(shop.dedup.stats().sealed, 1);
        shop.close().await;
        // What was said is on disk.
        let shop = Shop::open(&system, &disk, &ledger, plain).await;
        let refused = shop.till.ask(pay(1)).key(key).await.unwrap_err();
        assert_eq!(refused.kind(), FailureKind::Withdrawn);
        shop.close().await;
    }
    assert_eq!(ledger.count(), 2, "what showed it the till");
}

#[callboard::test]
async fn g19_a_longer_window_brings_back_nothing_that_was_forgotten(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, _begun) = Ledger::new();
    let short: Build = |builder| builder.window(secs(60)).clock_margin(ms(0));
    let long: Build = |builder| builder.window(secs(6_000)).clock_margin(ms(0));
    let shop = Shop::open(&system, &disk, &ledger, short).await;
    let (timely, timeless) = (key_now(&system, 1), key_without_time(2));
    for key in [timely, timeless] {
        shop.till.ask(pay(1)).key(key).await.unwrap();
    }
    system.clock().sleep(secs(100)).await;
    assert_eq!(shop.dedup.stats().stored, 0);
    shop.close().await;
    // Also when it is opened once more.
    for opened in 0..2 {
        let shop = Shop::open(&system, &disk, &ledger, long).await;
        let target = shop.till.recipient::<Pay, _>();
        let known = key_now(&system, 10 + opened);
        shop.till.ask(pay(3)).key(known).await.unwrap();
        for key in [timely, timeless] {
            let resolved = shop.dedup.resolve(&target, key).await;
            assert_eq!(resolved, Resolution::Unknown, "{key}");
        }
        system.clock().sleep(secs(10)).await;
        let young = key_now(&system, 20 + opened);
        let resolved = shop.dedup.resolve(&target, young).await;
        assert_eq!(resolved, Resolution::NotExecuted);
        shop.close().await;
    }
    // A window that was shorter for a while is one, too.
    let shop = Shop::open(&system, &disk, &ledger, short).await;
    let between = key_now(&system, 30);
    shop.till.ask(pay(4)).key(between).await.unwrap();
    system.clock().sleep(secs(100)).await;
    assert_eq!(shop.dedup.stats().stored, 0);
    shop.close().await;
    let shop = Shop::open(&system, &disk, &ledger, long).await;
    let target = shop.till.recipient::<Pay, _>();
    shop.till
        .ask(pay(5))
        .key(key_now(&system, 31))
        .await
        .unwrap();
    let resolved = shop.dedup.resolve(&target, between).await;
    assert_eq!(resolved, Resolution::Unknown);
    shop.close().await;
}

#[callboard::test]
async fn g19_what_a_store_never_stood_before_is_unknown_to_it(system: System) {
    let (ledger, _begun) = Ledger::new();
    let make = || {
        let builder = Dedup::<Pay>::builder_encoded(&system);
        builder.clock_margin(ms(0))
    };
    let (dedup, named) = (make().build(), make().target("tills").build());
    let tills = ledger.clone();
    let spawn = system.actor(move || Till(tills.clone()));
    let till = spawn.admission(dedup.clone()).start();
    let others = ledger.clone();
    let other = system.actor(move || Till(others.clone())).start();
    system.clock().sleep(ms(5)).await;
    let (sent, key) = (key_now(&system, 1), key_now(&system, 2));
    till.ask(pay(1)).key(sent).await.unwrap();
    // Past the store.
    other.ask(pay(2)).key(key).await.unwrap();
    let target = other.recipient::<Pay, _>();
    for _ in 0..2 {
        assert_eq!(dedup.resolve(&target, key).await, Resolution::Unknown);
    }
    assert_eq!(dedup.stats().sealed, 0);
    let target = till.recipient::<Pay, _>();
    assert_eq!(dedup.resolve(&target, key).await, Resolution::NotExecuted);
    // A target of its own: it is the program that says what stands behind it.
    assert_eq!(named.resolve(&target, key).await, Resolution::NotExecuted);
}

/// Somebody who asks, as the test wants it.
#[derive(Clone, Default)]
struct Asker(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    reached: Option<Verdict>,
    gone: bool,
    ended: Option<Result<Receipt, Failure>>,
    on_withdraw: Option<Box<dyn FnOnce() + Send>>,
    /// Comes between, when it is asked to say when it leaves.
    between: Option<Box<dyn FnOnce() + Send>>,
}

impl Asker {
    fn leave(&self) {
        let mut asked = self.0.lock();
        asked.gone = true;
        let hook = asked.on_withdraw.take();
        drop(asked);
        hook.expect("it said that it would say so")();
    }

    fn envelope(&self, key: RequestKey) -> Envelope<Pay> {
        let mut meta = Meta::default();
        meta.set_key(key);
        Envelope {
            message: pay(1),
            meta,
            responder: Responder::new(Box::new(self.clone())),
        }
    }
}

impl ReplySink<Receipt> for Asker {
    fn progress(&mut self, verdict: Verdict) -> bool {
        let mut asked = self.0.lock();
        asked.reached = Some(verdict);
        !asked.gone
    }

    fn finish(self: Box<Self>, outcome: Result<Receipt, Failure>) {
        self.0.lock().ended = Some(outcome);
    }

    fn on_withdraw(&mut self, withdraw: Box<dyn FnOnce() + Send>) {
        let mut asked = self.0.lock();
        asked.on_withdraw = Some(withdraw);
        let between = asked.between.take();
        drop(asked);
        if let Some(between) = between {
            between();
        }
    }
}

fn passed(admitted: Admitted<Pay>) -> Envelope<Pay> {
    match admitted {
        Admitted::Pass(envelope) => envelope,
        other => panic!("not passed: {other:?}"),
    }
}

#[callboard::test]
async fn g19_an_actor_hands_on_what_it_was_asked_behind_the_same_store(system: System) {
    let dedup = Dedup::<Pay>::builder_encoded(&system).build();
    let (front, back) = (ActorId::fresh(), ActorId::fresh());
    let front = Threshold::before_nobody(front, None);
    let back = Threshold::before_nobody(back, None);
    let key = RequestKey::new();
    let (first, joined, late) = (Asker::default(), Asker::default(), Asker::default());
    let at_front = passed(dedup.admit(first.envelope(key), &front));
    // Message, key and responder go on: who waits there is the attempt in front.
    let mut at_back = passed(dedup.admit(at_front, &back));
    let joins = dedup.admit(joined.envelope(key), &back);
    assert!(matches!(joins, Admitted::Taken));
    assert!(at_back.responder.progress(Verdict::Executed));
    at_back.responder.on_withdraw(|| panic!("both wait"));
    for asker in [&first, &joined] {
        assert_eq!(asker.0.lock().reached, Some(Verdict::Executed));
    }
    at_back.responder.send(receipt(1, 1));
    let joins = dedup.admit(late.envelope(key), &front);
    assert!(matches!(joins, Admitted::Taken));
    for asker in [first, joined, late] {
        assert_eq!(asker.0.lock().ended.take(), Some(Ok(receipt(1, 1))));
    }
}

#[callboard::test]
async fn g08_who_is_away_to_be_told_still_wants_the_answer(system: System) {
    for first_leaves in [false, true] {
        let dedup = Dedup::<Pay>::builder_encoded(&system).build();
        let at = Threshold::before_nobody(ActorId::fresh(), None);
        let key = RequestKey::new();
        let (first, joined) = (Asker::default(), Asker::default());
        let mut running = passed(dedup.admit(first.envelope(key), &at));
        let joins = dedup.admit(joined.envelope(key), &at);
        assert!(matches!(joins, Admitted::Taken));
        let (own, other) = (first.clone(), joined.clone());
        first.0.lock().between = Some(Box::new(move || {
            other.leave();
            if first_leaves {
                own.leave();
            }
        }));
        let withdrawn = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&withdrawn);
        running.responder.on_withdraw(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let expected = usize::from(first_leaves);
        assert_eq!(withdrawn.load(Ordering::SeqCst), expected);
        if !first_leaves {
            first.leave();
        }
        assert_eq!(withdrawn.load(Ordering::SeqCst), 1, "once");
    }
}

#[callboard::test]
async fn g19_an_answer_too_large_for_the_journal_is_given_and_not_kept(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, _begun) = Ledger::new();
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    *shop.moody.refuses.lock() = Some(Refuses {
        kind: JournalErrorKind::TooLarge,
        longer: Some(0),
    });
    let key = key_now(&system, 1);
    let paid = shop.till.ask(pay(49)).key(key).await.unwrap();
    assert_eq!(paid, receipt(49, 1));
    let expected = (FailureKind::NoAnswer, Verdict::Executed);
    let again = shop.till.ask(pay(49)).key(key).await.unwrap_err();
    assert_eq!((again.kind(), again.verdict()), expected);
    let stats = shop.dedup.stats();
    assert_eq!((stats.storage_failed, stats.bytes), (0, 256));
    shop.close().await;
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    let again = shop.till.ask(pay(49)).key(key).await.unwrap_err();
    assert_eq!((again.kind(), again.verdict()), expected);
    assert_eq!(ledger.count(), 1);
    shop.close().await;
}

impl Shop {
    /// Another till behind the store, with room for one, that stays in its handler.
    async fn stuck(
        &self,
        system: &System,
        ledger: &Ledger,
        begun: &mut mpsc::Receiver<()>,
    ) -> ActorRef<Till> {
        let own = ledger.clone();
        let spawn = system.actor(move || Till(own.clone())).label("stuck");
        let spawn = spawn.mailbox(1, Overflow::Wait);
        let stuck = spawn.admission(self.dedup.clone()).start();
        stuck.tell(then(0, Then::Stay)).await.unwrap();
        begun.next().await.unwrap();
        for number in 0..3 {
            let tell = stuck.tell(pay(number));
            tell.key(key_now(system, 100 + number)).await.unwrap();
        }
        stuck
    }
}

#[callboard::test]
async fn g03_a_full_actor_behind_the_disk_holds_up_nobody_else(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, mut begun) = Ledger::new();
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    let stuck = shop.stuck(&system, &ledger, &mut begun).await;
    for number in 1..4 {
        let paid = shop.till.ask(pay(number)).key(key_now(&system, number));
        assert_eq!(paid.await.unwrap(), receipt(number, 1));
    }
    assert_eq!(shop.dedup.stats().running, 3);
    stuck.kill();
    stuck.wait().await;
    // Those that waited for room, one after the other, are given up, and the line is gone.
    shop.close().await;
}

#[test]
fn g11_what_waits_for_room_when_the_system_ends_is_counted() {
    let disk = SimDisk::new(1);
    let (ledger, mut begun) = Ledger::new();
    let mut simulation = Simulation::new(1);
    let system = simulation.system().clone();
    let shop = simulation.block_on(async {
        let shop = Shop::open(&system, &disk, &ledger, plain).await;
        shop.stuck(&system, &ledger, &mut begun).await;
        // All that was held by now has got there.
        let asked = shop.till.ask(pay(1)).key(key_now(&system, 1));
        asked.await.unwrap();
        assert_eq!(shop.dedup.stats().running, 3);
        shop
    });
    let before = system.counters().drops(DropReason::Stopped);
    drop(simulation);
    let dropped = system.counters().drops(DropReason::Stopped) - before;
    assert_eq!((shop.dedup.stats().running, dropped), (0, 3));
}

#[callboard::test]
async fn g36_others_are_told_the_kind_of_an_earlier_failure_and_not_its_text(system: System) {
    let disk = SimDisk::new(1);
    let (ledger, mut begun) = Ledger::new();
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    let target = shop.till.recipient::<Pay, _>();
    let key = key_now(&system, 1);
    let broke = then(1, Then::Keep);
    let asked = shop.till.ask(broke.clone()).key(key).into_future();
    let failed = async {
        begun.next().await.unwrap();
        let (_, responder) = ledger.kept.lock().pop().unwrap();
        let failure = Failure::new(FailureKind::NoAnswer, Verdict::Executed);
        responder.fail(failure.with_detail("the drawer is stuck"));
    };
    let (first, ()) = join(asked, failed).await;
    let first = first.unwrap_err();
    assert!(first.to_string().contains("drawer"), "{first}");
    let Resolution::Executed(Err(told)) = shop.dedup.resolve(&target, key).await else {
        panic!("it began");
    };
    shop.close().await;
    let shop = Shop::open(&system, &disk, &ledger, plain).await;
    let again = shop.till.ask(broke).key(key).await.unwrap_err();
    for told in [told, again.failure().clone()] {
        assert_eq!(told.kind(), FailureKind::Indeterminate);
        let kind = FailureKind::NoAnswer.to_string();
        let text = told.to_string();
        assert!(text.contains(&kind) && !text.contains("drawer"), "{text}");
    }
    shop.close().await;
}
