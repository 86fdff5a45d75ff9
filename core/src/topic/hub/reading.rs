//! How subscriptions begin, read from the history, acknowledge and leave.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::buffer::{After, Buffer, Item};
use super::super::error::TopicError;
use super::super::message::Origin;
use super::super::options::{Replay, SubscriberOptions};
use super::super::store::Receipt;
use super::super::subscription::Subscription;
use super::super::trie::Key;
use super::members::{Durable, Kind, Wanted};
use super::{Hub, State};

impl<T> Hub<T> {
    /// Begins a subscription. The pattern is checked. The receipt says when a durable one that was made is stored.
    pub(in crate::topic) fn subscribe(
        self: &Arc<Self>,
        wanted: &Wanted,
    ) -> Result<(Subscription<T>, Option<Receipt>), TopicError> {
        let mut after = After::default();
        let mut state = self.state.lock();
        if !state.open {
            return Err(TopicError::stopped(&self.name));
        }
        let needs_history = wanted.replay.is_some() || matches!(wanted.kind, Kind::Durable(_));
        if needs_history && state.history.is_none() {
            return Err(TopicError::NoHistory(Arc::clone(&self.name)));
        }
        let now = self.now(&mut state, needs_history);
        state.evict(now, &mut after);
        let since = state.last;
        let start = wanted.replay.and_then(|replay| state.start_of(replay, now));
        let mut receipt = None;
        let (key, buffer) = match &wanted.kind {
            Kind::Own => {
                let buffer = Arc::new(begin(Buffer::new(wanted.options), start));
                let kind = Kind::Own;
                let key = state
                    .members
                    .add(&wanted.pattern, Arc::clone(&buffer), kind, 1);
                (key, buffer)
            }
            Kind::Group(name) => state.join(name, wanted, start)?,
            Kind::Durable(name) => {
                let held = state.hold(name, wanted, start, self.options.durables)?;
                receipt = held.receipt;
                (held.key, held.buffer)
            }
        };
        let mut first = Vec::new();
        if wanted.retained {
            // Those that come again in the replay are left out here.
            let comes = |sequence: u64| {
                let history = state.history.as_ref();
                start.is_some_and(|start| sequence >= start)
                    && history.is_some_and(|history| history.has(sequence))
            };
            let retained = state.retained.find(&wanted.pattern);
            let retained = retained.into_iter().filter(|entry| !comes(entry.sequence));
            first.extend(retained.map(|entry| Item::Message(entry, Origin::Retained)));
        }
        drop(state);
        let reader = self.number_reader();
        let subscription =
            Subscription::new(Arc::clone(self), buffer, key, reader, since, first.into());
        Ok((subscription, receipt))
    }

    /// A subscription of its own, from now on. If the topic has ended, one that has ended. The pattern is checked.
    pub(crate) fn subscribe_plain(
        self: &Arc<Self>,
        pattern: &str,
        options: SubscriberOptions,
    ) -> Subscription<T> {
        let wanted = Wanted {
            pattern: pattern.into(),
            options,
            replay: None,
            retained: false,
            kind: Kind::Own,
        };
        if let Ok((subscription, _)) = self.subscribe(&wanted) {
            return subscription;
        }
        let buffer = Arc::new(Buffer::new(options));
        buffer.end(0, &mut After::default());
        Subscription::new(Arc::clone(self), buffer, Key::MAX, 0, 0, VecDeque::new())
    }

    /// Moves what comes next from the history into a buffer.
    pub(in crate::topic) fn read_on(&self, key: Key, buffer: &Arc<Buffer<T>>) {
        let mut after = After::default();
        let mut state = self.state.lock();
        let now = self.now(&mut state, true);
        state.evict(now, &mut after);
        let last = state.last;
        let Some(member) = state.members.get(key) else {
            return;
        };
        if !Arc::ptr_eq(&member.buffer, buffer) {
            return;
        }
        // Another reader of the group may have been here first.
        let Some(next) = buffer.to_catch_up() else {
            return;
        };
        let handed = match &member.kind {
            Kind::Durable(name) => state.members.durable.get(name).map_or(0, |it| it.handed),
            _ => 0,
        };
        let Some(history) = &state.history else {
            return;
        };
        let most = buffer.options().capacity;
        let chapter = history.read(&member.pattern, next, last, most, handed);
        buffer.fill(chapter.items, chapter.next, chapter.gone, &mut after);
    }

