//! An arbiter: the part that all threads see, and its thread's own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use super::injector::Injector;
use super::own::Own;
use super::stillness::Stillness;
use super::task::{MakeTask, Tasks};
use crate::cell::AnyCell;
use crate::clock::{Clock, Instant};
use crate::deadlines::{Deadlines, Key};
use crate::future_buffer::FutureBuffer;
use crate::sync::{Home, InHand, current_arbiter};

/// How many future buffers an arbiter keeps for handlers to come.
const BUFFERS: usize = 32;

/// What has turns.
pub(crate) trait Run: Send + Sync {
    /// Runs until there is nothing to do, or the budget of a turn is spent: then it comes back, for others
    /// to have theirs first. On the home arbiter only.
    fn turn(self: Arc<Self>, tools: &mut Tools) -> Option<Arc<dyn Run>>;

    /// Notes that it is put into the run queue. `false` if it is there already. On the home arbiter only.
    fn note_queued(&self) -> bool;
}

/// What turns work with, one after the other.
pub(crate) struct Tools {
    /// Where handlers begin.
    pub(crate) buffer: FutureBuffer,
    /// The time, not looked at more often than needed.
    now: Option<Instant>,
}

/// How near a deadline must be for the exact time to matter: what was read once is good for a few turns,
/// unless handlers block their thread for longer than this.
const NEAR: Duration = Duration::from_secs(10);

impl Tools {
    pub(crate) fn new(buffer: FutureBuffer) -> Self {
        Tools { buffer, now: None }
    }

    /// Time has gone by: look again when it matters.
    pub(crate) fn forget_time(&mut self) {
        self.now = None;
    }

    /// Whether a point in time has passed.
    #[inline]
    pub(crate) fn has_passed(&mut self, clock: &Clock, point: Instant) -> bool {
        let now = *self.now.get_or_insert_with(|| clock.coarse_now());
        point.since(now) < NEAR && clock.has_passed(point)
    }
}

/// What is handed to another arbiter.
pub(crate) enum Parcel {
    /// An actor or a task that has something to do.
    Run(Arc<dyn Run>),
    /// A task there whose wait is over.
    Wake(Waker),
    /// Something to be done there.
    Call(Box<dyn FnOnce() + Send>),
}

pub(crate) struct Arbiter {
    number: u32,
    index: usize,
    pub(super) clock: Clock,
    pub(super) injector: Injector<Parcel>,
    pub(super) driver: AtomicWaker,
    /// The actors that live here, by their place in the list.
    cells: Mutex<Slab>,
    pub(super) local: Home<Local>,
    /// Whether asks may run on their askers' stacks here.
    hand_off: AtomicBool,
    in_hand: InHand,
    pub(super) stillness: Stillness,
    /// Who keeps it, if not all share it.
    pub(super) own: Option<Own>,
    handled: AtomicU64,
    pub(super) turns: AtomicU64,
}

#[derive(Default)]
struct Slab {
    cells: Vec<Option<Arc<dyn AnyCell>>>,
    free: Vec<u32>,
}

/// What only the arbiter's thread touches.
pub(super) struct Local {
    pub(super) queue: RefCell<VecDeque<Arc<dyn Run>>>,
    /// For other arbiters, until the end of the turn.
    pub(super) outgoing: RefCell<Vec<Outbox>>,
    pub(super) deadlines: RefCell<Deadlines>,
    /// Memory for the handlers of all actors here.
    buffers: RefCell<Vec<FutureBuffer>>,
    pub(super) tasks: RefCell<Tasks>,
    /// When the driver will look at the deadlines by itself.
    pub(super) alarm: Cell<Instant>,
    /// The driver is running: what is queued now will be seen.
    pub(super) awake: Cell<bool>,
    /// In a turn: what goes to other arbiters is collected.
    pub(super) in_turn: Cell<bool>,
}

/// What a turn has for one other arbiter.
pub(super) struct Outbox {
    pub(super) to: Arc<Arbiter>,
    pub(super) parcels: Vec<Parcel>,
}

thread_local! {
    /// The arbiter whose code runs on this thread.
    static ARBITER: RefCell<Option<Arc<Arbiter>>> = const { RefCell::new(None) };
}

