//! The only source of time.
//!
//! A [`Clock`] belongs to a system. On arbiters it is the machine's monotonic clock, and one thread per
//! process-wide clock wakes what is due; on the simulating executor it stands still while anything can
//! run and jumps to the next timer when nothing can (G38). Code that takes its time from here, and only
//! such code, can be tested without sleeping.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::num::NonZeroU64;
use std::ops::Add;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::time::ClockId;

/// A point in time of one [`Clock`], in nanoseconds since that clock began.
///
/// Points of different clocks can't be compared meaningfully; a process has one machine clock, shared by
/// all systems on arbiters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(
    /// One more than the nanoseconds, so that a deadline that may be missing takes no more room.
    NonZeroU64,
);

impl Instant {
    /// Later than any timer: stands for "no deadline".
    pub const FAR: Instant = Instant(NonZeroU64::MAX);

    /// A point that many nanoseconds after the clock's start.
    #[must_use]
    #[inline]
    pub fn from_nanos(nanos: u64) -> Self {
        Instant(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    #[inline]
    pub fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// The time from `earlier` to this point; zero if `earlier` is later.
    #[must_use]
    #[inline]
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    #[inline]
    fn add(self, span: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// The clock's start.
impl Default for Instant {
    #[inline]
    fn default() -> Self {
        Instant(NonZeroU64::MIN)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instant").field(&self.as_nanos()).finish()
    }
}

/// As the number of nanoseconds.
impl serde::Serialize for Instant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.as_nanos())
    }
}

/// A source of time and of timers. Clones share it.
#[derive(Clone)]
pub struct Clock {
    shared: Arc<Shared>,
}

struct Shared {
    kind: Kind,
    timers: Mutex<Timers>,
    /// Wakes the timer thread of the machine clock when an earlier timer was set.
    changed: Condvar,
}

enum Kind {
    Machine {
        epoch: std::time::Instant,
        /// The same moment on the clock that the coarse one follows, in nanoseconds.
        coarse_epoch: u64,
    },
    Virtual,
}

/// How far the coarse time may be behind: two ticks of a slow kernel.
const COARSE_LAG: Duration = Duration::from_millis(20);

/// When a manual clock begins: 2026-01-01.
const MANUAL_EPOCH: Duration = Duration::from_secs(1_767_225_600);

#[cfg(any(target_os = "linux", target_os = "android"))]
const COARSE: ClockId = ClockId::MonotonicCoarse;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const COARSE: ClockId = ClockId::Monotonic;

fn nanos_of(clock: ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[derive(Default)]
struct Timers {
    now: Instant,
    next_id: u64,
    waiting: BTreeMap<(Instant, u64), Waker>,
}

impl Clock {
    /// The machine's monotonic clock. One per process; its timer thread starts with the first call.
    #[must_use]
    pub fn machine() -> Self {
        static MACHINE: std::sync::OnceLock<Clock> = std::sync::OnceLock::new();
        MACHINE
            .get_or_init(|| {
                // The one place that reads the machine's clock.
                #[allow(clippy::disallowed_methods)]
                let epoch = std::time::Instant::now();
                let clock = Clock::of(Kind::Machine {
                    epoch,
                    coarse_epoch: nanos_of(ClockId::Monotonic),
                });
                let shared = Arc::clone(&clock.shared);
                crate::executor::thread("callboard-timer", move || shared.run_timer_thread());
                clock
            })
            .clone()
    }

    /// A clock that stands still until [`advance_to`](Clock::advance_to) moves it.
    #[must_use]
    pub fn manual() -> Self {
        Clock::of(Kind::Virtual)
    }

    fn of(kind: Kind) -> Self {
        let shared = Shared {
            kind,
            timers: Mutex::default(),
            changed: Condvar::new(),
        };
        Clock {
            shared: Arc::new(shared),
        }
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.shared.kind {
            Kind::Machine { epoch, .. } => Instant::default() + epoch.elapsed(),
            Kind::Virtual => self.shared.timers.lock().now,
        }
    }

    /// The time of day as the span since 1970 began (UTC), for what is written down and outlives the process. It
    /// follows the machine's calendar and so may jump; spans within a process are measured with
    /// [`now`](Clock::now). A manual clock begins on 2026-01-01.
    #[must_use]
    pub fn unix(&self) -> Duration {
        match &self.shared.kind {
            Kind::Machine { .. } => {
                let time = rustix::time::clock_gettime(ClockId::Realtime);
                let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
                Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
            }
            Kind::Virtual => MANUAL_EPOCH + Duration::from_nanos(self.now().as_nanos()),
        }
    }

    /// The time a tick ago at most (the kernel's, 1 to 4 ms): for deadlines, where reading the exact time
    /// would cost more than handling the message. Exact on a manual clock.
    #[must_use]
    #[inline]
    pub fn coarse_now(&self) -> Instant {
        match &self.shared.kind {
            Kind::Machine { coarse_epoch, .. } => {
                Instant::from_nanos(nanos_of(COARSE).saturating_sub(*coarse_epoch))
            }
            Kind::Virtual => self.shared.timers.lock().now,
        }
    }

    /// Whether that point has passed. Exact, but reads the exact time only when it is near.
    #[must_use]
    #[inline]
    pub fn has_passed(&self, point: Instant) -> bool {
        self.has_passed_by(self.coarse_now(), point)
    }

    /// The same for who has read the coarse time just now.
    #[inline]
    pub(crate) fn has_passed_by(&self, coarse: Instant, point: Instant) -> bool {
        coarse >= point || (point.since(coarse) <= COARSE_LAG && self.now() >= point)
    }

    /// Whether both are the same clock.
    #[must_use]
    #[inline]
    pub fn is(&self, other: &Clock) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether time only moves when told to.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        matches!(self.shared.kind, Kind::Virtual)
    }

    /// Completes after `span`.
    ///
    /// # Cancel safety
    /// Dropping it takes the timer away.
    pub fn sleep(&self, span: Duration) -> Sleep {
        self.sleep_until(self.now() + span)
    }

    /// Completes at `due`; never, if `due` is [`Instant::FAR`]. Works on any runtime, and on none.
    pub fn sleep_until(&self, due: Instant) -> Sleep {
        Sleep {
            clock: self.clone(),
            due,
            id: None,
        }
    }

    /// When the next timer is due.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        self.shared
            .timers
            .lock()
            .waiting
            .keys()
            .next()
            .map(|(due, _)| *due)
    }

