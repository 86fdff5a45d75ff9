//! Queues in memory.

use callboard::queue::{Queue, ack_all};
use common::size::millions;
use common::stopwatch::Stopwatch;
use common::threads::Layout;
use tokio::sync::oneshot;

use super::{FIRST, arbiters, on_system};
use crate::item::Item;
use crate::workloads::{BATCH, Batch, CAPACITY, Run, channel};

/// One offers on the first arbiter, one polls on the last.
pub(super) fn offer_poll(batch: Batch, layout: Layout, run: &Run) -> Vec<f64> {
    let count = channel::items(batch, run);
    let elapsed = on_system(layout, move |system| async move {
        let queue = Queue::bounded(&system, "items", CAPACITY);
        let (done, received) = oneshot::channel();
        let begin = Stopwatch::start();
        let (_, last) = arbiters(layout);
        let consumer = queue.clone();
        let consuming = system.spawn(last, move || async move {
            match batch {
                Batch::Single => poll(&consumer, count).await,
                Batch::Of64 => poll_batches(&consumer, count).await,
            }
            // Nobody waits only if the run was given up.
            let _ = done.send(());
        });
        let producing = system.spawn(FIRST, move || async move {
            match batch {
                Batch::Single => offer(&queue, count).await,
                Batch::Of64 => offer_batches(&queue, count).await,
            }
        });
        assert!(consuming && producing, "the system runs");
        received.await.expect("the consumer ends");
        begin.elapsed()
    });
    vec![millions(count, elapsed)]
}

/// Takes what was offered before: first by polls, then by leases that are acknowledged.
pub(super) fn take(batch: Batch, run: &Run) -> Vec<f64> {
    let count = run.size.pick(524_288, 32_768);
    let elapsed = on_system(Layout::OneThread, move |system| async move {
        let capacity = usize::try_from(count).expect("it fits");
        let queue = Queue::bounded(&system, "items", capacity);
        // One round before, in which the queue gets its room.
        offer_batches(&queue, count).await;
        poll_batches(&queue, count).await;

        offer_batches(&queue, count).await;
        let begin = Stopwatch::start();
        match batch {
            Batch::Single => poll(&queue, count).await,
            Batch::Of64 => poll_batches(&queue, count).await,
        }
        let polled = begin.elapsed();

        offer_batches(&queue, count).await;
        let begin = Stopwatch::start();
        match batch {
            Batch::Single => lease(&queue, count).await,
            Batch::Of64 => lease_batches(&queue, count).await,
        }
        let leased = begin.elapsed();
        assert_eq!(queue.state().await.expect("the queue lives").len, 0);
        [polled, leased]
    });
    elapsed.map(|elapsed| millions(count, elapsed)).to_vec()
}

async fn offer(queue: &Queue<Item>, count: u64) {
    for number in 0..count {
        queue.offer(Item::new(number)).await.expect("it is stored");
    }
}

pub(super) async fn offer_batches(queue: &Queue<Item>, count: u64) {
    let mut number = 0;
    while number < count {
        let end = count.min(number + BATCH as u64);
        let stored = queue.offer_many((number..end).map(Item::new)).await;
        stored.expect("they are stored");
        number = end;
    }
}

async fn poll(queue: &Queue<Item>, count: u64) {
    for number in 0..count {
        let item = queue.poll().await.expect("the queue lives");
        let item = item.expect("no deadline has passed");
        assert_eq!(item.number(), number, "out of order");
    }
}

async fn poll_batches(queue: &Queue<Item>, count: u64) {
    let mut number = 0;
    while number < count {
        for item in queue.poll_many(BATCH).await.expect("the queue lives") {
            assert_eq!(item.number(), number, "out of order");
            number += 1;
        }
    }
}

async fn lease(queue: &Queue<Item>, count: u64) {
    for number in 0..count {
        let delivery = queue.lease().await.expect("the queue lives");
        let delivery = delivery.expect("no deadline has passed");
        assert_eq!(delivery.number(), number, "out of order");
        delivery.ack().await.expect("the lease holds");
    }
}

async fn lease_batches(queue: &Queue<Item>, count: u64) {
    let mut number = 0;
    while number < count {
        number += lease_batch(queue, number).await;
    }
}

/// Takes the next batch, of which the first has that number. Answers how many it has.
pub(super) async fn lease_batch(queue: &Queue<Item>, first: u64) -> u64 {
    let deliveries = queue.lease_many(BATCH).await.expect("the queue lives");
    let mut number = first;
    for delivery in &deliveries {
        assert_eq!(delivery.number(), number, "out of order");
        number += 1;
    }
    for acknowledged in ack_all(deliveries).await {
        acknowledged.expect("the lease holds");
    }
    number - first
}
