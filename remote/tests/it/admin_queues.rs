//! Queues that peers have made and removed.

use std::future::IntoFuture;
use std::time::Duration;

use callboard::queue::{Queue, QueueConfig, QueueKind, SettleError};
use callboard::{FailureKind, Message, RequestKey, System, Verdict};
use callboard_remote::{AdminError, Creatable, Node, PlaceKind, Verbs};
use futures::future::join_all;
use serde::{Deserialize, Serialize};

use crate::admin::{Everything, everything, until};
use crate::queues::Job;
use crate::rights::Way;

#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "test.job", version = 2)]
struct NewerJob(u64);

#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "test.parcel")]
struct Parcel(u64);

fn config(change: impl FnOnce(&mut QueueConfig)) -> QueueConfig {
    let mut config = QueueConfig::default();
    change(&mut config);
    config
}

fn open(node: &Node) {
    node.rights().grant("*", Verbs::ALL, ">").unwrap();
}

/// Venice keeps the first settings in silence.
#[callboard::test(both)]
async fn a_queue_made_again_with_other_settings_shows_the_differences(system: System) {
    let Everything { node, .. } = everything(&system);
    open(&node);
    node.creatable::<Parcel>(Creatable::new());
    let admin = Way::tls(&node, "ops").connected().await.admin();
    let wanted = config(|config| {
        (config.capacity, config.priorities) = (9, 3);
        config.kind = QueueKind::Circular;
        config.time_to_live = Some(Duration::from_secs(60));
        config.delivery_limit = None;
        (config.single_active, config.reordering) = (true, true);
    });
    let created = admin.create_queue::<Job>("made", &wanted).await;
    assert_eq!(created, Ok(true));
    // All of it arrived.
    let queue: Queue<Job> = system.queues().get("made").unwrap().unwrap();
    let mut is = wanted.clone();
    is.max_in_flight = 9;
    assert_eq!(queue.config(), Some(is.clone()));
    let shown = admin.inspect_queue("made").await.unwrap();
    assert_eq!(
        (shown.config, shown.made_by.as_deref()),
        (Some(is), Some("cert:ops"))
    );

    let other = config(|config| {
        (config.capacity, config.priorities) = (10, 3);
        config.kind = QueueKind::Circular;
        config.delivery_limit = Some(4);
        (config.single_active, config.reordering) = (true, true);
        config.time_to_live = Some(Duration::from_secs(60));
        config.max_in_flight = 9;
    });
    let error = admin.create_queue::<Job>("made", &other).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "made is there with other settings: capacity is 9, wanted 10; \
         delivery_limit is None, wanted Some(4)"
    );
    let error = admin.create_queue::<Parcel>("made", &wanted).await;
    let text = "made is there for test.job v1, not test.parcel v1";
    assert_eq!(error.unwrap_err().to_string(), text);
    // The program's own, that is exposed, is there too.
    let jobs = config(|config| config.capacity = 50);
    let there = admin.create_queue::<Job>("jobs.mail", &jobs).await;
    assert_eq!(there, Ok(false));
    assert_eq!(admin.node().await.unwrap().made_queues, 1);
}

#[callboard::test(both)]
async fn g35_a_wish_never_exposes_what_the_program_has_for_itself(system: System) {
    let Everything { node, jobs, .. } = everything(&system);
    open(&node);
    let peer = Way::tls(&node, "ops").connected().await;
    let admin = peer.admin();
    // By its own name that queue isn't exposed.
    jobs.offer(Job(1)).await.unwrap();
    let same = config(|config| config.capacity = 50);
    for name in ["jobs", "ledger", "tester"] {
        let error = admin.create_queue::<Job>(name, &same).await.unwrap_err();
        assert_eq!(error, AdminError::Taken(name.to_owned()));
    }
    assert!(peer.queue::<Job>("jobs").await.is_err());
    let other: Queue<u64> = system.queue("numbers").open().unwrap();
    let error = admin.create_queue::<Job>("numbers", &same).await;
    assert_eq!(error, Err(AdminError::Taken("numbers".into())));
    let error = admin.create_queue::<Job>("callboard.mine", &same).await;
    assert_eq!(error, Err(AdminError::BadName("callboard.mine".into())));
    other.offer(1).await.unwrap();
    assert_eq!(jobs.poll().await.unwrap(), Some(Job(1)));
}

