//! One incarnation of an adopted actor: actix's own future of it, and the slot through which messages reach
//! the actor inside.
//!
//! actix lends an actor and its context to futures that were given to the context ([`ActorFuture`]), and to
//! nobody else. So one of those is ours, the [`Pump`]: it takes the letter out of the slot and calls the
//! handler. Whoever has put a letter in polls the whole of actix's future once; between messages a task polls
//! it, for its timers, streams and native senders.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll, Waker};

use ::actix::dev::ContextFut;
use ::actix::fut::ActorFuture;
use ::actix::{Actor, ActorContext, Addr, AsyncContext, Context};

use crate::current::{self, Inherited};
use crate::error::FailureKind;
use crate::panics::panic_text;

/// A message on its way into the actor, whatever its type.
pub(super) trait Deliver<A: Actor> {
    /// Calls the handler.
    fn deliver(self: Box<Self>, actor: &mut A, ctx: &mut A::Context);
}

pub(super) struct Life<A: Actor<Context = Context<A>>> {
    /// Until the actor has ended.
    future: RefCell<Option<ContextFut<A, Context<A>>>>,
    address: Addr<A>,
    slot: Rc<Slot<A>>,
    /// Of the task that polls between messages: what wakes actix's future must wake that task.
    waker: RefCell<Option<Waker>>,
    /// It is to end as soon as the poll that runs has returned.
    doomed: Cell<bool>,
    end: Rc<End>,
}

impl<A: Actor<Context = Context<A>>> Life<A> {
    /// Makes the actor in a context of its own. Nothing of it runs before the first poll.
    pub(super) fn new(make: impl FnOnce(&mut Context<A>) -> A) -> Self {
        let slot = Rc::new(Slot::new());
        let mut ctx = Context::new();
        ctx.spawn(Pump(Rc::clone(&slot)));
        let actor = make(&mut ctx);
        let address = ctx.address();
        Life {
            future: RefCell::new(Some(ctx.into_future(actor))),
            address,
            slot,
            waker: RefCell::new(None),
            doomed: Cell::new(false),
            end: Rc::default(),
        }
    }

    pub(super) fn address(&self) -> &Addr<A> {
        &self.address
    }

    pub(super) fn slot(&self) -> &Slot<A> {
        &self.slot
    }

    pub(super) fn end(&self) -> &Rc<End> {
        &self.end
    }

    /// Whether it has stopped by itself, as far as is known outside a poll of it.
    pub(super) fn has_stopped(&self) -> bool {
        let ended = self
            .future
            .try_borrow()
            .is_ok_and(|future| future.is_none());
        ended && self.end.why() == FailureKind::NoAnswer
    }

    /// Lets the actor do what it can do now. Ready when it has ended. A panic of the actor comes through.
    pub(super) fn poll(&self) -> Poll<()> {
        let Ok(mut future) = self.future.try_borrow_mut() else {
            // It is being polled further down the stack. It may have passed the slot by then.
            self.wake();
            return Poll::Pending;
        };
        let Some(running) = future.as_mut() else {
            return Poll::Ready(());
        };
        if self.doomed.get() {
            // After a panic on an asker's stack the actor is still here until its next turn.
            let ended = future.take();
            drop(future);
            self.bury(ended, FailureKind::Killed);
            return Poll::Ready(());
        }
        let waker = self.waker.borrow().clone();
        // Before the task's first poll nobody need be woken: that poll is still to come.
        let waker = waker.as_ref().unwrap_or(Waker::noop());
        let polled = {
            let _note = NotePanic(self);
            // What the actor does by itself isn't done for the message in hand.
            let _request = Request::enter(Inherited::NOTHING);
            Pin::new(running).poll(&mut task::Context::from_waker(waker))
        };
        if polled.is_pending() && !self.doomed.get() {
            return Poll::Pending;
        }
        let ended = future.take();
        drop(future);
        self.bury(ended, FailureKind::NoAnswer);
        Poll::Ready(())
    }

    /// Polls the actor whenever it has something to do, until it ends; by a panic: its text.
    pub(super) async fn run(self: Rc<Self>) -> Result<(), String> {
        std::future::poll_fn(|cx| {
            self.waker.replace(Some(cx.waker().clone()));
            let polled = catch_unwind(AssertUnwindSafe(|| self.poll()));
            polled.map_or_else(
                |payload| Poll::Ready(Err(panic_text(payload.as_ref()))),
                |polled| polled.map(Ok),
            )
        })
        .await
    }

    /// Stops the actor in order: `stopping` and `stopped` run. An actor that doesn't want to stop is stopped
    /// all the same.
    pub(super) fn stop(&self) {
        if let Ok(mut future) = self.future.try_borrow_mut()
            && let Some(running) = future.as_mut()
        {
            running.ctx().stop();
        }
        if self.poll().is_ready() {
            return;
        }
        // From inside its context: a terminated context that is polled from outside would start anew.
        self.slot.put(Box::new(Terminate));
        if self.poll().is_pending() {
            self.terminate();
        }
    }

