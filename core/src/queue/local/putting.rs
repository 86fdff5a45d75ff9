//! How items get in.

use std::sync::Arc;
use std::task::Waker;

use super::{
    Afterwards, Inside, Local, Mark, OfferStep, Offerer, Payload, WAITER_CAPACITY, stopped,
    storage_failure, too_many,
};
use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::error::{Failure, FailureKind};
use crate::journal::{JournalErrorKind, Ticket};
use crate::queue::config::QueueKind;
use crate::queue::engine::New;
use crate::queue::engine::keys::KeyCheck;
use crate::queue::line::WaiterId;
use crate::queue::offer::{About, Offered, Prepared};
use crate::queue::slab::Place;

/// How many numbers a durable queue reserves in its journal at a time. After a crash so many at most are never used.
const RESERVED_AT_ONCE: u64 = 1_000;

impl<T: Send + 'static> Inside<T> {
    /// Stores an item in memory of which there is nothing to know. `None`, and the item where it was, if that isn't
    /// so simple.
    pub(in crate::queue) fn offer_plain(
        &mut self,
        item: &mut Option<T>,
        now: Instant,
    ) -> Option<Offered> {
        if self.ended.is_some() || self.offerers.len() > 0 || !self.engine.has_room() {
            return None;
        }
        let sequence = self.engine.store_plain(Payload::Live(item.take()?), now);
        self.rates.count_offered(now);
        Some(Offered::Stored(sequence))
    }

    /// Stores an item, if there is room and nobody waits for it before.
    pub(in crate::queue) fn offer(
        &mut self,
        local: &Local<T>,
        item: &mut Option<T>,
        about: &mut About,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) -> OfferStep {
        let may_pass = self.offerers.len() == 0;
        self.store(local, item, about, may_pass, afterwards, now)
    }

    pub(super) fn store(
        &mut self,
        local: &Local<T>,
        item: &mut Option<T>,
        about: &mut About,
        may_pass: bool,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) -> OfferStep {
        match self.check_key(local, about, now) {
            Ok(None) => {}
            // It needs no room, so it needs not wait for its turn.
            Ok(Some(offered)) => return self.duplicate(offered, item, afterwards),
            Err(failure) => return OfferStep::Refused(failure),
        }
        if !may_pass || !self.make_room(local, afterwards, now) {
            return OfferStep::NoRoom;
        }
        let sequence = self.engine.next_sequence();
        let offered = Offered::Stored(sequence);
        let step = match (&local.durable, &mut about.stored) {
            (Some(durable), Some(stored)) => {
                if sequence >= self.reserved {
                    self.reserved = sequence + RESERVED_AT_ONCE;
                    // An error is the one that the next line gets, too.
                    let _ = durable.reserve(self.reserved);
                }
                match durable.put(sequence, &stored.head, &stored.body) {
                    Ok(ticket) => {
                        let body = std::mem::take(&mut stored.body);
                        self.hide_stored(ticket, body, about, now);
                        OfferStep::Storing(offered, ticket)
                    }
                    Err(error) if error.kind() == JournalErrorKind::Busy => {
                        self.stalled = true;
                        return OfferStep::NoRoom;
                    }
                    Err(error) => {
                        return OfferStep::Refused(storage_failure(&error, Verdict::NotExecuted));
                    }
                }
            }
            _ => {
                let Some(item) = item.take() else {
                    return OfferStep::NoRoom;
                };
                let payload = Payload::Live(item);
                let (due, extra) = (about.due, about.extra.take());
                let place = self.engine.store(
                    New {
                        payload,
                        due,
                        extra,
                    },
                    now,
                );
                // Before it is admitted: what is too old by then leaves at once, and its key holds all the same.
                self.learn_key(place, now);
                self.engine.admit(place, now);
                OfferStep::Stored(offered)
            }
        };
        self.rates.count_offered(now);
        step
    }

    /// An item is in the journal, and is not to be seen until it is on disk.
    pub(super) fn hide_stored(
        &mut self,
        ticket: Ticket,
        body: Vec<u8>,
        about: &mut About,
        now: Instant,
    ) {
        let keep = self.cached + body.len() <= self.engine.config.cache_bytes;
        let bytes = keep.then(|| {
            self.cached += body.len();
            Arc::from(body)
        });
        let payload = Payload::Stored(bytes);
        let (due, extra) = (about.due, about.extra.take());
        let place = self.engine.store(
            New {
                payload,
                due,
                extra,
            },
            now,
        );
        self.engine.hide(place, due);
        self.learn_key(place, now);
        self.storing.push_back((ticket, place));
        self.last_ticket = ticket;
    }

    pub(super) fn learn_key(&mut self, place: Place, now: Instant) {
        if let Some(item) = self.engine.items.get(place)
            && let Some(extra) = &item.extra
            && let Some(key) = extra.key
        {
            self.keys.learn(key, item.sequence, extra.print, now);
        }
    }

    pub(super) fn duplicate(
        &mut self,
        offered: Offered,
        item: &mut Option<T>,
        afterwards: &mut Afterwards<T>,
    ) -> OfferStep {
        // The first may still be on its way to the disk: this one is answered when that is. Not by the last ticket of
        // all: that may be of an acknowledgement, which nobody has synced.
        if let Some((last, _)) = self.storing.back() {
            return OfferStep::Storing(offered, *last);
        }
        afterwards.drop_item(item.take());
        OfferStep::Stored(offered)
    }

    /// `None` if the offer is new.
    pub(super) fn check_key(
        &mut self,
        local: &Local<T>,
        about: &About,
        now: Instant,
    ) -> Result<Option<Offered>, Failure> {
        if let Some(ended) = &self.ended {
            return Err(ended.clone());
        }
        let Some((key, print)) = about
            .extra
            .as_ref()
            .and_then(|extra| Some((extra.key?, extra.print)))
        else {
            return Ok(None);
        };
        // What is past the window counts no more, also if the keeper hasn't looked yet.
        self.forget_keys(local, now);
        match self.keys.check(key, print) {
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

    pub(super) fn forget_keys(&mut self, local: &Local<T>, now: Instant) {
        self.keys.forget(now, |record| {
            if let Some(durable) = &local.durable {
                // An error is one that everybody is told of anyway.
                let _ = durable.drop_record(record);
            }
        });
    }

    pub(super) fn make_room(
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
    pub(in crate::queue) fn wait_for_room(
        &mut self,
        item: &mut Option<T>,
        about: &mut About,
        waker: &Waker,
        name: &str,
    ) -> Result<WaiterId, Failure> {
        if self.offerers.len() >= WAITER_CAPACITY {
            return Err(too_many(name));
        }
        let item = item.take().ok_or_else(|| stopped(name))?;
        let about = std::mem::take(about);
        let waiting = Offerer::Waiting(Prepared { item, about });
        Ok(self.offerers.join(waiting, waker.clone()))
    }

    /// Somebody who offered waits for the disk.
    pub(in crate::queue) fn wait_for_sync(
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
    pub(in crate::queue) fn wait_for_write(&mut self, ticket: Ticket, waker: &Waker) -> WaiterId {
        let id = self.marks.enter(Mark::Waiting, waker.clone());
        self.writing.push_back((ticket, id));
        id
    }

    pub(super) fn answer_offer(&mut self, id: WaiterId, afterwards: &mut Afterwards<T>) {
        let offered = match self.offerers.get_mut(id) {
            Some(Offerer::Syncing(offered, _)) => *offered,
            _ => return,
        };
        let (before, waker) = self.offerers.serve(id, Offerer::Done(Ok(offered), None));
        afterwards.wake(waker);
        if let Some(Offerer::Syncing(_, Some(item))) = before {
            afterwards.drop_item(Some(item));
        }
    }
}
