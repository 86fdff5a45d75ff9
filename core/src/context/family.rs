//! The children of an incarnation: they end before it does.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;

use super::Context;
use crate::actor::Actor;
use crate::cell::{AnyCell, Cell};
use crate::clock::Clock;
use crate::id::ActorId;
use crate::mailbox::Control;
use crate::spawn::Spawn;

/// How long a child has to stop before it is killed: OTP's default for workers.
const CHILD_GRACE: Duration = Duration::from_secs(5);

impl<A: Actor> Context<A> {
    /// Prepares the start of a child: an actor that ends when this incarnation does. It lives on the same
    /// arbiter unless told otherwise.
    ///
    /// When this actor stops, its children are stopped first, one after the other, the newest first, each
    /// with 5 s to do so before it is killed. When it panics or is killed, they are killed; its own end is
    /// reported only when they have ended (G13). A child that ends by itself changes nothing here: who wants
    /// to know watches it, who wants it started again has a supervisor.
    ///
    /// What is prepared here and then [placed](Spawn::place) belongs to whoever owns the place, and what
    /// [`lookup_or_start`](crate::Names::lookup_or_start) starts to nobody; neither is a child of this actor. A child that is started when this incarnation has ended is killed at once.
    pub fn child<F>(&mut self, factory: F) -> Spawn<F> {
        let family = Arc::clone(self.rare().family.get_or_insert_default());
        Spawn::child(self.system(), self.cell.home(), family, factory)
    }

    /// How many children it has.
    #[must_use]
    pub fn children(&self) -> usize {
        let rare = self.rare.as_ref();
        let family = rare.and_then(|rare| rare.family.as_ref());
        family.map_or(0, |family| family.table.lock().children.len())
    }

    /// Stops the children, and waits until they have ended.
    pub(crate) async fn end_children(&mut self) {
        let Some(family) = self.rare.as_ref().and_then(|rare| rare.family.clone()) else {
            return;
        };
        for child in family.seal().into_iter().rev() {
            end(child, self.system().clock()).await;
        }
    }
}

async fn end(child: Arc<dyn AnyCell>, clock: &Clock) {
    let (over, mut is_over) = futures::channel::oneshot::channel::<()>();
    Arc::clone(&child).on_end(Box::new(move |_| drop(over)));
    Arc::clone(&child).send_signal(Control::Stop);
    let mut grace = pin!(clock.sleep(CHILD_GRACE));
    let in_time = std::future::poll_fn(|cx| {
        if std::pin::Pin::new(&mut is_over).poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        grace.as_mut().poll(cx).map(|()| false)
    });
    if !in_time.await {
        child.send_signal(Control::Kill);
        // Code that never yields can't be killed (G11): then this actor can't end either.
        let _ = is_over.await;
    }
}

/// The children of one incarnation, as they and it see them.
#[derive(Default)]
pub(crate) struct Family {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// The incarnation is ending: nobody is added any more.
    sealed: bool,
    children: BTreeMap<ActorId, Arc<dyn AnyCell>>,
}

impl Family {
    /// Adds a child, before it starts. `false` if the parent is ending.
    pub(crate) fn add<B: Actor>(self: &Arc<Self>, cell: &Arc<Cell<B>>) -> bool {
        let mut table = self.table.lock();
        if table.sealed {
            return false;
        }
        let id = cell.id;
        table
            .children
            .insert(id, Arc::clone(cell) as Arc<dyn AnyCell>);
        drop(table);
        let family = Arc::downgrade(self);
        // It hasn't been started, so it can't have ended.
        let _ = cell.on_free(Box::new(move || {
            if let Some(family) = family.upgrade() {
                let child = family.table.lock().children.remove(&id);
                drop(child);
            }
        }));
        true
    }

    /// Takes no more, and answers who is there, in the order they were made.
    pub(super) fn seal(&self) -> Vec<Arc<dyn AnyCell>> {
        let mut table = self.table.lock();
        table.sealed = true;
        table.children.values().cloned().collect()
    }
}
