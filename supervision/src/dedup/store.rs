//! The entries of a dedup store: a state machine over keys, without clocks, locks or answers.
//!
//! `S` is what is stored, `W` who waits. What it lets go of is handed back, so that its `Drop` runs outside the lock.
//! An entry has a place, by which its attempt finds it again without its key.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use callboard_core::Verdict;
use callboard_core::clock::Instant;

use super::few::Few;
use super::keyed::Keyed;
use super::waiters::Waiters;

/// What an entry costs besides its outcome, in bytes: key, print, table and line.
pub(super) const ENTRY_BYTES: usize = 256;

/// So many places in the line may be of entries that run again before the line is cleaned.
const STALE: usize = 64;

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
    places: HashMap<K, usize, Keyed>,
    entries: Vec<Option<Entry<K, S, W>>>,
    free: Vec<usize>,
    /// What isn't running, in the order in which the windows end. Behind it run some again.
    line: VecDeque<InLine>,
    /// How many of the line run again, or have ended again and stand in it once more.
    stale: usize,
    running: usize,
    bytes: usize,
    forgotten: Option<Instant>,
}

struct InLine {
    due: Instant,
    place: usize,
    epoch: u64,
}

struct Entry<K, S, W> {
    key: K,
    /// The number of its first request. It stays.
    record: u64,
    /// Which attempt, by the number of its first request: what belongs to an earlier one with the same key is
    /// ignored.
    epoch: u64,
    print: u128,
    attempts: u32,
    /// How many of them broke off.
    broken: u32,
    /// Of what is stored.
    bytes: usize,
    state: State<S, W>,
}

enum State<S, W> {
    Running(Running<W>),
    Ended(S),
    /// In the middle; it may run again.
    Broken,
    /// It never ran, and never will.
    Sealed,
}

struct Running<W> {
    reached: Verdict,
    waiters: Waiters<W>,
    /// So many waiters were taken out to be told something, outside of the lock. They wait still.
    away: usize,
    /// Those of them that left meanwhile.
    left: Vec<u64>,
    /// A tell has nobody who waits and is wanted all the same.
    told: bool,
}

/// A request as the store sees it.
#[derive(Debug)]
pub(super) struct Request<'a, K, W> {
    pub(super) key: &'a K,
    pub(super) print: u128,
    /// Its own.
    pub(super) number: u64,
    /// Which attempt its sender says it is.
    pub(super) attempt: u32,
    /// Nobody for a tell.
    pub(super) waiter: Option<W>,
    /// How far the running one was when the waiter was told, and that it must say when it leaves.
    pub(super) told: Option<Verdict>,
    /// Whether the others that wait were asked whether they still do.
    pub(super) asked_around: bool,
}

/// What to do with a request.
#[derive(Debug, PartialEq)]
pub(super) enum Decision<S, W> {
    /// It runs, and its number is the attempt's epoch.
    Run(Run),
    /// It would join the running one, which is so far. It must be told, and say when it leaves.
    WouldJoin(W, Verdict),
    /// It would join the attempt of that place and epoch, if one of those that wait has gone.
    AskAround(W, usize, u64),
    /// It waits for the running one.
    Joined,
    /// It has ended.
    Ended(S, Option<W>),
    /// It was settled that it never runs.
    Sealed(Option<W>),
    KeyReused(Option<W>),
    /// The store is full.
    Full(Option<W>),
    /// The running one has too many waiters.
    Crowded(Option<W>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) place: usize,
    pub(super) record: u64,
    /// Which attempt it is, counted over all that broke off.
    pub(super) attempt: u32,
}

/// Who waited for an attempt that has ended.
#[derive(Debug)]
pub(super) struct Waiting<W> {
    pub(super) waiters: Waiters<W>,
    pub(super) told: bool,
}

/// What came of putting waiters back.
#[derive(Debug)]
pub(super) enum PutBack<W> {
    /// They are there. Whether anybody wants the answer, and how far the attempt is by now.
    There { wanted: bool, reached: Verdict },
    /// The attempt has ended without them.
    Ended(Waiters<W>),
}

