//! What a handler may do besides answering: know its request, set timers, watch, start tasks, stop.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{AbortHandle, Abortable};

use crate::actor::{Actor, Handler, Receives};
use crate::actor_ref::ActorRef;
use crate::cell::Cell;
use crate::clock::Sleep;
use crate::current;
use crate::envelope::Meta;
use crate::id::{Incarnation, Principal, RequestKey};
use crate::message::Message;
use crate::stamp;
use crate::system::System;
use crate::watch::{Terminated, Watch};

/// The surroundings of an actor while it handles a message.
pub struct Context<A: Actor> {
    cell: Arc<Cell<A>>,
    /// What travelled beside the message in hand, once somebody looks.
    meta: OnceCell<Meta>,
    rare: Option<Box<Rare>>,
}

/// What few actors have.
#[derive(Default)]
struct Rare {
    tasks: Tasks,
    failure: Option<String>,
}

impl<A: Actor> Context<A> {
    pub(crate) fn new(cell: Arc<Cell<A>>) -> Self {
        Context {
            cell,
            meta: OnceCell::new(),
            rare: None,
        }
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
        self.cell.signal(crate::mailbox::Control::Stop);
    }

    /// Ends this actor after the message in hand as [`Failed`](crate::ExitReason::Failed): a failure that
    /// was noticed, where a panic is one that wasn't. A supervisor treats both alike. As after a panic
    /// [`stopped`](Actor::stopped) doesn't run; what is queued is kept for the next incarnation, if
    /// there is one (G13).
    pub fn fail(&mut self, why: impl Into<String>) {
        let rare = self.rare.get_or_insert_default();
        rare.failure.get_or_insert_with(|| why.into());
        self.cell.signal(crate::mailbox::Control::Fail);
    }

    /// Completes after `span`, in the system's time.
    pub fn sleep(&self, span: Duration) -> Sleep {
        self.system().clock().sleep(span)
    }

    /// Sends this actor a message after `span`. It takes its turn behind what is queued by then, and
    /// waits for room like any other.
    ///
    /// The timer ends with this incarnation, or when cancelled.
    pub fn tell_after<M, How>(&mut self, span: Duration, message: M) -> Timer
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let me = self.me();
        let due = self.sleep(span);
        self.spawn(async move {
            due.await;
            me.tell_or_bury(message).await;
        })
    }

    /// Sends this actor what `make` makes, every `period`, the first after one period.
    ///
    /// A tick is never queued behind an unhandled one for which there was no room: under a flood ticks
    /// get fewer, not later and later.
    pub fn tell_every<M, How>(
        &mut self,
        period: Duration,
        mut make: impl FnMut() -> M + 'static,
    ) -> Timer
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let me = self.me();
        let clock = self.system().clock().clone();
        self.spawn(async move {
            let mut due = clock.now() + period;
            loop {
                clock.sleep_until(due).await;
                me.tell_or_bury(make()).await;
                due = (due + period).max(clock.now());
            }
        })
    }

    /// Runs a future beside the actor, on its thread, until it ends, is cancelled, or this incarnation
    /// ends. A panic in it ends it alone, and is counted. It goes on in the span of the message in hand, if
    /// somebody listens to those.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'static) -> Timer {
        let tasks = self.rare.get_or_insert_default().tasks.clone();
        let (number, handle, registration) = tasks.add();
        let cell = Arc::clone(&self.cell);
        let future = AssertUnwindSafe(stamp::carry(future));
        let task = Abortable::new(future.catch_unwind(), registration);
        let home = Arc::clone(self.cell.home());
        home.spawn_here(Box::pin(async move {
            if let Ok(Err(_)) = task.await {
                cell.system().counters().count_panic();
                tracing::warn!(target: "callboard::actor", actor = %cell.label(), "a task panicked");
            }
            tasks.remove(number);
        }));
        Timer { handle }
    }

    /// Asks to be told when another ends: this actor gets exactly one [`Terminated`], after every message
    /// the other sent it, also when its mailbox is full (G3, G4, G12).
    pub fn watch(&mut self, other: &(impl Watch + ?Sized))
    where
        A: Handler<Terminated>,
    {
        let me = self.me();
        other.watch(Box::new(move |notice| me.tell_reserved(notice)));
    }

    pub(crate) fn take_failure(&mut self) -> Option<String> {
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

    pub(crate) fn cancel_tasks(&mut self) {
        if let Some(rare) = self.rare.take() {
            rare.tasks.cancel_all();
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

/// A timer or task of an actor. Dropping it changes nothing; it goes on.
#[derive(Debug, Clone)]
pub struct Timer {
    handle: AbortHandle,
}

impl Timer {
    /// Ends it. A message that is in the mailbox already stays there.
    pub fn cancel(&self) {
        self.handle.abort();
    }
}

/// The tasks of one incarnation.
#[derive(Clone, Default)]
struct Tasks(Rc<RefCell<TaskTable>>);

#[derive(Default)]
struct TaskTable {
    next: u64,
    running: BTreeMap<u64, AbortHandle>,
}

impl Tasks {
    fn add(&self) -> (u64, AbortHandle, futures::future::AbortRegistration) {
        let (handle, registration) = AbortHandle::new_pair();
        let mut table = self.0.borrow_mut();
        table.next += 1;
        let number = table.next;
        table.running.insert(number, handle.clone());
        (number, handle, registration)
    }

    fn remove(&self, number: u64) {
        self.0.borrow_mut().running.remove(&number);
    }

    fn cancel_all(&self) {
        let running = std::mem::take(&mut self.0.borrow_mut().running);
        running.into_values().for_each(|handle| handle.abort());
    }
}
