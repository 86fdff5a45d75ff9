//! The loop of one incarnation of a supervisor.
//!
//! It runs beside the supervisor's handlers, so that neither a full mailbox nor a slow observer delays a restart
//! (G4), and it never waits for anything but its inbox, orders, a request to stop and the next point in time at which
//! something is due: a request to stop is served during all of them (G16).

use std::sync::Arc;

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
            Err(due) => tree.wait(due).await,
        }
    }
}
