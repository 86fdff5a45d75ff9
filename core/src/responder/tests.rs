//! A slot gets one outcome, whoever ends it first (G7, G8).

use futures::FutureExt;
use parking_lot::Mutex;

use super::*;

fn slot() -> (Responder<u32>, ReplySlot<u32>, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let (responder, slot) = Responder::slot();
    (responder, slot, counters)
}

#[test]
fn g07_the_reply_arrives() {
    let (responder, slot, _) = slot();
    responder.send(7);
    assert_eq!(slot.now_or_never(), Some(Ok(7)));
}

#[test]
fn g07_a_responder_dropped_before_the_handler_began_says_not_executed() {
    let (responder, slot, _) = slot();
    drop(responder);
    let failure = slot.now_or_never().unwrap().unwrap_err();
    assert_eq!(
        (failure.kind(), failure.verdict()),
        (FailureKind::Stopped, Verdict::NotExecuted)
    );
}

#[test]
fn g07_a_responder_dropped_by_its_handler_says_no_answer() {
    let (mut responder, slot, _) = slot();
    assert!(responder.progress(Verdict::Executed));
    drop(responder);
    let failure = slot.now_or_never().unwrap().unwrap_err();
    assert_eq!(
        (failure.kind(), failure.verdict()),
        (FailureKind::NoAnswer, Verdict::Executed)
    );
}

#[test]
fn g07_a_responder_dropped_by_a_panic_says_panicked() {
    let (mut responder, slot, _) = slot();
    assert!(responder.progress(Verdict::Executed));
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _responder = responder;
        panic!("boom");
    }));
    assert!(unwound.is_err());
    assert_eq!(
        slot.now_or_never().unwrap().unwrap_err().kind(),
        FailureKind::Panicked
    );
}

#[test]
fn g08_a_reply_after_the_withdrawal_is_counted_and_reaches_nobody() {
    let (mut responder, mut slot, counters) = slot();
    assert!(responder.progress(Verdict::Executed));
    assert_eq!(
        slot.withdraw(counters.clone()).unwrap_err(),
        Verdict::Executed
    );
    responder.send(7);
    assert_eq!(counters.drops(DropReason::LateReply), 1);
}

#[test]
fn g09_a_withdrawn_request_is_not_begun() {
    let (mut responder, mut slot, counters) = slot();
    assert_eq!(
        slot.withdraw(counters.clone()).unwrap_err(),
        Verdict::NotExecuted
    );
    assert!(!responder.progress(Verdict::Executed));
    drop(responder);
    assert_eq!(counters.drops(DropReason::LateReply), 0);
}

#[test]
fn a_withdrawal_that_comes_too_late_gets_the_outcome() {
    let (responder, mut slot, counters) = slot();
    responder.send(7);
    assert_eq!(slot.withdraw(counters.clone()), Ok(Ok(7)));
}

#[test]
fn the_hook_runs_when_the_asker_gives_up_and_only_then() {
    let calls = Arc::new(Mutex::new(0));
    for give_up in [true, false] {
        let (mut responder, slot, _) = slot();
        let seen = Arc::clone(&calls);
        responder.on_withdraw(move || *seen.lock() += 1);
        if give_up {
            drop(slot);
            responder.send(1);
        } else {
            responder.send(1);
            drop(slot);
        }
    }
    assert_eq!(*calls.lock(), 1);
}

#[test]
fn a_hook_set_after_the_asker_has_gone_runs_at_once() {
    let (mut responder, slot, _) = slot();
    drop(slot);
    let called = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&called);
    responder.on_withdraw(move || *seen.lock() = true);
    assert!(*called.lock());
}

/// Counts whose asker gave up.
#[derive(Default)]
struct Told(Mutex<Vec<u64>>);

impl Withdrawals for Told {
    fn withdrawn(&self, ticket: u64) {
        self.0.lock().push(ticket);
    }
}

#[test]
fn g09_one_who_is_told_of_many_withdrawals_hears_the_ticket_of_each_once() {
    let told = Arc::new(Told::default());
    let (mut first, slot) = Responder::<u8>::slot();
    first.on_withdraw_shared(Arc::clone(&told) as _, 7);
    drop(slot);
    assert_eq!(*told.0.lock(), [7]);
    drop(first);
    // One that has gone already, and one that is answered.
    let (mut second, slot) = Responder::<u8>::slot();
    drop(slot);
    second.on_withdraw_shared(Arc::clone(&told) as _, 8);
    assert_eq!(*told.0.lock(), [7, 8]);
    let (mut third, mut slot) = Responder::<u8>::slot();
    third.on_withdraw_shared(Arc::clone(&told) as _, 9);
    third.send(1);
    assert!(slot.take().is_some());
    drop(slot);
    assert_eq!(*told.0.lock(), [7, 8]);
}

#[test]
fn g08_a_slot_that_was_made_with_who_is_told_is_like_one_that_learnt_it() {
    let told = Arc::new(Told::default());
    let make =
        |ticket| Responder::<u8>::slot_of(Verdict::MaybeExecuted, Arc::clone(&told) as _, ticket);
    let (responder, mut slot) = make(1);
    responder.send(7);
    assert_eq!(slot.take(), Some(Ok(7)));
    let counters = Arc::new(Counters::default());
    let (responder, mut slot) = make(2);
    // How far it has come is known from the beginning.
    let reached = slot.withdraw(Arc::clone(&counters)).unwrap_err();
    assert_eq!(reached, Verdict::MaybeExecuted);
    responder.send(7);
    assert_eq!(counters.drops(DropReason::LateReply), 1);
    let (responder, slot) = make(3);
    drop(responder);
    let failure = slot.now_or_never().unwrap().unwrap_err();
    assert_eq!(failure.verdict(), Verdict::MaybeExecuted);
    assert_eq!(*told.0.lock(), [2]);
}
