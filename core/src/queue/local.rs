//! A queue of this process: one lock around its [`Engine`], and those who wait.
//!
//! Whoever offers or polls runs the operation itself, on its own thread, under the lock; nothing is sent to
//! another thread that could be on its way when its receiver gives up. What goes from one to another goes under
//! the lock, too: an offerer in line leaves its item there, a poller in line finds one there when it looks. Who
//! gives up takes its place away with what lies in it.
//!
//! No code of the program runs under the lock: items are dropped, copied, encoded and decoded outside, and
//! wakers called there. What is to be done afterwards is gathered in [`Afterwards`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use parking_lot::Mutex;

use super::config::{QueueConfig, QueueKind};
use super::consumer::Consumers;
use super::dead::DeadReason;
use super::durable::Durable;
use super::engine::keys::{KeyCheck, Keys};
use super::engine::{Engine, Extra, Grant, Item, New, NotHeld, Stage};
use super::keeper::Alarm;
use super::line::{Line, WaiterId};
use super::offer::{Offered, Prepared};
use super::rates::Rates;
use super::slab::Place;
use crate::boundary::Verdict;
use crate::clock::{Clock, Instant};
use crate::counters::DropReason;
use crate::dead_letter::DeadLetter;
use crate::entropy::Entropy;
use crate::error::{Failure, FailureKind};
use crate::journal::{Durability, JournalError, JournalErrorKind, Ticket};
use crate::system::System;

/// How many may wait for items, and how many for room; the next one is refused (G3).
pub(super) const WAITER_CAPACITY: usize = 4_096;

/// What lies in the place of an item.
pub(super) enum Payload<T> {
    /// The item.
    Live(T),
    /// It is in the journal; here, if there is room for it, a copy of its bytes.
    Stored(Option<Arc<[u8]>>),
}

pub(super) struct Local<T: Send + 'static> {
    pub(super) name: Arc<str>,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    /// The time of day when the clock began.
    epoch: Duration,
    pub(super) settings: QueueConfig,
    /// Hashes an item, if those with equal keys are to be compared.
    pub(super) print: Option<fn(&T) -> u64>,
    pub(super) inside: Mutex<Inside<T>>,
    pub(super) alarm: Alarm,
    pub(super) durable: Option<Durable<T>>,
    /// Where the dead go; `None` for those who are the dead.
    pub(super) dead: Option<Arc<dyn DeadHome<T>>>,
}

/// Takes in what a queue gives up.
pub(super) trait DeadHome<T>: Send + Sync {
    fn bury(&self, dead: Vec<(Item<Payload<T>>, DeadReason)>);
    /// Everything of the journal, which it shares with the queue, that is written or synced by now.
    fn progressed(&self);
    fn end(&self, failure: &Failure);
}

pub(super) struct Inside<T> {
    pub(super) engine: Engine<Payload<T>>,
    pub(super) keys: Keys,
    pub(super) offerers: Line<Offerer<T>>,
    pub(super) takers: Line<Taker<T>>,
    /// Who waits until something is written, in the order of tickets.
    pub(super) marks: Line<Mark>,
    writing: VecDeque<(Ticket, WaiterId)>,
    /// Items on their way to the disk, and who waits for them.
    storing: VecDeque<(Ticket, Place)>,
    syncing: VecDeque<(Ticket, WaiterId)>,
    last_ticket: Ticket,
    /// The journal takes no more for the moment.
    stalled: bool,
    pub(super) consumers: Consumers,
    pub(super) rates: Rates,
    pub(super) cached: usize,
    /// `None` once it has ended.
    pub(super) system: Option<System>,
    /// Why nothing is taken any more.
    pub(super) ended: Option<Failure>,
    /// When the keeper looks next.
    armed: Instant,
}

/// What somebody waits for who offers.
pub(super) enum Offerer<T> {
    /// Room.
    Waiting(Prepared<T>),
    /// The disk.
    Syncing(Offered, Option<T>),
    Done(Result<Offered, Failure>, Option<T>),
}

/// What somebody waits for who polls or leases.
pub(super) enum Taker<T> {
    Waiting(Want),
    Got(Haul<T>),
    Ended(Failure),
}

