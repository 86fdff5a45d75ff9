//! References inside messages, in both directions of a session.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use callboard::queue::Queue;
use callboard::topic::{SubscriberOptions, Topic, TopicEvent};
use callboard::{
    Actor, Context, FailureKind, Handler, Incarnation, Message, Recipient, System, Verdict, Watch,
};
use callboard_remote::{
    LinkConfig, Node, Peer, Reference, ReferenceError, RemoteEvent, Rules, Verbs,
};
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use serde::{Deserialize, Serialize};

use crate::actors::{Add, NewerAdd, tester};
use crate::wires::{Memory, Simulated, Wire};

#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(reply = (), name = "test.note")]
struct Note(u64);

/// The sum goes where it says, as an answer and as a message of its own.
#[derive(Message, Serialize, Deserialize)]
#[message(reply = Result<(), String>, name = "test.call_back")]
struct CallBack {
    number: u64,
    to: Reference<Note>,
}

/// Asks for a counter of one's own.
#[derive(Message, Serialize, Deserialize)]
#[message(reply = Option<Reference<Add>>, name = "test.hire")]
struct Hire;

struct Office {
    node: Node,
    hired: Vec<callboard_remote::Lent<Add>>,
    resolved: mpsc::Sender<Recipient<Note>>,
}

impl Actor for Office {}

impl Handler<CallBack> for Office {
    async fn handle(&mut self, call: CallBack, _ctx: &mut Context<Self>) -> Result<(), String> {
        let to = call.to.resolve(&self.node);
        let to = to.map_err(|error| error.to_string())?;
        let told = to.ask(Note(call.number)).await;
        let _ = self.resolved.try_send(to);
        told.map_err(|error| error.to_string())
    }
}

impl Handler<Hire> for Office {
    async fn handle(&mut self, _: Hire, ctx: &mut Context<Self>) -> Option<Reference<Add>> {
        let counter = ctx.system().start(Counter(0)).recipient::<Add, _>();
        let lent = self.node.lend(&counter).ok()?;
        let reference = lent.reference();
        self.hired.push(lent);
        Some(reference)
    }
}

struct Counter(u64);

impl Actor for Counter {}

impl Handler<Add> for Counter {
    async fn handle(&mut self, Add(n): Add, _ctx: &mut Context<Self>) -> u64 {
        self.0 += n;
        self.0
    }
}

/// Keeps what it is told.
struct Clerk(mpsc::Sender<u64>);

impl Actor for Clerk {}

impl Handler<Note> for Clerk {
    async fn handle(&mut self, Note(n): Note, _ctx: &mut Context<Self>) {
        let _ = self.0.try_send(n);
    }
}

type Resolved = mpsc::Receiver<Recipient<Note>>;

fn office(system: &System, name: &str) -> (Node, Resolved) {
    let node = Node::new(system, name).unwrap();
    node.rights().replace(open());
    let (resolved, rx) = mpsc::channel(1_000);
    let actor = system.start(Office {
        node: node.clone(),
        hired: Vec::new(),
        resolved,
    });
    node.expose::<CallBack>("office", &actor.recipient())
        .unwrap();
    node.expose::<Hire>("office", &actor.recipient()).unwrap();
    (node, rx)
}

/// Whoever comes may do anything.
pub(crate) fn open() -> Rules {
    Rules::new()
        .allow("*", Verbs::ALL, ">")
        .and_then(|rules| rules.allow("anonymous", Verbs::ALL, ">"))
        .unwrap()
}

fn clerk(system: &System) -> (Recipient<Note>, mpsc::Receiver<u64>) {
    let (tx, rx) = mpsc::channel(1_000);
    (system.start(Clerk(tx)).recipient(), rx)
}

/// A peer that offers a node of its own: street to office.
async fn street<W: Wire>(system: &System, office: &Node) -> (W, Peer, Node) {
    let street = Node::new(system, "street").unwrap();
    street.rights().replace(open());
    let (wire, peer) = between::<W>(office, &street, LinkConfig::default()).await;
    (wire, peer, street)
}

