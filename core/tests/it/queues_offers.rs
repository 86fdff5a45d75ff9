//! Offers: waiting for room, deadlines, batches, delays and times to live (G3, G6, G7, G23, G24).

use std::future::IntoFuture;
use std::time::Duration;

use callboard::queue::{DeadReason, ItemPlace, Offered, Queue};
use callboard::{DropReason, FailureKind, RequestKey, System, Verdict, testing};
use futures::FutureExt;

const MS: Duration = Duration::from_millis(1);

fn full_of_one(system: &System) -> Queue<&'static str> {
    let queue = Queue::bounded(system, "q", 1);
    let stored = queue.offer("first").into_future().now_or_never();
    assert_eq!(stored.unwrap().unwrap(), Offered::Stored(1));
    queue
}

#[callboard::test(both)]
async fn g06_a_full_queue_gives_back_what_may_not_wait(system: System) {
    let queue = full_of_one(&system);
    let offer = queue.offer("second").deadline(Duration::ZERO).into_future();
    // At once, not at the next turn.
    let error = offer.now_or_never().unwrap().unwrap_err();
    assert_eq!(
        (error.failure.kind(), error.failure.verdict(), error.item),
        (FailureKind::Full, Verdict::NotExecuted, Some("second"))
    );
    assert!(error.to_string().is_empty() || !error.failure.to_string().is_empty());
    assert_eq!(queue.state().await.unwrap().waiting_offerers, 0);
}

#[callboard::test(both)]
async fn g03_offerers_get_room_in_the_order_they_came(system: System) {
    let queue = full_of_one(&system);
    let mut waiting: Vec<_> = ["a", "b", "c", "d"]
        .map(|item| Box::pin(queue.offer(item).into_future()))
        .into();
    for offer in &mut waiting {
        assert!(futures::poll!(offer.as_mut()).is_pending());
    }
    // Whoever looks first, and though the second gives up; a later one doesn't get in between.
    drop(waiting.remove(1));
    let passing = queue.offer("z").deadline(Duration::ZERO).await.unwrap_err();
    assert_eq!(passing.item, Some("z"));
    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(queue.poll().await.unwrap().unwrap());
        let late = queue.offer("late").deadline(Duration::ZERO).await;
        assert_eq!(late.is_ok(), got.len() == 4, "{got:?}");
    }
    assert_eq!(got, ["first", "a", "c", "d"]);
    let mut numbers = Vec::new();
    for offer in waiting.into_iter().rev() {
        numbers.push(offer.await.unwrap());
    }
    assert_eq!(numbers, [4, 3, 2].map(Offered::Stored));
}

#[callboard::test]
async fn g06_an_offer_waits_as_long_as_its_deadline_says(system: System) {
    let queue = full_of_one(&system);
    let mut forever = Box::pin(queue.offer("forever").into_future());
    let mut brief = Box::pin(queue.offer("brief").deadline(10 * MS).into_future());
    assert!(futures::poll!(forever.as_mut()).is_pending());
    assert!(futures::poll!(brief.as_mut()).is_pending());
    testing::advance(&system, 9 * MS).await.unwrap();
    assert!(futures::poll!(brief.as_mut()).is_pending());
    testing::advance(&system, MS).await.unwrap();
    let error = brief.await.unwrap_err();
    assert_eq!(
        (error.failure.kind(), error.failure.verdict(), error.item),
        (
            FailureKind::DeadlineExceeded,
            Verdict::NotExecuted,
            Some("brief")
        )
    );
    testing::advance(&system, Duration::from_secs(1_000_000))
        .await
        .unwrap();
    assert!(futures::poll!(forever.as_mut()).is_pending());
    queue.poll().await.unwrap();
    assert_eq!(forever.await.unwrap(), Offered::Stored(2));
}

