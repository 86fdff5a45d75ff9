//! Names: how actors of one system find each other without being handed references.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::Shared;
use parking_lot::Mutex;
use serde::Serialize;

use crate::actor::Actor;
use crate::actor_ref::{ActorRef, Recipient};
use crate::cell::Cell;
use crate::id::{ActorId, Incarnation};
use crate::message::Message;
use crate::spawn::{self, Spawn};
use crate::watch::{ExitReason, LifeEvent, OnEnd, OnLife, Terminated, Watch, WatchHandle};
use crate::weak::{WeakRecipient, WeakRef};

mod error;

use error::check;
pub(crate) use error::check as check_name;
pub use error::{BadName, MAX_NAME, NameTaken, NamedStartError, RegisterError, WrongType};

/// The names of one [`System`](crate::System), [`System::names`](crate::System::names): how its actors find
/// each other without being handed references. Nothing is global.
///
/// A name is 1 to [`MAX_NAME`] bytes without control characters, as on the wire, and has one holder at a time:
/// an actor, or a recipient whose actor's type doesn't matter. A holder may have several names. Clones are handles
/// to the same table; any thread may use them, and no call waits for an actor but
/// [`lookup_or_start`](Names::lookup_or_start).
///
/// # When a name is free
///
/// A name belongs to the actor, not to an incarnation: it is kept over restarts, like references (G13). When
/// the actor has ended, the name is free *before* any of its watchers is told (G12), so that whoever hears of
/// an end can start a successor under the same name at once. (`SystemRegistry` of actix keeps the entry of a
/// dead actor, and refuses a new one; in Erlang, too, a name is gone before the monitors fire.)
///
/// # Starting under a name
///
/// [`Spawn::start_named`](crate::Spawn::start_named) registers and starts in one step: nobody can take the
/// name in between, and nobody finds it before the actor is there. [`Names::lookup_or_start`] starts what
/// isn't there yet; however many call it at once, from whatever threads, there is one start.
///
/// ```
/// use callboard_core::{Actor, Context, Handler, Message, Simulation};
///
/// struct Add(u64);
/// impl Message for Add {
///     type Reply = u64;
/// }
///
/// struct Counter(u64);
/// impl Actor for Counter {}
/// impl Handler<Add> for Counter {
///     async fn handle(&mut self, Add(n): Add, _ctx: &mut Context<Self>) -> u64 {
///         self.0 += n;
///         self.0
///     }
/// }
///
/// let mut simulation = Simulation::new(1);
/// let system = simulation.system().clone();
/// simulation.block_on(async {
///     system.actor(|| Counter(0)).start_named("visits")?;
///     let visits = system.names().lookup::<Counter>("visits")?.ok_or("nobody there")?;
///     assert_eq!(visits.ask(Add(1)).await?, 1);
///
///     let names = system.names();
///     let again = names.lookup_or_start("visits", || system.actor(|| Counter(100))).await?;
///     assert_eq!(again, visits);
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Names {
    table: Arc<Mutex<Table>>,
}

/// One name as a list of all names shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NameSnapshot {
    /// The name.
    pub name: String,
    /// Who has it.
    pub id: ActorId,
    /// The holder's name for people.
    pub label: String,
    /// What it is looked up as: the Rust type of the actor, or of the recipient.
    pub type_name: &'static str,
}

/// Whoever has a name, to be watched. Made by [`Names::holder_of`].
#[derive(Debug, Clone)]
pub struct HolderOf {
    names: Names,
    name: Arc<str>,
}

impl HolderOf {
    fn terminated(&self) -> Terminated {
        Terminated {
            id: ActorId::fresh(),
            label: self.name.to_string(),
            reason: ExitReason::NeverExisted,
            incarnation: Incarnation::default(),
        }
    }

    fn to_watch(&self) -> Option<Box<dyn Watch>> {
        self.names.find(&self.name)?.target.to_watch()
    }
}

