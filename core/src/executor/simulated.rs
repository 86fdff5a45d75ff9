//! Several logical arbiters on one thread, under one seeded clock (G38).
//!
//! Which runnable task goes next is drawn from the seed; time stands still while any task can run and
//! jumps to the next timer when none can. A run in which nothing can ever run again is reported at once
//! instead of hanging. Outside the simulation, by name: OS processes, sockets, shared memory, adopted
//! actix actors, and threads that the test starts itself.

#[cfg(feature = "test")]
mod settlers;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Executor, Here, enter};
use crate::clock::{Clock, Instant};
use crate::driver::{Arbiter, Driver};
use crate::entropy::Entropy;
use crate::system::System;

#[cfg(feature = "test")]
pub(crate) use settlers::{Settler, Settlers};

/// The id of the future given to [`Simulation::block_on`].
const MAIN: u64 = 0;

/// A system on the current thread, in virtual time, with every choice drawn from a seed.
///
/// ```
/// use callboard_core::Simulation;
/// use std::time::Duration;
///
/// let mut simulation = Simulation::new(42);
/// let clock = simulation.system().clock().clone();
/// simulation.block_on(async move {
///     clock.sleep(Duration::from_secs(3600)).await; // an hour passes at once
/// });
/// assert_eq!(simulation.elapsed(), Duration::from_secs(3600));
/// ```
pub struct Simulation {
    system: System,
    arbiters: Arc<[Arc<Arbiter>]>,
    shared: Arc<Shared>,
    clock: Clock,
    entropy: Entropy,
    /// The drivers of the arbiters, by the ids after [`MAIN`].
    drivers: BTreeMap<u64, Task>,
    /// The id of the next driver.
    next_id: u64,
    steps: u64,
}

struct Task {
    driver: Driver,
    wake: Arc<TaskWake>,
}

/// What wakers and other threads may touch.
#[derive(Default)]
pub(crate) struct Shared {
    ready: Mutex<Vec<u64>>,
    changes: Mutex<Changes>,
    /// Who waits until nothing can run before time passes.
    #[cfg(feature = "test")]
    pub(crate) settlers: Settlers,
}

/// Arbiters to be added and to be taken away, before the next choice: a function of the seed, like the code
/// that asked for it.
#[derive(Default)]
struct Changes {
    added: Vec<Arc<Arbiter>>,
    taken_away: Vec<u32>,
}

impl Shared {
    /// A further logical arbiter.
    pub(crate) fn add(&self, arbiter: Arc<Arbiter>) {
        self.changes.lock().added.push(arbiter);
    }

    /// Ends the arbiter with that number in the process.
    pub(crate) fn take_away(&self, number: u32) {
        self.changes.lock().taken_away.push(number);
    }
}

struct TaskWake {
    id: u64,
    queued: AtomicBool,
    shared: Arc<Shared>,
}

impl TaskWake {
    fn new(id: u64, shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(TaskWake {
            id,
            queued: AtomicBool::new(false),
            shared: Arc::clone(shared),
        })
    }
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.shared.ready.lock().push(self.id);
        }
    }
}

/// The simulation as its system sees it.
#[derive(Clone)]
pub(crate) struct SimulatedArbiters {
    arbiters: Arc<[Arc<Arbiter>]>,
    shared: Arc<Shared>,
    #[cfg(feature = "test")]
    seed: u64,
    /// Where the simulation was made, and stays: a driver can't be sent.
    thread: ThreadId,
}

impl SimulatedArbiters {
    pub(crate) fn all(&self) -> &[Arc<Arbiter>] {
        &self.arbiters
    }

    pub(crate) fn simulation(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    #[cfg(feature = "test")]
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn thread(&self) -> ThreadId {
        self.thread
    }
}

impl fmt::Debug for SimulatedArbiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedArbiters")
            .field("count", &self.arbiters.len())
            .finish_non_exhaustive()
    }
}

/// While it lives, the code of this thread runs on an arbiter. Also a panic ends that: what the next
/// simulation of this thread wakes must not be handed to a dead one.
struct Entered(Option<Here>);

impl Drop for Entered {
    fn drop(&mut self) {
        enter(self.0.take());
    }
}

