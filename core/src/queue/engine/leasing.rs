//! Leases: how an item gets into somebody's hands, and out of them.

use std::sync::Arc;
use std::time::Duration;

use super::{Engine, Grant, History, Item, Lease, NotHeld, Stage, is_leased};
use crate::clock::Instant;
use crate::entropy::Entropy;
use crate::queue::Sequence;
use crate::queue::dead::DeadReason;
use crate::queue::slab::Place;

/// What there is to know of an item that few things are to be known of.
#[derive(Debug, Clone, Copy)]
pub(in crate::queue) struct Plain {
    pub(in crate::queue) place: Place,
    pub(in crate::queue) token: u64,
    pub(in crate::queue) sequence: Sequence,
    pub(in crate::queue) attempt: u32,
    pub(in crate::queue) failed: u32,
    pub(in crate::queue) offered: Duration,
    pub(in crate::queue) first_seen: Duration,
}

impl<P> Engine<P> {
    /// Leases the next item if there is nothing more to know of it, and lends it out: it is to be put back.
    pub(in crate::queue) fn lease_plain(
        &mut self,
        grant: Grant,
        now: Instant,
    ) -> Option<(Plain, P)> {
        if self.stages.leased >= self.config.max_in_flight {
            return None;
        }
        let (sequence, place) = self.ready.first()?;
        let time = self.time_of_day(now);
        let item = self.items.get_mut(place)?;
        if item.sequence != sequence || item.stage != Stage::Ready || item.extra.is_some() {
            return None;
        }
        let payload = item.payload.take()?;
        let lease = Lease {
            token: self.next_token,
            due: now + grant.span,
            consumer: grant.consumer,
        };
        item.stage = Stage::Leased(lease);
        item.attempt += 1;
        if item.first_seen.is_zero() {
            item.first_seen = time;
        }
        let plain = Plain {
            place,
            token: lease.token,
            sequence,
            attempt: item.attempt,
            failed: item.failed,
            offered: item.offered,
            first_seen: item.first_seen,
        };
        self.next_token += 1;
        self.totals.handed += 1;
        self.stages.ready -= 1;
        self.stages.leased += 1;
        self.ready.pop();
        self.leases.begin(lease.due, lease.token, place);
        self.soonest = self.soonest.min(lease.due);
        Some((plain, payload))
    }

    /// The lease of such an item ends well. `None` if it is another, or isn't held.
    pub(in crate::queue) fn ack_plain(&mut self, place: Place, token: u64) -> Option<P> {
        let item = self.items.get_mut(place)?;
        let Stage::Leased(lease) = item.stage else {
            return None;
        };
        if lease.token != token || item.extra.is_some() {
            return None;
        }
        let payload = item.payload.take()?;
        self.end_lease(place);
        self.items.clear(place);
        self.stages.leased -= 1;
        self.totals.settled += 1;
        Some(payload)
    }

    /// Leases the next item. It stays where it is, in somebody's hands.
    pub(in crate::queue) fn lease(&mut self, grant: Grant, now: Instant) -> Option<Place> {
        if self.stages.leased >= self.config.max_in_flight {
            return None;
        }
        let place = self.next(now)?;
        self.hold(place, grant, now);
        Some(place)
    }

    /// Takes the next item away. One of a group is only leased: should it come back, nobody may have the next of its
    /// group by then (G24).
    pub(in crate::queue) fn take_or_hold(
        &mut self,
        grant: Grant,
        now: Instant,
    ) -> Option<Result<Item<P>, Place>> {
        let place = self.next(now)?;
        if self.group_of(place).is_some() {
            self.hold(place, grant, now);
            return Some(Err(place));
        }
        self.take_at(place, now).map(Ok)
    }

    fn hold(&mut self, place: Place, grant: Grant, now: Instant) {
        let lease = Lease {
            token: self.next_token,
            due: now + grant.span,
            consumer: grant.consumer,
        };
        self.next_token += 1;
        self.leases.begin(lease.due, lease.token, place);
        self.soonest = self.soonest.min(lease.due);
        self.set_stage(place, Stage::Leased(lease));
        self.hand_out(place, now);
    }

    pub(super) fn hand_out(&mut self, place: Place, now: Instant) {
        self.totals.handed += 1;
        let time = self.time_of_day(now);
        if let Some(item) = self.items.get_mut(place) {
            item.attempt += 1;
            if item.first_seen.is_zero() {
                item.first_seen = time;
            }
        }
    }

    /// The item of a lease that holds.
    pub(in crate::queue) fn held(
        &mut self,
        place: Place,
        token: u64,
    ) -> Result<&mut Item<P>, NotHeld> {
        let item = self.items.get_mut(place).ok_or(NotHeld)?;
        match item.stage {
            Stage::Leased(lease) if lease.token == token => Ok(item),
            _ => Err(NotHeld),
        }
    }