impl Watch for HolderOf {
    fn watch(&self, on_end: OnEnd) -> WatchHandle {
        match self.to_watch() {
            Some(holder) => holder.watch(on_end),
            None => {
                on_end(self.terminated());
                WatchHandle::over()
            }
        }
    }

    fn watch_life(&self, on_event: OnLife) -> WatchHandle {
        match self.to_watch() {
            Some(holder) => holder.watch_life(on_event),
            None => {
                on_event(LifeEvent::Terminated(self.terminated()));
                WatchHandle::over()
            }
        }
    }
}

#[derive(Default)]
struct Table {
    entries: BTreeMap<Arc<str>, Arc<Entry>>,
    /// The names of those who say when they end. A key stays until then also without names, so that whoever
    /// is registered over and over is told once.
    holders: BTreeMap<Holder, Vec<Arc<str>>>,
}

/// Who has names. An actor and recipients of it end by different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    id: ActorId,
    by_recipient: bool,
}

/// What a name stands for.
struct Entry {
    holder: Holder,
    target: Box<dyn Target>,
    /// How its start went, if it was started for this name.
    start: Option<StartEnd>,
}

/// How a start went, once it is known: for all that wait for it.
type StartEnd = Shared<oneshot::Receiver<Result<(), String>>>;

/// What can have a name.
trait Target: Any + Send + Sync {
    fn label(&self) -> String;
    fn type_name(&self) -> &'static str;

    /// Whether it has ended. From the moment on at which its watchers can be told (G12).
    fn is_gone(&self) -> bool;

    /// It, to be watched; `None` if it has ended.
    fn to_watch(&self) -> Option<Box<dyn Watch>>;

    /// Has `forget` called when it ends; `false` if it has ended already.
    fn on_end(&self, forget: Box<dyn FnOnce() + Send>) -> bool;
}

impl Names {
    /// Gives a running actor a name.
    ///
    /// # Errors
    /// [`RegisterError`]: the name is bad, somebody else has it (or this very actor has), or the actor has
    /// ended.
    pub fn register<A: Actor>(
        &self,
        name: impl Into<Arc<str>>,
        actor: &ActorRef<A>,
    ) -> Result<(), RegisterError> {
        let name = check(name.into())?;
        let target = actor.downgrade();
        self.put(&name, (), |()| (Entry::new(actor.id(), false, target), ()))
            .map_err(|(holder, ())| holder.taken(&name).into())
            .and_then(|((), entry)| self.attend(&name, &entry))
    }

    /// Gives whoever takes messages of one type a name: an actor whose type doesn't matter, a pool, an
    /// exposed name of another process. It is found by [`lookup_recipient`](Names::lookup_recipient), as a
    /// recipient of the same message type.
    ///
    /// The table holds the recipient, and with it what it keeps alive (a link, a pool), until it has ended or
    /// is [unregistered](Names::unregister).
    ///
    /// # Errors
    /// As for [`register`](Names::register).
    pub fn register_recipient<M: Message>(
        &self,
        name: impl Into<Arc<str>>,
        recipient: &Recipient<M>,
    ) -> Result<(), RegisterError> {
        let name = check(name.into())?;
        let target = Named {
            weak: recipient.downgrade(),
            recipient: recipient.clone(),
        };
        self.put(&name, (), |()| {
            (Entry::new(recipient.id(), true, target), ())
        })
        .map_err(|(holder, ())| holder.taken(&name).into())
        .and_then(|((), entry)| self.attend(&name, &entry))
    }

    /// The actor of that name; `None` if nobody has it.
    ///
    /// # Errors
    /// [`WrongType`]: somebody has the name, but is no `A`.
    pub fn lookup<A: Actor>(&self, name: &str) -> Result<Option<ActorRef<A>>, WrongType> {
        match self.find(name) {
            Some(entry) => entry.actor(name),
            None => Ok(None),
        }
    }

