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
        if !self.try_take() {
            self.wait();
        }
        SpinGuard {
            lock: self,
            #[cfg(loom)]
            access: Some(self.value.get_mut()),
        }
    }

    #[cold]
    fn wait(&self) {
        let mut spins = 0;
        loop {
            while self.looks_locked() {
                spins += 1;
                if spins < SPINS {
                    std::hint::spin_loop();
                } else {
                    std::thread::yield_now();
                }
            }
            if self.try_take() {
                return;
            }
        }
    }

    /// A try that fails writes what is there already.
    #[cfg(not(loom))]
    #[inline]
    fn try_take(&self) -> bool {
        !self.locked.swap(true, Ordering::Acquire)
    }

    /// Under loom a try that fails writes nothing: loom takes such a write for newer than the holder's
    /// release and would have a waiter read its own for ever.
    #[cfg(loom)]
    fn try_take(&self) -> bool {
        let tried = self
            .locked
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        tried.is_ok()
    }

    /// A cheap look before the next try. It may be stale, so nothing rests on it.
    #[cfg(not(loom))]
    fn looks_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed)
    }

    /// Under loom, which would have it be stale for ever: the others go on, then the next try.
    #[cfg(loom)]
    fn looks_locked(&self) -> bool {
        loom::thread::yield_now();
        false
    }
}

impl<T> fmt::Debug for SpinLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinLock").finish_non_exhaustive()
    }
}

pub(crate) struct SpinGuard<'a, T> {
    lock: &'a SpinLock<T>,
    /// What loom watches: two of these at once, or one that doesn't see what another wrote, fail a model.
    #[cfg(loom)]
    access: Option<loom::cell::MutPtr<T>>,
}

#[cfg(loom)]
impl<T> SpinGuard<'_, T> {
    fn access(&self) -> &loom::cell::MutPtr<T> {
        match &self.access {
            Some(access) => access,
            None => unreachable!("bug: a guard is used after its drop"),
        }
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard exists only while the lock is held, and there is one guard at a time.
        #[cfg(not(loom))]
        return unsafe { &*self.lock.value.get() };
        // SAFETY: as above; loom checks it.
        #[cfg(loom)]
        return unsafe { self.access().deref() };
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `&mut self` makes the reference the only one from this guard.
        #[cfg(not(loom))]
        return unsafe { &mut *self.lock.value.get() };
        // SAFETY: as above; loom checks it.
        #[cfg(loom)]
        return unsafe { self.access().deref() };
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(loom)]
        drop(self.access.take());
        self.lock.locked.store(false, Ordering::Release);
    }
}