#[callboard::test(both)]
async fn g36_settings_out_of_bounds_are_refused_and_not_bent(system: System) {
    let Everything { node, .. } = everything(&system);
    open(&node);
    node.creatable::<Job>(Creatable::new().items(1_000).dead_letters(1_000).keys(500));
    let admin = Way::tls(&node, "ops").connected().await.admin();
    type Change = fn(&mut QueueConfig);
    let absurd: &[(&str, Change)] = &[
        ("capacity", |config| config.capacity = usize::MAX),
        ("capacity", |config| config.capacity = 1_001),
        ("capacity", |config| config.capacity = 0),
        ("dead_capacity", |config| config.dead_capacity = 1_001),
        ("dead_capacity", |config| config.dead_capacity = 0),
        ("key_capacity", |config| config.key_capacity = 501),
        ("max_in_flight", |config| config.max_in_flight = 0),
        ("priorities", |config| config.priorities = 0),
        ("priorities", |config| config.priorities = 33),
        ("lease", |config| config.lease = Duration::ZERO),
        ("lease", |config| config.lease = Duration::MAX),
        ("delivery_limit", |config| config.delivery_limit = Some(0)),
        ("retry_cap", |config| config.retry_cap = Duration::MAX),
        ("retry_first", |config| config.retry_first = Duration::MAX),
        ("key_window", |config| config.key_window = Duration::MAX),
        ("time_to_live", |config| {
            config.time_to_live = Some(Duration::MAX);
        }),
    ];
    let fitting = config(|config| {
        (config.capacity, config.dead_capacity, config.key_capacity) = (1_000, 1_000, 500);
    });
    let refused = async |config: QueueConfig| {
        let made = admin.create_queue::<Job>("made", &config).await;
        made.unwrap_err()
    };
    for (wrong, change) in absurd {
        let mut config = fitting.clone();
        change(&mut config);
        let error = refused(config).await;
        let AdminError::OutOfRange { setting, .. } = &error else {
            panic!("{wrong}: {error}");
        };
        assert_eq!(setting, wrong);
        assert_eq!(error.verdict(), Verdict::NotExecuted);
    }
    let mut large = fitting.clone();
    large.capacity = 1_001;
    assert_eq!(
        refused(large).await.to_string(),
        "made: capacity is 1001, and may be 1 to 1000"
    );
    // What can't be kept isn't kept in half.
    let kept: [(&str, Change); 2] = [
        ("durable", |config| config.durable = true),
        ("compare_keys without durable", |config| {
            config.compare_keys = true;
        }),
    ];
    for (setting, change) in kept {
        let mut config = fitting.clone();
        change(&mut config);
        let error = refused(config).await;
        assert!(error.to_string().ends_with(setting), "{error}");
    }
    // Of other items it makes none.
    let error = admin.create_queue::<Parcel>("made", &fitting).await;
    let text = "made: queues of test.parcel v1 aren't made there";
    assert_eq!(error.unwrap_err().to_string(), text);
    let error = admin.create_queue::<NewerJob>("made", &fitting).await;
    let text = "made: queues of test.job v2 aren't made there (in version 1)";
    assert_eq!(error.unwrap_err().to_string(), text);
    assert_eq!(admin.node().await.unwrap().made_queues, 0);
    assert!(system.queues().get::<Job>("made").unwrap().is_none());
    assert_eq!(admin.create_queue::<Job>("made", &fitting).await, Ok(true));
}

#[callboard::test(both)]
async fn g03_queues_that_a_principal_had_made_are_counted_until_they_are_gone(system: System) {
    let Everything { node, .. } = everything(&system);
    open(&node);
    let mut limits = node.places().limits();
    limits.queues = 2;
    node.places().set_limits(limits);
    node.creatable::<Job>(Creatable::new().queues(3));
    let first = Way::tls(&node, "a").connected().await;
    let config = QueueConfig::default();
    let create = async |who: &str, name: &str| {
        let admin = Way::tls(&node, who).connected().await.admin();
        admin.create_queue::<Job>(name, &config).await
    };
    assert_eq!(create("a", "one").await, Ok(true));
    assert_eq!(create("a", "two").await, Ok(true));
    // Over all its sessions, and also when those are over.
    let error = create("a", "three").await.unwrap_err();
    assert_eq!(error.to_string(), "three: there are 2 queues already");
    // One that is there takes no further place.
    assert_eq!(create("a", "two").await, Ok(false));
    assert_eq!(node.places().refused(), [(PlaceKind::Queue, 1)]);
    assert_eq!(create("b", "three").await, Ok(true));
    // The node's own limit, whoever it is.
    let error = create("b", "four").await.unwrap_err();
    assert_eq!(error.to_string(), "four: there are 3 queues already");
    // It is free at once, whoever removes it.
    let admin = first.admin();
    admin.remove("three").await.unwrap();
    assert_eq!(create("b", "four").await, Ok(true));
    admin.remove("one").await.unwrap();
    assert_eq!(create("a", "five").await, Ok(true));
    // The program ends one: its name is free again, and its place.
    let queue: Queue<Job> = system.queues().get("five").unwrap().unwrap();
    queue.stop();
    queue.wait().await;
    let gone = async || admin.inspect("five").await.is_err();
    until(&system, gone).await;
    assert_eq!(create("a", "six").await, Ok(true));
    assert_eq!(admin.node().await.unwrap().made_queues, 3);
}

