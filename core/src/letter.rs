//! A message in a mailbox: it knows how to run, and how to be given up, without its type being known.

use std::any::Any;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use crate::actor::{Actor, Receives};
use crate::boundary::Verdict;
use crate::cell::Cell;
use crate::context::Context;
use crate::counters::DropReason;
use crate::current::{Inherited, WithRequest};
use crate::envelope::Envelope;
use crate::message::Message;

/// How a turn ended.
pub(crate) enum Turn {
    Handled,
    /// It never began: expired, or its asker gave up.
    Skipped,
    /// The handler panicked with this text.
    Panicked(String),
}

/// A message whose type only it knows.
pub(crate) trait Record<A: Actor>: Send {
    /// Handles the message, behind a panic fence (G10).
    fn deliver<'a>(
        self: Box<Self>,
        actor: &'a mut A,
        ctx: &'a mut Context<A>,
    ) -> LocalBoxFuture<'a, Turn>;

    /// Gives the message up.
    fn discard(self: Box<Self>, reason: DropReason, cell: &Cell<A>);

    /// The Rust type of the message.
    fn message_type(&self) -> &'static str;

    /// For [`Letter::unbox`].
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

pub(crate) struct Letter<M: Message, How> {
    envelope: Envelope<M>,
    how: PhantomData<fn() -> How>,
}

impl<M: Message, How: 'static> Letter<M, How> {
    pub(crate) fn boxed<A: Receives<M, How>>(envelope: Envelope<M>) -> Box<dyn Record<A>> {
        Box::new(Letter::<M, How> {
            envelope,
            how: PhantomData,
        })
    }

    /// Opens a record that was made by [`boxed`](Letter::boxed) with the same types.
    pub(crate) fn unbox<A: Receives<M, How>>(record: Box<dyn Record<A>>) -> Envelope<M> {
        match record.into_any().downcast::<Self>() {
            Ok(letter) => letter.envelope,
            Err(_) => unreachable!("bug: a mailbox gave back another record than it was given"),
        }
    }
}

impl<A, M, How> Record<A> for Letter<M, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    fn deliver<'a>(
        self: Box<Self>,
        actor: &'a mut A,
        ctx: &'a mut Context<A>,
    ) -> LocalBoxFuture<'a, Turn> {
        let mut envelope = self.envelope;
        let expired = envelope.meta.is_expired(ctx.system().clock());
        if expired || !envelope.responder.progress(Verdict::Executed) {
            let reason = if expired {
                DropReason::Expired
            } else {
                DropReason::Withdrawn
            };
            ctx.cell().bury(envelope, reason);
            return Box::pin(async move { Turn::Skipped });
        }
        let Envelope {
            message,
            meta,
            responder,
        } = envelope;
        let request = Inherited::of(&meta);
        ctx.set_meta(meta);
        // Calling the handler is inside the fence too: a hand-written one may panic before it returns
        // its future.
        let handler = Box::pin(async move { actor.receive(message, responder, ctx).await });
        let fenced = AssertUnwindSafe(WithRequest { request, handler }).catch_unwind();
        Box::pin(fenced.map(|ended| match ended {
            Ok(()) => Turn::Handled,
            Err(payload) => Turn::Panicked(panic_text(payload.as_ref())),
        }))
    }

    fn discard(self: Box<Self>, reason: DropReason, cell: &Cell<A>) {
        cell.bury(self.envelope, reason);
    }

    fn message_type(&self) -> &'static str {
        std::any::type_name::<M>()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What a panic said.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "panicked with something that is no text".to_owned()
    }
}