    /// Moves a manual clock to `to` (never backwards) and wakes what is due. No effect on the machine's.
    pub fn advance_to(&self, to: Instant) {
        if let Kind::Virtual = self.shared.kind {
            let mut timers = self.shared.timers.lock();
            timers.now = timers.now.max(to);
            let due = timers.take_due();
            drop(timers);
            due.into_iter().for_each(Waker::wake);
        }
    }

    fn set(&self, due: Instant, id: &mut Option<u64>, waker: &Waker) {
        let mut timers = self.shared.timers.lock();
        let first = timers
            .waiting
            .keys()
            .next()
            .is_none_or(|(earliest, _)| due < *earliest);
        let number = *id.get_or_insert_with(|| {
            timers.next_id += 1;
            timers.next_id
        });
        let old = timers.waiting.insert((due, number), waker.clone());
        drop(timers);
        drop(old);
        if first {
            self.shared.changed.notify_one();
        }
    }

    fn cancel(&self, due: Instant, id: u64) {
        let waker = self.shared.timers.lock().waiting.remove(&(due, id));
        drop(waker);
    }
}

impl Timers {
    fn take_due(&mut self) -> Vec<Waker> {
        let later = self.waiting.split_off(&(self.now, u64::MAX));
        std::mem::replace(&mut self.waiting, later)
            .into_values()
            .collect()
    }
}

