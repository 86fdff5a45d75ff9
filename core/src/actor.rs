//! What an actor is and what it does with a message.

use std::any::Any;
use std::fmt;
use std::future::Future;

use crate::actor_ref::ActorRef;
use crate::context::Context;
use crate::fault::Fault;
use crate::message::Message;
use crate::responder::Responder;
use crate::spawn;
use crate::system::StartError;
use crate::watch::ExitReason;

/// State with a mailbox. It handles one message at a time, also across `.await` (G1), on one thread, so
/// that neither the state nor its futures need be `Send`.
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
/// Simulation::new(1).block_on(async {
///     let counter = Counter(0).start()?;
///     counter.tell(Add(1)).await?;
///     assert_eq!(counter.ask(Add(2)).await?, 3);
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
///
/// # An actor's life
///
/// | what happens | what runs, in this order |
/// |---|---|
/// | it is started | [`starting`](Actor::starting), which may fail; then it counts as up; [`started`](Actor::started); its messages |
/// | its supervisor starts it again | the same with [`restarting`](Actor::restarting) in place of `starting` |
/// | it stops: `stop`, [`drain`](ActorRef::drain), `ctx.stop()` | [`stopping`](Actor::stopping); its children end, the newest first; [`stopped`](Actor::stopped) |
/// | it fails in order: `ctx.fail(why)`, a [link](Context::link) | its children end; [`stopped`](Actor::stopped) |
/// | it panics, or is killed | nothing of its own; its children are killed |
///
/// After that its tasks, timers and watches have ended, its value is dropped, and only then its end is reported
/// (G13). A handler, or one of these, that panics ends the incarnation; one that panics while it stops changes
/// nothing in the reason.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an actor",
    label = "not an actor",
    note = "write `impl Actor for {Self} {{}}`"
)]
pub trait Actor: Sized + 'static {
    /// Runs before anything else. An error, a panic, or more time than its
    /// [limit](crate::Spawn::start_limit) is a failed start: the actor ends as
    /// [`Failed`](ExitReason::Failed), and a supervisor counts it as a restart (G16).
    ///
    /// Messages that come meanwhile are queued.
    fn starting(
        &mut self,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Result<(), StartFailure>> {
        let _ = ctx;
        async { Ok(()) }
    }

    /// Runs in place of [`starting`](Actor::starting) when a supervisor starts the actor again, with what
    /// the incarnation before [left behind](Context::leave_behind). The same holds for it. Unless written
    /// otherwise it drops that and calls `starting`.
    fn restarting(
        &mut self,
        left: LeftBehind,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Result<(), StartFailure>> {
        drop(left);
        self.starting(ctx)
    }

    /// Runs once the actor counts as up (its supervisor goes on with the next child), before its first
    /// message. For what need not hold the others up, and can't fail but by [`fail`](Context::fail).
    fn started(&mut self, ctx: &mut Context<Self>) -> impl Future<Output = ()> {
        let _ = ctx;
        async {}
    }

    /// Runs after the last message of an actor that stops, while its children and tasks still live: the place
    /// to hand over what is left.
    fn stopping(&mut self, ctx: &mut Context<Self>) -> impl Future<Output = ()> {
        let _ = ctx;
        async {}
    }

    /// Runs last, when its children have ended, with the reason: [`Stopped`](ExitReason::Stopped), or
    /// [`Failed`](ExitReason::Failed) after [`ctx.fail`](Context::fail). Not after a panic or a kill: then
    /// the state can't be trusted, or may not hold things up, and is only dropped.
    fn stopped(&mut self, reason: &ExitReason) -> impl Future<Output = ()> {
        let _ = reason;
        async {}
    }

    /// Starts the actor on this arbiter, with a mailbox of
    /// [`DEFAULT_MAILBOX_CAPACITY`](crate::DEFAULT_MAILBOX_CAPACITY).
    ///
    /// # Errors
    /// [`StartError::NotOnArbiter`] outside an arbiter; there, `system.start(actor)` chooses one.
    fn start(self) -> Result<ActorRef<Self>, StartError> {
        spawn::start_here(self)
    }
}

/// What an incarnation left behind for the next one, by [`Context::leave_behind`].
#[derive(Default)]
pub struct LeftBehind(Option<Box<dyn Any + Send>>);

impl LeftBehind {
    pub(crate) fn new(left: Option<Box<dyn Any + Send>>) -> Self {
        LeftBehind(left)
    }

    /// Whether there is anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Takes it out, if it is of that type; else it stays.
    pub fn take<T: 'static>(&mut self) -> Option<T> {
        match self.0.take()?.downcast() {
            Ok(left) => Some(*left),
            Err(other) => {
                self.0 = Some(other);
                None
            }
        }
    }
}

impl fmt::Debug for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_tuple("LeftBehind");
        out.field(&(!self.is_empty()).then_some(..)).finish()
    }
}

/// Why an actor did not start: it failed, or has [nothing to do](StartFailure::ignore).
///
/// `?` turns any error into one that is [`Recoverable`](crate::FailureClass::Recoverable). For an error that knows
/// its class write `.map_err(StartFailure::new)?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure(Option<Fault>);

