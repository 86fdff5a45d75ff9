//! What must not run twice: G19, G8.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use callboard::{
    Actor, ActorId, ActorRef, Admission, Admitted, Context, DeferredHandler, DropReason, Envelope,
    Failure, FailureKind, Message, Meta, Principal, RequestKey, Responder, SendError, Spawn,
    System, Threshold, Verdict,
};
use callboard_supervision::{
    AskExt, CallPolicy, CallSettings, Dedup, DedupBuilder, ReplaySafe, RetrySettings, Supervisor,
};
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::join;
use parking_lot::Mutex;

use crate::common::{brisk, ms, secs};

/// What the handler does once it has charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Then {
    Answer,
    /// Keeps the responder for the test.
    Keep,
    /// Stays in the handler for ever.
    Stay,
    Panic,
    /// Ends with a failure of its own.
    Fail,
    /// Ends with a failure that says it did nothing.
    Refuse,
}

#[derive(Message, Debug, Clone, PartialEq, Eq, Hash)]
#[message(reply = usize)]
struct Charge(u64, Then);
impl ReplaySafe for Charge {}

/// What is charged, apart from any dedup store.
#[derive(Clone)]
struct Ledger {
    charges: Arc<Mutex<Vec<u64>>>,
    kept: Arc<Mutex<Vec<Responder<usize>>>>,
    /// How often a handler that keeps its responder was told that nobody waits any more.
    withdrawn: Arc<AtomicUsize>,
    begun: mpsc::Sender<()>,
}

impl Ledger {
    fn charge(&self, cents: u64) -> usize {
        let mut charges = self.charges.lock();
        charges.push(cents);
        charges.len()
    }
}

struct Till(Ledger);
impl Actor for Till {}
impl DeferredHandler<Charge> for Till {
    async fn handle_deferred(
        &mut self,
        Charge(cents, then): Charge,
        mut responder: Responder<usize>,
        _: &mut Context<Self>,
    ) {
        let count = self.0.charge(cents);
        // Nobody may look.
        let _ = self.0.begun.try_send(());
        match then {
            Then::Answer => responder.send(count),
            Then::Keep => {
                let withdrawn = Arc::clone(&self.0.withdrawn);
                responder.on_withdraw(move || {
                    withdrawn.fetch_add(1, Ordering::SeqCst);
                });
                self.0.kept.lock().push(responder);
            }
            Then::Stay => std::future::pending().await,
            Then::Panic => panic!("the drawer is stuck"),
            Then::Fail => {
                responder.fail(Failure::new(FailureKind::Overloaded, Verdict::Executed));
            }
            Then::Refuse => {
                responder.fail(Failure::new(FailureKind::Overloaded, Verdict::NotExecuted));
            }
        }
    }
}

struct Bench {
    till: ActorRef<Till>,
    dedup: Dedup<Charge>,
    ledger: Ledger,
    begun: mpsc::Receiver<()>,
}

impl Bench {
    fn new(system: &System) -> Self {
        Bench::with(system, |builder| builder, |spawn| spawn)
    }

    fn with(
        system: &System,
        store: impl FnOnce(DedupBuilder<Charge>) -> DedupBuilder<Charge>,
        actor: impl FnOnce(
            Spawn<Box<dyn Fn() -> Till + Send + Sync>>,
        ) -> Spawn<Box<dyn Fn() -> Till + Send + Sync>>,
    ) -> Self {
        let dedup = store(Dedup::builder(system)).build();
        let (begun_tx, begun) = mpsc::channel(1_000);
        let ledger = Ledger {
            charges: Arc::default(),
            kept: Arc::default(),
            withdrawn: Arc::default(),
            begun: begun_tx,
        };
        let own = ledger.clone();
        let make: Box<dyn Fn() -> Till + Send + Sync> = Box::new(move || Till(own.clone()));
        let spawn = system.actor(make).label("till").admission(dedup.clone());
        Bench {
            till: actor(spawn).start(),
            dedup,
            ledger,
            begun,
        }
    }

