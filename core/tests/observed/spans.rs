//! The spans of handlers: below the one their message was sent in, however it came.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use callboard::{
    Actor, ActorRef, ChildEvent, Context, DeferredHandler, Handler, Message, Overflow, Placement,
    Responder, Simulation, System, TraceParent,
};
use futures::channel::{mpsc, oneshot};
use futures::{FutureExt, StreamExt};
use tracing::{Instrument, Span, debug_span};

use crate::recorder::{Recorder, Seen};

fn path() -> String {
    Recorder::global().path()
}

fn root() -> Span {
    let _ = Recorder::global();
    debug_span!(target: "observed", parent: None, "root")
}

/// Waits until every span below has ended: the last handle of one may be dropped a moment after its
/// answer was sent.
async fn ended(system: &System, root: &Span) -> Vec<Seen> {
    loop {
        let below = Recorder::global().below(root);
        if below.iter().all(|span| span.handles == 0) {
            return below;
        }
        system.clock().sleep(Duration::from_millis(1)).await;
    }
}

/// Where in the chain it stands, and who is next.
struct Link {
    next: Option<ActorRef<Link>>,
}

impl Actor for Link {}

/// Asked along the chain: answered with where each one was.
#[derive(Message)]
#[message(reply = Vec<String>)]
struct Trace;

impl Handler<Trace> for Link {
    async fn handle(&mut self, _: Trace, ctx: &mut Context<Self>) -> Vec<String> {
        let before = path();
        let mut paths = match &self.next {
            Some(next) => next.ask(Trace).await.unwrap(),
            None => Vec::new(),
        };
        ctx.sleep(Duration::from_millis(1)).await;
        // It is entered again at each poll.
        assert_eq!(path(), before);
        paths.insert(0, before);
        paths
    }
}

/// Told along the chain; each one says where it was.
#[derive(Message)]
struct Walk(mpsc::Sender<String>);

impl Handler<Walk> for Link {
    async fn handle(&mut self, Walk(mut paths): Walk, _ctx: &mut Context<Self>) {
        paths.try_send(path()).unwrap();
        if let Some(next) = &self.next {
            next.tell(Walk(paths)).await.unwrap();
        }
    }
}

/// Answered by a task that asks the next one first.
#[derive(Message)]
#[message(reply = Vec<String>)]
struct Later;

impl DeferredHandler<Later> for Link {
    async fn handle_deferred(
        &mut self,
        _: Later,
        responder: Responder<Vec<String>>,
        ctx: &mut Context<Self>,
    ) {
        let next = self.next.clone();
        let pause = ctx.sleep(Duration::from_millis(1));
        ctx.spawn(async move {
            pause.await;
            let mut paths = vec![path()];
            if let Some(next) = next {
                paths.extend(next.ask(Trace).await.unwrap());
            }
            responder.send(paths);
        });
    }
}

/// Tells itself after a while.
#[derive(Message)]
struct Remind(mpsc::Sender<String>);

impl Handler<Remind> for Link {
    async fn handle(&mut self, Remind(paths): Remind, ctx: &mut Context<Self>) {
        self.next = None;
        ctx.tell_after(Duration::from_millis(1), Walk(paths));
    }
}

/// Says where it is dropped.
struct OnDrop(mpsc::Sender<String>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.try_send(path()).unwrap();
    }
}

/// Never ends by itself.
#[derive(Message)]
struct Hang(oneshot::Sender<()>, mpsc::Sender<String>);

impl Handler<Hang> for Link {
    async fn handle(&mut self, Hang(began, paths): Hang, _ctx: &mut Context<Self>) {
        let _on_drop = OnDrop(paths);
        began.send(()).unwrap();
        pending::<()>().await;
    }
}

/// Waits for the gate.
#[derive(Message)]
struct Hold(oneshot::Sender<()>, oneshot::Receiver<()>);

impl Handler<Hold> for Link {
    async fn handle(&mut self, Hold(began, gate): Hold, _ctx: &mut Context<Self>) {
        began.send(()).unwrap();
        gate.await.unwrap();
    }
}

#[derive(Message)]
struct Boom;

impl Handler<Boom> for Link {
    async fn handle(&mut self, _: Boom, ctx: &mut Context<Self>) {
        ctx.sleep(Duration::from_millis(1)).await;
        panic!("boom");
    }
}

