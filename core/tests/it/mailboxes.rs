//! G3 in detail: the bound under every policy, mailboxes without one, who waits for room and for how long.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use callboard::{
    Actor, ActorRef, Context, DropReason, FailureKind, Handler, MailboxState, Message, Overflow,
    Placement, Simulation, System,
};
use futures::FutureExt;
use parking_lot::Mutex;
use proptest::prelude::*;

use crate::common::{Hold, Log, Note, Worker, held_worker};

const MS: Duration = Duration::from_millis(1);

#[callboard::test(both)]
async fn g03_an_unbounded_mailbox_takes_what_comes_and_keeps_its_order(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let worker = system
        .actor(move || Worker { log: inner })
        .mailbox(1, Overflow::Fail)
        .unbounded()
        .start();
    let (hold, began, gate) = Hold::new();
    worker.tell(hold).await.unwrap();
    began.await.unwrap();
    let many = 3 * callboard::DEFAULT_MAILBOX_CAPACITY as u64;
    for n in 0..many {
        worker.try_tell(Note(n)).unwrap();
    }
    // None of these waits either.
    for n in many..many + 10 {
        worker.tell(Note(n)).now_or_never_ok();
    }
    let state = worker.mailbox();
    let held = usize::try_from(many + 10).unwrap();
    assert!(state.is_unbounded());
    assert_eq!((state.len, state.high_water), (held, held));
    assert_eq!((state.waiting_senders, state.blocked), (0, Duration::ZERO));
    gate.send(()).unwrap();
    worker.ask(Note(many + 10)).await.unwrap();
    let expected: Vec<String> = (0..=many + 10).map(|n| format!("note {n}")).collect();
    assert_eq!(log.lines()[2..], expected);
    let state = worker.mailbox();
    assert_eq!(state.len, 0);
    assert!(state.high_water >= held, "{state:?}");
    assert!(system.dead_letters().is_empty());
}

/// A tell that must not wait.
trait NowOrNever {
    fn now_or_never_ok(self);
}

impl<T, E: std::fmt::Debug, F: IntoFuture<Output = Result<T, E>>> NowOrNever for F {
    fn now_or_never_ok(self) {
        self.into_future().now_or_never().unwrap().unwrap();
    }
}

#[callboard::test(both)]
async fn g03_what_an_unbounded_mailbox_held_at_the_end_is_counted(system: System) {
    let worker = system
        .actor(|| Worker {
            log: Log::default(),
        })
        .unbounded()
        .start();
    let (hold, began, gate) = Hold::new();
    worker.tell(hold).await.unwrap();
    began.await.unwrap();
    for n in 0..2_500 {
        worker.try_tell(Note(n)).unwrap();
    }
    worker.stop();
    gate.send(()).unwrap();
    worker.wait().await;
    assert_eq!(system.counters().drops(DropReason::Stopped), 2_500);
    assert_eq!(system.dead_letters().len(), callboard::DEAD_LETTER_CAPACITY);
}

#[callboard::test]
async fn g03_only_unbounded_means_no_bound(system: System) {
    let bound = |capacity| {
        let worker = system
            .actor(|| Worker {
                log: Log::default(),
            })
            .mailbox(capacity, Overflow::Fail)
            .start();
        worker.mailbox()
    };
    assert_eq!(bound(0).capacity, 1);
    assert_eq!(bound(7).capacity, 7);
    assert!(!bound(usize::MAX).is_unbounded());
    assert!(bound(usize::MAX).capacity > 1_000_000_000);
}

#[callboard::test]
async fn g03_the_time_that_senders_waited_for_room_is_known_exactly(system: System) {
    let (worker, _, gate) = held_worker(&system, 1).await;
    let sleep = |ms| system.clock().sleep(MS * ms);
    worker.tell(Note(0)).await.unwrap();
    sleep(100).await;
    // Who finds room waits no time, who is refused at once neither.
    worker.try_tell(Note(9)).unwrap_err();
    assert_eq!(worker.mailbox().blocked, Duration::ZERO);
    let mut first = Box::pin(worker.tell(Note(1)).into_future());
    assert!(first.as_mut().now_or_never().is_none());
    sleep(10).await;
    let mut second = Box::pin(worker.ask(Note(2)).into_future());
    assert!(second.as_mut().now_or_never().is_none());
    sleep(5).await;
    // Of those that wait no longer.
    assert_eq!(worker.mailbox().blocked, Duration::ZERO);
    gate.send(()).unwrap();
    let (told, asked) = futures::join!(first, second);
    told.unwrap();
    assert_eq!(asked.unwrap(), 2);
    // 15 ms the first, 5 ms the second.
    assert_eq!(worker.mailbox().blocked, 20 * MS);
    assert_eq!(worker.mailbox().waiting_senders, 0);
}

