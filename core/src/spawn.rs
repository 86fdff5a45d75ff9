//! Starting actors: where, with what mailbox, under what name.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::admission::Admission;
use crate::cell::{Admissions, Cell, CellOptions};
use crate::driver::Arbiter;
use crate::executor;
use crate::mailbox::{DEFAULT_MAILBOX_CAPACITY, Overflow};
use crate::message::Message;
use crate::observe::{Observable, Observed};
use crate::place::{ActorPlace, Place};
use crate::system::{StartError, System};
use crate::watch::ExitReason;

/// On which arbiter an actor lives. What talks together lives together: an ask on one thread needs no
/// wake-up of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Placement {
    /// The next arbiter in turn.
    #[default]
    Spread,
    /// The arbiter with that number, counted from 0; past the last, counting starts again.
    Pinned(usize),
    /// A thread of its own, for an actor that blocks: one that works with files, or calls a library that
    /// knows no `async`. It delays nobody but itself, and is an actor like any other: same references, same
    /// mailbox, and a panic ends it alone (G10).
    ///
    /// The thread is named for the actor (Linux shows 15 bytes), starts with its first incarnation, and ends
    /// when the actor has ended, or with the system. A supervised actor keeps it over its restarts, until its
    /// place is closed. What is started [near](Spawn::near) such an actor, or by itself on its thread with
    /// `start()`, lives there too, and keeps the thread until it has ended.
    ///
    /// A system has at most [`OWN_THREADS`](crate::OWN_THREADS) of these, unless
    /// [told otherwise](System::own_thread_limit). An actor for which there is no thread never starts: it has
    /// ended as [`Failed`](ExitReason::Failed), and its messages come back as not executed; in a supervised
    /// place it is a start that failed, and is tried again as such.
    ///
    /// Nothing stops code that never yields (G11): a thread that is blocked when the system is shut down ends
    /// when that code returns. On the simulating executor it is a further logical arbiter.
    OwnThread,
}

/// The largest bound of a mailbox: what is larger would mean none, which is said by name.
const LARGEST_BOUND: usize = (u32::MAX - 1) as usize;

/// A start in preparation. Made by [`System::actor`].
#[must_use = "nothing starts until `start` or `place` is called"]
pub struct Spawn<F> {
    system: System,
    factory: F,
    label: Option<Arc<str>>,
    capacity: usize,
    overflow: Overflow,
    placement: Placement,
    /// Beside whom, in place of the placement.
    beside: Option<Arc<Arbiter>>,
    admissions: Option<Box<Admissions>>,
    /// Puts its cell on the list of those that can be observed.
    observe: Option<fn(Arc<dyn Any + Send + Sync>)>,
}

impl<F> Spawn<F> {
    pub(crate) fn new(system: &System, factory: F) -> Self {
        Spawn {
            system: system.clone(),
            factory,
            label: None,
            capacity: DEFAULT_MAILBOX_CAPACITY,
            overflow: Overflow::default(),
            placement: Placement::default(),
            beside: None,
            admissions: None,
            observe: None,
        }
    }

    /// A name for people: logs, errors, the list of actors. Not looked up by.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// How many messages the mailbox holds, from 1 to about four thousand million, and what happens to the
    /// next one (G3). Other numbers mean the nearest of these.
    pub fn mailbox(mut self, capacity: usize, overflow: Overflow) -> Self {
        self.capacity = capacity.clamp(1, LARGEST_BOUND);
        self.overflow = overflow;
        self
    }

    /// A mailbox without a bound (G3): no send ever waits or is refused for want of room, and memory is the
    /// limit (32 GiB in one mailbox). For what can't come faster than it is handled, or whose senders must
    /// never wait; for nothing else, because who sends too much isn't slowed down.
    pub fn unbounded(mut self) -> Self {
        self.capacity = usize::MAX;
        self.overflow = Overflow::Wait;
        self
    }

