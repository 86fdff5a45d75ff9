//! Topics that peers have made and removed.

use std::time::Duration;

use callboard::queue::QueueConfig;
use callboard::topic::{PublishError, Topic, TopicError, TopicOptions};
use callboard::{FailureKind, Message, System, Verdict};
use callboard_remote::{
    AdminError, CreatableTopics, Details, ExposedKind, Node, PlaceKind, RemoteEvent, Verbs,
};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::actors::{NewerViewed, Viewed};
use crate::admin::{Everything, everything, until};
use crate::queues::Job;
use crate::rights::Way;

#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "test.parcel")]
struct Parcel(u64);

/// A node with one of each that makes topics of views.
fn maker(system: &System, creatable: CreatableTopics) -> Node {
    let Everything { node, .. } = everything(system);
    node.creatable_topics::<Viewed>(creatable);
    node.rights().grant("cert:ops", Verbs::ALL, ">").unwrap();
    node
}

fn why(error: PublishError<Viewed>) -> FailureKind {
    match error.error {
        TopicError::Failed(failure) => failure.kind(),
        other => panic!("{other}"),
    }
}

#[callboard::test(both)]
async fn g35_a_topic_made_from_elsewhere_serves_whom_the_rules_let(system: System) {
    let node = maker(&system, CreatableTopics::new());
    let rules = node.rights();
    rules
        .grant("cert:desk", Verbs::PUBLISH, "made.news")
        .unwrap();
    rules
        .grant("cert:hall", Verbs::SUBSCRIBE, "made.news")
        .unwrap();
    let ops = Way::tls(&node, "ops").connected().await;
    let desk = Way::tls(&node, "desk").connected().await;
    let hall = Way::tls(&node, "hall").connected().await;
    let admin = ops.admin();
    let options = TopicOptions::new()
        .history(5)
        .history_age(Duration::from_secs(60))
        .retained(7)
        .durables(3);
    let create = async || admin.create_topic::<Viewed>("made.news", &options).await;
    assert_eq!(create().await, Ok(true));
    assert_eq!(create().await, Ok(false), "it is what was wanted");

    // All of it arrived, and the program has it too.
    let topic: Topic<Viewed> = node.exposed_topic("made.news").unwrap();
    assert_eq!(topic.options(), options);
    assert!(node.exposed_topic::<Parcel>("made.news").is_none());
    assert!(node.exposed_topic::<Viewed>("made").is_none());
    let listed = admin.list("made.>").await.unwrap().entries;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(
        (listed[0].kind, listed[0].made_by.as_deref()),
        (ExposedKind::Topic, Some("cert:ops"))
    );
    let details = admin.inspect("made.news").await.unwrap();
    assert!(matches!(&details[..], [Details::Topic(_)]), "{details:?}");

    // Each may what a rule says, and no more.
    let mut seen = hall.subscribe::<Viewed>("made.news", ">").unwrap();
    seen.ready().await.unwrap();
    let published = desk.publisher::<Viewed>("made.news").unwrap();
    published.publish("lesson.one", Viewed(1)).await.unwrap();
    topic.publish("lesson.two", Viewed(2)).await.unwrap();
    for (number, of) in [(1, "lesson.one"), (2, "lesson.two")] {
        let Some(RemoteEvent::Message { subject, value, .. }) = seen.next().await else {
            panic!("no message {number}");
        };
        assert_eq!((&*subject, value), (of, Viewed(number)));
    }
    let denied = hall.publisher::<Viewed>("made.news").unwrap();
    let denied = denied.publish("x", Viewed(3)).await.unwrap_err();
    assert_eq!(why(denied), FailureKind::NotAuthorised);
    let mut denied = desk.subscribe::<Viewed>("made.news", ">").unwrap();
    assert!(denied.ready().await.is_err());
    assert!(matches!(
        denied.next().await,
        Some(RemoteEvent::Failed(failure)) if failure.kind() == FailureKind::NotAuthorised
    ));

    // It outlives who had it made.
    ops.close();
    let admin = Way::tls(&node, "ops").connected().await.admin();
    let error = admin.remove("made.news").if_unused().await.unwrap_err();
    assert!(matches!(error, AdminError::InUse { .. }), "{error}");
    admin.remove("made.news").await.unwrap();
    topic.wait().await;
    assert!(seen.next().await.is_none(), "it ended");
    assert!(node.exposed_topic::<Viewed>("made.news").is_none());
    let ended = published.publish("x", Viewed(4)).await.unwrap_err();
    assert_eq!(why(ended), FailureKind::UnknownName);
    assert_eq!(
        admin.create_topic::<Viewed>("made.news", &options).await,
        Ok(true),
        "its name is free"
    );
}

