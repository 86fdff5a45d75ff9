//! A durable dedup store is opened: what its journal holds becomes entries again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use callboard_core::journal::{
    Change, JournalError, JournalErrorKind, Journals, OnProgress, OpenedJournal, Recovered,
};
use callboard_core::{Message, Placement, codec};
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::head::{Head, State, read_broken_note};
use super::{Codec, Durable, outcome, pump};
use crate::dedup::fingerprint::ByFingerprint;
use crate::dedup::print::PrintKey;
use crate::dedup::shared::{Kept, Shared, Stored};
use crate::dedup::store::{Restored, Seen};
use crate::dedup::{Dedup, DedupBuilder};

/// The record of the store itself.
const OWN: u64 = 0;

/// What the store keeps of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Own {
    /// The key of scopes and prints: without it nothing that is stored can be found.
    dedup_key: PrintKey,
    /// When the store was first opened; times are spans since 1970 began.
    born: Duration,
    /// When damage was found in it.
    #[serde(default)]
    suspect: Option<Duration>,
    /// Whether what it stores may be forgotten before its window ends, now or at an earlier opening.
    #[serde(default)]
    forgets_early: bool,
    /// The window it was last opened with.
    #[serde(default)]
    window: Option<Duration>,
    /// What ended before may have been forgotten, by a window that was shorter.
    #[serde(default)]
    floor: Duration,
}

impl Own {
    /// It is opened with that window. A longer one than before doesn't bring back what was forgotten under the
    /// other.
    fn open_with(&mut self, window: Duration, now: Duration) {
        // A record of an earlier version doesn't say which it was: as if all was forgotten.
        let before = self.window.unwrap_or_default();
        if before < window {
            self.floor = self.floor.max(now.saturating_sub(before));
        }
        self.window = Some(window);
    }
}

/// A dedup store in preparation that outlives the process. Made by [`DedupBuilder::durable`].
#[must_use = "nothing is deduplicated until it is open and put before an actor"]
pub struct DurableDedupBuilder<M: Message> {
    plain: DedupBuilder<M>,
    name: Arc<str>,
    journals: Arc<dyn Journals>,
    codec: Codec<M::Reply>,
}

impl<M: Message> fmt::Debug for DurableDedupBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableDedupBuilder")
            .field("name", &self.name)
            .field("plain", &self.plain)
            .finish_non_exhaustive()
    }
}

impl<M: Message> DurableDedupBuilder<M> {
    pub(in crate::dedup) fn new(
        plain: DedupBuilder<M>,
        name: Arc<str>,
        journals: Arc<dyn Journals>,
    ) -> Self
    where
        M::Reply: Serialize + DeserializeOwned,
    {
        DurableDedupBuilder {
            plain,
            name,
            journals,
            codec: Codec {
                encode: outcome::encode::<M::Reply>,
                decode: outcome::decode::<M::Reply>,
            },
        }
    }
}

impl<M: Message<Reply: Clone>> DurableDedupBuilder<M> {
    /// Opens it, or makes it, by its name, with all that was stored in it. Ready for
    /// [`Spawn::admission`](callboard_core::Spawn::admission).
    ///
    /// # Errors
    /// Those of [`Journals::open`]: it is open already, the disk can't be read. A journal of something else, or of a
    /// later version, is of the kind [`Format`](JournalErrorKind::Format). One that lost the key of its prints is
    /// [`Damaged`](JournalErrorKind::Damaged): what is in it can't be told from what isn't.
    ///
    /// # Cancel safety
    /// Dropping it leaves the store closed.
    pub fn open(self) -> BoxFuture<'static, Result<Dedup<M>, JournalError>> {
        Box::pin(self.open_now())
    }

    async fn open_now(self) -> Result<Dedup<M>, JournalError> {
        let DurableDedupBuilder {
            plain,
            name,
            journals,
            codec,
        } = self;
        let opened = journals.open(&name).await?;
        let now = plain.system.clock().unix();
        let mut found = Found::of(opened, &name)?;
        let entropy = plain.system.entropy();
        let mut own = found.own.take().unwrap_or_else(|| Own {
            dedup_key: ((u128::from(entropy.next_u64()) << 64) | u128::from(entropy.next_u64()))
                .to_le_bytes(),
            born: now,
            suspect: None,
            forgets_early: false,
            window: Some(plain.window),
            floor: Duration::ZERO,
        });
        own.open_with(plain.window, now);
        if found.damaged > 0 {
            own.suspect = Some(now);
        }
        // Damage that is older than all that is remembered has no say any more.
        own.suspect = own.suspect.filter(|at| *at + plain.window > now);
        own.forgets_early |= plain.bounds.forget_oldest;
        let window_is_younger = own.born + plain.window > now && own.floor <= own.born;
        let remembers_all = window_is_younger && !own.forgets_early && own.suspect.is_none();
        let remembers_since = if remembers_all {
            own.born
        } else if own.forgets_early {
            now
        } else {
            let window_begins = now.saturating_sub(plain.window);
            own.born
                .max(window_begins)
                .max(own.floor)
                .max(own.suspect.unwrap_or_default())
        };
        let durable = Durable::new(
            Arc::clone(&name),
            Arc::clone(&found.journal),
            codec,
            remembers_all,
            own.suspect,
        );
        let system = plain.system.clone();
        let by_fingerprint = ByFingerprint::table(&plain).map(Arc::new);
        let shared = Arc::new(Shared::new(plain, own.dedup_key, Some(durable)));
        let closed = || JournalError::new(JournalErrorKind::Closed, "the system has ended");
        let Some(durable) = &shared.durable else {
            return Err(closed());
        };
        // Before anything is dropped: no disk may have lost what a window let go of and not know of that window.
        let head = codec::encode(&own)
            .map_err(|error| JournalError::new(JournalErrorKind::Format, error.to_string()))?;
        let synced = durable.tell_when_synced(&[Change::Put {
            id: OWN,
            head: &head,
            body: &[],
        }]);
        restore(&shared, found.records, found.damaged, now);
        shared.inner.lock().remembers_since = remembers_since;
        let observer: Arc<dyn OnProgress> = Arc::clone(&shared) as _;
        found.journal.observe(Arc::downgrade(&observer));
        let (weak, bell) = (Arc::downgrade(&shared), Arc::clone(&durable.bell));
        if !system.spawn(Placement::Spread, move || pump::run(weak, bell)) {
            return Err(closed());
        }
        // It may have got there, or failed, before anybody was told.
        shared.progressed(&found.journal.progress());
        synced.await.unwrap_or_else(|_| Err(closed()))?;
        Ok(Dedup {
            shared,
            by_fingerprint,
        })
    }
}

