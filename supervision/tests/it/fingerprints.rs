//! What must not run twice although it has no key: G19 by fingerprint, in the fault cases too.

mod durable;
mod pitfalls;
mod random;

use std::collections::HashMap;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use callboard::{
    Actor, ActorRef, Ask, Context, DeferredHandler, DropReason, Failure, FailureKind, Fingerprint,
    Message, Overflow, Principal, RequestKey, Responder, Route, Spawn, System, Verdict,
};
use callboard_supervision::{
    Dedup, DedupBuilder, FINGERPRINT_WINDOW, FingerprintStats, ReplaySafe, Supervisor,
};
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::{join, join_all};
use parking_lot::Mutex;

use crate::common::{brisk, ms, secs};

/// What the handler does once it has charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Fingerprint)]
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

#[derive(Message, Debug, Clone, PartialEq, Fingerprint)]
#[message(reply = usize)]
struct Charge {
    euros: f64,
    then: Then,
    /// Each attempt is sent at its own time, and marked by its own trace.
    #[fingerprint(skip)]
    sent_at: Duration,
    tags: HashMap<String, u32>,
}
impl ReplaySafe for Charge {}

fn charge(euros: f64, then: Then) -> Charge {
    // Another order each time, and a NaN would be like any other.
    let tags = (0..20).map(|n| (format!("tag {n}"), n)).collect();
    let sent_at = Duration::from_nanos(RequestKey::new().as_uuid().as_u64_pair().1);
    Charge {
        euros,
        then,
        sent_at,
        tags,
    }
}

/// What is charged, apart from any dedup store.
#[derive(Clone)]
struct Ledger {
    charges: Arc<Mutex<Vec<f64>>>,
    kept: Arc<Mutex<Vec<Responder<usize>>>>,
    begun: mpsc::Sender<()>,
}

struct Till(Ledger);
impl Actor for Till {}
impl DeferredHandler<Charge> for Till {
    async fn handle_deferred(
        &mut self,
        charge: Charge,
        responder: Responder<usize>,
        _: &mut Context<Self>,
    ) {
        let count = {
            let mut charges = self.0.charges.lock();
            charges.push(charge.euros);
            charges.len()
        };
        // Nobody may look.
        let _ = self.0.begun.try_send(());
        match charge.then {
            Then::Answer => responder.send(count),
            Then::Keep => self.0.kept.lock().push(responder),
            Then::Stay => std::future::pending().await,
            Then::Panic => panic!("the drawer is stuck"),
            Then::Fail => responder.fail(Failure::new(FailureKind::Overloaded, Verdict::Executed)),
            Then::Refuse => {
                responder.fail(Failure::new(FailureKind::Overloaded, Verdict::NotExecuted));
            }
        }
    }
}

type Make = Box<dyn Fn() -> Till + Send + Sync>;

struct Bench {
    till: ActorRef<Till>,
    dedup: Dedup<Charge>,
    ledger: Ledger,
    begun: mpsc::Receiver<()>,
}

impl Bench {
    fn new(system: &System) -> Self {
        Bench::with(system, |store| store, Spawn::start)
    }

    fn with(
        system: &System,
        store: impl FnOnce(DedupBuilder<Charge>) -> DedupBuilder<Charge>,
        start: impl FnOnce(Spawn<Make>) -> ActorRef<Till>,
    ) -> Self {
        let builder = Dedup::builder_fingerprint(system).by_fingerprint(FINGERPRINT_WINDOW);
        let dedup = store(builder).build();
        let (begun_tx, begun) = mpsc::channel(1_000);
        let ledger = Ledger {
            charges: Arc::default(),
            kept: Arc::default(),
            begun: begun_tx,
        };
        let own = ledger.clone();
        let make: Make = Box::new(move || Till(own.clone()));
        let till = start(system.actor(make).admission(dedup.clone()));
        Bench {
            till,
            dedup,
            ledger,
            begun,
        }
    }

    fn ask(&self, euros: f64, then: Then) -> Ask<'_, Charge, impl Route<Charge> + Clone + use<'_>> {
        self.till.ask(charge(euros, then))
    }

    async fn answer(&self, euros: f64) -> usize {
        self.ask(euros, Then::Answer).await.unwrap()
    }

    fn charges(&self) -> usize {
        self.ledger.charges.lock().len()
    }

    fn prints(&self) -> FingerprintStats {
        self.dedup.stats().by_fingerprint
    }
}

