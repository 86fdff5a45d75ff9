//! G14 against a model: random messages, crashes and bounds.

use std::time::Duration;

use callboard::{
    Actor, Context, DeferredHandler, DropReason, FailureKind, Handler, Message, Recipient,
    Responder, Simulation, StartFailure, Verdict,
};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use proptest::prelude::*;

use crate::common::{Log, Placed};
use crate::replays::{CRASHES, Crash};

/// What one message does: it crashes in its first attempts, then ends.
#[derive(Debug, Clone)]
struct Plan {
    crashes: Vec<Crash>,
    end: End,
    /// Its handler has a responder of its own.
    deferred: bool,
    /// Its type isn't replayed.
    plain: bool,
    told: bool,
    sender: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Answer,
    /// Answers; the actor then fails in order.
    Fail,
    /// Answers, if it has a responder of its own, and panics; else answers.
    AnswerAndPanic,
}

#[derive(Message, Debug, Clone)]
#[message(reply = u32)]
struct ByReturn(usize, Plan);

#[derive(Message, Debug, Clone)]
#[message(reply = u32)]
struct ByResponder(usize, Plan);

/// Not `Clone`.
#[derive(Message, Debug)]
#[message(reply = u32)]
struct Plain(usize, Plan);

struct Clerk {
    log: Log,
    fails_to_start: Vec<bool>,
}

impl Clerk {
    /// The attempt that ends it.
    async fn run(&self, n: usize, plan: &Plan, ctx: &mut Context<Self>) -> u32 {
        let attempt = ctx.meta().attempt();
        self.log.push(format!("{n}.{attempt}"));
        if let Some(crash) = plan.crashes.get(attempt as usize - 1) {
            crash.in_the_call();
            crash.now(ctx).await;
        }
        ctx.sleep(Duration::from_micros(10)).await;
        if plan.end == End::Fail {
            ctx.fail("in order");
        }
        attempt
    }
}

impl Actor for Clerk {
    async fn starting(&mut self, ctx: &mut Context<Self>) -> Result<(), StartFailure> {
        let number = ctx.incarnation().0 as usize;
        match self.fails_to_start.get(number % 16) {
            Some(true) => Err(StartFailure::new("not today")),
            _ => Ok(()),
        }
    }
}

impl Handler<ByReturn> for Clerk {
    async fn handle(&mut self, ByReturn(n, plan): ByReturn, ctx: &mut Context<Self>) -> u32 {
        self.run(n, &plan, ctx).await
    }
}

impl Handler<Plain> for Clerk {
    async fn handle(&mut self, Plain(n, plan): Plain, ctx: &mut Context<Self>) -> u32 {
        self.run(n, &plan, ctx).await
    }
}

