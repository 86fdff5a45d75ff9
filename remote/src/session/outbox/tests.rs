use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use futures::FutureExt;
use parking_lot::Mutex;

use super::*;
use crate::wire::frame::{Kind, put_frame, split_frame};

const FRAME: usize = 10;
/// What one takes of the credit.
const COST: u64 = (HEADER + FRAME) as u64;

fn letter(slot: u32, number: u64) -> Letter {
    sized(slot, number, FRAME)
}

pub(super) fn sized(slot: u32, number: u64, body: usize) -> Letter {
    let mut frame = Vec::new();
    put_frame(&mut frame, Kind::Tell, 0, number, u32::MAX, |out| {
        out.extend(vec![0; body]);
    })
    .unwrap();
    Letter {
        slot,
        frame,
        rest: Bytes::new(),
        deadline: None,
        asked: None,
        is_told: false,
    }
}

fn outbox(window: u64) -> Outbox {
    let outbox = Outbox::new(&LinkConfig::default(), 1_000_000_000, 4);
    for lane in 0..2 {
        outbox.add_flow(window, lane);
    }
    outbox
}

fn now<F: Future>(future: F) -> Option<F::Output> {
    pin!(future).now_or_never()
}

/// Everything that can be taken, as kinds and correlations.
fn drain(outbox: &Outbox) -> Vec<(Kind, u64, u16)> {
    let mut frames = Vec::new();
    let mut last = 0;
    while let Some(Some(mut taken)) =
        now(poll_fn(|cx| Poll::Ready(outbox.take(cx, Batch::default))))
    {
        taken.decide(outbox);
        let whole = [&taken.batch.bytes[..], &taken.batch.rest[..]].concat();
        let mut rest = &whole[..];
        while let Some((frame, len)) = split_frame(rest, u32::MAX).unwrap() {
            last = u64::from(frame.sequence);
            frames.push((frame.kind, frame.correlation, frame.sequence));
            rest = &rest[len..];
        }
        assert_eq!(taken.batch.last, last);
    }
    frames
}

#[test]
fn g33_a_flow_without_credit_holds_back_its_own_senders_only() {
    let outbox = outbox(2 * COST);
    assert_eq!(outbox.push(&mut letter(0, 1)), Ok(()));
    assert_eq!(outbox.push(&mut letter(0, 2)), Ok(()));
    assert!(matches!(
        outbox.push(&mut letter(0, 3)),
        Err(NoRoom::Full(_))
    ));
    assert_eq!(outbox.push(&mut letter(1, 4)), Ok(()));
    assert!(outbox.push_answer(bare_answer(5)).is_ok());
    let sent: Vec<_> = drain(&outbox)
        .iter()
        .map(|(_, number, _)| *number)
        .collect();
    assert_eq!(sent, [1, 2, 4, 5]);
    // Taking gives no credit; the other side does.
    assert!(outbox.push(&mut letter(0, 3)).is_err());
    outbox.credit(0, 3 * COST);
    assert_eq!(outbox.push(&mut letter(0, 3)), Ok(()));
    assert!(outbox.push(&mut letter(0, 6)).is_err());
}

fn bare_answer(number: u64) -> Vec<u8> {
    crate::wire::frame::bare(Kind::Reply, number)
}

#[test]
fn g33_who_waits_goes_first_and_in_order() {
    let outbox = outbox(COST);
    outbox.push(&mut letter(0, 1)).unwrap();
    let (mut two, mut three) = (letter(0, 2), letter(0, 3));
    let mut second = pin!(outbox.push_waiting(&mut two));
    let mut third = pin!(outbox.push_waiting(&mut three));
    assert!(second.as_mut().now_or_never().is_none());
    assert!(third.as_mut().now_or_never().is_none());
    outbox.credit(0, 2 * COST);
    // Nobody overtakes, also where there is credit.
    assert!(outbox.push(&mut letter(0, 4)).is_err());
    assert!(third.as_mut().now_or_never().is_none());
    assert_eq!(second.as_mut().now_or_never(), Some(true));
    outbox.credit(0, 3 * COST);
    assert_eq!(third.as_mut().now_or_never(), Some(true));
    let sent: Vec<_> = drain(&outbox)
        .iter()
        .map(|(_, number, _)| *number)
        .collect();
    assert_eq!(sent, [1, 2, 3]);
}

