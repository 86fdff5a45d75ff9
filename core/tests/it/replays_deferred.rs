//! G14 for handlers that have a responder of their own.

use std::time::Duration;

use callboard::{
    Actor, Context, DeferredHandler, DropReason, ExitReason, FailureKind, Handler, Message,
    Responder, System, Verdict,
};
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::join;

use crate::common::{Log, Note, Placed};
use crate::replays::{CRASHES, Crash};

/// What a handler does with its responder.
#[derive(Debug, Clone)]
enum Does {
    Answers,
    /// Drops it and returns.
    Drops,
    /// Crashes with it in hand.
    Crashes(Crash),
    /// Keeps it in the actor's state, then crashes.
    KeepsAndCrashes(Crash),
    /// Keeps it and returns.
    Keeps,
    /// Hands it to the test, then crashes.
    GivesAndCrashes(mpsc::Sender<Responder<u32>>, Crash),
    /// Hands it to the test and returns.
    Gives(mpsc::Sender<Responder<u32>>),
    /// Answers, then crashes.
    AnswersAndCrashes(Crash),
    /// Puts the message off, so often, and crashes right after the last time, if it is to.
    PutsOff(u32, Option<Crash>),
    /// Panics with it in hand, and catches that.
    PanicsInside,
}

/// Answered with the attempt.
#[derive(Message, Debug, Clone)]
#[message(reply = u32)]
struct Job {
    /// What the attempts do, the first first; those after the last answer.
    does: Vec<Does>,
}

struct Clerk {
    log: Log,
    kept: Vec<Responder<u32>>,
    put_off: u32,
}

impl Actor for Clerk {}

