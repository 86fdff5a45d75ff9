//! The injector of an arbiter and the flag of a task: what is handed over while the driver goes to sleep is
//! seen, by its last look or because it is woken, and a task is in the run queue at most once.

use std::sync::Arc as Plain;

use loom::sync::Arc;
use loom::sync::Notify;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::with_preemptions;
use crate::injector::{Flag, Injector};
use crate::sync::Mutex;

/// An arbiter as far as others see it: its injector, the waker of its driver, and the task that this wakes.
struct Arbiter<T> {
    injector: Injector<T>,
    /// Whether the driver has left its waker. As `AtomicWaker` promises: who wakes after the registration
    /// wakes; who woke before it is seen by who registers.
    registered: Mutex<bool>,
    /// The driver's task in its runtime.
    runtime: Notify,
}

impl<T> Arbiter<T> {
    fn new() -> Arc<Self> {
        Arc::new(Arbiter {
            injector: Injector::new(),
            registered: Mutex::new(false),
            runtime: Notify::new(),
        })
    }

    fn inject(&self, things: impl IntoIterator<Item = T>) -> bool {
        match self.injector.put(things) {
            Ok(wake) => {
                if wake && std::mem::take(&mut *self.registered.lock()) {
                    self.runtime.notify();
                }
                true
            }
            Err(_) => false,
        }
    }

    /// The driver: polled, it does what it is handed; else it sleeps. If nobody wakes it while there is
    /// something, loom finds that all threads are blocked.
    fn drive(&self, mut see_to: impl FnMut(T) -> bool) {
        let mut things = Vec::new();
        loop {
            *self.registered.lock() = true;
            self.injector.listen();
            let mut all = false;
            if self.injector.take(&mut things) {
                for thing in things.drain(..) {
                    all |= see_to(thing);
                }
            }
            if all {
                return;
            }
            // As when it wakes itself: the runtime polls it again.
            if !self.injector.rest() {
                self.runtime.wait();
            }
        }
    }
}

#[test]
fn no_parcel_is_left_lying_when_the_driver_goes_to_sleep() {
    with_preemptions(3, || {
        let arbiter = Arbiter::new();
        let other = Arc::clone(&arbiter);
        let sender = thread::spawn(move || {
            assert!(other.inject([1]));
            assert!(other.inject([2, 3]));
            assert!(other.inject([4]));
        });
        let mut seen = Vec::new();
        arbiter.drive(|parcel| {
            seen.push(parcel);
            seen.len() == 4
        });
        sender.join().unwrap();
        assert_eq!(seen, [1, 2, 3, 4]);
    });
}

#[test]
fn a_driver_that_looks_twice_in_one_poll_misses_nothing() {
    with_preemptions(3, || {
        let arbiter = Arbiter::new();
        let other = Arc::clone(&arbiter);
        let sender = thread::spawn(move || {
            assert!(other.inject([1]));
            assert!(other.inject([2]));
        });
        // What the turns of a poll hand to their own arbiter from within, as a waker does that fires there.
        let mut seen = Vec::new();
        let inner = Arc::clone(&arbiter);
        arbiter.drive(|parcel| {
            seen.push(parcel);
            if parcel == 1 {
                assert!(inner.inject([3]));
            }
            seen.len() == 3
        });
        sender.join().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3]);
    });
}

#[test]
fn a_parcel_is_handed_over_or_comes_back_when_the_driver_ends() {
    loom::model(|| {
        let arbiter = Arbiter::new();
        let counted = Plain::new(());
        let parcel = Plain::clone(&counted);
        let other = Arc::clone(&arbiter);
        let sender = thread::spawn(move || {
            let first = other.inject([Plain::clone(&parcel)]);
            (first, other.inject([parcel]))
        });
        let mut taken = Vec::new();
        let _ = arbiter.injector.take(&mut taken);
        taken.extend(arbiter.injector.end());
        let (first, second) = sender.join().unwrap();
        assert_eq!(taken.len(), usize::from(first) + usize::from(second));
        assert!(first || !second, "after the end nothing gets in");
        assert!(arbiter.injector.has_ended());
        // What came back was dropped, and nothing stayed.
        assert_eq!(Plain::strong_count(&counted), 1 + taken.len());
        assert!(arbiter.injector.end().is_empty());
    });
}

