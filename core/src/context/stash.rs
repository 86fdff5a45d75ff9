//! Messages that an actor puts off: the stash (Akka's word).

use std::any::TypeId;
use std::collections::BTreeSet;

use super::Context;
use crate::actor::{Actor, Receives};
use crate::cell::{ActorKind, Full};
use crate::envelope::Envelope;
use crate::mailbox::Control;
use crate::mailbox::records::{Record, Records};
use crate::message::Message;
use crate::responder::Responder;

impl<A: Actor> Context<A> {
    /// From the next message on, those of type `M` are stashed instead of handled, until
    /// [`unstash`](Context::unstash): for an actor that can't serve them yet. Asks keep waiting, inside their
    /// deadlines.
    ///
    /// The stash has a bound ([`stash_capacity`](crate::Spawn::stash_capacity)): a message that finds it full
    /// goes to dead letters, and its asker is told `Full`, `NotExecuted` (G3).
    ///
    /// ```
    /// # extern crate callboard_core as callboard;
    /// # use callboard_core::{Actor, Context, Handler, Message, Simulation};
    /// #[derive(Message)]
    /// struct Connected;
    /// #[derive(Message)]
    /// #[message(reply = String)]
    /// struct Query(&'static str);
    ///
    /// struct Client;
    /// impl Actor for Client {
    ///     async fn started(&mut self, ctx: &mut Context<Self>) {
    ///         ctx.hold::<Query>();
    ///         let connecting = ctx.sleep(std::time::Duration::from_secs(1));
    ///         ctx.pipe(async move {
    ///             connecting.await;
    ///             Connected
    ///         });
    ///     }
    /// }
    /// impl Handler<Connected> for Client {
    ///     async fn handle(&mut self, _: Connected, ctx: &mut Context<Self>) {
    ///         ctx.unstash();
    ///     }
    /// }
    /// impl Handler<Query> for Client {
    ///     async fn handle(&mut self, Query(text): Query, _: &mut Context<Self>) -> String {
    ///         format!("rows of {text}")
    ///     }
    /// }
    /// Simulation::new(1).block_on(async {
    ///     let client = Client.start()?;
    ///     assert_eq!(client.ask(Query("lessons")).await?, "rows of lessons");
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn hold<M: Message>(&mut self) {
        let rare = self.rare();
        rare.stash.held.insert(TypeId::of::<M>());
        rare.special = true;
    }

    /// Stashes the message in hand with its responder, from a [`DeferredHandler`](crate::DeferredHandler):
    /// for one that turns out to be too early.
    ///
    /// # Errors
    /// Gives both back if the stash is full (G6).
    pub fn stash<M, How>(
        &mut self,
        message: M,
        responder: Responder<M::Reply>,
    ) -> Result<(), (M, Responder<M::Reply>)>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let envelope = self.envelope_of(message, responder);
        self.put_in_stash::<M, How>(envelope)
            .map_err(|envelope| (envelope.message, envelope.responder))
    }

    /// Ends every [`hold`](Context::hold), and lets what was stashed be handled next, in the order it came,
    /// before all that is queued.
    ///
    /// Also without this nothing is lost: draining unstashes by itself (what is put off again and again then
    /// goes to dead letters), a new incarnation finds what was
    /// stashed at the front of its mailbox (G13), and when the actor ends it goes to dead letters (G11).
    pub fn unstash(&mut self) {
        let Some(rare) = &mut self.rare else { return };
        rare.end_holds();
        if !rare.stash.records.is_empty() {
            self.cell.signal(Control::Unstash);
        }
    }

    /// How many messages are stashed.
    #[must_use]
    pub fn stashed(&self) -> usize {
        let rare = self.rare.as_ref();
        rare.map_or(0, |rare| rare.stash.records.len() as usize)
    }

    pub(crate) fn is_held<M: Message>(&self) -> bool {
        let rare = self.rare.as_ref();
        rare.is_some_and(|rare| rare.stash.held.contains(&TypeId::of::<M>()))
    }

    /// Gives the message back if the stash is full.
    pub(crate) fn put_in_stash<M, How>(&mut self, envelope: Envelope<M>) -> Result<(), Envelope<M>>
    where
        A: Receives<M, How>,
        M: Message,
        How: 'static,
    {
        let capacity = self.cell.stash_capacity();
        let stash = &mut self.rare().stash;
        if (stash.records.len() - stash.notices) as usize >= capacity {
            return Err(envelope);
        }
        envelope.responder.put_off();
        // It has room of its own, and takes none in the mailbox, not even when it comes back.
        stash.records.push(Full::<M, How>::new(envelope), false);
        Ok(())
    }

    /// Stashes a notice, which has room of its own here, too (G3).
    pub(crate) fn put_off_notice(&mut self, notice: impl Record<ActorKind<A>>) {
        let stash = &mut self.rare().stash;
        stash.records.push(notice, false);
        stash.notices += 1;
    }

    /// Takes what was stashed.
    pub(crate) fn take_stash(&mut self) -> Option<Records<ActorKind<A>>> {
        self.rare.as_mut()?.stash.take()
    }

    /// Ends every hold and takes what was stashed, because nothing else is left to be handled. `None` if it was
    /// put off again: nothing will come on which it could wait.
    pub(crate) fn stash_to_drain(&mut self) -> Option<Records<ActorKind<A>>> {
        let rare = self.rare.as_mut()?;
        rare.end_holds();
        let stashed = rare.stash.records.len();
        if rare.stash.drained.is_some_and(|before| stashed >= before) {
            return None;
        }
        rare.stash.drained = Some(stashed);
        rare.stash.take()
    }
}

impl<A: Actor> super::Rare<A> {
    fn end_holds(&mut self) {
        self.stash.held.clear();
        self.note_special();
    }
}

/// What one incarnation has stashed, and which types it holds back.
pub(super) struct Stash<A: Actor> {
    held: BTreeSet<TypeId>,
    records: Records<ActorKind<A>>,
    /// How many of the records are notices.
    notices: u32,
    /// How many were stashed when draining had handled all else.
    drained: Option<u32>,
}

impl<A: Actor> Stash<A> {
    pub(super) fn take(&mut self) -> Option<Records<ActorKind<A>>> {
        self.notices = 0;
        (!self.records.is_empty()).then(|| std::mem::take(&mut self.records))
    }

    pub(super) fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }
}

impl<A: Actor> Default for Stash<A> {
    fn default() -> Self {
        Stash {
            held: BTreeSet::new(),
            records: Records::new(),
            notices: 0,
            drained: None,
        }
    }
}
