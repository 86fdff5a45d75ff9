//! Rights, logins and places, as peers meet them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use callboard::topic::Topic;
use callboard::{
    Boundary, DropReason, Failure, FailureKind, Incarnation, Placement, Principal, Recipient,
    System, Verdict,
};
use callboard_remote::{
    Connected, Connector, LinkConfig, LinkErrorKind, Login, Node, Peer, Proof, RemoteEvent, Rules,
    Secret, Secrets, Verb, Verbs,
};
use futures::StreamExt;
use futures::future::BoxFuture;

use crate::actors::{Add, Look, Probe, Unheard, Viewed, tester};

/// A way to a node on which the node sees what it is told to see.
#[derive(Clone)]
pub(crate) struct Way {
    node: Node,
    proof: Proof,
}

impl Way {
    /// As if by TLS, of a peer with that certificate.
    pub(crate) fn tls(node: &Node, cert: &str) -> Self {
        let principal = Principal::new(format!("cert:{cert}"));
        Way {
            node: node.clone(),
            proof: Proof::encrypted(Some(principal)),
        }
    }

    pub(crate) fn with(node: &Node, proof: Proof) -> Self {
        let node = node.clone();
        Way { node, proof }
    }

    pub(crate) fn peer(&self) -> Peer {
        self.peer_with(LinkConfig::default())
    }

    pub(crate) fn peer_with(&self, config: LinkConfig) -> Peer {
        Peer::dialled(self.node.system(), self.clone(), config)
    }

    /// Whose peer connects at once.
    pub(crate) async fn connected(&self) -> Peer {
        let peer = self.peer();
        peer.connected().await.unwrap();
        peer
    }
}

impl Connector for Way {
    fn address(&self) -> String {
        "far away".into()
    }

    fn boundary(&self) -> Boundary {
        Boundary::Network
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Connected>> {
        let Way { node, proof } = self.clone();
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(4_096);
            let system = node.system().clone();
            let mut back = proof.clone();
            back.principal = None;
            system.spawn(Placement::Spread, move || async move {
                node.serve(far, "here", proof).await;
            });
            Ok(Connected::new(near, back))
        })
    }
}

async fn ask(peer: &Peer, name: &str) -> Result<u64, Failure> {
    let add: Recipient<Add> = peer.recipient(name).unwrap();
    add.ask(Add(1))
        .await
        .map_err(|error| error.failure().clone())
}

fn assert_denied(failure: &Failure, text: &str) {
    assert_eq!(failure.kind(), FailureKind::NotAuthorised);
    assert_eq!(failure.verdict(), Verdict::NotExecuted);
    assert_eq!(failure.detail(), Some(text));
}

#[callboard::test(both)]
async fn g35_off_the_host_nothing_is_allowed_until_a_rule_says_so(system: System) {
    let (node, _actor, probe) = tester(&system, "node");
    let peer = Way::tls(&node, "billing").connected().await;
    let failure = ask(&peer, "tester").await.unwrap_err();
    assert_denied(&failure, "cert:billing may not execute \"tester\"");
    // Changed while the connection stands, the slot is open and all.
    let rights = node.rights();
    rights
        .grant("cert:billing", Verbs::EXECUTE, "tester")
        .unwrap();
    assert_eq!(ask(&peer, "tester").await, Ok(1));
    rights
        .revoke("cert:billing", Verbs::EXECUTE, "tester")
        .unwrap();
    assert!(ask(&peer, "tester").await.is_err());
    rights.replace(Rules::new().allow("cert:*", Verbs::ALL, ">").unwrap());
    assert_eq!(ask(&peer, "tester").await, Ok(2));
    rights
        .deny("cert:billing", Verbs::EXECUTE, "tester")
        .unwrap();
    assert!(ask(&peer, "tester").await.is_err());
    assert_eq!(probe.added_now(), [1, 1]);
    assert_eq!(rights.state().refused, [(Verb::Execute, 3)]);
    let failures = node.state().stats.failures;
    assert_eq!(failures, [(FailureKind::NotAuthorised, 3)]);
    // What the payload is nobody was told, and others go on.
    let other = Way::tls(&node, "other").connected().await;
    assert_eq!(ask(&other, "tester").await, Ok(3));
}

