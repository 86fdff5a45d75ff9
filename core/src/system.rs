//! A system: arbiters, a clock, counters, dead letters. A value, not a global: two can live in one
//! process, and each test has its own.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::blocking::{self, BlockingError};
use crate::cell::{ActorSnapshot, AnyCell};
use crate::clock::Clock;
use crate::counters::Counters;
use crate::dead_letter::DeadLetters;
use crate::driver::{Arbiter, ArbiterLoad, Stay};
use crate::entropy::Entropy;
use crate::executor::{self, Arbiters, Executor, OwnThreads, arbiters};
use crate::id::ActorId;
use crate::mailbox::Control;
#[cfg(feature = "metrics")]
use crate::metrics::Meter;
use crate::names::Names;
use crate::observe::Observed;
use crate::progress::{Frozen, Progress, ProgressTable};
use crate::queue::Queues;
use crate::spawn::{Placement, Spawn};
use crate::waits::Waits;
use crate::watchdog::{Blocked, Watchdog};

/// How long [`System::shutdown`] waits for actors to stop before it kills them.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// How long it then waits for the killed to end.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// Why a system or an actor could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// `actor.start()` was called on a thread that is no arbiter.
    #[error("this thread is no arbiter: use `system.start(actor)`, which chooses one")]
    NotOnArbiter,
    /// `run` was called inside a tokio runtime.
    #[error(
        "this thread is inside a tokio runtime: use `System::new()`, which has threads of its own"
    )]
    InsideRuntime,
    /// The operating system gave no thread, or not what a thread needs (file descriptors).
    #[error("the operating system has no thread left to start")]
    NoThread,
    /// As many actors as may have a [thread of their own](Placement::OwnThread) have one.
    #[error("too many actors have a thread of their own: see `System::own_thread_limit`")]
    TooManyThreads,
    /// An actix actor was to run on the simulating executor, which has no actix (G38).
    #[error("the simulating executor has no actix: adopted actors need real arbiters")]
    NoActix,
    /// The system has been shut down.
    #[error("the system has been shut down")]
    ShutDown,
}

/// A running system of actors. Clones are handles to the same one.
///
/// It ends with [`shutdown`](System::shutdown); [`run`](crate::run) calls that by itself.
#[derive(Clone)]
pub struct System {
    inner: Arc<Inner>,
}

