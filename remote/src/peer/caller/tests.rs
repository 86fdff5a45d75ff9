use std::sync::atomic::{AtomicUsize, Ordering};

use callboard::{Outcome, ReplySink};

use super::*;

#[derive(Debug, callboard::Message, serde::Serialize, serde::Deserialize)]
#[message(reply = u64, name = "test.add")]
struct Add(u64);

/// An asker that has gone, or hasn't.
#[derive(Default)]
struct Asker {
    gone: bool,
    ended: Arc<AtomicUsize>,
}

impl ReplySink<u64> for Asker {
    fn progress(&mut self, _verdict: Verdict) -> bool {
        !self.gone
    }

    fn finish(self: Box<Self>, _outcome: Outcome<u64>) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A caller that has slot 3 in session 1.
fn caller() -> Arc<Caller<Add>> {
    let caller = Caller::<Add>::new(&Weak::new(), Arc::from("counter"));
    let mut state = caller.state.lock();
    (state.session, state.slot) = (1, 3);
    drop(state);
    caller
}

fn asker(gone: bool) -> Responder<u64> {
    let ended = Arc::default();
    Responder::new(Box::new(Asker { gone, ended }))
}

fn is_idle(caller: &Caller<Add>) -> bool {
    let state = caller.state.lock();
    state.free.len() == state.places.len()
}

#[test]
fn g06_an_ask_whose_session_ends_while_it_is_prepared_comes_back() {
    let caller = caller();
    let ticket = caller.reserve(1).unwrap();
    caller.end(1, "it was closed here");
    let Stored::Ended(responder, failure) = caller.store(ticket, asker(false), false) else {
        panic!("it is told how that ended");
    };
    drop(responder);
    assert_eq!(
        (failure.kind(), failure.verdict()),
        (FailureKind::NoConnection, Verdict::NotSent)
    );
    assert!(is_idle(&caller));
    // Nobody would end an ask of a session that is over, or of one that was begun since.
    assert_eq!(caller.reserve(1).unwrap_err(), NoPlace::Ended);
    caller.state.lock().session = 2;
    assert_eq!(caller.reserve(1).unwrap_err(), NoPlace::Ended);
    assert!(caller.reserve(2).is_ok());
}

#[test]
fn g07_an_ask_that_was_out_when_its_session_ended_gives_its_place_back_in_the_next() {
    let caller = caller();
    let ticket = caller.reserve(1).unwrap();
    caller.end(1, "it was closed here");
    {
        let mut state = caller.state.lock();
        (state.session, state.slot) = (2, 9);
    }
    assert!(matches!(
        caller.store(ticket, asker(false), false),
        Stored::Ended(..)
    ));
    assert!(is_idle(&caller));
}

#[test]
fn g03_an_ask_that_nobody_wants_ends_here_once() {
    let caller = caller();
    let ticket = caller.reserve(1).unwrap();
    assert!(matches!(
        caller.store(ticket, asker(true), false),
        Stored::Kept
    ));
    assert_eq!(caller.left(ticket), Leaves::EndsHere);
    // Its hook comes late, and counts nothing more.
    assert_eq!(caller.withdraw(ticket), None);
    assert_eq!(caller.left(ticket), Leaves::Ended);
    assert!(is_idle(&caller));
}

#[test]
fn g08_turns_of_a_slot_that_was_given_back_are_not_used_again() {
    let first = caller();
    let mut last = 0;
    for _ in 0..5 {
        last = first.reserve(1).unwrap();
        let responder = asker(false);
        assert!(matches!(first.store(last, responder, true), Stored::Kept));
        drop(first.take_back(last));
    }
    let turns = first.state.lock().places[0].turn;
    assert!(first.give_back());
    let next = caller();
    next.state.lock().first_turn = turns;
    let ticket = next.reserve(1).unwrap();
    assert_eq!(parts(ticket).1, turns);
    // A late answer to the one before reaches nobody.
    let responder = asker(false);
    assert!(matches!(next.store(ticket, responder, true), Stored::Kept));
    assert!(next.take_back(last).is_none());
    assert!(!next.give_back(), "an ask waits");
    assert!(next.take_back(ticket).is_some());
}
