//! Whether an arbiter has anything to do, as others may ask: for tests that wait until nothing has.
//!
//! Without the feature `test` nobody can ask, and there is nothing here.

#[cfg(feature = "test")]
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that grows with each change between moving (odd) and resting (even).
///
/// Only the arbiter's thread writes it: it says that it moves before it takes what was handed to it, or puts
/// something into its own run queue; and that it rests when the queue is empty, and what its turns had for others
/// is handed over. So whatever there is to do lies with an arbiter that moves, or in an injector that says so.
///
/// Who looks at all arbiters twice, and finds the same even numbers and between the two looks no injector that
/// holds something, knows that there was a moment, between the looks, at which nothing was to be done anywhere:
/// the numbers stood still from the last first look to the first second one, so nobody took anything in
/// meanwhile; and what an arbiter had handed over before it came to rest would have been seen in an injector.
#[derive(Default)]
pub(crate) struct Stillness {
    #[cfg(feature = "test")]
    number: AtomicU64,
}

#[cfg(feature = "test")]
impl Stillness {
    /// There may be something to do from now on.
    #[inline]
    pub(super) fn moves(&self) {
        self.become_odd(true);
    }

    /// There is nothing to do.
    #[inline]
    pub(super) fn rests(&self) {
        self.become_odd(false);
    }

    fn become_odd(&self, odd: bool) {
        // By one thread only, so that no atomic addition is needed.
        let number = self.number.load(Ordering::Relaxed);
        if (number % 2 == 1) != odd {
            self.number.store(number + 1, Ordering::SeqCst);
        }
    }

    /// The number, if it says that there is nothing to do.
    pub(super) fn look(&self) -> Option<u64> {
        let number = self.number.load(Ordering::SeqCst);
        number.is_multiple_of(2).then_some(number)
    }
}

#[cfg(not(feature = "test"))]
impl Stillness {
    #[inline]
    pub(super) fn moves(&self) {
        let _ = self;
    }

    #[inline]
    pub(super) fn rests(&self) {
        let _ = self;
    }
}
