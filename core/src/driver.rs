//! The driver of an arbiter: one task that runs all of its actors, from a queue of its own.
//!
//! An actor that has something to do is put into the run queue of its arbiter: from the same thread by
//! pushing to a list, from another through the arbiter's injector and at most one wake-up, however many
//! actors. What an actor's turn sends to other arbiters (messages that make actors run, replies that wake
//! askers) is collected and handed over once, at the end of the turn.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::cell::AnyCell;
use crate::clock::{Clock, Instant, Sleep};
use crate::deadlines::{Deadlines, Key};
use crate::entropy::Entropy;
use crate::sync::{Home, current_arbiter};

/// How many turns actors get before the arbiter's other work (sockets, timers, tasks) gets one.
const TURNS: u32 = 256;
/// After how many turns the injector is looked at, when the queue doesn't run dry.
const LOOK: u32 = 32;

/// What has turns.
pub(crate) trait Run: Send + Sync {
    /// Runs until there is nothing to do, or the budget of a turn is spent. On the home arbiter only.
    fn turn(self: Arc<Self>) -> Turned;
}

/// What a turn left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Nothing to do until something comes.
    Rests,
    /// The budget was spent; there is more.
    Again,
}

/// What is handed to another arbiter.
pub(crate) enum Parcel {
    /// An actor that has something to do.
    Run(Arc<dyn Run>),
    /// A task there whose wait is over.
    Wake(Waker),
    /// Something to be done there.
    Call(Box<dyn FnOnce() + Send>),
}

/// One arbiter: the part that all threads see, and its thread's own.
pub(crate) struct Arbiter {
    number: u64,
    index: usize,
    clock: Clock,
    injector: Mutex<Vec<Parcel>>,
    /// The driver has been told to look at the injector and has not looked yet.
    notified: AtomicBool,
    ended: AtomicBool,
    driver: AtomicWaker,
    /// The actors that live here, by their place in the list.
    cells: Mutex<Slab>,
    local: Home<Local>,
    handled: AtomicU64,
    turns: AtomicU64,
}

#[derive(Default)]
struct Slab {
    cells: Vec<Option<Arc<dyn AnyCell>>>,
    free: Vec<u32>,
}

/// What only the arbiter's thread touches.
struct Local {
    queue: RefCell<VecDeque<Arc<dyn Run>>>,
    /// For other arbiters, until the end of the turn.
    outgoing: RefCell<Vec<(Arc<Arbiter>, Parcel)>>,
    deadlines: RefCell<Deadlines>,
    /// When the driver will look at the deadlines by itself.
    alarm: Cell<Instant>,
    /// The driver is running: what is queued now will be seen.
    awake: Cell<bool>,
    /// In a turn: what goes to other arbiters is collected.
    in_turn: Cell<bool>,
}

thread_local! {
    /// The arbiter whose code runs on this thread.
    static ARBITER: RefCell<Option<Arc<Arbiter>>> = const { RefCell::new(None) };
}

/// How much an arbiter has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ArbiterLoad {
    /// Its number in the system, from 0.
    pub arbiter: usize,
    /// Actors that live on it.
    pub actors: usize,
    /// Messages handled.
    pub handled: u64,
    /// Turns given to actors.
    pub turns: u64,
}