#[callboard::test]
async fn g03_waiting_in_vain_counts_as_long_as_it_lasted(system: System) {
    let (worker, _, _gate) = held_worker(&system, 1).await;
    worker.tell(Note(0)).await.unwrap();
    // The deadline of an ask and of a tell.
    let error = worker.ask(Note(1)).deadline(20 * MS).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(worker.mailbox().blocked, 20 * MS);
    worker.tell(Note(2)).deadline(3 * MS).await.unwrap_err();
    assert_eq!(worker.mailbox().blocked, 23 * MS);
    // A future that is dropped: of a tell, and of an ask.
    let mut dropped = Box::pin(worker.tell(Note(3)).into_future());
    assert!(dropped.as_mut().now_or_never().is_none());
    system.clock().sleep(7 * MS).await;
    drop(dropped);
    assert_eq!(worker.mailbox().blocked, 30 * MS);
    let mut dropped = Box::pin(worker.ask(Note(4)).into_future());
    assert!(dropped.as_mut().now_or_never().is_none());
    system.clock().sleep(8 * MS).await;
    drop(dropped);
    assert_eq!(worker.mailbox().blocked, 38 * MS);
    // The end of the actor.
    let mut refused = Box::pin(worker.tell(Note(5)).into_future());
    assert!(refused.as_mut().now_or_never().is_none());
    system.clock().sleep(2 * MS).await;
    worker.kill();
    let error = refused.await.unwrap_err();
    assert_eq!(error.into_message(), Some(Note(5)));
    let state = worker.mailbox();
    assert_eq!((state.blocked, state.waiting_senders), (40 * MS, 0));
}

/// Counts how often it is woken, and wakes another.
struct CountWakes {
    count: AtomicUsize,
    to: Waker,
}

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.to.wake_by_ref();
    }
}

/// What a sender in line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Waits until it is let in.
    Waits,
    /// Goes away before anybody is let in.
    Leaves,
    /// Goes away when it was let in, without using its room.
    LeavesAtTheDoor,
}

fn patience() -> impl Strategy<Value = Patience> {
    prop_oneof![
        3 => Just(Patience::Waits),
        1 => Just(Patience::Leaves),
        1 => Just(Patience::LeavesAtTheDoor),
    ]
}

