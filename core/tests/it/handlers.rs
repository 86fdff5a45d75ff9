//! What handlers may do to the memory they run in: futures of odd sizes, panics at every stage of their lives,
//! and answers from anywhere. Under AddressSanitizer these say the most.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use callboard::{
    Actor, Context, DeferredHandler, DropReason, ExitReason, FailureKind, Handler, Message,
    Placement, Responder, System, Verdict,
};
use futures::channel::mpsc;
use futures::{FutureExt, StreamExt};

use crate::common::{Hold, Log, Note, Worker, worker, worker_near};

/// Lets others of the thread have a turn, so that what stands before is held across an await.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Held across an await by the handler: more than a buffer that is kept, and over-aligned besides.
#[derive(Message, Clone, Copy)]
#[message(reply = u64)]
struct Bulky {
    byte: u8,
    waits: bool,
}

#[derive(Clone, Copy)]
#[repr(align(256))]
struct Slab([u8; 5_000]);

impl Handler<Bulky> for Worker {
    async fn handle(&mut self, bulky: Bulky, _: &mut Context<Self>) -> u64 {
        let slab = std::hint::black_box(Slab([bulky.byte; 5_000]));
        if bulky.waits {
            yield_now().await;
        }
        assert_eq!(std::ptr::from_ref(&slab).addr() % 256, 0);
        slab.0.iter().map(|byte| u64::from(*byte)).sum()
    }
}

#[callboard::test(both)]
async fn g01_handlers_larger_than_a_buffer_and_over_aligned_take_turns_with_small_ones(
    system: System,
) {
    let (worker, _) = worker(&system);
    let neighbour = worker_near(&system, &worker);
    for byte in 0..20 {
        let waits = byte % 3 == 0;
        let both = [&worker, &neighbour].map(|to| to.ask(Bulky { byte, waits }).into_future());
        let small = neighbour.ask(Note(7)).into_future();
        let (bulky, small) = futures::join!(futures::future::join_all(both), small);
        for sum in bulky {
            assert_eq!(sum.unwrap(), 5_000 * u64::from(byte));
        }
        assert_eq!(small.unwrap(), 7);
    }
    // One that is given up while it waits.
    let (hold, began, _gate) = Hold::new();
    worker.try_tell(hold).unwrap();
    began.await.unwrap();
    let waits = true;
    neighbour.try_tell(Bulky { byte: 1, waits }).unwrap();
    neighbour.kill();
    worker.kill();
    assert_eq!(neighbour.wait().await, ExitReason::Killed);
    assert_eq!(worker.wait().await, ExitReason::Killed);
}

/// When a handler goes wrong, and how.
#[derive(Message, Debug, Clone, Copy, PartialEq)]
#[message(reply = Arc<()>)]
enum Faulty {
    FirstPoll,
    LaterPoll,
    /// The future has ended, with its first poll, and panics when it is dropped.
    DropAtOnce,
    DropLater,
    /// Never ends; its drop panics.
    DropUnended,
}

/// A future written by hand, because what an `async fn` holds is dropped in its polls.
struct Faults {
    what: Faulty,
    polled: u32,
    reply: Arc<()>,
    log: Log,
}

impl Future for Faults {
    type Output = Arc<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Arc<()>> {
        self.polled += 1;
        let first = self.polled == 1;
        match self.what {
            Faulty::FirstPoll => panic!("in the first poll"),
            Faulty::LaterPoll if !first => panic!("in a later poll"),
            Faulty::DropAtOnce => return Poll::Ready(Arc::clone(&self.reply)),
            Faulty::DropLater if !first => return Poll::Ready(Arc::clone(&self.reply)),
            Faulty::DropUnended => {}
            _ => cx.waker().wake_by_ref(),
        }
        self.log.push("waits");
        Poll::Pending
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.log.push("future dropped");
        let in_poll = matches!(self.what, Faulty::FirstPoll | Faulty::LaterPoll);
        assert!(in_poll, "in the drop");
    }
}

struct Breaks {
    log: Log,
    /// One for each reply that is alive.
    replies: Arc<()>,
}

impl Actor for Breaks {}

impl Handler<Faulty> for Breaks {
    fn handle(&mut self, what: Faulty, _: &mut Context<Self>) -> impl Future<Output = Arc<()>> {
        Faults {
            what,
            polled: 0,
            reply: Arc::clone(&self.replies),
            log: self.log.clone(),
        }
    }
}

#[callboard::test(both)]
async fn g10_a_handler_may_panic_at_any_stage_of_its_future(system: System) {
    let stages = [
        (Faulty::FirstPoll, "in the first poll"),
        (Faulty::LaterPoll, "in a later poll"),
        (Faulty::DropAtOnce, "in the drop"),
        (Faulty::DropLater, "in the drop"),
    ];
    let (neighbour, _) = worker(&system);
    for (what, text) in stages {
        let (log, replies) = (Log::default(), Arc::new(()));
        let inner = (log.clone(), Arc::clone(&replies));
        let breaks = system
            .actor(move || Breaks {
                log: inner.0,
                replies: inner.1,
            })
            .near(&neighbour)
            .start();
        let error = breaks.ask(what).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.verdict()),
            (FailureKind::Panicked, Verdict::Executed),
            "{what:?}"
        );
        assert_eq!(breaks.wait().await, ExitReason::Failed(text.into()));
        let dropped = log.lines();
        let dropped = dropped.iter().filter(|line| *line == "future dropped");
        assert_eq!(dropped.count(), 1, "{what:?}");
        // A reply that was made and reached nobody is gone.
        assert_eq!(Arc::strong_count(&replies), 1, "{what:?}");
        assert_eq!(neighbour.ask(Note(1)).await.unwrap(), 1, "{what:?}");
    }
    assert_eq!(system.counters().panics(), stages.len() as u64);
}