    /// The same under a supervisor.
    fn supervised(system: &System) -> (Self, callboard_supervision::SupervisorRef) {
        let mut bench = Bench::new(system);
        let own = bench.ledger.clone();
        let spawn = system.actor(move || Till(own.clone()));
        let (till, place) = spawn.admission(bench.dedup.clone()).place();
        bench.till = till;
        let tree = Supervisor::builder("shop")
            .intensity(1_000, secs(10))
            .backoff(brisk())
            .child(place);
        (bench, tree.start(system).unwrap())
    }

    fn charges(&self) -> usize {
        self.ledger.charges.lock().len()
    }

    fn answer(&self, reply: usize) {
        self.ledger
            .kept
            .lock()
            .pop()
            .expect("one was kept")
            .send(reply);
    }
}

const ANSWER: Charge = Charge(100, Then::Answer);
const KEEP: Charge = Charge(100, Then::Keep);
const STAY: Charge = Charge(100, Then::Stay);
const PANIC: Charge = Charge(100, Then::Panic);

#[callboard::test(both)]
async fn g19_concurrent_duplicates_join_the_running_one(system: System) {
    let mut bench = Bench::new(&system);
    let key = RequestKey::new();
    let asks = (0..10).map(|_| bench.till.ask(KEEP).key(key).into_future());
    let asked = futures::future::join_all(asks);
    let answered = async {
        bench.begun.next().await.unwrap();
        // All ten have been sent: they are polled in order, before this.
        while bench.dedup.stats().joined < 9 {
            system.clock().sleep(ms(1)).await;
        }
        bench.ledger.kept.lock().pop().unwrap().send(7);
    };
    let (answers, ()) = join(asked, answered).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == 7));
    assert_eq!(bench.charges(), 1);
    let stats = bench.dedup.stats();
    assert_eq!((stats.started, stats.joined, stats.answered), (1, 9, 0));
    assert_eq!((stats.running, stats.stored), (0, 1));
}

#[callboard::test(both)]
async fn g19_after_the_end_duplicates_get_the_stored_answer(system: System) {
    let bench = Bench::new(&system);
    let key = RequestKey::new();
    for _ in 0..5 {
        assert_eq!(bench.till.ask(ANSWER).key(key).await.unwrap(), 1);
    }
    assert_eq!(
        bench.till.ask(ANSWER).key(RequestKey::new()).await.unwrap(),
        2
    );
    assert_eq!(
        bench.till.ask(ANSWER).await.unwrap(),
        3,
        "without a key it is not touched"
    );
    assert_eq!(bench.charges(), 3);
    assert_eq!(bench.dedup.stats().answered, 4);
    assert_eq!(bench.dedup.stats().stored, 2);
}

#[callboard::test(both)]
async fn g19_a_failure_is_an_end_too_and_a_refusal_is_none(system: System) {
    let bench = Bench::new(&system);
    let key = RequestKey::new();
    for _ in 0..3 {
        let error = bench
            .till
            .ask(Charge(1, Then::Fail))
            .key(key)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), FailureKind::Overloaded);
        assert_eq!(error.verdict(), Verdict::Executed);
    }
    assert_eq!(bench.charges(), 1);
    let key = RequestKey::new();
    for _ in 0..3 {
        let error = bench
            .till
            .ask(Charge(1, Then::Refuse))
            .key(key)
            .await
            .unwrap_err();
        assert_eq!(error.verdict(), Verdict::NotExecuted);
    }
    assert_eq!(
        bench.charges(),
        4,
        "what says it did nothing may be tried again"
    );
}

