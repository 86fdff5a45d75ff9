//! What outlives the incarnations of an actor: its id, its mailbox, its watchers.
//!
//! References point here, so they stay valid over restarts, and what is queued is kept (G13).

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::actor::Actor;
use crate::admission::{Admission, Admitted};
use crate::boundary::{Boundary, Verdict};
use crate::counters::DropReason;
use crate::dead_letter::DeadLetter;
use crate::envelope::{Envelope, Meta};
use crate::error::{Failure, FailureKind};
use crate::executor;
use crate::id::{ActorId, Incarnation};
use crate::letter::{Letter, Record};
use crate::mailbox::{Control, Dropped, Mailbox, MailboxState, Rejected};
use crate::message::Message;
use crate::route::Refused;
use crate::system::System;
use crate::watch::{ExitReason, OnEnd, Terminated, Watch};

pub(crate) type Admissions = BTreeMap<TypeId, Box<dyn Any + Send + Sync>>;

pub(crate) struct Cell<A: Actor> {
    pub(crate) id: ActorId,
    pub(crate) label: Arc<str>,
    pub(crate) arbiter: usize,
    pub(crate) mailbox: Mailbox<Box<dyn Record<A>>>,
    /// A supervisor owns its incarnations; the system's shutdown leaves it to that supervisor.
    pub(crate) owned: bool,
    system: System,
    admissions: Admissions,
    life: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    incarnation: Incarnation,
    exit: Option<ExitReason>,
    watchers: Vec<OnEnd>,
}

impl<A: Actor> Cell<A> {
    pub(crate) fn new(
        system: &System,
        label: Arc<str>,
        arbiter: usize,
        mailbox: Mailbox<Box<dyn Record<A>>>,
        admissions: Admissions,
        owned: bool,
    ) -> Arc<Self> {
        let cell = Arc::new(Cell {
            id: ActorId::fresh(),
            label,
            arbiter,
            mailbox,
            owned,
            system: system.clone(),
            admissions,
            life: Mutex::default(),
        });
        system.register(cell.id, Arc::clone(&cell) as Arc<dyn AnyCell>);
        cell
    }

    pub(crate) fn system(&self) -> &System {
        &self.system
    }

    pub(crate) fn boundary(&self) -> Boundary {
        match executor::here() {
            Some(here) if here.arbiter == self.arbiter && here.system.is(&self.system) => {
                Boundary::SameThread
            }
            _ => Boundary::SameProcess,
        }
    }

    pub(crate) fn begin_incarnation(&self) -> Incarnation {
        let mut life = self.life.lock();
        life.incarnation = life.incarnation.next();
        life.incarnation
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.life.lock().incarnation
    }

    pub(crate) fn exit(&self) -> Option<ExitReason> {
        self.life.lock().exit.clone()
    }

    /// Runs what stands before the mailbox.
    pub(crate) fn admit<M: Message>(&self, envelope: Envelope<M>) -> Admitted<M> {
        let admission = self
            .admissions
            .get(&TypeId::of::<M>())
            .and_then(|any| any.downcast_ref::<Arc<dyn Admission<M>>>());
        match admission {
            Some(admission) => admission.admit(envelope),
            None => Admitted::Pass(envelope),
        }
    }

