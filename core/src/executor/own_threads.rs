//! Arbiters that are there for one actor, for those that block: a thread each, or a further logical
//! arbiter of the simulation.
//!
//! Such an arbiter is made with its actor, has a thread from the first start of an incarnation on, and is
//! over when nobody [stays](Stay) on it any more: then its thread ends, and it is off this list. Its thread
//! is a bootstrap of its own: no actix `System` is needed to start it, and it is inside no runtime, so it
//! can be started from everywhere.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::select;
use parking_lot::{Condvar, Mutex};

use super::simulated::Shared as Simulated;
use super::{Here, enter, thread};
use crate::clock::Clock;
use crate::driver::{Arbiter, Driver, Stay};
use crate::system::{StartError, System};

/// How many actors of a system may have a thread of their own at a time, unless told otherwise by
/// [`System::own_thread_limit`]. Threads are a bounded thing like others (G3).
pub const OWN_THREADS: usize = 512;

/// The arbiters of one system that are there for one actor each. Clones share them.
#[derive(Clone)]
pub(crate) struct OwnThreads {
    table: Arc<Table>,
}

struct Table {
    /// How many arbiters all share: the numbers here start with the next.
    base: usize,
    clock: Clock,
    /// Where they run, if not on threads.
    simulation: Option<Arc<Simulated>>,
    state: Mutex<State>,
    /// An arbiter was taken off the list.
    gone: Condvar,
}

struct State {
    made: usize,
    arbiters: Vec<Entry>,
    limit: usize,
    hand_off: bool,
    closed: bool,
}

struct Entry {
    arbiter: Arc<Arbiter>,
    has_thread: bool,
}

impl OwnThreads {
    pub(crate) fn new(base: usize, clock: Clock, simulation: Option<Arc<Simulated>>) -> Self {
        let state = State {
            made: 0,
            arbiters: Vec::new(),
            limit: OWN_THREADS,
            hand_off: true,
            closed: false,
        };
        OwnThreads {
            table: Arc::new(Table {
                base,
                clock,
                simulation,
                state: Mutex::new(state),
                gone: Condvar::new(),
            }),
        }
    }

    /// Makes an arbiter, without a thread as yet. After [`stop`](OwnThreads::stop) it is one that is over.
    pub(crate) fn make(&self) -> Stay {
        let mut state = self.table.state.lock();
        let stay = Arbiter::own(self.table.base + state.made, self.table.clock.clone());
        state.made += 1;
        stay.set_hand_off(state.hand_off);
        if state.closed {
            drop(state);
            stay.finish();
            stay.refuse_parcels();
            return stay;
        }
        state.arbiters.push(Entry {
            arbiter: Arc::clone(&stay),
            has_thread: false,
        });
        drop(state);
        let (own, number) = (self.clone(), stay.number());
        stay.on_over(Box::new(move || own.remove(number)));
        stay
    }

    /// Gives an arbiter its thread, named `name`, if it is one of these and has none.
    ///
    /// # Errors
    /// [`StartError::TooManyThreads`], [`StartError::NoThread`]. It can be tried again.
    pub(crate) fn run(
        &self,
        arbiter: &Arc<Arbiter>,
        name: &str,
        system: &System,
    ) -> Result<(), StartError> {
        self.run_if(arbiter, name, system, || self.reserve(arbiter.number()))
    }

    /// The same for one that the system needs for itself: it isn't counted.
    pub(crate) fn run_uncounted(
        &self,
        arbiter: &Arc<Arbiter>,
        name: &str,
        system: &System,
    ) -> Result<(), StartError> {
        self.run_if(arbiter, name, system, || Ok(()))
    }

    fn run_if(
        &self,
        arbiter: &Arc<Arbiter>,
        name: &str,
        system: &System,
        may: impl FnOnce() -> Result<(), StartError>,
    ) -> Result<(), StartError> {
        if !arbiter.take_thread() {
            return Ok(());
        }
        let started = may().and_then(|()| {
            let here = Here {
                system: system.clone(),
                arbiter: Arc::clone(arbiter),
            };
            match &self.table.simulation {
                Some(simulation) => {
                    run_simulated(simulation, arbiter);
                    Ok(())
                }
                None => self.run_thread(name, here),
            }
        });
        if started.is_err() {
            self.set_has_thread(arbiter.number(), false);
            arbiter.give_thread_back();
        }
        started
    }

    /// Counts one more thread, if there may be one.
    fn reserve(&self, number: u32) -> Result<(), StartError> {
        let mut state = self.table.state.lock();
        let running = state.arbiters.iter().filter(|entry| entry.has_thread);
        if running.count() >= state.limit {
            return Err(StartError::TooManyThreads);
        }
        state.mark(number, true);
        Ok(())
    }

    fn set_has_thread(&self, number: u32, has_thread: bool) {
        self.table.state.lock().mark(number, has_thread);
    }

