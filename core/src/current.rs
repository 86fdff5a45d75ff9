//! What the code that runs now works on: the request whose handler is being polled.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::LocalBoxFuture;

use crate::clock::Instant;
use crate::envelope::Meta;

/// What the request in hand hands down to what is asked in turn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Inherited {
    deadline: Option<Instant>,
    caller_retries: bool,
}

thread_local! {
    static REQUEST: Cell<Inherited> = const { Cell::new(Inherited { deadline: None, caller_retries: false }) };
    static KILLING: Cell<bool> = const { Cell::new(false) };
}

/// The deadline of the request in hand: what a handler asks in turn inherits it (G9).
pub(crate) fn inherited_deadline() -> Option<Instant> {
    REQUEST.get().deadline
}

/// Whether whoever asked for the request in hand retries: what a handler asks in turn says so too (G18).
pub(crate) fn caller_retries() -> bool {
    REQUEST.get().caller_retries
}

impl Inherited {
    pub(crate) fn of(meta: &Meta) -> Self {
        Inherited {
            deadline: meta.deadline,
            caller_retries: meta.caller_retries,
        }
    }
}

/// Polls a handler with what its request hands down in place.
pub(crate) struct WithRequest<'a> {
    pub(crate) request: Inherited,
    pub(crate) handler: LocalBoxFuture<'a, ()>,
}

/// Puts back what was there before, also when a handler panics.
struct Restore(Inherited);

impl Drop for Restore {
    fn drop(&mut self) {
        REQUEST.set(self.0);
    }
}

impl Future for WithRequest<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let _restore = Restore(REQUEST.replace(self.request));
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
