//! G28: a slow subscriber delays nobody beyond its policy, and is told what it misses.

use std::time::Duration;

use callboard::clock::Instant;
use callboard::topic::{SlowSubscriber, Topic, TopicEvent};
use callboard::{Simulation, System};
use futures::{FutureExt, StreamExt};

use super::common::{drain, options, publish_all, ranges, roomy};

const SECOND: Duration = Duration::from_secs(1);

fn gap(from: u64, to: u64) -> TopicEvent<u64> {
    TopicEvent::Gap {
        from,
        to,
        missed: Some(to - from + 1),
    }
}

#[callboard::test(both)]
async fn g28_a_slow_subscriber_delays_nobody_and_is_told_what_it_missed(system: System) {
    let topic = Topic::start(&system, "t");
    let mut of = Vec::new();
    for policy in [
        SlowSubscriber::DropOldest,
        SlowSubscriber::DropNewest,
        SlowSubscriber::Disconnect,
    ] {
        of.push(topic.subscribe(">", options(2, policy)).await.unwrap());
    }
    let [mut oldest, mut newest, mut ended] = of.try_into().unwrap();
    let mut fast = topic.subscribe(">", roomy()).await.unwrap();
    publish_all(&topic, "a", 1..=5).await;
    assert_eq!(drain(&mut fast).len(), 5);
    let events = drain(&mut oldest);
    assert_eq!(events[0], gap(1, 3));
    assert_eq!(ranges(&events), [(1, 3), (4, 4), (5, 5)]);
    let events = drain(&mut newest);
    assert_eq!(ranges(&events), [(1, 1), (2, 2), (3, 5)]);
    assert_eq!(ranges(&drain(&mut ended)), [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(ended.next().await, None);
    publish_all(&topic, "a", 6..=6).await;
    assert_eq!(ranges(&drain(&mut newest)), [(6, 6)]);
    let state = topic.state();
    assert_eq!((state.published, state.subscribers), (6, 3));
}

#[callboard::test(both)]
async fn g28_a_gap_says_how_many_of_the_pattern_it_stands_for(system: System) {
    let topic = Topic::start(&system, "t");
    let mut some = topic
        .subscribe("a", options(1, SlowSubscriber::DropOldest))
        .await
        .unwrap();
    for n in 1..=9_u64 {
        let subject = if n % 2 == 0 { "a" } else { "b" };
        topic.publish(subject, n).await.unwrap();
    }
    let events = drain(&mut some);
    // 2, 4 and 6 of the numbers 2 to 6.
    let expected = TopicEvent::Gap {
        from: 2,
        to: 6,
        missed: Some(3),
    };
    assert_eq!(events[0], expected);
    assert_eq!(ranges(&events), [(2, 6), (8, 8)]);
}

#[callboard::test(simulated)]
async fn g28_a_publisher_waits_for_room_no_longer_than_the_policy_says(system: System) {
    let topic = Topic::start(&system, "t");
    let mut slow = topic
        .subscribe(">", roomy())
        .capacity(1)
        .waited_for(SECOND)
        .await
        .unwrap();
    let mut slower = topic
        .subscribe(">", options(1, SlowSubscriber::Wait(2 * SECOND)))
        .await
        .unwrap();
    let mut fast = topic.subscribe(">", roomy()).await.unwrap();
    publish_all(&topic, "a", 1..=1).await;
    let start = system.clock().now();
    let mut second = topic.publish("a", 2).into_future();
    assert!((&mut second).now_or_never().is_none(), "it waits");
    assert_eq!(
        ranges(&drain(&mut fast)),
        [(1, 1), (2, 2)],
        "others have it by then"
    );
    let published = second.await.unwrap();
    assert_eq!((published.matched, published.dropped), (3, 2));
    // Those that are waited for are waited for together.
    assert_eq!(system.clock().now(), start + 2 * SECOND);
    assert_eq!(drain(&mut slow)[1], gap(2, 2));
    assert_eq!(ranges(&drain(&mut slower)), [(1, 1), (2, 2)]);
    assert_eq!(topic.state().dropped, 2);
}

#[callboard::test(both)]
async fn g28_room_that_comes_in_time_lets_the_publisher_go_on(system: System) {
    let topic = Topic::start(&system, "t");
    let hour = Duration::from_secs(3_600);
    let mut slow = topic
        .subscribe(">", roomy())
        .capacity(2)
        .waited_for(hour)
        .await
        .unwrap();
    let publisher = topic.clone();
    let (done_tx, done) = futures::channel::oneshot::channel();
    system.spawn(callboard::Placement::Spread, move || async move {
        let mut dropped = 0;
        for n in 1..=100 {
            dropped += publisher.publish("a", n).await.unwrap().dropped;
        }
        let _ = done_tx.send(dropped);
    });
    for sequence in 1..=100 {
        assert_eq!(slow.next().await.unwrap().range(), (sequence, sequence));
        assert!(slow.waiting() <= 3, "two, and one that waits");
    }
    assert_eq!(done.await, Ok(0));
}

#[callboard::test(both)]
async fn g28_several_that_wait_keep_their_order_and_one_that_gives_up_leaves_a_gap(system: System) {
    let topic = Topic::start(&system, "t");
    let hour = Duration::from_secs(3_600);
    let mut slow = topic
        .subscribe(">", roomy())
        .capacity(1)
        .waited_for(hour)
        .await
        .unwrap();
    publish_all(&topic, "a", 1..=1).await;
    let mut waiting: Vec<_> = (2..=5)
        .map(|n| topic.publish("a", n).into_future())
        .collect();
    for publishing in &mut waiting {
        assert!(publishing.now_or_never().is_none());
    }
    // Dropped, and not waited for: both are published, and missed where they are.
    drop(waiting.remove(1));
    let tried = topic.try_publish("a", 6).unwrap().unwrap();
    assert_eq!((tried.sequence, tried.dropped), (6, 1));
    let none = topic
        .publish("a", 7)
        .deadline(Duration::ZERO)
        .await
        .unwrap();
    assert_eq!((none.sequence, none.dropped), (7, 1));
    let expected = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 7)];
    for range in expected {
        assert_eq!(slow.next().await.unwrap().range(), range);
    }
    for publishing in waiting {
        assert_eq!(publishing.await.unwrap().dropped, 0);
    }
    assert_eq!(topic.state().dropped, 3);
}

