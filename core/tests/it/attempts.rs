//! Asks that say when they are over and that their caller retries, and no more: what call policies send (G7, G9,
//! G18). They take the short way where they can; nothing but time may tell.

use std::time::Duration;

use callboard::clock::Instant;
use callboard::{
    Actor, ActorRef, AskParts, Context, DropReason, FailureKind, Handler, Message, Meta, Pool,
    Recipient, RequestKey, Route, SendError, System, Verdict,
};
use futures::FutureExt;
use futures::channel::oneshot;

use crate::common::{Boom, Hold, Note, held_worker, worker};

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(3_600);

/// What a handler was told of its message.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    deadline: Option<Instant>,
    caller_retries: bool,
    attempt: u32,
}

/// How a relay asks the next.
#[derive(Debug, Clone, Copy)]
enum How {
    Plainly,
    Within(Duration),
    Until(Instant),
}

#[derive(Message, Debug, Clone)]
#[message(reply = Vec<Seen>)]
struct Hop(How);

/// Tells what it saw, and what those behind it saw.
struct Relay {
    next: Option<Recipient<Hop>>,
}

impl Actor for Relay {}

impl Handler<Hop> for Relay {
    async fn handle(&mut self, hop: Hop, ctx: &mut Context<Self>) -> Vec<Seen> {
        let seen = Seen {
            deadline: ctx.meta().deadline,
            caller_retries: ctx.meta().caller_retries(),
            attempt: ctx.meta().attempt(),
        };
        let mut all = vec![seen];
        if let Some(next) = &self.next {
            let how = hop.0;
            let ask = next.ask(hop);
            let behind = match how {
                How::Plainly => ask.await,
                How::Within(span) => ask.deadline(span).await,
                How::Until(at) => {
                    let mut parts = ask.into_parts();
                    parts.meta.deadline = Some(at);
                    parts.into_ask().await
                }
            };
            all.extend(behind.expect("the next answers"));
        }
        all
    }
}

/// Three relays in a row, the last two on one thread.
fn relays(system: &System) -> ActorRef<Relay> {
    let last = system.start(Relay { next: None });
    let next = Some(last.recipient());
    let middle = system.actor(move || Relay { next: next.clone() });
    let middle = middle.near(&last).start();
    system.start(Relay {
        next: Some(middle.recipient()),
    })
}

/// Asks as a policy does, whose attempt is over at `deadline`.
async fn attempt<M: Message, R: Route<M> + Clone>(
    ask: callboard::Ask<'_, M, R>,
    deadline: Instant,
    number: u32,
) -> Result<M::Reply, SendError<M>> {
    let parts = ask.into_parts();
    let mut meta = parts.meta;
    meta.deadline = Some(deadline);
    meta.set_attempt(number);
    meta.set_caller_retries();
    AskParts::new(parts.route, parts.message, meta)
        .into_ask()
        .await
}

#[callboard::test(both)]
async fn g18_what_an_attempt_says_reaches_every_handler_behind_it(system: System) {
    let first = relays(&system);
    // To the nanosecond.
    let deadline = system.clock().now() + Duration::from_nanos(20_000_000_001);
    let seen = |attempt| Seen {
        deadline: Some(deadline),
        caller_retries: true,
        attempt,
    };
    for number in [1, 2] {
        let all = attempt(first.ask(Hop(How::Plainly)), deadline, number).await;
        // Each handler's own requests are first attempts.
        assert_eq!(all.unwrap(), [seen(number), seen(1), seen(1)]);
        let recipient = first.recipient();
        let all = attempt(recipient.ask(Hop(How::Plainly)), deadline, number).await;
        assert_eq!(all.unwrap(), [seen(number), seen(1), seen(1)]);
    }
    // The mark alone, with the default deadline; and nothing of it stays for the next.
    let all = first.ask(Hop(How::Plainly)).caller_retries().await.unwrap();
    assert!(all.iter().all(|seen| seen.caller_retries), "{all:?}");
    let all = first.ask(Hop(How::Plainly)).await.unwrap();
    assert!(!all.iter().any(|seen| seen.caller_retries), "{all:?}");
}

#[callboard::test(both)]
async fn g18_a_pool_and_a_keyed_attempt_are_told_the_same(system: System) {
    let pool = Pool::start(&system, 2, || Relay { next: None }).unwrap();
    let deadline = system.clock().now() + LONG;
    let expected = [Seen {
        deadline: Some(deadline),
        caller_retries: true,
        attempt: 1,
    }];
    for _ in 0..4 {
        let all = attempt(pool.ask(Hop(How::Plainly)), deadline, 1).await;
        assert_eq!(all.unwrap(), expected);
    }
    let keyed = pool.ask(Hop(How::Plainly)).key(RequestKey::new());
    let mut parts = keyed.into_parts();
    parts.meta.set_caller_retries();
    parts.meta.deadline = Some(deadline);
    assert_eq!(parts.into_ask().await.unwrap(), expected);
}

