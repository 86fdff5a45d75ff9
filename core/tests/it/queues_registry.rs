//! Queues by name, temporary ones, answers, and what a queue shows of itself.

use std::time::Duration;

use callboard::queue::{ItemPlace, OpenError, Queue, QueueKind, TemporaryQueue};
use callboard::{FailureKind, System, testing};

use crate::common::worker;

const MS: Duration = Duration::from_millis(1);

#[callboard::test(both)]
async fn a_name_leads_to_one_queue(system: System) {
    let first: Queue<u32> = system.queue("orders").capacity(5).open().unwrap();
    let again: Queue<u32> = system.queue("orders").capacity(5).open().unwrap();
    let found: Queue<u32> = system.queues().get("orders").unwrap().unwrap();
    first.offer(1).await.unwrap();
    again.offer(2).await.unwrap();
    assert_eq!(found.poll_many(9).await.unwrap(), [1, 2]);
    assert!(system.queues().get::<u32>("other").unwrap().is_none());
}

/// Venice keeps the first settings in silence, and makes a bounded queue of one that was to be circular.
#[callboard::test(both)]
async fn a_queue_opened_with_other_settings_shows_all_differences(system: System) {
    let _first: Queue<u32> = system.queue("orders").capacity(5).open().unwrap();
    let wanted = system
        .queue::<u32>("orders")
        .capacity(6)
        .circular()
        .priorities(3);
    let error = wanted.open().unwrap_err();
    let OpenError::Differs { name, differences } = &error else {
        panic!("{error:?}");
    };
    let settings: Vec<_> = differences.iter().map(|one| one.setting).collect();
    assert_eq!(&**name, "orders");
    // A circular queue has no more in hand than it holds.
    assert_eq!(
        settings,
        ["kind", "capacity", "max_in_flight", "priorities"]
    );
    let text = error.to_string();
    assert!(text.contains("kind is Bounded, wanted Circular"), "{text}");
    assert!(text.contains("capacity is 5, wanted 6"), "{text}");
    assert_eq!(system.queues().list()[0].config.kind, QueueKind::Bounded);
}

#[callboard::test(both)]
async fn a_queue_for_items_of_another_type_is_not_opened(system: System) {
    let _first: Queue<u32> = system.queue("orders").open().unwrap();
    let error = system.queue::<String>("orders").open().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, OpenError::WrongType { .. }), "{error:?}");
    assert!(text.contains("u32") && text.contains("String"), "{text}");
    assert!(system.queues().get::<String>("orders").is_err());
    let error = system.queue::<u32>("").open().unwrap_err();
    assert!(matches!(error, OpenError::BadName(_)), "{error:?}");
}

#[callboard::test(both)]
async fn a_name_is_free_again_when_its_queue_has_ended(system: System) {
    for round in 0..5 {
        let queue: Queue<u32> = system.queue("orders").capacity(round + 1).open().unwrap();
        assert!(
            queue
                .poll()
                .deadline(Duration::ZERO)
                .await
                .unwrap()
                .is_none()
        );
        queue.offer(1).await.unwrap();
        if round % 2 == 0 {
            queue.stop();
            queue.wait().await;
        } else {
            assert!(system.queues().remove("orders").await.unwrap());
        }
        assert_eq!(queue.poll().await.unwrap_err().kind(), FailureKind::Stopped);
        assert!(system.queues().list().is_empty());
        assert!(system.queues().get::<u32>("orders").unwrap().is_none());
    }
    assert!(!system.queues().remove("orders").await.unwrap());
    assert_eq!(system.dead_letters().take().len(), 5);
}

#[callboard::test(both)]
async fn queues_are_listed_and_purged_by_name(system: System) {
    let b: Queue<&str> = system.queue("b").open().unwrap();
    let a: Queue<u32> = system.queue("a").capacity(7).open().unwrap();
    a.offer_many(0..5).await.unwrap();
    let held = a.lease().await.unwrap().unwrap();
    b.offer("x").await.unwrap();
    let list = system.queues().list();
    let names: Vec<_> = list
        .iter()
        .map(|info| (&*info.name, info.item_type))
        .collect();
    assert_eq!(names, [("a", "u32"), ("b", "&str")]);
    assert_eq!((list[0].config.capacity, list[0].state.len), (7, 4));
    assert_eq!(system.queues().purge("a"), Some(4));
    assert_eq!(system.queues().purge("c"), None);
    // What is in hand stays, and is neither dead nor lost.
    held.release(Duration::ZERO).await.unwrap();
    let state = a.state().await.unwrap();
    assert_eq!((state.len, state.purged), (1, 4));
    assert_eq!(system.dead_letters().take().len(), 0);
}

