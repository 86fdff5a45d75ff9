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
use crate::journal::{JournalError, JournalErrorKind, Journals};
use crate::names::WrongType;

/// The queues of a system that have names. Clones share the table.
#[derive(Clone, Default)]
pub struct Queues {
    table: Arc<Mutex<BTreeMap<Arc<str>, Row>>>,
    /// How many remove what lies on disk under a name. Until they have, no durable queue is opened under it: what they
    /// remove would be that one's.
    removals: Arc<Mutex<BTreeMap<Arc<str>, usize>>>,
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
    /// Until that is done no durable queue is opened under the name: whoever tries is told
    /// [`InUse`](crate::journal::JournalErrorKind::InUse).
    ///
    /// # Errors
    /// If what is on disk can't be removed.
    ///
    /// # Cancel safety
    /// Dropping it leaves the queue ending, and on disk.
    pub async fn remove(&self, name: &str) -> Result<bool, JournalError> {
        let found = {
            let mut table = self.table.lock();
            table.remove(name).map(|Row { queue, journals }| {
                let removal = journals.map(|journals| self.removal(name, journals));
                (queue, removal)
            })
        };
        let Some((queue, removal)) = found else {
            return Ok(false);
        };
        queue.end().await;
        drop(queue);
        if let Some(removal) = removal {
            removal.run().await?;
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
            row.map(|row| {
                // Its journals too: when the queue has ended it is no longer here.
                let journals = row.journals.clone();
                let removal = journals.map(|journals| self.removal(name, journals));
                (Arc::clone(&row.queue), removal)
            })
        };
        let Some((queue, removal)) = found else {
            return Ok(None);
        };
        if let Err(why) = queue.end_if(only) {
            return Ok(Some(Err(why)));
        }
        queue.end().await;
        drop(queue);
        self.forget_ended(name);
        if let Some(removal) = removal {
            removal.run().await?;
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

    /// The same, or the one that `start` makes; for a durable one with where its journal is, for its removal.
    pub(super) fn find_or<T: Send + 'static>(
        &self,
        name: &Arc<str>,
        wanted: &QueueConfig,
        journals: Option<Arc<dyn Journals>>,
        start: impl FnOnce() -> Result<Queue<T>, OpenError>,
    ) -> Result<Queue<T>, OpenError> {
        let mut table = self.table.lock();
        if let Some(row) = table.get(name).filter(|row| !row.queue.has_ended()) {
            return check(name, &*row.queue, wanted);
        }
        if journals.is_some() {
            self.check_removals(name)?;
        }
        let queue = start()?;
        let row = Row {
            queue: Arc::new(queue.clone()),
            journals,
        };
        let before = table.insert(Arc::clone(name), row);
        drop(table);
        drop(before);
        Ok(queue)
    }

    /// Whether what is on disk under that name stays there.
    pub(super) fn check_removals(&self, name: &str) -> Result<(), JournalError> {
        if !self.removals.lock().contains_key(name) {
            return Ok(());
        }
        let text = format!(
            "queue {name} is being removed with what it has on disk: it can be opened when that is done"
        );
        Err(JournalError::new(JournalErrorKind::InUse, text))
    }

    /// Says that what is on disk under that name is going to be removed.
    fn removal(&self, name: &str, journals: Arc<dyn Journals>) -> Removal {
        let name: Arc<str> = name.into();
        let mut removals = self.removals.lock();
        *removals.entry(Arc::clone(&name)).or_default() += 1;
        drop(removals);
        Removal {
            removals: Arc::clone(&self.removals),
            name,
            journals,
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

/// A removal of what a durable queue has on disk. Over when dropped, whatever came of it.
struct Removal {
    removals: Arc<Mutex<BTreeMap<Arc<str>, usize>>>,
    name: Arc<str>,
    journals: Arc<dyn Journals>,
}

impl Removal {
    async fn run(self) -> Result<(), JournalError> {
        self.journals.remove(&self.name).await
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        let mut removals = self.removals.lock();
        if let Some(count) = removals.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                removals.remove(&self.name);
            }
        }
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
