//! What a handler may do besides answering: know its request, set timers, start tasks and children, watch,
//! stash, change its behaviour, stop.

mod behaviour;
mod family;
mod stash;
mod tasks;
mod watching;

use std::any::Any;
use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::cell::{ActorKind, AnyCell, Cell};
use crate::clock::Sleep;
use crate::current;
use crate::envelope::{Envelope, Meta};
use crate::fault::Fault;
use crate::id::{Incarnation, Principal, RequestKey};
use crate::mailbox::Control;
use crate::mailbox::records::Records;
use crate::message::Message;
use crate::responder::Responder;
use crate::system::System;

pub(crate) use behaviour::Behaviour;
pub(crate) use family::Family;
pub use tasks::TaskHandle;
pub(crate) use watching::WatchState;
pub use watching::{Link, Watching};

use behaviour::Behaviours;
use stash::Stash;
use tasks::Tasks;
use watching::Watches;

/// The surroundings of an actor while it handles a message.
pub struct Context<A: Actor> {
    cell: Arc<Cell<A>>,
    /// What travelled beside the message in hand, once somebody looks.
    meta: OnceCell<Meta>,
    rare: Option<Box<Rare<A>>>,
}

/// What few actors have.
struct Rare<A: Actor> {
    tasks: Tasks,
    watches: Watches,
    family: Option<Arc<Family>>,
    failure: Option<Fault>,
    left: Option<Box<dyn Any + Send>>,
    stash: Stash<A>,
    behaviours: Behaviours,
    /// Handlers have a limit.
    limited: bool,
    /// Some are replayed, so they are laid aside before their handlers begin.
    replays: bool,
    /// Messages don't simply go to their handlers.
    special: bool,
}

impl<A: Actor> Rare<A> {
    fn note_special(&mut self) {
        self.special =
            self.limited || self.replays || self.stash.holds_any() || !self.behaviours.is_empty();
    }
}

impl<A: Actor> Default for Rare<A> {
    fn default() -> Self {
        Rare {
            tasks: Tasks::default(),
            watches: Watches::default(),
            family: None,
            failure: None,
            left: None,
            stash: Stash::default(),
            behaviours: Behaviours::default(),
            limited: false,
            replays: false,
            special: false,
        }
    }
}

/// What remains of an incarnation.
pub(crate) struct Rest<A: Actor> {
    /// To be cancelled.
    pub(crate) watches: Vec<Watching>,
    pub(crate) left: Option<Box<dyn Any + Send>>,
    pub(crate) stashed: Option<Records<ActorKind<A>>>,
    pub(crate) children: Vec<Arc<dyn AnyCell>>,
}

impl<A: Actor> Default for Rest<A> {
    fn default() -> Self {
        Rest {
            watches: Vec::new(),
            left: None,
            stashed: None,
            children: Vec::new(),
        }
    }
}

impl<A: Actor> Context<A> {
    pub(crate) fn new(cell: Arc<Cell<A>>) -> Self {
        let (limited, replays) = (cell.is_limited(), cell.replays().is_some());
        let mut ctx = Context {
            cell,
            meta: OnceCell::new(),
            rare: None,
        };
        if limited || replays {
            let rare = ctx.rare();
            rare.limited = limited;
            rare.replays = replays;
            rare.special = true;
        }
        ctx
    }

    /// A reference to this actor.
    #[must_use]
    pub fn me(&self) -> ActorRef<A> {
        ActorRef::new(Arc::clone(&self.cell))
    }

    /// The system it lives in.
    #[must_use]
    pub fn system(&self) -> &System {
        self.cell.system()
    }