    /// Ends the actor at once: nothing of it runs any more but `Drop`.
    pub(super) fn terminate(&self) {
        // If it is being polled now, the end of that poll ends it.
        self.doomed.set(true);
        let ended = self.future.try_borrow_mut().ok().and_then(|mut f| f.take());
        self.bury(ended, FailureKind::Killed);
    }

    fn bury(&self, ended: Option<ContextFut<A, Context<A>>>, why: FailureKind) {
        self.end.note(why);
        if let Some(mut ended) = ended {
            // Else its drop would run the actor's hooks once more, also after a panic.
            ended.ctx().terminate();
            drop(ended);
        }
        self.slot.close();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl<A: Actor<Context = Context<A>>> fmt::Debug for Life<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life")
            .field("end", &self.end.0.get())
            .finish_non_exhaustive()
    }
}

/// What the askers of an actor that has ended are told. The first note counts.
#[derive(Default)]
pub(super) struct End(Cell<Option<FailureKind>>);

impl End {
    fn note(&self, why: FailureKind) {
        self.0.set(self.0.get().or(Some(why)));
    }

    /// Why a handler that began didn't answer.
    pub(super) fn why(&self) -> FailureKind {
        self.0.get().unwrap_or(FailureKind::NoAnswer)
    }
}

/// Sees to it that nothing of an actor runs any more after its panic.
struct NotePanic<'a, A: Actor<Context = Context<A>>>(&'a Life<A>);

impl<A: Actor<Context = Context<A>>> Drop for NotePanic<'_, A> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end.note(FailureKind::Panicked);
            self.0.doomed.set(true);
        }
    }
}

/// Ends an actor that doesn't want to stop: actix then calls `stopped`, and asks nobody.
struct Terminate;

impl<A: Actor<Context = Context<A>>> Deliver<A> for Terminate {
    fn deliver(self: Box<Self>, _: &mut A, ctx: &mut Context<A>) {
        ctx.terminate();
    }
}

/// Sets the request in hand for as long as it lives.
pub(super) struct Request(Inherited);

impl Request {
    pub(super) fn enter(request: Inherited) -> Self {
        Request(current::set_request(request))
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        current::set_request(self.0);
    }
}

/// Where the one message that is being handed to the actor lies.
pub(super) struct Slot<A: Actor> {
    state: RefCell<State<A>>,
    waker: RefCell<Option<Waker>>,
}

enum State<A: Actor> {
    Free,
    Full(Box<dyn Deliver<A>>),
    /// Taken, and the actor gives itself to that message alone until its future ends (`AtomicResponse`).
    Busy,
    /// The actor has ended.
    Closed,
}

impl<A: Actor> Slot<A> {
    fn new() -> Self {
        Slot {
            state: RefCell::new(State::Free),
            waker: RefCell::new(None),
        }
    }

    /// Puts a letter in; it is dropped if the actor has ended. There is never more than one.
    pub(super) fn put(&self, letter: Box<dyn Deliver<A>>) {
        let mut state = self.state.borrow_mut();
        let refused = match &mut *state {
            State::Closed => State::Full(letter),
            open => std::mem::replace(open, State::Full(letter)),
        };
        drop(state);
        // What it holds may look at the slot when it is dropped.
        drop(refused);
    }

    /// Waits until the actor is through with what was put in, or has ended.
    pub(super) async fn free(&self) {
        std::future::poll_fn(|cx| {
            if matches!(*self.state.borrow(), State::Free | State::Closed) {
                return Poll::Ready(());
            }
            self.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn take(&self) -> Option<Box<dyn Deliver<A>>> {
        let mut state = self.state.borrow_mut();
        match std::mem::replace(&mut *state, State::Busy) {
            State::Full(letter) => Some(letter),
            other => {
                *state = other;
                None
            }
        }
    }

    /// The actor takes the next one.
    fn open(&self) {
        if matches!(*self.state.borrow(), State::Busy) {
            self.set(State::Free);
        }
    }

    fn close(&self) {
        self.set(State::Closed);
    }

    fn set(&self, state: State<A>) {
        let before = self.state.replace(state);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        drop(before);
    }
}

/// The future inside actix's context that takes letters out of the slot. It never ends, so that actix doesn't
/// stop the actor when its last native address is dropped: it lives until somebody stops it.
struct Pump<A: Actor>(Rc<Slot<A>>);

impl<A: Actor<Context = Context<A>>> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut A,
        ctx: &mut Context<A>,
        _: &mut task::Context<'_>,
    ) -> Poll<()> {
        match self.0.take() {
            Some(letter) => {
                letter.deliver(actor, ctx);
                if !ctx.waiting() {
                    self.0.open();
                }
            }
            // While the actor waits for an `AtomicResponse`, actix doesn't come here.
            None => self.0.open(),
        }
        Poll::Pending
    }
}
