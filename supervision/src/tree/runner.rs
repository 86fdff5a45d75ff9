//! The loop of one incarnation of a supervisor.
//!
//! What happens to the children is decided where it happens; this sees to what is due at some time. It runs beside the
//! supervisor's handlers, so that neither a full mailbox nor a slow observer delays a restart (G4), and waits for
//! nothing but the next such point in time: a request to stop is served during all of them (G16).

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::engine::End;
use super::shared::Tree;

/// Starts the children in order, restarts what fails, and stops all in reverse at the end.
pub(crate) async fn run(tree: &Arc<Tree>) -> End {
    loop {
        match tree.step() {
            Ok(end) => {
                if let End::GaveUp(cause) = &end {
                    tracing::error!(target: "callboard::supervisor", supervisor = %tree.label, %cause, "gave up");
                }
                return end;
            }
            Err(due) => {
                tree.wait(due).await;
                // Others of this thread first, also when there was nothing to wait for (G5).
                give_way().await;
            }
        }
    }
}

/// Comes back with the next turn.
async fn give_way() {
    let mut gave = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut gave, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
