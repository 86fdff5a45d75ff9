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
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::{Clock, Instant, Sleep};
use crate::driver;

/// Level n holds what is less than about 2^n ms off, the last one the rest: days.
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

    /// Puts an entry in, about `span` ahead: how far off it is decides how rarely it is looked at, not when
    /// it fires.
    #[inline]
    pub(crate) fn arm(&mut self, span: Duration, due: Instant, waker: &Waker) -> Key {
        // A second of 1,024 ms: near enough.
        let millis = (span.as_secs() << 10) | u64::from(span.subsec_nanos() >> 20);
        let level = (u64::BITS - millis.leading_zeros()) as usize;
        let level = level.min(LEVELS - 1);
        self.earliest = self.earliest.min(due);
        let (index, generation) = self.levels[level].arm(due, waker.clone());
        Key {
            level: u8::try_from(level).unwrap_or(u8::MAX),
            index,
            generation,
        }
    }

    /// Makes an entry wake another. The one before comes back.
    pub(crate) fn update(&mut self, key: Key, waker: &Waker) -> Option<Waker> {
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
            return Some(std::mem::replace(armed, waker.clone()));
        }
        None
    }

    /// Takes an entry out. Its waker comes back, to be dropped where that can do no harm.
    pub(crate) fn disarm(&mut self, key: Key) -> Option<Waker> {
        let level = &mut self.levels[key.level as usize];
        let entry = level.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        let waker = entry.waker.take()?;
        level.free.push(key.index);
        Some(waker)
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
    due: Instant,
    /// About how far off that was at first.
    span: Duration,
    armed: Armed,
}

enum Armed {
    No,
    /// In the table of the arbiter with that number.
    Table(u32, Key),
    Clock(Box<Sleep>),
}

impl Due {
    #[inline]
    pub(crate) fn at(due: Instant, span: Duration) -> Self {
        Due {
            due,
            span,
            armed: Armed::No,
        }
    }

    /// Whether it has come, on that clock; if not, the waker is called when it does.
    pub(crate) fn poll(&mut self, clock: &Clock, cx: &mut Context<'_>) -> Poll<()> {
        if self.due == Instant::FAR {
            return Poll::Pending;
        }
        match &mut self.armed {
            Armed::Table(..) | Armed::Clock(_) if clock.has_passed(self.due) => {
                return Poll::Ready(());
            }
            Armed::Table(arbiter, key) => {
                let update = |deadlines: &mut Deadlines| deadlines.update(*key, cx.waker());
                if at_table(*arbiter, update).is_some() {
                    return Poll::Pending;
                }
            }
            Armed::Clock(sleep) => return Pin::new(&mut **sleep).poll(cx),
            Armed::No => {
                let armed = driver::with_here(|here| {
                    let key = here.arm(clock, self.span, self.due, cx.waker())?;
                    Some(Armed::Table(here.number(), key))
                });
                if let Some(armed) = armed.flatten() {
                    self.armed = armed;
                    return Poll::Pending;
                }
            }
        }
        let mut sleep = Box::new(clock.sleep_until(self.due));
        let polled = Pin::new(&mut *sleep).poll(cx);
        self.armed = Armed::Clock(sleep);
        polled
    }
}

/// Works on the table of the arbiter with that number, if this is its thread.
#[inline]
fn at_table<T>(arbiter: u32, work: impl FnOnce(&mut Deadlines) -> T) -> Option<T> {
    driver::with_here(|here| {
        if here.number() == arbiter {
            here.with_deadlines(work)
        } else {
            None
        }
    })
    .flatten()
}

impl Drop for Due {
    #[inline]
    fn drop(&mut self) {
        if let Armed::Table(arbiter, key) = self.armed {
            // On another thread the entry stays until it is due, and wakes nobody who minds.
            drop(at_table(arbiter, |deadlines| deadlines.disarm(key)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
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
                    Step::Arm(millis) => {
                        let due = now + Duration::from_millis(millis);
                        let count = Arc::new(Count::default());
                        let key = table.arm(due.since(now), due, &Waker::from(Arc::clone(&count)));
                        model.insert(number, (due, key, count));
                    }
                    Step::Disarm(index) => {
                        if let Some(number) = model.keys().nth(index).copied()
                            && let Some((due, key, count)) = model.remove(&number)
                        {
                            prop_assert_eq!(table.disarm(key).is_some(), due > now);
                            // A second time does nothing, also when the place is used again.
                            prop_assert!(table.disarm(key).is_none());
                            prop_assert_eq!(Arc::strong_count(&count), 1);
                        }
                    }
                    Step::Pass(millis) => {
                        now = now + Duration::from_millis(millis);
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