#[callboard::test(both)]
async fn g35_a_topic_that_may_not_be_made_says_why(system: System) {
    let most = CreatableTopics::new().history(9).retained(8).durables(7);
    let node = maker(&system, most);
    let admin = Way::tls(&node, "ops").connected().await.admin();
    let fitting = TopicOptions::new().history(9).retained(8).durables(7);
    for (wrong, options, text) in [
        ("history", fitting.history(10), "10, and may be 0 to 9"),
        ("retained", fitting.retained(9), "9, and may be 0 to 8"),
        ("durables", fitting.durables(8), "8, and may be 0 to 7"),
        ("history_age", fitting.history_age(Duration::MAX), ""),
    ] {
        let error = admin.create_topic::<Viewed>("made", &options).await;
        let error = error.unwrap_err();
        let AdminError::OutOfRange { setting, .. } = &error else {
            panic!("{wrong}: {error}");
        };
        assert_eq!(setting, wrong);
        assert_eq!(error.verdict(), Verdict::NotExecuted);
        assert!(error.to_string().contains(text), "{error}");
    }
    // Of other messages it makes none.
    let error = admin.create_topic::<Parcel>("made", &fitting).await;
    let text = "made: topics of test.parcel v1 aren't made there";
    assert_eq!(error.unwrap_err().to_string(), text);
    let error = admin.create_topic::<NewerViewed>("made", &fitting).await;
    let text = "made: topics of test.viewed v2 aren't made there (in version 1)";
    assert_eq!(error.unwrap_err().to_string(), text);
    let error = admin
        .create_topic::<Viewed>("callboard.made", &fitting)
        .await;
    assert_eq!(error, Err(AdminError::BadName("callboard.made".into())));

    // What is there already stays as it is.
    let quiet: Topic<Viewed> = Topic::start(&system, "quiet");
    node.expose_topic("quiet", &quiet).unwrap();
    for name in ["jobs.mail", "ledger", "tester", "quiet"] {
        let error = admin.create_topic::<Viewed>(name, &fitting).await;
        assert_eq!(error, Err(AdminError::Taken(name.into())));
    }
    let news: Topic<Parcel> = Topic::start(&system, "news");
    node.expose_topic("news", &news).unwrap();
    node.expose_publishing("news", &news).unwrap();
    let error = admin.create_topic::<Viewed>("news", &fitting).await;
    assert!(matches!(error, Err(AdminError::OtherItems { .. })));
    let error = admin.create_topic::<Viewed>("views", &fitting).await;
    let Err(AdminError::Differs { differences, .. }) = error else {
        panic!("{error:?}");
    };
    let settings: Vec<_> = differences.iter().map(|one| one.setting).collect();
    assert_eq!(settings, ["history", "retained", "durables"]);
    // The program's own is fine too, if it is what is wanted.
    let same: Topic<Viewed> = Topic::start_with(&system, "same", fitting);
    node.expose_topic("same", &same).unwrap();
    node.expose_publishing("same", &same).unwrap();
    let there = admin.create_topic::<Viewed>("same", &fitting).await;
    assert_eq!(there, Ok(false));

    // Nobody without the right hears anything of it.
    let guest = Way::tls(&node, "guest").connected().await.admin();
    for name in ["made", "views"] {
        let error = guest.create_topic::<Viewed>(name, &fitting).await;
        let Err(AdminError::Failed(failure)) = error else {
            panic!("{error:?}");
        };
        assert_eq!(failure.kind(), FailureKind::NotAuthorised);
    }
    let about = admin.node().await.unwrap();
    assert_eq!((about.made_topics, about.made_queues), (0, 0));
    assert_eq!(admin.list(">").await.unwrap().entries.len(), 7);
}

#[callboard::test(both)]
async fn g03_topics_that_a_principal_had_made_are_counted_until_they_are_gone(system: System) {
    let node = maker(&system, CreatableTopics::new().topics(3));
    for who in ["cert:a", "cert:b"] {
        node.rights().grant(who, Verbs::ADMIN, ">").unwrap();
    }
    let mut limits = node.places().limits();
    limits.topics = 2;
    node.places().set_limits(limits);
    let create = async |who: &str, name: &str| {
        let admin = Way::tls(&node, who).connected().await.admin();
        let options = TopicOptions::default();
        admin.create_topic::<Viewed>(name, &options).await
    };
    assert_eq!(create("a", "one").await, Ok(true));
    assert_eq!(create("a", "two").await, Ok(true));
    let error = create("a", "three").await.unwrap_err();
    assert_eq!(error.to_string(), "three: there are 2 topics already");
    assert_eq!(node.places().refused(), [(PlaceKind::Topic, 1)]);
    assert_eq!(create("a", "two").await, Ok(false), "takes no place");
    assert_eq!(create("b", "three").await, Ok(true));
    let error = create("b", "four").await.unwrap_err();
    assert_eq!(error.to_string(), "four: there are 3 topics already");
    // Queues have places of their own.
    let admin = Way::tls(&node, "a").connected().await.admin();
    let config = QueueConfig::default();
    let queue = admin.create_queue::<Job>("jobs.new", &config).await;
    assert_eq!(queue, Ok(true));
    let about = admin.node().await.unwrap();
    assert_eq!((about.made_topics, about.made_queues), (3, 1));
    // It is free at once, whoever removes it.
    admin.remove("three").await.unwrap();
    assert_eq!(create("b", "four").await, Ok(true));
    // The program ends one: its name is free again, and its place.
    let topic: Topic<Viewed> = node.exposed_topic("one").unwrap();
    topic.stop();
    let gone = async || admin.inspect("one").await.is_err();
    until(&system, gone).await;
    assert_eq!(create("a", "five").await, Ok(true));
}