#[callboard::test]
async fn g06_an_offer_that_got_room_at_its_deadline_is_stored_or_comes_back(system: System) {
    let queue = full_of_one(&system);
    let mut offer = Box::pin(queue.offer("late").deadline(10 * MS).into_future());
    assert!(futures::poll!(offer.as_mut()).is_pending());
    testing::advance(&system, 10 * MS).await.unwrap();
    // The deadline has passed, and nobody has looked yet; then there is room.
    assert_eq!(queue.poll().await.unwrap(), Some("first"));
    let stored = match offer.await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.item, Some("late"));
            false
        }
    };
    let got = queue.poll().deadline(Duration::ZERO).await.unwrap();
    assert_eq!(got.is_some(), stored);
}

#[callboard::test(both)]
async fn g03_an_offer_that_gives_up_leaves_nothing_behind(system: System) {
    let queue = full_of_one(&system);
    // Never polled.
    drop(queue.offer("a").into_future());
    // In line.
    let mut offer = Box::pin(queue.offer("b").into_future());
    assert!(futures::poll!(offer.as_mut()).is_pending());
    drop(offer);
    let state = queue.state().await.unwrap();
    assert_eq!(
        (state.len, state.offered, state.waiting_offerers),
        (1, 1, 0)
    );
    assert_eq!(queue.poll().await.unwrap(), Some("first"));
    assert_eq!(queue.poll().deadline(Duration::ZERO).await.unwrap(), None);
    // A batch, after its first part.
    let mut many = queue.offer_many(["c", "d", "e"]).into_future();
    assert!(futures::poll!(many.as_mut()).is_pending());
    drop(many);
    assert_eq!(queue.poll().await.unwrap(), Some("c"));
    assert_eq!(queue.poll().deadline(Duration::ZERO).await.unwrap(), None);
    assert_eq!(system.dead_letters().take().len(), 0);
}

#[callboard::test(both)]
async fn g03_no_more_wait_than_a_line_holds(system: System) {
    let queue = full_of_one(&system);
    let mut line = Vec::new();
    let refused = loop {
        let mut offer = Box::pin(queue.offer("waits").into_future());
        match futures::poll!(offer.as_mut()) {
            std::task::Poll::Pending => line.push(offer),
            std::task::Poll::Ready(done) => break done.unwrap_err(),
        }
        assert!(line.len() < 10_000, "no bound");
    };
    assert_eq!(
        (refused.failure.kind(), refused.item),
        (FailureKind::Overloaded, Some("waits"))
    );
    drop(line);
    assert!(queue.offer("b").into_future().now_or_never().is_none());

    let empty: Queue<u32> = Queue::bounded(&system, "empty", 1);
    let mut line = Vec::new();
    let refused = loop {
        let mut poll = Box::pin(empty.poll().into_future());
        match futures::poll!(poll.as_mut()) {
            std::task::Poll::Pending => line.push(poll),
            std::task::Poll::Ready(done) => break done.unwrap_err(),
        }
        assert!(line.len() < 10_000, "no bound");
    };
    assert_eq!(refused.kind(), FailureKind::Overloaded);
}

