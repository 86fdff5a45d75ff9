//! The life of an actor over its incarnations, and who is told of it: watchers, links, names (G12, G13).

use std::any::Any;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::Cell;
use super::body::Ended;
use crate::actor::Actor;
use crate::counters::DropReason;
use crate::id::Incarnation;
use crate::mailbox::Control;
use crate::watch::{ExitReason, LifeEvent, OnEnd, OnLife, Terminated, Unwatch, WatchHandle};

/// Whether there is an incarnation, and who wants to know.
#[derive(Default)]
pub(super) struct Life {
    incarnation: Incarnation,
    exit: Option<ExitReason>,
    /// In a box because few have any.
    ties: Option<Box<Ties>>,
}

/// What is called once when an actor has ended, before its watchers are told.
pub(crate) type OnFree = Box<dyn FnOnce() + Send>;

/// What is called once when the incarnation that runs ends, whatever follows.
pub(crate) type OnIncarnationEnd = Box<dyn FnOnce(&ExitReason) + Send>;

/// Who is tied to an actor.
#[derive(Default)]
struct Ties {
    watchers: Watchers,
    /// Who forgets it before its watchers are told: the names it has.
    on_free: Vec<OnFree>,
    /// The incarnation has ended, and another may follow.
    is_down: bool,
    /// Why the incarnation before ended.
    last_end: Option<ExitReason>,
    /// Why somebody else wants the incarnation that runs to fail.
    failure: Option<String>,
    /// What an incarnation left behind for the next. Here, so that it goes with the end, also if somebody
    /// still has a reference: it may hold one itself.
    left: Option<Box<dyn Any + Send>>,
}

enum Watcher {
    End(OnEnd),
    Life(OnLife),
    Incarnation(OnIncarnationEnd),
}

/// Watchers by their numbers, in the order they came. Who left leaves a gap, until half are gaps.
#[derive(Default)]
struct Watchers {
    list: Vec<(u64, Option<Watcher>)>,
    gaps: usize,
    last: u64,
}

impl Watchers {
    fn add(&mut self, watcher: Watcher) -> u64 {
        self.last += 1;
        self.list.push((self.last, Some(watcher)));
        self.last
    }

    fn remove(&mut self, number: u64) -> Option<Watcher> {
        let place = self.list.binary_search_by_key(&number, |entry| entry.0);
        let watcher = self.list[place.ok()?].1.take()?;
        self.gaps += 1;
        if self.gaps > self.list.len() / 2 {
            self.list.retain(|(_, watcher)| watcher.is_some());
            self.gaps = 0;
        }
        Some(watcher)
    }

    /// Who wants to see every event.
    fn close(&self) -> Vec<OnLife> {
        let close = self.list.iter().filter_map(|(_, watcher)| match watcher {
            Some(Watcher::Life(on_event)) => Some(Arc::clone(on_event)),
            _ => None,
        });
        close.collect()
    }

    /// Takes those of one incarnation.
    fn take_of_incarnation(&mut self) -> Vec<OnIncarnationEnd> {
        let of_incarnation =
            |entry: &mut (u64, Option<Watcher>)| matches!(entry.1, Some(Watcher::Incarnation(_)));
        let taken = self.list.extract_if(.., of_incarnation);
        let taken = taken.filter_map(|(_, watcher)| match watcher {
            Some(Watcher::Incarnation(on_end)) => Some(on_end),
            _ => None,
        });
        taken.collect()
    }
}

impl<A: Actor> Cell<A> {
    pub(crate) fn begin_incarnation(&self) -> Incarnation {
        let mut life = self.life.lock();
        life.incarnation = life.incarnation.next();
        if let Some(ties) = &mut life.ties {
            ties.is_down = false;
            ties.failure = None;
        }
        life.incarnation
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.life.lock().incarnation
    }

    /// Whether an incarnation has begun and not ended; its own thread may be about to end it.
    pub(crate) fn has_incarnation(&self) -> bool {
        let life = self.life.lock();
        let down = life.ties.as_ref().is_some_and(|ties| ties.is_down);
        life.exit.is_none() && !down && life.incarnation >= Incarnation::FIRST
    }

    /// Whether there is an [`exit`](Self::exit).
    pub(crate) fn has_ended(&self) -> bool {
        self.life.lock().exit.is_some()
    }

    pub(crate) fn exit(&self) -> Option<ExitReason> {
        self.life.lock().exit.clone()
    }

