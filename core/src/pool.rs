//! Pools: equal actors behind one route.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::actor::{Actor, Receives};
use crate::actor_ref::{ActorRef, Recipient};
use crate::error::SendError;
use crate::id::ActorId;
use crate::mailbox::DEFAULT_MAILBOX_CAPACITY;
use crate::message::Message;
use crate::observe::{Observable, Observed};
use crate::replay::Replays;
use crate::route::Route;
use crate::send::{Ask, Tell};
use crate::spawn::{Placement, ShowFn};
use crate::system::System;
use crate::watch::{ExitReason, OnEnd, Watch, WatchHandle};

mod roster;
mod route;
mod worker;

use roster::{Keeper, Roster};
use route::Pooled;
use worker::Wish;

/// The most workers a pool may have.
pub const MAX_POOL_SIZE: usize = 65_536;

/// How a pool chooses a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Routing {
    /// The one with the least to do; among equals in turn.
    #[default]
    LeastLoaded,
    /// One after the other, busy or not. For messages that all take about as long.
    RoundRobin,
}

/// How long a pool waits before it makes a failed worker anew: drawn evenly from zero to
/// `min(cap, base * 2^n)` for the n-th failure in a row, counted from 0 ("full jitter", from AWS's
/// "Exponential Backoff And Jitter", Brooker, 2015).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Backoff {
    base: Duration,
    cap: Duration,
    /// How long a worker has to run for its failures to be forgotten.
    stable: Duration,
}

/// Why a pool could not be started, or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// A pool of no workers would answer nobody.
    #[error("a pool has at least one worker")]
    NoWorkers,
    /// More workers than [`MAX_POOL_SIZE`].
    #[error("a pool has at most {MAX_POOL_SIZE} workers, not {0}")]
    TooMany(usize),
    /// The pool, or its system, has been stopped, or is about to end.
    #[error("the pool has been stopped")]
    Stopped,
}

/// What a pool is doing, as a console shows it. Each number is of its own moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct PoolState {
    /// Workers that get messages, those that are being made anew included.
    pub workers: usize,
    /// Of these: failed, and waiting to be made anew.
    pub down: usize,
    /// Workers that get nothing any more and finish what they have.
    pub retiring: usize,
    /// Messages that wait in mailboxes, those of retiring workers included.
    pub queued: usize,
    /// Senders that wait for room.
    pub waiting_senders: usize,
    /// Messages handed to workers since the start. Those that aren't `queued` any more were handled, or
    /// given up: expired, withdrawn, or left in a mailbox by a stop.
    pub accepted: u64,
    /// How often a worker was made anew, or is about to be.
    pub restarts: u64,
}

