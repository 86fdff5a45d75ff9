//! Whether the other side is still there.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use callboard::clock::{Clock, Instant, Sleep};

use crate::config::LinkConfig;

#[cfg(test)]
mod tests;

/// Asks after a silent peer, and gives it up if it stays silent. One timer, moved when it is due and not
/// with every message.
pub(crate) struct Heartbeat {
    clock: Clock,
    ping_after: Duration,
    dead_after: Duration,
    heard: Instant,
    asked: Option<Instant>,
    timer: Sleep,
    /// Whom the timer wakes.
    wakes: Option<Waker>,
}

impl Heartbeat {
    pub(crate) fn new(clock: Clock, config: &LinkConfig) -> Self {
        let now = clock.now();
        Heartbeat {
            ping_after: config.ping_after,
            dead_after: config.dead_after,
            heard: now,
            asked: None,
            timer: clock.sleep_until(now + config.ping_after),
            wakes: None,
            clock,
        }
    }

    /// Something arrived.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    /// Keeps time: calls `ping` when the peer is to be asked; `true` when it is to be given up.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        mut ping: impl FnMut(),
    ) -> bool {
        // All timers of the process share a lock: it is not taken with every message.
        let wakes = self.wakes.as_ref();
        if now < self.timer.due() && wakes.is_some_and(|wakes| wakes.will_wake(cx.waker())) {
            return false;
        }
        self.wakes = Some(cx.waker().clone());
        while let Poll::Ready(()) = Pin::new(&mut self.timer).poll(cx) {
            let now = self.clock.now();
            // If the timer comes this late, it was this process that slept (stopped, or its thread
            // blocked), and what the peer sent meanwhile may not have been read yet.
            if now.since(self.timer.due()) >= self.ping_after.max(self.dead_after / 2) {
                self.heard = now;
                self.asked = self.asked.map(|_| now);
            }
            let due = match self.asked {
                Some(asked) if now.since(asked) >= self.dead_after => return true,
                // Not only then: if it is heard meanwhile, the next silence counts from there.
                Some(asked) => (asked + self.dead_after).min(now + self.ping_after),
                None if now.since(self.heard) >= self.ping_after => {
                    ping();
                    self.asked = Some(now);
                    now + self.ping_after.min(self.dead_after)
                }
                None => self.heard + self.ping_after,
            };
            self.timer = self.clock.sleep_until(due);
        }
        false
    }
}
