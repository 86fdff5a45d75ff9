//! The state of a queue without anybody who waits: items, their order, leases, time.
//!
//! It does nothing by itself and knows no clock: whoever calls says what time it is, and takes what has gone
//! for good out of [`Engine::gone`] afterwards. An item is in one [`Stage`] at a time; the counts of stages
//! are kept, so that what stands in `ready` and `leases` about items that have moved on can be told from what
//! holds, and swept when it is the greater part.

pub(super) mod groups;
pub(super) mod keys;
pub(super) mod leases;
pub(super) mod leasing;
pub(super) mod ready;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Sequence;
use super::config::{QueueConfig, QueueKind};
use super::dead::{DeadInfo, DeadReason};
use super::reply_to::ReplyTo;
use super::slab::{Place, Slab};
use crate::clock::Instant;
use crate::entropy::Entropy;
use crate::id::RequestKey;

use groups::Groups;
use leases::Leases;
use ready::Ready;

/// Where an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// On its way to the disk: not to be seen. Not to be handed out before the time named.
    Storing(Instant),
    /// Behind others of its group. Not to be handed out before the time named.
    Behind(Instant),
    /// To be handed out.
    Ready,
    /// To be handed out from then on.
    Later(Instant),
    /// In somebody's hands.
    Leased(Lease),
    /// Kept, but never handed out: it can't be read.
    SetAside,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) token: u64,
    pub(super) due: Instant,
    pub(super) consumer: Option<Place>,
}

pub(super) struct Item<P> {
    pub(super) sequence: Sequence,
    /// Its number in the journal.
    pub(super) record: u64,
    /// Not there only while its holder makes a copy of it.
    pub(super) payload: Option<P>,
    /// When it was offered: a time of day, because it may have been in an earlier process.
    pub(super) offered: Duration,
    /// When it was handed out first: a time of day; zero if never.
    pub(super) first_seen: Duration,
    /// How often it was handed out.
    pub(super) attempt: u32,
    /// How often that failed.
    pub(super) failed: u32,
    pub(super) stage: Stage,
    pub(super) extra: Option<Box<Extra>>,
}

/// What most items don't have.
#[derive(Debug, Clone, Default)]
pub(super) struct Extra {
    pub(super) group: Option<Arc<str>>,
    pub(super) priority: u8,
    pub(super) key: Option<RequestKey>,
    pub(super) print: Option<u64>,
    pub(super) reply_to: Option<ReplyTo>,
    pub(super) expires: Option<Instant>,
    pub(super) history: Option<History>,
    /// It came back from the dead, and its first time to live counts no more.
    pub(super) redriven: bool,
    /// It waits apart from its group, which goes on without it.
    pub(super) detached: bool,
    /// What is known of it, if it is one of the dead.
    pub(super) dead: Option<Arc<DeadInfo>>,
    /// Why it can't be read, if it is set aside.
    pub(super) aside: Option<Arc<str>>,
}

/// How deliveries failed. Times of day.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) first: Duration,
    pub(super) last: Duration,
    pub(super) reason: Arc<str>,
}

/// An item to be stored.
pub(super) struct New<P> {
    pub(super) payload: P,
    /// Not before then.
    pub(super) due: Option<Instant>,
    pub(super) extra: Option<Box<Extra>>,
}

/// Who takes, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    pub(super) span: Duration,
    pub(super) consumer: Option<Place>,
}

/// The token is not the one of the item's lease: it was given back, or leased again since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotHeld;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) offered: u64,
    pub(super) handed: u64,
    pub(super) settled: u64,
    pub(super) failed: u64,
    pub(super) evicted: u64,
    pub(super) expired: u64,
    pub(super) lapsed: u64,
    pub(super) purged: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stages {
    pub(super) storing: usize,
    pub(super) behind: usize,
    pub(super) ready: usize,
    pub(super) later: usize,
    pub(super) leased: usize,
    pub(super) set_aside: usize,
}

