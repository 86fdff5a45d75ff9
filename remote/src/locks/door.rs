//! An exposed lock: what peers ask of it, done to the lock of this process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use callboard::locks::{Guard, LeaseError, Leases, Semaphore};
use callboard::{ActorId, FailureKind, Meta, Placement, Responder, System, Verdict};
use futures::future::{AbortHandle, Abortable, BoxFuture};
use parking_lot::Mutex;

use super::wire::{Kind, LockAnswer, LockOp, WireState};
use crate::admin::{ExposedKind, MessageType, Refused, Thing, WireDetails};
use crate::entrance::{
    HolderId, Serve, WireFailure, abortable, are_short, patience, refuse, run, unguessable_number,
};

type Answer = Result<LockAnswer, WireFailure>;

pub(super) struct Door {
    kind: Kind,
    id: ActorId,
    /// Drawn for this exposure of the lock: tokens that were granted through another are none of this one.
    number: u64,
    leases: Arc<dyn Leases>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By token: who holds it over there, and what holds it here.
    held: HashMap<u64, (HolderId, Arc<Guard>)>,
    /// How many there were when those that are over were last put away.
    swept: usize,
    /// By holder and ticket.
    waiting: HashMap<(HolderId, u64), AbortHandle>,
}

impl Door {
    pub(super) fn new(kind: Kind, leases: &Arc<dyn Leases>) -> Self {
        Door {
            kind,
            id: ActorId::fresh(),
            number: unguessable_number(leases.system()),
            leases: Arc::clone(leases),
            inner: Mutex::default(),
        }
    }

    fn keep(&self, holder: HolderId, guard: Guard) {
        let mut inner = self.inner.lock();
        let token = guard.token().0;
        inner.held.insert(token, (holder, Arc::new(guard)));
        // Those that ran out. So the table is never more than twice as large as what is held.
        let mut over = Vec::new();
        if inner.held.len() >= 2 * inner.swept + 16 {
            inner.held.retain(|_, (_, guard)| {
                let held = guard.is_held();
                if !held {
                    over.push(Arc::clone(guard));
                }
                held
            });
            inner.swept = inner.held.len();
        }
        drop(inner);
        // Outside the lock: they tell the lock, which knows already.
        drop(over);
    }

    async fn stale(&self, token: u64) -> Answer {
        // Also what was granted to others than by this door.
        let newest = self.leases.state().await.map(|state| state.newest.0);
        let current = newest.unwrap_or(token).max(token);
        Ok(LockAnswer::Stale { current })
    }

    fn held(&self, claim: &Claim) -> Option<Arc<Guard>> {
        let inner = self.inner.lock();
        let (by, guard) = inner.held.get(&claim.token)?;
        self.is_of(claim, by).then(|| Arc::clone(guard))
    }

    fn take(&self, claim: &Claim) -> Option<Arc<Guard>> {
        let mut inner = self.inner.lock();
        let (by, _) = inner.held.get(&claim.token)?;
        if !self.is_of(claim, by) {
            return None;
        }
        inner.held.remove(&claim.token).map(|(_, guard)| guard)
    }

    /// Whether the claim is of who was granted it, and of a grant of this door.
    fn is_of(&self, claim: &Claim, by: &HolderId) -> bool {
        claim.holder == *by && claim.door == self.number
    }

    async fn renew(&self, claim: Claim, lease: Duration) -> Answer {
        let Some(guard) = self.held(&claim) else {
            return self.stale(claim.token).await;
        };
        answered(guard.renew(lease).await.map(drop))
    }

    async fn release(&self, claim: Claim) -> Answer {
        let Some(guard) = self.take(&claim) else {
            return self.stale(claim.token).await;
        };
        match Arc::try_unwrap(guard) {
            Ok(guard) => answered(guard.release().await),
            // It is being renewed: it is released when that is over.
            Err(_) => Ok(LockAnswer::Done),
        }
    }

    async fn state(&self) -> Answer {
        let state = self.leases.state().await;
        let state = state.map_err(|failure| WireFailure::from(&failure))?;
        let now = self.leases.system().clock().now();
        Ok(LockAnswer::State(Box::new(WireState::new(&state, now))))
    }
}

/// What somebody says to hold.
struct Claim {
    holder: HolderId,
    token: u64,
    door: u64,
}

fn answered(done: Result<(), LeaseError>) -> Answer {
    match done {
        Ok(()) => Ok(LockAnswer::Done),
        Err(LeaseError::Stale(stale)) => {
            let current = stale.current.0;
            Ok(LockAnswer::Stale { current })
        }
        Err(LeaseError::Failed(failure)) => Err((&failure).into()),
        Err(_) => Err(refuse(FailureKind::NoAnswer)),
    }
}

impl Thing for Door {
    fn kind(&self) -> ExposedKind {
        match self.kind {
            Kind::Mutex => ExposedKind::Mutex,
            Kind::Semaphore => ExposedKind::Semaphore,
            Kind::RwLock => ExposedKind::RwLock,
        }
    }

