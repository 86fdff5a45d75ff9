//! Durable queues where something comes back that should not, or counts for less than it did: dead items, redriven
//! ones, lapsed leases, numbers and tokens.

use std::time::Duration;

use callboard_core::journal::{Change, Durability};
use callboard_core::queue::{DeadReason, Offered};
use callboard_core::{Simulation, System};
use callboard_store::SimDisk;

use crate::common::Home;
use crate::queues::{Job, close, drain, job, journals, open, open_with};

const SECOND: Duration = Duration::from_secs(1);

#[callboard::test]
async fn g23_what_was_redriven_after_it_expired_lives_on_over_a_restart(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    queue.offer(job(1)).time_to_live(SECOND).await.unwrap();
    queue.offer(job(2)).time_to_live(SECOND).await.unwrap();
    let hour = Duration::from_secs(3_600);
    let late = queue.offer(job(3)).time_to_live(SECOND).delay(hour);
    late.await.unwrap();
    system.clock().sleep(2 * SECOND).await;
    let dead = queue.dead_letters().unwrap();
    assert_eq!(dead.state().len, 3);
    assert_eq!(dead.redrive(10), Ok(3));
    let first = queue.lease().await.unwrap().unwrap();
    first.reject("not yet").await.unwrap();
    close(queue, store).await;

    for _ in 0..2 {
        let store = home.store(&system).await;
        let queue = open(&system, &store).await;
        assert_eq!(queue.dead_letters().unwrap().state().len, 0);
        let state = queue.state().await.unwrap();
        assert_eq!((state.len, state.delayed), (3, 0));
        let deliveries = queue.lease_many(10).await.unwrap();
        let numbers: Vec<u64> = deliveries.iter().map(|job| job.number).collect();
        assert_eq!(numbers, [1, 2, 3]);
        drop(deliveries);
        close(queue, store).await;
    }
}

#[callboard::test(both)]
async fn g23_what_is_rejected_among_the_dead_stays_dead_over_a_restart(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    queue.offer(job(1)).await.unwrap();
    let first = queue.lease().await.unwrap().unwrap();
    first.bury("no such customer").await.unwrap();
    let dead = queue.dead_letters().unwrap();
    let looked_at = dead.lease().await.unwrap().unwrap();
    looked_at.reject("not now").await.unwrap();
    drop(dead);
    close(queue, store).await;

    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    let dead = queue.dead_letters().unwrap();
    assert_eq!((dead.state().len, queue.state().await.unwrap().len), (1, 0));
    let info = &dead.browse(0, 1).await.unwrap()[0].item.info;
    assert_eq!(info.reason, DeadReason::Rejected);
    assert_eq!((&*info.detail, info.failed), ("no such customer", 1));
    drop(dead);
    close(queue, store).await;
}

/// What there is no memory for is read from the disk: of the dead, and of those that come back.
#[callboard::test(both)]
async fn g23_the_dead_need_not_fit_in_memory(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let queue = open_with(&system, &store, |queue| queue.cache(100)).await;
    queue.offer_many((1..=20).map(job)).await.unwrap();
    for delivery in queue.lease_many(20).await.unwrap() {
        delivery.bury("never").await.unwrap();
    }
    let dead = queue.dead_letters().unwrap();
    assert_eq!(dead.poll().await.unwrap().unwrap().item, job(1));
    assert_eq!(dead.browse(0, 20).await.unwrap().len(), 19);
    assert_eq!(dead.redrive(10), Ok(10));
    assert_eq!(drain(&queue).await, (2..=11).collect::<Vec<_>>());
    assert_eq!(dead.redrive(10), Ok(9));
    assert_eq!(drain(&queue).await, (12..=20).collect::<Vec<_>>());
    drop(dead);
    close(queue, store).await;
}

/// Fencing tokens of the dead are tokens, too.
#[callboard::test(both)]
async fn g22_tokens_of_the_dead_grow_over_restarts(system: System) {
    let home = Home::new(&system);
    let mut last = 0;
    for round in 0..3 {
        let store = home.store(&system).await;
        let queue = open(&system, &store).await;
        if round == 0 {
            queue.offer(job(1)).await.unwrap();
            let first = queue.lease().await.unwrap().unwrap();
            first.bury("never").await.unwrap();
        }
        let dead = queue.dead_letters().unwrap();
        let looked_at = dead.lease().await.unwrap().unwrap();
        assert!(looked_at.token() > last, "{} {last}", looked_at.token());
        last = looked_at.token();
        drop((looked_at, dead));
        close(queue, store).await;
    }
}

