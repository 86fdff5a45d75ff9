//! Locks in other processes, over any transport.

use std::future::IntoFuture;
use std::time::Duration;

use callboard::locks::{Fence, LeaseError, Lost, Mutex, RwLock, Semaphore};
use callboard::{FailureKind, System};
use callboard_remote::{Node, OpenLockError, Peer};
use futures::future::join_all;

use crate::wires::{Wire, connect};

const MS: Duration = Duration::from_millis(1);

async fn far<W: Wire>(system: &System, expose: impl FnOnce(&Node)) -> (Node, W, Peer) {
    let node = Node::new(system, "locks").unwrap();
    expose(&node);
    let (wire, peer) = connect::<W>(system, &node).await;
    (node, wire, peer)
}

async fn until(system: &System, mut reached: impl AsyncFnMut() -> bool) {
    while !reached().await {
        system.clock().sleep(MS).await;
    }
}

pub(crate) async fn g31_a_mutex_elsewhere_has_one_holder_in_order<W: Wire>(system: System) {
    let near = Mutex::new(&system, "ledger");
    let (_node, _wire, peer) = far::<W>(&system, |node| {
        node.expose_mutex("ledger", &near).unwrap();
    })
    .await;
    let ledger = peer.mutex("ledger").await.unwrap();
    assert_eq!(ledger.name(), "ledger");
    let held = ledger.acquire().label("far").await.unwrap();
    assert_eq!(held.token().0, 1);
    assert!(near.try_acquire().await.unwrap().is_none());
    assert!(ledger.try_acquire().await.unwrap().is_none());
    let late = ledger.acquire().deadline(5 * MS).await.unwrap_err();
    assert_eq!(late.kind(), FailureKind::DeadlineExceeded);
    let shown = ledger.state().await.unwrap();
    assert_eq!((shown.free, shown.held.len(), shown.waiting), (0, 1, 0));
    assert_eq!(shown.held[0].holder.as_deref(), Some("far"));

    // No more than one at a time, and each with a higher token.
    let mut fence = Fence::default();
    fence.check(held.token()).unwrap();
    held.release().await.unwrap();
    let work = (0..6).map(|n| {
        let lock = if n % 2 == 0 { &ledger } else { &near };
        async move {
            let guard = lock.acquire().await.unwrap();
            let token = guard.token();
            guard.release().await.unwrap();
            token
        }
    });
    let mut tokens: Vec<u64> = join_all(work).await.iter().map(|token| token.0).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, [2, 3, 4, 5, 6, 7]);
}

pub(crate) async fn g31_a_lease_from_elsewhere_runs_out_and_its_token_is_stale<W: Wire>(
    system: System,
) {
    let near = Mutex::new(&system, "ledger");
    let (node, _wire, peer) = far::<W>(&system, |node| {
        node.expose_mutex("ledger", &near).unwrap();
    })
    .await;
    let ledger = peer.mutex("ledger").await.unwrap();
    let slow = ledger.acquire().lease(20 * MS).await.unwrap();
    assert!(slow.remaining() <= 20 * MS);
    let next = near.acquire().await.unwrap();
    assert_eq!(
        slow.why_lost(),
        Some(Lost::Expired),
        "it knew before the next had it"
    );
    assert!(matches!(slow.renew(MS).await, Err(LeaseError::Stale(_))));
    assert!(matches!(slow.release().await, Err(LeaseError::Stale(_))));
    assert!(next.is_held());
    next.release().await.unwrap();

    // Neither the end of the peer nor that of the node gives it to the next before its time.
    let dying = ledger.acquire().lease(40 * MS).await.unwrap();
    let ends = near.state().await.unwrap().held[0].ends;
    peer.close();
    node.close();
    drop(node);
    let next = near.acquire().await.unwrap();
    assert!(system.clock().now() >= ends);
    assert!(next.token() > dying.token() && !dying.is_held());
}

pub(crate) async fn g31_a_lease_from_elsewhere_is_renewed<W: Wire>(system: System) {
    let near = Mutex::new(&system, "ledger");
    let (_node, _wire, peer) = far::<W>(&system, |node| {
        node.expose_mutex("ledger", &near).unwrap();
    })
    .await;
    let ledger = peer.mutex("ledger").await.unwrap();
    let held = ledger
        .acquire()
        .lease(Duration::from_secs(10))
        .await
        .unwrap();
    let before = held.ends();
    let renewed = held.renew(Duration::from_secs(60)).await.unwrap();
    assert!(renewed > before && held.ends() == renewed);
    let there = near.state().await.unwrap().held[0].ends;
    assert!(
        there >= renewed,
        "it takes itself to hold it no longer than it does"
    );
    drop(held);
    let free = async || near.state().await.unwrap().free == 1;
    until(&system, free).await;
}

