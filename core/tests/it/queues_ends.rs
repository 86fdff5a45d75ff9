//! Queues that end while offers, polls and leases are out: everybody is told, and each item goes to one place (G6, G7).

use std::future::IntoFuture;
use std::time::Duration;

use callboard::queue::{Queue, SettleError};
use callboard::{DropReason, FailureKind, System, Verdict, testing};
use futures::FutureExt;

/// The items in dead letters, sorted.
fn letters(system: &System) -> Vec<u32> {
    let letters = system.dead_letters().take();
    let mut items: Vec<u32> = letters
        .iter()
        .map(|letter| *letter.message.downcast_ref::<u32>().unwrap())
        .collect();
    items.sort_unstable();
    items
}

async fn end<T: Send + 'static>(queue: &Queue<T>) {
    queue.stop();
    queue.wait().await;
}

#[callboard::test(both)]
async fn g07_an_end_is_told_to_all_who_wait(system: System) {
    let empty: Queue<u32> = Queue::bounded(&system, "empty", 1);
    let mut poll = Box::pin(empty.poll().into_future());
    let mut many = Box::pin(empty.poll_many(3).into_future());
    let mut lease = Box::pin(empty.lease().into_future());
    assert!(futures::poll!(poll.as_mut()).is_pending());
    assert!(futures::poll!(many.as_mut()).is_pending());
    assert!(futures::poll!(lease.as_mut()).is_pending());
    empty.stop();
    let failures = [
        poll.await.unwrap_err(),
        many.await.unwrap_err(),
        lease.await.map(drop).unwrap_err(),
    ];
    for failure in failures {
        assert_eq!(failure.kind(), FailureKind::Stopped);
        assert_eq!(failure.verdict(), Verdict::NotExecuted);
    }
    // And to whoever comes later.
    assert_eq!(empty.poll().await.unwrap_err().kind(), FailureKind::Stopped);
    let late = empty.offer(9).await.unwrap_err();
    assert_eq!(
        (late.failure.kind(), late.item),
        (FailureKind::Stopped, Some(9))
    );
    let late = empty.offer_many([1, 2]).await.unwrap_err();
    assert_eq!(
        (late.failure.kind(), late.rest),
        (FailureKind::Stopped, vec![1, 2])
    );
    assert_eq!(
        empty.browse(0, 9).await.unwrap_err().kind(),
        FailureKind::Stopped
    );
    assert!(letters(&system).is_empty());
}

#[callboard::test(both)]
async fn g06_what_a_queue_holds_at_its_end_is_in_one_place_each(system: System) {
    let queue: Queue<u32> = system
        .queue("q")
        .capacity(6)
        .delivery_limit(1)
        .open()
        .unwrap();
    for n in 0..3 {
        queue.offer(n).await.unwrap();
    }
    queue
        .offer(3)
        .delay(Duration::from_secs(9_000))
        .await
        .unwrap();
    queue.offer(4).group("g").await.unwrap();
    queue.offer(5).group("g").await.unwrap();
    let mut waits = Box::pin(queue.offer(6).into_future());
    assert!(futures::poll!(waits.as_mut()).is_pending());
    // 0 is dead, 1 is in hand, 2 was acknowledged, 6 got its place; 7 waits.
    queue
        .lease()
        .await
        .unwrap()
        .unwrap()
        .reject("no")
        .await
        .unwrap();
    waits.await.unwrap();
    let held = queue.lease().await.unwrap().unwrap();
    assert_eq!(queue.poll().await.unwrap(), Some(2));
    let mut fits = Box::pin(queue.offer(7).into_future());
    assert!(futures::poll!(fits.as_mut()).is_ready());
    let mut waits = Box::pin(queue.offer(8).into_future());
    assert!(futures::poll!(waits.as_mut()).is_pending());
    end(&queue).await;
    assert_eq!(waits.await.unwrap_err().item, Some(8));
    let late = held.ack().await.unwrap_err();
    assert!(
        matches!(late, SettleError::Stale { sequence: 2, .. }),
        "{late:?}"
    );
    let letters = system.dead_letters().take();
    let mut live = Vec::new();
    let mut dead = Vec::new();
    for letter in &letters {
        assert_eq!(letter.reason, DropReason::Stopped);
        match letter.message.downcast_ref::<u32>() {
            Some(item) => live.push(*item),
            None => dead.push(
                letter
                    .message
                    .downcast_ref::<callboard::queue::Dead<u32>>()
                    .unwrap()
                    .item,
            ),
        }
    }
    live.sort_unstable();
    assert_eq!((live, dead), (vec![1, 3, 4, 5, 6, 7], vec![0]));
}

