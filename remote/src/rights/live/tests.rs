use callboard::Principal;
use callboard::clock::Instant;
use callboard::topic::{SubscriberOptions, TopicEvent};
use futures::StreamExt;

use super::*;
use crate::rights::{REFUSALS, Standing};
use crate::transport::Proof;

fn billing() -> Subject {
    Subject::new(&Proof::encrypted(Some(Principal::new("cert:billing"))))
}

#[callboard::test]
async fn g35_rights_change_while_they_are_in_use(system: System) {
    let rights = Rights::new(&system, Rules::new());
    let subject = billing();
    let mut decision = Decision::default();
    let mut may = |verb| decision.check(&rights, &subject, verb, "orders.eu").is_ok();
    assert!(!may(Verb::Offer));
    rights
        .grant("cert:*", Verbs::OFFER | Verbs::POLL, "orders.>")
        .unwrap();
    assert!(may(Verb::Offer), "a kept decision sees the grant");
    assert!(may(Verb::Poll));
    rights
        .deny("cert:billing", Verbs::POLL, "orders.*")
        .unwrap();
    assert!(may(Verb::Offer));
    assert!(!may(Verb::Poll), "a kept decision sees the denial");
    let taken = rights.revoke("cert:*", Verbs::OFFER, "orders.>").unwrap();
    assert_eq!(taken, Verbs::OFFER);
    assert!(!may(Verb::Offer), "a kept decision sees what was revoked");
    rights.replace(Rules::new().allow("*", Verbs::POLL, ">").unwrap());
    assert!(may(Verb::Poll), "a kept decision sees other rules");
    assert!(!may(Verb::Offer));
}

#[callboard::test]
async fn a_change_that_fails_changes_nothing(system: System) {
    let rights = Rights::new(&system, Rules::new());
    let before = rights.state();
    assert!(rights.grant("billing", Verbs::POLL, "q").is_err());
    assert!(rights.deny("*", Verbs::NONE, "q").is_err());
    assert!(rights.revoke("*", Verbs::POLL, "q..r").is_err());
    assert_eq!(rights.update(|_| Err("no")), Err("no"));
    assert_eq!(rights.state(), before);
    assert_eq!(rights.generation(), 1);
}

#[callboard::test(both)]
async fn who_waits_for_a_change_is_told(system: System) {
    let rights = Rights::new(&system, Rules::new());
    let before = rights.generation();
    let (tx, rx) = futures::channel::oneshot::channel();
    let watching = rights.clone();
    system.spawn(callboard::Placement::Spread, move || async move {
        tx.send(watching.changed(before).await).unwrap();
    });
    rights.replace(Rules::closed());
    assert_eq!(rx.await.unwrap(), before + 1);
    // Also who comes late.
    assert_eq!(rights.changed(before).await, before + 1);
}

#[callboard::test(both)]
async fn g35_what_goes_on_for_long_learns_that_its_right_is_lost(system: System) {
    let rights = Rights::new(&system, Rules::new());
    rights.grant("*", Verbs::SUBSCRIBE, "news.>").unwrap();
    let (tx, rx) = futures::channel::oneshot::channel();
    let watching = rights.clone();
    system.spawn(callboard::Placement::Spread, move || async move {
        let denied = watching.lost(&billing(), Verb::Subscribe, "news.eu").await;
        tx.send((denied, watching.generation())).unwrap();
    });
    // What leaves the right as it is ends nothing.
    rights.deny("*", Verbs::PUBLISH, "news.>").unwrap();
    rights.deny("cert:other", Verbs::SUBSCRIBE, ">").unwrap();
    assert!(rights.state().refused.is_empty());
    rights.deny("cert:billing", Verbs::SUBSCRIBE, ">").unwrap();
    let (denied, generation) = rx.await.unwrap();
    assert_eq!((denied.verb(), denied.name()), (Verb::Subscribe, "news.eu"));
    assert_eq!(generation, rights.generation());
    assert_eq!(rights.state().refused, [(Verb::Subscribe, 1)]);
}

