//! Core's shared-memory parts under loom: the very sources, with loom's atomics and cells in place of the
//! standard library's, and models of how two threads use them.
//!
//! Core as a whole doesn't run under loom (its executors don't), so this package takes in the files that
//! hold the atomics, and has stand-ins for what these name of the rest. Run it with
//! `cargo test --release --manifest-path core/loom/Cargo.toml`.

// A model uses a part of what is there.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]

#[path = "../../src/boundary.rs"]
mod boundary;
#[path = "../../src/counters.rs"]
mod counters;
#[path = "../../src/driver/injector.rs"]
mod injector;
#[path = "../../src/mailbox.rs"]
mod mailbox;
#[path = "../../src/sync/pool.rs"]
mod pool;
#[path = "../../src/responder.rs"]
mod responder;
#[path = "../../src/sync/spin.rs"]
mod spin;
#[path = "../../src/sync/two.rs"]
mod two;

mod stand_ins;

#[cfg(test)]
mod models;

use pool::PoolBox;
use stand_ins::{current, driver, error, waits};

mod sync {
    pub(crate) use crate::pool::{BLOCK, Pooled, give_block, take_block};
    pub(crate) use crate::spin::{SpinGuard, SpinLock};
    pub(crate) use crate::stand_ins::home::{current_arbiter, set_current_arbiter};
    pub(crate) use crate::stand_ins::lock::Mutex;
    pub(crate) use crate::two::Half;
}