/// A task as its wakers see it, and what its future waits for.
struct Task {
    queued: Flag,
    /// How often it is in the run queue: 0 or 1, or it is a bug.
    places: AtomicUsize,
    /// Without an order of its own: that the waker fired must be enough for it to be seen.
    events: AtomicUsize,
}

impl Task {
    /// One that waits.
    fn at_rest() -> Arc<Self> {
        Arc::new(Task {
            queued: Flag::new(false),
            places: AtomicUsize::new(0),
            events: AtomicUsize::new(0),
        })
    }

    fn happens(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    fn wake(&self) {
        if self.queued.raise() {
            let before = self.places.fetch_add(1, Ordering::Relaxed);
            assert_eq!(before, 0, "in the run queue twice");
        }
    }

    /// A turn, if it is in the run queue. Answers how many events its future has seen.
    fn turn(&self) -> Option<usize> {
        if self.places.swap(0, Ordering::Relaxed) == 0 {
            return None;
        }
        self.queued.lower();
        Some(self.poll())
    }

    fn poll(&self) -> usize {
        self.events.load(Ordering::Relaxed)
    }
}

#[test]
fn no_wake_up_of_a_task_is_lost_and_it_is_never_queued_twice() {
    loom::model(|| {
        let task = Task::at_rest();
        let other = Arc::clone(&task);
        let waker = thread::spawn(move || {
            for _ in 0..2 {
                other.happens();
                other.wake();
            }
        });
        let mut seen = 0;
        for _ in 0..2 {
            seen = task.turn().unwrap_or(seen);
        }
        waker.join().unwrap();
        if seen < 2 {
            // Its last poll came too early, so it is in the queue again.
            assert_eq!(task.turn(), Some(2));
        }
    });
}

#[test]
fn what_was_done_before_a_wake_is_seen_by_the_turn_that_it_saves() {
    loom::model(|| {
        // In the queue already.
        let flag = Arc::new(Flag::new(true));
        let event = Arc::new(AtomicUsize::new(0));
        let (other, happens) = (Arc::clone(&flag), Arc::clone(&event));
        let waker = thread::spawn(move || {
            happens.store(7, Ordering::Relaxed);
            other.raise()
        });
        flag.lower();
        let seen = event.load(Ordering::Relaxed);
        let queued_again = waker.join().unwrap();
        assert!(queued_again || seen == 7);
    });
}

#[test]
fn a_task_that_wakes_itself_while_another_does_is_queued_once() {
    loom::model(|| {
        let task = Task::at_rest();
        task.wake();
        let other = Arc::clone(&task);
        let waker = thread::spawn(move || {
            other.happens();
            other.wake();
        });
        // It yields: wakes itself in its poll.
        assert!(task.turn().is_some());
        task.wake();
        waker.join().unwrap();
        assert_eq!(task.turn(), Some(1));
        assert_eq!(task.turn(), None);
    });
}

#[test]
fn a_task_that_another_thread_wakes_runs_though_its_driver_goes_to_sleep() {
    with_preemptions(3, || {
        let arbiter = Arbiter::new();
        let task = Task::at_rest();
        let (other, woken) = (Arc::clone(&arbiter), Arc::clone(&task));
        let waker = thread::spawn(move || {
            for _ in 0..2 {
                woken.happens();
                if woken.queued.raise() {
                    assert!(other.inject([Arc::clone(&woken)]));
                }
            }
        });
        arbiter.drive(|task| {
            task.queued.lower();
            task.poll() == 2
        });
        waker.join().unwrap();
    });
}
