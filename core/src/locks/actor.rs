//! The actor inside a lock: a line of those who wait, and a timer for the lease that ends next.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;

use super::line::{Entry, Leaving, Line, Request};
use super::state::LockState;
use super::{LockOptions, Stale, Token};
use crate::actor::{Actor, DeferredHandler, Handler};
use crate::actor_ref::ActorRef;
use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::context::{Context, TaskHandle};
use crate::error::{Failure, FailureKind};
use crate::lease::{Grant, LeaseError, Leases, Lost, OnLost, Wish};
use crate::message::Message;
use crate::observe::Observable;
use crate::responder::Responder;
use crate::system::System;

/// How many leases a lock shows to whoever looks at all actors; who asks the lock itself sees all.
const HELD_SHOWN: usize = 16;

/// Leases granted by an actor of this process.
pub(super) struct LocalLeases {
    actor: ActorRef<LockActor>,
    system: System,
    name: Arc<str>,
    units: u32,
}

impl LocalLeases {
    pub(super) fn start(
        system: &System,
        kind: &str,
        name: Arc<str>,
        units: u32,
        options: LockOptions,
    ) -> Arc<Self> {
        let inner = Arc::clone(&name);
        let label = format!("{kind} {name}");
        let actor = system
            .actor(move || LockActor {
                line: Line::new(inner, units, options.tokens_after, options.waiters),
                timer: None,
            })
            .label(label)
            .placement(options.placement)
            .observable()
            .start();
        Arc::new(LocalLeases {
            actor,
            system: system.clone(),
            name,
            units,
        })
    }
}

impl Leases for LocalLeases {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn system(&self) -> &System {
        &self.system
    }

    fn units(&self) -> u32 {
        self.units
    }

    fn grant(&self, wish: Wish) -> BoxFuture<'static, Result<Grant, Failure>> {
        let actor = self.actor.clone();
        Box::pin(async move {
            let deadline = wish.deadline;
            let wait = deadline != Some(Duration::ZERO);
            let ask = actor.ask(Enter {
                request: Request {
                    units: wish.units,
                    lease: wish.lease,
                    holder: wish.holder,
                    on_lost: wish.on_lost,
                },
                wait,
            });
            let asked = match deadline {
                Some(span) if wait => ask.deadline(span).await,
                _ => ask.no_deadline().await,
            };
            match asked {
                Ok(handed) => Ok(handed.take()),
                Err(error) => Err(explained(error.into(), &actor)),
            }
        })
    }

    fn renew(
        &self,
        token: Token,
        lease: Duration,
    ) -> BoxFuture<'static, Result<Instant, LeaseError>> {
        let actor = self.actor.clone();
        Box::pin(async move {
            // The lease has an end of its own; that of the request in hand is another matter.
            let renewed = actor.ask(Renew { token, lease }).no_deadline().await;
            Ok(renewed.map_err(Failure::from)??)
        })
    }

    fn release(&self, token: Token, answer: Responder<Result<(), Stale>>) {
        // With the actor all its leases have ended.
        if !self.actor.is_alive() {
            answer.fail(stopped(&self.actor.label()));
        } else if answer.expects_answer() {
            self.actor.ask_reserved(Release { token }, answer);
        } else {
            self.actor.tell_reserved(Release { token });
        }
    }

    fn state(&self) -> BoxFuture<'static, Result<LockState, Failure>> {
        let actor = self.actor.clone();
        Box::pin(async move { Ok(actor.ask(State).await?) })
    }

    fn close(&self) {
        self.actor.stop();
    }
}

/// Nobody who failed to get a lock holds it: what was on its way is released. Says which lock it was.
fn explained(failure: Failure, actor: &ActorRef<LockActor>) -> Failure {
    let failure = failure.with_verdict(Verdict::NotExecuted);
    match failure.detail() {
        Some(_) => failure,
        None => failure.with_detail(actor.label().to_string()),
    }
}

fn stopped(label: &str) -> Failure {
    Failure::new(FailureKind::Stopped, Verdict::NotExecuted).with_detail(label)
}

/// Asks for a lease.
struct Enter {
    request: Request,
    wait: bool,
}

impl Message for Enter {
    type Reply = Handed;
}

struct Renew {
    token: Token,
    lease: Duration,
}

impl Message for Renew {
    type Reply = Result<Instant, Stale>;
}

struct Release {
    token: Token,
}

impl Message for Release {
    type Reply = Result<(), Stale>;
}

/// Somebody waits no longer.
struct Left {
    ticket: u64,
    /// Until when it wanted to wait.
    due: Option<Instant>,
}

impl Message for Left {
    type Reply = ();
}

/// A lease is over.
struct Due;

impl Message for Due {
    type Reply = ();
}

struct State;

impl Message for State {
    type Reply = LockState;
}

/// A grant on its way to whoever asked for it. Dropped without being taken, it is released.
struct Handed {
    grant: Grant,
    taken: bool,
    actor: ActorRef<LockActor>,
}

impl Handed {
    fn take(mut self) -> Grant {
        self.taken = true;
        self.grant
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if !self.taken && self.actor.is_alive() {
            let token = self.grant.token;
            self.actor.tell_reserved(Release { token });
        }
    }
}

