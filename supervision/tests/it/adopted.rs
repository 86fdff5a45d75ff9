//! An actix actor under a supervisor: what its own `Supervisor` can't do after a panic.

use actix::{ActorFutureExt, AtomicResponse, WrapFuture};
use callboard::actix::{Adopted, adopt};
use callboard::{
    ActorRef, ExitReason, FailureKind, Incarnation, Message, Place, System, Terminated, Verdict,
    Watch,
};
use callboard_supervision::{Backoff, Child, Supervisor};
use futures::channel::oneshot;
use futures::future;

use crate::common::{Log, brisk, ms, secs};
use std::future::IntoFuture;
use std::sync::Arc;

struct Clerk {
    log: Log,
    handled: u64,
}

impl actix::Actor for Clerk {
    type Context = actix::Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.log.push("stopped");
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.log.push("dropped");
    }
}

/// Answered with how many were handled since the start, or with a panic.
#[derive(Message, actix::Message, Debug, PartialEq)]
#[message(reply = u64)]
#[rtype(result = "u64")]
struct Work {
    well: bool,
}

impl actix::Handler<Work> for Clerk {
    type Result = u64;

    fn handle(&mut self, Work { well }: Work, _: &mut Self::Context) -> u64 {
        assert!(well, "told to crash");
        self.handled += 1;
        self.handled
    }
}

/// Keeps the actor to itself until the gate opens.
#[derive(Message, actix::Message)]
#[rtype(result = "()")]
struct Hold(oneshot::Sender<()>, oneshot::Receiver<()>);

impl actix::Handler<Hold> for Clerk {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, Hold(begun, gate): Hold, _: &mut Self::Context) -> Self::Result {
        begun.send(()).expect("the test waits");
        let gate = gate.into_actor(self).map(|_, _, _| ());
        AtomicResponse::new(Box::pin(gate))
    }
}

fn clerk(system: &System) -> (ActorRef<Adopted<Clerk>>, Arc<dyn Place>, Log) {
    let log = Log::default();
    let inner = log.clone();
    let make = adopt(move || Clerk {
        log: inner.clone(),
        handled: 0,
    });
    let (clerk, place) = system.actor(make).label("clerk").place();
    (clerk, place, log)
}

#[callboard::test(arbiters)]
async fn g13_an_adopted_child_is_made_anew_after_a_panic_and_keeps_its_references(system: System) {
    let (clerk, place, log) = clerk(&system);
    let pages = Supervisor::builder("pages")
        .backoff(brisk())
        .child(place)
        .start(&system)
        .unwrap();
    assert_eq!(clerk.ask(Work { well: true }).await.unwrap(), 1);
    assert_eq!(clerk.ask(Work { well: true }).await.unwrap(), 2);
    let crash = clerk.ask(Work { well: false }).into_future();
    let behind = clerk.ask(Work { well: true }).into_future();
    let (crash, behind) = future::join(crash, behind).await;
    let failure = crash.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Panicked);
    assert_eq!(failure.verdict(), Verdict::Executed);
    // What was queued behind is handled, by an actor that counts from the start.
    assert_eq!(behind.unwrap(), 1);
    assert_eq!(clerk.incarnation(), Incarnation(2));
    assert_eq!(pages.restarts(), 1);
    assert_eq!(log.lines(), ["dropped"]);
    pages.stop();
    pages.wait().await;
    assert_eq!(log.lines(), ["dropped", "stopped", "dropped"]);
}

#[callboard::test(arbiters)]
async fn g15_an_adopted_child_that_always_panics_is_given_up_and_its_watcher_told(system: System) {
    let (clerk, place, _) = clerk(&system);
    let (tx, told) = oneshot::channel::<Terminated>();
    clerk.watch(Box::new(move |notice| drop(tx.send(notice))));
    let pages = Supervisor::builder("pages")
        .backoff(Backoff::none())
        .intensity(3, secs(60))
        .child(place)
        .start(&system)
        .unwrap();
    for _ in 0..4 {
        // The last may find it given up.
        clerk.ask(Work { well: false }).await.unwrap_err();
    }
    let ExitReason::Failed(_) = pages.wait().await else {
        panic!("the supervisor gave up in order");
    };
    let notice = told.await.unwrap();
    assert_eq!(notice.reason, ExitReason::Failed("told to crash".into()));
    let error = clerk.ask(Work { well: true }).await.unwrap_err();
    assert_eq!(error.into_message(), Some(Work { well: true }));
}

#[callboard::test(arbiters)]
async fn g15_an_adopted_child_that_does_not_end_in_its_time_is_killed(system: System) {
    let (clerk, place, log) = clerk(&system);
    let pages = Supervisor::builder("pages")
        .child(Child::permanent(place).shutdown_time(ms(5)))
        .start(&system)
        .unwrap();
    let (begun_tx, begun) = oneshot::channel();
    let (_gate, gate_rx) = oneshot::channel();
    let asking = clerk.ask(Hold(begun_tx, gate_rx));
    let stopping = async {
        begun.await.unwrap();
        pages.stop();
        pages.wait().await;
    };
    let (asked, ()) = future::join(asking.into_future(), stopping).await;
    let failure = asked.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Killed);
    assert_eq!(failure.verdict(), Verdict::Executed);
    assert_eq!(log.lines(), ["dropped"]);
}
