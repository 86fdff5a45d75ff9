//! The locks that are granted under leases, as programs hold them.

use std::fmt;
use std::sync::Arc;

use super::acquire::Acquire;
use super::actor::LocalLeases;
use super::guard::Guard;
use super::state::LockState;
use super::{LockOptions, MAX_READERS};
use crate::error::Failure;
use crate::lease::Leases;
use crate::system::System;

/// A lock that one holder has at a time (G31). Clones are the same lock; they can be used from any thread and any
/// runtime, or none.
///
/// ```
/// use callboard_core::locks::Mutex;
/// use callboard_core::{Simulation, System};
///
/// Simulation::new(1).block_on(async {
///     let system = System::current().ok_or("no system")?;
///     let ledger = Mutex::new(&system, "ledger");
///     let guard = ledger.acquire().await?;
///     assert!(ledger.try_acquire().await?.is_none());
///     guard.release().await?;
///     assert_eq!(ledger.acquire().await?.token().0, 2);
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct Mutex {
    leases: Arc<dyn Leases>,
}

impl Mutex {
    /// A mutex granted by an actor of its own. The name is for people; every call makes another mutex.
    pub fn new(system: &System, name: impl Into<Arc<str>>) -> Self {
        Mutex::with(system, name, LockOptions::default())
    }

    /// The same with options.
    pub fn with(system: &System, name: impl Into<Arc<str>>, options: LockOptions) -> Self {
        Mutex::over(LocalLeases::start(system, "mutex", name.into(), 1, options))
    }

    /// A mutex over the leases of somebody else. Its holder has all units.
    #[must_use]
    pub fn over(leases: Arc<dyn Leases>) -> Self {
        Mutex { leases }
    }

    /// Acquires it. Await it; see [`Acquire`].
    pub fn acquire(&self) -> Acquire {
        Acquire::new(&self.leases, self.leases.units())
    }
}

/// A lock that is held in parts: a number of permits, of which each holder has one or several (G31). Clones are
/// the same semaphore.
///
/// ```
/// use callboard_core::locks::Semaphore;
/// use callboard_core::{Simulation, System};
///
/// Simulation::new(1).block_on(async {
///     let system = System::current().ok_or("no system")?;
///     let presses = Semaphore::new(&system, "presses", 3);
///     let poster = presses.acquire_many(2).await?;
///     let leaflet = presses.acquire().await?;
///     assert!(presses.try_acquire().await?.is_none());
///     drop(poster);
///     assert_eq!(presses.state().await?.free, 2);
/// #   drop(leaflet);
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct Semaphore {
    leases: Arc<dyn Leases>,
}

impl Semaphore {
    /// A semaphore of that many permits (at least 1), granted by an actor of its own.
    pub fn new(system: &System, name: impl Into<Arc<str>>, permits: u32) -> Self {
        Semaphore::with(system, name, permits, LockOptions::default())
    }

    /// The same with options.
    pub fn with(
        system: &System,
        name: impl Into<Arc<str>>,
        permits: u32,
        options: LockOptions,
    ) -> Self {
        let units = permits.max(1);
        Semaphore::over(LocalLeases::start(
            system,
            "semaphore",
            name.into(),
            units,
            options,
        ))
    }

    /// A semaphore over the leases of somebody else: a permit is a unit.
    #[must_use]
    pub fn over(leases: Arc<dyn Leases>) -> Self {
        Semaphore { leases }
    }

    /// How many permits there are.
    #[must_use]
    pub fn permits(&self) -> u32 {
        self.leases.units()
    }

    /// Acquires one permit. Await it; see [`Acquire`].
    pub fn acquire(&self) -> Acquire {
        self.acquire_many(1)
    }

    /// Acquires several permits (at least 1), all or none, under one lease.
    pub fn acquire_many(&self, permits: u32) -> Acquire {
        Acquire::new(&self.leases, permits)
    }

    /// Acquires several permits if they are free and nobody waits.
    ///
    /// # Errors
    /// As [`Acquire`]; that they aren't free is `None`.
    ///
    /// # Cancel safety
    /// As that of [`Acquire`].
    pub async fn try_acquire_many(&self, permits: u32) -> Result<Option<Guard>, Failure> {
        self.acquire_many(permits).at_once().await
    }
}