    /// The lease ends well: the item leaves.
    pub(in crate::queue) fn ack(
        &mut self,
        place: Place,
        token: u64,
        now: Instant,
    ) -> Result<Item<P>, NotHeld> {
        self.held(place, token)?;
        self.totals.settled += 1;
        self.remove(place, now).ok_or(NotHeld)
    }

    /// The lease ends, and the item goes back to its place, for a later turn if there is a delay. That is no
    /// failure.
    pub(in crate::queue) fn release(
        &mut self,
        place: Place,
        token: u64,
        delay: Duration,
        now: Instant,
    ) -> Result<(), NotHeld> {
        self.held(place, token)?;
        self.come_back(place, delay, now);
        Ok(())
    }

    /// The lease ends badly: the item comes back after a pause, or leaves if that was once too often.
    pub(in crate::queue) fn fail(
        &mut self,
        place: Place,
        token: u64,
        reason: &Arc<str>,
        now: Instant,
        entropy: &Entropy,
    ) -> Result<(), NotHeld> {
        let failed = self.note_failure(place, token, reason, now)?;
        if self
            .config
            .delivery_limit
            .is_some_and(|limit| failed >= limit)
        {
            self.leave(place, DeadReason::DeliveryLimit, now);
        } else {
            let longest = self.longest_pause(failed);
            self.come_back(place, entropy.jitter(longest), now);
        }
        Ok(())
    }

    /// Answers how many there were.
    pub(super) fn note_failure(
        &mut self,
        place: Place,
        token: u64,
        reason: &Arc<str>,
        now: Instant,
    ) -> Result<u32, NotHeld> {
        let time = self.time_of_day(now);
        let item = self.held(place, token)?;
        item.failed += 1;
        let failed = item.failed;
        let extra = item.extra.get_or_insert_default();
        let first = extra.history.as_ref().map_or(time, |history| history.first);
        extra.history = Some(History {
            first,
            last: time,
            reason: Arc::clone(reason),
        });
        self.totals.failed += 1;
        Ok(failed)
    }

    /// Doubled with each failure, up to the cap. The pause is drawn from all of it ("full jitter").
    pub(super) fn longest_pause(&self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(31);
        let longest = self.config.retry_first.saturating_mul(1 << doublings);
        longest.min(self.config.retry_cap)
    }

    /// The lease ends, and the item leaves to where the dead ones are.
    pub(in crate::queue) fn bury(
        &mut self,
        place: Place,
        token: u64,
        reason: &Arc<str>,
        now: Instant,
    ) -> Result<(), NotHeld> {
        self.note_failure(place, token, reason, now)?;
        self.leave(place, DeadReason::Rejected, now);
        Ok(())
    }

    /// The lease lasts from now for `span`.
    pub(in crate::queue) fn extend(
        &mut self,
        place: Place,
        token: u64,
        span: Duration,
        now: Instant,
    ) -> Result<Instant, NotHeld> {
        let due = now + span;
        let item = self.held(place, token)?;
        let Stage::Leased(lease) = &mut item.stage else {
            return Err(NotHeld);
        };
        let before = std::mem::replace(&mut lease.due, due);
        self.leases.end(before, token, place);
        self.leases.begin(due, token, place);
        self.soonest = self.soonest.min(due);
        Ok(due)
    }

    /// Keeps an item that is in somebody's hands, but never hands it out again.
    pub(in crate::queue) fn set_aside(
        &mut self,
        place: Place,
        token: u64,
        now: Instant,
    ) -> Result<(), NotHeld> {
        self.held(place, token)?;
        self.end_lease(place);
        self.set_stage(place, Stage::SetAside);
        self.leave_group(place, now);
        Ok(())
    }

    pub(super) fn end_lease(&mut self, place: Place) {
        if let Some(item) = self.items.get(place)
            && let Stage::Leased(lease) = item.stage
        {
            self.leases.end(lease.due, lease.token, place);
            let items = &self.items;
            self.leases.sweep(self.stages.leased, |due, token, place| {
                is_leased(items, due, token, place)
            });
        }
    }

    pub(super) fn come_back(&mut self, place: Place, delay: Duration, now: Instant) {
        self.end_lease(place);
        if self.is_expired(place, now) {
            self.expire(place, now);
            return;
        }
        let due = if delay.is_zero() { now } else { now + delay };
        if due > now && self.config.reordering && self.group_of(place).is_some() {
            self.leave_group(place, now);
            self.set_detached(place, true);
        } else if self.is_overtaken(place) {
            // An older one of its group has come back meanwhile, from the dead say: that one is next.
            self.leave_group(place, now);
            self.set_stage(place, Stage::Behind(due));
            self.admit(place, now);
            return;
        }
        self.line_up(place, due, now);
    }
}
