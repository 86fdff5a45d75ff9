//! G31 under random schedules: holders that release, renew, overstay, die and give up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use callboard::locks::{Fence, Guard, LeaseError, Mutex, RwLock, Semaphore, Token};
use callboard::{FailureKind, System};
use futures::future::join_all;
use parking_lot::Mutex as Lock;

use crate::common::worker;
use crate::leases::Table;

const STEPS: u32 = 12;
const PARTIES: u64 = 6;

/// What all parties see: who takes itself to hold how much, and what a store with a fence let through.
#[derive(Clone)]
struct Book {
    units: u32,
    shared: Arc<Lock<Shared>>,
}

#[derive(Default)]
struct Shared {
    guards: BTreeMap<Token, Arc<Guard>>,
    newest: Token,
    fence: Fence,
    written: Vec<Token>,
    served: u32,
}

impl Book {
    fn new(units: u32) -> Self {
        Book {
            units,
            shared: Arc::default(),
        }
    }

    fn check(&self) {
        let shared = self.shared.lock();
        let held = shared.guards.values().filter(|guard| guard.is_held());
        let units: u32 = held.map(|guard| guard.units()).sum();
        assert!(units <= self.units, "{units} of {}", self.units);
    }

    /// Somebody was granted something; no token comes twice.
    fn enter(&self, guard: Guard) -> Arc<Guard> {
        let guard = Arc::new(guard);
        let mut shared = self.shared.lock();
        let before = shared.guards.insert(guard.token(), Arc::clone(&guard));
        assert!(before.is_none());
        shared.newest = shared.newest.max(guard.token());
        shared.served += 1;
        drop(shared);
        self.check();
        guard
    }

    /// Writes under a token; what the fence lets through never goes back in time.
    fn write(&self, guard: &Guard) {
        let mut shared = self.shared.lock();
        match shared.fence.check(guard.token()) {
            Ok(()) => shared.written.push(guard.token()),
            Err(stale) => {
                assert!(stale.current > guard.token());
                assert!(!guard.is_held(), "a holder was refused");
            }
        }
    }

    fn leave(&self, guard: Arc<Guard>) -> Guard {
        let mut shared = self.shared.lock();
        shared.guards.remove(&guard.token());
        drop(shared);
        Arc::into_inner(guard).unwrap()
    }
}

/// What a party does with what it holds.
async fn hold(system: &System, book: &Book, guard: Guard, exclusive: bool) {
    let entropy = system.entropy();
    let pause = || {
        system
            .clock()
            .sleep(entropy.jitter(Duration::from_millis(8)))
    };
    let guard = book.enter(guard);
    for _ in 0..entropy.below(3) {
        pause().await;
        book.check();
        if exclusive {
            book.write(&guard);
        }
        if entropy.below(2) == 0 {
            let renewed = guard.renew(entropy.jitter(Duration::from_millis(9))).await;
            match renewed {
                Ok(ends) => assert!(guard.ends() >= ends),
                Err(LeaseError::Stale(stale)) => {
                    assert!(!guard.is_held());
                    assert_eq!(stale.token, guard.token());
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    pause().await;
    let was_held = guard.is_held();
    let guard = book.leave(guard);
    match entropy.below(2) {
        0 => drop(guard),
        _ => {
            // Who held it a moment ago may be late by now, but never the other way round.
            let released = guard.release().await;
            assert!(was_held || released.is_err());
        }
    }
}

/// One of those who want it, for as many steps.
async fn party(system: &System, book: &Book, number: u64, lock: &Kind) {
    let entropy = system.entropy();
    for _ in 0..STEPS {
        let (wish, exclusive) = match lock {
            Kind::Mutex(mutex) => (mutex.acquire(), true),
            Kind::Semaphore(semaphore) => {
                let units = 1 + u32::try_from(entropy.below(3)).unwrap();
                (semaphore.acquire_many(units), false)
            }
            Kind::RwLock(lock) if number < 2 => (lock.write(), true),
            Kind::RwLock(lock) => (lock.read(), false),
        };
        let mut wish = wish.lease(entropy.jitter(Duration::from_millis(10)));
        // The first party always waits: nobody starves.
        if number > 0 && entropy.below(3) == 0 {
            wish = wish.deadline(entropy.jitter(Duration::from_millis(10)));
        }
        let mut killed = None;
        if number > 0 && entropy.below(4) == 0 {
            let (actor, _) = worker(system);
            wish = wish.held_by(&actor);
            let (killer, clock) = (actor.clone(), system.clock().clone());
            let span = entropy.jitter(Duration::from_millis(20));
            system.spawn(callboard::Placement::Spread, move || async move {
                clock.sleep(span).await;
                killer.kill();
            });
            killed = Some(actor);
        }
        match wish.await {
            Ok(guard) => hold(system, book, guard, exclusive).await,
            Err(failure) => {
                assert!(number > 0, "starved: {failure}");
                let expected = match failure.kind() {
                    FailureKind::DeadlineExceeded => true,
                    FailureKind::Withdrawn => killed.is_some(),
                    _ => false,
                };
                assert!(expected, "{failure}");
            }
        }
    }
}

enum Kind {
    Mutex(Mutex),
    Semaphore(Semaphore),
    RwLock(RwLock),
}

impl Kind {
    async fn state(&self) -> callboard::locks::LockState {
        match self {
            Kind::Mutex(mutex) => mutex.state().await,
            Kind::Semaphore(semaphore) => semaphore.state().await,
            Kind::RwLock(lock) => lock.state().await,
        }
        .unwrap()
    }
}

async fn run(system: &System, lock: Kind) {
    let book = Book::new(lock.state().await.units);
    join_all((0..PARTIES).map(|number| party(system, &book, number, &lock))).await;
    let state = lock.state().await;
    let counts = state.counts;
    // Everything came back, and each lease ended in one way.
    assert_eq!((state.free, state.waiting), (state.units, 0));
    assert_eq!(state.held, []);
    assert_eq!(counts.grants, counts.releases + counts.expiries);
    assert_eq!(counts.grants, state.newest.0);
    let shared = book.shared.lock();
    assert!(shared.served >= STEPS && shared.newest <= state.newest);
    assert!(shared.written.is_sorted());
}

#[callboard::test(seeds = 100)]
async fn g31_a_mutex_under_random_holders(system: System) {
    run(&system, Kind::Mutex(Mutex::new(&system, "lock"))).await;
}

#[callboard::test(seeds = 100)]
async fn g31_a_semaphore_under_random_holders(system: System) {
    run(&system, Kind::Semaphore(Semaphore::new(&system, "lock", 4))).await;
}

#[callboard::test(seeds = 100)]
async fn g31_a_read_write_lock_under_random_holders(system: System) {
    run(&system, Kind::RwLock(RwLock::new(&system, "lock"))).await;
}

/// The same rules hold for whoever grants.
#[callboard::test(seeds = 100)]
async fn g31_a_semaphore_over_another_granter_under_random_holders(system: System) {
    run(
        &system,
        Kind::Semaphore(Semaphore::over(Table::new(&system, 4))),
    )
    .await;
}

#[callboard::test(seeds = 100)]
async fn g31_a_mutex_over_another_granter_under_random_holders(system: System) {
    run(&system, Kind::Mutex(Mutex::over(Table::new(&system, 1)))).await;
}

/// The same on threads, where the clock is everybody's and the schedule nobody's.
#[callboard::test(arbiters)]
async fn g31_a_mutex_under_random_holders_on_threads(system: System) {
    run(&system, Kind::Mutex(Mutex::new(&system, "lock"))).await;
}