impl Arbiter {
    pub(crate) fn new(index: usize, clock: Clock) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let local = Local {
            queue: RefCell::default(),
            outgoing: RefCell::default(),
            deadlines: RefCell::new(Deadlines::new()),
            alarm: Cell::new(Instant::FAR),
            awake: Cell::new(false),
            in_turn: Cell::new(false),
        };
        Arc::new(Arbiter {
            number,
            index,
            clock,
            injector: Mutex::default(),
            notified: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            driver: AtomicWaker::new(),
            cells: Mutex::default(),
            local: Home::new(number, local),
            handled: AtomicU64::new(0),
            turns: AtomicU64::new(0),
        })
    }

    /// Its number in the process: never 0, never used again.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Its number in its system, from 0.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.number == current_arbiter()
    }

    pub(crate) fn load(&self) -> ArbiterLoad {
        let cells = self.cells.lock();
        ArbiterLoad {
            arbiter: self.index,
            actors: cells.cells.len() - cells.free.len(),
            handled: self.handled.load(Ordering::Relaxed),
            turns: self.turns.load(Ordering::Relaxed),
        }
    }

    /// Counts messages that were handled. By the arbiter's own thread, so that no atomic addition is
    /// needed.
    #[inline]
    pub(crate) fn count_handled(&self, messages: u64) {
        self.handled.store(
            self.handled.load(Ordering::Relaxed) + messages,
            Ordering::Relaxed,
        );
    }

    /// Gives an actor a place in the list of those that live here.
    pub(crate) fn enlist(&self, cell: Arc<dyn AnyCell>) -> u32 {
        let mut slab = self.cells.lock();
        match slab.free.pop() {
            Some(place) => {
                slab.cells[place as usize] = Some(cell);
                place
            }
            None => {
                slab.cells.push(Some(cell));
                u32::try_from(slab.cells.len() - 1).unwrap_or(u32::MAX)
            }
        }
    }

    /// Takes an actor off the list.
    pub(crate) fn strike(&self, place: u32) {
        let mut slab = self.cells.lock();
        let cell = slab.cells.get_mut(place as usize).and_then(Option::take);
        if cell.is_some() {
            slab.free.push(place);
        }
        drop(slab);
        drop(cell);
    }

    /// The actors that live here.
    pub(crate) fn cells(&self) -> Vec<Arc<dyn AnyCell>> {
        self.cells.lock().cells.iter().flatten().cloned().collect()
    }

    /// Arms a deadline in the table. `None` if this isn't the thread, or the clock is another.
    #[inline]
    pub(crate) fn arm(&self, clock: &Clock, due: Instant, waker: &Waker) -> Option<Key> {
        if !self.clock.is(clock) {
            return None;
        }
        let local = self.local.enter()?;
        let key = local
            .deadlines
            .borrow_mut()
            .arm(clock.coarse_now(), due, waker);
        if due < local.alarm.get() && !local.awake.get() {
            drop(local);
            self.driver.wake();
        }
        Some(key)
    }

    /// Works on the deadlines. `None` if this isn't the thread.
    #[inline]
    pub(crate) fn with_deadlines<T>(&self, work: impl FnOnce(&mut Deadlines) -> T) -> Option<T> {
        let local = self.local.enter()?;
        let done = work(&mut local.deadlines.borrow_mut());
        Some(done)
    }

    /// Puts an actor into the run queue.
    #[inline]
    pub(crate) fn schedule(self: &Arc<Self>, run: Arc<dyn Run>) {
        if self.is_here()
            && let Some(local) = self.local.enter()
        {
            local.queue.borrow_mut().push_back(run);
            if !local.awake.get() {
                drop(local);
                self.driver.wake();
            }
            return;
        }
        self.send(Parcel::Run(run));
    }

    /// Hands something to this arbiter: at the end of the turn if a turn of another arbiter is running on
    /// this thread, else now. Answers `false` if the arbiter has ended.
    pub(crate) fn send(self: &Arc<Self>, parcel: Parcel) -> bool {
        let mut parcel = Some(parcel);
        ARBITER.with_borrow(|here| {
            if let Some(here) = here
                && let Some(local) = here.local.enter()
                && local.in_turn.get()
                && let Some(parcel) = parcel.take()
            {
                local.outgoing.borrow_mut().push((Arc::clone(self), parcel));
            }
        });
        match parcel {
            None => true,
            Some(parcel) => self.inject(std::iter::once(parcel)),
        }
    }

    fn inject(&self, parcels: impl Iterator<Item = Parcel>) -> bool {
        let mut injector = self.injector.lock();
        if self.ended.load(Ordering::Relaxed) {
            drop(injector);
            // Dropped outside the lock: a call that is dropped may tell somebody.
            parcels.for_each(drop);
            return false;
        }
        injector.extend(parcels);
        drop(injector);
        if !self.notified.swap(true, Ordering::AcqRel) {
            self.driver.wake();
        }
        true
    }
}

impl fmt::Debug for Arbiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arbiter")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// The arbiter of the running code.
pub(crate) fn here() -> Option<Arc<Arbiter>> {
    ARBITER.with_borrow(Clone::clone)
}

/// Says which arbiter's code runs on this thread from now on; returns what was said before.
pub(crate) fn enter(arbiter: Option<Arc<Arbiter>>) -> Option<Arc<Arbiter>> {
    crate::sync::set_current_arbiter(arbiter.as_ref().map_or(0, |arbiter| arbiter.number));
    ARBITER.replace(arbiter)
}

/// The task that gives the actors of an arbiter their turns. Dropping it ends them.
pub(crate) struct Driver {
    arbiter: Arc<Arbiter>,
    /// Wakes the driver when the next deadline may be due.
    alarm: Option<Sleep>,
    /// On the simulating executor: who is next is drawn, not queued.
    order: Option<Entropy>,
}

impl Driver {
    pub(crate) fn new(arbiter: Arc<Arbiter>, order: Option<Entropy>) -> Self {
        Driver {
            arbiter,
            alarm: None,
            order,
        }
    }

