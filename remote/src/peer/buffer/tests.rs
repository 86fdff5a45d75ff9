use futures::FutureExt;
use proptest::prelude::*;

use super::*;

const FIRST: Incarnation = Incarnation(1);
const SECOND: Incarnation = Incarnation(2);

fn buffer(capacity: usize, policy: SlowSubscriber) -> Buffer<u64> {
    let buffer = Buffer::new(SubscriberOptions { capacity, policy });
    assert_eq!(buffer.confirmed(FIRST, 0), Kept::All);
    buffer
}

fn next(buffer: &Buffer<u64>) -> Option<RemoteEvent<u64>> {
    std::future::poll_fn(|cx| buffer.poll_next(cx))
        .now_or_never()
        .flatten()
}

fn all(buffer: &Buffer<u64>) -> Vec<RemoteEvent<u64>> {
    std::iter::from_fn(|| next(buffer)).collect()
}

fn message(sequence: u64) -> RemoteEvent<u64> {
    RemoteEvent::Message {
        subject: "a".into(),
        sequence,
        value: sequence,
    }
}

#[test]
fn g28_what_was_missed_between_two_connections_is_an_exact_gap() {
    let buffer = buffer(8, SlowSubscriber::DropOldest);
    buffer.message("a", 3, 3).unwrap();
    assert_eq!(buffer.confirmed(FIRST, 3), Kept::All);
    buffer.message("a", 4, 4).unwrap();
    assert_eq!(buffer.confirmed(FIRST, 9), Kept::Missed);
    buffer.message("a", 10, 10).unwrap();
    let gap = RemoteEvent::Gap { from: 5, to: 9 };
    assert_eq!(all(&buffer), [message(3), message(4), gap, message(10)]);
}

#[test]
fn g28_a_topic_that_counts_anew_is_told_apart_from_a_gap() {
    let buffer = buffer(8, SlowSubscriber::DropOldest);
    buffer.message("a", 7, 7).unwrap();
    assert_eq!(buffer.confirmed(SECOND, 9), Kept::Missed);
    buffer.message("a", 10, 10).unwrap();
    // The same start of the node, and smaller numbers: the topic alone was started again.
    assert_eq!(buffer.confirmed(SECOND, 2), Kept::Missed);
    assert_eq!(
        all(&buffer),
        [
            message(7),
            RemoteEvent::Restarted { missed: 9 },
            message(10),
            RemoteEvent::Restarted { missed: 2 }
        ]
    );
}

#[test]
fn g36_numbers_that_cannot_follow_are_refused() {
    let fresh = Buffer::new(SubscriberOptions::default());
    assert_eq!(fresh.message("a", 1, 1), Err(OutOfOrder));
    let buffer = buffer(8, SlowSubscriber::DropOldest);
    buffer.message("a", 5, 5).unwrap();
    assert_eq!(buffer.message("a", 5, 5), Err(OutOfOrder));
    assert_eq!(buffer.gap(3, 9), Err(OutOfOrder));
    assert_eq!(buffer.gap(u64::MAX, u64::MAX), Ok(()));
    assert_eq!(buffer.message("a", u64::MAX, 1), Err(OutOfOrder));
}

#[test]
fn g03_notices_alone_do_not_grow_without_bound() {
    let buffer = buffer(2, SlowSubscriber::DropOldest);
    for n in 0..1_000 {
        buffer.confirmed(Incarnation(n + 2), 1);
        buffer.gap(2, 3).unwrap();
    }
    assert!(all(&buffer).len() <= 16);
}

#[test]
fn disconnect_ends_after_the_gap() {
    let buffer = buffer(1, SlowSubscriber::Disconnect);
    assert_eq!(buffer.message("a", 1, 1), Ok(Kept::All));
    assert_eq!(buffer.message("a", 2, 2), Ok(Kept::Ended));
    buffer.end(Some(RemoteEvent::Restarted { missed: 0 }));
    assert_eq!(
        all(&buffer),
        [message(1), RemoteEvent::Gap { from: 2, to: 2 }]
    );
}

proptest! {
    /// Whatever is read when, each number comes once, in order, as a message or inside a gap.
    #[test]
    fn g28_messages_and_gaps_cover_every_number_once(
        capacity in 1..4_usize,
        newest in any::<bool>(),
        steps in proptest::collection::vec(0..4_u8, 0..60),
    ) {
        let policy = if newest { SlowSubscriber::DropNewest } else { SlowSubscriber::DropOldest };
        let buffer = buffer(capacity, policy);
        let (mut last, mut seen) = (0, 0);
        let mut check = |event| {
            let (from, to) = match event {
                RemoteEvent::Message { sequence, .. } => (sequence, sequence),
                RemoteEvent::Gap { from, to } => (from, to),
                other => panic!("{other:?}"),
            };
            assert_eq!(from, seen + 1);
            assert!(to >= from);
            seen = to;
        };
        for step in steps {
            match step {
                0 => {
                    if let Some(event) = next(&buffer) {
                        check(event);
                    }
                }
                1 => {
                    last += 2;
                    buffer.gap(last - 1, last).unwrap();
                }
                2 => {
                    last += 3;
                    buffer.confirmed(FIRST, last);
                }
                _ => {
                    last += 1;
                    buffer.message("a", last, last).unwrap();
                }
            }
            prop_assert!(buffer.len() <= capacity);
        }
        all(&buffer).into_iter().for_each(&mut check);
        prop_assert_eq!(seen, last);
    }
}

/// A message whose drop looks at the buffer that it was in.
struct Nosy(std::sync::Weak<Buffer<Nosy>>);

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(buffer) = self.0.upgrade() {
            assert!(buffer.len() < 100);
        }
    }
}

/// Under the buffer's lock that would never end.
#[test]
fn g28_what_many_restarts_drop_is_dropped_outside_of_the_lock() {
    let (capacity, policy) = (2, SlowSubscriber::DropOldest);
    let options = SubscriberOptions { capacity, policy };
    let buffer = std::sync::Arc::new(Buffer::new(options));
    for incarnation in 1..100 {
        buffer.confirmed(Incarnation(incarnation), 0);
        let value = Nosy(std::sync::Arc::downgrade(&buffer));
        assert!(buffer.message("a", 1, value).is_ok());
    }
    assert!(buffer.len() <= 2);
}
