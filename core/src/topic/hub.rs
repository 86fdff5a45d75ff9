//! The part of a topic that needs no actor: who subscribes to what, under one lock that every caller takes on its
//! own thread. So a publish costs no hop, and dead letters, which must not depend on a mailbox, have it too.
//!
//! What is woken and what is dropped meanwhile is the code of others, and happens after the lock is given back.

mod members;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::channel::oneshot;
use parking_lot::Mutex;

use super::Published;
use super::buffer::{After, Pushed};
use super::error::{PublishError, TopicError};
use super::history::{History, Retained};
use super::message::Entry;
use super::options::{SlowSubscriber, TopicOptions};
use super::place::Place;
use super::state::{SubscriptionState, TopicState};
use super::store::{Codec, CursorHead, Pending, RETAINED, Store};
use crate::clock::Clock;
use crate::id::RequestKey;
use crate::journal::{OnProgress, Progress, RecordId};

use members::Members;

pub(super) use members::{Kind, Wanted};

/// The subscriptions of one topic, its numbering and what it keeps.
pub(crate) struct Hub<T> {
    pub(super) name: Arc<str>,
    /// None for what has no system of its own and so neither history nor waiting.
    clock: Option<Clock>,
    options: TopicOptions,
    /// How its values become bytes, if it has a journal.
    codec: Option<Codec<T>>,
    next_reader: AtomicU64,
    state: Mutex<State<T>>,
}

pub(super) struct State<T> {
    /// It has not ended.
    open: bool,
    /// The number of the last message that subscribers could have.
    last: u64,
    members: Members<T>,
    history: Option<History<T>>,
    retained: Retained<T>,
    /// The time of the last message: times don't go back, whatever the calendar does.
    at: Duration,
    store: Option<Store<T>>,
    /// How many messages of the journal could not be read when it was opened.
    unreadable: u64,
}

/// What a journal held.
pub(super) struct Recovered<T> {
    pub(super) history: Vec<Arc<Entry<T>>>,
    pub(super) retained: BTreeMap<Arc<str>, Arc<Entry<T>>>,
    /// Records that others have replaced.
    pub(super) replaced: Vec<RecordId>,
    pub(super) cursors: Vec<(RecordId, CursorHead)>,
    pub(super) last: u64,
    /// Messages, and retained values by subject, that could not be read.
    pub(super) unreadable: BTreeSet<u64>,
    pub(super) unreadable_retained: BTreeMap<Arc<str>, RecordId>,
}

/// A message on its way in.
pub(super) struct Outgoing<'a, T> {
    pub(super) label: Label<'a>,
    pub(super) value: T,
}

/// What its publisher said of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label<'a> {
    pub(super) subject: &'a str,
    pub(super) key: Option<RequestKey>,
    pub(super) retain: bool,
    /// Whether it would wait for slow subscribers.
    pub(super) may_wait: bool,
}

/// A message that subscribers have, but for those that make its publisher wait.
pub(super) struct Delivered<T> {
    pub(super) published: Published,
    pub(super) places: Vec<Place<T>>,
}

/// What a publish has come to.
pub(super) enum Step<T> {
    Delivered(Delivered<T>),
    /// It is on its way to the journal.
    Storing(oneshot::Receiver<Result<Delivered<T>, TopicError>>),
}

/// What was made under the lock and is let go after it.
type Replies<T> = Vec<(
    oneshot::Sender<Result<Delivered<T>, TopicError>>,
    Result<Delivered<T>, TopicError>,
)>;

impl<T> Hub<T> {
    pub(super) fn options(&self) -> TopicOptions {
        self.options
    }

    pub(crate) fn new(name: Arc<str>, options: TopicOptions, clock: Option<Clock>) -> Self {
        Hub {
            name,
            clock,
            options,
            codec: None,
            next_reader: AtomicU64::new(0),
            state: Mutex::new(State {
                open: true,
                last: 0,
                members: Members::new(),
                history: History::new(&options),
                retained: Retained::new(&options),
                at: Duration::ZERO,
                store: None,
                unreadable: 0,
            }),
        }
    }

