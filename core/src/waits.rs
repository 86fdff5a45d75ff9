//! Who waits for whom: so that a cycle of asks is found the moment it closes, and not when its deadline comes.
//!
//! An actor handles one message at a time (G1). So if A's handler waits for B, and B's for A, neither will ever
//! answer. The same graph of waits finds deadlocks among locks in databases. An edge is kept only while a
//! handler truly waits: asks that are answered at once, and those of tasks and of code outside actors, have
//! none.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::current;
use crate::id::ActorId;

/// So that arbiters seldom meet at one lock.
const SHARDS: usize = 16;
/// How many actors a search looks at; what is longer isn't found, and ends by its deadline.
const REACH: usize = 256;

/// The waits of one system.
#[derive(Default)]
pub(crate) struct Waits {
    shards: [Mutex<Shard>; SHARDS],
}

/// That one waits for another. It lies where the answer will be, and goes with whoever ends the ask: an asker
/// that has its answer, but not yet another turn, doesn't wait any more.
pub(crate) struct Wait {
    waits: Arc<Waits>,
    waiter: ActorId,
    callee: ActorId,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waits.remove(self.waiter, self.callee);
    }
}

/// Whom each waits for.
type Shard = HashMap<u64, Callees, BuildHasherDefault<ById>>;

/// Mostly one, and then without an allocation.
struct Callees {
    first: u64,
    more: Vec<u64>,
}

impl Waits {
    fn shard(&self, actor: u64) -> &Mutex<Shard> {
        &self.shards[actor as usize % SHARDS]
    }

    /// The handler of one waits for another from now on, until what this answers is dropped.
    pub(crate) fn add(self: &Arc<Self>, waiter: ActorId, callee: ActorId) -> Wait {
        let wait = Wait {
            waits: Arc::clone(self),
            waiter,
            callee,
        };
        let callee = callee.as_u64();
        match self.shard(waiter.as_u64()).lock().entry(waiter.as_u64()) {
            Entry::Occupied(mut callees) => callees.get_mut().more.push(callee),
            Entry::Vacant(place) => {
                place.insert(Callees {
                    first: callee,
                    more: Vec::new(),
                });
            }
        }
        wait
    }

    /// It doesn't wait for that one any more.
    fn remove(&self, waiter: ActorId, callee: ActorId) {
        let (waiter, callee) = (waiter.as_u64(), callee.as_u64());
        let mut shard = self.shard(waiter).lock();
        let Entry::Occupied(mut entry) = shard.entry(waiter) else {
            return;
        };
        let callees = entry.get_mut();
        if callees.first == callee {
            match callees.more.pop() {
                Some(other) => callees.first = other,
                None => drop(entry.remove()),
            }
        } else if let Some(place) = callees.more.iter().position(|other| *other == callee) {
            callees.more.swap_remove(place);
        }
    }

    fn callees(&self, actor: u64, mut visit: impl FnMut(u64)) {
        if let Some(callees) = self.shard(actor).lock().get(&actor) {
            visit(callees.first);
            callees.more.iter().copied().for_each(visit);
        }
    }

    /// Whether the running handler, if it waited for that actor, would wait for itself.
    #[inline]
    pub(crate) fn would_close_cycle(&self, callee: ActorId) -> bool {
        if current::actor().is_none() {
            return false;
        }
        let waits = || {
            let actor = callee.as_u64();
            self.shard(actor).lock().contains_key(&actor)
        };
        current::waits_here(callee) || (waits() && self.cycle(callee).is_some())
    }

    /// The cycle that the running handler would close by waiting for that actor: from the callee, over whom that
    /// one waits for, to an actor whose handler is on this thread's stack, and up the stack to the running one.
    #[cold]
    pub(crate) fn cycle(&self, callee: ActorId) -> Option<Vec<ActorId>> {
        let stack = current::waiting_here();
        // Each with the place of the one that led there.
        let mut seen: Vec<(u64, usize)> = Vec::new();
        let mut next = vec![(callee.as_u64(), usize::MAX)];
        while let Some((actor, led_here)) = next.pop() {
            if let Some(place) = stack.iter().position(|running| *running == actor) {
                let mut path = vec![actor];
                let mut from = led_here;
                while let Some((actor, before)) = seen.get(from).copied() {
                    path.push(actor);
                    from = before;
                }
                path.reverse();
                path.extend(&stack[place + 1..]);
                return Some(path.into_iter().filter_map(ActorId::from_u64).collect());
            }
            if seen.len() >= REACH || seen.iter().any(|(known, _)| *known == actor) {
                continue;
            }
            seen.push((actor, led_here));
            let here = seen.len() - 1;
            self.callees(actor, |callee| next.push((callee, here)));
        }
        None
    }
}

/// Ids are numbers that are never used twice; they need no more than to be spread.
#[derive(Default)]
struct ById(u64);

impl Hasher for ById {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing (Knuth, The Art of Computer Programming, vol. 3, section 6.4).
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
