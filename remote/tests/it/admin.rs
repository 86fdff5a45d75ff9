//! Administration of a node by its peers.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::time::Duration;

use callboard::locks::Mutex;
use callboard::queue::{Queue, QueueConfig};
use callboard::topic::{SubscriberOptions, Topic};
use callboard::{
    Actor, Context, FailureKind, Handler, Message, Recipient, RequestKey, System, Verdict,
};
use callboard_remote::{
    ADMIN_NAME, AdminError, Creatable, Details, ExposedKind, Glance, NameError, Node, Proof, Rules,
    Verb, Verbs,
};
use serde::{Deserialize, Serialize};

use crate::actors::{Add, Hold, Viewed, expose_tester};
use crate::queues::Job;
use crate::rights::Way;
use crate::wires::{Wire, connect};

const MS: Duration = Duration::from_millis(1);

/// Waits until it is so; by looking, because nobody tells.
pub(crate) async fn until(system: &System, mut reached: impl AsyncFnMut() -> bool) {
    while !reached().await {
        system.clock().sleep(MS).await;
    }
}

/// A node with one of each, that can be administered.
pub(crate) struct Everything {
    pub(crate) node: Node,
    pub(crate) jobs: Queue<Job>,
    pub(crate) views: Topic<Viewed>,
    pub(crate) ledger: Mutex,
}

pub(crate) fn everything(system: &System) -> Everything {
    let node = Node::new(system, "depot").unwrap();
    let (_actor, _probe) = expose_tester(&node);
    let jobs: Queue<Job> = system.queue("jobs").capacity(50).open().unwrap();
    node.expose_queue("jobs.mail", &jobs).unwrap();
    let views = Topic::start(system, "views");
    node.expose_topic("views", &views).unwrap();
    node.expose_publishing("views", &views).unwrap();
    let ledger = Mutex::new(system, "ledger");
    node.expose_mutex("ledger", &ledger).unwrap();
    node.creatable::<Job>(Creatable::new());
    node.expose_admin().unwrap();
    Everything {
        node,
        jobs,
        views,
        ledger,
    }
}

pub(crate) fn grant(node: &Node, names: &str) {
    // Whatever a transport proves.
    for who in ["anonymous", "*"] {
        node.rights().grant(who, Verbs::ALL, names).unwrap();
    }
}

fn denied(error: &AdminError, text: &str) {
    let AdminError::Failed(failure) = error else {
        panic!("{error}");
    };
    assert_eq!(failure.kind(), FailureKind::NotAuthorised);
    assert_eq!(failure.detail(), Some(text));
    assert_eq!(error.verdict(), Verdict::NotExecuted);
}

fn kind(error: &AdminError) -> FailureKind {
    match error {
        AdminError::Failed(failure) => failure.kind(),
        other => panic!("{other}"),
    }
}