/// A peer of `office` that offers `street`, and is known by its name.
pub(crate) async fn between<W: Wire>(
    office: &Node,
    street: &Node,
    config: LinkConfig,
) -> (W, Peer) {
    let system = office.system();
    let mut wire = W::new(system).await;
    wire.serve(office).await;
    let peer = wire.peer(system, config).await;
    peer.offer(street);
    // Where streams are attached, the one there was has introduced this side by another name.
    while peer.connected().await.is_err() || !knows(office, street.name()) {
        wire.cut();
        wire.heal().await;
        system.clock().sleep(Duration::from_millis(5)).await;
    }
    (wire, peer)
}

fn knows(node: &Node, name: &str) -> bool {
    node.state()
        .sessions
        .iter()
        .any(|session| session.peer == name)
}

pub(crate) async fn a_message_says_whom_to_call_back<W: Wire>(system: System) {
    let (node, mut resolved) = office(&system, "office");
    let (_wire, peer, street) = street::<W>(&system, &node).await;
    let (clerk, mut notes) = clerk(&system);
    let lent = street.lend(&clerk).unwrap();
    let office: Recipient<CallBack> = peer.recipient("office").unwrap();
    for number in 1..=3 {
        let to = lent.reference();
        assert_eq!(office.ask(CallBack { number, to }).await.unwrap(), Ok(()));
        assert_eq!(notes.next().await, Some(number));
    }
    let back = resolved.next().await.unwrap();
    // The simulated network proves what this process does.
    if TypeId::of::<W>() != TypeId::of::<Simulated>() {
        assert_eq!(back.boundary(), W::BOUNDARY);
    }
    // What is taken back can't be reached any more.
    let to = lent.reference();
    drop(lent);
    let refused = office.ask(CallBack { number: 4, to }).await.unwrap();
    assert!(refused.unwrap_err().starts_with("unknown name"));
    // Its way back ends with the session, and whoever watches is told (G12).
    let (tx, ended) = oneshot::channel();
    back.watch(Box::new(move |notice| tx.send(notice.reason).unwrap()));
    peer.close();
    let reason = ended.await.unwrap().to_string();
    assert!(
        reason == "never existed" || reason.contains("its process was lost"),
        "{reason}"
    );
    let error = loop {
        match back.ask(Note(5)).await {
            Err(error) if error.kind() == FailureKind::NoConnection => break error,
            other => drop(other),
        }
    };
    assert_eq!(error.verdict(), Verdict::NotSent);
}

pub(crate) async fn a_reply_gives_somebody_to_talk_to<W: Wire>(system: System) {
    let (node, _resolved) = office(&system, "office");
    let (_wire, peer, _street) = street::<W>(&system, &node).await;
    let hire: Recipient<Hire> = peer.recipient("office").unwrap();
    let (one, two) = futures::join!(hire.ask(Hire).into_future(), hire.ask(Hire).into_future());
    let (one, two) = (one.unwrap().unwrap(), two.unwrap().unwrap());
    assert_ne!(one, two);
    assert_eq!(
        (one.node(), one.incarnation()),
        ("office", one.incarnation())
    );
    let (first, second) = (peer.resolve(&one).unwrap(), peer.resolve(&two).unwrap());
    assert_eq!(first.ask(Add(2)).await.unwrap(), 2);
    assert_eq!(second.ask(Add(5)).await.unwrap(), 5);
    assert_eq!(first.ask(Add(3)).await.unwrap(), 5);
}