#[callboard::test(both)]
async fn g10_a_handler_that_is_killed_may_panic_as_it_is_dropped(system: System) {
    let (neighbour, _) = worker(&system);
    let (log, replies) = (Log::default(), Arc::new(()));
    let inner = log.clone();
    let breaks = system
        .actor(move || Breaks {
            log: inner,
            replies,
        })
        .near(&neighbour)
        .start();
    let mut asked = Box::pin(breaks.ask(Faulty::DropUnended).into_future());
    assert!(asked.as_mut().now_or_never().is_none());
    while log.lines().is_empty() {
        neighbour.ask(Note(1)).await.unwrap();
    }
    breaks.kill();
    let error = asked.await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::Executed);
    assert_eq!(breaks.wait().await, ExitReason::Killed);
    assert_eq!(log.lines(), ["waits", "future dropped"]);
    assert_eq!(neighbour.ask(Note(1)).await.unwrap(), 1);
}

fn on_another_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// Hands its responders out.
struct Clerk {
    out: mpsc::Sender<Responder<Arc<u64>>>,
}

#[derive(Message)]
#[message(reply = Arc<u64>)]
struct Ticket;

impl Actor for Clerk {}

impl DeferredHandler<Ticket> for Clerk {
    async fn handle_deferred(
        &mut self,
        _: Ticket,
        responder: Responder<Arc<u64>>,
        _: &mut Context<Self>,
    ) {
        let _ = self.out.try_send(responder);
    }
}

#[callboard::test(both)]
async fn g08_a_responder_may_be_used_on_another_thread_after_the_asker_gave_up(system: System) {
    let (out, mut responders) = mpsc::channel(10);
    let clerk = system.start(Clerk { out });
    let reply = Arc::new(7);
    for round in 0..20_u64 {
        let mut asked = Box::pin(clerk.ask(Ticket).into_future());
        assert!(asked.as_mut().now_or_never().is_none());
        let Some(responder) = responders.next().await else {
            panic!("the clerk lives")
        };
        let elsewhere = Arc::clone(&reply);
        // Before, after, and at the same time.
        match round % 4 {
            0 => {
                drop(asked);
                on_another_thread(|| responder.send(elsewhere));
            }
            1 => {
                on_another_thread(|| responder.send(elsewhere));
                drop(asked);
            }
            2 => std::thread::scope(|scope| {
                scope.spawn(|| responder.send(elsewhere));
                drop(asked);
            }),
            _ => {
                // One that nobody will answer.
                drop((asked, elsewhere));
                on_another_thread(|| drop(responder));
            }
        }
        assert_eq!(Arc::strong_count(&reply), 1);
    }
    // What was answered first was dropped with the ask and is late as well; at the same time it may be either.
    let late = system.counters().drops(DropReason::LateReply);
    assert!((5..=15).contains(&late), "{late}");
}

#[test]
fn g07_a_responder_may_outlive_its_system() {
    let system = System::with_arbiters(1).unwrap();
    let (out, mut responders) = mpsc::channel(10);
    let clerk = system.start(Clerk { out });
    let mut asked = [(); 2].map(|()| Box::pin(clerk.ask(Ticket).into_future()));
    for asked in &mut asked {
        assert!(asked.as_mut().now_or_never().is_none());
    }
    let mut next = || futures::executor::block_on(responders.next()).unwrap();
    let (first, second) = (next(), next());
    futures::executor::block_on(system.shutdown());
    while system.spawn(Placement::Pinned(0), || async {}) {
        std::thread::yield_now();
    }
    drop(system);
    let [one, two] = asked;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            first.send(Arc::new(7));
            drop(second);
        });
        assert_eq!(*futures::executor::block_on(one).unwrap(), 7);
        let error = futures::executor::block_on(two).unwrap_err();
        assert_eq!(error.kind(), FailureKind::NoAnswer);
    });
}

#[callboard::test(both)]
async fn g07_an_ask_may_move_to_another_thread_between_its_polls(system: System) {
    let (out, mut responders) = mpsc::channel(10);
    let clerk = system.start(Clerk { out });
    for round in 0..6_u64 {
        // Its first poll is here, or there.
        let clerk = clerk.clone();
        let mut asked = Box::pin(async move {
            let limit = Duration::from_secs(20);
            clerk.ask(Ticket).deadline(limit).await
        });
        if round % 2 == 0 {
            assert!(asked.as_mut().now_or_never().is_none());
        }
        let mut asked = on_another_thread(move || {
            assert!(asked.as_mut().now_or_never().is_none());
            asked
        });
        let Some(responder) = responders.next().await else {
            panic!("the clerk lives")
        };
        match round % 3 {
            // Back here, and waits here.
            0 => {
                assert!(asked.as_mut().now_or_never().is_none());
                on_another_thread(move || responder.send(Arc::new(round)));
                assert_eq!(*asked.await.unwrap(), round);
            }
            // Ends there.
            1 => {
                responder.send(Arc::new(round));
                on_another_thread(move || drop(asked));
            }
            // Given up there, with its deadline armed.
            _ => {
                on_another_thread(move || drop(asked));
                responder.send(Arc::new(round));
            }
        }
    }
}
