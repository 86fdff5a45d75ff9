//! Starting actors: where, with what mailbox, under what name.

use std::any::Any;
use std::cell::Cell as Slot;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::admission::{Admission, Admissions, Guard};
use crate::cell::{Cell, CellOptions, Ended, Owner};
use crate::context::Family;
use crate::driver::Arbiter;
use crate::executor;
use crate::mailbox::{DEFAULT_MAILBOX_CAPACITY, Overflow};
use crate::message::Message;
use crate::names::RegisterError;
use crate::observe::{Observable, Observed};
use crate::place::{ActorPlace, Place};
use crate::replay::Replays;
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
    /// The thread of those that see to the others: supervisors, and what reaps child processes. No actor that
    /// works lives there, so that one that blocks its thread delays no restart (G4). It is made when the first
    /// one needs it, and ends with the system.
    ///
    /// What is placed there must never block and do little at a time. Where the operating system has no thread
    /// left it is the first arbiter.
    Control,
}

/// How long `starting` may take unless told otherwise.
pub const START_LIMIT: Duration = Duration::from_secs(30);

/// How many messages an actor can stash unless told otherwise.
pub const STASH_CAPACITY: usize = 1_024;

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
    start_limit: Option<Duration>,
    stash_capacity: usize,
    handler_limit: Option<Duration>,
    replays: Option<Box<Replays>>,
    /// Somebody starts it again and again.
    placed: bool,
    /// Whose child it is.
    family: Option<Arc<Family>>,
    /// Puts its cell on the list of those that can be observed.
    observe: Option<ShowFn>,
}

