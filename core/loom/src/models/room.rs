//! A full mailbox, and one that closes: who waits for room is let in or told, and every message ends in
//! exactly one place.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;

use super::mailbox::{Actor, Numbers, push_fast};
use super::{Woken, with_preemptions};
use crate::mailbox::records::Records;
use crate::mailbox::{Control, Dropped, Overflow, Rejected, Took};

fn numbers(records: &mut Records<Numbers>) -> Vec<u32> {
    let seen = RefCell::default();
    while records.consume_first(&seen).is_some() {}
    seen.take()
}

#[test]
fn a_sender_that_waits_for_room_is_let_in() {
    loom::model(|| {
        let actor = Actor::at_rest(1, Overflow::Wait);
        actor.push(1);
        let other = Arc::clone(&actor);
        let looped = thread::spawn(move || {
            let seen = RefCell::default();
            other.turn(&seen);
            seen.take()
        });
        let (woken, waker) = Woken::new();
        let cx = &mut Context::from_waker(&waker);
        let mut waiting = pin!(actor.mailbox.push_waiting(2_u32));
        let first = waiting.as_mut().poll(cx);
        let mut seen = looped.join().unwrap();
        let pushed = match first {
            Poll::Ready(pushed) => pushed,
            Poll::Pending => {
                // The loop has come to rest, so the sender must have been told.
                assert_eq!(woken.times(), 1);
                match waiting.as_mut().poll(cx) {
                    Poll::Ready(pushed) => pushed,
                    Poll::Pending => panic!("woken for nothing"),
                }
            }
        };
        let Ok(schedule) = pushed else {
            panic!("the mailbox is open")
        };
        actor.schedule(schedule);
        let rest = RefCell::default();
        actor.turn(&rest);
        seen.extend(rest.take());
        assert_eq!(seen, [1, 2]);
    });
}

#[test]
fn a_message_is_taken_or_handed_back_when_the_mailbox_closes() {
    loom::model(|| {
        let actor = Actor::at_rest(8, Overflow::Fail);
        let other = Arc::clone(&actor);
        let sender = thread::spawn(move || other.mailbox.push(1_u32).is_ok());
        let left = actor.mailbox.close().len() as usize;
        assert_eq!(push_fast(&actor.mailbox, 9_u32), Err(9));
        let accepted = sender.join().unwrap();
        assert_eq!(left, usize::from(accepted));
        assert!(actor.mailbox.push(2).is_err());
    });
}

/// Who waits for room while the mailbox closes is let in before, or told, and gets the message back.
#[test]
fn a_sender_that_waits_is_told_when_the_mailbox_closes() {
    for drains in [false, true] {
        loom::model(move || {
            let actor = Actor::at_rest(1, Overflow::Wait);
            actor.push(1);
            let other = Arc::clone(&actor);
            let closing = thread::spawn(move || {
                if drains {
                    other.schedule(other.mailbox.drain());
                    Vec::new()
                } else {
                    numbers(&mut other.mailbox.close())
                }
            });
            let (woken, waker) = Woken::new();
            let cx = &mut Context::from_waker(&waker);
            let mut waiting = pin!(actor.mailbox.push_waiting(2_u32));
            let mut end = waiting.as_mut().poll(cx);
            let mut left = closing.join().unwrap();
            if end.is_pending() {
                assert_eq!(woken.times(), 1, "in line for ever");
                end = waiting.as_mut().poll(cx);
            }
            assert!(matches!(end, Poll::Ready(Err(Rejected::Closed(2)))));
            left.extend(numbers(&mut actor.mailbox.close()));
            assert_eq!(left, [1]);
            assert!(matches!(
                actor.mailbox.push(3_u32),
                Err(Rejected::Closed(3))
            ));
        });
    }
}

/// A sender in line that was let in, or goes away: the room it was handed is not lost.
#[test]
fn room_handed_to_a_sender_that_gives_up_is_not_lost() {
    loom::model(|| {
        let actor = Actor::at_rest(1, Overflow::Wait);
        actor.push(1);
        let (woken, waker) = Woken::new();
        let cx = &mut Context::from_waker(&waker);
        let ((_, first), (second_woken, second)) = (Woken::new(), Woken::new());
        drop((woken, first));
        let mut gives_up = Box::pin(actor.mailbox.push_waiting(2_u32));
        assert!(gives_up.as_mut().poll(cx).is_pending());
        let mut stays = pin!(actor.mailbox.push_waiting(3_u32));
        let second = &mut Context::from_waker(&second);
        assert!(stays.as_mut().poll(second).is_pending());
        assert!(!actor.mailbox.is_quiet());
        let other = Arc::clone(&actor);
        let looped = thread::spawn(move || {
            let seen = RefCell::default();
            other.turn(&seen);
            seen.take()
        });
        // Before it is let in, or after.
        assert_eq!(gives_up.take_record(), Some(2));
        drop(gives_up);
        assert_eq!(looped.join().unwrap(), [1]);
        assert_eq!(second_woken.times(), 1);
        assert!(matches!(stays.as_mut().poll(second), Poll::Ready(Ok(true))));
        let state = actor.mailbox.state();
        assert_eq!((state.len, state.waiting_senders), (1, 0));
    });
}