pub(super) struct Engine<P> {
    pub(super) config: QueueConfig,
    /// The time of day when the clock began.
    epoch: Duration,
    last_time: (Instant, Duration),
    pub(super) items: Slab<Item<P>>,
    ready: Ready,
    groups: Groups,
    later: BTreeSet<(Instant, Sequence, Place)>,
    /// What waits and isn't ready, if the oldest that waits must be known: in a circular queue.
    unready: BTreeSet<(Sequence, Place)>,
    expiring: BTreeSet<(Instant, Sequence, Place)>,
    leases: Leases,
    pub(super) totals: Totals,
    pub(super) stages: Stages,
    next_sequence: Sequence,
    next_token: u64,
    /// The soonest of what became due since somebody looked when to look again.
    pub(super) soonest: Instant,
    /// Whose leases have lapsed; for whoever called.
    pub(super) lapsed: Vec<Place>,
    /// What has left for good, and why; for whoever called.
    pub(super) gone: Vec<(Item<P>, DeadReason)>,
}

impl<P> Engine<P> {
    pub(super) fn new(config: QueueConfig, epoch: Duration) -> Self {
        Engine {
            ready: Ready::new(config.priorities),
            config,
            epoch,
            last_time: (Instant::default(), epoch),
            items: Slab::new(),
            groups: Groups::default(),
            later: BTreeSet::new(),
            unready: BTreeSet::new(),
            expiring: BTreeSet::new(),
            leases: Leases::default(),
            totals: Totals::default(),
            stages: Stages::default(),
            next_sequence: 1,
            next_token: 1,
            soonest: Instant::FAR,
            lapsed: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// Numbers go on after these, which an earlier life of the queue used.
    pub(super) fn go_on_after(&mut self, sequence: Sequence, token: u64) {
        self.next_sequence = self.next_sequence.max(sequence + 1);
        self.next_token = self.next_token.max(token + 1);
    }

    /// A point of the clock as a time of day. Many operations have the same one: the clock is read coarsely.
    fn time_of_day(&mut self, at: Instant) -> Duration {
        if self.last_time.0 != at {
            self.last_time = (at, self.epoch + Duration::from_nanos(at.as_nanos()));
        }
        self.last_time.1
    }

    pub(super) fn next_sequence(&self) -> Sequence {
        self.next_sequence
    }

    pub(super) fn has_room(&self) -> bool {
        let held = match self.config.kind {
            QueueKind::Bounded => self.items.len() - self.stages.set_aside,
            QueueKind::Circular => self.items.len() - self.stages.set_aside - self.stages.leased,
        };
        held < self.config.capacity
    }

    /// Items that wait to be handed out, now or later.
    pub(super) fn waiting(&self) -> usize {
        self.stages.ready + self.stages.later + self.stages.behind
    }

    /// Stores an item behind all others. It isn't to be seen before it is [admitted](Engine::admit).
    pub(super) fn store(&mut self, new: New<P>, now: Instant) -> Place {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.totals.offered += 1;
        let stage = Stage::Behind(new.due.unwrap_or_default());
        let offered = self.time_of_day(now);
        self.put(Item {
            sequence,
            record: sequence,
            payload: Some(new.payload),
            offered,
            first_seen: Duration::ZERO,
            attempt: 0,
            failed: 0,
            stage,
            extra: new.extra,
        })
    }

    /// Puts an item in as it is, in the stage `Behind`, `Storing` or `SetAside`; to be admitted if not the last.
    pub(super) fn put(&mut self, item: Item<P>) -> Place {
        let (sequence, stage) = (item.sequence, item.stage);
        let expires = item.extra.as_ref().and_then(|extra| extra.expires);
        let place = self.items.insert(item);
        self.count(stage, 1);
        if let Some(expires) = expires {
            self.expiring.insert((expires, sequence, place));
            self.soonest = self.soonest.min(expires);
        }
        place
    }

    /// An item is not to be seen until it is on disk.
    pub(super) fn hide(&mut self, place: Place, due: Option<Instant>) {
        self.set_stage(place, Stage::Storing(due.unwrap_or_default()));
    }

    /// It is on disk.
    pub(super) fn admit_stored(&mut self, place: Place, now: Instant) {
        if let Some(Stage::Storing(due)) = self.items.get(place).map(|item| item.stage) {
            self.set_stage(place, Stage::Behind(due));
            self.admit(place, now);
        }
    }

    /// An item that is not yet to be seen takes its place among the others.
    pub(super) fn admit(&mut self, place: Place, now: Instant) {
        if self.is_expired(place, now) {
            self.expire(place, now);
            return;
        }
        let Some(item) = self.items.get(place) else {
            return;
        };
        let due = match item.stage {
            Stage::Behind(due) => due,
            _ => Instant::default(),
        };
        let Some(group) = item.group().cloned() else {
            self.line_up(place, due, now);
            return;
        };
        if due > now && self.config.reordering {
            self.set_detached(place, true);
            self.line_up(place, due, now);
            return;
        }
        let sequence = item.sequence;
        match self.groups.head(&group) {
            None => {
                self.groups.begin(group, place);
                self.line_up(place, due, now);
            }
            Some(head) => {
                let ahead = self.items.get(head).is_some_and(|head| {
                    head.sequence > sequence && matches!(head.stage, Stage::Ready | Stage::Later(_))
                });
                if ahead {
                    self.step_back(head, &group);
                    self.groups.replace_head(&group, place);
                    self.line_up(place, due, now);
                } else {
                    self.set_stage(place, Stage::Behind(due));
                    self.groups.stand_behind(&group, sequence, place);
                }
            }
        }
    }

    /// Takes the head of a group back into the line behind it.
    fn step_back(&mut self, head: Place, group: &Arc<str>) {
        let Some(item) = self.items.get(head) else {
            return;
        };
        let sequence = item.sequence;
        let due = match item.stage {
            Stage::Later(due) => {
                self.later.remove(&(due, sequence, head));
                due
            }
            _ => Instant::default(),
        };
        self.set_stage(head, Stage::Behind(due));
        self.groups.stand_behind(group, sequence, head);
    }

    /// Ready, or later if it isn't due.
    fn line_up(&mut self, place: Place, due: Instant, now: Instant) {
        let Some(item) = self.items.get(place) else {
            return;
        };
        let (sequence, priority) = (item.sequence, item.priority());
        if due > now {
            self.set_stage(place, Stage::Later(due));
            self.later.insert((due, sequence, place));
            self.soonest = self.soonest.min(due);
        } else {
            self.set_stage(place, Stage::Ready);
            self.line_up_ready(priority, sequence, place);
        }
    }

    fn line_up_ready(&mut self, priority: u8, sequence: Sequence, place: Place) {
        self.ready.push(priority, sequence, place);
        if self.ready.len() > 2 * self.stages.ready + 64 {
            let items = &self.items;
            self.ready
                .sweep(|sequence, place| is_ready(items, sequence, place));
        }
    }

    /// Stores an item of which there is nothing to know, to be handed out at once.
    pub(super) fn store_plain(&mut self, payload: P, now: Instant) -> Sequence {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.totals.offered += 1;
        let offered = self.time_of_day(now);
        let place = self.items.insert(Item {
            sequence,
            record: sequence,
            payload: Some(payload),
            offered,
            first_seen: Duration::ZERO,
            attempt: 0,
            failed: 0,
            stage: Stage::Ready,
            extra: None,
        });
        self.stages.ready += 1;
        self.line_up_ready(0, sequence, place);
        sequence
    }

    /// Takes the next item away if there is nothing to know of it: leased and acknowledged at once.
    pub(super) fn take_plain(&mut self) -> Option<P> {
        let (sequence, place) = self.ready.first()?;
        let item = self.items.get_mut(place)?;
        if item.sequence != sequence || item.stage != Stage::Ready || item.extra.is_some() {
            return None;
        }
        let payload = item.payload.take();
        self.items.clear(place);
        self.ready.pop();
        self.stages.ready -= 1;
        self.totals.handed += 1;
        self.totals.settled += 1;
        payload
    }

    /// The next item to be handed out.
    fn next(&mut self, now: Instant) -> Option<Place> {
        loop {
            let (sequence, place) = self.ready.pop()?;
            if !is_ready(&self.items, sequence, place) {
                continue;
            }
            if self.is_expired(place, now) {
                self.expire(place, now);
                continue;
            }
            return Some(place);
        }
    }

    /// Takes the next item away: leased and acknowledged at once.
    pub(super) fn take(&mut self, now: Instant) -> Option<Item<P>> {
        let place = self.next(now)?;
        self.take_at(place, now)
    }

    fn take_at(&mut self, place: Place, now: Instant) -> Option<Item<P>> {
        self.hand_out(place, now);
        self.totals.settled += 1;
        self.remove(place, now)
    }

    /// The oldest that nobody has in hand leaves to make room. False if all are in hand.
    pub(super) fn evict(&mut self, now: Instant) -> bool {
        let ready = loop {
            match self.ready.pop_oldest() {
                Some((sequence, place)) if !is_ready(&self.items, sequence, place) => {}
                first => break first,
            }
        };
        let unready = self.unready.first().copied();
        if let (Some(ready), Some(unready)) = (ready, unready)
            && unready < ready
        {
            let priority = self.items.get(ready.1).map_or(0, Item::priority);
            self.ready.push(priority, ready.0, ready.1);
        }
        let oldest = ready.into_iter().chain(unready).min();
        if let Some((_, place)) = oldest {
            self.totals.evicted += 1;
            self.leave(place, DeadReason::Evicted, now);
        }
        oldest.is_some()
    }

    fn expire(&mut self, place: Place, now: Instant) {
        self.totals.expired += 1;
        self.leave(place, DeadReason::Expired, now);
    }

    fn leave(&mut self, place: Place, reason: DeadReason, now: Instant) {
        if let Some(item) = self.remove(place, now) {
            self.gone.push((item, reason));
        }
    }

    /// Takes an item out, whatever it is doing.
    pub(super) fn remove(&mut self, place: Place, now: Instant) -> Option<Item<P>> {
        self.end_lease(place);
        self.leave_group(place, now);
        let item = self.items.remove(place)?;
        self.count(item.stage, -1);
        if !self.unready.is_empty() {
            self.unready.remove(&(item.sequence, place));
        }
        if let Stage::Later(due) = item.stage {
            self.later.remove(&(due, item.sequence, place));
        }
        if let Some(expires) = item.extra.as_ref().and_then(|extra| extra.expires) {
            self.expiring.remove(&(expires, item.sequence, place));
        }
        Some(item)
    }

    /// What is due happens: leases lapse, delayed items become ready, old ones leave.
    pub(super) fn tick(&mut self, now: Instant, entropy: &Entropy) {
        while let Some((due, token, place)) = self.leases.first() {
            if !is_leased(&self.items, due, token, place) {
                self.leases.pop_first();
                continue;
            }
            if due > now {
                break;
            }
            self.leases.pop_first();
            // Its holder makes a copy of it at this moment: it has a little longer.
            if self
                .items
                .get(place)
                .is_some_and(|item| item.payload.is_none())
            {
                let _ = self.extend(place, token, COPYING, now);
                continue;
            }
            self.totals.lapsed += 1;
            // Held: looked at above.
            let _ = self.fail(place, token, &Arc::from("the lease lapsed"), now, entropy);
            self.lapsed.push(place);
        }
        while let Some((due, sequence, place)) = self.later.first().copied() {
            if due > now {
                break;
            }
            self.later.remove(&(due, sequence, place));
            self.set_stage(place, Stage::Behind(Instant::default()));
            if self.take_detached(place) {
                self.admit(place, now);
            } else {
                self.line_up(place, now, now);
            }
        }
        while let Some((due, sequence, place)) = self.expiring.first().copied() {
            if due > now {
                break;
            }
            self.expiring.remove(&(due, sequence, place));
            let stage = self.items.get(place).map(|item| item.stage);
            // What is in hand may still end well; it is looked at again when it comes back.
            if matches!(
                stage,
                Some(Stage::Ready | Stage::Later(_) | Stage::Behind(_))
            ) {
                self.expire(place, now);
            }
        }
    }

    /// When the next thing is due.
    pub(super) fn next_due(&self) -> Instant {
        let later = self.later.first().map_or(Instant::FAR, |(due, _, _)| *due);
        let expiring = self
            .expiring
            .first()
            .map_or(Instant::FAR, |(due, _, _)| *due);
        later.min(expiring).min(self.next_lapse())
    }

    /// When the next lease lapses, or one that is over would have.
    pub(super) fn next_lapse(&self) -> Instant {
        self.leases.first().map_or(Instant::FAR, |(due, _, _)| due)
    }

    /// Whether this lease holds, and lapses now.
    pub(super) fn is_due(&self, place: Place, token: u64, now: Instant) -> bool {
        let stage = self.items.get(place).map(|item| item.stage);
        matches!(stage, Some(Stage::Leased(lease)) if lease.token == token && lease.due <= now)
    }

    /// When the oldest was offered of those that wait to be handed out.
    pub(super) fn oldest(&self) -> Option<Duration> {
        let waiting = self.items.iter().filter(|(_, item)| item.waits());
        waiting.map(|(_, item)| item.offered).min()
    }

    /// Takes out all that wait to be handed out; what is in somebody's hands stays.
    pub(super) fn purge(&mut self, now: Instant) -> Vec<Item<P>> {
        let waiting = self.items.iter().filter(|(_, item)| item.waits());
        let places: Vec<Place> = waiting.map(|(place, _)| place).collect();
        self.totals.purged += places.len() as u64;
        let removed = places
            .into_iter()
            .filter_map(|place| self.remove(place, now));
        removed.collect()
    }

    fn leave_group(&mut self, place: Place, now: Instant) {
        let Some(item) = self.items.get(place) else {
            return;
        };
        let Some(group) = item.group().cloned() else {
            return;
        };
        if item.is_detached() || matches!(item.stage, Stage::Storing(_)) {
            return;
        }
        if let Some(next) = self.groups.leave(&group, item.sequence, place) {
            let due = match self.items.get(next).map(|item| item.stage) {
                Some(Stage::Behind(due)) => due,
                _ => now,
            };
            self.line_up(next, due, now);
        }
    }

    fn group_of(&self, place: Place) -> Option<&Arc<str>> {
        self.items.get(place)?.group()
    }

    /// Whether one of its group that stands behind it is older.
    fn is_overtaken(&self, place: Place) -> bool {
        let Some(item) = self.items.get(place) else {
            return false;
        };
        let behind = item.group().and_then(|group| self.groups.behind(group));
        behind.is_some_and(|first| first < item.sequence)
    }

    fn set_detached(&mut self, place: Place, detached: bool) {
        if let Some(item) = self.items.get_mut(place)
            && let Some(extra) = &mut item.extra
        {
            extra.detached = detached;
        }
    }

    fn take_detached(&mut self, place: Place) -> bool {
        let was = self.items.get(place).is_some_and(Item::is_detached);
        self.set_detached(place, false);
        was
    }

    fn is_expired(&self, place: Place, now: Instant) -> bool {
        let expires = self
            .items
            .get(place)
            .and_then(|item| item.extra.as_ref()?.expires);
        expires.is_some_and(|expires| expires <= now)
    }

    pub(super) fn set_stage(&mut self, place: Place, stage: Stage) {
        if let Some(item) = self.items.get_mut(place) {
            let before = std::mem::replace(&mut item.stage, stage);
            let sequence = item.sequence;
            self.count(before, -1);
            self.count(stage, 1);
            if self.config.kind == QueueKind::Circular {
                match stage {
                    Stage::Behind(_) | Stage::Later(_) => self.unready.insert((sequence, place)),
                    _ => self.unready.remove(&(sequence, place)),
                };
            }
        }
    }

    fn count(&mut self, stage: Stage, by: isize) {
        let stages = &mut self.stages;
        let count = match stage {
            Stage::Storing(_) => &mut stages.storing,
            Stage::Behind(_) => &mut stages.behind,
            Stage::Ready => &mut stages.ready,
            Stage::Later(_) => &mut stages.later,
            Stage::Leased(_) => &mut stages.leased,
            Stage::SetAside => &mut stages.set_aside,
        };
        *count = count.saturating_add_signed(by);
    }
}

/// How much longer a lease lasts whose holder is just making its copy.
const COPYING: Duration = Duration::from_millis(10);

fn is_ready<P>(items: &Slab<Item<P>>, sequence: Sequence, place: Place) -> bool {
    let item = items.get(place);
    item.is_some_and(|item| item.sequence == sequence && item.stage == Stage::Ready)
}

fn is_leased<P>(items: &Slab<Item<P>>, due: Instant, token: u64, place: Place) -> bool {
    let stage = items.get(place).map(|item| item.stage);
    matches!(stage, Some(Stage::Leased(lease)) if lease.token == token && lease.due == due)
}

impl<P> Item<P> {
    pub(super) fn group(&self) -> Option<&Arc<str>> {
        self.extra.as_ref()?.group.as_ref()
    }

    pub(super) fn key(&self) -> Option<RequestKey> {
        self.extra.as_ref()?.key
    }

    pub(super) fn history(&self) -> Option<&History> {
        self.extra.as_ref()?.history.as_ref()
    }

    fn waits(&self) -> bool {
        matches!(
            self.stage,
            Stage::Ready | Stage::Later(_) | Stage::Behind(_)
        )
    }

    fn priority(&self) -> u8 {
        self.extra.as_ref().map_or(0, |extra| extra.priority)
    }

    fn is_detached(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.detached)
    }
}
