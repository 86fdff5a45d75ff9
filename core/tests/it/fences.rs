//! G10: code of others that panics where an actor ends, or starts again, ends nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use callboard::{ActorRef, ChildEvent, Context, ExitReason, LifeEvent, System, Watch};
use futures::StreamExt;
use futures::channel::mpsc;

use crate::common::{Do, Log, Note, Placed, Player, player};

async fn end(actor: &ActorRef<Player>) -> ExitReason {
    actor.stop();
    actor.wait().await
}

#[callboard::test(both)]
async fn g10_a_watcher_that_panics_harms_nobody_else(system: System) {
    let (subject, _) = player(&system, "subject");
    let other = system
        .actor(|| Player {
            log: Log::default(),
        })
        .near(&subject)
        .start();
    let told = Arc::new(AtomicUsize::new(0));
    let count = || {
        let told = Arc::clone(&told);
        Box::new(move |_| {
            told.fetch_add(1, Ordering::SeqCst);
        })
    };
    subject.watch(count());
    subject.watch(Box::new(|_| panic!("a watcher")));
    subject.watch_life(Arc::new(|_| panic!("a close watcher")));
    subject.watch(count());
    assert_eq!(end(&subject).await, ExitReason::Stopped);
    assert_eq!(told.load(Ordering::SeqCst), 2);
    assert_eq!(other.ask(Note(1)).await.unwrap(), 1);
    // Who has ended says so to a watcher at once; that one's panic is its own.
    assert_eq!(system.counters().panics(), 2);
}

#[callboard::test(both)]
async fn g10_a_watcher_that_panics_at_a_restart_does_not_fail_the_subject(system: System) {
    let mut subject = Placed::new(&system, "subject");
    subject.start().await;
    subject.player.watch_life(Arc::new(|event| {
        if let LifeEvent::Restarted { .. } = event {
            panic!("a close watcher");
        }
    }));
    subject.place.kill();
    subject.ended().await;
    subject.start().await;
    assert_eq!(subject.player.ask(Note(1)).await.unwrap(), 1);
    subject.place.stop();
    assert_eq!(subject.ended().await, ExitReason::Stopped);
    subject.place.close(ExitReason::Stopped);
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[callboard::test(both)]
async fn g10_a_behaviour_whose_drop_panics_ends_its_incarnation_alone(system: System) {
    let (subject, _) = player(&system, "subject");
    let other = system
        .actor(|| Player {
            log: Log::default(),
        })
        .near(&subject)
        .start();
    let held = PanicsWhenDropped;
    let become_it = Do::this(move |_, ctx| {
        ctx.becomes(
            async move |_: &mut Player, Note(n), _: &mut Context<Player>| {
                let _ = &held;
                n + 1
            },
        );
    });
    subject.ask(become_it).await.unwrap();
    assert_eq!(end(&subject).await, ExitReason::Stopped);
    assert_eq!(other.ask(Note(1)).await.unwrap(), 1);
    assert_eq!(system.counters().panics(), 1);
}

#[callboard::test(both)]
async fn g10_an_owner_that_panics_is_told_all_the_same_and_harms_nobody(system: System) {
    let (player, place) = system
        .actor(|| Player {
            log: Log::default(),
        })
        .place();
    let (tx, mut events) = mpsc::channel(16);
    for _ in 0..2 {
        let tx = tx.clone();
        place.start(callboard::Terms::new(Arc::new(move |_, event| {
            let _ = tx.clone().try_send(event);
            panic!("an owner");
        })));
        assert_eq!(events.next().await, Some(ChildEvent::Started));
        assert_eq!(player.ask(Note(1)).await.unwrap(), 1);
        place.stop();
        let end = ChildEvent::Ended(ExitReason::Stopped);
        assert_eq!(events.next().await, Some(end));
    }
    place.close(ExitReason::Stopped);
    assert!(events.try_recv().is_err());
}