#[callboard::test]
async fn g08_an_answer_nobody_waits_for_is_recorded(system: System) {
    let mut bench = Bench::new(&system);
    let key = RequestKey::new();
    let lost = bench
        .till
        .ask(KEEP)
        .key(key)
        .deadline(secs(1))
        .await
        .unwrap_err();
    assert_eq!(
        (lost.kind(), lost.verdict()),
        (FailureKind::DeadlineExceeded, Verdict::Executed)
    );
    bench.begun.next().await.unwrap();
    bench.answer(9);
    assert_eq!(system.counters().drops(DropReason::LateReply), 1);
    assert_eq!(bench.dedup.stats().late, 1);
    assert_eq!(bench.till.ask(KEEP).key(key).await.unwrap(), 9);
    assert_eq!(bench.charges(), 1);
}

#[callboard::test]
async fn g19_a_duplicate_after_a_lost_answer_joins_while_it_still_runs(system: System) {
    let bench = Bench::new(&system);
    let key = RequestKey::new();
    bench
        .till
        .ask(KEEP)
        .key(key)
        .deadline(secs(1))
        .await
        .unwrap_err();
    let again = bench.till.ask(KEEP).key(key).into_future();
    let later = async {
        system.clock().sleep(secs(1)).await;
        bench.answer(9);
    };
    let (again, ()) = join(again, later).await;
    assert_eq!(again.unwrap(), 9);
    assert_eq!(system.counters().drops(DropReason::LateReply), 0);
    // A joiner's own deadline holds, and it knows that the request runs.
    let key = RequestKey::new();
    let first = bench.till.ask(KEEP).key(key).into_future();
    let joiner = async {
        while bench.ledger.kept.lock().is_empty() {
            system.clock().sleep(ms(1)).await;
        }
        let joined = bench.till.ask(KEEP).key(key).deadline(secs(1)).await;
        bench.answer(10);
        joined.unwrap_err()
    };
    let (first, joiner) = join(first, joiner).await;
    assert_eq!(first.unwrap(), 10);
    assert_eq!(joiner.verdict(), Verdict::Executed);
}

#[callboard::test]
async fn g19_the_handler_is_told_when_the_last_asker_leaves(system: System) {
    let bench = Bench::new(&system);
    let key = RequestKey::new();
    let ask = |span| bench.till.ask(KEEP).key(key).deadline(span).into_future();
    let watched = async {
        let mut seen = Vec::new();
        for _ in 0..3 {
            system.clock().sleep(ms(700)).await;
            seen.push(bench.ledger.withdrawn.load(Ordering::SeqCst));
        }
        seen
    };
    let (asks, seen) = join(join(ask(secs(1)), ask(secs(2))), watched).await;
    assert!(asks.0.is_err() && asks.1.is_err());
    assert_eq!(seen, [0, 0, 1]);
    bench.answer(3);
    assert_eq!(ask(secs(1)).await.unwrap(), 3);
    assert_eq!(bench.ledger.withdrawn.load(Ordering::SeqCst), 1);
}

#[callboard::test(both)]
async fn g19_a_key_with_another_payload_never_runs(system: System) {
    let mut bench = Bench::new(&system);
    let key = RequestKey::new();
    bench.till.ask(ANSWER).key(key).await.unwrap();
    let error = bench
        .till
        .ask(Charge(101, Then::Answer))
        .key(key)
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::KeyReused, Verdict::NotExecuted)
    );
    assert_eq!(error.into_message(), Some(Charge(101, Then::Answer)));
    // While it runs, too.
    let key = RequestKey::new();
    let running = bench.till.ask(KEEP).key(key).into_future();
    bench.begun.next().await.unwrap();
    let other = async {
        bench.begun.next().await.unwrap();
        let error = bench.till.ask(ANSWER).key(key).await.unwrap_err();
        bench.ledger.kept.lock().pop().unwrap().send(1);
        error.kind()
    };
    let (running, other) = join(running, other).await;
    assert_eq!((running.unwrap(), other), (1, FailureKind::KeyReused));
    assert_eq!(bench.charges(), 2);
    assert_eq!(bench.dedup.stats().key_reused, 2);
}