    fn message(&self) -> Option<MessageType> {
        None
    }

    fn inspect(self: Arc<Self>) -> BoxFuture<'static, Result<WireDetails, Refused>> {
        Box::pin(async move {
            match Door::state(&self).await {
                Ok(LockAnswer::State(state)) => Ok(WireDetails::Lock(Thing::kind(&*self), state)),
                Ok(_) => Err(Refused::Failed(refuse(FailureKind::NoAnswer))),
                Err(failure) => Err(Refused::Failed(failure)),
            }
        })
    }
}

impl Drop for Door {
    /// Those over there go on holding until their leases are over, whatever becomes of this node: so does this side.
    fn drop(&mut self) {
        let system = self.leases.system().clone();
        for (_, (_, guard)) in std::mem::take(&mut self.inner.get_mut().held) {
            system.spawn(Placement::Spread, move || async move {
                guard.lost().await;
            });
        }
    }
}

impl Serve<LockOp> for Door {
    fn must_be_asked(op: &LockOp) -> bool {
        matches!(op, LockOp::Grant { .. })
    }

    fn serve(self: &Arc<Self>, op: LockOp, meta: Meta, mut responder: Responder<Answer>) {
        let this = Arc::clone(self);
        let system = self.leases.system();
        let claim = |holder, token, door| Claim {
            holder: HolderId::new(holder, &meta),
            token,
            door,
        };
        match op {
            LockOp::Open => responder.send(Ok(LockAnswer::Opened {
                kind: self.kind,
                units: self.leases.units(),
            })),
            LockOp::State => run(system, async move {
                let state = this.state().await;
                responder.send(state);
            }),
            LockOp::Renew {
                holder,
                token,
                lease,
                door,
            } => {
                let claim = claim(holder, token, door);
                run(system, async move {
                    let renewed = this.renew(claim, Duration::from_micros(lease)).await;
                    responder.send(renewed);
                });
            }
            LockOp::Release {
                holder,
                token,
                door,
            } => {
                let claim = claim(holder, token, door);
                run(system, async move {
                    let released = this.release(claim).await;
                    responder.send(released);
                });
            }
            LockOp::Withdraw { holder, ticket } => {
                let place = (HolderId::new(holder, &meta), ticket);
                let handle = self.inner.lock().waiting.remove(&place);
                if let Some(handle) = handle {
                    handle.abort();
                }
                responder.send(Ok(LockAnswer::Done));
            }
            LockOp::Grant {
                holder,
                ticket,
                units,
                lease,
                wait,
                label,
            } => {
                if !are_short([label.as_ref()]) {
                    return responder.send(Err(refuse(FailureKind::TooLarge)));
                }
                let clock = system.clock().clone();
                let arrived = clock.now();
                let mut wish = Semaphore::over(Arc::clone(&self.leases))
                    .acquire_many(units)
                    .lease(Duration::from_micros(lease));
                if let Some(wait) = wait {
                    let wait = Duration::from_micros(wait);
                    wish = wish.deadline(patience(wait, &meta, &clock));
                }
                if let Some(label) = label {
                    wish = wish.label(label);
                }
                let (handle, registration) = abortable(&mut responder);
                let holder = HolderId::new(holder, &meta);
                let place = (holder.clone(), ticket);
                self.inner.lock().waiting.insert(place.clone(), handle);
                let granting = Abortable::new(async move { wish.await }, registration);
                run(system, async move {
                    let granted = granting.await;
                    this.inner.lock().waiting.remove(&place);
                    let answer = match granted {
                        Err(_) => Err(refuse(FailureKind::Withdrawn)),
                        Ok(Err(failure)) => Err((&failure).into()),
                        Ok(Ok(guard)) => {
                            // Rounded down: the holder may know of less time than it has, never of more.
                            let waited = guard_waited(clock.now().since(arrived), lease, &guard);
                            let token = guard.token().0;
                            if responder.progress(Verdict::Executed) {
                                this.keep(holder, guard);
                                let door = this.number;
                                Ok(LockAnswer::Granted {
                                    token,
                                    waited,
                                    door,
                                })
                            } else {
                                // The asker has gone, or may not have it any more: the guard goes back.
                                Err(refuse(FailureKind::NotAuthorised))
                            }
                        }
                    };
                    responder.send(answer);
                });
            }
        }
    }

    fn leads_to(&self) -> (ActorId, Arc<str>, &System) {
        let leases = &self.leases;
        (self.id, Arc::clone(leases.name()), leases.system())
    }
}

/// How long it waited until it was granted: what has passed, less what has passed of the lease.
fn guard_waited(passed: Duration, lease: u64, guard: &Guard) -> u64 {
    let of_lease = Duration::from_micros(lease).saturating_sub(guard.remaining());
    let waited = passed.saturating_sub(of_lease).as_micros();
    u64::try_from(waited).unwrap_or(0)
}
