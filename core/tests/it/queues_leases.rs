//! Leases and their ends: acknowledged, given back, failed, lapsed (G21 to G23).

use std::future::IntoFuture;
use std::time::Duration;

use callboard::queue::{DeadReason, Delivery, ItemPlace, LEASE_RANGE, Queue, SettleError, ack_all};
use callboard::{System, testing};
use futures::FutureExt;

const MS: Duration = Duration::from_millis(1);

/// A queue whose failed items come back at once.
fn hasty(system: &System) -> Queue<&'static str> {
    let builder = system.queue("q").lease(100 * MS).delivery_limit(3);
    builder
        .retry(Duration::ZERO, Duration::ZERO)
        .open()
        .unwrap()
}

async fn lease<T: Clone + Send + 'static>(queue: &Queue<T>) -> Option<Delivery<T>> {
    queue.lease().deadline(Duration::ZERO).await.unwrap()
}

fn is_stale(end: &Result<(), SettleError>) -> bool {
    matches!(end, Err(SettleError::Stale { .. }))
}

#[callboard::test(both)]
async fn g21_a_leased_item_is_with_one_consumer_until_it_ends(system: System) {
    let queue = hasty(&system);
    queue.offer("a").await.unwrap();
    let delivery = lease(&queue).await.unwrap();
    assert!(lease(&queue).await.is_none());
    assert_eq!(queue.poll().deadline(Duration::ZERO).await.unwrap(), None);
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.in_flight, state.settled), (0, 1, 0));
    assert_eq!(
        queue.browse(0, 9).await.unwrap()[0].place,
        ItemPlace::InFlight
    );
    delivery.ack().await.unwrap();
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.in_flight, state.settled), (0, 0, 1));
}

#[callboard::test]
async fn g22_a_stale_acknowledgement_is_refused_and_says_so(system: System) {
    let queue = hasty(&system);
    queue.offer("a").await.unwrap();
    let late = lease(&queue).await.unwrap();
    let (token, sequence) = (late.token(), late.sequence());
    testing::advance(&system, 100 * MS).await.unwrap();
    let holder = lease(&queue).await.unwrap();
    assert!(holder.token() > token, "tokens grow");
    assert_eq!((holder.attempt(), holder.failed()), (2, 1));
    let error = late.ack().await.unwrap_err();
    let text = error.to_string();
    assert_eq!(
        error,
        SettleError::Stale {
            queue: "q".into(),
            sequence,
            token
        }
    );
    assert!(
        text.contains('q') && text.contains(&token.to_string()),
        "{text}"
    );
    // It has changed nothing for who holds it now.
    holder.ack().await.unwrap();
    let state = queue.state().await.unwrap();
    assert_eq!((state.settled, state.lapsed, state.failed), (1, 1, 1));
}

#[callboard::test]
async fn g22_a_stale_holder_can_end_the_lease_of_nobody(system: System) {
    let queue = hasty(&system);
    for end in 0..5 {
        queue.offer("a").await.unwrap();
        let late = lease(&queue).await.unwrap();
        testing::advance(&system, 100 * MS).await.unwrap();
        let holder = lease(&queue).await.unwrap();
        let refused = match end {
            0 => late.release(Duration::ZERO).await,
            1 => late.reject("late").await,
            2 => late.bury("late").await,
            3 => late.extend(MS).await,
            _ => {
                drop(late);
                Err(SettleError::Stale {
                    queue: "".into(),
                    sequence: 0,
                    token: 0,
                })
            }
        };
        assert!(is_stale(&refused), "{refused:?}");
        assert!(lease(&queue).await.is_none());
        assert_eq!(queue.dead_letters().unwrap().state().len, 0);
        holder.ack().await.unwrap();
    }
}

#[callboard::test]
async fn g22_a_lease_lapses_at_its_end_not_before(system: System) {
    let queue = hasty(&system);
    queue.offer("a").await.unwrap();
    let delivery = queue.lease().span(10 * MS).await.unwrap().unwrap();
    testing::advance(&system, 9 * MS).await.unwrap();
    assert!(lease(&queue).await.is_none());
    delivery.extend(20 * MS).await.unwrap();
    testing::advance(&system, 19 * MS).await.unwrap();
    assert!(lease(&queue).await.is_none());
    // A shorter one counts, too.
    delivery.extend(2 * MS).await.unwrap();
    let mut waiting = Box::pin(queue.lease().into_future());
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    testing::advance(&system, 2 * MS).await.unwrap();
    let again = waiting.now_or_never().unwrap().unwrap().unwrap();
    assert_eq!((*again, again.attempt(), again.failed()), ("a", 2, 1));
    assert!(is_stale(&delivery.ack().await));
}

