//! What the code that runs now works on: what its request hands down, and how deep it is in hand-offs.

use std::cell::Cell;

use crate::clock::{Clock, Instant};
use crate::envelope::Meta;
use crate::id::ActorId;
use crate::route::AskTerms;
use crate::send::DEFAULT_LOCAL_DEADLINE;

/// How many bytes of stack hand-offs may take in a row.
const STACK: usize = 128 * 1_024;
/// How many hand-offs in a row before one goes through the run queue, so that a task that asks in a loop
/// lets others run.
const STREAK: u32 = 64;
/// How deep hand-offs can be: no deeper than the streak, and a turn below them.
const DEPTH: usize = STREAK as usize + 1;

/// What the request in hand hands down to what is asked in turn: its deadline (G9), and whether its caller
/// retries (G18). One word, because it is set for each message.
///
/// The deadline of an ask that was handed off may still be open: 30 s from when somebody first waits or
/// looks. Nothing but code that runs on the asker's stack lies between that and its sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inherited(u64);

/// The highest bit of the deadline's nanoseconds stands for "the caller retries": they count up to 292 years.
const RETRIES: u64 = 1 << 63;
const NO_DEADLINE: u64 = !RETRIES;
const OPEN: u64 = NO_DEADLINE - 1;
/// The latest deadline that can be written down; one later still is handed down as this one.
const LATEST: u64 = OPEN - 1;

impl Inherited {
    pub(crate) const NOTHING: Inherited = Inherited(NO_DEADLINE);

    #[inline]
    pub(crate) fn of(meta: &Meta) -> Self {
        Inherited::new(meta.deadline, meta.caller_retries())
    }

    #[inline]
    fn new(deadline: Option<Instant>, caller_retries: bool) -> Self {
        let nanos = match deadline {
            Some(deadline) => deadline.as_nanos().min(LATEST),
            None => NO_DEADLINE,
        };
        Inherited::with_mark(nanos, caller_retries)
    }

    #[inline]
    fn with_mark(nanos: u64, caller_retries: bool) -> Self {
        Inherited(nanos | if caller_retries { RETRIES } else { 0 })
    }

    /// What an ask hands down that says this of itself: its own deadline, or the default and what it inherits if
    /// that is due sooner; and that the caller retries, if it says so or inherits that. `None` if the deadline has
    /// passed already, or can't be written down.
    #[inline]
    pub(crate) fn of_ask(terms: AskTerms, clock: &Clock) -> Option<Self> {
        let request = request();
        let retries = terms.caller_retries() || request.caller_retries();
        if terms.deadline().is_none() && request.fixed_deadline().is_none() {
            return Some(Inherited::with_mark(OPEN, retries));
        }
        let deadline = fixed_deadline_of_ask(terms, request, clock)?;
        Some(Inherited::with_mark(deadline, retries))
    }

    /// The deadline; an open one is fixed now.
    #[inline]
    pub(crate) fn deadline(&mut self, clock: &Clock) -> Option<Instant> {
        match self.0 & !RETRIES {
            NO_DEADLINE => None,
            OPEN => {
                let deadline = clock.coarse_now() + DEFAULT_LOCAL_DEADLINE;
                *self = Inherited::new(Some(deadline), self.caller_retries());
                Some(deadline)
            }
            nanos => Some(Instant::from_nanos(nanos)),
        }
    }

    #[inline]
    pub(crate) fn caller_retries(self) -> bool {
        self.0 & RETRIES != 0
    }

    /// The deadline of one that has a fixed one. What has none, or an open one, is due in 292 years.
    #[inline]
    pub(crate) fn due(self) -> Instant {
        Instant::from_nanos(self.0 & !RETRIES)
    }

    /// The deadline, if it is fixed.
    #[inline]
    pub(crate) fn fixed_deadline(self) -> Option<Instant> {
        let nanos = self.0 & !RETRIES;
        (nanos <= LATEST).then(|| Instant::from_nanos(nanos))
    }
}

/// The deadline of such an ask, one that is no longer open.
fn fixed_deadline_of_ask(terms: AskTerms, request: Inherited, clock: &Clock) -> Option<u64> {
    let now = clock.coarse_now();
    let deadline = match (terms.deadline(), request.fixed_deadline()) {
        (Some(own), _) => own,
        (None, Some(inherited)) => inherited.min(now + DEFAULT_LOCAL_DEADLINE),
        (None, None) => now + DEFAULT_LOCAL_DEADLINE,
    };
    let nanos = deadline.as_nanos();
    (nanos <= LATEST && !clock.has_passed_by(now, deadline)).then_some(nanos)
}

