//! `once` over a database in memory that fails, is dropped, and is used by several at a time.

// The whole file is tests.
#![allow(clippy::unwrap_used)]

mod bank;
mod random;
mod suite;

use std::convert::Infallible;

use callboard_core::{Failure, FailureKind, Meta, Principal, RequestKey, Verdict, WireMessage};
use futures::FutureExt;

use super::*;
use bank::{Bank, Broken, Fault, add, block_on};

#[derive(serde::Serialize, serde::Deserialize)]
struct Pay {
    to: String,
    cents: i64,
}

impl callboard_core::Message for Pay {
    type Reply = i64;
}

impl callboard_core::WireMessage for Pay {
    const NAME: &'static str = "bank.pay";
    const VERSION: u32 = 1;
}

fn john(cents: i64) -> Pay {
    let to = "John".to_owned();
    Pay { to, cents }
}

fn id() -> RequestId {
    RequestId::new(None, "bank", Pay::NAME, RequestKey::new())
}

/// Pays, and answers John's balance.
fn pay(bank: &mut Bank, id: &RequestId, pay: &Pay) -> Result<Once<i64>, OnceError<Broken, Broken>> {
    let paid = bank.once(id, pay, async |tx| Ok(add(tx, &pay.to, pay.cents)));
    block_on(paid)
}

#[test]
fn g19_a_request_that_comes_again_gets_the_first_answer_and_has_no_effect() {
    let (mut bank, id) = (Bank::default(), id());
    assert_eq!(pay(&mut bank, &id, &john(100)), Ok(Once::First(100)));
    assert_eq!(pay(&mut bank, &id, &john(100)), Ok(Once::Again(100)));
    // Another connection to the same database: the process was started again.
    let mut again = bank.connect();
    assert_eq!(pay(&mut again, &id, &john(100)), Ok(Once::Again(100)));
    assert_eq!(bank.balance("John"), 100);

    let other = RequestId::new(None, "bank", Pay::NAME, RequestKey::new());
    assert_eq!(pay(&mut bank, &other, &john(100)), Ok(Once::First(200)));
}

#[test]
fn g19_a_key_with_another_payload_is_refused_and_has_no_effect() {
    let (mut bank, id) = (Bank::default(), id());
    pay(&mut bank, &id, &john(100)).unwrap();
    let error = pay(&mut bank, &id, &john(101)).unwrap_err();
    assert_eq!(error, OnceError::KeyReused(id.key()));
    assert_eq!(bank.balance("John"), 100);
    let failure = Failure::from(error);
    assert_eq!(failure.kind(), FailureKind::KeyReused);
    assert_eq!(failure.verdict(), Verdict::NotExecuted);
    let detail = failure.detail().unwrap();
    assert!(detail.contains(&id.key().to_string()), "{detail}");
    // The first answer is still there.
    assert_eq!(pay(&mut bank, &id, &john(100)), Ok(Once::Again(100)));
}

#[test]
fn g19_an_effect_that_fails_is_rolled_back_and_runs_again() {
    let (mut bank, id) = (Bank::default(), id());
    let payment = john(100);
    let fails = bank.once(&id, &payment, async |tx| {
        add(tx, "John", 100);
        Err::<i64, _>("John has moved")
    });
    let error = block_on(fails).unwrap_err();
    assert_eq!(error, OnceError::Effect("John has moved"));
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert_eq!((bank.balance("John"), bank.kept()), (0, 0));
    assert_eq!(pay(&mut bank, &id, &john(100)), Ok(Once::First(100)));
}

#[test]
fn g19_a_refusal_that_is_an_answer_is_kept() {
    let (mut bank, id) = (Bank::default(), id());
    let mut runs = 0;
    for expected in [Once::First(Err(70)), Once::Again(Err(70))] {
        let payment = john(100);
        let refused = bank.once(&id, &payment, async |_| {
            runs += 1;
            // So much is missing.
            Ok::<Result<i64, i64>, Infallible>(Err(70))
        });
        assert_eq!(block_on(refused), Ok(expected));
    }
    assert_eq!(runs, 1);
}

#[test]
fn g19_whatever_fails_before_the_commit_has_no_effect() {
    for fault in [Fault::Begin, Fault::Find, Fault::Keep] {
        let (mut bank, id) = (Bank::default(), id());
        bank.fail_once(fault);
        let error = pay(&mut bank, &id, &john(100)).unwrap_err();
        assert_eq!(error, OnceError::Store(Broken(fault)));
        assert_eq!(error.verdict(), Verdict::NotExecuted);
        assert_eq!((bank.balance("John"), bank.kept()), (0, 0), "{fault:?}");
        assert_eq!(pay(&mut bank, &id, &john(100)), Ok(Once::First(100)));
    }
}

