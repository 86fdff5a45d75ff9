//! A value with exactly two owners: an asker and whoever answers. The second to go frees it.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};

use super::PoolBox;

struct Shared<T> {
    /// One owner has gone.
    halved: AtomicBool,
    value: T,
}

/// One of the two owners.
pub(crate) struct Half<T> {
    shared: PoolBox<Shared<T>>,
}

// SAFETY: a half gives shared access to `T` from its thread (`T: Sync`), and the last one drops `T` there
// (`T: Send`).
unsafe impl<T: Send + Sync> Send for Half<T> {}
// SAFETY: a shared half gives shared access only.
unsafe impl<T: Send + Sync> Sync for Half<T> {}

impl<T> Half<T> {
    /// The two owners of a value.
    pub(crate) fn pair(value: T) -> (Half<T>, Half<T>) {
        let first = PoolBox::new(Shared {
            halved: AtomicBool::new(false),
            value,
        });
        // SAFETY: `halved` sees to it that the second of the two to be dropped frees, and only it.
        let second = unsafe { first.alias() };
        (Half { shared: first }, Half { shared: second })
    }
}

impl<T> Deref for Half<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.shared.value
    }
}

impl<T> Drop for Half<T> {
    #[inline]
    fn drop(&mut self) {
        // Release: what this half did comes before the other frees. Acquire: what the other did comes
        // before this half frees.
        if self.shared.halved.swap(true, Ordering::AcqRel) {
            // SAFETY: the other half has gone, so this is the last use.
            unsafe { self.shared.free() };
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Half<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.value.fmt(f)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_second_to_go_drops_the_value_once() {
        let value = Arc::new(());
        let (left, right) = Half::pair(Arc::clone(&value));
        drop(left);
        assert_eq!(Arc::strong_count(&value), 2);
        drop(right);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn a_value_larger_than_a_block_and_one_over_aligned_have_memory_of_their_own() {
        #[repr(C, align(64))]
        struct Wide([u8; 64], Arc<()>);
        let count = Arc::new(());
        let (left, right) = Half::pair(Wide([7; 64], Arc::clone(&count)));
        assert_eq!(std::ptr::from_ref(&left.0).addr() % 64, 0);
        assert_eq!(right.0[63], 7);
        let big = Half::pair((Arc::clone(&left.1), [0_u8; 1_000]));
        drop((left, right, big));
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn halves_can_end_on_two_threads() {
        for _ in 0..1_000 {
            let value = Arc::new(());
            let (left, right) = Half::pair(Arc::clone(&value));
            std::thread::scope(|scope| {
                scope.spawn(move || drop(left));
                scope.spawn(move || drop(right));
            });
            assert_eq!(Arc::strong_count(&value), 1);
        }
    }
}