#[callboard::test(both)]
async fn g35_each_principal_has_rights_of_its_own(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    node.rights().grant("cert:a", Verbs::EXECUTE, "*").unwrap();
    let seen = async |proof: Proof| {
        let peer = Way::with(&node, proof).connected().await;
        let look: Recipient<Look> = peer.recipient("tester").unwrap();
        let seen = look.ask(Look).await;
        seen.map(|seen| seen.principal)
            .map_err(|error| error.kind())
    };
    let proved = |name: &str| Some(Principal::new(name));
    let denied = Err(FailureKind::NotAuthorised);
    assert_eq!(
        seen(Proof::encrypted(proved("cert:a"))).await,
        Ok(Some("cert:a".into()))
    );
    assert_eq!(seen(Proof::encrypted(proved("cert:b"))).await, denied);
    assert_eq!(seen(Proof::encrypted(None)).await, denied);
    assert_eq!(seen(Proof::plain()).await, denied);
    // On a plain channel a name is worth nothing, to handlers neither.
    let mut plain = Proof::plain();
    plain.principal = proved("cert:a");
    assert_eq!(seen(plain.clone()).await, denied);
    node.rights()
        .grant("anonymous", Verbs::EXECUTE, "*")
        .unwrap();
    assert_eq!(seen(plain).await, Ok(None));
    // On this host it is as ever.
    assert_eq!(seen(Proof::local(None)).await, Ok(None));
}

#[callboard::test(both)]
async fn g34_who_has_no_right_cant_tell_what_exists(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let topic: Topic<Viewed> = Topic::start(&system, "views");
    node.expose_topic("views", &topic).unwrap();
    let peer = Way::tls(&node, "billing").connected().await;
    for name in ["tester", "nothing"] {
        let failure = ask(&peer, name).await.unwrap_err();
        assert_denied(
            &failure,
            &format!("cert:billing may not execute \"{name}\""),
        );
        let unheard: Recipient<Unheard> = peer.recipient(name).unwrap();
        let error = unheard.ask(Unheard).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::NotAuthorised);
    }
    for name in ["views", "nothing"] {
        let mut events = peer.subscribe::<Viewed>(name, ">").unwrap();
        let Some(RemoteEvent::Failed(failure)) = events.next().await else {
            panic!("subscribed to {name}");
        };
        assert_denied(
            &failure,
            &format!("cert:billing may not subscribe \"{name}\""),
        );
    }
    // With the right, the difference shows.
    node.rights().grant("*", Verbs::EXECUTE, ">").unwrap();
    let failure = ask(&peer, "nothing").await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::UnknownName);
}

#[callboard::test(both)]
async fn g34_a_tell_without_a_right_is_a_counted_dead_letter(system: System) {
    let (node, _actor, probe) = tester(&system, "node");
    let peer = Way::tls(&node, "billing").connected().await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    add.tell(Add(7)).await.unwrap();
    while system.counters().drops(DropReason::NotAuthorised) == 0 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    assert!(probe.added_now().is_empty());
    let letters = system.dead_letters().take();
    let letter = letters.last().unwrap();
    assert_eq!(letter.reason, DropReason::NotAuthorised);
    assert_eq!(letter.target, "tester (test.add v1)");
}

#[callboard::test(both)]
async fn g35_a_subscription_ends_when_its_right_does(system: System) {
    let node = Node::new(&system, "node").unwrap();
    let topic: Topic<Viewed> = Topic::start(&system, "views");
    node.expose_topic("views", &topic).unwrap();
    node.rights().grant("*", Verbs::SUBSCRIBE, "views").unwrap();
    let peer = Way::tls(&node, "billing").connected().await;
    let mut views = peer.subscribe::<Viewed>("views", ">").unwrap();
    views.ready().await.unwrap();
    topic.publish("one", Viewed(1)).await.unwrap();
    assert!(matches!(
        views.next().await,
        Some(RemoteEvent::Message { .. })
    ));
    let places = node.places().accounts();
    assert_eq!(places[0].taken.len(), 2, "a session and a subscription");
    node.rights()
        .deny("cert:billing", Verbs::SUBSCRIBE, ">")
        .unwrap();
    let Some(RemoteEvent::Failed(failure)) = views.next().await else {
        panic!("it goes on");
    };
    assert_denied(&failure, "cert:billing may not subscribe \"views\"");
    assert!(views.next().await.is_none());
    while topic.state().subscribers > 0 || node.places().accounts()[0].taken.len() > 1 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    topic.publish("two", Viewed(2)).await.unwrap();
}

