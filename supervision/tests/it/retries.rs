//! Trying again and giving up: G17, G18, and degraded answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use callboard::clock::Instant;
use callboard::{
    Actor, ActorRef, Admission, Admitted, Context, DeferredHandler, Envelope, Failure, FailureKind,
    Handler, Message, RequestKey, Responder, SendError, System, Threshold, Verdict,
};
use callboard_supervision::{
    Answer, AskExt, BudgetSettings, CallPolicy, CallSettings, Idempotent, RetrySettings,
};
use parking_lot::Mutex;

use crate::common::{ms, secs};

#[derive(Message, Clone, Debug, PartialEq)]
#[message(reply = u32)]
struct Get(u32);
impl Idempotent for Get {}

/// Refuses by a script, with whatever verdict the script says, and notes what came; then lets pass.
#[derive(Clone, Default)]
struct Script {
    failures: Arc<Mutex<VecDeque<Failure>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    system: Option<System>,
}

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    attempt: u32,
    key: Option<RequestKey>,
    deadline: Option<Instant>,
    caller_retries: bool,
    at: Instant,
}

impl Admission<Get> for Script {
    fn admit(&self, envelope: Envelope<Get>, _: &Threshold<'_, Get>) -> Admitted<Get> {
        let meta = &envelope.meta;
        let at = self.system.as_ref().map(|system| system.clock().now());
        self.seen.lock().push(Seen {
            attempt: meta.attempt(),
            key: meta.key(),
            deadline: meta.deadline,
            caller_retries: meta.caller_retries(),
            at: at.unwrap_or_default(),
        });
        match self.failures.lock().pop_front() {
            Some(failure) => Admitted::Refused(envelope, failure),
            None => Admitted::Pass(envelope),
        }
    }
}

struct Store;
impl Actor for Store {}
impl Handler<Get> for Store {
    async fn handle(&mut self, Get(n): Get, _: &mut Context<Self>) -> u32 {
        n + 1
    }
}

fn store(system: &System, failures: &[(FailureKind, Verdict)]) -> (ActorRef<Store>, Script) {
    let failures = failures
        .iter()
        .map(|(kind, verdict)| Failure::new(*kind, *verdict));
    let script = Script {
        failures: Arc::new(Mutex::new(failures.collect())),
        system: Some(system.clone()),
        ..Script::default()
    };
    let store = system.actor(|| Store).admission(script.clone()).start();
    (store, script)
}

const FULL: (FailureKind, Verdict) = (FailureKind::Full, Verdict::NotExecuted);
const LOST: (FailureKind, Verdict) = (FailureKind::ConnectionLost, Verdict::MaybeExecuted);
const DOWN: (FailureKind, Verdict) = (FailureKind::NoConnection, Verdict::NotSent);

/// A policy that retries, and does nothing else.
fn retrying(name: &str, retry: RetrySettings) -> CallPolicy {
    let settings = CallSettings {
        retry: Some(retry),
        ..CallSettings::nothing()
    };
    CallPolicy::new(name, settings).unwrap()
}

fn attempts_of(attempts: u32, base: Duration, cap: Duration) -> RetrySettings {
    RetrySettings {
        attempts,
        base,
        cap,
        ..RetrySettings::default()
    }
}

fn brisk() -> CallPolicy {
    retrying("store", attempts_of(3, ms(1), ms(2)))
}

#[callboard::test(both)]
async fn g17_what_did_not_run_is_tried_again(system: System) {
    let (store, script) = store(&system, &[FULL, DOWN]);
    let policy = brisk();
    let answer = store.ask(Get(1)).deadline(secs(20)).policy(&policy).await;
    assert_eq!(answer.unwrap(), 2);
    let seen = script.seen.lock().clone();
    let attempts: Vec<u32> = seen.iter().map(|seen| seen.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert!(seen.iter().all(|seen| seen.caller_retries), "G18");
    assert!(
        seen.iter().all(|other| other.deadline == seen[0].deadline),
        "one deadline"
    );
    let stats = policy.stats();
    assert_eq!((stats.requests, stats.attempts(), stats.retries), (1, 3, 2));
    assert_eq!((stats.recovered, stats.failed), (1, 0));
    assert_eq!(stats.name, "store");
}

#[callboard::test(both)]
async fn g17_attempts_are_capped_and_the_message_comes_back(system: System) {
    let (store, script) = store(&system, &[FULL; 9]);
    let policy = retrying("store", attempts_of(4, ms(1), ms(2)));
    let error = store.ask(Get(7)).policy(&policy).await.unwrap_err();
    assert_eq!(script.seen.lock().len(), 4);
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert!(error.to_string().contains("after 4 attempts"), "{error}");
    assert_eq!(error.into_message(), Some(Get(7)));
    assert_eq!(policy.stats().failed, 1);
}

#[callboard::test(both)]
async fn g17_doubt_is_tried_again_only_with_a_key_or_an_idempotent_type(system: System) {
    let policy = brisk();
    let (plain, script) = store(&system, &[LOST]);
    let error = plain.ask(Get(1)).policy(&policy).await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::MaybeExecuted);
    assert_eq!(script.seen.lock().len(), 1);

    let (keyed, script) = store(&system, &[LOST]);
    let key = RequestKey::new();
    assert_eq!(keyed.ask(Get(1)).key(key).policy(&policy).await.unwrap(), 2);
    let keys: Vec<_> = script.seen.lock().iter().map(|seen| seen.key).collect();
    assert_eq!(
        keys,
        [Some(key); 2],
        "the key stays the same over all attempts"
    );

    let (idempotent, _) = store(&system, &[LOST]);
    let answer = idempotent.ask(Get(1)).policy_idempotent(&policy).await;
    assert_eq!(answer.unwrap(), 2);
}