#[callboard::test(both)]
async fn g06_an_item_on_its_way_to_a_poller_at_the_end_is_not_lost(system: System) {
    for gives_up in [true, false] {
        let queue = Queue::bounded(&system, "q", 4);
        let mut poll = Box::pin(queue.poll().into_future());
        assert!(futures::poll!(poll.as_mut()).is_pending());
        queue.offer(1_u32).await.unwrap();
        end(&queue).await;
        let got = if gives_up {
            drop(poll);
            None
        } else {
            poll.await.ok().flatten()
        };
        let mut places = letters(&system);
        places.extend(got);
        assert_eq!(places, [1], "gives up: {gives_up}");
    }
}

#[callboard::test(both)]
async fn g06_an_item_on_its_way_to_a_consumer_at_the_end_is_not_lost(system: System) {
    for gives_up in [true, false] {
        let queue = Queue::bounded(&system, "q", 4);
        let mut lease = Box::pin(queue.lease_many(2).into_future());
        assert!(futures::poll!(lease.as_mut()).is_pending());
        queue.offer(1_u32).await.unwrap();
        end(&queue).await;
        if gives_up {
            drop(lease);
        } else {
            // If it has the item, it can't acknowledge it: somebody else has to be able to find it.
            for delivery in lease.await.unwrap_or_default() {
                delivery.ack().await.unwrap_err();
            }
        }
        assert_eq!(letters(&system), [1], "gives up: {gives_up}");
    }
}

#[callboard::test(both)]
async fn g06_every_way_to_end_a_lease_of_an_ended_queue_says_so(system: System) {
    let queue = Queue::bounded(&system, "q", 8);
    queue.offer_many(0..6_u32).await.unwrap();
    let mut held = queue.lease_many(6).await.unwrap().into_iter();
    end(&queue).await;
    let mut next = || held.next().unwrap();
    let ends = [
        next().ack().await,
        next().release(Duration::ZERO).await,
        next().reject("no").await,
        next().bury("no").await,
        next().extend(Duration::from_secs(1)).await,
    ];
    for end in ends {
        assert!(matches!(end, Err(SettleError::Stale { .. })), "{end:?}");
    }
    drop(next());
    testing::settle(&system).await.unwrap();
    assert_eq!(letters(&system), [0, 1, 2, 3, 4, 5]);
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.in_flight), (0, 0));
}

#[callboard::test(both)]
async fn an_ended_queue_still_says_what_it_has_seen(system: System) {
    let queue = Queue::bounded(&system, "q", 8);
    queue.offer_many(0..3_u32).await.unwrap();
    assert_eq!(queue.poll().await.unwrap(), Some(0));
    end(&queue).await;
    let state = queue.state().await.unwrap();
    assert_eq!((state.offered, state.handed, state.settled), (3, 1, 1));
}

#[callboard::test(both)]
async fn g07_a_dead_letter_queue_ends_with_its_queue(system: System) {
    let queue: Queue<u32> = Queue::bounded(&system, "q", 8);
    let dead = queue.dead_letters().unwrap();
    let mut poll = Box::pin(dead.poll().into_future());
    assert!(futures::poll!(poll.as_mut()).is_pending());
    end(&queue).await;
    assert_eq!(poll.await.unwrap_err().kind(), FailureKind::Stopped);
    assert_eq!(dead.redrive(1).unwrap_err().kind(), FailureKind::Stopped);
}

#[callboard::test(both)]
async fn a_queue_that_is_opened_after_the_end_of_its_system_has_ended(system: System) {
    let ended = || {
        let mut simulation = callboard::Simulation::new(7);
        let inner = simulation.system().clone();
        let last = inner.clone();
        simulation.block_on(async move { last.shutdown().await });
        (Queue::<u32>::bounded(&inner, "q", 1), inner)
    };
    // On a thread of its own: this one runs a system.
    let (inner, other) = std::thread::scope(|scope| scope.spawn(ended).join().unwrap());
    assert_eq!(inner.poll().await.unwrap_err().kind(), FailureKind::Stopped);
    let error = inner.offer(1).await.unwrap_err();
    assert_eq!(
        (error.failure.kind(), error.item),
        (FailureKind::Stopped, Some(1))
    );
    assert!(inner.wait().now_or_never().is_some());
    assert!(other.queue::<u32>("named").open().is_err());
    drop(system);
}
