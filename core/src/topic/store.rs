//! A topic whose messages outlive the process: what goes to its journal, in which records.
//!
//! | number | record |
//! |---|---|
//! | below 2^62 | the message of that number; while it is in the history |
//! | from 2^62 on | the same once more, while it is the retained value of its subject |
//! | from 2^63 on | the position of a durable subscription |
//!
//! A message is appended, and its subscribers get it once it is synced: nobody ever sees what a crash could take
//! back. What falls out of the history is dropped together with the next message, so that the last number is always
//! there and no number is given twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use futures::channel::oneshot;
use serde::{Deserialize, Serialize};

use super::error::{PublishError, TopicError};
use super::hub::{Delivered, How, Outgoing};
use super::message::Entry;
use crate::codec::{self, CodecError};
use crate::id::RequestKey;
use crate::journal::{
    Change, Durability, Journal, JournalError, JournalErrorKind, Progress, RecordId, Ticket,
};
use crate::message::WireMessage;

/// Where the records of retained values begin.
pub(super) const RETAINED: RecordId = 1 << 62;
/// Where those of positions begin.
pub(super) const CURSORS: RecordId = 1 << 63;

/// How values become bytes, where their type is known.
#[derive(Clone, Copy)]
pub(super) struct Codec<T> {
    encode: fn(&T) -> Result<Vec<u8>, CodecError>,
    name: &'static str,
    version: u32,
}

impl<T: WireMessage> Codec<T> {
    pub(super) fn new() -> Self {
        Codec {
            encode: |value| codec::encode(value),
            name: T::NAME,
            version: T::VERSION,
        }
    }
}

impl<T> Codec<T> {
    pub(super) fn encode(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        (self.encode)(value)
    }
}

/// What is known of a message before its body is read. Field names are short because each record has them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MessageHead {
    #[serde(rename = "s")]
    pub(super) subject: Arc<str>,
    /// Nanoseconds since 1970.
    #[serde(rename = "t")]
    pub(super) at: u64,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<RequestKey>,
    #[serde(rename = "n")]
    pub(super) name: Arc<str>,
    #[serde(rename = "v")]
    pub(super) version: u32,
}

/// The position of a durable subscription.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CursorHead {
    #[serde(rename = "n")]
    pub(super) name: Arc<str>,
    #[serde(rename = "p")]
    pub(super) pattern: Arc<str>,
    #[serde(rename = "a")]
    pub(super) acked: u64,
}

/// What a topic has to do with its journal.
pub(super) struct Store<T> {
    journal: Arc<dyn Journal>,
    codec: Codec<T>,
    /// The number of the last message that was appended.
    appended: u64,
    /// Those that aren't synced, in order.
    pending: VecDeque<Pending<T>>,
    /// Who waits for a change to be synced.
    receipts: VecDeque<(Ticket, oneshot::Sender<Result<(), TopicError>>)>,
    /// To be dropped with the next message.
    forgotten: Vec<RecordId>,
    /// Publishers for which the journal had no room.
    waiting: Vec<Waker>,
    next_cursor: RecordId,
    /// Messages, and retained values by subject, that could not be read.
    unread: BTreeSet<u64>,
    unread_retained: BTreeMap<Arc<str>, RecordId>,
    failed: Option<JournalError>,
}

/// A message on its way to the journal.
pub(super) struct Pending<T> {
    ticket: Ticket,
    pub(super) entry: Arc<Entry<T>>,
    pub(super) how: How,
    pub(super) reply: oneshot::Sender<Result<Delivered<T>, TopicError>>,
}

/// Says when a change is synced.
pub(crate) type Receipt = oneshot::Receiver<Result<(), TopicError>>;

impl<T> Store<T> {
    /// `last` is the number of the last message that the journal has seen, `next_cursor` one that no position has.
    pub(super) fn new(
        journal: Arc<dyn Journal>,
        codec: Codec<T>,
        last: u64,
        next_cursor: RecordId,
    ) -> Self {
        Store {
            journal,
            codec,
            appended: last,
            pending: VecDeque::new(),
            receipts: VecDeque::new(),
            forgotten: Vec::new(),
            waiting: Vec::new(),
            next_cursor,
            unread: BTreeSet::new(),
            unread_retained: BTreeMap::new(),
            failed: None,
        }
    }

    /// Appends a message with what is to be dropped.
    pub(super) fn append(
        &mut self,
        outgoing: Outgoing<'_, T>,
        body: &[u8],
        at: Duration,
    ) -> Result<oneshot::Receiver<Result<Delivered<T>, TopicError>>, PublishError<T>> {
        let sequence = self.appended + 1;
        let subject: Arc<str> = outgoing.label.subject.into();
        let ticket = match self.put_message(&subject, sequence, &outgoing, body, at) {
            Ok(ticket) => ticket,
            Err(error) => {
                return Err(PublishError {
                    error,
                    value: Some(outgoing.value),
                });
            }
        };
        self.forgotten.clear();
        self.appended = sequence;
        let (reply, stored) = oneshot::channel();
        self.pending.push_back(Pending {
            ticket,
            entry: Arc::new(Entry {
                subject,
                sequence,
                at,
                key: outgoing.label.key,
                value: outgoing.value,
            }),
            how: How {
                retain: outgoing.label.retain,
                may_wait: outgoing.label.may_wait,
            },
            reply,
        });
        Ok(stored)
    }