#[callboard::test(both)]
async fn g17_final_failures_are_not_tried_again(system: System) {
    let (store, script) = store(&system, &[(FailureKind::KeyReused, Verdict::NotExecuted)]);
    let asked = store.ask(Get(1)).key(RequestKey::new()).policy(&brisk());
    assert_eq!(asked.await.unwrap_err().kind(), FailureKind::KeyReused);
    assert_eq!(script.seen.lock().len(), 1);
}

#[callboard::test(both)]
async fn g17_the_error_has_the_worst_verdict_of_all_attempts(system: System) {
    let (store, _) = store(&system, &[LOST, FULL, DOWN]);
    let asked = store.ask(Get(1)).key(RequestKey::new()).policy(&brisk());
    let error = asked.await.unwrap_err();
    // The last attempt never left, but the first may have run.
    assert_eq!(error.kind(), FailureKind::NoConnection);
    assert_eq!(error.verdict(), Verdict::MaybeExecuted);
}

#[callboard::test]
async fn g17_no_attempt_begins_past_the_deadline(system: System) {
    for _ in 0..30 {
        let (store, script) = store(&system, &[FULL; 100]);
        let policy = retrying("store", attempts_of(10, ms(200), secs(5)));
        let span = ms(system.entropy().below(2_000));
        let begin = system.clock().now();
        let asked = store.ask(Get(1)).deadline(span).policy(&policy);
        let error = asked.await.unwrap_err();
        assert!(system.clock().now() <= begin + span, "it ended in time");
        let last = script.seen.lock().last().unwrap().at;
        assert!(last < begin + span || script.seen.lock().len() == 1);
        assert_eq!(policy.stats().out_of_time, 1);
        assert!(error.verdict().is_safe_to_resend());
    }
}

#[callboard::test]
async fn g17_waits_are_jittered_and_grow_up_to_the_cap(system: System) {
    let (store, script) = store(&system, &[FULL; 2_000]);
    let mut retry = attempts_of(8, ms(100), ms(800));
    retry.budget = BudgetSettings {
        share: 10.0,
        per_second: 1_000.0,
        window: secs(10),
    };
    let policy = retrying("store", retry);
    for _ in 0..20 {
        let asked = store.ask(Get(1)).no_deadline().policy(&policy);
        asked.await.unwrap_err();
    }
    let seen = script.seen.lock().clone();
    let mut distinct = std::collections::BTreeSet::new();
    for pair in seen.windows(2).filter(|pair| pair[1].attempt > 1) {
        let wait = pair[1].at.since(pair[0].at);
        let ceiling = ms(100 << (pair[0].attempt - 1)).min(ms(800));
        assert!(
            wait <= ceiling,
            "{wait:?} before attempt {}",
            pair[1].attempt
        );
        distinct.insert(wait);
    }
    assert!(distinct.len() > 100, "no two alike: {}", distinct.len());
}

#[callboard::test]
async fn g17_a_failing_callee_sees_at_most_the_budget_more(system: System) {
    let (store, script) = store(&system, &vec![FULL; 100_000]);
    // Two policies, one callee: one budget.
    let policies = ["pages", "search"].map(|name| retrying(name, attempts_of(5, ms(1), secs(1))));
    let mut asks = Vec::new();
    for n in 0..1_000 {
        asks.push(
            store
                .ask(Get(n))
                .policy(&policies[n as usize % 2])
                .into_future(),
        );
    }
    let errors = futures::future::join_all(asks).await;
    assert!(errors.iter().all(Result::is_err));
    let attempts = script.seen.lock().len();
    assert!(attempts <= 1_000 + 200 + 100, "{attempts}");
    assert!(attempts >= 1_000 + 100, "{attempts}");
    let refused: u64 = policies
        .iter()
        .map(|policy| policy.stats().over_budget)
        .sum();
    assert!(refused > 0);
}