/// Puts the cell that it gets on the list of those that can be observed.
pub(crate) type ShowFn = fn(Arc<dyn Any + Send + Sync>);

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
            start_limit: Some(START_LIMIT),
            stash_capacity: STASH_CAPACITY,
            handler_limit: None,
            replays: None,
            placed: false,
            family: None,
            observe: None,
        }
    }

    pub(crate) fn system(&self) -> &System {
        &self.system
    }

    /// A start of a child, on the arbiter of its parent unless told otherwise.
    pub(crate) fn child(
        system: &System,
        arbiter: &Arc<Arbiter>,
        family: Arc<Family>,
        factory: F,
    ) -> Self {
        let mut spawn = Spawn::new(system, factory).beside(arbiter);
        spawn.family = Some(family);
        spawn
    }

    /// A name for people: logs, errors, the list of actors. Not looked up by; that is
    /// [`start_named`](Spawn::start_named).
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

    /// How long [`starting`](Actor::starting) may take before it is dropped and counts as failed;
    /// [`START_LIMIT`] unless said otherwise, as long as it takes with `None`. Code that never yields can't be
    /// dropped: it is found out when it yields or returns.
    pub fn start_limit(mut self, limit: Option<Duration>) -> Self {
        self.start_limit = limit;
        self
    }

    /// How long one handler may take, what it awaits included, before the actor counts as frozen (G13). Off unless
    /// said. A handler that takes long and knows it says [`progress`](crate::Context::progress), from where its time
    /// begins anew.
    ///
    /// What is found is told once for each handler, or once more after each `progress`: to the supervisor as
    /// [`NoProgress`](crate::ChildEvent::NoProgress), which decides; as a warning of `tracing` with the target
    /// `callboard::watchdog`; by [`System::frozen`] for as long as it lasts; and in
    /// [`Counters::freezes`](crate::Counters::freezes). Nothing else happens to an actor that nobody supervises. A
    /// kill ends a handler that waits at an `.await`; code that never yields can't be ended (G11), and is
    /// found all the same: a thread of its own looks, twice within a limit, so it is told when it has lasted for
    /// the limit and at most half as much again. Limits shorter than 2 ms are looked at every millisecond.
    ///
    /// A handler that would go on, but whose thread somebody else blocks, counts as well: [`System::blocked`] names
    /// the one who does.
    ///
    /// The hook [`started`](Actor::started) counts as a handler; [`starting`](Actor::starting) has a
    /// [limit of its own](Spawn::start_limit), and the end of an actor its supervisor's. What the actor
    /// [runs beside itself](crate::Context::spawn) isn't looked at.
    ///
    /// ```
    /// # extern crate callboard_core as callboard;
    /// # use callboard_core::{Actor, Context, Handler, Message, Simulation};
    /// # use std::time::Duration;
    /// #[derive(Message)]
    /// struct Fetch;
    ///
    /// struct Client;
    /// impl Actor for Client {}
    /// impl Handler<Fetch> for Client {
    ///     async fn handle(&mut self, _: Fetch, _: &mut Context<Self>) {
    ///         std::future::pending().await // a server that never answers
    ///     }
    /// }
    /// # let mut simulation = Simulation::new(1);
    /// # let system = simulation.system().clone();
    /// # simulation.block_on(async {
    /// let limit = Duration::from_secs(5);
    /// let client = system.actor(|| Client).handler_limit(limit).start();
    /// client.tell(Fetch).await?;
    /// system.clock().sleep(Duration::from_secs(6)).await;
    /// let frozen = system.frozen();
    /// assert_eq!((frozen[0].actor, frozen[0].lasted.as_secs()), (client.id(), 6));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// Each message of such an actor costs some tens of nanoseconds more, and an ask never runs on its asker's stack.
    pub fn handler_limit(mut self, limit: Duration) -> Self {
        self.handler_limit = Some(limit);
        self
    }

    /// How many messages it can [stash](crate::Context::stash) (G3); [`STASH_CAPACITY`] unless said otherwise. They
    /// take no room in the mailbox.
    pub fn stash_capacity(mut self, capacity: usize) -> Self {
        self.stash_capacity = capacity;
        self
    }

    /// A message of type `M` that is in hand when the actor crashes (it panics, or is killed) is offered to the next
    /// incarnation, up to `times` times more: 0 to [`MAX_REPLAYS`](crate::MAX_REPLAYS), more means that. Call it
    /// once for each type; a second call for the same type replaces the first.
    ///
    /// For an actor with a supervisor ([`place`](Spawn::place)): it does nothing for one that is started by itself,
    /// which has no next incarnation. Its asker is told of the crash, as ever.
    ///
    /// # Guarantees
    /// - The message comes first in the next incarnation, before what was stashed and all that is queued (G2), with
    ///   the same key and deadline and the next [attempt](crate::Meta::attempt);
    ///   [`failed_attempts`](crate::Meta::failed_attempts) says how those before ended. Its asker goes on waiting,
    ///   within its deadline, and is told nothing of the crash (G14).
    /// - A message that was in hand at `times + 1` crashes is poison. It goes to dead letters as
    ///   [`Poison`](crate::DropReason::Poison), with what is known of each attempt, and its asker is told
    ///   [`Panicked`](crate::FailureKind::Panicked) (or `Killed`, if the last attempt was), `Executed`.
    /// - Whatever else ends it ends it as `Executed`, because its handler had begun: its deadline passes, its asker
    ///   withdraws, the actor is given up by its supervisor while it waits.
    /// - Only what is in hand is replayed: until its handler has returned, or somebody has answered it by its
    ///   [`Responder`](crate::Responder), or it was [stashed](crate::Context::stash). [`ctx.fail`](crate::Context::fail)
    ///   acts when the handler has returned, so that message was handled. The stream of a
    ///   [streamed](crate::AnswerStream) answer is such an answer, too: what crashes while it flows is not replayed.
    /// - A responder that outlives the crash of its handler (in a task, at another actor) has lost its right to answer:
    ///   what it sends is counted as a [late reply](crate::DropReason::LateReply) (G8).
    /// - A [behaviour](crate::Context::becomes) ends with its incarnation, so what is replayed is handled by the
    ///   handler, or by what the next incarnation has put in its place by then.
    ///
    /// # Price
    /// Each message of that type is cloned before its handler gets it, and takes a few allocations; an
    /// `Arc` around what is large makes the clone cheap. All messages of such an actor take the
    /// longer way through its loop, and are never handed off on their asker's stack.
    ///
    /// # When to use it
    /// When the crash isn't the message's fault: a connection in the actor's state that broke, a bug in what it
    /// cached. A message that crashes its actor by itself crashes it `times + 1` times, and each of these counts
    /// against the supervisor's intensity: keep `times` small, and below what the intensity allows. What is in hand at
    /// a crash may have run half-way; a handler that must not do its work twice looks at the attempt, or keeps its
    /// effect under the request key. With deduplication before the actor a replay belongs to the same execution:
    /// duplicates that have joined it go on waiting, and get its answer (G19).
    ///
    /// The panic of an adopted actix actor isn't replayed: actix's side of it tells the asker.
    ///
    /// ```
    /// # extern crate callboard_core as callboard;
    /// use callboard_core::{Actor, Context, Handler, Message, Simulation, System, Terms};
    /// use std::sync::Arc;
    ///
    /// #[derive(Message, Clone)]
    /// #[message(reply = u32)]
    /// struct Fetch;
    ///
    /// struct Client;
    /// impl Actor for Client {}
    /// impl Handler<Fetch> for Client {
    ///     async fn handle(&mut self, _: Fetch, ctx: &mut Context<Self>) -> u32 {
    ///         assert!(ctx.meta().attempt() > 1, "the connection broke");
    ///         ctx.meta().attempt()
    ///     }
    /// }
    ///
    /// Simulation::new(1).block_on(async {
    ///     let system = System::current().ok_or("no system")?;
    ///     let (client, place) = system.actor(|| Client).replay::<Fetch>(3).place();
    ///     // What a supervisor does: it starts the actor again when it has ended.
    ///     let again = Arc::clone(&place);
    ///     place.start(Terms::new(Arc::new(move |_, event| {
    ///         if event.is_last() {
    ///             again.start(Terms::new(Arc::new(|_, _| {})));
    ///         }
    ///     })));
    ///     assert_eq!(client.ask(Fetch).await?, 2);
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn replay<M: Message + Clone>(mut self, times: u32) -> Self {
        self.replays.get_or_insert_default().add::<M>(times);
        self
    }

    /// The same, where the types were known earlier.
    pub(crate) fn replaying(mut self, replays: Option<Box<Replays>>) -> Self {
        self.replays = replays;
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

    /// Puts something before the handler of messages of type `M`, behind what stands there already.
    pub fn admission<M: Message>(mut self, admission: impl Admission<M>) -> Self {
        self.admissions.get_or_insert_default().add(admission);
        self
    }

    /// Puts something before all handlers, behind the guards that stand there already and before every
    /// [`admission`](Spawn::admission).
    pub fn guard(mut self, guard: impl Guard) -> Self {
        self.admissions.get_or_insert_default().guard(guard);
        self
    }

    /// Puts faults on the actor: see [`Faults`](crate::testing::Faults). A second call replaces the first.
    #[cfg(feature = "test")]
    pub fn faults(mut self, faults: &crate::testing::Faults) -> Self {
        let point = crate::testing::FaultPoint::new(faults);
        self.admissions.get_or_insert_default().faults = Some(point);
        self
    }

    /// Puts the actor on the list of [`System::observe`], with what it shows of itself, until it ends.
    pub fn observable<A: Observable>(mut self) -> Self
    where
        F: FnOnce() -> A,
    {
        self.observe = Some(Observed::add_any::<A>);
        self
    }

    /// The same, where the type of the actor was known earlier.
    pub(crate) fn shown_by(mut self, show: Option<ShowFn>) -> Self {
        self.observe = show;
        self
    }

    /// The cell of an actor that gets a name: that is its label, unless it has another.
    pub(crate) fn into_named_cell<A: Actor>(
        mut self,
        name: &Arc<str>,
        owned: bool,
    ) -> (Arc<Cell<A>>, F) {
        self.label.get_or_insert_with(|| Arc::clone(name));
        self.into_cell(owned)
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
            start_limit: self.start_limit,
            stash_capacity: self.stash_capacity,
            handler_limit: self.handler_limit,
            // Without a supervisor there is no next incarnation.
            replays: self.replays.filter(|_| self.placed),
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
        let family = self.family.clone();
        let (cell, factory) = self.into_cell::<A>(family.is_some());
        start_in(family.as_ref(), &cell, factory);
        ActorRef::new(cell)
    }

    /// Starts the actor under a [name](System::names), which it has from before its start until it has ended
    /// (G12). Unless it has a label, the name is its label. Otherwise like [`start`](Spawn::start).
    ///
    /// # Errors
    /// [`RegisterError`]: the name is bad, or taken. Nothing was started, and the factory didn't run.
    pub fn start_named<A>(self, name: impl Into<Arc<str>>) -> Result<ActorRef<A>, RegisterError>
    where
        A: Actor,
        F: FnOnce() -> A + Send + 'static,
    {
        let names = self.system.names().clone();
        let family = self.family.clone();
        let owned = family.is_some();
        let made = names.register_new(name, self, |spawn, name| spawn.into_named_cell(name, owned));
        let (cell, factory) = made?;
        start_in(family.as_ref(), &cell, factory);
        Ok(ActorRef::new(cell))
    }

    /// Makes an actor that is started, and started again, by somebody else: its supervisor. Its messages wait until then.
    /// If the place is dropped and no incarnation runs, the actor has [`Stopped`](ExitReason::Stopped).
    pub fn place<A>(mut self) -> (ActorRef<A>, Arc<dyn Place>)
    where
        A: Actor,
        F: Fn() -> A + Send + Sync + 'static,
    {
        self.placed = true;
        let (cell, factory) = self.into_cell::<A>(true);
        let place = ActorPlace::new(Arc::clone(&cell), factory);
        (ActorRef::new(cell), Arc::new(place))
    }

    /// The same under a [name](System::names), which the actor has from now on, over its restarts, until its
    /// place is closed (G12, G13). Unless it has a label, the name is its label.
    ///
    /// # Errors
    /// [`RegisterError`]: the name is bad, or taken.
    pub fn place_named<A>(
        mut self,
        name: impl Into<Arc<str>>,
    ) -> Result<(ActorRef<A>, Arc<dyn Place>), RegisterError>
    where
        A: Actor,
        F: Fn() -> A + Send + Sync + 'static,
    {
        self.placed = true;
        let names = self.system.names().clone();
        let made = names.register_new(name, self, |spawn, name| spawn.into_named_cell(name, true));
        let (cell, factory) = made?;
        let place = ActorPlace::new(Arc::clone(&cell), factory);
        Ok((ActorRef::new(cell), Arc::new(place)))
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

/// Starts the one and only incarnation of an actor, as a child if it has a family. One whose parent has ended
/// ends, too.
fn start_in<A: Actor>(
    family: Option<&Arc<Family>>,
    cell: &Arc<Cell<A>>,
    factory: impl FnOnce() -> A + Send + 'static,
) {
    match family {
        Some(family) if !family.add(cell) => cell.end(ExitReason::Killed),
        _ => start_once(cell, factory),
    }
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
        Err(error) => cell.end(ExitReason::Failed(error.to_string().into())),
    }
}

/// The same, and tells whether it came up: once `starting` has returned, or when the actor has ended without.
pub(crate) fn start_reporting<A: Actor>(
    cell: &Arc<Cell<A>>,
    factory: impl FnOnce() -> A + Send + 'static,
    report: oneshot::Sender<Result<(), String>>,
) {
    let sole = Sole {
        cell: Arc::clone(cell),
        report: Slot::new(Some(report)),
    };
    if cell.system().is_closed() {
        return sole.end(ExitReason::Killed, "the system was shut down".to_owned());
    }
    cell.begin_incarnation();
    match cell.give_thread() {
        Ok(()) => cell.start(factory, Some(Box::new(sole))),
        Err(error) => sole.end(
            ExitReason::Failed(error.to_string().into()),
            error.to_string(),
        ),
    }
}

/// Owns the one incarnation of an actor for as long as somebody wants to know whether it came up.
struct Sole<A: Actor> {
    cell: Arc<Cell<A>>,
    report: Slot<Option<oneshot::Sender<Result<(), String>>>>,
}

impl<A: Actor> Sole<A> {
    fn tell(&self, result: Result<(), String>) {
        if let Some(report) = self.report.take() {
            // Whoever asked may have gone.
            let _ = report.send(result);
        }
    }

    /// Ends the actor; then tells, so that its name is free for whoever hears of it.
    fn end(&self, reason: ExitReason, why: String) {
        self.cell.end(reason);
        self.tell(Err(why));
    }
}

impl<A: Actor> Owner for Sole<A> {
    fn started(&self) {
        self.tell(Ok(()));
    }

    fn ended(self: Box<Self>, ended: Ended) {
        let reason = ended.into_reason();
        let why = match &reason {
            ExitReason::Failed(why) => why.to_string(),
            reason => reason.to_string(),
        };
        self.end(reason, why);
    }
}

impl<A: Actor> Drop for Sole<A> {
    /// Its arbiter is gone, if it hasn't ended before: only the first end counts.
    fn drop(&mut self) {
        self.end(ExitReason::Killed, ExitReason::Killed.to_string());
    }
}
