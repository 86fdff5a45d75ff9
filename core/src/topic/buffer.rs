//! The bounded buffer between a topic and one subscription, or one group of them.
//!
//! Publishers put messages in under the topic's lock, so they lie here in the order of their numbers. A reader
//! takes a few at a time under the buffer's own lock; what it has in hand still counts against the bound.
//!
//! With the policy `Wait` the last messages may lie behind the bound: those of publishers that stand in line. The
//! reader lets them in as it makes room; who gives up turns its message into a gap in its place, so that order and
//! numbers hold whoever waits for how long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use super::message::{Entry, Origin, TopicEvent, TopicMessage};
use super::{SlowSubscriber, SubscriberOptions};
use crate::sync::SpinLock;

/// How many messages a reader takes at a time at most.
const BATCH: usize = 64;
/// It takes no more than this part of the capacity, so that there is always an oldest message to drop.
const PART: usize = 16;

pub(super) struct Buffer<T> {
    capacity: usize,
    batch: usize,
    pub(super) policy: SlowSubscriber,
    /// What doesn't fit is read from the topic's history later on: a durable subscription.
    resumes: bool,
    /// Messages that its only reader has taken out and not yet handed on.
    in_hand: AtomicUsize,
    inner: SpinLock<Inner<T>>,
}

struct Inner<T> {
    items: VecDeque<Item<T>>,
    /// How many of `items` are messages; gap notices have room of their own, at most one between two messages.
    messages: usize,
    /// The publishers that wait, oldest first: their messages are the last of `items`.
    line: VecDeque<InLine>,
    /// How many read from it.
    readers: usize,
    /// Those that found nothing.
    resting: Vec<(u64, Waker)>,
    /// The next number to be read from the topic's history, until all of that is here.
    catch_up: Option<u64>,
    /// No more will come.
    ended: bool,
    /// Nobody listens.
    abandoned: bool,
    tally: Tally,
}

struct InLine {
    sequence: u64,
    publisher: Option<Waker>,
}

/// What happened to the messages for one buffer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) delivered: u64,
    pub(super) dropped: u64,
}

/// A message or a notice, as small as it gets: there may be a thousand for each of a thousand subscribers.
pub(super) enum Item<T> {
    Message(Arc<Entry<T>>, Origin),
    Gap(Box<Gap>),
}

pub(super) struct Gap {
    from: u64,
    to: u64,
    missed: Option<u64>,
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Stored,
    /// Stored, and an older one was lost.
    DroppedOldest,
    /// Lost.
    DroppedNewest,
    /// Lost, and the policy ended the subscription.
    Disconnected,
    /// It lies behind the bound, and its publisher may wait.
    InLine,
    /// The history has it for later.
    Later,
    /// Nobody listens any more.
    Gone,
}

/// What a reader found.
pub(super) enum Took {
    Items,
    /// Nothing as yet.
    Nothing,
    /// The next is to be read from the history.
    CatchUp,
    /// Nothing any more.
    Ended,
}

/// To be woken and dropped once no lock is held: wakers and values are the code of others.
#[must_use]
pub(super) struct After<T> {
    pub(super) wakes: Vec<Waker>,
    pub(super) dropped: Vec<Arc<Entry<T>>>,
}

impl<T> Default for After<T> {
    fn default() -> Self {
        After {
            wakes: Vec::new(),
            dropped: Vec::new(),
        }
    }
}

impl<T> Drop for After<T> {
    fn drop(&mut self) {
        self.wakes.drain(..).for_each(Waker::wake);
    }
}

impl<T> Item<T> {
    pub(super) fn gap(from: u64, to: u64, missed: Option<u64>) -> Self {
        Item::Gap(Box::new(Gap { from, to, missed }))
    }

    pub(super) fn of(event: TopicEvent<T>) -> Self {
        match event {
            TopicEvent::Message(message) => {
                let (entry, origin) = message.into_parts();
                Item::Message(entry, origin)
            }
            TopicEvent::Gap { from, to, missed } => Item::gap(from, to, missed),
        }
    }

    /// The last number that it accounts for.
    pub(super) fn end(&self) -> u64 {
        match self {
            Item::Message(entry, _) => entry.sequence,
            Item::Gap(gap) => gap.to,
        }
    }

    fn start(&self) -> u64 {
        match self {
            Item::Message(entry, _) => entry.sequence,
            Item::Gap(gap) => gap.from,
        }
    }

    pub(super) fn is_message(&self) -> bool {
        matches!(self, Item::Message(..))
    }

    pub(super) fn is_retained(&self) -> bool {
        matches!(self, Item::Message(_, Origin::Retained))
    }

