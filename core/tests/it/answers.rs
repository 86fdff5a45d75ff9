//! G7 one answer, G8 no late reply.

use std::time::Duration;

use callboard::{
    Actor, Context, DeferredHandler, DropReason, FailureKind, Handler, Message, Responder, System,
    Verdict,
};
use futures::FutureExt;

use crate::common::{Boom, Hold, Note, held_worker, worker};

#[callboard::test(both)]
async fn g07_the_receivers_panic_ends_the_ask_at_once(system: System) {
    let (worker, _) = worker(&system);
    let start = system.clock().now();
    let error = worker.ask(Boom).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Panicked, Verdict::Executed)
    );
    assert!(system.clock().now().since(start) < Duration::from_secs(5));
}

#[callboard::test(both)]
async fn g07_the_receivers_stop_ends_queued_asks_as_not_executed(system: System) {
    let (worker, _, gate) = held_worker(&system, 10).await;
    let mut queued = Box::pin(worker.ask(Note(1)).into_future());
    assert!(queued.as_mut().now_or_never().is_none());
    worker.stop();
    gate.send(()).unwrap();
    let error = queued.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Stopped, Verdict::NotExecuted)
    );
    // Not back to its sender, so it is a dead letter, once.
    worker.wait().await;
    assert_eq!(system.dead_letters().take().len(), 1);
    assert_eq!(system.counters().drops(DropReason::Stopped), 1);
}

#[callboard::test(both)]
async fn g07_a_kill_ends_the_ask_in_hand_as_executed(system: System) {
    let (worker, _) = worker(&system);
    let (hold, began, _gate) = Hold::new();
    let mut asked = Box::pin(worker.ask(hold).into_future());
    assert!(asked.as_mut().now_or_never().is_none());
    began.await.unwrap();
    worker.kill();
    let error = asked.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Killed, Verdict::Executed)
    );
}

/// Keeps responders, and answers or drops them later.
#[derive(Default)]
struct Later {
    kept: Vec<Responder<u64>>,
}

#[derive(Message)]
#[message(reply = u64)]
struct Wait;

#[derive(Message)]
#[message(reply = usize)]
struct AnswerAll(u64);

#[derive(Message)]
struct DropAll;

impl Actor for Later {}

impl DeferredHandler<Wait> for Later {
    async fn handle_deferred(&mut self, _: Wait, responder: Responder<u64>, _: &mut Context<Self>) {
        self.kept.push(responder);
    }
}

impl Handler<AnswerAll> for Later {
    async fn handle(&mut self, AnswerAll(n): AnswerAll, _: &mut Context<Self>) -> usize {
        let kept = std::mem::take(&mut self.kept);
        let count = kept.len();
        kept.into_iter().for_each(|responder| responder.send(n));
        count
    }
}

impl Handler<DropAll> for Later {
    async fn handle(&mut self, _: DropAll, _: &mut Context<Self>) {
        self.kept.clear();
    }
}

#[callboard::test(both)]
async fn g07_a_deferred_answer_arrives_while_the_actor_goes_on(system: System) {
    let later = system.start(Later::default());
    let mut waiting = Box::pin(later.ask(Wait).into_future());
    assert!(waiting.as_mut().now_or_never().is_none());
    while later.ask(AnswerAll(9)).await.unwrap() == 0 {}
    assert_eq!(waiting.await.unwrap(), 9);
}

#[callboard::test(both)]
async fn g07_a_dropped_responder_is_an_error_at_once(system: System) {
    let later = system.start(Later::default());
    let asking = later.ask(Wait).into_future();
    let dropping = async { later.tell(DropAll).await.unwrap() };
    let (answer, ()) = futures::join!(asking, dropping);
    let error = answer.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::NoAnswer, Verdict::Executed)
    );
}

#[callboard::test(both)]
async fn g08_a_late_reply_reaches_nobody_and_is_counted(system: System) {
    let later = system.start(Later::default());
    let error = later
        .ask(Wait)
        .deadline(Duration::from_millis(10))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(later.ask(AnswerAll(1)).await.unwrap(), 1);
    assert_eq!(system.counters().drops(DropReason::LateReply), 1);
}
