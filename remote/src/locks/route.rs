//! The way to a lock in another process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use callboard::clock::Instant;
use callboard::locks::{Grant, LeaseError, Leases, LockState, Lost, OnLost, Stale, Token, Wish};
use callboard::{Failure, FailureKind, Placement, Recipient, Responder, System, Verdict};
use futures::future::{BoxFuture, Either, join, select};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::wire::{LockAnswer, LockOp};
use crate::entrance::{Patience, REACH, WireFailure, micros, patient, unguessable_number};

/// A handle's side of a lock elsewhere.
pub(super) struct RemoteLeases {
    shared: Arc<Shared>,
}

struct Shared {
    way: Recipient<LockOp>,
    name: Arc<str>,
    units: u32,
    /// Under which this side's leases are known over there.
    holder: u64,
    ticket: AtomicU64,
    closed: watch::Sender<bool>,
    held: Mutex<Held>,
}

/// What this handle was granted.
#[derive(Default)]
struct Held {
    /// The door that grants over there; 0 before the first grant.
    door: u64,
    by_token: HashMap<Token, Holding>,
}

struct Holding {
    /// By which it was granted.
    door: u64,
    /// Who is told when it is lost.
    on_lost: Weak<dyn OnLost>,
}

impl RemoteLeases {
    pub(super) fn new(way: Recipient<LockOp>, name: Arc<str>, units: u32) -> Self {
        let holder = unguessable_number(way.route().system());
        RemoteLeases {
            shared: Arc::new(Shared {
                way,
                name,
                units,
                holder,
                ticket: AtomicU64::new(1),
                closed: watch::Sender::new(false),
                held: Mutex::default(),
            }),
        }
    }
}

impl Shared {
    fn system(&self) -> &System {
        self.way.route().system()
    }

    fn now(&self) -> Instant {
        self.system().clock().now()
    }

    fn about(&self, failure: &WireFailure) -> Failure {
        failure.about(&self.name)
    }

    fn nonsense(&self) -> Failure {
        Failure::new(FailureKind::BadPayload, Verdict::MaybeExecuted)
            .with_detail(format!("the answer of lock {}", self.name))
    }

    fn stopped(&self) -> Failure {
        Failure::new(FailureKind::Stopped, Verdict::NotExecuted).with_detail(&*self.name)
    }

    async fn ask(&self, op: LockOp, deadline: Option<Duration>) -> Result<LockAnswer, Failure> {
        let ask = self.way.ask(op);
        let answer = match deadline {
            Some(span) => ask.deadline(span).await,
            // A wait has an end of its own; that of the request in hand is another matter.
            None => ask.no_deadline().await,
        };
        answer
            .map_err(Failure::from)?
            .map_err(|failure| self.about(&failure))
    }

    /// Ends a lease without waiting for anything, if it is held still.
    fn release_soon(self: &Arc<Self>, token: Token) {
        let held = self.held.lock().by_token.remove(&token);
        if let Some(held) = held {
            self.give_back(token, held.door);
        }
    }

    fn give_back(self: &Arc<Self>, token: Token, door: u64) {
        let Err(error) = self.way.try_tell(self.release_op(token, door)) else {
            return;
        };
        if let Some(op) = error.into_message() {
            let shared = Arc::clone(self);
            // Room may come; else the lease runs out.
            self.system().spawn(Placement::Spread, move || async move {
                let _ = shared.way.tell(op).deadline(REACH).await;
            });
        }
    }

    fn release_op(&self, token: Token, door: u64) -> LockOp {
        LockOp::Release {
            holder: self.holder,
            token: token.0,
            door,
        }
    }

    /// The door that granted it; nothing if it is held no more.
    fn door_of(&self, token: Token) -> Option<u64> {
        let held = self.held.lock();
        held.by_token.get(&token).map(|held| held.door)
    }

    fn note(self: &Arc<Self>, token: Token, door: u64, on_lost: Weak<dyn OnLost>) {
        let mut held = self.held.lock();
        // Another lock has this name now, and may grant the same tokens again: those of the one before ended with it.
        let before = if held.door == door {
            HashMap::new()
        } else {
            held.door = door;
            std::mem::take(&mut held.by_token)
        };
        // Those that ran out have nobody who wants to know.
        if held.by_token.len() >= 16 && held.by_token.len().is_power_of_two() {
            held.by_token
                .retain(|_, held| held.on_lost.strong_count() > 0);
        }
        held.by_token.insert(token, Holding { door, on_lost });
        drop(held);
        self.lose(before);
    }

    /// Tells who holds these that they don't, and the other side.
    fn lose(self: &Arc<Self>, held: HashMap<Token, Holding>) {
        for (token, held) in held {
            if let Some(on_lost) = held.on_lost.upgrade() {
                on_lost.lost(Lost::Stopped);
            }
            self.give_back(token, held.door);
        }
    }
}

/// A wish on its way. Dropped, it goes on without its asker, and what is granted is released.
struct Granting {
    shared: Arc<Shared>,
    ticket: u64,
    asking: Option<BoxFuture<'static, Result<LockAnswer, Failure>>>,
}