#[callboard::test(both)]
async fn g06_a_batch_gives_back_what_does_not_fit(system: System) {
    let queue = Queue::bounded(&system, "q", 3);
    let error = queue
        .offer_many(1..=5)
        .deadline(Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(error.failure.kind(), FailureKind::Full);
    assert_eq!(error.offered, [1, 2, 3].map(Offered::Stored));
    assert_eq!(error.rest, [4, 5]);
    assert!(
        error.to_string().starts_with("3 of 5 were stored"),
        "{error}"
    );
    assert_eq!(queue.poll_many(9).await.unwrap(), [1, 2, 3]);
    assert!(queue.offer_many([]).await.unwrap().is_empty());
}

#[callboard::test(both)]
async fn g24_a_batch_waits_for_room_and_keeps_its_order(system: System) {
    let queue = Queue::bounded(&system, "q", 2);
    let offering = queue.offer_many(0..9_u32).into_future();
    let polling = async {
        let mut got = Vec::new();
        while got.len() < 9 {
            got.extend(queue.poll_many(3).await.unwrap());
        }
        got
    };
    let (offered, got) = futures::join!(offering, polling);
    assert_eq!(got, (0..9).collect::<Vec<_>>());
    let numbers: Vec<_> = offered.unwrap().iter().map(|one| one.sequence()).collect();
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
}

#[callboard::test]
async fn g06_a_batch_gives_up_on_its_rest_in_time(system: System) {
    let queue = Queue::bounded(&system, "q", 2);
    let mut many = queue.offer_many(0..4_u32).deadline(10 * MS).into_future();
    assert!(futures::poll!(many.as_mut()).is_pending());
    testing::advance(&system, 5 * MS).await.unwrap();
    // One more fits; the deadline is that of all.
    assert_eq!(queue.poll().await.unwrap(), Some(0));
    assert!(futures::poll!(many.as_mut()).is_pending());
    testing::advance(&system, 5 * MS).await.unwrap();
    let error = many.await.unwrap_err();
    assert_eq!(error.failure.kind(), FailureKind::DeadlineExceeded);
    assert_eq!((error.offered.len(), error.rest), (3, vec![3]));
}

#[callboard::test(both)]
async fn g24_a_batch_may_be_of_one_group(system: System) {
    let queue = Queue::bounded(&system, "q", 8);
    queue.offer_many(["a", "b"]).group("g").await.unwrap();
    queue.offer("other").await.unwrap();
    let got = queue.lease_many(9).await.unwrap();
    let items: Vec<_> = got.iter().map(|delivery| **delivery).collect();
    assert_eq!(items, ["a", "other"]);
    assert_eq!(got[0].group(), Some("g"));
}

#[callboard::test]
async fn a_delayed_item_is_not_handed_out_before(system: System) {
    let queue = Queue::bounded(&system, "q", 4);
    queue.offer("later").delay(10 * MS).await.unwrap();
    queue.offer("now").await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), ["now"]);
    let mut poll = Box::pin(queue.poll().into_future());
    testing::advance(&system, 9 * MS).await.unwrap();
    assert!(futures::poll!(poll.as_mut()).is_pending());
    let seen = queue.browse(0, 9).await.unwrap();
    assert_eq!((seen[0].item, seen[0].place), ("later", ItemPlace::Delayed));
    assert_eq!(queue.state().await.unwrap().delayed, 1);
    testing::advance(&system, MS).await.unwrap();
    assert_eq!(poll.now_or_never().unwrap().unwrap(), Some("later"));
}

#[callboard::test]
async fn g23_an_item_too_old_goes_to_the_dead_letter_queue(system: System) {
    let queue = Queue::bounded(&system, "q", 4);
    queue.offer("lasts").await.unwrap();
    queue.offer("brief").time_to_live(10 * MS).await.unwrap();
    queue
        .offer("gone")
        .time_to_live(Duration::ZERO)
        .await
        .unwrap();
    queue
        .offer("ever")
        .time_to_live(Duration::MAX)
        .await
        .unwrap();
    testing::advance(&system, 9 * MS).await.unwrap();
    assert_eq!(queue.state().await.unwrap().len, 3);
    testing::advance(&system, MS).await.unwrap();
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.expired), (2, 2));
    assert_eq!(queue.poll_many(9).await.unwrap(), ["lasts", "ever"]);
    let dead = queue.dead_letters().unwrap().browse(0, 9).await.unwrap();
    let known: Vec<_> = dead
        .iter()
        .map(|dead| (dead.item.item, dead.item.info.reason, dead.item.info.failed))
        .collect();
    let why = DeadReason::Expired;
    assert_eq!(known, [("gone", why, 0), ("brief", why, 0)]);
}

