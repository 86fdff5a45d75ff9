//! What is written down outside the tree: which jobs were given out, begun, and how each ended for its asker.

use std::collections::BTreeMap;
use std::sync::Arc;

use callboard::{Failure, Verdict};
use parking_lot::Mutex;

/// Clones are the same ledger.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<BTreeMap<u32, Entry>>>);

#[derive(Default)]
struct Entry {
    /// How often a handler began it.
    begun: u32,
    /// Whether it was given to somebody who was about to have an accident, so that it may come back.
    is_accident: bool,
    end: Option<Result<(), Verdict>>,
}

/// The ledger in figures.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Books {
    pub(super) jobs: u32,
    pub(super) answered: u32,
    /// In hand when its worker failed, and its asker was told.
    pub(super) told: u32,
    /// An accident that didn't happen, because its worker was down already.
    pub(super) came_back: u32,
    /// Everything else.
    pub(super) lost: u32,
}

impl Ledger {
    /// The number of one more job.
    pub(super) fn job(&self, is_accident: bool) -> u32 {
        let mut entries = self.0.lock();
        let number = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let entry = Entry {
            is_accident,
            ..Entry::default()
        };
        entries.insert(number, entry);
        number
    }

    pub(super) fn begun(&self, number: u32) {
        if let Some(entry) = self.0.lock().get_mut(&number) {
            entry.begun += 1;
        }
    }

    pub(super) fn ended<T>(&self, number: u32, end: &Result<T, Failure>) {
        if let Some(entry) = self.0.lock().get_mut(&number) {
            entry.end = Some(match end {
                Ok(_) => Ok(()),
                Err(failure) => Err(failure.verdict()),
            });
        }
    }

    // ANCHOR: books
    /// A job of a customer is begun once, whatever happens meanwhile to the worker in whose mailbox it waits.
    pub(super) fn books(&self) -> Books {
        let mut books = Books::default();
        for entry in self.0.lock().values() {
            books.jobs += 1;
            match (entry.begun, entry.end) {
                (1, Some(Ok(()))) => books.answered += 1,
                (1, Some(Err(Verdict::Executed | Verdict::MaybeExecuted))) => books.told += 1,
                (0, Some(Err(_))) if entry.is_accident => books.came_back += 1,
                _ => books.lost += 1,
            }
        }
        books
    }
    // ANCHOR_END: books
}
