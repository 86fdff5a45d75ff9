//! G14 the message in hand at a crash is offered to the next incarnation.

use std::collections::VecDeque;
use std::time::Duration;

use callboard::topic::{SubscriberOptions, TopicEvent};
use callboard::{
    Actor, AnswerStream, Context, DropReason, ExitReason, FailedAttempt, FailureKind, Handler,
    Incarnation, Message, Overflow, Pool, RequestKey, Spawn, System, Verdict, answer_stream,
};
use futures::channel::oneshot;
use futures::future::{join, join_all};
use futures::{FutureExt, StreamExt};

use crate::common::{Hold, Log, Note, Placed, Worker};

/// How an attempt ends that doesn't answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// A panic before there is a future.
    InTheCall,
    /// A panic in the first poll.
    AtOnce,
    /// A panic in a later one.
    Later,
    /// A kill, while the handler waits.
    Killed,
}

pub const CRASHES: [Crash; 4] = [Crash::InTheCall, Crash::AtOnce, Crash::Later, Crash::Killed];

impl Crash {
    pub fn in_the_call(self) {
        assert!(self != Crash::InTheCall, "in the call");
    }

    /// Never returns.
    pub async fn now<A: Actor>(self, ctx: &Context<A>) {
        match self {
            Crash::InTheCall => {}
            Crash::AtOnce => panic!("at once"),
            Crash::Later => {
                ctx.sleep(Duration::from_millis(1)).await;
                panic!("later");
            }
            Crash::Killed => {
                ctx.me().kill();
                std::future::pending::<()>().await;
            }
        }
    }

    fn reason(self) -> ExitReason {
        match self {
            Crash::InTheCall => ExitReason::Failed("in the call".into()),
            Crash::AtOnce => ExitReason::Failed("at once".into()),
            Crash::Later => ExitReason::Failed("later".into()),
            Crash::Killed => ExitReason::Killed,
        }
    }
}

/// Crashes its actor in its first `times` attempts. Answered with the attempt, the incarnation and the key.
#[derive(Message, Debug, Clone, PartialEq)]
#[message(reply = (u32, u64, Option<RequestKey>))]
struct Job {
    n: u64,
    times: u32,
    crash: Crash,
}

impl Job {
    fn new(n: u64, times: u32, crash: Crash) -> Self {
        Job { n, times, crash }
    }

    fn calm(n: u64) -> Self {
        Job::new(n, 0, Crash::AtOnce)
    }
}

impl Handler<Job> for Worker {
    #[allow(clippy::manual_async_fn)]
    fn handle(
        &mut self,
        job: Job,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = (u32, u64, Option<RequestKey>)> {
        let attempt = ctx.meta().attempt();
        self.log.push(format!("job {} attempt {attempt}", job.n));
        if attempt <= job.times {
            job.crash.in_the_call();
        }
        async move {
            if attempt <= job.times {
                job.crash.now(ctx).await;
            }
            (attempt, ctx.incarnation().0, ctx.key())
        }
    }
}

fn placed<F: Fn() -> Worker + Send + Sync + 'static>(
    system: &System,
    options: impl FnOnce(Spawn<Box<dyn Fn() -> Worker + Send + Sync>>) -> Spawn<F>,
) -> Placed<Worker> {
    let log = Log::default();
    let inner = log.clone();
    let make: Box<dyn Fn() -> Worker + Send + Sync> =
        Box::new(move || Worker { log: inner.clone() });
    let spawn = options(system.actor(make).label("worker"));
    Placed::of(spawn.place(), log)
}

/// What it handled, without what is said of its ends.
fn handled(log: &Log) -> Vec<String> {
    let mut lines = log.lines();
    lines.retain(|line| line.starts_with("job") || line.starts_with("note"));
    lines
}

#[callboard::test(both)]
async fn g14_the_asker_waits_over_the_crash_and_is_answered_by_the_next_incarnation(
    system: System,
) {
    for crash in CRASHES {
        let mut placed = placed(&system, |spawn| spawn.replay::<Job>(2));
        placed.start().await;
        let key = RequestKey::new();
        let worker = placed.player.clone();
        let ask = worker.ask(Job::new(1, 2, crash)).key(key).into_future();
        let (attempt, incarnation, seen) = placed.through_crashes(ask).await.unwrap();
        assert_eq!((attempt, incarnation, seen), (3, 3, Some(key)), "{crash:?}");
        let expected = ["job 1 attempt 1", "job 1 attempt 2", "job 1 attempt 3"];
        assert_eq!(handled(&placed.log), expected);
        assert!(system.dead_letters().is_empty());
        placed.close().await;
    }
}

