//! The reply slot: one end, whoever comes first, and an asker that waits is woken (G7, G8, G9).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use loom::thread;

use super::Woken;
use crate::boundary::Verdict;
use crate::counters::{Counters, DropReason};
use crate::error::{Failure, FailureKind};
use crate::responder::{ReplySlot, Responder};

/// A reply that has to be dropped once.
type Reply = Arc<u32>;

fn poll(
    slot: &mut ReplySlot<Reply>,
    cx: &mut Context<'_>,
) -> Poll<crate::responder::Outcome<Reply>> {
    Pin::new(slot).poll(cx)
}

#[test]
fn an_asker_that_waits_is_woken_and_has_the_reply() {
    loom::model(|| {
        let (mut responder, mut slot) = Responder::<Reply>::slot();
        let thread = thread::spawn(move || {
            responder.progress(Verdict::Executed);
            responder.send(Arc::new(7));
        });
        let (woken, waker) = Woken::new();
        let cx = &mut Context::from_waker(&waker);
        let first = poll(&mut slot, cx);
        thread.join().unwrap();
        let outcome = match first {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                assert_eq!(woken.times(), 1);
                match poll(&mut slot, cx) {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => panic!("woken for nothing"),
                }
            }
        };
        assert_eq!(outcome.map(|reply| *reply), Ok(7));
    });
}

#[test]
fn an_asker_that_moved_is_woken_where_it_polled_last() {
    loom::model(|| {
        let (responder, mut slot) = Responder::<Reply>::slot();
        let thread = thread::spawn(move || drop(responder));
        let ((_, first), (woken, second)) = (Woken::new(), Woken::new());
        let before = poll(&mut slot, &mut Context::from_waker(&first)).is_ready();
        let pending = !before && poll(&mut slot, &mut Context::from_waker(&second)).is_pending();
        thread.join().unwrap();
        assert_eq!(woken.times(), usize::from(pending));
        if pending {
            let Poll::Ready(outcome) = poll(&mut slot, &mut Context::from_waker(&second)) else {
                panic!("woken for nothing")
            };
            let failure = Failure(FailureKind::Stopped, Verdict::NotExecuted);
            assert_eq!(outcome, Err(failure));
        }
    });
}

#[test]
fn a_reply_and_a_withdrawal_that_meet_have_one_winner() {
    loom::model(|| {
        let counters = Arc::new(Counters::default());
        let reply = Arc::new(7);
        let (mut responder, mut slot) = Responder::<Reply>::slot();
        let sent = Arc::clone(&reply);
        let thread = thread::spawn(move || {
            let begins = responder.progress(Verdict::Executed);
            if begins {
                responder.send(sent);
            }
            begins
        });
        let (_, waker) = Woken::new();
        let first = poll(&mut slot, &mut Context::from_waker(&waker));
        let end = match first {
            Poll::Ready(outcome) => Ok(outcome),
            Poll::Pending => slot.withdraw(Arc::clone(&counters)),
        };
        let begins = thread.join().unwrap();
        drop(slot);
        let late = counters.drops(DropReason::LateReply);
        match end {
            Ok(outcome) => assert_eq!((outcome, begins, late), (Ok(Arc::clone(&reply)), true, 0)),
            // Withdrawn before the handler began: it never will (G9).
            Err(Verdict::NotExecuted) => assert_eq!((begins, late), (false, 0)),
            // While it ran: the reply reached nobody and is counted (G8).
            Err(verdict) => assert_eq!((verdict, begins, late), (Verdict::Executed, true, 1)),
        }
        // The slot is gone on both sides, and so is what was in it.
        assert_eq!(Arc::strong_count(&reply), 1);
    });
}

#[test]
fn a_withdrawal_is_told_once_unless_the_reply_was_first() {
    loom::model(|| {
        let told = Arc::new(());
        let hook = Arc::clone(&told);
        let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let (mut responder, slot) = Responder::<Reply>::slot();
        responder.on_withdraw(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            drop(hook);
        });
        let thread = thread::spawn(move || responder.send(Arc::new(1)));
        drop(slot);
        thread.join().unwrap();
        assert!(calls.load(std::sync::atomic::Ordering::SeqCst) <= 1);
        assert_eq!(Arc::strong_count(&told), 1);
    });
}
