//! The time of handlers that have a [limit](crate::Spawn::handler_limit).
//!
//! Others pay nothing for it: an actor with a limit is special, so its messages all come through one place that is
//! no hot path, and while such a handler waits the actor is in a [stage](Stage::Limited) of its own.

use std::sync::{Arc, Weak};

use futures::future::{AbortHandle, Abortable};

use super::Cell;
use super::body::{Body, Stage};
use crate::actor::Actor;
use crate::progress::{Progress, Teller};
use crate::sync::What;

/// A handler with a limit has its first poll. When that is over it has ended, or waits.
pub(super) struct FirstPoll<'a, A: Actor> {
    cell: &'a Cell<A>,
    body: &'a Body<A>,
    progress: &'a Arc<Progress>,
}

impl<A: Actor> Drop for FirstPoll<'_, A> {
    fn drop(&mut self) {
        if self.body.is_handling() {
            self.body.stage.set(Stage::Limited);
            self.cell.set_alarm(self.progress);
        } else {
            self.progress.end();
        }
    }
}

impl<A: Actor> Cell<A> {
    fn progress(&self) -> Option<&Arc<Progress>> {
        self.rare.as_ref()?.progress.as_ref()
    }

    /// Puts it on the list of those whose handlers have a limit, if they have.
    pub(super) fn list_progress(self: &Arc<Self>) {
        if let Some(progress) = self.progress() {
            let cell: Weak<Self> = Arc::downgrade(self);
            progress.belongs_to(cell);
            self.system.watch_progress(progress);
        }
    }

    /// Whether its handlers have a limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.progress().is_some()
    }

    /// The handler of a message of type `M` begins. Until the answer is dropped it is polled for the first time.
    #[cold]
    pub(super) fn progress_begins<'a, M>(&'a self, body: &'a Body<A>) -> Option<FirstPoll<'a, A>> {
        let progress = self.progress()?;
        progress.hand().set::<M>();
        progress.begin_stretch();
        Some(FirstPoll {
            cell: self,
            body,
            progress,
        })
    }

    /// The hook `started` begins.
    pub(super) fn started_begins(&self) {
        if let Some(progress) = self.progress() {
            progress.hand().put(What::STARTED);
            progress.begin_stretch();
            self.set_alarm(progress);
        }
    }

    /// The handler gets on: its time begins anew.
    pub(crate) fn progress_renews(&self) {
        if let Some(progress) = self.progress().filter(|progress| progress.number() != 0) {
            progress.begin_stretch();
            self.set_alarm(progress);
        }
    }

    /// The handler that waited has ended, however.
    pub(super) fn progress_ends(&self) {
        if let Some(progress) = self.progress() {
            progress.end();
        }
    }

    /// Who is told of handlers that take too long, until it is told of the end; nobody from `None` on.
    pub(super) fn set_progress_owner(&self, owner: impl FnOnce() -> Option<Teller>) {
        if let Some(progress) = self.progress() {
            progress.set_owner(owner());
        }
    }

    /// In virtual time: reports the stretch in hand when it has lasted for the limit. In real time the watchdog does.
    fn set_alarm(&self, progress: &Arc<Progress>) {
        let clock = self.system.clock();
        if !clock.is_manual() {
            return;
        }
        let (since, number, limit) = (clock.now(), progress.number(), progress.limit());
        let due = clock.sleep(limit);
        let (handle, registration) = AbortHandle::new_pair();
        progress.set_alarm(Some(handle));
        let late = Arc::downgrade(progress);
        let alarm = Abortable::new(due, registration);
        self.home.spawn_here(Box::pin(async move {
            if alarm.await.is_ok()
                && let Some(progress) = late.upgrade()
            {
                progress.report(number, since, limit);
            }
        }));
    }
}