/// What somebody waits for whose change is to be written.
pub(super) enum Mark {
    Waiting,
    Done(Result<(), Failure>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Want {
    pub(super) max: usize,
    pub(super) mode: Mode,
    pub(super) consumer: Option<Place>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    /// Takes items away.
    Take,
    /// For that long.
    Lease(Option<Duration>),
}

pub(super) enum Haul<T> {
    One(Taken<T>),
    Many(Vec<Taken<T>>),
}

/// An item on its way out. Without a token it has left the queue.
pub(super) struct Taken<T> {
    pub(super) place: Place,
    pub(super) token: u64,
    pub(super) sequence: u64,
    pub(super) record: u64,
    pub(super) attempt: u32,
    pub(super) failed: u32,
    pub(super) offered: Duration,
    pub(super) first_seen: Duration,
    pub(super) payload: Payload<T>,
    pub(super) extra: Option<Box<Extra>>,
}

/// What is done when the lock is free again.
pub(super) struct Afterwards<T> {
    wakes: Vec<Waker>,
    trash: Vec<Payload<T>>,
    items: Vec<T>,
    letters: Vec<(Item<Payload<T>>, DropReason)>,
    dead: Vec<(Item<Payload<T>>, DeadReason)>,
    rearm: bool,
}

pub(super) enum OfferStep<T> {
    Stored(Offered),
    /// To be waited for.
    Storing(Offered, Ticket, Option<T>),
    NoRoom(Prepared<T>),
    Refused(Failure, Prepared<T>),
}

impl<T: Send + 'static> Local<T> {
    pub(super) fn new(
        system: &System,
        name: Arc<str>,
        config: QueueConfig,
        print: Option<fn(&T) -> u64>,
        durable: Option<Durable<T>>,
        dead: Option<Arc<dyn DeadHome<T>>>,
    ) -> Self {
        let clock = system.clock().clone();
        let since_start = Duration::from_nanos(clock.now().as_nanos());
        let epoch = clock.unix().saturating_sub(since_start);
        let keys = Keys::new(config.key_window, config.key_capacity);
        Local {
            name,
            epoch,
            clock,
            entropy: system.entropy().clone(),
            settings: config.clone(),
            print,
            inside: Mutex::new(Inside {
                engine: Engine::new(config, epoch),
                keys,
                offerers: Line::new(),
                takers: Line::new(),
                marks: Line::new(),
                writing: VecDeque::new(),
                storing: VecDeque::new(),
                syncing: VecDeque::new(),
                last_ticket: Ticket::default(),
                stalled: false,
                consumers: Consumers::default(),
                rates: Rates::default(),
                cached: 0,
                system: Some(system.clone()),
                ended: None,
                armed: Instant::FAR,
            }),
            alarm: Alarm::default(),
            durable,
            dead,
        }
    }

    /// A point of the clock as a time of day.
    pub(super) fn time_of_day(&self, at: Instant) -> Duration {
        self.epoch + Duration::from_nanos(at.as_nanos())
    }

    /// A time of day as a point of the clock.
    pub(super) fn on_clock(&self, time_of_day: Duration) -> Instant {
        Instant::default() + time_of_day.saturating_sub(self.epoch)
    }

    /// Runs something under the lock, and afterwards what came of it.
    pub(super) fn with<R>(
        &self,
        run: impl FnOnce(&mut Inside<T>, &mut Afterwards<T>, Instant) -> R,
    ) -> R {
        let now = self.clock.coarse_now();
        let mut afterwards = Afterwards::new();
        let mut inside = self.inside.lock();
        let result = run(&mut inside, &mut afterwards, now);
        inside.file_gone(self, &mut afterwards);
        let due = inside.next_due();
        if due < inside.armed {
            inside.armed = due;
            afterwards.rearm = true;
        }
        let system = if afterwards.letters.is_empty() {
            None
        } else {
            inside.system.clone()
        };
        drop(inside);
        afterwards.run(self, system.as_ref());
        result
    }

    /// What is due happens. Answers when to look again.
    pub(super) fn tick(&self) -> Instant {
        let now = self.clock.now();
        self.with(|inside, afterwards, _| {
            inside.engine.tick(now, &self.entropy);
            inside.file_gone(self, afterwards);
            inside.forget_keys(self, now);
            inside.settle(self, afterwards, now);
            inside.armed = inside.next_due();
            inside.armed
        })
    }

    /// What the journal has written and synced is answered.
    pub(super) fn journal_progressed(&self) {
        let Some(durable) = &self.durable else {
            return;
        };
        self.with(|inside, afterwards, now| {
            // Read under the lock: appends are made under it, so that what is done is on the lists.
            let progress = durable.journal.progress();
            inside.stalled = false;
            while let Some((ticket, place)) = inside.storing.front().copied() {
                if ticket > progress.synced {
                    break;
                }
                inside.storing.pop_front();
                inside.engine.admit_stored(place, now);
            }
            while let Some((ticket, id)) = inside.syncing.front().copied() {
                if ticket > progress.synced {
                    break;
                }
                inside.syncing.pop_front();
                inside.answer_offer(id, afterwards);
            }
            while let Some((ticket, id)) = inside.writing.front().copied() {
                if ticket > progress.written {
                    break;
                }
                inside.writing.pop_front();
                let (_, waker) = inside.marks.serve(id, Mark::Done(Ok(())));
                afterwards.wakes.extend(waker);
            }
            match progress.failed {
                None => inside.settle(self, afterwards, now),
                Some(error) if inside.ended.is_none() => {
                    inside.end(storage_failure(&error, Verdict::NotExecuted), afterwards);
                }
                Some(_) => {}
            }
        });
        if let Some(dead) = &self.dead {
            dead.progressed();
        }
    }

    /// Nothing is taken any more, and everybody is told. What is not on disk goes to dead letters.
    pub(super) fn end(&self, failure: &Failure) -> Option<System> {
        self.with(|inside, afterwards, _| {
            if inside.ended.is_none() {
                inside.end(failure.clone(), afterwards);
            }
            for item in inside.engine.items.drain() {
                if matches!(item.payload, Some(Payload::Live(_))) {
                    afterwards.letters.push((item, DropReason::Stopped));
                }
            }
            inside.engine = Engine::new(inside.engine.config.clone(), self.epoch);
        });
        if let Some(dead) = &self.dead {
            dead.end(failure);
        }
        self.inside.lock().system.take()
    }

    /// Puts back what was taken out of a leased item to copy it.
    pub(super) fn put_back(&self, place: Place, token: u64, original: T) {
        let left = self.with(|inside, _, _| match inside.engine.held(place, token) {
            Ok(item) => {
                item.payload = Some(Payload::Live(original));
                None
            }
            Err(NotHeld) => Some(original),
        });
        if let Some(original) = left {
            self.letter(original, DropReason::Stopped);
        }
    }

    /// One item to dead letters.
    fn letter(&self, item: T, reason: DropReason) {
        if let Some(system) = self.inside.lock().system.clone() {
            system.dead_letters().push(DeadLetter {
                at: system.clock().now(),
                target: format!("queue {}", self.name),
                message_type: std::any::type_name::<T>(),
                reason,
                key: None,
                message: Box::new(item),
            });
        }
    }
}

impl<T: Send + 'static> Inside<T> {
    /// Stores an item, if there is room and nobody waits for it before.
    pub(super) fn offer(
        &mut self,
        local: &Local<T>,
        prepared: Prepared<T>,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) -> OfferStep<T> {
        if self.offerers.len() > 0 {
            // It is not the first to come, but a duplicate needs no room.
            return match self.check_key(local, &prepared, now) {
                Ok(None) => OfferStep::NoRoom(prepared),
                Ok(Some(offered)) => self.duplicate(offered, prepared, afterwards),
                Err(failure) => OfferStep::Refused(failure, prepared),
            };
        }
        self.store(local, prepared, afterwards, now)
    }

