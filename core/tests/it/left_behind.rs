//! G13: what is left behind for a next incarnation goes with the last.

use std::sync::Arc;

use callboard::{ActorRef, ExitReason, System};

use crate::common::{Do, Placed, Player, player};

async fn end(actor: &ActorRef<Player>) -> ExitReason {
    actor.stop();
    actor.wait().await
}

#[callboard::test(both)]
async fn g13_what_was_left_behind_for_nobody_is_dropped(system: System) {
    let held = Arc::new(());
    let leave = |held: &Arc<()>| {
        let held = Arc::clone(held);
        Do::this(move |_, ctx| {
            let me = ctx.me();
            ctx.leave_behind((me, held));
        })
    };
    // Nobody starts it again.
    let (player, _) = player(&system, "player");
    player.ask(leave(&held)).await.unwrap();
    assert_eq!(end(&player).await, ExitReason::Stopped);
    assert_eq!(Arc::strong_count(&held), 1);
    // Somebody might have.
    let mut placed = Placed::new(&system, "placed");
    placed.start().await;
    placed.player.ask(leave(&held)).await.unwrap();
    placed.place.kill();
    placed.ended().await;
    assert_eq!(Arc::strong_count(&held), 2);
    placed.place.close(ExitReason::Killed);
    assert_eq!(Arc::strong_count(&held), 1);
}
