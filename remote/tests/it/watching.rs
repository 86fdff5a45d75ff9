//! Watching actors in another process (G12).

use std::sync::Arc;
use std::time::Duration;

use callboard::{
    Actor, ChildEvent, Context, ExitReason, FailureClass, Fault, Handler, Incarnation, LifeEvent,
    Message, OnChildEvent, Recipient, System, Terms, Watch, WatchHandle,
};
use callboard_remote::{LinkConfig, Node, Peer, Phase, Rules};
use futures::StreamExt;
use futures::channel::mpsc;
use serde::{Deserialize, Serialize};

use crate::actors::{Add, Look, NewerAdd, Unheard, expose_tester, tester};
use crate::wires::{Memory, Wire, connect, connect_with};

const MOMENT: Duration = Duration::from_millis(1);

/// Fails with that class.
#[derive(Message, Serialize, Deserialize)]
#[message(reply = (), name = "test.fail")]
struct Fail(FailureClass);

struct Fragile;

impl Actor for Fragile {}

impl Handler<Fail> for Fragile {
    async fn handle(&mut self, Fail(class): Fail, ctx: &mut Context<Self>) {
        ctx.fail(Fault::new(class, "no such file: /secret/path"));
    }
}

/// What a watcher was told, in order.
struct Heard {
    events: mpsc::Receiver<LifeEvent>,
    handle: WatchHandle,
}

impl Heard {
    fn of<M: Message>(watched: &Recipient<M>) -> Self {
        let (tx, events) = mpsc::channel(1_000);
        let handle = watched.watch_life(Arc::new(move |event| {
            // An error means that the test is over.
            let _ = tx.clone().try_send(event);
        }));
        Heard { events, handle }
    }

    /// The next event, as a text without labels.
    async fn next(&mut self) -> String {
        match self.events.next().await.unwrap() {
            LifeEvent::Restarted {
                incarnation,
                reason,
                ..
            } => format!("restarted as {}: {reason}", incarnation.0),
            LifeEvent::NoConnection { .. } => "no connection".into(),
            LifeEvent::Reconnected { .. } => "reconnected".into(),
            LifeEvent::Terminated(notice) => format!("terminated: {}", notice.reason),
            other => panic!("{other:?}"),
        }
    }

    /// Nothing is on its way, and the watch has been dropped over here: its end.
    async fn ends(mut self) {
        assert_eq!(self.events.next().await, None);
    }

    fn is_silent(&mut self) -> bool {
        self.events.try_recv().is_err()
    }
}

/// Waits until the node has begun all watches before: one that can't hold is answered in its turn.
async fn settled(peer: &Peer) {
    let untaken: Recipient<NewerAdd> = peer.recipient("tester").unwrap();
    let mut heard = Heard::of(&untaken);
    while !heard.next().await.starts_with("terminated") {}
}

fn hasty() -> LinkConfig {
    let mut config = LinkConfig::default();
    config.backoff = MOMENT;
    config.backoff_cap = MOMENT;
    config
}

async fn until(system: &System, mut reached: impl FnMut() -> bool) {
    while !reached() {
        system.clock().sleep(MOMENT).await;
    }
}

pub(crate) async fn g12_the_end_of_an_actor_elsewhere_is_told_once_with_its_reason<W: Wire>(
    system: System,
) {
    let (node, actor, _probe) = tester(&system, "watched");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    let (mut first, mut second, mut other) = (Heard::of(&add), Heard::of(&add), Heard::of(&look));
    let (tx, plain) = futures::channel::oneshot::channel();
    add.watch(Box::new(move |notice| tx.send(notice).unwrap()));
    settled(&peer).await;
    assert!(first.is_silent() && second.is_silent() && other.is_silent());
    actor.stop();
    let notice = plain.await.unwrap();
    assert_eq!((notice.id, notice.reason), (add.id(), ExitReason::Stopped));
    assert_eq!(notice.label, add.label());
    assert_eq!(notice.incarnation, Incarnation::FIRST);
    for mut heard in [first, second, other] {
        assert_eq!(heard.next().await, "terminated: stopped");
        heard.ends().await;
    }
    // Who begins to watch now is told at once what became of it.
    let mut late = Heard::of(&add);
    assert_eq!(late.next().await, "terminated: stopped");
    late.ends().await;
}