#[callboard::test(both)]
async fn g22_a_queue_removed_while_in_use_tells_all_who_use_it(system: System) {
    let Everything { node, .. } = everything(&system);
    open(&node);
    let peer = Way::tls(&node, "ops").connected().await;
    let worker = Way::tls(&node, "worker").connected().await;
    let admin = peer.admin();
    let small = config(|config| config.capacity = 1);
    admin.create_queue::<Job>("made", &small).await.unwrap();
    let far = worker.queue::<Job>("made").await.unwrap();
    far.offer(Job(1)).await.unwrap();
    let held = far.lease().await.unwrap().unwrap();

    let error = admin.remove("made").if_empty().await.unwrap_err();
    assert_eq!(error.to_string(), "made: it holds 1 items");
    let error = admin.remove("made").if_unused().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "made is in use: 1 items in hand, 0 wait for items or room, 1 consumers"
    );
    // One waits for an item, one for room.
    let near: Queue<Job> = system.queues().get("made").unwrap().unwrap();
    let removing = async {
        let all_wait = async || {
            let state = near.state().await.unwrap();
            state.waiting_pollers == 1 && state.waiting_offerers == 1
        };
        until(&system, all_wait).await;
        admin.remove("made").await.unwrap()
    };
    let (polled, offered, removed) = futures::join!(
        far.poll().into_future(),
        far.offer(Job(2)).into_future(),
        removing
    );
    assert_eq!(polled.unwrap_err().kind(), FailureKind::Stopped);
    let error = offered.unwrap_err();
    assert_eq!(
        (error.kind(), error.item),
        (FailureKind::Stopped, Some(Job(2)))
    );
    assert_eq!(removed.items, 1);
    // What it held is where everything goes that nobody takes.
    let letters = system.dead_letters().take();
    assert_eq!(letters.len(), 1);

    // Another of that name doesn't take the old one's acknowledgements.
    admin.create_queue::<Job>("made", &small).await.unwrap();
    far.offer(Job(3)).await.unwrap();
    let anew = far.lease().await.unwrap().unwrap();
    assert_eq!((anew.item().clone(), anew.token()), (Job(3), held.token()));
    let stale = held.ack().await.unwrap_err();
    assert!(matches!(stale, SettleError::Stale { .. }), "{stale}");
    anew.ack().await.unwrap();
}