#[callboard::test]
async fn g19_a_full_store_refuses_new_keyed_work_and_keeps_what_runs(system: System) {
    let bench = Bench::with(
        &system,
        |store| store.max_entries(2).max_waiters(2),
        |actor| actor,
    );
    let (running, done) = (RequestKey::new(), RequestKey::new());
    bench
        .till
        .ask(KEEP)
        .key(running)
        .deadline(ms(1))
        .await
        .unwrap_err();
    bench.till.ask(ANSWER).key(done).await.unwrap();
    let refused = bench
        .till
        .ask(ANSWER)
        .key(RequestKey::new())
        .await
        .unwrap_err();
    assert_eq!(
        (refused.kind(), refused.verdict()),
        (FailureKind::Overloaded, Verdict::NotExecuted)
    );
    assert_eq!(refused.into_message(), Some(ANSWER));
    // Duplicates need no room, and what has no key isn't refused.
    assert_eq!(bench.till.ask(ANSWER).key(done).await.unwrap(), 2);
    assert_eq!(bench.till.ask(ANSWER).await.unwrap(), 3);
    // Even past the window what runs is remembered.
    system.clock().sleep(secs(3_600)).await;
    assert_eq!(bench.dedup.stats().running, 1);
    assert_eq!(bench.dedup.stats().stored, 0);
    let waiting = (0..2).map(|_| bench.till.ask(KEEP).key(running).into_future());
    let waiting = futures::future::join_all(waiting);
    let third = async {
        system.clock().sleep(ms(1)).await;
        let third = bench.till.ask(KEEP).key(running).await.unwrap_err();
        bench.answer(5);
        third.kind()
    };
    let (waiting, third) = join(waiting, third).await;
    assert_eq!(third, FailureKind::Overloaded, "waiters are bounded");
    assert!(waiting.into_iter().all(|answer| answer.unwrap() == 5));
    assert_eq!(bench.dedup.stats().overloaded, 2);
}

#[callboard::test]
async fn g19_the_oldest_end_makes_room_if_that_was_asked_for(system: System) {
    let bench = Bench::with(
        &system,
        |store| store.max_entries(3).forget_oldest(),
        |actor| actor,
    );
    let keys: Vec<_> = (0..4).map(|_| RequestKey::new()).collect();
    for key in &keys {
        bench.till.ask(ANSWER).key(*key).await.unwrap();
    }
    assert_eq!(
        (bench.dedup.stats().stored, bench.dedup.stats().forgotten),
        (3, 1)
    );
    assert_eq!(bench.till.ask(ANSWER).key(keys[3]).await.unwrap(), 4);
    assert_eq!(
        bench.till.ask(ANSWER).key(keys[0]).await.unwrap(),
        5,
        "it was forgotten"
    );
}

#[callboard::test]
async fn g19_an_answer_without_room_is_not_run_for_again(system: System) {
    let bench = Bench::with(
        &system,
        |store| store.max_bytes(600).weigh(|_| 10_000),
        |actor| actor,
    );
    let key = RequestKey::new();
    assert_eq!(bench.till.ask(ANSWER).key(key).await.unwrap(), 1);
    let error = bench.till.ask(ANSWER).key(key).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::NoAnswer, Verdict::Executed)
    );
    assert_eq!(bench.charges(), 1);
    assert!(bench.dedup.stats().bytes <= 600);
}

#[callboard::test]
async fn g19_the_window_begins_with_the_end(system: System) {
    let bench = Bench::with(&system, |store| store.window(secs(60)), |actor| actor);
    let key = RequestKey::new();
    bench.till.ask(ANSWER).key(key).await.unwrap();
    system.clock().sleep(secs(59)).await;
    assert_eq!(bench.till.ask(ANSWER).key(key).await.unwrap(), 1);
    system.clock().sleep(secs(1)).await;
    assert_eq!(bench.dedup.stats().expired, 1);
    assert_eq!(
        bench.till.ask(ANSWER).key(key).await.unwrap(),
        2,
        "a new request by now"
    );
}