#[callboard::test(both)]
async fn who_offers_a_node_late_is_introduced_anew(system: System) {
    let (node, _resolved) = office(&system, "office");
    let mut wire = Memory::new(&system).await;
    wire.serve(&node).await;
    let peer = wire.peer(&system, LinkConfig::default()).await;
    peer.connected().await.unwrap();
    assert!(!knows(&node, "street"));
    let street = Node::new(&system, "street").unwrap();
    peer.offer(&street);
    peer.connected().await.unwrap();
    assert!(knows(&node, "street"));
    assert_eq!(peer.state().stats.sessions_ended, 1);
    // The node was told that the session of before is over, and keeps none that nobody goes on with.
    let begin = system.clock().now();
    while node.state().sessions.len() > 1 {
        let waited = system.clock().now().since(begin);
        assert!(
            waited < Duration::from_secs(10),
            "{:?}",
            node.state().sessions
        );
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    // The same again is nothing new, and a lost connection changes nothing about who is here.
    peer.offer(&street);
    let connects = peer.state().stats.connects;
    wire.cut();
    wire.heal().await;
    while peer.state().stats.connects == connects {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(peer.state().stats.sessions_ended, 1);
    assert!(knows(&node, "street"));
}

#[callboard::test(both)]
async fn a_reference_leads_only_where_it_is_of(system: System) {
    let (node, _resolved) = office(&system, "office");
    let (_wire, peer, street) = street::<Memory>(&system, &node).await;
    let (elsewhere, _actor, _probe) = tester(&system, "elsewhere");
    let third: Reference<Note> = elsewhere.reference("tester").unwrap();
    // Over a session of another node.
    let office: Recipient<CallBack> = peer.recipient("office").unwrap();
    let call = CallBack {
        number: 1,
        to: third.clone(),
    };
    let refused = office.ask(call).await.unwrap().unwrap_err();
    assert!(
        refused.starts_with("tester at elsewhere is not of street"),
        "{refused}"
    );
    // Over a peer that leads elsewhere, and over no session at all.
    let error = peer.resolve(&third).unwrap_err();
    assert!(matches!(error, ReferenceError::OtherNode { .. }), "{error}");
    let error = street.resolve(&third).unwrap_err();
    assert!(matches!(error, ReferenceError::NoSession { .. }), "{error}");
    // Another start of the same node is another node.
    let later = Node::with(
        &system,
        "office",
        Incarnation(u64::MAX),
        LinkConfig::default(),
    );
    let later: Reference<Note> = later.unwrap().reference("office").unwrap();
    let error = peer.resolve(&later).unwrap_err();
    assert!(matches!(error, ReferenceError::OtherNode { .. }), "{error}");
    // Read as something else than it was made.
    let add: Reference<Add> = elsewhere.reference("tester").unwrap();
    let bytes = callboard::codec::encode(&add).unwrap();
    let newer: Reference<NewerAdd> = callboard::codec::decode(&bytes).unwrap();
    let error = elsewhere.resolve(&newer).unwrap_err();
    assert!(matches!(error, ReferenceError::OtherType { .. }), "{error}");
    let again: Reference<Add> = callboard::codec::decode(&bytes).unwrap();
    assert_eq!(again, add);
    let own = elsewhere.resolve(&add).unwrap();
    assert_eq!(own.ask(Add(4)).await.unwrap(), 4);
    // Whose word that is which was read from bytes is unknown: nobody's rights could be asked (G35).
    let error = elsewhere.resolve(&again).unwrap_err();
    assert!(matches!(error, ReferenceError::NoSession { .. }), "{error}");
}

#[callboard::test(both)]
async fn g35_a_reference_to_the_receiver_itself_gives_no_more_than_its_sender_has(system: System) {
    let (node, _resolved) = office(&system, "office");
    let (_wire, peer, _street) = street::<Memory>(&system, &node).await;
    let (clerk, mut notes) = clerk(&system);
    node.expose("private", &clerk).unwrap();
    let office: Recipient<CallBack> = peer.recipient("office").unwrap();
    let call = |number| CallBack {
        number,
        to: node.reference("private").unwrap(),
    };
    assert_eq!(office.ask(call(1)).await.unwrap(), Ok(()));
    assert_eq!(notes.next().await, Some(1));
    let only = Rules::closed()
        .allow("anonymous", Verbs::EXECUTE, "office")
        .unwrap();
    node.rights().replace(only);
    let refused = office.ask(call(2)).await.unwrap().unwrap_err();
    assert_eq!(refused, "private at office is not exposed");
    assert!(notes.try_recv().is_err());
}

#[callboard::test(both)]
async fn a_node_lists_the_ways_back_to_its_peers(system: System) {
    let (node, _resolved) = office(&system, "office");
    let (_wire, peer, street) = street::<Memory>(&system, &node).await;
    let (clerk, mut notes) = clerk(&system);
    street.expose("clerk", &clerk).unwrap();
    // Not the session of an attempt that was given up when the peer was told its name.
    let to_street = || -> Vec<Peer> {
        let is_street = |peer: &Peer| peer.state().remote.is_some_and(|it| it.name == "street");
        node.peers().into_iter().filter(is_street).collect()
    };
    let back = to_street();
    assert_eq!(back.len(), 1);
    let note: Recipient<Note> = back[0].recipient("clerk").unwrap();
    note.ask(Note(7)).await.unwrap();
    assert_eq!(notes.next().await, Some(7));
    // Offering something else over it changes nothing, and dropping it neither.
    back[0].offer(&street);
    let weak = Arc::new(note);
    drop((back, weak));
    let office: Recipient<Hire> = peer.recipient("office").unwrap();
    assert!(office.ask(Hire).await.unwrap().is_some());
    // Closing it ends the session; who dialled begins another.
    let sessions = peer.state().stats.sessions_ended;
    to_street()[0].close();
    while peer.state().stats.sessions_ended == sessions {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    peer.connected().await.unwrap();
    assert!(office.ask(Hire).await.unwrap().is_some());
}

/// An item that says whom to tell.
#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(reply = (), name = "test.parcel")]
struct Parcel {
    to: Reference<Note>,
}

/// One that came inside an item, or a message of a topic: bytes that were read after those around them.
#[callboard::test(both)]
async fn g35_a_reference_inside_an_item_gives_no_more_than_its_sender_has(system: System) {
    let (node, _resolved) = office(&system, "office");
    let parcels: Queue<Parcel> = system.queue("parcels").open().unwrap();
    let news: Topic<Parcel> = Topic::start(&system, "news");
    node.expose_queue("parcels", &parcels).unwrap();
    node.expose_publishing("news", &news).unwrap();
    node.expose_topic("news", &news).unwrap();
    let (clerk, mut notes) = clerk(&system);
    node.expose("private", &clerk).unwrap();
    let (_wire, peer, street) = street::<Memory>(&system, &node).await;
    let (own, _theirs) = clerk_of(&system, &street);
    let offered = peer.queue::<Parcel>("parcels").await.unwrap();
    let publisher = peer.publisher::<Parcel>("news").unwrap();
    let mut heard = news
        .subscribe(">", SubscriberOptions::default())
        .await
        .unwrap();
    let mut far_heard = peer.subscribe::<Parcel>("news", ">").unwrap();
    far_heard.ready().await.unwrap();
    let send = async |to: Reference<Note>| {
        let parcel = Parcel { to };
        offered.offer(parcel.clone()).await.unwrap();
        publisher.publish("post", parcel).await.unwrap();
    };
    let private = node.reference::<Note>("private").unwrap();

    // Who may use it itself may also say so.
    send(private.clone()).await;
    let item = parcels.poll().await.unwrap().unwrap();
    item.to.resolve(&node).unwrap().ask(Note(1)).await.unwrap();
    assert_eq!(notes.next().await, Some(1));
    let message = heard.next().await.unwrap();
    let TopicEvent::Message(message) = message else {
        panic!("{message:?}")
    };
    message
        .to
        .resolve(&node)
        .unwrap()
        .ask(Note(2))
        .await
        .unwrap();
    assert_eq!(notes.next().await, Some(2));
    // The way back is known, too.
    send(own.clone()).await;
    let item = parcels.poll().await.unwrap().unwrap();
    item.to.resolve(&node).unwrap();
    let _ = heard.next().await;

    let only = Verbs::OFFER | Verbs::PUBLISH | Verbs::SUBSCRIBE;
    node.rights()
        .replace(Rules::closed().allow("anonymous", only, ">").unwrap());
    send(private.clone()).await;
    let item = parcels.poll().await.unwrap().unwrap();
    let error = item.to.resolve(&node).unwrap_err();
    assert!(matches!(error, ReferenceError::Concealed { .. }), "{error}");
    let message = heard.next().await.unwrap();
    let TopicEvent::Message(message) = message else {
        panic!("{message:?}")
    };
    let error = message.to.resolve(&node).unwrap_err();
    assert!(matches!(error, ReferenceError::Concealed { .. }), "{error}");

    // One of a process that subscribes, in an event: the publisher can't reach by it what it can't reach itself.
    let event = loop {
        match far_heard.next().await.unwrap() {
            RemoteEvent::Message { value, .. } if value.to == own => break value,
            _ => {}
        }
    };
    let error = street.resolve(&event.to).unwrap_err();
    assert!(matches!(error, ReferenceError::NoSession { .. }), "{error}");
    assert!(notes.try_recv().is_err());
}

/// A clerk that a node exposes, by reference.
fn clerk_of(system: &System, node: &Node) -> (Reference<Note>, mpsc::Receiver<u64>) {
    let (clerk, notes) = clerk(system);
    node.expose("clerk", &clerk).unwrap();
    (node.reference("clerk").unwrap(), notes)
}
