//! Bounds how many attempts are under way at once: the state behind [`BulkheadSettings`].
//!
//! One slow callee must not take all there is of something, as a bulkhead keeps one leak from sinking the ship
//! (Nygard, "Release It!", 2007). Those beyond the bound wait in a line, in the order they came, and the line is bounded
//! too (G3). While nobody waits, going in and out is one exchange of one word each.
//!
//! Settings may change while it is used. A smaller bound takes no permit away: the line stands still until enough came
//! back. A larger one lets the line move on at the next entry or exit, or at once by [`changed`](Bulkhead::changed). Those
//! who wait when the line is made shorter go on waiting.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};

use super::settings::BulkheadSettings;

#[cfg(test)]
mod tests;

/// The permits of one policy for one callee, and who waits for one.
pub(crate) struct Bulkhead {
    /// Permits in use in the lower half, how many wait in the upper. How many wait is written under the lock of the
    /// line only. Both in one word: who gives a permit back can't miss who begins to wait in the same moment.
    word: AtomicU64,
    /// How many permits there are; at least 1.
    permits: AtomicU32,
    line: Mutex<Line>,
}

const IN_USE: u64 = u32::MAX as u64;
const WAITS: u64 = 1 << 32;

/// Who waits, by when it came. Whoever isn't in it any longer has been given its permit.
#[derive(Default)]
struct Line {
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

/// How an attempt came in.
#[derive(Debug)]
pub(crate) enum Entry {
    /// There was a permit.
    In(Permit),
    /// There will be one.
    Line(Wait),
    /// The line is full, or there is none.
    Full,
}

/// That an attempt may be under way. Dropping it gives it back, to the first in the line.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub(crate) struct Permit {
    bulkhead: Arc<Bulkhead>,
}

/// A place in the line, and a future that completes with the permit.
///
/// # Cancel safety
/// Dropping it leaves the line; a permit that was just given to it goes to the next one.
#[derive(Debug)]
#[must_use = "a place that is dropped is given up"]
pub(crate) struct Wait {
    /// `None` once the permit was handed out.
    bulkhead: Option<Arc<Bulkhead>>,
    ticket: u64,
}

impl Bulkhead {
    /// Nobody is in.
    pub(crate) fn new(settings: &BulkheadSettings) -> Arc<Self> {
        let bulkhead = Bulkhead {
            word: AtomicU64::new(0),
            permits: AtomicU32::new(settings.concurrency.max(1)),
            line: Mutex::default(),
        };
        Arc::new(bulkhead)
    }

    /// Takes a permit, or a place in the line. Never overtakes who waits already.
    #[inline]
    pub(crate) fn try_enter(self: &Arc<Self>, settings: &BulkheadSettings) -> Entry {
        if self.permits.load(Ordering::Relaxed) != settings.concurrency.max(1) {
            self.changed(settings);
        }
        self.enter_as_it_is(settings)
    }

    /// The same without taking the settings in, but for the length of the line.
    #[inline]
    pub(crate) fn enter_as_it_is(self: &Arc<Self>, settings: &BulkheadSettings) -> Entry {
        if self.take_free() {
            return Entry::In(self.permit());
        }
        self.enter_line(settings)
    }

    /// Takes new settings in at once: with more permits the line moves on.
    pub(crate) fn changed(&self, settings: &BulkheadSettings) {
        let permits = settings.concurrency.max(1);
        self.permits.store(permits, Ordering::Relaxed);
        self.move_on(self.line.lock());
    }

    /// Permits in use, those that were given to one who waited and didn't look yet included.
    pub(crate) fn in_use(&self) -> u32 {
        in_use(self.word.load(Ordering::Relaxed))
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        waiting(self.word.load(Ordering::Relaxed))
    }

    /// Takes a permit if one is free and nobody waits.
    #[inline]
    fn take_free(&self) -> bool {
        let permits = self.permits.load(Ordering::Relaxed);
        self.update(|word| (waiting(word) == 0 && in_use(word) < permits).then_some(word + 1))
    }

