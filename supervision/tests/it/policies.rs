//! What a policy does besides retrying, through the asks it is put on: G17, G18.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callboard::queue::Queue;
use callboard::{
    Actor, ActorRef, Admission, Admitted, Context, DeferredHandler, Envelope, Failure, FailureKind,
    Handler, Message, RequestKey, Responder, System, Threshold, Verdict,
};
use callboard_supervision::{
    AdaptiveMode, AdaptiveSettings, AskExt, BreakerMode, BreakerSettings, BreakerState,
    BulkheadSettings, CallPolicy, CallSettings, HedgeSettings, Idempotent, OfferExt, RateSettings,
    RetrySettings, ShedSettings,
};
use futures::FutureExt;
use futures::future::join_all;
use parking_lot::Mutex;

use crate::common::{ms, secs};

#[derive(Message, Clone, Debug, PartialEq)]
#[message(reply = u32)]
pub(crate) struct Get(pub(crate) u32);
impl Idempotent for Get {}

/// What a [`Slow`] does, and what it has seen.
#[derive(Default)]
pub(crate) struct Shared {
    /// How long the next ones take; then the last for all.
    takes: Mutex<VecDeque<Duration>>,
    began: AtomicU32,
    ended: AtomicU32,
    at_once: AtomicU32,
    most_at_once: AtomicU32,
}

/// Answers each request after a while, many at once.
pub(crate) struct Slow(Arc<Shared>);
impl Actor for Slow {}
impl DeferredHandler<Get> for Slow {
    async fn handle_deferred(
        &mut self,
        Get(n): Get,
        responder: Responder<u32>,
        ctx: &mut Context<Self>,
    ) {
        let shared = Arc::clone(&self.0);
        shared.began.fetch_add(1, Ordering::Relaxed);
        let now = shared.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        shared.most_at_once.fetch_max(now, Ordering::Relaxed);
        let takes = {
            let mut takes = shared.takes.lock();
            match takes.len() {
                0 => Duration::ZERO,
                1 => takes[0],
                _ => takes.pop_front().unwrap(),
            }
        };
        let clock = ctx.system().clock().clone();
        ctx.spawn(async move {
            clock.sleep(takes).await;
            shared.at_once.fetch_sub(1, Ordering::Relaxed);
            shared.ended.fetch_add(1, Ordering::Relaxed);
            responder.send(n + 1);
        });
    }
}

pub(crate) fn slow(system: &System, takes: &[Duration]) -> (ActorRef<Slow>, Arc<Shared>) {
    let shared = Arc::new(Shared::default());
    shared.takes.lock().extend(takes);
    let actor = Arc::clone(&shared);
    let slow = system.actor(move || Slow(Arc::clone(&actor))).start();
    (slow, shared)
}

/// Lets pass or refuses as it is told.
#[derive(Clone, Default)]
pub(crate) struct Door {
    pub(crate) shut: Arc<Mutex<Option<Failure>>>,
    seen: Arc<Mutex<Vec<callboard::clock::Instant>>>,
    system: Option<System>,
}

impl Admission<Get> for Door {
    fn admit(&self, envelope: Envelope<Get>, _: &Threshold<'_, Get>) -> Admitted<Get> {
        let now = self.system.as_ref().map(|system| system.clock().now());
        self.seen.lock().push(now.unwrap_or_default());
        match self.shut.lock().clone() {
            Some(failure) => Admitted::Refused(envelope, failure),
            None => Admitted::Pass(envelope),
        }
    }
}

pub(crate) fn behind_a_door(system: &System) -> (ActorRef<Slow>, Door) {
    let door = Door {
        system: Some(system.clone()),
        ..Door::default()
    };
    let shared = Arc::new(Shared::default());
    let slow = system
        .actor(move || Slow(Arc::clone(&shared)))
        .admission(door.clone())
        .start();
    (slow, door)
}

pub(crate) fn full() -> Failure {
    Failure::new(FailureKind::Full, Verdict::NotExecuted)
}

fn policy(settings: CallSettings) -> CallPolicy {
    CallPolicy::new("test", settings).unwrap()
}

