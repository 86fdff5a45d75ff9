//! The mailbox's protocol: whoever puts something in and whoever comes to rest agree on who schedules the
//! actor, so that no message, signal or wake-up is left lying, and the actor is never in two run queues.

use std::cell::RefCell;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use super::with_preemptions;
use crate::mailbox::records::{Kind, Record, Records};
use crate::mailbox::{Control, Mailbox, Overflow, Took};
use crate::sync::set_current_arbiter;

/// The number of the arbiter that models' loops run on.
const HOME: u32 = 7;

pub(super) struct Numbers;

impl Kind for Numbers {
    type Use<'a> = &'a RefCell<Vec<u32>>;
    type Done = ();
}

impl Record<Numbers> for u32 {
    fn consume(self, seen: &RefCell<Vec<u32>>) {
        seen.borrow_mut().push(self);
    }
}

/// Puts a record in the fast way.
pub(super) fn push_fast(mailbox: &Mailbox<Numbers>, number: u32) -> Result<bool, u32> {
    match mailbox.open() {
        Some(open) => Ok(open.put(number)),
        None => Err(number),
    }
}

/// A mailbox and its actor's place in a run queue.
pub(super) struct Actor {
    pub(super) mailbox: Mailbox<Numbers>,
    /// How often it is in the run queue: 0 or 1, or it is a bug.
    pub(super) queued: AtomicUsize,
    /// As in a cell: its waker has fired.
    woken: AtomicBool,
}

impl Actor {
    /// One that has begun, and rests.
    pub(super) fn at_rest(capacity: usize, overflow: Overflow) -> Arc<Self> {
        set_current_arbiter(HOME);
        let actor = Actor {
            mailbox: Mailbox::new(HOME, capacity, overflow),
            queued: AtomicUsize::new(0),
            woken: AtomicBool::new(false),
        };
        assert!(actor.mailbox.wake());
        let mut batch = Records::new();
        assert_eq!(actor.mailbox.take_or_rest(&mut batch), Took::Nothing);
        Arc::new(actor)
    }

    pub(super) fn schedule(&self, schedule: bool) {
        if schedule {
            let before = self.queued.fetch_add(1, Ordering::AcqRel);
            assert_eq!(before, 0, "in the run queue twice");
        }
    }

    /// It runs: a handler is being polled, and is not ready yet.
    pub(super) fn run(&self) {
        self.schedule(self.mailbox.wake());
        self.queued.store(0, Ordering::Relaxed);
    }

    /// Its handler waits. Answers whether the actor is at rest now.
    pub(super) fn rest(&self) -> bool {
        self.mailbox
            .rest(|| self.woken.swap(false, Ordering::AcqRel))
    }

    /// What its waker does, as in a cell.
    pub(super) fn fire(&self) {
        self.woken.store(true, Ordering::Release);
        self.schedule(self.mailbox.wake());
    }

