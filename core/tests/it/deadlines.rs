//! G9 deadlines.

use std::time::Duration;

use callboard::{
    Actor, ActorRef, Context, DEFAULT_LOCAL_DEADLINE, DropReason, FailureKind, Handler, Message,
    System, Verdict,
};
use futures::FutureExt;

use crate::common::{Hold, Note, Worker, held_worker, worker};

#[callboard::test]
async fn g09_every_ask_has_a_deadline(system: System) {
    let (worker, _, _gate) = held_worker(&system, 10).await;
    let start = system.clock().now();
    let error = worker.ask(Note(1)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(system.clock().now().since(start), DEFAULT_LOCAL_DEADLINE);
}

#[callboard::test(both)]
async fn g09_expired_work_is_dropped_before_the_handler(system: System) {
    let (worker, log, gate) = held_worker(&system, 10).await;
    worker
        .tell(Note(1))
        .deadline(Duration::from_millis(10))
        .await
        .unwrap();
    system.clock().sleep(Duration::from_millis(20)).await;
    gate.send(()).unwrap();
    worker.ask(Note(2)).await.unwrap();
    assert_eq!(log.lines(), ["hold begins", "hold ends", "note 2"]);
    assert_eq!(system.counters().drops(DropReason::Expired), 1);
}

#[callboard::test(both)]
async fn g09_a_withdrawn_ask_never_runs_and_says_so(system: System) {
    let (worker, log, gate) = held_worker(&system, 10).await;
    let mut asked = Box::pin(worker.ask(Note(1)).into_future());
    assert!(asked.as_mut().now_or_never().is_none());
    drop(asked);
    gate.send(()).unwrap();
    worker.ask(Note(2)).await.unwrap();
    assert_eq!(log.lines(), ["hold begins", "hold ends", "note 2"]);
    assert_eq!(system.counters().drops(DropReason::Withdrawn), 1);
}

#[callboard::test(both)]
async fn g09_a_timeout_before_the_handler_is_not_executed_and_after_it_began_executed(
    system: System,
) {
    let (worker, _, _gate) = held_worker(&system, 10).await;
    let error = worker
        .ask(Note(1))
        .deadline(Duration::from_millis(10))
        .await
        .unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);

    let (other, _) = super::common::worker(&system);
    let (hold, _began, _gate) = Hold::new();
    let error = other
        .ask(hold)
        .deadline(Duration::from_millis(10))
        .await
        .unwrap_err();
    assert_eq!(error.verdict(), Verdict::Executed);
}

/// Asks another actor in turn, without naming a deadline.
struct Middle {
    next: ActorRef<Worker>,
}

#[derive(Message)]
#[message(reply = (Option<Duration>, FailureKind))]
struct Forward;

impl Actor for Middle {}

impl Handler<Forward> for Middle {
    async fn handle(
        &mut self,
        _: Forward,
        ctx: &mut Context<Self>,
    ) -> (Option<Duration>, FailureKind) {
        let left = ctx.remaining();
        ctx.sleep(Duration::from_millis(5)).await;
        let (hold, _began, _gate) = Hold::new();
        let kind = self
            .next
            .ask(hold)
            .await
            .map_or_else(|error| error.kind(), |()| FailureKind::NoAnswer);
        (left, kind)
    }
}

#[callboard::test]
async fn g09_what_a_handler_asks_inherits_its_deadline(system: System) {
    let (next, _) = worker(&system);
    let middle = system.start(Middle { next: next.clone() });
    let start = system.clock().now();
    let outer = middle
        .ask(Forward)
        .deadline(Duration::from_millis(50))
        .await;
    // Both end at the same instant; which of the two is seen first is the schedule's choice.
    match outer {
        Err(error) => assert_eq!(error.kind(), FailureKind::DeadlineExceeded),
        Ok((_, inner)) => assert_eq!(inner, FailureKind::DeadlineExceeded),
    }
    assert_eq!(system.clock().now().since(start), Duration::from_millis(50));
    // The inner ask ended with the outer one, not 30 s later: both actors are free again.
    let left = middle.ask(Forward).deadline(Duration::from_millis(100));
    let mut left = Box::pin(left.into_future());
    assert!(left.as_mut().now_or_never().is_none());
    next.kill();
    let (left, kind) = left.await.unwrap();
    assert!(left.is_some_and(|left| left <= Duration::from_millis(100)));
    assert!(
        matches!(kind, FailureKind::Stopped | FailureKind::Killed),
        "{kind:?}"
    );
}

#[callboard::test]
async fn g09_no_deadline_is_said_by_name(system: System) {
    let (worker, _, gate) = held_worker(&system, 10).await;
    let mut asked = Box::pin(worker.ask(Note(1)).no_deadline().into_future());
    assert!(asked.as_mut().now_or_never().is_none());
    system.clock().sleep(Duration::from_secs(3_600)).await;
    gate.send(()).unwrap();
    assert_eq!(asked.await.unwrap(), 1);
}

#[callboard::test(both)]
async fn g18_that_the_caller_retries_is_handed_down_to_what_a_handler_asks(system: System) {
    #[derive(Message)]
    #[message(reply = Vec<bool>)]
    struct Hops(u32);
    struct Relay(Option<callboard::ActorRef<Relay>>);
    impl callboard::Actor for Relay {}
    impl callboard::Handler<Hops> for Relay {
        async fn handle(&mut self, Hops(n): Hops, ctx: &mut callboard::Context<Self>) -> Vec<bool> {
            let mut seen = vec![ctx.meta().caller_retries];
            if let Some(next) = &self.0 {
                seen.extend(next.ask(Hops(n + 1)).await.expect("the next answers"));
            }
            seen
        }
    }
    let last = system.start(Relay(None));
    let middle = system.start(Relay(Some(last)));
    let first = system.start(Relay(Some(middle)));
    assert_eq!(first.ask(Hops(0)).await.unwrap(), [false; 3]);
    let retried = first.ask(Hops(0)).caller_retries();
    assert_eq!(retried.await.unwrap(), [true; 3]);
    // Taken apart and put together again it is the same ask.
    let parts = first
        .ask(Hops(0))
        .deadline(std::time::Duration::from_secs(1))
        .into_parts();
    let due = system.clock().now() + std::time::Duration::from_secs(1);
    assert!(parts.meta.deadline.is_some_and(|deadline| deadline <= due));
    assert_eq!(parts.into_ask().await.unwrap(), [false; 3]);
}