thread_local! {
    static REQUEST: Cell<Inherited> = const { Cell::new(Inherited::NOTHING) };
    static KILLING: Cell<bool> = const { Cell::new(false) };
    /// The stack address where the first of the hand-offs that are running began; 0 if none is.
    static BASE: Cell<usize> = const { Cell::new(0) };
    static STACK_OF_ACTORS: Stack = const {
        Stack {
            depth: Cell::new(0),
            ids: [const { Cell::new(0) }; DEPTH],
        }
    };
    static ASKING: Cell<bool> = const { Cell::new(false) };
    static IN_A_ROW: Cell<u32> = const { Cell::new(0) };
    /// How many tells in a row the running code may send before others have a turn.
    static TELLS: Cell<u32> = const { Cell::new(BURST) };
}

/// How many tells one turn may send (G5): a task that only sends would never let its receivers run, and
/// what it sends would leave the cache before they do.
const BURST: u32 = 2_048;

/// Whether the running code may send another tell now; if not, it should give others a turn first.
#[inline]
pub(crate) fn may_tell() -> bool {
    TELLS.with(|left| {
        let may = left.get() > 0;
        left.set(if may { left.get() - 1 } else { BURST });
        may
    })
}

/// The deadline of the request that is being handled on this thread: what its handler asks in turn inherits it (G9).
/// `None` outside of handlers, and if it has none.
///
/// Asks look at this themselves. It is for who bounds a wait in some other way, such as a [`Route`](crate::Route), or
/// what stands for a queue elsewhere.
#[inline]
#[must_use]
pub fn inherited_deadline(clock: &Clock) -> Option<Instant> {
    let mut request = REQUEST.get();
    let deadline = request.deadline(clock);
    REQUEST.set(request);
    deadline
}

/// Whether whoever asked for the request in hand retries: what a handler asks in turn says so too (G18).
#[inline]
pub(crate) fn caller_retries() -> bool {
    REQUEST.get().caller_retries()
}