impl StartFailure {
    /// A failure with a sentence for people: a text, a [`Fault`], or an error that is
    /// [`Classified`](crate::Classified).
    #[must_use]
    pub fn new(why: impl Into<Fault>) -> Self {
        StartFailure(Some(why.into()))
    }

    /// Nothing is wrong, but there is nothing for it to do: OTP's `ignore`. The actor ends in order before it
    /// was up; its supervisor goes on with the next child, and doesn't start it again by itself.
    #[must_use]
    pub fn ignore() -> Self {
        StartFailure(None)
    }

    /// The failure, unless it is to be ignored.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        self.0.as_ref()
    }

    pub(crate) fn into_fault(self) -> Option<Fault> {
        self.0
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(fault) => write!(f, "{fault}"),
            None => f.write_str("nothing to do"),
        }
    }
}

impl<E: std::error::Error> From<E> for StartFailure {
    fn from(error: E) -> Self {
        StartFailure::new(error.to_string())
    }
}

/// What an actor does with messages of one type: what it returns is the answer.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle `{M}`",
    label = "`{Self}` has no handler for `{M}`",
    note = "write `impl Handler<{M}> for {Self}`"
)]
pub trait Handler<M: Message>: Actor {
    /// Handles one message. A tell drops the answer.
    fn handle(&mut self, message: M, ctx: &mut Context<Self>) -> impl Future<Output = M::Reply>;
}

/// What an actor does with messages whose answer comes later: the responder can be kept, or handed to a
/// task or another actor, while the actor goes on. Dropping the responder answers with an error (G7).
pub trait DeferredHandler<M: Message>: Actor {
    /// Handles one message. For a tell, the responder answers nobody.
    fn handle_deferred(
        &mut self,
        message: M,
        responder: Responder<M::Reply>,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = ()>;
}

/// That an actor takes messages of a type, one way or the other. Not implemented by hand: it follows
/// from [`Handler`] or [`DeferredHandler`], and `How` says from which.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle `{M}`",
    label = "`{Self}` has no handler for `{M}`",
    note = "write `impl Handler<{M}> for {Self}`"
)]
pub trait Receives<M: Message, How: 'static>: Actor {
    /// Whether the handler answers by a responder of its own.
    #[doc(hidden)]
    const NEEDS_RESPONDER: bool;

    /// What the handler returns.
    #[doc(hidden)]
    type Output: 'static;

    /// Handles one message.
    #[doc(hidden)]
    fn receive(
        &mut self,
        message: M,
        responder: Option<Responder<M::Reply>>,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Self::Output>;

    /// The answer in what the handler returned, unless a responder has it.
    #[doc(hidden)]
    fn reply(output: Self::Output) -> Option<M::Reply>;
}

/// Marks [`Receives`] that follows from [`Handler`].
#[derive(Debug)]
pub enum ByReturn {}

/// Marks [`Receives`] that follows from [`DeferredHandler`].
#[derive(Debug)]
pub enum ByResponder {}

impl<A: Handler<M>, M: Message> Receives<M, ByReturn> for A {
    const NEEDS_RESPONDER: bool = false;
    type Output = M::Reply;

    #[inline]
    fn receive(
        &mut self,
        message: M,
        _: Option<Responder<M::Reply>>,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = M::Reply> {
        self.handle(message, ctx)
    }

    #[inline]
    fn reply(output: M::Reply) -> Option<M::Reply> {
        Some(output)
    }
}

impl<A: DeferredHandler<M>, M: Message> Receives<M, ByResponder> for A {
    const NEEDS_RESPONDER: bool = true;
    type Output = ();

    fn receive(
        &mut self,
        message: M,
        responder: Option<Responder<M::Reply>>,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = ()> {
        let responder = responder.unwrap_or_else(Responder::nowhere);
        self.handle_deferred(message, responder, ctx)
    }

    fn reply((): ()) -> Option<M::Reply> {
        None
    }
}

/// Marks [`Receives`] of what nobody can send.
///
/// Every actor takes it, so that an actor with a single handler takes two types of messages as far as the compiler
/// knows. With one it would conclude that whatever is sent is of that type, and say of another that a type is
/// mismatched, where the handler is what is missing.
#[doc(hidden)]
#[derive(Debug)]
pub enum ByNobody {}

/// A message that there can't be.
#[doc(hidden)]
#[derive(Debug)]
pub enum Nothing {}

#[diagnostic::do_not_recommend]
impl Message for Nothing {
    type Reply = ();
}

#[diagnostic::do_not_recommend]
impl<A: Actor> Receives<Nothing, ByNobody> for A {
    const NEEDS_RESPONDER: bool = false;
    type Output = ();

    async fn receive(&mut self, nothing: Nothing, _: Option<Responder<()>>, _: &mut Context<Self>) {
        match nothing {}
    }

    fn reply((): ()) -> Option<()> {
        None
    }
}