#[callboard::test]
async fn g23_a_time_to_live_is_kept_over_release(system: System) {
    let queue = Queue::bounded(&system, "q", 4);
    queue.offer("brief").time_to_live(10 * MS).await.unwrap();
    let delivery = queue.lease().await.unwrap().unwrap();
    testing::advance(&system, 20 * MS).await.unwrap();
    // In somebody's hands it may still end well.
    delivery.extend(Duration::from_secs(1)).await.unwrap();
    assert_eq!(queue.state().await.unwrap().expired, 0);
    delivery.release(Duration::ZERO).await.unwrap();
    assert_eq!(queue.poll().deadline(Duration::ZERO).await.unwrap(), None);
    let dead = queue.dead_letters().unwrap().poll().await.unwrap().unwrap();
    assert_eq!(
        (dead.item, dead.info.reason, dead.info.attempts),
        ("brief", DeadReason::Expired, 1)
    );

    queue.offer("released").time_to_live(10 * MS).await.unwrap();
    let delivery = queue.lease().await.unwrap().unwrap();
    delivery.release(20 * MS).await.unwrap();
    testing::advance(&system, 10 * MS).await.unwrap();
    // Not only when its delay is over.
    assert_eq!(queue.state().await.unwrap().expired, 2);
}

#[callboard::test]
async fn a_queue_has_a_time_to_live_for_senders_who_say_nothing(system: System) {
    let queue = system.queue("q").time_to_live(10 * MS).open().unwrap();
    queue.offer("plain").await.unwrap();
    queue.offer_many(["batch"]).await.unwrap();
    queue.offer("own").time_to_live(30 * MS).await.unwrap();
    testing::advance(&system, 10 * MS).await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), ["own"]);
}

#[callboard::test]
async fn g23_an_expired_item_is_not_handed_out_to_who_waited_for_room(system: System) {
    let queue = full_of_one(&system);
    let offer = queue.offer("stale").time_to_live(5 * MS);
    let mut offer = Box::pin(offer.into_future());
    assert!(futures::poll!(offer.as_mut()).is_pending());
    testing::advance(&system, 10 * MS).await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), ["first"]);
    offer.await.unwrap();
    assert_eq!(queue.poll().deadline(Duration::ZERO).await.unwrap(), None);
    assert_eq!(queue.dead_letters().unwrap().state().len, 1);
}

#[callboard::test(both)]
async fn g03_a_circular_queue_counts_what_it_drops_and_spares_what_is_in_hand(system: System) {
    let queue = Queue::circular(&system, "ring", 2);
    queue.offer(0_u32).await.unwrap();
    let held = queue.lease().await.unwrap().unwrap();
    for n in 1..5 {
        queue.offer(n).deadline(Duration::ZERO).await.unwrap();
    }
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.in_flight, state.dropped), (2, 1, 2));
    let letters = system.dead_letters().take();
    let dropped: Vec<_> = letters
        .iter()
        .map(|letter| {
            (
                letter.reason,
                *letter.message.downcast_ref::<u32>().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        dropped,
        [(DropReason::DropOldest, 1), (DropReason::DropOldest, 2)]
    );
    assert_eq!(queue.dead_letters().unwrap().state().len, 0);
    held.ack().await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), [3, 4]);
}

/// What is oldest is not a matter of what it waits for.
#[callboard::test]
async fn g03_a_circular_queue_drops_the_oldest_also_if_it_is_delayed(system: System) {
    let queue = Queue::circular(&system, "ring", 3);
    queue.offer("delayed").delay(10 * MS).await.unwrap();
    queue.offer("second").await.unwrap();
    queue.offer("third").await.unwrap();
    queue.offer("fourth").await.unwrap();
    assert_eq!(
        queue.poll_many(9).await.unwrap(),
        ["second", "third", "fourth"]
    );

    queue
        .offer_many(["held", "behind"])
        .group("g")
        .await
        .unwrap();
    let held = queue.lease().await.unwrap().unwrap();
    for item in ["a", "b", "c"] {
        queue.offer(item).await.unwrap();
    }
    held.ack().await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), ["a", "b", "c"]);
}

