//! Items that panic when they are copied or dropped, or that use the queue meanwhile; callers that leave at the worst
//! moment (G6, G10, G21).

use std::future::{Future, IntoFuture};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use callboard::System;
use callboard::queue::{Queue, QueueState};
use futures::FutureExt;
use parking_lot::Mutex;

/// An item whose copy panics if its name says so.
#[derive(Debug, PartialEq)]
struct Fragile(&'static str);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        assert!(!self.0.starts_with("broken"), "no copy of {}", self.0);
        Fragile(self.0)
    }
}

fn hasty<T: Send + 'static>(system: &System) -> Queue<T> {
    let builder = system.queue("q").delivery_limit(2);
    builder
        .retry(Duration::ZERO, Duration::ZERO)
        .open()
        .unwrap()
}

fn panics<F: Future + Unpin>(future: F) -> bool {
    catch_unwind(AssertUnwindSafe(|| future.now_or_never().map(drop))).is_err()
}

#[callboard::test(both)]
async fn g10_an_item_that_can_not_be_copied_fails_and_is_not_lost(system: System) {
    let queue = hasty(&system);
    queue.offer(Fragile("broken")).await.unwrap();
    for _ in 0..2 {
        assert!(panics(queue.lease().into_future()));
    }
    assert!(
        queue
            .lease()
            .deadline(Duration::ZERO)
            .await
            .unwrap()
            .is_none()
    );
    let dead = queue.dead_letters().unwrap().poll().await.unwrap().unwrap();
    assert_eq!(
        (dead.item, &*dead.info.detail),
        (Fragile("broken"), "copying it panicked")
    );
    // To take it away needs no copy.
    queue.offer(Fragile("broken")).await.unwrap();
    assert_eq!(queue.poll().await.unwrap(), Some(Fragile("broken")));
}

#[callboard::test(both)]
async fn g10_an_item_that_can_not_be_copied_costs_its_neighbours_nothing(system: System) {
    let queue = hasty(&system);
    let items = ["a", "broken", "b"].map(Fragile);
    queue.offer_many(items).await.unwrap();
    assert!(panics(queue.lease_many(9).into_future()));
    let held = queue.lease().await.unwrap().unwrap();
    assert!(panics(queue.lease_many(9).into_future()));
    drop(held);
    let rest = queue.lease_many(9).await.unwrap();
    let seen: Vec<_> = rest.iter().map(|one| (one.0, one.failed())).collect();
    assert_eq!(seen, [("a", 0), ("b", 0)]);
    assert_eq!(queue.dead_letters().unwrap().state().len, 1);
}

#[callboard::test(both)]
async fn g10_a_look_at_an_item_that_can_not_be_copied_harms_nothing(system: System) {
    let queue = hasty(&system);
    queue.offer(Fragile("broken")).await.unwrap();
    assert!(panics(Box::pin(queue.browse(0, 9))));
    assert_eq!(queue.state().await.unwrap().len, 1);
    assert_eq!(queue.poll().await.unwrap(), Some(Fragile("broken")));
}

/// An item that uses its queue while it is copied, and when it is dropped.
struct Meddler {
    queue: Queue<Meddler>,
    dropped: Arc<AtomicUsize>,
}

impl Meddler {
    fn meddle(&self) -> Option<QueueState> {
        let _ = self
            .queue
            .poll()
            .deadline(Duration::ZERO)
            .into_future()
            .now_or_never();
        let _ = self.queue.purge().now_or_never();
        self.queue.state().now_or_never()?.ok()
    }
}

impl Clone for Meddler {
    fn clone(&self) -> Self {
        self.queue.state().now_or_never();
        Meddler {
            queue: self.queue.clone(),
            dropped: Arc::clone(&self.dropped),
        }
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.meddle();
    }
}

