//! What is put off and what is held: nothing lost, nothing that is for nobody, no end that never comes (G3, G6,
//! G11, G12, G13).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use callboard::{
    Actor, ActorRef, Context, DeferredHandler, ExitReason, LifeEvent, Message, Responder, System,
    Terminated, Verdict,
};
use futures::channel::oneshot;
use proptest::prelude::*;

use crate::common::{Do, Hold, Log, Note, Placed, Player, player};

#[callboard::test(both)]
async fn g13_a_hold_that_follows_an_unstash_holds(system: System) {
    let (player, log) = player(&system, "player");
    let act = |act: fn(&mut Context<Player>)| Do::this(move |_, ctx| act(ctx));
    player.ask(act(Context::hold::<Note>)).await.unwrap();
    player.tell(Note(1)).await.unwrap();
    // From one phase to the next: other messages are put off from now on.
    let next = act(|ctx| {
        ctx.unstash();
        ctx.hold::<LifeEvent>();
    });
    player.ask(next).await.unwrap();
    let subject = crate::common::player(&system, "subject").0;
    let inner = subject.clone();
    let watch = Do::this(move |_, ctx| drop(ctx.watch_life(&inner)));
    player.ask(watch).await.unwrap();
    subject.stop();
    subject.wait().await;
    let check = Do::this(|player, ctx| {
        player.log.push(format!("{} held", ctx.stashed()));
    });
    player.ask(check).await.unwrap();
    assert_eq!(log.lines()[2..], ["note 1", "1 held"]);
}

/// Puts off whatever comes.
struct Never;

#[derive(Message)]
#[message(reply = u32)]
struct Knock;

impl Actor for Never {}

impl DeferredHandler<Knock> for Never {
    async fn handle_deferred(
        &mut self,
        knock: Knock,
        responder: Responder<u32>,
        ctx: &mut Context<Self>,
    ) {
        if let Err((_, responder)) = ctx.stash(knock, responder) {
            drop(responder);
        }
    }
}

#[callboard::test(both)]
async fn g11_a_drain_ends_although_what_is_stashed_is_put_off_again(system: System) {
    let never = system.start(Never);
    let mut asks = [(); 2].map(|()| never.ask(Knock).into_future());
    for ask in &mut asks {
        assert!(futures::poll!(ask).is_pending());
    }
    never.drain();
    // A loop without end would keep the thread, so nothing else ends it.
    let (tx, rx) = oneshot::channel();
    let waits = never.clone();
    system.spawn(callboard::Placement::Pinned(1), move || async move {
        let _ = tx.send(waits.wait().await);
    });
    let clock = system.clock();
    let due = clock.sleep(std::time::Duration::from_secs(5));
    match futures::future::select(rx, due).await {
        futures::future::Either::Left((reason, _)) => assert_eq!(reason, Ok(ExitReason::Stopped)),
        futures::future::Either::Right(_) => panic!("it drains for ever"),
    }
    for ask in asks {
        // Its handler had begun: it isn't for sure that nothing was done.
        assert_eq!(ask.await.unwrap_err().verdict(), Verdict::Executed);
    }
}

fn watching(subject: &ActorRef<Player>, log: &Log) -> Do {
    let (subject, log) = (subject.clone(), log.clone());
    Do::this(move |_, ctx| {
        ctx.hold::<Terminated>();
        drop(ctx.watch(&subject));
        log.push("watches");
    })
}

async fn end(subject: &ActorRef<Player>) {
    subject.stop();
    subject.wait().await;
}

#[callboard::test(both)]
async fn g12_a_held_notice_of_a_watch_that_was_ended_is_for_nobody(system: System) {
    let (watcher, log) = player(&system, "watcher");
    let (subject, _) = player(&system, "subject");
    let inner = subject.clone();
    let (tx, rx) = oneshot::channel();
    let watch = Do::this(move |_, ctx| {
        ctx.hold::<Terminated>();
        let _ = tx.send(ctx.watch(&inner));
    });
    watcher.ask(watch).await.unwrap();
    let watching = rx.await.unwrap();
    end(&subject).await;
    let cancel = Do::this(move |_, ctx| {
        assert_eq!(ctx.stashed(), 1);
        assert!(!watching.is_over(), "its end wasn't noticed yet");
        watching.cancel();
        ctx.unstash();
    });
    watcher.ask(cancel).await.unwrap();
    watcher.ask(Note(1)).await.unwrap();
    assert_eq!(log.lines()[2..], ["note 1"]);
}

#[callboard::test(both)]
async fn g12_a_held_notice_is_not_for_the_next_incarnation(system: System) {
    let mut watcher = Placed::new(&system, "watcher");
    watcher.start().await;
    let (subject, _) = player(&system, "subject");
    let log = Log::default();
    watcher.player.ask(watching(&subject, &log)).await.unwrap();
    end(&subject).await;
    watcher
        .player
        .ask(Do::this(|_, ctx| assert_eq!(ctx.stashed(), 1)))
        .await
        .unwrap();
    watcher.place.kill();
    watcher.ended().await;
    watcher.start().await;
    watcher.player.ask(Note(1)).await.unwrap();
    let lines = watcher.log.lines();
    assert!(!lines.contains(&"subject stopped".to_owned()), "{lines:?}");
    watcher.place.kill();
    watcher.ended().await;
    watcher.place.close(ExitReason::Killed);
}