#[callboard::test]
async fn g22_spans_out_of_range_count_as_the_nearest_bound(system: System) {
    let queue = hasty(&system);
    queue.offer_many(["a", "b"]).await.unwrap();
    let brief = queue.lease().span(Duration::ZERO).await.unwrap().unwrap();
    let long = queue.lease().span(Duration::MAX).await.unwrap().unwrap();
    testing::advance(&system, LEASE_RANGE.0).await.unwrap();
    assert!(is_stale(&brief.ack().await));
    assert_eq!(queue.poll().await.unwrap(), Some("a"));
    testing::advance(&system, LEASE_RANGE.1 - 2 * MS)
        .await
        .unwrap();
    assert!(lease(&queue).await.is_none());
    testing::advance(&system, 2 * MS).await.unwrap();
    assert!(is_stale(&long.ack().await));
}

/// An item that was served to somebody who has not looked since is not held for ever.
#[callboard::test]
async fn g22_a_lease_lapses_also_before_its_holder_has_looked(system: System) {
    let queue = hasty(&system);
    let mut forgotten = Box::pin(queue.lease_many(2).into_future());
    assert!(futures::poll!(forgotten.as_mut()).is_pending());
    queue.offer("a").await.unwrap();
    testing::advance(&system, 99 * MS).await.unwrap();
    assert!(lease(&queue).await.is_none());
    testing::advance(&system, MS).await.unwrap();
    let other = lease(&queue).await.unwrap();
    assert_eq!((*other, other.failed()), ("a", 1));
    // Who looks after all starts again.
    assert!(futures::poll!(forgotten.as_mut()).is_pending());
    drop(other);
    let got = forgotten.await.unwrap();
    assert_eq!(got.iter().map(|one| **one).collect::<Vec<_>>(), ["a"]);
    ack_all(got).await.pop().unwrap().unwrap();
}

#[callboard::test(both)]
async fn g23_giving_back_is_no_failure_and_keeps_the_place(system: System) {
    let queue = hasty(&system);
    queue.offer_many(["a", "b"]).await.unwrap();
    for attempt in 1..30 {
        let delivery = lease(&queue).await.unwrap();
        assert_eq!(
            (*delivery, delivery.attempt(), delivery.failed()),
            ("a", attempt, 0)
        );
        match attempt % 3 {
            0 => delivery.release(Duration::ZERO).await.unwrap(),
            1 => drop(delivery),
            _ => drop(delivery.into_parts()),
        }
    }
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.failed, state.handed), (2, 0, 29));
}

#[callboard::test]
async fn g24_an_item_released_for_later_keeps_its_place(system: System) {
    let queue = hasty(&system);
    queue.offer_many(["a", "b", "c"]).await.unwrap();
    let delivery = lease(&queue).await.unwrap();
    delivery.release(10 * MS).await.unwrap();
    assert_eq!(queue.poll().await.unwrap(), Some("b"));
    testing::advance(&system, 9 * MS).await.unwrap();
    assert_eq!(queue.state().await.unwrap().delayed, 1);
    testing::advance(&system, MS).await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), ["a", "c"]);
}

#[callboard::test(both)]
async fn g23_an_item_that_fails_too_often_is_dead_with_its_history(system: System) {
    let queue = hasty(&system);
    queue.offer("a").group("g").await.unwrap();
    for failed in 0..3 {
        // What is merely handed out in between counts apart.
        drop(lease(&queue).await.unwrap());
        let delivery = lease(&queue).await.unwrap();
        assert_eq!(
            (delivery.attempt(), delivery.failed()),
            (2 * failed + 2, failed)
        );
        delivery.reject(format!("reason {failed}")).await.unwrap();
    }
    assert!(lease(&queue).await.is_none());
    let dead = queue.dead_letters().unwrap().poll().await.unwrap().unwrap();
    let info = dead.info;
    assert_eq!(
        (dead.item, info.reason, &*info.detail),
        ("a", DeadReason::DeliveryLimit, "reason 2")
    );
    assert_eq!((info.attempts, info.failed, info.sequence), (6, 3, 1));
    assert_eq!(info.group.as_deref(), Some("g"));
    let (first, last) = (info.first_failure.unwrap(), info.last_failure.unwrap());
    assert!(info.offered <= first && first <= last && last <= info.died);
}

