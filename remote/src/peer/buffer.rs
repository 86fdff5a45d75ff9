//! The bounded buffer of a subscription, and what it knows of its topic's numbers (G3, G28).

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use callboard::Incarnation;
use callboard::topic::{SlowSubscriber, SubscriberOptions};
use parking_lot::Mutex;

use super::subscription::RemoteEvent;

#[cfg(test)]
mod tests;

pub(crate) struct Buffer<T> {
    options: SubscriberOptions,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    events: VecDeque<RemoteEvent<T>>,
    /// How many of `events` are messages.
    messages: usize,
    /// The start of the other node and the number of its last message that is accounted for.
    seen: Option<(Incarnation, u64)>,
    subscriber: Option<Waker>,
    ended: bool,
}

/// A number that can't follow what came before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OutOfOrder;

/// What became of what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    All,
    /// Something was missed here.
    Missed,
    /// The policy ended the subscription.
    Ended,
}

impl<T> Buffer<T> {
    pub(crate) fn new(options: SubscriberOptions) -> Self {
        Buffer {
            options,
            inner: Mutex::new(Inner {
                events: VecDeque::new(),
                messages: 0,
                seen: None,
                subscriber: None,
                ended: false,
            }),
        }
    }

    /// The subscription holds from now on; `since` was the last number before.
    pub(crate) fn confirmed(&self, incarnation: Incarnation, since: u64) -> Kept {
        let mut dropped = VecDeque::new();
        let kept = self.change(|inner| {
            let before = inner.seen.replace((incarnation, since));
            let kept = match before {
                None => Kept::All,
                Some((same, last)) if same == incarnation && since >= last => {
                    if since == last {
                        return (Kept::All, None);
                    }
                    inner.put_gap(last + 1, since);
                    Kept::Missed
                }
                Some(_) => {
                    dropped = inner.put_restarted(since, self.options.capacity);
                    Kept::Missed
                }
            };
            (kept, None)
        });
        drop(dropped);
        kept
    }

    pub(crate) fn message(
        &self,
        subject: &str,
        sequence: u64,
        value: T,
    ) -> Result<Kept, OutOfOrder> {
        self.change(|inner| {
            if !inner.advance(sequence, sequence) {
                return (Err(OutOfOrder), None);
            }
            let event = RemoteEvent::Message {
                subject: subject.into(),
                sequence,
                value,
            };
            if inner.messages < self.options.capacity.max(1) {
                inner.messages += 1;
                inner.events.push_back(event);
                return (Ok(Kept::All), None);
            }
            match self.options.policy {
                SlowSubscriber::DropNewest => {
                    inner.put_gap(sequence, sequence);
                    (Ok(Kept::Missed), Some(event))
                }
                SlowSubscriber::Disconnect => {
                    inner.put_gap(sequence, sequence);
                    inner.ended = true;
                    (Ok(Kept::Ended), Some(event))
                }
                _ => {
                    let oldest = inner.drop_oldest();
                    inner.messages += 1;
                    inner.events.push_back(event);
                    (Ok(Kept::Missed), oldest)
                }
            }
        })
    }

    pub(crate) fn gap(&self, from: u64, to: u64) -> Result<(), OutOfOrder> {
        self.change(|inner| {
            if !inner.advance(from, to) {
                return (Err(OutOfOrder), None);
            }
            inner.put_gap(from, to);
            (Ok(()), None)
        })
    }

    /// No more will come after this, if anything; what is buffered is still delivered.
    pub(crate) fn end(&self, last: Option<RemoteEvent<T>>) {
        self.change(|inner| {
            if !inner.ended {
                inner.events.extend(last);
            }
            inner.ended = true;
            ((), None)
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.inner.lock().messages
    }

    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<RemoteEvent<T>>> {
        let mut inner = self.inner.lock();
        match inner.events.pop_front() {
            Some(event) => {
                inner.messages -= usize::from(matches!(event, RemoteEvent::Message { .. }));
                Poll::Ready(Some(event))
            }
            None if inner.ended => Poll::Ready(None),
            None => {
                inner.subscriber = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Changes what is inside; wakes the subscriber and drops what was lost outside the lock.
    fn change<R>(&self, change: impl FnOnce(&mut Inner<T>) -> (R, Option<RemoteEvent<T>>)) -> R {
        let mut inner = self.inner.lock();
        let (result, lost) = change(&mut inner);
        let wake = inner.subscriber.take();
        drop(inner);
        drop(lost);
        wake.into_iter().for_each(Waker::wake);
        result
    }
}

impl<T> Inner<T> {
    /// Accounts for these numbers; `false` if they can't come now.
    fn advance(&mut self, from: u64, to: u64) -> bool {
        match &mut self.seen {
            Some((_, last)) if from > *last && to >= from => {
                *last = to;
                true
            }
            _ => false,
        }
    }

    /// Notes a gap behind all others; two in a row are one.
    fn put_gap(&mut self, from: u64, to: u64) {
        match self.events.back_mut() {
            Some(RemoteEvent::Gap { to: end, .. }) => *end = to,
            _ => self.events.push_back(RemoteEvent::Gap { from, to }),
        }
    }

    /// What it drops is to be dropped outside of the lock: code of others.
    #[must_use]
    fn put_restarted(&mut self, missed: u64, capacity: usize) -> VecDeque<RemoteEvent<T>> {
        let mut dropped = VecDeque::new();
        // Notices have no bound of their own: a subscriber that reads nothing over many restarts is told
        // of the last.
        if self.events.len() > capacity.saturating_mul(2).saturating_add(8) {
            std::mem::swap(&mut self.events, &mut dropped);
            self.messages = 0;
        }
        match self.events.back_mut() {
            Some(RemoteEvent::Restarted { missed: last }) => *last = missed,
            _ => self.events.push_back(RemoteEvent::Restarted { missed }),
        }
        dropped
    }

    /// Turns the oldest message into a gap, joined with the gaps beside it.
    fn drop_oldest(&mut self) -> Option<RemoteEvent<T>> {
        let index = self
            .events
            .iter()
            .position(|event| matches!(event, RemoteEvent::Message { .. }))?;
        let slot = self.events.get_mut(index)?;
        let RemoteEvent::Message { sequence, .. } = slot else {
            return None;
        };
        let (mut from, mut to) = (*sequence, *sequence);
        let gap = RemoteEvent::Gap { from, to };
        let oldest = std::mem::replace(slot, gap);
        self.messages -= 1;
        if let Some(RemoteEvent::Gap { to: end, .. }) = self.events.get(index + 1) {
            to = *end;
            self.events.remove(index + 1);
        }
        let mut index = index;
        if let Some(before) = index.checked_sub(1)
            && let Some(RemoteEvent::Gap { from: begin, .. }) = self.events.get(before)
        {
            from = *begin;
            self.events.remove(before);
            index = before;
        }
        if let Some(slot) = self.events.get_mut(index) {
            *slot = RemoteEvent::Gap { from, to };
        }
        Some(oldest)
    }
}