pub(crate) fn only(set: impl FnOnce(&mut CallSettings)) -> CallPolicy {
    let mut settings = CallSettings::nothing();
    set(&mut settings);
    policy(settings)
}

fn breaker(consecutive: u32) -> BreakerSettings {
    BreakerSettings {
        mode: BreakerMode::Always,
        consecutive,
        open: secs(1),
        ..BreakerSettings::default()
    }
}

#[callboard::test]
async fn g17_an_open_breaker_refuses_at_once_and_tries_again_later(system: System) {
    let (callee, door) = behind_a_door(&system);
    *door.shut.lock() = Some(full());
    let policy = only(|settings| settings.breaker = Some(breaker(3)));
    for _ in 0..3 {
        let error = callee.ask(Get(1)).policy(&policy).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Full);
    }
    let error = callee.ask(Get(7)).policy(&policy).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Overloaded);
    assert_eq!(error.verdict(), Verdict::NotSent);
    assert!(
        error
            .failure()
            .retry_after()
            .is_some_and(|after| after <= secs(1))
    );
    assert!(error.to_string().contains("breaker"), "{error}");
    assert_eq!(error.into_message(), Some(Get(7)), "it comes back");
    assert_eq!(door.seen.lock().len(), 3, "the callee was left alone");
    let explained = policy.explain();
    let state = explained.callees[0].breaker.unwrap();
    assert!(matches!(state, BreakerState::Open { .. }), "{state:?}");
    // A probe that succeeds closes it.
    *door.shut.lock() = None;
    system.clock().sleep(secs(1)).await;
    assert_eq!(callee.ask(Get(1)).policy(&policy).await.unwrap(), 2);
    assert_eq!(callee.ask(Get(2)).policy(&policy).await.unwrap(), 3);
    let stats = policy.stats();
    assert_eq!((stats.broken, stats.failed, stats.requests), (1, 4, 6));
}

/// With one callee and nothing to fall back upon, failing fast only turns what might succeed into what can't.
#[callboard::test]
async fn g17_a_breaker_acts_by_itself_only_where_there_is_something_else_to_do(system: System) {
    let (callee, door) = behind_a_door(&system);
    *door.shut.lock() = Some(full());
    let policy = only(|settings| {
        settings.breaker = Some(BreakerSettings {
            mode: BreakerMode::Auto,
            ..breaker(3)
        });
    });
    for _ in 0..5 {
        let error = callee.ask(Get(1)).policy(&policy).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Full, "it is asked each time");
    }
    let answer = callee
        .ask(Get(1))
        .policy(&policy)
        .or_degraded("it", 0)
        .await;
    assert_eq!(
        answer.why().unwrap().kind,
        FailureKind::Overloaded,
        "a fallback"
    );
    assert_eq!(door.seen.lock().len(), 5);
    let (other, _) = behind_a_door(&system);
    assert_eq!(other.ask(Get(1)).policy(&policy).await.unwrap(), 2);
    let error = callee.ask(Get(1)).policy(&policy).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Overloaded, "another callee");
    assert_eq!(door.seen.lock().len(), 5);
}

/// What the request itself is to blame for says nothing about the callee.
#[callboard::test]
async fn g17_what_is_the_requests_own_fault_opens_no_breaker(system: System) {
    let (callee, door) = behind_a_door(&system);
    let unauthorised = Failure::new(FailureKind::NotAuthorised, Verdict::NotExecuted);
    *door.shut.lock() = Some(unauthorised);
    let policy = only(|settings| settings.breaker = Some(breaker(2)));
    for _ in 0..6 {
        let error = callee.ask(Get(1)).policy(&policy).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::NotAuthorised);
    }
    assert_eq!(policy.stats().broken, 0);
}

