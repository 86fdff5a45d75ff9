//! What is noted of a message when it is sent, for those who look on: the span it was sent in, and the time
//! where that is measured.
//!
//! # Spans
//!
//! Where somebody listens to `tracing` spans of the target `callboard::handle` at level `DEBUG`, each message's
//! handler runs in a span called `handle`: a child of the span that was current where the message was sent,
//! or a root if there was none. That holds for tells and asks, whether the handler runs on its asker's stack,
//! later on the same thread, or on another one. The span has the fields `actor` (the label), `message` (the
//! Rust type) and `incarnation`, and those of its [trace](TraceParent) if it has one; it begins with the handler, is entered at each of its polls and at its drop,
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
//! While nobody listens, a send costs two loads and a comparison more than it would without all this.
//!
//! # Traces
//!
//! A message that belongs to a trace of the outside world ([`TraceParent`]) hands that down to what its handler sends.
//! It lies beside the depth, for as long as the handler runs, and is put on what is sent meanwhile.

use std::cell::Cell as Slot;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::display;
use tracing::instrument::Instrument;
use tracing::{Level, Span};

use crate::actor::Actor;
use crate::cell::Cell;
use crate::envelope::{Envelope, Meta};
use crate::id::Incarnation;
use crate::message::Message;
#[cfg(feature = "metrics")]
use crate::metrics::{self, Sent};
use crate::system::System;
use crate::trace_parent::TraceParent;

/// How many handlers' spans may be one below the other.
pub(crate) const HOPS: u32 = 256;

thread_local! {
    /// How many handlers' spans the current one is below, its own included.
    static DEPTH: Slot<u32> = const { Slot::new(0) };
    /// The trace of the message in hand.
    static TRACE: Slot<Option<TraceParent>> = const { Slot::new(None) };
}

/// What was noted of a message.
#[derive(Clone)]
pub(crate) struct Stamp {
    /// The span it was sent in; of none, if there was none.
    sent_in: Span,
    /// How many handlers' spans that was below.
    depth: u32,
    /// The trace it belongs to.
    trace: Option<TraceParent>,
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
    (measuring || tracing::level_enabled!(Level::DEBUG) || is_in_trace()) && is_really_on()
}

/// Whether the message in hand belongs to a trace.
#[inline(always)]
fn is_in_trace() -> bool {
    TRACE.with(|trace| trace.get().is_some())
}

/// The trace of the message in hand.
#[inline]
pub(crate) fn trace_in_hand() -> Option<TraceParent> {
    TRACE.get()
}

/// Has a message that is sent now belong to the trace of the one in hand, unless it is of another.
#[inline]
pub(crate) fn hand_down(meta: &mut Meta) {
    if is_in_trace() {
        put_trace(meta);
    }
}

#[cold]
fn put_trace(meta: &mut Meta) {
    if let (None, Some(trace)) = (meta.trace_parent(), TRACE.get()) {
        meta.set_trace_parent(trace);
    }
}

/// Somebody measures, or listens to that level, or a trace goes on.
#[cold]
#[inline(never)]
fn is_really_on() -> bool {
    if is_in_trace() {
        return true;
    }
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
    inside(Place(depth, TRACE.get()), task.instrument(span))
}

/// Where a handler stands: how many others it is below, and in which trace.
#[derive(Clone, Copy)]
struct Place(u32, Option<TraceParent>);

impl Place {
    /// Has what runs until the drop of the answer send from there.
    fn enter(self) -> Back {
        Back(Place(DEPTH.replace(self.0), TRACE.replace(self.1)))
    }
}

/// Has a future send from that place.
async fn inside<F: Future>(place: Place, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _back = place.enter();
        future.as_mut().poll(cx)
    })
    .await
}

/// Puts the place back, also after a panic.
struct Back(Place);

impl Drop for Back {
    fn drop(&mut self) {
        DEPTH.set(self.0.0);
        TRACE.set(self.0.1);
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
        put_trace(&mut envelope.meta);
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
                trace: envelope.meta.trace_parent(),
                #[cfg(feature = "metrics")]
                sent,
            });
        }
    }
}

impl Stamp {
    /// That of a message of which nothing was noted, but that it belongs to a trace.
    #[cold]
    pub(crate) fn in_trace(trace: TraceParent) -> Self {
        Stamp {
            sent_in: Span::none(),
            depth: 0,
            trace: Some(trace),
            #[cfg(feature = "metrics")]
            sent: None,
        }
    }

    /// The scene of its handler, which begins here and now.
    pub(crate) fn scene(
        &self,
        system: &System,
        actor: &str,
        message: &str,
        incarnation: Incarnation,
    ) -> Scene {
        // Its own span in the trace; if nobody hears of that, what it sends is below who sent it.
        let own = self.trace.filter(|_| traces()).map(|trace| {
            let id = span_id(trace, system.entropy().seed());
            trace.below(id)
        });
        let hex = |number: u64| display(format!("{number:016x}"));
        let make = || {
            tracing::debug_span!(
                target: "callboard::handle",
                // Of none: a root, whatever is current on the thread of the handler.
                parent: self.sent_in.id().filter(|_| self.depth < HOPS),
                "handle",
                actor,
                message,
                incarnation = incarnation.0,
                trace_id = own.map(|own| display(format!("{:032x}", own.trace_id()))),
                parent_id = own.and(self.trace).map(|parent| hex(parent.span_id())),
                span_id = own.map(|own| hex(own.span_id())),
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
        Scene {
            span,
            place: Place(self.handler_depth(), own.or(self.trace)),
        }
    }

    fn handler_depth(&self) -> u32 {
        if self.depth < HOPS { self.depth + 1 } else { 1 }
    }
}

/// An id for a span that no other has, of this process or another: the seed of a system is random where
/// programs run for good. It isn't drawn, because who looks on must not change the run (G38).
fn span_id(parent: TraceParent, seed: u64) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    [parent.span_id(), seed].iter().fold(number, |id, part| {
        // A step of splitmix64.
        let id = (id ^ part).wrapping_add(0x9E37_79B9_7F4A_7C15);
        let id = (id ^ (id >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let id = (id ^ (id >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        id ^ (id >> 31)
    })
}

/// Where a handler runs.
pub(crate) struct Scene {
    span: Span,
    place: Place,
}

impl Scene {
    /// Begins the handler: what that does before it is a future, too.
    pub(crate) fn begin<T>(&self, begin: impl FnOnce() -> T) -> T {
        let _back = self.place.enter();
        self.span.in_scope(begin)
    }

    /// Has the handler go on there.
    pub(crate) fn go_on<F: Future>(self, handler: F) -> impl Future<Output = F::Output> + use<F> {
        inside(self.place, handler.instrument(self.span))
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamp")
            .field("sent_in", &self.sent_in.id())
            .finish_non_exhaustive()
    }
}
