//! A durable queue is opened: what its journal holds becomes items again.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::head::Head;
use super::{Durable, Failures, Form, Note};
use crate::clock::Instant;
use crate::codec;
use crate::journal::{
    Change, Durability, Journal, JournalError, JournalErrorKind, OnProgress, OpenedJournal,
    Progress, Recovered,
};
use crate::queue::config::QueueConfig;
use crate::queue::dead::{Dead, DeadInfo};
use crate::queue::engine::{Extra, History, Item, Stage};
use crate::queue::local::{Local, Payload};
use crate::queue::reply_to::ReplyTo;

/// The record of the queue itself.
pub(super) const OWN: u64 = 0;

/// How many leases an opening may give before its tokens reach those of the next.
const TOKENS_PER_OPENING: u64 = 1 << 40;

#[derive(Debug, Serialize, Deserialize)]
struct Own {
    config: QueueConfig,
    /// How often the queue was opened, this time included: its tokens go on from there (G22).
    openings: u64,
    /// Numbers below this may have been used. Here as well as in the note, which power may take away from a record
    /// that was just put.
    #[serde(default)]
    next: u64,
}

/// What a journal says of its queue.
pub(in crate::queue) struct Recovery {
    pub(in crate::queue) journal: Arc<dyn Journal>,
    /// The settings that it was opened with before.
    pub(in crate::queue) config: Option<QueueConfig>,
    openings: u64,
    /// Numbers below this may have been used.
    next: u64,
    records: Vec<Recovered>,
}

impl Recovery {
    pub(in crate::queue) fn of(opened: OpenedJournal, name: &str) -> Result<Self, JournalError> {
        let OpenedJournal {
            journal,
            mut records,
        } = opened;
        let own = records.iter().position(|record| record.id == OWN);
        let own = own.map(|at| records.remove(at));
        let unread = |what: &str, why: &dyn std::fmt::Display| {
            let text = format!("the {what} of queue {name} can't be read: {why}");
            JournalError::new(JournalErrorKind::Format, text)
        };
        let mut recovery = Recovery {
            journal,
            openings: 0,
            config: None,
            next: 1,
            records,
        };
        if let Some(own) = own {
            if let Some(note) = &own.note {
                match codec::decode(note).map_err(|error| unread("numbers", &error))? {
                    Note::Reserved { until } => recovery.next = until,
                    other => return Err(unread("numbers", &format!("{other:?}"))),
                }
            }
            let own: Own = codec::decode(&own.head).map_err(|error| unread("settings", &error))?;
            recovery.openings = own.openings;
            recovery.next = recovery.next.max(own.next);
            recovery.config = Some(own.config);
        }
        if let Some(last) = recovery.records.last() {
            recovery.next = recovery.next.max(last.id + 1);
        }
        Ok(recovery)
    }

    /// Notes that the queue is open with these settings, and waits until that is on disk.
    pub(in crate::queue) async fn note_opening(
        &mut self,
        config: &QueueConfig,
    ) -> Result<(), JournalError> {
        self.openings += 1;
        let own = Own {
            config: config.clone(),
            openings: self.openings,
            next: self.next,
        };
        let head = codec::encode(&own)
            .map_err(|error| JournalError::new(JournalErrorKind::Format, error.to_string()))?;
        let (tx, rx) = oneshot::channel();
        let watcher = Arc::new(UntilSynced {
            done: Mutex::new(Some(tx)),
            ticket: Mutex::default(),
        });
        let put = Change::Put {
            id: OWN,
            head: &head,
            body: &[],
        };
        // The put takes the note away, so it is pinned again.
        let reserved = codec::encode(&Note::Reserved { until: self.next })
            .map_err(|error| JournalError::new(JournalErrorKind::Format, error.to_string()))?;
        let note = Change::Note {
            id: OWN,
            note: &reserved,
        };
        let ticket = self.journal.append(&[put, note], Durability::Synced)?;
        *watcher.ticket.lock() = Some(ticket);
        let weak: std::sync::Weak<UntilSynced> = Arc::downgrade(&watcher);
        self.journal.observe(weak);
        watcher.progressed(&self.journal.progress());
        rx.await.unwrap_or_else(|_| {
            let closed = "the journal was closed while its queue was opened";
            Err(JournalError::new(JournalErrorKind::Closed, closed))
        })
    }