/// A lock that many readers have at a time, or one writer (G31). Clones are the same lock.
///
/// Served in the order they came, neither starves the other: a reader that comes behind a waiting writer waits,
/// too. So a reader must not acquire it a second time.
///
/// ```
/// use callboard_core::locks::RwLock;
/// use callboard_core::{Simulation, System};
///
/// Simulation::new(1).block_on(async {
///     let system = System::current().ok_or("no system")?;
///     let index = RwLock::new(&system, "index");
///     let readers = (index.read().await?, index.read().await?);
///     assert!(index.try_write().await?.is_none());
///     drop(readers);
///     let writer = index.write().await?;
///     assert!(index.try_read().await?.is_none());
/// #   drop(writer);
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct RwLock {
    leases: Arc<dyn Leases>,
}

impl RwLock {
    /// A read-write lock for at most [`MAX_READERS`] at a time, granted by an actor of its own; further ones wait.
    pub fn new(system: &System, name: impl Into<Arc<str>>) -> Self {
        RwLock::with(system, name, LockOptions::default())
    }

    /// The same with options.
    pub fn with(system: &System, name: impl Into<Arc<str>>, options: LockOptions) -> Self {
        RwLock::over(LocalLeases::start(
            system,
            "rw lock",
            name.into(),
            MAX_READERS,
            options,
        ))
    }

    /// A lock over the leases of somebody else: a reader has one unit, a writer all.
    #[must_use]
    pub fn over(leases: Arc<dyn Leases>) -> Self {
        RwLock { leases }
    }

    /// Acquires it beside other readers. Await it; see [`Acquire`].
    pub fn read(&self) -> Acquire {
        Acquire::new(&self.leases, 1)
    }

    /// Acquires it alone. Await it; see [`Acquire`].
    pub fn write(&self) -> Acquire {
        Acquire::new(&self.leases, self.leases.units())
    }

    /// Acquires it beside other readers, if no writer has it and nobody waits.
    ///
    /// # Errors
    /// As [`Acquire`]; that it isn't free is `None`.
    ///
    /// # Cancel safety
    /// As that of [`Acquire`].
    pub async fn try_read(&self) -> Result<Option<Guard>, Failure> {
        self.read().at_once().await
    }

    /// Acquires it alone, if nobody has it and nobody waits.
    ///
    /// # Errors
    /// As [`Acquire`]; that it isn't free is `None`.
    ///
    /// # Cancel safety
    /// As that of [`Acquire`].
    pub async fn try_write(&self) -> Result<Option<Guard>, Failure> {
        self.write().at_once().await
    }
}

macro_rules! try_acquire {
    ($($name:ident),*) => {$(
        impl $name {
            /// Acquires it if it is free and nobody waits.
            ///
            /// # Errors
            /// As [`Acquire`]; that it isn't free is `None`.
            ///
            /// # Cancel safety
            /// As that of [`Acquire`].
            pub async fn try_acquire(&self) -> Result<Option<Guard>, Failure> {
                self.acquire().at_once().await
            }
        }
    )*};
}

try_acquire!(Mutex, Semaphore);

macro_rules! leased {
    ($($name:ident),*) => {$(
        impl $name {
            /// Its name.
            #[must_use]
            pub fn name(&self) -> &str {
                self.leases.name()
            }

            /// What grants it: for who passes it on to others.
            #[must_use]
            pub fn leases(&self) -> &Arc<dyn Leases> {
                &self.leases
            }

            /// Who holds it, who waits, and what it has done.
            ///
            /// # Errors
            /// If the lock has ended.
            ///
            /// # Cancel safety
            /// Dropping it changes nothing.
            pub async fn state(&self) -> Result<LockState, Failure> {
                self.leases.state().await
            }

            /// Ends the lock: whoever waits gets an error of kind `Stopped`, and the guards there are
            /// [know](Guard::lost) that they hold nothing any more.
            pub fn stop(&self) {
                self.leases.close();
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.leases.name())
            }
        }
    )*};
}

leased!(Mutex, Semaphore, RwLock);
