//! A message for an adopted actor: what must be looked at before its handler runs, and the way back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

use ::actix::dev::{MessageResponse, OneshotSender};
use ::actix::{Actor, Context, Handler};
use tokio::sync::oneshot;

use super::ActixMessage;
use super::adopted::Adopted;
use super::life::{Deliver, End, Request};
use crate::actor_ref::ActorRef;
use crate::boundary::Verdict;
use crate::counters::DropReason;
use crate::current::Inherited;
use crate::envelope::Envelope;
use crate::error::Failure;
use crate::message::Message;
use crate::responder::Responder;

/// How many handlers of one adopted actor may have begun and still owe their asker an answer
/// (`ResponseFuture`, `ResponseActFuture`). At the bound (G3) the next ask waits in the mailbox.
pub const OWED_ANSWERS: usize = 1_024;

/// A message that is given up with a reason, if nobody takes it.
pub(super) struct Letter<A: crate::Actor, M: Message> {
    me: ActorRef<A>,
    envelope: Option<Envelope<M>>,
}

impl<A: crate::Actor, M: Message> Letter<A, M> {
    /// A letter that has come to its actor, but not to the actor's handler.
    pub(super) fn new(me: ActorRef<A>, mut envelope: Envelope<M>) -> Self {
        envelope.responder.progress(Verdict::NotExecuted);
        Letter {
            me,
            envelope: Some(envelope),
        }
    }

    pub(super) fn expects_answer(&self) -> bool {
        let envelope = self.envelope.as_ref();
        envelope.is_some_and(|envelope| envelope.responder.expects_answer())
    }

    /// The message, unless it has expired (G9) or its asker is gone. From here on its asker knows that it came
    /// that far.
    pub(super) fn open(&mut self, reached: Verdict) -> Option<Envelope<M>> {
        let mut envelope = self.envelope.take()?;
        let cell = self.me.cell();
        if envelope.meta.is_expired(cell.system().clock()) {
            cell.bury(envelope, DropReason::Expired);
            return None;
        }
        if !envelope.responder.progress(reached) {
            cell.bury(envelope, DropReason::Withdrawn);
            return None;
        }
        Some(envelope)
    }
}

impl<A: crate::Actor, M: Message> Drop for Letter<A, M> {
    fn drop(&mut self) {
        if let Some(envelope) = self.envelope.take() {
            self.me.cell().bury(envelope, DropReason::Stopped);
        }
    }
}

/// A letter for an actor that lives in a context of actix.
pub(super) struct Delivery<A: Actor<Context = Context<A>>, M: Message> {
    pub(super) letter: Letter<Adopted<A>, M>,
    pub(super) end: Rc<End>,
    pub(super) owed: Rc<Owed>,
}

impl<A, M> Deliver<A> for Delivery<A, M>
where
    A: Actor<Context = Context<A>> + Handler<M::Native>,
    M: ActixMessage,
{
    fn deliver(mut self: Box<Self>, actor: &mut A, ctx: &mut Context<A>) {
        let Some(envelope) = self.letter.open(Verdict::Executed) else {
            return;
        };
        let Envelope {
            message,
            meta,
            responder,
        } = envelope;
        let message = message.into_native();
        let _request = Request::enter(Inherited::of(&meta));
        if !responder.expects_answer() {
            return handle(actor, message, ctx, None);
        }
        let (tx, mut rx) = oneshot::channel();
        // A panic drops the responder, which tells the asker.
        handle(actor, message, ctx, Some(tx));
        match rx.try_recv() {
            Ok(reply) => responder.send(reply),
            Err(oneshot::error::TryRecvError::Closed) => drop(responder),
            Err(oneshot::error::TryRecvError::Empty) => self.owe(rx, responder),
        }
    }
}

fn handle<A, M>(
    actor: &mut A,
    message: M,
    ctx: &mut Context<A>,
    tx: Option<OneshotSender<M::Result>>,
) where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: ::actix::Message,
{
    <A as Handler<M>>::handle(actor, message, ctx).handle(ctx, tx);
}

impl<A: Actor<Context = Context<A>>, M: Message> Delivery<A, M> {
    /// Waits for an answer that comes later. On the arbiter rather than with the incarnation: a
    /// `ResponseFuture` goes on when its actor has ended, and its answer is still one.
    fn owe(&self, rx: oneshot::Receiver<M::Reply>, responder: Responder<M::Reply>) {
        let debt = Owed::one_more(&self.owed);
        let (end, label) = (Rc::clone(&self.end), self.letter.me.label());
        self.letter.me.home().spawn_here(Box::pin(async move {
            let _debt = debt;
            let Ok(reply) = rx.await else {
                let failure = Failure::new(end.why(), Verdict::Executed);
                return responder.fail(failure.with_detail(&*label));
            };
            responder.send(reply);
        }));
    }
}

/// Counts the answers that an adopted actor still owes.
#[derive(Default)]
pub(super) struct Owed {
    count: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// One of them.
struct Debt(Rc<Owed>);

impl Owed {
    /// Waits until there may be one more.
    pub(super) async fn room(&self) {
        std::future::poll_fn(|cx| {
            if self.count.get() < OWED_ANSWERS {
                return Poll::Ready(());
            }
            self.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn one_more(owed: &Rc<Self>) -> Debt {
        owed.count.set(owed.count.get() + 1);
        Debt(Rc::clone(owed))
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}
