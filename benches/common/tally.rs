//! What every receiver counts, the same for all systems, so that a run which loses, doubles or mangles a
//! message fails instead of looking fast.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The count and the sum of what one receiver got. Part of the receiver's state: dropping it says that the
/// receiver has ended.
pub struct Tally {
    left: u64,
    sum: u64,
    finish: Arc<Finish>,
}

impl Tally {
    /// A tally that reports to `finish` once it has counted `expected` values.
    pub fn of(expected: u64, finish: &Arc<Finish>) -> Self {
        Tally {
            left: expected,
            sum: 0,
            finish: Arc::clone(finish),
        }
    }

    /// A tally that never finishes by itself, alone in its run.
    pub fn endless() -> Self {
        Tally::of(u64::MAX, &Finish::new(1).0)
    }

    /// Counts a value and answers the sum so far.
    #[inline]
    pub fn add(&mut self, value: u64) -> u64 {
        self.sum = self.sum.wrapping_add(value);
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 {
            self.finish.report(self.sum);
        }
        self.sum
    }

    /// Reports at once: the ring's token has come to its end.
    pub fn finish_now(&self) {
        self.finish.report(self.sum);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.finish.leave();
    }
}

/// Where the parties of one run report: each once when it has finished, and receivers again when they have
/// ended.
pub struct Finish {
    sum: AtomicU64,
    unfinished: AtomicUsize,
    present: AtomicUsize,
    finished: Mutex<Option<oneshot::Sender<u64>>>,
    gone: Mutex<Option<oneshot::Sender<()>>>,
}

impl Finish {
    /// For that many parties. The first receiver gets the sum of all sums when all have finished, the
    /// second is told when all have ended.
    pub fn new(parties: usize) -> (Arc<Finish>, oneshot::Receiver<u64>, oneshot::Receiver<()>) {
        let (finished_tx, finished) = oneshot::channel();
        let (gone_tx, gone) = oneshot::channel();
        let finish = Finish {
            sum: AtomicU64::new(0),
            unfinished: AtomicUsize::new(parties),
            present: AtomicUsize::new(parties),
            finished: Mutex::new(Some(finished_tx)),
            gone: Mutex::new(Some(gone_tx)),
        };
        (Arc::new(finish), finished, gone)
    }

    /// One party has finished, with this sum.
    pub fn report(&self, sum: u64) {
        self.sum.fetch_add(sum, Ordering::AcqRel);
        if self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            send(&self.finished, self.sum.load(Ordering::Acquire));
        }
    }

    fn leave(&self) {
        if self.present.fetch_sub(1, Ordering::AcqRel) == 1 {
            send(&self.gone, ());
        }
    }
}

/// Nobody may be waiting; then nobody is told.
fn send<T>(slot: &Mutex<Option<oneshot::Sender<T>>>, value: T) {
    let sender = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(sender) = sender {
        let _ = sender.send(value);
    }
}
