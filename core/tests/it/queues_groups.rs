//! Groups and priorities (G24).

use std::future::IntoFuture;
use std::time::Duration;

use callboard::queue::{Delivery, ItemPlace, Queue};
use callboard::{System, testing};

const MS: Duration = Duration::from_millis(1);

fn hasty(system: &System) -> Queue<&'static str> {
    let builder = system.queue("q").priorities(3).delivery_limit(2);
    builder
        .retry(Duration::ZERO, Duration::ZERO)
        .open()
        .unwrap()
}

async fn offer(queue: &Queue<&'static str>, group: &str, items: &[&'static str]) {
    for item in items {
        queue.offer(item).group(group).await.unwrap();
    }
}

async fn all(queue: &Queue<&'static str>) -> Vec<Delivery<&'static str>> {
    queue.lease_many(99).deadline(Duration::ZERO).await.unwrap()
}

fn items(deliveries: &[Delivery<&'static str>]) -> Vec<&'static str> {
    deliveries.iter().map(|one| **one).collect()
}

#[callboard::test(both)]
async fn g24_items_of_a_group_come_one_at_a_time_and_groups_in_parallel(system: System) {
    let queue = hasty(&system);
    offer(&queue, "a", &["a1", "a2", "a3"]).await;
    offer(&queue, "b", &["b1", "b2"]).await;
    queue.offer("free").await.unwrap();
    let mut held = all(&queue).await;
    assert_eq!(items(&held), ["a1", "b1", "free"]);
    let places: Vec<_> = queue
        .browse(0, 9)
        .await
        .unwrap()
        .iter()
        .map(|one| one.place)
        .collect();
    use ItemPlace::{Behind, InFlight};
    assert_eq!(
        places,
        [InFlight, Behind, Behind, InFlight, Behind, InFlight]
    );
    held.remove(1).ack().await.unwrap();
    assert_eq!(items(&all(&queue).await), ["b2"]);
    held.remove(0).ack().await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), ["a2", "a3", "b2"]);
}

#[callboard::test]
async fn g24_a_released_item_holds_its_group_back(system: System) {
    let queue = hasty(&system);
    offer(&queue, "g", &["g1", "g2"]).await;
    queue.offer("free").await.unwrap();
    all(&queue).await.remove(0).release(10 * MS).await.unwrap();
    assert_eq!(items(&all(&queue).await), ["free"]);
    testing::advance(&system, 9 * MS).await.unwrap();
    assert_eq!(items(&all(&queue).await), ["free"]);
    testing::advance(&system, MS).await.unwrap();
    let held = all(&queue).await;
    assert_eq!(items(&held), ["g1", "free"]);
    drop(held);
    // So does one that is rejected, and one whose lease lapses.
    all(&queue).await.remove(0).reject("no").await.unwrap();
    assert_eq!(items(&all(&queue).await), ["g1", "free"]);
}

#[callboard::test]
async fn g24_reordering_lets_the_others_pass_where_it_is_allowed(system: System) {
    let queue = system.queue("q").allow_reordering().open().unwrap();
    offer(&queue, "g", &["g1", "g2", "g3"]).await;
    all(&queue).await.remove(0).release(10 * MS).await.unwrap();
    let mut second = all(&queue).await;
    assert_eq!(items(&second), ["g2"]);
    testing::advance(&system, 10 * MS).await.unwrap();
    // Back in its group, and that has one in hand.
    assert!(all(&queue).await.is_empty());
    second.remove(0).ack().await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), ["g1", "g3"]);
    // Back in its group before the head that is only ready.
    offer(&queue, "g", &["h1", "h2"]).await;
    all(&queue).await.remove(0).release(10 * MS).await.unwrap();
    testing::advance(&system, 10 * MS).await.unwrap();
    assert_eq!(items(&all(&queue).await), ["h1"]);
    // An item that is offered for later doesn't hold the group, either.
    queue.purge().await.unwrap();
    queue.offer("i1").group("g").delay(10 * MS).await.unwrap();
    queue.offer("i2").group("g").await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), ["i2"]);
}

#[callboard::test]
async fn g24_a_delayed_offer_holds_its_group_back(system: System) {
    let queue = hasty(&system);
    queue.offer("g1").group("g").delay(10 * MS).await.unwrap();
    offer(&queue, "g", &["g2"]).await;
    assert!(all(&queue).await.is_empty());
    testing::advance(&system, 10 * MS).await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), ["g1", "g2"]);
}

