use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::executor::block_on;
use proptest::prelude::*;

use super::{Bulkhead, Entry, Permit, Wait};
use crate::policy::settings::BulkheadSettings;

fn settings(concurrency: u32, queue: u32) -> BulkheadSettings {
    BulkheadSettings { concurrency, queue }
}

#[track_caller]
fn enter(bulkhead: &Arc<Bulkhead>, settings: &BulkheadSettings) -> Permit {
    match bulkhead.try_enter(settings) {
        Entry::In(permit) => permit,
        other => panic!("not in: {other:?}"),
    }
}

#[track_caller]
fn line_up(bulkhead: &Arc<Bulkhead>, settings: &BulkheadSettings) -> Wait {
    match bulkhead.try_enter(settings) {
        Entry::Line(wait) => wait,
        other => panic!("not in the line: {other:?}"),
    }
}

fn is_full(bulkhead: &Arc<Bulkhead>, settings: &BulkheadSettings) -> bool {
    matches!(bulkhead.try_enter(settings), Entry::Full)
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(wait: &mut Wait) -> Option<Permit> {
    poll_with(wait, Waker::noop())
}

fn poll_with(wait: &mut Wait, waker: &Waker) -> Option<Permit> {
    match Pin::new(wait).poll(&mut Context::from_waker(waker)) {
        Poll::Ready(permit) => Some(permit),
        Poll::Pending => None,
    }
}

#[test]
fn so_many_are_in_so_many_wait_and_the_rest_is_refused() {
    let two = settings(2, 1);
    let bulkhead = Bulkhead::new(&two);
    let first = enter(&bulkhead, &two);
    let _second = enter(&bulkhead, &two);
    let mut third = line_up(&bulkhead, &two);
    assert!(is_full(&bulkhead, &two));
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (2, 1));
    let woken = Arc::new(Woken::default());
    assert!(poll_with(&mut third, &Waker::from(Arc::clone(&woken))).is_none());
    drop(first);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (2, 0));
    let permit = poll(&mut third).unwrap();
    assert!(poll(&mut third).is_none(), "there is only one");
    drop(third);
    assert_eq!(bulkhead.in_use(), 2, "it has none to give back");
    drop(permit);
    assert_eq!(bulkhead.in_use(), 1);
    let none = settings(1, 0);
    assert!(is_full(&bulkhead, &none), "no line, none waits");
}

#[test]
fn nobody_overtakes_the_line() {
    let one = settings(1, 8);
    let bulkhead = Bulkhead::new(&one);
    let permit = enter(&bulkhead, &one);
    let mut first = line_up(&bulkhead, &one);
    let mut second = line_up(&bulkhead, &one);
    drop(permit);
    // The permit is the first one's, though it didn't look yet.
    let mut third = line_up(&bulkhead, &one);
    assert!(poll(&mut second).is_none());
    let permit = poll(&mut first).unwrap();
    drop(permit);
    assert!(poll(&mut third).is_none());
    drop(poll(&mut second).unwrap());
    assert!(poll(&mut third).is_some());
}

#[test]
fn who_is_dropped_leaves_the_line_and_passes_its_permit_on() {
    let one = settings(1, 8);
    let bulkhead = Bulkhead::new(&one);
    let permit = enter(&bulkhead, &one);
    let first = line_up(&bulkhead, &one);
    let second = line_up(&bulkhead, &one);
    let mut third = line_up(&bulkhead, &one);
    drop(second);
    assert_eq!(bulkhead.waiting(), 2);
    drop(permit);
    let woken = Arc::new(Woken::default());
    assert!(poll_with(&mut third, &Waker::from(Arc::clone(&woken))).is_none());
    // The first has been given the permit, and goes without having looked.
    drop(first);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(poll(&mut third).is_some());
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (0, 0));
}

#[test]
fn only_the_last_waker_is_woken() {
    let one = settings(1, 8);
    let bulkhead = Bulkhead::new(&one);
    let permit = enter(&bulkhead, &one);
    let mut wait = line_up(&bulkhead, &one);
    let (old, new) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    assert!(poll_with(&mut wait, &Waker::from(Arc::clone(&old))).is_none());
    assert!(poll_with(&mut wait, &Waker::from(Arc::clone(&new))).is_none());
    drop(permit);
    let woken = (old.0.load(Ordering::SeqCst), new.0.load(Ordering::SeqCst));
    assert_eq!(woken, (0, 1));
}

#[test]
fn a_smaller_bound_takes_no_permit_away_and_a_larger_one_moves_the_line() {
    let three = settings(3, 8);
    let bulkhead = Bulkhead::new(&three);
    let permits = [(); 3].map(|()| enter(&bulkhead, &three));
    let one = settings(1, 8);
    let mut waits: Vec<Wait> = (0..5).map(|_| line_up(&bulkhead, &one)).collect();
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (3, 5));
    let [first, second, third] = permits;
    drop(first);
    drop(second);
    assert!(poll(&mut waits[0]).is_none(), "the third is still in");
    drop(third);
    let _in = poll(&mut waits[0]).unwrap();
    assert!(poll(&mut waits[1]).is_none());
    // At once.
    bulkhead.changed(&settings(2, 8));
    let _in = poll(&mut waits[1]).unwrap();
    assert!(poll(&mut waits[2]).is_none());
    // Or when the next one comes, which goes behind; a shorter line sends nobody away.
    assert!(is_full(&bulkhead, &settings(3, 1)));
    let _in = poll(&mut waits[2]).unwrap();
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (3, 2));
}