/// The request in hand.
#[inline]
pub(crate) fn request() -> Inherited {
    REQUEST.get()
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

/// Beside the id of an actor on the stack: who is below needn't wait for its handler to end, because that has
/// a responder, or because the message was only handed on. (There are never so many ids.)
const UNAWAITED: u64 = 1 << 63;

/// The actors whose handlers are on this thread's stack, the outermost first: each but the last has sent the
/// next one a message that is to be answered, by a hand-off.
struct Stack {
    depth: Cell<usize>,
    ids: [Cell<u64>; DEPTH],
}

impl Stack {
    fn running(&self) -> &[Cell<u64>] {
        &self.ids[..self.depth.get().min(DEPTH)]
    }

    /// Those of them that wait for the running one, and that one itself: from the last on that was asked by
    /// somebody who needn't wait for its handler.
    fn waiting(&self) -> &[Cell<u64>] {
        let running = self.running();
        let from = running.iter().rposition(|id| id.get() & UNAWAITED != 0);
        &running[from.unwrap_or(0)..]
    }

    #[inline]
    fn push(&self, actor: ActorId, awaited: bool) {
        let depth = self.depth.get();
        if let Some(place) = self.ids.get(depth) {
            let mark = if awaited { 0 } else { UNAWAITED };
            place.set(actor.as_u64() | mark);
        }
        self.depth.set(depth + 1);
    }

    #[inline]
    fn pop(&self) {
        self.depth.set(self.depth.get().saturating_sub(1));
    }
}

/// The turn of an actor begins.
#[inline]
pub(crate) fn begin_turn(actor: ActorId) {
    STACK_OF_ACTORS.with(|stack| {
        stack.depth.set(0);
        stack.push(actor, true);
    });
}

/// The turn of an actor is over.
#[inline]
pub(crate) fn end_turn() {
    STACK_OF_ACTORS.with(|stack| stack.depth.set(0));
}

/// The actor whose handler is running, if one is.
#[inline]
pub(crate) fn actor() -> Option<ActorId> {
    STACK_OF_ACTORS.with(|stack| {
        let id = stack.running().last()?;
        ActorId::from_u64(id.get() & !UNAWAITED)
    })
}

/// Whether the handler of that actor is running, or waits further down this thread's stack for the running one.
pub(crate) fn waits_here(actor: ActorId) -> bool {
    STACK_OF_ACTORS.with(|stack| {
        let mut waiting = stack.waiting().iter();
        waiting.any(|id| id.get() & !UNAWAITED == actor.as_u64())
    })
}

/// All actors of which that is so, the outermost first.
pub(crate) fn waiting_here() -> Vec<u64> {
    STACK_OF_ACTORS.with(|stack| {
        let ids = stack.waiting().iter();
        ids.map(|id| id.get() & !UNAWAITED).collect()
    })
}

/// Sends what somebody here asks and waits for.
pub(crate) fn asking<T>(send: impl FnOnce() -> T) -> T {
    ASKING.with(|asking| asking.set(true));
    let sent = send();
    ASKING.with(|asking| asking.set(false));
    sent
}

/// Whether what is being sent is what somebody here asks and waits for; once.
pub(crate) fn take_asking() -> bool {
    ASKING.with(|asking| asking.replace(false))
}

/// Counting tells and hand-offs in a row starts again: others have had their turn.
#[inline]
pub(crate) fn reset_streak() {
    IN_A_ROW.with(|streak| streak.set(0));
    TELLS.with(|left| left.set(BURST));
}

/// One level of hand-off on this thread's stack.
pub(crate) struct HandOff {
    outermost: bool,
}

impl HandOff {
    /// Goes a level deeper, to the handler of that actor, if stack and streak allow. Told is whether who is on
    /// top of the stack waits for that handler.
    #[inline]
    pub(crate) fn enter(actor: ActorId, awaited: bool) -> Option<Self> {
        let in_a_row = IN_A_ROW.with(Cell::get);
        if in_a_row >= STREAK {
            IN_A_ROW.with(|streak| streak.set(0));
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
        STACK_OF_ACTORS.with(|stack| stack.push(actor, awaited));
        Some(HandOff {
            outermost: base == 0,
        })
    }
}

impl Drop for HandOff {
    #[inline]
    fn drop(&mut self) {
        STACK_OF_ACTORS.with(Stack::pop);
        if self.outermost {
            BASE.with(|base| base.set(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    /// Points around those where the word for them changes, and some like those of programs.
    fn points() -> impl Strategy<Value = u64> {
        prop_oneof![
            1..200_000_000_000_u64,
            (LATEST - 3)..=(LATEST + 6),
            (u64::MAX - 3)..u64::MAX - 1,
        ]
    }

    proptest! {
        /// What goes the short way hands down what the long way does: the ask's own deadline, or the sooner of its
        /// default and what it inherits; and the mark, if one of the two has it. What is late doesn't go that way.
        #[test]
        fn g09_an_ask_hands_down_what_its_meta_would_say(
            now in 0..100_000_000_000_u64,
            own in option::of(points()),
            inherited in option::of(points()),
            marks in any::<(bool, bool)>(),
        ) {
            let clock = Clock::manual();
            clock.advance_to(Instant::from_nanos(now));
            let default = clock.now() + DEFAULT_LOCAL_DEADLINE;
            let request = Inherited::new(inherited.map(Instant::from_nanos), marks.0);
            let deadline = match (own, inherited) {
                (Some(own), _) => Instant::from_nanos(own),
                (None, Some(inherited)) => default.min(Instant::from_nanos(inherited.min(LATEST))),
                (None, None) => default,
            };
            let terms = match own {
                Some(own) => AskTerms::until(Instant::from_nanos(own), marks.1),
                None => AskTerms::by_default(marks.1),
            };
            let before = set_request(request);
            let handed = Inherited::of_ask(terms, &clock);
            // For routes that need it fixed, and with a default of their own.
            let resolved = terms.resolve(&clock, DEFAULT_LOCAL_DEADLINE);
            set_request(before);
            prop_assert_eq!(resolved, (deadline, marks.0 || marks.1));
            let writable = own.is_none_or(|own| own <= LATEST);
            prop_assert_eq!(handed.is_some(), writable && deadline > clock.now());
            if let Some(mut handed) = handed {
                // An open one is fixed when somebody looks, to the default from then on.
                clock.advance_to(clock.now() + Duration::from_nanos(7));
                let open = own.is_none() && inherited.is_none();
                let late = Duration::from_nanos(if open { 7 } else { 0 });
                prop_assert_eq!(handed.deadline(&clock), Some(deadline + late));
                prop_assert_eq!(handed.due(), deadline + late);
                prop_assert_eq!(handed.caller_retries(), marks.0 || marks.1);
            }
        }
    }

    #[test]
    fn g09_what_inherits_nothing_hands_nothing_down() {
        let clock = Clock::manual();
        let mut nothing = Inherited::NOTHING;
        assert_eq!(nothing, Inherited::of(&Meta::default()));
        assert_eq!(
            (nothing.deadline(&clock), nothing.caller_retries()),
            (None, false)
        );
        let mut marked = Inherited::new(None, true);
        assert_eq!(
            (marked.deadline(&clock), marked.caller_retries()),
            (None, true)
        );
    }
}
