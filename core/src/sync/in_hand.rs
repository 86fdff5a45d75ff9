//! What an arbiter works on now, for whoever looks from another thread: two plain stores for each message,
//! and one for each turn.
#![allow(unsafe_code)]

use std::fmt;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// What is known of a type, at one address for the whole run of the program.
struct Info {
    name: fn() -> &'static str,
}

struct InfoOf<T>(std::marker::PhantomData<T>);

impl<T> InfoOf<T> {
    const INFO: &'static Info = &Info {
        name: std::any::type_name::<T>,
    };
}

/// The type of the message in hand, whose turn it is, and which.
#[derive(Default)]
pub(crate) struct InHand {
    message: AtomicPtr<Info>,
    actor: AtomicU64,
    /// The number of the turn; 0 while the arbiter has nothing to do.
    turn: AtomicU64,
}

/// What an actor has in hand: a message of some type, its start, or its stop.
#[derive(Clone, Copy)]
pub(crate) struct What(*mut Info);

impl What {
    pub(crate) const NOTHING: What = What(std::ptr::null_mut());
    pub(crate) const STARTING: What = What::named(&Info {
        name: || "starting",
    });
    pub(crate) const STARTED: What = What::named(&Info { name: || "started" });
    pub(crate) const STOPPED: What = What::named(&Info { name: || "stopped" });

    const fn named(info: &'static Info) -> What {
        What(std::ptr::from_ref(info).cast_mut())
    }
}

impl InHand {
    /// The actor with that number has its turn; 0 for none.
    #[inline]
    pub(crate) fn begin_turn(&self, actor: u64) {
        self.actor.store(actor, Ordering::Relaxed);
    }

    /// A message of type `M` is in hand.
    #[inline]
    pub(crate) fn set<M>(&self) {
        self.message.store(
            std::ptr::from_ref(InfoOf::<M>::INFO).cast_mut(),
            Ordering::Relaxed,
        );
    }

    /// What is in hand now, for a handler that will go on later.
    #[inline]
    pub(crate) fn what(&self) -> What {
        What(self.message.load(Ordering::Relaxed))
    }

    /// That is in hand.
    #[inline]
    pub(crate) fn put(&self, what: What) {
        self.message.store(what.0, Ordering::Relaxed);
    }

    /// Turn number `turn` has begun; 0 for none. Numbers of one arbiter are not used again.
    #[inline]
    pub(crate) fn set_turn(&self, turn: u64) {
        self.turn.store(turn, Ordering::Relaxed);
    }

    /// The number of the turn that runs; 0 for none.
    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// What was in hand, to be put back.
    #[inline]
    pub(crate) fn save(&self) -> Saved {
        Saved(
            self.message.load(Ordering::Relaxed),
            self.actor.load(Ordering::Relaxed),
        )
    }

    #[inline]
    pub(crate) fn restore(&self, saved: Saved) {
        self.message.store(saved.0, Ordering::Relaxed);
        self.actor.store(saved.1, Ordering::Relaxed);
    }

    /// The number of the actor whose turn it is.
    pub(crate) fn actor(&self) -> u64 {
        self.actor.load(Ordering::Relaxed)
    }

    /// The type of the message in hand; empty before the first.
    pub(crate) fn message(&self) -> &'static str {
        let info = self.message.load(Ordering::Relaxed);
        // SAFETY: only what is constant and lives for ever is ever put here: by `set`, or as a `What`, which
        // comes from here or from a constant.
        unsafe { info.as_ref() }.map_or("", |info| (info.name)())
    }
}

/// What [`InHand::save`] saved.
#[derive(Clone, Copy)]
pub(crate) struct Saved(*mut Info, u64);

impl fmt::Debug for InHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InHand")
            .field("actor", &self.actor())
            .field("message", &self.message())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_hand_is_named_and_put_back() {
        let hand = InHand::default();
        assert_eq!((hand.actor(), hand.message()), (0, ""));
        hand.begin_turn(7);
        hand.set::<u8>();
        let saved = hand.save();
        hand.begin_turn(8);
        hand.set::<String>();
        assert_eq!(hand.message(), std::any::type_name::<String>());
        hand.restore(saved);
        assert_eq!((hand.actor(), hand.message()), (7, "u8"));
        let what = hand.what();
        hand.put(What::STARTING);
        assert_eq!(hand.message(), "starting");
        hand.put(What::NOTHING);
        assert_eq!(hand.message(), "");
        hand.put(what);
        assert_eq!(hand.message(), "u8");
    }
}
