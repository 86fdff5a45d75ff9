//! How items get out, and how those who wait are served.

use std::task::Waker;
use std::time::Duration;

use super::{
    Afterwards, Haul, Inside, Local, Mode, OfferStep, Offerer, Payload, Taken, Taker,
    WAITER_CAPACITY, Want, too_many,
};
use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::error::{Failure, FailureKind};
use crate::queue::engine::leasing::Plain;
use crate::queue::engine::{Grant, Item, Stage};
use crate::queue::line::WaiterId;
use crate::queue::offer::Prepared;
use crate::queue::slab::Place;

impl<T: Send + 'static> Inside<T> {
    /// More of it, if more has come.
    pub(in crate::queue) fn top_up(
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
    pub(in crate::queue) fn take(
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

    /// Takes an item out of a queue in memory.
    pub(in crate::queue) fn take_away(&mut self, want: Want, now: Instant) -> Option<T> {
        if self.engine.stages.ready == 0 || !self.may_take(want.consumer) {
            return None;
        }
        if let Some(Payload::Live(item)) = self.engine.take_plain() {
            self.rates.count_handed(now);
            self.rates.count_settled(now);
            return Some(item);
        }
        let item = self.engine.take(now)?;
        self.rates.count_handed(now);
        self.rates.count_settled(now);
        if let Some(key) = item.key() {
            self.keys.entomb(key, item.sequence);
        }
        match item.payload? {
            Payload::Live(item) => Some(item),
            Payload::Stored(_) => None,
        }
    }

    /// Leases an item in memory of which there is nothing more to know, and lends it out.
    pub(in crate::queue) fn lease_plain(
        &mut self,
        want: Want,
        now: Instant,
    ) -> Option<(Plain, Payload<T>)> {
        let Mode::Lease(span) = want.mode else {
            return None;
        };
        if !self.may_take(want.consumer) {
            return None;
        }
        let grant = Grant {
            span: span.unwrap_or(self.engine.config.lease),
            consumer: want.consumer,
        };
        let leased = self.engine.lease_plain(grant, now)?;
        self.rates.count_handed(now);
        self.consumers.count_delivery(want.consumer);
        Some(leased)
    }

    pub(in crate::queue) fn take_one(
        &mut self,
        local: &Local<T>,
        want: Want,
        now: Instant,
    ) -> Option<Taken<T>> {
        if self.engine.stages.ready == 0 {
            return None;
        }
        let lease = self.engine.config.lease;
        let grant = |span: Option<Duration>| Grant {
            span: span.unwrap_or(lease),
            consumer: want.consumer,
        };
        let span = match want.mode {
            Mode::Promise if local.durable.is_none() => {
                let item = match self.engine.take_or_hold(grant(None), now)? {
                    Ok(item) => item,
                    Err(place) => {
                        self.rates.count_handed(now);
                        return Taken::leased(place, self.engine.items.get_mut(place)?);
                    }
                };
                self.rates.count_handed(now);
                self.rates.count_settled(now);
                return Taken::gone(item);
            }
            Mode::Take if local.durable.is_none() => {
                let item = self.engine.take(now)?;
                self.rates.count_handed(now);
                self.rates.count_settled(now);
                return Taken::gone(item);
            }
            Mode::Take | Mode::Promise => None,
            Mode::Lease(span) => span,
        };
        let place = self.engine.lease(grant(span), now)?;
        self.rates.count_handed(now);
        self.consumers.count_delivery(want.consumer);
        Taken::leased(place, self.engine.items.get_mut(place)?)
    }

    /// Whether one with that name may have items now.
    pub(in crate::queue) fn may_take(&self, consumer: Option<Place>) -> bool {
        self.ended.is_none()
            && (!self.engine.config.single_active
                || consumer.is_some() && self.consumers.active() == consumer)
    }

    /// Brings items and takers, room and offerers together.
    pub(in crate::queue) fn settle(
        &mut self,
        local: &Local<T>,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) {
        if self.offerers.len() == 0 && self.takers.len() == 0 {
            return;
        }
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

    pub(super) fn serve_offerer(
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
        let Prepared { item, mut about } = prepared;
        let mut item = Some(item);
        let next = match self.store(local, &mut item, &mut about, true, afterwards, now) {
            OfferStep::Stored(offered) => Offerer::Done(Ok(offered), None),
            OfferStep::Storing(offered, ticket) => {
                self.syncing.push_back((ticket, id));
                self.offerers
                    .put(id, Offerer::Syncing(offered, item), waker);
                return;
            }
            // The journal takes no more: back to where it stood.
            OfferStep::NoRoom => {
                if let Some(item) = item {
                    let waiting = Offerer::Waiting(Prepared { item, about });
                    self.offerers.rejoin_first(id, waiting, waker);
                }
                return;
            }
            OfferStep::Refused(failure) => Offerer::Done(Err(failure), item),
        };
        self.offerers.put(id, next, None);
        afterwards.wake(waker);
    }

    /// Gives the first who may have it what there is.
    pub(super) fn serve_taker(
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
        let Some((id, mut want)) = next else {
            return false;
        };
        if let Mode::Take = want.mode {
            want.mode = Mode::Promise;
        }
        let Some(haul) = self.take(local, want, afterwards, now) else {
            return false;
        };
        let (_, waker) = self.takers.serve(id, Taker::Got(haul));
        afterwards.wake(waker);
        true
    }

    /// A consumer has gone. Where one alone is active its wishes would wait for ever.
    pub(in crate::queue) fn end_takers_of(
        &mut self,
        consumer: Place,
        local: &Local<T>,
        afterwards: &mut Afterwards<T>,
    ) {
        if !self.engine.config.single_active {
            return;
        }
        let theirs = self.takers.in_line().filter_map(|(id, taker)| match taker {
            Taker::Waiting(want) if want.consumer == Some(consumer) => Some(id),
            _ => None,
        });
        for id in theirs.collect::<Vec<_>>() {
            let ended = Taker::Ended(consumer_gone(&local.name));
            let (_, waker) = self.takers.serve(id, ended);
            afterwards.wake(waker);
        }
    }

    /// Why that one can get nothing here, now or later.
    pub(in crate::queue) fn is_shut_to(&self, want: Want, name: &str) -> Option<Failure> {
        if let Some(ended) = &self.ended {
            return Some(ended.clone());
        }
        let consumer = want.consumer?;
        let gone = self.engine.config.single_active && !self.consumers.is_there(consumer);
        gone.then(|| consumer_gone(name))
    }

    /// Somebody who takes waits in line.
    pub(in crate::queue) fn wait_for_items(
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

    /// Somebody looks who takes away: what was held for that one has gone now.
    pub(in crate::queue) fn keep_promise(
        &mut self,
        local: &Local<T>,
        want: Want,
        haul: &mut Haul<T>,
        afterwards: &mut Afterwards<T>,
        now: Instant,
    ) {
        if local.durable.is_some() || !matches!(want.mode, Mode::Take) {
            return;
        }
        let all = match haul {
            Haul::One(taken) => std::slice::from_mut(taken),
            Haul::Many(all) => &mut all[..],
        };
        let mut moved = false;
        for taken in all {
            if taken.token != 0
                && let Ok(item) = self.engine.ack(taken.place, taken.token, now)
            {
                // An error: of a disk, and there is none.
                let _ = self.acked(local, item, afterwards, now);
                taken.token = 0;
                moved = true;
            }
        }
        if moved {
            self.settle(local, afterwards, now);
        }
    }

    /// A lease lapses also while its item waits for its holder to look (G22): the item is back in its place then.
    pub(super) fn take_back_what_nobody_looked_at(&mut self, now: Instant) {
        if self.engine.next_lapse() > now {
            return;
        }
        for taker in self.takers.all_mut() {
            let Taker::Got(haul) = taker else {
                continue;
            };
            let first = match &*haul {
                Haul::One(taken) => Some(taken),
                Haul::Many(all) => all.first(),
            };
            // Those of one haul were leased at one time, for one span.
            let is_due = first.is_some_and(|taken| {
                self.engine.is_due(taken.place, taken.token, now)
                    && matches!(taken.payload, Payload::Live(_))
            });
            if !is_due {
                continue;
            }
            let all = match std::mem::replace(taker, Taker::Lapsed) {
                Taker::Got(Haul::One(taken)) => vec![taken],
                Taker::Got(Haul::Many(all)) => all,
                _ => Vec::new(),
            };
            for taken in all {
                if let Ok(item) = self.engine.held(taken.place, taken.token) {
                    item.payload = Some(taken.payload);
                }
            }
        }
    }

    /// What somebody had in hand who will not look at it any more goes back, as if it had not been handed out.
    pub(in crate::queue) fn hand_back(
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
                if inside.ended.is_some() {
                    // It ended while the item was on its way: to where the others went.
                    afterwards.letter_live(item);
                    return;
                }
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
                    afterwards.discard(Some(taken.payload));
                }
                // Held: looked at above.
                let _ = inside
                    .engine
                    .release(taken.place, taken.token, Duration::ZERO, now);
            } else {
                // No longer there: it ended while the item was on its way.
                afterwards.letter_live(taken.into_item());
            }
        };
        match haul {
            Haul::One(taken) => each(self, taken),
            Haul::Many(all) => all.into_iter().for_each(|taken| each(self, taken)),
        }
    }
}

fn consumer_gone(name: &str) -> Failure {
    Failure::new(FailureKind::Stopped, Verdict::NotExecuted)
        .with_detail(format!("the consumer of queue {name} is gone"))
}

impl<T> Taken<T> {
    /// One that has left its queue.
    pub(in crate::queue) fn gone(item: Item<Payload<T>>) -> Option<Self> {
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

    pub(super) fn leased(place: Place, item: &mut Item<Payload<T>>) -> Option<Self> {
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
    pub(in crate::queue) fn split(self) -> (Taken<()>, Payload<T>) {
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
    pub(super) fn into_item(self) -> Item<Payload<T>> {
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
