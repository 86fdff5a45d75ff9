//! Streamed answers: in order, bounded, cancelled by drop, and never broken off in silence (G3, G7, G8, G10).

use std::time::Duration;

use callboard::{
    Actor, ActorRef, AnswerSink, AnswerStream, Context, DropReason, Failure, FailureKind, Handler,
    Message, System, Verdict, answer_stream,
};
use futures::channel::oneshot;
use futures::{StreamExt, TryStreamExt};

use crate::common::{Hold, Log, Note};

/// How a stream of numbers goes on behind the last.
enum Then {
    End,
    Fail,
    Panic,
    Wait(oneshot::Sender<()>),
}

#[derive(Message)]
#[message(reply = AnswerStream<u64>)]
struct Count {
    to: u64,
    capacity: usize,
    then: Then,
}

struct Counter(Log);

impl Actor for Counter {}

impl Handler<Count> for Counter {
    async fn handle(&mut self, count: Count, ctx: &mut Context<Self>) -> AnswerStream<u64> {
        let log = self.0.clone();
        ctx.stream(count.capacity, async move |sink: &mut AnswerSink<u64>| {
            for n in 0..count.to {
                sink.send(n).await?;
                log.push(format!("sent {n}"));
            }
            match count.then {
                Then::End => Ok(()),
                Then::Fail => Err(Failure::new(FailureKind::Overloaded, Verdict::Executed)),
                Then::Panic => panic!("boom"),
                Then::Wait(held) => {
                    std::future::pending::<()>().await;
                    drop(held);
                    Ok(())
                }
            }
        })
    }
}

impl Handler<Note> for Counter {
    async fn handle(&mut self, Note(n): Note, _: &mut Context<Self>) -> u64 {
        n
    }
}

impl Handler<Hold> for Counter {
    async fn handle(&mut self, mut hold: Hold, _: &mut Context<Self>) {
        let _ = hold.began.take().map(|began| began.send(()));
        let _ = hold.gate.await;
    }
}

fn counter(system: &System) -> (ActorRef<Counter>, Log) {
    let log = Log::default();
    (system.start(Counter(log.clone())), log)
}

fn count(to: u64, capacity: usize, then: Then) -> Count {
    Count { to, capacity, then }
}

#[callboard::test(both)]
async fn g07_a_streamed_answer_comes_whole_and_in_order(system: System) {
    let (counter, _) = counter(&system);
    for capacity in [0, 1, 3, 1_000] {
        let numbers = counter.ask(count(100, capacity, Then::End)).await.unwrap();
        let numbers: Vec<_> = numbers.try_collect().await.unwrap();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }
    // The actor goes on meanwhile.
    let mut numbers = counter.ask(count(100, 1, Then::End)).await.unwrap();
    assert_eq!(numbers.next_item().await, Ok(Some(0)));
    assert_eq!(counter.ask(Note(7)).await.unwrap(), 7);
    assert_eq!(numbers.next_item().await, Ok(Some(1)));
}

#[callboard::test(both)]
async fn g03_the_producer_is_no_further_ahead_than_the_capacity(system: System) {
    let (counter, log) = counter(&system);
    let mut numbers = counter.ask(count(100, 4, Then::End)).await.unwrap();
    for read in 0..50 {
        assert_eq!(numbers.next().await.unwrap(), Ok(read));
        for _ in 0..3 {
            counter.ask(Note(0)).await.unwrap();
        }
        assert!(log.lines().len() as u64 <= read + 1 + 4);
    }
    assert_eq!(numbers.count().await, 50);
}

#[callboard::test(both)]
async fn g07_a_stream_that_breaks_off_says_so_once_after_what_was_sent(system: System) {
    let (counter, _) = counter(&system);
    for (then, kind) in [
        (Then::Fail, FailureKind::Overloaded),
        (Then::Panic, FailureKind::Panicked),
    ] {
        let mut numbers = counter.ask(count(3, 10, then)).await.unwrap();
        for n in 0..3 {
            assert_eq!(numbers.next_item().await, Ok(Some(n)));
        }
        let failure = numbers.next_item().await.unwrap_err();
        assert_eq!(
            (failure.kind(), failure.verdict()),
            (kind, Verdict::Executed)
        );
        assert_eq!(numbers.next_item().await, Ok(None));
        assert_eq!(numbers.next().await, None);
    }
    assert_eq!(system.counters().panics(), 1);
    assert!(counter.is_alive());
}