/// An answer that is lost is not waited for until the end: the key makes asking again safe.
#[callboard::test]
async fn g17_an_attempt_that_is_not_answered_can_be_given_up(system: System) {
    #[derive(Default)]
    struct Forgetful(Vec<Responder<u32>>);
    impl Actor for Forgetful {}
    impl DeferredHandler<Get> for Forgetful {
        async fn handle_deferred(
            &mut self,
            Get(n): Get,
            responder: Responder<u32>,
            ctx: &mut Context<Self>,
        ) {
            if ctx.meta().attempt() < 3 {
                self.0.push(responder);
            } else {
                responder.send(n + 1);
            }
        }
    }
    let store = system.start(Forgetful::default());
    let mut settings = CallSettings::default();
    settings.attempt.limit = Some(secs(1));
    let policy = CallPolicy::new("store", settings).unwrap();
    let before = system.clock().now();
    let asked = store.ask(Get(1)).key(RequestKey::new()).deadline(secs(10));
    assert_eq!(asked.policy(&policy).await.unwrap(), 2);
    let took = system.clock().now().since(before);
    assert!(took >= secs(2) && took <= secs(3), "{took:?}");
}

#[derive(Message, Clone)]
#[message(reply = Result<u32, String>)]
struct Relayed(u32);

/// Asks the one below through a policy of its own.
struct Relay {
    below: ActorRef<Store>,
    policy: CallPolicy,
}
impl Actor for Relay {}
impl Handler<Relayed> for Relay {
    async fn handle(&mut self, Relayed(n): Relayed, _: &mut Context<Self>) -> Result<u32, String> {
        let asked = self.below.ask(Get(n)).policy(&self.policy).await;
        asked.map_err(|error: SendError<Get>| error.to_string())
    }
}

#[callboard::test(both)]
async fn g18_one_layer_retries(system: System) {
    let (below, script) = store(&system, &[FULL; 9]);
    let policy = brisk();
    let lower = policy.clone();
    let relay = system
        .actor(move || Relay {
            below,
            policy: lower,
        })
        .start();
    // A caller that doesn't retry: the layer below does.
    relay.ask(Relayed(1)).await.unwrap().unwrap_err();
    assert_eq!(script.seen.lock().len(), 3);
    assert_eq!(policy.stats().caller_retries, 0);
    // A caller that does: the layer below has one attempt for each of the caller's.
    let upper = brisk();
    relay
        .ask(Relayed(1))
        .policy(&upper)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(script.seen.lock().len(), 4);
    assert_eq!(policy.stats().caller_retries, 1);
}

#[callboard::test(both)]
async fn a_degraded_answer_says_what_is_missing_and_why(system: System) {
    let (down, script) = store(&system, &[FULL; 9]);
    let policy = brisk();
    let answer = down
        .ask(Get(1))
        .policy(&policy)
        .or_degraded("the count", 0)
        .await;
    let Answer::Degraded(0, why) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(
        (why.part.as_str(), why.kind),
        ("the count", FailureKind::Full)
    );
    assert_eq!(why.verdict, Verdict::NotExecuted);
    assert_eq!(
        script.seen.lock().len(),
        3,
        "the fallback comes after the last attempt"
    );
    let answer = down
        .ask(Get(1))
        .fallback("the count", |failure| {
            u32::from(failure.verdict().is_safe_to_resend())
        })
        .await;
    assert!(matches!(answer, Answer::Degraded(1, _)), "{answer:?}");
    let (up, _) = store(&system, &[]);
    let answer = up.ask(Get(1)).or_degraded("the count", 0).await;
    assert_eq!(answer, Answer::Full(2));
}

/// Dropped while it waits for its next attempt, it sends no other.
#[callboard::test]
async fn g17_a_dropped_retry_sends_nothing_more(system: System) {
    let (store, script) = store(&system, &[FULL; 9]);
    let policy = retrying("store", attempts_of(3, secs(3_600), secs(3_600)));
    let asked = store
        .ask(Get(1))
        .no_deadline()
        .policy(&policy)
        .into_future();
    let patience = system.clock().sleep(Duration::from_nanos(1));
    futures::future::select(asked, patience).await;
    system.clock().sleep(secs(7_200)).await;
    assert_eq!(script.seen.lock().len(), 1);
}
