//! A queue of this process: one lock around its [`Engine`], and those who wait.
//!
//! Whoever offers or polls runs the operation itself, on its own thread, under the lock; nothing is sent to
//! another thread that could be on its way when its receiver gives up. What goes from one to another goes under
//! the lock, too: an offerer in line leaves its item there, a poller in line finds one there when it looks. Who
//! gives up takes its place away with what lies in it.
//!
//! No code of the program runs under the lock, but for the copies that `browse` makes: items are dropped, copied
//! for their holders, encoded and decoded outside, and
//! wakers called there. What is to be done afterwards is gathered in [`Afterwards`].

mod afterwards;
mod leaving;
mod putting;
mod taking;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::config::QueueConfig;
use super::consumer::Consumers;
use super::dead::DeadReason;
use super::durable::Durable;
use super::engine::keys::Keys;
use super::engine::{Engine, Extra, Item, NotHeld};
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
use crate::system::{System, WeakSystem};

pub(super) use afterwards::Afterwards;

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
    /// For letters that are written when it has ended, too.
    post: WeakSystem,
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
    /// The journal knows that numbers below this may have been used.
    pub(super) reserved: u64,
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
    /// Something, whose lease lapsed before its holder looked.
    Lapsed,
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
    /// The same for somebody who waits: what has a group is leased until that one looks.
    Promise,
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

/// What became of an offer. The item is taken from its place unless it wasn't stored, or is still to be waited for.
pub(super) enum OfferStep {
    Stored(Offered),
    /// To be waited for.
    Storing(Offered, Ticket),
    NoRoom,
    Refused(Failure),
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
            post: system.downgrade(),
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
                reserved: 0,
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
        let due = inside.engine.soonest.min(inside.keys.soonest);
        if due < inside.armed {
            inside.armed = due;
            afterwards.rearm = true;
        }
        drop(inside);
        afterwards.run(self);
        result
    }

    /// What is due happens. Answers when to look again.
    pub(super) fn tick(&self) -> Instant {
        let now = self.clock.now();
        self.with(|inside, afterwards, _| {
            inside.take_back_what_nobody_looked_at(now);
            inside.engine.tick(now, &self.entropy);
            for place in std::mem::take(&mut inside.engine.lapsed) {
                inside.note_failure(self, place);
            }
            inside.file_gone(self, afterwards);
            inside.forget_keys(self, now);
            inside.settle(self, afterwards, now);
            inside.armed = inside.next_due();
            inside.engine.soonest = Instant::FAR;
            inside.keys.soonest = Instant::FAR;
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
            let progress = durable.progress();
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
                afterwards.wake(waker);
            }
            match progress.failed {
                None => inside.settle(self, afterwards, now),
                Some(error) if inside.ended.is_none() => {
                    let failure = storage_failure(&error, Verdict::NotExecuted);
                    inside.end(failure, afterwards, now);
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
        self.with(|inside, afterwards, now| {
            if let Some(durable) = &self.durable
                && inside.reserved > 0
            {
                // An error: after a crash some numbers are never used, no more than that.
                let _ = durable.reserve(inside.engine.next_sequence());
            }
            if inside.ended.is_none() {
                inside.end(failure.clone(), afterwards, now);
                inside.file_gone(self, afterwards);
            }
            for item in inside.engine.items.drain() {
                afterwards.letter_live(item);
            }
            let totals = inside.engine.totals;
            inside.engine = Engine::new(inside.engine.config.clone(), self.epoch);
            inside.engine.totals = totals;
        });
        if let Some(dead) = &self.dead {
            dead.end(failure);
        }
        if let Some(durable) = &self.durable {
            durable.close();
        }
        self.inside.lock().system.take()
    }

    /// Puts back what was taken out of leased items to copy it.
    pub(super) fn put_back(&self, first: Option<(Place, u64, T)>, more: Vec<(Place, u64, T)>) {
        let mut left = Vec::new();
        let mut inside = self.inside.lock();
        for (place, token, original) in first.into_iter().chain(more) {
            match inside.engine.held(place, token) {
                Ok(item) => item.payload = Some(Payload::Live(original)),
                Err(NotHeld) => left.push(original),
            }
        }
        drop(inside);
        for original in left {
            self.letter(original, DropReason::Stopped);
        }
    }

    /// One item to dead letters.
    fn letter(&self, item: T, reason: DropReason) {
        if let Some(system) = self.post.upgrade() {
            system.dead_letters().push(DeadLetter {
                at: system.clock().now(),
                target: format!("queue {}", self.name),
                message_type: std::any::type_name::<T>(),
                reason,
                key: None,
                attempts: Vec::new(),
                message: Box::new(item),
            });
        }
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