struct Inner {
    executor: Executor,
    clock: Clock,
    entropy: Entropy,
    counters: Arc<Counters>,
    dead_letters: DeadLetters,
    names: Names,
    queues: Queues,
    next_arbiter: AtomicUsize,
    own_threads: OwnThreads,
    watchdog: Option<Watchdog>,
    progress: Arc<ProgressTable>,
    observed: Observed,
    #[cfg(feature = "metrics")]
    meter: Meter,
    waits: Arc<Waits>,
    closed: AtomicBool,
    /// Keeps the arbiter of [`Placement::Control`], once there is one.
    control: Mutex<Option<Stay>>,
    /// What layers above keep per system, by type.
    extensions: Mutex<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl System {
    /// A system with one arbiter per core, on threads of its own. Works on any thread and inside any
    /// runtime.
    ///
    /// # Errors
    /// [`StartError::NoThread`].
    pub fn new() -> Result<Self, StartError> {
        System::with_arbiters(cores())
    }

    /// A system with that many arbiters (at least one).
    ///
    /// # Errors
    /// [`StartError::NoThread`].
    pub fn with_arbiters(count: usize) -> Result<Self, StartError> {
        let arbiters = Arbiters::start(count.max(1))?;
        Ok(System::on_arbiters(arbiters))
    }

    fn on_arbiters(arbiters: Arbiters) -> Self {
        let executor = Executor::Arbiters(arbiters);
        let system = System::assemble(executor, Clock::machine(), Entropy::from_os());
        if let Executor::Arbiters(arbiters) = system.executor() {
            arbiters.introduce(&system);
        }
        system
    }

    pub(crate) fn assemble(executor: Executor, clock: Clock, entropy: Entropy) -> Self {
        let counters = Arc::new(Counters::default());
        let dead_letters = DeadLetters::new(Arc::clone(&counters));
        let own_threads = executor.own_threads(&clock);
        let progress = Arc::new(ProgressTable::default());
        let watchdog = match &executor {
            Executor::Arbiters(arbiters) => Watchdog::start(
                arbiters.all(),
                own_threads.clone(),
                clock.clone(),
                Arc::clone(&counters),
                &progress,
            ),
            // In virtual time no turn takes any.
            Executor::Simulated(_) => None,
        };
        System {
            inner: Arc::new(Inner {
                executor,
                clock,
                entropy,
                counters,
                dead_letters,
                names: Names::default(),
                queues: Queues::default(),
                next_arbiter: AtomicUsize::new(0),
                own_threads,
                watchdog,
                progress,
                observed: Observed::default(),
                #[cfg(feature = "metrics")]
                meter: Meter::default(),
                waits: Arc::default(),
                closed: AtomicBool::new(false),
                control: Mutex::new(None),
                extensions: Mutex::default(),
            }),
        }
    }

    /// The system that the calling code runs in, if it runs on an arbiter.
    #[must_use]
    pub fn current() -> Option<System> {
        executor::here().map(|here| here.system)
    }

    /// Starts an actor on the next arbiter in turn, with the defaults.
    pub fn start<A: Actor + Send>(&self, actor: A) -> ActorRef<A> {
        self.actor(move || actor).start()
    }

    /// Prepares a start: label, mailbox, placement, admission. The factory runs on the actor's arbiter,
    /// so that the actor needn't be `Send`.
    pub fn actor<F>(&self, factory: F) -> Spawn<F> {
        Spawn::new(self, factory)
    }

    /// Runs a future on an arbiter, made there, so that it needn't be `Send`. It ends by itself or with
    /// the system.
    ///
    /// With [`Placement::OwnThread`] it has a thread, until it ends.
    ///
    /// Answers `false` if the system has been shut down, or has no thread for it: the future never runs.
    pub fn spawn<F, Fut>(&self, placement: Placement, make: F) -> bool
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let stay = self.stay_at(placement);
        if self
            .own_threads()
            .run(&stay, "callboard-task", self)
            .is_err()
        {
            return false;
        }
        let arbiter = Arc::clone(&stay);
        arbiter.spawn(Box::new(move || {
            Box::pin(async move {
                // Dropped with the future, so that the arbiter is over only then.
                let _stay = stay;
                make().await;
            })
        }))
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Its source of randomness.
    #[must_use]
    pub fn entropy(&self) -> &Entropy {
        &self.inner.entropy
    }

    /// Its counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// Its dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.inner.dead_letters
    }