#[callboard::test(both)]
async fn g28_a_subscriber_that_leaves_frees_who_waits_for_it(system: System) {
    let topic = Topic::start(&system, "t");
    let hour = Duration::from_secs(3_600);
    let slow = topic
        .subscribe(">", roomy())
        .capacity(1)
        .waited_for(hour)
        .await
        .unwrap();
    publish_all(&topic, "a", 1..=1).await;
    let mut second = topic.publish("a", 2).into_future();
    assert!((&mut second).now_or_never().is_none());
    drop(slow);
    assert_eq!(second.await.unwrap().matched, 1);
    // The same when the topic ends: what lies behind the bound is delivered.
    let mut slow = topic
        .subscribe(">", roomy())
        .capacity(1)
        .waited_for(hour)
        .await
        .unwrap();
    publish_all(&topic, "a", 3..=3).await;
    let mut fourth = topic.publish("a", 4).into_future();
    assert!((&mut fourth).now_or_never().is_none());
    topic.stop();
    assert_eq!(fourth.await.unwrap().dropped, 0);
    assert_eq!(ranges(&drain(&mut slow)), [(3, 3), (4, 4)]);
    assert_eq!(slow.next().await, None);
}

/// G9: the wait is bounded by the publisher's own deadline, and by that of the request in hand.
#[test]
fn g09_a_deadline_bounds_the_wait_for_slow_subscribers() {
    use callboard::{Actor, Context, Handler, Message};
    struct Clerk(Topic<u64>);
    impl Actor for Clerk {}
    #[derive(Message)]
    struct Announce(u64);
    impl Handler<Announce> for Clerk {
        async fn handle(&mut self, Announce(n): Announce, _: &mut Context<Self>) {
            self.0.publish("a", n).await.unwrap();
        }
    }
    let mut simulation = Simulation::new(1);
    let system = simulation.system().clone();
    simulation.block_on(async move {
        let topic = Topic::start(&system, "t");
        let hour = Duration::from_secs(3_600);
        let slow = topic
            .subscribe(">", roomy())
            .capacity(1)
            .waited_for(hour)
            .await
            .unwrap();
        publish_all(&topic, "a", 1..=1).await;
        let start: Instant = system.clock().now();
        topic.publish("a", 2).deadline(SECOND).await.unwrap();
        assert_eq!(system.clock().now(), start + SECOND);
        let clerk = system.start(Clerk(topic.clone()));
        // Both end at that moment, whichever comes first.
        let _ = clerk.ask(Announce(3)).deadline(3 * SECOND).await;
        assert_eq!(system.clock().now(), start + 4 * SECOND);
        clerk
            .ask(Announce(4))
            .deadline(Duration::ZERO)
            .await
            .unwrap_err();
        assert_eq!(topic.state().dropped, 2);
        drop(slow);
    });
}

