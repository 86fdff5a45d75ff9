//! Handlers that are run for each item, streams with credit, and sinks (G5, G10, G21, G23).

use std::convert::Infallible;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use callboard::queue::{DeadReason, Delivery, Queue, Settlement};
use callboard::{FailureKind, System, testing};
use futures::channel::{mpsc, oneshot};
use futures::{FutureExt, SinkExt, StreamExt};
use parking_lot::Mutex;

const MS: Duration = Duration::from_millis(1);

fn hasty(system: &System, limit: u32) -> Queue<u32> {
    system
        .queue("q")
        .retry(Duration::ZERO, Duration::ZERO)
        .delivery_limit(limit)
        .open()
        .unwrap()
}

#[callboard::test(both)]
async fn g21_each_item_is_handled_once_by_one_of_the_workers(system: System) {
    let queue = hasty(&system, 3);
    let (tx, rx) = mpsc::channel(64);
    let consuming = queue.consume(&system, 3, async move |delivery: &Delivery<u32>| {
        tx.clone().try_send(**delivery).unwrap();
        Ok::<(), Infallible>(())
    });
    assert_eq!(consuming.workers(), 3);
    queue.offer_many(0..50).await.unwrap();
    let mut seen: Vec<u32> = rx.take(50).collect().await;
    seen.sort_unstable();
    assert_eq!(seen, (0..50).collect::<Vec<_>>());
    consuming.stop().await;
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.in_flight, state.settled), (0, 0, 50));
}

#[callboard::test(both)]
async fn g23_a_handler_that_fails_or_panics_rejects_and_its_worker_goes_on(system: System) {
    let queue = hasty(&system, 2);
    let (tx, mut rx) = mpsc::channel(64);
    let consuming = queue.consume(&system, 1, async move |delivery: &Delivery<u32>| {
        tx.clone()
            .try_send((**delivery, delivery.attempt()))
            .unwrap();
        match **delivery {
            1 => Err("bad"),
            2 => panic!("worse"),
            _ => Ok(()),
        }
    });
    let mut seen = Vec::new();
    for (item, times) in [(1, 2), (2, 2), (3, 1)] {
        queue.offer(item).await.unwrap();
        for _ in 0..times {
            seen.push(rx.next().await.unwrap());
        }
    }
    assert_eq!(seen, [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]);
    assert_eq!(consuming.workers(), 1);
    consuming.stop().await;
    let dead = queue.dead_letters().unwrap().browse(0, 9).await.unwrap();
    let known: Vec<_> = dead
        .iter()
        .map(|dead| {
            (
                dead.item.item,
                dead.item.info.reason,
                &*dead.item.info.detail,
            )
        })
        .collect();
    assert_eq!(
        known,
        [
            (1, DeadReason::DeliveryLimit, "bad"),
            (2, DeadReason::DeliveryLimit, "panicked: worse"),
        ]
    );
}

#[callboard::test(both)]
async fn g10_a_handler_that_panics_before_it_makes_its_future_is_fenced_too(system: System) {
    let queue = hasty(&system, 1);
    let (tx, mut rx) = mpsc::channel(64);
    let handler = move |delivery: &Delivery<u32>| {
        assert!(**delivery != 1, "at once");
        tx.clone().try_send(**delivery).unwrap();
        futures::future::ready(Ok::<(), Infallible>(()))
    };
    let consuming = queue.consume(&system, 1, handler);
    queue.offer(1).await.unwrap();
    queue.offer(2).await.unwrap();
    assert_eq!(rx.next().await, Some(2));
    assert_eq!(consuming.failed(), 1);
    consuming.stop().await;
}

/// An item whose copies can't always be made.
#[derive(Debug)]
struct Fragile(&'static str);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(self.0 != "broken", "no copy");
        Fragile(self.0)
    }
}

#[callboard::test(both)]
async fn g10_a_worker_outlives_an_item_that_can_not_be_copied(system: System) {
    let queue = system
        .queue("q")
        .retry(Duration::ZERO, Duration::ZERO)
        .delivery_limit(2)
        .open()
        .unwrap();
    let (tx, mut rx) = mpsc::channel(64);
    let consuming = queue.consume(&system, 1, async move |delivery: &Delivery<Fragile>| {
        tx.clone().try_send(delivery.0).unwrap();
        Ok::<(), Infallible>(())
    });
    queue.offer(Fragile("broken")).await.unwrap();
    queue.offer(Fragile("whole")).await.unwrap();
    assert_eq!(rx.next().await, Some("whole"));
    consuming.stop().await;
    let dead = queue.dead_letters().unwrap().poll().await.unwrap().unwrap();
    assert_eq!((dead.item.0, dead.info.failed), ("broken", 2));
    assert_eq!(&*dead.info.detail, "copying it panicked");
}