#[callboard::test]
async fn g17_a_bulkhead_bounds_what_is_under_way_and_what_waits(system: System) {
    let (callee, shared) = slow(&system, &[secs(1)]);
    let policy = only(|settings| {
        settings.bulkhead = Some(BulkheadSettings {
            concurrency: 3,
            queue: 4,
        });
    });
    let asks = (0..10).map(|n| callee.ask(Get(n)).policy(&policy).into_future());
    let before = system.clock().now();
    let ended = join_all(asks).await;
    assert_eq!(shared.most_at_once.load(Ordering::Relaxed), 3);
    let answered: Vec<u32> = ended
        .iter()
        .filter_map(|ended| ended.as_ref().ok())
        .copied()
        .collect();
    assert_eq!(answered, [1, 2, 3, 4, 5, 6, 7], "in the order they came");
    for refused in ended.into_iter().filter_map(Result::err) {
        assert_eq!(refused.kind(), FailureKind::Overloaded);
        assert_eq!(refused.verdict(), Verdict::NotSent);
        assert!(refused.into_message().is_some());
    }
    assert_eq!(system.clock().now().since(before), secs(3));
    assert_eq!(policy.stats().crowded, 3);
    assert_eq!(policy.explain().callees[0].under_way, Some(0));
}

#[callboard::test]
async fn g09_who_waits_for_a_place_waits_within_its_deadline(system: System) {
    let (callee, shared) = slow(&system, &[secs(5)]);
    let policy = only(|settings| {
        settings.bulkhead = Some(BulkheadSettings {
            concurrency: 1,
            queue: 4,
        });
    });
    let first = callee.ask(Get(1)).policy(&policy).into_future();
    let second = callee
        .ask(Get(2))
        .deadline(secs(1))
        .policy(&policy)
        .into_future();
    let (first, second) = futures::join!(first, second);
    assert_eq!(first.unwrap(), 2);
    let error = second.unwrap_err();
    assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(error.verdict(), Verdict::NotSent);
    assert_eq!(error.into_message(), Some(Get(2)));
    assert_eq!(shared.began.load(Ordering::Relaxed), 1);
    // A dropped one leaves the line, and its place isn't lost.
    drop(callee.ask(Get(3)).policy(&policy).into_future());
    assert_eq!(callee.ask(Get(4)).policy(&policy).await.unwrap(), 5);
}

#[callboard::test]
async fn g17_a_rate_is_kept_by_refusing_or_by_waiting(system: System) {
    let (callee, door) = behind_a_door(&system);
    let rate = RateSettings {
        per_second: 10.0,
        burst: 5,
        wait: Duration::ZERO,
    };
    let refusing = only(|settings| settings.rate = Some(rate.clone()));
    let ended = join_all((0..20).map(|n| callee.ask(Get(n)).policy(&refusing).into_future())).await;
    assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 5);
    let refused = ended.into_iter().find_map(Result::err).unwrap();
    assert_eq!(refused.kind(), FailureKind::Overloaded);
    assert!(
        refused
            .failure()
            .retry_after()
            .is_some_and(|after| after <= ms(100))
    );
    let waiting = only(|settings| {
        settings.rate = Some(RateSettings {
            wait: secs(10),
            ..rate
        });
    });
    let before = system.clock().now();
    let ended = join_all((0..20).map(|n| callee.ask(Get(n)).policy(&waiting).into_future())).await;
    assert!(ended.iter().all(Result::is_ok));
    let took = system.clock().now().since(before);
    assert!(
        took >= ms(1_400) && took <= ms(1_600),
        "15 turns of 100 ms: {took:?}"
    );
    assert_eq!(door.seen.lock().len(), 25);
}

/// Measures `policy` until it has its samples.
async fn warm_up(callee: &ActorRef<Slow>, policy: &CallPolicy, calls: u32) {
    for n in 0..calls {
        let answer = callee
            .ask(Get(n))
            .key(RequestKey::new())
            .policy(policy)
            .await;
        assert_eq!(answer.unwrap(), n + 1);
    }
}

