//! What runs beside an actor: results that come back as messages, streams, timers; all end with their
//! incarnation (G3, G5, G10, G13).

use std::time::Duration;

use callboard::{
    Actor, ActorRef, Context, ExitReason, Handler, Message, Overflow, Placement, System, TaskHandle,
};
use futures::channel::{mpsc, oneshot};
use futures::{SinkExt, StreamExt, stream};

use crate::common::{Do, Log, Note, Placed, Player, player};

#[callboard::test(both)]
async fn a_future_comes_back_as_a_message_while_the_actor_goes_on(system: System) {
    let (player, log) = player(&system, "player");
    let (gate, opened) = oneshot::channel();
    let pipe = Do::this(move |_, ctx| {
        ctx.pipe(async move { Note(opened.await.unwrap_or(0)) });
    });
    player.ask(pipe).await.unwrap();
    player.ask(Note(1)).await.unwrap();
    gate.send(2).unwrap();
    while log.lines().len() < 4 {
        player.ask(Do::this(|_, _| ())).await.unwrap();
    }
    assert_eq!(log.lines()[2..], ["note 1", "note 2"]);
}

#[callboard::test(both)]
async fn g10_a_piped_future_that_panics_ends_alone(system: System) {
    let (player, _) = player(&system, "player");
    let pipe = Do::this(|_, ctx| {
        ctx.pipe::<Note, _>(async { panic!("boom") });
    });
    player.ask(pipe).await.unwrap();
    while system.counters().panics() == 0 {
        assert_eq!(player.ask(Note(1)).await.unwrap(), 1);
    }
    assert!(player.is_alive());
}

#[callboard::test(both)]
async fn a_stream_feeds_an_actor_in_order_until_it_ends(system: System) {
    let (player, log) = player(&system, "player");
    let (done, over) = oneshot::channel();
    let attach = Do::this(move |_, ctx| {
        // The end of the stream is a message like the others.
        let last = stream::once(async move {
            done.send(()).unwrap();
            Note(100)
        });
        ctx.attach(stream::iter(0..50).map(Note).chain(last));
    });
    player.ask(attach).await.unwrap();
    over.await.unwrap();
    while log.lines().len() < 2 + 51 {
        player.ask(Do::this(|_, _| ())).await.unwrap();
    }
    let expected: Vec<_> = (0..50).chain([100]).map(|n| format!("note {n}")).collect();
    assert_eq!(log.lines()[2..], expected);
}

#[callboard::test(both)]
async fn g03_a_stream_is_held_back_by_a_full_mailbox(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let player = system
        .actor(move || Player { log: inner })
        .mailbox(4, Overflow::Wait)
        .start();
    let (mut tx, rx) = mpsc::channel(0);
    let attach = Do::this(move |_, ctx| drop(ctx.attach(rx.map(Note))));
    player.ask(attach).await.unwrap();
    let (hold, began, gate) = crate::common::Hold::new();
    player.tell(hold).await.unwrap();
    began.await.unwrap();
    // The mailbox, the task, the channel's one slot: then the stream stands still.
    for n in 0..4 {
        tx.send(Note(n).0).await.unwrap();
    }
    while player.mailbox().len < 4 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    tx.send(4).await.unwrap();
    while player.mailbox().waiting_senders == 0 {
        system.clock().sleep(Duration::from_millis(1)).await;
    }
    let mut sixth = tx.send(5);
    let _ = futures::poll!(&mut sixth);
    let mut rest = tx.clone();
    let mut blocked = rest.send(6);
    assert!(futures::poll!(&mut blocked).is_pending());
    gate.send(()).unwrap();
    blocked.await.unwrap();
    while log.lines().len() < 2 + 7 {
        player.ask(Do::this(|_, _| ())).await.unwrap();
    }
    let expected: Vec<_> = (0..7).map(|n| format!("note {n}")).collect();
    assert_eq!(log.lines()[2..], expected);
}

async fn handle_of(
    player: &callboard::ActorRef<Player>,
    start: impl FnOnce(&mut callboard::Context<Player>) -> TaskHandle + Send + 'static,
) -> TaskHandle {
    let (tx, rx) = oneshot::channel();
    let start = Do::this(move |_, ctx| tx.send(start(ctx)).ok().unwrap());
    player.ask(start).await.unwrap();
    rx.await.unwrap()
}