/// A pool of actors of one type, its workers, behind one route: each message goes to one of them.
///
/// To whoever sends it is one receiver: its [`recipient`](Pool::recipient) works wherever a [`Recipient`] does.
/// Clones are handles to the same pool, and any thread may use them.
///
/// # Which worker
///
/// [`Routing::LeastLoaded`], the default: the one with the least to do, in messages, the one in hand included;
/// among equals in turn. It begins with another worker each time and takes the first that is idle; it looks at
/// 64 workers at most, spread over a larger pool (two random choices would be nearly as good as all of them:
/// Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001). [`Routing::RoundRobin`] looks
/// at nothing but whether a worker is down.
///
/// If the chosen worker is full, the others are tried; if all are, `tell` and `ask` wait for room *anywhere*,
/// in the order they came, until their deadline, and `try_tell` gives the message back. Messages of one sender
/// keep no order, since different workers handle them (G2 speaks of one receiver; a worker is one, a pool
/// isn't).
///
/// What a send costs: no allocation beyond that of a worker's mailbox; a read lock and a pointer to the table
/// of workers, and for `LeastLoaded` the lock of each mailbox looked at, which is one in a pool with little
/// to do. Waiting for room costs a place in the line of each worker.
///
/// # When a worker fails
///
/// It is made anew by the factory, after a back-off: drawn evenly from zero to 10 ms, doubled with each failure
/// up to 1 s, and back to the start after 10 s up ([`PoolBuilder::backoff`]). What is in its mailbox is kept (G13); whoever
/// asked for the message in hand is told at once (G7). Meanwhile the others get what comes. A worker that
/// stops itself is made anew, too. That is all a pool knows of failure: it never gives up and never escalates.
/// Limits on restarts, escalation and trees are the work of supervisors.
///
/// # Its size
///
/// [`resize`](Pool::resize) adds workers, or retires the last ones: they get nothing new, finish what they
/// have, and end (G11). Nothing is lost or handled twice, whoever sends meanwhile.
///
/// # Its end
///
/// A pool ends by [`stop`](Pool::stop), [`drain`](Pool::drain) or [`kill`](Pool::kill), with its system, or
/// when nobody can send to it any more: when the last [`Pool`] and the last recipient of it are dropped it
/// drains, so that what was accepted is handled. (An actor goes on without references, because it may have
/// work of its own; a pool has none. A worker that holds a recipient of its own pool keeps it; a
/// [`WeakRecipient`](crate::WeakRecipient) doesn't.) It has ended when all its workers have, and then whoever
/// watches it is told.
///
/// ```
/// use callboard_core::{Actor, Context, Handler, Message, Pool, Simulation};
///
/// struct Square(u64);
/// impl Message for Square {
///     type Reply = u64;
/// }
///
/// struct Calculator;
/// impl Actor for Calculator {}
/// impl Handler<Square> for Calculator {
///     async fn handle(&mut self, Square(n): Square, _ctx: &mut Context<Self>) -> u64 {
///         n * n
///     }
/// }
///
/// let mut simulation = Simulation::new(1);
/// let system = simulation.system().clone();
/// simulation.block_on(async {
///     let pool = Pool::start(&system, 4, || Calculator)?;
///     assert_eq!(pool.ask(Square(7)).await?, 49);
///     pool.resize(2)?;
///     assert_eq!(pool.state().workers, 2);
///     pool.drain();
///     pool.wait().await;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
pub struct Pool<A: Actor> {
    held: Arc<Held<A>>,
}

/// What handles and recipients share. When the last is gone, the pool drains.
struct Held<A: Actor> {
    roster: Arc<Roster<A>>,
    keeper: ActorRef<Keeper<A>>,
}

impl<A: Actor> Drop for Held<A> {
    fn drop(&mut self) {
        self.roster.end(Wish::Drain);
    }
}

impl<A: Actor> Pool<A> {
    /// Starts a pool with the defaults: mailboxes of
    /// [`DEFAULT_MAILBOX_CAPACITY`], workers spread over the arbiters,
    /// [`Routing::LeastLoaded`]. `factory` makes each worker, on that worker's arbiter, and makes failed ones
    /// anew.
    ///
    /// # Errors
    /// [`PoolError`]: a size that no pool has, or the system has been shut down.
    pub fn start<F>(system: &System, size: usize, factory: F) -> Result<Self, PoolError>
    where
        F: Fn() -> A + Send + Sync + 'static,
    {
        Pool::builder(system, factory).size(size).start()
    }

    /// Prepares a pool.
    pub fn builder<F>(system: &System, factory: F) -> PoolBuilder<F>
    where
        F: Fn() -> A + Send + Sync + 'static,
    {
        PoolBuilder {
            system: system.clone(),
            factory,
            options: Options {
                label: None,
                capacity: DEFAULT_MAILBOX_CAPACITY,
                placement: Placement::Spread,
                routing: Routing::default(),
                backoff: Backoff {
                    base: Duration::from_millis(10),
                    cap: Duration::from_secs(1),
                    stable: Duration::from_secs(10),
                },
                show: None,
                replays: None,
            },
            size: system.arbiter_count(),
        }
    }

    /// Its id: that of the actor that stands for it in lists.
    #[must_use]
    pub fn id(&self) -> ActorId {
        self.held.keeper.id()
    }