    /// A topic with a journal, and what that held.
    pub(super) fn recover(
        name: Arc<str>,
        options: TopicOptions,
        clock: Clock,
        codec: Codec<T>,
        store: Store<T>,
        recovered: Recovered<T>,
    ) -> Self {
        let mut hub = Hub::new(name, options, Some(clock));
        hub.codec = Some(codec);
        let state = hub.state.get_mut();
        state.last = recovered.last;
        state.unreadable = recovered.unreadable.len() as u64;
        let mut store = store;
        store.keep_unread(recovered.unreadable, recovered.unreadable_retained);
        state.store = Some(store);
        for entry in recovered.history {
            state.at = state.at.max(entry.at);
            if let Some(history) = &mut state.history {
                history.push(&entry);
            } else if let Some(store) = &mut state.store {
                store.forget(entry.sequence);
            }
        }
        for entry in recovered.retained.into_values() {
            state.at = state.at.max(entry.at);
            if let Some(store) = &mut state.store {
                store.replaced(&entry, None);
            }
            state.retained.put(&entry);
        }
        if let Some(store) = &mut state.store {
            recovered
                .replaced
                .into_iter()
                .for_each(|id| store.forget_record(id));
        }
        for (record, cursor) in recovered.cursors {
            let acked = cursor.acked.min(recovered.last);
            state.add_durable(&cursor.name, &cursor.pattern, acked, record);
        }
        let now = hub.clock.as_ref().map_or(Duration::ZERO, Clock::unix);
        hub.state.get_mut().evict(now, &mut After::default());
        hub
    }

    /// Puts a message into the buffers of those whose pattern matches, in order (G27), or hands it to the journal
    /// first. The subject is checked.
    pub(super) fn publish(&self, outgoing: Outgoing<'_, T>) -> Result<Step<T>, PublishError<T>> {
        // Encoded before the lock is taken: that is the code of others.
        let body = match &self.codec {
            None => None,
            Some(codec) => match codec.encode(&outgoing.value) {
                Ok(body) => Some(body),
                Err(error) => {
                    return Err(PublishError {
                        error: error.into(),
                        value: Some(outgoing.value),
                    });
                }
            },
        };
        let mut after = After::default();
        let mut state = self.state.lock();
        if !state.open {
            drop(state);
            return Err(PublishError {
                error: TopicError::stopped(&self.name),
                value: Some(outgoing.value),
            });
        }
        if outgoing.label.retain && !state.has_room_for(outgoing.label.subject) {
            let error = TopicError::RetainedFull {
                subject: outgoing.label.subject.into(),
                limit: self.options.retained,
            };
            drop(state);
            return Err(PublishError {
                error,
                value: Some(outgoing.value),
            });
        }
        if let Some(body) = body {
            return self.store(&mut state, outgoing, &body);
        }
        let sequence = state.last + 1;
        let found = state.members.find(outgoing.label.subject);
        if found.is_empty() && state.history.is_none() && !outgoing.label.retain {
            state.last = sequence;
            state.members.found(found);
            drop(state);
            // The value is dropped outside the lock.
            drop(outgoing);
            return Ok(Step::Delivered(Delivered {
                published: Published {
                    sequence,
                    matched: 0,
                    dropped: 0,
                },
                places: Vec::new(),
            }));
        }
        let keeps = state.history.is_some() || outgoing.label.retain;
        let at = self.now(&mut state, keeps);
        let entry = Arc::new(Entry {
            subject: outgoing.label.subject.into(),
            sequence,
            at,
            key: outgoing.label.key,
            value: outgoing.value,
        });
        let how = How {
            retain: outgoing.label.retain,
            may_wait: outgoing.label.may_wait,
        };
        let delivered = state.deliver(&entry, found, how, &mut after);
        // Before the entry, whose last owner may be here.
        drop(state);
        Ok(Step::Delivered(delivered))
    }

