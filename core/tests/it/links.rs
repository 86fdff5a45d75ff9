//! G12: watches that end, restarts that show, links.

use std::sync::Arc;

use callboard::{
    ActorRef, Context, ExitReason, LifeEvent, System, Terminated, Watch, WatchHandle, Watching,
};
use futures::channel::oneshot;
use proptest::prelude::*;

use crate::common::{Do, Hold, Note, Placed, Player, player};

/// Has a player do something to another, and answers what comes of it.
async fn play<T: Send + 'static>(
    player: &ActorRef<Player>,
    other: &ActorRef<Player>,
    act: impl FnOnce(&mut Context<Player>, &ActorRef<Player>) -> T + Send + 'static,
) -> T {
    let (tx, rx) = oneshot::channel();
    let other = other.clone();
    let act = Do::this(move |_, ctx| {
        let _ = tx.send(act(ctx, &other));
    });
    player.ask(act).await.unwrap();
    rx.await.unwrap()
}

fn watch(ctx: &mut Context<Player>, other: &ActorRef<Player>) -> Watching {
    ctx.watch(other)
}

fn end(actor: &ActorRef<Player>) -> impl Future<Output = ExitReason> {
    actor.stop();
    let actor = actor.clone();
    async move { actor.wait().await }
}

#[callboard::test(both)]
async fn g12_a_watch_that_was_ended_brings_no_notice(system: System) {
    let (watcher, log) = player(&system, "watcher");
    let (subject, _) = player(&system, "subject");
    let first = play(&watcher, &subject, watch).await;
    let second = play(&watcher, &subject, watch).await;
    first.cancel();
    assert!(first.is_over() && !second.is_over());
    end(&subject).await;
    watcher.ask(Note(1)).await.unwrap();
    assert_eq!(log.lines()[2..], ["subject stopped", "note 1"]);
    assert!(second.is_over());
    // Ended again, after the end: nothing.
    second.cancel();
}

#[callboard::test(both)]
async fn g12_ending_a_watch_takes_back_a_notice_that_is_queued(system: System) {
    let (watcher, log) = player(&system, "watcher");
    let (subject, _) = player(&system, "subject");
    let watching = play(&watcher, &subject, watch).await;
    let (hold, began, gate) = Hold::new();
    watcher.tell(hold).await.unwrap();
    began.await.unwrap();
    // Before the notice in the mailbox is a message that ends the watch.
    watcher
        .tell(Do::this(move |_, _| watching.cancel()))
        .await
        .unwrap();
    end(&subject).await;
    gate.send(()).unwrap();
    watcher.ask(Note(1)).await.unwrap();
    assert_eq!(log.lines()[2..], ["note 1"]);
    assert!(system.dead_letters().is_empty());
}

#[callboard::test(both)]
async fn g12_watches_end_with_the_incarnation_that_made_them(system: System) {
    let mut watcher = Placed::new(&system, "watcher");
    watcher.start().await;
    let (subject, _) = player(&system, "subject");
    let watching = play(&watcher.player, &subject, watch).await;
    watcher.place.kill();
    assert_eq!(watcher.ended().await, ExitReason::Killed);
    assert!(watching.is_over());
    end(&subject).await;
    watcher.start().await;
    watcher.player.ask(Note(1)).await.unwrap();
    let lines = watcher.log.lines();
    assert_eq!(lines.last().unwrap(), "note 1");
    assert!(!lines.contains(&"subject stopped".to_owned()));
    watcher.place.kill();
    watcher.ended().await;
    watcher.place.close(ExitReason::Killed);
}

/// Counts who still holds it.
#[callboard::test(both)]
async fn g12_a_watch_that_was_ended_is_forgotten(system: System) {
    let (subject, _) = player(&system, "subject");
    let held = Arc::new(());
    let inner = Arc::clone(&held);
    let handle = subject.watch(Box::new(move |_| drop(inner)));
    assert_eq!(Arc::strong_count(&held), 2);
    handle.cancel();
    assert_eq!(Arc::strong_count(&held), 1);
    // A wait that is given up leaves nothing behind, either.
    let mut wait = Box::pin(subject.wait());
    assert!(futures::poll!(&mut wait).is_pending());
    drop(wait);
    WatchHandle::over().cancel();
    subject.stop();
    subject.wait().await;
    handle.cancel();
}

