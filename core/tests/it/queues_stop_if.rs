//! Queues that end only if nobody needs them.

use std::future::IntoFuture;
use std::time::Duration;

use callboard::queue::{NotEnded, OnlyIf, Queue};
use callboard::{FailureKind, System};
use futures::future::join_all;

const EMPTY: OnlyIf = OnlyIf {
    empty: true,
    unused: false,
};
const UNUSED: OnlyIf = OnlyIf {
    empty: false,
    unused: true,
};

#[callboard::test(both)]
async fn a_queue_ends_only_if_it_is_as_wished(system: System) {
    let queue: Queue<u32> = system.queue("orders").capacity(2).open().unwrap();
    queue.offer(1).await.unwrap();
    assert_eq!(queue.stop_if(EMPTY), Err(NotEnded::NotEmpty { items: 1 }));
    let held = queue.lease().await.unwrap().unwrap();
    // In hand it is there, too.
    assert_eq!(queue.stop_if(EMPTY), Err(NotEnded::NotEmpty { items: 1 }));
    let in_use = |in_hand, waiting, consumers| {
        Err(NotEnded::InUse {
            in_hand,
            waiting,
            consumers,
        })
    };
    assert_eq!(queue.stop_if(UNUSED), in_use(1, 0, 0));
    held.ack().await.unwrap();
    let consumer = queue.consumer("clerk");
    assert_eq!(queue.stop_if(UNUSED), in_use(0, 0, 1));
    drop(consumer);
    let mut poll = Box::pin(queue.poll().into_future());
    assert!(futures::poll!(&mut poll).is_pending());
    assert_eq!(queue.stop_if(UNUSED), in_use(0, 1, 0));
    drop(poll);
    queue.offer_many([2, 3]).await.unwrap();
    let mut offer = Box::pin(queue.offer(4).into_future());
    assert!(futures::poll!(&mut offer).is_pending());
    assert_eq!(queue.stop_if(UNUSED), in_use(0, 1, 0));
    assert_eq!(queue.stop_if(EMPTY), Err(NotEnded::NotEmpty { items: 2 }));
    drop(offer);
    // Nothing of that has changed it.
    assert_eq!(queue.poll_many(9).await.unwrap(), [2, 3]);
    queue.stop_if(EMPTY).unwrap();
    let error = queue.offer(5).await.unwrap_err();
    assert_eq!((error.kind(), error.item), (FailureKind::Stopped, Some(5)));
    queue.wait().await;
    assert_eq!(queue.stop_if(EMPTY), Ok(()), "it has ended already");
    assert!(system.queues().get::<u32>("orders").unwrap().is_none());
}

/// From other threads, at the same moment: what was stored keeps the queue, what came too late comes back.
#[callboard::test(both)]
async fn g06_an_offer_beside_stop_if_is_stored_or_comes_back(system: System) {
    for round in 0..16 {
        let queue: Queue<u32> = Queue::bounded(&system, "orders", 64);
        let offers = (0..4).map(|n| {
            let queue = queue.clone();
            let (tx, rx) = futures::channel::oneshot::channel();
            let clock = system.clock().clone();
            system.spawn(callboard::Placement::Spread, move || async move {
                if (n + round) % 2 == 0 {
                    clock.sleep(Duration::from_micros(1)).await;
                }
                let _ = tx.send(queue.offer(n).await);
            });
            rx
        });
        let offers: Vec<_> = offers.collect();
        tokio::task::yield_now().await;
        let ended = queue.stop_if(EMPTY);
        let offered = join_all(offers).await;
        let offered = offered.into_iter().map(Result::unwrap);
        let (stored, late): (Vec<_>, Vec<_>) = offered.partition(Result::is_ok);
        match ended {
            Ok(()) => assert!(stored.is_empty(), "{} are lost", stored.len()),
            Err(NotEnded::NotEmpty { items }) => {
                assert!(items >= 1 && items <= stored.len() && late.is_empty());
                queue.stop();
            }
            Err(other) => panic!("{other}"),
        }
        for error in late.into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), FailureKind::Stopped);
            assert!(error.item.is_some());
        }
        queue.wait().await;
    }
}

#[callboard::test(both)]
async fn a_name_is_removed_only_with_the_queue_that_was_meant(system: System) {
    let first: Queue<u32> = system.queue("orders").open().unwrap();
    let queues = system.queues();
    let gone = queues.remove_if("orders", first.id(), EMPTY).await.unwrap();
    assert_eq!(gone, Some(Ok(())));
    let next: Queue<u32> = system.queue("orders").open().unwrap();
    next.offer(1).await.unwrap();
    let other = queues.remove_if("orders", first.id(), OnlyIf::default());
    assert_eq!(other.await.unwrap(), None);
    let full = queues.remove_if("orders", next.id(), EMPTY).await.unwrap();
    assert_eq!(full, Some(Err(NotEnded::NotEmpty { items: 1 })));
    let found: Queue<u32> = queues.get("orders").unwrap().unwrap();
    assert_eq!(found.poll().await.unwrap(), Some(1));
}
