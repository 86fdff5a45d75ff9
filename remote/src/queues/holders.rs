//! Who in other processes holds leases of a queue.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use callboard::Responder;
use callboard::clock::Instant;
use callboard::queue::{Consumer, Receipt};
use futures::future::AbortHandle;
use parking_lot::Mutex;

use super::wire::PollAnswer;
use crate::entrance::HolderId;

/// How many holders one queue has at a time (G3).
pub(super) const MAX_HOLDERS: usize = 4_096;

/// How many consumers with names one holder has at a time (G3).
const MAX_CONSUMERS: usize = 256;

/// The holders of one queue.
pub(super) struct Holders<T: Send + 'static> {
    holders: Mutex<HashMap<HolderId, Holder<T>>>,
}

/// One handle in another process. Dropped, what it holds goes back.
pub(super) struct Holder<T: Send + 'static> {
    /// By token: the newest last.
    held: BTreeMap<u64, Held<T>>,
    /// How many it held when those that are over were last put away.
    swept: usize,
    waiting: HashMap<u64, AbortHandle>,
    consumers: HashMap<Arc<str>, Arc<Consumer<T>>>,
    /// Answered when it is here no more; its end tells that.
    _here: Responder<PollAnswer>,
}

struct Held<T: Send + 'static> {
    receipt: Receipt<T>,
    /// From when on the lease is over for certain, unless it was renewed.
    ends: Instant,
}

/// Why there can't be another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl<T: Send + 'static> Holders<T> {
    pub(super) fn new() -> Self {
        Holders {
            holders: Mutex::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.holders.lock().len()
    }

    /// A holder is here, as long as its ask isn't answered. The way back comes back if it can't be.
    pub(super) fn enter(
        &self,
        holder: &HolderId,
        here: Responder<PollAnswer>,
    ) -> Result<(), Responder<PollAnswer>> {
        let mut holders = self.holders.lock();
        if holders.len() >= MAX_HOLDERS || holders.contains_key(holder) {
            return Err(here);
        }
        let entered = Holder {
            held: BTreeMap::new(),
            swept: 0,
            waiting: HashMap::new(),
            consumers: HashMap::new(),
            _here: here,
        };
        holders.insert(holder.clone(), entered);
        Ok(())
    }

    /// It is here no more. What it held, oldest first.
    pub(super) fn leave(&self, holder: &HolderId) -> Vec<Receipt<T>> {
        let Some(mut left) = self.holders.lock().remove(holder) else {
            return Vec::new();
        };
        left.waiting.values().for_each(AbortHandle::abort);
        let held = std::mem::take(&mut left.held);
        held.into_values().map(|held| held.receipt).collect()
    }

    /// Somebody waits for items. Answers whether the holder is here.
    pub(super) fn wait(&self, holder: &HolderId, ticket: u64, handle: AbortHandle) -> bool {
        let mut holders = self.holders.lock();
        let Some(entry) = holders.get_mut(holder) else {
            return false;
        };
        entry.waiting.insert(ticket, handle);
        true
    }

    /// Nobody waits with that ticket any more.
    pub(super) fn wait_is_over(&self, holder: &HolderId, ticket: u64) {
        if let Some(entry) = self.holders.lock().get_mut(holder) {
            entry.waiting.remove(&ticket);
        }
    }

    pub(super) fn withdraw(&self, holder: &HolderId, ticket: u64) {
        let handle = self
            .holders
            .lock()
            .get_mut(holder)
            .and_then(|entry| entry.waiting.remove(&ticket));
        if let Some(handle) = handle {
            handle.abort();
        }
    }

    /// Notes what was handed out, for a span if that is known. It comes back if the holder has gone meanwhile.
    pub(super) fn give(
        &self,
        holder: &HolderId,
        receipts: Vec<Receipt<T>>,
        now: Instant,
        span: Option<Duration>,
    ) -> Result<(), Vec<Receipt<T>>> {
        let over;
        {
            let mut holders = self.holders.lock();
            let Some(entry) = holders.get_mut(holder) else {
                return Err(receipts);
            };
            let ends = span.map_or(Instant::FAR, |span| now + span);
            for receipt in receipts {
                let held = Held { receipt, ends };
                entry.held.insert(held.receipt.token(), held);
            }
            over = entry.sweep(now);
        }
        // Outside the lock: they tell the queue, which knows already.
        drop(over);
        Ok(())
    }

    /// Takes a lease out, to end it.
    pub(super) fn take(&self, holder: &HolderId, token: u64) -> Option<Receipt<T>> {
        let mut holders = self.holders.lock();
        let held = holders.get_mut(holder)?.held.remove(&token)?;
        Some(held.receipt)
    }

    /// The consumer of that name, made if it isn't there.
    pub(super) fn consumer(
        &self,
        holder: &HolderId,
        name: &str,
        make: impl FnOnce() -> Consumer<T>,
    ) -> Result<Option<Arc<Consumer<T>>>, TooMany> {
        let mut holders = self.holders.lock();
        let Some(entry) = holders.get_mut(holder) else {
            return Ok(None);
        };
        if let Some(consumer) = entry.consumers.get(name) {
            return Ok(Some(Arc::clone(consumer)));
        }
        if entry.consumers.len() >= MAX_CONSUMERS {
            return Err(TooMany);
        }
        let consumer = Arc::new(make());
        entry.consumers.insert(name.into(), Arc::clone(&consumer));
        Ok(Some(consumer))
    }

    pub(super) fn consumer_left(&self, holder: &HolderId, name: &str) {
        let left = self
            .holders
            .lock()
            .get_mut(holder)
            .and_then(|entry| entry.consumers.remove(name));
        // Outside the lock: it tells the queue, which may hand out items.
        drop(left);
    }
}

impl<T: Send + 'static> Holder<T> {
    /// Takes out the leases that are over, once there may be as many of them as of others: so the table is never
    /// more than twice as large as what is held, and looking costs a fixed time for each lease.
    fn sweep(&mut self, now: Instant) -> Vec<Receipt<T>> {
        if self.held.len() < 2 * self.swept + 64 {
            return Vec::new();
        }
        let tokens: Vec<u64> = self
            .held
            .iter()
            .filter(|(_, held)| held.ends <= now)
            .map(|(token, _)| *token)
            .collect();
        let over = tokens
            .into_iter()
            .filter_map(|token| self.held.remove(&token));
        let over = over.map(|held| held.receipt).collect();
        self.swept = self.held.len();
        over
    }
}