    fn store(
        &mut self,
        local: &Local<T>,
        prepared: Prepared<T>,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) -> OfferStep<T> {
        match self.check_key(local, &prepared, now) {
            Ok(None) => {}
            Ok(Some(offered)) => return self.duplicate(offered, prepared, afterwards),
            Err(failure) => return OfferStep::Refused(failure, prepared),
        }
        if !self.make_room(local, afterwards, now) {
            return OfferStep::NoRoom(prepared);
        }
        let Prepared {
            item,
            due,
            extra,
            stored,
        } = prepared;
        let keyed = extra
            .as_ref()
            .and_then(|extra| extra.key.map(|key| (key, extra.print)));
        let sequence = self.engine.next_sequence();
        let step = match (&local.durable, stored) {
            (Some(durable), Some(stored)) => {
                match durable.put(sequence, &stored.head, &stored.body) {
                    Ok(ticket) => {
                        let keep =
                            self.cached + stored.body.len() <= self.engine.config.cache_bytes;
                        let bytes = keep.then(|| {
                            self.cached += stored.body.len();
                            Arc::from(stored.body)
                        });
                        let payload = Payload::Stored(bytes);
                        let place = self.engine.store(
                            New {
                                payload,
                                due,
                                extra,
                            },
                            now,
                        );
                        self.engine.hide(place, due);
                        self.storing.push_back((ticket, place));
                        self.last_ticket = ticket;
                        OfferStep::Storing(Offered::Stored(sequence), ticket, Some(item))
                    }
                    Err(error) => {
                        let prepared = Prepared {
                            item,
                            due,
                            extra,
                            stored: Some(stored),
                        };
                        if error.kind() == JournalErrorKind::Busy {
                            self.stalled = true;
                            return OfferStep::NoRoom(prepared);
                        }
                        let failure = storage_failure(&error, Verdict::NotExecuted);
                        return OfferStep::Refused(failure, prepared);
                    }
                }
            }
            _ => {
                let payload = Payload::Live(item);
                let place = self.engine.store(
                    New {
                        payload,
                        due,
                        extra,
                    },
                    now,
                );
                self.engine.admit(place, now);
                OfferStep::Stored(Offered::Stored(sequence))
            }
        };
        self.rates.count_offered(now);
        if let Some((key, print)) = keyed {
            self.keys.learn(key, sequence, print, now);
        }
        step
    }

