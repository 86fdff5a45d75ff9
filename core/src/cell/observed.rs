//! A message whose handler somebody looks at: the same as for any other, in a span and by a clock.
//!
//! Apart, and instantiated apart, so that the handlers of messages nobody looks at have no larger futures.

use std::task::Poll;

use super::Cell;
use super::body::Body;
use super::letter::Answer;
use crate::actor::{Actor, Receives};
use crate::context::Context;
use crate::driver::Tools;
use crate::message::Message;
#[cfg(feature = "metrics")]
use crate::metrics::Measured;
use crate::responder::Responder;
use crate::stamp::Stamp;

impl<A: Actor> Cell<A> {
    /// Begins a handler in a span of its own. `given` is for a handler that answers by it.
    #[cold]
    #[inline(never)]
    pub(super) fn run_observed<M, How>(
        &self,
        body: &Body<A>,
        tools: &mut Tools,
        message: M,
        given: Option<Responder<M::Reply>>,
        responder: &mut Option<Responder<M::Reply>>,
        stamp: &Stamp,
    ) -> Poll<Option<M::Reply>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let home = self.home();
        home.in_hand().set::<M>();
        self.strike::<M>();
        let name = std::any::type_name::<M>();
        let scene = stamp.scene(self.system(), &self.label(), name, self.incarnation());
        let receive = move |actor: &'static mut A, ctx: &'static mut Context<A>| {
            let handler = scene.begin(|| actor.receive(message, given, ctx));
            scene.go_on(handler)
        };
        // Until the handler has ended, or panicked, or was dropped.
        #[cfg(feature = "metrics")]
        let mut handling = stamp.sent.as_ref().map(|sent| sent.begin(self.system()));
        let waits = || {
            let then = Answer::<A, M, How>::to(responder.take());
            #[cfg(feature = "metrics")]
            let then = Measured {
                handling: handling.take(),
                then,
            };
            then
        };
        match body.run(home, tools, receive, waits) {
            Some(polled) => polled.map(A::reply),
            None => Poll::Ready(None),
        }
    }
}