pub(crate) async fn g12_restarts_elsewhere_are_told_and_end_nothing<W: Wire>(system: System) {
    let node = Node::new(&system, "fragile").unwrap();
    let (actor, place) = system.actor(|| Fragile).place();
    node.expose::<Fail>("tester", &actor.recipient()).unwrap();
    let (tx, mut told) = mpsc::channel(1_000);
    let on_event: OnChildEvent = Arc::new(move |_, event| {
        let _ = tx.clone().try_send(event);
    });
    place.start(Terms::new(Arc::clone(&on_event)));
    while told.next().await.unwrap() != ChildEvent::Started {}
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let fail: Recipient<Fail> = peer.recipient("tester").unwrap();
    let mut heard = Heard::of(&fail);
    settled(&peer).await;
    let _ = fail.ask(Fail(FailureClass::Recoverable)).await;
    while !matches!(told.next().await.unwrap(), ChildEvent::Ended(_)) {}
    place.start(Terms::new(on_event));
    assert_eq!(
        heard.next().await,
        "restarted as 2: failed: its own process knows why"
    );
    place.kill();
    while !matches!(told.next().await.unwrap(), ChildEvent::Ended(_)) {}
    assert!(heard.is_silent());
    place.close(ExitReason::Killed);
    assert_eq!(heard.next().await, "terminated: killed");
    heard.ends().await;
}

pub(crate) async fn g12_of_a_failure_elsewhere_the_class_is_told_and_no_text<W: Wire>(
    system: System,
) {
    let node = Node::new(&system, "fragile").unwrap();
    let fragile = system.start(Fragile).recipient::<Fail, _>();
    node.expose("tester", &fragile).unwrap();
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let fail: Recipient<Fail> = peer.recipient("tester").unwrap();
    let mut heard = Heard::of(&fail);
    let _ = fail.ask(Fail(FailureClass::Fatal)).await;
    let ended = heard.next().await;
    assert_eq!(
        ended,
        "terminated: failed: its own process knows why (fatal)"
    );
}

pub(crate) async fn g12_what_has_no_name_elsewhere_never_existed<W: Wire>(system: System) {
    let (node, _actor, _probe) = tester(&system, "empty");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let nobody: Recipient<Add> = peer.recipient("nobody").unwrap();
    let untaken: Recipient<Unheard> = peer.recipient("tester").unwrap();
    for mut heard in [Heard::of(&nobody), Heard::of(&untaken)] {
        assert_eq!(heard.next().await, "terminated: never existed");
        heard.ends().await;
    }
}

pub(crate) async fn g12_a_watch_that_was_ended_tells_nothing<W: Wire>(system: System) {
    let (node, actor, _probe) = tester(&system, "unwatched");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let (gone, mut stays) = (Heard::of(&add), Heard::of(&add));
    gone.handle.cancel();
    gone.ends().await;
    settled(&peer).await;
    actor.stop();
    assert_eq!(stays.next().await, "terminated: stopped");
    stays.handle.cancel();
    stays.ends().await;
}

pub(crate) async fn g12_a_lost_connection_is_told_and_ends_nothing<W: Wire>(system: System) {
    let (node, actor, _probe) = tester(&system, "cut");
    let (mut wire, peer) = connect_with::<W>(&system, &node, hasty()).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let mut heard = Heard::of(&add);
    settled(&peer).await;
    let resumes = wire_resumes(&peer);
    for _ in 0..2 {
        wire.cut();
        if !resumes {
            // The pipes of a child lead to that child only.
            assert!(heard.next().await.contains("its process was lost"));
            return heard.ends().await;
        }
        assert_eq!(heard.next().await, "no connection");
        // Who begins to watch now is told so at once.
        let mut late = Heard::of(&add);
        assert_eq!(late.next().await, "no connection");
        wire.heal().await;
        assert_eq!(late.next().await, "reconnected");
        assert_eq!(heard.next().await, "reconnected");
        late.handle.cancel();
    }
    settled(&peer).await;
    wire.cut();
    assert_eq!(heard.next().await, "no connection");
    // What happens meanwhile is told when it can be.
    actor.stop();
    wire.heal().await;
    let mut last = heard.next().await;
    if last == "reconnected" {
        last = heard.next().await;
    }
    assert_eq!(last, "terminated: stopped");
    heard.ends().await;
}

/// Whether a connection that was lost can lead to the same process again.
fn wire_resumes(peer: &Peer) -> bool {
    !peer.config().session_time.is_zero()
}

pub(crate) async fn g12_another_incarnation_of_the_node_ends_what_was_watched<W: Wire>(
    system: System,
) {
    let (node, _actor, _probe) = tester(&system, "first");
    let (mut wire, peer) = connect_with::<W>(&system, &node, hasty()).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let mut heard = Heard::of(&add);
    settled(&peer).await;
    node.close();
    let next = Node::with(&system, "first", Incarnation(u64::MAX), hasty()).unwrap();
    let (_actor, _probe) = expose_tester(&next);
    wire.serve(&next).await;
    let mut last = heard.next().await;
    if last == "no connection" {
        last = heard.next().await;
    }
    assert!(last.contains("its process was lost"), "{last}");
    heard.ends().await;
    // The one that is there now is watched anew.
    peer.connected().await.unwrap();
    let mut heard = Heard::of(&add);
    settled(&peer).await;
    assert!(heard.is_silent());
}