#[callboard::test(both)]
async fn g14_a_tell_is_offered_again_as_well(system: System) {
    for crash in CRASHES {
        let mut placed = placed(&system, |spawn| spawn.replay::<Job>(1));
        placed.start().await;
        let worker = placed.player.clone();
        worker.tell(Job::new(1, 1, crash)).await.unwrap();
        placed.through_crashes(worker.ask(Note(2))).await.unwrap();
        let expected = ["job 1 attempt 1", "job 1 attempt 2", "note 2"];
        assert_eq!(handled(&placed.log), expected, "{crash:?}");
        placed.close().await;
    }
}

#[callboard::test(both)]
async fn g14_what_is_replayed_comes_first_and_the_rest_in_order(system: System) {
    let mut placed = placed(&system, |spawn| spawn.replay::<Job>(1));
    // Queued before there is anybody: one batch, of which the first crashes.
    let worker = placed.player.clone();
    worker.tell(Job::new(1, 1, Crash::Later)).await.unwrap();
    for n in 2..5 {
        worker.tell(Note(n)).await.unwrap();
    }
    worker.tell(Job::new(5, 1, Crash::AtOnce)).await.unwrap();
    placed.start().await;
    placed.through_crashes(worker.ask(Note(6))).await.unwrap();
    let expected = [
        "job 1 attempt 1",
        "job 1 attempt 2",
        "note 2",
        "note 3",
        "note 4",
        "job 5 attempt 1",
        "job 5 attempt 2",
        "note 6",
    ];
    assert_eq!(handled(&placed.log), expected);
    placed.close().await;
}

#[callboard::test(both)]
async fn g14_only_the_types_that_were_named_are_replayed(system: System) {
    let mut placed = placed(&system, |spawn| spawn.replay::<Note>(1));
    placed.start().await;
    let worker = placed.player.clone();
    let ask = worker.ask(Job::new(1, 1, Crash::AtOnce)).into_future();
    let error = placed.through_crashes(ask).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Panicked);
    assert_eq!(error.verdict(), Verdict::Executed);
    let after = placed.through_crashes(worker.ask(Note(2))).await;
    assert_eq!(after.unwrap(), 2);
    placed.close().await;
}

#[callboard::test(both)]
async fn g14_after_n_it_is_poison_with_its_history(system: System) {
    let mut notices = system
        .dead_letters()
        .subscribe("dead.poison.*", SubscriberOptions::default())
        .unwrap();
    for (poisoned, (times, crash)) in (1..).zip([
        (0, Crash::AtOnce),
        (2, Crash::Later),
        (2, Crash::Killed),
        (1, Crash::InTheCall),
    ]) {
        let mut placed = placed(&system, |spawn| spawn.replay::<Job>(times));
        placed.start().await;
        let worker = placed.player.clone();
        let job = Job::new(1, u32::MAX, crash);
        let key = RequestKey::new();
        let ask = worker.ask(job.clone()).key(key).into_future();
        let after = worker.ask(Note(2)).into_future();
        let (error, after) = placed.through_crashes(join(ask, after)).await;
        assert_eq!(after.unwrap(), 2);

        let error = error.unwrap_err();
        let kind = match crash {
            Crash::Killed => FailureKind::Killed,
            _ => FailureKind::Panicked,
        };
        assert_eq!((error.kind(), error.verdict()), (kind, Verdict::Executed));
        let expected = format!(
            "worker: poison after {} attempts, the last one {}",
            times + 1,
            crash.reason()
        );
        assert!(error.to_string().contains(&expected), "{error}");

        assert_eq!(system.counters().drops(DropReason::Poison), poisoned);
        let letter = system.dead_letters().take().pop().unwrap();
        assert_eq!((letter.reason, letter.key), (DropReason::Poison, Some(key)));
        assert_eq!(letter.message.downcast_ref::<Job>(), Some(&job));
        assert_eq!(letter.attempts.len(), times as usize + 1);
        for (n, attempt) in (1..).zip(&letter.attempts) {
            assert_eq!(attempt.attempt, n);
            assert_eq!(attempt.incarnation, Incarnation(u64::from(n)));
            assert_eq!(attempt.reason, crash.reason());
        }
        assert!(letter.attempts.is_sorted_by_key(|attempt| attempt.at));
        let Some(TopicEvent::Message(notice)) = notices.next().await else {
            panic!("no notice");
        };
        assert_eq!(notice.attempts, letter.attempts);
        placed.close().await;
    }
}

