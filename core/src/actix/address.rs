//! Addresses of actix actors that live elsewhere, as actors of Callboard.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::actix::dev::ToEnvelope;
use ::actix::{Addr, MailboxError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::letter::Letter;
use super::{ActixMessage, check_executor};
use crate::actor::{Actor, DeferredHandler, StartFailure};
use crate::boundary::Verdict;
use crate::context::Context;
use crate::counters::DropReason;
use crate::error::{Failure, FailureKind};
use crate::responder::Responder;
use crate::system::System;

/// How many messages an [`AdoptedAddr`] has at its actix actor at a time, unless
/// [told otherwise](adopt_addr_with_window): as many as a mailbox of actix holds by default.
pub const ADDR_WINDOW: usize = 16;
/// How often an idle address is looked at: actix tells nobody that one has closed.
const LOOK: Duration = Duration::from_millis(100);
const CLOSED: &str =
    "its actix address is closed; actix doesn't say whether its actor stopped or panicked";

/// Makes an actor of an address, for [`System::actor`](crate::System::actor): of an actor on a `SyncArbiter`, of
/// one that somebody else starts, of an actor with a context of its own kind (websockets).
///
/// It can be started once and never again, so it can't be a supervised child: nobody here knows how to make the
/// actor behind it. Where the actor can be made here, [`adopt`](super::adopt) keeps more of the contract.
///
/// # Errors
/// On the simulating executor the actor doesn't start, as with [`adopt`](super::adopt).
pub fn adopt_addr<A: ::actix::Actor>(addr: Addr<A>) -> impl FnOnce() -> AdoptedAddr<A> + Send {
    adopt_addr_with_window(addr, ADDR_WINDOW)
}

/// [`adopt_addr`] with that many messages at the actix actor at a time, at least one. On a `SyncArbiter` it
/// should be no less than the number of threads.
pub fn adopt_addr_with_window<A: ::actix::Actor>(
    addr: Addr<A>,
    window: usize,
) -> impl FnOnce() -> AdoptedAddr<A> + Send {
    let window = window.clamp(1, Semaphore::MAX_PERMITS);
    move || AdoptedAddr {
        addr,
        window: Arc::new(Semaphore::new(window)),
    }
}

/// An actor that passes on what it gets to an address of actix. Made by [`adopt_addr`].
///
/// actix's own mailbox bound is soft, and a `SyncArbiter` has none. So at most [`ADDR_WINDOW`] messages from
/// here are over there at a time, tells and asks alike, in the order they came (G2); the others wait in the
/// Callboard mailbox, whose bound holds (G3).
///
/// What is known when something goes wrong:
///
/// - Deadlines are looked at just before a message is passed on (G9). Until then a failure is `NotExecuted`.
/// - From then on it is `MaybeExecuted`: a deadline, or an actor that ended. actix drops the way back when its
///   actor panics in the handler, drops the queue or drops the handler's future, and tells these apart for
///   nobody. The asker is told at once (G7).
/// - A tell whose way back was dropped is counted as [`Undelivered`](DropReason::Undelivered).
/// - When the address has closed this actor ends as [`Failed`](crate::ExitReason::Failed), at most 100 ms later:
///   actix doesn't say whether the actor stopped or panicked.
/// - Stopping this actor doesn't stop the one behind the address. What was passed on is still answered.
pub struct AdoptedAddr<A: ::actix::Actor> {
    addr: Addr<A>,
    window: Arc<Semaphore>,
}

#[diagnostic::do_not_recommend]
impl<A: ::actix::Actor> Actor for AdoptedAddr<A> {
    async fn starting(&mut self, ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        check_executor(ctx.system())?;
        let clock = ctx.system().clock().clone();
        let (addr, me) = (self.addr.clone(), ctx.me());
        let incarnation = ctx.incarnation();
        ctx.spawn(async move {
            while addr.connected() {
                clock.sleep(LOOK).await;
            }
            me.cell().fail_from_outside(incarnation, CLOSED.to_owned());
        });
        Ok(())
    }
}

impl<A, M> DeferredHandler<M> for AdoptedAddr<A>
where
    A: ::actix::Actor<Context: ToEnvelope<A, M::Native>> + ::actix::Handler<M::Native>,
    M: ActixMessage,
{
    async fn handle_deferred(
        &mut self,
        message: M,
        responder: Responder<M::Reply>,
        ctx: &mut Context<Self>,
    ) {
        let envelope = ctx.envelope_of(message, responder);
        let mut letter = Letter::new(ctx.me(), envelope);
        // It is never closed.
        let Ok(place) = Arc::clone(&self.window).acquire_owned().await else {
            return;
        };
        if !self.addr.connected() {
            return ctx.fail(CLOSED);
        }
        let Some(envelope) = letter.open(Verdict::MaybeExecuted) else {
            return;
        };
        let passed = Passed {
            responder: Some(envelope.responder),
            system: ctx.system().clone(),
            label: ctx.me().label(),
            _place: place,
        };
        let mut request = Box::pin(self.addr.send(envelope.message.into_native()));
        // With its first poll at the latest it is over there, so messages keep their order.
        if let std::task::Poll::Ready(end) = futures::poll!(&mut request) {
            return passed.end(end);
        }
        let (addr, me) = (self.addr.clone(), ctx.me());
        let incarnation = ctx.incarnation();
        // Not with the incarnation: actix passes over a message whose asker is gone, and a tell has none.
        ctx.me().home().spawn_here(Box::pin(async move {
            let end = request.await;
            let lost = end.is_err() && !addr.connected();
            passed.end(end);
            if lost {
                me.cell().fail_from_outside(incarnation, CLOSED.to_owned());
            }
        }));
    }
}

impl<A: ::actix::Actor> fmt::Debug for AdoptedAddr<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdoptedAddr")
            .field("connected", &self.addr.connected())
            .field("free", &self.window.available_permits())
            .finish()
    }
}

/// A message that was passed on. Dropping it is an end nobody knows more about, too.
struct Passed<R: Send + 'static> {
    responder: Option<Responder<R>>,
    system: System,
    label: Arc<str>,
    _place: OwnedSemaphorePermit,
}

impl<R: Send + 'static> Passed<R> {
    fn end(mut self, end: Result<R, MailboxError>) {
        if let Ok(reply) = end
            && let Some(responder) = self.responder.take()
        {
            responder.send(reply);
        }
    }
}

impl<R: Send + 'static> Drop for Passed<R> {
    fn drop(&mut self) {
        let Some(responder) = self.responder.take() else {
            return;
        };
        if responder.expects_answer() {
            let failure = Failure::new(FailureKind::NoAnswer, Verdict::MaybeExecuted);
            responder.fail(failure.with_detail(&*self.label));
        } else {
            self.system.counters().count_drop(DropReason::Undelivered);
        }
    }
}
