//! The deadlines of asks that wait, a table per arbiter.
//!
//! Nearly every ask is answered long before its deadline, so arming and disarming must cost next to
//! nothing, and firing may cost a little. An entry goes into one of a few levels, by how far off it is;
//! each level knows the earliest that may be in it, and is searched only when that has come. So a level of
//! far deadlines is searched rarely however often its entries change, and a level of near ones is short.
//! (The idea is that of hashed and hierarchical timing wheels, Varghese and Lauck 1987, with exact times.)

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::clock::{Clock, Instant, Sleep};
use crate::driver::{self, Arbiter};

/// Level n holds what is less than 2^n ms off, the last one the rest: days.
const LEVELS: usize = 28;

/// The deadlines of one arbiter.
pub(crate) struct Deadlines {
    levels: [Level; LEVELS],
    /// Nothing is due before.
    earliest: Instant,
}

struct Level {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Nothing in here is due before.
    earliest: Instant,
}

struct Entry {
    due: Instant,
    /// Grows each time the place is used again.
    generation: u32,
    waker: Option<Waker>,
}

/// Where an entry is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    level: u8,
    index: u32,
    generation: u32,
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        let levels = std::array::from_fn(|_| Level {
            entries: Vec::new(),
            free: Vec::new(),
            earliest: Instant::FAR,
        });
        Deadlines {
            levels,
            earliest: Instant::FAR,
        }
    }

    /// When something may be due.
    pub(crate) fn earliest(&self) -> Instant {
        self.earliest
    }

    pub(crate) fn arm(&mut self, now: Instant, due: Instant, waker: &Waker) -> Key {
        let millis = due.since(now).as_millis();
        let level = (u128::BITS - millis.leading_zeros()) as usize;
        let level = level.min(LEVELS - 1);
        self.earliest = self.earliest.min(due);
        let (index, generation) = self.levels[level].arm(due, waker.clone());
        Key {
            level: u8::try_from(level).unwrap_or(u8::MAX),
            index,
            generation,
        }
    }

    /// Makes an entry wake another.
    pub(crate) fn update(&mut self, key: Key, waker: &Waker) {
        let entry = self.levels[key.level as usize]
            .entries
            .get_mut(key.index as usize);
        if let Some(Entry {
            generation,
            waker: Some(armed),
            ..
        }) = entry
            && *generation == key.generation
            && !armed.will_wake(waker)
        {
            *armed = waker.clone();
        }
    }

    pub(crate) fn disarm(&mut self, key: Key) {
        let level = &mut self.levels[key.level as usize];
        if let Some(entry) = level.entries.get_mut(key.index as usize)
            && entry.generation == key.generation
            && entry.waker.take().is_some()
        {
            level.free.push(key.index);
        }
    }

    /// Takes out what is due.
    pub(crate) fn fire(&mut self, now: Instant) -> Vec<Waker> {
        let mut due = Vec::new();
        for level in self.levels.iter_mut().filter(|level| level.earliest <= now) {
            level.fire(now, &mut due);
        }
        let earliest = self.levels.iter().map(|level| level.earliest).min();
        self.earliest = earliest.unwrap_or(Instant::FAR);
        due
    }
}

impl Level {
    fn arm(&mut self, due: Instant, waker: Waker) -> (u32, u32) {
        self.earliest = self.earliest.min(due);
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.generation = entry.generation.wrapping_add(1);
            entry.due = due;
            entry.waker = Some(waker);
            return (index, entry.generation);
        }
        self.entries.push(Entry {
            due,
            generation: 0,
            waker: Some(waker),
        });
        (u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX), 0)
    }

    fn fire(&mut self, now: Instant, due: &mut Vec<Waker>) {
        self.earliest = Instant::FAR;
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.waker.is_none() {
                continue;
            }
            if entry.due <= now {
                due.extend(entry.waker.take());
                self.free.push(u32::try_from(index).unwrap_or(u32::MAX));
            } else {
                self.earliest = self.earliest.min(entry.due);
            }
        }
        // A burst's memory goes back when nothing is left of it.
        if self.free.len() == self.entries.len() && self.entries.len() > 1_024 {
            self.entries = Vec::new();
            self.free = Vec::new();
        }
    }
}

