//! Queue actors: limits, order, and callers that give up.

use std::collections::VecDeque;

use futures::FutureExt;
use futures::future::join_all;

use std::future::IntoFuture;
use std::time::Duration;

use super::*;
use crate::FailureKind;
use crate::counters::DropReason;
use crate::{Entropy, Simulation};

#[callboard::test(both)]
async fn g21_each_item_goes_to_exactly_one_poller(system: System) {
    let queue = Queue::bounded(&system, "q", 8);
    let pollers = (0..4).map(|_| {
        let queue = queue.clone();
        async move {
            let mut got = Vec::new();
            while let Some(item) = queue
                .poll()
                .deadline(Duration::from_millis(200))
                .await
                .unwrap()
            {
                got.push(item);
            }
            got
        }
    });
    let offering = async {
        for n in 0..100_u32 {
            queue.offer(n).await.unwrap();
        }
    };
    let (got, ()) = futures::join!(join_all(pollers), offering);
    assert!(got.iter().all(|items| items.is_sorted()));
    let mut all: Vec<u32> = got.into_iter().flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
}

#[callboard::test(both)]
async fn a_zero_deadline_does_not_wait(system: System) {
    let queue = Queue::bounded(&system, "q", 1);
    assert_eq!(queue.poll().deadline(Duration::ZERO).await.unwrap(), None);
    assert_eq!(
        queue.offer(1).deadline(Duration::ZERO).await.unwrap(),
        Offered::Stored(1)
    );
    let error = queue.offer(2).deadline(Duration::ZERO).await.unwrap_err();
    assert_eq!(
        (error.failure.kind(), error.item),
        (FailureKind::Full, Some(2))
    );
}

#[callboard::test(both)]
async fn g06_an_offer_that_waited_too_long_gives_its_item_back(system: System) {
    let queue = Queue::bounded(&system, "q", 1);
    queue.offer(1).await.unwrap();
    let error = queue
        .offer(2)
        .deadline(Duration::from_millis(10))
        .await
        .unwrap_err();
    assert_eq!(error.item, Some(2));
    assert_eq!(error.failure.verdict(), crate::Verdict::NotExecuted);
    assert_eq!(queue.poll().await.unwrap(), Some(1));
    assert_eq!(queue.offer(3).await.unwrap(), Offered::Stored(2));
}

#[callboard::test(both)]
async fn a_poller_that_gave_up_takes_no_item_with_it(system: System) {
    let queue = Queue::bounded(&system, "q", 4);
    for round in 0..20_u32 {
        let mut poll = Box::pin(queue.poll().into_future());
        assert!(poll.as_mut().now_or_never().is_none());
        queue.offer(round).await.unwrap();
        // By now the item may be on its way to the poller, which goes.
        drop(poll);
        assert_eq!(queue.poll().await.unwrap(), Some(round));
    }
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.offered, state.handed), (0, 20, 20));
}

#[callboard::test(both)]
async fn room_handed_to_an_offerer_that_gave_up_goes_to_the_next(system: System) {
    let queue = Queue::bounded(&system, "q", 1);
    queue.offer(0).await.unwrap();
    let mut first = Box::pin(queue.offer(1).into_future());
    let mut second = Box::pin(queue.offer(2).into_future());
    // Both are in line once the queue has answered a later question.
    while queue.state().await.unwrap().waiting_offerers < 2 {
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
    }
    drop(first);
    assert_eq!(queue.poll().await.unwrap(), Some(0));
    second.await.unwrap();
    assert_eq!(queue.poll().await.unwrap(), Some(2));
}

#[callboard::test(both)]
async fn g03_a_circular_queue_drops_its_oldest_and_counts_it(system: System) {
    let queue = Queue::circular(&system, "q", 2);
    for n in 0..5 {
        queue.offer(n).await.unwrap();
    }
    assert_eq!(queue.poll().await.unwrap(), Some(3));
    assert_eq!(queue.poll().await.unwrap(), Some(4));
    assert_eq!(queue.state().await.unwrap().dropped, 3);
    assert_eq!(system.counters().drops(DropReason::DropOldest), 3);
}