#[callboard::test(both)]
async fn g12_a_full_stash_loses_no_notice(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let watcher = system
        .actor(move || Player { log: inner })
        .stash_capacity(1)
        .start();
    let (subject, _) = player(&system, "subject");
    watcher.ask(watching(&subject, &log)).await.unwrap();
    let inner = subject.clone();
    let also = Do::this(move |_, ctx| {
        ctx.hold::<Note>();
        ctx.hold::<LifeEvent>();
        drop(ctx.watch_life(&inner));
    });
    watcher.ask(also).await.unwrap();
    watcher.tell(Note(1)).await.unwrap();
    end(&subject).await;
    watcher.ask(Do::this(|_, ctx| ctx.unstash())).await.unwrap();
    watcher.ask(Note(2)).await.unwrap();
    let expected = [
        "watches",
        "note 1",
        "subject stopped",
        "subject stopped",
        "note 2",
    ];
    assert_eq!(log.lines()[2..], expected);
}

/// Of restarts, too, only the newest is held.
#[callboard::test(both)]
async fn g03_of_many_restarts_only_the_newest_is_held(system: System) {
    let mut subject = Placed::new(&system, "subject");
    subject.start().await;
    let (close, log) = player(&system, "close");
    let inner = subject.player.clone();
    let watch = Do::this(move |_, ctx| {
        ctx.hold::<LifeEvent>();
        drop(ctx.watch_life(&inner));
    });
    close.ask(watch).await.unwrap();
    for n in 0..20 {
        subject.place.kill();
        subject.ended().await;
        subject.start().await;
        close.ask(Note(n)).await.unwrap();
    }
    let (tx, rx) = oneshot::channel();
    let count = Do::this(move |_, ctx| {
        let _ = tx.send(ctx.stashed());
        ctx.unstash();
    });
    close.ask(count).await.unwrap();
    assert_eq!(rx.await.unwrap(), 1);
    close.ask(Note(99)).await.unwrap();
    let lines = log.lines();
    assert_eq!(
        lines[lines.len() - 2..],
        ["subject is 21 after it killed", "note 99"]
    );
    subject.place.kill();
    subject.ended().await;
    subject.place.close(ExitReason::Killed);
}

#[callboard::test(both)]
async fn g11_a_stream_is_not_read_into_dead_letters_while_its_actor_drains(system: System) {
    let (player, _) = player(&system, "player");
    let taken = Arc::new(AtomicUsize::new(0));
    let inner = Arc::clone(&taken);
    let (hold, began, gate) = Hold::new();
    player.tell(hold).await.unwrap();
    began.await.unwrap();
    let attach = Do::this(move |_, ctx| {
        let items = futures::stream::repeat_with(move || {
            inner.fetch_add(1, Ordering::SeqCst);
            Note(0)
        });
        drop(ctx.attach(items));
    });
    player.tell(attach).await.unwrap();
    let (second, began, last) = Hold::new();
    player.tell(second).await.unwrap();
    player.drain();
    gate.send(()).unwrap();
    began.await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    last.send(()).unwrap();
    assert_eq!(player.wait().await, ExitReason::Stopped);
    let taken = taken.load(Ordering::SeqCst);
    assert!(taken <= 1, "{taken} were taken");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Note,
    Hold,
    Unstash,
    UnstashAndHold,
    Crash,
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..9_u8).prop_map(|kind| match kind {
        0 => Step::Hold,
        1 => Step::Unstash,
        2 => Step::UnstashAndHold,
        3 => Step::Crash,
        4 => Step::Kill,
        _ => Step::Note,
    });
    prop::collection::vec(step, 0..60)
}

/// Whatever is put off, and however often its actor fails: all is handled, once, in the order it came.
async fn check(system: System, steps: Vec<Step>) {
    let mut placed = Placed::new(&system, "placed");
    placed.start().await;
    let player = placed.player.clone();
    let mut sent = 0;
    let mut asks = Vec::new();
    for step in steps {
        match step {
            Step::Note if sent % 2 == 0 => {
                player.tell(Note(sent)).await.unwrap();
                sent += 1;
            }
            Step::Note => {
                let mut ask = Box::pin(player.ask(Note(sent)).no_deadline().into_future());
                let _ = futures::poll!(&mut ask).map(|answer| answer.unwrap());
                asks.push(ask);
                sent += 1;
            }
            Step::Hold => player
                .tell(Do::this(|_, ctx| ctx.hold::<Note>()))
                .await
                .unwrap(),
            Step::Unstash => player.tell(Do::this(|_, ctx| ctx.unstash())).await.unwrap(),
            Step::UnstashAndHold => {
                let act = Do::this(|_, ctx| {
                    ctx.unstash();
                    ctx.hold::<Note>();
                });
                player.tell(act).await.unwrap();
            }
            Step::Crash => {
                player.tell(Do::this(|_, _| panic!("boom"))).await.unwrap();
                placed.ended().await;
                placed.start().await;
            }
            Step::Kill => {
                placed.place.kill();
                placed.ended().await;
                placed.start().await;
            }
        }
    }
    player.drain();
    assert_eq!(placed.ended().await, ExitReason::Stopped);
    placed.place.close(ExitReason::Stopped);
    let lines = placed.log.lines();
    let notes = lines.iter().filter(|line| line.starts_with("note"));
    let expected: Vec<_> = (0..sent).map(|n| format!("note {n}")).collect();
    assert_eq!(notes.cloned().collect::<Vec<_>>(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn g13_what_is_put_off_keeps_its_place_over_restarts(seed in any::<u64>(), steps in steps()) {
        let mut simulation = callboard::Simulation::new(seed);
        let system = simulation.system().clone();
        simulation.block_on(check(system, steps));
    }
}
