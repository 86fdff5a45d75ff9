//! Two owners: each sees what the other did, the second to go frees, once, and who is told that it is alone
//! is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::cell::UnsafeCell;
use loom::thread;

use super::with_preemptions;
use crate::two::Half;

/// What both own. Not an atomic in it that loom knows: an access that the protocol doesn't order after those
/// of the other thread fails a model.
struct Value {
    cell: UnsafeCell<Vec<Step>>,
    drops: Arc<AtomicUsize>,
    /// Owners that will work on it again.
    at_work: Arc<AtomicUsize>,
}

// SAFETY: a model; loom fails it if an access isn't ordered after those of the other thread.
#[allow(unsafe_code)]
unsafe impl Send for Value {}

impl Value {
    /// Notes a step; answers how many there were.
    fn note(&self, step: Step) -> usize {
        self.cell.with_mut(|cell| {
            // SAFETY: one at a time, and loom checks that.
            #[allow(unsafe_code)]
            let steps = unsafe { &mut *cell };
            steps.push(step);
            steps.len() - 1
        })
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: whoever drops is the last, and loom checks that.
        #[allow(unsafe_code)]
        self.cell.with_mut(|cell| unsafe { (*cell).clear() });
        assert_eq!(self.at_work.load(Ordering::SeqCst), 0);
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

/// What an owner does. All but the first two are its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    With,
    Alone,
    Leave,
    Drop,
    /// Leaves, and panics at work.
    Panic,
}

use Step::{Alone, Drop as DropIt, Leave, Panic, With};

/// Does these steps. Answers how often it was told that it is alone.
fn work(mut half: Half<Value>, at_work: &AtomicUsize, steps: &[Step]) -> usize {
    let mut told = 0;
    // Who is alone stays alone, and stays without company.
    let check = |alone: bool, told: &mut usize| {
        assert!(alone || *told == 0, "alone, then not");
        if alone {
            assert_eq!(
                at_work.load(Ordering::SeqCst),
                1,
                "alone while the other works"
            );
            *told += 1;
        }
    };
    for step in steps {
        match step {
            With => half.with(|value, alone| {
                value.note(With);
                check(alone, &mut told);
            }),
            Alone => {
                let alone = half.alone(|value| value.note(Alone)).is_some();
                check(alone, &mut told);
            }
            Leave => {
                half.leave(|value, alone| {
                    value.note(Leave);
                    check(alone, &mut told);
                    at_work.fetch_sub(1, Ordering::SeqCst);
                });
                return told;
            }
            Panic => {
                let panics = || {
                    half.leave(|value, alone| {
                        value.note(Panic);
                        check(alone, &mut told);
                        at_work.fetch_sub(1, Ordering::SeqCst);
                        // Without a word on standard error for each interleaving.
                        std::panic::resume_unwind(Box::new(()));
                    });
                };
                let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics));
                assert!(caught.is_err());
                return told;
            }
            DropIt => {
                at_work.fetch_sub(1, Ordering::SeqCst);
                drop(half);
                return told;
            }
        }
    }
    panic!("an owner goes in the end");
}

/// Two owners on two threads, under every interleaving. Answers how often either was told that it is alone.
fn both(first: &'static [Step], second: &'static [Step]) -> [usize; 2] {
    let told = Arc::new([const { AtomicUsize::new(0) }; 2]);
    let tell = Arc::clone(&told);
    with_preemptions(4, move || {
        let drops = Arc::new(AtomicUsize::new(0));
        let at_work = Arc::new(AtomicUsize::new(2));
        let (left, right) = pair(&drops, &at_work);
        let theirs = Arc::clone(&at_work);
        let thread = thread::spawn(move || work(left, &theirs, first));
        let right = work(right, &at_work, second);
        let left = thread.join().unwrap();
        assert!(left == 0 || right == 0, "only one of two can be left alone");
        assert_eq!(drops.load(Ordering::SeqCst), 1);
        tell[0].fetch_add(left, Ordering::SeqCst);
        tell[1].fetch_add(right, Ordering::SeqCst);
    });
    [0, 1].map(|owner: usize| told[owner].load(Ordering::SeqCst))
}

fn pair(drops: &Arc<AtomicUsize>, at_work: &Arc<AtomicUsize>) -> (Half<Value>, Half<Value>) {
    Half::pair(|| Value {
        cell: UnsafeCell::new(Vec::new()),
        drops: Arc::clone(drops),
        at_work: Arc::clone(at_work),
    })
}

/// Every way to go.
const GOING: [&[Step]; 4] = [
    &[With, Leave],
    &[With, DropIt],
    &[Alone, Leave],
    &[Alone, DropIt],
];

#[test]
fn whoever_goes_second_drops_the_value_once_and_sees_what_the_other_did() {
    let mut told = [0, 0];
    for first in GOING {
        for second in GOING {
            let [left, right] = both(first, second);
            told = [told[0] + left, told[1] + right];
        }
    }
    assert!(told[0] > 0 && told[1] > 0, "either may be the last");
}

#[test]
fn an_owner_that_works_again_and_again_learns_that_it_is_alone() {
    assert!(both(&[Leave], &[With, Alone, With, Alone, Leave])[1] > 0);
    assert!(both(&[DropIt], &[Alone, With, With, DropIt])[1] > 0);
    assert!(both(&[With, With, Leave], &[Alone, With, Alone, DropIt])[1] > 0);
}

#[test]
fn work_that_panics_leaves_the_value_to_the_other() {
    for second in GOING {
        loom::model(move || {
            let drops = Arc::new(AtomicUsize::new(0));
            let at_work = Arc::new(AtomicUsize::new(2));
            let (left, right) = pair(&drops, &at_work);
            let theirs = Arc::clone(&at_work);
            let thread = thread::spawn(move || work(left, &theirs, &[Panic]));
            right.with(|value, _| value.note(With));
            // Who panics as the last keeps the memory from being freed, so here it isn't the last.
            thread.join().unwrap();
            let told = work(right, &at_work, second);
            assert!(told > 0);
            assert_eq!(drops.load(Ordering::SeqCst), 1);
        });
    }
}

#[test]
fn an_owner_that_panics_while_it_only_works_is_still_an_owner() {
    loom::model(|| {
        let (left, right) = Half::pair(|| 0_u32);
        let thread = thread::spawn(move || {
            let panics = || {
                left.with(|value, _| {
                    *value += 1;
                    std::panic::resume_unwind(Box::new(()));
                });
            };
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics));
            assert!(caught.is_err());
            left.leave(|value, _| *value += 1);
        });
        right.with(|value, _| *value += 1);
        let mut right = right;
        thread.join().unwrap();
        assert_eq!(right.alone(|value| *value), Some(3));
        drop(right);
    });
}
