//! What the code that runs now works on: what its request hands down, and how deep it is in hand-offs.

use std::cell::Cell;

use crate::clock::Instant;
use crate::envelope::Meta;

/// How many bytes of stack hand-offs may take in a row.
const STACK: usize = 128 * 1_024;
/// How many hand-offs in a row before one goes through the run queue, so that a task that asks in a loop
/// lets others run.
const STREAK: u32 = 64;

/// What the request in hand hands down to what is asked in turn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Inherited {
    deadline: Option<Instant>,
    caller_retries: bool,
}

impl Inherited {
    const NOTHING: Inherited = Inherited {
        deadline: None,
        caller_retries: false,
    };

    #[inline]
    pub(crate) fn of(meta: &Meta) -> Self {
        Inherited {
            deadline: meta.deadline,
            caller_retries: meta.caller_retries(),
        }
    }
}

thread_local! {
    static REQUEST: Cell<Inherited> = const { Cell::new(Inherited::NOTHING) };
    static KILLING: Cell<bool> = const { Cell::new(false) };
    /// The stack address where the first of the hand-offs that are running began; 0 if none is.
    static BASE: Cell<usize> = const { Cell::new(0) };
    static IN_A_ROW: Cell<u32> = const { Cell::new(0) };
}

/// The deadline of the request in hand: what a handler asks in turn inherits it (G9).
#[inline]
pub(crate) fn inherited_deadline() -> Option<Instant> {
    REQUEST.get().deadline
}

/// Whether whoever asked for the request in hand retries: what a handler asks in turn says so too (G18).
#[inline]
pub(crate) fn caller_retries() -> bool {
    REQUEST.get().caller_retries
}

/// Sets the request in hand, and returns the one before.
#[inline]
pub(crate) fn set_request(request: Inherited) -> Inherited {
    REQUEST.replace(request)
}

/// Runs `drop_it`, which drops a handler because its actor is being killed.
pub(crate) fn killing(drop_it: impl FnOnce()) {
    let before = KILLING.with(|killing| killing.replace(true));
    drop_it();
    KILLING.with(|killing| killing.set(before));
}

/// Whether what is being dropped is dropped because of a kill.
pub(crate) fn is_killing() -> bool {
    KILLING.with(Cell::get)
}

/// Counting hand-offs in a row starts again: others have had their turn.
#[inline]
pub(crate) fn reset_streak() {
    IN_A_ROW.with(|streak| streak.set(0));
}

/// One level of hand-off on this thread's stack.
pub(crate) struct HandOff {
    outermost: bool,
}

impl HandOff {
    /// Goes a level deeper, if stack and streak allow.
    #[inline]
    pub(crate) fn enter() -> Option<Self> {
        let in_a_row = IN_A_ROW.with(Cell::get);
        if in_a_row >= STREAK {
            reset_streak();
            return None;
        }
        let marker = 0_u8;
        let here = std::ptr::from_ref(&marker).addr();
        let base = BASE.with(Cell::get);
        if base != 0 && base.abs_diff(here) > STACK {
            return None;
        }
        IN_A_ROW.with(|streak| streak.set(in_a_row + 1));
        if base == 0 {
            BASE.with(|base| base.set(here));
        }
        Some(HandOff {
            outermost: base == 0,
        })
    }
}

impl Drop for HandOff {
    #[inline]
    fn drop(&mut self) {
        if self.outermost {
            BASE.with(|base| base.set(0));
        }
    }
}