/// Answered with how the attempts before ended.
#[derive(Message, Debug, Clone)]
#[message(reply = Vec<FailedAttempt>)]
struct Tale(VecDeque<Crash>);

impl Handler<Tale> for Worker {
    async fn handle(&mut self, Tale(crashes): Tale, ctx: &mut Context<Self>) -> Vec<FailedAttempt> {
        let before = ctx.meta().failed_attempts();
        if let Some(crash) = crashes.get(before.len()) {
            crash.now(ctx).await;
        }
        ctx.meta().failed_attempts().to_vec()
    }
}

#[callboard::test(both)]
async fn g14_a_handler_sees_how_the_attempts_before_ended(system: System) {
    let mut placed = placed(&system, |spawn| spawn.replay::<Tale>(3));
    placed.start().await;
    let worker = placed.player.clone();
    let crashes = [Crash::Killed, Crash::AtOnce, Crash::Later];
    let tale = Tale(crashes.into());
    let attempts = placed.through_crashes(worker.ask(tale)).await.unwrap();
    let reasons: Vec<_> = attempts
        .iter()
        .map(|attempt| attempt.reason.clone())
        .collect();
    assert_eq!(reasons, crashes.map(Crash::reason));
    placed.close().await;
}

#[callboard::test(both)]
async fn g14_a_full_mailbox_takes_it_back_and_stays_bounded(system: System) {
    for overflow in [Overflow::Wait, Overflow::Fail, Overflow::DropOldest] {
        let mut placed = placed(&system, |spawn| {
            spawn
                .mailbox(2, overflow)
                .replay::<Job>(1)
                .replay::<Note>(1)
        });
        placed.start().await;
        let worker = placed.player.clone();
        let mut ask = worker.ask(Job::new(1, 1, Crash::Killed)).into_future();
        assert!(futures::poll!(&mut ask).is_pending());
        assert_eq!(placed.ended().await, ExitReason::Killed);
        for n in 2..4 {
            worker.try_tell(Note(n)).unwrap();
        }
        // Besides the two there is the one that comes back.
        assert_eq!(worker.mailbox().len, 3);
        if overflow != Overflow::DropOldest {
            let error = worker.try_tell(Note(4)).unwrap_err();
            assert_eq!(error.kind(), FailureKind::Full);
        }
        placed.start().await;
        assert_eq!(ask.await.unwrap().0, 2);
        worker.ask(Note(5)).await.unwrap();
        let expected = [
            "job 1 attempt 1",
            "job 1 attempt 2",
            "note 2",
            "note 3",
            "note 5",
        ];
        assert_eq!(handled(&placed.log), expected);
        placed.close().await;
    }
}

#[callboard::test(both)]
async fn g14_waiting_for_the_next_incarnation_ends_with_the_verdict_executed(system: System) {
    let mut placed = placed(&system, |spawn| spawn.replay::<Job>(1));
    placed.start().await;
    let worker = placed.player.clone();
    // One is due while it waits, one is withdrawn, one waits when the child is closed for good. Each is at the
    // front in its turn, so each is begun before.
    let crash = || Job::new(1, 1, Crash::Killed);
    let due = worker.ask(crash()).deadline(Duration::from_millis(20));
    let (due, reason) = join(due.into_future(), placed.ended()).await;
    assert_eq!(reason, ExitReason::Killed);
    let due = due.unwrap_err();
    assert_eq!(due.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(due.verdict(), Verdict::Executed);
    let drops = |reason| system.counters().drops(reason);
    placed.start().await;
    worker.ask(Note(1)).await.unwrap();
    assert_eq!(drops(DropReason::Expired) + drops(DropReason::Withdrawn), 1);

    let mut withdrawn = worker.ask(crash()).into_future();
    assert!(futures::poll!(&mut withdrawn).is_pending());
    assert_eq!(placed.ended().await, ExitReason::Killed);
    drop(withdrawn);
    placed.start().await;
    worker.ask(Note(2)).await.unwrap();
    assert_eq!(drops(DropReason::Expired) + drops(DropReason::Withdrawn), 2);

    let mut closed = worker.ask(crash()).into_future();
    assert!(futures::poll!(&mut closed).is_pending());
    assert_eq!(placed.ended().await, ExitReason::Killed);
    placed.place.close(ExitReason::Stopped);
    let closed = closed.await.unwrap_err();
    assert_eq!(closed.kind(), FailureKind::Stopped);
    assert_eq!(closed.verdict(), Verdict::Executed);
    // Each was tried once.
    let jobs = handled(&placed.log);
    assert!(!jobs.contains(&"job 1 attempt 2".to_owned()), "{jobs:?}");
    for letter in system.dead_letters().take() {
        assert_eq!(letter.attempts.len(), 1, "{letter:?}");
    }
}

// Simulated alone: the grace of a shutdown is real time elsewhere.
#[callboard::test]
async fn g14_the_end_of_its_system_answers_it(system: System) {
    let mut placed = placed(&system, |spawn| spawn.replay::<Job>(9));
    placed.start().await;
    let worker = placed.player.clone();
    let mut ask = worker.ask(Job::new(1, 1, Crash::Killed)).into_future();
    assert!(futures::poll!(&mut ask).is_pending());
    placed.ended().await;
    // Nobody starts it again.
    system.shutdown().await;
    let error = ask.await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::Executed);
}

