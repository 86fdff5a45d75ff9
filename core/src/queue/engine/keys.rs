//! Request keys of offers: what was stored under each within the window (G26).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::super::Sequence;
use crate::clock::Instant;
use crate::id::RequestKey;

pub(in crate::queue) struct Keys {
    window: Duration,
    capacity: usize,
    known: HashMap<RequestKey, Known>,
    /// By the time they were learned.
    order: VecDeque<(Instant, RequestKey)>,
    /// The soonest that is to be forgotten of those learned since somebody looked.
    pub(in crate::queue) soonest: Instant,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::queue) struct Known {
    pub(in crate::queue) sequence: Sequence,
    /// A hash of what was offered.
    pub(in crate::queue) print: Option<u64>,
    pub(in crate::queue) since: Instant,
    /// The item has left, and its record stands for its key alone.
    pub(in crate::queue) is_tomb: bool,
}

/// What an offer with a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::queue) enum KeyCheck {
    New,
    Duplicate(Sequence),
    /// The key was used for something else.
    Reused,
    /// No further key can be remembered.
    Full,
}

impl Keys {
    pub(in crate::queue) fn new(window: Duration, capacity: usize) -> Self {
        Keys {
            window,
            capacity,
            known: HashMap::new(),
            order: VecDeque::new(),
            soonest: Instant::FAR,
        }
    }

    pub(in crate::queue) fn check(&self, key: RequestKey, print: Option<u64>) -> KeyCheck {
        match self.known.get(&key) {
            Some(known) if known.print.is_some() && print.is_some() && known.print != print => {
                KeyCheck::Reused
            }
            Some(known) => KeyCheck::Duplicate(known.sequence),
            None if self.known.len() >= self.capacity => KeyCheck::Full,
            None => KeyCheck::New,
        }
    }

    pub(in crate::queue) fn learn(
        &mut self,
        key: RequestKey,
        sequence: Sequence,
        print: Option<u64>,
        since: Instant,
    ) {
        let is_tomb = false;
        let known = Known {
            sequence,
            print,
            since,
            is_tomb,
        };
        self.known.insert(key, known);
        self.soonest = self.soonest.min(since + self.window);
        let at = self.order.partition_point(|(other, _)| *other <= since);
        self.order.insert(at, (since, key));
    }

    /// The item of a key leaves. Answers what its record must go on saying, if the window is open.
    pub(in crate::queue) fn entomb(
        &mut self,
        key: RequestKey,
        sequence: Sequence,
    ) -> Option<Known> {
        let known = self.known.get_mut(&key)?;
        if known.sequence != sequence {
            return None;
        }
        known.is_tomb = true;
        Some(*known)
    }

    /// The item of a key is back: it was on its way to somebody who left.
    pub(in crate::queue) fn exhume(&mut self, key: RequestKey, sequence: Sequence) {
        if let Some(known) = self.known.get_mut(&key)
            && known.sequence == sequence
        {
            known.is_tomb = false;
        }
    }

    /// Forgets what is past the window. Calls `tomb` for those whose records stood for the key alone.
    pub(in crate::queue) fn forget(&mut self, now: Instant, mut tomb: impl FnMut(Sequence)) {
        while let Some((since, key)) = self.order.front().copied() {
            if since + self.window > now {
                break;
            }
            self.order.pop_front();
            if let Some(known) = self.known.get(&key)
                && known.since == since
            {
                if known.is_tomb {
                    tomb(known.sequence);
                }
                self.known.remove(&key);
            }
        }
    }

    /// When the next is to be forgotten.
    pub(in crate::queue) fn next_due(&self) -> Instant {
        let first = self.order.front();
        first.map_or(Instant::FAR, |(since, _)| *since + self.window)
    }

    pub(in crate::queue) fn len(&self) -> usize {
        self.known.len()
    }
}