#[test]
fn g19_a_commit_that_fails_is_in_doubt_until_somebody_asks_again() {
    for (fault, then) in [
        (Fault::CommitNotDone, Once::First(100)),
        (Fault::CommitDone, Once::Again(100)),
    ] {
        let (mut bank, id) = (Bank::default(), id());
        bank.fail_once(fault);
        let error = pay(&mut bank, &id, &john(100)).unwrap_err();
        assert_eq!(error, OnceError::InDoubt(Broken(fault)));
        let failure = Failure::from(error);
        assert_eq!(failure.verdict(), Verdict::MaybeExecuted);
        assert_eq!(failure.kind(), FailureKind::StorageFailed);

        let known = block_on(bank.peek::<i64>(&id)).unwrap();
        let expected = (fault == Fault::CommitDone).then_some(100);
        assert_eq!(known, expected);
        assert_eq!(pay(&mut bank, &id, &john(100)), Ok(then));
        assert_eq!(bank.balance("John"), 100);
    }
}

#[test]
fn g19_what_was_settled_as_not_executed_never_is() {
    for (fault, then) in [(Fault::CommitNotDone, None), (Fault::CommitDone, Some(100))] {
        let (mut bank, id) = (Bank::default(), id());
        bank.fail_once(fault);
        pay(&mut bank, &id, &john(100)).unwrap_err();
        for _ in 0..2 {
            assert_eq!(block_on(bank.resolve(&id)), Ok(then), "it is for good");
            assert_eq!(block_on(bank.peek(&id)), Ok(then));
        }
        let late = pay(&mut bank, &id, &john(100));
        let Some(answer) = then else {
            let error = late.unwrap_err();
            assert_eq!(error, OnceError::Sealed(id.key()));
            let failure = Failure::from(error);
            assert_eq!(failure.verdict(), Verdict::NotExecuted);
            // A kind that no policy retries.
            assert_eq!(failure.kind(), FailureKind::Withdrawn);
            assert_eq!(bank.balance("John"), 0);
            continue;
        };
        assert_eq!(late, Ok(Once::Again(answer)));
    }
}

#[test]
fn g19_an_attempt_that_was_under_way_when_it_was_settled_has_no_effect() {
    let (mut bank, id) = (Bank::default(), id());
    let (mut late, payment) = (bank.connect(), john(100));
    let attempt = late.once(&id, &payment, async |tx| {
        add(tx, "John", 100);
        Ok::<_, Broken>(())
    });
    let mut attempt = Box::pin(attempt);
    // Up to its commit.
    for _ in 0..4 {
        assert_eq!(attempt.as_mut().now_or_never(), None);
    }
    assert_eq!(block_on(bank.resolve::<()>(&id)), Ok(None));
    let refused = Err(OnceError::InDoubt(Broken(Fault::Taken)));
    assert_eq!(block_on(attempt), refused);
    assert_eq!(bank.balance("John"), 0);
}

#[test]
fn g19_a_handler_that_is_dropped_or_panics_has_no_effect() {
    let (mut bank, id) = (Bank::default(), id());
    // Killed at each of its awaits in turn, until it comes through.
    let mut kills = 0;
    loop {
        let payment = john(100);
        let paid = bank.once(&id, &payment, async |tx| {
            add(tx, "John", 100);
            bank::turn().await;
            Ok::<_, Broken>(())
        });
        let mut paid = Box::pin(paid);
        let ended = (0..=kills).find_map(|_| paid.as_mut().now_or_never());
        drop(paid);
        if let Some(ended) = ended {
            assert_eq!(ended, Ok(Once::First(())));
            break;
        }
        assert_eq!((bank.balance("John"), bank.kept()), (0, 0));
        kills += 1;
    }
    assert_eq!(kills, 5, "begin, find, effect, keep, commit");

    let other = self::id();
    let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let payment = john(1);
        let effect = bank.once(&other, &payment, async |tx| -> Result<(), Broken> {
            add(tx, "John", 1);
            panic!("in the middle")
        });
        let _ = block_on(effect);
    }));
    assert!(panics.is_err());
    assert_eq!((bank.balance("John"), bank.kept()), (100, 1));
}

#[test]
fn an_answer_that_is_too_large_is_not_kept_and_has_no_effect() {
    let mut bank = Bank::default();
    bank.outcome_limit = 16;
    let (small, large) = (id(), id());
    let effect = |length: usize| {
        async move |tx: &mut bank::Tx| {
            add(tx, "John", 1);
            Ok::<_, Broken>("x".repeat(length))
        }
    };
    // A short text has one byte more than it is long.
    assert!(block_on(bank.once(&small, "", effect(15))).is_ok());
    let error = block_on(bank.once(&large, "", effect(16))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the answer can't be kept, so the effect was rolled back: more than 16 bytes"
    );
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert_eq!((bank.balance("John"), bank.kept()), (1, 1));
}

