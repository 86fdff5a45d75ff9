//! Signs of life: a child's stdout, and how long it has been silent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::ChildStdout;

use crate::clock::{Clock, Instant};

/// When something was last heard.
pub(super) struct Pulse {
    clock: Clock,
    last: AtomicU64,
}

impl Pulse {
    pub(super) fn new(clock: &Clock) -> Self {
        Pulse {
            clock: clock.clone(),
            last: AtomicU64::new(clock.now().as_nanos()),
        }
    }

    fn beat(&self) {
        let now = self.clock.coarse_now().as_nanos();
        // The coarse time may be a little behind what is there already.
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        Instant::from_nanos(self.last.load(Ordering::Relaxed))
    }

    /// Calls `silent` when nothing was heard for `limit`: once, until something is heard again. Never completes.
    ///
    /// `unread` says whether something has come that nobody has looked at: that is silence of its reader, not
    /// of the child.
    pub(super) async fn watch(
        &self,
        limit: Duration,
        unread: impl Fn() -> bool,
        silent: impl Fn(),
    ) -> std::convert::Infallible {
        // The last sign before the silence that was told.
        let mut told = None;
        let mut awake_since = Instant::default();
        let mut due = self.last() + limit;
        loop {
            self.clock.sleep_until(due).await;
            let now = self.clock.now();
            // If the timer comes this late, it was this process that stood still, and the child may have stood
            // still with it (a container that was paused): it gets its time again.
            if now.since(due) >= limit / 2 {
                awake_since = now;
            }
            let last = self.last();
            due = last.max(awake_since) + limit;
            if due > now {
                continue;
            }
            if told != Some(last) && !unread() {
                told = Some(last);
                silent();
            }
            // A sign that comes meanwhile counts from when it came, so the next silence is seen in time.
            due = now + limit;
        }
    }
}

/// The reading end of a child's stdout, which its reader shares with who listens for signs of life.
pub(super) struct Stdout {
    pipe: Mutex<Option<ChildStdout>>,
    pulse: Option<Arc<Pulse>>,
}

impl Stdout {
    /// The end to be shared, and the one that reads.
    pub(super) fn new(pipe: ChildStdout, pulse: Option<Arc<Pulse>>) -> (Arc<Self>, StdoutReader) {
        let stdout = Arc::new(Stdout {
            pipe: Mutex::new(Some(pipe)),
            pulse,
        });
        let reader = StdoutReader(Arc::clone(&stdout));
        (stdout, reader)
    }

    /// Whether there is something in the pipe that nobody has read.
    pub(super) fn has_unread(&self) -> bool {
        let pipe = self.pipe.lock();
        let waiting = pipe.as_ref().map(rustix::io::ioctl_fionread);
        matches!(waiting, Some(Ok(1..)))
    }
}

/// Reads a child's stdout. Dropping it closes the pipe.
pub(super) struct StdoutReader(Arc<Stdout>);

impl AsyncRead for StdoutReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut *self.0.pipe.lock() {
            Some(pipe) => Pin::new(pipe).poll_read(cx, buf),
            // Only after the drop of this.
            None => Poll::Ready(Ok(())),
        };
        if buf.filled().len() > before
            && let Some(pulse) = &self.0.pulse
        {
            pulse.beat();
        }
        polled
    }
}

impl Drop for StdoutReader {
    fn drop(&mut self) {
        let pipe = self.0.pipe.lock().take();
        drop(pipe);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use proptest::prelude::*;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// A watch on a clock that the test moves.
    struct Watched {
        clock: Clock,
        pulse: Arc<Pulse>,
        told: Arc<AtomicUsize>,
        unread: Arc<AtomicBool>,
        watch: Pin<Box<dyn Future<Output = ()>>>,
    }

    impl Watched {
        fn new() -> Self {
            let clock = Clock::manual();
            let pulse = Arc::new(Pulse::new(&clock));
            let (told, unread) = (
                Arc::new(AtomicUsize::new(0)),
                Arc::new(AtomicBool::new(false)),
            );
            let watch = {
                let (pulse, told, unread) = (pulse.clone(), told.clone(), unread.clone());
                async move {
                    let silent = || {
                        told.fetch_add(1, Ordering::Relaxed);
                    };
                    pulse
                        .watch(LIMIT, || unread.load(Ordering::Relaxed), silent)
                        .await;
                }
            };
            let mut watched = Watched {
                clock,
                pulse,
                told,
                unread,
                watch: Box::pin(watch),
            };
            watched.poll();
            watched
        }

        fn poll(&mut self) {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(self.watch.as_mut().poll(&mut cx).is_pending());
        }

        /// Moves the clock on, timer by timer.
        fn pass(&mut self, span: Duration) {
            let end = self.clock.now() + span;
            while let Some(due) = self.clock.next_timer().filter(|due| *due <= end) {
                self.clock.advance_to(due);
                self.poll();
            }
            self.clock.advance_to(end);
            self.poll();
        }

        fn told(&self) -> usize {
            self.told.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn silence_is_told_once_until_the_next_sign() {
        let mut watched = Watched::new();
        watched.pass(LIMIT - Duration::from_nanos(1));
        assert_eq!(watched.told(), 0);
        watched.pass(Duration::from_nanos(1));
        assert_eq!(watched.told(), 1);
        watched.pass(LIMIT * 10);
        assert_eq!(watched.told(), 1);
        watched.pulse.beat();
        watched.pass(LIMIT - Duration::from_nanos(1));
        assert_eq!(watched.told(), 1);
        watched.pass(Duration::from_nanos(1));
        assert_eq!(watched.told(), 2);
    }

    #[test]
    fn what_nobody_reads_is_no_silence_of_the_child() {
        let mut watched = Watched::new();
        watched.unread.store(true, Ordering::Relaxed);
        watched.pass(LIMIT * 10);
        assert_eq!(watched.told(), 0);
        watched.unread.store(false, Ordering::Relaxed);
        watched.pass(LIMIT);
        assert_eq!(watched.told(), 1);
    }

    #[test]
    fn a_pause_of_this_process_is_no_silence_of_the_child() {
        let mut watched = Watched::new();
        // All stood still, and the timer comes late.
        let now = watched.clock.now() + LIMIT * 3;
        watched.clock.advance_to(now);
        watched.poll();
        assert_eq!(watched.told(), 0);
        watched.pass(LIMIT - Duration::from_nanos(1));
        assert_eq!(watched.told(), 0);
        watched.pass(Duration::from_nanos(1));
        assert_eq!(watched.told(), 1);
    }

    proptest! {
        /// Against the plain rule: a silence is a gap between two signs that is at least as long as the limit.
        #[test]
        fn silences_are_the_gaps_that_are_long_enough(
            gaps in prop::collection::vec(1u64..12_000, 1..20),
        ) {
            let mut watched = Watched::new();
            let mut expected = 0;
            for millis in gaps {
                let gap = Duration::from_millis(millis);
                watched.pass(gap);
                expected += usize::from(gap >= LIMIT);
                prop_assert_eq!(watched.told(), expected);
                watched.pulse.beat();
            }
        }
    }
}
