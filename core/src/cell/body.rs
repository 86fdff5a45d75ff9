//! The part of an actor that lives on its arbiter's thread: the actor itself, its context, the handler
//! that runs.
//!
//! The handler borrows actor and context for as long as it runs, and lies in a buffer: the turn's while it
//! is polled for the first time, the body's own from then on. That is sound because of three rules, all
//! kept here: the actor and the context are set and taken away only while no handler is in a buffer;
//! nothing else touches them while one is; and a cell never moves.
#![allow(unsafe_code)]

use std::cell::{Cell as StdCell, RefCell, UnsafeCell};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use futures::future::AbortHandle;

use super::letter::ActorKind;
use super::replaying::InHand;
use super::{Cell, Owner};
use crate::actor::{Actor, LeftBehind, StartFailure};
use crate::context::Context;
use crate::current::{self, Inherited};
use crate::driver::{Arbiter, Tools};
use crate::fault::Fault;
use crate::future_buffer::{FutureBuffer, Then};
use crate::mailbox::records::Records;
use crate::message::Message;
use crate::sync::What;
use crate::watch::ExitReason;

/// How an incarnation ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It never handled a message: the factory or `starting` failed.
    StartFailed(Fault),
    /// It never handled a message, because there is nothing for it to do.
    Ignored,
    /// It ran, and ended for this reason.
    Ran(ExitReason),
}

impl Ended {
    pub(crate) fn into_reason(self) -> ExitReason {
        match self {
            Ended::StartFailed(why) => ExitReason::Failed(why),
            Ended::Ignored => ExitReason::Stopped,
            Ended::Ran(reason) => reason,
        }
    }

    pub(super) fn to_reason(&self) -> ExitReason {
        match self {
            Ended::StartFailed(why) => ExitReason::Failed(why.clone()),
            Ended::Ignored => ExitReason::Stopped,
            Ended::Ran(reason) => reason.clone(),
        }
    }
}

/// How far an incarnation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none.
    Vacant,
    /// It is in, and has done nothing yet.
    New,
    Starting,
    /// It counts as up, and `started` runs.
    Up,
    Serving,
    /// The same, and a handler waits whose time is limited.
    Limited,
    /// A handler on an asker's stack panicked: it takes nothing more, and ends with its next turn.
    Failed,
    Stopping,
}

pub(crate) struct Body<A: Actor> {
    pub(super) stage: StdCell<Stage>,
    actor: UnsafeCell<Option<A>>,
    ctx: UnsafeCell<Option<Context<A>>>,
    /// A handler that waits for something.
    handler: RefCell<FutureBuffer>,
    pub(super) batch: RefCell<Records<ActorKind<A>>>,
    /// Wakes the cell: one for all polls.
    waker: RefCell<Option<Waker>>,
    /// What the message of a handler that waits hands down.
    pub(super) request: StdCell<Inherited>,
    /// And what it is, for whoever looks at the arbiter from another thread.
    in_hand: StdCell<What>,
    rare: StdCell<Option<Box<Rare<A>>>>,
}

/// What few incarnations have.
struct Rare<A: Actor> {
    /// A handler that ran on an asker's stack panicked with this text.
    failed: Option<Fault>,
    /// Who is told of the start and the end of this incarnation; nobody, if it is the only one.
    owner: Option<Box<dyn Owner>>,
    /// What `starting` came to, if it had to wait.
    started: Option<Result<(), StartFailure>>,
    /// Ends the watch over the time that `starting` takes.
    start_limit: Option<AbortHandle>,
    /// `starting` has taken longer than this.
    overdue: Option<Duration>,
    /// Why it ends, if not because it was stopped.
    ending: Option<ExitReason>,
    /// The last message that is offered again if the incarnation crashes with it in hand.
    offer: Option<Box<dyn InHand<A>>>,
}