pub(crate) async fn a_node_elsewhere_is_looked_into_and_administered<W: Wire>(system: System) {
    let Everything {
        node,
        jobs,
        views,
        ledger,
    } = everything(&system);
    grant(&node, ">");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let admin = peer.admin();

    jobs.offer_many([Job(1), Job(2), Job(3)]).await.unwrap();
    let held = jobs.lease().await.unwrap().unwrap();
    jobs.lease()
        .await
        .unwrap()
        .unwrap()
        .bury("no")
        .await
        .unwrap();
    let options = SubscriberOptions::default();
    let _viewer = views.subscribe("lesson.*", options).await.unwrap();
    views.publish("lesson.1", Viewed(1)).await.unwrap();

    let listing = admin.list(">").await.unwrap();
    assert_eq!(listing.next, None);
    let texts: Vec<String> = listing.entries.iter().map(ToString::to_string).collect();
    let all = [
        "queue jobs.mail",
        "mutex ledger",
        "actor tester",
        "topic views",
    ];
    assert_eq!(texts, all);
    let queue = Glance::Queue {
        waiting: 1,
        in_hand: 1,
        dead: 1,
    };
    let topic = Glance::Topic {
        published: 1,
        subscribers: 1,
    };
    let glances: Vec<_> = listing.entries.iter().map(|entry| entry.glance).collect();
    assert_eq!(glances, [Some(queue), None, None, Some(topic)]);
    assert_eq!(listing.entries[0].messages[0].to_string(), "test.job v1");
    assert_eq!(listing.entries[2].messages.len(), 5);

    let queue = admin.inspect_queue("jobs.mail").await.unwrap();
    assert_eq!(queue.config.unwrap().capacity, 50);
    assert_eq!((queue.state.len, queue.state.in_flight), (1, 1));
    assert_eq!((queue.dead.unwrap().len, queue.state.offered), (1, 3));
    let Details::Topic(topic) = &admin.inspect("views").await.unwrap()[0] else {
        panic!("views is no topic");
    };
    assert_eq!(
        (topic.published, &*topic.subscriptions[0].pattern),
        (1, "lesson.*")
    );
    let guard = ledger.acquire().label("the till").await.unwrap();
    let Details::Lock(ExposedKind::Mutex, lock) = &admin.inspect("ledger").await.unwrap()[0] else {
        panic!("ledger is no mutex");
    };
    assert_eq!(lock.held[0].token, guard.token());
    assert_eq!(lock.held[0].holder.as_deref(), Some("the till"));
    let Details::Actor(actor) = &admin.inspect("tester").await.unwrap()[0] else {
        panic!("tester is no actor");
    };
    let mailbox = actor.mailbox.as_ref().unwrap();
    assert_eq!((mailbox.waiting, mailbox.capacity), (0, Some(64)));

    assert_eq!(admin.purge("jobs.mail").await.unwrap(), 1);
    assert_eq!(admin.redrive("jobs.mail", 9).await.unwrap(), 1);
    assert_eq!(jobs.state().await.unwrap().len, 1);
    held.bury("no").await.unwrap();
    assert_eq!(admin.purge_dead_letters("jobs.mail").await.unwrap(), 1);

    let mut config = QueueConfig::default();
    config.capacity = 7;
    assert!(
        admin
            .create_queue::<Job>("jobs.new", &config)
            .await
            .unwrap()
    );
    assert!(
        !admin
            .create_queue::<Job>("jobs.new", &config)
            .await
            .unwrap()
    );
    let made = peer.queue::<Job>("jobs.new").await.unwrap();
    made.offer(Job(9)).await.unwrap();
    let found: Queue<Job> = system.queues().get("jobs.new").unwrap().unwrap();
    assert_eq!(found.poll().await.unwrap(), Some(Job(9)));
    assert_eq!(admin.remove("jobs.new").if_empty().await.unwrap().items, 0);
    let error = made.offer(Job(10)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.item),
        (FailureKind::UnknownName, Some(Job(10)))
    );

    let about = admin.node().await.unwrap();
    assert_eq!(
        (&*about.name, about.sessions, about.made_queues),
        ("depot", 1, 0)
    );
    assert!(about.received.0 > 10 && about.bytes.0 > 0);
    let sessions = admin.sessions(0).await.unwrap().sessions;
    assert_eq!(sessions.len(), 1);
    assert!(sessions[0].is_ours && sessions[0].is_connected);
}

