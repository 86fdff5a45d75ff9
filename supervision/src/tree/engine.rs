//! The rules of one supervisor, as a machine: what has happened and what is wanted goes in, what is to be done comes
//! out. It calls nobody and waits for nothing, so that all of it runs under one lock, and against a model in tests.
//!
//! # How it thinks
//! - A child is in one [`Stage`]. What follows its end, when somebody asked for that end, is its [`Then`].
//! - Children that belong to an ordered start (the first one of an incarnation, or that of a group) are in
//!   `sequence`; the first of it starts next, once the one before is up (G15).
//! - Children of a group that are to end first are in `to_stop`; the last of it is asked next, once the one after has
//!   ended. Nobody of the sequence starts while one of the group still lives (G13).
//! - Whatever must happen at some time has an entry in `dues`: the end of a back-off, of a shutdown time, of a
//!   start limit.
//!
//! So everything is served at any time: a request to stop during a back-off (G16), a failure of an earlier child
//! while a group is being started again (the group grows), an order to remove a child that is stopping.

mod ends;
mod orders;
mod slot;
mod starts;
mod stops;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::clock::Instant;
use callboard_core::{ChildEvent, Entropy, ExitReason, Fault, Incarnation};
use serde::Serialize;

use super::backoff::Backoff;
use super::child::Spec;
use super::event::{Happened, TreeEventKind};
use super::intensity::Intensity;
use super::strategy::{AutoShutdown, Strategy};

pub use orders::ChildErrorKind;
pub(crate) use orders::{Answer, Order, Waiter};
pub(crate) use slot::{Slot, Stage};

/// How long a killed child has to end before it is reported as stuck. Only code that never yields, a process the kernel
/// can't end, or a child that can't be reached takes longer (G11).
const KILL_GRACE: Duration = Duration::from_secs(5);

/// A child of one supervisor, for as long as that has it. Numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ChildId(pub(crate) u64);

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a supervisor was told when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) strategy: Strategy,
    pub(crate) intensity: (usize, Duration),
    pub(crate) backoff: Backoff,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) max_children: usize,
}

/// How an incarnation of a supervisor ended. Its children have, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// It was asked to.
    Stopped,
    /// Its significant children have ended.
    AutoShutdown,
    /// Too many restarts, or a failure that was passed on; with the chain of causes.
    GaveUp(Fault),
}

/// What is to be done, outside the lock and in this order.
pub(crate) enum Action {
    /// With the number of the life that begins.
    Start(ChildId, u64, Arc<Spec>),
    Stop(Arc<Spec>),
    Kill(Arc<Spec>),
    /// No incarnation follows.
    Close(Arc<Spec>, ExitReason),
    /// Every child is up, or has been and is not wanted any more.
    Up,
    /// All that was closed before is.
    Closed,
    Answer(Answer),
    Tell(Happened),
    /// The last that is known of it: its place may be dropped by that, which is the code of others.
    Forget(Arc<Spec>),
}