    /// Puts the items back, the dead ones where the dead are.
    pub(in crate::queue) fn restore<T: Send + 'static>(
        self,
        local: &Local<T>,
        dead: &Local<Dead<T>>,
    ) {
        let mut died = Vec::new();
        let tokens = self.openings * TOKENS_PER_OPENING;
        dead.with(|inside, _, _| inside.engine.go_on_after(0, tokens));
        local.with(|inside, _, now| {
            inside.engine.go_on_after(self.next - 1, tokens);
            inside.reserved = self.next;
            for record in self.records {
                // What can't be read may say that the item is done with: it isn't as if there were no note.
                let note: Result<Option<Note>, String> = match &record.note {
                    Some(note) => codec::decode(note)
                        .map(Some)
                        .map_err(|error| format!("its note can't be read: {error}")),
                    None => Ok(None),
                };
                let head = Head::decode(&record.head);
                let (head, note) = match head.and_then(|head| Ok((head, note?))) {
                    Ok(both) => both,
                    Err(why) => {
                        tracing::warn!(queue = %local.name, record = record.id, why, "item set aside");
                        let mut item = item_of(local, record.id, Head::default(), None);
                        item.stage = Stage::SetAside;
                        item.extra.get_or_insert_default().aside = Some(why.into());
                        inside.engine.put(item);
                        continue;
                    }
                };
                match note {
                    Some(Note::Tomb { key, print, since }) => {
                        let since = local.on_clock(since);
                        inside.keys.learn(key, record.id, print, since);
                        inside.keys.entomb(key, record.id);
                    }
                    Some(Note::Dead {
                        reason,
                        died: at,
                        failures,
                    }) => {
                        learn_key(inside, local, record.id, &head);
                        let item = item_of::<T>(local, record.id, head, Some(failures));
                        died.push((at, item, reason));
                    }
                    Some(Note::Failed(failures)) => {
                        learn_key(inside, local, record.id, &head);
                        let place = inside.engine.put(item_of(local, record.id, head, Some(failures)));
                        inside.engine.admit(place, now);
                    }
                    None | Some(Note::Reserved { .. }) => {
                        learn_key(inside, local, record.id, &head);
                        let place = inside.engine.put(item_of(local, record.id, head, None));
                        inside.engine.admit(place, now);
                    }
                }
            }
        });
        died.sort_by_key(|(at, ..)| *at);
        for (at, item, reason) in died {
            dead.take_in(item, reason, at);
        }
    }
}

fn learn_key<T: Send + 'static>(
    inside: &mut crate::queue::local::Inside<T>,
    local: &Local<T>,
    id: u64,
    head: &Head,
) {
    if let Some((key, print)) = head.key {
        let since = local.on_clock(head.offered);
        inside.keys.learn(key, id, Some(print), since);
    }
}

fn item_of<T: Send + 'static>(
    local: &Local<T>,
    id: u64,
    head: Head,
    failures: Option<Failures>,
) -> Item<Payload<T>> {
    let failures = failures.unwrap_or(Failures {
        attempt: 0,
        failed: 0,
        first_seen: Duration::ZERO,
        first: None,
        last: None,
        reason: None,
        redriven: false,
    });
    let redriven = failures.redriven;
    let due = head.due.filter(|_| !redriven);
    let due = due.map_or(Instant::default(), |due| local.on_clock(due));
    let expires = head.expires.filter(|_| !redriven);
    let history = match (failures.first, failures.last, failures.reason) {
        (Some(first), Some(last), Some(reason)) => Some(History {
            first,
            last,
            reason,
        }),
        _ => None,
    };
    let plain = head.key.is_none()
        && head.group.is_none()
        && expires.is_none()
        && !redriven
        && head.reply_to.is_none()
        && head.priority == 0
        && history.is_none();
    let extra = (!plain).then(|| {
        Box::new(Extra {
            group: head.group,
            priority: head.priority,
            key: head.key.map(|(key, _)| key),
            print: head.key.map(|(_, print)| print),
            reply_to: head.reply_to.map(ReplyTo::named),
            expires: expires.map(|expires| local.on_clock(expires)),
            history,
            redriven,
            ..Extra::default()
        })
    });
    Item {
        sequence: id,
        record: id,
        payload: Some(Payload::Stored(None)),
        offered: head.offered,
        first_seen: failures.first_seen,
        attempt: failures.attempt,
        failed: failures.failed,
        stage: Stage::Behind(due),
        extra,
    }
}

/// Told once, when a ticket is synced.
struct UntilSynced {
    done: Mutex<Option<oneshot::Sender<Result<(), JournalError>>>>,
    ticket: Mutex<Option<crate::journal::Ticket>>,
}

impl OnProgress for UntilSynced {
    fn progressed(&self, progress: &Progress) {
        let Some(ticket) = *self.ticket.lock() else {
            return;
        };
        let end = if progress.synced >= ticket {
            Ok(())
        } else if let Some(error) = &progress.failed {
            Err(error.clone())
        } else {
            return;
        };
        if let Some(done) = self.done.lock().take() {
            // An error: who opened has left.
            let _ = done.send(end);
        }
    }
}

impl<T: Send + 'static> OnProgress for Local<T> {
    fn progressed(&self, _: &Progress) {
        self.journal_progressed();
    }
}

/// How a dead-letter queue makes its items of what its queue has stored.
pub(in crate::queue) fn dead_form<T: Send + 'static>(
    versions: super::versions::Versions<T>,
) -> Form<Dead<T>> {
    Form::Dead(Arc::new(move |body: &[u8], info: &DeadInfo| {
        let item = versions.decode(body)?;
        Ok(Dead {
            item,
            info: info.clone(),
        })
    }))
}

/// Both halves of a durable queue: its own and that of its dead.
pub(in crate::queue) fn halves<T: Send + 'static>(
    journal: &Arc<dyn Journal>,
    versions: super::versions::Versions<T>,
) -> (Durable<T>, Durable<Dead<T>>) {
    let dead = Durable::new(Arc::clone(journal), dead_form(versions.clone()));
    let own = Durable::new(Arc::clone(journal), Form::Plain(versions));
    (own, dead)
}