pub(crate) async fn g23_dead_letters_elsewhere_are_looked_at_and_offered_again<W: Wire>(
    system: System,
) {
    let Everything { node, jobs, .. } = everything(&system);
    grant(&node, "jobs.mail");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let far = peer.queue::<Job>("jobs.mail").await.unwrap();
    let key = RequestKey::new();
    far.offer(Job(1)).key(key).group("g").await.unwrap();
    far.offer_many([Job(2), Job(3), Job(4)]).await.unwrap();
    for why in ["too heavy", "too late", "too blue"] {
        let delivery = far.lease().await.unwrap().unwrap();
        delivery.bury(why).await.unwrap();
    }
    let near = jobs.dead_letters().unwrap();
    let dead = peer.dead_letters::<Job>("jobs.mail").await.unwrap();
    assert_eq!(dead.state().await.unwrap().len, 3);
    let seen = dead.browse(0, 9).await.unwrap();
    assert_eq!(seen, near.browse(0, 9).await.unwrap());
    let first = &seen[0].item;
    assert_eq!((&first.item, &*first.info.detail), (&Job(1), "too heavy"));
    assert_eq!(
        (first.info.key, first.info.group.as_deref()),
        (Some(key), Some("g"))
    );
    assert_eq!(dead.browse(seen[1].sequence, 1).await.unwrap(), seen[1..2]);
    assert_eq!(dead.redrive(2).await.unwrap(), 2);
    assert_eq!(dead.purge().await.unwrap(), 1);
    assert_eq!((dead.state().await.unwrap().len, near.state().len), (0, 0));
    let items: Vec<u64> = far
        .browse(0, 9)
        .await
        .unwrap()
        .iter()
        .map(|one| one.item.0)
        .collect();
    assert_eq!(items, [1, 2, 4]);
    // What waits is removed, and what is in hand stays.
    let held = far.lease().await.unwrap().unwrap();
    assert_eq!(far.purge().await.unwrap(), 2);
    held.ack().await.unwrap();
    assert_eq!(jobs.state().await.unwrap().purged, 2);
    assert!(peer.dead_letters::<Viewed>("jobs.mail").await.is_err());

    // Each of it needs the right.
    node.rights().deny("anonymous", Verbs::ADMIN, ">").unwrap();
    node.rights().deny("*", Verbs::ADMIN, ">").unwrap();
    let refused = [
        dead.state().await.unwrap_err(),
        dead.browse(0, 1).await.unwrap_err(),
        dead.redrive(1).await.unwrap_err(),
        dead.purge().await.unwrap_err(),
        far.purge().await.unwrap_err(),
    ];
    for failure in refused {
        assert_eq!(failure.kind(), FailureKind::NotAuthorised);
        assert_eq!(failure.verdict(), Verdict::NotExecuted);
    }
}

#[callboard::test(both)]
async fn g35_without_the_right_nothing_is_shown_and_nothing_done(system: System) {
    let Everything { node, jobs, .. } = everything(&system);
    jobs.offer(Job(1)).await.unwrap();
    let rights = node.rights();
    rights.grant("cert:*", Verbs::USE, ">").unwrap();
    rights.grant("cert:mail", Verbs::ADMIN, "jobs.>").unwrap();
    let admin = Way::tls(&node, "mail").connected().await.admin();
    // It sees what is its own, and no more.
    let listing = admin.list(">").await.unwrap();
    assert_eq!(listing.entries.len(), 1);
    assert_eq!(listing.entries[0].name, "jobs.mail");
    assert_eq!(rights.state().refused, []);
    admin.inspect("jobs.mail").await.unwrap();
    let config = QueueConfig::default();
    let text = |name: &str| format!("cert:mail may not admin \"{name}\"");
    for name in ["views", "nothing"] {
        denied(&admin.inspect(name).await.unwrap_err(), &text(name));
        denied(&admin.purge(name).await.unwrap_err(), &text(name));
        denied(&admin.redrive(name, 1).await.unwrap_err(), &text(name));
        let error = admin.purge_dead_letters(name).await.unwrap_err();
        denied(&error, &text(name));
        denied(&admin.remove(name).await.unwrap_err(), &text(name));
        let created = admin.create_queue::<Job>(name, &config).await;
        denied(&created.unwrap_err(), &text(name));
    }
    denied(&admin.node().await.unwrap_err(), &text(ADMIN_NAME));
    denied(&admin.sessions(0).await.unwrap_err(), &text(ADMIN_NAME));
    denied(&admin.disconnect(1).await.unwrap_err(), &text(ADMIN_NAME));
    denied(&admin.rules().await.unwrap_err(), &text(ADMIN_NAME));
    assert_eq!(rights.state().refused, [(Verb::Admin, 16)]);
    // What is denied is denied at once, and what is allowed again is too.
    rights.deny("cert:mail", Verbs::ADMIN, "jobs.mail").unwrap();
    let error = admin.purge("jobs.mail").await.unwrap_err();
    denied(&error, &text("jobs.mail"));
    assert!(admin.list(">").await.unwrap().entries.is_empty());
    assert_eq!(jobs.state().await.unwrap().len, 1);
}