/// A wish that waited long for its lease has all of it.
pub(crate) async fn g31_a_long_wait_costs_nothing_of_the_lease<W: Wire>(system: System) {
    let near = Mutex::new(&system, "ledger");
    let (_node, _wire, peer) = far::<W>(&system, |node| {
        node.expose_mutex("ledger", &near).unwrap();
    })
    .await;
    let ledger = peer.mutex("ledger").await.unwrap();
    let _first = near.acquire().lease(50 * MS).await.unwrap();
    let second = ledger
        .acquire()
        .lease(Duration::from_secs(30))
        .await
        .unwrap();
    let there = near.state().await.unwrap().held[0].ends;
    assert!(second.is_held() && second.ends() <= there);
    let sent_until_granted = there.since(second.ends());
    assert!(
        sent_until_granted < Duration::from_secs(20),
        "{sent_until_granted:?}"
    );
}

pub(crate) async fn g31_a_wish_that_is_given_up_holds_nothing<W: Wire>(system: System) {
    let near = Mutex::new(&system, "ledger");
    let (_node, _wire, peer) = far::<W>(&system, |node| {
        node.expose_mutex("ledger", &near).unwrap();
    })
    .await;
    let ledger = peer.mutex("ledger").await.unwrap();
    let held = near.acquire().await.unwrap();
    let mut wish = Box::pin(ledger.acquire().into_future());
    assert!(futures::poll!(&mut wish).is_pending());
    let waits = async || near.state().await.unwrap().waiting == 1;
    until(&system, waits).await;
    drop(wish);
    let gone = async || near.state().await.unwrap().waiting == 0;
    until(&system, gone).await;
    drop(held);
    // With its grant anywhere on the way.
    for turns in 0..24 {
        let mut wish = Box::pin(ledger.acquire().into_future());
        for _ in 0..turns {
            if futures::poll!(&mut wish).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(wish);
        let guard = near
            .acquire()
            .deadline(Duration::from_secs(20))
            .await
            .unwrap();
        guard.release().await.unwrap();
    }
}

pub(crate) async fn g31_permits_and_readers_are_shared_elsewhere<W: Wire>(system: System) {
    let permits = Semaphore::new(&system, "calls", 3);
    let page = RwLock::new(&system, "page");
    let (_node, _wire, peer) = far::<W>(&system, |node| {
        node.expose_semaphore("calls", &permits).unwrap();
        node.expose_rw_lock("page", &page).unwrap();
    })
    .await;
    let calls = peer.semaphore("calls").await.unwrap();
    assert_eq!(calls.permits(), 3);
    let two = calls.acquire_many(2).await.unwrap();
    assert_eq!(two.units(), 2);
    let _third = permits.acquire().await.unwrap();
    assert!(calls.try_acquire().await.unwrap().is_none());
    let too_many = calls.acquire_many(4).await.unwrap_err();
    assert_eq!(too_many.kind(), FailureKind::TooLarge);
    let far_page = peer.rw_lock("page").await.unwrap();
    let readers = (far_page.read().await.unwrap(), page.read().await.unwrap());
    assert!(far_page.try_write().await.unwrap().is_none());
    drop(readers);
    let writer = far_page.write().await.unwrap();
    assert!(page.try_read().await.unwrap().is_none());
    // It ends for this handle alone.
    far_page.stop();
    assert_eq!(writer.why_lost(), Some(Lost::Stopped));
    let failure = far_page.read().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Stopped);
    drop(page.write().await.unwrap());
}

pub(crate) async fn g34_a_lock_that_cannot_be_opened_says_why<W: Wire>(system: System) {
    let near = Mutex::new(&system, "ledger");
    let (_node, _wire, peer) = far::<W>(&system, |node| {
        node.expose_mutex("ledger", &near).unwrap();
        assert!(node.expose_mutex("ledger", &near).is_err());
    })
    .await;
    let kind = |error: OpenLockError| match error {
        OpenLockError::Failed(failure) => failure.kind(),
        other => panic!("{other}"),
    };
    let error = peer.semaphore("ledger").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("ledger is a mutex, no semaphore"),
        "{error}"
    );
    assert_eq!(kind(error), FailureKind::UnknownType);
    assert_eq!(
        kind(peer.mutex("diary").await.unwrap_err()),
        FailureKind::UnknownName
    );
    assert!(matches!(peer.mutex("").await, Err(OpenLockError::Name(_))));
    // What was opened ends with the lock.
    let ledger = peer.mutex("ledger").await.unwrap();
    near.stop();
    assert_eq!(
        ledger.acquire().await.unwrap_err().kind(),
        FailureKind::Stopped
    );
}
