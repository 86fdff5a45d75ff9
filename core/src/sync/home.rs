//! State that belongs to one arbiter's thread but sits in memory that all threads can see.
//!
//! An actor's cell is shared; its body (the actor itself, the running handler) is its arbiter's alone.
//! [`Home`] makes that a rule that is checked: [`enter`](Home::enter) answers `None` on any other thread,
//! and while the state is in use further down the stack.
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

thread_local! {
    /// The number of the arbiter whose code runs now; 0 where there is none.
    static CURRENT: Cell<u32> = const { Cell::new(0) };
}

/// The number of the arbiter that this code runs on; 0 if it runs on none.
#[inline]
pub(crate) fn current_arbiter() -> u32 {
    CURRENT.with(Cell::get)
}

/// Says which arbiter runs on this thread from now on, and returns what was said before.
///
/// Numbers are unique in the process, and one number never runs on two threads: arbiters keep their
/// thread for life, and a simulation can't be sent to another.
pub(crate) fn set_current_arbiter(number: u32) -> u32 {
    CURRENT.with(|current| current.replace(number))
}

pub(crate) struct Home<T> {
    owner: u32,
    /// Touched by the owner's thread only.
    busy: Cell<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: `busy` and `value` are touched only by code that runs as `owner`, which is one thread. A `T`
// that is dropped elsewhere with the `Home` must not mind: owners empty it first (see `Body`).
unsafe impl<T> Send for Home<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Home<T> {}

impl<T> Home<T> {
    /// State of the arbiter with that number (not 0).
    pub(crate) fn new(owner: u32, value: T) -> Self {
        Home {
            owner,
            busy: Cell::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// The state, if this is its thread and nobody up the stack is using it.
    #[inline]
    pub(crate) fn enter(&self) -> Option<HomeGuard<'_, T>> {
        if self.owner != current_arbiter() || self.busy.replace(true) {
            return None;
        }
        Some(HomeGuard {
            home: self,
            here: PhantomData,
        })
    }
}

impl<T> fmt::Debug for Home<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// The use of a [`Home`]. Gives shared access: what changes inside is in cells.
pub(crate) struct HomeGuard<'a, T> {
    home: &'a Home<T>,
    /// Not `Send`: it stays on the owner's thread.
    here: PhantomData<*const ()>,
}

impl<T> Deref for HomeGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `enter` checked the thread, which a guard can't leave, and that there is no other guard.
        unsafe { &*self.home.value.get() }
    }
}

impl<T> Drop for HomeGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.home.busy.set(false);
    }
}