/// Who may use everything and administer nothing.
#[callboard::test(both)]
async fn g34_who_may_administer_nothing_isnt_told_whether_one_can(system: System) {
    let Everything { node, .. } = everything(&system);
    node.rights().grant("*", Verbs::USE, ">").unwrap();
    let peers = [
        Way::tls(&node, "shop").connected().await,
        Way::with(&node, Proof::local(None)).connected().await,
    ];
    let who = ["cert:shop", "an unproved peer of this host"];
    for concealed in [false, true] {
        for (peer, who) in peers.iter().zip(who) {
            let admin = peer.admin();
            let text = format!("{who} may not admin \"callboard.admin\"");
            denied(&admin.list(">").await.unwrap_err(), &text);
            denied(&admin.inspect("jobs.mail").await.unwrap_err(), &text);
            denied(&admin.remove("jobs.mail").await.unwrap_err(), &text);
            // By another type neither.
            let add: Recipient<Add> = peer.recipient(ADMIN_NAME).unwrap();
            let error = add.ask(Add(1)).await.unwrap_err();
            assert_eq!(error.kind(), FailureKind::NotAuthorised);
            assert_eq!(error.failure().detail(), Some(&*text));
        }
        if !concealed {
            assert!(node.conceal(ADMIN_NAME));
        }
    }
    // With a right the difference shows.
    node.rights().grant("cert:shop", Verbs::ADMIN, "x").unwrap();
    let error = peers[0].admin().list(">").await.unwrap_err();
    assert_eq!(kind(&error), FailureKind::UnknownName);
}

#[callboard::test(both)]
async fn g35_administration_is_off_until_it_is_exposed_and_the_names_of_the_house_are_its_own(
    system: System,
) {
    let (node, actor, _probe) = crate::actors::tester(&system, "node");
    node.rights().grant("*", Verbs::ALL, ">").unwrap();
    let peer = Way::tls(&node, "ops").connected().await;
    let error = peer.admin().list(">").await.unwrap_err();
    assert_eq!(kind(&error), FailureKind::UnknownName);
    node.expose_admin().unwrap();
    assert_eq!(peer.admin().list(">").await.unwrap().entries.len(), 1);
    assert!(matches!(node.expose_admin(), Err(NameError::Taken { .. })));
    node.conceal(ADMIN_NAME);
    assert!(peer.admin().list(">").await.is_err());

    let add = actor.recipient::<Add, _>();
    let queue: Queue<Job> = Queue::bounded(&system, "q", 1);
    let topic: Topic<Viewed> = Topic::start(&system, "t");
    let mutex = Mutex::new(&system, "m");
    let refused = [
        node.expose(ADMIN_NAME, &add),
        node.expose("callboard.mine", &add),
        node.expose_queue("callboard.mine", &queue),
        node.expose_topic("callboard.mine", &topic),
        node.expose_publishing("callboard.mine", &topic),
        node.expose_mutex("callboard.mine", &mutex),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(matches!(error, NameError::Reserved(_)), "{error}");
        assert!(
            error.to_string().ends_with("are the house's own"),
            "{error}"
        );
    }
    node.expose("callboardroom", &add).unwrap();
}

