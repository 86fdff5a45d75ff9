//! Who subscribes: subscriptions, groups of them, and durable ones with their positions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::buffer::{After, Buffer, Tally};
use super::super::options::{Replay, SubscriberOptions};
use super::super::state::SubscriptionState;
use super::super::trie::{Key, Trie};

/// What a subscription is to be.
pub(in crate::topic) struct Wanted {
    pub(in crate::topic) pattern: Arc<str>,
    pub(in crate::topic) options: SubscriberOptions,
    pub(in crate::topic) replay: Option<Replay>,
    pub(in crate::topic) retained: bool,
    pub(in crate::topic) kind: Kind,
}

/// Who has the messages of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::topic) enum Kind {
    /// One subscriber.
    Own,
    /// The members of the group of that name, each message one of them.
    Group(Arc<str>),
    /// One subscriber after the other, under that name.
    Durable(Arc<str>),
}

/// One buffer under one pattern.
pub(super) struct Member<T> {
    pub(super) pattern: Arc<str>,
    pub(super) buffer: Arc<Buffer<T>>,
    pub(super) kind: Kind,
    /// How many read from it.
    pub(super) readers: usize,
    /// Its place in the trie.
    place: usize,
}

/// What is known of a durable subscription beside its buffer.
pub(super) struct Durable {
    pub(super) key: Key,
    /// The last number that was acknowledged.
    pub(super) acked: u64,
    /// The last number that was handed out.
    pub(super) handed: u64,
    /// Its number in the journal.
    pub(super) record: u64,
}

pub(super) struct Members<T> {
    trie: Trie,
    members: Vec<Option<Member<T>>>,
    free: Vec<Key>,
    /// By name and pattern.
    groups: BTreeMap<(Arc<str>, Arc<str>), Key>,
    pub(super) durable: BTreeMap<Arc<str>, Durable>,
    /// What happened to those that are gone.
    past: Tally,
    readers: usize,
    /// Room for the next look into the trie.
    scratch: Vec<Key>,
}

impl<T> Members<T> {
    pub(super) fn new() -> Self {
        Members {
            trie: Trie::new(),
            members: Vec::new(),
            free: Vec::new(),
            groups: BTreeMap::new(),
            durable: BTreeMap::new(),
            past: Tally::default(),
            readers: 0,
            scratch: Vec::new(),
        }
    }

    /// Whose pattern matches. The list is to be given back with [`found`](Members::found).
    #[inline]
    pub(super) fn find(&mut self, subject: &str) -> Vec<Key> {
        let mut found = std::mem::take(&mut self.scratch);
        found.clear();
        self.trie.find(subject, &mut found);
        found
    }

    #[inline]
    pub(super) fn found(&mut self, list: Vec<Key>) {
        self.scratch = list;
    }

    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<&Member<T>> {
        self.members.get(key as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Member<T>> {
        self.members.get_mut(key as usize)?.as_mut()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.len() == self.free.len()
    }

    pub(super) fn add(
        &mut self,
        pattern: &Arc<str>,
        buffer: Arc<Buffer<T>>,
        kind: Kind,
        readers: usize,
    ) -> Key {
        let key = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            Key::try_from(self.members.len() - 1).unwrap_or(Key::MAX)
        });
        let place = self.trie.insert(pattern, key);
        if let Kind::Group(name) = &kind {
            let group = (Arc::clone(name), Arc::clone(pattern));
            self.groups.insert(group, key);
        }
        self.readers += readers;
        self.members[key as usize] = Some(Member {
            pattern: Arc::clone(pattern),
            buffer,
            kind,
            readers,
            place,
        });
        key
    }

    /// The group of that name and pattern.
    pub(super) fn group(&self, name: &Arc<str>, pattern: &Arc<str>) -> Option<Key> {
        let group = (Arc::clone(name), Arc::clone(pattern));
        self.groups.get(&group).copied()
    }

    /// One more, or one fewer, reads from a member.
    pub(super) fn count_reader(&mut self, key: Key, more: bool) -> usize {
        let Some(member) = self.get_mut(key) else {
            return 0;
        };
        if more {
            member.readers += 1;
        } else {
            member.readers = member.readers.saturating_sub(1);
        }
        let readers = member.readers;
        self.readers = if more {
            self.readers + 1
        } else {
            self.readers.saturating_sub(1)
        };
        readers
    }

    /// Gives a member another buffer, and answers the one before.
    pub(super) fn exchange(&mut self, key: Key, buffer: Arc<Buffer<T>>) -> Option<Arc<Buffer<T>>> {
        let member = self.get_mut(key)?;
        let before = std::mem::replace(&mut member.buffer, buffer);
        self.past.add(before.tally());
        Some(before)
    }

    /// Takes a member out, with its branch of the trie.
    pub(super) fn remove(&mut self, key: Key) -> Option<Member<T>> {
        let member = self.members.get_mut(key as usize)?.take()?;
        self.free.push(key);
        if let Some(moved) = self.trie.remove(&member.pattern, member.place)
            && let Some(moved) = self.get_mut(moved)
        {
            moved.place = member.place;
        }
        match &member.kind {
            Kind::Own => {}
            Kind::Group(name) => {
                let group = (Arc::clone(name), Arc::clone(&member.pattern));
                self.groups.remove(&group);
            }
            Kind::Durable(name) => {
                self.durable.remove(name);
            }
        }
        self.readers = self.readers.saturating_sub(member.readers);
        self.past.add(member.buffer.tally());
        Some(member)
    }

    /// All end.
    pub(super) fn end(&mut self, last: u64, after: &mut After<T>) {
        for member in self.members.iter().flatten() {
            member.buffer.end(last, after);
        }
        let past = self.tally();
        *self = Members::new();
        self.past = past;
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.past;
        for member in self.members.iter().flatten() {
            tally.add(member.buffer.tally());
        }
        tally
    }

    pub(super) fn readers(&self) -> usize {
        self.readers
    }

    pub(super) fn durables(&self) -> usize {
        self.durable.len()
    }

    pub(super) fn describe(&self, last: u64) -> impl Iterator<Item = SubscriptionState> + '_ {
        self.members.iter().flatten().map(move |member| {
            let buffer = &member.buffer;
            let tally = buffer.tally();
            let (group, name) = match &member.kind {
                Kind::Own => (None, None),
                Kind::Group(name) => (Some(Arc::clone(name)), None),
                Kind::Durable(name) => (None, Some(Arc::clone(name))),
            };
            let durable = name.as_ref().and_then(|name| self.durable.get(name));
            SubscriptionState {
                pattern: Arc::clone(&member.pattern),
                readers: member.readers,
                capacity: buffer.options().capacity,
                waiting: buffer.len(),
                lag: buffer
                    .first_waiting()
                    .map_or(0, |first| (last + 1).saturating_sub(first)),
                is_replaying: buffer.is_catching_up(),
                delivered: tally.delivered,
                dropped: tally.dropped,
                acknowledged: durable.map(|durable| durable.acked),
                group,
                name,
            }
        })
    }
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.delivered += other.delivered;
        self.dropped += other.dropped;
    }
}
