//! G12: links to actors that are down, or were never up.

use callboard::{ExitReason, System};

use crate::common::{Do, Placed, player};

#[callboard::test(both)]
async fn g12_a_link_to_one_that_has_failed_and_is_not_back_yet_fails_at_once(system: System) {
    let mut placed = Placed::new(&system, "placed");
    placed.start().await;
    placed.place.kill();
    placed.ended().await;
    let (one, _) = player(&system, "one");
    let other = placed.player.clone();
    one.ask(Do::this(move |_, ctx| drop(ctx.link(&other))))
        .await
        .unwrap();
    let reason = one.wait();
    placed.start().await;
    placed.place.stop();
    placed.ended().await;
    placed.place.close(ExitReason::Stopped);
    one.stop();
    assert!(matches!(reason.await, ExitReason::Failed(_)));
}

#[callboard::test(both)]
async fn g12_a_link_to_one_that_was_never_started_ties_both_ways(system: System) {
    for starter_fails in [true, false] {
        let mut placed = Placed::new(&system, "placed");
        let (one, _) = player(&system, "one");
        let other = placed.player.clone();
        one.ask(Do::this(move |_, ctx| drop(ctx.link(&other))))
            .await
            .unwrap();
        placed.start().await;
        if starter_fails {
            one.kill();
            assert!(matches!(placed.ended().await, ExitReason::Failed(_)));
        } else {
            placed.place.kill();
            placed.ended().await;
            assert!(matches!(one.wait().await, ExitReason::Failed(_)));
        }
        placed.place.close(ExitReason::Stopped);
    }
}
