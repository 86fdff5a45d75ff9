//! Cycles of asks: found when they close, with the path; allowed by name (G7, G9).

use std::time::Duration;

use callboard::{
    Actor, ActorRef, Context, DeferredHandler, Failure, FailureKind, Handler, Message, Overflow,
    Placement, Responder, System, Verdict,
};
use futures::channel::oneshot;
use futures::future::{join, join_all};

/// Asks on along a path of actors, and answers how that ended.
#[derive(Message)]
#[message(reply = Result<u64, Failure>)]
struct Along {
    path: Vec<ActorRef<Node>>,
    allow: bool,
}

struct Node;

impl Actor for Node {}

impl Handler<Along> for Node {
    async fn handle(&mut self, along: Along, ctx: &mut Context<Self>) -> Result<u64, Failure> {
        let Along { mut path, allow } = along;
        let Some(next) = path.pop() else { return Ok(0) };
        // The message may lie in a mailbox on the way, so a task of others has its turn first.
        ctx.sleep(Duration::from_millis(1)).await;
        let ask = next
            .ask(Along { path, allow })
            .deadline(Duration::from_secs(5));
        let ask = if allow { ask.allow_cycle() } else { ask };
        match ask.await {
            Ok(end) => end.map(|asks| asks + 1),
            Err(error) => Err(error.into()),
        }
    }
}

fn node(system: &System, label: &'static str, arbiter: usize) -> ActorRef<Node> {
    let spawn = system.actor(|| Node).label(label);
    spawn.placement(Placement::Pinned(arbiter)).start()
}

/// Asks the first of the actors to ask the second, and so on.
async fn go(path: &[&ActorRef<Node>], allow: bool) -> Result<u64, Failure> {
    let mut path: Vec<_> = path.iter().rev().map(|node| (*node).clone()).collect();
    let first = path.pop().unwrap();
    first.ask(Along { path, allow }).await.unwrap()
}

/// All on one arbiter, or spread.
async fn nodes(system: &System, spread: usize) -> [ActorRef<Node>; 3] {
    [
        node(system, "a", 0),
        node(system, "b", spread),
        node(system, "c", 0),
    ]
}

#[callboard::test(both)]
async fn g07_a_cycle_is_found_at_once_with_its_path(system: System) {
    for spread in [0, 1] {
        let [a, b, c] = nodes(&system, spread).await;
        let name = |node: &ActorRef<Node>| format!("{}{}", node.label(), node.id());
        for cycle in [vec![&a, &a], vec![&a, &b, &a], vec![&a, &b, &c, &a]] {
            let failure = go(&cycle, false).await.unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Cycle);
            assert_eq!(failure.verdict(), Verdict::NotSent);
            // From who asks, over who waits, back to who asks.
            let last = cycle[cycle.len() - 2];
            let mut path = vec![name(last)];
            path.extend(cycle[..cycle.len() - 1].iter().map(|node| name(node)));
            assert_eq!(failure.detail(), Some(&*path.join(" -> ")));
        }
        // What isn't a cycle goes on as ever, also after one.
        assert_eq!(go(&[&a, &b, &c], false).await, Ok(2));
    }
}

#[callboard::test]
async fn g07_a_cycle_that_is_allowed_ends_by_its_deadline(system: System) {
    let [a, b, _] = nodes(&system, 1).await;
    let before = system.clock().now();
    let failure = go(&[&a, &b, &a], true).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::DeadlineExceeded);
    assert!(system.clock().now().since(before) >= Duration::from_secs(4));
    assert_eq!(go(&[&a, &b], false).await, Ok(1));
}

/// Both ask each other at the same time, from two arbiters.
#[callboard::test(both)]
async fn g07_two_that_ask_each_other_do_not_both_wait(system: System) {
    for _ in 0..20 {
        let (a, b) = (node(&system, "a", 0), node(&system, "b", 1));
        let ends = join(go(&[&a, &b], false), go(&[&b, &a], false)).await;
        for end in [&ends.0, &ends.1] {
            match end {
                Ok(asks) => assert_eq!(*asks, 1),
                Err(failure) => assert_eq!(failure.kind(), FailureKind::Cycle),
            }
        }
        // Neither of them waits any more.
        assert_eq!(go(&[&a, &b], false).await, Ok(1));
        assert_eq!(go(&[&b, &a], false).await, Ok(1));
    }
}

/// Asks in a task of its own, so that its handler doesn't wait.
struct Free;

#[derive(Message)]
#[message(reply = u64)]
struct Back(ActorRef<Free>);

#[derive(Message)]
#[message(reply = u64)]
struct Number;

impl Actor for Free {}

impl DeferredHandler<Back> for Free {
    async fn handle_deferred(
        &mut self,
        Back(other): Back,
        responder: Responder<u64>,
        ctx: &mut Context<Self>,
    ) {
        ctx.spawn(async move {
            if let Ok(number) = other.ask(Number).await {
                responder.send(number + 1);
            }
        });
    }
}

