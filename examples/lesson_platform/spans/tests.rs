//! What is kept of pages, under virtual time.

use std::time::Duration;

use std::sync::LazyLock;

use callboard::Simulation;
use callboard::prelude::*;
use tracing::Instrument;

use super::*;

const MS: Duration = Duration::from_millis(1);

struct Renderer {
    /// Whom it asks in turn.
    next: Option<Recipient<Render>>,
}

impl Actor for Renderer {}

#[derive(Message)]
#[message(reply = u64)]
struct Render(u64);

impl Handler<Render> for Renderer {
    async fn handle(&mut self, Render(n): Render, ctx: &mut Context<Self>) -> u64 {
        ctx.sleep(2 * MS).await;
        match &self.next {
            Some(next) => next.ask(Render(n)).await.unwrap(),
            None => n,
        }
    }
}

/// Goes on for ever, by messages to itself.
struct Busy;

impl Actor for Busy {}

#[derive(Message)]
struct GoOn(u64);

impl Handler<GoOn> for Busy {
    async fn handle(&mut self, GoOn(left): GoOn, ctx: &mut Context<Self>) {
        ctx.sleep(MS).await;
        if left > 0 {
            ctx.me().try_tell(GoOn(left - 1)).unwrap();
        }
    }
}

/// Runs with a subscriber of its own.
///
/// A global one is there first: `tracing` remembers what a callsite is worth, and as long as there is one
/// subscriber only, it asks that of whatever thread comes by, which may be one of another test without any.
fn with<T>(spans: &Spans, run: impl FnOnce() -> T) -> T {
    static GLOBAL: LazyLock<Option<Spans>> = LazyLock::new(|| Spans::install(&Clock::machine()));
    assert!(GLOBAL.is_some());
    tracing::subscriber::with_default(spans.clone(), run)
}

/// Runs a test under several seeds, with a subscriber of its own: a simulation has one thread, and so has that.
fn simulated<T: AsyncFn(System, Spans)>(test: T) {
    for seed in 0..16 {
        let mut simulation = Simulation::new(seed);
        let system = simulation.system().clone();
        let spans = Spans::new(system.clock());
        with(&spans.clone(), || {
            simulation.block_on(test(system, spans));
        });
    }
}

fn shown(trace: &PageTrace) -> Vec<(usize, String, String, Option<u64>)> {
    let rows = trace.rows().into_iter();
    rows.map(|row| (row.depth, row.name, row.place, row.took_micros))
        .collect()
}

#[test]
fn a_page_is_kept_with_its_parts_and_the_handlers_below_them() {
    simulated(async |system, spans| {
        let last = system.actor(|| Renderer { next: None }).label("last");
        let next = last.placement(Placement::Pinned(1)).start().recipient();
        let first = system.actor(move || Renderer { next: Some(next) });
        let first = first.label("first").placement(Placement::Pinned(0)).start();
        let asked = async {
            system.clock().sleep(MS).await;
            let answer = first.ask(Render(7)).await.unwrap();
            failed("MaybeExecuted");
            answer
        };
        let page = page("GET", "/lessons/a");
        let part = page.in_scope(|| part(Part::Metadata));
        assert_eq!(asked.instrument(part).instrument(page).await, 7);

        let kept = spans.kept();
        assert_eq!((kept.latest.len(), kept.left_out), (1, 0));
        let row =
            |depth, name: &str, place: &str, took| (depth, name.to_owned(), place.to_owned(), took);
        let rows = kept.latest[0].rows();
        assert_eq!(
            shown(&kept.latest[0]),
            [
                row(0, "GET /lessons/a", "", Some(5_000)),
                row(1, "metadata", "TCP", Some(5_000)),
                row(2, "Render", "first", Some(4_000)),
                row(3, "Render", "last", Some(2_000)),
            ]
        );
        assert_eq!(rows[3].from_micros, 3_000);
        assert_eq!(rows[1].failed.as_deref(), Some("MaybeExecuted"));
    });
}

#[test]
fn an_actor_that_goes_on_by_itself_keeps_nothing_once_its_page_is_over() {
    simulated(async |system, spans| {
        let (below_a_page, below_none) = (system.start(Busy), system.start(Busy));
        below_none.tell(GoOn(200)).await.unwrap();
        let visit = async {
            below_a_page.tell(GoOn(200)).await.unwrap();
            system.clock().sleep(Duration::from_micros(3_500)).await;
        };
        visit.instrument(page("GET", "/")).await;
        system.clock().sleep(50 * MS).await;
        // Both go on, and nothing is open for them.
        assert!(below_a_page.exit_reason().is_none());
        let state = spans.state.lock();
        assert!(state.open.is_empty() && state.pages.is_empty());
        drop(state);
        let trace = spans.kept().latest.remove(0);
        let took: Vec<_> = trace.rows().iter().map(|row| row.took_micros).collect();
        assert_eq!(
            took,
            [Some(3_500), Some(1_000), Some(1_000), Some(1_000), None],
            "{trace}"
        );
        assert!(trace.to_string().contains("goes on"));
    });
}

#[test]
fn everything_is_bounded_and_what_finds_no_room_is_counted() {
    let spans = Spans::new(&Clock::machine());
    with(&spans, || {
        for number in 0..KEPT + 3 {
            page("GET", &format!("/lessons/{number}")).in_scope(|| {
                for _ in 0..SPANS + 7 {
                    step("publish").in_scope(|| {});
                }
            });
        }
        let latest = spans.kept().latest;
        assert_eq!(latest.len(), KEPT);
        let newest = latest[0].rows();
        assert_eq!(newest[0].name, format!("GET /lessons/{}", KEPT + 2));
        assert_eq!((newest.len(), latest[0].left_out()), (SPANS, 8));
        assert!(latest[0].to_string().ends_with("  and 8 more\n"));

        let at_once: Vec<_> = (0..AT_ONCE + 5).map(|_| page("GET", "/")).collect();
        assert_eq!(spans.kept().left_out, 5);
        // Those that were left out have nothing below them either.
        at_once[AT_ONCE]
            .in_scope(|| step("publish").in_scope(|| assert!(Span::current().is_none())));
        drop(at_once);
        let state = spans.state.lock();
        assert!(state.open.is_empty() && state.pages.is_empty());
    });
}

#[test]
fn what_a_visitor_sends_is_cut() {
    let spans = Spans::new(&Clock::machine());
    with(&spans, || {
        drop(page("GET", &"/\u{e9}".repeat(10_000)));
    });
    let name = spans.kept().latest[0].rows().remove(0).name;
    assert!(
        name.ends_with("...") && name.chars().count() < 100,
        "{name}"
    );
}

#[test]
fn only_pages_and_handlers_are_of_interest() {
    let spans = Spans::new(&Clock::machine());
    with(&spans, || {
        assert!(!tracing::debug_span!(target: "callboard::handle", "handle").is_disabled());
        assert!(tracing::error_span!(target: "somebody", "else").is_disabled());
        assert!(tracing::trace_span!(target: "callboard::handle", "more").is_disabled());
    });
    assert_eq!(spans.max_level_hint(), Some(LevelFilter::DEBUG));
    assert!(spans.kept().latest.is_empty());
}
