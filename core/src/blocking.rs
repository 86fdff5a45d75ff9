//! Where a thread may block: the rule of all blocking forms.
//!
//! They are for threads that carry no actors: a plain thread, a worker of somebody else's runtime. On an
//! arbiter one of them would stop everything that lives there, and wait for itself if the answer has to come
//! from the same thread. So it is refused there always, not only when it would have to wait: a mistake that
//! shows in the first test is worth more than one that shows under load.

use crate::boundary::Verdict;
use crate::error::{Failure, FailureKind};
use crate::executor;
use crate::fault::{Classified, FailureClass};
use crate::system::System;

/// Why a blocking form was refused. Nothing has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockingError {
    /// It was called on the thread of an arbiter, which must not block. A simulation's thread is that of all
    /// its arbiters.
    #[error("this thread is an arbiter and must not block: use the form that is awaited")]
    OnArbiter,
}

/// A mistake in the program: a fresh start won't help.
impl Classified for BlockingError {
    fn class(&self) -> FailureClass {
        FailureClass::Fatal
    }
}

impl From<BlockingError> for Failure {
    fn from(error: BlockingError) -> Failure {
        Failure::new(FailureKind::OnArbiter, Verdict::NotSent).with_detail(error.to_string())
    }
}

/// Whether the calling thread may wait for something that happens in `system`.
pub(crate) fn check(system: &System) -> Result<(), BlockingError> {
    let its_only = || {
        let thread = system.executor().only_thread();
        thread.is_some_and(|thread| thread == std::thread::current().id())
    };
    if its_only() {
        return Err(BlockingError::OnArbiter);
    }
    check_thread()
}

/// Whether the calling thread may wait for something that happens in no system.
pub(crate) fn check_thread() -> Result<(), BlockingError> {
    match executor::here() {
        Some(_) => Err(BlockingError::OnArbiter),
        None => Ok(()),
    }
}