#[callboard::test]
async fn g24_a_group_goes_on_when_its_head_leaves_by_any_way(system: System) {
    let queue = hasty(&system);
    for way in 0..4 {
        let life = if way == 3 { 10 * MS } else { Duration::MAX };
        queue
            .offer("g1")
            .group("g")
            .time_to_live(life)
            .await
            .unwrap();
        offer(&queue, "g", &["g2"]).await;
        if way < 3 {
            let head = all(&queue).await.remove(0);
            match way {
                0 => head.ack().await.unwrap(),
                1 => head.bury("no").await.unwrap(),
                _ => {
                    head.reject("once").await.unwrap();
                    all(&queue).await.remove(0).reject("twice").await.unwrap();
                }
            }
        }
        testing::advance(&system, 10 * MS).await.unwrap();
        assert_eq!(queue.poll_many(9).await.unwrap(), ["g2"], "way {way}");
    }
    assert_eq!(queue.state().await.unwrap().len, 0);
}

#[callboard::test(both)]
async fn g24_priorities_order_what_has_no_group(system: System) {
    let queue = hasty(&system);
    for (item, priority) in [
        ("low", 0),
        ("high", 2),
        ("beyond", 200),
        ("mid", 1),
        ("high 2", 2),
    ] {
        queue.offer(item).priority(priority).await.unwrap();
    }
    assert_eq!(
        queue.poll_many(9).await.unwrap(),
        ["high", "beyond", "high 2", "mid", "low"]
    );
}

#[callboard::test(both)]
async fn g24_priorities_order_groups_not_items_within_one(system: System) {
    let queue = hasty(&system);
    queue.offer("a1").group("a").await.unwrap();
    queue.offer("b1").group("b").priority(1).await.unwrap();
    queue.offer("a2").group("a").priority(2).await.unwrap();
    queue.offer("b2").group("b").await.unwrap();
    // In a group the order of offers; between groups the priority of the one whose turn it is.
    assert_eq!(queue.poll_many(9).await.unwrap(), ["b1", "a1", "a2", "b2"]);
}

#[callboard::test(both)]
async fn g24_released_items_keep_their_places_among_equals(system: System) {
    let queue = hasty(&system);
    for item in ["1", "2", "3", "4"] {
        queue.offer(item).priority(1).await.unwrap();
    }
    let mut held = all(&queue).await;
    // Given back in another order than they were taken.
    for at in [2, 0, 1, 0] {
        held.remove(at).release(Duration::ZERO).await.unwrap();
    }
    assert_eq!(queue.poll_many(9).await.unwrap(), ["1", "2", "3", "4"]);
}

#[callboard::test(both)]
async fn g24_a_consumer_of_a_group_that_gives_up_leaves_its_order_alone(system: System) {
    let queue = hasty(&system);
    let mut lease = Box::pin(queue.lease().into_future());
    assert!(futures::poll!(lease.as_mut()).is_pending());
    offer(&queue, "g", &["g1", "g2"]).await;
    // The first is on its way, so nobody gets the second.
    assert!(all(&queue).await.is_empty());
    drop(lease);
    assert_eq!(queue.poll_many(9).await.unwrap(), ["g1", "g2"]);
}

/// The same for who takes away: until it has looked, it may give up, and the item comes back.
#[callboard::test(both)]
async fn g24_a_poller_of_a_group_that_gives_up_leaves_its_order_alone(system: System) {
    let queue = hasty(&system);
    let mut poll = Box::pin(queue.poll().into_future());
    assert!(futures::poll!(poll.as_mut()).is_pending());
    offer(&queue, "g", &["g1", "g2"]).await;
    let mut seen = items(&all(&queue).await);
    drop(poll);
    while let Some(item) = queue.poll().deadline(Duration::ZERO).await.unwrap() {
        seen.push(item);
    }
    seen.dedup();
    assert_eq!(seen, ["g1", "g2"]);
}

/// Many groups that come and go leave nothing behind that would hold a later one back.
#[callboard::test]
async fn g24_a_group_begins_anew_when_all_of_it_has_left(system: System) {
    let queue = hasty(&system);
    for round in 0..50 {
        let group = format!("g{}", round % 3);
        offer(&queue, &group, &["1", "2"]).await;
        if round % 2 == 0 {
            assert_eq!(queue.purge().await.unwrap(), 2);
        } else {
            let held = all(&queue).await;
            queue.purge().await.unwrap();
            held.into_iter().next().unwrap().ack().await.unwrap();
        }
    }
    offer(&queue, "g0", &["last"]).await;
    assert_eq!(queue.poll_many(9).await.unwrap(), ["last"]);
}