/// How much an arbiter has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ArbiterLoad {
    /// Its number in the system, from 0. Those with a thread of their own come after those that all share,
    /// and their numbers aren't used again.
    pub arbiter: usize,
    /// Whether it is [the thread of one actor](crate::Placement::OwnThread).
    pub own_thread: bool,
    /// Actors that live on it.
    pub actors: usize,
    /// Messages handled.
    pub handled: u64,
    /// Turns given to actors and tasks.
    pub turns: u64,
}

impl Arbiter {
    /// One that all share.
    pub(crate) fn new(index: usize, clock: Clock) -> Arc<Self> {
        Arbiter::make(index, clock, None)
    }

    pub(super) fn make(index: usize, clock: Clock, own: Option<Own>) -> Arc<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let local = Local {
            queue: RefCell::default(),
            outgoing: RefCell::default(),
            deadlines: RefCell::new(Deadlines::new()),
            buffers: RefCell::default(),
            tasks: RefCell::default(),
            alarm: Cell::new(Instant::FAR),
            awake: Cell::new(false),
            in_turn: Cell::new(false),
        };
        Arc::new(Arbiter {
            number,
            index,
            clock,
            injector: Injector::new(),
            driver: AtomicWaker::new(),
            cells: Mutex::default(),
            local: Home::new(number, local),
            hand_off: AtomicBool::new(true),
            in_hand: InHand::default(),
            stillness: Stillness::default(),
            own,
            handled: AtomicU64::new(0),
            turns: AtomicU64::new(0),
        })
    }

    /// Its number in the process: never 0, never used again.
    #[inline]
    pub(crate) fn number(&self) -> u32 {
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
            own_thread: self.own.is_some(),
            actors: cells.cells.len() - cells.free.len(),
            handled: self.handled.load(Ordering::Relaxed),
            turns: self.turns.load(Ordering::Relaxed),
        }
    }

    #[inline]
    pub(crate) fn hands_off(&self) -> bool {
        self.hand_off.load(Ordering::Relaxed)
    }

    pub(crate) fn set_hand_off(&self, on: bool) {
        self.hand_off.store(on, Ordering::Relaxed);
    }

    /// What it works on now.
    #[inline]
    pub(crate) fn in_hand(&self) -> &InHand {
        &self.in_hand
    }

    /// Counts messages that were handled. By the arbiter's own thread, so that no atomic addition is
    /// needed.
    #[inline]
    pub(crate) fn count_handled(&self, messages: u32) {
        self.handled.store(
            self.handled.load(Ordering::Relaxed) + u64::from(messages),
            Ordering::Relaxed,
        );
    }

    /// Gives an actor a place in the list of those that live here.
    pub(crate) fn enlist(&self, cell: Arc<dyn AnyCell>) -> u32 {
        if let Some(own) = &self.own {
            own.come();
        }
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
        if let Some(own) = self.own.as_ref().filter(|_| cell.is_some()) {
            own.leave();
        }
        drop(cell);
    }

    /// The actors that live here.
    pub(crate) fn cells(&self) -> Vec<Arc<dyn AnyCell>> {
        self.cells.lock().cells.iter().flatten().cloned().collect()
    }

    /// A buffer for handlers.
    #[inline]
    pub(crate) fn take_buffer(&self) -> FutureBuffer {
        self.local
            .enter()
            .and_then(|local| local.buffers.borrow_mut().pop())
            .unwrap_or_else(FutureBuffer::new)
    }

    /// Gives a buffer back in which no future is any more.
    #[inline]
    pub(crate) fn give_buffer(&self, buffer: FutureBuffer) {
        if buffer.is_kept()
            && let Some(local) = self.local.enter()
        {
            let mut buffers = local.buffers.borrow_mut();
            if buffers.len() < BUFFERS {
                buffers.push(buffer);
            }
        }
    }

    /// Arms a deadline in the table, about `span` from now. `None` if this isn't the thread, or the clock is
    /// another.
    #[inline]
    pub(crate) fn arm(
        &self,
        clock: &Clock,
        span: Duration,
        due: Instant,
        waker: &Waker,
    ) -> Option<Key> {
        if !self.clock.is(clock) {
            return None;
        }
        let local = self.local.enter()?;
        let key = local.deadlines.borrow_mut().arm(span, due, waker);
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

    /// Puts something into the run queue.
    #[inline]
    pub(crate) fn schedule(self: &Arc<Self>, run: Arc<dyn Run>) {
        let Some(local) = self.local.enter() else {
            self.send(Parcel::Run(run));
            return;
        };
        if run.note_queued() {
            local.queue.borrow_mut().push_back(run);
        }
        if !local.awake.get() {
            self.stillness.moves();
            drop(local);
            self.driver.wake();
        }
    }

    /// Starts a task here. `false` if the arbiter has ended: it will never run.
    pub(crate) fn spawn(self: &Arc<Self>, make: MakeTask) -> bool {
        let here = Arc::clone(self);
        let start = move || here.spawn_here(make());
        self.inject([Parcel::Call(Box::new(start))])
    }

    /// Hands something to this arbiter: at the end of the turn if a turn of another arbiter is running on
    /// this thread, else now. Answers `false` if the arbiter has ended.
    pub(crate) fn send(self: &Arc<Self>, parcel: Parcel) -> bool {
        let mut parcel = Some(parcel);
        with_here(|here| {
            if let Some(local) = here.local.enter().filter(|local| local.in_turn.get())
                && let Some(parcel) = parcel.take()
            {
                put_out(&mut local.outgoing.borrow_mut(), self, parcel);
            }
        });
        parcel.is_none_or(|parcel| self.inject([parcel]))
    }

    /// Hands parcels over now, under one lock and with at most one wake-up.
    pub(super) fn inject(&self, parcels: impl IntoIterator<Item = Parcel>) -> bool {
        match self.injector.put(parcels) {
            Ok(false) => true,
            Ok(true) => {
                self.driver.wake();
                true
            }
            Err(parcels) => {
                // A call that is dropped may tell somebody.
                parcels.into_iter().for_each(drop);
                false
            }
        }
    }
}

