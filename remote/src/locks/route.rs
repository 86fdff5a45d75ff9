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
use crate::entrance::{REACH, WireFailure, micros};

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
    /// Who is told when this handle is closed.
    held: Mutex<HashMap<Token, Weak<dyn OnLost>>>,
}

impl RemoteLeases {
    pub(super) fn new(way: Recipient<LockOp>, name: Arc<str>, units: u32) -> Self {
        let holder = way.route().system().entropy().next_u64();
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

    /// Ends a lease without waiting for anything.
    fn release_soon(self: &Arc<Self>, token: Token) {
        self.held.lock().remove(&token);
        let op = LockOp::Release {
            holder: self.holder,
            token: token.0,
        };
        let Err(error) = self.way.try_tell(op) else {
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

    fn note(&self, token: Token, on_lost: Weak<dyn OnLost>) {
        let mut held = self.held.lock();
        // Those that ran out have nobody who wants to know.
        if held.len() >= 16 && held.len().is_power_of_two() {
            held.retain(|_, on_lost| on_lost.strong_count() > 0);
        }
        held.insert(token, on_lost);
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
            if let Ok(LockAnswer::Granted { token, .. }) = answer {
                shared.release_soon(Token(token));
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
            let sent = shared.now();
            let ticket = shared.ticket.fetch_add(1, Ordering::Relaxed);
            let op = LockOp::Grant {
                holder: shared.holder,
                ticket,
                units: wish.units,
                lease: micros(wish.lease),
                wait: wish.deadline.map(micros),
                label: wish.holder.as_ref().map(ToString::to_string),
            };
            let deadline = wish.deadline.map(|span| span.saturating_add(REACH));
            let asking = Arc::clone(&shared);
            let mut granting = Granting {
                shared: Arc::clone(&shared),
                ticket,
                asking: Some(Box::pin(async move { asking.ask(op, deadline).await })),
            };
            let mut closed = shared.closed.subscribe();
            let answer = {
                let Some(asking) = granting.asking.as_mut() else {
                    return Err(shared.nonsense());
                };
                let close = Box::pin(closed.wait_for(|closed| *closed));
                match select(close, asking).await {
                    Either::Left(_) => None,
                    Either::Right((answer, _)) => Some(answer),
                }
            };
            let Some(answer) = answer else {
                return Err(shared.stopped());
            };
            granting.asking = None;
            match answer {
                Ok(LockAnswer::Granted { token, waited }) => {
                    let token = Token(token);
                    shared.note(token, wish.on_lost);
                    // From before it was sent: so the holder takes itself to hold it no longer than the other side does.
                    let ends = sent + Duration::from_micros(waited) + wish.lease;
                    Ok(Grant { token, ends })
                }
                Ok(_) => Err(shared.nonsense()),
                // What is granted all the same is nobody's, and runs out.
                Err(failure) => Err(match failure.verdict() {
                    Verdict::NotSent => failure,
                    _ => failure.with_verdict(Verdict::NotExecuted),
                }),
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
            let sent = shared.now();
            let op = LockOp::Renew {
                holder: shared.holder,
                token: token.0,
                lease: micros(lease),
            };
            match shared.ask(op, Some(REACH)).await? {
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
        self.system().spawn(Placement::Spread, move || async move {
            shared.held.lock().remove(&token);
            let op = LockOp::Release {
                holder: shared.holder,
                token: token.0,
            };
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
        let held = std::mem::take(&mut *self.shared.held.lock());
        for (token, on_lost) in held {
            if let Some(on_lost) = on_lost.upgrade() {
                on_lost.lost(Lost::Stopped);
            }
            self.shared.release_soon(token);
        }
    }
}