    /// A reader leaves; `handed` is the last number that it got.
    pub(in crate::topic) fn leave(
        &self,
        key: Key,
        buffer: &Arc<Buffer<T>>,
        reader: u64,
        handed: u64,
    ) {
        let mut after = After::default();
        let mut state = self.state.lock();
        let left = buffer.leave(reader, &mut after);
        let own = state.members.get(key);
        let own = own.filter(|member| Arc::ptr_eq(&member.buffer, buffer));
        let Some(member) = own else {
            // The topic has ended, or the policy this subscription.
            return;
        };
        let kind = member.kind.clone();
        state.members.count_reader(key, false);
        match kind {
            Kind::Own | Kind::Group(_) if left > 0 => {}
            Kind::Own | Kind::Group(_) => {
                state.members.remove(key);
            }
            Kind::Durable(name) => {
                let Some(durable) = state.members.durable.get_mut(&name) else {
                    return;
                };
                durable.handed = durable.handed.max(handed);
                let rest = Buffer::new(buffer.options())
                    .for_durable()
                    .catching_up_from(durable.acked + 1);
                state.members.exchange(key, Arc::new(rest));
            }
        }
    }

    /// Notes how far the holder of a durable subscription has come.
    pub(in crate::topic) fn acknowledge(
        &self,
        key: Key,
        buffer: &Arc<Buffer<T>>,
        sequence: u64,
    ) -> Result<(), TopicError> {
        let mut state = self.state.lock();
        if !state.open {
            return Err(TopicError::stopped(&self.name));
        }
        let last = state.last;
        let State { members, store, .. } = &mut *state;
        let member = members.get(key);
        let member = member.filter(|member| Arc::ptr_eq(&member.buffer, buffer));
        let none = || TopicError::NoDurable(Arc::clone(&self.name));
        let member = member.ok_or_else(none)?;
        let Kind::Durable(name) = &member.kind else {
            return Err(none());
        };
        let (name, pattern) = (Arc::clone(name), Arc::clone(&member.pattern));
        let durable = members.durable.get_mut(&name).ok_or_else(none)?;
        let sequence = sequence.min(last);
        if sequence <= durable.acked {
            return Ok(());
        }
        if let Some(store) = store {
            store.put_cursor(durable.record, &name, &pattern, sequence, false)?;
        }
        durable.acked = sequence;
        Ok(())
    }

    /// Forgets a durable subscription that nobody holds. Answers whether there was one.
    pub(in crate::topic) fn forget_durable(&self, name: &str) -> Result<bool, TopicError> {
        let mut state = self.state.lock();
        let Some((name, durable)) = state.members.durable.get_key_value(name) else {
            return Ok(false);
        };
        let (name, key, record) = (Arc::clone(name), durable.key, durable.record);
        let held = state.members.get(key);
        if held.is_some_and(|member| member.readers > 0) {
            return Err(TopicError::DurableInUse(name));
        }
        if let Some(store) = &mut state.store {
            store.drop_record(record)?;
        }
        state.members.remove(key);
        Ok(true)
    }
}

/// A durable subscription that was taken.
struct Held<T> {
    key: Key,
    buffer: Arc<Buffer<T>>,
    /// When it is stored, if it was made.
    receipt: Option<Receipt>,
}

fn begin<T>(buffer: Buffer<T>, start: Option<u64>) -> Buffer<T> {
    match start {
        Some(start) => buffer.catching_up_from(start),
        None => buffer,
    }
}