/// What a journal holds.
struct Found {
    journal: Arc<dyn callboard_core::journal::Journal>,
    own: Option<Own>,
    records: Vec<(Recovered, Head)>,
    /// Records that were damaged, as far as the journal says.
    damaged: u64,
}

impl Found {
    fn of(opened: OpenedJournal, name: &str) -> Result<Self, JournalError> {
        let OpenedJournal {
            journal,
            mut records,
        } = opened;
        let damaged = journal.state().damaged;
        let at = records.iter().position(|record| record.id == OWN);
        let own = match at.map(|at| records.remove(at)) {
            Some(own) => Some(codec::decode::<Own>(&own.head).map_err(|error| {
                let text = format!("journal {name} is of no dedup store that is known: {error}");
                JournalError::new(JournalErrorKind::Format, text)
            })?),
            None if records.is_empty() && damaged == 0 => None,
            None => {
                let text = format!(
                    "dedup store {name}: the record with its key is lost, and {} others can't be read without it",
                    records.len()
                );
                return Err(JournalError::new(JournalErrorKind::Damaged, text));
            }
        };
        let with_head = |record: Recovered| match Head::decode(&record.head) {
            Ok(head) => Ok((record, head)),
            Err(why) => {
                let text = format!("record {} of dedup store {name}: {why}", record.id);
                Err(JournalError::new(JournalErrorKind::Format, text))
            }
        };
        Ok(Found {
            journal,
            own,
            records: records
                .into_iter()
                .map(with_head)
                .collect::<Result<_, _>>()?,
            damaged,
        })
    }
}

/// Puts entries back, in the order in which they ended, and writes down what was found out.
fn restore<M: Message>(
    shared: &Shared<M>,
    records: Vec<(Recovered, Head)>,
    damaged: u64,
    now: Duration,
) {
    let Some(durable) = &shared.durable else {
        return;
    };
    // By key. Should damage have taken away that an older record of it was dropped, the newer one counts.
    let mut entries = BTreeMap::new();
    let mut broken = BTreeSet::new();
    let mut late = Vec::new();
    let mut inner = shared.inner.lock();
    for (record, head) in records {
        inner.next_number = inner.next_number.max(record.id + 1);
        let note = record.note.as_deref().map(read_broken_note);
        let (at, state) = match (head.state, note) {
            (State::Sealed, _) => (head.at, Seen::Sealed),
            (State::Done, _) => (head.at, Seen::Ended(Kept::OnDisk(record.id))),
            (State::TooLarge, _) => (head.at, Seen::Ended(Stored::TooLarge.kept())),
            (State::Lost, _) => {
                let why = "it could not be encoded".to_owned();
                (head.at, Seen::Ended(Stored::Lost(why).kept()))
            }
            (State::Reserved, Some(Ok((at, seen)))) => (at, broke(shared, seen)),
            (State::Reserved, _) => {
                broken.insert(record.id);
                let seen = "its process ended while it ran".to_owned();
                (now, broke(shared, seen))
            }
        };
        let key = (head.id.scope, head.id.key);
        let entry = (at, record.id, head, record.body_len, state);
        if let Some((_, older, ..)) = entries.insert(key, entry) {
            broken.remove(&older);
            late.push(older);
        }
    }
    let mut entries: Vec<_> = entries.into_values().collect();
    entries.sort_by_key(|(at, id, ..)| (*at, *id));
    for (at, record, head, body_len, state) in entries {
        // Ends in the future are those of a calendar that was set back.
        if at + shared.window <= now {
            late.push(record);
            continue;
        }
        inner.store.restore(Restored {
            key: head.id,
            record,
            print: head.print,
            attempts: head.attempts,
            bytes: body_len as usize,
            state,
            due: shared.on_clock(at, now) + shared.window,
        });
    }
    inner.stats.damaged = damaged;
    inner.stats.expired += late.len() as u64;
    drop(inner);
    durable.drop_records(late);
    let note = super::head::broken_note(now, "its process ended while it ran");
    let notes: Vec<_> = broken
        .iter()
        .map(|id| Change::Note {
            id: *id,
            note: &note,
        })
        .collect();
    if !notes.is_empty() {
        durable.append_soon(&notes);
    }
}

/// An attempt that broke off, by what this store says of such.
fn broke<M: Message>(shared: &Shared<M>, seen: String) -> Seen<Kept<M::Reply>> {
    if shared.replay_safe {
        Seen::Broken
    } else {
        Seen::Ended(Stored::Indeterminate(seen).kept())
    }
}
