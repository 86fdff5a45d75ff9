//! Who may do what, over real certificates: Venice's `tom` may, `jak` may not, and `admin` may all.

use std::time::Duration;

use callboard::queue::{Queue, SettleError};
use callboard::topic::Topic;
use callboard::{Failure, FailureKind, Recipient, System, Verdict};
use callboard_remote::{
    Expect, LinkConfig, Listener, Node, OpenQueueError, Peer, Tls, TlsConnector, Verb, Verbs,
};

use crate::actors::{Add, Viewed, tester};
use crate::queues::Job;
use crate::tls::{House, loopback};

/// A node with one of everything, and who connects to it.
struct Scene {
    system: System,
    house: House,
    node: Node,
    listener: Listener,
    jobs: Queue<Job>,
    _actor: Box<dyn Send>,
    _topic: Topic<Viewed>,
}

impl Scene {
    async fn new(system: &System) -> Scene {
        let house = House::new();
        let (node, actor, _probe) = tester(system, "node");
        let jobs: Queue<Job> = system.queue("jobs").open().unwrap();
        node.expose_queue("jobs", &jobs).unwrap();
        let topic: Topic<Viewed> = Topic::start(system, "views");
        node.expose_topic("views", &topic).unwrap();
        node.expose_publishing("views", &topic).unwrap();
        let tls = house.tls("node").without_client_certificates();
        let listener = node.listen_tls(loopback(), &tls).await.unwrap();
        Scene {
            system: system.clone(),
            house,
            node,
            listener,
            jobs,
            _actor: Box::new(actor),
            _topic: topic,
        }
    }

    /// Somebody with a certificate.
    async fn user(&self, name: &str) -> Peer {
        self.connected(&self.house.tls(name)).await
    }

    async fn connected(&self, tls: &Tls) -> Peer {
        let address = self.listener.address();
        let to = TlsConnector::new(&self.system, address, tls, Expect::name("node")).unwrap();
        let peer = Peer::dialled(&self.system, to, LinkConfig::default());
        peer.attempted().await.unwrap();
        peer
    }

    /// Whether that peer can do each of this, in the order of [`Verb::ALL`]; for all that is refused it is told so.
    async fn can(&self, peer: &Peer) -> Verbs {
        let mut verbs = Verbs::NONE;
        let mut note = |verb: Verb, done: Result<(), Failure>| match done {
            Ok(()) => verbs |= Verbs::only(verb),
            Err(failure) => {
                assert_eq!(failure.kind(), FailureKind::NotAuthorised, "{failure}");
                assert_eq!(failure.verdict(), Verdict::NotExecuted);
                let text = failure.detail().unwrap_or_default();
                assert!(text.contains(&format!("may not {verb}")), "{text}");
            }
        };
        let add: Recipient<Add> = peer.recipient("tester").unwrap();
        let added = add.ask(Add(1)).await.map(drop).map_err(Failure::from);
        note(Verb::Execute, added);
        match peer.queue::<Job>("jobs").await {
            Ok(jobs) => {
                let offered = jobs.offer(Job(1)).await.map(drop).map_err(Failure::from);
                let is_offered = offered.is_ok();
                note(Verb::Offer, offered);
                if !is_offered {
                    self.jobs.offer(Job(1)).await.unwrap();
                }
                let polled = jobs.poll().await.map(|job| assert_eq!(job, Some(Job(1))));
                if polled.is_err() {
                    self.jobs.poll().await.unwrap();
                }
                note(Verb::Poll, polled);
                note(Verb::Admin, jobs.browse(0, 1).await.map(drop));
            }
            // Who may do nothing with it can't even open it.
            Err(OpenQueueError::Failed(failure)) => {
                assert_eq!(failure.kind(), FailureKind::NotAuthorised, "{failure}");
            }
            Err(other) => panic!("{other}"),
        }
        let views = peer.publisher::<Viewed>("views").unwrap();
        let published = views.publish("one", Viewed(1)).await;
        note(
            Verb::Publish,
            published.map(drop).map_err(|error| match error.error {
                callboard::topic::TopicError::Failed(failure) => failure,
                other => panic!("{other}"),
            }),
        );
        let events = peer.subscribe::<Viewed>("views", ">").unwrap();
        note(Verb::Subscribe, events.ready().await);
        verbs
    }
}