    /// Its name for people.
    #[must_use]
    pub fn label(&self) -> Arc<str> {
        Arc::clone(self.held.roster.label())
    }

    /// The pool as whoever takes messages of one type. It holds the pool, as a handle does.
    #[must_use]
    pub fn recipient<M, How>(&self) -> Recipient<M>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let held = Arc::clone(&self.held);
        Recipient::new(Arc::new(Pooled::<_, A, How>::new(held)))
    }

    /// Sends a message to one of the workers, waiting for room in any. See [`Tell`].
    pub fn tell<M, How>(
        &self,
        message: M,
    ) -> Tell<'_, M, impl Route<M> + Clone + use<'_, A, M, How>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        Tell::new(Pooled::<_, A, How>::new(&self.held), message)
    }

    /// Sends a message to one of the workers without waiting.
    ///
    /// # Errors
    /// Gives the message back if no worker has room, or the pool has been stopped (G6).
    pub fn try_tell<M, How>(&self, message: M) -> Result<(), SendError<M>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        Pooled::<_, A, How>::new(&self.held).try_tell(message)
    }

    /// Sends a message to one of the workers and waits for the answer. See [`Ask`].
    pub fn ask<M, How>(&self, message: M) -> Ask<'_, M, impl Route<M> + Clone + use<'_, A, M, How>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        Ask::new(Pooled::<_, A, How>::new(&self.held), message)
    }

    /// Makes it that many workers, from 1 to [`MAX_POOL_SIZE`]. New ones are started; the last ones are
    /// retired: they get nothing new from now on, and end when they have handled what they have. Does not
    /// wait for either; a retired worker that fails with messages left is made anew for them.
    ///
    /// # Errors
    /// [`PoolError`]; nothing was changed.
    pub fn resize(&self, size: usize) -> Result<(), PoolError> {
        self.held.roster.resize(size)
    }

    /// Lets each worker finish the message in hand, then ends it; what is queued goes to dead letters (G11).
    pub fn stop(&self) {
        self.held.roster.end(Wish::Stop);
    }

    /// Refuses new messages from now on, handles what is queued, then ends (G11). A worker that fails
    /// meanwhile is made anew for what it has left.
    pub fn drain(&self) {
        self.held.roster.end(Wish::Drain);
    }

    /// Drops each worker's handler at its next `.await`, and ends it (G11).
    pub fn kill(&self) {
        self.held.roster.end(Wish::Kill);
    }

    /// Waits until all workers have truly ended, after a stop, drain or kill. It holds the pool: who only
    /// waits for others to let go of it watches it instead.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing but that nobody waits.
    pub async fn wait(&self) -> ExitReason {
        self.held.keeper.wait().await
    }

    /// What it is doing now. Takes the lock of each worker's mailbox once.
    #[must_use]
    pub fn state(&self) -> PoolState {
        self.held.roster.state()
    }
}

impl<A: Actor> Watch for Pool<A> {
    /// Told when all workers have ended.
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        self.held.keeper.watch(on_end)
    }
}

impl<A: Actor> Clone for Pool<A> {
    fn clone(&self) -> Self {
        Pool {
            held: Arc::clone(&self.held),
        }
    }
}

impl<A: Actor> fmt::Debug for Pool<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({}{})", self.label(), self.id())
    }
}

/// What the workers of a pool have in common.
#[derive(Debug, Clone)]
struct Options {
    label: Option<Arc<str>>,
    capacity: usize,
    placement: Placement,
    routing: Routing,
    backoff: Backoff,
    /// Puts a worker on the list of those that can be observed.
    show: Option<ShowFn>,
    replays: Option<Box<Replays>>,
}

/// A pool in preparation. Made by [`Pool::builder`].
#[must_use = "nothing starts until `start` is called"]
pub struct PoolBuilder<F> {
    system: System,
    factory: F,
    options: Options,
    size: usize,
}