#[callboard::test(both)]
async fn g35_a_place_of_a_session_is_free_as_soon_as_the_session_is_over(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    node.rights().grant("*", Verbs::EXECUTE, ">").unwrap();
    let mut limits = node.places().limits();
    limits.sessions = 2;
    node.places().set_limits(limits);
    let way = Way::tls(&node, "billing");
    let first = way.connected().await;
    let second = way.connected().await;
    let third = way.peer();
    let refused = third.attempted().await.unwrap_err();
    let expected = LinkErrorKind::Refused("cert:billing has its 2 sessions".into());
    assert_eq!(refused.kind(), &expected);
    // Others have places of their own.
    let other = Way::tls(&node, "other").connected().await;
    assert_eq!(ask(&other, "tester").await, Ok(1));
    // It tries again by itself.
    first.close();
    third.connected().await.unwrap();
    assert_eq!(ask(&third, "tester").await, Ok(2));
    assert_eq!(ask(&second, "tester").await, Ok(3));
}

#[callboard::test(both)]
async fn g35_limits_of_a_principal_hold_in_its_sessions(system: System) {
    let node = Node::new(&system, "node").unwrap();
    let (_actor, probe) = crate::actors::expose_tester(&node);
    node.rights()
        .grant("*", Verbs::EXECUTE | Verbs::SUBSCRIBE, ">")
        .unwrap();
    let topic: Topic<Viewed> = Topic::start(&system, "views");
    node.expose_topic("views", &topic).unwrap();
    let mut limits = node.places().limits();
    (limits.subscriptions, limits.message_bytes) = (1, 8_192);
    node.places().set_limits(limits);
    let way = Way::tls(&node, "billing");
    let (one, other) = (way.connected().await, way.connected().await);
    // Subscriptions count over all its sessions.
    let held = one.subscribe::<Viewed>("views", ">").unwrap();
    held.ready().await.unwrap();
    let mut more = other.subscribe::<Viewed>("views", ">").unwrap();
    let Some(RemoteEvent::Failed(failure)) = more.next().await else {
        panic!("subscribed twice");
    };
    assert_eq!(failure.kind(), FailureKind::Full);
    assert_eq!(
        failure.detail(),
        Some("cert:billing has its 1 subscriptions")
    );
    // What is too large is refused before it is sent.
    let echo: Recipient<crate::actors::Echo> = one.recipient("tester").unwrap();
    let error = echo.ask(crate::actors::Echo(vec![200; 10_000])).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), FailureKind::TooLarge);
    assert_eq!(error.verdict(), Verdict::NotSent);
    assert!(echo.ask(crate::actors::Echo(vec![1; 100])).await.is_ok());
    drop(probe);
}

const KIOSKS: &str = "b0f6c2d87e914a35";

async fn with_kiosk(system: &System) -> (Node, Secrets, Probe) {
    let (node, _actor, probe) = tester(system, "node");
    let mut config = callboard_remote::SecretsConfig::default();
    config.rounds = 1_000;
    let secrets = Secrets::with(system, config).unwrap();
    let secret = Secret::new(KIOSKS).unwrap();
    secrets.add("kiosk", secret).await.unwrap();
    node.take_logins(Some(&secrets));
    node.rights()
        .grant("secret:kiosk", Verbs::EXECUTE, "tester")
        .unwrap();
    (node, secrets, probe)
}

fn login(secret: &str) -> LinkConfig {
    let mut config = LinkConfig::default();
    config.login = Some(Login::new("kiosk", secret).unwrap());
    config
}

#[callboard::test(both)]
async fn g35_a_login_proves_a_principal_over_tls(system: System) {
    let (node, secrets, _probe) = with_kiosk(&system).await;
    let way = Way::with(&node, Proof::encrypted(None));
    let peer = way.peer_with(login(KIOSKS));
    peer.connected().await.unwrap();
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    let seen = look.ask(Look).await.unwrap();
    assert_eq!(seen.principal.as_deref(), Some("secret:kiosk"));
    // Without one it is nobody.
    let nobody = way.connected().await;
    assert!(ask(&nobody, "tester").await.is_err());
    // Who is removed keeps its session, and no rights once they are taken.
    assert!(secrets.remove("kiosk"));
    assert!(look.ask(Look).await.is_ok());
    node.rights().deny("secret:kiosk", Verbs::ALL, ">").unwrap();
    assert!(look.ask(Look).await.is_err());
    assert!(!format!("{:?}", peer.config()).contains(KIOSKS));
}

