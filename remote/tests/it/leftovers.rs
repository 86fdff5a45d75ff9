//! What has arrived and waits for its receiver when the session ends (G6).

use std::time::Duration;

use callboard::{
    Actor, Context, DropReason, FailureKind, Handler, Incarnation, Overflow, Recipient, System,
};
use callboard_remote::{LinkConfig, Node, Peer};
use tokio::sync::watch;

use crate::actors::{Echo, tester};
use crate::proxy::{Proxy, Way, Weather};
use crate::wires::{Memory, connect};

const MS: Duration = Duration::from_millis(1);

/// Takes one message after the other, once it may.
struct Slow {
    may: watch::Receiver<bool>,
    done: watch::Sender<usize>,
}

impl Actor for Slow {}

impl Handler<Echo> for Slow {
    async fn handle(&mut self, Echo(bytes): Echo, _ctx: &mut Context<Self>) -> Vec<u8> {
        self.may.wait_for(|may| *may).await.unwrap();
        self.done.send_modify(|done| *done += 1);
        bytes
    }
}

struct Scene {
    node: Node,
    may: watch::Sender<bool>,
    done: watch::Receiver<usize>,
}

impl Scene {
    fn new(system: &System, config: LinkConfig) -> Scene {
        let node = Node::with(system, "node", Incarnation(1), config).unwrap();
        let (may, inside) = watch::channel(false);
        let (tx, done) = watch::channel(0);
        let make = move || Slow {
            may: inside,
            done: tx,
        };
        let slow = system.actor(make).mailbox(1, Overflow::Wait).start();
        node.expose::<Echo>("slow", &slow.recipient()).unwrap();
        Scene { node, may, done }
    }

    /// A peer whose tells have all arrived, and which has ended then.
    async fn tells(&self, system: &System, count: usize) {
        let (_wire, peer) = connect::<Memory>(system, &self.node).await;
        let slow: Recipient<Echo> = peer.recipient("slow").unwrap();
        for _ in 0..count {
            slow.tell(Echo(vec![7; 100])).await.unwrap();
        }
        let waits = |peer: &Peer| {
            let state = peer.state();
            state.outbox_bytes + state.unacknowledged
        };
        while waits(&peer) > 0 {
            system.clock().sleep(MS).await;
        }
        peer.close();
        while !self.node.state().sessions.is_empty() {
            system.clock().sleep(MS).await;
        }
    }
}

fn undelivered(system: &System) -> u64 {
    let letters = system.dead_letters().counts().by_reason;
    letters.get(&DropReason::Undelivered).copied().unwrap_or(0)
}

#[callboard::test(both)]
async fn g06_what_has_arrived_is_handed_on_also_after_its_session(system: System) {
    let mut scene = Scene::new(&system, LinkConfig::default());
    scene.tells(&system, 100).await;
    assert_eq!(*scene.done.borrow(), 0);
    scene.may.send_replace(true);
    scene.done.wait_for(|done| *done == 100).await.unwrap();
    assert_eq!(undelivered(&system), 0);
}

#[callboard::test(both)]
async fn g03_what_ended_sessions_left_is_bounded_and_what_is_too_much_is_counted(system: System) {
    let mut config = LinkConfig::default();
    config.session_window = 3_000;
    let mut scene = Scene::new(&system, config);
    // One in hand, one in the mailbox, one that waits for room, and the others behind it.
    scene.tells(&system, 23).await;
    let before = drops(&system);
    scene.tells(&system, 20).await;
    // The first that waits for room takes no more than that: as do those of the first session.
    scene.may.send_replace(true);
    while *scene.done.borrow() as u64 + (drops(&system) - before) < 43 {
        scene.done.changed().await.unwrap();
    }
    let (done, lost) = (*scene.done.borrow(), drops(&system) - before);
    assert_eq!((done, lost), (23, 20));
    assert_eq!(undelivered(&system), 19, "of one only the count is left");
}

#[callboard::test(both)]
async fn g06_a_large_tell_that_was_not_acknowledged_is_counted_and_kept_whole(system: System) {
    let (node, _actor, _probe) = tester(&system, "node");
    let proxy = Proxy::new(&system, 0, Weather::Fair);
    let peer = Peer::dialled(&system, proxy.memory(&node), LinkConfig::default());
    peer.connected().await.unwrap();
    let echo: Recipient<Echo> = peer.recipient("tester").unwrap();
    echo.ask(Echo(vec![1])).await.unwrap();
    // From here on nothing is heard from there.
    proxy.set(Weather::Lost(Way::ToPeer));
    echo.tell(Echo(vec![7; 1_000_000])).await.unwrap();
    while peer.state().outbox_bytes > 0 {
        system.clock().sleep(MS).await;
    }
    peer.close();
    assert_eq!(undelivered(&system), 1);
    let failures = peer.state().stats.failures;
    assert!(
        failures.contains(&(FailureKind::ConnectionLost, 1)),
        "{failures:?}"
    );
    let letters = system.dead_letters().take();
    let large = letters.iter().filter(|letter| {
        let bytes = letter.message.downcast_ref::<Vec<u8>>();
        letter.target == "tester" && bytes.is_some_and(|bytes| bytes.len() > 1_000_000)
    });
    assert_eq!(large.count(), 1);
}

fn drops(system: &System) -> u64 {
    system.counters().drops(DropReason::Undelivered)
}
