//! G31: mutual exclusion under leases, waiters in order, and what a holder knows.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use callboard::locks::{
    Acquire, Acquiring, Fence, Guard, LeaseError, LockOptions, LockState, Lost, MAX_LEASE, Mutex,
    RwLock, Semaphore, Stale, Token,
};
use callboard::{FailureKind, System, Verdict};
use futures::future::join_all;

use crate::common::{Note, worker};

const PATIENCE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(5);

/// Puts a wish in line, and comes back when it waits there.
async fn line_up(acquire: Acquire, state: impl AsyncFn() -> LockState) -> Acquiring {
    let before = state().await.waiting;
    let mut acquiring = acquire.into_future();
    assert!(futures::poll!(&mut acquiring).is_pending());
    while state().await.waiting == before {
        assert!(futures::poll!(&mut acquiring).is_pending());
    }
    acquiring
}

macro_rules! line_up {
    ($lock:expr, $acquire:expr) => {
        line_up($acquire, async || $lock.state().await.unwrap()).await
    };
}

#[callboard::test(both)]
async fn g31_one_holds_it_at_a_time_and_tokens_grow(system: System) {
    let mutex = Mutex::new(&system, "till");
    let (other, _) = worker(&system);
    let inside = Arc::new(AtomicU32::new(0));
    let last = Arc::new(AtomicU64::new(0));
    let parties = (0..4).map(|party| {
        let (mutex, other) = (mutex.clone(), other.clone());
        let (inside, last) = (Arc::clone(&inside), Arc::clone(&last));
        async move {
            for round in 0..10 {
                let guard = mutex.acquire().await.unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                let before = last.swap(guard.token().0, Ordering::SeqCst);
                assert!(before < guard.token().0);
                // Others run meanwhile.
                other.ask(Note(round)).await.unwrap();
                assert!(guard.is_held());
                inside.fetch_sub(1, Ordering::SeqCst);
                if party % 2 == 0 {
                    guard.release().await.unwrap();
                }
            }
        }
    });
    join_all(parties).await;
    let state = mutex.state().await.unwrap();
    assert_eq!((state.newest, state.counts.grants), (Token(40), 40));
    assert_eq!((state.free, state.waiting, state.held), (1, 0, vec![]));
    assert_eq!(state.counts.releases, 40);
}

#[callboard::test(both)]
async fn g31_those_who_wait_are_served_in_the_order_they_came(system: System) {
    let mutex = Mutex::new(&system, "till");
    let first = mutex.acquire().await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(line_up!(mutex, mutex.acquire()));
    }
    assert!(mutex.try_acquire().await.unwrap().is_none());
    drop(first);
    // Polled in the wrong order on purpose: the tokens say who was served when.
    let tokens = waiting.into_iter().rev().map(|waiting| async {
        let guard = waiting.await.unwrap();
        guard.token().0
    });
    assert_eq!(join_all(tokens).await, [6, 5, 4, 3, 2]);
}

#[callboard::test(both)]
async fn g31_who_wants_much_is_not_starved_by_who_wants_little(system: System) {
    let presses = Semaphore::new(&system, "presses", 4);
    let light = presses.acquire().await.unwrap();
    let heavy = line_up!(presses, presses.acquire_many(4));
    // Three are free, and they are kept.
    assert!(presses.try_acquire().await.unwrap().is_none());
    let late = line_up!(presses, presses.acquire());
    drop(light);
    let heavy = heavy.await.unwrap();
    assert_eq!((heavy.token(), heavy.units()), (Token(2), 4));
    drop(heavy);
    assert_eq!(late.await.unwrap().token(), Token(3));
    assert_eq!(presses.permits(), 4);
}

#[callboard::test(both)]
async fn g31_those_behind_one_who_gives_up_need_not_wait_for_what_it_wanted(system: System) {
    let presses = Semaphore::new(&system, "presses", 4);
    let light = presses.acquire().await.unwrap();
    let heavy = line_up!(presses, presses.acquire_many(4));
    let late = line_up!(presses, presses.acquire_many(3));
    drop(heavy);
    let late = late.await.unwrap();
    assert!(light.is_held() && late.is_held());

    // The same where it is the deadline of the one in front.
    let (timed_out, behind) = futures::join!(
        presses.acquire_many(4).deadline(SHORT).into_future(),
        async {
            let behind = presses.acquire_many(2).into_future();
            drop(late);
            behind.await
        }
    );
    assert!(behind.is_ok());
    if let Err(failure) = timed_out {
        assert_eq!(failure.kind(), FailureKind::DeadlineExceeded);
        assert_eq!(failure.verdict(), Verdict::NotExecuted);
    }
}

