//! A publisher's place in the line of a subscriber that makes it wait.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::buffer::{After, Buffer};

/// Given up when it is dropped: the subscriber is told that it missed the message.
pub(super) struct Place<T> {
    buffer: Arc<Buffer<T>>,
    sequence: u64,
    /// How long it is worth waiting for.
    pub(super) limit: Duration,
    is_over: bool,
}

impl<T> Place<T> {
    pub(super) fn new(buffer: Arc<Buffer<T>>, sequence: u64, limit: Duration) -> Self {
        Place {
            buffer,
            sequence,
            limit,
            is_over: false,
        }
    }

    /// Ready once the message is inside the bound, or nobody wants it any more.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let polled = self.buffer.poll_line(self.sequence, cx);
        self.is_over |= polled.is_ready();
        polled
    }

    /// Waits no longer. Answers whether the message is inside the bound all the same.
    pub(super) fn give_up(&mut self) -> bool {
        if self.is_over {
            return true;
        }
        self.is_over = true;
        let mut after = After::default();
        self.buffer.give_up(self.sequence, &mut after)
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.give_up();
    }
}
