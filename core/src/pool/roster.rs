//! All workers of a pool: who gets messages, who retires, and when none is left.

use std::pin::pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::worker::{Wish, Worker};
use super::{MAX_POOL_SIZE, Options, PoolError, PoolState, Routing};
use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::cell::short_type_name;
use crate::mailbox::Overflow;
use crate::system::System;
use crate::watch::ExitReason;

/// At how many workers a send looks at most before it takes the best of them.
const LOOK: usize = 64;
/// What makes a worker that is down the last choice.
const DOWN: usize = usize::MAX / 2;

/// The workers that get messages, in the order they were made.
pub(super) type Table<A> = Arc<[Arc<Worker<A>>]>;

pub(super) struct Roster<A: Actor> {
    system: System,
    label: Arc<str>,
    options: Options,
    factory: Arc<dyn Fn() -> A + Send + Sync>,
    /// Changed under the lock of `rest` only, and read by each send.
    table: RwLock<Table<A>>,
    rest: Mutex<Rest<A>>,
    /// It is ending, and the table is and stays empty. Set under the lock of `rest`.
    closed: AtomicBool,
    /// Where the next send begins to look.
    cursor: AtomicUsize,
    restarts: AtomicU64,
    accepted: AtomicU64,
    /// Senders in line.
    waiting: AtomicUsize,
    /// The table has changed, or a worker has closed.
    changed: Notify,
    keeper: OnceLock<ActorRef<Keeper<A>>>,
}

struct Rest<A: Actor> {
    /// Those that finish what they have.
    retiring: Vec<Arc<Worker<A>>>,
    /// The number of the last worker made.
    made: u64,
}

impl<A: Actor> Roster<A> {
    pub(super) fn new(
        system: &System,
        options: Options,
        factory: Arc<dyn Fn() -> A + Send + Sync>,
    ) -> Arc<Self> {
        let label = options.label.clone();
        Arc::new(Roster {
            system: system.clone(),
            label: label.unwrap_or_else(|| short_type_name::<A>().into()),
            options,
            factory,
            table: RwLock::new(Arc::default()),
            rest: Mutex::new(Rest {
                retiring: Vec::new(),
                made: 0,
            }),
            closed: AtomicBool::new(false),
            cursor: AtomicUsize::new(0),
            restarts: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            changed: Notify::new(),
            keeper: OnceLock::new(),
        })
    }

    pub(super) fn system(&self) -> &System {
        &self.system
    }

    pub(super) fn label(&self) -> &Arc<str> {
        &self.label
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn table(&self) -> Table<A> {
        Arc::clone(&self.table.read())
    }

    /// Completes when the table has changed since this was called.
    pub(super) fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }

    pub(super) fn waiting(&self) -> &AtomicUsize {
        &self.waiting
    }

    #[inline]
    pub(super) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Which worker the next message goes to, as an index. The table must not be empty.
    pub(super) fn choose(&self, table: &[Arc<Worker<A>>]) -> usize {
        let first = self.cursor.fetch_add(1, Ordering::Relaxed) % table.len();
        // In a large pool those that are looked at lie far apart: busy ones are often neighbours.
        let stride = (table.len() / LOOK).max(1);
        let mut best = (usize::MAX, first);
        for look in 0..table.len().min(LOOK) {
            let at = (first + look * stride) % table.len();
            let worker = &table[at];
            let load = match self.options.routing {
                _ if worker.is_down() => DOWN,
                Routing::LeastLoaded => worker.load(),
                Routing::RoundRobin => 0,
            };
            if load == 0 {
                return at;
            }
            if load < best.0 {
                best = (load, at);
            }
        }
        best.1
    }

    /// Gives a turn back that [`choose`](Roster::choose) took and that came to nothing.
    pub(super) fn give_turn_back(&self) {
        self.cursor.fetch_sub(1, Ordering::Relaxed);
    }

    /// Starts the actor that stands for the pool: it is listed, it is watched, and it ends with the system.
    pub(super) fn start_keeper(self: &Arc<Self>) -> ActorRef<Keeper<A>> {
        // Made here, so that it is dropped also if it is never started.
        let keeper = Keeper(Arc::clone(self));
        let keeper = self.system.actor(move || keeper).label(self.label.clone());
        let keeper = keeper.start();
        let keeper = self.keeper.get_or_init(|| keeper).clone();
        // It may all be over before anybody could say so.
        self.note_end();
        keeper
    }

