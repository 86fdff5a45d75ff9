//! The life of an actor: its hooks, its start, what it leaves behind, its children (G11, G13, G16).

use std::time::Duration;

use callboard::{
    Actor, ActorRef, ChildEvent, Context, ExitReason, Handler, LeftBehind, Message, StartFailure,
    System,
};
use futures::channel::oneshot;

use crate::common::{Do, Hold, Log, Note, Placed, Player, player};

#[callboard::test(both)]
async fn g11_a_life_in_order(system: System) {
    let (player, log) = player(&system, "player");
    player.tell(Note(1)).await.unwrap();
    player.drain();
    assert_eq!(player.wait().await, ExitReason::Stopped);
    let expected = [
        "starting 1",
        "started",
        "note 1",
        "stopping",
        "stopped: stopped",
        "dropped",
    ];
    assert_eq!(log.lines(), expected);
}

#[callboard::test(both)]
async fn g13_the_next_incarnation_gets_what_the_last_left_behind(system: System) {
    let mut placed = Placed::new(&system, "placed");
    placed.start().await;
    // Twice: the newest counts; and a panic doesn't take it away.
    let work = Do::this(|_, ctx| {
        ctx.leave_behind("a draft".to_owned());
        ctx.leave_behind("page 7".to_owned());
        panic!("the ink is spilt");
    });
    placed.player.ask(work).await.unwrap_err();
    let reason = placed.ended().await;
    assert_eq!(reason, ExitReason::Failed("the ink is spilt".into()));
    placed.start().await;
    placed.player.ask(Note(1)).await.unwrap();
    // What was taken is gone, and of another type is nothing.
    placed
        .player
        .ask(Do::this(|_, ctx| ctx.leave_behind(7_u8)))
        .await
        .unwrap();
    placed.place.kill();
    assert_eq!(placed.ended().await, ExitReason::Killed);
    placed.start().await;
    placed.player.ask(Note(2)).await.unwrap();
    let expected = [
        "starting 1",
        "started",
        "dropped",
        "restarting 2 with Some(\"page 7\")",
        "started",
        "note 1",
        "dropped",
        "restarting 3 with None",
        "started",
        "note 2",
    ];
    assert_eq!(placed.log.lines(), expected);
    placed.place.stop();
    placed.ended().await;
    placed.place.close(ExitReason::Stopped);
}

#[callboard::test(both)]
async fn restarting_is_starting_unless_written_otherwise(system: System) {
    struct Plain(Log);
    impl Actor for Plain {
        async fn starting(&mut self, ctx: &mut Context<Self>) -> Result<(), StartFailure> {
            self.0.push(format!("starting {}", ctx.incarnation()));
            Ok(())
        }
    }
    let log = Log::default();
    let inner = log.clone();
    let (plain, place) = system.actor(move || Plain(inner.clone())).place();
    let (tx, mut events) = futures::channel::mpsc::channel(16);
    let on_event: callboard::OnChildEvent = std::sync::Arc::new(move |_, event| {
        tx.clone().try_send(event).unwrap();
    });
    for _ in 0..2 {
        place.start(callboard::Terms::new(on_event.clone()));
        assert_eq!(events.recv().await, Ok(ChildEvent::Started));
        place.stop();
        assert_eq!(
            events.recv().await,
            Ok(ChildEvent::Ended(ExitReason::Stopped))
        );
    }
    place.close(ExitReason::Stopped);
    plain.wait().await;
    assert_eq!(log.lines(), ["starting 1", "starting 2"]);
}

#[test]
fn what_was_left_behind_is_taken_by_its_type() {
    let mut nothing = LeftBehind::default();
    assert!(nothing.is_empty());
    assert_eq!(nothing.take::<u8>(), None);
}

/// Takes its time to start.
struct Slow(Option<oneshot::Receiver<()>>, Log);

impl Actor for Slow {
    async fn starting(&mut self, _: &mut Context<Self>) -> Result<(), StartFailure> {
        self.1.push("starting");
        self.0.take().ok_or(StartFailure::new("no gate"))?.await?;
        Ok(())
    }

    async fn stopped(&mut self, _: &ExitReason) {
        self.1.push("stopped");
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.1.push("dropped");
    }
}

impl Handler<Note> for Slow {
    async fn handle(&mut self, Note(n): Note, _: &mut Context<Self>) -> u64 {
        n
    }
}

fn slow(system: &System, limit: Option<Duration>) -> (ActorRef<Slow>, Log, oneshot::Sender<()>) {
    let (gate_tx, gate) = oneshot::channel();
    let log = Log::default();
    let inner = log.clone();
    let slow = system
        .actor(move || Slow(Some(gate), inner))
        .start_limit(limit)
        .start();
    (slow, log, gate_tx)
}