#[callboard::test(both)]
async fn g09_of_two_spans_the_sooner_holds_and_a_point_stands(system: System) {
    let first = relays(&system);
    let soon = system.clock().now() + 100 * LONG;
    let ends = |all: Vec<Seen>| -> Vec<Instant> {
        let deadlines = all.iter().map(|seen| seen.deadline);
        deadlines.collect::<Option<_>>().expect("all have one")
    };
    // Behind an attempt with little time nobody gets more of it by asking for more.
    let all = attempt(first.ask(Hop(How::Within(1_000 * LONG))), soon, 1).await;
    assert_eq!(ends(all.unwrap()), [soon; 3]);
    // Who asks for less gets less.
    let all = attempt(first.ask(Hop(How::Within(LONG))), soon, 1).await;
    let ended = ends(all.unwrap());
    assert_eq!(ended[0], soon);
    assert!(ended[1] < soon && ended[2] <= ended[1], "{ended:?}");
    // A point was resolved before; it isn't looked at again.
    let later = soon + LONG;
    let all = attempt(first.ask(Hop(How::Until(later))), soon, 1).await;
    assert_eq!(ends(all.unwrap()), [soon, later, later]);
    // The default is shorter than all of these.
    let all = attempt(first.ask(Hop(How::Plainly)), soon, 1)
        .await
        .unwrap();
    let ended = ends(all);
    assert!(ended[1] < soon && ended[2] <= ended[1], "{ended:?}");
    // And what no machine lives to see is a deadline like others.
    for far in [1 << 63, u64::MAX - 2].map(Instant::from_nanos) {
        let all = attempt(first.ask(Hop(How::Until(far))), far, 1).await;
        assert_eq!(ends(all.unwrap()), [far; 3]);
    }
}

#[callboard::test(both)]
async fn g09_an_attempt_that_comes_too_late_is_not_executed(system: System) {
    let (worker, log) = worker(&system);
    worker.ask(Note(1)).await.unwrap();
    for deadline in [Instant::default(), system.clock().now()] {
        let error = attempt(worker.ask(Note(2)), deadline, 1).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.verdict()),
            (FailureKind::DeadlineExceeded, Verdict::NotExecuted)
        );
    }
    let error = worker.ask(Note(3)).deadline(Duration::ZERO).await;
    assert_eq!(error.unwrap_err().verdict(), Verdict::NotExecuted);
    worker.ask(Note(4)).await.unwrap();
    assert_eq!(log.lines(), ["note 1", "note 4"]);
}

/// Whose own deadline has passed when it asks.
struct Slow {
    next: Recipient<Note>,
    done: Option<oneshot::Sender<Result<u64, SendError<Note>>>>,
}

impl Actor for Slow {}

#[derive(Message)]
struct Dawdle;

impl Handler<Dawdle> for Slow {
    async fn handle(&mut self, _: Dawdle, ctx: &mut Context<Self>) {
        ctx.sleep(20 * MS).await;
        let answer = self.next.ask(Note(1)).await;
        let _ = self.done.take().map(|done| done.send(answer));
    }
}

#[callboard::test]
async fn g09_what_a_handler_asks_past_its_deadline_is_not_begun(system: System) {
    let (next, log) = worker(&system);
    let (done_tx, done) = oneshot::channel();
    let slow = Slow {
        next: next.recipient(),
        done: Some(done_tx),
    };
    let slow = system.actor(move || slow).near(&next).start();
    let error = slow.ask(Dawdle).deadline(10 * MS).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
    let error = done.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::DeadlineExceeded, Verdict::NotExecuted)
    );
    next.ask(Note(2)).await.unwrap();
    assert_eq!(log.lines(), ["note 2"]);
    assert_eq!(system.counters().drops(DropReason::Expired), 1);
}