fn on_behalf<'r, M: Message, R: Route<M> + Clone + 'r>(
    ask: Ask<'r, M, R>,
    who: &str,
) -> Ask<'r, M, R> {
    let mut parts = ask.into_parts();
    parts.meta.set_principal(Principal::new(who));
    parts.into_ask()
}

#[callboard::test(both)]
async fn g19_equal_messages_without_keys_run_once(system: System) {
    let bench = Bench::new(&system);
    for _ in 0..5 {
        assert_eq!(bench.answer(1.5).await, 1);
    }
    assert_eq!(
        bench.answer(2.5).await,
        2,
        "another amount is another request"
    );
    assert_eq!(bench.charges(), 2);
    let prints = bench.prints();
    assert_eq!((prints.started, prints.answered, prints.stored), (2, 4, 2));
    // None of it is counted among what has a key.
    let stats = bench.dedup.stats();
    assert_eq!(
        (stats.started, stats.answered, stats.stored, stats.bytes),
        (0, 0, 0, 0)
    );
}

#[callboard::test(both)]
async fn g19_an_equal_message_joins_the_running_one(system: System) {
    let mut bench = Bench::new(&system);
    let asked = join_all((0..10).map(|_| bench.till.ask(charge(1.0, Then::Keep)).into_future()));
    let dedup = bench.dedup.clone();
    let answered = async {
        bench.begun.next().await.unwrap();
        while dedup.stats().by_fingerprint.joined < 9 {
            system.clock().sleep(ms(1)).await;
        }
        bench.ledger.kept.lock().pop().unwrap().send(7);
    };
    let (answers, ()) = join(asked, answered).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == 7));
    assert_eq!(bench.charges(), 1);
    assert_eq!(bench.prints().answered, 0);
}

#[callboard::test]
async fn g08_a_retry_finds_the_answer_that_its_first_attempt_lost(system: System) {
    let bench = Bench::new(&system);
    let lost = bench
        .ask(1.0, Then::Keep)
        .deadline(secs(1))
        .await
        .unwrap_err();
    assert_eq!(lost.kind(), FailureKind::DeadlineExceeded);
    bench.ledger.kept.lock().pop().unwrap().send(9);
    assert_eq!(system.counters().drops(DropReason::LateReply), 1);
    assert_eq!(bench.prints().late, 1);
    assert_eq!(bench.ask(1.0, Then::Keep).await.unwrap(), 9);
    assert_eq!(bench.charges(), 1);
}

#[callboard::test(both)]
async fn g19_a_message_with_a_key_goes_by_its_key_alone(system: System) {
    let bench = Bench::new(&system);
    let keys = [RequestKey::new(), RequestKey::new()];
    assert_eq!(bench.answer(1.0).await, 1);
    let keyed = |key| bench.ask(1.0, Then::Answer).key(key).into_future();
    assert_eq!(
        keyed(keys[0]).await.unwrap(),
        2,
        "like the one without a key, and another"
    );
    assert_eq!(
        keyed(keys[1]).await.unwrap(),
        3,
        "two keys are two requests"
    );
    assert_eq!(bench.answer(1.0).await, 1);
    assert_eq!(keyed(keys[0]).await.unwrap(), 2);
    let (keyed, prints) = (bench.dedup.stats(), bench.prints());
    assert_eq!((keyed.started, keyed.answered), (2, 1));
    assert_eq!((prints.started, prints.answered), (1, 1));
    assert_eq!(bench.charges(), 3);
}

/// What is left out of the fingerprint may differ between the attempts of one key; nothing else may.
#[callboard::test(both)]
async fn g19_a_keyed_payload_can_be_compared_by_its_fingerprint(system: System) {
    let bench = Bench::new(&system);
    let key = RequestKey::new();
    let (first, second) = (
        charge(f64::NAN, Then::Answer),
        charge(f64::NAN, Then::Answer),
    );
    assert_ne!(first.sent_at, second.sent_at);
    assert_eq!(bench.till.ask(first).key(key).await.unwrap(), 1);
    assert_eq!(bench.till.ask(second).key(key).await.unwrap(), 1);
    let error = bench.ask(1.0, Then::Answer).key(key).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::KeyReused, Verdict::NotExecuted)
    );
    assert_eq!(bench.charges(), 1);
}

