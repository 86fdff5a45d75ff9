use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::session::outbox::low;
use crate::wire::frame::{Kind, SEQUENCE, put_frame};

/// Frames with these numbers and that much of a body.
fn batch(numbers: std::ops::RangeInclusive<u64>, body: usize) -> Batch {
    let mut bytes = Vec::new();
    for number in numbers.clone() {
        let at = bytes.len();
        put_frame(&mut bytes, Kind::Tell, 0, number, u32::MAX, |out| {
            out.extend(vec![7; body]);
        })
        .unwrap();
        bytes[at + SEQUENCE.start..at + SEQUENCE.end].copy_from_slice(&low(number).to_be_bytes());
    }
    Batch {
        bytes,
        last: *numbers.end(),
        ..Batch::default()
    }
}

/// The same; the last quarter of the last frame is elsewhere.
fn split_batch(numbers: std::ops::RangeInclusive<u64>, body: usize) -> Batch {
    let mut batch = batch(numbers, body);
    let rest = batch.bytes.split_off(batch.bytes.len() - body / 4);
    batch.rest = Bytes::from(rest);
    batch
}

fn frame_at(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    split_frame(bytes, u32::MAX).unwrap()
}

/// All that is to be written next.
fn unwritten(log: &Log) -> Vec<u8> {
    let (bytes, more) = log.unwritten();
    [bytes, more].concat()
}

