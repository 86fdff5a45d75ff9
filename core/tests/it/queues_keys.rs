//! Offers with a request key: stored once within the window (G26).

use std::future::IntoFuture;
use std::time::Duration;

use callboard::queue::{Offered, Queue};
use callboard::{FailureKind, RequestKey, System, Verdict, testing};
use futures::FutureExt;

const MS: Duration = Duration::from_millis(1);

#[callboard::test(both)]
async fn g26_an_offer_is_stored_once_whatever_became_of_the_item(system: System) {
    let queue = Queue::bounded(&system, "q", 8);
    let key = RequestKey::new();
    let again = async || queue.offer("a").key(key).await.unwrap();
    assert_eq!(again().await, Offered::Stored(1));
    assert_eq!(again().await, Offered::Duplicate(1));
    let delivery = queue.lease().await.unwrap().unwrap();
    assert_eq!(delivery.key(), Some(key));
    assert_eq!(again().await, Offered::Duplicate(1));
    delivery.ack().await.unwrap();
    assert_eq!(again().await, Offered::Duplicate(1));
    assert_eq!(again().await.sequence(), 1);
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.offered, state.keys), (0, 1, 1));
}

#[callboard::test(both)]
async fn g26_a_duplicate_needs_no_room_and_does_not_wait(system: System) {
    let queue = Queue::bounded(&system, "q", 1);
    let (key, other) = (RequestKey::new(), RequestKey::new());
    queue.offer("a").key(key).await.unwrap();
    let mut first = Box::pin(queue.offer("b").key(other).into_future());
    let mut second = Box::pin(queue.offer("b").key(other).into_future());
    assert!(futures::poll!(first.as_mut()).is_pending());
    assert!(futures::poll!(second.as_mut()).is_pending());
    let duplicate = queue.offer("a").key(key).into_future().now_or_never();
    assert_eq!(duplicate.unwrap().unwrap(), Offered::Duplicate(1));
    // Two that waited with one key are stored once.
    assert_eq!(queue.poll().await.unwrap(), Some("a"));
    assert_eq!(queue.poll().await.unwrap(), Some("b"));
    assert_eq!(first.await.unwrap(), Offered::Stored(2));
    assert_eq!(second.await.unwrap(), Offered::Duplicate(2));
    assert_eq!(queue.poll().deadline(Duration::ZERO).await.unwrap(), None);
}

#[callboard::test(both)]
async fn g26_a_key_that_waited_in_vain_is_not_remembered(system: System) {
    let queue = Queue::bounded(&system, "q", 1);
    let key = RequestKey::new();
    queue.offer("first").await.unwrap();
    let error = queue.offer("a").key(key).deadline(Duration::ZERO).await;
    assert_eq!(error.unwrap_err().item, Some("a"));
    let mut offer = Box::pin(queue.offer("a").key(key).into_future());
    assert!(futures::poll!(offer.as_mut()).is_pending());
    drop(offer);
    queue.poll().await.unwrap();
    assert_eq!(queue.offer("a").key(key).await.unwrap(), Offered::Stored(2));
}

#[callboard::test(both)]
async fn g26_a_key_used_for_another_item_is_refused_where_items_are_compared(system: System) {
    let queue = system.queue("compares").compare_keys().open().unwrap();
    let key = RequestKey::new();
    queue.offer("a").key(key).await.unwrap();
    let error = queue.offer("b").key(key).await.unwrap_err();
    assert_eq!(
        (error.failure.kind(), error.failure.verdict(), error.item),
        (FailureKind::KeyReused, Verdict::NotExecuted, Some("b"))
    );
    assert_eq!(
        queue.offer("a").key(key).await.unwrap(),
        Offered::Duplicate(1)
    );
    // Also when the item has left.
    assert_eq!(queue.poll().await.unwrap(), Some("a"));
    let error = queue.offer("b").key(key).await.unwrap_err();
    assert_eq!(error.failure.kind(), FailureKind::KeyReused);
    assert!(queue.keeps().compared_keys);

    let trusts = system.queue("trusts").open().unwrap();
    trusts.offer("a").key(key).await.unwrap();
    assert_eq!(
        trusts.offer("b").key(key).await.unwrap(),
        Offered::Duplicate(1)
    );
    assert!(!trusts.keeps().compared_keys);
}