impl Handler<Number> for Free {
    async fn handle(&mut self, _: Number, _: &mut Context<Self>) -> u64 {
        7
    }
}

#[derive(Message)]
#[message(reply = u64)]
struct AskBack(ActorRef<Free>);

impl Handler<AskBack> for Free {
    async fn handle(&mut self, AskBack(other): AskBack, _: &mut Context<Self>) -> u64 {
        // The other answers from a task, which asks itself: no cycle.
        other.ask(Back(other.clone())).await.unwrap()
    }
}

#[callboard::test(both)]
async fn g07_what_tasks_and_deferred_answers_ask_is_no_cycle(system: System) {
    let (one, two) = (system.start(Free), system.start(Free));
    assert_eq!(one.ask(Back(one.clone())).await.unwrap(), 8);
    assert_eq!(one.ask(AskBack(two)).await.unwrap(), 8);
}

#[derive(Message)]
#[message(reply = u64)]
struct Fan(Vec<ActorRef<Node>>);

impl Handler<Fan> for Node {
    async fn handle(&mut self, Fan(others): Fan, _: &mut Context<Self>) -> u64 {
        let path = || Along {
            path: Vec::new(),
            allow: false,
        };
        let asks = others.iter().map(|other| other.ask(path()).into_future());
        join_all(asks).await.iter().flatten().flatten().sum::<u64>() + others.len() as u64
    }
}

#[callboard::test(both)]
async fn a_handler_may_wait_for_many_and_for_one_twice(system: System) {
    let [a, b, c] = nodes(&system, 1).await;
    let others = vec![b.clone(), c.clone(), b.clone()];
    assert_eq!(a.ask(Fan(others)).await.unwrap(), 3);
    // All of that is forgotten.
    assert_eq!(go(&[&b, &a], false).await, Ok(1));
    assert_eq!(go(&[&c, &a], false).await, Ok(1));
}

/// Holds its handler until the gate opens, or its ask of another ends.
#[derive(Message)]
struct Race {
    other: ActorRef<Node>,
    began: oneshot::Sender<()>,
    gate: oneshot::Receiver<()>,
}

impl Handler<Race> for Node {
    async fn handle(&mut self, race: Race, ctx: &mut Context<Self>) {
        let me = ctx.me();
        let ask = race.other.ask(Along {
            path: vec![me],
            allow: true,
        });
        race.began.send(()).unwrap();
        futures::future::select(ask.into_future(), race.gate).await;
    }
}

#[callboard::test(both)]
async fn a_cycle_that_is_allowed_can_be_broken_by_who_waits(system: System) {
    let [a, b, _] = nodes(&system, 1).await;
    let (began_tx, began) = oneshot::channel();
    let (gate_tx, gate) = oneshot::channel();
    let race = a.ask(Race {
        other: b.clone(),
        began: began_tx,
        gate,
    });
    let open = async {
        began.await.unwrap();
        gate_tx.send(()).unwrap();
    };
    join(race.into_future(), open).await.0.unwrap();
    // The wait that was dropped is forgotten.
    assert_eq!(go(&[&b, &a], false).await, Ok(1));
}

#[callboard::test(both)]
async fn g06_an_ask_that_would_wait_for_room_for_ever_comes_back(system: System) {
    struct Small;
    #[derive(Message)]
    #[message(reply = Result<u64, Failure>)]
    struct AskMe(u64);
    impl Actor for Small {}
    impl Handler<AskMe> for Small {
        async fn handle(
            &mut self,
            AskMe(n): AskMe,
            ctx: &mut Context<Self>,
        ) -> Result<u64, Failure> {
            if n == 0 {
                return Ok(0);
            }
            let me = ctx.me();
            // Its mailbox is full.
            me.try_tell(AskMe(0)).unwrap();
            let error = me.ask(AskMe(n - 1)).await.unwrap_err();
            assert_eq!(error.message().map(|AskMe(n)| *n), Some(n - 1));
            Err(error.into())
        }
    }
    let small = system.actor(|| Small).mailbox(1, Overflow::Wait).start();
    let failure = small.ask(AskMe(5)).await.unwrap().unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Cycle);
}

/// Begins to ask, and hands the wait to a task.
#[derive(Message)]
struct HandOn(ActorRef<Node>);

impl Handler<HandOn> for Node {
    async fn handle(&mut self, HandOn(other): HandOn, ctx: &mut Context<Self>) {
        let mut ask = Box::pin(async move {
            let along = Along {
                path: Vec::new(),
                allow: false,
            };
            let _ = other.ask(along).await;
        });
        let _ = futures::poll!(&mut ask);
        ctx.spawn(ask);
    }
}

#[callboard::test(both)]
async fn a_wait_that_was_handed_to_a_task_is_no_wait_of_the_handler(system: System) {
    let [a, b, _] = nodes(&system, 1).await;
    let path = vec![a.clone()];
    for _ in 0..10 {
        a.ask(HandOn(b.clone())).await.unwrap();
        let path = path.clone();
        let end = b.ask(Along { path, allow: false }).await.unwrap();
        assert_eq!(end, Ok(1));
    }
}