#[callboard::test]
async fn g17_the_first_answer_of_two_counts_and_the_loser_is_withdrawn(system: System) {
    let (callee, shared) = slow(&system, &[ms(10)]);
    let policy = only(|settings| {
        settings.hedge = Some(HedgeSettings {
            percentile: 95.0,
            at_least: ms(1),
            min_samples: 50,
        });
    });
    warm_up(&callee, &policy, 100).await;
    assert_eq!(policy.stats().hedges, 0);
    // One that hangs, and then quick ones.
    shared.takes.lock().extend([ms(10)]);
    shared.takes.lock()[0] = secs(20);
    let before = system.clock().now();
    let asked = callee.ask(Get(1)).key(RequestKey::new()).policy(&policy);
    assert_eq!(asked.await.unwrap(), 2);
    let took = system.clock().now().since(before);
    assert!(
        took >= ms(19) && took <= ms(22),
        "after p95, 10 ms more: {took:?}"
    );
    let stats = policy.stats();
    assert_eq!(
        (stats.hedges, stats.hedges_won, stats.requests),
        (1, 1, 101)
    );
    assert_eq!((stats.retries, stats.failed, stats.recovered), (0, 0, 0));
    // Neither keyed nor idempotent: nothing runs twice.
    shared.takes.lock().push_front(secs(2));
    let before = system.clock().now();
    assert_eq!(callee.ask(Get(1)).policy(&policy).await.unwrap(), 2);
    assert_eq!(system.clock().now().since(before), secs(2));
    assert_eq!(policy.stats().hedges, 1);
    shared.takes.lock().push_front(secs(2));
    assert_eq!(
        callee.ask(Get(1)).policy_idempotent(&policy).await.unwrap(),
        2
    );
    assert_eq!(policy.stats().hedges, 2, "idempotent");
}

#[callboard::test]
async fn g17_hedges_are_charged_to_the_budget(system: System) {
    let (callee, shared) = slow(&system, &[ms(10)]);
    let mut settings = CallSettings::nothing();
    settings.hedge = Some(HedgeSettings {
        percentile: 50.0,
        at_least: ms(1),
        min_samples: 50,
    });
    let mut retry = RetrySettings {
        attempts: 2,
        ..RetrySettings::default()
    };
    retry.budget.per_second = 0.0;
    settings.retry = Some(retry);
    let policy = policy(settings);
    warm_up(&callee, &policy, 100).await;
    shared.takes.lock().clear();
    shared.takes.lock().push_back(ms(500));
    let asks = (0..100).map(|n| callee.ask(Get(n)).policy_idempotent(&policy).into_future());
    let ended = join_all(asks).await;
    assert!(ended.iter().all(Result::is_ok));
    let stats = policy.stats();
    assert_eq!(stats.requests, 200);
    assert!(
        stats.hedges <= 40,
        "a fifth of the requests: {}",
        stats.hedges
    );
    assert!(stats.hedges >= 15, "{}", stats.hedges);
    assert_eq!(stats.over_budget, 100 - stats.hedges);
}

#[callboard::test]
async fn g17_what_would_come_too_late_is_shed(system: System) {
    let (callee, shared) = slow(&system, &[ms(100)]);
    let policy = only(|settings| {
        settings.shed = Some(ShedSettings {
            percentile: 50.0,
            min_samples: 20,
        });
    });
    warm_up(&callee, &policy, 70).await;
    let begun = shared.began.load(Ordering::Relaxed);
    let asked = callee.ask(Get(1)).deadline(ms(50)).policy(&policy);
    let error = asked.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Overloaded, Verdict::NotSent)
    );
    assert_eq!(
        shared.began.load(Ordering::Relaxed),
        begun,
        "no work for nobody"
    );
    let asked = callee.ask(Get(1)).deadline(ms(500)).policy(&policy);
    assert_eq!(asked.await.unwrap(), 2);
    assert_eq!(policy.stats().shed, 1);
}

