//! What a topic keeps: its last messages, and the last value of each subject that has a retained one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::buffer::Item;
use super::message::{Entry, Origin};
use super::options::{Replay, TopicOptions};
use super::subject;

/// How many messages of the history are looked at under one hold of the topic's lock.
const SCAN: usize = 512;

/// The last messages of a topic, all of them, in the order of their numbers.
pub(super) struct History<T> {
    entries: VecDeque<Arc<Entry<T>>>,
    limit: usize,
    age: Option<Duration>,
}

/// What was read for one subscription.
pub(super) struct Chapter<T> {
    pub(super) items: Vec<Item<T>>,
    /// Where to go on; `None` at the end.
    pub(super) next: Option<u64>,
    /// How many numbers are gone.
    pub(super) gone: u64,
}

impl<T> History<T> {
    /// `None` if nothing is to be kept.
    pub(super) fn new(options: &TopicOptions) -> Option<Self> {
        (options.history > 0).then(|| History {
            entries: VecDeque::new(),
            limit: options.history,
            age: options.history_age,
        })
    }

    pub(super) fn push(&mut self, entry: &Arc<Entry<T>>) {
        self.entries.push_back(Arc::clone(entry));
    }

    /// Takes out what is too much or too old by now.
    pub(super) fn evict(&mut self, now: Duration) -> impl Iterator<Item = Arc<Entry<T>>> + '_ {
        let surplus = self.entries.len().saturating_sub(self.limit);
        let old = match self.age {
            Some(age) => {
                let oldest = now.saturating_sub(age);
                self.entries.partition_point(|entry| entry.at < oldest)
            }
            None => 0,
        };
        self.entries.drain(..surplus.max(old))
    }

    /// The numbers of the first and the last that it has.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        let (first, last) = (self.entries.front()?, self.entries.back()?);
        Some((first.sequence, last.sequence))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Lets go of all.
    pub(super) fn take(&mut self) -> VecDeque<Arc<Entry<T>>> {
        std::mem::take(&mut self.entries)
    }

    /// The number with which a replay begins; `last` is that of the last message of the topic.
    pub(super) fn start_of(&self, replay: Replay, last: u64, now: Duration) -> u64 {
        let since = |at: Duration| {
            let index = self.entries.partition_point(|entry| entry.at < at);
            self.entries
                .get(index)
                .map_or(last + 1, |entry| entry.sequence)
        };
        match replay {
            Replay::Sequence(sequence) => sequence.clamp(1, last + 1),
            Replay::Time(at) => since(at),
            Replay::Last(span) => since(now.saturating_sub(span)),
            Replay::All => self.range().map_or(last + 1, |(first, _)| first),
        }
    }

    /// Whether it has the message of that number.
    pub(super) fn has(&self, sequence: u64) -> bool {
        let at = self
            .entries
            .partition_point(|entry| entry.sequence < sequence);
        let found = self.entries.get(at);
        found.is_some_and(|entry| entry.sequence == sequence)
    }

    /// Reads from `next` on what the pattern matches, `most` messages at most, up to `last`, which is the number of
    /// the last message of the topic. Those up to `handed` were handed out before.
    pub(super) fn read(
        &self,
        pattern: &str,
        next: u64,
        last: u64,
        most: usize,
        handed: u64,
    ) -> Chapter<T> {
        let mut chapter = Chapter {
            items: Vec::new(),
            next: None,
            gone: 0,
        };
        let mut next = next;
        let mut messages = 0;
        let start = self.entries.partition_point(|entry| entry.sequence < next);
        for (looked_at, entry) in self.entries.range(start..).enumerate() {
            if messages == most || looked_at == SCAN {
                chapter.next = Some(next);
                return chapter;
            }
            chapter.skip(next, entry.sequence - 1);
            next = entry.sequence + 1;
            if subject::matches(pattern, &entry.subject) {
                messages += 1;
                let origin = if entry.sequence <= handed {
                    Origin::Redelivered
                } else {
                    Origin::Replayed
                };
                chapter.items.push(Item::Message(Arc::clone(entry), origin));
            }
        }
        chapter.skip(next, last);
        chapter
    }
}

impl<T> Chapter<T> {
    /// Notes that these numbers are gone, if there are any.
    fn skip(&mut self, from: u64, to: u64) {
        if from <= to {
            self.items.push(Item::gap(from, to, None));
            self.gone += to - from + 1;
        }
    }
}

/// The last values of subjects.
pub(super) struct Retained<T> {
    entries: BTreeMap<Arc<str>, Arc<Entry<T>>>,
    limit: usize,
}

impl<T> Retained<T> {
    pub(super) fn new(options: &TopicOptions) -> Self {
        Retained {
            entries: BTreeMap::new(),
            limit: options.retained,
        }
    }

    /// Whether a subject may have one: it has, or there is room beside those others that are to get one.
    pub(super) fn has_room_for(&self, subject: &str, others: BTreeSet<&str>) -> bool {
        if self.entries.contains_key(subject) || self.entries.len() + others.len() < self.limit {
            return true;
        }
        let new = others.into_iter();
        let new = new
            .filter(|other| !self.entries.contains_key(*other))
            .count();
        self.entries.len() + new < self.limit
    }

    /// Answers the one before.
    pub(super) fn put(&mut self, entry: &Arc<Entry<T>>) -> Option<Arc<Entry<T>>> {
        self.entries
            .insert(Arc::clone(&entry.subject), Arc::clone(entry))
    }

    pub(super) fn remove(&mut self, subject: &str) -> Option<Arc<Entry<T>>> {
        self.entries.remove(subject)
    }

    /// Those whose subjects the pattern matches, by their numbers.
    pub(super) fn find(&self, pattern: &str) -> Vec<Arc<Entry<T>>> {
        let mut found: Vec<_> = self
            .entries
            .values()
            .filter(|entry| subject::matches(pattern, &entry.subject))
            .cloned()
            .collect();
        found.sort_unstable_by_key(|entry| entry.sequence);
        found
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Lets go of all.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Arc<Entry<T>>> + use<T> {
        std::mem::take(&mut self.entries).into_values()
    }
}