#[callboard::test(both)]
async fn a_consumer_that_is_stopped_takes_no_more_though_more_is_there(system: System) {
    let queue = hasty(&system, 3);
    queue.offer_many(0..10).await.unwrap();
    let (began_tx, mut began) = mpsc::channel(64);
    let (gate, open) = oneshot::channel::<()>();
    let open = open.shared();
    let consuming = queue.consume(&system, 1, async move |_: &Delivery<u32>| {
        began_tx.clone().try_send(()).unwrap();
        let _ = open.clone().await;
        Ok::<(), Infallible>(())
    });
    began.next().await.unwrap();
    let mut stopping = Box::pin(consuming.stop());
    assert!(futures::poll!(stopping.as_mut()).is_pending());
    gate.send(()).unwrap();
    stopping.await;
    let state = queue.state().await.unwrap();
    // What was in hand is finished, the rest is still there.
    assert_eq!((state.settled, state.len, state.in_flight), (1, 9, 0));
}

#[callboard::test(both)]
async fn a_consumer_that_is_dropped_gives_back_what_is_in_hand(system: System) {
    let queue = hasty(&system, 1);
    queue.offer(7).await.unwrap();
    let (began_tx, mut began) = mpsc::channel(64);
    let consuming = queue.consume(&system, 2, async move |_: &Delivery<u32>| {
        began_tx.clone().try_send(()).unwrap();
        futures::future::pending::<()>().await;
        Ok::<(), Infallible>(())
    });
    began.next().await.unwrap();
    drop(consuming);
    let again = queue.lease().await.unwrap().unwrap();
    // Merely handed out: no failure, though one would be the last.
    assert_eq!((*again, again.attempt(), again.failed()), (7, 2, 0));
}

/// A worker whose queue never runs dry, and whose handler never waits.
#[callboard::test(both)]
async fn g05_a_busy_worker_gives_others_their_turn(system: System) {
    const MANY: usize = 300_000;
    let queue = hasty(&system, 3);
    let done = Arc::new(AtomicUsize::new(0));
    let (began_tx, mut began) = mpsc::channel(64);
    let (feed, handled) = (queue.clone(), Arc::clone(&done));
    let consuming = queue.consume(&system, 1, async move |delivery: &Delivery<u32>| {
        match handled.fetch_add(1, Ordering::Relaxed) {
            0 => began_tx.clone().try_send(()).unwrap(),
            // So that the test ends where it fails.
            MANY.. => return Ok::<(), Infallible>(()),
            _ => {}
        }
        feed.offer(**delivery).await.unwrap();
        Ok(())
    });
    queue.offer(1).await.unwrap();
    began.next().await.unwrap();
    consuming.stop().await;
    // It was stopped, it didn't run out of work.
    assert_eq!(queue.state().await.unwrap().len, 1);
    assert!(done.load(Ordering::Relaxed) <= MANY);
}

#[callboard::test]
async fn a_handler_that_is_slower_than_its_lease_extends_it(system: System) {
    let queue: Queue<u32> = system.queue("q").lease(10 * MS).open().unwrap();
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let (seen, clock) = (Arc::clone(&attempts), system.clock().clone());
    let consuming = queue.consume(&system, 2, async move |delivery: &Delivery<u32>| {
        seen.lock().push(delivery.attempt());
        for _ in 0..5 {
            delivery
                .extend(10 * MS)
                .await
                .map_err(|error| error.to_string())?;
            clock.sleep(9 * MS).await;
        }
        Ok::<(), String>(())
    });
    queue.offer(1).await.unwrap();
    testing::advance(&system, 100 * MS).await.unwrap();
    assert_eq!(*attempts.lock(), [1]);
    assert_eq!((consuming.handled(), consuming.failed()), (1, 0));
    consuming.stop().await;
}

#[callboard::test(both)]
async fn g07_workers_end_with_their_queue(system: System) {
    let queue = hasty(&system, 3);
    let consuming = queue.consume(&system, 3, async |_: &Delivery<u32>| {
        Ok::<(), Infallible>(())
    });
    queue.stop();
    queue.wait().await;
    consuming.stop().await;
}

#[callboard::test(both)]
async fn g03_a_stream_has_no_more_out_than_its_credit(system: System) {
    let queue = hasty(&system, 3);
    queue.offer_many(0..5).await.unwrap();
    let mut stream = queue.deliveries(2);
    let first = stream.next().await.unwrap().unwrap();
    let second = stream.next().await.unwrap().unwrap();
    assert_eq!((*first, *second, stream.outstanding()), (0, 1, 2));
    assert!(stream.next().now_or_never().is_none());
    assert_eq!(queue.state().await.unwrap().in_flight, 2);
    // One ends while the stream is waited for.
    let (third, acked) = futures::join!(stream.next(), second.ack());
    acked.unwrap();
    let third = third.unwrap().unwrap();
    assert_eq!(*third, 2);
    // A receipt apart from its item counts as well.
    let (_, receipt) = third.into_parts();
    assert!(stream.next().now_or_never().is_none());
    drop(receipt);
    let third = stream.next().await.unwrap().unwrap();
    assert_eq!((*third, third.attempt()), (2, 2));
    drop((first, third));
    assert_eq!(stream.outstanding(), 0);
}