#[callboard::test(both)]
async fn g31_readers_share_and_neither_side_starves_the_other(system: System) {
    let index = RwLock::new(&system, "index");
    let one = index.read().await.unwrap();
    let two = index.read().await.unwrap();
    assert!(index.try_write().await.unwrap().is_none());
    let writer = line_up!(index, index.write());
    // A reader doesn't pass the writer.
    assert!(index.try_read().await.unwrap().is_none());
    let late = line_up!(index, index.read());
    drop((one, two));
    let writer = writer.await.unwrap();
    assert!(index.try_read().await.unwrap().is_none());
    drop(writer);
    let late = late.await.unwrap();
    let beside = index.try_read().await.unwrap();
    assert!(late.is_held() && beside.is_some());
}

#[callboard::test(both)]
async fn g31_the_end_of_a_lease_serves_the_next_and_the_late_one_is_refused(system: System) {
    let mutex = Mutex::new(&system, "till");
    let late = mutex.acquire().lease(SHORT).await.unwrap();
    let lost = late.lost();
    let next = mutex.acquire().deadline(PATIENCE).await.unwrap();
    assert!(!late.is_held() && next.is_held());
    assert_eq!(late.why_lost(), Some(Lost::Expired));
    assert_eq!(
        (lost.await, late.lost().await),
        (Lost::Expired, Lost::Expired)
    );
    assert_eq!(late.remaining(), Duration::ZERO);

    let stale = Stale {
        token: Token(1),
        current: Token(2),
    };
    let renewed = late.renew(PATIENCE).await.unwrap_err();
    assert_eq!(renewed, LeaseError::Stale(stale));
    assert_eq!(renewed.verdict(), Verdict::NotExecuted);
    assert_eq!(late.release().await, Err(LeaseError::Stale(stale)));
    assert!(next.is_held(), "the late one released what isn't its own");
    let counts = mutex.state().await.unwrap().counts;
    assert_eq!((counts.expiries, counts.releases, counts.stale), (1, 0, 2));

    let mut fence = Fence::default();
    fence.check(next.token()).unwrap();
    assert_eq!(fence.check(Token(1)), Err(stale));
}

/// The lease is over before anybody has the guard: the holder sees it, and nobody else is hurt.
#[callboard::test]
async fn g31_a_lease_that_ends_before_its_guard_is_there_is_lost(system: System) {
    let clock = system.clock().clone();
    let mutex = Mutex::new(&system, "till");
    let mut wish = mutex.acquire().lease(SHORT).into_future();
    assert!(futures::poll!(&mut wish).is_pending());
    // Nobody looks whether it was granted.
    clock.sleep(SHORT * 2).await;
    let next = mutex.acquire().await.unwrap();
    let late = wish.await.unwrap();
    assert_eq!(
        (late.token(), late.why_lost()),
        (Token(1), Some(Lost::Expired))
    );
    assert_eq!(late.lost().await, Lost::Expired);
    drop(late);
    assert!(next.is_held());
    assert_eq!(mutex.state().await.unwrap().counts.stale, 0);
}

#[callboard::test]
async fn g31_a_lease_that_is_renewed_lasts_longer_and_never_shorter(system: System) {
    let clock = system.clock().clone();
    let mutex = Mutex::new(&system, "till");
    let ms = Duration::from_millis;
    let guard = mutex.acquire().lease(ms(100)).await.unwrap();
    let taken = clock.now();
    clock.sleep(ms(90)).await;
    let ends = guard.renew(ms(100)).await.unwrap();
    assert_eq!(ends, clock.now() + ms(100));
    assert_eq!(guard.renew(ms(10)).await.unwrap(), ends);
    assert_eq!((guard.ends(), guard.remaining()), (ends, ms(100)));
    // It is lost at its new end and not before.
    assert_eq!(guard.lost().await, Lost::Expired);
    assert_eq!(clock.now().since(taken), ms(190));
    // What is out of range means the nearest.
    let guard = mutex.acquire().lease(Duration::MAX).await.unwrap();
    assert_eq!(guard.remaining(), MAX_LEASE);
}

#[callboard::test]
async fn g31_a_lease_is_kept_alive_while_the_work_has_turns(system: System) {
    let clock = system.clock().clone();
    let mutex = Mutex::new(&system, "till");
    let guard = mutex.acquire().lease(SHORT).await.unwrap();
    let work = async {
        clock.sleep(SHORT * 100).await;
        "done"
    };
    let waiting = line_up!(mutex, mutex.acquire());
    assert_eq!(guard.hold_while(work).await, Ok("done"));
    assert!(guard.is_held());
    let renewals = mutex.state().await.unwrap().counts.renewals;
    assert!((200..=400).contains(&renewals), "{renewals}");
    // Nobody renews it any more.
    let next = waiting.await.unwrap();
    assert_eq!(
        (next.token(), guard.why_lost()),
        (Token(2), Some(Lost::Expired))
    );
}

