//! G7: what is no cycle isn't taken for one.

use std::future::Future;
use std::pin::Pin;

use callboard::{
    Actor, ActorRef, Context, DeferredHandler, Envelope, Failure, Handler, Message, Placement,
    Responder, System,
};
use futures::channel::oneshot;
use futures::future::join;

use crate::common::Hold;

/// Lets others run until it is so.
async fn until(so: impl Fn() -> bool) {
    while !so() {
        tokio::task::yield_now().await;
    }
}

#[derive(Default)]
struct Peer {
    begun: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Actor for Peer {}

#[derive(Message)]
#[message(reply = u64)]
struct Number;

impl Handler<Number> for Peer {
    async fn handle(&mut self, _: Number, _: &mut Context<Self>) -> u64 {
        7
    }
}

impl Handler<Hold> for Peer {
    async fn handle(&mut self, mut hold: Hold, _: &mut Context<Self>) {
        let _ = hold.began.take().map(|began| began.send(()));
        let _ = hold.gate.await;
    }
}

/// Asks another for its number.
#[derive(Message)]
#[message(reply = Result<u64, Failure>)]
struct AskOf(ActorRef<Peer>);

impl Handler<AskOf> for Peer {
    async fn handle(&mut self, AskOf(other): AskOf, _: &mut Context<Self>) -> Result<u64, Failure> {
        other.ask(Number).await.map_err(Failure::from)
    }
}

fn peer(system: &System, arbiter: usize) -> ActorRef<Peer> {
    let peer = system.actor(Peer::default);
    peer.placement(Placement::Pinned(arbiter)).start()
}

/// `b` waits for `a`, which answers; before `b` has seen the answer, `a` handles its next message.
#[callboard::test(both)]
async fn g07_an_ask_that_was_answered_is_no_wait(system: System) {
    for arbiter in [0, 1] {
        for _ in 0..20 {
            let (a, b) = (peer(&system, 0), peer(&system, arbiter));
            let (hold, began, gate) = Hold::new();
            a.tell(hold).await.unwrap();
            began.await.unwrap();
            let first = b.ask(AskOf(a.clone())).into_future();
            let second = async {
                until(|| a.mailbox().len == 1).await;
                let mut ask = a.ask(AskOf(b.clone())).into_future();
                assert!(futures::poll!(&mut ask).is_pending());
                gate.send(()).unwrap();
                ask.await
            };
            let (first, second) = join(first, second).await;
            assert_eq!(first.unwrap(), Ok(7));
            assert_eq!(second.unwrap(), Ok(7));
        }
    }
}

/// Answers first, and then asks back.
#[derive(Message)]
#[message(reply = u64)]
struct Early(ActorRef<Peer>, oneshot::Sender<Result<u64, Failure>>);

impl DeferredHandler<Early> for Peer {
    async fn handle_deferred(
        &mut self,
        Early(other, done): Early,
        responder: Responder<u64>,
        _: &mut Context<Self>,
    ) {
        responder.send(1);
        let _ = done.send(other.ask(Number).await.map_err(Failure::from));
    }
}

#[derive(Message)]
#[message(reply = u64)]
struct AskEarly(ActorRef<Peer>, oneshot::Sender<Result<u64, Failure>>);

impl Handler<AskEarly> for Peer {
    async fn handle(&mut self, AskEarly(other, done): AskEarly, ctx: &mut Context<Self>) -> u64 {
        other.ask(Early(ctx.me(), done)).await.unwrap()
    }
}

#[callboard::test(both)]
async fn g07_who_has_answered_may_ask_back(system: System) {
    let (a, b) = (peer(&system, 0), peer(&system, 0));
    let (tx, rx) = oneshot::channel();
    assert_eq!(a.ask(AskEarly(b, tx)).await.unwrap(), 1);
    assert_eq!(rx.await.unwrap(), Ok(7));
}

/// Hands its message on, to be answered there.
#[derive(Message)]
#[message(reply = Result<u64, Failure>)]
struct Forward(ActorRef<Peer>);

impl DeferredHandler<Forward> for Peer {
    async fn handle_deferred(
        &mut self,
        Forward(to): Forward,
        responder: Responder<Result<u64, Failure>>,
        ctx: &mut Context<Self>,
    ) {
        let mut envelope = Envelope::tell(AskOf(ctx.me()));
        envelope.responder = responder;
        assert!(to.recipient::<AskOf, _>().route().send(envelope).is_ok());
    }
}

#[callboard::test(both)]
async fn g07_who_has_handed_a_message_on_does_not_wait(system: System) {
    let (a, b) = (peer(&system, 0), peer(&system, 0));
    assert_eq!(a.ask(Forward(b)).await.unwrap(), Ok(7));
}

/// Begins to ask another, and keeps the wait for later.
#[derive(Message)]
struct Begin(ActorRef<Peer>);

impl Handler<Begin> for Peer {
    async fn handle(&mut self, Begin(other): Begin, _: &mut Context<Self>) {
        let mut ask = Box::pin(async move {
            let _ = other.ask(Number).await;
        });
        let _ = futures::poll!(&mut ask);
        self.begun = Some(ask);
    }
}

#[callboard::test(both)]
async fn g07_an_answered_ask_that_nobody_polls_is_no_wait(system: System) {
    let (a, b) = (peer(&system, 0), peer(&system, 1));
    a.ask(Begin(b.clone())).await.unwrap();
    assert_eq!(b.ask(AskOf(a)).await.unwrap(), Ok(7));
}