impl Shared {
    /// The machine clock's timer thread. It lives as long as the process, like the clock.
    fn run_timer_thread(&self) {
        let Kind::Machine { epoch, .. } = &self.kind else {
            return;
        };
        let mut timers = self.timers.lock();
        loop {
            timers.now = Instant::default() + epoch.elapsed();
            let due = timers.take_due();
            if !due.is_empty() {
                parking_lot::MutexGuard::unlocked(&mut timers, || {
                    due.into_iter().for_each(Waker::wake);
                });
                continue;
            }
            match timers.waiting.keys().next() {
                Some((next, _)) => {
                    let span = next.since(timers.now);
                    self.changed.wait_for(&mut timers, span);
                }
                None => self.changed.wait(&mut timers),
            }
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_manual() {
            "manual"
        } else {
            "machine"
        };
        f.debug_struct("Clock")
            .field("kind", &kind)
            .field("now", &self.now())
            .finish()
    }
}

/// A future that completes at a point in time. Made by [`Clock::sleep`].
#[derive(Debug)]
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    clock: Clock,
    due: Instant,
    /// Set while a timer is armed.
    id: Option<u64>,
}

impl Sleep {
    /// When it completes.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Whether its timer is set and lies ahead.
    pub(crate) fn is_armed(&self) -> bool {
        self.id.is_some() && !self.clock.has_passed(self.due)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.due == Instant::FAR {
            return Poll::Pending;
        }
        if self.clock.now() >= self.due {
            return Poll::Ready(());
        }
        let Sleep { clock, due, id } = &mut *self;
        clock.set(*due, id, cx.waker());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.clock.cancel(self.due, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_point_in_time_is_its_nanoseconds_up_to_far() {
        for nanos in [0, 1, 1 << 63, u64::MAX - 1] {
            assert_eq!(Instant::from_nanos(nanos).as_nanos(), nanos);
        }
        assert_eq!(Instant::default(), Instant::from_nanos(0));
        assert_eq!(Instant::from_nanos(u64::MAX), Instant::FAR);
        assert_eq!(Instant::default() + Duration::MAX, Instant::FAR);
        assert!(Instant::from_nanos(u64::MAX - 2) < Instant::FAR);
        assert_eq!(format!("{:?}", Instant::from_nanos(7)), "Instant(7)");
        // A message that may have a deadline has room for one, and no more.
        assert_eq!(size_of::<Option<Instant>>(), size_of::<u64>());
    }

    #[test]
    fn a_manual_clock_moves_only_when_told_and_wakes_what_is_due() {
        let clock = Clock::manual();
        let flag = Arc::new(Flag::default());
        let waker = Waker::from(Arc::clone(&flag));
        let mut cx = Context::from_waker(&waker);
        let mut sleep = Box::pin(clock.sleep(Duration::from_secs(1)));
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        clock.advance_to(Instant::from_nanos(999_999_999));
        assert!(!flag.0.load(Ordering::SeqCst));
        clock.advance_to(Instant::from_nanos(1_000_000_000));
        assert!(flag.0.load(Ordering::SeqCst));
        assert!(sleep.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn a_dropped_sleep_leaves_no_timer() {
        let clock = Clock::manual();
        let mut cx = Context::from_waker(Waker::noop());
        let mut sleep = Box::pin(clock.sleep(Duration::from_secs(1)));
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        assert!(clock.next_timer().is_some());
        drop(sleep);
        assert_eq!(clock.next_timer(), None);
    }

    #[test]
    fn the_machine_clock_wakes_a_sleeper_without_any_runtime() {
        let clock = Clock::machine();
        let start = clock.now();
        crate::executor::block_on(clock.sleep(Duration::from_millis(5)));
        assert!(clock.now().since(start) >= Duration::from_millis(5));
    }
}
