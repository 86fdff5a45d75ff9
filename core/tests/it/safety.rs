//! What strains the engine's own memory: messages and replies of odd shapes, drops that panic or send, and
//! references that outlive what they point to. Under AddressSanitizer these say the most.

use callboard::{
    Actor, ActorRef, Context, ExitReason, FailureKind, Handler, Message, Placement, System, Verdict,
};
use futures::FutureExt;

use crate::common::{Hold, Log, Note, Worker, held_worker, worker};

/// Wants a cache line of its own.
#[derive(Message, Debug, Clone, PartialEq)]
#[message(reply = usize)]
#[repr(align(64))]
struct Wide([u8; 64]);

/// Too large for a reply slot, and over-aligned.
#[derive(Debug, Clone, PartialEq)]
#[repr(align(128))]
struct Page([u8; 4_096]);

#[derive(Message)]
#[message(reply = Page)]
struct Fetch(u8);

impl Handler<Wide> for Worker {
    async fn handle(&mut self, wide: Wide, ctx: &mut Context<Self>) -> usize {
        // Held across an await, so that it lies in the handler's future.
        ctx.sleep(std::time::Duration::from_millis(1)).await;
        assert_eq!(std::ptr::from_ref(&wide).addr() % 64, 0);
        self.log.push(format!("wide {}", wide.0[63]));
        wide.0.iter().map(|byte| usize::from(*byte)).sum()
    }
}

impl Handler<Fetch> for Worker {
    async fn handle(&mut self, Fetch(byte): Fetch, _: &mut Context<Self>) -> Page {
        Page([byte; 4_096])
    }
}

#[callboard::test(both)]
async fn g02_an_over_aligned_message_keeps_its_place_and_its_alignment(system: System) {
    let (worker, log, gate) = held_worker(&system, 10).await;
    // Behind records of other sizes, some waiting, one boxed beside them.
    worker.try_tell(Note(1)).unwrap();
    worker.try_tell(Wide([2; 64])).unwrap();
    let mut asked = Box::pin(worker.ask(Wide([3; 64])).into_future());
    assert!(asked.as_mut().now_or_never().is_none());
    worker.try_tell(Note(4)).unwrap();
    gate.send(()).unwrap();
    assert_eq!(asked.await.unwrap(), 3 * 64);
    assert_eq!(worker.ask(Wide([5; 64])).await.unwrap(), 5 * 64);
    let lines = log.lines();
    assert_eq!(
        lines[2..],
        ["note 1", "wide 2", "wide 3", "note 4", "wide 5"]
    );
}

#[callboard::test(both)]
async fn g07_a_large_and_over_aligned_reply_arrives_whole(system: System) {
    let (worker, _) = worker(&system);
    let check = |page: &Page, byte| {
        assert_eq!(std::ptr::from_ref(page).addr() % 128, 0);
        assert_eq!(*page, Page([byte; 4_096]));
    };
    check(&worker.ask(Fetch(1)).await.unwrap(), 1);
    let pages = (2..40).map(|byte| worker.ask(Fetch(byte)).into_future());
    for (page, byte) in futures::future::join_all(pages).await.iter().zip(2..) {
        check(page.as_ref().unwrap(), byte);
    }
    // One that nobody takes is dropped in its slot.
    let mut asked = Box::pin(worker.ask(Fetch(9)).into_future());
    let _ = asked.as_mut().now_or_never();
    check(&worker.ask(Fetch(3)).await.unwrap(), 3);
    drop(asked);
}

/// Its drop panics.
#[derive(Message)]
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "in the drop of a message");
    }
}

impl Handler<Grenade> for Worker {
    async fn handle(&mut self, _: Grenade, _: &mut Context<Self>) {}
}

#[callboard::test(both)]
async fn g10_a_queued_message_whose_drop_panics_harms_nobody_else(system: System) {
    let (doomed, _, gate) = held_worker(&system, 2_000).await;
    let neighbour = system
        .actor(|| Worker {
            log: Log::default(),
        })
        .near(&doomed)
        .start();
    doomed.try_tell(Grenade).unwrap();
    doomed.try_tell(Note(1)).unwrap();
    doomed.stop();
    gate.send(()).unwrap();
    assert_eq!(doomed.wait().await, ExitReason::Stopped);
    assert_eq!(system.dead_letters().len(), 2);
    assert_eq!(neighbour.ask(Note(1)).await.unwrap(), 1);
    // The ring of dead letters puts it out while it takes in what others left: they must not pay for it.
    let (other, log, gate) = held_worker(&system, 2_000).await;
    for n in 0..1_100 {
        other.try_tell(Note(n)).unwrap();
    }
    other.stop();
    gate.send(()).unwrap();
    assert_eq!(other.wait().await, ExitReason::Stopped);
    assert_eq!(log.lines().last().unwrap(), "dropped");
    assert_eq!(neighbour.ask(Note(2)).await.unwrap(), 2);
    assert_eq!(system.counters().panics(), 1);
}

#[callboard::test(both)]
async fn g10_a_message_whose_drop_panics_in_its_handler_ends_that_actor_alone(system: System) {
    let (worker, _) = worker(&system);
    let neighbour = system
        .actor(|| Worker {
            log: Log::default(),
        })
        .near(&worker)
        .start();
    let error = worker.ask(Grenade).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Panicked);
    let why = "in the drop of a message".to_owned();
    assert_eq!(worker.wait().await, ExitReason::Failed(why.into()));
    assert_eq!(neighbour.ask(Note(1)).await.unwrap(), 1);
}

