//! The spans of the last pages, kept in memory for whoever looks at `/system`.
//!
//! A page is a span, its parts are spans below it, and below those are the handlers of the actors that were
//! asked: Callboard makes the latter, and has each follow its message to whatever thread it is handled on
//! (target `callboard::handle`). Parts that come from other processes have nothing below them: spans don't
//! cross processes yet.
//!
//! [`Spans`] is a subscriber of `tracing` that knows pages and what is below them, and nothing else: what is
//! below no page, or begins after its page has ended, is forgotten at once. (A program of its own would use
//! `tracing-subscriber` and an exporter. A registry of spans keeps a span until all below it have ended, so
//! that an actor that goes on by messages to itself makes a chain that never ends; here nothing is kept for
//! what is below it.) Everything is bounded, and what finds no room is counted.

mod trace;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use callboard::clock::{Clock, Instant};
use parking_lot::Mutex;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Span, Subscriber, level_filters::LevelFilter};
use tracing_core::span::Current;

use crate::calls::Part;

pub(crate) use trace::{PageTrace, SpanRow};

use trace::Fields;

/// The target of a page and its parts.
const PAGES: &str = "lesson_platform::page";
/// The target of handlers.
const HANDLERS: &str = "callboard::handle";
/// The name of the span that begins a page.
const ROOT: &str = "page";

/// So many pages are kept, the oldest goes; and the slowest of all.
const KEPT: usize = 16;
/// So many spans are kept of one page.
const SPANS: usize = 64;
/// So many pages are followed at once; others are answered without.
const AT_ONCE: usize = 256;

/// The id of all spans that nothing is kept of.
const NOBODY: u64 = u64::MAX;

