//! Pools: routing, back-pressure, failing workers, resizing, ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard::{
    Actor, Context, DropReason, ExitReason, FailureKind, Handler, MAX_POOL_SIZE, Message,
    Observable, Observation, Placement, Pool, PoolError, Recipient, Routing, StartFailure, System,
    Verdict, Watch,
};
use futures::channel::oneshot;
use futures::future::join_all;
use parking_lot::Mutex;

use crate::common::{Hold, Log, Note, Worker};

const MS: Duration = Duration::from_millis(1);

/// How often each message was handled, over all workers and incarnations.
type Seen = Arc<Mutex<BTreeMap<u64, u32>>>;

/// A worker that knows its number, in the order in which workers were made.
struct Numbered {
    number: u64,
    seen: Seen,
}

impl Actor for Numbered {}

/// Answered with the number of the worker.
#[derive(Message, Clone)]
#[message(reply = u64)]
struct Job(u64);

impl Handler<Job> for Numbered {
    async fn handle(&mut self, Job(id): Job, _: &mut Context<Self>) -> u64 {
        *self.seen.lock().entry(id).or_default() += 1;
        self.number
    }
}

/// A job that takes some time, and panics if its number is divisible by that.
#[derive(Message, Clone)]
#[message(reply = u64)]
struct Slow {
    id: u64,
    takes: Duration,
    panics_at: u64,
}

impl Handler<Slow> for Numbered {
    async fn handle(&mut self, job: Slow, ctx: &mut Context<Self>) -> u64 {
        *self.seen.lock().entry(job.id).or_default() += 1;
        ctx.sleep(job.takes).await;
        assert!(
            job.panics_at == 0 || !job.id.is_multiple_of(job.panics_at),
            "job {}",
            job.id
        );
        job.id
    }
}

impl Handler<Hold> for Numbered {
    async fn handle(&mut self, mut hold: Hold, _: &mut Context<Self>) {
        let _ = hold.began.take().map(|began| began.send(()));
        let _ = hold.gate.await;
    }
}

/// Stops the worker that handles it.
#[derive(Message)]
struct Quit;

