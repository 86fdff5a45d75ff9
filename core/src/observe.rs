//! What an actor shows of itself: the same value for tests, for code and for the console.
//!
//! An actor that implements [`Observable`] says what it shows.
//!
//! - [`ActorRef::observe`] asks for it like any other question: in the order of the mailbox, with a deadline.
//! - An actor started with [`Spawn::observable`](crate::Spawn::observable) is on the list of
//!   [`System::observe`], where the type of its state doesn't matter: each state comes as text and as
//!   MessagePack. There a busy or blocked actor is no error: it shows its last known state, and since when
//!   that was known.
//!
//! The trait is that of quickwit-actors (`ObservableState`): what a test asserts and what the console shows
//! can't drift apart.
//!
//! ```
//! use callboard_core::{Actor, Observable, Simulation, System};
//! use std::time::Duration;
//!
//! struct Cart {
//!     items: u32,
//! }
//! impl Actor for Cart {}
//! impl Observable for Cart {
//!     type State = u32;
//!     fn observe(&self) -> u32 {
//!         self.items
//!     }
//! }
//!
//! Simulation::new(1).block_on(async {
//!     let system = System::current().ok_or("no system")?;
//!     let cart = system.actor(|| Cart { items: 3 }).label("cart").observable().start();
//!     assert_eq!(cart.observe().await?, 3);
//!     let seen = system.observe(Duration::from_millis(100)).await;
//!     assert_eq!(seen[0].actor.label, "cart");
//!     assert_eq!(seen[0].state.as_ref().map(|state| state.text.as_str()), Some("3"));
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })
//! # .unwrap();
//! ```

mod last;
mod render;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use serde::Serialize;

use crate::actor::{Actor, Receives};
use crate::actor_ref::ActorRef;
use crate::cell::{ActorSnapshot, Cell};
use crate::clock::{Clock, Instant};
use crate::codec::CodecError;
use crate::context::Context;
use crate::id::ActorId;
use crate::message::Message;
use crate::responder::Responder;
use crate::route::Route;
use crate::send::Ask;
use crate::system::System;

pub use render::{OBSERVED_BYTES, OBSERVED_TEXT};

use last::Last;

/// An actor that shows something of itself.
pub trait Observable: Actor {
    /// What it shows: a copy, which may be looked at while the actor goes on. Keep it small: counts rather
    /// than contents.
    type State: Clone + fmt::Debug + Serialize + Send + 'static;

    /// What it shows now. Runs between two messages, so it must be quick, and it must not panic: that would
    /// end the actor, as in a handler.
    fn observe(&self) -> Self::State;
}

/// The message behind [`ActorRef::observe`].
pub struct Observe<A>(PhantomData<fn() -> A>);

#[diagnostic::do_not_recommend]
impl<A: Observable> Message for Observe<A> {
    type Reply = A::State;
}

impl<A> fmt::Debug for Observe<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observe")
    }
}

/// Marks [`Receives`] that follows from [`Observable`].
#[derive(Debug)]
pub enum ByObserving {}

impl<A: Observable> Receives<Observe<A>, ByObserving> for A {
    const NEEDS_RESPONDER: bool = false;
    type Output = A::State;

    fn receive(
        &mut self,
        _: Observe<A>,
        _: Option<Responder<A::State>>,
        _: &mut Context<Self>,
    ) -> impl Future<Output = A::State> {
        std::future::ready(self.observe())
    }

    fn reply(state: A::State) -> Option<A::State> {
        Some(state)
    }
}

/// The same for the list of all, with the time.
struct Look<A>(PhantomData<fn() -> A>);

impl<A: Observable> Message for Look<A> {
    type Reply = (Instant, A::State);
}

impl<A: Observable> Receives<Look<A>, ByObserving> for A {
    const NEEDS_RESPONDER: bool = false;
    type Output = (Instant, A::State);