#[callboard::test(both)]
async fn g35_no_message_of_a_program_has_a_name_of_the_house(system: System) {
    let (node, actor, _probe) = crate::actors::tester(&system, "node");
    let taker = system.start(Taker);
    let queue: Queue<Nonsense> = Queue::bounded(&system, "q", 1);
    let topic: Topic<Nonsense> = Topic::start(&system, "t");
    let refused = [
        node.expose("mine", &taker.recipient::<Nonsense, _>()),
        node.lend(&taker.recipient::<Nonsense, _>()).map(drop),
        node.expose_queue("mine", &queue),
        node.expose_topic("mine", &topic),
        node.expose_publishing("mine", &topic),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert_eq!(error, NameError::ReservedType("callboard.admin.op"));
        assert_eq!(
            error.to_string(),
            "the message type \"callboard.admin.op\" is reserved: \
             names that begin with `callboard.` are the house's own"
        );
    }
    // Nothing of it is left behind.
    assert!(!node.conceal("mine"));
    node.expose("mine", &actor.recipient::<Add, _>()).unwrap();
}

struct Taker;

impl Actor for Taker {}

impl Handler<Nonsense> for Taker {
    async fn handle(&mut self, _: Nonsense, _: &mut Context<Self>) {}
}

/// Has the name of what is asked of a node, and another shape.
#[derive(Clone, Message, Serialize, Deserialize)]
#[message(reply = (), name = "callboard.admin.op")]
struct Nonsense(Vec<u64>);

#[callboard::test(both)]
async fn g36_what_makes_no_sense_is_answered_and_harms_nobody(system: System) {
    let Everything { node, .. } = everything(&system);
    grant(&node, ">");
    let peer = Way::tls(&node, "ops").connected().await;
    let admin = peer.admin();
    let nonsense: Recipient<Nonsense> = peer.recipient(ADMIN_NAME).unwrap();
    let error = nonsense.ask(Nonsense(vec![1; 500])).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::BadPayload);
    nonsense.tell(Nonsense(vec![])).await.unwrap();
    let config = QueueConfig::default();
    let long = "n".repeat(100_000);
    for name in ["", "a\nb", &long, &long[..256]] {
        let errors = [
            admin.inspect(name).await.unwrap_err(),
            admin.purge(name).await.unwrap_err(),
            admin.remove(name).await.unwrap_err(),
            admin.create_queue::<Job>(name, &config).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error, AdminError::BadName(name.to_owned()));
        }
    }
    for pattern in ["", "a..b", ">.a", &long] {
        let error = admin.list(pattern).await.unwrap_err();
        assert_eq!(error, AdminError::BadName(pattern.to_owned()));
    }
    assert_eq!(
        admin.disconnect(u64::MAX).await,
        Err(AdminError::NoSession(u64::MAX))
    );
    let page = admin.sessions(u64::MAX).await.unwrap();
    assert!(page.sessions.is_empty() && page.next.is_none());
    let all = admin.list(">").max(0).await.unwrap();
    assert_eq!(all.entries.len(), 1, "a page has one name at least");
    assert!(admin.list(">").after("~").await.unwrap().entries.is_empty());
    assert_eq!(admin.redrive("jobs.mail", u64::MAX).await, Ok(0));
    assert_eq!(
        kind(&admin.purge("x").await.unwrap_err()),
        FailureKind::UnknownName
    );
    assert_eq!(admin.sessions(0).await.unwrap().sessions.len(), 1);
}

#[callboard::test(both)]
async fn g34_what_cannot_be_done_with_a_thing_is_told_with_its_kind(system: System) {
    let Everything { node, ledger, .. } = everything(&system);
    grant(&node, ">");
    let admin = Way::tls(&node, "ops").connected().await.admin();
    let not = |name: &str, kind| {
        let name = name.to_owned();
        AdminError::NotOfThat { name, kind }
    };
    let kinds = [
        ("tester", ExposedKind::Actor),
        ("ledger", ExposedKind::Mutex),
        ("views", ExposedKind::Topic),
    ];
    for (name, kind) in kinds {
        assert_eq!(admin.purge(name).await, Err(not(name, kind)));
        assert_eq!(admin.redrive(name, 1).await, Err(not(name, kind)));
        assert_eq!(admin.purge_dead_letters(name).await, Err(not(name, kind)));
        let error = admin.inspect_queue(name).await.unwrap_err();
        assert_eq!(error, not(name, kind));
    }
    // The program's own: they are shown, and never ended from elsewhere.
    for (name, kind) in &kinds[..2] {
        assert_eq!(admin.remove(name).await, Err(not(name, *kind)));
    }
    assert!(ledger.try_acquire().await.unwrap().is_some());
    assert_eq!(
        not("ledger", ExposedKind::Mutex).to_string(),
        "ledger is a mutex, with which that can't be done"
    );
}