#[callboard::test(both)]
async fn g31_work_under_a_lock_that_is_lost_is_dropped(system: System) {
    let mutex = Mutex::new(&system, "till");
    let guard = mutex.acquire().await.unwrap();
    let (begun, mut has_begun) = futures::channel::oneshot::channel();
    let (alive, dropped) = futures::channel::oneshot::channel::<()>();
    let work = async move {
        let _alive = alive;
        begun.send(()).unwrap();
        std::future::pending::<()>().await;
    };
    let ending = async {
        (&mut has_begun).await.unwrap();
        mutex.stop();
    };
    let (done, ()) = futures::join!(guard.hold_while(work), ending);
    assert_eq!(done, Err(Lost::Stopped));
    dropped.await.unwrap_err();
}

#[callboard::test(both)]
async fn g31_a_lock_that_ends_tells_who_waits_and_who_holds(system: System) {
    let presses = Semaphore::new(&system, "presses", 2);
    let one = presses.acquire().await.unwrap();
    let two = presses.acquire().await.unwrap();
    let waiting = [
        line_up!(presses, presses.acquire()),
        line_up!(presses, presses.acquire_many(2)),
    ];
    presses.stop();
    for failure in join_all(waiting).await {
        let failure = failure.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Stopped);
        assert_eq!(failure.verdict(), Verdict::NotExecuted);
        assert!(failure.to_string().contains("presses"), "{failure}");
    }
    assert_eq!(
        (one.lost().await, two.lost().await),
        (Lost::Stopped, Lost::Stopped)
    );
    let failed = |error| match error {
        LeaseError::Failed(failure) => (failure.kind(), failure.verdict()),
        other => panic!("{other:?}"),
    };
    let stopped = (FailureKind::Stopped, Verdict::NotExecuted);
    assert_eq!(failed(one.renew(PATIENCE).await.unwrap_err()), stopped);
    assert_eq!(failed(one.release().await.unwrap_err()), stopped);
    let late = presses.acquire().await.unwrap_err();
    assert_eq!(late.kind(), FailureKind::Stopped);
    assert!(presses.state().await.is_err());
}

#[callboard::test(both)]
async fn g07_a_release_that_comes_after_the_end_is_answered(system: System) {
    let presses = Semaphore::new(&system, "presses", 4);
    let mut guards = Vec::new();
    for _ in 0..4 {
        guards.push(presses.acquire().await.unwrap());
    }
    // Some may be queued when it ends, some come later.
    presses.stop();
    for released in join_all(guards.into_iter().map(Guard::release)).await {
        match released {
            Err(LeaseError::Failed(failure)) => assert_eq!(failure.kind(), FailureKind::Stopped),
            other => panic!("{other:?}"),
        }
    }
}

#[callboard::test(both)]
async fn a_zero_deadline_and_a_try_do_not_wait(system: System) {
    let mutex = Mutex::new(&system, "till");
    let guard = mutex.try_acquire().await.unwrap().unwrap();
    let failure = mutex.acquire().deadline(Duration::ZERO).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(failure.verdict(), Verdict::NotExecuted);
    assert_eq!(failure.detail(), Some("till is held"));
    assert!(mutex.try_acquire().await.unwrap().is_none());
    assert_eq!(mutex.state().await.unwrap().counts.timeouts, 2);
    drop(guard);
    assert_eq!(
        mutex
            .acquire()
            .deadline(Duration::ZERO)
            .await
            .unwrap()
            .token(),
        Token(2)
    );
}

#[callboard::test(both)]
async fn g31_who_waits_no_longer_than_its_deadline_holds_nothing(system: System) {
    let mutex = Mutex::new(&system, "till");
    let guard = mutex.acquire().await.unwrap();
    let failure = mutex.acquire().deadline(SHORT).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(failure.verdict(), Verdict::NotExecuted);
    while mutex.state().await.unwrap().waiting > 0 {}
    assert_eq!(mutex.state().await.unwrap().counts.timeouts, 1);
    drop(guard);
    assert_eq!(mutex.acquire().await.unwrap().token(), Token(2));
}