impl<F> PoolBuilder<F> {
    /// How many workers, from 1 to [`MAX_POOL_SIZE`]; one per arbiter unless said otherwise.
    pub fn size(mut self, size: usize) -> Self {
        self.size = size;
        self
    }

    /// Its name for people; its workers are called so with a number. The name of their type unless said
    /// otherwise.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.options.label = Some(label.into());
        self
    }

    /// How many messages the mailbox of each worker holds, as in [`Spawn::mailbox`](crate::Spawn::mailbox).
    /// What happens when all are full is the pool's to decide: senders wait.
    ///
    /// Small mailboxes make a pool fairer: a message waits at the pool's door until a worker is free, rather
    /// than behind a long one.
    pub fn mailbox(mut self, capacity: usize) -> Self {
        self.options.capacity = capacity;
        self
    }

    /// Where workers live: spread over the arbiters, unless said otherwise; with
    /// [`Placement::OwnThread`] each on a thread of its own, for work that blocks.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.options.placement = placement;
        self
    }

    /// How a worker is chosen.
    pub fn routing(mut self, routing: Routing) -> Self {
        self.options.routing = routing;
        self
    }

    /// How long a failed worker waits to be made anew: evenly drawn from zero to a ceiling that starts with
    /// `base` and doubles with each failure up to `cap`; 10 ms and 1 s unless said otherwise. Zero is at once.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.options.backoff = Backoff {
            base,
            cap,
            ..self.options.backoff
        };
        self
    }

    /// Puts each worker on the list of [`System::observe`], with what it shows of itself, until it ends: those
    /// that a [`resize`](Pool::resize) adds, too. One that is made anew stays there.
    pub fn observable<A: Observable>(mut self) -> Self
    where
        F: Fn() -> A,
    {
        self.options.show = Some(Observed::add_any::<A>);
        self
    }

    /// A message of type `M` that is in hand when its worker crashes is offered again, up to `times` times, to the
    /// same worker made anew: [`Spawn::replay`](crate::Spawn::replay) (G14).
    pub fn replay<M: Message + Clone>(mut self, times: u32) -> Self {
        self.options.replays.get_or_insert_default().add::<M>(times);
        self
    }

    /// Starts the pool. Workers take messages from now on, and handle them once they are up.
    ///
    /// # Errors
    /// [`PoolError`]: a size that no pool has, or the system has been shut down. Nothing was started.
    pub fn start<A>(self) -> Result<Pool<A>, PoolError>
    where
        A: Actor,
        F: Fn() -> A + Send + Sync + 'static,
    {
        if self.system.is_closed() {
            return Err(PoolError::Stopped);
        }
        let roster = Roster::new(&self.system, self.options, Arc::new(self.factory));
        roster.resize(self.size)?;
        let keeper = roster.start_keeper();
        let held = Arc::new(Held { roster, keeper });
        Ok(Pool { held })
    }
}

impl<F> fmt::Debug for PoolBuilder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("size", &self.size)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Backoff {
    /// The longest the wait after that many failures in a row can be.
    fn ceiling(&self, failures: u32) -> Duration {
        let doubled = 2u32.checked_pow(failures);
        let span = doubled.and_then(|factor| self.base.checked_mul(factor));
        span.map_or(self.cap, |span| span.min(self.cap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_its_cap() {
        let ms = Duration::from_millis;
        let backoff = Backoff {
            base: ms(10),
            cap: ms(100),
            stable: ms(1_000),
        };
        let ceilings: Vec<_> = (0..5).map(|n| backoff.ceiling(n)).collect();
        assert_eq!(ceilings, [ms(10), ms(20), ms(40), ms(80), ms(100)]);
        assert_eq!(backoff.ceiling(u32::MAX), ms(100));
        let none = Backoff {
            base: Duration::ZERO,
            ..backoff
        };
        assert_eq!(none.ceiling(3), Duration::ZERO);
        let cap_below_base = Backoff {
            cap: ms(5),
            ..backoff
        };
        assert_eq!(cap_below_base.ceiling(0), ms(5));
    }
}
