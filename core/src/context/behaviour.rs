//! Behaviours that change while an actor runs: Hewitt's and Akka's `become`.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures::future::LocalBoxFuture;

use super::Context;
use crate::actor::{Actor, Receives};
use crate::message::Message;

/// How an actor handles messages of one type for now.
pub(crate) type Behaviour<A, M> = Rc<
    dyn for<'a> Fn(&'a mut A, M, &'a mut Context<A>) -> LocalBoxFuture<'a, <M as Message>::Reply>,
>;

/// What `Any` can hold: a [`Behaviour`] with its types.
struct Held<A: Actor, M: Message>(Behaviour<A, M>);

impl<A: Actor> Context<A> {
    /// From the next message on, those of type `M` are handled by `behaviour` instead of the actor's handler,
    /// until another takes its place, [`unbecome`](Context::unbecome), or the end of this incarnation. What it
    /// returns is the answer; everything else holds as for a handler.
    ///
    /// An `enum` in the actor's state and a `match` in its handler do the same and cost nothing. This is for
    /// behaviours that come from outside, or that are too different to share a handler. Each message that such
    /// an actor handles costs a lookup, and each that is handled by a behaviour one allocation.
    ///
    /// ```
    /// # extern crate callboard_core as callboard;
    /// # use callboard_core::{Actor, Context, Handler, Message, Simulation};
    /// #[derive(Message)]
    /// #[message(reply = &'static str)]
    /// struct Knock;
    ///
    /// struct Door;
    /// impl Actor for Door {}
    /// impl Handler<Knock> for Door {
    ///     async fn handle(&mut self, _: Knock, ctx: &mut Context<Self>) -> &'static str {
    ///         ctx.becomes(async |_: &mut Door, _: Knock, ctx: &mut Context<Door>| {
    ///             ctx.unbecome::<Knock>();
    ///             "it is open"
    ///         });
    ///         "who is there?"
    ///     }
    /// }
    /// Simulation::new(1).block_on(async {
    ///     let door = Door.start()?;
    ///     assert_eq!(door.ask(Knock).await?, "who is there?");
    ///     assert_eq!(door.ask(Knock).await?, "it is open");
    ///     assert_eq!(door.ask(Knock).await?, "who is there?");
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn becomes<M, How>(
        &mut self,
        behaviour: impl AsyncFn(&mut A, M, &mut Context<A>) -> M::Reply + 'static,
    ) where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let behaviour = Rc::new(behaviour);
        let behaviour: Behaviour<A, M> = Rc::new(move |actor, message, ctx| {
            let behaviour = Rc::clone(&behaviour);
            Box::pin(async move { behaviour(actor, message, ctx).await })
        });
        let rare = self.rare();
        rare.behaviours
            .0
            .insert(TypeId::of::<M>(), Box::new(Held(behaviour)));
        rare.special = true;
    }

    /// Messages of type `M` go to the actor's handler again, from the next one on.
    pub fn unbecome<M: Message>(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.behaviours.0.remove(&TypeId::of::<M>());
            rare.note_special();
        }
    }

    pub(crate) fn behaviour<M: Message>(&self) -> Option<Behaviour<A, M>> {
        let behaviours = &self.rare.as_ref()?.behaviours;
        let held = behaviours.0.get(&TypeId::of::<M>())?;
        held.downcast_ref::<Held<A, M>>()
            .map(|held| Rc::clone(&held.0))
    }
}

/// The behaviours of one incarnation, by message type.
#[derive(Default)]
pub(super) struct Behaviours(BTreeMap<TypeId, Box<dyn Any>>);

impl Behaviours {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
