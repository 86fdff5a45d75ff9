//! Barriers, all or none, and latches.

use std::future::IntoFuture;
use std::time::Duration;

use callboard::locks::{Barrier, BarrierError, DEFAULT_WAITERS, Latch, MAX_PARTIES, Meet, Passage};
use callboard::{Actor, Context, FailureKind, Handler, Message, System, Verdict};
use futures::future::{BoxFuture, join_all};

const SHORT: Duration = Duration::from_millis(5);

type Meeting = BoxFuture<'static, Result<Passage, BarrierError>>;

/// Comes to the barrier, and is back when it is counted there.
async fn come(barrier: &Barrier, meet: Meet) -> Meeting {
    let before = barrier.state().await.unwrap().waiting;
    let mut meeting = meet.into_future();
    while barrier.state().await.unwrap().waiting == before {
        assert!(futures::poll!(&mut meeting).is_pending());
    }
    meeting
}

fn broken(error: &BarrierError) -> Option<u64> {
    match error {
        BarrierError::Broken { generation, .. } => Some(*generation),
        _ => None,
    }
}

#[callboard::test(both)]
async fn parties_go_on_together_again_and_again(system: System) {
    let barrier = Barrier::new(&system, "curtain", 3);
    for generation in 1..=4 {
        let one = come(&barrier, barrier.wait()).await;
        let two = come(&barrier, barrier.wait()).await;
        assert_eq!(barrier.state().await.unwrap().waiting, 2);
        let passed = join_all([one, two, barrier.wait().into_future()]).await;
        let passed: Vec<_> = passed.into_iter().map(Result::unwrap).collect();
        let expected = [0, 1, 2].map(|place| Passage { generation, place });
        assert_eq!(passed, expected);
    }
    let state = barrier.state().await.unwrap();
    assert_eq!((state.passed, state.broken, state.generation), (4, 0, 5));
}

#[callboard::test(both)]
async fn a_party_that_leaves_breaks_its_generation_and_no_other(system: System) {
    let barrier = Barrier::new(&system, "curtain", 3);
    let one = come(&barrier, barrier.wait()).await;
    let two = come(&barrier, barrier.wait()).await;
    drop(two);
    let error = one.await.unwrap_err();
    assert_eq!(
        (broken(&error), error.verdict()),
        (Some(1), Verdict::NotExecuted)
    );
    assert_eq!(
        error.to_string(),
        "generation 1 of barrier curtain was broken"
    );

    // Nobody resets it: those who come again are the next generation.
    let passed = join_all((0..3).map(|_| barrier.wait().into_future())).await;
    assert!(
        passed
            .iter()
            .all(|passed| passed.as_ref().unwrap().generation == 2)
    );
    let state = barrier.state().await.unwrap();
    assert_eq!((state.passed, state.broken, state.waiting), (1, 1, 0));
}

