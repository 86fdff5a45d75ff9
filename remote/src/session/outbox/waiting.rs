//! Who waits for room in an outbox: each receiver's senders in a line of their own, in the order they came.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::large::Lane;
use super::{Inner, Letter, NoRoom, Outbox, unasked};
use crate::wire::frame::{HEADER, PIECE};

pub(super) type Line = VecDeque<(u64, Waker)>;

impl Inner {
    /// Whom to wake when there may be room: the first of each line.
    pub(super) fn heads(&mut self) -> Vec<Waker> {
        if self.waiting == 0 {
            return Vec::new();
        }
        let lines = self.flows.iter().map(|flow| &flow.line);
        let heads = lines.chain([&self.line]).filter_map(VecDeque::front);
        heads.map(|(_, waker)| waker.clone()).collect()
    }

    pub(super) fn everybody(&mut self) -> Vec<Waker> {
        self.waiting = 0;
        let lines = self.flows.iter_mut().map(|flow| &mut flow.line);
        let all = lines.chain([&mut self.line]).flat_map(std::mem::take);
        all.map(|(_, waker)| waker)
            .chain(self.writer.take())
            .collect()
    }

    fn line(&mut self, slot: Option<u32>) -> &mut Line {
        match slot {
            Some(slot) if (slot as usize) < self.flows.len() => &mut self.flows[slot as usize].line,
            _ => &mut self.line,
        }
    }

    /// Takes or keeps a place in a line: who polls isn't first, or there is no room.
    fn stand(&mut self, slot: Option<u32>, place: &mut Option<u64>, waker: &Waker) {
        if let Some(place) = *place {
            let mine = self
                .line(slot)
                .iter_mut()
                .find(|(other, _)| *other == place);
            if let Some((_, old)) = mine {
                old.clone_from(waker);
            }
            return;
        }
        self.next_place += 1;
        self.waiting += 1;
        let number = self.next_place;
        self.line(slot).push_back((number, waker.clone()));
        *place = Some(number);
    }

    fn is_first(&mut self, slot: Option<u32>, place: Option<u64>) -> bool {
        self.line(slot).front().map(|(first, _)| *first) == place
    }

    /// Leaves the line; whom to wake in its place.
    fn leave(&mut self, slot: Option<u32>, place: &mut Option<u64>) -> Option<Waker> {
        if let Some(place) = place.take() {
            let line = self.line(slot);
            let before = line.len();
            line.retain(|(other, _)| *other != place);
            let left = before - line.len();
            self.waiting = self.waiting.saturating_sub(left);
        }
        self.line(slot).front().map(|(_, waker)| waker.clone())
    }
}

/// The future of [`Outbox::push_waiting`].
pub(crate) struct PushWaiting<'a> {
    outbox: &'a Outbox,
    letter: &'a mut Letter,
    place: Option<u64>,
}

impl<'a> PushWaiting<'a> {
    pub(super) fn new(outbox: &'a Outbox, letter: &'a mut Letter) -> Self {
        PushWaiting {
            outbox,
            letter,
            place: None,
        }
    }
}

impl Future for PushWaiting<'_> {
    /// `false` if the session is over.
    type Output = bool;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let this = self.get_mut();
        let slot = Some(this.letter.slot);
        let mut inner = this.outbox.inner.lock();
        let room = this
            .outbox
            .has_room(&inner, this.letter.slot, this.letter.asked.is_some());
        if room == Err(NoRoom::Closed) {
            this.place = None;
            return Poll::Ready(false);
        }
        if room.is_ok() && inner.is_first(slot, this.place) {
            let writer = this.outbox.put_letter(&mut inner, this.letter);
            let next = inner.leave(slot, &mut this.place);
            drop(inner);
            writer.into_iter().chain(next).for_each(Waker::wake);
            return Poll::Ready(true);
        }
        inner.stand(slot, &mut this.place, cx.waker());
        Poll::Pending
    }
}

impl Drop for PushWaiting<'_> {
    fn drop(&mut self) {
        if self.place.is_some() {
            let slot = Some(self.letter.slot);
            let next = self.outbox.inner.lock().leave(slot, &mut self.place);
            next.into_iter().for_each(Waker::wake);
        }
    }
}

/// The future of [`Outbox::push_event`].
pub(crate) struct PushEvent<'a> {
    outbox: &'a Outbox,
    lane: Lane,
    frame: &'a [u8],
    place: Option<u64>,
}

impl<'a> PushEvent<'a> {
    pub(super) fn new(outbox: &'a Outbox, lane: Lane, frame: &'a [u8]) -> Self {
        PushEvent {
            outbox,
            lane,
            frame,
            place: None,
        }
    }
}

impl Future for PushEvent<'_> {
    /// `false` if the session is over.
    type Output = bool;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let this = self.get_mut();
        let mut inner = this.outbox.inner.lock();
        if inner.closed {
            this.place = None;
            return Poll::Ready(false);
        }
        let room = inner.waiting_bytes() < this.outbox.most_bytes;
        if room && inner.is_first(None, this.place) {
            if this.frame.len() > HEADER + PIECE || inner.is_large(this.lane) {
                inner.put_large(this.lane, unasked(this.frame.to_vec(), Bytes::new()));
            } else {
                inner.put(this.frame);
            }
            let writer = this.outbox.writer(&mut inner);
            let next = inner.leave(None, &mut this.place);
            drop(inner);
            writer.into_iter().chain(next).for_each(Waker::wake);
            return Poll::Ready(true);
        }
        inner.stand(None, &mut this.place, cx.waker());
        Poll::Pending
    }
}

impl Drop for PushEvent<'_> {
    fn drop(&mut self) {
        if self.place.is_some() {
            let next = self.outbox.inner.lock().leave(None, &mut self.place);
            next.into_iter().for_each(Waker::wake);
        }
    }
}
