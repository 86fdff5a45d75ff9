//! Messages that don't simply go to their handlers: those that are held back, and those that a behaviour takes.
//!
//! Apart from the others, which pay one test of one bit for all of this.

use std::task::Poll;

use super::Cell;
use super::body::Body;
use crate::actor::{Actor, Receives};
use crate::context::{Behaviour, Context};
use crate::counters::DropReason;
use crate::current::{self, Inherited};
use crate::driver::Tools;
use crate::envelope::Envelope;
use crate::future_buffer::Then;
use crate::message::Message;
#[cfg(feature = "metrics")]
use crate::metrics::Measured;
use crate::responder::Responder;
use crate::stamp::Stamp;

impl<A: Actor> Cell<A> {
    /// Stashes a message that its actor holds back.
    #[cold]
    pub(super) fn put_off<M, How>(&self, body: &Body<A>, envelope: Envelope<M>)
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let put = body.with_ctx(|ctx| ctx.put_in_stash::<M, How>(envelope));
        if let Some(Err(envelope)) = put {
            self.bury(envelope, DropReason::StashFull);
        }
    }

    /// Begins what an actor does with a message in place of its handler.
    #[cold]
    pub(super) fn begin_behaviour<M: Message>(
        &self,
        body: &Body<A>,
        tools: &mut Tools,
        envelope: Envelope<M>,
        behaviour: &Behaviour<A, M>,
        stamp: Option<&Stamp>,
    ) -> Poll<()> {
        let Envelope {
            message,
            meta,
            responder,
        } = envelope;
        current::set_request(Inherited::of(&meta));
        body.with_ctx(|ctx| ctx.set_meta(meta));
        self.home().in_hand().set::<M>();
        self.strike::<M>();
        let name = std::any::type_name::<M>();
        let receive = |actor: &'static mut A, ctx: &'static mut Context<A>| match stamp {
            None => behaviour(actor, message, ctx),
            Some(stamp) => {
                let label = self.label();
                let scene = stamp.scene(self.system(), &label, name, self.incarnation());
                let handler = scene.begin(|| behaviour(actor, message, ctx));
                Box::pin(scene.go_on(handler))
            }
        };
        #[cfg(feature = "metrics")]
        let mut handling = stamp
            .and_then(|stamp| stamp.sent.as_ref())
            .map(|sent| sent.begin(self.system()));
        let mut responder = Some(responder);
        let waits = || {
            let then = Reply(responder.take());
            #[cfg(feature = "metrics")]
            let then = Measured {
                handling: handling.take(),
                then,
            };
            then
        };
        match body.run(self.home(), tools, receive, waits) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(reply)) => {
                if let Some(responder) = responder {
                    responder.send(reply);
                }
                Poll::Ready(())
            }
            None => Poll::Ready(()),
        }
    }
}

/// Answers when a behaviour that had to wait has ended.
struct Reply<R>(Option<Responder<R>>);

impl<R: Send + 'static> Then<R> for Reply<R> {
    fn end(self, reply: R) {
        if let Some(responder) = self.0 {
            responder.send(reply);
        }
    }
}
