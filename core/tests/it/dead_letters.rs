//! Dead letters as a topic: G3 their bounds and counts, G27 and G28 their notices.

use std::collections::BTreeMap;
use std::sync::Arc;

use callboard::topic::{SlowSubscriber, SubscriberOptions, Subscription, TopicEvent};
use callboard::{
    Actor, ActorRef, Context, DEAD_LETTER_TARGETS, DeadLetter, DeadLetterNotice, DropReason,
    Handler, Message, Overflow, RequestKey, System,
};
use futures::{FutureExt, StreamExt};
use proptest::prelude::*;

use crate::common::{Hold, Note, Player, held_worker, held_worker_with, player, worker};

type Event = TopicEvent<DeadLetterNotice>;

fn letter(target: &str, reason: DropReason) -> DeadLetter {
    DeadLetter {
        at: callboard::clock::Instant::default(),
        target: target.to_owned(),
        message_type: "Letter",
        reason,
        key: None,
        attempts: Vec::new(),
        message: Box::new(()),
    }
}

/// What is there without waiting.
fn drain(subscription: &mut Subscription<DeadLetterNotice>) -> Vec<Event> {
    std::iter::from_fn(|| subscription.next().now_or_never().flatten()).collect()
}

async fn next_subject(subscription: &mut Subscription<DeadLetterNotice>) -> String {
    match subscription.next().await {
        Some(TopicEvent::Message(message)) => message.subject().to_owned(),
        other => panic!("no notice: {other:?}"),
    }
}

#[callboard::test(both)]
async fn g27_a_subscriber_is_told_of_each_letter_in_order(system: System) {
    let letters = system.dead_letters();
    let mut all = letters
        .subscribe("dead.>", SubscriberOptions::default())
        .unwrap();
    let mut expired = letters
        .subscribe("dead.expired.*", SubscriberOptions::default())
        .unwrap();
    let (held, _, gate) = held_worker(&system, 8).await;
    let key = RequestKey::new();
    let late = held
        .ask(Note(1))
        .key(key)
        .deadline(std::time::Duration::from_millis(5));
    late.await.unwrap_err();
    held.try_tell(Note(2)).unwrap();
    // The letter of the withdrawn ask comes with its turn, the other one with the stop.
    held.stop();
    drop(gate);
    held.wait().await;
    let seen = [all.next().await, all.next().await].map(|event| match event {
        Some(TopicEvent::Message(message)) => (message.sequence(), message.into_value()),
        other => panic!("no notice: {other:?}"),
    });
    assert_eq!((seen[0].0, seen[1].0), (1, 2));
    for (_, notice) in &seen {
        assert_eq!(&*notice.target, "worker");
        assert_eq!(notice.message_type, std::any::type_name::<Note>());
        assert_eq!(notice.reason, DropReason::Stopped);
    }
    assert_eq!((seen[0].1.key, seen[1].1.key), (Some(key), None));
    assert!(drain(&mut expired).is_empty());
    // The messages themselves are kept beside.
    let kept = letters.take();
    let notes = kept
        .iter()
        .filter_map(|letter| letter.message.downcast_ref::<Note>());
    assert_eq!(notes.collect::<Vec<_>>(), [&Note(1), &Note(2)]);
}

#[callboard::test(both)]
async fn g27_a_subject_names_the_reason_and_the_target_as_levels(system: System) {
    let letters = system.dead_letters();
    let mut all = letters
        .subscribe("dead.>", SubscriberOptions::default())
        .unwrap();
    let long = "x".repeat(400);
    for (target, reason, subject) in [
        (
            "cart",
            DropReason::DropOldest,
            "dead.drop_oldest.cart".to_owned(),
        ),
        (
            "topic a.b",
            DropReason::Stopped,
            "dead.stopped.topic_a_b".to_owned(),
        ),
        ("", DropReason::Expired, "dead.expired._".to_owned()),
        (
            &long,
            DropReason::Expired,
            format!("dead.expired.{}", "x".repeat(242)),
        ),
    ] {
        letters.push(letter(target, reason));
        assert_eq!(next_subject(&mut all).await, subject);
    }
    let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), DropReason::ALL.len());
    let error = letters
        .subscribe("dead.>.cart", SubscriberOptions::default())
        .unwrap_err();
    assert!(error.to_string().contains("dead.>.cart"), "{error}");
}