impl<T> State<T> {
    /// Where a replay begins; `None` if that is behind the last message.
    fn start_of(&self, replay: Replay, now: std::time::Duration) -> Option<u64> {
        let start = self.history.as_ref()?.start_of(replay, self.last, now);
        (start <= self.last).then_some(start)
    }

    /// Joins a group, or begins it.
    fn join(
        &mut self,
        name: &Arc<str>,
        wanted: &Wanted,
        start: Option<u64>,
    ) -> Result<(Key, Arc<Buffer<T>>), TopicError> {
        let Some(key) = self.members.group(name, &wanted.pattern) else {
            let buffer = Arc::new(begin(Buffer::new(wanted.options).for_group(), start));
            let kind = Kind::Group(Arc::clone(name));
            let key = self
                .members
                .add(&wanted.pattern, Arc::clone(&buffer), kind, 1);
            return Ok((key, buffer));
        };
        let stopped = || TopicError::stopped(name);
        let buffer = &self.members.get(key).ok_or_else(stopped)?.buffer;
        let buffer = Arc::clone(buffer);
        let has = buffer.options();
        if has != wanted.options {
            return Err(TopicError::GroupDiffers {
                name: Arc::clone(name),
                has: format!("{has:?}"),
                wanted: format!("{:?}", wanted.options),
            });
        }
        self.members.count_reader(key, true);
        Ok((key, buffer))
    }

    /// Takes a durable subscription, or makes it.
    fn hold(
        &mut self,
        name: &Arc<str>,
        wanted: &Wanted,
        start: Option<u64>,
        limit: usize,
    ) -> Result<Held<T>, TopicError> {
        let (key, receipt) = match self.members.durable.get(name) {
            Some(durable) => {
                let member = self.members.get(durable.key);
                let member = member.ok_or_else(|| TopicError::NoDurable(Arc::clone(name)))?;
                if member.readers > 0 {
                    return Err(TopicError::DurableInUse(Arc::clone(name)));
                }
                if member.pattern != wanted.pattern {
                    return Err(TopicError::DurableDiffers {
                        name: Arc::clone(name),
                        has: Arc::clone(&member.pattern),
                        wanted: Arc::clone(&wanted.pattern),
                    });
                }
                (durable.key, None)
            }
            None if self.members.durable.len() >= limit => {
                return Err(TopicError::DurablesFull {
                    name: Arc::clone(name),
                    limit,
                });
            }
            None => {
                let acked = start.map_or(self.last, |start| start - 1);
                let (record, receipt) = match &mut self.store {
                    Some(store) => {
                        let record = store.new_cursor();
                        let pattern = &wanted.pattern;
                        (
                            record,
                            store.put_cursor(record, name, pattern, acked, true)?,
                        )
                    }
                    None => (0, None),
                };
                (
                    self.add_durable(name, &wanted.pattern, acked, record),
                    receipt,
                )
            }
        };
        let acked = self.members.durable.get(name).map_or(0, |it| it.acked);
        let buffer = Buffer::new(wanted.options).for_durable();
        let start = (acked < self.last).then_some(acked + 1);
        let buffer = Arc::new(begin(buffer, start));
        self.members.exchange(key, Arc::clone(&buffer));
        self.members.count_reader(key, true);
        Ok(Held {
            key,
            buffer,
            receipt,
        })
    }

    /// Adds a durable subscription that nobody holds: what comes is in the history for it.
    pub(super) fn add_durable(
        &mut self,
        name: &Arc<str>,
        pattern: &Arc<str>,
        acked: u64,
        record: u64,
    ) -> Key {
        let buffer = Buffer::new(SubscriberOptions::default()).for_durable();
        let buffer = Arc::new(buffer.catching_up_from(acked + 1));
        let kind = Kind::Durable(Arc::clone(name));
        let key = self.members.add(pattern, buffer, kind, 0);
        let durable = Durable {
            key,
            acked,
            handed: 0,
            record,
        };
        self.members.durable.insert(Arc::clone(name), durable);
        key
    }
}