#[callboard::test(both)]
async fn g35_a_wrong_login_is_refused_in_the_handshake(system: System) {
    let (node, secrets, _probe) = with_kiosk(&system).await;
    let way = Way::with(&node, Proof::encrypted(None));
    let peer = way.peer_with(login("0000000000000000"));
    let refused = peer.attempted().await.unwrap_err();
    let expected = LinkErrorKind::Refused("name or secret is wrong".into());
    assert_eq!(refused.kind(), &expected);
    // It tries again by itself, until it has to wait.
    while secrets.stats().made_to_wait == 0 {
        system.clock().sleep(Duration::from_millis(100)).await;
    }
    assert!(secrets.stats().wrong >= 5);
    peer.close();
}

#[callboard::test(both)]
async fn g35_a_secret_never_leaves_over_a_channel_that_others_read(system: System) {
    let (node, secrets, _probe) = with_kiosk(&system).await;
    for proof in [Proof::plain(), Proof::local(None)] {
        let peer = Way::with(&node, proof).peer_with(login(KIOSKS));
        let refused = peer.attempted().await.unwrap_err();
        let expected = LinkErrorKind::RefusedHere("secrets are taken over TLS only".into());
        assert_eq!(refused.kind(), &expected);
        peer.close();
    }
    assert_eq!(secrets.stats().not_encrypted, 0, "it wasn't even sent");
}

/// Who finds out the id of a session can't go on with it as somebody else: the node compares what is proved.
#[callboard::test(both)]
async fn g35_a_session_resumes_for_the_same_principal_only(system: System) {
    let config = LinkConfig::default();
    let node = Node::with(&system, "node", Incarnation(1), config).unwrap();
    let (_actor, _probe) = crate::actors::expose_tester(&node);
    node.rights().grant("cert:a", Verbs::EXECUTE, ">").unwrap();
    let turning = Turning::new(&node);
    let peer = Peer::dialled(&system, turning.clone(), LinkConfig::default());
    peer.connected().await.unwrap();
    assert_eq!(ask(&peer, "tester").await, Ok(1));
    // The next connections are proved to be somebody else's.
    turning.turn("cert:b");
    let failure = loop {
        match ask(&peer, "tester").await {
            // It was answered before the connection was cut.
            Ok(_) => {}
            Err(failure) if failure.kind() == FailureKind::NotAuthorised => break failure,
            Err(_) => system.clock().sleep(Duration::from_millis(1)).await,
        }
    };
    assert_denied(&failure, "cert:b may not execute \"tester\"");
}

/// A way whose certificate can change, which cuts the connection there is.
#[derive(Clone)]
struct Turning {
    node: Node,
    principal: Arc<parking_lot::Mutex<String>>,
    cut: Arc<tokio::sync::Notify>,
}

impl Turning {
    fn new(node: &Node) -> Self {
        Turning {
            node: node.clone(),
            principal: Arc::new(parking_lot::Mutex::new("cert:a".to_owned())),
            cut: Arc::default(),
        }
    }

    fn turn(&self, principal: &str) {
        *self.principal.lock() = principal.to_owned();
        self.cut.notify_waiters();
    }
}

impl Connector for Turning {
    fn address(&self) -> String {
        "far away".into()
    }

    fn boundary(&self) -> Boundary {
        Boundary::Network
    }

    fn connect(&self) -> BoxFuture<'_, io::Result<Connected>> {
        let turning = self.clone();
        Box::pin(async move {
            let principal = Principal::new(turning.principal.lock().clone());
            let proof = Proof::encrypted(Some(principal));
            let (near, mut middle) = tokio::io::duplex(4_096);
            let (mut other, far) = tokio::io::duplex(4_096);
            let system = turning.node.system().clone();
            let node = turning.node.clone();
            system.spawn(Placement::Spread, move || async move {
                node.serve(far, "here", proof).await;
            });
            let cut = turning.cut.clone();
            system.spawn(Placement::Spread, move || async move {
                let copying = tokio::io::copy_bidirectional(&mut middle, &mut other);
                let cut = cut.notified();
                futures::future::select(std::pin::pin!(copying), std::pin::pin!(cut)).await;
            });
            Ok(Connected::new(near, Proof::encrypted(None)))
        })
    }
}
