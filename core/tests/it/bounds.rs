//! G3 bounded, G6 the message comes back.

use std::time::Duration;

use callboard::{DropReason, FailureKind, Overflow, System, Verdict};
use futures::FutureExt;

use crate::common::{Note, held_worker, held_worker_with, worker};

#[callboard::test(both)]
async fn g03_a_full_mailbox_makes_senders_wait_in_order(system: System) {
    let (worker, log, gate) = held_worker(&system, 1).await;
    worker.try_tell(Note(0)).unwrap();
    let mut first = Box::pin(worker.tell(Note(1)).into_future());
    let mut second = Box::pin(worker.tell(Note(2)).into_future());
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(worker.mailbox().waiting_senders, 2);
    gate.send(()).unwrap();
    let (a, b) = futures::join!(first, second);
    a.unwrap();
    b.unwrap();
    worker.ask(Note(3)).await.unwrap();
    assert_eq!(log.lines()[2..], ["note 0", "note 1", "note 2", "note 3"]);
}

#[callboard::test(both)]
async fn g03_a_sender_that_gives_up_passes_its_place_on(system: System) {
    let (worker, log, gate) = held_worker(&system, 1).await;
    worker.try_tell(Note(0)).unwrap();
    let mut first = Box::pin(worker.tell(Note(1)).into_future());
    let mut second = Box::pin(worker.tell(Note(2)).into_future());
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    gate.send(()).unwrap();
    second.await.unwrap();
    worker.ask(Note(3)).await.unwrap();
    assert_eq!(log.lines()[2..], ["note 0", "note 2", "note 3"]);
}

#[callboard::test(both)]
async fn g03_drop_newest_counts_and_dead_letters_what_it_drops(system: System) {
    let (worker, log, gate) = held_worker_with(&system, 2, Overflow::DropNewest).await;
    for n in 0..5 {
        worker.try_tell(Note(n)).unwrap();
    }
    assert_eq!(system.counters().drops(DropReason::DropNewest), 3);
    let letters = system.dead_letters().take();
    let dropped: Vec<u64> = letters
        .into_iter()
        .map(|letter| letter.message.downcast::<Note>().unwrap().0)
        .collect();
    assert_eq!(dropped, [2, 3, 4]);
    gate.send(()).unwrap();
    worker.drain();
    worker.wait().await;
    assert_eq!(log.lines()[2..4], ["note 0", "note 1"]);
}

#[callboard::test(both)]
async fn g03_drop_oldest_makes_room_and_answers_the_evicted_ask(system: System) {
    let (worker, log, gate) = held_worker_with(&system, 2, Overflow::DropOldest).await;
    let evicted = worker.ask(Note(0)).into_future();
    let mut evicted = Box::pin(evicted);
    assert!(evicted.as_mut().now_or_never().is_none());
    worker.try_tell(Note(1)).unwrap();
    worker.try_tell(Note(2)).unwrap();
    let error = evicted.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Full, Verdict::NotExecuted)
    );
    assert_eq!(system.counters().drops(DropReason::DropOldest), 1);
    gate.send(()).unwrap();
    worker.drain();
    worker.wait().await;
    assert_eq!(log.lines()[2..4], ["note 1", "note 2"]);
}

#[callboard::test(both)]
async fn g03_dead_letters_are_bounded_and_their_overflow_is_counted(system: System) {
    let (worker, _, _gate) = held_worker_with(&system, 1, Overflow::DropNewest).await;
    let sent = callboard::DEAD_LETTER_CAPACITY as u64 + 11;
    for n in 0..sent {
        worker.try_tell(Note(n)).unwrap();
    }
    assert_eq!(system.dead_letters().len(), callboard::DEAD_LETTER_CAPACITY);
    assert_eq!(system.counters().drops(DropReason::DropNewest), sent - 1);
    assert_eq!(system.counters().drops(DropReason::DeadLetterOverflow), 10);
}

#[callboard::test(both)]
async fn g06_a_refused_message_comes_back(system: System) {
    let (worker, _, _gate) = held_worker_with(&system, 1, Overflow::Fail).await;
    worker.try_tell(Note(1)).unwrap();
    let error = worker.try_tell(Note(2)).unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Full, Verdict::NotExecuted)
    );
    assert_eq!(error.into_message(), Some(Note(2)));
    let error = worker.ask(Note(3)).await.unwrap_err();
    assert_eq!(error.into_message(), Some(Note(3)));
    // It went back to its sender, so it is no dead letter.
    assert!(system.dead_letters().is_empty());
}

#[callboard::test(both)]
async fn g06_waiting_for_room_past_the_deadline_gives_the_message_back_unsent(system: System) {
    let (worker, _, _gate) = held_worker(&system, 1).await;
    worker.try_tell(Note(1)).unwrap();
    let error = worker
        .ask(Note(2))
        .deadline(Duration::from_millis(20))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(error.verdict(), Verdict::NotSent);
    assert_eq!(error.into_message(), Some(Note(2)));
    assert_eq!(worker.mailbox().waiting_senders, 0);
}

#[callboard::test(both)]
async fn g06_a_stopped_actor_gives_the_message_back(system: System) {
    let (worker, _) = worker(&system);
    worker.stop();
    worker.wait().await;
    let error = worker.tell(Note(7)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.verdict()),
        (FailureKind::Stopped, Verdict::NotExecuted)
    );
    assert_eq!(error.into_message(), Some(Note(7)));
    assert!(system.dead_letters().is_empty());
}

#[callboard::test(both)]
async fn g06_a_kept_copy_comes_back_though_the_handler_ran(system: System) {
    let (worker, _, _gate) = held_worker(&system, 4).await;
    let ask = worker
        .ask(Note(5))
        .keep()
        .deadline(Duration::from_millis(10));
    let error = ask.await.unwrap_err();
    assert_eq!(error.into_message(), Some(Note(5)));
}