/// Its drop sends to an actor.
#[derive(Message)]
struct Parting(ActorRef<Worker>, u64);

impl Drop for Parting {
    fn drop(&mut self) {
        let _ = self.0.try_tell(Note(self.1));
    }
}

impl Handler<Parting> for Worker {
    async fn handle(&mut self, parting: Parting, _: &mut Context<Self>) {
        self.log.push("parting");
        drop(parting);
    }
}

#[callboard::test(both)]
async fn g06_a_message_whose_drop_sends_to_its_own_actor_is_one_message_more(system: System) {
    let (worker, log) = worker(&system);
    worker.ask(Parting(worker.clone(), 7)).await.unwrap();
    worker.ask(Note(8)).await.unwrap();
    assert_eq!(log.lines(), ["parting", "note 7", "note 8"]);
}

#[callboard::test(both)]
async fn g06_a_message_whose_drop_sends_can_be_left_behind_by_its_actor(system: System) {
    let (worker, log, gate) = held_worker(&system, 10).await;
    worker.try_tell(Parting(worker.clone(), 7)).unwrap();
    // One whose asker has gone, one that is dropped on its way in.
    let mut asked = Box::pin(worker.ask(Parting(worker.clone(), 8)).into_future());
    assert!(asked.as_mut().now_or_never().is_none());
    drop(asked);
    drop(worker.tell(Parting(worker.clone(), 9)));
    worker.stop();
    gate.send(()).unwrap();
    worker.wait().await;
    // 9 was queued; the other two lie in the ring, and what they send now is refused.
    let letters = system.dead_letters().take();
    assert_eq!(letters.len(), 3);
    drop(letters);
    assert!(system.dead_letters().is_empty());
    assert_eq!(log.lines().last().unwrap(), "dropped");
}

#[test]
fn g06_references_outlive_their_arbiters() {
    let system = System::with_arbiters(2).unwrap();
    let (worker, log) = worker(&system);
    assert_eq!(worker.ask(Note(1)).blocking().unwrap(), 1);
    // An ask that is under way when everything ends.
    let (hold, began, _gate) = Hold::new();
    let asking = worker.clone();
    let mut asked = Box::pin(asking.ask(hold).into_future());
    assert!(asked.as_mut().now_or_never().is_none());
    futures::executor::block_on(began).unwrap();
    worker.kill();
    futures::executor::block_on(system.shutdown());
    while system.spawn(Placement::Pinned(0), || async {})
        || system.spawn(Placement::Pinned(1), || async {})
    {
        std::thread::yield_now();
    }
    let recipient = worker.recipient::<Note, _>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let error = futures::executor::block_on(asked).unwrap_err();
            assert_eq!(error.kind(), FailureKind::Killed);
        });
        scope.spawn(move || {
            let error = worker.ask(Note(2)).blocking().unwrap_err();
            assert_eq!(
                (error.kind(), error.verdict()),
                (FailureKind::Stopped, Verdict::NotExecuted)
            );
            assert_eq!(error.into_message(), Some(Note(2)));
            worker.tell(Note(3)).blocking().unwrap_err();
            worker.stop();
            let reason = futures::executor::block_on(worker.wait());
            assert_eq!(reason, ExitReason::Killed);
            drop(worker);
        });
        scope.spawn(move || {
            recipient.tell(Note(4)).blocking().unwrap_err();
            drop(recipient);
        });
    });
    drop(system);
    assert_eq!(log.lines(), ["note 1", "hold begins", "dropped"]);
}

/// Begins asks and drops them while they wait.
struct Fickle {
    worker: ActorRef<Worker>,
    log: Log,
}

/// Answered with how many of the handlers had begun when the ask was dropped.
#[derive(Message)]
#[message(reply = usize)]
struct GiveUp(u32);

impl Actor for Fickle {}

impl Handler<GiveUp> for Fickle {
    async fn handle(&mut self, GiveUp(rounds): GiveUp, _: &mut Context<Self>) -> usize {
        let mut at_once = 0;
        for round in 0..rounds {
            // It has started, and is idle.
            self.worker.ask(Note(u64::from(round))).await.unwrap();
            let before = self.log.lines().len();
            let (hold, mut began, gate) = Hold::new();
            let mut asked = Box::pin(self.worker.ask(hold).into_future());
            assert!(asked.as_mut().now_or_never().is_none());
            let runs = began.try_recv().is_ok_and(|began| began.is_some());
            assert_eq!(runs, self.log.lines().len() > before);
            at_once += usize::from(runs);
            drop(asked);
            gate.send(()).unwrap();
        }
        at_once
    }
}

#[callboard::test(both)]
async fn g09_an_ask_dropped_while_its_handler_waits_on_the_askers_stack_goes_on(system: System) {
    for hand_off in [true, false] {
        system.hand_off(hand_off);
        let (worker, log) = worker(&system);
        let inner = (worker.clone(), log.clone());
        let fickle = system
            .actor(move || Fickle {
                worker: inner.0,
                log: inner.1,
            })
            .near(&worker)
            .start();
        let at_once = fickle.ask(GiveUp(20)).await.unwrap();
        assert_eq!(at_once > 0, hand_off, "{at_once}");
        worker.ask(Note(99)).await.unwrap();
        // A handler that began ends; one that had not never begins.
        let count = |what| log.lines().iter().filter(|line| *line == what).count();
        assert_eq!(count("hold begins"), at_once);
        assert_eq!(count("hold ends"), at_once);
    }
}
