//! Durable queues on the log: what was answered is there after the end of process and power (G25), and what goes
//! with an item comes back with it.

use std::sync::Arc;
use std::time::Duration;

use callboard_core::journal::{JournalErrorKind, Journals};
use callboard_core::queue::{DeadReason, Offered, OpenError, Queue, QueueBuilder, ack_all};
use callboard_core::{FailureKind, Message, RequestKey, Simulation, System, Verdict};
use callboard_store::{SimDisk, Store};
use serde::{Deserialize, Serialize};

use crate::common::Home;

#[derive(Debug, Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[message(name = "test.job", version = 2)]
pub struct Job {
    pub number: u64,
    text: String,
}

pub fn job(number: u64) -> Job {
    let text = format!("job {number}");
    Job { number, text }
}

pub fn journals(store: &Store) -> Arc<dyn Journals> {
    Arc::new(store.clone())
}

pub async fn open(system: &System, store: &Store) -> Queue<Job> {
    open_with(system, store, |builder| builder).await
}

pub async fn open_with(
    system: &System,
    store: &Store,
    set: impl FnOnce(QueueBuilder<Job>) -> QueueBuilder<Job>,
) -> Queue<Job> {
    let builder = set(system.queue("jobs").capacity(10_000));
    builder.durable(journals(store)).open().await.unwrap()
}

/// Ends the queue and the store as a program does that ends well.
pub async fn close(queue: Queue<Job>, store: Store) {
    queue.stop();
    queue.wait().await;
    store.close().await.unwrap();
}

pub async fn drain(queue: &Queue<Job>) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(job) = queue.poll().deadline(Duration::ZERO).await.unwrap() {
        numbers.push(job.number);
    }
    numbers
}

#[callboard::test(both)]
async fn g25_what_was_offered_is_there_after_a_restart_and_what_was_acknowledged_is_not(
    system: System,
) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    for n in 1..=20 {
        assert_eq!(queue.offer(job(n)).await.unwrap(), Offered::Stored(n));
    }
    for delivery in queue.lease_many(5).await.unwrap() {
        delivery.ack().await.unwrap();
    }
    assert_eq!(queue.poll().await.unwrap(), Some(job(6)));
    let in_hand = queue.lease().await.unwrap().unwrap();
    assert_eq!(in_hand.number, 7);
    let token = in_hand.token();
    std::mem::forget(in_hand);
    close(queue, store).await;

    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.in_flight), (14, 0));
    let again = queue.lease().await.unwrap().unwrap();
    assert_eq!(again.item(), &job(7));
    assert!(again.token() > token, "tokens grow over restarts (G22)");
    again.ack().await.unwrap();
    assert_eq!(drain(&queue).await, (8..=20).collect::<Vec<_>>());
    assert_eq!(queue.offer(job(21)).await.unwrap(), Offered::Stored(21));
    close(queue, store).await;
}

#[callboard::test(both)]
async fn g25_numbers_are_not_given_twice_though_nothing_is_left(system: System) {
    let home = Home::new(&system);
    for round in 0..3 {
        let store = home.store(&system).await;
        let queue = open(&system, &store).await;
        for n in 1..=3 {
            let offered = queue.offer(job(n)).await.unwrap();
            assert_eq!(offered, Offered::Stored(round * 3 + n));
        }
        assert_eq!(drain(&queue).await.len(), 3);
        close(queue, store).await;
    }
}

#[callboard::test(both)]
async fn g24_groups_priorities_delays_and_failures_come_back(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let queue = open_with(&system, &store, |queue| queue.priorities(3)).await;
    queue.offer(job(1)).group("a").await.unwrap();
    queue.offer(job(2)).group("a").await.unwrap();
    queue.offer(job(3)).priority(2).await.unwrap();
    let hour = Duration::from_secs(3_600);
    queue.offer(job(4)).delay(hour).await.unwrap();
    let first = queue.lease().await.unwrap().unwrap();
    assert_eq!(first.number, 3);
    first.reject("broken").await.unwrap();
    close(queue, store).await;

    let store = home.store(&system).await;
    let queue = open_with(&system, &store, |queue| queue.priorities(3)).await;
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.delayed), (4, 1));
    let urgent = queue.lease().await.unwrap().unwrap();
    assert_eq!(
        (urgent.number, urgent.attempt(), urgent.failed()),
        (3, 2, 1)
    );
    let head = queue.lease().await.unwrap().unwrap();
    assert_eq!((head.number, head.group()), (1, Some("a")));
    let behind = queue.lease().deadline(Duration::ZERO).await.unwrap();
    assert!(behind.is_none(), "its group's head is in hand");
    head.ack().await.unwrap();
    assert_eq!(queue.lease().await.unwrap().unwrap().number, 2);
    drop(urgent);
    close(queue, store).await;
}

