//! Starting in order, stopping in reverse, killing what is late: G15, G11.

use callboard::{Actor, Context, ExitReason, Handler, Message, System, Watch};
use callboard_supervision::{Child, ChildState, Supervisor};
use futures::channel::oneshot;

use crate::common::{Bench, Crash, Hold, Note, ms, secs};

#[callboard::test(both)]
async fn g15_children_start_in_order_and_stop_in_reverse(system: System) {
    let bench = Bench::new(&system).slow(ms(2));
    let mut builder = Supervisor::builder("pages");
    for name in ["a", "b", "c"] {
        builder = builder.child(bench.worker(name).1);
    }
    let pages = builder.start(&system).unwrap();
    pages.up().await.unwrap();
    pages.stop();
    assert!(pages.wait().await.is_normal());
    let expected = [
        "a starts 1",
        "b starts 1",
        "c starts 1",
        "c stopped",
        "c dropped",
        "b stopped",
        "b dropped",
        "a stopped",
        "a dropped",
    ];
    assert_eq!(bench.log.lines(), expected);
}

#[callboard::test]
async fn g15_a_stop_while_starting_stops_what_was_started(system: System) {
    let bench = Bench::new(&system).slow(secs(1));
    let (first, first_place, _) = bench.worker("first");
    let (second, second_place, _) = bench.worker("second");
    let (third, third_place, _) = bench.worker("third");
    let pages = Supervisor::builder("pages")
        .child(first_place)
        .child(second_place)
        .child(third_place)
        .start(&system)
        .unwrap();
    pages
        .until(|tree| tree.find("second").unwrap().state == ChildState::Starting)
        .await;
    pages.stop();
    assert!(pages.wait().await.is_normal());
    assert!(
        !bench
            .log
            .lines()
            .iter()
            .any(|line| line.starts_with("third"))
    );
    for worker in [first, second, third] {
        assert!(!worker.is_alive());
        assert!(worker.exit_reason().is_some());
    }
}

#[callboard::test]
async fn g15_what_is_late_is_killed_after_its_shutdown_time(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let pages = Supervisor::builder("pages")
        .child(Child::permanent(place).shutdown_time(secs(3)))
        .start(&system)
        .unwrap();
    let (begun_tx, begun) = oneshot::channel();
    let (_gate, gate_rx) = oneshot::channel::<()>();
    let hold = Hold {
        begun: begun_tx,
        gate: gate_rx,
    };
    worker.tell(hold).await.unwrap();
    begun.await.unwrap();
    let before = system.clock().now();
    pages.stop();
    assert!(pages.wait().await.is_normal());
    assert_eq!(system.clock().now().since(before), secs(3));
    assert_eq!(worker.wait().await, ExitReason::Killed);
    assert_eq!(bench.log.lines(), ["worker starts 1", "worker dropped"]);
}

#[callboard::test(both)]
async fn g12_a_restart_is_no_termination_and_the_end_is_one(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let pages = Supervisor::builder("pages")
        .backoff(crate::common::brisk())
        .child(place)
        .start(&system)
        .unwrap();
    let (tx, mut rx) = oneshot::channel();
    worker.watch(Box::new(move |notice| tx.send(notice).unwrap()));
    worker.ask(Crash).await.unwrap_err();
    worker.ask(Note(1)).await.unwrap();
    assert_eq!(rx.try_recv(), Ok(None));
    pages.stop();
    let notice = rx.await.unwrap();
    assert_eq!(notice.reason, ExitReason::Stopped);
    assert_eq!(notice.incarnation.0, 2);
}

#[callboard::test(both)]
async fn g11_a_killed_supervisor_kills_its_children(system: System) {
    let bench = Bench::new(&system);
    let (a, a_place, _) = bench.worker("a");
    let (b, b_place, _) = bench.worker("b");
    let pages = Supervisor::builder("pages")
        .child(a_place)
        .child(b_place)
        .start(&system)
        .unwrap();
    pages.up().await.unwrap();
    pages.actor().kill();
    assert_eq!(pages.wait().await, ExitReason::Killed);
    assert_eq!(a.wait().await, ExitReason::Killed);
    assert_eq!(b.wait().await, ExitReason::Killed);
    let tree = pages.observe();
    assert_eq!(tree.find("a").unwrap().state, ChildState::Failed);
}

#[callboard::test(both)]
async fn g11_the_systems_shutdown_stops_a_tree_in_order(system: System) {
    let bench = Bench::new(&system);
    let pages = Supervisor::builder("pages")
        .child(bench.worker("a").1)
        .child(bench.worker("b").1)
        .start(&system)
        .unwrap();
    pages.up().await.unwrap();
    let late = system.shutdown().await;
    assert!(late.is_empty(), "{late:?}");
    let lines = bench.log.lines();
    assert_eq!(
        lines[2..],
        ["b stopped", "b dropped", "a stopped", "a dropped"]
    );
}

#[callboard::test(both)]
async fn a_supervisor_without_children_is_up_and_stops(system: System) {
    let empty = Supervisor::builder("empty").start(&system).unwrap();
    empty.up().await.unwrap();
    assert_eq!(
        empty.observe().to_string(),
        "empty (supervisor): running, mailbox 0/1024"
    );
    empty.stop();
    assert!(empty.wait().await.is_normal());
}

/// In virtual time: a place that no supervisor has started yet holds a shutdown up until it is abandoned.
#[callboard::test]
async fn a_supervisor_in_a_system_that_is_shut_down_ends_at_once(system: System) {
    let bench = Bench::new(&system);
    let (worker, place, _) = bench.worker("worker");
    let builder = Supervisor::builder("late").child(place);
    system.shutdown().await;
    let late = builder.start(&system).unwrap();
    assert_eq!(late.wait().await, ExitReason::Killed);
    assert!(!worker.is_alive());
}

/// An actor can own a supervisor like any value, and ask it.
#[callboard::test(both)]
async fn a_supervisor_can_be_started_by_an_actor(system: System) {
    struct Owner(Option<callboard_supervision::SupervisorRef>);
    #[derive(Message)]
    #[message(reply = String)]
    struct Draw;
    impl Actor for Owner {
        async fn starting(
            &mut self,
            ctx: &mut Context<Self>,
        ) -> Result<(), callboard::StartFailure> {
            let bench = Bench::new(ctx.system());
            let tree = Supervisor::builder("owned").child(bench.worker("inner").1);
            let tree = tree.start(ctx.system())?;
            tree.up()
                .await
                .map_err(|reason| callboard::StartFailure::new(reason.to_string()))?;
            self.0 = Some(tree);
            Ok(())
        }
    }
    impl Handler<Draw> for Owner {
        async fn handle(&mut self, _: Draw, _: &mut Context<Self>) -> String {
            self.0.as_ref().unwrap().observe().to_string()
        }
    }
    let owner = system.actor(|| Owner(None)).start();
    let drawn = owner.ask(Draw).await.unwrap();
    assert!(drawn.contains("`-- inner (actor): running"), "{drawn}");
}