#[callboard::test(both)]
async fn a_stream_that_is_dropped_takes_nothing_with_it(system: System) {
    let queue = hasty(&system, 3);
    let mut stream = queue.deliveries(4);
    assert!(stream.next().now_or_never().is_none());
    // On its way to the stream now.
    queue.offer(1).await.unwrap();
    drop(stream);
    let delivery = queue.lease().await.unwrap().unwrap();
    assert_eq!((*delivery, delivery.attempt()), (1, 1));
}

#[callboard::test(both)]
async fn g07_a_stream_says_once_that_its_queue_has_ended(system: System) {
    let queue = hasty(&system, 3);
    let mut stream = queue.deliveries(4);
    assert!(stream.next().now_or_never().is_none());
    queue.stop();
    let failure = stream.next().await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Stopped);
    assert!(stream.next().await.is_none());
}

#[callboard::test(both)]
async fn g03_a_sink_keeps_order_and_its_window(system: System) {
    let queue = system.queue("q").capacity(2).open().unwrap();
    let mut sink = queue.sink(3);
    for n in 0..5_u32 {
        sink.feed(n).await.unwrap();
    }
    // Two are stored and three wait; the next has to wait itself.
    let mut sixth = Box::pin(sink.feed(5));
    assert!(futures::poll!(sixth.as_mut()).is_pending());
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.waiting_offerers), (2, 3));
    assert_eq!(queue.poll().await.unwrap(), Some(0));
    sixth.await.unwrap();
    let polling = async {
        let mut got = Vec::new();
        while got.len() < 5 {
            got.extend(queue.poll().await.unwrap());
        }
        got
    };
    let (closed, got) = futures::join!(sink.close(), polling);
    closed.unwrap();
    assert_eq!(got, [1, 2, 3, 4, 5]);
}

#[callboard::test(both)]
async fn g06_a_sink_gives_back_what_its_queue_does_not_take(system: System) {
    let queue = system.queue("q").capacity(1).open().unwrap();
    let mut sink = queue.sink(4);
    for item in ["stored", "waits", "waits, too"] {
        sink.feed(item).await.unwrap();
    }
    assert!(sink.flush().now_or_never().is_none());
    queue.stop();
    queue.wait().await;
    let error = sink.flush().await.unwrap_err();
    assert_eq!(
        (error.failure.kind(), error.item),
        (FailureKind::Stopped, Some("waits"))
    );
    let error = sink.close().await.unwrap_err();
    assert_eq!(error.item, Some("waits, too"));
    sink.close().await.unwrap();
    let mut letters = system.dead_letters().take();
    let stored = letters
        .pop()
        .and_then(|letter| letter.message.downcast::<&str>().ok());
    assert_eq!((stored, letters.len()), (Some(Box::new("stored")), 0));
}

#[callboard::test(both)]
async fn a_poller_is_parked_without_keeping_a_worker_from_its_items(system: System) {
    let queue = hasty(&system, 3);
    let mut parked = Box::pin(queue.poll().into_future());
    assert!(futures::poll!(parked.as_mut()).is_pending());
    let (tx, mut rx) = mpsc::channel(64);
    let consuming = queue.consume(&system, 1, async move |delivery: &Delivery<u32>| {
        tx.clone().try_send(**delivery).unwrap();
        Ok::<(), Infallible>(())
    });
    queue.offer_many([1, 2]).await.unwrap();
    // Who came first gets the first, whoever looks first.
    assert_eq!(rx.next().await, Some(2));
    assert_eq!(parked.await.unwrap(), Some(1));
    consuming.stop().await;
}

#[callboard::test(both)]
async fn g23_a_handler_may_say_how_its_delivery_ends(system: System) {
    let queue = hasty(&system, 3);
    let (tx, mut rx) = mpsc::channel(64);
    let consuming = queue.consume(&system, 1, async move |delivery: &Delivery<u32>| {
        tx.clone()
            .try_send((**delivery, delivery.attempt()))
            .unwrap();
        match (**delivery, delivery.attempt()) {
            (1, _) => Settlement::Bury("no such customer".into()),
            (2, 1) => Settlement::Release(Duration::ZERO),
            _ => Settlement::Ack,
        }
    });
    queue.offer_many([1, 2, 3]).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(rx.next().await.unwrap());
    }
    assert_eq!(seen, [(1, 1), (2, 1), (2, 2), (3, 1)]);
    assert_eq!(consuming.failed(), 1);
    // What was said is done once they have stopped.
    consuming.stop().await;
    assert_eq!(queue.state().await.unwrap().settled, 2);
    let dead = queue.dead_letters().unwrap().poll().await.unwrap().unwrap();
    assert_eq!((dead.item, &*dead.info.detail), (1, "no such customer"));
}
