//! What somebody has in hand for a moment while items are made ready for their consumer. However that moment ends,
//! it goes back.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

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

/// What is made ready for a consumer. It is released also if the next one's copy panics: that is no failure of these.
/// To be made before the [`Originals`], so that it is dropped after them.
pub(super) struct Opened<D> {
    all: Vec<D>,
    release: fn(D),
}

impl<D> Opened<D> {
    pub(super) fn new(items: usize, release: fn(D)) -> Self {
        let all = Vec::with_capacity(items);
        Opened { all, release }
    }

    pub(super) fn reserve(&mut self, items: usize) {
        self.all.reserve(items);
    }

    pub(super) fn extend(&mut self, one: Option<D>) {
        self.all.extend(one);
    }

    pub(super) fn into_inner(mut self) -> Vec<D> {
        std::mem::take(&mut self.all)
    }
}

impl<D> Drop for Opened<D> {
    fn drop(&mut self) {
        for one in self.all.drain(..) {
            (self.release)(one);
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
    /// Of how many a copy was made.
    copied: Cell<usize>,
}

impl<'a, T: Send + 'static> Originals<'a, T> {
    pub(super) fn new(local: &'a Local<T>) -> Self {
        Originals {
            local,
            first: None,
            more: Vec::new(),
            copied: Cell::new(0),
        }
    }

    pub(super) fn reserve(&mut self, items: usize) {
        self.more.reserve(items.saturating_sub(1));
    }

    /// Copies of all, in the order they came.
    pub(super) fn copies(&self, copy: fn(&T) -> T) -> impl Iterator<Item = T> {
        let all = self.first.iter().chain(&self.more);
        all.map(move |(_, _, item)| self.counted(copy(item)))
    }

    /// Takes an original in, and answers its copy.
    pub(super) fn copy_of(&mut self, place: Place, token: u64, item: T, copy: fn(&T) -> T) -> T {
        let kept = match &mut self.first {
            None => &self.first.insert((place, token, item)).2,
            Some(_) => {
                self.more.push((place, token, item));
                &self.more[self.more.len() - 1].2
            }
        };
        let copy = copy(kept);
        self.counted(copy)
    }

    pub(super) fn keep(&mut self, place: Place, token: u64, item: T) {
        if self.first.is_none() {
            self.first = Some((place, token, item));
        } else {
            self.more.push((place, token, item));
        }
    }

    fn counted(&self, copy: T) -> T {
        self.copied.set(self.copied.get() + 1);
        copy
    }

    /// One whose copy panicked, and those that nobody will hear of.
    fn give_up(&self, leases: &[(Place, u64)]) {
        let mut not_copied = leases.iter().skip(self.copied.get());
        let end = |lease: Option<&(Place, u64)>, settlement| {
            if let Some((place, token)) = lease {
                // An error: a lease that is over needs no end.
                let _ = self.local.settle_one(*place, *token, 0, settlement);
            }
            lease.is_some()
        };
        let failed = Settlement::Reject(Arc::from("copying it panicked"));
        end(not_copied.next(), failed);
        while end(not_copied.next(), Settlement::Release(Duration::ZERO)) {}
    }
}

impl<T: Send + 'static> Drop for Originals<'_, T> {
    fn drop(&mut self) {
        let first = self.first.take();
        let more = std::mem::take(&mut self.more);
        if !std::thread::panicking() {
            self.local.put_back(first, more);
            return;
        }
        let all = first.iter().chain(&more);
        let leases: Vec<(Place, u64)> = all.map(|(place, token, _)| (*place, *token)).collect();
        self.local.put_back(first, more);
        self.give_up(&leases);
    }
}