    /// The recipient of that name; `None` if nobody has it. It finds what was registered by
    /// [`register_recipient`](Names::register_recipient) for this message type, not actors that were
    /// registered as such: of those only their own type is known.
    ///
    /// # Errors
    /// [`WrongType`]: somebody has the name, but not as a recipient of `M`.
    pub fn lookup_recipient<M: Message>(
        &self,
        name: &str,
    ) -> Result<Option<Recipient<M>>, WrongType> {
        let Some(entry) = self.find(name) else {
            return Ok(None);
        };
        let named: &Named<M> = entry.target(name, type_name::<Recipient<M>>())?;
        Ok(Some(named.recipient.clone()))
    }

    /// The actor of that name; if there is none, what `prepare` prepares is started under it. Unless that
    /// says otherwise, its label is the name.
    ///
    /// However many callers race, there is one start: the factory of one of them runs, and all get the same
    /// reference once it is up. If the start fails, the name is free again, and all of them get the error;
    /// whoever calls then tries anew. `prepare` only prepares: it may be called in vain, its factory isn't.
    ///
    /// An actor that was started otherwise is found whether or not it is up already. An actor must not call
    /// this for its own name while it starts: it would wait for itself.
    ///
    /// # Errors
    /// [`NamedStartError`]: the name is bad, its holder is no `A`, or the start failed.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing but that nobody waits: a start that has begun goes on. It has no deadline
    /// of its own.
    pub async fn lookup_or_start<A, F>(
        &self,
        name: impl Into<Arc<str>>,
        prepare: impl FnOnce() -> Spawn<F>,
    ) -> Result<ActorRef<A>, NamedStartError>
    where
        A: Actor,
        F: FnOnce() -> A + Send + 'static,
    {
        let name = check(name.into())?;
        if let Some(entry) = self.find(&name)
            && let Some(actor) = entry.join(&name).await?
        {
            return Ok(actor);
        }
        let mut spawn = prepare();
        if spawn.system().is_closed() {
            return Err(NamedStartError::Failed {
                name: (&*name).into(),
                why: "the system was shut down".to_owned(),
            });
        }
        loop {
            let (tx, rx) = oneshot::channel();
            let made = self.put(&name, spawn, |spawn| {
                let (cell, factory) = spawn.into_named_cell(&name, false);
                let mut entry = Entry::of_cell(&cell);
                entry.start = Some(rx.shared());
                (entry, (cell, factory))
            });
            match made {
                Ok(((cell, factory), entry)) => {
                    // A fresh actor doesn't end before it is started.
                    self.attend(&name, &entry)?;
                    spawn::start_reporting(&cell, factory, tx);
                    if let Some(actor) = entry.join(&name).await? {
                        return Ok(actor);
                    }
                    // It was up, and ended before anybody looked.
                    return Ok(ActorRef::new(cell));
                }
                Err((holder, back)) => {
                    if let Some(actor) = holder.join(&name).await? {
                        return Ok(actor);
                    }
                    spawn = back;
                }
            }
        }
    }

    /// Takes a name away from its holder, who goes on without. `false` if nobody has it.
    pub fn unregister(&self, name: &str) -> bool {
        self.find(name)
            .is_some_and(|entry| self.remove(name, &entry))
    }

    /// Whoever has the name at the moment of a watch: `ctx.watch(&names.holder_of("ledger"))`. Where nobody has
    /// it, that watch brings its one notice at once, with the reason
    /// [`NeverExisted`](ExitReason::NeverExisted) (G12; Erlang's `noproc`). It stays with the holder it
    /// found, whoever gets the name later.
    #[must_use]
    pub fn holder_of(&self, name: impl Into<Arc<str>>) -> HolderOf {
        HolderOf {
            names: self.clone(),
            name: name.into(),
        }
    }