/// Calls that are all shed measure nothing: one a second is let through, or they would be shed for ever.
#[callboard::test]
async fn g17_shedding_ends_when_the_callee_is_well_again(system: System) {
    let (callee, shared) = slow(&system, &[secs(60)]);
    let policy = only(|settings| {
        settings.deadline = Some(ms(500));
        settings.shed = Some(ShedSettings {
            percentile: 50.0,
            min_samples: 20,
        });
    });
    for n in 0..40 {
        callee.ask(Get(n)).policy(&policy).await.unwrap_err();
    }
    assert!(policy.stats().shed > 0, "{:?}", policy.stats());
    shared.takes.lock()[0] = ms(1);
    let mut answered = 0;
    for n in 0..2_000 {
        system.clock().sleep(ms(500)).await;
        answered += u32::from(callee.ask(Get(n)).policy(&policy).await.is_ok());
    }
    let last = callee.ask(Get(1)).policy(&policy).await;
    assert_eq!(last.unwrap(), 2, "after {answered} answers");
}

/// Who is refused a second attempt may have run by the first.
#[callboard::test]
async fn g17_a_refusal_after_a_doubtful_attempt_is_in_doubt(system: System) {
    let (callee, door) = behind_a_door(&system);
    let (other, untouched) = behind_a_door(&system);
    let doubt = Failure::new(FailureKind::ConnectionLost, Verdict::MaybeExecuted);
    *door.shut.lock() = Some(doubt);
    let policy = only(|settings| {
        settings.retry = Some(RetrySettings {
            base: ms(1),
            ..RetrySettings::default()
        });
        settings.breaker = Some(breaker(1));
    });
    let keyed = callee.ask(Get(1)).key(RequestKey::new()).policy(&policy);
    let error = keyed.await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Overloaded, "the breaker opened");
    assert_eq!(error.verdict(), Verdict::MaybeExecuted);
    system.clock().sleep(secs(2)).await;
    let keyed = callee.ask(Get(1)).key(RequestKey::new()).policy(&policy);
    let other = other.recipient::<Get, _>();
    keyed.or_ask("the first", &other).await.unwrap_err();
    assert!(untouched.seen.lock().is_empty(), "nobody else is asked");
}

/// A message whose copy panics when it is told to.
#[derive(Message)]
#[message(reply = u32)]
struct Fragile(Arc<std::sync::atomic::AtomicBool>);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(!self.0.load(Ordering::Relaxed), "a copy that fails");
        Fragile(Arc::clone(&self.0))
    }
}

struct Careful;
impl Actor for Careful {}
impl Handler<Fragile> for Careful {
    async fn handle(&mut self, _: Fragile, _: &mut Context<Self>) -> u32 {
        7
    }
}

#[callboard::test]
async fn g17_a_copy_that_panics_loses_no_probe(system: System) {
    let careful = system.actor(|| Careful).start();
    let policy = only(|settings| {
        settings.retry = Some(RetrySettings {
            attempts: 2,
            base: ms(1),
            ..RetrySettings::default()
        });
        settings.attempt.limit = Some(ms(10));
        settings.breaker = Some(breaker(1));
    });
    let breaks = Arc::new(std::sync::atomic::AtomicBool::new(false));
    // Held until the breaker has opened.
    let (slow, _) = slow(&system, &[secs(1)]);
    slow.ask(Get(1)).policy(&policy).await.unwrap_err();
    careful.kill();
    careful
        .ask(Fragile(Arc::clone(&breaks)))
        .policy(&policy)
        .await
        .unwrap_err();
    system.clock().sleep(secs(2)).await;
    breaks.store(true, Ordering::Relaxed);
    let asked = careful
        .ask(Fragile(Arc::clone(&breaks)))
        .policy(&policy)
        .into_future();
    let panicked = std::panic::AssertUnwindSafe(asked).catch_unwind().await;
    assert!(panicked.is_err());
    breaks.store(false, Ordering::Relaxed);
    let error = careful
        .ask(Fragile(breaks))
        .policy(&policy)
        .await
        .unwrap_err();
    // Its one attempt met an actor that has ended, and opened the breaker again.
    assert_eq!(
        error.verdict(),
        Verdict::NotExecuted,
        "it was tried: {error}"
    );
}

pub(crate) fn adaptive(mode: AdaptiveMode) -> AdaptiveSettings {
    AdaptiveSettings {
        mode,
        percentile: 99.0,
        factor: 2.0,
        floor: ms(5),
        ceiling: secs(10),
        min_samples: 100,
        half_life: secs(20),
    }
}