#[callboard::test(both)]
async fn g16_a_start_that_takes_too_long_has_failed(system: System) {
    let (slow, log, gate) = slow(&system, Some(Duration::from_millis(20)));
    // It waits in the mailbox, and its asker is told.
    let error = slow.ask(Note(1)).await.unwrap_err();
    assert_eq!(error.verdict(), callboard::Verdict::NotExecuted);
    let reason = slow.wait().await;
    let expected = "`starting` took longer than 20ms";
    assert_eq!(reason, ExitReason::Failed(expected.into()));
    assert_eq!(log.lines(), ["starting", "dropped"]);
    // Its future was dropped, and with it what it waited for.
    assert!(gate.is_canceled());
}

#[callboard::test(both)]
async fn g16_a_start_in_time_or_without_a_limit_succeeds(system: System) {
    for limit in [Some(Duration::from_secs(20)), None] {
        let (slow, log, gate) = slow(&system, limit);
        slow.tell(Note(1)).await.unwrap();
        gate.send(()).unwrap();
        assert_eq!(slow.ask(Note(2)).await.unwrap(), 2);
        slow.stop();
        assert_eq!(slow.wait().await, ExitReason::Stopped);
        assert_eq!(log.lines(), ["starting", "stopped", "dropped"]);
    }
}

#[callboard::test]
async fn g16_the_limit_of_a_start_is_over_with_it(system: System) {
    let (slow, _, gate) = slow(&system, Some(Duration::from_secs(10)));
    gate.send(()).unwrap();
    slow.ask(Note(1)).await.unwrap();
    system.clock().sleep(Duration::from_secs(60)).await;
    assert_eq!(slow.ask(Note(2)).await.unwrap(), 2);
}