/// A wish as another build would write it.
#[derive(Message, Serialize, Deserialize)]
#[message(reply = Result<Made, ()>, name = "callboard.admin.op")]
enum Op {
    #[serde(rename = "create")]
    Create {
        name: String,
        item: Item,
        config: BTreeMap<String, u64>,
    },
}

#[derive(Serialize, Deserialize)]
struct Item {
    name: String,
    version: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Made {
    #[serde(rename = "created")]
    Created(bool),
}

#[callboard::test(both)]
async fn g37_a_setting_that_is_unknown_is_refused_and_one_left_out_is_the_usual(system: System) {
    let Everything { node, .. } = everything(&system);
    grant(&node, ">");
    let peer = Way::tls(&node, "ops").connected().await;
    let way: Recipient<Op> = peer.recipient(ADMIN_NAME).unwrap();
    let create = async |settings: &[(&str, u64)]| {
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value));
        let op = Op::Create {
            name: "made".into(),
            item: Item {
                name: "test.job".into(),
                version: 1,
            },
            config: settings.collect(),
        };
        way.ask(op).await.map_err(|error| error.kind())
    };
    let unknown = create(&[("capacity", 5), ("colour", 3)]).await;
    assert_eq!(unknown, Err(FailureKind::BadPayload));
    let some = create(&[("capacity", 5)]).await;
    assert_eq!(some, Ok(Ok(Made::Created(true))));
    let mut usual = QueueConfig::default();
    usual.capacity = 5;
    let shown = peer.admin().inspect_queue("made").await.unwrap();
    assert_eq!(shown.config, Some(usual));
}

#[callboard::test(both)]
async fn of_several_things_with_one_name_none_is_removed(system: System) {
    let Everything {
        node, views, jobs, ..
    } = everything(&system);
    grant(&node, ">");
    let admin = Way::tls(&node, "ops").connected().await.admin();
    node.expose_topic("jobs.mail", &views).unwrap();
    let kinds: Vec<ExposedKind> = admin
        .list("jobs.mail")
        .await
        .unwrap()
        .entries
        .iter()
        .map(|entry| entry.kind)
        .collect();
    assert_eq!(kinds, [ExposedKind::Queue, ExposedKind::Topic]);
    let error = admin.remove("jobs.mail").await.unwrap_err();
    assert_eq!(error, AdminError::Several("jobs.mail".into()));
    jobs.offer(Job(1)).await.unwrap();
    views.publish("lesson.1", Viewed(1)).await.unwrap();
}

#[callboard::test(both)]
async fn a_topic_is_removed_and_its_subscribers_are_told(system: System) {
    use futures::StreamExt;
    let Everything { node, views, .. } = everything(&system);
    grant(&node, ">");
    let peer = Way::tls(&node, "ops").connected().await;
    let admin = peer.admin();
    let mut viewer = peer.subscribe::<Viewed>("views", ">").unwrap();
    viewer.ready().await.unwrap();
    let error = admin.remove("views").if_unused().await.unwrap_err();
    assert!(
        matches!(error, AdminError::InUse { consumers: 1, .. }),
        "{error}"
    );
    admin.remove("views").await.unwrap();
    views.wait().await;
    assert!(viewer.next().await.is_none(), "it ended");
    assert_eq!(
        kind(&admin.inspect("views").await.unwrap_err()),
        FailureKind::UnknownName
    );
}