impl Handler<Quit> for Numbered {
    async fn handle(&mut self, _: Quit, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

fn factory() -> (impl Fn() -> Numbered + Send + Sync + Clone + 'static, Seen) {
    let seen = Seen::default();
    let made = Arc::new(AtomicU64::new(0));
    let inner = Arc::clone(&seen);
    let make = move || Numbered {
        number: made.fetch_add(1, Ordering::Relaxed),
        seen: Arc::clone(&inner),
    };
    (make, seen)
}

/// Holds a worker of the pool until the gate is opened.
async fn hold(pool: &Pool<Numbered>) -> oneshot::Sender<()> {
    let (hold, began, gate) = Hold::new();
    pool.tell(hold).await.unwrap();
    began.await.unwrap();
    gate
}

#[callboard::test(both)]
async fn round_robin_takes_one_after_the_other(system: System) {
    let (make, _) = factory();
    let pool = Pool::builder(&system, make)
        .size(3)
        .routing(Routing::RoundRobin)
        .start()
        .unwrap();
    let mut turns = Vec::new();
    for id in 0..9 {
        turns.push(pool.ask(Job(id)).await.unwrap());
    }
    assert_eq!(turns[..3], turns[3..6]);
    assert_eq!(turns[..3], turns[6..]);
    let mut first = turns[..3].to_vec();
    first.sort_unstable();
    assert_eq!(first, [0, 1, 2]);
}

#[callboard::test(both)]
async fn the_least_loaded_worker_is_chosen_and_equals_take_turns(system: System) {
    let (make, _) = factory();
    let pool = Pool::start(&system, 3, make).unwrap();
    // Two workers are busy with one handler each, which is in hand: nothing is queued.
    let _first = hold(&pool).await;
    let second = hold(&pool).await;
    assert_eq!(pool.state().queued, 0);
    let idle = pool.ask(Job(0)).await.unwrap();
    for id in 1..20 {
        assert_eq!(pool.ask(Job(id)).await.unwrap(), idle);
    }
    // With two free, both work.
    second.send(()).unwrap();
    let mut both = std::collections::BTreeSet::new();
    while both.len() < 2 {
        both.insert(pool.ask(Job(100)).await.unwrap());
    }
    assert!(both.contains(&idle));
}

#[callboard::test(both)]
async fn busy_workers_of_a_large_pool_are_passed_over(system: System) {
    let (make, _) = factory();
    // More than a send looks at.
    let pool = Pool::start(&system, 150, make).unwrap();
    let _gates = join_all((0..70).map(|_| hold(&pool))).await;
    // Nobody who is held could answer.
    for id in 0..150 {
        pool.ask(Job(id)).await.unwrap();
    }
}

#[callboard::test(both)]
async fn a_recipient_of_a_pool_is_one_receiver(system: System) {
    let (make, seen) = factory();
    let pool = Pool::builder(&system, make).size(2).label("desks").start();
    let pool = pool.unwrap();
    let jobs: Recipient<Job> = pool.recipient();
    assert_eq!(jobs.id(), pool.id());
    assert_eq!(jobs, pool.clone().recipient());
    assert_eq!(jobs.label(), "desks");
    jobs.tell(Job(1)).await.unwrap();
    jobs.try_tell(Job(2)).unwrap();
    jobs.ask(Job(3)).await.unwrap();
    let labels: Vec<_> = system.actors().into_iter().map(|one| one.label).collect();
    assert_eq!(labels, ["desks-1", "desks-2", "desks"]);
    // It can have a name.
    system.names().register_recipient("jobs", &jobs).unwrap();
    let found = system.names().lookup_recipient::<Job>("jobs").unwrap();
    assert_eq!(found, Some(jobs.clone()));
    pool.drain();
    assert_eq!(pool.wait().await, ExitReason::Stopped);
    assert_eq!(seen.lock().values().sum::<u32>(), 3);
    assert_eq!(system.names().lookup_recipient::<Job>("jobs"), Ok(None));
    let error = jobs.ask(Job(4)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Stopped);
    assert!(error.into_message().is_some());
}

#[callboard::test(both)]
async fn sizes_that_no_pool_has_are_refused(system: System) {
    let (make, _) = factory();
    let error = Pool::start(&system, 0, make.clone()).unwrap_err();
    assert_eq!(error, PoolError::NoWorkers);
    let too_many = MAX_POOL_SIZE + 1;
    let error = Pool::start(&system, too_many, make.clone()).unwrap_err();
    assert_eq!(error, PoolError::TooMany(too_many));
    assert_eq!(system.actors(), []);
    let pool = Pool::start(&system, 1, make).unwrap();
    assert_eq!(pool.resize(0), Err(PoolError::NoWorkers));
    assert_eq!(pool.state().workers, 1);
    pool.stop();
    assert_eq!(pool.resize(2), Err(PoolError::Stopped));
}

#[callboard::test(both)]
async fn g06_full_workers_give_the_message_back_or_let_its_sender_wait_anywhere(system: System) {
    let (make, _) = factory();
    let pool = Pool::builder(&system, make).size(2).mailbox(1).start();
    let pool = pool.unwrap();
    let gates = [hold(&pool).await, hold(&pool).await];
    // One place in each mailbox.
    pool.try_tell(Job(1)).unwrap();
    pool.try_tell(Job(2)).unwrap();
    let error = pool.try_tell(Job(3)).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Full);
    assert_eq!(error.into_message().unwrap().0, 3);
    let late = pool.ask(Job(4)).deadline(5 * MS).await.unwrap_err();
    assert_eq!(late.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(late.verdict(), Verdict::NotSent);
    assert_eq!(late.into_message().unwrap().0, 4);
    // Whoever of the two is free first takes it, also the one that the turn didn't fall on.
    let mut busy = Vec::new();
    for gate in gates {
        let mut waits = Box::pin(pool.ask(Job(5)).into_future());
        assert!(futures::poll!(&mut waits).is_pending());
        assert_eq!(pool.state().waiting_senders, 1);
        gate.send(()).unwrap();
        waits.await.unwrap();
        assert_eq!(pool.state().waiting_senders, 0);
        // Full again.
        busy.push(hold(&pool).await);
        pool.try_tell(Job(6)).unwrap();
        pool.try_tell(Job(7)).unwrap_err();
    }
}

#[callboard::test(both)]
async fn a_sender_that_gives_up_in_line_leaves_its_room_to_others(system: System) {
    let (make, seen) = factory();
    let pool = Pool::builder(&system, make).size(2).mailbox(1).start();
    let pool = pool.unwrap();
    let gates = [hold(&pool).await, hold(&pool).await];
    pool.try_tell(Job(1)).unwrap();
    pool.try_tell(Job(2)).unwrap();
    let mut gives_up = Box::pin(pool.tell(Job(3)).into_future());
    let mut waits = Box::pin(pool.tell(Job(4)).into_future());
    assert!(futures::poll!(&mut gives_up).is_pending());
    assert!(futures::poll!(&mut waits).is_pending());
    assert_eq!(pool.state().waiting_senders, 2);
    for gate in gates {
        gate.send(()).unwrap();
    }
    // It may have been granted room by now, in both mailboxes even.
    drop(gives_up);
    waits.await.unwrap();
    pool.drain();
    pool.wait().await;
    assert_eq!(seen.lock().keys().copied().collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(pool.state().waiting_senders, 0);
}

#[callboard::test(both)]
async fn who_waits_for_room_gets_it_from_a_worker_that_joins(system: System) {
    let (make, _) = factory();
    let pool = Pool::builder(&system, make).size(1).mailbox(1).start();
    let pool = pool.unwrap();
    let _gate = hold(&pool).await;
    pool.try_tell(Job(1)).unwrap();
    let mut waits = Box::pin(pool.ask(Job(2)).into_future());
    assert!(futures::poll!(&mut waits).is_pending());
    pool.resize(2).unwrap();
    assert_eq!(waits.await.unwrap(), 1);
}

#[callboard::test(both)]
async fn who_waits_for_room_is_told_when_the_pool_stops(system: System) {
    let (make, _) = factory();
    let pool = Pool::builder(&system, make).size(2).mailbox(1).start();
    let pool = pool.unwrap();
    let gates = [hold(&pool).await, hold(&pool).await];
    pool.try_tell(Job(1)).unwrap();
    pool.try_tell(Job(2)).unwrap();
    let mut waits = Box::pin(pool.ask(Job(3)).into_future());
    assert!(futures::poll!(&mut waits).is_pending());
    pool.stop();
    let error = waits.await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Stopped);
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert_eq!(error.into_message().unwrap().0, 3);
    drop(gates);
    pool.wait().await;
    // What was queued is in dead letters (G11).
    assert_eq!(system.counters().drops(DropReason::Stopped), 2);
}

#[callboard::test(both)]
async fn g13_a_worker_that_panics_is_made_anew_and_its_queue_is_kept(system: System) {
    let (make, seen) = factory();
    let pool = Pool::start(&system, 1, make).unwrap();
    let gate = hold(&pool).await;
    let job = |id| Slow {
        id,
        takes: MS,
        panics_at: 2,
    };
    let asks = join_all((1..=4).map(|id| pool.ask(job(id)).into_future()));
    let opens = async { gate.send(()).unwrap() };
    let (answers, ()) = futures::join!(asks, opens);
    let ends: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.map_err(|error| (error.kind(), error.verdict())))
        .collect();
    let panicked = Err((FailureKind::Panicked, Verdict::Executed));
    assert_eq!(ends, [Ok(1), panicked, Ok(3), panicked]);
    // By a third worker, since two have failed.
    assert_eq!(pool.ask(Job(5)).await.unwrap(), 2);
    assert_eq!(pool.state().restarts, 2);
    assert!(seen.lock().values().all(|times| *times == 1));
}

#[callboard::test(both)]
async fn others_get_what_comes_while_a_worker_is_down(system: System) {
    let (make, _) = factory();
    let hour = Duration::from_secs(3_600);
    let pool = Pool::builder(&system, make)
        .size(2)
        .backoff(hour, hour)
        .start()
        .unwrap();
    let boom = Slow {
        id: 1,
        takes: Duration::ZERO,
        panics_at: 1,
    };
    pool.ask(boom).await.unwrap_err();
    while pool.state().down == 0 {
        system.clock().sleep(MS).await;
    }
    let by = pool.ask(Job(1)).await.unwrap();
    for id in 2..20 {
        assert_eq!(pool.ask(Job(id)).await.unwrap(), by);
    }
    // Stopping doesn't wait for the back-off.
    pool.stop();
    pool.wait().await;
    assert_eq!(pool.state().retiring, 0);
}

#[callboard::test(both)]
async fn a_worker_that_stops_itself_is_made_anew(system: System) {
    let (make, _) = factory();
    let pool = Pool::start(&system, 1, make).unwrap();
    pool.ask(Quit).await.unwrap();
    assert_eq!(pool.ask(Job(1)).await.unwrap(), 1);
}

/// Fails to start until the count is used up.
struct Reluctant(Arc<AtomicU64>);

impl Actor for Reluctant {
    async fn starting(&mut self, _: &mut Context<Self>) -> Result<(), StartFailure> {
        let left = self.0.load(Ordering::SeqCst);
        if left == 0 {
            return Ok(());
        }
        self.0.store(left - 1, Ordering::SeqCst);
        Err(StartFailure::new("not yet"))
    }
}

impl Handler<Note> for Reluctant {
    async fn handle(&mut self, Note(n): Note, _: &mut Context<Self>) -> u64 {
        n
    }
}

#[callboard::test(both)]
async fn a_start_that_fails_is_tried_again_while_messages_wait(system: System) {
    let left = Arc::new(AtomicU64::new(3));
    let inner = Arc::clone(&left);
    let pool = Pool::builder(&system, move || Reluctant(Arc::clone(&inner)))
        .size(1)
        .backoff(MS, 4 * MS)
        .start()
        .unwrap();
    assert_eq!(pool.ask(Note(7)).await.unwrap(), 7);
    assert_eq!(left.load(Ordering::SeqCst), 0);
    assert_eq!(pool.state().restarts, 3);
}

#[callboard::test(both)]
async fn a_pool_whose_factory_always_panics_can_be_stopped(system: System) {
    let make = || -> Worker { panic!("no desk") };
    let pool = Pool::builder(&system, make).size(2).start().unwrap();
    pool.tell(Note(1)).await.unwrap();
    while pool.state().restarts < 3 {
        system.clock().sleep(MS).await;
    }
    pool.stop();
    pool.wait().await;
    assert_eq!(system.counters().drops(DropReason::Stopped), 1);
    assert_eq!(system.actors(), []);
}

#[callboard::test(both)]
async fn g11_shrinking_finishes_what_was_accepted(system: System) {
    let (make, seen) = factory();
    let pool = Pool::builder(&system, make)
        .size(4)
        .routing(Routing::RoundRobin)
        .start()
        .unwrap();
    let gates = join_all((0..4).map(|_| hold(&pool))).await;
    let asks: Vec<_> = (0..20).map(|id| pool.ask(Job(id)).into_future()).collect();
    let mut asks = Box::pin(join_all(asks));
    assert!(futures::poll!(&mut asks).is_pending());
    pool.resize(1).unwrap();
    assert_eq!(pool.state().workers, 1);
    assert_eq!(pool.state().retiring, 3);
    for gate in gates {
        gate.send(()).unwrap();
    }
    let by: Vec<_> = asks.await.into_iter().map(Result::unwrap).collect();
    let by: std::collections::BTreeSet<_> = by.into_iter().collect();
    assert_eq!(by.len(), 4, "all four handled what they had");
    assert!(seen.lock().values().all(|times| *times == 1));
    while pool.state().retiring > 0 {
        system.clock().sleep(MS).await;
    }
    let labels: Vec<_> = system.actors().into_iter().map(|one| one.label).collect();
    assert_eq!(labels, ["Numbered-1", "Numbered"]);
    assert_eq!(system.counters().drops(DropReason::Stopped), 0);
}

#[callboard::test(both)]
async fn g11_a_retired_worker_that_panics_still_finishes_its_queue(system: System) {
    let (make, seen) = factory();
    let pool = Pool::builder(&system, make)
        .size(2)
        .routing(Routing::RoundRobin)
        .start()
        .unwrap();
    let gates = [hold(&pool).await, hold(&pool).await];
    let job = |id| Slow {
        id,
        takes: MS,
        panics_at: 3,
    };
    let asks: Vec<_> = (1..=12).map(|id| pool.ask(job(id)).into_future()).collect();
    let mut asks = Box::pin(join_all(asks));
    assert!(futures::poll!(&mut asks).is_pending());
    pool.drain();
    for gate in gates {
        gate.send(()).unwrap();
    }
    let answered = asks.await.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(answered, 8);
    assert_eq!(pool.wait().await, ExitReason::Stopped);
    assert_eq!(seen.lock().len(), 12);
    assert!(seen.lock().values().all(|times| *times == 1));
}

#[callboard::test(both)]
async fn g12_a_pool_has_ended_when_all_its_workers_have(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let make = move || Worker { log: inner.clone() };
    let pool = Pool::start(&system, 3, make).unwrap();
    let notes: Recipient<Note> = pool.recipient();
    let weak = notes.downgrade();
    let (tx, rx) = oneshot::channel();
    let (seen, its_weak) = (log.clone(), weak.clone());
    notes.watch(Box::new(move |notice| {
        let dropped = seen
            .lines()
            .iter()
            .filter(|line| *line == "dropped")
            .count();
        let _ = tx.send((notice, dropped, its_weak.upgrade().is_some()));
    }));
    assert_eq!(weak.upgrade(), Some(notes.clone()));
    pool.stop();
    let (notice, dropped, found) = rx.await.unwrap();
    assert_eq!((notice.id, notice.reason), (pool.id(), ExitReason::Stopped));
    assert_eq!((dropped, found), (3, false));
    assert_eq!(system.actors(), []);
}

#[callboard::test(both)]
async fn a_pool_that_nobody_holds_drains(system: System) {
    let (make, seen) = factory();
    let pool = Pool::start(&system, 2, make).unwrap();
    let (tx, ended) = oneshot::channel();
    pool.watch(Box::new(move |notice| {
        let _ = tx.send(notice.reason);
    }));
    let jobs: Recipient<Job> = pool.recipient();
    let weak = jobs.downgrade();
    drop(pool);
    // A recipient holds it as well.
    for id in 0..10 {
        jobs.tell(Job(id)).await.unwrap();
    }
    drop(jobs);
    assert_eq!(ended.await.unwrap(), ExitReason::Stopped);
    assert_eq!(seen.lock().len(), 10);
    assert_eq!(weak.upgrade(), None);
}

#[callboard::test(both)]
async fn a_kill_ends_what_a_stop_waits_for(system: System) {
    let (make, _) = factory();
    let pool = Pool::start(&system, 2, make).unwrap();
    let _gate = hold(&pool).await;
    let asked = pool.ask(Slow {
        id: 1,
        takes: Duration::from_secs(3_600),
        panics_at: 0,
    });
    let mut asked = Box::pin(asked.into_future());
    assert!(futures::poll!(&mut asked).is_pending());
    pool.stop();
    pool.kill();
    pool.wait().await;
    let error = asked.await.unwrap_err();
    assert!(matches!(
        error.kind(),
        FailureKind::Killed | FailureKind::Stopped
    ));
}

#[test]
fn a_system_takes_its_pools_along() {
    for held in [true, false] {
        let system = System::with_arbiters(2).unwrap();
        let (make, _) = factory();
        let pool = Pool::builder(&system, make).size(3);
        let pool = pool.placement(Placement::Spread).start().unwrap();
        pool.ask(Job(1)).blocking().unwrap();
        let late = system.clone();
        let kept = held.then(|| pool.clone());
        let jobs: Recipient<Job> = pool.recipient();
        assert_eq!(late.shutdown_blocking().unwrap(), Vec::<String>::new());
        assert!(jobs.ask(Job(2)).blocking().is_err());
        let (make, _) = factory();
        let error = Pool::start(&system, 1, make).unwrap_err();
        assert_eq!(error, PoolError::Stopped);
        drop(kept);
    }
}

#[callboard::test(both)]
async fn g07_every_ask_ends_once_while_workers_panic_under_load(system: System) {
    const ASKERS: u64 = 4;
    const EACH: u64 = 50;
    let (make, seen) = factory();
    let pool = Pool::builder(&system, make)
        .size(3)
        .mailbox(4)
        .backoff(Duration::ZERO, Duration::ZERO)
        .start()
        .unwrap();
    let askers: Vec<_> = (0..ASKERS)
        .map(|asker| {
            let (tx, rx) = oneshot::channel();
            let pool = pool.clone();
            let place = Placement::Pinned(usize::try_from(asker).unwrap());
            system.spawn(place, move || async move {
                let mut failed = 0;
                for n in 0..EACH {
                    let id = asker * EACH + n;
                    let job = Slow {
                        id,
                        takes: Duration::ZERO,
                        panics_at: 7,
                    };
                    match pool.ask(job).await {
                        Ok(answer) => assert_eq!(answer, id),
                        Err(error) => {
                            assert_eq!(error.kind(), FailureKind::Panicked, "{error}");
                            failed += 1;
                        }
                    }
                }
                let _ = tx.send(failed);
            });
            rx
        })
        .collect();
    let failed: u64 = join_all(askers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(failed, (ASKERS * EACH).div_ceil(7));
    assert_eq!(pool.state().accepted, ASKERS * EACH);
    let seen = seen.lock();
    assert_eq!(seen.len() as u64, ASKERS * EACH);
    assert!(seen.values().all(|times| *times == 1));
}

impl Observable for Numbered {
    type State = u64;

    fn observe(&self) -> u64 {
        self.number
    }
}

/// What the workers of a pool show of themselves: the number of each, by label.
async fn shown(system: &System) -> Vec<(String, String)> {
    let all = system.observe(1_000 * MS).await;
    let row = |one: Observation| {
        (
            one.actor.label,
            one.state.map_or_else(String::new, |s| s.text.clone()),
        )
    };
    all.into_iter().map(row).collect()
}

#[callboard::test(both)]
async fn workers_that_are_observable_are_listed_as_long_as_they_work(system: System) {
    let made = Arc::new(AtomicU64::new(0));
    let make = {
        let made = Arc::clone(&made);
        move || Numbered {
            number: made.fetch_add(1, Ordering::Relaxed) + 1,
            seen: Seen::default(),
        }
    };
    // Their arbiter is one, so that they are made in order.
    let pool = Pool::builder(&system, make)
        .size(2)
        .label("desk")
        .placement(Placement::Pinned(0))
        .backoff(Duration::ZERO, Duration::ZERO)
        .observable()
        .start()
        .unwrap();
    let row = |label: &str, number: u64| (label.to_owned(), number.to_string());
    assert_eq!(shown(&system).await, [row("desk-1", 1), row("desk-2", 2)]);

    // One that is made anew is still listed, and shows its new self.
    let boom = Slow {
        id: 1,
        takes: Duration::ZERO,
        panics_at: 1,
    };
    assert!(pool.ask(boom).await.is_err());
    let mut labels = Vec::new();
    let mut numbers = BTreeSet::new();
    while !numbers.contains("3") {
        // Observing waits for the one that is down.
        let now = shown(&system).await;
        labels = now.iter().map(|(label, _)| label.clone()).collect();
        numbers = now.into_iter().map(|(_, number)| number).collect();
    }
    assert_eq!(labels, ["desk-1", "desk-2"]);

    pool.resize(3).unwrap();
    let listed = shown(&system).await;
    assert_eq!(listed.last(), Some(&row("desk-3", 4)));
    pool.resize(1).unwrap();
    while pool.state().retiring > 0 {
        system.clock().sleep(MS).await;
    }
    let listed = shown(&system).await;
    assert_eq!(
        listed.len(),
        1,
        "who has retired is off the list: {listed:?}"
    );
    assert_eq!(listed[0].0, "desk-1");
    pool.stop();
    pool.wait().await;
    assert!(shown(&system).await.is_empty());
}
