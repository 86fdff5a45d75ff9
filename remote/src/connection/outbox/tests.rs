use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use callboard::{FailureKind, Verdict};
use futures::FutureExt;

use super::*;
use crate::wire::frame::Header;

#[derive(Default)]
struct Ask {
    unwanted: AtomicBool,
    handed_over: AtomicBool,
    failed: Mutex<Option<Failure>>,
}

impl Pending for Ask {
    fn hand_over(&self) -> bool {
        self.handed_over.store(true, Ordering::SeqCst);
        !self.unwanted.load(Ordering::SeqCst)
    }

    fn reply(&self, _payload: &[u8]) {}

    fn fail(&self, failure: Failure) {
        *self.failed.lock() = Some(failure);
    }

    fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::SeqCst)
    }
}

struct Bench {
    outbox: Outbox,
    end: Arc<EndSignal>,
    lost: Arc<AtomicU64>,
    clock: Clock,
}

fn bench(config: &LinkConfig) -> Bench {
    let end = Arc::new(EndSignal::default());
    let lost = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&lost);
    let outbox = Outbox::new(config, Arc::clone(&end), move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let clock = Clock::manual();
    Bench {
        outbox,
        end,
        lost,
        clock,
    }
}

impl Bench {
    /// Takes one batch; the numbers of its frames.
    fn take(&self) -> Vec<u64> {
        let mut buffer = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        let _ = self.outbox.poll_take(&mut cx, &self.clock, &mut buffer);
        let mut numbers = Vec::new();
        let mut rest = &buffer[..];
        while let Some((header, after)) = rest.split_first_chunk::<HEADER>() {
            let header = Header::decode(header, u32::MAX).unwrap();
            numbers.push(header.correlation);
            rest = &after[header.len as usize..];
        }
        numbers
    }

    fn ask(&self, number: u64) -> Arc<Ask> {
        let ask = Arc::new(Ask::default());
        let cargo = Cargo::Ask(number, Arc::clone(&ask) as _);
        self.outbox.push(&mut queued(number, cargo)).unwrap();
        ask
    }
}

fn queued(number: u64, cargo: Cargo) -> Option<Queued> {
    let mut frame = Vec::new();
    crate::wire::frame::put_frame(&mut frame, Kind::Ask, 0, number, u32::MAX, |out| {
        out.extend([0; 84]);
    })
    .unwrap();
    Some(Queued {
        frame,
        deadline: None,
        cargo,
    })
}

fn tell() -> Cargo {
    Cargo::Tell {
        target: "t".into(),
        message_type: "T",
        key: None,
    }
}

#[test]
fn g33_control_frames_overtake_and_the_rest_keeps_its_order() {
    let bench = bench(&LinkConfig::default());
    for number in 1..=3 {
        bench.ask(number);
    }
    bench.outbox.push_control(bare(Kind::Ping, 99));
    assert_eq!(bench.take(), [99, 1, 2, 3]);
    assert_eq!(bench.take(), [] as [u64; 0]);
    assert_eq!(bench.outbox.load(), (0, 3));
}

#[test]
fn g09_an_ask_withdrawn_before_its_frame_left_never_leaves() {
    let bench = bench(&LinkConfig::default());
    let first = bench.ask(1);
    bench.ask(2);
    bench.outbox.withdraw(1);
    assert_eq!(bench.take(), [2]);
    assert!(!first.is_handed_over());
    // The one that left is followed by its cancel frame.
    bench.outbox.withdraw(2);
    assert_eq!(bench.take(), [2]);
    assert_eq!(bench.outbox.load(), (0, 0));
}

#[test]
fn an_ask_that_nobody_wants_when_its_turn_comes_does_not_leave() {
    let bench = bench(&LinkConfig::default());
    bench.ask(1).unwanted.store(true, Ordering::SeqCst);
    bench.ask(2);
    assert_eq!(bench.take(), [2]);
    assert_eq!(bench.outbox.load(), (0, 1));
}