#[callboard::test(both)]
async fn g11_a_kill_ends_a_start(system: System) {
    let (slow, log, _gate) = slow(&system, None);
    while log.lines().is_empty() {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    slow.kill();
    assert_eq!(slow.wait().await, ExitReason::Killed);
    assert_eq!(log.lines(), ["starting", "dropped"]);
}

/// Panics where it is told to.
struct Fragile {
    at: &'static str,
    log: Log,
}

impl Fragile {
    fn reach(&self, at: &'static str) {
        self.log.push(at);
        assert_ne!(self.at, at, "broke");
    }
}

impl Actor for Fragile {
    async fn starting(&mut self, _: &mut Context<Self>) -> Result<(), StartFailure> {
        self.reach("starting");
        Ok(())
    }

    async fn started(&mut self, _: &mut Context<Self>) {
        self.reach("started");
    }

    async fn stopping(&mut self, _: &mut Context<Self>) {
        self.reach("stopping");
    }

    async fn stopped(&mut self, _: &ExitReason) {
        self.reach("stopped");
    }
}

#[callboard::test(both)]
async fn g10_a_panic_in_a_hook_ends_the_actor_and_nothing_else(system: System) {
    let hooks = ["starting", "started", "stopping", "stopped"];
    for (n, at) in hooks.into_iter().enumerate() {
        let log = Log::default();
        let inner = log.clone();
        let fragile = system.actor(move || Fragile { at, log: inner }).start();
        fragile.stop();
        let reason = fragile.wait().await;
        // A farewell that panics changes nothing in the reason.
        assert_eq!(reason.is_normal(), n >= 2, "{at}: {reason}");
        assert_eq!(log.lines(), hooks[..=n]);
        assert_eq!(system.counters().panics(), n as u64 + 1);
    }
}

/// Starts a child of `ctx`, and gives it a name.
fn child(ctx: &mut Context<Player>, log: &Log, label: &'static str) -> ActorRef<Player> {
    let log = log.clone();
    ctx.child(move || Player { log }).label(label).start()
}

#[callboard::test(both)]
async fn g13_children_end_before_their_parent_the_newest_first(system: System) {
    let (parent, log) = player(&system, "parent");
    let (tx, rx) = oneshot::channel();
    let start = Do::this(move |player, ctx| {
        let first = Log::default();
        let children = (
            child(ctx, &player.log, "first"),
            child(ctx, &first, "second"),
        );
        assert_eq!(ctx.children(), 2);
        tx.send((children, first)).unwrap();
    });
    parent.ask(start).await.unwrap();
    let ((first, second), second_log) = rx.await.unwrap();
    // Both have something in hand, so that their order shows.
    let (hold, began, gate) = Hold::new();
    second.tell(hold).await.unwrap();
    began.await.unwrap();
    first.ask(Note(1)).await.unwrap();
    parent.stop();
    while !log.lines().contains(&"stopping".to_owned()) {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    assert!(first.is_alive(), "the newest first");
    gate.send(()).unwrap();
    assert_eq!(parent.wait().await, ExitReason::Stopped);
    assert_eq!(second.exit_reason(), Some(ExitReason::Stopped));
    assert_eq!(first.exit_reason(), Some(ExitReason::Stopped));
    assert_eq!(second_log.lines().last().unwrap(), "dropped");
    // `stopping` runs while they live, `stopped` when they have ended. (They share a log.)
    let lines = log.lines();
    let expected = [
        "starting 1",
        "started",
        "starting 1",
        "started",
        "note 1",
        "stopping",
        "stopping",
        "stopped: stopped",
        "dropped",
        "stopped: stopped",
        "dropped",
    ];
    assert_eq!(lines, expected);
}

#[callboard::test(both)]
async fn g13_children_have_ended_when_a_panic_of_their_parent_is_reported(system: System) {
    let mut placed = Placed::new(&system, "parent");
    placed.start().await;
    let child_log = Log::default();
    let inner = child_log.clone();
    let (tx, rx) = oneshot::channel();
    let start = Do::this(move |_, ctx| tx.send(child(ctx, &inner, "child")).unwrap());
    placed.player.ask(start).await.unwrap();
    let child = rx.await.unwrap();
    child.ask(Note(1)).await.unwrap();
    let panic = Do::this(|_, _| panic!("boom"));
    placed.player.ask(panic).await.unwrap_err();
    assert_eq!(placed.ended().await, ExitReason::Failed("boom".into()));
    assert_eq!(child.exit_reason(), Some(ExitReason::Killed));
    assert_eq!(child_log.lines().last().unwrap(), "dropped");
    placed.start().await;
    let none = Do::this(|_, ctx| assert_eq!(ctx.children(), 0));
    placed.player.ask(none).await.unwrap();
    placed.place.kill();
    assert_eq!(placed.ended().await, ExitReason::Killed);
    placed.place.close(ExitReason::Killed);
}

#[callboard::test(both)]
async fn a_child_that_ends_by_itself_leaves_its_parent(system: System) {
    let (parent, log) = player(&system, "parent");
    let (tx, rx) = oneshot::channel();
    let start = Do::this(move |_, ctx| {
        let child = child(ctx, &Log::default(), "child");
        ctx.watch(&child);
        tx.send(child).unwrap();
    });
    parent.ask(start).await.unwrap();
    let child = rx.await.unwrap();
    child.stop();
    child.wait().await;
    let none = Do::this(|_, ctx| assert_eq!(ctx.children(), 0));
    parent.ask(none).await.unwrap();
    assert_eq!(log.lines()[2..], ["child stopped"]);
}

#[callboard::test(both)]
async fn a_child_that_is_started_too_late_is_killed(system: System) {
    let (parent, _) = player(&system, "parent");
    let (tx, rx) = oneshot::channel();
    let prepare = Do::this(move |_, ctx| {
        let log = Log::default();
        let spawn = ctx.child(|| Player {
            log: Log::default(),
        });
        tx.send((spawn.label("child"), log)).ok().unwrap();
    });
    parent.ask(prepare).await.unwrap();
    let (spawn, log) = rx.await.unwrap();
    parent.stop();
    parent.wait().await;
    let child = spawn.start();
    assert_eq!(child.exit_reason(), Some(ExitReason::Killed));
    assert!(log.lines().is_empty());
}

#[callboard::test]
async fn g11_a_child_that_does_not_stop_in_time_is_killed(system: System) {
    let (parent, log) = player(&system, "parent");
    let (tx, rx) = oneshot::channel();
    let start = Do::this(move |_, ctx| tx.send(child(ctx, &Log::default(), "child")).unwrap());
    parent.ask(start).await.unwrap();
    let child = rx.await.unwrap();
    let (hold, began, _gate) = Hold::new();
    child.tell(hold).await.unwrap();
    began.await.unwrap();
    let before = system.clock().now();
    parent.stop();
    parent.wait().await;
    assert_eq!(child.exit_reason(), Some(ExitReason::Killed));
    assert_eq!(system.clock().now().since(before), Duration::from_secs(5));
    assert_eq!(log.lines().last().unwrap(), "dropped");
}

/// A message whose handler panics in the parent, while a child is being stopped.
#[derive(Message)]
struct Never;

#[callboard::test(both)]
async fn g11_a_shutdown_leaves_children_to_their_parents(system: System) {
    struct Parent(Log);
    impl Actor for Parent {
        async fn started(&mut self, ctx: &mut Context<Self>) {
            let log = self.0.clone();
            ctx.child(move || Player { log }).label("child").start();
        }

        async fn stopped(&mut self, _: &ExitReason) {
            self.0.push("parent stopped");
        }
    }
    impl Handler<Never> for Parent {
        async fn handle(&mut self, _: Never, _: &mut Context<Self>) {}
    }
    let log = Log::default();
    let parent = system.start(Parent(log.clone()));
    parent.ask(Never).await.unwrap();
    assert!(system.shutdown().await.is_empty());
    let expected = [
        "starting 1",
        "started",
        "stopping",
        "stopped: stopped",
        "dropped",
        "parent stopped",
    ];
    assert_eq!(log.lines(), expected);
}