/// The callee slows down tenfold for good. A limit that took only answers into account would shrink to what is left
/// of them, and lose ever more; this one grows until they come again.
#[callboard::test]
async fn g17_an_adaptive_limit_does_not_spiral_when_the_callee_slows_down_tenfold(system: System) {
    let (callee, shared) = slow(&system, &[ms(20)]);
    let policy = only(|settings| settings.attempt.adaptive = Some(adaptive(AdaptiveMode::Follow)));
    warm_up(&callee, &policy, 400).await;
    let limit = || policy.explain().callees[0].adaptive_limit.unwrap();
    assert!(limit() >= ms(40) && limit() <= ms(44), "{:?}", limit());
    shared.takes.lock()[0] = ms(200);
    let mut late = 0;
    let mut in_a_row = 0;
    for n in 0..2_000 {
        match callee.ask(Get(n)).policy(&policy).await {
            Ok(_) => in_a_row += 1,
            Err(error) => {
                assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
                (late, in_a_row) = (late + 1, 0);
            }
        }
        if in_a_row == 200 {
            break;
        }
    }
    assert_eq!(in_a_row, 200, "answers come again, after {late} late ones");
    assert!(limit() >= ms(200), "{:?}", limit());
    // And when it is quick again the limit comes down, slowly.
    shared.takes.lock()[0] = ms(20);
    for n in 0..6_000 {
        callee.ask(Get(n)).policy(&policy).await.unwrap();
    }
    assert!(limit() <= ms(60), "{:?}", limit());
    assert_eq!(policy.stats().timed_out, late);
}

#[callboard::test]
async fn g17_a_proposed_limit_is_shown_and_not_used(system: System) {
    let (callee, shared) = slow(&system, &[ms(20)]);
    let policy = only(|settings| settings.attempt.adaptive = Some(adaptive(AdaptiveMode::Propose)));
    warm_up(&callee, &policy, 200).await;
    let limit = policy.explain().callees[0].adaptive_limit.unwrap();
    assert!(limit >= ms(40) && limit <= ms(44), "{limit:?}");
    shared.takes.lock()[0] = secs(3);
    assert_eq!(callee.ask(Get(1)).policy(&policy).await.unwrap(), 2);
}

#[callboard::test]
async fn g17_an_attempt_has_its_share_of_the_deadline_and_the_last_the_rest(system: System) {
    let (callee, shared) = slow(&system, &[secs(60)]);
    let policy = only(|settings| {
        settings.deadline = Some(secs(8));
        settings.attempt.share = Some(0.5);
        settings.retry = Some(RetrySettings {
            base: ms(1),
            cap: ms(1),
            ..RetrySettings::default()
        });
    });
    let before = system.clock().now();
    let error = callee
        .ask(Get(1))
        .policy_idempotent(&policy)
        .await
        .unwrap_err();
    let took = system.clock().now().since(before);
    assert_eq!(took, secs(8), "all of the deadline, and no more");
    assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(
        shared.began.load(Ordering::Relaxed),
        3,
        "4 s, 2 s and the other 2"
    );
    assert_eq!(policy.stats().timed_out, 3);
}

#[callboard::test]
async fn a_policy_changes_between_two_calls_and_not_within_one(system: System) {
    let (callee, door) = behind_a_door(&system);
    *door.shut.lock() = Some(full());
    let policy = only(|settings| {
        settings.retry = Some(RetrySettings {
            attempts: 4,
            base: secs(1),
            ..RetrySettings::default()
        });
    });
    let asked = callee
        .ask(Get(1))
        .no_deadline()
        .policy(&policy)
        .into_future();
    let changing = async {
        system.clock().sleep(Duration::from_nanos(1)).await;
        policy.change(CallSettings::nothing()).unwrap();
    };
    let (ended, ()) = futures::join!(asked, changing);
    assert!(ended.unwrap_err().to_string().contains("after 4 attempts"));
    let error = callee.ask(Get(1)).policy(&policy).await.unwrap_err();
    assert!(!error.to_string().contains("attempts"), "{error}");
    assert_eq!(policy.changes(), 1);
    let mut bad = CallSettings::default();
    bad.retry.as_mut().unwrap().attempts = 0;
    let error = policy.change(bad).unwrap_err();
    assert_eq!(error.setting, "retry.attempts");
    assert_eq!(error.to_string(), "`retry.attempts` must be 1 to 10");
    assert_eq!(
        policy.settings(),
        CallSettings::nothing(),
        "the old one stays"
    );
    assert_eq!(policy.stats().requests, 2);
}