    pub(super) fn into_event(self) -> TopicEvent<T> {
        match self {
            Item::Message(entry, origin) => TopicEvent::Message(TopicMessage::new(entry, origin)),
            Item::Gap(gap) => TopicEvent::Gap {
                from: gap.from,
                to: gap.to,
                missed: gap.missed,
            },
        }
    }
}

impl Gap {
    /// Takes in one that follows.
    fn join(&mut self, next: &Gap) {
        self.to = next.to;
        self.missed = self.missed.zip(next.missed).map(|(one, other)| one + other);
    }
}

impl<T> Buffer<T> {
    pub(super) fn new(options: SubscriberOptions) -> Self {
        let capacity = options.capacity.max(1);
        // Whoever waits for room wants to know of each place.
        let batch = match options.policy {
            SlowSubscriber::Wait(_) => 1,
            _ => (capacity / PART).clamp(1, BATCH),
        };
        Buffer {
            capacity,
            batch,
            policy: options.policy,
            resumes: false,
            in_hand: AtomicUsize::new(0),
            inner: SpinLock::new(Inner {
                items: VecDeque::new(),
                messages: 0,
                line: VecDeque::new(),
                readers: 0,
                resting: Vec::new(),
                catch_up: None,
                ended: false,
                abandoned: false,
                tally: Tally::default(),
            }),
        }
    }

    /// For several readers: each takes one message at a time, so that what one has not taken is there for another.
    pub(super) fn for_group(mut self) -> Self {
        self.batch = 1;
        self
    }

    /// For a durable subscription, whose overflow is the history.
    pub(super) fn for_durable(mut self) -> Self {
        self.resumes = true;
        self
    }

    /// Begins in the history.
    pub(super) fn catching_up_from(self, next: u64) -> Self {
        self.inner.lock().catch_up = Some(next);
        self
    }

    pub(super) fn options(&self) -> SubscriberOptions {
        SubscriberOptions {
            capacity: self.capacity,
            policy: self.policy,
        }
    }

    /// Puts a message in, or drops one. Called under the topic's lock.
    #[inline]
    pub(super) fn push(
        &self,
        entry: &Arc<Entry<T>>,
        may_wait: bool,
        after: &mut After<T>,
    ) -> Pushed {
        let mut inner = self.inner.lock();
        if inner.abandoned || inner.ended {
            return Pushed::Gone;
        }
        if inner.catch_up.is_some() {
            return Pushed::Later;
        }
        // The reader lowers its count without the lock: what is read here may be higher than it is by now, never
        // lower.
        let taken = inner.messages + self.in_hand.load(Ordering::Relaxed);
        let pushed = if taken < self.capacity {
            inner.tally.delivered += 1;
            inner.store(entry);
            Pushed::Stored
        } else {
            self.overflow(&mut inner, entry, may_wait, after)
        };
        if !inner.resting.is_empty() {
            inner.wake_all(after);
        }
        pushed
    }

    #[cold]
    fn overflow(
        &self,
        inner: &mut Inner<T>,
        entry: &Arc<Entry<T>>,
        may_wait: bool,
        after: &mut After<T>,
    ) -> Pushed {
        if self.resumes {
            inner.catch_up = Some(entry.sequence);
            return Pushed::Later;
        }
        match self.policy {
            SlowSubscriber::Wait(limit) if may_wait && !limit.is_zero() => {
                inner.store(entry);
                inner.line.push_back(InLine {
                    sequence: entry.sequence,
                    publisher: None,
                });
                return Pushed::InLine;
            }
            SlowSubscriber::DropOldest => {
                after.dropped.extend(inner.drop_oldest());
                inner.tally.delivered += 1;
                inner.tally.dropped += 1;
                inner.store(entry);
                return Pushed::DroppedOldest;
            }
            SlowSubscriber::Disconnect => inner.ended = true,
            SlowSubscriber::DropNewest | SlowSubscriber::Wait(_) => {}
        }
        inner.tally.dropped += 1;
        inner.note_gap(Gap {
            from: entry.sequence,
            to: entry.sequence,
            missed: Some(1),
        });
        if inner.ended {
            Pushed::Disconnected
        } else {
            Pushed::DroppedNewest
        }
    }

    /// Adds what was read from the history. `next` is the number to go on with; `None` if what is published from
    /// now on is to be pushed. Called under the topic's lock.
    pub(super) fn fill(
        &self,
        items: Vec<Item<T>>,
        next: Option<u64>,
        lost: u64,
        after: &mut After<T>,
    ) {
        let mut inner = self.inner.lock();
        inner.catch_up = next;
        inner.tally.dropped += lost;
        for item in items {
            match item {
                Item::Message(..) => {
                    inner.messages += 1;
                    inner.tally.delivered += 1;
                    inner.items.push_back(item);
                }
                Item::Gap(gap) => inner.note_gap(*gap),
            }
        }
        // Other readers of a group have something to take, or to wait for.
        inner.wake_all(after);
    }

