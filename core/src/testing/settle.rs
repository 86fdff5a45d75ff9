//! Waiting until nothing more can happen by itself.

use std::fmt;
use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, select};

use super::{seed_text, with_mail};
use crate::driver::{self, Arbiter};
use crate::executor::{Executor, Settler};
use crate::system::System;

/// How much work [`settle`] waits for, unless told otherwise: handled messages and turns of actors and tasks,
/// of all arbiters together.
pub const SETTLE_LIMIT: u64 = 1_000_000;
/// How long [`settle`] waits on real arbiters for a turn that doesn't end, unless told otherwise.
pub const SETTLE_PATIENCE: Duration = Duration::from_secs(10);

/// Completes when the system has settled: when no actor and no task of it can take a step before time passes,
/// or before somebody outside does something.
///
/// So then: what was sent has arrived, every mailbox is empty or belongs to an actor whose handler waits, and
/// every handler and task that runs waits for time, for an answer that takes time, or for something from outside,
/// such as a gate that the test holds. It holds as long as nobody outside moves.
///
/// - **On the simulating executor** this is exact: it completes when nothing can run until time moves to the next
///   timer. Virtual time doesn't move meanwhile.
/// - **On arbiters** it is exact for actors, tasks and everything they send each other, on all threads: it
///   completes at some time after a moment at which no arbiter had anything to do. Time goes on meanwhile, so
///   timers may have fired since.
///
/// Outside, and not waited for, by name: timers; sockets, pipes and child processes; what runs past Callboard
/// (`actix_rt::spawn`, tasks of other runtimes, threads), the test itself among it; other systems.
///
/// # Errors
/// [`UnsettledKind::Busy`] if it goes on and on: an actor that tells itself a message for every message, say. The
/// limit is [`SETTLE_LIMIT`], or what [`Settle::limit`] says; on arbiters also [`SETTLE_PATIENCE`], or what
/// [`Settle::patience`] says, for a turn that keeps its thread. [`UnsettledKind::InTurn`] if an actor or a task of the system awaits it: it would wait for
/// itself.
///
/// # Cancel safety
/// Dropping it changes nothing.
///
/// ```
/// # use callboard_core::testing::{self, On, Test};
/// # use callboard_core::{Actor, Context, Handler, Message};
/// # struct Add(u64);
/// # impl Message for Add { type Reply = (); }
/// # struct Sum(std::sync::Arc<std::sync::atomic::AtomicU64>);
/// # impl Actor for Sum {}
/// # impl Handler<Add> for Sum {
/// #     async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) {
/// #         self.0.fetch_add(n, std::sync::atomic::Ordering::SeqCst);
/// #     }
/// # }
/// Test::new(On::Both).run(|system| async move {
///     let total = std::sync::Arc::default();
///     let sum = system.start(Sum(std::sync::Arc::clone(&total)));
///     for n in 1..=4 {
///         sum.tell(Add(n)).await.unwrap();
///     }
///     testing::settle(&system).await.unwrap(); // all four were handled
///     assert_eq!(total.load(std::sync::atomic::Ordering::SeqCst), 10);
/// });
/// ```
pub fn settle(system: &System) -> Settle {
    Settle {
        system: system.clone(),
        limit: SETTLE_LIMIT,
        patience: SETTLE_PATIENCE,
    }
}

/// Moves virtual time forward by `span`, and runs what comes due on the way, each at its time. Then the system has
/// [settled](settle): what was due at the very end has run, too.
///
/// # Errors
/// [`UnsettledKind::RealTime`] on arbiters, whose time nobody moves. [`UnsettledKind::Busy`] and
/// [`UnsettledKind::InTurn`] as for [`settle`].
///
/// # Cancel safety
/// Dropping it leaves time where it is by then.
pub async fn advance(system: &System, span: Duration) -> Result<(), Unsettled> {
    if !system.clock().is_manual() {
        return Err(Unsettled {
            kind: UnsettledKind::RealTime,
            detail: "time can't be moved on arbiters: use the simulating executor".to_owned(),
        });
    }
    // First what can happen before any time passes.
    settle(system).await?;
    sleep(system, span).await?;
    settle(system).await
}

/// Sleeps; notices that time doesn't move, since something can always run.
pub(super) async fn sleep(system: &System, span: Duration) -> Result<(), Unsettled> {
    let sleep = system.clock().sleep(span);
    let Executor::Simulated(simulated) = system.executor() else {
        sleep.await;
        return Ok(());
    };
    let guard = simulated.simulation().settlers.guard(SETTLE_LIMIT);
    let stuck = std::future::poll_fn(|cx| Settler::poll(&guard, cx));
    match select(pin!(sleep), stuck).await {
        Either::Left(_) => Ok(()),
        Either::Right(_) => Err(busy(system, SETTLE_LIMIT)),
    }
}

/// Waits until a system has settled, once awaited. Made by [`settle`].
#[derive(Debug, Clone)]
#[must_use = "nothing is waited for until it is awaited"]
pub struct Settle {
    system: System,
    limit: u64,
    patience: Duration,
}

impl Settle {
    /// How much work to wait for, in handled messages and turns; [`SETTLE_LIMIT`] unless said otherwise.
    pub fn limit(mut self, work: u64) -> Self {
        self.limit = work;
        self
    }

    /// How long to wait on real arbiters for a turn that doesn't end, because a handler blocks its thread or computes
    /// for long; [`SETTLE_PATIENCE`] unless said otherwise. Of no effect in a simulation, where no turn takes time.
    pub fn patience(mut self, span: Duration) -> Self {
        self.patience = span;
        self
    }

