//! Starting actors: where, with what mailbox, under what name.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::admission::Admission;
use crate::cell::{Admissions, Cell};
use crate::executor;
use crate::mailbox::{DEFAULT_MAILBOX_CAPACITY, Mailbox, Overflow};
use crate::message::Message;
use crate::place::{ActorPlace, Place};
use crate::run_loop;
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
}

/// A start in preparation. Made by [`System::actor`].
#[must_use = "nothing starts until `start` or `place` is called"]
pub struct Spawn<F> {
    system: System,
    factory: F,
    label: Option<Arc<str>>,
    capacity: usize,
    overflow: Overflow,
    placement: Placement,
    admissions: Admissions,
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
            admissions: Admissions::new(),
        }
    }

    /// A name for people: logs, errors, the list of actors. Not looked up by.
    pub fn label(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// How many messages the mailbox holds (at least 1), and what happens to the next one.
    pub fn mailbox(mut self, capacity: usize, overflow: Overflow) -> Self {
        self.capacity = capacity;
        self.overflow = overflow;
        self
    }

    /// On which arbiter it lives.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// On the arbiter of another actor.
    pub fn near<B: Actor>(mut self, other: &ActorRef<B>) -> Self {
        self.placement = Placement::Pinned(other.arbiter());
        self
    }

    /// Puts something before the handler of messages of type `M`; a second one for `M` replaces it.
    pub fn admission<M: Message>(mut self, admission: impl Admission<M>) -> Self {
        let admission: Arc<dyn Admission<M>> = Arc::new(admission);
        self.admissions
            .insert(TypeId::of::<M>(), Box::new(admission));
        self
    }

    fn into_cell<A: Actor>(self, owned: bool) -> (Arc<Cell<A>>, F) {
        let arbiter = self.system.choose_arbiter(self.placement);
        let label = self.label.unwrap_or_else(|| short_type_name::<A>().into());
        let mailbox = Mailbox::new(self.capacity, self.overflow);
        let cell = Cell::new(
            &self.system,
            label,
            arbiter,
            mailbox,
            self.admissions,
            owned,
        );
        (cell, self.factory)
    }

    /// Starts the actor. If the system is shut down the reference is of an actor that has ended.
    pub fn start<A>(self) -> ActorRef<A>
    where
        A: Actor,
        F: FnOnce() -> A + Send + 'static,
    {
        let (cell, factory) = self.into_cell::<A>(false);
        let reference = ActorRef::new(Arc::clone(&cell));
        let fallback = Arc::clone(&cell);
        let system = cell.system().clone();
        let arbiter = cell.arbiter;
        let run = Box::new(move || Box::pin(run_once(cell, factory)) as _);
        if system.is_closed() || !system.executor().spawn_on(arbiter, run) {
            fallback.end(ExitReason::Killed);
        }
        reference
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
            .finish_non_exhaustive()
    }
}

/// Starts an actor on the arbiter of the calling code.
pub(crate) fn start_here<A: Actor>(actor: A) -> Result<ActorRef<A>, StartError> {
    let here = executor::here().ok_or(StartError::NotOnArbiter)?;
    let spawn = Spawn::new(&here.system, ()).placement(Placement::Pinned(here.arbiter));
    let (cell, ()) = spawn.into_cell::<A>(false);
    let reference = ActorRef::new(Arc::clone(&cell));
    executor::spawn_here(Box::pin(run_once(cell, move || actor)));
    Ok(reference)
}

/// The one and only incarnation of an actor that nobody supervises.
async fn run_once<A: Actor>(cell: Arc<Cell<A>>, make: impl FnOnce() -> A) {
    let guard = EndGuard(cell);
    guard.0.begin_incarnation();
    let ended = run_loop::run(Arc::clone(&guard.0), make, || {}).await;
    guard.0.end(ended.into_reason());
}

/// Ends the actor also if its task is dropped with its arbiter. Without effect after a proper end.
struct EndGuard<A: Actor>(Arc<Cell<A>>);

impl<A: Actor> Drop for EndGuard<A> {
    fn drop(&mut self) {
        self.0.end(ExitReason::Killed);
    }
}

/// The last part of a type's path: `app::shop::Cart<app::Item>` is `Cart<Item>`.
fn short_type_name<T>() -> String {
    let full = std::any::type_name::<T>();
    let mut short = String::with_capacity(full.len());
    for part in full.split_inclusive(['<', '>', ',', ' ', '(', ')']) {
        short.push_str(part.rsplit("::").next().unwrap_or(part));
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_are_shortened_inside_generics_too() {
        assert_eq!(
            short_type_name::<Vec<std::collections::BTreeMap<String, u8>>>(),
            "Vec<BTreeMap<String, u8>>"
        );
    }
}