    #[cold]
    fn enter_line(self: &Arc<Self>, settings: &BulkheadSettings) -> Entry {
        let mut line = self.line.lock();
        let permits = self.permits.load(Ordering::Relaxed);
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            // A permit may have come back meanwhile. Otherwise the place is taken by the same exchange that sees none
            // free: who gives the next one back sees that somebody waits.
            let free = waiting(word) == 0 && in_use(word) < permits;
            let next = match free {
                true => word + 1,
                false if waiting(word) < settings.queue => word + WAITS,
                false => return Entry::Full,
            };
            match self.exchange(word, next) {
                Ok(_) if free => {
                    drop(line);
                    return Entry::In(self.permit());
                }
                Ok(_) => break,
                Err(seen) => word = seen,
            }
        }
        let ticket = line.next;
        line.next += 1;
        line.waiting.insert(ticket, Waker::noop().clone());
        Entry::Line(Wait {
            bulkhead: Some(Arc::clone(self)),
            ticket,
        })
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit {
            bulkhead: Arc::clone(self),
        }
    }

    /// Gives a permit back.
    #[inline]
    fn leave(&self) {
        if !self.update(|word| (waiting(word) == 0).then(|| word - 1)) {
            self.leave_to_the_line();
        }
    }

    #[cold]
    fn leave_to_the_line(&self) {
        let line = self.line.lock();
        self.word.fetch_sub(1, Ordering::AcqRel);
        self.move_on(line);
    }

    /// Gives free permits to those who wait, the first one first. Their wakers are foreign code and run outside the lock.
    fn move_on(&self, mut line: MutexGuard<'_, Line>) {
        let permits = self.permits.load(Ordering::Relaxed);
        let mut given = Vec::new();
        while self
            .update(|word| (waiting(word) > 0 && in_use(word) < permits).then(|| word - WAITS + 1))
        {
            given.extend(line.waiting.pop_first());
        }
        drop(line);
        given.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Changes the word if `change` wants to, and says whether it did.
    #[inline]
    fn update(&self, change: impl Fn(u64) -> Option<u64>) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while let Some(next) = change(word) {
            match self.exchange(word, next) {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
        false
    }

    #[inline]
    fn exchange(&self, word: u64, next: u64) -> Result<u64, u64> {
        self.word
            .compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.bulkhead.leave();
    }
}

impl Future for Wait {
    type Output = Permit;

    /// Once it has given its permit it stays pending.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let Some(bulkhead) = &self.bulkhead else {
            return Poll::Pending;
        };
        let mut waker = cx.waker().clone();
        let mut line = bulkhead.line.lock();
        let waits = line.waiting.get_mut(&self.ticket);
        let waits = waits.map(|kept| std::mem::swap(kept, &mut waker)).is_some();
        // The waker from before is foreign code as well: it goes after the lock.
        drop(line);
        if waits {
            return Poll::Pending;
        }
        match self.bulkhead.take() {
            Some(bulkhead) => Poll::Ready(Permit { bulkhead }),
            None => Poll::Pending,
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(bulkhead) = self.bulkhead.take() else {
            return;
        };
        let mut line = bulkhead.line.lock();
        let left = line.waiting.remove(&self.ticket);
        if left.is_some() {
            bulkhead.word.fetch_sub(WAITS, Ordering::AcqRel);
        }
        drop(line);
        if left.is_none() {
            bulkhead.leave();
        }
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("permits", &self.permits)
            .field("in_use", &self.in_use())
            .field("waiting", &self.waiting())
            .finish()
    }
}

#[allow(clippy::cast_possible_truncation)]
fn in_use(word: u64) -> u32 {
    (word & IN_USE) as u32
}

#[allow(clippy::cast_possible_truncation)]
fn waiting(word: u64) -> u32 {
    (word >> 32) as u32
}