#[callboard::test(both)]
async fn g12_restarts_show_to_who_asks_and_are_no_end_to_who_does_not(system: System) {
    let mut subject = Placed::new(&system, "subject");
    subject.start().await;
    let (close, close_log) = player(&system, "close");
    let (plain, plain_log) = player(&system, "plain");
    play(&close, &subject.player, |ctx, subject| {
        ctx.watch_life(subject)
    })
    .await;
    play(&plain, &subject.player, watch).await;
    subject
        .player
        .ask(Do::this(|_, ctx| ctx.fail("lost")))
        .await
        .unwrap();
    subject.ended().await;
    subject.start().await;
    close.ask(Note(1)).await.unwrap();
    subject.place.kill();
    subject.ended().await;
    subject.start().await;
    subject.place.stop();
    subject.ended().await;
    subject.place.close(ExitReason::Stopped);
    for player in [&close, &plain] {
        player.ask(Note(2)).await.unwrap();
    }
    let expected = [
        "subject is 2 after it failed: lost",
        "note 1",
        "subject is 3 after it killed",
        "subject stopped",
        "note 2",
    ];
    assert_eq!(close_log.lines()[2..], expected);
    assert_eq!(plain_log.lines()[2..], ["subject stopped", "note 2"]);
}

#[callboard::test(both)]
async fn g03_of_many_restarts_only_the_newest_waits_in_the_mailbox(system: System) {
    let mut subject = Placed::new(&system, "subject");
    subject.start().await;
    let (close, log) = player(&system, "close");
    play(&close, &subject.player, |ctx, subject| {
        ctx.watch_life(subject)
    })
    .await;
    let (hold, began, gate) = Hold::new();
    close.tell(hold).await.unwrap();
    began.await.unwrap();
    for _ in 0..50 {
        subject.place.kill();
        subject.ended().await;
        subject.start().await;
    }
    // One notice of all restarts, whatever their number; and room for the last.
    assert_eq!(close.mailbox().len, 1);
    subject.place.kill();
    subject.ended().await;
    subject.place.close(ExitReason::Killed);
    gate.send(()).unwrap();
    close.ask(Note(1)).await.unwrap();
    let expected = ["subject is 51 after it killed", "subject killed", "note 1"];
    assert_eq!(log.lines()[2..], expected);
}

#[callboard::test(both)]
async fn a_watch_for_everything_of_the_ended_says_so_at_once(system: System) {
    let (subject, _) = player(&system, "subject");
    end(&subject).await;
    let (tx, rx) = std::sync::mpsc::channel();
    subject.watch_life(Arc::new(move |event| tx.send(event).unwrap()));
    let Ok(LifeEvent::Terminated(Terminated { id, reason, .. })) = rx.recv() else {
        panic!("no end");
    };
    assert_eq!((id, reason), (subject.id(), ExitReason::Stopped));
    assert!(rx.recv().is_err(), "one event, and the watch is forgotten");
}

fn link(ctx: &mut Context<Player>, other: &ActorRef<Player>) -> callboard::Link {
    ctx.link(other)
}

#[callboard::test(both)]
async fn g12_a_failure_takes_the_linked_along_both_ways(system: System) {
    for starter_fails in [true, false] {
        let (one, log) = player(&system, "one");
        let (two, _) = player(&system, "two");
        play(&one, &two, link).await;
        let (fails, follows) = if starter_fails {
            (&one, &two)
        } else {
            (&two, &one)
        };
        fails
            .ask(Do::this(|_, _| panic!("boom")))
            .await
            .unwrap_err();
        let reason = follows.wait().await;
        let expected = format!(
            "linked to {}{}, which failed: boom",
            fails.label(),
            fails.id()
        );
        assert_eq!(reason, ExitReason::Failed(expected.clone().into()));
        if !starter_fails {
            // It failed in order.
            let end = [format!("stopped: failed: {expected}"), "dropped".into()];
            assert_eq!(log.lines()[2..], end);
        }
    }
}

#[callboard::test(both)]
async fn g12_a_kill_takes_the_linked_along_a_stop_does_not(system: System) {
    let (one, _) = player(&system, "one");
    let (two, _) = player(&system, "two");
    let (three, _) = player(&system, "three");
    play(&one, &two, link).await;
    play(&one, &three, link).await;
    three.stop();
    three.wait().await;
    assert_eq!(one.ask(Note(1)).await.unwrap(), 1);
    two.kill();
    assert!(matches!(one.wait().await, ExitReason::Failed(_)));
}

#[callboard::test(both)]
async fn a_link_that_was_ended_ties_nothing(system: System) {
    let (one, _) = player(&system, "one");
    let (two, _) = player(&system, "two");
    let first = play(&one, &two, link).await;
    first.cancel();
    two.kill();
    two.wait().await;
    assert_eq!(one.ask(Note(1)).await.unwrap(), 1);
    // To one that has failed: at once.
    play(&one, &two, link).await;
    assert!(matches!(one.wait().await, ExitReason::Failed(_)));
}