#[callboard::test(both)]
async fn a_deadline_at_a_barrier_breaks_the_generation(system: System) {
    let barrier = Barrier::new(&system, "curtain", 3);
    let one = come(&barrier, barrier.wait()).await;
    let error = barrier.wait().deadline(SHORT).await.unwrap_err();
    let BarrierError::Failed(failure) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(failure.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(failure.verdict(), Verdict::NotExecuted);
    assert_eq!(broken(&one.await.unwrap_err()), Some(1));
}

#[callboard::test(both)]
async fn who_does_not_wait_at_a_barrier_breaks_nothing(system: System) {
    let barrier = Barrier::new(&system, "curtain", 2);
    let error = barrier.wait().deadline(Duration::ZERO).await.unwrap_err();
    assert!(broken(&error).is_none());
    let one = come(&barrier, barrier.wait()).await;
    // As the last one it goes on.
    let two = barrier.wait().deadline(Duration::ZERO).await.unwrap();
    assert_eq!((two.place, one.await.unwrap().place), (1, 0));
    assert_eq!(barrier.state().await.unwrap().broken, 0);
}

/// Waits at a barrier in its handler.
struct Party;

#[derive(Message)]
struct Go(Barrier);

impl Actor for Party {}

impl Handler<Go> for Party {
    async fn handle(&mut self, Go(barrier): Go, _: &mut Context<Self>) {
        let _ = barrier.wait().await;
    }
}

#[callboard::test(both)]
async fn a_party_that_is_killed_breaks_the_generation(system: System) {
    let barrier = Barrier::new(&system, "curtain", 3);
    let one = come(&barrier, barrier.wait()).await;
    let party = system.start(Party);
    party.tell(Go(barrier.clone())).await.unwrap();
    while barrier.state().await.unwrap().waiting < 2 {}
    party.kill();
    assert_eq!(broken(&one.await.unwrap_err()), Some(1));
}

#[callboard::test(both)]
async fn g07_a_barrier_that_ends_tells_who_waits(system: System) {
    let barrier = Barrier::new(&system, "curtain", 2);
    let one = come(&barrier, barrier.wait()).await;
    barrier.stop();
    let BarrierError::Failed(failure) = one.await.unwrap_err() else {
        panic!("nobody left");
    };
    assert_eq!(failure.kind(), FailureKind::Stopped);
    assert_eq!(failure.verdict(), Verdict::NotExecuted);
    assert!(barrier.state().await.is_err());
}

#[callboard::test]
async fn parties_out_of_range_mean_the_nearest(system: System) {
    let parties = async |parties| {
        let barrier = Barrier::new(&system, "b", parties);
        barrier.state().await.unwrap().parties
    };
    assert_eq!(
        (parties(0).await, parties(usize::MAX).await),
        (1, MAX_PARTIES)
    );
    // A barrier of one holds nobody up.
    let barrier = Barrier::new(&system, "b", 0);
    assert_eq!(barrier.wait().await.unwrap().generation, 1);
}

/// Nobody passes alone, whoever leaves when: each generation passes for all of its parties or for none.
#[callboard::test(seeds = 100)]
async fn a_generation_passes_for_all_or_for_none(system: System) {
    const PARTIES: usize = 3;
    let barrier = Barrier::new(&system, "curtain", PARTIES);
    let parties = (0..PARTIES).map(|_| {
        let (barrier, system) = (barrier.clone(), system.clone());
        async move {
            let mut passed = Vec::new();
            for _ in 0..20 {
                let span = system.entropy().jitter(SHORT) + Duration::from_nanos(1);
                let waited = barrier.wait().deadline(span).await;
                match waited {
                    Ok(passage) => passed.push(passage.generation),
                    Err(error) => assert_eq!(error.verdict(), Verdict::NotExecuted),
                }
                system.clock().sleep(system.entropy().jitter(SHORT)).await;
            }
            passed
        }
    });
    let passed = join_all(parties).await;
    let state = barrier.state().await.unwrap();
    assert_eq!(
        passed.iter().map(Vec::len).sum::<usize>() as u64,
        state.passed * PARTIES as u64
    );
    assert!(passed.iter().all(|party| *party == passed[0]), "{passed:?}");
}

#[callboard::test(both)]
async fn a_latch_opens_when_it_has_been_counted_down_and_stays_open(system: System) {
    let latch = Latch::new(&system, "ready", 2);
    let mut waits = join_all((0..3).map(|_| latch.wait().into_future()));
    while latch.state().await.unwrap().waiting < 3 {
        assert!(futures::poll!(&mut waits).is_pending());
    }
    assert_eq!(latch.count_down().await.unwrap(), 1);
    let shut = latch.wait().deadline(SHORT).await.unwrap_err();
    assert_eq!(shut.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(shut.verdict(), Verdict::NotExecuted);
    assert_eq!(latch.count_down().await.unwrap(), 0);
    assert!(waits.await.into_iter().all(|waited| waited.is_ok()));
    latch.wait().await.unwrap();
    latch.wait().deadline(Duration::ZERO).await.unwrap();
    // There is no way back, and none below.
    assert_eq!(latch.count_down().await.unwrap(), 0);
    assert_eq!(latch.state().await.unwrap().left, 0);
    Latch::new(&system, "open", 0).wait().await.unwrap();
}

#[callboard::test(both)]
async fn who_does_not_wait_for_a_latch_is_told_what_is_left(system: System) {
    let latch = Latch::new(&system, "ready", 7);
    let shut = latch.wait().deadline(Duration::ZERO).await.unwrap_err();
    assert_eq!(shut.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(shut.detail(), Some("latch ready has 7 to go"));
}

#[callboard::test(both)]
async fn g07_a_latch_that_ends_tells_who_waits(system: System) {
    let latch = Latch::new(&system, "ready", 1);
    let mut wait = latch.wait().into_future();
    while latch.state().await.unwrap().waiting == 0 {
        assert!(futures::poll!(&mut wait).is_pending());
    }
    latch.stop();
    assert_eq!(wait.await.unwrap_err().kind(), FailureKind::Stopped);
    assert_eq!(
        latch.count_down().await.unwrap_err().kind(),
        FailureKind::Stopped
    );
}

#[callboard::test(seeds = 1)]
async fn g03_so_many_wait_for_a_latch_and_no_more(system: System) {
    let latch = Latch::new(&system, "ready", 1);
    let mut all = Vec::new();
    for number in 1..=DEFAULT_WAITERS {
        let mut wait = latch.wait().into_future();
        assert!(futures::poll!(&mut wait).is_pending());
        all.push(wait);
        // The mailbox has less room than the line.
        if number % 512 == 0 {
            assert_eq!(latch.state().await.unwrap().waiting, number);
        }
    }
    let refused = latch.wait().await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Overloaded);
    // Those who have given up leave their places to others.
    drop(all);
    let mut wait = latch.wait().into_future();
    assert!(futures::poll!(&mut wait).is_pending());
    while latch.state().await.unwrap().waiting != 1 {}
    latch.count_down().await.unwrap();
    wait.await.unwrap();
}
