//! One queue under real threads: nothing is lost, nothing is there twice (G21, G24).

use std::collections::HashMap;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use callboard::queue::{Delivery, Queue};
use callboard::{Entropy, RequestKey, System};
use futures::FutureExt;
use futures::executor::block_on;
use parking_lot::Mutex;

const THREADS: u64 = 2;
const EACH: u64 = 4_000;
const GROUPS: u64 = 3;

/// An item says who offered it, and as the which.
type Item = (u64, u64);

#[derive(Default)]
struct Seen {
    /// In the order they were taken for good, by group.
    groups: Mutex<HashMap<u64, Vec<Item>>>,
    in_hand: [AtomicUsize; GROUPS as usize],
    taken: AtomicU64,
}

impl Seen {
    fn take(&self, item: Item) {
        let mut groups = self.groups.lock();
        groups.entry(item.1 % GROUPS).or_default().push(item);
        drop(groups);
        self.taken.fetch_add(1, Ordering::Relaxed);
    }
}

fn offers(queue: &Queue<Item>, me: u64) {
    let choice = Entropy::seeded(me);
    for n in 0..EACH {
        let offer = || queue.offer((me, n)).group(format!("{}", n % GROUPS));
        // Some are offered twice, and some offers are given up.
        match choice.below(8) {
            0 => {
                let key = RequestKey::new();
                let first = block_on(offer().key(key).into_future()).unwrap();
                let again = block_on(offer().key(key).into_future()).unwrap();
                assert_eq!(first.sequence(), again.sequence());
            }
            1 => loop {
                match offer()
                    .deadline(Duration::ZERO)
                    .into_future()
                    .now_or_never()
                {
                    Some(Ok(_)) => break,
                    Some(Err(error)) => assert_eq!(error.item, Some((me, n))),
                    None => panic!("it was not to wait"),
                }
                thread::yield_now();
            },
            _ => {
                block_on(offer().into_future()).unwrap();
            }
        }
    }
}

fn takes(queue: &Queue<Item>, me: u64, seen: &Seen) {
    let choice = Entropy::seeded(100 + me);
    let handle = |delivery: Delivery<Item>| {
        let group = (delivery.1 % GROUPS) as usize;
        assert_eq!(seen.in_hand[group].fetch_add(1, Ordering::SeqCst), 0, "G24");
        let gives_back = choice.below(4) == 0;
        if !gives_back {
            seen.take(*delivery);
        }
        seen.in_hand[group].fetch_sub(1, Ordering::SeqCst);
        if gives_back {
            drop(delivery);
        } else {
            block_on(delivery.ack()).unwrap();
        }
    };
    while seen.taken.load(Ordering::Relaxed) < THREADS * EACH {
        match choice.below(4) {
            0 => {
                let lease = queue.lease_many(3).deadline(Duration::from_millis(1));
                for delivery in block_on(lease.into_future()).unwrap() {
                    handle(delivery);
                }
            }
            1 => {
                // Who leaves while something may be on its way.
                let mut lease = Box::pin(queue.lease().into_future());
                if let Some(got) = lease.as_mut().now_or_never() {
                    handle(got.unwrap().unwrap());
                } else {
                    thread::yield_now();
                }
            }
            _ => {
                let lease = queue.lease().deadline(Duration::from_millis(1));
                if let Some(delivery) = block_on(lease.into_future()).unwrap() {
                    handle(delivery);
                }
            }
        }
    }
}

#[test]
fn g21_threads_that_offer_and_take_lose_nothing_and_double_nothing() {
    let system = System::with_arbiters(1).unwrap();
    let queue: Queue<Item> = system.queue("q").capacity(16).open().unwrap();
    let seen = Arc::new(Seen::default());
    thread::scope(|scope| {
        for me in 0..THREADS {
            let (queue, seen) = (&queue, &seen);
            scope.spawn(move || offers(queue, me));
            scope.spawn(move || takes(queue, me, seen));
        }
    });
    let groups = seen.groups.lock();
    let mut all: Vec<Item> = groups.values().flatten().copied().collect();
    all.sort_unstable();
    let expected: Vec<Item> = (0..THREADS)
        .flat_map(|me| (0..EACH).map(move |n| (me, n)))
        .collect();
    assert_eq!(all, expected);
    // Each sender's items of one group came in the order they were offered.
    for group in groups.values() {
        for me in 0..THREADS {
            let of: Vec<u64> = group
                .iter()
                .filter(|item| item.0 == me)
                .map(|item| item.1)
                .collect();
            assert!(of.is_sorted(), "{of:?}");
        }
    }
    let state = block_on(queue.state()).unwrap();
    assert_eq!((state.len, state.in_flight), (0, 0));
    assert_eq!(
        (state.offered, state.settled),
        (THREADS * EACH, THREADS * EACH)
    );
    assert_eq!(
        (state.failed, state.waiting_pollers, state.waiting_offerers),
        (0, 0, 0)
    );
    block_on(system.shutdown());
}

/// The queue ends while two threads use it: each item is with whom it was given to, or in dead letters, or back.
#[test]
fn g06_an_end_in_the_middle_of_use_leaves_each_item_in_one_place() {
    for round in 0..30_u64 {
        let system = System::with_arbiters(1).unwrap();
        let queue: Queue<u64> = system
            .queue("q")
            .capacity(8)
            .delivery_limit(1)
            .open()
            .unwrap();
        let (stored, settled) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let (accepted, known) = (AtomicU64::new(0), &system);
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0_u64.. {
                    match block_on(queue.offer(n).into_future()) {
                        Ok(_) => stored.lock().push(n),
                        Err(error) => {
                            assert_eq!(error.item, Some(n));
                            return;
                        }
                    }
                    if accepted.fetch_add(1, Ordering::Relaxed) == round * 7 {
                        queue.stop();
                    }
                }
            });
            scope.spawn(|| {
                let choice = Entropy::seeded(round);
                loop {
                    if choice.below(2) == 0 {
                        match block_on(queue.poll().into_future()) {
                            Ok(item) => settled.lock().extend(item),
                            Err(_) => return,
                        }
                        continue;
                    }
                    let Ok(held) = block_on(queue.lease().into_future()) else {
                        return;
                    };
                    let held = held.unwrap();
                    let item = *held;
                    if choice.below(4) == 0 {
                        let _ = block_on(held.reject("dead"));
                    } else if block_on(held.ack()).is_ok() {
                        settled.lock().push(item);
                    }
                }
            });
        });
        block_on(queue.wait());
        let mut places = settled.into_inner();
        for letter in known.dead_letters().take() {
            let live = letter.message.downcast_ref::<u64>().copied();
            let dead = letter.message.downcast_ref::<callboard::queue::Dead<u64>>();
            places.extend(live.or(dead.map(|dead| dead.item)));
        }
        places.sort_unstable();
        let mut stored = stored.into_inner();
        stored.sort_unstable();
        assert_eq!(places, stored, "round {round}");
        block_on(system.shutdown());
    }
}
