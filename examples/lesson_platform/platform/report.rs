//! The platform in figures, for the system page and the drill's tables.

use callboard::DropReason;
use callboard::supervision::{ChildState, TreeSnapshot};

use super::Platform;
use crate::pages::{Figure, MailboxRow, Node, SystemReport};

impl Platform {
    pub(crate) async fn report(&self) -> SystemReport {
        let mut tree = Vec::new();
        flatten(&self.tree(), 0, &mut tree);
        let actors = self.system.actors();
        SystemReport {
            uptime_seconds: self.system.clock().now().since(self.started).as_secs_f64(),
            tree,
            calls: self.calls.rows(),
            mailboxes: actors
                .into_iter()
                .map(|actor| MailboxRow {
                    actor: actor.label,
                    arbiter: actor.arbiter,
                    queued: actor.mailbox.len,
                    most: actor.mailbox.high_water,
                    capacity: actor.mailbox.capacity,
                })
                .collect(),
            figures: self.figures().await,
            problems: self
                .library
                .problems()
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }

    async fn figures(&self) -> Vec<Figure> {
        let counters = self.system.counters();
        let jobs = self.jobs.state().await.unwrap_or_default();
        let topic = self.viewed.state().await.unwrap_or_default();
        let figure = |name, value| Figure { name, value };
        vec![
            figure("restarts of children", self.tree().restarts_below()),
            figure("messages handled", counters.handled()),
            figure("panics caught", counters.panics()),
            figure(
                "answers that came too late",
                counters.drops(DropReason::LateReply),
            ),
            figure(
                "messages whose deadline passed before their turn",
                counters.drops(DropReason::Expired),
            ),
            figure("views published", topic.published),
            figure("index jobs offered", jobs.offered),
            figure("index jobs waiting", jobs.len as u64),
            figure("index jobs dropped", jobs.dropped),
        ]
    }
}

fn flatten(tree: &TreeSnapshot, depth: usize, nodes: &mut Vec<Node>) {
    nodes.push(Node {
        depth,
        name: tree.label.clone(),
        kind: tree.kind.to_string(),
        state: tree.state.to_string(),
        healthy: tree.state == ChildState::Running,
        restarts: tree.restarts,
        last_cause: tree.last_cause.clone(),
        pid: tree.pid,
    });
    for child in &tree.children {
        flatten(child, depth + 1, nodes);
    }
}