impl Drop for Granting {
    fn drop(&mut self) {
        let Some(asking) = self.asking.take() else {
            return;
        };
        let (shared, ticket) = (Arc::clone(&self.shared), self.ticket);
        let system = shared.system().clone();
        // It ends when the other side has answered, which it does at once when it hears of this, or with the session.
        system.spawn(Placement::Spread, move || async move {
            let holder = shared.holder;
            let withdraw = shared.way.tell(LockOp::Withdraw { holder, ticket });
            // Both, the ask first: it may still be in line for room, and then stands before what withdraws it (G2).
            // An error of that: the session has ended, and so does the ask.
            let (answer, _) = join(asking, withdraw.into_future()).await;
            if let Ok(LockAnswer::Granted { token, door, .. }) = answer {
                shared.give_back(Token(token), door);
            }
        });
    }
}

impl Leases for RemoteLeases {
    fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    fn system(&self) -> &System {
        self.shared.system()
    }

    fn units(&self) -> u32 {
        self.shared.units
    }

    fn grant(&self, wish: Wish) -> BoxFuture<'static, Result<Grant, Failure>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            if *shared.closed.borrow() {
                return Err(shared.stopped());
            }
            let sent = shared.now();
            let clock = shared.system().clock();
            let patience = wish.deadline.map(|span| Patience::new(span, clock));
            let (wait, until) = patience.map(|it| (it.wait, it.until)).unzip();
            let ticket = shared.ticket.fetch_add(1, Ordering::Relaxed);
            let op = LockOp::Grant {
                holder: shared.holder,
                ticket,
                units: wish.units,
                lease: micros(wish.lease),
                wait: wait.map(micros),
                label: wish.holder.as_ref().map(ToString::to_string),
            };
            let asking = Arc::clone(&shared);
            let mut granting = Granting {
                shared: Arc::clone(&shared),
                ticket,
                // No deadline of its own: what is granted late still has somebody to give it back.
                asking: Some(Box::pin(async move { asking.ask(op, None).await })),
            };
            let mut closed = shared.closed.subscribe();
            let answer = {
                let Some(asking) = granting.asking.as_mut() else {
                    return Err(shared.nonsense());
                };
                let close = Box::pin(closed.wait_for(|closed| *closed));
                // The ask first: it has to be begun, so that what is left of it can be withdrawn.
                let answered = patient(select(asking, close), until, clock);
                match answered.await {
                    Some(Either::Left((answer, _))) => Ok(answer),
                    Some(Either::Right(_)) => Err(FailureKind::Stopped),
                    None => Err(FailureKind::DeadlineExceeded),
                }
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(kind) => {
                    let failure = Failure::new(kind, Verdict::NotExecuted);
                    return Err(failure.with_detail(&*shared.name));
                }
            };
            granting.asking = None;
            match answer {
                Ok(LockAnswer::Granted {
                    token,
                    waited,
                    door,
                }) => {
                    let token = Token(token);
                    shared.note(token, door, wish.on_lost);
                    // Whoever closed it before that didn't see it.
                    if *shared.closed.borrow() {
                        shared.release_soon(token);
                        return Err(shared.stopped());
                    }
                    // From before it was sent: so the holder takes itself to hold it no longer than the other side does.
                    // The wait is what the other side says, but no longer than it was.
                    let waited = Duration::from_micros(waited).min(shared.now().since(sent));
                    let ends = sent + waited + wish.lease;
                    Ok(Grant { token, ends })
                }
                Ok(_) => Err(shared.nonsense()),
                // `MaybeExecuted` of a lost session: what was granted all the same is nobody's, and runs out.
                Err(failure) => Err(failure),
            }
        })
    }

    fn renew(
        &self,
        token: Token,
        lease: Duration,
    ) -> BoxFuture<'static, Result<Instant, LeaseError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let Some(door) = shared.door_of(token) else {
                return Err(shared.stopped().into());
            };
            let sent = shared.now();
            let op = LockOp::Renew {
                holder: shared.holder,
                token: token.0,
                lease: micros(lease),
                door,
            };
            // As long as the caller waits: the request in hand may be due before the lease matters.
            match shared.ask(op, None).await? {
                LockAnswer::Done => Ok(sent + lease),
                LockAnswer::Stale { current } => {
                    let current = Token(current);
                    Err(Stale { token, current }.into())
                }
                _ => Err(shared.nonsense().into()),
            }
        })
    }

    fn release(&self, token: Token, answer: Responder<Result<(), Stale>>) {
        if !answer.expects_answer() {
            return self.shared.release_soon(token);
        }
        let shared = Arc::clone(&self.shared);
        let held = shared.held.lock().by_token.remove(&token);
        let Some(held) = held else {
            return answer.fail(shared.stopped());
        };
        self.system().spawn(Placement::Spread, move || async move {
            let op = shared.release_op(token, held.door);
            match shared.ask(op, Some(REACH)).await {
                Ok(LockAnswer::Done) => answer.send(Ok(())),
                Ok(LockAnswer::Stale { current }) => {
                    let current = Token(current);
                    answer.send(Err(Stale { token, current }));
                }
                Ok(_) => answer.fail(shared.nonsense()),
                Err(failure) => answer.fail(failure),
            }
        });
    }

    fn state(&self) -> BoxFuture<'static, Result<LockState, Failure>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            match shared.ask(LockOp::State, Some(REACH)).await? {
                LockAnswer::State(state) => Ok(state.seen_at(shared.now())),
                _ => Err(shared.nonsense()),
            }
        })
    }

    fn close(&self) {
        self.shared.closed.send_replace(true);
        let held = std::mem::take(&mut self.shared.held.lock().by_token);
        self.shared.lose(held);
    }
}
