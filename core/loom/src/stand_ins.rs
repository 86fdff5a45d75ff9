//! What the reply slot names of the rest of core, without what it does there.

pub(crate) mod current {
    pub(crate) fn is_killing() -> bool {
        false
    }
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

    /// Models run on no arbiter.
    pub(crate) fn here() -> Option<Arc<Arbiter>> {
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
