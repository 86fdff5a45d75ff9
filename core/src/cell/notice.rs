//! The notices of a watch in the mailbox of its watcher (G12): in room of their own, and for nobody once the
//! watch is over.

use std::sync::Arc;
use std::task::Poll;

use super::Cell;
use super::body::Body;
use super::letter::{ActorKind, Answer, Use};
use crate::actor::{Actor, ByReturn, Handler};
use crate::context::WatchState;
use crate::current::{self, Inherited};
use crate::driver::Tools;
use crate::envelope::Envelope;
use crate::mailbox::records::Record;
use crate::message::Message;
use crate::watch::LifeEvent;

impl<A: Actor> Cell<A> {
    /// Puts the last notice of a watch into the mailbox. Fails only if the watcher has ended: then nobody
    /// watches.
    pub(crate) fn put_notice<M: Message>(self: &Arc<Self>, watch: Arc<WatchState>, notice: M)
    where
        A: Handler<M>,
    {
        self.put_in_reserve(Last { watch, notice });
    }

    /// Says in the mailbox that the watch has an event that isn't the last.
    pub(crate) fn put_newest(self: &Arc<Self>, watch: Arc<WatchState>)
    where
        A: Handler<LifeEvent>,
    {
        self.put_in_reserve(Newest { watch });
    }

    fn put_in_reserve<R: Record<ActorKind<A>>>(self: &Arc<Self>, record: R) {
        if let Ok(true) = self.mailbox.push_reserved(record) {
            self.schedule();
        }
    }

    fn begin_notice<M: Message>(&self, body: &Body<A>, tools: &mut Tools, notice: M) -> Poll<()>
    where
        A: Handler<M>,
    {
        if body.is_special() {
            return self.begin_full::<M, ByReturn>(body, tools, Envelope::tell(notice));
        }
        current::set_request(Inherited::NOTHING);
        self.begin::<M, ByReturn>(body, tools, notice, None, || Answer::to(None))
            .map(drop)
    }
}

/// Stashes a notice, unless it is for nobody.
#[cold]
fn put_off<A: Actor, R: Record<ActorKind<A>>>(
    body: &Body<A>,
    watch: &WatchState,
    notice: R,
) -> Poll<()> {
    if !watch.is_over() {
        body.with_ctx(|ctx| ctx.put_off_notice(notice));
    }
    Poll::Ready(())
}

/// The notice that ends a watch.
struct Last<M> {
    watch: Arc<WatchState>,
    notice: M,
}

impl<A: Handler<M>, M: Message> Record<ActorKind<A>> for Last<M> {
    fn consume(self, with: Use<'_, A>) -> Poll<()> {
        if let Use::Begin(_, body, _) = &with
            && body.holds::<M>()
        {
            // As it is: the watch can still be ended, with it or with its incarnation.
            return put_off(body, &self.watch.clone(), self);
        }
        if !self.watch.end() {
            return Poll::Ready(());
        }
        match with {
            Use::Begin(cell, body, tools) => cell.begin_notice(body, tools, self.notice),
            Use::Discard(cell, reason) => {
                cell.bury(Envelope::tell(self.notice), reason);
                Poll::Ready(())
            }
        }
    }
}

/// That there is an event which isn't the last.
struct Newest {
    watch: Arc<WatchState>,
}

impl<A: Handler<LifeEvent>> Record<ActorKind<A>> for Newest {
    fn consume(self, with: Use<'_, A>) -> Poll<()> {
        if let Use::Begin(_, body, _) = &with
            && body.holds::<LifeEvent>()
        {
            return put_off(body, &self.watch.clone(), self);
        }
        match (self.watch.take_newest(), with) {
            (Some(event), Use::Begin(cell, body, tools)) => cell.begin_notice(body, tools, event),
            _ => Poll::Ready(()),
        }
    }
}