    /// The incarnation is up: who watches closely is told of a restart.
    pub(super) fn incarnation_started(&self) {
        let life = self.life.lock();
        let incarnation = life.incarnation;
        let Some(ties) = &life.ties else { return };
        let Some(reason) = ties.last_end.clone() else {
            return;
        };
        let watchers = ties.watchers.close();
        drop(life);
        if watchers.is_empty() {
            return;
        }
        let event = LifeEvent::Restarted {
            id: self.id,
            label: self.label().to_string(),
            incarnation,
            reason,
        };
        for on_event in watchers {
            let event = event.clone();
            self.fenced(move || on_event(event));
        }
    }

    /// The incarnation has ended: those that are linked to it are told, whatever follows.
    pub(super) fn incarnation_ended(&self, ended: &Ended, another_may_follow: bool) {
        let mut life = self.life.lock();
        if another_may_follow {
            life.ties.get_or_insert_default().is_down = true;
        }
        let Some(ties) = &mut life.ties else { return };
        let reason = ended.to_reason();
        let linked = ties.watchers.take_of_incarnation();
        ties.last_end = Some(reason.clone());
        drop(life);
        for on_end in linked {
            on_end(&reason);
        }
    }

    /// Keeps for the next incarnation what this one left behind, if there can be one.
    pub(super) fn keep_left(&self, left: Box<dyn Any + Send>, another_may_follow: bool) {
        let mut left = Some(left);
        if another_may_follow {
            let mut life = self.life.lock();
            if life.exit.is_none() {
                let ties = life.ties.get_or_insert_default();
                std::mem::swap(&mut ties.left, &mut left);
            }
        }
        self.fenced(|| drop(left));
    }

    /// What the incarnation before left behind.
    pub(super) fn take_left(&self) -> Option<Box<dyn Any + Send>> {
        self.life.lock().ties.as_mut()?.left.take()
    }

    /// Calls `forget` once when the actor ends, before its watchers are told (G12). Gives it back if it has
    /// begun to end already.
    pub(crate) fn on_free(&self, forget: OnFree) -> Result<(), OnFree> {
        let mut life = self.life.lock();
        // Looked at under the lock: who ends the actor takes the list after it has set this.
        if self.ending.load(Ordering::Acquire) {
            return Err(forget);
        }
        life.ties.get_or_insert_default().on_free.push(forget);
        Ok(())
    }

    /// Makes that incarnation fail for that reason, as if the actor had said so; if it still runs.
    pub(crate) fn fail_from_outside(self: &Arc<Self>, incarnation: Incarnation, why: String) {
        let mut life = self.life.lock();
        if life.incarnation != incarnation || life.exit.is_some() {
            return;
        }
        let ties = life.ties.get_or_insert_default();
        if ties.is_down {
            return;
        }
        ties.failure.get_or_insert(why);
        // Under the lock, so that it can't hit the incarnation after: signals are cleared when that begins.
        let schedule = self.mailbox.control(Control::Fail);
        drop(life);
        if schedule {
            self.schedule();
        }
    }

    /// Why somebody else made the incarnation fail.
    pub(super) fn take_outer_failure(&self) -> Option<String> {
        self.life.lock().ties.as_mut()?.failure.take()
    }

    pub(crate) fn watch(self: &Arc<Self>, on_end: OnEnd) -> WatchHandle {
        match self.tie(Watcher::End(on_end)) {
            Ok(handle) => handle,
            Err((Watcher::End(on_end), reason)) => {
                on_end(self.terminated(reason));
                WatchHandle::over()
            }
            Err(_) => WatchHandle::over(),
        }
    }

    pub(crate) fn watch_life(self: &Arc<Self>, on_event: OnLife) -> WatchHandle {
        match self.tie(Watcher::Life(on_event)) {
            Ok(handle) => handle,
            Err((Watcher::Life(on_event), reason)) => {
                on_event(LifeEvent::Terminated(self.terminated(reason)));
                WatchHandle::over()
            }
            Err(_) => WatchHandle::over(),
        }
    }

    /// Calls `on_end` when the incarnation that runs ends, or the actor; at once, if it has. Before the first
    /// one, that is the one.
    pub(crate) fn watch_incarnation(self: &Arc<Self>, on_end: OnIncarnationEnd) -> WatchHandle {
        match self.tie(Watcher::Incarnation(on_end)) {
            Ok(handle) => handle,
            Err((Watcher::Incarnation(on_end), reason)) => {
                on_end(&reason);
                WatchHandle::over()
            }
            Err(_) => WatchHandle::over(),
        }
    }

