//! Where messages go that reach no handler and can't go back to their sender (G3, G6).
//!
//! A bounded ring: the newest 1,024 are kept for inspection with the message itself; what falls out is
//! only counted. A message goes back to its sender or comes here, never both.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Instant;
use crate::counters::{Counters, DropReason};
use crate::id::RequestKey;

/// How many dead letters a system keeps.
pub const DEAD_LETTER_CAPACITY: usize = 1_024;

/// A message that reached no handler.
pub struct DeadLetter {
    /// When it was given up.
    pub at: Instant,
    /// Whom it was for.
    pub target: String,
    /// The Rust type of the message.
    pub message_type: &'static str,
    /// Why.
    pub reason: DropReason,
    /// Its request key, if it had one.
    pub key: Option<RequestKey>,
    /// The message itself.
    pub message: Box<dyn Any + Send>,
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("target", &self.target)
            .field("message_type", &self.message_type)
            .field("reason", &self.reason)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The dead letters of one system.
pub struct DeadLetters {
    counters: Arc<Counters>,
    ring: Mutex<VecDeque<DeadLetter>>,
}

impl DeadLetters {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        DeadLetters {
            counters,
            ring: Mutex::default(),
        }
    }

    /// Takes a message that nobody else will have, and counts it under its reason.
    pub fn push(&self, letter: DeadLetter) {
        self.counters.count_drop(letter.reason);
        tracing::debug!(
            target: "callboard::dead_letter",
            receiver = %letter.target, message = letter.message_type, reason = ?letter.reason
        );
        let mut ring = self.ring.lock();
        let oldest = if ring.len() >= DEAD_LETTER_CAPACITY {
            ring.pop_front()
        } else {
            None
        };
        ring.push_back(letter);
        drop(ring);
        if let Some(oldest) = oldest {
            self.counters.count_drop(DropReason::DeadLetterOverflow);
            // A user's `Drop` runs outside the lock, and behind a fence: whoever is here has nothing to do
            // with that message (G10).
            if catch_unwind(AssertUnwindSafe(|| drop(oldest))).is_err() {
                self.counters.count_panic();
                tracing::warn!(target: "callboard::dead_letter", "the drop of a message panicked");
            }
        }
    }

    /// How many are kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.lock().len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all that are kept, oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<DeadLetter> {
        std::mem::take(&mut *self.ring.lock()).into()
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