/// In Venice no deadline means not to wait, and a long one loses the item.
#[callboard::test]
async fn a_poll_waits_as_long_as_it_says_or_as_its_caller_lives(system: System) {
    let queue = Queue::bounded(&system, "q", 3);
    let mut second = Box::pin(queue.poll().deadline(Duration::from_secs(1)).into_future());
    let mut forever = Box::pin(queue.poll().into_future());
    let mut long = Box::pin(queue.poll().deadline(Duration::MAX).into_future());
    for poll in [&mut second, &mut forever, &mut long] {
        assert!(futures::poll!(poll.as_mut()).is_pending());
    }
    testing::advance(&system, Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(second.now_or_never().unwrap().unwrap(), None);
    testing::advance(&system, Duration::from_secs(1_000_000))
        .await
        .unwrap();
    assert!(futures::poll!(forever.as_mut()).is_pending());
    assert!(futures::poll!(long.as_mut()).is_pending());
    queue.offer_many(["a", "b"]).await.unwrap();
    assert_eq!(
        (forever.await.unwrap(), long.await.unwrap()),
        (Some("a"), Some("b"))
    );
}

/// Venice's circular queue answers at once, whatever its timeout says.
#[callboard::test]
async fn a_poll_of_a_circular_queue_waits_as_long_as_it_says(system: System) {
    let queue = Queue::circular(&system, "ring", 2);
    let mut poll = Box::pin(queue.poll().deadline(10 * MS).into_future());
    assert!(futures::poll!(poll.as_mut()).is_pending());
    testing::advance(&system, 9 * MS).await.unwrap();
    assert!(futures::poll!(poll.as_mut()).is_pending());
    queue.offer(1).await.unwrap();
    assert_eq!(poll.await.unwrap(), Some(1));
    let mut poll = Box::pin(queue.poll().deadline(10 * MS).into_future());
    assert!(futures::poll!(poll.as_mut()).is_pending());
    testing::advance(&system, 10 * MS).await.unwrap();
    assert_eq!(poll.now_or_never().unwrap().unwrap(), None);
}

#[callboard::test(both)]
async fn an_offer_taken_apart_is_the_same_offer(system: System) {
    let queue = Queue::bounded(&system, "q", 1);
    let other = Queue::bounded(&system, "other", 1);
    assert_eq!((queue.id(), queue.clone().id()), (queue.id(), queue.id()));
    assert_ne!(queue.id(), other.id());
    let found: Queue<u8> = system.queue("named").open().unwrap();
    assert_eq!(
        queue.system().queue::<u8>("named").open().unwrap().id(),
        found.id()
    );

    let plain = queue.offer("first").into_parts().into_offer();
    assert_eq!(plain.await.unwrap(), Offered::Stored(1));
    // There is no room: its deadline came back with it.
    let parts = queue.offer("second").deadline(Duration::ZERO).into_parts();
    let error = parts.into_offer().into_future().now_or_never();
    assert_eq!(error.unwrap().unwrap_err().kind(), FailureKind::Full);

    let key = RequestKey::new();
    let mut parts = queue.offer("third").key(key).group("g").into_parts();
    parts.queue = other.clone();
    parts.terms.priority = 0;
    assert_eq!(parts.into_offer().await.unwrap(), Offered::Stored(1));
    let item = other.lease().await.unwrap().unwrap();
    assert_eq!(
        (*item, item.key(), item.group()),
        ("third", Some(key), Some("g"))
    );
    item.ack().await.unwrap();
}

#[callboard::test(both)]
async fn a_queue_that_ends_keeps_its_identity(system: System) {
    let open = || -> Queue<u8> { system.queue("q").open().unwrap() };
    let (first, again) = (open(), open());
    assert_eq!(first.id(), again.id());
    first.stop();
    first.wait().await;
    assert_eq!(first.id(), again.id());
    assert_ne!(first.id(), open().id());
}
