//! The entries of a dedup store: a state machine over keys, without clocks, locks or answers.
//!
//! `S` is what is stored, `W` who waits. What it lets go of is handed back, so that its `Drop` runs outside the lock.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use callboard_core::Verdict;
use callboard_core::clock::Instant;

/// What an entry costs besides its outcome, in bytes: key, fingerprint, table and queue slots.
pub(super) const ENTRY_BYTES: usize = 256;

/// The bounds of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) entries: usize,
    pub(super) bytes: usize,
    pub(super) waiters: usize,
    /// At the bound the oldest finished entries go, instead of new requests being refused.
    pub(super) forget_oldest: bool,
}

pub(super) struct Store<K, S, W> {
    bounds: Bounds,
    entries: HashMap<K, Entry<S, W>>,
    /// Finished entries in the order in which their windows end.
    ended: VecDeque<(Instant, K)>,
    running: usize,
    bytes: usize,
}

struct Entry<S, W> {
    /// Which attempt, by the number of its first request: what belongs to an earlier one with the same key is
    /// ignored.
    epoch: u64,
    print: u128,
    state: State<S, W>,
}

enum State<S, W> {
    Running {
        reached: Verdict,
        /// With a number, for those that leave.
        waiters: Vec<(u64, W)>,
        /// A tell has nobody who waits and is wanted all the same.
        told: bool,
    },
    Ended {
        stored: S,
        bytes: usize,
    },
}

/// What to do with a request.
#[derive(Debug, PartialEq)]
pub(super) enum Decision<S, W> {
    /// The first with this key: it runs, and its number is the attempt's.
    Run,
    /// It waits for the running one.
    Joined,
    /// It has ended.
    Ended(S, Option<W>),
    KeyReused(Option<W>),
    /// The store is full, or the running one has too many waiters.
    Full(Option<W>),
}

/// Who waited for an attempt that has ended.
#[derive(Debug)]
pub(super) struct Waiting<W> {
    pub(super) waiters: Vec<(u64, W)>,
    pub(super) told: bool,
    /// There was no room for the size of the outcome.
    pub(super) too_large: bool,
}

