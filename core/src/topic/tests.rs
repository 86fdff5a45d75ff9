//! Parts of a topic that need nothing around them: the buffer between publishers and readers.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use proptest::prelude::*;

use super::buffer::{After, Buffer, Item, Pushed, Took};
use super::message::Entry;
use super::*;

fn options(capacity: usize, policy: SlowSubscriber) -> SubscriberOptions {
    SubscriberOptions { capacity, policy }
}

fn push(buffer: &Buffer<u64>, sequence: u64, may_wait: bool) -> Pushed {
    let entry = Arc::new(Entry {
        subject: "a".into(),
        sequence,
        at: std::time::Duration::ZERO,
        key: None,
        value: sequence,
    });
    buffer.push(&entry, may_wait, &mut After::default())
}

/// Hands on what comes next, as a subscription does.
fn read(buffer: &Buffer<u64>, in_hand: &mut VecDeque<Item<u64>>) -> Option<TopicEvent<u64>> {
    if in_hand.is_empty() {
        let took = buffer.take(in_hand, &mut After::default());
        assert!(matches!(took, Took::Items | Took::Nothing));
    }
    let item = in_hand.pop_front()?;
    if item.is_message() {
        buffer.handed_on();
    }
    Some(item.into_event())
}

fn is_let_in(buffer: &Buffer<u64>, sequence: u64) -> bool {
    let cx = Context::from_waker(std::task::Waker::noop());
    buffer.poll_line(sequence, &cx) == Poll::Ready(())
}

#[test]
fn g28_who_waits_is_let_in_in_order_and_who_gives_up_leaves_a_gap_in_its_place() {
    let policy = SlowSubscriber::Wait(std::time::Duration::from_secs(1));
    let buffer = Buffer::new(options(1, policy));
    buffer.join();
    assert_eq!(push(&buffer, 1, true), Pushed::Stored);
    for sequence in 2..=5 {
        assert_eq!(push(&buffer, sequence, true), Pushed::InLine);
    }
    assert_eq!(push(&buffer, 6, false), Pushed::DroppedNewest);
    assert!(!buffer.give_up(3, &mut After::default()));
    assert!(!buffer.give_up(4, &mut After::default()));
    let mut in_hand = VecDeque::new();
    let mut next = || read(&buffer, &mut in_hand).map(|event| event.range());
    assert!(!is_let_in(&buffer, 2));
    assert_eq!(next(), Some((1, 1)));
    assert!(is_let_in(&buffer, 2) && !is_let_in(&buffer, 5));
    assert!(buffer.give_up(2, &mut After::default()), "it is in already");
    assert_eq!(next(), Some((2, 2)));
    assert!(is_let_in(&buffer, 5));
    assert_eq!(next(), Some((3, 4)));
    assert_eq!(next(), Some((5, 5)));
    assert_eq!(next(), Some((6, 6)));
    assert_eq!(next(), None);
    let tally = buffer.tally();
    assert_eq!((tally.delivered, tally.dropped), (3, 3));
}

proptest! {
    /// G27 and G28: whatever is read when, whoever waits or gives up, what a subscriber gets is every number once, in
    /// order, as a message or inside a gap that says how many it stands for; and the bound holds.
    #[test]
    fn g28_messages_and_gaps_cover_every_number_once(
        capacity in 1..70_usize,
        policy in 0..3_usize,
        steps in proptest::collection::vec((0..6_u8, any::<prop::sample::Index>()), 0..400),
    ) {
        let wait = SlowSubscriber::Wait(std::time::Duration::from_secs(1));
        let policy = [SlowSubscriber::DropOldest, SlowSubscriber::DropNewest, wait][policy];
        let buffer = Buffer::new(options(capacity, policy));
        buffer.join();
        let (mut published, mut seen, mut handed, mut missed) = (0, 0, 0, 0);
        let mut waiting: Vec<u64> = Vec::new();
        let mut in_hand = VecDeque::new();
        let mut check = |event: TopicEvent<u64>| {
            let (from, to) = event.range();
            assert_eq!(from, seen + 1);
            assert!(to >= from);
            seen = to;
            match event {
                TopicEvent::Message(_) => handed += 1,
                TopicEvent::Gap { missed: count, .. } => {
                    assert_eq!(count, Some(to - from + 1));
                    missed += to - from + 1;
                }
            }
        };
        for (step, index) in steps {
            match step {
                0..=3 => {
                    published += 1;
                    if push(&buffer, published, step > 0) == Pushed::InLine {
                        waiting.push(published);
                    }
                }
                4 if !waiting.is_empty() => {
                    let sequence = waiting.swap_remove(index.index(waiting.len()));
                    buffer.give_up(sequence, &mut After::default());
                }
                _ => read(&buffer, &mut in_hand).into_iter().for_each(&mut check),
            }
            waiting.retain(|sequence| !is_let_in(&buffer, *sequence));
            prop_assert!(buffer.len() <= capacity + waiting.len());
        }
        while let Some(event) = read(&buffer, &mut in_hand) {
            check(event);
        }
        prop_assert_eq!(seen, published);
        let tally = buffer.tally();
        prop_assert_eq!(tally.dropped, missed);
        prop_assert_eq!(handed + missed, published);
    }
}
