//! The dead-letter queue that every queue has (G3, G23).

use std::time::Duration;

use callboard::queue::{Dead, DeadReason, Queue};
use callboard::{DropReason, System, testing};

const MS: Duration = Duration::from_millis(1);

async fn bury(queue: &Queue<&'static str>) -> &'static str {
    let delivery = queue
        .lease()
        .deadline(Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    let item = *delivery;
    delivery.bury("never").await.unwrap();
    item
}

#[callboard::test(both)]
async fn g23_redriven_items_take_their_old_places(system: System) {
    let queue = system.queue("q").priorities(2).open().unwrap();
    queue.offer("a").await.unwrap();
    queue.offer("urgent").priority(1).await.unwrap();
    queue.offer("g1").group("g").await.unwrap();
    queue.offer("g2").group("g").await.unwrap();
    let buried = [bury(&queue).await, bury(&queue).await, bury(&queue).await];
    assert_eq!(buried, ["urgent", "a", "g1"]);
    queue.offer("z").await.unwrap();
    let dead = queue.dead_letters().unwrap();
    assert_eq!(dead.redrive(9).unwrap(), 3);
    assert_eq!(dead.state().len, 0);
    let again = queue.lease().await.unwrap().unwrap();
    // As if it had never been handed out.
    assert_eq!(
        (*again, again.sequence(), again.attempt(), again.failed()),
        ("urgent", 2, 1, 0)
    );
    again.ack().await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), ["a", "g1", "g2", "z"]);
}

#[callboard::test(both)]
async fn g23_a_redriven_item_waits_for_those_of_its_group_in_hand(system: System) {
    let queue = Queue::bounded(&system, "q", 9);
    queue
        .offer_many(["g1", "g2", "g3"])
        .group("g")
        .await
        .unwrap();
    bury(&queue).await;
    let second = queue.lease().await.unwrap().unwrap();
    assert_eq!(*second, "g2");
    let dead = queue.dead_letters().unwrap();
    assert_eq!(dead.redrive(1).unwrap(), 1);
    assert_eq!(queue.poll().deadline(Duration::ZERO).await.unwrap(), None);
    second.ack().await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), ["g1", "g3"]);
}

#[callboard::test(both)]
async fn g03_a_redrive_respects_the_room_and_its_maximum(system: System) {
    let queue = Queue::bounded(&system, "q", 3);
    queue.offer_many(["a", "b", "c"]).await.unwrap();
    for _ in 0..3 {
        bury(&queue).await;
    }
    queue.offer("new").await.unwrap();
    let dead = queue.dead_letters().unwrap();
    assert_eq!(dead.redrive(1).unwrap(), 1);
    assert_eq!(dead.redrive(9).unwrap(), 1);
    assert_eq!(dead.redrive(9).unwrap(), 0);
    // What it looked at and left is as it was.
    let left = dead.browse(0, 9).await.unwrap();
    assert_eq!(
        (left.len(), left[0].item.item, left[0].attempt),
        (1, "c", 0)
    );
    let state = dead.state();
    assert_eq!((state.handed, state.settled), (2, 2));
    assert_eq!(queue.poll_many(9).await.unwrap(), ["a", "b", "new"]);
}

#[callboard::test(both)]
async fn a_redrive_serves_who_waits(system: System) {
    let queue = Queue::bounded(&system, "q", 3);
    queue.offer("a").await.unwrap();
    bury(&queue).await;
    let dead = queue.dead_letters().unwrap();
    let redriving = async { dead.redrive(1).unwrap() };
    let (got, moved) = futures::join!(async { queue.poll().await.unwrap() }, redriving);
    assert_eq!((got, moved), (Some("a"), 1));
}

#[callboard::test(both)]
async fn g23_the_dead_are_browsed_leased_purged_and_polled(system: System) {
    let queue = Queue::bounded(&system, "q", 9);
    queue.offer_many(["a", "b", "c", "d"]).await.unwrap();
    for _ in 0..4 {
        bury(&queue).await;
    }
    let dead = queue.dead_letters().unwrap();
    let names = |seen: &[callboard::queue::Browsed<Dead<&'static str>>]| {
        seen.iter().map(|one| one.item.item).collect::<Vec<_>>()
    };
    assert_eq!(names(&dead.browse(0, 2).await.unwrap()), ["a", "b"]);
    assert_eq!(names(&dead.browse(3, 9).await.unwrap()), ["c", "d"]);
    let held = dead.lease().await.unwrap().unwrap();
    assert_eq!(held.item, "a");
    assert_eq!(held.info.reason, DeadReason::Rejected);
    // In hand, it is neither redriven nor purged.
    assert_eq!(dead.redrive(1).unwrap(), 1);
    assert_eq!(queue.poll().await.unwrap(), Some("b"));
    assert_eq!(dead.purge(), 2);
    held.release(Duration::ZERO).await.unwrap();
    assert_eq!(dead.poll().await.unwrap().unwrap().item, "a");
    let state = dead.state();
    assert_eq!((state.len, state.in_flight, state.purged), (0, 0, 2));
}

#[callboard::test(both)]
async fn g03_a_full_dead_letter_queue_drops_its_oldest_to_dead_letters(system: System) {
    let queue = system.queue("q").dead_letter_capacity(2).open().unwrap();
    queue.offer_many(["a", "b", "c"]).await.unwrap();
    for _ in 0..3 {
        bury(&queue).await;
    }
    let dead = queue.dead_letters().unwrap();
    assert_eq!((dead.state().len, dead.state().dropped), (2, 1));
    let letters = system.dead_letters().take();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, DropReason::DropOldest);
    let letter = letters[0].message.downcast_ref::<Dead<&str>>().unwrap();
    assert_eq!((letter.item, letter.info.sequence), ("a", 1));
    assert_eq!(system.counters().drops(DropReason::DropOldest), 1);
}

#[callboard::test(both)]
async fn g23_what_is_rejected_as_dead_comes_back_and_what_is_buried_goes(system: System) {
    let queue = system
        .queue("q")
        .delivery_limit(1)
        .retry(Duration::ZERO, Duration::ZERO)
        .open()
        .unwrap();
    queue.offer("a").await.unwrap();
    bury(&queue).await;
    let dead = queue.dead_letters().unwrap();
    for failed in 0..30 {
        let again = dead.lease().await.unwrap().unwrap();
        assert_eq!(again.failed(), failed);
        again.reject("still not").await.unwrap();
    }
    // What is known of it is what its queue knew.
    let again = dead.lease().await.unwrap().unwrap();
    assert_eq!((again.info.failed, &*again.info.detail), (1, "never"));
    again.bury("enough").await.unwrap();
    assert_eq!(dead.state().len, 0);
    let letters = system.dead_letters().take();
    assert_eq!(
        (letters.len(), letters[0].reason),
        (1, DropReason::Rejected)
    );
}

#[callboard::test]
async fn g23_a_redriven_item_that_was_too_old_does_not_die_of_it_again(system: System) {
    let queue = Queue::bounded(&system, "q", 9);
    queue.offer("a").time_to_live(10 * MS).await.unwrap();
    testing::advance(&system, 10 * MS).await.unwrap();
    let dead = queue.dead_letters().unwrap();
    assert_eq!(dead.redrive(9).unwrap(), 1);
    testing::advance(&system, Duration::from_secs(9))
        .await
        .unwrap();
    assert_eq!(queue.poll().await.unwrap(), Some("a"));
}