#[callboard::test]
async fn g19_fingerprints_have_a_window_of_their_own(system: System) {
    let bench = Bench::with(&system, |store| store.window(secs(60)), Spawn::start);
    let key = RequestKey::new();
    let keyed = || bench.ask(1.0, Then::Answer).key(key).into_future();
    assert_eq!((bench.answer(1.0).await, keyed().await.unwrap()), (1, 2));
    system.clock().sleep(FINGERPRINT_WINDOW - ms(1)).await;
    assert_eq!(
        bench.answer(1.0).await,
        1,
        "an answer doesn't begin the window again"
    );
    system.clock().sleep(ms(1)).await;
    assert_eq!(bench.prints().expired, 1);
    assert_eq!((bench.answer(1.0).await, keyed().await.unwrap()), (3, 2));
    system.clock().sleep(secs(60)).await;
    assert_eq!(keyed().await.unwrap(), 4);
}

#[callboard::test(both)]
async fn g19_with_a_window_of_zero_they_only_join(system: System) {
    let mut bench = Bench::with(
        &system,
        |store| store.by_fingerprint(Duration::ZERO),
        Spawn::start,
    );
    let both = join(
        bench.till.ask(charge(1.0, Then::Keep)).into_future(),
        bench.till.ask(charge(1.0, Then::Keep)).into_future(),
    );
    let dedup = bench.dedup.clone();
    let answered = async {
        bench.begun.next().await.unwrap();
        while dedup.stats().by_fingerprint.joined < 1 {
            system.clock().sleep(ms(1)).await;
        }
        bench.ledger.kept.lock().pop().unwrap().send(7);
    };
    let ((one, other), ()) = join(both, answered).await;
    assert_eq!((one.unwrap(), other.unwrap()), (7, 7));
    assert_eq!((bench.answer(2.0).await, bench.answer(2.0).await), (2, 3));
}

#[callboard::test(both)]
async fn g19_fingerprints_are_apart_for_each_principal(system: System) {
    let bench = Bench::new(&system);
    let ask = |who| on_behalf(bench.ask(1.0, Then::Answer), who).into_future();
    assert_eq!(
        (ask("uid:1").await.unwrap(), ask("uid:2").await.unwrap()),
        (1, 2)
    );
    assert_eq!(bench.answer(1.0).await, 3);
    assert_eq!(
        (ask("uid:1").await.unwrap(), ask("uid:2").await.unwrap()),
        (1, 2)
    );
    assert_eq!(bench.charges(), 3);
}

#[callboard::test(both)]
async fn g19_fingerprints_are_apart_for_each_target_unless_they_share_one(system: System) {
    for (target, charges) in [(None, 2), (Some("tills"), 1)] {
        let store = |store: DedupBuilder<Charge>| match target {
            Some(target) => store.target(target),
            None => store,
        };
        let bench = Bench::with(&system, store, Spawn::start);
        let own = bench.ledger.clone();
        let spawn = system.actor(move || Till(own.clone()));
        let other = spawn.admission(bench.dedup.clone()).start();
        bench.answer(1.0).await;
        assert_eq!(other.ask(charge(1.0, Then::Answer)).await.unwrap(), charges);
        assert_eq!(bench.charges(), charges, "{target:?}");
    }
}

#[callboard::test(both)]
async fn g19_a_failure_is_an_end_without_a_key_too_and_a_refusal_is_none(system: System) {
    let bench = Bench::new(&system);
    for _ in 0..3 {
        let error = bench.ask(1.0, Then::Fail).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.verdict()),
            (FailureKind::Overloaded, Verdict::Executed)
        );
    }
    assert_eq!(bench.charges(), 1);
    for _ in 0..3 {
        let error = bench.ask(1.0, Then::Refuse).await.unwrap_err();
        assert_eq!(error.verdict(), Verdict::NotExecuted);
    }
    assert_eq!(bench.charges(), 4);
}

/// What a caller and the next one are told of a handler that panics, and how often it ran.
async fn after_a_panic(system: &System, replay_safe: bool) -> ([FailureKind; 2], usize) {
    let mut place = None;
    let store = |store: DedupBuilder<Charge>| match replay_safe {
        true => store.replay_safe(),
        false => store,
    };
    let bench = Bench::with(system, store, |spawn| {
        let (till, child) = spawn.place();
        place = Some(child);
        till
    });
    let tree = Supervisor::builder("shop")
        .backoff(brisk())
        .child(place.unwrap());
    let tree = tree.start(system).unwrap();
    let panic = || bench.ask(1.0, Then::Panic).into_future();
    let kinds = [panic().await, panic().await].map(|asked| asked.unwrap_err().kind());
    tree.stop();
    tree.wait().await;
    (kinds, bench.charges())
}