    /// Publishes what `make` makes, unless nobody could want it: then it has its number all the same. Waits for
    /// nobody, and keeps nothing.
    pub(crate) fn publish_made(&self, make: impl FnOnce() -> (String, T)) {
        let mut after = After::default();
        let mut state = self.state.lock();
        if !state.open {
            return;
        }
        if state.members.is_empty() {
            state.last += 1;
            return;
        }
        let (subject, value) = make();
        let entry = Arc::new(Entry {
            sequence: state.last + 1,
            at: Duration::ZERO,
            key: None,
            value,
            subject: subject.into(),
        });
        let found = state.members.find(&entry.subject);
        let how = How {
            retain: false,
            may_wait: false,
        };
        let delivered = state.deliver(&entry, found, how, &mut after);
        drop(state);
        drop(delivered);
    }

    /// Appends a message to the journal, whose progress will [deliver](Hub::stored) it.
    fn store(
        &self,
        state: &mut State<T>,
        outgoing: Outgoing<'_, T>,
        body: &[u8],
    ) -> Result<Step<T>, PublishError<T>> {
        let at = self.now(state, true);
        match &mut state.store {
            Some(store) => store.append(outgoing, body, at).map(Step::Storing),
            None => Err(PublishError {
                error: TopicError::stopped(&self.name),
                value: Some(outgoing.value),
            }),
        }
    }

    /// Has the publisher woken when the journal may have room.
    pub(super) fn wait_for_journal(&self, cx: &std::task::Context<'_>) {
        let waker = cx.waker().clone();
        if let Some(store) = &mut self.state.lock().store {
            store.wait(waker);
        }
    }

    /// What was stored reaches its subscribers.
    fn stored(&self, progress: &Progress) {
        let mut after = After::default();
        let mut replies: Replies<T> = Vec::new();
        let mut state = self.state.lock();
        loop {
            let next = state.store.as_mut().and_then(|store| store.next(progress));
            let Some(pending) = next else { break };
            let Pending {
                entry, how, reply, ..
            } = pending;
            let found = state.members.find(&entry.subject);
            let delivered = state.deliver(&entry, found, how, &mut after);
            after.dropped.push(entry);
            replies.push((reply, Ok(delivered)));
        }
        let mut receipts = Vec::new();
        if let Some(store) = &mut state.store {
            after.wakes.extend(store.take_waiting());
            receipts = store.receipts(progress);
            if let Some(error) = &progress.failed {
                let lost = store.fail(error);
                for pending in lost {
                    let why = format!("its journal failed: {error}");
                    replies.push((pending.reply, Err(TopicError::in_doubt(&why))));
                    after.dropped.push(pending.entry);
                }
            }
        }
        drop(state);
        drop(after);
        for (reply, delivered) in replies {
            // A publisher that is gone waits for nobody: its places are given up.
            let _ = reply.send(delivered);
        }
        for receipt in receipts {
            let _ = receipt.send(Ok(()));
        }
    }

    /// No more is published; subscriptions end after what they have.
    pub(crate) fn end(&self) {
        let mut after = After::default();
        let mut state = self.state.lock();
        state.open = false;
        let last = state.last;
        state.members.end(last, &mut after);
        // What it kept may hold a reference to it, or to its system.
        if let Some(history) = &mut state.history {
            after.dropped.extend(history.take());
        }
        after.dropped.extend(state.retained.take());
        let store = state.store.take();
        drop(state);
        drop(after);
        if let Some(store) = store {
            for pending in store.into_pending() {
                // An error: its publisher is gone.
                let why = TopicError::in_doubt("the topic ended meanwhile");
                let _ = pending.reply.send(Err(why));
            }
        }
    }

    /// What it has seen.
    pub(super) fn state(&self) -> TopicState {
        let state = self.state.lock();
        let tally = state.members.tally();
        TopicState {
            published: state.last,
            delivered: tally.delivered,
            dropped: tally.dropped,
            subscribers: state.members.readers(),
            retained: state.retained.len(),
            history: state.history.as_ref().and_then(History::range),
            kept: state.history.as_ref().map_or(0, History::len),
            durables: state.members.durables(),
            unreadable: state.unreadable,
        }
    }