    fn put_message(
        &self,
        subject: &Arc<str>,
        sequence: u64,
        outgoing: &Outgoing<'_, T>,
        body: &[u8],
        at: Duration,
    ) -> Result<Ticket, TopicError> {
        self.check()?;
        let head = codec::encode(&MessageHead {
            subject: Arc::clone(subject),
            at: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
            key: outgoing.label.key,
            name: self.codec.name.into(),
            version: self.codec.version,
        })?;
        let put = |id| Change::Put {
            id,
            head: &head,
            body,
        };
        let mut changes = vec![put(sequence)];
        if outgoing.label.retain {
            changes.push(put(RETAINED | sequence));
        }
        changes.extend(self.forgotten.iter().map(|id| Change::Drop { id: *id }));
        Ok(self.journal.append(&changes, Durability::Synced)?)
    }

    fn check(&self) -> Result<(), TopicError> {
        match &self.failed {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }

    /// The other subjects than this that are to get a retained value.
    pub(super) fn retaining(&self, subject: &str) -> BTreeSet<&str> {
        let retaining = self.pending.iter().filter(|pending| pending.how.retain);
        let subjects = retaining.map(|pending| &*pending.entry.subject);
        subjects.filter(|other| *other != subject).collect()
    }

    /// The next message that is synced.
    pub(super) fn next(&mut self, progress: &Progress) -> Option<Pending<T>> {
        let first = self.pending.front()?;
        if first.ticket > progress.synced {
            return None;
        }
        self.pending.pop_front()
    }

    /// Those whose changes are synced.
    pub(super) fn receipts(
        &mut self,
        progress: &Progress,
    ) -> Vec<oneshot::Sender<Result<(), TopicError>>> {
        let synced = self
            .receipts
            .iter()
            .take_while(|(ticket, _)| *ticket <= progress.synced);
        let count = synced.count();
        self.receipts
            .drain(..count)
            .map(|(_, reply)| reply)
            .collect()
    }

    /// Nothing more is stored from now on. Answers what nobody can know of.
    pub(super) fn fail(&mut self, error: &JournalError) -> VecDeque<Pending<T>> {
        self.failed.get_or_insert_with(|| error.clone());
        // Who waits for a receipt sees that its sender is gone.
        self.receipts.clear();
        std::mem::take(&mut self.pending)
    }

    /// All that was not synced, when the topic ends.
    pub(super) fn into_pending(self) -> VecDeque<Pending<T>> {
        self.pending
    }

    /// Wakes a publisher when the journal may have room.
    pub(super) fn wait(&mut self, waker: Waker) {
        self.waiting.push(waker);
    }

    pub(super) fn take_waiting(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.waiting)
    }

    /// What could not be read stays where it is until it would have to go anyway.
    pub(super) fn keep_unread(
        &mut self,
        messages: BTreeSet<u64>,
        retained: BTreeMap<Arc<str>, RecordId>,
    ) {
        self.unread = messages;
        self.unread_retained = retained;
    }

    /// A message fell out of the history, and with it what lay before it unread.
    pub(super) fn forget(&mut self, sequence: u64) {
        let rest = self.unread.split_off(&sequence);
        self.forgotten
            .extend(std::mem::replace(&mut self.unread, rest));
        self.forgotten.push(sequence);
    }

    /// A record is of no use any more.
    pub(super) fn forget_record(&mut self, id: RecordId) {
        self.forgotten.push(id);
    }

    /// A subject has this retained value now, and had the one of the number `before`.
    pub(super) fn replaced(&mut self, now: &Entry<T>, before: Option<u64>) {
        self.forgotten
            .extend(before.map(|before| RETAINED | before));
        let unread = self.unread_retained.get(&now.subject);
        if unread.is_some_and(|id| *id < RETAINED | now.sequence) {
            let unread = self.unread_retained.remove(&now.subject);
            self.forgotten.extend(unread);
        }
    }

    /// Drops a record at once.
    pub(super) fn drop_record(&mut self, id: RecordId) -> Result<(), TopicError> {
        self.check()?;
        let change = Change::Drop { id };
        self.journal.append(&[change], Durability::Synced)?;
        Ok(())
    }

    pub(super) fn new_cursor(&mut self) -> RecordId {
        self.next_cursor += 1;
        self.next_cursor - 1
    }

    /// Stores the position of a durable subscription. With a receipt it is synced soon, else written.
    pub(super) fn put_cursor(
        &mut self,
        id: RecordId,
        name: &Arc<str>,
        pattern: &Arc<str>,
        acked: u64,
        wants_receipt: bool,
    ) -> Result<Option<Receipt>, TopicError> {
        self.check()?;
        let head = codec::encode(&CursorHead {
            name: Arc::clone(name),
            pattern: Arc::clone(pattern),
            acked,
        })?;
        let change = Change::Put {
            id,
            head: &head,
            body: &[],
        };
        if !wants_receipt {
            self.journal.append(&[change], Durability::Written)?;
            return Ok(None);
        }
        let ticket = self.journal.append(&[change], Durability::Synced)?;
        let (reply, receipt) = oneshot::channel();
        self.receipts.push_back((ticket, reply));
        Ok(Some(receipt))
    }
}

/// Whether it is worth trying again.
pub(super) fn is_busy(error: &TopicError) -> bool {
    matches!(error, TopicError::Journal(error) if error.kind() == JournalErrorKind::Busy)
}
