use bytes::Bytes;
use callboard::Failure;

use super::*;
use crate::config::LinkConfig;
use crate::session::Session;
use crate::session::log::Batch;
use crate::session::outbox::{Leaves, Letter, Ticket};
use crate::wire::frame::{Kind, PIECE, put_frame};

struct Nobody;

impl Waits for Nobody {
    fn left(&self, _: Ticket) -> Leaves {
        Leaves::Yes
    }
    fn reply(&self, _: &Session, _: Ticket, _: u8, _: &[u8]) -> bool {
        false
    }
    fn fail(&self, _: &Session, _: Ticket, _: Failure) -> bool {
        false
    }
    fn end(&self, _: u64, _: &str) {}
    fn positional(&self, _: u64) {}
    fn target(&self) -> (&str, &'static str) {
        ("nobody", "nothing")
    }
}

fn outbox() -> Outbox {
    Outbox::new(&LinkConfig::default(), 1_000_000_000, 4)
}

fn open(ours: &mut Ours, outbox: &Outbox, acked: u64) -> Option<Given> {
    ours.open(Arc::new(Nobody), 1, 1_000_000_000, outbox, acked)
}

fn tell(outbox: &Outbox, slot: u32, body: usize) {
    let mut frame = Vec::new();
    put_frame(&mut frame, Kind::Tell, 0, 0, u32::MAX, |out| {
        out.extend(vec![0; body]);
    })
    .unwrap();
    let mut letter = Letter {
        slot,
        frame,
        rest: Bytes::new(),
        deadline: None,
        asked: None,
        is_told: false,
    };
    outbox.push(&mut letter).unwrap();
}

/// Takes all there is.
fn take(outbox: &Outbox) {
    let cx = std::task::Context::from_waker(std::task::Waker::noop());
    while outbox.take(&cx, Batch::default).is_some() {}
}

#[test]
fn g02_a_slot_is_given_anew_when_all_of_before_has_arrived_and_was_answered() {
    let (mut ours, outbox) = (Ours::default(), outbox());
    let given = |slot, turn| Some(Given { slot, turn });
    assert_eq!(open(&mut ours, &outbox, 0), given(0, 0));
    tell(&outbox, 0, 10);
    ours.give_back(0, 7, &outbox);
    // Neither is its tell acknowledged, nor its `Open` answered.
    assert_eq!(open(&mut ours, &outbox, 0), given(1, 0));
    assert_eq!(open(&mut ours, &outbox, 1), given(2, 0));
    assert!(ours.confirmed(0).is_some());
    assert_eq!(open(&mut ours, &outbox, 0), given(3, 0));
    assert_eq!(open(&mut ours, &outbox, 1), given(0, 7));
    // It is not answered again.
    ours.give_back(0, 9, &outbox);
    assert_eq!(open(&mut ours, &outbox, 1), given(4, 0));
}

#[test]
fn g02_a_slot_with_a_large_message_on_its_way_is_not_given_anew() {
    let (mut ours, outbox) = (Ours::default(), outbox());
    open(&mut ours, &outbox, 0).unwrap();
    ours.confirmed(0).unwrap();
    tell(&outbox, 0, 3 * PIECE);
    ours.give_back(0, 1, &outbox);
    // Its pieces have no numbers yet.
    assert_eq!(open(&mut ours, &outbox, 1_000).unwrap().slot, 1);
    take(&outbox);
    // Four pieces: acknowledged up to the third, and then the last.
    assert_eq!(open(&mut ours, &outbox, 3).unwrap().slot, 2);
    assert_eq!(open(&mut ours, &outbox, 4).unwrap().slot, 0);
}

#[test]
fn g34_a_session_has_so_many_slots_and_no_more() {
    let (mut ours, outbox) = (Ours::default(), outbox());
    for _ in 0..MOST_SLOTS {
        let slot = open(&mut ours, &outbox, 0).unwrap().slot;
        ours.confirmed(slot).unwrap();
    }
    assert_eq!(open(&mut ours, &outbox, 0), None);
    ours.give_back(77, 3, &outbox);
    let given = Given { slot: 77, turn: 3 };
    assert_eq!(open(&mut ours, &outbox, 0), Some(given));
    assert_eq!(open(&mut ours, &outbox, 0), None);
}
