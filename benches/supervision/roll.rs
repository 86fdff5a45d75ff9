//! The children of a run, the same for all systems: what one does with a job, and the roll on which each incarnation
//! puts itself down, so that a run in which one is missing, or handles what the one before it should have, fails instead
//! of looking fast.

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use common::stopwatch::Stopwatch;

/// What a crash says.
pub(crate) const CRASH: &str = "as told";

/// What a child is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// It panics.
    Crash,
    /// It counts; the one behind each crash.
    Next,
}

/// What a child is made from, as often as it is started.
#[derive(Clone)]
pub(crate) struct Kit {
    roll: Arc<Roll>,
    number: u32,
}

/// One incarnation of a child.
pub(crate) struct Worker {
    kit: Kit,
    incarnation: u64,
}

impl Worker {
    pub(crate) fn new(kit: Kit) -> Self {
        let incarnation = kit.post().made.fetch_add(1, Ordering::Relaxed) + 1;
        kit.roll.live.add(1);
        Worker { kit, incarnation }
    }

    /// # Panics
    /// If it is to.
    #[inline]
    pub(crate) fn handle(&mut self, job: Job) {
        match job {
            Job::Crash => self.crash(),
            Job::Next => self.next(),
        }
    }

    fn crash(&mut self) {
        let post = self.kit.post();
        post.crashes.fetch_add(1, Ordering::Relaxed);
        let now = self.kit.roll.now();
        post.crashed_at.store(now, Ordering::Release);
        panic::panic_any(CRASH);
    }

    fn next(&mut self) {
        let roll = &self.kit.roll;
        let now = roll.now();
        let post = self.kit.post();
        let took = now.saturating_sub(post.crashed_at.load(Ordering::Acquire));
        if self.incarnation != post.crashes.load(Ordering::Relaxed) + 1 {
            roll.wrong.fetch_add(1, Ordering::Relaxed);
        }
        let mut taken = roll.took.lock().unwrap_or_else(PoisonError::into_inner);
        taken.push(took);
        drop(taken);
        roll.handled.add(1);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kit.roll.live.sub(1);
    }
}

impl Kit {
    fn post(&self) -> &Post {
        &self.roll.posts[self.number as usize]
    }

    pub(crate) fn number(&self) -> usize {
        self.number as usize
    }
}

/// What is known of one child over its incarnations.
#[derive(Default)]
struct Post {
    made: AtomicU64,
    crashes: AtomicU64,
    /// Nanoseconds since the roll was made.
    crashed_at: AtomicU64,
}

/// All children of a run.
pub(crate) struct Roll {
    posts: Vec<Post>,
    begin: Stopwatch,
    live: Gauge,
    handled: Gauge,
    wrong: AtomicU64,
    took: Mutex<Vec<u64>>,
}

impl Roll {
    /// For so many children, which crash so often in all.
    pub(crate) fn new(children: usize, crashes: usize) -> Arc<Self> {
        Arc::new(Roll {
            posts: (0..children).map(|_| Post::default()).collect(),
            begin: Stopwatch::start(),
            live: Gauge::default(),
            handled: Gauge::default(),
            wrong: AtomicU64::new(0),
            took: Mutex::new(Vec::with_capacity(crashes)),
        })
    }

    /// What each child is made from. Allocates nothing for itself.
    pub(crate) fn kits(self: &Arc<Self>) -> impl Iterator<Item = Kit> + use<> {
        let roll = Arc::clone(self);
        let count = u32::try_from(roll.posts.len()).expect("it fits");
        (0..count).map(move |number| Kit {
            roll: Arc::clone(&roll),
            number,
        })
    }

    /// How many children there are.
    pub(crate) fn len(&self) -> usize {
        self.posts.len()
    }

    /// Waits until so many incarnations live.
    pub(crate) async fn until_live(&self, count: usize) {
        self.live.until(count as u64).await;
    }

    /// Waits until so many jobs behind a crash have been handled, over the whole run.
    pub(crate) async fn until_handled(&self, count: usize) {
        self.handled.until(count as u64).await;
    }

    /// From a crash to the job behind it in nanoseconds, for each in their order.
    ///
    /// # Panics
    /// If that job was handled by another than the next incarnation, or not by one for each crash.
    pub(crate) fn took(&self, crashes: usize) -> Vec<u64> {
        let wrong = self.wrong.load(Ordering::Relaxed);
        assert_eq!(wrong, 0, "not handled by the next incarnation");
        let mut taken = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(taken.len(), crashes, "jobs lost or doubled");
        let made = self
            .posts
            .iter()
            .map(|post| post.made.load(Ordering::Relaxed));
        let made: u64 = made.sum();
        assert_eq!(
            made,
            (self.len() + crashes) as u64,
            "not one restart a crash"
        );
        std::mem::take(&mut taken)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).expect("it fits")
    }
}

/// A number that somebody waits for.
#[derive(Default)]
struct Gauge {
    value: AtomicU64,
    /// One more than the number that is waited for; 0 if none is.
    wanted: AtomicU64,
    reached: Notify,
}

impl Gauge {
    fn add(&self, count: u64) {
        self.look(self.value.fetch_add(count, Ordering::SeqCst) + count);
    }

    fn sub(&self, count: u64) {
        self.look(self.value.fetch_sub(count, Ordering::SeqCst) - count);
    }

    fn look(&self, value: u64) {
        if self.wanted.load(Ordering::SeqCst) == value + 1 {
            self.reached.notify_one();
        }
    }

    /// One at a time waits.
    async fn until(&self, value: u64) {
        self.wanted.store(value + 1, Ordering::SeqCst);
        while self.value.load(Ordering::SeqCst) != value {
            self.reached.notified().await;
        }
        self.wanted.store(0, Ordering::SeqCst);
    }
}
