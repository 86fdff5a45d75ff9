//! Opening a topic that is stored: what its journal holds becomes its history, its retained values and its positions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::channel::oneshot;

use super::error::TopicError;
use super::hub::{Hub, Recovered};
use super::message::Entry;
use super::options::TopicOptions;
use super::store::{CURSORS, Codec, CursorHead, MessageHead, RETAINED, Store};
use crate::clock::Clock;
use crate::codec;
use crate::journal::{self, Journal, JournalError, Journals, OnProgress, RecordId};
use crate::message::WireMessage;

/// How many bodies are read at a time.
const CHUNK: usize = 256;

/// Reads a topic from its journal.
pub(super) async fn open<T: WireMessage + Sync>(
    name: Arc<str>,
    options: TopicOptions,
    clock: Clock,
    journals: &dyn Journals,
) -> Result<Arc<Hub<T>>, TopicError> {
    let opened = journals.open(&name).await?;
    let journal = opened.journal;
    let mut read = Reading::default();
    for chunk in opened.records.chunks(CHUNK) {
        let bodies = bodies_of(&journal, chunk).await?;
        for (record, body) in chunk.iter().zip(bodies) {
            read.take(&name, record, body)?;
        }
    }
    let store = Store::new(journal.clone(), Codec::new(), read.last, read.next_cursor());
    let hub = Arc::new(Hub::recover(
        name,
        options,
        clock,
        Codec::new(),
        store,
        read.into_recovered(),
    ));
    let observer: Weak<Hub<T>> = Arc::downgrade(&hub);
    journal.observe(observer as Weak<dyn OnProgress>);
    Ok(hub)
}

async fn bodies_of(
    journal: &Arc<dyn Journal>,
    records: &[journal::Recovered],
) -> Result<Vec<Result<Vec<u8>, JournalError>>, TopicError> {
    let ids: Vec<RecordId> = records.iter().map(|record| record.id).collect();
    let (done, bodies) = oneshot::channel();
    journal.read(
        &ids,
        Box::new(move |bodies| {
            // An error: nobody opens it any more.
            let _ = done.send(bodies);
        }),
    );
    let closed = |_| TopicError::in_doubt("the journal answered no read");
    bodies.await.map_err(closed)
}

/// What was found so far.
struct Reading<T> {
    history: Vec<Arc<Entry<T>>>,
    /// With the numbers of the records that others have replaced.
    retained: BTreeMap<Arc<str>, Arc<Entry<T>>>,
    replaced: Vec<RecordId>,
    cursors: Vec<(RecordId, CursorHead)>,
    last: u64,
    /// Messages that can't be read: damaged, or of another version.
    unreadable: BTreeSet<u64>,
    /// Retained values of which the same is true, by subject.
    unreadable_retained: BTreeMap<Arc<str>, RecordId>,
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Reading {
            history: Vec::new(),
            retained: BTreeMap::new(),
            replaced: Vec::new(),
            cursors: Vec::new(),
            last: 0,
            unreadable: BTreeSet::new(),
            unreadable_retained: BTreeMap::new(),
        }
    }
}

impl<T> Reading<T> {
    fn take(
        &mut self,
        topic: &Arc<str>,
        record: &journal::Recovered,
        body: Result<Vec<u8>, JournalError>,
    ) -> Result<(), TopicError>
    where
        T: WireMessage,
    {
        if record.id >= CURSORS {
            match codec::decode(&record.head) {
                Ok(cursor) => self.cursors.push((record.id, cursor)),
                // Whoever asks for its name begins anew.
                Err(error) => report(topic, record.id, &error.to_string()),
            }
            return Ok(());
        }
        let sequence = record.id & !RETAINED;
        // Of whatever it was: its number has been given.
        self.last = self.last.max(sequence);
        let head: MessageHead = match codec::decode(&record.head) {
            Ok(head) => head,
            Err(error) => {
                self.unreadable.insert(sequence);
                report(topic, record.id, &error.to_string());
                return Ok(());
            }
        };
        if &*head.name != T::NAME {
            return Err(TopicError::WrongType {
                topic: Arc::clone(topic),
                has: head.name,
                wanted: T::NAME,
            });
        }
        let value = match body {
            _ if head.version != T::VERSION => Err(format!("version {}", head.version)),
            Ok(body) => codec::decode::<T>(&body).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let value = match value {
            Ok(value) => value,
            Err(why) => {
                self.unreadable.insert(sequence);
                if record.id & RETAINED != 0 {
                    let before = self.unreadable_retained.insert(head.subject, record.id);
                    self.replaced.extend(before);
                }
                report(topic, record.id, &why);
                return Ok(());
            }
        };
        let entry = Arc::new(Entry {
            subject: head.subject,
            sequence,
            at: Duration::from_nanos(head.at),
            key: head.key,
            value,
        });
        if record.id & RETAINED == 0 {
            self.history.push(entry);
        } else {
            // Those of one subject come in the order of their numbers; a crash may have left more than one.
            let before = self.retained.insert(Arc::clone(&entry.subject), entry);
            self.replaced
                .extend(before.map(|before| RETAINED | before.sequence));
        }
        Ok(())
    }

    fn next_cursor(&self) -> RecordId {
        let used = self.cursors.iter().map(|(id, _)| id + 1).max();
        used.unwrap_or(CURSORS)
    }

    fn into_recovered(self) -> Recovered<T> {
        Recovered {
            history: self.history,
            retained: self.retained,
            replaced: self.replaced,
            cursors: self.cursors,
            last: self.last,
            unreadable: self.unreadable,
            unreadable_retained: self.unreadable_retained,
        }
    }
}

fn report(topic: &Arc<str>, id: RecordId, why: &str) {
    tracing::warn!(
        target: "callboard::topic",
        %topic, record = id, %why,
        "a stored record can't be read"
    );
}