/// Says that it failed, and goes on to its end.
#[derive(Message, Debug, Clone)]
#[message(reply = u32)]
struct Fail;

impl Handler<Fail> for Worker {
    async fn handle(&mut self, _: Fail, ctx: &mut Context<Self>) -> u32 {
        ctx.fail("out of paper");
        ctx.sleep(Duration::from_millis(1)).await;
        ctx.meta().attempt()
    }
}

#[callboard::test(both)]
async fn g14_a_failure_in_order_comes_after_the_message_was_handled(system: System) {
    let mut placed = placed(&system, |spawn| spawn.replay::<Fail>(3));
    placed.start().await;
    let worker = placed.player.clone();
    assert_eq!(worker.ask(Fail).await.unwrap(), 1);
    let reason = ExitReason::Failed("out of paper".into());
    assert_eq!(placed.ended().await, reason);
    // Nor is it in hand while the actor is idle.
    placed.start().await;
    assert_eq!(worker.ask(Job::calm(1)).await.unwrap().0, 1);
    placed.place.kill();
    assert_eq!(placed.ended().await, ExitReason::Killed);
    assert_eq!(worker.mailbox().len, 0);
    placed.close().await;
}

#[callboard::test(both)]
async fn g14_an_actor_without_a_supervisor_has_nobody_to_offer_it_to(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let make = move || Worker { log: inner };
    let worker = system.actor(make).replay::<Job>(3).start();
    let error = worker.ask(Job::new(1, 1, Crash::AtOnce)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Panicked);
    assert_eq!(worker.wait().await, Crash::AtOnce.reason());
    assert_eq!(handled(&log), ["job 1 attempt 1"]);
    assert!(system.dead_letters().is_empty());
}

#[callboard::test(both)]
async fn g14_an_actor_that_drains_handles_it_first(system: System) {
    let mut placed = placed(&system, |spawn| spawn.replay::<Job>(1));
    let worker = placed.player.clone();
    worker.tell(Job::new(1, 1, Crash::Later)).await.unwrap();
    worker.tell(Note(2)).await.unwrap();
    worker.drain();
    placed.start().await;
    assert_eq!(placed.ended().await, Crash::Later.reason());
    placed.start().await;
    assert_eq!(placed.ended().await, ExitReason::Stopped);
    let expected = ["job 1 attempt 1", "job 1 attempt 2", "note 2"];
    assert_eq!(handled(&placed.log), expected);
    placed.close().await;
}

#[callboard::test(both)]
async fn g14_a_worker_of_a_pool_gets_it_again(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let pool = Pool::builder(&system, move || Worker { log: inner.clone() })
        .size(2)
        .backoff(Duration::ZERO, Duration::ZERO)
        .replay::<Job>(1)
        .start()
        .unwrap();
    let asks = (0..6).map(|n| {
        pool.ask(Job::new(n, u32::from(n == 3), Crash::Later))
            .into_future()
    });
    let answers = join_all(asks).await;
    let attempts: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.unwrap().0)
        .collect();
    assert_eq!(attempts, [1, 1, 1, 2, 1, 1]);
    pool.stop();
    pool.wait().await;
}

/// Answered with a stream whose actor crashes once it flows.
#[derive(Message, Debug, Clone)]
#[message(reply = AnswerStream<u32>)]
struct Count;

impl Handler<Count> for Worker {
    async fn handle(&mut self, _: Count, ctx: &mut Context<Self>) -> AnswerStream<u32> {
        let (mut sink, stream) = answer_stream(4);
        let me = ctx.me();
        ctx.spawn(async move {
            let _ = sink.send(1).await;
            me.kill();
            std::future::pending::<()>().await;
            drop(sink);
        });
        stream
    }
}

