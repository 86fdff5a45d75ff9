//! A judge that always says yes is none.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::events::Event;
use crate::stage::Books;

/// A run of three payments without a flaw.
fn flawless(mode: Mode) -> Outcome {
    Outcome {
        mode,
        payments: 3,
        took: Duration::ZERO,
        told: (0..3).map(|payment| (payment, Told::Paid)).collect(),
        kills: BTreeMap::new(),
        other_ends: Vec::new(),
        calls: crate::customers::policy().unwrap().stats(),
        pressed_again: 0,
        events: Vec::new(),
        books: Books {
            times: (0..3).map(|payment| (payment, 1)).collect(),
            john_got: 300,
            made_of_nothing: 0,
            check: "ok".to_owned(),
        },
    }
}

/// A payment that was made that often.
fn made(outcome: &mut Outcome, payment: u32, times: u32) {
    let before = outcome.times(payment);
    outcome.books.times.insert(payment, times);
    outcome.books.john_got += i64::from(CENTS) * (i64::from(times) - i64::from(before));
}

#[track_caller]
fn judged(mode: Mode, spoil: impl FnOnce(&mut Outcome)) -> String {
    let mut outcome = flawless(mode);
    spoil(&mut outcome);
    let mut out = Vec::new();
    let kept = judge(&outcome, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(kept, !text.contains("BROKEN"), "{text}");
    text
}

#[track_caller]
fn broken(mode: Mode, spoil: impl FnOnce(&mut Outcome), why: &str) {
    let text = judged(mode, spoil);
    assert!(text.contains("BROKEN") && text.contains(why), "{text}");
}

#[test]
fn what_was_kept_is_said_so() {
    let text = judged(Mode::OwnTransaction, |_| {});
    let expected =
        "own-transaction: each payment was made exactly once, and each customer knows it\n";
    assert_eq!(text, expected);
    let text = judged(Mode::NoKeys, |_| {});
    assert!(text.contains("no payment happened to be"), "{text}");
}

#[test]
fn with_the_key_in_the_transaction_nothing_but_once_is_good_enough() {
    let mode = Mode::OwnTransaction;
    let twice = "payment 1 was made 2 times, and its customer was told Some(Paid)";
    broken(mode, |it| made(it, 1, 2), twice);
    broken(mode, |it| made(it, 2, 0), "payment 2 was made 0 times");
    for told in [
        Told::GaveUp,
        Told::Indeterminate,
        Told::Wrong("no".to_owned()),
    ] {
        let why = format!("was told Some({told:?})");
        broken(mode, |it| drop(it.told.insert(0, told)), &why);
    }
    broken(mode, |it| drop(it.told.remove(&0)), "was told None");
}

#[test]
fn the_store_on_disk_may_not_know_and_must_not_pay_twice() {
    let mode = Mode::DurableStore;
    let text = judged(mode, |it| {
        it.told.insert(0, Told::Indeterminate);
        it.told.insert(2, Told::Indeterminate);
        made(it, 2, 0);
    });
    let expected = "\
durable-store: no payment was made twice; of 2 the bank said that nobody knows
    by the ledger made:
           0
    by the ledger not made:
           2
";
    assert_eq!(text, expected);
    broken(mode, |it| made(it, 0, 2), "payment 0 was made 2 times");
    broken(mode, |it| made(it, 0, 0), "payment 0 was made 0 times");
    let twice = |it: &mut Outcome| {
        it.told.insert(1, Told::Indeterminate);
        made(it, 1, 2);
    };
    let why = "payment 1 was made 2 times, and its customer was told Some(Indeterminate)";
    broken(mode, twice, why);
    broken(
        mode,
        |it| drop(it.told.insert(0, Told::GaveUp)),
        "Some(GaveUp)",
    );
}

#[test]
fn without_keys_damage_is_counted_and_a_lie_is_a_lie() {
    let mode = Mode::NoKeys;
    let text = judged(mode, |it| {
        made(it, 0, 2);
        made(it, 1, 0);
        it.told.insert(1, Told::GaveUp);
    });
    assert!(
        text.contains("1 payments were made twice, 1 never"),
        "{text}"
    );
    let lie = "payment 1 was made 0 times, and its customer was told Some(Paid)";
    broken(mode, |it| made(it, 1, 0), lie);
    let given_up = |it: &mut Outcome| {
        made(it, 1, 2);
        it.told.insert(1, Told::GaveUp);
    };
    broken(mode, given_up, "payment 1 was made 2 times");
}

#[test]
fn whatever_the_mode_the_books_must_be_right_and_nothing_unplanned_happen() {
    for mode in Mode::ALL {
        broken(mode, |it| it.books.john_got += 1, "the books are wrong");
        broken(
            mode,
            |it| it.books.made_of_nothing = -5,
            "-5 cents of nothing",
        );
        let damaged = |it: &mut Outcome| it.books.check = "row 3 missing".to_owned();
        broken(mode, damaged, "damaged: row 3 missing");
        let end = |it: &mut Outcome| it.other_ends.push("bank 3 ended".to_owned());
        broken(mode, end, "bank 3 ended");
    }
}

#[test]
fn the_timeline_is_of_a_payment_that_was_in_hand() {
    let event = |at: u64, payment, bank: Option<u64>, what: &str| Event {
        at: Duration::from_millis(at),
        payment,
        bank: bank.map(callboard::Incarnation),
        what: what.to_owned(),
    };
    let mut outcome = flawless(Mode::OwnTransaction);
    let mut out = Vec::new();
    timeline(&outcome, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("no payment was in hand"), "{text}");

    let last = |point: Point| format!("sends itself SIGKILL {}", point.text());
    outcome.events = vec![
        event(10, None, Some(1), "is started"),
        event(20, Some(0), None, "pays"),
        event(21, Some(0), Some(1), &last(Point::Received)),
        event(22, Some(0), None, "has the receipt"),
        event(30, Some(1), None, "pays"),
        event(32, Some(1), Some(2), &last(Point::Committed)),
        event(33, None, Some(2), "has ended"),
        event(34, Some(2), None, "pays"),
        event(35, Some(1), None, "has the receipt"),
        event(36, None, Some(3), "has ended"),
    ];
    let mut out = Vec::new();
    timeline(&outcome, &mut out).unwrap();
    let expected = "
own-transaction: payment 1, in milliseconds
     0.00  customer  pays
     2.00  bank 2    sends itself SIGKILL after the commit, before the answer
     3.00  bank 2    has ended
     5.00  customer  has the receipt
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