thread_local! {
    /// The spans that are entered on this thread.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The span of a page: `GET /lessons/verdicts`.
pub(crate) fn page(method: &str, path: &str) -> Span {
    tracing::debug_span!(target: PAGES, parent: None, ROOT, method, path)
}

/// The span of a part of a page, below what is current.
pub(crate) fn part(part: Part) -> Span {
    tracing::debug_span!(
        target: PAGES,
        "part",
        part = %part,
        boundary = part.boundary(),
        failed = tracing::field::Empty,
    )
}

/// Something else that a page does.
pub(crate) fn step(step: &'static str) -> Span {
    tracing::debug_span!(target: PAGES, "step", step)
}

/// Notes on the span of a part how it failed.
pub(crate) fn failed(verdict: impl std::fmt::Display) {
    Span::current().record("failed", tracing::field::display(verdict));
}

/// The subscriber. Clones are the same.
#[derive(Clone)]
pub(crate) struct Spans {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

/// What is kept of pages.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The last ones, the latest first.
    pub(crate) latest: Vec<PageTrace>,
    /// The slowest since the start.
    pub(crate) slowest: Option<PageTrace>,
    /// Pages that were not followed, because too many were already.
    pub(crate) left_out: u64,
}

#[derive(Default)]
struct State {
    /// The number of the last span.
    last: u64,
    /// Spans that have not ended.
    open: BTreeMap<u64, Open>,
    /// Pages that have not ended, by the number of their span.
    pages: BTreeMap<u64, Running>,
    latest: VecDeque<PageTrace>,
    slowest: Option<PageTrace>,
    left_out: u64,
}

/// A span that has not ended.
struct Open {
    metadata: &'static Metadata<'static>,
    page: u64,
    /// Its place in the page's list.
    at: usize,
    handles: usize,
}

struct Running {
    began: Instant,
    trace: PageTrace,
}

impl Spans {
    pub(crate) fn new(clock: &Clock) -> Self {
        Spans {
            clock: clock.clone(),
            state: Arc::default(),
        }
    }

    /// Listens to all spans of this process from now on. Nothing if somebody does already.
    pub(crate) fn install(clock: &Clock) -> Option<Self> {
        let spans = Spans::new(clock);
        tracing::subscriber::set_global_default(spans.clone()).ok()?;
        Some(spans)
    }

    pub(crate) fn kept(&self) -> Kept {
        let state = self.state.lock();
        Kept {
            latest: state.latest.iter().rev().cloned().collect(),
            slowest: state.slowest.clone(),
            left_out: state.left_out,
        }
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_known = [PAGES, HANDLERS].contains(&metadata.target());
        metadata.is_span() && is_known && *metadata.level() <= Level::DEBUG
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let metadata = attributes.metadata();
        let fields = Fields::of(attributes);
        let now = self.clock.now();
        let above = match attributes.parent() {
            Some(parent) => Some(parent.into_u64()),
            None if attributes.is_root() => None,
            None => entered(),
        };
        let is_page = metadata.target() == PAGES && metadata.name() == ROOT;
        id(self
            .state
            .lock()
            .begin(metadata, fields, above, is_page, now))
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let fields = Fields::of_record(values);
        self.state.lock().note(span.into_u64(), fields);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        // Spans may be left in another order than they were entered in.
        let left = span.into_u64();
        ENTERED.with_borrow_mut(|entered| {
            if let Some(at) = entered.iter().rposition(|id| *id == left) {
                entered.remove(at);
            }
        });
    }

    fn clone_span(&self, span: &Id) -> Id {
        if let Some(open) = self.state.lock().open.get_mut(&span.into_u64()) {
            open.handles += 1;
        }
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let now = self.clock.now();
        self.state.lock().let_go(span.into_u64(), now)
    }

    fn current_span(&self) -> Current {
        let state = self.state.lock();
        let Some(current) = entered() else {
            return Current::none();
        };
        match state.open.get(&current) {
            Some(open) => Current::new(id(current), open.metadata),
            None => Current::none(),
        }
    }
}

impl State {
    /// Begins a span, and answers its number: `NOBODY` if nothing is kept of it.
    fn begin(
        &mut self,
        metadata: &'static Metadata<'static>,
        fields: Fields,
        above: Option<u64>,
        is_page: bool,
        now: Instant,
    ) -> u64 {
        let number = self.last + 1;
        let (page, at) = if is_page {
            if self.pages.len() >= AT_ONCE {
                self.left_out += 1;
                return NOBODY;
            }
            let trace = PageTrace::new(fields);
            self.pages.insert(number, Running { began: now, trace });
            (number, 0)
        } else {
            let above = above.and_then(|above| self.open.get(&above));
            let Some((page, parent)) = above.map(|above| (above.page, above.at)) else {
                return NOBODY;
            };
            // One that has ended gets no more.
            let Some(running) = self.pages.get_mut(&page) else {
                return NOBODY;
            };
            let from = now.since(running.began);
            match running.trace.add(parent, fields, from, SPANS) {
                Some(at) => (page, at),
                None => return NOBODY,
            }
        };
        self.last = number;
        let open = Open {
            metadata,
            page,
            at,
            handles: 1,
        };
        self.open.insert(number, open);
        number
    }

    /// The trace of a span's page, while that runs. What goes on for longer than its page isn't waited for.
    fn running(&mut self, number: u64) -> Option<(&mut Running, usize)> {
        let open = self.open.get(&number)?;
        Some((self.pages.get_mut(&open.page)?, open.at))
    }

    fn note(&mut self, number: u64, fields: Fields) {
        if let Some((running, at)) = self.running(number) {
            running.trace.note(at, fields);
        }
    }

    /// One handle less; with the last the span has ended.
    fn let_go(&mut self, number: u64, now: Instant) -> bool {
        let Some(open) = self.open.get_mut(&number) else {
            return false;
        };
        open.handles -= 1;
        if open.handles > 0 {
            return false;
        }
        if let Some((running, at)) = self.running(number) {
            running.trace.end(at, now.since(running.began));
        }
        self.open.remove(&number);
        // The span of a page has the page's number.
        if let Some(ended) = self.pages.remove(&number) {
            self.keep(ended.trace);
        }
        true
    }

    fn keep(&mut self, trace: PageTrace) {
        let slowest = self
            .slowest
            .as_ref()
            .map_or(Duration::ZERO, PageTrace::took);
        if trace.took() > slowest {
            self.slowest = Some(trace.clone());
        }
        if self.latest.len() == KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(trace);
    }
}

fn entered() -> Option<u64> {
    ENTERED.with_borrow(|entered| entered.last().copied())
}

fn id(number: u64) -> Id {
    Id::from_non_zero_u64(NonZeroU64::new(number).unwrap_or(NonZeroU64::MAX))
}

#[cfg(test)]
mod tests;