#[test]
fn who_leaves_the_line_makes_room_for_the_next() {
    let outbox = outbox(COST);
    outbox.push(&mut letter(0, 1)).unwrap();
    let (mut two, mut three) = (letter(0, 2), letter(0, 3));
    let mut third = pin!(outbox.push_waiting(&mut three));
    {
        let mut second = pin!(outbox.push_waiting(&mut two));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
    }
    outbox.credit(0, 2 * COST);
    assert_eq!(third.as_mut().now_or_never(), Some(true));
    assert_eq!(outbox.inner.lock().waiting, 0);
}

#[test]
fn g33_a_large_message_goes_in_pieces_between_others_and_its_flow_stays_in_order() {
    let outbox = outbox(1_000_000_000);
    outbox.push(&mut sized(0, 1, 2 * PIECE + 5)).unwrap();
    // Behind it, of the same flow; and one of another.
    outbox.push(&mut letter(0, 2)).unwrap();
    outbox.push(&mut letter(1, 3)).unwrap();
    let frames = drain(&outbox);
    let kinds: Vec<_> = frames
        .iter()
        .map(|(kind, number, _)| (*kind, *number))
        .collect();
    let part = (Kind::Part, 1);
    assert_eq!(kinds, [(Kind::Tell, 3), part, part, part, (Kind::Tell, 2)]);
    let numbers: Vec<_> = frames.iter().map(|(_, _, number)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    // The lane is free again.
    outbox.push(&mut letter(0, 4)).unwrap();
    assert_eq!(drain(&outbox), [(Kind::Tell, 4, 6)]);
}

#[test]
fn g02_messages_of_all_types_to_one_receiver_stay_in_order() {
    let outbox = outbox(1_000_000_000);
    // The same receiver as flow 0, another type.
    let other = outbox.add_flow(1_000_000_000, 0);
    outbox.push(&mut sized(0, 1, PIECE + 5)).unwrap();
    outbox.push(&mut letter(other, 2)).unwrap();
    outbox.push(&mut letter(1, 3)).unwrap();
    let frames = drain(&outbox);
    let kinds: Vec<_> = frames.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, [Kind::Tell, Kind::Part, Kind::Part, Kind::Tell]);
    assert_eq!((frames[0].1, frames[3].1), (3, 2));
}

fn event(number: u64, body: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    put_frame(&mut frame, Kind::Event, 0, number, u32::MAX, |out| {
        out.extend(vec![0; body]);
    })
    .unwrap();
    frame
}

#[test]
fn g27_events_and_the_end_of_a_subscription_stay_in_order_behind_a_large_one() {
    let outbox = outbox(1);
    for (number, body) in [(1, PIECE + 5), (1, 10), (2, 10), (1, 2 * PIECE), (1, 20)] {
        assert_eq!(
            now(outbox.push_event(number, &event(number, body))),
            Some(true)
        );
    }
    let end = |number| crate::wire::frame::bare(Kind::Ended, number);
    assert_eq!(outbox.push_last(1, end(1)), Ok(()));
    assert_eq!(outbox.push_last(2, end(2)), Ok(()));
    let frames = drain(&outbox);
    let of = |wanted: u64| {
        let parts =
            |(kind, number, _): &&(Kind, u64, u16)| *kind == Kind::Part || *number == wanted;
        frames
            .iter()
            .filter(parts)
            .map(|frame| frame.0)
            .collect::<Vec<_>>()
    };
    let (event, part, ended) = (Kind::Event, Kind::Part, Kind::Ended);
    // Nobody else is held up.
    assert_eq!(of(2)[..2], [event, ended]);
    let first = frames
        .iter()
        .filter(|frame| frame.1 != 2 || frame.0 == part);
    let first: Vec<_> = first.map(|frame| frame.0).collect();
    assert_eq!(first, [part, part, event, part, part, part, event, ended]);
    assert_eq!(outbox.load().0, 0);
}

