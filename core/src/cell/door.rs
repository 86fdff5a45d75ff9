//! An actor as what stands before it sees it, and the way into its mailbox for what was held back there.

use std::marker::PhantomData;
use std::sync::{Arc, Weak};

use futures::future::BoxFuture;

use super::Cell;
use crate::actor::{Actor, Receives};
use crate::actor_ref::ActorRef;
use crate::admission::{Behind, Door};
use crate::boundary::Verdict;
use crate::envelope::Envelope;
use crate::error::{Failure, FailureKind};
use crate::id::ActorId;
use crate::message::Message;
use crate::route::Refused;

pub(super) struct AtDoor<'a, A: Actor, How> {
    cell: &'a Arc<Cell<A>>,
    how: PhantomData<fn() -> How>,
}

impl<'a, A: Actor, How> AtDoor<'a, A, How> {
    pub(super) fn of(cell: &'a Arc<Cell<A>>) -> Self {
        AtDoor {
            cell,
            how: PhantomData,
        }
    }
}

impl<A, M, How> Door<M> for AtDoor<'_, A, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    fn actor(&self) -> ActorId {
        self.cell.id
    }

    fn label(&self) -> Arc<str> {
        self.cell.label()
    }

    fn name(&self) -> Option<Arc<str>> {
        self.cell.given_label().cloned()
    }

    fn behind(&self, passed: usize) -> Box<dyn Behind<M>> {
        Box::new(BehindDoor::<A, How> {
            cell: Arc::downgrade(self.cell),
            passed,
            how: PhantomData,
        })
    }
}

struct BehindDoor<A: Actor, How> {
    cell: Weak<Cell<A>>,
    passed: usize,
    how: PhantomData<fn() -> How>,
}

impl<A, M, How> Behind<M> for BehindDoor<A, How>
where
    A: Receives<M, How>,
    M: Message,
    How: 'static,
{
    fn send(&self, envelope: Envelope<M>) -> Result<(), Refused<M>> {
        match self.cell.upgrade() {
            Some(cell) => ActorRef::new(cell).send_behind::<M, How>(envelope, self.passed),
            None => Err(Refused::for_good(envelope, gone())),
        }
    }

    fn wait_for_room(&self, envelope: Envelope<M>) -> BoxFuture<'static, Result<(), Refused<M>>> {
        // From here on the mailbox tells when the actor ends.
        match self.cell.upgrade() {
            Some(cell) => Box::pin(async move {
                let actor = ActorRef::new(cell);
                actor.wait_behind::<M, How>(envelope).await
            }),
            None => Box::pin(async move { Err(Refused::for_good(envelope, gone())) }),
        }
    }
}

fn gone() -> Failure {
    Failure::new(FailureKind::Stopped, Verdict::NotExecuted)
}