#[test]
fn what_is_kept_and_can_not_be_read_is_told_and_not_run_again() {
    let check = |spoil: fn(&mut Vec<u8>), why: &str| {
        let (mut bank, id) = (Bank::default(), id());
        pay(&mut bank, &id, &john(100)).unwrap();
        bank.spoil(&id, spoil);
        let error = pay(&mut bank, &id, &john(100)).unwrap_err();
        assert_eq!(error, OnceError::Unreadable(why.to_owned()));
        let failure = Failure::from(error);
        assert_eq!(failure.verdict(), Verdict::Executed);
        // A kind that no policy retries.
        assert_eq!(failure.kind(), FailureKind::BadPayload);
        assert_eq!(bank.balance("John"), 100);
        let unreadable = Err(OnceError::Unreadable(why.to_owned()));
        assert_eq!(block_on(bank.peek::<i64>(&id)), unreadable);
        assert_eq!(block_on(bank.resolve::<i64>(&id)), unreadable);
    };
    check(Vec::clear, "0 bytes are no outcome");
    check(|kept| kept.truncate(16), "16 bytes are no outcome");
    check(|kept| kept[0] = 2, "18 bytes are no outcome");
    let later = "its form is 3, which is of a later version";
    check(|kept| kept[0] = 3, later);
    check(|kept| kept.push(7), "bytes left over behind the value");
}

#[test]
fn payloads_are_compared_by_what_they_are_encoded_to() {
    #[derive(serde::Serialize)]
    struct Later<'a> {
        to: &'a str,
        cents: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<&'a str>,
    }
    let later = |note| Later {
        to: "John",
        cents: 100,
        note,
    };
    let (mut bank, id) = (Bank::default(), id());
    pay(&mut bank, &id, &john(100)).unwrap();
    let mut again = |payload: &Later<'_>| {
        block_on(bank.once(&id, payload, async |_| Ok::<i64, Broken>(0))).map(Once::into_inner)
    };
    // A field that came with an upgrade: the same payload while it is left out, another with it.
    assert_eq!(again(&later(None)), Ok(100));
    let reused = OnceError::KeyReused(id.key());
    assert_eq!(again(&later(Some("rent"))), Err(reused));
}

#[test]
fn the_print_and_the_format_stay_what_they_are_because_they_lie_on_disk() {
    let (mut bank, id) = (Bank::default(), id());
    pay(&mut bank, &id, &john(100)).unwrap();
    let hex: String = bank
        .bytes(&id)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, "01619cc43cc9536237bd848ea16b1a8fc164");
}

#[test]
fn ids_are_apart_by_each_part_and_alike_by_all() {
    let key = key(7);
    let with = |principal: Option<&str>, target: &str, message: &str, key| {
        RequestId::new(principal.map(Principal::new), target, message, key)
    };
    let all = [
        with(None, "bank", "pay", key),
        with(Some(""), "bank", "pay", key),
        with(Some("uid:1"), "bank", "pay", key),
        with(Some("uid:2"), "bank", "pay", key),
        with(None, "till", "pay", key),
        with(None, "bank", "ask", key),
        // The same letters, cut elsewhere.
        with(None, "ban", "kpay", key),
        with(None, "bankpay", "", key),
        with(None, "bank", "pay", self::key(8)),
    ];
    for (i, left) in all.iter().enumerate() {
        for (j, right) in all.iter().enumerate() {
            assert_eq!(left == right, i == j, "{left} and {right}");
            let alike = left.as_bytes() == right.as_bytes();
            assert_eq!(alike, i == j, "{left} and {right}");
        }
    }
    assert!(all[0].as_bytes().starts_with(key.as_uuid().as_bytes()));
    assert_eq!(
        all[2].to_string(),
        format!("pay at bank, key {key}, for uid:1")
    );
}

fn key(number: u8) -> RequestKey {
    format!("{number:032x}").parse().unwrap()
}

#[test]
fn the_id_of_a_message_in_hand_has_its_key_and_its_principal() {
    let mut meta = Meta::default();
    assert_eq!(RequestId::of::<Pay>("bank", &meta), None);
    let key = RequestKey::new();
    meta.set_key(key);
    let id = RequestId::of::<Pay>("bank", &meta).unwrap();
    assert_eq!(id, RequestId::new(None, "bank", "bank.pay", key));
    meta.set_principal(Principal::new("uid:7"));
    let id = RequestId::of::<Pay>("bank", &meta).unwrap();
    assert_eq!(id.principal().unwrap().name(), "uid:7");
    assert_eq!(
        (id.target(), id.message(), id.key()),
        ("bank", "bank.pay", key)
    );
}