    async fn wait(self) -> Result<(), Unsettled> {
        let Settle {
            system,
            limit,
            patience,
        } = self;
        let arbiters = system.every_arbiter();
        let in_turn = driver::with_here(|here| {
            here.is_in_turn() && arbiters.iter().any(|arbiter| Arc::ptr_eq(arbiter, here))
        });
        if in_turn == Some(true) {
            return Err(Unsettled {
                kind: UnsettledKind::InTurn,
                detail: "an actor or a task can't wait until it rests itself: await it in the test"
                    .to_owned(),
            });
        }
        match system.executor() {
            Executor::Simulated(simulated) => {
                let settler = simulated.simulation().settlers.add(limit);
                let settled = std::future::poll_fn(|cx| Settler::poll(&settler, cx)).await;
                if settled {
                    Ok(())
                } else {
                    Err(busy(&system, limit))
                }
            }
            Executor::Arbiters(_) => settle_arbiters(&system, limit, patience).await,
        }
    }
}

impl IntoFuture for Settle {
    type Output = Result<(), Unsettled>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}

async fn settle_arbiters(system: &System, limit: u64, patience: Duration) -> Result<(), Unsettled> {
    let work = |arbiters: &[Arc<Arbiter>]| -> u64 {
        arbiters.iter().map(|arbiter| arbiter.work_done()).sum()
    };
    let start = work(&system.every_arbiter());
    loop {
        if is_still(system) {
            return Ok(());
        }
        let arbiters = system.every_arbiter();
        // Less than before, if an arbiter has ended.
        if work(&arbiters).saturating_sub(start) > limit {
            return Err(busy(system, limit));
        }
        let due = pin!(system.clock().sleep(patience));
        if let Either::Right(_) = select(pin!(visit(&arbiters)), due).await {
            let state = with_mail(system);
            return Err(Unsettled {
                kind: UnsettledKind::Busy,
                detail: format!("not settled: a turn hasn't ended within {patience:?}: {state}"),
            });
        }
    }
}

/// Whether there was a moment, during the call, at which no arbiter had anything to do.
fn is_still(system: &System) -> bool {
    let looks = || {
        // Looked up anew each time: one that has come meanwhile was made by one that moves.
        let arbiters = system.every_arbiter();
        let looks = arbiters.iter();
        looks
            .map(|arbiter| Some((arbiter.number(), arbiter.look()?)))
            .collect()
    };
    let has_parcels = || {
        let arbiters = system.every_arbiter();
        arbiters.iter().any(|arbiter| arbiter.has_parcels())
    };
    stood_still(looks, has_parcels)
}

/// What all arbiters say of themselves: numbers that change when they do something. `None` if one does just now.
type Looks = Option<Vec<(u32, u64)>>;

/// Why these looks in this order show it is said at `Stillness`.
fn stood_still(looks: impl Fn() -> Looks, has_parcels: impl Fn() -> bool) -> bool {
    let first = looks();
    first.is_some() && !has_parcels() && looks() == first
}

/// Waits until each arbiter has come to something new.
async fn visit(arbiters: &[Arc<Arbiter>]) {
    let visits: Vec<_> = arbiters
        .iter()
        .map(|arbiter| {
            let (been, back) = oneshot::channel::<()>();
            arbiter.visit(move || drop(been));
            back
        })
        .collect();
    for back in visits {
        // Dropped there, or because that arbiter has ended.
        let _ = back.await;
    }
}

fn busy(system: &System, limit: u64) -> Unsettled {
    Unsettled {
        kind: UnsettledKind::Busy,
        detail: format!(
            "not settled after {limit} handled messages and turns: {}{}",
            with_mail(system),
            seed_text(system)
        ),
    }
}

/// Why a system has not settled.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Unsettled {
    kind: UnsettledKind,
    detail: String,
}

impl Unsettled {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> UnsettledKind {
        self.kind
    }
}

impl fmt::Debug for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As `unwrap` in a test shows it.
        write!(f, "{:?}: {}", self.kind, self.detail)
    }
}

/// The kinds of [`Unsettled`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnsettledKind {
    /// There was something to do, again and again.
    Busy,
    /// An actor or a task of the system itself waited for it.
    InTurn,
    /// Time was to be moved on arbiters.
    RealTime,
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn only_what_two_looks_agree_upon_with_nothing_on_its_way_between_them_is_still() {
        let check = |first: Looks, parcels: bool, second: Looks, expected: bool| {
            let calls = RefCell::new(Vec::new());
            let answers = RefCell::new(VecDeque::from([first, second]));
            let looks = || {
                calls.borrow_mut().push("look");
                answers.borrow_mut().pop_front().unwrap()
            };
            let has_parcels = || {
                calls.borrow_mut().push("parcels");
                parcels
            };
            assert_eq!(stood_still(looks, has_parcels), expected);
            let calls = calls.into_inner();
            assert!(["look", "parcels", "look"].starts_with(&calls), "{calls:?}");
        };
        let still = || Some(vec![(1, 4), (2, 8)]);
        check(still(), false, still(), true);
        // One moves at the first look, or at the second.
        check(None, false, still(), false);
        check(still(), false, None, false);
        // One has moved in between, and rests again: what it did may be with the one that was looked at before.
        check(still(), false, Some(vec![(1, 6), (2, 8)]), false);
        // One has come in between.
        check(still(), false, Some(vec![(1, 4), (2, 8), (3, 0)]), false);
        // Something is on its way.
        check(still(), true, still(), false);
    }
}