    /// Gives the watcher back, with the reason, if the actor has ended; or the incarnation, if that is watched.
    fn tie(self: &Arc<Self>, watcher: Watcher) -> Result<WatchHandle, (Watcher, ExitReason)> {
        let mut life = self.life.lock();
        let mut over = life.exit.clone();
        if let Some(ties) = life.ties.as_ref().filter(|ties| ties.is_down)
            && matches!(watcher, Watcher::Incarnation(_))
        {
            over = over.or_else(|| ties.last_end.clone());
        }
        if let Some(reason) = over {
            return Err((watcher, reason));
        }
        let number = life.ties.get_or_insert_default().watchers.add(watcher);
        let subject: Weak<Self> = Arc::downgrade(self);
        Ok(WatchHandle::new(subject, number))
    }

    fn terminated(&self, reason: ExitReason) -> Terminated {
        Terminated {
            id: self.id,
            label: self.label().to_string(),
            reason,
            incarnation: self.incarnation(),
        }
    }

    /// Ends the actor for good: what is queued goes to dead letters, the name is freed, then watchers
    /// are told (G11, G12). Only the first call counts.
    pub(crate) fn end(&self, reason: ExitReason) {
        if self.ending.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut rest = self.mailbox.close();
        self.discard_all(&mut rest, DropReason::Stopped);
        self.home.strike(self.place.load(Ordering::Relaxed));
        let on_free = |ties: &mut Box<Ties>| std::mem::take(&mut ties.on_free);
        let on_free = self.life.lock().ties.as_mut().map(on_free);
        for forget in on_free.into_iter().flatten() {
            forget();
        }
        // Only now: who looks or begins to watch in between must not be told too early.
        let mut life = self.life.lock();
        life.exit = Some(reason);
        let ties = life.ties.take();
        let reason = ties.as_ref().and(life.exit.clone());
        drop(life);
        let Some((ties, reason)) = ties.zip(reason) else {
            return;
        };
        let Ties { watchers, left, .. } = *ties;
        self.fenced(|| drop(left));
        let notice = self.terminated(reason.clone());
        for watcher in watchers.list.into_iter().filter_map(|entry| entry.1) {
            // One that panics keeps nobody from being told, and harms nobody of this thread (G10).
            self.fenced(|| match watcher {
                Watcher::End(on_end) => on_end(notice.clone()),
                Watcher::Life(on_event) => on_event(LifeEvent::Terminated(notice.clone())),
                Watcher::Incarnation(on_end) => on_end(&reason),
            });
        }
    }
}

impl<A: Actor> Unwatch for Cell<A> {
    fn unwatch(&self, number: u64) {
        let mut life = self.life.lock();
        let watcher = life
            .ties
            .as_mut()
            .and_then(|ties| ties.watchers.remove(number));
        // What the watcher holds may look at this actor when it is dropped.
        drop(life);
        drop(watcher);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{Actor, ActorRef, Context, Handler, Message, Simulation};

    struct Plain;
    impl Actor for Plain {}

    struct LinkTo(ActorRef<Plain>);
    impl Message for LinkTo {
        type Reply = ();
    }
    impl Handler<LinkTo> for Plain {
        async fn handle(&mut self, LinkTo(other): LinkTo, ctx: &mut Context<Self>) {
            ctx.link(&other);
        }
    }

    /// An actor that lives long and is linked to many that stop holds nothing of them.
    #[test]
    fn a_link_to_one_that_has_stopped_is_forgotten() {
        let mut simulation = Simulation::new(1);
        let system = simulation.system().clone();
        simulation.block_on(async move {
            let hub = system.start(Plain);
            for _ in 0..100 {
                let other = system.start(Plain);
                assert!(hub.ask(LinkTo(other.clone())).await.is_ok());
                other.stop();
                other.wait().await;
            }
            let life = hub.cell().life.lock();
            let watchers = life
                .ties
                .as_ref()
                .map_or(0, |ties| ties.watchers.list.len());
            assert!(watchers <= 1, "{watchers} are left");
            drop(life);
            assert_eq!(Arc::weak_count(hub.cell()), 0);
        });
    }
}