#[callboard::test(both)]
async fn g26_a_key_is_remembered_over_a_restart_also_when_its_item_is_gone(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    let (done, waits) = (RequestKey::new(), RequestKey::new());
    queue.offer(job(1)).key(done).await.unwrap();
    queue.offer(job(2)).key(waits).await.unwrap();
    assert_eq!(queue.poll().await.unwrap(), Some(job(1)));
    close(queue, store).await;

    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    let again = queue.offer(job(1)).key(done).await.unwrap();
    assert_eq!(again, Offered::Duplicate(1));
    let again = queue.offer(job(2)).key(waits).await.unwrap();
    assert_eq!(again, Offered::Duplicate(2));
    let error = queue.offer(job(3)).key(done).await.unwrap_err();
    assert_eq!(error.failure.kind(), FailureKind::KeyReused);
    assert_eq!(error.item, Some(job(3)));
    assert_eq!(drain(&queue).await, [2]);
    close(queue, store).await;
}

#[callboard::test]
async fn g26_the_record_of_a_key_goes_when_its_window_is_over(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    queue.offer(job(1)).key(RequestKey::new()).await.unwrap();
    queue.poll().await.unwrap();
    assert_eq!(queue.state().await.unwrap().keys, 1);
    system.clock().sleep(Duration::from_secs(121)).await;
    assert_eq!(queue.state().await.unwrap().keys, 0);
    close(queue, store).await;
    let store = home.store(&system).await;
    let opened = store.open_journal("jobs").await.unwrap().0;
    assert_eq!(opened.records.len(), 1, "the queue's own record alone");
}

#[callboard::test(both)]
async fn g23_the_dead_stay_dead_over_a_restart_and_can_be_offered_again(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    queue.offer(job(1)).await.unwrap();
    queue.offer(job(2)).await.unwrap();
    let first = queue.lease().await.unwrap().unwrap();
    first.bury("no such customer").await.unwrap();
    close(queue, store).await;

    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    let dead = queue.dead_letters().unwrap();
    assert_eq!((dead.state().len, queue.state().await.unwrap().len), (1, 1));
    let browsed = dead.browse(0, 10).await.unwrap();
    let info = &browsed[0].item.info;
    assert_eq!(browsed[0].item.item, job(1));
    assert_eq!((info.reason, info.sequence), (DeadReason::Rejected, 1));
    assert_eq!((&*info.detail, info.failed), ("no such customer", 1));
    assert!(info.first_failure.is_some() && info.first_failure == info.last_failure);
    assert_eq!(dead.redrive(10), Ok(1));
    close(queue, store).await;

    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    assert_eq!(queue.dead_letters().unwrap().state().len, 0);
    assert_eq!(drain(&queue).await, [1, 2]);
    close(queue, store).await;
}

#[callboard::test(both)]
async fn g25_items_need_not_fit_in_memory(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let no_cache = |queue: QueueBuilder<Job>| queue.cache(0);
    let queue = open_with(&system, &store, no_cache).await;
    queue.offer_many((1..=200).map(job)).await.unwrap();
    let deliveries = queue.lease_many(64).await.unwrap();
    let numbers: Vec<u64> = deliveries.iter().map(|job| job.number).collect();
    assert_eq!(numbers, (1..=64).collect::<Vec<_>>());
    for acked in ack_all(deliveries).await {
        acked.unwrap();
    }
    // One that gives up while its item is read takes nothing with it.
    let mut lease = Box::pin(std::future::IntoFuture::into_future(queue.lease()));
    let _ = futures::poll!(lease.as_mut());
    drop(lease);
    let browsed = queue.browse(100, 3).await.unwrap();
    assert_eq!(browsed.len(), 3);
    assert_eq!((browsed[0].sequence, &browsed[0].item), (100, &job(100)));
    assert_eq!(drain(&queue).await, (65..=200).collect::<Vec<_>>());
    close(queue, store).await;
}

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(name = "test.job", version = 1)]
struct OldJob {
    number: u64,
}

#[derive(Debug, Clone, Message, Serialize, Deserialize)]
#[message(name = "test.other", version = 1)]
struct Other;

