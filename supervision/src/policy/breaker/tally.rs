//! Attempts and failures within a window, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard_core::clock::Instant;
use parking_lot::Mutex;

/// In how many slices a window is counted.
const SLICES: usize = 10;
/// One attempt in the upper half of a count, one failure in the lower.
const CALL: u64 = 1 << 32;

/// A ring of counts, each with when its slice began: so that the window can change while it is counted in.
///
/// Not exact where threads meet the end of a slice: an end may be counted a slice too late, and one that comes a whole
/// window too late, in another one. A breaker doesn't need more; a budget does.
pub(super) struct Tally {
    slots: [Slot; SLICES],
    /// The window that was counted in last, in nanoseconds.
    window: AtomicU64,
    /// Who takes a slot into use for another slice.
    turning: Mutex<()>,
}

#[derive(Default)]
struct Slot {
    /// When its slice began, in nanoseconds and one more; zero: it has none.
    began: AtomicU64,
    counts: AtomicU64,
}

impl Tally {
    pub(super) fn new() -> Self {
        Tally {
            slots: std::array::from_fn(|_| Slot::default()),
            window: AtomicU64::new(0),
            turning: Mutex::new(()),
        }
    }

    #[inline]
    pub(super) fn count(&self, now: Instant, window: Duration, failed: bool) {
        let slice = slice_of(window);
        let turn = now.as_nanos() / slice;
        // The remainder is less than the length.
        #[allow(clippy::cast_possible_truncation)]
        let slot = &self.slots[(turn % SLICES as u64) as usize];
        let began = (turn * slice).saturating_add(1);
        if slot.began.load(Ordering::Acquire) < began {
            self.turn(slot, began, window);
        }
        let one = CALL + u64::from(failed);
        slot.counts.fetch_add(one, Ordering::Relaxed);
    }

    /// Attempts and failures of the slices that began within `window` before `now`.
    pub(super) fn within(&self, now: Instant, window: Duration) -> (u64, u64) {
        let oldest = now.as_nanos().checked_sub(nanos_of(window));
        let live = self.slots.iter().filter(|slot| {
            let began = slot.began.load(Ordering::Acquire);
            began > oldest.map_or(0, |oldest| oldest.saturating_add(1))
        });
        live.fold((0, 0), |(calls, failures), slot| {
            let counts = slot.counts.load(Ordering::Relaxed);
            (calls + counts / CALL, failures + counts % CALL)
        })
    }

    /// The same with the window that was counted in last.
    pub(super) fn within_last_window(&self, now: Instant) -> (u64, u64) {
        let window = Duration::from_nanos(self.window.load(Ordering::Relaxed));
        self.within(now, window)
    }

    pub(super) fn forget(&self) {
        let _turning = self.turning.lock();
        for slot in &self.slots {
            slot.counts.store(0, Ordering::Relaxed);
        }
    }

    #[cold]
    fn turn(&self, slot: &Slot, began: u64, window: Duration) {
        let _turning = self.turning.lock();
        if slot.began.load(Ordering::Relaxed) < began {
            slot.counts.store(0, Ordering::Relaxed);
            slot.began.store(began, Ordering::Release);
            self.window.store(nanos_of(window), Ordering::Relaxed);
        }
    }
}

fn nanos_of(window: Duration) -> u64 {
    u64::try_from(window.as_nanos()).unwrap_or(u64::MAX)
}

fn slice_of(window: Duration) -> u64 {
    (nanos_of(window) / SLICES as u64).max(1)
}