#[cfg(feature = "test")]
impl Arbiter {
    /// Whether this thread is in one of its turns.
    pub(crate) fn is_in_turn(&self) -> bool {
        self.local.enter().is_some_and(|local| local.in_turn.get())
    }

    /// Turns given and messages handled. Late by a turn.
    pub(crate) fn work_done(&self) -> u64 {
        self.turns.load(Ordering::Relaxed) + self.handled.load(Ordering::Relaxed)
    }

    /// What doesn't change while it rests, if it does: see [`Stillness`].
    pub(crate) fn look(&self) -> Option<u64> {
        if self.injector.has_ended() {
            return Some(u64::MAX);
        }
        self.stillness.look()
    }

    /// Whether something was handed to it that it hasn't taken in.
    pub(crate) fn has_parcels(&self) -> bool {
        self.injector.notified.is_raised() && !self.injector.has_ended()
    }

    /// Calls `here` on its thread, in a turn of others. Drops it, if the arbiter has ended.
    pub(crate) fn visit(&self, here: impl FnOnce() + Send + 'static) {
        self.inject([Parcel::Call(Box::new(here))]);
    }
}

fn put_out(outgoing: &mut Vec<Outbox>, to: &Arc<Arbiter>, parcel: Parcel) {
    match outgoing
        .iter_mut()
        .find(|outbox| Arc::ptr_eq(&outbox.to, to))
    {
        Some(outbox) => outbox.parcels.push(parcel),
        None => outgoing.push(Outbox {
            to: Arc::clone(to),
            parcels: vec![parcel],
        }),
    }
}

impl fmt::Debug for Arbiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arbiter")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// Does something with the arbiter of the running code, if there is one.
#[inline]
pub(crate) fn with_here<T>(work: impl FnOnce(&Arc<Arbiter>) -> T) -> Option<T> {
    ARBITER.with_borrow(|here| here.as_ref().map(work))
}

/// The arbiter of the running code, if wake-ups should be handed to it together with others: tasks of
/// other runtimes on its thread. What runs in turns reaches it that way by itself.
#[inline]
pub(crate) fn batches_wakes() -> Option<Arc<Arbiter>> {
    with_here(|here| {
        let in_turn = here.local.enter().is_some_and(|local| local.in_turn.get());
        (!in_turn).then(|| Arc::clone(here))
    })
    .flatten()
}

/// Says which arbiter's code runs on this thread from now on; returns what was said before.
pub(crate) fn enter(arbiter: Option<Arc<Arbiter>>) -> Option<Arc<Arbiter>> {
    crate::sync::set_current_arbiter(arbiter.as_ref().map_or(0, |arbiter| arbiter.number));
    ARBITER.replace(arbiter)
}