impl DeferredHandler<Job> for Clerk {
    async fn handle_deferred(
        &mut self,
        job: Job,
        responder: Responder<u32>,
        ctx: &mut Context<Self>,
    ) {
        let attempt = ctx.meta().attempt();
        self.log.push(format!("attempt {attempt}"));
        let does = job.does.get(attempt as usize - 1).cloned();
        match does.unwrap_or(Does::Answers) {
            Does::Answers => responder.send(attempt),
            Does::Drops => drop(responder),
            Does::Crashes(crash) => {
                crash.now(ctx).await;
                responder.send(0);
            }
            Does::Keeps => self.kept.push(responder),
            Does::KeepsAndCrashes(crash) => {
                self.kept.push(responder);
                crash.now(ctx).await;
            }
            Does::Gives(mut to) => to.try_send(responder).unwrap(),
            Does::GivesAndCrashes(mut to, crash) => {
                to.try_send(responder).unwrap();
                crash.now(ctx).await;
            }
            Does::AnswersAndCrashes(crash) => {
                responder.send(attempt);
                crash.now(ctx).await;
            }
            Does::PutsOff(times, crash) => {
                if self.put_off == times {
                    return responder.send(attempt);
                }
                self.put_off += 1;
                let last = self.put_off == times;
                ctx.stash(job, responder).unwrap();
                ctx.unstash();
                if let (true, Some(crash)) = (last, crash) {
                    crash.now(ctx).await;
                }
            }
            Does::PanicsInside => {
                let dropped = std::panic::AssertUnwindSafe(|| {
                    let _dropped = responder;
                    panic!("inside");
                });
                assert!(std::panic::catch_unwind(dropped).is_err());
                ctx.sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

impl Handler<Note> for Clerk {
    async fn handle(&mut self, Note(n): Note, ctx: &mut Context<Self>) -> u64 {
        if n == 0 {
            Crash::AtOnce.now(ctx).await;
        }
        n
    }
}

fn clerk(system: &System, times: u32) -> Placed<Clerk> {
    let log = Log::default();
    let inner = log.clone();
    let make = move || Clerk {
        log: inner.clone(),
        kept: Vec::new(),
        put_off: 0,
    };
    let spawn = system.actor(make).label("clerk");
    Placed::of(spawn.replay::<Job>(times).place(), log)
}

fn job(does: impl IntoIterator<Item = Does>) -> Job {
    Job {
        does: does.into_iter().collect(),
    }
}

#[callboard::test(both)]
async fn g14_a_responder_that_the_crash_drops_tells_nobody(system: System) {
    for crash in CRASHES {
        // A call can't panic there: it is an `async fn`.
        if crash == Crash::InTheCall {
            continue;
        }
        for does in [Does::Crashes(crash), Does::KeepsAndCrashes(crash)] {
            let mut placed = clerk(&system, 1);
            placed.start().await;
            let clerk = placed.player.clone();
            let (asked, told) = (job([does.clone()]), job([does]));
            let ask = clerk.ask(asked).into_future();
            assert_eq!(placed.through_crashes(ask).await.unwrap(), 2);
            clerk.tell(told).await.unwrap();
            assert_eq!(placed.through_crashes(clerk.ask(Note(1))).await.unwrap(), 1);
            let expected = ["attempt 1", "attempt 2", "attempt 1", "attempt 2"];
            assert_eq!(placed.log.lines(), expected, "{crash:?}");
            placed.close().await;
        }
    }
    assert!(system.dead_letters().is_empty());
    assert_eq!(system.counters().drops(DropReason::LateReply), 0);
}

#[callboard::test(both)]
async fn g07_a_handler_that_returned_without_an_answer_has_ended_the_ask(system: System) {
    let mut placed = clerk(&system, 3);
    placed.start().await;
    let clerk = placed.player.clone();
    let error = clerk.ask(job([Does::Drops])).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NoAnswer);
    assert_eq!(error.verdict(), Verdict::Executed);
    // A panic that the handler lives through is nobody's crash.
    let error = clerk.ask(job([Does::PanicsInside])).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Panicked);
    assert_eq!(placed.log.lines(), ["attempt 1"; 2]);
    placed.close().await;
}

#[callboard::test(both)]
async fn g14_what_was_answered_is_not_in_hand_any_more(system: System) {
    for crash in [Crash::AtOnce, Crash::Later, Crash::Killed] {
        let mut placed = clerk(&system, 3);
        placed.start().await;
        let clerk = placed.player.clone();
        assert_eq!(
            clerk
                .ask(job([Does::AnswersAndCrashes(crash)]))
                .await
                .unwrap(),
            1
        );
        placed.ended().await;
        assert_eq!(clerk.mailbox().len, 0);
        placed.start().await;
        // The same for a tell, whose answer reaches nobody.
        clerk
            .tell(job([Does::AnswersAndCrashes(crash)]))
            .await
            .unwrap();
        placed.ended().await;
        assert_eq!(clerk.mailbox().len, 0);
        placed.start().await;
        assert_eq!(placed.log.lines(), ["attempt 1"; 2]);
        placed.close().await;
    }
}

#[callboard::test(both)]
async fn g14_a_kept_responder_tells_its_asker_when_a_later_message_crashes(system: System) {
    let mut placed = clerk(&system, 3);
    placed.start().await;
    let clerk = placed.player.clone();
    let kept = clerk.ask(job([Does::Keeps])).into_future();
    let crashes = clerk.ask(job([Does::Crashes(Crash::Later)])).into_future();
    let (kept, crashes) = placed.through_crashes(join(kept, crashes)).await;
    let error = kept.unwrap_err();
    assert_eq!(error.verdict(), Verdict::Executed);
    assert_eq!(crashes.unwrap(), 2);
    // Also if the message that crashes isn't one that is replayed.
    let kept = clerk.ask(job([Does::Keeps])).into_future();
    let crashes = clerk.ask(Note(0)).into_future();
    let (kept, crashes) = placed.through_crashes(join(kept, crashes)).await;
    assert_eq!(kept.unwrap_err().verdict(), Verdict::Executed);
    assert_eq!(crashes.unwrap_err().kind(), FailureKind::Panicked);
    placed.close().await;
}

#[callboard::test(both)]
async fn g08_a_responder_that_outlives_its_crash_answers_nobody(system: System) {
    let (to, mut given) = mpsc::channel(1);
    let mut placed = clerk(&system, 1);
    placed.start().await;
    let clerk = placed.player.clone();
    let crashes = job([Does::GivesAndCrashes(to, Crash::Later)]);
    let mut ask = clerk.ask(crashes).into_future();
    assert!(futures::poll!(&mut ask).is_pending());
    let responder = given.next().await.unwrap();
    assert!(responder.expects_answer());
    placed.ended().await;
    responder.send(99);
    assert_eq!(system.counters().drops(DropReason::LateReply), 1);
    placed.start().await;
    assert_eq!(ask.await.unwrap(), 2);
    placed.close().await;
}

#[callboard::test(both)]
async fn g14_a_responder_may_answer_long_after_its_handler(system: System) {
    let (to, mut given) = mpsc::channel(1);
    let mut placed = clerk(&system, 1);
    placed.start().await;
    let clerk = placed.player.clone();
    let mut ask = clerk.ask(job([Does::Gives(to.clone())])).into_future();
    assert!(futures::poll!(&mut ask).is_pending());
    let responder = given.next().await.unwrap();
    clerk.ask(Note(1)).await.unwrap();
    placed.place.kill();
    placed.ended().await;
    responder.send(7);
    assert_eq!(ask.await.unwrap(), 7);
    // A tell's says that nobody waits.
    placed.start().await;
    clerk.tell(job([Does::Gives(to)])).await.unwrap();
    assert!(!given.next().await.unwrap().expects_answer());
    placed.close().await;
}

#[callboard::test(both)]
async fn g14_what_its_handler_put_off_is_not_offered_twice(system: System) {
    for crash in [Crash::AtOnce, Crash::Later, Crash::Killed] {
        let mut placed = clerk(&system, 3);
        placed.start().await;
        let clerk = placed.player.clone();
        let puts_off = || job([Does::PutsOff(1, Some(crash))]);
        // The next incarnation puts it off and crashes as well.
        clerk.tell(puts_off()).await.unwrap();
        assert!(!placed.ended().await.is_normal());
        assert_eq!(clerk.mailbox().len, 1);
        placed.start().await;
        assert!(!placed.ended().await.is_normal());
        assert_eq!(clerk.mailbox().len, 1);
        placed.place.close(ExitReason::Stopped);
        assert_eq!(placed.log.lines(), ["attempt 1"; 2]);
    }
}

#[callboard::test(both)]
async fn g14_what_is_put_off_again_and_again_is_answered(system: System) {
    let mut placed = clerk(&system, 3);
    placed.start().await;
    let clerk = placed.player.clone();
    let ask = clerk.ask(job([Does::PutsOff(3_000, None)]));
    assert_eq!(ask.await.unwrap(), 1);
    assert_eq!(placed.log.lines().len(), 3_001);
    placed.close().await;
}
