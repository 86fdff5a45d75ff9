//! What other threads hand to an arbiter, and the flag by which nothing of it is left lying.
//!
//! A file of its own, so that `core/loom` can take it in: the order in which a flag is raised, lowered and
//! looked behind decides whether an arbiter goes to sleep with work in its hands.

#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use parking_lot::Mutex;

#[cfg(loom)]
use crate::sync::Mutex;

/// Says that there is something to see to, and that somebody has been told.
///
/// Who leaves something leaves it first and raises the flag then; who sees to it lowers the flag first and
/// looks then. So what is left is seen by the look, or raises a flag that is down, and somebody is told.
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn new(raised: bool) -> Self {
        Flag(AtomicBool::new(raised))
    }

    /// Answers whether it was down: then it is for the caller to tell somebody.
    #[inline]
    #[must_use]
    pub(crate) fn raise(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Before the look. What was left before any raise until now is seen by it: for that it is a swap, not
    /// a store.
    #[inline]
    pub(crate) fn lower(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }

    /// A look that costs no read-modify-write, and may come too early: who raises the flag after it tells
    /// somebody.
    #[inline]
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Where other threads leave what is for an arbiter.
pub(crate) struct Injector<T> {
    waiting: Mutex<Vec<T>>,
    /// Raised while something waits that the driver hasn't looked at.
    pub(super) notified: Flag,
    /// The driver is running, and will look once more before it rests: it needn't be woken.
    listening: AtomicBool,
    /// Set under the lock, so that nothing is put in after the end has taken what there was.
    ended: AtomicBool,
}

impl<T> Injector<T> {
    pub(crate) fn new() -> Self {
        Injector {
            waiting: Mutex::new(Vec::new()),
            notified: Flag::new(false),
            listening: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    /// Puts things in under one lock. Answers whether the driver must be woken for them; gives them back if
    /// it has ended, to be dropped outside the lock.
    #[inline]
    pub(crate) fn put<I: IntoIterator<Item = T>>(&self, things: I) -> Result<bool, I> {
        let mut waiting = self.waiting.lock();
        if self.ended.load(Ordering::Relaxed) {
            return Err(things);
        }
        waiting.extend(things);
        drop(waiting);
        if !self.notified.raise() {
            return Ok(false);
        }
        // Either this sees that the driver listens no more, or the driver's last look sees the flag.
        fence(Ordering::SeqCst);
        Ok(!self.listening.load(Ordering::Relaxed))
    }

    /// The driver runs from now on.
    #[inline]
    pub(crate) fn listen(&self) {
        self.listening.store(true, Ordering::Relaxed);
    }

    /// The driver is about to rest: from now on it has to be woken. Answers whether something has come
    /// meanwhile for which nobody woke it.
    #[inline]
    #[must_use]
    pub(crate) fn rest(&self) -> bool {
        self.listening.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.notified.is_raised()
    }

    /// Swaps what has come, if anything has, against an empty list; answers whether it did. For the driver,
    /// which must have left word before how to wake it.
    #[inline]
    #[must_use]
    pub(crate) fn take(&self, empty: &mut Vec<T>) -> bool {
        if !self.notified.is_raised() {
            return false;
        }
        self.notified.lower();
        std::mem::swap(empty, &mut *self.waiting.lock());
        true
    }

    /// Takes nothing any more, and hands over what was waiting.
    pub(crate) fn end(&self) -> Vec<T> {
        let mut waiting = self.waiting.lock();
        self.ended.store(true, Ordering::Relaxed);
        std::mem::take(&mut *waiting)
    }

    /// Whether it has ended; certain only on the thread that ends it.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_woken_once_for_all_that_comes_before_it_looks() {
        let injector = Injector::new();
        assert_eq!(injector.put([1]), Ok(true));
        assert_eq!(injector.put([2, 3]), Ok(false));
        let mut taken = Vec::new();
        assert!(injector.take(&mut taken));
        assert_eq!(taken, [1, 2, 3]);
        assert!(!injector.take(&mut taken));
        assert_eq!(injector.put([4]), Ok(true));
    }

    #[test]
    fn after_the_end_everything_comes_back() {
        let injector = Injector::new();
        assert_eq!(injector.put([1]), Ok(true));
        assert!(!injector.has_ended());
        assert_eq!(injector.end(), [1]);
        assert!(injector.has_ended());
        assert_eq!(injector.put([2]), Err([2]));
        assert!(injector.end().is_empty());
    }
}