#[callboard::test(both)]
async fn g07_a_stream_ends_with_its_actor(system: System) {
    for how in ["stop", "kill"] {
        let (counter, _) = counter(&system);
        let (held, freed) = oneshot::channel();
        let mut numbers = counter.ask(count(1, 10, Then::Wait(held))).await.unwrap();
        assert_eq!(numbers.next_item().await, Ok(Some(0)));
        if how == "stop" {
            counter.stop();
        } else {
            counter.kill();
        }
        let failure = numbers.next_item().await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Stopped);
        assert_eq!(failure.verdict(), Verdict::Executed);
        freed.await.unwrap_err();
    }
}

#[callboard::test(both)]
async fn g08_dropping_the_stream_ends_its_producer(system: System) {
    let (counter, _) = counter(&system);
    let (held, freed) = oneshot::channel();
    let mut numbers = counter.ask(count(1, 10, Then::Wait(held))).await.unwrap();
    assert_eq!(numbers.next_item().await, Ok(Some(0)));
    drop(numbers);
    freed.await.unwrap_err();
    // One that is gone before its turn comes has none.
    let (hold, began, gate) = Hold::new();
    counter.tell(hold).await.unwrap();
    began.await.unwrap();
    let (held, freed) = oneshot::channel();
    let mut ask = counter.ask(count(0, 1, Then::Wait(held))).into_future();
    assert!(futures::poll!(&mut ask).is_pending());
    drop(ask);
    gate.send(()).unwrap();
    assert_eq!(counter.ask(Note(1)).await.unwrap(), 1);
    drop(system.dead_letters().take());
    freed.await.unwrap_err();
    assert_eq!(system.counters().drops(DropReason::Withdrawn), 1);
}

#[callboard::test(both)]
async fn g06_an_item_nobody_reads_comes_back(system: System) {
    let _ = system;
    let (mut sink, stream) = answer_stream::<String>(1);
    assert!(sink.is_wanted());
    sink.try_send("first".into()).unwrap();
    let error = sink.try_send("second".into()).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Full);
    assert_eq!(error.into_message().unwrap(), "second");
    // A producer that waits is told at once.
    let sending = async {
        let error = sink.send("third".into()).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Withdrawn);
        assert_eq!(error.verdict(), Verdict::NotExecuted);
        assert_eq!(error.into_message().unwrap(), "third");
    };
    futures::join!(sending, async { drop(stream) });
    sink.unwanted().await;
    assert!(!sink.is_wanted());
    let error = sink.try_send("fourth".into()).unwrap_err();
    assert_eq!(error.into_message().unwrap(), "fourth");
}

#[callboard::test(both)]
async fn g07_a_dropped_sink_is_a_failure_and_a_finished_one_is_not(system: System) {
    let _ = system;
    let (mut sink, mut stream) = answer_stream(4);
    sink.send(1).await.unwrap();
    drop(sink);
    assert_eq!(stream.next_item().await, Ok(Some(1)));
    let failure = stream.next_item().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::NoAnswer);
    let (mut sink, mut stream) = answer_stream(4);
    sink.send(1).await.unwrap();
    sink.finish();
    assert_eq!(stream.next_item().await, Ok(Some(1)));
    assert_eq!(stream.next_item().await, Ok(None));
}

#[callboard::test]
async fn an_item_can_be_waited_for_with_a_limit_and_nothing_is_lost(system: System) {
    let (mut sink, mut stream) = answer_stream(4);
    for _ in 0..3 {
        let waiting = std::pin::pin!(stream.next_item());
        let limit = system.clock().sleep(Duration::from_secs(1));
        let given_up = futures::future::select(waiting, limit).await;
        assert!(matches!(given_up, futures::future::Either::Right(_)));
    }
    sink.send(5).await.unwrap();
    assert_eq!(stream.next_item().await, Ok(Some(5)));
}