/// No item is copied or dropped under the queue's lock. Were one, the test would stand still.
#[callboard::test(both)]
async fn g10_items_may_use_their_queue_while_they_are_copied_and_dropped(system: System) {
    let dropped = Arc::new(AtomicUsize::new(0));
    let open = |circular: bool| {
        let builder = system
            .queue(if circular { "ring" } else { "q" })
            .capacity(1);
        let builder = builder.delivery_limit(1).dead_letter_capacity(1);
        let builder = builder.key_window(Duration::from_secs(1), 9);
        if circular {
            builder.circular()
        } else {
            builder
        }
        .open()
        .unwrap()
    };
    for queue in [open(false), open(true)] {
        let key = callboard::RequestKey::new();
        let meddler = || Meddler {
            queue: queue.clone(),
            dropped: Arc::clone(&dropped),
        };
        // Dropped in every way there is.
        for way in 0..12 {
            match way {
                0 => drop(queue.offer(meddler()).into_future()),
                1 => {
                    queue.offer(meddler()).await.unwrap();
                    let mut waits = Box::pin(queue.offer(meddler()).into_future());
                    let _ = futures::poll!(waits.as_mut());
                }
                2 => drop(queue.offer(meddler()).deadline(Duration::ZERO).await),
                3 => drop(queue.poll().deadline(Duration::ZERO).await),
                4 => {
                    drop(
                        queue
                            .offer(meddler())
                            .key(key)
                            .deadline(Duration::ZERO)
                            .await,
                    );
                    drop(
                        queue
                            .offer(meddler())
                            .key(key)
                            .deadline(Duration::ZERO)
                            .await,
                    );
                }
                5..10 => {
                    let _ = queue.offer(meddler()).deadline(Duration::ZERO).await;
                    if let Some(held) = queue.lease().deadline(Duration::ZERO).await.unwrap() {
                        // Stale by then, if its own copy purged it.
                        let _ = match way {
                            5 => held.ack().await,
                            6 => held.reject("no").await,
                            7 => held.bury("no").await,
                            8 => held.release(Duration::ZERO).await,
                            _ => {
                                drop(held);
                                Ok(())
                            }
                        };
                    }
                }
                10 => drop(
                    queue
                        .offer_many([meddler(), meddler()])
                        .deadline(Duration::ZERO)
                        .await,
                ),
                _ => {
                    let mut poll = Box::pin(queue.poll().into_future());
                    let _ = futures::poll!(poll.as_mut());
                    let _ = queue.offer(meddler()).deadline(Duration::ZERO).await;
                }
            }
        }
        queue.dead_letters().unwrap().purge();
        drop(queue.offer(meddler()).deadline(Duration::ZERO).await);
        queue.stop();
        queue.wait().await;
    }
    drop(system.dead_letters().take());
    let dropped = dropped.load(Ordering::Relaxed);
    assert!(dropped > 20, "{dropped}");
}

/// A waker that uses the queue when it is woken, copied and dropped.
struct Nosy(Queue<u32>, Mutex<Vec<usize>>);

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        let state = self.0.state().now_or_never();
        self.1.lock().extend(state.map(|state| state.unwrap().len));
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.0.state().now_or_never();
    }
}

#[callboard::test(both)]
async fn g10_wakers_may_use_the_queue_when_they_are_woken_and_dropped(system: System) {
    let queue = Queue::bounded(&system, "q", 1);
    let nosy = || Waker::from(Arc::new(Nosy(queue.clone(), Mutex::default())));
    let mut poll = queue.poll().into_future();
    assert!(
        Pin::new(&mut poll)
            .poll(&mut Context::from_waker(&nosy()))
            .is_pending()
    );
    // The first waker is the queue's alone by now: replaced, it is dropped.
    assert!(
        Pin::new(&mut poll)
            .poll(&mut Context::from_waker(&nosy()))
            .is_pending()
    );
    queue.offer(1).await.unwrap();
    assert_eq!(poll.await.unwrap(), Some(1));
    queue.offer(2).await.unwrap();
    let mut offer = queue.offer(3).into_future();
    assert!(
        Pin::new(&mut offer)
            .poll(&mut Context::from_waker(&nosy()))
            .is_pending()
    );
    assert!(
        Pin::new(&mut offer)
            .poll(&mut Context::from_waker(&nosy()))
            .is_pending()
    );
    drop(offer);
    let mut lease = queue.lease_many(2).into_future();
    assert_eq!(queue.poll().await.unwrap(), Some(2));
    assert!(
        Pin::new(&mut lease)
            .poll(&mut Context::from_waker(&nosy()))
            .is_pending()
    );
    drop(lease);
    let mut lease = queue.lease().into_future();
    assert!(
        Pin::new(&mut lease)
            .poll(&mut Context::from_waker(&nosy()))
            .is_pending()
    );
    queue.stop();
    queue.wait().await;
    assert!(lease.await.is_err());
}

#[callboard::test(both)]
async fn g21_who_leaves_at_any_point_takes_nothing_along(system: System) {
    // 0: before the first poll, 1: in line, 2: with something in its place.
    for point in 0..3 {
        for way in 0..4 {
            let queue = Queue::bounded(&system, "q", 4);
            let mut leaves: Pin<Box<dyn Future<Output = ()>>> = match way {
                0 => Box::pin(queue.poll().into_future().map(drop)),
                1 => Box::pin(queue.poll_many(3).into_future().map(drop)),
                2 => Box::pin(queue.lease().into_future().map(drop)),
                _ => Box::pin(queue.lease_many(3).into_future().map(drop)),
            };
            if point > 0 {
                assert_eq!(futures::poll!(leaves.as_mut()), Poll::Pending);
            }
            let mut behind = Box::pin(queue.lease().into_future());
            assert!(futures::poll!(behind.as_mut()).is_pending());
            if point < 2 {
                drop(leaves);
                queue.offer(1_u32).await.unwrap();
            } else {
                queue.offer(1_u32).await.unwrap();
                drop(leaves);
            }
            // The next in line has it at once, untouched.
            let got = behind.now_or_never().unwrap().unwrap().unwrap();
            assert_eq!((*got, got.attempt()), (1, 1), "way {way}, point {point}");
            let state = queue.state().await.unwrap();
            assert_eq!(
                (state.handed, state.in_flight),
                (1, 1),
                "way {way}, point {point}"
            );
        }
    }
}