/// What was forgotten.
#[derive(Debug)]
pub(super) struct Gone<S> {
    pub(super) record: u64,
    /// Here only to be dropped elsewhere.
    pub(super) _stored: Option<S>,
}

/// What is known of a key.
#[derive(Debug, PartialEq)]
pub(super) enum Seen<S> {
    Running,
    Ended(S),
    Broken,
    Sealed,
}

/// An entry, for who writes it down.
#[derive(Debug)]
pub(super) struct View<'a, K> {
    pub(super) key: &'a K,
    pub(super) record: u64,
    pub(super) print: u128,
    pub(super) attempts: u32,
}

/// An entry that is put back.
#[derive(Debug)]
pub(super) struct Restored<K, S> {
    pub(super) key: K,
    pub(super) record: u64,
    pub(super) print: u128,
    pub(super) attempts: u32,
    pub(super) bytes: usize,
    pub(super) state: Seen<S>,
    pub(super) due: Instant,
}

impl<K: Hash + Eq + Clone, S, W> Store<K, S, W> {
    pub(super) fn new(bounds: Bounds, keyed: Keyed) -> Self {
        Store {
            bounds,
            places: HashMap::with_hasher(keyed),
            entries: Vec::new(),
            free: Vec::new(),
            line: VecDeque::new(),
            stale: 0,
            running: 0,
            bytes: 0,
            forgotten: None,
        }
    }

    /// Decides about a request. One that joins comes twice: before, it is told how far the other has come.
    pub(super) fn admit(
        &mut self,
        request: Request<'_, K, W>,
        gone: &mut Few<Gone<S>>,
    ) -> Decision<S, W>
    where
        S: Clone,
    {
        let place = self.places.get(request.key).copied();
        let found = place.and_then(|place| Some((place, self.entries[place].as_mut()?)));
        let Some((place, entry)) = found else {
            return self.begin(request, gone);
        };
        let waiter = request.waiter;
        if matches!(entry.state, State::Sealed) {
            return Decision::Sealed(waiter);
        }
        if entry.print != request.print {
            return Decision::KeyReused(waiter);
        }
        match &mut entry.state {
            State::Sealed => Decision::Sealed(waiter),
            State::Ended(stored) => Decision::Ended(stored.clone(), waiter),
            State::Broken => {
                entry.broken = entry.attempts;
                entry.attempts = entry.attempts.saturating_add(1).max(request.attempt);
                entry.epoch = request.number;
                entry.state = State::Running(Running::new(request.number, waiter));
                let run = Run {
                    place,
                    record: entry.record,
                    attempt: entry.attempts,
                };
                self.running += 1;
                self.stale += 1;
                self.clean_line();
                Decision::Run(run)
            }
            State::Running(running) => {
                let Some(waiter) = waiter else {
                    running.told = true;
                    return Decision::Joined;
                };
                if running.count() >= self.bounds.waiters {
                    return if request.asked_around {
                        Decision::Crowded(Some(waiter))
                    } else {
                        Decision::AskAround(waiter, place, entry.epoch)
                    };
                }
                if request.told != Some(running.reached) {
                    return Decision::WouldJoin(waiter, running.reached);
                }
                running.waiters.push(request.number, waiter);
                Decision::Joined
            }
        }
    }

    fn begin(&mut self, request: Request<'_, K, W>, gone: &mut Few<Gone<S>>) -> Decision<S, W> {
        if !self.make_room(1, ENTRY_BYTES, gone) {
            return Decision::Full(request.waiter);
        }
        let attempt = request.attempt.max(1);
        let place = self.insert(Entry {
            key: request.key.clone(),
            record: request.number,
            epoch: request.number,
            print: request.print,
            attempts: attempt,
            broken: 0,
            bytes: 0,
            state: State::Running(Running::new(request.number, request.waiter)),
        });
        self.running += 1;
        Decision::Run(Run {
            place,
            record: request.number,
            attempt,
        })
    }