pub(crate) async fn g12_watches_outlive_the_session_while_the_actor_is_the_same<W: Wire>(
    system: System,
) {
    let (node, actor, _probe) = tester(&system, "long");
    let mut config = hasty();
    config.session_time = MOMENT;
    let (mut wire, peer) = connect_with::<W>(&system, &node, config).await;
    if !wire_resumes(&peer) {
        return;
    }
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    let (mut heard, mut moved) = (Heard::of(&add), Heard::of(&look));
    settled(&peer).await;
    lose_session(&system, &mut wire, &node, &peer).await;
    assert_eq!(heard.next().await, "no connection");
    assert_eq!(moved.next().await, "no connection");
    // Nobody tells of what happens now; somebody else gets the name.
    node.conceal("tester");
    let other = system.start(Fragile).recipient::<Fail, _>();
    node.expose("tester", &other).unwrap();
    node.expose::<Add>("tester", &actor.recipient()).unwrap();
    wire.heal().await;
    peer.connected().await.unwrap();
    assert_eq!(heard.next().await, "reconnected");
    let ended = moved.next().await;
    assert!(ended.contains("nothing has its name any more"), "{ended}");
    moved.ends().await;
    lose_session(&system, &mut wire, &node, &peer).await;
    assert_eq!(heard.next().await, "no connection");
    node.conceal("tester");
    let (_other, _probe) = expose_tester(&node);
    wire.heal().await;
    let ended = heard.next().await;
    assert!(ended.contains("somebody else has its name now"), "{ended}");
    heard.ends().await;
}

async fn lose_session<W: Wire>(system: &System, wire: &mut W, node: &Node, peer: &Peer) {
    wire.cut();
    until(system, || {
        node.state().sessions.is_empty() && peer.state().phase != Phase::Connected
    })
    .await;
}

pub(crate) async fn g12_closing_the_peer_ends_its_watches<W: Wire>(system: System) {
    let (node, _actor, _probe) = tester(&system, "closed");
    let (_wire, peer) = connect::<W>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let mut heard = Heard::of(&add);
    settled(&peer).await;
    peer.close();
    assert_eq!(heard.next().await, "terminated: stopped");
    heard.ends().await;
    until(&system, || node.state().sessions.is_empty()).await;
}

#[callboard::test(both)]
async fn g12_who_may_not_send_to_a_name_may_not_watch_it(system: System) {
    let (node, actor, _probe) = tester(&system, "closed");
    let (_wire, peer) = connect::<Memory>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let mut before = Heard::of(&add);
    settled(&peer).await;
    node.rights().replace(Rules::closed());
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    let mut refused = Heard::of(&look);
    let text = refused.next().await;
    assert!(
        text.contains("it can't be watched: not authorised"),
        "{text}"
    );
    refused.ends().await;
    // Nothing more is told to who had the right.
    actor.kill();
    let text = before.next().await;
    assert!(text.contains("not authorised"), "{text}");
    before.ends().await;
}

#[callboard::test(both)]
async fn g12_more_watches_than_a_node_takes_are_refused(system: System) {
    let mut config = LinkConfig::default();
    config.watches = 1;
    let node = Node::with(&system, "small", Incarnation(1), config).unwrap();
    let (actor, _probe) = expose_tester(&node);
    let (_wire, peer) = connect::<Memory>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    let look: Recipient<Look> = peer.recipient("tester").unwrap();
    // Two watchers of one subject need one watch.
    let (mut first, mut second) = (Heard::of(&add), Heard::of(&add));
    let mut refused = Heard::of(&look);
    let text = refused.next().await;
    assert!(text.contains("too many watches"), "{text}");
    // A place that is given back can be used.
    first.handle.cancel();
    second.handle.cancel();
    assert!(first.is_silent() && second.is_silent());
    let mut again = Heard::of(&look);
    settled(&peer).await;
    actor.stop();
    assert_eq!(again.next().await, "terminated: stopped");
}

#[callboard::test(both)]
async fn g10_a_watcher_that_panics_or_calls_back_harms_nobody(system: System) {
    let (node, actor, _probe) = tester(&system, "panicky");
    let (_wire, peer) = connect::<Memory>(&system, &node).await;
    let add: Recipient<Add> = peer.recipient("tester").unwrap();
    add.watch_life(Arc::new(|_| panic!("as it was told to")));
    let (again, closing) = (add.clone(), peer.clone());
    let (tx, rx) = futures::channel::oneshot::channel();
    // It watches, unwatches and closes the peer from within.
    add.watch(Box::new(move |notice| {
        again.watch(Box::new(|_| ())).cancel();
        closing.close();
        tx.send(notice.reason).unwrap();
    }));
    settled(&peer).await;
    actor.stop();
    assert_eq!(rx.await.unwrap(), ExitReason::Stopped);
}