#[callboard::test]
async fn g26_a_key_is_forgotten_when_its_window_is_over(system: System) {
    let queue = system.queue("q").key_window(10 * MS, 9).open().unwrap();
    let key = RequestKey::new();
    queue.offer(1).key(key).await.unwrap();
    testing::advance(&system, 9 * MS).await.unwrap();
    // A duplicate doesn't make the window longer.
    assert_eq!(
        queue.offer(1).key(key).await.unwrap(),
        Offered::Duplicate(1)
    );
    testing::advance(&system, MS).await.unwrap();
    assert_eq!(queue.state().await.unwrap().keys, 0);
    assert_eq!(queue.offer(1).key(key).await.unwrap(), Offered::Stored(2));
}

#[callboard::test]
async fn g03_a_full_table_of_keys_refuses_new_ones_until_there_is_room(system: System) {
    let queue = system.queue("q").key_window(10 * MS, 2).open().unwrap();
    let keys = [RequestKey::new(), RequestKey::new(), RequestKey::new()];
    queue.offer(0).key(keys[0]).await.unwrap();
    testing::advance(&system, 5 * MS).await.unwrap();
    queue.offer(1).key(keys[1]).await.unwrap();
    let error = queue.offer(2).key(keys[2]).await.unwrap_err();
    assert_eq!(
        (error.failure.kind(), error.failure.verdict(), error.item),
        (FailureKind::Overloaded, Verdict::NotExecuted, Some(2))
    );
    assert!(
        error.to_string().contains("2 keys are remembered"),
        "{error}"
    );
    // Known ones, and those without, get in.
    assert_eq!(
        queue.offer(0).key(keys[0]).await.unwrap(),
        Offered::Duplicate(1)
    );
    queue.offer(3).await.unwrap();
    testing::advance(&system, 5 * MS).await.unwrap();
    assert_eq!(
        queue.offer(2).key(keys[2]).await.unwrap(),
        Offered::Stored(4)
    );
}

#[callboard::test]
async fn g26_an_item_that_is_dead_on_arrival_is_stored_once_as_well(system: System) {
    let queue = Queue::bounded(&system, "q", 4);
    let key = RequestKey::new();
    let offer = || queue.offer("a").key(key).time_to_live(Duration::ZERO);
    assert_eq!(offer().await.unwrap(), Offered::Stored(1));
    assert_eq!(offer().await.unwrap(), Offered::Duplicate(1));
    assert_eq!(queue.dead_letters().unwrap().state().len, 1);
}

#[callboard::test(both)]
async fn g26_a_key_holds_over_death_and_redrive(system: System) {
    let queue = Queue::bounded(&system, "q", 4);
    let key = RequestKey::new();
    queue.offer("a").key(key).await.unwrap();
    let delivery = queue.lease().await.unwrap().unwrap();
    delivery.bury("never").await.unwrap();
    assert_eq!(
        queue.offer("a").key(key).await.unwrap(),
        Offered::Duplicate(1)
    );
    let dead = queue.dead_letters().unwrap();
    assert_eq!(dead.browse(0, 9).await.unwrap()[0].item.info.key, Some(key));
    assert_eq!(dead.redrive(9).unwrap(), 1);
    assert_eq!(
        queue.offer("a").key(key).await.unwrap(),
        Offered::Duplicate(1)
    );
    let again = queue.lease().await.unwrap().unwrap();
    assert_eq!((again.key(), again.attempt()), (Some(key), 1));
}

#[callboard::test(both)]
async fn g26_a_poller_that_gave_up_does_not_free_the_key(system: System) {
    let queue = Queue::bounded(&system, "q", 4);
    let key = RequestKey::new();
    let mut poll = Box::pin(queue.poll().into_future());
    assert!(futures::poll!(poll.as_mut()).is_pending());
    queue.offer("a").key(key).await.unwrap();
    drop(poll);
    assert_eq!(
        queue.offer("a").key(key).await.unwrap(),
        Offered::Duplicate(1)
    );
    let delivery = queue.lease().await.unwrap().unwrap();
    assert_eq!(delivery.key(), Some(key));
}
