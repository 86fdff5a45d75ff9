//! G10 the panic fence.

use callboard::{Actor, Context, ExitReason, Handler, Message, Placement, StartFailure, System};

use futures::channel::oneshot;

use crate::common::{Boom, Log, Note, Worker, worker};

#[callboard::test(both)]
async fn g10_a_panic_ends_its_actor_and_nothing_else(system: System) {
    let (broken, log) = worker(&system);
    let neighbour = system
        .actor(|| Worker {
            log: Log::default(),
        })
        .near(&broken)
        .start();
    broken.ask(Boom).await.unwrap_err();
    assert_eq!(broken.wait().await, ExitReason::Failed("boom".into()));
    assert_eq!(neighbour.ask(Note(1)).await.unwrap(), 1);
    assert_eq!(system.counters().panics(), 1);
    // No farewell with a state that can't be trusted.
    assert_eq!(log.lines(), ["dropped"]);
}

/// Panics where it is told to.
struct Fragile(&'static str);

#[derive(Message)]
struct Panics;

impl Actor for Fragile {
    async fn starting(&mut self, _: &mut Context<Self>) -> Result<(), StartFailure> {
        assert!(self.0 != "starting", "in starting");
        if self.0 == "refusing" {
            return Err(StartFailure::new("no licence"));
        }
        Ok(())
    }

    async fn stopped(&mut self, _: &ExitReason) {
        assert!(self.0 != "stopped", "in stopped");
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(self.0 != "drop" || std::thread::panicking(), "in drop");
    }
}

impl Handler<Panics> for Fragile {
    // Not an `async fn` on purpose: it panics before there is a future.
    #[allow(clippy::manual_async_fn)]
    fn handle(&mut self, _: Panics, _: &mut Context<Self>) -> impl Future<Output = ()> {
        if self.0 == "calling" {
            panic!("in the call");
        }
        async {}
    }
}

#[callboard::test(both)]
async fn g10_the_fence_holds_around_every_piece_of_user_code(system: System) {
    let neighbour = system
        .actor(|| Worker {
            log: Log::default(),
        })
        .placement(Placement::Pinned(0))
        .start();
    for place in ["starting", "refusing", "stopped", "drop", "calling"] {
        let fragile = system
            .actor(move || Fragile(place))
            .placement(Placement::Pinned(0))
            .start();
        let _ = fragile.ask(Panics).await;
        fragile.stop();
        let reason = fragile.wait().await;
        let expected = match place {
            "starting" => ExitReason::Failed("in starting".into()),
            "refusing" => ExitReason::Failed("no licence".into()),
            "calling" => ExitReason::Failed("in the call".into()),
            _ => ExitReason::Stopped,
        };
        assert_eq!(reason, expected, "{place}");
        assert_eq!(
            neighbour.ask(Note(1)).await.unwrap(),
            1,
            "after a panic in {place}"
        );
    }
}

#[callboard::test(both)]
async fn g10_a_panicking_factory_is_a_failed_start(system: System) {
    let actor = system.actor(|| -> Worker { panic!("no parts") }).start();
    assert_eq!(actor.wait().await, ExitReason::Failed("no parts".into()));
}

#[callboard::test(both)]
async fn g10_a_panicking_task_of_an_actor_ends_alone(system: System) {
    struct Host;
    #[derive(Message)]
    struct SpawnBad;
    impl Actor for Host {}
    impl Handler<SpawnBad> for Host {
        async fn handle(&mut self, _: SpawnBad, ctx: &mut Context<Self>) {
            ctx.spawn(async { panic!("in a task") });
        }
    }
    let host = system.start(Host);
    host.ask(SpawnBad).await.unwrap();
    while system.counters().panics() == 0 {
        host.ask(SpawnBad).await.unwrap();
    }
    assert!(host.is_alive());
}

// In a simulation a task that panics fails the test.
#[callboard::test(arbiters)]
async fn g10_a_future_that_panics_while_it_is_made_ends_alone(system: System) {
    let (neighbour, _) = worker(&system);
    let here = Placement::Pinned(neighbour.arbiter());
    assert!(system.spawn(here, || -> std::future::Ready<()> { panic!("no future") }));
    let (done, ran) = oneshot::channel();
    assert!(system.spawn(here, move || async move { done.send(()).unwrap() }));
    ran.await.unwrap();
    assert_eq!(neighbour.ask(Note(1)).await.unwrap(), 1);
    assert_eq!(system.counters().panics(), 1);
}
