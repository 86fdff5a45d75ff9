//! G29 over the end of the process: a topic that is stored in a journal, which may crash.

use std::time::Duration;

use callboard::journal::JournalErrorKind;
use callboard::topic::{Origin, Replay, Topic, TopicError, TopicEvent, TopicOptions};
use callboard::{Message, RequestKey, System, Verdict};
use futures::{FutureExt, StreamExt};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::common::{drain, ranges, roomy};
use super::disk::Disk;

#[derive(Message, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[message(name = "lesson.viewed", version = 2)]
struct Viewed(u64);

#[derive(Message, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[message(name = "lesson.viewed", version = 3)]
struct ViewedLater(u64);

#[derive(Message, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[message(name = "lesson.bought", version = 2)]
struct Bought(u64);

fn kept() -> TopicOptions {
    TopicOptions::new().history(100)
}

async fn open(system: &System, disk: &Disk) -> Topic<Viewed> {
    Topic::open(system, "views", kept(), disk).await.unwrap()
}

/// Ends a topic as the end of its process does.
async fn close<T: Send + Sync + 'static>(topic: Topic<T>) {
    topic.stop();
    topic.wait().await;
}

fn numbers(events: Vec<TopicEvent<Viewed>>) -> Vec<u64> {
    super::common::values(events)
        .into_iter()
        .map(|viewed| viewed.0)
        .collect()
}

#[callboard::test(both)]
async fn g29_history_retained_values_and_positions_outlive_the_process(system: System) {
    let disk = Disk::new(&system);
    let topic = open(&system, &disk).await;
    let mut durable = topic.subscribe("a.*", roomy()).durable("d").await.unwrap();
    let key = RequestKey::new();
    for n in 1..=5 {
        let publish = topic.publish("a.b", Viewed(n)).key(key);
        let publish = if n == 2 { publish.retain() } else { publish };
        let published = publish.await.unwrap();
        assert_eq!((published.sequence, published.matched), (n, 1));
    }
    assert_eq!(drain(&mut durable).len(), 5);
    durable.acknowledge_to(3).unwrap();
    disk.written().await;
    drop(durable);
    close(topic).await;
    let topic = open(&system, &disk).await;
    let state = topic.state();
    assert_eq!((state.published, state.kept), (5, 5));
    assert_eq!(
        (state.retained, state.durables, state.unreadable),
        (1, 1, 0)
    );
    let mut all = topic
        .subscribe(">", roomy())
        .from(Replay::All)
        .await
        .unwrap();
    assert_eq!(numbers(drain(&mut all)), [1, 2, 3, 4, 5]);
    let mut durable = topic.subscribe("a.*", roomy()).durable("d").await.unwrap();
    assert_eq!(numbers(drain(&mut durable)), [4, 5]);
    let mut late = topic.subscribe(">", roomy()).with_retained().await.unwrap();
    let message = late.next().await.unwrap().message().unwrap();
    assert_eq!((message.0, message.origin()), (2, Origin::Retained));
    assert_eq!(message.key(), Some(key));
    assert!(message.published_at().is_some());
    assert_eq!(topic.publish("a.b", Viewed(6)).await.unwrap().sequence, 6);
    for subscription in [&mut all, &mut durable, &mut late] {
        assert_eq!(numbers(drain(subscription)), [6]);
    }
}

#[callboard::test(both)]
async fn g29_nobody_sees_a_message_before_it_is_synced(system: System) {
    let disk = Disk::new(&system);
    let topic = open(&system, &disk).await;
    let mut all = topic.subscribe(">", roomy()).await.unwrap();
    disk.hold(true);
    let mut first = topic.publish("a", Viewed(1)).into_future();
    let mut second = topic.publish("a", Viewed(2)).into_future();
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    assert_eq!(topic.try_publish("a", Viewed(3)).unwrap(), None);
    assert!(all.next().now_or_never().is_none());
    assert_eq!(topic.state().published, 0);
    // Dropped, it is still on its way.
    drop(first);
    disk.hold(false);
    assert_eq!(second.await.unwrap().sequence, 2);
    assert_eq!(all.next().await.unwrap().range(), (1, 1));
    assert_eq!(all.next().await.unwrap().range(), (2, 2));
    assert_eq!(all.next().await.unwrap().range(), (3, 3));
}

