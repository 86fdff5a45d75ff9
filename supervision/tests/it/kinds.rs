//! Children that are no actors, and children that don't move, under a supervisor (G13).

use std::sync::Arc;

use callboard::{
    Actor, Context, Handler, Message, StopSignal, System, TaskPlace, ThreadPlace, Verdict,
};
use callboard_supervision::{Child, ChildState, OnFrozen, Supervisor};
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use parking_lot::Mutex;

use crate::common::{brisk, ms};

/// Waits for ever, or answers.
#[derive(Message)]
#[message(reply = u64)]
struct Work {
    for_ever: bool,
}

struct Clerk;
impl Actor for Clerk {}
impl Handler<Work> for Clerk {
    async fn handle(&mut self, work: Work, ctx: &mut Context<Self>) -> u64 {
        if work.for_ever {
            std::future::pending::<()>().await;
        }
        ctx.incarnation().0
    }
}

#[callboard::test(both)]
async fn g13_a_frozen_actor_is_killed_and_starts_again(system: System) {
    let clerk = system.actor(|| Clerk).label("clerk").handler_limit(ms(50));
    let (clerk, place) = clerk.place();
    let desk = Supervisor::builder("desk").backoff(brisk()).child(place);
    let desk = desk.start(&system).unwrap();
    let frozen = clerk
        .ask(Work { for_ever: true })
        .no_deadline()
        .into_future();
    let behind = clerk
        .ask(Work { for_ever: false })
        .no_deadline()
        .into_future();
    let (frozen, behind) = futures::future::join(frozen, behind).await;
    assert_eq!(frozen.unwrap_err().verdict(), Verdict::Executed);
    assert_eq!(
        behind.unwrap(),
        2,
        "what was queued is handled by the next incarnation"
    );
    let cause = desk
        .observe()
        .find("clerk")
        .unwrap()
        .last_cause
        .clone()
        .unwrap();
    assert!(
        cause.contains("no progress") && cause.contains("Work"),
        "{cause}"
    );
    desk.stop();
    desk.wait().await;
}

#[callboard::test(both)]
async fn g13_a_frozen_child_can_be_left_alone(system: System) {
    let clerk = system.actor(|| Clerk).label("clerk").handler_limit(ms(50));
    let (clerk, place) = clerk.place();
    let child = Child::permanent(place)
        .on_frozen(OnFrozen::Report)
        .shutdown_time(ms(1));
    let desk = Supervisor::builder("desk")
        .child(child)
        .start(&system)
        .unwrap();
    let events = desk.events();
    let mut frozen = events
        .subscribe(
            "tree.no_progress",
            callboard::topic::SubscriberOptions::default(),
        )
        .await
        .unwrap();
    clerk.try_tell(Work { for_ever: true }).unwrap();
    assert!(frozen.next().await.is_some());
    assert_eq!(
        desk.observe().find("clerk").unwrap().state,
        ChildState::Running
    );
    assert_eq!(desk.restarts(), 0);
    desk.stop();
    desk.wait().await;
}

#[callboard::test(both)]
async fn g13_a_task_is_a_child_like_others(system: System) {
    let (begun, mut begins) = mpsc::channel(8);
    let make = move |stop: StopSignal| {
        let begun = begun.clone();
        async move {
            let (fail, failed) = oneshot::channel::<()>();
            begun.clone().try_send(fail).ok();
            match futures::future::select(stop, failed).await {
                futures::future::Either::Left(_) => Ok(()),
                futures::future::Either::Right(_) => Err("told to fail"),
            }
        }
    };
    let place = TaskPlace::new(&system, "pump", make);
    let desk = Supervisor::builder("desk")
        .backoff(brisk())
        .child(Child::transient(place));
    let desk = desk.start(&system).unwrap();
    drop(begins.next().await);
    let fail = begins.next().await.unwrap();
    let tree = desk
        .until(|tree| tree.find("pump").unwrap().state == ChildState::Running)
        .await;
    assert_eq!(
        tree.to_string().lines().nth(1).unwrap(),
        "`-- pump (task): running, incarnation 2, restarts 1, last: failed: told to fail"
    );
    desk.stop();
    assert!(desk.wait().await.is_normal());
    drop(fail);
}

#[test]
fn g13_a_thread_that_does_not_end_is_replaced_by_choice() {
    let system = System::with_arbiters(1).unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let (begun, mut begins) = mpsc::channel(8);
    let run = move |stop: StopSignal| {
        begun.clone().try_send(()).ok();
        if stop.is_raised() {
            return Ok::<(), &str>(());
        }
        // It hears of nothing until the test lets it go.
        let _ = released.lock().recv();
        Err("too late")
    };
    let place = ThreadPlace::new(&system, "scanner", run).abandon_when_stuck();
    let child = Child::permanent(place).shutdown_time(ms(1));
    let desk = Supervisor::builder("desk")
        .child(child)
        .start(&system)
        .unwrap();
    futures::executor::block_on(async {
        begins.next().await.unwrap();
        let id = desk.child("scanner").unwrap();
        // The first is abandoned; the second waits for the lock that the first holds.
        desk.start_again(id).await.unwrap();
        begins.next().await.unwrap();
        assert_eq!(desk.observe().find("scanner").unwrap().incarnation.0, 2);
        drop(release);
        desk.stop();
        desk.wait().await;
    });
    system.shutdown_blocking().unwrap();
}