async fn line_up(system: System, capacity: usize, senders: Vec<Patience>) {
    let (worker, log, gate) = held_worker(&system, capacity).await;
    let full = u64::try_from(capacity).unwrap();
    for n in 0..full {
        worker.try_tell(Note(n)).unwrap();
    }
    let main = std::future::poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let mut waiting = Vec::new();
    for (n, patience) in (full..).zip(senders.iter().copied()) {
        let wakes = Arc::new(CountWakes {
            count: AtomicUsize::new(0),
            to: main.clone(),
        });
        let waker = Waker::from(Arc::clone(&wakes));
        let mut telling = Box::pin(worker.tell(Note(n)).into_future());
        let polled = telling.as_mut().poll(&mut TaskContext::from_waker(&waker));
        assert!(polled.is_pending());
        waiting.push((patience, wakes, waker, Some(telling)));
    }
    assert_eq!(worker.mailbox().waiting_senders, senders.len());
    for (patience, _, _, telling) in &mut waiting {
        if *patience == Patience::Leaves {
            *telling = None;
        }
    }
    gate.send(()).unwrap();
    std::future::poll_fn(|_| {
        for (patience, wakes, waker, telling) in &mut waiting {
            let woken = wakes.count.load(Ordering::SeqCst);
            // Nobody is woken twice, nor after it has left.
            assert!(woken <= 1 && (*patience != Patience::Leaves || woken == 0));
            if woken == 0 {
                continue;
            }
            if let Some(mut tell) = telling.take()
                && *patience == Patience::Waits
            {
                // Nor in vain.
                let polled = tell.as_mut().poll(&mut TaskContext::from_waker(waker));
                assert!(matches!(polled, Poll::Ready(Ok(()))));
            }
        }
        match waiting.iter().all(|(.., telling)| telling.is_none()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    worker.ask(Note(9_999)).await.unwrap();
    let stayed = (full..)
        .zip(&senders)
        .filter(|(_, patience)| **patience == Patience::Waits)
        .map(|(n, _)| n);
    let expected: Vec<String> = (0..full)
        .chain(stayed)
        .chain([9_999])
        .map(|n| format!("note {n}"))
        .collect();
    assert_eq!(log.lines()[2..], expected);
    let state = worker.mailbox();
    assert_eq!((state.len, state.waiting_senders), (0, 0));
}

/// Asked to check, at every message, what its mailbox says of itself.
struct Counted {
    capacity: usize,
    handled: Arc<Mutex<Vec<(u64, u64)>>>,
    pauses: u64,
}

/// From whom, and the how-manieth.
#[derive(Message, Debug, Clone, PartialEq)]
#[message(reply = (u64, u64))]
struct Numbered(u64, u64);

impl Actor for Counted {}

impl Handler<Numbered> for Counted {
    async fn handle(&mut self, numbered: Numbered, ctx: &mut Context<Self>) -> (u64, u64) {
        check(self.capacity, &ctx.me().mailbox());
        // So that messages come in while a batch is half done.
        if ctx.system().entropy().below(4) < self.pauses {
            ctx.sleep(MS).await;
            check(self.capacity, &ctx.me().mailbox());
        }
        let Numbered(from, n) = numbered;
        self.handled.lock().push((from, n));
        (from, n)
    }
}

fn check(capacity: usize, state: &MailboxState) {
    assert_eq!(state.capacity, capacity);
    assert!(state.len <= capacity, "{state:?}");
    assert!(state.len <= state.high_water, "{state:?}");
    assert!(state.high_water <= capacity, "{state:?}");
}

/// Sends `count` messages in one way or another; answers those that came back to it.
async fn send_some(
    system: System,
    counted: ActorRef<Counted>,
    scene: Scene,
    from: u64,
) -> Vec<u64> {
    let capacity = scene.capacity;
    let drops = matches!(scene.overflow, Overflow::DropNewest | Overflow::DropOldest);
    let mut back = Vec::new();
    for n in 0..scene.count {
        let message = Numbered(from, n);
        let sent = match system.entropy().below(8) {
            0..3 => counted.try_tell(message),
            3..5 => counted.tell(message).await,
            5 => counted.tell(message).deadline(MS / 2).await,
            6 => match counted.ask(message).keep().await {
                Ok(answer) => {
                    assert_eq!(answer, (from, n));
                    Ok(())
                }
                // Put out by the policy: it is in the dead letters, and this is the copy.
                Err(error) if drops && error.kind() == FailureKind::Full => Ok(()),
                Err(error) => Err(error),
            },
            _ => {
                system.clock().sleep(MS).await;
                counted.try_tell(message)
            }
        };
        check(capacity, &counted.mailbox());
        if let Err(error) = sent {
            back.push(error.into_message().unwrap().1);
        }
    }
    back
}

#[derive(Debug, Clone)]
struct Scene {
    seed: u64,
    arbiters: usize,
    hand_off: bool,
    capacity: usize,
    overflow: Overflow,
    senders: u64,
    count: u64,
    pauses: u64,
}

fn scenes() -> impl Strategy<Value = Scene> {
    let overflow = prop_oneof![
        Just(Overflow::Wait),
        Just(Overflow::Fail),
        Just(Overflow::DropNewest),
        Just(Overflow::DropOldest),
    ];
    let capacity = prop_oneof![3 => 1..6_usize, 1 => 6..40_usize];
    let world = (any::<u64>(), 1..4_usize, any::<bool>());
    (world, capacity, overflow, 1..6_u64, 1..40_u64, 0..4_u64).prop_map(
        |((seed, arbiters, hand_off), capacity, overflow, senders, count, pauses)| Scene {
            seed,
            arbiters,
            hand_off,
            capacity,
            overflow,
            senders,
            count,
            pauses,
        },
    )
}

/// Plays a scene: the mailbox keeps its bound at every moment somebody looks, and each message is handled,
/// given back, or a dead letter, in the order of its sender.
fn play(scene: &Scene) {
    let mut simulation = Simulation::with_arbiters(scene.seed, scene.arbiters);
    let system = simulation.system().clone();
    system.hand_off(scene.hand_off);
    let scene = scene.clone();
    simulation.block_on(async move {
        let handled = Arc::new(Mutex::new(Vec::new()));
        let (seen, capacity, pauses) = (Arc::clone(&handled), scene.capacity, scene.pauses);
        let counted = system
            .actor(move || Counted {
                capacity,
                handled: seen,
                pauses,
            })
            .mailbox(capacity, scene.overflow)
            .start();
        let mut ends = Vec::new();
        for from in 0..scene.senders {
            let (tx, rx) = futures::channel::oneshot::channel();
            let (inner, counted, scene) = (system.clone(), counted.clone(), scene.clone());
            let at = Placement::Pinned(usize::try_from(from).unwrap());
            system.spawn(at, move || async move {
                let back = send_some(inner, counted, scene, from).await;
                tx.send(back).unwrap();
            });
            ends.push(rx);
        }
        let back = futures::future::join_all(ends).await;
        counted.drain();
        assert!(counted.wait().await.is_normal());
        let mut seen: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (from, n) in handled.lock().iter() {
            seen.entry(*from).or_default().push(*n);
        }
        assert!(seen.values().all(|numbers| numbers.is_sorted()));
        for (from, back) in (0..).zip(back) {
            seen.entry(from).or_default().extend(back.unwrap());
        }
        for letter in system.dead_letters().take() {
            let Numbered(from, n) = *letter.message.downcast::<Numbered>().unwrap();
            seen.entry(from).or_default().push(n);
        }
        for (from, mut numbers) in seen {
            numbers.sort_unstable();
            let all: Vec<u64> = (0..scene.count).collect();
            assert_eq!(numbers, all, "of sender {from}");
        }
        system.shutdown().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn g03_a_mailbox_never_holds_more_than_its_bound(scene in scenes()) {
        play(&scene);
    }

    #[test]
    fn g03_senders_in_line_are_served_in_order_and_wake_alone(
        seed in any::<u64>(),
        capacity in 1..9_usize,
        senders in proptest::collection::vec(patience(), 1..30),
    ) {
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(line_up(system, capacity, senders));
    }
}