#[callboard::test(both)]
async fn a_task_can_be_cancelled_and_its_future_is_dropped(system: System) {
    let (player, log) = player(&system, "player");
    let (held, mut freed) = oneshot::channel::<()>();
    let task = handle_of(&player, move |ctx| {
        ctx.spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        })
    })
    .await;
    let timer = handle_of(&player, |ctx| {
        ctx.tell_after(Duration::from_secs(3_600), Note(1))
    })
    .await;
    let stream = handle_of(&player, |ctx| ctx.attach(stream::pending::<Note>())).await;
    for task in [&task, &timer, &stream] {
        assert!(!task.is_cancelled());
        task.cancel();
        task.cancel();
        assert!(task.is_cancelled());
    }
    (&mut freed).await.unwrap_err();
    player.stop();
    player.wait().await;
    assert!(!log.lines().contains(&"note 1".to_owned()));
}

#[callboard::test(both)]
async fn g13_tasks_timers_and_streams_end_with_their_incarnation(system: System) {
    for how in ["panic", "kill", "stop"] {
        let mut placed = Placed::new(&system, "placed");
        placed.start().await;
        let (held, freed) = oneshot::channel::<()>();
        let start = Do::this(move |_, ctx| {
            ctx.tell_every(Duration::from_secs(3_600), || Note(1));
            ctx.attach(stream::pending::<Note>());
            ctx.pipe(async move {
                std::future::pending::<()>().await;
                drop(held);
                Note(2)
            });
        });
        placed.player.ask(start).await.unwrap();
        match how {
            "panic" => {
                let panic = Do::this(|_, _| panic!("boom"));
                placed.player.ask(panic).await.unwrap_err();
            }
            "kill" => placed.place.kill(),
            _ => placed.place.stop(),
        }
        placed.ended().await;
        freed.await.unwrap_err();
        placed.start().await;
        assert_eq!(placed.player.ask(Note(3)).await.unwrap(), 3);
        placed.place.stop();
        placed.ended().await;
        placed.place.close(ExitReason::Stopped);
    }
}

/// One more drop of a flood.
#[derive(Message)]
struct Again;

/// Floods another, and waits for room only.
struct Feeder(ActorRef<Flooded>);

impl Actor for Feeder {}

impl Handler<Again> for Feeder {
    async fn handle(&mut self, _: Again, _: &mut Context<Self>) {
        while self.0.tell(Again).await.is_ok() {}
    }
}

/// Has a stream once the flood is under way. Ends after its last item, or when the flood has gone on for too
/// long.
struct Flooded {
    log: Log,
    flood: u32,
}

const ITEMS: u64 = 300;
const TOO_LONG: u32 = 1_000_000;

impl Actor for Flooded {}

impl Handler<Note> for Flooded {
    async fn handle(&mut self, Note(n): Note, ctx: &mut Context<Self>) -> u64 {
        self.log.push(format!("note {n}"));
        if n == ITEMS {
            ctx.stop();
        }
        n
    }
}

impl Handler<Again> for Flooded {
    async fn handle(&mut self, _: Again, ctx: &mut Context<Self>) {
        self.flood += 1;
        match self.flood {
            100 => drop(ctx.attach(stream::iter(1..=ITEMS).map(Note))),
            TOO_LONG => ctx.stop(),
            _ => {}
        }
    }
}

#[callboard::test(both)]
async fn g05_a_stream_is_served_under_a_mailbox_that_never_runs_dry(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let flooded = system.actor(move || Flooded {
        log: inner,
        flood: 0,
    });
    let flooded = flooded.mailbox(8, Overflow::Wait).start();
    for placement in [Placement::Pinned(0), Placement::Pinned(1)] {
        let subject = flooded.clone();
        let feeder = system.actor(move || Feeder(subject)).placement(placement);
        feeder.start().tell(Again).await.unwrap();
    }
    flooded.wait().await;
    let expected: Vec<_> = (1..=ITEMS).map(|n| format!("note {n}")).collect();
    assert_eq!(log.lines(), expected);
}

#[callboard::test]
async fn g03_a_tick_that_finds_no_room_is_counted_for_what_it_is(system: System) {
    let log = Log::default();
    let inner = log.clone();
    let player = system
        .actor(move || Player { log: inner })
        .mailbox(1, Overflow::Fail)
        .start();
    let tick = Do::this(|_, ctx| {
        ctx.tell_every(Duration::from_secs(1), || Note(1));
    });
    player.ask(tick).await.unwrap();
    let (hold, began, gate) = crate::common::Hold::new();
    player.tell(hold).await.unwrap();
    began.await.unwrap();
    let ticks = Duration::from_millis(3_500);
    system.clock().sleep(ticks).await;
    gate.send(()).unwrap();
    player.ask(Do::this(|_, _| ())).await.unwrap_or_default();
    let drops = system.counters().drops(callboard::DropReason::DropNewest);
    assert_eq!(drops, 2, "one of three had room");
    assert_eq!(system.counters().drops(callboard::DropReason::Stopped), 0);
}