impl<A: Actor> Default for Rare<A> {
    fn default() -> Self {
        Rare {
            failed: None,
            owner: None,
            started: None,
            start_limit: None,
            overdue: None,
            ending: None,
            offer: None,
        }
    }
}

/// Puts down what `starting` came to.
struct NoteStart<A: Actor>(*const Body<A>);

impl<A: Actor> Then<Result<(), StartFailure>> for NoteStart<A> {
    fn end(self, output: Result<(), StartFailure>) {
        // SAFETY: the body outlives the handler that lies in it.
        unsafe { &*self.0 }.with_rare(|rare| rare.started = Some(output));
    }
}

impl<A: Actor> Body<A> {
    pub(super) fn new() -> Self {
        Body {
            stage: StdCell::new(Stage::Vacant),
            actor: UnsafeCell::new(None),
            ctx: UnsafeCell::new(None),
            handler: RefCell::new(FutureBuffer::new()),
            batch: RefCell::new(Records::new()),
            waker: RefCell::new(None),
            request: StdCell::new(Inherited::NOTHING),
            in_hand: StdCell::new(What::NOTHING),
            rare: StdCell::new(None),
        }
    }

    fn with_rare<T>(&self, work: impl FnOnce(&mut Rare<A>) -> T) -> T {
        let mut rare = self.rare.take().unwrap_or_default();
        let done = work(&mut rare);
        self.rare.set(Some(rare));
        done
    }

    /// The same, where there is something rare at all.
    #[inline]
    fn if_rare<T>(&self, work: impl FnOnce(&mut Rare<A>) -> Option<T>) -> Option<T> {
        let mut rare = self.rare.take()?;
        let done = work(&mut rare);
        self.rare.set(Some(rare));
        done
    }

    /// Moves an actor in. The body is vacant.
    pub(super) fn move_in(&self, cell: &Arc<Cell<A>>, actor: A, owner: Option<Box<dyn Owner>>) {
        self.handler.borrow_mut().clear();
        // SAFETY: no handler is in the buffer, so nobody has a reference to these.
        unsafe {
            *self.actor.get() = Some(actor);
            *self.ctx.get() = Some(Context::new(Arc::clone(cell)));
        }
        *self.waker.borrow_mut() = Some(Waker::from(Arc::clone(cell)));
        if let Some(told) = &owner {
            cell.set_progress_owner(|| told.teller());
            self.with_rare(|rare| rare.owner = owner);
        }
        self.stage.set(Stage::New);
    }

    /// Begins `starting`; or `restarting`, with what was left behind.
    pub(super) fn begin_starting(
        &self,
        home: &Arbiter,
        tools: &mut Tools,
        left: Option<LeftBehind>,
    ) -> Poll<Result<(), StartFailure>> {
        self.stage.set(Stage::Starting);
        home.in_hand().put(What::STARTING);
        let note = || NoteStart(std::ptr::from_ref(self));
        let polled = if let Some(left) = left {
            let restarting = |actor: &'static mut A, ctx| actor.restarting(left, ctx);
            self.run(home, tools, restarting, note)
        } else {
            self.run(home, tools, A::starting, note)
        };
        polled.unwrap_or(Poll::Ready(Ok(())))
    }

    /// Begins `started`.
    pub(super) fn begin_up(&self, home: &Arbiter, tools: &mut Tools) -> Poll<()> {
        self.stage.set(Stage::Up);
        home.in_hand().put(What::STARTED);
        self.run(home, tools, A::started, || ())
            .unwrap_or(Poll::Ready(()))
    }

    /// Begins the end of an actor that stops, or failed in order.
    pub(super) fn begin_stopping(
        &self,
        home: &Arbiter,
        tools: &mut Tools,
        reason: ExitReason,
    ) -> Poll<()> {
        self.stage.set(Stage::Stopping);
        home.in_hand().put(What::STOPPED);
        if !reason.is_normal() {
            self.with_rare(|rare| rare.ending = Some(reason.clone()));
        }
        let stop = |actor: &'static mut A, ctx: &'static mut Context<A>| async move {
            if reason.is_normal() {
                actor.stopping(ctx).await;
            }
            ctx.end_children().await;
            actor.stopped(&reason).await;
        };
        self.run(home, tools, stop, || ())
            .unwrap_or(Poll::Ready(()))
    }