    /// How often this actor has been started: 1 before any restart.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.cell.incarnation()
    }

    /// What travelled beside the message in hand.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        self.meta.get_or_init(|| {
            let mut meta = Meta::default();
            meta.deadline = current::inherited_deadline(self.system().clock());
            if current::caller_retries() {
                meta.set_caller_retries();
            }
            meta
        })
    }

    /// The request key of the message in hand.
    #[must_use]
    pub fn key(&self) -> Option<RequestKey> {
        self.meta().key()
    }

    /// On whose behalf the message in hand came, if a boundary proved it.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.meta().principal()
    }

    /// The time left for the message in hand; `None` if it has no deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.meta().remaining(self.system().clock())
    }

    /// Ends this actor after the message in hand; what is queued goes to dead letters (G11).
    pub fn stop(&mut self) {
        self.cell.signal(Control::Stop);
    }

    /// Ends this actor after the message in hand as [`Failed`](crate::ExitReason::Failed): a failure that
    /// was noticed, where a panic is one that wasn't. Other than after a panic the state is sound, so
    /// [`stopped`](Actor::stopped) runs; what is queued is kept for the next incarnation, if there is one (G13).
    ///
    /// What follows is its supervisor's decision for the [class](crate::FailureClass) of the failure; a text
    /// alone is [`Recoverable`](crate::FailureClass::Recoverable). Where the decision is to resume, the actor
    /// goes on with the next message and its supervisor only takes note. Who has no supervisor ends, whatever
    /// the class.
    pub fn fail(&mut self, why: impl Into<Fault>) {
        let rare = self.rare();
        rare.failure.get_or_insert_with(|| why.into());
        self.cell.signal(Control::Fail);
    }

    /// Leaves something behind for the next incarnation, in place of what was left before: a checkpoint, a
    /// connection, a count. [`restarting`](Actor::restarting) gets it, however this incarnation ends, also
    /// after a panic: so leave only what is whole.
    ///
    /// Nobody gets it if the actor isn't started again.
    pub fn leave_behind<T: Send + 'static>(&mut self, left: T) {
        self.rare().left = Some(Box::new(left));
    }

    /// Says that the handler gets on: the time that it may take begins anew. For one that legitimately takes long
    /// in an actor whose handlers have a [limit](crate::Spawn::handler_limit): once for each page of a large
    /// import, say. Without a limit it does nothing.
    ///
    /// What calls it must do so because something was achieved, not because time has passed: a timer that calls
    /// it hides what the limit is there to find. The word is quickwit's (`record_progress`).
    pub fn progress(&self) {
        self.cell.progress_renews();
    }

    /// Completes after `span`, in the system's time.
    pub fn sleep(&self, span: Duration) -> Sleep {
        self.system().clock().sleep(span)
    }

    /// The message in hand as it came, for whoever deals with it later.
    pub(crate) fn envelope_of<M: Message>(
        &self,
        message: M,
        responder: Responder<M::Reply>,
    ) -> Envelope<M> {
        Envelope {
            message,
            meta: self.meta().clone(),
            responder,
        }
    }

    fn rare(&mut self) -> &mut Rare<A> {
        self.rare.get_or_insert_default()
    }

    pub(crate) fn take_failure(&mut self) -> Option<Fault> {
        self.rare.as_mut()?.failure.take()
    }

    #[inline]
    pub(crate) fn clear_meta(&mut self) {
        if self.meta.get().is_some() {
            self.meta = OnceCell::new();
        }
    }

    #[inline]
    pub(crate) fn set_meta(&mut self, meta: Meta) {
        self.meta = OnceCell::from(meta);
    }

    /// Whether messages don't simply go to their handlers.
    #[inline]
    pub(crate) fn is_special(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.special)
    }

    /// Ends what belongs to this incarnation alone: its tasks; watches and links are handed over for that.
    /// Children live on.
    pub(crate) fn end_incarnation(&mut self) -> Rest<A> {
        // What belongs to others stays in it: its drop may panic, and nothing of this may be lost then.
        let Some(rare) = &mut self.rare else {
            return Rest::default();
        };
        rare.tasks.cancel_all();
        Rest {
            watches: rare.watches.take(),
            left: rare.left.take(),
            stashed: rare.stash.take(),
            children: rare
                .family
                .as_ref()
                .map_or_else(Vec::new, |family| family.seal()),
        }
    }
}

impl<A: Actor> fmt::Debug for Context<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("cell", &self.cell)
            .field("meta", &self.meta())
            .finish()
    }
}