#[callboard::test(both)]
async fn g19_what_panicked_without_a_key_is_indeterminate_or_runs_again(system: System) {
    let [panicked, unknown] = [FailureKind::Panicked, FailureKind::Indeterminate];
    assert_eq!(
        after_a_panic(&system, false).await,
        ([panicked, unknown], 1)
    );
    assert_eq!(
        after_a_panic(&system, true).await,
        ([panicked, panicked], 2)
    );
}

#[callboard::test(both)]
async fn g19_what_was_killed_without_a_key_is_indeterminate(system: System) {
    let mut bench = Bench::new(&system);
    let asked = bench.till.ask(charge(1.0, Then::Stay)).into_future();
    let killed = async {
        bench.begun.next().await.unwrap();
        bench.till.kill();
    };
    let (asked, ()) = join(asked, killed).await;
    assert_eq!(asked.unwrap_err().kind(), FailureKind::Killed);
    let again = bench.ask(1.0, Then::Stay).await.unwrap_err();
    assert_eq!(
        (again.kind(), again.verdict()),
        (FailureKind::Indeterminate, Verdict::Executed)
    );
    assert_eq!(bench.prints().indeterminate, 1);
}

#[callboard::test]
async fn g19_what_did_not_run_is_like_nothing(system: System) {
    let small = |spawn: Spawn<Make>| spawn.mailbox(1, Overflow::Fail).start();
    let mut bench = Bench::with(&system, |store| store, small);
    let hold = bench.till.ask(charge(1.0, Then::Keep)).into_future();
    let mut hold = Box::pin(hold);
    assert!(futures::poll!(hold.as_mut()).is_pending());
    bench.begun.next().await.unwrap();
    // From here on the actor is busy for good.
    bench.till.tell(charge(2.0, Then::Stay)).await.unwrap();
    bench.begun.next().await.unwrap();
    let withdrawn = bench
        .ask(3.0, Then::Answer)
        .deadline(ms(1))
        .await
        .unwrap_err();
    assert_eq!(withdrawn.verdict(), Verdict::NotExecuted);
    // The mailbox has room for that one alone: the message comes back (G6).
    let message = charge(4.0, Then::Answer);
    let full = bench.till.ask(message.clone()).await.unwrap_err();
    assert_eq!(
        (full.kind(), full.verdict()),
        (FailureKind::Full, Verdict::NotExecuted)
    );
    assert_eq!(full.into_message(), Some(message));
    assert_eq!(
        bench.prints().running,
        3,
        "who is kept, who stays, and the withdrawn one in the mailbox"
    );
    bench.till.kill();
    bench.till.wait().await;
    let prints = bench.prints();
    assert_eq!(
        (prints.started, prints.running, prints.indeterminate),
        (4, 1, 1)
    );
    assert_eq!(bench.charges(), 2);
    bench.ledger.kept.lock().pop().unwrap().send(5);
    assert_eq!(hold.await.unwrap(), 5);
}

#[callboard::test(both)]
async fn g03_keys_and_fingerprints_have_room_apart(system: System) {
    let bench = Bench::with(&system, |store| store.max_entries(2), Spawn::start);
    bench.answer(1.0).await;
    bench.answer(2.0).await;
    let message = charge(3.0, Then::Answer);
    let refused = bench.till.ask(message.clone()).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.verdict()),
        (FailureKind::Overloaded, Verdict::NotExecuted)
    );
    assert_eq!(refused.into_message(), Some(message));
    assert_eq!(bench.answer(2.0).await, 2, "what is there needs no room");
    let keyed = || {
        bench
            .ask(9.0, Then::Answer)
            .key(RequestKey::new())
            .into_future()
    };
    assert_eq!((keyed().await.unwrap(), keyed().await.unwrap()), (3, 4));
    assert_eq!(keyed().await.unwrap_err().kind(), FailureKind::Overloaded);
    assert_eq!(
        (bench.prints().overloaded, bench.dedup.stats().overloaded),
        (1, 1)
    );
}

#[callboard::test(both)]
async fn g03_the_oldest_fingerprint_makes_room_if_that_was_asked_for(system: System) {
    let bench = Bench::with(
        &system,
        |store| store.max_entries(2).forget_oldest(),
        Spawn::start,
    );
    for n in 1..=3 {
        assert_eq!(bench.answer(f64::from(n)).await, n as usize);
    }
    assert_eq!((bench.prints().stored, bench.prints().forgotten), (2, 1));
    assert_eq!(bench.answer(3.0).await, 3);
    assert_eq!(bench.answer(1.0).await, 4, "it was forgotten");
}
