//! The queues of a system that have names.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;

use super::builder::OpenError;
use super::config::QueueConfig;
use super::ending::{NotEnded, OnlyIf};
use super::{Queue, QueueState};
use crate::id::ActorId;
use crate::journal::{JournalError, Journals};
use crate::names::WrongType;

/// The queues of a system that have names. Clones share the table.
#[derive(Clone, Default)]
pub struct Queues {
    table: Arc<Mutex<BTreeMap<Arc<str>, Row>>>,
}

struct Row {
    queue: Arc<dyn Entry>,
    journals: Option<Arc<dyn Journals>>,
}

/// A queue that has a name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueueInfo {
    /// Its name.
    pub name: Arc<str>,
    /// The Rust type of its items.
    pub item_type: &'static str,
    /// How it behaves.
    pub config: QueueConfig,
    /// What it holds and has seen.
    pub state: QueueState,
}

/// A queue whose items may be of any type.
pub(super) trait Entry: Send + Sync {
    fn config(&self) -> QueueConfig;
    fn state(&self) -> QueueState;
    fn has_ended(&self) -> bool;
    fn purge(&self) -> usize;
    fn id(&self) -> ActorId;
    fn end_if(&self, only: OnlyIf) -> Result<(), NotEnded>;
    /// Stops it, and waits until it has ended.
    fn end<'a>(&'a self) -> BoxFuture<'a, ()>;
    fn item_type(&self) -> &'static str;
    fn as_any(&self) -> &dyn Any;
}

impl Queues {
    /// The queue of that name; `None` if there is none.
    ///
    /// # Errors
    /// [`WrongType`] if its items are of another type.
    pub fn get<T: Send + 'static>(&self, name: &str) -> Result<Option<Queue<T>>, WrongType> {
        let Some(queue) = self.entry(name) else {
            return Ok(None);
        };
        match queue.as_any().downcast_ref::<Queue<T>>() {
            Some(queue) => Ok(Some(queue.clone())),
            None => Err(WrongType {
                name: name.into(),
                registered: queue.item_type(),
                wanted: std::any::type_name::<T>(),
            }),
        }
    }

    /// All of them, by name.
    #[must_use]
    pub fn list(&self) -> Vec<QueueInfo> {
        let rows: Vec<_> = {
            let mut table = self.table.lock();
            table.retain(|_, row| !row.queue.has_ended());
            let rows = table.iter();
            rows.map(|(name, row)| (Arc::clone(name), Arc::clone(&row.queue)))
                .collect()
        };
        let info = rows.into_iter().map(|(name, queue)| QueueInfo {
            name,
            item_type: queue.item_type(),
            config: queue.config(),
            state: queue.state(),
        });
        info.collect()
    }

    /// Removes all that wait in the queue of that name, for good. Answers how many; `None` if there is no such queue.
    #[must_use = "it says whether there was such a queue"]
    pub fn purge(&self, name: &str) -> Option<usize> {
        self.entry(name).map(|queue| queue.purge())
    }

    /// Ends the queue of that name, and removes what a durable one has on disk. Answers whether there was one.
    ///
    /// # Errors
    /// If what is on disk can't be removed.
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue ending, and on disk.
    pub async fn remove(&self, name: &str) -> Result<bool, JournalError> {
        let Some(row) = self.table.lock().remove(name) else {
            return Ok(false);
        };
        row.queue.end().await;
        let Row { queue, journals } = row;
        drop(queue);
        if let Some(journals) = journals {
            journals.remove(name).await?;
        }
        Ok(true)
    }

    /// The same for the queue with that name and id, if it is as wished at that moment: see [`Queue::stop_if`].
    /// Answers `None` if there is no such queue, or why it wasn't ended; then nothing has changed.
    ///
    /// # Errors
    /// If what is on disk can't be removed.
    ///
    /// # Cancel safety
    /// Dropping it may leave the queue ending, and on disk.
    pub async fn remove_if(
        &self,
        name: &str,
        id: ActorId,
        only: OnlyIf,
    ) -> Result<Option<Result<(), NotEnded>>, JournalError> {
        let found = {
            let table = self.table.lock();
            let row = table.get(name).filter(|row| row.queue.id() == id);
            // Its journals too: when the queue has ended it is no longer here.
            row.map(|row| (Arc::clone(&row.queue), row.journals.clone()))
        };
        let Some((queue, journals)) = found else {
            return Ok(None);
        };
        if let Err(why) = queue.end_if(only) {
            return Ok(Some(Err(why)));
        }
        queue.end().await;
        drop(queue);
        self.forget_ended(name);
        if let Some(journals) = journals {
            journals.remove(name).await?;
        }
        Ok(Some(Ok(())))
    }

    /// The queue of that name, if it is what was wanted.
    pub(super) fn find<T: Send + 'static>(
        &self,
        name: &Arc<str>,
        wanted: &QueueConfig,
    ) -> Result<Option<Queue<T>>, OpenError> {
        let Some(queue) = self.entry(name) else {
            return Ok(None);
        };
        check(name, &*queue, wanted).map(Some)
    }

    /// The same, or the one that `start` makes.
    pub(super) fn find_or<T: Send + 'static>(
        &self,
        name: &Arc<str>,
        wanted: &QueueConfig,
        start: impl FnOnce() -> Result<Queue<T>, OpenError>,
    ) -> Result<Queue<T>, OpenError> {
        let mut table = self.table.lock();
        if let Some(row) = table.get(name).filter(|row| !row.queue.has_ended()) {
            return check(name, &*row.queue, wanted);
        }
        let queue = start()?;
        let row = Row {
            queue: Arc::new(queue.clone()),
            journals: None,
        };
        let before = table.insert(Arc::clone(name), row);
        drop(table);
        drop(before);
        Ok(queue)
    }

    /// Where the queue's journal is, for its removal.
    pub(super) fn keep_journals(&self, name: &str, journals: Arc<dyn Journals>) {
        if let Some(row) = self.table.lock().get_mut(name) {
            row.journals = Some(journals);
        }
    }

    /// A queue of that name has ended.
    pub(super) fn forget_ended(&self, name: &str) {
        let mut table = self.table.lock();
        let ended = table.get(name).is_some_and(|row| row.queue.has_ended());
        let row = if ended { table.remove(name) } else { None };
        drop(table);
        drop(row);
    }

    fn entry(&self, name: &str) -> Option<Arc<dyn Entry>> {
        let table = self.table.lock();
        let row = table.get(name).filter(|row| !row.queue.has_ended())?;
        Some(Arc::clone(&row.queue))
    }
}

fn check<T: Send + 'static>(
    name: &Arc<str>,
    queue: &dyn Entry,
    wanted: &QueueConfig,
) -> Result<Queue<T>, OpenError> {
    let Some(found) = queue.as_any().downcast_ref::<Queue<T>>() else {
        return Err(OpenError::WrongType {
            name: Arc::clone(name),
            is: queue.item_type(),
            wanted: std::any::type_name::<T>(),
        });
    };
    let differences = queue.config().differences(wanted);
    if differences.is_empty() {
        return Ok(found.clone());
    }
    Err(OpenError::Differs {
        name: Arc::clone(name),
        differences,
    })
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.lock();
        f.debug_set().entries(table.keys()).finish()
    }
}