    /// All names, sorted.
    #[must_use]
    pub fn all(&self) -> Vec<NameSnapshot> {
        let table = self.table.lock();
        let pairs = table.entries.iter();
        let entries: Vec<_> = pairs
            .map(|(name, entry)| (Arc::clone(name), Arc::clone(entry)))
            .collect();
        drop(table);
        // Labels and ends are those of routes, which may be anybody's code: outside the lock.
        let alive = entries
            .into_iter()
            .filter(|(_, entry)| !entry.target.is_gone());
        alive
            .map(|(name, entry)| NameSnapshot {
                name: name.to_string(),
                id: entry.holder.id,
                label: entry.target.label(),
                type_name: entry.target.type_name(),
            })
            .collect()
    }

    /// Registers an actor that `make` makes, while the name is held free.
    pub(crate) fn register_new<A, S, T>(
        &self,
        name: impl Into<Arc<str>>,
        state: S,
        make: impl FnOnce(S, &Arc<str>) -> (Arc<Cell<A>>, T),
    ) -> Result<(Arc<Cell<A>>, T), RegisterError>
    where
        A: Actor,
    {
        let name = check(name.into())?;
        let made = self.put(&name, state, |state| {
            let (cell, rest) = make(state, &name);
            (Entry::of_cell(&cell), (cell, rest))
        });
        match made {
            Ok((made, entry)) => self.attend(&name, &entry).map(|()| made),
            Err((holder, _)) => Err(holder.taken(&name).into()),
        }
    }

    /// Who has the name. What has ended is taken out.
    fn find(&self, name: &str) -> Option<Arc<Entry>> {
        let entry = self.table.lock().entries.get(name).cloned()?;
        // Outside the lock: routes may be anybody's code.
        if entry.target.is_gone() {
            self.remove(name, &entry);
            return None;
        }
        Some(entry)
    }

    /// Puts what `make` makes under the name, if it is free; else answers with who has it, and `state`.
    fn put<S, T>(
        &self,
        name: &Arc<str>,
        state: S,
        make: impl FnOnce(S) -> (Entry, T),
    ) -> Result<(T, Arc<Entry>), (Arc<Entry>, S)> {
        loop {
            if let Some(holder) = self.find(name) {
                return Err((holder, state));
            }
            let mut table = self.table.lock();
            if table.entries.contains_key(name) {
                // Somebody was faster.
                continue;
            }
            let (entry, made) = make(state);
            let entry = Arc::new(entry);
            table.entries.insert(Arc::clone(name), Arc::clone(&entry));
            return Ok((made, entry));
        }
    }

    /// Sees to it that the name is free when its new holder has ended.
    fn attend(&self, name: &Arc<str>, entry: &Arc<Entry>) -> Result<(), RegisterError> {
        let holder = entry.holder;
        let mut table = self.table.lock();
        let known = table.holders.contains_key(&holder);
        let names = table.holders.entry(holder).or_default();
        names.push(Arc::clone(name));
        drop(table);
        if known {
            return Ok(());
        }
        let table = Arc::downgrade(&self.table);
        let forget = Box::new(move || forget(&table, holder));
        if entry.target.on_end(forget) {
            return Ok(());
        }
        forget_in(&self.table, holder);
        Err(RegisterError::Ended {
            name: Arc::clone(name),
            label: entry.target.label().into(),
        })
    }

    /// Takes this very entry out.
    fn remove(&self, name: &str, entry: &Arc<Entry>) -> bool {
        let mut table = self.table.lock();
        let is_it = |there: &Arc<Entry>| Arc::ptr_eq(there, entry);
        if !table.entries.get(name).is_some_and(is_it) {
            return false;
        }
        let removed = table.entries.remove(name);
        if let Some(names) = table.holders.get_mut(&entry.holder) {
            names.retain(|other| **other != *name);
        }
        drop(table);
        drop(removed);
        true
    }
}

/// The holder has ended.
fn forget(table: &Weak<Mutex<Table>>, holder: Holder) {
    if let Some(table) = table.upgrade() {
        forget_in(&table, holder);
    }
}

