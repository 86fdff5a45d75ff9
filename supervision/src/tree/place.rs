//! A supervisor as a child of another.

use std::sync::Arc;

use callboard_core::{ChildEvent, ChildKind, ChildStatus, ExitReason, Place, Terms};

use super::shared::Tree;

/// Counts as started when all its children have been, and as ended when all of them have: the next
/// incarnation finds every place free (G13), also after this one was killed. Where children can't be ended it is
/// stuck itself.
pub(crate) struct SupervisorPlace {
    actor: Arc<dyn Place>,
    tree: Arc<Tree>,
}

impl SupervisorPlace {
    pub(crate) fn new(actor: Arc<dyn Place>, tree: Arc<Tree>) -> Self {
        SupervisorPlace { actor, tree }
    }
}

impl Place for SupervisorPlace {
    fn label(&self) -> String {
        self.actor.label()
    }

    fn kind(&self) -> ChildKind {
        ChildKind::Supervisor
    }

    fn start(&self, terms: Terms) {
        let tree = Arc::clone(&self.tree);
        let on_event = move |incarnation, event| match event {
            ChildEvent::Started => {
                let terms = terms.clone();
                tree.when_up(Box::new(move || {
                    terms.tell(incarnation, ChildEvent::Started);
                }));
            }
            event if !event.is_last() => terms.tell(incarnation, event),
            last => {
                let last = match (tree.was_up(), last) {
                    (false, ChildEvent::Ended(ExitReason::Failed(why))) => {
                        ChildEvent::StartFailed(why)
                    }
                    (_, last) => last,
                };
                let (idle, stuck) = (terms.clone(), terms.clone());
                tree.when_idle(
                    Box::new(move || idle.tell(incarnation, last)),
                    Box::new(move || stuck.tell(incarnation, ChildEvent::Stuck)),
                );
            }
        };
        self.actor.start(Terms::new(Arc::new(on_event)));
    }

    fn stop(&self) {
        self.actor.stop();
    }

    fn kill(&self) {
        self.actor.kill();
    }

    fn close(&self, reason: ExitReason) {
        self.tree.close(&reason);
        self.actor.close(reason);
    }

    fn status(&self) -> ChildStatus {
        self.actor.status()
    }
}

impl Drop for SupervisorPlace {
    /// Nobody can start it any more: who waits for it to be started, or for its end, is told.
    fn drop(&mut self) {
        self.tree.place_gone();
    }
}
