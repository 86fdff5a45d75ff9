//! The part of an actor that lives on its arbiter's thread: the actor itself, its context, the handler
//! that runs.
//!
//! The handler borrows actor and context for as long as it runs, and lies in a buffer beside them. That
//! is sound because of three rules, all kept here: the actor and the context are set and taken away only
//! while no handler is in the buffer; nothing else touches them while one is; and a cell never moves.
#![allow(unsafe_code)]

use std::cell::{Cell as StdCell, RefCell, UnsafeCell};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use super::letter::ActorKind;
use super::{Cell, Owner};
use crate::actor::{Actor, StartFailure};
use crate::context::Context;
use crate::current::Inherited;
use crate::envelope::Meta;
use crate::future_buffer::FutureBuffer;
use crate::mailbox::records::Records;
use crate::watch::ExitReason;

/// How an incarnation ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It never handled a message: the factory or `starting` failed.
    StartFailed(String),
    /// It ran, and ended for this reason.
    Ran(ExitReason),
}

impl Ended {
    pub(crate) fn into_reason(self) -> ExitReason {
        match self {
            Ended::StartFailed(why) => ExitReason::Failed(why),
            Ended::Ran(reason) => reason,
        }
    }
}

/// How far an incarnation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none.
    Vacant,
    Starting,
    Serving,
    Stopping,
}