    pub(super) fn resize(self: &Arc<Self>, size: usize) -> Result<(), PoolError> {
        match size {
            0 => return Err(PoolError::NoWorkers),
            size if size > MAX_POOL_SIZE => return Err(PoolError::TooMany(size)),
            _ => {}
        }
        let mut rest = self.rest.lock();
        if self.is_closed() {
            return Err(PoolError::Stopped);
        }
        let before = self.table();
        let kept = &before[..size.min(before.len())];
        let retired = &before[kept.len()..];
        let new: Vec<_> = (kept.len()..size).map(|_| self.make(&mut rest)).collect();
        rest.retiring.extend(retired.iter().cloned());
        *self.table.write() = kept.iter().chain(&new).cloned().collect();
        drop(rest);
        // Factories, and whoever is woken, may be anybody's code: outside the lock.
        for worker in &new {
            worker.start(self);
        }
        self.changed.notify_waiters();
        for worker in retired {
            worker.end(Wish::Drain, self);
        }
        Ok(())
    }

    fn make(&self, rest: &mut Rest<A>) -> Arc<Worker<A>> {
        rest.made += 1;
        let factory = Arc::clone(&self.factory);
        let spawn = self
            .system
            .actor(move || factory())
            .label(format!("{}-{}", self.label, rest.made))
            .mailbox(self.options.capacity, Overflow::Wait)
            .placement(self.options.placement)
            .shown_by(self.options.show)
            .replaying(self.options.replays.clone());
        let (actor, place) = spawn.place();
        Worker::new(actor, place)
    }

    /// Takes nothing any more, and ends all workers as is wished. What is wished later only ever adds.
    pub(super) fn end(self: &Arc<Self>, wish: Wish) {
        let mut rest = self.rest.lock();
        self.closed.store(true, Ordering::Release);
        let table = std::mem::take(&mut *self.table.write());
        rest.retiring.extend(table.iter().cloned());
        let all = rest.retiring.clone();
        drop(rest);
        self.changed.notify_waiters();
        for worker in all {
            worker.end(wish, self);
        }
        self.note_end();
    }

    /// A worker has ended for good.
    pub(super) fn on_closed(&self, worker: &Arc<Worker<A>>) {
        let mut rest = self.rest.lock();
        rest.retiring.retain(|other| !Arc::ptr_eq(other, worker));
        drop(rest);
        self.changed.notify_waiters();
        self.note_end();
    }

    fn has_ended(&self) -> bool {
        let rest = self.rest.lock();
        self.is_closed() && rest.retiring.is_empty()
    }

    /// If all is over, those who watch are told.
    fn note_end(&self) {
        if self.has_ended()
            && let Some(keeper) = self.keeper.get()
        {
            keeper.stop();
        }
    }

    async fn ended(&self) {
        loop {
            // Listens before it looks.
            let changed = pin!(self.changed());
            if self.has_ended() {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn state(&self) -> PoolState {
        let rest = self.rest.lock();
        let table = self.table();
        let all = || table.iter().chain(&rest.retiring);
        PoolState {
            workers: table.len(),
            down: table.iter().filter(|worker| worker.is_down()).count(),
            retiring: rest.retiring.len(),
            queued: all().map(|worker| worker.queued()).sum(),
            waiting_senders: self.waiting.load(Ordering::Relaxed),
            accepted: self.accepted.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
        }
    }
}

/// The actor that stands for a pool: the system's shutdown stops it, and it stops the workers, which are
/// not the system's to stop; whoever watches the pool watches this, which ends last.
pub(super) struct Keeper<A: Actor>(Arc<Roster<A>>);

impl<A: Actor> Actor for Keeper<A> {
    async fn stopped(&mut self, _reason: &ExitReason) {
        self.0.end(Wish::Stop);
        self.0.ended().await;
    }
}

impl<A: Actor> Drop for Keeper<A> {
    /// However it ends, killed or never started.
    fn drop(&mut self) {
        self.0.end(Wish::Stop);
    }
}