#[callboard::test(both)]
async fn g35_each_refusal_is_counted_and_told(system: System) {
    let rights = Rights::new(
        &system,
        Rules::new().deny("cert:*", Verbs::POLL, ">").unwrap(),
    );
    // Nobody listens yet: it is only counted.
    assert!(rights.check(&billing(), Verb::Admin, "early").is_err());
    let mut told = rights
        .refusals()
        .subscribe(REFUSALS, SubscriberOptions::default())
        .await
        .unwrap();
    let pipe = Subject::new(&Proof::local(None));
    assert!(rights.check(&pipe, Verb::Execute, "orders").is_ok());
    assert!(rights.check(&billing(), Verb::Poll, "orders").is_err());
    assert!(rights.check(&pipe, Verb::Admin, "two\nlines").is_err());
    let mut refusals = Vec::new();
    while refusals.len() < 2 {
        let Some(TopicEvent::Message(message)) = told.next().await else {
            panic!("no event");
        };
        let refusal = message.value().clone();
        assert_eq!(message.subject(), format!("refused.{}", refusal.verb));
        assert!(refusal.at >= Instant::default());
        refusals.push((refusal.standing, refusal.to_string()));
    }
    assert_eq!(
        refusals,
        [
            (
                Standing::Remote,
                "cert:billing may not poll \"orders\": rule `deny cert:* to poll on >`".to_owned()
            ),
            (
                Standing::UnprovedLocal,
                "an unproved peer may not admin \"two lines\": no rule, for an unproved peer of this host"
                    .to_owned()
            ),
        ]
    );
    let refused = rights.state().refused;
    assert_eq!(refused, [(Verb::Poll, 1), (Verb::Admin, 2)]);
}

#[callboard::test]
async fn g34_a_refusal_says_nothing_about_what_exists(system: System) {
    let rights = Rights::new(&system, Rules::new());
    let denied = rights.check(&billing(), Verb::Offer, "orders").unwrap_err();
    assert_eq!((denied.verb(), denied.name()), (Verb::Offer, "orders"));
    let failure = Failure::from(denied);
    assert_eq!(failure.kind(), FailureKind::NotAuthorised);
    assert_eq!(failure.verdict(), Verdict::NotExecuted);
    assert_eq!(
        failure.to_string(),
        "not authorised (not executed): cert:billing may not offer \"orders\""
    );
    // A giant name costs no giant answer.
    let denied = rights
        .check(&billing(), Verb::Offer, &"x".repeat(1 << 20))
        .unwrap_err();
    assert_eq!(denied.name().len(), MAX_NAME);
}

/// Readers on their own threads never decide by rules that a change which has returned took away.
#[callboard::test(arbiters)]
async fn g35_no_thread_keeps_an_old_decision(system: System) {
    const CHANGING: u64 = 0;
    let rights = Rights::new(&system, Rules::new());
    // The generation that is certainly in force. Even ones allow, odd ones don't.
    let settled = AtomicU64::new(rights.generation());
    let checked = AtomicU64::new(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (subject, mut decision) = (billing(), Decision::default());
                while !done.load(Ordering::SeqCst) {
                    let before = settled.load(Ordering::SeqCst);
                    let allowed = decision.check(&rights, &subject, Verb::Offer, "orders");
                    let after = settled.load(Ordering::SeqCst);
                    if before == after && before != CHANGING {
                        let expected = before.is_multiple_of(2);
                        assert_eq!(allowed.is_ok(), expected, "generation {before}");
                        checked.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        while rights.generation() < 500 || checked.load(Ordering::SeqCst) < 500 {
            settled.store(CHANGING, Ordering::SeqCst);
            if rights.generation().is_multiple_of(2) {
                rights.revoke("*", Verbs::OFFER, ">").unwrap();
            } else {
                rights.grant("*", Verbs::OFFER, ">").unwrap();
            }
            settled.store(rights.generation(), Ordering::SeqCst);
        }
        done.store(true, Ordering::SeqCst);
    });
}