/// A panic, with one that joined and one that comes later, with and without `ReplaySafe`.
async fn after_a_panic(system: &System, replay_safe: bool) -> (Bench, Vec<FailureKind>, usize) {
    let (mut bench, tree) = Bench::supervised(system);
    if replay_safe {
        let dedup = Dedup::builder(system).replay_safe().build();
        let own = bench.ledger.clone();
        let spawn = system.actor(move || Till(own.clone()));
        let (till, place) = spawn.admission(dedup.clone()).place();
        let tree = Supervisor::builder("replay").backoff(brisk()).child(place);
        tree.start(system).unwrap();
        (bench.till, bench.dedup) = (till, dedup);
    }
    let key = RequestKey::new();
    // Both are there before the handler begins: the actor is held by another.
    let blocker = bench.till.tell(Charge(0, Then::Answer)).into_future();
    let first = bench.till.ask(PANIC).key(key).into_future();
    let second = bench.till.ask(PANIC).key(key).into_future();
    let (_, (first, second)) = join(blocker, join(first, second)).await;
    let later = bench.till.ask(PANIC).key(key).await;
    let failed = |asked: Result<usize, SendError<Charge>>| asked.expect_err("it panicked");
    let [first, second, later] = [first, second, later].map(failed);
    assert_eq!(later.verdict(), Verdict::Executed);
    let charges = bench.charges();
    drop(tree);
    let kinds = [first, second, later].map(|error| error.kind()).to_vec();
    (bench, kinds, charges)
}

#[callboard::test]
async fn g19_after_a_panic_the_outcome_is_indeterminate(system: System) {
    let (bench, kinds, charges) = after_a_panic(&system, false).await;
    let expected = [
        FailureKind::Panicked,
        FailureKind::Indeterminate,
        FailureKind::Indeterminate,
    ];
    assert_eq!((kinds, charges), (expected.to_vec(), 2));
    assert_eq!(bench.dedup.stats().indeterminate, 1);
}

#[callboard::test]
async fn g19_after_a_panic_what_is_replay_safe_runs_again(system: System) {
    let (bench, kinds, charges) = after_a_panic(&system, true).await;
    assert_eq!((kinds, charges), (vec![FailureKind::Panicked; 3], 3));
    let stats = bench.dedup.stats();
    assert_eq!((stats.running, stats.stored, stats.run_again), (0, 1, 1));
}

#[callboard::test(both)]
async fn g19_after_a_kill_and_over_a_restart_the_store_remembers(system: System) {
    let (mut bench, tree) = Bench::supervised(&system);
    let (key, done) = (RequestKey::new(), RequestKey::new());
    assert_eq!(bench.till.ask(ANSWER).key(done).await.unwrap(), 1);
    bench.begun.next().await.unwrap();
    let asked = bench.till.ask(STAY).key(key).into_future();
    let killed = async {
        bench.begun.next().await.unwrap();
        bench.till.kill();
    };
    let (asked, ()) = join(asked, killed).await;
    assert_eq!(asked.unwrap_err().kind(), FailureKind::Killed);
    let again = bench.till.ask(STAY).key(key).await.unwrap_err();
    assert_eq!(again.kind(), FailureKind::Indeterminate);
    assert_eq!(bench.till.ask(ANSWER).key(done).await.unwrap(), 1);
    assert_eq!(bench.charges(), 2);
    tree.stop();
    tree.wait().await;
}

