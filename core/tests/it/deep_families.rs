//! G13: children of children of children.

use std::sync::Arc;

use callboard::{Actor, Context, ExitReason, Handler, Message, Placement, System, Watch};
use futures::channel::oneshot;

use crate::common::{Do, Note, Player, player};

/// Each has the next for a child.
struct Link(Option<oneshot::Sender<()>>);

#[derive(Message)]
struct Grow(u32);

impl Actor for Link {}

impl Handler<Grow> for Link {
    async fn handle(&mut self, Grow(more): Grow, ctx: &mut Context<Self>) {
        let done = self.0.take();
        if more == 0 {
            let _ = done.map(|done| done.send(()));
            return;
        }
        let child = ctx.child(move || Link(done)).start();
        child.try_tell(Grow(more - 1)).unwrap();
    }
}

#[callboard::test]
async fn g13_a_long_line_of_children_ends_without_much_stack(system: System) {
    let (tx, rx) = oneshot::channel();
    let first = system.actor(move || Link(Some(tx))).start();
    first.tell(Grow(5_000)).await.unwrap();
    rx.await.unwrap();
    first.kill();
    assert_eq!(first.wait().await, ExitReason::Killed);
    assert!(system.actors().is_empty());
}

/// Children on another arbiter come and go while their parent ends: it is reported when all have ended, and
/// none is left.
#[callboard::test(both)]
async fn g13_a_parent_ends_after_children_that_are_added_meanwhile(system: System) {
    for round in 0..60 {
        let (parent, _) = player(&system, "parent");
        let (tx, rx) = oneshot::channel();
        let prepare = Do::this(move |_, ctx| {
            let mut child = || {
                let make = || Player {
                    log: crate::common::Log::default(),
                };
                ctx.child(make).placement(Placement::Pinned(1))
            };
            let _ = tx.send((0..8).map(|_| child()).collect::<Vec<_>>());
        });
        parent.ask(prepare).await.unwrap();
        let prepared = rx.await.unwrap();
        let done = Arc::new(());
        let mut children = Vec::new();
        for (n, child) in prepared.into_iter().enumerate() {
            if n == round % 8 {
                match round % 3 {
                    0 => parent.kill(),
                    1 => parent.stop(),
                    _ => drop(parent.tell(Do::this(|_, _| panic!("boom"))).await),
                }
            }
            let child = child.start();
            let held = Arc::clone(&done);
            child.watch(Box::new(move |_| drop(held)));
            drop(child.try_tell(Note(1)));
            children.push(child);
        }
        let (ended, is_ended) = oneshot::channel();
        let held = Arc::clone(&done);
        let before: Vec<_> = children.clone();
        parent.watch(Box::new(move |_| {
            drop(held);
            // Those that were started before it ended.
            let _ = ended.send(
                before
                    .iter()
                    .filter(|child| child.exit_reason().is_none())
                    .count(),
            );
        }));
        assert_eq!(is_ended.await.unwrap(), 0);
        for child in &children {
            child.wait().await;
        }
        assert_eq!(Arc::strong_count(&done), 1);
    }
    assert!(system.actors().is_empty());
}

/// The cell of an actor is freed when it has ended and nobody has a reference: its label goes with it.
#[callboard::test(both)]
async fn g12_nothing_of_the_ended_is_left(system: System) {
    let labels: Vec<Arc<str>> = (0..6).map(|n| format!("player {n}").into()).collect();
    let make = |n: usize| {
        let make = || Player {
            log: crate::common::Log::default(),
        };
        let spawn = system.actor(make).label(Arc::clone(&labels[n]));
        spawn.placement(Placement::Pinned(n)).start()
    };
    let all: Vec<_> = (0..6).map(make).collect();
    for (n, one) in all.iter().enumerate() {
        let others = all.clone();
        let act = Do::this(move |_, ctx| {
            for other in &others {
                ctx.watch(other);
                ctx.watch_life(other);
                if other.id() != ctx.me().id() {
                    ctx.link(other);
                }
            }
            let me = ctx.me();
            ctx.leave_behind(me.clone());
            let held = me.clone();
            ctx.becomes(
                async move |_: &mut Player, Note(n), _: &mut Context<Player>| {
                    let _ = &held;
                    n
                },
            );
            ctx.hold::<Note>();
            let held = me.clone();
            ctx.spawn(async move {
                std::future::pending::<()>().await;
                drop(held);
            });
            ctx.child(move || Player {
                log: crate::common::Log::default(),
            })
            .start();
        });
        one.ask(act).await.unwrap();
        one.tell(Note(n as u64)).await.unwrap();
    }
    all[0].kill();
    for one in &all {
        one.wait().await;
    }
    drop(all);
    for label in &labels {
        while Arc::strong_count(label) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