    /// The one value of that type which belongs to this system; made by its `Default` when it is first asked for.
    /// For layers that keep something per system, since there is no global one. It lives as long as the system, so
    /// it must not hold it.
    #[must_use]
    pub fn extension<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let of_that_type = TypeId::of::<T>();
        let kept = self.inner.extensions.lock().get(&of_that_type).cloned();
        let kept = kept.unwrap_or_else(|| {
            // Made outside the lock: it is code of others.
            let made = Arc::new(T::default());
            let mut extensions = self.inner.extensions.lock();
            Arc::clone(extensions.entry(of_that_type).or_insert(made))
        });
        // Its key is its type, so it is one.
        kept.downcast::<T>().unwrap_or_default()
    }

    /// The names that its actors have.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.inner.names
    }

    /// How many arbiters it has, not counting [threads of actors' own](Placement::OwnThread).
    #[must_use]
    pub fn arbiter_count(&self) -> usize {
        self.executor().arbiters().len()
    }

    /// How much each arbiter has done, so that nobody fills one core by accident. Those with a
    /// [thread of their own](Placement::OwnThread) are there until that thread has ended.
    #[must_use]
    pub fn load(&self) -> Vec<ArbiterLoad> {
        self.every_arbiter()
            .iter()
            .map(|arbiter| arbiter.load())
            .collect()
    }

    /// Whether an ask of an idle actor of the same thread may run its handler on the asker's stack, in
    /// place of a hop through the run queue. On by default; what is observable is the same either way,
    /// but for the order of unrelated work.
    pub fn hand_off(&self, on: bool) {
        for arbiter in self.executor().arbiters() {
            arbiter.set_hand_off(on);
        }
        self.own_threads().set_hand_off(on);
    }

    /// How many actors may have a [thread of their own](Placement::OwnThread) at a time;
    /// [`OWN_THREADS`](crate::OWN_THREADS) unless said otherwise. Those that have one keep it.
    pub fn own_thread_limit(&self, limit: usize) {
        self.own_threads().set_limit(limit);
    }

    /// How long a turn of an arbiter may keep its thread before it counts as blocked and is reported (G7);
    /// [`BLOCK_LIMIT`](crate::BLOCK_LIMIT) unless said otherwise, never with `None`.
    ///
    /// Somebody who blocks the thread delays everybody who lives there: deadlines, timers, other actors. Such
    /// code wants [a thread of its own](Placement::OwnThread), or `tokio::task::spawn_blocking`. A block is
    /// reported once, when it has lasted for the limit and at most half as much again: as a warning of
    /// `tracing` with the target `callboard::watchdog`, by [`blocked`](System::blocked) for as long as it
    /// lasts, and in [`Counters::blocks`].
    ///
    /// What counts is a turn: the messages that an actor handles in a row, one poll of a task, or of the
    /// future given to [`run`](crate::run). A task that was started past Callboard (`actix_rt::spawn`) isn't
    /// seen. On the simulating executor there is no watchdog, since no turn takes any virtual time.
    pub fn block_limit(&self, limit: Option<Duration>) {
        if let Some(watchdog) = &self.inner.watchdog {
            watchdog.set_limit(limit);
        }
    }

    /// The same for arbiters with a [thread of their own](Placement::OwnThread), which are there to be
    /// blocked: never, unless said otherwise.
    pub fn own_thread_block_limit(&self, limit: Option<Duration>) {
        if let Some(watchdog) = &self.inner.watchdog {
            watchdog.set_own_limit(limit);
        }
    }

    /// The arbiters that were found blocked, and still are, in the order they were found (G7). See
    /// [`block_limit`](System::block_limit). Always empty on the simulating executor.
    #[must_use]
    pub fn blocked(&self) -> Vec<Blocked> {
        let watchdog = self.inner.watchdog.as_ref();
        watchdog.map_or_else(Vec::new, Watchdog::blocked)
    }

    /// The actors whose handler has taken longer than its [limit](Spawn::handler_limit), and still runs, in the
    /// order the actors were made (G13). Works in the simulation, too.
    #[must_use]
    pub fn frozen(&self) -> Vec<Frozen> {
        self.inner.progress.frozen(self.clock().now())
    }

    /// All actors that live now, in the order they were made.
    #[must_use]
    pub fn actors(&self) -> Vec<ActorSnapshot> {
        self.live().iter().map(|cell| cell.snapshot()).collect()
    }

    /// Whether it has been shut down.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    /// Stops every actor that no supervisor owns, the newest first, and waits for all to end; kills what
    /// has not ended after [`SHUTDOWN_GRACE`]; then ends the arbiters. Answers the labels of those that
    /// had to be killed.
    ///
    /// Must not be awaited by an actor of the same system: it would wait for itself, and be killed.
    pub async fn shutdown(&self) -> Vec<String> {
        self.shutdown_within(SHUTDOWN_GRACE).await
    }

    /// [`shutdown`](System::shutdown) with another time for actors to stop in, before they are killed. Zero kills
    /// them at once. The killed have a second more.
    pub async fn shutdown_within(&self, grace: Duration) -> Vec<String> {
        self.inner.closed.store(true, Ordering::Release);
        for cell in self.live().iter().rev().filter(|cell| !cell.is_owned()) {
            Arc::clone(cell).send_signal(Control::Stop);
        }
        self.wait_for_end(grace).await;
        let late: Vec<_> = self.live();
        let labels = late.iter().map(|cell| cell.snapshot().label).collect();
        late.iter()
            .for_each(|cell| Arc::clone(cell).send_signal(Control::Kill));
        self.wait_for_end(KILL_GRACE).await;
        // Code that never yields can't be killed (G11); its watchers are told all the same.
        self.live()
            .iter()
            .for_each(|cell| Arc::clone(cell).abandon());
        self.executor().stop();
        self.own_threads().stop();
        let control = self.inner.control.lock().take();
        drop(control);
        if let Some(watchdog) = &self.inner.watchdog {
            watchdog.stop();
        }
        self.dead_letters().end();
        #[cfg(feature = "metrics")]
        self.end_metrics();
        labels
    }

    /// [`shutdown`](System::shutdown) for a thread that is no arbiter, which it blocks. Answers the same.
    ///
    /// # Errors
    /// [`BlockingError::OnArbiter`] on the thread of an arbiter, of any system; the system goes on.
    pub fn shutdown_blocking(&self) -> Result<Vec<String>, BlockingError> {
        blocking::check(self)?;
        Ok(executor::block_on(self.shutdown()))
    }

    async fn wait_for_end(&self, grace: Duration) {
        let (tx, mut rx) = futures::channel::mpsc::channel::<()>(0);
        for cell in self.live() {
            let tx = tx.clone();
            // The sender's end is the signal.
            cell.on_end(Box::new(move |_| drop(tx)));
        }
        drop(tx);
        let mut due = self.clock().sleep(grace);
        std::future::poll_fn(|cx| {
            if futures::Stream::poll_next(std::pin::Pin::new(&mut rx), cx).is_ready() {
                return std::task::Poll::Ready(());
            }
            std::pin::Pin::new(&mut due).poll(cx)
        })
        .await;
    }

    fn live(&self) -> Vec<Arc<dyn AnyCell>> {
        let arbiters = self.every_arbiter();
        let mut cells: Vec<_> = arbiters
            .iter()
            .flat_map(|arbiter| arbiter.cells())
            .collect();
        cells.sort_by_key(|cell| cell.id());
        cells
    }

    /// From now on somebody looks at how long the handlers of that actor take.
    pub(crate) fn watch_progress(&self, progress: &Arc<Progress>) {
        self.inner.progress.add(progress);
        if let Some(watchdog) = &self.inner.watchdog {
            watchdog.limits_changed();
        }
    }

    /// Whether both are handles to the same system.
    #[cfg(feature = "actix")]
    pub(crate) fn is(&self, other: &System) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(crate) fn queues_table(&self) -> &Queues {
        &self.inner.queues
    }

    pub(crate) fn executor(&self) -> &Executor {
        &self.inner.executor
    }

    /// Whose handlers wait for whom.
    #[inline]
    pub(crate) fn waits(&self) -> &Arc<Waits> {
        &self.inner.waits
    }

    /// Actors by their labels, for a sentence: `Ping#1 -> Pong#2`.
    pub(crate) fn path_of(&self, ids: &[ActorId]) -> String {
        let live = self.live();
        let name = |id: &ActorId| match live.iter().find(|cell| cell.id() == *id) {
            Some(cell) => format!("{}{id}", cell.snapshot().label),
            None => id.to_string(),
        };
        ids.iter().map(name).collect::<Vec<_>>().join(" -> ")
    }

    pub(crate) fn counters_arc(&self) -> Arc<Counters> {
        Arc::clone(&self.inner.counters)
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn meter(&self) -> &Meter {
        &self.inner.meter
    }

    /// The way to find it again, for tasks that must not keep it.
    pub(crate) fn downgrade(&self) -> WeakSystem {
        WeakSystem(Arc::downgrade(&self.inner))
    }

    pub(crate) fn observed(&self) -> &Observed {
        &self.inner.observed
    }

    pub(crate) fn own_threads(&self) -> &OwnThreads {
        &self.inner.own_threads
    }

    /// Those that all share, then those with a thread of their own.
    pub(crate) fn every_arbiter(&self) -> Vec<Arc<Arbiter>> {
        let mut arbiters = self.executor().arbiters().to_vec();
        arbiters.extend(self.own_threads().arbiters());
        arbiters
    }

    /// Chooses an arbiter, or makes one, which has no thread as yet.
    pub(crate) fn stay_at(&self, placement: Placement) -> Stay {
        let number = match placement {
            Placement::Spread => self.inner.next_arbiter.fetch_add(1, Ordering::Relaxed),
            Placement::Pinned(number) => number,
            Placement::OwnThread => return self.own_threads().make(),
            Placement::Control => match self.stay_at_control() {
                Some(stay) => return stay,
                None => 0,
            },
        };
        let arbiters = self.executor().arbiters();
        // Those that all share are never over.
        let stay = arbiters[number % arbiters.len()].stay();
        stay.unwrap_or_else(|| self.own_threads().make())
    }

    /// The arbiter of [`Placement::Control`], made if there is none; `None` if there is no thread for it.
    fn stay_at_control(&self) -> Option<Stay> {
        let mut control = self.inner.control.lock();
        if let Some(stay) = control.as_ref().and_then(|stay| stay.stay()) {
            return Some(stay);
        }
        let made = self.own_threads().make();
        let run = self
            .own_threads()
            .run_uncounted(&made, "callboard-control", self);
        if let Err(error) = run {
            tracing::warn!(target: "callboard::system", %error, "no thread for supervisors of its own");
            return None;
        }
        let stay = made.stay();
        *control = Some(made);
        stay
    }

    /// The arbiter itself, if it is one of this system and not over; else one that all share.
    pub(crate) fn stay_beside(&self, arbiter: &Arc<Arbiter>) -> Stay {
        let own = arbiter.is_own() && self.own_threads().has(arbiter);
        let stay = own.then(|| arbiter.stay()).flatten();
        stay.unwrap_or_else(|| self.stay_at(Placement::Pinned(arbiter.index())))
    }
}

/// A system, unless it is gone.
pub(crate) struct WeakSystem(std::sync::Weak<Inner>);

impl WeakSystem {
    pub(crate) fn upgrade(&self) -> Option<System> {
        self.0.upgrade().map(|inner| System { inner })
    }
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("arbiters", &self.arbiter_count())
            .field("actors", &self.live().len())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// Runs `main` on the calling thread as arbiter 0, with one more arbiter per further core, and shuts the
/// system down when it ends. This is what `#[callboard::main]` expands to.
///
/// # Errors
/// [`StartError::InsideRuntime`] inside a tokio runtime; use [`System::new`] there.
pub fn run<F, Fut>(main: F) -> Result<Fut::Output, StartError>
where
    F: FnOnce(System) -> Fut,
    Fut: Future,
{
    arbiters::run(cores(), System::on_arbiters, main)
}

/// The same with that many arbiters; one for each core, if nothing is said.
#[cfg(feature = "test")]
pub(crate) fn run_on<F, Fut>(count: Option<usize>, main: F) -> Result<Fut::Output, StartError>
where
    F: FnOnce(System) -> Fut,
    Fut: Future,
{
    arbiters::run(count.unwrap_or_else(cores), System::on_arbiters, main)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