#[callboard::test(both)]
async fn a_temporary_queue_ends_with_its_value(system: System) {
    let temporary: TemporaryQueue<u32> = TemporaryQueue::start(&system, 4);
    let handle = temporary.clone();
    handle.offer(1).await.unwrap();
    // Venice's are open to anyone who knows their names.
    assert!(
        system
            .queues()
            .get::<u32>(&temporary.name())
            .unwrap()
            .is_none()
    );
    assert!(system.queues().list().is_empty());
    let another: TemporaryQueue<u32> = TemporaryQueue::start(&system, 4);
    assert_ne!(another.name(), temporary.name());
    drop(temporary);
    handle.wait().await;
    assert_eq!(
        handle.poll().await.unwrap_err().kind(),
        FailureKind::Stopped
    );
    assert_eq!(system.dead_letters().take().len(), 1);
}

#[callboard::test(both)]
async fn a_temporary_queue_ends_with_its_actor(system: System) {
    for kill in [false, true] {
        let (owner, _) = worker(&system);
        let queue: Queue<u32> = TemporaryQueue::start_for(&system, 4, &owner);
        queue.offer(1).await.unwrap();
        assert_eq!(queue.poll().await.unwrap(), Some(1));
        if kill {
            owner.kill();
        } else {
            owner.stop();
        }
        queue.wait().await;
        let error = queue.offer(2).await.unwrap_err();
        assert_eq!(
            (error.failure.kind(), error.item),
            (FailureKind::Stopped, Some(2))
        );
        // An owner that is gone already owns it for no longer.
        let late: Queue<u32> = TemporaryQueue::start_for(&system, 4, &owner);
        late.wait().await;
    }
}

/// In Venice a queue can be made under the name of the dead-letter queue.
#[callboard::test(both)]
async fn a_dead_letter_queue_is_reached_through_its_queue_alone(system: System) {
    let queue: Queue<u32> = system.queue("q").open().unwrap();
    queue.offer(1).await.unwrap();
    let delivery = queue.lease().await.unwrap().unwrap();
    delivery.bury("never").await.unwrap();
    assert_eq!(system.queues().list().len(), 1);
    for name in ["q (dead)", "q.dead", "dead"] {
        assert!(system.queues().get::<u32>(name).unwrap().is_none());
        if let Ok(other) = system.queue::<u32>(name).open() {
            let got = other.poll().deadline(Duration::ZERO).await.unwrap();
            assert_eq!(got, None, "{name}");
        }
    }
    assert_eq!(queue.dead_letters().unwrap().state().len, 1);
}

/// Who asks offers with a reply-to, the worker answers there, and who asked polls the answer.
#[callboard::test(both)]
async fn an_answer_goes_to_the_queue_that_was_named(system: System) {
    let jobs: Queue<u32> = system.queue("jobs").open().unwrap();
    let replies: TemporaryQueue<String> = TemporaryQueue::start(&system, 4);
    jobs.offer(3).reply_to(&replies).await.unwrap();
    let job = jobs.lease().await.unwrap().unwrap();
    assert_eq!(job.reply_to_name(), Some(&*replies.name()));
    // Only for answers of its type.
    assert!(job.reply_to::<u32>().is_none());
    let back: Queue<String> = job.reply_to().unwrap();
    back.offer(format!("{}!", *job)).await.unwrap();
    job.ack().await.unwrap();
    assert_eq!(replies.poll().await.unwrap().as_deref(), Some("3!"));
    // It survives a way through the dead-letter queue.
    jobs.offer(4).reply_to(&replies).await.unwrap();
    jobs.lease()
        .await
        .unwrap()
        .unwrap()
        .bury("no")
        .await
        .unwrap();
    jobs.dead_letters().unwrap().redrive(1).unwrap();
    let job = jobs.lease().await.unwrap().unwrap();
    assert!(job.reply_to::<String>().is_some());
    // Who asked is gone by now.
    let name = replies.name();
    drop(replies);
    let back: Queue<String> = job.reply_to().unwrap();
    back.wait().await;
    assert_eq!(
        back.offer("late".into()).await.unwrap_err().item.as_deref(),
        Some("late")
    );
    assert_eq!(job.reply_to_name(), Some(&*name));
}