    /// Puts an admitted message into the mailbox, or says why not.
    pub(crate) fn put<M: Message, How: 'static>(
        &self,
        envelope: Envelope<M>,
    ) -> Result<(), Refused<M>>
    where
        A: crate::actor::Receives<M, How>,
    {
        match self.mailbox.push(Letter::<M, How>::boxed(envelope)) {
            Ok(Dropped::None) => Ok(()),
            Ok(Dropped::Newest(record)) => {
                record.discard(DropReason::DropNewest, self);
                Ok(())
            }
            Ok(Dropped::Oldest(record)) => {
                record.discard(DropReason::DropOldest, self);
                Ok(())
            }
            Err(rejected) => Err(self.refuse::<M, How>(rejected)),
        }
    }

    /// Turns a rejection back into the message it was.
    pub(crate) fn refuse<M: Message, How: 'static>(
        &self,
        rejected: Rejected<Box<dyn Record<A>>>,
    ) -> Refused<M>
    where
        A: crate::actor::Receives<M, How>,
    {
        let (record, kind, may_wait) = match rejected {
            Rejected::MustWait(record) => (record, FailureKind::Full, true),
            Rejected::Full(record) => (record, FailureKind::Full, false),
            Rejected::Closed(record) => (record, FailureKind::Stopped, false),
        };
        let failure = Failure::new(kind, Verdict::NotExecuted).with_detail(self.label.to_string());
        let envelope = Letter::<M, How>::unbox(record);
        Refused {
            envelope,
            failure,
            may_wait,
        }
    }

    /// Gives a message up: its asker is told, and it goes to dead letters.
    pub(crate) fn bury<M: Message>(&self, envelope: Envelope<M>, reason: DropReason) {
        let Envelope {
            message,
            meta,
            responder,
        } = envelope;
        let Meta { key, .. } = meta;
        let kind = match reason {
            DropReason::Expired => FailureKind::DeadlineExceeded,
            DropReason::Withdrawn => FailureKind::Withdrawn,
            DropReason::DropNewest | DropReason::DropOldest => FailureKind::Full,
            _ => FailureKind::Stopped,
        };
        responder
            .fail(Failure::new(kind, Verdict::NotExecuted).with_detail(self.label.to_string()));
        self.system.dead_letters().push(DeadLetter {
            at: self.system.clock().now(),
            target: self.label.to_string(),
            message_type: std::any::type_name::<M>(),
            reason,
            key,
            message: Box::new(message),
        });
    }

    /// Ends the actor for good: what is queued goes to dead letters, the name is freed, then watchers
    /// are told (G11, G12). Only the first call counts.
    pub(crate) fn end(&self, reason: ExitReason) {
        let mut life = self.life.lock();
        if life.exit.is_some() {
            return;
        }
        life.exit = Some(reason.clone());
        let incarnation = life.incarnation;
        drop(life);
        for record in self.mailbox.close() {
            record.discard(DropReason::Stopped, self);
        }
        self.system.forget(self.id);
        let notice = Terminated {
            id: self.id,
            label: self.label.to_string(),
            reason,
            incarnation,
        };
        let watchers = std::mem::take(&mut self.life.lock().watchers);
        for watcher in watchers {
            watcher(notice.clone());
        }
    }
}

impl<A: Actor> Watch for Cell<A> {
    fn watch(&self, on_end: OnEnd) {
        let mut life = self.life.lock();
        let Some(reason) = life.exit.clone() else {
            life.watchers.push(on_end);
            return;
        };
        let incarnation = life.incarnation;
        drop(life);
        on_end(Terminated {
            id: self.id,
            label: self.label.to_string(),
            reason,
            incarnation,
        });
    }
}

impl<A: Actor> fmt::Debug for Cell<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell")
            .field("id", &self.id)
            .field("label", &self.label)
            .field("mailbox", &self.mailbox)
            .finish_non_exhaustive()
    }
}

/// One actor as a list of all actors shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ActorSnapshot {
    /// Its id.
    pub id: ActorId,
    /// Its name, or its type's.
    pub label: String,
    /// The arbiter it runs on.
    pub arbiter: usize,
    /// How often it has been started.
    pub incarnation: Incarnation,
    /// How full its mailbox is.
    pub mailbox: MailboxState,
}

/// A cell whose actor type doesn't matter.
pub(crate) trait AnyCell: Watch + Send + Sync {
    fn snapshot(&self) -> ActorSnapshot;
    fn is_owned(&self) -> bool;
    fn signal(&self, control: Control);
    fn abandon(&self, reason: ExitReason);
}

impl<A: Actor> AnyCell for Cell<A> {
    fn snapshot(&self) -> ActorSnapshot {
        ActorSnapshot {
            id: self.id,
            label: self.label.to_string(),
            arbiter: self.arbiter,
            incarnation: self.incarnation(),
            mailbox: self.mailbox.state(),
        }
    }

    fn is_owned(&self) -> bool {
        self.owned
    }

    fn signal(&self, control: Control) {
        self.mailbox.control(control);
    }

    fn abandon(&self, reason: ExitReason) {
        self.end(reason);
    }
}