#[callboard::test]
async fn g09_an_attempt_that_waits_ends_at_its_own_deadline(system: System) {
    let (worker, log, gate) = held_worker(&system, 1).await;
    let due = system.clock().now() + Duration::from_nanos(10_000_001);
    // Queued, and then no room: both end on time.
    let queued = attempt(worker.ask(Note(1)), due, 1);
    let mut queued = Box::pin(queued);
    assert!(queued.as_mut().now_or_never().is_none());
    let error = attempt(worker.ask(Note(2)), due, 1).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::DeadlineExceeded, Verdict::NotSent)
    );
    assert_eq!(error.into_message(), Some(Note(2)));
    let error = queued.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::DeadlineExceeded, Verdict::NotExecuted)
    );
    assert_eq!(system.clock().now(), due);
    gate.send(()).unwrap();
    worker.ask(Note(3)).await.unwrap();
    assert_eq!(log.lines(), ["hold begins", "hold ends", "note 3"]);
}

#[callboard::test(both)]
async fn g07_an_attempt_ends_once_however_its_handler_ends(system: System) {
    let (worker, log) = worker(&system);
    let deadline = system.clock().now() + LONG;
    let supervised = attempt(worker.ask(Boom), deadline, 1).await.unwrap_err();
    assert_eq!(
        (supervised.kind(), supervised.verdict()),
        (FailureKind::Panicked, Verdict::Executed)
    );
    let error = attempt(worker.ask(Note(1)), deadline, 1).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Stopped, Verdict::NotExecuted)
    );
    assert_eq!(error.into_message(), Some(Note(1)));

    let (other, _) = crate::common::worker(&system);
    let (hold, began, _gate) = Hold::new();
    let held = attempt(other.ask(hold), deadline, 1);
    let killed = async {
        began.await.unwrap();
        other.kill();
    };
    let (error, ()) = futures::join!(held, killed);
    let error = error.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Killed, Verdict::Executed)
    );
    assert!(!log.lines().contains(&"note 1".to_owned()));
}

#[callboard::test(both)]
async fn g08_an_attempt_that_is_dropped_never_runs_or_answers_nobody(system: System) {
    let (worker, log, gate) = held_worker(&system, 10).await;
    let deadline = system.clock().now() + LONG;
    let mut dropped = Box::pin(attempt(worker.ask(Note(1)), deadline, 1));
    assert!(dropped.as_mut().now_or_never().is_none());
    drop(dropped);
    gate.send(()).unwrap();
    worker.ask(Note(2)).await.unwrap();
    assert_eq!(log.lines(), ["hold begins", "hold ends", "note 2"]);
    assert_eq!(system.counters().drops(DropReason::Withdrawn), 1);

    let (hold, began, gate) = Hold::new();
    let mut begun = Box::pin(attempt(worker.ask(hold), deadline, 1));
    assert!(begun.as_mut().now_or_never().is_none());
    began.await.unwrap();
    drop(begun);
    gate.send(()).unwrap();
    worker.ask(Note(3)).await.unwrap();
    assert_eq!(system.counters().drops(DropReason::LateReply), 1);
}

/// An actor with a limit takes no message the short way; the mark comes along all the same.
#[callboard::test(both)]
async fn g18_what_was_queued_says_the_same_to_an_actor_that_is_watched(system: System) {
    let relay = system.actor(|| Relay { next: None }).handler_limit(LONG);
    let relay = relay.start();
    let deadline = system.clock().now() + LONG;
    let asks = (0..3).map(|_| attempt(relay.ask(Hop(How::Plainly)), deadline, 1));
    for all in futures::future::join_all(asks).await {
        let seen = &all.unwrap()[0];
        assert!(seen.caller_retries, "{seen:?}");
        assert_eq!((seen.deadline, seen.attempt), (Some(deadline), 1));
    }
}

/// What it is given up with is what is known of it.
#[callboard::test(both)]
async fn g07_an_attempt_that_is_queued_when_its_actor_stops_is_told(system: System) {
    let (worker, _, gate) = held_worker(&system, 10).await;
    let deadline = system.clock().now() + LONG;
    let mut queued = Box::pin(attempt(worker.ask(Note(1)), deadline, 1));
    assert!(queued.as_mut().now_or_never().is_none());
    worker.stop();
    gate.send(()).unwrap();
    let error = queued.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Stopped, Verdict::NotExecuted)
    );
    assert_eq!(system.counters().drops(DropReason::Stopped), 1);
}

#[test]
fn g18_equal_metas_say_the_same() {
    let mut meta = Meta::default();
    assert_eq!((meta.attempt(), meta.caller_retries()), (1, false));
    meta.set_attempt(1);
    assert_eq!(meta, Meta::default());
    meta.set_caller_retries();
    assert_ne!(meta, Meta::default());
    meta.set_attempt(u32::MAX);
    assert_eq!((meta.attempt(), meta.caller_retries()), (u32::MAX, true));
}