impl DeferredHandler<ByResponder> for Clerk {
    async fn handle_deferred(
        &mut self,
        ByResponder(n, plan): ByResponder,
        responder: Responder<u32>,
        ctx: &mut Context<Self>,
    ) {
        let attempt = self.run(n, &plan, ctx).await;
        responder.send(attempt);
        assert!(plan.end != End::AnswerAndPanic, "after its answer");
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    let crashes = prop::collection::vec(prop::sample::select(CRASHES.to_vec()), 0..5);
    let crashes = prop_oneof![2 => Just(Vec::new()), 3 => crashes];
    let end = prop::sample::select(vec![
        End::Answer,
        End::Answer,
        End::Fail,
        End::AnswerAndPanic,
    ]);
    let flags = (
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
    );
    (crashes, end, flags, 0..3usize).prop_map(|(crashes, end, (deferred, plain, told), sender)| {
        Plan {
            crashes,
            end,
            deferred,
            plain,
            told,
            sender,
        }
    })
}

impl Plan {
    /// The attempts there are, and whether the last one answers.
    fn expect(&self, times: u32) -> (u32, bool) {
        let times = if self.plain { 0 } else { times };
        let crashes = u32::try_from(self.crashes.len()).unwrap();
        (crashes.min(times) + 1, crashes <= times)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn g14_every_message_ends_once_in_order_and_poison_exactly_after_n(
        seed: u64,
        plans in prop::collection::vec(plan(), 1..16),
        times in 0..4u32,
        capacity in 1..5usize,
        fails_to_start in prop::collection::vec(prop::bool::weighted(0.2), 15),
    ) {
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(async move {
            let log = Log::default();
            let inner = log.clone();
            let make = move || Clerk { log: inner.clone(), fails_to_start: fails_to_start.clone() };
            let spawn = system
                .actor(make)
                .mailbox(capacity, callboard::Overflow::Wait)
                .replay::<ByReturn>(times)
                .replay::<ByResponder>(times);
            let mut placed = Placed::of(spawn.place(), log);
            placed.begin();
            let clerk = placed.player.clone();
            // Each sender sends its messages one behind the other: the first poll of each puts it in line.
            let senders = (0..3).map(|sender| {
                let own = plans.iter().cloned().enumerate().filter(|(_, plan)| plan.sender == sender);
                join_all(own.map(|(n, plan)| {
                    let told = plan.told;
                    let answer = match (plan.plain, plan.deferred) {
                        (true, _) => send(&clerk, Plain(n, plan), told),
                        (_, true) => send(&clerk, ByResponder(n, plan), told),
                        (_, false) => send(&clerk, ByReturn(n, plan), told),
                    };
                    answer.map(move |answer| (n, answer))
                }))
            });
            let senders: Vec<_> = senders.collect();
            let answers = placed.through_crashes(join_all(senders)).await;
            // All that was told has been handled, too.
            let quiet = Plan {
                crashes: Vec::new(), end: End::Answer, deferred: false, plain: true, told: false, sender: 0,
            };
            let last = clerk.ask(Plain(999, quiet)).into_future();
            prop_assert_eq!(placed.through_crashes(last).await.unwrap(), 1);

            for (n, answer) in answers.into_iter().flatten() {
                let Some(answer) = answer else { continue };
                let plan = &plans[n];
                let (attempts, answered) = plan.expect(times);
                match answer {
                    Ok(attempt) => prop_assert!(answered && attempt == attempts, "{n}: {attempt}"),
                    Err((kind, verdict)) => {
                        prop_assert!(!answered, "{n}: {kind:?}");
                        prop_assert_eq!(verdict, Verdict::Executed);
                        let killed = plan.crashes[attempts as usize - 1] == Crash::Killed;
                        let expected = if killed { FailureKind::Killed } else { FailureKind::Panicked };
                        prop_assert_eq!(kind, expected);
                    }
                }
            }

            // Attempts at one message lie side by side, and each sender's messages in the order sent.
            let mut lines = placed.log.lines();
            prop_assert_eq!(lines.pop(), Some("999.1".to_owned()));
            let mut order = vec![Vec::new(); 3];
            let mut lines = lines.into_iter();
            while let Some(line) = lines.next() {
                let n: usize = line.strip_suffix(".1").unwrap().parse().unwrap();
                for attempt in 2..=plans[n].expect(times).0 {
                    prop_assert_eq!(lines.next(), Some(format!("{n}.{attempt}")));
                }
                order[plans[n].sender].push(n);
            }
            for (sender, seen) in order.into_iter().enumerate() {
                let sent = (0..plans.len()).filter(|n| plans[*n].sender == sender);
                prop_assert_eq!(seen, sent.collect::<Vec<_>>());
            }

            // What was given up is poison, with its history, and nothing else is a dead letter.
            let poison = plans.iter().filter(|plan| !plan.plain && !plan.expect(times).1).count();
            let letters = system.dead_letters().take();
            prop_assert_eq!(letters.len(), poison);
            for letter in letters {
                prop_assert_eq!(letter.reason, DropReason::Poison);
                prop_assert_eq!(letter.attempts.len(), times as usize + 1);
            }
            placed.close().await;
            Ok(())
        })?;
    }
}

/// Sends it. The answer, if it is asked.
fn send<M, How>(
    clerk: &callboard::ActorRef<Clerk>,
    message: M,
    told: bool,
) -> BoxFuture<'static, Option<Result<u32, (FailureKind, Verdict)>>>
where
    M: Message<Reply = u32>,
    Clerk: callboard::Receives<M, How>,
    How: 'static,
{
    let recipient: Recipient<M> = clerk.recipient();
    async move {
        if told {
            assert!(recipient.tell(message).await.is_ok());
            return None;
        }
        let answer = recipient.ask(message).no_deadline().await;
        Some(answer.map_err(|error| (error.kind(), error.verdict())))
    }
    .boxed()
}