impl<K: Hash + Eq + Clone, S, W> Store<K, S, W> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Store {
            bounds,
            entries: HashMap::new(),
            ended: VecDeque::new(),
            running: 0,
            bytes: 0,
        }
    }

    /// Decides about a request. `number` is its own; `waiter` is who waits, nobody for a tell. One that joins is told
    /// how far the request has come.
    pub(super) fn admit(
        &mut self,
        key: &K,
        print: u128,
        number: u64,
        waiter: Option<W>,
        tell: impl FnOnce(&mut W, Verdict),
        gone: &mut Vec<S>,
    ) -> Decision<S, W>
    where
        S: Clone,
    {
        if let Some(entry) = self.entries.get_mut(key) {
            if entry.print != print {
                return Decision::KeyReused(waiter);
            }
            return match (&mut entry.state, waiter) {
                (State::Ended { stored, .. }, waiter) => Decision::Ended(stored.clone(), waiter),
                (State::Running { told, .. }, None) => {
                    *told = true;
                    Decision::Joined
                }
                (State::Running { waiters, .. }, waiter)
                    if waiters.len() >= self.bounds.waiters =>
                {
                    Decision::Full(waiter)
                }
                (
                    State::Running {
                        waiters, reached, ..
                    },
                    Some(mut waiter),
                ) => {
                    tell(&mut waiter, *reached);
                    waiters.push((number, waiter));
                    Decision::Joined
                }
            };
        }
        if !self.make_room(1, ENTRY_BYTES, gone) {
            return Decision::Full(waiter);
        }
        let state = State::Running {
            reached: Verdict::NotExecuted,
            told: waiter.is_none(),
            waiters: waiter.map(|waiter| (number, waiter)).into_iter().collect(),
        };
        let entry = Entry {
            epoch: number,
            print,
            state,
        };
        self.entries.insert(key.clone(), entry);
        self.running += 1;
        self.bytes += ENTRY_BYTES;
        Decision::Run
    }

    /// Whether so many entries and bytes more fit, now or after the oldest finished ones have gone.
    fn make_room(&mut self, entries: usize, bytes: usize, gone: &mut Vec<S>) -> bool {
        loop {
            let fits = self.entries.len() + entries <= self.bounds.entries
                && self.bytes.saturating_add(bytes) <= self.bounds.bytes;
            if fits {
                return true;
            }
            if !self.bounds.forget_oldest || !self.remove_oldest(gone) {
                return false;
            }
        }
    }

    /// Finished entries leave the table only through here, so each in the line is in the table.
    fn remove_oldest(&mut self, gone: &mut Vec<S>) -> bool {
        let Some((_, key)) = self.ended.pop_front() else {
            return false;
        };
        if let Some(entry) = self.entries.remove(&key)
            && let State::Ended { stored, bytes } = entry.state
        {
            self.bytes -= ENTRY_BYTES + bytes;
            gone.push(stored);
        }
        true
    }

    /// Removes what has reached the end of its window. How many.
    pub(super) fn expire(&mut self, now: Instant, gone: &mut Vec<S>) -> u64 {
        let mut count = 0;
        while self.ended.front().is_some_and(|(due, _)| *due <= now) {
            self.remove_oldest(gone);
            count += 1;
        }
        count
    }

    fn running(&mut self, key: &K, epoch: u64) -> Option<&mut State<S, W>> {
        let entry = self.entries.get_mut(key)?;
        (entry.epoch == epoch && matches!(entry.state, State::Running { .. }))
            .then_some(&mut entry.state)
    }

    /// How far the running attempt has come. Tells its waiters, which say whether they still wait; those that
    /// don't are handed out. Whether anybody wants the answer.
    pub(super) fn progress(
        &mut self,
        key: &K,
        epoch: u64,
        verdict: Verdict,
        mut tell: impl FnMut(&mut W, Verdict) -> bool,
        left: &mut Vec<W>,
    ) -> bool {
        let Some(State::Running {
            waiters,
            reached,
            told,
        }) = self.running(key, epoch)
        else {
            return false;
        };
        *reached = verdict;
        for (number, mut waiter) in std::mem::take(waiters) {
            if tell(&mut waiter, verdict) {
                waiters.push((number, waiter));
            } else {
                left.push(waiter);
            }
        }
        *told || !waiters.is_empty()
    }

    /// A waiter leaves: it, and the epoch of the attempt if nobody is left who wants its answer.
    pub(super) fn leave(&mut self, key: &K, number: u64) -> Option<(W, Option<u64>)> {
        let entry = self.entries.get_mut(key)?;
        let State::Running { waiters, told, .. } = &mut entry.state else {
            return None;
        };
        let index = waiters.iter().position(|(other, _)| *other == number)?;
        let (_, waiter) = waiters.remove(index);
        let alone = waiters.is_empty() && !*told;
        Some((waiter, alone.then_some(entry.epoch)))
    }

    /// The running attempt has ended. What it is stored as until `due`, with its size; nothing if it did not run.
    /// `None` if there is no such attempt.
    pub(super) fn end(
        &mut self,
        key: &K,
        epoch: u64,
        due: Instant,
        outcome: Option<(S, usize)>,
        gone: &mut Vec<S>,
    ) -> Option<Waiting<W>> {
        let State::Running { waiters, told, .. } = self.running(key, epoch)? else {
            return None;
        };
        let mut waiting = Waiting {
            waiters: std::mem::take(waiters),
            told: *told,
            too_large: false,
        };
        self.running -= 1;
        let Some((stored, bytes)) = outcome else {
            self.entries.remove(key);
            self.bytes -= ENTRY_BYTES;
            return Some(waiting);
        };
        waiting.too_large = !self.make_room(0, bytes, gone);
        let bytes = if waiting.too_large { 0 } else { bytes };
        self.bytes += bytes;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.state = State::Ended { stored, bytes };
            self.ended.push_back((due, key.clone()));
        }
        Some(waiting)
    }

    /// How many run, how many have ended, and the bytes of all.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let ended = self.entries.len() - self.running;
        (self.running, ended, self.bytes)
    }
}
