//! Messages and an actor that the tests talk to.

use std::sync::Arc;
use std::time::Duration;

use callboard::{
    Actor, ActorRef, Context, DeferredHandler, Handler, Message, Overflow, RequestKey, Responder,
    System,
};
use callboard_remote::Node;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(reply = u64, name = "test.add")]
pub(crate) struct Add(pub(crate) u64);

/// Has the name of [`Add`] and a version that nobody here takes.
#[derive(Message, Serialize, Deserialize)]
#[message(reply = u64, name = "test.add", version = 2)]
pub(crate) struct NewerAdd(pub(crate) u64);

/// Has the name and version of [`Add`], and another shape.
#[derive(Message, Serialize, Deserialize)]
#[message(reply = u64, name = "test.add")]
pub(crate) struct WrongShape(pub(crate) String);

/// Has the name and version of [`Add`], and expects another answer.
#[derive(Message, Serialize, Deserialize)]
#[message(reply = String, name = "test.add")]
pub(crate) struct WrongReply(pub(crate) u64);

#[derive(Message, Serialize, Deserialize)]
#[message(reply = (), name = "test.unheard")]
pub(crate) struct Unheard;

#[derive(Message, Serialize, Deserialize)]
#[message(reply = Bytes, name = "test.echo")]
pub(crate) struct Echo(pub(crate) Bytes);

pub(crate) type Bytes = Vec<u8>;

/// Is answered when the test says so.
#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(reply = u64, name = "test.hold")]
pub(crate) struct Hold(pub(crate) u64);

#[derive(Message, Serialize, Deserialize)]
#[message(reply = (), name = "test.panic")]
pub(crate) struct Panic;

/// Asks what travelled beside it.
#[derive(Message, Serialize, Deserialize)]
#[message(reply = Seen, name = "test.look")]
pub(crate) struct Look;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) remaining: Option<Duration>,
    pub(crate) key: Option<RequestKey>,
    pub(crate) attempt: u32,
    pub(crate) caller_retries: bool,
    pub(crate) principal: Option<String>,
}

/// What the actor did, and the asks it holds, as the test sees them.
#[derive(Clone, Default)]
pub(crate) struct Probe(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    added: Vec<u64>,
    held: Vec<(u64, Responder<u64>)>,
    withdrawn: Vec<u64>,
    changed: Vec<std::task::Waker>,
}

impl Probe {
    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.0.lock();
        change(&mut inner);
        let wake = std::mem::take(&mut inner.changed);
        drop(inner);
        wake.into_iter().for_each(std::task::Waker::wake);
    }

    async fn until<T>(&self, mut found: impl FnMut(&mut Inner) -> Option<T>) -> T {
        std::future::poll_fn(|cx| {
            let mut inner = self.0.lock();
            match found(&mut inner) {
                Some(found) => std::task::Poll::Ready(found),
                None => {
                    inner.changed.push(cx.waker().clone());
                    std::task::Poll::Pending
                }
            }
        })
        .await
    }

    pub(crate) fn added_now(&self) -> Vec<u64> {
        self.0.lock().added.clone()
    }

    /// Waits for an ask that is held, and takes it out.
    pub(crate) async fn held(&self) -> (u64, Responder<u64>) {
        self.until(|inner| (!inner.held.is_empty()).then(|| inner.held.remove(0)))
            .await
    }

    /// Waits until that held ask was given up.
    pub(crate) async fn withdrawn(&self, number: u64) {
        self.until(|inner| inner.withdrawn.contains(&number).then_some(()))
            .await;
    }
}

pub(crate) struct Tester {
    probe: Probe,
    sum: u64,
}

impl Actor for Tester {}

impl Handler<Add> for Tester {
    async fn handle(&mut self, Add(n): Add, _ctx: &mut Context<Self>) -> u64 {
        self.sum += n;
        self.probe.change(|inner| inner.added.push(n));
        self.sum
    }
}

impl Handler<Echo> for Tester {
    async fn handle(&mut self, Echo(bytes): Echo, _ctx: &mut Context<Self>) -> Bytes {
        bytes
    }
}

impl DeferredHandler<Hold> for Tester {
    async fn handle_deferred(
        &mut self,
        Hold(n): Hold,
        mut responder: Responder<u64>,
        _ctx: &mut Context<Self>,
    ) {
        let probe = self.probe.clone();
        responder.on_withdraw(move || probe.change(|inner| inner.withdrawn.push(n)));
        self.probe.change(|inner| inner.held.push((n, responder)));
    }
}

impl Handler<Panic> for Tester {
    async fn handle(&mut self, _: Panic, _ctx: &mut Context<Self>) {
        panic!("as it was told to, at /secret/path");
    }
}

impl Handler<Look> for Tester {
    async fn handle(&mut self, _: Look, ctx: &mut Context<Self>) -> Seen {
        let meta = ctx.meta();
        Seen {
            remaining: ctx.remaining(),
            key: meta.key,
            attempt: meta.attempt,
            caller_retries: meta.caller_retries,
            principal: ctx.principal().map(ToString::to_string),
        }
    }
}

/// A node that exposes a [`Tester`] as `tester`.
pub(crate) fn tester(system: &System, name: &str) -> (Node, ActorRef<Tester>, Probe) {
    let node = Node::new(system, name).unwrap();
    let (actor, probe) = expose_tester(&node);
    (node, actor, probe)
}

pub(crate) fn expose_tester(node: &Node) -> (ActorRef<Tester>, Probe) {
    let probe = Probe::default();
    let inside = probe.clone();
    let make = move || Tester {
        probe: inside,
        sum: 0,
    };
    let actor = node
        .system()
        .actor(make)
        .mailbox(64, Overflow::Wait)
        .start();
    node.expose::<Add>("tester", &actor.recipient()).unwrap();
    node.expose::<Echo>("tester", &actor.recipient()).unwrap();
    node.expose::<Hold>("tester", &actor.recipient()).unwrap();
    node.expose::<Panic>("tester", &actor.recipient()).unwrap();
    node.expose::<Look>("tester", &actor.recipient()).unwrap();
    (actor, probe)
}

/// What is published in tests.
#[derive(Debug, Clone, PartialEq, Message, Serialize, Deserialize)]
#[message(name = "test.viewed")]
pub(crate) struct Viewed(pub(crate) u64);

/// Has the name of [`Viewed`] and another version.
#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(name = "test.viewed", version = 2)]
pub(crate) struct NewerViewed(pub(crate) u64);
