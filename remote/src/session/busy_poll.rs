//! A short look-out for what comes next, before the thread of the connection sleeps.
//!
//! To wake a thread that sleeps takes longer than to read a message: on a virtual machine tens of microseconds, which
//! both sides of an ask would wait for. So a connection that has just carried something asks the system for news for
//! a while ([`LinkConfig::busy_poll`](crate::LinkConfig::busy_poll)) before it waits. Whatever else can run on that
//! thread runs meanwhile. Where nothing came of it, fewer and fewer pauses begin with a look-out: at most one of 64
//! where it never pays. (Linux has the same for sockets as `SO_BUSY_POLL`, and `haltpoll` for processors.)

use std::pin::pin;
use std::task::Context;
use std::time::Duration;

use callboard::clock::{Clock, Instant};

#[cfg(test)]
mod tests;

/// One pause in two to the power of this is looked out for, where it never pays.
const MOST_MISSES: u32 = 6;

/// See the module.
pub(crate) struct BusyPoll {
    /// How long; zero for never.
    span: Duration,
    /// When something was carried last.
    last: Instant,
    /// This pause has one.
    is_on: bool,
    /// How many in a row came to nothing.
    misses: u32,
    /// How many pauses have none.
    skips: u32,
}

impl BusyPoll {
    pub(crate) fn new(clock: &Clock, span: Duration) -> Self {
        BusyPoll {
            // Virtual time stands still while a task is ready.
            span: if clock.is_manual() {
                Duration::ZERO
            } else {
                span
            },
            last: clock.now(),
            is_on: false,
            misses: 0,
            skips: 0,
        }
    }

    /// Something was carried.
    pub(crate) fn went_on(&mut self, now: Instant) {
        if self.is_on {
            self.misses = 0;
        }
        self.last = now;
        self.is_on = self.skips == 0;
        self.skips = self.skips.saturating_sub(1);
    }

    /// Nothing is left to do: has the task polled again when all others have had their turn and the system has been
    /// asked for news, as long as the look-out lasts.
    pub(crate) fn poll(&mut self, now: Instant, cx: &mut Context<'_>) {
        if !self.looks_out(now) {
            return;
        }
        // Its first poll leaves the waker with the runtime, for after the next look at its sockets.
        let _ = pin!(tokio::task::yield_now()).poll(cx);
    }

    fn looks_out(&mut self, now: Instant) -> bool {
        if self.is_on && now.since(self.last) >= self.span {
            self.is_on = false;
            self.misses = (self.misses + 1).min(MOST_MISSES);
            self.skips = (1 << self.misses) - 1;
        }
        self.is_on
    }
}