    /// On which arbiter it lives.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self.beside = None;
        self
    }

    /// On a thread of its own, for an actor that blocks: [`Placement::OwnThread`].
    pub fn on_own_thread(self) -> Self {
        self.placement(Placement::OwnThread)
    }

    /// On the arbiter of another actor. If that one had a [thread of its own](Placement::OwnThread) which has
    /// ended with it, on one of those that all share.
    pub fn near<B: Actor>(self, other: &ActorRef<B>) -> Self {
        self.beside(other.home())
    }

    fn beside(mut self, arbiter: &Arc<Arbiter>) -> Self {
        self.beside = Some(Arc::clone(arbiter));
        self
    }

    /// Puts something before the handler of messages of type `M`; a second one for `M` replaces it.
    pub fn admission<M: Message>(mut self, admission: impl Admission<M>) -> Self {
        let admission: Arc<dyn Admission<M>> = Arc::new(admission);
        self.admissions
            .get_or_insert_default()
            .insert(TypeId::of::<M>(), Box::new(admission));
        self
    }

    /// Puts the actor on the list of [`System::observe`], with what it shows of itself, until it ends.
    pub fn observable<A: Observable>(mut self) -> Self
    where
        F: FnOnce() -> A,
    {
        self.observe = Some(|cell| {
            if let Ok(cell) = cell.downcast::<Cell<A>>() {
                Observed::add(&cell);
            }
        });
        self
    }

    fn into_cell<A: Actor>(self, owned: bool) -> (Arc<Cell<A>>, F) {
        // Until the actor is on the list of its arbiter, this keeps the arbiter.
        let stay = match &self.beside {
            Some(arbiter) => self.system.stay_beside(arbiter),
            None => self.system.stay_at(self.placement),
        };
        let options = CellOptions {
            label: self.label,
            capacity: self.capacity,
            overflow: self.overflow,
            admissions: self.admissions,
            owned,
        };
        let cell = Cell::<A>::new(&self.system, Arc::clone(&stay), options);
        if let Some(observe) = self.observe {
            observe(Arc::clone(&cell) as Arc<dyn Any + Send + Sync>);
        }
        (cell, self.factory)
    }

    /// Starts the actor. If the system is shut down, or has no [thread](Placement::OwnThread) for it, the
    /// reference is of an actor that has ended, for a [reason](ActorRef::exit_reason) that says so.
    pub fn start<A>(self) -> ActorRef<A>
    where
        A: Actor,
        F: FnOnce() -> A + Send + 'static,
    {
        let (cell, factory) = self.into_cell::<A>(false);
        start_once(&cell, factory);
        ActorRef::new(cell)
    }

    /// Makes an actor that is started, and started again, by somebody else: its supervisor.
    pub fn place<A>(self) -> (ActorRef<A>, Arc<dyn Place>)
    where
        A: Actor,
        F: Fn() -> A + Send + Sync + 'static,
    {
        let (cell, factory) = self.into_cell::<A>(true);
        let place = ActorPlace::new(Arc::clone(&cell), factory);
        (ActorRef::new(cell), Arc::new(place))
    }
}

impl<F> fmt::Debug for Spawn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawn")
            .field("label", &self.label)
            .field("capacity", &self.capacity)
            .field("overflow", &self.overflow)
            .field("placement", &self.placement)
            .field("beside", &self.beside)
            .finish_non_exhaustive()
    }
}

/// Starts an actor on the arbiter of the calling code.
pub(crate) fn start_here<A: Actor>(actor: A) -> Result<ActorRef<A>, StartError> {
    let here = executor::here().ok_or(StartError::NotOnArbiter)?;
    let spawn = Spawn::new(&here.system, ()).beside(&here.arbiter);
    let (cell, ()) = spawn.into_cell::<A>(false);
    cell.begin_incarnation();
    Arc::clone(&cell).move_in(move || actor, None);
    Ok(ActorRef::new(cell))
}

/// Starts the one and only incarnation of an actor that nobody supervises.
fn start_once<A: Actor>(cell: &Arc<Cell<A>>, factory: impl FnOnce() -> A + Send + 'static) {
    if cell.system().is_closed() {
        cell.end(ExitReason::Killed);
        return;
    }
    cell.begin_incarnation();
    match cell.give_thread() {
        Ok(()) => cell.start(factory, None),
        Err(error) => cell.end(ExitReason::Failed(error.to_string())),
    }
}
