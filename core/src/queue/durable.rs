//! Items that outlive the process: how they lie in a journal, and how they come back.
//!
//! An item is a record under its number. Its head (see [`head`]) has what the queue needs to know after a restart;
//! its body has the name and version of its type and its payload. What changes about an item is a note: how often
//! its delivery failed, that it is dead, or, when it has been acknowledged and its key is still remembered, that
//! nothing but the key is left. Record 0 is the queue's own: its settings, how often it was opened, and in its note which
//! numbers may have been used.

pub(super) mod head;
pub(super) mod open;
pub(super) mod versions;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::dead::{DeadInfo, DeadReason};
use super::engine::{Extra, Item};
use super::local::{Local, Payload, SOON};
use super::offer::Encoded;
use crate::boundary::Verdict;
use crate::clock::Instant;
use crate::codec;
use crate::error::{Failure, FailureKind};
use crate::id::RequestKey;
use crate::journal::{
    Change, Durability, Journal, JournalError, JournalErrorKind, OnRead, Progress, RecordId, Ticket,
};

use head::Head;
use versions::Versions;

pub(super) struct Durable<T> {
    /// Let go of when the queue ends, so that somebody else can open it while references to the queue are about.
    journal: Mutex<Option<Arc<dyn Journal>>>,
    form: Form<T>,
}

/// How items become bytes, and bytes items.
pub(super) enum Form<T> {
    /// As they are.
    Plain(Versions<T>),
    /// They are those of another queue, which has encoded them.
    Dead(DecodeDead<T>),
}

pub(super) type DecodeDead<T> = Arc<dyn Fn(&[u8], &DeadInfo) -> Result<T, String> + Send + Sync>;