/// The numbers of the frames that would be written from here on.
fn rest(log: &mut Log) -> Vec<u64> {
    let mut bytes = Vec::new();
    while !unwritten(log).is_empty() {
        let some = unwritten(log).len().div_ceil(3);
        bytes.extend_from_slice(&unwritten(log)[..some]);
        log.wrote(some);
    }
    let mut numbers = Vec::new();
    let mut at = 0;
    while let Some((frame, len)) = frame_at(&bytes[at..]) {
        numbers.push(frame.correlation);
        at += len;
    }
    assert_eq!(at, bytes.len(), "whole frames only");
    numbers
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

#[test]
fn g32_what_was_not_acknowledged_is_written_again_and_nothing_else() {
    let mut log = Log::default();
    log.push(batch(1..=3, 100), at(0));
    log.push(batch(4..=4, GATHER), at(0));
    log.push(batch(5..=6, 10), at(0));
    assert_eq!(rest(&mut log), [1, 2, 3, 4, 5, 6]);
    log.rewind(2, at(0)).unwrap();
    assert_eq!(rest(&mut log), [3, 4, 5, 6]);
    log.ack(4).unwrap();
    log.rewind(4, at(0)).unwrap();
    assert_eq!(rest(&mut log), [5, 6]);
    log.ack(6).unwrap();
    assert!(log.is_acked());
    assert_eq!(log.bytes(), 0);
}

#[test]
fn g36_nobody_acknowledges_what_was_never_sent() {
    let mut log = Log::default();
    log.push(batch(1..=3, 10), at(0));
    assert_eq!(log.ack(4), Err(NeverSent));
    assert_eq!(log.rewind(4, at(0)), Err(NeverSent));
    log.ack(2).unwrap();
    // Nor takes an acknowledgement back.
    assert_eq!(log.rewind(1, at(0)), Err(NeverSent));
    assert_eq!(log.ack(1), Ok(()));
    log.rewind(2, at(0)).unwrap();
    assert_eq!(rest(&mut log), [3]);
}

#[test]
fn g09_remaining_time_is_written_anew_each_time_it_leaves() {
    let mut log = Log::default();
    let mut one = batch(1..=1, 20);
    one.stamps.push(Stamp {
        at: HEADER + 4,
        deadline: at(5_000_000),
    });
    log.push(one, at(1_000_000));
    let field = |log: &Log| unwritten(log)[HEADER + 4..HEADER + 12].to_vec();
    assert_eq!(field(&log), encode_remaining(Duration::from_millis(4)));
    log.wrote(7);
    log.rewind(0, at(2_000_000)).unwrap();
    assert_eq!(field(&log), encode_remaining(Duration::from_millis(3)));
    log.rewind(0, at(9_000_000)).unwrap();
    assert_eq!(field(&log), encode_remaining(Duration::ZERO));
}

#[test]
fn a_frame_that_nobody_wants_keeps_its_place() {
    let mut one = batch(1..=2, 20);
    void(&mut one.bytes, 0);
    let (frame, len) = frame_at(&one.bytes).unwrap();
    assert_eq!((frame.kind, frame.sequence), (Kind::Void, 1));
    let (frame, _) = frame_at(&one.bytes[len..]).unwrap();
    assert_eq!((frame.kind, frame.sequence), (Kind::Tell, 2));
}

#[test]
fn g06_a_large_tell_is_known_by_its_last_piece() {
    let mut log = Log::default();
    let tell = |slot| Some(LargeTell { slot, key: None });
    for last in 1..=6 {
        let mut batch = batch(last..=last, 10);
        batch.tell = if last % 3 == 0 { tell(7) } else { None };
        log.push(batch, at(0));
    }
    log.wrote(unwritten(&log).len());
    log.ack(4).unwrap();
    let mut seen = Vec::new();
    log.take_unacked(|frame, tell| seen.push((frame.correlation, tell.cloned())));
    assert_eq!(seen, [(5, None), (6, tell(7))]);
    // What comes in the meantime is handed out by the next.
    log.push(batch(7..=7, 10), at(0));
    seen.clear();
    log.take_unacked(|frame, tell| seen.push((frame.correlation, tell.cloned())));
    assert_eq!(seen, [(7, None)]);
}

#[derive(Debug, Clone)]
enum Step {
    Push(u64, usize),
    PushSplit(u64, usize),
    Write(usize),
    Ack(u64),
    Rewind,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1..4_u64, 0..20_000_usize).prop_map(|(frames, body)| Step::Push(frames, body)),
        (1..4_u64, 0..20_000_usize).prop_map(|(frames, body)| Step::PushSplit(frames, body)),
        (1..40_000_usize).prop_map(Step::Write),
        (0..6_u64).prop_map(Step::Ack),
        Just(Step::Rewind),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// Against a model: the other side counts what arrives whole, acknowledges some of it, and after each broken
    /// connection says how much it has.
    #[test]
    fn g32_each_frame_arrives_once_and_in_order(steps in steps()) {
        let mut log = Log::default();
        let (mut pushed, mut received, mut acked) = (0_u64, 0_u64, 0_u64);
        let mut stream = Vec::new();
        for step in steps {
            match step {
                Step::Push(frames, body) => {
                    log.push(batch(pushed + 1..=pushed + frames, body), at(0));
                    pushed += frames;
                }
                Step::PushSplit(frames, body) => {
                    log.push(split_batch(pushed + 1..=pushed + frames, body), at(0));
                    pushed += frames;
                }
                Step::Write(most) => {
                    let next = unwritten(&log);
                    let count = next.len().min(most);
                    stream.extend_from_slice(&next[..count]);
                    log.wrote(count);
                    let mut read = 0;
                    while let Some((frame, len)) = frame_at(&stream[read..]) {
                        received += 1;
                        prop_assert_eq!(frame.correlation, received);
                        prop_assert_eq!(frame.sequence, low(received));
                        read += len;
                    }
                    stream.drain(..read);
                }
                Step::Ack(less) => {
                    acked = acked.max(received.saturating_sub(less));
                    prop_assert_eq!(log.ack(acked), Ok(()));
                }
                Step::Rewind => {
                    stream.clear();
                    acked = received;
                    prop_assert_eq!(log.rewind(received, at(0)), Ok(()));
                }
            }
            let mut unacked = Vec::new();
            log.handed_out = 0;
            log.take_unacked(|frame, _| unacked.push(frame.correlation));
            prop_assert_eq!(unacked, (acked + 1..=pushed).collect::<Vec<_>>());
            log.take_unacked(|frame, _| panic!("{frame:?} a second time"));
        }
        log.rewind(received, at(0)).unwrap();
        prop_assert_eq!(rest(&mut log), (received + 1..=pushed).collect::<Vec<_>>());
    }
}