    /// Why an actor ends that is stopping.
    pub(super) fn take_ending(&self) -> ExitReason {
        self.if_rare(|rare| rare.ending.take())
            .unwrap_or(ExitReason::Stopped)
    }

    /// `starting` has to wait, and somebody watches over the time it takes.
    pub(super) fn limit_start(&self, limit: AbortHandle) {
        self.with_rare(|rare| rare.start_limit = Some(limit));
    }

    /// `starting` has taken too long.
    pub(super) fn note_overdue(&self, limit: Duration) {
        self.with_rare(|rare| rare.overdue = Some(limit));
    }

    pub(super) fn take_overdue(&self) -> Option<Duration> {
        self.if_rare(|rare| rare.overdue.take())
    }

    /// Begins a handler and polls it once. One that has to wait moves in here. `None` if there is no actor.
    #[inline]
    pub(super) fn run<F: Future + 'static, W: Then<F::Output>>(
        &self,
        home: &Arbiter,
        tools: &mut Tools,
        handle: impl FnOnce(&'static mut A, &'static mut Context<A>) -> F,
        then: impl FnOnce() -> W,
    ) -> Option<Poll<F::Output>> {
        debug_assert!(!self.is_handling());
        let waker = self.waker.borrow();
        let cx = &mut TaskContext::from_waker(waker.as_ref().unwrap_or(Waker::noop()));
        // SAFETY: the references given to the handler are called static, but live as long as the handler
        // is in a buffer: the rules in the module's documentation. No handler is in one now, so these are
        // the only ones.
        let polled = unsafe {
            let actor = (*self.actor.get()).as_mut();
            let ctx = (*self.ctx.get()).as_mut();
            let (actor, ctx) = actor.zip(ctx)?;
            tools.buffer.run(handle(actor, ctx), cx, then)
        };
        if polled.is_pending() {
            drop(waker);
            self.keep_handler(home, tools);
        }
        Some(polled)
    }

    /// A handler waits: its buffer is the body's from now on.
    fn keep_handler(&self, home: &Arbiter, tools: &mut Tools) {
        std::mem::swap(&mut *self.handler.borrow_mut(), &mut tools.buffer);
        if !tools.buffer.is_kept() {
            tools.buffer = home.take_buffer();
        }
        self.request.set(current::request());
        self.in_hand.set(home.in_hand().what());
    }

    /// What travelled beside the message whose handler is about to begin.
    ///
    /// The context has it for as long as that handler runs.
    #[inline]
    pub(super) fn with_ctx<T>(&self, work: impl FnOnce(&mut Context<A>) -> T) -> Option<T> {
        debug_assert!(!self.is_handling());
        // SAFETY: no handler is in a buffer (one message at a time), so nobody has a reference to it.
        unsafe { (*self.ctx.get()).as_mut() }.map(work)
    }

    /// Whether messages don't simply go to their handlers: some are held, or behaviours have changed.
    #[inline]
    pub(super) fn is_special(&self) -> bool {
        debug_assert!(!self.is_handling());
        // SAFETY: no handler is in a buffer (one message at a time), so nobody has a reference to it.
        unsafe { (*self.ctx.get()).as_ref() }.is_some_and(Context::is_special)
    }

    /// Whether messages of that type are put off.
    #[inline]
    pub(super) fn holds<M: Message>(&self) -> bool {
        self.is_special() && self.with_ctx(|ctx| ctx.is_held::<M>()) == Some(true)
    }

    /// Whether a handler waits for something.
    #[inline]
    pub(super) fn is_handling(&self) -> bool {
        self.handler.borrow().is_running()
    }

    /// Polls the handler that waits; ready if none does. The buffer of one that has ended is for others.
    pub(super) fn poll(&self, home: &Arbiter) -> Poll<()> {
        home.in_hand().put(self.in_hand.get());
        let waker = self.waker.borrow();
        let waker = waker.as_ref().unwrap_or(Waker::noop());
        let mut handler = self.handler.borrow_mut();
        let polled = handler.poll(&mut TaskContext::from_waker(waker));
        if polled.is_ready() {
            home.give_buffer(std::mem::replace(&mut *handler, FutureBuffer::new()));
        }
        polled
    }

    /// A handler on an asker's stack panicked with that text.
    pub(super) fn note_failed(&self, fault: Fault) {
        self.stage.set(Stage::Failed);
        self.with_rare(|rare| rare.failed = Some(fault));
    }

    #[inline]
    pub(super) fn take_failed(&self) -> Option<Fault> {
        self.if_rare(|rare| rare.failed.take())
    }

    /// What the actor said of its failure. No handler is running.
    pub(super) fn take_failure(&self) -> Option<Fault> {
        self.with_ctx(Context::take_failure).flatten()
    }

    /// The result of a `starting` that had to wait; it has ended.
    pub(super) fn take_started(&self) -> Result<(), StartFailure> {
        self.end_start_limit();
        self.if_rare(|rare| rare.started.take()).unwrap_or(Ok(()))
    }

    fn end_start_limit(&self) {
        if let Some(limit) = self.if_rare(|rare| rare.start_limit.take()) {
            limit.abort();
        }
    }

    pub(super) fn report_started(&self, report: impl FnOnce(&dyn Owner)) {
        if let Some(owner) = self.take_owner() {
            report(&*owner);
            self.with_rare(|rare| rare.owner = Some(owner));
        }
    }

    /// Whether its owner has it go on after that failure.
    pub(super) fn resumes(&self, fault: &Fault) -> bool {
        let Some(owner) = self.take_owner() else {
            return false;
        };
        let resumes = owner.resumes(fault);
        self.with_rare(|rare| rare.owner = Some(owner));
        resumes
    }

    pub(super) fn take_owner(&self) -> Option<Box<dyn Owner>> {
        self.if_rare(|rare| rare.owner.take())
    }

    /// A message is in hand that is offered again if the incarnation crashes.
    pub(super) fn set_in_hand(&self, offer: Box<dyn InHand<A>>) {
        let before = self.with_rare(|rare| rare.offer.replace(offer));
        drop(before);
    }

    /// From now on what the incarnation drops tells nobody who asked for the message in hand.
    pub(super) fn crash_in_hand(&self) {
        self.if_rare(|rare| {
            rare.offer.as_ref()?.crash();
            Some(())
        });
    }

    pub(super) fn take_in_hand(&self) -> Option<Box<dyn InHand<A>>> {
        self.if_rare(|rare| rare.offer.take())
    }

    /// Drops the handler that waits, if one does. Its drop may panic.
    pub(super) fn drop_handler(&self) {
        // The buffer is taken out, so that its borrow isn't held while user code runs.
        let buffer = std::mem::replace(&mut *self.handler.borrow_mut(), FutureBuffer::new());
        drop(buffer);
    }

    /// Moves the actor out; the handler has been dropped. Its drop may panic.
    pub(super) fn move_out(&self) -> (Option<A>, Option<Context<A>>) {
        debug_assert!(!self.is_handling());
        self.stage.set(Stage::Vacant);
        self.request.set(Inherited::NOTHING);
        self.end_start_limit();
        self.if_rare(|rare| {
            rare.failed = None;
            rare.overdue = None;
            rare.ending = None;
            rare.started.take()
        });
        drop(self.waker.borrow_mut().take());
        // SAFETY: no handler is in a buffer, so nobody has a reference to these.
        unsafe { ((*self.actor.get()).take(), (*self.ctx.get()).take()) }
    }
}