    fn receive(
        &mut self,
        _: Look<A>,
        _: Option<Responder<(Instant, A::State)>>,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = (Instant, A::State)> {
        std::future::ready((ctx.system().clock().now(), self.observe()))
    }

    fn reply(seen: (Instant, A::State)) -> Option<(Instant, A::State)> {
        Some(seen)
    }
}

impl<A: Observable> ActorRef<A> {
    /// Asks the actor what it shows: its state when this question's turn has come, behind all that is
    /// queued. An ask like any other, with a deadline of 30 s unless another is
    /// [given](Ask::deadline) (G2, G7, G9). So a test that has told the actor something sees what became of it.
    ///
    /// # Errors
    /// Those of an [`Ask`]: the actor has stopped, or didn't come to it in time.
    ///
    /// # Cancel safety
    /// Dropping it withdraws the question.
    pub fn observe(&self) -> Ask<'_, Observe<A>, impl Route<Observe<A>> + Clone + use<'_, A>> {
        self.ask::<_, ByObserving>(Observe(PhantomData))
    }
}

/// One actor as the console shows it.
#[derive(Debug, Clone)]
pub struct Observation {
    /// What is known of it from outside.
    pub actor: ActorSnapshot,
    /// What it showed of itself last; `None` if it never came to that.
    pub state: Option<Arc<ObservedState>>,
    /// Whether it came to show that while this observation waited. If not it is busy, or blocked, and the
    /// state is one of before.
    pub is_fresh: bool,
}

/// What an actor showed of itself, whatever its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedState {
    /// When it was so, on the system's clock.
    pub at: Instant,
    /// For people: its `Debug` over several lines, at most [`OBSERVED_TEXT`] bytes.
    pub text: String,
    /// For programs: MessagePack, structs as maps with field names, at most [`OBSERVED_BYTES`]. An error if
    /// it is larger, or refuses to be serialised.
    pub encoded: Result<Vec<u8>, CodecError>,
}

impl System {
    /// Asks all actors that were started with [`observable`](crate::Spawn::observable) what they show, all
    /// at once, and waits for them, but no longer than `within`. In the order they were made.
    ///
    /// Who is busy for longer shows its last known state. However often this is called, at most one question
    /// of it waits in each mailbox: the next call goes on waiting for the same. Actors that end meanwhile
    /// aren't listed. A handler that calls it sees an older state of its own actor, and waits for that.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing: the next call picks up what was asked.
    pub async fn observe(&self, within: Duration) -> Vec<Observation> {
        let due = self.clock().now() + within;
        let all = self.observed().all();
        let seen = all.iter().map(|actor| actor.observe(self.clock(), due));
        join_all(seen).await.into_iter().flatten().collect()
    }

    /// The same for one actor; `None` if it isn't on the list, or ends meanwhile.
    ///
    /// # Cancel safety
    /// As that of [`observe`](System::observe).
    pub async fn observe_actor(&self, id: ActorId, within: Duration) -> Option<Observation> {
        let due = self.clock().now() + within;
        let actor = self.observed().get(id)?;
        actor.observe(self.clock(), due).await
    }
}

/// The observable actors of one system that live now.
#[derive(Default)]
pub(crate) struct Observed {
    actors: Mutex<BTreeMap<ActorId, Arc<dyn AnyObserved>>>,
}

/// An observable actor whose type doesn't matter.
trait AnyObserved: Send + Sync {
    fn observe<'a>(&'a self, clock: &'a Clock, due: Instant) -> BoxFuture<'a, Option<Observation>>;
}

impl<A: Observable> AnyObserved for Last<A> {
    fn observe<'a>(&'a self, clock: &'a Clock, due: Instant) -> BoxFuture<'a, Option<Observation>> {
        Box::pin(Last::observe(self, clock, due))
    }
}

impl Observed {
    /// Puts an actor on the list until it ends. What is no cell of an `A` isn't put there.
    pub(crate) fn add_any<A: Observable>(cell: Arc<dyn Any + Send + Sync>) {
        if let Ok(cell) = cell.downcast::<Cell<A>>() {
            Observed::add(&cell);
        }
    }

    fn add<A: Observable>(cell: &Arc<Cell<A>>) {
        let actor = ActorRef::new(Arc::clone(cell));
        let (id, system) = (actor.id(), cell.system().clone());
        let last: Arc<dyn AnyObserved> = Arc::new(Last::of(&actor));
        system.observed().actors.lock().insert(id, last);
        let forget = Box::new(move || system.observed().remove(id));
        if let Err(forget) = cell.on_free(forget) {
            // It has begun to end already.
            forget();
        }
    }

    fn remove(&self, id: ActorId) {
        // What it holds is dropped outside the lock.
        let last = self.actors.lock().remove(&id);
        drop(last);
    }

    fn all(&self) -> Vec<Arc<dyn AnyObserved>> {
        self.actors.lock().values().cloned().collect()
    }

    fn get(&self, id: ActorId) -> Option<Arc<dyn AnyObserved>> {
        self.actors.lock().get(&id).cloned()
    }
}
