//! Looking at items without taking them.

use std::sync::Arc;
use std::time::Duration;

use futures::channel::oneshot;
use serde::{Deserialize, Serialize};

use super::Sequence;
use super::dead::DeadInfo;
use super::engine::{Item, Stage};
use super::local::{Local, Payload, stopped, storage_failure};
use crate::boundary::Verdict;
use crate::error::Failure;
use crate::id::RequestKey;

/// An item that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Browsed<T> {
    /// A copy of it.
    pub item: T,
    /// Where it stands.
    pub sequence: Sequence,
    /// What it is doing.
    pub place: ItemPlace,
    /// How often it was handed out.
    pub attempt: u32,
    /// How many of these failed.
    pub failed: u32,
    /// When it was offered: the time of day, as the span since 1970 began (UTC).
    pub offered: Duration,
    /// Its request key.
    pub key: Option<RequestKey>,
    /// Its group.
    pub group: Option<Arc<str>>,
}

/// What an item is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ItemPlace {
    /// It can be handed out.
    Ready,
    /// It waits until a delay is over.
    Delayed,
    /// It waits behind another of its group.
    Behind,
    /// Somebody has it in hand.
    InFlight,
}

/// An item's copy, or what it is to be made of.
enum Source<T> {
    Live(T),
    Bytes(Arc<[u8]>),
    Record(u64),
}

struct Found<T> {
    about: Browsed<()>,
    source: Source<T>,
    dead: Option<Arc<DeadInfo>>,
}

impl<T: Clone + Send + 'static> Local<T> {
    pub(super) async fn browse(
        &self,
        from: Sequence,
        max: usize,
    ) -> Result<Vec<Browsed<T>>, Failure> {
        let found = self.find_items(from, max)?;
        let records: Vec<u64> = found
            .iter()
            .filter_map(|found| match found.source {
                Source::Record(record) => Some(record),
                _ => None,
            })
            .collect();
        let mut read = match &self.durable {
            Some(durable) if !records.is_empty() => {
                let (tx, rx) = oneshot::channel();
                let done = Box::new(move |read| {
                    // An error: who asked has left.
                    let _ = tx.send(read);
                });
                durable.read(&records, done);
                rx.await.map_err(|_| stopped(&self.name))?
            }
            _ => Vec::new(),
        }
        .into_iter();
        let mut browsed = Vec::with_capacity(found.len());
        for Found {
            about,
            source,
            dead,
        } in found
        {
            let bytes = match source {
                Source::Live(item) => {
                    browsed.push(about.with(item));
                    continue;
                }
                Source::Bytes(bytes) => bytes,
                Source::Record(_) => match read.next() {
                    Some(Ok(bytes)) => bytes.into(),
                    // It may have been acknowledged in the meantime.
                    Some(Err(error))
                        if error.kind() == crate::journal::JournalErrorKind::NotFound =>
                    {
                        continue;
                    }
                    Some(Err(error)) => return Err(storage_failure(&error, Verdict::NotExecuted)),
                    None => return Err(stopped(&self.name)),
                },
            };
            let decoded = self
                .durable
                .as_ref()
                .map(|durable| durable.decode(&bytes, dead.as_deref()));
            // What can't be made of its bytes is set aside when it is handed out.
            if let Some(Ok(item)) = decoded {
                browsed.push(about.with(item));
            }
        }
        Ok(browsed)
    }

    fn find_items(&self, from: Sequence, max: usize) -> Result<Vec<Found<T>>, Failure> {
        let inside = self.inside.lock();
        if let Some(ended) = &inside.ended {
            return Err(ended.clone());
        }
        let mut items: Vec<&Item<Payload<T>>> = inside
            .engine
            .items
            .iter()
            .map(|(_, item)| item)
            .filter(|item| item.sequence >= from && place_of(item.stage).is_some())
            .collect();
        items.sort_unstable_by_key(|item| item.sequence);
        let found = items.into_iter().take(max).filter_map(|item| {
            let source = match item.payload.as_ref()? {
                Payload::Live(item) => Source::Live(item.clone()),
                Payload::Stored(Some(bytes)) => Source::Bytes(Arc::clone(bytes)),
                Payload::Stored(None) => Source::Record(item.record),
            };
            let extra = item.extra.as_ref();
            Some(Found {
                about: Browsed {
                    item: (),
                    sequence: item.sequence,
                    place: place_of(item.stage)?,
                    attempt: item.attempt,
                    failed: item.failed,
                    offered: item.offered,
                    key: item.key(),
                    group: item.group().cloned(),
                },
                source,
                dead: extra.and_then(|extra| extra.dead.clone()),
            })
        });
        Ok(found.collect())
    }
}

fn place_of(stage: Stage) -> Option<ItemPlace> {
    match stage {
        Stage::Ready => Some(ItemPlace::Ready),
        Stage::Later(_) => Some(ItemPlace::Delayed),
        Stage::Behind(_) => Some(ItemPlace::Behind),
        Stage::Leased(_) => Some(ItemPlace::InFlight),
        Stage::Storing(_) | Stage::SetAside => None,
    }
}

impl Browsed<()> {
    fn with<T>(self, item: T) -> Browsed<T> {
        Browsed {
            item,
            sequence: self.sequence,
            place: self.place,
            attempt: self.attempt,
            failed: self.failed,
            offered: self.offered,
            key: self.key,
            group: self.group,
        }
    }
}
