//! Watches and links of an incarnation (G12).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::Context;
use crate::actor::{Actor, Handler};
use crate::actor_ref::ActorRef;
use crate::cell::{Cell, OnIncarnationEnd};
use crate::id::Incarnation;
use crate::watch::{ExitReason, LifeEvent, Terminated, Watch, WatchHandle};

/// From how many watches on the list is looked through for those that are over.
const LOOK: usize = 16;

impl<A: Actor> Context<A> {
    /// Asks to be told when another ends: this actor gets exactly one [`Terminated`], after every message
    /// the other sent it, also when its mailbox is full (G3, G4, G12). At once, if it has ended already.
    ///
    /// The watch belongs to this incarnation, as in Erlang a monitor belongs to its process: after a restart
    /// nobody has notices of watches it knows nothing of. To watch the same actor twice is to be told twice.
    pub fn watch(&mut self, other: &(impl Watch + ?Sized)) -> Watching
    where
        A: Handler<Terminated>,
    {
        let state = Arc::new(WatchState::default());
        let cell = Arc::clone(&self.cell);
        let at_end = Arc::clone(&state);
        let handle = other.watch(Box::new(move |notice| cell.put_notice(at_end, notice)));
        self.note_watch(Watching { state, handle })
    }

    /// Asks to be told of restarts and of lost connections, too (G12): as [`LifeEvent`]s, the last of which is
    /// the one [`Terminated`](LifeEvent::Terminated). Of the others only the newest waits in the mailbox, so
    /// that a subject that restarts again and again doesn't fill it.
    pub fn watch_life(&mut self, other: &(impl Watch + ?Sized)) -> Watching
    where
        A: Handler<LifeEvent>,
    {
        let state = Arc::new(WatchState::default());
        let cell = Arc::clone(&self.cell);
        let at_event = Arc::clone(&state);
        let handle = other.watch_life(Arc::new(move |event| {
            if matches!(event, LifeEvent::Terminated(_)) {
                cell.put_notice(Arc::clone(&at_event), event);
            } else if at_event.newest.lock().replace(event).is_none() {
                cell.put_newest(Arc::clone(&at_event));
            }
        }));
        self.note_watch(Watching { state, handle })
    }

    /// Ties the fates of two actors: when one's incarnation fails or is killed, the other's fails, too. A pair
    /// of watches whose notice is a failure, as in Erlang; who wants to be told instead watches.
    ///
    /// An orderly stop breaks the link, and nothing else. A restart doesn't hide the failure: both fail, and
    /// each is for its own supervisor to start again; the link is gone then. If the other has failed already,
    /// this actor fails after the message in hand.
    pub fn link<B: Actor>(&mut self, other: &ActorRef<B>) -> Link {
        let state = Arc::new(WatchState::default());
        let over = Arc::clone(&state);
        let fail_me = failure_of(other.cell(), &self.cell);
        let mine = self
            .cell
            .watch_incarnation(failure_of(&self.cell, other.cell()));
        let my_side = mine.clone();
        let theirs = other.cell().watch_incarnation(Box::new(move |reason| {
            over.end();
            // Else each link to one that has ended would stay for this actor's life.
            my_side.cancel();
            fail_me(reason);
        }));
        self.rare().watches.add(Watching {
            state: Arc::clone(&state),
            handle: theirs.clone(),
        });
        Link {
            state,
            handles: [theirs, mine],
        }
    }

    fn note_watch(&mut self, watching: Watching) -> Watching {
        self.rare().watches.add(watching.clone());
        watching
    }
}

/// What makes `partner` fail when the incarnation of `subject` does.
fn failure_of<A: Actor, B: Actor>(
    subject: &Arc<Cell<A>>,
    partner: &Arc<Cell<B>>,
) -> OnIncarnationEnd {
    let subject = format!("{}{}", subject.label(), subject.id);
    // Before the first one, that is the one.
    let incarnation = partner.incarnation().max(Incarnation::FIRST);
    let partner = Arc::downgrade(partner);
    Box::new(move |reason| {
        let failed = matches!(reason, ExitReason::Failed(_) | ExitReason::Killed);
        if failed && let Some(partner) = partner.upgrade() {
            let why = format!("linked to {subject}, which {reason}");
            partner.fail_from_outside(incarnation, why);
        }
    })
}

/// A watch of an actor, made by [`Context::watch`]. Dropping it changes nothing: the watch goes on.
#[derive(Clone)]
pub struct Watching {
    state: Arc<WatchState>,
    handle: WatchHandle,
}

impl Watching {
    /// Ends the watch. When this is called by the watcher itself, no notice of it is handled any more, not even
    /// one that is in the mailbox already (Erlang's `demonitor` with `flush`).
    pub fn cancel(&self) {
        self.state.over.store(true, Ordering::Release);
        self.handle.cancel();
    }

    /// Whether it is over: cancelled, or its end was noticed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.is_over()
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching")
            .field("is_over", &self.is_over())
            .finish_non_exhaustive()
    }
}

/// Two actors whose fates are tied. Dropping it changes nothing: they stay linked.
#[derive(Clone)]
pub struct Link {
    state: Arc<WatchState>,
    handles: [WatchHandle; 2],
}

impl Link {
    /// Ends the link, both ways.
    pub fn cancel(&self) {
        self.state.end();
        self.handles.iter().for_each(WatchHandle::cancel);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// What a watch and its notices share.
#[derive(Default)]
pub(crate) struct WatchState {
    /// It was cancelled, or its last notice handled.
    over: AtomicBool,
    /// The newest event that isn't the last, until it is handled.
    newest: Mutex<Option<LifeEvent>>,
}

impl WatchState {
    /// Takes the end of the watch. `false` if it is over: the notice is for nobody.
    pub(crate) fn end(&self) -> bool {
        !self.over.swap(true, Ordering::AcqRel)
    }

    /// Whether it was cancelled, or its last notice handled.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Takes the newest event, unless the watch is over.
    pub(crate) fn take_newest(&self) -> Option<LifeEvent> {
        let newest = self.newest.lock().take();
        newest.filter(|_| !self.is_over())
    }
}

/// The watches of one incarnation.
#[derive(Default)]
pub(super) struct Watches {
    list: Vec<Watching>,
    /// When to look for those that are over.
    look_at: usize,
}

impl Watches {
    fn add(&mut self, watching: Watching) {
        if self.list.len() >= self.look_at.max(LOOK) {
            self.list.retain(|watching| !watching.is_over());
            self.look_at = self.list.len() * 2;
        }
        self.list.push(watching);
    }

    pub(super) fn take(&mut self) -> Vec<Watching> {
        std::mem::take(&mut self.list)
    }
}
