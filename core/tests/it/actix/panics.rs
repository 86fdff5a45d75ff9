//! G10 in an actix actor, where a panic ends the actor for good, `Supervisor` or not.

use callboard::actix::{Adopted, NativeAddr};
use callboard::{
    Actor, ActorRef, Context, ExitReason, FailureKind, Handler, Message, System, Terminated,
    Verdict, Watch,
};
use futures::channel::oneshot;

use super::{Alone, Apart, Beside, Boom, BoomSoon, Clerk, Gate, Note, asking, clerk, ended};

#[callboard::test(arbiters)]
async fn g10_the_asker_of_a_panic_is_told_and_so_is_the_watcher(system: System) {
    for _ in 0..2 {
        let (clerk, log) = clerk(&system);
        let (tx, told) = oneshot::channel::<Terminated>();
        clerk.watch(Box::new(move |notice| drop(tx.send(notice))));
        assert_eq!(
            ended(clerk.ask(Boom).await),
            Err((FailureKind::Panicked, Verdict::Executed))
        );
        let notice = told.await.unwrap();
        assert_eq!(notice.reason, ExitReason::Failed("boom".into()));
        // actix would have run its hooks, on a state that nobody can trust.
        assert_eq!(log.lines(), ["started", "boom", "dropped"]);
        let error = clerk.ask(Note(1)).await.unwrap_err();
        assert_eq!(error.verdict(), Verdict::NotExecuted);
        assert_eq!(error.into_message(), Some(Note(1)));
    }
    assert_eq!(system.counters().panics(), 2);
}

#[callboard::test(arbiters)]
async fn g07_those_who_still_wait_are_told_by_a_panic_what_is_known(system: System) {
    let (clerk, _) = clerk(&system);
    let (gate, began, _beside) = Gate::new();
    let beside = asking(&clerk, Beside(gate));
    began.await.unwrap();
    let (gate, began, apart_open) = Gate::new();
    let apart = asking(&clerk, Apart(gate));
    began.await.unwrap();
    let (gate, began, open) = Gate::new();
    let alone = asking(&clerk, Alone(gate));
    began.await.unwrap();
    clerk.tell(Boom).await.unwrap();
    let recipient = clerk.clone();
    let queued = tokio::task::spawn_local(async move { ended(recipient.ask(Note(1)).await) });
    // The ask lies behind the panic before the panic comes.
    while clerk.mailbox().len < 2 {
        tokio::task::yield_now().await;
    }
    open.send(()).unwrap();
    assert_eq!(alone.await.unwrap(), Ok(1));
    // Its future was the actor's own, and ended with it.
    assert_eq!(
        beside.await.unwrap(),
        Err((FailureKind::Panicked, Verdict::Executed))
    );
    assert_eq!(
        queued.await.unwrap(),
        Err((FailureKind::Stopped, Verdict::NotExecuted))
    );
    clerk.wait().await;
    // This one is a task of its own, and goes on as in actix.
    apart_open.send(()).unwrap();
    assert_eq!(apart.await.unwrap(), Ok(3));
}

#[callboard::test(arbiters)]
async fn g10_a_panic_between_messages_ends_it_as_failed(system: System) {
    let (clerk, log) = clerk(&system);
    let (gate, began, _open) = Gate::new();
    let beside = asking(&clerk, Beside(gate));
    began.await.unwrap();
    clerk.ask(BoomSoon).await.unwrap();
    assert_eq!(
        beside.await.unwrap(),
        Err((FailureKind::Panicked, Verdict::Executed))
    );
    assert_eq!(clerk.wait().await, ExitReason::Failed("timer".into()));
    assert_eq!(log.lines(), ["started", "dropped"]);
    assert_eq!(system.counters().panics(), 1);
}

#[callboard::test(arbiters)]
async fn g10_a_panic_of_a_native_message_ends_it_as_failed(system: System) {
    let (clerk, _) = clerk(&system);
    let native = clerk.ask(NativeAddr::new()).await.unwrap();
    assert_eq!(native.send(Boom).await, Err(actix::MailboxError::Closed));
    assert_eq!(clerk.wait().await, ExitReason::Failed("boom".into()));
    assert!(!native.connected());
}

/// Makes a clerk of its own thread panic, with native messages before and behind.
struct Provoker(ActorRef<Adopted<Clerk>>, actix::Addr<Clerk>);

#[derive(Message)]
struct Provoke;

impl Actor for Provoker {}

impl Handler<Provoke> for Provoker {
    async fn handle(&mut self, _: Provoke, _: &mut Context<Self>) {
        // Between messages the clerk is polled by a task, which has something to do from here on.
        self.1.do_send(Note(1));
        self.0.ask(Boom).await.unwrap_err();
        self.1.do_send(Note(2));
    }
}

#[callboard::test(arbiters)]
async fn g10_after_its_panic_an_actor_does_nothing_more(system: System) {
    let (clerk, log) = clerk(&system);
    let native = clerk.ask(NativeAddr::new()).await.unwrap();
    let inner = clerk.clone();
    let make = move || Provoker(inner, native);
    let provoker = system.actor(make).near(&clerk).start();
    provoker.ask(Provoke).await.unwrap();
    assert_eq!(clerk.wait().await, ExitReason::Failed("boom".into()));
    assert_eq!(log.lines(), ["started", "note 1", "boom", "dropped"]);
}
