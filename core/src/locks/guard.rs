//! What one has who holds a lock.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};

use super::hold::{Hold, Loss};
use super::{Token, clamped};
use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::error::{Failure, FailureKind};
use crate::lease::{LeaseError, Lost};
use crate::responder::Responder;

/// A lock, or a part of one, that is held under a lease (G31). Made by [`Acquire`](super::Acquire).
///
/// Dropping it releases the lease, without waiting, on whatever thread, also while a panic unwinds.
///
/// A guard can outlive its lease: nothing wrests it from its holder. Before a step that others must not take at
/// the same time ask [`is_held`](Guard::is_held), and give the [token](Guard::token) to whatever the step
/// changes, so that it can [refuse](super::Fence) who asked and then stalled.
#[must_use = "the lock is released when its guard is dropped"]
pub struct Guard {
    hold: Arc<Hold>,
    token: Token,
    units: u32,
    lease: Duration,
}

impl Guard {
    pub(super) fn new(hold: Arc<Hold>, token: Token, units: u32, lease: Duration) -> Self {
        Guard {
            hold,
            token,
            units,
            lease,
        }
    }

    /// The name of the lock.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        self.hold.leases.name()
    }

    /// The number of this grant, to be sent along with what is done under the lock.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// How many permits of a semaphore; 1 of a mutex and of a reader; of a writer all there are.
    #[must_use]
    pub fn units(&self) -> u32 {
        self.units
    }

    /// Whether it was held when this looked. A moment later it may not be.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.why_lost().is_none()
    }

    /// Why it is held no more, if it isn't.
    #[must_use]
    pub fn why_lost(&self) -> Option<Lost> {
        self.hold.why_lost()
    }

    /// When the lease ends unless it is renewed.
    #[must_use]
    pub fn ends(&self) -> Instant {
        self.hold.ends()
    }

    /// The time left; zero once it is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        match self.why_lost() {
            None => self.ends().since(self.hold.now()),
            Some(_) => Duration::ZERO,
        }
    }

    /// Completes when the lease is lost, however that comes; at once if it is. It doesn't borrow the guard, so
    /// it can go into a task, and completes as [`Released`](Lost::Released) when the guard is dropped.
    pub fn lost(&self) -> Loss {
        self.hold.loss()
    }

    /// Lets the lease last for `lease` from now on ([`MIN_LEASE`](super::MIN_LEASE) to
    /// [`MAX_LEASE`](super::MAX_LEASE); other spans mean the nearest), unless it lasts longer already. Answers
    /// when it ends. Waits for the answer as long as the caller lives.
    ///
    /// # Errors
    /// [`LeaseError::Stale`] if the lease has ended: then another may hold the lock. [`LeaseError::Failed`] if
    /// the lock has ended.
    ///
    /// # Cancel safety
    /// Dropping it may have renewed the lease or not.
    pub async fn renew(&self, lease: Duration) -> Result<Instant, LeaseError> {
        renew(&self.hold, self.token, clamped(lease)).await
    }

    /// Renews the lease again and again, for as long as the future is polled: first when a third of the span
    /// that was asked for is over. Completes when the lease is lost all the same. It doesn't borrow the guard.
    ///
    /// Nothing is kept alive unless this is said, and then only as long as the task that runs it has turns: run
    /// it where the work runs, so that a holder that is stuck loses the lock to somebody who isn't. An actor does
    /// so by `ctx.spawn`: the renewals run on its thread, and end with its incarnation. Work that is a future
    /// has [`hold_while`](Guard::hold_while).
    ///
    /// # Cancel safety
    /// Dropping it ends the renewals; the lease lasts for the rest of its span.
    pub fn keep_alive(&self) -> impl Future<Output = Lost> + Send + use<> {
        let hold = Arc::clone(&self.hold);
        let (token, lease) = (self.token, self.lease);
        async move {
            let renewals = pin!(renewals(&hold, token, lease));
            match select(hold.loss(), renewals).await {
                Either::Left((why, _)) | Either::Right((why, _)) => why,
            }
        }
    }

    /// Does `work` while the lock is held, and [keeps it alive](Guard::keep_alive) meanwhile. If it is lost, `work`
    /// is dropped where it waits.
    ///
    /// # Errors
    /// [`Lost`]: why, and the work is undone as far as its drop undoes it.
    ///
    /// # Cancel safety
    /// Dropping it drops the work; the guard is held still.
    pub async fn hold_while<T>(&self, work: impl Future<Output = T>) -> Result<T, Lost> {
        let work = pin!(work);
        let kept = pin!(self.keep_alive());
        match select(work, kept).await {
            Either::Left((done, _)) => Ok(done),
            Either::Right((why, _)) => Err(why),
        }
    }

    /// Releases it, and waits until the lock has said so. Who needn't know drops the guard.
    ///
    /// # Errors
    /// [`LeaseError::Stale`]: the lease had ended before, so that what was done under it at the end may not have
    /// been done alone. [`LeaseError::Failed`] if the lock had ended.
    ///
    /// # Cancel safety
    /// Dropping it releases all the same.
    pub async fn release(self) -> Result<(), LeaseError> {
        ended(&self.hold)?;
        let (answer, slot) = Responder::slot();
        // Nothing is left for the drop to do.
        self.hold.lose(Lost::Released);
        self.hold.leases.release(self.token, answer);
        Ok(slot.await??)
    }
}

/// Renews until that fails for good.
async fn renewals(hold: &Arc<Hold>, token: Token, lease: Duration) -> Lost {
    loop {
        hold.sleep_until(hold.renew_at(lease)).await;
        match renew(hold, token, lease).await {
            Ok(_) => {}
            Err(LeaseError::Stale(_)) => return hold.why_lost().unwrap_or(Lost::Expired),
            // Somebody is slow; there is time for another try.
            Err(LeaseError::Failed(_)) if hold.why_lost().is_none() => {
                let again = hold.now() + lease / 10;
                hold.sleep_until(again).await;
            }
            Err(LeaseError::Failed(_)) => return hold.why_lost().unwrap_or(Lost::Stopped),
        }
    }
}

/// Whether the lock has ended. Then nothing more is said to it: another may have its name, and count its tokens from
/// 1 again, so that the same token is somebody else's.
fn ended(hold: &Hold) -> Result<(), LeaseError> {
    if hold.why_lost() != Some(Lost::Stopped) {
        return Ok(());
    }
    let failure = Failure::new(FailureKind::Stopped, Verdict::NotExecuted);
    Err(failure.with_detail(&**hold.leases.name()).into())
}

async fn renew(hold: &Hold, token: Token, lease: Duration) -> Result<Instant, LeaseError> {
    ended(hold)?;
    let ends = hold.leases.renew(token, lease).await?;
    hold.renewed(ends);
    Ok(ends)
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.hold.give_up(Lost::Released);
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("of", self.name())
            .field("token", &self.token)
            .field("units", &self.units)
            .field("lost", &self.why_lost())
            .finish_non_exhaustive()
    }
}