#[test]
fn g09_what_expires_in_the_outbox_does_not_leave() {
    let bench = bench(&LinkConfig::default());
    let due = bench.clock.now() + Duration::from_secs(1);
    let ask = Arc::new(Ask::default());
    for cargo in [Cargo::Ask(1, Arc::clone(&ask) as _), tell()] {
        let mut queued = queued(1, cargo);
        queued.as_mut().unwrap().deadline = Some(due);
        bench.outbox.push(&mut queued).unwrap();
    }
    bench.clock.advance_to(due);
    assert_eq!(bench.take(), [] as [u64; 0]);
    let failure = ask.failed.lock().take().unwrap();
    assert_eq!(failure.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(failure.verdict(), Verdict::NotSent);
    assert_eq!(bench.lost.load(Ordering::SeqCst), 1);
    assert_eq!(bench.outbox.load(), (0, 0));
}

#[test]
fn g09_remaining_time_is_written_when_the_frame_leaves() {
    let bench = bench(&LinkConfig::default());
    let mut queued = queued(1, tell());
    queued.as_mut().unwrap().deadline = Some(bench.clock.now() + Duration::from_secs(3));
    bench.outbox.push(&mut queued).unwrap();
    bench.clock.advance_to(Instant::from_nanos(1_000_000_000));
    let mut buffer = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(
        bench
            .outbox
            .poll_take(&mut cx, &bench.clock, &mut buffer)
            .is_ready()
    );
    assert_eq!(buffer[HEADER..HEADER + 8], 2_000_000_u64.to_be_bytes());
}

#[test]
fn g03_who_waits_for_room_is_served_in_order_and_never_overtaken() {
    let config = LinkConfig {
        outbox: 150,
        ..LinkConfig::default()
    };
    let bench = bench(&config);
    bench.ask(1);
    bench.ask(2);
    let (mut third, mut fourth) = (queued(3, tell()), queued(4, tell()));
    let mut third = Box::pin(bench.outbox.push_waiting(&mut third));
    let mut fourth = Box::pin(bench.outbox.push_waiting(&mut fourth));
    assert_eq!(third.as_mut().now_or_never(), None);
    assert_eq!(fourth.as_mut().now_or_never(), None);
    assert_eq!(bench.take(), [1, 2]);
    let mut fifth = queued(5, tell());
    assert_eq!(bench.outbox.push(&mut fifth), Err(NoRoom::Full));
    assert_eq!(fourth.as_mut().now_or_never(), None);
    // Who leaves the line gives its turn to the next.
    drop(third);
    assert_eq!(fourth.as_mut().now_or_never(), Some(true));
    assert_eq!(bench.outbox.push(&mut fifth), Ok(()));
    assert_eq!(bench.take(), [4, 5]);
}

#[test]
fn g03_asks_are_bounded_apart_from_bytes() {
    let config = LinkConfig {
        in_flight: 2,
        ..LinkConfig::default()
    };
    let bench = bench(&config);
    bench.ask(1);
    bench.ask(2);
    let cargo = || Cargo::Ask(3, Arc::new(Ask::default()) as _);
    let mut third = queued(3, cargo());
    assert_eq!(bench.outbox.push(&mut third), Err(NoRoom::Full));
    assert_eq!(bench.outbox.push(&mut queued(4, tell())), Ok(()));
    assert!(bench.outbox.take_ask(1).is_some());
    assert_eq!(bench.outbox.push(&mut third), Ok(()));
}

#[test]
fn g03_a_peer_that_leaves_too_many_answers_unread_is_cut_off() {
    let config = LinkConfig {
        unread_answers: 1_000,
        ..LinkConfig::default()
    };
    let bench = bench(&config);
    for _ in 0..10 {
        bench.outbox.push_answer(vec![0; 100]);
    }
    assert_eq!(bench.end.wait().now_or_never(), None);
    bench.outbox.push_answer(vec![0; 100]);
    let ended = bench.end.wait().now_or_never();
    assert_eq!(ended, Some(LinkErrorKind::Unread(1_100)));
}

#[test]
fn g07_closing_hands_out_what_is_left_and_turns_away_who_waits() {
    let config = LinkConfig {
        outbox: 150,
        ..LinkConfig::default()
    };
    let bench = bench(&config);
    let gone = bench.ask(1);
    assert_eq!(bench.take(), [1]);
    let waiting = bench.ask(2);
    bench.outbox.push(&mut queued(3, tell())).unwrap();
    let mut fourth = queued(4, tell());
    let mut push = Box::pin(bench.outbox.push_waiting(&mut fourth));
    assert_eq!(push.as_mut().now_or_never(), None);
    let left = bench.outbox.close();
    assert_eq!(left.asks.len(), 2);
    assert!(gone.is_handed_over() && !waiting.is_handed_over());
    assert_eq!(left.tells.len(), 1);
    assert_eq!(push.as_mut().now_or_never(), Some(false));
    drop(push);
    assert!(fourth.is_some());
    assert_eq!(bench.outbox.push(&mut fourth), Err(NoRoom::Closed));
    bench.outbox.push_answer(vec![0; 100]);
    assert_eq!(bench.outbox.load(), (0, 0));
}
