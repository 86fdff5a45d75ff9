//! What somebody has in hand for a moment while items are made ready for their consumer. However that moment ends,
//! it goes back.

use std::sync::Arc;

use super::local::LocalFetch;
use crate::queue::delivery::Settlement;
use crate::queue::local::{Haul, Local, Taken};
use crate::queue::slab::Place;

/// Items that are not yet opened. They go back also if opening one panics.
pub(super) struct Rest<'a, T: Send + 'static> {
    pub(super) fetch: &'a LocalFetch<T>,
    pub(super) all: std::vec::IntoIter<Taken<T>>,
}

impl<T: Send + 'static> Drop for Rest<'_, T> {
    fn drop(&mut self) {
        if self.all.len() > 0 {
            let rest = self.all.by_ref().collect();
            self.fetch.hand_back(Haul::Many(rest));
        }
    }
}

/// Items of which copies are made. Their queue waits for them: they go back together, also if making a copy
/// panics, which counts as a failed delivery.
pub(super) struct Originals<'a, T: Send + 'static> {
    local: &'a Local<T>,
    /// One, the most frequent case, needs no memory of its own.
    first: Option<(Place, u64, T)>,
    more: Vec<(Place, u64, T)>,
}

impl<'a, T: Send + 'static> Originals<'a, T> {
    pub(super) fn new(local: &'a Local<T>) -> Self {
        Originals {
            local,
            first: None,
            more: Vec::new(),
        }
    }

    pub(super) fn keep(&mut self, place: Place, token: u64, item: T) -> &T {
        if self.first.is_none() {
            return &self.first.insert((place, token, item)).2;
        }
        self.more.push((place, token, item));
        &self.more[self.more.len() - 1].2
    }
}

impl<T: Send + 'static> Drop for Originals<'_, T> {
    fn drop(&mut self) {
        let last = self.more.last().or(self.first.as_ref());
        let Some((place, token)) = last.map(|(place, token, _)| (*place, *token)) else {
            return;
        };
        let more = std::mem::take(&mut self.more);
        self.local.put_back(self.first.take(), more);
        if std::thread::panicking() {
            let reason = Settlement::Reject(Arc::from("copying it panicked"));
            // An error: a lease that is over needs no end.
            let _ = self.local.settle_one(place, token, 0, reason);
        }
    }
}