    fn run_thread(&self, name: &str, here: Here) -> Result<(), StartError> {
        // Here and not on the thread, where nobody would hear of a failure.
        let runtime = Unstarted::new()?;
        let arbiter = Arc::clone(&here.arbiter);
        let (end_tx, end_rx) = oneshot::channel();
        let own = self.clone();
        if !thread(name, move || live(here, runtime, end_rx, own)) {
            return Err(StartError::NoThread);
        }
        arbiter.on_over(Box::new(move || {
            // An error means that the thread has ended already.
            let _ = end_tx.send(());
        }));
        Ok(())
    }

    /// Those there are now, in the order they were made.
    pub(crate) fn arbiters(&self) -> Vec<Arc<Arbiter>> {
        let state = self.table.state.lock();
        let arbiters = state.arbiters.iter();
        arbiters.map(|entry| Arc::clone(&entry.arbiter)).collect()
    }

    /// Whether an arbiter is one of these.
    pub(crate) fn has(&self, arbiter: &Arc<Arbiter>) -> bool {
        let state = self.table.state.lock();
        let mut arbiters = state.arbiters.iter();
        arbiters.any(|entry| Arc::ptr_eq(&entry.arbiter, arbiter))
    }

    /// For those there are, and those to come.
    pub(crate) fn set_hand_off(&self, on: bool) {
        let mut state = self.table.state.lock();
        state.hand_off = on;
        for entry in &state.arbiters {
            entry.arbiter.set_hand_off(on);
        }
    }

    /// How many may have a thread at a time. Those that have one keep it.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.table.state.lock().limit = limit;
    }

    /// Takes an arbiter off the list: its thread has ended, or it never had one.
    pub(crate) fn remove(&self, number: u32) {
        let mut state = self.table.state.lock();
        let place = state.find(number);
        let entry = place.map(|place| state.arbiters.remove(place));
        drop(state);
        if let Some(entry) = entry {
            // Says to who comes too late that nobody is here.
            entry.arbiter.refuse_parcels();
            self.table.gone.notify_all();
        }
    }

    /// Ends all of them; no more are made. Their threads finish the poll at hand and drop what is left.
    pub(crate) fn stop(&self) {
        self.table.state.lock().closed = true;
        for arbiter in self.arbiters() {
            arbiter.finish();
        }
    }

    /// Blocks until all have ended, or for `grace`. Answers the numbers in the system of those that have
    /// not: code that never yields can't be ended.
    pub(crate) fn wait_until_gone(&self, grace: Duration) -> Vec<usize> {
        let due = self.table.clock.now() + grace;
        let mut state = self.table.state.lock();
        while !state.arbiters.is_empty() {
            let left = due.since(self.table.clock.now());
            if left.is_zero() {
                break;
            }
            self.table.gone.wait_for(&mut state, left);
        }
        let late = state.arbiters.iter();
        late.map(|entry| entry.arbiter.index()).collect()
    }
}

impl State {
    fn find(&self, number: u32) -> Option<usize> {
        let mut arbiters = self.arbiters.iter();
        arbiters.position(|entry| entry.arbiter.number() == number)
    }

    fn mark(&mut self, number: u32, has_thread: bool) {
        if let Some(place) = self.find(number) {
            self.arbiters[place].has_thread = has_thread;
        }
    }
}

/// Takes an arbiter off the list when its thread ends, however it ends.
struct Gone {
    own: OwnThreads,
    number: u32,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.own.remove(self.number);
    }
}

/// A runtime on its way to its thread. Should it never get there, it is dropped where a runtime must not
/// block, if that is inside another.
struct Unstarted(Option<tokio::runtime::Runtime>);

impl Unstarted {
    fn new() -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        // An error is one of the operating system, out of file descriptors say.
        Ok(Unstarted(Some(runtime.map_err(|_| StartError::NoThread)?)))
    }
}

impl Drop for Unstarted {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn run_simulated(simulation: &Arc<Simulated>, arbiter: &Arc<Arbiter>) {
    simulation.add(Arc::clone(arbiter));
    let (simulation, number) = (Arc::clone(simulation), arbiter.number());
    arbiter.on_over(Box::new(move || simulation.take_away(number)));
}

/// What the thread of one arbiter does.
fn live(here: Here, mut runtime: Unstarted, end: oneshot::Receiver<()>, own: OwnThreads) {
    let arbiter = Arc::clone(&here.arbiter);
    let number = arbiter.number();
    let gone = Gone { own, number };
    let Some(runtime) = runtime.0.take() else {
        return;
    };
    let runner = actix_rt::System::with_tokio_rt(move || runtime);
    runner.block_on(async move {
        enter(Some(here));
        // It ends by a panic of ours at most; its actors have ended with it then.
        let driver = actix_rt::spawn(Driver::new(arbiter, None));
        select(driver, end).await;
    });
    // With it the driver, so actors, tasks and what their handlers left behind.
    drop(runner);
    enter(None);
    drop(gone);
}

impl fmt::Debug for OwnThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnThreads")
            .field("arbiters", &self.arbiters())
            .finish_non_exhaustive()
    }
}
