//! A value with exactly two owners: an asker and whoever answers. The second to go frees it.
//!
//! The lock of the value and the mark that one owner has gone are one byte, so that the last thing an
//! owner does with the value and its leaving cost one read-modify-write together; and who is left alone
//! needs none.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;

#[cfg(loom)]
use loom::{cell::UnsafeCell, sync::atomic::AtomicU8, sync::atomic::Ordering};
#[cfg(not(loom))]
use std::{cell::UnsafeCell, sync::atomic::AtomicU8, sync::atomic::Ordering};

use super::PoolBox;

/// An owner works on the value.
const LOCKED: u8 = 1;
/// One owner has gone.
const HALVED: u8 = 2;
/// How often a waiter looks before it yields its core.
const SPINS: u32 = 64;

struct Shared<T> {
    state: AtomicU8,
    value: UnsafeCell<T>,
}

/// One of the two owners.
pub(crate) struct Half<T> {
    shared: PoolBox<Shared<T>>,
}

// SAFETY: the value is reached by one thread at a time (under the lock, or because the other owner has
// gone), and the last owner drops it where it is; both need `T: Send` and no more.
unsafe impl<T: Send> Send for Half<T> {}
// SAFETY: through `&Half` the value is reached under the lock only.
unsafe impl<T: Send> Sync for Half<T> {}

impl<T> Half<T> {
    /// The two owners of a value.
    #[inline]
    pub(crate) fn pair(make: impl FnOnce() -> T) -> (Half<T>, Half<T>) {
        let first = PoolBox::new(|| Shared {
            state: AtomicU8::new(0),
            value: UnsafeCell::new(make()),
        });
        // SAFETY: `HALVED` sees to it that the second of the two to go frees, and only it.
        let second = unsafe { first.alias() };
        (Half { shared: first }, Half { shared: second })
    }

    /// Works on the value. Told is whether the other owner has gone.
    #[inline]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T, bool) -> R) -> R {
        let before = self.shared.lock();
        let _unlock = Unlock {
            state: &self.shared.state,
            to: before,
        };
        self.shared.access(|value| work(value, before == HALVED))
    }

    /// Works on the value for the last time and goes. Told is whether the other owner has gone before.
    #[inline]
    pub(crate) fn leave<R>(self, work: impl FnOnce(&mut T, bool) -> R) -> R {
        let mut this = ManuallyDrop::new(self);
        let before = this.shared.lock();
        let unlock = Unlock {
            state: &this.shared.state,
            to: HALVED,
        };
        let done = this.shared.access(|value| work(value, before == HALVED));
        if before == HALVED {
            std::mem::forget(unlock);
            // SAFETY: the other owner went before, so this was the last use.
            unsafe { this.shared.free() };
        }
        done
    }

    /// Works on the value without the lock, if the other owner has gone.
    #[inline]
    pub(crate) fn alone<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        // Acquire: what the other owner did last comes before what is done here.
        if self.shared.state.load(Ordering::Acquire) == HALVED {
            Some(self.shared.access(work))
        } else {
            None
        }
    }
}

impl<T> Shared<T> {
    /// Takes the lock, and answers whether an owner has gone: `HALVED` or 0.
    #[inline]
    fn lock(&self) -> u8 {
        // Who finds itself alone takes nothing: nobody else will come.
        if self.state.load(Ordering::Acquire) == HALVED {
            return HALVED;
        }
        match self.try_lock() {
            Some(before) => before,
            None => self.wait(),
        }
    }

    #[cfg(not(loom))]
    #[inline]
    fn try_lock(&self) -> Option<u8> {
        // A swap may wipe the other owner's mark out, but not unseen: who sees it puts it back, and nobody
        // else comes.
        let before = self.state.swap(LOCKED, Ordering::Acquire);
        (before != LOCKED).then_some(before)
    }

    /// Under loom a try that fails writes nothing: see the lock in `spin`.
    #[cfg(loom)]
    fn try_lock(&self) -> Option<u8> {
        let before = self.state.load(Ordering::Relaxed);
        if before == LOCKED {
            return None;
        }
        self.state
            .compare_exchange(before, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .ok()
    }

    #[cold]
    #[cfg_attr(loom, expect(unused, reason = "under loom a waiter doesn't spin"))]
    fn wait(&self) -> u8 {
        let mut spins = 0;
        loop {
            spins += 1;
            #[cfg(loom)]
            loom::thread::yield_now();
            #[cfg(not(loom))]
            if spins < SPINS {
                std::hint::spin_loop();
                continue;
            } else {
                std::thread::yield_now();
            }
            if let Some(before) = self.try_lock() {
                return before;
            }
        }
    }

    /// Reaches the value. Under the lock, or alone.
    #[inline]
    fn access<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: callers hold the lock or are alone, so there is no other reference.
        #[cfg(not(loom))]
        return work(unsafe { &mut *self.value.get() });
        // SAFETY: as above; loom checks it.
        #[cfg(loom)]
        return self.value.with_mut(|value| work(unsafe { &mut *value }));
    }
}

/// Gives the lock back, also when the work panics.
struct Unlock<'a> {
    state: &'a AtomicU8,
    to: u8,
}

impl Drop for Unlock<'_> {
    #[inline]
    fn drop(&mut self) {
        self.state.store(self.to, Ordering::Release);
    }
}

impl<T> Drop for Half<T> {
    #[inline]
    fn drop(&mut self) {
        let before = self.shared.lock();
        if before == HALVED {
            // SAFETY: the other owner went before, so this is the last use.
            unsafe { self.shared.free() };
        } else {
            self.shared.state.store(HALVED, Ordering::Release);
        }
    }
}

impl<T> fmt::Debug for Half<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Half").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_second_to_go_drops_the_value_once() {
        let value = Arc::new(());
        let (left, mut right) = Half::pair(|| Arc::clone(&value));
        assert!(right.alone(|_| ()).is_none());
        assert!(left.leave(|_, alone| !alone));
        assert_eq!(Arc::strong_count(&value), 2);
        assert!(right.with(|_, alone| alone));
        assert!(right.alone(|_| ()).is_some());
        assert!(right.leave(|_, alone| alone));
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn a_value_larger_than_a_block_and_one_over_aligned_have_memory_of_their_own() {
        #[repr(C, align(64))]
        struct Wide([u8; 64], Arc<()>);
        let count = Arc::new(());
        let (left, right) = Half::pair(|| Wide([7; 64], Arc::clone(&count)));
        left.with(|wide, _| assert_eq!(std::ptr::from_ref(wide).addr() % 64, 0));
        let inner = right.with(|wide, _| {
            assert_eq!(wide.0[63], 7);
            Arc::clone(&wide.1)
        });
        let big = Half::pair(|| (inner, [0_u8; 1_000]));
        drop((left, right, big));
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn work_that_panics_leaves_the_value_to_the_other() {
        let (left, right) = Half::pair(|| 1);
        let work = || left.leave(|_, _| panic!("at work"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err());
        assert!(right.leave(|value, alone| alone && *value == 1));
    }

    #[test]
    fn halves_can_end_on_two_threads() {
        for _ in 0..1_000 {
            let value = Arc::new(());
            let (left, right) = Half::pair(|| Arc::clone(&value));
            std::thread::scope(|scope| {
                scope.spawn(move || drop(left));
                scope.spawn(move || right.leave(|_, _| ()));
            });
            assert_eq!(Arc::strong_count(&value), 1);
        }
    }
}