#[callboard::test(both)]
async fn g07_whoever_waits_at_a_queue_that_ends_is_told(system: System) {
    let queue: Queue<u32> = Queue::bounded(&system, "q", 1);
    let mut poll = Box::pin(queue.poll().into_future());
    assert!(poll.as_mut().now_or_never().is_none());
    queue.state().await.unwrap();
    queue.stop();
    assert_eq!(poll.await.unwrap_err().kind(), FailureKind::Stopped);

    let queue = Queue::bounded(&system, "q", 1);
    queue.offer("kept").await.unwrap();
    let mut offer = Box::pin(queue.offer("waits").into_future());
    while queue.state().await.unwrap().waiting_offerers == 0 {
        assert!(offer.as_mut().now_or_never().is_none());
    }
    queue.stop();
    assert_eq!(offer.await.unwrap_err().item, Some("waits"));
    queue.wait().await;
    let letters = system.dead_letters().take();
    assert!(
        letters
            .iter()
            .any(|letter| letter.message.downcast_ref() == Some(&"kept"))
    );
}

/// Random offers, polls and cancellations against a plain list, 200 seeds.
#[test]
fn g24_a_queue_is_first_in_first_out_like_its_model() {
    for seed in 0..200 {
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(async move {
            let choice = Entropy::seeded(seed);
            let queue = Queue::bounded(&system, "q", 4);
            let mut model = VecDeque::new();
            for n in 0..200_u64 {
                match choice.below(4) {
                    0 | 1 => match queue.offer(n).deadline(Duration::ZERO).await {
                        Ok(_) => model.push_back(n),
                        Err(error) => {
                            assert_eq!((model.len(), error.item), (4, Some(n)), "seed {seed}");
                        }
                    },
                    2 => {
                        let got = queue.poll().deadline(Duration::ZERO).await.unwrap();
                        assert_eq!(got, model.pop_front(), "seed {seed}");
                    }
                    _ => {
                        let mut poll = Box::pin(queue.poll().into_future());
                        if let Some(got) = poll.as_mut().now_or_never() {
                            assert_eq!(got.unwrap(), model.pop_front(), "seed {seed}");
                            continue;
                        }
                        if choice.below(2) == 0 {
                            queue.state().await.unwrap();
                        }
                        drop(poll);
                        // What was on its way is back in its place before the next question.
                        queue.state().await.unwrap();
                    }
                }
            }
            assert_eq!(queue.state().await.unwrap().len, model.len(), "seed {seed}");
        });
    }
}

#[callboard::test(both)]
async fn g03_an_offer_dropped_with_its_room_in_hand_gives_it_back(system: System) {
    let queue = Queue::bounded(&system, "q", 1);
    queue.offer(0).await.unwrap();
    let mut offer = Box::pin(queue.offer(1).into_future());
    while queue.state().await.unwrap().waiting_offerers == 0 {
        assert!(futures::poll!(offer.as_mut()).is_pending());
    }
    // Now the room is the offer's, and it sends its item into it.
    assert_eq!(queue.poll().await.unwrap(), Some(0));
    let _ = futures::poll!(offer.as_mut());
    drop(offer);
    let _ = queue.poll().deadline(Duration::ZERO).await.unwrap();
    let patience = Duration::from_secs(1);
    assert!(queue.offer(2).deadline(patience).await.is_ok());
}

#[callboard::test]
async fn g03_items_that_come_back_to_a_circular_queue_do_not_outgrow_it(system: System) {
    let queue = Queue::circular(&system, "q", 2);
    let mut polls: Vec<_> = (0..3)
        .map(|_| Box::pin(queue.poll().into_future()))
        .collect();
    for poll in &mut polls {
        assert!(futures::poll!(poll.as_mut()).is_pending());
    }
    // Each is on its way to a poller when all of them leave.
    for n in 0..3 {
        queue.offer(n).await.unwrap();
    }
    queue.offer(3).await.unwrap();
    drop(polls);
    queue.offer(4).await.unwrap();
    let state = queue.state().await.unwrap();
    assert_eq!((state.len, state.dropped), (2, 3));
    assert_eq!(system.counters().drops(DropReason::DropOldest), 3);
}

#[callboard::test]
async fn g07_items_on_their_way_when_their_queue_ended_go_to_dead_letters(system: System) {
    let queue = Queue::bounded(&system, "q", 8);
    queue.offer_many([1_u32, 2]).await.unwrap();
    let Inner::Local { local, .. } = &queue.inner else {
        panic!("it is of this process");
    };
    let hauls = [local::Mode::Take, local::Mode::Lease(None)].map(|mode| {
        let want = local::Want {
            max: 1,
            mode,
            consumer: None,
        };
        local.with(|inside, afterwards, now| inside.take(local, want, afterwards, now))
    });
    local.end(&local::stopped("q"));
    for haul in hauls {
        let haul = haul.unwrap();
        local.with(|inside, afterwards, now| inside.hand_back(haul, afterwards, now));
    }
    assert_eq!(system.counters().drops(DropReason::Stopped), 2);
}
