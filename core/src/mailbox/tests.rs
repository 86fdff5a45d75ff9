//! The mailbox against a model: a plain list with the rules written out.

use std::collections::VecDeque;
use std::future::Future;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;

fn next(mailbox: &Mailbox<u32>) -> Option<u32> {
    match mailbox.poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Next::Message(message)) => Some(message),
        _ => None,
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push,
    Reserved,
    Take,
    Wait,
    GiveUp(usize),
    PollWaiter(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Push),
        1 => Just(Step::Reserved),
        4 => Just(Step::Take),
        2 => Just(Step::Wait),
        1 => (0..8_usize).prop_map(Step::GiveUp),
        3 => (0..8_usize).prop_map(Step::PollWaiter),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    /// G3 and G2: never more than the bound, nothing lost, nothing twice, first in first out, and those
    /// who wait get room in the order in which they came.
    #[test]
    fn g03_the_mailbox_behaves_like_its_model(capacity in 1..5_usize, steps in steps()) {
        let mailbox = Mailbox::new(capacity, Overflow::Wait);
        let mut cx = Context::from_waker(Waker::noop());
        let mut queued: VecDeque<(u32, bool)> = VecDeque::new();
        let mut waiters: Vec<(u32, Pin<Box<PushWaiting<'_, u32>>>)> = Vec::new();
        let mut number = 0;
        for step in steps {
            number += 1;
            match step {
                Step::Push => match mailbox.push(number) {
                    Ok(_) => queued.push_back((number, true)),
                    Err(Rejected::MustWait(back)) => prop_assert_eq!(back, number),
                    Err(_) => prop_assert!(false, "an open waiting mailbox only makes wait"),
                },
                Step::Reserved => {
                    prop_assert!(mailbox.push_reserved(number).is_ok());
                    queued.push_back((number, false));
                }
                Step::Take => {
                    let expected = queued.pop_front().map(|(message, _)| message);
                    prop_assert_eq!(next(&mailbox), expected);
                }
                Step::Wait => {
                    let mut waiting = Box::pin(mailbox.push_waiting(number));
                    match waiting.as_mut().poll(&mut cx) {
                        Poll::Ready(Ok(())) => queued.push_back((number, true)),
                        Poll::Ready(Err(_)) => prop_assert!(false, "open"),
                        Poll::Pending => waiters.push((number, waiting)),
                    }
                }
                Step::GiveUp(index) if index < waiters.len() => drop(waiters.remove(index)),
                Step::PollWaiter(index) if index < waiters.len() => {
                    if waiters[index].1.as_mut().poll(&mut cx).is_ready() {
                        let (message, _) = waiters.remove(index);
                        queued.push_back((message, true));
                    }
                }
                Step::GiveUp(_) | Step::PollWaiter(_) => {}
            }
            let counted = queued.iter().filter(|(_, counted)| *counted).count();
            prop_assert!(counted <= capacity);
            prop_assert_eq!(mailbox.state().len, queued.len());
        }
        // With room again, everyone who still waits gets in, the first first.
        let mut left: Vec<u32> = Vec::new();
        while !waiters.is_empty() || !queued.is_empty() {
            while let Some(message) = next(&mailbox) {
                prop_assert_eq!(queued.pop_front().map(|(message, _)| message), Some(message));
            }
            if waiters.is_empty() {
                break;
            }
            let (message, mut waiting) = waiters.remove(0);
            prop_assert!(waiting.as_mut().poll(&mut cx).is_ready());
            left.push(message);
            queued.push_back((message, true));
        }
        prop_assert!(left.is_sorted());
    }
}

#[test]
fn g04_control_comes_before_messages_and_a_kill_before_a_stop() {
    let mailbox = Mailbox::new(4, Overflow::Wait);
    assert!(mailbox.push(1).is_ok());
    mailbox.control(Control::Stop);
    mailbox.control(Control::Kill);
    let mut cx = Context::from_waker(Waker::noop());
    let mut seen = Vec::new();
    while let Poll::Ready(next) = mailbox.poll_next(&mut cx) {
        seen.push(match next {
            Next::Control(control) => format!("{control:?}"),
            Next::Message(message) => message.to_string(),
            Next::Drained => "drained".to_owned(),
        });
    }
    assert_eq!(seen, ["Kill", "Stop", "1"]);
}

#[test]
fn g03_drop_oldest_never_drops_what_has_room_of_its_own() {
    let mailbox = Mailbox::new(1, Overflow::DropOldest);
    assert!(mailbox.push_reserved(1).is_ok());
    assert!(mailbox.push(2).is_ok());
    assert!(matches!(mailbox.push(3), Ok(Dropped::Oldest(2))));
    assert_eq!(
        [next(&mailbox), next(&mailbox), next(&mailbox)],
        [Some(1), Some(3), None]
    );
}

#[test]
fn g06_a_closed_mailbox_gives_everything_back() {
    let mailbox = Mailbox::new(1, Overflow::Wait);
    assert!(mailbox.push(1).is_ok());
    let mut waiting = Box::pin(mailbox.push_waiting(2));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert_eq!(mailbox.close(), [1]);
    assert!(matches!(
        waiting.as_mut().poll(&mut cx),
        Poll::Ready(Err(Rejected::Closed(2)))
    ));
    assert!(matches!(mailbox.push(3), Err(Rejected::Closed(3))));
    assert_eq!(mailbox.push_reserved(4), Err(4));
}
