//! One worker of a pool: an actor in a place, which is started again until it is to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use futures::future::{AbortHandle, abortable};
use parking_lot::Mutex;

use super::roster::Roster;
use crate::actor::Actor;
use crate::actor_ref::ActorRef;
use crate::clock::Instant;
use crate::fault::FailureClass;
use crate::place::{ChildEvent, Place, Terms};
use crate::spawn::Placement;
use crate::watch::ExitReason;

/// What is wanted of a worker. It only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    Serve,
    Drain,
    Stop,
    Kill,
}

pub(super) struct Worker<A: Actor> {
    pub(super) actor: ActorRef<A>,
    place: Arc<dyn Place>,
    standing: AtomicU8,
    life: Mutex<Life>,
}

/// What senders are to know of it.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Standing {
    Starting,
    Up,
    /// Failed, and waiting to be made anew.
    Down,
}

struct Life {
    wish: Wish,
    phase: Phase,
    /// Failures in a row.
    failures: u32,
    /// When the incarnation came up.
    up_since: Option<Instant>,
}

enum Phase {
    /// There is no incarnation. If one is to be started, by a task that this ends.
    Down(Option<AbortHandle>),
    /// There is one, or one is being started; its end will be told.
    Running,
    /// There will be none any more.
    Closed,
}

impl<A: Actor> Worker<A> {
    pub(super) fn new(actor: ActorRef<A>, place: Arc<dyn Place>) -> Arc<Self> {
        Arc::new(Worker {
            actor,
            place,
            standing: AtomicU8::new(Standing::Starting as u8),
            life: Mutex::new(Life {
                wish: Wish::Serve,
                phase: Phase::Down(None),
                failures: 0,
                up_since: None,
            }),
        })
    }

    pub(super) fn is_down(&self) -> bool {
        self.standing.load(Ordering::Relaxed) == Standing::Down as u8
    }

    fn stand(&self, standing: Standing) {
        self.standing.store(standing as u8, Ordering::Relaxed);
    }

    /// How much it has to do, in half messages, the one in hand included. To start is half a message: less
    /// than what a busy worker has before it, and more than nothing.
    pub(super) fn load(&self) -> usize {
        let cell = self.actor.cell();
        if self.standing.load(Ordering::Relaxed) == Standing::Starting as u8 {
            return 2 * cell.mailbox.load().0 + 1;
        }
        // A handler is in hand while it runs, and while it waits. It may go from one to the other, or from
        // the mailbox to the first, between two looks; so this looks at both ends.
        let runs = || cell.home().in_hand().actor() == cell.id.as_u64();
        let ran = runs();
        let (queued, awaiting) = cell.mailbox.load();
        2 * (queued + usize::from(ran || awaiting || runs()))
    }

    pub(super) fn queued(&self) -> usize {
        self.actor.cell().mailbox.load().0
    }

    /// Starts an incarnation, if there is none and there is to be one.
    pub(super) fn start(self: &Arc<Self>, roster: &Arc<Roster<A>>) {
        let mut life = self.life.lock();
        if !matches!(life.phase, Phase::Down(_)) {
            return;
        }
        life.phase = Phase::Running;
        self.stand(Standing::Starting);
        drop(life);
        let (worker, its_roster) = (Arc::clone(self), Arc::clone(roster));
        let terms = Terms::new(Arc::new(move |_, event| {
            worker.on_event(&its_roster, &event);
        }));
        self.place.start(terms.resume_after(FailureClass::Benign));
        // A start takes back signals that came before it; one may have come since `phase` was set.
        let wish = self.life.lock().wish;
        self.signal(wish);
    }

    /// Ends it, as is wished.
    pub(super) fn end(self: &Arc<Self>, wish: Wish, roster: &Arc<Roster<A>>) {
        // First the mailbox: what is in it then is all it will ever have.
        self.actor.drain();
        let mut life = self.life.lock();
        life.wish = life.wish.max(wish);
        let wish = life.wish;
        match &mut life.phase {
            Phase::Running => {
                drop(life);
                self.signal(wish);
            }
            Phase::Down(_) if self.is_done(wish) => {
                let before = std::mem::replace(&mut life.phase, Phase::Closed);
                drop(life);
                if let Phase::Down(Some(task)) = before {
                    task.abort();
                }
                self.close(wish, roster);
            }
            // It will be made anew for what it has left.
            Phase::Down(_) | Phase::Closed => {}
        }
    }

    fn signal(&self, wish: Wish) {
        match wish {
            Wish::Serve => {}
            // An incarnation may have carried it out while another message came.
            Wish::Drain => self.actor.drain(),
            Wish::Stop => self.place.stop(),
            Wish::Kill => self.place.kill(),
        }
    }

    /// Whether no incarnation is needed any more. Asked when there is none.
    fn is_done(&self, wish: Wish) -> bool {
        wish >= Wish::Stop || (wish == Wish::Drain && self.queued() == 0)
    }

    fn on_event(self: &Arc<Self>, roster: &Arc<Roster<A>>, event: &ChildEvent) {
        match event {
            ChildEvent::Started => {
                self.life.lock().up_since = Some(roster.system().clock().now());
                self.stand(Standing::Up);
            }
            event if event.is_last() => self.on_end(roster),
            _ => {}
        }
    }

    /// The incarnation has fully ended.
    fn on_end(self: &Arc<Self>, roster: &Arc<Roster<A>>) {
        self.stand(Standing::Down);
        let system = roster.system();
        let backoff = &roster.options().backoff;
        let mut life = self.life.lock();
        let wish = life.wish;
        if self.is_done(wish) {
            life.phase = Phase::Closed;
            drop(life);
            return self.close(wish, roster);
        }
        let up_since = life.up_since.take();
        if up_since.is_some_and(|since| system.clock().now().since(since) >= backoff.stable) {
            life.failures = 0;
        }
        let delay = system.entropy().jitter(backoff.ceiling(life.failures));
        life.failures = life.failures.saturating_add(1);
        let (worker, its_roster) = (Arc::clone(self), Arc::clone(roster));
        let due = system.clock().sleep(delay);
        let (task, handle) = abortable(async move {
            due.await;
            worker.start(&its_roster);
        });
        life.phase = Phase::Down(Some(handle));
        drop(life);
        roster.count_restart();
        let here = Placement::Pinned(self.actor.arbiter());
        let make = move || async move {
            // Aborted by whoever ends the worker meanwhile.
            let _ = task.await;
        };
        if !system.spawn(here, make) {
            // The system is shut down: nobody makes it anew.
            self.end(Wish::Stop, roster);
        }
    }

    /// Gives up what is queued, and tells. After `phase` was set to `Closed`, by whoever set it.
    fn close(self: &Arc<Self>, wish: Wish, roster: &Arc<Roster<A>>) {
        self.place.close(match wish {
            Wish::Kill => ExitReason::Killed,
            _ => ExitReason::Stopped,
        });
        roster.on_closed(self);
    }
}
