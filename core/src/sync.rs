//! The few shared-memory primitives that the hot path is made of.
//!
//! Everything `unsafe` of the engine is here, in [`records`](crate::mailbox) and in the handler-future
//! buffer and the body of a cell; each piece has a safe face. `core/loom` runs the lock, the two owners,
//! the mailbox, the reply slot and the injector under loom.

mod home;
mod in_hand;
mod pool;
mod spin;
mod two;

pub(crate) use home::{Home, HomeGuard, current_arbiter, set_current_arbiter};
pub(crate) use in_hand::{InHand, What};
pub(crate) use pool::{BLOCK, PoolBox, Pooled, give_block, take_block};
pub(crate) use spin::{SpinGuard, SpinLock};
pub(crate) use two::Half;
