//! What an arbiter works on now, for whoever looks from another thread: two plain stores for each message.
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

/// The type of the message in hand, and whose turn it is.
#[derive(Default)]
pub(crate) struct InHand {
    message: AtomicPtr<Info>,
    actor: AtomicU64,
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
        // SAFETY: only `set` writes it, and what it points to is constant and lives for ever.
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
    }
}