#[callboard::test(both)]
async fn g31_a_lease_on_its_way_to_one_who_has_gone_is_released(system: System) {
    let mutex = Mutex::new(&system, "till");
    for _ in 0..20 {
        let guard = mutex.acquire().await.unwrap();
        let waiting = line_up!(mutex, mutex.acquire());
        drop(guard);
        // By now it may be granted, on its way, or still in line.
        drop(waiting);
        assert!(mutex.acquire().deadline(PATIENCE).await.is_ok());
    }
    let state = mutex.state().await.unwrap();
    assert_eq!((state.free, state.waiting), (1, 0));
    assert_eq!(state.counts.expiries, 0);
    assert_eq!(state.counts.grants, state.counts.releases);
}

#[callboard::test(both)]
async fn g03_the_line_has_a_bound(system: System) {
    let mutex = Mutex::with(&system, "till", LockOptions::default().waiters(2));
    let guard = mutex.acquire().await.unwrap();
    let one = line_up!(mutex, mutex.acquire());
    let two = line_up!(mutex, mutex.acquire());
    let refused = mutex.acquire().await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Overloaded);
    assert_eq!(refused.verdict(), Verdict::NotExecuted);
    assert_eq!(refused.detail(), Some("too many wait for till"));
    assert_eq!(mutex.state().await.unwrap().counts.refused, 1);
    // Who leaves makes room.
    drop(one);
    while mutex.state().await.unwrap().waiting == 2 {}
    let three = line_up!(mutex, mutex.acquire());
    drop(guard);
    assert!(two.await.is_ok());
    assert!(three.await.is_ok());
}

#[callboard::test(both)]
async fn more_permits_than_there_are_is_refused_by_name(system: System) {
    let presses = Semaphore::new(&system, "presses", 3);
    let failure = presses.acquire_many(4).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::TooLarge);
    assert_eq!(failure.verdict(), Verdict::NotSent);
    assert_eq!(failure.detail(), Some("4 permits of presses, which has 3"));
    let three = presses.try_acquire_many(3).await.unwrap().unwrap();
    assert_eq!(three.units(), 3);
    // None at all means one.
    drop(three);
    assert_eq!(presses.acquire_many(0).await.unwrap().units(), 1);
}

#[callboard::test(both)]
async fn g31_tokens_go_on_where_a_resource_remembers_them(system: System) {
    let mut fence = Fence::after(Token(41));
    let options = LockOptions::default().tokens_after(fence.highest());
    let mutex = Mutex::with(&system, "till", options);
    let guard = mutex.acquire().await.unwrap();
    assert_eq!(guard.token(), Token(42));
    fence.check(guard.token()).unwrap();
}

#[callboard::test]
async fn a_lock_shows_who_holds_it_and_who_waits(system: System) {
    let clock = system.clock().clone();
    let presses = Semaphore::new(&system, "presses", 3);
    let lease = Duration::from_secs(1);
    let wish = presses.acquire_many(2).label("poster").lease(lease);
    let before = clock.now();
    let poster = wish.await.unwrap();
    let _waiting = line_up!(presses, presses.acquire_many(2));
    let state = presses.state().await.unwrap();
    assert_eq!((&*state.name, state.units, state.free), ("presses", 3, 1));
    assert_eq!((state.waiting, state.newest), (1, Token(1)));
    assert!(state.waiting_since.unwrap() >= before);
    let [held] = &state.held[..] else {
        panic!("{state:?}");
    };
    assert_eq!((held.token, held.units), (poster.token(), 2));
    assert_eq!(held.holder.as_deref(), Some("poster"));
    assert_eq!(
        (held.ends, held.ends.since(held.since)),
        (poster.ends(), lease)
    );
    assert_eq!(format!("{presses:?}"), "Semaphore(presses)");
    // And to whoever looks at all actors.
    let seen = system.observe(PATIENCE).await;
    let shown = seen
        .iter()
        .find(|seen| seen.actor.label == "semaphore presses");
    let text = &shown.unwrap().state.as_ref().unwrap().text;
    assert!(text.contains("poster"), "{text}");
}

#[callboard::test(arbiters)]
async fn g31_a_thread_without_a_runtime_holds_it_like_any_other(system: System) {
    let mutex = Mutex::new(&system, "till");
    let refused = mutex.acquire().blocking().unwrap_err();
    assert_eq!(refused.kind(), FailureKind::OnArbiter);
    let guard = mutex.acquire().await.unwrap();
    let (tx, rx) = futures::channel::oneshot::channel();
    let theirs = mutex.clone();
    let thread = tokio::task::spawn_blocking(move || {
        let guard = theirs.acquire().deadline(PATIENCE).blocking().unwrap();
        // Dropped over there.
        tx.send(guard.token()).unwrap();
    });
    guard.release().await.unwrap();
    assert_eq!(rx.await.unwrap(), Token(2));
    thread.await.unwrap();
    assert_eq!(mutex.acquire().await.unwrap().token(), Token(3));
}