#[callboard::test]
async fn g23_times_of_failures_are_times_of_day(system: System) {
    let queue = hasty(&system);
    let start = system.clock().unix();
    queue.offer("a").await.unwrap();
    testing::advance(&system, 10 * MS).await.unwrap();
    let delivery = lease(&queue).await.unwrap();
    assert_eq!(
        (delivery.offered(), delivery.first_seen()),
        (start, start + 10 * MS)
    );
    delivery.reject("no").await.unwrap();
    testing::advance(&system, 10 * MS).await.unwrap();
    let delivery = lease(&queue).await.unwrap();
    assert_eq!(delivery.first_seen(), start + 10 * MS);
    delivery.bury("never").await.unwrap();
    let info = queue
        .dead_letters()
        .unwrap()
        .poll()
        .await
        .unwrap()
        .unwrap()
        .info;
    assert_eq!(
        (info.reason, info.attempts, info.failed),
        (DeadReason::Rejected, 2, 2)
    );
    assert_eq!(info.first_failure, Some(start + 10 * MS));
    assert_eq!(
        (info.last_failure, info.died),
        (Some(start + 20 * MS), start + 20 * MS)
    );
}

#[callboard::test]
async fn g23_a_failed_item_comes_back_within_the_bounds_of_its_back_off(system: System) {
    let queue = system
        .queue("q")
        .retry(100 * MS, 350 * MS)
        .delivery_limit(None)
        .open()
        .unwrap();
    queue.offer("a").await.unwrap();
    for bound in [100, 200, 350, 350, 350] {
        let delivery = lease(&queue).await.unwrap();
        delivery.reject("no").await.unwrap();
        testing::advance(&system, bound * MS).await.unwrap();
        assert_eq!(queue.state().await.unwrap().delayed, 0, "within {bound} ms");
    }
    // No limit: it never dies, however often it fails, and the pause doesn't overflow.
    for _ in 0..50 {
        lease(&queue).await.unwrap().reject("no").await.unwrap();
        testing::advance(&system, 350 * MS).await.unwrap();
    }
    assert_eq!(lease(&queue).await.unwrap().failed(), 55);
}

#[test]
fn g23_the_back_off_is_drawn_from_all_of_its_range() {
    let early = std::cell::Cell::new(0);
    testing::seeds(0..32, |system| {
        let early = &early;
        async move {
            let queue = system.queue("q").retry(100 * MS, 100 * MS).open().unwrap();
            queue.offer("a").await.unwrap();
            lease(&queue).await.unwrap().reject("no").await.unwrap();
            testing::advance(&system, 50 * MS).await.unwrap();
            early.set(early.get() + queue.state().await.unwrap().delayed);
        }
    });
    // Half of them, within what chance allows; none or all would be another distribution.
    if std::env::var_os("CALLBOARD_SEED").is_none() {
        assert!((4..29).contains(&early.get()), "{}", early.get());
    }
}

#[callboard::test(both)]
async fn g23_a_delivery_dropped_by_a_panic_has_failed(system: System) {
    let queue = hasty(&system);
    queue.offer("a").await.unwrap();
    let delivery = lease(&queue).await.unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _held = delivery;
        panic!("half-way");
    }));
    assert!(panicked.is_err());
    let again = lease(&queue).await.unwrap();
    assert_eq!((again.attempt(), again.failed()), (2, 1));
}

#[callboard::test(both)]
async fn g21_no_more_are_in_flight_than_the_queue_allows(system: System) {
    let queue = system.queue("q").max_in_flight(2).open().unwrap();
    queue.offer_many(0..5).await.unwrap();
    let mut held = queue.lease_many(9).await.unwrap();
    assert_eq!(held.len(), 2);
    let mut waiting = Box::pin(queue.lease().into_future());
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    // What is taken away is in nobody's hands.
    assert_eq!(queue.poll().await.unwrap(), Some(2));
    held.pop().unwrap().ack().await.unwrap();
    let next = waiting.await.unwrap().unwrap();
    assert_eq!(*next, 3);
    assert!(lease(&queue).await.is_none());
}

#[callboard::test(both)]
async fn g22_deliveries_are_acknowledged_together_each_with_its_answer(system: System) {
    let queue = hasty(&system);
    let other = Queue::bounded(&system, "other", 4);
    queue.offer_many(["a", "b", "c"]).await.unwrap();
    let deliveries = queue.lease_many(9).await.unwrap();
    assert!(ack_all(deliveries).await.iter().all(Result::is_ok));
    assert_eq!(queue.state().await.unwrap().settled, 3);
    // Of several queues, in the order they were given.
    queue.offer("d").await.unwrap();
    other.offer("e").await.unwrap();
    let mixed = [lease(&queue).await.unwrap(), lease(&other).await.unwrap()];
    other.stop();
    other.wait().await;
    let answers = ack_all(mixed).await;
    assert!(answers[0].is_ok() && is_stale(&answers[1]), "{answers:?}");
    assert!(ack_all(Vec::<Delivery<u32>>::new()).await.is_empty());
}

