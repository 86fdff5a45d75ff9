//! A lock that costs one read-modify-write to take and one store to release.
//!
//! Critical sections here are a few dozen instructions and never run user code, so a waiter spins briefly
//! and then gives its core away: the holder may have been preempted.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::{Deref, DerefMut};

#[cfg(loom)]
use loom::{cell::UnsafeCell, sync::atomic::AtomicBool, sync::atomic::Ordering};
#[cfg(not(loom))]
use std::{cell::UnsafeCell, sync::atomic::AtomicBool, sync::atomic::Ordering};

/// How often a waiter looks before it yields its core.
const SPINS: u32 = 64;

pub(crate) struct SpinLock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a guard, and there is one guard at a time; handing `&mut T`
// from thread to thread needs `T: Send`.
unsafe impl<T: Send> Send for SpinLock<T> {}
// SAFETY: as above; the lock never gives out two references at once, so `T: Sync` isn't needed.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    pub(crate) fn new(value: T) -> Self {
        SpinLock {
            locked: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        if self.locked.swap(true, Ordering::Acquire) {
            self.wait();
        }
        SpinGuard { lock: self }
    }

    #[cold]
    fn wait(&self) {
        let mut spins = 0;
        loop {
            while self.locked.load(Ordering::Relaxed) {
                spins += 1;
                if spins < SPINS {
                    std::hint::spin_loop();
                } else {
                    #[cfg(loom)]
                    loom::thread::yield_now();
                    #[cfg(not(loom))]
                    std::thread::yield_now();
                }
            }
            if !self.locked.swap(true, Ordering::Acquire) {
                return;
            }
        }
    }
}

impl<T> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinLock").finish_non_exhaustive()
    }
}

pub(crate) struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        #[cfg(not(loom))]
        let value = self.lock.value.get();
        #[cfg(loom)]
        let value = self.lock.value.with(|value| value.cast_mut());
        // SAFETY: this guard exists only while the lock is held, and there is one guard at a time.
        unsafe { &*value }
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        #[cfg(not(loom))]
        let value = self.lock.value.get();
        #[cfg(loom)]
        let value = self.lock.value.with_mut(|value| value);
        // SAFETY: as in `deref`; `&mut self` makes the reference the only one from this guard.
        unsafe { &mut *value }
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.locked.store(false, Ordering::Release);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn increments_are_not_lost() {
        loom::model(|| {
            let lock = Arc::new(SpinLock::new(0));
            let other = Arc::clone(&lock);
            let thread = loom::thread::spawn(move || *other.lock() += 1);
            *lock.lock() += 1;
            thread.join().unwrap();
            assert_eq!(*lock.lock(), 2);
        });
    }
}