#[callboard::test(both)]
async fn g29_many_publishers_share_a_sync(system: System) {
    let disk = Disk::new(&system);
    let topic = open(&system, &disk).await;
    let before = disk.syncs();
    disk.hold(true);
    let all = (1..=50).map(|n| topic.publish("a", Viewed(n)).into_future());
    let mut all: Vec<_> = all.collect();
    all.iter_mut()
        .for_each(|one| assert!(one.now_or_never().is_none()));
    disk.hold(false);
    for (n, published) in (1..).zip(futures::future::join_all(all).await) {
        assert_eq!(published.unwrap().sequence, n);
    }
    assert!(disk.syncs() - before < 5, "{}", disk.syncs());
}

#[callboard::test(both)]
async fn g03_a_full_journal_holds_publishers_back(system: System) {
    let disk = Disk::new(&system);
    let topic = open(&system, &disk).await;
    disk.hold(true);
    disk.room(2);
    let mut publishing: Vec<_> = (1..=4)
        .map(|n| topic.publish("a", Viewed(n)).into_future())
        .collect();
    publishing
        .iter_mut()
        .for_each(|one| assert!(one.now_or_never().is_none()));
    let error = topic.try_publish("a", Viewed(9)).unwrap_err();
    assert_eq!(error.value, Some(Viewed(9)));
    assert!(
        matches!(&error.error, TopicError::Journal(why) if why.kind() == JournalErrorKind::Busy)
    );
    let late = topic
        .publish("a", Viewed(9))
        .deadline(Duration::from_millis(5))
        .await;
    let late = late.unwrap_err();
    assert_eq!(
        (late.verdict(), late.value),
        (Verdict::NotExecuted, Some(Viewed(9)))
    );
    disk.hold(false);
    let all = futures::future::join_all(publishing).await;
    let mut numbers: Vec<_> = all.into_iter().map(|one| one.unwrap().sequence).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[callboard::test(both)]
async fn g29_a_failed_journal_leaves_publishers_in_doubt_and_refuses_more(system: System) {
    let disk = Disk::new(&system);
    let topic = open(&system, &disk).await;
    let mut all = topic.subscribe(">", roomy()).await.unwrap();
    let durable = topic.subscribe(">", roomy()).durable("d").await.unwrap();
    topic.publish("a", Viewed(1)).await.unwrap();
    disk.hold(true);
    let mut second = topic.publish("a", Viewed(2)).into_future();
    assert!((&mut second).now_or_never().is_none());
    disk.fail();
    let error = second.await.unwrap_err();
    assert_eq!(
        (error.verdict(), error.value),
        (Verdict::MaybeExecuted, None)
    );
    let error = topic.publish("a", Viewed(3)).await.unwrap_err();
    assert_eq!(
        (error.verdict(), error.value),
        (Verdict::NotExecuted, Some(Viewed(3)))
    );
    assert!(
        error.error.to_string().contains("broken"),
        "{}",
        error.error
    );
    assert_eq!(ranges(&drain(&mut all)), [(1, 1)]);
    durable.acknowledge_to(1).unwrap_err();
    assert_eq!(topic.subscriptions()[1].acknowledged, Some(0));
}

#[callboard::test(both)]
async fn g29_a_topic_that_ends_leaves_publishers_in_doubt(system: System) {
    let disk = Disk::new(&system);
    let topic = open(&system, &disk).await;
    disk.hold(true);
    let mut first = topic.publish("a", Viewed(1)).into_future();
    assert!((&mut first).now_or_never().is_none());
    topic.stop();
    assert_eq!(first.await.unwrap_err().verdict(), Verdict::MaybeExecuted);
    assert!(topic.publish("a", Viewed(2)).await.is_err());
}

#[callboard::test(both)]
async fn g37_what_is_stored_in_another_version_is_a_gap_and_of_another_type_refused(
    system: System,
) {
    let disk = Disk::new(&system);
    let topic = open(&system, &disk).await;
    for n in 1..=3 {
        topic.publish("a", Viewed(n)).retain().await.unwrap();
    }
    close(topic).await;
    let error = Topic::<Bought>::open(&system, "views", kept(), &disk)
        .await
        .unwrap_err();
    assert!(matches!(error, TopicError::WrongType { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("`lesson.viewed`, not `lesson.bought`"),
        "{error}"
    );
    let later = Topic::<ViewedLater>::open(&system, "views", kept(), &disk)
        .await
        .unwrap();
    assert_eq!((later.state().published, later.state().unreadable), (3, 3));
    assert_eq!(
        later.publish("a", ViewedLater(4)).await.unwrap().sequence,
        4
    );
    let from = later.subscribe("a", roomy()).from(Replay::Sequence(1));
    assert_eq!(ranges(&drain(&mut from.await.unwrap())), [(1, 3), (4, 4)]);
}

#[callboard::test(both)]
async fn g29_a_damaged_message_is_counted_and_a_gap(system: System) {
    let disk = Disk::new(&system);
    let topic = open(&system, &disk).await;
    for n in 1..=5 {
        topic.publish("a", Viewed(n)).await.unwrap();
    }
    close(topic).await;
    disk.damage(3);
    let topic = open(&system, &disk).await;
    assert_eq!(topic.state().unreadable, 1);
    let all = topic.subscribe("a", roomy()).from(Replay::All);
    let events = drain(&mut all.await.unwrap());
    assert_eq!(ranges(&events), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
    assert!(matches!(events[2], TopicEvent::Gap { missed: None, .. }));
}

#[callboard::test(both)]
async fn g03_what_falls_out_of_the_history_leaves_the_journal(system: System) {
    let disk = Disk::new(&system);
    let few = TopicOptions::new().history(3).retained(2);
    let topic = Topic::open(&system, "views", few, &disk).await.unwrap();
    for n in 1..=20 {
        let subject = if n % 2 == 0 { "even" } else { "odd" };
        topic.publish(subject, Viewed(n)).retain().await.unwrap();
    }
    topic.forget_retained("odd").unwrap();
    let durable = topic.subscribe("a", roomy()).durable("d").await.unwrap();
    drop(durable);
    assert_eq!(topic.forget_durable("d"), Ok(true));
    // Three of the history, one that is too much until the next is published, and the retained value.
    assert!(
        disk.records("views") <= 3 + 1 + 2,
        "{}",
        disk.records("views")
    );
    close(topic).await;
    let topic = Topic::<Viewed>::open(&system, "views", few, &disk)
        .await
        .unwrap();
    let state = topic.state();
    assert_eq!((state.published, state.kept, state.retained), (20, 3, 1));
    assert_eq!((state.history, state.durables), (Some((18, 20)), 0));
    let retained = topic.subscribe(">", roomy()).with_retained().await.unwrap();
    assert_eq!(numbers(drain(&mut { retained })), [20]);
}

#[callboard::test(both)]
async fn g03_retained_values_on_their_way_count_against_the_bound(system: System) {
    let disk = Disk::new(&system);
    let few = TopicOptions::new().retained(2);
    let topic = Topic::open(&system, "views", few, &disk).await.unwrap();
    topic.publish("a", Viewed(1)).retain().await.unwrap();
    disk.hold(true);
    let mut begun = Vec::new();
    for subject in ["a", "b", "b"] {
        let mut publishing = topic.publish(subject, Viewed(2)).retain().into_future();
        assert!((&mut publishing).now_or_never().is_none());
        begun.push(publishing);
    }
    let error = topic.publish("c", Viewed(3)).retain().await.unwrap_err();
    assert!(matches!(error.error, TopicError::RetainedFull { .. }));
    disk.hold(false);
    for published in futures::future::join_all(begun).await {
        published.unwrap();
    }
    assert_eq!(topic.state().retained, 2);
    // Without a history nothing else is kept: the last message, for its number, and what it replaced.
    for n in 5..=20 {
        topic.publish("b", Viewed(n)).retain().await.unwrap();
    }
    assert!(disk.records("views") <= 2 + 2, "{}", disk.records("views"));
    close(topic).await;
    let topic = Topic::<Viewed>::open(&system, "views", few, &disk)
        .await
        .unwrap();
    assert_eq!((topic.state().published, topic.state().retained), (20, 2));
}

#[callboard::test(simulated)]
async fn g29_no_number_is_given_twice_though_the_history_is_empty(system: System) {
    let disk = Disk::new(&system);
    let minute = Duration::from_secs(60);
    let short = kept().history_age(minute);
    let topic = Topic::open(&system, "views", short, &disk).await.unwrap();
    for n in 1..=3 {
        topic.publish("a", Viewed(n)).await.unwrap();
    }
    for round in 0..3 {
        system.clock().sleep(2 * minute).await;
        assert_eq!(
            topic
                .subscribe(">", roomy())
                .from(Replay::All)
                .await
                .unwrap()
                .since(),
            3
        );
        assert_eq!(topic.state().kept, 0, "round {round}");
    }
    close(topic).await;
    let topic = Topic::<Viewed>::open(&system, "views", short, &disk)
        .await
        .unwrap();
    assert_eq!(topic.state().kept, 0);
    assert_eq!(topic.publish("a", Viewed(4)).await.unwrap().sequence, 4);
}

/// One step of the life of a topic that is stored.
#[derive(Debug, Clone)]
enum Step {
    Publish(bool),
    /// Publishes without waiting for the answer.
    Begin,
    Read(u8),
    Acknowledge,
    Leave,
    /// The process dies: what was not written is lost, or, with power, what was not synced.
    Crash {
        power: bool,
        keep: prop::sample::Index,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Publish),
        2 => Just(Step::Begin),
        3 => (1..5_u8).prop_map(Step::Read),
        2 => Just(Step::Acknowledge),
        1 => Just(Step::Leave),
        2 => (any::<bool>(), any::<prop::sample::Index>())
            .prop_map(|(power, keep)| Step::Crash { power, keep }),
    ]
}

/// Over crashes: what was answered is there, each number has one value for ever, and a durable subscription gets
/// what it did not acknowledge, without a hole, as far as the history has it.
async fn live(system: System, steps: Vec<Step>) {
    let disk = Disk::new(&system);
    let mut topic = open(&system, &disk).await;
    let mut durable = None;
    // What was answered by number, what the subscriber acknowledged, and what it got of each number ever.
    let (mut answered, mut acked, mut next) = (Vec::<u64>::new(), 0, 1);
    let mut seen = std::collections::BTreeMap::new();
    let (mut value, mut retained) = (0, None);
    for step in steps {
        if durable.is_none() {
            let made = topic.subscribe("a", roomy()).durable("d");
            let made = made.from(Replay::Sequence(1)).await.unwrap();
            let at = topic.subscriptions()[0].acknowledged.unwrap();
            assert!(at <= acked, "it never skips what was not acknowledged");
            // A position that was not written is an older one: at-least-once.
            acked = at;
            next = at + 1;
            durable = Some(made);
        }
        match step {
            Step::Publish(retain) => {
                value += 1;
                let publish = topic.publish("a", Viewed(value));
                let publish = if retain { publish.retain() } else { publish };
                let published = publish.await.unwrap();
                if retain {
                    retained = Some(value);
                }
                // What was only begun may have taken numbers in between.
                answered.resize(usize::try_from(published.sequence).unwrap() - 1, 0);
                answered.push(value);
            }
            Step::Begin => {
                value += 1;
                topic.try_publish("a", Viewed(value)).unwrap();
            }
            Step::Read(count) => {
                for _ in 0..count {
                    let Some(durable) = &mut durable else { break };
                    let Some(Some(event)) = durable.next().now_or_never() else {
                        break;
                    };
                    let message = event.message().expect("no gap is due");
                    assert_eq!(message.sequence(), next, "without a hole");
                    let first = *seen.entry(next).or_insert(message.0);
                    assert_eq!(first, message.0, "a number has one value");
                    next += 1;
                }
            }
            Step::Acknowledge => {
                if let Some(durable) = &durable {
                    durable.acknowledge_to(next - 1).unwrap();
                    acked = acked.max(next - 1);
                }
            }
            Step::Leave => durable = None,
            Step::Crash { power, keep } => {
                durable = None;
                disk.crash(power, |unsure| keep.index(unsure + 1));
                close(topic).await;
                topic = open(&system, &disk).await;
                let state = topic.state();
                assert!(state.published >= answered.len() as u64);
                assert_eq!(state.unreadable, 0);
                let all = topic.subscribe("a", roomy()).from(Replay::Sequence(1));
                let all = numbers(drain(&mut all.await.unwrap()));
                for (sequence, value) in answered.iter().enumerate() {
                    assert!(*value == 0 || all[sequence] == *value, "answered, and lost");
                }
                let last = topic.subscribe("a", roomy()).with_retained().await.unwrap();
                let last = numbers(drain(&mut { last }));
                assert_eq!(last, Vec::from_iter(retained));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn g29_what_was_answered_survives_crashes(
        steps in proptest::collection::vec(step(), 1..60),
        seed in any::<u64>(),
    ) {
        let mut simulation = callboard::Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(live(system, steps));
    }
}