#[callboard::test(both)]
async fn g37_items_outlive_versions_of_the_program(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let old = system.queue::<OldJob>("jobs").capacity(10_000);
    let old = old.durable(journals(&store)).open().await.unwrap();
    old.offer(OldJob { number: 1 }).await.unwrap();
    old.offer(OldJob { number: 2 }).await.unwrap();
    old.stop();
    old.wait().await;
    drop(old);
    store.close().await.unwrap();

    // A program that knows nothing of the old version keeps the items, and says so.
    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    queue.offer(job(3)).await.unwrap();
    assert_eq!(queue.poll().await.unwrap(), Some(job(3)));
    let aside = queue.set_aside();
    assert_eq!(aside.len(), 2);
    assert_eq!(aside[0].sequence, 1);
    assert_eq!(aside[0].why, "it is a test.job of version 1; known are 2");
    assert_eq!(queue.state().await.unwrap().set_aside, 2);
    close(queue, store).await;

    // One that knows how it becomes the present one gets them.
    let store = home.store(&system).await;
    let builder = system.queue::<Job>("jobs").capacity(10_000);
    let upcast = |old: OldJob| job(old.number);
    let queue = builder
        .durable(journals(&store))
        .upcast(1, upcast)
        .open()
        .await
        .unwrap();
    assert_eq!(drain(&queue).await, [1, 2]);
    queue.offer(job(4)).await.unwrap();
    close(queue, store).await;

    // And one for other items altogether sets them aside.
    let store = home.store(&system).await;
    let other = system.queue::<Other>("jobs").capacity(10_000);
    let other = other.durable(journals(&store)).open().await.unwrap();
    let none = other.poll().deadline(Duration::ZERO).await.unwrap();
    assert!(none.is_none());
    assert_eq!(
        other.set_aside()[0].why,
        "it is a test.job, not a test.other"
    );
}

#[callboard::test(both)]
async fn a_durable_queue_is_one_queue_and_keeps_its_kind(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    let same = open(&system, &store).await;
    same.offer(job(1)).await.unwrap();
    assert_eq!(queue.poll().await.unwrap(), Some(job(1)));
    let other = system.queue::<Job>("jobs").capacity(5);
    let error = other.durable(journals(&store)).open().await.unwrap_err();
    assert!(
        error.to_string().contains("capacity is 10000, wanted 5"),
        "{error}"
    );
    drop(same);
    close(queue, store).await;

    // Over a restart the capacity may change; a bounded queue doesn't become a circular one in silence.
    let store = home.store(&system).await;
    let circular = system.queue::<Job>("jobs").circular();
    let error = circular.durable(journals(&store)).open().await.unwrap_err();
    assert!(matches!(error, OpenError::Differs { .. }), "{error}");
    let smaller = system.queue::<Job>("jobs").capacity(5);
    let smaller = smaller.durable(journals(&store)).open().await.unwrap();
    assert_eq!(smaller.state().await.unwrap().capacity, 5);
    assert!(system.queues().remove("jobs").await.unwrap());
    let opened = store.open_journal("jobs").await.unwrap().0;
    assert!(opened.records.is_empty(), "removed with all it had");
}

#[callboard::test(both)]
async fn a_durable_circular_queue_drops_its_oldest_on_disk_too(system: System) {
    let home = Home::new(&system);
    for _ in 0..2 {
        let store = home.store(&system).await;
        let ring = system.queue::<Job>("ring").capacity(3).circular();
        let ring = ring.durable(journals(&store)).open().await.unwrap();
        for n in 1..=5 {
            ring.offer(job(n)).await.unwrap();
        }
        assert_eq!(ring.state().await.unwrap().len, 3);
        close(ring, store).await;
    }
    let store = home.store(&system).await;
    let ring = system.queue::<Job>("ring").capacity(3).circular();
    let ring = ring.durable(journals(&store)).open().await.unwrap();
    assert_eq!(drain(&ring).await, [3, 4, 5]);
}

