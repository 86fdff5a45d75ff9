//! Actors of actix as actors of Callboard.

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use ::actix::{Addr, Context as Native};

use super::letter::{Delivery, Letter, Owed};
use super::life::Life;
use super::{ActixMessage, check_executor};
use crate::actor::{Actor, DeferredHandler, StartFailure};
use crate::actor_ref::ActorRef;
use crate::context::Context;
use crate::message::Message;
use crate::responder::Responder;
use crate::watch::ExitReason;

type Make<A> = dyn Fn(&mut Native<A>, ActorRef<Adopted<A>>) -> A + Send + Sync;

/// Makes a factory of actix actors a factory of Callboard actors, for [`System::actor`](crate::System::actor):
/// label, mailbox, placement and supervision are chosen there, as for any other.
///
/// `make` runs on the actor's arbiter, once for each incarnation, so the actor needn't be `Send`.
///
/// # Errors
/// On the simulating executor the actor doesn't start: it has ended as
/// [`Failed`](ExitReason::Failed) with the text of [`StartError::NoActix`](crate::StartError::NoActix).
/// A panic of `make` or of actix's `started` is a failed start, too.
///
/// # Example
/// See the [module](crate::actix).
pub fn adopt<A>(
    make: impl Fn() -> A + Send + Sync + 'static,
) -> impl Fn() -> Adopted<A> + Send + Sync + 'static
where
    A: ::actix::Actor<Context = Native<A>>,
{
    adopt_with(move |_, _| make())
}

/// [`adopt`] for actors that need their context to be made, as with `actix::Actor::create`, or a reference to
/// themselves that stays valid over restarts (G13).
pub fn adopt_with<A>(
    make: impl Fn(&mut Native<A>, ActorRef<Adopted<A>>) -> A + Send + Sync + 'static,
) -> impl Fn() -> Adopted<A> + Send + Sync + 'static
where
    A: ::actix::Actor<Context = Native<A>>,
{
    let make: Arc<Make<A>> = Arc::new(make);
    move || Adopted {
        make: Arc::clone(&make),
        life: None,
        owed: Rc::default(),
    }
}

/// An actix actor that lives in a Callboard actor. Made by [`adopt`].
///
/// It takes every message that the actor takes, if it is a message in both worlds with the same answer
/// ([`FromActix`](super::FromActix) wraps those that can't be):
///
/// - It has a Callboard mailbox with a bound that holds (G3); actix's own is used by native senders only.
/// - One message at a time (G1). Where actix hands out several futures at a time, so does this: after a handler
///   that returns a `ResponseFuture` or a `ResponseActFuture` the next message is handled at once, up to
///   [`OWED_ANSWERS`](super::OWED_ANSWERS); after one that returns an `AtomicResponse` it waits.
/// - Deadlines are looked at just before the handler is called (G9), and an asker that is told of a failure knows
///   whether it was: `NotExecuted` before, `Executed` from then on.
/// - A panic in a handler, a timer or a stream ends it as [`Failed`](ExitReason::Failed): the asker of the
///   message in hand is told at once (G10), and so are those who wait for a `ResponseActFuture`. `stopping` and
///   `stopped` don't run then. A panic in a `ResponseFuture` ends that alone, because it is a task of its own.
/// - [`stop`](ActorRef::stop) runs `stopping` and `stopped`; `Running::Continue` doesn't keep it. What is
///   queued goes to dead letters (G11); what native senders queued is dropped by actix, as ever.
/// - `ctx.stop()` in the actor ends it as [`Stopped`](ExitReason::Stopped). Dropping its last native address
///   doesn't: it lives until somebody stops it.
/// - Under a supervisor it is made anew by its factory, and its references stay valid (G13).
pub struct Adopted<A: ::actix::Actor<Context = Native<A>>> {
    make: Arc<Make<A>>,
    /// From the start on.
    life: Option<Rc<Life<A>>>,
    owed: Rc<Owed>,
}

#[diagnostic::do_not_recommend]
impl<A: ::actix::Actor<Context = Native<A>>> Actor for Adopted<A> {
    async fn starting(&mut self, ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        check_executor(ctx.system())?;
        let me = ctx.me();
        let life = Rc::new(Life::new(|native| (self.make)(native, me)));
        self.life = Some(Rc::clone(&life));
        // actix's `started` runs now: its panic is a failed start.
        if life.poll().is_ready() {
            ctx.stop();
            return Ok(());
        }
        let (me, incarnation) = (ctx.me(), ctx.incarnation());
        ctx.spawn(async move {
            match Rc::clone(&life).run().await {
                Ok(()) => me.stop(),
                Err(panic) => {
                    me.cell().system().counters().count_panic();
                    tracing::warn!(
                        target: "callboard::actor", actor = %me.label(), %panic,
                        "an adopted actor panicked between messages"
                    );
                    me.cell().fail_from_outside(incarnation, panic);
                    life.terminate();
                }
            }
        });
        Ok(())
    }

    async fn stopped(&mut self, _: &ExitReason) {
        if let Some(life) = &self.life {
            life.stop();
        }
    }
}

impl<A: ::actix::Actor<Context = Native<A>>> Drop for Adopted<A> {
    fn drop(&mut self) {
        if let Some(life) = &self.life {
            life.terminate();
        }
    }
}

impl<A, M> DeferredHandler<M> for Adopted<A>
where
    A: ::actix::Actor<Context = Native<A>> + ::actix::Handler<M::Native>,
    M: ActixMessage,
{
    async fn handle_deferred(
        &mut self,
        message: M,
        responder: Responder<M::Reply>,
        ctx: &mut Context<Self>,
    ) {
        let envelope = ctx.envelope_of(message, responder);
        let letter = Letter::new(ctx.me(), envelope);
        // It is set from the start on.
        let Some(life) = &self.life else { return };
        if letter.expects_answer() {
            self.owed.room().await;
        }
        life.slot().put(Box::new(Delivery {
            letter,
            end: Rc::clone(life.end()),
            owed: Rc::clone(&self.owed),
        }));
        if life.poll().is_pending() {
            life.slot().free().await;
        }
        if life.has_stopped() {
            ctx.stop();
        }
    }
}

/// Asks an [`Adopted`] actor for the native address of the incarnation that runs, for code that still speaks
/// actix. It ends with that incarnation; a [lent recipient](super::to_actix) doesn't.
///
/// What is sent there goes past the Callboard mailbox: actix's rules apply to it.
pub struct NativeAddr<A>(PhantomData<fn() -> A>);

impl<A> NativeAddr<A> {
    /// The question.
    #[must_use]
    pub fn new() -> Self {
        NativeAddr(PhantomData)
    }
}

impl<A> Default for NativeAddr<A> {
    fn default() -> Self {
        NativeAddr::new()
    }
}

#[diagnostic::do_not_recommend]
impl<A: ::actix::Actor> Message for NativeAddr<A> {
    type Reply = Addr<A>;
}

impl<A: ::actix::Actor<Context = Native<A>>> DeferredHandler<NativeAddr<A>> for Adopted<A> {
    async fn handle_deferred(
        &mut self,
        _: NativeAddr<A>,
        responder: Responder<Addr<A>>,
        _: &mut Context<Self>,
    ) {
        if let Some(life) = &self.life {
            responder.send(life.address().clone());
        }
    }
}

impl<A> fmt::Debug for NativeAddr<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NativeAddr")
    }
}

impl<A: ::actix::Actor<Context = Native<A>>> fmt::Debug for Adopted<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adopted")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}