#[callboard::test(arbiters)]
async fn each_principal_does_what_its_rules_say_and_nothing_else(system: System) {
    let scene = Scene::new(&system).await;
    let (tom, jak) = (scene.user("tom").await, scene.user("jak").await);
    let admin = scene.user("admin").await;
    let nobody = Tls::without_identity(scene.house.trust());
    let nobody = scene.connected(&nobody).await;
    // Without rules Venice let everybody do everything.
    for peer in [&tom, &jak, &admin, &nobody] {
        assert_eq!(scene.can(peer).await, Verbs::NONE);
    }
    let rights = scene.node.rights();
    rights.grant("cert:admin", Verbs::ALL, ">").unwrap();
    // Of each right alone, while all are connected.
    for verb in Verb::ALL {
        let only = Verbs::only(verb);
        rights.grant("cert:tom", only, ">").unwrap();
        assert_eq!(scene.can(&tom).await, only, "{verb}");
        assert_eq!(scene.can(&jak).await, Verbs::NONE, "{verb}");
        assert_eq!(scene.can(&nobody).await, Verbs::NONE, "{verb}");
        rights.revoke("cert:tom", only, ">").unwrap();
    }
    assert_eq!(scene.can(&admin).await, Verbs::ALL);
    // What is denied is denied, also to who may do everything else.
    rights.deny("*", Verbs::PUBLISH, "views").unwrap();
    assert_eq!(scene.can(&admin).await, Verbs::ALL.without(Verbs::PUBLISH));
    // Rights are of names.
    rights.grant("cert:jak", Verbs::ALL, "tester").unwrap();
    assert_eq!(scene.can(&jak).await, Verbs::EXECUTE);
    // Anonymous are those that proved nothing, and nobody else.
    rights.grant("anonymous", Verbs::SUBSCRIBE, ">").unwrap();
    assert_eq!(scene.can(&nobody).await, Verbs::SUBSCRIBE);
    assert_eq!(scene.can(&tom).await, Verbs::NONE);
}

/// In Venice whoever knew the name of a temporary queue could poll it, whatever the rules said; and rules that were
/// changed held for nobody who was connected.
#[callboard::test(arbiters)]
async fn a_queue_of_one_user_is_open_to_no_other(system: System) {
    let scene = Scene::new(&system).await;
    let own: Queue<Job> = system.queue("replies.tom").open().unwrap();
    scene.node.expose_queue("replies.tom", &own).unwrap();
    let rights = scene.node.rights();
    rights
        .grant("cert:tom", Verbs::POLL, "replies.tom")
        .unwrap();
    rights.grant("*", Verbs::OFFER, "replies.*").unwrap();
    let (tom, jak) = (scene.user("tom").await, scene.user("jak").await);
    let (toms, jaks) = (
        tom.queue::<Job>("replies.tom").await.unwrap(),
        jak.queue::<Job>("replies.tom").await.unwrap(),
    );
    jaks.offer(Job(1)).await.unwrap();
    let failure = jaks.lease().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::NotAuthorised);
    let failure = jaks.poll().await.unwrap_err();
    assert_eq!(failure.verdict(), Verdict::NotExecuted);
    assert_eq!(own.state().await.unwrap().handed, 0);
    let held = toms.lease().await.unwrap().unwrap();
    // Its lease ends nobody's else: the token is worth nothing to others. And a right that is lost is lost at once.
    rights.deny("cert:tom", Verbs::POLL, ">").unwrap();
    assert_eq!(
        toms.lease().await.unwrap_err().kind(),
        FailureKind::NotAuthorised
    );
    let SettleError::Failed(failure) = held.ack().await.unwrap_err() else {
        panic!("it isn't stale");
    };
    assert_eq!(failure.kind(), FailureKind::NotAuthorised);
    assert_eq!(own.state().await.unwrap().settled, 0);
    rights.revoke("cert:tom", Verbs::POLL, ">").unwrap();
    // What it couldn't end comes back in the end.
    tom.close();
    while own.state().await.unwrap().in_flight > 0 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(own.state().await.unwrap().failed, 1);
}