    fn insert(&mut self, entry: Entry<K, S, W>) -> usize {
        let key = entry.key.clone();
        self.bytes += ENTRY_BYTES + entry.bytes;
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place] = Some(entry);
                place
            }
            None => {
                self.entries.push(Some(entry));
                self.entries.len() - 1
            }
        };
        self.places.insert(key, place);
        place
    }

    fn remove(&mut self, place: usize) -> Option<Entry<K, S, W>> {
        let entry = self.entries.get_mut(place)?.take()?;
        self.free.push(place);
        self.places.remove(&entry.key);
        self.bytes -= ENTRY_BYTES + entry.bytes;
        Some(entry)
    }

    /// Whether so many entries and bytes more fit, now or after the oldest finished ones have gone.
    fn make_room(&mut self, entries: usize, bytes: usize, gone: &mut Few<Gone<S>>) -> bool {
        loop {
            let fits = self.places.len() + entries <= self.bounds.entries
                && self.bytes.saturating_add(bytes) <= self.bounds.bytes;
            if fits {
                return true;
            }
            if !self.bounds.forget_oldest || !self.forget_first(Instant::FAR, gone) {
                return false;
            }
        }
    }

    /// Forgets the first of the line, if its window ends by `until`.
    fn forget_first(&mut self, until: Instant, gone: &mut Few<Gone<S>>) -> bool {
        while let Some(first) = self.line.front() {
            if first.due > until {
                return false;
            }
            let (due, place) = (first.due, first.place);
            let is_its = self.is_in_place(first);
            self.line.pop_front();
            if !is_its {
                self.stale = self.stale.saturating_sub(1);
                continue;
            }
            if let Some(entry) = self.remove(place) {
                let stored = match entry.state {
                    State::Ended(stored) => Some(stored),
                    _ => None,
                };
                gone.push(Gone {
                    record: entry.record,
                    _stored: stored,
                });
                self.forgotten = self.forgotten.max(Some(due));
                return true;
            }
        }
        false
    }

    /// Whether what stands in the line is what is in its place still.
    fn is_in_place(&self, in_line: &InLine) -> bool {
        self.entries[in_line.place].as_ref().is_some_and(|entry| {
            entry.epoch == in_line.epoch && !matches!(entry.state, State::Running(_))
        })
    }

    /// What runs again leaves its place in the line behind; not too many.
    fn clean_line(&mut self) {
        if self.stale < STALE || self.stale * 2 < self.line.len() {
            return;
        }
        let mut line = std::mem::take(&mut self.line);
        line.retain(|in_line| self.is_in_place(in_line));
        self.line = line;
        self.stale = 0;
    }

    /// Removes what has reached the end of its window. How many.
    pub(super) fn expire(&mut self, now: Instant, gone: &mut Few<Gone<S>>) -> u64 {
        let mut count = 0;
        while self.forget_first(now, gone) {
            count += 1;
        }
        count
    }

    fn entry(&mut self, place: usize, epoch: u64) -> Option<&mut Entry<K, S, W>> {
        let entry = self.entries.get_mut(place)?.as_mut()?;
        (entry.epoch == epoch && matches!(entry.state, State::Running(_))).then_some(entry)
    }

    fn running(&mut self, place: usize, epoch: u64) -> Option<&mut Running<W>> {
        match &mut self.entry(place, epoch)?.state {
            State::Running(running) => Some(running),
            _ => None,
        }
    }

    /// The running attempt, for who writes it down.
    pub(super) fn view(&mut self, place: usize, epoch: u64) -> Option<View<'_, K>> {
        let entry = self.entry(place, epoch)?;
        Some(View {
            key: &entry.key,
            record: entry.record,
            print: entry.print,
            attempts: entry.attempts,
        })
    }

    /// Takes out who waits, to be told how far the running attempt is: as far as `reached`, if it has come further.
    /// To be [put back](Store::put_back) when they are told. `None` if there is no such attempt.
    pub(super) fn take_waiters(
        &mut self,
        place: usize,
        epoch: u64,
        reached: Option<Verdict>,
    ) -> Option<(Waiters<W>, Verdict)> {
        let running = self.running(place, epoch)?;
        running.reached = reached.unwrap_or(running.reached);
        let waiters = std::mem::take(&mut running.waiters);
        running.away += waiters.len();
        Some((waiters, running.reached))
    }

    /// Takes out the first waiter of a running attempt, to be told that it must say when it leaves. To be
    /// [put back](Store::put_back).
    pub(super) fn take_first(&mut self, place: usize, epoch: u64) -> Option<(Waiters<W>, K)> {
        let entry = self.entry(place, epoch)?;
        let key = entry.key.clone();
        let State::Running(running) = &mut entry.state else {
            return None;
        };
        let waiter = running.waiters.remove(epoch)?;
        running.away += 1;
        Some((Waiters::of(epoch, Some(waiter)), key))
    }

    /// Puts those back that wait still, of so many that were taken out.
    pub(super) fn put_back(
        &mut self,
        place: usize,
        epoch: u64,
        taken: usize,
        waiters: Waiters<W>,
        left: &mut Vec<W>,
    ) -> PutBack<W> {
        let Some(running) = self.running(place, epoch) else {
            return PutBack::Ended(waiters);
        };
        running.away -= taken;
        for (number, waiter) in waiters {
            match running.left.iter().position(|left| *left == number) {
                Some(at) => {
                    running.left.swap_remove(at);
                    left.push(waiter);
                }
                None => running.waiters.push(number, waiter),
            }
        }
        if running.away == 0 {
            // Those who had gone when they were told, too.
            running.left.clear();
        }
        PutBack::There {
            wanted: running.is_wanted(),
            reached: running.reached,
        }
    }

    /// A waiter leaves: it, and the epoch of the attempt if nobody is left who wants its answer. One that is away is
    /// let go when it is put back.
    pub(super) fn leave(&mut self, key: &K, number: u64) -> Option<(W, Option<u64>)> {
        let place = *self.places.get(key)?;
        let entry = self.entries.get_mut(place)?.as_mut()?;
        let State::Running(running) = &mut entry.state else {
            return None;
        };
        let Some(waiter) = running.waiters.remove(number) else {
            if running.away > 0 {
                running.left.push(number);
            }
            return None;
        };
        let alone = !running.is_wanted();
        Some((waiter, alone.then_some(entry.epoch)))
    }

    /// Whether there is room for an outcome of that size. If so, it is taken.
    pub(super) fn weigh(
        &mut self,
        place: usize,
        epoch: u64,
        bytes: usize,
        gone: &mut Few<Gone<S>>,
    ) -> bool {
        if self.running(place, epoch).is_none() || !self.make_room(0, bytes, gone) {
            return false;
        }
        if let Some(entry) = self.entry(place, epoch) {
            entry.bytes += bytes;
            self.bytes += bytes;
        }
        true
    }

    /// What was weighed isn't kept after all.
    pub(super) fn unweigh(&mut self, place: usize, epoch: u64) {
        if let Some(entry) = self.entry(place, epoch) {
            let bytes = std::mem::take(&mut entry.bytes);
            self.bytes -= bytes;
        }
    }

    /// The running attempt has ended; what is kept of it until `due`. `None` if there is no such attempt.
    pub(super) fn end(
        &mut self,
        place: usize,
        epoch: u64,
        due: Instant,
        stored: S,
    ) -> Option<Waiting<W>> {
        self.leave_running(place, epoch, due, State::Ended(stored))
    }

    /// The running attempt broke off, and may be made again until `due`.
    pub(super) fn break_off(
        &mut self,
        place: usize,
        epoch: u64,
        due: Instant,
    ) -> Option<Waiting<W>> {
        self.leave_running(place, epoch, due, State::Broken)
    }

    fn leave_running(
        &mut self,
        place: usize,
        epoch: u64,
        due: Instant,
        state: State<S, W>,
    ) -> Option<Waiting<W>> {
        let entry = self.entry(place, epoch)?;
        let before = std::mem::replace(&mut entry.state, state);
        self.line.push_back(InLine { due, place, epoch });
        self.running -= 1;
        Waiting::of(before)
    }

    /// The running attempt never ran: it leaves nothing behind but what earlier ones did, until `due`. Who waited,
    /// and the record that is not needed any more.
    pub(super) fn forget(
        &mut self,
        place: usize,
        epoch: u64,
        due: Instant,
    ) -> Option<(Waiting<W>, Option<u64>)> {
        let entry = self.entry(place, epoch)?;
        if entry.broken > 0 {
            entry.attempts = entry.broken;
            return Some((self.break_off(place, epoch, due)?, None));
        }
        let entry = self.remove(place)?;
        self.running -= 1;
        Some((Waiting::of(entry.state)?, Some(entry.record)))
    }

    /// What is known of a key.
    pub(super) fn look(&self, key: &K) -> Option<Seen<S>>
    where
        S: Clone,
    {
        let place = *self.places.get(key)?;
        let entry = self.entries.get(place)?.as_ref()?;
        Some(match &entry.state {
            State::Running(_) => Seen::Running,
            State::Ended(stored) => Seen::Ended(stored.clone()),
            State::Broken => Seen::Broken,
            State::Sealed => Seen::Sealed,
        })
    }

    /// Settles until `due` that a key which isn't there never runs. Whether there was room.
    pub(super) fn seal(
        &mut self,
        key: &K,
        number: u64,
        due: Instant,
        gone: &mut Few<Gone<S>>,
    ) -> bool {
        if !self.make_room(1, ENTRY_BYTES, gone) {
            return false;
        }
        self.restore(Restored {
            key: key.clone(),
            record: number,
            print: 0,
            attempts: 0,
            bytes: 0,
            state: Seen::Sealed,
            due,
        });
        true
    }

    /// Takes a seal back that was just put there.
    pub(super) fn unseal(&mut self, key: &K) {
        let Some(&place) = self.places.get(key) else {
            return;
        };
        let entry = self.entries.get(place).and_then(Option::as_ref);
        if entry.is_some_and(|entry| matches!(entry.state, State::Sealed)) {
            self.remove(place);
            self.stale += 1;
            self.clean_line();
        }
    }

    /// Puts back what isn't running, whatever the bounds; in the order in which the windows end.
    pub(super) fn restore(&mut self, restored: Restored<K, S>) {
        let state = match restored.state {
            Seen::Ended(stored) => State::Ended(stored),
            Seen::Broken => State::Broken,
            Seen::Running | Seen::Sealed => State::Sealed,
        };
        let place = self.insert(Entry {
            key: restored.key,
            record: restored.record,
            epoch: restored.record,
            print: restored.print,
            attempts: restored.attempts,
            broken: 0,
            bytes: restored.bytes,
            state,
        });
        self.line.push_back(InLine {
            due: restored.due,
            place,
            epoch: restored.record,
        });
    }

    /// When the window of the latest ends that were forgotten.
    pub(super) fn forgotten(&self) -> Option<Instant> {
        self.forgotten
    }

    /// When the next is forgotten.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.line.front().map(|first| first.due)
    }

    /// How many stand in the line, for tests of its bound.
    #[cfg(test)]
    pub(super) fn line_len(&self) -> usize {
        self.line.len()
    }

    /// How many run, how many don't, and the bytes of all.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let rest = self.places.len() - self.running;
        (self.running, rest, self.bytes)
    }
}

impl<W> Running<W> {
    fn new(number: u64, waiter: Option<W>) -> Self {
        Running {
            reached: Verdict::NotExecuted,
            told: waiter.is_none(),
            waiters: Waiters::of(number, waiter),
            away: 0,
            left: Vec::new(),
        }
    }

    /// How many wait.
    fn count(&self) -> usize {
        self.waiters.len() + self.away
    }

    fn is_wanted(&self) -> bool {
        self.told || self.count() > 0
    }
}

impl<W> Waiting<W> {
    fn of<S>(state: State<S, W>) -> Option<Self> {
        match state {
            State::Running(running) => Some(Waiting {
                waiters: running.waiters,
                told: running.told,
            }),
            _ => None,
        }
    }
}