struct LockActor {
    line: Line<Responder<Handed>>,
    /// Wakes it when a lease may be over. It isn't taken back when that lease is released: most are released
    /// long before they end, so one timer does for all that come and go meanwhile.
    timer: Option<(Instant, TaskHandle)>,
}

impl LockActor {
    /// Ends the leases that are over. Before everything else, since the timer's message may lie behind others.
    fn expire(&mut self, now: Instant) {
        while let Some(holder) = self.line.expire(now) {
            tell_lost(&holder, Lost::Expired);
        }
    }

    /// Grants what is free to those who wait, and sees to the timer.
    fn settle(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let still_waits = |who: &mut Responder<Handed>| who.progress(Verdict::Executed);
        while let Some((who, grant)) = self.line.serve(now, still_waits) {
            who.send(handed(grant, ctx));
        }
        let Some(next) = self.line.next_end() else {
            return;
        };
        if let Some((due, timer)) = &self.timer {
            if *due <= next {
                return;
            }
            timer.cancel();
        }
        let me = ctx.me();
        let sleep = ctx.system().clock().sleep_until(next);
        let timer = ctx.spawn(async move {
            sleep.await;
            me.tell_reserved(Due);
        });
        self.timer = Some((next, timer));
    }
}

fn handed(grant: Grant, ctx: &Context<LockActor>) -> Handed {
    Handed {
        grant,
        taken: false,
        actor: ctx.me(),
    }
}

fn tell_lost(holder: &Weak<dyn OnLost>, why: Lost) {
    if let Some(holder) = holder.upgrade() {
        holder.lost(why);
    }
}

impl Actor for LockActor {}

impl Observable for LockActor {
    type State = LockState;

    fn observe(&self) -> LockState {
        self.line.state(HELD_SHOWN)
    }
}

impl Drop for LockActor {
    /// However the lock ends, whoever waits and whoever holds is told.
    fn drop(&mut self) {
        let name = self.line.name();
        let (waiting, held) = self.line.close();
        for who in waiting {
            who.fail(stopped(&name));
        }
        for holder in held {
            tell_lost(&holder, Lost::Stopped);
        }
    }
}

impl DeferredHandler<Enter> for LockActor {
    async fn handle_deferred(
        &mut self,
        enter: Enter,
        mut who: Responder<Handed>,
        ctx: &mut Context<Self>,
    ) {
        let now = ctx.system().clock().now();
        self.expire(now);
        self.settle(now, ctx);
        match self.line.entry(enter.request.units) {
            Entry::Free => {
                let grant = self.line.grant(enter.request, now);
                who.send(handed(grant, ctx));
            }
            Entry::Wait | Entry::Full if !enter.wait => {
                self.line.count_timeout();
                let failure = Failure::new(FailureKind::DeadlineExceeded, Verdict::NotExecuted);
                who.fail(failure.with_detail(format!("{} is held", self.line.name())));
                return;
            }
            Entry::Full => {
                self.line.count_refusal();
                let failure = Failure::new(FailureKind::Overloaded, Verdict::NotExecuted);
                who.fail(failure.with_detail(format!("too many wait for {}", self.line.name())));
                return;
            }
            Entry::Wait => {
                let me = ctx.me();
                let left = Left {
                    ticket: self.line.next_ticket(),
                    due: ctx.meta().deadline,
                };
                who.on_withdraw(move || me.tell_reserved(left));
                self.line.wait(enter.request, who, now);
            }
        }
        self.settle(now, ctx);
    }
}

impl Handler<Renew> for LockActor {
    async fn handle(&mut self, renew: Renew, ctx: &mut Context<Self>) -> Result<Instant, Stale> {
        let now = ctx.system().clock().now();
        self.expire(now);
        let renewed = self.line.renew(renew.token, renew.lease, now);
        self.settle(now, ctx);
        renewed
    }
}

impl Handler<Release> for LockActor {
    async fn handle(
        &mut self,
        Release { token }: Release,
        ctx: &mut Context<Self>,
    ) -> Result<(), Stale> {
        let now = ctx.system().clock().now();
        self.expire(now);
        let released = self.line.release(token);
        self.settle(now, ctx);
        released
    }
}

impl Handler<Left> for LockActor {
    async fn handle(&mut self, left: Left, ctx: &mut Context<Self>) {
        let now = ctx.system().clock().now();
        let leaving = match left.due {
            Some(due) if due <= now => Leaving::TimedOut,
            _ => Leaving::Withdrew,
        };
        self.expire(now);
        self.line.leave(left.ticket, leaving);
        // Who was first in line may have kept others waiting who want less.
        self.settle(now, ctx);
    }
}

impl Handler<Due> for LockActor {
    async fn handle(&mut self, _: Due, ctx: &mut Context<Self>) {
        self.timer = None;
        let now = ctx.system().clock().now();
        self.expire(now);
        self.settle(now, ctx);
    }
}

impl Handler<State> for LockActor {
    async fn handle(&mut self, _: State, ctx: &mut Context<Self>) -> LockState {
        let now = ctx.system().clock().now();
        self.expire(now);
        self.settle(now, ctx);
        self.line.state(usize::MAX)
    }
}

impl fmt::Debug for LockActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockActor").finish_non_exhaustive()
    }
}
