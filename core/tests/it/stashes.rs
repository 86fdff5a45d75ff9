//! What an actor puts off, and behaviours that change (G3, G7, G9, G11, G13).

use std::time::Duration;

use callboard::{
    Actor, ActorRef, Context, DeferredHandler, DropReason, ExitReason, FailureKind, Handler,
    Message, Responder, System, Verdict,
};
use futures::future::join_all;

use crate::common::{Do, Log, Note, Placed, Player, player};

async fn hold(player: &ActorRef<Player>) {
    player
        .ask(Do::this(|_, ctx| ctx.hold::<Note>()))
        .await
        .unwrap();
}

fn unstash() -> Do {
    Do::this(|_, ctx| ctx.unstash())
}

#[callboard::test(both)]
async fn what_is_held_waits_and_is_handled_first_and_in_order(system: System) {
    let (player, log) = player(&system, "player");
    hold(&player).await;
    let mut asks: Vec<_> = (0..3).map(|n| player.ask(Note(n)).into_future()).collect();
    for ask in &mut asks {
        assert!(futures::poll!(ask).is_pending());
    }
    player.tell(Note(3)).await.unwrap();
    // Others are handled meanwhile.
    player
        .ask(Do::this(|player, ctx| {
            assert_eq!(ctx.stashed(), 4);
            player.log.push("meanwhile");
        }))
        .await
        .unwrap();
    player.tell(unstash()).await.unwrap();
    player.tell(Note(4)).await.unwrap();
    for (n, answer) in (0..).zip(join_all(asks).await) {
        assert_eq!(answer.unwrap(), n);
    }
    player.ask(Note(5)).await.unwrap();
    let expected = [
        "meanwhile",
        "note 0",
        "note 1",
        "note 2",
        "note 3",
        "note 4",
        "note 5",
    ];
    assert_eq!(log.lines()[2..], expected);
}

#[callboard::test(both)]
async fn g03_a_full_stash_refuses_and_counts(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let player = system
        .actor(move || Player { log: inner })
        .label("player")
        .stash_capacity(2)
        .start();
    hold(&player).await;
    for n in 0..2 {
        player.tell(Note(n)).await.unwrap();
    }
    let error = player.ask(Note(2)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Full);
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    player.tell(Note(3)).await.unwrap();
    player.ask(unstash()).await.unwrap();
    assert_eq!(player.ask(Note(4)).await.unwrap(), 4);
    assert_eq!(system.counters().drops(DropReason::StashFull), 2);
    assert_eq!(log.lines()[2..], ["note 0", "note 1", "note 4"]);
}

#[callboard::test(both)]
async fn g09_a_held_ask_ends_when_it_is_due_and_never_runs(system: System) {
    let (player, log) = player(&system, "player");
    hold(&player).await;
    let ask = player.ask(Note(1)).deadline(Duration::from_millis(10));
    let error = ask.await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::DeadlineExceeded);
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    player.ask(unstash()).await.unwrap();
    player.ask(Note(2)).await.unwrap();
    assert_eq!(log.lines()[2..], ["note 2"]);
    let drops = |reason| system.counters().drops(reason);
    assert_eq!(drops(DropReason::Expired) + drops(DropReason::Withdrawn), 1);
}

#[callboard::test(both)]
async fn g11_what_is_held_goes_to_dead_letters_at_a_stop_and_is_handled_by_a_drain(system: System) {
    let (stops, stop_log) = player(&system, "stops");
    let (drains, drain_log) = player(&system, "drains");
    for player in [&stops, &drains] {
        hold(player).await;
        for n in 0..2 {
            player.tell(Note(n)).await.unwrap();
        }
        player
            .ask(Do::this(|_, ctx| assert_eq!(ctx.stashed(), 2)))
            .await
            .unwrap();
    }
    stops.stop();
    drains.drain();
    assert_eq!(stops.wait().await, ExitReason::Stopped);
    assert_eq!(drains.wait().await, ExitReason::Stopped);
    assert_eq!(
        stop_log.lines()[2..],
        ["stopping", "stopped: stopped", "dropped"]
    );
    assert_eq!(drain_log.lines()[2..4], ["note 0", "note 1"]);
    assert_eq!(system.counters().drops(DropReason::Stopped), 2);
}

#[callboard::test(both)]
async fn g13_what_is_held_is_kept_for_the_next_incarnation(system: System) {
    let mut placed = Placed::new(&system, "placed");
    placed.start().await;
    hold(&placed.player).await;
    let player = placed.player.clone();
    let mut held = player.ask(Note(1)).into_future();
    assert!(futures::poll!(&mut held).is_pending());
    player
        .ask(Do::this(|_, ctx| assert_eq!(ctx.stashed(), 1)))
        .await
        .unwrap();
    // Queued behind it when the actor fails.
    player.tell(Do::this(|_, _| panic!("boom"))).await.unwrap();
    player.tell(Note(2)).await.unwrap();
    placed.ended().await;
    assert!(futures::poll!(&mut held).is_pending());
    placed.start().await;
    assert_eq!(held.await.unwrap(), 1);
    player.ask(Note(3)).await.unwrap();
    assert_eq!(placed.log.lines()[5..], ["note 1", "note 2", "note 3"]);
    placed.place.stop();
    placed.ended().await;
    placed.place.close(ExitReason::Stopped);
}