/// The process ends right after the answer: what was answered is so.
#[callboard::test]
async fn g25_an_answered_bury_and_a_last_rejection_survive_a_kill(system: System) {
    for buried in [true, false] {
        let disk = SimDisk::new(system.entropy().next_u64());
        let home = Home::on(&disk);
        let store = home.store(&system).await;
        let queue = open_with(&system, &store, |queue| queue.delivery_limit(1)).await;
        queue.offer(job(1)).await.unwrap();
        queue.offer(job(2)).await.unwrap();
        let first = queue.lease().await.unwrap().unwrap();
        match buried {
            true => first.bury("never").await.unwrap(),
            false => first.reject("no").await.unwrap(),
        }
        let after = disk.kill();
        queue.stop();
        queue.wait().await;
        // An error: the machine is off.
        let _: Result<_, _> = store.close().await;

        let home = Home::on(&after);
        let store = home.store(&system).await;
        let queue = open_with(&system, &store, |queue| queue.delivery_limit(1)).await;
        assert_eq!(queue.dead_letters().unwrap().state().len, 1, "{buried}");
        assert_eq!(drain(&queue).await, [2]);
        close(queue, store).await;
    }
}

#[callboard::test]
async fn g23_lapsed_leases_are_counted_over_a_restart(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    queue.offer(job(1)).await.unwrap();
    let in_hand = queue.lease().span(SECOND).await.unwrap().unwrap();
    system.clock().sleep(2 * SECOND).await;
    assert_eq!(queue.state().await.unwrap().lapsed, 1);
    drop(in_hand);
    close(queue, store).await;

    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    let again = queue.lease().await.unwrap().unwrap();
    assert_eq!((again.attempt(), again.failed()), (2, 1));
    drop(again);
    close(queue, store).await;
}

/// Such a note may say that the item is done with: it isn't handed out as if it said nothing.
#[callboard::test(both)]
async fn g25_an_item_whose_note_cannot_be_read_is_set_aside(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    queue.offer(job(1)).await.unwrap();
    queue.offer(job(2)).await.unwrap();
    close(queue, store).await;
    let store = home.store(&system).await;
    let journal = store.open_journal("jobs").await.unwrap().0.journal;
    let note = Change::Note {
        id: 1,
        note: b"\xc1 of a later version",
    };
    journal.append(&[note], Durability::Synced).unwrap();
    drop(journal);
    store.close().await.unwrap();

    let store = home.store(&system).await;
    let queue = open(&system, &store).await;
    assert_eq!(drain(&queue).await, [2]);
    let aside = queue.set_aside();
    assert_eq!((aside.len(), aside[0].sequence), (1, 1));
    assert!(aside[0].why.contains("note"), "{}", aside[0].why);
    close(queue, store).await;
}

/// Power fails while a queue that is empty is opened: the numbers that it gave are not given again.
#[test]
fn g25_numbers_are_not_given_twice_though_power_fails_during_an_opening() {
    for seed in 0..40 {
        for cut in 0..8 {
            let disk = SimDisk::new(seed);
            in_simulation(seed, &disk, async move |system, home| {
                let store = home.store(&system).await;
                let queue = open(&system, &store).await;
                for n in 1..=3 {
                    queue.offer(job(n)).await.unwrap();
                }
                assert_eq!(drain(&queue).await.len(), 3);
                close(queue, store).await;
            });
            disk.cut_at(disk.changes() + cut);
            in_simulation(seed, &disk, async move |system, home| {
                let Ok(store) = home.options().open(&system, &home.dir).await else {
                    return;
                };
                let queue = system.queue::<Job>("jobs").capacity(10_000);
                // An error: the power has failed.
                let _: Result<_, _> = queue.durable(journals(&store)).open().await;
            });
            let after = disk.power_loss();
            in_simulation(seed, &after, async move |system, home| {
                let store = home.store(&system).await;
                let queue = open(&system, &store).await;
                let offered = queue.offer(job(4)).await.unwrap();
                let Offered::Stored(number) = offered else {
                    panic!("{offered:?}");
                };
                assert!(number > 3, "seed {seed}, cut {cut}: {number} again");
            });
        }
    }
}

fn in_simulation<F>(seed: u64, disk: &SimDisk, run: impl FnOnce(System, Home) -> F)
where
    F: Future<Output = ()>,
{
    let mut simulation = Simulation::new(seed);
    let system = simulation.system().clone();
    simulation.block_on(run(system, Home::on(disk)));
}

/// The first two are on disk long before the third gives up: nothing more is to be waited for.
#[callboard::test(both)]
async fn g25_a_batch_is_answered_though_its_disk_was_done_before(system: System) {
    let home = Home::new(&system);
    let store = home.store(&system).await;
    let queue = open_with(&system, &store, |queue| queue.capacity(2)).await;
    let offer = queue.offer_many((1..=3).map(job));
    let error = offer.deadline(SECOND / 5).await.unwrap_err();
    assert_eq!((error.offered.len(), error.rest), (2, vec![job(3)]));
    assert_eq!(drain(&queue).await, [1, 2]);
    close(queue, store).await;
}