#[callboard::test(both)]
async fn g13_linked_actors_under_supervision_fail_together_and_come_back_apart(system: System) {
    let mut one = Placed::new(&system, "one");
    let mut two = Placed::new(&system, "two");
    one.start().await;
    two.start().await;
    play(&one.player, &two.player, link).await;
    one.place.kill();
    assert_eq!(one.ended().await, ExitReason::Killed);
    assert!(matches!(two.ended().await, ExitReason::Failed(_)));
    one.start().await;
    two.start().await;
    // The link was of incarnations that have ended.
    one.place.kill();
    one.ended().await;
    assert_eq!(two.player.ask(Note(1)).await.unwrap(), 1);
    two.place.stop();
    assert_eq!(two.ended().await, ExitReason::Stopped);
    for placed in [one, two] {
        placed.place.close(ExitReason::Stopped);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Watch(usize),
    Cancel(usize),
    Stop(usize),
    Kill(usize),
    Fail(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..5_u8, 0..4_usize).prop_map(|(kind, n)| match kind {
        0 => Step::Stop(n),
        1 => Step::Kill(n),
        2 => Step::Fail(n),
        3 => Step::Cancel(n),
        _ => Step::Watch(n),
    });
    prop::collection::vec(step, 0..40)
}

/// What one watch should have brought when all subjects have ended.
struct Expected {
    subject: usize,
    watching: Watching,
    cancelled: bool,
}

async fn check(system: System, steps: Vec<Step>) {
    let (watcher, log) = player(&system, "watcher");
    let labels = ["0", "1", "2", "3"];
    let subjects: Vec<_> = labels.map(|label| player(&system, label).0).into();
    let mut ended = [false; 4];
    let mut watches: Vec<Expected> = Vec::new();
    for step in steps {
        match step {
            Step::Watch(n) => {
                let watching = play(&watcher, &subjects[n], watch).await;
                watches.push(Expected {
                    subject: n,
                    watching,
                    cancelled: false,
                });
            }
            Step::Cancel(n) => {
                // By the watcher itself: the oldest of that subject that isn't over.
                let open = |watch: &&mut Expected| watch.subject == n && !watch.cancelled;
                if !ended[n]
                    && let Some(expected) = watches.iter_mut().find(open)
                {
                    let watching = expected.watching.clone();
                    watcher
                        .ask(Do::this(move |_, _| watching.cancel()))
                        .await
                        .unwrap();
                    expected.cancelled = true;
                }
            }
            Step::Stop(n) => subjects[n].stop(),
            Step::Kill(n) => subjects[n].kill(),
            Step::Fail(n) => {
                let _ = subjects[n].ask(Do::this(|_, ctx| ctx.fail("f"))).await;
            }
        }
        if let Step::Stop(n) | Step::Kill(n) | Step::Fail(n) = step {
            subjects[n].wait().await;
            ended[n] = true;
        }
    }
    for subject in &subjects {
        subject.stop();
        subject.wait().await;
    }
    watcher.ask(Note(0)).await.unwrap();
    let lines = log.lines();
    for (n, label) in labels.into_iter().enumerate() {
        let notices = lines.iter().filter(|line| line.starts_with(label)).count();
        let open = |watch: &&Expected| watch.subject == n && !watch.cancelled;
        assert_eq!(notices, watches.iter().filter(open).count(), "{lines:?}");
    }
    assert!(watches.iter().all(|watch| watch.watching.is_over()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn g12_each_watch_that_is_not_ended_brings_one_notice(seed in any::<u64>(), steps in steps()) {
        let mut simulation = callboard::Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(check(system, steps));
    }
}

#[callboard::test(both)]
async fn g12_a_watch_by_name_finds_the_holder_or_says_that_there_is_none(system: System) {
    let (watcher, log) = player(&system, "watcher");
    let watch = Do::this(|_, ctx| {
        let holder = ctx.system().names().holder_of("star");
        ctx.watch(&holder);
        ctx.watch_life(&holder);
    });
    watcher.ask(watch).await.unwrap();
    watcher.ask(Note(1)).await.unwrap();
    assert_eq!(
        log.lines()[2..],
        ["star never existed", "star never existed", "note 1"]
    );
    let (star, _) = player(&system, "the star");
    system.names().register("star", &star).unwrap();
    let watch = Do::this(|_, ctx| {
        let holder = ctx.system().names().holder_of("star");
        ctx.watch(&holder);
    });
    watcher.ask(watch).await.unwrap();
    star.kill();
    star.wait().await;
    watcher.ask(Note(2)).await.unwrap();
    assert_eq!(log.lines()[5..], ["the star killed", "note 2"]);
}