#[test]
fn g33_what_is_not_copied_arrives_whole_and_in_order() {
    for len in [PIECE / 2, 3 * PIECE + 7] {
        let outbox = outbox(1_000_000_000);
        let content: Vec<u8> = (0..=250).cycle().take(len).collect();
        let mut one = sized(0, 1, 4);
        one.rest = Bytes::from(content.clone());
        let body = u32::try_from(4 + len).unwrap();
        one.frame[..4].copy_from_slice(&body.to_be_bytes());
        outbox.push(&mut one).unwrap();
        outbox.push(&mut letter(0, 2)).unwrap();
        let mut whole = Vec::new();
        let mut behind = 0;
        while let Some(Some(taken)) =
            now(poll_fn(|cx| Poll::Ready(outbox.take(cx, Batch::default))))
        {
            let bytes = [&taken.batch.bytes[..], &taken.batch.rest[..]].concat();
            let mut rest = &bytes[..];
            while let Some((frame, taken)) = split_frame(rest, u32::MAX).unwrap() {
                match frame.kind {
                    Kind::Part => whole.extend_from_slice(frame.body),
                    _ if frame.correlation == 1 => whole.extend_from_slice(&rest[..taken]),
                    _ => behind += 1,
                }
                rest = &rest[taken..];
            }
        }
        assert_eq!(&whole[HEADER + 4..], &content[..]);
        assert_eq!(behind, 1);
        assert_eq!(outbox.load().0, 0);
    }
}

#[test]
fn g03_answers_need_no_room_but_are_bounded() {
    let config = LinkConfig {
        outbox: 1,
        unread_answers: 100,
        ..LinkConfig::default()
    };
    let outbox = Outbox::new(&config, 1, 4);
    for number in 0..6 {
        assert_eq!(outbox.push_answer(bare_answer(number)), Ok(()));
    }
    assert_eq!(outbox.push_answer(bare_answer(6)), Err(112));
}

/// Somebody who wants answers, or doesn't any more.
#[derive(Default)]
struct Asker {
    unwanted: bool,
    left: Mutex<Vec<Ticket>>,
}

impl Waits for Asker {
    fn left(&self, ticket: Ticket) -> Leaves {
        self.left.lock().push(ticket);
        if self.unwanted {
            Leaves::EndsHere
        } else {
            Leaves::Yes
        }
    }
    fn reply(&self, _: &Session, _: Ticket, _: u8, _: &[u8]) -> bool {
        true
    }
    fn fail(&self, _: &Session, _: Ticket, _: Failure) -> bool {
        true
    }
    fn end(&self, _: u64, _: &str) {}
    fn positional(&self, _: u64) {}
    fn target(&self) -> (&str, &'static str) {
        ("asker", "asked")
    }
}

#[test]
fn g08_an_ask_that_nobody_wants_never_leaves_and_costs_no_credit() {
    for body in [FRAME, 2 * PIECE] {
        let outbox = outbox(1);
        let asker = Arc::new(Asker {
            unwanted: true,
            ..Asker::default()
        });
        let mut ask = sized(0, 7, body);
        ask.asked = Some((Arc::clone(&asker) as _, 7));
        outbox.push(&mut ask).unwrap();
        assert!(outbox.push(&mut letter(0, 8)).is_err());
        let frames = drain(&outbox);
        assert_eq!(*asker.left.lock(), [7]);
        assert!(
            frames.iter().all(|(kind, ..)| *kind == Kind::Void),
            "{frames:?}"
        );
        assert_eq!(frames.len(), 1);
        // As if it had never been.
        outbox.push(&mut letter(0, 8)).unwrap();
        assert_eq!(drain(&outbox), [(Kind::Tell, 8, 2)]);
        assert_eq!(outbox.load(), (0, 0));
    }
}