#[callboard::test]
async fn g19_an_attempt_that_did_not_run_leaves_nothing_behind(system: System) {
    let bench = Bench::with(
        &system,
        |store| store,
        |actor| actor.mailbox(1, callboard::Overflow::Fail),
    );
    let key = RequestKey::new();
    // The actor is busy for good, its mailbox has room for one.
    bench.till.tell(STAY).await.unwrap();
    system.clock().sleep(ms(1)).await;
    // Withdrawn by its only asker before its turn.
    let error = bench
        .till
        .ask(ANSWER)
        .key(key)
        .deadline(ms(1))
        .await
        .unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    // It still waits there; a duplicate keeps it alive instead of taking more room.
    assert_eq!(bench.dedup.stats().running, 1);
    let error = bench
        .till
        .ask(ANSWER)
        .key(key)
        .deadline(ms(1))
        .await
        .unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert_eq!(
        (bench.dedup.stats().started, bench.dedup.stats().joined),
        (1, 1)
    );
    // No room in the mailbox.
    let error = bench
        .till
        .ask(ANSWER)
        .key(RequestKey::new())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Full, Verdict::NotExecuted)
    );
    assert_eq!(bench.dedup.stats().running, 1);
    // The actor ends before its turn.
    bench.till.kill();
    bench.till.wait().await;
    let stats = bench.dedup.stats();
    assert_eq!((stats.running, stats.stored, stats.bytes), (0, 0, 0));
    assert_eq!(bench.charges(), 1);
}

#[callboard::test]
async fn g19_a_joiner_keeps_a_request_alive_whose_first_asker_left(system: System) {
    let bench = Bench::new(&system);
    let key = RequestKey::new();
    let hold = bench.till.ask(KEEP).into_future();
    let work = async {
        while bench.ledger.kept.lock().is_empty() {
            system.clock().sleep(ms(1)).await;
        }
        bench.answer(1);
        // Busy again for a second, with the keyed request behind.
        let busy = bench.till.ask(Charge(5, Then::Stay)).deadline(secs(1));
        drop(busy);
    };
    join(hold, work).await.0.unwrap();
    bench.till.tell(ANSWER).await.unwrap();
    let first = bench.till.ask(ANSWER).key(key).into_future();
    let mut first = Box::pin(first);
    // Sent, then dropped.
    assert!(futures::poll!(first.as_mut()).is_pending());
    let second = bench.till.ask(ANSWER).key(key).into_future();
    let mut second = Box::pin(second);
    assert!(futures::poll!(second.as_mut()).is_pending());
    drop(first);
    assert_eq!(second.await.unwrap(), 3);
    assert_eq!(bench.dedup.stats().started, 1);
}

#[callboard::test(both)]
async fn g19_a_keyed_tell_runs_once_too(system: System) {
    let mut bench = Bench::new(&system);
    let key = RequestKey::new();
    for _ in 0..3 {
        bench.till.tell(ANSWER).key(key).await.unwrap();
    }
    bench.begun.next().await.unwrap();
    assert_eq!(bench.till.ask(ANSWER).key(key).await.unwrap(), 1);
    assert_eq!(bench.charges(), 1);
    assert_eq!(system.counters().drops(DropReason::LateReply), 0);
}

#[callboard::test]
async fn g19_keys_are_apart_for_each_principal_and_each_target(system: System) {
    let dedup = Dedup::<Charge>::builder(&system).build();
    let key = RequestKey::new();
    let envelope = |principal: &str| {
        let mut meta = Meta::default();
        meta.set_key(key);
        meta.set_principal(Principal::new(principal));
        Envelope {
            message: ANSWER,
            meta,
            responder: Responder::nowhere(),
        }
    };
    let actor = ActorId::fresh();
    let at = Threshold::before_nobody(actor, None);
    let passes = |who| matches!(dedup.admit(envelope(who), &at), Admitted::Pass(_));
    assert!(passes("uid:1") && passes("uid:2"));
    // Each passed envelope was dropped before it ran, and left nothing behind.
    assert_eq!(dedup.stats().running, 0);
    let Admitted::Pass(first) = dedup.admit(envelope("uid:1"), &at) else {
        panic!("not passed");
    };
    assert!(matches!(
        dedup.admit(envelope("uid:1"), &at),
        Admitted::Taken
    ));
    assert!(passes("uid:2"));
    let other = Threshold::before_nobody(ActorId::fresh(), None);
    let passed = dedup.admit(envelope("uid:1"), &other);
    assert!(matches!(passed, Admitted::Pass(_)), "another target");
    drop(first);
}