fn link(
    system: &System,
    label: &str,
    arbiter: usize,
    next: Option<&ActorRef<Link>>,
) -> ActorRef<Link> {
    let next = next.cloned();
    system
        .actor(move || Link { next })
        .label(label)
        .placement(Placement::Pinned(arbiter))
        .start()
}

/// A chain of three: on one arbiter, and over two.
fn chains(system: &System) -> [ActorRef<Link>; 2] {
    [0, 1].map(|other| {
        let c = link(system, "c", 0, None);
        let b = link(system, "b", other, Some(&c));
        link(system, "a", 0, Some(&b))
    })
}

const CHAIN: [&str; 3] = ["root/a", "root/a/b", "root/a/b/c"];

#[callboard::test(both)]
async fn a_handler_runs_below_the_span_its_ask_was_sent_in(system: System) {
    for a in chains(&system) {
        let root = root();
        let paths = a.ask(Trace).into_future().instrument(root.clone()).await;
        assert_eq!(paths.unwrap(), CHAIN);
        let spans = ended(&system, &root).await;
        assert_eq!(spans.len(), 3);
        for (span, actor) in spans.iter().zip(["a", "b", "c"]) {
            assert_eq!(span.metadata.target(), "callboard::handle");
            assert_eq!(*span.metadata.level(), tracing::Level::DEBUG);
            assert_eq!(span.fields["actor"], actor);
            assert_eq!(span.fields["message"], std::any::type_name::<Trace>());
            assert_eq!(span.fields["incarnation"], "1");
        }
    }
}

#[callboard::test(both)]
async fn a_handler_runs_below_the_span_its_tell_was_sent_in(system: System) {
    for a in chains(&system) {
        let root = root();
        let (paths, mut seen) = mpsc::channel(8);
        let tell = a.tell(Walk(paths)).into_future();
        tell.instrument(root.clone()).await.unwrap();
        for expected in CHAIN {
            assert_eq!(seen.next().await.unwrap(), expected);
        }
        assert_eq!(seen.next().await, None);
        ended(&system, &root).await;
    }
}

#[callboard::test(both)]
async fn a_message_with_more_beside_it_and_one_over_a_recipient_have_their_span(system: System) {
    let [a, over] = chains(&system);
    let root = root();
    let keyed = a.ask(Trace).key(callboard::RequestKey::new()).into_future();
    assert_eq!(keyed.instrument(root.clone()).await.unwrap(), CHAIN);
    let recipient = over.recipient::<Trace, _>();
    let asked = recipient.ask(Trace).into_future();
    assert_eq!(asked.instrument(root.clone()).await.unwrap(), CHAIN);
    let (paths, mut seen) = mpsc::channel(8);
    root.in_scope(|| a.try_tell(Walk(paths))).unwrap();
    assert_eq!(seen.next().await.unwrap(), CHAIN[0]);
}

#[callboard::test(both)]
async fn a_message_that_waited_for_room_has_the_span_of_its_sender(system: System) {
    let full = system
        .actor(|| Link { next: None })
        .label("full")
        .mailbox(1, Overflow::Wait)
        .start();
    let (began, has_begun) = oneshot::channel();
    let (open, gate) = oneshot::channel();
    full.tell(Hold(began, gate)).await.unwrap();
    has_begun.await.unwrap();
    let (paths, mut seen) = mpsc::channel(8);
    full.try_tell(Walk(paths.clone())).unwrap();
    let root = root();
    // Refused at once, it comes back and waits; meanwhile its sender is somewhere else.
    let mut waits = Box::pin(full.tell(Walk(paths)).into_future());
    let sent = root.in_scope(|| (&mut waits).now_or_never());
    assert!(sent.is_none());
    open.send(()).unwrap();
    waits.await.unwrap();
    let (before, after) = (seen.next().await, seen.next().await);
    assert_eq!(
        (before.unwrap().as_str(), after.unwrap().as_str()),
        ("full", "root/full")
    );
}

#[callboard::test(both)]
async fn without_a_span_a_handler_is_a_root_whatever_its_thread_is_in(system: System) {
    let b = link(&system, "b", 0, None);
    let a = link(&system, "a", 0, Some(&b));
    assert_eq!(a.ask(Trace).await.unwrap(), ["a", "a/b"]);
    let (paths, mut seen) = mpsc::channel(8);
    a.tell(Walk(paths)).await.unwrap();
    assert_eq!(seen.next().await.unwrap(), "a");
}