#[callboard::test(both)]
async fn g14_a_stream_that_has_begun_is_an_answer(system: System) {
    let mut placed = placed(&system, |spawn| spawn.replay::<Count>(3));
    placed.start().await;
    let worker = placed.player.clone();
    let mut stream = worker.ask(Count).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), 1);
    assert_eq!(placed.ended().await, ExitReason::Killed);
    assert_eq!(worker.mailbox().len, 0);
    assert!(stream.next().await.unwrap().is_err());
    placed.close().await;
}

#[callboard::test(both)]
async fn g14_a_message_in_hand_is_copied_once_and_the_copy_goes_with_its_handler(system: System) {
    /// Tells when the last of its copies is gone.
    #[derive(Message, Clone)]
    struct Held(std::sync::Arc<oneshot::Sender<()>>);
    impl Handler<Held> for Worker {
        async fn handle(&mut self, Held(held): Held, _: &mut Context<Self>) {
            assert_eq!(std::sync::Arc::strong_count(&held), 2);
        }
    }
    let mut placed = placed(&system, |spawn| spawn.replay::<Held>(1));
    placed.start().await;
    let (tx, gone) = oneshot::channel();
    placed.player.tell(Held(tx.into())).await.unwrap();
    // Nothing else comes that could take its place.
    assert!(gone.await.is_err());
    placed.close().await;
}

#[callboard::test(both)]
async fn g14_behaviours_end_with_their_incarnation(system: System) {
    let mut placed = placed(&system, |spawn| spawn.replay::<Note>(1));
    placed.start().await;
    let worker = placed.player.clone();
    /// From now on notes crash.
    #[derive(Message)]
    struct Turn(Crash);
    impl Handler<Turn> for Worker {
        async fn handle(&mut self, Turn(crash): Turn, ctx: &mut Context<Self>) {
            ctx.becomes(
                async move |worker: &mut Worker, note: Note, ctx: &mut Context<Worker>| {
                    worker.log.push(format!("note {} turned", note.0));
                    if note.0 > 0 {
                        crash.now(ctx).await;
                    }
                    0
                },
            );
        }
    }
    for crash in [Crash::AtOnce, Crash::Later, Crash::Killed] {
        worker.ask(Turn(crash)).await.unwrap();
        assert_eq!(worker.ask(Note(0)).await.unwrap(), 0);
        let ask = worker.ask(Note(1)).into_future();
        assert_eq!(placed.through_crashes(ask).await.unwrap(), 1);
    }
    let expected = ["note 0 turned", "note 1 turned", "note 1"].repeat(3);
    assert_eq!(handled(&placed.log), expected);
    placed.close().await;
}

#[callboard::test(both)]
async fn g14_the_next_incarnation_may_hold_it_back(system: System) {
    /// Holds notes back from its second incarnation on.
    struct Careful(Log);
    impl Actor for Careful {
        async fn started(&mut self, ctx: &mut Context<Self>) {
            if ctx.incarnation() > Incarnation::FIRST {
                ctx.hold::<Note>();
            }
        }
    }
    impl Handler<Note> for Careful {
        async fn handle(&mut self, Note(n): Note, ctx: &mut Context<Self>) -> u64 {
            let attempt = ctx.meta().attempt();
            self.0.push(format!("note {n} attempt {attempt}"));
            assert!(attempt > 1, "too early");
            n
        }
    }
    impl Handler<Hold> for Careful {
        async fn handle(&mut self, mut hold: Hold, ctx: &mut Context<Self>) {
            let _ = hold.began.take().map(|began| began.send(()));
            let _ = hold.gate.await;
            assert_eq!(ctx.stashed(), 1);
            ctx.unstash();
        }
    }
    let log = Log::default();
    let inner = log.clone();
    let spawn = system.actor(move || Careful(inner.clone()));
    let mut placed = Placed::of(spawn.replay::<Note>(1).place(), log);
    placed.start().await;
    let worker = placed.player.clone();
    let mut ask = worker.ask(Note(1)).into_future();
    assert!(futures::poll!(&mut ask).is_pending());
    placed.ended().await;
    placed.start().await;
    let (hold, began, gate) = Hold::new();
    worker.tell(hold).await.unwrap();
    began.await.unwrap();
    assert!((&mut ask).now_or_never().is_none());
    gate.send(()).unwrap();
    assert_eq!(ask.await.unwrap(), 1);
    assert_eq!(placed.log.lines(), ["note 1 attempt 1", "note 1 attempt 2"]);
    placed.close().await;
}