/// What is noted of an item besides its record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Note {
    /// It was delivered, and that failed.
    Failed(Failures),
    /// It was given up.
    Dead {
        reason: DeadReason,
        died: Duration,
        failures: Failures,
    },
    /// Of the queue itself: numbers below this may have been used.
    Reserved { until: u64 },
    /// It was acknowledged; its key is remembered.
    Tomb {
        key: RequestKey,
        print: Option<u64>,
        since: Duration,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failures {
    pub(super) attempt: u32,
    pub(super) failed: u32,
    pub(super) first_seen: Duration,
    pub(super) first: Option<Duration>,
    pub(super) last: Option<Duration>,
    pub(super) reason: Option<Arc<str>>,
    /// It came back from the dead: the times of its head don't count any more.
    #[serde(default)]
    pub(super) redriven: bool,
}

impl<T> Durable<T> {
    pub(super) fn new(journal: Arc<dyn Journal>, form: Form<T>) -> Self {
        Durable {
            journal: Mutex::new(Some(journal)),
            form,
        }
    }

    /// How far the journal is.
    pub(super) fn progress(&self) -> Progress {
        match self.journal() {
            Ok(journal) => journal.progress(),
            Err(closed) => Progress {
                failed: Some(closed),
                ..Progress::default()
            },
        }
    }

    /// Has bodies read. `done` is dropped if the queue has ended.
    pub(super) fn read(&self, records: &[RecordId], done: OnRead) {
        if let Ok(journal) = self.journal() {
            journal.read(records, done);
        }
    }

    /// The queue has ended.
    pub(super) fn close(&self) {
        let journal = self.journal.lock().take();
        drop(journal);
    }

    fn journal(&self) -> Result<Arc<dyn Journal>, JournalError> {
        let journal = self.journal.lock().clone();
        journal.ok_or_else(|| JournalError::new(JournalErrorKind::Closed, "the queue has ended"))
    }
}

impl<T: Send + 'static> Durable<T> {
    /// Makes bytes of an item, and a hash of it if it has a key.
    pub(super) fn encode(
        &self,
        local: &Local<T>,
        item: &T,
        due: Option<Instant>,
        extra: Option<&mut Extra>,
    ) -> Result<Encoded, Failure> {
        let refused = |why: String| {
            Failure::new(FailureKind::BadPayload, Verdict::NotExecuted).with_detail(why)
        };
        let Form::Plain(versions) = &self.form else {
            return Err(refused("nothing is offered to a dead-letter queue".into()));
        };
        let body = versions.encode(item).map_err(refused)?;
        let mut head = Head {
            offered: local.time_of_day(local.clock.coarse_now()),
            due: due.map(|due| local.time_of_day(due)),
            ..Head::default()
        };
        if let Some(extra) = extra {
            if extra.key.is_some() {
                extra.print = Some(hash(&body));
            }
            head.key = extra.key.map(|key| (key, extra.print.unwrap_or(0)));
            head.expires = extra.expires.map(|expires| local.time_of_day(expires));
            head.priority = extra.priority;
            head.group = extra.group.clone();
            head.reply_to = extra
                .reply_to
                .as_ref()
                .map(|reply_to| reply_to.name().into());
        }
        let head = head.encode().map_err(refused)?;
        Ok(Encoded { head, body })
    }

    /// Makes an item of its bytes. An error says why it can't.
    pub(super) fn decode(&self, body: &[u8], dead: Option<&DeadInfo>) -> Result<T, String> {
        match (&self.form, dead) {
            (Form::Plain(versions), _) => versions.decode(body),
            (Form::Dead(decode), Some(info)) => decode(body, info),
            (Form::Dead(_), None) => Err("nothing is known about how it died".into()),
        }
    }

    pub(super) fn put(
        &self,
        id: RecordId,
        head: &[u8],
        body: &[u8],
    ) -> Result<Ticket, JournalError> {
        let put = Change::Put { id, head, body };
        self.journal()?.append(&[put], Durability::Synced)
    }

    pub(super) fn drop_record(&self, id: RecordId) -> Result<Ticket, JournalError> {
        self.journal()?.append(&[Change::Drop { id }], SOON)
    }

    /// An item was acknowledged whose key is to be remembered.
    pub(super) fn entomb(
        &self,
        id: RecordId,
        key: RequestKey,
        print: Option<u64>,
        since: Duration,
    ) -> Result<Ticket, JournalError> {
        self.append_note(id, &Note::Tomb { key, print, since })
    }

    /// Notes how an item's deliveries failed, and that it is dead.
    pub(super) fn note(
        &self,
        local: &Local<T>,
        item: &Item<Payload<T>>,
        dead: Option<DeadReason>,
    ) -> Result<Ticket, JournalError> {
        let history = item.history();
        let failures = Failures {
            attempt: item.attempt,
            failed: item.failed,
            first_seen: item.first_seen,
            first: history.map(|history| history.first),
            last: history.map(|history| history.last),
            reason: history.map(|history| Arc::clone(&history.reason)),
            redriven: item.extra.as_ref().is_some_and(|extra| extra.redriven),
        };
        let note = match dead {
            None => Note::Failed(failures),
            Some(reason) => Note::Dead {
                reason,
                died: local.time_of_day(local.clock.coarse_now()),
                failures,
            },
        };
        self.append_note(item.record, &note)
    }

    /// An item that was dead is offered again: not too old any more, and at once.
    pub(super) fn revive(&self, id: RecordId) -> Result<Ticket, JournalError> {
        let failures = Failures {
            attempt: 0,
            failed: 0,
            first_seen: Duration::ZERO,
            first: None,
            last: None,
            reason: None,
            redriven: true,
        };
        self.append_note(id, &Note::Failed(failures))
    }

    /// From here on numbers may be used up to that one: a number is never given twice, also if nothing is left of
    /// the item that had it.
    pub(super) fn reserve(&self, until: u64) -> Result<Ticket, JournalError> {
        self.append_note(open::OWN, &Note::Reserved { until })
    }

    fn append_note(&self, id: RecordId, note: &Note) -> Result<Ticket, JournalError> {
        // Plain numbers and texts: they have a MessagePack form.
        let note = codec::encode(note).unwrap_or_default();
        self.journal()?
            .append(&[Change::Note { id, note: &note }], SOON)
    }
}

/// FNV-1a (Fowler, Noll and Vo): the same in every build, as what is on disk needs. It tells mistakes apart, not
/// attacks.
fn hash(bytes: &[u8]) -> u64 {
    let start = 0xCBF2_9CE4_8422_2325_u64;
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}