#[test]
fn a_panic_gives_the_permit_back() {
    let one = settings(1, 1);
    let bulkhead = Bulkhead::new(&one);
    let held = AssertUnwindSafe(|| {
        let _permit = enter(&bulkhead, &one);
        panic!("while it is held");
    });
    assert!(catch_unwind(held).is_err());
    assert_eq!(bulkhead.in_use(), 0);
    // And a waker that panics takes nothing with it: the permit was given before.
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("in a waker");
        }
    }
    let permit = enter(&bulkhead, &one);
    let mut wait = line_up(&bulkhead, &one);
    assert!(poll_with(&mut wait, &Waker::from(Arc::new(Bad))).is_none());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(permit))).is_err());
    assert!(poll(&mut wait).is_some());
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (0, 0));
}

#[test]
fn a_wait_goes_to_any_thread() {
    fn is<T: Send + Unpin + Sync + 'static>() {}
    is::<Wait>();
    is::<Permit>();
}

#[test]
fn under_threads_there_are_never_too_many_and_nobody_is_forgotten() {
    const EACH: u32 = 2_000;
    let three = settings(3, 2);
    let bulkhead = Bulkhead::new(&three);
    let (inside, most, done) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (bulkhead, three) = (&bulkhead, &three);
            let (inside, most, done) = (&inside, &most, &done);
            scope.spawn(move || {
                for i in 0..EACH {
                    let permit = match bulkhead.try_enter(three) {
                        Entry::In(permit) => permit,
                        // Every third one that would wait changes its mind.
                        Entry::Line(_) if (i + thread) % 3 == 0 => continue,
                        // A permit that is never given shows as a test that never ends.
                        Entry::Line(wait) => block_on(wait),
                        Entry::Full => continue,
                    };
                    let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    if i % 64 == 0 {
                        std::thread::yield_now();
                    }
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert!(done.load(Ordering::SeqCst) >= 3, "the test did something");
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (0, 0));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Enter,
    /// A permit comes back.
    Leave(prop::sample::Index),
    /// One that waits looks; in any order.
    Look(prop::sample::Index),
    /// One that waits, or has been given a permit and didn't look yet, is dropped.
    Cancel(prop::sample::Index),
    Resize(u32, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = || any::<prop::sample::Index>();
    let step = prop_oneof![
        6 => Just(Step::Enter),
        4 => which().prop_map(Step::Leave),
        4 => which().prop_map(Step::Look),
        2 => which().prop_map(Step::Cancel),
        1 => (1u32..6, 0u32..6).prop_map(|(concurrency, queue)| Step::Resize(concurrency, queue)),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    /// Beside a list of who waits, of which the first are given what is free after each step.
    #[test]
    fn it_is_a_line_of_waiters(steps in steps()) {
        let mut current = settings(2, 3);
        let bulkhead = Bulkhead::new(&current);
        let mut permits: Vec<Permit> = Vec::new();
        // By name; of `waits` those whose name isn't in `line` have a permit.
        let mut waits: Vec<(u32, Wait)> = Vec::new();
        let (mut line, mut held): (VecDeque<u32>, u32) = (VecDeque::new(), 0);
        for (name, step) in (0u32..).zip(steps) {
            match step {
                Step::Enter => match bulkhead.try_enter(&current) {
                    Entry::In(permit) => {
                        prop_assert!(line.is_empty() && held < current.concurrency);
                        permits.push(permit);
                        held += 1;
                    }
                    Entry::Line(wait) => {
                        prop_assert!(held >= current.concurrency);
                        prop_assert!(line.len() < current.queue as usize);
                        waits.push((name, wait));
                        line.push_back(name);
                    }
                    Entry::Full => {
                        prop_assert!(held >= current.concurrency);
                        prop_assert!(line.len() >= current.queue as usize);
                    }
                }
                Step::Leave(which) => if !permits.is_empty() {
                    drop(permits.swap_remove(which.index(permits.len())));
                    held -= 1;
                }
                Step::Look(which) => if !waits.is_empty() {
                    let index = which.index(waits.len());
                    let (name, wait) = &mut waits[index];
                    let given = poll(wait);
                    prop_assert_eq!(given.is_none(), line.contains(name));
                    if let Some(permit) = given {
                        permits.push(permit);
                        drop(waits.swap_remove(index));
                    }
                }
                Step::Cancel(which) => if !waits.is_empty() {
                    let (name, wait) = waits.swap_remove(which.index(waits.len()));
                    drop(wait);
                    if line.contains(&name) {
                        line.retain(|other| *other != name);
                    } else {
                        held -= 1;
                    }
                }
                Step::Resize(concurrency, queue) => {
                    current = settings(concurrency, queue);
                    bulkhead.changed(&current);
                }
            }
            while held < current.concurrency && line.pop_front().is_some() {
                held += 1;
            }
            let waiting = u32::try_from(line.len()).unwrap();
            prop_assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (held, waiting));
        }
        drop((permits, waits));
        prop_assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (0, 0));
    }
}
