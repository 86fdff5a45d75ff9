//! What is noted of a message when it is sent, for those who look on: the span it was sent in, and the time
//! where that is measured.
//!
//! # Spans
//!
//! Where somebody listens to `tracing` spans of the target `callboard::handle` at level `DEBUG`, each message's
//! handler runs in a span called `handle`: a child of the span that was current where the message was sent,
//! or a root if there was none. That holds for tells and asks, whether the handler runs on its asker's stack,
//! later on the same thread, or on another one. The span has the fields `actor` (the label), `message` (the
//! Rust type) and `incarnation`; it begins with the handler, is entered at each of its polls and at its drop,
//! and ends with it. What the handler sends is in turn below it. A task that it starts with
//! [`Context::spawn`](crate::Context::spawn), and with it a deferred answer, goes on in the same span, which
//! lasts as long as that. Notices of ends have no sender, and so no span.
//!
//! Work that goes on by messages for ever (an actor that tells itself to go on, two that tell each other) would
//! make a chain of spans without an end, and a subscriber keeps a span for as long as there is one below it. So
//! after [`HOPS`] handlers, one below the other, the next one's span is a root again, which
//! [follows from](tracing::Span::follows_from) the one its message was sent in.
//!
//! The span is made for the subscriber of whoever sent the message, if that had a span; so a subscriber of
//! one thread (`tracing::subscriber::with_default`) sees the handlers of its messages, but what these send
//! from another thread is lost to it. A program sets one for all threads.
//!
//! While nobody listens, a send costs one load and one comparison more than it would without all this.
//! Context that crosses processes isn't carried yet.

use std::cell::Cell as Slot;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;

use tracing::instrument::Instrument;
use tracing::{Level, Span};

use crate::actor::Actor;
use crate::cell::Cell;
use crate::envelope::Envelope;
use crate::id::Incarnation;
use crate::message::Message;
#[cfg(feature = "metrics")]
use crate::metrics::{self, Sent};

/// How many handlers' spans may be one below the other.
pub(crate) const HOPS: u32 = 256;

thread_local! {
    /// How many handlers' spans the current one is below, its own included.
    static DEPTH: Slot<u32> = const { Slot::new(0) };
}

/// What was noted of a message.
#[derive(Clone)]
pub(crate) struct Stamp {
    /// The span it was sent in; of none, if there was none.
    sent_in: Span,
    /// How many handlers' spans that was below.
    depth: u32,
    #[cfg(feature = "metrics")]
    pub(crate) sent: Option<Sent>,
}

/// Whether anything is to be noted of messages: somebody may look on.
#[inline(always)]
pub(crate) fn is_on() -> bool {
    #[cfg(feature = "metrics")]
    let measuring = metrics::is_on();
    #[cfg(not(feature = "metrics"))]
    let measuring = false;
    // One way out of the hot path, for both.
    (measuring || tracing::level_enabled!(Level::DEBUG)) && is_really_on()
}

/// Somebody measures, or listens to that level.
#[cold]
#[inline(never)]
fn is_really_on() -> bool {
    #[cfg(feature = "metrics")]
    if metrics::is_on() {
        return true;
    }
    has_listener()
}

/// Whether somebody listens to the spans of handlers.
#[inline]
fn traces() -> bool {
    tracing::level_enabled!(Level::DEBUG) && has_listener()
}

/// Somebody listens to that level; perhaps to something else.
#[cold]
#[inline(never)]
fn has_listener() -> bool {
    tracing::span_enabled!(target: "callboard::handle", Level::DEBUG)
}

/// Has the task of a handler go on in its span.
pub(crate) fn carry<F: Future>(task: F) -> impl Future<Output = F::Output> {
    let (span, depth) = if traces() {
        (Span::current(), DEPTH.get())
    } else {
        (Span::none(), 0)
    };
    at_depth(depth, task.instrument(span))
}

/// Has a future send from that depth.
async fn at_depth<F: Future>(depth: u32, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let before = DEPTH.replace(depth);
        let _back = Back(before);
        future.as_mut().poll(cx)
    })
    .await
}

/// Puts the depth back, also after a panic.
struct Back(u32);

impl Drop for Back {
    fn drop(&mut self) {
        DEPTH.set(self.0);
    }
}

impl<A: Actor> Cell<A> {
    /// Notes what there is to note of a message that is sent now, unless that was done: who passes a message
    /// on didn't send it.
    #[cold]
    #[inline(never)]
    pub(crate) fn stamp<M: Message>(&self, envelope: &mut Envelope<M>) {
        if envelope.meta.has_stamp() {
            return;
        }
        let traces = traces();
        #[cfg(feature = "metrics")]
        let sent = Sent::now::<A, M>(self, &mut envelope.responder);
        #[cfg(feature = "metrics")]
        let is_measured = sent.is_some();
        #[cfg(not(feature = "metrics"))]
        let is_measured = false;
        if traces || is_measured {
            envelope.meta.set_stamp(Stamp {
                sent_in: if traces {
                    Span::current()
                } else {
                    Span::none()
                },
                depth: DEPTH.get(),
                #[cfg(feature = "metrics")]
                sent,
            });
        }
    }
}

impl Stamp {
    /// The span of its handler, which begins here and now.
    pub(crate) fn span(&self, actor: &str, message: &str, incarnation: Incarnation) -> Span {
        let make = || {
            tracing::debug_span!(
                target: "callboard::handle",
                // Of none: a root, whatever is current on the thread of the handler.
                parent: self.sent_in.id().filter(|_| self.depth < HOPS),
                "handle",
                actor,
                message,
                incarnation = incarnation.0
            )
        };
        // An id means something to the subscriber that gave it, and to no other: some panic.
        let below = self
            .sent_in
            .with_subscriber(|(_, theirs)| tracing::dispatcher::with_default(theirs, make));
        let span = below.unwrap_or_else(make);
        if self.depth >= HOPS {
            span.follows_from(&self.sent_in);
        }
        span
    }

    /// Begins its handler in its span: what that does before it is a future, too.
    pub(crate) fn begin<T>(&self, span: &Span, begin: impl FnOnce() -> T) -> T {
        let _back = Back(DEPTH.replace(self.handler_depth()));
        span.in_scope(begin)
    }

    /// Has its handler go on in its span.
    pub(crate) fn go_on<F: Future>(
        &self,
        span: Span,
        handler: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        at_depth(self.handler_depth(), handler.instrument(span))
    }

    fn handler_depth(&self) -> u32 {
        if self.depth < HOPS { self.depth + 1 } else { 1 }
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamp")
            .field("sent_in", &self.sent_in.id())
            .finish_non_exhaustive()
    }
}