impl Action {
    /// Whom it is about.
    pub(crate) fn spec(&self) -> Option<&Arc<Spec>> {
        match self {
            Action::Start(_, _, spec)
            | Action::Stop(spec)
            | Action::Kill(spec)
            | Action::Close(spec, _)
            | Action::Forget(spec) => Some(spec),
            Action::Tell(happened) => Some(&happened.spec),
            Action::Up | Action::Closed | Action::Answer(_) => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// There is no incarnation.
    Gone,
    Starting,
    Up,
    Ending,
}

pub(crate) struct Engine {
    pub(crate) rules: Rules,
    entropy: Entropy,
    /// Boxed: the nodes of a map that grows at its end are half empty, and a slot is large.
    slots: BTreeMap<ChildId, Box<Slot>>,
    last_id: u64,
    mode: Mode,
    /// This incarnation, or the last if there is none, was up once.
    was_up: bool,
    window: Intensity,
    /// Why it ends, from when that is known.
    end: Option<End>,
    /// Ordered starts.
    sequence: BTreeSet<ChildId>,
    /// Nobody of the sequence starts before.
    group_until: Instant,
    /// Ordered stops.
    to_stop: BTreeSet<ChildId>,
    /// Whose turn it is.
    stopping: Option<ChildId>,
    /// Of a group that is started again: those whose last incarnation still lives.
    lingering: BTreeSet<ChildId>,
    dues: BTreeSet<(Instant, ChildId)>,
    live: usize,
    stuck: usize,
    actions: Vec<Action>,
}

impl Engine {
    pub(crate) fn new(rules: Rules, entropy: Entropy) -> Self {
        let (max, period) = rules.intensity;
        Engine {
            rules,
            entropy,
            slots: BTreeMap::new(),
            last_id: 0,
            mode: Mode::Gone,
            was_up: false,
            window: Intensity::new(max, period),
            end: None,
            sequence: BTreeSet::new(),
            group_until: Instant::default(),
            to_stop: BTreeSet::new(),
            stopping: None,
            lingering: BTreeSet::new(),
            dues: BTreeSet::new(),
            live: 0,
            stuck: 0,
            actions: Vec::new(),
        }
    }

    /// One more child; it starts with the next incarnation.
    pub(crate) fn add(&mut self, spec: Arc<Spec>) -> ChildId {
        self.last_id += 1;
        let id = ChildId(self.last_id);
        self.slots.insert(id, Box::new(Slot::new(spec)));
        id
    }

    /// A new incarnation of the supervisor begins. None of the children lives.
    pub(crate) fn begin(&mut self) {
        let (max, period) = self.rules.intensity;
        self.window = Intensity::new(max, period);
        self.mode = Mode::Starting;
        self.was_up = false;
        self.end = None;
        self.group_until = Instant::default();
        self.to_stop.clear();
        self.stopping = None;
        self.lingering.clear();
        self.dues.clear();
        for (id, slot) in &mut self.slots {
            slot.due = None;
            if !matches!(slot.stage, Stage::Ended { .. } | Stage::Held) {
                slot.stage = Stage::Waiting;
                slot.attempt = 0;
                self.sequence.insert(*id);
            }
        }
    }

    /// Something happened to a child, in that life of it.
    pub(crate) fn event(
        &mut self,
        id: ChildId,
        life: u64,
        event: ChildEvent,
        number: Incarnation,
        now: Instant,
    ) {
        let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.lives(life)) else {
            // A place that says more than it should: of a life that is over.
            return;
        };
        slot.incarnation = number.0;
        match event {
            ChildEvent::Started => self.came_up(id, now),
            ChildEvent::StartFailed(fault) => self.gone(id, ExitReason::Failed(fault), now),
            ChildEvent::Ignored => self.ignored(id, now),
            ChildEvent::Ended(reason) => self.gone(id, reason, now),
            ChildEvent::NoProgress(what) => self.frozen(id, what, now),
            ChildEvent::NoConnection => {
                slot.unreachable = true;
                self.tell(id, |slot| Happened::of(slot, TreeEventKind::NoConnection));
            }
            ChildEvent::Reconnected => {
                slot.unreachable = false;
                self.tell(id, |slot| Happened::of(slot, TreeEventKind::Reconnected));
            }
            ChildEvent::Stuck => self.stuck(id),
            // `Resumed` was noted where it happened; what this version doesn't know is no end.
            _ => {}
        }
    }

    /// It is to end, unless it does already.
    pub(crate) fn finish(&mut self, end: End) {
        if self.end.is_some() || self.mode == Mode::Gone {
            return;
        }
        self.end = Some(end);
        self.mode = Mode::Ending;
        self.stop_all();
    }

    /// Does what time and the last events have made possible.
    pub(crate) fn go_on(&mut self, now: Instant) {
        self.pass_dues(now);
        self.go_on_stopping(now);
        self.go_on_starting(now);
    }

    /// How it ended, once all of it has.
    pub(crate) fn outcome(&self) -> Option<&End> {
        let all = self.to_stop.is_empty() && self.live == self.stuck;
        self.end.as_ref().filter(|_| all)
    }

    /// When to go on, if nothing happens before.
    pub(crate) fn next_due(&self) -> Instant {
        let due = self.dues.first().map_or(Instant::FAR, |(due, _)| *due);
        if self.sequence.is_empty() || !self.lingering.is_empty() {
            return due;
        }
        match self.first_of_sequence() {
            Some(Stage::Waiting) => due.min(self.group_until),
            Some(Stage::BackingOff { until }) => due.min(until.max(self.group_until)),
            _ => due,
        }
    }

    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.mode == Mode::Up
    }

    /// Whether this incarnation, or the last if there is none, was ever up.
    pub(crate) fn was_up(&self) -> bool {
        self.was_up
    }

    /// Whether it has begun to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.mode == Mode::Ending
    }

    pub(crate) fn lives(&self) -> bool {
        self.live > 0
    }

    /// Whether children live, and none of them can be ended.
    pub(crate) fn only_stuck(&self) -> bool {
        self.live > 0 && self.live == self.stuck
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = (ChildId, &Slot)> {
        self.slots.iter().map(|(id, slot)| (*id, &**slot))
    }

    /// How many restarts count now.
    pub(crate) fn restarts_counted(&self, now: Instant) -> usize {
        self.window.counted_at(now)
    }

    /// A failure after which the child went on.
    pub(crate) fn resumed(&mut self, id: ChildId, fault: Fault) -> Option<&Slot> {
        let slot = self.slots.get_mut(&id)?;
        slot.resumed += 1;
        slot.last = Some(ExitReason::Failed(fault));
        Some(slot)
    }

    fn first_of_sequence(&self) -> Option<Stage> {
        let id = self.sequence.first()?;
        self.slots.get(id).map(|slot| slot.stage)
    }

    fn tell(&mut self, id: ChildId, happened: impl FnOnce(&Slot) -> Happened) {
        if let Some(slot) = self.slots.get(&id) {
            let happened = happened(slot);
            self.actions.push(Action::Tell(happened));
        }
    }

    /// Sets when something is to happen to a child, in place of what was to.
    fn set_due(&mut self, id: ChildId, due: Option<Instant>) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut slot.due, due) {
            self.dues.remove(&(before, id));
        }
        if let Some(due) = due {
            self.dues.insert((due, id));
        }
    }

    /// Does what time has made due.
    fn pass_dues(&mut self, now: Instant) {
        while let Some(&(due, id)) = self.dues.first()
            && due <= now
        {
            self.dues.pop_first();
            self.due(id, now);
        }
    }

    /// The time has come for which a child had an entry.
    fn due(&mut self, id: ChildId, now: Instant) {
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        slot.due = None;
        match slot.stage {
            // Those of the sequence start in its order.
            Stage::BackingOff { .. } if !self.sequence.contains(&id) => self.start(id, now),
            Stage::Starting => {
                let limit = slot.spec.start_limit().unwrap_or_default();
                let why = format!("was not up within {limit:?}");
                self.kill_as_failed(id, why.into(), now);
            }
            Stage::Stopping => self.kill(id, now),
            Stage::Killed => self.stuck(id),
            _ => {}
        }
    }

    /// The supervisor is gone, and this is what can't be ended.
    pub(crate) fn note_stuck(&mut self, id: ChildId, life: u64) {
        if self.slots.get(&id).is_some_and(|slot| slot.lives(life)) {
            self.stuck(id);
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("rules", &self.rules)
            .field("mode", &self.mode)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}