#[test]
fn g33_credit_that_an_unwanted_ask_gave_back_wakes_who_waits_for_it() {
    let outbox = outbox(COST);
    let unwanted = Arc::new(Asker {
        unwanted: true,
        ..Asker::default()
    });
    let mut ask = letter(0, 7);
    ask.asked = Some((unwanted as _, 7));
    outbox.push(&mut ask).unwrap();
    let mut two = letter(0, 8);
    let mut waiting = pin!(outbox.push_waiting(&mut two));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    let mut taken = now(poll_fn(|cx| Poll::Ready(outbox.take(cx, Batch::default))))
        .flatten()
        .unwrap();
    // It looks in between.
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    let before = woken.0.load(Ordering::Relaxed);
    taken.decide(&outbox);
    assert!(woken.0.load(Ordering::Relaxed) > before);
    assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(true));
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn g09_an_unwanted_ask_takes_no_remaining_time_from_the_next() {
    let outbox = outbox(1_000);
    let unwanted = Arc::new(Asker {
        unwanted: true,
        ..Asker::default()
    });
    let mut ask = sized(0, 7, 4);
    ask.asked = Some((unwanted as _, 7));
    outbox.push(&mut ask).unwrap();
    let mut timed = sized(0, 8, 20);
    timed.deadline = Some(Instant::FAR);
    outbox.push(&mut timed).unwrap();
    let mut taken = now(poll_fn(|cx| Poll::Ready(outbox.take(cx, Batch::default))))
        .flatten()
        .unwrap();
    taken.decide(&outbox);
    let stamps: Vec<_> = taken.batch.stamps.iter().map(|stamp| stamp.at).collect();
    assert_eq!(stamps, [HEADER + 4 + HEADER + REMAINING.start]);
}

#[test]
fn g07_an_ask_is_told_that_it_leaves_once_whatever_changed_since_it_was_prepared() {
    for (is_told, is_flowing) in [(false, false), (false, true), (true, false), (true, true)] {
        let outbox = outbox(1_000);
        let asker = Arc::new(Asker::default());
        let mut ask = letter(0, 7);
        ask.asked = Some((Arc::clone(&asker) as _, 7));
        ask.is_told = is_told;
        outbox.set_flowing(is_flowing);
        outbox.push(&mut ask).unwrap();
        assert_eq!(drain(&outbox), [(Kind::Tell, 7, 1)]);
        assert_eq!(asker.left.lock().is_empty(), is_told);
    }
}

#[test]
fn g09_asks_in_flight_are_bounded() {
    let outbox = outbox(1_000);
    let asker = Arc::new(Asker::default());
    let ask = |number| {
        let mut ask = letter(0, number);
        ask.asked = Some((Arc::clone(&asker) as _, number));
        outbox.push(&mut ask)
    };
    for number in 0..4 {
        assert_eq!(ask(number), Ok(()));
    }
    assert!(matches!(ask(4), Err(NoRoom::Full(_))));
    // Tells go on.
    assert_eq!(outbox.push(&mut letter(0, 9)), Ok(()));
    outbox.ask_ended();
    assert_eq!(ask(5), Ok(()));
}

#[test]
fn a_closed_outbox_turns_everybody_away_and_hands_out_what_was_left() {
    let outbox = outbox(COST);
    outbox.push(&mut letter(0, 1)).unwrap();
    let mut two = letter(0, 2);
    let mut second = pin!(outbox.push_waiting(&mut two));
    assert!(second.as_mut().now_or_never().is_none());
    let left = outbox.close();
    assert_eq!(
        split_frame(&left.bytes, u32::MAX)
            .unwrap()
            .unwrap()
            .0
            .correlation,
        1
    );
    assert_eq!(second.as_mut().now_or_never(), Some(false));
    assert_eq!(outbox.push(&mut letter(0, 3)), Err(NoRoom::Closed));
}

#[test]
fn g32_numbers_in_headers_go_round_without_zero() {
    assert_eq!(
        [low(1), low(65_535), low(65_536), low(131_071)],
        [1, 65_535, 1, 1]
    );
}