/// A thousand clients that failed at the same moment don't come back at the same moment, with either jitter.
#[callboard::test]
async fn g17_retries_come_in_no_waves(system: System) {
    for jitter in [
        callboard_supervision::Jitter::Full,
        callboard_supervision::Jitter::Decorrelated,
    ] {
        for pushback in [None, Some(secs(2))] {
            let (callee, door) = behind_a_door(&system);
            let failure = match pushback {
                None => full(),
                Some(after) => full().with_retry_after(after),
            };
            *door.shut.lock() = Some(failure);
            let mut retry = RetrySettings {
                attempts: 2,
                jitter,
                base: ms(1_000),
                cap: ms(3_000),
                ..RetrySettings::default()
            };
            retry.budget.share = 10.0;
            let policy = only(|settings| settings.retry = Some(retry));
            let before = system.clock().now();
            let asks = (0..1_000).map(|n| callee.ask(Get(n)).policy(&policy).into_future());
            join_all(asks).await;
            let seen = door.seen.lock().clone();
            let mut slots = [0; 100];
            for at in &seen[1_000..] {
                let wait = at.since(before);
                assert!(
                    wait >= pushback.unwrap_or_default(),
                    "the callee's own hint is kept"
                );
                let wait = wait - pushback.unwrap_or_default();
                slots[usize::try_from(wait.as_millis() / 50).unwrap()] += 1;
            }
            assert_eq!(seen.len(), 2_000);
            let most = slots.iter().max().unwrap();
            // Evenly there are 50 in each of 20 slots, or 25 in each of 40.
            assert!(*most <= 90, "{jitter:?} {pushback:?}: {slots:?}");
        }
    }
}

#[callboard::test(both)]
async fn g26_an_offer_is_made_by_a_policy_as_an_ask_is(system: System) {
    let queue: Queue<u32> = Queue::bounded(&system, "jobs", 2);
    let policy = only(|settings| {
        settings.retry = Some(RetrySettings {
            base: ms(1),
            cap: ms(2),
            ..RetrySettings::default()
        });
        settings.attempt.limit = Some(ms(20));
    });
    let key = RequestKey::new();
    queue.offer(1).key(key).policy(&policy).await.unwrap();
    let again = queue.offer(1).key(key).policy(&policy).await.unwrap();
    assert!(matches!(again, callboard::queue::Offered::Duplicate(_)));
    queue.offer(2).policy(&policy).await.unwrap();
    // Full: each attempt waits for its limit, and the item comes back.
    let error = queue.offer(3).policy(&policy).await.unwrap_err();
    assert!(error.verdict().is_safe_to_resend());
    assert_eq!(error.item, Some(3));
    let stats = policy.stats();
    assert_eq!((stats.requests, stats.retries, stats.failed), (4, 2, 1));
    assert!(policy.explain().to_string().contains("to jobs"));
    assert_eq!(queue.poll().await.unwrap(), Some(1));
    queue.offer(3).policy(&policy).await.unwrap();
}

#[callboard::test(both)]
async fn a_recipient_is_the_same_callee_as_its_actor(system: System) {
    let (callee, _) = behind_a_door(&system);
    let policy = CallPolicy::with_defaults("test");
    let recipient = callee.recipient::<Get, _>();
    assert_eq!(callee.ask(Get(1)).policy(&policy).await.unwrap(), 2);
    assert_eq!(recipient.ask(Get(1)).policy(&policy).await.unwrap(), 2);
    let explained = policy.explain();
    assert_eq!(explained.callees.len(), 1);
    assert_eq!(explained.callees[0].stats.requests, 2);
}
