use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use futures::FutureExt;

use super::*;
use crate::config::LinkConfig;
use crate::session::log::Batch;
use crate::session::outbox::tests::sized;
use crate::wire::frame::split_frame;

const WINDOW: u64 = 100;

fn outbox() -> Outbox {
    let outbox = Outbox::new(&LinkConfig::default(), 1_000_000, 2);
    // Two flows to one receiver, and one to another.
    for lane in [7, 7, 8] {
        outbox.add_flow(WINDOW, lane);
    }
    outbox
}

fn small<'a>(slot: u32, number: u64, body: [&'a [u8]; 2]) -> Small<'a> {
    Small {
        slot,
        body,
        kind: Kind::Tell,
        flags: 0,
        number,
        deadline: None,
    }
}

fn take(outbox: &Outbox) -> Option<Batch> {
    let taken = poll_fn(|cx| Poll::Ready(outbox.take(cx, Batch::default)));
    pin!(taken)
        .now_or_never()
        .flatten()
        .map(|taken| taken.batch)
}

#[test]
fn g02_it_stands_in_line_with_all_others_and_looks_like_them() {
    let outbox = outbox();
    outbox.push(&mut sized(0, 1, 4)).unwrap();
    outbox.push_small(&small(0, 2, [&[0, 0], &[0, 0]])).unwrap();
    outbox.push(&mut sized(0, 3, 4)).unwrap();
    let batch = take(&outbox).unwrap();
    assert_eq!(batch.last, 3);
    let mut rest = &batch.bytes[..];
    for number in 1..=3 {
        let (frame, len) = split_frame(rest, u32::MAX).unwrap().unwrap();
        assert_eq!((frame.kind, frame.flags), (Kind::Tell, 0));
        assert_eq!(frame.correlation, number);
        assert_eq!(u64::from(frame.sequence), number);
        assert_eq!(frame.body, [0; 4]);
        rest = &rest[len..];
    }
    assert!(rest.is_empty() && take(&outbox).is_none());
}

#[test]
fn g33_it_takes_credit_like_all_others_and_waits_behind_them() {
    let outbox = outbox();
    let body = [0; 44];
    let full = Err(NoRoom::Full("its receiver takes no more for now"));
    // 60 bytes each, with the header: the second overshoots.
    for _ in 0..2 {
        assert_eq!(outbox.push_small(&small(0, 1, [&body, &[]])), Ok(()));
    }
    assert_eq!(outbox.push_small(&small(0, 1, [&[], &[]])), full);
    assert_eq!(outbox.push_small(&small(2, 1, [&body, &[]])), Ok(()));
    // Somebody waits: who comes later, with room or without, doesn't pass.
    let mut waits = sized(0, 9, 4);
    let mut waiting = pin!(outbox.push_waiting(&mut waits));
    assert!(waiting.as_mut().now_or_never().is_none());
    outbox.credit(0, 1_000);
    let behind = Err(NoRoom::Full("others wait already"));
    assert_eq!(outbox.push_small(&small(0, 1, [&[], &[]])), behind);
    assert_eq!(waiting.now_or_never(), Some(true));
    assert_eq!(outbox.push_small(&small(0, 1, [&[], &[]])), Ok(()));
    outbox.close();
    let closed = Err(NoRoom::Closed);
    assert_eq!(outbox.push_small(&small(2, 1, [&[], &[]])), closed);
}

#[test]
fn g02_it_does_not_pass_a_large_one_to_the_same_receiver() {
    let outbox = outbox();
    outbox.push(&mut sized(0, 1, PIECE + 1)).unwrap();
    // By whatever slot.
    let behind = Err(NoRoom::Full("others wait already"));
    assert_eq!(outbox.push_small(&small(1, 2, [&[1], &[]])), behind);
    assert_eq!(outbox.push_small(&small(2, 3, [&[1], &[]])), Ok(()));
    // One that would have to travel in pieces isn't small.
    let large = vec![0; PIECE + 1];
    assert_eq!(outbox.push_small(&small(2, 3, [&large, &[]])), behind);
}

#[test]
fn g09_the_place_of_its_remaining_time_is_noted() {
    let outbox = outbox();
    let deadline = Some(Instant::FAR);
    outbox.push_small(&small(2, 1, [&[5], &[]])).unwrap();
    let timed = Small {
        deadline,
        kind: Kind::Ask,
        ..small(2, 1, [&[0; REMAINING.end], &[6]])
    };
    assert_eq!(outbox.push_small(&timed), Ok(()));
    assert_eq!(outbox.load().1, 1);
    let batch = take(&outbox).unwrap();
    let at = HEADER + 1 + HEADER + REMAINING.start;
    assert_eq!(batch.stamps.len(), 1);
    assert_eq!(batch.stamps[0].at, at);
    assert_eq!(Some(batch.stamps[0].deadline), deadline);
    // As many unanswered asks as the other side allows, and no more.
    outbox.credit(2, 1_000);
    assert_eq!(outbox.push_small(&timed), Ok(()));
    let crowded = Err(NoRoom::Full("too many unanswered asks"));
    assert_eq!(outbox.push_small(&timed), crowded);
    outbox.ask_ended();
    assert_eq!(outbox.push_small(&timed), Ok(()));
}
