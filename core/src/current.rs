//! What the code that runs now works on: the request whose handler is being polled.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::LocalBoxFuture;

use crate::clock::Instant;

thread_local! {
    static DEADLINE: RefCell<Option<Instant>> = const { RefCell::new(None) };
    static KILLING: Cell<bool> = const { Cell::new(false) };
}

/// The deadline of the request in hand: what a handler asks in turn inherits it (G9).
pub(crate) fn inherited_deadline() -> Option<Instant> {
    DEADLINE.with(|deadline| *deadline.borrow())
}

/// Polls a handler with its request's deadline in place.
pub(crate) struct WithDeadline<'a> {
    pub(crate) deadline: Option<Instant>,
    pub(crate) handler: LocalBoxFuture<'a, ()>,
}

/// Puts back what was there before, also when a handler panics.
struct Restore(Option<Instant>);

impl Drop for Restore {
    fn drop(&mut self) {
        DEADLINE.with(|deadline| *deadline.borrow_mut() = self.0);
    }
}

impl Future for WithDeadline<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let before = DEADLINE.with(|deadline| deadline.replace(self.deadline));
        let _restore = Restore(before);
        self.handler.as_mut().poll(cx)
    }
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