    /// The next number to be read from the history.
    pub(super) fn to_catch_up(&self) -> Option<u64> {
        self.inner.lock().catch_up
    }

    /// No more will come; what is buffered is still delivered. Of what was still to be read from the history, up
    /// to `last`, nothing will.
    pub(super) fn end(&self, last: u64, after: &mut After<T>) {
        let mut inner = self.inner.lock();
        inner.ended = true;
        if let Some(next) = inner.catch_up.take()
            && next <= last
        {
            inner.note_gap(Gap {
                from: next,
                to: last,
                missed: None,
            });
        }
        inner.let_all_in(after);
        inner.wake_all(after);
    }

    /// One more reads from it.
    pub(super) fn join(&self) {
        self.inner.lock().readers += 1;
    }

    /// A reader has left. If it was the last nobody listens any more; else, if it was woken for something, another
    /// gets to know. Answers how many there are still.
    pub(super) fn leave(&self, reader: u64, after: &mut After<T>) -> usize {
        let mut inner = self.inner.lock();
        inner.readers = inner.readers.saturating_sub(1);
        let left = inner.readers;
        if left > 0 {
            let own = inner.resting.iter().position(|(id, _)| *id == reader);
            let own = own.map(|at| inner.resting.remove(at));
            if !inner.items.is_empty() {
                inner.wake_all(after);
            }
            drop(inner);
            drop(own);
            return left;
        }
        inner.abandoned = true;
        inner.messages = 0;
        inner.let_all_in(after);
        let items = std::mem::take(&mut inner.items);
        let resting = std::mem::take(&mut inner.resting);
        drop(inner);
        drop(resting);
        let entries = items.into_iter().filter_map(|item| match item {
            Item::Message(entry, _) => Some(entry),
            Item::Gap(_) => None,
        });
        after.dropped.extend(entries);
        0
    }

    /// Takes what comes next, a few messages at once. Wakes publishers for which there is room then.
    #[inline]
    pub(super) fn take(&self, into: &mut VecDeque<Item<T>>, after: &mut After<T>) -> Took {
        let mut inner = self.inner.lock();
        if inner.items.is_empty() {
            return match inner.catch_up {
                Some(_) if !inner.ended => Took::CatchUp,
                _ if inner.ended || inner.abandoned => Took::Ended,
                _ => Took::Nothing,
            };
        }
        let count = self.batch.min(inner.items.len());
        let before = into.len();
        into.extend(inner.items.drain(..count));
        let messages = into.iter().skip(before).filter(|item| item.is_message());
        let messages = messages.count();
        inner.messages -= messages;
        if self.batch > 1 {
            self.in_hand.store(messages, Ordering::Relaxed);
        } else {
            inner.let_in(self.capacity, after);
        }
        Took::Items
    }

    /// The reader has handed one message on that it had in hand.
    #[inline]
    pub(super) fn handed_on(&self) {
        if self.batch > 1 {
            // There is one reader, and nobody else writes.
            let in_hand = self.in_hand.load(Ordering::Relaxed);
            self.in_hand
                .store(in_hand.saturating_sub(1), Ordering::Relaxed);
        }
    }

    /// Notes whom to wake when something comes; `false` if it has come already.
    pub(super) fn register(&self, reader: u64, cx: &Context<'_>) -> bool {
        // Cloned and dropped outside the lock: a waker may be anybody's.
        let waker = cx.waker().clone();
        let mut inner = self.inner.lock();
        if !inner.items.is_empty() || inner.catch_up.is_some() || inner.ended {
            return false;
        }
        let own = inner.resting.iter_mut().find(|(id, _)| *id == reader);
        let old = match own {
            Some((_, own)) => Some(std::mem::replace(own, waker)),
            None => {
                inner.resting.push((reader, waker));
                None
            }
        };
        drop(inner);
        drop(old);
        true
    }

    /// Gives an event back that was taken and reached nobody, before all others.
    pub(super) fn put_back(&self, item: Item<T>, after: &mut After<T>) {
        let mut inner = self.inner.lock();
        if inner.abandoned {
            drop(inner);
            if let Item::Message(entry, _) = item {
                after.dropped.push(entry);
            }
            return;
        }
        inner.messages += usize::from(item.is_message());
        inner.items.push_front(item);
        inner.wake_all(after);
    }

    /// Whether the message of that number, whose publisher waits, is inside the bound by now.
    pub(super) fn poll_line(&self, sequence: u64, cx: &Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut inner = self.inner.lock();
        let Some(at) = inner.place_of(sequence) else {
            drop(inner);
            return Poll::Ready(());
        };
        let old = match inner.line.get_mut(at) {
            Some(place) => place.publisher.replace(waker),
            None => None,
        };
        drop(inner);
        drop(old);
        Poll::Pending
    }