/// Publishers on all arbiters, subscribers of all policies, waits so short that many are given up: on real threads
/// these meet in every order.
#[callboard::test(both)]
async fn g28_every_number_comes_once_or_in_a_gap_whoever_meets_whom(system: System) {
    const EACH: u64 = 100;
    let topic = Topic::start(&system, "t");
    let policies = [
        SlowSubscriber::DropOldest,
        SlowSubscriber::DropNewest,
        SlowSubscriber::Wait(Duration::from_micros(20)),
        SlowSubscriber::Wait(Duration::from_secs(3_600)),
    ];
    let mut readers = Vec::new();
    for policy in policies {
        for capacity in [1, 40] {
            let mut subscription = topic
                .subscribe(">", options(capacity, policy))
                .await
                .unwrap();
            let (done_tx, done) = futures::channel::oneshot::channel();
            system.spawn(callboard::Placement::Spread, move || async move {
                let (mut next, mut missed) = (1, 0);
                let mut of_publisher = [0; 4];
                while let Some(event) = subscription.next().await {
                    let (from, to) = event.range();
                    assert_eq!(from, next);
                    next = to + 1;
                    match event {
                        TopicEvent::Message(message) => {
                            let last = &mut of_publisher[usize::try_from(*message % 4).unwrap()];
                            assert!(*message > *last, "in the order of its publisher");
                            *last = *message;
                        }
                        TopicEvent::Gap { missed: count, .. } => missed += count.unwrap(),
                    }
                }
                let _ = done_tx.send((next, missed));
            });
            readers.push(done);
        }
    }
    let publishers = (0..4).map(|publisher| {
        let (topic, (done_tx, done)) = (topic.clone(), futures::channel::oneshot::channel());
        system.spawn(callboard::Placement::Spread, move || async move {
            let mut dropped = 0;
            for n in 1..=EACH {
                let published = topic.publish("a", n * 4 + publisher).await.unwrap();
                dropped += published.dropped as u64;
            }
            let _ = done_tx.send(dropped);
        });
        done
    });
    let told: u64 = futures::future::try_join_all(publishers)
        .await
        .unwrap()
        .iter()
        .sum();
    topic.stop();
    let ends = futures::future::try_join_all(readers).await.unwrap();
    assert!(
        ends.iter().all(|(next, _)| *next == 4 * EACH + 1),
        "{ends:?}"
    );
    let missed: u64 = ends.iter().map(|(_, missed)| missed).sum();
    // What one side lost the other was told of.
    assert_eq!((missed, topic.state().dropped), (told, told));
    assert_eq!(
        ends[6..],
        [(4 * EACH + 1, 0), (4 * EACH + 1, 0)],
        "those that wait get all"
    );
}