#[callboard::test]
async fn g22_one_stale_delivery_of_many_does_not_stop_the_others(system: System) {
    let queue = hasty(&system);
    queue.offer_many(["a", "b", "c"]).await.unwrap();
    let first = queue.lease().span(MS).await.unwrap().unwrap();
    let rest = queue.lease_many(2).await.unwrap();
    testing::advance(&system, MS).await.unwrap();
    let answers = ack_all(std::iter::once(first).chain(rest)).await;
    let stale: Vec<bool> = answers.iter().map(is_stale).collect();
    assert_eq!(stale, [true, false, false]);
    assert_eq!(queue.poll().await.unwrap(), Some("a"));
}

#[callboard::test(both)]
async fn g21_one_consumer_at_a_time_is_active_and_the_next_takes_over(system: System) {
    let queue = system.queue("q").single_active_consumer().open().unwrap();
    queue.offer_many(0..4).await.unwrap();
    let error = queue.lease().await.unwrap_err();
    assert_eq!(error.kind(), callboard::FailureKind::NotAuthorised);
    assert_eq!(
        queue.poll().await.unwrap_err().kind(),
        callboard::FailureKind::NotAuthorised
    );
    assert_eq!(
        queue.poll_many(2).await.unwrap_err().kind(),
        callboard::FailureKind::NotAuthorised
    );
    let (first, second) = (queue.consumer("first"), queue.consumer("second"));
    let mut waiting = Box::pin(second.lease().into_future());
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    let held = first.lease().await.unwrap().unwrap();
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    let seen: Vec<_> = queue
        .consumers()
        .iter()
        .map(|one| {
            (
                one.name.to_string(),
                one.in_flight,
                one.delivered,
                one.is_active,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [("first".into(), 1, 1, true), ("second".into(), 0, 0, false)]
    );
    drop(first);
    // The second gets the next; what the first has in hand is still its own.
    let next = waiting.await.unwrap().unwrap();
    assert_eq!(*next, 1);
    held.ack().await.unwrap();
    assert_eq!(second.poll().await.unwrap(), Some(2));
    assert_eq!(queue.consumers().len(), 1);
}

/// Its wishes can come true no more: they end, and nobody else's do.
#[callboard::test(both)]
async fn g21_what_a_consumer_that_is_gone_waits_for_ends(system: System) {
    let queue = system.queue("q").single_active_consumer().open().unwrap();
    let (first, second) = (queue.consumer("first"), queue.consumer("second"));
    let mut waiting = Box::pin(first.lease().into_future());
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    let mut next = Box::pin(second.lease().into_future());
    assert!(futures::poll!(next.as_mut()).is_pending());
    let not_begun = first.poll();
    drop(first);
    for ended in [waiting.await.map(drop), not_begun.await.map(drop)] {
        assert_eq!(ended.unwrap_err().kind(), callboard::FailureKind::Stopped);
    }
    queue.offer(7).await.unwrap();
    assert_eq!(*next.await.unwrap().unwrap(), 7);
}

#[callboard::test]
async fn g22_a_reference_to_an_item_is_fenced_by_tokens_that_grow(system: System) {
    let queue = hasty(&system);
    queue.offer_many(["a", "b", "c"]).await.unwrap();
    let mut last = 0;
    for _ in 0..3 {
        for delivery in queue.lease_many(9).await.unwrap() {
            assert!(delivery.token() > last);
            last = delivery.token();
        }
    }
}

#[callboard::test(both)]
async fn several_leases_are_as_many_as_there_are_also_if_one_has_failed(system: System) {
    let queue = system.queue("q").retry(Duration::ZERO, Duration::ZERO);
    let queue: Queue<u32> = queue.open().unwrap();
    queue.offer_many([1, 2, 3]).await.unwrap();
    let mut all = queue.lease_many(3).await.unwrap();
    all.remove(1).reject("no").await.unwrap();
    drop(all);
    let again = queue.lease_many(9).await.unwrap();
    let seen: Vec<_> = again.iter().map(|one| (**one, one.failed())).collect();
    assert_eq!(seen, [(1, 0), (2, 1), (3, 0)]);
}
