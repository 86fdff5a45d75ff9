//! Asks in both directions of one session, when neither side takes any more.

use std::time::Duration;

use callboard::{
    Actor, Blob, Context, FailureKind, Handler, Incarnation, Message, Overflow, Recipient, System,
};
use callboard_remote::{LinkConfig, Node, Peer, Phase};
use futures::channel::oneshot;
use futures::future::{FutureExt, Shared, join_all};
use serde::{Deserialize, Serialize};

use crate::references::{between, open};
use crate::wires::Wire;

const MS: Duration = Duration::from_millis(1);

/// What may be on its way to one receiver. A load takes a third of it.
const WINDOW: u64 = 4_096;

/// How many asks cross, from each side.
const LOADS: usize = 50;

/// Carried over, back and over again.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(reply = Blob, name = "test.carry", raw)]
struct Carry(Blob);

/// The same at the other side.
#[derive(Debug, PartialEq, Message, Serialize, Deserialize)]
#[message(reply = Blob, name = "test.return", raw)]
struct Return(Blob);

/// Asks the other side whatever it is asked, once its gate is open.
struct Relay {
    gate: Shared<oneshot::Receiver<()>>,
    other: Recipient<Return>,
}

impl Actor for Relay {}

impl Handler<Carry> for Relay {
    async fn handle(&mut self, Carry(load): Carry, _: &mut Context<Self>) -> Blob {
        let _ = self.gate.clone().await;
        let back = self.other.ask(Return(load)).deadline(60_000 * MS).await;
        back.unwrap()
    }
}

/// Answers at once.
struct Leaf;

impl Actor for Leaf {}

impl Handler<Return> for Leaf {
    async fn handle(&mut self, Return(load): Return, _: &mut Context<Self>) -> Blob {
        load
    }
}

fn config() -> LinkConfig {
    let mut config = LinkConfig::default();
    config.window = WINDOW;
    config.outbox = 16 * 1024;
    config.compress_above = None;
    config
}

fn node(system: &System, name: &str) -> Node {
    let node = Node::with(system, name, Incarnation(1), config()).unwrap();
    node.rights().replace(open());
    let leaf = system.start(Leaf);
    node.expose::<Return>("leaf", &leaf.recipient()).unwrap();
    node
}

/// Exposes a relay to `there`. Dropping what is answered opens its gate.
fn relay(node: &Node, there: &Peer) -> oneshot::Sender<()> {
    let (gate, opens) = oneshot::channel();
    let (gate_of, other) = (opens.shared(), there.recipient("leaf").unwrap());
    let make = move || Relay {
        gate: gate_of,
        other,
    };
    let relay = node.system().actor(make).mailbox(1_000, Overflow::Wait);
    let relay = relay.start();
    node.expose::<Carry>("relay", &relay.recipient()).unwrap();
    gate
}

fn load(number: usize) -> Blob {
    vec![u8::try_from(number).unwrap(); 1_300].into()
}

/// All at once, each with its own load.
async fn carry(to: &Recipient<Carry>) {
    let asks = (0..LOADS).map(|number| {
        let ask = to.ask(Carry(load(number))).deadline(60_000 * MS);
        async move { (number, ask.await) }
    });
    for (number, answer) in join_all(asks).await {
        assert!(answer.unwrap() == load(number), "{number}");
    }
}

/// Waits until the flow takes no more.
async fn is_full(system: &System, to: &Recipient<Carry>) {
    loop {
        match to.try_tell(Carry(load(0))) {
            Ok(()) => system.clock().sleep(MS).await,
            Err(error) => {
                assert_eq!(error.kind(), FailureKind::Full);
                return;
            }
        }
    }
}

/// Each side's asks have filled the way to the other's relay before one of them is handled. Then each relay asks
/// back, over the same session: what it asks, its answers and theirs pass those that wait.
pub(crate) async fn g33_asks_that_cross_each_other_on_full_flows_end<W: Wire>(system: System) {
    let (office, street) = (node(&system, "office"), node(&system, "street"));
    let (_wire, peer) = between::<W>(&office, &street, config()).await;
    let back = loop {
        let back = office.peers().into_iter().find(|back| {
            let state = back.state();
            let is_street = state.remote.is_some_and(|it| it.name == "street");
            is_street && state.phase == Phase::Connected
        });
        match back {
            Some(back) => break back,
            None => system.clock().sleep(MS).await,
        }
    };
    let ended = peer.state().stats.sessions_ended;
    let gates = [relay(&office, &back), relay(&street, &peer)];
    let there: Recipient<Carry> = peer.recipient("relay").unwrap();
    let here: Recipient<Carry> = back.recipient("relay").unwrap();
    let opening = async {
        is_full(&system, &there).await;
        is_full(&system, &here).await;
        let waiting = [peer.state().waiting_bytes, back.state().waiting_bytes];
        for bytes in waiting {
            // A window, and what one message may overshoot it by.
            assert!(bytes as u64 <= 2 * WINDOW, "{waiting:?}");
        }
        drop(gates);
    };
    futures::join!(carry(&there), carry(&here), opening);
    // What was told has come through, too.
    while peer.state().in_flight + back.state().in_flight > 0 {
        system.clock().sleep(MS).await;
    }
    assert_eq!(peer.state().stats.sessions_ended, ended);
}
