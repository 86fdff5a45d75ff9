//! The actors whose requests a store has seen: only of those can it say what did not come.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use callboard_core::ActorId;
use parking_lot::Mutex;

/// How many it remembers. One that it has forgotten counts as one it never saw, until the next request.
const SEEN: usize = 4_096;

#[derive(Default)]
pub(super) struct Targets {
    /// The last one, so that a store before one actor takes no lock. Ids are never 0.
    last: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    there: BTreeSet<u64>,
    /// In the order in which they came.
    line: VecDeque<u64>,
}

impl Targets {
    #[inline]
    pub(super) fn saw(&self, actor: ActorId) {
        let actor = actor.as_u64();
        if self.last.load(Ordering::Relaxed) != actor {
            self.remember(actor);
        }
    }

    fn remember(&self, actor: u64) {
        let mut seen = self.seen.lock();
        if seen.there.insert(actor) {
            seen.line.push_back(actor);
        }
        if seen.line.len() > SEEN
            && let Some(oldest) = seen.line.pop_front()
        {
            seen.there.remove(&oldest);
        }
        // Under the lock, so that it is never one that has been forgotten.
        self.last.store(actor, Ordering::Relaxed);
    }

    pub(super) fn has_seen(&self, actor: ActorId) -> bool {
        self.seen.lock().there.contains(&actor.as_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g03_so_many_are_remembered_and_the_oldest_go() {
        let targets = Targets::default();
        let actors: Vec<_> = (0..=SEEN).map(|_| ActorId::fresh()).collect();
        for actor in &actors {
            targets.saw(*actor);
            targets.saw(*actor);
            assert!(targets.has_seen(*actor));
        }
        assert!(!targets.has_seen(actors[0]));
        assert!(targets.has_seen(actors[1]));
        targets.saw(actors[0]);
        assert!(targets.has_seen(actors[0]) && !targets.has_seen(actors[1]));
        assert_eq!(targets.seen.lock().line.len(), SEEN);
    }
}
