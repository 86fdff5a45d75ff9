//! The few shared-memory primitives that the hot path is made of.
//!
//! Everything `unsafe` of the engine is here, in [`records`](crate::mailbox) and in the handler-future
//! buffer; each piece has a safe face. The atomics run under loom (`--cfg loom`).

mod home;
mod pool;
mod spin;
mod two;

pub(crate) use home::{Home, HomeGuard, current_arbiter, set_current_arbiter};
pub(crate) use pool::PoolBox;
pub(crate) use spin::SpinLock;
pub(crate) use two::Half;