    /// Who subscribes, by pattern.
    pub(super) fn subscriptions(&self) -> Vec<SubscriptionState> {
        let state = self.state.lock();
        let mut all: Vec<_> = state.members.describe(state.last).collect();
        drop(state);
        all.sort_by(|one, other| (&one.pattern, &one.name).cmp(&(&other.pattern, &other.name)));
        all
    }

    /// Forgets the last value of a subject. Answers whether there was one.
    pub(super) fn forget_retained(&self, subject: &str) -> Result<bool, TopicError> {
        let mut state = self.state.lock();
        let gone = state.retained.remove(subject);
        let stored = match (&gone, &mut state.store) {
            (Some(entry), Some(store)) => store.drop_record(RETAINED | entry.sequence),
            _ => Ok(()),
        };
        drop(state);
        stored?;
        Ok(gone.is_some())
    }

    /// The time, if it is wanted.
    fn now(&self, state: &mut State<T>, wanted: bool) -> Duration {
        if wanted && let Some(clock) = &self.clock {
            state.at = state.at.max(clock.unix());
        }
        state.at
    }
}

/// What is to be done with a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) retain: bool,
    pub(super) may_wait: bool,
}

impl<T> State<T> {
    /// Whether a subject may have a retained value: it has, or there is room beside those that are being stored.
    fn has_room_for(&self, subject: &str) -> bool {
        let on_their_way = self.store.as_ref().map(|store| store.retaining(subject));
        self.retained
            .has_room_for(subject, on_their_way.unwrap_or_default())
    }

    /// Gives a message to those that were found, and keeps it, as the topic's next.
    fn deliver(
        &mut self,
        entry: &Arc<Entry<T>>,
        found: Vec<u32>,
        how: How,
        after: &mut After<T>,
    ) -> Delivered<T> {
        self.last = entry.sequence;
        let mut delivered = Delivered {
            published: Published {
                sequence: entry.sequence,
                matched: 0,
                dropped: 0,
            },
            places: Vec::new(),
        };
        let mut ended = Vec::new();
        for key in &found {
            let Some(member) = self.members.get(*key) else {
                continue;
            };
            let pushed = member.buffer.push(entry, how.may_wait, after);
            match pushed {
                Pushed::Gone => continue,
                Pushed::Stored | Pushed::Later => {}
                Pushed::DroppedOldest | Pushed::DroppedNewest => delivered.published.dropped += 1,
                Pushed::Disconnected => {
                    delivered.published.dropped += 1;
                    ended.push(*key);
                }
                Pushed::InLine => {
                    if let SlowSubscriber::Wait(limit) = member.buffer.policy {
                        let buffer = Arc::clone(&member.buffer);
                        delivered
                            .places
                            .push(Place::new(buffer, entry.sequence, limit));
                    }
                }
            }
            delivered.published.matched += 1;
        }
        self.members.found(found);
        for key in ended {
            self.members.remove(key);
        }
        if how.retain {
            let before = self.retained.put(entry);
            if let Some(store) = &mut self.store {
                let before = before.as_ref().map(|before| before.sequence);
                store.replaced(entry, before);
            }
            after.dropped.extend(before);
        }
        if let Some(history) = &mut self.history {
            history.push(entry);
            self.evict(entry.at, after);
        } else if let Some(store) = &mut self.store {
            store.forget(entry.sequence);
        }
        delivered
    }

    /// Lets go of what is too old or too much.
    fn evict(&mut self, now: Duration, after: &mut After<T>) {
        let Some(history) = &mut self.history else {
            return;
        };
        for entry in history.evict(now) {
            if let Some(store) = &mut self.store {
                store.forget(entry.sequence);
            }
            after.dropped.push(entry);
        }
    }
}

impl<T: Send + Sync + 'static> OnProgress for Hub<T> {
    fn progressed(&self, progress: &Progress) {
        self.stored(progress);
    }
}

impl<T> Hub<T> {
    fn number_reader(&self) -> u64 {
        self.next_reader.fetch_add(1, Ordering::Relaxed)
    }
}
