//! Locks, semaphores, barriers and latches: actors that say who may go on, and for how long.
//!
//! An actor needs no lock for its own state (G1). These are for what several have to do with: a file, a row, a
//! device, a service that takes three callers at a time.
//!
//! - [`Mutex`], [`Semaphore`] and [`RwLock`] are acquired ([`Acquire`]) and held by a [`Guard`].
//! - [`Barrier`] lets a number of parties go on together, [`Latch`] lets anybody go on once enough is done.
//!
//! # Leases
//! Nothing is held for ever. A guard has a **lease**, 30 s unless said otherwise: when it ends, the next in line
//! is served, whatever has become of the holder. A lease is [renewed](Guard::renew) by hand, or
//! [kept alive](Guard::keep_alive) while the work has turns; never by itself, because a holder that is stuck must
//! lose it.
//!
//! A guard that is dropped releases its lease, so that a panic, a kill, or the end of the task that has it do.
//! A lease can be [tied to an actor](Acquire::held_by) that holds the lock in other ways.
//!
//! # Fencing
//! A holder that stalls for longer than its lease lasts doesn't know that it is late. So each grant has a
//! [`Token`], a number that grows, and the resource refuses those that are lower than the highest it saw: that is
//! a [`Fence`]. A lock without one prevents double work; with one it protects data (Kleppmann, "How to do
//! distributed locking", 2016).
//!
//! # Guarantees
//! - G31: the leases that are held at one time are never for more than there is; a token is higher than all
//!   before; those who wait are served in the order they came; a holder's death or the end of its lease frees what
//!   it held.
//! - G3: the line of those who wait is [bounded](LockOptions::waiters), and who finds it full is refused as
//!   `Overloaded`.
//! - G7: whoever waits at a lock that ends is told, and so is whoever holds.
//!
//! # Limits
//! A lock lives in memory, and its tokens begin with 1 when it is made. Where a resource remembers tokens for
//! longer than the lock lives, the next lock goes on behind them: [`LockOptions::tokens_after`]. What grants
//! leases can be somebody else ([`Leases`]): the handles stay the same.
//!
//! ```
//! use std::time::Duration;
//!
//! use callboard_core::locks::{Fence, Lost, Mutex};
//! use callboard_core::{Simulation, System};
//!
//! Simulation::new(1).block_on(async {
//!     let system = System::current().ok_or("no system")?;
//!     let mutex = Mutex::new(&system, "ledger");
//!     let mut fence = Fence::default();
//!
//!     let slow = mutex.acquire().lease(Duration::from_millis(50)).await?;
//!     // The next one gets it when that lease is over ...
//!     let next = mutex.acquire().deadline(Duration::from_secs(1)).await?;
//!     assert_eq!(slow.why_lost(), Some(Lost::Expired));
//!     // ... and once it has written, the slow one can't.
//!     fence.check(next.token())?;
//!     assert!(fence.check(slow.token()).is_err());
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })
//! # .unwrap();
//! ```

mod acquire;
mod actor;
mod barrier;
mod fence;
mod guard;
mod handles;
mod hold;
mod latch;
mod line;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::spawn::Placement;

pub use crate::lease::{Grant, LeaseError, Leases, Lost, OnLost, Wish};
pub use acquire::{Acquire, Acquiring};
pub use barrier::{Barrier, BarrierError, BarrierState, MAX_PARTIES, Meet, Passage};
pub use fence::{Fence, Stale, Token};
pub use guard::Guard;
pub use handles::{Mutex, RwLock, Semaphore};
pub use hold::Loss;
pub use latch::{Latch, LatchState, LatchWait};
pub use state::{HeldState, LockCounts, LockState};

/// How long a lease lasts unless said otherwise: as SQS's visibility timeout and JetStream's wait for an
/// acknowledgement do.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);

/// The shortest lease.
pub const MIN_LEASE: Duration = Duration::from_millis(1);

/// The longest lease: a day. Work that takes longer renews.
pub const MAX_LEASE: Duration = Duration::from_secs(24 * 60 * 60);

/// How many may wait at a lock, a semaphore, a latch unless said otherwise (G3).
pub const DEFAULT_WAITERS: usize = 4_096;

/// How many readers a [`RwLock`] has at a time.
pub const MAX_READERS: u32 = 65_536;

/// What a lock is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockOptions {
    waiters: usize,
    tokens_after: Token,
    placement: Placement,
}

impl Default for LockOptions {
    fn default() -> Self {
        LockOptions {
            waiters: DEFAULT_WAITERS,
            tokens_after: Token(0),
            placement: Placement::default(),
        }
    }
}

impl LockOptions {
    /// How many may wait ([`DEFAULT_WAITERS`] unless said otherwise); the next one is refused as `Overloaded`. With
    /// 0 nobody waits.
    #[must_use]
    pub fn waiters(mut self, waiters: usize) -> Self {
        self.waiters = waiters;
        self
    }

    /// The first grant has the token behind that one, usually the [highest](Fence::highest) that a resource
    /// remembers of the lock that was there before this.
    #[must_use]
    pub fn tokens_after(mut self, token: Token) -> Self {
        self.tokens_after = token;
        self
    }

    /// On which arbiter the lock's actor lives; the next one in turn unless said otherwise. Beside those who mostly
    /// want the lock is best: within a thread nobody has to be woken.
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }
}

fn clamped(lease: Duration) -> Duration {
    lease.clamp(MIN_LEASE, MAX_LEASE)
}