    pub(super) fn push(&self, number: u32) {
        let schedule = match push_fast(&self.mailbox, number) {
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
    pub(super) fn turn(&self, seen: &RefCell<Vec<u32>>) -> Option<Control> {
        if self.queued.swap(0, Ordering::AcqRel) == 0 {
            return None;
        }
        let mut batch = Records::new();
        let mut last = false;
        loop {
            if let Some(signal) = self.mailbox.signal() {
                return Some(signal);
            }
            if batch.is_empty() {
                if last {
                    return None;
                }
                match self.mailbox.take_or_rest(&mut batch) {
                    Took::Batch => {}
                    Took::LastBatch => last = true,
                    Took::Signal => continue,
                    Took::Nothing | Took::Drained => return None,
                }
            }
            assert!(batch.consume_first(seen).is_some());
            self.mailbox.handled(&batch);
        }
    }
}

#[test]
fn no_message_is_left_lying_when_the_loop_comes_to_rest() {
    loom::model(|| {
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
fn no_message_is_left_lying_when_the_loop_rests_in_advance() {
    with_preemptions(3, || {
        let actor = Actor::at_rest(64, Overflow::Wait);
        actor.push(1);
        let other = Arc::clone(&actor);
        let sender = thread::spawn(move || (2..=3).for_each(|number| other.push(number)));
        let seen = RefCell::default();
        actor.turn(&seen);
        actor.turn(&seen);
        sender.join().unwrap();
        actor.turn(&seen);
        assert_eq!(seen.take(), [1, 2, 3]);
    });
}

#[test]
fn of_several_senders_exactly_one_schedules() {
    loom::model(|| {
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
    loom::model(|| {
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
        let left = actor.mailbox.close().len() as usize;
        assert_eq!(left + seen.take().len(), 1);
    });
}

#[test]
fn a_handler_that_waits_is_polled_again_after_its_waker_fired() {
    loom::model(|| {
        let actor = Actor::at_rest(8, Overflow::Wait);
        let ready = Arc::new(UnsafeCell::new(false));
        actor.run();
        let (other, event) = (Arc::clone(&actor), Arc::clone(&ready));
        let waker = thread::spawn(move || {
            // SAFETY: loom fails the model if the read below isn't ordered after it.
            #[allow(unsafe_code)]
            event.with_mut(|event| unsafe { *event = true });
            other.fire();
        });
        let rests = actor.rest();
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
    loom::model(|| {
        let actor = Actor::at_rest(8, Overflow::Wait);
        actor.run();
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

/// A handler waits while somebody kills: the actor runs again, or doesn't come to rest.
#[test]
fn a_kill_reaches_an_actor_whose_handler_comes_to_rest() {
    for waker_fires in [false, true] {
        loom::model(move || {
            let actor = Actor::at_rest(8, Overflow::Wait);
            actor.run();
            let other = Arc::clone(&actor);
            let killer = thread::spawn(move || {
                if waker_fires {
                    other.fire();
                }
                other.push(1);
                other.schedule(other.mailbox.control(Control::Kill));
            });
            let mut rests = actor.rest();
            if !rests && actor.mailbox.signal().is_none() {
                // Woken: polled once more, as in its next turn.
                rests = actor.rest();
            }
            killer.join().unwrap();
            // At rest it was scheduled again, once; else its turn goes on, and the signal is there.
            assert_eq!(actor.queued.load(Ordering::Acquire), usize::from(rests));
            assert_eq!(actor.mailbox.signal(), Some(Control::Kill));
            // What is queued stays for who comes next.
            actor.mailbox.clear_signals();
            assert_eq!(actor.mailbox.signal(), None);
            assert!(!actor.mailbox.is_quiet());
            assert_eq!(actor.mailbox.close().len(), 1);
        });
    }
}

/// The same for a handler that began on its asker's stack: the actor was not scheduled then.
#[test]
fn a_waker_or_a_kill_reaches_a_handler_that_was_handed_off() {
    for kill in [false, true] {
        loom::model(move || {
            let actor = Actor::at_rest(8, Overflow::Wait);
            assert!(actor.mailbox.is_quiet());
            let other = Arc::clone(&actor);
            let waker = thread::spawn(move || {
                if kill {
                    other.schedule(other.mailbox.control(Control::Kill));
                } else {
                    other.fire();
                }
                other.push(1);
            });
            let woken = || actor.woken.swap(false, Ordering::AcqRel);
            actor.schedule(actor.mailbox.await_handler(woken));
            waker.join().unwrap();
            assert_eq!(actor.queued.load(Ordering::Acquire), 1);
            assert_eq!(actor.mailbox.signal().is_some(), kill);
        });
    }
}

/// What lies in the mailbox is not overtaken: who knows of it finds that the mailbox isn't quiet.
#[test]
fn a_mailbox_with_a_message_in_it_is_never_quiet() {
    loom::model(|| {
        let actor = Actor::at_rest(8, Overflow::Wait);
        let told = Arc::new(AtomicBool::new(false));
        let (other, tell) = (Arc::clone(&actor), Arc::clone(&told));
        let sender = thread::spawn(move || {
            other.push(1);
            tell.store(true, Ordering::Release);
            other.schedule(other.mailbox.control(Control::Stop));
        });
        if told.load(Ordering::Acquire) {
            assert!(!actor.mailbox.is_quiet());
        }
        actor.mailbox.clear_signals();
        let mut batch = Records::new();
        let took = actor.mailbox.take_or_rest(&mut batch);
        sender.join().unwrap();
        let seen = RefCell::default();
        while batch.consume_first(&seen).is_some() {}
        if took == Took::Batch {
            actor.mailbox.handled(&batch);
            assert_eq!(actor.mailbox.state().len, 0);
        } else {
            assert!(!actor.mailbox.is_quiet());
        }
        // Neither bit was lost to the other's writer.
        actor.mailbox.control(Control::Kill);
        assert_eq!(actor.mailbox.signal(), Some(Control::Kill));
        actor.mailbox.clear_signals();
        assert_eq!(actor.mailbox.is_quiet(), took == Took::Batch);
    });
}

/// The control lane has several writers.
#[test]
fn signals_that_are_taken_back_take_nothing_else_along() {
    loom::model(|| {
        let actor = Actor::at_rest(8, Overflow::Wait);
        actor.schedule(actor.mailbox.control(Control::Stop));
        let other = Arc::clone(&actor);
        let sender = thread::spawn(move || other.push(1));
        actor.mailbox.clear_signals();
        sender.join().unwrap();
        assert_eq!(actor.mailbox.signal(), None);
        assert!(!actor.mailbox.is_quiet());
    });
}
