//! The mailbox's protocol: whoever puts something in and whoever comes to rest agree on who schedules the
//! actor, so that no message, signal or wake-up is left lying, and the actor is never in two run queues.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use super::{Woken, with_preemptions};
use crate::mailbox::records::{Kind, Record, Records};
use crate::mailbox::{Control, Mailbox, Overflow, Took};

struct Numbers;

impl Kind for Numbers {
    type Use<'a> = &'a RefCell<Vec<u32>>;
}

impl Record<Numbers> for u32 {
    fn consume(self, seen: &RefCell<Vec<u32>>) {
        seen.borrow_mut().push(self);
    }
}

/// A mailbox and its actor's place in a run queue.
struct Actor {
    mailbox: Mailbox<Numbers>,
    /// How often it is in the run queue: 0 or 1, or it is a bug.
    queued: AtomicUsize,
    /// As in a cell: its waker has fired.
    woken: AtomicBool,
}

impl Actor {
    /// One that has begun, and rests.
    fn at_rest(capacity: usize, overflow: Overflow) -> Arc<Self> {
        let actor = Actor {
            mailbox: Mailbox::new(capacity, overflow),
            queued: AtomicUsize::new(0),
            woken: AtomicBool::new(false),
        };
        assert!(actor.mailbox.wake());
        let mut batch = Records::new();
        assert_eq!(actor.mailbox.take_or_rest(&mut batch), Took::Nothing);
        Arc::new(actor)
    }

    fn schedule(&self, schedule: bool) {
        if schedule {
            let before = self.queued.fetch_add(1, Ordering::AcqRel);
            assert_eq!(before, 0, "in the run queue twice");
        }
    }

    fn push(&self, number: u32) {
        let schedule = match self.mailbox.push_fast(number) {
            Ok(schedule) => schedule,
            Err(number) => match self.mailbox.push(number) {
                Ok(pushed) => pushed.schedule,
                Err(_) => panic!("no room"),
            },
        };
        self.schedule(schedule);
    }

    /// A turn, if it is in the run queue: all there is, until it comes to rest. Answers the signal that
    /// ended it.
    fn turn(&self, seen: &RefCell<Vec<u32>>) -> Option<Control> {
        if self.queued.swap(0, Ordering::AcqRel) == 0 {
            return None;
        }
        let mut batch = Records::new();
        loop {
            if let Some(signal) = self.mailbox.signal() {
                return Some(signal);
            }
            if batch.is_empty() {
                match self.mailbox.take_or_rest(&mut batch) {
                    Took::Batch => {}
                    Took::Signal => continue,
                    Took::Nothing | Took::Drained => return None,
                }
            }
            assert!(batch.consume_first(seen));
            self.mailbox.handled(&batch);
        }
    }
}

#[test]
fn no_message_is_left_lying_when_the_loop_comes_to_rest() {
    with_preemptions(4, || {
        let actor = Actor::at_rest(8, Overflow::Wait);
        let other = Arc::clone(&actor);
        let sender = thread::spawn(move || (1..=3).for_each(|number| other.push(number)));
        let seen = RefCell::default();
        actor.turn(&seen);
        actor.turn(&seen);
        sender.join().unwrap();
        actor.turn(&seen);
        // All, and in order (G2).
        assert_eq!(seen.take(), [1, 2, 3]);
    });
}

#[test]
fn of_several_senders_exactly_one_schedules() {
    with_preemptions(4, || {
        let actor = Actor::at_rest(2, Overflow::Wait);
        let other = Arc::clone(&actor);
        let sender = thread::spawn(move || other.push(1));
        actor.push(2);
        sender.join().unwrap();
        let seen = RefCell::default();
        actor.turn(&seen);
        let mut seen = seen.take();
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
    });
}

#[test]
fn no_signal_is_left_lying() {
    with_preemptions(3, || {
        let actor = Actor::at_rest(8, Overflow::Wait);
        let other = Arc::clone(&actor);
        let stopper = thread::spawn(move || {
            other.push(1);
            other.schedule(other.mailbox.control(Control::Stop));
        });
        let seen = RefCell::default();
        let mut signal = actor.turn(&seen);
        stopper.join().unwrap();
        if signal.is_none() {
            signal = actor.turn(&seen);
        }
        assert_eq!(signal, Some(Control::Stop));
        let left = actor.mailbox.close().len();
        assert_eq!(left + seen.take().len(), 1);
    });
}

#[test]
fn a_handler_that_waits_is_polled_again_after_its_waker_fired() {
    with_preemptions(3, || {
        let actor = Actor::at_rest(8, Overflow::Wait);
        let ready = Arc::new(UnsafeCell::new(false));
        // The actor runs: a handler is being polled, and is not ready yet.
        actor.schedule(actor.mailbox.wake());
        actor.queued.store(0, Ordering::Relaxed);
        let (other, event) = (Arc::clone(&actor), Arc::clone(&ready));
        let waker = thread::spawn(move || {
            // SAFETY: loom fails the model if the read below isn't ordered after it.
            #[allow(unsafe_code)]
            event.with_mut(|event| unsafe { *event = true });
            other.woken.store(true, Ordering::Release);
            other.schedule(other.mailbox.wake());
        });
        let rests = actor
            .mailbox
            .rest(|| actor.woken.swap(false, Ordering::AcqRel));
        if !rests {
            // SAFETY: as above: that the waker was seen to have fired must be enough.
            #[allow(unsafe_code)]
            let ready = ready.with(|ready| unsafe { *ready });
            assert!(ready);
        }
        waker.join().unwrap();
        // At rest it was scheduled again; busy, it was in its turn already.
        assert_eq!(actor.queued.load(Ordering::Acquire), usize::from(rests));
    });
}

#[test]
fn a_message_alone_does_not_run_an_actor_whose_handler_waits() {
    with_preemptions(4, || {
        let actor = Actor::at_rest(8, Overflow::Wait);
        actor.schedule(actor.mailbox.wake());
        actor.queued.store(0, Ordering::Relaxed);
        let other = Arc::clone(&actor);
        let sender = thread::spawn(move || other.push(1));
        assert!(actor.mailbox.rest(|| false));
        sender.join().unwrap();
        assert_eq!(actor.queued.load(Ordering::Acquire), 0);
        // What it waited for happens: now it runs, and the message is there.
        actor.schedule(actor.mailbox.wake());
        let seen = RefCell::default();
        actor.turn(&seen);
        assert_eq!(seen.take(), [1]);
    });
}

#[test]
fn a_sender_that_waits_for_room_is_let_in() {
    with_preemptions(3, || {
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
    with_preemptions(3, || {
        let actor = Actor::at_rest(8, Overflow::Fail);
        let other = Arc::clone(&actor);
        let sender = thread::spawn(move || other.mailbox.push(1_u32).is_ok());
        let left = actor.mailbox.close().len();
        let accepted = sender.join().unwrap();
        assert_eq!(left, usize::from(accepted));
        assert!(actor.mailbox.push(2).is_err());
    });
}