#[callboard::test(both)]
async fn g03_lists_come_in_pages_and_name_each_thing_once(system: System) {
    let (node, actor, _probe) = crate::actors::tester(&system, "node");
    grant(&node, ">");
    node.expose_admin().unwrap();
    let add = actor.recipient::<Add, _>();
    let mut names: Vec<String> = (0..230).map(|n| format!("n{n:03}.{}", n % 3)).collect();
    for name in &names {
        node.expose(name, &add).unwrap();
    }
    names.push("tester".to_owned());
    let admin = Way::tls(&node, "ops").connected().await.admin();
    for max in [1, 7, 64, 1_000, u32::MAX] {
        let mut seen: Vec<String> = Vec::new();
        let mut after = String::new();
        loop {
            let page = admin.list(">").max(max).after(after).await.unwrap();
            assert!(page.entries.len() <= max as usize);
            seen.extend(page.entries.into_iter().map(|entry| entry.name));
            let Some(next) = page.next else { break };
            after = next;
        }
        assert_eq!(seen, names, "in pages of {max}");
    }
    let some = admin.list("*.1").max(1_000).await.unwrap();
    assert_eq!(some.entries.len(), 77);
    let queues = admin.list(">").kind(ExposedKind::Queue).await.unwrap();
    assert!(queues.entries.is_empty() && queues.next.is_none());
    // What goes between two pages is left out, and nothing else.
    let first = admin.list(">").max(100).await.unwrap();
    let next = first.next.unwrap();
    assert_eq!(next, names[99]);
    node.conceal(&next);
    node.conceal(&names[100]);
    let rest = admin.list(">").after(next).await.unwrap();
    assert_eq!(rest.entries[0].name, names[101]);
    assert_eq!(rest.entries.len(), names.len() - 101);
}

#[callboard::test(both)]
async fn a_session_is_ended_by_who_may_and_what_it_held_comes_back(system: System) {
    let Everything { node, jobs, .. } = everything(&system);
    grant(&node, ">");
    let ops = Way::tls(&node, "ops").connected().await;
    let worker = Way::tls(&node, "worker").connected().await;
    jobs.offer(Job(1)).await.unwrap();
    let far = worker.queue::<Job>("jobs.mail").await.unwrap();
    let held = far.lease().await.unwrap().unwrap();
    let slow: Recipient<Hold> = worker.recipient("tester").unwrap();
    let asking = async { slow.ask(Hold(1)).await.unwrap_err() };
    let admin = ops.admin();
    let ending = async {
        // As soon as it is known over there.
        let session = loop {
            let sessions = admin.sessions(0).await.unwrap().sessions;
            assert_eq!(sessions.len(), 2);
            let found = sessions.into_iter().find(|session| !session.is_ours);
            let session = found.unwrap();
            assert_eq!(session.principal.as_deref(), Some("cert:worker"));
            // The lease's holder and the ask.
            if session.in_flight == 2 {
                break session.session;
            }
            system.clock().sleep(MS).await;
        };
        admin.disconnect(session).await.unwrap();
        session
    };
    let (error, session) = futures::join!(asking, ending);
    assert_eq!(error.kind(), FailureKind::ConnectionLost);
    assert_eq!(error.verdict(), Verdict::MaybeExecuted);
    assert!(held.ack().await.is_err());
    let back = async || jobs.state().await.unwrap().in_flight == 0;
    until(&system, back).await;
    let gone = admin.disconnect(session).await.unwrap_err();
    assert_eq!(gone, AdminError::NoSession(session));
    // It comes again, as another session, unless it is denied.
    worker.connected().await.unwrap();
    let sessions = admin.sessions(session).await.unwrap().sessions;
    assert!(sessions.iter().all(|other| other.session > session));
    let own = admin.sessions(0).await.unwrap().sessions;
    let own = own.iter().find(|session| session.is_ours).unwrap();
    assert_eq!(
        admin.disconnect(own.session).await,
        Err(AdminError::OwnSession)
    );
}