    /// Its publisher waits no longer: the message becomes a gap, unless it has been let in. Answers whether it has.
    pub(super) fn give_up(&self, sequence: u64, after: &mut After<T>) -> bool {
        let mut inner = self.inner.lock();
        let Some(at) = inner.place_of(sequence) else {
            return true;
        };
        let place = inner.line.remove(at);
        after.wakes.extend(place.and_then(|place| place.publisher));
        after.dropped.extend(inner.miss(sequence));
        inner.tally.dropped += 1;
        // A notice may be what the reader waits for.
        inner.wake_all(after);
        false
    }

    /// How many messages wait, those of publishers that wait and those in the reader's hand among them.
    pub(super) fn len(&self) -> usize {
        self.inner.lock().messages + self.in_hand.load(Ordering::Relaxed)
    }

    pub(super) fn tally(&self) -> Tally {
        self.inner.lock().tally
    }

    /// The first number that waits to be read, if one does.
    pub(super) fn first_waiting(&self) -> Option<u64> {
        let inner = self.inner.lock();
        inner.items.front().map(Item::start).or(inner.catch_up)
    }

    pub(super) fn is_durable(&self) -> bool {
        self.resumes
    }

    pub(super) fn has_others(&self) -> bool {
        self.inner.lock().readers > 1
    }

    pub(super) fn is_catching_up(&self) -> bool {
        self.inner.lock().catch_up.is_some()
    }
}

impl<T> Inner<T> {
    #[inline]
    fn store(&mut self, entry: &Arc<Entry<T>>) {
        self.messages += 1;
        self.items
            .push_back(Item::Message(Arc::clone(entry), Origin::Live));
    }

    /// Turns the oldest message into part of the gap before it.
    fn drop_oldest(&mut self) -> Option<Arc<Entry<T>>> {
        let behind_gap = matches!(self.items.front(), Some(Item::Gap(_)));
        let entry = match self.items.remove(usize::from(behind_gap)) {
            Some(Item::Message(entry, _)) => entry,
            // There are never two gaps in a row: nothing is there but one.
            Some(gap) => {
                self.items.push_front(gap);
                return None;
            }
            None => return None,
        };
        self.messages -= 1;
        self.put_gap(usize::from(behind_gap), entry.sequence);
        Some(entry)
    }

    /// Turns the message of that number into a gap where it is.
    fn miss(&mut self, sequence: u64) -> Option<Arc<Entry<T>>> {
        let at = self.items.partition_point(|item| item.end() < sequence);
        match self.items.get(at) {
            Some(Item::Message(entry, _)) if entry.sequence == sequence => {}
            _ => return None,
        }
        let Some(Item::Message(entry, _)) = self.items.remove(at) else {
            return None;
        };
        self.messages -= 1;
        self.put_gap(at, sequence);
        Some(entry)
    }

    /// Notes that this number is missing before the item at `at`, joined with the gaps beside it.
    fn put_gap(&mut self, at: usize, sequence: u64) {
        let mut gap = Gap {
            from: sequence,
            to: sequence,
            missed: Some(1),
        };
        if let Some(Item::Gap(_)) = self.items.get(at)
            && let Some(Item::Gap(next)) = self.items.remove(at)
        {
            gap.join(&next);
        }
        if let Some(Item::Gap(before)) = at.checked_sub(1).and_then(|at| self.items.get_mut(at)) {
            before.join(&gap);
        } else {
            self.items.insert(at, Item::Gap(Box::new(gap)));
        }
    }

    /// Notes a gap behind all others; two in a row are one.
    fn note_gap(&mut self, gap: Gap) {
        match self.items.back_mut() {
            Some(Item::Gap(last)) => last.join(&gap),
            _ => self.items.push_back(Item::Gap(Box::new(gap))),
        }
    }

    fn wake_all(&mut self, after: &mut After<T>) {
        let resting = self.resting.drain(..);
        after.wakes.extend(resting.map(|(_, waker)| waker));
    }

    fn place_of(&self, sequence: u64) -> Option<usize> {
        let at = self.line.partition_point(|place| place.sequence < sequence);
        let place = self.line.get(at)?;
        (place.sequence == sequence).then_some(at)
    }

    /// Lets those in for which there is room.
    fn let_in(&mut self, capacity: usize, after: &mut After<T>) {
        while self.messages - self.line.len().min(self.messages) < capacity
            && let Some(place) = self.line.pop_front()
        {
            self.tally.delivered += 1;
            after.wakes.extend(place.publisher);
        }
    }

    /// There is no bound any more for those who wait.
    fn let_all_in(&mut self, after: &mut After<T>) {
        self.tally.delivered += self.line.len() as u64;
        after
            .wakes
            .extend(self.line.drain(..).filter_map(|place| place.publisher));
    }
}