pub(crate) struct Body<A: Actor> {
    pub(super) stage: StdCell<Stage>,
    actor: UnsafeCell<Option<A>>,
    ctx: UnsafeCell<Option<Context<A>>>,
    handler: RefCell<FutureBuffer>,
    pub(super) batch: RefCell<Records<ActorKind<A>>>,
    /// Wakes the cell: one for all polls.
    waker: RefCell<Option<Waker>>,
    /// What the message in hand hands down.
    pub(super) request: StdCell<Inherited>,
    /// The type of the message in hand, for the report of a panic.
    pub(super) message_type: StdCell<&'static str>,
    /// A handler that ran on an asker's stack panicked with this text.
    pub(super) failed: StdCell<Option<String>>,
    /// Who is told of the start and the end of this incarnation; nobody, if it is the only one.
    owner: StdCell<Option<Box<dyn Owner>>>,
    started: StdCell<Option<Result<(), StartFailure>>>,
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
            request: StdCell::new(Inherited::default()),
            message_type: StdCell::new(""),
            failed: StdCell::new(None),
            owner: StdCell::new(None),
            started: StdCell::new(None),
        }
    }

    /// Moves an actor in, and begins `starting`. The body is vacant.
    pub(super) fn move_in(&self, cell: &Arc<Cell<A>>, actor: A, owner: Option<Box<dyn Owner>>) {
        self.handler.borrow_mut().clear();
        // SAFETY: no handler is in the buffer, so nobody has a reference to these.
        unsafe {
            *self.actor.get() = Some(actor);
            *self.ctx.get() = Some(Context::new(Arc::clone(cell)));
        }
        *self.waker.borrow_mut() = Some(Waker::from(Arc::clone(cell)));
        self.owner.set(owner);
        self.stage.set(Stage::Starting);
        let started = std::ptr::from_ref(&self.started);
        self.run(|actor, ctx| async move {
            let result = actor.starting(ctx).await;
            // SAFETY: the body outlives the handler that lies in it.
            unsafe { (*started).set(Some(result)) };
        });
    }

    /// Begins `stopped`.
    pub(super) fn begin_stopping(&self, reason: ExitReason) {
        self.stage.set(Stage::Stopping);
        self.run(|actor, _| async move { actor.stopped(&reason).await });
    }

    /// Begins the handler of a message.
    #[inline]
    pub(super) fn begin<M, F>(
        &self,
        meta: Meta,
        handle: impl FnOnce(&'static mut A, &'static mut Context<A>) -> F,
    ) where
        F: Future<Output = ()>,
    {
        self.request.set(Inherited::of(&meta));
        self.message_type.set(std::any::type_name::<M>());
        // SAFETY: no handler is in the buffer (one message at a time), so nobody has a reference to it.
        if let Some(ctx) = unsafe { (*self.ctx.get()).as_mut() } {
            ctx.set_meta(meta);
        }
        self.run(handle);
    }

    /// Begins the handler of a message that has nothing beside it.
    #[inline]
    pub(super) fn begin_lean<M, F>(
        &self,
        handle: impl FnOnce(&'static mut A, &'static mut Context<A>) -> F,
    ) where
        F: Future<Output = ()>,
    {
        self.request.set(Inherited::default());
        self.message_type.set(std::any::type_name::<M>());
        // SAFETY: no handler is in the buffer (one message at a time), so nobody has a reference to it.
        if let Some(ctx) = unsafe { (*self.ctx.get()).as_mut() } {
            ctx.clear_meta();
        }
        self.run(handle);
    }

    /// Puts a handler into the buffer. It is polled by [`poll`](Body::poll).
    #[inline]
    fn run<F: Future<Output = ()>>(
        &self,
        handle: impl FnOnce(&'static mut A, &'static mut Context<A>) -> F,
    ) {
        let mut handler = self.handler.borrow_mut();
        debug_assert!(!handler.is_running());
        // SAFETY: the references given to the handler are called static, but live as long as the handler
        // is in the buffer: the rules in the module's documentation. The buffer is empty, so these are the
        // only ones.
        unsafe {
            let actor = (*self.actor.get()).as_mut();
            let ctx = (*self.ctx.get()).as_mut();
            if let (Some(actor), Some(ctx)) = (actor, ctx) {
                handler.put(handle(actor, ctx));
            }
        }
    }

    /// Whether a handler is running.
    #[inline]
    pub(super) fn is_handling(&self) -> bool {
        self.handler.borrow().is_running()
    }

    /// Polls the handler that is running; ready if none is.
    #[inline]
    pub(super) fn poll(&self) -> Poll<()> {
        let waker = self.waker.borrow();
        let waker = waker.as_ref().unwrap_or(Waker::noop());
        self.handler
            .borrow_mut()
            .poll(&mut TaskContext::from_waker(waker))
    }

    /// What the actor said of its failure. No handler is running.
    pub(super) fn take_failure(&self) -> Option<String> {
        debug_assert!(!self.is_handling());
        // SAFETY: no handler is in the buffer, so nobody has a reference to it.
        unsafe { (*self.ctx.get()).as_mut() }.and_then(Context::take_failure)
    }

    /// The result of `starting`; it has ended.
    pub(super) fn take_started(&self) -> Result<(), StartFailure> {
        self.started.take().unwrap_or(Ok(()))
    }

    pub(super) fn report_started(&self) {
        if let Some(owner) = self.owner.take() {
            owner.started();
            self.owner.set(Some(owner));
        }
    }

    pub(super) fn take_owner(&self) -> Option<Box<dyn Owner>> {
        self.owner.take()
    }

    /// Drops the handler that is running, if one is. Its drop may panic.
    pub(super) fn drop_handler(&self) {
        // The buffer is taken out, so that its borrow isn't held while user code runs.
        let buffer = std::mem::replace(&mut *self.handler.borrow_mut(), FutureBuffer::new());
        drop(buffer);
    }

    /// Moves the actor out; the handler has been dropped. Its drop may panic.
    pub(super) fn move_out(&self) -> (Option<A>, Option<Context<A>>) {
        debug_assert!(!self.is_handling());
        self.stage.set(Stage::Vacant);
        self.request.set(Inherited::default());
        self.failed.take();
        self.started.take();
        drop(self.waker.borrow_mut().take());
        // SAFETY: no handler is in the buffer, so nobody has a reference to these.
        unsafe { ((*self.actor.get()).take(), (*self.ctx.get()).take()) }
    }
}