impl fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadlines")
            .field("earliest", &self.earliest)
            .finish_non_exhaustive()
    }
}

/// Completes at a deadline: through the table of the arbiter it is polled on, or, elsewhere, the clock's
/// own timers.
pub(crate) struct Due {
    clock: Clock,
    due: Instant,
    armed: Armed,
}

enum Armed {
    No,
    Table(Arc<Arbiter>, Key),
    Clock(Sleep),
}

impl Due {
    #[inline]
    pub(crate) fn at(clock: &Clock, due: Instant) -> Self {
        Due {
            clock: clock.clone(),
            due,
            armed: Armed::No,
        }
    }

    fn disarm(&mut self) {
        if let Armed::Table(arbiter, key) = std::mem::replace(&mut self.armed, Armed::No) {
            // On another thread the entry stays until it is due, and wakes nobody who minds.
            arbiter.with_deadlines(|deadlines| deadlines.disarm(key));
        }
    }
}

impl Future for Due {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.due == Instant::FAR {
            return Poll::Pending;
        }
        match &mut this.armed {
            Armed::Table(..) | Armed::Clock(_) if this.clock.has_passed(this.due) => {
                return Poll::Ready(());
            }
            Armed::Table(arbiter, key) => {
                if arbiter
                    .with_deadlines(|deadlines| deadlines.update(*key, cx.waker()))
                    .is_some()
                {
                    return Poll::Pending;
                }
            }
            Armed::Clock(sleep) => return Pin::new(sleep).poll(cx),
            Armed::No => {
                if let Some(here) = driver::here()
                    && let Some(key) = here.arm(&this.clock, this.due, cx.waker())
                {
                    this.armed = Armed::Table(here, key);
                    return Poll::Pending;
                }
            }
        }
        let mut sleep = this.clock.sleep_until(this.due);
        let polled = Pin::new(&mut sleep).poll(cx);
        this.armed = Armed::Clock(sleep);
        polled
    }
}

impl Drop for Due {
    #[inline]
    fn drop(&mut self) {
        if let Armed::Table(..) = self.armed {
            self.disarm();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Arm(u64),
        Disarm(usize),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..100_000_u64).prop_map(Step::Arm),
            2 => (0..16_usize).prop_map(Step::Disarm),
            2 => (0..50_000_u64).prop_map(Step::Pass),
        ];
        proptest::collection::vec(step, 0..100)
    }

    proptest! {
        /// Each deadline fires exactly when it has come, unless it was disarmed; none is forgotten.
        #[test]
        fn g09_the_table_behaves_like_a_list(steps in steps()) {
            let mut table = Deadlines::new();
            let mut model: BTreeMap<usize, (Instant, Key, Arc<Count>)> = BTreeMap::new();
            let mut now = Instant::default();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Arm(micros) => {
                        let due = now + Duration::from_micros(micros);
                        let count = Arc::new(Count::default());
                        let key = table.arm(now, due, &Waker::from(Arc::clone(&count)));
                        model.insert(number, (due, key, count));
                    }
                    Step::Disarm(index) => {
                        if let Some(number) = model.keys().nth(index).copied()
                            && let Some((_, key, count)) = model.remove(&number)
                        {
                            table.disarm(key);
                            // A second time does nothing, also when the place is used again.
                            table.disarm(key);
                            prop_assert_eq!(Arc::strong_count(&count), 1);
                        }
                    }
                    Step::Pass(micros) => {
                        now = now + Duration::from_micros(micros);
                        table.fire(now).into_iter().for_each(Waker::wake);
                        for (due, _, count) in model.values() {
                            let fired = count.0.load(Ordering::SeqCst);
                            prop_assert_eq!(fired, usize::from(*due <= now));
                        }
                        model.retain(|_, (due, ..)| *due > now);
                    }
                }
                let earliest = model.values().map(|(due, ..)| *due).min();
                prop_assert!(table.earliest() <= earliest.unwrap_or(Instant::FAR));
            }
        }
    }
}