#[callboard::test(both)]
async fn g28_a_slow_subscriber_delays_nobody_and_is_told_what_it_missed(system: System) {
    let letters = system.dead_letters();
    let slow = |policy| {
        let options = SubscriberOptions {
            capacity: 2,
            policy,
        };
        letters.subscribe("dead.>", options).unwrap()
    };
    let mut oldest = slow(SlowSubscriber::DropOldest);
    let mut ended = slow(SlowSubscriber::Disconnect);
    let (full, _, _gate) = held_worker_with(&system, 1, Overflow::DropNewest).await;
    for n in 0..6 {
        full.tell(Note(n)).await.unwrap();
    }
    // One is in the mailbox, five are dead letters.
    assert_eq!(system.counters().drops(DropReason::DropNewest), 5);
    let numbers =
        |events: Vec<Event>| -> Vec<(u64, u64)> { events.iter().map(Event::range).collect() };
    assert_eq!(numbers(drain(&mut oldest)), [(1, 3), (4, 4), (5, 5)]);
    assert_eq!(numbers(drain(&mut ended)), [(1, 1), (2, 2), (3, 3)]);
    assert_eq!(ended.next().await, None);
    // Who comes later can tell what was before it.
    assert_eq!(slow(SlowSubscriber::DropOldest).since(), 5);
}

/// An actor that looks at dead letters, and whose own mailbox drops what it is told.
struct Undertaker;