#[callboard::test(both)]
async fn an_answer_is_wanted_in_a_queue_found_by_its_name(system: System) {
    use callboard::queue::{OfferTerms, ReplyTo};
    let jobs: Queue<u32> = system.queue("jobs").open().unwrap();
    let replies: Queue<u64> = system.queue("replies").open().unwrap();
    for (name, is_there) in [("replies", true), ("nowhere", false)] {
        let mut terms = OfferTerms::default();
        terms.reply_to = Some(ReplyTo::named(name));
        jobs.offer(1).with_terms(terms).await.unwrap();
        let job = jobs.lease().await.unwrap().unwrap();
        assert_eq!(job.reply_to_name(), Some(name));
        assert_eq!(job.reply_to::<u64>().is_some(), is_there);
        assert!(job.reply_to::<String>().is_none());
        if let Some(back) = job.reply_to::<u64>() {
            back.offer(9).await.unwrap();
        }
        job.ack().await.unwrap();
    }
    assert_eq!(replies.poll().await.unwrap(), Some(9));
}

#[callboard::test]
async fn a_queue_shows_its_age_its_rates_and_its_consumers(system: System) {
    let queue: Queue<u32> = system.queue("q").capacity(50).open().unwrap();
    let clerk = queue.consumer("clerk");
    testing::advance(&system, Duration::from_secs(20))
        .await
        .unwrap();
    queue.offer_many(0..20).await.unwrap();
    for _ in 0..10 {
        clerk.lease().await.unwrap().unwrap().ack().await.unwrap();
    }
    testing::advance(&system, Duration::from_secs(5))
        .await
        .unwrap();
    let state = queue.state().await.unwrap();
    assert_eq!(
        (state.len, state.capacity, state.oldest),
        (10, 50, Some(Duration::from_secs(5)))
    );
    let rates = state.rates;
    let near = |rate: f64, of: f64| (rate * 10.0 - of).abs() <= of * 0.2;
    assert!(near(rates.offered, 20.0), "{rates:?}");
    assert!(
        near(rates.handed, 10.0) && near(rates.settled, 10.0),
        "{rates:?}"
    );
    let clerks = queue.consumers();
    assert_eq!((&*clerks[0].name, clerks[0].delivered), ("clerk", 10));
    assert_eq!(clerks[0].age, Duration::from_secs(25));
    assert!(clerks[0].is_active);
    testing::advance(&system, Duration::from_secs(20))
        .await
        .unwrap();
    let rates = queue.state().await.unwrap().rates;
    assert_eq!((rates.offered, rates.handed), (0.0, 0.0));
    drop(clerk);
    assert!(queue.consumers().is_empty());
}

#[callboard::test]
async fn a_look_changes_nothing(system: System) {
    let queue = Queue::bounded(&system, "q", 9);
    queue.offer_many(["a", "b", "c"]).await.unwrap();
    queue.offer("d").delay(10 * MS).group("g").await.unwrap();
    let held = queue.lease().await.unwrap().unwrap();
    let before = queue.state().await.unwrap();
    let seen = queue.browse(0, 9).await.unwrap();
    let places: Vec<_> = seen
        .iter()
        .map(|one| (one.item, one.sequence, one.place))
        .collect();
    use ItemPlace::{Delayed, InFlight, Ready};
    assert_eq!(
        places,
        [
            ("a", 1, InFlight),
            ("b", 2, Ready),
            ("c", 3, Ready),
            ("d", 4, Delayed)
        ]
    );
    assert_eq!(
        (seen[0].attempt, seen[1].attempt, seen[3].group.as_deref()),
        (1, 0, Some("g"))
    );
    assert_eq!(queue.browse(2, 1).await.unwrap()[0].item, "b");
    assert!(queue.browse(5, 9).await.unwrap().is_empty());
    assert_eq!(queue.state().await.unwrap(), before);
    held.ack().await.unwrap();
    assert_eq!(queue.poll_many(9).await.unwrap(), ["b", "c"]);
}
