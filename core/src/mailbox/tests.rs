//! The mailbox against a model: a plain list with the rules written out.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;

/// Records that are plain numbers.
struct Numbers;

impl Kind for Numbers {
    type Use<'a> = &'a std::cell::RefCell<Vec<u32>>;
    type Done = ();
}

impl Record<Numbers> for u32 {
    fn consume(self, seen: &std::cell::RefCell<Vec<u32>>) {
        seen.borrow_mut().push(self);
    }
}

/// A sender in line for room.
type Waiting<'a> = Pin<Box<PushWaiting<'a, Numbers, u32>>>;

/// A mailbox with the loop's side of it: the batch.
struct Looped {
    mailbox: Mailbox<Numbers>,
    batch: std::cell::RefCell<Records<Numbers>>,
}

fn looped(capacity: usize, overflow: Overflow) -> Looped {
    Looped {
        mailbox: Mailbox::new(0, capacity, overflow),
        batch: Default::default(),
    }
}

impl Looped {
    /// What the loop does for one message, coming to rest when there is none.
    fn next(&self) -> Option<u32> {
        let mut batch = self.batch.borrow_mut();
        if batch.is_empty()
            && !matches!(
                self.mailbox.take_or_rest(&mut batch),
                Took::Batch | Took::LastBatch
            )
        {
            return None;
        }
        let seen = std::cell::RefCell::default();
        assert!(batch.consume_first(&seen).is_some());
        self.mailbox.handled(&batch);
        seen.take().pop()
    }
}

fn take(records: &mut Records<Numbers>) -> Vec<u32> {
    let seen = std::cell::RefCell::default();
    while records.consume_first(&seen).is_some() {}
    seen.take()
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
        let looped = looped(capacity, Overflow::Wait);
        let mailbox = &looped.mailbox;
        let mut cx = Context::from_waker(Waker::noop());
        let mut queued: VecDeque<(u32, bool)> = VecDeque::new();
        let mut waiters: Vec<(u32, Waiting<'_>)> = Vec::new();
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
                    prop_assert_eq!(looped.next(), expected);
                }
                Step::Wait => {
                    let mut waiting = Box::pin(mailbox.push_waiting(number));
                    match waiting.as_mut().poll(&mut cx) {
                        Poll::Ready(Ok(_)) => queued.push_back((number, true)),
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
            while let Some(message) = looped.next() {
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
    let looped = looped(4, Overflow::Wait);
    assert!(looped.mailbox.push(1_u32).is_ok());
    looped.mailbox.control(Control::Stop);
    assert_eq!(looped.mailbox.signal(), Some(Control::Stop));
    looped.mailbox.control(Control::Kill);
    assert_eq!(looped.mailbox.signal(), Some(Control::Kill));
    assert!(!looped.mailbox.is_quiet());
    looped.mailbox.clear_signals();
    assert_eq!(looped.mailbox.signal(), None);
    assert_eq!(looped.next(), Some(1));
}

#[test]
fn g03_drop_oldest_never_drops_what_has_room_of_its_own() {
    let looped = looped(1, Overflow::DropOldest);
    assert!(looped.mailbox.push_reserved(1_u32).is_ok());
    assert!(looped.mailbox.push(2_u32).is_ok());
    match looped.mailbox.push(3_u32) {
        Ok(Pushed {
            dropped: Dropped::Oldest(mut oldest),
            ..
        }) => assert_eq!(take(&mut oldest), [2]),
        _ => panic!("2 makes room for 3"),
    }
    assert_eq!(
        [looped.next(), looped.next(), looped.next()],
        [Some(1), Some(3), None]
    );
}

#[test]
fn g06_a_closed_mailbox_gives_everything_back() {
    let mailbox = Mailbox::<Numbers>::new(0, 1, Overflow::Wait);
    assert!(mailbox.push(1_u32).is_ok());
    let mut waiting = Box::pin(mailbox.push_waiting(2_u32));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert_eq!(take(&mut mailbox.close()), [1]);
    assert!(matches!(
        waiting.as_mut().poll(&mut cx),
        Poll::Ready(Err(Rejected::Closed(2)))
    ));
    assert!(matches!(mailbox.push(3_u32), Err(Rejected::Closed(3))));
    assert_eq!(mailbox.push_reserved(4_u32), Err(4));
}

#[test]
fn g03_the_bound_counts_what_is_left_of_the_batch() {
    let looped = looped(2, Overflow::Fail);
    assert!(looped.mailbox.push(1_u32).is_ok());
    assert!(looped.mailbox.push(2_u32).is_ok());
    // The loop takes both as its batch and handles one: one is left.
    assert_eq!(looped.next(), Some(1));
    assert!(looped.mailbox.push(3_u32).is_ok());
    assert!(matches!(looped.mailbox.push(4_u32), Err(Rejected::Full(4))));
    assert_eq!(looped.mailbox.state().len, 2);
}

#[test]
fn an_actor_is_scheduled_once_a_batch() {
    let looped = looped(10, Overflow::Wait);
    assert!(looped.mailbox.wake(), "an incarnation begins");
    assert_eq!(looped.next(), None);
    let schedules =
        |number: u32| matches!(looped.mailbox.push(number), Ok(pushed) if pushed.schedule);
    assert!(schedules(1));
    assert!(!schedules(2));
    assert_eq!(
        [looped.next(), looped.next(), looped.next()],
        [Some(1), Some(2), None]
    );
    assert!(schedules(3));
}

#[test]
fn a_loop_with_little_to_do_rests_in_advance() {
    let looped = looped(100, Overflow::Wait);
    assert!(looped.mailbox.wake());
    let schedules =
        |number: u32| matches!(looped.mailbox.push(number), Ok(pushed) if pushed.schedule);
    assert_eq!(looped.next(), None);
    assert!(schedules(1));
    assert!(!schedules(2));
    let mut batch = looped.batch.borrow_mut();
    assert_eq!(looped.mailbox.take_or_rest(&mut batch), Took::LastBatch);
    assert!(schedules(3), "the turn at hand won't look again");
    assert!(!schedules(4));
    assert_eq!(take(&mut batch), [1, 2]);
    // One that is fed from another thread is looked after until there is nothing left.
    drop(batch);
    let far = Mailbox::<Numbers>::new(7, 100, Overflow::Wait);
    assert!(far.wake());
    assert!(far.push(1_u32).is_ok());
    assert_eq!(far.take_or_rest(&mut Records::new()), Took::Batch);
}

#[test]
fn a_message_alone_does_not_run_an_actor_whose_handler_waits() {
    let looped = looped(10, Overflow::Wait);
    assert!(looped.mailbox.wake());
    assert!(looped.mailbox.rest(|| false));
    assert!(matches!(looped.mailbox.push(1_u32), Ok(pushed) if !pushed.schedule));
    assert!(looped.mailbox.control(Control::Kill), "a kill does");
    looped.mailbox.clear_signals();
    // A waker that fired while the loop was coming to rest keeps it going.
    assert!(!looped.mailbox.rest(|| true));
}