#[derive(Message)]
struct Report(#[allow(dead_code)] DeadLetterNotice);

impl Actor for Undertaker {}
impl Handler<Report> for Undertaker {
    async fn handle(&mut self, _: Report, _ctx: &mut Context<Self>) {}
}

#[callboard::test(both)]
async fn g03_a_dead_letter_makes_no_other(system: System) {
    let letters = system.dead_letters();
    let options = SubscriberOptions {
        capacity: 4,
        policy: SlowSubscriber::DropOldest,
    };
    let mut dead = letters.subscribe("dead.>", options).unwrap();
    let undertaker = system.actor(|| Undertaker).label("undertaker").start();
    undertaker.stop();
    undertaker.wait().await;
    letters.push(letter("somebody", DropReason::Undelivered));
    // A forwarder whose receiver has ended gets its message back: nothing comes round again by itself.
    let mut forwarded = 0;
    while let Some(TopicEvent::Message(notice)) = dead.next().now_or_never().flatten() {
        forwarded += 1;
        undertaker
            .tell(Report(notice.into_value()))
            .await
            .unwrap_err();
    }
    assert_eq!(forwarded, 1);
    assert_eq!(letters.counts().total(), 1);
}

#[callboard::test(both)]
async fn g03_letters_are_counted_by_reason_and_by_target(system: System) {
    let (worker, _) = worker(&system);
    worker.stop();
    worker.wait().await;
    let letters = system.dead_letters();
    for target in 0..DEAD_LETTER_TARGETS + 3 {
        letters.push(letter(&format!("t{target:05}"), DropReason::UnknownName));
    }
    letters.push(letter("t00007", DropReason::BadPayload));
    letters.push(letter("another", DropReason::BadPayload));
    let _ = letters.take();
    let counts = letters.counts();
    let total = DEAD_LETTER_TARGETS as u64 + 5;
    assert_eq!(counts.total(), total);
    assert_eq!(counts.by_target.len(), DEAD_LETTER_TARGETS);
    let first = &counts.by_target[0];
    assert_eq!((first.target.as_str(), first.total), ("t00007", 2));
    assert_eq!(
        first.by_reason,
        BTreeMap::from([(DropReason::UnknownName, 1), (DropReason::BadPayload, 1)])
    );
    assert_eq!(
        counts.elsewhere,
        BTreeMap::from([(DropReason::UnknownName, 3), (DropReason::BadPayload, 1)])
    );
    // The same as the counters say, which count what has no letter as well.
    for (reason, count) in counts.by_reason {
        assert_eq!(system.counters().drops(reason), count, "{reason:?}");
    }
}

#[test]
fn g27_subscriptions_end_with_the_system() {
    let mut simulation = callboard::Simulation::new(1);
    let system = simulation.system().clone();
    let options = SubscriberOptions::default();
    let mut dead = system.dead_letters().subscribe("dead.>", options).unwrap();
    simulation.block_on({
        let system = system.clone();
        async move {
            system.dead_letters().push(letter("a", DropReason::Stopped));
            system.shutdown().await;
        }
    });
    assert_eq!(drain(&mut dead).len(), 1);
    assert_eq!(dead.next().now_or_never(), Some(None));
    let mut late = system.dead_letters().subscribe("dead.>", options).unwrap();
    assert_eq!(late.next().now_or_never(), Some(None));
    // Letters are still counted, and none is kept.
    system.dead_letters().push(letter("b", DropReason::Stopped));
    assert_eq!(system.dead_letters().len(), 0);
    assert_eq!(system.dead_letters().counts().total(), 2);
}

/// A waker that buries a letter itself: nobody may hold a lock while it runs.
struct Bury(System);

impl std::task::Wake for Bury {
    fn wake(self: std::sync::Arc<Self>) {
        self.0
            .dead_letters()
            .push(letter("waker", DropReason::Stopped));
    }
}

#[test]
fn g28_who_is_woken_may_bury_a_letter() {
    let simulation = callboard::Simulation::new(1);
    let system = simulation.system().clone();
    let options = SubscriberOptions::default();
    let mut dead = system.dead_letters().subscribe("dead.>", options).unwrap();
    let waker = std::sync::Arc::new(Bury(system.clone())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(dead.poll_next_unpin(&mut cx).is_pending());
    system
        .dead_letters()
        .push(letter("first", DropReason::Stopped));
    assert_eq!(drain(&mut dead).len(), 2);
}

proptest! {
    /// G27 and G28 against a model: a subscriber gets the number of each letter that its pattern matches
    /// once, as a notice or inside a gap, in order; and the counts are those of all letters.
    #[test]
    fn g28_notices_and_gaps_cover_every_matching_letter(
        capacity in 1..4_usize,
        steps in proptest::collection::vec(0..5_usize, 0..80),
    ) {
        let simulation = callboard::Simulation::new(1);
        let letters = simulation.system().dead_letters();
        let options = SubscriberOptions { capacity, policy: SlowSubscriber::DropOldest };
        let mut dead = letters.subscribe("dead.expired.>", options).unwrap();
        // The numbers of the letters that match, oldest first.
        let mut owed = std::collections::VecDeque::new();
        let (mut number, mut expired) = (0_u64, 0_u64);
        let take = |owed: &mut std::collections::VecDeque<u64>, event: &Event| {
            let (from, to) = event.range();
            assert_eq!(owed.front(), Some(&from));
            while owed.front().is_some_and(|next| *next <= to) {
                owed.pop_front();
            }
        };
        for step in steps {
            match step {
                0 | 1 => {
                    number += 1;
                    expired += 1;
                    owed.push_back(number);
                    letters.push(letter("a", DropReason::Expired));
                }
                2 => {
                    number += 1;
                    letters.push(letter("a", DropReason::Stopped));
                }
                _ => {
                    if let Some(event) = dead.next().now_or_never().flatten() {
                        take(&mut owed, &event);
                    }
                }
            }
        }
        for event in drain(&mut dead) {
            take(&mut owed, &event);
        }
        prop_assert!(owed.is_empty(), "never told of {owed:?}");
        let counts = letters.counts();
        prop_assert_eq!(counts.total(), number);
        let counted = counts.by_reason.get(&DropReason::Expired).copied();
        prop_assert_eq!(counted.unwrap_or(0), expired);
    }
}

/// A message that holds a reference to its own receiver.
#[derive(Message)]
#[allow(dead_code)] // it is held, no more
struct Ring(ActorRef<Player>, Arc<()>);

impl Handler<Ring> for Player {
    async fn handle(&mut self, _: Ring, _: &mut Context<Self>) {}
}

#[callboard::test(both)]
async fn g03_the_end_of_the_system_lets_go_of_the_messages_and_keeps_the_counts(system: System) {
    let held = Arc::new(());
    let (player, _) = player(&system, "player");
    let (hold, began, _gate) = Hold::new();
    player.tell(hold).await.unwrap();
    began.await.unwrap();
    player
        .tell(Ring(player.clone(), Arc::clone(&held)))
        .await
        .unwrap();
    player.kill();
    player.wait().await;
    assert_eq!(system.dead_letters().len(), 1);
    assert_eq!(Arc::strong_count(&held), 2);
    system.shutdown().await;
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(system.dead_letters().counts().total(), 1);
}