    fn take_injected(&self) {
        self.arbiter.notified.store(false, Ordering::Release);
        let parcels = std::mem::take(&mut *self.arbiter.injector.lock());
        for parcel in parcels {
            match parcel {
                Parcel::Run(run) => {
                    if let Some(local) = self.arbiter.local.enter() {
                        local.queue.borrow_mut().push_back(run);
                    }
                }
                Parcel::Wake(waker) => waker.wake(),
                Parcel::Call(call) => call(),
            }
        }
    }

    fn next(&self) -> Option<Arc<dyn Run>> {
        let local = self.arbiter.local.enter()?;
        let mut queue = local.queue.borrow_mut();
        match &self.order {
            Some(order) if queue.len() > 1 => {
                let index = usize::try_from(order.below(queue.len() as u64)).unwrap_or(0);
                queue.remove(index)
            }
            _ => queue.pop_front(),
        }
    }

    fn mark(&self, awake: bool, in_turn: bool) {
        if let Some(local) = self.arbiter.local.enter() {
            local.awake.set(awake);
            local.in_turn.set(in_turn);
        }
    }

    /// Wakes the asks whose deadline has come.
    fn fire_deadlines(&mut self) {
        let arbiter = &self.arbiter;
        let earliest = arbiter.with_deadlines(|deadlines| deadlines.earliest());
        if earliest.is_none_or(|earliest| earliest == Instant::FAR)
            || !earliest.is_some_and(|earliest| arbiter.clock.has_passed(earliest))
        {
            return;
        }
        let now = arbiter.clock.now();
        let due = arbiter.with_deadlines(|deadlines| deadlines.fire(now));
        due.into_iter().flatten().for_each(Waker::wake);
    }

    /// Sees to it that the driver wakes for the next deadline.
    fn set_alarm(&mut self, cx: &mut Context<'_>) {
        let Some(local) = self.arbiter.local.enter() else {
            return;
        };
        let earliest = local.deadlines.borrow().earliest();
        // An alarm that is too early does no harm: it finds the next one to set.
        if earliest >= local.alarm.get() && self.alarm.as_ref().is_some_and(Sleep::is_armed) {
            return;
        }
        drop(local);
        self.alarm = None;
        let mut due = Instant::FAR;
        if earliest != Instant::FAR {
            let mut alarm = self.arbiter.clock.sleep_until(earliest);
            if Pin::new(&mut alarm).poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            } else {
                due = earliest;
                self.alarm = Some(alarm);
            }
        }
        if let Some(local) = self.arbiter.local.enter() {
            local.alarm.set(due);
        }
    }

    /// Gives one actor its turn.
    fn give_turn(&self, run: Arc<dyn Run>) {
        if Arc::clone(&run).turn() == Turned::Again
            && let Some(local) = self.arbiter.local.enter()
        {
            local.queue.borrow_mut().push_back(run);
        }
        self.flush();
    }

    /// Hands over what the turn has for other arbiters, each once.
    fn flush(&self) {
        let outgoing = match self.arbiter.local.enter() {
            Some(local) if !local.outgoing.borrow().is_empty() => local.outgoing.take(),
            _ => return,
        };
        let mut outgoing = outgoing.into_iter().peekable();
        while let Some((arbiter, parcel)) = outgoing.next() {
            // Runs of parcels for one arbiter go under one lock; the wake-up is one in any case.
            let number = arbiter.number;
            let same = std::iter::from_fn(|| {
                outgoing
                    .next_if(|(next, _)| next.number == number)
                    .map(|(_, parcel)| parcel)
            });
            arbiter.inject(std::iter::once(parcel).chain(same));
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.arbiter.driver.register(cx.waker());
        crate::current::reset_streak();
        self.mark(true, true);
        self.fire_deadlines();
        self.take_injected();
        let mut turns = 0;
        while turns < TURNS {
            if turns % LOOK == LOOK - 1 {
                self.take_injected();
            }
            let Some(run) = self.next() else { break };
            turns += 1;
            self.give_turn(run);
        }
        self.set_alarm(cx);
        let arbiter = &self.arbiter;
        let counted = arbiter.turns.load(Ordering::Relaxed) + u64::from(turns);
        arbiter.turns.store(counted, Ordering::Relaxed);
        self.flush();
        self.mark(false, false);
        // What was injected meanwhile has woken this task; a spent budget must do it itself.
        if turns == TURNS {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let arbiter = &self.arbiter;
        let before = enter(Some(Arc::clone(arbiter)));
        let mut injector = arbiter.injector.lock();
        arbiter.ended.store(true, Ordering::Relaxed);
        let parcels = std::mem::take(&mut *injector);
        drop(injector);
        drop(parcels);
        for cell in arbiter.cells() {
            cell.abandon();
        }
        if let Some(local) = arbiter.local.enter() {
            let queue = local.queue.take();
            drop(local);
            drop(queue);
        }
        self.flush();
        enter(before);
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("arbiter", &self.arbiter)
            .finish_non_exhaustive()
    }
}