/// A sender in line is not overtaken either, though nothing lies in the inbox.
#[test]
fn a_mailbox_with_a_sender_in_line_is_never_quiet() {
    loom::model(|| {
        let actor = Actor::at_rest(1, Overflow::Wait);
        actor.push(1);
        let mut batch = Records::new();
        assert_eq!(actor.mailbox.take_or_rest(&mut batch), Took::Batch);
        assert!(actor.mailbox.is_quiet());
        let other = Arc::clone(&actor);
        let sender = thread::spawn(move || {
            let (woken, waker) = Woken::new();
            let mut waiting = Box::pin(other.mailbox.push_waiting(2_u32));
            let cx = &mut Context::from_waker(&waker);
            let in_line = waiting.as_mut().poll(cx).is_pending();
            assert!(woken.times() == 1 || !other.mailbox.is_quiet());
            // Its place is given up, or its room.
            drop(waiting);
            in_line
        });
        assert_eq!(numbers(&mut batch), [1]);
        actor.mailbox.handled(&batch);
        actor.mailbox.rest(|| false);
        let in_line = sender.join().unwrap();
        // Neither a place in line nor room is left behind.
        assert_eq!(actor.mailbox.state().waiting_senders, 0);
        assert_eq!(actor.mailbox.is_quiet(), in_line);
    });
}

/// A mailbox that drains: what was accepted is handled, then it ends; what was not comes back.
#[test]
fn a_drain_loses_nothing_that_was_accepted() {
    loom::model(|| {
        let actor = Actor::at_rest(8, Overflow::Wait);
        let other = Arc::clone(&actor);
        let sender = thread::spawn(move || {
            let accepted = [1, 2].map(|number| match push_fast(&other.mailbox, number) {
                Ok(schedule) => {
                    other.schedule(schedule);
                    true
                }
                Err(number) => match other.mailbox.push(number) {
                    Ok(pushed) => {
                        other.schedule(pushed.schedule);
                        true
                    }
                    Err(Rejected::Closed(back)) => {
                        assert_eq!(back, number);
                        false
                    }
                    Err(_) => panic!("there is room"),
                },
            });
            assert!(
                accepted[0] || !accepted[1],
                "after the drain nothing gets in"
            );
            accepted.into_iter().filter(|accepted| *accepted).count()
        });
        actor.schedule(actor.mailbox.drain());
        assert_eq!(push_fast(&actor.mailbox, 9_u32), Err(9));
        let seen = RefCell::default();
        actor.turn(&seen);
        let accepted = sender.join().unwrap();
        // Whether all of it was seen before or not: the actor has been told to end.
        let mut batch = Records::new();
        while actor.mailbox.take_or_rest(&mut batch) == Took::Batch {
            seen.borrow_mut().extend(numbers(&mut batch));
        }
        assert_eq!(seen.take(), [1, 2][..accepted]);
        assert_eq!(actor.mailbox.take_or_rest(&mut batch), Took::Drained);
        // It was scheduled for this, and is until it has ended.
        assert!(!actor.mailbox.wake());
    });
}

/// Under `DropOldest` every message is handled or put out, once, in the order they came; and the newest is
/// handled.
#[test]
fn drop_oldest_puts_out_what_the_loop_has_not_taken() {
    with_preemptions(4, || {
        let actor = Actor::at_rest(2, Overflow::DropOldest);
        actor.push(1);
        actor.push(2);
        let other = Arc::clone(&actor);
        let sender = thread::spawn(move || {
            let mut out = Vec::new();
            for number in 3..=4_u32 {
                let Ok(pushed) = other.mailbox.push(number) else {
                    panic!("this policy takes everything")
                };
                other.schedule(pushed.schedule);
                match pushed.dropped {
                    Dropped::None => {}
                    Dropped::Newest(_) => panic!("another policy"),
                    // The loop takes them one by one, so there always is one to be put out.
                    Dropped::Oldest(mut oldest) => {
                        assert_eq!(oldest.len(), 1);
                        out.extend(numbers(&mut oldest));
                    }
                }
            }
            out
        });
        let seen = RefCell::<Vec<u32>>::default();
        let mut batch = Records::new();
        assert_eq!(actor.mailbox.take_or_rest(&mut batch), Took::Batch);
        // There is one more, whatever was put out.
        assert!(!actor.mailbox.is_quiet());
        seen.borrow_mut().extend(numbers(&mut batch));
        actor.mailbox.handled(&batch);
        actor.turn(&seen);
        let out = sender.join().unwrap();
        actor.turn(&seen);
        let seen = seen.take();
        assert!(seen.is_sorted() && out.is_sorted());
        assert_eq!(seen.last(), Some(&4));
        let mut all = [seen, out].concat();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4]);
    });
}

/// An incarnation ends while somebody sends: what is left of its batch stands before what came meanwhile.
#[test]
fn what_is_put_back_comes_before_what_came_meanwhile() {
    loom::model(|| {
        let actor = Actor::at_rest(8, Overflow::Wait);
        actor.push(1);
        actor.push(2);
        let mut batch = Records::new();
        assert_eq!(actor.mailbox.take_or_rest(&mut batch), Took::Batch);
        let other = Arc::clone(&actor);
        let sender = thread::spawn(move || {
            // The actor runs until it is vacant; then a message alone is no reason to.
            other.push(3);
            other.push(4);
        });
        actor.mailbox.put_back(&mut batch);
        assert!(!actor.mailbox.is_quiet());
        actor.queued.store(0, Ordering::Relaxed);
        actor.mailbox.vacate();
        sender.join().unwrap();
        assert_eq!(actor.queued.load(Ordering::Acquire), 0);
        actor.schedule(actor.mailbox.wake());
        let seen = RefCell::default();
        actor.turn(&seen);
        assert_eq!(seen.take(), [1, 2, 3, 4]);
        assert!(actor.mailbox.is_quiet());
    });
}