#[callboard::test(both)]
async fn a_deferred_answer_and_a_timer_go_on_in_the_span_of_their_handler(system: System) {
    for other in [0, 1] {
        let c = link(&system, "c", other, None);
        let a = link(&system, "a", 0, Some(&c));
        let root = root();
        let asked = a.ask(Later).into_future().instrument(root.clone());
        assert_eq!(asked.await.unwrap(), ["root/a", "root/a/c"]);
        let (paths, mut seen) = mpsc::channel(8);
        let tell = a.tell(Remind(paths)).into_future();
        tell.instrument(root.clone()).await.unwrap();
        assert_eq!(seen.next().await.unwrap(), "root/a/a");
        ended(&system, &root).await;
    }
}

#[callboard::test(both)]
async fn a_handler_is_dropped_in_its_span(system: System) {
    let a = link(&system, "a", 0, None);
    let root = root();
    let ((began, has_begun), (paths, mut seen)) = (oneshot::channel(), mpsc::channel(8));
    let tell = a.tell(Hang(began, paths)).into_future();
    tell.instrument(root.clone()).await.unwrap();
    has_begun.await.unwrap();
    a.kill();
    assert_eq!(seen.next().await.unwrap(), "root/a");
    a.wait().await;
    ended(&system, &root).await;
}

#[callboard::test(both)]
async fn g10_a_panic_leaves_the_span_that_it_was_in(system: System) {
    let (broken, neighbour) = (
        link(&system, "broken", 0, None),
        link(&system, "a", 0, None),
    );
    let root = root();
    let asked = broken.ask(Boom).into_future().instrument(root.clone());
    asked.await.unwrap_err();
    broken.wait().await;
    let asked = neighbour.ask(Trace).into_future();
    assert_eq!(asked.instrument(root.clone()).await.unwrap(), ["root/a"]);
    assert_eq!(neighbour.ask(Trace).await.unwrap(), ["a"]);
    let spans = ended(&system, &root).await;
    assert!(spans.iter().all(|span| span.entered > 0), "{spans:?}");
}

#[callboard::test(both)]
async fn g13_a_span_names_the_incarnation_that_handles(system: System) {
    let (events, mut next) = mpsc::channel(8);
    let (a, place) = system.actor(|| Link { next: None }).label("a").place();
    let root = root();
    for _ in 0..2 {
        let events = events.clone();
        place.start(callboard::Terms::new(std::sync::Arc::new(
            move |_, event| {
                events.clone().try_send(event).unwrap();
            },
        )));
        a.ask(Trace)
            .into_future()
            .instrument(root.clone())
            .await
            .unwrap();
        place.kill();
        while !matches!(next.next().await, Some(ChildEvent::Ended(_))) {}
    }
    place.close(callboard::ExitReason::Stopped);
    let spans = ended(&system, &root).await;
    let incarnations: Vec<_> = spans
        .iter()
        .map(|span| &span.fields["incarnation"])
        .collect();
    assert_eq!(incarnations, ["1", "2"]);
}

#[test]
fn a_thread_that_is_no_arbiter_sends_in_its_span_too() {
    let root = root();
    let system = System::with_arbiters(2).unwrap();
    let [_, a] = chains(&system);
    let paths = root.in_scope(|| a.ask(Trace).blocking()).unwrap();
    assert_eq!(paths, CHAIN);
    system.shutdown_blocking().unwrap();
}

/// Runs a chain in a simulation and counts what its recorder saw.
fn spans_seen_by(recorder: &Recorder) -> (Vec<String>, usize) {
    let seen = recorder.clone();
    tracing::subscriber::with_default(recorder.clone(), || {
        let mut simulation = Simulation::new(7);
        let system = simulation.system().clone();
        simulation.block_on(async move {
            let root = debug_span!(target: "observed", "root");
            let [a, over] = chains(&system);
            let mut paths = Vec::new();
            for a in [a, over] {
                let asked = a.ask(Trace).into_future().instrument(root.clone());
                paths.extend(asked.await.unwrap());
                let (tx, mut rx) = mpsc::channel(8);
                let told = a.tell(Walk(tx)).into_future().instrument(root.clone());
                told.await.unwrap();
                while rx.next().await.is_some() {}
                a.ask(Later)
                    .into_future()
                    .instrument(root.clone())
                    .await
                    .unwrap();
            }
            (paths, seen.count())
        })
    })
}