#[callboard::test]
async fn g25_after_a_failed_sync_the_queue_refuses_and_says_why(system: System) {
    let disk = SimDisk::new(1);
    let home = Home::on(&disk);
    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    queue.offer(job(1)).await.unwrap();
    disk.fail_always(callboard_store::Op::Sync, std::io::ErrorKind::Other);
    let error = queue.offer(job(2)).await.unwrap_err();
    assert_eq!(error.failure.kind(), FailureKind::StorageFailed);
    assert_eq!(error.failure.verdict(), Verdict::MaybeExecuted);
    assert_eq!(
        error.item,
        Some(job(2)),
        "it comes back: its sender may offer it again with its key"
    );
    let error = queue.offer(job(3)).await.unwrap_err();
    assert_eq!(error.failure.verdict(), Verdict::NotExecuted);
    let detail = error.failure.detail().unwrap().to_owned();
    assert!(detail.contains("sync"), "{detail}");
    let error = queue.lease().await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::StorageFailed);
    queue.stop();
    queue.wait().await;
    drop(queue);
    let failed = store.close().await.unwrap_err();
    assert_eq!(failed.kind(), JournalErrorKind::SyncFailed);

    let after = disk.power_loss();
    after.heal();
    let home = Home::on(&after);
    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    assert_eq!(
        queue.poll().await.unwrap(),
        Some(job(1)),
        "what was answered is there"
    );
}

/// Power fails at a random change of the disk while items are offered, leased, acknowledged, rejected and buried.
/// Whatever was answered as stored is there afterwards, unless its acknowledgement was begun; what was not
/// offered is not; each item once.
#[test]
fn g25_power_may_fail_at_any_moment() {
    let seeds = std::env::var("CALLBOARD_CRASHES").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(150);
    for seed in 0..seeds {
        let disk = SimDisk::new(seed);
        let (stored, begun, acked) = crash_run(seed, &disk);
        let after = match seed % 2 {
            0 => disk.power_loss(),
            _ => disk.kill(),
        };
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(async move {
            let home = Home::on(&after);
            let store = home.options().open(&system, &home.dir).await;
            let store = store.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let queue = open_with(&system, &store, |queue| queue.delivery_limit(2)).await;
            let waiting = queue.browse(0, usize::MAX).await.unwrap();
            let dead = queue
                .dead_letters()
                .unwrap()
                .browse(0, usize::MAX)
                .await
                .unwrap();
            assert!(queue.set_aside().is_empty(), "seed {seed}");
            let mut found: Vec<u64> = waiting.iter().map(|item| item.item.number).collect();
            found.extend(dead.iter().map(|item| item.item.item.number));
            found.sort_unstable();
            let all = found.len();
            found.dedup();
            assert_eq!(found.len(), all, "seed {seed}: twice");
            for number in &stored {
                let is_there = found.binary_search(number).is_ok();
                assert!(
                    is_there || begun.contains(number),
                    "seed {seed}: {number} is lost"
                );
            }
            // What survives the process, not the power: acknowledgements that were answered (G25).
            if seed % 2 == 1 {
                for number in &acked {
                    assert!(!found.contains(number), "seed {seed}: {number} is back");
                }
            }
        });
    }
}

/// What was answered as stored, what was to be acknowledged, and of that what was answered.
fn crash_run(seed: u64, disk: &SimDisk) -> (Vec<u64>, Vec<u64>, Vec<u64>) {
    let mut simulation = Simulation::new(seed);
    let system = simulation.system().clone();
    let disk = disk.clone();
    simulation.block_on(async move {
        let home = Home::on(&disk);
        let choice = callboard_core::Entropy::seeded(seed);
        let store = home.store(&system).await;
        let queue = open_with(&system, &store, |queue| {
            queue.delivery_limit(2).cache(2_000)
        })
        .await;
        disk.cut_at(disk.changes() + choice.below(60));
        let (mut stored, mut begun, mut acked) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..400 {
            if disk.is_off() {
                break;
            }
            match choice.below(6) {
                0..=2 => {
                    let mut offer = queue.offer(job(number));
                    if choice.below(3) == 0 {
                        offer = offer.group("g").key(RequestKey::new());
                    }
                    if offer.await.is_ok() {
                        stored.push(number);
                    }
                }
                3 => {
                    let batch = (0..choice.below(20)).map(|n| job(number * 1_000 + n));
                    let batch: Vec<Job> = batch.collect();
                    let numbers: Vec<u64> = batch.iter().map(|job| job.number).collect();
                    if queue.offer_many(batch).await.is_ok() {
                        stored.extend(numbers);
                    }
                }
                _ => {
                    let lease = queue.lease_many(8).deadline(Duration::ZERO).await;
                    for delivery in lease.unwrap_or_default() {
                        let number = delivery.number;
                        match choice.below(4) {
                            0 => drop(delivery),
                            1 => {
                                let _ = delivery.reject("no").await;
                            }
                            2 => {
                                let _ = delivery.bury("never").await;
                            }
                            _ => {
                                begun.push(number);
                                if delivery.ack().await.is_ok() {
                                    acked.push(number);
                                }
                            }
                        }
                    }
                }
            }
        }
        (stored, begun, acked)
    })
}
