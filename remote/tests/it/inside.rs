//! What a handler may do to the link that it was asked over: it may run on the stack of the very reader, and nothing
//! of that waits for it.

use callboard::{Actor, Context, FailureKind, Handler, Message, Recipient, System};
use callboard_remote::Node;
use serde::{Deserialize, Serialize};

use crate::wires::{Memory, connect};

struct Inspector(Node);

impl Actor for Inspector {}

#[derive(Message, Serialize, Deserialize)]
#[message(reply = usize, name = "test.sessions")]
struct Sessions;

#[derive(Message, Serialize, Deserialize)]
#[message(reply = (), name = "test.close")]
struct Close;

impl Handler<Sessions> for Inspector {
    async fn handle(&mut self, _: Sessions, _ctx: &mut Context<Self>) -> usize {
        self.0.state().sessions.len()
    }
}

impl Handler<Close> for Inspector {
    async fn handle(&mut self, _: Close, _ctx: &mut Context<Self>) {
        self.0.close();
    }
}

fn inspected(system: &System) -> Node {
    let node = Node::new(system, "inspected").unwrap();
    let inspector = system.start(Inspector(node.clone()));
    node.expose::<Sessions>("inspector", &inspector.recipient())
        .unwrap();
    node.expose::<Close>("inspector", &inspector.recipient())
        .unwrap();
    node
}

// One arbiter: reader and actor share it, and an idle actor handles an ask right there.
#[callboard::test(both, arbiters = 1)]
async fn g10_a_handler_may_look_at_the_session_it_was_asked_over(system: System) {
    let node = inspected(&system);
    let (_wire, peer) = connect::<Memory>(&system, &node).await;
    let sessions: Recipient<Sessions> = peer.recipient("inspector").unwrap();
    for _ in 0..10 {
        assert_eq!(sessions.ask(Sessions).await.unwrap(), 1);
    }
}

#[callboard::test(both, arbiters = 1)]
async fn g10_a_handler_may_end_the_session_it_was_asked_over(system: System) {
    let node = inspected(&system);
    let (_wire, peer) = connect::<Memory>(&system, &node).await;
    let close: Recipient<Close> = peer.recipient("inspector").unwrap();
    let sessions: Recipient<Sessions> = peer.recipient("inspector").unwrap();
    // Its answer has no way back any more.
    let error = close.ask(Close).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::ConnectionLost, "{error}");
    assert!(node.state().sessions.is_empty());
    let error = sessions.ask(Sessions).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NoConnection, "{error}");
}