    fn duplicate(
        &mut self,
        offered: Offered,
        prepared: Prepared<T>,
        afterwards: &mut Afterwards<T>,
    ) -> OfferStep<T> {
        if self.storing.is_empty() {
            afterwards.items.push(prepared.item);
            return OfferStep::Stored(offered);
        }
        // The first may still be on its way to the disk: this one is answered when that is.
        OfferStep::Storing(offered, self.last_ticket, Some(prepared.item))
    }

    /// `None` if the offer is new.
    fn check_key(
        &mut self,
        local: &Local<T>,
        prepared: &Prepared<T>,
        now: Instant,
    ) -> Result<Option<Offered>, Failure> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        let Some(extra) = &prepared.extra else {
            return Ok(None);
        };
        let Some(key) = extra.key else {
            return Ok(None);
        };
        // What is past the window counts no more, also if the keeper hasn't looked yet.
        self.forget_keys(local, now);
        match self.keys.check(key, extra.print) {
            KeyCheck::New => Ok(None),
            KeyCheck::Duplicate(sequence) => Ok(Some(Offered::Duplicate(sequence))),
            KeyCheck::Reused => Err(Failure::new(FailureKind::KeyReused, Verdict::NotExecuted)
                .with_detail(format!("key {key} was offered with another item"))),
            KeyCheck::Full => {
                let capacity = self.engine.config.key_capacity;
                let window = self.engine.config.key_window;
                Err(
                    Failure::new(FailureKind::Overloaded, Verdict::NotExecuted).with_detail(
                        format!(
                            "{capacity} keys are remembered within {window:?}, and no more can be"
                        ),
                    ),
                )
            }
        }
    }

    fn forget_keys(&mut self, local: &Local<T>, now: Instant) {
        self.keys.forget(now, |record| {
            if let Some(durable) = &local.durable {
                // An error is one that everybody is told of anyway.
                let _ = durable.drop_record(record);
            }
        });
    }

    fn make_room(
        &mut self,
        local: &Local<T>,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) -> bool {
        if self.stalled {
            return false;
        }
        let circular = self.engine.config.kind == QueueKind::Circular;
        // More than one goes if items came back that were in somebody's hands.
        while !self.engine.has_room() {
            if !circular || !self.engine.evict(now) {
                return false;
            }
            self.file_gone(local, afterwards);
        }
        true
    }

    /// Somebody who offers waits for room.
    pub(super) fn wait_for_room(
        &mut self,
        prepared: Prepared<T>,
        waker: &Waker,
        name: &str,
    ) -> Result<WaiterId, (Failure, Prepared<T>)> {
        if self.offerers.len() >= WAITER_CAPACITY {
            return Err((too_many(name), prepared));
        }
        Ok(self
            .offerers
            .join(Offerer::Waiting(prepared), waker.clone()))
    }

    /// Somebody who offered waits for the disk.
    pub(super) fn wait_for_sync(
        &mut self,
        offered: Offered,
        ticket: Ticket,
        item: Option<T>,
        waker: &Waker,
    ) -> WaiterId {
        let id = self
            .offerers
            .enter(Offerer::Syncing(offered, item), waker.clone());
        self.syncing.push_back((ticket, id));
        id
    }

    /// Somebody waits until a change is written.
    pub(super) fn wait_for_write(&mut self, ticket: Ticket, waker: &Waker) -> WaiterId {
        let id = self.marks.enter(Mark::Waiting, waker.clone());
        self.writing.push_back((ticket, id));
        id
    }

    fn answer_offer(&mut self, id: WaiterId, afterwards: &mut Afterwards<T>) {
        let offered = match self.offerers.get_mut(id) {
            Some(Offerer::Syncing(offered, _)) => *offered,
            _ => return,
        };
        let (before, waker) = self.offerers.serve(id, Offerer::Done(Ok(offered), None));
        afterwards.wakes.extend(waker);
        if let Some(Offerer::Syncing(_, Some(item))) = before {
            afterwards.items.push(item);
        }
    }

    /// More of it, if more has come.
    pub(super) fn top_up(
        &mut self,
        local: &Local<T>,
        want: Want,
        haul: &mut Haul<T>,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) {
        if let Haul::Many(all) = haul
            && all.len() < want.max
            && self.may_take(want.consumer)
        {
            while all.len() < want.max
                && let Some(next) = self.take_one(local, want, now)
            {
                all.push(next);
            }
            self.settle(local, afterwards, now);
        }
    }

    /// Takes what there is for somebody, at most what it wants.
    pub(super) fn take(
        &mut self,
        local: &Local<T>,
        want: Want,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) -> Option<Haul<T>> {
        if !self.may_take(want.consumer) {
            return None;
        }
        let first = self.take_one(local, want, now)?;
        let haul = if want.max <= 1 {
            Haul::One(first)
        } else {
            let mut all = Vec::with_capacity(want.max.min(self.engine.stages.ready + 1));
            all.push(first);
            while all.len() < want.max
                && let Some(next) = self.take_one(local, want, now)
            {
                all.push(next);
            }
            Haul::Many(all)
        };
        self.file_gone(local, afterwards);
        Some(haul)
    }

    fn take_one(&mut self, local: &Local<T>, want: Want, now: Instant) -> Option<Taken<T>> {
        if self.engine.stages.ready == 0 {
            return None;
        }
        self.rates.count_handed(now);
        let span = match want.mode {
            Mode::Take if local.durable.is_none() => {
                let item = self.engine.take(now)?;
                self.rates.count_settled(now);
                return Taken::gone(item);
            }
            Mode::Take => None,
            Mode::Lease(span) => span,
        };
        let grant = Grant {
            span: span.unwrap_or(self.engine.config.lease),
            consumer: want.consumer,
        };
        let place = self.engine.lease(grant, now)?;
        self.consumers.count_delivery(want.consumer);
        Taken::leased(place, self.engine.items.get_mut(place)?)
    }

    /// Whether one with that name may have items now.
    fn may_take(&self, consumer: Option<Place>) -> bool {
        self.ended.is_none()
            && (!self.engine.config.single_active
                || consumer.is_some() && self.consumers.active() == consumer)
    }

    /// Brings items and takers, room and offerers together.
    pub(super) fn settle(
        &mut self,
        local: &Local<T>,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) {
        loop {
            let mut moved = false;
            while self.offerers.len() > 0
                && self.make_room(local, afterwards, now)
                && let Some(id) = self.offerers.first()
            {
                moved = true;
                self.serve_offerer(local, id, afterwards, now);
            }
            while self.takers.len() > 0 && self.engine.stages.ready > 0 {
                if !self.serve_taker(local, afterwards, now) {
                    break;
                }
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    fn serve_offerer(
        &mut self,
        local: &Local<T>,
        id: WaiterId,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) {
        // Its place holds something while the item is looked at.
        let cut = Failure::new(FailureKind::Stopped, Verdict::NotExecuted);
        let (before, waker) = self.offerers.serve(id, Offerer::Done(Err(cut), None));
        let Some(Offerer::Waiting(prepared)) = before else {
            return;
        };
        let next = match self.store(local, prepared, afterwards, now) {
            OfferStep::Stored(offered) => Offerer::Done(Ok(offered), None),
            OfferStep::Storing(offered, ticket, item) => {
                self.syncing.push_back((ticket, id));
                if let Some(place) = self.offerers.get_mut(id) {
                    *place = Offerer::Syncing(offered, item);
                }
                if let Some(waker) = waker {
                    self.offerers.set_waker(id, &waker);
                }
                return;
            }
            // The journal takes no more: back to where it stood.
            OfferStep::NoRoom(prepared) => {
                self.offerers
                    .rejoin_first(id, Offerer::Waiting(prepared), waker);
                return;
            }
            OfferStep::Refused(failure, prepared) => {
                Offerer::Done(Err(failure), Some(prepared.item))
            }
        };
        if let Some(place) = self.offerers.get_mut(id) {
            *place = next;
        }
        afterwards.wakes.extend(waker);
    }

    /// Gives the first who may have it what there is.
    fn serve_taker(
        &mut self,
        local: &Local<T>,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) -> bool {
        let full = self.engine.stages.leased >= self.engine.config.max_in_flight;
        let next = self.takers.in_line().find_map(|(id, taker)| match taker {
            Taker::Waiting(want)
                if self.may_take(want.consumer)
                    && !(full && matches!(want.mode, Mode::Lease(_))) =>
            {
                Some((id, *want))
            }
            _ => None,
        });
        let Some((id, want)) = next else {
            return false;
        };
        let Some(haul) = self.take(local, want, afterwards, now) else {
            return false;
        };
        let (_, waker) = self.takers.serve(id, Taker::Got(haul));
        afterwards.wakes.extend(waker);
        true
    }

    /// Somebody who takes waits in line.
    pub(super) fn wait_for_items(
        &mut self,
        want: Want,
        waker: &Waker,
        name: &str,
    ) -> Result<WaiterId, Failure> {
        if self.takers.len() >= WAITER_CAPACITY {
            return Err(too_many(name));
        }
        Ok(self.takers.join(Taker::Waiting(want), waker.clone()))
    }

    /// What somebody had in hand who will not look at it any more goes back, as if it had not been handed out.
    pub(super) fn hand_back(
        &mut self,
        haul: Haul<T>,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) {
        let mut each = |inside: &mut Self, taken: Taken<T>| {
            inside.engine.totals.handed = inside.engine.totals.handed.saturating_sub(1);
            if taken.token == 0 {
                inside.engine.totals.settled = inside.engine.totals.settled.saturating_sub(1);
                let item = taken.into_item();
                let key = item.key();
                let sequence = item.sequence;
                let place = inside.engine.put(item);
                inside.engine.admit(place, now);
                if let Some(key) = key {
                    inside.keys.exhume(key, sequence);
                }
                return;
            }
            if let Ok(item) = inside.engine.held(taken.place, taken.token) {
                item.attempt = item.attempt.saturating_sub(1);
                if item.payload.is_none() {
                    item.payload = Some(taken.payload);
                } else {
                    afterwards.trash.push(taken.payload);
                }
                // Held: looked at above.
                let _ = inside
                    .engine
                    .release(taken.place, taken.token, Duration::ZERO, now);
            }
        };
        match haul {
            Haul::One(taken) => each(self, taken),
            Haul::Many(all) => all.into_iter().for_each(|taken| each(self, taken)),
        }
    }

    /// An item has been acknowledged.
    pub(super) fn acked(
        &mut self,
        local: &Local<T>,
        item: Item<Payload<T>>,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) -> Result<Ticket, JournalError> {
        self.rates.count_settled(now);
        self.removed(local, item, afterwards)
    }

    /// An item has left for good.
    pub(super) fn removed(
        &mut self,
        local: &Local<T>,
        item: Item<Payload<T>>,
        afterwards: &mut Afterwards<T>,
    ) -> Result<Ticket, JournalError> {
        let ticket = self.forget_record(local, &item);
        self.uncache(&item);
        afterwards.trash.extend(item.payload);
        ticket
    }

    /// The record of an item that leaves goes, or stays for the sake of its key.
    fn forget_record(
        &mut self,
        local: &Local<T>,
        item: &Item<Payload<T>>,
    ) -> Result<Ticket, JournalError> {
        let tomb = item
            .key()
            .and_then(|key| Some((key, self.keys.entomb(key, item.sequence)?)));
        let Some(durable) = &local.durable else {
            return Ok(Ticket::default());
        };
        let ticket = match tomb {
            Some((key, known)) => {
                let since = local.time_of_day(known.since);
                durable.entomb(item.record, key, known.print, since)
            }
            None => durable.drop_record(item.record),
        }?;
        self.last_ticket = ticket;
        Ok(ticket)
    }

    pub(super) fn uncache(&mut self, item: &Item<Payload<T>>) {
        if let Some(Payload::Stored(Some(bytes))) = &item.payload {
            self.cached = self.cached.saturating_sub(bytes.len());
        }
    }

    /// What the engine gave up goes where it belongs.
    pub(super) fn file_gone(&mut self, local: &Local<T>, afterwards: &mut Afterwards<T>) {
        for (item, reason) in std::mem::take(&mut self.engine.gone) {
            self.uncache(&item);
            if reason == DeadReason::Evicted || local.dead.is_none() {
                // An error is one that everybody is told of anyway.
                let _ = self.forget_record(local, &item);
                let reason = match reason {
                    DeadReason::Expired => DropReason::Expired,
                    DeadReason::Evicted => DropReason::DropOldest,
                    DeadReason::DeliveryLimit | DeadReason::Rejected => DropReason::Rejected,
                };
                afterwards.letters.push((item, reason));
            } else {
                if let Some(durable) = &local.durable {
                    let _ = durable.note(local, &item, Some(reason));
                }
                afterwards.dead.push((item, reason));
            }
        }
    }

    fn next_due(&self) -> Instant {
        self.engine.next_due().min(self.keys.next_due())
    }

    /// Everybody who waits is told.
    fn end(&mut self, failure: Failure, afterwards: &mut Afterwards<T>) {
        let unsure = failure.clone().with_verdict(Verdict::MaybeExecuted);
        let wakes = self.offerers.serve_all(|offerer| {
            let done = Offerer::Done(Err(failure.clone()), None);
            *offerer = match std::mem::replace(offerer, done) {
                Offerer::Waiting(prepared) => {
                    Offerer::Done(Err(failure.clone()), Some(prepared.item))
                }
                Offerer::Syncing(_, item) => Offerer::Done(Err(unsure.clone()), item),
                done @ Offerer::Done(..) => done,
            };
        });
        afterwards.wakes.extend(wakes);
        let wakes = self.takers.serve_all(|taker| {
            if let Taker::Waiting(_) = taker {
                *taker = Taker::Ended(failure.clone());
            }
        });
        afterwards.wakes.extend(wakes);
        let wakes = self.marks.serve_all(|mark| {
            if let Mark::Waiting = mark {
                *mark = Mark::Done(Err(unsure.clone()));
            }
        });
        afterwards.wakes.extend(wakes);
        self.syncing.clear();
        self.writing.clear();
        self.ended = Some(failure);
    }
}

impl<T> Taken<T> {
    fn gone(item: Item<Payload<T>>) -> Option<Self> {
        Some(Taken {
            place: 0,
            token: 0,
            sequence: item.sequence,
            record: item.record,
            attempt: item.attempt,
            failed: item.failed,
            offered: item.offered,
            first_seen: item.first_seen,
            payload: item.payload?,
            extra: item.extra,
        })
    }

    fn leased(place: Place, item: &mut Item<Payload<T>>) -> Option<Self> {
        let Stage::Leased(lease) = item.stage else {
            return None;
        };
        let payload = match item.payload.take()? {
            Payload::Stored(bytes) => {
                item.payload = Some(Payload::Stored(bytes.clone()));
                Payload::Stored(bytes)
            }
            // To be copied outside, and put back.
            live @ Payload::Live(_) => live,
        };
        Some(Taken {
            place,
            token: lease.token,
            sequence: item.sequence,
            record: item.record,
            attempt: item.attempt,
            failed: item.failed,
            offered: item.offered,
            first_seen: item.first_seen,
            payload,
            extra: item.extra.clone(),
        })
    }

    /// What is known of it, apart from it.
    pub(super) fn split(self) -> (Taken<()>, Payload<T>) {
        let about = Taken {
            place: self.place,
            token: self.token,
            sequence: self.sequence,
            record: self.record,
            attempt: self.attempt,
            failed: self.failed,
            offered: self.offered,
            first_seen: self.first_seen,
            payload: Payload::Live(()),
            extra: self.extra,
        };
        (about, self.payload)
    }

    /// As if it had never been handed out.
    fn into_item(self) -> Item<Payload<T>> {
        let attempt = self.attempt.saturating_sub(1);
        Item {
            sequence: self.sequence,
            record: self.record,
            payload: Some(self.payload),
            offered: self.offered,
            first_seen: if attempt == 0 {
                Duration::ZERO
            } else {
                self.first_seen
            },
            attempt,
            failed: self.failed,
            stage: Stage::Behind(Instant::default()),
            extra: self.extra,
        }
    }
}

impl<T: Send + 'static> Afterwards<T> {
    fn new() -> Self {
        Afterwards {
            wakes: Vec::new(),
            trash: Vec::new(),
            items: Vec::new(),
            letters: Vec::new(),
            dead: Vec::new(),
            rearm: false,
        }
    }

    /// To be dropped outside the lock.
    pub(super) fn drop_item(&mut self, item: Option<T>) {
        self.items.extend(item);
    }

    fn run(self, local: &Local<T>, system: Option<&System>) {
        let Afterwards {
            wakes,
            trash,
            items,
            letters,
            dead,
            rearm,
        } = self;
        if rearm {
            local.alarm.ring();
        }
        for waker in wakes {
            waker.wake();
        }
        if !dead.is_empty()
            && let Some(home) = &local.dead
        {
            home.bury(dead);
        }
        for (item, reason) in letters {
            let Some(system) = system else {
                break;
            };
            let key = item.key();
            let message: Box<dyn std::any::Any + Send> = match item.payload {
                Some(Payload::Live(live)) => Box::new(live),
                // Its bytes are nobody's to decode any more.
                _ => Box::new(item.sequence),
            };
            system.dead_letters().push(DeadLetter {
                at: system.clock().now(),
                target: format!("queue {}", local.name),
                message_type: std::any::type_name::<T>(),
                reason,
                key,
                message,
            });
        }
        drop((trash, items));
    }
}

/// A refusal because of the journal.
pub(super) fn storage_failure(error: &JournalError, verdict: Verdict) -> Failure {
    let kind = match error.kind() {
        JournalErrorKind::TooLarge => FailureKind::TooLarge,
        _ => FailureKind::StorageFailed,
    };
    Failure::new(kind, verdict).with_detail(error.to_string())
}

fn too_many(name: &str) -> Failure {
    Failure::new(FailureKind::Overloaded, Verdict::NotExecuted)
        .with_detail(format!("too many wait at queue {name}"))
}

/// What a queue that was stopped answers.
pub(super) fn stopped(name: &str) -> Failure {
    Failure::new(FailureKind::Stopped, Verdict::NotExecuted).with_detail(format!("queue {name}"))
}

/// That a change asks to be written, not more: it may be lost with the power, not with the process (G25).
pub(super) const SOON: Durability = Durability::Written;