#[callboard::test(both)]
async fn rules_are_read_and_replaced_by_who_may_if_nobody_else_changed_them(system: System) {
    let Everything { node, .. } = everything(&system);
    node.rights().grant("cert:ops", Verbs::ALL, ">").unwrap();
    let admin = Way::tls(&node, "ops").connected().await.admin();
    let seen = admin.rules().await.unwrap();
    assert_eq!(seen.rules, node.rights().rules());
    let wider = seen
        .rules
        .clone()
        .allow("cert:mail", Verbs::ADMIN, "jobs.>");
    let wider = wider.unwrap();
    admin.replace_rules(&seen, wider.clone()).await.unwrap();
    assert_eq!(node.rights().rules(), wider);
    let mail = Way::tls(&node, "mail").connected().await.admin();
    mail.inspect("jobs.mail").await.unwrap();
    // Made of what is no more in force.
    let error = admin
        .replace_rules(&seen, Rules::closed())
        .await
        .unwrap_err();
    let generation = seen.generation + 1;
    assert_eq!(error, AdminError::Changed { generation });
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert_eq!(node.rights().rules(), wider);
    // Who administers names may not change who may what.
    denied(
        &mail.replace_rules(&seen, Rules::new()).await.unwrap_err(),
        "cert:mail may not admin \"callboard.admin\"",
    );
    // One can shut oneself out.
    let seen = admin.rules().await.unwrap();
    admin.replace_rules(&seen, Rules::closed()).await.unwrap();
    denied(
        &admin.list(">").await.unwrap_err(),
        "cert:ops may not admin \"callboard.admin\"",
    );
}

/// What one handle asks is done in its order, also where nobody waits in between.
#[callboard::test(both)]
async fn g02_wishes_of_one_peer_are_fulfilled_in_their_order(system: System) {
    let Everything { node, .. } = everything(&system);
    grant(&node, ">");
    let admin = Way::tls(&node, "ops").connected().await.admin();
    let config = QueueConfig::default();
    for round in 0..8 {
        let name = format!("q{round}");
        let create = || admin.create_queue::<Job>(&name, &config);
        let (new, old, removed, gone, anew, last) = futures::join!(
            create(),
            create(),
            admin.remove(&name).if_empty().if_unused().into_future(),
            admin.inspect(&name),
            create(),
            admin.remove(&name).into_future(),
        );
        assert_eq!((new, old, anew), (Ok(true), Ok(false), Ok(true)));
        assert!(removed.is_ok() && last.is_ok());
        assert_eq!(kind(&gone.unwrap_err()), FailureKind::UnknownName);
    }
    assert_eq!(admin.node().await.unwrap().made_queues, 0);
}

/// Who asked has gone: what was begun is done or isn't, and nothing in between.
pub(crate) async fn g32_what_a_lost_session_began_is_finished<W: Wire>(system: System) {
    let Everything { node, .. } = everything(&system);
    grant(&node, ">");
    for turns in 0..6 {
        let (mut wire, peer) = connect::<W>(&system, &node).await;
        let admin = peer.admin();
        let config = QueueConfig::default();
        let mut creating = Box::pin(admin.create_queue::<Job>("jobs.new", &config));
        for _ in 0..turns {
            if futures::poll!(&mut creating).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        wire.cut();
        peer.close();
        drop(creating);
        let (_wire, peer) = connect::<W>(&system, &node).await;
        let admin = peer.admin();
        // Behind what may still be on its way: one at a time makes and removes.
        admin
            .create_queue::<Job>("jobs.new", &config)
            .await
            .unwrap();
        let far = peer.queue::<Job>("jobs.new").await.unwrap();
        far.offer(Job(1)).await.unwrap();
        assert_eq!(admin.node().await.unwrap().made_queues, 1);
        assert_eq!(admin.remove("jobs.new").await.unwrap().items, 1);
        let places = node.places().accounts();
        let queues = places.iter().flat_map(|account| &account.taken);
        let queues = queues.filter(|(kind, _)| kind.to_string() == "queues");
        assert_eq!(queues.count(), 0);
        // The next connection is a session of its own.
        peer.close();
    }
}
