//! An answer that is lost on the way, over a real socket: the caller learns what became of its request (G19).
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use callboard::remote::{Node, Peer};
use callboard::store::Store;
use callboard::supervision::{AskExt, CallPolicy, CallSettings, Dedup, Resolution, Resolve};
use callboard::{
    Actor, Context, DeferredHandler, FailureKind, Message, Recipient, RequestKey, Responder,
    System, Verdict,
};
use futures::StreamExt;
use futures::channel::mpsc;
use serde::{Deserialize, Serialize};

use crate::dir::Dir;

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(reply = u64, name = "lost.pay")]
struct Pay(u64);

/// Hands out the responder of each payment.
struct Bank(mpsc::Sender<(u64, Responder<u64>)>);
impl Actor for Bank {}
impl DeferredHandler<Pay> for Bank {
    async fn handle_deferred(
        &mut self,
        Pay(cents): Pay,
        responder: Responder<u64>,
        _: &mut Context<Self>,
    ) {
        // The test may have ended.
        let _ = self.0.try_send((cents, responder));
    }
}

#[callboard::test(arbiters)]
async fn g19_after_a_lost_answer_the_caller_learns_what_became_of_it(system: System) {
    let dir = Dir::new();
    // The callee: its store outlives the process, and a resolver answers under the same name.
    let store = Store::open(&system, dir.0.join("store")).await.unwrap();
    let dedup = Dedup::<Pay>::builder_encoded(&system);
    let dedup = dedup.durable("pays", Arc::new(store.clone()));
    let dedup = dedup.open().await.unwrap();
    let (tx, mut payments) = mpsc::channel(16);
    let bank = system.actor(move || Bank(tx.clone())).label("bank");
    let bank = bank.admission(dedup.clone()).start();
    let target = bank.recipient::<Pay, _>();
    let resolver = dedup.resolver(&system, &target);
    let node = Node::new(&system, "bank").unwrap();
    node.expose("bank", &target).unwrap();
    let resolves = resolver.recipient::<Resolve<Pay>, _>();
    node.expose("bank", &resolves).unwrap();
    let socket = dir.0.join("socket");
    node.listen_unix(&socket).await.unwrap();

    // The caller.
    let peer = Peer::unix(&system, &socket);
    peer.connected().await.unwrap();
    let pays: Recipient<Pay> = peer.recipient("bank").unwrap();
    let resolves: Recipient<Resolve<Pay>> = peer.recipient("bank").unwrap();
    let resolve = async |key| resolves.ask(Resolve::new(key)).await.unwrap();
    let mut settings = CallSettings::nothing();
    settings.deadline = Some(Duration::from_millis(100));
    let policy = CallPolicy::new("pays", settings).unwrap();

    let key = RequestKey::new();
    let lost = pays.ask(Pay(100)).key(key).policy(&policy).await;
    assert_eq!(lost.unwrap_err().verdict(), Verdict::MaybeExecuted);
    assert_eq!(resolve(key).await, Resolution::Running);
    let (cents, responder) = payments.next().await.unwrap();
    responder.send(cents * 2);
    // It is on its way to the disk.
    let mut resolution = resolve(key).await;
    while resolution == Resolution::Running {
        resolution = resolve(key).await;
    }
    assert_eq!(resolution, Resolution::Executed(Ok(200)));
    assert_eq!(pays.ask(Pay(100)).key(key).await.unwrap(), 200);

    // One that never arrived, and from now on never will.
    let never = RequestKey::new();
    let peek = resolves.ask(Resolve::peek(never)).await.unwrap();
    assert_eq!(peek, Resolution::Unknown);
    assert_eq!(resolve(never).await, Resolution::NotExecuted);
    let late = pays.ask(Pay(1)).key(never).await.unwrap_err();
    assert_eq!(
        (late.kind(), late.verdict()),
        (FailureKind::Withdrawn, Verdict::NotExecuted)
    );
    // Others are told nothing about it: this process' own requests come from nobody.
    assert_eq!(dedup.peek(&target, key).await, Resolution::Unknown);
    assert!(payments.try_recv().is_err(), "nothing else ran");
    peer.close();
    node.close();
    bank.stop();
    bank.wait().await;
    dedup.close().await.unwrap();
    store.close().await.unwrap();
}