fn forget_in(table: &Mutex<Table>, holder: Holder) {
    let mut locked = table.lock();
    let names = locked.holders.remove(&holder).unwrap_or_default();
    let is_its = |entry: &Arc<Entry>| entry.holder == holder;
    let removed: Vec<_> = names
        .iter()
        .filter_map(|name| {
            let its = locked.entries.get(name).is_some_and(is_its);
            its.then(|| locked.entries.remove(name)).flatten()
        })
        .collect();
    drop(locked);
    // What a recipient keeps may be anybody's code.
    drop(removed);
}

impl Entry {
    fn new(id: ActorId, by_recipient: bool, target: impl Target) -> Self {
        Entry {
            holder: Holder { id, by_recipient },
            target: Box::new(target),
            start: None,
        }
    }

    fn of_cell<A: Actor>(cell: &Arc<Cell<A>>) -> Self {
        let target = ActorRef::new(Arc::clone(cell)).downgrade();
        Entry::new(cell.id, false, target)
    }

    /// What it stands for, as what it is.
    fn target<T: Target>(&self, name: &str, wanted: &'static str) -> Result<&T, WrongType> {
        let any: &dyn Any = &*self.target;
        any.downcast_ref().ok_or_else(|| WrongType {
            name: name.into(),
            registered: self.target.type_name(),
            wanted,
        })
    }

    /// The actor, unless it has ended meanwhile.
    fn actor<A: Actor>(&self, name: &str) -> Result<Option<ActorRef<A>>, WrongType> {
        let weak: &WeakRef<A> = self.target(name, type_name::<A>())?;
        Ok(weak.upgrade())
    }

    /// The actor, once it is up; `None` if it was, and has ended.
    async fn join<A: Actor>(&self, name: &str) -> Result<Option<ActorRef<A>>, NamedStartError> {
        // The type first: who wants another one has nothing to wait for.
        self.target::<WeakRef<A>>(name, type_name::<A>())?;
        if let Some(start) = &self.start {
            let started = start.clone().await;
            let started = started.unwrap_or_else(|_| Err("the system was shut down".to_owned()));
            started.map_err(|why| NamedStartError::Failed {
                name: name.into(),
                why,
            })?;
        }
        Ok(self.actor(name)?)
    }

    fn taken(&self, name: &str) -> NameTaken {
        NameTaken {
            name: name.into(),
            id: self.holder.id,
            label: self.target.label().into(),
        }
    }
}

impl<A: Actor> Target for WeakRef<A> {
    fn label(&self) -> String {
        self.upgrade()
            .map_or_else(|| self.id().to_string(), |actor| actor.label().to_string())
    }

    fn type_name(&self) -> &'static str {
        type_name::<A>()
    }

    fn is_gone(&self) -> bool {
        self.upgrade().is_none()
    }

    fn to_watch(&self) -> Option<Box<dyn Watch>> {
        Some(Box::new(self.upgrade()?))
    }

    fn on_end(&self, forget: Box<dyn FnOnce() + Send>) -> bool {
        self.upgrade()
            .is_some_and(|actor| actor.cell().on_free(forget).is_ok())
    }
}

/// A recipient that has a name. The weak one knows when the receiver has ended.
struct Named<M: Message> {
    recipient: Recipient<M>,
    weak: WeakRecipient<M>,
}

impl<M: Message> Target for Named<M> {
    fn label(&self) -> String {
        self.recipient.label()
    }

    fn type_name(&self) -> &'static str {
        type_name::<Recipient<M>>()
    }

    fn is_gone(&self) -> bool {
        self.weak.upgrade().is_none()
    }

    fn to_watch(&self) -> Option<Box<dyn Watch>> {
        self.weak.upgrade()?;
        Some(Box::new(self.recipient.clone()))
    }

    fn on_end(&self, forget: Box<dyn FnOnce() + Send>) -> bool {
        if self.is_gone() {
            return false;
        }
        self.recipient.watch(Box::new(move |_| forget()));
        true
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names")
            .field("len", &self.table.lock().entries.len())
            .finish_non_exhaustive()
    }
}