/// Opens when told so, and until then puts off who knocks.
struct Gate {
    open: bool,
}

#[derive(Message)]
#[message(reply = u32)]
struct Knock(u32);

#[derive(Message)]
struct Open;

impl Actor for Gate {}

impl DeferredHandler<Knock> for Gate {
    async fn handle_deferred(
        &mut self,
        Knock(n): Knock,
        responder: Responder<u32>,
        ctx: &mut Context<Self>,
    ) {
        if self.open {
            responder.send(n);
        } else if let Err((_, responder)) = ctx.stash(Knock(n), responder) {
            drop(responder);
        }
    }
}

impl Handler<Open> for Gate {
    async fn handle(&mut self, _: Open, ctx: &mut Context<Self>) {
        self.open = true;
        ctx.unstash();
    }
}

#[callboard::test(both)]
async fn g07_a_message_in_hand_can_be_put_off_with_its_asker(system: System) {
    let gate = system
        .actor(|| Gate { open: false })
        .stash_capacity(2)
        .start();
    let mut asks: Vec<_> = (0..3).map(|n| gate.ask(Knock(n)).into_future()).collect();
    for ask in &mut asks[..2] {
        assert!(futures::poll!(ask).is_pending());
    }
    // No room: both come back, and the asker is told.
    let error = asks.pop().unwrap().await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::NoAnswer);
    gate.tell(Open).await.unwrap();
    for (n, answer) in (0..).zip(join_all(asks).await) {
        assert_eq!(answer.unwrap(), n);
    }
}

#[callboard::test(both)]
async fn a_behaviour_takes_the_place_of_the_handler(system: System) {
    let (player, log) = player(&system, "player");
    let change = Do::this(|_, ctx| {
        let doubled = 2;
        ctx.becomes(
            async move |player: &mut Player, Note(n), ctx: &mut Context<Player>| {
                player.log.push(format!("becoming {n}"));
                // It may wait, and is woken like a handler.
                ctx.sleep(Duration::from_millis(1)).await;
                n * doubled
            },
        );
    });
    player.ask(change).await.unwrap();
    assert_eq!(player.ask(Note(4)).await.unwrap(), 8);
    player.tell(Note(5)).await.unwrap();
    // A behaviour can be changed by another, and taken back.
    let change = Do::this(|_, ctx| {
        ctx.becomes(async |_: &mut Player, Note(n), ctx: &mut Context<Player>| {
            ctx.unbecome::<Note>();
            n + 100
        });
    });
    player.ask(change).await.unwrap();
    assert_eq!(player.ask(Note(1)).await.unwrap(), 101);
    assert_eq!(player.ask(Note(1)).await.unwrap(), 1);
    assert_eq!(log.lines()[2..], ["becoming 4", "becoming 5", "note 1"]);
}

#[callboard::test(both)]
async fn g10_a_behaviour_that_panics_ends_its_incarnation_and_is_gone_with_it(system: System) {
    let mut placed = Placed::new(&system, "placed");
    placed.start().await;
    let change = Do::this(|_, ctx| {
        ctx.becomes(async |_: &mut Player, _: Note, _: &mut Context<Player>| panic!("boom"));
    });
    placed.player.ask(change).await.unwrap();
    let error = placed.player.ask(Note(1)).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Panicked);
    assert_eq!(placed.ended().await, ExitReason::Failed("boom".into()));
    placed.start().await;
    assert_eq!(placed.player.ask(Note(2)).await.unwrap(), 2);
    placed.place.stop();
    placed.ended().await;
    placed.place.close(ExitReason::Stopped);
}

#[callboard::test(both)]
async fn g07_behaviours_and_stash_work_together(system: System) {
    let (player, log) = player(&system, "player");
    let change = Do::this(|_, ctx| {
        ctx.becomes(async |_: &mut Player, Note(n), _: &mut Context<Player>| n + 1);
        ctx.hold::<Note>();
    });
    player.ask(change).await.unwrap();
    let mut held = player.ask(Note(1)).into_future();
    assert!(futures::poll!(&mut held).is_pending());
    player.ask(unstash()).await.unwrap();
    assert_eq!(held.await.unwrap(), 2);
    // What is held ends with its actor.
    hold(&player).await;
    let mut held = player.ask(Note(2)).into_future();
    assert!(futures::poll!(&mut held).is_pending());
    player.kill();
    let error = held.await.unwrap_err();
    assert_eq!(error.verdict(), Verdict::NotExecuted);
    assert_eq!(log.lines()[2..], ["dropped"]);
}