#[test]
fn nothing_is_recorded_where_nobody_listens_to_handlers() {
    // The process has somebody who does; this thread has not.
    let _ = Recorder::global();
    let (_, spans) = spans_seen_by(&Recorder::new(false));
    assert_eq!(spans, 1, "the root alone");
}

#[test]
fn a_subscriber_of_one_thread_gets_its_own_spans() {
    // Ids of one subscriber mean nothing to the other: this one's assertion would fail.
    let global = Recorder::global();
    let before = root();
    let (_, spans) = spans_seen_by(&Recorder::new(true));
    // The root; a chain of three by asks and by tells; one deferred answer and the chain behind it; twice.
    assert_eq!(spans, 1 + 2 * (3 + 3 + 3));
    assert!(global.below(&before).is_empty());
}

#[test]
fn a_handler_on_another_thread_has_its_span_where_its_sender_has() {
    // Its numbers of spans mean others there, or none.
    let _ = Recorder::global();
    let system = System::with_arbiters(1).unwrap();
    let a = link(&system, "a", 0, None);
    let local = Recorder::new(true);
    tracing::subscriber::with_default(local.clone(), || {
        let root = debug_span!(target: "observed", "root");
        root.in_scope(|| a.ask(Trace).blocking()).unwrap();
        let spans = local.below(&root);
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].fields["actor"], "a");
    });
    system.shutdown_blocking().unwrap();
}

/// To itself: goes on, and notes below how many spans it was each time.
#[derive(Message)]
struct GoOn {
    left: u32,
    depths: Vec<usize>,
    done: oneshot::Sender<Vec<usize>>,
}

impl Handler<GoOn> for Link {
    async fn handle(&mut self, mut message: GoOn, ctx: &mut Context<Self>) {
        // Past an await, so that the depth is the handler's own at each poll.
        ctx.sleep(Duration::from_nanos(1)).await;
        message.depths.push(path().split('/').count());
        match message.left.checked_sub(1) {
            None => message.done.send(message.depths).unwrap(),
            Some(left) => {
                let next = GoOn { left, ..message };
                // By itself, or by a task of its own.
                if left % 2 == 0 {
                    ctx.me().try_tell(next).unwrap();
                } else {
                    ctx.pipe(async move { next });
                }
            }
        }
    }
}

#[callboard::test(both, seeds = 2)]
async fn g03_work_that_goes_on_for_ever_is_no_chain_of_spans_without_an_end(system: System) {
    let root = root();
    let link = system.start(Link { next: None });
    let (done, depths) = oneshot::channel();
    let first = GoOn {
        left: 1_000,
        depths: Vec::new(),
        done,
    };
    link.tell(first)
        .into_future()
        .instrument(root)
        .await
        .unwrap();
    let depths = depths.await.unwrap();
    // Below the root first; then a root again, over and over.
    assert_eq!(depths[..3], [2, 3, 4]);
    let deepest = depths.iter().max().unwrap();
    assert_eq!(*deepest, 257);
    assert_eq!(depths.iter().filter(|depth| **depth == 1).count(), 3);
}

#[callboard::test(both)]
async fn a_handler_is_a_span_of_the_trace_its_message_belongs_to(system: System) {
    for a in chains(&system) {
        let root = root();
        let parent = TraceParent::new(0xABC, 0xDEF, 1).unwrap();
        let ask = a.ask(Trace).trace_parent(parent).into_future();
        assert_eq!(ask.instrument(root.clone()).await.unwrap(), CHAIN);
        let spans = ended(&system, &root).await;
        let mut above = format!("{:016x}", parent.span_id());
        for span in &spans {
            assert_eq!(span.fields["trace_id"], format!("{:032x}", 0xABC));
            assert_eq!(span.fields["parent_id"], above);
            above.clone_from(&span.fields["span_id"]);
            assert_ne!(above, "0".repeat(16));
        }
        let own: BTreeSet<_> = spans.iter().map(|span| &span.fields["span_id"]).collect();
        assert_eq!(own.len(), 3);
        // One without a trace shows none.
        let other = debug_span!(target: "observed", parent: None, "other");
        let ask = a.ask(Trace).into_future();
        ask.instrument(other.clone()).await.unwrap();
        for span in ended(&system, &other).await {
            assert!(!span.fields.contains_key("trace_id"), "{span:?}");
        }
    }
}
