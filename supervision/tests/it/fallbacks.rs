//! What stands in for an answer, and what a policy says of itself.

use callboard::Failure;
use callboard::{FailureKind, RequestKey, System, Verdict};
use callboard_supervision::{AdaptiveMode, Answer, AskExt, CallPolicy, CallSettings, LastAnswers};

use crate::common::{ms, secs};
use crate::policies::{Get, adaptive, behind_a_door, full, only, slow};

#[callboard::test(both)]
async fn the_last_good_answer_stands_in_and_says_how_old_it_is(system: System) {
    let (callee, door) = behind_a_door(&system);
    let policy = CallPolicy::with_defaults("test");
    let last = LastAnswers::with_capacity(2, secs(60));
    let ask = |n| callee.ask(Get(n)).policy(&policy).or_last("it", &last, n);
    assert_eq!(ask(1).await.unwrap(), Answer::Full(2));
    *door.shut.lock() = Some(Failure::new(
        FailureKind::NotAuthorised,
        Verdict::NotExecuted,
    ));
    let answer = ask(1).await.unwrap();
    let why = answer.why().unwrap();
    assert_eq!((answer.value(), why.kind), (&2, FailureKind::NotAuthorised));
    assert!(why.age.is_some());
    let error = ask(2).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NotAuthorised, "there was none");
    assert_eq!(error.into_message(), Some(Get(2)));
    // Bounded: the oldest goes.
    *door.shut.lock() = None;
    for n in 2..=3 {
        ask(n).await.unwrap();
    }
    assert_eq!(last.len(), 2);
    *door.shut.lock() = Some(full());
    ask(1).await.unwrap_err();
    assert_eq!(*ask(3).await.unwrap().value(), 4);
}

#[callboard::test(both)]
async fn somebody_else_is_asked_only_for_what_did_not_run(system: System) {
    let (callee, door) = behind_a_door(&system);
    let (other, _) = behind_a_door(&system);
    let other = other.recipient::<Get, _>();
    let policy = only(|settings| settings.retry = None);
    let answer = callee
        .ask(Get(1))
        .policy(&policy)
        .or_ask("the first", &other)
        .await;
    assert_eq!(answer.unwrap(), Answer::Full(2));
    *door.shut.lock() = Some(full());
    let answer = callee
        .ask(Get(1))
        .policy(&policy)
        .or_ask("the first", &other)
        .await
        .unwrap();
    assert_eq!(
        (answer.value(), answer.why().unwrap().kind),
        (&2, FailureKind::Full)
    );
    let doubt = Failure::new(FailureKind::ConnectionLost, Verdict::MaybeExecuted);
    *door.shut.lock() = Some(doubt);
    let keyed = callee.ask(Get(1)).key(RequestKey::new()).policy(&policy);
    let error = keyed.or_ask("the first", &other).await.unwrap_err();
    assert_eq!(
        error.verdict(),
        Verdict::MaybeExecuted,
        "a key means nothing to the other"
    );
    let idempotent = callee.ask(Get(1)).policy_idempotent(&policy);
    let answer = idempotent.or_ask("the first", &other).await.unwrap();
    assert!(answer.is_degraded());
}

#[callboard::test]
async fn callees_are_remembered_up_to_a_bound_and_counts_stay(system: System) {
    let policy = CallPolicy::with_defaults("test");
    for n in 0..callboard_supervision::MAX_CALLEES + 10 {
        let (callee, _) = slow(&system, &[]);
        let n = u32::try_from(n).unwrap();
        assert_eq!(callee.ask(Get(n)).policy(&policy).await.unwrap(), n + 1);
        callee.stop();
    }
    let explained = policy.explain();
    assert_eq!(explained.callees.len(), callboard_supervision::MAX_CALLEES);
    assert_eq!(explained.stats.requests, 1_034);
}

#[callboard::test(both)]
async fn a_policy_explains_itself(system: System) {
    let (callee, _) = behind_a_door(&system);
    let mut settings = CallSettings {
        deadline: Some(ms(500)),
        ..CallSettings::default()
    };
    settings.attempt.adaptive = Some(adaptive(AdaptiveMode::Follow));
    let policy = CallPolicy::new("ledger", settings).unwrap();
    callee.ask(Get(1)).policy(&policy).await.unwrap();
    let page = policy.explain().to_string();
    for part in [
        "policy `ledger`, changed 0 times",
        "deadline   500ms for all of a request",
        "retry      3 attempts, full jitter from 50ms to 1s",
        "budget     20 % of the requests and 10 a second, over 10s",
        "attempt    2 times p99, 5ms to 10s",
        "1 requests",
        "retries left",
        "breaker  closed",
    ] {
        assert!(page.contains(part), "{part} is missing in:\n{page}");
    }
    serde_json::to_string(&policy.explain()).unwrap();
}
