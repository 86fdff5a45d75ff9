//! How items leave for good, and how a queue ends.

use super::{Afterwards, Inside, Local, Mark, Offerer, Payload, Taker};
use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::counters::DropReason;
use crate::error::Failure;
use crate::journal::{JournalError, Ticket};
use crate::queue::dead::DeadReason;
use crate::queue::engine::Item;

impl<T: Send + 'static> Inside<T> {
    /// An item has been acknowledged.
    pub(in crate::queue) fn acked(
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
    pub(in crate::queue) fn removed(
        &mut self,
        local: &Local<T>,
        item: Item<Payload<T>>,
        afterwards: &mut Afterwards<T>,
    ) -> Result<Ticket, JournalError> {
        let ticket = self.forget_record(local, &item);
        self.uncache(&item);
        afterwards.discard(item.payload);
        ticket
    }

    /// The record of an item that leaves goes, or stays for the sake of its key.
    pub(super) fn forget_record(
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

    pub(in crate::queue) fn uncache(&mut self, item: &Item<Payload<T>>) {
        if let Some(Payload::Stored(Some(bytes))) = &item.payload {
            self.cached = self.cached.saturating_sub(bytes.len());
        }
    }

    /// It is here again.
    pub(in crate::queue) fn cache(&mut self, item: &Item<Payload<T>>) {
        if let Some(Payload::Stored(Some(bytes))) = &item.payload {
            self.cached += bytes.len();
        }
    }

    /// Bytes that come from elsewhere are kept if there is room for them (G3); if not, they are read when needed.
    pub(in crate::queue) fn within_cache<P>(&mut self, payload: Payload<P>) -> Payload<P> {
        let Payload::Stored(Some(bytes)) = &payload else {
            return payload;
        };
        let cached = self.cached + bytes.len();
        if cached > self.engine.config.cache_bytes {
            return Payload::Stored(None);
        }
        self.cached = cached;
        payload
    }

    /// What the engine gave up goes where it belongs.
    pub(in crate::queue) fn file_gone(&mut self, local: &Local<T>, afterwards: &mut Afterwards<T>) {
        if !self.engine.gone.is_empty() {
            // An error is one that everybody is told of anyway.
            let _ = self.try_file_gone(local, afterwards);
        }
    }

    /// The same for who has to know from when on that survives the process: with the last of them.
    pub(in crate::queue) fn try_file_gone(
        &mut self,
        local: &Local<T>,
        afterwards: &mut Afterwards<T>,
    ) -> Result<Ticket, JournalError> {
        let mut filed = Ok(Ticket::default());
        for (item, reason) in std::mem::take(&mut self.engine.gone) {
            self.uncache(&item);
            if reason == DeadReason::Evicted || local.dead.is_none() {
                filed = self.forget_record(local, &item);
                let reason = match reason {
                    DeadReason::Expired => DropReason::Expired,
                    DeadReason::Evicted => DropReason::DropOldest,
                    DeadReason::DeliveryLimit | DeadReason::Rejected => DropReason::Rejected,
                };
                afterwards.letter(item, reason);
            } else {
                if let Some(durable) = &local.durable {
                    filed = durable.note(local, &item, Some(reason));
                }
                afterwards.bury(item, reason);
            }
        }
        filed
    }

    pub(super) fn next_due(&self) -> Instant {
        self.engine.next_due().min(self.keys.next_due())
    }

    /// Everybody who waits is told. What is on its way to somebody who hasn't looked yet goes back to its place.
    pub(in crate::queue) fn end(
        &mut self,
        failure: Failure,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) {
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
        afterwards.wake_all(wakes);
        let mut hauls = Vec::new();
        let wakes = self.takers.serve_all(|taker| {
            let before = std::mem::replace(taker, Taker::Ended(failure.clone()));
            if let Taker::Got(haul) = before {
                hauls.push(haul);
            }
        });
        afterwards.wake_all(wakes);
        for haul in hauls {
            self.hand_back(haul, afterwards, now);
        }
        let wakes = self.marks.serve_all(|mark| {
            if let Mark::Waiting = mark {
                *mark = Mark::Done(Err(unsure.clone()));
            }
        });
        afterwards.wake_all(wakes);
        self.syncing.clear();
        self.writing.clear();
        self.ended = Some(failure);
    }
}
