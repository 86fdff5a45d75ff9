//! What the files under test name of the rest of core, without what it does there.

pub(crate) mod current {
    pub(crate) fn is_killing() -> bool {
        false
    }
}

pub(crate) mod waits {
    /// That a handler waits. No model has handlers.
    pub(crate) struct Wait;
}

pub(crate) mod driver {
    use std::sync::Arc;
    use std::task::Waker;

    pub(crate) enum Parcel {
        Wake(Waker),
    }

    pub(crate) struct Arbiter;

    impl Arbiter {
        pub(crate) fn is_here(&self) -> bool {
            true
        }

        pub(crate) fn send(self: &Arc<Self>, parcel: Parcel) -> bool {
            let Parcel::Wake(waker) = parcel;
            waker.wake();
            true
        }
    }

    /// Models run in no turn of a driver: who waits is woken directly.
    pub(crate) fn batches_wakes() -> Option<Arc<Arbiter>> {
        None
    }
}

pub(crate) mod error {
    use crate::boundary::Verdict;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum FailureKind {
        Stopped,
        Killed,
        Panicked,
        NoAnswer,
    }

    #[derive(Debug, PartialEq, Eq)]
    pub struct Failure(pub FailureKind, pub Verdict);

    impl Failure {
        pub(crate) fn new(kind: FailureKind, verdict: Verdict) -> Self {
            Failure(kind, verdict)
        }
    }
}

pub(crate) mod home {
    use std::cell::Cell;

    loom::thread_local! {
        static CURRENT: Cell<u32> = Cell::new(0);
    }

    pub(crate) fn current_arbiter() -> u32 {
        CURRENT.with(Cell::get)
    }

    pub(crate) fn set_current_arbiter(number: u32) -> u32 {
        CURRENT.with(|current| current.replace(number))
    }
}

/// The lock of `parking_lot` where a model must see it: one that it doesn't see may not be held while loom
/// switches threads, and orders nothing.
pub(crate) mod lock {
    use loom::sync::MutexGuard;

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }
}
