//! A wish for a lock.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;

use super::guard::Guard;
use super::hold::{Hold, Loss};
use super::{DEFAULT_LEASE, clamped};
use crate::blocking;
use crate::boundary::Verdict;
use crate::error::{Failure, FailureKind};
use crate::executor;
use crate::lease::{Grant, Leases, Lost, Wish};
use crate::watch::Watch;

/// A wish for a lock, or for a part of one. Awaited, it answers a [`Guard`].
///
/// Without a deadline it waits as long as the caller lives. Those who wait are served in the order they came
/// (G31): nobody passes them, also where what it wants would be free, so that who wants much isn't starved by
/// those who want little.
///
/// # Errors
/// [`Failure`], and nothing is held: its verdict is `NotExecuted`.
/// - `DeadlineExceeded`: the deadline passed first.
/// - `Overloaded`: [too many](super::LockOptions::waiters) wait.
/// - `Stopped`: the lock has ended.
/// - `Withdrawn`: the actor that was to hold it has ended.
/// - `TooLarge`: more permits than the semaphore has (`NotSent`).
///
/// # Cancel safety
/// Dropping it gives up the place in line; a lease that was on its way is released.
#[must_use = "nothing is acquired until it is awaited"]
pub struct Acquire {
    leases: Arc<dyn Leases>,
    units: u32,
    lease: Duration,
    deadline: Option<Duration>,
    label: Option<Arc<str>>,
    /// Made early if somebody is watched for it.
    hold: Option<Arc<Hold>>,
}

impl Acquire {
    pub(super) fn new(leases: &Arc<dyn Leases>, units: u32) -> Self {
        Acquire {
            leases: Arc::clone(leases),
            units: units.max(1),
            lease: DEFAULT_LEASE,
            deadline: None,
            label: None,
            hold: None,
        }
    }

    /// Gives up after `span` if the lock isn't free by then; zero does not wait.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = Some(span);
        self
    }

    /// How long it is held unless renewed: [`DEFAULT_LEASE`] unless said otherwise, from
    /// [`MIN_LEASE`](super::MIN_LEASE) to [`MAX_LEASE`](super::MAX_LEASE); other spans mean the nearest.
    ///
    /// It is the time for which a holder that hangs keeps all others waiting, and the time for which one may
    /// stall without losing the lock. So: longer than any stall that is usual, and no longer than the others can
    /// wait; work that takes longer [renews](Guard::keep_alive).
    pub fn lease(mut self, span: Duration) -> Self {
        self.lease = clamped(span);
        self
    }

    /// Ties it to an actor: when that ends (G12), the lock is released, or the wish withdrawn, wherever the guard
    /// is. A restart is no end. Said twice, the end of either does it.
    ///
    /// Whoever keeps the guard in the actor's state or in its handler needn't say so: the guard is dropped with
    /// the actor. This is for guards that are elsewhere, and for recipients in other processes.
    pub fn held_by(mut self, holder: &(impl Watch + ?Sized)) -> Self {
        let hold = self.hold.get_or_insert_with(|| Hold::new(&self.leases));
        let ending = Arc::downgrade(hold);
        let watch = holder.watch(Box::new(move |_| {
            if let Some(hold) = ending.upgrade() {
                hold.give_up(Lost::HolderEnded);
            }
        }));
        hold.add_watch(watch);
        self
    }

    /// Who it is for, as [`state`](super::HeldState::holder) shows it.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Acquires from a thread that is no arbiter, blocking it meanwhile.
    ///
    /// # Errors
    /// As when awaited. On the thread of an arbiter, of any system: `OnArbiter`, `NotSent`, at once.
    pub fn blocking(self) -> Result<Guard, Failure> {
        blocking::check(self.leases.system())?;
        executor::block_on(self.into_future())
    }

    /// The same with a deadline of zero; `None` if the lock isn't free.
    pub(super) async fn at_once(self) -> Result<Option<Guard>, Failure> {
        match self.deadline(Duration::ZERO).await {
            Ok(guard) => Ok(Some(guard)),
            Err(failure) if failure.kind() == FailureKind::DeadlineExceeded => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

impl IntoFuture for Acquire {
    type Output = Result<Guard, Failure>;
    type IntoFuture = Acquiring;

    fn into_future(self) -> Acquiring {
        let Acquire {
            leases,
            units,
            lease,
            deadline,
            label,
            hold,
        } = self;
        let loss = hold.as_ref().map(Hold::loss);
        let hold = hold.unwrap_or_else(|| Hold::new(&leases));
        let state = if units > leases.units() {
            let failure = Failure::new(FailureKind::TooLarge, Verdict::NotSent);
            let (name, all) = (leases.name(), leases.units());
            State::Refused(
                failure.with_detail(format!("{units} permits of {name}, which has {all}")),
            )
        } else {
            let on_lost: Weak<Hold> = Arc::downgrade(&hold);
            State::Waits(leases.grant(Wish {
                units,
                lease,
                deadline,
                holder: label,
                on_lost,
            }))
        };
        Acquiring {
            hold,
            units,
            lease,
            state,
            loss,
        }
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("of", self.leases.name())
            .field("units", &self.units)
            .field("lease", &self.lease)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// The future of an [`Acquire`].
#[must_use = "futures do nothing unless polled"]
pub struct Acquiring {
    hold: Arc<Hold>,
    units: u32,
    lease: Duration,
    state: State,
    /// Where somebody is watched who is to hold it.
    loss: Option<Loss>,
}

enum State {
    Refused(Failure),
    Waits(BoxFuture<'static, Result<Grant, Failure>>),
    Ended,
}

impl Acquiring {
    fn end(&mut self, granted: Result<Grant, Failure>) -> Result<Guard, Failure> {
        let grant = granted?;
        let held = self.hold.granted(grant);
        held.map_err(|why| lost_before(why, &self.hold.leases))?;
        let hold = Arc::clone(&self.hold);
        Ok(Guard::new(hold, grant.token, self.units, self.lease))
    }
}

impl Future for Acquiring {
    type Output = Result<Guard, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let State::Waits(granting) = &mut this.state {
            if let Poll::Ready(granted) = granting.as_mut().poll(cx) {
                this.state = State::Ended;
                this.loss = None;
                return Poll::Ready(this.end(granted));
            }
            let ended = this.loss.as_mut().map(|loss| Pin::new(loss).poll(cx));
            if let Some(Poll::Ready(why)) = ended {
                // With it the place in line.
                this.state = State::Ended;
                return Poll::Ready(Err(lost_before(why, &this.hold.leases)));
            }
            return Poll::Pending;
        }
        match std::mem::replace(&mut this.state, State::Ended) {
            State::Refused(failure) => Poll::Ready(Err(failure)),
            // Nothing more will come.
            _ => Poll::Pending,
        }
    }
}

impl fmt::Debug for Acquiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquiring")
            .field("hold", &self.hold)
            .field("units", &self.units)
            .finish_non_exhaustive()
    }
}

/// There is nobody to hold it, or no lock, before there is a guard.
fn lost_before(why: Lost, leases: &Arc<dyn Leases>) -> Failure {
    let kind = match why {
        Lost::HolderEnded => FailureKind::Withdrawn,
        _ => FailureKind::Stopped,
    };
    let detail = format!("{} was not acquired: {why}", leases.name());
    Failure::new(kind, Verdict::NotExecuted).with_detail(detail)
}