impl Simulation {
    /// A simulation of two arbiters.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Simulation::with_arbiters(seed, 2)
    }

    /// A simulation of `arbiters` arbiters (at least one).
    #[must_use]
    pub fn with_arbiters(seed: u64, arbiters: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let clock = Clock::manual();
        let arbiters: Arc<[_]> = (0..arbiters.max(1))
            .map(|index| Arbiter::new(index, clock.clone()))
            .collect();
        let executor = SimulatedArbiters {
            arbiters: Arc::clone(&arbiters),
            shared: Arc::clone(&shared),
            #[cfg(feature = "test")]
            seed,
            thread: std::thread::current().id(),
        };
        // The order of tasks and the draws of the program come from separate streams, so that a program
        // that draws once more doesn't get a different schedule for that reason alone.
        let entropy = Entropy::seeded(seed);
        let program = Entropy::seeded(seed ^ 0x5EED_5EED_5EED_5EED);
        let system = System::assemble(Executor::Simulated(executor), clock.clone(), program);
        let mut simulation = Simulation {
            system,
            arbiters: Arc::clone(&arbiters),
            shared,
            clock,
            entropy,
            drivers: BTreeMap::new(),
            next_id: MAIN + 1,
            steps: 0,
        };
        for arbiter in &*arbiters {
            simulation.drive(Arc::clone(arbiter));
        }
        simulation
    }

    /// Gives an arbiter its driver.
    fn drive(&mut self, arbiter: Arc<Arbiter>) {
        let id = self.next_id;
        self.next_id += 1;
        let driver = Driver::new(arbiter, Some(self.entropy.clone()));
        let wake = TaskWake::new(id, &self.shared);
        wake.wake_by_ref();
        self.drivers.insert(id, Task { driver, wake });
    }

    /// Adds and ends arbiters, as was asked for.
    fn change_arbiters(&mut self) {
        let changes = std::mem::take(&mut *self.shared.changes.lock());
        for arbiter in changes.added {
            self.drive(arbiter);
        }
        for number in changes.taken_away {
            let id = self
                .drivers
                .iter()
                .find_map(|(id, task)| (task.driver.arbiter().number() == number).then_some(*id));
            if let Some(task) = id.and_then(|id| self.drivers.remove(&id)) {
                self.end(task);
            }
        }
    }

    /// Ends an arbiter: its driver is dropped at home, as on a thread.
    fn end(&self, task: Task) {
        let arbiter = Arc::clone(task.driver.arbiter());
        let entered = self.enter(&arbiter);
        drop(task);
        drop(entered);
        self.system.own_threads().remove(arbiter.number());
    }

    /// The system that runs here.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.system
    }

    /// What every choice is drawn from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.entropy.seed()
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.now().since(Instant::default())
    }

    /// How many turns tasks have had. Equal seeds and programs give equal counts.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Runs until `main` ends. Actors go on with the next call.
    ///
    /// # Panics
    /// If `main` has not ended, no task can run and no timer is armed: the program would hang forever.
    /// The message names the seed.
    pub fn block_on<F: Future>(&mut self, main: F) -> F::Output {
        let mut main = pin!(main);
        let main_wake = TaskWake::new(MAIN, &self.shared);
        main_wake.wake_by_ref();
        let main_waker = Waker::from(Arc::clone(&main_wake));
        loop {
            self.change_arbiters();
            let Some(id) = self.choose() else {
                if !self.is_settled() {
                    self.pass_time();
                }
                continue;
            };
            self.steps += 1;
            self.note_work();
            if id == MAIN {
                main_wake.queued.store(false, Ordering::Release);
                let entered = self.enter(&self.arbiters[0]);
                let polled = main.as_mut().poll(&mut Context::from_waker(&main_waker));
                drop(entered);
                if let Poll::Ready(output) = polled {
                    return output;
                }
            } else {
                self.run_driver(id);
            }
        }
    }

    fn enter(&self, arbiter: &Arc<Arbiter>) -> Entered {
        Entered(enter(Some(Here {
            system: self.system.clone(),
            arbiter: Arc::clone(arbiter),
        })))
    }

    fn choose(&self) -> Option<u64> {
        let mut ready = self.shared.ready.lock();
        if ready.is_empty() {
            return None;
        }
        let index = self.entropy.below(ready.len() as u64);
        Some(ready.swap_remove(usize::try_from(index).unwrap_or(0)))
    }

    /// Nothing can run. Answers whether somebody waited for that.
    #[cfg(feature = "test")]
    fn is_settled(&self) -> bool {
        self.shared.settlers.all_at_rest()
    }

    #[cfg(not(feature = "test"))]
    fn is_settled(&self) -> bool {
        false
    }

    /// Sees to it that nobody waits for ever for a simulation that never comes to rest.
    #[cfg(feature = "test")]
    fn note_work(&self) {
        if !self.shared.settlers.is_empty() {
            let arbiters = self.drivers.values().map(|task| task.driver.arbiter());
            let done: u64 = arbiters.map(|arbiter| arbiter.work_done()).sum();
            self.shared.settlers.note_work(self.steps + done);
        }
    }

    #[cfg(not(feature = "test"))]
    fn note_work(&self) {}

    fn pass_time(&self) {
        match self.clock.next_timer() {
            Some(due) => self.clock.advance_to(due),
            None => panic!(
                "the simulation can't go on: every task waits and no timer is armed (seed {})",
                self.seed()
            ),
        }
    }

    fn run_driver(&mut self, id: u64) {
        // Taken out, so that one that panics takes its actors with it.
        let Some(arbiter) = self.drivers.get(&id).map(|task| task.driver.arbiter()) else {
            return;
        };
        let _entered = self.enter(arbiter);
        let Some(mut task) = self.drivers.remove(&id) else {
            return;
        };
        task.wake.queued.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&task.wake));
        // A driver ends only by being dropped.
        let _pending = Pin::new(&mut task.driver).poll(&mut Context::from_waker(&waker));
        self.drivers.insert(id, task);
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // On their arbiters, as on real ones.
        self.change_arbiters();
        while let Some((_, task)) = self.drivers.pop_first() {
            self.end(task);
        }
        self.system.dead_letters().end();
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.seed())
            .field("elapsed", &self.elapsed())
            .field("arbiters", &self.arbiters.len())
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::driver::with_here;

    fn order_of(seed: u64) -> Vec<usize> {
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut simulation = Simulation::new(seed);
        let clock = simulation.system().clock().clone();
        let seen = Rc::clone(&order);
        simulation.block_on(async move {
            for n in 0..10 {
                let seen = Rc::clone(&seen);
                let task = Box::pin(async move { seen.borrow_mut().push(n) });
                with_here(|here| here.spawn_here(task)).unwrap();
            }
            clock.sleep(Duration::from_millis(1)).await;
        });
        order.take()
    }

    #[test]
    fn g38_the_order_of_tasks_is_a_function_of_the_seed() {
        assert_eq!(order_of(1), order_of(1));
        assert!((2..20).any(|seed| order_of(seed) != order_of(1)));
    }

    #[test]
    fn g38_time_jumps_only_when_nothing_can_run() {
        let mut simulation = Simulation::new(5);
        let clock = simulation.system().clock().clone();
        simulation.block_on(async move {
            let start = clock.now();
            for _ in 0..100 {
                super::super::yield_now().await;
            }
            assert_eq!(clock.now(), start);
            clock.sleep(Duration::from_secs(86_400)).await;
            assert_eq!(clock.now().since(start), Duration::from_secs(86_400));
        });
    }

    #[test]
    fn g38_a_panic_in_one_run_leaves_nothing_behind_for_the_next() {
        let outcome = std::panic::catch_unwind(|| {
            let mut simulation = Simulation::new(3);
            let clock = simulation.system().clock().clone();
            simulation.block_on(async move {
                let task = Box::pin(async { panic!("a task fails, and the test with it") });
                with_here(|here| here.spawn_here(task)).unwrap();
                clock.sleep(Duration::from_millis(1)).await;
            });
        });
        assert!(outcome.is_err());
        assert!(super::super::here().is_none());
        // A task that waits for time is woken from outside any turn.
        let mut simulation = Simulation::new(4);
        let clock = simulation.system().clock().clone();
        simulation.block_on(async move {
            let (done, end) = futures::channel::oneshot::channel();
            let task = Box::pin(async move {
                clock.sleep(Duration::from_millis(1)).await;
                done.send(()).unwrap();
            });
            with_here(|here| here.spawn_here(task)).unwrap();
            end.await.unwrap();
        });
    }

    #[test]
    fn a_program_that_would_hang_is_reported_with_its_seed() {
        let outcome = std::panic::catch_unwind(|| {
            Simulation::new(77).block_on(std::future::pending::<()>());
        });
        let text = *outcome.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("seed 77"), "{text}");
    }
}