/// With offers anywhere on their way: those that were stored keep the queue, and those that came too late come back.
#[callboard::test(both)]
async fn g06_an_offer_and_a_removal_if_empty_never_lose_an_item(system: System) {
    let Everything { node, .. } = everything(&system);
    open(&node);
    let peer = Way::tls(&node, "ops").connected().await;
    let other = Way::tls(&node, "other").connected().await;
    let admin = peer.admin();
    for round in 0..12 {
        let name = format!("made{round}");
        let config = QueueConfig::default();
        admin.create_queue::<Job>(&name, &config).await.unwrap();
        let far = other.queue::<Job>(&name).await.unwrap();
        let offers = (0..4).map(|n| {
            let far = far.clone();
            let system = system.clone();
            async move {
                if (n + round) % 3 == 0 {
                    system.clock().sleep(Duration::from_micros(50 * n)).await;
                }
                far.offer(Job(n)).await
            }
        });
        let (offered, removed) = futures::join!(
            join_all(offers),
            admin.remove(&name).if_empty().into_future()
        );
        let stored = offered.iter().filter(|offered| offered.is_ok()).count();
        for late in offered.into_iter().filter_map(Result::err) {
            let too_late = [FailureKind::Stopped, FailureKind::UnknownName];
            assert!(too_late.contains(&late.kind()), "{late}");
            assert!(late.item.is_some());
        }
        match removed {
            Ok(removed) => assert_eq!((removed.items, stored), (0, 0)),
            Err(AdminError::NotEmpty { items, .. }) if items > 0 => {
                assert_eq!(stored, 4);
                let state = far.state().await.unwrap();
                assert_eq!(state.len, 4);
                assert_eq!(admin.remove(&name).await.unwrap().items, 4);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Everybody makes and removes the same few names at once.
#[callboard::test(both)]
async fn g03_however_many_make_and_remove_at_once_the_counts_are_right(system: System) {
    let Everything { node, .. } = everything(&system);
    open(&node);
    let config = QueueConfig::default();
    let peers = join_all(["a", "b", "c"].map(|who| {
        let way = Way::tls(&node, who);
        async move { way.connected().await }
    }));
    let peers = peers.await;
    let works = peers.iter().enumerate().map(|(at, peer)| {
        let (admin, config) = (peer.admin(), &config);
        async move {
            let mut made = 0;
            for step in 0..12 {
                let name = format!("q{}", (step * 7 + at * 5) % 4);
                if (step + at) % 3 == 2 {
                    let removed = admin.remove(&name).await;
                    made -= i64::from(removed.is_ok());
                } else {
                    let created = admin.create_queue::<Job>(&name, config).await;
                    made += i64::from(created.unwrap());
                }
            }
            made
        }
    });
    let made: i64 = join_all(works).await.into_iter().sum();
    let admin = peers[0].admin();
    let listed = admin.list("q0").await.unwrap().entries.len()
        + admin.list("q1").await.unwrap().entries.len()
        + admin.list("q2").await.unwrap().entries.len()
        + admin.list("q3").await.unwrap().entries.len();
    let about = admin.node().await.unwrap();
    assert_eq!((listed as i64, about.made_queues as i64), (made, made));
    let places: usize = about
        .accounts
        .iter()
        .flat_map(|account| &account.taken)
        .filter(|(kind, _)| *kind == PlaceKind::Queue)
        .map(|(_, taken)| taken)
        .sum();
    assert_eq!(places as i64, made);
}

/// The name of a queue that a peer had made is the program's again: what it exposes there stays.
#[callboard::test(both)]
async fn what_the_program_exposes_in_its_place_outlives_a_made_queue(system: System) {
    let Everything { node, jobs, .. } = everything(&system);
    open(&node);
    let peer = Way::tls(&node, "ops").connected().await;
    let admin = peer.admin();
    let config = QueueConfig::default();
    admin.create_queue::<Job>("made", &config).await.unwrap();
    assert!(node.conceal("made"));
    // It is still there, and counts; and nobody gets it by making it again.
    assert_eq!(admin.node().await.unwrap().made_queues, 1);
    let again = admin.create_queue::<Job>("made", &config).await;
    assert_eq!(again, Err(AdminError::Taken("made".into())));
    node.expose_queue("made", &jobs).unwrap();
    assert_eq!(admin.inspect_queue("made").await.unwrap().made_by, None);
    let made: Queue<Job> = system.queues().get("made").unwrap().unwrap();
    made.stop();
    let gone = async || admin.node().await.unwrap().made_queues == 0;
    until(&system, gone).await;
    let far = peer.queue::<Job>("made").await.unwrap();
    far.offer(Job(1)).await.unwrap();
    assert_eq!(jobs.poll().await.unwrap(), Some(Job(1)));
}

/// A key that was used before the queue was made anew means nothing any more.
#[callboard::test(both)]
async fn g26_a_queue_made_anew_begins_with_nothing(system: System) {
    let Everything { node, .. } = everything(&system);
    open(&node);
    let peer = Way::tls(&node, "ops").connected().await;
    let admin = peer.admin();
    let config = QueueConfig::default();
    let key = RequestKey::new();
    for _ in 0..2 {
        admin.create_queue::<Job>("made", &config).await.unwrap();
        let far = peer.queue::<Job>("made").await.unwrap();
        let offered = far.offer(Job(1)).key(key).await.unwrap();
        assert_eq!(offered.sequence(), 1);
        let state = admin.inspect_queue("made").await.unwrap().state;
        assert_eq!((state.offered, state.keys), (1, 1));
        admin.remove("made").await.unwrap();
    }
}
