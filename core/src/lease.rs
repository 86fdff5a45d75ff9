//! Who may hold something, and until when: the seam between locks and what grants them.
//!
//! A lock of one process is granted by an actor; one that several nodes share is granted by whatever they agree
//! on. The handle that a program holds ([`locks::Mutex`](crate::locks::Mutex)) is the same for all.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;

use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::error::Failure;
use crate::locks::{LockState, Stale, Token};
use crate::responder::Responder;
use crate::system::System;

/// What is granted for a time under one name: a number of units, all of which the holder of a mutex has.
///
/// Whoever implements it keeps G31: the units of all leases that haven't ended are never more than there are;
/// each grant has a higher token than all before; wishes are granted in the order they came.
pub trait Leases: Send + Sync + 'static {
    /// What is leased.
    fn name(&self) -> &Arc<str>;

    /// The system whose clock [`Grant::ends`] is a point of.
    fn system(&self) -> &System;

    /// How many units there are, at least 1.
    fn units(&self) -> u32;

    /// Waits in line and grants. The wish is for no more units than there are.
    ///
    /// # Errors
    /// Nothing is held then. `DeadlineExceeded` if the wish's deadline passed, `Overloaded` if too many wait,
    /// `Stopped` if nothing is granted any more.
    ///
    /// # Cancel safety
    /// Dropping it gives up the place in line; what was granted meanwhile is released.
    fn grant(&self, wish: Wish) -> BoxFuture<'static, Result<Grant, Failure>>;

    /// Lets a lease last for that span from now on, unless it lasts longer already. Answers when it ends.
    ///
    /// # Errors
    /// [`LeaseError::Stale`] if it has ended.
    fn renew(
        &self,
        token: Token,
        lease: Duration,
    ) -> BoxFuture<'static, Result<Instant, LeaseError>>;

    /// Ends a lease. Never waits, on any thread; the answer tells whether there was anything to end, and comes also
    /// if nobody is there any more to end it.
    fn release(&self, token: Token, answer: Responder<Result<(), Stale>>);

    /// Who holds and who waits.
    fn state(&self) -> BoxFuture<'static, Result<LockState, Failure>>;

    /// Grants nothing any more: whoever waits gets an error, whoever holds has lost it. What is granted by other
    /// processes, too, ends for this one.
    fn close(&self);
}

/// A wish to be granted something.
#[derive(Clone)]
#[non_exhaustive]
pub struct Wish {
    /// How many units, from 1 to all.
    pub units: u32,
    /// How long the lease lasts unless it is renewed.
    pub lease: Duration,
    /// How long to wait: zero not at all, `None` as long as it takes.
    pub deadline: Option<Duration>,
    /// Who will hold it, for people.
    pub holder: Option<Arc<str>>,
    /// Who is told when the lease is lost.
    pub on_lost: Weak<dyn OnLost>,
}

impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wish")
            .field("units", &self.units)
            .field("lease", &self.lease)
            .field("deadline", &self.deadline)
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

/// Who is told that a lease was lost.
pub trait OnLost: Send + Sync {
    /// Called once, with no lock held, when it ends in another way than by [`Leases::release`]. A granter that
    /// can't reach the holder needn't: the holder's own clock says when the lease ends.
    fn lost(&self, why: Lost);
}

/// A lease that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Its token: higher than that of every grant before.
    pub token: Token,
    /// Until when it is held, by the holder's clock. Who grants across a network counts from before the wish
    /// was sent, so that the holder never takes itself to hold it for longer than the granter does.
    pub ends: Instant,
}

/// Why a lease is held no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum Lost {
    /// Its time was over.
    Expired,
    /// The actor that held it ended.
    HolderEnded,
    /// Its lock ended.
    Stopped,
    /// Its guard was released or dropped.
    Released,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lost::Expired => "the lease ran out",
            Lost::HolderEnded => "the holder ended",
            Lost::Stopped => "the lock ended",
            Lost::Released => "it was released",
        })
    }
}

impl std::error::Error for Lost {}

/// Why a lease could not be renewed or released.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// It had ended.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// There was no answer: the lock has ended, or who grants can't be reached.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl LeaseError {
    /// What is known about the renewal or the release.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            LeaseError::Stale(stale) => stale.verdict(),
            LeaseError::Failed(failure) => failure.verdict(),
        }
    }
}