#[callboard::test(both)]
async fn g19_two_actors_behind_one_store_are_two_targets_unless_it_has_one(system: System) {
    for (target, charges) in [(None, 2), (Some("tills"), 1)] {
        let mut builder = Dedup::<Charge>::builder(&system);
        if let Some(target) = target {
            builder = builder.target(target);
        }
        let dedup = builder.build();
        let bench = Bench::new(&system);
        let start = || {
            let own = bench.ledger.clone();
            let spawn = system.actor(move || Till(own.clone()));
            spawn.admission(dedup.clone()).start()
        };
        let key = RequestKey::new();
        for till in [start(), start()] {
            till.ask(ANSWER).key(key).await.unwrap();
        }
        assert_eq!(bench.charges(), charges, "{target:?}");
    }
}

#[callboard::test]
async fn g19_payloads_can_be_compared_encoded(system: System) {
    #[derive(Message, serde::Serialize)]
    #[message(reply = ())]
    struct Weigh(f64);
    let dedup = Dedup::<Weigh>::builder_encoded(&system).build();
    let key = RequestKey::new();
    let scales = ActorId::fresh();
    let admit = |weight| {
        let mut envelope = Envelope::tell(Weigh(weight));
        envelope.meta.set_key(key);
        dedup.admit(envelope, &Threshold::before_nobody(scales, None))
    };
    let running = admit(1.5);
    assert!(matches!(running, Admitted::Pass(_)));
    assert!(matches!(admit(1.5), Admitted::Taken));
    let Admitted::Refused(_, failure) = admit(2.5) else {
        panic!("not refused");
    };
    assert_eq!(failure.kind(), FailureKind::KeyReused);
}

/// Clients that retry, answers that get lost, a till that is killed: no key is ever charged twice.
#[callboard::test]
async fn g19_no_key_is_charged_twice_whatever_happens(system: System) {
    let (bench, tree) = Bench::supervised(&system);
    let mut settings = CallSettings {
        retry: Some(RetrySettings {
            attempts: 6,
            base: ms(20),
            ..RetrySettings::default()
        }),
        ..CallSettings::nothing()
    };
    settings.attempt.limit = Some(ms(30));
    let policy = CallPolicy::new("till", settings).unwrap();
    let mut clients = Vec::new();
    for cents in 0..60 {
        let then = match system.entropy().below(10) {
            0 => Then::Panic,
            1 => Then::Keep,
            2 => Then::Refuse,
            _ => Then::Answer,
        };
        let (till, policy) = (bench.till.clone(), policy.clone());
        let (clock, delay) = (system.clock().clone(), ms(system.entropy().below(400)));
        clients.push(async move {
            clock.sleep(delay).await;
            let key = RequestKey::new();
            // Impatient: two at once for one intent.
            let ask = || {
                till.ask(Charge(cents, then))
                    .key(key)
                    .deadline(secs(1))
                    .policy(&policy)
            };
            let (left, right) = join(ask().into_future(), ask().into_future()).await;
            if let (Ok(left), Ok(right)) = (&left, &right) {
                assert_eq!(left, right, "both get the one answer");
            }
            (then, left.is_ok() && right.is_ok())
        });
    }
    let chaos = async {
        for _ in 0..4 {
            system.clock().sleep(ms(100)).await;
            bench.till.kill();
            // Late answers of kept ones.
            let kept = std::mem::take(&mut *bench.ledger.kept.lock());
            kept.into_iter().for_each(|responder| responder.send(0));
        }
    };
    let (clients, ()) = join(futures::future::join_all(clients), chaos).await;
    assert!(clients.iter().filter(|(_, both)| *both).count() > 20);
    let mut charges = bench.ledger.charges.lock().clone();
    charges.retain(|cents| clients[usize::try_from(*cents).unwrap()].0 != Then::Refuse);
    let all = charges.len();
    charges.sort_unstable();
    charges.dedup();
    assert_eq!(all, charges.len(), "charged twice");
    tree.stop();
    tree.wait().await;
}
